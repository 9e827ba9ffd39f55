"""`ClassDensityClassifier`: classes that each learn from their own samples alone, instead of a `StreamModel`.

It is the same in whichever order the classes come.

Shapes: B samples, F features, C classes, L levels of a category.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
from scipy.special import softmax

from gln.engine.batches import SampleBatch, Steps, dense
from gln.engine.class_density.density import ClassDensity, LogLikelihood, PooledDensities, split, with_features
from gln.engine.ensemble.ensemble import COLUMNS, Ensemble, Member
from gln.engine.model.builders import NetworkConfig
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.targets import Classes
from gln.engine.networks.protocol import Network, Rate, is_network
from gln.engine.networks.surgery import copied
from gln.engine.preprocessing.scaling import Unscaled
from gln.engine.saving import saved

CHUNK_VALUES = 4_000_000  # of features times classes that are compared at a time, to save memory
MAX_FEATURES = 1000  # a class has a number for each pair of them


@saved(networks=[is_network], classes=[ClassDensity])
@dataclasses.dataclass
class ClassDensityClassifier:
    networks: list[Network]  # untrained ones, with which each class starts
    classes: list[ClassDensity] = dataclasses.field(default_factory=list)
    learning_rate: Rate | None = None

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "pooled"}  # large, and soon made again

    @classmethod
    def start(cls, config: NetworkConfig, networks: int, size: int, loss: Mapping[str, Any]) -> ClassDensityClassifier:
        """Before the first sample, for so many features. Each class has so many networks with this `loss`."""
        featurizer = Featurizer(Unscaled(size))
        roles = networks * [COLUMNS]
        classifier = cls(config.ensemble(featurizer, roles, **{**loss, "num_classes": 2}).networks)
        classifier.grow(size, loss["num_classes"])
        return classifier

    @property
    def size(self) -> int:
        return self.networks[0].config.context_size

    @property
    def means(self) -> Ensemble:
        return Ensemble([Member(network) for density in self.classes for network in density.networks])

    def sizes(self, categorical: Set[int]) -> tuple[int, Set[int], int]:
        """As of a `NetworkModel`; categories are those known to be, and others of which levels were learned."""
        return self.size, {*categorical}.union(*(density.levels for density in self.classes)), max(2, len(self.classes))

    def set_learning_rate(self, rate: Rate | None) -> None:
        self.learning_rate = rate

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(
        self,
        samples: SampleBatch,
        targets: np.ndarray,
        step_sizes: np.ndarray | None = None,
        categorical: Set[int] = frozenset(),
        predicts: bool = True,
        late: bool = False,
    ) -> list[np.ndarray]:
        """As `NetworkModel.learn`. Words are left out; nothing is combined.

        Without `predicts`, all samples of a class take one call.
        """
        features = dense(samples.features)
        count = len(samples)
        Classes().check(targets, count, len(self.classes))
        self.grow(len(features), 0)
        steps = np.ones(count) if step_sizes is None else step_sizes.astype(np.float64)
        predicted = []
        parts: Any = np.arange(count)[:, None] if predicts else [np.arange(count)]
        for rows in parts:
            if predicts:
                predicted.append(self.predict(SampleBatch.of(features[:, rows])))
            self.add_classes(targets[rows])
            for number in np.unique(targets[rows]).tolist():
                chosen = rows[targets[rows] == number]
                numbers, levels = split(features[:, chosen], categorical)
                self.classes[number].learn(numbers, levels, steps[chosen], self.learning_rate)
        return predicted

    def progressive(
        self,
        samples: SampleBatch,
        targets: np.ndarray,
        step_sizes: Steps,
        categorical: Set[int],
        predicts: bool = True,
        earlier: None = None,
    ) -> list[np.ndarray]:
        """As of a `StreamModel`: all samples together, as those of a class do not change what others bring."""
        return self.learn(samples, targets, step_sizes, categorical=categorical, predicts=predicts)

    def check_rates(self, steps: int) -> None:
        """Raise ValueError if the learning rate fails in one of the next steps of a network."""
        if self.learning_rate is None:
            return
        for network in (*self.networks, *self.means.networks):
            network.rates(2 * steps, self.learning_rate)  # they also learn noise

    def with_first_features(self, fresh: ClassDensityClassifier) -> ClassDensityClassifier:
        return self

    def grow(self, size: int, classes: int) -> None:
        """Have room for this many features, the new ones last, and classes, or more.

        Raises ValueError if features are fewer than before, or too many.
        """
        if size < self.size:
            raise ValueError(f"samples: expected {self.size} features, got {size}")
        if size > MAX_FEATURES:
            raise ValueError(f"features: expected at most {MAX_FEATURES}, as each pair has a number, got {size}")
        if size > self.size:
            self.classes = [density.grown(size) for density in self.classes]
            self.networks = with_features(self.networks, size)
        while len(self.classes) < classes:
            networks = [copied(network, network.get_state()) for network in self.networks]
            self.classes.append(ClassDensity.start(networks))
        vars(self).pop("pooled", None)

    def add_classes(self, targets: np.ndarray) -> None:
        """Have room for classes that are new."""
        self.grow(self.size, 1 + max(targets.tolist(), default=-1))

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: SampleBatch) -> np.ndarray:  # -> (C, B)
        """Probabilities of the classes."""
        scores = np.ascontiguousarray(self._scores(samples).T)  # sums of rows do not depend on how many there are
        return softmax(scores, axis=1).T

    def outputs(self, samples: SampleBatch, ensembles: int = 1) -> np.ndarray:  # -> (C, B)
        """As of a `StreamModel`."""
        return self.predict(samples)

    def model_predictions(self, samples: SampleBatch) -> None:
        """As of a `NetworkModel`; nothing is combined here."""

    def predict_with_models(self, samples: SampleBatch) -> tuple[np.ndarray, None]:
        """As of a `StreamModel`."""
        return self.predict(samples), None

    def decision(self, samples: SampleBatch) -> np.ndarray:
        """Logarithms of the probabilities but for what all classes share, (C, B); of two classes the logit, (1, B)."""
        return _logit_of_two(self._scores(samples))

    def explain(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to `decision`.

        A number contributes by how far it is from what the features before it let expect.
        """
        likelihood = self._likelihood(samples)
        explained = [density.explain(likelihood.numbers) for density in self.classes]
        contributions, constants = (np.array(arrays) for arrays in zip(*explained, strict=True))  # (C, F, B), (C, B)
        distances = likelihood.squares.sum(axis=2)
        fractions = likelihood.squares / np.where(distances > 0, distances, 1)[..., None]
        contributions = contributions.swapaxes(1, 2) + likelihood.by_distance[..., None] * fractions
        for feature, logs in likelihood.by_level.items():
            contributions[..., feature] += logs
        factor = self.pooled.inverse_temperature
        constants = constants + likelihood.constant
        return factor * _logit_of_two(contributions), factor * _logit_of_two(constants)

    def _scores(self, samples: SampleBatch) -> np.ndarray:  # -> (C, B)
        scores = np.empty((len(self.classes), len(samples)))
        for chunk in self._chunks(samples):
            likelihood = self._likelihood(samples.take(chunk))
            logits = [density.logits(likelihood.numbers) for density in self.classes]
            total = likelihood.by_distance + likelihood.constant + sum(likelihood.by_level.values()) + logits
            scores[:, chunk] = self.pooled.inverse_temperature * total
        return scores

    def _chunks(self, samples: SampleBatch) -> Iterator[slice]:
        size = 1 + CHUNK_VALUES // (1 + len(self.classes) * self.size)
        return (slice(start, start + size) for start in range(0, len(samples), size))

    def _likelihood(self, samples: SampleBatch) -> LogLikelihood:
        features = dense(samples.features)
        if len(features) != self.size:
            raise ValueError(f"samples: expected {self.size} features, got {len(features)}")
        return self.pooled.log_likelihood(features)

    @functools.cached_property
    def pooled(self) -> PooledDensities:
        """The densities of all classes, until one learns more."""
        return PooledDensities(self.classes)

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together."""
        for networks in (self.networks, *(density.networks for density in self.classes)):
            sizes = {
                (one.base_size, one.config.context_size, one.config.num_heads, one.config.logits) for one in networks
            }
            if sizes != {(2 * self.size, self.size, 1, True)}:
                raise ValueError(f"learner: expected networks of {self.size} features, got others")
        for density in self.classes:
            density.check(self.size)


def _logit_of_two(scores: np.ndarray) -> np.ndarray:  # (C, ...)
    return scores[1:] - scores[:1] if len(scores) == 2 else scores
