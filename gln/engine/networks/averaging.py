"""Means of the weights of networks with equal halfspaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


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
