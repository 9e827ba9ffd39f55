"""Many classes, where a sample updates its class's head and a few others; and long tables."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state
from scipy.sparse import csr_array
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import gln.engine.tabular.blocks
import gln.engine.tabular.fit
import gln.engine.tabular.training
import gln_numpy
from gln.backends import fastest_backend
from gln.engine.networks.head_sampling import MANY_CLASSES, SAMPLED_HEADS, log_sampling_rate, sample_heads
from gln.engine.networks.surgery import add_class, set_initial_logits
from gln.engine.preprocessing.scaling import OF_FEATURES
from gln.engine.tabular.estimator import of_table
from gln.features import Standardizer
from gln.sklearn import GLNClassifier, GLNRegressor

CLASSES = 120
SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 2, "random_state": 0}


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    kind = {"n_informative": 10, "n_redundant": 0, "n_clusters_per_class": 1, "class_sep": 3.0}
    return make_classification(2400, 10, n_classes=CLASSES, random_state=0, **kind)


def one_hot(numbers: np.ndarray, classes: int) -> np.ndarray:
    return (numbers == np.arange(classes)[:, None]).astype(np.float32)


def test_a_sample_updates_the_head_of_its_class_and_a_fair_fraction_of_the_others():
    numbers = np.random.default_rng(0).integers(0, CLASSES, 3000)
    targets = sample_heads(one_hot(numbers, CLASSES), 7)
    assert (targets[numbers, np.arange(3000)] == 1).all()
    updated = np.isfinite(targets)
    assert set(np.unique(targets[updated])) == {0, 1}
    assert set(updated.sum(axis=0)) == {SAMPLED_HEADS, SAMPLED_HEADS + 1}  # the head of its class may be among them
    fraction = (targets == 0).sum(axis=1) / (one_hot(numbers, CLASSES) == 0).sum(axis=1)
    np.testing.assert_allclose(fraction, np.exp(log_sampling_rate(CLASSES)), atol=0.05)  # of other classes' samples
    chunks = [sample_heads(one_hot(chunk, CLASSES), 7 + start) for start, chunk in ((0, numbers[:9]), (9, numbers[9:]))]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), targets)


def test_samples_of_few_classes_update_all_heads():
    targets = one_hot(np.arange(MANY_CLASSES - 1), MANY_CLASSES - 1)
    np.testing.assert_array_equal(sample_heads(targets, 0), targets)
    assert log_sampling_rate(MANY_CLASSES - 1) == 0


def test_heads_start_at_given_logits():
    network, x = gln_numpy.GLN([4, 3], 5, 5, num_classes=3, seed=0), np.random.default_rng(0).normal(size=(5, 6))
    set_initial_logits(network, np.array([-2.0, 0.0, 1.0]))
    np.testing.assert_allclose(network.predict(x, x), np.tile(1 / (1 + np.exp([[2], [0], [-1]])), 6), rtol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_a_new_class_starts_at_its_rate(bias):
    network, x = gln_numpy.GLN([4, 3], 5, 5, seed=0, bias=bias), np.random.default_rng(0).normal(size=(5, 99))
    network.predict_online(x, x, np.arange(99) % 2)
    p = add_class(network).predict(x, x)[2]
    assert np.allclose(p, 1 / 101) == bias


@pytest.mark.slow
def test_probabilities_of_many_classes_are_calibrated(table):
    X, y = table
    model = GLNClassifier(random_state=0, n_epochs=2).fit(X[:1600], y[:1600])
    assert len(model.glns_) == 6
    assert len({network.input_size for network in model.glns_}) == 1  # encodings would take five times as long
    p = model.predict_proba(X[1600:])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    linear = LogisticRegression(max_iter=300).fit(X[:1600], y[:1600]).predict_proba(X[1600:])
    assert log_loss(y[1600:], p, labels=range(CLASSES)) < log_loss(y[1600:], linear, labels=range(CLASSES))
    hits = p.argmax(axis=1) == y[1600:]
    assert abs(p.max(axis=1).mean() - hits.mean()) < 0.05  # neither over- nor underconfident
    contributions, constant = model.explain(X[:3])
    np.testing.assert_allclose(contributions.sum(axis=2) + constant, model.decision_function(X[:3]), atol=1e-4)


@pytest.mark.parametrize("gone", [5, MANY_CLASSES - 1])
def test_a_class_whose_samples_weigh_nothing(table, gone):
    X, y = table[0][:600], table[1][:600] % MANY_CLASSES
    p = GLNClassifier(**SMALL, n_epochs=1).fit(X, y, y != gone).predict_proba(X)
    assert p.shape == (600, MANY_CLASSES)
    assert p[:, gone].max() < p.mean()


@pytest.mark.skipif(fastest_backend() == "numpy", reason="only NumPy is installed")
def test_many_classes_are_the_same_in_numpy(table):
    X, y = table[0][:600], table[1][:600] % MANY_CLASSES
    slow, fast = (GLNClassifier(**SMALL, n_epochs=1, backend=backend).fit(X, y) for backend in ("numpy", "auto"))
    np.testing.assert_allclose(fast.predict_proba(X), slow.predict_proba(X), atol=1e-4)


def test_a_stream_learns_the_same_with_and_without_predictions(table):
    X, y = table[0][:600], table[1][:600]
    silent, telling, cut = (GLNClassifier(layer_sizes=(8, 4), random_state=0) for _ in range(3))
    silent.partial_fit(X, y, classes=range(CLASSES))
    p = telling.partial_fit_predict_proba(X, y, classes=range(CLASSES))
    cut.partial_fit(X[:77], y[:77], classes=range(CLASSES)).partial_fit(X[77:], y[77:])
    np.testing.assert_allclose(p[0], 1 / CLASSES, rtol=1e-4)
    for other in (telling, cut):
        assert_same_state(silent.glns_[0].get_state(), other.glns_[0].get_state(), rtol=1e-5, atol=1e-6)


# ---- Long tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        *[(30, (12, 3, 20)), (200, (12, 3, 5)), (8000, (12, 3, 3)), (9000, (12, 4, 3)), (50_000, (12, 5, 3))],
        *[(90_000, (12, 6, 3)), (100_000, (6, 6, 3)), (150_000, (6, 6, 2)), (200_000, (6, 6, 1)), (400_000, (4, 7, 1))],
        (10**9, (4, 8, 1)),
    ],
)
def test_defaults_of_fit_follow_from_the_length(rows, expected):
    settings = of_table(rows, 1)
    assert tuple(settings[name] for name in ("n_networks", "context_map_size", "n_epochs")) == expected
    assert of_table(rows, MANY_CLASSES)["n_networks"] == 6


def test_indices_count_as_copies():
    x, indices = np.random.default_rng(0).normal(size=(3, 40)), np.array([3, 3, 5, 7, 7, 7, *range(10, 40)])
    table, copies = Standardizer(3, **OF_FEATURES), Standardizer(3, **OF_FEATURES)
    table.fit(x, indices)
    copies.fit(x[:, indices])
    assert_same_state(table.get_state(), copies.get_state(), rtol=0, atol=0)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_learning_ends_when_time_is_up(estimator):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3000, 4)), np.arange(3000) % 2
    model = estimator(**SMALL, n_epochs=10**4, max_seconds=0.5)
    start = time.monotonic()
    model.fit(X, y)
    assert time.monotonic() - start < 60  # all passes would take many minutes
    assert all(0 < network.step < 10**4 * 2000 for network in model.glns_)
    assert min(network.step for network in model.glns_) // 2700 <= model.n_iter_ <= model.glns_[0].step // 2500


@pytest.mark.parametrize("arguments", [{}, {"density": True, "quantiles": (0.1, 0.9)}], ids=["means", "densities"])
def test_the_passes_are_those_that_every_network_completed(arguments, monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(300, 2)), np.arange(300.0)
    model = GLNRegressor(**SMALL, **arguments, n_epochs=4)
    assert model.fit(X, y).n_iter_ == 4
    assert model.set_params(max_seconds=1e-9).fit(X, y).n_iter_ == 0
    # Each look at the clock takes a second: a pass has one when it begins, after a second, and one when it ends, after
    # two; and so have counting and choosing before them.
    seconds = itertools.count()
    for module in (gln.engine.tabular.fit, gln.engine.tabular.training):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert model.set_params(max_seconds=5.2 * len(model.learner_.networks)).fit(X, y).n_iter_ == 2
    assert all(2 * 250 < network.step < 2 * 280 for network in model.glns_)


def test_enough_time_changes_nothing(table):
    X, y = table[0][:200], table[1][:200] % 2
    free, limited = (GLNClassifier(**SMALL, max_seconds=seconds).fit(X, y) for seconds in (None, 1e9))
    np.testing.assert_allclose(limited.predict_proba(X), free.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_a_table_too_large_to_keep_is_standardised_by_chunks(form, monkeypatch):
    X, y = form(np.random.default_rng(0).integers(0, 3, (150, 5)).astype(float)), np.arange(150.0)
    whole = GLNRegressor(**SMALL, density=True).fit(X, y)
    monkeypatch.setattr(gln.engine.tabular.blocks, "IN_MEMORY", 0)
    by_chunks = GLNRegressor(**SMALL, density=True).fit(X, y)
    for moment, expected in zip(by_chunks.predict(X, return_std=True), whole.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(moment, expected)


@pytest.mark.parametrize("seconds", [0, -1, "1"])
def test_bad_seconds(table, seconds):
    with pytest.raises((ValueError, TypeError), match="max_seconds"):
        GLNClassifier(max_seconds=seconds).fit(table[0][:20], table[1][:20] % 2)
