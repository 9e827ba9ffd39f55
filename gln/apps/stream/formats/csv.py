"""CSV and TSV with a header."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from gln.apps.stream.formats.chunks import NO_SAMPLES, Chunk, Target, Wanted
from gln.apps.stream.formats.column_types import Column, ColumnTypes, labels_of, weights_of
from gln.apps.stream.formats.lines import LONGEST, TOO_LONG, BadLine, Lines, Record, text_of
from gln.apps.stream.formats.namespaces import Namespaces, TableColumns


class CsvParser:
    """Rows of a table, whose first line names the columns."""

    def __init__(self, lines: Lines, wanted: Wanted, separator: str) -> None:
        self._lines = lines
        self._separator = separator
        self._taken: list[bytes] = []  # the lines of the record that is being read
        self._target = wanted.target
        self._weight = wanted.weight
        self._ignore = wanted.ignore
        self._kinds = ColumnTypes(wanted)
        self._namespaces = Namespaces(wanted, "=")
        self._names: list[str] = []
        self._names = self._header(wanted)

    def _header(self, wanted: Wanted) -> list[str]:
        header = next((record for record in self.records() if record is not None), None)
        if isinstance(header, BadLine):
            raise header
        if header is None:
            raise BadLine(1, "expected a header with the names of the columns, got nothing")
        number: int = header[0]
        names: list[str] = header[1]
        known = set(names)
        if len(known) < len(names):
            repeated = Counter(names).most_common(1)[0][0]
            raise BadLine(number, f"expected a name of its own for each column, got {repeated!r} twice")
        others = [sign for sign in ";,\t|" if sign in names[0]]
        if len(names) == 1 and others:
            raise BadLine(number, f"expected {self._separator!r} between the names of columns, got {others[0]!r}")
        listed = ", ".join(map(repr, names[:50])) + (", ..." if len(names) > 50 else "")
        for option, name in wanted.named():
            if name not in known:
                raise BadLine(number, f"{option}: expected one of the columns {listed}, got {name!r}")
        return names

    def records(self) -> Iterator[Record | BadLine | None]:
        """The fields of each row; the first one tells how many. None for a blank line."""
        reader = self._reader()
        while True:
            self._taken.clear()
            number = self._lines.number + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except (csv.Error, BadLine) as error:
                self._lines.again(self._taken[1:])  # if a quote is missing in the first line, these are good rows
                reader = self._reader()
                yield BadLine(number, error.message if isinstance(error, BadLine) else _explained(error))
            else:
                width = len(self._names) or len(fields)
                if not fields or (fields == [""] and width > 1):
                    yield None
                elif len(fields) != width:
                    yield BadLine(number, f"expected {width} fields, as in the header, got {len(fields)}")
                else:
                    yield number, fields

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._texts(), delimiter=self._separator, skipinitialspace=True, strict=True)

    def _texts(self) -> Iterator[str]:
        size = 0
        for line in self._lines:
            size = len(line) if not self._taken else size + len(line)
            if size > LONGEST:  # of a record whose quotes go on and on
                self._taken.clear()
                raise BadLine(self._lines.number, TOO_LONG)
            self._taken.append(line)
            yield text_of(self._lines.number, line) + "\n"

    def knows(self, record: Record) -> bool:
        """Whether options or the model say what the columns are."""
        return self._kinds.decided | self._namespaces.decided | self._ignore | {self._weight} >= {*self._names}

    def plain(self, most: int) -> Chunk | None:
        """The samples that can be had without waiting, at most so many, if there are some and each line can be split at
        its separators: what `chunk` makes of `records`, in half the time."""
        first = self._lines.number + 1
        lines = self._lines.at_hand(most)
        texts = self._split(lines)
        if texts is None:
            self._lines.again(lines)
            return None
        width = len(self._names)
        return self._samples(range(first, first + len(lines)), [texts[column::width] for column in range(width)])

    def _split(self, lines: Sequence[bytes]) -> list[str] | None:
        """The fields of all lines; None if there is none, or one that cannot be split at its separators."""
        block = (b"\n%b\n" % b"\n".join(lines)).replace(b"\r\n", b"\n")
        separator = self._separator.encode()
        header = self._separator.join(self._names).encode()
        # A blank line, the header once more, quotes, and what is no part of a field, or an error of `csv`
        others = b"\n\n", b"\n%b\n" % header, b'"', b"\r", b"\n ", separator + b" ", b"\0"
        are_short = max(map(len, lines), default=0) <= csv.field_size_limit()
        are_even = {line.count(separator) for line in lines} == {len(self._names) - 1}
        if are_short and are_even and not any(other in block for other in others):
            with contextlib.suppress(UnicodeDecodeError):
                return block[1:-1].decode().replace("\n", self._separator).split(self._separator)
        return None

    def chunk(self, records: Sequence[Record]) -> Chunk:
        headers = [number for number, fields in records if fields == self._names]
        if headers:  # as where files were joined
            records = [record for record in records if record[1] != self._names]
            self._kinds.note("header", f"line {headers[0]}: the header once more, which is left out")
        if not records:
            return NO_SAMPLES
        lines, rows = zip(*records, strict=True)
        return self._samples(lines, [*zip(*rows, strict=True)])

    def _samples(self, lines: Sequence[int], texts: Sequence[Sequence[str]]) -> Chunk:
        """Samples with these texts in each column."""
        features: dict[str, Column] = {}
        words: dict[str, Sequence[str]] = {}
        targets: list[Target] = [None] * len(lines)
        weights = [1.0] * len(lines)
        wrong: dict[int, str] = {}
        for name, column in zip(self._names, texts, strict=True):
            bad: dict[int, str] = {}
            if name in self._ignore:
                continue
            if name == self._weight:
                weights, bad = weights_of(name, column)
            elif name in self._namespaces.texts:
                words[name] = column
            else:
                features[name], bad = self._kinds.column(name, column)
            wrong = bad | wrong  # the first message of a row stays
        if self._target is not None:
            targets = labels_of(features.pop(self._target))
            self._note_missing(lines, texts[self._names.index(self._target)], targets, wrong)
        chunk = self._namespaces.table_chunk(TableColumns(features, words, targets, weights, wrong), lines)
        return chunk._replace(notes=self._kinds.end_chunk())

    def _note_missing(
        self, lines: Sequence[int], texts: Sequence[str], targets: Sequence[Target], wrong: Collection[int]
    ) -> None:
        """Tell the user of the first word for a missing value that may be a class."""
        if self._target is None or self._kinds.is_number(self._target):
            return
        for row, text in enumerate(texts):
            if text and targets[row] is None and row not in wrong:
                missing = f"line {lines[row]}: {self._target}: {text!r} is read as a missing value"
                advice = f"(--strings {self._target} reads it as a class)"
                self._kinds.note("missing", f"{missing}, so the sample is only predicted\n    {advice}")
                return


def _explained(error: csv.Error) -> str:
    """What is wrong with a row, in the words of a user."""
    message = str(error)
    if "end of data" in message or "larger than" in message:
        return "expected the end of the quoted field that begins here, got none"
    return f"expected fields as in CSV, got {message}"
