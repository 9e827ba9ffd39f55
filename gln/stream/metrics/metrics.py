"""How well samples were predicted, beside simple predictors: accuracy and log-loss, or the absolute error.

They are counted sample by sample, so it makes no difference how samples are grouped.

Shapes: N samples, C classes, K figures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from gln.stream.metrics.binned import BinnedMetrics

__all__ = ["Metrics"]

LEAST = 1e-15  # probability in the log-loss, as in River's
OF_CLASSES = {"accuracy": "accuracy", "log-loss": "log_loss"}  # names in tables, and in JSON
OF_NUMBERS = {"abs. error": "absolute_error", "in interval": "in_interval"}
OF_BINS = {"AUC": "auc", "calib. error": "calibration_error"}
KEYS = OF_CLASSES | OF_NUMBERS | OF_BINS


class Metrics:
    """Weighted means over the samples that have a target and were predicted.

    For classes: accuracy and log-loss, as River's `Accuracy` and `CrossEntropy` count them, and the accuracy of the
    last label; also AUC and calibration error. For numbers: the absolute error, with intervals the share of targets in
    them, and the absolute errors of the mean so far and of the last target.
    """

    kept: tuple[str, ...] = ("samples", "unknown", "sums", "labels", "last", "total")

    def __init__(self, are_classes: bool, intervals: bool = False) -> None:
        self.are_classes, self.intervals = are_classes, intervals
        self.names = list(OF_CLASSES) if are_classes else list(OF_NUMBERS)[: 1 + intervals]
        self.samples, self.unknown = 0, 0  # unknown: of a class that was not known before
        self.sums = [0.0] * (1 + len(self.names) + (1 if are_classes else 2))  # of weights, and of figures times weight
        self.labels: list[list[Any]] = []  # the classes, and the weight of each
        self.last: Any = None  # the last target
        self.total = [0.0, 0.0]  # of weights, and of numbers times weights
        self.bins = BinnedMetrics()

    def state(self) -> dict[str, Any]:
        """All counts, to be saved in a file."""
        state = {name: getattr(self, name) for name in self.kept}
        return state | {"bins": self.bins.state()} if self.are_classes else state

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        state = {"unknown": 0} | state  # which the first files lack, and bins
        for name in self.kept:
            setattr(self, name, state[name])
        if "bins" in state:
            self.bins.resume(state["bins"])

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def count(self, predicted: pd.DataFrame, targets: list[Any], weights: list[float] | None) -> np.ndarray:
        """Count samples; those whose target is None have no weight. Returns the sums up to each, (1 + K, N + 1)."""
        known = np.array([target is not None for target in targets], bool)
        counted = known.astype(np.float64) if weights is None else np.where(known, weights, 0.0)
        columns = (self._of_classes if self.are_classes else self._of_numbers)(predicted, targets, known, counted)
        summands = np.concatenate([counted[None], counted * columns])
        sums = np.add.accumulate(np.column_stack([self.sums, summands]), axis=1)
        self.samples, self.sums = self.samples + len(targets), sums[:, -1].tolist()
        return sums

    def _of_classes(
        self, predicted: pd.DataFrame, targets: list[Any], known: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:  # (N,), (N,), changed to 0 where no class was known -> (K, N)
        codes, before = self._count_labels(targets, known, weights)
        p, columns = predicted.to_numpy(), {label: place for place, label in enumerate(predicted.columns)}
        if not p.size:
            weights[:] = 0
            return np.zeros((3, len(targets)))
        best, most = p.argmax(axis=1), p.max(axis=1)
        weights[most == 0] = 0
        places = np.array([*(columns.get(label, -1) for label, _ in self.labels), -1])[codes]
        hits, of_class = best == places, p[np.arange(len(p)), places]
        of_class[places < 0] = 0
        is_unknown = of_class == 0
        self.unknown += int(np.count_nonzero(is_unknown & (weights > 0)))
        losses = -np.log(np.minimum(np.maximum(of_class, LEAST), 1 - LEAST))
        losses[is_unknown] = 0
        self.bins.count(p, places, most, hits, weights)
        return np.array([hits, losses, codes == before], np.float64)

    def _count_labels(
        self, targets: list[Any], known: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:  # -> (N,), (N,)
        """The place of each target in `labels`, and that of the last one before it; -1 if there is none."""
        places = {None: -1} | {label: place for place, (label, _) in enumerate(self.labels)}
        codes = np.array([places.setdefault(target, len(places) - 1) for target in targets], np.int64)
        totals = np.zeros(len(places) - 1)
        totals[: len(self.labels)] = [weight for _, weight in self.labels]
        np.add.at(totals, codes[known], weights[known])
        labels = [*places][1:]
        self.labels = [[label, total] for label, total in zip(labels, totals.tolist(), strict=True)]
        last = _last_before(codes, known, places[self.last])
        self.last = labels[last[-1]] if last[-1] >= 0 else None
        return codes, last[:-1]

    def _of_numbers(
        self, predicted: pd.DataFrame, targets: list[Any], known: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:  # (N,), (N,) -> (K, N)
        y, p = np.array([0.0 if target is None else target for target in targets], np.float64), predicted.to_numpy()
        last = _last_before(y, known, self.last or 0.0)
        totals = np.add.accumulate(np.column_stack([self.total, [weights, weights * y]]), axis=1)  # (2, N + 1)
        self.total, self.last = totals[:, -1].tolist(), float(last[-1])
        means = totals[1, :-1] / np.maximum(totals[0, :-1], LEAST)
        rows = [np.abs(y - p[:, 0])]
        if self.intervals:
            levels = [place for place, name in enumerate(predicted.columns) if isinstance(name, float)]
            rows.append((p[:, levels[0]] <= y) & (y <= p[:, levels[-1]]))
        return np.array([*rows, np.abs(y - means), np.abs(y - last[:-1])], np.float64)

    # ---- Results -----------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, float | None]:
        """The figures by their names in JSON; None before the first sample, and where AUC is not defined."""
        means = self.means(self.sums)
        if not self.are_classes:
            return means
        return means | {"auc": self.bins.auc(), "calibration_error": self.bins.calibration_error()}

    def means(self, sums: list[float]) -> dict[str, float | None]:
        """The figures with these sums, but without those in bins."""
        keys = [KEYS[name] for name in self.names]
        return dict(zip(keys, _means(sums)[: len(keys)], strict=True))

    def simple_predictors(self) -> dict[str, dict[str, float | None]]:
        """Figures of predictors that see only the targets, by their names; empty before the first sample."""
        if not self.sums[0]:
            return {}
        simple = _means(self.sums)[len(self.names) :]
        if not self.are_classes:
            names = "mean so far", "last target"
            return {name: {"absolute_error": mean} for name, mean in zip(names, simple, strict=True)}
        return dict([self._best_constant(), ("last label", {"accuracy": simple[0]})])

    def _best_constant(self) -> tuple[str, dict[str, float | None]]:
        """The most frequent class, and the frequencies as probabilities."""
        total = sum(weight for _, weight in self.labels)
        label, most = max(self.labels, key=lambda item: item[1])
        entropy = sum(weight / total * math.log(total / weight) for _, weight in self.labels if weight)
        return f"best constant, {str(label)[:20]}", {"accuracy": most / total, "log_loss": entropy}

    def heading(self, bad_lines: int) -> str:
        """How many samples there were."""
        bad = f", {bad_lines:,} bad lines left out" if bad_lines else ""
        unknown = f", {self.unknown:,} of an unknown class (log-loss 0)" if self.unknown else ""
        return f"{self.samples:,} samples{bad}{unknown}"

    def table(self) -> str:
        """All figures, below their names; empty before the first sample."""
        if not self.sums[0]:
            return ""
        names = _named(self.values())
        rows = {"": [*names]} | {
            name: [f"{values[KEYS[key]]:.5g}" for key in names if KEYS[key] in values]
            for name, values in {"GLN": self.values(), **self.simple_predictors()}.items()
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}" + "".join(f"{text:>13}" for text in row) for name, row in rows.items())


def _named(values: dict[str, float | None]) -> dict[str, float]:
    """Figures that are defined, by their names in tables."""
    return {name: value for name, key in KEYS.items() if (value := values.get(key)) is not None}


def _last_before(values: np.ndarray, known: np.ndarray, first: Any) -> np.ndarray:  # (N,), (N,) -> (N + 1,)
    """The last known value before each sample, and after all of them; `first` until there is one."""
    places = np.maximum.accumulate(np.where(known, np.arange(1, len(values) + 1), 0))
    return np.append(first, values)[np.append(0, places)]


def _means(sums: list[float]) -> list[float | None]:
    return [total / sums[0] if sums[0] else None for total in sums[1:]]
