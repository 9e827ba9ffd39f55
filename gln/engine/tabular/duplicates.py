"""Samples of a table that are copies of one another, because a network that learned one of them has seen the others.

Shapes: N samples, F features, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from gln.engine.model.sample_weights import projected

# Equal rows are copies if they are this many times as frequent as if their values were independent. Rows drawn with
# replacement from a table of numbers are 10^3 to 10^100 times as frequent, equal rows of a few categories up to 10^2.
RARER = 100


def find_copies(X: Any, targets: np.ndarray) -> np.ndarray:  # (N, F), (N,) or (T, N) -> (N,)
    """The first copy of each sample, by index, as in a bootstrap sample.

    Samples with equal features are copies if their targets are equal too, and so many are unlikely to be equal by
    chance. In a table of a few categories they are repeated measurements: a network that held out all of them would
    predict them worse than networks predict samples that are really new.

    Features of 0 are left out, so that it makes no difference whether a category is one column or one per level.
    """
    count, targets = X.shape[0], np.atleast_2d(targets)
    if len(np.unique(projected(X))) == count:
        return np.arange(count)
    codes = csc_array(X, dtype=np.float64, copy=True)
    codes.eliminate_zeros()
    logs = np.empty(len(codes.data))
    for start, stop in itertools.pairwise(codes.indptr):
        code, frequency = _code_and_frequency(codes.data[start:stop], count)
        codes.data[start:stop], logs[start:stop] = 1 + code, np.log(frequency)
    chance = np.exp(np.bincount(codes.indices, logs, count))  # of these features and targets if all were independent
    for target in targets:
        chance *= _code_and_frequency(target, count)[1]
    _, first, group, sizes = np.unique(projected(codes), return_index=True, return_inverse=True, return_counts=True)
    differ = np.bincount(group, (targets != targets[:, first[group]]).any(axis=0)) > 0
    are_copies = ~differ & (sizes > RARER * count * chance[first])
    return np.where(are_copies[group], first[group], np.arange(count))


def _code_and_frequency(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:  # (n,) -> (n,), (n,)
    """A number for each distinct value, and how frequent it is among `count` samples."""
    code, _ = pd.factorize(values, use_na_sentinel=False)
    return code, np.bincount(code)[code] / count
