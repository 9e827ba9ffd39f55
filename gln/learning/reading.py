"""What networks read of a sample: its columns, standardised, their distances from the mean, encodings, and cells.

Shapes: B samples, F features, D columns made from them, E columns of what cells say, C heads, K inputs of a network and
S values of its side information.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np

from gln.learning.categories import Categories
from gln.learning.cells import Cells
from gln.learning.encodings import NO_PIECES, Pieces, piecewise_linear, with_distances
from gln.learning.growth import add_inputs
from gln.learning.network import Network
from gln.learning.samples import dense
from gln.learning.standardizer import OF_FEATURES, Standardizer

__all__ = ["Reading", "Unscaled"]


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


@dataclasses.dataclass
class Reading:
    """Turns samples into what networks read, and learns how from the samples of the stream up to each."""

    standardizer: Any  # a Standardizer; a SparseScaler, which keeps samples sparse; or Unscaled
    categories: Categories | None = None  # None if all features are numbers
    distances: bool = True  # whether networks also mix each column's distance from its mean
    pieces: Pieces = NO_PIECES  # of the encodings, which networks with more inputs also mix
    cells: Cells | None = None  # of the features, counted in a table; the same networks mix what these say
    memory: int | None = None  # the category that only some networks read: the previous label

    @classmethod
    def of_stream(
        cls, samples: np.ndarray, categorical: Set[int], targets: int, are_classes: bool, memory: int | None = None
    ) -> Reading:
        """For a stream that begins with these samples (F, B), of this many targets or classes."""
        if not categorical:
            return cls(Standardizer(samples.shape[0], **OF_FEATURES))
        categories = Categories.of_numbers(0, targets, are_classes).of_stream(samples, categorical)
        return cls(Standardizer(len(categories.columns), **OF_FEATURES), categories, memory=memory)

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

    def learn(self, samples: Any, targets: np.ndarray | None, shares: np.ndarray | None = None) -> Any:
        """Count samples one by one, and standardise each by those up to it: (F, B) -> (D + E, B).

        They must have been checked. Categories are counted with `targets`, (B,) or (T, B), and `shares`, (B,). Cells
        stay as they were counted.
        """
        columns = samples
        if self.categories is not None:
            assert targets is not None
            columns = self.categories.learn(samples, targets, shares)
        return self._with_cells(self.standardizer.learn_checked(columns), samples)

    def transform(self, samples: Any) -> Any:
        """Standardise samples by those counted before: (F, B) -> (D + E, B).

        Raises ValueError for the wrong number of features, or infinity.
        """
        columns = samples if self.categories is None else self.categories.transform(samples)
        return self._with_cells(self.standardizer.transform(columns), samples)

    def parts(self, samples: Any) -> tuple[Callable[[slice], Any], int]:  # (F, B)
        """A function that standardises a part of these samples, and their number, as `predictions` takes them."""
        return lambda part: self.transform(samples[:, part]), samples.shape[1]

    def _with_cells(self, z: Any, samples: Any) -> Any:
        return z if self.cells is None else np.concatenate([z, self.cells.transform(dense(samples))])

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def read(self, network: Network, z: Any) -> tuple[Any, Any]:
        """A network's inputs and side information for standardised samples: (D + E, B) -> (K, B), (S, B)."""
        seen = self.side_information(network, z)
        return self._inputs(network, z, seen), seen

    def side_information(self, network: Network, z: Any) -> Any:  # (D + E, B) -> (S, B)
        z = z if network.takes_sparse else dense(z)
        if network.context_size == z.shape[0]:
            return z
        return z[: self.size] if network.context_size == self.size else z[self.columns]

    def _inputs(self, network: Network, z: Any, seen: Any) -> Any:  # (D + E, B), (S, B) -> (K, B)
        rows = with_distances(seen) if self.distances else seen
        if not self.encodes(network):
            return rows
        return np.concatenate([piecewise_linear(z, self.pieces), z[self.size :], rows])

    def encodes(self, network: Network) -> bool:
        """Whether a network also mixes encodings and cells, which come first in its inputs."""
        return network.input_size > network.context_size * (1 + self.distances)

    def column_of_inputs(self, network: Network) -> np.ndarray:  # (K,)
        """The column that each input of a network comes from, out of D + E."""
        read = self.columns if network.context_size < self.size else np.arange(self.size)
        columns = read.repeat(1 + self.distances)
        if not self.encodes(network):
            return columns
        cells = 0 if self.cells is None else self.cells.columns
        return np.concatenate([self.pieces.features, self.size + np.arange(cells), columns])

    def by_feature(self, contributions: np.ndarray) -> np.ndarray:  # (..., D + E) -> (..., F)
        """The sum over each feature's columns; a cell of two features is half of each."""
        own, cells = np.split(contributions, [self.size], axis=-1)
        if self.categories is not None:
            own = own @ (self.categories.features[:, None] == np.arange(self.categories.size))
        if self.cells is None:
            return own
        return own + cells @ (self.cells.features[:, :, None] == np.arange(own.shape[-1])).mean(axis=1)

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, samples: Any, categorical: Set[int], targets: int, are_classes: bool) -> Reading:
        """With room for the features and levels in samples (F, B), the new ones last; or this object if none is new.

        Raises ValueError if samples have fewer features than before.
        """
        if self.categories is None and not categorical:
            return self.with_columns(samples.shape[0])
        known = self.categories or Categories.of_numbers(self.size, targets, are_classes)
        if samples.shape[0] < known.size:
            raise ValueError(f"samples: expected {known.size} features, got {samples.shape[0]}")
        categories = known.of_stream(samples, categorical)
        return self if categories is self.categories else self._with_categories(categories)

    def with_class(self) -> Reading:
        """With statistics of one more class, or this object if there are no categories."""
        return self if self.categories is None else self._with_categories(self.categories.with_class())

    def _with_categories(self, categories: Categories) -> Reading:
        return dataclasses.replace(self.with_columns(len(categories.columns)), categories=categories)

    def with_columns(self, size: int) -> Reading:
        """With room for this many columns, the new ones numeric, or this object if none is new."""
        if size == self.size:
            return self
        if size < self.size:
            raise ValueError(f"samples: expected {self.size} features, got {size}")
        standardizer = copy.deepcopy(self.standardizer)
        standardizer.grow(size)
        return dataclasses.replace(self, standardizer=standardizer)

    def widened(self, network: Any, before: Reading) -> Any:
        """The network with inputs for the columns that are new since `before`, or the same network if it reads none."""
        size = self.size if network.context_size == before.size else len(self.columns)
        new = (size - network.context_size) * (1 + self.distances)
        return add_inputs(network, network.input_size + new, size) if new else network

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        parts = {"categories": self.categories, "cells": self.cells}
        return dict(vars(self)) | {name: None if part is None else part.state() for name, part in parts.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Reading:
        """The reading whose `state` this was; missing names, as in older files, have their defaults."""
        own = {field.name: state[field.name] for field in dataclasses.fields(cls) if field.name in state}
        for name, kind in (("categories", Categories), ("cells", Cells)):
            if own.get(name) is not None:
                own[name] = kind(**own[name])
        return cls(**own | {"pieces": Pieces(*own.get("pieces", NO_PIECES))})
