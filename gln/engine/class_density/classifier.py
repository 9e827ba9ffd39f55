"""`ClassDensityClassifier`: a learner of classes that each learn from their own samples alone, in place of a `Learner`.

It is the same in whichever order the classes come.

Shapes: B samples, F features, C classes.
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
    freedom_of,
    frequencies,
    least_variance,
    log_density,
    scale_of,
    substitute,
    trust_of,
)
from gln.engine.ensemble.ensemble import Ensemble, Member
from gln.engine.jit import compiled
from gln.engine.model.featurizers import TableFeaturizer
from gln.engine.model.persistence import LEARNERS
from gln.engine.model.targets import Classes
from gln.engine.networks.protocol import Network, Rate, arguments
from gln.engine.preprocessing.scaling import Unscaled

NUMBERS = 4_000_000  # of features times classes that are compared at a time, to save memory
MOST = 1000  # features: a class has a number for each pair of them


@dataclasses.dataclass
class ClassDensityClassifier:
    FIELDS: ClassVar = ("networks", "size", "classes")  # in a file
    networks: list[Network]  # untrained ones, with which each class starts
    size: int  # F
    classes: list[ClassDensity] = dataclasses.field(default_factory=list)
    learning_rate: Rate | None = None
    # What they have learned together, until one of them learns more.
    _compared: Comparison | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compared": None}  # large, and soon gathered again

    @property
    def means(self) -> Ensemble:
        return Ensemble([Member(network) for each in self.classes for network in each.networks])

    @property
    def ensembles(self) -> list[Ensemble]:
        return [self.means]

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
        own, predicted = np.ones(count) if step_sizes is None else step_sizes.astype(np.float64), []
        for part in [slice(b, b + 1) for b in range(count)] if predicts else [slice(0, count)]:
            if predicts:
                predicted.append(self.predict(features[:, part]))
            self._teach(features[:, part], targets[part], own[part], categorical)
        return predicted

    def _teach(self, features: np.ndarray, targets: np.ndarray, step_sizes: np.ndarray, categorical: Set[int]) -> None:
        self._compared = None
        for number in np.unique(targets).tolist():
            own = np.flatnonzero(targets == number)
            self.classes[number].learn(*split(features[:, own], categorical), step_sizes[own], self.learning_rate)

    def grow(self, size: int, classes: int) -> None:
        """Have room for this many features, the new ones last, and classes, or more.

        Raises ValueError if features are fewer than before, or too many.
        """
        if size < self.size:
            raise ValueError(f"samples: expected {self.size} features, got {size}")
        if size > MOST:
            raise ValueError(f"negatives: expected True for more than {MOST} features, got False for {size}")
        if size > self.size:
            self.classes = [each.grown(size) for each in self.classes]
            self.networks, self.size = ClassDensity.start(self.networks, self.size).grown(size).networks, size
        while len(self.classes) < classes:
            self.classes.append(ClassDensity.start([_copy(network) for network in self.networks], self.size))
        self._compared = None

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: Any) -> np.ndarray:
        """Probabilities of the classes: (F, B) -> (C, B)."""
        return softmax(self._scores(samples), axis=0)

    def decision(self, samples: Any) -> np.ndarray:
        """Logarithms of the probabilities but for what all classes share, (C, B); of two classes the logit, (1, B)."""
        return _of_two(self._scores(samples))

    def explain(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to `decision`.

        A number contributes by how far it is from what the features before it let expect.
        """
        together, numbers, codes = self._split(samples)
        said, own = together.said(numbers, codes), [each.explain(numbers) for each in self.classes]
        contributions, constants = (np.array(arrays) for arrays in zip(*own, strict=True))  # (C, F, B), (C, B)
        distances = said.squares.sum(axis=2)
        step_sizes = said.squares / np.where(distances > 0, distances, 1)[..., None]
        contributions = contributions.swapaxes(1, 2) + said.of_distance[..., None] * step_sizes
        for feature, logs in said.of_levels.items():
            contributions[..., feature] += logs
        return together.trust * _of_two(contributions), together.trust * _of_two(constants + said.constant)

    def novelty(self, samples: Any) -> np.ndarray:
        """The fraction of the most similar class that is expected closer to its mean than a sample: (F, B) -> (B,)."""
        nearest = np.empty(samples.shape[1])
        for part in self._parts(samples):
            together, numbers, codes = self._split(samples[:, part])
            distances = together.said(numbers, codes).squares[together.counts > 0].sum(axis=2).min(axis=0)
            known = np.maximum(together.known(numbers).sum(axis=0), 1)
            nearest[part] = fdtr(known, together.freedom, distances / known)
        return nearest

    def _scores(self, samples: Any) -> np.ndarray:  # (F, B) -> (C, B)
        scores = np.empty((len(self.classes), samples.shape[1]))
        for part in self._parts(samples):
            together, numbers, codes = self._split(samples[:, part])
            logits = [each.logits(numbers) for each in self.classes]
            scores[:, part] = together.trust * (together.said(numbers, codes).total + logits)
        return scores

    def _parts(self, samples: Any) -> Iterator[slice]:
        size = 1 + NUMBERS // (1 + len(self.classes) * self.size)
        return (slice(start, start + size) for start in range(0, samples.shape[1], size))

    def _split(self, samples: Any) -> tuple[Comparison, np.ndarray, dict[int, np.ndarray]]:
        features = dense(features_and_words(samples)[0])
        if len(features) != self.size:
            raise ValueError(f"samples: expected {self.size} features, got {len(features)}")
        if self._compared is None:
            self._compared = compared(self.classes)
        return self._compared, *self._compared.split(features)

    # ---- State -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """FIELDS, as numbers, arrays, networks, and lists and mappings of these."""
        return {"networks": self.networks, "size": self.size, "classes": [vars(each) for each in self.classes]}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], learning_rate: Rate | None) -> ClassDensityClassifier:
        """The learner whose `state` this was. Raises ValueError for parts that do not fit together."""
        classes = [ClassDensity(**each) for each in state["classes"]]
        for networks in (state["networks"], *(each.networks for each in classes)):
            if {network.context_size for network in networks} != {state["size"]}:
                raise ValueError(f"learner: expected networks of {state['size']} features, got others")
        for each in classes:
            each.check()
        return cls(state["networks"], state["size"], classes, learning_rate)


LEARNERS.append(ClassDensityClassifier)


def plain_reading(size: int) -> TableFeaturizer:
    """What the networks of a class read."""
    return TableFeaturizer(Unscaled(size))


def check_negatives(value: Any) -> None:
    """Raise ValueError if an argument `negatives` is no bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"negatives: expected True or False, got {value!r}")


def _copy(network: Network) -> Network:
    copied = type(network)(**arguments(network))
    copied.set_state(network.get_state())
    return copied


def _of_two(scores: np.ndarray) -> np.ndarray:  # (C, ...)
    return scores[1:] - scores[:1] if len(scores) == 2 else scores


FAR = 20.0  # standard deviations from the mean of every class, beyond which a value counts as missing


class Said(NamedTuple):
    """What the densities of classes say of samples, in logarithms, but for what all classes share."""

    squares: np.ndarray  # (C, B, F), squared distances of the features from the mean
    of_distance: np.ndarray  # (C, B), what they say together
    constant: np.ndarray  # (C, B), the density at the mean, times how frequent the class is
    of_levels: dict[int, np.ndarray]  # by feature, what the levels of categories say, (C, B)

    @property
    def total(self) -> np.ndarray:
        return self.of_distance + self.constant + sum(self.of_levels.values())


class Comparison(NamedTuple):
    counts: np.ndarray  # (C,), weights of samples
    means: np.ndarray  # (C, F), in units of `scale`
    scale: np.ndarray  # (F,), infinite for features that never varied
    factors: np.ndarray  # (C, F, F), of the covariances
    reach: np.ndarray  # (2, F), between which values are not far
    levels: dict[int, np.ndarray]  # by feature, logarithms of the frequencies of its levels, (C, L)
    freedom: float  # degrees of freedom of the densities
    trust: float  # factor of their logarithms

    def split(self, samples: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """`split`, where values that are far count as missing."""
        numbers, codes = split(samples, self.levels)
        low, high = self.reach[:, :, None]
        numbers[(numbers < low) | (numbers > high)] = np.nan
        return numbers, codes

    def known(self, numbers: np.ndarray) -> np.ndarray:  # (F, B) -> (F, B)
        """Which values say something."""
        return ~np.isnan(numbers) & (self.scale < np.inf)[:, None]

    def said(self, numbers: np.ndarray, codes: dict[int, np.ndarray]) -> Said:
        """What the classes say of samples that were `split`."""
        varies, known, of_levels = self.scale < np.inf, self.known(numbers), {}
        scaled = np.where(known, numbers / self.scale[:, None], np.nan)
        z = np.ascontiguousarray(scaled.T - self.means[:, None])
        compiled(substitute)(z, self.factors)
        squares, widths = np.square(z), np.where(varies, np.log(np.diagonal(self.factors, axis1=1, axis2=2)), 0)
        for feature, logs in self.levels.items():
            places = np.nan_to_num(codes[feature], nan=logs.shape[1]).astype(int)
            found = np.pad(logs, [(0, 0), (0, 1)])  # an unknown level says nothing
            of_levels[feature] = found[:, np.minimum(places, logs.shape[1])]
        of_distance = log_density(squares.sum(axis=2), known.sum(axis=0), self.freedom)
        return Said(squares, of_distance, np.log(self.counts + 1)[:, None] - widths @ known, of_levels)


def compared(classes: Sequence[ClassDensity]) -> Comparison:
    known, counts = np.array([each.known for each in classes]), np.array([each.count for each in classes])
    scores = np.sum([each.scores for each in classes], axis=0)
    means, scale = _means(classes, known)
    own = np.array([each.covariance() for each in classes]) / scale[:, None] / scale
    own += [np.diag((each == 0).astype(float)) for each in known]  # assumed to vary as in all classes
    within = np.tensordot(counts, own, 1) / max(counts.sum(), 1)
    own = (counts[:, None, None] * own + PRIOR * within) / (counts + PRIOR)[:, None, None]
    own += least_variance(scores[1]) * np.eye(len(scale))
    factors, varies = np.linalg.cholesky(own), scale < np.inf
    factors[:, ~varies, ~varies] = np.inf
    spread = FAR * np.sqrt(np.diagonal(own, axis1=1, axis2=2)) * np.where(varies, scale, 1)
    reach = np.array([(means - spread).min(axis=0), (means + spread).max(axis=0)])
    freedom, trust = freedom_of(scores[0]), trust_of(scores[1])
    return Comparison(counts, means / scale, scale, factors, reach, _levels(classes), freedom, trust)


def _means(classes: Sequence[ClassDensity], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the classes, (C, F), those of all samples where a class knows none; and the units of features, (F,)."""
    means, total = np.array([each.mean for each in classes]), np.maximum(known.sum(axis=0), 1e-300)
    center = (known * means).sum(axis=0) / total
    means = np.where(known > 0, means, center)
    variances = sum(np.diag(each.scatter) for each in classes) + (known * (means - center) ** 2).sum(axis=0)
    lows, highs = (np.where(known > 0, [each.ends[end] for each in classes], center) for end in (0, 1))
    return means, scale_of(variances / total, highs.max(axis=0) - lows.min(axis=0))


def _levels(classes: Sequence[ClassDensity]) -> dict[int, np.ndarray]:
    found = {}
    for feature in sorted({feature for each in classes for feature in each.levels}):
        counts = [each.levels.get(feature, np.zeros(0)) for each in classes]
        table = np.zeros((len(counts), max(map(len, counts))))
        for row, own in zip(table, counts, strict=True):
            row[: len(own)] = own
        found[feature] = np.log([frequencies(row, table.sum(axis=0) + 1) for row in table])
    return found


def split(features: np.ndarray, categorical: Collection[int]) -> tuple[np.ndarray, dict[int, Any]]:
    """Samples whose categories are unknown as numbers, (F, B), and the codes of these, (B,) each."""
    numbers = np.array(features, np.float64)
    levels = {feature: numbers[feature].copy() for feature in categorical}
    numbers[list(levels)] = np.nan
    return numbers, levels
