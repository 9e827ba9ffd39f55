"""A fitted table in `gln.river`: it predicts single samples and learns from them as it does rows in `gln.sklearn`."""
# ruff: noqa: N806 - X is a frame

from __future__ import annotations

import copy
import datetime
import os
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("river")

from river import evaluate, metrics

from gln import river, sklearn
from gln.engine.ensemble.ensemble import Ensemble

FITTED, COUNT = 120, 150
SMALL: dict[str, Any] = {"layer_sizes": (4,), "n_networks": 3, "n_epochs": 1, "random_state": 0}


def table() -> pd.DataFrame:
    """Columns of every kind, with values that are missing and, in the last rows, levels and words that are new."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(COUNT, 2)), columns=["a", "b"])
    X["colour"] = rng.choice(["red", "green", "blue"], COUNT)
    X["number"] = pd.Categorical(rng.integers(0, 4, COUNT))
    when = pd.Timestamp("2023-11-05") + pd.to_timedelta(rng.integers(0, 9000, COUNT), "h")
    X["when"] = when
    X["zoned"] = when.tz_localize("UTC").tz_convert("Asia/Tokyo")
    X["iso"] = when.strftime("%Y-%m-%dT%H:%M:%S+02:00")
    X["written"] = when.strftime("%d.%m.%Y %H:%M")
    words = ["warm", "cold", "old", "new", "good"]
    X["text"] = [f"{' '.join(rng.choice(words, 4))} {row}!" for row in range(COUNT)]
    X["user_id"] = [f"user{row}" for row in range(COUNT)]
    X = X.mask(pd.DataFrame(rng.random(X.shape) < 0.06, columns=X.columns).assign(user_id=False))
    X.loc[FITTED:, "colour"] = X.loc[FITTED:, "colour"].replace("blue", "white")
    return X


X = table()
SCORE = X["a"].fillna(0) + (X["colour"] == "red") + X["text"].str.contains("warm").fillna(False)
TARGETS = {"GLNClassifier": pd.cut(SCORE, [-9, 0, 1, 9], labels=["low", "middle", "high"]).astype(str)}
TARGETS["GLNDensityClassifier"] = TARGETS["GLNClassifier"]
TARGETS["GLNRegressor"] = 10 * SCORE + 50
COLUMNS = {
    **{"numbers": ["a", "b"], "categories": ["a", "colour", "number"], "dates": ["when", "zoned", "iso", "written"]},
    **{"texts": ["a", "text"], "all": [*X.columns]},
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{"classifier": ("GLNClassifier", {}), "regressor": ("GLNRegressor", {})},
    **{"density": ("GLNRegressor", {"n_networks": 16, "quantiles": (0.1, 0.9), "density": True})},
    "class densities": ("GLNDensityClassifier", {"layer_sizes": (4,), "random_state": 0}),
}
CASES = [(kind, model) for kind in COLUMNS for model in MODELS if model != "class densities" or kind == "categories"]


def fitted(kind: str, model: str) -> tuple[Any, Any, pd.DataFrame, pd.Series]:
    name, options = MODELS[model]
    if name != "GLNDensityClassifier":
        options = {**SMALL, **options}
    columns, y = X[COLUMNS[kind]], TARGETS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = getattr(sklearn, name)(**options).fit(columns[:FITTED], y[:FITTED])
    return estimator, getattr(river, name).of(estimator), columns[FITTED:], y[FITTED:]


def records(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """Samples as they come from a stream: a value that is missing is a key that is missing."""
    samples = rows.astype(object).to_dict("records")
    return [{name: value for name, value in x.items() if not pd.isna(value)} for x in samples]


def assert_same_predictions(model: Any, door: Any, rows: pd.DataFrame) -> None:
    samples = [x | {"other": 1.0} for x in records(rows)]  # a key that was never learned
    exact: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
    if not isinstance(door, river.GLNRegressor):
        found = pd.DataFrame([door.predict_proba_one(x) for x in samples])
        assert [*found] == model.classes_.tolist()
        np.testing.assert_allclose(found, model.predict_proba(rows), **exact)
        np.testing.assert_allclose(door.predict_proba_many(rows), found, **exact)
        return
    np.testing.assert_allclose([door.predict_one(x) for x in samples], model.predict(rows), **exact)
    if model.density:
        distributions = [door.predict_one(x, with_dist=True) for x in samples]
        mean, std = model.predict(rows, return_std=True)
        np.testing.assert_allclose([(each.mu, each.sigma) for each in distributions], np.stack([mean, std], 1), **exact)
        y = 10 * SCORE[rows.index] + 50
        densities = [each.log_pdf(target) for each, target in zip(distributions, y, strict=True)]
        np.testing.assert_allclose(densities, model.log_density(rows, y), **exact)
        quantiles = [[*door.predict_quantiles_one(x).values()] for x in samples]
        np.testing.assert_allclose(quantiles, model.predict_quantiles(rows), **exact)


@pytest.mark.parametrize(("kind", "model"), CASES)
def test_both_doors_predict_and_learn_the_same(kind, model, tmp_path):
    estimator, door, rows, y = fitted(kind, model)
    assert_same_predictions(estimator, door, rows)
    together = copy.deepcopy(door)
    before = copy.deepcopy(estimator)
    for place, x in enumerate(records(rows[:20])):
        door.learn_one(x, y.iloc[place], 2.0)
    assert_same_predictions(estimator, getattr(river, type(door).__name__).of(before), rows)  # which has not changed
    for place in range(20):
        estimator.partial_fit(rows[place : place + 1], y[place : place + 1], sample_weight=[2.0])
    assert_same_predictions(estimator, door, rows)
    predicted = together.predict_learn_many(rows[:20], y[:20].tolist(), 2.0)  # the same, in one call
    assert_same_predictions(estimator, together, rows)
    assert len(predicted) == 20
    door.save(tmp_path / "m", {"day": 3})  # the file of the fitted model, which both doors load
    loaded = type(door).load(tmp_path / "m")
    assert loaded.extra == {"day": 3}
    assert_same_predictions(type(estimator).load(tmp_path / "m"), loaded, rows)
    loaded.learn_one(records(rows)[25], y.iloc[25])
    door.learn_one(records(rows)[25], y.iloc[25])
    assert_same_predictions(door._stream.fitted, loaded, rows)


def test_what_is_explained_and_not_known():
    estimator, door, rows, _ = fitted("all", "classifier")
    contributions, constant = estimator.explain(rows[:5])
    for row, x in enumerate(records(rows[:5])):
        by_class, constants = door.explain_one(x)
        np.testing.assert_allclose([[*of.values()] for of in by_class.values()], contributions[row])
        np.testing.assert_allclose([*constants.values()], constant[row])
    assert door.weights_ == estimator.weights_
    known = door.known_names
    assert (known["colour"], known["a"], known["number"], "user_id" in known) == (True, False, False, False)
    unknown = door.unknown_one({"a": None, "colour": "white", "other": 1, "text": "warm"})
    assert (unknown["names"], unknown["levels"], unknown["missing"][:2]) == (["other"], ["colour"], ["a", "b"])


def test_a_fitted_model_goes_on_in_a_pipeline_of_river():
    _, door, rows, y = fitted("all", "classifier")
    metric = evaluate.progressive_val_score(zip(records(rows), y, strict=True), door, metrics.Accuracy())
    assert metric.get() > max(y.value_counts(normalize=True))  # of who always says the same


def test_columns_of_an_array_have_numbers():
    values = X[["a", "b"]].fillna(0).to_numpy()
    estimator = sklearn.GLNRegressor(**SMALL).fit(values, SCORE)
    door = river.GLNRegressor.of(estimator)
    door.learn_one({0: 1.0, 1: 2.0, 2: 3.0, "other": 4.0}, 1.0)  # there, others have no place
    assert door.unknown_one({2: 1.0})["names"] == [2]
    estimator.partial_fit([[1.0, 2.0]], [1.0])
    assert door.predict_one({1: values[0, 1], 0: values[0, 0]}) == pytest.approx(estimator.predict(values[:1])[0])


def test_a_model_of_partial_fit_alone_goes_on_too():
    rows, y = X[["a", "colour"]], TARGETS["GLNClassifier"]
    estimator = sklearn.GLNClassifier(layer_sizes=(4,), random_state=0)
    estimator.partial_fit(rows[:FITTED], y[:FITTED], classes=y.unique())
    assert_same_predictions(estimator, river.GLNClassifier.of(estimator), rows[FITTED:])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"a": "one"}, r"x\['a'\]: expected a finite number or a bool, got 'one'"),
        ({"a": np.inf}, r"x\['a'\]: expected a finite number"),
        ({"colour": 3}, r"x\['colour'\]: expected text, like its first levels, got 3"),
        ({"written": "2024-01-01"}, r"x\['written'\]: expected a date, or text in the format %d.%m.%Y %H:%M"),
        ({"when": 20.0}, r"x\['when'\]: expected a date, as in the table, got 20.0"),
        (3, "x: expected a dictionary"),
    ],
)
def test_bad_values_are_told_by_name_and_change_nothing(x, message):
    _, door, rows, y = fitted("all", "classifier")
    good = records(rows)[0]
    before = door.predict_proba_one(good)
    with pytest.raises(ValueError, match=message):
        door.predict_proba_one(x)
    with pytest.raises(ValueError, match=message):
        door.learn_one({**good, **x} if isinstance(x, dict) else x, y.iloc[0])
    assert door.predict_proba_one(good) == before
    assert door.predict_proba_one({"when": datetime.date(2024, 1, 1)}) == door.predict_proba_one(
        {"when": np.datetime64("2024-01-01")}
    )


def test_models_that_cannot_be_taken_over_are_told():
    numbers, y = X[["a", "b"]], TARGETS["GLNClassifier"]
    several = sklearn.GLNRegressor(**SMALL).fit(numbers, np.stack([SCORE, SCORE], 1))
    with pytest.raises(ValueError, match="fitted: expected a model of one target, got one of several"):
        river.GLNRegressor.of(several)
    with pytest.raises(ValueError, match=r"fitted: expected a fitted gln\.sklearn\.GLNClassifier"):
        river.GLNClassifier.of(several)
    with pytest.raises(ValueError, match=r"fitted: expected a fitted gln\.sklearn\.GLNClassifier"):
        river.GLNClassifier.of(sklearn.GLNClassifier())
    weighted = sklearn.GLNClassifier(**SMALL, class_weight="balanced").fit(numbers, y)
    with pytest.raises(ValueError, match="class_weight: expected None"):
        river.GLNClassifier.of(weighted)


def test_the_rate_of_a_door_is_that_of_what_follows(tmp_path):
    estimator, door, rows, y = fitted("numbers", "classifier")
    estimator.save(tmp_path / "m")
    still = river.GLNClassifier.load(tmp_path / "m", learning_rate=0.0)
    assert still.learning_rate == 0.0
    assert door.learning_rate is None
    before = [network.get_state()["weights.1"] for network in still._stream.learner.networks]
    still.learn_many(rows, y)
    for network, weights in zip(still._stream.learner.networks, before, strict=True):
        np.testing.assert_array_equal(network.get_state()["weights.1"], weights)


def with_new_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of all kinds that were not there in training, the first one with values only later."""
    rng, count = np.random.default_rng(1), len(rows)
    when = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 9000, count), "h")
    new: dict[str, Any] = {
        "late": np.where(np.arange(count) < 7, np.nan, rng.normal(size=count)),
        "shape": rng.choice(["round", "flat", "long"], count),
        "is_new": rng.random(count) > 0.5,
        "day": when,
        "day_text": when.strftime("%Y-%m-%d"),
    }
    return rows.assign(**new)


@pytest.mark.parametrize(
    ("kind", "model"),
    [("all", "classifier"), ("numbers", "density"), ("categories", "class densities"), ("categories", "stream")],
)
def test_columns_that_are_new_come_through_both_doors(kind, model, tmp_path):
    if model == "stream":  # which `partial_fit` alone made
        y = TARGETS["GLNClassifier"]
        estimator = sklearn.GLNClassifier(layer_sizes=(4,), random_state=0)
        estimator.partial_fit(X[COLUMNS[kind]][:FITTED], y[:FITTED], classes=y.unique())
        door, rows, y = river.GLNClassifier.of(estimator), X[COLUMNS[kind]][FITTED:], y[FITTED:]
    else:
        estimator, door, rows, y = fitted(kind, model)
    rows = with_new_columns(rows)
    together = copy.deepcopy(door)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert door.unknown_one(records(rows)[9])["names"] == ["late", "shape", "is_new", "day", "day_text"]
        for place, x in enumerate(records(rows)[:20]):
            door.learn_one(x, y.iloc[place])
            estimator.partial_fit(rows[place : place + 1], y[place : place + 1])
        predicted = together.predict_learn_many(rows[:20], [*y[:5], None, *y[6:20]])
    assert door.unknown_one({**records(rows)[9], "other": 1})["names"] == ["other"]
    assert len(predicted) == 20
    assert "late" in together.known_names
    assert_same_predictions(estimator, door, rows)
    door.save(tmp_path / "m")
    loaded = type(estimator).load(tmp_path / "m")
    assert_same_predictions(loaded, door, rows)
    assert_same_predictions(loaded, type(door).load(tmp_path / "m"), rows)
    pd.testing.assert_frame_equal(loaded.columns_, estimator.columns_)


def test_columns_that_are_new_are_learned():
    """As well as by a model whose table had them."""
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.normal(size=(1500, 2)), columns=["a", "b"])
    y = np.where(table["a"] + 2 * table["b"] > 0, "yes", "no")
    losses = []
    for columns in (["a"], ["a", "b"]):
        estimator = sklearn.GLNClassifier(random_state=0, n_networks=3).fit(table[columns][:300], y[:300])
        door = river.GLNClassifier.of(estimator)
        p = door.predict_learn_many(table[300:], y[300:].tolist()).to_numpy()[-500:]
        is_right = np.array(["no", "yes"]) == y[-500:, None]
        losses.append(-np.log(p[is_right].clip(1e-3)).mean())
    assert losses[0] < losses[1] + 0.05


def test_what_is_new_and_cannot_be_learned_changes_nothing():
    _, door, rows, y = fitted("numbers", "classifier")
    before = door.predict_proba_one({"a": 1.0})
    for x, message in {
        ("new", np.inf): r"x\['new'\]: expected a finite number",
        ("new", (1, 2)): r"x\['new'\]: expected",
        (3, 1.0): r"x: expected text as names of new columns, as in the table, got \[3\]",
    }.items():
        with pytest.raises(ValueError, match=message):
            door.learn_many(pd.DataFrame([*records(rows)[:3], dict([x])]), pd.Series(y.tolist()[:4]))
    assert door.predict_proba_one({"a": 1.0}) == before
    assert [*door.known_names] == ["a", "b"]


def test_a_class_that_is_new_comes_through_both_doors(tmp_path):
    y = TARGETS["GLNClassifier"]
    is_old = y != "high"
    columns = X[COLUMNS["categories"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = sklearn.GLNClassifier(**SMALL).fit(columns[is_old][:90], y[is_old][:90])
        door = river.GLNClassifier.of(estimator)
        for place in range(100, 130):
            estimator.partial_fit(columns[place : place + 1], y[place : place + 1])
            door.learn_one(records(columns[place : place + 1])[0], y[place])
    assert [*door.predict_proba_one({})] == ["low", "middle", "high"]
    door.save(tmp_path / "m")
    loaded = sklearn.GLNClassifier.load(tmp_path / "m")
    assert loaded.classes_.tolist() == estimator.classes_.tolist() == ["high", "low", "middle"]
    np.testing.assert_allclose(loaded.predict_proba(columns), estimator.predict_proba(columns), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="y: expected labels like"):
        door.learn_one({}, 3)


@pytest.mark.parametrize("model", ["classifier", "regressor", "density"])
def test_what_was_said_waits_for_its_label(model, tmp_path):
    """One by one with `waiting`, saved and loaded by both doors in between, as day by day with `late`."""
    estimator, by_day, rows, y = fitted("categories", model)
    cls, waits, at_once = type(by_day), type(by_day).of(estimator, waiting=50), copy.deepcopy(by_day)
    for start in range(0, 30, 10):
        day = slice(start, start + 10)
        by_day.learn_many(rows[day], y[day], late=True)
        at_once.learn_many(rows[day], y[day])
        for x in records(rows[day])[:-2]:
            waits.predict_one(x)
        waits.predict_learn_many(records(rows[day])[-2:], [None, None])
        waits.save(tmp_path / "m")
        type(estimator).load(tmp_path / "m").save(tmp_path / "m")
        waits = cls.load(tmp_path / "m")
        assert (waits.waiting, len(waits._stream.waiting)) == (50, 10)
        for x, target in zip(records(rows[day]), y[day], strict=True):
            waits.learn_one(x, target)
        assert len(waits._stream.waiting) == 0
    for found, expected, other in zip(*map(combinations, (waits, by_day, at_once)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
        assert np.abs(found - other).max() > 1e-4
    assert waits.load(tmp_path / "m", waiting=3).waiting == 3
    assert not hasattr(estimator.fit(rows, y), "_waiting")


def combinations(door: Any) -> list[np.ndarray]:
    return [ensemble.combination.weights for ensemble in door._stream.learner.ensembles]


def test_networks_run_once_for_a_prediction_that_waits(monkeypatch):
    estimator, door, rows, _ = fitted("numbers", "density")
    waits = river.GLNRegressor.of(estimator, waiting=5)
    runs: list[Ensemble] = []
    run = Ensemble.run

    def counted(self: Ensemble, *arguments: Any) -> Any:
        runs.append(self)
        return run(self, *arguments)

    monkeypatch.setattr(Ensemble, "run", counted)
    for x in records(rows[:3]):
        assert waits.predict_one(x) == door.predict_one(x)
    assert len(runs) == 3 * (2 + 1)  # `door` runs only that of means
    assert len(waits._stream.waiting) == 3


def test_a_single_network_has_nothing_that_waits(tmp_path):
    estimator = sklearn.GLNClassifier(**{**SMALL, "n_networks": 1}).fit(X[["a"]], TARGETS["GLNClassifier"])
    door = river.GLNClassifier.of(estimator, waiting=5)
    door.predict_one({"a": 1.0})
    door.save(tmp_path / "m")
    assert river.GLNClassifier.load(tmp_path / "m").waiting == 5
    with pytest.raises(ValueError, match="waiting: expected an integer of at least 0, got -1"):
        river.GLNClassifier.of(estimator, waiting=-1)
