"""The figures of a stream while it is learned: lines at 1, 2, 4, 8, ... samples or every so many, and a summary."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pandas as pd

from gln.stream.metrics.metrics import Kind, Metrics

__all__ = ["Line", "Progress"]


class Line(NamedTuple):
    """A line of figures: as text, and as what `--metrics` writes."""

    text: str
    values: dict[str, Any]


class Progress(Metrics):
    """Progressive figures, in which each sample is predicted before it is learned."""

    kept = (*Metrics.kept, "skipped", "last_line")

    def __init__(self, kind: Kind, every: int | None = None) -> None:
        super().__init__(kind)
        self.skipped = 0  # bad lines
        self.every = every  # samples between two lines
        self.last_line = list(self.sums)  # the sums in the line printed last
        self.taken = 0  # samples of this process
        self._start = time.monotonic()

    def advance(self, predicted: pd.DataFrame, targets: list[Any], weights: list[float] | None) -> list[Line]:
        """Count samples; returns the lines to print."""
        first, sums, lines = self.samples, self.count(predicted, targets, weights), []
        self.taken += len(targets)
        samples = self._after(first)
        while samples <= self.samples:
            at = sums[:, samples - first].tolist()
            if at[0]:
                lines.append(self._line(samples, at))
            self.last_line, samples = at, self._after(samples)
        return lines

    def _after(self, samples: int) -> int:
        """How many samples there are at the first line after so many."""
        return self.every * (samples // self.every + 1) if self.every else 1 << samples.bit_length()

    def _line(self, samples: int, sums: list[float]) -> Line:
        of_both = [self.means(sums), self.means([now - old for now, old in zip(sums, self.last_line, strict=True)])]
        texts = ["".join(f"{_shown(value):>13}" for value in means.values()).rjust(21) for means in of_both]
        text = f"{samples:>12,}{''.join(texts)}{self._rate():>13,.0f}"
        values = dict(zip(("since_start", "since_last_line"), of_both, strict=True))
        header = "" if self.last_line[0] else self._header() + "\n"
        return Line(header + text, {"samples": samples, **values, "samples_per_second": self._rate()})

    def _header(self) -> str:
        """What stands above the lines."""
        names = "".join(f"{name:>13}" for name in self.names)
        width = len(names)
        return f"{'':12}{'since the start':>{width}}{'since the last line':>{max(width, 21)}}\n" + (
            f"{'samples':>12}{names}{names:>{max(width, 21)}}{'samples/s':>13}"
        )

    def _rate(self) -> float:
        return self.taken / max(self._seconds(), 1e-9)

    def _seconds(self) -> float:
        return time.monotonic() - self._start

    def summary(self) -> str:
        """All figures of the run, and those of simple predictors."""
        speed = f"{self.taken:,} in {self._seconds():.1f} s, {self._rate():,.0f} a second"
        return f"{self.heading(self.skipped)}; {speed}\n{self.table()}".rstrip("\n")

    def totals(self) -> dict[str, Any]:
        """What `--metrics` writes at the end."""
        speed = {"seconds": self._seconds(), "samples_per_second": self._rate()}
        simple = {name.split(",")[0].replace(" ", "_"): found for name, found in self.simple_predictors().items()}
        figures = {"unknown_class": self.unknown, **self.values(), **simple}
        return {"samples": self.samples, "bad_lines": self.skipped, **speed, "progressive": figures}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
