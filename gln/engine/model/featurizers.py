"""What networks read of samples: featurizers of tables, of streams, and of samples that need no more than scaling.

Each turns samples into `FeatureBlocks` and learns how from the samples up to each. They grow when a feature, a level
or a class is new.

Shapes: B samples, F features, D columns made from them, C heads, E inputs that are means of bins, K inputs of networks.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Hashable, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from gln.engine.base_models.bin_means import BinMeans
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import dense, features_and_words
from gln.engine.ensemble.ensemble import FeatureBlocks, Member, Role
from gln.engine.jit import WritableArrays
from gln.engine.model.fused import TargetBatch
from gln.engine.networks.surgery import with_inputs
from gln.engine.preprocessing.basis_expansion import (
    NO_PIECES,
    Pieces,
    piecewise_linear,
    with_distances,
    with_expansions,
)
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding

MOST_LINEAR = 64  # predictions of linear models that a network reads; with many classes, each head would read them all


class Inputs(NamedTuple):
    """What is known of the inputs of a network, or of a block of them."""

    names: list[Hashable]  # K, which stay the same when the featurizer grows
    features: np.ndarray  # (K, 2), the two features of each, or the only one twice; -1 for predictions of linear models
    at_mean: np.ndarray  # (K, 1), their values for a sample whose columns are all 0, the mean

    @classmethod
    def of(cls, names: Sequence[Hashable], features: np.ndarray, at_mean: Any = 0) -> Inputs:  # (K,) or (K, 2)
        pairs = features if features.ndim == 2 else np.stack([features, features], axis=1)
        return cls(list(names), pairs, np.zeros((len(pairs), 1), np.float32) + at_mean)


@dataclasses.dataclass
class Featurizer(WritableArrays):
    """The common part: samples become standardised columns."""

    standardizer: Any  # a Standardizer; a SparseScaler, which keeps samples sparse; or Unscaled
    encoding: TargetEncoding | None = None  # None if all features are numbers

    def __post_init__(self) -> None:
        self.numbers = np.arange(self.size)  # the column of each feature, -1 for a category
        if self.encoding is not None:
            self.numbers = np.full(self.encoding.size, -1)
            for column, (feature, level, target) in enumerate(self.encoding.columns):
                if level is None and target is None:
                    self.numbers[feature] = column

    @property
    def size(self) -> int:
        """D, the number of columns."""
        return self.standardizer.size

    @property
    def feature_of_columns(self) -> np.ndarray:  # (D,)
        return np.arange(self.size) if self.encoding is None else self.encoding.features

    # ---- Samples -----------------------------------------------------------------------------------------------------

    def learn(self, samples: Any, batch: TargetBatch) -> FeatureBlocks:  # (F, B)
        """Count samples, which have been checked, one by one, and standardise each by those up to it."""
        columns, _ = features_and_words(samples)
        if self.encoding is not None:
            assert batch.counted is not None
            columns = self.encoding.learn(columns, batch.counted, batch.step_sizes)
        return self.blocks(self.standardizer.learn_checked(columns), samples, batch)

    def transform(self, samples: Any) -> FeatureBlocks:  # (F, B)
        """Standardise samples by those counted before.

        Raises ValueError for the wrong number of features, or infinity.
        """
        return self.blocks(self.standardised(samples), samples)

    def standardised(self, samples: Any) -> Any:  # (F, B) -> (D, B)
        features, _ = features_and_words(samples)
        return self.standardizer.transform(features if self.encoding is None else self.encoding.transform(features))

    def blocks(self, columns: Any, samples: Any, batch: TargetBatch | None = None) -> FeatureBlocks:  # (D, B), (F, B)
        """What networks read of standardised samples. Base models also learn them if there are targets."""
        raise NotImplementedError

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def columns_of(self, role: Role) -> np.ndarray:
        """The columns that a network of this role sees."""
        return np.arange(self.size)

    def inputs_of(self, role: Role) -> Inputs:
        """The inputs that a network of this role mixes."""
        blocks, columns = self._blocks(), self.columns_of(role)
        pairs = Inputs.of([*itertools.product(columns.tolist(), (0, 1))], self.feature_of_columns[columns].repeat(2))
        names, features, at_mean = zip(*(blocks[name] for name in role.blocks), pairs, strict=True)
        return Inputs([*itertools.chain(*names)], np.concatenate(features), np.concatenate(at_mean))

    def _blocks(self) -> dict[str, Inputs]:
        """Blocks of inputs besides columns and distances."""
        return {}

    def widened(self, member: Member, before: Featurizer) -> Member:
        """The network with inputs for what is new since `before`, or the same one if it reads nothing new."""
        old, new = (featurizer.inputs_of(member.role).names for featurizer in (before, self))
        if old == new:
            return member
        places = {name: place for place, name in enumerate(old)}
        inputs = [places.get(name, -1) for name in new]
        return member._replace(network=with_inputs(member.network, inputs, len(self.columns_of(member.role))))

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, samples: Any, categorical: Set[int], targets: int, are_classes: bool) -> Any:
        """With room for the features and levels in samples (F, B), the new ones last; or this object if none is new.

        Raises ValueError if samples have fewer features than before.
        """
        size = samples.shape[0]
        if size < len(self.numbers):
            raise ValueError(f"samples: expected {len(self.numbers)} features, got {size}")
        if self.encoding is None and not categorical:
            return self if size == self.size else self._with_columns(None, size)
        known = self.encoding or TargetEncoding.of_numbers(self.size, targets, are_classes)
        encoding = known.of_stream(features_and_words(samples)[0], categorical)
        return self if encoding is self.encoding else self._with_columns(encoding, len(encoding.columns))

    def with_class(self, count: int) -> Any:
        """With statistics and base predictions of one more class, after this many samples."""
        if self.encoding is None:
            return self
        encoding = self.encoding.with_class()
        return self._with_columns(encoding, len(encoding.columns))

    def _with_columns(self, encoding: TargetEncoding | None, size: int) -> Any:
        standardizer = self.standardizer
        if size != self.size:
            standardizer = copy.deepcopy(standardizer)
            standardizer.grow(size)
        return dataclasses.replace(self, standardizer=standardizer, encoding=encoding)


@dataclasses.dataclass
class PlainFeaturizer(Featurizer):
    """Columns alone: for wide sparse samples, and for single networks."""

    def blocks(self, columns: Any, samples: Any, batch: TargetBatch | None = None) -> FeatureBlocks:
        return FeatureBlocks(columns, columns, columns[:0])

    def inputs_of(self, role: Role) -> Inputs:
        return Inputs.of(range(self.size), self.feature_of_columns)


@dataclasses.dataclass
class TableFeaturizer(Featurizer):
    """Half of the networks of a table also mix expansions of columns, and means of bins as they were counted in it."""

    pieces: Pieces = NO_PIECES  # of piecewise-linear expansions
    bin_means: BinMeans | None = None  # of the features

    def blocks(self, columns: np.ndarray, samples: Any, batch: TargetBatch | None = None) -> FeatureBlocks:
        if self.bin_means is None:
            return self.blocks_of(columns.T, None)
        features, _ = features_and_words(samples)
        return self.blocks_of(columns.T, self.bin_means.transform(dense(features)).T)

    def blocks_of(self, columns: np.ndarray, bin_means: np.ndarray | None, expands: bool = True) -> FeatureBlocks:
        """The blocks of samples with these columns (B, D) and means of bins (B, E); without `expands`, of columns and
        distances alone."""
        if bin_means is None or not expands:
            bin_means = columns[:, :0]
        arrays = np.ascontiguousarray(columns), np.ascontiguousarray(bin_means)
        inputs = with_expansions(*arrays, self.pieces if expands else NO_PIECES).T
        return FeatureBlocks(columns.T, inputs, inputs[:0])

    def _blocks(self) -> dict[str, Inputs]:
        features = self.feature_of_columns[self.pieces.features]
        at_mean = piecewise_linear(np.zeros((self.size, 1), np.float32), self.pieces)
        of_means = np.zeros(0, int) if self.bin_means is None else self.bin_means.features
        return {
            "expansions": Inputs.of([("expansion", i) for i in range(len(features))], features, at_mean),
            "bin_means": Inputs.of([("bin mean", i) for i in range(len(of_means))], of_means),
        }


@dataclasses.dataclass
class StreamFeaturizer(Featurizer):
    """Base models learn the stream, too, and some networks mix their predictions."""

    memory: int | None = None  # the category that only some networks see: the previous label
    base_models: OnlineBaseModels | None = None

    @classmethod
    def of_first(
        cls, samples: Any, categorical: Set[int], targets: int, are_classes: bool, memory: int | None = None
    ) -> StreamFeaturizer:
        """For a stream that begins with these samples (F, B), of this many targets or classes."""
        features, _ = features_and_words(samples)
        if not categorical:
            return cls(Standardizer(features.shape[0], **OF_FEATURES))
        encoding = TargetEncoding.of_numbers(0, targets, are_classes).of_stream(features, categorical)
        return cls(Standardizer(len(encoding.columns), **OF_FEATURES), encoding, memory)

    def blocks(self, columns: np.ndarray, samples: Any, batch: TargetBatch | None = None) -> FeatureBlocks:
        base_models = self.base_models
        if base_models is None:
            inputs, linear = with_distances(columns), columns[:0]
        else:
            learned = () if batch is None else (batch.targets, batch.step_sizes)
            inputs = base_models.predict(columns, *features_and_words(samples), self.numbers, *learned)[self.size :]
            linear = inputs[: base_models.linear_size]
        if self.memory is None:
            return FeatureBlocks(columns, inputs, linear)
        without, first = columns[self._columns_without_memory()], len(inputs) - 2 * len(columns)
        inputs_without = np.concatenate([inputs[:first], with_distances(without)])
        return FeatureBlocks(without, inputs_without, linear, (inputs[first:], columns))

    def columns_of(self, role: Role) -> np.ndarray:
        return np.arange(self.size) if role.sees_memory or self.memory is None else self._columns_without_memory()

    def _columns_without_memory(self) -> np.ndarray:
        return np.flatnonzero(self.feature_of_columns != self.memory)

    def _blocks(self) -> dict[str, Inputs]:
        if self.base_models is None:
            nothing = Inputs.of([], np.zeros(0, int))
            return {"linear": nothing, "bin_means": nothing}
        linear, bin_means = self.base_models.names()
        linear = linear if len(linear) <= MOST_LINEAR else []
        features = self.feature_of_columns[self.base_models.bin_means.features]
        return {"linear": Inputs.of(linear, np.full(len(linear), -1)), "bin_means": Inputs.of(bin_means, features)}

    def with_class(self, count: int) -> StreamFeaturizer:
        grown = super().with_class(count)
        if grown.base_models is None:
            return grown
        return dataclasses.replace(grown, base_models=grown.base_models.with_class(count))

    def with_outputs(self, kept: Sequence[int], new: int) -> StreamFeaturizer:
        """With base predictions of the targets `kept`, in this order, and of new ones."""
        if self.base_models is None:
            return self
        return dataclasses.replace(self, base_models=self.base_models.with_outputs(kept, new))

    def _with_columns(self, encoding: TargetEncoding | None, size: int) -> StreamFeaturizer:
        grown = super()._with_columns(encoding, size)
        if self.base_models is None:
            return grown
        new = sorted(set(grown.numbers.tolist()) - set(self.numbers.tolist()) - {-1})
        base_models = self.base_models.grown(new, grown.encoding is not None, grown.size)
        return dataclasses.replace(grown, base_models=base_models)
