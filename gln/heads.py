"""Heads of a network as networks of their own, for heads know nothing of one another.

So they can be trained apart, in other processes or on other machines, to the same numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gln.saving import arguments

__all__ = ["join_heads", "split_heads"]


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
