"""`save_pipeline` and `load_pipeline` for a River pipeline that ends with one of `gln.river`, without pickle."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from typing import Any

from river import compose, preprocessing, stats

from gln.engine.saving import Number, bad, read, usable, value_of
from gln.river import GLNClassifier, GLNNovelty, GLNRegressor

__all__ = ["load_pipeline", "save_pipeline"]

MODELS = {f"gln.river.{kind.__name__}": kind for kind in (GLNClassifier, GLNNovelty, GLNRegressor)}
# Steps whose parameters and state are numbers, text, and collections of these. A file may name no others.
STEPS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(compose.Discard, compose.Prefixer, compose.Renamer, compose.Select, compose.Suffixer),
        *(preprocessing.FeatureHasher, preprocessing.MaxAbsScaler, preprocessing.MinMaxScaler),
        *(preprocessing.Normalizer, preprocessing.OneHotEncoder, preprocessing.StandardScaler),
    )
}
UNIONS: dict[str, Any] = {"Pipeline": compose.Pipeline, "TransformerUnion": compose.TransformerUnion}
KEY = "river_pipeline"  # of `extra`
# The attributes of steps.
NUMBERS, STATISTICS = {object: Number(float)}, {object: [{str: Number(float, -math.inf, math.inf)}]}
ATTRIBUTES: dict[str, Any] = {
    **dict.fromkeys(("alternate_sign", "drop_first", "drop_zeros", "with_std"), bool),
    **{"prefix": str, "suffix": str, "window_size": type(None), "order": Number(int, 1), "n_features": Number(int, 1)},
    **{"seed": (Number(int, 0, 1 << 32), None), "_seed": Number(int, 0, 1 << 32)},
    **{"keys": tuple, "categories": ({object: tuple}, None), "values": {object: tuple}, "mapping": {object: object}},
    **dict.fromkeys(("_zero_dict", "counts", "means", "vars"), NUMBERS),
    **dict.fromkeys(("abs_max", "max", "min"), STATISTICS),
}


def save_pipeline(
    pipeline: compose.Pipeline, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None
) -> None:
    """Save a pipeline of River's with a GLN as its last step, without pickle.

    The steps before may be `Select`, `Discard`, `Renamer`, `Prefixer`, `Suffixer`, `StandardScaler`, `MinMaxScaler`,
    `MaxAbsScaler`, `Normalizer`, `OneHotEncoder` and `FeatureHasher`, and pipelines and unions (`+`) of these. The file
    is that of the GLN, whose `load` also reads it.

    Parameters
    ----------
    path, extra
        As in `GLNClassifier.save`; `extra` is an attribute of the last step of the loaded pipeline.

    Raises
    ------
    OSError
        The file cannot be written; an existing file at `path` is kept.
    ValueError
        A step that cannot be saved; the message names it.
    """
    *steps, (name, model) = pipeline.steps.items()
    if type(model) not in MODELS.values():
        raise bad(f"pipeline[{name!r}]", f"a last step out of {[*MODELS]}", repr(model))
    saved = [(step_name, _saved(step_name, step)) for step_name, step in steps]
    model.save(path, {**(extra or {}), KEY: {"steps": saved, "name": name}})


def load_pipeline(path: str | os.PathLike[str], **parameters: Any) -> compose.Pipeline:
    """Load a pipeline that `save_pipeline` wrote; it continues where it stopped. Nothing is unpickled.

    `parameters` replace those of the GLN, as in its `load`. Raises OSError and ValueError as that does.
    """
    kind = str(read(path)[0].get("estimator", "network"))
    if kind not in MODELS:
        raise bad(str(path), f"a pipeline that ends with one of {[*MODELS]}", f"a saved {kind}")
    model = MODELS[kind].load(path, **parameters)
    if KEY not in model.extra:
        raise bad(str(path), "a pipeline that `save_pipeline` wrote", f"a saved {kind}")
    with usable(path):
        saved, model.extra = model.extra[KEY], {name: value for name, value in model.extra.items() if name != KEY}
        steps = [(name, _made(name, step)) for name, step in saved["steps"]]
        return compose.Pipeline(*steps, (value_of(str, "pipeline", "name", saved["name"], {}), model))


def _saved(place: str, step: Any) -> dict[str, Any]:
    """A step as what `Saveable.save` takes."""
    of_kind: Any = step.steps if type(step) is compose.Pipeline else None
    of_kind = step.transformers if type(step) is compose.TransformerUnion else of_kind
    kind = type(step).__name__
    if of_kind is not None:
        return {"kind": kind, "steps": [(name, _saved(f"{place}.{name}", part)) for name, part in of_kind.items()]}
    if STEPS.get(kind) is not type(step):
        raise bad(f"pipeline[{place!r}]", f"one of {[*STEPS]}", f"a {kind}")
    return {"kind": kind, "state": _plain(place, vars(step))}


def _plain(place: str, value: Any) -> Any:
    """A set as a tuple, and a statistic of River's as a list of its state, because a file has neither."""
    if isinstance(value, Mapping):
        return {name: _plain(place, item) for name, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return tuple(value)
    if type(value) in (stats.AbsMax, stats.Max, stats.Min):
        return [_plain(place, vars(value))]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise bad(f"pipeline[{place!r}]", "a step without windows, functions and types", repr(value))
    return value


def _made(place: str, saved: Mapping[str, Any]) -> Any:
    """The step that `_saved` describes."""
    if "steps" in saved:
        return UNIONS[saved["kind"]](*[(name, _made(f"{place}.{name}", part)) for name, part in saved["steps"]])
    if saved["kind"] not in STEPS:
        raise bad(f"pipeline[{place!r}]", f"one of {[*STEPS]}", saved["kind"])
    kind, state = STEPS[saved["kind"]], saved["state"]
    state = {name: value_of(ATTRIBUTES[name], place, name, value, {}) for name, value in state.items()}
    arguments: list[Any] = []
    named = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            arguments = [*state[name]]
        else:
            named[name] = _collection(state[name])
    step = kind(*arguments, **named)
    if vars(step).keys() != state.keys():
        raise bad(f"pipeline[{place!r}]", f"the attributes {[*vars(step)]}", [*state])
    _fill(vars(step), state)
    return step


def _fill(known: dict[Any, Any], state: Mapping[Any, Any]) -> None:
    """Continue from a state; what is there keeps its kind, such as a `Counter`."""
    for name, value in state.items():
        if isinstance(value, list):  # a statistic, which the default of the mapping makes
            vars(known[name]).update(value[0])
        elif isinstance(value, Mapping) and isinstance(known.get(name), dict):
            _fill(known[name], value)
        else:
            known[name] = _collection(value)


def _collection(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _collection(item) for name, item in value.items()}
    return set(value) if isinstance(value, tuple) else value
