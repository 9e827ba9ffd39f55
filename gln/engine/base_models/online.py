"""Base predictions of a stream: what counted cells and linear models say, for networks to mix.

Shapes: B samples, F features, D columns made from them, C heads, E values of cells, L values of linear models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from gln.engine.base_models.fading_bin_means import BinCounts, FadingBinMeans, count_cells, logit
from gln.engine.base_models.hashed_linear import LEARN_TERMS, TERMS_OF, HashedLinear, HashTable, learn_terms, terms_of
from gln.engine.base_models.least_squares import NO_SQUARES, LeastSquares, Squares, learn_squares
from gln.engine.batches import Words, dense
from gln.engine.jit import compiled, plain
from gln.engine.preprocessing.basis_expansion import fill_distances, with_distances

HELPERS = *TERMS_OF, *LEARN_TERMS, learn_squares, count_cells, logit, fill_distances  # of `say`


@dataclasses.dataclass
class OnlineBaseModels:
    """Linear models and cells of the same heads, and how they predict and learn samples together."""

    linear: HashedLinear
    cells: FadingBinMeans
    counts: bool = True  # whether there are cells
    least_squares: LeastSquares | None = None  # one more linear model, before the others

    @classmethod
    def start(
        cls, columns: Sequence[int], heads: int, are_classes: bool, pairs: bool, counts: bool
    ) -> OnlineBaseModels:
        """Before the first sample: with cells of these columns if it `counts`, and `pairs` if there are categories."""
        linear = HashedLinear.start(heads, are_classes)
        cells = FadingBinMeans.start(columns if counts else (), heads, are_classes)
        return cls(linear.with_pairs() if pairs else linear, cells, counts)

    def learn(
        self,
        z: np.ndarray,
        features: np.ndarray,
        words: Words,
        columns: np.ndarray,
        targets: np.ndarray,
        step_sizes: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predict samples, and learn each before the next.

        Args:
            z: (D, B) float32, standardised columns.
            features: (F, B), with codes for categories, and NaN for missing values.
            words: of the samples.
            columns: (F,), the column of each number, -1 for a category.
            targets: (C, B); with infinity a head neither predicts nor learns, with NaN it does not learn.
            shares: (B,), the fraction of a step that each sample makes. None is a whole step.

        Returns all that networks read, (D + L + E + 2 D, B) float32: z, what linear models and cells say, and z with
        its distances from the mean.
        """
        targets, count = plain(targets), z.shape[1]
        step_sizes = np.ones(count) if step_sizes is None else plain(step_sizes)
        read, done = self._say(z, features, words, columns, targets, step_sizes, True)
        if done < count:  # more slots are needed
            said = self.linear.learn(self.linear.terms(features, words, z, columns), targets, step_sizes, done)
            end = len(z) + self.linear_size
            read[end - len(said) : end, done:] = said[:, done:]
        return read

    def transform(self, z: np.ndarray, features: np.ndarray, words: Words, columns: np.ndarray) -> np.ndarray:
        """Predict samples; arguments and result as for `learn`."""
        nothing = np.full((self.linear.heads, z.shape[1]), np.nan)
        return self._say(z, features, words, columns, nothing, nothing[0], False)[0]

    def _say(self, z: np.ndarray, features: np.ndarray, *rest: Any) -> tuple[np.ndarray, int]:
        return compiled(say, *HELPERS)(z, plain(dense(features)), *self.arguments, *rest)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `say` is given of these."""
        linear, squares = self.linear, NO_SQUARES if self.least_squares is None else self.least_squares.squares
        return linear.models > 1, linear.limit, linear.most, linear.slots, squares, self.cells.cells, linear.are_classes

    @property
    def models(self) -> int:
        """The number of linear models."""
        return self.linear.models + (self.least_squares is not None)

    @property
    def linear_size(self) -> int:
        """L, the number of values of linear models."""
        return self.models * self.linear.heads

    def names(self) -> tuple[list[Hashable], list[Hashable]]:
        """Names of the values of linear models and of cells, which stay the same when these grow."""
        heads = self.linear.heads
        own = range(1, 2) if heads == 1 and self.linear.are_classes else range(heads)
        linear: list[Hashable] = [("linear", model, head) for model in range(self.models) for head in own]
        return linear, [("cell", *grid, head) for grid in self.cells.grids.tolist() for head in own]

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, columns: Sequence[int], pairs: bool, size: int) -> OnlineBaseModels:
        """With cells of further columns, and with pairs if there are categories now; `size` is the number of all
        columns."""
        linear = self.linear.with_pairs() if pairs and self.linear.models == 1 else self.linear
        cells = self.cells.with_columns(columns) if self.counts and columns else self.cells
        squares = None if self.least_squares is None else self.least_squares.with_columns(size)
        return OnlineBaseModels(linear, cells, self.counts, squares)

    def with_class(self, count: int) -> OnlineBaseModels:
        """With one more class, after this many samples."""
        return OnlineBaseModels(self.linear.with_class(count), self.cells.with_class(), self.counts)

    def with_outputs(self, kept: Sequence[int], new: int) -> OnlineBaseModels:
        """With the heads `kept`, in this order, and new ones."""
        squares = None if self.least_squares is None else self.least_squares.with_outputs(kept, new)
        return OnlineBaseModels(
            self.linear.with_outputs(kept, new), self.cells.with_outputs(kept, new), self.counts, squares
        )

    # ---- Explaining --------------------------------------------------------------------------------------------------

    def explain(
        self,
        z: np.ndarray,
        features: np.ndarray,
        words: Words,
        columns: np.ndarray,
        feature_of: np.ndarray,
        known: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features and words to what linear models say, and a constant, which add up to it.

        Shapes: arguments as for `learn`, the feature of each column (D,), and as for `HashedLinear.explain` the
        features and words (n,) -> (L, B, n), (L, B).
        """
        said, constant = self.linear.explain(self.linear.terms(features, words, z, columns), known)
        if self.least_squares is None:
            return said, constant
        of_columns, of_all = self.least_squares.explain(z, with_distances(z), self.linear.limit)
        of_features = of_columns @ (feature_of[:, None] == known)
        return np.concatenate([of_features, said]), np.concatenate([of_all, constant])

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        state = {"linear": self.linear.state(), "cells": self.cells.state(), "counts": self.counts}
        return state if self.least_squares is None else state | {"least_squares": self.least_squares.state()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> OnlineBaseModels:
        """The bases whose `state` this was. Raises ValueError for parts that do not fit together."""
        squares = LeastSquares(**state["least_squares"]) if "least_squares" in state else None
        return cls(HashedLinear(**state["linear"]), FadingBinMeans(**state["cells"]), bool(state["counts"]), squares)

    def fits(self, columns: int, heads: int) -> bool:
        """Whether these are for so many columns and heads: compiled loops do not check."""
        known = self.least_squares is None or self.least_squares.fits(columns, heads)
        return known and self.linear.heads == self.cells.heads == heads and bool((self.cells.grids < columns).all())


def say(
    z: np.ndarray,
    features: np.ndarray,
    joins: bool,
    limit: float,
    most: int,
    slots: HashTable,
    squares: Squares,
    cells: BinCounts,
    are_classes: bool,
    words: Words,
    columns: np.ndarray,
    targets: np.ndarray,
    step_sizes: np.ndarray,
    learns: bool,
) -> tuple[np.ndarray, int]:
    """All that networks read, as for `learn`, and how many samples the linear models predicted before slots ran out."""
    size, count = z.shape
    first = len(squares.weights)
    said = np.zeros((first + slots.leaders.shape[1] * slots.leaders.shape[2], count))
    terms = terms_of(features, words, z, columns, joins)
    done = learn_terms(terms, slots, are_classes, limit, most, targets, step_sizes, learns, 0, said[first:])
    first_cell = size + len(said)
    first_row = first_cell + len(cells.grids) * len(targets)
    read = np.empty((first_row + 2 * size, count), np.float32)
    fill_distances(z, read[first_row:])
    if first > 0:
        learn_squares(squares, read[first_row:], limit, targets, step_sizes, learns, said)
    for b in range(count):
        for i in range(size):
            read[i, b] = z[i, b]
        for i in range(len(said)):
            read[size + i, b] = said[i, b]
    count_cells(z, cells, are_classes, targets, step_sizes, read[first_cell:first_row])
    return read, done
