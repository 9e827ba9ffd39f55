"""Items that come and go: articles with features, shown to readers of four groups.

A reader likes an article or not. How likely that is depends on both: each group has its tastes for topics, a reader in
a hurry wants short articles, and new articles are liked more. Nothing that was learned of an article helps with the
next ones, but for what its features tell. Of two worlds, one has 15 articles, all replaced every 300 steps, and readers
with pronounced tastes. The other has 20 articles, of which five are replaced every 400 steps, readers with weaker
tastes, and rewards that arrive up to 100 steps late.

The rivals: `GLNBandit` that knows the articles' names alone; a classifier and a regressor of `gln.river` that read
reader and article together, with 5% random decisions; and Vowpal Wabbit, whose pairs of features of readers and
articles are products.

Shapes: T steps, A articles.
"""

from __future__ import annotations

import heapq
import importlib
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.bandit_data import drawn
from benchmarks.bandit_rivals import HAS_VW, VW_OPTIONS
from gln.bandits import GLNBandit
from gln.river import GLNClassifier, GLNRegressor

STEPS, RANDOM = 2000, 0.05
GROUPS, TOPICS = ["pupils", "students", "workers", "pensioners"], ["politics", "sports", "science", "music", "food"]
Features = dict[str, Any]


class World(NamedTuple):
    articles: int = 15
    replaced: int = 15  # so many of them ...
    every: int = 300  # ... after so many steps
    latest: int = 0  # steps that a reward takes, at most
    # Of the log-odds that a reader likes an article:
    constant: float = -2.0
    taste: float = 4.0
    length: float = 3.0
    age: float = -0.2


ALL_REPLACED, SOME_REPLACED = World(), World(20, 5, 400, 100, -1.45, 0.95, 0.95, -0.1)


class Step(NamedTuple):
    reader: Features
    articles: dict[str, Features]  # by name; the same object as long as they stay
    likes: np.ndarray  # (A,), whether this reader would like each
    delay: int  # of the reward


def articles_and_readers(steps: int, seed: int, world: World = ALL_REPLACED) -> list[Step]:
    rng, found = drawn(seed), list[Step]()
    articles: dict[str, Features] = {}
    tastes = {group: dict(zip(TOPICS, rng.normal(size=len(TOPICS)).tolist(), strict=True)) for group in GROUPS}
    for step in range(steps):
        if step % world.every == 0:
            stay = dict([*articles.items()][world.replaced :])
            new = {f"article {step + i}": article(rng) for i in range(world.articles - len(stay))}
            articles = stay | new
        reader = {"group": str(rng.choice(GROUPS)), "hurry": float(rng.random()), "hour": float(rng.uniform(0, 24))}
        chances = [chance(reader, each, tastes, world) for each in articles.values()]
        likes = rng.random(len(articles)) < chances
        found.append(Step(reader, articles, likes, int(rng.integers(world.latest + 1)) if world.latest else 0))
    return found


def article(rng: np.random.Generator) -> Features:
    return {
        "topic": str(rng.choice(TOPICS)),
        "minutes": float(rng.uniform(1, 10)),
        "days": float(rng.exponential(3)),
    }


def chance(
    reader: Features, article: Features, tastes: dict[str, dict[str, float]], world: World = ALL_REPLACED
) -> float:
    taste = world.taste * tastes[reader["group"]][article["topic"]]
    length = world.length * (0.5 - reader["hurry"]) * (article["minutes"] - 5.5)
    return 1 / (1 + math.exp(-(world.constant + taste + length + world.age * article["days"])))


# ---- Policies: functions of steps and a seed, which return the rewards -----------------------------------------------


class Lessons:
    """What was chosen, until its reward arrives."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Any]] = []

    def add(self, step: int, delay: int, lesson: Any) -> Iterator[Any]:
        """Add a lesson of this step, and take those that have arrived."""
        heapq.heappush(self.waiting, (step + delay, step, lesson))
        while self.waiting and self.waiting[0][0] <= step:
            yield heapq.heappop(self.waiting)[2]


def gated(steps: list[Step], seed: int, features: bool = True, **options: Any) -> list[float]:
    bandit, lessons, rewards = GLNBandit(seed=seed, rewards="probabilities", **options), Lessons(), []
    for number, (reader, articles, likes, delay) in enumerate(steps):
        arm = bandit.decide(reader, articles if features else list(articles)).arm
        rewards.append(float(likes[list(articles).index(arm)]))
        for lesson in lessons.add(number, delay, (reader, arm, rewards[-1])):
            bandit.learn(*lesson)
    return rewards


def together(steps: list[Step], seed: int, model: Any) -> list[float]:
    """A model of reader, article and its name, by which the best article is chosen, or sometimes a random one."""
    rng, lessons, rewards, is_classifier = np.random.default_rng(seed), Lessons(), [], isinstance(model, GLNClassifier)
    for number, (reader, articles, likes, delay) in enumerate(steps):
        rows = [{**reader, **each, "name": name} for name, each in articles.items()]
        if rng.random() < RANDOM:
            chosen = int(rng.integers(len(rows)))
        elif is_classifier:
            chosen = int(np.argmax([model.predict_proba_one(row).get(True, 0.0) for row in rows]))
        else:
            chosen = int(np.argmax([model.predict_one(row) for row in rows]))
        rewards.append(float(likes[chosen]))
        target = bool(likes[chosen]) if is_classifier else rewards[-1]
        for lesson in lessons.add(number, delay, (rows[chosen], target)):
            model.learn_one(*lesson)
    return rewards


def vowpal_wabbit(steps: list[Step], seed: int, explore: str) -> list[float]:
    workspace: Any = importlib.import_module("vowpalwabbit").Workspace
    model = workspace(f"{explore} -q sa --quiet --random_seed {seed + 1}")
    rng, lessons, rewards = np.random.default_rng(seed), Lessons(), list[float]()
    for number, (reader, articles, likes, delay) in enumerate(steps):
        lines = [f"shared |s {_told(reader)}", *(f"|a {_told(each | {'name': n})}" for n, each in articles.items())]
        p = np.array(model.predict(lines))
        chosen = int(rng.choice(len(p), p=p / p.sum()))
        rewards.append(float(likes[chosen]))
        lines[1 + chosen] = f"0:{1 - rewards[-1]}:{p[chosen]} {lines[1 + chosen]}"
        for lesson in lessons.add(number, delay, lines):
            model.learn(lesson)
    return rewards


LARGEST = {"hurry": 1.0, "hour": 24.0, "minutes": 10.0, "days": 10.0}  # Vowpal Wabbit gets numbers of about 0 to 1


def _told(features: Features) -> str:
    parts = [
        f"{name}={value.replace(' ', '_')}" if isinstance(value, str) else f"{name}:{value / LARGEST[name]:.5g}"
        for name, value in features.items()
    ]
    return " ".join(parts)


POLICIES: dict[str, Callable[[list[Step], int], list[float]]] = {
    "GLN inverse-gap": gated,
    "GLN counts": lambda steps, seed: gated(steps, seed, explore="counts"),
    "GLN epsilon": lambda steps, seed: gated(steps, seed, explore="epsilon"),
    "GLN greedy": lambda steps, seed: gated(steps, seed, explore="greedy"),
    "GLN, names alone": lambda steps, seed: gated(steps, seed, features=False),
    "GLNClassifier": lambda steps, seed: together(steps, seed, GLNClassifier(seed=seed)),
    "GLNRegressor": lambda steps, seed: together(steps, seed, GLNRegressor(seed=seed)),
}
if HAS_VW:
    POLICIES |= {
        f"VW {name}": lambda steps, seed, option=option: vowpal_wabbit(steps, seed, f"--cb_explore_adf {option}")  # type: ignore[misc]
        for name, option in VW_OPTIONS.items()
    }


def mean_rewards(
    steps: int, seed: int, world: World = ALL_REPLACED, models: Collection[str] = POLICIES
) -> dict[str, float]:
    """Mean rewards of policies, of random articles, and of always the best one that this reader would like."""
    found = articles_and_readers(steps, seed, world)
    rewards = {title: float(np.mean(play(found, seed))) for title, play in POLICIES.items() if title in models}
    likes = np.array([step.likes for step in found])
    return rewards | {"random": float(likes.mean()), "some article is liked": float(likes.any(axis=1).mean())}
