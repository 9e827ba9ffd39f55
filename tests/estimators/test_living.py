"""A fitted model goes on: at which paces it learns, and classes that are new."""

# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_classification, make_friedman1
from sklearn.metrics import log_loss, mean_squared_error

from gln.sklearn import GLNClassifier, GLNDensityClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 6, "n_epochs": 4, "random_state": 0}


def clusters(count: int, seed: int = 0, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(count, 6, n_informative=4, n_redundant=0, flip_y=0.1, random_state=seed, **settings)


def by_days(model: Any, X: np.ndarray, y: np.ndarray, size: int = 20) -> Any:
    for start in range(0, len(y), size):
        model.partial_fit(X[start : start + size], y[start : start + size])
    return model


# ---- Paces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("networks", [2, 3, 6, 7])
def test_networks_of_a_kind_go_on_at_three_paces_from_the_same_predictions(networks):
    X, y = clusters(300)
    model = GLNClassifier(**SMALL | {"n_networks": networks}).fit(X, y)
    before, means = model.predict_proba(X), model.learner_.means
    model.learner_.means = means.after_table()
    np.testing.assert_allclose(model.predict_proba(X), before, atol=1e-6)
    rates = model.learner_.means.rates(1)[:, 0]
    slow = means.rates(1)[:, 0]
    for kind in {member.role.name for member in means.members}:
        of_kind = [place for place, member in enumerate(means.members) if member.role.name == kind]
        expected = [(1.0, 0.1, 0.03)[number % 3] for number in range(len(of_kind))]
        np.testing.assert_allclose(rates[of_kind] / slow[of_kind], expected, rtol=1e-5)
    assert model.learner_.means.after_table() is model.learner_.means


def test_a_table_that_does_not_change_is_not_forgotten():
    gains = []
    for seed in range(6):
        X, y = clusters(2600, seed)
        frozen = GLNClassifier(**SMALL).fit(X[:300], y[:300])
        living = by_days(copy.deepcopy(frozen), X[300:600], y[300:600])
        losses = [log_loss(y[600:], model.predict_proba(X[600:])) for model in (living, frozen)]
        gains.append(losses[0] / losses[1] - 1)
    print(gains)
    assert np.mean(gains) < -0.02
    assert max(gains) < 0.01  # the error of the mean of 2,000 losses


def test_numbers_and_their_densities_go_on():
    X, y = make_friedman1(1600, noise=1, random_state=0)
    frozen = GLNRegressor(**SMALL, density=True).fit(X[:400], y[:400])
    living = by_days(copy.deepcopy(frozen), X[400:800], y[400:800])
    X, y = X[800:], y[800:]
    assert mean_squared_error(y, living.predict(X)) < mean_squared_error(y, frozen.predict(X))
    low, high = living.predict_quantiles(X).T
    assert 0.86 < np.mean((low < y) & (y < high)) < 0.95
    assert {*living.weights_} > {f"columns, {pace}" for pace in ("slow", "steady", "tiny")}


def test_what_was_noise_in_the_table_may_become_predictable():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1600, 2)), rng.normal(size=1600)
    model = GLNRegressor(**SMALL).fit(X[:400], y[:400])
    assert abs(model.score(X[:400], y[:400])) < 0.1
    y[400:] = X[400:, 0]
    assert by_days(model, X[400:1200], y[400:1200]).score(X[1200:], y[1200:]) > 0.9


def test_a_rule_that_turns_round_is_followed():
    X, y = clusters(900)
    frozen = GLNClassifier(**SMALL).fit(X[:300], y[:300])
    living = by_days(copy.deepcopy(frozen), X[300:600], 1 - y[300:600])
    assert living.score(X[600:], 1 - y[600:]) > 0.75 > 0.25 > frozen.score(X[600:], 1 - y[600:])
    weights = living.weights_
    assert weights["columns, slow"] + weights["expanded, slow"] > weights["columns, tiny"] + weights["expanded, tiny"]


def test_a_stream_begins_beside_the_table_and_is_trusted_where_it_knows_more():
    X, y = make_friedman1(4400, noise=0.3, random_state=0)
    model = GLNRegressor(**SMALL).fit(X[:400], y[:400])
    assert "stream" not in model.weights_
    X, y = X[400:, ::-1], y[400:]  # now the columns mean something else
    by_days(model, X[:2000], y[:2000])
    assert model.weights_["stream"] > 0.9
    mixed = mean_squared_error(y[2000:], model.predict(X[2000:]))
    weights = model.learner_.means.combination.weights
    weights[:] = 0.0
    weights[:, -2] = 1.0  # nothing but the stream
    alone = mean_squared_error(y[2000:], model.predict(X[2000:]))
    assert max(alone, mixed) < 0.05 * np.var(y[2000:])


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_explanations_also_tell_of_the_stream(estimator):
    X, y = clusters(900, n_classes=3)
    model = by_days(estimator(**SMALL).fit(X[:300], y[:300]), X[300:600], y[300:600])
    weights = model.learner_.means.combination.weights
    weights[:] = 0.0
    weights[:, -2] = 1.0  # nothing but the stream
    samples = model._samples(X[600:])
    contributions, constant = model.learner_.explain(samples)
    np.testing.assert_allclose(contributions.sum(axis=-1) + constant, model.learner_.decision(samples), atol=1e-3)
    assert np.abs(contributions).max() > 0.1


def test_the_rate_of_fit_does_not_fix_that_of_what_follows():
    X, y = clusters(400)
    model = GLNClassifier(**SMALL, learning_rate=1.0).fit(X[:300], y[:300])
    same = GLNClassifier(**SMALL, learning_rate=1.0, partial_learning_rate=0.0).fit(X[:300], y[:300])
    np.testing.assert_array_equal(model.predict_proba(X), same.predict_proba(X))
    before = [network.get_state()["weights.1"] for network in model.glns_]
    for each in (model, same):
        each.partial_fit(X[300:], y[300:])
    changed = [
        not np.array_equal(network.get_state()["weights.1"], old)
        for network, old in zip(model.glns_, before, strict=True)
    ]
    still = [
        np.array_equal(network.get_state()["weights.1"], old) for network, old in zip(same.glns_, before, strict=True)
    ]
    assert all(changed)
    assert all(still)
    with pytest.warns(
        UserWarning, match="learning_rate.* is that of `fit`; `partial_fit` learns at partial_learning_r"
    ):
        GLNClassifier(learning_rate=1.0).partial_fit(X, y, classes=[0, 1])


def test_nights_with_save_and_load_give_the_same_bits(tmp_path):
    X, y = clusters(400, n_classes=3, n_clusters_per_class=1)
    model = GLNClassifier(**SMALL).fit(X[:200], np.minimum(y, 1)[:200])
    other = copy.deepcopy(model)
    for start in range(200, 400, 20):
        rows = slice(start, start + 20)
        for each in (model, other):
            each.partial_fit(X[rows], y[rows], classes=[2])
        other.save(tmp_path / "model")
        other = GLNClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.weights_ == model.weights_


# ---- Classes that are new --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", ["first", "last"])
def test_a_new_class_is_learned_about_as_if_two_of_its_samples_had_been_known(new):
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, digits = X[order], y[order]
    number = 0 if new == "first" else 9
    history, days, rest = slice(0, 900), slice(900, 1400), slice(1400, None)
    is_old = digits[history] != number
    y, known = digits.astype(str), is_old.copy()
    known[np.flatnonzero(~is_old)[:2]] = True
    losses = []
    for rows in (is_old, known):
        model = GLNClassifier(**SMALL).fit(X[history][rows], y[history][rows])
        by_days(model.partial_fit(X[days][:20], y[days][:20], classes=[str(number)]), X[days][20:], y[days][20:])
        losses.append(log_loss(y[rest], model.predict_proba(X[rest])))
    print(losses)
    assert model.classes_.tolist() == sorted({*y})
    assert losses[0] < losses[1] + 0.01


def test_a_third_class_of_a_table_of_two(tmp_path):
    X, y = clusters(600, n_classes=3, n_clusters_per_class=1)
    y = np.array(["b", "c", "a"])[y]  # the new one comes first in `classes_`
    is_old = y[:300] != "a"
    model = GLNClassifier(**SMALL).fit(X[:300][is_old], y[:300][is_old])
    with pytest.warns(UserWarning, match=r"y: 'a' is new, and a class from now on; `classes` names those to expect"):
        by_days(model, X[300:500], y[300:500])
    X, y = X[500:], y[500:]
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.score(X, y) > 0.7
    contributions, constant = model.explain(X)
    np.testing.assert_allclose(contributions.sum(axis=2) + constant, model.decision_function(X), atol=1e-4)
    shown = model.predict_proba(X)
    np.testing.assert_array_equal(model.decision_function(X).argmax(axis=1), shown.argmax(axis=1))
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(GLNClassifier.load(tmp_path / "model").predict_proba(X), shown)


def test_classes_that_are_expected_have_a_small_probability_until_they_come():
    X, y = clusters(400)
    model = GLNClassifier(**SMALL).fit(X[:300], y[:300])
    control = copy.deepcopy(model).partial_fit(X[300:301], y[300:301])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X[300:301], y[300:301], classes=[-1, 7])
    after = model.predict_proba(X)
    assert model.classes_.tolist() == [-1, 0, 1, 7]
    assert after[:, [0, 3]].max() < 0.01
    np.testing.assert_allclose(after[:, 1:3], control.predict_proba(X), atol=0.02)
    with pytest.raises(ValueError, match="y, classes: expected labels of the type of"):
        model.partial_fit(X[:1], ["a"])
    assert model.classes_.tolist() == [-1, 0, 1, 7]


def test_a_class_with_a_density_may_come_at_any_time():
    X, y = clusters(300, n_classes=3, n_clusters_per_class=1)
    order = np.argsort(y == 0, kind="stable")  # class 0 comes last
    cut = int((y != 0).sum())
    whole = GLNDensityClassifier(shuffle=False, random_state=0).fit(X[order], y[order])
    model = GLNDensityClassifier(shuffle=False, random_state=0).fit(X[order][:cut], y[order][:cut])
    model.partial_fit(X[order][cut:], y[order][cut:], classes=[0])
    np.testing.assert_allclose(model.predict_proba(X), whole.predict_proba(X), atol=1e-6)
