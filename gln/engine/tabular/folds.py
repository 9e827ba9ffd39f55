"""Folds of a table: which rows stay together, which fold each network leaves out, and what is counted for each fold.

Shapes: N samples, F features, V rows (a sample of weight 2 is two of them), M networks of an ensemble, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, hstack

from gln.engine.batches import Matrix
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.model.sample_weights import projected

FOLDS = 8  # of a table; each network leaves out one
# Folds that are left out by some network. More would give more rows an out-of-fold prediction, but by fewer networks,
# and from bin means of fewer rows: see `counted_folds`.
LEFT_OUT = 3
FEW_ROWS = 200  # of a table of which all folds are left out that can be, as three eighths of it would say too little
# The order in which the groups of a class are dealt to folds: of two in a row one is in a fold that no network leaves
# out, and of three one is in a fold that some do.
DEALT = np.array([0, 1, 4, 2, 5, 6, 3, 7])
MOST_WEIGHT = 3  # of a row that was left out, for a class of which hardly any were


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


def count_left_out(networks: int, densities: bool, rows: int) -> int:
    """How many folds networks leave out. Those of variances learn from what those of means left out, so these leave out
    all that they can."""
    most = FOLDS if densities or rows <= FEW_ROWS else LEFT_OUT
    return min(most, -(-networks // 2))


def left_out_folds(ensemble: Ensemble, left_out: int) -> np.ndarray:  # (M,)
    """The fold that each network leaves out; those of each role share the folds 1, 2, ..."""
    roles = pd.Series([member.role.name for member in ensemble.members])
    return (1 + roles.groupby(roles).cumcount().to_numpy() % left_out) % FOLDS


def draw_folds(targets: np.ndarray, groups: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A random fold for each row, 0 to FOLDS - 1, the same for all rows of a group; stratified by class.

    A group counts for the rarest of its classes. Each class goes on where the one before ended, so that all folds are
    equally large, and of all rare classes together as many rows are left out as of others. The only group of a class is
    in fold 0, so that all networks have seen the class.

    Shapes: class numbers (V,) or numbers (T, V), (V,) equal for rows of a group -> (V,).
    """
    are_classes = targets.ndim == 1
    order = rng.permutation(len(groups))
    classes = targets[order] if are_classes else np.zeros(len(order), int)
    groups, _ = pd.factorize(groups[order])  # numbered by their first row in this order
    class_of, is_only = rarest_classes(groups, classes)
    by_size = np.lexsort([-np.bincount(groups), class_of, is_only])[: (~is_only).sum()]  # of a class, the largest first
    dealt = np.arange(len(by_size)) % FOLDS
    fold_of = np.zeros(len(is_only), int)
    fold_of[by_size] = DEALT[dealt] if are_classes else dealt
    folds = np.empty(len(order), int)
    folds[order] = fold_of[groups]
    return folds


def rarest_classes(groups: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # 2 of (V,) -> 2 of (G,)
    """For each of G groups, the class of its rows that the fewest groups have, and whether it is the only one."""
    count = 1 + classes.max(initial=0)
    pairs = np.unique(groups * count + classes)  # of a group and a class that it has
    group, class_of = np.divmod(pairs, count)
    times = np.bincount(class_of)[class_of]  # how many groups have the class
    _, first = np.unique(group, return_index=True)
    rarest = np.lexsort([class_of, times, group])[first]
    return class_of[rarest], times[rarest] == 1


def logits_of_rates(targets: np.ndarray, count: int) -> np.ndarray:  # (V,) -> (count,), or (T, V) -> (T,)
    """Logits of the rates of all classes, or labels; one without rows, of weight 0, counts as half a row."""
    rows = targets.shape[-1]
    counts = targets.sum(axis=1) if targets.ndim == 2 else np.bincount(targets, minlength=count)
    rates = counts.clip(0.5, rows - 0.5) / rows
    return np.log(rates / (1 - rates))


def representing(targets: np.ndarray, step_sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Weights with which rows that were left out stand for the table: each class has its share of the whole.

    Shapes: class numbers (V,), or numbers or labels (T, V), (V,), (n,) -> (n,), about as large as the step sizes of the
    rows.
    """
    weights = step_sizes[rows]
    share = step_sizes[rows].sum() / step_sizes.sum()
    if targets.dtype.kind in "fb":
        return weights
    classes = targets[rows]
    factors = share * np.bincount(targets, step_sizes)[classes] / np.bincount(classes, weights)[classes]
    return weights * factors.clip(max=MOST_WEIGHT)


def find_copies(X: Matrix, targets: np.ndarray) -> np.ndarray:  # (N, F), (N,) or (T, N) -> (N,)
    """The first of the rows that are equal in features and targets, by index, if they are copies, as in a bootstrap
    sample; else all rows are apart, as measurements that happen to be equal.

    Copies are more than a tenth of the table, three times as many as if half of the columns were shuffled, and ten
    times as many as rows with equal features and another target. A table in which most rows occur several times is one
    of a few settings.

    Features of 0 are left out, so that it makes little difference whether a category is one column or one per level.
    """
    count, size = X.shape
    apart = np.arange(count)
    if count - len(np.unique(projected(X))) <= count / 10:  # as quick as possible for large tables
        return apart
    columns = hstack([csc_array(X, dtype=np.float64), csc_array(np.atleast_2d(targets).T)], format="csc")
    columns.eliminate_zeros()
    columns.data = pd.util.hash_array(columns.data) / 2.0**64  # or small numbers would be lost beside large ones
    left = projected(columns[:, : size // 2])
    right = np.pi * projected(columns[:, size // 2 :])
    _, first, number = np.unique(left + right, return_index=True, return_inverse=True)
    by_chance = count - len(np.unique(left + np.random.default_rng(0).permutation(right)))
    measured_again = len(first) - len(np.unique(projected(columns[:, :size])))
    are_copies = count - len(first) > 2 + count / 10 + 3 * by_chance + 10 * measured_again
    return first[number] if are_copies and len(first) >= count / 4 else apart
