"""Weights of samples and classes, and copies: losses and coverage are about as good as without them."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csr_array
from sklearn.datasets import make_classification, make_friedman1
from sklearn.metrics import log_loss

from gln.river import GLNClassifier as StreamClassifier
from gln.river import GLNRegressor as StreamRegressor
from gln.sklearn import GLNClassifier, GLNDensityClassifier, GLNRegressor

COIN = np.log(2)
NOISY = make_classification(2300, n_informative=5, flip_y=0.25, random_state=0)
FRIEDMAN = make_friedman1(2500, noise=2, random_state=0)
ENDS = (0.05, 0.95)


def loss_of(rows: np.ndarray, weights: Any = None) -> float:
    """Log-loss on new samples of a classifier of these rows out of 300."""
    X, y = NOISY
    model = GLNClassifier(random_state=0).fit(X[rows], y[rows], weights)
    return float(log_loss(y[300:], model.predict_proba(X[300:])))


@pytest.fixture(scope="module")
def usual() -> float:
    loss = loss_of(np.arange(300))
    assert loss < 0.6  # something can be learned
    return loss


@pytest.mark.parametrize(("weight", "tolerance"), [(2.0, 0.1), (50.0, 0.25)])
@pytest.mark.parametrize("kind", [StreamClassifier, StreamRegressor])
def test_a_weight_in_a_stream_is_about_so_many_samples(kind, weight, tolerance):
    rng = np.random.default_rng(0)
    one, many = (kind(layer_sizes=(8,), context_map_size=2, seed=0) for _ in range(2))
    for i in range(80):
        x = dict(zip("abc", rng.normal(size=3).tolist(), strict=True))
        y = x["a"] + x["b"] / 2 + 0.1 * rng.normal()
        y = bool(y > 0) if kind is StreamClassifier else y
        times = weight if i % 5 == 0 else 1.0
        one.learn_one(x, y, times)
        for _ in range(int(times)):
            many.learn_one(x, y)
    samples = [dict(zip("abc", row, strict=True)) for row in rng.normal(size=(40, 3)).tolist()]
    p, q = (np.array([predicted(model, x) for x in samples]) for model in (one, many))
    assert math.sqrt(np.mean((p - q) ** 2)) < tolerance


def predicted(model: Any, x: dict[str, float]) -> float:
    return model.predict_proba_one(x)[True] if isinstance(model, StreamClassifier) else model.predict_one(x)


@pytest.mark.parametrize("weight", [1e4, 1e6])
@pytest.mark.parametrize("kind", [StreamClassifier, StreamRegressor])
def test_no_weight_of_a_stream_overshoots(kind, weight):
    """One sample of many: its own target is predicted, and others stay within what they were."""
    rng, model = np.random.default_rng(1), kind(layer_sizes=(8,), context_map_size=2, seed=0)
    for _ in range(60):
        x = dict(zip("abc", rng.normal(size=3).tolist(), strict=True))
        model.learn_one(x, bool(x["a"] > 0) if kind is StreamClassifier else x["a"], rng.choice([1.0, weight]))
    for _ in range(20):
        x = dict(zip("abc", rng.normal(size=3).tolist(), strict=True))
        y = x["a"] > 0 if kind is StreamClassifier else x["a"]
        assert abs(predicted(model, x) - y) < (1.0 if kind is StreamClassifier else 0.5)


def test_a_table_three_times_over_has_the_loss_of_the_table(usual):
    assert loss_of(np.tile(np.arange(300), 3)) == pytest.approx(usual, abs=0.03)


def test_a_bootstrap_sample_has_the_loss_of_as_many_different_samples(usual):
    drawn = [np.random.default_rng(seed).integers(0, 300, 300) for seed in range(3)]  # the loss of one varies by 0.02
    losses = [loss_of(rows) for rows in drawn]
    assert np.mean(losses) < min(COIN, np.mean([loss_of(np.unique(rows)) for rows in drawn]) + 0.03)
    assert loss_of(np.arange(300), np.bincount(drawn[0], minlength=300)) == pytest.approx(losses[0], abs=1e-6)


@pytest.mark.parametrize(("kind", "method"), [(GLNClassifier, "predict_proba"), (GLNRegressor, "predict")])
def test_a_text_of_weight_2_is_two_texts(kind, method):
    rng = np.random.default_rng(0)
    words = ["good", "bad", "not", "very", *(f"w{i}" for i in range(99))]
    frame = pd.DataFrame({"text": [" ".join(rng.choice(words, 9)) for _ in range(150)], "x": rng.normal(size=150)})
    y = frame["text"].str.contains("good").to_numpy(int)
    weights = rng.integers(0, 3, 150)
    rows = np.arange(150).repeat(weights)
    small: dict[str, Any] = {"layer_sizes": (4,), "n_networks": 2, "random_state": 0, "text_features": ["text"]}
    model = kind(**small).fit(frame, y, weights, groups=np.arange(150))
    copies = kind(**small).fit(frame.iloc[rows], y[rows], groups=rows)
    predicted = getattr(model, method)(frame)
    np.testing.assert_allclose(predicted, getattr(copies, method)(frame), atol=1e-5)
    assert np.ptp(predicted) > 0.1


@pytest.mark.parametrize("how", ["class_weight", "copies"])
def test_balanced_rare_classes_are_predicted_better_than_by_a_coin(how):
    X, y = make_classification(5000, n_informative=6, weights=[0.95], flip_y=0.05, class_sep=1.5, random_state=0)
    rows = np.arange(600)
    assert 0.05 < y[rows].mean() < 0.09
    if how == "copies":
        rows = np.append(rows, np.flatnonzero(y[:600] == 1).repeat(12))
    balanced = "balanced" if how == "class_weight" else None
    model = GLNClassifier(class_weight=balanced, random_state=0).fit(X[rows], y[rows])
    of_classes = (1 / np.bincount(y[600:]))[y[600:]]
    assert log_loss(y[600:], model.predict_proba(X[600:]), sample_weight=of_classes) < 0.9 * COIN


@pytest.mark.slow
@pytest.mark.parametrize("how", [3, *(pytest.param(how, marks=pytest.mark.slow) for how in (10, "bootstrap"))])
def test_intervals_of_90_percent_contain_90_percent(how):
    X, y = FRIEDMAN
    rows, weights = np.arange(500), None
    if how == "bootstrap":
        rows = np.random.default_rng(0).integers(0, 500, 500)
    else:
        weights = np.full(500, how)
    covered, tolerance = [], 0.05 if how == "bootstrap" else 0.03  # one draw of samples varies, too
    for seed in range(3):  # that of one varies by 3 points
        model = GLNRegressor(random_state=seed, quantiles=ENDS).fit(X[rows], y[rows], weights)
        low, high = model.predict_quantiles(X[500:]).T
        covered.append(((low <= y[500:]) & (y[500:] <= high)).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=tolerance)


@pytest.mark.parametrize("shuffle", [True, False])
def test_copies_of_a_rare_category_do_not_leak_their_own_targets(shuffle):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"zip": rng.choice([f"z{i}" for i in range(300)], 3000), "x": rng.normal(size=3000)})
    y = rng.integers(0, 2, 3000)  # neither tells anything
    rows = np.tile(np.arange(600), 4)
    model = GLNClassifier(random_state=0, shuffle=shuffle).fit(frame.iloc[rows], y[rows])
    assert log_loss(y[600:], model.predict_proba(frame[600:])) == pytest.approx(COIN, abs=0.03)


# ---- Weights of 0 ----------------------------------------------------------------------------------------------------


def with_rows_of_no_weight() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Every third row has no weight, and a colour, a text and a number that no other row could have."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(90, 2)), columns=["a", "b"]).astype(object)
    frame["colour"] = rng.choice(["red", "green", "blue"], 90).astype(object)
    y = ((frame["a"] + frame["b"] > 0) ^ (frame["colour"] == "red")).to_numpy().astype(int)
    weights = np.where(np.arange(90) % 3 == 0, 0, rng.integers(1, 3, 90))
    frame.loc[weights == 0, "colour"] = "another"
    frame.loc[0, "a"], frame.loc[3, "b"], y[6:10:3] = np.inf, "text", 1 - y[6:10:3]
    return frame, y, weights


@pytest.mark.parametrize("form", [pd.DataFrame, pytest.param("list", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [(GLNClassifier, {"n_epochs": 2}), (GLNDensityClassifier, {}), (GLNRegressor, {"n_epochs": 2})],
)
def test_samples_of_weight_0_are_as_if_they_were_not_there(kind, options, form):
    frame, y, weights = with_rows_of_no_weight()
    rest = weights > 0
    X, few = (frame, frame[rest]) if form is pd.DataFrame else (frame.values.tolist(), frame[rest].values.tolist())
    chosen = "from_dtype" if form is pd.DataFrame else [2]
    own = {"layer_sizes": (8, 4), "backend": "numpy", "random_state": 0, "categorical_features": chosen, **options}
    first = {} if kind is GLNRegressor else {"classes": [0, 1]}
    for call, more in (("fit", {}), ("partial_fit", first)):
        given = y.tolist() if form == "list" else y
        model, expected = kind(**own), kind(**own)
        getattr(model, call)(X, given, sample_weight=weights.tolist(), **more)
        getattr(expected, call)(few, y[rest], sample_weight=weights[rest], **more)
        assert model.categories_ == expected.categories_
        assert "another" not in model.categories_[2]
        np.testing.assert_array_equal(model.predict(few), expected.predict(few))
        if kind is not GLNRegressor:
            np.testing.assert_array_equal(model.predict_proba(few), expected.predict_proba(few))


@pytest.mark.parametrize("form", [coo_array, csr_array, np.asarray])
def test_samples_of_weight_0_of_any_form(form):
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(60, 3)), rng.normal(size=(60, 2)), np.arange(60) % 2
    X[0] = np.inf
    model, expected = (GLNRegressor((4,), n_networks=1, n_epochs=1, random_state=0, backend="numpy") for _ in range(2))
    model.fit(form(X), pd.DataFrame(y), sample_weight=weights)
    expected.fit(X[1::2], y[1::2])
    np.testing.assert_array_equal(model.predict(X[1::2]), expected.predict(X[1::2]))


def test_a_class_without_weight_is_known_and_its_samples_are_not_learned():
    frame, y, weights = with_rows_of_no_weight()
    y[weights == 0] = 2
    own: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 1, "n_epochs": 2, "random_state": 0, "backend": "numpy"}
    by_sample = GLNClassifier(**own).fit(frame, y, sample_weight=weights > 0)
    by_class = GLNClassifier(**own, class_weight={2: 0}).fit(frame, y)
    balanced = GLNClassifier(**own, class_weight="balanced").fit(frame, y, sample_weight=weights > 0)
    rest = frame[weights > 0]
    for model in (by_sample, by_class, balanced):
        assert model.classes_.tolist() == [0, 1, 2]
        assert "another" not in model.categories_[2]
        assert model.predict_proba(rest)[:, 2].max() < 0.2
    np.testing.assert_array_equal(by_sample.predict_proba(rest), by_class.predict_proba(rest))
    stream = GLNClassifier(**own, class_weight={2: 0}).partial_fit(frame, y, classes=[0, 1, 2])
    assert "another" not in stream.categories_[2]


@pytest.mark.parametrize("learned", [0, 1])
def test_one_of_two_classes_may_have_no_weight(learned):
    numbers, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    model = GLNClassifier(n_networks=2, n_epochs=1, random_state=0, backend="numpy")
    assert (model.fit(numbers, y, sample_weight=y == learned).predict(numbers) == learned).all()


def test_without_any_weight_there_is_nothing_to_learn():
    frame, y, _ = with_rows_of_no_weight()
    for model in (GLNClassifier(backend="numpy"), GLNRegressor(backend="numpy")):
        before = dict(vars(model))
        with pytest.raises(ValueError, match="sample_weight, class_weight: expected at least one above zero, got none"):
            model.fit(frame, y, sample_weight=np.zeros(90))
        more = {"classes": [0, 1]} if isinstance(model, GLNClassifier) else {}
        model.partial_fit(frame, y, sample_weight=np.zeros(90), **more)
        assert vars(model) == before


# ---- Bad weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [5e-324, 1e-310, 1e300, 1e308])
def test_weights_whose_mean_overflows_are_refused(weight):
    frame, y, _ = with_rows_of_no_weight()
    for model in (GLNClassifier(backend="numpy"), GLNRegressor(backend="numpy")):
        # A framework may have set the processor to take subnormal numbers for zero.
        expected = r"^sample_weight, class_weight: expected (.* the largest from 1e-30|at least one above zero)"
        with pytest.raises(ValueError, match=expected):
            model.fit(frame[["colour"]], y, np.full(90, weight))
        assert not hasattr(model, "learner_")


@pytest.mark.parametrize("weights", [{0: 0}, {0: 1, 1: 1}, {"2": 0}, {"0": 2, "2": 2}])
def test_class_weights_are_those_of_classes(weights):
    frame, y, _ = with_rows_of_no_weight()
    model = GLNClassifier(class_weight=weights, backend="numpy")
    for learn, more in ((model.fit, {}), (model.partial_fit, {"classes": ["0", "1"]})):
        with pytest.raises(ValueError, match=r"^class_weight: expected keys among the classes \['0', '1'\], got "):
            learn(frame[["colour"]], y.astype(str), **more)
        assert not hasattr(model, "learner_")


@pytest.mark.parametrize("weights", [{"0": -1}, {"0": np.inf}, {"0": np.nan}, {"0": "a"}, {"0": 1e9}, {"0": 0, "1": 0}])
def test_class_weights_that_are_refused_are_named(weights):
    frame, y, _ = with_rows_of_no_weight()
    model = GLNClassifier(class_weight=weights, n_networks=1, n_epochs=1, backend="numpy")
    for learn, more in ((model.fit, {}), (model.partial_fit, {"classes": ["0", "1"]})):
        if weights["0"] != (1e9 if learn == model.fit else 0):  # a table is scaled, and a stream may be empty
            with pytest.raises(
                ValueError, match=r"^class_weight: expected (numbers from 0 to 1e|at least one above zero)"
            ):
                learn(frame[["colour"]], y.astype(str), **more)


def test_class_weights_may_name_classes_as_strings_and_classes_that_a_part_of_a_table_lacks():
    X, y = NOISY[0][:60], NOISY[1][:60]
    own: dict[str, Any] = {"layer_sizes": (4,), "n_networks": 1, "n_epochs": 1, "random_state": 0, "backend": "numpy"}
    expected = GLNClassifier(**own).fit(X, y, np.where(y == 1, 3, 1)).predict_proba(X)
    for weights in ({"1": 3}, {"0": 1, "1": 3, "2": 5, 0: 0}):
        model = GLNClassifier(**own, class_weight=weights).fit(X, y.astype(str))
        np.testing.assert_array_equal(model.predict_proba(X), expected)
