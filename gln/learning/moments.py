"""Mean and spread of features, and the values that are too far from both to be trusted.

Shapes: B samples, d features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["FEW", "Moments", "divisor", "moments_of", "outliers", "standardise", "widened"]

FEW = 10  # values: with so few the scale is uncertain, so the limit is wider


class Moments(NamedTuple):
    """What is counted of the known values of d features, (d,) each."""

    known: np.ndarray  # their number
    mean: np.ndarray
    squares: np.ndarray  # sum of squared deviations
    low: np.ndarray
    high: np.ndarray


def moments_of(x: np.ndarray) -> Moments:  # (d, B)
    known = ~np.isnan(x)
    count = known.sum(axis=1)
    origin = x[np.arange(len(x)), known.argmax(axis=1)]  # sums of differences lose fewer digits
    difference = np.where(known, x - origin[:, None], 0)
    shift = difference.sum(axis=1) / np.maximum(count, 1)
    difference = np.where(known, difference - shift[:, None], 0)
    mean = np.where(count > 0, origin + shift, 0)
    low, high = mean + difference.min(axis=1), mean + difference.max(axis=1)
    return Moments(count, mean, np.square(difference).sum(axis=1), low, high)


def divisor(moments: Moments, floor: float) -> np.ndarray:  # -> (d,)
    """The scale that values are divided by; infinite for features that never varied, so that they become 0."""
    deviation = np.sqrt(moments.squares / np.maximum(moments.known, 1))
    scale = deviation + floor * (moments.high - moments.low)
    return np.where(scale > 0, scale, np.inf)


def widened(limit: float, count: np.ndarray) -> np.ndarray:
    """The limit for a scale estimated from `count` values: wider for few, whose scale is uncertain."""
    return limit * (1 + FEW / np.maximum(count, 1))


def outliers(x: np.ndarray, limit: float, floor: float) -> np.ndarray:  # (d, B) -> (d, B) of bools
    """Which values are further than `limit` scales from the mean, both computed from the other values in the row."""
    if x.shape[1] > FEW:  # mean and deviation of the others follow from those of all
        count, mean, squares, low, high = (each[:, None] for each in moments_of(x))
        n, limits = np.maximum(count, 2), widened(limit, count)
        deviation = np.sqrt(squares / n * (n - 1) / (n + limits**2))
        return np.abs(x - mean) > limits * (deviation + floor * (high - low))
    others = np.where(np.eye(x.shape[1], dtype=bool), np.nan, x[:, None]).reshape(-1, x.shape[1])
    moments = moments_of(others)
    reach = widened(limit, moments.known + 1) * divisor(moments, floor)
    return np.abs(x - moments.mean.reshape(x.shape)) > reach.reshape(x.shape)


def standardise(
    samples: np.ndarray,  # (D, B)
    features: np.ndarray,  # (7, D), changed if this `learns`
    learns: bool,
    floor: float,
    limit: float,
    far: float,
    bound: float,
    missing: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised samples, (D, B), each counted before if this `learns`.

    Also returns the means and scales before each and after the last, (2, D, B + 1).
    """
    size, total = samples.shape
    standardised, before = np.empty(samples.shape, np.float32), np.empty((2, size, total + 1))
    for i in range(size):
        own = features[:, i]
        count, mean, squares, low, high, divisor, reach = own[0], own[1], own[2], own[3], own[4], own[5], own[6]
        scale = divisor if divisor < np.inf else 0.0
        before[0, i, 0], before[1, i, 0] = mean, scale
        for b in range(total):
            x = samples[i, b]
            if learns and x == x:  # NaN is not
                count += 1
                difference = min(max(x - mean, -reach), reach)
                low, high = min(low, mean + difference), max(high, mean + difference)
                if count == 1:
                    low = high = x
                step = difference / count
                mean += step
                squares += difference * (difference - step)
                scale = np.sqrt(squares / count) + floor * (high - low)
                divisor = scale if scale > 0 else np.inf
                reach = limit * (1 + FEW / count) * divisor
            z = (x - mean) / divisor
            is_missing = z != z or abs(z) >= far
            standardised[i, b] = missing if is_missing else min(max(z, -bound), bound)
            before[0, i, b + 1], before[1, i, b + 1] = mean, scale
        own[0], own[1], own[2], own[3], own[4], own[5], own[6] = count, mean, squares, low, high, divisor, reach
    return standardised, before
