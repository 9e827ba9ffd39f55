"""Means of bins: the mean target of a table's samples in a bin of a feature, or of two features, as base predictions.

Each feature is cut into bins. A grid is one feature or a pair of features, and its cells are bins or pairs of bins.

Shapes: B or N samples, F features, C heads, G grids, E columns (grids times heads), R folds, V sample indices, in which
a sample of weight 2 may occur twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
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
BITS = 7  # a feature has at most 2^BITS bins, and one for missing values
MOST_GRIDS_OF_TWO, MOST_COLUMNS = 60, 200  # pairs of features, and columns of them and of single features
TRIED_PAIRS, TRIED_ON, TRIED_BITS = 1000, 3000, 4  # pairs to choose from, and the samples and bits to choose by
BINNED_ON = 100_000  # samples for the ends of bins
ROUNDING = 1e-12  # relative to a value: 0.1 + 0.2 is 0.3
# Where in a gap a bin ends. The middle of 0.1 and 0.3 is a likely new value, 0.2, whose bin would depend on rounding;
# the golden section stays away from all values of a regular grid.
IN_GAP = (math.sqrt(5) - 1) / 2
NUMBERS = 1 << 18  # counted at a time, so that they stay in the processor's cache
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
        compiled(_look_up)(np.ascontiguousarray(samples, np.float64), folds, *bins, *grids, values, predictions)
        return predictions


def features_of(grids: np.ndarray, heads: int) -> np.ndarray:  # (G, 2) -> (E, 2)
    return np.where(grids == NONE, grids[:, :1], grids).repeat(heads, axis=0)


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
    count, heads = samples.shape[1], values.shape[2]
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
    for grid in range(len(grids)):
        start, width, kind = starts[grid], widths[grid], kinds[grid]
        first, second = grids[grid]
        for b in range(count):
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
    folds: np.ndarray,  # (V,), the fold that each is in
    levels: Mapping[int, int],  # the number of levels of each category, by feature
    rng: np.random.RandomState,  # draws the pairs to choose from, if there are many
) -> tuple[BinMeans | None, np.ndarray | None]:
    """The means of a table's bins, and out-of-fold predictions for its samples, (N, E); None if no feature varies."""
    binnings, bins = _binned(samples, indices, levels)
    classes = int(targets.max()) + 1 if targets.ndim == 1 else None
    targets = targets if classes else targets.clip(-MAX_VALUE, MAX_VALUE)
    binned = BinnedSamples(bins, targets, weights, folds, classes)
    # A pair has about as many cells as there are samples, since more would make files large and add little.
    bits = int(np.clip(np.round(np.log2(max(1, weights.sum())) / 2), 2, BITS))
    singles, pairs = _grids(binned, rng)
    grids = np.concatenate([singles, pairs])
    if len(grids) == 0:
        return None, None
    values = np.concatenate(
        [*_values(binned, binnings, singles, BITS), *_values(binned, binnings, pairs, bits)], axis=1
    )
    # Other features need no bins.
    binnings = [binning if feature in grids else binnings[NONE] for feature, binning in enumerate(binnings[:-1])]
    cells = np.stack([np.concatenate([binning.at(depth)[1] for binning in binnings]) for depth in (BITS, bits)])
    sizes = np.array([len(binning.cells) for binning in binnings])
    means = BinMeans(sizes, np.concatenate([binning.ends for binning in binnings]), cells, grids, values[-1])
    of_samples = np.zeros(samples.shape[0], int)
    of_samples[indices] = folds
    predictions = np.empty((len(of_samples), means.columns), np.float32)
    for chunk in chunks(len(predictions), AT_ONCE):
        predictions[chunk] = means.predict(dense(samples[chunk]).T, values, of_samples[chunk]).T
    return means, predictions


class Binning(NamedTuple):
    """How a feature is cut. Its cells at depth d are those at depth BITS shifted by BITS - d."""

    ends: np.ndarray  # (bins - 1,), see `BinMeans`
    cells: np.ndarray  # (bins,), at depth BITS: below 2^BITS, and 2^BITS for missing values and unknown levels

    def at(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells that occur at a depth, and the place of each bin's among them."""
        return np.unique(self.cells >> (BITS - depth), return_inverse=True)


def _binned(samples: Any, indices: np.ndarray, levels: Mapping[int, int]) -> tuple[list[Binning], np.ndarray]:
    """How features are cut, and the cells of samples, (F + 1, V); the last of both stands for no feature."""
    features = csc_array(samples) if issparse(samples) else samples
    binnings, cells = [], np.zeros((features.shape[1] + 1, len(indices)), np.int16)
    binned_on = indices[spread(len(indices), BINNED_ON)]
    for feature in range(features.shape[1]):
        values = dense(features[:, feature : feature + 1])[:, 0].astype(np.float64)
        seen = values[binned_on]
        binning = _bins_of_levels(seen, levels[feature]) if feature in levels else _bins_of_numbers(seen)
        cells[feature] = binning.cells[binning.ends.searchsorted(values)][indices]
        binnings.append(binning)
    return [*binnings, Binning(np.zeros(0), np.zeros(1, int))], cells


def _bins_of_levels(codes: np.ndarray, levels: int) -> Binning:  # (V,)
    """A cell for each level of a category; the rarest of more than 2^BITS levels share one."""
    counts = np.bincount(codes[codes < levels].astype(int), minlength=levels)  # NaN never is
    ranks = np.argsort(np.argsort(-counts, kind="stable")).clip(max=(1 << BITS) - 1)
    return Binning(np.arange(levels) + 0.5, _spaced(ranks, min(levels, 1 << BITS)))


def _bins_of_numbers(values: np.ndarray) -> Binning:  # (V,)
    """Bins between distinct values, or between quantiles if there are many."""
    values = np.sort(values[~np.isnan(values)])
    distinct = np.unique(values)
    distinct = distinct[np.diff(distinct, prepend=-np.inf) > ROUNDING * np.abs(distinct)]
    last = np.arange(len(distinct) - 1)  # of the values in each bin but the last
    if len(distinct) > 1 << BITS:
        quantiles = values[spread(len(values), (1 << BITS) + 1)[1:-1]]
        last = np.unique((distinct.searchsorted(quantiles, side="right") - 1).clip(max=len(distinct) - 2))
    ends = distinct[last] + IN_GAP * (distinct[last + 1] - distinct[last])
    ends = np.append(ends, np.inf) if len(distinct) else ends
    return Binning(ends, _spaced(np.arange(len(ends)), len(ends)))


def _spaced(ranks: np.ndarray, count: int) -> np.ndarray:
    """`count` ranks spread over the 2^BITS cells, so that each depth halves them; one more for missing values."""
    return np.append((ranks << BITS) // max(1, count), 1 << BITS)


# ---- Means of cells --------------------------------------------------------------------------------------------------


class BinnedSamples(NamedTuple):
    """The cells and the targets of a table's samples."""

    cells: np.ndarray  # (F + 1, V), at depth BITS; the last row stands for no feature
    targets: np.ndarray  # (V,) class numbers, or (T, V)
    weights: np.ndarray  # (V,)
    folds: np.ndarray  # (V,)
    classes: int | None

    @property
    def heads(self) -> int:
        return len(self.targets) if self.classes is None else 1 if self.classes == 2 else self.classes

    def take(self, places: np.ndarray) -> BinnedSamples:  # (n,)
        targets, weights, folds = self.targets[..., places], self.weights[places], self.folds[places]
        return BinnedSamples(self.cells[:, places], targets, weights, folds, self.classes)

    def means(self, grids: np.ndarray, depth: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """A few of the grids at a time, with the means of their cells and the sums of each fold.

        All grids must be of one feature, or all of two. The means are those without each fold, and then those of all.
        Sums are those of weights, and then of the heads' targets.

        Shapes: (G, 2) -> (g, 2), (C, R + 1, g, cells), (1 + C, R, g, cells).
        """
        width, folds = (1 << depth) + 1, int(self.folds.max()) + 1
        height = width if (grids[:, 1] != NONE).all() else 1
        size = width * height
        step = max(1, min(NUMBERS // (size * folds * self.heads), 4 * NUMBERS // len(self.folds)))
        for start in range(0, len(grids), step):
            chunk = grids[start : start + step]
            first, second = self.cells[chunk.T].astype(int) >> (BITS - depth)
            of_folds = self.folds * len(first) + np.arange(len(first))[:, None]
            sums = self._sums(of_folds * size + first * height + second, folds * len(first) * size)
            sums = sums.reshape(-1, folds, len(first), width, height)
            whole = sums.sum(axis=1, keepdims=True)
            means = _shrunken_means(np.concatenate([whole - sums, whole], axis=1))
            yield chunk, means.reshape(*means.shape[:3], size), sums.reshape(*sums.shape[:3], size)

    def _sums(self, cells: np.ndarray, size: int) -> np.ndarray:  # (g, V), below `size` -> (1 + C, size)
        """The weight of the samples in each cell, and the sums of the heads' targets."""
        weights = np.tile(self.weights, len(cells))
        if self.classes is None:
            rows = [weights, *(np.tile(self.weights * target, len(cells)) for target in self.targets)]
            return np.stack([np.bincount(cells.ravel(), row, size) for row in rows])
        cells = (cells + self.targets * size).ravel()
        of_classes = np.bincount(cells, weights, self.classes * size).reshape(self.classes, size)
        return np.concatenate([of_classes.sum(axis=0, keepdims=True), of_classes[-self.heads :]])


def _shrunken_means(sums: np.ndarray) -> np.ndarray:  # (1 + C, R + 1, g, W, H) -> (C, R + 1, g, W, H)
    """Means of cells, each shrunk towards that of the cell of twice its width, from weights and sums of targets."""
    depths = [sums]
    while depths[-1].shape[3] > 2:
        rows = _halved(depths[-1])
        depths.append(rows if rows.shape[4] == 1 else _halved(rows.swapaxes(3, 4)).swapaxes(3, 4))
    total = depths[-1].sum(axis=(3, 4), keepdims=True)
    means = total[1:] / np.maximum(total[:1], TINY)
    for sums in reversed(depths):
        for axis in (3, 4):
            if 1 < means.shape[axis] < sums.shape[axis]:
                means = means.repeat(2, axis=axis).take(np.arange(sums.shape[axis]), axis=axis)
        means = (sums[1:] + STRENGTH * means) / (sums[:1] + STRENGTH)
    return means


def _halved(sums: np.ndarray) -> np.ndarray:  # (..., W, H) -> (..., W // 2 + 1, H)
    """Each two cells joined; the last, of missing values, stays by itself."""
    joined = np.empty((*sums.shape[:-2], sums.shape[-2] // 2 + 1, sums.shape[-1]))
    np.add(sums[..., :-1:2, :], sums[..., 1::2, :], out=joined[..., :-1, :])
    joined[..., -1, :] = sums[..., -1, :]
    return joined


def _values(binned: BinnedSamples, binnings: list[Binning], grids: np.ndarray, depth: int) -> Iterator[np.ndarray]:
    """The predictions of each grid's cells, without each fold and then by all: logits or numbers, 0 for the average.

    Shapes: (G, 2) -> (R + 1, cells, C) for each grid.
    """
    used = [binning.at(depth)[0] for binning in binnings]
    seen = [len(cells) - (1 not in row >> BITS) for cells, row in zip(used, binned.cells[:-1], strict=False)] + [1]
    for chunk, means, sums in binned.means(grids, depth):
        if binned.classes is not None:
            means = means.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
            means = (np.log(means) - np.log1p(-means)) * LOGIT_FACTOR
        means -= ((means[:, :-1] * sums[0]).sum(axis=(1, 3)) / binned.weights.sum())[:, None, :, None]
        height = means.shape[3] // ((1 << depth) + 1)
        for place, (first, second) in enumerate(chunk):
            values = means[:, :, place, used[first][:, None] * height + used[second]]  # (C, R + 1, w, h)
            values[:, :, seen[first] :] = values[..., seen[second] :] = 0  # a value that was never missing before
            yield values.reshape(*values.shape[:2], -1).transpose(1, 2, 0).astype(np.float32)


# ---- Choosing grids --------------------------------------------------------------------------------------------------


def _grids(binned: BinnedSamples, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:  # -> (G, 2) twice
    """Single features and pairs to count. A feature of two values is already all that its cells could predict."""
    counts = np.array([len(np.unique(cells)) for cells in binned.cells[:-1]], int)
    features = np.flatnonzero(counts > 1)
    varied = np.column_stack([features, np.full(len(features), NONE)])
    singles, pairs = varied[counts[features] > 2], _pairs_to_try(features, rng)
    most = MOST_COLUMNS // binned.heads
    most_pairs = min(MOST_GRIDS_OF_TWO, max(0, most - len(singles)))
    if len(singles) <= most and len(pairs) <= most_pairs:
        return singles, pairs
    tried = binned.take(spread(len(binned.folds), TRIED_ON))
    errors = np.full(len(counts), np.inf)
    errors[features] = _errors(tried, varied)
    singles = _best(singles, -errors[singles[:, 0]], most)
    if most_pairs > 0:
        pairs = _best(pairs, errors[pairs].min(axis=1) - _errors(tried, pairs), most_pairs)
    return singles, pairs[:most_pairs]


def _pairs_to_try(features: np.ndarray, rng: np.random.RandomState) -> np.ndarray:  # (n,) -> (at most TRIED_PAIRS, 2)
    """All pairs, or random ones if there are too many to try."""
    if math.comb(len(features), 2) <= TRIED_PAIRS:
        return features[np.column_stack(np.triu_indices(len(features), 1))]
    drawn = np.sort(rng.choice(features, (4 * TRIED_PAIRS, 2)), axis=1)  # a pair may be of one feature twice
    pairs = np.unique(drawn[drawn[:, 0] < drawn[:, 1]], axis=0)
    return rng.permutation(pairs)[:TRIED_PAIRS]


def _best(grids: np.ndarray, gains: np.ndarray, most: int) -> np.ndarray:  # (G, 2), (G,) -> (at most `most`, 2)
    return grids[np.sort(np.argsort(-gains, kind="stable")[:most])]


def _errors(binned: BinnedSamples, grids: np.ndarray) -> np.ndarray:  # (G, 2) -> (G,)
    """The squared error of each grid's out-of-fold means, but for what is the same for all grids."""
    errors = []
    for _, means, sums in binned.means(grids, TRIED_BITS):
        held_out = means[:, :-1]
        errors.append(((sums[:1] * held_out - 2 * sums[1:]) * held_out).sum(axis=(0, 1, 3)))
    return np.concatenate(errors)
