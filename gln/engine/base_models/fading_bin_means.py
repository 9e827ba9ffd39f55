"""Means of bins in a stream: the mean target in a bin of a standardised column, or of two, as base predictions.

Counts fade, so that means follow a stream that drifts: they are no sums of all samples, and cannot be merged. Grids and
cells are those of `bin_means`, where the means of a table's bins are.

Shapes: B samples, D columns, C heads, G grids (single columns and pairs of them), E values (grids times heads).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.base_models.bin_means import LOGIT_FACTOR, MIN_PROBABILITY, NONE, STRENGTH, input_features
from gln.engine.saving import Array, bad, saved

# Log-loss and errors of streams are the same within .001 for 30 to 60 grids, pairs of 3 to 5 bits, strengths of 2 to 8
# and counts of 40 to 300 a cell; where classes follow the last ones, as prices do, 100 is better than 300.
MOST_GRIDS, MOST_VALUES = 40, 256
DEPTHS, PAIR_DEPTH = (2, 4, 6), 4  # bits of a value in bins of one column, each shrunk towards the wider ones
FIRST_CELLS = (0, 4, 20)  # of each depth among the cells of a column
CELLS_OF_ONE = 84
CELLS_OF_TWO = 1 << 2 * PAIR_DEPTH
ROOM_FROM = 32  # classes; more have room for others
MOST_COUNT = 100.0  # of a cell, in samples
FULL = 1000.0  # samples after which nothing is left of those before
STEEP = 1.7  # of the logistic function that maps standardised values to (0, 1), about that of the normal distribution


@saved(
    grids=Array("i8", "G 2", NONE),
    counts=Array("f8", "cells C", 0),
    sums=Array("f8", "cells C"),
    totals=Array("f8", "2 C"),
)
class FadingBinMeans(NamedTuple):
    """What the cells of a sample predict for the heads: half logits or numbers, with 0 for the mean of all samples."""

    grids: np.ndarray  # (G, 2), columns; NONE as the second of a single one
    counts: np.ndarray  # (cells of all grids, C); the last heads may be free for new classes, and predict 0
    sums: np.ndarray  # (cells of all grids, C)
    totals: np.ndarray  # (2, C), counts and sums of all samples

    @classmethod
    def start(cls, columns: Sequence[int], heads: int) -> FadingBinMeans:
        counts, sums = np.zeros((2, 0, heads))
        return cls(np.zeros((0, 2), int), counts, sums, np.zeros((2, heads))).with_columns(columns)

    def check(self, columns: int, heads: int) -> None:
        cells = _sizes(self.grids).sum()
        least = min(self.grids[:, 0].min(initial=0), self.totals[0].min(initial=0))
        if self.counts.shape != (cells, heads) or least < 0 or self.grids.max(initial=NONE) >= columns:
            expected = f"grids of columns from 0 to {columns - 1}, and counts of shape {(cells, heads)}"
            raise bad("bin_means", expected, f"{self.grids.tolist()}, and shape {self.counts.shape}")

    @property
    def heads(self) -> int:
        return self.totals.shape[1]

    @property
    def features(self) -> np.ndarray:  # (E, 2)
        """The two columns of each value, or the only one twice."""
        return input_features(self.grids, self.heads)

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def with_columns(self, columns: Sequence[int]) -> FadingBinMeans:
        """A copy with grids of further columns, and of pairs with these while there is room."""
        known = [int(first) for first, second in self.grids if second == NONE]
        singles = [(column, NONE) for column in columns]
        pairs = [pair for pair in itertools.combinations(sorted([*known, *columns]), 2) if not {*pair} <= {*known}]
        room = max(0, _most_grids(self.heads) - len(self.grids) - len(singles))
        if len(pairs) > room:
            pairs = [pairs[i] for i in np.random.RandomState(len(known)).permutation(len(pairs))[:room]]
        new = np.array([*singles, *pairs], int).reshape(-1, 2)
        cells = [(0, _sizes(new).sum()), (0, 0)]
        counts = np.pad(self.counts, cells)
        sums = np.pad(self.sums, cells)
        return FadingBinMeans(np.concatenate([self.grids, new]), counts, sums, self.totals)._within_room()

    def with_class(self, heads: int) -> FadingBinMeans:
        """A copy with one more class than these, of which no sample so far was; one head of two becomes two."""
        counts = self.counts
        sums = self.sums
        totals = self.totals
        if heads == 1:
            heads = 2
            sums = np.concatenate([counts - sums, sums], axis=1)
            counts = counts.repeat(2, axis=1)
            totals = np.concatenate([[totals[0], totals[0] - totals[1]], totals], axis=1)
        new = max(0, with_room(heads + 1) - totals.shape[1])
        counts, sums, totals = (np.pad(array, [(0, 0), (0, new)]) for array in (counts, sums, totals))
        counts[:, heads] = counts[:, 0]
        totals[0, heads] = totals[0, 0]
        return FadingBinMeans(self.grids, counts, sums, totals)._within_room()

    def with_outputs(self, kept: Sequence[int], new: int) -> FadingBinMeans:
        heads = np.array(kept, int)  # `take`, as indices would give another order in memory, compiled for 10 seconds
        arrays = [np.pad(array.take(heads, 1), [(0, 0), (0, new)]) for array in (self.counts, self.sums, self.totals)]
        return FadingBinMeans(self.grids, *arrays)._within_room()

    def _within_room(self) -> FadingBinMeans:
        """A copy with fewer pairs, or without grids if there is no room for all columns."""
        singles = self.grids[:, 1] == NONE
        most = _most_grids(self.heads)
        kept = singles | ((~singles).cumsum() <= most - singles.sum())
        kept &= singles.sum() <= most
        cells = kept.repeat(_sizes(self.grids))
        return FadingBinMeans(self.grids[kept], self.counts[cells], self.sums[cells], self.totals)


def with_room(classes: int) -> int:
    """How many heads so many classes have: at most a quarter are free for others, because to add heads takes a copy of
    all networks."""
    step = 1 << max(0, (classes - 1).bit_length() - 3)
    return classes if classes <= ROOM_FROM else -(-classes // step) * step


def _most_grids(heads: int) -> int:
    return min(MOST_GRIDS, MOST_VALUES // heads)


def _sizes(grids: np.ndarray) -> np.ndarray:  # (G, 2) -> (G,)
    """The number of cells of each grid."""
    return np.where(grids[:, 1] == NONE, CELLS_OF_ONE, CELLS_OF_TWO)


def logit(p: float) -> float:
    p = min(max(p, MIN_PROBABILITY), 1 - MIN_PROBABILITY)
    return math.log(p / (1 - p))


def predict_bin_means(
    z: np.ndarray,  # (D, B)
    means: FadingBinMeans,  # changed if targets are known
    are_classes: bool,
    targets: np.ndarray,  # (C, B)
    step_sizes: np.ndarray,  # (B,)
    predicted: np.ndarray,  # (E, B), filled
) -> None:
    """Predict each sample, and then count it for the heads whose target is known."""
    # Long, because a call for each grid would take as long as what it does.
    grids, counts, sums, totals = means
    heads = targets.shape[0]
    room = totals.shape[1]
    bins = np.zeros(len(z), np.int64)
    cells = np.zeros(len(DEPTHS), np.int64)
    deepest = DEPTHS[-1]
    roots = np.zeros(heads)
    root_logits = np.zeros(heads)
    for b in range(z.shape[1]):
        for head in range(heads):
            roots[head] = (totals[1, head] + 0.5 * are_classes) / (totals[0, head] + 1)
            root_logits[head] = logit(roots[head]) if are_classes else 0.0
            if math.isfinite(targets[head, b]):
                totals[0, head] += step_sizes[b]
                totals[1, head] += step_sizes[b] * targets[head, b]
        start = 0  # of the cells of a grid
        for grid in range(len(grids)):
            first = grids[grid, 0]
            second = grids[grid, 1]
            if second == NONE:  # a column comes before its pairs
                bins[first] = int((1 << deepest) / (1 + math.exp(-STEEP * float(z[first, b]))))
                used = len(DEPTHS)
                for i in range(used):
                    cells[i] = start + FIRST_CELLS[i] + (bins[first] >> (deepest - DEPTHS[i]))
            else:
                used = 1
                coarse = deepest - PAIR_DEPTH
                cells[0] = start + ((bins[first] >> coarse) << PAIR_DEPTH) + (bins[second] >> coarse)
            start += CELLS_OF_ONE if second == NONE else CELLS_OF_TWO
            for head in range(heads):
                mean = roots[head]
                y = targets[head, b]
                for i in range(used):
                    cell = cells[i]
                    mean = (sums[cell, head] + STRENGTH * mean) / (counts[cell, head] + STRENGTH)
                    if math.isfinite(y):
                        weight = step_sizes[b]
                        excess = counts[cell, head] + step_sizes[b] - MOST_COUNT
                        if excess > 1:  # as much as so many samples in a row
                            weight += MOST_COUNT * ((1 + 1 / MOST_COUNT) ** min(excess, FULL) - 1) - excess
                        counts[cell, head] += weight
                        sums[cell, head] += weight * y
                        if counts[cell, head] > MOST_COUNT:
                            sums[cell, head] *= MOST_COUNT / counts[cell, head]
                            counts[cell, head] = MOST_COUNT
                value = LOGIT_FACTOR * (logit(mean) - root_logits[head]) if are_classes else mean
                predicted[grid * room + head, b] = value
            for head in range(heads, room):
                predicted[grid * room + head, b] = 0
