"""`Network`: what the rest of the package may use of a `GLN`, whatever its backend.

Shapes: B samples, C heads, D values of side information, K base values, M networks, N neurons in all layers.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from gln.engine.batches import steps_of

Rate = float | Callable[[int], float]
Tensor: TypeAlias = Any  # an array, or the framework's own tensor


class Network(Protocol):
    """`gln_numpy.GLN` documents these names."""

    takes_sparse: bool  # whether inputs and side information may be SciPy sparse arrays
    step: Tensor
    extra: Mapping[str, np.ndarray]
    learning_rate: Rate
    has_default_rate: bool
    config: Any
    base_predictor: Callable[[Tensor], Tensor] | None
    base_size: int  # K
    input_size: int
    context_size: int  # D
    layer_sizes: Sequence[int]
    context_map_size: int
    context_features: int | None
    num_classes: int
    num_heads: int  # C
    bound: float
    bias: bool
    seed: int | None

    def predict_online(
        self, inputs: Tensor, context_inputs: Tensor, targets: Tensor, batch_size: int = 1
    ) -> Tensor: ...
    def predict_arrays(
        self, base: Tensor, context: Tensor, targets: Tensor = None, rates: Tensor = None, batch_size: int = 1
    ) -> np.ndarray: ...  # (K, B), (D, B), (C, B), (B,) -> (C, B)

    of_sample: Any  # only Numba's: its halfspaces, and itself as compiled code takes it

    def check_array(self, name: str, value: Tensor, *shapes: tuple) -> np.ndarray: ...  # as float32
    def prepare(self, inputs: Tensor, context_inputs: Tensor, targets: Tensor = None) -> tuple: ...
    def contexts(self, context: Tensor) -> np.ndarray: ...  # (D, B) -> (B, N)
    def rates(self, count: int, rate: Rate | None = None) -> np.ndarray: ...  # -> (count,)
    def set_learning_rate(self, rate: Rate | None) -> None: ...
    def fit_hyperplanes(self, context_inputs: Tensor) -> None: ...
    def get_state(self, copy: bool = True) -> dict[str, np.ndarray]: ...
    def set_state(self, state: Mapping[str, np.ndarray]) -> None: ...
    def save(self, path: str | os.PathLike[str], extra: Mapping[str, np.ndarray] | None = None) -> None: ...
    def explain(self, inputs: Tensor, context_inputs: Tensor) -> Tensor: ...


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
    if weights is not None and weights.max(initial=1) > 1:
        return _in_steps(networks, base, context, targets, rates, batch_size, weights)
    predicted = []
    for network, of_network in zip(networks, [None] * len(networks) if rates is None else rates, strict=True):
        inputs = base[-network.base_size :]
        predicted.append(network.predict_arrays(inputs, context, targets, of_network, batch_size))
    return np.array(predicted)


def _in_steps(
    networks: Sequence[Network],
    base: Tensor,
    context: Tensor,
    targets: Tensor,
    rates: Tensor,
    batch_size: int,
    weights: np.ndarray,
) -> np.ndarray:
    """`predict_all` of samples of which one or more have weights above 1: each batch is learned as often as needed."""
    (repeats, _), predicted = steps_of(weights), []
    for start in range(0, len(repeats), batch_size):
        rows = slice(start, start + batch_size)
        samples = base[:, rows], context[:, rows], targets[:, rows]
        predicted.append(predict_all(networks, *samples, rates[:, rows], batch_size))
        for done in range(1, repeats[rows].max()):  # those that are done have a rate of 0: other sizes compile anew
            predict_all(networks, *samples, rates[:, rows] * (repeats[rows] > done), batch_size)
            for network in networks:
                count_samples(network, -len(repeats[rows]))
    return np.concatenate(predicted, axis=2)


def count_samples(network: Network, count: int) -> None:
    """Let a network have learned so many samples more."""
    if hasattr(network.step, "assign_add"):  # TensorFlow's
        network.step.assign_add(count)
    else:
        network.step += count


def is_network(value: object) -> bool:
    """Whether a value is a `GLN` of any backend: each has a base class of its own, which has no `contexts`."""
    return hasattr(value, "predict_arrays") and hasattr(value, "contexts")


def arguments(network: Network) -> dict[str, Any]:
    """The constructor arguments that make an untrained copy of a network."""
    rate = None if network.has_default_rate else network.learning_rate
    return {**dataclasses.asdict(network.config), "learning_rate": rate, "base_predictor": network.base_predictor}
