"""CSV and TSV with a header."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gln.engine.streaming.named_rows import NamedRows
from gln.stream.chunks import NO_SAMPLES, Chunk, Wanted
from gln.stream.kinds import Kinds, label_of
from gln.stream.lines import BadLine, Lines, Record, text_of

__all__ = ["Table"]


class Table:
    """Rows of a table, whose first line names the columns."""

    def __init__(self, lines: Lines, wanted: Wanted, separator: str) -> None:
        self._lines, self._separator = lines, separator
        self._taken: list[bytes] = []  # the lines of the record that is being read
        self._target, self._ignore = wanted.target, wanted.ignore
        self._kinds = Kinds(wanted.strings, wanted.numbers, wanted.known)
        self._has_note = False  # whether a word was noted that is read as a missing target
        self._records = self._rows()
        self._names = self._header(wanted)

    def records(self) -> Iterator[Record | BadLine | None]:
        return self._records

    def _header(self, wanted: Wanted) -> list[str]:
        header = next((record for record in self._records if record is not None), None)
        if isinstance(header, BadLine):
            raise header
        if header is None:
            raise BadLine(1, "expected a header with the names of the columns, got nothing")
        number: int = header[0]
        names: list[str] = header[1]
        if len(known := set(names)) < len(names):
            repeated = Counter(names).most_common(1)[0][0]
            raise BadLine(number, f"expected a name of its own for each column, got {repeated!r} twice")
        listed = ", ".join(map(repr, names[:50])) + (", ..." if len(names) > 50 else "")
        for option, name in wanted.named():
            if name not in known:
                raise BadLine(number, f"{option}: expected one of the columns {listed}, got {name!r}")
        return names

    def _rows(self) -> Iterator[Record | BadLine | None]:
        """The fields of each row; the first one tells how many."""
        reader, width = self._reader(), 0
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
                width = width or len(fields)
                if fields and len(fields) != width:
                    yield BadLine(number, f"expected {width} fields, as in the header, got {len(fields)}")
                else:
                    yield (number, fields) if fields else None

    def _reader(self) -> Any:
        return csv.reader(self._noted(), delimiter=self._separator, skipinitialspace=True, strict=True)

    def _noted(self) -> Iterator[str]:
        for line in self._lines:
            self._taken.append(line)
            yield text_of(self._lines.number, line) + "\n"

    def chunk(self, records: Sequence[Record]) -> tuple[Chunk, list[BadLine]]:
        if not records:
            return NO_SAMPLES, []
        columns: dict[str, Any] = {}
        wrong: dict[int, str] = {}
        for name, texts in zip(self._names, zip(*[fields for _, fields in records], strict=True), strict=True):
            if name not in self._ignore:
                columns[name], of_column = self._kinds.column(name, texts)
                wrong = of_column | wrong  # the first message of a row stays
        if wrong:
            good = [record for place, record in enumerate(records) if place not in wrong]
            bad = [BadLine(records[place][0], wrong[place]) for place in sorted(wrong)]
            return self.chunk(good)[0], bad
        lines = [number for number, _ in records]
        targets = [None] * len(lines) if self._target is None else columns.pop(self._target)
        if isinstance(targets, np.ndarray):
            targets = [label_of(value) if value == value else None for value in targets.tolist()]
        series = {name: _series(values) for name, values in columns.items()}
        frame = pd.DataFrame(series, index=range(len(lines)))
        return Chunk(NamedRows(frame), targets, None, None, lines, note=self._note(records, targets)), []

    def _note(self, records: Sequence[Record], targets: list[Any]) -> str:
        """What to say of the first word for a missing value that may be a class; empty if there is none."""
        if self._target is None or self._has_note or self._kinds.is_number(self._target):
            return ""
        place = self._names.index(self._target)
        for (number, fields), target in zip(records, targets, strict=True):
            if target is None and fields[place]:
                self._has_note = True
                missing = f"line {number}: {self._target}: {fields[place]!r} is read as a missing value"
                return f"{missing}, so the sample is only predicted\n    (--strings {self._target} reads it as a class)"
        return ""


def _series(values: Any) -> Any:
    """A column of a frame; without its dtype, pandas would look at each text."""
    return pd.Series(values, dtype=object) if isinstance(values, list) else values


def _explained(error: csv.Error) -> str:
    """What is wrong with a row, in the words of a user."""
    message = str(error)
    if "end of data" in message or "larger than" in message:
        return "expected the end of the quoted field that begins here, got none"
    return f"expected fields as in CSV, got {message}"
