"""What networks read of samples: standardised columns, each with its distance from the mean.

Tables and streams add more inputs in subclasses. A featurizer learns from the samples up to each, and grows when a
feature, a level or a class is new.

Shapes: B samples, F features, D columns made from them, K inputs of networks.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Hashable, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gln.engine.batches import Matrix, SampleBatch
from gln.engine.ensemble.ensemble import Member, NetworkInputs, Role
from gln.engine.jit import WritableArrays
from gln.engine.model.targets import TargetBatch
from gln.engine.networks.surgery import with_inputs
from gln.engine.preprocessing.basis_expansion import with_distances
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.saving import bad

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_LIMIT = 20.0  # of standardised features: beyond, bin means would find no bin


class InputSpec(NamedTuple):
    """What is known of the inputs of a network, or of some of them."""

    names: list[Hashable]  # K, which stay the same when the featurizer grows
    features: np.ndarray  # (K, 2), the two features of each, or the only one twice; -1 for predictions of linear models
    at_mean: np.ndarray  # (K, 1), their values for a sample whose columns are all 0, the mean

    @classmethod
    def of(
        cls, names: Sequence[Hashable], features: np.ndarray, at_mean: np.ndarray | float = 0
    ) -> InputSpec:  # (K,) or (K, 2)
        pairs = features if features.ndim == 2 else np.stack([features, features], axis=1)
        return cls(list(names), pairs, np.zeros((len(pairs), 1), np.float32) + at_mean)


@dataclasses.dataclass
class Featurizer(WritableArrays):
    """Samples become standardised columns."""

    standardizer: Any  # a `Standardizer`, a `SparseScaler`, which keeps samples sparse, or `Unscaled`
    encoding: TargetEncoding | None = None  # None if all features are numbers

    def __post_init__(self) -> None:
        self.numbers = np.arange(self.size)  # the column of each feature, -1 for a category
        if self.encoding is not None:
            self.numbers = np.full(self.encoding.size, -1)
            for column, (feature, level, target) in enumerate(self.encoding.columns):
                if level is None and target is None and feature not in self.encoding.counts:
                    self.numbers[feature] = column

    @classmethod
    def of_first(cls, samples: SampleBatch, categorical: Set[int], targets: int, are_classes: bool) -> Self:
        """For a stream that begins with these samples, of this many targets or classes."""
        features = samples.features
        if not categorical:
            return cls(Standardizer(features.shape[0], **OF_FEATURES))
        encoding = TargetEncoding.of_numbers(0, targets, are_classes).of_stream(features, categorical)
        return cls(Standardizer(len(encoding.columns), **OF_FEATURES), encoding)

    @property
    def size(self) -> int:
        """D, the number of columns."""
        return self.standardizer.size

    @property
    def feature_of_columns(self) -> np.ndarray:  # (D,)
        return np.arange(self.size) if self.encoding is None else self.encoding.features

    @property
    def is_fitted(self) -> bool:
        """Whether to a table, whose samples placed the halfspaces."""
        return getattr(self.standardizer, "fitted", False)

    @property
    def is_warming_up(self) -> bool:
        """Whether scales are of the first few samples, which a sample is counted with before it is standardised."""
        return self.standardizer.is_warming_up

    @property
    def categorical(self) -> Set[int]:
        """The features that are categories."""
        return {*np.flatnonzero(self.numbers < 0).tolist()}

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together: compiled loops do not check."""
        encoding = self.encoding
        if encoding is not None:
            features = {column.feature for column in encoding.columns} | encoding.counts.keys()
            if len(features) != encoding.size or len(encoding.columns) != self.size:
                raise bad("encoding", f"{self.size} columns of {encoding.size} features", len(features))
        if not 0 < getattr(self.standardizer, "limit", MOST_LIMIT) <= MOST_LIMIT:
            raise bad("standardizer", f"a limit above 0 and of at most {MOST_LIMIT}", self.standardizer.limit)

    # ---- Samples -----------------------------------------------------------------------------------------------------

    def learn(self, samples: SampleBatch, batch: TargetBatch) -> NetworkInputs:
        """Count samples one by one, and standardise each by those up to it."""
        columns = samples.features
        if self.encoding is not None:
            assert batch.counted is not None
            columns = self.encoding.learn(columns, batch.counted, batch.step_sizes)
        return self.inputs(self.standardizer.learn_checked(columns), samples, batch)

    def transform(self, samples: SampleBatch) -> NetworkInputs:
        """Standardise samples by those counted before. Raises ValueError for the wrong number of features."""
        return self.inputs(self.standardised(samples), samples)

    def standardised(self, samples: SampleBatch) -> Matrix:  # -> (D, B)
        features = samples.features
        return self.standardizer.transform(features if self.encoding is None else self.encoding.transform(features))

    def inputs(
        self, columns: Matrix, samples: SampleBatch, batch: TargetBatch | None = None
    ) -> NetworkInputs:  # (D, B)
        """What networks read of standardised samples. Base models also learn them if there are targets."""
        return NetworkInputs(columns, with_distances(columns), columns[:0])

    def explain_linear(
        self, columns: Matrix, samples: SampleBatch, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:  # (D, B), (n,) -> (L, B, n), (L, B)
        """Contributions of features and words to the predictions of linear models, if there are any, and constants."""
        return np.zeros((0, len(samples), len(known))), np.zeros((0, len(samples)))

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def spec_of(self, role: Role) -> InputSpec:
        """What is known of the inputs that a network of this role mixes."""
        more = self._more_specs()
        pairs = InputSpec.of([*itertools.product(range(self.size), (0, 1))], self.feature_of_columns.repeat(2))
        names, features, at_mean = zip(*(more[name] for name in role.mixes), pairs, strict=True)
        return InputSpec([*itertools.chain(*names)], np.concatenate(features), np.concatenate(at_mean))

    def _more_specs(self) -> dict[str, InputSpec]:
        """Those of inputs besides columns and distances, by the names that roles have for them."""
        return {}

    def widened(self, member: Member, before: Featurizer) -> Member:
        """The network with inputs for what is new since `before`, or the same one if it reads nothing new."""
        old = before.spec_of(member.role).names
        new = self.spec_of(member.role).names
        if old == new:
            return member
        indices = {name: index for index, name in enumerate(old)}
        inputs = [indices.get(name, -1) for name in new]
        # Halfspaces that samples placed stay for a new level. For a new feature, some are replaced by ones that see it:
        # where it matters in products with others, the log-loss is .01 lower.
        keeps_halfspaces = self.is_fitted and len(self.numbers) == len(before.numbers)
        return member._replace(network=with_inputs(member.network, inputs, self.size, keeps_halfspaces))

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown(self, samples: SampleBatch, categorical: Set[int], targets: int, are_classes: bool) -> Self:
        """With room for the features and levels in samples, the new ones last; or this object if none is new."""
        size = samples.features.shape[0]
        if self.encoding is None and not categorical:
            return self if size == self.size else self._with_columns(None, size)
        known = self.encoding or TargetEncoding.of_numbers(self.size, targets, are_classes, self.is_fitted)
        return self._with_encoding(known.of_stream(samples.features, categorical))

    def with_class(self, count: int) -> Self:
        """With statistics and base predictions of one more class, after this many samples."""
        return self if self.encoding is None else self._with_encoding(self.encoding.with_class())

    def room(self, classes: int) -> int:
        """The heads that networks are to have for so many classes."""
        return classes

    def with_targets(self, new: int) -> Self:
        """With statistics of so many more targets."""
        return self if self.encoding is None else self._with_encoding(self.encoding.with_targets(new))

    def _with_encoding(self, encoding: TargetEncoding) -> Self:
        return self if encoding is self.encoding else self._with_columns(encoding, len(encoding.columns))

    def _with_columns(self, encoding: TargetEncoding | None, size: int) -> Self:
        standardizer = self.standardizer
        if size != self.size:
            standardizer = copy.deepcopy(standardizer)
            standardizer.grow(size)
            if encoding is not None and encoding.fitted:
                for column in range(self.size, size):
                    standardizer.fit_feature(column, encoding.values_of(column))
        return dataclasses.replace(self, standardizer=standardizer, encoding=encoding)
