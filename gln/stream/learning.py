"""The estimator that learns a stream, and how it takes samples."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from gln.river import GLNClassifier, GLNRegressor
from gln.stream.chunks import Chunk, unit_of
from gln.stream.lines import BadLine

__all__ = ["are_labels", "loaded", "made", "taught"]

LABELS = range(-1, 10)  # whole numbers that are classes unless something else is said
ESTIMATORS: dict[Any, Any] = {"gln.river.GLNClassifier": GLNClassifier, "gln.river.GLNRegressor": GLNRegressor}
UNSAID: dict[str, Any] = {
    "regression": False,
    "quantiles": None,
    "density": False,
    "memory": False,
    "no_negatives": False,
    "seed": None,
}


def are_labels(targets: list[Any]) -> bool:
    """Whether these first targets look like classes: text, bools, or whole numbers from -1 to 9."""
    return all(isinstance(target, (str, bool)) or target in LABELS for target in targets if target is not None)


def made(options: argparse.Namespace, are_classes: bool) -> Any:
    """A new estimator. Raises ValueError for options of the other kind."""
    seed = 0 if options.seed is None else options.seed
    common: dict[str, Any] = {"backend": options.backend or "auto", "seed": seed}
    of_others = ("quantiles", "density") if are_classes else ("memory", "no_negatives")
    wrong = [_flag(name) for name in of_others if getattr(options, name)]
    if wrong:
        expected = "numbers as targets (--regression)" if are_classes else "classes as targets"
        raise ValueError(f"{wrong[0]}: expected {expected}, got {'classes' if are_classes else 'numbers'}")
    if are_classes:
        return GLNClassifier(memory=options.memory, negatives=not options.no_negatives, **common)
    return GLNRegressor(quantiles=options.quantiles, density=options.density, **common)


def loaded(path: str, options: argparse.Namespace) -> Any:
    """Load an estimator. Raises ValueError if it is not one for streams, or does not match the options."""
    try:
        with safe_open(path, framework="numpy") as file:
            kind = json.loads((file.metadata() or {}).get("config", "{}")).get("estimator")
    except (SafetensorError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected a saved model, got a file that cannot be read: {error}") from error
    if kind not in ESTIMATORS:
        raise ValueError(f"{path}: expected a saved {' or '.join(ESTIMATORS)}, got {kind or 'another model'}")
    model: Any = ESTIMATORS[kind].load(path, **({} if options.backend is None else {"backend": options.backend}))
    own: dict[str, Any] = {name: getattr(model, name, unsaid) for name, unsaid in UNSAID.items()}
    own["regression"], own["no_negatives"] = isinstance(model, GLNRegressor), not getattr(model, "negatives", True)
    for name, value in own.items():
        given = getattr(options, name)
        if given != UNSAID[name] and given != (value if value is None or name != "quantiles" else tuple(value)):
            raise ValueError(f"{_flag(name)}: expected {value}, as in {path}, got {given}")
    return model


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def taught(
    model: Any, chunk: Chunk, learns: bool, bad: Callable[[BadLine], object]
) -> Iterator[tuple[pd.DataFrame, Chunk]]:
    """Predict the samples of a chunk, and if `learns`, learn each one after predicting it.

    Yields the predictions and their samples; `bad` is called with those that the model rejects.
    """
    targets = chunk.targets if learns else [None] * len(chunk.lines)
    try:
        if isinstance(model, GLNRegressor):
            np.array([math.nan if target is None else target for target in chunk.targets], np.float64)
        yield model.predict_learn_many(chunk.rows, targets, 1.0 if chunk.weights is None else chunk.weights), chunk
    except ValueError as error:
        if len(chunk.lines) == 1:
            bad(BadLine(chunk.lines[0], str(error), unit_of(chunk.form)))
            return
        for place in range(len(chunk.lines)):
            yield from taught(model, chunk.part(slice(place, place + 1)), learns, bad)
