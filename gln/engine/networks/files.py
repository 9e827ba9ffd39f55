"""Networks in files: their configuration as JSON, and their state with each distinct weight row once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from gln.engine.networks.protocol import Network, arguments, is_network
from gln.engine.saving import DECODERS, ENCODERS, Json, bad
from gln_numpy import Config

CALLABLE = "callable"
FEW = 1 << 20  # numbers of a network that need not be in a file for it to be made


def _encode(place: str, network: Network, arrays: dict[str, np.ndarray]) -> Json:
    arrays |= {f"{place}.{name}": array for name, array in packed(network).items()}
    return {"network": configuration(network), "arrays": place}


def _decode(value: Json, arrays: Mapping[str, np.ndarray], backend: Callable[..., Network]) -> Network:
    config, prefix = value["network"], f"{value['arrays']}."
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    check_sizes(config, state)
    network = backend(**config | {"learning_rate": None})  # the estimator sets it
    network.set_state(unpacked(network, state))
    return network


ENCODERS[is_network], DECODERS["network"] = _encode, _decode


def configuration(network: Network) -> Json:
    """The constructor arguments of a network in JSON types; a callable becomes CALLABLE."""
    return {name: CALLABLE if callable(value) else value for name, value in arguments(network).items()}


def packed(model: Network) -> dict[str, np.ndarray]:
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


def check_sizes(config: Json, arrays: Mapping[str, np.ndarray]) -> None:
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


def unpacked(model: Network, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state of a network of the same shape as `model` from the result of `packed`."""
    state = dict(arrays)
    for name, array in model.get_state(copy=False).items():
        if (indices := state.pop(f"{name}.rows", None)) is not None:
            rows = state.get(name, np.empty(0))
            if indices.shape + rows.shape[1:] != array.shape or not np.isin(indices, range(len(rows))).all():
                came = f"{indices.dtype} of shape {indices.shape} for rows of shape {rows.shape}"
                raise bad(f"{name}.rows", f"numbers of rows for shape {array.shape}", came)
            state[name] = rows[indices]
    return state
