"""Learning rates other than the networks' default, as functions of the number of samples learned so far."""

from gln.engine.networks.schedules import linear_rate, stream_rate

__all__ = ["linear_rate", "stream_rate"]
