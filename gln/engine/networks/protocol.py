"""`Network`, the `GLN` of any backend, and what the rest of the package does with one or several.

Shapes: B samples, C heads, D values of side information, K base values, M networks, N neurons in all layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gln.engine.batches import CHUNK, steps_of
from gln.engine.types import State
from gln_numpy import GLN

Rate = float | Callable[[int], float]
Tensor: TypeAlias = Any  # an array, or the framework's own tensor
Network: TypeAlias = GLN  # of any backend, since all have the same names


def predict_all(
    networks: Sequence[Network],
    base: Tensor,
    context: Tensor,
    targets: Tensor = None,
    rates: Tensor = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """`predict_arrays` of several networks, which read the last rows of `base` and may learn at rates of their own.

    With weights, rates are those of each of the `steps_of` steps of a sample.
    Shapes: (K, B), (D, B), (C, B) or None, (M, B) or None, (B,) or None -> (M, C, B).
    """
    predicted = []
    if weights is not None and weights.max(initial=1) > 1:  # a sample is learned as often as needed
        repeats, _ = steps_of(weights)
        parts = np.flatnonzero(np.diff(np.cumsum(repeats) // CHUNK)) + 1  # to save memory
        for some in np.split(np.arange(len(repeats)), parts):
            steps = np.repeat(some, repeats[some])
            outputs = predict_all(networks, base[:, steps], context[:, steps], targets[:, steps], rates[:, steps])
            predicted.append(outputs[..., np.cumsum(repeats[some]) - repeats[some]])
            for network in networks:  # which count samples, not steps
                if hasattr(network.step, "assign_sub"):  # TensorFlow's
                    network.step.assign_sub(len(steps) - len(some))
                else:
                    network.step -= len(steps) - len(some)
        return np.concatenate(predicted, axis=2)
    all_rates = [None] * len(networks) if rates is None else rates
    for network, network_rates in zip(networks, all_rates, strict=True):
        inputs = base[-network.base_size :]
        predicted.append(network.predict_arrays(inputs, context, targets, network_rates))
    return np.array(predicted)


def is_network(value: object) -> bool:
    """Whether a value is a `GLN` of any backend: each has a base class of its own, without `predict_arrays`."""
    return hasattr(value, "predict_arrays") and hasattr(value, "contexts")


def backend_of(kind: Any) -> Any:
    """The class of a backend, of which this is perhaps a subclass."""
    return next(cls for cls in reversed(kind.__mro__) if is_network(cls))


def arguments(network: Network) -> State:
    """The constructor arguments that make an untrained copy of a network."""
    rate = None if network.has_default_rate else network.learning_rate
    return {**dataclasses.asdict(network.config), "learning_rate": rate, "base_predictor": network.base_predictor}


def mean_weights(
    states: Sequence[Mapping[str, np.ndarray]],  # M, equal but for weights and steps
    counts: np.ndarray,  # (M,), what each state counts
) -> dict[str, np.ndarray]:
    """The state with the mean weights, and what a changed copy keeps for each, after the most steps."""
    shares = counts / counts.sum()
    mean = {**states[0], "step": np.max([state["step"] for state in states])}
    for name in [name for name in mean if name != "step" and not name.startswith("hyperplane")]:
        total = sum(share * state[name].astype(np.float64) for share, state in zip(shares, states, strict=True))
        mean[name] = np.asarray(total, np.float32)
    return mean
