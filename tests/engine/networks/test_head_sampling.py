"""Many classes, where a sample updates its class's head and a few others."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from gln.backends import fastest_backend
from gln.engine.networks.head_sampling import MANY_CLASSES, SAMPLED_HEADS, log_sampling_rate, one_vs_rest
from gln.sklearn import GLNClassifier

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
    targets = one_vs_rest(numbers, CLASSES, 7)
    assert (targets[numbers, np.arange(3000)] == 1).all()
    updated = np.isfinite(targets)
    assert set(np.unique(targets[updated])) == {0, 1}
    assert set(updated.sum(axis=0)) == {SAMPLED_HEADS, SAMPLED_HEADS + 1}  # the head of its class may be among them
    fraction = (targets == 0).sum(axis=1) / (one_hot(numbers, CLASSES) == 0).sum(axis=1)
    np.testing.assert_allclose(fraction, np.exp(log_sampling_rate(CLASSES)), atol=0.05)  # of other classes' samples
    chunks = [one_vs_rest(chunk, CLASSES, 7 + start) for start, chunk in ((0, numbers[:9]), (9, numbers[9:]))]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), targets)


def test_samples_of_few_classes_update_all_heads():
    numbers, count = np.arange(MANY_CLASSES - 1), MANY_CLASSES - 1
    np.testing.assert_array_equal(one_vs_rest(numbers, count, 0), one_hot(numbers, count))
    assert log_sampling_rate(MANY_CLASSES - 1) == 0


@pytest.mark.slow
def test_probabilities_of_many_classes_are_calibrated(table):
    X, y = table
    model = GLNClassifier(random_state=0, n_epochs=2).fit(X[:1600], y[:1600])
    assert len(model.glns_) == 6
    assert len({network.config.input_size for network in model.glns_}) == 1  # encodings would take five times as long
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
