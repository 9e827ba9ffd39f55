"""Means of bins: the mean target of a table's samples in a bin of a feature, or of two features, as base predictions.

Each feature is cut into bins. A grid is one feature or a pair of features, and its cells are bins or pairs of bins.

Shapes: B or N samples, F features, C heads, G grids, E columns (grids times heads), R folds, V sample indices, in which
a sample of weight 2 may occur twice.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array, issparse

from gln.engine.batches import chunks, dense, spread
from gln.engine.jit import WritableArrays, compiled

NONE = -1  # in place of a second feature
STRENGTH = 4.0  # weight of the wider cell's mean, as a number of samples
MIN_PROBABILITY = 1e-3  # probabilities are in [MIN_PROBABILITY, 1 - MIN_PROBABILITY]
LOGIT_FACTOR = 0.5  # of logits: networks of small tables overfit larger ones
MAX_VALUE = 10.0  # numbers are in [-MAX_VALUE, MAX_VALUE], as networks clip them
# A feature has at most 2^WIDE_BITS bins, and one for missing values. Each may be cut further, into 2^(BITS - WIDE_BITS)
# at most, of single values: a price can depend on the exact distance. This is done where it lowers the squared error,
# out of fold, by DEEP_GAIN of the variance.
WIDE_BITS, BITS, DEEP_GAIN = 7, 11, 0.01
MOST_GRIDS_OF_TWO, MOST_COLUMNS = 60, 200  # pairs of features, and columns of them and of single features
TRIED_PAIRS, TRIED_ON, TRIED_BITS = 1000, 3000, 4  # pairs to choose from, and the samples and bits to choose by
BINNED_ON = 50_000  # samples for the ends of bins, and to choose features with deeper cells
ROUNDING = 1e-12  # relative to a value: 0.1 + 0.2 is 0.3
# Where in a gap a bin ends. The middle of 0.1 and 0.3 is a likely new value, 0.2, whose bin would depend on rounding;
# the golden section stays away from all values of a regular grid.
IN_GAP = (math.sqrt(5) - 1) / 2
AT_ONCE = 20_000  # samples to predict, so that the values of each grid stay in the cache for many
TINY = 1e-9  # weight of no samples


@dataclasses.dataclass
class BinMeans(WritableArrays):
    """What the cells of each grid predict for the heads: logits or numbers, with 0 for the average of all samples."""

    sizes: np.ndarray  # (F,), the number of each feature's bins; the last is for missing values and unknown levels
    ends: np.ndarray  # of all bins but these, ascending: a value is in the first bin whose end is not below it
    cells: np.ndarray  # (2, bins of all features): the cell of each bin in grids of one feature, and of two
    grids: np.ndarray  # (G, 2), features; NONE as the second of a single one
    values: np.ndarray  # (cells of all grids, C) float32

    def __post_init__(self) -> None:
        """Raises ValueError unless the fields fit together: compiled loops do not check, and a file may be changed."""
        features, bins = len(self.sizes), self.sizes.sum()
        kinds = [array.dtype.kind for array in (self.sizes, self.cells, self.grids, self.ends, self.values)]
        if kinds != ["i", "i", "i", "f", "f"] or self.sizes.ndim != 1 or self.sizes.min() < 1:
            raise ValueError(f"cells: expected integers and numbers, got the kinds {kinds} and sizes {self.sizes}")
        shapes = self.ends.shape, self.cells.shape, self.grids.shape[1:], self.values.shape[2:]
        if shapes != ((bins - features,), (2, bins), (2,), ()) or self.cells.min() < 0:
            raise ValueError(f"cells: expected the places of {bins} bins, got the shapes {shapes}")
        self.grids = np.where(self.grids == [NONE, features], NONE, self.grids)  # older files have F for no feature
        if not ((self.grids >= [0, NONE]) & (self.grids < features)).all():
            raise ValueError(f"cells: expected pairs of {features} features, got {self.grids.tolist()}")
        self.first_bins = np.cumsum(self.sizes) - self.sizes
        self.first_ends = self.first_bins - np.arange(features)
        padded = np.pad(self.cells, [(0, 0), (0, 1)])  # one more bin, of no feature
        counts = np.stack([1 + np.maximum.reduceat(cells, [*self.first_bins, bins]) for cells in padded])
        self.kinds = (self.grids[:, 1] != NONE).astype(int)  # 0 for grids of one feature, 1 of two
        heights, self.widths = counts[self.kinds, self.grids.T]
        self.starts = np.cumsum(heights * self.widths) - heights * self.widths  # each grid's first cell
        if len(self.values) != (heights * self.widths).sum():
            raise ValueError(f"cells: expected {(heights * self.widths).sum()} values, got {len(self.values)}")

    @property
    def columns(self) -> int:
        return len(self.grids) * self.values.shape[1]

    @property
    def features(self) -> np.ndarray:  # (E, 2)
        """The two features of each column, or the only one twice."""
        return features_of(self.grids, self.values.shape[1])

    def transform(self, samples: np.ndarray) -> np.ndarray:  # (F, B) -> (E, B) float32
        return self.predict(samples, self.values[None], np.zeros(samples.shape[1], int))

    def predict(self, samples: np.ndarray, values: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Predict samples, each by the values of its fold: (F, B), (R, cells, C), (B,) -> (E, B)."""
        if len(samples) != len(self.sizes):  # compiled loops do not check
            raise ValueError(f"samples: expected {len(self.sizes)} features, got {len(samples)}")
        predictions = np.empty((self.columns, samples.shape[1]), np.float32)
        bins = self.sizes, self.ends, self.first_ends, self.first_bins, self.cells
        grids = self.grids, self.kinds, self.widths, self.starts
        samples = np.ascontiguousarray(samples, np.float64)
        compiled(_look_up, find_bins)(samples, folds, *bins, *grids, values, predictions)
        return predictions


def features_of(grids: np.ndarray, heads: int) -> np.ndarray:  # (G, 2) -> (E, 2)
    return np.where(grids == NONE, grids[:, :1], grids).repeat(heads, axis=0)


def find_bins(
    samples: np.ndarray,  # (F, B)
    sizes: np.ndarray,
    ends: np.ndarray,
    first_ends: np.ndarray,
    first_bins: np.ndarray,
) -> np.ndarray:  # (F, B)
    """The bin of each value, among those of all features."""
    count = samples.shape[1]
    bins = np.zeros((len(sizes), count), np.int64)
    for feature in range(len(sizes)):
        first, left = first_ends[feature], sizes[feature] - 1
        while left > 0:  # binary search, each step for all samples, which is six times as fast
            half = (left + 1) // 2
            for b in range(count):  # NaN is above all ends
                bins[feature, b] += half * (not samples[feature, b] <= ends[first + bins[feature, b] + half - 1])
            left -= half
        for b in range(count):  # as arrays, it takes two seconds to compile
            bins[feature, b] += first_bins[feature]
    return bins


def _look_up(
    samples: np.ndarray,  # (F, B)
    folds: np.ndarray,  # (B,)
    sizes: np.ndarray,
    ends: np.ndarray,
    first_ends: np.ndarray,
    first_bins: np.ndarray,
    cells: np.ndarray,
    grids: np.ndarray,
    kinds: np.ndarray,
    widths: np.ndarray,
    starts: np.ndarray,
    values: np.ndarray,  # (R, cells, C)
    predictions: np.ndarray,  # (E, B), filled
) -> None:
    """The values of each sample's cells. A loop, because as arrays the steps take as long as the networks."""
    heads = values.shape[2]
    bins = find_bins(samples, sizes, ends, first_ends, first_bins)
    for grid in range(len(grids)):
        start, width, kind = starts[grid], widths[grid], kinds[grid]
        first, second = grids[grid]
        for b in range(samples.shape[1]):
            place = start + cells[kind, bins[first, b]] * width
            if kind == 1:
                place += cells[1, bins[second, b]]
            for head in range(heads):
                predictions[grid * heads + head, b] = values[folds[b], place, head]


# ---- Fitting ---------------------------------------------------------------------------------------------------------


def fit_bin_means(
    samples: Any,  # (N, F), with categories as codes
    indices: np.ndarray,  # (V,), of the samples to count
    targets: np.ndarray,  # (V,) class numbers, or (T, V) standardised numbers
    weights: np.ndarray,  # (V,)
    folds: np.ndarray,  # (V,), the fold that each is in, the same for all rows of a sample
    counted: np.ndarray,  # (R, R) bools, whether the samples of a fold are counted (second) for those of a fold (first)
    levels: Mapping[int, int],  # the number of levels of each category, by feature
    rng: np.random.RandomState,  # draws the pairs to choose from, if there are many
) -> tuple[BinMeans | None, np.ndarray | None]:
    """The means of a table's bins, and out-of-fold predictions for its samples, (N, E); None if no feature varies.

    What is counted is chosen by the folds that are counted most often.
    """
    binnings, cells = _binned(samples, indices, levels)
    binned = BinnedSamples.of_rows(cells, indices, targets, weights, folds, counted)
    indices = indices[np.isin(folds, np.flatnonzero(counted.sum(axis=0) == counted.sum(axis=0).max()))]
    singles, pairs = _grids(binned, indices, rng)
    grids, kinds = np.concatenate([singles, pairs]), np.arange(2).repeat([len(singles), len(pairs)])
    if len(grids) == 0:
        return None, None
    depths = _depths(binned, indices, singles, binnings)
    binnings = [  # other features need no bins
        binning.joined(depth) if feature in grids else binnings[NONE]
        for feature, (binning, depth) in enumerate(zip(binnings, depths[0], strict=True))
    ]
    means, predictions = [], np.empty((samples.shape[0], len(grids), binned.heads), np.float32)
    for place, (grid, depth) in enumerate(zip(grids, depths[kinds, grids[:, 0]], strict=True)):
        used = [binnings[feature].at(depth)[0] for feature in grid]
        means.append(_means_of(binned, grid, depth, used, predictions[:, place]))
    predictions = predictions.reshape(len(predictions), -1)
    averages = _centre(predictions, binned).reshape(len(grids), -1)
    values = [_logits(of_grid, binned) - average for of_grid, average in zip(means, averages, strict=True)]
    sizes = np.array([len(binning.cells) for binning in binnings[:-1]])
    ends = np.concatenate([binning.ends for binning in binnings])
    pairs_of = (zip(binnings[:-1], row[:-1], strict=True) for row in depths)
    places = np.stack([np.concatenate([binning.at(depth)[1] for binning, depth in pairs]) for pairs in pairs_of])
    all_values = np.nan_to_num(np.concatenate(values)).astype(np.float32)
    return BinMeans(sizes, ends, places, grids, all_values), predictions


class Binning(NamedTuple):
    """How a feature is cut. Its cells at depth d are those at depth BITS shifted by BITS - d."""

    ends: np.ndarray  # (bins - 1,), see `BinMeans`
    cells: np.ndarray  # (bins,), at depth BITS: below 2^BITS, and 2^BITS for missing values and unknown levels

    def at(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells that occur at a depth, and the place of each bin's among them."""
        return np.unique(self.cells >> (BITS - depth), return_inverse=True)

    def joined(self, depth: int) -> Binning:
        """With one bin in place of neighbours that are in the same cell at a depth."""
        is_last = np.diff(self.cells >> (BITS - depth), append=NONE) != 0
        return Binning(self.ends[is_last[:-1]], self.cells[is_last])


def _binned(samples: Any, indices: np.ndarray, levels: Mapping[int, int]) -> tuple[list[Binning], np.ndarray]:
    """How features are cut, and the cells of samples, (F + 1, N); the last of both stands for no feature."""
    count, size = samples.shape
    binned_on = indices[spread(len(indices), BINNED_ON)]
    columns = csc_array(samples) if issparse(samples) else samples
    binnings = []
    for feature in range(size):
        seen = dense(columns[:, [feature]])[binned_on, 0].astype(np.float64)
        binnings.append(_bins_of_levels(seen, levels[feature]) if feature in levels else _bins_of_numbers(seen))
    sizes = np.array([len(binning.cells) for binning in binnings])
    first_bins = np.cumsum(sizes) - sizes
    ends, cells_of = (np.concatenate(arrays) for arrays in zip(*binnings, strict=True))
    cells = np.zeros((size + 1, count), np.int16)
    for chunk in chunks(count, AT_ONCE):
        columns = np.ascontiguousarray(dense(samples[chunk]).T, np.float64)
        cells[:-1, chunk] = cells_of[
            compiled(find_bins)(columns, sizes, ends, first_bins - np.arange(size), first_bins)
        ]
    return [*binnings, Binning(np.zeros(0), np.zeros(1, int))], cells


def _bins_of_levels(codes: np.ndarray, levels: int) -> Binning:  # (V,)
    """A cell for each level of a category; the rarest of more than 2^WIDE_BITS levels share one."""
    counts = np.bincount(codes[codes < levels].astype(int), minlength=levels)  # NaN never is
    ranks = np.argsort(np.argsort(-counts, kind="stable")).clip(max=(1 << WIDE_BITS) - 1)
    return Binning(np.arange(levels) + 0.5, np.append(_spaced(ranks, min(levels, 1 << WIDE_BITS)), 1 << BITS))


def _bins_of_numbers(values: np.ndarray) -> Binning:  # (V,)
    """Wide bins between distinct values, or between quantiles if there are many; cut further if values are repeated."""
    values = np.sort(values[~np.isnan(values)])
    distinct = np.unique(values)
    distinct = distinct[np.diff(distinct, prepend=-np.inf) > ROUNDING * np.abs(distinct)]
    if len(distinct) == 0:
        return Binning(np.zeros(0), np.array([1 << BITS]))
    last = np.arange(len(distinct))  # of the values in each wide bin
    if len(distinct) > 1 << WIDE_BITS:
        quantiles = values[spread(len(values), (1 << WIDE_BITS) + 1)[1:]]
        last = np.unique(distinct.searchsorted(quantiles, side="right") - 1)
    counts = np.diff(last, prepend=-1)
    cells = _spaced(np.arange(len(last)), len(last)).repeat(counts)
    if 2 * len(distinct) <= len(values):
        places = np.arange(len(distinct)) - (last - counts + 1).repeat(counts)  # of values in their wide bin
        cells += (places << (BITS - WIDE_BITS)) // counts.repeat(counts)
    ends = distinct[:-1] + IN_GAP * np.diff(distinct)
    return Binning(np.append(ends, np.inf), np.append(cells, 1 << BITS)).joined(BITS)


def _spaced(ranks: np.ndarray, count: int) -> np.ndarray:
    """Cells for `count` ranks, spread over those at depth WIDE_BITS, so that each depth halves them."""
    return (ranks << WIDE_BITS) // max(1, count) << (BITS - WIDE_BITS)


# ---- Means of cells --------------------------------------------------------------------------------------------------


class BinnedSamples(NamedTuple):
    """The cells and the targets of a table's samples."""

    cells: np.ndarray  # (F + 1, N) int16, at depth BITS; the last row stands for no feature
    folds: np.ndarray  # (N,)
    weights: np.ndarray  # (N,)
    targets: np.ndarray  # (C, N) float32, of the heads
    counted: np.ndarray  # (R, R)
    are_classes: bool

    @classmethod
    def of_rows(
        cls,
        cells: np.ndarray,
        indices: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        folds: np.ndarray,
        counted: np.ndarray,
    ) -> BinnedSamples:
        """Samples from rows, of which a sample may have several or none; shapes are those of `fit_bin_means`."""
        count, are_classes = cells.shape[1], targets.ndim == 1
        if are_classes:
            classes = np.arange(targets.max() + 1)
            targets = targets == (classes if len(classes) > 2 else classes[1:])[:, None]
        of_samples, of_folds = np.zeros((len(targets), count), np.float32), np.zeros(count, int)
        of_samples[:, indices], of_folds[indices] = targets.clip(-MAX_VALUE, MAX_VALUE), folds
        weights = np.bincount(indices, weights, count)
        return cls(cells, of_folds, weights, of_samples, counted, are_classes)

    @property
    def heads(self) -> int:
        return len(self.targets)

    def take(self, samples: np.ndarray) -> BinnedSamples:  # (n,)
        cells, folds, weights, targets = (np.take(array, np.unique(samples), axis=-1) for array in self[:4])
        return self._replace(cells=cells, folds=folds, weights=weights, targets=targets)

    def scores(self, grids: np.ndarray, depth: int) -> np.ndarray:  # (G, 2) -> (G,)
        """R² of the out-of-fold means of each grid, plus a constant; all must be of one feature, or all of two."""
        loop = compiled(_explained, cell_of, sums_of_cells, shrunken_means)
        explained = loop(self, grids, depth, wider_cells(depth, (grids[0] != NONE).sum()))
        centred = self.targets - np.average(self.targets, axis=1, weights=self.weights)[:, None]
        return explained / max((centred**2 @ self.weights).sum(), TINY)  # 0 if targets never vary


@functools.cache
def wider_cells(depth: int, features: int) -> np.ndarray:  # -> (cells of all depths - 1,)
    """The cell of twice the width around each cell of a grid. Narrow cells come first; the last is of all samples.

    Of one feature at depth 1: cells 0 and 1, and 2 of missing values, are in 3, 3 and 4 at depth 0; these are in 5.
    """
    found, start = [], 0
    for step in range(depth + 1):
        side, wider_side = ((1 << depth >> up) + 1 for up in (step, step + 1))
        start += side**features
        wider = np.arange(side) >> 1
        found.append(start + (wider if features == 1 else (wider[:, None] * wider_side + wider).ravel()))
    return np.concatenate(found)


def cell_of(samples: BinnedSamples, grid: np.ndarray, depth: int, i: int) -> int:
    """The cell of a grid that a sample is in; cells of pairs are numbered row by row."""
    first = int(samples.cells[grid[0], i]) >> (BITS - depth)
    if grid[1] == NONE:
        return first
    return first * ((1 << depth) + 1) + (int(samples.cells[grid[1], i]) >> (BITS - depth))


def sums_of_cells(samples: BinnedSamples, grid: np.ndarray, depth: int) -> np.ndarray:  # (2,) -> (cells, R, 1 + C)
    """The weight of the samples in each cell and fold, and the sums of the heads' targets."""
    side, heads = (1 << depth) + 1, len(samples.targets)
    sums = np.zeros((side if grid[1] == NONE else side * side, len(samples.counted), 1 + heads))
    for i in range(len(samples.folds)):
        cell, fold, weight = cell_of(samples, grid, depth, i), samples.folds[i], samples.weights[i]
        sums[cell, fold, 0] += weight
        for head in range(heads):
            sums[cell, fold, 1 + head] += weight * samples.targets[head, i]
    return sums


def shrunken_means(sums: np.ndarray, counted: np.ndarray, wider: np.ndarray) -> np.ndarray:
    """Means of what is counted for each fold and then of all, each shrunk towards that of the cell of twice its width.

    Shapes: (cells, R, 1 + C), (R, R), (cells of all depths - 1,) -> (cells, R + 1, C).
    """
    size, folds, terms = sums.shape
    inside = np.zeros((len(wider) + 1, folds + 1, terms))
    for cell in range(size):
        for other in range(folds):
            if sums[cell, other, 0] > 0:
                for term in range(terms):
                    inside[cell, folds, term] += sums[cell, other, term]
                    for fold in range(folds):
                        inside[cell, fold, term] += counted[fold, other] * sums[cell, other, term]
    for cell in range(len(wider)):
        for fold in range(folds + 1):
            for term in range(terms):
                inside[wider[cell], fold, term] += inside[cell, fold, term]
    means = np.empty((len(wider) + 1, folds + 1, terms - 1))
    for cell in range(len(wider), -1, -1):
        for fold in range(folds + 1):
            weight = inside[cell, fold, 0]
            for head in range(terms - 1):
                total = inside[cell, fold, 1 + head]
                if cell == len(wider):
                    means[cell, fold, head] = total / max(weight, TINY)
                else:
                    means[cell, fold, head] = (total + STRENGTH * means[wider[cell], fold, head]) / (weight + STRENGTH)
    return means[:size]


def _fill_predictions(
    samples: BinnedSamples, grid: np.ndarray, depth: int, wider: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold means of samples, (N, C), are filled; those of cells by all folds and their weights are returned.

    Shapes: (2,), (cells of all depths - 1,) -> (cells, C), (cells,).
    """
    sums, folds = sums_of_cells(samples, grid, depth), samples.folds
    means = shrunken_means(sums, samples.counted, wider)
    for i in range(len(folds)):
        cell = cell_of(samples, grid, depth, i)
        for head in range(predictions.shape[1]):
            predictions[i, head] = means[cell, folds[i], head]
    return means[:, -1], sums[:, :, 0].sum(axis=1)


def _means_of(
    binned: BinnedSamples, grid: np.ndarray, depth: int, used: list[np.ndarray], predictions: np.ndarray
) -> np.ndarray:
    """The means of a grid's cells that occur, NaN where a value was never missing before; those out of fold of samples
    are filled.

    Shapes: (2,), cells that occur of the first feature and of the second, (N, C) -> (cells that occur, C).
    """
    loop = compiled(_fill_predictions, cell_of, sums_of_cells, shrunken_means)
    means, weights = loop(binned, grid, depth, wider_cells(depth, (grid != NONE).sum()), predictions)
    side = (1 << depth) + 1
    means, weights = means.reshape(side, -1, binned.heads), weights.reshape(side, -1)
    if not weights[-1].any():
        means[-1] = np.nan
    if grid[1] != NONE and not weights[:, -1].any():
        means[:, -1] = np.nan
    return means[np.ix_(*used)].reshape(-1, binned.heads)


def _centre(predictions: np.ndarray, binned: BinnedSamples) -> np.ndarray:  # (N, E) -> (E,)
    """Make predictions of samples 0 on average, and first logits if of classes. Returns the averages before."""
    averages = np.zeros(predictions.shape[1])
    for chunk in chunks(len(predictions)):
        predictions[chunk] = _logits(predictions[chunk], binned)
        averages += binned.weights[chunk] @ predictions[chunk]
    averages /= binned.weights.sum()
    predictions -= averages.astype(np.float32)
    return averages


def _logits(means: np.ndarray, binned: BinnedSamples) -> np.ndarray:
    """Means of classes as logits; those of numbers stay."""
    if not binned.are_classes:
        return means
    means = means.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return LOGIT_FACTOR * (np.log(means) - np.log1p(-means))


# ---- Choosing grids --------------------------------------------------------------------------------------------------


def _grids(binned: BinnedSamples, indices: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Single features and pairs to count, (G, 2) each. A feature of two values is all that its cells could predict."""
    counts = np.array([np.count_nonzero(np.bincount(cells, binned.weights)) for cells in binned.cells[:-1]], int)
    features = np.flatnonzero(counts > 1)
    varied = np.column_stack([features, np.full(len(features), NONE)])
    singles, pairs = varied[counts[features] > 2], _pairs_to_try(features, rng)
    most = MOST_COLUMNS // binned.heads
    most_pairs = min(MOST_GRIDS_OF_TWO, max(0, most - len(singles)))
    if len(singles) <= most and len(pairs) <= most_pairs:
        return singles, pairs
    tried = binned.take(indices[spread(len(indices), TRIED_ON)])
    scores = np.full(len(counts), -np.inf)
    scores[features] = tried.scores(varied, TRIED_BITS)
    singles = _best(singles, scores[singles[:, 0]], most)
    if most_pairs > 0:
        pairs = _best(pairs, tried.scores(pairs, TRIED_BITS) - scores[pairs].max(axis=1), most_pairs)
    return singles, pairs[:most_pairs]


def _depths(
    binned: BinnedSamples, indices: np.ndarray, singles: np.ndarray, binnings: list[Binning]
) -> np.ndarray:  # (2, F + 1)
    """The depth of each feature's cells, in grids of one feature and of two."""
    # A pair has about as many cells as there are samples, since more would make files large and add little.
    of_pairs = int(np.clip(np.round(np.log2(max(1, binned.weights.sum())) / 2), 2, WIDE_BITS))
    depths = np.array([[WIDE_BITS], [of_pairs]]).repeat(len(binnings), axis=1)
    singles = singles[[len(binnings[feature].cells) > (1 << WIDE_BITS) + 1 for feature in singles[:, 0]]]
    if len(singles):
        tried = binned.take(indices[spread(len(indices), BINNED_ON)])
        gains = tried.scores(singles, BITS) - tried.scores(singles, WIDE_BITS)
        depths[0, singles[gains > DEEP_GAIN, 0]] = BITS
    return depths


def _pairs_to_try(features: np.ndarray, rng: np.random.RandomState) -> np.ndarray:  # (n,) -> (at most TRIED_PAIRS, 2)
    """All pairs, or random ones if there are too many to try."""
    if math.comb(len(features), 2) <= TRIED_PAIRS:
        return features[np.column_stack(np.triu_indices(len(features), 1))]
    drawn = np.sort(rng.choice(features, (4 * TRIED_PAIRS, 2)), axis=1)  # a pair may be of one feature twice
    pairs = np.unique(drawn[drawn[:, 0] < drawn[:, 1]], axis=0)
    return rng.permutation(pairs)[:TRIED_PAIRS]


def _best(grids: np.ndarray, gains: np.ndarray, most: int) -> np.ndarray:  # (G, 2), (G,) -> (at most `most`, 2)
    return grids[np.sort(np.argsort(-gains, kind="stable")[:most])]


def _explained(samples: BinnedSamples, grids: np.ndarray, depth: int, wider: np.ndarray) -> np.ndarray:
    """By how much the out-of-fold means of each grid lower the squared error of predicting 0: (G, 2) -> (G,)."""
    explained = np.zeros(len(grids))
    for g in range(len(grids)):
        sums = sums_of_cells(samples, grids[g], depth)
        means = shrunken_means(sums, samples.counted, wider)
        for cell in range(len(sums)):
            for fold in range(len(samples.counted)):
                for head in range(len(samples.targets)):
                    mean = means[cell, fold, head]
                    explained[g] += (2 * sums[cell, fold, 1 + head] - sums[cell, fold, 0] * mean) * mean
    return explained
