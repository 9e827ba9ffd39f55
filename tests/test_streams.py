"""The benchmark of streams scores as River does, and its streams are what they say."""

from __future__ import annotations

import os

import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("river", "joblib", "matplotlib"):
        pytest.importorskip(package)

from river import evaluate, metrics
from river.datasets import synth

from benchmarks import streams


@pytest.mark.parametrize(
    ("stream", "title", "metric"),
    [
        ("Phishing", "GLNClassifier", metrics.Accuracy()),
        ("RandomTree", "StandardScaler, LogisticRegression", metrics.Accuracy()),
        ("Mv", "StandardScaler, KNNRegressor", metrics.MAE()),
        ("WaterFlow", "GLNRegressor", metrics.MAE()),
    ],
)
def test_scores_are_those_of_river(stream, title, metric):
    numbers = stream in streams.NUMBERS
    make = (streams.REGRESSORS if numbers else streams.CLASSIFIERS)[title]
    samples = (streams.NUMBERS if numbers else streams.CLASSES)[stream](100)
    expected = evaluate.progressive_val_score(samples, make(len({y for _, y in samples})), metric).get()
    score, micros = streams.scored(stream, title, 100)
    assert score == pytest.approx(expected if numbers else 100 * expected)
    assert micros > 0


@pytest.mark.parametrize("name", [*streams.CLASSES, *streams.NUMBERS])
def test_a_stream_has_so_many_samples_of_plain_numbers(name):
    if name == "Shuttle" and not hasattr(streams.datasets, name):
        pytest.skip("this River is older than the data set")
    stream = {**streams.CLASSES, **streams.NUMBERS}[name](101)
    assert len(stream) == 101
    assert all(isinstance(value, (int, float)) for x, _ in stream for value in x.values())


def test_concepts_follow_one_another_and_no_sample_comes_twice():
    stream = streams.concepts(11, *(synth.Sine(function, seed=function) for function in (0, 1)))
    assert stream == [*synth.Sine(0, seed=0).take(5), *synth.Sine(1, seed=1).take(6)]
    assert len({tuple(x.values()) for x, _ in streams.sine(10)}) == 10


def test_picture(tmp_path):
    streams.draw(str(tmp_path / "drift.png"), 60, 20)
    assert (tmp_path / "drift.png").stat().st_size > 10000
