"""Count the targets of a table in the cells of its features and of pairs of them.

The mean of a cell is shrunk towards that of the cell around it, which is twice as wide, and so on up to the mean of all
visits: where these are few, a wider cell speaks. For the visits of each part of the table there are means without this
part, so that a sample's own target does not leak into what is said of it. Sources: Micci-Barreca, A Preprocessing
Scheme for High-Cardinality Categorical Attributes, SIGKDD Explorations 2001 (shrunk means); Lou et al., Accurate
Intelligible Models with Pairwise Interactions, KDD 2013 (pairs); Willems et al., The Context-Tree Weighting Method,
IEEE Transactions on Information Theory 1995 (from wide to narrow).

Shapes: N samples, V visits, F features, C heads, G grids (single features and pairs), g of them at a time, W and H
cells along a grid, R parts of the table, E columns (grids times heads).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from gln.learning.axes import BITS, Axis, axes_of
from gln.learning.calibration import PARTS
from gln.learning.cells import Cells
from gln.learning.left_out import Table, shares_of, spread
from gln.learning.samples import dense

__all__ = ["counted"]

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
        step = max(1, min(NUMBERS // (size * PARTS * self.heads), 4 * NUMBERS // len(self.parts)))
        for start in range(0, len(grids), step):
            first, second = self.cells[grids[start : start + step].T].astype(int) >> (BITS - depth)
            of_parts = self.parts * len(first) + np.arange(len(first))[:, None]
            sums = self._sums(of_parts * size + first * high + second, PARTS * len(first) * size)
            sums = sums.reshape(-1, PARTS, len(first), wide, high)
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


def counted(
    table: Table, levels: Mapping[int, int], targets: np.ndarray, parts: np.ndarray, rng: np.random.RandomState
) -> tuple[Cells | None, np.ndarray | None]:
    """The cells of a table, and what they say of each sample if its part is left out, (N, E).

    Both are None if there is nothing to count.

    Args:
        table: a table with categories as codes.
        levels: the number of levels of each category, by feature.
        targets: class numbers (V,), or standardised numbers (T, V).
        parts: the part of the table that each visit is in, (V,).
        rng: draws the pairs to choose from, if there are many.
    """
    axes, cells = axes_of(table, levels)
    classes, weights = None, shares_of(table, np.arange(len(parts)))
    if targets.ndim == 1:
        classes = int(targets.max()) + 1
    else:
        targets = targets.clip(-LARGEST, LARGEST)
    visits = Visits(cells, targets, weights, parts, classes)
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
    found = Cells(sizes, ends, places, grids, values[-1])
    of_samples = np.zeros(table.X.shape[0], int)
    of_samples[table.rows] = parts
    said = np.empty((len(of_samples), found.columns), np.float32)
    for some in (slice(start, start + TOLD) for start in range(0, len(said), TOLD)):
        said[some] = found.said(dense(table.X[some]).T, values, of_samples[some]).T
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
