"""What to watch of a model of a stream in service: `Monitor`, whose figures go to Prometheus or to a log.

It wraps a classifier or regressor of `gln.river`, or any other of River's.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

try:
    from river import base, compose, drift
except ImportError as error:
    raise ImportError("gln.monitoring needs River: pip install river") from error

from gln.engine.batches import check_integer
from gln.engine.streaming.values import check_key, target_of

__all__ = ["Monitor"]

LEAST = 1e-15  # probability of a label that was never seen, for its log-loss
BINS = 10  # of probabilities, for the calibration error
NOVEL = 0.99
KEPT = "monitor"  # the name of the counts in a file

HELP = {
    "predicted_total": "Samples predicted.",
    "learned_total": "Samples learned.",
    "rejected_total": "Samples that raised an error.",
    "drifts_total": "Changes of the loss that ADWIN found.",
    "log_loss": "Mean log-loss of recent labels, each predicted just before it was learned.",
    "accuracy": "Share of recent labels that were predicted.",
    "calibration_error": "Difference of the probability of the predicted class and the share of hits, by probability.",
    "absolute_error": "Mean absolute error of recent targets, each predicted just before it was learned.",
    "bias": "Mean of predicted minus true recent targets.",
    "novel": f"Share of recent samples with a novelty above {NOVEL}; about {1 - NOVEL:.2f} is usual.",
    "missing_values": "Features that a recent sample lacks, on average.",
    "unknown_levels": "Levels of categories in a recent sample that were never learned, on average.",
    "unknown_names": "Keys of a recent sample that were never learned, on average.",
}


class Outcome(NamedTuple):
    """Of a sample that was learned."""

    loss: float  # the log-loss, or the absolute error
    probability: float  # of the predicted class, or what was predicted minus the target
    is_hit: bool  # whether the predicted class was right


class Monitor:
    """Predicts and learns by a model, and keeps count.

    Figures are over the latest samples, and 0 while there are none. What the model has not learned yet is unknown.
    Losses are of predictions made when the label comes; if it comes late, the served ones may be much worse.
    `save` keeps counts in the model's own file, and a monitor of the loaded model goes on from them.

    Parameters
    ----------
    model
        A classifier or regressor of River. With `novelty=True`, novelty is watched, too.
    window_size
        How many samples figures are over.

    Examples
    --------
    >>> from river import datasets
    >>> from gln.monitoring import Monitor
    >>> from gln.river import GLNClassifier
    >>> monitor = Monitor(GLNClassifier(seed=0, fast=True))
    >>> for x, y in datasets.Phishing().take(200):
    ...     p = monitor.predict_proba_one(x)
    ...     monitor.learn_one(x, y)
    >>> monitor.figures()["learned_total"]
    200
    """

    def __init__(self, model: Any, window_size: int = 1000) -> None:
        check_integer("window_size", window_size, 1)
        self.model = model
        last = next(reversed(model.steps.values())) if isinstance(model, compose.Pipeline) else model
        self.is_classifier = isinstance(last, base.Classifier)
        self._counts: Counter[str] = Counter()
        self._outcomes: deque[Outcome] = deque(maxlen=window_size)
        self._inputs: deque[Mapping[Any, float]] = deque(maxlen=window_size)
        self._drift = drift.ADWIN()
        if (saved := getattr(model, "extra", {}).get(KEPT)) is not None:
            self._counts.update(saved["counts"])
            self._outcomes.extend(Outcome(*row) for row in saved["outcomes"].tolist())
            self._inputs.extend(pd.DataFrame(saved["inputs"]).to_dict("records"))
            for outcome in self._outcomes:
                self._drift.update(outcome.loss)

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Save the model, whose `save` this is, with the counts. For models of `gln.river`."""
        inputs = {name: column.to_numpy() for name, column in pd.DataFrame([*self._inputs], dtype=float).items()}
        outcomes = np.array(self._outcomes, float).reshape(-1, 3)
        kept = {"counts": dict(self._counts), "outcomes": outcomes, "inputs": inputs}
        self.model.save(path, {**(extra or {}), KEPT: kept})

    def predict_one(self, x: dict[Any, Any]) -> Any:
        """What the model predicts."""
        return self._predicted(self.model.predict_one, x)

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:
        """The probabilities that a classifier predicts."""
        return self._predicted(self.model.predict_proba_one, x)

    def learn_one(self, x: dict[Any, Any], y: Any, **more: Any) -> None:
        """Predict a sample once more, by the present model, for its loss, and learn it; `more` goes to `learn_one`."""
        with self._counting("learned_total"):
            outcome = self._of_class(x, y) if self.is_classifier else self._of_number(x, y)
            self.model.learn_one(x, y, **more)
        self._outcomes.append(outcome)
        self._drift.update(outcome.loss)
        self._counts["drifts_total"] += self._drift.drift_detected

    def figures(self) -> dict[str, float]:
        """All figures by name, as the text for Prometheus explains them."""
        losses, probabilities, hits = np.array(self._outcomes or [(0.0, 0.0, 0.0)], float).T
        found: dict[Any, float] = {name: self._counts[name] for name in HELP if name.endswith("_total")}
        if self.is_classifier:
            bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
            gaps = np.abs(np.bincount(bins, probabilities - hits, BINS))
            found |= {"log_loss": losses.mean(), "accuracy": hits.mean(), "calibration_error": gaps.sum() / len(hits)}
        else:
            found |= {"absolute_error": losses.mean(), "bias": probabilities.mean()}
        found |= pd.DataFrame([*self._inputs], dtype=float).mean().to_dict()
        return {name: float(value) if isinstance(value, np.floating) else value for name, value in found.items()}

    def prometheus(self, prefix: str = "gln_") -> str:
        """The figures in Prometheus' text format, for an endpoint such as /metrics."""
        lines = []
        for name, value in self.figures().items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {prefix}{name} {HELP[name]}", f"# TYPE {prefix}{name} {kind}", f"{prefix}{name} {value}"]
        return "\n".join(lines) + "\n"

    # ---- Counting ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _counting(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._counts["rejected_total"] += 1
            raise
        self._counts[name] += 1

    def _predicted(self, predict: Callable[[dict[Any, Any]], Any], x: dict[Any, Any]) -> Any:
        with self._counting("predicted_total"):
            predicted, inputs = predict(x), self._of_inputs(x)
        self._inputs.append(inputs)
        return predicted

    def _of_inputs(self, x: dict[Any, Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        if hasattr(self.model, "unknown_one"):
            names, levels, missing = self.model.unknown_one(x).values()
            found = {"missing_values": len(missing), "unknown_levels": len(levels), "unknown_names": len(names)}
        if getattr(self.model, "novelty", False):
            found["novel"] = self.model.novelty_one(x) > NOVEL
        return found

    def _of_class(self, x: dict[Any, Any], y: Any) -> Outcome:
        check_key("y", "labels", y)
        p = self.model.predict_proba_one(x)
        predicted = max(p, key=p.__getitem__, default=None)
        return Outcome(-math.log(max(p.get(y, 0.0), LEAST)), p.get(predicted, 0.0), predicted == y)

    def _of_number(self, x: dict[Any, Any], y: Any) -> Outcome:
        difference = float(self.model.predict_one(x)) - target_of(y)
        return Outcome(abs(difference), difference, False)
