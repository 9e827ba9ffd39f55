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
from gln.learning.compiled import compiled, plain
from gln.learning.many import log_share
from gln.learning.mixture_loops import SHARPNESS, fading_means, losses_of_members, sums_before
from gln.learning.owned import OwnsArrays

__all__ = ["Mixture", "VarianceMixture", "losses_of", "weights_of"]

LARGEST_DEVIATION = 5.0  # a cap, so that no single sample decides
# NLL is the same within .01 for fadings of .99 to .999 and, on targets without glitches, for caps of 25 or more, or
# none. Lower caps give the most accurate intervals, higher ones the lowest NLL.
SCALE_FADING, MOST_RATIO = 0.997, 100.0
UNWEIGHTED = np.ones(1)  # shares of any number of samples
RECENT_FADING = 0.95  # NLL is the same within .01 for .9 to .98; where means suddenly fail, lower is better


@dataclasses.dataclass
class Mixture(OwnsArrays):
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
        own = UNWEIGHTED if shares is None else plain(shares)
        before = compiled(sums_before)(plain(losses), sums, spread, own, batch_size)
        self.losses[:] = sums  # in place, because `gln.learning.single` gathers its arguments anew for other arrays
        if self.spread is not None:
            self.spread[:] = spread
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
        self.scale = compiled(fading_means)(plain(self.scale), plain(ratios), steps)[:, -1]

    def learn_recent(self, deviations: np.ndarray, shares: np.ndarray | None = None, batch_size: int = 1) -> np.ndarray:
        """Learn `recent` from deviations (T, n), and return it before each sample, or before its batch: (T, n)."""
        squares = np.where(np.isfinite(deviations), np.square(deviations), np.nan)
        steps = _steps(1 - RECENT_FADING, shares)
        means = compiled(fading_means)(plain(self.recent), plain(squares), steps)
        self.recent = means[:, -1]
        return means[:, np.arange(deviations.shape[1]) // batch_size * batch_size]

    def blend(self, group: Any) -> tuple[Blend, str]:
        weights = weights_of(self.losses) * self.scale
        return Blend(weights[:-1], weights[-1] * self.recent), "itself"  # variances, not logarithms


def _steps(step: float, shares: np.ndarray | None) -> np.ndarray:
    """How far fading means move towards a sample: (n,), or (1,) if all samples count the same."""
    return np.array([step]) if shares is None else (step * np.asarray(shares, np.float32)).astype(np.float64)


def weights_of(losses: np.ndarray) -> np.ndarray:  # (M, ...) -> (M, ...)
    """The networks' weights, which sum to one, from their sums of losses."""
    weights = np.exp(SHARPNESS * (np.minimum.reduce(losses) - losses))
    return weights / np.add.reduce(weights)


def losses_of(config: Any, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:  # (M, C, n), (C, n) -> (M, T, n)
    """Losses of networks with this `config`: -log p of the class, squared errors, the quantiles' loss, or for variances
    -log p of the deviation, capped."""
    if config.record.link == "log":
        known = np.where(np.isfinite(targets), targets, np.nan)
        return (np.log(predicted) + np.minimum(np.square(known) / predicted, LARGEST_DEVIATION**2)) / 2
    if config.record.heads == "quantiles":
        levels, errors = np.array(config.quantiles)[:, None], targets - predicted
        return np.maximum(levels * errors, (levels - 1) * errors).sum(axis=1, keepdims=True)
    arrays = (np.ascontiguousarray(each, np.float32) for each in (predicted, targets))
    return compiled(losses_of_members)(*arrays, config.record.heads == "num_classes")
