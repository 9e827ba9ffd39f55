"""CSV and TSV with a header."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.streaming.named_rows import NamedRows
from gln.engine.streaming.values import MOST
from gln.stream.chunks import NO_SAMPLES, Chunk, Wanted
from gln.stream.kinds import Kinds, label_of
from gln.stream.lines import BadLine, Lines, Record, parsed, text_of

__all__ = ["Table"]


class _Rows(NamedTuple):
    columns: dict[str, Any]
    lines: list[int]
    bad: list[BadLine]
    notes: tuple[str, ...]  # what to tell the user


class Table:
    """Rows of a table, whose first line names the columns.

    Rows without quotes whose columns have been found to be numbers or text are read by pandas, which is faster; all
    others, and those that it does not take, by `csv` and `Kinds`.
    """

    def __init__(self, lines: Lines, wanted: Wanted, separator: str) -> None:
        self._lines, self._separator = lines, separator
        self._taken: list[bytes] = []  # the lines of the record that is being read
        self._target, self._ignore = wanted.target, wanted.ignore
        self._kinds = Kinds(wanted)
        self._has_note = False  # whether a word was noted that is read as a missing target
        self._width = 0  # fields of a row
        self._names = self._header(wanted)

    def _header(self, wanted: Wanted) -> list[str]:
        header = next((record for record in self._rows() if record is not None), None)
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

    # ---- Reading -----------------------------------------------------------------------------------------------------

    def records(self, most: int) -> list[Record | BadLine]:
        """Rows as text if no line has a quote, and otherwise as lists of fields."""
        if not any(b'"' in line for line in self._lines.available(most)):
            return [self._checked(record) for record in self._lines.take(most)]
        found: list[Record | BadLine] = []
        for record in self._rows():
            if record is not None:
                found.append(record)
            if found and (len(found) == most or self._lines.must_wait()):
                break
        return found

    def _checked(self, record: Record | BadLine) -> Record | BadLine:
        """A row as text, if it has as many fields as the header."""
        if isinstance(record, BadLine):
            return record
        number, text = record
        if (count := 1 + text.count(self._separator)) != self._width:
            return self._of_wrong_width(number, count)
        return record

    def _of_wrong_width(self, number: int, count: int) -> BadLine:
        return BadLine(number, f"expected {self._width} fields, as in the header, got {count}")

    def _rows(self) -> Iterator[Record | BadLine | None]:
        """The fields of each row; the first one tells how many. None for a blank line."""
        reader = self._reader(self._noted())
        while True:
            self._taken.clear()
            number = self._lines.number + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except (csv.Error, BadLine) as error:
                self._lines.again(self._taken[1:])  # if a quote is missing in the first line, these are good rows
                reader = self._reader(self._noted())
                yield BadLine(number, error.message if isinstance(error, BadLine) else _explained(error))
            else:
                self._width = self._width or len(fields)
                if fields and len(fields) != self._width:
                    yield self._of_wrong_width(number, len(fields))
                else:
                    yield (number, fields) if fields else None

    def _reader(self, lines: Iterable[str]) -> Any:
        return csv.reader(lines, delimiter=self._separator, skipinitialspace=True, strict=True)

    def _noted(self) -> Iterator[str]:
        for line in self._lines:
            self._taken.append(line)
            yield text_of(self._lines.number, line) + "\n"

    # ---- Values ------------------------------------------------------------------------------------------------------

    def chunk(self, records: Sequence[Record]) -> tuple[Chunk, list[BadLine]]:
        if not records:
            return NO_SAMPLES, []
        columns, lines, bad, notes = self._read_by_pandas(records) or self._read(records)
        targets: Any = [None] * len(lines) if self._target is None else columns.pop(self._target)
        if isinstance(targets, np.ndarray):
            targets = [label_of(value) if value == value else None for value in targets.tolist()]
        elif isinstance(targets, pd.Series):
            targets = [None if missing else text for text, missing in zip(targets, targets.isna(), strict=True)]
        series = {name: _series(values) for name, values in self._kinds.with_cycles(columns).items()}
        frame = pd.DataFrame(series, index=range(len(lines)))
        return Chunk(NamedRows(frame), targets, None, None, lines, notes=notes), bad

    def _read_by_pandas(self, records: Sequence[Record]) -> _Rows | None:
        """What `_read` returns; None if rows have quotes, are of unknown kinds, or have values of another kind."""
        used = [name for name in self._names if name not in self._ignore]
        if isinstance(records[0][1], list) or not all(map(self._kinds.is_known, used)):
            return None
        times = [name for name in used if self._kinds.is_time(name)]
        kinds = {name: np.float64 if self._kinds.is_number(name) else "category" for name in used}
        missing = {name: [*self._kinds.missing(name)] for name in used} | {name: [] for name in times}
        try:
            frame = pd.read_csv(
                io.StringIO("\n".join(text for _, text in records)),
                sep=self._separator,
                names=self._names,
                usecols=used,
                dtype=kinds | dict.fromkeys(times, object),
                na_values=missing,
                keep_default_na=False,
                skipinitialspace=True,
                quoting=csv.QUOTE_NONE,
                float_precision="round_trip",
            )
        except ValueError:
            return None
        columns: dict[str, Any] = {
            name: frame[name].to_numpy() if kinds[name] is np.float64 else frame[name] for name in used
        }
        too_large = any(kinds[name] is np.float64 and (np.abs(columns[name]) > MOST).any() for name in used)
        for name in times:
            columns[name], wrong = self._kinds.column(name, columns[name].tolist())
            if wrong:
                return None
        is_class = self._target is not None and kinds[self._target] == "category"
        needs_note = is_class and not self._has_note and columns[str(self._target)].isna().any()
        if len(frame) != len(records) or too_large or needs_note:
            return None
        return _Rows(columns, [number for number, _ in records], [], ())

    def _read(self, records: Sequence[Record]) -> _Rows:
        rows, bad = parsed(records, self._fields)
        columns, wrong = self._columns(rows)
        if wrong:
            bad += [BadLine(rows[place][0], wrong[place]) for place in sorted(wrong)]
            rows = [row for place, row in enumerate(rows) if place not in wrong]
            columns, _ = self._columns(rows)
        return _Rows(columns, [number for number, _ in rows], bad, (*self._kinds.notes(), *self._note(rows, columns)))

    def _fields(self, row: str | list[str]) -> list[str]:
        if isinstance(row, list):
            return row
        try:
            return next(self._reader([row]))
        except csv.Error as error:
            raise ValueError(_explained(error)) from None

    def _columns(self, rows: Sequence[Record]) -> tuple[dict[str, Any], dict[int, str]]:
        """The columns, and what is wrong with rows, by place."""
        columns: dict[str, Any] = {}
        wrong: dict[int, str] = {}
        for place, name in enumerate(self._names):
            if name not in self._ignore:
                columns[name], of_column = self._kinds.column(name, [fields[place] for _, fields in rows])
                wrong = of_column | wrong  # the first message of a row stays
        return columns, wrong

    def _note(self, rows: Sequence[Record], columns: dict[str, Any]) -> tuple[str, ...]:
        """What to say of the first word for a missing value that may be a class."""
        if self._target is None or self._has_note or self._kinds.is_number(self._target):
            return ()
        place = self._names.index(self._target)
        for (number, fields), target in zip(rows, columns[self._target], strict=True):
            if target is None and fields[place]:
                self._has_note = True
                missing = f"line {number}: {self._target}: {fields[place]!r} is read as a missing value"
                advice = f"(--strings {self._target} reads it as a class)"
                return (f"{missing}, so the sample is only predicted\n    {advice}",)
        return ()


def _series(values: Any) -> Any:
    """A column of a frame; without its dtype, pandas would look at each text."""
    return pd.Series(values, dtype=object) if isinstance(values, list) else values


def _explained(error: csv.Error) -> str:
    """What is wrong with a row, in the words of a user."""
    message = str(error)
    if "end of data" in message or "larger than" in message:
        return "expected the end of the quoted field that begins here, got none"
    return f"expected fields as in CSV, got {message}"
