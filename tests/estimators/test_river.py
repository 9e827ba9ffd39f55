"""River's estimators: its own checks, streams whose classes and features come and go, bad data, every backend."""

from __future__ import annotations

import doctest
import inspect
import math
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_state, backend_name, learner_state
from scipy.stats import norm

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("river")

from river import base, checks, datasets, evaluate, metrics

import gln.river
from gln import sklearn
from gln.novelty import GLNNovelty
from gln.river import GLNClassifier, GLNMultiLabelClassifier, GLNMultiTargetRegressor, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 1}
NAMES = "abcdefgh"


def rows(count: int, seed: int = 0) -> list[dict[Any, Any]]:
    return [dict(zip(NAMES, x, strict=True)) for x in np.random.default_rng(seed).normal(size=(count, 8)).tolist()]


def labelled(count: int, classes: int = 2) -> list[tuple[dict[Any, Any], Any]]:
    """Classes are sectors of the plane of two features."""
    return [(x, int((math.atan2(x["a"], x["b"]) / (2 * math.pi) + 0.5) * classes) % classes) for x in rows(count)]


def learned(samples: Any, model: Any) -> Any:
    for x, y in samples:
        model.learn_one(x, y)
    return model


def assert_same_predictions(one: Any, other: Any, samples: Any, atol: float = 1e-5) -> None:
    for x, _ in samples:
        if isinstance(one, base.Classifier):
            expected, found = one.predict_proba_one(x), other.predict_proba_one(x)
            assert found.keys() == expected.keys()
            np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=atol)
        else:
            assert other.predict_one(x) == pytest.approx(one.predict_one(x), abs=atol)
            if one.density:
                expected, found = (model.predict_one(x, with_dist=True).sigma for model in (one, other))
                assert found == pytest.approx(expected, rel=atol)


CHECKED = [
    GLNClassifier(**SMALL),
    GLNRegressor(**SMALL, quantiles=(0.9, 0.1), density=True),
    GLNNovelty(random_state=1),
]


class Usual:
    """Replaces River's credit card data, which would be downloaded: one sample in 20 has an outlier."""

    def take(self, count: int) -> list[tuple[dict[Any, Any], int]]:
        return [({**x, "c": x["c"] + 8 * (i % 20 == 19)}, int(i % 20 == 19)) for i, x in enumerate(rows(count))]


def checks_of(model: Any) -> Iterator[Any]:
    """River's checks of a model. Those of the first model with its first data set are quick."""
    names: list[str] = []
    for check in checks.yield_checks(model):
        names.append(check.__name__)
        is_quick = model is CHECKED[0] and names.count(names[-1]) == 1
        yield pytest.param(model, check, id=f"{model}-{names[-1]}", marks=() if is_quick else pytest.mark.slow)


with pytest.MonkeyPatch.context() as patch:
    patch.setattr(datasets, "CreditCard", Usual)
    CHECKS = [check for model in CHECKED for check in checks_of(model)]


@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_checks_of_river(model, check):
    assert not model._unit_test_skips()
    check(model.clone())


def test_docstrings():
    assert doctest.testmod(gln.river).failed == 0


@pytest.mark.parametrize(
    "model",
    [
        *(GLNClassifier, GLNRegressor, GLNMultiLabelClassifier, GLNMultiTargetRegressor),
        *(sklearn.GLNClassifier, sklearn.GLNRegressor),
    ],
)
def test_every_parameter_is_described(model):
    for name in inspect.signature(model).parameters:
        assert re.search(rf"^{name}( : .+)?\n    \S", inspect.getdoc(model) or "", re.MULTILINE), name


# ---- Accuracy --------------------------------------------------------------------------------------------------------


def test_a_stream_of_two_classes():
    metric = evaluate.progressive_val_score(datasets.Bananas().take(2000), GLNClassifier(seed=0), metrics.Accuracy())
    assert metric.get() > 0.82  # a linear model gets 0.55


def test_intervals_hold_what_they_say_although_deviations_have_long_tails_and_are_small():
    """Deviations are Student's with five degrees of freedom, and a fiftieth of what the target varies."""
    rng, levels = np.random.default_rng(0), (0.05, 0.25, 0.75, 0.95)
    model, predicted, targets = GLNRegressor(**SMALL, quantiles=levels), [], []
    for i, x in enumerate(rows(3000)):
        y = 20 * x["a"] + 10 * x["b"] + (1 + (x["c"] > 0)) * rng.standard_t(5) / 3
        if i >= 1500:
            density = model.predict_one(x, with_dist=True)
            quantiles = [density.ppf(level) for level in levels]
            assert [density.cdf(q) for q in quantiles] == pytest.approx(levels)
            assert density.log_pdf(y) == pytest.approx(math.log(density(y)))
            assert [*model.predict_quantiles_one(x).values()] == pytest.approx(quantiles)
            predicted.append(quantiles)
            targets.append(y)
        model.learn_one(x, y)
    (low, first, third, high), y_ = np.transpose(predicted), np.array(targets)
    assert 0.46 < np.mean((first <= y_) & (y_ <= third)) < 0.54
    assert 0.86 < np.mean((low <= y_) & (y_ <= high)) < 0.94
    assert np.mean(high - low) < 4.0


def test_the_shape_of_densities_is_the_same_by_row_in_frames_and_from_files(tmp_path):
    """Targets are often 0, at the limit of predictions."""
    rng, levels = np.random.default_rng(0), (0.05, 0.25, 0.5, 0.75, 0.95)
    samples = rows(1200)
    y = [max(0.0, x["a"] + rng.normal() - 0.5) for x in samples]
    frames, single = (GLNRegressor(**SMALL, quantiles=levels, density=True) for _ in range(2))
    found = pd.concat([frames.predict_learn_many(samples[part], y[part]) for part in (slice(0, 900), slice(900, 1200))])
    for i, (x, target) in enumerate(zip(samples, y, strict=True)):
        assert [*single.predict_quantiles_one(x).values()] == found.iloc[i][[*levels]].tolist()
        density = single.predict_one(x, with_dist=True)
        assert [density.ppf(level) for level in levels] == found.iloc[i][[*levels]].tolist()
        if i == 700:
            single.save(tmp_path / "model")
            single = GLNRegressor.load(tmp_path / "model")
        single.learn_one(x, target)
    shapes = [model._stream.learner.variances.shape for model in (frames, single)]
    for one, other in zip(*shapes, strict=True):
        np.testing.assert_array_equal(one, other)
    assert shapes[0].trust[0] > 0.9
    late = np.array(y[400:])[:, None]
    quantiles = found[[*levels]].to_numpy()[400:]
    assert ((late <= quantiles).mean(axis=0) > np.array(levels) - 0.04).all()
    assert ((late < quantiles).mean(axis=0) < np.array(levels) + 0.04).all()


@pytest.mark.slow
def test_the_distribution_of_a_target_that_does_not_vary_at_first():
    rng = np.random.default_rng(0)
    model, scores = GLNRegressor(seed=0, density=True), []
    for i, x in enumerate(rows(2000)):
        normal = model.predict_one(x, with_dist=True)
        if i == 1200:
            assert (normal.cdf(7.0), normal.cdf(7.2)) == (0, 1)
            assert 0 < normal.sigma < 1e-10
        y = 7.1 + (i >= 1200) * rng.normal()
        scores.append(norm.logpdf(y, normal.mu, normal.sigma))
        model.learn_one(x, y)
    assert np.mean(scores[-300:]) > -2.5


# ---- Classes and features that appear at any time --------------------------------------------------------------------


def test_features_that_come_late_are_learned():
    samples = labelled(1500)
    few = [({name: x[name] for name in "cdefgh"}, y) for x, y in samples[:500]]
    model = learned(few, GLNClassifier(seed=0))
    before = [model.predict_proba_one(x) for x, _ in few]
    assert [model.predict_proba_one(x) for x, _ in samples[:500]] == before  # unknown features do not matter
    hits = []
    for x, y in samples[500:]:
        hits.append(model.predict_one(x) == y)
        model.learn_one(x, y)
    assert np.mean(hits[:200]) < 0.9 < np.mean(hits[500:])
    assert len(model._stream.schema.indices) == 8


def test_a_missing_feature_counts_as_its_mean():
    model = learned(labelled(500), GLNClassifier(**SMALL))
    x = rows(1, seed=5)[0]
    mean = dict(zip(sorted(NAMES), model._stream.learner.featurizer.standardizer.mean, strict=True))
    for missing in ({name: x[name] for name in "abd"}, {**x, "c": None, **dict.fromkeys("efgh", math.nan)}):
        expected = model.predict_proba_one({**mean, **{name: x[name] for name in "abd"}})
        found = model.predict_proba_one(missing)
        # The distance of the mean from itself is 0; that of a missing value is unknown.
        assert found[1] == pytest.approx(expected[1], abs=0.3)
        assert found == model.predict_proba_one({name: x[name] for name in "abd"})


def test_before_the_first_sample():
    classifier, regressor = GLNClassifier(), GLNRegressor(quantiles=(0.1, 0.9))
    assert (classifier.predict_proba_one({"a": 1}), classifier.predict_one({"a": 1})) == ({}, None)
    assert regressor.predict_one({"a": 1}) == 0
    assert regressor.predict_quantiles_one({"a": 1}) == pytest.approx({0.1: -1.2816, 0.9: 1.2816}, abs=1e-4)
    assert (classifier.explain_one({"a": 1}), regressor.explain_one({"a": 1})) == (({}, {}), ({}, 0))
    classifier.learn_one({"a": 1}, "x")
    assert classifier.predict_proba_one({"a": 1}) == {"x": 1}
    with pytest.raises(ValueError, match="quantiles: expected levels, got None"):
        GLNRegressor().predict_quantiles_one({"a": 1})
    normal = GLNRegressor(density=True).predict_one({"a": 1}, with_dist=True)
    assert (normal.mu, normal.sigma) == (0, pytest.approx(1))
    with pytest.raises(ValueError, match="with_dist: expected a model with density=True or quantiles, got one"):
        GLNRegressor().predict_one({"a": 1}, with_dist=True)
    empty = GLNClassifier()
    empty.learn_one({}, True)
    assert empty.predict_proba_one({}) == {True: 1}
    empty.learn_one({}, False)
    assert empty.predict_proba_one({}) == {True: 0.5, False: 0.5}


# ---- Outliers and bad data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GLNClassifier(**SMALL), GLNRegressor(**SMALL)], ids=["classifier", "regressor"])
@pytest.mark.parametrize("value", [[1], math.inf, {}, np.ones(2)], ids=str)
def test_bad_values_change_nothing(model, value):
    model = learned(labelled(40), model.clone())
    learner, places = model._stream.learner, dict(model._stream.schema.indices)
    before = learner_state(learner)
    known, new = {**rows(1)[0], "b": value}, {"new": value}
    for call in (lambda: model.learn_one(known, 1), lambda: model.learn_one(new, 1), lambda: model.predict_one(known)):
        with pytest.raises(ValueError, match="x"):
            call()
    assert_same_state(learner_state(learner), before)
    assert model._stream.learner is learner
    assert model._stream.schema.indices == places


def test_frames_of_polars_are_those_of_pandas():
    polars = pytest.importorskip("polars")
    frame = pd.DataFrame(rows(40)).assign(kind=["u", "v"] * 20)
    frame.loc[::7, "a"] = None
    targets, given = frame["b"] > 0, polars.DataFrame(frame.to_dict("list"), strict=False)
    models = [GLNClassifier(**SMALL) for _ in range(2)]
    for model, table in zip(models, (frame, given), strict=True):
        model.predict_learn_many(table[:20], targets[:20].tolist())
        model.learn_many(table[20:], targets[20:])
    pd.testing.assert_frame_equal(models[0].predict_proba_many(frame), models[1].predict_proba_many(given))
    regressor = learned(labelled(20), GLNRegressor(**SMALL))
    pd.testing.assert_series_equal(regressor.predict_many(frame[["a"]]), regressor.predict_many(given[["a"]]))


DAY = pd.Timestamp("2020-01-01")


@pytest.mark.parametrize("value", [DAY - DAY.replace(year=2019), DAY.to_datetime64() - DAY.to_datetime64()], ids=str)
def test_durations_are_refused_by_name_and_nat_is_missing(value):
    model = learned([({**x, "day": pd.NaT}, y) for x, y in labelled(20)], GLNClassifier(**SMALL))
    assert sorted(model._stream.schema.indices) == list(NAMES)
    before, x = learner_state(model._stream.learner), rows(1)[0]
    frame = pd.DataFrame([{**x, "a": pd.NaT}, {**x, "a": value}])
    calls = [
        *(lambda: model.learn_one({**x, "a": value}, 1), lambda: model.learn_one({**x, "day": value}, 1)),
        *(lambda: model.predict_proba_one({**x, "a": value}), lambda: model.learn_many(frame, pd.Series([0, 1]))),
        *(lambda: model.predict_proba_many(frame), lambda: model.predict_proba_many(frame[1:])),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"x\['(a|day)'\]: expected a finite number, a bool or a string, got"):
            call()
    assert_same_state(learner_state(model._stream.learner), before)


# ---- Dates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "most"), [(datasets.AirlinePassengers(), 23.0), (datasets.WaterFlow(), 3.0)], ids=["month", "time"]
)
def test_dates_of_a_stream(data, most, tmp_path):
    """A linear model of the month as a number has an error of 39, and the mean of all flows one of 19."""
    model, (samples, targets) = GLNRegressor(seed=0), zip(*data, strict=True)
    predicted = []
    for x, y in data:
        predicted.append(model.predict_one(x))
        model.learn_one(x, y)
    assert np.abs(np.array(predicted) - targets).mean() < most
    for rows_ in (pd.DataFrame(samples), list(samples)):
        together = GLNRegressor(seed=0).predict_learn_many(rows_, targets)["mean"]
        np.testing.assert_array_equal(together, predicted)
    many = GLNRegressor(seed=0)
    many.learn_many(pd.DataFrame(samples), pd.Series(targets))
    model.save(tmp_path / "model.gln")
    loaded = GLNRegressor.load(tmp_path / "model.gln")
    [name], last = samples[-1], samples[-1]
    for other in (many, loaded):
        assert other.predict_one(last) == model.predict_one(last)
        assert other.unknown_one(last) == {"names": [], "levels": [], "missing": []}
        assert other.unknown_one({})["missing"] == [name]
        assert other.predict_one({name: pd.NaT}) == other.predict_one({name: None}) == other.predict_one({})
        contributions, constant = other.explain_one(last)
        assert [*contributions] == [name]
        assert contributions[name] + constant == pytest.approx(model.predict_one(last), rel=1e-6)
        for wrong in (3.0, "3"):
            with pytest.raises(ValueError, match=rf"x\['{name}'\]: expected a date, .*, got '?3"):
                other.learn_one({name: wrong}, 1.0)
            with pytest.raises(ValueError, match=rf"x\['{name}'\]: expected a date, .*, got '?3"):
                other.predict_many(pd.DataFrame({name: [wrong, wrong]}))


@pytest.mark.parametrize(
    "value",
    [DAY, DAY.date(), DAY.to_pydatetime(), DAY.to_datetime64(), DAY.to_period("D"), DAY.tz_localize("UTC")],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["day", 0])
def test_dates_of_every_type_are_the_same(value, name):
    def days(count: int) -> list[dict[Any, Any]]:
        return [{name: value if i % 2 else DAY, "a": float(i)} for i in range(count)]

    model = learned(zip(days(6), "ababab", strict=True), GLNClassifier(**SMALL))
    expected = learned([({name: DAY, "a": float(i)}, "ab"[i % 2]) for i in range(6)], GLNClassifier(**SMALL))
    assert_same_state(learner_state(model._stream.learner), learner_state(expected._stream.learner))
    frame = pd.DataFrame({name: [value, value], "a": [1.0, np.nan]})
    np.testing.assert_array_equal(model.predict_proba_many(frame), expected.predict_proba_many(frame))
    assert model.predict_proba_one({name: value}) == expected.predict_proba_one({name: DAY})


@pytest.mark.parametrize("first", [1.0, "one"])
def test_a_date_among_other_values_is_refused(first):
    model = learned([({"a": first, "b": 1.0}, 0)] * 3, GLNClassifier(**SMALL))
    before = learner_state(model._stream.learner)
    rest = [{"a": first, "c": 1.0}, {"a": first, "c": DAY}]
    calls = [
        *(lambda: model.learn_one({"a": DAY}, 1), lambda: model.predict_proba_one({"a": DAY})),
        *(lambda: model.predict_learn_many(pd.DataFrame({"a": [DAY, None]}), [0, 1]),),
        *(lambda: model.predict_learn_many(pd.DataFrame({"a": [first, DAY]}), [0, 1]),),
        *(lambda: model.predict_learn_many(rest, [0, 1]), lambda: model.predict_learn_many(rest[::-1], [0, 1])),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"x\['[ac]'\]: expected .*, got "):
            call()
    assert_same_state(learner_state(model._stream.learner), before)


def test_dates_that_come_late_are_learned_one_by_one_as_together(tmp_path):
    """From 30 samples on there is a time, which is a word first, and of which bandits know, too."""
    samples = [{**x, "when": DAY + pd.Timedelta(7 * i, "h")} if i > 30 else x for i, x in enumerate(rows(150))]
    labels = [str(x.get("when", DAY).hour > 12) for x in samples]
    one, many = (GLNClassifier(**SMALL) for _ in range(2))
    learned(zip(samples, labels, strict=True), one)
    many.learn_many(pd.DataFrame(samples), pd.Series(labels))
    assert "when.hour_sin" in one._stream.schema.indices
    for model in (one, many):
        assert model.predict_proba_one(samples[-1]) == one.predict_proba_one(samples[-1])
        assert {*model.explain_one(samples[-1])[0]["True"]} == {*NAMES, "when"}


def as_text(count: int, share: float = 1.0) -> list[tuple[dict[Any, Any], Any]]:
    """`labelled` as `iter_csv` gives it without converters; some values of a read as numbers, the rest do not."""
    samples = list(enumerate(labelled(count)))
    return [({"a": f"{'' if i % 10 < 10 * share else 'z'}{x['a']:.4f}", "b": x["b"]}, y) for i, (x, y) in samples]


@pytest.mark.parametrize("how", ["one", "many"])
def test_numbers_that_are_text_are_warned_of_at_the_tenth_level(how):
    model, samples, said = GLNClassifier(**SMALL), as_text(40), []
    for part in [[sample] for sample in samples] if how == "one" else [samples[:5], samples[5:]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if how == "one":
                model.learn_one(*part[0])
            else:
                model.learn_many(pd.DataFrame([x for x, _ in part]), pd.Series([y for _, y in part]))
        said.append([str(each.message) for each in caught])
    assert [len(each) for each in said] == [int(i == (9 if how == "one" else 1)) for i in range(len(said))]
    expected = r"x\['a'\] \(such as '.*'\) is text and becomes a category, but its levels read as numbers; convert it"
    assert re.match(expected, next(each[0] for each in said if each))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned(as_text(40, share=0.5), GLNClassifier(**SMALL))
        learned([({**x, "a": x["a"][-1]}, y) for x, y in samples if x["a"][-1] != "9"], GLNClassifier(**SMALL))


def test_sentences_are_warned_of_at_the_tenth_level():
    rows = [{"text": f"it came {i} days late and was cold", "town": f"Stow on the {i}"} for i in range(12)]
    model = GLNClassifier(**SMALL)
    for x in rows[:9]:
        model.learn_one(x, "bad")
    with pytest.warns(UserWarning, match=r"^x\['text'\] is text and .*, but its levels are sentences; split them"):
        model.learn_one(rows[9], "bad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn_one(rows[10], "bad")


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_frames_and_targets_of_other_lengths_are_refused(kind):
    frame, y = pd.DataFrame(rows(10)), pd.Series([0, 1] * 5)
    model = kind(**SMALL)
    model.learn_many(frame, y)
    learner = model._stream.learner
    before = learner_state(learner)
    with pytest.raises(ValueError, match="y: expected 5 targets, one per row, got 10"):
        model.learn_many(frame[:5], y)
    for teach in (model.learn_many, model.predict_learn_many):
        with pytest.raises(ValueError, match=r"y: expected 10 targets, one per row, got 1\.5"):
            teach(frame, 1.5)
    with pytest.raises(ValueError, match="X: expected a pandas frame or a list of dictionaries, got float"):
        model.predict_learn_many(1.5, y)
    assert_same_state(learner_state(learner), before)


@pytest.mark.parametrize("seed", ["seed", -1, 2**32, 0.5, [1]], ids=repr)
def test_seeds_are_checked_before_anything_is_learned(seed):
    with pytest.raises(ValueError, match="seed: expected None or an integer from 0 to"):
        GLNClassifier(seed=seed)


@pytest.mark.parametrize("label", [math.nan, None, pd.NA, pd.NaT, [1], np.zeros(2)], ids=repr)
def test_a_missing_label_is_not_a_class(label):
    model = learned(labelled(40), GLNClassifier(**SMALL))
    before, late = learner_state(model._stream.learner), pd.DataFrame([{"a": 1.0}, {"a": 1.0, "late": 1.0}])
    with pytest.raises(ValueError, match="y: expected labels"):
        model.learn_one(rows(1)[0], label)
    for frame in (pd.DataFrame(rows(2)), late):
        with pytest.raises(ValueError, match="y: expected labels"):
            model.learn_many(frame, pd.Series([1, label], dtype=object))
    assert len(model._stream.schema.classes) == 2
    assert "late" not in model._stream.schema.words
    assert_same_state(learner_state(model._stream.learner), before)


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_rows_labels_and_weights_belong_together_by_position(kind):
    frame, y = pd.DataFrame(rows(20)), pd.Series([y for _, y in labelled(20)])
    plain, other = kind(**SMALL), kind(**SMALL)
    plain.learn_many(frame, y, w=y + 1)
    other.learn_many(frame.set_axis([7] * 20), y.set_axis(y.index[::-1]), w=(y + 1).set_axis(range(5, 25)))
    assert_same_state(learner_state(other._stream.learner), learner_state(plain._stream.learner))
    assert other.predict_many(frame.set_axis([7] * 20)).index.tolist() == [7] * 20


def test_a_rate_that_fails_changes_nothing():
    def rate(t: int) -> float:
        return 1.0 if t < 40 else -1.0

    model = learned(labelled(40), GLNClassifier(**SMALL, learning_rate=rate))
    learner = model._stream.learner
    before = learner_state(learner)
    for x, y in ((rows(1)[0], 1), (rows(1)[0], "new"), ({**rows(1)[0], "new": 1.0}, 1)):
        with pytest.raises(ValueError, match="learning_rate: expected numbers from 0"):
            model.learn_one(x, y)
    with pytest.raises(ValueError, match="learning_rate: expected numbers from 0"):
        model.learn_many(pd.DataFrame(rows(3)), pd.Series([0, 1, "new"]))
    assert model._stream.learner is learner
    assert (sorted(model._stream.schema.classes), "new" in model._stream.schema.indices) == ([0, 1], False)
    assert_same_state(learner_state(learner), before)


def test_learning_continues_after_loading_in_mid_stream(tmp_path):
    samples = list(labelled(60, 3))
    samples = [({"groups": x.pop("h"), **x}, y) for x, y in samples]  # also the name of an attribute of the learner
    for model in (GLNClassifier(**SMALL), GLNRegressor(**SMALL, quantiles=(0.1, 0.9), density=True)):
        model.save(tmp_path / "empty")
        assert type(model).load(tmp_path / "empty")._stream.learner is None
        learned(samples[:30], model).save(tmp_path / "m")
        resumed = type(model).load(tmp_path / "m", backend="numpy")
        learned(samples[30:], resumed)
        assert_same_predictions(learned(samples[30:], model), resumed, samples, atol=1e-3)
    with pytest.raises(ValueError, match=r"expected a saved gln\.river\.GLNClassifier, got a saved gln\.river\.GLNReg"):
        GLNClassifier.load(tmp_path / "m")
    with pytest.raises(ValueError, match=r"parameters: expected some of .*, got \['seed'\]"):
        GLNRegressor.load(tmp_path / "m", seed=3)


@pytest.mark.parametrize("y", [math.nan, math.inf, None, pd.NA, "1.5", [1.0], DAY, DAY.to_datetime64(), 1e60], ids=repr)
def test_bad_targets_change_nothing(y):
    model = learned(labelled(40), GLNRegressor(**SMALL))
    before = learner_state(model._stream.learner)
    with pytest.raises(ValueError, match="y: expected finite numbers"):
        model.learn_one(rows(1)[0], y)
    with pytest.raises(ValueError, match="y: expected finite numbers"):
        model.learn_many(pd.DataFrame(rows(2)), pd.Series([1.0, y], dtype=object))
    assert_same_state(learner_state(model._stream.learner), before)


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_input_of_another_form_is_refused_by_name(kind):
    model = learned(labelled(40), kind(**SMALL))
    before = learner_state(model._stream.learner)
    twice = pd.DataFrame(np.ones((2, 3)), columns=["a", "b", "b"])
    for y in ([0, 1], [0, None], [None, None]):
        for call in (model.learn_many, model.predict_learn_many, lambda frame, _: model.predict_many(frame)):
            with pytest.raises(ValueError, match="X: expected columns with different names, got several named 'b'"):
                call(twice, y)
    for call in (lambda: model.learn_many(np.ones((2, 8)), [0, 1]), lambda: model.predict_many(np.ones((2, 8)))):
        with pytest.raises(ValueError, match=r"X: expected a pandas frame( or a list of dictionaries)?, got ndarray"):
            call()
    for x in ([1.0], None, 3.0, "text", np.ones(8)):
        for call in (lambda x=x: model.learn_one(x, 1), lambda x=x: model.predict_one(x)):
            with pytest.raises(ValueError, match="x: expected a dictionary of features, got"):
                call()
        with pytest.raises(ValueError, match="x: expected a dictionary of features, got"):
            model.predict_learn_many([{"a": 1.0}, x], [0, 1])
    for w in (["heavy", "light"], ["1", "2"], np.array([1, 2], complex), np.array([1, 2], "M8[s]"), pd.NaT):
        with pytest.raises(ValueError, match="w: expected a number or 2 of them, got"):
            model.learn_many(pd.DataFrame(rows(2)), [0, 1], w=w)
    with pytest.raises(ValueError, match=r"x\['a'\]: expected a finite number, a bool or a string, got .*1[+]0j"):
        model.learn_one({"a": np.complex64(1)}, 0)
    assert_same_state(learner_state(model._stream.learner), before)


@pytest.mark.parametrize("factor", [pytest.param(1e3, marks=pytest.mark.slow), 1e6])
def test_recovers_from_one_bad_row(factor):
    samples = labelled(3000, 3)
    hits = []
    for bad in (False, True):
        model, hit = GLNClassifier(**SMALL), []
        for i, (x, y) in enumerate(samples):
            hit.append(model.predict_one(x) == y)
            model.learn_one({name: factor * value for name, value in x.items()} if bad and i == 1500 else x, y)
        hits.append(np.mean(hit[1600:]))
    assert hits[0] > 0.75
    assert hits[1] > hits[0] - 0.02


# ---- Memory, weights, explanations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_weights(kind):
    samples, light, heavy = labelled(60), kind(**SMALL), kind(**SMALL)
    (x, y), before = samples[0], learner_state(learned(samples, light)._stream.learner)
    learned(samples, heavy)
    steps = []
    for model, w in ((light, 0.5), (heavy, 5.0)):
        model.learn_one(x, y, w=w)
        after = learner_state(model._stream.learner)
        steps.append(sum(np.abs(after[name] - before[name]).sum() for name in before if "weights" in name))
    assert steps[1] > 3 * steps[0] > 0
    before = learner_state(light._stream.learner)
    for w, message in (
        (-1, "w: expected numbers from 0 to 1000000"),
        (math.nan, "w: expected"),
        (1e6 + 1, "w: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            light.learn_one(*samples[0], w=w)
    with pytest.raises(ValueError, match="w: expected a number or 60 of them"):
        light.learn_many(pd.DataFrame(rows(60)), pd.Series([0, 1] * 30), w=pd.Series([1.0]))
    assert_same_state(learner_state(light._stream.learner), before)


def test_weights_hardly_change_the_loss_since_no_sample_learns_from_its_own_label():
    rng, effects = np.random.default_rng(0), np.random.default_rng(1).normal(size=300)
    users, a = rng.integers(0, 300, 2000), rng.normal(size=2000)
    y = rng.random(2000) < 1 / (1 + np.exp(-effects[users] - a))
    samples, losses = pd.DataFrame({"user": [f"u{user}" for user in users], "a": a}), []
    for weight in (1, 3):
        p = GLNClassifier(seed=0).predict_learn_many(samples, y.tolist(), np.full(2000, weight).tolist())
        right = np.where(y, p[True], p[False])[1000:]
        losses.append(-np.log(right.clip(1e-3)).mean())
    assert losses[0] < 0.67
    assert losses[1] < losses[0] + 0.02


def test_a_label_whose_samples_have_no_weight_is_no_class():
    model = learned(labelled(40), GLNClassifier(**SMALL))
    model.learn_one({"new": 1.0}, "new", w=0)
    assert (len(model._stream.schema.classes), "new" in model._stream.schema.indices) == (2, False)
    empty = GLNClassifier(**SMALL)
    for label in "xyz":
        empty.learn_one({}, label)
    empty.learn_one({"a": 1.0}, "y")
    assert empty.predict_proba_one({"a": 1.0}).keys() == {"x", "y", "z"}


# ---- Batches, copies, backends ---------------------------------------------------------------------------------------


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("kind", "own"), [pytest.param(GLNClassifier, {}, marks=pytest.mark.slow), (GLNRegressor, {"density": True})]
)
def test_backends_agree(backend, kind, own):
    samples = labelled(60)
    options: dict[str, Any] = {"layer_sizes": (8,), "seed": 1, **own}
    expected, model = (learned(samples, kind(**options, backend=each)) for each in ("numpy", backend_name(backend)))
    assert isinstance(model._stream.learner.networks[0], backend.GLN)
    assert_same_predictions(expected, model, samples, atol=1e-3)


def test_a_learning_rate_set_before_the_first_sample_is_that_of_the_model():
    one, other = GLNClassifier(learning_rate=0.3, **SMALL), GLNClassifier(**SMALL)
    other.learning_rate = 0.3
    for model in (one, other):
        for i in range(30):
            model.learn_one({"a": float(i % 7)}, i % 2)
    assert one.predict_proba_one({"a": 3.0}) == other.predict_proba_one({"a": 3.0})
    assert other.clone().learning_rate == 0.3
