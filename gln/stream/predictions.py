"""Predictions as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gln.stream.formats.chunks import Chunk

__all__ = ["is_json", "text_of"]

DIGITS = 6  # of probabilities


def is_json(name: str, form: str) -> bool:
    """Whether predictions for an input of this format are written as JSON lines to this file, or - for stdout."""
    return Path(name).suffix in (".jsonl", ".ndjson") or (name, form) == ("-", "jsonl")


def text_of(
    predicted: pd.DataFrame,
    chunk: Chunk,
    name: str,
    are_classes: bool,
    probabilities: bool,
    header: bool,
    explained: Sequence[Any] = (),
) -> str:
    """One line for each sample of a chunk, for a file of this name. With `probabilities`, it has those of all classes;
    `header` says whether CSV has one. `explained`, what `explain_one` says of each sample, is of JSON lines alone."""
    columns = (_of_classes if are_classes else _of_numbers)(predicted)
    if chunk.tags is not None:
        columns = {"tag": chunk.tags, **columns}
    p = np.round(predicted.to_numpy(), DIGITS)
    if is_json(name, chunk.form):
        if probabilities:
            are_known = predicted.to_numpy() > 0
            columns["probabilities"] = [
                {label: value for label, value, is_known in zip(predicted.columns, *row, strict=True) if is_known}
                for row in zip(p.tolist(), are_known.tolist(), strict=True)
            ]
        if explained:
            pairs = list(map(_contributions, explained, columns["prediction"]))
            columns["contributions"], columns["constant"] = zip(*pairs, strict=True)
        rows = zip(*columns.values(), strict=True)
        return "".join([json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows])
    if probabilities:
        columns |= {f"probability_{label}": row for label, row in zip(predicted.columns, p.T.tolist(), strict=True)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


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


def _contributions(explained: tuple[Any, Any], prediction: Any) -> tuple[dict[str, float], float]:
    """What a sample's features contribute to its prediction, the largest ones first, and the constant."""
    found, constant = explained
    if isinstance(constant, dict):  # by class
        found, constant = found.get(prediction, {}), constant.get(prediction, 0.0)
    found = {str(name): round(value, DIGITS) for name, value in found.items() if value}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1]))), round(constant, DIGITS)


def _of_numbers(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return dict(zip(names, predicted.to_numpy().T.tolist(), strict=True))
