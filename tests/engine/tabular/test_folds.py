"""Folds: classes, copies and groups of rows in them, and which fold counts which."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gln.engine.tabular.checks import groups_of
from gln.engine.tabular.folds import FOLDS, LEFT_OUT, counted_folds, draw_folds, find_copies
from gln.sklearn import GLNClassifier, GLNRegressor

NOISY = make_classification(2300, n_informative=5, flip_y=0.25, random_state=0)


@pytest.fixture
def rng() -> np.random.Generator:  # one per test, because the tests of a process run in any order
    return np.random.default_rng(0)


def test_folds_have_as_many_samples_of_each_class_and_the_first_has_all(rng):
    classes = rng.permutation(np.repeat([0, 1, 2], [1, 9, 90]))
    folds = draw_folds(classes, np.arange(100), np.random.RandomState(0))
    counts = np.array([np.bincount(folds[classes == number], minlength=FOLDS) for number in range(3)])
    assert counts.sum(axis=1).tolist() == [1, 9, 90]
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert (counts[:, 0] > 0).all()
    np.testing.assert_array_equal(folds, draw_folds(classes, np.arange(100), np.random.RandomState(0)))
    assert (folds != draw_folds(classes, np.arange(100), np.random.RandomState(1))).any()


def test_copies_are_in_one_fold(rng):
    samples = rng.permutation(np.arange(200).repeat(rng.integers(1, 8, 200)))
    classes = np.where(samples < 3, 2, samples % 2)
    folds = draw_folds(classes, samples, np.random.RandomState(0))
    assert all(len(np.unique(folds[samples == sample])) == 1 for sample in range(200))
    counts = np.array([np.bincount(folds[classes == number], minlength=FOLDS) for number in range(3)])
    assert (np.ptp(counts, axis=1) <= 7).all()  # the most copies of a sample
    assert len(np.unique(folds[classes == 2])) == 3


def test_rare_classes_are_left_out_as_often_as_others():
    classes = np.repeat(np.arange(31), [300, *30 * [4]])
    folds = draw_folds(classes, np.arange(420), np.random.RandomState(0))
    left_out = np.bincount(classes[(folds > 0) & (folds <= LEFT_OUT)])
    assert left_out[0] == pytest.approx(300 * LEFT_OUT / FOLDS, abs=1)
    assert set(left_out[1:].tolist()) == {1, 2}
    assert left_out[1:].sum() == 30 * 4 * LEFT_OUT / FOLDS
    assert np.ptp(np.bincount(folds)) <= 1


def test_every_network_has_seen_every_class_of_groups(rng):
    """Whatever the groups: a class of one group is never left out, and one of several not as a whole."""
    groups = rng.integers(0, 20, 200)
    classes = np.where(groups == 3, 2, np.where(np.isin(groups, [5, 6]), 3, rng.integers(0, 2, 200)))
    folds = draw_folds(classes, groups, np.random.RandomState(0))
    assert all(len(np.unique(folds[groups == group])) == 1 for group in range(20))
    assert all(np.unique(classes[folds != fold]).tolist() == [0, 1, 2, 3] for fold in range(1, LEFT_OUT + 1))


@pytest.mark.parametrize("left_out", range(1, FOLDS + 1))
def test_no_fold_that_is_left_out_and_another_one_count_each_other(left_out):
    counted, folds = counted_folds(left_out), np.arange(1, 1 + left_out) % FOLDS
    both = counted & counted.T
    assert not both[folds].any()
    assert not counted.diagonal().any()
    kept = np.setdiff1d(np.arange(FOLDS), folds)
    assert not counted[np.ix_(kept, folds)].any()
    assert (counted[np.ix_(kept, kept)] | np.eye(len(kept), dtype=bool)).all()
    assert counted[np.ix_(folds, kept)].all()


# ---- Copies and repeated measurements --------------------------------------------------------------------------------


def of_bits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of five bits, and a class that is a random function of them: each of 32 rows occurs many times."""
    rng = np.random.default_rng(1)
    X = rng.integers(0, 2, (count, 5)).astype(float)
    return X, (rng.random(32) < 0.5)[(X @ 2 ** np.arange(5)).astype(int)].astype(int)


@pytest.mark.parametrize("weight", [None, 5])
def test_a_table_of_few_different_rows_is_learned(weight):
    X, y = of_bits(2000)
    model = GLNClassifier(random_state=0).fit(X[:600], y[:600], None if weight is None else np.full(600, weight))
    assert log_loss(y[600:], model.predict_proba(X[600:])) < 0.01
    np.testing.assert_array_equal(find_copies(X[:600], y[:600]), np.arange(600))
    levels = np.concatenate([X, 1 - X], axis=1)  # a column per level makes no difference
    np.testing.assert_array_equal(find_copies(levels[:600], y[:600]), np.arange(600))


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_copies_are_found_by_their_values(form):
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(100, 6)), 2) * [1, 1, 1, 1, 1e20, 1]
    X[rng.random(X.shape) < 0.1] = np.nan
    X[rng.random(X.shape) < 0.1] = 0
    y, rows = rng.integers(0, 2, 100), rng.integers(0, 100, 300)
    found = find_copies(form(X[rows]), y[rows])
    np.testing.assert_array_equal(rows[found], rows)
    assert len(np.unique(found)) == len(np.unique(rows))


def test_equal_features_with_different_targets_are_no_copies():
    X, y = np.random.default_rng(0).normal(size=(100, 4)), np.zeros((2, 100))
    X[20:40] = X[0:20]
    expected = np.arange(100)
    expected[20:40] = np.arange(20)
    np.testing.assert_array_equal(find_copies(X, y), expected)
    y[1, 20] = 1
    np.testing.assert_array_equal(find_copies(X, y), np.arange(100))  # the first two were measured again


def levels_of(count: int, rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Names, of which each has a number and a value."""
    rng = np.random.default_rng(seed)
    codes, values = rng.integers(0, count, rows), rng.normal(size=count)
    return pd.DataFrame({"code": codes, "label": [f"n{code}" for code in codes]}), values[codes]


@pytest.mark.parametrize("columns", [["label"], ["code", "label"]])
def test_levels_that_are_measured_several_times_are_learned(columns, recwarn):
    frame, y = levels_of(40, 800)
    model = GLNRegressor(random_state=0).fit(frame[columns][:400], y[:400])
    assert model.score(frame[columns][400:], y[400:]) > 0.9
    assert model.oob_score_ > 0.9
    assert not recwarn


@pytest.mark.parametrize("columns", [False, True])
def test_answers_to_a_survey_are_no_copies(columns):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(1000, 6)) + rng.normal(size=(1000, 1)) > 0).astype(float) + rng.integers(0, 2, (1000, 6))
    y = (rng.random(1000) < 1 / (1 + np.exp(6 - X.sum(axis=1)))).astype(int)
    X = np.concatenate([np.equal(X, level) for level in range(3)], axis=1).astype(float) if columns else X
    np.testing.assert_array_equal(find_copies(X, y), np.arange(1000))


# ---- Groups ----------------------------------------------------------------------------------------------------------


def test_a_warning_says_how_many_copies_were_found_and_groups_say_otherwise():
    X, y = NOISY
    rows = np.tile(np.arange(50), 2)
    small: dict[str, Any] = {"n_networks": 2, "n_epochs": 1, "random_state": 0}
    with pytest.warns(UserWarning, match=r"50 of 100 rows equal others .* pass groups=np.arange\(len\(y\)\)"):
        model = GLNClassifier(**small).fit(X[rows], y[rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_groups = GLNClassifier(**small).fit(X[rows], y[rows], groups=[f"row {row}" for row in rows])
        independent = GLNClassifier(**small).fit(X[rows], y[rows], groups=np.arange(100))
        GLNClassifier(**small).fit(X[:100], y[:100])
    np.testing.assert_array_equal(model.predict_proba(X), of_groups.predict_proba(X))
    assert (model.predict_proba(X) != independent.predict_proba(X)).any()


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(59), "groups: expected 60 labels, got 59, of which 0 are NaN or None"),
        ([*range(7), None, *range(52)], "groups: expected 60 labels, got 60, of which 1 are NaN or None"),
        (np.where(np.arange(60) == 3, np.nan, 1), "groups: expected 60 labels, got 60, of which 1 are NaN or None"),
        (np.zeros((60, 1)), "groups: expected a label for each row .*, got unhashable type"),
        (5, "groups: expected a label for each row .*, got 'int' object is not iterable"),
        ([[1]] * 60, "groups: expected a label for each row .*, got unhashable type"),
        (TimeSeriesSplit(), r"a splitter is the cv of cross_val_score\), got 'TimeSeriesSplit' object is not iterable"),
        (["a"] * 60, "groups: expected at least two"),
    ],
)
def test_groups_that_cannot_be_used(kind, groups, message):
    X, y = NOISY
    with pytest.raises(ValueError, match=message):
        kind(backend="numpy").fit(X[:60], y[:60], groups=groups)


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_rows_of_a_group_are_left_out_together(kind):
    """The target is that of the group, which features tell, but not for new groups."""
    rng = np.random.default_rng(0)
    people = rng.integers(0, 40, 400)
    X = rng.normal(size=(40, 3))[people] + rng.normal(size=(400, 3)) / 100
    y, labels = rng.permutation(40)[people] % 2, [(f"p{person}", 1) for person in people]
    assert kind(random_state=0).fit(X, y).oob_score_ > 0.9
    assert kind(random_state=0).fit(X, y, groups=labels).oob_score_ < 0.7


@pytest.mark.parametrize("count", [2, 3, 7])
def test_fewer_groups_than_folds(count):
    X, y = NOISY
    groups, weights = np.arange(200) % count, (np.arange(200) % 11 > 0).astype(float)
    for model in (GLNClassifier(random_state=0), GLNRegressor(random_state=0, n_epochs=2, density=True)):
        with pytest.warns(UserWarning, match=f"groups: {count}, so there are {count} folds instead of 8"):
            model.fit(X[:200], y[:200], sample_weight=weights, groups=groups)
        assert model.score(X[200:], y[200:]) > (0.65 if model.n_epochs is None else 0)
        assert np.isfinite(model.oob_score_)


def test_groups_are_routed():
    X, y = NOISY
    with config_context(enable_metadata_routing=True):
        model = make_pipeline(StandardScaler(), GLNClassifier(n_networks=2, n_epochs=1).set_fit_request(groups=True))
        with pytest.raises(ValueError, match="groups: expected at least two"):
            model.fit(X[:60], y[:60], groups=np.zeros(60))


@pytest.mark.parametrize("shuffle", [True, False])
def test_levels_of_a_group_do_not_leak_their_targets(shuffle):
    """Every level is of one group, and its target is a coin of the group."""
    rng = np.random.default_rng(0)
    groups, coins = rng.integers(0, 100, 800), rng.integers(0, 2, 100)
    frame, y = pd.DataFrame({"name": [f"n{group}" for group in groups]}), coins[groups]
    model = GLNClassifier(random_state=0, shuffle=shuffle).fit(frame, y, groups=groups)
    known = ~np.isnan(model.oob_decision_function_[:, 0])
    assert log_loss(y[known], model.oob_decision_function_[known]) == pytest.approx(np.log(2), abs=0.05)


# ---- Time ------------------------------------------------------------------------------------------------------------


def walk(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """A class that follows a random walk, so that only neighbouring days tell it, with the days in random order."""
    steps = np.cumsum(rng.normal(size=800)) / 4
    y = (np.sin(steps) > 0).astype(int)
    days = pd.date_range("2020-01-01", periods=800)
    order = rng.permutation(800)
    X = pd.DataFrame({"day": days, "noise": rng.normal(size=800)}).iloc[order].reset_index(drop=True)
    return X, y[order]


def test_blocks_of_time_are_left_out(rng):
    X, y = walk(rng)
    neighbours = GLNClassifier(random_state=0).fit(X, y)
    by_name = GLNClassifier(random_state=0).fit(X, y, time="day")
    assert neighbours.oob_score_ > by_name.oob_score_ + 0.1
    blocks = np.argsort(np.argsort(X["day"])) * FOLDS // 800
    of_groups = GLNClassifier(random_state=0).fit(X, y, groups=blocks)
    np.testing.assert_array_equal(by_name.predict_proba(X), of_groups.predict_proba(X))
    for time in (X["day"].dt.strftime("%d.%m.%Y").tolist(), X["day"].astype("i8").to_numpy()):
        model = GLNClassifier(random_state=0).fit(X, y, time=time)
        np.testing.assert_array_equal(model.predict_proba(X), by_name.predict_proba(X))


def test_rows_of_one_time_stay_together():
    times = [3, 1, 1, 1, 1, 1, 1, 2]
    assert groups_of(np.zeros((8, 1)), None, times).tolist() == [7, 0, 0, 0, 0, 0, 0, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": np.arange(59)}, "inconsistent numbers of samples: .60, 59."),
        ({"time": ["yesterday"] * 60}, "time: expected a number for each row, .* got 'yesterday' in row 0"),
        ({"time": [*range(30), None, *range(29)]}, "time: expected a number for each row, .* got nan in row 30"),
        ({"time": "date"}, "time: expected numbers or dates, or the name of a column of X, got 'date'"),
        ({"time": np.zeros(60)}, "time: expected at least two times"),
        ({"time": np.arange(60), "groups": np.arange(60)}, "time: expected None beside groups"),
    ],
)
def test_times_that_cannot_be_used(options, message):
    X, y = NOISY
    with pytest.raises(ValueError, match=message):
        GLNClassifier().fit(X[:60], y[:60], **options)
