"""What a run of `gln-stream` prints and writes: figures, predictions as CSV or JSON lines, and `--metrics`."""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gln.stream.formats.chunks import Chunk
from gln.stream.metrics import Kind, Line, Metrics
from gln.stream.output import Output, Outputs, printed, say
from gln.stream.signals import Signals

DIGITS = 6  # of probabilities


class Report:
    """Figures and outputs of a run, of which it is known what is predicted."""

    def __init__(self, options: argparse.Namespace, signals: Signals, kind: Kind, saved: dict[str, Any]) -> None:
        """`saved` is the `state` of the run that goes on, otherwise empty.

        Raises OSError if an output cannot be written, and ValueError if something is not as in that run.
        """
        self._options = options
        self.progress = Metrics(kind, options.every)
        if saved:
            self.progress.resume(saved["figures"])
        self._outputs = Outputs(options, signals, saved)

    def state(self) -> dict[str, Any]:
        """What to save, so that a run can go on."""
        return self._outputs.state() | {"figures": self.progress.state()}

    def write(self, lines: list[Line], predicted: pd.DataFrame, chunk: Chunk, explained: list[Any]) -> None:
        """Write predictions, and lines of figures. All is added first, since an error or a signal may end the rest.

        `explained` has what `explain_one` said of each sample, or nothing.
        """
        if (output := self._outputs.get("predictions")) is not None:
            output.add(self._text_of(predicted, chunk, explained, output))
        for line in lines:
            self._add_metrics("progress", line.values)
        self._outputs.flush()
        for line in lines:
            self._print(line.text)

    def end(self, why: str) -> None:
        """Print and write all figures, and why the run ended early."""
        self._print(self.progress.summary())
        if why:
            say("gln-stream", why)
        self._add_metrics("end", self.progress.totals())
        self._outputs.close()

    def _add_metrics(self, event: str, values: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        self._outputs.add("metrics", {"event": event, "time": now, **values})

    def _print(self, text: str) -> None:
        if not self._options.quiet:
            printed(text)

    def _text_of(self, predicted: pd.DataFrame, chunk: Chunk, explained: list[Any], output: Output) -> str:
        """One line for each sample of a chunk."""
        columns = (_of_classes if self.progress.kind.are_classes else _of_numbers)(predicted)
        if chunk.tags is not None:
            columns = {"tag": chunk.tags, **columns}
        p = np.round(predicted.to_numpy(), DIGITS)
        if is_json(output.name, chunk.form):
            if self._options.probabilities:
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
        if self._options.probabilities:
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
        found, constant = found.get(prediction, {}), constant.get(prediction, 0.0)
    found = {str(name): round(value, DIGITS) for name, value in found.items() if value}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1]))), round(constant, DIGITS)


def _of_numbers(predicted: pd.DataFrame) -> dict[str, Sequence[Any]]:
    names = ["prediction", *map(str, predicted.columns[1:])]
    return dict(zip(names, predicted.to_numpy().T.tolist(), strict=True))
