"""Learning rates other than the networks' default, as functions of the number of samples learned so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["linear_rate", "stream_rate"]


class DefaultRates(NamedTuple):
    """The learning rates of losses with a link, for standardised inputs."""

    stream_floors: tuple[float, float]  # the lowest on streams, of the slow network and of the fast one
    table: Sequence[float]  # at which passes over a table may begin, of which the best is chosen


LAST_RATE = 0.01  # of passes over a table
RATES = {
    "logit": DefaultRates(stream_floors=(0.5, 3.0), table=(3.0, 0.3)),
    "itself": DefaultRates(stream_floors=(0.1, 0.5), table=(0.5,)),
    "log": DefaultRates(stream_floors=(0.1, 0.5), table=(0.5,)),
}
# A factor of rates, and which of the floors.
PACES = {"slow": (1.0, 0), "fast": (1.0, 1), "steady": (0.1, 0), "tiny": (0.03, 0)}


def linear_rate(t: Any, samples: int, first: float = 10.0, last: float = 0.1) -> Any:
    """A learning rate that falls linearly from `first` to `last` over this many samples, and stays there.

    `t` is a count of samples, or an array of counts.
    """
    return first + (last - first) * np.minimum(t / samples, 1)


def stream_rate(t: Any, first: float = 5.0, least: float = 0.5) -> Any:
    """A learning rate for a stream that may drift: first / sqrt(1 + t / 300) after t samples, but at least `least`.

    `t` is a count of samples, or an array of counts.
    """
    return np.maximum(first / np.sqrt(1.0 + t / 300.0), least)


def stream_rate_limits(network: Any, pace: str) -> tuple[float, float]:
    """The rates at which `stream_rate` begins and ends for a network that learns at one of `PACES`."""
    # Half of the networks' default, which gives the slow one of two networks a lower log-loss on most streams.
    first = network.config.record.first_rate or min(10.0, math.sqrt(network.base_size + 1)) / 2
    factor, floor = PACES[pace]
    return factor * first, factor * RATES[network.config.record.link].stream_floors[floor]


def stream_rates(steps: list[int], limits: list[tuple[float, float]], count: int) -> np.ndarray:
    """`stream_rate` of the next samples of M networks, from their `stream_rate_limits`: (M, count) float32."""
    if count == 1:  # fast
        pairs = zip(steps, limits, strict=True)
        return np.array([[max(first / math.sqrt(1.0 + t / 300.0), least)] for t, (first, least) in pairs], np.float32)
    (first, least), t = np.array(limits).T[:, :, None], np.array(steps)[:, None] + np.arange(count)
    return stream_rate(t, first, least).astype(np.float32)
