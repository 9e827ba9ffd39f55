"""Networks that learn one stream at different rates, weighted by how well each predicted recently.

A stationary stream needs a low learning rate, one that has just drifted a high one. Each network has a fading sum of
its losses, in which older ones count less; the prediction is the mean of the networks weighted by
exp(-SHARPNESS * sum). Source: N. Cesa-Bianchi and G. Lugosi, Prediction, Learning, and Games, 2006, sections 2.1
(weights) and 2.11 (losses that count less with time).

Shapes: M networks, C heads, T targets (1 for classes and for quantiles), n samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gln.learning.calibration import Blend
from gln.learning.many import log_share

__all__ = ["Mixture", "VarianceMixture", "losses_of", "weights_of"]

# Accuracy is the same within .1 points for fadings of .9 to .995 and sharpnesses of .1 to 1.
FADING, SHARPNESS = 0.99, 0.3
# Caps, so that no single sample decides.
LEAST_PROBABILITY, LARGEST_LOSS, LARGEST_DEVIATION = 0.001, 5.0, 5.0
TINY = 1e-12
# NLL is the same within .01 for fadings of .99 to .999 and, on targets without glitches, for caps of 25 or more, or
# none. Lower caps give the most accurate intervals, higher ones the lowest NLL.
SCALE_FADING, MOST_RATIO = 0.997, 100.0
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
        before = np.empty(losses.shape)
        for b in range(losses.shape[2]):
            before[..., b] = self.losses if b % batch_size == 0 else before[..., b - 1]
            self._count(losses[..., b], 1.0 if shares is None else shares[b])
        return before

    def _count(self, loss: np.ndarray, share: float) -> None:  # (M, T), ()
        known = np.isfinite(loss[0])  # unknown targets are not counted
        loss, fading = np.where(known, loss, 0), share * (1 - FADING) * known
        if self.spread is not None:
            self.spread = self.spread + fading * (loss.min(axis=0) - self.spread)
            loss = np.minimum(loss / np.maximum(2 * self.spread, TINY), LARGEST_LOSS)
        self.losses = self.losses + share * loss - fading * self.losses

    def blend(self, group: Any) -> tuple[Blend, str]:
        """The weights now of a `Group` of networks, and the link of what is summed."""
        offset = log_share(group.heads) if group.link == "logit" else 0.0
        return Blend(weights_of(self.losses), np.array([offset])), group.link

    def with_targets(self, kept: Sequence[int], new: int) -> Mixture:
        """A mixture for the targets `kept`, followed by `new` new ones."""
        fresh = Mixture.equal(len(self.losses), new, "logit" if self.spread is None else "itself")
        spread = None if self.spread is None else np.concatenate([self.spread[list(kept)], fresh.spread])
        return Mixture(np.concatenate([self.losses[:, list(kept)], fresh.losses], axis=1), spread)

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
        self.scale = _fading_means(self.scale, ratios, SCALE_FADING, shares)[:, -1]

    def learn_recent(self, deviations: np.ndarray, shares: np.ndarray | None = None, batch_size: int = 1) -> np.ndarray:
        """Learn `recent` from deviations (T, n), and return it before each sample, or before its batch: (T, n)."""
        squares = np.where(np.isfinite(deviations), np.square(deviations), np.nan)
        means = _fading_means(self.recent, squares, RECENT_FADING, shares)
        self.recent = means[:, -1]
        return means[:, np.arange(deviations.shape[1]) // batch_size * batch_size]

    def blend(self, group: Any) -> tuple[Blend, str]:
        weights = weights_of(self.losses) * self.scale
        return Blend(weights[:-1], weights[-1] * self.recent), "itself"  # variances, not logarithms


def _fading_means(mean: Any, values: np.ndarray, fading: float, shares: np.ndarray | None) -> np.ndarray:
    """The fading mean before each sample, and after the last; NaN is an unknown value.

    Shapes: (T,), (T, n), (), (n,) -> (T, n + 1).
    """
    means = np.empty((values.shape[0], values.shape[1] + 1))
    means[:, 0] = mean
    for b, value in enumerate(values.T):
        step = (1 - fading) * (1.0 if shares is None else shares[b])
        means[:, b + 1] = means[:, b] + np.where(np.isnan(value), 0, step * (value - means[:, b]))
    return means


def weights_of(losses: np.ndarray) -> np.ndarray:  # (M, ...) -> (M, ...)
    """The networks' weights, which sum to one, from their sums of losses."""
    weights = np.exp(SHARPNESS * (losses.min(axis=0) - losses))
    return weights / weights.sum(axis=0)


def losses_of(config: Any, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:  # (M, C, n), (C, n) -> (M, T, n)
    """Losses of networks with this `config`: -log p of the class, squared errors, the quantiles' loss, or for variances
    -log p of the deviation, capped."""
    if config.record.link == "log":
        known = np.where(np.isfinite(targets), targets, np.nan)
        return (np.log(predicted) + np.minimum(np.square(known) / predicted, LARGEST_DEVIATION**2)) / 2
    if config.record.heads == "num_classes":
        if len(targets) == 1:
            p = np.abs(predicted + targets - 1)
        else:  # with many classes, a sample updates only some heads, and only these have predicted
            taught = np.where(np.isfinite(targets), predicted, 0)
            p = (taught * (targets == 1)).sum(axis=1, keepdims=True) / taught.sum(axis=1, keepdims=True)
        return -np.log(np.maximum(p, LEAST_PROBABILITY))
    errors = targets - predicted
    if config.record.heads == "quantiles":
        levels = np.array(config.quantiles)[:, None]
        return np.maximum(levels * errors, (levels - 1) * errors).sum(axis=1, keepdims=True)
    return np.square(errors)
