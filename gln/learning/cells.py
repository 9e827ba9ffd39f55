"""Counted cells: the mean target of the samples in a cell of one feature or of two, as base predictions.

A feature is cut into bins, and a pair of features into the cells of both. `gln.learning.counting` counts them.

Shapes: B samples, F features, C heads, G grids (single features and pairs of them), E columns (grids times heads), R
parts of a table.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gln.learning.compiled import compiled
from gln.learning.owned import OwnsArrays

__all__ = ["Cells"]


@dataclasses.dataclass
class Cells(OwnsArrays):
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

    def state(self) -> dict[str, Any]:
        """The fields, which `Cells` takes back."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


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
