"""What networks read of a table: its columns, standardised, expansions of these, and bin means.

For the rows of the table itself these are made once, and out of fold where they tell of targets.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), D columns made from the features,
E bin means, T targets, B samples.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from gln.engine.base_models.bin_means import BinMeans, fit_bin_means
from gln.engine.batches import Matrix, SampleBatch, chunks, dense, spread
from gln.engine.ensemble.combination import LINKS
from gln.engine.ensemble.ensemble import COLUMNS, EXPANDED, NetworkInputs, Role
from gln.engine.model.featurizer import Featurizer, InputSpec
from gln.engine.model.targets import TargetBatch
from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.preprocessing import basis_expansion
from gln.engine.preprocessing.basis_expansion import Pieces, with_expansions
from gln.engine.preprocessing.scaling import OF_FEATURES, SparseScaler, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.preprocessing.texts import TextModel, TextWords, fit_text
from gln.engine.saving import bad, saved
from gln.engine.streaming.model import StreamModel
from gln.engine.tabular.folds import representing

# A sparse table of more than WIDE features, such as texts, stays sparse. Its networks are single neurons without
# halfspaces: a word is missing from most texts, so halfspaces hardly split them, and layers above the first overfit.
WIDE = 1000
FEWEST_ROWS, MOST_ROWS, MOST_VALUES = 500, 5000, 10**7  # of `placing_rows`


@saved(standardizer=(SparseScaler, Standardizer), encoding=(TargetEncoding, None))
@dataclasses.dataclass
class PlainFeaturizer(Featurizer):
    """Columns alone: for wide sparse samples, and for single networks."""

    def inputs(self, columns: Matrix, samples: SampleBatch, batch: TargetBatch | None = None) -> NetworkInputs:
        return NetworkInputs(columns, columns, columns[:0])

    def from_columns(self, columns: Matrix, bin_means: np.ndarray, role: Role = COLUMNS) -> NetworkInputs:
        return NetworkInputs(columns.T, columns.T, columns.T[:0])

    def spec_of(self, role: Role) -> InputSpec:
        return InputSpec.of(range(self.size), self.feature_of_columns)


@saved(
    standardizer=Standardizer,
    encoding=(TargetEncoding, None),
    pieces=Pieces,
    bin_means=(BinMeans, None),
    stream=(StreamModel, None),
)
@dataclasses.dataclass
class TableFeaturizer(Featurizer):
    """Half of the networks of a table also mix expansions of columns, and means of bins as they were counted in it.

    When the table goes on, a stream of its columns begins, whose predictions the last neuron of the table mixes.
    """

    pieces: Pieces = basis_expansion.NO_PIECES  # of piecewise-linear expansions
    bin_means: Any = None  # `BinMeans` of the features; None gives those without grids
    stream: StreamModel | None = None  # in the units of the table's targets; None before the table goes on

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bin_means = self.bin_means or BinMeans.without_grids(len(self.numbers))

    def check(self) -> None:
        super().check()
        size = len(self.numbers)
        pieces = self.pieces
        binned = len(self.bin_means.sizes)
        if self.stream is not None:
            self.stream.check()
            if self.stream.featurizer.size != self.size:
                raise bad("stream", f"{self.size} columns", self.stream.featurizer.size)
        if not (pieces.high > pieces.low).all() or pieces.features.max(initial=-1) >= self.size or binned != size:
            raise bad("bin_means", f"pieces and bins of {size} features", f"bins of {binned}")

    def inputs(self, columns: Matrix, samples: SampleBatch, batch: TargetBatch | None = None) -> NetworkInputs:
        read = self.from_columns(columns.T, self.bin_means.transform(dense(samples.features)).T)
        if self.stream is None:
            return read
        rows = SampleBatch.of(columns)
        predicted = self.stream.predicted(rows, 1) if batch is None else self.stream.follow(rows, batch)
        return read._replace(linear=LINKS[self.stream.means.link](predicted))

    @property
    def is_warming_up(self) -> bool:
        stream = self.stream
        return super().is_warming_up if stream is None else stream.featurizer.is_warming_up

    def explain_linear(
        self, columns: Matrix, samples: SampleBatch, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:  # (D, B), (n,) -> (C, B, n), (C, B)
        if self.stream is None:
            return super().explain_linear(columns, samples, known)
        contributions, constant = self.stream.contributions(SampleBatch.of(columns))
        return contributions @ (self.feature_of_columns[:, None] == known), constant

    def from_columns(self, columns: np.ndarray, bin_means: np.ndarray, role: Role = EXPANDED) -> NetworkInputs:
        """What networks of a role read of samples with these columns (B, D) and means of bins (B, E)."""
        pieces = self.pieces if role.mixes else basis_expansion.NO_PIECES
        inputs = with_expansions(np.ascontiguousarray(columns), np.ascontiguousarray(bin_means), pieces).T
        return NetworkInputs(columns.T, inputs, inputs[:0])

    def _with_columns(self, encoding: TargetEncoding | None, size: int) -> TableFeaturizer:
        grown = super()._with_columns(encoding, size)
        stream = self.stream and self.stream.with_columns(size)
        return dataclasses.replace(grown, bin_means=self.bin_means.grown(len(grown.numbers)), stream=stream)

    def with_class(self, count: int) -> TableFeaturizer:
        grown = super().with_class(count)
        return dataclasses.replace(grown, stream=grown.stream and grown.stream.with_class())

    def _more_specs(self) -> dict[str, InputSpec]:
        features = self.feature_of_columns[self.pieces.features]
        at_mean = basis_expansion.piecewise_linear(np.zeros((self.size, 1), np.float32), self.pieces)
        bin_means = [("bin mean", i) for i in range(self.bin_means.columns)]
        return {
            "expansions": InputSpec.of([("expansion", i) for i in range(len(features))], features, at_mean),
            "bin_means": InputSpec.of(bin_means, self.bin_means.features),
        }


class TrainingTable(NamedTuple):
    X: Matrix  # (N, F), dense or sparse, with codes for categories
    indices: np.ndarray  # (V,), the sample of each row
    targets: np.ndarray  # (V,) class numbers, or (T, V) numbers, or labels, which are bools until standardised
    step_sizes: np.ndarray  # (V,), the fraction of a step that each row makes
    groups: np.ndarray  # (V,), equal for rows that are left out together
    levels: Mapping[int, int]  # how many levels each category has, by feature
    outputs: int  # the number of classes or targets
    left_out: int  # how many folds networks leave out
    owners: np.ndarray  # (F,), the column of the user's table that each feature is made from
    texts: Mapping[int, TextWords]  # by the user's column, (N, S)
    folds: np.ndarray | None = None  # (V,), if this is a sample of a table, whose folds they are

    @property
    def has_many_classes(self) -> bool:
        return self.targets.ndim == 1 and self.outputs >= MANY_CLASSES


class TableInputs(NamedTuple):
    """What networks read of all samples."""

    columns: Matrix  # (N, D), standardised; sparse if the table is wide
    bin_means: np.ndarray  # (N, E)
    indices: np.ndarray  # (V,), the sample of each row
    step_sizes: np.ndarray  # (V,)
    groups: np.ndarray  # (V,)
    targets: np.ndarray  # (V,) class numbers, or (T, V) standardised numbers, or labels
    featurizer: Any  # a `TableFeaturizer`, of a wide table a `PlainFeaturizer`

    def columns_of(self, rows: np.ndarray) -> Matrix:  # (n,) -> (D, n)
        return self.columns[self.indices[rows]].T

    def read(self, rows: np.ndarray, role: Role) -> NetworkInputs:  # (n,)
        """What networks of a role read of these rows."""
        samples = self.indices[rows]
        bin_means = self.bin_means if role.mixes else self.bin_means[:, :0]
        return self.featurizer.from_columns(self.columns[samples], bin_means.take(samples, axis=0), role)

    def take(self, rows: np.ndarray) -> TableInputs:  # (n,)
        """These rows without the others, each as a sample."""
        samples = self.indices[rows]
        indices = np.arange(len(rows))
        of_rows = indices, self.step_sizes[rows], self.groups[rows], self.targets[..., rows]
        return TableInputs(self.columns[samples], self.bin_means[samples], *of_rows, self.featurizer)

    def representing(self, rows: np.ndarray) -> np.ndarray:  # (n,) -> (n,)
        return representing(self.targets, self.step_sizes, rows)


def with_texts(
    table: TrainingTable, y: np.ndarray, folds: np.ndarray, counted: np.ndarray
) -> tuple[TrainingTable, dict[int, TextModel], dict[int, list[TextModel]]]:
    """The table with what is predicted from texts, out of fold, their models and, of a sample of a table, those of each
    fold; shapes as for `table_inputs`."""
    models: dict[int, TextModel] = {}
    fold_models: dict[int, list[TextModel]] = {}
    if not table.texts:
        return table, models, fold_models
    X = np.array(table.X, np.float64)
    count = table.X.shape[0]
    y = by_head(y, table.outputs)
    sample_folds = np.zeros(count, int)
    targets = np.zeros((len(y), count))
    targets[:, table.indices] = y
    sample_folds[table.indices] = folds
    weights = np.bincount(table.indices, table.step_sizes, count)
    for column, words in table.texts.items():
        models[column], others, values = fit_text(words, targets, weights, sample_folds, counted)
        X[:, table.owners == column] = values
        if table.folds is not None:
            fold_models[column] = others
    return table._replace(X=X), models, fold_models


def by_head(targets: np.ndarray, classes: int) -> np.ndarray:  # (V,) -> bools (C, V), (1, V) for two; (T, V) stays
    return targets if targets.ndim == 2 else targets == np.arange(classes)[(1 if classes == 2 else 0) :, None]


def is_wide(X: Matrix) -> bool:  # (N, F)
    return issparse(X) and X.shape[1] > WIDE


def table_inputs(
    table: TrainingTable,
    y: np.ndarray,  # (V,) class numbers, or (T, V) standardised numbers or labels
    folds: np.ndarray,  # (V,)
    counted: np.ndarray,  # which folds are counted in the bin means of each, see `counted_folds`
    rng: np.random.RandomState,
    encoding_rng: np.random.RandomState | None,  # shuffles samples before categories are encoded; None keeps the order
    n_jobs: int | None = None,  # threads that count bins
) -> TableInputs:
    """What networks read of a table, with the featurizer; what is made from targets is out of fold."""
    if is_wide(table.X):
        return wide_inputs(table, y)
    if table.has_many_classes:
        bin_means = None
        values = np.zeros((table.X.shape[0], 0), np.float32)
    else:
        counts = table.step_sizes, folds, counted, table.levels, rng, n_jobs
        bin_means, values = fit_bin_means(table.X, table.indices, by_head(y, table.outputs), *counts)
    encoding, columns = encoded_columns(table, y.ndim == 1, encoding_rng)
    standardizer = Standardizer(columns.shape[1], **OF_FEATURES)
    standardizer.fit(columns.T, table.indices)
    standardised = np.empty(columns.shape, np.float32)
    for chunk in chunks(len(standardised)):
        standardised[chunk] = standardizer.transform(columns[chunk].T).T
    featurizer = TableFeaturizer(standardizer, encoding, bin_means=bin_means)
    inputs = TableInputs(standardised, values, table.indices, table.step_sizes, table.groups, y, featurizer)
    if not table.has_many_classes:
        featurizer.pieces = basis_expansion.quantile_pieces(inputs.columns_of(placing_rows(inputs)))
    return inputs


def wide_inputs(table: TrainingTable, y: np.ndarray) -> TableInputs:
    """What networks read of a wide table: its columns, scaled, without bin means."""
    X = table.X
    scaler = SparseScaler(X.shape[1])
    scaler.fit(X.T, table.indices)
    columns = scaler.transform(X.T).T
    bin_means = np.zeros((X.shape[0], 0), np.float32)
    featurizer = PlainFeaturizer(scaler)
    return TableInputs(columns, bin_means, table.indices, table.step_sizes, table.groups, y, featurizer)


def encoded_columns(
    table: TrainingTable, are_classes: bool, rng: np.random.RandomState | None
) -> tuple[TargetEncoding | None, Matrix]:  # (N, D)
    """How categories are encoded, None without them, and the columns of a table with theirs."""
    if not table.levels:
        return None, table.X
    shares = {feature: np.isnan(table.X[table.indices, feature]).mean() for feature in table.levels}
    with_missing = [feature for feature, share in shares.items() if 0 < share < 1]
    encoding = TargetEncoding.of_numbers(table.X.shape[1], table.outputs, are_classes)
    encoding = encoding.of_table(table.levels, with_missing)
    return encoding, encode_categories(encoding, table, rng)


def encode_categories(
    encoding: TargetEncoding, table: TrainingTable, rng: np.random.RandomState | None
) -> np.ndarray:  # -> (N, D)
    """Columns with those of categories, encoded in the order of the table without `rng`.

    All rows of a group are encoded before any of them is counted, so that a copy does not leak its target.
    """
    groups, names = pd.factorize(table.groups)  # numbered in the order of their first rows
    ranks = np.arange(len(names)) if rng is None else np.argsort(rng.permutation(len(names)))
    rows = np.tile(np.arange(len(groups)), 2)
    is_counted = np.arange(2).repeat(len(groups))  # first without weight
    order = np.lexsort([is_counted, ranks[groups[rows]]])
    columns = np.empty((table.X.shape[0], len(encoding.columns)), table.X.dtype)
    for chunk in chunks(len(order)):
        chosen = rows[order[chunk]]
        weights = is_counted[order[chunk]] * table.step_sizes[chosen]
        encoded = encoding.learn(table.X[table.indices[chosen]].T, table.targets[..., chosen], weights).T
        columns[table.indices[chosen[weights == 0]]] = encoded[weights == 0]
    return columns


def placing_rows(inputs: TableInputs) -> np.ndarray:
    """Rows that halfspaces and the knots of expansions are placed by."""
    most = np.clip(MOST_VALUES // inputs.columns.shape[1], FEWEST_ROWS, MOST_ROWS)
    return spread(len(inputs.indices), int(most))
