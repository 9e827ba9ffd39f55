"""AUC and calibration error of a stream, in bounded memory: probabilities are counted in bins.

Shapes: N samples, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BinnedMetrics"]

STEPS, LARGEST_LOGIT = 64, 16  # bins per unit of log-odds, and where they end: a probability of 1e-7
LOGIT_BINS = 2 * LARGEST_LOGIT * STEPS
CALIBRATION_BINS = 15  # as in Guo et al.


class BinnedMetrics:
    """Weighted AUC of two classes, and the expected calibration error of the predicted class.

    AUC is the probability that a sample of the second class gets a larger probability of this class than one of the
    first. It is that of the log-odds in bins of 1/64; two samples in one bin count as half.

    For the calibration error, samples are in 15 equally wide bins of the probability p of the predicted class. It is
    the mean over samples of the difference, in their bin, between the mean p and the accuracy. Source: Guo et al., On
    Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """

    def __init__(self) -> None:
        self.classes = 0  # that the model knows
        self.ranks = np.zeros((3, LOGIT_BINS))  # weights by class, the first, the second or another, and log-odds
        self.confidence = np.zeros((3, CALIBRATION_BINS))  # by p: sums of weights, of p and of hits times weights

    def count(
        self, p: np.ndarray, places: np.ndarray, most: np.ndarray, hits: np.ndarray, weights: np.ndarray
    ) -> None:  # (N, C), (N,), ...
        """Count samples one after another, so that their grouping makes no difference.

        Args:
            p: (N, C).
            places: (N,), the columns of the samples' classes, -1 for a class without one.
            most: (N,), the largest p of each sample.
            hits: (N,), whether it is that of the sample's class.
            weights: (N,).
        """
        self.classes = p.shape[1]
        second = p[:, 1] if self.classes > 1 else np.zeros(len(p))
        bins = np.clip(np.ceil(most * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
        for row, values in zip(self.confidence, (1.0, most, hits), strict=True):
            np.add.at(row, bins, weights * values)
        with np.errstate(divide="ignore"):
            logits = np.log(second) - np.log1p(-second)
        bins = (np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT - 1 / STEPS) + LARGEST_LOGIT) * STEPS
        np.add.at(self.ranks, (np.minimum(places, 2), bins.astype(int)), weights)

    def auc(self) -> float | None:
        """None unless the model knows two classes, and there are samples of both and of no other."""
        first, second, others = self.ranks
        if self.classes != 2 or others.any() or not (first.any() and second.any()):
            return None
        below = np.cumsum(first) - first / 2
        return float((second * below).sum() / (first.sum() * second.sum()))

    def calibration_error(self) -> float | None:
        """None before the first sample."""
        weights, p, hits = self.confidence
        return float(np.abs(p - hits).sum() / weights.sum()) if weights.any() else None

    def state(self) -> dict[str, Any]:
        """The weights that are not 0, to be saved in a file."""
        rows, bins = np.nonzero(self.ranks)
        ranks = [rows.tolist(), bins.tolist(), self.ranks[rows, bins].tolist()]
        return {"classes": self.classes, "ranks": ranks, "confidence": self.confidence.tolist()}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.classes, (rows, bins, weights) = state["classes"], state["ranks"]
        self.ranks[:] = 0
        self.ranks[rows, bins] = weights
        self.confidence = np.array(state["confidence"])
