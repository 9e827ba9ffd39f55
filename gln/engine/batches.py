"""Samples as columns of dense or sparse arrays, perhaps with words: checks, and slices that bound the memory needed.

Shapes: B samples, D features.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import issparse

WORD = r"\w+|[^\w\s]"  # pattern of the words and signs of a text in lower case
CHUNK = 1000  # samples that are standardised at a time, to save memory
MOST_REPEATS = 100  # after so many steps in a row a sample is fitted, and further ones hardly change anything
Matrix: TypeAlias = Any  # np.ndarray or a sparse array of SciPy, (n, m)
Steps: TypeAlias = np.ndarray | None  # how long a step each sample makes, (B,); None is a whole one
MAX_FLOAT = np.finfo(np.float32).max  # a NumPy scalar: float16 arrays would turn a float into infinity


def check_samples(samples: Matrix, size: int) -> Matrix:
    """Samples as a dense or sparse array; raises ValueError unless they are numbers of shape (size, B)."""
    samples = samples if issparse(samples) else np.asarray(samples)
    if samples.ndim != 2 or samples.shape[0] != size or samples.dtype.kind not in "biuf":
        came = f"{samples.dtype} of shape {samples.shape}"
        raise ValueError(f"samples: expected numbers of shape ({size}, B), got {came}")
    if is_too_large(samples):
        raise ValueError("samples: expected finite float32 numbers or NaN, got infinity or numbers too large")
    return samples


def is_too_large(samples: Matrix) -> bool:
    """Whether a dense or sparse array has infinity, or a number that float32 cannot hold; NaN is neither."""
    numbers = samples.data if issparse(samples) else samples
    ends = np.fmax.reduce(numbers, None, initial=0), np.fmin.reduce(numbers, None, initial=0)  # which copy nothing
    return max(float(ends[0]), -float(ends[1])) > float(MAX_FLOAT)


def check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")


def repeats_of(weight: float) -> int:
    """In how many steps of equal size a sample of this weight is learned: none is longer than a whole one, since a
    longer one overshoots."""
    return int(max(1.0, math.ceil(min(weight, MOST_REPEATS))))


def steps_of(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (B,) -> (B,), (B,)
    """In how many steps samples of these weights are learned, and the size of each step."""
    repeats = np.array([*map(repeats_of, weights.tolist())], int)
    sizes = np.minimum(weights, repeats.astype(weights.dtype)) / repeats.astype(weights.dtype)
    return repeats, sizes


def dense(samples: Matrix) -> np.ndarray:
    return samples.toarray() if issparse(samples) else samples


def chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices of so many samples, of which the last has those that are left."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def spread(count: int, most: int) -> np.ndarray:
    """Indices below `count`, evenly spaced, at most `most` of them."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


class Words(NamedTuple):
    """The words of samples: keys that most samples lack, so that linear models alone read them."""

    starts: np.ndarray  # (B + 1,), where those of each sample begin
    numbers: np.ndarray  # (T,), of the words
    codes: np.ndarray  # (T,), of a category's level, -1 for a number
    values: np.ndarray  # (T,), 1 for a level

    @property
    def samples(self) -> np.ndarray:  # (T,)
        """The sample of each word."""
        return np.arange(len(self.starts) - 1).repeat(np.diff(self.starts))

    def take(self, rows: slice) -> Words:
        """Those of the samples `rows`."""
        sizes = np.diff(self.starts)[rows]
        starts = np.append(0, np.cumsum(sizes))
        indices = np.arange(starts[-1]) + np.repeat(self.starts[:-1][rows] - starts[:-1], sizes)
        return Words(starts, self.numbers[indices], self.codes[indices], self.values[indices])


def no_words(count: int) -> Words:
    nothing = np.zeros(0, np.int64)
    return Words(np.zeros(count + 1, np.int64), nothing, nothing, np.zeros(0))


@dataclasses.dataclass
class SampleBatch:
    """Samples, which have been checked, with words beside their features."""

    features: Matrix  # (F, B), with codes for categories, and NaN for missing values
    words: Words

    @classmethod
    def of(cls, features: Matrix) -> SampleBatch:
        """Samples without words."""
        return cls(features, no_words(features.shape[1]))

    def __len__(self) -> int:
        return self.features.shape[1]

    def take(self, rows: slice) -> SampleBatch:
        """Those from `rows.start` to `rows.stop`."""
        if rows.start == 0 and rows.stop >= len(self):
            return self  # fast, for single samples
        return SampleBatch(self.features[:, rows], self.words.take(rows))
