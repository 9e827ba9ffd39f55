"""Learning rates beside the default ones of the networks: callables from the count of samples learned so far."""

from __future__ import annotations

__all__ = ["linear_rate"]


def linear_rate(t: int, samples: int, first: float = 10.0, last: float = 0.1) -> float:
    """A learning rate that falls from `first` to `last` over a stream of so many samples, and stays there."""
    return first + (last - first) * min(t / samples, 1)
