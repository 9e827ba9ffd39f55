"""Importances of features, from the rows that networks leave out, and what of these rows a model keeps."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_friedman1
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from test_training import SMALL, blobs

from gln.sklearn import GLNClassifier, GLNDensityClassifier, GLNRegressor


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
    rng = np.random.default_rng(19)
    X = rng.normal(size=(100, 2))
    y = X[:, 0] + rng.normal(size=100) / 2
    model = GLNRegressor(**SMALL).fit(X, np.stack([y, np.ones(100)], axis=1))
    known = ~np.isnan(model.oob_prediction_[:, 0])
    expected = r2_score(y[known], model.oob_prediction_[known, 0])
    assert 0.6 < expected < 0.9
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=0.03)
    assert model.feature_importances_[0] > 0.5 > 0.1 > model.feature_importances_[1]


def test_what_was_learned_otherwise_has_no_importances():
    X, y = blobs(200, 17)
    model = GLNDensityClassifier().fit(X, y)
    for name in ("feature_importances_", "oob_score_", "oob_decision_function_", "validation_scores_"):
        assert not hasattr(model, name)
