"""Folds of a table, and what networks predict out of fold: for the rows that they held out.

Stacking weights, variances and the shape of densities are learned from these predictions.

Shapes: V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R roles,
C heads, T targets.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import StackingWeights, divide_among_networks, fit_stacking
from gln.engine.tabular.blocks import TableBlocks

FOLDS = 8  # of a table; each network holds out one
MOST_ROWS = 40_000  # enough for a few stacking weights, and for the gate counts behind `novelty`


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
