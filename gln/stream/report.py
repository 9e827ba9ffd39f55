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
from gln.stream.predictions import Predictions
from gln.stream.signals import Signals

__all__ = ["Report"]


class Report:
    """Figures and outputs of a run. They begin when it is known whether classes or numbers are learned."""

    def __init__(self, options: argparse.Namespace, signals: Signals, size: int | None) -> None:
        """`size` is that of the input in bytes, None for a pipe."""
        self._options, self._signals = options, signals
        self._bar = None if size is None else _progress_bar(size)
        self.progress: Progress | None = None
        self._held_out: HeldOut | None = None
        self._outputs: dict[str, Output] = {}  # by the name of the option
        self._predictions: Predictions | None = None

    def begin(self, are_classes: bool, intervals: bool) -> None:
        """Begin the figures of a run."""
        self.progress = Progress(are_classes, intervals)
        if self._options.test_every is not None:
            self._held_out = HeldOut(self._options.test_every, are_classes, intervals)

    def open(self, state: dict[str, Any]) -> None:
        """Open the outputs, of the run with this `state` if it goes on; otherwise it is empty."""
        for name in ("predictions", "metrics"):
            if (file := getattr(self._options, name)) is not None:
                self._outputs[name] = Output(f"--{name}", file, state.get(name), bool(state))
        if "predictions" in self._outputs:
            self._predictions = Predictions(self._outputs["predictions"], self._options.probabilities)

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What to save, so that a run can go on."""
        assert self.progress is not None
        outputs = {name: output.state() for name, output in self._outputs.items()}
        held_out = None if self._held_out is None else self._held_out.state()
        figures = {"figures": self.progress.state(), "held_out": held_out}
        return {"predictions": None, "metrics": None, **outputs, **figures}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue the figures of the run with this `state`."""
        assert self.progress is not None
        self.progress.resume(state["figures"])
        if self._held_out is not None:
            self._held_out.resume(state.get("held_out"))
        elif state.get("held_out"):
            raise ValueError(f"--test-every: expected {state['held_out']['every']}, as in the saved run, got none")

    # ---- While it runs -----------------------------------------------------------------------------------------------

    def learned(self, targets: list[Any]) -> list[Any]:
        """The targets of the next samples, with None for those that are held out."""
        return targets if self._held_out is None else self._held_out.learned(targets)

    def count(self, predicted: pd.DataFrame, chunk: Chunk) -> list[Line]:
        """Count samples; returns the lines to print. Nothing here may fail, as they were learned."""
        assert self.progress is not None
        lines = self.progress.advance(predicted, self.learned(chunk.targets), chunk.weights)
        if self._held_out is not None:
            self._held_out.count(predicted, chunk)
        return lines

    def write(self, lines: list[Line], predicted: pd.DataFrame, chunk: Chunk) -> None:
        """Write predictions, and lines of figures. All is added first, since an error or a signal may end the rest."""
        assert self.progress is not None
        if self._predictions is not None:
            self._predictions.add(predicted, self.progress.are_classes, chunk)
        for line in lines:
            self._add_metrics("progress", line.values)
        self._flush()
        for line in lines:
            self.print(line.text)

    def move_bar(self, position: int) -> None:
        """Show how far the input was read, in bytes."""
        if self._bar is not None:
            self._bar.update(position - self._bar.n)

    # ---- The end -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Print and write all figures."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self.progress is not None:
            self.print(self.progress.summary())
            values = {**self.progress.totals(), "progressive": _values(self.progress)}
            if self._held_out is not None:
                held_out = self._held_out.figures
                self.print(f"\nheld out, {held_out.heading(0)}\n{held_out.table()}".rstrip("\n"))
                values["held_out"] = _values(held_out)
            self._add_metrics("end", values)

    def close(self) -> None:
        """Write the last figures, and close the outputs."""
        if "metrics" in self._outputs:
            self._outputs["metrics"].flush()
        for output in self._outputs.values():
            output.close()

    def say(self, text: str) -> None:
        self.print(f"gln-stream: {text}")

    def print(self, text: str) -> None:
        text = escaped(text)
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
            return
        try:
            print(text, file=sys.stderr, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # for what is printed until Python ends
            raise

    def _add_metrics(self, event: str, values: dict[str, Any]) -> None:
        if "metrics" in self._outputs:
            self._outputs["metrics"].add(json.dumps({"event": event, **values}) + "\n")

    def _flush(self) -> None:
        for output in self._outputs.values():
            self._signals.waiting(output.flush)


def _values(figures: Metrics) -> dict[str, Any]:
    """All figures, as `--metrics` writes them."""
    simple = {name.split(",")[0].replace(" ", "_"): found for name, found in figures.simple_predictors().items()}
    return {"samples": figures.samples, "unknown_class": figures.unknown, **figures.values(), **simple}


def _progress_bar(size: int) -> Any:
    """A progress bar of the bytes that were read, on a terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(total=size, unit="B", unit_scale=True, leave=False)
