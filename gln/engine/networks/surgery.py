"""Network surgery: add classes, outputs and inputs without forgetting what was learned.

Shapes: C heads, k halfspaces per neuron, n neurons in a layer.
"""

from __future__ import annotations

import dataclasses
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


def new_class(network: Any, inputs: Any = None, context_inputs: Any = None) -> Any:
    """A head for a new class, as a separate network with the same halfspaces.

    `join_classes` makes one network of both. Existing heads do not change.

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
    head = copied(network, _halfspaces(network), num_classes=2)
    if inputs is not None:
        count = np.shape(inputs)[-1]
        head.learning_rate = functools.partial(linear_rate, samples=max(1, count))
        head.predict_online(inputs, context_inputs, np.zeros(count))
        head.learning_rate = None if network.has_default_rate else network.learning_rate
    elif network.bias:
        set_initial_logits(head, np.array([-math.log(int(network.step) + 1)]))
    return head


def set_initial_logits(network: Any, logits: np.ndarray) -> None:  # (C,)
    """Make the heads of an untrained network with a bias predict these logits for any input."""
    state = network.get_state()
    for name in _weight_names(state):
        below = state[name].shape[-1] - 1
        state[name][..., :-1] = 0 if name == "weights.1" else 1 / below
        state[name][..., -1] = logits if name == "weights.1" else 0
    network.set_state(state)


def join_classes(networks: Sequence[Any]) -> Any:
    """One network with the heads of all networks, in this order. Each head predicts what it predicted before.

    Args:
        networks: of one backend, with the same arguments and halfspaces. The first one's count of samples is kept.

    Raises:
        ValueError: fewer than three heads in total, or networks that differ in more than their heads.
    """
    heads = sum(network.num_heads for network in networks)
    if heads < 3 or not all(_differ_only_in_heads(networks[0], network) for network in networks):
        expected = "at least three heads with the log-loss, of networks with the same arguments and halfspaces"
        raise ValueError(f"networks: expected {expected}, got {networks}")
    states = [network.get_state(copy=False) for network in networks]
    weights = {name: np.concatenate([state[name] for state in states], axis=2) for name in _weight_names(states[0])}
    return copied(networks[0], states[0] | weights, num_classes=heads)


def add_class(network: Any, inputs: Any = None, context_inputs: Any = None) -> Any:
    """The network with one more class: `join_classes` of it and a `new_class`.

    A network of two classes has one head. When a third is added, each of the two gets its own head, and both predict
    what the one predicted.

    Arguments and errors are those of `new_class`.
    """
    known = [network] if network.num_heads > 1 else [_mirrored(network), network]
    return join_classes([*known, new_class(network, inputs, context_inputs)])


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


def _weight_names(state: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name in state if name.startswith("weights")]


def _halfspaces(network: Any) -> dict[str, np.ndarray]:
    return {name: array for name, array in network.get_state(copy=False).items() if name.startswith("hyperplane")}


def _differ_only_in_heads(one: Any, other: Any) -> bool:
    """Whether two networks have classes and differ only in their heads."""
    if one.config.record.heads != "num_classes" or other.config.record.heads != "num_classes":
        return False
    if dataclasses.replace(one.config, num_classes=2) != dataclasses.replace(other.config, num_classes=2):
        return False
    halfspaces = _halfspaces(other)
    return all(np.array_equal(array, halfspaces[name]) for name, array in _halfspaces(one).items())


def _mirrored(network: Any) -> Any:
    """A network of one head that predicts the other class. Above the first layer, the inputs are already mirrored."""
    state = network.get_state()
    for name in _weight_names(state):
        if name == "weights.1":
            state[name] = -state[name]
        elif network.bias:
            state[name][..., -1] *= -1
    return copied(network, state)
