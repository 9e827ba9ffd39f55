"""Features for a GLN: online standardisation, encodings, and orientations."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from helpers import assert_same_state
from scipy import sparse

import gln.engine.preprocessing.scaling
from gln.engine.preprocessing.scaling import OF_FEATURES, STATISTICS, Moments, divisor, wide_limit
from gln.features import Standardizer, piecewise_linear, quantile_pieces, with_distances
from gln.mnist import orientation_features


def stream(count: int = 50) -> np.ndarray:
    """Values with very different scales and means, (4, count); the last never changes."""
    rng = np.random.default_rng(3)
    return np.array([[1.0], [1e-3], [1e6], [0.0]]) * rng.normal(size=(4, count)) + np.array([[0], [5], [1e8], [7]])


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_samples_are_standardised_by_those_before_and_the_first_ten_also_by_themselves(floor):
    x = stream()
    expected = np.zeros_like(x)
    for i in range(x.shape[1]):
        seen = x[:, : i + 1 if i < 10 else i]
        deviation = seen.std(axis=1) + floor * (seen.max(axis=1) - seen.min(axis=1))
        varies = deviation > 0
        expected[varies, i] = ((x[:, i] - seen.mean(axis=1))[varies]) / deviation[varies]
    standardised = Standardizer(4, floor).learn(x)
    assert standardised.dtype == np.float32
    np.testing.assert_allclose(standardised, expected, rtol=1e-5, atol=1e-5)
    assert (standardised[3] == 0).all()
    assert (standardised[:, 0] == 0).all()


def test_indices_count_as_copies():
    x, indices = np.random.default_rng(0).normal(size=(3, 40)), np.array([3, 3, 5, 7, 7, 7, *range(10, 40)])
    table, copies = Standardizer(3, **OF_FEATURES), Standardizer(3, **OF_FEATURES)
    table.fit(x, indices)
    copies.fit(x[:, indices])
    assert_same_state(table.get_state(), copies.get_state(), rtol=0, atol=0)


def test_transform_counts_nothing():
    x, standardizer = stream(), Standardizer(4, 0.1)
    standardizer.learn(x)
    before = standardizer.get_state()
    z = standardizer.transform(x + 1)
    scale = x.std(axis=1) + 0.1 * (x.max(axis=1) - x.min(axis=1))
    scale[3] = np.inf  # a feature that never varied becomes 0
    expected = (x + 1 - x.mean(axis=1)[:, None]) / scale[:, None]
    assert (np.abs(expected[1]) > 20).all()
    np.testing.assert_allclose(z, np.where(np.abs(expected) < 20, expected.clip(-5, 5), 0), rtol=1e-4)
    assert_same_state(standardizer.get_state(), before)
    np.testing.assert_array_equal(Standardizer(4).transform(x), 0)  # before the first sample


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16])
def test_numbers_of_any_kind(kind):
    x = (np.arange(40).reshape(2, 20) % 3 > 0).astype(kind)
    found, expected = (Standardizer(2).learn(samples) for samples in (x, x.astype(float)))
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_inverse_transform():
    x, standardizer = stream(), Standardizer(4, 0.1)
    standardizer.learn(x)
    np.testing.assert_allclose(standardizer.inverse_transform(standardizer.transform(x)), x, rtol=1e-5, atol=1e-6)


def test_a_table_in_any_order_gives_what_its_stream_does():
    x, table, turned, online = stream(), Standardizer(4), Standardizer(4), Standardizer(4)
    table.learn(7 * x[:, :20])  # `fit` forgets these
    table.fit(x)
    turned.fit(x[:, ::-1])
    online.learn(x)
    assert_same_state(table.get_state(), turned.get_state(), rtol=1e-9)
    assert_same_state(table.get_state(), online.get_state() | {"fitted": 1.0}, rtol=1e-9)


def test_after_a_table_five_values_far_off_hardly_move_the_scale_and_twice_as_many_as_it_had_do():
    rng = np.random.default_rng(0)
    for floor in (0.0, 0.05):
        scaler = Standardizer(2, floor)
        scaler.fit(np.array([rng.normal(size=600), rng.random(600) < 0.05]))
        scale = scaler.scale
        far = np.array([rng.normal(0, 10, 600), 30 * rng.random(600)])
        scaler.learn(10 * np.ones((2, 5)))
        np.testing.assert_allclose(scaler.scale, scale, rtol=0.07)
        scaler.learn(np.tile(far, 2))
        assert (scaler.scale > 0.6 * far.std(axis=1)).all()


# ---- Outliers and bad data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["learn", "fit"])
@pytest.mark.parametrize("far", [1e3, 1e6, -1e30])
def test_a_sample_far_off_moves_the_scale_no_more_than_a_good_one_could(how, far):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2000))
    clean, bad = Standardizer(3, 0.05), Standardizer(3, 0.05)
    getattr(clean, how)(x)
    x[:, 700] *= far
    z = getattr(bad, how)(x)
    np.testing.assert_allclose(bad.transform(x[:, :9]), clean.transform(x[:, :9]), rtol=0.2, atol=0.02)
    assert bad.count.tolist() == [2000] * 3
    assert how == "fit" or (z[:, 700] == 0).all()  # it counts as missing


def test_missing_values_count_for_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(2, 500))
    holes, only = x.copy(), Standardizer(1)
    holes[1, ::3] = np.nan
    known = np.flatnonzero(~np.isnan(holes[1]))
    expected = only.learn(x[1:, known])
    for how in ("learn", "fit"):
        standardizer = Standardizer(2)
        z = getattr(standardizer, how)(holes)
        assert standardizer.count.tolist() == [500, len(known)]
        if how == "learn":
            # Of the first ten samples six are known, and the next four of `only` count before they are standardised.
            np.testing.assert_array_equal(z[1, known[:6]], expected[0, :6])
            np.testing.assert_allclose(z[1, known[10:]], expected[0, 10:], rtol=1e-5, atol=1e-6)
            assert (z[1, ::3] == 0).all()
        np.testing.assert_allclose(standardizer.transform(holes)[1, known], only.transform(x[1:, known])[0], rtol=1e-5)
    empty = Standardizer(1)
    empty.fit(np.full((1, 4), np.nan))
    assert (empty.count[0], empty.transform(np.array([[5.0, np.nan]])).tolist()) == (0, [[0, 0]])


def test_an_outlier_among_the_first_values_is_detected_eventually():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(5, 500))
    x[np.arange(5), np.arange(5)] = -999  # as the first value of one feature, the second of the next, and so on
    standardizer = Standardizer(5, 0.05)
    z = standardizer.learn(x)
    np.testing.assert_allclose(np.sqrt(standardizer.squares / standardizer.count), 1, atol=0.4)
    assert 0.4 < z[:, 100:].std() < 1


def test_a_sensor_that_was_stuck_is_believed_eventually():
    rng = np.random.default_rng(2)
    x = np.concatenate([np.full(1000, 20.0), rng.normal(50, 3, 6000)])[None]
    z = Standardizer(1, 0.05).learn(x)[0]
    assert (z[:1000] == 0).all()
    assert np.abs(z).max() <= 5
    assert 0.05 < z[-1000:].std() < 5


@pytest.mark.parametrize("how", ["learn", "fit"])
@pytest.mark.parametrize("far", [1e3, -1e30])
def test_targets_far_off_are_clipped_and_never_become_the_mean(how, far):
    x = np.random.default_rng(0).normal(size=(1, 300))
    x[0, 200] = far
    standardizer = Standardizer(1, **gln.engine.preprocessing.scaling.OF_TARGETS)
    getattr(standardizer, how)(x)
    np.testing.assert_array_equal(standardizer.transform([[1e35, -1e35, np.nan]]), [[50, -50, 0]])
    assert 1 < standardizer.scale[0] < 4  # the value counts as if 50 scales away
    assert abs(standardizer.transform(x)[0, 200]) > 10


@pytest.mark.parametrize("how", ["learn", "fit"])
def test_a_long_tail_of_targets_counts_in_full(how):
    x = np.random.default_rng(0).normal(size=(1, 4000))
    x[0, ::300] += 1000
    standardizer = Standardizer(1, **gln.engine.preprocessing.scaling.OF_TARGETS)
    getattr(standardizer, how)(x)
    assert standardizer.mean[0] == pytest.approx(x.mean(), rel=0.3 if how == "learn" else 1e-9)
    assert standardizer.transform([[1000.0]])[0, 0] * standardizer.scale[0] > 950


def test_only_known_values_have_distances():
    z = np.array([[-2.0, 0.0, 0.5], [0.0, 1.0, 3.0]], np.float32)
    expected = np.array([[-2, 0, 0.5], [1.2, 0, -0.3], [0, 1, 3], [0, 0.2, 2.2]])
    np.testing.assert_allclose(with_distances(z), expected, rtol=1e-6)


def test_pieces_lie_between_quantiles_of_distinct_values():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=400), rng.integers(0, 2, 400), np.zeros(400), rng.integers(0, 3, 400)])
    pieces = quantile_pieces(values)
    assert pieces.features.tolist() == 8 * [0] + 2 * [3]  # none for features with one or two values
    np.testing.assert_allclose(pieces.low[:8], np.quantile(values[0], np.arange(8) / 8), rtol=1e-6)
    np.testing.assert_allclose(pieces.high[:8], np.quantile(values[0], np.arange(1, 9) / 8), rtol=1e-6)
    assert (pieces.low[8:].tolist(), pieces.high[8:].tolist()) == ([0, 1], [1, 2])
    zeros = np.zeros((1, 400))
    zeros[0, :20] = np.arange(20)  # most quantiles of all values would be zero
    assert len(quantile_pieces(zeros).features) == 8
    for features, count in ((25, 8), (50, 4), (150, 2)):
        assert len(quantile_pieces(rng.normal(size=(features, 30))).features) == features * count
    assert len(quantile_pieces(np.zeros((3, 0))).features) == 0
    near = np.array([[0.0, 1e-30, 2.0]], np.float32)  # the first two are almost equal
    pieces = quantile_pieces(near)
    assert (pieces.low.tolist(), pieces.high.tolist()) == ([0], [2])
    np.testing.assert_array_equal(piecewise_linear(near, pieces), [[-1, -1, 1]])


def test_piecewise_linear_encodings_are_those_of_the_plain_loops():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 50)).astype(np.float32)
    pieces = quantile_pieces(values[:, :30], most=3)
    encoded = piecewise_linear(values, pieces)
    assert (encoded.shape, encoded.dtype) == ((9, 50), np.float32)
    for i, (feature, low, high) in enumerate(zip(*pieces, strict=True)):
        for b in range(50):
            passed = (float(values[feature, b]) - low) / (high - low)
            assert encoded[i, b] == pytest.approx(2 * min(max(passed, 0), 1) - 1, abs=1e-4)
    assert (encoded.min(), encoded.max()) == (-1, 1)


def by_formula(x: np.ndarray, standardizer: Standardizer) -> np.ndarray:  # (D, B) -> (D, B)
    """What `learn` returns, with the formulas of its docstring; the state becomes that after these samples."""
    count, mean, squares, low, high = (standardizer.get_state()[name] for name in STATISTICS)
    columns = []
    for value in x.T:
        known = ~np.isnan(value)
        scale = divisor(Moments(count, mean, squares, low, high), standardizer.floor)
        reach = wide_limit(standardizer.limit, count) * scale
        z = (value - mean) / scale
        difference = np.where(known, np.clip(value - mean, -reach, reach), 0)
        low = np.where(known & (count == 0), value, np.minimum(low, mean + difference))
        high = np.where(known & (count == 0), value, np.maximum(high, mean + difference))
        count = count + known
        step = difference / np.maximum(count, 1)
        mean, squares = mean + step, squares + difference * (difference - step)
        missing = np.isnan(z) | (standardizer.far_is_missing & (np.abs(z) >= 4 * standardizer.limit))
        columns.append(np.where(missing, 0, np.clip(z, -standardizer.limit, standardizer.limit)))
    standardizer.set_state(
        {**standardizer.get_state(), **dict(zip(STATISTICS, (count, mean, squares, low, high), strict=True))}
    )
    return np.array(columns, np.float32).T


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("options", [{}, {"floor": 0.0, "limit": 1.5, "far_is_missing": False}])
def test_the_loop_is_the_formula(monkeypatch, python, options):
    x = stream()
    x[1, 30:] += 1e6  # a late drift, of which the first values are missing or clipped
    x[2, :25], x[3, 15:40:2] = np.nan, np.nan  # a late feature, and one with gaps
    found, expected = Standardizer(4, **options), Standardizer(4, **options)
    np.testing.assert_array_equal(found.learn(x[:, :12]), expected.learn(x[:, :12]))
    if python:
        monkeypatch.setattr("gln.engine.preprocessing.scaling.compiled", lambda loop: loop)
    np.testing.assert_array_equal(found.learn(x[:, 12:]), by_formula(x[:, 12:], expected))
    assert_same_state(found.get_state(), expected.get_state())
    np.testing.assert_array_equal(found.transform(np.tile(x, 9)), np.tile(found.transform(x), 9))


def test_targets_are_counted_first_and_come_with_mean_and_scale_before_each():
    x = stream()
    x[1, 5:30:3] = np.nan
    found, expected = (Standardizer(4, 0.0, 50.0, far_is_missing=False) for _ in range(2))
    y, before = found.learn_targets(x, 2.0, np.inf)
    for b in range(x.shape[1]):
        np.testing.assert_array_equal(before[:, :, b], expected.units)
        expected.learn(x[:, [b]])
        z = expected.transform(x[:, [b]])[:, 0].clip(-2, 2)
        np.testing.assert_array_equal(y[:, b], np.where(np.isnan(x[:, b]), np.inf, z))
    np.testing.assert_array_equal(before[:, :, -1], expected.units)


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("order", ["C", "F"])
def test_chunks_and_several_calls_give_the_same(monkeypatch, size, order):
    x = np.asarray(stream(), order=order)
    whole, chunks, table, table_in_chunks = (Standardizer(4) for _ in range(4))
    expected = [whole.learn(x), whole.transform(x)]
    table.fit(x)
    monkeypatch.setattr(gln.engine.preprocessing.scaling, "CHUNK", size)
    found = [np.concatenate([chunks.learn(x[:, :20]), chunks.learn(x[:, 20:])], axis=1), chunks.transform(x)]
    table_in_chunks.fit(x)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert_same_state(whole.get_state(), chunks.get_state())
    assert_same_state(table.get_state(), table_in_chunks.get_state(), rtol=1e-12)


@pytest.mark.parametrize("name", ["learn", "transform"])
def test_little_memory_besides_the_result(digits, name):
    standardizer = Standardizer(784)
    standardizer.learn(digits[0][:, :10])
    tracemalloc.start()
    try:
        size = getattr(standardizer, name)(digits[0]).nbytes
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size
    assert kept < size / 10


@pytest.mark.parametrize("count", [0, 4, 50])
def test_state_is_copied_to_another_standardizer(count):
    x, one, other = stream(), Standardizer(4, 0.05, 3.0, far_is_missing=False), Standardizer(4)
    one.learn(x[:, :count])
    other.set_state(one.get_state())
    np.testing.assert_array_equal(one.transform(1e9 * x), other.transform(1e9 * x))
    np.testing.assert_array_equal(one.learn(x), other.learn(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"mean": np.zeros(3)}, r"state: expected mean.*, got float64 of shape \(3,\)$", id="another size"),
        pytest.param({"count": np.zeros(784)}, r"expected count.*, got float64 of shape \(784,\)$", id="many counts"),
        pytest.param({"floor": np.zeros(4)}, r"expected floor.*, got float64 of shape \(4,\)$", id="many floors"),
        pytest.param({"squares": -np.ones(4)}, r"expected squares from 0 .* from -1.0 to -1.0$", id="negative squares"),
        pytest.param({"floor": -0.5}, r"expected floor from 0 .* from -0.5 to -0.5$", id="negative floor"),
        pytest.param({"count": np.full(4, np.nan)}, r"expected count from 0 .* from nan to nan$", id="count is NaN"),
        pytest.param({"count": np.full(4, 2.7)}, "expected integer counts.* got .*2.7", id="count is broken"),
        pytest.param({"count": 50}, r"expected count.*, got float64 of shape \(\)$", id="one count"),
        pytest.param({"first": np.zeros((10, 4))}, "fewer than 10 first samples", id="many first samples"),
        pytest.param({"first": np.full((1, 4), np.inf)}, "expected first .* from inf to inf$", id="first is infinite"),
        pytest.param({"other": 1}, "state: expected a mapping of the names", id="unknown name"),
    ],
)
def test_bad_state_changes_nothing(change, message):
    standardizer = Standardizer(4)
    standardizer.learn(stream())
    before = standardizer.get_state()
    with pytest.raises(ValueError, match=message):
        standardizer.set_state({**before, **change})
    assert_same_state(standardizer.get_state(), before)
    with pytest.raises(ValueError, match="state: expected a mapping of the names"):
        standardizer.set_state({name: before[name] for name in before if name != "mean"})


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros((3, 2)), id="too few values"),
        pytest.param(np.zeros(4), id="a vector"),
        pytest.param([["a"]] * 4, id="text"),
        pytest.param(np.full((4, 1), np.inf, np.float16), id="infinity in half precision"),
        pytest.param(np.full((4, 1), 1e200), id="too large"),
    ],
)
def test_bad_samples_change_nothing(samples):
    standardizer = Standardizer(4)
    for call in (standardizer.learn, standardizer.fit, standardizer.transform):
        with pytest.raises(ValueError, match="samples: expected"):
            call(samples)
    assert (standardizer.count == 0).all()


@pytest.mark.parametrize(
    ("size", "floor", "limit"),
    [
        pytest.param(0, 0, 5, id="size 0"),
        pytest.param(1.5, 0, 5, id="size is no integer"),
        pytest.param(True, 0, 5, id="size is a bool"),
        pytest.param(3, -1, 5, id="negative floor"),
        pytest.param(3, np.nan, 5, id="floor is NaN"),
        pytest.param(3, "a", 5, id="floor is text"),
        pytest.param(3, 0, 0, id="no limit"),
        pytest.param(3, 0, np.inf, id="infinite limit"),
    ],
)
def test_bad_arguments(size, floor, limit):
    with pytest.raises(ValueError, match=r"size|floor|limit"):
        Standardizer(size, floor, limit)
    with pytest.raises(ValueError, match="far_is_missing: expected True or False, got 'no'"):
        Standardizer(3, far_is_missing="no")  # type: ignore[arg-type]


def test_orientations_are_those_of_the_plain_loops(digits):
    images = digits[0].T[:3]
    features = orientation_features(images, orientations=5, cells=4).reshape(3, 4, 4, 5)
    for image, found in zip(images.reshape(3, 28, 28).astype(float), features, strict=True):
        padded = np.pad(image, 1)
        down, right = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
        expected = np.zeros((4, 4, 5))
        for i, j in itertools.product(range(28), repeat=2):
            bins = (math.atan2(down[i, j], right[i, j]) / (2 * math.pi) * 5) % 5
            for row, column, o in itertools.product(range(4), range(4), range(5)):
                near = [max(1 - abs(at - (7 * cell + 3)) / 7, 0) for at, cell in ((i, row), (j, column))]
                turn = max(1 - min(abs(bins - o), 5 - abs(bins - o)), 0)
                expected[row, column, o] += math.prod(near) * turn * math.hypot(down[i, j], right[i, j])
        np.testing.assert_allclose(found, np.sqrt(expected), atol=2e-3)


def test_orientations_of_many_images_are_those_of_each(digits):
    images = digits[0].T
    together = orientation_features(images[:2100])
    assert together.shape == (2100, 588)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[1990:2010], orientation_features(images[1990:2010]), rtol=1e-5, atol=1e-6)
    assert orientation_features(images[:0]).shape == (0, 588)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 783)), {}, "images: expected numbers of shape"),
        (np.zeros(784), {}, "images"),
        (np.full((1, 784), np.inf), {}, "images: expected finite"),
        (np.full((1, 784), 1e300), {}, "images: expected finite"),
        ([["a"] * 784], {}, "images"),
        (np.zeros((1, 784)), {"cells": 0}, "cells: expected an integer of at least 1, got 0"),
        (np.zeros((1, 784)), {"orientations": 1}, "orientations: expected an integer of at least 2"),
        (np.zeros((1, 784)), {"orientations": 4.0}, "orientations"),
    ],
)
def test_bad_images(images, options, message):
    with pytest.raises(ValueError, match=message):
        orientation_features(images, **options)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_samples_are_standardised_as_dense_ones(kind):
    x = np.random.default_rng(0).integers(-3, 2, (40, 30)).clip(0).astype(float)
    x[0, 3] = np.nan
    for size in (30, 4):
        for call in ("learn", "fit", "transform"):
            dense, of_sparse = Standardizer(40), Standardizer(40)
            for standardizer in (dense, of_sparse):
                standardizer.fit(x)
            one, other = getattr(dense, call)(x[:, :size]), getattr(of_sparse, call)(kind(x[:, :size]))
            assert_same_state(dense.get_state(), of_sparse.get_state())
            if one is not None:
                np.testing.assert_array_equal(other, one)
    with pytest.raises(ValueError, match=r"expected numbers of shape \(40, B\), got float64 of shape \(30, 40\)"):
        Standardizer(40).fit(kind(x.T))
    with pytest.raises(ValueError, match="infinity"):
        Standardizer(40).learn(kind(np.where(x == 1, np.inf, x)))
