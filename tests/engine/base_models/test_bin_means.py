"""Bin means: against a slow reference, out of fold, and what they bring to a model."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import as_in_a_file, fields_of
from sklearn.metrics import log_loss

from gln.engine.base_models.bin_means import (
    BITS,
    LOGIT_FACTOR,
    MIN_PROBABILITY,
    NONE,
    STRENGTH,
    STRENGTHS,
    WIDE_BITS,
    BinMeans,
    fit_bin_means,
)
from gln.sklearn import GLNClassifier, GLNRegressor

FOLDS = np.arange(400) % 8
OTHERS = ~np.eye(8, dtype=bool)  # all folds but one are counted for it
NOISE = np.random.default_rng(0).normal(size=(4, 400))
# Two numbers of many values, the second sometimes missing; one of three values; a category of four levels; a constant.
X = np.column_stack([*NOISE[:2], *np.random.default_rng(1).integers(0, [3, 4], (400, 2)).T, np.ones(400)])
X[::7, 1] = np.nan
LEVELS = {3: 4}
CLASSES = (X[:, 0] * X[:, 2] + NOISE[2] > 0).astype(int)
NUMBERS = np.stack([X[:, 0] + X[:, 3], NOISE[3]])


def fit_once(samples: np.ndarray, levels: Any, targets: Any, folds: Any, rng: Any, weights: Any = None) -> Any:
    """`fit_bin_means` for samples that occur once each, of two classes or numbers."""
    targets = targets if targets.ndim == 2 else targets[None] == 1
    weights = np.ones(len(samples)) if weights is None else weights
    return fit_bin_means(samples, np.arange(len(samples)), targets, weights, folds, OTHERS, levels, rng)


def fitted(targets: np.ndarray, weights: np.ndarray | None = None) -> tuple[BinMeans, np.ndarray]:
    """Bin means, and the out-of-fold predictions for each sample, (N, E)."""
    found, predictions = fit_once(X, LEVELS, targets, FOLDS, np.random.RandomState(0), weights)
    return found, predictions


@functools.cache
def fitted_once(kind: str) -> tuple[BinMeans, np.ndarray]:
    return fitted(CLASSES if kind == "classes" else NUMBERS)


def paths(known: np.ndarray, depth: int, is_category: bool) -> np.ndarray:  # (N,) -> (depth + 1, N)
    """The cells of values from the widest to the narrowest, by number; -1 is that of missing values."""
    values, counts = np.unique(known[~np.isnan(known)], return_counts=True)
    if is_category:
        values = values[np.argsort(-counts, kind="stable")]
    places = np.array([np.flatnonzero(values == value)[0] if value == value else 0 for value in known])
    bins = places * 2**WIDE_BITS // len(values)
    if len(values) > 2**WIDE_BITS:
        ordered = np.sort(known[~np.isnan(known)])
        ends = np.unique(ordered[np.linspace(0, len(ordered) - 1, 2**WIDE_BITS + 1).astype(int)[1:-1]])
        bins = np.searchsorted(ends, known) * 2**WIDE_BITS // (len(ends) + 1)
    narrow = np.zeros(len(known), int)
    for wide in np.unique(bins):
        inside = np.unique(known[(bins == wide) & ~np.isnan(known)])  # single values, in their order
        for i in np.flatnonzero(np.isin(known, inside)):
            narrow[i] = (wide << BITS - WIDE_BITS) + np.searchsorted(inside, known[i]) * 2 ** (BITS - WIDE_BITS) // len(
                inside
            )
    return np.stack([np.where(np.isnan(known), -1, narrow >> BITS - d) for d in range(depth + 1)])


def slow_means(
    columns: list[np.ndarray], depth: int, targets: np.ndarray, held_out: bool, strength: float, folds: np.ndarray
) -> np.ndarray:
    """The shrunk mean of the cell that each sample is in, by its definition; columns are the `paths` of features."""
    counts = folds[:, None] != folds if held_out else np.ones((len(folds), len(folds)), bool)
    mean = counts @ targets / counts.sum(axis=1)
    for d in range(depth + 1):
        inside = counts & np.all([column[d][:, None] == column[d] for column in columns], axis=0)
        mean = (inside @ targets + strength * mean) / (inside.sum(axis=1) + strength)
    return mean


def error(columns: list[np.ndarray], depth: int, targets: Any, folds: np.ndarray, strength: float) -> float:
    means = [slow_means(columns, depth, y, True, strength, folds) for y in targets]
    return float(((np.array(targets) - means) ** 2).sum())


def best_means(columns: list[np.ndarray], depth: int, targets: Any, held_out: bool, folds: np.ndarray) -> list[Any]:
    """The means of each head, of the strength with the least squared error out of fold."""
    best = min(STRENGTHS, key=functools.partial(error, columns, depth, targets, folds))
    return [slow_means(columns, depth, y, held_out, best, folds) for y in targets]


@functools.cache
def depth_of_pairs(kind: str) -> int:
    """4, since 400 samples have about as many cells, or 5 if a pair is better by a hundredth of the variance."""
    targets, gains = (CLASSES[None] if kind == "classes" else NUMBERS), []
    for pair in itertools.combinations(range(4), 2):
        columns = [paths(X[:, feature], 5, feature in LEVELS) for feature in pair]
        gains.append(error(columns, 4, targets, FOLDS, STRENGTH) - error(columns, 5, targets, FOLDS, STRENGTH))
    return 5 if max(gains) > 0.01 * 400 * targets.var(axis=1).sum() else 4


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("features", [(0,), (1,), (2,), (3,), (0, 1), (1, 3), (2, 3)])
def test_means_are_shrunk_from_wide_to_narrow_cells(features, held_out):
    for kind, targets in (("classes", CLASSES[None]), ("numbers", NUMBERS)):
        depth = WIDE_BITS if len(features) == 1 else depth_of_pairs(kind)
        columns = [paths(X[:, feature], depth, feature in LEVELS) for feature in features]
        found, predictions = fitted_once(kind)
        grid = found.grids.tolist().index([*features, *([NONE] if len(features) == 1 else [])])
        rows = predictions if held_out else found.transform(X.T).T
        np.testing.assert_array_equal(found.transform(X[:9].T), found.transform(X.T)[:, :9])
        for head, means in enumerate(best_means(columns, depth, targets, held_out, FOLDS)):
            if kind == "classes":
                means = means.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
                means = LOGIT_FACTOR * np.log(means / (1 - means))
            column = rows[:, grid * len(targets) + head]
            np.testing.assert_allclose(np.diff(column), np.diff(means), atol=1e-5)  # 0 is the average


def single_values(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A feature of 500 distances, each with its price and drawn about four times; also folds."""
    rng = np.random.default_rng(8)
    distance = rng.integers(0, 500, 2000)
    price = rng.normal(size=500)[distance] + noise * rng.normal(size=2000)
    return np.column_stack([distance * 3.0, rng.normal(size=2000)]), price / price.std(), np.arange(2000) % 8


def test_bins_are_cut_into_single_values_where_these_matter():
    samples, y, folds = single_values(noise=0.3)
    found, predictions = fit_once(samples, {}, y[None], folds, np.random.RandomState(0))
    assert found.sizes.tolist() == [1 + len(np.unique(samples[:, 0])), 129]
    assert np.corrcoef(predictions[:, 0], y)[0, 1] > 0.9  # out of fold; a bin of four distances has a mean of them
    columns = [paths(samples[:, 0], BITS, is_category=False)]
    for rows, held_out in ((predictions, True), (found.transform(samples.T).T, False)):
        [means] = best_means(columns, BITS, y[None], held_out, folds)
        np.testing.assert_allclose(np.diff(rows[:, 0]), np.diff(means), atol=1e-5)
    _, noise, _ = single_values(noise=30.0)
    found, _ = fit_once(samples, {}, noise[None], folds, np.random.RandomState(0))
    assert found.sizes.tolist() == [129, 129]


def test_predictions_are_zero_on_average_and_constant_features_have_no_grids():
    found, predictions = fitted(NUMBERS)
    np.testing.assert_allclose(predictions.mean(axis=0), 0, atol=1e-6)
    assert 4 not in found.grids
    assert found.grids.shape == (4 + 6, 2)  # four features vary
    nothing = np.ones((400, 2))
    found, predictions = fit_once(nothing, {}, CLASSES, FOLDS, np.random.RandomState(0))
    assert found.transform(nothing.T).T.shape == predictions.shape == (400, 0)


def test_predictions_are_out_of_fold():
    """Predictions for a sample do not depend on its target, but for the average of all and for choices."""
    found, predictions = fitted(NUMBERS)
    changed = NUMBERS.copy()
    changed[:, 3] += 1.0
    other, again = fitted(changed)
    assert found.grids.tolist() == other.grids.tolist()
    difference, of_changed = predictions - again, np.equal(FOLDS, FOLDS[3])
    of_fold = difference[of_changed]
    np.testing.assert_allclose(of_fold - of_fold.mean(axis=0), 0, atol=1e-5)
    assert np.abs(difference[~of_changed]).max() > 0.1


def test_a_fold_that_is_counted_for_none_tells_only_new_samples():
    counted, others = OTHERS & (np.arange(8) != 3), np.where(FOLDS == 3, 1 - CLASSES, CLASSES)
    numbers, ones = X[:, :2], np.ones(400)
    whole: dict[str, Any] = {}
    for name, classes in {"before": CLASSES, "after": others}.items():
        rng = np.random.RandomState(0)
        whole[name] = fit_bin_means(numbers, np.arange(400), classes[None] == 1, ones, FOLDS, counted, {}, rng)
    (before, predictions), (after, other) = whole["before"], whole["after"]
    difference = predictions - other
    np.testing.assert_allclose(difference - difference.mean(axis=0), 0, atol=1e-5)  # but for the average of all
    assert np.abs(np.diff(before.transform(numbers.T) - after.transform(numbers.T))).max() > 0.1


def test_weights_count_like_copies():
    weights = 1.0 + np.arange(400) % 3
    of_weights, predictions = fitted(CLASSES, weights)
    rows = np.arange(400).repeat(weights.astype(int))
    ones, rng = np.ones(len(rows)), np.random.RandomState(0)
    _, again = fit_bin_means(X, rows, CLASSES[None, rows] == 1, ones, FOLDS[rows], OTHERS, LEVELS, rng)
    columns = np.isin(of_weights.grids, [2, 3, NONE]).all(
        axis=1
    )  # the others have quantiles, which are those of sample indices
    assert columns.sum() == 3
    np.testing.assert_allclose(predictions[:, columns], again[:, columns], atol=1e-6)


def test_the_loop_predicts_the_same_without_numba(monkeypatch):
    found, _ = fitted(NUMBERS)
    expected = found.transform(X.T[:, :50])
    monkeypatch.setattr("gln.engine.base_models.bin_means.compiled", lambda loop, *helpers: loop)
    np.testing.assert_array_equal(found.transform(X.T[:, :50]), expected)


def test_values_that_were_never_missing_are_0_and_unknown_levels_the_mean_of_all():
    found, _ = fitted(NUMBERS)
    odd = X[:2].T.copy()
    odd[[0, 3]] = np.nan  # neither was missing in the table
    predictions = found.transform(odd).reshape(len(found.grids), 2, -1)
    is_odd = (np.isin(found.grids, [0, 3])).any(axis=1)
    assert is_odd.sum() == 2 + 5
    assert (predictions[is_odd] == 0).all()
    assert (predictions[~is_odd] != 0).all()
    unknown = X.T.copy()
    unknown[3] = 17
    [alone] = np.flatnonzero((found.grids == [3, NONE]).all(axis=1))
    known = found.transform(X.T).reshape(len(found.grids), 2, -1)[alone]
    predictions = found.transform(unknown).reshape(len(found.grids), 2, -1)[alone]
    np.testing.assert_allclose(predictions, known.mean(axis=1, keepdims=True).repeat(400, axis=1), atol=1e-6)


@pytest.mark.parametrize("counts_again", [False, True])
def test_unknown_levels_are_not_like_missing_ones(counts_again):
    rng = np.random.default_rng(0)
    codes = np.where(rng.random(800) < 0.2, np.nan, rng.integers(0, 12, 800))
    targets = np.where(np.isnan(codes), 5.0, codes % 2)
    targets = ((targets - targets.mean()) / targets.std())[None]
    samples, folds = np.column_stack([codes, rng.normal(size=800)]), np.arange(800) % 8
    found, _ = fit_once(samples, {0: 12}, targets, folds, np.random.RandomState(0))
    if counts_again:
        found = found.recounted(found.sums(samples.T, targets, np.ones(800)), are_logits=False, categorical={0})
    known, is_missing = found.transform(samples.T), np.isnan(codes)
    asked = found.transform(np.array([[12.0, np.nan], [0.0, 0.0]]))
    alone, pair = found.grids.tolist().index([0, NONE]), found.grids.tolist().index([0, 1])
    for grid, tolerance in ((alone, 0.01), (pair, 0.2)):
        assert abs(asked[grid, 0] - known[grid, ~is_missing].mean()) < tolerance
        assert abs(asked[grid, 1] - targets[0, is_missing].mean()) < 0.3


@pytest.mark.parametrize("step", [0.1, 0.01, 0.25, 1.0])
def test_new_values_of_a_grid_are_in_the_same_bin_when_rounded_to_float32(step):
    """The middle of two values of a grid may be one, too."""
    rng = np.random.default_rng(0)
    grid = np.arange(-300, 300) * step
    samples = rng.choice(grid, (100, 2))
    found, _ = fit_once(samples, {}, rng.integers(0, 2, 100), np.arange(100) % 8, np.random.RandomState(0))
    asked = np.stack([grid, grid])
    expected = found.transform(asked)
    assert len(np.unique(expected[0])) > 20
    np.testing.assert_array_equal(found.transform(asked.astype(np.float32)), expected)
    np.testing.assert_array_equal(found.transform(asked * (1 + 1e-14)), expected)


@pytest.mark.parametrize("count", [9, 2000])
def test_values_that_differ_by_rounding_are_in_the_same_bin(count):
    rng = np.random.default_rng(0)
    values = rng.integers(1, count, 1000) / 10
    samples = np.concatenate([values, values / 3 * 3, values * 0.1 / 0.1])
    assert len(np.unique(samples)) > len(np.unique(values)) * 1.2
    samples = np.stack([samples, samples], axis=1)
    found, _ = fit_once(samples, {}, rng.integers(0, 2, 3000), np.arange(3000) % 8, np.random.RandomState(0))
    predictions = found.transform(samples.T)
    assert len(np.unique(predictions)) > 5
    np.testing.assert_array_equal(predictions[:, :1000], predictions[:, 1000:2000])
    np.testing.assert_array_equal(predictions[:, :1000], predictions[:, 2000:])


# ---- In models -------------------------------------------------------------------------------------------------------


def odd_values(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A feature that is mostly 0, and whose other values each have their class, like a capital gain."""
    rng = np.random.default_rng(1)
    value = np.where(rng.random(count) < 0.5, 0, rng.integers(1, 60, count))
    noise = rng.normal(size=count)
    likes = np.random.default_rng(2).choice([-3, 3], 60)
    return np.column_stack([value * 137.0, noise]), (rng.random(count) < 1 / (1 + np.exp(-likes[value]))).astype(int)


def checkerboard(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    samples = rng.random((count, 6))
    return samples, (np.floor(4 * samples[:, :2]).sum(axis=1) % 2).astype(int)


@pytest.mark.parametrize(("make", "most"), [(odd_values, 0.3), (checkerboard, 0.35)])
def test_what_bins_know_is_learned(make, most):
    samples, y = make(3000)
    model = GLNClassifier(random_state=0).fit(samples[:2000], y[:2000])
    assert log_loss(y[2000:], model.predict_proba(samples[2000:])) < most


def test_a_continued_fit_keeps_its_bin_means():
    model = GLNClassifier(random_state=0, n_epochs=1).fit(X[:300], CLASSES[:300])
    before = fields_of(model.learner_.featurizer.bin_means)
    predictions = model.predict_proba(X)
    model.partial_fit(X[300:], CLASSES[300:])
    after = fields_of(model.learner_.featurizer.bin_means)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.abs(model.predict_proba(X) - predictions).max() > 1e-3


def test_contributions_add_up():
    frame = pd.DataFrame(X, columns=list("abcde")).astype({"d": "category"})
    model = GLNRegressor(random_state=0, n_epochs=2).fit(frame, NUMBERS.T)
    contributions, constant = model.explain(frame)
    assert contributions.shape == (400, 2, 5)
    np.testing.assert_allclose(contributions.sum(axis=2) + constant, model.predict(frame), atol=1e-4)
    assert (contributions[..., 4] == 0).all()


def test_of_many_features_the_best_ones_are_used():
    """A table of 3,000 features has too many pairs to list, and only what is used is kept."""
    rng = np.random.default_rng(5)
    samples = rng.normal(size=(200, 3000))
    y = (samples[:, 7] > 0).astype(int)
    found, predictions = fit_once(samples, {}, y, np.arange(200) % 8, np.random.RandomState(0))
    assert [7, NONE] in found.grids.tolist()
    assert len(found.grids) == predictions.shape[1] == 200
    used = np.isin(np.arange(3000), found.grids)
    assert (found.sizes[used] == 129).all()
    assert (found.sizes[~used] == 1).all()
    np.testing.assert_array_equal(found.transform(samples.T).shape, predictions.T.shape)


def test_features_without_values_are_no_obstacle():
    samples = np.column_stack([np.full(60, np.nan), np.arange(60.0), np.full(60, np.nan)])
    model = GLNClassifier(random_state=0, n_epochs=2).fit(samples, np.arange(60) > 30)
    assert model.learner_.featurizer.bin_means.grids.tolist() == [[1, NONE]]
    assert model.score(samples, np.arange(60) > 30) > 0.9


def test_states_that_do_not_fit_are_refused():
    found, _ = fitted(CLASSES)
    for name, changed in (
        ("values", found.values[1:]),
        ("grids", found.grids + 9),
        ("cells", found.cells + 1),
        ("ends", found.ends[1:]),
        ("sizes", -found.sizes),
    ):
        with pytest.raises(ValueError, match="bin_means"):
            as_in_a_file("bin_means", found, **{name: changed})
