"""Save and load networks of any backend: safetensors with a checksum. Runs no code; damaged files raise an error.

Estimators have methods `save` and `load`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gln.engine.networks.definitions import check_calls, check_definitions, definitions
from gln.engine.networks.files import CALLABLE, configuration, pack, unpacked
from gln.engine.saving import Arrays, bad, read, usable, write
from gln.engine.types import Fitted
from gln_numpy import Config

__all__ = ["load", "save"]


def save(model: Fitted, path: str | os.PathLike[str], extra: Mapping[str, object] | None = None) -> None:
    """Save a model to a file from which every backend can continue; `model.save` calls this.

    The file is written under another name in the same folder and then moved, so that `path` is never incomplete.

    Args:
        model: a `GLN` of any backend.
        path: the file, replaced if it exists.
        extra: named arrays to save with the model, such as the state of a standardizer.

    Raises:
        OSError: the file cannot be written; an existing file at `path` is kept.
        ValueError: `extra` is not a mapping, a value in it is not an array of numbers of at most 8 bytes, or the model
            is of a subclass that overrides how it predicts, which a file cannot hold, or of a copy without a source.
    """
    check_calls(type(model))
    extra = {} if extra is None else extra
    if not isinstance(extra, Mapping):
        raise bad("extra", "a mapping of names to arrays", repr(extra))
    pack(model, arrays := Arrays())
    for name, value in extra.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise bad(f"extra[{name!r}]", "an array of numbers of at most 8 bytes", f"dtype {array.dtype}")
        # In native byte order, as it will be read, so that the checksum matches.
        arrays[f"extra.{name}"] = array.astype(array.dtype.newbyteorder("="), order="C")
    write(path, configuration(model) | {"definitions": definitions(type(model))}, arrays)


def load(
    cls: Any,
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
        ValueError: the file is not a saved model or was changed, `cls` computes with other functions than the model did
            (as a changed copy does), or a callable is missing or not allowed.
    """
    config, arrays = read(path)
    if "estimator" in config:
        raise bad(str(path), "a saved network", f"a saved {config['estimator']}, which that class's `load` takes")
    names = {*Config.__dataclass_fields__, "learning_rate", "base_predictor", "definitions"}
    if config.keys() != names:
        raise bad(str(path), f"a configuration of {sorted(names)}", sorted(config))
    if base_predictor is not None and config["base_predictor"] is None:
        raise bad("base_predictor", "None, because the saved model had none", repr(base_predictor))
    for name, given in (("learning_rate", learning_rate), ("base_predictor", base_predictor)):
        if config[name] == CALLABLE and given is None:
            raise bad(name, "the callable that the saved model had", None)
        config[name] = config[name] if given is None else given
    extra = {name: arrays.pop(name) for name in list(arrays) if name.startswith("extra.")}
    with usable(path):
        check_definitions(str(path), config.pop("definitions"), cls)
        state = unpacked(cls, config, arrays)
        if arrays:
            raise bad("arrays", "those of the configuration", sorted(arrays))
        model = cls(**config)
        model.set_state(state)
    model.extra = {name.removeprefix("extra."): array for name, array in extra.items()}
    return model
