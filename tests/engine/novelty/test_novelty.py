"""Novelty: of streams, of tables, what makes a sample novel, its calibration, and files."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import doctest
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import fields_of
from river import anomaly, evaluate, metrics, preprocessing
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import gln.novelty
from gln.engine.novelty.pair_histograms import PairHistograms
from gln.engine.saving import Arrays, decoded, encoded
from gln.novelty import GLNNovelty

FAR = [5, 10, 25, 30, -999, 1e6]  # ever farther
NONE: frozenset[int] = frozenset()


def rows(count: int, seed: int, drift: float = 0.0, size: int = 3) -> list[dict[str, Any]]:
    """Independent normal numbers, whose means may move by `drift` standard deviations a sample, and a category."""
    values = np.random.default_rng(seed).normal(size=(count, size)) + drift * np.arange(count)[:, None]
    return [{**dict(zip("abcdefghij", x)), "kind": "u" if x[0] > x[1] else "v"} for x in values.tolist()]  # noqa: B905


def learned(samples: list[dict[str, Any]], **arguments: Any) -> GLNNovelty:
    model = GLNNovelty(random_state=0, **arguments)
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


# ---- Streams ---------------------------------------------------------------------------------------------------------


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


NAMES_OF_IRIS = ["long", "wide", "petal", "narrow"]


@pytest.mark.slow
@parametrize_with_checks(
    [GLNNovelty(random_state=0)],
    expected_failed_checks=lambda model: {"check_estimator_tags_renamed": "River's base class has `_more_tags`"},
)
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def test_docstring():
    assert doctest.testmod(gln.novelty).failed == 0


@pytest.mark.parametrize("is_frame", [False, True])
def test_rows_unlike_a_table_are_novel_outliers_and_explained(is_frame, tmp_path):
    X = load_iris().data
    odd = X[:6].copy()
    odd[np.arange(6), 1] = [10, 25, 30, -999, 1e6, np.nan]
    if is_frame:
        X, odd = (pd.DataFrame(rows, columns=NAMES_OF_IRIS) for rows in (X, odd))
    model = GLNNovelty(random_state=0).fit(X)
    scores = -model.score_samples(odd)
    assert scores.min() > 0.95
    assert (np.diff(scores[[0, 1, 2, 4]]) > 0).all()
    assert model.predict(odd).tolist() == 6 * [-1]
    assert np.sum(model.predict(X) == -1) == 2  # of 150
    assert np.sum(GLNNovelty(0.1, random_state=0).fit_predict(X) == -1) == 15
    contributions = model.explain(odd)
    assert contributions.idxmax(axis=1).tolist() == 6 * ["wide" if is_frame else 1]
    np.testing.assert_allclose(contributions.sum(axis=1), 1)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(GLNNovelty.load(tmp_path / "m").decision_function(X), model.decision_function(X))
    for _ in range(3):
        model.partial_fit(odd[:5])
        model.partial_fit(odd[:0])
    assert (-model.score_samples(odd)[:3] < scores[:3]).all()


def test_a_table_and_dictionaries_go_on_with_one_another():
    """Columns are found by name, in any order; rows of a table score as dictionaries, whatever else they have."""
    frame = pd.DataFrame(rows(400, seed=21))
    frame["code"] = pd.Categorical(np.arange(400) % 5)
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(400), "h")
    model, one_by_one = GLNNovelty(random_state=0), GLNNovelty(random_state=0)
    model.partial_fit(frame[:100]).partial_fit(frame[100:300][frame.columns[::-1]])
    for x in frame[:300].astype({"code": str}).to_dict("records"):
        one_by_one.learn_one(x)
    asked = frame[300:350].assign(new=1.0, other="u").drop(columns="b")
    scores = model.score_samples(asked)
    records = asked.astype({"code": str}).to_dict("records")
    np.testing.assert_array_equal(scores, [-one_by_one.score_one(x) for x in records])
    assert model.explain(asked)["new"].min() > 0.1
    with pytest.raises(
        ValueError, match=r"x\['a'\]: expected a finite number or a bool, like its first value, got 'u'"
    ):
        model.partial_fit(frame[300:].assign(a=["u", *99 * [0.0]]))
    np.testing.assert_array_equal(model.score_samples(asked), scores)


def test_a_word_of_a_table_is_scored_as_if_its_row_were_alone():
    model = learned([{**x, **({"rare": 1.0} if i > 250 and i % 9 == 0 else {})} for i, x in enumerate(rows(300, 22))])
    asked = pd.DataFrame(rows(20, seed=23)).assign(rare=1.0, never=2.0)
    alone = [-model.score_one(x) for x in asked.to_dict("records")]
    np.testing.assert_array_equal(model.score_samples(asked), alone)


def test_unknown_levels_of_a_table_are_novel_even_where_values_are_missing():
    rng = np.random.default_rng(14)
    frame = pd.DataFrame({"colour": rng.choice(["red", "green", "blue"], 300), "x": rng.normal(size=300)})
    frame.loc[::5, "colour"] = None
    scores = (
        -GLNNovelty(random_state=0).fit(frame).score_samples(pd.DataFrame({"colour": ["red", None, "mauve"], "x": 0.1}))
    )
    assert scores[:2].max() < 0.95 < scores[2]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"contamination": 0.6}, "contamination: expected a number above 0, at most .5, got 0.6"),
        ({"contamination": "auto"}, "contamination: expected a number above 0, at most .5, got 'auto'"),
        ({"window_size": 1}, "window_size: expected an integer of at least 2, got 1"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    for learn in (lambda model: model.fit([[1.0], [2.0]]), lambda model: model.learn_one({"a": 1.0})):
        with pytest.raises(ValueError, match=message):
            learn(GLNNovelty(**parameters))


def test_a_stream_of_river(tmp_path):
    """In a pipeline, as a filter, and with River's metrics; what is novel is not learned."""
    samples = rows(600, seed=24)
    odd = [i % 20 == 19 for i in range(600)]
    for x, is_odd in zip(samples, odd, strict=True):
        x["c"] += 12 * is_odd
    model = anomaly.QuantileFilter(preprocessing.StandardScaler() | GLNNovelty(random_state=0), q=0.95)
    numbers: list[dict[Any, Any]] = [{name: x[name] for name in "abc"} for x in samples]
    scores = []
    for x in numbers:
        scores.append(model.score_one(x))
        model.learn_one(x)
    assert roc_auc_score(odd[100:], scores[100:]) > 0.95
    metric = evaluate.progressive_val_score(
        zip(numbers, odd, strict=True), GLNNovelty(random_state=0), metrics.ROCAUC()
    )
    assert metric.get() > 0.8
