"""How the features of a table are cut into bins, and the cells that these make at several depths.

Shapes: V visits of samples, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, issparse

from gln.learning.left_out import Table, spread
from gln.learning.samples import dense

__all__ = ["BITS", "Axis", "axes_of"]

BITS = 7  # a feature has at most 2^BITS cells, and one for missing values
LOOKED_AT = 100_000  # visits for the ends of bins
ROUNDING = 1e-12  # relative to a value: 0.1 + 0.2 is 0.3
# Where in a gap a bin ends. The middle of 0.1 and 0.3 is a likely new value, 0.2, whose bin would depend on rounding;
# the golden section stays away from all values of a regular grid.
IN_GAP = (math.sqrt(5) - 1) / 2


class Axis(NamedTuple):
    """How a feature is cut. Its cells at depth d are those at depth BITS shifted by BITS - d."""

    ends: np.ndarray  # (bins - 1,), see `Cells`
    cells: np.ndarray  # (bins,), at depth BITS: below 2^BITS, and 2^BITS for missing values and unknown levels

    def at(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells that occur at a depth, and the place of each bin's among them."""
        return np.unique(self.cells >> (BITS - depth), return_inverse=True)


def axes_of(table: Table, levels: Mapping[int, int]) -> tuple[list[Axis], np.ndarray]:
    """How features are cut, F + 1 axes of which the last is of no feature, and the cells of each visit, (F + 1, V)."""
    features = csc_array(table.X) if issparse(table.X) else table.X
    axes, cells = [], np.zeros((features.shape[1] + 1, len(table.rows)), np.int16)
    looked_at = table.rows[spread(len(table.rows), LOOKED_AT)]
    for feature in range(features.shape[1]):
        values = dense(features[:, feature : feature + 1])[:, 0].astype(np.float64)
        seen = values[looked_at]
        axes.append(_axis_of_levels(seen, levels[feature]) if feature in levels else _axis_of_numbers(seen))
        cells[feature] = axes[-1].cells[axes[-1].ends.searchsorted(values)][table.rows]
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
