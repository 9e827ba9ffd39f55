"""Stands for a standardizer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Unscaled"]


@dataclasses.dataclass
class Unscaled:
    """Stands for a standardizer where samples are read as they are."""

    size: int

    def learn_checked(self, samples: Any) -> np.ndarray:
        return self.transform(samples)

    def transform(self, samples: Any) -> np.ndarray:
        return np.asarray(samples, np.float32)

    def grow(self, size: int) -> None:
        raise ValueError(f"samples: expected {self.size} features, got {size}")
