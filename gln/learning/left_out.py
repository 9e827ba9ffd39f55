"""A table to learn, and what networks predict for the parts of it that they left out: how to combine them.

Shapes: N samples, F features, V visits of samples, M networks of a group, G kinds of networks, C heads, T targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.learning.calibration import PARTS, Blend, blend_of_kinds, learned_blend
from gln.learning.densities import Shape, fitted
from gln.learning.group import Group, predictions
from gln.learning.network import Network
from gln.learning.reading import Reading

__all__ = [
    *("CALIBRATED_ON", "Table", "blend_of", "densities_of", "kinds_of", "left_out_by", "of_left_out", "shares_of"),
    "spread",
]

CALIBRATED_ON = 40_000  # samples at most: enough for a few weights, and for the counts behind `novelty`


class Table(NamedTuple):
    X: Any  # (N, F)
    rows: np.ndarray  # (V,), of the samples that a pass visits
    targets: np.ndarray  # (V,) class numbers, or (T, V)
    shares: np.ndarray | None  # (V,), the fraction of a step that each visit makes
    copies: np.ndarray  # (V,), equal for visits of one sample and of its copies
    cells: np.ndarray | None = None  # (N, E), what cells say of each sample if its part is left out

    def samples(self, visits: np.ndarray) -> Any:  # (n,) -> (F, n)
        return self.X[self.rows[visits]].T

    def parts(self, reading: Reading, visits: np.ndarray) -> tuple[Callable[[slice], Any], int]:
        """`Reading.parts` for these visits (n,)."""
        return lambda part: self.read(reading, visits[part]), len(visits)

    def read(self, reading: Reading, visits: np.ndarray, network: Network | None = None) -> Any:
        """Standardised visits, (n,) -> (D + E, n), or (D, n) if only this network reads them, and it needs no cells.

        The columns that `reading` makes from features are in the table already.
        """
        z = reading.standardizer.transform(self.samples(visits))
        if self.cells is None or not (network is None or reading.encodes(network)):
            return z
        return np.concatenate([z, self.cells[self.rows[visits]].T])


def spread(count: int, most: int) -> np.ndarray:
    """Indices below `count`, evenly spaced, at most `most` of them."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def kinds_of(networks: Sequence[Network]) -> list[np.ndarray]:
    """Indices of the networks of each kind. Networks of one kind have the same inputs."""
    sizes = np.array([network.input_size for network in networks])
    return [np.flatnonzero(sizes == size) for size in np.unique(sizes)]


def left_out_by(group: Group) -> np.ndarray:  # (M,)
    """The part that each network leaves out: different ones within a kind, and with classes never part 0."""
    parts = np.empty(len(group.networks), int)
    for kind in kinds_of(group.networks):
        numbers = np.arange(len(kind))
        parts[kind] = 1 + numbers % (PARTS - 1) if group.link == "logit" else (1 + numbers) % PARTS
    return parts


def blend_of(reading: Reading, group: Group, targets: np.ndarray, table: Table, parts: np.ndarray) -> Blend:
    """How to combine a group's networks, learned from their predictions for the samples that they left out."""
    visits, mixed = of_left_out(reading, group, table, parts, CALIBRATED_ON // PARTS)
    return learned_blend(group.config, kinds_of(group.networks), mixed, targets[..., visits], shares_of(table, visits))


def densities_of(
    reading: Reading, group: Group, deviations: np.ndarray, table: Table, parts: np.ndarray
) -> tuple[Blend, Shape]:
    """How to combine the networks of variances, and the shape of the densities, from deviations (T, V)."""
    visits, mixed = of_left_out(reading, group, table, parts, CALIBRATED_ON // PARTS)
    of_targets = zip(mixed.swapaxes(0, 1), deviations[:, visits], strict=True)
    weights, skew, tails = zip(*(fitted(*each, shares_of(table, visits)) for each in of_targets), strict=True)
    return blend_of_kinds(np.stack(weights, axis=1), kinds_of(group.networks)), Shape(np.array(skew), np.array(tails))


def of_left_out(
    reading: Reading, group: Group, table: Table, parts: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:  # (n,), (G, C, n)
    """Visits that networks of each kind left out, at most `most` per part, and the mean output of each kind there."""
    kinds, left_out = kinds_of(group.networks), left_out_by(group)
    outputs = [np.empty((len(kinds), group.heads, 0))]  # of each part
    known = [np.empty(0, int)]  # the visits of each part
    for part in np.unique(left_out):
        of_kinds = [Group([group.networks[place] for place in kind if left_out[place] == part]) for kind in kinds]
        if all(each.networks for each in of_kinds):
            visits = np.flatnonzero(parts == part)
            known.append(visits[spread(len(visits), most or len(visits))])
            each = predictions(reading, *table.parts(reading, known[-1]), *of_kinds)
            outputs.append(np.stack([group.mixed(predicted).mean(axis=0) for predicted in each]))
    return np.concatenate(known), np.concatenate(outputs, axis=2)


def shares_of(table: Table, visits: np.ndarray) -> np.ndarray:  # (n,) -> (n,)
    return np.ones(len(visits)) if table.shares is None else table.shares[visits]
