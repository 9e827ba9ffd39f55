"""`OwnClasses`: a learner of classes that each learn from their own samples alone, in place of a `Learner`.

It is the same in whichever order the classes come.

Shapes: B samples, F features, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
from scipy.special import fdtr, softmax

from gln.learning.comparison import Comparison, compared, split
from gln.learning.group import Group
from gln.learning.learner import check_steps
from gln.learning.network import Network, Rate, arguments
from gln.learning.own_class import OwnClass
from gln.learning.reading import Reading
from gln.learning.samples import check_magnitude, dense, features_and_words
from gln.learning.targets import Classes
from gln.learning.unscaled import Unscaled

__all__ = ["KEPT", "OwnClasses", "check_negatives", "plain_reading"]

KEPT = "networks", "size", "classes"  # in a file
NUMBERS = 4_000_000  # of features times classes that are compared at a time, to save memory
MOST = 1000  # features: a class has a number for each pair of them


@dataclasses.dataclass
class OwnClasses:
    networks: list[Network]  # untrained ones, with which each class starts
    size: int  # F
    classes: list[OwnClass] = dataclasses.field(default_factory=list)
    learning_rate: Rate | None = None
    # What they have learned together, until one of them learns more.
    _compared: Comparison | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compared": None}  # large, and soon gathered again

    @property
    def groups(self) -> list[Group]:
        return [Group([network for each in self.classes for network in each.networks])]

    def set_learning_rate(self, rate: Rate | None) -> None:
        self.learning_rate = rate

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(
        self,
        samples: Any,
        targets: np.ndarray,
        shares: np.ndarray | None = None,
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
        check_steps(shares, batch_size, count)
        if batch_size > 1:
            raise ValueError(f"batch_size: expected 1 with negatives=False, got {batch_size}")
        for network in self.networks if self.learning_rate is not None else ():
            network.rates(2 * count, self.learning_rate)  # before anything changes, because a callable may fail
        self.grow(len(features), max(targets.tolist(), default=-1) + 1)
        own, predicted = np.ones(count) if shares is None else shares.astype(np.float64), []
        for part in [slice(b, b + 1) for b in range(count)] if predicts else [slice(0, count)]:
            if predicts:
                predicted.append(self.predict(features[:, part]))
            self._teach(features[:, part], targets[part], own[part], categorical)
        return predicted

    def _teach(self, features: np.ndarray, targets: np.ndarray, shares: np.ndarray, categorical: Set[int]) -> None:
        self._compared = None
        for number in np.unique(targets).tolist():
            own = np.flatnonzero(targets == number)
            self.classes[number].learn(*split(features[:, own], categorical), shares[own], self.learning_rate)

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
            self.networks, self.size = OwnClass.start(self.networks, self.size).grown(size).networks, size
        while len(self.classes) < classes:
            self.classes.append(OwnClass.start([_copy(network) for network in self.networks], self.size))
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
        shares = said.squares / np.where(distances > 0, distances, 1)[..., None]
        contributions = contributions.swapaxes(1, 2) + said.of_distance[..., None] * shares
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
        """KEPT, as numbers, arrays, networks, and lists and mappings of these."""
        return {"networks": self.networks, "size": self.size, "classes": [vars(each) for each in self.classes]}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], learning_rate: Rate | None) -> OwnClasses:
        """The learner whose `state` this was. Raises ValueError for parts that do not fit together."""
        classes = [OwnClass(**each) for each in state["classes"]]
        for networks in (state["networks"], *(each.networks for each in classes)):
            if {network.context_size for network in networks} != {state["size"]}:
                raise ValueError(f"learner: expected networks of {state['size']} features, got others")
        for each in classes:
            each.check()
        return cls(state["networks"], state["size"], classes, learning_rate)


def plain_reading(size: int) -> Reading:
    """What the networks of a class read."""
    return Reading(Unscaled(size))


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
