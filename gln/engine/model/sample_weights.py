"""Convert sample weights to step sizes: a sample of weight 0.5 is learned by half a step. One of weight 2 is learned
twice in a pass over a table; in a stream, networks and linear models make two steps, and everything else counts it
twice, but not its scale. There, no step sees what its own sample has told the others.

Shapes: N samples, F features, V indices of the samples to learn, in this order.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse

from gln.engine.batches import Matrix

FIT_WEIGHTS = (1, 10)  # bounds of the mean weight in a table
STREAM_WEIGHT = 1_000_000  # the largest weight in a stream
MISSING = -271.828  # stands for NaN in projections; unlikely as a real value


def indices_of_table(
    X: Matrix, targets: np.ndarray, weights: np.ndarray | None, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The samples that a pass of `fit` learns, and the fraction of a step of each.

    A sample of weight w occurs ceil(w) times, each with w / ceil(w) of a step. If a pass shuffles, the order of the
    samples makes no difference. Raises ValueError for weights whose mean may overflow.

    Shapes: (N, F), (..., N), (N,) or None -> (V,), (V,).
    """
    order = np.arange(X.shape[0])
    if shuffle:  # by the samples, and equal ones by target, whatever their original order
        order = np.lexsort([*np.atleast_2d(targets), projected(X)])
    weights = np.ones(len(order)) if weights is None else weights
    low = weights.min()
    high = weights.max()
    if not (low >= 0 and 1e-30 <= high <= 1e30):
        expected = "numbers of at least 0, the largest from 1e-30 to 1e30"
        raise ValueError(f"sample_weight, class_weight: expected {expected}, got {low} to {high}")
    mean = weights.mean()
    weights = weights[order] * (np.clip(mean, *FIT_WEIGHTS) / mean)
    whole = np.rint(weights)
    weights = np.where(np.isclose(weights, whole, rtol=1e-9, atol=0), whole, weights)  # or rounding errors add indices
    times = np.ceil(weights).astype(int)
    return order.repeat(times), (weights / np.maximum(times, 1)).repeat(times)


def check_stream_weights(name: str, weights: np.ndarray) -> None:  # (N,)
    """Raise ValueError for a weight outside 0 to 10^6; the message begins with `name`, the name of the argument."""
    if not ((weights >= 0) & (weights <= STREAM_WEIGHT)).all():
        came = f"{weights.min()} to {weights.max()}"
        raise ValueError(f"{name}: expected numbers from 0 to {STREAM_WEIGHT} in a stream, got {came}")


def projected(X: Matrix) -> np.ndarray:  # (N, F) -> (N,)
    """A random projection of the samples, summed feature by feature, so that dense and sparse arrays give equal
    results."""
    direction = np.random.default_rng(0).normal(size=X.shape[1])
    if issparse(X):
        X = X.astype(np.float64)
        X.data = np.nan_to_num(X.data, nan=MISSING)
        return X @ direction
    sums = np.zeros(len(X))
    for column, factor in zip(X.T, direction, strict=True):
        sums += factor * np.where(np.isnan(column), MISSING, column.astype(np.float64))
    return sums
