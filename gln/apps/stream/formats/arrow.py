"""Parquet and Arrow files: columns that have types, read in batches.

Shapes: N rows.
"""

from __future__ import annotations

import itertools
import json
import urllib.parse
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import CHUNK, DECIDING, NO_SAMPLES, Chunk, Target, Wanted
from gln.apps.stream.formats.column_types import Column, ColumnTypes, labels_of, shown, weights_of
from gln.apps.stream.formats.lines import BadLine
from gln.apps.stream.formats.namespaces import Names, Namespaces, TableColumns
from gln.engine.streaming.values import MOST

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ImportError("Parquet and Arrow need pyarrow: pip install pyarrow") from error

BUFFER = 1 << 20  # bytes of a column that are read at once
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # a missing value in the name of a folder


def _opened(source: BinaryIO, form: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """What is in a file. Raises ValueError if it is of another kind."""
    if form == "parquet" and not source.seekable():
        raise ValueError("parquet: expected a file, as its end says where columns are, got a pipe (Arrow can be piped)")
    try:
        if form == "parquet":
            table = pq.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)
            return table.schema_arrow, table.iter_batches(CHUNK)
        if source.seekable() and cast(BufferedReader, source).peek(6).startswith(b"ARROW1"):
            file = pa.ipc.open_file(source)
            return file.schema, map(file.get_batch, range(file.num_record_batches))
        stream = pa.ipc.open_stream(source)
        return stream.schema, iter(stream)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system
            raise
        name = "a Parquet file" if form == "parquet" else "an Arrow file or stream"
        raise ValueError(f"{form}: expected {name}, got one that cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


class TypedColumns:
    """Rows of a table whose columns have types. A struct `user` of `age` is a column `user.age`, the numbers of a list
    `position` are `position.0`, `position.1`, ..., and the strings of a list are names, as in JSON. So are folders such
    as `day=2` in the file's name columns of text, as Hive writes them."""

    def __init__(self, source: BinaryIO, form: str, wanted: Wanted) -> None:
        self._wanted = wanted
        self._kinds = ColumnTypes(wanted)
        self._namespaces = Namespaces(wanted, "=")
        self._schema, self._batches = _opened(source, form)
        folder_values = _partition(getattr(source, "name", ""))
        self._check_names(folder_values)
        known = {*self._schema.names, *wanted.ignore}
        self._folder_values = {name: value for name, value in folder_values.items() if name not in known}
        decided = {*self._kinds.decided, *self._namespaces.decided}
        self._decides = False  # whether the first rows decide what some column holds
        for name, kind in _nested(self._schema, wanted.ignore):
            self._check_type(name, kind)
            self._decides |= _what(kind) in ("text", "lists of text") and name not in decided

    def _check_names(self, folder_values: Collection[str]) -> None:
        """Raise ValueError for columns of one name, and for an option that names none."""
        names = [*(name for name, _ in _nested(self._schema)), *folder_values]
        listed = ", ".join(map(repr, names[:50])) + (", ..." if len(names) > 50 else "")
        for option, name in self._wanted.named():
            is_part = name.rpartition("=" if option == "ignore" and "=" in name else ".")[0] in names  # of a list
            if name not in names and not is_part:
                raise ValueError(f"{option}: expected one of the columns {listed}, got {name!r}")
        for name, count in Counter(name for name, _ in _nested(self._schema, self._wanted.ignore)).items():
            if count > 1:
                raise ValueError(f"expected a name of its own for each column, got {name!r} twice")

    def _check_type(self, name: str, kind: pa.DataType) -> None:
        """Raise ValueError for a column that cannot be read, or not as the options and the model ask for."""
        what = _what(kind)
        target_types = ("numbers", "text", "null", *(["timestamps"] if name in self._wanted.strings else []))
        if name == self._wanted.target and what not in target_types:
            raise ValueError(f"{name}: expected numbers, bools or strings as targets, got {kind}")
        if name == self._wanted.weight and what not in ("numbers", "text", "null"):
            raise ValueError(f"{name}: expected numbers as weights, got {kind}")
        if what in ("numbers", "text", "timestamps"):
            self._kinds.check_type(name, what)
        elif what not in ("lists of numbers", "lists of text", "null") and not pa.types.is_struct(kind):
            expected = "numbers, bools, strings, dates, times, lists of strings or numbers, or structs of these"
            raise ValueError(f"{name}: expected {expected}, got {kind} (--ignore {name} leaves the column out)")

    def _leaves(self, name: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
        """A column, or those of a struct, apart from what is ignored."""
        if name in self._wanted.ignore:
            return
        if pa.types.is_struct(column.type):
            for field, values in zip(column.type, column.flatten(), strict=True):
                yield from self._leaves(f"{name}.{field.name}", values)
        elif _what(column.type) == "lists of numbers":
            by_position = itertools.zip_longest(*(numbers or () for numbers in column.to_pylist()))
            for position, values in enumerate(by_position):
                yield from self._leaves(f"{name}.{position}", pa.array(np.array(values, np.float64)))
        elif pa.types.is_dictionary(column.type):
            yield name, column.dictionary_decode()
        else:
            yield name, column

    def _all_leaves(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
        """Those of all columns, and of folders."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            yield from self._leaves(name, column)
        for name, text in self._folder_values.items():
            yield from self._leaves(name, pa.array([text] * len(batch)))

    # ---- Rows --------------------------------------------------------------------------------------------------------

    def chunks(self, most: int, decides: bool) -> Iterator[Chunk]:
        """Rows in chunks of at most so many; the first one as `read` says."""
        first = 1
        try:
            for table in self._tables(DECIDING if decides or self._decides else 1):
                for part in table.to_batches(most):
                    yield self._chunk(part, first)
                    first += len(part)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the system
                raise
            bad = BadLine(first, f"the file is damaged or incomplete: {_first_line(error)}", "row")
            yield NO_SAMPLES._replace(bad=[bad])

    def _tables(self, least: int) -> Iterator[pa.Table]:
        """The rows of the file: those that decide, of which there are so many, then those of each batch."""
        first: list[pa.RecordBatch] = []
        batches = map(_validated, self._batches)
        error: Exception | None = None
        try:
            while sum(map(len, first)) < least:
                first.append(next(batches))
        except StopIteration:
            pass
        except (pa.ArrowException, OSError) as damage:
            error = damage
        table = pa.Table.from_batches(first, self._schema).combine_chunks()
        yield table.slice(0, DECIDING)
        yield table.slice(DECIDING)
        if error is not None:
            raise error
        for batch in batches:
            yield pa.Table.from_batches([batch])

    def _chunk(self, batch: pa.RecordBatch, first: int) -> Chunk:
        """Rows, of which the first one has the number `first`."""
        chunk = self._namespaces.table_chunk(self._read(batch), range(first, first + len(batch)), "row")
        return chunk._replace(notes=(*self._kinds.end_chunk(), *chunk.notes))

    def _read(self, batch: pa.RecordBatch) -> TableColumns:
        features: dict[str, Column] = {}
        words: dict[str, Sequence[Names | None]] = {}
        targets: list[Target] = [None] * len(batch)
        weights = [1.0] * len(batch)
        wrong: dict[int, str] = {}
        for name, values in self._all_leaves(batch):
            what = _what(values.type)
            bad: dict[int, str] = {}
            if name == self._wanted.weight:
                weights, bad = weights_of(name, values.to_pylist())
            elif what == "lists of text" or (what == "text" and name in self._namespaces.texts):
                words[name] = values.to_pylist()
            else:
                features[name], bad = self._column(name, values)
            if name == self._wanted.target:
                column = features.pop(name)
                are_bools = pa.types.is_boolean(values.type) and name not in self._wanted.strings
                targets = labels_of(values.to_pylist() if are_bools else column)
            wrong = bad | wrong  # the first message of a row stays
        return TableColumns(features, words, targets, weights, wrong)

    def _column(self, name: str, column: pa.Array) -> tuple[Column, dict[int, str]]:
        """The values of a column, and what is wrong with others, by row."""
        what = _what(column.type)
        if name in self._folder_values or (what == "text" and name in self._wanted.numbers):
            return self._kinds.column(name, [text or "" for text in column.to_pylist()])
        if name in self._wanted.strings:
            return pd.Series(_texts(column), dtype=object), {}
        if what == "timestamps":
            times = pd.DatetimeIndex(column.to_numpy(zero_copy_only=False))  # in UTC
            self._kinds.add_times(name, times)
            return pd.Series(times), {}
        if what == "text":
            texts = column.to_pylist()
            return self._kinds.times(name, texts) or (pd.Series(texts, dtype=object), {})
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        too_large = np.flatnonzero(np.abs(values) > MOST).tolist()
        return values, {i: f"{name}: expected a finite number, got {shown(values[i].item())}" for i in too_large}


def _validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    batch.validate(full=True)
    return batch


# ---- Types -----------------------------------------------------------------------------------------------------------


def _nested(
    fields: Iterable[pa.Field], ignore: Collection[str] = (), prefix: str = ""
) -> Iterator[tuple[str, pa.DataType]]:
    """The names and types of the columns of a schema, and of those in structs."""
    for field in fields:
        name = prefix + field.name
        if name not in ignore:
            yield name, field.type
            yield from _nested(field.type if pa.types.is_struct(field.type) else (), ignore, f"{name}.")


def _what(kind: pa.DataType) -> str:
    """What a column of this type holds."""
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "timestamps"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return f"lists of {_what(kind.value_type)}"
    return "text" if str(kind) in ("string", "large_string", "string_view") else str(kind)


def _partition(file: object) -> dict[str, str]:
    """The names and values in the folders of a file, such as `year=2024/month=5`."""
    pairs = [part.partition("=") for part in Path(str(file)).parts[:-1] if "=" in part]
    folders = {name: urllib.parse.unquote(value) for name, _, value in pairs}
    return {name: "" if value == NO_PARTITION else value for name, value in folders.items()}


def _texts(column: pa.Array) -> list[str | None]:  # N
    """Values as text, numbers and bools as in JSON."""
    if _what(column.type) == "timestamps":
        return column.cast(pa.string()).to_pylist()
    values = [None if value != value else value for value in column.to_pylist()]
    return [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
