"""Learning rates other than the networks' default, as functions of the number of samples learned so far."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["linear_rate", "rate_of_streams", "stream_rate"]


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


def rate_of_streams(network: Any, fast: bool = False) -> Callable[[Any], Any]:
    """`stream_rate` with the first and least rates of the network's loss, for standardised inputs."""
    record = network.config.record
    # Half of the networks' default, which gives the slow one of two networks a lower log-loss on most streams.
    first = record.first_rate or min(10.0, math.sqrt(network.base_size + 1)) / 2
    return functools.partial(stream_rate, first=first, least=record.least_rates[fast])
