"""Networks in files: their configuration as JSON, and their state with each distinct weight row once."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from gln.engine.networks.protocol import Network, arguments, backend_of, is_network
from gln.engine.saving import DECODERS, ENCODERS, Arrays, Json, bad

CALLABLE = "callable"
DRAWING = 32  # bytes for each number of a halfspace, while a network draws them


def _encode(prefix: str, network: Network, arrays: Arrays) -> Json:
    pack(network, arrays, f"{prefix}.")
    return {"network": configuration(network), "arrays": prefix}


def _decode(value: Json, arrays: Arrays, backend: Any) -> Network:
    state = unpacked(backend, value["network"], arrays, f"{value['arrays']}.")
    network = backend(**value["network"] | {"learning_rate": None})  # the estimator sets it
    network.set_state(state)
    return network


ENCODERS[is_network] = _encode
DECODERS["network"] = _decode


def configuration(network: Network) -> Json:
    """The constructor arguments of a network in JSON types; a callable becomes CALLABLE."""
    return {name: CALLABLE if callable(value) else value for name, value in arguments(network).items()}


def pack(network: Network, arrays: Arrays, prefix: str = "") -> None:
    """Add the state of a network, with each distinct weight row stored once, (m, d), and indices of these, (n, 2^k, C).

    Rows that no sample has picked are all equal, and so are the rows of classes without a sample in a context.
    """
    for name, array in network.get_state(copy=False).items():
        arrays[prefix + name] = array
        if name.startswith("weights"):
            distinct: dict[bytes, int] = {}
            rows = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
            indices = [distinct.setdefault(row.tobytes(), len(distinct)) for row in rows]
            stored = len(distinct) * array.itemsize * rows.shape[1] + 4 * len(rows)
            if stored < array.nbytes and arrays.has_room(array.nbytes, stored):
                arrays[prefix + name] = np.frombuffer(b"".join(distinct), array.dtype).reshape(-1, rows.shape[1])
                arrays[f"{prefix}{name}.rows"] = np.array(indices, np.int32).reshape(array.shape[:-1])


def unpacked(kind: type, config: Json, arrays: Arrays, prefix: str = "") -> dict[str, np.ndarray]:
    """Undo `pack` for a network of this class and configuration. Raises ValueError if there is no room for it."""
    Config = sys.modules[backend_of(kind).__module__].Config  # noqa: N806 - a class, which may know other losses
    checked_config = Config(**{name: config[name] for name in Config.__dataclass_fields__})
    state = {"step": arrays.pop(f"{prefix}step")}
    below = checked_config.input_size
    k = checked_config.context_map_size
    arrays.make_room("input_size", 8, [below])  # a base predictor gets so many zeros
    for layer, neurons in enumerate(checked_config.layer_sizes, start=1):
        names = [f"{name}.{layer}" for name in ("hyperplanes", "hyperplane_bias", "weights")]
        *halfspaces, weights = (arrays.pop(prefix + name) for name in names)
        indices = arrays.pop(f"{prefix}{names[-1]}.rows", None)
        if layer == 1 and config["base_predictor"] is not None:  # only a call can tell what it returns
            below = weights.shape[-1] - checked_config.bias
        shape = neurons, 2**k, checked_config.num_heads, below + checked_config.bias
        arrays.make_room("layer_sizes", 4, shape)
        arrays.make_room("layer_sizes", DRAWING, [neurons * k * checked_config.context_size])
        if indices is not None:
            _check_rows(names[-1], weights, indices, shape)
            weights = weights[indices]
        state |= zip(names, [*halfspaces, weights], strict=True)
        below = neurons
    others = [name for name in arrays if name.startswith(prefix)]  # of a changed copy, or none that a network takes
    return state | {name.removeprefix(prefix): arrays.pop(name) for name in others}


def _check_rows(name: str, rows: np.ndarray, indices: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless indices of distinct rows make weights of this shape."""
    fits = indices.shape == shape[:-1] and rows.shape == (len(rows), shape[-1])
    if not fits or indices.dtype.kind != "i" or not 0 <= indices.min() <= indices.max() < len(rows):
        came = f"{indices.dtype} of shape {indices.shape} for rows of shape {rows.shape}"
        raise bad(f"{name}.rows", f"numbers of rows for shape {shape}", came)
