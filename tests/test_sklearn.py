"""The scikit-learn classifier: its conventions, its accuracy at the defaults, streams, and every backend."""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import doctest
import importlib
import importlib.util
import math
import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_state
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gln.sklearn
from gln.backends import load_backend
from gln.features import Standardizer
from gln.sklearn import GLNClassifier

Data = tuple[np.ndarray, np.ndarray]
IRIS: Data = load_iris(return_X_y=True)
CANCER: Data = load_breast_cancer(return_X_y=True)


def backend_name(backend: Any) -> str:
    return backend.__name__.removeprefix("gln_")


def shuffled(data: Data) -> Data:
    order = np.random.default_rng(0).permutation(len(data[0]))
    return data[0][order], data[1][order]


def streamed(parts: int = 1, **arguments: Any) -> GLNClassifier:
    """A classifier that has seen a stream of 150 irises, in so many parts."""
    X, y = shuffled(IRIS)
    model = GLNClassifier(random_state=0, **arguments)
    for rows in np.array_split(np.arange(len(X)), parts):
        model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    return model


def state_of(model: GLNClassifier) -> dict[str, np.ndarray]:
    return {**model.gln_.get_state(), **model.standardizer_.get_state()}


@pytest.fixture(scope="module")
def of_iris() -> GLNClassifier:
    """Trained once on all irises; nothing may be learned with it."""
    return GLNClassifier(random_state=0).fit(*IRIS)


@pytest.fixture(scope="module")
def of_cancer() -> GLNClassifier:
    """The same with two classes, of the first 400 samples of a random order."""
    X, y = shuffled(CANCER)
    return GLNClassifier(random_state=0).fit(X[:400], y[:400])


@parametrize_with_checks([GLNClassifier(), GLNClassifier(backend="numpy")])
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def test_docstring():
    assert doctest.testmod(gln.sklearn).failed == 0


# ---- Accuracy at the defaults, on features as they come --------------------------------------------------------------


def accuracy(models: list[Any], data: Data, jobs: int = 1) -> float:
    return 100 * float(np.mean([cross_val_score(model, *data, cv=5, n_jobs=jobs) for model in models]))


# The least that was measured in 20 runs, less half a point, and how many runs of the network and of SGDClassifier make
# a steady mean.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("load", "least", "runs", "linear_runs"),
    [
        pytest.param(load_iris, 94.8, 3, 20, id="iris"),
        pytest.param(load_wine, 97.8, 3, 40, id="wine"),
        pytest.param(load_breast_cancer, 96.3, 3, 20, id="cancer"),
        pytest.param(load_digits, 94.2, 1, 1, id="digits"),
    ],
)
def test_as_good_as_the_linear_model_and_nearly_as_the_perceptron(load, least, runs, linear_runs):
    data = load(return_X_y=True)
    networks = accuracy([GLNClassifier(random_state=seed) for seed in range(runs)], data)
    linear = [SGDClassifier(loss="log_loss", random_state=seed) for seed in range(linear_runs)]
    perceptron = MLPClassifier(max_iter=500, random_state=0)
    assert networks >= least
    assert networks >= accuracy([make_pipeline(StandardScaler(), model) for model in linear], data)
    # In processes of its own a fit has one thread; on matrices this small more wait for one another.
    assert networks >= accuracy([make_pipeline(StandardScaler(), perceptron)], data, jobs=2) - 1


def test_probabilities_are_calibrated(of_cancer):
    X, y = shuffled(CANCER)
    p = of_cancer.predict_proba(X[400:])[:, 1]
    assert abs(p.mean() - y[400:].mean()) < 0.03
    assert -np.log(np.where(y[400:] == 1, p, 1 - p)).mean() < 0.15


@pytest.mark.parametrize(
    ("samples", "features", "halfspaces", "layer_sizes"),
    [
        pytest.param(20, 5, 0, (1,), id="far too few for one"),
        pytest.param(94, 5, 0, (1,), id="just too few for one"),
        pytest.param(95, 5, 1, (64, 32), id="one"),
        pytest.param(190, 5, 2, (64, 32), id="two"),
        pytest.param(3000, 1, 6, (64, 32), id="more than are taken"),
    ],
)
def test_halfspaces_that_the_samples_afford(samples, features, halfspaces, layer_sizes):
    X = np.random.default_rng(0).normal(size=(samples, features))
    model = GLNClassifier(n_epochs=1, backend="numpy").fit(X, np.arange(samples) % 2)
    assert (model.gln_.context_map_size, model.gln_.layer_sizes) == (halfspaces, layer_sizes)
    model.set_params(context_map_size=3, layer_sizes=[2]).fit(X, np.arange(samples) % 2)
    assert (model.gln_.context_map_size, model.gln_.layer_sizes) == (3, (2,))


@pytest.mark.parametrize(("samples", "epochs"), [(50, 20), (200, 10), (1500, 3)])
def test_epochs_follow_from_the_samples(samples, epochs):
    X = np.arange(samples)[:, None]
    assert GLNClassifier(context_map_size=0).fit(X, X[:, 0] > 20).n_iter_ == epochs
    assert GLNClassifier(context_map_size=0, n_epochs=2).fit(X, X[:, 0] > 20).gln_.step == 2 * samples


def test_the_rate_falls_in_fit_and_a_stream_may_follow():
    rates: list[float] = []
    learn = GLNClassifier._learn

    class Watched(GLNClassifier):
        def _learn(self, columns, targets):
            rates.append(self.gln_.learning_rate(int(self.gln_.step)))
            return learn(self, columns, targets)

    model = Watched(n_epochs=5, random_state=0, backend="numpy").fit(*IRIS)
    first = math.sqrt(5)  # four features and the bias
    np.testing.assert_allclose(rates, [first + (0.1 - first) * epoch / 5 for epoch in range(5)])
    assert model.gln_.learning_rate(0) == pytest.approx(first)
    assert model.gln_.learning_rate(750) == pytest.approx(first / math.sqrt(1 + 750 / 3000))
    assert model.partial_fit(*IRIS).gln_.step == 900
    assert GLNClassifier(learning_rate=0.5, n_epochs=1).fit(*IRIS).gln_.learning_rate == 0.5


# ---- Streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 150])
def test_a_stream_in_parts_is_the_stream_in_one(parts):
    whole, cut = streamed(), streamed(parts)
    np.testing.assert_allclose(cut.predict_proba(IRIS[0]), whole.predict_proba(IRIS[0]), atol=1e-3)
    assert cut.gln_.step == 150
    assert whole.score(*IRIS) > 0.9


def test_a_stream_longer_than_a_chunk(monkeypatch):
    whole = streamed(batch_size=4)
    monkeypatch.setattr(gln.sklearn, "CHUNK", 30)
    cut = streamed(batch_size=4)
    np.testing.assert_allclose(cut.predict_proba(IRIS[0]), whole.predict_proba(IRIS[0]), atol=1e-3)


def test_a_stream_goes_on_after_fit():
    X, y = shuffled(IRIS)
    model = GLNClassifier(random_state=0).fit(X[:100], y[:100])
    step = model.gln_.step
    model.partial_fit(X[100:], y[100:])
    assert (model.gln_.step, model.standardizer_.count.tolist()) == (step + 50, [150] * 4)
    assert model.fit(X[:100], y[:100]).gln_.step == step  # from scratch


def test_a_rate_set_between_parts_is_that_of_the_next():
    X, y = shuffled(IRIS)
    model = streamed(backend="numpy")
    before = state_of(model)
    with pytest.raises(ValueError, match="learning_rate"):
        model.set_params(learning_rate=-1).partial_fit(X, y)
    assert_same_state(state_of(model), before)
    model.set_params(learning_rate=0.0).partial_fit(X, y)
    after = state_of(model)
    assert after["step"] == 300
    for name in ("weights.1", "weights.2"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert model.set_params(learning_rate=None).partial_fit(X, y).gln_.learning_rate(0) == pytest.approx(3)
    assert not np.array_equal(state_of(model)["weights.1"], before["weights.1"])


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
        pytest.param(lambda X: X, [0, 1, 3], None, "not among the classes", id="another class"),
        pytest.param(lambda X: X, [0.5, 1.2, 2.0], None, "continuous", id="no classes"),
        pytest.param(lambda X: X, ["a", "b", "c"], None, "not among the classes", id="labels of another type"),
        pytest.param(lambda X: X, [0, 1, 2], [0, 1], "not the same", id="other classes"),
    ],
)
def test_bad_input_changes_nothing(change, labels, classes, message):
    model = streamed()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(change(IRIS[0]), np.repeat(labels, 50), classes=classes)
    assert_same_state(state_of(model), before)


@pytest.mark.parametrize(("classes", "kind"), [([0, 1, 2], float), (list("abc"), str), (list("abc"), object)])
def test_labels_of_another_type_that_are_equal(classes, kind):
    labels = np.array(classes)[IRIS[1]].astype(kind)
    model = GLNClassifier([4], random_state=0).partial_fit(IRIS[0][:75], labels[:75], classes=classes)
    model.partial_fit(IRIS[0][75:], labels[75:])
    assert model.gln_.step == 150
    assert set(model.predict(IRIS[0])) <= set(classes)


def test_first_call_needs_all_classes():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        GLNClassifier().partial_fit(*IRIS)
    with pytest.raises(ValueError, match="one class"):
        GLNClassifier().partial_fit(IRIS[0][:50], IRIS[1][:50], classes=[0])
    with pytest.raises(ValueError, match="not among the classes"):
        GLNClassifier().partial_fit(*IRIS, classes=[0, 1])


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        pytest.param(with_infinity, [0, 1, 2], id="infinity"),
        pytest.param(lambda X: X, [0, 1], id="a class that was not announced"),
    ],
)
def test_it_is_not_fitted_where_the_first_samples_were_refused(change, classes):
    X, y = IRIS
    model = GLNClassifier(layer_sizes=[4])
    with pytest.raises(ValueError, match=r"infinity|not among the classes"):
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
        pytest.param({"n_epochs": 0}, ValueError, id="no epoch"),
        pytest.param({"n_epochs": 1.5}, TypeError, id="half an epoch"),
        pytest.param({"batch_size": 0}, ValueError, id="empty batches"),
        pytest.param({"learning_rate": -1}, ValueError, id="negative rate"),
        pytest.param({"shuffle": "no"}, ValueError, id="shuffle is text"),
        pytest.param({"halfspaces_from_data": 1}, ValueError, id="halfspaces_from_data is a number"),
        pytest.param({"verbose": None}, ValueError, id="verbose is None"),
    ],
)
def test_bad_parameters(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        GLNClassifier(**arguments).fit(*IRIS)


@pytest.mark.parametrize("name", ["halfspaces_from_data", "shuffle", "verbose"])
def test_what_is_no_bool_is_refused_of_a_stream_too(name):
    model = GLNClassifier(layer_sizes=[4], n_epochs=1).set_params(**{name: "no"})
    with pytest.raises(ValueError, match=f"{name}: expected True or False, got 'no'"):
        model.partial_fit(*IRIS, classes=[0, 1, 2])
    assert model.set_params(**{name: np.False_}).fit(*IRIS).n_iter_ == 1


# ---- What comes in and what comes out --------------------------------------------------------------------------------


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


def test_features_of_any_scale(of_iris):
    X, y = IRIS
    scales, offsets = np.array([1e-20, 1.0, 1e6, 1e20]), np.array([0.0, 1e3, -1e9, 1e21])
    scaled = GLNClassifier(random_state=0).fit(X * scales + offsets, y)
    np.testing.assert_array_equal(scaled.predict(X * scales + offsets), of_iris.predict(X))
    assert np.isfinite(scaled.predict_proba(np.full((1, 4), 1e38))).all()  # 1e58 deviations away


def test_same_seed_same_model():
    one, same, other = (GLNClassifier(random_state=seed, n_epochs=2).fit(*IRIS) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.predict_proba(IRIS[0]), same.predict_proba(IRIS[0]))
    assert not np.array_equal(one.predict_proba(IRIS[0]), other.predict_proba(IRIS[0]))


def test_order_is_kept_without_shuffle():
    X, y = shuffled(IRIS)
    arguments: dict[str, Any] = {"random_state": 0, "n_epochs": 1, "halfspaces_from_data": False}
    one, same = (GLNClassifier(shuffle=False, **arguments).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert not np.array_equal(one.predict_proba(X), GLNClassifier(**arguments).fit(X, y).predict_proba(X))


def test_inside_of_scikit_learn():
    # NumPy's, for each process may have to compile the others.
    network = GLNClassifier([8, 4], backend="numpy", random_state=0, n_epochs=2)
    model = make_pipeline(FunctionTransformer(np.sqrt), network)
    np.testing.assert_array_equal(cross_val_score(model, *IRIS), cross_val_score(model, *IRIS, n_jobs=2))
    search = GridSearchCV(model, {"glnclassifier__layer_sizes": [(4,), (8, 4)]}, cv=3).fit(*IRIS)
    assert search.best_score_ > 0.85
    assert clone(search.best_estimator_[-1]).get_params()["layer_sizes"] in [(4,), (8, 4)]


def test_progress_bar(capsys):
    GLNClassifier(n_epochs=2, verbose=True).fit(*IRIS)
    assert "300/300" in capsys.readouterr().err
    GLNClassifier(n_epochs=2).fit(*IRIS)
    assert capsys.readouterr().err == ""


def test_a_saved_network_and_what_standardises_its_inputs_predict_as_the_classifier(of_iris, tmp_path):
    of_iris.gln_.save(tmp_path / "iris.gln", of_iris.standardizer_.get_state())
    loaded = load_backend("numpy").GLN.load(tmp_path / "iris.gln")
    standardizer = Standardizer(4)
    standardizer.set_state(loaded.extra)
    z = standardizer.transform(IRIS[0].T)
    p = loaded.predict(z, z)
    np.testing.assert_allclose(p.T / p.sum(axis=0)[:, None], of_iris.predict_proba(IRIS[0]), atol=1e-5)


# ---- Every backend ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [pytest.param(IRIS, id="three classes"), pytest.param(CANCER, id="two classes")])
def test_backends_agree(backend, data):
    X, y = shuffled(data)
    arguments: dict[str, Any] = {"layer_sizes": (8, 4), "context_map_size": 2, "n_epochs": 1, "random_state": 1}
    model, reference = (
        GLNClassifier(backend=name, **arguments).fit(X[:150], y[:150]) for name in (backend_name(backend), "numpy")
    )
    assert isinstance(model.gln_, backend.GLN)
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=1e-3)


def test_copies_go_on_apart(backend, tmp_path):
    model = streamed(layer_sizes=(8, 4), backend=backend_name(backend))
    joblib.dump(model, tmp_path / "model")
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), joblib.load(tmp_path / "model", mmap_mode="r")]
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
