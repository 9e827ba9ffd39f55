"""How well samples were predicted, beside simple predictors: accuracy and log-loss, or errors of numbers.

They are counted sample by sample, so it makes no difference how samples are grouped. Lines of figures come at 1, 2, 4,
8, ... samples or every so many, and a summary at the end.

Shapes: N samples, C classes, K figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from river.base import Classifier

from gln.apps.stream.formats.chunks import Target
from gln.apps.stream.learning import Estimator
from gln.engine.types import Label, State

LEAST = 1e-15  # probability in the log-loss, as in River's, and density of a standard deviation of 1, but a factor
TITLES = {  # of figures, in tables
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "absolute_error": "abs. error",
    "squared_error": "sq. error",
    "pinball_loss": "pinball loss",
    "in_interval": "in interval",
    "negative_log_likelihood": "NLL",
    "in_90_percent": "in 90 %",
    "auc": "AUC",
}
STEPS = 64  # bins per unit of log-odds
LARGEST_LOGIT = 16  # where they end: a probability of 1e-7
NO_STD = 1e-30  # standard deviations are below it until two targets have differed
NORMAL_90 = 1.6448536269514722  # standard deviations from the mean to the ends of an interval of 90%


class Line(NamedTuple):
    """A line of figures: as text, and as what `--metrics` writes."""

    text: str
    values: State


class Metrics:
    """Weighted means over the samples that have a target and were predicted before they were learned.

    For classes: accuracy and log-loss, as River's `Accuracy` and `CrossEntropy` count them, and the accuracy of the
    last label; of two classes also AUC, of the log-odds in bins of 1/64, in which samples count as half. For numbers:
    the absolute and the squared error, also of the mean so far and of the last target; the pinball loss, a mean over
    levels, and the share of targets between the lowest and the highest quantile; the negative log-likelihood of a
    normal distribution with the predicted mean and standard deviation, 0 until two targets have differed, and the share
    of targets in its middle 90%.
    """

    kept = "samples", "skipped", "unknown", "sums", "last_line", "last", "total", "classes"

    def __init__(
        self,
        are_classes: bool,
        levels: Sequence[float] = (),
        density: bool = False,
        every: int | None = None,
        is_late: bool = False,
    ) -> None:
        """`levels` are of quantiles, in ascending order; `every` is the number of samples between two lines. If labels
        come late, simple predictors know those that `learn` gets."""
        self._is_late = is_late
        self.are_classes = are_classes
        self.levels = levels
        self.density = density
        self.every = every
        level_names = ["pinball_loss", "in_interval"][: len(levels)]
        density_names = ["negative_log_likelihood", "in_90_percent"] if density else []
        number_names = ["absolute_error", "squared_error", *level_names, *density_names]
        self.names = ["accuracy", "log_loss"] if are_classes else number_names  # of the figures, but those in bins
        self.samples = 0
        self.skipped = 0  # bad lines
        self.unknown = 0  # samples of a class that was not known before
        simple = 1 if are_classes else 4  # figures of simple predictors
        self.sums = [0.0] * (1 + len(self.names) + simple)  # of weights, and of figures times weight
        self.last_line = list(self.sums)  # as they were in the line printed last
        self.labels: dict[Label, float] = {}  # the weight of each class
        self.last: Target = None  # the last target
        self.total = [0.0, 0.0]  # of weights, and of numbers times weights
        self.classes = 0  # that the model knows
        # Weights by class, the first two and others, and log-odds.
        self.ranks = np.zeros((3, 2 * LARGEST_LOGIT * STEPS))
        self.taken = 0  # samples of this process
        self._start = time.monotonic()

    @classmethod
    def of(cls, model: Estimator, every: int | None = None, is_late: bool = False) -> Metrics:
        if isinstance(model, Classifier):
            return cls(True, every=every, is_late=is_late)
        return cls(False, sorted(model.quantiles or ()), model.density, every, is_late)

    def state(self) -> State:
        """All counts, to be saved in a file."""
        ranks = self.ranks.nonzero()
        counted = [*(axis.tolist() for axis in ranks), self.ranks[ranks].tolist()]
        labels = [*map(list, self.labels.items())]
        return {name: getattr(self, name) for name in self.kept} | {"labels": labels, "ranks": counted}

    def resume(self, state: State) -> None:
        for name in self.kept:
            setattr(self, name, state[name])
        self.labels = dict(state["labels"])
        rows, bins, weights = state["ranks"]
        self.ranks[rows, bins] = weights

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def advance(self, predicted: pd.DataFrame, targets: list[Target], weights: list[float]) -> list[Line]:
        """Count samples; returns the lines to print."""
        first = self.samples
        sums = self.count(predicted, targets, weights)
        lines = []
        self.taken += len(targets)
        samples = self._after(first)
        while samples <= self.samples:
            at = sums[:, samples - first].tolist()
            if at[0]:
                lines.append(self._line(samples, at))
            self.last_line = at
            samples = self._after(samples)
        return lines

    def _after(self, samples: int) -> int:
        """How many samples there are at the first line after so many."""
        return self.every * (samples // self.every + 1) if self.every else 1 << samples.bit_length()

    def count(self, predicted: pd.DataFrame, targets: list[Target], weights: list[float]) -> np.ndarray:
        """Count samples; those whose target is None have no weight. Returns the sums up to each, (1 + K, N + 1)."""
        known = np.array([target is not None for target in targets], bool)
        counted = np.where(known, weights, 0.0)
        figures_of = self._class_figures if self.are_classes else self._number_figures
        columns = figures_of(predicted, targets, known, counted)
        summands = np.concatenate([counted[None], counted * columns])
        sums = np.add.accumulate(np.column_stack([self.sums, summands]), axis=1)
        self.samples = self.samples + len(targets)
        self.sums = sums[:, -1].tolist()
        return sums

    def learn(self, targets: list[Target], weights: list[float]) -> None:
        """Let simple predictors know targets of samples that were counted before."""
        for target, weight in zip(targets, weights, strict=True):
            if target is not None:
                self.last = target
                if not self.are_classes:
                    self.total = [self.total[0] + weight, self.total[1] + weight * target]

    def _class_figures(
        self, predicted: pd.DataFrame, targets: list[Target], known: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:  # (N,), (N,), changed to 0 where no class was known -> (K, N)
        codes, before = self._count_labels(targets, known, weights)
        p = predicted.to_numpy()
        columns: dict[Label, int] = dict(zip(predicted.columns, range(predicted.shape[1]), strict=True))
        if not p.size:
            weights[:] = 0
            return np.zeros((3, len(targets)))
        weights[p.max(axis=1) == 0] = 0
        indices = np.array([*(columns.get(label, -1) for label in self.labels), -1])[codes]
        probabilities = p[np.arange(len(p)), indices]
        probabilities[indices < 0] = 0
        is_unknown = probabilities == 0
        self.unknown += int(np.count_nonzero(is_unknown & (weights > 0)))
        losses = np.where(is_unknown, 0, -np.log(np.clip(probabilities, LEAST, 1 - LEAST)))
        self._count_ranks(p, np.where(indices < 0, p.shape[1], indices), weights)  # it will be the next class
        return np.array([p.argmax(axis=1) == indices, losses, codes == before], np.float64)

    def _count_ranks(self, p: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> None:  # (N, C), (N,), (N,)
        self.classes = p.shape[1]
        second = p[:, 1] if self.classes > 1 else np.zeros(len(p))
        with np.errstate(divide="ignore"):
            logits = np.log(second) - np.log1p(-second)
        bins = (np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT - 1 / STEPS) + LARGEST_LOGIT) * STEPS
        np.add.at(self.ranks, (np.minimum(indices, 2), bins.astype(int)), weights)

    def _count_labels(
        self, targets: list[Target], known: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:  # -> (N,), (N,)
        """The index of each target in `labels`, and that of the last one before it; -1 if there is none."""
        for target, weight in zip(targets, weights.tolist(), strict=True):
            if target is not None:
                self.labels[target] = self.labels.get(target, 0.0) + weight
        indices = {label: index for index, label in enumerate(self.labels)} | {None: -1}
        codes = np.array([indices[target] for target in targets], np.int64)
        last = _last_before(codes, known & (not self._is_late), indices.get(self.last, -1))
        self.last = self.last if self._is_late else [*self.labels, None][last[-1]]
        return codes, last[:-1]

    def _number_figures(
        self, predicted: pd.DataFrame, targets: list[Target], known: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:  # (N,), (N,) -> (K, N)
        y = np.array([0.0 if target is None else target for target in targets], np.float64)
        p = predicted.to_numpy()
        comes = known & (not self._is_late)
        last = _last_before(y, comes, self.last or 0.0)
        totals = np.add.accumulate(np.column_stack([self.total, comes * [weights, weights * y]]), axis=1)  # (2, N + 1)
        self.total = totals[:, -1].tolist()
        self.last = float(last[-1])
        means = totals[1, :-1] / np.maximum(totals[0, :-1], LEAST)
        errors = y - p[:, 0]
        simple = [y - means, y - last[:-1]]
        rows = [np.abs(errors), np.square(errors)]
        if self.levels:
            rows += _quantile_figures(y, p[:, 1 : 1 + len(self.levels)], self.levels)
        if self.density:
            rows += _density_figures(errors, p[:, -1], totals[0, :-1] > 0)
        return np.array([*rows, *np.abs(simple), *np.square(simple)], np.float64)

    # ---- Results -----------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, float | None]:
        """The figures; None before the first sample, and where AUC is not defined."""
        return self.means(self.sums) | ({"auc": self.auc()} if self.are_classes else {})

    def auc(self) -> float | None:
        """None unless the model knows two classes, and there are samples of both and of no other."""
        first, second, others = self.ranks
        if self.classes != 2 or others.any() or not (first.any() and second.any()):
            return None
        below = np.cumsum(first) - first / 2
        return float((second * below).sum() / (first.sum() * second.sum()))

    def means(self, sums: list[float]) -> dict[str, float | None]:
        """The figures with these sums, but without those in bins."""
        return dict(zip(self.names, _means(sums), strict=False))

    def simple_predictors(self) -> dict[str, dict[str, float | None]]:
        """Figures of predictors that see only the targets, by their names; empty before the first sample."""
        if not self.sums[0]:
            return {}
        simple = _means(self.sums)[len(self.names) :]
        if not self.are_classes:
            names = "mean so far", "last target"
            return {name: dict(zip(self.names, simple[i::2], strict=False)) for i, name in enumerate(names)}
        # The most frequent class, and the frequencies as probabilities.
        total = sum(self.labels.values())
        label, most = max(self.labels.items(), key=lambda item: item[1])
        entropy = sum(weight / total * math.log(total / weight) for weight in self.labels.values() if weight)
        constant: dict[str, float | None] = {"accuracy": most / total, "log_loss": entropy}
        return {f"best constant, {str(label)[:20]}": constant, "last label": {"accuracy": simple[0]}}

    def _line(self, samples: int, sums: list[float]) -> Line:
        figures = [self.means(sums), self.means([now - old for now, old in zip(sums, self.last_line, strict=True)])]
        shown = [["-" if value is None else f"{value:.5g}" for value in means.values()] for means in figures]
        texts = ["".join(f"{text:>13}" for text in row).rjust(21) for row in shown]
        text = f"{samples:>12,}{''.join(texts)}{self._rate():>13,.0f}"
        values = dict(zip(("since_start", "since_last_line"), figures, strict=True))
        header = "" if self.last_line[0] else self._header() + "\n"
        return Line(header + text, {"samples": samples, **values, "samples_per_second": self._rate()})

    def _header(self) -> str:
        names = "".join(f"{TITLES[name]:>13}" for name in self.names)
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
        bad = f", {self.skipped:,} bad lines left out" if self.skipped else ""
        unknown = f", {self.unknown:,} of an unknown class (log-loss 0)" if self.unknown else ""
        speed = f"{self.taken:,} in {self._seconds():.1f} s, {self._rate():,.0f} a second"
        return f"{self.samples:,} samples{bad}{unknown}; {speed}\n{self.table()}".rstrip("\n")

    def totals(self, kind: str = "progressive") -> State:
        """What `--metrics` writes at the end, with figures of this kind."""
        speed = {"seconds": self._seconds(), "samples_per_second": self._rate()}
        simple = {name.split(",")[0].replace(" ", "_"): values for name, values in self.simple_predictors().items()}
        figures: State = {"unknown_class": self.unknown} | self.values() | simple
        return {"samples": self.samples, "bad_lines": self.skipped, **speed, kind: figures}

    def table(self) -> str:
        """All figures, below their names; empty before the first sample."""
        if not self.sums[0]:
            return ""
        defined = [name for name, value in self.values().items() if value is not None]
        rows = {"": [TITLES[name] for name in defined]} | {
            predictor: [f"{values[name]:.5g}" for name in defined if name in values]
            for predictor, values in {"GLN": self.values(), **self.simple_predictors()}.items()
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}" + "".join(f"{text:>13}" for text in row) for name, row in rows.items())


def _last_before(values: np.ndarray, known: np.ndarray, first: float) -> np.ndarray:  # (N,), (N,) -> (N + 1,)
    """The last known value before each sample, and after all of them; `first` until there is one."""
    indices = np.maximum.accumulate(np.where(known, np.arange(1, len(values) + 1), 0))
    return np.append(first, values)[np.append(0, indices)]


def _quantile_figures(y: np.ndarray, q: np.ndarray, levels: Sequence[float]) -> list[np.ndarray]:  # (N,), (N, Q)
    """Pinball losses, and whether targets are in the interval, (N,) each."""
    below = y[:, None] - q
    losses = np.maximum(below * levels, below * np.subtract(levels, 1)).mean(axis=1)
    return [losses, (q[:, 0] <= y) & (y <= q[:, -1])][: len(levels)]


def _density_figures(errors: np.ndarray, stds: np.ndarray, known: np.ndarray) -> list[np.ndarray]:  # (N,) each
    """Negative log-likelihoods, and whether targets are in the middle 90%, (N,) each."""
    std = np.maximum(stds, NO_STD)
    varied = known & (std > NO_STD)
    squares = np.minimum(np.square(errors / std), -2 * math.log(LEAST))
    losses = np.where(varied, 0.5 * squares + np.log(std) + 0.5 * math.log(2 * math.pi), 0)
    return [losses, squares <= NORMAL_90**2]


def _means(sums: list[float]) -> list[float | None]:
    return [total / sums[0] if sums[0] else None for total in sums[1:]]
