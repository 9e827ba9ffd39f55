"""What a run of `gln-stream` prints and writes: figures, predictions and `--metrics`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import pandas as pd

from gln.stream.formats.chunks import Chunk
from gln.stream.formats.lines import escaped
from gln.stream.metrics.held_out import HeldOut
from gln.stream.metrics.metrics import Metrics
from gln.stream.metrics.progress import Line, Progress
from gln.stream.output import Output
from gln.stream.predictions import text_of
from gln.stream.signals import Signals

__all__ = ["Report", "say"]


class Report:
    """Figures and outputs of a run, of which it is known whether classes or numbers are learned."""

    def __init__(
        self,
        options: argparse.Namespace,
        signals: Signals,
        are_classes: bool,
        intervals: bool,
        saved: dict[str, Any],
    ) -> None:
        """`saved` is the `state` of the run that goes on, otherwise empty.

        Raises OSError if an output cannot be written, and ValueError if something is not as in that run.
        """
        self._options, self._signals = options, signals
        self.progress = Progress(are_classes, intervals)
        self._held_out = HeldOut(options.test_every, are_classes, intervals)
        if saved:
            self.progress.resume(saved["figures"])
            self._held_out.resume(saved.get("held_out"))
        self._outputs = {  # by the name of the option
            name: Output(f"--{name}", file, saved.get(name), bool(saved))
            for name in ("predictions", "metrics")
            if (file := getattr(options, name)) is not None
        }

    def state(self) -> dict[str, Any]:
        """What to save, so that a run can go on."""
        outputs = {name: output.state() for name, output in self._outputs.items()}
        figures = {"figures": self.progress.state(), "held_out": self._held_out.state()}
        return {"predictions": None, "metrics": None, **outputs, **figures}

    # ---- While it runs -----------------------------------------------------------------------------------------------

    def learned(self, targets: list[Any]) -> list[Any]:
        """The targets of the next samples, with None for those that are held out."""
        return self._held_out.learned(targets)

    def count(self, predicted: pd.DataFrame, chunk: Chunk) -> list[Line]:
        """Count samples; returns the lines to print. Nothing here may fail, as they were learned."""
        lines = self.progress.advance(predicted, self.learned(chunk.targets), chunk.weights)
        self._held_out.count(predicted, chunk)
        return lines

    def write(self, lines: list[Line], predicted: pd.DataFrame, chunk: Chunk) -> None:
        """Write predictions, and lines of figures. All is added first, since an error or a signal may end the rest."""
        if (output := self._outputs.get("predictions")) is not None:
            are_classes, probabilities = self.progress.are_classes, self._options.probabilities
            output.add(text_of(predicted, chunk, output.name, are_classes, probabilities, header=output.is_empty))
        for line in lines:
            self._add_metrics("progress", line.values)
        for output in self._outputs.values():
            self._signals.waiting(output.flush)
        for line in lines:
            _print(line.text)

    # ---- The end -----------------------------------------------------------------------------------------------------

    def end(self, why: str) -> None:
        """Print and write all figures, and why the run ended early."""
        _print(self.progress.summary())
        values = {**self.progress.totals(), "progressive": _values(self.progress)}
        if self._held_out.every is not None:
            held_out = self._held_out.figures
            _print(f"\nheld out, {held_out.heading(0)}\n{held_out.table()}".rstrip("\n"))
            values["held_out"] = _values(held_out)
        if why:
            say(why)
        self._add_metrics("end", values)
        if "metrics" in self._outputs:
            self._outputs["metrics"].flush()
        for output in self._outputs.values():
            output.close()

    def _add_metrics(self, event: str, values: dict[str, Any]) -> None:
        if "metrics" in self._outputs:
            self._outputs["metrics"].add(json.dumps({"event": event, **values}) + "\n")


def say(text: str) -> None:
    """Print a message on standard error."""
    _print(f"gln-stream: {text}")


def _print(text: str) -> None:
    try:
        print(escaped(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # for what is printed until Python ends
        raise


def _values(figures: Metrics) -> dict[str, Any]:
    """All figures, as `--metrics` writes them."""
    simple = {name.split(",")[0].replace(" ", "_"): found for name, found in figures.simple_predictors().items()}
    return {"samples": figures.samples, "unknown_class": figures.unknown, **figures.values(), **simple}
