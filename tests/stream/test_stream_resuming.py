"""Runs of `gln-stream` that are stopped and go on, at whatever place, and files that must not be overwritten."""

# ruff: noqa: N803 - X is a frame

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from helpers import assert_same_file
from test_stream_command import KINDS, assert_same_arrays, figures_in, started, table

from gln.engine.saving import read
from gln.river import GLNClassifier
from gln.stream.command import main

pytestmark = pytest.mark.slow  # long runs; test_stream_command.py has short ones

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


FORMS = ["csv", "jsonl", "vw", "libsvm"]


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
    monkeypatch.setattr("gln.stream.run.monotonic", lambda: now[0], raising=False)

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


# ---- Signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_signal_stops_within_a_chunk(form, stops, tmp_path):
    lines = lines_of(form, table(COUNT))
    for number in (20, 100, 101, 180, COUNT - 1):
        lines[number] = "{bad"
    file = str(written(tmp_path / f"s.{form}", lines))
    common = [file, *target(form), "--skip-bad", "--test-every", "7"]

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
    return [{name: value for name, value in event.items() if "second" not in name} for event in events]


def test_parts_are_as_long_as_chunks_where_samples_are_fast(tmp_path, monkeypatch):
    sizes, learn = [], GLNClassifier.predict_learn_many

    def noted(model: Any, X: Any, *others: Any) -> Any:
        sizes.append(len(X))
        return learn(model, X, *others)

    monkeypatch.setattr("gln.stream.run.monotonic", lambda: 0.0)
    monkeypatch.setattr(GLNClassifier, "predict_learn_many", noted)
    assert main([str(written(tmp_path / "s.csv", lines_of("csv", table(4000)))), *KINDS[:2]]) == 0
    assert sizes[-2:] == [1000, 1000]
    assert len(sizes) < 12


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


@pytest.mark.slow
def test_a_signal_ends_a_run_whose_predictions_nobody_reads(tmp_path):
    file = written(tmp_path / "s.csv", lines_of("csv", table(8000)))
    process = started(str(file), *KINDS[:2], "--save", str(tmp_path / "m"), "--predictions", "-", stdin=None)
    assert process.stdout is not None
    while int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, b"1234"), "little") < 60_000:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert 0 < figures_in(tmp_path / "m").samples < 8000
    process.communicate()


# ---- Outputs that fail -----------------------------------------------------------------------------------------------


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
        patches.setattr("gln.stream.output.os.write", write_some)
        yield


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk(after, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gln.stream.run.PATIENCE", 1e-6)  # so that each write is of few samples
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_device(tmp_path, capsys):
    options = [str(written(tmp_path / "s.csv", lines_of("csv", table(COUNT)))), *KINDS[:2], "--predictions"]
    assert main([*options, "/dev/full", "--save", str(tmp_path / "m")]) == 2
    assert "No space left on device: '/dev/full'; saved" in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples > 0
    with open("/dev/full", "wb") as full:
        process = started(*options, "-", "--save", str(tmp_path / "n"), stdout=full)
        said = process.communicate()[1].decode()
    assert process.returncode == 2
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert figures_in(tmp_path / "n").samples > 0


# ---- The same input --------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path) -> tuple[Path, list[str]]:
    """A folder with a run that was stopped by a bad line in the middle, and the options with which it goes on."""
    lines = lines_of("csv", table(COUNT))
    lines[150] = "bad"
    written(tmp_path / "day1.csv", lines)
    written(tmp_path / "day2.csv", lines_of("csv", table(COUNT, seed=1)))
    options = ["--target", "kind", "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    assert main([str(tmp_path / "day1.csv"), *options]) == 2
    return tmp_path, options


def refused(folder: Path, arguments: list[str], message: str, capsys) -> None:
    """Assert that a command fails with a message and changes no file."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("gln-stream: ")
    assert message in said
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


OTHER_INPUT = (
    "--resume: expected the file from which the saved run learned, or a pipe if that was one, got another input"
)


def test_another_file_is_refused(stopped, capsys):
    folder, options = stopped
    refused(folder, [str(folder / "day2.csv"), *options], OTHER_INPUT, capsys)
    refused(folder, [str(folder / "day2.csv"), *options], f"--load {folder / 'm'} without --resume", capsys)


def test_a_shorter_file_is_refused(tmp_path, capsys, monkeypatch):
    lines = lines_of("csv", table(COUNT))
    options = ["--target", "kind", "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    assert main([str(written(tmp_path / "s.csv", lines)), *options]) == 0
    cut = str(written(tmp_path / "cut.csv", lines[:100]))
    refused(tmp_path, [cut, *options], OTHER_INPUT, capsys)
    monkeypatch.setattr("gln.stream.head.LENGTH", 1000)  # with which both begin
    assert main([str(tmp_path / "s.csv"), *options[:-1]]) == 0
    refused(tmp_path, [cut, *options], "--resume: expected a file of at least", capsys)


def piped(path: Path, lines: list[str], options: list[str]) -> int:
    """Run the command on a pipe; returns its exit status."""
    os.mkfifo(path)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            written(path, lines)

    writer = threading.Thread(target=write)
    writer.start()
    status = main([str(path), *options])
    writer.join()
    path.unlink()
    return status


def test_a_pipe_instead_of_the_file_is_refused_and_the_reverse(stopped, capsys):
    folder, options = stopped
    lines = lines_of("csv", table(COUNT))
    before = (folder / "m").read_bytes()
    assert piped(folder / "pipe.csv", lines, options) == 2
    assert OTHER_INPUT in capsys.readouterr().err
    assert (folder / "m").read_bytes() == before
    options = ["--target", "kind", "--save", str(folder / "of_pipe"), "--resume"]
    assert piped(folder / "pipe.csv", lines, options) == 0
    refused(folder, [str(folder / "day1.csv"), *options], OTHER_INPUT, capsys)
    assert piped(folder / "pipe.csv", [lines[0], *lines[1:51]], options) == 0
    assert figures_in(folder / "of_pipe").samples == COUNT + 50


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_a_file_goes_on_that_has_grown_or_whose_bad_line_was_corrected(stopped, ending):
    folder, options = stopped
    rows = lines_of("csv", table(COUNT))
    grown = folder / f"grown.{ending}"
    pd.read_csv(written(folder / "all.csv", rows), dtype=str, keep_default_na=False).to_csv(grown, index=False)
    assert main([str(grown), *options]) == 0
    whole = ["--save", str(folder / "whole"), "--predictions", str(folder / "whole.csv")]
    assert main([str(folder / "all.csv"), *options[:2], *whole]) == 0
    assert_same_file(folder / "m", folder / "whole")
    assert (folder / "p.csv").read_bytes() == (folder / "whole.csv").read_bytes()


# ---- The same predictions --------------------------------------------------------------------------------------------


def test_other_predictions_are_refused(stopped, capsys):
    folder, options = stopped
    (folder / "other.csv").write_text("prediction,probability\nlow,1.0\n")
    arguments = [str(folder / "day1.csv"), *options]
    arguments[arguments.index(str(folder / "p.csv"))] = str(folder / "other.csv")
    refused(folder, arguments, "--predictions: expected the file of the saved run, got another one", capsys)


def test_predictions_that_exist_are_refused_if_the_saved_run_wrote_none(stopped, capsys):
    folder, _ = stopped
    (folder / "other.csv").write_text("what took a week\n")
    first = [str(folder / "day1.csv"), "--target", "kind", "--save", str(folder / "n"), "--resume"]
    assert main(first) == 2
    arguments = [*first, "--predictions", str(folder / "other.csv")]
    refused(folder, arguments, "--predictions: expected a new file, as the saved run wrote none", capsys)
    assert main([*first, "--skip-bad", "--predictions", str(folder / "new.csv")]) == 0
    assert len((folder / "new.csv").read_text().splitlines()) == 1 + COUNT - 150


# ---- The same model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_run_from_a_loaded_model_goes_on(form, stops, tmp_path):
    lines = lines_of(form, table(2 * COUNT))
    header = lines[: form == "csv"]
    first = str(written(tmp_path / f"first.{form}", lines[:100]))
    rest = str(written(tmp_path / f"rest.{form}", [*header, *lines[100:]]))
    assert main([first, *target(form), "--save", str(tmp_path / "a")]) == 0
    of_whole = ["--save", str(tmp_path / "whole"), "--predictions", str(tmp_path / "whole.csv")]
    assert main([rest, *target(form), "--load", str(tmp_path / "a"), *of_whole]) == 0
    options = [rest, *target(form), "--save", str(tmp_path / "b"), "--predictions", str(tmp_path / "p.csv")]
    stops(200, lambda: interrupt(signal.SIGTERM))
    assert main([*options, "--load", str(tmp_path / "a")]) == 128 + signal.SIGTERM
    stops(COUNT, lambda: None)
    assert main([*options, "--resume"]) == 0
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert_same_file(tmp_path / "b", tmp_path / "whole")


# ---- Outputs that are inputs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> bytes:
    """A saved model of thirty samples."""
    folder = tmp_path_factory.mktemp("models")
    file = written(folder / "in.csv", lines_of("csv", table(30)))
    assert main([str(file), *KINDS[:2], "--save", str(folder / "m")]) == 0
    return (folder / "m").read_bytes()


@pytest.fixture
def names(model, tmp_path) -> Path:
    """A folder with a table, a model of it, and links."""
    written(tmp_path / "in.csv", lines_of("csv", table(30)))
    (tmp_path / "m").write_bytes(model)
    (tmp_path / "link").symlink_to("in.csv")
    os.link(tmp_path / "in.csv", tmp_path / "hard")
    (tmp_path / "model").symlink_to("m")
    (tmp_path / "dangling").symlink_to("new")
    return tmp_path


SAME = {
    "--save in.csv": "--save: expected another file than the input, got",
    "--predictions in.csv": "--predictions: expected another file than the input, got",
    "--metrics in.csv": "--metrics: expected another file than the input, got",
    "--predictions link": "--predictions: expected another file than the input, got",
    "--save hard": "--save: expected another file than the input, got",
    "--load m --predictions m": "--predictions: expected another file than --load, got",
    "--load m --save n --predictions model": "--predictions: expected another file than --load, got",
    "--load m --save m --metrics model": "--metrics: expected another file than --load, got",
    "--save n --predictions n": "--predictions: expected another file than --save, got",
    "--save new --predictions dangling": "--predictions: expected another file than --save, got",
    "--save n --predictions ./n": "--predictions: expected another file than --save, got",
    "--predictions p.csv --metrics p.csv": "--metrics: expected another file than --predictions, got",
    "--resume --save m --predictions model": "--predictions: expected another file than --save, got",
    "--save fifo": "--save: expected a file in a folder that exists, got",
}


@pytest.mark.parametrize("arguments", SAME)
def test_an_output_that_is_another_file_of_the_run_is_refused(arguments, names, monkeypatch, capsys):
    monkeypatch.chdir(names)
    os.mkfifo("fifo")
    refused(names, ["in.csv", *KINDS[:2], *arguments.split()], SAME[arguments], capsys)


@contextlib.contextmanager
def redirected(stream: int, name: str) -> Iterator[None]:
    """Standard input or output is a file."""
    before, file = os.dup(stream), os.open(name, os.O_RDWR | os.O_APPEND)
    os.dup2(file, stream)
    try:
        yield
    finally:
        os.dup2(before, stream)
        os.close(before)
        os.close(file)


@pytest.mark.parametrize(
    ("streams", "arguments", "message"),
    [
        ({0: "in.csv"}, "- --save in.csv", "--save: expected another file than the input"),
        ({0: "in.csv", 1: "hard"}, "- --predictions -", "--predictions: expected another file than the input"),
        ({1: "m"}, "in.csv --save m --predictions -", "--predictions: expected another file than --save"),
        ({1: "m"}, "in.csv --load m --predict-only", "--predictions: expected another file than --load"),
    ],
)
def test_a_standard_stream_that_is_another_file_of_the_run_is_refused(streams, arguments, message, names, monkeypatch):
    monkeypatch.chdir(names)
    before = {path: path.read_bytes() for path in names.iterdir() if path.is_file()}
    with contextlib.ExitStack() as stack, open("said", "w") as said:
        for stream, name in streams.items():
            stack.enter_context(redirected(stream, name))
        monkeypatch.setattr("sys.stderr", said)
        assert main([*arguments.split(), "--format", "csv", *KINDS[:2]]) == 2
    assert message in Path("said").read_text()
    Path("said").unlink()
    assert {path: path.read_bytes() for path in names.iterdir() if path.is_file()} == before


def test_files_that_may_be_the_same(names, monkeypatch, capsys):
    monkeypatch.chdir(names)
    before = figures_in(names / "m").samples
    assert main(["in.csv", *KINDS[:2], "--load", "m", "--save", "model", "--predictions", os.devnull]) == 0
    assert figures_in(names / "m").samples == before
    assert (names / "model").is_symlink()
    assert main([os.devnull, "--format", "csv", *KINDS[:2], "--predictions", os.devnull]) == 2  # a device is no file
    assert "expected a header" in capsys.readouterr().err
