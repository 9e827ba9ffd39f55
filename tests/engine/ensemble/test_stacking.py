"""Weights and offsets of networks, learned from the samples that each left out."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, make_classification, make_friedman1
from sklearn.metrics import log_loss

from gln.engine.batches import SampleBatch
from gln.engine.ensemble.combination import Combination, WeightedSum
from gln.engine.ensemble.ensemble import EXPANDED
from gln.engine.ensemble.stacking import PENALTY, RATE_ROWS, TRUST_ROWS, fit_stacking
from gln.engine.model.targets import sum_to_one
from gln.sklearn import GLNClassifier, GLNRegressor
from gln_numpy import GLN


@pytest.fixture
def rng() -> np.random.Generator:  # one per test, because the tests of a process run in any order
    return np.random.default_rng(0)


def test_without_signal_rare_classes_are_predicted_by_their_rate(rng):
    y = np.repeat(np.arange(21), [300, *20 * [4]])
    model = GLNClassifier(random_state=0).fit(rng.normal(size=(380, 4)), y)
    p = model.predict_proba(rng.normal(size=(1000, 4)))[:, 0]
    assert p.mean() == pytest.approx(300 / 380, abs=2 * np.sqrt(0.789 * 0.211 / 380))
    assert model.oob_score_ == pytest.approx(300 / 380, abs=2 * np.sqrt(0.789 * 0.211 / 142))


def config(**kind: Any) -> Any:
    return GLN([2], 1, 1, **kind).config


def stacked(*arguments: Any) -> WeightedSum:
    """The sum of networks that stacking begins with."""
    return fit_stacking(*arguments).of_models()


@pytest.mark.parametrize("classes", [2, 4])
def test_class_weights_correct_overconfident_networks(classes, rng):
    heads = 1 if classes == 2 else classes
    logits = rng.normal(size=(heads, 40000)) * 2
    p = sum_to_one(expit(logits))
    numbers = (p.cumsum(axis=0) < rng.random(40000)).sum(axis=0)
    # One kind is overconfident, the other knows nothing.
    outputs = np.stack([logits / 0.3, rng.normal(size=logits.shape)])
    kinds = np.array([0, 0, 1])
    stacking = stacked(config(num_classes=classes), kinds, outputs, numbers, np.ones(40000))
    np.testing.assert_allclose(stacking.weights.ravel(), [0.15, 0.15, 0], atol=0.015)
    np.testing.assert_array_equal(stacking.offsets, 0)
    of_networks = np.stack([outputs[0], outputs[0], outputs[1]])
    mixed = sum_to_one(expit(stacking.combine(of_networks)))
    losses = [log_loss(numbers, q.T) for q in (mixed, p, sum_to_one(expit(of_networks.mean(axis=0))))]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    assert losses[0] < losses[2] - 0.1


def test_networks_that_know_nothing_are_replaced_by_the_rates_of_classes(rng):
    shares = np.array([0.7, 0.2, 0.08, 0.02])
    numbers, rates = rng.choice(4, 5000, p=shares), np.log(shares / (1 - shares))
    outputs = 2 * rng.normal(size=(1, 4, 5000))
    stacking = stacked(config(num_classes=4), np.array([0]), outputs, numbers, np.ones(5000), rates)
    p = sum_to_one(expit(stacking.combine(2 * rng.normal(size=(1, 4, 5000)))))
    np.testing.assert_allclose(p.mean(axis=1), shares, atol=0.015)


def test_sample_weights_count_as_numbers_of_samples(rng):
    logits, numbers = rng.normal(size=(2, 1, 30)), rng.integers(0, 2, 30)
    times = rng.integers(1, 4, 30)
    kinds = np.array([0, 1])
    weighted = stacked(config(), kinds, logits, numbers, times.astype(float))
    repeated = stacked(config(), kinds, logits.repeat(times, axis=2), numbers.repeat(times), np.ones(times.sum()))
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-4)


def test_weights_and_offsets_of_values(rng):
    y = rng.normal(size=(2, 20000))
    outputs = np.stack([2 * y - 0.4, rng.normal(size=y.shape)])
    kinds = np.array([0, 1])
    stacking = stacked(config(loss="squared_error", num_outputs=2), kinds, outputs, y, np.ones(20000))
    np.testing.assert_allclose(stacking.weights, np.array([[0.5, 0.5], [0, 0]]), atol=0.01)
    np.testing.assert_allclose(stacking.offsets, 0.2, atol=0.01)
    np.testing.assert_allclose(stacking.combine(outputs), y, atol=0.1)


def test_weights_of_labels_are_those_of_each_alone(rng):
    labels, rates = rng.random((3, 500)) < [[0.1], [0.5], [0.7]], np.array([-2.2, 0.0, 0.8])
    outputs = np.stack([2 * labels + rng.normal(size=labels.shape), rng.normal(size=labels.shape)])
    kinds, weights = np.array([0, 1, 0]), rng.choice([0.5, 1.0], 500)
    together = stacked(config(num_outputs=3), kinds, outputs, labels, weights, rates)
    for head, label in enumerate(labels):
        one = slice(head, head + 1)
        alone = stacked(config(), kinds, outputs[:, one], label.astype(int), weights, rates[one])
        np.testing.assert_allclose(together.weights[:, one], alone.weights)
        np.testing.assert_allclose(together.offsets[one], alone.offsets)


def test_a_wrong_target_does_not_change_the_weights_of_values(rng):
    y = rng.normal(size=(1, 500))
    outputs = np.stack([y + rng.normal(size=y.shape), y + rng.normal(size=y.shape)])
    kinds, of_numbers = np.array([0, 1]), config(loss="squared_error")
    expected = stacked(of_numbers, kinds, outputs, y, np.ones(500))
    y[0, 3] = 1e6
    found = stacked(of_numbers, kinds, outputs, y, np.ones(500))
    np.testing.assert_allclose(found.weights, expected.weights, atol=0.05)
    np.testing.assert_allclose(found.offsets, expected.offsets, atol=0.05)


@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize(("kind", "weight"), [({}, 0.5 / (1 + TRUST_ROWS)), ({"loss": "squared_error"}, 0.5)])
def test_few_samples_change_little(kind, weight, count):
    outputs, y = np.ones((2, 1, count)), np.ones(count, int)
    stacking = stacked(config(**kind), np.array([0, 1]), outputs, y, np.ones(count))
    if count == 0:
        np.testing.assert_allclose(stacking.weights, weight)
        np.testing.assert_array_equal(stacking.offsets, 0)
    assert np.abs(stacking.weights - weight).max() < 0.7
    assert np.abs(stacking.offsets).max() < 0.1


def test_rows_of_the_table_are_added_to_what_was_left_out(rng):
    logits, classes, weights = rng.normal(size=(2, 3, 40)), rng.integers(0, 3, 40), rng.choice([1.0, 2.0], 40)
    rates = np.log([0.6, 0.3, 0.1]) - np.log([0.4, 0.7, 0.9])
    kinds = np.array([0, 1])

    def loss(parameters: np.ndarray) -> float:
        q = sum_to_one(expit(np.tensordot(parameters, [*logits, np.outer(rates, np.ones(40))], 1)))
        of_rates = (RATE_ROWS / weights.sum()) ** 2 * weights @ -(np.array([0.6, 0.3, 0.1]) @ np.log(q))
        trust = weights.sum() / (weights.sum() + TRUST_ROWS)
        penalty = PENALTY["classes"] * np.square(parameters - [trust / 2, trust / 2, 1 - trust]).sum()
        return weights @ -np.log(q[classes, np.arange(40)]) + of_rates + penalty

    stacking = stacked(config(num_classes=3), kinds, logits, classes, weights, rates)
    expected = minimize(loss, [0.4, 0.4, 0.2], bounds=3 * [(0, 3)]).x
    np.testing.assert_allclose(stacking.weights, expected[:2, None], atol=2e-3)
    np.testing.assert_allclose(stacking.offsets, expected[2] * rates, atol=2e-3)


# ---- In the estimators -----------------------------------------------------------------------------------------------


def test_fit_calibrates_probabilities():
    X, y = make_classification(1600, n_informative=5, flip_y=0.25, random_state=0)
    model, sure = (GLNClassifier(random_state=0, learning_rate=3.0).fit(X[:600], y[:600]) for _ in range(2))
    assert model.learner_.means.combination.weights[0, :-1].sum() < 0.9  # the networks alone are overconfident
    combination = sure.learner_.means.combination
    sure.learner_.means.combination = Combination.equal("logit", combination.experts, np.ones(1), 1)
    assert log_loss(y[600:], model.predict_proba(X[600:])) < log_loss(y[600:], sure.predict_proba(X[600:]))


@pytest.mark.parametrize("networks", [1, 3, 5, 9, 20])
def test_any_number_of_networks(networks):
    X, y = load_breast_cancer(return_X_y=True)
    model = GLNClassifier([2], n_networks=networks, n_epochs=1, random_state=0).fit(X[:60], y[:60])
    encoded = sum(network.config.input_size > 60 for network in model.glns_)
    assert (len(model.glns_), encoded) == (networks, (networks + 1) // 2)
    weights = model.learner_.means.weighted_sum().weights[:, 0]
    assert len(np.unique(weights[networks - encoded :])) == 1
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_class_of_one_sample_is_learned_by_all():
    X, y = np.arange(40.0)[:, None], np.zeros(40, int)
    y[-1] = 1
    model = GLNClassifier([4], n_networks=7, random_state=0).fit(X, y)
    read = model.learner_.featurizer.transform(SampleBatch.of(X.T))
    for member in model.learner_.means.members:
        p = member.network.predict(*read.of(member.network))
        # In training, the bin of the sample could say nothing about its class.
        assert p[-1] > 2 * np.median(p) if member.role == EXPANDED else p[-1] == p.max()


def test_binary_features_need_no_encodings(rng):
    X = rng.integers(0, 2, (60, 3)).astype(float)
    model = GLNClassifier([2], random_state=0).fit(X, X[:, 0])
    assert len(model.learner_.featurizer.pieces.features) == 0
    # Nor cells of their own; those of the three pairs are mixed.
    assert [network.config.input_size for network in model.glns_] == [6] * 6 + [9] * 6


def test_weights_of_several_targets_are_their_own(rng):
    X, y = make_friedman1(200, random_state=0)
    model = GLNRegressor([4], random_state=0).fit(X, np.stack([y, rng.normal(size=200)], axis=1))
    weights = model.learner_.means.weighted_sum().weights
    assert weights.shape == (12, 2)
    assert weights[:, 1].sum() < 0.5 < weights[:, 0].sum()  # noise is predicted by its mean


@pytest.mark.parametrize("count", [6, 8, 16])
def test_noise_of_few_rows_is_predicted_by_rates(count):
    losses = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(count, 1)), rng.permutation(np.arange(count) % 2)
        p = GLNClassifier(random_state=seed).fit(X, y).predict_proba(rng.normal(size=(200, 1)))
        losses.append(-np.log(p).mean())  # of classes that are as frequent
    assert np.mean(losses) < 0.85  # log(2) is .69, and logistic regression has .74
