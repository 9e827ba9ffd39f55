"""Labels that come late: the last neuron learns from what was said when samples were predicted."""
# ruff: noqa: N803, N806 - X is River's name

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gln.engine.streaming.waiting import Waiting, key_of
from gln.river import GLNClassifier, GLNMultiTargetRegressor, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 0}
DAY = 20


def days(count: int = 40, classes: int = 2, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A signal beside a level that is the same all day: who has just seen a label of a day knows all others."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(count * DAY, 3)), columns=list("abc"))
    level = 2.5 * rng.normal(size=count).repeat(DAY)
    signal = X["a"].to_numpy() + X["b"].to_numpy() * X["c"].to_numpy() + level
    return X, np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes)) if classes else signal


def dictionaries(X: pd.DataFrame) -> list[Any]:
    return X.to_dict("records")


def combinations(model: Any) -> list[np.ndarray]:
    return [ensemble.combination.weights for ensemble in model._stream.learner.ensembles]


MODELS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "classes": (GLNClassifier, {}, 2),
    "many classes": (GLNClassifier, {}, 7),
    "numbers": (GLNRegressor, {}, 0),
    "density": (GLNRegressor, {"density": True}, 0),
}


@pytest.mark.parametrize("backend", ["numba", pytest.param("numpy", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", MODELS)
def test_what_was_said_is_learned_when_labels_come(kind, backend, tmp_path):
    """One by one with `waiting`, saved and loaded in between, as day by day with `late`."""
    pytest.importorskip(f"gln_{backend}")
    cls, options, classes = MODELS[kind]
    X, y = days(12, classes)
    by_day, one_by_one = cls(**SMALL, **options, backend=backend), cls(**SMALL, **options, backend=backend, waiting=50)
    at_once = cls(**SMALL, **options, backend=backend)
    for start in range(0, len(y), DAY):
        rows = slice(start, start + DAY)
        by_day.learn_many(X[rows], pd.Series(y[rows]), late=True)
        at_once.learn_many(X[rows], pd.Series(y[rows]))
        for x in dictionaries(X[rows]):
            one_by_one.predict_one(x)
        one_by_one.save(tmp_path / "model")
        one_by_one = cls.load(tmp_path / "model")
        for x, target in zip(dictionaries(X[rows]), y[rows].tolist(), strict=True):
            one_by_one.learn_one(dict(reversed(x.items())), target)
        assert len(one_by_one._stream.waiting) == 0
    for found, expected, other in zip(*map(combinations, (one_by_one, by_day, at_once)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert np.abs(found - other).max() > 1e-3


@pytest.mark.parametrize("classes", [0, 2])
def test_late_labels_are_predicted_better_by_who_learns_from_what_was_said(classes):
    X, y = days(150, classes)
    losses = []
    for late in (False, True):
        model: Any = GLNClassifier(seed=0) if classes else GLNRegressor(seed=0)
        found = []
        for start in range(0, len(y), DAY):
            rows = slice(start, start + DAY)
            if start > 5 * DAY and classes:
                p = model.predict_proba_many(X[rows]).to_numpy()[np.arange(DAY), y[rows]]
                found.append(-np.log(p.clip(1e-3)).mean())
            elif start > 5 * DAY:
                found.append(np.square(model.predict_many(X[rows]) - y[rows]).mean())
            model.learn_many(X[rows], pd.Series(y[rows]), late=late)
        losses.append(np.mean(found[50:]))
    assert losses[1] < 0.9 * losses[0]


def test_a_model_that_has_grown_learns_what_was_said_before(tmp_path):
    """A class, a feature and names that are new."""
    model = GLNClassifier(**SMALL, waiting=10)
    for i in range(30):
        model.learn_one({"a": float(i % 5)}, i % 2)
    waiting = [{"a": float(i)} for i in range(4)]
    for x in waiting:
        model.predict_proba_one(x)
    for i in range(6):
        model.learn_one({"a": 1.0, "b": float(i), "name": "x" if i % 2 else "y"}, 2 + i % 3)
    before = combinations(model)[0].copy()
    model.learn_many(pd.DataFrame([*waiting, {"a": 9.0}]), pd.Series([0, 1, 0, 4, 3]))
    assert np.isfinite(combinations(model)[0]).all()
    assert np.abs(combinations(model)[0] - before).max() > 0
    assert sum(model.predict_proba_one({"a": 1.0}).values()) == pytest.approx(1)


def test_several_targets_wait():
    model, rng = GLNMultiTargetRegressor(**SMALL, waiting=5), np.random.default_rng(0)
    for x in dictionaries(pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])):
        model.predict_one(x)
        model.learn_one(x, {"sum": x["a"] + x["b"], "first": x["a"]})
    assert len(model._stream.waiting) == 0
    model.predict_one({"a": 1.0, "b": 2.0})
    model.learn_one({"a": 5.0, "b": 2.0}, {"sum": 7.0, "new": 1.0})
    model.learn_one({"a": 1.0, "b": 2.0}, {"sum": 3.0, "new": 1.0})  # was not there when it was predicted
    assert np.isfinite(combinations(model)[0]).all()


def test_targets_far_from_zero_wait_with_all_their_digits():
    X, y = days(15, 0)
    weights = []
    for offset in (0.0, 1e9):
        model = GLNRegressor(**SMALL, waiting=DAY)
        for start in range(0, len(y), DAY):
            rows = slice(start, start + DAY)
            model.predict_many(X[rows])
            model.learn_many(X[rows], pd.Series(offset + y[rows]))
        weights += combinations(model)
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-3)


def test_what_is_said_before_a_target_has_varied_does_not_keep_a_model_from_being_loaded(tmp_path):
    model = GLNRegressor(**SMALL, density=True, waiting=5)
    model.learn_one({"a": 1.0}, 1.0)
    model.predict_one({"a": 2.0})
    model.save(tmp_path / "model")
    model = GLNRegressor.load(tmp_path / "model")
    model.learn_one({"a": 2.0}, 3.0)
    assert np.isfinite(model.predict_one({"a": 2.0}, with_dist=True).sigma)


@pytest.mark.parametrize("kind", MODELS)
def test_predictions_are_those_of_a_model_where_nothing_waits(kind):
    """Though they are combined from what is kept."""
    cls, options, classes = MODELS[kind]
    X, y = days(3, classes)
    models = [cls(**SMALL, **options, waiting=waiting) for waiting in (0, 100)]
    for model in models:
        model.learn_many(X, pd.Series(y))
    for one in dictionaries(X[:5]):
        assert models[1].predict_one(one) == models[0].predict_one(one)
    many = [getattr(model, "predict_proba_many" if classes else "predict_many")(X) for model in models]
    np.testing.assert_allclose(many[1], many[0], rtol=1e-9)
    if "density" in options:
        first, second = (model.predict_one(dictionaries(X)[0], with_dist=True) for model in models)
        assert first.ppf(0.9) == second.ppf(0.9)


def test_predictions_that_are_never_labelled_take_bounded_memory():
    waiting: Waiting[np.ndarray] = Waiting(1000)
    for i in range(100_000):
        waiting.put({"a": i}, np.zeros((4, 1, 1), np.float32))
    assert len(waiting) == 1000
    assert waiting.take({"a": 98_999}) is None
    assert waiting.take({"a": 99_000}) is not None
    for _ in range(2):  # of equal samples, each has what was said last
        waiting.put({"a": 0}, np.ones((4, 1, 1)))
    assert waiting.take({"a": 0}) is waiting.take({"a": 0})
    assert waiting.take({"a": 0}) is None
    assert len(waiting) == 999


def test_a_sample_is_known_by_its_values():
    x = {"a": 1, "b": "x", "c": None, 3: True}
    assert key_of(x) == key_of({3: np.bool_(True), "b": "x", "a": np.float32(1), "d": float("nan")})
    assert len({key_of({"id": 2**53 + i}) for i in range(4)} | {key_of({"id": np.int64(2**53)})}) == 4
    assert len({key_of({"a": value}) for value in (0, -0.0, False)}) == 1
    assert len({key_of({"a": value}) for value in (np.inf, -np.inf, 10**5000, 10**5000 + 1)}) == 4
    assert len({key_of(x), key_of(x | {"a": 1.5}), key_of(x | {"b": "1"}), key_of(x | {"b": 1}), key_of({})}) == 5


def test_by_default_predictions_change_nothing(tmp_path: Path):
    model, (X, y) = GLNClassifier(**SMALL), days(3)
    model.learn_many(X, pd.Series(y))
    model.save(tmp_path / "before")
    model.predict_proba_many(X)
    model.predict_one({"a": 1.0})
    model.save(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    with pytest.raises(ValueError, match="waiting: expected an integer of at least 0, got -1"):
        GLNClassifier(waiting=-1)
