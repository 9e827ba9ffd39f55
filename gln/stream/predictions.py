"""Predictions as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gln.stream.formats.chunks import Chunk
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
            texts = {name: _json_texts(values) for name, values in columns.items()}
            if self._probabilities:
                texts["probabilities"] = _json_of_classes(predicted)
            self._output.add("".join([text + "\n" for text in _json_objects(texts)]))
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


def _of_numbers(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return dict(zip(names, predicted.to_numpy().T.tolist(), strict=True))


def _json_texts(values: Sequence[Any]) -> list[str]:
    """The JSON text of each of these strings, numbers or None, in one call, which is fast."""
    return json.dumps(values, separators=("\n", ""))[1:-1].split("\n")  # in strings, "\n" is escaped


def _json_objects(texts: Mapping[Any, Sequence[str]]) -> list[str]:
    """Objects with these keys, and one text of each value."""
    keys = [json.dumps({key: 0}).removesuffix(" 0}")[1:].replace("%", "%%") for key in texts]  # 1 becomes "1"
    template = "{" + ", ".join(f"{key} %s" for key in keys) + "}"
    return [template % row for row in zip(*texts.values(), strict=True)]


def _json_of_classes(predicted: pd.DataFrame) -> list[str]:
    """The probabilities of the classes known at each row: those of later ones are 0."""
    p, labels = predicted.to_numpy(), list(predicted.columns)
    objects = ["{}"] * len(p)
    for known in np.unique(p > 0, axis=0) if p.any() else ():
        rows, columns = np.flatnonzero(((p > 0) == known).all(axis=1)), np.flatnonzero(known)
        of_classes = np.round(p[np.ix_(rows, columns)], DIGITS).T.tolist()
        texts = {labels[place]: _json_texts(row) for place, row in zip(columns, of_classes, strict=True)}
        for row, text in zip(rows.tolist(), _json_objects(texts), strict=False):  # there is no text without classes
            objects[row] = text
    return objects


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
