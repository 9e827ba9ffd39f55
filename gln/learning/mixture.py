"""Networks that learn one stream at different rates, weighted by how well each predicted recently.

A stationary stream needs a low learning rate, one that has just drifted a high one. Each network has a fading sum of
its losses, in which older ones count less; the prediction is the mean of the networks weighted by
exp(-SHARPNESS * sum). Source: N. Cesa-Bianchi and G. Lugosi, Prediction, Learning, and Games, 2006, sections 2.1
(weights) and 2.11 (losses that count less with time).

Shapes: M networks, C heads, T targets (1 for classes and for quantiles), n samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gln.learning.calibration import Blend
from gln.learning.compiled import compiled, plain
from gln.learning.many import log_share

__all__ = ["FADING", "LEAST_PROBABILITY", "Mixture", "VarianceMixture", "losses_of", "mixed_by_losses", "of_class", "sums_before", "weights_of", "with_linear"]

# Accuracy is the same within .1 points for fadings of .9 to .995 and sharpnesses of .1 to 1.
FADING, SHARPNESS = 0.99, 0.3
# Caps, so that no single sample decides.
LEAST_PROBABILITY, LARGEST_LOSS, LARGEST_DEVIATION = 0.001, 5.0, 5.0
TINY = 1e-12
# NLL is the same within .01 for fadings of .99 to .999 and, on targets without glitches, for caps of 25 or more, or
# none. Lower caps give the most accurate intervals, higher ones the lowest NLL.
SCALE_FADING, MOST_RATIO = 0.997, 100.0
UNWEIGHTED = np.ones(1, np.float32)  # shares of any number of samples
RECENT_FADING = 0.95  # NLL is the same within .01 for .9 to .98; where means suddenly fail, lower is better


@dataclasses.dataclass
class Mixture:
    """How well each network predicted recently."""

    losses: np.ndarray  # (M, T), fading sums
    spread: np.ndarray | None  # (T,), the fading mean of the lowest loss, by which losses of numbers are divided

    @classmethod
    def equal(cls, networks: int, targets: int, link: str) -> Mixture:
        """Equal weights, before any loss is known; `link` is that of the networks' loss."""
        if link == "log":
            return VarianceMixture(np.zeros((networks + 1, targets)), None, np.ones(targets), np.ones(targets))
        return Mixture(np.zeros((networks, targets)), np.ones(targets) if link == "itself" else None)

    def learn(
        self,
        config: Any,  # of the networks
        predicted: np.ndarray,  # (M, C, n)
        targets: np.ndarray,  # (C, n)
        shares: np.ndarray | None = None,  # (n,), how much each sample counts
        batch_size: int = 1,
    ) -> np.ndarray:  # (M, T, n)
        """Count the losses of samples, and return the sums before each sample, or before its batch."""
        return self.count(losses_of(config, predicted, targets), shares, batch_size)

    def count(self, losses: np.ndarray, shares: np.ndarray | None = None, batch_size: int = 1) -> np.ndarray:
        """`learn` for losses, (M, T, n), of which those of unknown targets are not finite, and not counted."""
        sums = np.array(self.losses, np.float64, order="C")  # copies: the loop writes to them
        spread = np.zeros(0) if self.spread is None else np.array(self.spread, np.float64)
        own = UNWEIGHTED if shares is None else np.asarray(shares, np.float32), _steps(1 - FADING, shares)
        before = compiled(sums_before)(np.ascontiguousarray(losses), sums, spread, *own, batch_size)
        self.losses, self.spread = sums, None if self.spread is None else spread
        return before

    def blend(self, group: Any) -> tuple[Blend, str]:
        """The weights now of a `Group` of networks, and the link of what is summed."""
        offset = log_share(group.heads) if group.link == "logit" else 0.0
        return Blend(weights_of(self.losses), np.array([offset])), group.link

    def with_targets(self, kept: Sequence[int], new: int) -> Mixture:
        """A mixture for the targets `kept`, followed by `new` new ones."""
        fresh = Mixture.equal(len(self.losses), new, "logit" if self.spread is None else "itself")
        spread = None if self.spread is None else np.concatenate([self.spread[list(kept)], fresh.spread])
        return Mixture(np.concatenate([self.losses[:, list(kept)], fresh.losses], axis=1), spread)

    def with_models(self, new: int) -> Mixture:
        """A mixture with new models, which predict what the last one predicted so far."""
        return Mixture(np.concatenate([self.losses, self.losses[-1:].repeat(new, axis=0)]), self.spread)

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Mixture:
        """The mixture of which a file holds these fields."""
        known = {name: value for name, value in state.items() if value is not None or name == "spread"}
        return (VarianceMixture if "scale" in known else Mixture)(**known)


@dataclasses.dataclass
class VarianceMixture(Mixture):
    """Adds what networks of variances do not know themselves."""

    # (T,), factor of the variances: the fading mean of squared deviations, each divided by its predicted variance.
    # Networks underestimate variances of targets with long tails, because their loss caps outliers.
    scale: np.ndarray
    # (T,), the fading mean of the last squared deviations, weighted like the prediction of one more network. It widens
    # intervals within a few samples when something happens that the features do not tell.
    recent: np.ndarray

    def learn(
        self,
        config: Any,
        predicted: np.ndarray,
        targets: np.ndarray,
        shares: np.ndarray | None = None,
        batch_size: int = 1,
    ) -> np.ndarray:
        predicted = np.concatenate([predicted, self.learn_recent(targets, shares, batch_size)[None]])
        sums = super().learn(config, predicted, targets, shares, batch_size)
        self.rescale(targets, (weights_of(sums) * predicted).sum(axis=0), shares)
        return sums

    def rescale(self, deviations: np.ndarray, variances: np.ndarray, shares: np.ndarray | None = None) -> None:
        """Learn `scale` from deviations (T, n) and the combined predictions of their variances (T, n)."""
        ratios = np.minimum(np.square(deviations) / variances, MOST_RATIO)
        ratios[~np.isfinite(deviations)] = np.nan
        steps = _steps(1 - SCALE_FADING, shares)
        self.scale = compiled(_fading_means)(plain(self.scale), plain(ratios), steps)[:, -1]

    def learn_recent(self, deviations: np.ndarray, shares: np.ndarray | None = None, batch_size: int = 1) -> np.ndarray:
        """Learn `recent` from deviations (T, n), and return it before each sample, or before its batch: (T, n)."""
        squares = np.where(np.isfinite(deviations), np.square(deviations), np.nan)
        steps = _steps(1 - RECENT_FADING, shares)
        means = compiled(_fading_means)(plain(self.recent), plain(squares), steps)
        self.recent = means[:, -1]
        return means[:, np.arange(deviations.shape[1]) // batch_size * batch_size]

    def blend(self, group: Any) -> tuple[Blend, str]:
        weights = weights_of(self.losses) * self.scale
        return Blend(weights[:-1], weights[-1] * self.recent), "itself"  # variances, not logarithms


def _steps(step: float, shares: np.ndarray | None) -> np.ndarray:
    """How far fading means move towards a sample: (n,), or (1,) if all samples count the same."""
    return np.array([step]) if shares is None else (step * np.asarray(shares, np.float32)).astype(np.float64)


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


def _fading_means(mean: np.ndarray, values: np.ndarray, steps: np.ndarray) -> np.ndarray:
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


def weights_of(losses: np.ndarray) -> np.ndarray:  # (M, ...) -> (M, ...)
    """The networks' weights, which sum to one, from their sums of losses."""
    weights = np.exp(SHARPNESS * (np.minimum.reduce(losses) - losses))
    return weights / np.add.reduce(weights)


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


def losses_of(config: Any, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:  # (M, C, n), (C, n) -> (M, T, n)
    """Losses of networks with this `config`: -log p of the class, squared errors, the quantiles' loss, or for variances
    -log p of the deviation, capped."""
    if config.record.link == "log":
        known = np.where(np.isfinite(targets), targets, np.nan)
        return (np.log(predicted) + np.minimum(np.square(known) / predicted, LARGEST_DEVIATION**2)) / 2
    if config.record.heads == "num_classes":
        p = compiled(of_class)(np.ascontiguousarray(predicted, np.float32), np.ascontiguousarray(targets, np.float32))
        return -np.log(np.maximum(p, LEAST_PROBABILITY))
    errors = targets - predicted
    if config.record.heads == "quantiles":
        levels = np.array(config.quantiles)[:, None]
        return np.maximum(levels * errors, (levels - 1) * errors).sum(axis=1, keepdims=True)
    return np.square(errors)


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
