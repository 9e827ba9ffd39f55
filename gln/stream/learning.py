"""The estimator that a stream is learned by, and how it takes samples."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from gln.river import GLNClassifier, GLNRegressor
from gln.stream.chunks import Chunk
from gln.stream.lines import BadLine

__all__ = ["are_labels", "learned", "loaded", "made"]

LABELS = range(-1, 10)  # whole numbers that are classes where nothing else is said
ESTIMATORS = {"gln.river.GLNClassifier": GLNClassifier, "gln.river.GLNRegressor": GLNRegressor}


def are_labels(targets: list[Any]) -> bool:
    """Whether these first targets look like classes: text, bools, or whole numbers from -1 to 9."""
    return all(isinstance(target, (str, bool)) or target in LABELS for target in targets if target is not None)


def made(options: argparse.Namespace, are_classes: bool) -> Any:
    """A new estimator."""
    common = {"backend": options.backend or "auto", "seed": options.seed}
    if are_classes:
        return GLNClassifier(memory=options.memory, **common)
    return GLNRegressor(quantiles=options.quantiles, density=options.density, **common)


def loaded(path: str, options: argparse.Namespace) -> Any:
    """The estimator in a file.

    Raises ValueError if it is none of a stream, or differs from what the options say.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            kind = json.loads((file.metadata() or {}).get("config", "{}")).get("estimator")
    except (SafetensorError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected a saved model, got a file that cannot be read: {error}") from error
    if kind not in ESTIMATORS:
        raise ValueError(f"{path}: expected a saved {' or '.join(ESTIMATORS)}, got {kind or 'another model'}")
    model: Any = ESTIMATORS[kind].load(path, **({} if options.backend is None else {"backend": options.backend}))
    for name, of_other in (("regression", False), ("quantiles", None), ("density", False), ("memory", False)):
        own = isinstance(model, GLNRegressor) if name == "regression" else getattr(model, name, of_other)
        given = getattr(options, name)
        if given not in (of_other, None) and given != own:
            raise ValueError(f"--{name}: expected what the saved model has, {own}, got {given}")
    return model


def learned(model: Any, chunk: Chunk, bad: Callable[[BadLine], object]) -> tuple[pd.DataFrame, Chunk]:
    """Predict the samples of a chunk, each before it is learned; `bad` is told of those that the model refuses.

    Returns what was predicted of the others, and these.
    """
    try:
        return _taught(model, chunk), chunk
    except ValueError:
        if len(chunk.lines) > 1:
            return _one_by_one(model, chunk, bad)
        raise
