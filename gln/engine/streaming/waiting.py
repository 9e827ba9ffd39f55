"""Predictions that wait for the labels of their samples, kept by the values of each sample."""

from __future__ import annotations

import hashlib
from numbers import Integral, Real
from typing import Any, Generic, TypeVar

import numpy as np

from gln.engine.batches import check_integer
from gln.engine.saving import Array, Number, Part, bad, saved
from gln.engine.streaming.values import Sample, is_missing

T = TypeVar("T")


@saved(most=Number(int, 0), predictions={str: Array("f8", "* * 1")}, repeats={str: Number(int, 1)})
class Waiting(Part, Generic[T]):
    """Predictions of the last samples that were not learned; of equal samples, the last prediction counts for all."""

    def __init__(self, most: int) -> None:
        check_integer("waiting", most, 0)
        self.most = most  # how many different samples
        self.predictions: dict[str, T] = {}  # by the keys of samples, the oldest first
        self.repeats: dict[str, int] = {}  # how many more samples of the same values wait

    def __len__(self) -> int:
        return len(self.predictions) + sum(self.repeats.values())

    def put(self, x: Sample, prediction: T) -> int:
        """Keep what was predicted of a sample; returns what `forget` does."""
        key = key_of(x)
        if self.predictions.pop(key, None) is not None:
            self.repeats[key] = self.repeats.get(key, 0) + 1
        self.predictions[key] = prediction
        return self.forget()

    def forget(self) -> int:
        """Forget the oldest samples if there are too many; returns how many predictions were forgotten."""
        forgotten = 0
        while len(self.predictions) > self.most:
            oldest = next(iter(self.predictions))
            del self.predictions[oldest]
            forgotten += 1 + self.repeats.pop(oldest, 0)
        return forgotten

    def check(self, learner: Any) -> None:
        """Raise ValueError unless the fields, of a file, fit together, and this learner may have predicted them."""
        if not self.repeats.keys() <= self.predictions.keys():
            raise bad("waiting", "repeats of samples that wait", f"{len(self.repeats)} others")
        if not self.predictions:
            return
        if learner is None or learner.means.combination is None:
            raise bad("waiting", "no predictions without a last neuron", f"{len(self)}")
        least = 1 + (0 if learner.variances is None else learner.variances.models)
        predictions: Any = self.predictions.values()
        models = min(map(len, predictions))
        if models < least:
            raise bad("waiting", f"predictions of at least {least} models", models)

    def get(self, x: Sample) -> T | None:
        """What was predicted last of a sample; None if it was not predicted, or too long ago."""
        return self.predictions.get(key_of(x)) if self.predictions else None

    def take(self, x: Sample) -> T | None:
        """As `get`, of a sample that is learned now and does not wait any more."""
        key = key_of(x) if self.predictions else ""
        if key not in self.repeats:
            return self.predictions.pop(key, None)
        self.repeats[key] -= 1
        if self.repeats[key] == 0:
            del self.repeats[key]
        return self.predictions[key]


def key_of(x: Sample) -> str:
    """Equal for samples of equal values, in whatever order; a value that is missing is as if its key were."""
    values = [(repr(name), *_value(value)) for name, value in x.items() if not is_missing(value)]
    return hashlib.blake2b(repr(sorted(values)).encode(), digest_size=16).hexdigest()


def _value(value: object) -> tuple[str, str]:
    if isinstance(value, Integral):
        return "number", hex(int(value))  # ids may have more digits than floats
    if isinstance(value, (Real, np.bool_)):
        number = float(value)
        return "number", hex(int(number)) if number.is_integer() else repr(number)
    return "other", str(value)
