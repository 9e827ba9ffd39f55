"""Runs of `gln-stream` that are stopped and go on, at whatever place, and files that must not be overwritten."""
# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from helpers import assert_same_file
from test_stream_command import KINDS, assert_same_arrays, figures_in, started, table

from gln.apps.stream.command import main
from gln.apps.stream.run import Run
from gln.engine.saving import read
from gln.river import GLNClassifier

COUNT = 300


def lines_of(form: str, X: pd.DataFrame) -> list[str]:
    """Samples in a format. In VW's text and libsvm's, words become features along the way."""
    if form == "csv":
        return X.drop(columns="price").to_csv(index=False).splitlines()
    if form == "jsonl":
        rows = X.drop(columns="price").to_dict("records")
        return [json.dumps({name: value for name, value in row.items() if value == value}) for row in rows]
    rng, labels = np.random.default_rng(5), X["kind"].map({"low": 0, "middle": 1, "high": 2})
    words = [rng.choice(30, 6, replace=False, p=np.arange(30, 0, -1) / 465) for _ in labels]
    sign, join = ("| ", "w{}:{}") if form == "vw" else ("", "{}:{}")
    return [
        f"{y} {sign}" + " ".join(join.format(place + 1, round(abs(a), 2) + 0.1) for place in sorted(of_line))
        for y, of_line, a in zip(labels, words, X["b"].fillna(0), strict=True)
    ]


FORMS = ["csv", "jsonl", "vw"]


def target(form: str) -> list[str]:
    return ["--target", "kind"] if form in ("csv", "jsonl") else []


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def stops(monkeypatch) -> Callable[[int, Callable[[], object]], list[int]]:
    """A function that makes samples take 20 ms of a false clock, and calls another one after so many of them."""
    now = [0.0]
    learn = GLNClassifier.predict_learn_many
    monkeypatch.setattr("gln.apps.stream.run.monotonic", lambda: now[0], raising=False)

    def stop_after(samples: int, stop: Callable[[], object]) -> list[int]:
        sizes: list[int] = []

        def slow(model: Any, X: Any, *others: Any) -> Any:
            predicted = learn(model, X, *others)
            before = sum(sizes)
            sizes.append(len(X))
            now[0] += 0.02 * len(X)
            if before < samples <= sum(sizes):
                stop()
            return predicted

        monkeypatch.setattr(GLNClassifier, "predict_learn_many", slow)
        return sizes

    return stop_after


def interrupt(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


# ---- Parts of random sizes -------------------------------------------------------------------------------------------

QUICK = "8 classes", "quantiles", "fit first"
SPLIT: dict[str, tuple[str, int, list[str]]] = {  # a format, the number of classes or 0, and options
    **{f"{classes} classes": ("csv", classes, []) for classes in (2, 3, 4, 5, 6, 7, 8, 10, 12, 17, 25, 30)},
    "fast": ("csv", 9, ["--fast"]),
    "words": ("jsonl", 11, []),
    "class densities": ("csv", 9, ["--class-densities"]),
    "weights": ("vw", 14, []),
    "probabilities": ("jsonl", 8, ["--probabilities"]),
    "numbers": ("csv", 0, ["--regression"]),
    "quantiles": ("jsonl", 0, ["--regression", "--quantiles", ".1,.9"]),
    "density": ("csv", 0, ["--regression", "--density"]),
    "fit first": ("csv", 0, ["--regression", "--quantiles", ".1,.9", "--fit-first", "60"]),
    "fit first, new keys": ("jsonl", 0, ["--fit-first", "60"]),
    "fit first, words": ("vw", 3, ["--fit-first", "60"]),
}


def varied(form: str, classes: int, count: int = 240) -> list[str]:
    """Numbers, few and many levels, missing values and targets, a late column, words, and classes that appear late."""
    rng = np.random.default_rng(classes)
    X = pd.DataFrame(rng.normal(size=(count, 3)).round(3), columns=["a", "b", "c"])
    score = X["a"] + 0.3 * rng.normal(size=count)
    X["colour"] = rng.choice(["red", "green", "blue"], count)
    X["name"] = [f"n{n}" for n in rng.exponential(9, count).astype(int)]
    X = X.mask(pd.DataFrame(rng.random(X.shape) < 0.05, columns=X.columns))
    X["late"] = np.where(np.arange(count) > count / 2, rng.normal(size=count).round(3), np.nan)
    ranks = (score.rank(pct=True) * classes).clip(upper=1 + np.arange(count) * classes / 100).astype(int)
    X["kind"] = ranks.map("k{}".format) if classes else score.round(3)
    X.loc[rng.random(count) < 0.05, "kind"] = np.nan
    if form == "csv":
        return X.to_csv(index=False).splitlines()
    rows = [{name: value for name, value in row.items() if value == value} for row in X.to_dict("records")]
    words = [{f"w{n}": 1.0 for n in rng.choice(30, 4, p=np.arange(30, 0, -1) / 465)} for _ in rows]
    if form == "jsonl":
        return [json.dumps(row | of_row) for row, of_row in zip(rows, words, strict=True)]
    weights = rng.choice(["", "1", "2", "0.5"], count)
    return [
        f"{row.get('kind', '')[1:]} {weight if 'kind' in row else ''} | a:{row.get('a', 0)} " + " ".join(of_row)
        for row, weight, of_row in zip(rows, weights, words, strict=True)
    ]


@pytest.mark.parametrize(
    "stream", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SPLIT]
)
def test_parts_of_any_size_and_stops_change_no_bit(stream, tmp_path, monkeypatch):
    form, classes, options = SPLIT[stream]
    file, learn, now = written(tmp_path / f"s.{form}", varied(form, classes)), Run._learn, [0.0]
    named = [] if form == "vw" else ["--target", "kind"]

    def run(name: str) -> int:
        outputs = ["--save", str(tmp_path / name), "--predictions", str(tmp_path / f"{name}.jsonl"), "--resume"]
        return main([str(file), *named, *options, *outputs, "--quiet"])

    assert run("whole") == 0
    monkeypatch.setattr("gln.apps.stream.run.monotonic", lambda: now[0])
    monkeypatch.setattr("gln.apps.stream.run.LEAST", 1)
    stops = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)

        def learn_some(run: Run, of: Any, part: Any) -> None:
            learn(run, of, part)
            now[0] += len(part.lines) / rng.choice([1, 2, 7, 40, 150])  # noqa: B023 - of this round
            if rng.random() < len(part.lines) / 100:  # noqa: B023
                interrupt(signal.SIGTERM)

        monkeypatch.setattr(Run, "_learn", learn_some)
        while run(f"split_{seed}"):
            stops += 1
        assert (tmp_path / f"split_{seed}.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
        assert_same_file(tmp_path / f"split_{seed}", tmp_path / "whole")
    assert stops >= 5


# ---- Signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_signal_stops_within_a_chunk(form, stops, tmp_path):
    lines = lines_of(form, table(COUNT))
    for number in (20, 100, 101, 180, COUNT - 1):
        lines[number] = "{bad"
    file = str(written(tmp_path / f"s.{form}", lines))
    common = [file, *target(form), "--skip-bad"]

    def outputs(prefix: str) -> list[str]:
        names = {"--save": "m", "--predictions": "p.csv", "--metrics": "f.jsonl"}
        return [word for option, name in names.items() for word in (option, str(tmp_path / f"{prefix}{name}"))]

    assert main([*common, *outputs("whole_")]) == 0
    options = [*common, *outputs(""), "--resume"]
    for stop in (100, 60, 1):  # the second and the third time, a run that went on is stopped
        sizes = stops(stop, lambda: interrupt(signal.SIGTERM))
        before = figures_in(tmp_path / "m").samples if (tmp_path / "m").exists() else 0
        assert main(options) == 128 + signal.SIGTERM
        assert stop <= sum(sizes) < stop + 50  # 50 samples take a second
        assert figures_in(tmp_path / "m").samples == before + sum(sizes)
    stops(COUNT, lambda: None)
    for _ in range(2):  # the second time, there is nothing left to learn
        assert main(options) == 0
        assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole_p.csv").read_bytes()
        assert without_seconds(tmp_path / "f.jsonl") == without_seconds(tmp_path / "whole_f.jsonl")
        assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "whole_m")[1])
        one, other = (GLNClassifier.load(tmp_path / name).extra for name in ("m", "whole_m"))
        assert one | {"metrics": None} == other | {"metrics": None}  # which have the speed


def without_seconds(path: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in event.items() if "second" not in k and k != "time"} for event in events]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["learning", "saving"])
def test_a_second_interrupt_leaves_the_last_complete_model(where, stops, tmp_path, monkeypatch):
    file = written(tmp_path / "s.csv", lines_of("csv", table(COUNT)))
    assert main([str(file), *KINDS[:2], "--save", str(tmp_path / "whole")]) == 0
    options = [str(file), *KINDS[:2], "--save", str(tmp_path / "m"), "--resume"]
    stops(50, lambda: interrupt(signal.SIGINT))
    assert main(options) == 130
    before = (tmp_path / "m").read_bytes()
    stops(50, lambda: interrupt(*[signal.SIGINT] * (2 if where == "learning" else 1)))
    with monkeypatch.context() as patches:
        if where == "saving":
            patches.setattr("gln.engine.saving.save_file", lambda *_: interrupt(signal.SIGINT))
        assert main(options) == 130
    assert (tmp_path / "m").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "s.csv", "whole"]
    stops(COUNT, lambda: None)
    assert main(options) == 0
    assert_same_file(tmp_path / "m", tmp_path / "whole")


# ---- Outputs that fail -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stdout", pytest.param("stderr", marks=pytest.mark.slow)])
def test_a_closed_pipe_ends_quietly_and_the_run_goes_on(stream, tmp_path):
    file = written(tmp_path / "s.csv", lines_of("csv", table(4000)))
    options = [str(file), *KINDS[:2], "--save"]
    assert main([*options, str(tmp_path / "whole")]) == 0
    options += [str(tmp_path / "m"), "--predictions"]
    process = started(*options, "-" if stream == "stdout" else os.devnull, stdin=None)
    pipe = getattr(process, stream)
    for _ in range(6):  # of stderr, until there is a figure
        pipe.readline()
    pipe.close()
    said = b"".join(each for each in process.communicate() if each)
    assert process.returncode == 141
    assert b"Error" not in said
    assert b"Traceback" not in said
    assert 0 < figures_in(tmp_path / "m").samples < 4000
    assert main([*options, os.devnull, "--resume"]) == 0
    assert_same_file(tmp_path / "m", tmp_path / "whole")


@contextlib.contextmanager
def full_disk(monkeypatch, after: int) -> Iterator[None]:
    """Predictions can be written so many times, and then only half of them."""
    calls, write = [], os.write

    def write_some(file: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > after + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: len(data) // 2] if len(calls) > after else data)

    with monkeypatch.context() as patches:
        patches.setattr("gln.apps.stream.output.os.write", write_some)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk(after, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gln.apps.stream.run.PATIENCE", 1e-6)  # so that each write is of few samples
    file = written(tmp_path / "s.csv", lines_of("csv", table(COUNT)))
    options = [str(file), *KINDS[:2], "--save"]
    assert main([*options, str(tmp_path / "whole"), "--predictions", str(tmp_path / "whole.csv")]) == 0
    options += [str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    with full_disk(monkeypatch, after):
        assert main(options) == 2
    said = capsys.readouterr().err
    assert f"No space left on device: '{tmp_path / 'p.csv'}'; saved, and --resume continues from there" in said
    assert 0 < figures_in(tmp_path / "m").samples < COUNT
    before = (tmp_path / "m").read_bytes()
    with full_disk(monkeypatch, 0):
        assert main(options) == 2
    assert (tmp_path / "m").read_bytes() == before
    assert main(options) == 0
    assert_same_file(tmp_path / "m", tmp_path / "whole")
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


# ---- Files and pipes -------------------------------------------------------------------------------------------------


def refused(folder: Path, arguments: list[str], message: str, capsys) -> None:
    """Assert that a command fails with a message and changes no file."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("gln-stream: ")
    assert message in said
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def files_in(folder: Path, form: str, parts: int = 3) -> list[str]:
    """A folder of files that follow one another; the second one of two has a bad line."""
    folder.mkdir()
    lines = lines_of(form, table(COUNT))
    header, rows = lines[: form == "csv"], lines[form == "csv" :]
    size = COUNT // parts
    for part in range(parts):
        of_part = rows[part * size : (part + 1) * size]
        if part == 1:
            of_part.insert(size // 2, "{bad")
        written(folder / f"day-{part + 9}.{form}", [*header, *of_part])  # day-9, day-10, ...
    return [*header, *rows]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_several_files_are_as_one_and_go_on_from_any_place(form, stops, tmp_path, capsys):
    whole = str(written(tmp_path / f"whole.{form}", files_in(tmp_path / "days", form)))
    common = [*target(form), "--skip-bad", "--save"]
    assert main([whole, *common, str(tmp_path / "whole"), "--predictions", str(tmp_path / "p_whole.csv")]) == 0
    (tmp_path / "days" / "_SUCCESS").touch()
    (tmp_path / "days" / "notes.txt").touch()
    options = [*common, str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    names = [str(tmp_path / "days"), str(tmp_path / "days" / f"day-*.{form}")]
    for stop in (60, 70, 90):  # in the first file, the second, the third
        stops(stop, lambda: interrupt(signal.SIGTERM))
        assert main([names[stop % 2], *options]) == 128 + signal.SIGTERM
    stops(COUNT, lambda: None)
    for _ in range(2):  # the second time, no file is read
        assert main([names[0], *options]) == 0
        assert f"\n{COUNT} samples, 1 bad lines left out" in capsys.readouterr().err
        assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "p_whole.csv").read_bytes()
        assert_same_arrays(read(tmp_path / "m")[1], read(tmp_path / "whole")[1])
    written(tmp_path / "days" / f"day-8.{form}", lines_of(form, table(50, seed=1)))  # new, wherever it stands
    assert main([names[0], *options]) == 0
    assert figures_in(tmp_path / "m").samples == COUNT + 50
    assert main([names[0], *common[:-2], *common[-1:], str(tmp_path / "n")]) == 2
    assert f"day-10.{form}, line " in capsys.readouterr().err
    assert figures_in(tmp_path / "n").samples == 200  # of day-8, day-9, and half of day-10


@pytest.mark.slow
def test_files_that_do_not_fit_the_saved_run_are_refused(tmp_path, capsys):
    lines = lines_of("csv", table(COUNT))
    file, other = str(written(tmp_path / "s.csv", lines)), str(written(tmp_path / "t.csv", lines[:100]))
    options = ["--target", "kind", "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    assert main([file, *options]) == 0
    refused(tmp_path, [other, *options], f"--resume: expected {file} among the files, as in the saved run, got", capsys)
    refused(tmp_path, [other, *options], f"(--load {tmp_path / 'm'} without --resume", capsys)
    written(tmp_path / "s.csv", lines[:100])
    refused(tmp_path, [file, *options], "got a shorter one", capsys)
    written(tmp_path / "s.csv", [*lines[:100], f"1,2,3,{'x' * 100_000},n1,low"])
    refused(tmp_path, [file, *options], "--resume: expected a file of at least 301 lines", capsys)
    refused(
        tmp_path, [file, file, "--target", "kind"], "expected different files, or standard input alone, got", capsys
    )
    refused(tmp_path, [str(tmp_path / "no-*.csv")], "expected a file, or a folder or a pattern with files", capsys)
    written(tmp_path / "s.csv", lines)
    (tmp_path / "q.csv").write_text("prediction,probability\nlow,1.0\n")
    options[options.index(str(tmp_path / "p.csv"))] = str(tmp_path / "q.csv")
    refused(tmp_path, [file, *options], "--predictions: expected the file of the saved run, got another one", capsys)


def piped(path: Path, lines: list[str], options: list[str]) -> int:
    """Run the command on a pipe; returns its exit status."""
    os.mkfifo(path)
    writer = threading.Thread(target=written, args=(path, lines), daemon=True)
    writer.start()
    status = main([str(path), *options])
    writer.join()
    path.unlink()
    return status


@pytest.mark.slow
def test_a_pipe_goes_on_with_its_next_line_and_is_no_file(tmp_path, capsys):
    lines, options = lines_of("csv", table(COUNT)), ["--target", "kind", "--save", str(tmp_path / "m"), "--resume"]
    assert piped(tmp_path / "pipe.csv", lines, options) == 0
    refused(tmp_path, [str(written(tmp_path / "s.csv", lines)), *options], "--resume: expected a pipe", capsys)
    assert piped(tmp_path / "pipe.csv", lines[:51], options) == 0
    assert figures_in(tmp_path / "m").samples == COUNT + 50


# ---- Outputs that are inputs -----------------------------------------------------------------------------------------

SAME = {
    "--save in.csv": "--save: expected another file than the input, got",
    "--predictions link": "--predictions: expected another file than the input, got",
    "--predictions hard.csv": "--predictions: expected another file than the input, got",
    "--metrics hard.csv": "--metrics: expected another file than the input, got",
    "--save hard.csv": "--save: expected another file than the input, got",
    "--load m --predictions m": "--predictions: expected another file than --load, got",
    "--load m --save m --metrics model": "--metrics: expected another file than --load, got",
    "--save n --predictions ./n": "--predictions: expected another file than --save, got",
    "--save new --predictions dangling": "--predictions: expected another file than --save, got",
    "--predictions p.csv --metrics p.csv": "--metrics: expected another file than --predictions, got",
    "--save fifo": "--save: expected a file in a folder that exists, got",
}


@pytest.mark.slow
def test_an_output_that_is_another_file_of_the_run_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(Path("in.csv"), lines_of("csv", table(30)))
    assert main(["in.csv", *KINDS[:2], "--save", "m"]) == 0
    for name, target in (("link", "in.csv"), ("model", "m"), ("dangling", "new")):
        Path(name).symlink_to(target)
    os.link("in.csv", "hard.csv")
    os.mkfifo("fifo")
    for arguments, message in SAME.items():
        refused(tmp_path, ["in.csv", *KINDS[:2], *arguments.split()], message, capsys)
    assert main(["in.csv", *KINDS[:2], "--load", "m", "--save", "model", "--predictions", os.devnull]) == 0
    assert Path("model").is_symlink()
