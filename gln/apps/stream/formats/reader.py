"""Samples of a file or a pipe, in chunks: CSV, TSV, JSON lines, Vowpal Wabbit's text, Parquet and Arrow."""

from __future__ import annotations

import bisect
import gzip
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from gln.apps.stream.formats.chunks import CHUNK, DECIDING, TYPED, Chunk, Wanted
from gln.apps.stream.formats.csv import CsvParser
from gln.apps.stream.formats.jsonl import JsonParser
from gln.apps.stream.formats.lines import BadLine, Lines, Record, text_of
from gln.apps.stream.formats.vw import VwParser

# `records` gives what stands in the next lines, with their numbers, `BadLine`s, and None for blank ones; `chunk` makes
# samples of records.
Parser: TypeAlias = CsvParser | JsonParser | VwParser
FORMS: dict[str, Callable[[Lines, Wanted], Parser]] = {
    "csv": lambda lines, wanted: CsvParser(lines, wanted, ","),
    "tsv": lambda lines, wanted: CsvParser(lines, wanted, "\t"),
    "jsonl": JsonParser,
    "vw": VwParser,
}
LABELLED = ("vw",)  # those that mark the target themselves
# The options that name nothing in a format, and what it has instead of them.
NAMELESS = {"vw": dict.fromkeys(("target", "numbers"), "labels and marks numbers") | {"weight": "importance weights"}}
LISTED = ", ".join([*FORMS, *TYPED])
ENDINGS = {"tab": "tsv", "json": "jsonl", "ndjson": "jsonl"}
ENDINGS |= {"pq": "parquet", "feather": "arrow", "ipc": "arrow", "arrows": "arrow"}
SIGNS = {"{": "jsonl", "|": "vw", "\t": "tsv", ",": "csv"}  # of a format, in its first line
BEGINNINGS = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow"}  # of a file


def file_format(name: str) -> str:
    """The format of a file, from its name; "auto" for "-", where the first line decides."""
    unpacked = name.removesuffix(".gz").removesuffix(".zst")
    ending = Path(unpacked).suffix.lower().removeprefix(".")
    form = ENDINGS.get(ending, ending)
    if name != "-" and form not in [*FORMS, *TYPED]:
        known = ", ".join(f".{ending}" for ending in [*FORMS, *TYPED, *ENDINGS])
        raise ValueError(f"format: expected one of {LISTED}, or a file that ends in {known}, got {name!r}")
    if form in TYPED and unpacked != name:
        raise ValueError(f"format: expected {form} without .gz or .zst, as its columns are compressed, got {name!r}")
    return "auto" if name == "-" else form


def opened(name: str) -> BinaryIO:
    """A file, unpacked if its name ends in .gz or .zst; "-" is standard input."""
    if name == "-":
        return sys.stdin.buffer
    if name.endswith(".zst"):
        from gln.apps.stream.formats.zstd import ZstdFile  # optional

        return cast(BinaryIO, ZstdFile(name))
    return cast(BinaryIO, gzip.open(name, "rb")) if name.endswith(".gz") else open(name, "rb")


def read_chunks(
    source: BinaryIO, form: str, wanted: Wanted, skip_bad: bool = False, chunk: int = CHUNK, decides: bool = False
) -> Iterator[Chunk]:
    """Samples of a file, a pipe or bytes in memory, in chunks, each of what can be read without waiting.

    The first chunk has the first DECIDING samples, however long they take to come, unless `wanted` says what all names
    in the first one are, and `decides` is false: whether the first chunk decides what the target is.

    `form` is a key of `FORMS`, one of `TYPED`, or "auto": by the first line. Without `skip_bad`, the first bad line is
    raised, after the samples before it. `chunk` is the largest number of samples in one, after the first.
    """
    if form not in [*FORMS, *TYPED, "auto"]:
        raise ValueError(f"format: expected one of {LISTED}, got {form!r}")
    _check_names(wanted)
    lines = Lines(source)
    form = _by_first_line(lines) if form == "auto" else form
    nameless = NAMELESS.get(form, {})
    for option, name in wanted.named():
        if option in nameless:
            raise ValueError(f"{option}: expected none, as {form} has {nameless[option]}, got {name!r}")
    if form in TYPED:
        from gln.apps.stream.formats.arrow import TypedColumns  # optional

        chunks = TypedColumns(source, form, wanted).chunks(chunk, decides)
    else:
        chunks = _line_chunks(lines, FORMS[form](lines, wanted), chunk, decides)
    for samples in chunks:
        first_bad = samples.bad[0] if samples.bad and not skip_bad else None
        if first_bad is not None:
            samples = samples.part(slice(bisect.bisect(samples.lines, first_bad.line)))
        if samples.lines or samples.bad:
            yield samples._replace(form=form)
        if first_bad is not None:
            raise first_bad.advised()


def _check_names(wanted: Wanted) -> None:
    """Raise ValueError for a name in two options that exclude one another."""
    for first, second in itertools.combinations(("strings", "numbers", "words"), 2):
        both = getattr(wanted, first) & getattr(wanted, second)
        if both:
            raise ValueError(f"{first}, {second}: expected different names, got {min(both)!r} in both")
    for option in ("words", "ignore"):
        if wanted.target in getattr(wanted, option):
            raise ValueError(f"{option}: expected other names than the target's, got {wanted.target!r}")
    if wanted.weight in {wanted.target, *wanted.strings, *wanted.words, *wanted.ignore} - {None}:
        raise ValueError(f"weight: expected a name that no other option has, got {wanted.weight!r}")


def _line_chunks(lines: Lines, parser: Parser, most: int, decides: bool) -> Iterator[Chunk]:
    def waits(first: Record | BadLine) -> bool:
        return decides or isinstance(first, BadLine) or not parser.knows(first)

    batch: list[Record | BadLine] = lines.gathered(parser.records(), DECIDING, waits)
    while batch:
        yield _chunk_of(parser, batch)
        while isinstance(parser, CsvParser) and (plain := parser.plain(most)) is not None:
            yield plain
        batch = lines.gathered(parser.records(), most)


def _chunk_of(parser: Parser, batch: Sequence[Record | BadLine]) -> Chunk:
    chunk = parser.chunk([record for record in batch if not isinstance(record, BadLine)])
    bad = [*chunk.bad, *(record for record in batch if isinstance(record, BadLine))]
    return chunk._replace(bad=sorted(bad, key=lambda bad_line: bad_line.line))


def _by_first_line(lines: Lines) -> str:
    line = next(lines, b"")
    if not lines.number:
        raise BadLine(1, "expected samples, got nothing")
    for beginning, form in BEGINNINGS.items():
        if line.startswith(beginning):
            raise ValueError(f"format: expected text, got what begins like {form} (--format {form} reads it)")
    text = text_of(1, line)
    lines.again([line])
    for sign, form in SIGNS.items():
        if sign in text:
            return form
    raise ValueError(f"format: expected one of {LISTED}, because the first line does not show it")
