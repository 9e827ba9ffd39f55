"""`save` and `load` of estimators, once for scikit-learn's, River's and bandits.

A file holds JSON, with large arrays beside it; what may stand in it is listed by each estimator.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from gln.backends import BACKENDS, load_backend
from gln.learning.files import CALLABLE, bad, configuration, packed, read, unpacked, usable, write
from gln.learning.learner import Learner
from gln.learning.network import is_network
from gln.learning.own_classes import OwnClasses
from gln.learning.sparse_scaler import SparseScaler
from gln.learning.standardizer import Standardizer
from gln.learning.states import learner_of, state_of

__all__ = ["Saveable"]

LARGE = 1000  # larger arrays of numbers are stored as tensors, not as text
SCALERS: dict[str, Any] = {"standardizer": Standardizer, "sparse_scaler": SparseScaler}


class Saveable:
    """`save` and `load` for an estimator that keeps what it learned in a `Learner`, and perhaps other attributes."""

    backend: str
    learning_rate: Any
    changeable: Collection[str] = ("backend", "learning_rate")  # parameters that `load` may replace
    kept: ClassVar[dict[str, Any]] = {}  # what a file holds besides the parameters: attributes, and their types

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save parameters and everything that was learned, without pickle, in a file that any backend can load.

        Parameters
        ----------
        path : str or path-like
            The file, replaced by a complete one if it exists. Callables and random states are not saved: pass a
            callable again when loading; a random state becomes None.

        Raises
        ------
        OSError
            The file cannot be written; an existing file at `path` is kept.
        ValueError
            A class, a feature's name or a parameter is neither a number nor text, nor a sequence of them.
        """
        arrays: dict[str, np.ndarray] = {}
        parameters = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        config = {
            "estimator": _kind(type(self)),
            "parameters": {name: _encoded(name, value, arrays) for name, value in parameters.items()},
            "learned": {name: _encoded(name, value, arrays) for name, value in self._learned().items()},
        }
        # Early versions of safetensors cannot read a file without arrays, as before the first sample of a stream.
        write(path, config, arrays or {"none": np.zeros(1)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """Load an estimator from a file that `save` wrote, to continue where it stopped. Nothing is unpickled.

        Networks keep their backend, or get the fastest installed one if it is missing.

        Parameters
        ----------
        path : str or path-like
            The file.
        **parameters
            Replace saved ones, for example `backend`. Those that determine the networks raise an error.

        Returns
        -------
        estimator : of this class

        Raises
        ------
        OSError
            The file does not exist or cannot be read.
        ValueError
            The file is not a saved estimator of this class or was changed, or a parameter is missing or not allowed.
        """
        config, arrays = read(path)
        if config.get("estimator") != _kind(cls):
            raise bad(str(path), f"a saved {_kind(cls)}", f"a saved {config.get('estimator', 'network')}")
        if unknown := sorted(parameters.keys() - cls.changeable):
            expected = f"some of {sorted(cls.changeable)}, because the others determine what was learned"
            raise bad("parameters", expected, unknown)
        with usable(path):
            if config["parameters"].get("learning_rate") == CALLABLE and "learning_rate" not in parameters:
                raise bad("learning_rate", "the callable that the saved model had", None)
            estimator = cls(**_parameters(config["parameters"]) | parameters)
            network = load_backend(estimator.backend).GLN
            for name, value in config["learned"].items():
                estimator._keep(name, _decoded(name, value, arrays, network))
            estimator._restored()
        return estimator

    def _restored(self) -> None:
        """Bring what an older version saved into today's form."""

    def _learned(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in self.kept if name in vars(self)}

    def _keep(self, name: str, value: Any) -> None:
        """Set an attribute from a file. Raises ValueError for one that an estimator of this class does not have."""
        if name not in self.kept:
            raise bad("learned", f"some of {sorted(self.kept)}", repr(name))
        if self.kept[name] is Learner:
            value = None if value is None else learner_of(value, self.learning_rate)  # None before the first sample
        elif not isinstance(value, self.kept[name]):
            raise bad(name, f"a value of type {self.kept[name]}", repr(value)[:200])
        setattr(self, name, value)


def _kind(estimator: type) -> str:
    return f"{estimator.__module__}.{estimator.__name__}"


def _parameters(saved: dict[str, Any]) -> dict[str, Any]:
    parameters = {name: _decoded(name, value, {}, None) for name, value in saved.items()}
    if importlib.util.find_spec(BACKENDS.get(parameters["backend"], "numpy")) is None:
        parameters["backend"] = "auto"
    return parameters


# ---- Values as JSON --------------------------------------------------------------------------------------------------


def _encoded(place: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON types; its large arrays are added to `arrays`, under names that begin with `place`."""
    if isinstance(value, np.random.RandomState):
        return None
    if isinstance(value, (Learner, OwnClasses)):
        return {"fields": {name: _encoded(f"{place}.{name}", each, arrays) for name, each in state_of(value).items()}}
    if isinstance(value, (Standardizer, SparseScaler)):
        [kind] = [kind for kind, cls in SCALERS.items() if isinstance(value, cls)]
        arrays |= {f"{place}.{name}": array for name, array in value.get_state().items()}
        return {kind: value.size}
    if is_network(value):
        arrays |= {f"{place}.{name}": array for name, array in packed(value).items()}
        return {"network": configuration(value)}
    if isinstance(value, np.ndarray):
        return _encoded_array(place, value, arrays)
    if isinstance(value, Mapping):
        pairs = enumerate(value.items())
        return {"pairs": [[_encoded(f"{place}.{i}", each, arrays) for each in pair] for i, pair in pairs]}
    if isinstance(value, (list, tuple, range)):
        encoded = [_encoded(f"{place}.{i}", each, arrays) for i, each in enumerate(value)]
        return encoded if isinstance(value, list) else {"tuple": encoded}
    if callable(value):
        return CALLABLE
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise bad(place, "numbers, text or sequences of them", repr(value))
    return value


def _encoded_array(place: str, array: np.ndarray, arrays: dict[str, np.ndarray]) -> Any:
    if array.dtype.kind not in "biufUO" or (array.dtype == object and not all(isinstance(v, str) for v in array)):
        raise bad(place, "numbers or text", f"dtype {array.dtype}, {array.tolist()}")
    if array.size > LARGE and array.dtype.kind in "biuf":
        arrays[place] = np.ascontiguousarray(array)
        return {"tensor": place}
    return {"array": array.ravel().tolist(), "dtype": array.dtype.str, "shape": list(array.shape)}


def _decoded(place: str, value: Any, arrays: Mapping[str, np.ndarray], network: Any) -> Any:
    """Undo `_encoded`; networks are made by `network`, and a learner is returned as its state."""
    if isinstance(value, list):
        return [_decoded(f"{place}.{i}", each, arrays, network) for i, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kind, content = list(value.items())[0]  # noqa: RUF015 - a mapping without entries is a LookupError
    if kind == "array":
        array = np.array(content, value["dtype"])
        return array.reshape(value.get("shape", array.shape))  # missing in older files
    if kind == "tensor":
        return arrays[content]
    if kind == "tuple":
        return tuple(_decoded(place, content, arrays, network))
    if kind == "pairs":
        pairs = [[_decoded(f"{place}.{i}", each, arrays, network) for each in pair] for i, pair in enumerate(content)]
        return dict(pairs)
    if kind == "fields":
        return {name: _decoded(f"{place}.{name}", each, arrays, network) for name, each in content.items()}
    prefix = f"{place}."
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if kind in SCALERS:
        made = SCALERS[kind](content)
        made.set_state(state)
    else:
        made = network(**content | {"learning_rate": None})  # the estimator sets it
        made.set_state(unpacked(made, state))
    return made
