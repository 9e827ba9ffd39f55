"""Folds of a table: which rows stay together, which fold each network leaves out, and what is counted for each fold.

Shapes: N samples, F features, V rows (a sample of weight 2 is two of them), M networks of an ensemble, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.model.sample_weights import projected

FOLDS = 8  # of a table; each network leaves out one
# Folds that are left out by some network. More would give more rows an out-of-fold prediction, but by fewer networks,
# and from bin means of fewer rows: see `counted_folds`.
LEFT_OUT = 3
# Equal rows are copies if they are this many times as frequent as if their values were independent. Rows drawn with
# replacement from a table of numbers are 10^3 to 10^100 times as frequent, equal rows of a few categories up to 10^2.
RARER = 100


def counted_folds(left_out: int) -> np.ndarray:  # -> (FOLDS, FOLDS) of bools
    """Whether the rows of a fold (second) are counted in the bin means of the rows of another one (first).

    Bin means of the rows that a network learns must not know the targets of the rows that it leaves out: otherwise it
    would trust those that happen to be right about them, and its predictions there would look better than those of new
    rows. So folds that are left out are counted for nothing but one another, and no two of these for each other.
    Predictions of new rows count all folds.
    """
    fold, other = np.ogrid[:FOLDS, :FOLDS]
    is_left_out = (np.arange(FOLDS) - 1) % FOLDS < left_out  # see `left_out_folds`
    after = (other - fold) % FOLDS
    counts_other = (after < FOLDS / 2) | ((after == FOLDS / 2) & (fold < other))
    return (fold != other) & (~is_left_out[None] | (is_left_out[:, None] & counts_other))


def left_out_folds(ensemble: Ensemble, left_out: int) -> np.ndarray:  # (M,)
    """The fold that each network leaves out; those of each role share the folds 1, 2, ..."""
    folds = np.empty(len(ensemble.members), int)
    for indices in indices_by_role(ensemble):
        folds[indices] = (1 + np.arange(len(indices)) % left_out) % FOLDS
    return folds


def indices_by_role(ensemble: Ensemble) -> list[np.ndarray]:
    """Indices of the networks of each role."""
    roles = np.array([member.role.name for member in ensemble.members])
    return [np.flatnonzero(roles == role) for role in dict.fromkeys(roles.tolist())]


def draw_folds(targets: np.ndarray, copies: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A random fold for each row, 0 to FOLDS - 1, the same for all copies of a sample; stratified by class.

    Each class has a sample in fold 0, so a network that holds out another fold has seen every class. The sizes of folds
    differ by no more than the copies of one sample of each class. Copies are of one class.

    Shapes: class numbers (V,) or numbers (T, V), (V,) equal for copies -> (V,).
    """
    classes = targets if targets.ndim == 1 else np.zeros(targets.shape[1], int)
    order = rng.permutation(len(classes))
    samples, _ = pd.factorize(copies[order])  # numbered by their first row in this order
    class_of = classes[order[np.unique(samples, return_index=True)[1]]]
    by_size = (-np.bincount(samples)).argsort(kind="stable")  # the samples with most copies are dealt out first
    folds, fold_of = np.empty(len(classes), int), np.empty(len(class_of), int)
    for number in np.unique(class_of):
        members = by_size[class_of[by_size] == number]
        fold_of[members] = np.arange(len(members)) % FOLDS
    folds[order] = fold_of[samples]
    return folds


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
