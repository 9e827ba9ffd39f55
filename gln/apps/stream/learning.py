"""The estimator that learns a stream, and how it takes samples."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import Chunk, Target
from gln.engine import saving
from gln.engine.preprocessing.dates import DATES, features_of
from gln.engine.streaming.values import NamedRows, is_missing
from gln.engine.types import Row, State
from gln.river import GLNClassifier, GLNDensityClassifier, GLNRegressor

LABELS = range(-1, 10)  # whole numbers that are classes unless an option says otherwise
Estimator: TypeAlias = GLNClassifier | GLNDensityClassifier | GLNRegressor
ESTIMATORS: dict[str, type[Estimator]] = {
    f"gln.{module}.{kind.__name__}": kind
    for module in ("river", "sklearn")
    for kind in (GLNClassifier, GLNDensityClassifier, GLNRegressor)
}
Explanation: TypeAlias = tuple[Row, Any]  # contributions by feature, or by class and feature, and constants
FAST_LAYERS = (16, 8)  # of --fast


def are_labels(targets: list[Target]) -> bool:
    """Whether these first targets look like classes: text, bools, or whole numbers from -1 to 9."""
    return all(isinstance(target, (str, bool)) or target in LABELS for target in targets if target is not None)


def made(options: argparse.Namespace, are_classes: bool) -> Estimator:
    """A new estimator. Raises ValueError for options of the other kind, or out of range."""
    layers = options.layers or (FAST_LAYERS if options.fast else None)
    common = {"seed": options.seed or 0} | ({"layer_sizes": layers} if layers else {})
    common |= _parameters(options, are_classes)
    if not options.class_densities:
        common["fast"] = options.fast
    kind = _kind(options, are_classes)
    kind(**common).learn_one({"a": 0.0}, 0)  # raises for options that are wrong, before lines seem to be
    return kind(**common)


def fitted(options: argparse.Namespace, are_classes: bool, parts: Sequence[Chunk]) -> Estimator:
    """An estimator that was fitted to the samples with a target in these parts, as a table. Raises as `made` does."""
    from gln import sklearn

    table = pd.DataFrame([x for part in parts for x in part.rows.records()])
    for name in filter(parts[0].rows.is_zero, table.columns):
        table[name] = table[name].fillna(0.0)
    y = pd.Series([target for part in parts for target in part.targets])
    weights = np.array([weight for part in parts for weight in part.weights])
    door = _kind(options, are_classes)
    common = _parameters(options, are_classes) | {"random_state": options.seed or 0}
    if options.layers:
        common["layer_sizes"] = options.layers
    if not options.class_densities:
        common["partial_learning_rate"] = common.pop("learning_rate")  # of lines that follow
    model: Any = getattr(sklearn, door.__name__)(**common)
    has = y.notna().to_numpy()
    return door.of(model.fit(table[has], y[has].tolist(), weights[has]))


def _parameters(options: argparse.Namespace, are_classes: bool) -> State:
    """Those that models of streams and of tables have in common. Raises ValueError for options of the other kind."""
    other_names = ("quantiles", "density") if are_classes else ("class_densities", "probabilities")
    wrong = [_flag(name) for name in other_names if getattr(options, name)]
    if wrong:
        expected = "numbers as targets (--regression)" if are_classes else "classes as targets"
        raise ValueError(f"{wrong[0]}: expected {expected}, got {'classes' if are_classes else 'numbers'}")
    if options.class_densities and options.fast:
        raise ValueError("--fast: expected no --class-densities, which have one network each, got both")
    common: State = {"backend": options.backend or "auto", "learning_rate": options.learning_rate}
    if are_classes:
        return common
    return common | {"quantiles": options.quantiles, "density": options.density}


def _kind(options: argparse.Namespace, are_classes: bool) -> type[Estimator]:
    if not are_classes:
        return GLNRegressor
    return GLNDensityClassifier if options.class_densities else GLNClassifier


def loaded(path: str, options: argparse.Namespace) -> Estimator:
    """Load an estimator. Raises ValueError if it is not one for streams, or does not match the options."""
    kind = saving.read(path)[0].get("estimator")
    if kind not in ESTIMATORS:
        raise ValueError(f"{path}: expected a saved {' or '.join(ESTIMATORS)}, got {kind or 'another model'}")
    changed = {name: getattr(options, name) for name in ("backend", "learning_rate")}
    model = ESTIMATORS[kind].load(path, **{name: value for name, value in changed.items() if value is not None})
    saved: State = {name: getattr(model, name, None) for name in ("fast", "seed", "quantiles", "density")}
    saved |= {"layers": model.layer_sizes, "class_densities": isinstance(model, GLNDensityClassifier)}
    saved["regression"] = isinstance(model, GLNRegressor)
    for name, value in saved.items():
        given = getattr(options, name)
        value = tuple(value) if isinstance(value, list) else value
        if not (given is None or given is False or given == value):
            raise ValueError(f"{_flag(name)}: expected {value}, as in {path}, got {given}")
    if options.probabilities and saved["regression"]:
        raise ValueError(f"--probabilities: expected a model of classes, got one of numbers: {path}")
    return model


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def explained(model: Estimator, rows: NamedRows) -> list[Explanation]:
    """What a model's `explain_one` says of each sample."""
    samples = rows.records()
    for x in samples:
        x.update({name: 0.0 for name in model.unknown_one(x)["missing"] if rows.is_zero(name)})
    return [model.explain_one(x) for x in samples]


def learn(model: Estimator, part: Chunk, earlier: np.ndarray | None) -> None:
    """Learn samples that have a target and a weight, later than they were predicted."""
    weights = np.array(part.weights)
    learns = np.array([target is not None for target in part.targets]) & (weights > 0)
    if not learns.any():
        return
    rows = part.rows
    targets = [*itertools.compress(part.targets, learns)]
    if not learns.all():
        frame = rows.frame[learns] if len(rows.frame) else rows.frame
        rows = dataclasses.replace(rows, frame=frame, dictionaries=[*itertools.compress(rows.dictionaries, learns)])
    model.learn_predicted(rows, targets, weights[learns], None if earlier is None else earlier[..., learns])


def names_in(parts: Iterable[NamedRows]) -> dict[str, bool]:
    """The names of features, and whether each is text; with those of the cycles of dates, as a model knows them."""
    examples: dict[Hashable, object] = {}  # and some value of each
    for rows in parts:
        columns = {str(name): column.dropna() for name, column in rows.frame.items()}
        examples |= {name: values.iloc[0] for name, values in columns.items() if len(values)}
        for x in rows.dictionaries:
            examples |= {name: value for name, value in x.items() if not is_missing(value)}
    for date in [name for name, value in examples.items() if isinstance(value, DATES)]:
        examples |= features_of(date, np.zeros(1))
    return {str(name): isinstance(value, str) for name, value in examples.items()}
