"""What a GLN is fed with: streams standardised as they come, and orientations of the strokes in an image.

Shapes: B samples, D values of a sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Standardizer"]


class Standardizer:
    """Standardises a stream by the mean and the variance of what was seen so far, each value by itself.

    A sample x becomes (x - mean) / (std + floor). It counts itself, so that nothing has to be known before the first
    sample: the n-th is within sqrt(n - 1) of 0, and what never varies stays 0.
    """

    def __init__(self, size: int, floor: float = 0.0) -> None:
        """
        Args:
            size: D, values of a sample, at least 1.
            floor: added to every standard deviation, in the unit of the values, at least 0. It keeps down values that
                hardly ever vary, as those at the edge of an image.

        Raises:
            ValueError: an argument outside its range.
        """
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"size: expected an integer of at least 1, got {size!r}")
        if not (np.isfinite(floor) and floor >= 0):
            raise ValueError(f"floor: expected a finite number of at least 0, got {floor!r}")
        self.size, self.floor = int(size), float(floor)
        self.count, self.mean, self.squares = 0, np.zeros(self.size), np.zeros(self.size)

    def learn(self, samples: Any) -> np.ndarray:
        """Standardise samples one after another, each after it was counted: (D, B) -> (D, B) float32.

        The same samples give the same numbers in one call and in many, but for float64's rounding.

        Raises:
            ValueError: another shape, NaN or infinity; nothing has then been counted.
        """
        samples = self._checked(samples)
        if samples.shape[1] == 0:
            return np.empty(samples.shape, np.float32)
        # Sums of differences from the mean so far, which lose fewer digits than sums of the values.
        shifted = samples - self.mean[:, None]
        counts = self.count + np.arange(1, samples.shape[1] + 1)
        shifts = np.cumsum(shifted, axis=1) / counts  # the mean after each sample, less the mean before the first
        squares = self.squares[:, None] + np.cumsum(shifted**2, axis=1) - counts * shifts**2
        np.maximum(squares, 0, out=squares)
        standardised = self._scaled(shifted - shifts, np.sqrt(squares / counts))
        self.count, self.mean, self.squares = int(counts[-1]), self.mean + shifts[:, -1], squares[:, -1]
        return standardised

    def transform(self, samples: Any) -> np.ndarray:
        """Standardise samples by what was counted before, and count none: (D, B) -> (D, B) float32.

        Raises:
            ValueError: another shape, NaN or infinity.
        """
        deviation = np.sqrt(self.squares / max(self.count, 1))
        return self._scaled(self._checked(samples) - self.mean[:, None], deviation[:, None])

    def get_state(self) -> dict[str, np.ndarray]:
        """What was counted, copied: `count` (), `mean` (D,) and `squares` (D,), the sum of squared deviations."""
        return {"count": np.array(self.count), "mean": self.mean.copy(), "squares": self.squares.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what another `Standardizer` of the same size has counted.

        Raises:
            ValueError: a missing or unknown name, a wrong shape or number; nothing has then changed.
        """
        if not isinstance(state, Mapping) or set(state) != {"count", "mean", "squares"}:
            came = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"state: expected a mapping of the names ['count', 'mean', 'squares'], got {came}")
        count, mean, squares = (np.array(state[name], np.float64) for name in ("count", "mean", "squares"))
        for name, array, shape in (
            ("count", count, ()),
            ("mean", mean, (self.size,)),
            ("squares", squares, (self.size,)),
        ):
            if array.shape != shape or not np.isfinite(array).all() or (name != "mean" and (array < 0).any()):
                raise ValueError(f"state[{name!r}]: expected finite numbers of shape {shape}, got {array}")
        self.count, self.mean, self.squares = int(count), mean, squares

    def _scaled(self, differences: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        scale = deviation + self.floor
        return (differences / np.where(scale > 0, scale, 1)).astype(np.float32)

    def _checked(self, samples: Any) -> np.ndarray:
        samples = np.asarray(samples)
        if samples.ndim != 2 or len(samples) != self.size or samples.dtype.kind not in "biuf":
            raise ValueError(
                f"samples: expected numbers of shape ({self.size}, B), got {samples.dtype} of shape {samples.shape}"
            )
        if not np.isfinite(samples).all():
            raise ValueError("samples: expected finite numbers, got NaN or infinity")
        return samples.astype(np.float64)
