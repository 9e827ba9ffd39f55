"""How well a stream was predicted: figures so far and since the line printed last, beside those of simple predictors.

They are counted sample by sample, so it makes no difference how samples are grouped.

Shapes: N samples, C classes, K figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["POINTS", "Figures"]

LEAST = 1e-15  # probability in the log-loss, as in River's
POINTS = 200  # of the curve; twice as many, and every other one is left out
KEPT = ("samples", "skipped", "unknown", "sums", "last_line", "next_line", "labels", "last", "total", "every", "curve")


class Figures:
    """Weighted means over the samples that have a target and were predicted.

    For classes: accuracy and log-loss, as River's `Accuracy` and `CrossEntropy` count them, and the accuracy of the
    last label. For numbers: the absolute error, with intervals the share of targets in them, and the absolute errors of
    the mean so far and of the last target.
    """

    def __init__(self, are_classes: bool, intervals: bool = False) -> None:
        self.are_classes, self.intervals = are_classes, intervals
        self.names = ["accuracy", "log-loss"] if are_classes else ["abs. error", "in interval"][: 1 + intervals]
        width = 1 + len(self.names) + (1 if are_classes else 2)
        self.samples, self.skipped, self.unknown = 0, 0, 0  # unknown: of a class that was not known before
        self.sums = [0.0] * width  # of the weights, and of each figure times the weight
        self.last_line, self.next_line = [0.0] * width, 1  # the same up to the line printed last, and when the next is
        self.labels: list[list[Any]] = []  # the classes, and the weight of each
        self.last: Any = None  # the last target
        self.total = [0.0, 0.0]  # of weights, and of numbers times weights
        self.every, self.curve = 1, [[0.0, 0.0]]  # samples between points; weight and first figure, summed up to each
        self._start, self._before = time.monotonic(), 0

    def state(self) -> dict[str, Any]:
        """All counts, to be saved in a file."""
        return {name: getattr(self, name) for name in KEPT}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        state = {"unknown": 0} | state  # which the first files lack
        for name in KEPT:
            setattr(self, name, state[name])
        self._before = self.samples

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def count(self, predicted: pd.DataFrame, targets: list[Any], weights: list[float] | None) -> Iterator[str]:
        """Count samples; yields the lines to print."""
        own = np.array([1.0] * len(targets) if weights is None else weights)
        own[[target is None for target in targets]] = 0
        columns = (self._of_classes if self.are_classes else self._of_numbers)(predicted, targets, own)
        summands = np.concatenate([own[None], own * columns])
        sums = np.add.accumulate(np.column_stack([self.sums, summands]), axis=1)  # (1 + K, N + 1)
        first, self.samples, self.sums = self.samples, self.samples + len(targets), sums[:, -1].tolist()
        self._extend_curve(first, sums)
        while self.next_line <= self.samples:
            at = sums[:, self.next_line - first].tolist()
            if at[0]:
                yield from [] if self.last_line[0] else [self._header()]
                yield self._line(self.next_line, at)
            self.last_line, self.next_line = at, 2 * self.next_line

    def _of_classes(self, predicted: pd.DataFrame, targets: list[Any], weights: np.ndarray) -> np.ndarray:
        p, numbers = predicted.to_numpy(), {label: number for number, label in enumerate(predicted.columns)}
        counts, same = dict(self.labels), []
        for target, weight in zip(targets, weights.tolist(), strict=True):
            same.append(target == self.last)
            if target is not None:
                self.last = target
                counts[target] = counts.get(target, 0.0) + weight
        self.labels = [[label, weight] for label, weight in counts.items()]
        if not p.size:
            weights[:] = 0
            return np.zeros((3, len(targets)))
        weights[~p.any(axis=1)] = 0  # no class was known
        places = np.array([numbers.get(target, -1) for target in targets])
        of_class = np.where(places >= 0, p[np.arange(len(p)), places], 0.0).tolist()  # 0 if it was not known
        self.unknown += int(np.count_nonzero((np.array(of_class) == 0) & (weights > 0)))
        losses = [-math.log(min(max(q, LEAST), 1 - LEAST)) if q > 0 else 0.0 for q in of_class]
        return np.array([p.argmax(axis=1) == places, losses, same], np.float64)

    def _of_numbers(self, predicted: pd.DataFrame, targets: list[Any], weights: np.ndarray) -> np.ndarray:
        simple = np.zeros((2, len(targets)))
        for place, (target, weight) in enumerate(zip(targets, weights.tolist(), strict=True)):
            simple[:, place] = self.total[1] / max(self.total[0], LEAST), self.last or 0.0
            if target is not None:
                self.total = [self.total[0] + weight, self.total[1] + weight * target]
                self.last = float(target)
        y, p = np.array([target or 0.0 for target in targets], np.float64), predicted.to_numpy()
        rows = [np.abs(y - p[:, 0])]
        if self.intervals:
            levels = [place for place, name in enumerate(predicted.columns) if isinstance(name, float)]
            rows.append((p[:, levels[0]] <= y) & (y <= p[:, levels[-1]]))
        return np.array([*rows, *np.abs(y - simple)], np.float64)

    def _extend_curve(self, first: int, sums: np.ndarray) -> None:
        while (sample := len(self.curve) * self.every) <= self.samples:
            self.curve.append(sums[:2, sample - first].tolist())
            if len(self.curve) > 2 * POINTS:
                self.curve, self.every = self.curve[::2], 2 * self.every

    # ---- Text --------------------------------------------------------------------------------------------------------

    def _header(self) -> str:
        """What stands above the lines."""
        names = "".join(f"{name:>13}" for name in self.names)
        width = len(names)
        return f"{'':12}{'since the start':>{width}}{'since the last line':>{max(width, 21)}}\n" + (
            f"{'samples':>12}{names}{names:>{max(width, 21)}}{'samples/s':>13}"
        )

    def _line(self, samples: int, sums: list[float]) -> str:
        since = [now - before for now, before in zip(sums, self.last_line, strict=True)]
        figures = "".join(self._figures(each[: 1 + len(self.names)]).rjust(21) for each in (sums, since))
        return f"{samples:>12,}{figures}{self._rate():>13,.0f}"

    @staticmethod
    def _figures(sums: list[float]) -> str:
        return "".join(f"{_mean(sums, place):>13}" for place in range(1, len(sums)))

    def _rate(self) -> float:
        return (self.samples - self._before) / max(time.monotonic() - self._start, 1e-9)

    def summary(self) -> str:
        """All figures of the run, and those of simple predictors."""
        seconds = time.monotonic() - self._start
        bad = f", {self.skipped:,} bad lines left out" if self.skipped else ""
        unknown = f", {self.unknown:,} of an unknown class (log-loss 0)" if self.unknown else ""
        count = self.samples - self._before
        first = f"{self.samples:,} samples{bad}{unknown}; {count:,} in {seconds:.1f} s, {self._rate():,.0f} a second"
        if not self.sums[0]:
            return first
        rows = [("", [f"{name:>13}" for name in self.names])]
        own = [f"{_mean(self.sums, place):>13}" for place in range(1, len(self.sums))]
        rows.append(("GLN", own[: len(self.names)]))
        simple = own[len(self.names) :]
        if self.are_classes:
            rows += [self._best_constant()] if self.labels else []
            rows.append(("last label", simple))
        else:
            rows += [("mean so far", simple[:1]), ("last target", simple[1:])]
        width = max(len(name) for name, _ in rows)
        return "\n".join([first, *(f"{name:<{width}}{''.join(values)}" for name, values in rows)])

    def _best_constant(self) -> tuple[str, list[str]]:
        """The most frequent class, and the frequencies as probabilities."""
        total = sum(weight for _, weight in self.labels)
        label, most = max(self.labels, key=lambda each: each[1])
        entropy = -sum(weight / total * math.log(weight / total) for _, weight in self.labels if weight)
        return f"best constant, {str(label)[:20]}", [f"{most / total:>13.5g}", f"{entropy:>13.5g}"]


def _mean(sums: list[float], place: int) -> str:
    return f"{sums[place] / sums[0]:.5g}" if sums[0] else "-"
