"""`fit_table`, the recipe by which a table is learned.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from gln.engine.ensemble.combination import INVERSE_LINKS
from gln.engine.model.builders import Losses, NetworkConfig
from gln.engine.model.targets import Classes, Labels, Numbers, Targets
from gln.engine.networks.head_sampling import log_sampling_rate
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.preprocessing.texts import TextModel
from gln.engine.tabular.folds import FOLDS, counted_folds, draw_folds, logits_of_rates
from gln.engine.tabular.halfspaces import place_halfspaces, place_tree_halfspaces
from gln.engine.tabular.importance import LeftOutRows
from gln.engine.tabular.inputs import TableInputs, TrainingTable, table_inputs, with_texts
from gln.engine.tabular.jobs import jobs_of
from gln.engine.tabular.model import TableModel
from gln.engine.tabular.out_of_fold import cross_fitted, out_of_fold
from gln.engine.tabular.training import Trained, Training, learn_left_out, train_at_best, train_on
from gln.engine.tabular.variances import MOST_ROWS, fit_variances
from gln.rates import RATES


class FittedTable(NamedTuple):
    model: TableModel
    texts: dict[int, TextModel]  # by the user's column
    texts_of_folds: dict[int, list[TextModel]]  # of a sample, those that have not seen each fold
    learning_rate: float | None  # the first one, as it was chosen; None if it was given
    scores: np.ndarray  # (P,), for rows that were left out, after each pass
    samples: np.ndarray  # (n,), the samples of these rows
    predictions: np.ndarray  # (C, n), for them, like those of `TableModel.predict`
    left_out: LeftOutRows | None  # for importances; None if the table is wide


class PreparedTable(NamedTuple):
    """A table whose targets are standardised and whose texts are numbers, and what is made of it before training."""

    table: TrainingTable
    y: np.ndarray  # (V,) or (T, V), what networks learn
    targets: Targets
    folds: np.ndarray  # (V,)
    texts: dict[int, TextModel]  # as in `FittedTable`
    texts_of_folds: dict[int, list[TextModel]]
    inputs: TableInputs


def fit_table(
    table: TrainingTable, config: NetworkConfig, networks: int, losses: Losses, training: Training
) -> FittedTable:
    """Learn a table with so many networks of means, and others if the losses ask for them.

    Each network leaves out one fold of the table. Its predictions there give it a stacking weight and, with densities,
    the deviations that the networks of variances learn.
    """
    prepared = prepare(table, training)
    inputs = prepared.inputs
    model = start_model(prepared, config, networks, losses)
    trained = train_means(model, prepared, training)
    left_out = [out_of_fold(model.means, trained.jobs, outputs, inputs) for outputs in trained.outputs]
    model.means.combination = left_out[-1].combination
    if model.variances is not None:
        fit_variances(model, left_out[-1], inputs, table.left_out, training)
    estimates = cross_fitted(model.means, trained.jobs, left_out[-1], inputs)
    importance_rows = None
    if not issparse(inputs.columns):
        importance_rows = LeftOutRows.of_table(prepared.table.X, table.owners, inputs, model.means, trained.jobs)
    # Variances are of deviations from the means as they are, and of a sample's folds more rows are still left out.
    if model.variances is None and table.folds is None:
        learn_left_out(model.means, trained, inputs, training)
    return FittedTable(
        model,
        prepared.texts,
        prepared.texts_of_folds,
        learning_rate=trained.rate,
        scores=np.array([predicted.score for predicted in left_out]),
        samples=table.indices[left_out[-1].rows],
        predictions=prepared.targets.units.limited(INVERSE_LINKS[model.means.link](estimates)),
        left_out=importance_rows,
    )


def prepare(table: TrainingTable, training: Training) -> PreparedTable:
    """Draw the folds of a table, standardise its targets, and make the inputs of networks, out of fold."""
    table, y, targets = with_standardised_targets(table)
    rng = check_random_state(training.random_state)
    encoding_rng = check_random_state(training.random_state) if training.shuffle else None
    folds = draw_folds(y, table.groups, rng) if table.folds is None else table.folds
    counted = counted_folds(table.left_out)
    table, texts, texts_of_folds = with_texts(table, y, folds, counted)
    inputs = table_inputs(table, y, folds, counted, rng, encoding_rng, training.n_jobs)
    return PreparedTable(table, y, targets, folds, texts, texts_of_folds, inputs)


def start_model(prepared: PreparedTable, config: NetworkConfig, networks: int, losses: Losses) -> TableModel:
    """A model with its networks, which have learned nothing, and the halfspaces of those that read columns alone."""
    model = TableModel.start(config, networks, losses, prepared.inputs.featurizer, prepared.targets)
    table = prepared.table
    if table.has_many_classes:  # each head starts with the rate of its class
        logits = logits_of_rates(prepared.y, table.outputs) - log_sampling_rate(table.outputs)
        for network in model.networks:
            set_initial_logits(network, logits)
    place_halfspaces(model, prepared.inputs)
    return model


def train_means(model: TableModel, prepared: PreparedTable, training: Training) -> Trained:
    """Train the networks of means, at the best of the rates of their loss if none was given."""
    means = model.means
    inputs = prepared.inputs
    most = MOST_ROWS // FOLDS if model.variances is None else len(prepared.folds)
    jobs = jobs_of(means, prepared.folds, prepared.table.left_out, most)
    place_tree_halfspaces(jobs, inputs, training.n_jobs)
    rates = RATES[means.link].table if means.networks[0].has_default_rate else [None]
    trained = train_at_best(means, jobs, inputs, training, rates)
    return train_on(means, trained, inputs, training) if training.early_stopping else trained


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
