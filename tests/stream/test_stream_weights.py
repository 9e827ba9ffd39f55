"""`gln-stream --weight`: a column whose values are the weights of samples."""

# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from helpers import assert_same_file
from river import metrics
from test_stream_command import figures_in, means, rows_of

from gln import sklearn
from gln.apps.stream.command import main
from gln.river import GLNClassifier, GLNRegressor

WEIGHTED = ["--target", "y", "--weight", "w"]


def table(count: int = 120, numbers: bool = False) -> pd.DataFrame:
    """A number, weights, some of them 0, and two classes or numbers."""
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"a": rng.normal(size=count).round(3), "w": rng.choice([0, 0.5, 1, 2, 250], count)})
    score = X["a"] + rng.normal(scale=0.5, size=count)
    return X.assign(y=score.round(3) if numbers else (score > 0).astype(int))


def write(path: Path, X: pd.DataFrame) -> str:
    if path.suffix == ".csv":
        X.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        X.to_json(path, orient="records", lines=True)
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        X.to_parquet(path)
    else:
        path.write_text("".join(f"{y:g} {w:g} | a:{a}\n" for a, w, y in X.to_numpy()))
    return str(path)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_weights_are_those_of_river_and_no_feature(form, tmp_path):
    X = table(numbers=True)
    file = write(tmp_path / f"s.{form}", X)
    outputs = ["--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv")]
    assert main([file, *WEIGHTED, "--density", *outputs]) == 0
    model = GLNRegressor(density=True, seed=0)
    error = metrics.MAE()
    expected = []
    for a, w, y in X.to_numpy().tolist():
        expected.append(model.predict_one({"a": a}))
        error.update(y, expected[-1], w)
        if w:
            model.learn_one({"a": a}, y, w)
    assert [float(row["prediction"]) for row in rows_of(tmp_path / "p.csv")] == pytest.approx(expected, rel=1e-9)
    assert means(figures_in(tmp_path / "m"))[0] == pytest.approx(error.get(), rel=1e-12)
    assert GLNRegressor.load(tmp_path / "m").known_names.keys() == {"a"}


@pytest.mark.parametrize("options", [[], ["--delay", "7"], ["--class-densities"], ["--fast"]])
def test_weights_are_those_of_vowpal_wabbit(options, tmp_path):
    for form in ("csv", "vw"):
        file = write(tmp_path / f"s.{form}", table())
        outputs = ["--save", str(tmp_path / form), "--predictions", str(tmp_path / f"{form}.p")]
        assert main([file, *(WEIGHTED if form == "csv" else []), *options, *outputs]) == 0
    one, other = (pd.read_csv(tmp_path / f"{form}.p") for form in ("csv", "vw"))
    pd.testing.assert_frame_equal(one, other.drop(columns="tag"))
    assert figures_in(tmp_path / "csv").state() == figures_in(tmp_path / "vw").state()


def test_the_first_samples_are_fitted_with_weights(tmp_path):
    X = table()
    file = write(tmp_path / "s.csv", X)
    options = ["--fit-first", "80", "--layers", "4", "--predictions", str(tmp_path / "p.csv")]
    assert main([file, *WEIGHTED, *options]) == 0
    model = sklearn.GLNClassifier(layer_sizes=(4,), random_state=0).fit(X[["a"]][:80], X["y"][:80], X["w"][:80])
    first = rows_of(tmp_path / "p.csv")[0]
    assert float(first["probability"]) == pytest.approx(model.predict_proba(X[["a"]][80:81]).max(), abs=1e-6)


def test_a_run_that_goes_on_knows_its_weights(tmp_path, capsys):
    whole = write(tmp_path / "whole.csv", table())
    assert main([whole, *WEIGHTED, "--delay", "3", "--save", str(tmp_path / "whole"), "--resume"]) == 0
    grows = tmp_path / "s.csv"
    resume = [str(grows), "--delay", "3", "--save", str(tmp_path / "m"), "--resume"]
    write(grows, table()[:50])
    assert main([*resume, *WEIGHTED]) == 0
    write(grows, table())
    assert main([*resume, "--weight", "a"]) == 2
    assert "--weight: expected 'w', as in" in capsys.readouterr().err
    assert main(resume) == 0
    one = GLNClassifier.load(tmp_path / "m")
    other = GLNClassifier.load(tmp_path / "whole")
    assert one.predict_proba_one({"a": 0.3}) == other.predict_proba_one({"a": 0.3})
    assert one.extra["figures"] == other.extra["figures"]
    assert main([whole, "--load", str(tmp_path / "m"), "--weight", "a"]) == 2
    assert "--weight: expected another name than the features of" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("value", ["-1", "NaN", "inf", "heavy", None, "1000001"])
def test_a_value_that_is_no_weight_is_a_bad_line(value, form, tmp_path, capsys):
    X = table(40).astype({"w": str})
    good = write(tmp_path / "good.csv", X.drop(index=20))
    X.loc[20, "w"] = value
    file = write(tmp_path / f"s.{form}", X)
    assert main([file, *WEIGHTED, "--save", str(tmp_path / "m")]) == 2
    line = {"csv": "line 22", "jsonl": "line 21", "parquet": "row 21"}[form]
    shown = repr("" if form == "csv" and value is None else value)
    assert f"{line}: w: expected a weight from 0 to 1000000, got {shown} (--skip-bad" in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples == 20
    for name, all_rows in (("all", file), ("good", good)):
        options = ["--skip-bad", "--predictions", str(tmp_path / f"{name}.p")]
        assert main([all_rows, *WEIGHTED, *options]) == 0
    assert (tmp_path / "all.p").read_bytes() == (tmp_path / "good.p").read_bytes()


WRONG = {
    "s.csv --target y --weight v": "line 1: weight: expected one of the columns 'a', 'w', 'y', got 'v'",
    "s.csv --target y --weight y": "weight: expected a name that no other option has, got 'y'",
    "s.csv --target y --weight w --ignore w": "weight: expected a name that no other option has, got 'w'",
    "s.vw --weight w": "weight: expected none, as vw has importance weights, got 'w'",
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_names_are_refused(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for form in ("csv", "vw"):
        write(tmp_path / f"s.{form}", table(20))
    assert main(options.split()) == 2
    assert WRONG[options] in capsys.readouterr().err


# ---- Test files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--delay", "9"], ["--delay", "9", "--resume"]])
def test_a_test_file_is_predicted_after_all_is_learned(options, tmp_path, capfd):
    X = table(200)
    test = write(tmp_path / "test.csv", X[120:])
    learn = [write(tmp_path / "s.csv", X[:120]), *WEIGHTED, *options]
    assert main([*learn, "--save", str(tmp_path / "alone")]) == 0
    assert main([*learn, "--save", str(tmp_path / "m"), "--test", test]) == 0
    assert_same_file(tmp_path / "m", tmp_path / "alone")
    capfd.readouterr()
    outputs = ["--save", str(tmp_path / "n"), "--metrics", str(tmp_path / "f.jsonl")]
    assert main([*learn, *outputs, "--test", test]) == 0
    said = capfd.readouterr().err
    model = GLNClassifier.load(tmp_path / "m")
    hits = [model.predict_one({"a": a}) == y for a, _, y in X[120:].to_numpy().tolist()]
    accuracy = np.average(hits, weights=X["w"][120:])
    lines = said.splitlines()
    start = next(row for row, line in enumerate(lines) if line.startswith("test: 80 samples; 80 in "))
    assert lines[start + 2].split()[:2] == ["GLN", f"{accuracy:.5g}"]
    event = json.loads((tmp_path / "f.jsonl").read_text().splitlines()[-2])
    assert (event["event"], event["samples"]) == ("test", 80)
    assert event["test"]["accuracy"] == pytest.approx(accuracy)


def test_late_labels_are_learned_before_the_test_also_if_nothing_is_saved(tmp_path, capfd):
    learn = [write(tmp_path / "s.csv", table()), *WEIGHTED, "--delay", "40", "--test", str(tmp_path / "s.csv")]
    assert main([*learn, "--save", str(tmp_path / "m")]) == 0
    saved = [line for line in capfd.readouterr().err.splitlines() if line.startswith("GLN")]
    assert main(learn) == 0
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("GLN")] == saved


def test_a_test_file_is_checked_before_anything_is_learned(tmp_path, capsys):
    file = write(tmp_path / "s.csv", table(20))
    assert main([file, *WEIGHTED, "--save", str(tmp_path / "m"), "--test", str(tmp_path / "none.csv")]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert (
        main([file, *WEIGHTED, "--save", str(tmp_path / "t.csv"), "--test", write(tmp_path / "t.csv", table(9))]) == 2
    )
    assert "--save: expected another file than the input, got" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
    with pytest.raises(SystemExit, match=r"^2$"):
        main([file, *WEIGHTED, "--load", str(tmp_path / "m"), "--predict-only", "--test", file])


def test_a_bad_line_of_a_test_file_is_named_and_the_model_is_saved(tmp_path, capsys):
    learn = [write(tmp_path / "s.csv", table()), *WEIGHTED, "--save", str(tmp_path / "m")]
    X = table(9).astype({"w": str})
    X.loc[1, "w"] = "one"
    test = write(tmp_path / "test.csv", X)
    assert main([*learn, "--test", test]) == 2
    message = f"gln-stream: {test}, line 3: w: expected a weight from 0 to 1000000, got 'one'"
    assert message in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples == 120  # it was saved
    assert main([*learn, "--test", test, "--skip-bad"]) == 0
    assert "\ntest: " in capsys.readouterr().err
