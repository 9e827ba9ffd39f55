"""What a run of `gln-stream` prints and writes: figures, predictions and `--metrics`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from typing import Any

import pandas as pd

from gln.stream.formats.chunks import Chunk
from gln.stream.formats.lines import escaped
from gln.stream.metrics import Kind, Line, Metrics
from gln.stream.output import Output
from gln.stream.predictions import text_of
from gln.stream.signals import Signals

__all__ = ["Report", "say"]


class Report:
    """Figures and outputs of a run, of which it is known what is predicted."""

    def __init__(self, options: argparse.Namespace, signals: Signals, kind: Kind, saved: dict[str, Any]) -> None:
        """`saved` is the `state` of the run that goes on, otherwise empty.

        Raises OSError if an output cannot be written, and ValueError if something is not as in that run.
        """
        self._options, self._signals = options, signals
        self.progress = Metrics(kind, options.every)
        if saved:
            self.progress.resume(saved["figures"])
        self._outputs = {  # by the name of the option
            name: Output(f"--{name}", file, saved.get(name), bool(saved))
            for name in ("predictions", "metrics")
            if (file := getattr(options, name)) is not None
        }

    def state(self) -> dict[str, Any]:
        """What to save, so that a run can go on."""
        outputs = {name: output.state() for name, output in self._outputs.items()}
        return {"predictions": None, "metrics": None, **outputs, "figures": self.progress.state()}

    # ---- While it runs -----------------------------------------------------------------------------------------------

    def write(self, lines: list[Line], predicted: pd.DataFrame, chunk: Chunk, explained: list[Any]) -> None:
        """Write predictions, and lines of figures. All is added first, since an error or a signal may end the rest.

        `explained` has what `explain_one` said of each sample, or nothing.
        """
        if (output := self._outputs.get("predictions")) is not None:
            are_classes, probabilities = self.progress.kind.are_classes, self._options.probabilities
            header = output.is_empty
            output.add(text_of(predicted, chunk, output.name, are_classes, probabilities, header, explained))
        for line in lines:
            self._add_metrics("progress", line.values)
        for output in self._outputs.values():
            self._signals.waiting(output.flush)
        for line in lines:
            self._print(line.text)

    # ---- The end -----------------------------------------------------------------------------------------------------

    def end(self, why: str) -> None:
        """Print and write all figures, and why the run ended early."""
        self._print(self.progress.summary())
        if why:
            say(why)
        self._add_metrics("end", self.progress.totals())
        if "metrics" in self._outputs:
            self._outputs["metrics"].flush()
        for output in self._outputs.values():
            output.close()

    def _add_metrics(self, event: str, values: dict[str, Any]) -> None:
        if "metrics" in self._outputs:
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
            self._outputs["metrics"].add(json.dumps({"event": event, "time": now, **values}) + "\n")

    def _print(self, text: str) -> None:
        if not self._options.quiet:
            _print(text)


def say(text: str) -> None:
    """Print a message on standard error."""
    _print(f"gln-stream: {text}")


def _print(text: str) -> None:
    try:
        print(escaped(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # for what is printed until Python ends
        raise
