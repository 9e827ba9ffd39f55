"""Learn a table: count it, train the networks, and learn how to combine them.

Each network leaves out one part of the table. On the samples that networks left out, their weights are learned.

Shapes: N samples, F features, V visits of samples, M networks of a group, G kinds of networks, C heads, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gln.learning.calibration import parts_of_table
from gln.learning.categories import Categories
from gln.learning.cells import Cells
from gln.learning.counting import counted
from gln.learning.growth import start_at
from gln.learning.learner import Learner
from gln.learning.left_out import (
    CALIBRATED_ON,
    Table,
    blend_of,
    densities_of,
    kinds_of,
    of_left_out,
    spread,
)
from gln.learning.many import MANY, log_share
from gln.learning.network import Network
from gln.learning.samples import chunks
from gln.learning.targets import Classes
from gln.learning.training import Training, train

__all__ = ["fit_table", "with_cells", "with_columns"]


def with_columns(categories: Categories, table: Table, targets: np.ndarray, rng: np.random.RandomState | None) -> Table:
    """The table with categories as columns. Statistics are counted in random order, or in the table's if `rng` is None.

    Copies of a sample are counted once, so that its own target does not leak into it.
    """
    visits, _ = pd.factorize(table.copies)  # the samples in the order of their first visits
    first = np.unique(visits, return_index=True)[1]
    weights = np.bincount(visits, table.shares)
    columns = np.empty((len(first), len(categories.columns)), table.X.dtype)
    order = np.arange(len(first)) if rng is None else rng.permutation(len(first))
    for some in (order[part] for part in chunks(len(order))):
        columns[some] = categories.learn(table.samples(first[some]), targets[..., first[some]], weights[some]).T
    cells = None if table.cells is None else table.cells[table.rows[first]]
    return table._replace(X=columns, rows=visits, cells=cells)


def with_cells(
    table: Table, levels: Mapping[int, int], targets: np.ndarray, rng: np.random.RandomState
) -> tuple[Table, Cells | None]:
    """The table with what cells say of its samples, and the cells; see `counted`."""
    classes = targets if targets.ndim == 1 else np.zeros(targets.shape[1], int)
    cells, said = counted(table, levels, targets, parts_of_table(classes, table.copies, rng), rng)
    return table._replace(cells=said), cells


def fit_table(learner: Learner, table: Table, training: Training) -> int:
    """Train each network on all but one part of a table, then learn the networks' weights on the parts left out.

    The variances are learned last, from the deviations of the samples that the networks of the means left out. In the
    end, rows that samples pick are counted. Returns the passes that every network completed.
    """
    first = learner.groups[0]
    if isinstance(learner.targets, Classes):
        if first.heads >= MANY:
            _start_at_rates(first.networks, table.targets)
        targets, classes = [table.targets], table.targets
    else:
        own = learner.targets.standardizer.transform(table.targets)
        targets, classes = [_for_heads(own), *own], np.zeros(own.shape[1], int)
    groups = list(zip(learner.groups[: len(learner.groups) - learner.has_densities], targets, strict=False))
    parts, passes = train(groups, classes, learner.reading, table, training)
    for group, own_targets in groups:
        group.combination = blend_of(learner.reading, group, own_targets, table, parts)
    if learner.has_densities:
        passes = min(passes, _fit_variances(learner, own, table, parts, training))
    learner.start_counting()
    some = spread(len(table.rows), CALIBRATED_ON)
    for part in chunks(len(some)):
        learner.count(table.read(learner.reading, some[part]))
    return passes


def _start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class; a class without visits, of weight 0, counts as half a visit."""
    counts = np.bincount(classes, minlength=networks[0].num_classes)
    rates = counts.clip(0.5, len(classes) - 0.5) / len(classes)
    for network in networks:
        start_at(network, np.log(rates / (1 - rates)) - log_share(len(rates)))


def _fit_variances(learner: Learner, targets: np.ndarray, table: Table, parts: np.ndarray, training: Training) -> int:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    by networks that left out the sample's part of the table (V,). Learns their blend and the shape of densities, and
    returns the completed passes."""
    means, variances, bound = learner.groups[0], learner.groups[-1], learner.groups[0].networks[0].bound
    visits, mixed = of_left_out(learner.reading, means, table, parts)
    of_means, kinds = means.combination, kinds_of(means.networks)
    of_kinds = of_means._replace(weights=np.stack([of_means.weights[kind].sum(axis=0) for kind in kinds]))
    deviations = (targets[:, visits] - of_kinds.of(mixed)).clip(-bound, bound).astype(np.float32)
    shares = None if table.shares is None else table.shares[visits]
    rest = table._replace(rows=table.rows[visits], shares=shares, copies=table.copies[visits])
    group = [(variances, _for_heads(deviations))]
    parts, passes = train(group, np.zeros(len(visits), int), learner.reading, rest, training)
    variances.combination, variances.shape = densities_of(learner.reading, variances, deviations, rest, parts)
    return passes


def _for_heads(targets: np.ndarray) -> np.ndarray:  # (T, V) -> (T, V), or (V,) for one head
    return targets if len(targets) > 1 else targets[0]
