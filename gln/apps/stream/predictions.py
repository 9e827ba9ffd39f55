"""The text of predictions: CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import Chunk
from gln.apps.stream.output import Output

DIGITS = 6  # of probabilities


def text_of(
    output: Output, predicted: pd.DataFrame, chunk: Chunk, explained: list[Any], are_classes: bool, probabilities: bool
) -> str:
    """What to write for a chunk: one line for each sample, perhaps with the probabilities of all classes.

    `explained` has what `explain_one` said of each sample, or nothing.
    """
    columns = (_of_classes if are_classes else _of_numbers)(predicted)
    if chunk.tags is not None:
        columns = {"tag": chunk.tags, **columns}
    p = np.round(predicted.to_numpy(), DIGITS)
    if is_json(output.name, chunk.form):
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
    if output.is_empty:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def is_json(name: str, form: str) -> bool:
    """Whether predictions for an input of this format are written as JSON lines to this file, or - for stdout."""
    return Path(name).suffix in (".jsonl", ".ndjson") or (name, form) == ("-", "jsonl")


def _of_classes(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    """The most probable class of each row, and its probability; None if no class was known."""
    p = predicted.to_numpy()
    if not p.size:
        nothing = [None] * len(p)
        return {"prediction": nothing, "probability": nothing}
    probability = [value or None for value in np.round(p.max(axis=1), DIGITS).tolist()]
    pairs = zip(predicted.columns[p.argmax(axis=1)], probability, strict=True)
    return {"prediction": [None if value is None else label for label, value in pairs], "probability": probability}


def _contributions(explained: tuple[Any, Any], prediction: Any) -> tuple[dict[str, float], float]:
    """What a sample's features contribute to its prediction, the largest ones first, and the constant."""
    found, constant = explained
    if isinstance(constant, dict):  # by class
        found = found.get(prediction, {})
        constant = constant.get(prediction, 0.0)
    found = {str(name): round(value, DIGITS) for name, value in found.items() if value}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1]))), round(constant, DIGITS)


def _of_numbers(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return dict(zip(names, predicted.to_numpy().T.tolist(), strict=True))
