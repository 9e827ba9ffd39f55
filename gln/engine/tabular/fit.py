"""Learn a table: `fit_table` is the recipe, and the functions below it are its steps.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), C heads, T targets, P passes, n
rows that are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from gln.engine.ensemble.ensemble import EXPANDED, LINKS
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import divide_among_networks
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import log_sampling_rate
from gln.engine.networks.protocol import Network
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.tabular.blocks import TableBlocks, TrainingTable, make_blocks, placing_rows
from gln.engine.tabular.folds import FOLDS, counted_folds, draw_folds, indices_by_role, logits_of_rates
from gln.engine.tabular.importance import LeftOutRows
from gln.engine.tabular.training import (
    OutOfFold,
    Trained,
    Training,
    jobs_of,
    left_out_by_role,
    place_tree_halfspaces,
    time_left,
    train,
    train_ensemble,
)
from gln.rates import RATES

MOST_ROWS = 40_000  # enough for a few stacking weights


class FittedTable(NamedTuple):
    """What `fit_table` learned."""

    learner: Learner
    passes: int  # that every network completed
    learning_rate: float | None  # the first one, as it was chosen; None if it was given
    scores: np.ndarray  # (P,), for rows that were left out, after each pass
    samples: np.ndarray  # (n,), the samples of these rows
    predictions: np.ndarray  # (C, n), for them, like those of `Learner.predict`
    left_out: LeftOutRows | None  # for importances; None if the table is wide


def fit_table(
    table: TrainingTable,
    new_learner: Callable[[Any, Any], Learner],
    training: Training,
    random_state: Any,
) -> FittedTable:
    """Learn a table. `new_learner` makes a learner of a featurizer and targets.

    Each network leaves out one fold of the table. Its predictions there give it a stacking weight and, with densities,
    the deviations that the networks of variances learn.
    """
    start = time.monotonic()
    y, targets = table.targets, Classes() if table.targets.ndim == 1 else Numbers.of_stream(table.outputs)
    if isinstance(targets, Numbers):
        targets.standardizer.fit(y)
        y = targets.standardizer.transform(y)
    rng, encoding_rng = check_random_state(random_state), check_random_state(random_state)
    folds, counted = draw_folds(y, table.groups, rng), counted_folds(table.left_out)
    blocks = make_blocks(table, y, folds, counted, rng, encoding_rng if training.shuffle else None)
    learner = new_learner(blocks.featurizer, targets)
    if table.has_many_classes:
        start_at_rates(learner.networks, y)
    place_halfspaces(learner, blocks)
    training = training._replace(seconds=time_left(training.seconds, start) / len(learner.networks))
    most = len(folds) if learner.variances is not None else MOST_ROWS // FOLDS
    fitted = [
        train_ensemble(ensemble, jobs_of(ensemble, y, folds, table.left_out, most), blocks, training)
        for ensemble in [learner.means, *learner.quantiles]
    ]
    (jobs, rate, _), left_out = fitted[0]
    passes = [trained.passes for trained, _ in fitted]
    if learner.variances is not None:
        passes.append(fit_variances(learner, left_out[-1], y, blocks, table.left_out, training).passes)
    return FittedTable(
        learner,
        passes=min(passes),
        learning_rate=rate,
        scores=np.array([of_pass.score for of_pass in left_out]),
        samples=table.indices[left_out[-1].rows],
        predictions=targets.in_units(LINKS[learner.means.link].inverse(left_out[-1].combined), learner.means),
        left_out=None if issparse(blocks.columns) else LeftOutRows.of_table(table, blocks, learner.means, jobs),
    )


def start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class."""
    rates = logits_of_rates(classes, networks[0].num_classes)
    for network in networks:
        set_initial_logits(network, rates - log_sampling_rate(len(rates)))


def place_halfspaces(learner: Learner, blocks: TableBlocks) -> None:
    """Place halfspaces between samples, but for networks whose halfspaces `train` chooses, and for wide tables."""
    columns = blocks.columns_of(placing_rows(blocks))
    if issparse(columns) or columns.shape[1] == 1:
        return
    for ensemble in learner.ensembles:
        for network, role in ensemble.members:
            if role != EXPANDED:
                network.fit_hyperplanes(columns)


def fit_variances(
    learner: Learner, left_out: OutOfFold, y: np.ndarray, blocks: TableBlocks, folds: int, training: Training
) -> Trained:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    out of fold, and fit their stacking weights and the shape of densities. They leave out so many folds."""
    variances, rows, bound = learner.variances, left_out.rows, learner.means.networks[0].bound
    assert variances is not None
    deviations = (y[:, rows] - left_out.combined).clip(-bound, bound).astype(np.float32)
    blocks, rng = blocks.take(rows), np.random.RandomState(variances.networks[0].seed)
    chosen = draw_folds(deviations, blocks.groups, rng)  # other ones, because these rows may be of few folds
    jobs = jobs_of(variances, deviations, chosen, folds, MOST_ROWS // FOLDS)
    place_tree_halfspaces(jobs, blocks, training.n_jobs)
    trained = train(variances, jobs, blocks, training, RATES[variances.config.loss].table[0])
    rows, by_role = left_out_by_role(jobs, trained.outputs[-1])
    of_targets = zip(by_role.swapaxes(0, 1), deviations[:, rows], strict=True)
    weights, skew, tails = zip(*(fit_density(*pair, blocks.step_sizes[rows]) for pair in of_targets), strict=True)
    variances.combination = divide_among_networks(np.stack(weights, axis=1), indices_by_role(variances))
    variances.shape = JohnsonSU(np.array(skew), np.array(tails))
    return trained
