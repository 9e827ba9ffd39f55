"""A table to learn, and what networks predict for the parts of it that they left out: how to combine them.

Shapes: N samples, F features, V visits of samples, M networks of a group, G kinds of networks, C heads, T targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import Ensemble, FeatureBlocks
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import StackingWeights, divide_among_networks, fit_stacking
from gln.engine.model.featurizers import PlainFeaturizer
from gln.engine.networks.protocol import Network

CALIBRATED_ON = 40_000  # samples at most: enough for a few weights, and for the counts behind `novelty`


class Table(NamedTuple):
    X: Any  # (N, F)
    rows: np.ndarray  # (V,), of the samples that a pass visits
    targets: np.ndarray  # (V,) class numbers, or (T, V)
    step_sizes: np.ndarray | None  # (V,), the fraction of a step that each visit makes
    copies: np.ndarray  # (V,), equal for visits of one sample and of its copies
    cells: np.ndarray | None = None  # (N, E), what cells say of each sample if its part is left out

    def samples(self, visits: np.ndarray) -> Any:  # (n,) -> (F, n)
        return self.X[self.rows[visits]].T

    def read(self, featurizer: Any, visits: np.ndarray, expands: bool = True) -> FeatureBlocks:
        """Standardised visits, (n,) -> (D + E, n), or (D, n) if only this network reads them, and it needs no cells.

        The columns that `featurizer` makes from features are in the table already.
        """
        z = featurizer.standardizer.transform(self.samples(visits))
        if isinstance(featurizer, PlainFeaturizer):
            return featurizer.blocks(z, None)
        cells = None if self.cells is None or not expands else self.cells[self.rows[visits]].T
        return featurizer.blocks_of(z, cells, expands)


def kinds_of(networks: Sequence[Network]) -> list[np.ndarray]:
    """Indices of the networks of each kind. Networks of one kind have the same inputs."""
    sizes = np.array([network.input_size for network in networks])
    return [np.flatnonzero(sizes == size) for size in np.unique(sizes)]


def left_out_by(ensemble: Ensemble) -> np.ndarray:  # (M,)
    """The part that each network leaves out: different ones within a kind, and with classes never part 0."""
    parts = np.empty(len(ensemble.networks), int)
    for kind in kinds_of(ensemble.networks):
        numbers = np.arange(len(kind))
        parts[kind] = 1 + numbers % (PARTS - 1) if ensemble.link == "logit" else (1 + numbers) % PARTS
    return parts


def blend_of(
    featurizer: Any, ensemble: Ensemble, targets: np.ndarray, table: Table, parts: np.ndarray
) -> StackingWeights:
    """How to combine a group's networks, learned from their predictions for the samples that they left out."""
    visits, mixed = of_left_out(featurizer, ensemble, table, parts, CALIBRATED_ON // PARTS)
    return fit_stacking(
        ensemble.config, kinds_of(ensemble.networks), mixed, targets[..., visits], shares_of(table, visits)
    )


def densities_of(
    featurizer: Any, ensemble: Ensemble, deviations: np.ndarray, table: Table, parts: np.ndarray
) -> tuple[StackingWeights, JohnsonSU]:
    """How to combine the networks of variances, and the shape of the densities, from deviations (T, V)."""
    visits, mixed = of_left_out(featurizer, ensemble, table, parts, CALIBRATED_ON // PARTS)
    of_targets = zip(mixed.swapaxes(0, 1), deviations[:, visits], strict=True)
    weights, skew, tails = zip(*(fit_density(*each, shares_of(table, visits)) for each in of_targets), strict=True)
    return divide_among_networks(np.stack(weights, axis=1), kinds_of(ensemble.networks)), JohnsonSU(
        np.array(skew), np.array(tails)
    )


def of_left_out(
    featurizer: Any, ensemble: Ensemble, table: Table, parts: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:  # (n,), (G, C, n)
    """Visits that networks of each kind left out, at most `most` per part, and the mean output of each kind there."""
    kinds, left_out = kinds_of(ensemble.networks), left_out_by(ensemble)
    outputs = [np.empty((len(kinds), ensemble.heads, 0))]  # of each part
    known = [np.empty(0, int)]  # the visits of each part
    for part in np.unique(left_out):
        of_kinds = [
            dataclasses.replace(
                ensemble, members=[ensemble.members[place] for place in kind if left_out[place] == part]
            )
            for kind in kinds
        ]
        if all(each.members for each in of_kinds):
            visits = np.flatnonzero(parts == part)
            known.append(visits[spread(len(visits), most or len(visits))])
            for chunk in chunks(len(known[-1])):
                blocks = table.read(featurizer, known[-1][chunk])
                each = [kind.mixed(kind.run(blocks).astype(np.float64)).mean(axis=0) for kind in of_kinds]
                outputs.append(np.stack(each))
    return np.concatenate(known), np.concatenate(outputs, axis=2)


def shares_of(table: Table, visits: np.ndarray) -> np.ndarray:  # (n,) -> (n,)
    return np.ones(len(visits)) if table.step_sizes is None else table.step_sizes[visits]


PARTS = 8  # of a table; each network leaves out one


def parts_of_table(classes: np.ndarray, copies: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Assign each visit to a random part, 0 to PARTS - 1, with all copies of a sample in the same, stratified by class.

    Each class has a sample in part 0, so a network that leaves out another part has seen every class. The sizes of
    parts differ by no more than the copies of one sample of each class. Copies are of one class.

    Shapes: (V,), (V,) equal for copies -> (V,).
    """
    order = rng.permutation(len(classes))
    samples, _ = pd.factorize(copies[order])  # numbered by their first visit in this order
    of_class = classes[order[np.unique(samples, return_index=True)[1]]]
    by_size = (-np.bincount(samples)).argsort(kind="stable")  # the samples with most copies are dealt out first
    parts, dealt = np.empty(len(classes), int), np.empty(len(of_class), int)
    for own in np.unique(of_class):
        members = by_size[of_class[by_size] == own]
        dealt[members] = np.arange(len(members)) % PARTS
    parts[order] = dealt[samples]
    return parts
