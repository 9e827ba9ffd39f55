"""Samples of a table that are copies of one another, because a network that learned one of them has seen the others.

Shapes: N samples, F features, T targets, V visits.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, issparse

from gln.engine.model.sample_weights import projected

# Equal rows are copies if they are this many times as frequent as if their values were independent. Rows drawn with
# replacement from a table of numbers are 10^3 to 10^100 times as frequent, equal rows of a few categories up to 10^2.
RARER = 100


def copies(X: Any, targets: np.ndarray, visits: np.ndarray) -> np.ndarray:  # (N, F), (..., N), (V,) -> (V,)
    """A number for each visit, equal for visits of the same sample and of its copies, as in a bootstrap sample.

    Samples with equal features are copies if their targets are equal too, and so many are unlikely to be equal by
    chance. In a table of a few categories they are repeated measurements: a network that left out all of them would
    predict them worse than networks predict samples that are really new.
    """
    count, targets = X.shape[0], np.atleast_2d(targets)
    if len(np.unique(projected(X))) == count:
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
