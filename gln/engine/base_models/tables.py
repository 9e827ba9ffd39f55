"""What base predictors know, as tables by bins and by levels, for a file that neither counts nor hashes.

Shapes: F features, N those that are numbers, V values of a sample that linear models weight, L levels of a category,
S samples, G grids, M models, C heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gln.engine.base_models.fading_bin_means import (
    DEPTHS,
    NONE,
    PAIR_DEPTH,
    STEEP,
    BinCounts,
    FadingBinMeans,
    count_cells,
)
from gln.engine.base_models.hashed_linear import HashedLinear
from gln.engine.batches import chunks, no_words


class CellTables(NamedTuple):
    """What each grid says of each bin, or of each two bins: the row of a sample is the sum of its start, of `widths`
    times the first column's bin, divided by `divisors`, and of the second column's bin, divided by `divisors`."""

    columns: np.ndarray  # (G, 2)
    divisors: np.ndarray  # (G, 2), of bins; that of no second column leaves nothing
    widths: np.ndarray  # (G,)
    starts: np.ndarray  # (G,)
    values: np.ndarray  # (rows of all grids, C) float32


def tables_of_cells(cells: FadingBinMeans) -> CellTables:
    """What cells say, found by asking each grid about a value in the middle of each bin."""
    bins, coarse = 1 << DEPTHS[-1], 1 << PAIR_DEPTH
    of_one, of_two = _middles(bins)[None], _middles(coarse)[np.indices((coarse, coarse)).reshape(2, -1)]
    single, values = cells.grids[:, 1] == NONE, [np.zeros((0, cells.heads), np.float32)]
    for start, is_single in zip(cells.cells.starts, single, strict=True):
        z, grid = (of_one, (0, NONE)) if is_single else (of_two, (0, 1))
        nothing, said = np.full((cells.heads, z.shape[1]), np.nan), np.empty((cells.heads, z.shape[1]), np.float32)
        known = BinCounts(np.array([grid]), np.array([start]), cells.counts, cells.sums, cells.totals)
        count_cells(z, known, cells.are_classes, nothing, nothing[0], said)  # by Python: compiling takes longer
        values.append(said.T)
    divisors, widths = np.where(single[:, None], (1, bins), bins // coarse), np.where(single, 1, coarse)
    sizes = np.array([len(own) for own in values[1:]], int)
    return CellTables(np.maximum(cells.grids, 0), divisors, widths, np.cumsum(sizes) - sizes, np.concatenate(values))


def _middles(bins: int) -> np.ndarray:  # -> (bins,)
    """A standardised value in the middle of each of so many bins."""
    p = (np.arange(bins) + 0.5) / bins
    return np.log(p / (1 - p)) / STEEP


class Weights(NamedTuple):
    """Weights of a sample's values, which are first divided by the larger of `scales` and their absolute values.

    The values are the numbers, whether each is missing, and a constant 1.
    """

    weights: np.ndarray  # (L, V, M C)
    scales: np.ndarray  # (L, V)


def weights_of_levels(
    linear: HashedLinear, numbers: np.ndarray, feature: int | None = None, levels: int = 1
) -> Weights:
    """Weights of the values of samples with each level of a category, and with none after these; or, without a
    feature, the weights that samples of any levels have."""
    count, given = len(numbers), {} if feature is None else {feature: np.arange(levels)}
    constant, first = (0, 1) if feature is None else (1, 2 + count)  # the bias or the level; numbers, or their pairs
    keys, missing = (_keys(linear, numbers, number, given) for number in (0.0, np.nan))
    wanted = np.concatenate([*(own[:, first : first + count] for own in (keys, missing)), keys[:, [constant]]], axis=1)
    weights, scales = linear.weights(wanted.ravel())
    weights = weights.reshape(*wanted.shape, linear.models, linear.heads)
    if feature is not None:
        weights[:, :-1, 0] = 0  # pairs are not of the first model
    unknown = 0 if feature is None else 1
    return Weights(
        np.pad(weights.reshape(*wanted.shape, -1), [(0, unknown), (0, 0), (0, 0)]),
        np.pad(np.where(scales > 0, scales, 1).reshape(wanted.shape), [(0, unknown), (0, 0)], constant_values=1),
    )


def table_of_pairs(linear: HashedLinear, levels: Mapping[int, int]) -> np.ndarray:  # {feature: L} -> (L + 1, L + 1, C)
    """What the second model says of each two levels of two categories; nothing where one of them is unknown."""
    counts = tuple(levels.values())
    said = []
    for part in chunks(int(np.prod(counts))):
        codes = np.unravel_index(np.arange(part.start, part.stop), counts)
        keys = _keys(linear, np.zeros(0, int), 0.0, dict(zip(levels, codes, strict=True)))
        weights, scales = linear.weights(keys[:, 3].copy())  # after the bias and two levels
        said.append(weights[:, 1] / np.maximum(scales, 1)[:, None])
    table = np.concatenate(said).reshape(*counts, linear.heads)
    return np.pad(table, [(0, 1), (0, 1), (0, 0)])


def _keys(linear: HashedLinear, numbers: np.ndarray, number: float, levels: Mapping[int, np.ndarray]) -> np.ndarray:
    """Keys of the terms of samples of these levels, whose numbers are all equal, or NaN; other features say nothing.

    Shapes: (N,), (), by feature (S,) -> (S, T): the bias, levels, numbers, and then pairs.
    """
    count = len(next(iter(levels.values()), [0]))
    size = 1 + max([*numbers.tolist(), *levels], default=0)
    samples, columns = np.zeros((size, count)), np.zeros(size, int)  # the first column is 0, so that it has no terms
    samples[numbers], columns[numbers] = number, 1
    for feature, codes in levels.items():
        samples[feature], columns[feature] = codes, -1
    z = np.repeat(np.array([[0], [1]], np.float32), count, axis=1)
    return linear.terms(samples, no_words(count), z, columns).keys.reshape(count, -1)
