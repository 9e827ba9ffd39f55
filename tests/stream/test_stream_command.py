"""The command `gln-stream`: figures, predictions, bad lines, and runs that are interrupted and go on."""

# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, assert_same_file

pytest.importorskip("river")

from river import dummy, evaluate, metrics, stats
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss, mean_squared_error

import gln
from gln import sklearn
from gln.apps.stream.command import main
from gln.apps.stream.learning import ESTIMATORS
from gln.apps.stream.metrics import Metrics
from gln.engine.saving import read
from gln.river import GLNClassifier, GLNRegressor

RUN = [sys.executable, "-c", "import sys; from gln.apps.stream.command import main; sys.exit(main())"]


def table(count: int, seed: int = 0) -> pd.DataFrame:
    """Numbers, a category, missing values, and targets of three classes, of which one is late, and of numbers."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(count, 3)).round(3), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue", "white"], count)
    X["name"] = [f"n{place}" for place in rng.integers(0, 40, count)]
    score = X["a"] * X["b"] + (X["colour"] == "red") + rng.normal(scale=0.3, size=count)
    X["kind"] = np.select([score > 1.2, score > 0.3], ["high", "middle"], "low")
    X.loc[: count // 3, "kind"] = X["kind"].replace("high", "middle")
    X["price"] = (100 * score).round(2)
    return X.mask(pd.DataFrame(rng.random(X.shape) < 0.03, columns=X.columns).assign(kind=False, price=False))


def samples(X: pd.DataFrame, target: str) -> list[tuple[dict[Any, Any], Any]]:
    """What River takes."""
    features = X.drop(columns=["kind", "price"]).to_dict("records")
    kept = [{name: value for name, value in x.items() if value == value} for x in features]
    return list(zip(kept, X[target].tolist(), strict=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder of files that hold the same 700 samples."""
    folder, X = tmp_path_factory.mktemp("streams"), table(700)
    X.to_csv(folder / "kinds.csv", index=False)
    X.to_csv(folder / "kinds.csv.gz", index=False)
    X.to_csv(folder / "kinds.tsv", index=False, sep="\t")
    rows = [{name: value for name, value in x.items() if value == value} for x in X.to_dict("records")]
    GLNRegressor(seed=0).save(folder / "model.gln")
    (folder / "kinds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


KINDS = ["--target", "kind", "--ignore", "price"]
PRICES = ["--target", "price", "--ignore", "kind"]


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open()))


def figures_in(file: Path) -> Metrics:
    """What a saved model says of the run so far."""
    model = ESTIMATORS[read(file)[0]["estimator"]].load(file)
    figures = Metrics.of(model)
    figures.resume(model.extra["figures"])
    return figures


def means(figures: Metrics) -> list[float]:
    return [total / figures.sums[0] for total in figures.sums[1:]]


def started(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    pipes: dict[str, Any] = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")} | options
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*RUN, *arguments], env=environ, **pipes)


def test_a_class_that_reads_as_missing_is_said(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("a,y\n1,None\n2,x\n3,y\n4,None\n")
    options = [str(tmp_path / "a.csv"), "--target", "y", "--save", str(tmp_path / "m")]
    assert main(options) == 0
    assert capsys.readouterr().err.count("'None' is read as a missing value, so the sample is only predicted") == 1
    assert list(GLNClassifier.load(tmp_path / "m").predict_proba_one({})) == ["x", "y"]
    assert main([*options, "--strings", "y"]) == 0
    assert "missing" not in capsys.readouterr().err
    assert list(GLNClassifier.load(tmp_path / "m").predict_proba_one({})) == ["None", "x", "y"]


def test_classes_of_a_loaded_model_stay_text(tmp_path):
    (tmp_path / "a.csv").write_text("a,y\n1,1\n2,x\n3,1\n4,x\n")
    (tmp_path / "b.csv").write_text("a,y\n1,1\n3,1\n")  # where they look like numbers
    assert main([str(tmp_path / "a.csv"), "--target", "y", "--save", str(tmp_path / "m")]) == 0
    options = ["--target", "y", "--load", str(tmp_path / "m"), "--save", str(tmp_path / "n")]
    assert main([str(tmp_path / "b.csv"), *options]) == 0
    assert list(GLNClassifier.load(tmp_path / "n").predict_proba_one({"a": 1.0})) == ["1", "x"]


UNKNOWN_FIRST = {  # formats of (a, y); without y, the first 1,200 samples
    "csv": ("a,y\n", lambda a, y: f"{a},{'' if y is None else y}\n"),
    "jsonl": ("", lambda a, y: json.dumps({"a": a, "y": y}) + "\n"),
    "vw": ("", lambda a, y: f"{'' if y is None else y} | a:{a}\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", UNKNOWN_FIRST)
def test_the_first_target_decides_what_is_learned(form, tmp_path, capsys):
    header, line = UNKNOWN_FIRST[form]
    a = np.random.default_rng(0).normal(size=4300).round(3).tolist()
    targets: list[Any] = [None if row < 4200 else row + 0.5 for row in range(4300)]
    file = tmp_path / f"s.{form}"
    file.write_text(header + "".join(map(line, a, targets)))
    options = [str(file), *([] if form == "vw" else ["--target", "y"]), "--predictions", str(tmp_path / "p.csv")]
    assert main([*options, "--save", str(tmp_path / "m")]) == 0
    said = f"learning numbers, since {'the target' if form == 'vw' else 'y'} begins with 4200.5"
    assert said in capsys.readouterr().err
    model = GLNRegressor(seed=0)
    for x, y in zip(a[4200:], targets[4200:], strict=True):
        model.learn_one({"a": x}, y)
    assert_same_arrays(read(tmp_path / "m")[1], _saved(model, tmp_path))
    assert [float(row["prediction"]) for row in rows_of(tmp_path / "p.csv")][:4201] == [0.0] * 4201
    assert figures_in(tmp_path / "m").samples == 4300
    file.write_text(header + "".join(map(line, a[:3], targets[:3])))
    assert main(options) == 2
    assert "expected a target in at least one sample, got 3 samples without" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--regression"], pytest.param(["--strings", "y"], marks=pytest.mark.slow)])
def test_a_pipe_without_targets_is_answered_at_once_if_options_say_what_all_is(options):
    process = started("--target", "y", "--predictions", "-", "--numbers", "a", *options, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"a": 1}\n')
    process.stdin.flush()
    answer = {"prediction": 0.0} if options == ["--regression"] else {"prediction": None, "probability": None}
    assert json.loads(process.stdout.readline()) == answer
    process.stdin.close()
    assert process.wait(60) == 0


NOT_IDS = {  # names, and values as in a stream, that are no ids
    **{"age": 80, "count": 500, "hour": 24, "year": 2030, "pixel_17": 256, "paid": 90, "n_users": 300, "grid": 9},
    **{"user_age": 80, "items": 40, "new_customer": 2, "is_user": 2, "price": 2000, "zip_distance": 70, "clicks": 9},
}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_numbers_that_are_named_like_ids_are_said(form, tmp_path, capsys):
    rng, ids = np.random.default_rng(0), ["user", "itemId", "session_id", "ZIP"]
    X = pd.DataFrame({name: rng.integers(0, most, 200) for name, most in NOT_IDS.items()})
    X = X.assign(**{name: rng.integers(1, 90, 200) for name in ids}, id=range(200), code=rng.normal(size=200))
    X["y"] = rng.choice(["no", "yes"], 200)
    file = tmp_path / f"s.{form}"
    X.to_csv(file, index=False) if form == "csv" else X.to_json(file, orient="records", lines=True)
    said = []
    for options in ([], ["--strings", "user,ZIP", "--numbers", "itemId", "--ignore", "session_id"]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # that text reads as numbers
            assert main([str(file), "--target", "y", *options]) == 0
        said.append(capsys.readouterr().err)
    listed = "user,itemId,session_id,ZIP"
    hint = f"gln-stream: {listed}: read as numbers, but named like ids\n    (--strings {listed} reads categories)\n"
    assert hint in said[0]
    assert "like ids" not in said[1]


@pytest.mark.parametrize("name", ["kinds.csv", "kinds.jsonl"])
def test_a_loaded_model_learns_nothing_without_a_target(files, name, tmp_path, capsys):
    model = ["--load", str(files / "model.gln")]
    assert main([str(files / name), *model, "--save", str(tmp_path / "m")]) == 2
    assert "--target: expected the name of what to predict, got none" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
    assert main([str(files / name), *model, "--predict-only", "--predictions", str(tmp_path / "p.csv")]) == 0
    assert len(rows_of(tmp_path / "p.csv")) == 700


# ---- Figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["kinds.csv", *(pytest.param(f"kinds.{form}", marks=pytest.mark.slow) for form in ("csv.gz", "tsv", "jsonl"))],
)
def test_figures_of_classes_are_rivers(files, name, tmp_path, capsys):
    assert main([str(files / name), *KINDS, "--save", str(tmp_path / "model")]) == 0
    said, figures, stream = capsys.readouterr().err, figures_in(tmp_path / "model"), samples(table(700), "kind")
    accuracy = evaluate.progressive_val_score(stream, GLNClassifier(seed=0), metrics.Accuracy()).get()
    loss = evaluate.progressive_val_score(stream, GLNClassifier(seed=0), metrics.CrossEntropy()).get()
    before = evaluate.progressive_val_score(stream, dummy.NoChangeClassifier(), metrics.Accuracy()).get()
    assert figures.sums[0] == 699  # before the first sample no class is known
    np.testing.assert_allclose(means(figures), [accuracy, loss, before], rtol=1e-12)
    most = table(700)["kind"].value_counts(normalize=True)
    entropy = float(-(most * np.log(most)).sum())
    lines = said.splitlines()
    assert lines[0] == "gln-stream: learning classes, since kind begins with 'low'"
    assert lines[1] == "    (--regression learns numbers)"
    assert lines[-4].split() == ["accuracy", "log-loss"]  # of three classes there is no AUC
    assert lines[-3].split()[:3] == ["GLN", f"{accuracy:.5g}", f"{loss:.5g}"]
    assert lines[-2].split() == ["best", "constant,", "low", f"{most.iloc[0]:.5g}", f"{entropy:.5g}"]
    assert lines[-1].split() == ["last", "label", f"{before:.5g}"]
    assert lines[-5].startswith("700 samples, 2 of an unknown class (log-loss 0); 700 in ")
    assert [line.split()[0] for line in lines[4:-5]] == ["2", "4", "8", "16", "32", "64", "128", "256", "512"]


def test_figures_since_the_last_line(files, tmp_path, capsys):
    main([str(files / "kinds.csv"), *KINDS, "--predictions", str(tmp_path / "p.csv")])
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{512:>12}"))
    predicted = [row["prediction"] for row in rows_of(tmp_path / "p.csv")]
    hits = np.array([one == other for one, other in zip(predicted, table(700)["kind"], strict=True)])
    assert line.split()[1] == f"{hits[1:512].mean():.5g}"
    assert line.split()[3] == f"{hits[256:512].mean():.5g}"


def test_figures_of_numbers_are_rivers(files, tmp_path, capsys):
    options = [*PRICES, "--quantiles", ".1,.9", "--seed", "3"]
    assert main([str(files / "kinds.csv"), *options, "--save", str(tmp_path / "m")]) == 0
    stream, figures = samples(table(700), "price"), figures_in(tmp_path / "m")
    model = GLNRegressor(quantiles=(0.1, 0.9), seed=3)
    error = evaluate.progressive_val_score(stream, model, metrics.MAE()).get()
    again, predicted, quantiles = GLNRegressor(quantiles=(0.1, 0.9), seed=3), [], []
    for x, y in stream:
        predicted.append(again.predict_one(x))
        quantiles.append([*again.predict_quantiles_one(x).values()])
        again.learn_one(x, y)
    y, q = np.array([y for _, y in stream]), np.array(quantiles)
    pinball = np.mean([mean_pinball_loss(y, q[:, place], alpha=level) for place, level in enumerate((0.1, 0.9))])
    simple = []
    for power, measure in enumerate((metrics.MAE(), metrics.MSE()), 1):
        constant = dummy.StatisticRegressor(stats.Mean())
        simple.append(evaluate.progressive_val_score(stream, constant, measure).get())
        simple.append(np.mean(np.abs(np.diff(y, prepend=0)) ** power))
    inside = np.mean((q[:, 0] <= y) & (y <= q[:, 1]))
    expected = [error, mean_squared_error(y, predicted), pinball, inside, *simple]
    np.testing.assert_allclose(means(figures), expected, rtol=1e-9)
    assert "learning numbers, since price begins with" in capsys.readouterr().err
    assert read(tmp_path / "m")[1].keys() == _saved(model, tmp_path).keys()
    assert_same_arrays(read(tmp_path / "m")[1], _saved(model, tmp_path))


def test_figures_of_densities(files, tmp_path):
    """Against SciPy's normal distribution."""
    file, options = str(files / "kinds.csv"), [*PRICES, "--density", "--layers", "4"]
    assert main([file, *options, "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv")]) == 0
    rows, y = pd.read_csv(tmp_path / "p.csv"), table(700)["price"]
    of_samples = norm(rows["prediction"], rows["std"])
    most = 15 * np.log(10) - of_samples.logpdf(rows["prediction"])  # of one sample
    figures = dict(zip(figures_in(tmp_path / "m").names, means(figures_in(tmp_path / "m")), strict=False))
    assert figures["negative_log_likelihood"] == pytest.approx(
        np.minimum(-of_samples.logpdf(y), most)[2:].sum() / 700, rel=1e-6
    )
    assert figures["in_90_percent"] == pytest.approx(np.mean(np.abs(of_samples.cdf(y) - 0.5) <= 0.45), abs=2e-3)
    assert 0.8 < figures["in_90_percent"] < 0.98
    assert figures["squared_error"] == pytest.approx(np.mean((rows["prediction"] - y) ** 2), rel=1e-6)


def _saved(model: Any, folder: Path) -> dict[str, np.ndarray]:
    model.save(folder / "rivers")
    return read(folder / "rivers")[1]


def assert_same_arrays(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_weights_count_as_rivers(tmp_path):
    rng = np.random.default_rng(1)
    a, weights = rng.normal(size=200).round(3), rng.choice([1, 2, 0.5, 250], 200)
    labels = np.where(a + rng.normal(scale=0.5, size=200) > 0, 1, -1)
    lines = [f"{y} {w} | a:{x}" for y, w, x in zip(labels, weights, a, strict=True)]
    (tmp_path / "s.vw").write_text("\n".join(lines) + "\n")
    assert main([str(tmp_path / "s.vw"), "--save", str(tmp_path / "m")]) == 0
    model, accuracy = GLNClassifier(seed=0), metrics.Accuracy()
    for x, y, w in zip(a.tolist(), labels.tolist(), weights.tolist(), strict=True):
        if (p := model.predict_one({"a": x})) is not None:
            accuracy.update(y, p, w)
        model.learn_one({"a": x}, y, w)
    assert means(figures_in(tmp_path / "m"))[0] == pytest.approx(accuracy.get(), rel=1e-12)


@pytest.mark.parametrize("form", ["csv", "jsonl", "vw"])
def test_samples_of_unknown_classes_are_said(form, tmp_path, capfd):
    labels, line = [1, 2, 3, 12, 57, 31, None, 12], UNKNOWN_FIRST[form][1]
    (tmp_path / f"s.{form}").write_text(UNKNOWN_FIRST[form][0] + "".join(line(1.5, y) for y in labels[:3]))
    target, model = [] if form == "vw" else ["--target", "y"], str(tmp_path / "m")
    assert main([str(tmp_path / f"s.{form}"), *target, "--save", model]) == 0
    assert "\n3 samples, 2 of an unknown class (log-loss 0); 3 in" in capfd.readouterr().err
    (tmp_path / f"s.{form}").write_text(UNKNOWN_FIRST[form][0] + "".join(line(1.5, y) for y in labels))
    assert main([str(tmp_path / f"s.{form}"), *target, "--save", model, "--resume"]) == 0
    assert "\n8 samples, 5 of an unknown class (log-loss 0); 5 in" in capfd.readouterr().err
    (tmp_path / f"s.{form}").write_text(UNKNOWN_FIRST[form][0] + "".join(line(1.5, y) for y in [77, 77, None, 1]))
    assert main([str(tmp_path / f"s.{form}"), *target, "--load", model, "--predict-only"]) == 0
    assert "\n4 samples, 2 of an unknown class (log-loss 0); 4 in" in capfd.readouterr().err


def test_the_best_constant_of_one_class_has_no_negative_zero():
    figures = Metrics(True)
    figures.count(pd.DataFrame({1: [1.0, 1.0]}), [1, 1], [1.0, 1.0])
    assert "-0" not in figures.table()


def test_control_codes_in_names_do_not_reach_the_terminal(tmp_path, capsys):
    (tmp_path / "s.csv").write_text("\x1b[31mtime,y\n" + "2024-05-01,\x1b[2Ja\n2024-05-02,b\n" * 2)
    assert main([str(tmp_path / "s.csv"), "--target", "y"]) == 0
    assert main([str(tmp_path / "s.csv"), "--target", "\x1b[31m"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\\x1b[31mtime: a time, read as days since 1970") == said.count("best constant, \\x1b[2Ja") == 1


# ---- Predictions -----------------------------------------------------------------------------------------------------


def test_predictions_are_those_before_learning(files, tmp_path):
    main([str(files / "kinds.csv"), *KINDS, "--predictions", str(tmp_path / "p.csv")])
    model, rows = GLNClassifier(seed=0), rows_of(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().startswith("prediction,probability\n,\n")
    for row, (x, y) in zip(rows, samples(table(700), "kind"), strict=True):
        p = model.predict_proba_one(x)
        if p:
            label = max(p, key=lambda each: p[each])
            assert (row["prediction"], float(row["probability"])) == (label, round(p[label], 6))
        model.learn_one(x, y)


def test_predictions_of_numbers(files, tmp_path):
    options = [*PRICES, "--quantiles", ".9,.1", "--density"]
    main([str(files / "kinds.jsonl"), *options, "--predictions", str(tmp_path / "p.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert rows[0] == pytest.approx({"prediction": 0, "0.1": -1.2816, "0.9": 1.2816, "std": 1}, abs=1e-4)
    model = GLNRegressor(quantiles=(0.1, 0.9), density=True, seed=0)
    for row, (x, y) in zip(rows[:60], samples(table(700), "price"), strict=False):
        assert row["prediction"] == model.predict_one(x)
        assert [row["0.1"], row["0.9"]] == list(model.predict_quantiles_one(x).values())
        assert row["std"] == pytest.approx(model.predict_one(x, with_dist=True).sigma, rel=1e-9)
        model.learn_one(x, y)


def test_a_saved_model_predicts_and_goes_on_learning(files, tmp_path, capfdbinary):
    first, rest = tmp_path / "first.csv", tmp_path / "rest.csv"
    table(400).to_csv(first, index=False)
    more = table(50, seed=1)
    more["kind"] = more["kind"].where(more.index % 5 > 0)
    more.to_csv(rest, index=False)
    model = str(tmp_path / "m.gln")
    assert main([str(first), *KINDS, "--save", model]) == 0
    before = Path(model).read_bytes()
    assert main([str(rest), "--load", model, "--predict-only", "--target", "kind"]) == 0
    said = capfdbinary.readouterr()
    rows = list(csv.DictReader(said.out.decode().splitlines()))
    expected = [GLNClassifier.load(model).predict_one(x) for x, _ in samples(more, "kind")]
    assert [row["prediction"] for row in rows] == expected
    assert Path(model).read_bytes() == before
    known = more["kind"].notna()
    accuracy = (more["kind"] == expected)[known].mean()
    assert f"{accuracy:.5g}" in said.err.decode()
    assert main([str(rest), *KINDS, "--load", model, "--save", str(tmp_path / "more.gln")]) == 0
    own = GLNClassifier.load(model)
    for x, y in samples(more, "kind"):
        if y == y:
            own.learn_one(x, y)
    own.save(tmp_path / "own.gln")
    assert_same_arrays(read(tmp_path / "more.gln")[1], read(tmp_path / "own.gln")[1])
    assert figures_in(tmp_path / "more.gln").sums[0] == known.sum()


def test_a_model_that_fit_saved_predicts_and_learns_on(tmp_path, capfdbinary):
    X = table(300)
    columns = ["a", "b", "c", "colour", "name"]
    model = sklearn.GLNClassifier(layer_sizes=(4,), n_networks=3, random_state=0).fit(X[columns][:200], X["kind"][:200])
    model.save(tmp_path / "m")
    X[200:].to_csv(tmp_path / "rest.csv", index=False)
    load = [str(tmp_path / "rest.csv"), *KINDS, "--load", str(tmp_path / "m")]
    assert main([*load, "--predict-only"]) == 0
    rows = list(csv.DictReader(capfdbinary.readouterr().out.decode().splitlines()))
    assert [row["prediction"] for row in rows] == model.predict(X[columns][200:]).tolist()
    assert main([*load, "--save", str(tmp_path / "n")]) == 0
    for place in range(200, 300):
        model.partial_fit(X[columns][place : place + 1], X["kind"][place : place + 1])
    found = sklearn.GLNClassifier.load(tmp_path / "n").predict_proba(X[columns])
    np.testing.assert_allclose(found, model.predict_proba(X[columns]), rtol=1e-9)


def test_the_first_samples_are_fitted_as_a_table(tmp_path):
    X = table(300).drop(columns="price")
    lines = [*X[:150].to_csv(index=False).splitlines(), *X[150:].to_csv(index=False, header=False).splitlines()]
    lines.insert(20, "too,few")
    (tmp_path / "s.csv").write_text("\n".join(lines))
    fit = [str(tmp_path / "s.csv"), "--target", "kind", "--skip-bad", "--fit-first", "150", "--layers", "4"]
    assert main([*fit, "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv")]) == 0
    figures = figures_in(tmp_path / "m")
    assert (figures.samples, figures.skipped) == (150, 1)
    columns = [name for name in X if name != "kind"]
    model = sklearn.GLNClassifier(layer_sizes=(4,), random_state=0).fit(X[columns][:150], X["kind"][:150])
    first = next(csv.DictReader((tmp_path / "p.csv").open()))
    assert first["prediction"] == model.predict(X[columns][150:151])[0]
    assert float(first["probability"]) == pytest.approx(model.predict_proba(X[columns][150:151]).max(), abs=1e-6)


def test_the_first_lines_of_vowpal_wabbit_are_fitted_as_a_table(tmp_path):
    """Absent features are 0, in the table, too; those that come later are words that it does not have."""
    rng = np.random.default_rng(4)
    X = pd.DataFrame(rng.normal(size=(200, 2)).round(2), columns=["a", "b"]).assign(word=rng.integers(0, 2, 200))
    y = (X["a"] + 2 * X["word"] > 1).astype(int)
    lines = [f"{y[i]} | a:{X.a[i]} b:{X.b[i]}{' word' * X.word[i]}{' late' * (i > 150)}\n" for i in range(200)]
    (tmp_path / "s.vw").write_text("".join(lines))
    fit = [str(tmp_path / "s.vw"), "--fit-first", "150", "--layers", "4"]
    assert main([*fit, "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv")]) == 0
    model = sklearn.GLNClassifier(layer_sizes=(4,), random_state=0).fit(X[:150], y[:150])
    first = next(csv.DictReader((tmp_path / "p.csv").open()))
    assert float(first["probability"]) == pytest.approx(model.predict_proba(X[150:151]).max(), abs=1e-6)
    for place in range(150, 200):
        model.partial_fit(X[place : place + 1], y[place : place + 1])
    found = sklearn.GLNClassifier.load(tmp_path / "m")
    assert {*found.feature_names_in_} == {"a", "b", "word"}
    np.testing.assert_allclose(found.predict_proba(X), model.predict_proba(X), rtol=1e-9)


# ---- What cannot be done ---------------------------------------------------------------------------------------------

REFUSED = {
    "--target: expected the name of what to predict, got none": ["{csv}"],
    "line 1: target: expected one of the columns 'a', 'b', 'c', 'colour', 'name', 'kind', 'price', got 'x'": [
        *("{csv}", "--target", "x")
    ],
    "--class-densities: expected classes as targets, got numbers": ["{csv}", *PRICES, "--class-densities"],
    "--density: expected numbers as targets (--regression), got classes": ["{csv}", *KINDS, "--density"],
    "--save: expected a file in a folder that exists": ["{csv}", *KINDS, "--save", "/nowhere/m"],
    "expected a saved GLN, got a file that cannot be read": ["{csv}", *KINDS, "--load", "{csv}"],
    "--fit-first: expected at most as many samples as there are, 700": ["{csv}", *KINDS, "--fit-first", "701"],
    "No such file or directory": ["missing.csv", *KINDS],
    "format: expected one of csv, tsv, jsonl, vw, parquet": ["{folder}/model.gln", *KINDS],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(files, message, capsys):
    arguments = [each.format(csv=files / "kinds.csv", folder=files) for each in REFUSED[message]]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("gln-stream: ")
    assert message in said


def test_a_saved_model_has_its_own_options(files, tmp_path, capsys):
    main([str(files / "kinds.csv"), *PRICES, "--quantiles", ".1,.9", "--save", str(tmp_path / "m")])
    capsys.readouterr()
    again = [str(files / "kinds.csv"), *PRICES, "--load", str(tmp_path / "m")]
    assert main([*again, "--quantiles", ".1,.9", "--regression"]) == 0
    capsys.readouterr()
    assert main([*again, "--quantiles", ".2,.9"]) == 2
    assert "--quantiles: expected (0.1, 0.9), as in" in capsys.readouterr().err
    for extra in (None, {"target": "price", "note": "mine"}):
        GLNRegressor(seed=0).save(tmp_path / "other", extra)
        assert main([*again[:-2], "--save", str(tmp_path / "other"), "--resume"]) == 2
        assert "--resume: expected a model that gln-stream saved" in capsys.readouterr().err


# ---- Bad lines -------------------------------------------------------------------------------------------------------


def damaged(rows: list[str]) -> tuple[list[str], list[int]]:
    """Lines of numbers with every 23rd one damaged, and the numbers of these."""
    bad = list(range(30, len(rows), 23))
    for place, number in enumerate(bad):
        rows[number - 1] = ["1,2", "x,1,2,low", "1,1,1e400,low"][place % 3]
    return rows, bad


def test_bad_lines(tmp_path, capsys):
    X = table(500)[["a", "b", "c", "kind"]].fillna(0)
    rows, bad = damaged(X.to_csv(index=False).splitlines())
    (tmp_path / "bad.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "good.csv").write_text("\n".join(row for n, row in enumerate(rows, 1) if n not in bad) + "\n")
    options = ["--target", "kind", "--numbers", "a,b,c", "--save"]
    assert main([str(tmp_path / "good.csv"), *options, str(tmp_path / "good")]) == 0
    assert main([str(tmp_path / "bad.csv"), *options, str(tmp_path / "stopped")]) == 2
    said = capsys.readouterr().err
    assert "line 30: expected 4 fields, as in the header, got 2 (--skip-bad leaves bad lines out); saved" in said
    assert figures_in(tmp_path / "stopped").samples == 28
    assert main([str(tmp_path / "bad.csv"), *options, str(tmp_path / "bad"), "--skip-bad"]) == 0
    said = capsys.readouterr().err
    assert "gln-stream: leaving out line 30: expected 4 fields" in said
    assert f"{500 - len(bad)} samples, {len(bad)} bad lines left out, 2 of an unknown class" in said
    assert_same_arrays(read(tmp_path / "bad")[1], read(tmp_path / "good")[1])
    one, other = (figures_in(tmp_path / name).state() for name in ("bad", "good"))
    assert (one.pop("skipped"), other.pop("skipped")) == (len(bad), 0)
    assert one == other


def test_a_value_that_the_model_refuses_is_a_bad_line(tmp_path, capsys):
    rows = [{"a": place % 7, "b": place % 5, "y": place % 3 * 1.5} for place in range(60)]
    lines = [json.dumps(row) for row in rows]
    lines[40] = json.dumps({"a": 1, "b": 2, "y": "four"})  # text among numbers
    (tmp_path / "s.jsonl").write_text("\n".join(lines) + "\n")
    options = [str(tmp_path / "s.jsonl"), "--target", "y", "--regression", "--save", str(tmp_path / "m")]
    assert main(options) == 2
    assert "line 41" in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples == 40
    assert main([*options, "--skip-bad", "--resume"]) == 0
    model = GLNRegressor(seed=0)
    for place, row in enumerate(rows):
        if place != 40:
            model.learn_one({"a": row["a"], "b": row["b"]}, row["y"])
    assert_same_arrays(read(tmp_path / "m")[1], _saved(model, tmp_path))
    assert figures_in(tmp_path / "m").skipped == 1


@pytest.mark.parametrize("line", [2, 500, 3500, 4500])
def test_a_text_among_numbers_is_an_error_wherever_it_stands(line, tmp_path, capsys):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(4600, 2)).round(3), columns=["a", "b"])
    rows = X.assign(y=np.where(X["a"] > 0, "up", "down")).to_csv(index=False).splitlines()
    good = "\n".join(rows[: line - 1] + rows[line:])
    rows[line - 1] = "abc" + rows[line - 1][rows[line - 1].index(",") :]
    (tmp_path / "s.csv").write_text("\n".join(rows))
    options = ["--target", "y", "--fast", "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv")]
    assert main([str(tmp_path / "s.csv"), *options]) == 2
    said = f"line {line}: a: expected a finite number, got 'abc' (--strings a reads the column as text)"
    assert f"{said} (--skip-bad leaves bad lines out)" in capsys.readouterr().err
    assert line == 2 or figures_in(tmp_path / "m").samples == line - 2
    if line == 500:
        assert main([str(tmp_path / "s.csv"), *options, "--skip-bad"]) == 0
        predicted = (tmp_path / "p.csv").read_bytes()
        (tmp_path / "s.csv").write_text(good)
        assert main([str(tmp_path / "s.csv"), *options]) == 0
        assert (tmp_path / "p.csv").read_bytes() == predicted


# ---- Interrupted runs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> tuple[Path, list[str]]:
    """A file of 8,000 samples, some of them bad, with the model, figures and predictions of an uninterrupted run."""
    folder, X = tmp_path_factory.mktemp("long"), table(8000)
    rows = X.to_csv(index=False).splitlines()
    for number in range(100, 8000, 500):
        rows[number] = "bad"
    (folder / "long.csv").write_text("\n".join(rows) + "\n")
    options = [str(folder / "long.csv"), *KINDS, "--skip-bad", "--save-every", "1000"]
    assert main([*options, "--save", str(folder / "whole"), "--predictions", str(folder / "whole.csv")]) == 0
    return folder, options


def end_as_uninterrupted(long: tuple[Path, list[str]], folder: Path, kills: Sequence[tuple[float, int]]) -> None:
    """Send signals when so much of the predictions is written, resume each time, and compare."""
    whole, options = long
    options = [*options, "--save", str(folder / "m"), "--predictions", str(folder / "p.csv"), "--resume"]
    all_predictions, statuses = (whole / "whole.csv").read_bytes(), []
    for share, number in kills:
        process = started(*options, stdin=None, stdout=None, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if (folder / "p.csv").exists() and (folder / "p.csv").stat().st_size >= share * len(all_predictions):
                time.sleep(0.06 * share)  # which differs from kill to kill
                process.send_signal(number)
                break
            time.sleep(0.001)
        statuses.append(process.wait(60))
        early = 1 if number == signal.SIGINT else 0  # of an interpreter that has hardly started
        assert statuses[-1] in (0, early, -number, 128 + number)
    assert statuses.count(0) <= len(kills) // 4  # it may end while it is being stopped
    assert main(options) == 0
    assert_same_file(folder / "m", whole / "whole")
    assert (folder / "p.csv").read_bytes() == all_predictions


@pytest.mark.slow
def test_twenty_killed_runs_end_as_uninterrupted_ones(long, tmp_path):
    chance = random.Random(0)
    shares = sorted(chance.uniform(0, 0.85) for _ in range(20))
    numbers = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    end_as_uninterrupted(long, tmp_path, [(share, chance.choice(numbers)) for share in shares])


def test_a_dropped_connection_ends_a_run_that_is_saved(files, tmp_path, monkeypatch, capsys):
    learn = GLNClassifier.predict_learn_many

    def dropped(*samples: Any) -> Any:
        signal.raise_signal(signal.SIGHUP)
        return learn(*samples)

    file, options = str(files / "kinds.csv"), [*KINDS, "--save", str(tmp_path / "m")]
    monkeypatch.setattr(GLNClassifier, "predict_learn_many", dropped)
    assert main([file, *options]) == 128 + signal.SIGHUP
    assert "ended by SIGHUP; saved" in capsys.readouterr().err
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    try:
        assert main([file, *options, "--resume"]) == 0
    finally:
        signal.signal(signal.SIGHUP, ignored)


START_UP = {
    "gln-stream imports": "gln.apps.stream.command|find = lambda name, *_: stop() if name == 'gln.river' else None; "
    "sys.meta_path.insert(0, type('Finder', (), {'find_spec': staticmethod(find)}))",
    "gln-stream reads Numba's cache": "gln.apps.stream.command|from numba.core.caching import Cache; "
    "load = Cache.load_overload; Cache.load_overload = lambda *arguments: stop() or load(*arguments)",
    "gln-bandit imports": "gln.apps.bandit.command|find = lambda name, *_: stop() if name == 'gln.bandits' else None; "
    "sys.meta_path.insert(0, type('Finder', (), {'find_spec': staticmethod(find)}))",
}


@pytest.mark.parametrize("when", START_UP)
def test_a_signal_during_start_up_is_quiet(when, tmp_path):
    module, patch = START_UP[when].split("|")
    (tmp_path / "s.csv").write_text("a,y\n" + "1,0\n2,1\n" * 20)
    code = f"import os, signal, sys; from {module} import main; stop = lambda: os.kill(os.getpid(), signal.SIGTERM); "
    options = [str(tmp_path / "s.csv"), *(["--target", "y"] if when.startswith("gln-stream") else [])]
    run = [sys.executable, "-c", f"{code}{patch}; sys.exit(main({options!r}))"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == f"{when.split()[0]}: ended by SIGTERM\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_that_waits(number, tmp_path):
    told = "--numbers", "a,b,c", "--strings", "colour,name,kind"
    process = started("--format", "csv", *KINDS, *told, "--save", str(tmp_path / "m"), "--predictions", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    for line in table(20).to_csv(index=False).splitlines():
        process.stdin.write(f"{line}\n".encode())
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(21)]
    assert lines[0] == b"prediction,probability\n"
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + number
    assert f"ended by {signal.Signals(number).name}; saved, and --resume continues from there" in said
    assert figures_in(tmp_path / "m").samples == 20


# ---- The rest --------------------------------------------------------------------------------------------------------


def test_quiet_and_version_and_warnings(files, tmp_path, capsys):
    assert main([str(files / "kinds.csv"), *KINDS, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([str(files / "kinds.csv"), "--target", "x", "--quiet"]) == 2
    assert "gln-stream: line 1: target: expected one of the columns" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"gln-stream {gln.__version__}\n"
    (tmp_path / "s.jsonl").write_text("".join(f'{{"a": "{i}", "y": {i % 2}}}\n' for i in range(30)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main([str(tmp_path / "s.jsonl"), "--target", "y"]) == 0
    said = capsys.readouterr().err
    assert "gln-stream: warning: " in said
    assert ".py" not in said


def test_help_imports_nothing_heavy():
    code = "import sys; from gln.apps.stream import command; command._parser(); "
    code += "print([name for name in ('numpy', 'pandas', 'river', 'numba') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
def test_a_run_imports_only_what_it_needs(files):
    names = "sklearn", "matplotlib", "scipy.optimize", "scipy.stats", "river.metrics", "tqdm"
    code = f"import sys; from gln.apps.stream.command import main; main({[str(files / 'kinds.csv'), *KINDS]}); "
    code += f"print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_memory_does_not_grow(tmp_path):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20_000, 10)).round(4), columns=list("abcdefghij"))
    X["y"] = np.where(X["a"] > 0, "yes", "no")
    text, most = X.to_csv(index=False), []
    for times in (1, 6):
        with (tmp_path / "s.csv").open("w") as file:
            file.write(text)
            file.writelines(text.split("\n", 1)[1] for _ in range(times - 1))
        code = f"from gln.apps.stream.command import main; main([{str(tmp_path / 's.csv')!r}, '--target', 'y']); "
        code += "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        most.append(int(done.stdout))
    assert most[1] < 1.05 * most[0]
