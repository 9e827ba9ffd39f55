"""What tables learn from rows that networks leave out: estimates, the learning rate, passes; and how long it takes."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_friedman1, make_hastie_10_2
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import cross_val_score

from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.tabular import training
from gln.engine.tabular.defaults import table_defaults
from gln.rates import RATES
from gln.sklearn import GLNClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8,), "random_state": 0}


def blobs(rows: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three features, of which two tell three classes apart, the second less well."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    X = rng.normal(size=(rows, 3)) * noise
    X[:, 0] += 3 * (y == 1)
    X[:, 1] += 1.5 * (y == 2)
    return X, y


# ---- Estimates out of sample -----------------------------------------------------------------------------------------


def test_estimates_have_the_shapes_of_a_random_forest():
    X, y = blobs(300, 1)
    model = GLNClassifier(**SMALL).fit(X, np.array(list("abc"))[y])
    known = ~np.isnan(model.oob_decision_function_[:, 0])
    assert model.oob_decision_function_.shape == (300, 3)
    assert 90 <= known.sum() <= 130  # three of eight folds
    np.testing.assert_allclose(model.oob_decision_function_[known].sum(axis=1), 1)
    predicted, shares = model.oob_decision_function_[known].argmax(axis=1), np.bincount(y) / np.bincount(y[known])
    assert model.oob_score_ == pytest.approx(accuracy_score(y[known], predicted, sample_weight=shares[y[known]]))
    assert model.oob_score_ > 0.7
    two = GLNClassifier(**SMALL).fit(X, y == 1)
    assert two.oob_decision_function_.shape == (300, 2)


@pytest.mark.parametrize("several", [False, True])
def test_estimates_of_numbers(several):
    X, y = make_friedman1(400, random_state=2)
    y = np.stack([y, 100 - 3 * y], axis=1) if several else 1000 + y
    model = GLNRegressor(**SMALL).fit(X, y)
    known = ~np.isnan(model.oob_prediction_.reshape(400, -1)[:, 0])
    assert model.oob_prediction_.shape == y.shape
    assert model.oob_score_ == pytest.approx(r2_score(y[known], model.oob_prediction_[known]))
    assert 0.7 < model.oob_score_ < model.validation_scores_[-1]  # of weights that were learned from the same rows


def test_estimates_are_those_of_cross_validation():
    """Within two standard errors of five folds, of some 500 rows that are left out."""
    X, y = blobs(1400, 3)
    model = GLNClassifier(**SMALL)
    expected = cross_val_score(model, X, y, cv=5).mean()
    assert model.fit(X, y).oob_score_ == pytest.approx(expected, abs=2 * np.sqrt(expected * (1 - expected) / 525))


@pytest.mark.parametrize("categories", [False, True])
def test_noise_does_not_leak(categories):
    """Counts of many bins could tell a network the classes of the rows that it leaves out."""
    losses = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, y = rng.integers(0, 30, (300, 8)).astype(float), rng.integers(0, 2, 300)
        named = list(range(8)) if categories else None
        model = GLNClassifier(**SMALL | {"random_state": seed}, categorical_features=named).fit(X, y)
        known = ~np.isnan(model.oob_decision_function_[:, 0])
        losses.append(log_loss(y[known], model.oob_decision_function_[known]))
    assert np.mean(losses) > np.log(2) - 0.01  # two standard errors


def test_samples_without_weight_have_no_estimate_and_weights_count_like_copies():
    X, y = blobs(240, 4)
    weights = np.random.default_rng(5).integers(0, 3, 240)
    model = GLNClassifier(**SMALL).fit(X, y, sample_weight=weights)
    known = ~np.isnan(model.oob_decision_function_[:, 0])
    assert not known[weights == 0].any()
    predicted = model.oob_decision_function_[known].argmax(axis=1)
    shares = np.bincount(y, weights) / np.bincount(y[known], weights[known])
    expected = accuracy_score(y[known], predicted, sample_weight=(weights * shares[y])[known])
    assert model.oob_score_ == pytest.approx(expected)
    copies = np.arange(240).repeat(weights)
    other = GLNClassifier(**SMALL).fit(X[copies], y[copies])
    np.testing.assert_allclose(other.oob_decision_function_, model.oob_decision_function_[copies], atol=1e-5)
    assert other.oob_score_ == pytest.approx(model.oob_score_)


# ---- Learning rate and passes ----------------------------------------------------------------------------------------


def test_noisy_tables_get_a_lower_learning_rate():
    X, y = make_hastie_10_2(600, random_state=0)
    clean, noisy = X[:, 0] > 0, np.random.default_rng(7).random(600) < 0.4 + 0.2 * (X[:, 0] > 0)
    model = GLNClassifier(**SMALL)
    assert model.fit(X, clean).learning_rate_ == 3.0
    assert model.fit(X, noisy).learning_rate_ == 0.3
    assert model.set_params(learning_rate=1.0).fit(X, noisy).learning_rate_ == 1.0
    assert GLNRegressor(**SMALL).fit(X, y).learning_rate_ == 0.5


@pytest.mark.parametrize("most", [2000, 50])
def test_the_chosen_rate_gives_the_networks_that_it_alone_would_give(most, monkeypatch):
    """Also if the table is so large that the networks that choose it learn only some of its rows before."""
    monkeypatch.setattr(training, "PILOT_ROWS", most)
    monkeypatch.setattr(training, "MANY_ROWS", most)
    X, y = blobs(200, 8)
    model: Any = GLNClassifier(**SMALL).fit(X, y)
    link = model.learner_.means.link
    monkeypatch.setitem(RATES, link, RATES[link]._replace(table=(model.learning_rate_,)))
    alone = GLNClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(alone.predict_proba(X), model.predict_proba(X))
    np.testing.assert_allclose(alone.validation_scores_, model.validation_scores_)


@pytest.mark.parametrize("classes", [False, True])
def test_networks_learn_what_they_left_out_after_all_estimates(classes, monkeypatch):
    X, y = blobs(400, 18)
    model: Any = (GLNClassifier if classes else GLNRegressor)(**SMALL)
    names = ["oob_score_", "validation_scores_", "learning_rate_", "feature_importances_"]
    names += ["oob_decision_function_" if classes else "oob_prediction_"]
    found = [getattr(model.fit(X, y), name) for name in names]
    after, combination = model.glns_, model.learner_.means.combination
    monkeypatch.setattr(training, "MANY_ROWS", 0)  # as of a long table
    monkeypatch.setattr(training, "PILOT_ROWS", 400)
    for expected, name in zip(found, names, strict=True):
        np.testing.assert_array_equal(getattr(model.fit(X, y), name), expected)
    np.testing.assert_array_equal(model.learner_.means.combination.weights, combination.weights)
    for network, before in zip(after, model.glns_, strict=True):
        assert network.step - before.step == 400
        assert (network.get_state()["weights.1"] != before.get_state()["weights.1"]).any()


def test_the_score_of_left_out_rows_is_shown_after_each_pass(capsys):
    X, y = blobs(400, 11)
    model = GLNClassifier(**SMALL, n_networks=2, verbose=1).fit(X, y)
    shown = capsys.readouterr().err
    assert f"left-out score {model.validation_scores_[-1]:.3f}" in shown
    assert f"{3 * 400 / 1000:.2f}k/{3 * 400 / 1000:.2f}k" in shown  # rows
    assert len(model.validation_scores_) == model.n_iter_ == 3
    assert model.validation_scores_[-1] > model.validation_scores_[0]


def test_early_stopping_trains_on_while_it_helps():
    X, y = make_friedman1(500, random_state=10)
    usual, longer = (GLNRegressor(**SMALL, early_stopping=stops).fit(X[:400], y[:400]) for stops in (False, True))
    assert longer.n_iter_ > usual.n_iter_ == 3
    assert len(longer.validation_scores_) == longer.n_iter_
    assert longer.score(X[400:], y[400:]) > usual.score(X[400:], y[400:])
    noise = np.random.default_rng(11).normal(size=400)
    assert GLNRegressor(**SMALL, early_stopping=True).fit(X[:400], noise).n_iter_ == 3
    with pytest.raises(ValueError, match="early_stopping: expected True or False, got 'yes'"):
        GLNRegressor(**SMALL).set_params(early_stopping="yes").fit(X, y)


# ---- Length and time -------------------------------------------------------------------------------------------------


TWO: dict[str, Any] = {**SMALL, "layer_sizes": (8, 4), "n_networks": 2}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        *[(30, (12, 3, 20)), (200, (12, 3, 5)), (8000, (12, 3, 3)), (9000, (12, 4, 3)), (50_000, (12, 5, 3))],
        *[(90_000, (12, 6, 3)), (100_000, (6, 6, 3)), (150_000, (6, 6, 2)), (200_000, (6, 6, 1)), (400_000, (4, 7, 1))],
        (10**9, (4, 8, 1)),
    ],
)
def test_defaults_of_fit_follow_from_the_length(rows, expected):
    settings = table_defaults(rows, 1)
    assert tuple(settings[name] for name in ("n_networks", "context_map_size", "n_epochs")) == expected
    assert table_defaults(rows, MANY_CLASSES)["n_networks"] == 6


@pytest.mark.parametrize("arguments", [{}, {"density": True, "quantiles": (0.1, 0.9)}], ids=["means", "densities"])
def test_every_network_learns_all_passes(arguments):
    X, y = np.random.default_rng(0).normal(size=(300, 2)), np.arange(300.0)
    model = GLNRegressor(**TWO, **arguments, n_epochs=4)
    assert model.fit(X, y).n_iter_ == 4
    last = 0 if model.density else 300  # over all rows
    assert all(4 * 250 < network.step - last < 4 * 280 for network in model.glns_)
