"""The scikit-learn regressor: its conventions, its accuracy and intervals at the defaults, streams, odd targets."""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state, backend_name, learner_state, watch_rates
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_pinball_loss, mean_squared_error
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from gln.sklearn import GLNRegressor

Data = tuple[np.ndarray, np.ndarray]
DIABETES: Data = load_diabetes(return_X_y=True)
FRIEDMAN: Data = make_friedman1(600, noise=1, random_state=0)
ENDS = (0.05, 0.95)


def streamed(data: Data, parts: int = 1, **arguments: Any) -> GLNRegressor:
    model = GLNRegressor(random_state=0, quantiles=ENDS, **arguments)
    for rows in np.array_split(np.arange(len(data[0])), parts):
        model.partial_fit_predict(data[0][rows], data[1][rows])  # each before it is learned
    return model


@pytest.fixture(scope="module")
def fitted() -> GLNRegressor:
    """Trained once for all tests, on the first 400 diabetes samples; tests must not train it further."""
    return GLNRegressor(random_state=0, quantiles=ENDS).fit(DIABETES[0][:400], DIABETES[1][:400])


@pytest.mark.slow
@parametrize_with_checks([GLNRegressor((4, 2), n_networks=2)])
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([GLNRegressor(), GLNRegressor((4, 2), n_networks=2, quantiles=(0.9, 0.1))])
def test_conventions_of_scikit_learn_at_the_defaults_and_with_quantiles(estimator, check):
    check(estimator)


# ---- Accuracy at the defaults ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_linear_table_is_predicted_nearly_as_by_a_linear_model():
    folds = KFold(5, shuffle=True, random_state=0)
    ours, linear = (
        cross_val_score(model, *DIABETES, cv=folds).mean() for model in (GLNRegressor(random_state=0), RidgeCV())
    )
    assert ours > linear - 0.05


def test_a_curved_table_is_predicted_as_by_trees():
    folds = KFold(5, shuffle=True, random_state=0)
    ours, trees, linear = (
        cross_val_score(model, *FRIEDMAN, cv=folds).mean()
        for model in (GLNRegressor(random_state=0), HistGradientBoostingRegressor(random_state=0), RidgeCV())
    )
    assert ours > linear + 0.1
    assert ours > trees - 0.02


@pytest.mark.parametrize(
    "data", [pytest.param(DIABETES, id="diabetes"), pytest.param(FRIEDMAN, id="friedman1", marks=pytest.mark.slow)]
)
def test_intervals_have_their_coverage(data):
    (X, y), held, ours, trees = data, [], [], []
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        model = GLNRegressor(random_state=0, quantiles=ENDS).fit(X[train], y[train])
        ends = model.predict_quantiles(X[test])
        assert (ends[:, 0] <= ends[:, 1]).all()
        held.append(np.mean((ends[:, 0] <= y[test]) & (y[test] <= ends[:, 1])))
        for i, level in enumerate(ENDS):
            boosted = HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=0)
            ours.append(mean_pinball_loss(y[test], ends[:, i], alpha=level))
            trees.append(mean_pinball_loss(y[test], boosted.fit(X[train], y[train]).predict(X[test]), alpha=level))
    assert 0.85 < np.mean(held) < 0.95
    assert np.mean(ours) < np.mean(trees)


def test_a_single_quantile_has_its_share_of_targets_below():
    X, y = FRIEDMAN
    model = GLNRegressor([8], n_networks=8, quantiles=[0.2], random_state=0).fit(X[:400], y[:400])
    assert np.mean(y[400:] < model.predict_quantiles(X[400:])[:, 0]) == pytest.approx(0.2, abs=0.08)


@pytest.mark.slow
def test_rates_fall_in_fit_and_a_stream_may_follow(monkeypatch):
    rates = watch_rates(monkeypatch)
    X, y = DIABETES
    model = GLNRegressor(n_epochs=4, n_networks=1, backend="numpy").fit(X, y)
    expected = [1.5 - 1.49 * epoch / 4 for epoch in range(4)]
    np.testing.assert_allclose(rates, [*expected, 0.45], rtol=1e-6)  # the last one of what was left out
    assert [g.learning_rate(0) for g in model.learner_.networks] == [0.3]
    steps = [g.step for g in model.learner_.networks]
    assert [g.step for g in model.partial_fit(X, y).learner_.networks] == [step + len(X) for step in steps]
    assert GLNRegressor(layer_sizes=[2], backend="numpy").fit(X, y).n_iter_ == 3
    assert GLNRegressor(layer_sizes=[2], backend="numpy").fit(X[:60], y[:60]).n_iter_ == 16


# ---- Streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 7, 442])
def test_a_stream_in_parts_is_the_stream_in_one(parts):
    whole, cut = streamed(DIABETES), streamed(DIABETES, parts)
    np.testing.assert_allclose(cut.predict(DIABETES[0]), whole.predict(DIABETES[0]), atol=1e-3)
    ends = whole.predict_quantiles(DIABETES[0])
    np.testing.assert_allclose(cut.predict_quantiles(DIABETES[0]), ends, atol=1e-3)
    assert [g.step for g in cut.learner_.networks] == [442] * 5


def test_a_stream_is_learned():
    X, y = FRIEDMAN
    model = streamed((X[:500], y[:500]))
    assert model.score(X[500:], y[500:]) > 0.6
    ends = model.predict_quantiles(X[500:])
    assert 0.85 < ((ends[:, 0] <= y[500:]) & (y[500:] <= ends[:, 1])).mean() <= 1


# ---- Odd targets -----------------------------------------------------------------------------------------------------


def learned(how: str, X: np.ndarray, y: np.ndarray) -> GLNRegressor:
    return getattr(GLNRegressor(random_state=0, quantiles=ENDS), how)(X, y)


HOW = pytest.mark.parametrize("how", ["fit", "partial_fit"])


@HOW
@pytest.mark.filterwarnings("error")
def test_targets_far_from_zero(how):
    X, y = FRIEDMAN
    z = (y - y.mean()) / y.std()
    near, far = learned(how, X, z), learned(how, X, 1e9 + z)
    # In `fit`, rounding may decide which of two equally good halfspaces is chosen.
    atol = {"fit": 0.1, "partial_fit": 1e-4}[how]
    np.testing.assert_allclose(far.predict(X) - 1e9, near.predict(X), atol=atol)
    np.testing.assert_allclose(far.predict_quantiles(X) - 1e9, near.predict_quantiles(X), atol=atol)
    assert far.score(X, 1e9 + z) == pytest.approx(near.score(X, z), abs=1e-3)


@HOW
@pytest.mark.filterwarnings("error", "ignore:density. intervals are fitted on 1 of 1 rows")
@pytest.mark.parametrize("count", [1, 300])
def test_targets_that_never_vary_are_predicted_exactly(how, count):
    X, y = DIABETES[0][:count], np.full(count, 0.1)
    model = learned(how, X, y)
    np.testing.assert_array_equal(model.predict(DIABETES[0]), 0.1)
    np.testing.assert_array_equal(model.predict_quantiles(DIABETES[0]), 0.1)


def rare(count: int = 4000, many: int = 13) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets, and which few targets are 1,000 deviations higher, as the last feature indicates."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(count, 4))
    X[:, 3] = 0
    chosen = rng.choice(count, many, replace=False)
    X[chosen, 3] = 1
    return X, X[:, 0] + rng.normal(size=count) + 1000 * X[:, 3], chosen


@HOW
def test_rare_large_targets_are_not_predicted_as_the_mean(how):
    X, y, chosen = rare()
    said = getattr(GLNRegressor(random_state=0), how)(X, y).predict(X)
    assert said[chosen].mean() > (500 if how == "fit" else 200)  # 10 standard deviations of all targets are 573
    assert abs(np.delete(said, chosen).mean()) < 1


def test_a_long_tail_belongs_to_the_mean():
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(10000, 3)), rng.normal(size=10000)
    y = np.exp(2.5 * (0.8 * X[:, 0] + 0.6 * noise))  # the 18 largest are a third of the sum
    said = GLNRegressor(random_state=0).fit(X, y).predict(X)
    assert 0.8 < said.sum() / y.sum() < 1.1


@HOW
def test_one_wrong_target_leaves_the_others(how):
    X, y = FRIEDMAN
    wrong = y.copy()
    wrong[117] = 1e6 * y.std()
    clean, bad = (getattr(GLNRegressor(random_state=0), how)(X[:300], of[:300]) for of in (y, wrong))
    assert bad.score(X[300:], y[300:]) > clean.score(X[300:], y[300:]) - 0.2


# ---- Input and output ------------------------------------------------------------------------------------------------


def test_several_targets():
    X, y = DIABETES
    both = np.stack([y, 1000 * X[:, 2] + np.random.default_rng(0).normal(0, 50, 442)], axis=1)
    model = GLNRegressor(random_state=0, quantiles=[0.9, 0.1, 0.5]).fit(X[:300], both[:300])
    alone = GLNRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.predict(X).shape == (442, 2)
    quantiles = model.predict_quantiles(X)
    assert quantiles.shape == (442, 2, 3)
    assert (np.diff(quantiles, axis=2) >= 0).all()
    # Of both targets together, since that of one differs by as much as 0.1 between seeds.
    assert (both[:, :, None] <= quantiles).mean(axis=(0, 1)) == pytest.approx(np.array([0.1, 0.5, 0.9]), abs=0.1)
    # Targets share halfspaces and pairs of features, and are as good as alone.
    errors = [mean_squared_error(y[300:], predicted[300:]) for predicted in (model.predict(X)[:, 0], alone.predict(X))]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert model.predict(X[:1]).shape == (1, 2)
    column = GLNRegressor(random_state=0).fit(X[:300], both[:300, :1])
    np.testing.assert_array_equal(column.predict(X), alone.predict(X)[:, None])
    with pytest.raises(ValueError, match=r"y: expected shape \('N', 2\), as in the first call, got \(442,\)"):
        model.partial_fit(X, y)


@pytest.mark.parametrize("targets", [1, 2])
def test_explanations_add_up_to_the_predictions(targets):
    X, y = DIABETES
    y = y if targets == 1 else np.stack([y, -2 * y + X[:, 0]], axis=1)
    model = GLNRegressor(random_state=0).fit(X[:300], y[:300])
    samples = X[280:].copy()
    samples[0, 2] = 1e3  # is clipped
    contributions, constant = model.explain(samples)
    assert contributions.shape == (162, 10) if targets == 1 else (162, 2, 10)
    np.testing.assert_allclose(contributions.sum(axis=-1) + constant, model.predict(samples), rtol=1e-4)


def test_constant_features_contribute_nothing():
    X, y = FRIEDMAN
    X = X.copy()
    X[:, 3] = 7
    contributions, _ = GLNRegressor(random_state=0).fit(X, y).explain(X)
    np.testing.assert_array_equal(contributions[:, 3], 0)
    assert contributions[:, :3].std(axis=0).min() > 0.1


def test_no_quantiles_without_a_density():
    model = GLNRegressor()
    for call in (model.predict, model.predict_quantiles, model.explain):
        with pytest.raises(NotFittedError):
            call(DIABETES[0])
    with pytest.raises(ValueError, match="levels: expected density=True or quantiles when the model was fitted, got"):
        model.fit(*DIABETES).predict_quantiles(DIABETES[0])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"quantiles": [0.5, 1.0]}, ValueError, id="a level of one"),
        pytest.param({"quantiles": []}, ValueError, id="no level"),
        pytest.param({"quantiles": 0.5}, ValueError, id="a number"),
    ],
)
def test_bad_parameters(arguments, error):
    model = GLNRegressor(**arguments)
    with pytest.raises(error, match=next(iter(arguments))):
        model.fit(*DIABETES)
    with pytest.raises(NotFittedError):
        model.predict(DIABETES[0])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        pytest.param(DIABETES[0], np.where(DIABETES[1] > 300, np.nan, DIABETES[1]), "NaN", id="NaN"),
        pytest.param(DIABETES[0], DIABETES[1] * 1e37, "Input y .* too large", id="beyond float32"),
        pytest.param(DIABETES[0], DIABETES[1][:9], "inconsistent numbers", id="too few targets"),
        pytest.param(DIABETES[0], np.array(["a"] * 442), "^y: expected numbers, got ndarray", id="text"),
        pytest.param(DIABETES[0], np.zeros(442, "M8[s]"), "^y: expected numbers, got .*dates or", id="dates"),
    ],
)
def test_bad_input_changes_nothing(X, y, message):
    model = streamed((DIABETES[0][:50], DIABETES[1][:50]))
    before = learner_state(model.learner_)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, y)
    assert_same_state(learner_state(model.learner_), before)


# ---- Every backend ---------------------------------------------------------------------------------------------------


@pytest.mark.compiles
def test_backends_agree(backend):
    X, y = DIABETES[0][:150], DIABETES[1][:150]
    arguments: dict[str, Any] = {"layer_sizes": (8,), "n_epochs": 1, "n_networks": 1, "random_state": 1}
    names = backend_name(backend), "numpy"
    model, reference = (GLNRegressor(backend=name, **arguments).fit(X, y) for name in names)
    assert isinstance(model.glns_[0], backend.GLN)
    np.testing.assert_allclose(model.predict(X), reference.predict(X), atol=0.05)
    # In `fit`, rounding may decide which of two equally good halfspaces predicts the widths of densities.
    model, reference = (GLNRegressor(backend=name, quantiles=ENDS, **arguments).partial_fit(X, y) for name in names)
    np.testing.assert_allclose(model.predict_quantiles(X), reference.predict_quantiles(X), atol=0.05)
