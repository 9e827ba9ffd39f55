"""Learn a table: `fit_table` is the recipe, and the functions below it are its steps.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), C heads, T targets, P passes, n
rows that are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from gln.engine.ensemble.ensemble import EXPANDED, LINKS
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import divide_among_networks
from gln.engine.model.builders import Losses, NetworkConfig
from gln.engine.model.targets import Classes, Labels, Numbers, Targets
from gln.engine.networks.head_sampling import log_sampling_rate
from gln.engine.networks.protocol import Network
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.preprocessing.texts import TextModel
from gln.engine.tabular.folds import FOLDS, counted_folds, draw_folds, indices_by_role, logits_of_rates
from gln.engine.tabular.importance import LeftOutRows
from gln.engine.tabular.inputs import TableInputs, TrainingTable, placing_rows, table_inputs, with_texts
from gln.engine.tabular.model import TableModel
from gln.engine.tabular.training import (
    OutOfFold,
    Training,
    cross_fitted,
    jobs_of,
    learn_left_out,
    left_out_by_role,
    place_tree_halfspaces,
    train,
    train_ensemble,
)
from gln.rates import RATES

MOST_ROWS = 40_000  # enough for a few stacking weights


class FittedTable(NamedTuple):
    """What `fit_table` learned."""

    model: TableModel
    texts: dict[int, TextModel]  # by the user's column
    learning_rate: float | None  # the first one, as it was chosen; None if it was given
    scores: np.ndarray  # (P,), for rows that were left out, after each pass
    samples: np.ndarray  # (n,), the samples of these rows
    predictions: np.ndarray  # (C, n), for them, like those of `TableModel.predict`
    left_out: LeftOutRows | None  # for importances; None if the table is wide


def fit_table(
    table: TrainingTable,
    config: NetworkConfig,
    networks: int,
    losses: Losses,
    training: Training,
    random_state: int | np.random.RandomState | None,
) -> FittedTable:
    """Learn a table with so many networks of means, and others if the losses ask for them.

    Each network leaves out one fold of the table. Its predictions there give it a stacking weight and, with densities,
    the deviations that the networks of variances learn.
    """
    table, y, targets = with_standardised_targets(table)
    rng, encoding_rng = check_random_state(random_state), check_random_state(random_state)
    folds = draw_folds(y, table.groups, rng) if table.folds is None else table.folds
    counted = counted_folds(table.left_out)
    table, texts = with_texts(table, y, folds, counted)
    inputs = table_inputs(table, y, folds, counted, rng, encoding_rng if training.shuffle else None, training.n_jobs)
    model = TableModel.start(config, networks, losses, inputs.featurizer, targets)
    if table.has_many_classes:
        start_at_rates(model.networks, y)
    place_halfspaces(model, inputs)
    most = len(folds) if model.variances is not None else MOST_ROWS // FOLDS
    fitted = [
        train_ensemble(ensemble, jobs_of(ensemble, y, folds, table.left_out, most), inputs, training)
        for ensemble in [model.means, *model.quantiles]
    ]
    trained, left_out = fitted[0]
    if model.variances is not None:
        fit_variances(model, left_out[-1], y, inputs, table.left_out, training)
    model.learn_novelty(table.X, table.indices, table.levels.keys())
    estimates = cross_fitted(model.means, trained, left_out[-1], inputs)
    rows_left_out = None
    if not issparse(inputs.columns):
        rows_left_out = LeftOutRows.of_table(table.X, table.owners, inputs, model.means, trained.jobs)
    if model.variances is None:  # which are of deviations from the means as they are
        learn_left_out(model.means, trained, inputs, training)
    return FittedTable(
        model,
        texts,
        learning_rate=trained.rate,
        scores=np.array([of_pass.score for of_pass in left_out]),
        samples=table.indices[left_out[-1].rows],
        predictions=targets.in_units(LINKS[model.means.link].inverse(estimates), model.means),
        left_out=rows_left_out,
    )


def with_standardised_targets(table: TrainingTable) -> tuple[TrainingTable, np.ndarray, Targets]:
    """The table with numbers and labels standardised by all rows; what networks learn, (V,) or (T, V), which are labels
    as they were; and what these are."""
    given = table.targets
    if given.ndim == 1:
        return table, given, Classes()
    targets = (Labels if given.dtype == bool else Numbers).of_stream(table.outputs)
    targets.standardizer.fit(given)
    standardised = targets.standardizer.transform(given)
    return table._replace(targets=standardised), given if given.dtype == bool else standardised, targets


def start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class."""
    rates = logits_of_rates(classes, networks[0].num_classes)
    for network in networks:
        set_initial_logits(network, rates - log_sampling_rate(len(rates)))


def place_halfspaces(model: TableModel, inputs: TableInputs) -> None:
    """Place halfspaces between samples, but for networks whose halfspaces `train` chooses, and for wide tables."""
    columns = inputs.columns_of(placing_rows(inputs))
    if issparse(columns) or columns.shape[1] == 1:
        return
    for ensemble in model.ensembles:
        for network, role in ensemble.members:
            if role != EXPANDED:
                network.fit_hyperplanes(columns)


def fit_variances(
    model: TableModel, left_out: OutOfFold, y: np.ndarray, inputs: TableInputs, folds: int, training: Training
) -> None:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    out of fold, and fit their stacking weights and the shape of densities. They leave out so many folds."""
    variances, rows, bound = model.variances, left_out.rows, model.means.networks[0].bound
    assert variances is not None
    deviations = (y[:, rows] - left_out.combined).clip(-bound, bound).astype(np.float32)
    inputs, rng = inputs.take(rows), np.random.RandomState(variances.networks[0].seed)
    chosen = draw_folds(deviations, inputs.groups, rng)  # other ones, because these rows may be of few folds
    jobs = jobs_of(variances, deviations, chosen, folds, MOST_ROWS // FOLDS)
    place_tree_halfspaces(jobs, inputs, training.n_jobs)
    trained = train(variances, jobs, inputs, training, RATES[variances.config.loss].table[0])
    rows, by_role = left_out_by_role(jobs, trained.outputs[-1])
    of_targets = zip(by_role.swapaxes(0, 1), deviations[:, rows], strict=True)
    weights, skew, tails = zip(*(fit_density(*pair, inputs.step_sizes[rows]) for pair in of_targets), strict=True)
    variances.combination = divide_among_networks(np.stack(weights, axis=1), indices_by_role(variances))
    variances.shape = JohnsonSU(np.array(skew), np.array(tails))
