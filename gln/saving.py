"""Models in files that every backend reads: safetensors with a checksum. Nothing is run, a damaged file is refused."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gln.backends import BACKENDS, load_backend
from gln.features import Standardizer

__all__ = ["load", "load_estimator", "save", "save_estimator"]

FORMAT, CALLABLE = "1", "callable"
ARGUMENTS = (  # of `GLN`, which a file keeps
    *("layer_sizes", "input_size", "context_size", "num_classes", "context_map_size", "base_predictor", "bias"),
    *("context_bias", "learning_rate", "normalize", "pred_clipping", "weight_clipping", "seed"),
    *("loss", "num_outputs", "quantiles", "value_clipping"),
)
FIRST_RELEASE = {"loss": "log_loss", "num_outputs": 1, "quantiles": None, "value_clipping": 10.0}  # knew no others


def save(model: Any, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
    """Write a model to a file from which every backend can go on; `model.save` is this.

    It is written under another name in the same folder and then moved, so that `path` is never half a model.

    Args:
        model: a `GLN` of any backend.
        path: the file, replaced if it exists.
        extra: arrays to keep with the model, by their names, such as the state of what prepares its inputs.

    Raises:
        OSError: the file cannot be written; what was at `path` is still there.
        ValueError: what is in `extra` is no array of numbers, or one of more than 8 bytes each.
    """
    arrays = model.get_state()
    for name, value in (extra or {}).items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise _bad(f"extra[{name!r}]", "an array of numbers of at most 8 bytes", f"dtype {array.dtype}")
        # In the byte order that it will be read in, for the checksum's sake.
        arrays[f"extra.{name}"] = array.astype(array.dtype.newbyteorder("="), order="C")
    _write(path, _config(model), arrays)


def load(
    cls: Callable[..., Any],
    path: str | os.PathLike[str],
    *,
    learning_rate: float | Callable[[int], float] | None = None,
    base_predictor: Callable[[Any], Any] | None = None,
) -> Any:
    """The model that `save` wrote to a file, as one of `cls`; `GLN.load(path)` is this with that `GLN`.

    Args:
        cls: the `GLN` of any backend.
        path: the file. Nothing in it is run.
        learning_rate: takes the place of the saved one; needed if that was a callable, which no file can hold.
        base_predictor: needed if the model had one, and refused if it had none.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it is no saved model, or not as it was saved, or a callable is needed, or one too many.
    """
    config, arrays = _read(Path(path))
    if "estimator" in config:
        raise _bad(str(path), "a saved network", f"a saved {config['estimator']}, which its own `load` takes")
    if {*FIRST_RELEASE, *config} != set(ARGUMENTS):
        raise _bad(str(path), f"a configuration of {list(ARGUMENTS)}", config)
    config = {**FIRST_RELEASE, **config}
    if base_predictor is not None and config["base_predictor"] is None:
        raise _bad("base_predictor", "None, for the saved model had none", repr(base_predictor))
    for name, given in (("learning_rate", learning_rate), ("base_predictor", base_predictor)):
        if config[name] == CALLABLE and given is None:
            raise _bad(name, "the callable that the saved model had", None)
        config[name] = config[name] if given is None else given
    model = cls(**config)
    extra = {name: arrays.pop(name) for name in list(arrays) if name.startswith("extra.")}
    model.set_state(arrays)
    model.extra = {name.removeprefix("extra."): array for name, array in extra.items()}
    return model


def save_estimator(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write an estimator of `gln.sklearn` to one file; `estimator.save` is this.

    In it are the parameters, the classes, the features' names, and the states of networks and standardizers. What no
    file can hold is not: a callable, which `load_estimator` then wants again, and a random state, which becomes None.

    Args:
        estimator: one that was fitted, as `estimator.save` makes sure.
        path: the file, replaced if it exists, but only by a whole one.

    Raises:
        OSError: the file cannot be written; what was at `path` is still there.
        ValueError: classes or parameters that are neither numbers nor text, nor sequences of them.
    """
    learned = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    arrays: dict[str, np.ndarray] = {}
    config = {
        "estimator": type(estimator).__name__,
        "parameters": {name: _encoded(name, value, arrays) for name, value in estimator.get_params(deep=False).items()},
        "learned": {name: _encoded(name, value, arrays) for name, value in learned.items()},
    }
    _write(path, config, arrays)


def load_estimator(cls: Any, path: str | os.PathLike[str], parameters: Mapping[str, Any]) -> Any:
    """The estimator that `save_estimator` wrote to a file; `cls.load(path, **parameters)` is this.

    It goes on in the backend that it had, or where that is not installed in the fastest that is.

    Args:
        cls: `GLNClassifier` or `GLNRegressor`, whichever was saved.
        path: the file. Nothing in it is run.
        parameters: take the place of the saved ones. `learning_rate` is needed if that was a callable.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it is no saved estimator of this class, or not as it was saved, or a parameter is missing or
            unknown.
    """
    config, arrays = _read(Path(path))
    if config.get("estimator") != cls.__name__:
        raise _bad(str(path), f"a saved {cls.__name__}", f"a saved {config.get('estimator', 'network')}")
    saved, known = config["parameters"], cls._get_param_names()
    if unknown := {*saved, *parameters} - set(known):
        raise _bad("parameters", f"some of {known}", sorted(unknown))
    if saved["learning_rate"] == CALLABLE and "learning_rate" not in parameters:
        raise _bad("learning_rate", "the callable that the saved model had", None)
    if importlib.util.find_spec(BACKENDS.get(saved["backend"], "numpy")) is None:
        saved["backend"] = "auto"
    estimator = cls(**{**{name: _decoded(name, value, {}, None) for name, value in saved.items()}, **parameters})
    network = load_backend(estimator.backend).GLN
    for name, value in config["learned"].items():
        setattr(estimator, name, _decoded(name, value, arrays, network))
    estimator._set_rates()
    return estimator


def _encoded(place: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value in JSON's types; what arrays it has of numbers goes to `arrays`, under names that begin with `place`."""
    if isinstance(value, np.random.RandomState):
        return None
    if hasattr(value, "get_state"):
        arrays |= {f"{place}.{name}": array for name, array in value.get_state().items()}
        return {"standardizer": value.size} if isinstance(value, Standardizer) else {"network": _config(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufUO" or (value.dtype == object and not all(isinstance(v, str) for v in value)):
            raise _bad(place, "numbers or text", f"dtype {value.dtype}, {value.tolist()}")
        return {"array": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, Mapping):
        return {"pairs": [[_encoded(place, each, arrays) for each in pair] for pair in value.items()]}
    if isinstance(value, (list, tuple, range)):
        return [_encoded(f"{place}.{i}", each, arrays) for i, each in enumerate(value)]
    if callable(value):
        return CALLABLE
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise _bad(place, "numbers, text or sequences of them", repr(value))
    return value


def _decoded(place: str, value: Any, arrays: Mapping[str, np.ndarray], network: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(f"{place}.{i}", each, arrays, network) for i, each in enumerate(value))
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(value["array"], value["dtype"])
    if "pairs" in value:
        return dict(value["pairs"])
    prefix = f"{place}."
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if "standardizer" in value:
        made = Standardizer(value["standardizer"])
    else:
        made = network(**value["network"] | {"learning_rate": None})  # which the estimator sets
    made.set_state(state)
    return made


def _bad(name: str, expected: str, came: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {came}")


def arguments(model: Any) -> dict[str, Any]:
    """Those that make a network of the same kind."""
    values = {name: getattr(model, name) for name in ARGUMENTS}
    return values | {"learning_rate": None if model.has_default_rate else model.learning_rate}


def _config(model: Any) -> dict[str, Any]:
    """Its arguments as far as JSON can hold them."""
    return {name: CALLABLE if callable(value) else value for name, value in arguments(model).items()}


def _write(path: str | os.PathLike[str], config: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    text = json.dumps(config)
    metadata = {"format": FORMAT, "config": text, "checksum": _checksum(text, arrays)}
    with _replacing(Path(path)) as unfinished:
        save_file(arrays, unfinished, metadata)


def _checksum(config: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)  # not `tobytes`, which copies
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and arrays of a saved model; raises ValueError where the file is not as it was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise _bad(str(path), "a saved GLN", f"a file that cannot be read: {error}") from error
    if "checksum" not in metadata or metadata.get("format") != FORMAT:
        raise _bad(str(path), f"a GLN saved in format {FORMAT}", f"format {metadata.get('format')}")
    text = metadata.get("config", "")
    if _checksum(text, arrays) != metadata["checksum"]:
        raise _bad(str(path), "a GLN as it was saved", "a file that was changed since, for its checksum differs")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(str(path), "a saved GLN", f"a configuration that cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise _bad(str(path), "a saved GLN", f"a configuration that is no object: {text}")
    return config, arrays


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which is moved to `path` when it is whole."""
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    prefix = f".{path.name}.{socket.gethostname()}."
    _remove_leftovers(path.parent, prefix)
    unfinished = path.with_name(f"{prefix}{os.getpid()}.{threading.get_ident()}.unfinished")
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode & 0o777  # what the umask gives; safetensors puts a private file there
        yield unfinished
        unfinished.chmod(mode)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what processes of this machine left behind that were killed while they saved."""
    for file in folder.glob(f"{glob.escape(prefix)}*.unfinished"):
        pid = file.name.removeprefix(prefix).split(".")[0]
        if pid.isdigit() and not _runs(int(pid)):
            file.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if os.name != "posix":  # elsewhere to ask may be to kill
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
