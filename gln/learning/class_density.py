"""The density of a class: Student's t-distribution of its numbers, and frequencies of the levels of its categories.

All of it is counted, so the order of the classes makes no difference.

Shapes: B samples, D features, L levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gln.learning.compiled import compiled, plain

__all__ = [
    *("FEW", "PRIOR", "count_samples", "factor_of", "freedom_of", "frequencies", "least_variance", "log_density"),
    *("scale_of", "standardised", "substitute", "trust_of"),
]

PRIOR = 10.0  # samples that speak for what is assumed of covariances and tails; 2 to 20 are about as good
OF_LEVELS = 1.0  # the same of the levels of a category
FEW = 10  # samples of a class, with which its scale is uncertain
FLOOR, LEAST = 0.2, 3e-4  # of a range and of a unit, which are added to standard deviations and variances
WRONG, RARE = 50.0, 5.0  # standard deviations; values and scores farther from the mean count as at this distance


def standardised(numbers: np.ndarray, center: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What are values of independent standard normal distributions if samples have this mean and covariance.

    An unknown value is assumed to be what those before it let expect, which makes it 0. So is a feature that never
    varied. Also returns which are known.

    Shapes: (D, B), (D,), the Cholesky factor of the covariance, (D, D), infinite on its diagonal where a feature never
    varied -> (D, B), (D, B).
    """
    deviations = numbers - center[:, None]
    known = ~np.isnan(deviations) & np.isfinite(np.diag(factor))[:, None]
    z = np.ascontiguousarray(np.where(known, deviations, np.nan).T[None])
    compiled(substitute)(z, plain(factor)[None])
    return z[0].T, known


def substitute(z: np.ndarray, factors: np.ndarray) -> None:  # (C, B, D), (C, D, D)
    """Solve factors[c] @ x = z[c, b] for all c and b, in place, with 0 for NaN."""
    for c, b in np.ndindex(z.shape[:2]):
        x, factor = z[c, b], factors[c]
        for i in range(len(x)):
            x[i] = (x[i] - np.dot(factor[i, :i], x[:i])) / factor[i, i] if x[i] == x[i] else 0.0


def scale_of(variances: np.ndarray, ranges: np.ndarray) -> np.ndarray:  # (D,), (D,) -> (D,)
    """The unit of each feature, infinite if it never varied.

    It is larger than the standard deviation, above all of one that varies rarely, as a pixel at the edge of an image.
    """
    return np.where(variances > 0, np.sqrt(variances) + FLOOR * ranges, np.inf)


def least_variance(scores: np.ndarray) -> float:  # (4,), of logarithms of densities
    """What is added to variances in units of `scale_of`: the more, the wider densities spread, up to 1.

    On tables they spread 1 to 12 times as wide as expected, and more than a thousandth would cost accuracy; on images
    100 times and more, because pixels are often equal in all samples so far and yet differ in the next.
    """
    return float(min(LEAST + (1 / trust_of(scores) ** 2 / 100) ** 3, 1))


def factor_of(covariance: np.ndarray, ranges: np.ndarray, weight: float, least: float) -> np.ndarray:
    """The factor for `standardised`, if samples of this weight have this covariance and features may be independent.

    Shapes: (D, D), (D,), (), () -> (D, D).
    """
    variances = np.diag(covariance)
    scale = scale_of(variances, ranges)
    own = covariance * (weight / (weight + PRIOR)) / scale[:, None] / scale
    np.fill_diagonal(own, np.where(scale < np.inf, variances / scale**2 + least, 1))
    factor = np.linalg.cholesky(own) * np.where(scale < np.inf, scale, 1)[:, None]
    np.fill_diagonal(factor, np.where(scale < np.inf, np.diag(factor), np.inf))
    return factor


def log_density(squares: np.ndarray, known: np.ndarray, freedom: float) -> np.ndarray:  # (B,), (B,) -> (B,)
    """The logarithm of the density at a squared distance from the mean, with so many known features, over that at the
    mean."""
    return -(freedom + known) / 2 * np.log1p(squares / freedom)


def freedom_of(scores: np.ndarray) -> float:  # (4,), of logarithms of squared distances, as `count_samples` has them
    """The degrees of freedom of the t-distribution: the wider distances spread, the fewer."""
    weight, _, squares, expected = scores
    of_eight = 0.28  # what is assumed: 8 degrees
    excess = max((squares - expected + PRIOR * of_eight) / (weight + PRIOR), 1e-3)
    return float((1 + np.sqrt(1 + 2 * excess)) / excess)  # polygamma(1, x) is about 1 / x + 1 / (2 x^2)


def trust_of(scores: np.ndarray) -> float:  # (4,), of logarithms of densities, as `count_samples` has them
    """The factor with which logarithms of densities spread as those of independent normal features do.

    They spread more where features repeat one another in ways that densities do not know, and then are too sure.
    """
    _, _, squares, expected = scores
    return float(np.sqrt(expected / squares)) if 0 < expected < squares else 1.0


def frequencies(counts: np.ndarray, assumed: np.ndarray) -> np.ndarray:  # (L,), (L,) -> (L,)
    """How frequent levels with these counts are, if they are assumed to be as frequent as in `assumed`."""
    return (counts + OF_LEVELS * assumed / assumed.sum()) / (counts.sum() + OF_LEVELS)


def count_samples(samples: np.ndarray, shares: np.ndarray, scores: Any, expected: Any, *counted: np.ndarray) -> None:
    """Count samples one after another.

    Args:
        samples: (D, B), NaN if unknown.
        shares: (B,), how much each counts.
        scores: (2, B), logarithms of squared distances and of densities; those that are not finite do not count.
        expected: (2, B), how large their squared deviations would be if features were independent and normal.
        counted: changed in place. Of each feature, the weight of its values, their mean, (D,), and the least and the
            largest, (2, D); the sum of products of deviations from the mean, in the lower triangle of (D, D);
            and of the scores their weight, mean, squared deviations and expected ones, (2, 4).
    """
    *of_features, of_scores = counted
    compiled(_count)(plain(samples.T), plain(shares), *of_features)
    compiled(_count_scores)(plain(scores), plain(expected), plain(shares), of_scores)


def _count(
    samples: np.ndarray,  # (B, D)
    shares: np.ndarray,
    known: np.ndarray,
    mean: np.ndarray,
    ends: np.ndarray,
    scatter: np.ndarray,
) -> None:
    size = len(mean)
    for b in range(len(samples)):
        share, deviations = shares[b], np.zeros(size)
        for i in range(size):
            difference = samples[b, i] - mean[i]
            if difference == difference:
                if scatter[i, i] > 0:
                    reach = WRONG * (1 + FEW / known[i]) * np.sqrt(scatter[i, i] / known[i])
                    difference = min(max(difference, -reach), reach)
                if known[i] == 0:
                    ends[:, i] = samples[b, i]
                ends[0, i] = min(ends[0, i], mean[i] + difference)
                ends[1, i] = max(ends[1, i], mean[i] + difference)
                known[i] += share
                mean[i] += difference * share / known[i]
                deviations[i] = difference * np.sqrt(share * (1 - share / known[i]))
        for i in range(size):
            if deviations[i] != 0:
                scatter[i, : i + 1] += deviations[i] * deviations[: i + 1]


def _count_scores(scores: np.ndarray, expected: np.ndarray, shares: np.ndarray, counted: np.ndarray) -> None:
    for k, b in np.ndindex(scores.shape):
        share, own, difference = shares[b], counted[k], scores[k, b] - counted[k, 1]
        if np.isfinite(difference):
            if own[2] > 0:
                reach = RARE * (1 + FEW / own[0]) * np.sqrt(own[2] / own[0])
                difference = min(max(difference, -reach), reach)
            own[0] += share
            own[1] += difference * share / own[0]
            own[2] += share * difference**2 * (1 - share / own[0])
            own[3] += share * expected[k, b]
