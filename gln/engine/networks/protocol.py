"""`Network`, the `GLN` of any backend, and what the rest of the package does with one or several.

Shapes: B samples, C heads, D values of side information, K base values, M networks, N neurons in all layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gln.engine.batches import CHUNK, steps_of
from gln_numpy import GLN

Rate = float | Callable[[int], float]
Tensor: TypeAlias = Any  # an array, or the framework's own tensor
# The `GLN` of any backend, since all have the same names. Only Numba's has `of_sample`: its halfspaces, and itself as
# compiled code takes it.
Network: TypeAlias = GLN


def predict_all(
    networks: Sequence[Network],
    base: Tensor,
    context: Tensor,
    targets: Tensor = None,
    rates: Tensor = None,
    batch_size: int = 1,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """`predict_arrays` of several networks, which read the last rows of `base` and may learn at rates of their own.

    With weights, rates are those of each of the `steps_of` steps of a sample.
    Shapes: (K, B), (D, B), (C, B) or None, (M, B) or None, (B,) or None -> (M, C, B).
    """
    predicted = []
    if weights is not None and weights.max(initial=1) > 1:  # each batch is learned as often as needed
        repeats, _ = steps_of(weights)
        if batch_size == 1 and hasattr(type(networks[0]), "of_sample"):  # whose loops take any number of samples
            parts = np.flatnonzero(np.diff(np.cumsum(repeats) // CHUNK)) + 1  # to save memory
            for some in np.split(np.arange(len(repeats)), parts):
                steps = np.repeat(some, repeats[some])
                found = predict_all(networks, base[:, steps], context[:, steps], targets[:, steps], rates[:, steps])
                predicted.append(found[..., np.cumsum(repeats[some]) - repeats[some]])
                for network in networks:  # which count samples, not steps
                    network.step -= len(steps) - len(some)
            return np.concatenate(predicted, axis=2)
        for start in range(0, len(repeats), batch_size):
            rows = slice(start, start + batch_size)
            samples = base[:, rows], context[:, rows], targets[:, rows]
            predicted.append(predict_all(networks, *samples, rates[:, rows], batch_size))
            for done in range(1, repeats[rows].max()):  # those that are done have a rate of 0: other sizes compile anew
                predict_all(networks, *samples, rates[:, rows] * (repeats[rows] > done), batch_size)
                for network in networks:
                    if hasattr(network.step, "assign_sub"):  # TensorFlow's
                        network.step.assign_sub(len(repeats[rows]))
                    else:
                        network.step -= len(repeats[rows])
        return np.concatenate(predicted, axis=2)
    for network, of_network in zip(networks, [None] * len(networks) if rates is None else rates, strict=True):
        inputs = base[-network.base_size :]
        predicted.append(network.predict_arrays(inputs, context, targets, of_network, batch_size))
    return np.array(predicted)


def is_network(value: object) -> bool:
    """Whether a value is a `GLN` of any backend: each has a base class of its own, which has no `contexts`."""
    return hasattr(value, "predict_arrays") and hasattr(value, "contexts")


def backend_of(kind: Any) -> Any:
    """The class of a backend, of which this is perhaps a subclass."""
    return next(cls for cls in reversed(kind.__mro__) if is_network(cls))


def arguments(network: Any) -> dict[str, Any]:
    """The constructor arguments that make an untrained copy of a network."""
    rate = None if network.has_default_rate else network.learning_rate
    return {**dataclasses.asdict(network.config), "learning_rate": rate, "base_predictor": network.base_predictor}


def mean_weights(
    states: Sequence[Mapping[str, np.ndarray]],  # M, equal but for weights and steps
    counts: np.ndarray,  # (M,), what each state counts
) -> dict[str, np.ndarray]:
    """The state with the mean weights, after the most steps."""
    shares = counts / counts.sum()
    mean = {**states[0], "step": np.max([state["step"] for state in states])}
    for name in [name for name in mean if name.startswith("weights")]:
        total = sum(share * state[name].astype(np.float64) for share, state in zip(shares, states, strict=True))
        mean[name] = np.asarray(total, np.float32)
    return mean
