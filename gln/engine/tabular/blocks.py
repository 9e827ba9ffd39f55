"""The feature blocks of a whole table: its columns, standardised, and bin means, made once and out of fold.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), D columns made from the features,
E bin means, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from gln.engine.base_models.bin_means import fit_bin_means
from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import FeatureBlocks
from gln.engine.model.featurizers import PlainFeaturizer, TableFeaturizer
from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.preprocessing.basis_expansion import quantile_pieces
from gln.engine.preprocessing.scaling import OF_FEATURES, SparseScaler, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding

# A sparse table of more than WIDE features, such as texts, stays sparse. Its networks are single neurons without
# halfspaces: a word is missing from most texts, so halfspaces hardly split them, and layers above the first overfit.
WIDE = 1000
IN_MEMORY = 1 << 27  # standardised numbers that are kept; those of a larger table are made again for each chunk
FEWEST_ROWS, MOST_ROWS, MOST_VALUES = 500, 5000, 10**7  # of `placing_rows`


class TrainingTable(NamedTuple):
    """What there is to learn."""

    X: Any  # (N, F), dense or sparse, with codes for categories
    indices: np.ndarray  # (V,), the sample of each row
    targets: np.ndarray  # (V,) class numbers, or (T, V) numbers
    step_sizes: np.ndarray  # (V,), the fraction of a step that each row makes
    groups: np.ndarray  # (V,), equal for rows that are left out together
    levels: Mapping[int, int]  # how many levels each category has, by feature
    outputs: int  # the number of classes or targets
    left_out: int  # how many folds networks leave out

    @property
    def has_many_classes(self) -> bool:
        return self.targets.ndim == 1 and self.outputs >= MANY_CLASSES


class TableBlocks(NamedTuple):
    """What networks read of all samples."""

    columns: Any  # (N, D), standardised if they `are_standardised`; sparse if the table is wide
    bin_means: np.ndarray | None  # (N, E)
    indices: np.ndarray  # (V,), the sample of each row
    step_sizes: np.ndarray  # (V,)
    groups: np.ndarray  # (V,)
    featurizer: Any = None  # a TableFeaturizer, or a PlainFeaturizer of a wide table
    are_standardised: bool = False  # False if the table is too large to keep its standardised columns

    def columns_of(self, rows: np.ndarray) -> Any:  # (n,) -> (D, n)
        """Standardised columns."""
        columns = rows_of(self.columns, self.indices[rows]).T
        return columns if self.are_standardised else self.featurizer.standardizer.transform(columns)

    def read(self, rows: np.ndarray, expands: bool = True) -> FeatureBlocks:  # (n,)
        """What networks mix and see; without `expands`, no expansions and bin means."""
        columns = self.columns_of(rows)
        if isinstance(self.featurizer, PlainFeaturizer):
            return self.featurizer.blocks(columns, None)
        bin_means = rows_of(self.bin_means, self.indices[rows]) if expands and self.bin_means is not None else None
        return self.featurizer.blocks_of(columns.T, bin_means, expands)

    def only(self, rows: np.ndarray) -> TableBlocks:  # (n,)
        """These rows without the others, each as a sample."""
        columns, indices = self.columns_of(rows).T, np.arange(len(rows))
        bin_means = None if self.bin_means is None else self.bin_means[self.indices[rows]]
        steps, groups = self.step_sizes[rows], self.groups[rows]
        return TableBlocks(columns, bin_means, indices, steps, groups, self.featurizer, are_standardised=True)

    def take(self, rows: np.ndarray) -> TableBlocks:  # (n,)
        return self._replace(indices=self.indices[rows], step_sizes=self.step_sizes[rows], groups=self.groups[rows])


def rows_of(table: Any, indices: np.ndarray) -> Any:  # (N, D), (n,) -> (n, D)
    return table[indices] if issparse(table) else table.take(indices, axis=0)  # half as fast again as indexing


def is_wide(X: Any, levels: Mapping[int, Any]) -> bool:  # (N, F)
    return issparse(X) and X.shape[1] > WIDE and not levels


def make_blocks(
    table: TrainingTable,
    y: np.ndarray,  # (V,) class numbers, or (T, V) standardised numbers
    folds: np.ndarray,  # (V,)
    counted: np.ndarray,  # which folds are counted in the bin means of each, see `counted_folds`
    rng: np.random.RandomState,
    encoding_rng: np.random.RandomState | None,  # shuffles samples before categories are encoded; None keeps the order
) -> TableBlocks:
    """The blocks of a table, with their featurizer; those made from targets are out of fold."""
    blocks = TableBlocks(table.X, None, table.indices, table.step_sizes, table.groups)
    if is_wide(table.X, table.levels):
        scaler = SparseScaler(table.X.shape[1])
        scaler.fit(table.X.T, table.indices)
        columns, featurizer = scaler.transform(table.X.T).T, PlainFeaturizer(scaler)
        return blocks._replace(columns=columns, featurizer=featurizer, are_standardised=True)
    bin_means = encoding = None
    if not table.has_many_classes:
        bin_means, values = fit_bin_means(
            table.X, table.indices, y, table.step_sizes, folds, counted, table.levels, rng
        )
        blocks = blocks._replace(bin_means=values)
    if table.levels:
        encoding = TargetEncoding.of_numbers(table.X.shape[1], table.outputs, y.ndim == 1).of_table(table.levels)
        blocks = encode_categories(encoding, blocks, y, encoding_rng)
    standardizer = Standardizer(blocks.columns.shape[1], **OF_FEATURES)
    standardizer.fit(blocks.columns.T, blocks.indices)
    blocks = blocks._replace(featurizer=TableFeaturizer(standardizer, encoding, bin_means=bin_means))
    if np.prod(blocks.columns.shape) <= IN_MEMORY:
        columns = np.empty(blocks.columns.shape, np.float32)
        for chunk in chunks(len(columns)):
            columns[chunk] = standardizer.transform(blocks.columns[chunk].T).T
        blocks = blocks._replace(columns=columns, are_standardised=True)
    if not table.has_many_classes:
        blocks.featurizer.pieces = quantile_pieces(blocks.columns_of(placing_rows(blocks)))
    return blocks


def encode_categories(
    encoding: TargetEncoding, blocks: TableBlocks, y: np.ndarray, rng: np.random.RandomState | None
) -> TableBlocks:
    """The blocks with categories as columns, in the order of the table without `rng`.

    All rows of a group are encoded before any of them is counted, so that a copy does not leak its target.
    """
    groups, names = pd.factorize(blocks.groups)  # numbered in the order of their first rows
    count = len(names)
    places = np.arange(count) if rng is None else np.argsort(rng.permutation(count))
    rows, is_counted = np.tile(np.arange(len(groups)), 2), np.arange(2).repeat(len(groups))  # first without weight
    order = np.lexsort([is_counted, places[groups[rows]]])
    columns = np.empty((blocks.columns.shape[0], len(encoding.columns)), blocks.columns.dtype)
    for chunk in (order[chunk] for chunk in chunks(len(order))):
        chosen, weights = rows[chunk], is_counted[chunk] * blocks.step_sizes[rows[chunk]]
        encoded = encoding.learn(blocks.columns[blocks.indices[chosen]].T, y[..., chosen], weights).T
        columns[blocks.indices[chosen[weights == 0]]] = encoded[weights == 0]
    return blocks._replace(columns=columns)


def placing_rows(blocks: TableBlocks) -> np.ndarray:
    """Rows that halfspaces and the knots of expansions are placed by."""
    most = np.clip(MOST_VALUES // blocks.columns.shape[1], FEWEST_ROWS, MOST_ROWS)
    return spread(len(blocks.indices), int(most))
