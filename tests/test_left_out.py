"""What tables learn from the rows that networks leave out: estimates, the learning rate, passes and importances."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_friedman1, make_hastie_10_2
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import cross_val_score

from gln.engine.tabular import training
from gln.engine.tabular.folds import FOLDS, counted_folds
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
    assert model.validation_scores_[-1] == pytest.approx(model.oob_score_)
    assert model.oob_score_ > 0.7


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
    assert np.mean(losses) > np.log(2) - 0.01  # two weights are learned from the same 112 rows


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


def test_copies_do_not_leak():
    """Of rows that occur three times, none is learned by a network that leaves out another one."""
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(150, 4)), rng.integers(0, 2, 150)
    model = GLNClassifier(**SMALL).fit(X.repeat(3, axis=0), y.repeat(3))
    assert model.oob_score_ < 0.65


# ---- Learning rate and passes ----------------------------------------------------------------------------------------


def test_noisy_tables_get_a_lower_learning_rate():
    X, y = make_hastie_10_2(600, random_state=0)
    clean, noisy = X[:, 0] > 0, np.random.default_rng(7).random(600) < 0.4 + 0.2 * (X[:, 0] > 0)
    model = GLNClassifier(**SMALL)
    assert model.fit(X, clean).learning_rate_ == 3.0
    assert model.fit(X, noisy).learning_rate_ == 0.3
    assert model.set_params(learning_rate=1.0).fit(X, noisy).learning_rate_ == 1.0
    assert GLNRegressor(**SMALL).fit(X, y).learning_rate_ == 0.5


@pytest.mark.parametrize("model", [GLNClassifier(**SMALL), GLNRegressor(**SMALL, quantiles=(0.1, 0.9))])
def test_there_is_a_score_for_each_pass_even_if_time_is_short(model):
    X, y = blobs(100, 9)
    model = clone(model).set_params(max_seconds=1e-9).fit(X, y)
    assert model.n_iter_ == len(model.validation_scores_) == 0


@pytest.mark.parametrize("most", [2000, 50])
def test_the_chosen_rate_gives_the_networks_that_it_alone_would_give(most, monkeypatch):
    """Also if the table is so large that the networks that choose it learn only some of its rows before."""
    monkeypatch.setattr(training, "PILOT_ROWS", most)
    X, y = blobs(200, 8)
    model = GLNClassifier(**SMALL).fit(X, y)
    loss = model.glns_[0].config.loss
    monkeypatch.setitem(RATES, loss, RATES[loss]._replace(table=(model.learning_rate_,)))
    alone = GLNClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(alone.predict_proba(X), model.predict_proba(X))
    np.testing.assert_allclose(alone.validation_scores_, model.validation_scores_)


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


# ---- Importances -----------------------------------------------------------------------------------------------------


def test_importances_are_those_of_permutation_on_other_rows():
    X, y = make_friedman1(1200, noise=0.5, random_state=12)
    model = GLNRegressor(**SMALL).fit(X[:600], y[:600])
    expected = permutation_importance(model, X[600:], y[600:], random_state=0).importances_mean
    assert np.corrcoef(model.feature_importances_, expected)[0, 1] > 0.98
    assert np.abs(model.feature_importances_[5:]).max() < 0.02  # noise
    np.testing.assert_allclose(model.feature_importances_[:5], expected[:5], rtol=0.35)


def test_importances_of_classes_and_categories():
    X, y = blobs(500, 13)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["colour"] = pd.Categorical(np.array(["red", "green", "blue"])[np.random.default_rng(14).integers(0, 3, 500)])
    frame["town"] = pd.Categorical([f"town {i % 40}" for i in np.random.default_rng(15).integers(0, 40, 500)])
    model = GLNClassifier(**SMALL).fit(frame, y)
    a, b, *others = model.feature_importances_
    assert a > b > 0.1
    assert np.abs(others).max() < 0.03


def test_files_keep_importances_that_were_computed(tmp_path):
    X, y = blobs(200, 16)
    model = GLNClassifier(**SMALL).fit(X, y)
    model.save(tmp_path / "before.gln")
    importances = model.feature_importances_
    model.save(tmp_path / "after.gln")
    before, after = (GLNClassifier.load(tmp_path / f"{name}.gln") for name in ("before", "after"))
    with pytest.raises(AttributeError, match="feature_importances_: expected a model that was just fitted"):
        _ = before.feature_importances_
    np.testing.assert_array_equal(after.feature_importances_, importances)
    assert after.oob_score_ == model.oob_score_
    assert after.learning_rate_ == model.learning_rate_
    np.testing.assert_array_equal(after.validation_scores_, model.validation_scores_)


@pytest.mark.parametrize("read", [False, True])
def test_a_stream_removes_what_left_out_rows_said(read):
    X, y = blobs(200, 17)
    for model, name in ((GLNClassifier(**SMALL), "decision_function"), (GLNRegressor(**SMALL), "prediction")):
        model.fit(X, y)
        names = f"oob_score_ oob_{name}_ validation_scores_ learning_rate_ feature_importances_".split()
        assert all(hasattr(model, name) for name in names if read or name != "feature_importances_")
        model.partial_fit(X, y)
        assert not any(hasattr(model, name) for name in names)


@pytest.mark.parametrize("rows", [2, 50])
def test_rows_of_one_target_have_no_r2(rows):
    X = np.random.default_rng(18).normal(size=(rows, 2))
    model = GLNRegressor(**SMALL).fit(X, np.arange(2.0) if rows == 2 else np.full(rows, 3.0))
    assert np.isnan([*model.validation_scores_, *model.feature_importances_]).all()


def test_a_constant_target_does_not_change_the_score_of_another_one():
    X = np.random.default_rng(19).normal(size=(100, 2))
    model = GLNRegressor(**SMALL).fit(X, np.stack([X[:, 0], np.ones(100)], axis=1))
    known = ~np.isnan(model.oob_prediction_[:, 0])
    expected = r2_score(X[known, 0], model.oob_prediction_[known, 0])
    assert model.validation_scores_[-1] == pytest.approx(expected)
    assert model.feature_importances_[0] > 0.5 > 0.1 > model.feature_importances_[1]


def test_what_was_learned_otherwise_has_no_importances():
    X, y = blobs(200, 17)
    model = GLNClassifier(**SMALL).fit(X, y).set_params(negatives=False, layer_sizes=None).fit(X, y)
    for name in ("feature_importances_", "oob_score_", "oob_decision_function_", "validation_scores_"):
        assert not hasattr(model, name)
