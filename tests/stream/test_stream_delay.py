"""`gln-stream --delay` and `--delay-by`: labels that come late."""

# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from helpers import assert_same_file
from test_stream_command import assert_same_arrays, figures_in

from gln.apps.stream.command import main
from gln.apps.stream.run import Run
from gln.engine.saving import read
from gln.engine.streaming.values import NO_COLUMNS, NamedRows
from gln.river import GLNClassifier, GLNDensityClassifier, GLNRegressor

COUNT = 150


def table(seed: int, classes: int) -> pd.DataFrame:
    """Numbers, a category, missing values and targets, classes that come late, a number and a date that is the day."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(COUNT, 2)).round(3), columns=["a", "b"])
    score = X["a"] + 0.3 * rng.normal(size=COUNT)
    X["colour"] = rng.choice(["red", "green", "blue"], COUNT)
    X["text"] = [" ".join(rng.choice(["good", "bad", "very", "so"], 3)) for _ in range(COUNT)]
    day = np.sort(rng.integers(1, 10, COUNT))
    X["day"] = [f"2024-05-{number:02}" for number in day]
    X = X.mask(pd.DataFrame(rng.random(X.shape) < 0.05, columns=X.columns))
    ranks = (score.rank(pct=True) * classes).clip(upper=1 + np.arange(COUNT) * classes / 60).astype(int)
    X["y"] = ranks.map("k{}".format) if classes else score.round(3)
    X.loc[rng.random(COUNT) < 0.05, "y"] = None
    return X


def samples_of(X: pd.DataFrame) -> list[dict[str, Any]]:
    rows = X.astype(object).where(X.notna(), None).to_dict("records")
    return [{str(name): value for name, value in x.items() if value is not None} for x in rows]


def write(path: Path, X: pd.DataFrame) -> None:
    if path.suffix == ".csv":
        X.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        X.assign(day=pd.to_datetime(X["day"])).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(x) + "\n" for x in samples_of(X)))
    else:
        rows = [[str(x.pop("y", ""))[1:], x.pop("a", 0)] for x in samples_of(X)]
        path.write_text("".join(f"{y} {'2' if y else ''} | a:{a} w{int(abs(a) * 5)}\n" for y, a in rows))


CASES: dict[str, tuple[str, int, list[str]]] = {  # a format, the number of classes or 0, and options
    "lines": ("csv", 4, ["--delay", "7"]),
    "days": ("jsonl", 0, ["--delay-by", "day", "--density"]),
    "weights": ("vw", 2, ["--delay", "11"]),
    "days of classes": ("csv", 4, ["--delay-by", "day"]),
    "words": ("csv", 2, ["--delay-by", "day", "--words", "text", "--fast"]),
    "lines of words": ("jsonl", 2, ["--delay", "7", "--words", "text"]),
    "rows": ("parquet", 5, ["--delay-by", "day"]),
    "lines of numbers": ("parquet", 0, ["--delay", "20", "--quantiles", ".1,.9"]),
    "class densities": ("csv", 3, ["--delay", "3", "--class-densities"]),
}
QUICK = "weights", "days"


def case(name: str) -> Any:
    return pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", [*map(case, CASES)])
def test_stops_at_any_place_change_no_bit(name, tmp_path, monkeypatch):
    form, classes, options = CASES[name]
    if form == "parquet":
        pytest.importorskip("pyarrow")
    file, take, stops = tmp_path / f"s.{form}", Run._learn, 0
    write(file, table(1, classes))
    named = [] if form == "vw" else ["--target", "y"]
    options = [str(file), *named, *options, "--quiet", "--resume"]

    def run(name: str) -> int:
        return main([*options, "--save", str(tmp_path / name), "--predictions", str(tmp_path / f"{name}.csv")])

    assert run("whole") == 0
    monkeypatch.setattr("gln.apps.stream.run.LEAST", 1)
    for seed in range(2):
        rng = np.random.default_rng(seed)

        def take_some(run: Run, of: Any, part: Any) -> None:
            if rng.random() < 0.05:  # noqa: B023 - of this round
                os.kill(os.getpid(), signal.SIGTERM)  # before late samples are learned
            take(run, of, part)
            if rng.random() < 0.05:  # noqa: B023
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Run, "_learn", take_some)
        while (status := run(f"split_{seed}")) != 0:
            assert status == 128 + signal.SIGTERM
            stops += 1
        assert (tmp_path / f"split_{seed}.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
        assert_same_file(tmp_path / f"split_{seed}", tmp_path / "whole")
    assert stops > 3


# ---- A slow and obvious reference ------------------------------------------------------------------------------------


class Slow:
    """Predicts samples one by one, and learns each one later, from what was said of it then."""

    def __init__(self, model: Any, X: list[NamedRows], y: list[Any], weight: float) -> None:
        self.model, self.X, self.y, self.weights = model, X, y, np.array([weight])
        self.earlier: list[np.ndarray | None] = []
        self.learned = 0

    def predict(self) -> dict[Any, float]:
        x = self.X[len(self.earlier)]
        self.earlier.append(self.model._stream.model_predictions(x))
        return self.model.predict_learn_many(x, [None]).iloc[0].to_dict()

    def learn(self, count: int) -> None:
        """Learn until so many were learned."""
        stream = self.model._stream
        for x, y, said in list(zip(self.X, self.y, self.earlier, strict=False))[self.learned : count]:
            if y is not None:
                stream.learn_segments(stream.plan(x, [y]), [y], self.weights, earlier=said)
        self.learned = count


@pytest.mark.parametrize("name", [*map(case, ["lines", "days", "weights", "days of classes", "class densities"])])
def test_predictions_figures_and_the_model_are_those_of_labels_that_come_late(name, tmp_path):
    form, classes, options = CASES[name]
    frame, file = table(1, classes), tmp_path / f"s.{form}"
    write(file, frame)
    outputs = ["--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv")]
    assert main([str(file), *([] if form == "vw" else ["--target", "y"]), *options, *outputs]) == 0

    X = samples_of(frame)
    y = [x.pop("y", None) for x in X]
    if form == "vw":
        X = [{"a": x.get("a", 0.0), f"w{int(abs(x.get('a', 0)) * 5)}": 1.0} for x in X]
        y = [None if label is None else int(label[1:]) for label in y]
    for x in X:
        x |= {"day": pd.Timestamp(x["day"])} if "day" in x else {}
    if options[0] == "--delay":
        due = [max(0, row - int(options[1])) for row in range(COUNT)]
    else:
        days = frame["day"].ffill().tolist()
        due = [days.index(day) for day in days]
    model: Any = GLNRegressor(density=True, seed=0)
    if classes:
        model = (GLNDensityClassifier if "--class-densities" in options else GLNClassifier)(seed=0)
    rows_of_one = [NamedRows(NO_COLUMNS, [x], lambda name: form == "vw") for x in X]
    slow, predicted = Slow(model, rows_of_one, y, 2.0 if form == "vw" else 1.0), []
    for count in due:
        slow.learn(count)
        predicted.append(slow.predict())
    slow.learn(COUNT)
    slow.model.save(tmp_path / "slow")
    assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "slow")[1])

    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    lasts = [next((label for label in reversed(y[:count]) if label is not None), None) for count in due]
    known = [row for row in range(COUNT) if y[row] is not None and predicted[row]]
    simple = figures_in(tmp_path / "m").simple_predictors()
    figures: dict[str, Any] = figures_in(tmp_path / "m").values()
    if classes:
        best = [max(p, key=p.__getitem__) if p else "" for p in predicted]
        assert [row["prediction"] for row in rows] == [str(label) for label in best]
        p = [f"{round(max(p.values()), 6)}" if p else "" for p in predicted]
        assert [row["probability"] for row in rows] == p
        assert figures["accuracy"] == pytest.approx(np.mean([best[row] == y[row] for row in known]))
        assert simple["last label"]["accuracy"] == pytest.approx(np.mean([lasts[row] == y[row] for row in known]))
        return
    assert [float(row["prediction"]) for row in rows] == [p["mean"] for p in predicted]
    assert [float(row["std"]) for row in rows] == [p["std"] for p in predicted]
    errors = [abs(predicted[row]["mean"] - y[row]) for row in known]
    assert figures["absolute_error"] == pytest.approx(np.mean(errors))
    errors = [abs((lasts[row] or 0) - y[row]) for row in known]
    assert simple["last target"]["absolute_error"] == pytest.approx(np.mean(errors))
    means = [[label for label in y[:count] if label is not None] for count in due]
    errors = [abs(np.mean(means[row] or [0]) - y[row]) for row in known]
    assert simple["mean so far"]["absolute_error"] == pytest.approx(np.mean(errors))


def test_no_delay_is_as_without(tmp_path):
    write(tmp_path / "s.csv", table(0, 4))
    for name, options in (("without", []), ("none", ["--delay", "0"])):
        outputs = ["--save", str(tmp_path / name), "--predictions", str(tmp_path / f"{name}.csv")]
        assert main([str(tmp_path / "s.csv"), "--target", "y", *options, *outputs]) == 0
    assert_same_file(tmp_path / "none", tmp_path / "without")
    assert (tmp_path / "none.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def test_files_of_days_are_read_alike_before_one_is_learned(tmp_path, capsys):
    """The kinds of columns and labels of lines that wait are those of later files, too."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "day-1.csv").write_text("day,code,when,y\n" + "1,x,2024-05-01,no\n1,7,2024-05-02,1\n" * 9)
    (tmp_path / "a" / "day-2.csv").write_text("day,code,when,y\n" + "2,7,2024-05-03,1\n2,8,2024-05-03,0\n" * 9)
    options = [str(tmp_path / "a"), "--target", "y", "--delay-by", "day", "--save", str(tmp_path / "m")]
    assert main(options) == 0
    model = GLNClassifier.load(tmp_path / "m")
    assert list(model.predict_proba_one({})) == ["no", "1", "0"]
    assert model.known_names["code"]
    assert not model.known_names["when"]
    assert figures_in(tmp_path / "m").samples == 36
    # A model whose last day still waits learns it before the next file.
    assert main([*options[:-1], str(tmp_path / "n"), "--resume"]) == 0
    assert list(GLNClassifier.load(tmp_path / "n").predict_proba_one({})) == ["no", "1"]
    more = [str(tmp_path / "a" / "day-2.csv"), "--target", "y", "--load", str(tmp_path / "n"), "--predict-only"]
    assert main([*more, "--predictions", os.devnull]) == 0
    assert main([*more[:-1], "--save", str(tmp_path / "o")]) == 0
    assert list(GLNClassifier.load(tmp_path / "o").predict_proba_one({})) == ["no", "1", "0"]
    capsys.readouterr()


def test_what_cannot_be_learned_is_a_bad_line_when_its_label_comes(tmp_path, capsys):
    lines: list[dict[str, Any]] = [{"a": row % 5, "y": row % 2} for row in range(60)]
    lines[30] |= {"tag": ["u", "v"]}
    lines[31] |= {"tag=u": "a text, where a sample that was not yet learned has a number"}
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = [str(tmp_path / "s.jsonl"), "--target", "y", "--delay", "5", "--resume", "--save", str(tmp_path / "m")]
    for _ in range(2):
        assert main(options) == 2
        assert "gln-stream: line 32: " in capsys.readouterr().err
        assert figures_in(tmp_path / "m").samples == 37  # up to the one before which that is due
    assert main([*options, "--skip-bad"]) == 0
    assert (figures_in(tmp_path / "m").samples, figures_in(tmp_path / "m").skipped) == (60, 1)


WRONG = {
    "--delay -1": "--delay: expected at least 0",
    "--delay 1 --delay-by day": "--delay, --delay-by: expected one of them",
    "--delay 1 --load m --predict-only": "--delay needs labels, not --predict-only",
    "--delay-by dya": "--delay-by: expected a column or key with values that are read, got 'dya'",
    "--delay-by y": "--delay-by: expected a column or key with values that are read, got 'y'",
    "--delay-by day --ignore day": "--delay-by: expected a column or key with values that are read, got 'day'",
}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_wrong_delays_are_refused(form, tmp_path, capsys):
    write(tmp_path / f"s.{form}", table(0, 2))
    for options, message in WRONG.items():
        try:
            status = main([str(tmp_path / f"s.{form}"), "--target", "y", *options.split()])
        except SystemExit as end:
            status = int(str(end.code))
        assert status == 2
        assert message in capsys.readouterr().err


def test_a_column_that_never_changes_is_refused_after_many_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gln.apps.stream.delay_queue.MOST", 10)
    write(tmp_path / "s.csv", table(0, 2).assign(day=3))
    options = [str(tmp_path / "s.csv"), "--target", "y", "--delay-by", "day", "--save", str(tmp_path / "m")]
    assert main(options) == 2
    expected = "--delay-by: expected a column whose value changes within 10 samples, got 'day', which is still 3.0"
    assert f"{expected}; saved, and --resume continues" in capsys.readouterr().err
    assert main([*options[:3], "--resume", *options[5:], "--quiet"]) == 0  # which learns what waits first
    assert figures_in(tmp_path / "m").samples == COUNT
