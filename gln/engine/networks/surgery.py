"""Network surgery: add classes, outputs and inputs without forgetting what was learned.

Shapes: C heads, k halfspaces per neuron, n neurons in a layer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gln.engine.networks.protocol import arguments
from gln.engine.networks.schedules import linear_rate

REPLACED = 4  # one neuron in this many gets halfspaces that see new side information


def copied(network: Any, state: Mapping[str, np.ndarray], **changes: Any) -> Any:
    """A network with the same arguments, but for `changes`, and with this state; what is missing in it is initial."""
    copy = type(network)(**arguments(network) | changes)
    copy.set_state(copy.get_state() | state)
    return copy


def add_class(network: Any, inputs: Any = None, context_inputs: Any = None) -> Any:
    """The network with a head for one more class, the last one. The others predict what they predicted before.

    A network of two classes has one head. When a third is added, each of the two gets its own head.

    Args:
        network: a `GLN` of any backend, with the log-loss.
        inputs: (input_size, N), samples of the known classes. The head learns that they are not of the new class, with
            a learning rate that falls from 10 to 0.1. If None and the network has a bias, the head starts with the
            probability of a class that no sample so far had.
        context_inputs: (context_size, N), their side information.

    Raises:
        ValueError: a network with another loss, or samples of the wrong shape.
    """
    if network.config.record.heads != "num_classes":
        raise ValueError(f"network: expected one with the log-loss, got {network!r}")
    head = copied(network, _arrays(network, "hyperplane"), num_classes=2)
    if inputs is not None:
        count = np.shape(inputs)[-1]
        head.learning_rate = functools.partial(linear_rate, samples=max(1, count))
        head.predict_online(inputs, context_inputs, np.zeros(count))
    elif network.bias:
        set_initial_logits(head, np.array([-math.log(int(network.step) + 1)]))
    known = [network] if network.num_heads > 1 else [_mirrored(network), network]
    weights = [_arrays(model, "weights") for model in (*known, head)]
    joined = {name: np.concatenate([arrays[name] for arrays in weights], axis=2) for name in weights[0]}
    return copied(network, network.get_state(copy=False) | joined, num_classes=1 + max(2, network.num_heads))


def set_initial_logits(network: Any, logits: np.ndarray) -> None:  # (C,)
    """Make the heads of an untrained network with a bias predict these logits for any input."""
    state = network.get_state()
    for name in _arrays(network, "weights"):
        below = state[name].shape[-1] - 1
        state[name][..., :-1] = 0 if name == "weights.1" else 1 / below
        state[name][..., -1] = logits if name == "weights.1" else 0
    network.set_state(state)


def with_inputs(network: Any, places: Sequence[int], context_size: int) -> Any:
    """The network with other inputs, and perhaps more side information.

    The weights of new inputs are zero, so predictions stay the same until the network learns about them. With
    `context_features`, some halfspaces are replaced by ones that see the new side information, which changes
    predictions a little.

    Args:
        network: a `GLN` of any backend without a `base_predictor`. Without `context_features`, its halfspaces get
            additional coefficients drawn from its seed.
        places: the index that each input of the new network has in this one, -1 for a new input.
        context_size: of the new network; existing values come first.
    """
    grown = type(network)(**arguments(network) | {"input_size": len(places), "context_size": context_size})
    state, old_places = grown.get_state(), np.array(places)
    is_replaced = _replaced_halfspaces(state, network) if network.context_features is not None else {}
    for name, old in network.get_state(copy=False).items():
        if name == "weights.1":
            state[name][..., : len(places)] = np.where(old_places >= 0, old[..., old_places], 0)
            state[name][..., len(places) :] = old[..., network.input_size :]  # the bias
        elif name in is_replaced:
            kept = np.pad(old, [(0, 0), (0, 0), (0, context_size - network.context_size)][: old.ndim])
            state[name][~is_replaced[name]] = kept[~is_replaced[name]]
        else:
            state[name][tuple(slice(0, size) for size in old.shape)] = old
    grown.set_state(state)
    return grown


def with_outputs(network: Any, kept: Sequence[int], new: int) -> Any:
    """The network with the outputs `kept`, in this order, followed by untrained ones.

    Args:
        network: a `GLN` of any backend whose loss has `num_outputs`. Kept outputs predict what they predicted before.
        kept: indices of outputs.
        new: number of new outputs.
    """
    changed = type(network)(**arguments(network) | {"num_outputs": len(kept) + new})
    state = changed.get_state()
    for name, old in network.get_state(copy=False).items():
        if name.startswith("weights"):
            state[name][:, :, : len(kept)] = old[:, :, list(kept)]
        else:
            state[name] = old
    changed.set_state(state)
    return changed


def _replaced_halfspaces(drawn: Mapping[str, np.ndarray], network: Any) -> dict[str, np.ndarray]:
    """Which halfspaces of a network are replaced by those `drawn` for more side information: by name, (n, k).

    They are those that would see a new value, in every REPLACED-th neuron, different neurons each time. Replacing them
    in all neurons learns new features no faster, and uninformative ones cost .8 to 2 points of accuracy on streams, not
    .1.
    """
    is_replaced: dict[str, np.ndarray] = {}
    for layer, n in enumerate(network.layer_sizes, start=1):
        planes = drawn[f"hyperplanes.{layer}"]
        is_chosen = np.arange(n) % REPLACED == planes.shape[2] % REPLACED
        sees_new = (planes[..., network.context_size :] != 0).any(axis=2) & is_chosen[:, None]
        is_replaced |= {f"hyperplanes.{layer}": sees_new, f"hyperplane_bias.{layer}": sees_new}
    return is_replaced


def _arrays(network: Any, kind: str) -> dict[str, np.ndarray]:
    """The state's "weights" or "hyperplane" arrays."""
    return {name: array for name, array in network.get_state(copy=False).items() if name.startswith(kind)}


def _mirrored(network: Any) -> Any:
    """A network of one head that predicts the other class. Above the first layer, the inputs are already mirrored."""
    state = network.get_state()
    for name in _arrays(network, "weights"):
        if name == "weights.1":
            state[name] = -state[name]
        elif network.bias:
            state[name][..., -1] *= -1
    return copied(network, state)
