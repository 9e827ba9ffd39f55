"""The text of predictions: CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import Chunk
from gln.apps.stream.learning import Explanation
from gln.apps.stream.output import Output
from gln.engine.types import Label

DIGITS = 6  # of probabilities


def printed_lines(
    output: Output,
    predicted: pd.DataFrame,
    chunk: Chunk,
    explained: list[Explanation],
    are_classes: bool,
    probabilities: bool,
) -> str:
    """What to write for a chunk: one line for each sample, perhaps with the probabilities of all classes.

    `explained` has what `explain_one` returned for each sample, or nothing.
    """
    columns = (_class_columns if are_classes else _number_columns)(predicted)
    if chunk.tags is not None:
        columns = {"tag": chunk.tags, **columns}
    p = np.round(predicted.to_numpy(), DIGITS)
    if is_json(output.name, chunk.form):
        if probabilities:
            columns["probabilities"] = _known_probabilities(predicted, p)
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


def _class_columns(predicted: pd.DataFrame) -> dict[str, Sequence[object]]:
    """The most probable class of each row, and its probability; None if no class was known."""
    p = predicted.to_numpy()
    if not p.size:
        nothing = [None] * len(p)
        return {"prediction": nothing, "probability": nothing}
    probability = [value or None for value in np.round(p.max(axis=1), DIGITS).tolist()]
    pairs = zip(predicted.columns[p.argmax(axis=1)], probability, strict=True)
    return {"prediction": [None if value is None else label for label, value in pairs], "probability": probability}


def _known_probabilities(predicted: pd.DataFrame, p: np.ndarray) -> list[dict[Label, float]]:  # (N, C), (N, C) rounded
    """The probabilities of each row, without those of 0."""
    are_known = predicted.to_numpy() > 0
    return [
        {label: value for label, value, is_known in zip(predicted.columns, *row, strict=True) if is_known}
        for row in zip(p.tolist(), are_known.tolist(), strict=True)
    ]


def _contributions(explained: Explanation, prediction: object) -> tuple[dict[str, float], float]:
    """What a sample's features contribute to its prediction, the largest ones first, and the constant."""
    contributions, constant = explained
    if isinstance(constant, dict):  # by class
        contributions = contributions.get(prediction, {})
        constant = constant.get(prediction, 0.0)
    contributions = {str(name): round(value, DIGITS) for name, value in contributions.items() if value}
    return dict(sorted(contributions.items(), key=lambda item: -abs(item[1]))), round(constant, DIGITS)


def _number_columns(predicted: pd.DataFrame) -> dict[str, Sequence[object]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return dict(zip(names, predicted.to_numpy().T.tolist(), strict=True))
