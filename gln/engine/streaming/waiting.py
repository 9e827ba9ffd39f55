"""What was said of samples that wait for their labels, kept by the values of each sample."""

from __future__ import annotations

import contextlib
import hashlib
from numbers import Real

import numpy as np

from gln.engine.batches import check_integer
from gln.engine.saving import Array, Number, Part, saved
from gln.engine.streaming.values import Sample, is_missing


@saved(said={str: Array("f8", "* * 1")}, repeats={str: Number(int, 1)})
class Waiting(Part):
    """The last samples that were predicted and not learned."""

    def __init__(self, most: int) -> None:
        check_integer("waiting", most, 0)
        self.most = most  # how many
        self.said: dict[str, np.ndarray] = {}  # (M, C, 1), in the order of the predictions
        self.repeats: dict[str, int] = {}  # how many more samples of the same values wait

    def put(self, x: Sample, said: np.ndarray) -> None:
        """Keep what was said of a sample, and forget the oldest one if there are too many."""
        key = key_of(x)
        if self.said.pop(key, None) is not None:
            self.repeats[key] = self.repeats.get(key, 0) + 1
        self.said[key] = np.ascontiguousarray(said, np.float64)  # as targets may be far from 0
        while len(self.said) > self.most:
            oldest = next(iter(self.said))
            del self.said[oldest]
            self.repeats.pop(oldest, None)

    def take(self, x: Sample) -> np.ndarray | None:
        """What was said last of a sample that is learned now; None if it was not predicted, or too long ago."""
        key = key_of(x) if self.said else ""
        if key not in self.repeats:
            return self.said.pop(key, None)
        self.repeats[key] -= 1
        if self.repeats[key] == 0:
            del self.repeats[key]
        return self.said[key]


def key_of(x: Sample) -> str:
    """Equal for samples of equal values, in whatever order; a value that is missing is as if its key were."""
    values = [(repr(name), *_value(value)) for name, value in x.items() if not is_missing(value)]
    return hashlib.blake2b(repr(sorted(values)).encode(), digest_size=16).hexdigest()


def _value(value: object) -> tuple[str, str]:
    with contextlib.suppress(OverflowError):  # an integer that no model learns
        if isinstance(value, (Real, np.bool_)):
            return "number", repr(float(value) + 0.0)  # -0.0 is 0.0
    return "other", str(value)
