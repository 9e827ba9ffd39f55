"""The estimator that learns a stream, and how it takes samples."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from gln.engine import saving
from gln.engine.streaming.named_rows import NamedRows
from gln.river import GLNClassifier, GLNRegressor
from gln.stream.formats.chunks import Chunk, unit_of
from gln.stream.formats.lines import BadLine
from gln.stream.formats.reader import read
from gln.stream.metrics import Kind

__all__ = ["are_labels", "explained", "kind_of", "loaded", "made", "predict_then_learn", "samples_of", "taught"]

LABELS = range(-1, 10)  # whole numbers that are classes unless something else is said
ESTIMATORS: dict[Any, Any] = {"gln.river.GLNClassifier": GLNClassifier, "gln.river.GLNRegressor": GLNRegressor}
FAST_LAYERS = (16, 8)  # of --fast


def are_labels(targets: list[Any]) -> bool:
    """Whether these first targets look like classes: text, bools, or whole numbers from -1 to 9."""
    return all(isinstance(target, (str, bool)) or target in LABELS for target in targets if target is not None)


def made(options: argparse.Namespace, are_classes: bool) -> Any:
    """A new estimator. Raises ValueError for options of the other kind, or out of range."""
    common: dict[str, Any] = {"backend": options.backend or "auto", "seed": options.seed or 0, "fast": options.fast}
    layers = options.layers or (FAST_LAYERS if options.fast else None)
    common |= {"learning_rate": options.learning_rate} | ({"layer_sizes": layers} if layers else {})
    of_others = ("quantiles", "density") if are_classes else ("no_negatives", "probabilities")
    wrong = [_flag(name) for name in of_others if getattr(options, name)]
    if wrong:
        expected = "numbers as targets (--regression)" if are_classes else "classes as targets"
        raise ValueError(f"{wrong[0]}: expected {expected}, got {'classes' if are_classes else 'numbers'}")
    if are_classes:
        common["negatives"] = not options.no_negatives
    else:
        common |= {"quantiles": options.quantiles, "density": options.density}
    kind = GLNClassifier if are_classes else GLNRegressor
    kind(**common).learn_one({"a": 0.0}, 0)  # raises for options that are wrong, before lines seem to be
    return kind(**common)


def kind_of(model: Any) -> Kind:
    """What a model predicts."""
    if isinstance(model, GLNClassifier):
        return Kind(True)
    return Kind(False, tuple(sorted(model.quantiles or ())), model.density)


def loaded(path: str, options: argparse.Namespace) -> Any:
    """Load an estimator. Raises ValueError if it is not one for streams, or does not match the options."""
    kind = saving.read(path)[0].get("estimator")
    if kind not in ESTIMATORS:
        raise ValueError(f"{path}: expected a saved {' or '.join(ESTIMATORS)}, got {kind or 'another model'}")
    changed = {name: getattr(options, name) for name in ("backend", "learning_rate")}
    model: Any = ESTIMATORS[kind].load(path, **{name: value for name, value in changed.items() if value is not None})
    saved: dict[str, Any] = {name: getattr(model, name, None) for name in ("fast", "seed", "quantiles", "density")}
    saved |= {"layers": model.layer_sizes, "no_negatives": not getattr(model, "negatives", True)}
    saved["regression"] = isinstance(model, GLNRegressor)
    for name, value in saved.items():
        given, value = getattr(options, name), tuple(value) if isinstance(value, list) else value
        if not (given is None or given is False or given == value):
            raise ValueError(f"{_flag(name)}: expected {value}, as in {path}, got {given}")
    if options.probabilities and saved["regression"]:
        raise ValueError(f"--probabilities: expected a model of classes, got one of numbers: {path}")
    return model


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def samples_of(
    source: BinaryIO,
    form: str,
    options: argparse.Namespace,
    target: str | None,
    model: Any,
    skip_bad: Callable[[BadLine], object] | None,
) -> Iterator[Chunk]:
    """The samples of a source in chunks, with values of the kinds that a model has learned; None if there is none."""
    names = {} if model is None else {n: text for n, text in model.known_names.items() if isinstance(n, str)}
    if isinstance(model, GLNClassifier) and target is not None:  # "1" and 1 would be two classes
        for label in model.predict_proba_one({}):
            names[target] = isinstance(label, str)
    lists = {name: getattr(options, name) for name in ("strings", "numbers", "words", "ignore")}
    return read(source, form, target=target, known=names, ngrams=options.ngrams or 1, skip_bad=skip_bad, **lists)


def predict_then_learn(model: Any, chunk: Chunk, targets: list[Any]) -> pd.DataFrame:
    """Predict samples, and learn each one that has a target before the next is predicted.

    Raises ValueError for a target that is no number where numbers are learned, even if it is held out.
    """
    if isinstance(model, GLNRegressor):
        np.array([math.nan if target is None else target for target in chunk.targets], np.float64)
    return model.predict_learn_many(chunk.rows, targets, 1.0 if chunk.weights is None else chunk.weights)


def explained(model: Any, rows: NamedRows) -> list[tuple[Any, Any]]:
    """What a model's `explain_one` says of each sample."""
    samples: list[dict[Any, Any]] = rows.frame.astype(object).to_dict("records") or [{} for _ in range(len(rows))]
    for x, beside in zip(samples, rows.dictionaries, strict=False):
        x.update(beside)
    for x in samples:
        x.update({name: 0.0 for name in model.unknown_one(x)["missing"] if rows.is_zero(name)})
    return [model.explain_one(x) for x in samples]


def taught(
    chunk: Chunk, learn: Callable[[Chunk], pd.DataFrame], bad: Callable[[BadLine], object]
) -> Iterator[tuple[pd.DataFrame, Chunk]]:
    """Samples with the predictions that `learn` returns for them; `bad` is called with those that it rejects."""
    try:
        yield learn(chunk), chunk
    except ValueError as error:
        if len(chunk.lines) == 1:
            bad(BadLine(chunk.lines[0], str(error), unit_of(chunk.form)))
            return
        for place in range(len(chunk.lines)):
            yield from taught(chunk.part(slice(place, place + 1)), learn, bad)
