"""Hedge: networks that learn one stream at different rates, weighted by how well each predicted recently.

A stationary stream needs a low learning rate, one that has just drifted a high one. Each network is an expert with a
fading sum of its losses, in which older ones count less; the prediction is the mean of the experts weighted by
exp(-SHARPNESS * sum). Source: N. Cesa-Bianchi and G. Lugosi, Prediction, Learning, and Games, 2006, sections 2.1
(weights) and 2.11 (losses that count less with time).

Shapes: M experts, C heads, T targets (1 for classes), n samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from gln.engine.ensemble.johnson_su import JohnsonSU, follow_quartiles
from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.saving import SAVED, Array, saved
from gln_numpy import Config

# Accuracy is the same within .1 points for fadings of .9 to .995 and sharpnesses of .1 to 1.
FADING, SHARPNESS = 0.99, 0.3
MIN_PROBABILITY, MAX_LOSS, MAX_DEVIATION = 0.001, 5.0, 5.0  # caps, so that no single sample decides
# NLL is the same within .01 for fadings of .99 to .999 and, on targets without glitches, for caps of 25 or more, or
# none. Lower caps give the most accurate intervals, higher ones the lowest NLL.
SCALE_FADING, MAX_RATIO = 0.997, 100.0
RECENT_FADING = 0.95  # NLL is the same within .01 for .9 to .98; where means suddenly fail, lower is better
TINY = 1e-12
ONE = np.ones(1)  # how long a step each sample makes, of any number of them


@saved(**{"losses": Array("f8", "M T"), "spread": (Array("f8", "*", 0), None)})
@dataclasses.dataclass
class Hedge(WritableArrays):
    """How well each expert predicted recently."""

    losses: np.ndarray  # (M, T), fading sums
    spread: np.ndarray | None  # (T,), the fading mean of the lowest loss, by which losses of numbers are divided

    @classmethod
    def equal(cls, experts: int, targets: int, link: str) -> Hedge:
        """Equal weights, before any loss is known; `link` is that of the networks' loss."""
        if link == "log":
            return VarianceHedge(np.zeros((experts + 1, targets)), None, np.ones(targets), np.ones(targets))
        return Hedge(np.zeros((experts, targets)), np.ones(targets) if link == "itself" else None)

    def add(self, losses: np.ndarray, step_sizes: np.ndarray = ONE, batch_size: int = 1) -> np.ndarray:
        """Add losses of samples to the sums, and return the sums before each sample, or before its batch: (M, T, n) ->
        (M, T, n). Losses of unknown targets are not finite, and are left out."""
        spread = np.zeros(0) if self.spread is None else self.spread
        return compiled(fading_sums)(plain(losses), self.losses, spread, step_sizes, batch_size)

    def with_targets(self, kept: Sequence[int], new: int) -> Hedge:
        losses = np.pad(self.losses[:, list(kept)], [(0, 0), (0, new)]).copy()  # in the order that loops take
        spread = None if self.spread is None else np.append(self.spread[list(kept)], np.ones(new))
        return Hedge(losses, spread)


@saved(**SAVED[Hedge], **{"scale": Array("f8", "*", 0), "recent": Array("f8", "*", 0)})
@dataclasses.dataclass
class VarianceHedge(Hedge):
    """Adds what networks of variances do not know themselves."""

    # (T,), factor of the variances: the fading mean of squared deviations, each divided by its predicted variance.
    # Networks underestimate variances of targets with long tails, because their loss caps outliers.
    scale: np.ndarray
    # (T,), the fading mean of the last squared deviations, weighted like the prediction of one more network. It widens
    # intervals within a few samples when something happens that the features do not tell.
    recent: np.ndarray

    def learn_deviations(
        self,
        predicted: np.ndarray,  # (M, T, n), variances
        deviations: np.ndarray,  # (T, n)
        shape: JohnsonSU | None,  # whose tails follow the deviations
        step_sizes: np.ndarray = ONE,  # (n,) or (1,)
        batch_size: int = 1,
    ) -> np.ndarray:
        """Returns the combined variances before each sample, or before its batch, and the tails: (2 T, n)."""
        samples = np.asarray(predicted, np.float32), np.asarray(deviations, np.float32)
        changed = self.losses, self.scale, self.recent, (shape or JohnsonSU.normal(len(self.scale))).tails
        return np.concatenate(compiled(learn_variances)(*samples, *changed, step_sizes, batch_size))


def expert_weights(losses: np.ndarray) -> np.ndarray:  # (M, ...) -> (M, ...)
    """The experts' weights, which sum to one, from their sums of losses."""
    return np.apply_along_axis(weights_of, 0, losses)


def expert_losses(config: Config, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Losses of networks with this `config`: -log p of the class, or squared errors: (M, C, n), (C, n) -> (M, T, n)."""
    arrays = np.ascontiguousarray(predicted, np.float32), np.ascontiguousarray(targets, np.float32)
    kinds = 1 if config.record.heads == "num_classes" else predicted.shape[1]
    return compiled(log_or_squared_losses)(*arrays, kinds, config.logits)


def fading_sums(
    losses: np.ndarray,  # (M, T, n), those of unknown targets not finite
    sums: np.ndarray,  # (M, T), changed
    spread: np.ndarray,  # (T,), changed; (0,) if losses are not divided by it
    step_sizes: np.ndarray,  # (n,) or (1,)
    batch_size: int,
) -> np.ndarray:
    """The fading sums before each sample, or before its batch, (M, T, n)."""
    before = np.empty(losses.shape)
    for b in range(losses.shape[2]):
        step_size = step_sizes[b % len(step_sizes)]
        if step_size > 1:  # as much as so many samples in a row
            step_size = (1 - FADING**step_size) / (1 - FADING)
        step = step_size * (1 - FADING)
        for t in range(losses.shape[1]):
            least, is_known = losses[0, t, b], np.isfinite(losses[0, t, b])
            for m in range(1, len(losses)):
                least = min(least, losses[m, t, b])
            if is_known and len(spread) > 0:
                spread[t] += step * (least - spread[t])
            for m in range(len(losses)):
                total = sums[m, t]
                before[m, t, b] = total if b % batch_size == 0 else before[m, t, b - 1]
                if is_known:
                    loss = losses[m, t, b]
                    if len(spread) > 0:
                        loss = min(loss / max(2 * spread[t], TINY), MAX_LOSS)
                    sums[m, t] = total + step_size * loss - step * total
    return before


def combine_variances(
    predicted: np.ndarray, losses: np.ndarray, scale: np.ndarray, recent: np.ndarray
) -> np.ndarray:  # (M, T, n), (M + 1, T), (T,), (T,) -> (T, n)
    """The combined predictions of variances, of which the last expert predicts `recent`."""
    _, targets, count = predicted.shape
    combined = np.empty((targets, count))
    for t in range(targets):
        weights = weights_of(losses[:, t])
        for b in range(count):
            combined[t, b] = scale[t] * mean_variance(predicted[:, t, b], recent[t], weights)
    return combined


def weights_of(losses: np.ndarray) -> np.ndarray:  # (M,) -> (M,)
    """`expert_weights` of one target and sample, also for compiled code."""
    weights = np.exp(SHARPNESS * (losses.min() - losses))
    return weights / weights.sum()


def mean_variance(predicted: np.ndarray, recent: float, weights: np.ndarray) -> float:  # (M,), (), (M + 1,) -> ()
    mean = weights[-1] * recent
    for m in range(len(predicted)):
        mean += weights[m] * predicted[m]
    return mean


def learn_variances(
    predicted: np.ndarray,  # (M, T, n), before each sample, or before its batch
    deviations: np.ndarray,  # (T, n), not finite if unknown
    losses: np.ndarray,  # (M + 1, T), changed like the rest
    scale: np.ndarray,  # (T,)
    recent: np.ndarray,  # (T,)
    tails: np.ndarray,  # (T,), of a density without a skew
    step_sizes: np.ndarray,  # (n,) or (1,)
    batch_size: int,
) -> np.ndarray:
    """Learn deviations: the experts' losses, -log p of the deviation, capped, and the other fields.

    Returns the combined variances and the tails before each sample, or before its batch: (2, T, n).
    """
    models, targets, count = predicted.shape
    before = np.empty((2, targets, count))
    for t in range(targets):
        for b in range(count):
            if b % batch_size == 0:
                last, factor, tail, weights = recent[t], scale[t], tails[t], weights_of(losses[:, t])
            combined = mean_variance(predicted[:, t, b], last, weights)
            before[0, t, b], before[1, t, b] = factor * combined, tail
            if not np.isfinite(deviations[t, b]):
                continue
            square, size = np.float64(deviations[t, b]) ** 2, step_sizes[b % len(step_sizes)]
            ratio = min(square / combined, MAX_RATIO)
            follow_quartiles(tails, t, ratio / max(scale[t], TINY), size)
            scale[t] += share_of(1 - SCALE_FADING, size) * (ratio - scale[t])
            recent[t] += share_of(1 - RECENT_FADING, size) * (square - recent[t])
            size = size if size <= 1 else (1 - FADING**size) / (1 - FADING)  # as much as so many samples in a row
            for m in range(models + 1):
                variance = predicted[m, t, b] if m < models else last
                loss = (math.log(variance) + min(square / variance, MAX_DEVIATION**2)) / 2
                losses[m, t] += size * (loss - (1 - FADING) * losses[m, t])
    return before


def share_of(step: float, size: float) -> float:
    """By how much a sample of this size moves a fading mean, which one of size 1 moves by `step`."""
    return step * size if size <= 1 else 1 - (1 - step) ** size


def add_linear_predictions(predicted: np.ndarray, linear: np.ndarray, are_logits: bool) -> None:
    """Fill the last m of the predictions (M, C, n) with those of linear models, (m C, n) values or logits."""
    models, heads, count = predicted.shape
    first = models - len(linear) // heads
    for m in range(first, models):
        for c in range(heads):
            for b in range(count):
                s = float(linear[(m - first) * heads + c, b])
                predicted[m, c, b] = 1 / (1 + math.exp(-s)) if are_logits else s


def combine_by_losses(predicted: np.ndarray, losses: np.ndarray, offset: float, are_logits: bool) -> np.ndarray:
    """The mean of predictions, or of their logits, weighted as `expert_weights`: (M, C, n), (M, T, n or 1) -> (C, n).

    Sums of losses are those of all samples or, as `fading_sums` returns them, those before each.
    """
    models, heads, n = predicted.shape
    combined, weights, total = np.zeros((heads, n)), np.zeros(models), 0.0
    for c in range(heads):
        t = min(c, losses.shape[1] - 1)
        for b in range(n):
            if b < losses.shape[2]:
                least, total = losses[0, t, b], 0.0
                for m in range(models):  # NumPy's functions take seconds to compile
                    least = min(least, losses[m, t, b])
                for m in range(models):
                    weights[m] = math.exp(SHARPNESS * (least - losses[m, t, b]))
                    total += weights[m]
            s = offset
            for m in range(models):
                p = float(predicted[m, c, b])
                if are_logits:
                    p = min(max(p, 2.0**-126), 1 - 2.0**-24)  # float32's neighbours of 0 and 1
                    p = math.log(p) - math.log1p(-p)
                s += weights[m] / total * p
            combined[c, b] = 1 / (1 + math.exp(-s)) if are_logits else s
    return combined


def log_or_squared_losses(predicted: np.ndarray, targets: np.ndarray, kinds: int, are_logits: bool) -> np.ndarray:
    """-log p of each sample's class, or of each label, or squared errors: (M, C, n), (C, n) -> (M, T, n).

    T, the number of `kinds`, is 1 for classes and otherwise C. Losses of unknown targets are not finite. With many
    classes, only the heads that a sample updates predict.
    """
    models, heads, count = predicted.shape
    losses = np.empty((models, kinds, count))
    for m, b in np.ndindex(models, count):
        if kinds == heads:
            for c in range(heads):
                s, y = np.float64(predicted[m, c, b]), np.float64(targets[c, b])
                losses[m, c, b] = (y - s) ** 2
                if are_logits:
                    losses[m, c, b] = -math.log(max(abs(s + y - 1.0), MIN_PROBABILITY)) if y == y else np.nan
            continue
        p, total = 0.0, 0.0  # of the sample's class, and of all
        for c in range(heads):
            if math.isfinite(targets[c, b]):
                total += np.float64(predicted[m, c, b])
                p += np.float64(predicted[m, c, b]) if targets[c, b] == 1 else 0.0
        losses[m, 0, b] = -math.log(max(p / total, MIN_PROBABILITY)) if total > 0 and p == p else np.nan
    return losses
