"""Weights of networks, learned from samples that each network left out, so that predictions are calibrated.

Shapes: M networks, G kinds of networks, C heads, n samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from gln.engine.networks.head_sampling import log_share

# Factors of the squared distance from equal weights and of the squared offset, which are added to the sum of the
# losses, so that a few samples change little.
PENALTY, OFFSET_PENALTY = 0.5, 100.0
LARGEST = {"classes": 3.0, "values": 1.5, "logs": 3.0}  # upper bounds of weights


class StackingWeights(NamedTuple):
    """The combined prediction of several networks: a weighted sum of their logits or values, plus an offset."""

    weights: np.ndarray  # (M, C or 1)
    offsets: np.ndarray  # (C or 1,)

    def blend(self, ensemble: Any) -> tuple[StackingWeights, str]:
        return self, ensemble.link

    def of(self, mixed: np.ndarray) -> np.ndarray:  # (M, C, n) -> (C, n)
        return (mixed * self.weights[:, :, None]).sum(axis=0) + self.offsets[:, None]


def equal(networks: int, offset: float = 0.0) -> StackingWeights:
    """The mean of the networks."""
    return StackingWeights(np.full((networks, 1), 1 / networks), np.array([offset]))


def learned_blend(
    config: Any,  # of the networks
    kinds: Sequence[np.ndarray],  # the indices of the networks of each kind, G arrays
    mixed: np.ndarray,  # (G, C, n), mean logits or values of each kind, for samples that its networks left out
    targets: np.ndarray,  # (n,), or (C, n)
    sample_weights: np.ndarray,  # (n,), how much each sample counts
) -> StackingWeights:
    """The blend with the lowest loss; for quantiles the mean, with offsets that correct the coverage."""
    heads, networks, offset = config.record.heads, sum(map(len, kinds)), log_share(config.num_heads)
    if heads == "quantiles":
        residuals = zip(targets - mixed.mean(axis=0), config.quantiles, strict=True)
        return equal(networks)._replace(offsets=np.array([_offset(*each, sample_weights) for each in residuals]))
    if heads == "num_classes":
        found = np.append(_class_weights(mixed, targets, sample_weights, offset), offset)[:, None]  # (G + 1, C or 1)
    else:
        of_heads = zip(mixed.swapaxes(0, 1), np.atleast_2d(targets), strict=True)
        found = np.stack([_value_weights(*each, sample_weights) for each in of_heads], axis=1)
    return blend_of_kinds(found, kinds)


def blend_of_kinds(found: np.ndarray, kinds: Sequence[np.ndarray]) -> StackingWeights:
    """The blend for weights of kinds, and offsets in the last row: (G + 1, C or 1)."""
    weights = np.empty((sum(map(len, kinds)), found.shape[1]))
    for kind, weight in zip(kinds, found[:-1], strict=True):
        weights[kind] = weight / len(kind)
    return StackingWeights(weights, found[-1])


def _class_weights(logits: np.ndarray, classes: np.ndarray, sample_weights: np.ndarray, offset: float) -> np.ndarray:
    """Weights of the kinds with the lowest log-loss: (G, C, n), (n,), (n,), () -> (G,)."""
    mean = np.full(len(logits), 1 / len(logits))

    def loss(weights: np.ndarray) -> float:
        losses = sample_weights @ _log_losses(np.tensordot(weights, logits, 1) + offset, classes)
        return (losses + PENALTY * np.square(weights - mean).sum()) / max(1, sample_weights.sum())

    from scipy.optimize import minimize  # takes a quarter of a second, which streams need not wait for

    return minimize(loss, mean, method="L-BFGS-B", bounds=len(mean) * [(0, LARGEST["classes"])]).x


def _value_weights(values: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> np.ndarray:
    """Weights of the kinds and an offset with the lowest squared error: (G, n), (n,), (n,) -> (G + 1,)."""
    kinds, root, penalty = len(values), np.sqrt(sample_weights), np.sqrt([PENALTY] * len(values) + [OFFSET_PENALTY])
    rows = np.concatenate([root * np.concatenate([values, np.ones((1, len(targets)))]), np.diag(penalty)], axis=1)
    wanted = np.concatenate([root * targets, penalty[:-1] / kinds, [0]])
    lowest, largest = [0.0] * kinds + [-np.inf], [LARGEST["values"]] * kinds + [np.inf]
    from scipy.optimize import lsq_linear  # takes a quarter of a second, which streams need not wait for

    return lsq_linear(rows.T, wanted, bounds=(lowest, largest)).x


def _offset(residuals: np.ndarray, level: float, sample_weights: np.ndarray) -> float:  # (n,), (), (n,) -> ()
    """The offset that puts a fraction `level` of the targets below the quantile; 0 if there are too few samples.

    Source: Romano et al., Conformalized Quantile Regression, NeurIPS 2019.
    """
    if sample_weights.sum() * min(level, 1 - level) < 1:
        return 0.0
    order = np.argsort(residuals)
    below = np.cumsum(sample_weights[order])
    return float(residuals[order][np.searchsorted(below, level * below[-1])])


def calibration_error(confidence: np.ndarray, hits: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: the mean distance between the probability and the fraction of hits in a bin.

    Bins are of equal width. Shapes: (n,) in [0, 1], (n,) of bools. Source: Guo et al., On Calibration of Modern Neural
    Networks, ICML 2017, section 2.
    """
    part = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(part, confidence - hits)).sum() / len(hits))


def _log_losses(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:  # (C, n), (n,) -> (n,)
    """Log-losses of the heads' probabilities after normalising these to sum to one."""
    if len(logits) == 1:
        return np.logaddexp(0, np.where(classes == 1, -logits[0], logits[0]))
    log_p = -np.logaddexp(0, -logits)
    return logsumexp(log_p, axis=0) - log_p[classes, np.arange(len(classes))]
