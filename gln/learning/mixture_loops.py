"""The loops of `gln.learning.mixture` and of how its models are combined, which Numba compiles where it is installed.

Shapes: M models, C heads, T targets (1 for classes and for quantiles), n samples.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    *("FADING", "LEAST_PROBABILITY", "SHARPNESS", "count_single", "fading_means", "mixed_by_losses", "of_class"),
    *("sums_before", "with_linear"),
]

# Accuracy is the same within .1 points for fadings of .9 to .995 and sharpnesses of .1 to 1.
FADING, SHARPNESS = 0.99, 0.3
LEAST_PROBABILITY, LARGEST_LOSS = 0.001, 5.0  # caps, so that no single sample decides
TINY = 1e-12


def sums_before(
    losses: np.ndarray,  # (M, T, n), those of unknown targets not finite
    sums: np.ndarray,  # (M, T), changed
    spread: np.ndarray,  # (T,), changed; (0,) if losses are not divided by it
    shares: np.ndarray,  # (n,) or (1,)
    steps: np.ndarray,  # (n,) or (1,)
    batch_size: int,
) -> np.ndarray:
    """The fading sums before each sample, or before its batch, (M, T, n)."""
    before = np.empty(losses.shape)
    for b in range(losses.shape[2]):
        share, step = shares[b % len(shares)], steps[b % len(steps)]
        for t in range(losses.shape[1]):
            least, is_known = losses[0, t, b], np.isfinite(losses[0, t, b])
            for m in range(1, len(losses)):
                least = min(least, losses[m, t, b])
            if is_known and len(spread) > 0:
                spread[t] += step * (least - spread[t])
            for m in range(len(losses)):
                total = sums[m, t]
                before[m, t, b] = total if b % batch_size == 0 else before[m, t, b - 1]
                if is_known and len(spread) > 0:
                    loss = min(losses[m, t, b] / max(2 * spread[t], TINY), LARGEST_LOSS)
                    sums[m, t] = total + share * loss - step * total
                elif is_known:
                    sums[m, t] = total + share * losses[m, t, b] - step * total
    return before


def fading_means(mean: np.ndarray, values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The fading mean before each sample, and after the last; NaN is an unknown value.

    Shapes: (T,), (T, n), (n,) or (1,) -> (T, n + 1).
    """
    means = np.empty((len(values), values.shape[1] + 1))
    for t in range(len(values)):
        means[t, 0] = mean[t]
        for b in range(values.shape[1]):
            is_known, step = np.isfinite(values[t, b]), steps[b % len(steps)]
            means[t, b + 1] = means[t, b] + (step * (values[t, b] - means[t, b]) if is_known else 0.0)
    return means


def with_linear(predicted: np.ndarray, said: np.ndarray, are_logits: bool) -> np.ndarray:
    """Predictions of networks, followed by those of linear models: (M, C, n), (m, C, n) -> (M + m, C, n)."""
    count, heads, n = predicted.shape
    joined = np.empty((count + len(said), heads, n), np.float32)
    for m in range(len(joined)):
        for c in range(heads):
            for b in range(n):
                if m < count:
                    joined[m, c, b] = predicted[m, c, b]
                else:
                    s = said[m - count, c, b]
                    joined[m, c, b] = 1 / (1 + math.exp(-s)) if are_logits else s
    return joined


def mixed_by_losses(predicted: np.ndarray, losses: np.ndarray, offset: float, are_logits: bool) -> np.ndarray:
    """The mean of predictions, or of their logits, weighted by `weights_of` losses: (M, C, n), (M, T) -> (C, n)."""
    models, heads, n = predicted.shape
    mixed, weights = np.zeros((heads, n)), np.zeros(models)
    for c in range(heads):
        own = losses[:, min(c, losses.shape[1] - 1)]
        for m in range(models):
            weights[m] = math.exp(SHARPNESS * (own.min() - own[m]))
        weights /= weights.sum()
        for b in range(n):
            s = offset
            for m in range(models):
                p = float(predicted[m, c, b])
                if are_logits:
                    p = min(max(p, 2.0**-126), 1 - 2.0**-24)  # float32's neighbours of 0 and 1
                    p = math.log(p) - math.log1p(-p)
                s += weights[m] * p
            mixed[c, b] = 1 / (1 + math.exp(-s)) if are_logits else s
    return mixed


def of_class(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:  # (M, C, n), (C, n) -> (M, 1, n)
    """The probability of each sample's class, or NaN. With many classes, only the heads that it updates predict."""
    models, heads, count = predicted.shape
    p = np.empty((models, 1, count), np.float32)
    for m, b in np.ndindex(models, count):
        if heads == 1:
            p[m, 0, b] = abs(predicted[m, 0, b] + targets[0, b] - np.float32(1))
            continue
        own = total = np.float32(0)
        for c in range(heads):
            if np.isfinite(targets[c, b]):
                total += predicted[m, c, b]
                own += predicted[m, c, b] if targets[c, b] == 1 else np.float32(0)
        p[m, 0, b] = own / total if total > 0 else np.nan
    return p


def count_single(
    predicted: np.ndarray,  # (M, C, 1)
    y: np.ndarray,  # (C, 1)
    are_classes: bool,
    losses: np.ndarray,  # (M, T), changed
    spread: np.ndarray,  # as for `sums_before`
    share: np.ndarray,  # (1,)
) -> None:
    """Count the losses of one sample."""
    models, heads = predicted.shape[:2]
    now = np.empty((models, 1 if are_classes else heads, 1))
    p = of_class(predicted, y)
    for m in range(models):
        if are_classes:
            now[m, 0, 0] = -math.log(max(p[m, 0, 0], LEAST_PROBABILITY))
        for c in range(0 if are_classes else heads):  # as arrays, it takes seconds to compile
            now[m, c, 0] = (y[c, 0] - predicted[m, c, 0]) ** 2
    sums_before(now, losses, spread, share, share * (1 - FADING), 1)
