"""Convert sample weights to visits: which samples are learned, in which order, and the fraction of a step for each.

Also which visits are copies of one sample, because a network that learned one of them has seen the others.

Shapes: N samples, F features, V visits.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, issparse

__all__ = ["check_stream_weights", "copies", "repeated", "stream_visits", "table_visits"]

FIT_WEIGHTS, STREAM_WEIGHT = (1, 10), 100  # bounds of the mean weight in a table, and largest weight in a stream
MISSING = -271.828  # stands for NaN in sort keys; unlikely as a real value
# Equal rows are copies if they are this many times as frequent as if their values were independent. Rows drawn with
# replacement from a table of numbers are 10^3 to 10^100 times as frequent, equal rows of a few categories up to 10^2.
RARER = 100


def table_visits(X: Any, targets: np.ndarray, weights: np.ndarray | None, shuffle: bool) -> tuple[Any, Any]:
    """The samples that a pass of `fit` visits, and the fraction of a step of each, None if all steps are whole.

    A sample of weight 2 is visited like two of weight 1. If visits are shuffled, the order of the samples makes no
    difference. Shapes: (N, F), (..., N), (N,) or None -> (V,), (V,) or None.
    """
    order = _sorted(X, targets) if shuffle else np.arange(X.shape[0])
    if weights is None:
        return order, None
    mean = weights.mean()
    visits, shares = repeated(weights[order] * (np.clip(mean, *FIT_WEIGHTS) / mean))
    return order[visits], shares


def copies(X: Any, targets: np.ndarray, visits: np.ndarray) -> np.ndarray:  # (N, F), (..., N), (V,) -> (V,)
    """A number for each visit, equal for visits of the same sample and of its copies, as in a bootstrap sample.

    Samples with equal features are copies if their targets are equal too, and so many are unlikely to be equal by
    chance. In a table of a few categories they are repeated measurements: a network that left out all of them would
    predict them worse than networks predict samples that are really new.
    """
    count, targets = X.shape[0], np.atleast_2d(targets)
    if len(np.unique(_keys(X))) == count:
        return visits
    times = np.bincount(visits, minlength=count)
    keys, chance = _chance(X, targets, times)
    _, first, cells = np.unique(np.where(times > 0, keys, np.nan), return_index=True, return_inverse=True)
    differ = np.bincount(cells, (targets != targets[:, first[cells]]).any(axis=0)) > 0
    are_copies = ~differ & (np.bincount(cells, times) > RARER * len(visits) * chance[first])
    return np.where(are_copies[cells], first[cells], np.arange(count))[visits]


def _chance(X: Any, targets: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each sample a number that those with equal features share, and how frequent features and targets like its own
    would be if all were independent.

    Features of 0 are left out, so that it makes no difference whether a category is one column or one per level.

    Shapes: (N, F), (T, N), visits of each sample (N,) -> (N,), (N,).
    """
    keys, logs = np.zeros((2, len(times)))
    factors = np.append(np.random.default_rng(0).normal(size=X.shape[1]), np.zeros(len(targets)))
    columns = chain(_nonzero(X), ((np.arange(len(times)), target) for target in targets))
    for factor, (rows, values) in zip(factors, columns, strict=True):
        codes, _ = pd.factorize(values, use_na_sentinel=False)
        keys[rows] += factor * (1 + codes)
        logs[rows] += np.log(np.bincount(codes, times[rows]).clip(1) / times.sum())[codes]
    return keys, np.exp(logs)


def _nonzero(X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of each column that are not 0, and their values."""
    if issparse(X):
        X = csc_array(X)
        for start, stop in zip(X.indptr, X.indptr[1:], strict=False):
            found = X.data[start:stop] != 0
            yield X.indices[start:stop][found], X.data[start:stop][found]
    else:
        for column in X.T:
            rows = np.flatnonzero(column)
            yield rows, column[rows]


def stream_visits(name: str, weights: np.ndarray | None) -> tuple[Any, Any]:
    """`table_visits` for a part of a stream, in its own order: (N,) or None -> (V,), (V,) or None.

    Raises ValueError as `check_stream_weights` does.
    """
    if weights is None:
        return slice(None), None
    check_stream_weights(name, weights)
    return repeated(weights)


def check_stream_weights(name: str, weights: np.ndarray) -> None:  # (N,)
    """Raise ValueError for a weight outside 0 to 100; the message begins with `name`, the name of the argument."""
    if not ((weights >= 0) & (weights <= STREAM_WEIGHT)).all():
        raise ValueError(
            f"{name}: expected numbers from 0 to {STREAM_WEIGHT} in a stream, got {weights.min()} to {weights.max()}"
        )


def repeated(weights: np.ndarray) -> tuple[np.ndarray, Any]:
    """Visit a sample of weight w ceil(w) times, each with w / ceil(w) of a step."""
    whole = np.rint(weights)
    weights = np.where(np.isclose(weights, whole, rtol=1e-9, atol=0), whole, weights)  # or rounding errors add visits
    times = np.ceil(weights).astype(int)
    shares = (weights / np.maximum(times, 1)).repeat(times)
    return np.arange(len(weights)).repeat(times), None if (shares == 1).all() else shares


def _sorted(X: Any, targets: np.ndarray) -> np.ndarray:  # (N, F), (..., N) -> (N,)
    """An order of the samples that does not depend on their original order, except among equal samples."""
    by_target = np.lexsort(np.atleast_2d(targets))
    return by_target[_keys(X)[by_target].argsort(kind="stable")]


def _keys(X: Any) -> np.ndarray:  # (N, F) -> (N,)
    """A random projection of the samples. It is summed feature by feature, so that dense and sparse arrays give equal
    results."""
    direction = np.random.default_rng(0).normal(size=X.shape[1])
    if issparse(X):
        X = X.astype(np.float64)
        X.data = np.nan_to_num(X.data, nan=MISSING)
        return X @ direction
    keys = np.zeros(len(X))
    for column, factor in zip(X.T, direction, strict=True):
        keys += factor * np.nan_to_num(column.astype(np.float64), nan=MISSING)
    return keys
