"""Least squares of columns and their distances from the mean: of all linear functions the best one so far.

On few samples, and where columns are nearly collinear, it is far ahead of linear models that take steps, but it counts
the whole stream, and takes time with the square of its inputs.

Shapes: B samples, C heads, D columns, K inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.preprocessing.basis_expansion import with_distances
from gln.engine.saving import Array, bad, saved

MOST_INPUTS = 129  # a constant, and 64 columns with their distances; later columns are left out


@saved(weights=Array("f8", "C K"), inverses=Array("f8", "C K K"))
class LeastSquares(NamedTuple):
    """A linear model of each head, with the least squared errors and weights over all samples so far."""

    weights: np.ndarray  # (C, K), the first of a constant
    inverses: np.ndarray  # (C, K, K), of the sum of products of inputs and of the identity

    @classmethod
    def start(cls, heads: int, columns: int) -> LeastSquares:
        size = _inputs(columns)
        return cls(np.zeros((heads, size)), np.tile(np.eye(size), (heads, 1, 1)))

    def with_columns(self, columns: int) -> LeastSquares:
        """A copy with room for so many columns, of which new ones are last."""
        grown = LeastSquares.start(len(self.weights), columns)
        size = self.weights.shape[1]
        grown.weights[:, :size] = self.weights
        grown.inverses[:, :size, :size] = self.inverses
        return grown

    def with_outputs(self, kept: Sequence[int], new: int) -> LeastSquares:
        grown = LeastSquares.start(len(kept) + new, (self.weights.shape[1] - 1) // 2)
        grown.weights[: len(kept)] = self.weights[list(kept)]
        grown.inverses[: len(kept)] = self.inverses[list(kept)]
        return grown

    def explain(self, z: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:  # (D, B) -> (C, B, D), (C, B)
        """Contributions of columns and a constant, which add up to the predictions."""
        size = self.weights.shape[1] - 1
        products = self.weights[:, 1:, None] * with_distances(z)[:size]  # (C, K - 1, B)
        contributions = np.zeros((len(self.weights), z.shape[1], len(z)))
        contributions[..., : size // 2] = products.reshape(len(products), -1, 2, z.shape[1]).sum(axis=2).swapaxes(1, 2)
        constant = np.broadcast_to(self.weights[:, :1], contributions.shape[:2])
        total = contributions.sum(axis=2) + constant
        factor = np.divide(total.clip(-limit, limit), total, out=np.ones_like(total), where=total != 0)
        return contributions * factor[..., None], constant * factor

    def check(self, columns: int, heads: int) -> None:
        if self.weights.shape != (heads, _inputs(columns)):
            raise bad("least_squares", f"weights of shape {(heads, _inputs(columns))}", self.weights.shape)


def _inputs(columns: int) -> int:
    return min(1 + 2 * columns, MOST_INPUTS)


def predict_least_squares(
    model: LeastSquares,  # changed if it learns
    inputs: np.ndarray,  # (2 D, B)
    limit: float,
    targets: np.ndarray,  # (C, B), see `OnlineBaseModels.predict`
    step_sizes: np.ndarray,  # (B,)
    learns: bool,
    predictions: np.ndarray,  # (C, B), filled
) -> None:
    """Predict each sample, and then learn it if this `learns`.

    The inverses change by one product of inputs at a time. Source: J. Sherman and W. J. Morrison, Adjustment of an
    Inverse Matrix Corresponding to a Change in One Element of a Given Matrix, 1950.
    """
    weights, inverses = model
    heads, size = weights.shape
    x = np.ones(size)
    gains = np.empty(size)
    for b in range(inputs.shape[1]):
        for i in range(1, size):
            x[i] = inputs[i - 1, b]
        for head in range(heads):
            y = targets[head, b]
            s = 0.0
            if math.isinf(y):
                continue
            for i in range(size):
                s += weights[head, i] * x[i]
            predictions[head, b] = min(max(s, -limit), limit)
            if not learns or math.isnan(y):
                continue
            variance = 0.0
            for i in range(size):
                gains[i] = 0.0
                for j in range(size):
                    gains[i] += inverses[head, i, j] * x[j]
                variance += gains[i] * x[i]
            step = step_sizes[b] / (1 + step_sizes[b] * max(variance, 0.0))
            for i in range(size):
                weights[head, i] += step * gains[i] * (y - s)
                for j in range(size):
                    inverses[head, i, j] -= step * gains[i] * gains[j]
