"""Averages of networks, weight by weight: of copies that learned different rows, or of one network along its stream.

Every neuron solves a convex problem of its own, and its halfspaces do not move. So for the same inputs, the mean of
several weights has at most the mean of their losses.

Sources: R. McDonald et al., Distributed Training Strategies for the Structured Perceptron, NAACL 2010, for rows; B.
Polyak and A. Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM J. Control Optim. 30, 1992.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from gln.engine.networks.protocol import Network, is_network, mean_weights
from gln.engine.saving import bad
from gln.engine.types import State

__all__ = ["RunningAverage", "average"]

N = TypeVar("N", bound=Network)


def average(networks: Iterable[N], weights: Sequence[float] | None = None) -> N:
    """A copy of the first network with the mean of the weights of all.

    Its `step` is the largest of all: where copies learn and are averaged in turns, a sum would count the samples of
    earlier turns several times.

    Args:
        networks: `GLN`s of any backends, one or more, of equal arguments and halfspaces, as copies of a network have.
        weights: what each network counts, at least 0 and not all 0. None is the number of samples it has learned.

    Raises:
        ValueError: an argument is out of range, or networks differ in more than weights.
    """
    several = list(networks) if isinstance(networks, Iterable) else []
    if not several or not all(map(is_network, several)):
        raise bad("networks", "one or more GLNs", repr(several or networks))
    steps = [int(network.step) for network in several]
    given: Any = [max(step, not any(steps)) for step in steps] if weights is None else weights
    counts = np.asarray(given)
    is_valid = counts.dtype.kind in "biuf" and counts.shape == (len(steps),)
    if not is_valid or not (np.isfinite(counts) & (counts >= 0)).all() or not counts.any():
        raise bad("weights", f"{len(steps)} finite numbers of at least 0, not all 0", repr(given))
    state = _mean(several, counts / counts.max())
    mean = copy.deepcopy(several[0])
    mean.set_state(state)
    return mean


class RunningAverage(Generic[N]):
    """The mean of a network's weights at each `update`, like PyTorch's `AveragedModel`.

    Args:
        network: a `GLN` of any backend, which goes on learning.

    Attributes:
        network: a copy with the mean; before the first `update`, with the weights at the start.
        n_averaged: number of updates.
    """

    def __init__(self, network: N) -> None:
        self.network = average([network])
        self.n_averaged = 0
        self._learner = network

    def update(self) -> None:
        """Count the present weights; this copies them several times. Raises ValueError if halfspaces have moved."""
        counts = np.array([self.n_averaged, 1.0])
        self.network.set_state(_mean([self.network, self._learner], counts))
        self.n_averaged += 1


def _mean(networks: Sequence[Network], counts: np.ndarray) -> dict[str, np.ndarray]:  # M networks, (M,)
    """The state with the mean weights; raises ValueError if networks differ in anything else."""
    states = [network.get_state(copy=False) for network in networks]
    expected, *others = map(_compared, networks, states)
    for number, fields in enumerate(others, start=1):
        for name, value in fields.items():
            if not np.array_equal(value, expected[name]):
                values = ("equal", "others") if name.startswith("hyperplane") else (expected[name], value)
                raise bad(f"networks[{number}]", f"{name} as of networks[0], {values[0]}", values[1])
    return mean_weights(states, counts)


def _compared(network: Network, state: dict[str, np.ndarray]) -> State:
    """What all must have in common: arguments, base values, halfspaces."""
    fields = [field.name for field in dataclasses.fields(network.config) if field.compare]
    common = {name: getattr(network.config, name) for name in fields} | {"base_size": network.base_size}
    return common | {name: array for name, array in state.items() if name.startswith("hyperplane")}
