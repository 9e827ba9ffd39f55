"""Several passes of `gln-stream` over a file, and `learn_again`, by which later passes learn."""

# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from test_stream_command import KINDS, PRICES, assert_same_arrays, figures_in, samples, table
from test_stream_resuming import COUNT, interrupt, lines_of, piped, refused, stops, target, written

from gln.engine.saving import read
from gln.river import GLNClassifier, GLNRegressor
from gln.stream.command import main

pytestmark = pytest.mark.slow  # long runs; test_stream_command.py has short ones

__all__ = ["stops"]  # a fixture


def numbers(count: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(count, 6)).round(3), columns=list("abcdef"))
    score = X["a"] * X["b"] + X["c"] * X["d"] + 0.5 * X["e"] + rng.normal(scale=0.3, size=count)
    return X.assign(y=np.where(score > 0, "yes", "no"))


def users(count: int, seed: int = 0) -> pd.DataFrame:
    """Names of users and items with tastes of their own, so that the label of a sample tells much about both."""
    rng = np.random.default_rng(0)
    of_users, of_items = rng.normal(size=400), rng.normal(size=300)
    rng = np.random.default_rng(1 + seed)
    user, item = rng.integers(0, 400, count), rng.integers(0, 300, count)
    p = 1 / (1 + np.exp(-of_users[user] - of_items[item]))
    X = pd.DataFrame({"user": [f"u{n}" for n in user], "item": [f"i{n}" for n in item]})
    return X.assign(y=np.where(rng.random(count) < p, "yes", "no"))


def log_loss(model: Any, X: pd.DataFrame) -> float:
    p = model.predict_proba_many(X.drop(columns="y")).to_numpy()
    columns = [*model.predict_proba_one({})]
    return float(-np.log(p[np.arange(len(X)), [columns.index(label) for label in X["y"]]]).mean())


@pytest.mark.parametrize("made", [numbers, users])
def test_later_passes_predict_new_samples_better(made, tmp_path):
    X, new = made(4000), made(2000, seed=9)
    X.to_csv(tmp_path / "s.csv", index=False)
    losses = []
    for passes in ("1", "3"):
        arguments = [str(tmp_path / "s.csv"), "--target", "y", "--passes", passes, "--save", str(tmp_path / "m")]
        assert main(arguments) == 0
        losses.append(log_loss(GLNClassifier.load(tmp_path / "m"), new))
        assert figures_in(tmp_path / "m").samples == 4000  # of the first pass
    assert losses[1] < losses[0] - 0.002


def test_with_names_everything_but_linear_models_stays_in_a_later_pass():
    X = users(1000)
    y, features = X["y"].tolist(), X.drop(columns="y")
    model = GLNClassifier(seed=0)
    model.predict_learn_many(features, y)
    before = {name: array.copy() for name, array in arrays_of(model).items()}
    model.learn_again(features, y)
    changed = {name for name, array in arrays_of(model).items() if not np.array_equal(array, before[name])}
    assert changed == {"leaders", "squares"}


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    learner = model._stream.learner
    linear = learner.featurizer.base_models.linear
    weights = {f"weights {n}": network.get_state()["weights.1"] for n, network in enumerate(learner.networks)}
    return {
        "leaders": linear.leaders,
        "squares": linear.squares,
        "totals": learner.featurizer.encoding.totals,
        **weights,
    }


PASSES: dict[str, Any] = {
    "names": (KINDS, lambda: GLNClassifier(seed=0), "kind"),
    "numbers of names": (PRICES, lambda: GLNRegressor(seed=0), "price"),
}


@pytest.mark.parametrize("case", PASSES)
def test_passes_learn_as_learn_again(case, tmp_path):
    options, new, name = PASSES[case]
    table(700).to_csv(tmp_path / "s.csv", index=False)
    assert main([str(tmp_path / "s.csv"), *options, "--passes", "3", "--save", str(tmp_path / "m")]) == 0
    model, pairs = new(), samples(table(700), name)
    rows, targets = [x for x, _ in pairs], [y for _, y in pairs]
    model.predict_learn_many(rows, targets)
    for _ in range(2):
        model.learn_again(rows, targets)
    model.save(tmp_path / "rivers")
    assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "rivers")[1])


def test_learn_again_checks_labels():
    model = GLNClassifier(seed=0)
    model.predict_learn_many([{"a": "x"}, {"a": "y"}], ["no", "yes"])
    with pytest.raises(ValueError, match=r"y: expected some of the classes \['no', 'yes'\]"):
        model.learn_again([{"a": "x"}], ["perhaps"])
    model.learn_again([{"a": "x"}], [None])
    model.learn_again([{"a": "x"}], ["perhaps"], 0.0)


@pytest.mark.parametrize("name", ["s.csv.gz", "-"])
def test_compressed_files_and_redirected_ones_have_passes(name, tmp_path, monkeypatch):
    options = ["--format", "csv", *KINDS, "--passes", "2", "--save"]
    for file in ("s.csv", "s.csv.gz"):
        table(300).to_csv(tmp_path / file, index=False)
    assert main([str(tmp_path / "s.csv"), *options, str(tmp_path / "m")]) == 0
    with open(tmp_path / "s.csv") as source:
        monkeypatch.setattr("sys.stdin", source)
        assert main([name if name == "-" else str(tmp_path / name), *options, str(tmp_path / "n")]) == 0
    assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "n")[1])


# ---- Runs that go on -------------------------------------------------------------------------------------------------


def without_seconds(path: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in event.items() if "second" not in name} for event in events]


@pytest.mark.parametrize("form", ["csv", "jsonl", "vw", "libsvm"])
def test_a_run_that_is_stopped_in_any_pass_goes_on(form, stops, tmp_path):
    lines = lines_of(form, table(COUNT))
    for number in (20, 100, 101, 180, COUNT - 1):
        lines[number] = "{bad"
    file = str(written(tmp_path / f"s.{form}", lines))
    test = str(written(tmp_path / f"test.{form}", lines_of(form, table(50, seed=1))))
    common = [file, *target(form), "--skip-bad", "--passes", "3", "--test-every", "7", "--test", test]
    names = {"--save": "m", "--predictions": "p.csv", "--metrics": "f.jsonl"}
    whole = [word for option, name in names.items() for word in (option, str(tmp_path / f"whole_{name}"))]
    assert main([*common, *whole]) == 0
    options = [*common, *(word for option, name in names.items() for word in (option, str(tmp_path / name)))]
    for stop in (100, 250, 100, 250, 60):
        stops(stop, lambda: interrupt(signal.SIGTERM))
        assert main([*options, "--resume"]) == 128 + signal.SIGTERM
    stops(10 * COUNT, lambda: None)
    for _ in range(2):  # the second time, there is nothing left to learn
        assert main([*options, "--resume"]) == 0
        assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole_p.csv").read_bytes()
        assert without_seconds(tmp_path / "f.jsonl") == without_seconds(tmp_path / "whole_f.jsonl")
        assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "whole_m")[1])
        one, other = (GLNClassifier.load(tmp_path / name).extra for name in ("m", "whole_m"))
        assert one | {"metrics": None} == other | {"metrics": None}  # which have the speed
    assert sum(event["event"] == "pass" for event in without_seconds(tmp_path / "f.jsonl")) == 3


def test_more_passes_go_on(tmp_path):
    file = written(tmp_path / "s.csv", lines_of("csv", table(COUNT)))
    for passes in ("1", "2", "3"):
        options = [str(file), *KINDS[:2], "--passes", passes, "--save", str(tmp_path / "m"), "--resume"]
        assert main(options) == 0
    assert main([str(file), *KINDS[:2], "--passes", "3", "--save", str(tmp_path / "whole")]) == 0
    assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "whole")[1])
    assert figures_in(tmp_path / "m").state() == figures_in(tmp_path / "whole").state()


# ---- What is refused -------------------------------------------------------------------------------------------------


def test_passes_of_what_is_read_once_are_refused(tmp_path, capsys):
    options = ["--target", "kind", "--passes", "2", "--save", str(tmp_path / "m")]
    assert piped(tmp_path / "pipe.csv", lines_of("csv", table(20)), options) == 2
    assert "--passes: expected 1 for a pipe, which can be read once, got 2" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_other_passes_than_those_of_the_saved_run_are_refused(tmp_path, capsys):
    lines = lines_of("csv", table(COUNT))
    file = str(written(tmp_path / "s.csv", lines))
    options = ["--target", "kind", "--save", str(tmp_path / "m"), "--resume", "--passes"]
    assert main([file, *options, "2"]) == 0
    refused(tmp_path, [file, *options, "1"], "--passes: expected at least 2, as in the saved run, got 1", capsys)
    written(tmp_path / "s.csv", lines[:200])
    refused(tmp_path, [file, *options, "2"], "expected the file from which the saved run learned", capsys)
    written(tmp_path / "s.csv", [*lines, *lines[1:20]])
    assert main([file, *options, "2"]) == 2
    message = f"line {COUNT + 20}: expected the end of the file, as in the first pass, after line {COUNT + 1}"
    assert message in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples == COUNT


def test_passes_with_memory_are_refused(tmp_path, capsys):
    file = str(written(tmp_path / "s.csv", lines_of("csv", table(COUNT))))
    options = [file, *KINDS[:2], "--passes", "2", "--save", str(tmp_path / "m")]
    assert main([*options, "--memory"]) == 2
    assert "--passes: expected 1 with --memory, got 2" in capsys.readouterr().err
    assert main([file, *KINDS[:2], "--memory", "--save", str(tmp_path / "m")]) == 0
    assert main([*options, "--load", str(tmp_path / "m")]) == 2
    assert "--passes: expected 1 with --memory, got 2" in capsys.readouterr().err


def test_an_empty_file_has_no_passes(tmp_path, capsys):
    file = written(tmp_path / "s.csv", ["a,kind"])
    assert main([str(file), *KINDS[:2], "--passes", "3", "--save", str(tmp_path / "m")]) == 0
    assert not (tmp_path / "m").exists()
    assert "pass" not in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_no_negatives_have_passes(form, tmp_path):
    file = written(tmp_path / f"s.{form}", lines_of(form, table(COUNT)))
    options = [str(file), *KINDS[:2], "--no-negatives", "--passes", "2", "--save", str(tmp_path / "m")]
    assert main(options) == 0
    assert figures_in(tmp_path / "m").samples == COUNT
