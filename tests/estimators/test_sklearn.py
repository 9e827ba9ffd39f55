"""The scikit-learn classifier: its conventions, its accuracy at the defaults, streams, and every backend."""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import doctest
import functools
import importlib
import importlib.util
import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_state, backend_name, learner_state, watch_rates
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - enables the next import
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, TunedThresholdClassifierCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import gln.engine.tabular.fit
import gln.sklearn
from gln.engine.model.sample_weights import indices_of_table
from gln.features import piecewise_linear, with_distances
from gln.sklearn import GLNClassifier, GLNRegressor

Data = tuple[np.ndarray, np.ndarray]
IRIS: Data = load_iris(return_X_y=True)
CANCER: Data = load_breast_cancer(return_X_y=True)


def shuffled(data: Data) -> Data:
    order = np.random.default_rng(0).permutation(len(data[0]))
    return data[0][order], data[1][order]


def streamed(parts: int = 1, **arguments: Any) -> GLNClassifier:
    """A classifier that has seen a stream of 150 irises, in this many parts, each predicted before it is learned."""
    X, y = shuffled(IRIS)
    model = GLNClassifier(random_state=0, **arguments)
    for rows in np.array_split(np.arange(len(X)), parts):
        model.partial_fit_predict_proba(X[rows], y[rows], classes=[0, 1, 2])
    return model


@pytest.fixture(scope="module")
def of_iris() -> GLNClassifier:
    """Trained once for all tests, on all irises; tests must not train it further."""
    return GLNClassifier(random_state=0).fit(*IRIS)


@pytest.fixture(scope="module")
def of_cancer() -> GLNClassifier:
    """The same for two classes, trained on the first 400 samples in a random order."""
    X, y = shuffled(CANCER)
    return GLNClassifier(random_state=0).fit(X[:400], y[:400])


@pytest.mark.slow
@parametrize_with_checks([GLNClassifier((4, 2), n_networks=2)])
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([GLNClassifier()])
def test_conventions_of_scikit_learn_at_the_defaults(estimator, check):
    check(estimator)


def test_docstring():
    assert doctest.testmod(gln.sklearn).failed == 0


# ---- Accuracy at the defaults, on unscaled features ------------------------------------------------------------------


# The lowest accuracy of 20 runs, of three for digits, minus half a point.
@pytest.mark.parametrize(
    ("load", "least"),
    [
        pytest.param(load_iris, 94.1, id="iris"),
        pytest.param(load_wine, 95.0, id="wine", marks=pytest.mark.slow),
        pytest.param(load_breast_cancer, 96.8, id="cancer"),
        pytest.param(load_digits, 94.2, id="digits", marks=pytest.mark.slow),
    ],
)
def test_accuracy(load, least):
    scores = cross_val_score(GLNClassifier(random_state=0), *load(return_X_y=True), cv=5)
    assert 100 * scores.mean() >= least


def test_probabilities_are_calibrated(of_cancer):
    X, y = shuffled(CANCER)
    p = of_cancer.predict_proba(X[400:])[:, 1]
    assert abs(p.mean() - y[400:].mean()) < 0.03
    assert -np.log(np.where(y[400:] == 1, p, 1 - p)).mean() < 0.15


def test_rates_fall_in_fit_and_a_stream_may_follow(monkeypatch):
    rates = watch_rates(monkeypatch)
    model = GLNClassifier(n_epochs=5, n_networks=5, random_state=0, backend="numpy").fit(*IRIS)
    assert model.learning_rate_ == 3
    # Both rates are tried, with encodings first. The second one stops after a third of the passes, as it is behind.
    tried = {(9, 9, 9, 3, 3): 5, (0.9, 0.9, 0.9, 0.3, 0.3): 2}
    expected = [
        first + (0.01 - first) * epoch / 5
        for firsts, epochs in tried.items()
        for epoch in range(epochs)
        for first in firsts
    ]
    last = [0.3 * first for first in (9, 9, 9, 3, 3)]  # of the last pass, over all rows
    np.testing.assert_allclose(rates, expected + last, rtol=1e-6)
    for network in model.glns_:
        assert network.has_default_rate
        assert network.learning_rate(9000) == pytest.approx(np.sqrt(network.config.input_size + 1) / 2)  # with the bias
    steps = [network.step for network in model.glns_]
    model.partial_fit(*IRIS)
    assert [network.step for network in model.glns_] == [step + 150 for step in steps]
    monkeypatch.undo()
    assert GLNClassifier(partial_learning_rate=0.5, n_epochs=1).fit(*IRIS).glns_[0].learning_rate == 0.5


def test_networks_differ_and_the_logits_of_each_kind_are_averaged(of_iris):
    featurizer, z = of_iris.learner_.featurizer, of_iris.standardizer_.transform(IRIS[0].T)
    encoded = piecewise_linear(z, featurizer.pieces), featurizer.bin_means.transform(IRIS[0].T), with_distances(z)
    inputs = [with_distances(z), np.concatenate(encoded)]
    p = np.array([network.predict(inputs[i // 6], z) for i, network in enumerate(of_iris.glns_)], np.float64)
    assert p.shape == (12, 3, 150)
    assert np.abs(p - p[0]).max(axis=(1, 2))[1:].min() > 1e-3
    means = (np.log(p) - np.log1p(-p)).reshape(2, 6, 3, 150).mean(axis=1)
    weights, offsets = of_iris.learner_.means.weighted_sum()
    plain, encoded = (6 * weight for weight in weights[::6])
    assert 0 <= min(plain, encoded) < max(plain, encoded) <= 3
    expected = (plain * means[0] + encoded * means[1]).T + offsets
    np.testing.assert_allclose(of_iris.decision_function(IRIS[0]), expected)
    assert len(GLNClassifier(n_networks=2, n_epochs=1).fit(*IRIS).glns_) == 2
    assert len(streamed().glns_) == 3


def test_even_the_most_confident_probabilities_differ(of_cancer):
    X, _ = shuffled(CANCER)
    p = of_cancer.predict_proba(X[400:])[:, 1]
    assert len(np.unique(p)) > 0.95 * len(p)
    assert 0 < p.min() < 0.002 < 0.998 < p.max() < 1


# ---- Weights ---------------------------------------------------------------------------------------------------------


def weighted_cancer(**arguments: Any) -> tuple[GLNClassifier, np.ndarray, np.ndarray, np.ndarray]:
    X, y = shuffled(CANCER)
    small: dict[str, Any] = {"layer_sizes": [8, 4], "n_networks": 6, "random_state": 0, "backend": "numpy"}
    model = GLNClassifier(**small | arguments)
    return model, X[:120], y[:120], np.random.default_rng(0).integers(0, 4, 120)


@pytest.mark.parametrize("shuffle", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_weight_of_two_is_a_sample_twice_in_fit(shuffle):
    model, X, y, weights = weighted_cancer(shuffle=shuffle)
    twice = clone(model).fit(X.repeat(weights, axis=0), y.repeat(weights)).predict_proba(X)
    np.testing.assert_allclose(model.fit(X, y, sample_weight=weights).predict_proba(X), twice, atol=1e-6)


def test_weights_in_partial_fit_are_those_of_the_samples_however_these_are_grouped():
    model, X, y, weights = weighted_cancer()
    whole, parts = clone(model), clone(model)
    whole.partial_fit(X[weights > 0], y[weights > 0], classes=[0, 1], sample_weight=weights[weights > 0])
    for part in np.split(np.arange(120), [1, 2, 50]):
        parts.partial_fit(X[part], y[part], classes=[0, 1], sample_weight=weights[part])
    for one, other in zip(parts.glns_, whole.glns_, strict=True):  # the last neuron learns from what parts said
        assert_same_state(one, other, rtol=1e-4, atol=1e-5)
    model.partial_fit(X[weights > 0], y[weights > 0], classes=[0, 1])
    assert np.abs(model.predict_proba(X) - whole.predict_proba(X)).max() > 0.01


def test_a_weight_of_zero_changes_nothing():
    model, X, y, _ = weighted_cancer()
    model.partial_fit(X, y, classes=[0, 1])
    before = learner_state(model.learner_)
    model.partial_fit(1e6 * X, 1 - y, sample_weight=np.zeros(120))
    assert_same_state(learner_state(model.learner_), before)
    for call in (model.partial_fit, model.fit):
        for weights, message in (
            (-np.ones(120), "numbers of at least 0, got -1"),
            (np.ones(3), r"shape \(120,\), got"),
        ):
            with pytest.raises(ValueError, match=f"sample_weight: expected {message}"):
                call(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="from 0 to 1000000 in a stream, got 1000001"):
        model.partial_fit(X, y, sample_weight=np.full(120, 1_000_001))
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(X, y, sample_weight=np.full(120, np.nan))
    assert_same_state(learner_state(model.learner_), before)


@pytest.mark.parametrize("kind", [sparse.csr_array, np.float32], ids=["sparse", "float32"])
def test_the_same_numbers_are_learned_in_the_same_order(kind):
    X, y = IRIS[0].astype(np.float32).astype(np.float64), IRIS[1].copy()
    X[:, 1] *= X[:, 1] > 3  # zeros, which a sparse array does not store
    X[::7, 2] = np.nan
    model = GLNClassifier([4, 2], n_networks=1, n_epochs=1, backend="numpy", random_state=0)
    given = kind(X) if kind is sparse.csr_array else X.astype(kind)
    expected, p = model.fit(X, y).predict_proba(X), clone(model).fit(given, y).predict_proba(X)
    np.testing.assert_allclose(p, expected, atol=1e-5)


def test_a_weight_below_one_is_a_fraction_of_a_step():
    model, X, y, _ = weighted_cancer(partial_learning_rate=0.5, n_networks=1, n_epochs=1)
    weights = np.full(120, 0.5)
    weights[-1] = 1.0
    half, expected = (clone(model).fit(X, y) for _ in range(2))  # otherwise linear models, too, would learn the stream
    half.partial_fit(X, y, sample_weight=weights)
    expected.set_params(partial_learning_rate=0.25).partial_fit(X[:-1], y[:-1])
    expected.set_params(partial_learning_rate=0.5).partial_fit(X[-1:], y[-1:])
    assert_same_state(half.glns_[0], expected.glns_[0], rtol=1e-5, atol=1e-7)
    assert half.glns_[0].learning_rate == 0.5


def test_equal_weights_are_the_same_as_none():
    for count in range(2, 200):  # their mean is rounded, so they are scaled to nearly one
        weights = np.full(count, 1 / count)
        indices, step_sizes = indices_of_table(np.zeros((count, 1)), np.zeros(count), weights, shuffle=True)
        assert len(indices) == count
        assert (step_sizes == 1).all()
    weights = np.array([0.5, 1.0, 2.1])
    indices, step_sizes = indices_of_table(np.zeros((3, 1)), np.zeros(3), weights, shuffle=False)
    assert indices.tolist() == [0, 1, 2, 2, 2]
    np.testing.assert_allclose(step_sizes, [0.5, 1, 0.7, 0.7, 0.7])


@pytest.mark.slow
def test_class_weights(of_cancer):
    model, X, y, _ = weighted_cancer()
    counts = np.bincount(y)
    balanced = clone(model).set_params(class_weight="balanced").fit(X, y).predict_proba(X)
    given = clone(model).set_params(class_weight=dict(enumerate(60 / counts))).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(balanced, given, atol=1e-6)
    by_sample = clone(model).fit(X, y, sample_weight=(60 / counts)[y]).predict_proba(X)
    np.testing.assert_allclose(balanced, by_sample, atol=1e-6)
    doubled = clone(model).set_params(class_weight={1: 2}).partial_fit(X, y, classes=[0, 1]).predict_proba(X)
    by_sample = clone(model).partial_fit(X, y, classes=[0, 1], sample_weight=1 + y).predict_proba(X)
    np.testing.assert_allclose(doubled, by_sample, atol=1e-6)
    with pytest.raises(ValueError, match="class_weight: expected a dict or None in partial_fit, got 'balanced'"):
        model.set_params(class_weight="balanced").partial_fit(X, y, classes=[0, 1])


# ---- Streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 150])
def test_a_stream_in_parts_is_the_stream_in_one(parts):
    whole, cut = streamed(), streamed(parts)
    np.testing.assert_allclose(cut.predict_proba(IRIS[0]), whole.predict_proba(IRIS[0]), atol=1e-3)
    assert cut.glns_[0].step == 150
    assert whole.score(*IRIS) > 0.9


def test_a_stream_longer_than_a_chunk(monkeypatch):
    whole = streamed()
    monkeypatch.setattr(gln.engine.batches, "CHUNK", 30)
    cut = streamed()
    np.testing.assert_allclose(cut.predict_proba(IRIS[0]), whole.predict_proba(IRIS[0]), atol=1e-3)


def test_partial_fit_continues_after_fit():
    X, y = shuffled(IRIS)
    model = GLNClassifier(random_state=0).fit(X[:100], y[:100])
    steps = [network.step for network in model.glns_]
    model.partial_fit(X[100:], y[100:])
    assert [network.step for network in model.glns_] == [step + 50 for step in steps]
    assert model.standardizer_.count.tolist() == [150] * 4
    assert model.fit(X[:100], y[:100]).glns_[0].step == steps[0]  # from scratch


def test_a_rate_set_between_parts_is_that_of_the_next():
    X, y = shuffled(IRIS)
    model = streamed(backend="numpy")
    before = learner_state(model.learner_)
    for rate in (-1, lambda t: 1.0 if t < 200 else np.nan):  # which fails far into the stream
        with pytest.raises(ValueError, match="learning_rate"):
            model.set_params(partial_learning_rate=rate).partial_fit(X, y)
    assert_same_state(learner_state(model.learner_), before)
    model.set_params(partial_learning_rate=0.0).partial_fit(X, y)
    after = learner_state(model.learner_)
    assert after["0 step"] == 300
    for name in ("0 weights.1", "0 weights.2"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    network = model.set_params(partial_learning_rate=None).partial_fit(X, y).glns_[0]
    assert network.learning_rate(9000) == pytest.approx(np.sqrt(network.config.input_size + 1) / 2)
    assert not np.array_equal(learner_state(model.learner_)["0 weights.1"], before["0 weights.1"])


def with_infinity(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X[3, 1] = np.inf
    return X


@pytest.mark.parametrize(
    ("change", "labels", "classes", "message"),
    [
        pytest.param(with_infinity, [0, 1, 2], None, "infinity", id="infinity"),
        pytest.param(lambda X: X[:, :3], [0, 1, 2], None, "3 features", id="too few features"),
        pytest.param(lambda X: X * 1e38, [0, 1, 2], None, "too large", id="too large"),
        pytest.param(lambda X: X[:-1], [0, 1, 2], None, "inconsistent numbers", id="too many labels"),
        pytest.param(lambda X: X, [0.5, 1.2, 2.0], None, "continuous", id="no classes"),
        pytest.param(lambda X: X, ["a", "b", "c"], None, "of the type of", id="labels of another type"),
        pytest.param(
            lambda X: X, np.array(["a", 1, 2], object), None, "y: expected labels of one type", id="labels of two types"
        ),
        pytest.param(lambda X: X, np.zeros(3, "V4"), None, "y: expected numbers or labels, got records", id="records"),
        pytest.param(lambda X: X, [0, 1, 2], ["a", "b"], "of the type of", id="classes of another type"),
    ],
)
def test_bad_input_changes_nothing(change, labels, classes, message):
    model = streamed()
    before = learner_state(model.learner_)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(change(IRIS[0]), np.repeat(labels, 50), classes=classes)
    assert_same_state(learner_state(model.learner_), before)


def of_frame(kind: Any, **arguments: Any) -> tuple[Any, pd.DataFrame, np.ndarray]:
    """A model of three colours and a number, and what it learned. An eighth of the colours is missing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": rng.choice(["red", "green", "blue"], 200), "x": rng.normal(size=200)})
    y = ((frame["colour"] == "red") ^ (frame["x"] > 1)).to_numpy().astype(int)
    model = kind(layer_sizes=(8, 4), n_networks=2, backend="numpy", random_state=0, **arguments)
    return model.fit(frame, y), frame, y


def attributes(model: Any) -> dict[str, Any]:
    """Everything that a model knows, by name: the objects themselves, and copies of what they hold."""
    other = "learner_", "_left_out"  # the last refers to the networks of the first
    held = {name: copy.deepcopy(value) for name, value in vars(model).items() if name not in other}
    return {"dict": dict(vars(model)), "held": held, "state": learner_state(model.learner_)}


def assert_unchanged(model: Any, before: dict[str, Any]) -> None:
    after = attributes(model)
    assert after["dict"].keys() == before["dict"].keys()
    assert all(after["dict"][name] is value for name, value in before["dict"].items())
    for name, value in before["held"].items():
        np.testing.assert_array_equal(after["held"][name], value, err_msg=name)
    assert_same_state(after["state"], before["state"])


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
@pytest.mark.parametrize(
    ("change", "labels"),
    [
        pytest.param(lambda frame: frame.assign(colour=frame["colour"] + "ish", x=np.inf), None, id="infinity"),
        pytest.param(lambda frame: frame.assign(x=[[1.0]] * len(frame)), None, id="lists"),
        pytest.param(lambda frame: frame.assign(colour="pink", x=frame["x"]), np.nan, id="NaN in y"),
        pytest.param(lambda frame: frame[["colour"]].assign(colour="pink"), "one too few", id="other features"),
    ],
)
def test_a_model_is_as_before_after_an_error(kind, change, labels):
    model, frame, y = of_frame(kind)
    before, p = attributes(model), model.predict(frame)
    bad = {None: y, "one too few": y[:-1]}.get(labels, np.where(np.arange(200) < 150, y, np.nan))
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"column 'x'|y contains NaN|inconsistent|feature"):
            call(change(frame), bad)
        assert_unchanged(model, before)
    np.testing.assert_array_equal(model.predict(frame), p)


def test_a_classifier_is_as_before_after_a_fit_of_one_class_or_weights_that_are_refused():
    model, frame, y = of_frame(GLNClassifier)
    before, other = attributes(model), frame.assign(colour=frame["colour"].str.upper())
    refused = [(model.fit, np.zeros(200), None), (model.fit, y, -np.ones(200)), (model.partial_fit, y, -np.ones(200))]
    for call, labels, weights in refused:
        with pytest.raises(ValueError, match=r"one class|at least 0"):
            call(other, labels, sample_weight=weights)
        assert_unchanged(model, before)


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_a_model_is_as_before_after_an_interruption(kind, monkeypatch):
    model, frame, y = of_frame(kind)
    before = attributes(model)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gln.engine.tabular.fit, "out_of_fold", interrupt)  # when the networks have been trained
    with pytest.raises(KeyboardInterrupt):
        model.fit(frame[["colour"]].assign(colour=frame["colour"].str.upper()), y)
    assert_unchanged(model, before)


@pytest.mark.parametrize(("classes", "kind"), [([0, 1, 2], float), (list("abc"), str), (list("abc"), object)])
def test_labels_of_another_type_that_are_equal(classes, kind):
    labels = np.array(classes)[IRIS[1]].astype(kind)
    model = GLNClassifier([4], random_state=0).partial_fit(IRIS[0][:75], labels[:75], classes=classes)
    model.partial_fit(IRIS[0][75:], labels[75:])
    assert model.glns_[0].step == 150
    assert set(model.predict(IRIS[0])) <= set(classes)


def test_no_table_with_weights():
    with pytest.raises(ValueError, match="Expected 2D array"):
        GLNClassifier().fit(None, IRIS[1], np.ones(150))


def test_first_call_needs_all_classes():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        GLNClassifier().partial_fit(*IRIS)
    with pytest.raises(ValueError, match="one class"):
        GLNClassifier().partial_fit(IRIS[0][:50], IRIS[1][:50], classes=[0])
    with pytest.raises(ValueError, match="not in classes"):
        GLNClassifier().partial_fit(*IRIS, classes=[0, 1])


@pytest.mark.parametrize(
    "classes",
    [[], [0, 1, 2, None], [0, 1, 2, "a"], [0, 1, 2, float("nan")], [0.5, 1, 2], [[0, 1, 2]], 3, "012"],
    ids=repr,
)
def test_classes_that_are_no_labels(classes):
    """Sorting them as NumPy does would fail for some, and turn the numbers beside text into text."""
    with pytest.raises(ValueError, match="classes: expected labels that are all text, all bools or all integers, got "):
        GLNClassifier().partial_fit(*IRIS, classes=classes)


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        pytest.param(with_infinity, [0, 1, 2], id="infinity"),
        pytest.param(lambda X: X, [0, 1], id="a class that was not announced"),
    ],
)
def test_not_fitted_if_the_first_samples_were_refused(change, classes):
    X, y = IRIS
    model = GLNClassifier(layer_sizes=[4])
    with pytest.raises(ValueError, match=r"infinity|not in classes"):
        model.partial_fit(change(X), y, classes=classes)
    for call in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(NotFittedError):
            call(X)
    assert model.partial_fit(X[:, :2], y, classes=[0, 1, 2]).predict(X[:, :2]).shape == (150,)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"layer_sizes": [0]}, ValueError, id="empty layer"),
        pytest.param({"backend": "theano"}, ValueError, id="no backend"),
        pytest.param({"n_networks": 0}, ValueError, id="no network"),
        pytest.param({"n_epochs": 0}, ValueError, id="no epoch"),
        pytest.param({"n_epochs": 1.5}, TypeError, id="half an epoch"),
        pytest.param({"learning_rate": -1}, ValueError, id="negative rate"),
        pytest.param({"shuffle": "no"}, ValueError, id="shuffle is text"),
        pytest.param({"verbose": None}, ValueError, id="verbose is None"),
    ],
)
def test_bad_parameters(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        GLNClassifier(**arguments).fit(*IRIS)


# ---- Input and output ------------------------------------------------------------------------------------------------


def test_two_classes_and_more(of_cancer, of_iris):
    assert of_cancer.decision_function(CANCER[0]).shape == (569,)
    assert of_iris.decision_function(IRIS[0]).shape == (150, 3)
    for model, (X, _) in ((of_cancer, CANCER), (of_iris, IRIS)):
        p = model.predict_proba(X)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert (p > 0).all()
        np.testing.assert_array_equal(model.predict(X), p.argmax(axis=1))
    np.testing.assert_array_equal(of_cancer.decision_function(CANCER[0]) > 0, of_cancer.predict(CANCER[0]) == 1)
    np.testing.assert_array_equal(of_iris.decision_function(IRIS[0]).argmax(axis=1), of_iris.predict(IRIS[0]))


def test_labels_and_frames(of_iris):
    names = np.array(["setosa", "versicolor", "virginica"])
    frame = pd.DataFrame(IRIS[0], columns=["a", "b", "c", "d"])
    named = GLNClassifier(random_state=0).fit(frame, pd.Series(names[IRIS[1]]))
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.feature_names_in_, list("abcd"))
    np.testing.assert_array_equal(named.predict(frame), names[of_iris.predict(IRIS[0])])


def test_features_of_any_scale():
    X, y = IRIS
    scales, offsets = np.array([1e-20, 1.0, 1e6, 1e20]), np.array([0.0, 1e3, -1e9, 1e21])
    # The shuffled order depends on the values, so samples are not shuffled here.
    plain, scaled = (GLNClassifier(random_state=0, shuffle=False).fit(x, y) for x in (X, X * scales + offsets))
    np.testing.assert_array_equal(scaled.predict(X * scales + offsets), plain.predict(X))
    assert np.isfinite(scaled.predict_proba(np.full((1, 4), 1e38))).all()  # 1e58 standard deviations away


def test_same_seed_same_model():
    one, same, other = (GLNClassifier(random_state=seed, n_epochs=2).fit(*IRIS) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.predict_proba(IRIS[0]), same.predict_proba(IRIS[0]))
    assert not np.array_equal(one.predict_proba(IRIS[0]), other.predict_proba(IRIS[0]))


def test_order_is_kept_without_shuffle():
    X, y = shuffled(IRIS)
    arguments: dict[str, Any] = {"random_state": 0, "n_epochs": 1}
    one, same = (GLNClassifier(shuffle=False, **arguments).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert not np.array_equal(one.predict_proba(X), GLNClassifier(**arguments).fit(X, y).predict_proba(X))


SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 2, "backend": "numpy", "random_state": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "around",
    [
        functools.partial(AdaBoostClassifier, n_estimators=3, random_state=0),
        functools.partial(CalibratedClassifierCV, cv=3),
        functools.partial(TunedThresholdClassifierCV, cv=3, random_state=0),
        functools.partial(
            HalvingGridSearchCV, param_grid={"context_map_size": [0, 1, 3]}, cv=3, min_resources=60, random_state=0
        ),
    ],
    ids=["AdaBoost", "calibrated", "tuned threshold", "halving search"],
)
def test_within_estimators_of_scikit_learn(around):
    X, y = shuffled(CANCER)
    model = around(GLNClassifier(**SMALL)).fit(X[:400], y[:400])
    assert model.score(X[400:], y[400:]) > 0.93
    assert model.predict_proba(X[400:]).shape == (169, 2)


@pytest.mark.parametrize(
    "kind",
    [sparse.csr_array, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (sparse.csc_array, sparse.coo_matrix))],
)
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_sparse_tables(kind, how):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300], y[:300]
    models = [GLNClassifier(**SMALL, shuffle=False) for _ in range(2)]
    arguments = {"classes": range(10)} if how == "partial_fit" else {}
    dense, of_sparse = (
        getattr(model, how)(each, y, **arguments) for model, each in zip(models, (X, kind(X)), strict=True)
    )
    np.testing.assert_allclose(of_sparse.predict_proba(kind(X)), dense.predict_proba(X), atol=1e-6)
    for one, other in zip(of_sparse.explain(kind(X[:5])), dense.explain(X[:5]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    with pytest.raises(ValueError, match="infinity"):
        of_sparse.partial_fit(kind(np.where(X == 16, np.inf, X)), y)


@pytest.mark.parametrize("names", [["a", "b", "a"], [0, 1, 0]], ids=repr)
def test_columns_of_equal_names_are_refused(names):
    """Some versions of scikit-learn take them, others raise an error of another library that names no argument."""
    X = pd.DataFrame(IRIS[0][:, :3], columns=names)
    with pytest.raises(ValueError, match=r"X: expected columns with different names, got several named (0|'a')"):
        GLNClassifier().fit(X, IRIS[1])


def test_errors_about_text_name_the_column():
    frame = pd.DataFrame(IRIS[0], columns=["a", "b", "c", "d"])
    fitted = GLNClassifier(**SMALL).fit(frame, IRIS[1])
    frame["c"] = ["1.5", "wide"] * 75
    numbers = GLNClassifier(categorical_features=None)
    for call in (lambda: numbers.fit(frame, IRIS[1]), lambda: fitted.predict(frame)):
        with pytest.raises(ValueError, match="X: expected numbers, got 'wide' in column 'c'; name it in categorical_"):
            call()
    with pytest.raises(ValueError, match="got 'wide' in column 2"):
        GLNClassifier().fit(frame.to_numpy(), IRIS[1])
    with pytest.raises(ValueError, match="infinity"):
        GLNClassifier().fit(with_infinity(IRIS[0]), IRIS[1])


def nested(X: np.ndarray) -> np.ndarray:
    X = X.astype(object)
    X[3, 1] = [1, 2]
    return X


def timed(X: np.ndarray) -> np.ndarray:
    X = X.astype(object)
    X[:, 1] = np.timedelta64(1, "ns")
    X[0, 1] = pd.NaT
    return X


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(with_infinity, "infinity or a value too large .* in column", id="infinity"),
        pytest.param(lambda X: X * [1, 1e39, 1, 1], "infinity or a value too large .* in column", id="too large"),
        pytest.param(nested, r"expected numbers, got \[1, 2\] in column", id="a list"),
        pytest.param(timed, "got dates or times in column", id="durations"),
    ],
)
def test_errors_name_the_column(change, message):
    X = change(IRIS[0])
    frame, names = pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(IRIS[0], columns=list("abcd"))
    for given, usual, column in ((X, IRIS[0], "1"), (X.tolist(), IRIS[0], "1"), (frame, names, "'b'")):
        fitted = GLNClassifier(**SMALL).fit(usual, IRIS[1])
        for call, arguments in ((fitted.fit, (IRIS[1],)), (fitted.partial_fit, (IRIS[1],)), (fitted.predict, ())):
            with pytest.raises(ValueError, match=f"{message} {column}"):
                call(given, *arguments)


def test_lists_are_no_levels():
    frame = pd.DataFrame({"a": pd.Series([*149 * ["red"], [1, 2]], dtype=object)})
    fitted = GLNClassifier(**SMALL).fit(frame.assign(a="red"), IRIS[1])
    for call in (lambda: GLNClassifier().fit(frame, IRIS[1]), lambda: fitted.predict(frame)):
        with pytest.raises(ValueError, match="expected text or numbers as levels of column 'a', got unhashable"):
            call()


def test_arrays_of_dates_are_dates_and_durations_are_refused():
    days = np.arange(300).reshape(150, 2).astype("M8[D]")
    with pytest.raises(ValueError, match="got dates or times in column 0; convert them to numbers, such as"):
        GLNClassifier(**SMALL).fit(days - days[0], IRIS[1])
    model = GLNClassifier(**SMALL).fit(days, IRIS[1])
    assert model.columns_["treated as"].tolist() == ["date", "date"]


@pytest.mark.parametrize(("bad", "name"), [(np.nan, "NaN"), (None, "NaN"), (np.inf, "infinity")])
def test_errors_about_y_say_where(bad, name):
    for model, y in ((GLNClassifier(), IRIS[1]), (GLNRegressor(), IRIS[0])):
        changed = y.astype(object if bad is None else float)
        changed[[7, 9]] = bad
        where = f"{2 * y[0].size} of {y.size} values, the first in row 7"
        with pytest.raises(ValueError, match=rf"Input y contains {name}.*: {where}"):
            model.fit(IRIS[0], changed)
    with pytest.raises(ValueError, match="Input y contains NaN: 1 of 150 values, the first in row 149"):
        GLNClassifier().fit(IRIS[0], [*149 * ["text"], None])


def test_explanations_add_up_to_the_logits(of_cancer, of_iris):
    for model, (X, _), shape in ((of_cancer, CANCER, (30,)), (of_iris, IRIS, (3, 4))):
        X = X[::10].copy()
        X[0, 2] = 1e3  # is clipped
        X[1, 0] = np.nan
        contributions, constant = model.explain(X)
        assert contributions.shape == (len(X), *shape)
        np.testing.assert_allclose(contributions.sum(axis=-1) + constant, model.decision_function(X), atol=1e-3)
        assert (contributions[1, ..., 0] == 0).all()


@pytest.mark.slow
def test_in_pipelines_and_searches_of_scikit_learn():
    # NumPy's, because each process might have to compile the others.
    network = GLNClassifier([8, 4], backend="numpy", random_state=0, n_epochs=2)
    model = make_pipeline(FunctionTransformer(np.sqrt), network)
    np.testing.assert_array_equal(cross_val_score(model, *IRIS), cross_val_score(model, *IRIS, n_jobs=2))
    search = GridSearchCV(model, {"glnclassifier__layer_sizes": [(4,), (8, 4)]}, cv=3).fit(*IRIS)
    assert search.best_score_ > 0.85
    assert clone(search.best_estimator_[-1]).get_params()["layer_sizes"] in [(4,), (8, 4)]


# ---- Every backend ---------------------------------------------------------------------------------------------------


@pytest.mark.compiles
def test_backends_agree(backend):
    X, y = shuffled(IRIS)
    arguments: dict[str, Any] = {"layer_sizes": (8,), "n_epochs": 1, "n_networks": 1, "random_state": 1}
    model, reference = (GLNClassifier(backend=name, **arguments).fit(X, y) for name in (backend_name(backend), "numpy"))
    assert isinstance(model.glns_[0], backend.GLN)
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=1e-3)


@pytest.mark.compiles
def test_copies_learn_independently(backend, tmp_path):
    model = streamed(layer_sizes=(8,), context_map_size=2, backend=backend_name(backend))
    joblib.dump(model, tmp_path / "model")
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), joblib.load(tmp_path / "model", mmap_mode="r")]
    assert all(
        other.learner_.featurizer.numbers.flags.writeable for other in copies
    )  # Numba compiles for read-only ones
    expected = model.predict_proba(IRIS[0])
    model.partial_fit(*IRIS)
    for other in copies:
        np.testing.assert_allclose(other.predict_proba(IRIS[0]), expected, atol=1e-6)
        other.partial_fit(*IRIS)
        np.testing.assert_allclose(other.predict_proba(IRIS[0]), model.predict_proba(IRIS[0]), atol=1e-5)


@pytest.mark.parametrize(("missing", "expected"), [([], "numba"), (["numba"], "jax"), (["numba", "jax"], "numpy")])
def test_fastest_backend(monkeypatch, missing, expected):
    class Recorded(Exception):  # noqa: N818
        pass

    def import_module(name: str) -> Any:
        raise Recorded(name)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else name)
    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(Recorded, match=f"gln_{expected}"):
        GLNClassifier().fit(*IRIS)


# ---- Rows together and alone -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_new_row_on_a_halfspace_is_rarer_than_one_in_50_000():
    """Of values that were never seen, one may be within rounding of a halfspace by chance."""
    X, y = make_classification(55_000, 20, n_informative=10, random_state=0)
    model = GLNClassifier(random_state=0).fit(X[:5000], y[:5000])
    together = model.predict_proba(X[5000:])[:, 1]
    apart = np.concatenate([model.predict_proba(X[i : i + 7])[:, 1] for i in range(5000, 55_000, 7)])
    assert (np.abs(apart - together) > 1e-5).sum() <= 1
