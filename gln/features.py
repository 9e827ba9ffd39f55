"""What a GLN is fed with: streams standardised as they come, and orientations of the strokes in an image.

Shapes: B samples, D values of a sample.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Standardizer", "orientation_features", "with_distances"]

STATE = ("count", "floor", "limit", "mean", "squares", "low", "high", "first")  # of a Standardizer
# How estimators standardise features and targets. With a floor of 0 the digits lose 0.4 points, from 0.1 on wines do.
OF_FEATURES, OF_TARGETS = {"floor": 0.05, "limit": 5.0}, {"floor": 0.0, "limit": 10.0}
MAX_FLOAT = np.finfo(np.float32).max  # no float, which beside float16 numbers would be taken for infinity
DISTANCE = np.float32(0.8)  # of a normal value from its mean, on average, in deviations
BLOCK = 1 << 16  # numbers at a time, so that what lies between takes little memory beside the samples
ROUNDS = 10  # at most, in which values far off are set aside, which may show others
FAR = 4  # times the limit: what is further off is taken for no value
SURE = 10  # values of which a scale is known well; of fewer, values are believed that are further off


class Standardizer:
    """Standardises a stream by what was seen of it so far, each value by itself: raw tables as well as pixels.

    A value x becomes (x - mean) / scale, the scale being std + floor * (max - min). It counts itself, so that nothing
    has to be known before the first sample: the n-th is within sqrt(n - 1) of 0, and what never varied is 0. What is
    further from the mean than `limit` scales counts as if it were just there: a bad sample moves mean and scale no
    further than a good one could. What is much further still is taken for no value at all. That, and NaN, a missing
    value, become 0, the mean; NaN counts for nothing.
    """

    def __init__(self, size: int, floor: float = 0.2, limit: float = 5.0) -> None:
        """
        Args:
            size: D, values of a sample, at least 1.
            floor: at least 0. It keeps small what hardly ever varies, as a pixel at the edge of an image.
            limit: above 0. What is standardised is within it.

        Raises:
            ValueError: an argument outside its range.
        """
        _check_integer("size", size, 1)
        for name, value in (("floor", floor), ("limit", limit)):
            if (
                not isinstance(value, (int, float, np.number))
                or not 0 <= value < np.inf
                or (name, value) == ("limit", 0)
            ):
                expected = "of at least 0" if name == "floor" else "above 0"
                raise ValueError(f"{name}: expected a finite number {expected}, got {value!r}")
        self.size, self.floor, self.limit = int(size), float(floor), float(limit)
        # How many values were known, their mean, sum of squared differences from it, lowest and highest: (D,), float64.
        self.count, self.mean, self.squares, self.low, self.high = np.zeros((5, self.size))
        self.first = np.zeros((0, self.size))  # the first samples, while they are few, which are judged together
        self._rescale()

    def learn(self, samples: Any) -> np.ndarray:
        """Standardise samples one after another, each after it was counted: (D, B) -> (D, B) float32.

        The same samples give the same numbers in one call and in many.

        Raises:
            ValueError: another shape, or infinity; nothing has then been counted.
        """
        samples = _dense(self._checked(samples))
        standardised = np.empty(samples.shape, np.float32)
        for b in range(samples.shape[1]):
            standardised[:, b] = self.learn_one(samples[:, b].astype(np.float64))
        return standardised

    def learn_one(self, x: np.ndarray) -> np.ndarray:
        """`learn` of one sample that needs no check, a float64 vector: (D,) -> (D,)."""
        if self.count.max() <= len(self.first):
            first = np.concatenate([self.first, x[None]])
            self._count_all(first.T)
            self.first = first if len(first) < SURE else first[:0]
        else:
            self._count_one(x)
        self._rescale()
        return self.transform_one(x)

    def _count_one(self, x: np.ndarray) -> None:  # (D,)
        known = x == x
        apart = np.minimum(np.maximum(x - self.mean, -self._border), self._border)
        apart[~known] = 0
        first = known & (self.count == 0)
        self.count += known
        step = apart / np.maximum(self.count, 1)
        np.minimum(self.low, self.mean + apart, out=self.low)
        np.maximum(self.high, self.mean + apart, out=self.high)
        self.low[first] = self.high[first] = x[first]
        self.mean += step
        self.squares += apart * (apart - step)

    def transform_one(self, x: np.ndarray) -> np.ndarray:
        """`transform` of one sample that needs no check, a float64 vector: (D,) -> (D,)."""
        return self._within((x - self.mean) / self._scale)

    def _within(self, z: np.ndarray) -> np.ndarray:
        z[~(np.abs(z) < FAR * self.limit)] = 0  # NaN as well
        return np.minimum(np.maximum(z, -self.limit), self.limit)

    def fit(self, samples: Any) -> None:
        """Count a whole table, (D, B), in place of what was counted before, whatever the order of its samples.

        Raises:
            ValueError: another shape, or infinity; nothing has then changed.
        """
        self._count_all(self._checked(samples))
        self.first = self.first[:0]
        self._rescale()

    def _count_all(self, samples: np.ndarray) -> None:
        rows = max(1, BLOCK // max(1, samples.shape[1]))
        for some in (slice(start, start + rows) for start in range(0, self.size, rows)):
            x = _dense(samples[some]).astype(np.float64)
            counted, few = x, 1 < x.shape[1] <= SURE
            far = _outliers(x, self.limit, self.floor) if few else np.zeros(x.shape, bool)
            for _ in range(ROUNDS):  # values far off are set aside, which may show others
                self._count_rows(np.where(far, np.nan, x), some)
                mean, border = self.mean[some, None], self._border[some, None]
                rare = np.isinf(border)  # all but a few values are the same: what a few say is no mistake
                counted = np.where(rare, x, x.clip(mean - border, mean + border))
                changed = (counted != x) & ~np.isnan(x)
                if not (changed & ~far).any():
                    break
                far |= changed
            self._count_rows(counted, some)

    def transform(self, samples: Any) -> np.ndarray:
        """Standardise samples by what was counted before, and count none: (D, B) -> (D, B) float32.

        Raises:
            ValueError: another shape, or infinity.
        """
        samples = self._checked(samples)
        standardised, size = np.empty(samples.shape, np.float32), max(1, BLOCK // self.size)
        for some in (slice(start, start + size) for start in range(0, samples.shape[1], size)):
            z = (_dense(samples[:, some]).astype(np.float64) - self.mean[:, None]) / self._scale[:, None]
            standardised[:, some] = self._within(z)
        return standardised

    def inverse_transform(self, standardised: Any) -> np.ndarray:
        """What `transform` makes these of: (D, B) -> (D, B) float64. What never varied is its mean."""
        return np.asarray(standardised, np.float64) * self.scale[:, None] + self.mean[:, None]

    @property
    def scale(self) -> np.ndarray:
        """(D,), the length of a standardised 1; 0 where a value never varied."""
        return np.where(np.isfinite(self._scale), self._scale, 0)

    def grow(self, size: int) -> None:
        """Make room for further values, of which nothing was seen: from now on a sample has `size`."""
        further = size - self.size
        for name in ("count", "mean", "squares", "low", "high"):
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(further)]))
        self.first = np.pad(self.first, [(0, 0), (0, further)], constant_values=np.nan)
        self.size = size
        self._rescale()

    def get_state(self) -> dict[str, np.ndarray]:
        """`floor` and `limit` (), and what was counted, copied: `count`, `mean`, `squares`, `low` and `high` (D,), and
        `first`, the first samples while they are few (n, D)."""
        return {name: np.array(getattr(self, name)) for name in STATE}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on as another `Standardizer` of the same size would. In a state of the first release one `count` is that
        of all values, and `floor`, `limit` and `first` may be missing; the first two then stay as they are.

        Raises:
            ValueError: a missing or unknown name, a wrong shape or number; nothing has then changed.
        """
        own = {"floor": self.floor, "limit": self.limit, "first": self.first[:0]}
        if not isinstance(state, Mapping) or {*own, *state} != set(STATE):
            came = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"state: expected a mapping of the names {list(STATE)}, got {came}")
        arrays = {name: self._state_array(name, value) for name, value in {**own, **state}.items()}
        self.floor, self.limit = (float(arrays.pop(name)) for name in ("floor", "limit"))
        vars(self).update(arrays)
        self._rescale()

    def _state_array(self, name: str, value: Any) -> np.ndarray:
        array, shape = np.array(value, np.float64), () if name in ("floor", "limit") else (self.size,)
        if name == "first" and array.ndim == 2 and len(array) < SURE and array.shape[1] == self.size:
            return array
        if name == "count" and array.ndim == 0:
            array = np.full(shape, array)
        if array.shape != shape:
            raise ValueError(f"state[{name!r}]: expected finite numbers of shape {shape}, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"state[{name!r}]: expected finite numbers, got NaN or infinity")
        if (name not in ("mean", "low", "high") and (array < 0).any()) or (name == "count" and (array % 1).any()):
            expected = "integers" if name == "count" else "numbers"
            raise ValueError(f"state[{name!r}]: expected {expected} of at least 0, got {array.min()}")
        return array

    def _rescale(self) -> None:
        """What follows from the counts, (D,): the scale, and how far from the mean a value counts as it is."""
        scale = np.sqrt(self.squares / np.maximum(self.count, 1)) + self.floor * (self.high - self.low)
        self._scale = np.where(scale > 0, scale, np.inf)  # what never varied says nothing
        self._border = self.limit * (1 + SURE / np.maximum(self.count, 1)) * self._scale

    def _count_rows(self, x: np.ndarray, some: slice) -> None:  # (d, B), a slice of d of D
        known = ~np.isnan(x)
        count = known.sum(axis=1)
        origin = x[np.arange(len(x)), known.argmax(axis=1)]  # sums of differences from a value lose fewer digits
        apart = np.where(known, x - origin[:, None], 0)
        shift = apart.sum(axis=1) / np.maximum(count, 1)
        apart = np.where(known, apart - shift[:, None], 0)
        mean = np.where(count > 0, origin + shift, 0)
        self.count[some], self.mean[some], self.squares[some] = count, mean, np.square(apart).sum(axis=1)
        self.low[some], self.high[some] = mean + apart.min(axis=1), mean + apart.max(axis=1)
        self._rescale()

    def _checked(self, samples: Any) -> np.ndarray:
        samples = samples.tocsr() if _is_sparse(samples) else np.asarray(samples)
        if samples.ndim != 2 or samples.shape[0] != self.size or samples.dtype.kind not in "biuf":
            raise ValueError(
                f"samples: expected numbers of shape ({self.size}, B), got {samples.dtype} of shape {samples.shape}"
            )
        numbers = samples.data if _is_sparse(samples) else samples
        # `fmax` and `fmin` pass over NaN, and need no copy.
        ends = [abs(float(end.reduce(numbers, None))) for end in (np.fmax, np.fmin)] if numbers.size else [0.0]
        if max(ends) > float(MAX_FLOAT):
            raise ValueError("samples: expected finite float32 numbers or NaN, got infinity or numbers too large")
        return samples


def _dense(samples: Any) -> np.ndarray:
    return samples.toarray() if _is_sparse(samples) else samples


def _is_sparse(samples: Any) -> bool:
    return hasattr(samples, "tocsr")  # by its looks, for SciPy's own check takes a tenth of a second to import


def _outliers(x: np.ndarray, limit: float, floor: float) -> np.ndarray:  # (d, B) -> (d, B) of bools
    """Which of a few values are far off by the mean and the scale of the others; none where these are all the same."""
    others = np.where(np.eye(x.shape[1], dtype=bool), np.nan, x[:, None])  # (d, B, B)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of values that are all missing
        scale = np.nanstd(others, axis=2) + floor * (np.nanmax(others, axis=2) - np.nanmin(others, axis=2))
        return (np.abs(x - np.nanmean(others, axis=2)) > limit * (1 + SURE / x.shape[1]) * scale) & (scale > 0)


def with_distances(standardised: np.ndarray) -> np.ndarray:
    """Each standardised value, and how far it is from its mean less what that is on average: (D, B) -> (2 D, B).

    A mixture of both bends where a value is at its mean. A value of 0 is one that is missing, or that never varies: of
    its distance nothing is known either.
    """
    distances = np.where(standardised == 0, standardised, np.abs(standardised) - DISTANCE)
    return np.stack([standardised, distances], axis=1).reshape(-1, standardised.shape[1])


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
