"""Heads of a network as networks of their own, for heads know nothing of one another.

So they can be trained apart, in other processes or on other machines, to the same numbers, and a network can be given
another class and forgets nothing.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gln.rates import linear_rate
from gln.saving import arguments

__all__ = ["join_classes", "join_heads", "new_class", "split_heads"]


def split_heads(network: Any, targets: np.ndarray, parts: int) -> list[tuple[slice, Any, np.ndarray]]:
    """A network as several, each with some of its heads and the targets that these learn.

    Args:
        network: a `GLN` of any backend.
        targets: what it would learn, as `predict` takes it, of several samples.
        parts: at least 1; as many networks, or some more, but no more than there are heads. One is the network itself.

    Returns:
        Slices of the heads, networks of the same class, and their targets.
    """
    if parts == 1 or network.num_heads == 1:
        return [(slice(0, network.num_heads), network, targets)]
    ends = np.linspace(0, network.num_heads, min(parts, network.num_heads) + 1).astype(int).tolist()
    slices = [slice(*pair) for pair in itertools.pairwise(ends)]
    if network.loss == "log_loss":  # where two classes have one head, so that two heads are no network
        sizes = [(some, 1 if some.stop - some.start == 2 else some.stop - some.start) for some in slices]
        slices = [slice(i, i + size) for some, size in sizes for i in range(some.start, some.stop, size)]
    return [(some, _with_heads(network, some), _of_heads(network, targets, some)) for some in slices]


def join_heads(network: Any, learned: Iterable[tuple[slice, Mapping[str, np.ndarray]]]) -> None:
    """Give a network what its heads have learned apart: slices of them, and states of the networks that they were."""
    state = network.get_state()
    for some, own in learned:
        for name in (name for name in state if name.startswith("weights")):
            state[name][:, :, some] = own[name]
        state["step"] = own["step"]
    network.set_state(state)


def new_class(network: Any, inputs: np.ndarray, context_inputs: np.ndarray) -> Any:
    """A head for a class that a network does not know, as a network of its own with the same halfspaces.

    `join_classes` makes one network of both. No head that was there changes.

    Args:
        network: a `GLN` of any backend, with the log-loss.
        inputs: (input_size, N), samples of the classes that it knows, and so not of the new one. The head learns that
            of each, at a rate that falls from 10 to 0.1.
        context_inputs: (context_size, N), their side information.

    Raises:
        ValueError: a network with another loss, or samples of another shape.
    """
    if network.loss != "log_loss":
        raise ValueError(f"network: expected the log-loss, got {network!r}")
    head = type(network)(**arguments(network) | {"num_classes": 2})
    head._load_hyperplanes(*network._dump()[:2])
    head.learning_rate = functools.partial(linear_rate, samples=max(1, np.shape(inputs)[-1]))
    head.predict_online(inputs, context_inputs, np.zeros(np.shape(inputs)[-1]))
    head.learning_rate = network.learning_rate
    return head


def join_classes(networks: Sequence[Any]) -> Any:
    """One network with the heads of all, in their order: what it predicts of each is what the head predicted before.

    Args:
        networks: of one backend and one kind, with the same halfspaces: the first gives the count of samples learned.

    Raises:
        ValueError: fewer than three heads in all, or networks that differ in more than their heads.
    """
    heads = sum(network.num_heads for network in networks)
    if heads < 3 or not all(_of_one_kind(networks[0], network) for network in networks):
        expected = "three heads or more, with the log-loss and the same halfspaces"
        raise ValueError(f"networks: expected {expected}, got {networks}")
    joined = type(networks[0])(**arguments(networks[0]) | {"num_classes": heads})
    states = [network.get_state() for network in networks]
    weights = [name for name in states[0] if name.startswith("weights")]
    joined.set_state(states[0] | {name: np.concatenate([state[name] for state in states], axis=2) for name in weights})
    return joined


def _of_one_kind(one: Any, other: Any) -> bool:
    """Whether two networks have the log-loss and are the same but for their heads."""
    kinds = [(network.loss, network.layer_sizes, network.base_size, network.bias) for network in (one, other)]
    same = kinds[0] == kinds[1] and all(map(np.array_equal, one._dump()[:2], other._dump()[:2]))
    return same and one.loss == "log_loss"


def _of_heads(network: Any, targets: np.ndarray, some: slice) -> np.ndarray:  # -> (h, B), or (B,) of one head
    if network.loss == "quantile":
        return targets
    if targets.ndim == 1:  # of classes
        targets = targets == np.arange(network.num_heads)[:, None]
    return targets[some] if some.stop - some.start > 1 else targets[some.start]


def _with_heads(network: Any, some: slice) -> Any:
    count, own = some.stop - some.start, arguments(network)
    if network.loss == "log_loss":
        own["num_classes"] = max(2, count)
    elif network.loss == "quantile":
        own["quantiles"] = network.quantiles[some]
    else:
        own["num_outputs"] = count
    part, state = type(network)(**own), network.get_state()
    part.set_state(state | {name: array[:, :, some] for name, array in state.items() if name.startswith("weights")})
    return part
