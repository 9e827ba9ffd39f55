"""What networks read of a sample: its columns, standardised, their distances from the mean, encodings, and what base
predictors say.

Shapes: B samples, F features, D columns made from them, E values of base predictors, C heads, K inputs of a network and
S values of its side information.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from gln.engine.base_models.bin_means import BinMeans
from gln.engine.base_models.least_squares import LeastSquares
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import dense, features_and_words
from gln.engine.networks.protocol import Network
from gln.engine.networks.surgery import with_inputs
from gln.engine.preprocessing.basis_expansion import NO_PIECES, Pieces, piecewise_linear, with_distances
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding


@dataclasses.dataclass
class Featurizer:
    """Turns samples into what networks read, and learns how from the samples of the stream up to each."""

    standardizer: Any  # a Standardizer; a SparseScaler, which keeps samples sparse; or Unscaled
    categories: TargetEncoding | None = None  # None if all features are numbers
    distances: bool = True  # whether networks also mix each column's distance from its mean
    pieces: Pieces = NO_PIECES  # of the encodings, which networks with more inputs also mix
    cells: BinMeans | None = None  # of the features, counted in a table; the same networks mix what these say
    memory: int | None = None  # the category that only some networks read: the previous label
    base_models: OnlineBaseModels | None = None  # learned in a stream; some networks mix what they say

    @classmethod
    def of_stream(
        cls, samples: np.ndarray, categorical: Set[int], targets: int, are_classes: bool, memory: int | None = None
    ) -> Featurizer:
        """For a stream that begins with these samples (F, B), of this many targets or classes."""
        if not categorical:
            return cls(Standardizer(samples.shape[0], **OF_FEATURES))
        categories = TargetEncoding.of_numbers(0, targets, are_classes).of_stream(samples, categorical)
        return cls(Standardizer(len(categories.columns), **OF_FEATURES), categories, memory=memory)

    def with_bases(self, heads: int, are_classes: bool, counts: bool = True, squares: bool = False) -> Featurizer:
        """With base predictors before the first sample, with cells if it `counts`, and with least squares."""
        numbers = self.numbers[self.numbers >= 0].tolist()
        base_models = OnlineBaseModels.start(numbers, heads, are_classes, self.categories is not None, counts)
        base_models.least_squares = LeastSquares.start(heads, self.size) if squares else None
        return dataclasses.replace(self, base_models=base_models)

    def __post_init__(self) -> None:
        self.numbers = np.arange(self.size)  # the column of each feature, -1 for a category
        if self.categories is not None:
            self.numbers = np.full(self.categories.size, -1)
            for column, (feature, level, target) in enumerate(self.categories.columns):
                if level is None and target is None:
                    self.numbers[feature] = column

    @property
    def size(self) -> int:
        """The number of columns."""
        return self.standardizer.size

    @property
    def columns(self) -> np.ndarray:
        """The columns that networks without the memory read, (S,)."""
        if self.categories is None:
            return np.arange(self.size)
        return np.flatnonzero(self.categories.features != self.memory)

    # ---- Samples -----------------------------------------------------------------------------------------------------

    def learn(
        self,
        samples: Any,
        targets: np.ndarray | None,
        y: np.ndarray | None = None,
        step_sizes: np.ndarray | None = None,
    ) -> Any:
        """Count samples one by one, and standardise each by those up to it: (F, B) -> (D + E, B).

        They must have been checked. Categories are counted with `targets`, (B,) or (T, B), and `step_sizes`, (B,); base
        predictors learn the targets of the heads `y`, (C, B). The cells of a table stay as they were counted.
        """
        features, words = features_and_words(samples)
        columns = features
        if self.categories is not None:
            assert targets is not None
            columns = self.categories.learn(features, targets, step_sizes)
        z = self.standardizer.learn_checked(columns)
        if self.base_models is None:
            return self._with_cells(z, features)
        assert y is not None
        return self.base_models.learn(z, features, words, self.numbers, y, step_sizes)

    def transform(self, samples: Any) -> Any:
        """Standardise samples by those counted before: (F, B) -> (D + E, B).

        Raises ValueError for the wrong number of features, or infinity.
        """
        z, (features, words) = self.standardised(samples), features_and_words(samples)
        if self.base_models is None:
            return self._with_cells(z, features)
        return self.base_models.transform(z, features, words, self.numbers)

    def standardised(self, samples: Any) -> Any:  # (F, B) -> (D, B)
        """`transform` without what base predictors say."""
        features, _ = features_and_words(samples)
        return self.standardizer.transform(features if self.categories is None else self.categories.transform(features))

    def parts(self, samples: Any) -> tuple[Callable[[slice], Any], int]:  # (F, B)
        """A function that standardises a part of these samples, and their number, as `predictions` takes them."""
        return lambda part: self.transform(samples[:, part]), samples.shape[1]

    def _with_cells(self, z: Any, samples: Any) -> Any:
        return z if self.cells is None else np.concatenate([z, self.cells.transform(dense(samples))])

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def read(self, network: Network, z: Any) -> tuple[Any, Any]:
        """A network's inputs and side information for standardised samples: (D + E, B) -> (K, B), (S, B).

        The inputs of any network are the last ones of those that read most.
        """
        seen = self.side_information(network, z)
        if self.base_models is not None and network.context_size == self.size:
            return z[-network.input_size :], seen
        rows = with_distances(seen) if self.distances else seen
        if not self.encodes(network):
            return rows, seen
        linear, cells = np.split(z[self.size : self.size + self.linear_size + self.cells_size], [self.linear_size])
        return np.concatenate([linear, piecewise_linear(z, self.pieces), cells, rows])[-network.input_size :], seen

    def side_information(self, network: Network, z: Any) -> Any:  # (D + E, B) -> (S, B)
        z = z if network.takes_sparse else dense(z)
        if network.context_size == z.shape[0]:
            return z
        return z[: self.size] if network.context_size == self.size else z[self.columns]

    def encodes(self, network: Network) -> bool:
        """Whether a network also mixes encodings or what base predictors say, which come first in its inputs."""
        return network.input_size > network.context_size * (1 + self.distances)

    @property
    def linear_size(self) -> int:
        """L, the number of values of linear models."""
        return 0 if self.base_models is None else self.base_models.linear_size

    @property
    def cells_size(self) -> int:
        """The number of values of cells."""
        cells: Any = self.cells if self.base_models is None else self.base_models.bin_means
        return 0 if cells is None else cells.columns

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, samples: Any, categorical: Set[int], targets: int, are_classes: bool) -> Featurizer:
        """With room for the features and levels in samples (F, B), the new ones last; or this object if none is new.

        Raises ValueError if samples have fewer features than before.
        """
        if self.categories is None and not categorical:
            return self.with_columns(samples.shape[0])
        known = self.categories or TargetEncoding.of_numbers(self.size, targets, are_classes)
        if samples.shape[0] < known.size:
            raise ValueError(f"samples: expected {known.size} features, got {samples.shape[0]}")
        categories = known.of_stream(features_and_words(samples)[0], categorical)
        return self if categories is self.categories else self._with_categories(categories)

    def with_class(self, count: int) -> Featurizer:
        """With statistics and base predictions of one more class, after this many samples."""
        base_models = None if self.base_models is None else self.base_models.with_class(count)
        grown = self if base_models is None else dataclasses.replace(self, base_models=base_models)
        return grown if grown.categories is None else grown._with_categories(grown.categories.with_class())

    def with_outputs(self, kept: Sequence[int], new: int) -> Featurizer:
        """With base predictions of the targets `kept`, in this order, and of new ones."""
        return (
            self
            if self.base_models is None
            else dataclasses.replace(self, base_models=self.base_models.with_outputs(kept, new))
        )

    def _with_categories(self, categories: TargetEncoding) -> Featurizer:
        standardizer = self._standardizer_of(len(categories.columns))
        return self._with_bases_of(dataclasses.replace(self, standardizer=standardizer, categories=categories))

    def with_columns(self, size: int) -> Featurizer:
        """With room for this many columns, the new ones numeric, or this object if none is new."""
        if size == self.size:
            return self
        if size < self.size:
            raise ValueError(f"samples: expected {self.size} features, got {size}")
        return self._with_bases_of(dataclasses.replace(self, standardizer=self._standardizer_of(size)))

    def _standardizer_of(self, size: int) -> Any:
        """The standardizer with room for this many columns."""
        if size == self.size:
            return self.standardizer
        standardizer = copy.deepcopy(self.standardizer)
        standardizer.grow(size)
        return standardizer

    def _with_bases_of(self, grown: Featurizer) -> Featurizer:
        """`grown` with base predictors for the columns that are new in it."""
        if self.base_models is None:
            return grown
        new = set(grown.numbers.tolist()) - set(self.numbers.tolist()) - {-1}
        return dataclasses.replace(
            grown, base_models=self.base_models.grown(sorted(new), grown.categories is not None, grown.size)
        )

    def inputs(self, columns: int, reads: int) -> int:
        """The number of inputs of a network with this many columns; `reads` as for `widened`."""
        return len(names_of(self, np.arange(columns), reads))

    def widened(self, network: Any, before: Featurizer, reads: int) -> Any:
        """The network with inputs for what is new since `before`, or the same network if it reads nothing new.

        `reads` is 0 for columns and distances, 1 also for encodings and cells, 2 also for linear models.
        """
        whole = network.context_size == before.size
        old, new = (names_of(each, np.arange(each.size) if whole else each.columns, reads) for each in (before, self))
        if old == new:
            return network
        places = {name: place for place, name in enumerate(old)}
        context_size = self.size if whole else len(self.columns)
        return with_inputs(network, [places.get(name, -1) for name in new], context_size)

    def column_of_inputs(self, network: Network) -> np.ndarray:  # (K,)
        """The column that each input of a network comes from, out of D + E."""
        read = self.columns if network.context_size < self.size else np.arange(self.size)
        linear = self.size + np.arange(self.linear_size)
        cells = self.size + self.linear_size + np.arange(self.cells_size)
        columns = np.concatenate([linear, self.pieces.features, cells, read.repeat(1 + self.distances)])
        return columns[-network.input_size :]

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        state["bases"] = state.pop("base_models")  # as files have always called them
        return state | {name: state[name].state() for name in MADE if state[name] is not None}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Featurizer:
        """The reading whose `state` this was; missing names, as in older files, have their defaults."""
        own = {field.name: state[field.name] for field in dataclasses.fields(cls) if field.name in state}
        own["bases"] = state.get("bases")
        for name, made in MADE.items():
            if own.get(name) is not None:
                own[name] = made(own[name])
        own["base_models"] = own.pop("bases")
        return cls(**own | {"pieces": Pieces(*own.get("pieces", NO_PIECES))})


# How parts are made from their state.
MADE: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "categories": lambda state: TargetEncoding(**state),
    "cells": lambda state: BinMeans(**state),
    "bases": OnlineBaseModels.of_state,
}
MOST_LINEAR = 64  # values of linear models that a network reads; with many classes, each head would read all of them


def names_of(featurizer: Any, columns: np.ndarray, reads: int) -> list[Hashable]:
    """Names of the inputs of a network that reads these columns, which stay the same when a reading grows.

    `reads` is 0 for columns and distances, 1 also for encodings and cells, 2 also for linear models.
    """
    rows: list[Hashable] = [(column, i) for column in columns.tolist() for i in range(1 + featurizer.distances)]
    linear: list[Hashable] = []
    if featurizer.base_models is None:
        cells: list[Hashable] = [("cell", i) for i in range(featurizer.cells_size)]
    else:
        linear, cells = featurizer.base_models.names()
    pieces: list[Hashable] = [("piece", i) for i in range(len(featurizer.pieces.features))]
    some = linear if reads > 1 and len(linear) <= MOST_LINEAR else []
    return some + (pieces + cells if reads > 0 else []) + rows


def by_feature(
    featurizer: Any, contributions: np.ndarray, samples: Any, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The sum over each feature's columns, and what is constant; a cell of two features is half of each.

    Contributions of linear models are slopes, which are shared between what they read.

    Shapes: (C, B, D + E), samples, (D + E, B) -> (C, B, F), and after the features the words of the samples in the
    order of their numbers, (C, B).
    """
    ends = np.cumsum([featurizer.size, featurizer.linear_size, featurizer.cells_size])
    own, slopes, cells, _ = np.split(contributions, ends, axis=-1)
    features, words = features_and_words(samples)
    count, feature_of = features.shape[0], np.arange(featurizer.size)
    if featurizer.categories is not None:
        feature_of = featurizer.categories.features
    found = own @ (feature_of[:, None] == np.arange(count))
    if featurizer.base_models is None:
        of_cells = np.zeros((0, 2), int) if featurizer.cells is None else featurizer.cells.features
    else:
        of_cells = feature_of[featurizer.base_models.bin_means.features]
    found += cells @ (of_cells[:, :, None] == np.arange(count)).mean(axis=1)
    if featurizer.base_models is None:
        return found, np.zeros(found.shape[:2])
    known = np.append(np.arange(count), count + np.unique(words.numbers))
    said, constant = featurizer.base_models.explain(
        z[: featurizer.size], features, words, featurizer.numbers, feature_of, known
    )
    found = np.pad(found, [(0, 0), (0, 0), (0, len(known) - count)])
    return found + np.einsum("cbl,lbf->cbf", slopes, said), np.einsum("cbl,lb->cb", slopes, constant)
