"""Folds of a table, and what networks predict out of fold: for the rows that they held out.

Stacking weights, variances and the shape of densities are learned from these predictions.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import StackingWeights, divide_among_networks, fit_stacking
from gln.engine.model.sample_weights import projected
from gln.engine.tabular.blocks import TableBlocks

FOLDS = 8  # of a table; each network holds out one
MOST_ROWS = 40_000  # enough for a few stacking weights, and for the gate counts behind `novelty`
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


# ---- Predictions out of fold ----------------------------------------------------------------------------------------


def indices_by_role(ensemble: Ensemble) -> list[np.ndarray]:
    """Indices of the networks of each role."""
    roles = [member.role.name for member in ensemble.members]
    return [np.flatnonzero(np.array(roles) == role) for role in dict.fromkeys(roles)]


def held_out_folds(ensemble: Ensemble) -> np.ndarray:  # (M,)
    """The fold that each network holds out: different ones within a role, and with classes never fold 0."""
    held_out = np.empty(len(ensemble.networks), int)
    for indices in indices_by_role(ensemble):
        numbers = np.arange(len(indices))
        held_out[indices] = 1 + numbers % (FOLDS - 1) if ensemble.link == "logit" else (1 + numbers) % FOLDS
    return held_out


def out_of_fold(
    ensemble: Ensemble, blocks: TableBlocks, folds: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that networks of each role held out, at most `most` of them, and the mean output of each role there.

    Outputs are logits, standardised values or log variances. Shapes: folds (V,) -> (n,), (R, C, n).
    """
    by_role, held_out = indices_by_role(ensemble), held_out_folds(ensemble)
    outputs = [np.empty((len(by_role), ensemble.heads, 0))]  # of each chunk
    found = [np.empty(0, int)]  # the rows of each fold
    for fold in np.unique(held_out):
        members = [[ensemble.members[m] for m in indices if held_out[m] == fold] for indices in by_role]
        if all(members):
            rows = np.flatnonzero(folds == fold)
            found.append(rows if most is None else rows[spread(len(rows), most // FOLDS)])
            for chunk in chunks(len(found[-1])):
                read = blocks.read(found[-1][chunk])
                predicted = [Ensemble(of_role).run(read).astype(np.float64) for of_role in members]
                outputs.append(np.stack([ensemble.mixed(of_networks).mean(axis=0) for of_networks in predicted]))
    return np.concatenate(found), np.concatenate(outputs, axis=2)


def stacked(ensemble: Ensemble, targets: np.ndarray, blocks: TableBlocks, folds: np.ndarray) -> StackingWeights:
    """Weights of an ensemble's networks for targets (V,) or (C, V), learned from their predictions out of fold."""
    rows, outputs = out_of_fold(ensemble, blocks, folds, MOST_ROWS)
    learned = outputs, targets[..., rows], blocks.step_sizes[rows]
    return fit_stacking(ensemble.config, indices_by_role(ensemble), *learned)


def fit_densities(
    ensemble: Ensemble, deviations: np.ndarray, blocks: TableBlocks, folds: np.ndarray
) -> tuple[StackingWeights, JohnsonSU]:
    """Weights of the networks of variances, and the shape of the densities, from deviations (T, V)."""
    rows, outputs = out_of_fold(ensemble, blocks, folds, MOST_ROWS)
    of_targets = zip(outputs.swapaxes(0, 1), deviations[:, rows], strict=True)
    weights, skew, tails = zip(*(fit_density(*pair, blocks.step_sizes[rows]) for pair in of_targets), strict=True)
    stacking = divide_among_networks(np.stack(weights, axis=1), indices_by_role(ensemble))
    return stacking, JohnsonSU(np.array(skew), np.array(tails))
