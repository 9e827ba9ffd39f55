"""CSV and TSV with a header."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import NO_SAMPLES, Chunk, Wanted
from gln.apps.stream.formats.column_types import ColumnTypes, as_label
from gln.apps.stream.formats.lines import LONGEST, TOO_LONG, BadLine, Lines, Record, text_of
from gln.apps.stream.formats.namespaces import Namespaces
from gln.engine.streaming.values import NamedRows


class CsvParser:
    """Rows of a table, whose first line names the columns."""

    def __init__(self, lines: Lines, wanted: Wanted, separator: str) -> None:
        self._lines = lines
        self._separator = separator
        self._taken: list[bytes] = []  # the lines of the record that is being read
        self._target = wanted.target
        self._ignore = wanted.ignore
        self._strings = wanted.strings
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

    # ---- Reading -----------------------------------------------------------------------------------------------------

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

    def _reader(self) -> Any:
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

    # ---- Values ------------------------------------------------------------------------------------------------------

    def knows(self, record: Record) -> bool:
        """Whether options or the model say what the columns are."""
        return self._kinds.decided | self._namespaces.decided | self._ignore >= {*self._names}

    def plain(self, most: int) -> Chunk | None:
        """The samples that can be had without waiting, at most so many, if there are some and each line can be split at
        its separators: what `chunk` makes of `records`, in half the time."""
        first = self._lines.number + 1
        lines = self._lines.at_hand(most)
        separator = self._separator
        names = self._names
        block = (b"\n%b\n" % b"\n".join(lines)).replace(b"\r\n", b"\n")
        sign = separator.encode()
        width = len(names)
        # A blank line, the header once more, quotes, and what is no part of a field, or an error of `csv`
        others = b"\n\n", b"\n%b\n" % separator.join(names).encode(), b'"', b"\r", b"\n ", sign + b" ", b"\0"
        are_short = max(map(len, lines), default=0) <= csv.field_size_limit()
        are_even = {line.count(sign) for line in lines} == {width - 1}
        if are_short and are_even and not any(other in block for other in others):
            with contextlib.suppress(UnicodeDecodeError):
                texts = block[1:-1].decode().replace("\n", separator).split(separator)
                columns = [texts[column::width] for column in range(width)]
                return self._samples(range(first, first + len(lines)), columns)
        self._lines.again(lines)
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
        columns: dict[str, Any] = {}
        word_columns: dict[str, Sequence[str]] = {}
        wrong: dict[int, str] = {}
        for name, column_texts in zip(self._names, texts, strict=True):
            if name in self._ignore:
                continue
            if name in self._namespaces.texts:
                word_columns[name] = column_texts
            else:
                columns[name], bad = self._kinds.column(name, column_texts)
                wrong = bad | wrong  # the first message of a row stays
        if wrong:
            good = [row for row in range(len(lines)) if row not in wrong]
            chunk = self._samples([lines[i] for i in good], [[column[i] for i in good] for column in texts])
            return chunk._replace(bad=[BadLine(lines[i], wrong[i]) for i in sorted(wrong)])
        self._note_missing(lines, texts, columns)
        targets: Any = [None] * len(lines) if self._target is None else columns.pop(self._target)
        if isinstance(targets, np.ndarray):
            targets = [as_label(value) if value == value else None for value in targets.tolist()]
        frame = pd.DataFrame({name: _typed(values) for name, values in columns.items()}, index=range(len(lines)))
        words, _ = self._namespaces.column_features(word_columns, len(lines), {})
        rows = NamedRows(frame, words, self._namespaces.is_word, self._strings)
        return Chunk(rows, targets, None, None, [*lines], notes=self._kinds.end_chunk())

    def _note_missing(self, lines: Sequence[int], texts: Sequence[Sequence[str]], columns: dict[str, Any]) -> None:
        """Tell the user of the first word for a missing value that may be a class."""
        if self._target is None or self._kinds.is_number(self._target):
            return
        rows = zip(lines, texts[self._names.index(self._target)], columns[self._target], strict=True)
        for number, text, target in rows:
            if text and (target is None or target != target):
                missing = f"line {number}: {self._target}: {text!r} is read as a missing value"
                advice = f"(--strings {self._target} reads it as a class)"
                self._kinds.note("missing", f"{missing}, so the sample is only predicted\n    {advice}")
                return


def _typed(values: Any) -> Any:
    """Values of a column; without a dtype, pandas would look at each text."""
    return pd.Series(values, dtype=object) if isinstance(values, list) else values


def _explained(error: csv.Error) -> str:
    """What is wrong with a row, in the words of a user."""
    message = str(error)
    if "end of data" in message or "larger than" in message:
        return "expected the end of the quoted field that begins here, got none"
    return f"expected fields as in CSV, got {message}"
