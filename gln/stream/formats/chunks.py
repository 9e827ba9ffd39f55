"""Samples that are read together, and the names to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gln.engine.streaming.values import NamedRows, named_rows
from gln.stream.formats.lines import BadLine, Lines, Record

TYPED = ("parquet", "arrow")  # the formats without lines, whose columns have types


def unit_of(form: str) -> str:
    """What is counted in a format."""
    return "row" if form in TYPED else "line"


class Chunk(NamedTuple):
    """Samples that follow one another in the input."""

    rows: NamedRows
    targets: list[Any]  # None: the sample is predicted and not learned
    weights: list[float] | None  # None: all are 1
    tags: list[str | None] | None  # VW's
    lines: list[int]  # where each sample begins, from 1; the number of its row if there are no lines
    form: str = ""  # the format, as `read` found it
    notes: tuple[str, ...] = ()  # what to tell the user of these samples

    def part(self, rows: slice) -> Chunk:
        """Some of the samples."""
        weights, tags = self.weights and self.weights[rows], self.tags and self.tags[rows]
        part = self.rows.of(slice(*rows.indices(len(self.lines))[:2]))
        return Chunk(part, self.targets[rows], weights, tags, self.lines[rows], self.form, self.notes)


NO_SAMPLES = Chunk(named_rows([]), [], None, None, [])


class Wanted(NamedTuple):
    """What the options and the model say about the names in the input."""

    target: str | None
    strings: frozenset[str]
    numbers: frozenset[str]
    words: frozenset[str]
    ignore: frozenset[str]
    known: Mapping[str, bool]  # the names that a model has already, and whether each is text
    ngrams: int = 1  # the most words that make one together

    def named(self) -> Iterator[tuple[str, str]]:
        """The options that name something, and what they name."""
        if self.target is not None:
            yield "target", self.target
        for option in ("strings", "numbers", "words", "ignore"):
            yield from ((option, name) for name in getattr(self, option))


class Parser:
    """A format of lines."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def records(self, most: int) -> list[Record | BadLine]:
        """What stands in the next lines, each with its number: what can be had without waiting, of at most so many
        samples; empty at the end."""
        return self._lines.take(most)

    def chunk(self, records: Sequence[Record]) -> tuple[Chunk, list[BadLine]]:
        """The samples of these records, and the bad ones."""
        raise NotImplementedError
