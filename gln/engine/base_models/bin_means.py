"""Means of bins: the mean target of a table's samples in a bin of a feature, or of two features, as base predictions.

Each feature is cut into bins. A grid is one feature or a pair of features, and its cells are bins or pairs of bins.

Shapes: B or N samples, F features, C heads, G grids, E columns (grids times heads), R folds, V rows to learn (a sample
of weight 2 is two of them).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, issparse

from gln.engine.batches import chunks, dense, spread
from gln.engine.jit import WritableArrays, compiled
from gln.engine.parallel import in_threads
from gln.engine.saving import Array, bad, saved

NONE = -1  # instead of a second feature
# Weight of the wider cell's mean, as a number of samples. Each grid of a table takes the one of STRENGTHS that predicts
# best out of fold: a low one where there is little noise.
STRENGTH = 4.0
STRENGTHS = 1.0, STRENGTH, 16.0
MIN_PROBABILITY = 1e-3  # probabilities are in [MIN_PROBABILITY, 1 - MIN_PROBABILITY]
LOGIT_FACTOR = 0.5  # of logits: networks of small tables overfit larger ones
MAX_VALUE = 10.0  # numbers are in [-MAX_VALUE, MAX_VALUE], as networks clip them
# A feature has at most 2^WIDE_BITS bins, and one for missing values. Each may be cut further, into 2^(BITS - WIDE_BITS)
# at most, of single values: a price can depend on the exact distance. This is done where it lowers the squared error,
# out of fold, by DEEP_GAIN of the variance.
WIDE_BITS = 7
BITS = 11
DEEP_GAIN = 0.01
MISSING, UNKNOWN = 1 << BITS, 2 << BITS  # cells of missing values, and of levels that a table does not have
MOST_GRIDS_OF_TWO, MOST_COLUMNS = 60, 200  # pairs of features, and columns of them and of single features
PAIRS_TRIED_DEEPER = 8  # the best, to choose the cells of all pairs by
TRIED_PAIRS, TRIED_ON, TRIED_BITS = 1000, 3000, 4  # pairs to choose from, and the samples and bits to choose by
BINNED_ON = 50_000  # samples for the ends of bins, and to choose features with deeper cells
ROUNDING = 1e-12  # relative to a value: 0.1 + 0.2 is 0.3
# Where in a gap a bin ends. The middle of 0.1 and 0.3 is a likely new value, 0.2, whose bin would depend on rounding;
# the golden section stays away from all values of a regular grid.
IN_GAP = (math.sqrt(5) - 1) / 2
AT_ONCE = 20_000  # samples whose bins are found at a time
TINY = 1e-9  # weight of no samples


@saved(
    sizes=Array("i8", "F", 1, 1 << 31),
    ends=Array("f8", "*", -math.inf, math.inf),
    cells=Array("i8", "2 bins", 0, "bins"),
    grids=Array("i8", "G 2"),
    values=Array("f4", "* C"),
)
@dataclasses.dataclass
class BinMeans(WritableArrays):
    """What the cells of each grid predict for the heads: logits or numbers, with 0 for the average of all samples."""

    sizes: np.ndarray  # (F,), the number of each feature's bins; the last is for missing values
    ends: np.ndarray  # of all bins but these, ascending: a value is in the first bin whose end is not below it
    cells: np.ndarray  # (2, bins of all features): the cell of each bin in grids of one feature, and of two
    grids: np.ndarray  # (G, 2), features; NONE as the second of a single one
    values: np.ndarray  # (cells of all grids, C) float32

    def __post_init__(self) -> None:
        features = len(self.sizes)
        bins = self.cells.shape[-1]
        if self.sizes.sum() != bins or len(self.ends) != bins - features:
            raise bad(
                "bin_means", f"{bins} bins of {features} features", f"{self.sizes.sum()} and {len(self.ends)} ends"
            )
        if not ((self.grids >= [0, NONE]) & (self.grids < features)).all():
            raise bad("bin_means", f"pairs of {features} features", self.grids.tolist())
        self.first_bins = np.cumsum(self.sizes) - self.sizes
        padded = np.pad(self.cells, [(0, 0), (0, 1)])  # one more bin, of no feature
        counts = np.stack([1 + np.maximum.reduceat(cells, [*self.first_bins, bins]) for cells in padded])
        self.kinds = (self.grids[:, 1] != NONE).astype(int)  # 0 for grids of one feature, 1 of two
        self.heights, self.widths = counts[self.kinds, self.grids.T]
        sizes = self.heights * self.widths
        self.starts = np.cumsum(sizes) - sizes  # each grid's first cell
        if len(self.values) != sizes.sum():
            raise bad("bin_means", f"{sizes.sum()} values", len(self.values))

    @classmethod
    def without_grids(cls, features: int) -> BinMeans:
        cells = np.zeros((2, features), int)
        grids = np.zeros((0, 2), int)
        return cls(np.ones(features, int), np.zeros(0), cells, grids, np.zeros((0, 1), np.float32))

    def grown(self, features: int) -> BinMeans:
        """With room for further features, the new ones last, which are in no grid."""
        new = (0, features - len(self.sizes))
        sizes = np.pad(self.sizes, new, constant_values=1)
        cells = np.pad(self.cells, [(0, 0), new])
        return dataclasses.replace(self, sizes=sizes, cells=cells)

    @property
    def columns(self) -> int:
        return len(self.grids) * self.values.shape[1]

    @property
    def features(self) -> np.ndarray:  # (E, 2)
        """The two features of each column, or the only one twice."""
        return input_features(self.grids, self.values.shape[1])

    def transform(self, samples: np.ndarray) -> np.ndarray:  # (F, B) -> (E, B) float32
        return self.values[self.cells_of(samples)].swapaxes(1, 2).reshape(self.columns, samples.shape[1])

    def cells_of(self, samples: np.ndarray) -> np.ndarray:  # (F, B) -> (G, B)
        """The cell of each sample in each grid, among those of all grids."""
        if len(samples) != len(self.sizes):  # compiled loops do not check
            raise ValueError(f"samples: expected {len(self.sizes)} features, got {len(samples)}")
        arrays = self.sizes, self.ends, self.cells, self.grids, self.widths, self.starts
        return compiled(find_cells)(np.ascontiguousarray(samples, np.float64), *arrays)

    def sums(self, samples: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The weight of samples in each cell, and the sums of the heads' targets; those of parts of a table add up.

        Shapes: (F, B), (C, B), (B,) -> (cells of all grids, 1 + C).
        """
        sums = np.zeros((len(self.values), 1 + len(targets)))
        for chunk in chunks(len(weights), AT_ONCE):
            cells = self.cells_of(samples[:, chunk])
            terms = weights[chunk] * np.concatenate([np.ones((1, cells.shape[1])), targets[:, chunk]])
            for term, summands in enumerate(terms):
                sums[:, term] += np.bincount(cells.ravel(), np.tile(summands, len(cells)), len(sums))
        return sums

    def recounted(self, sums: np.ndarray, are_logits: bool, categorical: Set[int]) -> BinMeans:
        """The means of other samples, by their `sums` alone, (cells of all grids, 1 + C)."""
        values = np.zeros(self.values.shape, np.float32)
        for grid, start, height, width in zip(self.grids, self.starts, self.heights, self.widths, strict=True):
            cells = slice(start, start + height * width)
            has_unknown = [feature in categorical for feature in grid]  # as the last cell
            counts = sums[cells].reshape(height, width, -1)[: height - has_unknown[0], : width - has_unknown[1]]
            means = shrunken_means(counts)
            weights = counts[..., :1]
            for axis in range(2):
                if has_unknown[axis]:
                    means, weights = _with_unknown(means, weights, axis)
            means = np.nan_to_num(_logits(means, are_logits)).reshape(height * width, -1)
            values[cells] = means - sums[cells, 0] @ means / max(sums[cells, 0].sum(), TINY)
        return dataclasses.replace(self, values=values)


def input_features(grids: np.ndarray, heads: int) -> np.ndarray:  # (G, 2) -> (E, 2)
    return np.where(grids == NONE, grids[:, :1], grids).repeat(heads, axis=0)


def find_bins(samples: np.ndarray, sizes: np.ndarray, ends: np.ndarray) -> np.ndarray:  # (F, B) -> (F, B)
    """The bin of each value, among those of all features."""
    bins = np.zeros(samples.shape, np.int64)
    first = 0
    for feature in range(len(sizes)):
        left = sizes[feature] - 1
        while left > 0:  # binary search, each step for all samples, which is six times as fast
            half = (left + 1) // 2
            for b in range(samples.shape[1]):  # NaN is above all ends, of which each feature has one less than bins
                index = first - feature + bins[feature, b] + half - 1
                bins[feature, b] += half * (not samples[feature, b] <= ends[index])
            left -= half
        for b in range(samples.shape[1]):  # as arrays, it takes two seconds to compile
            bins[feature, b] += first
        first += sizes[feature]
    return bins


def find_cells(
    samples: np.ndarray,  # (F, B)
    sizes: np.ndarray,
    ends: np.ndarray,
    cells: np.ndarray,
    grids: np.ndarray,
    widths: np.ndarray,
    starts: np.ndarray,
) -> np.ndarray:  # (G, B)
    """The loop of `BinMeans.cells_of`, because as arrays the steps take as long as small networks."""
    bins = find_bins(samples, sizes, ends)
    grid_cells = np.empty((len(grids), samples.shape[1]), np.int64)
    for grid in range(len(grids)):
        first, second = grids[grid]
        for b in range(samples.shape[1]):
            grid_cells[grid, b] = starts[grid] + cells[int(second != NONE), bins[first, b]] * widths[grid]
            if second != NONE:
                grid_cells[grid, b] += cells[1, bins[second, b]]
    return grid_cells


# ---- Fitting ---------------------------------------------------------------------------------------------------------


def fit_bin_means(
    samples: np.ndarray,  # (N, F), perhaps sparse, with categories as codes
    indices: np.ndarray,  # (V,), of the samples to count
    targets: np.ndarray,  # (C, V) of the heads: bools of classes or labels, or standardised numbers
    weights: np.ndarray,  # (V,)
    folds: np.ndarray,  # (V,), the fold that each is in, the same for all rows of a sample
    counted: np.ndarray,  # (R, R) bools, whether the samples of a fold are counted (second) for those of a fold (first)
    levels: Mapping[int, int],  # the number of levels of each category, by feature
    rng: np.random.RandomState,  # draws the pairs to choose from, if there are many
    n_jobs: int | None = None,  # threads; None is as many as there are cores
) -> tuple[BinMeans, np.ndarray]:
    """The means of a table's bins, and out-of-fold predictions for its samples, (N, E).

    What is counted is chosen by the folds that are counted most often, or by all if these are empty.
    """
    binnings = _binnings(samples, indices, levels)
    binned = BinnedSamples.of(_cells(samples, binnings), indices, targets, weights, folds, counted)
    most_often = np.isin(folds, np.flatnonzero(counted.sum(axis=0) == counted.sum(axis=0).max()))
    indices = indices[most_often] if most_often.any() else indices
    singles, pairs = _grids(binned, indices, rng)
    depths = _depths(binned, indices, singles, pairs, binnings)
    return _means_of_grids(binned, binnings, np.concatenate([singles, pairs]), depths, n_jobs)


def _means_of_grids(
    binned: BinnedSamples,
    binnings: list[Binning],  # F
    grids: np.ndarray,  # (G, 2)
    depths: np.ndarray,  # (2, F)
    n_jobs: int | None,
) -> tuple[BinMeans, np.ndarray]:
    """The means of the bins of these grids, and out-of-fold predictions, (N, E)."""
    binnings = _needed(binnings, grids, depths[0])
    # The cells of each feature that occur, and the index of each bin's among them, in grids of one feature and of two.
    occurring = [[*map(Binning.at, binnings, kind_depths)] for kind_depths in depths]
    predictions = np.empty((len(binned.weights), len(grids), len(binned.targets)), np.float32)

    def values_of(g: int) -> np.ndarray:
        features = grids[g][grids[g] != NONE]
        kind = len(features) - 1
        used = [occurring[kind][feature][0] for feature in features]
        values, predictions[:, g] = _values_of(binned, features, depths[kind, features[0]], used)
        return values

    values = [np.zeros((0, len(binned.targets))), *in_threads(values_of, [(g,) for g in range(len(grids))], n_jobs)]
    cells = np.stack([np.concatenate([indices for _, indices in kind_cells]) for kind_cells in occurring])
    all_values = np.nan_to_num(np.concatenate(values)).astype(np.float32)
    return BinMeans(*_sizes_and_ends(binnings), cells, grids, all_values), predictions.reshape(len(predictions), -1)


class Binning(NamedTuple):
    """How a feature is cut. Its cells at depth d are those at depth BITS shifted by BITS - d."""

    ends: np.ndarray  # (bins - 1,), see `BinMeans`
    cells: np.ndarray  # (bins,), at depth BITS: below 2^BITS; UNKNOWN for unknown levels, MISSING for missing values

    def at(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells that occur at a depth, and the index of each bin's among them."""
        return np.unique(self.cells >> (BITS - depth), return_inverse=True)

    def joined(self, depth: int) -> Binning:
        """With one bin instead of neighbours that are in the same cell at a depth."""
        is_last = np.diff(self.cells >> (BITS - depth), append=NONE) != 0
        return Binning(self.ends[is_last[:-1]], self.cells[is_last])


def _needed(binnings: list[Binning], grids: np.ndarray, depths: np.ndarray) -> list[Binning]:  # F, (G, 2), (F,) -> F
    """With bins that are cells at these depths. Features without grids need none."""
    return [
        binning.joined(depth) if feature in grids else Binning(np.zeros(0), np.zeros(1, int))
        for feature, (binning, depth) in enumerate(zip(binnings, depths, strict=True))
    ]


def _sizes_and_ends(binnings: list[Binning]) -> tuple[np.ndarray, np.ndarray]:  # F -> (F,), (all ends,)
    return np.array([len(binning.cells) for binning in binnings]), np.concatenate([ends for ends, _ in binnings])


def _binnings(samples: np.ndarray, indices: np.ndarray, levels: Mapping[int, int]) -> list[Binning]:
    """How features are cut."""
    binned_on = indices[spread(len(indices), BINNED_ON)]
    columns = csc_array(samples) if issparse(samples) else samples
    binnings = []
    for feature in range(samples.shape[1]):
        seen = dense(columns[:, feature : feature + 1])[binned_on, 0].astype(np.float64)
        binnings.append(_bins_of_levels(seen, levels[feature]) if feature in levels else _bins_of_numbers(seen))
    return binnings


def _cells(samples: np.ndarray, binnings: list[Binning]) -> np.ndarray:  # (N, F) -> (F, N)
    """The cells of samples."""
    count, size = samples.shape
    sizes, ends = _sizes_and_ends(binnings)
    bin_cells = np.concatenate([cells for _, cells in binnings])
    cells = np.empty((size, count), np.int16)
    for chunk in chunks(count, AT_ONCE):
        values = np.ascontiguousarray(dense(samples[chunk]).T, np.float64)
        cells[:, chunk] = bin_cells[compiled(find_bins)(values, sizes, ends)]
    return cells


def _bins_of_levels(codes: np.ndarray, levels: int) -> Binning:  # (V,)
    """A cell for each level of a category, and one of unknown ones; the rarest of more than 2^WIDE_BITS levels share
    one."""
    counts = np.bincount(codes[codes < levels].astype(int), minlength=levels)  # NaN never is
    ranks = np.argsort(np.argsort(-counts, kind="stable")).clip(max=(1 << WIDE_BITS) - 1)
    cells = np.append(_spaced(ranks, min(levels, 1 << WIDE_BITS)), [UNKNOWN, MISSING])
    return Binning(np.append(np.arange(levels) + 0.5, np.inf), cells)


def _bins_of_numbers(values: np.ndarray) -> Binning:  # (V,)
    """Wide bins between distinct values, or between quantiles if there are many; cut further if values are repeated."""
    values = np.sort(values[~np.isnan(values)])
    distinct = np.unique(values)
    distinct = distinct[np.diff(distinct, prepend=-np.inf) > ROUNDING * np.abs(distinct)]
    last = np.arange(len(distinct))  # of the values in each wide bin
    if len(distinct) > 1 << WIDE_BITS:
        quantiles = values[spread(len(values), (1 << WIDE_BITS) + 1)[1:]]
        last = np.unique(distinct.searchsorted(quantiles, side="right") - 1)
    counts = np.diff(last, prepend=-1)
    cells = _spaced(np.arange(len(last)), len(last)).repeat(counts)
    if 2 * len(distinct) <= len(values):
        positions = np.arange(len(distinct)) - (last - counts + 1).repeat(counts)  # of values in their wide bin
        cells += (positions << (BITS - WIDE_BITS)) // counts.repeat(counts)
    ends = distinct + IN_GAP * np.diff(distinct, append=np.inf)
    return Binning(ends, np.append(cells, MISSING)).joined(BITS)


def _spaced(ranks: np.ndarray, count: int) -> np.ndarray:
    """Cells for `count` ranks, spread over those at depth WIDE_BITS, so that each depth halves them."""
    return (ranks << WIDE_BITS) // max(1, count) << (BITS - WIDE_BITS)


# ---- Means of cells --------------------------------------------------------------------------------------------------


class BinnedSamples(NamedTuple):
    """The cells and the targets of a table's samples, of which some may have no weight."""

    cells: np.ndarray  # (F, N) int16, at depth BITS
    folds: np.ndarray  # (N,)
    weights: np.ndarray  # (N,)
    targets: np.ndarray  # (C, N) float32, of the heads
    counted: np.ndarray  # (R, R)
    are_logits: bool  # whether what the means predict is logits

    @classmethod
    def of(
        cls,
        cells: np.ndarray,
        indices: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        folds: np.ndarray,
        counted: np.ndarray,
    ) -> BinnedSamples:
        """Arguments as for `fit_bin_means`."""
        count = cells.shape[1]
        all_targets = np.zeros((len(targets), count), np.float32)
        all_folds = np.zeros(count, np.int16)
        all_targets[:, indices] = targets.clip(-MAX_VALUE, MAX_VALUE)
        all_folds[indices] = folds
        all_weights = np.bincount(indices, weights, count)
        return cls(cells, all_folds, all_weights, all_targets, counted, targets.dtype == bool)

    def take(self, samples: np.ndarray) -> BinnedSamples:  # (n,)
        cells, folds, weights, targets = (np.take(array, np.unique(samples), axis=-1) for array in self[:4])
        return self._replace(cells=cells, folds=folds, weights=weights, targets=targets)

    @property
    def counted_and_all(self) -> np.ndarray:  # (R + 1, R)
        return np.vstack([self.counted, np.ones(len(self.counted), bool)])

    def sums(self, features: np.ndarray, depth: int) -> np.ndarray:  # (k,) -> (cells, R, 1 + C)
        """The weight of the samples in each cell of k features and each fold, and the sums of the heads' targets."""
        sums = np.zeros((cells_at(depth) ** len(features), len(self.counted), 1 + len(self.targets)))
        compiled(add_to_cells)(sums, self.cells_of(features, depth), self.folds, self.weights, self.targets)
        return sums

    def cells_of(self, features: np.ndarray, depth: int) -> np.ndarray:  # (k,) -> (N,)
        """The cell that each sample is in, among those of k features."""
        cells = (self.cells[features] >> (BITS - depth)).astype(np.int64)
        return cells[0] if len(cells) == 1 else cells[0] * cells_at(depth) + cells[1]

    def scores(self, grids: np.ndarray, depth: int) -> np.ndarray:  # (G, 2) -> (G,)
        """R² of the out-of-fold means of each grid, plus a constant."""
        times = self.counted.sum(axis=0)
        options = self.counted_and_all, np.flatnonzero(times == times.max()), np.array([STRENGTH])
        scores = np.empty(len(grids))
        for g, grid in enumerate(grids):
            features = grid[grid != NONE]
            wider = wider_cells(depth, len(features))
            _, scores[g] = compiled(means_of_cells)(self.sums(features, depth), wider, *options)
        centred = self.targets - np.average(self.targets, axis=1, weights=self.weights)[:, None]
        return scores / max((centred**2 @ self.weights).sum(), TINY)  # 0 if targets never vary


def cells_at(depth: int) -> int:
    """The number of a feature's cells, of which the last is of missing values."""
    return (1 << depth) + 1


@functools.cache
def wider_cells(depth: int, features: int) -> np.ndarray:  # -> (cells of all depths - 1,)
    """The cell of twice the width around each cell of a grid. Narrow cells come first; the last is of all samples.

    Of one feature at depth 1: cells 0 and 1, and 2 of missing values, are in 3, 3 and 4 at depth 0; these are in 5.
    """
    by_depth = []
    start = 0
    for step in range(depth + 1):
        side, wider_side = ((1 << depth >> up) + 1 for up in (step, step + 1))
        start += side**features
        wider = np.arange(side) >> 1
        by_depth.append(start + (wider if features == 1 else (wider[:, None] * wider_side + wider).ravel()))
    return np.concatenate(by_depth)


def shrunken_means(sums: np.ndarray) -> np.ndarray:  # (h, w, 1 + C) -> (h, w, C)
    """Means of the cells of a grid, each shrunk towards that of the cell of twice its width.

    The last bin of a feature, of missing values, is joined with the others at the end.
    """
    height, width, _ = sums.shape
    if max(height, width) <= 2:
        total = sums.sum(axis=(0, 1))
        means = total[1:] / max(total[0], TINY)
    else:
        rows, columns = (np.append(np.arange(count - 1), count) // 2 for count in (height, width))
        wider = np.add.reduceat(sums, np.flatnonzero(np.diff(rows, prepend=NONE)), axis=0)
        wider = np.add.reduceat(wider, np.flatnonzero(np.diff(columns, prepend=NONE)), axis=1)
        means = shrunken_means(wider)[rows][:, columns]
    return (sums[..., 1:] + STRENGTH * means) / (sums[..., :1] + STRENGTH)


def add_to_cells(
    sums: np.ndarray,  # (cells, R, 1 + C), changed
    cells: np.ndarray,  # (N,), the cell of each sample
    folds: np.ndarray,  # (N,)
    weights: np.ndarray,  # (N,)
    targets: np.ndarray,  # (C, N)
) -> None:
    """Add the weights of samples, and the targets times these."""
    for b in range(len(cells)):
        sums[cells[b], folds[b], 0] += weights[b]
    for head in range(len(targets)):
        for b in range(len(cells)):
            sums[cells[b], folds[b], 1 + head] += weights[b] * targets[head, b]


def means_of_cells(
    sums: np.ndarray,  # (narrow cells, R, 1 + C)
    wider: np.ndarray,  # (all cells - 1,) as `wider_cells`
    counted: np.ndarray,  # (R + 1, R)
    asked: np.ndarray,  # those of the R + 1 whose means are asked for
    strengths: np.ndarray,
) -> tuple[np.ndarray, float]:  # (all cells, R + 1, C)
    """Means of cells by what is counted for each fold and then by all, each shrunk towards that of the cell of twice
    its width, with the strength that predicts best; and by how much this lowers the squared error of predicting 0.

    The error is out of fold, in the folds that are counted most often, which are asked for. Narrow cells come first.
    """
    size, folds, terms = sums.shape
    times = counted.sum(axis=0)
    around = np.zeros((len(wider) + 1, folds + 1, terms))
    is_empty = np.ones(len(wider) + 1, np.bool_)
    for cell in range(size):
        for other in range(folds):
            if sums[cell, other, 0] > 0:
                is_empty[cell] = False
                for fold in asked:
                    for term in range(terms):
                        around[cell, fold, term] += counted[fold, other] * sums[cell, other, term]
    for cell in range(len(wider)):
        if not is_empty[cell]:  # most cells are; of these, none but the best means are asked for
            is_empty[wider[cell]] = False
            for fold in asked:
                for term in range(terms):
                    around[wider[cell], fold, term] += around[cell, fold, term]
    best = np.empty((len(around), folds + 1, terms - 1))
    most = -np.inf
    chosen = np.flatnonzero(times == times.max())
    for strength in strengths:
        means = np.empty(best.shape)
        gain = 0.0
        means[-1] = around[-1, :, 1:] / np.maximum(around[-1, :, :1], TINY)
        for cell in range(len(wider) - 1, -1, -1):
            if is_empty[cell]:
                continue
            for fold in asked:
                weight = around[cell, fold, 0] + strength
                for head in range(terms - 1):
                    mean = means[wider[cell], fold, head]
                    means[cell, fold, head] = (around[cell, fold, 1 + head] + strength * mean) / weight
        for cell in range(size):
            for most_often in chosen:
                for head in range(0 if is_empty[cell] else terms - 1):
                    mean = means[cell, most_often, head]
                    gain += (2 * sums[cell, most_often, 1 + head] - sums[cell, most_often, 0] * mean) * mean
        if gain > most:
            best = means
            most = gain
    for cell in range(len(wider) - 1, -1, -1):
        if is_empty[cell]:
            best[cell] = best[wider[cell]]
    return best, most


def _values_of(
    binned: BinnedSamples, features: np.ndarray, depth: int, used: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What a grid's cells that occur predict, 0 on average, NaN where a value was never missing before, and the mean of
    all levels for unknown ones; and what they predict for samples, out of fold.

    Shapes: (k,), the cells of each feature that occur -> (cells that occur, C), (N, C).
    """
    shape = len(features) * (cells_at(depth),)
    sums = binned.sums(features, depth)
    options = binned.counted_and_all, np.arange(len(binned.counted) + 1), np.array(STRENGTHS)
    means, _ = compiled(means_of_cells)(sums, wider_cells(depth, len(features)), *options)
    sample_means = means[binned.cells_of(features, depth), binned.folds]
    predictions = _logits(sample_means.astype(np.float32), binned.are_logits)
    means = means[: len(sums), -1].reshape(*shape, -1)
    weights = sums[..., 0].sum(axis=1).reshape(*shape, 1)
    for axis in range(len(shape)):
        if not weights.take(-1, axis).any():
            np.moveaxis(means, axis, 0)[-1] = np.nan
    for axis in range(len(shape)):
        means, weights = _with_unknown(means, weights, axis)
    average = binned.weights @ predictions / binned.weights.sum()
    used = [cells.clip(max=cells_at(depth)) for cells in used]
    values = _logits(means[np.ix_(*used)].reshape(-1, len(binned.targets)), binned.are_logits)
    return values - average, predictions - average


def _with_unknown(means: np.ndarray, weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and weights of a grid's cells with a cell of unknown levels after that of missing values: the mean of all
    others. NaN if these have no weight.

    Shapes: (..., C), (..., 1).
    """
    known = range(means.shape[axis] - 1)
    known_weights = weights.take(known, axis)
    total = known_weights.sum(axis, keepdims=True)
    mean = (known_weights * means.take(known, axis)).sum(axis, keepdims=True) / np.where(total > 0, total, np.nan)
    return np.concatenate([means, mean], axis), np.concatenate([weights, total], axis)


def _logits(means: np.ndarray, are_logits: bool) -> np.ndarray:
    """Means of classes and labels as logits; those of numbers stay."""
    if not are_logits:
        return means
    means = means.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return LOGIT_FACTOR * (np.log(means) - np.log1p(-means))


# ---- Choosing grids --------------------------------------------------------------------------------------------------


def _grids(binned: BinnedSamples, indices: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Single features and pairs to count, (G, 2) each, the best first. A feature of two values is all that its cells
    could predict."""
    counts = np.array([np.count_nonzero(np.bincount(cells, binned.weights)) for cells in binned.cells], int)
    features = np.flatnonzero(counts > 1)
    tried = binned.take(indices[spread(len(indices), TRIED_ON)])
    scores = np.full(len(counts), -np.inf)
    varied = np.column_stack([features, np.full(len(features), NONE)])
    scores[features] = tried.scores(varied, TRIED_BITS)
    most = MOST_COLUMNS // len(binned.targets)
    singles = _best(varied[counts[features] > 2], scores[features[counts[features] > 2]], most)
    most_pairs = min(MOST_GRIDS_OF_TWO, most - len(singles))
    pairs = _pairs_to_try(features, rng)
    if most_pairs == 0 or len(pairs) == 0:
        return singles, pairs[:0]
    return singles, _best(pairs, tried.scores(pairs, TRIED_BITS) - scores[pairs].max(axis=1), most_pairs)


def _depths(
    binned: BinnedSamples, indices: np.ndarray, singles: np.ndarray, pairs: np.ndarray, binnings: list[Binning]
) -> np.ndarray:  # (2, F)
    """The depth of each feature's cells, in grids of one feature and of two. More cells make files large."""
    tried = binned.take(indices[spread(len(indices), BINNED_ON)])
    # A pair has about as many cells as there are samples, or four times as many.
    pair_depth = int(np.clip(np.round(np.log2(max(1, binned.weights.sum())) / 2), 2, WIDE_BITS))
    best = pairs[:PAIRS_TRIED_DEEPER]
    if pair_depth < WIDE_BITS and len(best):
        gains = tried.scores(best, pair_depth + 1) - tried.scores(best, pair_depth)
        pair_depth += int(gains.max() > DEEP_GAIN)
    depths = np.array([[WIDE_BITS], [pair_depth]]).repeat(len(binnings), axis=1)
    singles = singles[[len(binnings[feature].cells) > (1 << WIDE_BITS) + 1 for feature in singles[:, 0]]]
    if len(singles):
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
    # Without rounding, a weight of 2 could choose other ones of equally good grids than a row that is there twice.
    return grids[np.argsort(-gains.round(9), kind="stable")[:most]]
