"""Scale wide sparse samples, such as texts, without making them dense.

Shapes: B samples, D features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csc_array

from gln.engine.batches import MAX_FLOAT, check_integer, check_samples
from gln.engine.jit import WritableArrays

SPARSE_SIZE = 0.25  # factor of `SparseScaler`; half or twice as much makes little difference


class SparseScaler(WritableArrays):
    """Scales the features of wide sparse samples, such as texts, by the values seen so far; zeros stay zeros.

    A value x becomes 0.25 x / sqrt(r m), where r is the root mean square of its feature, zeros included, and m the
    geometric mean of the magnitudes of all nonzero values. So a rare word counts for more than a frequent one, but for
    less than if each were divided by its r. NaN is a missing value and becomes 0, as does a feature never seen.
    """

    def __init__(self, size: int) -> None:
        """
        Args:
            size: D, the number of features, at least 1.

        Raises:
            ValueError: `size` is less than 1 or not an integer.
        """
        check_integer("size", size, 1)
        self.size, self.squares = int(size), np.zeros(size)  # sum of the squares of each feature
        self.count = self.stored = self.logs = 0.0  # number of samples and of values, and sum of log |value|

    def fit(self, samples: Any, visits: np.ndarray | None = None) -> None:
        """Count a table, (D, B), replacing earlier counts; with `visits`, (V,), the samples with these indices.

        Raises:
            ValueError: a wrong shape, or infinity; nothing has changed then.
        """
        columns = _columns(check_samples(samples, self.size))
        self.squares, self.count, self.stored, self.logs = np.zeros(self.size), 0.0, 0.0, 0.0
        times = np.ones(columns.shape[1]) if visits is None else np.bincount(visits, minlength=columns.shape[1])
        self._count(columns.indices, columns.data, times.repeat(np.diff(columns.indptr)), times.sum())

    def learn(self, samples: Any) -> Any:
        """Count samples one after another, and scale each by those up to it: (D, B) -> (D, B), sparse float32.

        Raises:
            ValueError: a wrong shape, or infinity; nothing has been counted then.
        """
        return self.learn_checked(check_samples(samples, self.size))

    def learn_checked(self, samples: Any) -> Any:
        """`learn` without checks."""
        columns = _columns(samples)
        for start, end in itertools.pairwise(columns.indptr):
            words, values = columns.indices[start:end], columns.data[start:end]
            self._count(words, values, np.ones(len(values)), 1)
            columns.data[start:end] = self._scaled(words, values)
        return columns.astype(np.float32)

    def transform(self, samples: Any) -> Any:
        """Scale samples by those counted before, without counting them: (D, B) -> (D, B), sparse float32 columns.

        Raises:
            ValueError: a wrong shape, or infinity.
        """
        columns = _columns(check_samples(samples, self.size))
        columns.data = self._scaled(columns.indices, columns.data)
        return columns.astype(np.float32)

    def grow(self, size: int) -> None:
        """Append features without any values yet, so that samples have `size` features from now on."""
        self.squares = np.pad(self.squares, (0, size - self.size))
        self.size = size

    def get_state(self) -> dict[str, np.ndarray]:
        """A copy of the counts: `squares`, (D,), and `count`, `stored` and `logs`, ()."""
        return {name: np.array(getattr(self, name)) for name in ("squares", "count", "stored", "logs")}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of another `SparseScaler` of the same size.

        Raises:
            ValueError: a missing or unknown name, wrong shape or invalid number; nothing has changed then.
        """
        shapes = {name: array.shape for name, array in self.get_state().items()}
        arrays = {name: np.array(value, np.float64) for name, value in state.items()}
        if {name: array.shape for name, array in arrays.items()} != shapes:
            raise ValueError(f"state: expected arrays of shapes {shapes}, got {sorted(state)}")
        if not all(np.isfinite(a).all() and (name == "logs" or (a >= 0).all()) for name, a in arrays.items()):
            raise ValueError("state: expected finite numbers, and counts of at least 0")
        self.squares = arrays.pop("squares")
        self.count, self.stored, self.logs = (float(arrays[name]) for name in ("count", "stored", "logs"))

    def _count(self, words: np.ndarray, values: np.ndarray, times: np.ndarray, samples: float) -> None:  # 3 of (S,)
        np.add.at(self.squares, words, times * np.square(values))
        self.count += float(samples)
        self.stored += float(times.sum())
        self.logs += float(times @ np.log(np.abs(values)))

    def _scaled(self, words: np.ndarray, values: np.ndarray) -> np.ndarray:  # (S,), (S,) -> (S,)
        typical = math.exp(self.logs / max(1, self.stored))
        divisor = np.sqrt(np.sqrt(self.squares[words] / max(1, self.count)) * typical)
        scaled = np.where(divisor > 0, SPARSE_SIZE * values / np.where(divisor > 0, divisor, 1), 0)
        return scaled.clip(-MAX_FLOAT, MAX_FLOAT)


def _columns(samples: Any) -> csc_array:
    """A copy as float64 columns that store only known, nonzero values."""
    columns = csc_array(samples, dtype=np.float64, copy=True)
    columns.sum_duplicates()
    columns.data = np.nan_to_num(columns.data)
    columns.eliminate_zeros()
    return columns
