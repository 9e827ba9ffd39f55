"""Items that come and go: 15 articles with features, all replaced every 300 steps, shown to readers of four groups.

A reader likes an article or not. How likely that is depends on both: each group has its tastes for topics, a reader in
a hurry wants short articles, and new articles are liked more. Nothing that was learned of an article helps with the
next ones, but for what its features tell.

The rivals: `GLNBandit` that knows the articles' names alone; a classifier and a regressor of `gln.river` that read
reader and article together, with 5% random decisions; and Vowpal Wabbit, whose pairs of features of readers and
articles are products.

Shapes: T steps, A articles.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.bandit_data import drawn
from benchmarks.bandit_rivals import HAS_VW
from gln.bandits import GLNBandit
from gln.river import GLNClassifier, GLNRegressor

STEPS, ARTICLES, STAY, RANDOM = 1500, 15, 300, 0.05
GROUPS, TOPICS = ["pupils", "students", "workers", "pensioners"], ["politics", "sports", "science", "music", "food"]
Features = dict[str, Any]


class Step(NamedTuple):
    reader: Features
    articles: dict[str, Features]  # by name; the same object as long as they stay
    likes: np.ndarray  # (A,), whether this reader would like each


def articles_and_readers(steps: int, seed: int) -> list[Step]:
    rng, found = drawn(seed), []
    tastes = {group: dict(zip(TOPICS, rng.normal(size=len(TOPICS)).tolist(), strict=True)) for group in GROUPS}
    for step in range(steps):
        if step % STAY == 0:
            articles = {f"article {step + i}": article(rng) for i in range(ARTICLES)}
        reader = {"group": str(rng.choice(GROUPS)), "hurry": float(rng.random()), "hour": float(rng.uniform(0, 24))}
        chances = [chance(reader, each, tastes) for each in articles.values()]
        found.append(Step(reader, articles, rng.random(ARTICLES) < chances))
    return found


def article(rng: np.random.Generator) -> Features:
    return {
        "topic": str(rng.choice(TOPICS)),
        "minutes": float(rng.uniform(1, 10)),
        "days": float(rng.exponential(3)),
    }


def chance(reader: Features, article: Features, tastes: dict[str, dict[str, float]]) -> float:
    taste = 4 * tastes[reader["group"]][article["topic"]]
    length = 3 * (0.5 - reader["hurry"]) * (article["minutes"] - 5.5)
    return 1 / (1 + math.exp(2 - taste - length + 0.2 * article["days"]))


# ---- Policies: functions of steps and a seed, which return the rewards -----------------------------------------------


def gated(steps: list[Step], seed: int, features: bool = True, **options: Any) -> list[float]:
    bandit, rewards = GLNBandit(seed=seed, rewards="probabilities", **options), []
    for reader, articles, likes in steps:
        arm = bandit.decide(reader, articles if features else list(articles)).arm
        rewards.append(float(likes[list(articles).index(arm)]))
        bandit.learn(reader, arm, rewards[-1])
    return rewards


def together(steps: list[Step], seed: int, model: Any) -> list[float]:
    """A model of reader, article and its name, by which the best article is chosen, or sometimes a random one."""
    rng, rewards, is_classifier = np.random.default_rng(seed), [], isinstance(model, GLNClassifier)
    for reader, articles, likes in steps:
        rows = [{**reader, **each, "name": name} for name, each in articles.items()]
        if rng.random() < RANDOM:
            chosen = int(rng.integers(len(rows)))
        elif is_classifier:
            chosen = int(np.argmax([model.predict_proba_one(row).get(True, 0.0) for row in rows]))
        else:
            chosen = int(np.argmax([model.predict_one(row) for row in rows]))
        rewards.append(float(likes[chosen]))
        model.learn_one(rows[chosen], bool(likes[chosen]) if is_classifier else rewards[-1])
    return rewards


def vowpal_wabbit(steps: list[Step], seed: int, explore: str) -> list[float]:
    workspace: Any = importlib.import_module("vowpalwabbit").Workspace
    model, rng, rewards = (
        workspace(f"{explore} -q sa --quiet --random_seed {seed + 1}"),
        np.random.default_rng(seed),
        [],
    )
    for reader, articles, likes in steps:
        lines = [f"shared |s {_told(reader)}", *(f"|a {_told(each | {'name': n})}" for n, each in articles.items())]
        p = np.array(model.predict(lines))
        chosen = int(rng.choice(len(p), p=p / p.sum()))
        rewards.append(float(likes[chosen]))
        lines[1 + chosen] = f"0:{1 - rewards[-1]}:{p[chosen]} {lines[1 + chosen]}"
        model.learn(lines)
    return rewards


LARGEST = {"hurry": 1.0, "hour": 24.0, "minutes": 10.0, "days": 10.0}  # Vowpal Wabbit gets numbers of about 0 to 1


def _told(features: Features) -> str:
    parts = [
        f"{name}={value.replace(' ', '_')}" if isinstance(value, str) else f"{name}:{value / LARGEST[name]:.5g}"
        for name, value in features.items()
    ]
    return " ".join(parts)


POLICIES: dict[str, Callable[[list[Step], int], list[float]]] = {
    "GLN counts": gated,
    "GLN inverse-gap": lambda steps, seed: gated(steps, seed, explore="inverse-gap"),
    "GLN epsilon": lambda steps, seed: gated(steps, seed, explore="epsilon"),
    "GLN greedy": lambda steps, seed: gated(steps, seed, explore="greedy"),
    "GLN, names alone": lambda steps, seed: gated(steps, seed, features=False),
    "GLNClassifier": lambda steps, seed: together(steps, seed, GLNClassifier(seed=seed)),
    "GLNRegressor": lambda steps, seed: together(steps, seed, GLNRegressor(seed=seed)),
}
if HAS_VW:
    POLICIES |= {
        f"VW {name}": lambda steps, seed, option=option: vowpal_wabbit(steps, seed, f"--cb_explore_adf {option}")  # type: ignore[misc]
        for name, option in {"regcbopt": "--regcbopt", "squarecb": "--squarecb", "epsilon": "--epsilon 0.05"}.items()
    }


def mean_rewards(steps: int, seed: int) -> dict[str, float]:
    """Mean rewards of all policies, of random articles, and of always the best one that this reader would like."""
    found = articles_and_readers(steps, seed)
    rewards = {title: float(np.mean(play(found, seed))) for title, play in POLICIES.items()}
    likes = np.array([step.likes for step in found])
    return rewards | {"random": float(likes.mean()), "some article is liked": float(likes.any(axis=1).mean())}
