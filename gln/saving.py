"""Save and load models of any backend: safetensors with a checksum. Runs no code; damaged files raise an error."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gln.backends import BACKENDS, load_backend
from gln.learning.sparse_scaler import SparseScaler
from gln.learning.standardizer import Standardizer
from gln_numpy import Config

__all__ = ["load", "load_estimator", "save", "save_estimator"]

FORMAT, READABLE, CALLABLE = "2", ("1", "2"), "callable"
LARGE = 1000  # larger arrays of numbers are stored as tensors, not as text
SCALERS: dict[str, Any] = {"standardizer": Standardizer, "sparse_scaler": SparseScaler}


def save(model: Any, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
    """Save a model to a file from which every backend can continue; `model.save` calls this.

    The file is written under another name in the same folder and then moved, so that `path` is never incomplete.

    Args:
        model: a `GLN` of any backend.
        path: the file, replaced if it exists.
        extra: named arrays to save with the model, such as the state of a standardizer.

    Raises:
        OSError: the file cannot be written; an existing file at `path` is kept.
        ValueError: a value in `extra` is not an array of numbers of at most 8 bytes.
    """
    arrays = _packed(model)
    for name, value in (extra or {}).items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise _bad(f"extra[{name!r}]", "an array of numbers of at most 8 bytes", f"dtype {array.dtype}")
        # In native byte order, as it will be read, so that the checksum matches.
        arrays[f"extra.{name}"] = array.astype(array.dtype.newbyteorder("="), order="C")
    _write(path, _config(model), arrays)


def load(
    cls: Callable[..., Any],
    path: str | os.PathLike[str],
    *,
    learning_rate: float | Callable[[int], float] | None = None,
    base_predictor: Callable[[Any], Any] | None = None,
) -> Any:
    """Load a model that `save` wrote, as an instance of `cls`; `GLN.load(path)` calls this.

    Args:
        cls: the `GLN` of any backend.
        path: the file. Loading runs no code from it.
        learning_rate: replaces the saved one; required if that was a callable, which a file cannot hold.
        base_predictor: required if the model had one, not allowed if it had none.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is not a saved model or was changed, or a callable is missing or not allowed.
    """
    config, arrays = _read(Path(path))
    if "estimator" in config:
        raise _bad(str(path), "a saved network", f"a saved {config['estimator']}, which its own `load` takes")
    names = {*Config.__dataclass_fields__, "learning_rate", "base_predictor"}
    config = {"context_features": None, **config}  # missing in older files
    if config.keys() != names:
        raise _bad(str(path), f"a configuration of {sorted(names)}", config)
    if base_predictor is not None and config["base_predictor"] is None:
        raise _bad("base_predictor", "None, because the saved model had none", repr(base_predictor))
    for name, given in (("learning_rate", learning_rate), ("base_predictor", base_predictor)):
        if config[name] == CALLABLE and given is None:
            raise _bad(name, "the callable that the saved model had", None)
        config[name] = config[name] if given is None else given
    model = cls(**config)
    extra = {name: arrays.pop(name) for name in list(arrays) if name.startswith("extra.")}
    model.set_state(_unpacked(model, arrays))
    model.extra = {name.removeprefix("extra."): array for name, array in extra.items()}
    return model


def save_estimator(
    path: str | os.PathLike[str], kind: str, parameters: Mapping[str, Any], learned: Mapping[str, Any]
) -> None:
    """Save an estimator to one file; the `save` of the estimators in `gln.sklearn` and `gln.river` calls this.

    Args:
        path: the file; an existing one is replaced only by a complete one.
        kind: the class name of the estimator, to pass to `load_estimator`.
        parameters: constructor parameters. A callable is not saved and must be passed again when loading; a random
            state becomes None.
        learned: the fitted attributes: networks, standardizers, arrays, numbers, text, and sequences, mappings and
            dataclasses of these.

    Raises:
        OSError: the file cannot be written; an existing file at `path` is kept.
        ValueError: a class, a feature's name or a parameter is neither a number nor text, nor a sequence of them.
    """
    arrays: dict[str, np.ndarray] = {}
    values = {
        group: {name: _encoded(name, value, arrays) for name, value in each.items()}
        for group, each in {"parameters": parameters, "learned": learned}.items()
    }
    # Early versions of safetensors cannot read a file without arrays, as before the first sample of a stream.
    _write(path, {"estimator": kind, **values}, arrays or {"none": np.zeros(1)})


def load_estimator(
    path: str | os.PathLike[str], kind: str, given: Mapping[str, Any], changeable: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the parameters and the fitted attributes that `save_estimator` wrote. Runs no code from the file.

    Dataclasses are returned as dicts of their fields. Networks keep their backend, or get the fastest installed one if
    it is missing.

    Args:
        path: the file.
        kind: the class name given to `save_estimator`.
        given: parameters that replace the saved ones. `learning_rate` is required if it was a callable.
        changeable: the parameters that may be given; the fitted attributes depend on the others.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is not a saved estimator of this kind or was changed, or a parameter is missing or not
            allowed.
    """
    config, arrays = _read(Path(path))
    if config.get("estimator") != kind:
        raise _bad(str(path), f"a saved {kind}", f"a saved {config.get('estimator', 'network')}")
    saved = config["parameters"]
    if unknown := sorted(given.keys() - changeable):
        raise _bad(
            "parameters", f"some of {sorted(changeable)}, because the others determine what was learned", unknown
        )
    if saved.get("learning_rate") == CALLABLE and "learning_rate" not in given:
        raise _bad("learning_rate", "the callable that the saved model had", None)
    if importlib.util.find_spec(BACKENDS.get(saved["backend"], "numpy")) is None:
        saved["backend"] = "auto"
    parameters = {name: _decoded(name, value, {}, None) for name, value in saved.items()} | dict(given)
    network = load_backend(parameters["backend"]).GLN
    return parameters, {name: _decoded(name, value, arrays, network) for name, value in config["learned"].items()}


def _encoded(place: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON types; its large arrays are added to `arrays`, under names that begin with `place`."""
    if isinstance(value, np.random.RandomState):
        return None
    if hasattr(value, "get_state"):
        kinds = [kind for kind, cls in SCALERS.items() if isinstance(value, cls)]
        state = value.get_state() if kinds else _packed(value)
        arrays |= {f"{place}.{name}": array for name, array in state.items()}
        return {kinds[0]: value.size} if kinds else {"network": _config(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufUO" or (value.dtype == object and not all(isinstance(v, str) for v in value)):
            raise _bad(place, "numbers or text", f"dtype {value.dtype}, {value.tolist()}")
        if value.size > LARGE and value.dtype.kind in "biuf":
            arrays[place] = np.ascontiguousarray(value)
            return {"tensor": place}
        return {"array": value.ravel().tolist(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"fields": {name: _encoded(f"{place}.{name}", each, arrays) for name, each in value.items()}}
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
        raise _bad(place, "numbers, text or sequences of them", repr(value))
    return value


def _decoded(place: str, value: Any, arrays: Mapping[str, np.ndarray], network: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(f"{place}.{i}", each, arrays, network) for i, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "array":
        array = np.array(content, value["dtype"])
        return array.reshape(value.get("shape", array.shape))  # missing in older files
    if kind == "tensor":
        return arrays[content]
    if kind == "tuple":
        return tuple(_decoded(place, content, arrays, network))
    if kind == "pairs":
        pairs = ([_decoded(f"{place}.{i}", each, arrays, network) for each in pair] for i, pair in enumerate(content))
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
        made.set_state(_unpacked(made, state))
    return made


def _packed(model: Any) -> dict[str, np.ndarray]:
    """The state of a model, with each distinct weight row stored once, (m, d), and indices into these, (n, 2^k, C).

    Rows that no sample has picked are all equal, and so are the rows of classes without a sample in a context.
    """
    arrays = {}
    for name, array in model.get_state(copy=False).items():
        arrays[name] = array
        if name.startswith("weights"):
            numbers: dict[bytes, int] = {}
            rows = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
            places = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
            if len(numbers) < len(rows) * (1 - 1 / rows.shape[1]):  # otherwise indices would take more than they save
                arrays[name] = np.frombuffer(b"".join(numbers), array.dtype).reshape(-1, rows.shape[1])
                arrays[f"{name}.rows"] = np.array(places, np.int32).reshape(array.shape[:-1])
    return arrays


def _unpacked(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state of a network of the same shape as `model` from the result of `_packed`; format 1 stores the state."""
    state = dict(arrays)
    for name, array in model.get_state(copy=False).items():
        if (numbers := state.pop(f"{name}.rows", None)) is not None:
            rows, size = state.get(name, np.empty(0)), array.shape[-1]
            if rows.ndim != 2 or rows.shape[1] != size:
                raise _bad(name, f"rows of {size} weights", f"shape {rows.shape}")
            if numbers.dtype != np.int32 or numbers.shape != array.shape[:-1]:
                expected = f"int32 of shape {array.shape[:-1]}"
                raise _bad(f"{name}.rows", expected, f"{numbers.dtype} of shape {numbers.shape}")
            if not 0 <= numbers.min() <= numbers.max() < len(rows):
                expected = f"numbers from 0 to {len(rows) - 1}"
                raise _bad(f"{name}.rows", expected, f"numbers from {numbers.min()} to {numbers.max()}")
            state[name] = rows[numbers]
    return state


def _bad(name: str, expected: str, came: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {came}")


def arguments(model: Any) -> dict[str, Any]:
    """The constructor arguments for a network of the same kind."""
    rate = None if model.has_default_rate else model.learning_rate
    return {**dataclasses.asdict(model.config), "learning_rate": rate, "base_predictor": model.base_predictor}


def _config(model: Any) -> dict[str, Any]:
    """The constructor arguments in JSON types; a callable becomes CALLABLE."""
    return {name: CALLABLE if callable(value) else value for name, value in arguments(model).items()}


def _write(path: str | os.PathLike[str], config: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    text = json.dumps(config)
    metadata = {"format": FORMAT, "config": text, "checksum": _checksum(text, arrays)}
    with replacing(Path(path)) as unfinished:
        save_file(arrays, unfinished, metadata)


def _checksum(config: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)  # `tobytes` would copy
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and arrays of a saved model; raises ValueError if the file is not as it was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise _bad(str(path), "a saved GLN", f"a file that cannot be read: {error}") from error
    if "checksum" not in metadata or metadata.get("format") not in READABLE:
        raise _bad(str(path), f"a GLN saved in format {' or '.join(READABLE)}", f"format {metadata.get('format')}")
    text = metadata.get("config", "")
    if _checksum(text, arrays) != metadata["checksum"]:
        raise _bad(str(path), "a GLN as it was saved", "a file that was changed since: its checksum differs")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(str(path), "a saved GLN", f"a configuration that cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise _bad(str(path), "a saved GLN", f"a configuration that is not a JSON object: {text}")
    return config, arrays


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it is moved to `path` when the block ends without an error."""
    path = Path(os.path.realpath(path))  # keep a link and replace its target
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder, "unfinished")
        unfinished.touch()
        mode = unfinished.stat().st_mode & 0o777  # from the umask; safetensors makes the file private
        try:
            yield unfinished
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        unfinished.chmod(mode)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
