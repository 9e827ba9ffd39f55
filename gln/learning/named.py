"""Models that learn streams of named features: what River's estimators and bandits share.

Shapes: B samples, C heads, F features.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from gln.backends import load_backend
from gln.learning.learner import Learner
from gln.learning.levels import warn_of_numbers
from gln.learning.names import Names, Samples
from gln.learning.of_streams import OF_STREAMS, SHALLOW
from gln.learning.reading import Reading
from gln.learning.samples import WithWords
from gln.learning.saveable import Saveable
from gln.learning.values import CONSTANT

__all__ = ["PREVIOUS", "Named"]

PREVIOUS = ("previous", "label")  # name of the feature that `memory` adds
ADVICE = "convert it to float, for example by `converters` of river.stream.iter_csv, unless it is a category"


class Named(Names, Saveable):
    """A model that learns a stream of named features and words. One is a category if its first value is a string."""

    kept: ClassVar[dict[str, Any]] = {
        "_places": dict,
        "_levels": dict,
        "_words": dict,
        "_numbers": int,
        "_occurrences": np.ndarray,
        "_count": int,
        "_learner": Learner,
    }

    memory = False  # whether one more network reads the previous label, as a category
    _always = property(lambda self: {PREVIOUS} if self.memory else set())  # added with the first features
    _are_classes = False  # whether targets are classes

    def __init__(self, layer_sizes, context_map_size, context_bias, learning_rate, backend, seed) -> None:
        super().__init__()
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.backend = backend
        self.seed = seed
        self._learner: Learner | None = None  # until there is a feature

    def _built(self, reading: Reading) -> Learner:
        """A new learner for what networks read."""
        raise NotImplementedError

    def _networks(self, reading: Reading, sizes: Sequence[tuple[int, int]], **kind: Any) -> list[Any]:
        """New networks, one for each pair of `sizes`, as `stream_sizes` gives them."""
        network, rng = load_backend(self.backend).GLN, np.random.RandomState(self.seed)
        options = {"context_bias": self.context_bias, "context_features": OF_STREAMS["context_features"], **kind}
        options["context_map_size"] = self.context_map_size
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(sizes)).tolist()
        return [
            network(self._layers(reads), reading.inputs(columns, reads), columns, seed=seed, **options)
            for (columns, reads), seed in zip(sizes, seeds, strict=True)
        ]

    def _layers(self, reads: int) -> Sequence[int]:
        return SHALLOW if reads > 1 else self.layer_sizes

    def _learn(self, samples: Samples, targets: Any = None, visits: Any = None, shares: Any = None) -> None:
        """Learn samples, or some of them, and keep what they have unless there is an error."""
        rows = samples.rows if visits is None else samples.rows[:, visits]
        if not (samples.places and rows.shape[1]):
            return
        names = self._levels.keys() | samples.levels.keys() | self._always
        categorical = {samples.places[name] for name in names if name in samples.places}
        for name, new in samples.levels.items():
            warn_of_numbers(f"x[{name!r}]", self._levels.get(name, {}), new, ADVICE)
        learner, memory = self._learner, samples.places.get(PREVIOUS)
        if learner is None:
            learner = self._of_first(rows, categorical, memory)
        elif self._places.keys() <= {CONSTANT, *self._always} and len(samples.places) > len(self._places):
            learner = self._with_first_features(learner, self._of_first(rows, categorical, memory))
        self._teach(learner, rows, targets, shares, categorical)
        self._learner = learner
        self._remember(samples)

    @staticmethod
    def _with_first_features(learner: Learner, fresh: Learner) -> Learner:
        """A fresh learner that knows what this one has learned from words, since its networks read nothing so far."""
        old, new = learner.reading.bases, fresh.reading.bases
        if old is None or new is None or fresh.groups[0].heads != learner.groups[0].heads:
            return learner
        new.linear = old.linear.with_pairs() if new.linear.models > old.linear.models else old.linear
        fresh.targets = learner.targets
        return fresh

    def _learn_frame(self, X: pd.DataFrame, learn: Callable[[Samples, slice], None]) -> None:
        """Learn the rows of a frame, part by part, by a function of samples and of the rows that they are."""
        self._rows(self._coded(X, {}))  # raises ValueError for values that cannot be learned
        if (X.columns.isin([*self._places]) | ~X.notna().any().to_numpy()).all():
            learn(self._seen_rows(X), slice(0, len(X)))
            return
        before = copy.deepcopy(vars(self))
        try:
            for rows, samples in self._parts(X):
                learn(samples, rows)
        except Exception:
            self.__dict__ = before
            raise

    @staticmethod
    def _teach(learner: Learner, rows: WithWords, targets: Any, shares: Any, categorical: Set[int]) -> None:
        learner.learn(rows, targets, shares, categorical=categorical, predicts=False)

    def _of_first(self, rows: WithWords, categorical: Set[int], memory: int | None) -> Learner:
        """A learner for a stream that begins with these samples."""
        kind = 1 + self._are_classes, self._are_classes, memory
        return self._built(Reading.of_stream(rows.features, categorical, *kind))

    def _explained(self, x: Mapping[Hashable, Any]) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
        """Names of features, and of words that the sample has; their contributions, (C, n), and constants, (C,)."""
        assert self._learner is not None
        contributions, constant = self._learner.explain(self._known(x))
        places = {name: place for name, place in self._places.items() if name != CONSTANT}
        places |= {name: len(self._places) + self._words[name] for name in x if name in self._words}
        found = np.pad(contributions[:, 0], [(0, 0), (0, 1 + max([0, *places.values()]))])  # unknown levels of words
        constant = constant[:, 0]
        if CONSTANT in self._places:
            constant = constant + found[:, self._places[CONSTANT]]
        return list(places), found[:, list(places.values())], constant
