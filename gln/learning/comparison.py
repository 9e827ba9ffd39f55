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

from gln.learning.class_density import PRIOR, freedom_of, frequencies, log_density, standardised, trust_of
from gln.learning.own_class import OwnClass

__all__ = ["Comparison", "Said", "compared", "split"]

LEAST = 1e-3  # of the variance within classes, in variances of all samples
FAR = 20.0  # standard deviations from the mean of every class, beyond which a value counts as missing


class Said(NamedTuple):
    """What the density of a class says of samples, in logarithms, but for what all classes share."""

    squares: np.ndarray  # (F, B), squared distances of the features from the mean
    of_distance: np.ndarray  # (B,), what they say together
    constant: np.ndarray  # (B,), the density at the mean, times how frequent the class is
    of_levels: dict[int, np.ndarray]  # by feature, what the levels of categories say, (B,)

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

    def said(self, number: int, numbers: np.ndarray, codes: dict[int, np.ndarray]) -> Said:
        """What a class says of samples that were `split`."""
        factor, of_levels = self.factors[number], {}
        z, known = standardised(numbers / self.scale[:, None], self.means[number], factor)
        squares = np.square(z)
        of_distance = log_density(squares.sum(axis=0), known.sum(axis=0), self.freedom)
        widths = np.where(known, np.log(np.diag(factor))[:, None], 0).sum(axis=0)
        for feature, logs in self.levels.items():
            found = np.append(logs[number], 0)  # an unknown level says nothing
            places = np.nan_to_num(codes[feature], nan=logs.shape[1]).astype(int)
            of_levels[feature] = found[np.minimum(places, logs.shape[1])]
        return Said(squares, of_distance, np.log(self.counts[number] + 1) - widths, of_levels)


def compared(classes: Sequence[OwnClass]) -> Comparison:
    known, means, variances, scores = (
        np.array([of(each) for each in classes])
        for of in (lambda c: c.known, lambda c: c.mean, lambda c: np.diag(c.scatter), lambda c: c.scores)
    )
    total = np.maximum(known.sum(axis=0), 1e-300)
    center = (known * means).sum(axis=0) / total
    scale = np.sqrt((variances + known * (means - center) ** 2).sum(axis=0) / total)
    scale[scale == 0] = np.inf
    counts = np.array([each.count for each in classes])
    covariances = np.array([each.covariance() for each in classes]) / scale[:, None] / scale
    within = np.tensordot(counts, covariances, 1) / max(counts.sum(), 1) + LEAST * np.eye(len(scale))
    never = [np.diag((each == 0).astype(float)) for each in known]  # assumed to vary as in all classes
    covariances = counts[:, None, None] * (covariances + never) + PRIOR * within
    covariances /= (counts + PRIOR)[:, None, None]
    means = np.where(known > 0, means, center)
    spread = FAR * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)) * np.where(scale < np.inf, scale, 1)
    reach = np.array([(means - spread).min(axis=0), (means + spread).max(axis=0)])
    factors = np.linalg.cholesky(covariances)
    factors[:, np.isinf(scale), np.isinf(scale)] = np.inf
    of_all = scores.sum(axis=0)
    own = counts, means / scale, scale, factors, reach, _levels(classes)
    return Comparison(*own, freedom_of(of_all[0]), trust_of(of_all[1]))


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
