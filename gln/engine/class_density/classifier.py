"""`ClassDensityClassifier`: classes that each learn from their own samples alone, in place of a `Learner`.

It is the same in whichever order the classes come.

Shapes: B samples, F features, C classes, L levels of a category.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import fdtr, softmax

from gln.engine.batches import check_magnitude, check_steps, dense, features_and_words
from gln.engine.class_density.density import (
    PRIOR,
    ClassDensity,
    added_variance,
    degrees_of_freedom,
    feature_units,
    forward_substitution,
    frequencies,
    inverse_temperature,
    log_density,
)
from gln.engine.ensemble.ensemble import Ensemble, Member
from gln.engine.jit import compiled
from gln.engine.model.featurizers import TableFeaturizer
from gln.engine.model.persistence import LEARNERS
from gln.engine.model.targets import Classes
from gln.engine.networks.protocol import Network, Rate
from gln.engine.networks.surgery import copied
from gln.engine.preprocessing.scaling import Unscaled

CHUNK_VALUES = 4_000_000  # of features times classes that are compared at a time, to save memory
MAX_FEATURES = 1000  # a class has a number for each pair of them
FAR = 20.0  # standard deviations from the mean of every class, beyond which a value counts as missing


@dataclasses.dataclass
class ClassDensityClassifier:
    FIELDS: ClassVar = ("networks", "size", "classes")  # in a file
    networks: list[Network]  # untrained ones, with which each class starts
    size: int  # F
    classes: list[ClassDensity] = dataclasses.field(default_factory=list)
    learning_rate: Rate | None = None
    # The densities of all classes, until one of them learns more.
    _pooled: PooledDensities | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pooled": None}  # large, and soon made again

    @property
    def means(self) -> Ensemble:
        return Ensemble([Member(network) for density in self.classes for network in density.networks])

    def set_learning_rate(self, rate: Rate | None) -> None:
        self.learning_rate = rate

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(
        self,
        samples: Any,
        targets: np.ndarray,
        step_sizes: np.ndarray | None = None,
        batch_size: int = 1,
        categorical: Set[int] = frozenset(),
        predicts: bool = True,
    ) -> list[np.ndarray]:
        """As `Learner.learn`, but for `batch_size`, which must be 1. Words are left out.

        Without `predicts`, all samples of a class take one call.
        """
        features, count = dense(features_and_words(samples)[0]), samples.shape[1]
        check_magnitude("samples", features)
        Classes().check(targets, count, len(self.classes))
        check_steps(step_sizes, batch_size, count)
        if batch_size > 1:
            raise ValueError(f"batch_size: expected 1 with negatives=False, got {batch_size}")
        for network in self.networks if self.learning_rate is not None else ():
            network.rates(2 * count, self.learning_rate)  # before anything changes, because a callable may fail
        self.grow(len(features), max(targets.tolist(), default=-1) + 1)
        steps, predicted = np.ones(count) if step_sizes is None else step_sizes.astype(np.float64), []
        for chunk in [slice(b, b + 1) for b in range(count)] if predicts else [slice(0, count)]:
            if predicts:
                predicted.append(self.predict(features[:, chunk]))
            self._learn_chunk(features[:, chunk], targets[chunk], steps[chunk], categorical)
        return predicted

    def _learn_chunk(
        self, features: np.ndarray, targets: np.ndarray, step_sizes: np.ndarray, categorical: Set[int]
    ) -> None:
        self._pooled = None
        for number in np.unique(targets).tolist():
            of_class = targets == number
            numbers, levels = split(features[:, of_class], categorical)
            self.classes[number].learn(numbers, levels, step_sizes[of_class], self.learning_rate)

    def grow(self, size: int, classes: int) -> None:
        """Have room for this many features, the new ones last, and classes, or more.

        Raises ValueError if features are fewer than before, or too many.
        """
        if size < self.size:
            raise ValueError(f"samples: expected {self.size} features, got {size}")
        if size > MAX_FEATURES:
            raise ValueError(f"negatives: expected True for more than {MAX_FEATURES} features, got False for {size}")
        if size > self.size:
            self.classes = [density.grown(size) for density in self.classes]
            self.networks, self.size = ClassDensity.start(self.networks, self.size).grown(size).networks, size
        while len(self.classes) < classes:
            networks = [copied(network, network.get_state()) for network in self.networks]
            self.classes.append(ClassDensity.start(networks, self.size))
        self._pooled = None

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: Any) -> np.ndarray:
        """Probabilities of the classes: (F, B) -> (C, B)."""
        return softmax(self._scores(samples), axis=0)

    def decision(self, samples: Any) -> np.ndarray:
        """Logarithms of the probabilities but for what all classes share, (C, B); of two classes the logit, (1, B)."""
        return _logit_of_two(self._scores(samples))

    def explain(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to `decision`.

        A number contributes by how far it is from what the features before it let expect.
        """
        pooled, numbers, codes = self._prepared(samples)
        likelihood = pooled.log_likelihood(numbers, codes)
        of_networks = [density.explain(numbers) for density in self.classes]
        contributions, constants = (np.array(arrays) for arrays in zip(*of_networks, strict=True))  # (C, F, B), (C, B)
        distances = likelihood.squares.sum(axis=2)
        fractions = likelihood.squares / np.where(distances > 0, distances, 1)[..., None]
        contributions = contributions.swapaxes(1, 2) + likelihood.of_distance[..., None] * fractions
        for feature, logs in likelihood.of_levels.items():
            contributions[..., feature] += logs
        constants = constants + likelihood.constant
        return pooled.inverse_temperature * _logit_of_two(contributions), pooled.inverse_temperature * _logit_of_two(
            constants
        )

    def novelty(self, samples: Any) -> np.ndarray:
        """The fraction of the most similar class that is expected closer to its mean than a sample: (F, B) -> (B,)."""
        nearest = np.empty(samples.shape[1])
        for chunk in self._chunks(samples):
            pooled, numbers, codes = self._prepared(samples[:, chunk])
            squares = pooled.log_likelihood(numbers, codes).squares
            distances = squares[pooled.counts > 0].sum(axis=2).min(axis=0)
            known = np.maximum(pooled.known(numbers).sum(axis=0), 1)
            nearest[chunk] = fdtr(known, pooled.freedom, distances / known)
        return nearest

    def _scores(self, samples: Any) -> np.ndarray:  # (F, B) -> (C, B)
        scores = np.empty((len(self.classes), samples.shape[1]))
        for chunk in self._chunks(samples):
            pooled, numbers, codes = self._prepared(samples[:, chunk])
            logits = [density.logits(numbers) for density in self.classes]
            scores[:, chunk] = pooled.inverse_temperature * (pooled.log_likelihood(numbers, codes).total + logits)
        return scores

    def _chunks(self, samples: Any) -> Iterator[slice]:
        size = 1 + CHUNK_VALUES // (1 + len(self.classes) * self.size)
        return (slice(start, start + size) for start in range(0, samples.shape[1], size))

    def _prepared(self, samples: Any) -> tuple[PooledDensities, np.ndarray, dict[int, np.ndarray]]:
        """The densities, the samples' numbers (F, B), and by feature the codes of their categories (B,)."""
        features = dense(features_and_words(samples)[0])
        if len(features) != self.size:
            raise ValueError(f"samples: expected {self.size} features, got {len(features)}")
        if self._pooled is None:
            self._pooled = pooled_densities(self.classes)
        return self._pooled, *self._pooled.split(features)

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """FIELDS, as numbers, arrays, networks, and lists and mappings of these."""
        return {"networks": self.networks, "size": self.size, "classes": [vars(density) for density in self.classes]}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], learning_rate: Rate | None) -> ClassDensityClassifier:
        """The learner whose `state` this was. Raises ValueError if it does not fit together."""
        classes = [ClassDensity(**fields) for fields in state["classes"]]
        for networks in (state["networks"], *(density.networks for density in classes)):
            if {network.context_size for network in networks} != {state["size"]}:
                raise ValueError(f"learner: expected networks of {state['size']} features, got others")
        for density in classes:
            density.check()
        return cls(state["networks"], state["size"], classes, learning_rate)


LEARNERS.append(ClassDensityClassifier)


def plain_featurizer(size: int) -> TableFeaturizer:
    """What the networks of a class read."""
    return TableFeaturizer(Unscaled(size))


def check_negatives(value: Any) -> None:
    """Raise ValueError if an argument `negatives` is no bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"negatives: expected True or False, got {value!r}")


def split(features: np.ndarray, categorical: Collection[int]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Samples' numbers (F, B), NaN for categories, and by feature the codes of these (B,)."""
    numbers = np.array(features, np.float64)
    codes = {feature: numbers[feature].copy() for feature in categorical}
    numbers[list(codes)] = np.nan
    return numbers, codes


def _logit_of_two(scores: np.ndarray) -> np.ndarray:  # (C, ...)
    return scores[1:] - scores[:1] if len(scores) == 2 else scores


# ---- The densities of all classes ------------------------------------------------------------------------------------


class LogLikelihood(NamedTuple):
    """The log-likelihood of classes, times how frequent they are, but for what all classes share; without networks."""

    squares: np.ndarray  # (C, B, F), squared distances of the features from the mean
    of_distance: np.ndarray  # (C, B), of all these
    constant: np.ndarray  # (C, B), at the mean, with the frequency of the class
    of_levels: dict[int, np.ndarray]  # by feature, of the levels of categories, (C, B)

    @property
    def total(self) -> np.ndarray:
        return self.of_distance + self.constant + sum(self.of_levels.values())


class PooledDensities(NamedTuple):
    """The densities of all classes, in common units, with covariances shrunk to the one that they share."""

    counts: np.ndarray  # (C,), weights of samples
    means: np.ndarray  # (C, F), in `units`
    units: np.ndarray  # (F,), infinite for features that never varied
    factors: np.ndarray  # (C, F, F), of the covariances
    limits: np.ndarray  # (2, F), between which values are not far
    log_frequencies: dict[int, np.ndarray]  # by feature, of its levels, (C, L)
    freedom: float  # degrees of freedom of the t-distributions
    inverse_temperature: float  # factor of the logarithms

    def split(self, samples: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """`split`, where values that are far count as missing."""
        numbers, codes = split(samples, self.log_frequencies)
        low, high = self.limits[:, :, None]
        numbers[(numbers < low) | (numbers > high)] = np.nan
        return numbers, codes

    def known(self, numbers: np.ndarray) -> np.ndarray:  # (F, B) -> (F, B)
        """Which values are neither missing nor of a feature that never varied."""
        return ~np.isnan(numbers) & (self.units < np.inf)[:, None]

    def log_likelihood(self, numbers: np.ndarray, codes: dict[int, np.ndarray]) -> LogLikelihood:
        """Of samples that were `split`."""
        varies, known, of_levels = self.units < np.inf, self.known(numbers), {}
        scaled = np.where(known, numbers / self.units[:, None], np.nan)
        z = np.ascontiguousarray(scaled.T - self.means[:, None])
        compiled(forward_substitution)(z, self.factors)
        squares, widths = np.square(z), np.where(varies, np.log(np.diagonal(self.factors, axis1=1, axis2=2)), 0)
        for feature, logs in self.log_frequencies.items():
            indices = np.nan_to_num(codes[feature], nan=logs.shape[1]).astype(int)
            padded = np.pad(logs, [(0, 0), (0, 1)])  # 0 for an unknown level
            of_levels[feature] = padded[:, np.minimum(indices, logs.shape[1])]
        of_distance = log_density(squares.sum(axis=2), known.sum(axis=0), self.freedom)
        return LogLikelihood(squares, of_distance, np.log(self.counts + 1)[:, None] - widths @ known, of_levels)


def pooled_densities(classes: Sequence[ClassDensity]) -> PooledDensities:
    known, counts = np.array([density.known for density in classes]), np.array([density.count for density in classes])
    scores = np.sum([density.scores for density in classes], axis=0)
    means, units = _means_and_units(classes, known)
    covariances = np.array([density.covariance() for density in classes]) / units[:, None] / units
    covariances += [np.diag((weights == 0).astype(float)) for weights in known]  # assumed to vary as in all classes
    within = np.tensordot(counts, covariances, 1) / max(counts.sum(), 1)
    covariances = (counts[:, None, None] * covariances + PRIOR * within) / (counts + PRIOR)[:, None, None]
    covariances += added_variance(scores[1]) * np.eye(len(units))
    factors, varies = np.linalg.cholesky(covariances), units < np.inf
    factors[:, ~varies, ~varies] = np.inf
    far = FAR * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)) * np.where(varies, units, 1)
    limits = np.array([(means - far).min(axis=0), (means + far).max(axis=0)])
    freedom, factor = degrees_of_freedom(scores[0]), inverse_temperature(scores[1])
    logs = _log_frequencies(classes)
    return PooledDensities(counts, means / units, units, factors, limits, logs, freedom, factor)


def _means_and_units(classes: Sequence[ClassDensity], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the classes, (C, F), those of all samples where a class knows none; and the units of features, (F,)."""
    means, total = np.array([density.mean for density in classes]), np.maximum(known.sum(axis=0), 1e-300)
    center = (known * means).sum(axis=0) / total
    means = np.where(known > 0, means, center)
    variances = sum(np.diag(density.scatter) for density in classes) + (known * (means - center) ** 2).sum(axis=0)
    lows, highs = (np.where(known > 0, [density.ends[end] for density in classes], center) for end in (0, 1))
    return means, feature_units(variances / total, highs.max(axis=0) - lows.min(axis=0))


def _log_frequencies(classes: Sequence[ClassDensity]) -> dict[int, np.ndarray]:  # by feature, (C, L)
    logs = {}
    for feature in sorted({feature for density in classes for feature in density.levels}):
        counts = [density.levels.get(feature, np.zeros(0)) for density in classes]
        size = max(map(len, counts))
        table = np.array([np.pad(of_class, (0, size - len(of_class))) for of_class in counts])
        logs[feature] = np.log([frequencies(row, table.sum(axis=0) + 1) for row in table])
    return logs
