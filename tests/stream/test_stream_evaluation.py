"""What `gln-stream` says of a model: figures, test files, `--metrics`, `--probabilities`, `--explain`."""

# ruff: noqa: N806 - X is a frame

from __future__ import annotations

import csv
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from test_stream_command import KINDS, PRICES, assert_same_arrays, figures_in, samples, table

from gln.apps.stream.command import main
from gln.apps.stream.metrics import Metrics
from gln.engine.saving import read
from gln.river import GLNClassifier, GLNRegressor

pytestmark = pytest.mark.slow  # long runs; test_stream_command.py has short ones


@pytest.fixture
def file(tmp_path) -> str:
    """A file of 400 samples, of two classes."""
    X = table(400)
    X["kind"] = X["kind"].replace("middle", "high")
    X.to_csv(tmp_path / "s.csv", index=False)
    return str(tmp_path / "s.csv")


# ---- Figures ---------------------------------------------------------------------------------------------------------


def test_auc():
    ranking = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 0.5, 5000)
    p[:10] = [0, 1] * 5
    y, weights = rng.random(5000) < 0.5 + 0.7 * (p - 0.5), rng.choice([1.0, 0.25, 3.0], 5000)
    figures = Metrics(True)
    frame = pd.DataFrame({"no": 1 - p, "yes": p})
    figures.count(frame, np.where(y, "yes", "no").tolist(), weights.tolist())
    values: dict[str, Any] = figures.values()
    assert values["auc"] == pytest.approx(ranking.roc_auc_score(y, p, sample_weight=weights), abs=2e-4)
    assert values["auc"] < 0.9


def test_auc_is_of_two_classes():
    figures = Metrics(True)
    figures.count(pd.DataFrame({"a": [0.3, 0.4], "b": [0.7, 0.6]}), ["a", "a"], [1.0, 1.0])
    assert figures.values()["auc"] is None  # no sample of the second class
    figures.count(pd.DataFrame({"a": [0.2], "b": [0.8]}), ["b"], [1.0])
    assert figures.values()["auc"] == 1
    figures.count(pd.DataFrame({"a": [0.5], "b": [0.5]}), ["c"], [1.0])
    assert figures.values()["auc"] is None


@pytest.mark.parametrize("are_classes", [True, False])
def test_figures_do_not_depend_on_chunks(are_classes):
    rng = np.random.default_rng(0)
    names = ["no", "yes"] if are_classes else ["mean", 0.1, 0.9, "std"]
    kind: Any = (True,) if are_classes else (False, (0.1, 0.9), True)
    predicted = np.sort(rng.dirichlet(np.ones(len(names)), 700), axis=1)
    targets: list[Any] = (rng.choice(["no", "yes"], 700) if are_classes else rng.normal(size=700)).tolist()
    for place in rng.choice(700, 50, replace=False).tolist():
        targets[place] = None
    weights = rng.choice([1.0, 0.3, 0.0], 700).tolist()
    states = []
    for size in (1, 3, 64, 700):
        figures = Metrics(*kind)
        for start in range(0, 700, size):
            rows = slice(start, start + size)
            figures.advance(pd.DataFrame(predicted[rows], columns=names), targets[rows], weights[rows])
            again = Metrics(*kind)
            again.resume(json.loads(json.dumps(figures.state())))
            figures = again
        states.append(figures.state())
    assert states[0] == states[1] == states[2] == states[3]
    assert states[0]["sums"][0] > 200


def events_in(path: Path, name: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [event for event in events if event["event"] == name]


# ---- Metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "counts"), [([], [2**i for i in range(1, 9)]), (["--every", "150"], [150, 300])])
def test_metrics_are_what_is_printed(options, counts, file, tmp_path, capsys):
    assert main([file, *KINDS, "--metrics", str(tmp_path / "f.jsonl"), *options]) == 0
    said = capsys.readouterr().err.splitlines()
    lines = [line.split() for line in said if line.startswith("   ") and line.split()[0].isdigit()]
    events = events_in(tmp_path / "f.jsonl", "progress")
    assert [event["samples"] for event in events] == counts
    assert len(lines) == len(counts)
    for event in events:
        assert abs(datetime.fromisoformat(event["time"]).timestamp() - time.time()) < 600
    for line, event in zip(lines, events, strict=True):
        values = [*event["since_start"].values(), *event["since_last_line"].values()]
        assert line[:5] == [str(event["samples"]), *(f"{value:.5g}" for value in values)]
        assert [*event["since_start"]] == ["accuracy", "log_loss"]
    (end,) = events_in(tmp_path / "f.jsonl", "end")
    table = [line.split()[-3:] for line in said if line.startswith("GLN")]
    assert table == [[f"{end['progressive'][name]:.5g}" for name in FIGURES]]
    simple = {"best_constant", "last_label"}
    assert end.keys() == {"event", "time", "samples", "bad_lines", "seconds", "samples_per_second", "progressive"}
    assert end["progressive"].keys() == {"unknown_class", *FIGURES, *simple}


FIGURES = ["accuracy", "log_loss", "auc"]


# ---- Probabilities ---------------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_all_classes_known_so_far(tmp_path):
    table(700).to_csv(tmp_path / "s.csv", index=False)  # "high" is late
    assert main([str(tmp_path / "s.csv"), *KINDS, "--predictions", str(tmp_path / "p.jsonl"), "--probabilities"]) == 0
    model, seen = GLNClassifier(seed=0), set[str]()
    for line, (x, y) in zip((tmp_path / "p.jsonl").read_text().splitlines(), samples(table(700), "kind"), strict=True):
        row = json.loads(line)
        assert row["probabilities"] == {label: round(p, 6) for label, p in model.predict_proba_one(x).items()}
        assert row["probabilities"].keys() == seen
        model.learn_one(x, y)
        seen.add(y)
    assert len(seen) == 3


def test_probabilities_of_a_frozen_model_are_columns(tmp_path, capfd):
    table(300).to_csv(tmp_path / "s.csv", index=False)
    assert main([str(tmp_path / "s.csv"), *KINDS, "--save", str(tmp_path / "m")]) == 0
    capfd.readouterr()
    options = ["--load", str(tmp_path / "m"), "--predict-only", "--probabilities"]
    assert main([str(tmp_path / "s.csv"), *options]) == 0
    rows = list(csv.DictReader(capfd.readouterr().out.splitlines()))
    model = GLNClassifier.load(tmp_path / "m")
    for row, (x, _) in zip(rows, samples(table(300), "kind"), strict=True):
        p = {f"probability_{label}": round(p, 6) for label, p in model.predict_proba_one(x).items()}
        assert {name: float(value) for name, value in row.items() if name.startswith("probability_")} == p
    assert [*rows[0]] == ["prediction", "probability", "probability_low", "probability_middle", "probability_high"]


@pytest.mark.parametrize("options", [KINDS, PRICES])
def test_contributions_add_up_to_predictions(options, tmp_path):
    X = table(120)
    X["kind"] = X["kind"].replace("middle", "high")
    X.to_csv(tmp_path / "s.csv", index=False)
    outputs = ["--save", str(tmp_path / "m"), "--predictions"]
    assert main([str(tmp_path / "s.csv"), *options, *outputs, str(tmp_path / "p.jsonl"), "--explain"]) == 0
    load = ["--load", str(tmp_path / "m"), "--predict-only", "--predictions"]
    assert main([str(tmp_path / "s.csv"), *options, *load, str(tmp_path / "q.jsonl"), "--explain"]) == 0
    assert main([str(tmp_path / "s.csv"), *options, "--predictions", str(tmp_path / "r.jsonl")]) == 0
    for name, other in (("p", "r"), ("q", "")):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for row in rows[20:]:
            total = row["constant"] + sum(row["contributions"].values())
            if options is KINDS:
                assert 1 / (1 + np.exp(-total)) == pytest.approx(row["probability"], abs=1e-3)
            else:
                assert total == pytest.approx(row["prediction"], abs=1e-3 * abs(X["price"]).max())
            assert row["contributions"].keys() <= {"a", "b", "c", "colour", "name"}
        if other:  # the predictions are those without
            plain = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
            assert [row["prediction"] for row in rows] == [row["prediction"] for row in plain]


def test_contributions_of_numbers_that_are_absent(tmp_path):
    """In Vowpal Wabbit's text they are 0, also in a file without one that has them."""
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal() + 3 * (i % 2):.3f} | a:{rng.normal():.2f}{' b:2' if i % 2 else ''}\n" for i in range(60)]
    (tmp_path / "s.vw").write_text("".join(lines))
    (tmp_path / "t.vw").write_text("| a:0.5\n")
    assert main([str(tmp_path / "s.vw"), "--save", str(tmp_path / "m")]) == 0
    options = ["--load", str(tmp_path / "m"), "--predict-only", "--predictions", str(tmp_path / "p.jsonl")]
    assert main([str(tmp_path / "t.vw"), *options, "--explain"]) == 0
    row = json.loads((tmp_path / "p.jsonl").read_text())
    assert row["constant"] + sum(row["contributions"].values()) == pytest.approx(row["prediction"], abs=1e-3)


PROBABILITIES = {
    "--predictions p.csv": "--probabilities: expected JSON lines (a .jsonl file, or - with --format jsonl)",
    "--predictions -": "--probabilities: expected JSON lines (a .jsonl file, or - with --format jsonl)",
    "--predictions p.jsonl --target price": "--probabilities: expected classes as targets, got numbers",
    "--predictions p.csv --explain": "--explain: expected JSON lines (a .jsonl file, or - with --format jsonl)",
    "--load numbers --predict-only": "--probabilities: expected a model of classes, got one of numbers: numbers",
}


@pytest.mark.parametrize("options", PROBABILITIES)
def test_probabilities_that_have_no_place_are_refused(options, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    GLNRegressor(seed=0).save("numbers")
    flag = [] if "explain" in options else ["--probabilities"]
    assert main([file, "--target", "kind", *flag, *options.split()]) == 2
    assert PROBABILITIES[options] in capsys.readouterr().err
    assert not Path("p.csv").exists()


# ---- The model -------------------------------------------------------------------------------------------------------


def test_layers_and_learning_rate_are_the_estimators(file, tmp_path, capsys):
    new = ["--layers", "9,5", "--learning-rate", ".2", "--save", str(tmp_path / "m")]
    assert main([file, *KINDS, *new]) == 0
    model = GLNClassifier(layer_sizes=(9, 5), learning_rate=0.2, seed=0)
    for x, y in samples(pd.read_csv(file), "kind"):
        model.learn_one(x, y)
    model.save(tmp_path / "rivers")
    assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "rivers")[1])
    again = [file, *KINDS, "--load", str(tmp_path / "m"), "--save", str(tmp_path / "n")]
    assert main([*again, "--layers", "9,5"]) == 0
    assert GLNClassifier.load(tmp_path / "n").learning_rate == 0.2
    assert main([*again, "--learning-rate", "0.01"]) == 0
    other = GLNClassifier.load(tmp_path / "m", learning_rate=0.01)
    for x, y in samples(pd.read_csv(file), "kind"):
        other.learn_one(x, y)
    other.save(tmp_path / "rivers")
    assert_same_arrays(read(tmp_path / "n")[1], read(tmp_path / "rivers")[1])
    capsys.readouterr()
    assert main([*again, "--layers", "9,6"]) == 2
    assert "--layers: expected (9, 5), as in" in capsys.readouterr().err


def test_a_model_knows_its_target(file, tmp_path):
    model = str(tmp_path / "m")
    assert main([file, *KINDS, "--save", model]) == 0
    ignored = KINDS[2:]
    assert main([file, *ignored, "--save", model, "--resume"]) == 0
    for options in ([], ["--target", "kind"]):
        assert main([file, *ignored, *options, "--load", model, "--save", str(tmp_path / "n")]) == 0
        assert figures_in(tmp_path / "n").sums[0] == 400


def test_another_target_than_the_models_is_refused_where_it_makes_no_sense(file, tmp_path, capsys):
    model = str(tmp_path / "m")
    ignored = KINDS[2:]
    assert main([file, *KINDS, "--save", model]) == 0
    capsys.readouterr()
    assert main([file, *ignored, "--save", model, "--resume", "--target", "price"]) == 2
    assert "--target: expected 'kind', as in" in capsys.readouterr().err
    assert main([file, *ignored, "--load", model, "--target", "colour"]) == 2
    assert "--target: expected another name than the features of" in capsys.readouterr().err
    pd.read_csv(file).rename(columns={"kind": "sort"}).to_csv(tmp_path / "t.csv", index=False)
    assert main([str(tmp_path / "t.csv"), *ignored, "--load", model]) == 2
    assert "target: expected one of the columns" in capsys.readouterr().err
    assert main([str(tmp_path / "t.csv"), *ignored, "--load", model, "--target", "sort"]) == 0
    predicted = ["--predict-only", "--predictions", str(tmp_path / "p.csv")]  # needs none
    assert main([str(tmp_path / "t.csv"), *ignored, "--load", model, *predicted]) == 0


USAGE = {
    "--predict-only": "--predict-only",
    "--resume": "--resume",
    "--save-every 5": "--save-every",
    "--quantiles x": "--quantiles",
    "--layers 3,x": "argument --layers: invalid sizes value: '3,x'",
    "--learning-rate fast": "argument --learning-rate: invalid float value: 'fast'",
    "--save m --save-every 0": "--save-every: expected at least 1",
    "--every 0": "--every: expected at least 1",
    "--explain": "--explain needs --predictions",
    "--probabilities": "--probabilities needs --predictions",
    "--predictions - --metrics -": "--metrics: expected another file than --predictions, got -",
}


@pytest.mark.parametrize("options", USAGE)
def test_options_that_make_no_sense_print_the_usage(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["a.csv", *options.split()])
    assert ended.value.code == 2
    assert USAGE[options] in capsys.readouterr().err


OF_ESTIMATORS = {  # options that the estimators check, and what is wrong; even with --skip-bad no line is
    "--layers 3,0": "layer_sizes[1]: expected int in [1, inf), got 0",
    "--learning-rate inf": "learning_rate: expected numbers from 0 to",
    "--backend no": "backend: expected 'auto', one of",
    "--regression --quantiles 0.5,1": "quantiles: expected a sequence of numbers in (0, 1), got ",
}


@pytest.mark.parametrize("options", OF_ESTIMATORS)
def test_options_that_an_estimator_refuses_are_no_bad_lines(options, file, capsys):
    target = ["--target", "price" if "--regression" in options else "kind"]
    assert main([file, *target, "--skip-bad", *options.split()]) == 2
    assert f"gln-stream: {OF_ESTIMATORS[options]}" in capsys.readouterr().err
