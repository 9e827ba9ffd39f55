"""What a GLN is fed with: streams standardised as they come, and orientations of the strokes in an image.

Shapes: B samples, D values of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Standardizer", "orientation_features"]

STATE = ("count", "floor", "mean", "squares", "low", "high")  # of a Standardizer
MAX_FLOAT = np.finfo(np.float32).max  # no float, which beside float16 numbers would be taken for infinity
BLOCK = 1 << 16  # numbers standardised at a time, so that what lies between takes little memory beside the samples


class Standardizer:
    """Standardises a stream by what was seen of it so far, each value by itself: raw tables as well as pixels.

    A sample x becomes (x - mean) / (std + floor * (max - min)). It counts itself, so that nothing has to be known
    before the first sample: the n-th is within sqrt(n - 1) of 0, and what never varies stays 0.
    """

    def __init__(self, size: int, floor: float = 0.2) -> None:
        """
        Args:
            size: D, values of a sample, at least 1.
            floor: at least 0. It keeps small what hardly ever varies, as a pixel at the edge of an image.

        Raises:
            ValueError: an argument outside its range.
        """
        _check_integer("size", size, 1)
        if not (isinstance(floor, (int, float, np.number)) and np.isfinite(floor) and floor >= 0):
            raise ValueError(f"floor: expected a finite number of at least 0, got {floor!r}")
        self.size, self.floor, self.count = int(size), float(floor), 0
        # Mean, sum of squared differences from it, lowest and highest value: each (D,), float64.
        self.mean, self.squares, self.low, self.high = np.zeros((4, self.size))

    def learn(self, samples: Any) -> np.ndarray:
        """Standardise samples one after another, each after it was counted: (D, B) -> (D, B) float32.

        The same samples give the same numbers in one call and in many, but for float64's rounding.

        Raises:
            ValueError: another shape, NaN or infinity; nothing has then been counted.
        """
        samples = self._checked(samples)
        standardised = np.empty_like(samples, np.float32)
        if samples.shape[1] == 0:
            return standardised
        counts = self.count + np.arange(1, samples.shape[1] + 1)
        after = np.empty((4, self.size))  # mean, squares, low, high
        for some in _blocks(*samples.shape):
            standardised[some] = self._learned(samples[some].astype(np.float64), some, counts, after[:, some])
        self.count, (self.mean, self.squares, self.low, self.high) = int(counts[-1]), after
        return standardised

    def transform(self, samples: Any) -> np.ndarray:
        """Standardise samples by what was counted before, and count none: (D, B) -> (D, B) float32.

        Raises:
            ValueError: another shape, NaN or infinity.
        """
        samples = self._checked(samples)
        standardised = np.empty_like(samples, np.float32)
        deviation, reach = np.sqrt(self.squares / max(self.count, 1)), self.high - self.low
        for some in _blocks(*samples.shape[::-1]):
            differences = samples[:, some].astype(np.float64) - self.mean[:, None]
            standardised[:, some] = self._scaled(differences, deviation[:, None], reach[:, None])
        return standardised

    def inverse_transform(self, standardised: Any) -> np.ndarray:
        """What `transform` makes these of: (D, B) -> (D, B) float64. What never varied is its mean."""
        scale = np.sqrt(self.squares / max(self.count, 1)) + self.floor * (self.high - self.low)
        return np.asarray(standardised, np.float64) * scale[:, None] + self.mean[:, None]

    def get_state(self) -> dict[str, np.ndarray]:
        """`floor` () and what was counted, copied: `count` (), and `mean`, `squares`, `low` and `high` (D,)."""
        return {name: np.array(getattr(self, name)) for name in STATE}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on as another `Standardizer` of the same size would. A state without `floor`, as the first release wrote
        it, leaves that as it is.

        Raises:
            ValueError: a missing or unknown name, a wrong shape or number; nothing has then changed.
        """
        if not isinstance(state, Mapping) or {"floor", *state} != set(STATE):
            came = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"state: expected a mapping of the names {list(STATE)}, got {came}")
        arrays = {name: self._state_array(name, value) for name, value in {"floor": self.floor, **state}.items()}
        self.count, self.floor = int(arrays.pop("count")), float(arrays.pop("floor"))
        vars(self).update(arrays)

    def _state_array(self, name: str, value: Any) -> np.ndarray:
        array, shape = np.array(value, np.float64), () if name in ("count", "floor") else (self.size,)
        if array.shape != shape:
            raise ValueError(f"state[{name!r}]: expected finite numbers of shape {shape}, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"state[{name!r}]: expected finite numbers, got NaN or infinity")
        if (name in ("count", "floor", "squares") and (array < 0).any()) or (name == "count" and array % 1):
            expected = "an integer" if name == "count" else "numbers"
            raise ValueError(f"state[{name!r}]: expected {expected} of at least 0, got {array.min()}")
        return array

    def _learned(self, x: np.ndarray, some: slice, counts: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Some values of samples, standardised; into `after` go their mean, squares, low and high after the last.

        Shapes: (d, B), a slice of d of D, (B,), (4, d) -> (d, B).
        """
        before = x[:, 0] if self.count == 0 else self.mean[some]
        # Sums of differences from a value among the samples lose fewer digits than sums of the samples.
        shifted = x - before[:, None]
        shifts = np.add.accumulate(shifted, axis=1) / counts  # of the mean, after each sample
        squares = self.squares[some, None] + np.add.accumulate(shifted**2, axis=1) - counts * shifts**2
        low, high = np.minimum.accumulate(x, axis=1), np.maximum.accumulate(x, axis=1)
        if self.count > 0:
            low, high = np.minimum(low, self.low[some, None]), np.maximum(high, self.high[some, None])
        squares = np.maximum(squares, 0)
        after[0], after[1], after[2], after[3] = before + shifts[:, -1], squares[:, -1], low[:, -1], high[:, -1]
        return self._scaled(shifted - shifts, np.sqrt(squares / counts), high - low)

    def _scaled(self, differences: np.ndarray, deviation: np.ndarray, reach: np.ndarray) -> np.ndarray:
        scale = deviation + self.floor * reach
        scale[scale == 0] = 1  # of what never varied
        return differences / scale

    def _checked(self, samples: Any) -> np.ndarray:
        samples = np.asarray(samples)
        if samples.ndim != 2 or len(samples) != self.size or samples.dtype.kind not in "biuf":
            raise ValueError(
                f"samples: expected numbers of shape ({self.size}, B), got {samples.dtype} of shape {samples.shape}"
            )
        _check_finite("samples", samples)
        return samples


def _blocks(count: int, length: int) -> list[slice]:
    """Slices of so many rows (or columns) of that length, each of about `BLOCK` numbers."""
    size = max(1, BLOCK // max(1, length))
    return [slice(start, start + size) for start in range(0, count, size)]


def _check_finite(name: str, array: np.ndarray) -> None:
    if array.size and not (array.min() >= -MAX_FLOAT and array.max() <= MAX_FLOAT):
        raise ValueError(f"{name}: expected finite float32 numbers, got NaN, infinity or numbers too large")


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")


def orientation_features(images: Any, orientations: int = 12, cells: int = 7) -> np.ndarray:
    """Which way the edges run, and where: histograms of gradient orientations over cells that overlap.

    In each cell, the square root of the sum of the gradients' lengths, a sum for each direction. A gradient belongs in
    part to the two directions, and to the four cells, that are next to it. Source of the idea: Dalal and Triggs,
    Histograms of Oriented Gradients for Human Detection, CVPR 2005; there with other cells, and normalised.

    Args:
        images: (N, side * side), square images by rows, side at least 2.
        orientations: directions in the whole circle, at least 2; dark to bright is another one than bright to dark.
        cells: along each side, at least 1.

    Returns:
        (N, cells * cells * orientations) float32, at least 0.

    Raises:
        ValueError: images of another shape, NaN or infinity, or an argument outside its range.
    """
    images = np.asarray(images)
    side = math.isqrt(images.shape[-1]) if images.ndim == 2 else 0
    if images.ndim != 2 or side**2 != images.shape[1] or side < 2 or images.dtype.kind not in "biuf":
        raise ValueError(f"images: expected numbers of shape (N, side * side), got {images.dtype} of {images.shape}")
    _check_finite("images", images)
    _check_integer("orientations", orientations, 2)
    _check_integer("cells", cells, 1)
    # How much a row of pixels counts in a row of cells, (side, cells): less with the distance from the cell's middle.
    spacing = side / cells
    middles = (np.arange(cells) + 0.5) * spacing - 0.5
    share = np.maximum(1 - np.abs(np.arange(side)[:, None] - middles) / spacing, 0).astype(np.float32)
    features = np.empty((len(images), cells, cells, orientations), np.float32)
    for start in range(0, len(images), 2000):  # blocks, for what lies between takes far more memory than the images
        block = images[start : start + 2000].astype(np.float32).reshape(-1, side, side)
        down, right = np.gradient(block, axis=(1, 2))
        length = np.hypot(down, right)
        direction = np.arctan2(down, right) * np.float32(orientations / (2 * np.pi)) % orientations
        for o in range(orientations):
            apart = np.abs(direction - o)
            part = np.maximum(1 - np.minimum(apart, orientations - apart), 0) * length  # (block, side, side)
            features[start : start + 2000, :, :, o] = share.T @ part @ share
    return np.sqrt(features, out=features).reshape(len(images), cells * cells * orientations)
