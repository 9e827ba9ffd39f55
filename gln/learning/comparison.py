"""What it takes to compare classes that each learned from their own samples alone.

It is gathered from all of them when they predict, so the order of the classes makes no difference: the covariance that
they share, towards which each class's own is shrunk, and how far densities can be trusted. Source of the shrinking:
J. Friedman, Regularized Discriminant Analysis, JASA 84, 1989.

Shapes: B samples, F features, C classes, L levels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.learning.class_density import (
    PRIOR,
    freedom_of,
    frequencies,
    least_variance,
    log_density,
    scale_of,
    substitute,
    trust_of,
)
from gln.learning.compiled import compiled
from gln.learning.own_class import OwnClass

__all__ = ["Comparison", "Said", "compared", "split"]

FAR = 20.0  # standard deviations from the mean of every class, beyond which a value counts as missing


class Said(NamedTuple):
    """What the densities of classes say of samples, in logarithms, but for what all classes share."""

    squares: np.ndarray  # (C, B, F), squared distances of the features from the mean
    of_distance: np.ndarray  # (C, B), what they say together
    constant: np.ndarray  # (C, B), the density at the mean, times how frequent the class is
    of_levels: dict[int, np.ndarray]  # by feature, what the levels of categories say, (C, B)

    @property
    def total(self) -> np.ndarray:
        return self.of_distance + self.constant + sum(self.of_levels.values())


class Comparison(NamedTuple):
    counts: np.ndarray  # (C,), weights of samples
    means: np.ndarray  # (C, F), in units of `scale`
    scale: np.ndarray  # (F,), infinite for features that never varied
    factors: np.ndarray  # (C, F, F), of the covariances
    reach: np.ndarray  # (2, F), between which values are not far
    levels: dict[int, np.ndarray]  # by feature, logarithms of the frequencies of its levels, (C, L)
    freedom: float  # degrees of freedom of the densities
    trust: float  # factor of their logarithms

    def split(self, samples: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """`split`, where values that are far count as missing."""
        numbers, codes = split(samples, self.levels)
        low, high = self.reach[:, :, None]
        numbers[(numbers < low) | (numbers > high)] = np.nan
        return numbers, codes

    def known(self, numbers: np.ndarray) -> np.ndarray:  # (F, B) -> (F, B)
        """Which values say something."""
        return ~np.isnan(numbers) & (self.scale < np.inf)[:, None]

    def said(self, numbers: np.ndarray, codes: dict[int, np.ndarray]) -> Said:
        """What the classes say of samples that were `split`."""
        varies, known, of_levels = self.scale < np.inf, self.known(numbers), {}
        scaled = np.where(known, numbers / self.scale[:, None], np.nan)
        z = np.ascontiguousarray(scaled.T - self.means[:, None])
        compiled(substitute)(z, self.factors)
        squares, widths = np.square(z), np.where(varies, np.log(np.diagonal(self.factors, axis1=1, axis2=2)), 0)
        for feature, logs in self.levels.items():
            places = np.nan_to_num(codes[feature], nan=logs.shape[1]).astype(int)
            found = np.pad(logs, [(0, 0), (0, 1)])  # an unknown level says nothing
            of_levels[feature] = found[:, np.minimum(places, logs.shape[1])]
        of_distance = log_density(squares.sum(axis=2), known.sum(axis=0), self.freedom)
        return Said(squares, of_distance, np.log(self.counts + 1)[:, None] - widths @ known, of_levels)


def compared(classes: Sequence[OwnClass]) -> Comparison:
    known, counts = np.array([each.known for each in classes]), np.array([each.count for each in classes])
    scores = np.sum([each.scores for each in classes], axis=0)
    means, scale = _means(classes, known)
    own = np.array([each.covariance() for each in classes]) / scale[:, None] / scale
    own += [np.diag((each == 0).astype(float)) for each in known]  # assumed to vary as in all classes
    within = np.tensordot(counts, own, 1) / max(counts.sum(), 1)
    own = (counts[:, None, None] * own + PRIOR * within) / (counts + PRIOR)[:, None, None]
    own += least_variance(scores[1]) * np.eye(len(scale))
    factors, varies = np.linalg.cholesky(own), scale < np.inf
    factors[:, ~varies, ~varies] = np.inf
    spread = FAR * np.sqrt(np.diagonal(own, axis1=1, axis2=2)) * np.where(varies, scale, 1)
    reach = np.array([(means - spread).min(axis=0), (means + spread).max(axis=0)])
    freedom, trust = freedom_of(scores[0]), trust_of(scores[1])
    return Comparison(counts, means / scale, scale, factors, reach, _levels(classes), freedom, trust)


def _means(classes: Sequence[OwnClass], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the classes, (C, F), those of all samples where a class knows none; and the units of features, (F,)."""
    means, total = np.array([each.mean for each in classes]), np.maximum(known.sum(axis=0), 1e-300)
    center = (known * means).sum(axis=0) / total
    means = np.where(known > 0, means, center)
    variances = sum(np.diag(each.scatter) for each in classes) + (known * (means - center) ** 2).sum(axis=0)
    lows, highs = (np.where(known > 0, [each.ends[end] for each in classes], center) for end in (0, 1))
    return means, scale_of(variances / total, highs.max(axis=0) - lows.min(axis=0))


def _levels(classes: Sequence[OwnClass]) -> dict[int, np.ndarray]:
    found = {}
    for feature in sorted({feature for each in classes for feature in each.levels}):
        counts = [each.levels.get(feature, np.zeros(0)) for each in classes]
        table = np.zeros((len(counts), max(map(len, counts))))
        for row, own in zip(table, counts, strict=True):
            row[: len(own)] = own
        found[feature] = np.log([frequencies(row, table.sum(axis=0) + 1) for row in table])
    return found


def split(features: np.ndarray, categorical: Collection[int]) -> tuple[np.ndarray, dict[int, Any]]:
    """Samples whose categories are unknown as numbers, (F, B), and the codes of these, (B,) each."""
    numbers = np.array(features, np.float64)
    levels = {feature: numbers[feature].copy() for feature in categorical}
    numbers[list(levels)] = np.nan
    return numbers, levels
