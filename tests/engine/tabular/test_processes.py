"""Work shared among joblib and Dask processes: the same results as in one process, and no model if one is killed."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from backends import load_backend
from helpers import assert_same_state, to_numpy
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from gln.engine.networks.surgery import add_class, with_inputs
from gln.sklearn import GLNClassifier, GLNRegressor
from gln_numpy import GLN

pytestmark = pytest.mark.slow  # starts many processes

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_epochs": 1, "random_state": 0}


def digits(classes: int) -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400] if classes == 10 else np.arange(400) % classes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip("distributed")
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two, Client(two):
        yield two


@pytest.fixture(params=["loky", pytest.param("dask", marks=pytest.mark.slow)])
def processes(request: pytest.FixtureRequest) -> Any:
    if request.param == "dask":
        request.getfixturevalue("cluster")
    load_backend("numba")  # its heads are the same to the last bit, however many there are
    return joblib.parallel_config(backend=request.param, n_jobs=2)


@pytest.mark.parametrize(("classes", "networks"), [(10, 4), (10, 1), (100, 1), (2, 1)])
def test_a_classifier_is_the_same_to_the_last_bit(processes, classes, networks):
    X, y = digits(classes)
    options = {**SMALL, "backend": "numba", "n_networks": networks}
    alone = GLNClassifier(**options, n_jobs=1).fit(X, y)
    with processes:
        shared = GLNClassifier(**options).fit(X, y)
    np.testing.assert_array_equal(shared.decision_function(X), alone.decision_function(X))
    alone.partial_fit(X, y)
    np.testing.assert_array_equal(shared.partial_fit(X, y).decision_function(X), alone.decision_function(X))


def test_a_regressor_is_the_same_to_the_last_bit(processes):
    X, y = load_diabetes(return_X_y=True)
    targets, weights = np.stack([y, -y, 2 * y], axis=1), np.linspace(0, 3, len(y))
    options = {**SMALL, "backend": "numba", "quantiles": (0.1, 0.5, 0.9), "n_networks": 1}
    alone = GLNRegressor(**options).fit(X, targets, weights)
    with processes:
        shared = GLNRegressor(**options).fit(X, targets, weights)
    np.testing.assert_array_equal(shared.predict(X), alone.predict(X))
    np.testing.assert_array_equal(shared.predict_quantiles(X), alone.predict_quantiles(X))


def test_a_search_finds_the_same(processes):
    X, y = digits(10)
    settings = {"context_map_size": [0, 1, 3], "learning_rate": [0.1, 0.5, 2.0, 8.0]}
    search = GridSearchCV(GLNClassifier(**SMALL, n_networks=1), settings, cv=2)
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    with processes:
        np.testing.assert_array_equal(search.fit(X, y).cv_results_["mean_test_score"], alone)


def kill(t: int) -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


@pytest.mark.slow
def test_a_killed_worker_leaves_no_model():
    X, y = digits(10)
    model = GLNClassifier(**SMALL, backend="numpy", learning_rate=kill, n_jobs=2)
    with pytest.raises(Exception, match="terminated"):  # joblib's error, or its cause
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_failed_learning_leaves_no_model(monkeypatch):
    X, y = digits(10)
    model = GLNClassifier(**SMALL, backend="numpy")
    monkeypatch.setattr("gln.engine.tabular.training.train_pass", None)
    with pytest.raises(TypeError):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.compiles
def test_a_new_class_leaves_the_others_unchanged(backend, digits):
    images, labels = digits[0][:, :200], digits[1][:200] % 3
    network = backend.GLN([8], 784, 784, num_classes=3, seed=0, learning_rate=1.0)
    network.fit_hyperplanes(images)  # so that they do not follow from the seed
    network.predict_online(images, images, labels)
    before, known = network.get_state(), to_numpy(network.predict(images, images))
    joined = add_class(network, images, images)
    assert (joined.num_classes, int(joined.step), joined.learning_rate) == (4, 200, 1.0)
    p = to_numpy(joined.predict(images, images))
    np.testing.assert_allclose(p[:3], known, atol=1e-6)
    assert p[3].mean() < 0.05  # none of them belongs to the new class
    assert_same_state(network, before)
    joined.predict_online(images, images, np.full(200, 3))
    assert (to_numpy(joined.predict(images, images))[3] > p[3]).all()


def test_a_third_class_and_further_inputs_change_no_prediction():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 40))
    network = GLN([3, 2], 4, 3, seed=0, context_bias=0.5)
    network.predict_online(x[:4], x[:3], x[0] > 0)
    p = network.predict(x[:4], x[:3])
    three = add_class(network).predict(x[:4], x[:3])
    np.testing.assert_allclose(three[:2], [1 - p, p], atol=1e-6)
    wider = with_inputs(network, [0, 1, 2, 3, -1, -1], 5)
    np.testing.assert_allclose(wider.predict(x, x[:5] * [[1], [1], [1], [0], [0]]), p, atol=1e-6)
    wider.predict_online(x, x[:5], x[5] > 0)
    assert np.abs(wider.get_state()["weights.1"][..., 4:6]).max() > 0.01


def test_further_side_information_is_seen_by_some_sparse_halfspaces():
    network = GLN([40, 40], 4, 3, seed=0, context_bias=0.5, context_features=2)
    wider = with_inputs(network, [0, 1, 2, 3, -1, -1], 5)
    models = network, wider, GLN([40, 40], 6, 5, seed=0, context_features=2)
    old, new, drawn = (model.get_state() for model in models)
    for layer in (1, 2):
        planes = new[f"hyperplanes.{layer}"]
        sees_new = (planes[..., 3:] != 0).any(axis=2)
        assert sees_new.any(axis=1).sum() == 10  # a quarter of the neurons
        np.testing.assert_array_equal(planes[sees_new], drawn[f"hyperplanes.{layer}"][sees_new])
        for name in (f"hyperplanes.{layer}", f"hyperplane_bias.{layer}"):
            kept = new[name][..., :3] if "planes" in name else new[name]
            np.testing.assert_array_equal(kept[~sees_new], old[name][~sees_new])
        assert (planes != 0).sum(axis=2).max() == 2


def test_a_class_that_cannot_be_added():
    with pytest.raises(ValueError, match="network: expected one with the log-loss"):
        add_class(GLN([2], 3, 3, loss="squared_error"), np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="inputs"):
        add_class(GLN([2], 3, 3, num_classes=3, seed=0), np.zeros((4, 1)), np.zeros((3, 1)))
