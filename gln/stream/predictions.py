"""Predictions as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from gln.stream.chunks import Chunk

__all__ = ["Predictions"]

DIGITS = 6  # of probabilities


class Predictions:
    """A file or standard output, with one line for each sample."""

    def __init__(self, name: str, written: int | None) -> None:
        """`written` is how many bytes of the file were written when the model that continues now was saved.

        Raises OSError if the file cannot be written, and ValueError if it has fewer bytes.
        """
        self._has_header, self._name = bool(written), name
        self._file: BinaryIO = sys.stdout.buffer if name == "-" else open(name, "r+b" if written else "wb")  # noqa: SIM115
        if written and name != "-":
            if self._file.seek(0, os.SEEK_END) < written:
                raise ValueError(f"--predictions: expected {name} as when the model was saved, got a shorter file")
            self._file.seek(written)
            self._file.truncate()

    def write(self, predicted: pd.DataFrame, are_classes: bool, chunk: Chunk) -> None:
        """Write the predictions for some samples."""
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
        self._file.write(text.encode())
        self._file.flush()

    def saved(self) -> int | None:
        """How many bytes were written for good; None for standard output."""
        if self._name == "-":
            return None
        os.fsync(self._file.fileno())
        return self._file.tell()

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
