"""Inputs of `gln-stream` that are no plain text: Parquet, Arrow and .zst files; and dates and times in any input."""

# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import datetime
import gzip
import json
import math
import os
import signal
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from helpers import assert_same_file
from test_stream_command import assert_same_arrays, figures_in, started

from gln.apps.stream.command import main
from gln.apps.stream.formats.chunks import Wanted
from gln.apps.stream.formats.reader import BadLine, file_format, opened, read_chunks
from gln.engine.saving import read as read_file
from gln.river import GLNClassifier, GLNRegressor

COUNT = 300
DAY = datetime.datetime(2024, 5, 1)


def table(count: int = COUNT, seed: int = 0) -> pd.DataFrame:
    """A number, a category and a time, some of them missing, and a class that depends on the hour."""
    rng = np.random.default_rng(seed)
    times = pd.Series(pd.date_range("2024-05-01", periods=count, freq=pd.Timedelta("97min 11.123457s"), tz="UTC"))
    X = pd.DataFrame({"a": rng.normal(size=count), "colour": rng.choice(["red", "blue"], count)})
    X["time"] = times
    X = X.mask(rng.random(X.shape) < 0.05)
    return X.assign(kind=np.where((times.dt.hour > 11) ^ (rng.random(count) < 0.1), "late", "early"))


def as_text(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(time=X["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def json_lines(X: pd.DataFrame) -> str:
    rows = as_text(X).astype(object).where(X.notna(), None).to_dict("records")
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(path: Path, X: Any) -> str:
    """Write a frame, or a table of Arrow, in the format that the name tells; returns the name."""
    if path.suffix in (".csv", ".jsonl"):
        path.write_text(as_text(X).to_csv(index=False) if path.suffix == ".csv" else json_lines(X))
        return str(path)
    pa = pytest.importorskip("pyarrow")
    arrow = pa.Table.from_pandas(X, preserve_index=False) if isinstance(X, pd.DataFrame) else X
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(arrow, path, row_group_size=120)
        return str(path)
    new = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with new(str(path), arrow.schema) as file:
        file.write_table(arrow, max_chunksize=70)
    return str(path)


def packed(path: Path, text: bytes) -> str:
    """Write a .zst file, whose blocks end after each kilobyte."""
    zstd = pytest.importorskip("gln.apps.stream.formats.zstd").zstd
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    blocks = [compressor.compress(text[at : at + 1000], compressor.FLUSH_BLOCK) for at in range(0, len(text), 1000)]
    path.write_bytes(b"".join(blocks) + compressor.flush())
    return str(path)


def all_of(file: str, target: str | None = "kind", skip_bad: Any = None, **options: Any) -> list[dict[str, Any]]:
    """The features of each sample, with its target; a missing value is None."""
    with opened(file) as source:
        chunks = list(read_chunks(source, file_format(file), Wanted(target, **options), skip_bad is not None))
    found: list[dict[str, Any]] = []
    for chunk in chunks:
        for bad in chunk.bad:
            skip_bad(bad)
        frame = pd.concat([chunk.rows.frame, pd.DataFrame(chunk.rows.dictionaries)], axis=1).astype(object)
        for row, y in zip(frame.where(frame.notna(), None).to_dict("records"), chunk.targets, strict=True):
            found.append(
                {**{str(name): value for name, value in row.items()}, **({} if target is None else {target: y})}
            )
    return found


def learned(file: str, folder: Path, *options: str, target: str = "kind") -> Path:
    """The model of a file."""
    saved = folder / f"{Path(file).name}.gln"
    assert main([file, "--target", target, "--save", str(saved), *options]) == 0
    return saved


# ---- The same data in all formats ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "parquet", "feather", "arrow"])
def test_all_formats_give_the_same_model(ending, tmp_path):
    X = table(4200)
    expected = learned(written(tmp_path / "s.csv", X), tmp_path, "--predictions", str(tmp_path / "expected.csv"))
    found = learned(written(tmp_path / f"s.{ending}", X), tmp_path, "--predictions", str(tmp_path / "p.csv"))
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    one, other = (GLNClassifier.load(path) for path in (found, expected))
    for model in (one, other):
        model.save(tmp_path / f"{model is one}")
    assert_same_file(tmp_path / "True", tmp_path / "False")


def test_lists_and_structs_are_read_as_in_json(tmp_path):
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(1)
    rows = [
        {
            "user": {"age": int(rng.integers(20, 60)), "city": str(rng.choice(["x", "y"]))} if i % 7 else None,
            "tags": [f"t{tag}" for tag in rng.choice(5, 1 + i % 3, replace=False)] if i % 5 else None,
            "shop": [f"s{rng.integers(3)}"] if i % 4 else [],
            "is_new": bool(i % 2),
            "kind": str(rng.choice(["u", "v"])),
        }
        for i in range(COUNT)
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = written(tmp_path / "s.parquet", pa.Table.from_pylist(rows))
    predictions = []
    for name in (str(tmp_path / "s.jsonl"), file):
        learned(name, tmp_path, "--predictions", str(tmp_path / "p.csv"))
        predictions.append((tmp_path / "p.csv").read_bytes())
    assert predictions[0] == predictions[1]
    found = all_of(file, ignore={"tags=t0", "user.age"}, strings={"is_new"}, words={"shop"})
    for name in ("tags", "user"):
        with pytest.raises(ValueError, match=f"^{name}: expected numbers, bools or strings as targets"):
            all_of(file, target=name)
    names = {name for row in found for name in row}
    assert "user.city" in names
    assert not {"user", "user.age", "tags=t0", "shop"} & names
    assert found[1]["is_new"] == "true"


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
def test_lists_of_numbers_are_read_as_in_json(kind, tmp_path):
    pa = pytest.importorskip("pyarrow")
    rows: list[list[float | None] | None] = [[0.5, 1.0], None, [2.0, None]]
    if kind != "fixed":
        rows += [[], [3.0, 4.0, 5.0]]
    types = {"list": pa.list_(pa.float32()), "large_list": pa.large_list(pa.int8()), "fixed": pa.list_(pa.float64(), 2)}
    rows = [row and [value and int(2 * value) for value in row] for row in rows] if kind == "large_list" else rows
    values = pa.array(rows, types[kind])
    file = written(tmp_path / "s.parquet", pa.table({"at": values, "kind": list(range(len(rows)))}))
    (tmp_path / "s.jsonl").write_text("".join(json.dumps({"at": at, "kind": i}) + "\n" for i, at in enumerate(rows)))
    found, expected = all_of(file), all_of(str(tmp_path / "s.jsonl"))
    names = {name for row in expected for name in row} - {"at"}
    assert {name for row in found for name in row} == names
    for one, other in zip(found, expected, strict=True):
        assert {name: one.get(name) for name in names} == {name: other.get(name) for name in names}
    ignored = {name for row in all_of(file, ignore={"at.1"}) for name in row}
    assert ignored == names - {"at.1"}


def test_folders_of_parquet_are_columns_and_a_run_goes_on_in_any_file(tmp_path, monkeypatch):
    """As Hive, Spark and pandas write them."""
    pytest.importorskip("pyarrow")
    X = table().assign(month=np.arange(COUNT) // 100 + 9, city=np.where(np.arange(COUNT) % 2, "x", "y z"))
    ordered = X.sort_values(["month", "city"], kind="stable")
    expected = learned(written(tmp_path / "s.csv", ordered), tmp_path, "--predictions", str(tmp_path / "whole.csv"))
    for (month, city), part in X.groupby(["month", "city"]):
        folder = tmp_path / "parts" / f"month={month}" / f"city={str(city).replace(' ', '%20')}"
        folder.mkdir(parents=True)
        written(folder / "part-0.parquet", part.drop(columns=["month", "city"]))
    options = ["--target", "kind", "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    for after in (120, 60):
        with monkeypatch.context() as patch:
            stop_after(after, patch)
            assert main([str(tmp_path / "parts"), *options]) == 128 + signal.SIGTERM
    assert main([str(tmp_path / "parts"), *options]) == 0
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    one, other = GLNClassifier.load(tmp_path / "m"), GLNClassifier.load(expected)
    assert one.known_names == other.known_names
    file = str(tmp_path / "parts" / "month=9" / "city=x" / "part-0.parquet")
    assert {row["month"] for row in all_of(file)} == {9.0}
    assert "month" not in all_of(file, ignore={"month"})[0]
    assert {row["city"] for row in all_of(file, target="city")} == {"x"}


def test_types_of_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    columns = {
        "whole": pa.array([2**53 + 1, None], pa.int64()),
        "unsigned": pa.array([2**64 - 1, 0], pa.uint64()),
        "half": pa.array(np.array([0.5, np.nan], np.float16)),
        "decimal": pa.array([Decimal("1.25"), None]),
        "bool": pa.array([True, None]),
        "category": pa.array(["NA", None]).dictionary_encode(),
        "large": pa.array(["", "1"], pa.large_string()),
        "nothing": pa.nulls(2),
        "digits": ["007", "8"],
        "kind": [1.0, math.nan],
    }
    file = written(tmp_path / "s.arrow", pa.table(columns))
    first, second = all_of(file, numbers={"digits"}, strings={"whole"})
    assert first == {
        **{"whole": str(2**53 + 1), "unsigned": 2.0**64, "half": 0.5, "decimal": 1.25, "bool": 1.0, "category": "NA"},
        **{"large": "", "nothing": None, "digits": 7.0, "kind": 1},
    }
    assert second == dict.fromkeys(columns, None) | {"unsigned": 0.0, "large": "1", "digits": 8.0}
    assert [row["bool"] for row in all_of(file, target="bool")] == [True, None]
    assert [row["bool"] for row in all_of(file, target="bool", strings={"bool"})] == ["true", None]


def test_a_column_is_read_as_the_model_knows_it(tmp_path):
    pytest.importorskip("pyarrow")
    file = written(tmp_path / "s.parquet", table(20))
    messages = {
        "a: expected text, got numbers (--strings a converts the column)": {"a": True},
        "colour: expected numbers, got text (--numbers colour converts the column)": {"colour": False},
        "time: expected numbers, got timestamps (--strings time converts the column)": {"time": False},
        "time: expected text, got timestamps (--strings time converts the column)": {"time": True},
    }
    for message, known in messages.items():
        with pytest.raises(ValueError) as error:  # noqa: PT011
            all_of(file, known=known)
        assert str(error.value) == message
    assert all_of(file, known={"time": True}, strings={"time"})[1]["time"].startswith("2024-05-01 01:37:11.123457")


# ---- Files that cannot be read ---------------------------------------------------------------------------------------


def test_columns_that_cannot_be_read_are_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    values = {"binary": b"x", "nested": [[1.0]], "duration": datetime.timedelta(1), "clock": datetime.time(1)}
    for name, value in values.items():
        file = written(tmp_path / "s.parquet", pa.table({name: [value], "a": [1.0], "kind": [1]}))
        with pytest.raises(ValueError, match=rf"^{name}: expected numbers, bools, .*, got .* \(--ignore {name} leaves"):
            all_of(file)
        assert all_of(file, ignore={name}) == [{"a": 1.0, "kind": 1}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "no"}, "target: expected one of the columns 'a', 'colour', 'time', 'kind', got 'no'"),
        ({"strings": {"no"}}, "strings: expected one of the columns"),
        ({"ignore": {"colour", "no"}}, "ignore: expected one of the columns"),
        ({"target": "time"}, r"time: expected numbers, bools or strings as targets, got timestamp\["),
        ({"numbers": {"time"}}, "time: expected numbers, got timestamps"),
    ],
)
def test_names_that_are_wrong(options, message, tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=f"^{message}"):
        all_of(written(tmp_path / "s.parquet", table(20)), **options)


def test_columns_of_one_name(tmp_path):
    pa = pytest.importorskip("pyarrow")
    file = written(tmp_path / "s.parquet", pa.table([[1], [2]], ["a", "a"]))
    with pytest.raises(ValueError, match="expected a name of its own for each column, got 'a' twice"):
        all_of(file, target=None)


@pytest.mark.parametrize("name", ["s.parquet", "s.arrow"])
def test_files_of_another_kind(name, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    expected = "a Parquet file" if name == "s.parquet" else "an Arrow file or stream"
    other = Path(written(tmp_path / ("t.arrow" if name == "s.parquet" else "t.parquet"), table(20))).read_bytes()
    for content in (as_text(table(20)).to_csv().encode(), b"", other):
        (tmp_path / name).write_bytes(content)
        assert main([str(tmp_path / name), "--target", "kind", "--save", str(tmp_path / "m")]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"gln-stream: {file_format(name)}: expected {expected}, got one that cannot be read: ")
        assert said.count("\n") == 1
        assert not (tmp_path / "m").exists()


def test_files_that_are_compressed_twice():
    for name in ("s.parquet.gz", "s.feather.zst"):
        with pytest.raises(ValueError, match=r"format: expected .* without .gz or .zst, as its columns are compressed"):
            file_format(name)


@pytest.mark.parametrize("name", ["s.parquet", "s.feather", "s.arrow"])
def test_a_file_without_rows(name, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    assert main([written(tmp_path / name, table(5).iloc[:0]), "--target", "kind"]) == 0
    assert capsys.readouterr().err == ""


def test_bad_rows_are_said_and_left_out(tmp_path, capsys):
    pa = pytest.importorskip("pyarrow")
    columns: dict[str, Any] = {"a": [1.0, math.inf, math.nan, 1e300, 2.0, 3.0], "tags": [["x"]] * 5 + [["x", None]]}
    file = written(tmp_path / "s.parquet", pa.table({**columns, "kind": list("uvuvuv")}))
    with pytest.raises(
        BadLine, match=r"^row 2: a: expected a finite number, got inf \(--skip-bad leaves bad rows out\)$"
    ):
        all_of(file)
    bad: list[str] = []
    found = all_of(file, skip_bad=lambda line: bad.append(str(line)))
    assert [(row["a"], row["kind"]) for row in found] == [(1.0, "u"), (None, "u"), (2.0, "u")]
    assert bad == [
        "row 2: a: expected a finite number, got inf",
        "row 4: a: expected a finite number, got 1e+300",
        "row 6: tags: expected a list of strings, got ['x', None]",
    ]
    assert main([file, "--target", "kind", "--skip-bad"]) == 0
    assert "3 samples, 3 bad lines left out" in capsys.readouterr().err


def test_a_damaged_file_is_learned_up_to_the_damage(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    file = written(tmp_path / "s.arrow", table())
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[: 9 * len(content) // 10])
    assert main([file, "--target", "kind", "--save", str(tmp_path / "m")]) == 2
    assert "gln-stream: row 211: the file is damaged or incomplete: " in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples == 210
    file = written(tmp_path / "s.parquet", table())
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[:4] + bytes(len(content) // 4) + content[4 + len(content) // 4 :])
    assert main([file, "--target", "kind", "--save", str(tmp_path / "m")]) == 2
    assert "gln-stream: row 1: the file is damaged or incomplete: " in capsys.readouterr().err


def test_text_that_is_not_utf8(tmp_path):
    pa = pytest.importorskip("pyarrow")
    file = written(tmp_path / "s.arrow", pa.table({"a": pa.array([b"x", b"\xff"]).view(pa.string()), "kind": [1, 2]}))
    with pytest.raises(BadLine, match=r"^row 1: the file is damaged or incomplete: .*UTF8"):
        all_of(file)


@pytest.mark.parametrize(
    ("file", "module", "package"), [("s.parquet", "pyarrow", "pyarrow"), ("s.csv.zst", "backports", "backports.zstd")]
)
def test_what_is_not_installed_is_named(file, module, package, tmp_path, monkeypatch, capsys):
    if module == "backports" and sys.version_info >= (3, 14):
        pytest.skip("a part of Python")
    (tmp_path / file).write_bytes(b"")
    for loaded in ("gln.apps.stream.formats.arrow", "gln.apps.stream.formats.zstd"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert main([str(tmp_path / file), "--target", "kind"]) == 2
    assert f"pip install {package}\n" in capsys.readouterr().err


def test_memory_is_bounded(tmp_path):
    """A row group of a million values is not read at once."""
    pa = pytest.importorskip("pyarrow")
    numbers = np.random.default_rng(2).normal(size=1_000_000)
    pytest.importorskip("pyarrow.parquet").write_table(pa.table({"a": numbers}), tmp_path / "s.parquet")
    assert (tmp_path / "s.parquet").stat().st_size > 8e6
    before = pa.total_allocated_bytes()
    with opened(str(tmp_path / "s.parquet")) as source:
        chunks = read_chunks(source, "parquet", Wanted())
        sizes = [(len(next(chunks).lines), pa.total_allocated_bytes() - before) for _ in range(200)]
    assert [rows for rows, _ in sizes[:3]] == [1000, 3000, 4000]
    assert max(allocated for _, allocated in sizes) < 6e6


# ---- Pipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_arrow_comes_from_a_pipe_and_parquet_does_not(tmp_path):
    pytest.importorskip("pyarrow")
    expected = learned(written(tmp_path / "s.csv", table()), tmp_path)
    for name, status in (("s.arrow", 0), ("s.parquet", 2)):
        process = started("--format", file_format(name), "--target", "kind", "--save", str(tmp_path / "m"))
        _, said = process.communicate(Path(written(tmp_path / name, table())).read_bytes())
        assert process.returncode == status, said
    assert b"gln-stream: parquet: expected a file, as its end says where columns are, got a pipe" in said
    assert figures_in(tmp_path / "m").sums == figures_in(expected).sums
    with open(tmp_path / "s.arrow", "rb") as file:
        process = started("--target", "kind", stdin=file)
        assert b"expected text, got what begins like arrow (--format arrow reads it)" in process.communicate()[1]


def slowly_piped(path: Path, text: bytes, *options: str) -> None:
    """Run the command on a pipe in which bytes come in three parts."""
    lines = text.splitlines(keepends=True)
    os.mkfifo(path)

    def write() -> None:
        with open(path, "wb", buffering=0) as sink:
            for part in (lines[:3], lines[3:600], lines[600:]):
                sink.write(b"".join(part))
                time.sleep(0.3)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert main([str(path), *options]) == 0
    writer.join()
    path.unlink()


@pytest.mark.skipif(os.name == "nt", reason="has no named pipes")
@pytest.mark.parametrize("form", ["csv", "jsonl", "vw"])
def test_a_slow_pipe_is_learned_as_a_file_is(form, tmp_path):
    """The first targets look like classes, a column of text begins with numbers, and another comes late."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=2200).round(3)
    y = np.where(np.arange(2200) < 900, rng.integers(0, 9, 2200), (10 * a).round(2))
    code = [str(i % 4) if i < 800 else f"c{i % 4}" for i in range(2200)]
    late = [None if i < 1500 else f"t{i % 3}" for i in range(2200)]
    X = pd.DataFrame({"a": a, "code": code, "late": late, "y": y})
    text = {
        "csv": lambda: X.to_csv(index=False),
        "jsonl": lambda: X.to_json(orient="records", lines=True),
        "vw": lambda: "".join(f"{y} |n a:{a} |code {code} |late {late or ''}\n" for a, code, late, y in X.to_numpy()),
    }[form]()
    file = tmp_path / f"s.{form}"
    file.write_text(text)
    target = [] if form == "vw" else ["--target", "y"]
    options = [*target, "--fast", "--save", str(tmp_path / "m"), "--predictions"]
    assert main([str(file), *options, str(tmp_path / "p.csv")]) == 0
    predicted = pd.read_csv(tmp_path / "p.csv")
    slowly_piped(tmp_path / f"pipe.{form}", text.encode(), *options, str(tmp_path / "q.csv"))
    assert isinstance(GLNRegressor.load(tmp_path / "m"), GLNRegressor)
    assert (tmp_path / "q.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    error = (predicted["prediction"] - y).abs()[1200:].mean()
    assert error < 0.3 * np.abs(y - np.median(y))[1200:].mean()


# ---- Runs that go on -------------------------------------------------------------------------------------------------


def stop_after(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes after so many samples."""
    learn, count = GLNClassifier.predict_learn_many, [0]

    def stopped(model: Any, X: Any, *others: Any) -> Any:
        count[0] += len(X)
        if count[0] - len(X) < samples <= count[0]:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(model, X, *others)

    monkeypatch.setattr(GLNClassifier, "predict_learn_many", stopped)


def zst(path: Path, X: pd.DataFrame) -> str:
    return packed(path, as_text(X).to_csv(index=False).encode())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s.csv", "s.parquet", "s.feather", "s.csv.zst"])
def test_a_stopped_run_goes_on_also_if_the_file_has_grown(name, tmp_path, monkeypatch):
    write = zst if name.endswith("zst") else written
    whole = learned(write(tmp_path / name, table(4300)), tmp_path, "--predictions", str(tmp_path / "whole.csv"))
    options = ["--target", "kind", "--save", str(tmp_path / "m"), "--predictions", str(tmp_path / "p.csv"), "--resume"]
    (tmp_path / "day").mkdir()
    file = write(tmp_path / "day" / name, table(4300).iloc[:4200])
    with monkeypatch.context() as patch:
        stop_after(100, patch)
        assert main([file, *options]) == 128 + signal.SIGTERM
    assert 100 <= figures_in(tmp_path / "m").samples < 4200
    assert main([write(tmp_path / "day" / name, table(4300)), *options]) == 0
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert_same_arrays(read_file(tmp_path / "m")[1], read_file(whole)[1])


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_complete_lines_of_a_damaged_zst_file_are_read(damage, tmp_path, capsys):
    file = zst(tmp_path / "s.csv.zst", table(2000))
    content = bytearray(Path(file).read_bytes())
    middle = len(content) // 2
    content[middle:] = b"" if damage == "cut" else bytes(20) + content[middle + 20 :]
    Path(file).write_bytes(content)
    assert main([file, "--target", "kind", "--save", str(tmp_path / "m")]) == 2
    assert "the compressed file is damaged or incomplete: " in capsys.readouterr().err
    assert figures_in(tmp_path / "m").samples > 500
    (tmp_path / "s.csv.zst").write_bytes(gzip.compress(b"a,kind\n1,2\n"))
    assert main([file, "--target", "kind"]) == 2
    assert "the compressed file is damaged or incomplete: " in capsys.readouterr().err


# ---- Dates and times -------------------------------------------------------------------------------------------------


def csv_of(tmp_path: Path, values: list[str], name: str = "s.csv") -> str:
    (tmp_path / name).write_text(
        "".join(f"{value},{i % 2}\n" for i, value in enumerate(["time", *values])).replace("time,0", "time,kind")
    )
    return str(tmp_path / name)


def test_texts_become_times_in_utc(tmp_path):
    texts = {
        "2024-05-01": datetime.datetime(2024, 5, 1),
        "2024-05-01T12:30": datetime.datetime(2024, 5, 1, 12, 30),
        "2024-05-01 12:30:45.25": datetime.datetime(2024, 5, 1, 12, 30, 45, 250_000),
        "1969-12-31T23:30:00Z": datetime.datetime(1969, 12, 31, 23, 30),
        "2024-03-01T00:30:00+05:30": datetime.datetime(2024, 2, 29, 19, 0),
        "2024-05-01T12:30:00-0800": datetime.datetime(2024, 5, 1, 20, 30),
    }
    found = all_of(csv_of(tmp_path, [*texts, "", "NA", "NaT"]), target=None, ignore={"kind"})
    assert found == [*({"time": when} for when in texts.values()), *[{"time": None}] * 3]


@pytest.mark.parametrize(
    "value",
    ["now", "2024", "20240501", "2024/05/01", "12:30", "2024-05-01T25:00", "2024-02-30", "2024-05-01 noon", "-1"],
)
def test_a_column_with_anything_else_stays_text(value, tmp_path):
    found = all_of(csv_of(tmp_path, ["2024-05-01", value]), target=None, ignore={"kind"})
    assert found == [{"time": "2024-05-01"}, {"time": value}]
    for before in (500, 4000):
        file = csv_of(tmp_path, ["2024-05-01"] * before + [value] + ["2024-05-01"] * 10)
        with pytest.raises(BadLine) as error:
            all_of(file)
        said = f"line {before + 2}: time: expected an ISO 8601 date or time, got {value!r}"
        advice = "(--strings time reads the column as text) (--skip-bad leaves bad lines out)"
        assert str(error.value) == f"{said} {advice}"
        assert len(all_of(file, strings={"time"})) == before + 11


def test_bad_times_in_json_and_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    rows = [
        {"time": time, "kind": i % 2} for i, time in enumerate(["2024-05-01"] * 4000 + ["May 2nd", None, "2024-05-03"])
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = written(tmp_path / "s.parquet", pa.Table.from_pylist(rows))
    for name, unit in ((str(tmp_path / "s.jsonl"), "line"), (file, "row")):
        bad: list[BadLine] = []
        found = all_of(name, skip_bad=bad.append)
        message = "time: expected an ISO 8601 date or time, got 'May 2nd' (--strings time reads the column as text)"
        assert [*map(str, bad)] == [f"{unit} 4001: {message}"]
        assert [row["time"] for row in found[3999:]] == [DAY, None, DAY + datetime.timedelta(2)]


def test_a_line_says_what_became_of_times(tmp_path, capsys):
    for name in ("s.csv", "s.jsonl"):
        learned(written(tmp_path / name, table(4500)), tmp_path)
        said = capsys.readouterr().err
        text = "gln-stream: time: a time, read as days since 1970, and as cycles of hour, weekday, year\n"
        assert said.count(f"{text}    (--strings time reads it as text)\n") == 1
    learned(written(tmp_path / "s.csv", table()), tmp_path, "--strings", "time")
    assert "a time, read as" not in capsys.readouterr().err


def test_a_model_goes_on_reading_times_as_it_knows_them(tmp_path, capsys):
    first, rest = written(tmp_path / "first.csv", table()), written(tmp_path / "rest.csv", table(seed=1).iloc[::-1])
    as_times = learned(first, tmp_path)
    assert main([first, "--target", "kind", "--strings", "time", "--save", str(tmp_path / "text")]) == 0
    for model, is_text in ((as_times, False), (tmp_path / "text", True)):
        capsys.readouterr()
        assert main([rest, "--target", "kind", "--load", str(model), "--save", str(tmp_path / "more")]) == 0
        assert "a time" not in capsys.readouterr().err
        names = GLNClassifier.load(tmp_path / "more").known_names
        assert names["time"] is is_text
        assert ("time.hour_sin" in names) is not is_text
    whole = tmp_path / "whole.csv"
    whole.write_text(Path(first).read_text() + "".join(Path(rest).read_text().splitlines(keepends=True)[1:]))
    expected = learned(str(whole), tmp_path)
    assert main([rest, "--target", "kind", "--load", str(as_times), "--save", str(tmp_path / "more")]) == 0
    x = {"time": DAY.replace(hour=7)}
    states = [GLNClassifier.load(path).predict_proba_one(x) for path in (expected, tmp_path / "more")]
    assert states[0] == states[1]


def test_a_time_that_is_the_target_is_a_class_and_a_column_of_that_name_stays(tmp_path):
    (tmp_path / "s.csv").write_text("time.hour_sin,time\n5,2024-05-01T06:00\n6,2024-05-01T12:00\n")
    assert [row["time"] for row in all_of(str(tmp_path / "s.csv"), target="time")] == [
        "2024-05-01T06:00",
        "2024-05-01T12:00",
    ]
    (tmp_path / "s.csv").write_text("time.hour_sin,time,y\n5,2024-05-01T06:00,1.5\n6,2024-05-01T12:00,2.5\n")
    statistics = GLNRegressor.load(learned(str(tmp_path / "s.csv"), tmp_path, target="y"))._stream
    places, standardizer = statistics.schema.indices, statistics.learner.featurizer.standardizer
    means = {name: standardizer.mean[place] for name, place in places.items()}
    assert means["time.hour_sin"] == 5.5
    assert means["time.hour_cos"] == pytest.approx(-0.5)
