"""`save` and `load` of estimators, once for scikit-learn's, River's and bandits.

A file holds JSON, with large arrays beside it; what may stand in it is listed by each estimator.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import inspect
import os
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from gln.backends import BACKENDS, load_backend
from gln.engine.networks.definitions import check_calls, check_definitions, definitions
from gln.engine.networks.files import CALLABLE
from gln.engine.saving import Arrays, Json, Kind, Part, Value, bad, checked, decoded, encoded, fits, read, usable, write

LEARNING_RATES = "learning_rate", "partial_learning_rate"


class Saveable(Part):
    """`save` and `load` for an estimator that keeps what it learned in attributes that it lists."""

    backend: str | type
    learning_rate: Any  # `LearningRate`, or one as a subclass narrows it
    changeable: Collection[str] = ("backend", "learning_rate")  # parameters that `load` may replace
    kept: ClassVar[dict[str, Kind]] = {}  # what a file holds besides the parameters: attributes, and their kinds
    optional: Collection[str] = ()  # those of `kept` that an estimator may lack
    extra: Mapping[str, Value] = types.MappingProxyType({})  # what was saved with the model, if it was loaded

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Value] | None = None) -> None:
        """Save parameters and everything that was learned, without pickle, in a file that any backend can load.

        A file at `path` is replaced by a complete one. Callables and random states are not saved: pass a callable again
        when loading; a random state becomes None. `extra` is what belongs to the model, such as the date of the last
        sample: numbers, text, arrays, and lists and mappings of these. `load` returns it as the attribute `extra`.

        Raises OSError if the file cannot be written, and an existing one is kept; ValueError if a class, a feature's
        name, a parameter or a value of `extra` is neither a number nor text, nor a sequence or mapping of these, or
        `extra` is no mapping.
        """
        if extra is not None and not isinstance(extra, Mapping):
            raise bad("extra", "a mapping", repr(extra))
        arrays = Arrays()
        parameters = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        learned = self._learned() | ({"extra": dict(extra)} if extra else {})
        network = load_backend(getattr(self, "backend", "numpy")).GLN
        check_calls(network)
        config = {
            "estimator": _kind(type(self)),
            "definitions": definitions(network),
            "parameters": {name: _parameter(name, value, arrays) for name, value in parameters.items()},
            "learned": {name: encoded(name, value, arrays) for name, value in learned.items()},
        }
        if not arrays:  # as `load` will: of what was learned it allows more
            _check_sizes(parameters, arrays)
        write(path, config, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Value) -> Any:
        """Load an estimator from a file that `save` wrote, to continue where it stopped. Nothing is unpickled.

        Networks keep their backend, or get the fastest installed one if it is missing; a changed copy must be given
        again, by its path or class. `parameters` replace saved ones, for example `backend`; those that determine the
        networks raise an error.

        Raises OSError if the file does not exist or cannot be read; ValueError if it is not a saved estimator of this
        class or was changed, or a parameter is missing or not allowed.
        """
        config, arrays = read(path)
        if config.get("estimator") != _kind(cls):
            raise bad(str(path), f"a saved {_kind(cls)}", f"a saved {config.get('estimator', 'network')}")
        unknown = sorted(parameters.keys() - cls.changeable)
        if unknown:
            expected = f"some of {sorted(cls.changeable)}, because the others determine what was learned"
            raise bad("parameters", expected, unknown)
        with usable(path):
            saved = {name: decoded(name, value, arrays, None) for name, value in config["parameters"].items()}
            backend = saved["backend"] if "backend" in inspect.signature(cls).parameters else "numpy"
            if backend not in ("auto", *BACKENDS):  # no file tells which code to run
                raise bad("backend", f"'auto' or one of {list(BACKENDS)}", repr(backend))
            if importlib.util.find_spec(BACKENDS.get(backend, "numpy")) is None:
                saved["backend"] = "auto"
            for name in LEARNING_RATES:
                if saved.get(name) == CALLABLE and name not in parameters:
                    raise bad(name, "the callable that the saved model had", None)
            annotations: dict[str, object] = {}
            with contextlib.suppress(NameError):  # of a subclass whose annotations name what is not there at run time
                annotations = typing.get_type_hints(cls.__init__)
            for name, value in saved.items():
                if name not in parameters and not fits(value, annotations.get(name, Any)):
                    raise bad(name, f"{annotations[name]}", repr(value))
            _check_sizes(saved | parameters, arrays)
            estimator = cls(**saved | parameters)
            network = load_backend(getattr(estimator, "backend", "numpy")).GLN
            check_definitions(str(path), config["definitions"], network)
            learned = {name: decoded(name, value, arrays, network) for name, value in config["learned"].items()}
            fields = checked(cls.__name__, {"extra": dict, **cls.kept}, learned, {"extra", *cls.optional})
            if arrays:
                raise bad("arrays", "those of the configuration", sorted(arrays))
            estimator._restore(fields)
            estimator._check_loaded()
        return estimator

    def _learned(self) -> dict[str, Value]:
        return {name: vars(self)[name] for name in self.kept if name in vars(self)}

    def _check_loaded(self) -> None:
        """Raise ValueError unless what was loaded fits together."""


def _check_sizes(parameters: Mapping[str, Value], arrays: Arrays) -> None:
    """Raise ValueError for parameters that no network has, or of something too large to be made of the file."""
    network = load_backend("numpy").GLN([1], 1, 1, learning_rate=parameters.get("learning_rate"))
    names = ("layer_sizes", "context_map_size", "context_bias")
    given = {name: parameters[name] for name in names if parameters.get(name) is not None}
    config = dataclasses.replace(network.config, **given)
    weights = sum(n * (1 + below) for n, below in zip(config.layer_sizes, (0, *config.layer_sizes), strict=False))
    sizes = {"layer_sizes, context_map_size": 4 * weights << config.context_map_size}
    sizes["n_networks"] = 1000 * (parameters.get("n_networks") or 0)
    sizes["window_size"] = 8 * (parameters.get("window_size") or 0)
    for name, size in sizes.items():
        if size > arrays.left:  # which is not reduced: what was learned counts when it is made
            raise bad(name, f"at most {arrays.left} bytes, because the file is small", size)


def _parameter(name: str, value: Value, arrays: Arrays) -> Json:
    if isinstance(value, np.random.RandomState):
        return None
    if name == "backend" and value not in ("auto", *BACKENDS):
        return "auto"  # unless its definitions are its own, when `load` needs it
    return CALLABLE if name in LEARNING_RATES and callable(value) else encoded(name, value, arrays)


def _kind(estimator: type) -> str:
    return f"{estimator.__module__}.{estimator.__name__}"
