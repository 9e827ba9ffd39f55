"""The loops of `gln.learning.mixture` and of how its models are combined, which Numba compiles where it is installed.

Shapes: M models, C heads, T targets (1 for classes and for quantiles), n samples.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    *("FADING", "SHARPNESS", "add_linear", "fading_means", "losses_of_members", "mixed_by_losses", "sums_before"),
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
    batch_size: int,
) -> np.ndarray:
    """The fading sums before each sample, or before its batch, (M, T, n)."""
    before = np.empty(losses.shape)
    for b in range(losses.shape[2]):
        share = shares[b % len(shares)]
        step = share * (1 - FADING)
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


def add_linear(predicted: np.ndarray, said: np.ndarray, are_logits: bool) -> None:  # (M, C, n), (m C, n)
    """Fill the last m of the predictions with those of linear models."""
    models, heads, count = predicted.shape
    first = models - len(said) // heads
    for m in range(first, models):
        for c in range(heads):
            for b in range(count):
                s = float(said[(m - first) * heads + c, b])
                predicted[m, c, b] = 1 / (1 + math.exp(-s)) if are_logits else s


def mixed_by_losses(predicted: np.ndarray, losses: np.ndarray, offset: float, are_logits: bool) -> np.ndarray:
    """The mean of predictions, or of their logits, weighted by `weights_of` losses: (M, C, n), (M, T) -> (C, n)."""
    models, heads, n = predicted.shape
    mixed, weights = np.zeros((heads, n)), np.zeros(models)
    for c in range(heads):
        t, total = min(c, losses.shape[1] - 1), 0.0
        least = losses[0, t]
        for m in range(models):  # NumPy's functions take seconds to compile
            least = min(least, losses[m, t])
        for m in range(models):
            weights[m] = math.exp(SHARPNESS * (least - losses[m, t]))
            total += weights[m]
        for b in range(n):
            s = offset
            for m in range(models):
                p = float(predicted[m, c, b])
                if are_logits:
                    p = min(max(p, 2.0**-126), 1 - 2.0**-24)  # float32's neighbours of 0 and 1
                    p = math.log(p) - math.log1p(-p)
                s += weights[m] / total * p
            mixed[c, b] = 1 / (1 + math.exp(-s)) if are_logits else s
    return mixed


def losses_of_members(predicted: np.ndarray, targets: np.ndarray, are_classes: bool) -> np.ndarray:
    """-log p of each sample's class, or squared errors: (M, C, n), (C, n) -> (M, 1 or C, n); NaN if they are unknown.

    With many classes, only the heads that a sample updates predict.
    """
    models, heads, count = predicted.shape
    losses = np.empty((models, 1 if are_classes else heads, count))
    for m, b in np.ndindex(models, count):
        if not are_classes:
            for c in range(heads):
                losses[m, c, b] = (np.float64(targets[c, b]) - np.float64(predicted[m, c, b])) ** 2
            continue
        own, total = 0.0, 0.0
        if heads == 1:
            own, total = abs(np.float64(predicted[m, 0, b]) + np.float64(targets[0, b]) - 1.0), 1.0
        for c in range(heads if heads > 1 else 0):
            if math.isfinite(targets[c, b]):
                total += np.float64(predicted[m, c, b])
                own += np.float64(predicted[m, c, b]) if targets[c, b] == 1 else 0.0
        losses[m, 0, b] = -math.log(max(own / total, LEAST_PROBABILITY)) if total > 0 and own == own else np.nan
    return losses
