"""Models that learn streams of named features: what River's estimators and bandits share.

Shapes: B samples, C heads, F features.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from gln.backends import load_backend
from gln.engine.batches import SampleBatch
from gln.engine.model.builders import OF_STREAMS, SHALLOW
from gln.engine.model.featurizers import Featurizer
from gln.engine.model.learner import Learner
from gln.engine.model.persistence import Saveable
from gln.engine.preprocessing.category_codes import warn_of_numbers
from gln.engine.streaming.prequential import frame_of, joined, predict_then_learn, runs, segments_of, singles
from gln.engine.streaming.schema import CONSTANT, Samples, StreamSchema, check_frame, is_missing

PREVIOUS = ("previous", "label")  # name of the feature that `memory` adds
ADDED = (CONSTANT, PREVIOUS)
ADVICE = "convert it to float, for example by `converters` of river.stream.iter_csv, unless it is a category"


class StreamEstimator(StreamSchema, Saveable):
    """A model that learns a stream of named features and words. One is a category if its first value is a string."""

    kept: ClassVar[dict[str, Any]] = {
        "_places": dict,
        "_levels": dict,
        "_words": dict,
        "_numbers": int,
        "_occurrences": np.ndarray,
        "_count": int,
        "_learner": Learner,
        "extra": dict,  # what `gln-stream` saves with a model: how far its run is
    }

    memory = False  # whether one more network reads the previous label, as a category
    _always = property(lambda self: {PREVIOUS} if self.memory else set())  # added with the first features
    _are_classes = False  # whether targets are classes

    def __init__(self, layer_sizes, context_map_size, context_bias, learning_rate, backend, seed) -> None:
        super().__init__()
        if seed is not None and not (isinstance(seed, (int, np.integer)) and 0 <= seed < 1 << 32):
            raise ValueError(f"seed: expected None or an integer from 0 to 2^32 - 1, got {seed!r}")
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.backend = backend
        self.seed = seed
        self._learner: Learner | None = None  # until there is a feature

    def _built(self, featurizer: Featurizer) -> Learner:
        """A new learner for what networks read."""
        raise NotImplementedError

    def _networks(self, featurizer: Featurizer, sizes: Sequence[tuple[int, int]], **kind: Any) -> list[Any]:
        """New networks, one for each pair of `sizes`, as `stream_sizes` gives them."""
        network, rng = load_backend(self.backend).GLN, np.random.RandomState(self.seed)
        options = {"context_bias": self.context_bias, "context_features": OF_STREAMS["context_features"], **kind}
        options["context_map_size"] = self.context_map_size
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(sizes)).tolist()
        return [
            network(self._layers(reads), featurizer.inputs(columns, reads), columns, seed=seed, **options)
            for (columns, reads), seed in zip(sizes, seeds, strict=True)
        ]

    @property
    def known_names(self) -> dict[Hashable, bool]:
        """The names that were learned, and whether each is a category."""
        return {name: name in self._levels for name in (*self._places, *self._words) if name not in ADDED}

    def _layers(self, reads: int) -> Sequence[int]:
        return SHALLOW if reads > 1 else self.layer_sizes

    def _learn(
        self, samples: Samples, targets: Any = None, visits: Any = None, step_sizes: Any = None, turns: bool = False
    ) -> list[np.ndarray]:
        """Learn samples, or some of them, and keep what they have unless there is an error.

        Returns what `predict_then_learn` predicts before each if `turns`; empty otherwise, and if samples have no
        feature.
        """
        rows = samples.rows if visits is None else samples.rows[:, visits]
        if not (samples.places and rows.shape[1]):
            return []
        names = (samples.places.keys() & self._levels.keys()) | samples.levels.keys() | self._always
        categorical = {samples.places[name] for name in names if name in samples.places}
        for name, new in samples.levels.items():
            warn_of_numbers(f"x[{name!r}]", self._levels.get(name, {}), new, ADVICE)
        learner, memory = self._learner, samples.places.get(PREVIOUS)
        if learner is None:
            learner = self._of_first(rows, categorical, memory)
        elif self._places.keys() <= {CONSTANT, *self._always} and len(samples.places) > len(self._places):
            learner = self._with_first_features(learner, self._of_first(rows, categorical, memory))
        predicted = []
        if turns:
            known = self._without_new(samples, rows)
            predicted = predict_then_learn(learner, known, rows, targets, step_sizes, categorical)
        else:
            alone = samples.rows.shape[1] == 1  # several visits of one sample are learned one by one
            for part in singles(rows.shape[1]) if alone else segments_of(learner, rows, targets):
                own = None if step_sizes is None else step_sizes[part]
                self._teach(learner, rows[:, part], targets[..., part], own, categorical)
        self._learner = learner
        self._remember(samples)
        return predicted

    @staticmethod
    def _with_first_features(learner: Learner, fresh: Learner) -> Learner:
        """A fresh learner that knows what this one has learned from words, since its networks read nothing so far."""
        if not isinstance(learner, Learner):
            return learner
        old, new = learner.featurizer.base_models, fresh.featurizer.base_models
        if old is None or new is None or fresh.ensembles[0].heads != learner.ensembles[0].heads:
            return learner
        new.linear = old.linear.with_pairs() if new.linear.models > old.linear.models else old.linear
        fresh.targets = learner.targets
        return fresh

    def _learn_frame(self, X: pd.DataFrame, learn: Callable[[Samples, slice], object]) -> None:
        """Learn the rows of a frame, part by part, by a function of samples and of the rows that they are.

        A part is learned as a whole or not at all; of several, all or none.
        """
        known = X.columns.isin([*self._places])
        if known.all() or not X.loc[:, ~known].notna().to_numpy().any():
            learn(self._seen_rows(X), slice(0, len(X)))
            return
        self._check(X)
        with contextlib.ExitStack() as stack:
            for rows, samples in self._parts(X):
                if rows.start == 0 and rows.stop < len(X):
                    stack.enter_context(self._all_or_none())
                learn(samples, rows)

    @contextlib.contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Undo what was learned before an error."""
        before = copy.deepcopy(vars(self))
        try:
            yield
        except Exception:
            self.__dict__ = before
            raise

    def _in_turns(
        self,
        X: Any,
        learns: np.ndarray,
        predict: Callable[[SampleBatch], np.ndarray],
        learn: Callable[[Samples, slice, bool], np.ndarray],
    ) -> np.ndarray:
        """Predict each sample, and then learn it if it `learns`, (N,), as many as possible in one call.

        Takes functions that predict samples, (K, B), and that learn those of some rows, perhaps in turns. Returns what
        they predict of each, (N, K), 0 for values that only later ones have.
        """
        is_frame, parts = isinstance(X, pd.DataFrame), runs(learns)
        if is_frame:
            check_frame(X)
        if len(parts) > 1 or not is_frame:  # a single frame is checked when it is learned
            self._check(X)
        found: list[np.ndarray] = []

        def taught(samples: Samples, rows: slice) -> None:
            if rows.stop - rows.start == 1:  # it may have new names, which a prediction leaves out
                found.append(predict(self._known_frame(X.iloc[rows]) if is_frame else self._known(X[rows.start])))
                learn(samples, rows, False)
            else:
                found.append(learn(samples, rows, True))

        def take(rows: slice, are_learned: bool) -> None:
            some: Any = X.iloc[rows] if is_frame else self._frame(X[rows])
            if some is None and are_learned:  # such as a text, whose frame would have a column per word
                taught(self._seen(X[rows.start]), rows)
            elif are_learned:
                self._learn_frame(some, lambda samples, own: taught(samples, _within(rows, own)))
            else:
                found.append(predict(self._known(X[rows.start]) if some is None else self._known_frame(some)))

        # A rate that is a callable may fail in the middle.
        with self._all_or_none() if callable(self.learning_rate) else contextlib.nullcontext():
            for part in parts:
                for rows in [part] if is_frame else self._known_runs(X, part):
                    take(rows, bool(learns[part.start]))
        return joined(found)

    def _frame(self, dictionaries: Sequence[Mapping[Hashable, Any]]) -> pd.DataFrame | None:
        """A frame of samples that have features alone; None for a single sample."""
        return frame_of([self._filled(x) for x in dictionaries], self._places, self._levels)

    def _check(self, X: Any) -> None:
        """Raise ValueError if some of the samples cannot be learned."""
        if isinstance(X, pd.DataFrame):
            self._rows(self._coded(X, {}))
            return
        are_text: dict[Hashable, Any] = {}  # the first values of names that are new
        for x in X:
            self._values(x, {})
            for name, value in x.items():
                if not (name in self._places or name in self._words or is_missing(value)):
                    self._is_category(name, [are_text.setdefault(name, value), value])

    def _known_runs(self, dictionaries: Sequence[Mapping[Hashable, Any]], part: slice) -> Iterator[slice]:
        """Parts of which all keys are features, or of one sample; what was learned from one shows in the next."""
        start = part.start
        while start < part.stop:
            stop = start
            while stop < part.stop and dictionaries[stop].keys() <= self._places.keys():
                stop += 1
            yield slice(start, max(stop, start + 1))
            start = max(stop, start + 1)

    def _without_new(self, samples: Samples, rows: SampleBatch) -> SampleBatch:
        """Rows of samples without each level that is new, where it comes first, as predictions see them."""
        features = rows.features.copy() if samples.levels else rows.features
        for name in samples.levels.keys() & samples.places.keys():
            own = features[samples.places[name]]
            codes, first = np.unique(own, return_index=True)
            own[first[codes >= len(self._levels.get(name, ()))]] = np.nan
        return SampleBatch(features, rows.words)

    @staticmethod
    def _teach(learner: Learner, rows: SampleBatch, targets: Any, step_sizes: Any, categorical: Set[int]) -> None:
        learner.learn(rows, targets, step_sizes, categorical=categorical, predicts=False)

    def _of_first(self, rows: SampleBatch, categorical: Set[int], memory: int | None) -> Learner:
        """A learner for a stream that begins with these samples."""
        kind = 1 + self._are_classes, self._are_classes, memory
        return self._built(Featurizer.of_stream(rows.features, categorical, *kind))

    def _explained(self, x: Mapping[Hashable, Any]) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
        """Names of features, and of words that the sample has; their contributions, (C, n), and constants, (C,)."""
        assert self._learner is not None
        sample = self._known(x)
        contributions, constant = self._learner.explain(sample)
        own = {number: place for place, number in enumerate(np.unique(sample.words.numbers), len(self._places))}
        size = len(self._places) + len(own)
        places = {name: place for name, place in self._places.items() if name != CONSTANT}
        places |= {name: own.get(self._words[name], size) for name in x if name in self._words}
        found = np.zeros((len(contributions), size + 1))  # the last is of words whose level is unknown
        found[:, : contributions.shape[2]] = contributions[:, 0]
        constant = constant[:, 0]
        if CONSTANT in self._places:
            constant = constant + found[:, self._places[CONSTANT]]
        return list(places), found[:, list(places.values())], constant


def _within(rows: slice, part: slice) -> slice:
    """A part of some rows, among all."""
    return slice(rows.start + part.start, rows.start + part.stop)
