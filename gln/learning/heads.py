"""Split the heads of a network into separate networks, which can be trained in other processes, and join them again.

Heads are independent of one another, so the result is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gln.learning.network import arguments

__all__ = ["join_heads", "split_heads"]


def split_heads(network: Any, targets: np.ndarray, parts: int) -> list[tuple[slice, Any, np.ndarray]]:
    """Split a network into several, each with some of its heads and their targets.

    Args:
        network: a `GLN` of any backend.
        targets: its targets for several samples, as `predict` takes them.
        parts: number of networks, at least 1; there may be more, up to one per head. 1 returns the network itself.

    Returns:
        For each part the slice of its heads, a network of the same class, and its targets.
    """
    if parts == 1 or network.num_heads == 1:
        return [(slice(0, network.num_heads), network, targets)]
    ends = np.linspace(0, network.num_heads, min(parts, network.num_heads) + 1).astype(int).tolist()
    slices = [slice(*pair) for pair in itertools.pairwise(ends)]
    if network.config.record.heads == "num_classes":  # a network of two classes has one head, so none has two
        sizes = [(some, 1 if some.stop - some.start == 2 else some.stop - some.start) for some in slices]
        slices = [slice(i, i + size) for some, size in sizes for i in range(some.start, some.stop, size)]
    return [(some, _with_heads(network, some), _of_heads(network, targets, some)) for some in slices]


def join_heads(network: Any, learned: Iterable[tuple[slice, Mapping[str, np.ndarray]]]) -> None:
    """Copy separately trained heads back into their network, given the slice and the state of each part."""
    state = network.get_state()
    for some, own in learned:
        for name in (name for name in state if name.startswith("weights")):
            state[name][:, :, some] = own[name]
        state["step"] = own["step"]
    network.set_state(state)


def _of_heads(network: Any, targets: np.ndarray, some: slice) -> np.ndarray:  # -> (h, B), or (B,) of one head
    if network.config.record.heads == "quantiles":  # all levels learn the same target
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
