"""Predictions as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gln.stream.chunks import Chunk
from gln.stream.output import Output

__all__ = ["Predictions", "is_json"]

DIGITS = 6  # of probabilities


def is_json(name: str, form: str) -> bool:
    """Whether predictions for an input of this format are written as JSON lines to this file, or - for stdout."""
    return Path(name).suffix in (".jsonl", ".ndjson") or (name, form) == ("-", "jsonl")


class Predictions:
    """Writes one line for each sample. With `probabilities`, it has those of all classes."""

    def __init__(self, output: Output, probabilities: bool = False) -> None:
        self._output, self._probabilities = output, probabilities

    def add(self, predicted: pd.DataFrame, are_classes: bool, chunk: Chunk) -> None:
        """Add the predictions for the samples of a chunk to the output."""
        columns = (_of_classes if are_classes else _of_numbers)(predicted)
        if chunk.tags is not None:
            columns = {"tag": chunk.tags, **columns}
        if is_json(self._output.name, chunk.form):
            if self._probabilities:
                columns["probabilities"] = _by_class(predicted)
            self._output.add(_json_lines(columns))
        else:
            if self._probabilities:
                p = np.round(predicted.to_numpy(), DIGITS).T.tolist()
                columns |= {f"probability_{label}": row for label, row in zip(predicted.columns, p, strict=True)}
            header = [list(columns)] if self._output.is_empty else []
            self._output.add(_csv([*header, *zip(*columns.values(), strict=True)]))


def _of_classes(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    """The most probable class of each row, and its probability; None if no class was known."""
    p = predicted.to_numpy()
    if not p.size:
        nothing = [None] * len(p)
        return {"prediction": nothing, "probability": nothing}
    labels, best = list(predicted.columns), p.argmax(axis=1)
    most = p[np.arange(len(p)), best]
    prediction, probability = [labels[place] for place in best.tolist()], np.round(most, DIGITS).tolist()
    for row in np.flatnonzero(most == 0).tolist():
        prediction[row] = probability[row] = None
    return {"prediction": prediction, "probability": probability}


def _by_class(predicted: pd.DataFrame) -> list[dict[Any, float]]:
    """The probabilities of the classes that were known at each row: those of later ones are 0."""
    labels, p = list(predicted.columns), predicted.to_numpy()
    rows = zip(np.round(p, DIGITS).tolist(), (p > 0).tolist(), strict=True)
    return [{label: q for label, q, known in zip(labels, *row, strict=True) if known} for row in rows]


def _of_numbers(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return dict(zip(names, predicted.to_numpy().T.tolist(), strict=True))


def _json_lines(columns: dict[str, Sequence[Any]]) -> str:
    encode = json.JSONEncoder().encode  # json.dumps looks at its options each time
    rows = zip(*columns.values(), strict=True)
    return "".join([encode(dict(zip(columns, row, strict=True))) + "\n" for row in rows])


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
