"""`gln-stream --delay` and `--delay-by`: labels that come late."""

# ruff: noqa: N806 - X is a frame

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from helpers import assert_same_file
from test_stream_command import assert_same_arrays, figures_in

from gln.engine.saving import read
from gln.river import GLNClassifier, GLNRegressor
from gln.stream.command import main
from gln.stream.run import Run

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
    return [{name: value for name, value in x.items() if value == value and value is not None} for x in X.to_dict("records")]


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
    "no negatives": ("csv", 3, ["--delay", "3", "--no-negatives"]),
}
QUICK = "lines", "days"


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
    monkeypatch.setattr("gln.stream.run.LEAST", 1)
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
