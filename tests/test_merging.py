"""Statistics of disjoint samples: merged in any order, they are those of all samples at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_array
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from gln.engine.base_models.bin_means import NONE, BinnedSamples, CellSums, _binned
from gln.engine.base_models.least_squares import LeastSquares, predict_least_squares
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.preprocessing.basis_expansion import with_distances
from gln.engine.preprocessing.scaling import SparseScaler, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln_numpy import GLN

CELLS, BENIGN = load_breast_cancer(return_X_y=True)  # (569, 30)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)  # (442, 10)
PIXELS, DIGITS = (array[:500] for array in load_digits(return_X_y=True))  # (500, 64)
HOLES = np.where(np.random.default_rng(0).random(CELLS.shape) < 0.1, np.nan, CELLS)
HOLES[:300, 4] = np.nan  # which the first parts do not know at all
LEVELS = np.stack([PIXELS[:, 20], PIXELS[:, 36] // 4, np.arange(500) // 40, PIXELS[:, 1]]).astype(float)
WEIGHTS = np.random.default_rng(1).integers(1, 4, 500).astype(float)
# How values are standardised so that none is clipped, because it matters which part clips one.
UNCLIPPED: dict[str, Any] = {"floor": 0.05, "limit": 1e9, "far_is_missing": False}
NETWORK = GLN([6, 3], 10, 10, context_map_size=3, seed=0)
Rows = slice | np.ndarray


def standardizer(how: str) -> Callable[[Rows], Standardizer]:
    def counted(rows: Rows) -> Standardizer:
        found = Standardizer(CELLS.shape[1], **UNCLIPPED)
        getattr(found, how)(HOLES[rows].T)
        return found

    return counted


def scaler(rows: Rows) -> SparseScaler:
    found = SparseScaler(64)
    found.fit(csc_array(PIXELS[rows].T))
    return found


def encoding(are_classes: bool, in_stream: bool) -> Callable[[Rows], TargetEncoding]:
    def counted(rows: Rows) -> TargetEncoding:
        samples, targets = LEVELS[:, rows], DIGITS[rows] % 3 if are_classes else PIXELS[rows, 10:12].T
        found = TargetEncoding.of_numbers(0 if in_stream else 4, 3 if are_classes else 2, are_classes)
        found = found.of_stream(samples, {0, 1, 2}) if in_stream else found.of_table({0: 17, 1: 5, 2: 13})
        found.learn(samples, targets, WEIGHTS[rows])
        return found

    return counted


BINNINGS, ALL_CELLS = _binned(CELLS, np.arange(len(CELLS)), {})


def cell_sums(pair: tuple[int, int], depth: int) -> Callable[[Rows], CellSums]:
    def counted(rows: Rows) -> CellSums:
        count = len(BENIGN[rows])
        folds, ones = np.arange(len(CELLS))[rows] % 4, np.ones(count)
        table = ALL_CELLS[:, rows], np.arange(count), BENIGN[None, rows], ones, folds, ~np.eye(4, dtype=bool)
        ends = np.concatenate([BINNINGS[feature].ends for feature in pair])
        return BinnedSamples.of_rows(*table).sums_of(np.array(pair), depth, ends)[0]

    return counted


def gate_counts(rows: Rows) -> GateCounts:
    found, samples = GateCounts.zeros([NETWORK, NETWORK]), PATIENTS[rows].T.astype(np.float32)
    found.learn([NETWORK.contexts(samples)] * 2)
    return found


def least_squares(rows: Rows) -> LeastSquares:
    model, inputs = LeastSquares.start(2, 10), with_distances(20 * PATIENTS[rows].T.astype(np.float32))
    targets = np.stack([PROGRESS, np.where(PROGRESS > 250, np.nan, np.log(PROGRESS))])[:, rows]
    predict_least_squares(model, inputs, 1e9, targets, np.ones(targets.shape[1]), True, np.empty(targets.shape))
    return model


def numbers_of(statistic: Any) -> dict[str, np.ndarray]:
    """What is compared."""
    if isinstance(statistic, TargetEncoding):  # its columns come in another order, and some of few levels are not used
        columns = zip(map(str, statistic.columns), statistic.transform(LEVELS), strict=True)
        return {**{name: row for name, row in columns if not np.isnan(row).all()}, "totals": statistic.totals}
    if isinstance(statistic, GateCounts):
        return dict(zip("ab", statistic.rows, strict=True))
    return statistic.get_state() if hasattr(statistic, "get_state") else statistic._asdict()


KINDS: dict[str, tuple[Callable[[Rows], Any], float]] = {  # how samples are counted, and the rounding
    "moments of a stream": (standardizer("learn"), 1e-9),
    "moments of a table": (standardizer("fit"), 1e-9),
    "moments of sparse samples": (scaler, 1e-12),
    "levels of a stream, classes": (encoding(True, in_stream=True), 1e-12),
    "levels of a table, classes": (encoding(True, in_stream=False), 1e-12),
    "levels of a stream, numbers": (encoding(False, in_stream=True), 1e-12),
    "cells of a feature": (cell_sums((3, NONE), 7), 0),
    "cells of a pair": (cell_sums((3, 8), 5), 0),
    "gate counts": (gate_counts, 0),
    "least squares": (least_squares, 1e-6),
}
PARTS = slice(0, 5), slice(5, 160), slice(160, None)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_in_any_order_they_are_those_of_all_samples(kind):
    count, rounding = KINDS[kind]
    expected, parts = numbers_of(count(slice(None))), [count(rows) for rows in PARTS]
    before = [numbers_of(part) for part in parts]
    for one, two, three in itertools.permutations(parts):
        for merged in (one.merge(two).merge(three), one.merge(two.merge(three))):
            found = numbers_of(merged)
            assert found.keys() == expected.keys()
            for name, numbers in expected.items():
                scale = np.abs(numbers).max(initial=0, where=np.isfinite(numbers))
                np.testing.assert_allclose(found[name], numbers, rtol=rounding, atol=rounding * scale, err_msg=name)
    for part, arrays in zip(parts, before, strict=True):  # which did not change
        assert all(np.array_equal(array, arrays[name], True) for name, array in numbers_of(part).items())


def test_what_was_merged_learns_on():
    count, _ = KINDS["moments of a stream"]
    few = count(slice(0, 3)).merge(count(slice(3, 7)))
    assert few.is_warming_up
    for rows in (slice(7, 12), slice(12, None)):
        few.learn(HOLES[rows].T)
    np.testing.assert_allclose(few.get_state()["squares"], count(slice(None)).get_state()["squares"], rtol=1e-9)
    fresh = Standardizer(30, **UNCLIPPED)
    assert fresh.merge(fresh).is_warming_up
    levels, _ = KINDS["levels of a stream, classes"]
    merged = levels(slice(0, 100)).merge(levels(slice(100, 400)))
    merged.learn(LEVELS[:, 400:], DIGITS[400:] % 3, WEIGHTS[400:])
    np.testing.assert_array_equal(merged.totals, levels(slice(None)).totals)


ENCODING = TargetEncoding.of_numbers(3, 2, True)
DIFFERENT: list[tuple[Any, Any, str]] = [
    (Standardizer(3), Standardizer(4), "equal size, got 3 and 4"),
    (Standardizer(3), Standardizer(3, limit=50.0), "equal limit, got 5.0 and 50.0"),
    (SparseScaler(3), SparseScaler(4), "equal size, got 3 and 4"),
    (ENCODING, TargetEncoding.of_numbers(4, 2, True), "equal size, got 3 and 4"),
    (ENCODING, TargetEncoding.of_numbers(3, 2, False), "equal are_classes, got True and False"),
    (ENCODING, TargetEncoding.of_numbers(3, 3, True), "equal targets, got 3 and 4"),
    (ENCODING.of_table({0: 20}), ENCODING.of_table({0: 20, 1: 20}), r"equal categories, got \[0\] and \[0, 1\]"),
    (GateCounts.zeros([NETWORK]), GateCounts.zeros([NETWORK], 2), "equal shapes"),
    (LeastSquares.start(1, 3), LeastSquares.start(1, 4), r"equal shapes, got \(1, 7\) and \(1, 9\)"),
    (cell_sums((3, 8), 5)(PARTS[1]), cell_sums((3, 8), 4)(PARTS[1]), "equal depths, got 5 and 4"),
    (cell_sums((3, 8), 5)(PARTS[1]), cell_sums((3, 9), 5)(PARTS[1]), "equal ends"),
]


@pytest.mark.parametrize(("one", "other", "message"), DIFFERENT)
def test_what_differs_is_named(one, other, message):
    for pair in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="merge: expected equal"):
            pair[0].merge(pair[1])
    with pytest.raises(ValueError, match=message):
        one.merge(other)
