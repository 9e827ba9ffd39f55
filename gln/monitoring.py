"""What to watch of a model in service, and when to replace it.

`Monitor` wraps a classifier or regressor of `gln.river`, or any other of River's; its figures go to Prometheus or to a
log. `compare_refit` tells whether a model of `gln.sklearn` that learns day after day should be fitted again.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length

try:
    from river import base, compose, drift
except ImportError as error:
    raise ImportError("gln.monitoring needs River: pip install river") from error

from gln.engine.batches import check_integer, spread
from gln.engine.preprocessing.category_codes import as_table
from gln.engine.saving import ENTRIES, Array, Kind, Number, bad, checked
from gln.engine.streaming.values import check_dictionary, check_key, target_of
from gln.engine.streaming.waiting import Waiting
from gln.engine.tabular.estimator import Estimator
from gln.engine.types import Fitted, Label, MatrixLike, Row, State, VectorLike

__all__ = ["Comparison", "Monitor", "compare_refit"]

LEAST = 1e-15  # probability of a label that was never seen, for its log-loss
BINS = 10  # of probabilities, for the calibration error
NOVEL = 0.99
KEPT = "monitor"  # the name of what is kept in a file
MOST_EXPLAINED = 200  # rows whose contributions are compared

HELP = {
    "predicted_total": "Samples predicted.",
    "learned_total": "Samples learned.",
    "rejected_total": "Samples that raised an error.",
    "forgotten_total": "Predictions that were forgotten before their labels came, because too many waited.",
    "drifts_total": "Changes of the loss that ADWIN found.",
    "waiting": "Predictions that wait for their labels.",
    "label_delay_seconds": "Mean time from the prediction to the label, of recent labels.",
    "label_delay_seconds_p95": "Time from the prediction to the label that 95 % of recent labels did not exceed.",
    "log_loss": "Mean log-loss of the predictions that were served, of recent labels.",
    "accuracy": "Share of recent labels that were predicted.",
    "calibration_error": "Difference of the probability of the predicted class and the share of hits, by probability.",
    "absolute_error": "Mean absolute error of the predictions that were served, of recent targets.",
    "bias": "Mean of predicted minus true recent targets.",
    "novel": f"Share of recent samples with a novelty above {NOVEL}; about {1 - NOVEL:.2f} is usual.",
    "missing_values": "Features that a recent sample lacks, on average.",
    "unknown_levels": "Levels of categories in a recent sample that were never learned, on average.",
    "unknown_names": "Keys of a recent sample that were never learned, on average.",
}


class Served(NamedTuple):
    """What was predicted for a sample whose label has not come."""

    seconds: float  # when, since 1970
    values: np.ndarray  # (C,), probabilities of the labels known then, or (1,), the number


class Outcome(NamedTuple):
    """Of a sample that was learned."""

    loss: float  # the log-loss, or the absolute error
    probability: float  # of the predicted class, or what was predicted minus the target
    is_hit: bool  # whether the predicted class was right


def is_figure(name: object) -> bool:
    return name in HELP


KINDS: dict[str, Kind] = {  # of what is in a file
    "counts": {str: Number(int, 0)},
    "outcomes": Array("f8", "N 3"),
    "inputs": {is_figure: Array("f8", "L")},
    "delays": Array("f8", "D", 0),
    "labels": {object: Number(int, 0, ENTRIES)},
    "keys": Array("u1", "W 16"),
    "seconds": Array("f8", "W"),
    "repeats": Array("i8", "W", 0),
    "values": Array("f8", "W C"),
}
OF_CLASSES = {"outcomes": Array("f8", "N 3", 0, -math.log(LEAST)), "values": Array("f8", "W C", 0, 1)}


class Monitor:
    """Predicts and learns by a model, and keeps count.

    Figures are over the latest samples, and 0 while there are none. What the model has not learned yet is unknown.
    Losses are of the predictions that were served, however late labels come: a prediction is kept by the values of its
    sample until that is learned. Of equal samples the last prediction counts, and a sample without one is predicted
    just before it is learned. `save` keeps all this in the model's own file, and a monitor of the loaded model goes on
    from it; raises ValueError if that part of the file is not as it was written.

    Parameters
    ----------
    model
        A classifier or regressor of River.
    window_size
        How many samples figures are over.
    waiting
        How many different samples may wait for their labels; the oldest is forgotten then, and `forgotten_total`
        counts it. Each takes about 400 bytes, and 8 for each class. At least as many as a model with `waiting` keeps.
    novelty
        A `gln.novelty.GLNNovelty`, which learns what the model learns, so that `novel` is among the figures. Save it by
        its own `save`.

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

    def __init__(self, model: Fitted, window_size: int = 1000, waiting: int = 10_000, novelty: Fitted = None) -> None:
        check_integer("window_size", window_size, 1)
        last = next(reversed(model.steps.values())) if isinstance(model, compose.Pipeline) else model
        # A model that keeps more would be asked again about what it keeps, and then keep that.
        check_integer("waiting", waiting, getattr(last, "waiting", 0))
        self.model = model
        self.novelty = novelty
        self.is_classifier = isinstance(last, base.Classifier)
        self._counts: Counter[str] = Counter()
        self._outcomes: deque[Outcome] = deque(maxlen=window_size)
        self._inputs: deque[Mapping[Any, float]] = deque(maxlen=window_size)
        self._delays: deque[float] = deque(maxlen=window_size)
        self._labels: dict[Label, int] = {}  # and their indices in `Served.values`
        self._served: Waiting[Served] = Waiting(waiting)
        self._drift = drift.ADWIN()
        saved = getattr(model, "extra", {}).get(KEPT)
        if saved is not None:
            self._restore(saved)

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, object] | None = None) -> None:
        """Save the model, whose `save` this is, with what the monitor knows. For models of `gln.river`."""
        inputs = {name: column.to_numpy() for name, column in pd.DataFrame([*self._inputs], dtype=float).items()}
        served = self._served.predictions
        repeats = self._served.repeats
        values = np.zeros((len(served), max(1, len(self._labels))))
        for row, prediction in zip(values, served.values(), strict=True):
            row[: len(prediction.values)] = prediction.values
        kept = {
            "counts": dict(+self._counts),
            "outcomes": np.array(self._outcomes, float).reshape(-1, 3),
            "inputs": inputs,
            "delays": np.array(self._delays, float),
            "labels": self._labels,
            "keys": np.frombuffer(bytes.fromhex("".join(served)), np.uint8).reshape(-1, 16),
            "seconds": np.array([prediction.seconds for prediction in served.values()], float),
            "repeats": np.array([repeats.get(key, 0) for key in served], np.int64),
            "values": values,
        }
        self.model.save(path, {**(extra or {}), KEPT: kept})

    def predict_one(self, x: Row) -> Any:
        """What the model predicts. A classifier predicts the probabilities, too, for the log-loss."""
        with self._counting("predicted_total"):
            predicted = self.model.predict_one(x)
            self._keep(x, self._predict(x) if self.is_classifier else np.array([predicted], float))
        return predicted

    def predict_proba_one(self, x: Row) -> dict[Label, float]:
        """The probabilities that a classifier predicts."""
        with self._counting("predicted_total"):
            p = self.model.predict_proba_one(x)
            self._keep(x, self._probabilities(p))
        return p

    def learn_one(self, x: Row, y: VectorLike, **more: object) -> None:
        """Learn a sample, and score what was predicted for it; `more` goes to `learn_one`."""
        with self._counting("learned_total"):
            check_dictionary(x)
            served = self._served.get(x)
            values = self._predict(x) if served is None else served.values
            outcome = self._class_outcome(values, y) if self.is_classifier else self._number_outcome(values, y)
            if self.novelty is not None:
                self.novelty.score_one(x)  # raises for what it cannot learn, before the model learns
            self.model.learn_one(x, y, **more)
            if self.novelty is not None:
                self.novelty.learn_one(x)
        if served is not None:
            self._delays.append(max(0.0, time.time() - served.seconds))
            self._served.take(x)
        self._outcomes.append(outcome)
        self._drift.update(outcome.loss)
        self._counts["drifts_total"] += self._drift.drift_detected

    def figures(self) -> dict[str, float]:
        """All figures by name, as the text for Prometheus explains them."""
        losses, probabilities, hits = np.array(self._outcomes or [(0.0, 0.0, 0.0)], float).T
        figures: dict[Any, float] = {name: self._counts[name] for name in HELP if name.endswith("_total")}
        figures["waiting"] = len(self._served)
        delays = np.array(self._delays or [0.0])
        figures |= {"label_delay_seconds": delays.mean(), "label_delay_seconds_p95": np.quantile(delays, 0.95)}
        if self.is_classifier:
            bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
            gaps = np.abs(np.bincount(bins, probabilities - hits, BINS))
            figures |= {"log_loss": losses.mean(), "accuracy": hits.mean(), "calibration_error": gaps.sum() / len(hits)}
        else:
            figures |= {"absolute_error": losses.mean(), "bias": probabilities.mean()}
        figures |= pd.DataFrame([*self._inputs], dtype=float).mean().to_dict()
        return {name: float(value) if isinstance(value, np.floating) else value for name, value in figures.items()}

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

    def _keep(self, x: Row, values: np.ndarray) -> None:
        """Keep what was predicted for a sample until its label comes."""
        self._inputs.append(self._input_figures(x))
        self._counts["forgotten_total"] += self._served.put(x, Served(time.time(), values))

    def _restore(self, saved: Any) -> None:
        """Go on from what is in a file. Raises ValueError if that is not what `save` wrote."""
        kinds = KINDS | OF_CLASSES if self.is_classifier else KINDS
        fields = checked(KEPT, kinds, saved if type(saved) is dict else {})
        labels = fields["labels"]
        values = fields["values"]
        if [*labels.values()] != [*range(len(labels) * self.is_classifier)]:
            raise bad(KEPT, "labels with numbers from 0, of a classifier", labels)
        if values.shape[1] != max(1, len(labels)):
            raise bad(KEPT, f"values of {max(1, len(labels))} columns", values.shape[1])
        self._counts.update(fields["counts"])
        self._outcomes.extend(Outcome(*row) for row in fields["outcomes"].tolist())
        self._inputs.extend(pd.DataFrame(fields["inputs"]).to_dict("records"))
        self._delays.extend(fields["delays"].tolist())
        self._labels = dict(labels)
        keys = [row.tobytes().hex() for row in fields["keys"]]
        self._served.predictions = dict(zip(keys, map(Served, fields["seconds"].tolist(), values), strict=True))
        repeats = zip(keys, fields["repeats"].tolist(), strict=True)
        self._served.repeats = {key: count for key, count in repeats if count > 0}
        self._counts["forgotten_total"] += self._served.forget()
        for outcome in self._outcomes:
            self._drift.update(outcome.loss)

    def _input_figures(self, x: Row) -> dict[str, float]:
        figures: dict[Any, float] = {}
        if hasattr(self.model, "unknown_one"):
            names, levels, missing = self.model.unknown_one(x).values()
            figures = {"missing_values": len(missing), "unknown_levels": len(levels), "unknown_names": len(names)}
        if self.novelty is not None:
            figures["novel"] = self.novelty.score_one(x) > NOVEL
        return figures

    def _predict(self, x: Row) -> np.ndarray:  # -> (C,), or (1,) of a regressor
        if self.is_classifier:
            return self._probabilities(self.model.predict_proba_one(x))
        return np.array([self.model.predict_one(x)], float)

    def _probabilities(self, p: Mapping[Label, float]) -> np.ndarray:  # -> (C,)
        for label in p:
            self._labels.setdefault(label, len(self._labels))
        return np.array([p.get(label, 0.0) for label in self._labels])

    def _class_outcome(self, p: np.ndarray, y: VectorLike) -> Outcome:  # (C,)
        check_key("y", "labels", y)
        index = self._labels.get(y, len(p))
        probability = float(p[index]) if index < len(p) else 0.0  # the label was not known then
        is_hit = probability > 0 and int(p.argmax()) == index
        return Outcome(-math.log(max(probability, LEAST)), float(p.max(initial=0.0)), is_hit)

    def _number_outcome(self, predicted: np.ndarray, y: VectorLike) -> Outcome:  # (1,)
        difference = float(predicted[0]) - target_of(y)
        return Outcome(abs(difference), difference, False)


# ---- Refits ----------------------------------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """What `compare_refit` returns. Losses are log-losses, or absolute errors of regressors."""

    days: pd.DataFrame  # a row for each day: "rows", the mean losses "model" and "refit", and their difference, "gain"
    columns: pd.Series  # by how much the contributions of each column differ on average, the largest first
    gain: float  # by how much the mean loss of all rows is lower with the refit
    error: float  # the standard error of the gain, over days

    @property
    def is_worth_it(self) -> bool:
        """Whether the gain exceeds two standard errors."""
        return self.gain > 2 * self.error


def compare_refit(model: Fitted, refit: Fitted, X: MatrixLike, y: VectorLike, days: VectorLike) -> Comparison:
    """Compare a model that lives with one that was fitted again, on rows that neither has learned.

    Copies of both predict the rows of each day, and then learn them by `partial_fit`: these are the predictions that
    each would have served. The models do not change. One that has learned some of the rows seems better than it is, so
    load the file that was saved before them.

    Columns are compared by what they contribute (`explain`) to the logits, or to what regressors predict, of up to 200
    of the rows before any is learned. A column whose values drift, or what they mean, contributes otherwise in the
    refit.

    Parameters
    ----------
    model, refit
        The model in service, and its rival: two fitted classifiers or two regressors of `gln.sklearn`, with classes in
        common.
    X, y
        N rows as for `partial_fit`, in the order of time.
    days
        The day of each row, (N,), or another label of rows that are learned together; at least two.

    Raises ValueError for other models, and if days are missing or their rows are not together.
    """
    models = {"model": model, "refit": refit}
    are_estimators = isinstance(model, Estimator) and isinstance(refit, Estimator)
    if not are_estimators or is_classifier(model) != is_classifier(refit):
        raise bad("model, refit", "two classifiers or two regressors of gln.sklearn", f"{model!r} and {refit!r}")
    X = as_table(X)
    y = y.toarray() if issparse(y) else np.atleast_1d(y)
    days = np.atleast_1d(days)
    check_consistent_length(X, y, days)
    numbers, names = pd.factorize(days)
    if len(names) < 2 or not np.isin(np.diff(numbers, prepend=0), (0, 1)).all():
        raise bad("days", "at least two, none of them missing, the rows of each together", repr(days))
    rows_of = X.iloc if isinstance(X, pd.DataFrame) else X
    columns = _difference_of_contributions(model, refit, rows_of[spread(len(y), MOST_EXPLAINED)])
    losses = _losses_by_day(copy.deepcopy(models), rows_of, y, np.bincount(numbers).cumsum())
    table = pd.DataFrame(losses, index=pd.Index(names, name="day"))
    table.insert(0, "rows", np.bincount(numbers))
    table["gain"] = table["model"] - table["refit"]
    gain = float(np.average(table["gain"], weights=table["rows"]))
    deviations = table["rows"] * (table["gain"] - gain) / len(y)
    return Comparison(table, columns, gain, math.sqrt((deviations**2).sum() * len(names) / (len(names) - 1)))


def _losses_by_day(models: State, X: MatrixLike, y: np.ndarray, ends: np.ndarray) -> list[dict[str, float]]:
    """The mean loss of each model on the rows of each day, which it learns afterwards."""
    losses = []
    for start, end in itertools.pairwise([0, *ends]):
        rows = X[start:end], y[start:end]
        losses.append({name: _mean_loss(estimator, *rows) for name, estimator in models.items()})
        for estimator in models.values():
            estimator.partial_fit(*rows)
    return losses


def _mean_loss(model: Fitted, X: MatrixLike, y: np.ndarray) -> float:  # (N, F), (N,) or (N, T)
    if not is_classifier(model):
        return float(np.abs(model.predict(X) - y).mean())
    p = model.predict_proba(X)
    outputs = zip(p, y.T, model.classes_, strict=True) if type(p) is list else [(p, y.ravel(), model.classes_)]
    losses = []
    for probabilities, labels, classes in outputs:
        indices = pd.Index(classes).get_indexer(labels)  # -1 if the class is unknown
        chosen = np.where(indices < 0, 0, probabilities[np.arange(len(y)), indices])
        losses.append(-np.log(np.maximum(chosen, LEAST)))
    return float(np.mean(losses))


def _difference_of_contributions(model: Fitted, refit: Fitted, X: MatrixLike) -> pd.Series:  # (N, F) -> (F,)
    old = _contributions(model, X)
    new = _contributions(refit, X)
    common = [name for name in old if name in new]
    if not common:
        raise bad("model, refit", f"common classes, {[*old]}", [*new])
    differences = [old[name].sub(new[name], fill_value=0).abs().mean() for name in common]
    return pd.concat(differences, axis=1).mean(axis=1).sort_values(ascending=False).rename_axis("column")


def _contributions(
    model: Fitted, X: MatrixLike
) -> dict[Any, pd.DataFrame]:  # (N, F) -> (N, F) by class, label or target
    outputs, _ = model.explain(X)
    outputs = outputs[:, None] if outputs.ndim == 2 else outputs
    classes = getattr(model, "classes_", [])
    names = classes.tolist() if type(classes) is np.ndarray else [*range(outputs.shape[1])]
    if len(names) > outputs.shape[1]:  # of two classes, `explain` explains the second
        outputs = np.concatenate([-outputs, outputs], axis=1)
    columns = getattr(model, "feature_names_in_", None)
    return {name: pd.DataFrame(outputs[:, i], columns=columns) for i, name in enumerate(names)}
