"""Heads of a network as networks of their own, and networks that grow: heads are independent of one another.

So heads can be trained apart, in other processes or on other machines, with the same result, and a network can gain a
class or an input and forgets nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gln.rates import linear_rate
from gln.saving import arguments

__all__ = [
    *("add_class", "add_inputs", "join_classes", "join_heads", "new_class", "split_heads", "start_at"),
    "with_outputs",
]

REPLACED = 4  # one neuron of so many gets halfspaces that see new side information


def split_heads(network: Any, targets: np.ndarray, parts: int) -> list[tuple[slice, Any, np.ndarray]]:
    """Split a network into several, each with some of its heads and their targets.

    Args:
        network: a `GLN` of any backend.
        targets: what it would learn, as `predict` takes it, of several samples.
        parts: how many networks, at least 1; there may be some more, but no more than heads. 1 keeps the network.

    Returns:
        Slices of the heads, networks of the same class, and their targets.
    """
    if parts == 1 or network.num_heads == 1:
        return [(slice(0, network.num_heads), network, targets)]
    ends = np.linspace(0, network.num_heads, min(parts, network.num_heads) + 1).astype(int).tolist()
    slices = [slice(*pair) for pair in itertools.pairwise(ends)]
    if network.config.record.heads == "num_classes":  # two classes have one head, so that two heads are no network
        sizes = [(some, 1 if some.stop - some.start == 2 else some.stop - some.start) for some in slices]
        slices = [slice(i, i + size) for some, size in sizes for i in range(some.start, some.stop, size)]
    return [(some, _with_heads(network, some), _of_heads(network, targets, some)) for some in slices]


def join_heads(network: Any, learned: Iterable[tuple[slice, Mapping[str, np.ndarray]]]) -> None:
    """Give a network what its heads have learned apart: slices of the heads, and states of the networks they were."""
    state = network.get_state()
    for some, own in learned:
        for name in (name for name in state if name.startswith("weights")):
            state[name][:, :, some] = own[name]
        state["step"] = own["step"]
    network.set_state(state)


def new_class(network: Any, inputs: Any = None, context_inputs: Any = None) -> Any:
    """A head for a class that a network does not know, as a network of its own with the same halfspaces.

    `join_classes` makes one network of both. No head that was there changes.

    Args:
        network: a `GLN` of any backend, with the log-loss.
        inputs: (input_size, N), samples of the classes that it knows, and so not of the new one. The head learns that
            about each, at a rate that falls from 10 to 0.1. None lets a network with a bias start at the rate of a
            class that is new after all samples so far.
        context_inputs: (context_size, N), their side information.

    Raises:
        ValueError: a network with another loss, or samples of another shape.
    """
    if network.config.record.heads != "num_classes":
        raise ValueError(f"network: expected one with classes, got {network!r}")
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
    """Make the heads of a network that has a bias and has learned nothing predict these logits, whatever the inputs."""
    state = network.get_state()
    for name in [name for name in state if name.startswith("weights")]:
        below = state[name].shape[-1] - 1
        state[name][..., :-1] = 0 if name == "weights.1" else 1 / below
        state[name][..., -1] = logits if name == "weights.1" else 0
    network.set_state(state)


def join_classes(networks: Sequence[Any]) -> Any:
    """One network with the heads of all, in their order: each predicts what it predicted before.

    Args:
        networks: of one backend and one kind, with the same halfspaces. The first one's count of samples is kept.

    Raises:
        ValueError: fewer than three heads in all, or networks that differ in more than their heads.
    """
    heads = sum(network.num_heads for network in networks)
    if heads < 3 or not all(_of_one_kind(networks[0], network) for network in networks):
        expected = "three heads or more with the log-loss, of networks that are alike and share their halfspaces"
        raise ValueError(f"networks: expected {expected}, got {networks}")
    joined = type(networks[0])(**arguments(networks[0]) | {"num_classes": heads})
    states = [network.get_state(copy=False) for network in networks]
    weights = [name for name in states[0] if name.startswith("weights")]
    joined.set_state(states[0] | {name: np.concatenate([state[name] for state in states], axis=2) for name in weights})
    return joined


def add_class(network: Any, inputs: Any = None, context_inputs: Any = None) -> Any:
    """A network with one more class, and otherwise the same: `join_classes` of it and of a `new_class`.

    Two classes have one head. For a third each of them gets its own, and both predict what that head predicted.

    Arguments and errors are those of `new_class`.
    """
    new = new_class(network, inputs, context_inputs)
    return join_classes([*([network] if network.num_heads > 1 else [_mirrored(network), network]), new])


def add_inputs(network: Any, input_size: int, context_size: int) -> Any:
    """A network that reads further inputs and side information.

    Their weights are zeros, so that it predicts the same until it learns about them. With `context_features` some of
    its halfspaces are replaced by others, for none has room for more values; so it then predicts a little differently.

    Args:
        network: a `GLN` of any backend without a `base_predictor`. Without `context_features` its halfspaces get the
            further coefficients that its seed draws.
        input_size, context_size: of the new network; what was there comes first.
    """
    grown = type(network)(**arguments(network) | {"input_size": input_size, "context_size": context_size})
    state = grown.get_state()
    replaced = _replaced(state, network) if network.context_features is not None else {}
    for name, old in network.get_state(copy=False).items():
        if name == "weights.1":
            inputs = network.input_size
            state[name][..., inputs:input_size] = 0  # nothing is known about new inputs
            state[name][..., :inputs], state[name][..., input_size:] = old[..., :inputs], old[..., inputs:]  # the bias
        elif name in replaced:
            kept = np.pad(old, [(0, 0), (0, 0), (0, context_size - network.context_size)][: old.ndim])
            state[name][~replaced[name]] = kept[~replaced[name]]
        else:
            state[name][tuple(slice(0, size) for size in old.shape)] = old
    grown.set_state(state)
    return grown


def with_outputs(network: Any, kept: Sequence[int], new: int) -> Any:
    """A network with some of its outputs, in this order, and then new ones that have learned nothing.

    Args:
        network: a `GLN` of any backend whose loss has `num_outputs`. What is kept predicts what it predicted before.
        kept: numbers of outputs.
        new: how many.
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
    """Which halfspaces of a network give way to those `drawn` for more side information, (n, k) by their names.

    In one neuron of REPLACED, others each time, those that would see a new value. In all neurons, new features are
    learned as fast but features that tell nothing cost .8 to 2 points of accuracy on streams, here .1.
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
    """Whether two networks have classes and differ in no more than their heads."""
    if one.config.record.heads != "num_classes" or other.config.record.heads != "num_classes":
        return False
    alike = dataclasses.replace(one.config, num_classes=2) == dataclasses.replace(other.config, num_classes=2)
    halfspaces = _halfspaces(one), _halfspaces(other)
    return alike and all(np.array_equal(array, halfspaces[1][name]) for name, array in halfspaces[0].items())


def _mirrored(network: Any) -> Any:
    """A network of one head that predicts the opposite class: above the first layer its inputs are opposite already."""
    mirrored, state = type(network)(**arguments(network)), network.get_state()
    state["weights.1"] = -state["weights.1"]
    for name in [name for name in state if name.startswith("weights") and network.bias and name != "weights.1"]:
        state[name][..., -1] *= -1
    mirrored.set_state(state)
    return mirrored


def _of_heads(network: Any, targets: np.ndarray, some: slice) -> np.ndarray:  # -> (h, B), or (B,) of one head
    if network.config.record.heads == "quantiles":  # which all learn the same target
        return targets
    if targets.ndim == 1:  # class numbers
        targets = targets == np.arange(network.num_heads)[:, None]
    return targets[some] if some.stop - some.start > 1 else targets[some.start]


def _with_heads(network: Any, some: slice) -> Any:
    heads, count = network.config.record.heads, some.stop - some.start
    values = {"num_classes": max(2, count), "num_outputs": count, "quantiles": (network.quantiles or ())[some]}
    part, state = type(network)(**arguments(network) | {heads: values[heads]}), network.get_state(copy=False)
    part.set_state(state | {name: array[:, :, some] for name, array in state.items() if name.startswith("weights")})
    return part
