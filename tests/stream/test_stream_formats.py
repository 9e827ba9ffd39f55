"""Formats of `gln-stream`: they are read as slow, obvious readers read them, and damaged lines are found."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gln.apps.stream.command import main
from gln.apps.stream.formats import namespaces
from gln.apps.stream.formats.chunks import Chunk, Wanted
from gln.apps.stream.formats.csv import CsvParser
from gln.apps.stream.formats.lines import BLOCK, LONGEST
from gln.apps.stream.formats.reader import FORMS, BadLine, file_format, opened, read_chunks
from gln.apps.stream.formats.vw import example_of
from gln.engine.saving import read as read_file

pytest.importorskip("river")

from gln.river import GLNClassifier


def samples_of(chunk: Chunk) -> Iterator[tuple[int, dict[str, Any], Any]]:
    """Line, features and words, and target of each sample; missing values are left out."""
    rows: list[dict[Any, Any]] = chunk.rows.frame.astype(object).to_dict("records") or [{} for _ in chunk.lines]
    for row, beside in zip(rows, chunk.rows.dictionaries, strict=False):
        assert row.keys().isdisjoint(beside)
        row.update(beside)
    for line, x, target in zip(chunk.lines, rows, chunk.targets, strict=True):
        yield line, known(x), target


def known(x: dict[Any, Any]) -> dict[str, Any]:
    return {name: value for name, value in x.items() if value is not None and value == value}


def chunks_of(text: str | bytes, form: str, skip_bad: Any = None, chunk: int = 1000, **options: Any) -> Iterator[Chunk]:
    """`skip_bad` is called with each bad line. The first chunk, which decides, has the size of all."""
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("gln.apps.stream.formats.reader.DECIDING", chunk)
        for part in read_chunks(io.BytesIO(data), form, Wanted(**options), skip_bad is not None, chunk):
            for bad in part.bad:
                skip_bad(bad)
            yield part


def all_of(text: str | bytes, form: str, **options: Any) -> list[tuple[int, dict[str, Any], Any]]:
    return [sample for chunk in chunks_of(text, form, **options) for sample in samples_of(chunk)]


def table(count: int, seed: int = 0) -> list[list[str]]:
    """Rows of two numbers, a text with commas, quotes and newlines, a category, and a target."""
    rng = np.random.default_rng(seed)
    texts = ["plain", "with, comma", 'with "quotes"', "two\nlines", "NA", "", "ü"]
    return [
        [
            f"{rng.normal():.4f}",
            str(rng.choice(["", "nan", "7", "-1e-3"])),
            str(rng.choice(texts)),
            f"c{i % 3}",
            str(i % 2),
        ]
        for i in range(count)
    ]


HEADER = ["a", "b", "text", "c", "y"]


def csv_text(rows: list[list[str]], **options: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, **options).writerows(rows)
    return stream.getvalue()


def slowly(text: str, delimiter: str = ",") -> list[tuple[int, dict[str, Any], Any]]:
    """What the file says, by the reader of the standard library and one row at a time."""
    reader, line = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter), 2
    found: list[tuple[int, dict[str, Any], Any]] = []
    for row in reader:
        x: dict[str, Any] = {name: None if row[name] in ("", "NA", "nan") else row[name] for name in HEADER}
        x |= {name: value if value is None else float(value) for name, value in x.items() if name in ("a", "b")}
        target = int(x.pop("y"))
        found.append((line, known(x), target))
        line = reader.line_num + 1
    return found


@pytest.mark.parametrize("end", ["\n", pytest.param("\r\n", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), pytest.param("tsv", "\t", marks=pytest.mark.slow)])
def test_tables_are_read_as_by_the_standard_library(form, delimiter, end):
    text = csv_text([HEADER, *table(2500)], delimiter=delimiter, lineterminator=end)
    expected = slowly(text, delimiter)
    for start in ("", "\ufeff"):  # a byte order mark
        for most in (1000, 7):
            assert all_of(start + text, form, target="y", chunk=most) == expected
    assert all_of(text.removesuffix(end), form, target="y") == expected
    chunks = list(chunks_of(text, form, target="y"))
    assert [len(chunk.lines) for chunk in chunks] == [1000, 1000, 500]
    assert {str(name): dtype.kind for name, dtype in chunks[0].rows.frame.dtypes.items()} == dict(
        zip(["a", "b", "text", "c"], "ffOO", strict=True)
    )


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_lines_that_are_split_are_read_as_others(form, delimiter, monkeypatch):
    rng, split, plain = np.random.default_rng(0), list[bool](), CsvParser.plain
    rows = [delimiter.join(rng.choice(["1", "-2.5", "", "NA", "c ", "x y", "3_0", "ü"], 3)) for _ in range(400)]
    odd = [f"1{delimiter}2{delimiter}\0", f"1{delimiter}2{delimiter}{140_000 * 'x'}", "", "1", delimiter.join("abc")]
    odd += ['"1"\t2\t3', " 1,\r2,3", "1, 2, 3", "4\t5\t6\t7", "\t\t", "a\rb,1,2"]
    lines = [*odd, *rows, *rng.choice([*odd, *rows[:100]], 400)]
    ends = [*(["\n"] * 200), *rng.choice(["\n", "\r\n"], 611)]
    text = f"a{delimiter}b{delimiter}c\n" + "".join(line + end for line, end in zip(lines, ends, strict=True))

    def found() -> list[Any]:
        bad: list[Any] = []
        chunks = chunks_of(text, form, bad.append, 5, target="c", strings={"a"}, numbers={"b"})
        return [[*samples_of(chunk), *chunk.notes] for chunk in chunks] + [*map(str, bad)]

    def noted(self: CsvParser, most: int) -> Chunk | None:
        chunk = plain(self, most)
        split.append(chunk is not None)
        return chunk

    monkeypatch.setattr(CsvParser, "plain", noted)
    quick = found()
    monkeypatch.setattr(CsvParser, "plain", lambda *_: None)
    assert sum(map(len, quick)) > 800
    assert quick == found()
    assert split.count(True) > 50
    assert split.count(False) > 10


@pytest.mark.parametrize(
    "more", [{}, {"b": 2.5, "c": "x"}, {"b": True, "tags": ["new"]}, {"time": "2026-01-02"}, {"b": None}, {"d": {}}]
)
def test_samples_with_the_same_names_are_read_as_others(more, monkeypatch):
    rng, found = np.random.default_rng(0), []
    lines = [{"a": int(rng.integers(3)), "b": 1.5, "y": 0} | (more if i % 7 else {}) for i in range(60)]
    for few in (1, 1000):
        monkeypatch.setattr(namespaces, "FEW", few)
        for same in (lines, [line for i, line in enumerate(lines) if i % 7]):
            chunks = [*chunks_of("\n".join(map(json.dumps, same)), "jsonl", target="y")]
            found.append([[*samples_of(chunk), *chunk.notes] for chunk in chunks])
            assert sum(map(len, found[-1])) >= len(same)
    assert found[:2] == found[2:]


def test_files_are_opened_by_their_names(tmp_path):
    text = csv_text([HEADER, *table(20)])
    (tmp_path / "a.csv").write_bytes(text.encode())
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.csv", "a.csv.gz"):
        with opened(str(tmp_path / name)) as file:
            [chunk] = read_chunks(file, file_format(name), Wanted("y"))
        assert list(samples_of(chunk)) == slowly(text)
    names = {"x.tsv": "tsv", "x.JSON": "jsonl", "x.ndjson.gz": "jsonl", "d/x.vw": "vw", "-": "auto"}
    assert {name: file_format(name) for name in names} == names
    for name in ("x", "x.gz", "x.xlsx"):
        with pytest.raises(ValueError, match=r"format: expected one of csv, tsv, .*got"):
            file_format(name)


def test_the_first_line_tells_the_format():
    texts = {"jsonl": '{"a": 1}\n', "vw": "1 |n a\n", "tsv": "a\tb\n1\t2\n", "csv": "a,b\n1,2\n"}
    for form, text in texts.items():
        assert all_of(text, "auto") == all_of(text, form) != []
    for text, message in {"a b\n": "format: expected one of", "": "line 1: expected samples, got nothing"}.items():
        with pytest.raises(ValueError, match=message):
            all_of(text, "auto")


# ---- Columns ---------------------------------------------------------------------------------------------------------


def test_types_of_columns_come_from_the_first_rows_that_have_values():
    text = "n,code,late,mixed,y\n1,007,,1,0\n2,8,NA,x,1.5\n3,9,?,2,NA\n4,10,5,3,-2\n"
    rows = [x for _, x, _ in all_of(text, "csv", target="y")]
    assert rows[0] == {"n": 1.0, "code": 7.0, "mixed": "1"}
    assert [x.get("late") for x in rows] == [None, None, None, 5.0]
    assert [target for _, _, target in all_of(text, "csv", target="y")] == [0, 1.5, None, -2]  # None is predicted only
    options: dict[str, Any] = {"strings": {"code", "y"}, "numbers": {"n"}, "ignore": {"mixed", "late"}}
    found = all_of(text, "csv", target="y", **options)
    assert [x for _, x, _ in found][:2] == [{"n": 1.0, "code": "007"}, {"n": 2.0, "code": "8"}]
    assert [target for _, _, target in found] == ["0", "1.5", "NA", "-2"]
    # row by row, as from a slow pipe, a text after numbers is a bad line
    with pytest.raises(BadLine, match=r"line 3: mixed: expected a finite number, got 'x' \(--strings mixed reads"):
        all_of(text, "csv", target="y", chunk=1)
    # and what a model knows already is known
    assert all_of(text, "csv", target="y", chunk=1, known={"mixed": True})[3][1]["mixed"] == "3"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "line 1: expected a header with the names of the columns, got nothing"),
        ("\n\n", {}, "line 1: expected a header with the names of the columns, got nothing"),
        ("a,b,a\n1,2,3\n", {}, "line 1: expected a name of its own for each column, got 'a' twice"),
        ("a;b\n1,5;2\n", {"target": "b"}, "line 1: expected ',' between the names of columns, got ';'"),
        ("a,b\n1,2\n", {"target": "y"}, "line 1: target: expected one of the columns 'a', 'b', got 'y'"),
        ("\na,b\n1,2\n", {"ignore": {"c"}}, "line 2: ignore: expected one of the columns 'a', 'b', got 'c'"),
        ("a,b\n1,2\n", {"numbers": {"c"}}, "line 1: numbers: expected one of the columns 'a', 'b', got 'c'"),
        ('a,"b\n1,2\n', {}, "line 1: expected the end of the quoted field that begins here, got none"),
        (b"\xff\xfea\x00,\x00b\x00\n", {}, "line 1: expected UTF-8, got the byte 0xff"),
    ],
)
def test_bad_headers_stop_at_once(text, options, message):
    for skip_bad in (None, lambda bad: None):
        with pytest.raises(BadLine, match=f"^{re.escape(message)}$"):
            all_of(text, "csv", skip_bad=skip_bad, **options)


def test_options_are_checked():
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("xml", {}, "format: expected one of csv, tsv, jsonl, vw, parquet, arrow, got 'xml'"),
        ("csv", {"strings": {"a"}, "numbers": {"a"}}, "strings, numbers: expected different names, got 'a' in both"),
        ("csv", {"target": "a", "ignore": {"a"}}, "ignore: expected other names than the target's, got 'a'"),
        ("vw", {"target": "a"}, "target: expected none, as vw has labels and marks numbers, got 'a'"),
        ("vw", {"numbers": {"a"}}, "numbers: expected none, as vw has labels and marks numbers, got 'a'"),
        ("csv", {"target": "a", "words": {"a"}}, "words: expected other names than the target's, got 'a'"),
        ("jsonl", {"words": {"a"}, "strings": {"a"}}, "strings, words: expected different names, got 'a' in both"),
    ]
    for form, options, message in cases:
        with pytest.raises(ValueError, match=message):
            all_of("1 |a b\n", form, **options)


def test_words_for_a_missing_value_are_read_as_by_pandas_and_said_where_they_may_be_a_class():
    text = "a,c,y\n1,NA,low\n2,None,None\n3,x,\n4,y,None\n"
    [chunk] = chunks_of(text, "csv", target="y")
    assert chunk.targets == ["low", None, None, None]
    of_pandas = pd.read_csv(io.StringIO(text))
    assert of_pandas["y"].isna().tolist() == [False, True, True, True]
    assert chunk.rows.frame["c"].isna().tolist() == of_pandas["c"].isna().tolist()
    note = "line 3: y: 'None' is read as a missing value, so the sample is only predicted"
    assert chunk.notes == (f"{note}\n    (--strings y reads it as a class)",)
    # once, also if it is the first value of a pipe, and not where an empty field or a number says enough
    slow = chunks_of(b"y,a\nNone,1\nNone,1\nlow,2\nNone,3\n", "csv", target="y", chunk=1)
    assert [[note[:6] for note in each.notes] for each in slow] == [["line 2"], [], [], []]
    assert [each.notes for each in chunks_of(b"y,a\n1,1\nNA,1\n,2\n", "csv", target="y")] == [()]
    assert [each.notes for each in chunks_of(b"y,a\nlow,1\n,2\n", "csv", target="y")] == [()]
    # a column that is said to be text has all texts
    [chunk] = chunks_of(text, "csv", target="y", strings={"c", "y"})
    assert (chunk.targets, chunk.notes) == (["low", "None", None, "None"], ())
    assert chunk.rows.frame["c"].tolist() == ["NA", "None", "x", "y"]
    # as have JSON's strings
    assert all_of('{"y": "None"}\n{"y": null}\n', "jsonl", target="y") == [(1, {}, "None"), (2, {}, None)]


def test_a_header_that_comes_again_is_left_out_and_said():
    """As where one of several files that were joined ends, and in a pipe whose file was rotated."""
    text = "a,b,y\n1,2,0\na,b,y\n3,4,1\na,b,y\na,b,y\n5,6,0\n"
    for most in (1000, 1):
        chunks = list(chunks_of(text, "csv", target="y", chunk=most))
        assert [x for chunk in chunks for x in samples_of(chunk)] == [
            (line, {"a": line - 1, "b": line}, int(line == 4)) for line in (2, 4)
        ] + [(7, {"a": 5, "b": 6}, 0)]
        notes = [note for chunk in chunks for note in chunk.notes]
        assert notes == ["line 3: the header once more, which is left out"]


# ---- JSON lines ------------------------------------------------------------------------------------------------------


def test_objects_are_flattened():
    x = {"a": 1, "b": "x", "c": True, "d": None, "e": {"f": 1.5, "g": {"h": "y"}}, "tags": ["new", "red", "new"]}
    text = json.dumps(x | {"at": [0.5, None, 2], "none": [], "y": "yes"}) + "\r\n \n" + json.dumps({"y": None, "a": 2})
    first = {"a": 1, "b": "x", "c": True, "e.f": 1.5, "e.g.h": "y", "tags=new": 2, "tags=red": 1}
    first |= {"at.0": 0.5, "at.2": 2}
    assert all_of(text, "jsonl", target="y") == [(1, first, "yes"), (3, {"a": 2}, None)]
    [(_, ignored, target), _] = all_of(text, "jsonl", target="e.f", ignore={"tags", "e.g.h", "at.1"})
    assert set(ignored) == {"a", "b", "c", "at.0", "at.2", "y"}
    assert target == 1.5


def test_nan_is_a_missing_value_and_infinity_a_bad_line():
    values = [{"a": 1.5, "at": [math.nan, 2], "y": 1}, {"a": math.nan, "at": [0, 1], "y": math.nan}, {"a": math.inf}]
    bad: list[BadLine] = []
    lines = "\n".join(map(json.dumps, values))
    found = all_of(lines, "jsonl", target="y", skip_bad=bad.append)
    first, second = {"a": 1.5, "at.1": 2}, {"at.0": 0, "at.1": 1}
    assert found == all_of(lines.replace("NaN", "null"), "jsonl", target="y", skip_bad=bad.append)
    assert found == [(1, first, 1), (2, second, None)]
    assert [str(each) for each in bad] == 2 * ["line 3: expected a finite number, got Infinity"]


def test_objects_have_values_of_one_kind_by_name():
    text = '{"a": 1, "b": "x"}\n{"a": "2", "b": 3}\n'
    for chunk in (1, 1000):
        first = '{"a": 0, "b": "y"}\n' if chunk > 1 else ""
        with pytest.raises(BadLine, match=r"a: expected a number, like its first values, got '2' \(--strings a"):
            all_of(first + text, "jsonl", chunk=chunk)
        with pytest.raises(BadLine, match=r"b: expected a string, like its first values, got 3"):
            all_of(first + text, "jsonl", numbers={"a"}, chunk=chunk)
    rows = [x for _, x, _ in all_of(text, "jsonl", numbers={"a"}, strings={"b"})]
    assert rows == [{"a": 1, "b": "x"}, {"a": 2.0, "b": "3"}]
    with pytest.raises(BadLine, match="line 1: a: expected a string"):
        all_of(text, "jsonl", known={"a": True})
    # a bad line decides nothing
    bad: list[BadLine] = []
    kept = all_of('{"a": "x", "b": 1e400}\n{"a": 1}\n', "jsonl", skip_bad=bad.append)
    assert (kept, [each.line for each in bad]) == ([(2, {"a": 1}, None)], [1])


# ---- Vowpal Wabbit ---------------------------------------------------------------------------------------------------


def chunk_of(text: str, **options: Any) -> Chunk:
    [chunk] = chunks_of(text, "vw", **options)
    return chunk


@pytest.mark.parametrize(
    ("line", "label", "importance", "tag", "features"),
    [
        ("1 |a x y:2.5", 1, 1.0, None, {"a^x": 1.0, "a^y": 2.5}),
        ("-1 2.5 'first|a:2.0 x:1.5 y |b x |a x", -1, 2.5, "first", {"a^x": 4.0, "a^y": 2.0, "b^x": 1.0}),
        ("0.5 1 0 tag|a x", 0.5, 1.0, "tag", {"a^x": 1.0}),
        ("3 'tag |a x", 3, 1.0, "tag", {"a^x": 1.0}),
        ("| x:2 7:3  x", None, 1.0, None, {"x": 3.0, "7": 3.0}),
        ("1|a x", None, 1.0, "1", {"a^x": 1.0}),  # a tag, since it touches the |
        ("2 |a x:0 y:1e-3\tz|b c:red \r", 2, 1.0, None, {"a^x": 0.0, "a^y": 1e-3, "a^z": 1.0, "b^c": "red"}),
        ("1 0 | ", 1, 0.0, None, {}),
    ],
)
def test_examples_of_vowpal_wabbit(line, label, importance, tag, features):
    sample = example_of(line)
    assert (sample.target, sample.weight, sample.tag) == (label, importance, tag)
    text = line + "\n\n1 |a x\n"
    chunk = chunk_of(text)
    assert (chunk.targets, chunk.weights, chunk.tags, chunk.lines) == ([label, 1], [importance, 1], [tag, None], [1, 3])
    options: dict[str, Any] = {"words": {"a", "b", ""}, "strings": {"b^c"}}
    assert next(iter(samples_of(chunk_of(text, **options))))[1] == features
    ignored = {name: value for name, value in features.items() if not name.startswith("a^") and name != "x"}
    assert next(iter(samples_of(chunk_of(text, ignore={"a", "x"}, **options))))[1] == ignored


# Lines of Vowpal Wabbit's text, as many objects in JSON, and what to tell the user.
NAMES = {
    "vw": ["1 |user u1 |tags new |b color:red x:2", "0 |user u2 |tags red new red |b color:blue | word"],
    "jsonl": ['{"user": ["u1"], "tags": ["new"], "b": []}', '{"user": ["u2"], "tags": ["red", "new", "red"]}'],
}


def features_in(text: str, form: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Features of samples, and what is told."""
    chunks = list(chunks_of(text, form, **options))
    told = "".join(note.partition("\n")[0] for chunk in chunks for note in chunk.notes)
    return [x for chunk in chunks for _, x, _ in samples_of(chunk)], told


def test_namespaces_and_lists_with_one_name_are_categories():
    found, told = features_in("\n".join(NAMES["vw"]), "vw")
    assert found[0] == {"user": "u1", "tags^new": 1.0, "b^color": "red", "b^x": 2.0}
    assert found[1] == {"user": "u2", "tags^red": 2.0, "tags^new": 1.0, "b^color": "blue", "b^x": 0.0, "word": 1.0}
    assert told == "categories: user, b^color; words: tags, those without a namespace"
    found, told = features_in("\n".join(NAMES["jsonl"]), "jsonl")
    assert found == [{"user": "u1", "tags=new": 1.0}, {"user": "u2", "tags=red": 2.0, "tags=new": 1.0}]
    assert told == "categories: user, b; words: tags"


@pytest.mark.parametrize(("form", "mark"), [("vw", "^"), ("jsonl", "=")])
def test_options_and_known_names_decide_which_are_categories(form, mark):
    text = "\n".join(NAMES[form])
    words = [f"user{mark}u1", f"tags{mark}new", f"tags{mark}red"]
    for options in ({"words": {"user"}}, {"known": {f"user{mark}u7": False}}):
        found, told = features_in(text, form, **options)
        assert found[0][words[0]] == 1.0
        assert "user" not in found[0].keys() | {*told.replace(",", "").split()}
    # An asked category has one name, and of one that a model knows, others are words.
    found, told = features_in(text, form, known={"tags": True, "user": True})
    assert (found[0]["tags"], found[1]["tags"]) == ("new", "red")
    assert {name: value for name, value in found[1].items() if name in words} == dict.fromkeys(words[1:], 1.0)
    assert not {"tags", "user"} & {*told.replace(",", " ").split()}
    with pytest.raises(BadLine, match="line 2: tags: expected one name, got 'red' and 'new'"):
        features_in(text, form, strings={"tags"})
    bad: list[BadLine] = []
    found, _ = features_in(text, form, strings={"tags"}, skip_bad=bad.append)
    assert ([each.line for each in bad], found[0]["tags"], len(found)) == ([2], "new", 1)


def test_words_that_follow_one_another_are_words_together():
    """In each namespace that holds words, as by Vowpal Wabbit's `--ngram 3`: as many as it has."""
    lines = {"vw": "1 |user u1 |text a b a b |x c:2 d", "jsonl": '{"user": ["u1"], "text": ["a", "b", "a", "b"]}'}
    for form, mark in (("vw", "^"), ("jsonl", "=")):
        [found], _ = features_in(lines[form], form, words={"text"}, ngrams=3)
        grams = {"a": 2, "b": 2, "a b": 2, "b a": 1, "a b a": 1, "b a b": 1}
        text = {name: value for name, value in found.items() if name.startswith("text")}
        assert text == {f"text{mark}{name}": value for name, value in grams.items()}
        assert found["user"] == "u1"
    vowpalwabbit = pytest.importorskip("vowpalwabbit")
    theirs = vowpalwabbit.Workspace("--quiet --noconstant --ngram 3").parse("1 |text a b a b")
    assert theirs.num_features_in("t") == sum(grams.values())


def test_texts_are_split_into_words_in_every_format(tmp_path):
    rows = [{"n": 1.0, "text": "Don't STOP, don't!"}, {"n": 2.0, "text": None}, {"n": 3.0, "text": "été 2024"}]
    first = {"don": 2.0, "'": 2.0, "t": 2.0, "stop": 1.0, ",": 1.0, "!": 1.0}
    expected = [{"n": 1.0} | {f"text={word}": count for word, count in first.items()}, {"n": 2.0}]
    expected += [{"n": 3.0, "text=été": 1.0, "text=2024": 1.0}]
    frame, of_json = pd.DataFrame(rows), "\n".join(map(json.dumps, rows))
    data = {"csv": frame.to_csv(index=False).encode(), "jsonl": of_json.encode()}
    if importlib.util.find_spec("pyarrow"):
        data["parquet"] = frame.to_parquet()
    for form, text in data.items():
        for options in ({"words": {"text"}}, {"known": {"n": False, "text=word": False}}):
            assert [x for _, x, _ in all_of(text, form, **options)] == expected
        ignored = all_of(text, form, known={"n": False, "text=word": False}, ignore={"text"})
        assert [x for _, x, _ in ignored] == [{"n": 1.0}, {"n": 2.0}, {"n": 3.0}]
        [(_, x, _), *_] = all_of(text, form, words={"text"}, ngrams=2)
        assert x["text=don '"] == 2.0


def test_a_model_knows_its_ngrams(tmp_path, capsys):
    lines = [f"{i % 2} |text {'not' if i % 2 else 'so'} good t{i % 3}\n" for i in range(40)]
    predictions("vw", "".join(lines), tmp_path, "--ngrams", "2", "--save", str(tmp_path / "m"))
    assert "text^not good" in GLNClassifier.load(tmp_path / "m").known_names
    predictions("vw", "1 |text so good\n", tmp_path, "--load", str(tmp_path / "m"), "--save", str(tmp_path / "n"))
    assert "text^so good" in GLNClassifier.load(tmp_path / "n").known_names
    assert GLNClassifier.load(tmp_path / "n").extra["ngrams"] == 2
    assert main([str(tmp_path / "s.vw"), "--load", str(tmp_path / "m"), "--ngrams", "3"]) == 2
    assert "--ngrams: expected 2, as in" in capsys.readouterr().err


def test_numbers_that_are_printed_in_one_form_are_numbers():
    rows = ["speed\tprice\tshare\tsame\tpair\tmixed\ty", "1 GHz\t$5\t1%\t1 kg\t1.5 x 2\t1 m\t1 m"]
    rows += ["3.5 GHz\t$1,009.25\t-2%\t1 kg\t2.5 x 3\t2 km\t2 m", "NA\t\t3%\t1 kg\t\t\t1 m"]
    rows += ["2 GHz\t7\t1%\t2 kg\t\t3 m\t1 m", "2 MHz\t$7\t1%\t1 kg\t\t3 m\t1 m"]
    text = "\n".join(rows)
    expected = [
        (2, {"speed": 1.0, "price": 5.0, "share": 1.0, "same": "1 kg", "pair": "1.5 x 2", "mixed": "1 m"}, "1 m"),
        (3, {"speed": 3.5, "price": 1009.25, "share": -2.0, "same": "1 kg", "pair": "2.5 x 3", "mixed": "2 km"}, "2 m"),
        (4, {"share": 3.0, "same": "1 kg"}, "1 m"),
    ]
    bad: list[BadLine] = []
    chunks = [*chunks_of(text, "tsv", bad.append, chunk=3, target="y", forms={})]
    assert [*samples_of(chunks[0])] == expected
    assert [line.line for line in bad] == [5, 6]
    assert (
        bad[0].message == "price: expected a number like '$1,234.5', got '7' (--strings price reads the column as text)"
    )
    assert "speed: numbers like '1,234.5 GHz'\n    (--strings speed reads the column as text)" in chunks[0].notes
    # An option, a form that is known, and a reader that keeps no forms
    assert all_of(text, "tsv", target="y", forms={}, strings={"speed", "price"})[3][1]["speed"] == "2 GHz"
    assert all_of("speed\ty\n2 GHz\t1", "tsv", target="y", forms={"speed": "1,234.5 GHz"}) == [(2, {"speed": 2.0}, 1)]
    assert all_of(text, "tsv", target="y")[0][1]["speed"] == "1 GHz"


def test_a_saved_model_keeps_the_forms_of_numbers(tmp_path):
    head, tail = "speed,y\n", "2 GHz,a\n"
    lines = [f"{i % 7}.5 GHz,{'ab'[i % 7 > 3]}\n" for i in range(200)]
    whole = predictions("csv", head + "".join(lines) + tail, tmp_path)
    predictions("csv", head + "".join(lines), tmp_path, "--save", str(tmp_path / "m.gln"))
    alone = predictions("csv", head + tail, tmp_path, "--load", str(tmp_path / "m.gln"), "--predict-only")
    assert alone.splitlines()[1] == whole.splitlines()[-1]
    assert GLNClassifier.load(tmp_path / "m.gln").known_names == {"speed": False}


@pytest.mark.parametrize(("form", "mark"), [("vw", "^"), ("jsonl", "=")])
def test_the_first_chunk_with_a_namespace_decides_and_later_names_are_words(form, mark):
    found, told = features_in("\n".join(NAMES[form]), form, chunk=1)
    assert (found[0]["tags"], found[1]["tags"]) == ("new", "red")
    assert (found[1][f"tags{mark}new"], found[1][f"tags{mark}red"]) == (1.0, 1.0)
    assert told.startswith("categories: user, tags, b")
    assert told.endswith("words: those without a namespace" if form == "vw" else "b")
    # A model that knows the category b^color knows nothing of others in b.
    text = "1 |b x\n1 |b color:red y\n"
    assert features_in(text, "vw")[0] == features_in(text, "vw", known={"b^color": True})[0]


def test_a_run_tells_which_names_are_categories_and_a_loaded_model_keeps_to_them(tmp_path, capsys):
    lines = [f"{i % 2} |user u{i % 7} |tags t{i % 3} t{i % 5}\n" for i in range(40)]
    predictions("vw", "".join(lines), tmp_path, "--save", str(tmp_path / "m.gln"))
    assert (
        "gln-stream: categories: user; words: tags\n    (--words and --strings name others)" in capsys.readouterr().err
    )
    predictions(
        "vw", "1 |user u1 u2 |tags t1\n", tmp_path, "--load", str(tmp_path / "m.gln"), "--save", str(tmp_path / "n.gln")
    )
    assert "categories" not in capsys.readouterr().err
    names = GLNClassifier.load(tmp_path / "n.gln").known_names
    assert (names["user"], names["user^u2"], names["tags^t1"]) == (True, False, False)
    (tmp_path / "s.vw").write_text("1 |user u1 u2\n")
    assert main([str(tmp_path / "s.vw"), "--strings", "user"]) == 2
    assert "line 1: user: expected one name, got 'u1' and 'u2'" in capsys.readouterr().err
    assert main([str(tmp_path / "s.vw"), "--words", "user", "--save", str(tmp_path / "w.gln")]) == 0
    assert GLNClassifier.load(tmp_path / "w.gln").known_names == {"user^u1": False, "user^u2": False}


def test_vowpal_wabbit_reads_the_same():
    """Against the hashes of its own parser."""
    vowpalwabbit = pytest.importorskip("vowpalwabbit")
    workspace = vowpalwabbit.Workspace("--quiet --noconstant")

    def hashed(name: str) -> int:
        space, _, feature = name.rpartition("^")
        return workspace.hash_feature(feature, workspace.hash_space(space or " ")) % 2**18

    rng = np.random.default_rng(0)
    for _ in range(300):
        line = str(rng.choice(["1 ", "-0.5 2.0 ", "3 0.5 'tag", "1 1 0 tag", "1", "", " "]))
        for _ in range(rng.integers(1, 4)):
            values = rng.choice(["", ":0", ":1.5", ":-2e-3"], size=5)
            features = [f"{name}{value}" for name, value in zip(rng.choice([*"xyz", "7"], size=5), values, strict=True)]
            line += f"|{rng.choice(['', 'a', 'a:2.0', 'b:-.5'])} {rng.choice([' ', '  ', chr(9)]).join(features)} "
        example, theirs = example_of(line), workspace.parse(line)
        summed: dict[int, float] = {}
        for key, value in theirs.iter_features():
            summed[key] = summed.get(key, 0.0) + value
        ours = {hashed(name): value for name, value in example.values.items() if value}  # theirs have no zeros
        for space, names in example.names.items():
            for name in names:
                key = hashed(f"{space}^{name}" if space else name)
                ours[key] = ours.get(key, 0.0) + 1
        assert ours == pytest.approx(summed, rel=1e-6, abs=1e-9), line
        label = theirs.get_simplelabel_label()
        assert example.target == (None if label > 1e38 else label), line
        assert (example.weight, example.tag or "") == (
            theirs.get_simplelabel_weight(),
            theirs.get_tag(),
        ), line


# ---- The same samples in several formats -----------------------------------------------------------------------------


def predictions(form: str, text: str, folder: Path, *options: str) -> str:
    """What the command predicts of a file."""
    target = ["--target", "y"] if form in ("csv", "jsonl") else []
    (folder / f"s.{form}").write_text(text)
    assert main([str(folder / f"s.{form}"), *target, *options, "--predictions", str(folder / "p.csv")]) == 0
    return re.sub("(?m)^[^,]*,", "", (folder / "p.csv").read_text()) if form == "vw" else (folder / "p.csv").read_text()


def test_a_value_that_is_written_is_a_value_and_an_absent_number_is_zero():
    """Whichever sample has it first, and however few have it."""
    text = "\n".join(["1 | a:0", "1 | a:0 b:2", *["1 |"] * 40])
    expected = [{"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 2.0}, *40 * [{"a": 0.0, "b": 0.0}]]
    assert [x for _, x, _ in all_of(text, "vw")] == expected
    assert [x for _, x, _ in all_of(text, "vw", chunk=1)] == [{"a": 0.0}, *expected[1:]]  # as from a pipe


def test_of_very_many_names_with_values_those_of_the_largest_namespace_are_words(monkeypatch):
    monkeypatch.setattr("gln.apps.stream.formats.namespaces.MOST_FEATURES", 5)
    lines = [f"1 |text {i}:1 {i + 1}:0.5 |n age:3" for i in range(1, 11)]
    expected = [{f"text^{i}": 1.0, f"text^{i + 1}": 0.5, "n^age": 3.0} for i in range(1, 11)]
    for order in (1, -1):  # which line comes first decides nothing
        found, told = features_in("\n".join(lines[::order]), "vw")
        assert found == expected[::order]
        assert told == "words, since more than 5 names have values: text"
    found, told = features_in("\n".join([*lines, *lines]), "vw", chunk=10)
    assert (len(found), told.count("words")) == (20, 1)
    # those that come later, too; and --words says it first
    found, told = features_in("\n".join(lines), "vw", chunk=3)
    assert (len(found[2]), len(found[9]), told.count("words")) == (5, 3, 1)
    assert features_in("\n".join(lines[:3]), "vw", words={"text"}) == (expected[:3], "")


def named_samples(count: int, seed: int, has_tags: bool) -> tuple[list[dict[str, Any]], list[int]]:
    """Numbers, of which some are 0, categories of few and many levels, of which one is late, and lists of words."""
    rng, samples = np.random.default_rng(seed), []
    for i in range(count):
        x: dict[str, Any] = {"a": round(float(rng.normal()), 3), "b": float(rng.integers(-2, 3)) if i else 1.0}
        x |= {"user": f"u{rng.integers(1 + i // 3)}", "colour": ["red", "green", "7"][rng.integers(3)]}
        x = {name: value for name, value in x.items() if rng.random() < 0.9 or name in ("a", "b")}
        if i > 140 and rng.random() < 0.8:
            x["late"] = f"l{rng.integers(4)}"
        if has_tags:
            x["tags"] = [f"t{n}" for n in rng.integers(0, 30, rng.integers(0, 4)) ** 2 // 30]
        samples.append(x)
    levels = [hash_of(x.get("user", "")) + hash_of(x.get("colour", "")) for x in samples]
    return samples, [int(x["a"] + level % 3 > 1) for x, level in zip(samples, levels, strict=True)]


def hash_of(text: str) -> int:
    return sum(text.encode())


def named_text(form: str, samples: list[dict[str, Any]], labels: list[int]) -> str:
    if form == "csv":
        names = ["late", "user", "b", "a", "colour"]
        rows = [[str(x.get(name, "")) for name in names] for x in samples]
        return csv_text([[*names, "y"], *([*row, str(y)] for row, y in zip(rows, labels, strict=True))])
    if form == "jsonl":
        return "".join(json.dumps(x | {"y": y}) + "\n" for x, y in zip(samples, labels, strict=True))
    lines = []
    for x, y in zip(samples, labels, strict=True):
        numbers = " ".join(f"{name}:{x[name]}" for name in ("b", "a"))
        categories = "".join(f"|{name} {x[name]} " for name in ("colour", "late", "user") if name in x)
        lines.append(f"{2 * y - 1} | {numbers} {categories}|tags {' '.join(x.get('tags', ()))}\n")
    return "".join(lines)


def saved_arrays(form: str, text: str, folder: Path, *options: str) -> tuple[dict[str, np.ndarray], str]:
    """What the command learned of a file, and what it predicted."""
    predicted = predictions(form, text, folder, *options, "--save", str(folder / f"{form}.gln"))
    return read_file(folder / f"{form}.gln")[1], predicted.replace("\n-1,", "\n0,")


@pytest.mark.slow
@pytest.mark.parametrize("has_tags", [False, True])
def test_all_formats_give_the_same_model_of_names(has_tags, tmp_path):
    samples, labels = named_samples(1150, 31, has_tags)
    arrays, predicted = saved_arrays("vw", named_text("vw", samples, labels), tmp_path)
    model = GLNClassifier.load(tmp_path / "vw.gln")
    assert {name for name, is_text in model.known_names.items() if is_text} == {"user", "colour", "late"}
    assert model._stream.schema.indices.keys() >= {"user", "colour", "late"}
    assert {"tags^t1", "tags^t28"} <= model.known_names.keys() or not has_tags
    for form in ("jsonl",) if has_tags else ("csv", "jsonl"):
        found, of_form = saved_arrays(form, named_text(form, samples, labels), tmp_path)
        assert of_form == predicted
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


# ---- Damaged lines ---------------------------------------------------------------------------------------------------

Damage = Callable[[str, Any], bytes]


def _cut(line: str, rng: Any) -> bytes:
    return line[: int(rng.integers(1, len(line) - 1))].encode()


def _latin(line: str, rng: Any) -> bytes:
    place = int(rng.integers(len(line)))
    return line[:place].encode() + b"\xff" + line[place:].encode()


def _csv_line(rng: Any) -> str:
    text = rng.choice(["plain", '"with, comma"', '"with ""quotes"""', '"two\nlines"', ""])
    return f"{rng.normal():.4f},{text},{rng.choice(['', '7'])},{rng.integers(2)}"


def _json_line(rng: Any) -> str:
    return json.dumps({"a": round(rng.normal(), 4), "text": str(rng.choice(["x", "y"])), "b": {"c": 1}, "y": "no"})


def _vw_line(rng: Any) -> str:
    return f"{rng.choice(['1', '-1'])} 2.0 'tag|a x:{rng.normal():.4f} y |b:0.5 z:{rng.normal():.4f}"


def _replaced(old: str, new: str) -> Damage:
    def damaged(line: str, rng: Any) -> bytes:
        found = re.sub(old, lambda match: new, line, count=1, flags=re.DOTALL)
        assert found != line
        return found.encode()

    return damaged


FIRST = r"^[^,]*"
DAMAGES: dict[str, tuple[Callable[[Any], str], dict[str, Any], list[Damage]]] = {
    "csv": (
        _csv_line,
        {"target": "y", "numbers": {"a", "b", "y"}},
        [
            *(
                _replaced(FIRST, new)
                for new in ("x", "inf", "1e39", "-1e400", "1_0", "0x1F", "1.2.3", '"1"2', '"', "1,2")
            ),
            _replaced(r",[^,]*$", ""),
            _replaced(r"$", ","),
            _replaced(r"$", "?x"),
            _replaced(r"^", '"'),
            _replaced(r".*", "one field"),
            _replaced(r".*", "1,\r2,3,4"),
            lambda line, rng: _latin(line.replace("\n", " "), rng),
        ],
    ),
    "jsonl": (
        _json_line,
        {"target": "y"},
        [
            _cut,
            _latin,
            *(
                _replaced(r"-?\d+\.\d+", new)
                for new in ("Infinity", "-Infinity", "1e39", "1e400", "'1'", "01", "[[1]]", '"1"')
            ),
            _replaced(r'"y":', '"a":'),
            _replaced(r'"no"', '["no"]'),
            _replaced(r'"[xy]"', "5"),
            _replaced(r'"[xy]"', '"\\ud800"'),
            *(_replaced(r".*", new) for new in ("[]", '"text"', "17", "null", "a,b", "{'a': 1}")),
            _replaced(r"$", "}"),
        ],
    ),
    "vw": (
        _vw_line,
        {},
        [
            _latin,
            _replaced(r"\|.*", ""),
            *(_replaced(r"^\S+", new) for new in ("one", "1:0.5", "nan", "1e39", "1,2", "1 2 3 4")),
            *(_replaced(r" 2.0", new) for new in (" -1", " 1000001", " x", " 1 0.5", "\t2.0")),
            *(_replaced(r"x:\S+", new) for new in ("x:nan", "x:inf", "x:1e39", "x:", ":1", "x:1:2")),
            *(_replaced(r"b:0.5", new) for new in ("b:x", "b:", "b:inf")),
            _replaced(r".*", "1 |a x:3e38 x:3e38"),
        ],
    ),
}
DAMAGES["tsv"] = DAMAGES["csv"]


def written(form: str, line: str | bytes) -> bytes:
    """A line of CSV as one of TSV."""
    line = line if isinstance(line, bytes) else line.encode()
    return line.replace(b", ", b"; ").replace(b",", b"\t").replace(b"; ", b", ") if form == "tsv" else line


def laid_out(parts: list[bytes]) -> tuple[bytes, list[int]]:
    """A file of these parts, and the line where each begins."""
    return b"\n".join(parts), np.cumsum([1, *(part.count(b"\n") + 1 for part in parts[:-1])]).tolist()


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=() if form in ("csv", "vw") else pytest.mark.slow) for form in FORMS]
)
def test_damaged_lines_are_found_and_nothing_else_is_lost(form):
    make, options, damages = DAMAGES[form]
    rng = np.random.default_rng(0)
    header = [written(form, "a,text,b,y")] if form in ("csv", "tsv") else []
    good = [written(form, make(rng)) for _ in range(1800)]
    broken = [written(form, damages[i % len(damages)](make(rng).replace("\n", " "), rng)) for i in range(200)]
    expected = [(x, target) for _, x, target in all_of(b"\n".join([*header, *good]), form, **options)]
    assert len(expected) == 1800
    for line in broken:  # one in a file
        text, starts = laid_out([*header, *good[:3], line, good[3]])
        chunks = chunks_of(text, form, **options)
        before: list[Any] = []
        with pytest.raises(BadLine, match=f"^line {starts[-2]}: .*expected .*") as raised:
            before.extend(samples_of(chunk) for chunk in chunks)
        assert raised.value.line == starts[-2]
        assert [(x, target) for samples in before for _, x, target in samples] == expected[:3]
    # all in one file
    are_good = [True, *rng.permutation([True] * 1799 + [False] * 199).tolist(), False]
    of_good, of_broken = iter(good), iter(broken)
    text, starts = laid_out([*header, *(next(of_good) if is_good else next(of_broken) for is_good in are_good)])
    starts = starts[len(header) :]
    for most in (1000, 17):
        bad: list[BadLine] = []
        found = all_of(text, form, skip_bad=bad.append, chunk=most, **options)
        assert [each.line for each in bad] == [start for start, each in zip(starts, are_good, strict=True) if not each]
        assert [line for line, _, _ in found] == [start for start, each in zip(starts, are_good, strict=True) if each]
        assert [(x, target) for _, x, target in found] == expected


def test_a_missing_quote_costs_one_line():
    rows = "".join(f"{i},text {i},1\n" for i in range(20000))  # more than a quoted field may have
    for text, place in ((f'a,b,y\n7,"open,0\n{rows}', 2), (f'a,b,y\n{rows}7,"open,0\n', 20002)):
        bad: list[BadLine] = []
        assert len(all_of(text, "csv", target="y", skip_bad=bad.append)) == 20000
        assert [str(each) for each in bad] == [
            f"line {place}: expected the end of the quoted field that begins here, got none"
        ]
    # a row with a field too many is one bad line
    bad = []
    found = all_of('a,b\n1,"x\ny",3\n4,z\n', "csv", skip_bad=bad.append)
    assert (found, [each.line for each in bad]) == ([(4, {"a": 4.0, "b": "z"}, None)], [2])


class Bomb(io.BytesIO):
    """Bytes, in which the first "?" stands for very many of a unit."""

    def __init__(self, text: bytes, unit: bytes = b"", size: int = 1 << 30) -> None:
        before, _, self.after = text.partition(b"?")
        super().__init__(before)
        self.unit, self.left = unit, size

    def read1(self, size: int | None = -1) -> bytes:
        if found := super().read1(size):
            return found
        if self.left > 0:
            block = self.unit * (BLOCK // len(self.unit))
            self.left -= len(block)
            return block
        found, self.after = self.after, b""
        return found


BOMBS = {  # format, text, unit, the line that is too long
    "csv": ("csv", b"a,y\n1,0\n?\n2,1\n", b"0", 3),
    "header": ("csv", b"?", b"a,", 1),
    "a quoted record": ("csv", b'a,y\n1,0\n"?"\n', b'x","\n', 3),
    "jsonl": ("jsonl", b'{"a": 1, "y": 0}\n{"a": [?]}\n{"a": 2, "y": 1}\n', b"0,", 2),
    "vw": ("vw", b"0 | a:1\n1 | ?\n1 | a:2\n", b"a:1 ", 2),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_line_that_is_too_long_is_bad_before_it_is_collected(name):
    form, text, unit, line = BOMBS[name]
    bomb = Bomb(text, unit)
    with pytest.raises(BadLine, match=rf"line {line}: expected at most {LONGEST:,} bytes, got more"):
        list(read_chunks(bomb, form, Wanted()))
    assert (1 << 30) - bomb.left < 3 * LONGEST
    if name in ("csv", "jsonl", "vw"):
        bad: list[int] = []
        found = []
        for chunk in read_chunks(Bomb(text, unit, 3 * LONGEST), form, Wanted(), skip_bad=True):
            bad += [each.line for each in chunk.bad]
            found += [x["a"] for _, x, _ in samples_of(chunk)]
        assert (found, bad) == ([1, 2], [line])


def test_lines_that_are_read_together_are_not_too_many_bytes():
    for form, line in (
        ("csv", "1," + "0" * 60_000),
        ("csv", '1,"' + "0" * 60_000 + '"'),
        ("jsonl", '{"a": "%s"}' % ("0" * 60_000)),
    ):
        chunks = chunks_of("a,b\n" * (form == "csv") + f"{line}\n" * 400, form, chunk=4000)
        sizes = [len(chunk.lines) for chunk in chunks]
        assert sum(sizes) == 400
        assert max(sizes) * 60_000 < 2.2 * LONGEST


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_truncated_file_is_read_to_its_last_whole_line(form, tmp_path):
    rng = np.random.default_rng(0)
    make, options, _ = DAMAGES[form]
    header = "a,text,b,y\n" if form == "csv" else ""
    text = header + "".join(make(rng).replace("\n", " ") + "\n" for _ in range(3000))
    whole, expected = gzip.compress(text.encode()), all_of(text, form, **options)
    for data in (whole[: len(whole) // 2], whole[:-6], whole[:-8] + b"wrong" + whole[-3:], b"no gzip"):
        (tmp_path / "a.gz").write_bytes(data)
        with opened(str(tmp_path / "a.gz")) as file:
            chunks = read_chunks(file, form, Wanted(**options), skip_bad=data != b"no gzip")
            if data == b"no gzip":
                with pytest.raises(
                    BadLine, match="line 1: the compressed file is damaged or incomplete: Not a gzipped"
                ):
                    next(chunks)
                continue
            parts = list(chunks)
        found, bad = (
            [sample for part in parts for sample in samples_of(part)],
            [each for part in parts for each in part.bad],
        )
        assert found == expected[: len(found)]
        assert len(found) == 3000 if len(data) > len(whole) / 2 else 500 < len(found) < 2500
        assert [each.line for each in bad] == [found[-1][0] + 1]
        assert "the compressed file is damaged or incomplete" in str(bad[0])


# ---- Pipes -----------------------------------------------------------------------------------------------------------


TOLD: dict[str, dict[str, Any]] = {  # what the names in each format are
    "jsonl": {"known": {"a": False, "text": True, "b.c": False, "y": True}},
    "vw": {"words": {"a"}},
    "csv": {"strings": {"text"}},
    "tsv": {"strings": {"text"}},
}


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot tell whether a pipe has more")
@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("form", [*FORMS])
def test_chunks_of_a_pipe_wait_for_nothing_but_the_first_if_it_decides(form, is_told, monkeypatch):
    monkeypatch.setattr("gln.apps.stream.formats.reader.DECIDING", 20)
    rng = np.random.default_rng(0)
    make, options, _ = DAMAGES[form]
    options = {**options, **(TOLD[form] if is_told else {})}
    header = [written(form, "a,text,b,y")] if form in ("csv", "tsv") else []
    good = [written(form, make(rng).replace("\n", " ")) + b"\n" for _ in range(60)]
    out, into = os.pipe()
    with open(out, "rb") as source, open(into, "wb", buffering=0) as sink:
        chunks = read_chunks(source, form, Wanted(**options), chunk=20)
        sink.write(b"".join([*(line + b"\n" for line in header), good[0]]))
        if not is_told:
            sink.write(b"".join(good[1:19]))
            writer = threading.Timer(0.2, sink.write, [good[19]])
            writer.start()
            assert len(next(chunks).lines) == 20
            writer.join()
            sink.write(good[0])
        counts = [len(next(chunks).lines)]  # would hang if it waited for another line
        sink.write(good[1] + b"\n" + good[2][:5])  # with a blank line, and a part of one
        counts.append(len(next(chunks).lines))
        sink.write(good[2][5:])
        counts.append(len(next(chunks).lines))
        sink.write(b"".join(good[3:]))
        sink.close()
        counts += [len(chunk.lines) for chunk in chunks]
    assert counts == [1, 1, 1, 20, 20, 17]
