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
from gln.engine.model.featurizers import Featurizer
from gln.engine.networks.head_sampling import MANY
from gln.engine.preprocessing.basis_expansion import NO_PIECES, quantile_pieces
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer
from gln.engine.preprocessing.sparse_scaling import SparseScaler
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
    copies: np.ndarray  # (V,), equal for rows of one sample and of its copies
    levels: Mapping[int, int]  # how many levels each category has, by feature
    outputs: int  # the number of classes or targets

    @property
    def has_many_classes(self) -> bool:
        return self.targets.ndim == 1 and self.outputs >= MANY


class TableBlocks(NamedTuple):
    """What networks read of all samples."""

    columns: Any  # (N, D), standardised unless there is a `standardizer`; sparse if the table is wide
    bin_means: np.ndarray | None  # (N, E)
    indices: np.ndarray  # (V,), the sample of each row
    step_sizes: np.ndarray  # (V,)
    copies: np.ndarray  # (V,)
    standardizer: Any = None  # of a table that is too large to keep its standardised columns

    def read(self, rows: np.ndarray | slice, bin_means: bool = True) -> Any:
        """Standardised columns and, if wanted, bin means: (n,) -> (D + E, n) or (D, n)."""
        indices = self.indices[rows]
        z = self.columns[indices].T
        if self.standardizer is not None:
            z = self.standardizer.transform(z)
        if self.bin_means is not None and bin_means:
            return np.concatenate([z, self.bin_means[indices].T])
        return z if issparse(z) else np.ascontiguousarray(z)

    def take(self, rows: np.ndarray) -> TableBlocks:  # (n,)
        """The blocks of some rows."""
        return self._replace(indices=self.indices[rows], step_sizes=self.step_sizes[rows], copies=self.copies[rows])


def is_wide(X: Any, levels: Mapping[int, Any]) -> bool:  # (N, F)
    return issparse(X) and X.shape[1] > WIDE and not levels


def make_blocks(
    table: TrainingTable,
    y: np.ndarray,
    folds: np.ndarray,
    rng: np.random.RandomState,
    encoding_rng: np.random.RandomState | None,
) -> tuple[Featurizer, TableBlocks]:
    """The featurizer of a table, and the blocks that it makes of the samples; those made from targets are out of fold.

    `encoding_rng` shuffles the samples before categories are encoded; None keeps their order. Shapes: class numbers
    (V,) or standardised numbers (T, V), folds (V,).
    """
    blocks = TableBlocks(table.X, None, table.indices, table.step_sizes, table.copies)
    if is_wide(table.X, table.levels):
        scaler = SparseScaler(table.X.shape[1])
        scaler.fit(table.X.T, table.indices)
        return Featurizer(scaler, distances=False), blocks._replace(columns=scaler.transform(table.X.T).T)
    bin_means = categories = None
    if not table.has_many_classes:
        bin_means, values = fit_bin_means(table.X, table.indices, y, table.step_sizes, folds, table.levels, rng)
        blocks = blocks._replace(bin_means=values)
    if table.levels:
        categories = TargetEncoding.of_numbers(table.X.shape[1], table.outputs, y.ndim == 1).of_table(table.levels)
        blocks = encode_categories(categories, blocks, y, encoding_rng)
    standardizer = Standardizer(blocks.columns.shape[1], **OF_FEATURES)
    standardizer.fit(blocks.columns.T, blocks.indices)
    blocks = blocks._replace(standardizer=standardizer)
    if np.prod(blocks.columns.shape) <= IN_MEMORY:
        blocks = blocks._replace(columns=standardised(blocks.columns, standardizer), standardizer=None)
    pieces = NO_PIECES if table.has_many_classes else quantile_pieces(blocks.read(placing_rows(blocks), False))
    return Featurizer(standardizer, categories, pieces=pieces, cells=bin_means), blocks


def encode_categories(
    categories: TargetEncoding, blocks: TableBlocks, y: np.ndarray, rng: np.random.RandomState | None
) -> TableBlocks:
    """The blocks with categories as columns. Samples are encoded and counted in random order, or in the table's if
    `rng` is None.

    Copies of a sample are counted once, so that its own target does not leak into it.
    """
    samples, _ = pd.factorize(blocks.copies)  # numbered in the order of their first rows
    first = np.unique(samples, return_index=True)[1]
    indices, weights = blocks.indices[first], np.bincount(samples, blocks.step_sizes)
    columns = np.empty((len(first), len(categories.columns)), blocks.columns.dtype)
    order = np.arange(len(first)) if rng is None else rng.permutation(len(first))
    for chunk in (order[chunk] for chunk in chunks(len(order))):
        features = blocks.columns[indices[chunk]].T
        columns[chunk] = categories.learn(features, y[..., first[chunk]], weights[chunk]).T
    bin_means = None if blocks.bin_means is None else blocks.bin_means[indices]
    return blocks._replace(columns=columns, bin_means=bin_means, indices=samples)


def standardised(columns: Any, standardizer: Standardizer) -> np.ndarray:  # (N, D), perhaps sparse -> (N, D) float32
    found = np.empty(columns.shape, np.float32)
    for chunk in chunks(len(found)):
        found[chunk] = standardizer.transform(columns[chunk].T).T
    return found


def placing_rows(blocks: TableBlocks) -> np.ndarray:
    """Rows that halfspaces and the knots of expansions are placed by."""
    most = np.clip(MOST_VALUES // blocks.columns.shape[1], FEWEST_ROWS, MOST_ROWS)
    return spread(len(blocks.indices), int(most))
