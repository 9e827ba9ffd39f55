"""Counted cells: the mean target of the samples in a cell of one feature or of two, as base predictions.

A feature is cut into bins, and a pair of features into the cells of both.

Shapes: B samples, F features, C heads, G grids (single features and pairs of them), E columns (grids times heads), R
parts of a table.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array, issparse

from gln.engine.batches import dense, spread
from gln.engine.jit import OwnsArrays, compiled


@dataclasses.dataclass
class BinMeans(OwnsArrays):
    """What the cells of each grid say of the heads: logits or numbers, with 0 for what they say on average."""

    sizes: np.ndarray  # (F,), the number of each feature's bins; the last is for missing values and unknown levels
    ends: np.ndarray  # of all bins but these, ascending: a value is in the first bin whose end is not below it
    cells: np.ndarray  # (2, bins of all features): the cell of each bin in grids of one feature, and of two
    grids: np.ndarray  # (G, 2), features; F as the second stands for none
    values: np.ndarray  # (cells of all grids, C) float32

    def __post_init__(self) -> None:
        self._check()
        stops = np.cumsum(self.sizes)
        self.first_bins, self.first_ends = stops - self.sizes, stops - self.sizes - np.arange(len(self.sizes))
        padded = np.pad(self.cells, [(0, 0), (0, 1)])  # one more bin, of no feature
        counts = np.stack([1 + np.maximum.reduceat(own, [*self.first_bins, stops[-1]]) for own in padded])
        self.kinds = (self.grids[:, 1] < len(self.sizes)).astype(int)  # 0 for grids of one feature, 1 of two
        heights, self.widths = counts[self.kinds, self.grids.T]
        self.starts = np.cumsum(heights * self.widths) - heights * self.widths  # each grid's first cell
        if len(self.values) != (heights * self.widths).sum():
            raise ValueError(f"cells: expected {(heights * self.widths).sum()} values, got {len(self.values)}")

    def _check(self) -> None:
        """Raise ValueError unless the fields fit together: compiled loops do not check, and a file may be changed."""
        features, bins = len(self.sizes), self.sizes.sum()
        kinds = [array.dtype.kind for array in (self.sizes, self.cells, self.grids, self.ends, self.values)]
        if kinds != ["i", "i", "i", "f", "f"] or self.sizes.ndim != 1 or self.sizes.min() < 1:
            raise ValueError(f"cells: expected integers and numbers, got the kinds {kinds} and sizes {self.sizes}")
        shapes = self.ends.shape, self.cells.shape, self.grids.shape[1:], self.values.shape[2:]
        if shapes != ((bins - features,), (2, bins), (2,), ()) or self.cells.min() < 0:
            raise ValueError(f"cells: expected the places of {bins} bins, got the shapes {shapes}")
        if not ((self.grids >= 0).all() and (self.grids <= [features - 1, features]).all()):
            raise ValueError(f"cells: expected pairs of {features} features, got {self.grids.tolist()}")

    @property
    def columns(self) -> int:
        return len(self.grids) * self.values.shape[1]

    @property
    def features(self) -> np.ndarray:  # (E, 2)
        """The two features of each column, or the only one twice."""
        first, second = self.grids.T
        both = np.stack([first, np.where(self.kinds, second, first)], axis=1)
        return both.repeat(self.values.shape[1], axis=0)

    def transform(self, samples: np.ndarray) -> np.ndarray:  # (F, B) -> (E, B) float32
        return self.said(samples, self.values[None], np.zeros(samples.shape[1], int))

    def said(self, samples: np.ndarray, values: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """What the cells of samples say, by the values of the part of each: (F, B), (R, cells, C), (B,) -> (E, B)."""
        if len(samples) != len(self.sizes):  # compiled loops do not check
            raise ValueError(f"samples: expected {len(self.sizes)} features, got {len(samples)}")
        found = np.empty((self.columns, samples.shape[1]), np.float32)
        bins = self.sizes, self.ends, self.first_ends, self.first_bins, self.cells
        samples = np.ascontiguousarray(samples, np.float64)
        compiled(_look_up)(samples, parts, *bins, self.grids, self.kinds, self.widths, self.starts, values, found)
        return found


def _look_up(
    samples: np.ndarray,  # (F, B)
    parts: np.ndarray,  # (B,)
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
    said: np.ndarray,  # (E, B), filled
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
        one, other = grids[grid]
        for b in range(count):
            place = start + cells[kind, bins[one, b]] * width
            if kind == 1:
                place += cells[1, bins[other, b]]
            for head in range(heads):
                said[grid * heads + head, b] = values[parts[b], place, head]


BITS = 7  # a feature has at most 2^BITS cells, and one for missing values
LOOKED_AT = 100_000  # visits for the ends of bins
ROUNDING = 1e-12  # relative to a value: 0.1 + 0.2 is 0.3
# Where in a gap a bin ends. The middle of 0.1 and 0.3 is a likely new value, 0.2, whose bin would depend on rounding;
# the golden section stays away from all values of a regular grid.
IN_GAP = (math.sqrt(5) - 1) / 2


class Axis(NamedTuple):
    """How a feature is cut. Its cells at depth d are those at depth BITS shifted by BITS - d."""

    ends: np.ndarray  # (bins - 1,), see `BinMeans`
    cells: np.ndarray  # (bins,), at depth BITS: below 2^BITS, and 2^BITS for missing values and unknown levels

    def at(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells that occur at a depth, and the place of each bin's among them."""
        return np.unique(self.cells >> (BITS - depth), return_inverse=True)


def axes_of(samples: Any, rows: np.ndarray, levels: Mapping[int, int]) -> tuple[list[Axis], np.ndarray]:
    """How features are cut, F + 1 axes of which the last is of no feature, and the cells of each visit, (F + 1, V)."""
    features = csc_array(samples) if issparse(samples) else samples
    axes, cells = [], np.zeros((features.shape[1] + 1, len(rows)), np.int16)
    looked_at = rows[spread(len(rows), LOOKED_AT)]
    for feature in range(features.shape[1]):
        values = dense(features[:, feature : feature + 1])[:, 0].astype(np.float64)
        seen = values[looked_at]
        axes.append(_axis_of_levels(seen, levels[feature]) if feature in levels else _axis_of_numbers(seen))
        cells[feature] = axes[-1].cells[axes[-1].ends.searchsorted(values)][rows]
    return [*axes, Axis(np.zeros(0), np.zeros(1, int))], cells


def _axis_of_levels(codes: np.ndarray, levels: int) -> Axis:  # (V,)
    """A cell for each level of a category; the rarest of more than 2^BITS levels share one."""
    counts = np.bincount(codes[codes < levels].astype(int), minlength=levels)  # NaN never is
    ranks = np.argsort(np.argsort(-counts, kind="stable")).clip(max=(1 << BITS) - 1)
    return Axis(np.arange(levels) + 0.5, _spaced(ranks, min(levels, 1 << BITS)))


def _axis_of_numbers(values: np.ndarray) -> Axis:  # (V,)
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
    return Axis(ends, _spaced(np.arange(len(ends)), len(ends)))


def _spaced(ranks: np.ndarray, count: int) -> np.ndarray:
    """`count` ranks spread over the 2^BITS cells, so that each depth halves them; one more for missing values."""
    return np.append((ranks << BITS) // max(1, count), 1 << BITS)


STRENGTH = 4.0  # weight of the cell around, as a number of visits
MOST_PAIRS, MOST_COLUMNS = 60, 200  # pairs of features, and columns of them and of single features
TRIED_PAIRS, TRIED_ON, TRIED_BITS = 1000, 3000, 4  # pairs to choose from, and the visits and bits to choose by
LEAST = 1e-3  # probabilities are in [LEAST, 1 - LEAST]
LARGEST = 10.0  # numbers are in [-LARGEST, LARGEST], as networks clip them
OF_LOGITS = 0.5  # factor of logits: networks of small tables overfit larger ones
NUMBERS = 1 << 18  # counted at a time, so that they stay in the processor's cache
TOLD = 20_000  # samples that are told at a time, so that the table of each grid stays in the cache for many
TINY = 1e-9  # weight of no visits


class Visits(NamedTuple):
    """The cells and the targets of a table's visits."""

    cells: np.ndarray  # (F + 1, V), at depth BITS; the last row stands for no feature
    targets: np.ndarray  # (V,) class numbers, or (T, V)
    weights: np.ndarray  # (V,)
    parts: np.ndarray  # (V,)
    classes: int | None

    @property
    def heads(self) -> int:
        return len(self.targets) if self.classes is None else 1 if self.classes == 2 else self.classes

    @property
    def folds(self) -> int:
        return int(self.parts.max()) + 1

    def some(self, visits: np.ndarray) -> Visits:  # (n,)
        own = {name: getattr(self, name)[..., visits] for name in ("cells", "targets", "weights", "parts")}
        return self._replace(**own)

    def means(self, grids: np.ndarray, depth: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For some of the grids at a time, the means of their cells, and the sums of each part.

        All grids must be of one feature, or all of two. The means are those without each part, and then those of all.
        Sums are those of weights, and then of the heads' targets.

        Shapes: (G, 2) -> (C, R + 1, g, cells), (1 + C, R, g, cells).
        """
        wide = (1 << depth) + 1
        high = wide if (grids[:, 1] < len(self.cells) - 1).all() else 1
        size = wide * high
        step = max(1, min(NUMBERS // (size * self.folds * self.heads), 4 * NUMBERS // len(self.parts)))
        for start in range(0, len(grids), step):
            first, second = self.cells[grids[start : start + step].T].astype(int) >> (BITS - depth)
            of_parts = self.parts * len(first) + np.arange(len(first))[:, None]
            sums = self._sums(of_parts * size + first * high + second, self.folds * len(first) * size)
            sums = sums.reshape(-1, self.folds, len(first), wide, high)
            whole = sums.sum(axis=1, keepdims=True)
            means = _shrunk(np.concatenate([whole - sums, whole], axis=1))
            yield means.reshape(*means.shape[:3], size), sums.reshape(*sums.shape[:3], size)

    def _sums(self, cells: np.ndarray, size: int) -> np.ndarray:  # (g, V), below `size` -> (1 + C, size)
        """The weight of the visits in each cell, and the sums of the heads' targets."""
        weights = np.tile(self.weights, len(cells))
        if self.classes is None:
            rows = [weights, *(np.tile(self.weights * target, len(cells)) for target in self.targets)]
            return np.stack([np.bincount(cells.ravel(), row, size) for row in rows])
        cells = (cells + self.targets * size).ravel()
        of_classes = np.bincount(cells, weights, self.classes * size).reshape(self.classes, size)
        return np.concatenate([of_classes.sum(axis=0, keepdims=True), of_classes[-self.heads :]])


def _shrunk(sums: np.ndarray) -> np.ndarray:  # (1 + C, R + 1, g, W, H) -> (C, R + 1, g, W, H)
    """Means of cells, from the weights and sums of targets in each."""
    levels = [sums]
    while levels[-1].shape[3] > 2:
        rows = _halved(levels[-1])
        levels.append(rows if rows.shape[4] == 1 else _halved(rows.swapaxes(3, 4)).swapaxes(3, 4))
    total = levels[-1].sum(axis=(3, 4), keepdims=True)
    means = total[1:] / np.maximum(total[:1], TINY)
    for own in reversed(levels):
        for axis in (3, 4):
            if 1 < means.shape[axis] < own.shape[axis]:
                means = means.repeat(2, axis=axis).take(np.arange(own.shape[axis]), axis=axis)
        means = (own[1:] + STRENGTH * means) / (own[:1] + STRENGTH)
    return means


def _halved(sums: np.ndarray) -> np.ndarray:  # (..., W, H) -> (..., W // 2 + 1, H)
    """Each two cells joined; the last, of missing values, stays by itself."""
    joined = np.empty((*sums.shape[:-2], sums.shape[-2] // 2 + 1, sums.shape[-1]))
    np.add(sums[..., :-1:2, :], sums[..., 1::2, :], out=joined[..., :-1, :])
    joined[..., -1, :] = sums[..., -1, :]
    return joined


def fit_bin_means(
    samples: Any,
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    folds: np.ndarray,
    levels: Mapping[int, int],
    rng: np.random.RandomState,
) -> tuple[BinMeans | None, np.ndarray | None]:
    """The cells of a table, and what they say of each sample if its part is left out, (N, E).

    Both are None if there is nothing to count.

    Args:
        samples: (N, F), with categories as codes.
        rows: the sample of each visit, (V,).
        targets: class numbers (V,), or standardised numbers (T, V).
        weights: of the visits, (V,).
        folds: the fold that each visit is in, (V,).
        levels: the number of levels of each category, by feature.
        rng: draws the pairs to choose from, if there are many.
    """
    axes, cells = axes_of(samples, rows, levels)
    classes = None
    if targets.ndim == 1:
        classes = int(targets.max()) + 1
    else:
        targets = targets.clip(-LARGEST, LARGEST)
    visits = Visits(cells, targets, weights, folds, classes)
    # A pair has about as many cells as there are visits, since more would make files large and add little.
    bits = int(np.clip(np.round(np.log2(max(1, weights.sum())) / 2), 2, BITS))
    kinds = [(grids, depth) for grids, depth in zip(_grids(visits, rng), (BITS, bits), strict=True) if len(grids)]
    if not kinds:
        return None, None
    values = np.concatenate([_values(visits, axes, *kind) for kind in kinds], axis=1)
    grids = np.concatenate([grids for grids, _ in kinds])
    axes = [axis if feature in grids else axes[-1] for feature, axis in enumerate(axes[:-1])]  # others need no bins
    places = np.stack([np.concatenate([axis.at(depth)[1] for axis in axes]) for depth in (BITS, bits)])
    sizes, ends = np.array([len(axis.cells) for axis in axes]), np.concatenate([axis.ends for axis in axes])
    found = BinMeans(sizes, ends, places, grids, values[-1])
    of_samples = np.zeros(samples.shape[0], int)
    of_samples[rows] = folds
    said = np.empty((len(of_samples), found.columns), np.float32)
    for some in (slice(start, start + TOLD) for start in range(0, len(said), TOLD)):
        said[some] = found.said(dense(samples[some]).T, values, of_samples[some]).T
    return found, said


def _grids(visits: Visits, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:  # -> (G, 2) twice
    """Single features and pairs to count. A feature of two values is already all that its cells could say."""
    nothing, tried = len(visits.cells) - 1, visits.some(spread(len(visits.parts), TRIED_ON))
    counts = np.array([len(np.unique(own)) for own in visits.cells[:-1]], int)
    varied = np.stack([np.flatnonzero(counts > 1), np.full((counts > 1).sum(), nothing)], axis=1)
    singles = varied[counts[varied[:, 0]] > 2]
    pairs = _some_pairs(varied[:, 0], rng)
    most = MOST_COLUMNS // visits.heads
    most_pairs = min(MOST_PAIRS, max(0, most - len(singles)))
    if len(singles) <= most and len(pairs) <= most_pairs:
        return singles, pairs
    errors = np.full(nothing, np.inf)
    errors[varied[:, 0]] = _errors(tried, varied)
    singles = _best(singles, -errors[singles[:, 0]], most)
    if most_pairs > 0:
        pairs = _best(pairs, errors[pairs].min(axis=1) - _errors(tried, pairs), most_pairs)
    return singles, pairs[:most_pairs]


def _some_pairs(features: np.ndarray, rng: np.random.RandomState) -> np.ndarray:  # (n,) -> (at most TRIED_PAIRS, 2)
    """All pairs, or random ones if there are too many to try."""
    if math.comb(len(features), 2) <= TRIED_PAIRS:
        return np.array([*itertools.combinations(features, 2)], int).reshape(-1, 2)
    drawn = np.sort(rng.choice(features, (4 * TRIED_PAIRS, 2)), axis=1)  # some are equal
    pairs = np.unique(drawn[drawn[:, 0] < drawn[:, 1]], axis=0)
    return rng.permutation(pairs)[:TRIED_PAIRS]


def _best(grids: np.ndarray, gains: np.ndarray, most: int) -> np.ndarray:  # (G, 2), (G,) -> (at most `most`, 2)
    return grids[np.sort(np.argsort(-gains, kind="stable")[:most])]


def _errors(visits: Visits, grids: np.ndarray) -> np.ndarray:  # (G, 2) -> (G,)
    """The squared error of each grid's means, each visit's part left out, but for what is the same for all grids."""
    errors = []
    for means, sums in visits.means(grids, TRIED_BITS):
        own = means[:, :-1]
        errors.append(((sums[:1] * own - 2 * sums[1:]) * own).sum(axis=(0, 1, 3)))
    return np.concatenate(errors)


def _values(visits: Visits, axes: list[Axis], grids: np.ndarray, depth: int) -> np.ndarray:
    """What cells say, without each part and then by all: logits or numbers, with 0 for the average of the visits.

    Shapes: (G, 2) -> (R + 1, cells, C).
    """
    used, values, done = [axis.at(depth)[0] for axis in axes], [], 0
    known = [len(own) - (1 not in cells >> BITS) for own, cells in zip(used, visits.cells[:-1], strict=False)] + [1]
    for means, sums in visits.means(grids, depth):
        if visits.classes is not None:
            means = means.clip(LEAST, 1 - LEAST)
            means = (np.log(means) - np.log1p(-means)) * OF_LOGITS
        means -= ((means[:, :-1] * sums[0]).sum(axis=(1, 3)) / visits.weights.sum())[:, None, :, None]
        for place, (first, second) in enumerate(grids[done : done + means.shape[2]]):
            high = means.shape[3] // ((1 << depth) + 1)
            own = means[:, :, place, used[first][:, None] * high + used[second]]  # (C, R + 1, w, h)
            own[:, :, known[first] :] = own[..., known[second] :] = 0  # a value that was never missing before
            values.append(own.reshape(*own.shape[:2], -1).transpose(1, 2, 0).astype(np.float32))
        done += means.shape[2]
    return np.concatenate(values, axis=1)
