"""Predictions as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from gln.stream.chunks import Chunk

__all__ = ["Predictions"]

DIGITS = 6  # of probabilities
BLOCK = 1 << 20  # bytes that are checked at once


class Written(NamedTuple):
    """What was written to a file for good, and the text that comes next."""

    bytes: int = 0
    crc32: int | None = 0  # None in a model of an earlier version
    unwritten: str = ""


class Predictions:
    """A file, a pipe or standard output, with one line for each sample."""

    def __init__(self, name: str, saved: Mapping[str, Any] | None = None, goes_on: bool = False) -> None:
        """`saved` is the `state` of the run that goes on, None if it wrote no file.

        Raises OSError if the file cannot be written, and ValueError if it is not the one of that run.
        """
        kept = goes_on and name != "-" and (saved is not None or Path(name).is_file())
        self._name, self._written = name, Written(**(kept and saved) or {})
        if kept:
            self._check(saved)
        self._has_header = self._written != Written()
        self._file: BinaryIO = sys.stdout.buffer if name == "-" else open(name, "r+b" if kept else "wb", buffering=0)  # noqa: SIM115
        self._is_file = name != "-" and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if self._is_file:
            self._file.truncate(self._written.bytes)
            self._file.seek(self._written.bytes)
        self.flush()

    def _check(self, saved: Mapping[str, Any] | None) -> None:
        """Raise ValueError if the file does not begin with what was written, or holds anything if that was no file."""
        left, crc32 = self._written.bytes, 0
        with open(self._name, "rb") as file:
            while left and (block := file.read(min(left, BLOCK))):
                left, crc32 = left - len(block), zlib.crc32(block, crc32)
            if saved is None and file.read(1):
                raise ValueError(f"--predictions: expected a new file, as the saved run wrote none, got {self._name}")
        if left or self._written.crc32 not in (None, crc32):
            raise ValueError(f"--predictions: expected the file of the saved run, got another one: {self._name}")
        self._written = self._written._replace(crc32=crc32)

    def add(self, predicted: pd.DataFrame, are_classes: bool, chunk: Chunk) -> None:
        """Add the predictions for some samples, which `flush` writes."""
        names, columns = (_of_classes if are_classes else _of_numbers)(predicted)
        if chunk.tags is not None:
            names, columns = ["tag", *names], [chunk.tags, *columns]
        rows = list(zip(*columns, strict=True))
        if Path(self._name).suffix in (".jsonl", ".ndjson") or (self._name, chunk.form) == ("-", "jsonl"):
            text = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        else:
            buffer = io.StringIO()
            csv.writer(buffer, lineterminator="\n").writerows(rows if self._has_header else [names, *rows])
            text, self._has_header = buffer.getvalue(), True
        self._written = self._written._replace(unwritten=text)

    def flush(self) -> None:
        """Write what was added; if an error or a signal ends this, it stays unwritten in the `state`."""
        done, data = self._written, self._written.unwritten.encode()
        rest = data
        try:
            while rest:  # not by Python's buffer, which would write once more when Python ends
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            error.filename = self._name
            raise
        self._written = Written(done.bytes + len(data), zlib.crc32(data, done.crc32 or 0))

    def state(self) -> dict[str, Any] | None:
        """What to save, so that a run can go on; None if this is no file."""
        if not self._is_file:
            return None
        os.fsync(self._file.fileno())
        return self._written._asdict()

    def close(self) -> None:
        if self._name != "-":
            self._file.close()


def _of_classes(predicted: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """The most probable class of each row, and its probability; None if no class was known."""
    names, p = ["prediction", "probability"], predicted.to_numpy()
    if not p.size:
        return names, [[None] * len(p), [None] * len(p)]
    labels, best, most = list(predicted.columns), p.argmax(axis=1).tolist(), np.round(p.max(axis=1), DIGITS).tolist()
    found = [(labels[place], q) if q else (None, None) for place, q in zip(best, most, strict=True)]
    return names, [list(each) for each in zip(*found, strict=True)]


def _of_numbers(predicted: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return names, [column.tolist() for column in predicted.to_numpy().T]
