"""Samples that are read together, and the names to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence, Set
from typing import Any, NamedTuple, TypeAlias

from gln.apps.stream.formats.lines import BadLine
from gln.engine.streaming.values import NamedRows, named_rows

CHUNK = 4000  # samples that are read together: 1,000 take a fifth longer with --fast or --predict-only
DECIDING = 1000  # samples of the first chunk, whose values decide what names and the target are
Target: TypeAlias = Any  # a label, a number, or None if it is not known
TYPED = ("parquet", "arrow")  # the formats without lines, whose columns have types


def unit_of(form: str) -> str:
    """What is counted in a format."""
    return "row" if form in TYPED else "line"


class Chunk(NamedTuple):
    """Samples that follow one another in the input."""

    rows: NamedRows
    targets: list[Target]  # None: the sample is predicted and not learned
    weights: list[float]
    tags: list[str | None] | None  # VW's
    lines: list[int]  # where each sample begins, from 1; the number of its row if there are no lines
    form: str = ""  # the format that `read` recognised
    notes: tuple[str, ...] = ()  # what to tell the user of these samples
    bad: Sequence[BadLine] = ()  # the lines among these that cannot be read

    def parts(self, most: int) -> Iterator[Chunk]:
        """Parts of at most so many samples, each with the bad lines before the next one."""
        starts = range(0, max(len(self.lines), 1), most)
        ends = [*(self.lines[start] for start in starts[1:]), sys.maxsize]
        for start, end, last in zip(starts, ends, [0, *ends], strict=False):
            bad = [bad_line for bad_line in self.bad if last < bad_line.line < end]
            yield self.part(slice(start, start + most))._replace(bad=bad)

    def part(self, rows: slice) -> Chunk:
        """Some of the samples, without bad lines."""
        tags = self.tags and self.tags[rows]
        part = self.rows.of(slice(*rows.indices(len(self.lines))[:2]))
        return Chunk(part, self.targets[rows], self.weights[rows], tags, self.lines[rows], self.form, self.notes)


NO_SAMPLES = Chunk(named_rows([]), [], [], None, [])


class Wanted(NamedTuple):
    """What the options and the model say about the names in the input: columns, keys, and VW's namespaces."""

    target: str | None = None  # the name of what to predict; None if the format marks it (VW's text), or there is none
    strings: Set[str] = frozenset()  # that are text; of namespaces and lists, that hold one name in each sample
    numbers: Set[str] = frozenset()  # that are numbers
    words: Set[str] = frozenset()  # namespaces and lists whose names are words, even if no sample has several
    ignore: Set[str] = frozenset()  # that are left out
    weight: str | None = None  # the name of the samples' weights, which are no feature
    known: Mapping[str, bool] = {}  # the names that a model has already, and whether each is text
    forms: MutableMapping[str, str] | None = (
        None  # of columns of CSV: how their numbers are printed; None: they are text
    )
    ngrams: int = 1  # the most words that follow one another and are also one word

    def named(self) -> Iterator[tuple[str, str]]:
        """The options that name something, and what they name."""
        for option, name in (("target", self.target), ("weight", self.weight)):
            if name is not None:
                yield option, name
        for option in ("strings", "numbers", "words", "ignore"):
            yield from ((option, name) for name in getattr(self, option))
