"""Classes that learn from their own samples alone, in any order, in every backend."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import backend_name
from scipy.stats import multivariate_t
from sklearn.datasets import load_digits, load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

from gln.engine.class_density.density import degrees_of_freedom, frequencies, inverse_temperature, log_density
from gln.sklearn import GLNClassifier, GLNDensityClassifier
from test_mnist import calibration_error

OPTIONS: dict[str, Any] = {"random_state": 0}
SMALL: dict[str, Any] = {**OPTIONS, "layer_sizes": (8, 4), "backend": "numpy"}


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits of 64 pixels, shuffled, and their labels."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order]


@pytest.fixture(scope="module")
def flowers() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order]


def by_class(y: np.ndarray) -> np.ndarray:
    return np.argsort(y, kind="stable")


@pytest.mark.slow
@parametrize_with_checks([GLNDensityClassifier((4, 2), backend="numpy")])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# ---- Order ---------------------------------------------------------------------------------------------------------


def test_a_stream_sorted_by_class_gives_the_same_model_as_one_that_is_shuffled(pixels):
    X, y = pixels[0][:1200], pixels[1][:1200]
    shuffled = GLNDensityClassifier(**OPTIONS).partial_fit(X, y, classes=range(10))
    ordered = GLNDensityClassifier(**OPTIONS)
    for digit in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7):
        ordered.partial_fit(X[y == digit], y[y == digit], classes=range(10))
    T, t = pixels[0][1200:], pixels[1][1200:]
    np.testing.assert_array_equal(ordered.predict_proba(T), shuffled.predict_proba(T))
    assert shuffled.score(T, t) > 0.95
    usual = GLNClassifier(random_state=0).partial_fit(X[by_class(y)], y[by_class(y)], classes=range(10))
    assert usual.score(T, t) < 0.6


def test_a_late_class_is_not_held_back(flowers):
    X, y = flowers
    model = GLNDensityClassifier(**OPTIONS).partial_fit(X[y < 2], y[y < 2], classes=range(3))
    late = X[y == 2]
    before = model.predict_proba(late)[:, 2]
    assert before.min() > 0  # not starved, even if never seen
    model.partial_fit(late[:3], np.full(3, 2))
    assert model.predict_proba(late[3:])[:, 2].mean() > before.mean() + 0.1
    assert (model.predict(X[y == 0]) == 0).all()
    model.partial_fit(late[3:25], np.full(22, 2))
    assert (model.predict(late[25:]) == 2).mean() > 0.8


def test_probabilities_are_calibrated(pixels):
    X, y = pixels
    model = GLNDensityClassifier(**OPTIONS).partial_fit(X[:1200], y[:1200], classes=range(10))
    p, t = model.predict_proba(X[1200:]), y[1200:]
    assert -np.log(p[np.arange(len(t)), t]).mean() < 0.2
    assert calibration_error(p.max(axis=1), p.argmax(axis=1) == t) < 0.03


# ---- Learning ------------------------------------------------------------------------------------------------------


def test_several_calls_learn_the_same_as_one_and_a_file_continues(pixels, tmp_path):
    X, y = pixels[0][:300], pixels[1][:300]
    whole = GLNDensityClassifier(**OPTIONS).partial_fit(X, y, classes=range(10))
    cut = GLNDensityClassifier(**OPTIONS).partial_fit(X[:1], y[:1], classes=range(10))
    cut.partial_fit(X[1:140], y[1:140])
    cut.save(tmp_path / "model.gln")
    loaded = GLNDensityClassifier.load(tmp_path / "model.gln").partial_fit(X[140:], y[140:])
    for model in (cut.partial_fit(X[140:], y[140:]), loaded):
        np.testing.assert_array_equal(model.predict_proba(X), whole.predict_proba(X))


def test_a_sample_of_weight_two_counts_as_two(flowers):
    X, y = flowers
    weights = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    weighted = GLNDensityClassifier(**SMALL).partial_fit(X, y, classes=range(3), sample_weight=weights)
    rows = np.repeat(np.arange(len(y)), weights.astype(int))
    repeated = GLNDensityClassifier(**SMALL).partial_fit(X[rows], y[rows], classes=range(3))
    for one, other in zip(weighted.learner_.classes, repeated.learner_.classes, strict=True):
        assert one.count == other.count
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-5)
        np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-4, atol=1e-4)
    half = GLNDensityClassifier(**SMALL).partial_fit(X, y, classes=range(3), sample_weight=np.full(len(y), 0.5))
    assert [density.count for density in half.learner_.classes] == [25, 25, 25]
    classes = GLNDensityClassifier(class_weight={0: 2, 1: 1, 2: 0.5}, **SMALL).partial_fit(X, y, classes=range(3))
    assert [density.count for density in classes.learner_.classes] == [100, 50, 25]


def test_moments_are_those_of_the_samples(flowers):
    X, y = flowers[0].copy(), flowers[1]
    X[::7, 1] = np.nan
    density = GLNDensityClassifier(**SMALL).partial_fit(X, y, classes=range(3)).learner_.classes[1]
    samples = X[y == 1]
    np.testing.assert_allclose(density.mean, np.nanmean(samples, axis=0))
    np.testing.assert_allclose(np.diag(density.covariance()), np.nanvar(samples, axis=0))
    complete = samples[:, [0, 2, 3]]
    np.testing.assert_allclose(density.covariance()[np.ix_([0, 2, 3], [0, 2, 3])], np.cov(complete.T, bias=True))


def test_networks_learn_what_a_normal_density_lacks():
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 4000) * 2 - 1
    X = np.stack([side * 1.0, np.zeros(4000)], axis=1) + 0.2 * rng.normal(size=(4000, 2))  # two heaps
    y = np.zeros(4000, int)
    X[::2], y[::2] = rng.normal(size=(2000, 2)) * [1.02, 0.2], 1  # one heap of the same mean and covariance
    model = GLNDensityClassifier(**OPTIONS).partial_fit(X[:3000], y[:3000], classes=[0, 1])
    assert model.score(X[3000:], y[3000:]) > 0.72


# ---- Values --------------------------------------------------------------------------------------------------------


def test_missing_values_and_categories_in_any_order():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    frame = pd.DataFrame({"a": rng.normal(size=600) + y, "b": rng.normal(size=600)})
    frame["c"] = pd.Categorical(np.where(rng.random(600) < 0.8, np.array(["x", "y", "z"])[y], "x"))
    frame.loc[::5, "a"], frame.loc[::9, "c"] = np.nan, None
    levels = pd.CategoricalDtype(["x", "y", "z"])
    frame["c"] = frame["c"].astype(levels)
    model = GLNDensityClassifier(**OPTIONS).partial_fit(frame[:400], y[:400], classes=range(3))
    order = by_class(y[:400])
    ordered = GLNDensityClassifier(**OPTIONS).partial_fit(frame.iloc[order], y[order], classes=range(3))
    np.testing.assert_allclose(ordered.predict_proba(frame), model.predict_proba(frame), atol=1e-9)
    assert model.score(frame[400:], y[400:]) > 0.75
    without = model.predict_proba(frame.assign(c=pd.Categorical([None] * 600, dtype=levels)))
    assert (without.argmax(axis=1)[400:] == y[400:]).mean() < 0.6
    np.testing.assert_allclose(model.predict_proba(frame.assign(a=np.nan)).sum(axis=1), 1)


def test_an_unknown_value_says_nothing(flowers):
    X, y = flowers
    model = GLNDensityClassifier(**SMALL).partial_fit(X, y, classes=range(3))
    far = X[:20].copy()
    far[:, 2] = 1e30
    unknown = X[:20].copy()
    unknown[:, 2] = np.nan
    np.testing.assert_array_equal(model.predict_proba(far), model.predict_proba(unknown))
    np.testing.assert_allclose(model.predict_proba(np.full((1, 4), np.nan)), 1 / 3, atol=0.15)


def test_a_feature_that_appears_late_is_learned():
    river = pytest.importorskip("gln.river")
    rng = np.random.default_rng(0)
    model = river.GLNDensityClassifier(seed=0, layer_sizes=(8, 4))
    for i in range(300):
        label, x = i % 2, {"a": rng.normal()}
        if i > 100:
            x["b"] = rng.normal() + 4 * label
        model.learn_one(x, label)
    assert model.predict_proba_one({"a": 0.0, "b": 4.0})[1] > 0.9
    assert model.predict_proba_one({"a": 0.0, "b": 0.0})[0] > 0.9
    assert abs(model.predict_proba_one({"a": 0.0})[0] - 0.5) < 0.2


# ---- Predictions ---------------------------------------------------------------------------------------------------


def test_river_predicts_before_it_learns_and_continues_from_a_file(tmp_path):
    river = pytest.importorskip("gln.river")
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")).assign(d=rng.choice(["u", "v"], 60))
    labels = np.where(frame["a"] + (frame["d"] == "u") > 0, "yes", "no").tolist()
    options: dict[str, Any] = {"seed": 0, "layer_sizes": (8, 4)}
    model, together, turns = (river.GLNDensityClassifier(**options) for _ in range(3))
    p = []
    for i, (x, label) in enumerate(zip(frame.to_dict("records"), labels, strict=True)):
        p.append([model.predict_proba_one(x).get(name, 0) for name in ("yes", "no")])
        model.learn_one(x, label)
        if i == 30:
            model.save(tmp_path / "model.gln")
            model = river.GLNDensityClassifier.load(tmp_path / "model.gln")
    found = turns.predict_learn_many(frame, labels)[["yes", "no"]].to_numpy()
    np.testing.assert_array_equal(found, p)
    together.learn_many(frame, pd.Series(labels))
    np.testing.assert_array_equal(together.predict_proba_many(frame), model.predict_proba_many(frame))
    contributions, constants = model.explain_one(frame.iloc[0].to_dict())
    p = model.predict_proba_one(frame.iloc[0].to_dict())
    logit = sum(contributions["yes"].values()) + constants["yes"]
    assert logit == pytest.approx(np.log(p["yes"] / p["no"]), abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_contributions_add_up_and_predictions_come_before_learning(flowers, classes):
    X, y = flowers[0], np.minimum(flowers[1], classes - 1)
    model = GLNDensityClassifier(n_networks=2, **SMALL)
    before = model.partial_fit_predict_proba(X[:60], y[:60], classes=range(classes))
    same = GLNDensityClassifier(n_networks=2, **SMALL).partial_fit(X[:59], y[:59], classes=range(classes))
    np.testing.assert_array_equal(before[-1:], same.predict_proba(X[59:60]))
    contributions, constant = model.explain(X)
    decision, p = model.decision_function(X), model.predict_proba(X)
    np.testing.assert_allclose(contributions.sum(axis=1 + (classes > 2)) + constant, decision, atol=1e-3)
    logits = np.stack([np.zeros(len(X)), decision], axis=1) if classes == 2 else decision
    np.testing.assert_allclose(np.log(p / p[:, :1]), logits - logits[:, :1], atol=1e-9)


@pytest.mark.compiles
def test_backends_agree(flowers, backend):
    X, y = flowers
    expected = GLNDensityClassifier(**SMALL).partial_fit(X, y, classes=range(3)).predict_proba(X)
    model = GLNDensityClassifier(**SMALL | {"backend": backend_name(backend)}).partial_fit(X, y, classes=range(3))
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-4)


def test_density_is_that_of_students_t_distribution():
    covariance, x = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -2.0])
    squares = np.array([x @ np.linalg.solve(covariance, x)])
    expected = multivariate_t(shape=covariance, df=5).logpdf(x) - multivariate_t(shape=covariance, df=5).logpdf([0, 0])
    np.testing.assert_allclose(log_density(squares, np.array([2]), 5.0), expected)


def test_tails_are_estimated():
    from scipy.special import polygamma

    rng = np.random.default_rng(0)
    for freedom in (3.0, 10.0):
        z = rng.normal(size=(20000, 6)) * np.sqrt(freedom / rng.chisquare(freedom, (20000, 1)))
        logs = np.log(np.square(z).sum(axis=1))
        scores = np.array([len(z), logs.mean(), len(z) * logs.var(), len(z) * polygamma(1, 3.0)])
        assert degrees_of_freedom(scores) == pytest.approx(freedom, rel=0.1)
    assert inverse_temperature(np.array([10, 0, 40, 10])) == 0.5
    assert inverse_temperature(np.array([10, 0, 5, 10])) == 1
    np.testing.assert_allclose(frequencies(np.array([3.0, 0.0]), np.ones(2)), [3.5 / 4, 0.5 / 4])


@pytest.mark.slow
def test_rivers_checks():
    river = pytest.importorskip("gln.river")
    from river import checks

    checks.check_estimator(river.GLNDensityClassifier((8, 4), seed=1))


def test_it_cannot_be_exported(flowers, tmp_path):
    onnx = pytest.importorskip("gln.onnx", exc_type=ImportError)
    with pytest.raises(ValueError, match="model: expected a GLN, or a GLNClassifier or GLNRegressor"):
        onnx.export(GLNDensityClassifier(**SMALL).fit(*flowers), tmp_path / "model.onnx")


# ---- Arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": "no"}, "shuffle: expected True or False, got 'no'"),
        ({"n_networks": 0}, "n_networks == 0, must be >= 1"),
    ],
)
def test_bad_parameters_are_refused(flowers, options, message):
    X, y = flowers
    with pytest.raises(ValueError, match=message):
        GLNDensityClassifier(**SMALL | options).fit(X, y)
    with pytest.raises(ValueError, match=message):
        GLNDensityClassifier(**SMALL | options).partial_fit(X, y, classes=range(3))


def test_too_many_features_are_refused():
    with pytest.raises(ValueError, match="features: expected at most 1000, as each pair has a number, got 1001"):
        GLNDensityClassifier(**SMALL).partial_fit(np.zeros((2, 1001)), [0, 1], classes=[0, 1])


def test_fit_learns_a_table_once_in_random_order(flowers):
    X, y = flowers
    model = GLNDensityClassifier(**OPTIONS).fit(X[:100], y[:100])
    assert model.score(X[100:], y[100:]) > 0.9
    assert [density.samples for density in model.learner_.classes] == np.bincount(y[:100]).tolist()
    back = GLNDensityClassifier(**OPTIONS).fit(X[:100][::-1], y[:100][::-1])
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    again = GLNDensityClassifier(shuffle=False, **OPTIONS).fit(X[:100], y[:100])
    stream = GLNDensityClassifier(**OPTIONS).partial_fit(X[:100], y[:100], classes=range(3))
    np.testing.assert_array_equal(again.predict_proba(X), stream.predict_proba(X))


def test_a_stream_whose_first_sample_has_too_many_features_changes_nothing():
    river = pytest.importorskip("gln.river")
    model = river.GLNDensityClassifier(layer_sizes=(4, 2), seed=0)
    samples = [{f"key {i}": 1.0 for i in range(1001)}, {"a": 1.0}]
    with pytest.raises(ValueError, match="features: expected at most 1000, as each pair has a number, got 1001"):
        model.predict_learn_many(samples, ["x"] * 2)
    assert (model._stream.learner, model._stream.schema.classes, model.known_names) == (None, {}, {})


@pytest.mark.parametrize("late", [4, 5])
def test_words_that_would_be_too_many_features_stay_words(late, monkeypatch):
    river = pytest.importorskip("gln.river")
    monkeypatch.setattr("gln.engine.streaming.schema.MOST_FEATURES", 5)
    model = river.GLNDensityClassifier(layer_sizes=(4, 2), seed=0)
    samples = [{"a": 1.0}, *({"a": 1.0, **{f"key {i}": 1.0 for i in range(late)}} for _ in range(30))]
    model.predict_learn_many(samples, ["x", "y", "z"] * 10 + ["x"])
    places, words = model._stream.schema.indices, model._stream.schema.words
    assert (len(places), len(words)) == ((5, 0) if late == 4 else (1, 5))
    assert model.predict_proba_one(samples[-1]).keys() == {"x", "y", "z"}


def test_a_class_of_samples_without_features_is_predicted_too():
    river = pytest.importorskip("gln.river")
    model = river.GLNDensityClassifier(layer_sizes=(4, 2), seed=0)
    for x, label in (({}, "x"), ({}, "y"), ({"a": 1.0}, "x")):
        model.learn_one(x, label)
    p = model.predict_proba_one({"a": 1.0})
    assert p["x"] > p["y"] > 0
