"""Base predictions of a stream: what counted cells and linear models say, for networks to mix.

Shapes: B samples, F features, D columns made from them, C heads, E values of cells, L values of linear models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from gln.learning.fading import FadingCells
from gln.learning.linear import Linear, Terms
from gln.learning.samples import Words

__all__ = ["Bases"]


@dataclasses.dataclass
class Bases:
    linear: Linear
    cells: FadingCells | None = None

    @classmethod
    def start(cls, columns: Sequence[int], heads: int, are_classes: bool, pairs: bool, counts: bool) -> Bases:
        """Before the first sample: with cells of these columns if `counts`, and pairs if there are categories."""
        cells = FadingCells.start(columns, heads, are_classes) if counts else None
        linear = Linear.start(heads, are_classes)
        return cls(linear.with_pairs() if pairs else linear, cells)

    @property
    def linear_size(self) -> int:
        """L, the number of values of linear models."""
        return self.linear.models * self.linear.heads

    def terms(self, features: np.ndarray, words: Words, z: np.ndarray, columns: np.ndarray) -> Terms:
        """The terms of samples: (F, B), their words, (D, B), and the column of each number, (F,)."""
        return Terms.of(features, words, z, columns, self.linear.models > 1)

    def learn(self, z: np.ndarray, terms: Terms, targets: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
        """Predict samples and learn each before the next: (D, B), their terms, (C, B), (B,) -> (E + L, B)."""
        said = self.linear.learn(terms, targets, shares)
        return said if self.cells is None else np.concatenate([self.cells.learn(z, targets, shares), said])

    def transform(self, z: np.ndarray, terms: Terms) -> np.ndarray:  # (D, B) -> (E + L, B)
        """Predict samples."""
        said = self.linear.predict(terms)
        return said if self.cells is None else np.concatenate([self.cells.transform(z), said])

    def names(self) -> tuple[list[Hashable], list[Hashable]]:
        """Names of the values of cells and of linear models, the same after growing."""
        heads = self.linear.heads
        own = range(1, 2) if heads == 1 and self.linear.are_classes else range(heads)
        grids = [] if self.cells is None else self.cells.grids.tolist()
        return [(*grid, head) for grid in grids for head in own], [
            (model, head) for model in range(self.linear.models) for head in own
        ]

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, columns: Sequence[int], pairs: bool) -> Bases:
        """With cells of further columns, and with pairs if there are categories now."""
        linear = self.linear.with_pairs() if pairs and self.linear.models == 1 else self.linear
        cells = self.cells if self.cells is None or not columns else self.cells.with_columns(columns)
        return Bases(linear, cells)

    def with_class(self, count: int) -> Bases:
        """With one more class, after this many samples."""
        return Bases(self.linear.with_class(count), None if self.cells is None else self.cells.with_class())

    def with_outputs(self, kept: Sequence[int], new: int) -> Bases:
        """With the heads `kept`, in this order, and new ones, for models without cells."""
        return Bases(self.linear.with_outputs(kept, new))

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {name: None if part is None else part.state() for name, part in vars(self).items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Bases:
        cells = state["cells"]
        return cls(Linear(**state["linear"]), None if cells is None else FadingCells(**cells))
