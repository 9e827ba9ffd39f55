"""Novelty: of streams, of tables, what makes a sample novel, its calibration, and files."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import copy
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import fields_of
from scipy.sparse import csr_array
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import roc_auc_score

from gln.engine.novelty.pair_histograms import PairHistograms
from gln.engine.saving import Arrays, decoded, encoded
from gln.river import GLNClassifier, GLNNovelty, GLNRegressor
from gln.sklearn import GLNClassifier as TableClassifier
from gln.sklearn import GLNRegressor as TableRegressor

FAR = [5, 10, 25, 30, -999, 1e6]  # ever farther
NONE: frozenset[int] = frozenset()


def rows(count: int, seed: int, drift: float = 0.0, size: int = 3) -> list[dict[str, Any]]:
    """Independent normal numbers, whose means may move by `drift` standard deviations a sample, and a category."""
    values = np.random.default_rng(seed).normal(size=(count, size)) + drift * np.arange(count)[:, None]
    return [{**dict(zip("abcdefghij", x)), "kind": "u" if x[0] > x[1] else "v"} for x in values.tolist()]  # noqa: B905


def learned(samples: list[dict[str, Any]], **arguments: Any) -> GLNNovelty:
    model = GLNNovelty(seed=0, **arguments)
    for x in samples:
        model.learn_one(x)
    return model


@pytest.fixture(scope="module", params=[100, 1000, 10_000])
def usual(request) -> GLNNovelty:
    return learned(rows(request.param, seed=request.param))


# ---- What is novel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["a", "abc"], ids=["one", "all"])
def test_far_values_are_novel_the_more_so_the_farther(usual, names):
    x = {"a": 0.1, "b": -0.2, "c": 0.3, "kind": "u"}
    scores = [usual.score_one({**x, **dict.fromkeys(names, value)}) for value in [0.1, *FAR]]
    assert scores[0] < 0.5
    assert min(scores[1:]) > 0.95
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize(
    ("name", "value"), [("a", None), ("b", np.nan), ("kind", "w"), ("kind", None), ("other", 1.0), ("other", "u")]
)
def test_missing_values_and_unknown_levels_and_names_are_novel_and_explained(usual, name, value):
    x = {"a": 0.1, "b": -0.2, "c": 0.3, "kind": "u", name: value}
    assert usual.score_one(x) > 0.95
    contributions = usual.explain_one(x)
    assert max(contributions, key=contributions.get) == name
    assert sum(contributions.values()) == pytest.approx(1)


def test_what_always_occurs_is_not_novel():
    """Missing values, new levels and new names in each sample."""
    samples = rows(400, seed=2)
    for i, x in enumerate(samples):
        x.update({"a": None if i % 2 else x["a"], "id": f"number {i}", f"word {i}": 1.0})
    model = learned(samples[:300])
    scores = [model.score_one(x) for x in samples[300:]]
    assert np.mean(np.array(scores) > 0.95) < 0.15


def test_a_value_that_another_feature_does_not_let_expect_is_novel():
    values = np.random.default_rng(3).normal(size=1000)
    model = learned([{"a": x, "b": x + 0.1 * noise} for x, noise in zip(values, values[::-1], strict=True)])
    assert model.score_one({"a": 1.5, "b": 1.5}) < 0.95 < model.score_one({"a": 1.5, "b": -1.5})


def test_a_feature_that_never_varied_is_novel_when_it_does():
    model = learned([{**x, "constant": 7.0} for x in rows(200, seed=4)])
    x = {"a": 0.1, "b": -0.2, "c": 0.3, "kind": "u"}
    assert model.score_one({**x, "constant": 7.0}) < 0.5
    assert model.score_one({**x, "constant": 7.1}) > 0.99


def test_a_bad_start_is_forgotten():
    start = {"a": -999.0, "b": -999.0, "c": -999.0, "kind": "u"}
    model = learned([start, *rows(200, seed=5)])
    assert model.score_one({"a": 0.1, "b": 20.0, "c": 0.1, "kind": "u"}) > 0.95


def test_classes_unlike_the_one_that_was_learned_are_novel():
    X, y = load_digits(return_X_y=True)
    model = PairHistograms.start(64, 250, 0)
    model.learn(X[y == 1][::2].T, NONE)
    usual, odd = X[y == 1][1::2], X[y != 1]
    scores = model.novelty(np.concatenate([usual, odd]).T, NONE)
    assert roc_auc_score(np.arange(len(scores)) >= len(usual), scores) > 0.95


# ---- Calibration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drift", [0.0, 0.002], ids=["stationary", "drifting"])
@pytest.mark.parametrize("size", [3, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 10))])
def test_one_in_a_hundred_scores_above_99(drift, size):
    shares: dict[int, list[Any]] = {100: [], 1000: [], 10_000: []}
    for seed in range(60):
        count = 10_500 if seed < 4 else 2000 if seed < 12 else 200
        values = np.random.default_rng([seed, size]).normal(size=(size, count)) + drift * np.arange(count)
        model, scores = PairHistograms.start(size, 250, seed), np.empty(count)
        for start in range(0, count, 10):
            chunk = slice(start, start + 10)
            scores[chunk] = model.novelty(values[:, chunk], NONE)
            model.learn(values[:, chunk], NONE)
        for after, found in shares.items():
            if count > after:
                found.append([np.mean(scores[after : 2 * after] > level) for level in (0.99, 0.95)])
    for after, found in shares.items():
        above_99, above_95 = np.mean(found, axis=0)
        assert 0.005 < above_99 < 0.02, after
        assert 0.03 < above_95 < 0.08, after


# ---- Against plain loops ---------------------------------------------------------------------------------------------


def plain_surprise(values: np.ndarray, x: float, window: int) -> float:
    """1 / sqrt(p) of a number after these, if there is no other feature."""
    total, mean, variance, weights = 0.0, 0.0, 0.0, np.zeros((8, 64))
    for n, value in enumerate([*values, x]):
        step = max(2 / (n + 2), 1 / window)
        weight = total / (1 - step) - total if n else 1.0
        scale = max(np.sqrt(variance), 1e-6 * max(abs(mean), 1))
        z, surprises = (value - mean) / scale, []
        for pair in range(8 if n else 0):
            place = int(np.clip(np.arcsinh(z) / 0.5 + (pair + 0.5) / 8 + 32, 1, 62))
            near = np.array([1, 2, 1]) @ weights[pair, place - 1 : place + 2] / 4
            normal = 0.5 * np.exp(-(z**2) / (1 + 10 / n) / 2) / np.sqrt(2 * np.pi)
            density = (near / np.sqrt(1 + z**2) + 10 * weight * normal) / (total + 10 * weight)
            surprises.append((density + 1e-5 / np.sqrt(1 + z**2)) ** -0.5)
            weights[pair, place] += weight * (n >= 10)
        difference = value - mean
        if variance > 0:
            difference = np.clip(difference, -10 * (1 + 10 / n) * scale, 10 * (1 + 10 / n) * scale)
        mean, variance = mean + step * difference, (1 - step) * (variance + step * difference**2)
        total += weight
    return float(np.mean(surprises))


@pytest.mark.parametrize("count", [20, 190])  # the window bounds weights from the 99th on
def test_surprises_are_those_of_plain_loops(count):
    values = np.random.default_rng(count).normal(3, 2, count)
    model = PairHistograms.start(1, 50, 0)
    model.learn(values[None], NONE)
    for x in (3.0, 9.0, -999.0):
        assert model.surprises(np.array([[x]]), NONE)[0, 0] == pytest.approx(plain_surprise(values, x, 50), rel=1e-4)


def test_levels_and_missing_values_have_their_frequencies():
    codes, model = np.array([[0.0, 0, 1, 0, np.nan, 0, 1, 2]]), PairHistograms.start(1, 50, 0)
    model.learn(codes, frozenset({0}))
    for code, had in ((0.0, 1 + 2 + 4 + 6), (1.0, 3 + 7), (2.0, 8), (np.nan, 5)):  # the n-th sample counts as n
        assert model.surprises(np.array([[code]]), frozenset({0}))[0, 0] == pytest.approx((had / 36) ** -0.5)
    assert model.surprises(np.array([[9.0]]), frozenset({0}))[0, 0] == pytest.approx(1e-5**-0.5)


def test_one_call_or_many_learn_the_same():
    values, categorical = np.random.default_rng(6).normal(size=(3, 700)), frozenset({2})
    values[2] = np.random.default_rng(7).integers(0, 5, 700)
    values[0, ::7] = np.nan
    at_once, one_by_one = (PairHistograms.start(3, 100, 0) for _ in range(2))
    at_once.learn(values, categorical)
    for b in range(700):
        one_by_one.learn(values[:, b : b + 1], categorical)
    for (name, one), other in zip(fields_of(at_once).items(), fields_of(one_by_one).values(), strict=True):
        if name != "levels":
            np.testing.assert_array_equal(one, other, err_msg=name)
    np.testing.assert_array_equal(at_once.levels[2], one_by_one.levels[2])


# ---- River -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_models_of_streams_are_told_how_novel_samples_are_without_predicting_otherwise(kind, tmp_path):
    samples, frame = rows(300, seed=8), pd.DataFrame(rows(300, seed=8))
    targets = [x["a"] + x["b"] > 0 for x in samples] if kind is GLNClassifier else [x["a"] for x in samples]
    models = [kind(layer_sizes=(4,), seed=0, novelty=novelty) for novelty in (True, False, True)]
    for x, y in zip(samples, targets, strict=True):
        for model in models[:2]:
            model.learn_one(x, y)
    models[2].learn_many(frame, pd.Series(targets))
    usual, odd = samples[0], {**samples[0], "c": 30.0}
    assert models[0].predict_one(odd) == models[1].predict_one(odd)
    assert models[0].novelty_one(usual) < 0.99 < models[0].novelty_one(odd)
    assert models[2].novelty_one(usual) == models[0].novelty_one(usual)
    assert models[0].explain_novelty_one(odd)["c"] > 0.9
    models[0].save(tmp_path / "m")
    assert kind.load(tmp_path / "m").novelty_one(usual) == models[0].novelty_one(usual)
    with pytest.raises(ValueError, match="novelty: expected a model with novelty=True"):
        models[1].novelty_one(usual)


def test_scoring_and_errors_change_nothing():
    model, x = learned(rows(150, seed=10)), rows(1, seed=11)[0]
    before = model.score_one(x)
    model.score_one({**x, "new": 3.0, "kind": "w"})
    model.explain_one({**x, "new": 3.0})
    with pytest.raises(ValueError, match="x\\['c'\\]: expected a finite number"):
        model.learn_one({**x, "c": np.inf})
    assert model.score_one(x) == before


def test_what_is_familiar_stays_familiar_when_features_and_levels_appear():
    samples = rows(600, seed=12)
    model = learned(samples)
    before = np.mean([model.score_one(x) for x in samples[-100:]])
    for i, x in enumerate(samples[:20]):
        model.learn_one({**x, f"new {i}": 1.0, "kind": f"new {i}"})
    assert np.mean([model.score_one(x) for x in samples[-100:]]) < before + 0.05


def test_files_and_read_only_copies_go_on(tmp_path):
    samples = rows(300, seed=13)
    model = learned(samples[:200], window_size=120)
    model.save(tmp_path / "m")
    joblib.dump(model, tmp_path / "j")
    for other in (GLNNovelty.load(tmp_path / "m"), joblib.load(tmp_path / "j", mmap_mode="r"), copy.deepcopy(model)):
        continued = copy.deepcopy(model)
        for x in samples[200:]:
            other.learn_one(x)
            continued.learn_one(x)
        assert other.score_one(samples[0]) == continued.score_one(samples[0]) > 0
        assert other.window_size == 120


def test_a_changed_file_is_refused():
    arrays = Arrays()
    saved = encoded("novelty", PairHistograms.start(3, 50, 0), arrays)
    decoded("novelty", saved, Arrays(arrays), None)
    for name, value in (("histograms", np.zeros((3, 8, 5), np.float32)), ("partners", np.full((3, 8), 3))):
        changed = {**saved, "fields": {**saved["fields"], name: encoded(f"changed {name}", value, arrays)}}
        with pytest.raises(ValueError, match="novelty: expected"):
            decoded("novelty", changed, Arrays(arrays), None)


# ---- Tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TableClassifier, TableRegressor])
def test_rows_unlike_a_table_are_novel(kind, tmp_path):
    X, y = load_iris(return_X_y=True)
    model = kind(layer_sizes=(4,), n_networks=2, n_epochs=1, random_state=0).fit(X, y)
    odd = X[:6].copy()
    odd[np.arange(6), 1] = [10, 25, 30, -999, 1e6, np.nan]
    scores = model.novelty(odd)
    assert scores.min() > 0.95
    assert (np.diff(scores[[0, 1, 2, 4]]) > 0).all()
    assert model.explain_novelty(odd).argmax(axis=1).tolist() == 6 * [1]
    np.testing.assert_allclose(model.explain_novelty(X).sum(axis=1), 1)
    assert 0.005 <= np.mean(model.novelty(X) > 0.95) < 0.1
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(kind.load(tmp_path / "m").novelty(X), model.novelty(X))
    before = model.novelty(odd)
    for _ in range(3):
        model.partial_fit(odd[:5].repeat(20, axis=0), np.repeat(y[:5], 20))
    assert (model.novelty(odd)[:3] < before[:3]).all()
    with pytest.raises(ValueError, match="novelty: expected a model trained by `fit`"):
        kind(layer_sizes=(4,)).partial_fit(X, y, *([range(3)] if kind is TableClassifier else [])).novelty(X)


def test_unknown_levels_of_a_table_are_novel_even_where_values_are_missing():
    rng = np.random.default_rng(14)
    frame = pd.DataFrame({"colour": rng.choice(["red", "green", "blue"], 300), "x": rng.normal(size=300)})
    frame.loc[::5, "colour"] = None
    model = TableClassifier(layer_sizes=(4,), n_networks=2, n_epochs=1, random_state=0).fit(frame, frame["x"] > 0)
    asked = pd.DataFrame({"colour": ["red", None, "mauve"], "x": 0.1})
    scores = model.novelty(asked)
    assert scores[:2].max() < 0.95 < scores[2]
    np.testing.assert_array_equal(model.novelty(asked), scores)


def test_wide_sparse_rows_of_other_columns_are_novel():
    rng = np.random.default_rng(15)
    table = (rng.random((300, 1500)) < 0.05) * (np.arange(1500) < 500)
    other = (rng.random((50, 1500)) < 0.2) * (np.arange(1500) >= 500)
    y = table[:, :5].any(axis=1)
    model = TableClassifier(n_epochs=1, random_state=0).fit(csr_array(table.astype(float)), y)
    assert model.novelty(csr_array(other.astype(float))).mean() > model.novelty(csr_array(table.astype(float))).mean()
    with pytest.raises(ValueError, match="X: expected a model that `fit` trained with negatives, of a dense table"):
        model.explain_novelty(csr_array(other.astype(float)))


def test_far_values_are_novel_to_classes_that_learn_alone():
    X, y = load_iris(return_X_y=True)
    model = TableClassifier(negatives=False, random_state=0).partial_fit(X, y, classes=range(3))
    odd = X[:4].copy()
    odd[:, 1] = [10, 30, -999, 1e6]
    assert model.novelty(X).mean() < 0.7
    assert model.novelty(odd).min() > 0.95
