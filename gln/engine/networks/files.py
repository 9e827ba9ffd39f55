"""Files of models: safetensors with a checksum. Loading runs no code; damaged files raise an error."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gln.engine.networks.protocol import arguments
from gln.engine.saving import bad, printable
from gln_numpy import Config

FORMAT, READABLE, CALLABLE = "2", ("1", "2"), "callable"
UNUSABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError)
FEW = 1 << 20  # numbers of a network that need not be in a file for it to be made
LONGEST = 1 << 24  # characters of a configuration in the header, of which safetensors reads 100 MB; others are an array


def write(path: str | os.PathLike[str], config: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    text = json.dumps(config)
    if len(text) > LONGEST:
        arrays, text = arrays | {"config": np.frombuffer(text.encode(), np.uint8)}, ""
    metadata = {"format": FORMAT, "config": text, "checksum": checksum(text, arrays)}
    with replacing(path) as unfinished:
        save_file(arrays, unfinished, metadata)


def checksum(config: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)  # `tobytes` would copy
    return digest.hexdigest()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and arrays of a saved model; raises ValueError if the file is not as it was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise bad(str(path), "a saved GLN", f"a file that cannot be read: {error}") from error
    if "checksum" not in metadata or metadata.get("format") not in READABLE:
        raise bad(str(path), f"a GLN saved in format {' or '.join(READABLE)}", f"format {metadata.get('format')}")
    text = metadata.get("config", "")
    if checksum(text, arrays) != metadata["checksum"]:
        raise bad(str(path), "a GLN as it was saved", "a file that was changed since: its checksum differs")
    try:
        config = json.loads(text or arrays.pop("config", np.empty(0)).tobytes())
    except (ValueError, RecursionError) as error:
        raise bad(str(path), "a saved GLN", f"a configuration that cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise bad(str(path), "a saved GLN", f"a configuration that is not a JSON object: {text[:100]}")
    return config, arrays


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
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


@contextlib.contextmanager
def usable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise ValueError in place of any error over the contents of a file, which anyone may have written."""
    try:
        yield
    except ValueError as error:
        if (message := printable(str(error))) != str(error):
            raise ValueError(message) from None
        raise
    except UNUSABLE as error:
        raise bad(str(path), "a saved GLN", f"contents that cannot be used: {error!r}") from None


def configuration(network: Any) -> dict[str, Any]:
    """The constructor arguments of a network in JSON types; a callable becomes CALLABLE."""
    return {name: CALLABLE if callable(value) else value for name, value in arguments(network).items()}


def packed(model: Any) -> dict[str, np.ndarray]:
    """The state of a model, with each distinct weight row stored once, (m, d), and indices into these, (n, 2^k, C).

    Rows that no sample has picked are all equal, and so are the rows of classes without a sample in a context.
    """
    arrays = {}
    for name, array in model.get_state(copy=False).items():
        arrays[name] = array
        if name.startswith("weights"):
            distinct: dict[bytes, int] = {}
            rows = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
            indices = [distinct.setdefault(row.tobytes(), len(distinct)) for row in rows]
            if len(distinct) < len(rows) * (1 - 1 / rows.shape[1]):  # otherwise indices would take more than they save
                arrays[name] = np.frombuffer(b"".join(distinct), array.dtype).reshape(-1, rows.shape[1])
                arrays[f"{name}.rows"] = np.array(indices, np.int32).reshape(array.shape[:-1])
    return arrays


def check_sizes(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless large layers of this configuration are in the file: making them takes memory and time."""
    of_network, missing = Config(**{name: config[name] for name in Config.__dataclass_fields__ if name in config}), 0
    halfspaces, bias, below = of_network.context_map_size, of_network.bias, of_network.input_size
    for layer, neurons in enumerate(of_network.layer_sizes, start=1):
        planes, weights = (arrays.get(f"{name}.{layer}", np.empty(0)) for name in ("hyperplanes", "weights"))
        if layer == 1 and config["base_predictor"] is not None:  # only a call can tell what it returns
            below = [bias, *weights.shape][-1] - bias
        rows, seen = neurons * 2**halfspaces * of_network.num_heads, neurons * halfspaces * of_network.context_size
        shape = arrays.get(f"weights.{layer}.rows", weights).shape[:3]
        if planes.size != seen or math.prod(shape) != rows or weights.shape[-1:] != (below + bias,):
            missing += rows * (below + bias) + seen
        if missing > FEW:
            raise bad("layer_sizes", "the layers in the file", f"{neurons} neurons of layer {layer}")
        below = neurons


def unpacked(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state of a network of the same shape as `model` from the result of `packed`; format 1 stores the state."""
    state = dict(arrays)
    for name, array in model.get_state(copy=False).items():
        if (indices := state.pop(f"{name}.rows", None)) is not None:
            rows, size = state.get(name, np.empty(0)), array.shape[-1]
            if rows.ndim != 2 or rows.shape[1] != size:
                raise bad(name, f"rows of {size} weights", f"shape {rows.shape}")
            if indices.dtype != np.int32 or indices.shape != array.shape[:-1]:
                expected = f"int32 of shape {array.shape[:-1]}"
                raise bad(f"{name}.rows", expected, f"{indices.dtype} of shape {indices.shape}")
            if not 0 <= indices.min() <= indices.max() < len(rows):
                expected = f"numbers from 0 to {len(rows) - 1}"
                raise bad(f"{name}.rows", expected, f"numbers from {indices.min()} to {indices.max()}")
            state[name] = rows[indices]
    return state
