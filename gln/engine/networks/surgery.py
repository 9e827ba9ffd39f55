"""Networks that grow: a class, an output or an input more, without forgetting anything.

Shapes: C heads, k halfspaces per neuron, n neurons in a layer, N in all layers.
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
    head = type(network)(**arguments(network) | {"num_classes": 2})
    head.set_state(head.get_state() | _halfspaces(network))
    if inputs is not None:
        count = np.shape(inputs)[-1]
        head.learning_rate = functools.partial(linear_rate, samples=max(1, count))
        head.predict_online(inputs, context_inputs, np.zeros(count))
        head.learning_rate = None if network.has_default_rate else network.learning_rate
    elif network.bias:
        start_at(head, np.array([-math.log(int(network.step) + 1)]))
    return head


def start_at(network: Any, logits: np.ndarray) -> None:  # (C,)
    """Make the heads of an untrained network with a bias predict these logits for any input."""
    state = network.get_state()
    for name in [name for name in state if name.startswith("weights")]:
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
    if heads < 3 or not all(_of_one_kind(networks[0], network) for network in networks):
        expected = "at least three heads with the log-loss, of networks with the same arguments and halfspaces"
        raise ValueError(f"networks: expected {expected}, got {networks}")
    joined = type(networks[0])(**arguments(networks[0]) | {"num_classes": heads})
    states = [network.get_state(copy=False) for network in networks]
    weights = [name for name in states[0] if name.startswith("weights")]
    joined.set_state(states[0] | {name: np.concatenate([state[name] for state in states], axis=2) for name in weights})
    return joined


def add_class(network: Any, inputs: Any = None, context_inputs: Any = None) -> Any:
    """The network with one more class: `join_classes` of it and a `new_class`.

    A network of two classes has one head. When a third is added, each of the two gets its own head, and both predict
    what the one predicted.

    Arguments and errors are those of `new_class`.
    """
    new = new_class(network, inputs, context_inputs)
    return join_classes([*([network] if network.num_heads > 1 else [_mirrored(network), network]), new])


def with_inputs(network: Any, places: Sequence[int], context_size: int) -> Any:
    """The network with other inputs, and perhaps additional side information.

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
    replaced = _replaced(state, network) if network.context_features is not None else {}
    for name, old in network.get_state(copy=False).items():
        if name == "weights.1":
            state[name][..., : len(places)] = np.where(old_places >= 0, old[..., old_places], 0)
            state[name][..., len(places) :] = old[..., network.input_size :]  # the bias
        elif name in replaced:
            kept = np.pad(old, [(0, 0), (0, 0), (0, context_size - network.context_size)][: old.ndim])
            state[name][~replaced[name]] = kept[~replaced[name]]
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
    made = type(network)(**arguments(network) | {"num_outputs": len(kept) + new})
    state = made.get_state()
    for name, old in network.get_state(copy=False).items():
        if name.startswith("weights"):
            state[name][:, :, : len(kept)] = old[:, :, list(kept)]
        else:
            state[name] = old
    made.set_state(state)
    return made


def _replaced(drawn: Mapping[str, np.ndarray], network: Any) -> dict[str, np.ndarray]:
    """Which halfspaces of a network are replaced by those `drawn` for more side information: by name, (n, k).

    They are those that would see a new value in every REPLACED-th neuron, different neurons each time. Replacing them
    in all neurons learns new features no faster, and uninformative ones cost .8 to 2 points of accuracy on streams, not
    .1.
    """
    replaced: dict[str, np.ndarray] = {}
    for layer, n in enumerate(network.layer_sizes, start=1):
        planes = drawn[f"hyperplanes.{layer}"]
        some = np.arange(n) % REPLACED == planes.shape[2] % REPLACED
        sees_new = (planes[..., network.context_size :] != 0).any(axis=2) & some[:, None]
        replaced |= {f"hyperplanes.{layer}": sees_new, f"hyperplane_bias.{layer}": sees_new}
    return replaced


def _halfspaces(network: Any) -> dict[str, np.ndarray]:
    return {name: array for name, array in network.get_state(copy=False).items() if name.startswith("hyperplane")}


def _of_one_kind(one: Any, other: Any) -> bool:
    """Whether two networks have classes and differ only in their heads."""
    if one.config.record.heads != "num_classes" or other.config.record.heads != "num_classes":
        return False
    alike = dataclasses.replace(one.config, num_classes=2) == dataclasses.replace(other.config, num_classes=2)
    halfspaces = _halfspaces(one), _halfspaces(other)
    return alike and all(np.array_equal(array, halfspaces[1][name]) for name, array in halfspaces[0].items())


def _mirrored(network: Any) -> Any:
    """A network of one head that predicts the other class. Above the first layer, the inputs are already mirrored."""
    mirrored, state = type(network)(**arguments(network)), network.get_state()
    state["weights.1"] = -state["weights.1"]
    for name in [name for name in state if name.startswith("weights") and network.bias and name != "weights.1"]:
        state[name][..., -1] *= -1
    mirrored.set_state(state)
    return mirrored
