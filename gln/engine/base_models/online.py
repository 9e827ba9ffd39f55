"""Base models of a stream, whose predictions networks mix: hashed linear models, least squares, and fading bin means.

Shapes: B samples, F features, D columns made from them, C heads, E values of bin means, L values of linear models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from gln.engine.base_models.fading_bin_means import FadingBinMeans, predict_bin_means
from gln.engine.base_models.hashed_linear import HashedLinear, predict_linear, terms_of
from gln.engine.base_models.least_squares import LeastSquares, predict_least_squares
from gln.engine.batches import SampleBatch, Words, dense
from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.preprocessing.basis_expansion import fill_distances
from gln.engine.saving import bad, saved

NO_LEAST_SQUARES = LeastSquares.start(heads=0, columns=0)


@saved(linear=HashedLinear, bin_means=FadingBinMeans, uses_bins=bool, least_squares=(LeastSquares, None))
@dataclasses.dataclass
class OnlineBaseModels(WritableArrays):
    """Base models of the same heads, and how they predict and learn samples together."""

    linear: HashedLinear
    bin_means: FadingBinMeans
    uses_bins: bool = True  # whether `bin_means` has grids
    least_squares: LeastSquares | None = None  # one more linear model, before the others

    @classmethod
    def start(
        cls, columns: Sequence[int], heads: int, are_classes: bool, crosses: bool, uses_bins: bool
    ) -> OnlineBaseModels:
        """Before the first sample; `crosses` if there are categories, and bins of these columns if it `uses_bins`."""
        linear = HashedLinear.start(heads, are_classes)
        bin_means = FadingBinMeans.start(columns if uses_bins else (), heads)
        return cls(linear.with_crosses() if crosses else linear, bin_means, uses_bins)

    def predict(
        self,
        z: np.ndarray,  # (D, B) float32, standardised columns
        samples: SampleBatch,
        columns: np.ndarray,  # (F,), the column of each number, -1 for a category
        targets: np.ndarray | None = None,  # (C, B), infinity if a head does not even predict, NaN if it only predicts
        step_sizes: np.ndarray | None = None,  # (B,), how long a step each sample makes; None is 1
    ) -> np.ndarray:
        """Predict samples, and if there are targets, learn each before the next.

        Returns all inputs of networks, (D + L + E + 2 D, B) float32: z, the predictions of linear models and of bin
        means, and z with its distances from the mean.
        """
        learns = targets is not None
        count = z.shape[1]
        targets = np.full((self.linear.heads, count), np.nan) if targets is None else plain(targets)
        step_sizes = np.ones(count) if step_sizes is None else plain(step_sizes)
        arguments = z, plain(dense(samples.features)), *self.arguments, samples.words, columns
        inputs, done = compiled(predict_base_models)(*arguments, targets, step_sizes, learns)
        if done < count:  # more slots are needed
            terms = self.linear.terms(samples, z, columns)
            self.linear, predictions = self.linear.learn(terms, targets, step_sizes, done)
            end = len(z) + self.linear_size
            inputs[end - len(predictions) : end, done:] = predictions[:, done:]
        return inputs

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `predict_base_models` takes of these."""
        return self.linear, self.least_squares or NO_LEAST_SQUARES, self.bin_means

    @property
    def models(self) -> int:
        """The number of linear models."""
        return self.linear.models + (self.least_squares is not None)

    @property
    def linear_size(self) -> int:
        """L, the number of values of linear models."""
        return self.models * self.linear.heads

    def names(self) -> tuple[list[Hashable], list[Hashable]]:
        """Names of the values of linear models and of bin means, which stay the same when these grow."""
        # One head of two classes has the name of the second class.
        first = int(self.linear.heads == 1 and self.linear.are_classes)
        heads, with_free = (range(first, first + model.heads) for model in (self.linear, self.bin_means))
        linear: list[Hashable] = [("linear", model, head) for model in range(self.models) for head in heads]
        return linear, [("bin mean", *grid, head) for grid in self.bin_means.grids.tolist() for head in with_free]

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, columns: Sequence[int], crosses: bool, size: int) -> OnlineBaseModels:
        """With bins of further columns, and with crosses if there are categories now; `size` is the number of all
        columns."""
        linear = self.linear.with_crosses() if crosses and self.linear.models == 1 else self.linear
        bin_means = self.bin_means.with_columns(columns) if self.uses_bins and columns else self.bin_means
        least_squares = None if self.least_squares is None else self.least_squares.with_columns(size)
        return OnlineBaseModels(linear, bin_means, self.uses_bins, least_squares)

    def with_class(self, count: int) -> OnlineBaseModels:
        """With one more class, after this many samples."""
        bin_means = self.bin_means.with_class(self.linear.heads)
        return OnlineBaseModels(self.linear.with_class(count), bin_means, self.uses_bins)

    def with_outputs(self, kept: Sequence[int], new: int) -> OnlineBaseModels:
        """With the heads `kept`, in this order, and new ones."""
        linear = self.linear.with_outputs(kept, new)
        bin_means = self.bin_means.with_outputs(kept, new)
        least_squares = None if self.least_squares is None else self.least_squares.with_outputs(kept, new)
        return OnlineBaseModels(linear, bin_means, self.uses_bins, least_squares)

    # ---- Explaining --------------------------------------------------------------------------------------------------

    def explain(
        self, z: np.ndarray, samples: SampleBatch, columns: np.ndarray, feature_of: np.ndarray, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features and words, and a constant, which add up to the predictions of linear models.

        Shapes: arguments as for `predict`, the feature of each column (D,), and as for `HashedLinear.explain` the
        features and words (n,) -> (L, B, n), (L, B).
        """
        hashed, constant = self.linear.explain(self.linear.terms(samples, z, columns), known)
        if self.least_squares is None:
            return hashed, constant
        by_column, offset = self.least_squares.explain(z, self.linear.limit)
        by_feature = by_column @ (feature_of[:, None] == known)
        return np.concatenate([by_feature, hashed]), np.concatenate([offset, constant])

    # ---- State -------------------------------------------------------------------------------------------------------

    def check(self, columns: int, heads: int, free: int) -> None:
        """Raise ValueError unless these are of so many columns and heads, and as many are free."""
        self.bin_means.check(columns, heads + free)
        if self.least_squares is not None:
            self.least_squares.check(columns, heads)
        if self.linear.heads != heads:
            raise bad("linear", f"{heads} heads", self.linear.heads)


def predict_base_models(
    z: np.ndarray,
    features: np.ndarray,
    table: HashedLinear,
    least_squares: LeastSquares,
    bin_means: FadingBinMeans,
    words: Words,
    columns: np.ndarray,
    targets: np.ndarray,
    step_sizes: np.ndarray,
    learns: bool,
) -> tuple[np.ndarray, int]:
    """All inputs of networks, as for `predict`, and how many samples linear models predicted before slots ran out."""
    size, count = z.shape
    first = len(least_squares.weights)
    linear = np.zeros((first + table.leaders.shape[1] * table.leaders.shape[2], count))
    terms = terms_of(features, words, z, columns, table)
    done = predict_linear(terms, table, targets, step_sizes, learns, 0, linear[first:])
    first_bin = size + len(linear)
    first_distance = first_bin + len(bin_means.grids) * bin_means.totals.shape[1]
    inputs = np.empty((first_distance + 2 * size, count), np.float32)
    fill_distances(z, inputs[first_distance:])
    if first > 0:
        predict_least_squares(least_squares, inputs[first_distance:], table.limit, targets, step_sizes, learns, linear)
    for b in range(count):
        for i in range(size):
            inputs[i, b] = z[i, b]
        for i in range(len(linear)):
            inputs[size + i, b] = linear[i, b]
    predict_bin_means(z, bin_means, table.are_classes, targets, step_sizes, inputs[first_bin:first_distance])
    return inputs, done
