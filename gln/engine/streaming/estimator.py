"""`StreamEstimator`: a schema and a learner of a stream of named features, as River's estimators and bandits hold one.

Samples are encoded against the schema and proposed as changes; what may be wrong with them is checked. Then each is
predicted, learned and committed. So an error changes nothing, also in the middle of a frame.

Shapes: B samples, C heads, F features, K predicted values, N rows.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.batches import SampleBatch
from gln.engine.model import fused
from gln.engine.model.featurizers import StreamFeaturizer
from gln.engine.model.learner import Learner
from gln.engine.model.persistence import Saveable
from gln.engine.model.sample_weights import repeated
from gln.engine.model.targets import sum_to_one
from gln.engine.networks.protocol import Rate
from gln.engine.streaming.prequential import (
    frame_of,
    joined,
    predict_then_learn,
    predictions_of,
    runs,
    segments_of,
    singles,
)
from gln.engine.streaming.schema import (
    CONSTANT,
    PREVIOUS,
    SchemaChange,
    StreamSchema,
    check_dictionary,
    check_frame,
    has_values,
)

ONCE = np.ones(1)  # the weight of most samples that come alone


class Segment(NamedTuple):
    """Samples of a frame or a list that follow one another and take one call."""

    rows: slice
    known: Any  # a SampleBatch, as predictions see them; None where none are asked for
    change: SchemaChange | None  # None if they are only predicted


class StreamEstimator:
    """Learns a stream of named features and words.

    Args:
        build: makes a new learner from a featurizer and a number of heads.
        schema: of the samples.
        learning_rate: of new learners.
        are_classes: whether targets are labels, instead of numbers.
    """

    def __init__(
        self,
        build: Callable[[StreamFeaturizer, int], Any],
        schema: StreamSchema,
        learning_rate: Rate | None = None,
        are_classes: bool = False,
    ) -> None:
        self.build = build
        self.schema = schema
        self.learning_rate = learning_rate
        self.are_classes = are_classes
        self.learner: Any = None  # a Learner or ClassDensityClassifier, from the first feature on

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(
        self, change: SchemaChange, targets: np.ndarray | None = None, weights: np.ndarray = ONCE
    ) -> None:  # (C, B), (B,)
        """Learn samples, and commit the change that was proposed for them. Without targets, it has their classes."""
        targets = change.targets if targets is None else targets
        if change.places:
            assert targets is not None
            batch, indices, step_sizes = change.batch, *indices_of(weights)
            is_single = batch.shape[1] == 1  # one that occurs several times is learned as if it came alone each time
            if indices is not None:
                batch, targets = batch[:, indices], targets[..., indices]
            learner = self._learner_for(change, targets)
            chunks = singles(batch.shape[1]) if is_single else segments_of(learner, batch, targets)
            if len(chunks) > 1:
                check_rates(learner, batch.shape[1])
            for chunk in chunks:
                steps = None if step_sizes is None else step_sizes[chunk]
                samples = batch[:, chunk], targets[..., chunk], steps
                learner.learn(*samples, categorical=change.categorical, predicts=False)
            self.learner = learner
        self.schema.commit(change)

    def count(self, change: SchemaChange) -> None:
        """Count the regions that samples are in, without targets, and commit their change."""
        if change.places:
            learner = self._learner_for(change, np.zeros((1, 1)))
            learner.count_samples(change.batch, change.categorical)
            self.learner = learner
        self.schema.commit(change)

    def learn_frame(self, X: pd.DataFrame, y: Any, weights: np.ndarray) -> None:  # y: (N,) labels or numbers
        """Learn the rows of a frame, all or, if there is an error, none."""
        segments = self._plan(_Frame(X), y, np.ones(len(X), bool), predicts=False)
        self._prepare(segments, weights)
        for rows, _, change in segments:
            assert change is not None
            self.learn(change, self._targets(change, y[rows]), weights[rows])

    def predict_then_learn(
        self, X: Any, y: Any, weights: np.ndarray, learns: np.ndarray, initial: Sequence[float]
    ) -> np.ndarray:  # -> (N, K)
        """Predict each sample, and then learn it if it `learns`, as many as possible in one call; as `learn_frame`.

        Args:
            X: a frame, or a list of dictionaries.
            y: (N,), labels or numbers.
            weights: (N,).
            learns: (N,).
            initial: (K,), what is predicted before the first feature.

        Returns predictions, 0 for values that only later samples have.
        """
        segments = self._plan(_Frame(X) if isinstance(X, pd.DataFrame) else _Dictionaries(X), y, learns)
        self._prepare(segments, weights)
        predicted = []
        for rows, known, change in segments:
            if change is not None and change.places and known.shape[1] > 1:
                targets = self._targets(change, y[rows])
                predicted.append(self._learn_after_prediction(known, change, targets, weights[rows]))
            else:  # a sample that comes alone may have new names, which its prediction leaves out
                predicted.append(self._predict(known, initial))
                if change is not None:
                    self.learn(change, self._targets(change, y[rows]), weights[rows])
        return joined(predicted)

    def learn_again(self, X: Any, y: Any, weights: np.ndarray, learns: np.ndarray) -> None:
        """Learn samples that were learned before; arguments as for `predict_then_learn`.

        Everything learns if there are only numbers; with categories or words, linear models alone.
        """
        is_counted = isinstance(self.learner, Learner) and (self.learner.featurizer.encoding or self.schema.words)
        if not is_counted:
            self.predict_then_learn(X, y, weights, learns, initial=())
            return
        samples = _Frame(X) if isinstance(X, pd.DataFrame) else _Dictionaries(X)
        targets = np.array([self.schema.classes.get(label, -1) for label in y]) if self.are_classes else y[None]
        if self.are_classes and (targets[learns] < 0).any():
            raise ValueError(f"y: expected some of the classes {[*self.schema.classes][:10]}, got others")
        for rows, batch, _ in self._plan(samples, y, np.zeros(len(learns), bool)):
            assert batch is not None
            indices, step_sizes = repeated(np.where(learns, weights, 0)[rows])
            self.learner.learn_linear(batch[:, indices], targets[..., rows][..., indices], step_sizes)

    def _learn_after_prediction(
        self, known: SampleBatch, change: SchemaChange, targets: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:  # -> (K, B)
        indices, step_sizes = repeated(weights)
        targets = targets[..., indices]
        learner = self._learner_for(change, targets)
        batches = known[:, indices], change.batch[:, indices]
        predicted = predict_then_learn(learner, *batches, targets, step_sizes, change.categorical)
        self.learner = learner
        self.schema.commit(change)
        if self.are_classes:
            predicted = [sum_to_one(p) for p in predicted]
        return joined(predicted)[np.searchsorted(indices, np.arange(len(weights)))].T  # before each is learned first

    def _predict(self, known: SampleBatch, initial: Sequence[float]) -> np.ndarray:  # -> (K, B)
        if self.learner is None:
            return np.repeat(np.array(initial)[:, None], known.shape[1], axis=1)
        predicted = predictions_of(self.learner, known)
        return sum_to_one(predicted) if self.are_classes else predicted

    @staticmethod
    def _targets(change: SchemaChange, y: Any) -> np.ndarray:  # (B,) -> (B,) or (1, B)
        return np.asarray(y)[None] if change.targets is None else change.targets

    # ---- Checks, before the first sample is learned ------------------------------------------------------------------

    def _plan(
        self, samples: _Frame | _Dictionaries, y: Any, learns: np.ndarray, predicts: bool = True
    ) -> list[Segment]:
        """Samples as segments, proposed one after another; where there are several, on a copy of the schema.

        Raises ValueError if one of them cannot be learned.
        """
        schema, segments = self.schema, []
        for run in runs(learns):
            start, is_learned = run.start, learns[run.start]
            while start < run.stop:
                rows = samples.segment(start, run.stop, schema)
                labels = y[rows] if self.are_classes and is_learned else None
                segment = _segment(schema, rows, samples.take(rows, schema), labels, is_learned, predicts)
                segments.append(segment)
                start = rows.stop
                if segment.change is not None and start < len(learns):
                    schema = schema.copy() if schema is self.schema else schema
                    schema.commit(segment.change)
        return segments

    def _prepare(self, segments: list[Segment], weights: np.ndarray) -> None:
        """Do what may fail before the first sample is learned: compile, and evaluate a learning rate that is a callable
        for all steps to come. Raises ValueError if that returns what is no rate."""
        rate = self.learning_rate if self.learner is None else self.learner.learning_rate
        learned = [(rows, change) for rows, _, change in segments if change is not None and change.places]
        if callable(rate) and learned:
            steps = sum(len(repeated(weights[rows])[0]) for rows, _ in learned)
            check_rates(self.learner or self._learner_for(learned[0][1], np.zeros((1, 1))), steps)
        if (
            len(learned) > 1
            and isinstance(self.learner, Learner)
            and fused.can_learn(self.learner, learned[0][1].batch)
        ):
            fused.prepare(self.learner)

    # ---- Learners ----------------------------------------------------------------------------------------------------

    def _learner_for(self, change: SchemaChange, targets: np.ndarray) -> Any:
        """The learner of these samples: the known one, unless they bring the first features."""
        known, schema = self.learner, self.schema
        if known is not None and (
            change.places is schema.places or not schema.places.keys() <= {CONSTANT, *schema.always}
        ):
            return known
        fresh = self.new_learner(change.batch.features, change.categorical, change.places.get(PREVIOUS), targets)
        return fresh if known is None else _with_first_features(known, fresh)

    def new_learner(
        self, features: np.ndarray, categorical: Set[int], memory: int | None, targets: np.ndarray
    ) -> Any:  # (F, B), (C, B)
        """A learner of a stream that begins with these samples."""
        kind = 1 + self.are_classes, self.are_classes
        featurizer = StreamFeaturizer.of_first(features, categorical, *kind, memory)
        learner = self.build(featurizer, max(2, len(self.schema.classes)) if self.are_classes else len(targets))
        learner.learning_rate = self.learning_rate
        return learner

    # ---- Explaining --------------------------------------------------------------------------------------------------

    def explain(self, x: Mapping[Hashable, Any]) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
        """Names of features, and of words that the sample has; their contributions, (C, n), and constants, (C,)."""
        schema, sample = self.schema, self.schema.encode(x)
        contributions, constants = self.learner.explain(sample)
        of_words = {number: i for i, number in enumerate(np.unique(sample.words.numbers), len(schema.places))}
        size = len(schema.places) + len(of_words)
        places = {name: place for name, place in schema.places.items() if name != CONSTANT}
        places |= {name: of_words.get(schema.words[name], size) for name in x if name in schema.words}
        found = np.zeros((len(contributions), size + 1))  # the last is of words whose level is unknown
        found[:, : contributions.shape[2]] = contributions[:, 0]
        constant = constants[:, 0]
        if CONSTANT in schema.places:
            constant = constant + found[:, schema.places[CONSTANT]]
        return list(places), found[:, list(places.values())], constant


def _with_first_features(known: Any, fresh: Any) -> Any:
    """A fresh learner that knows what the known one has learned from words, since its networks read nothing so far."""
    if not isinstance(known, Learner):
        return known
    old, new = known.featurizer.base_models, fresh.featurizer.base_models
    if old is None or new is None or fresh.means.heads != known.means.heads:
        return known
    new.linear = old.linear.with_crosses() if new.linear.models > old.linear.models else old.linear
    fresh.targets = known.targets
    return fresh


def check_rates(learner: Any, steps: int) -> None:
    """Raise ValueError if a learning rate that is a callable fails in one of the next steps of a network."""
    if callable(rate := learner.learning_rate):
        is_plain = isinstance(learner, Learner)
        for network in learner.networks if is_plain else [*learner.networks, *learner.means.networks]:
            network.rates(steps if is_plain else 2 * steps, rate)  # networks of densities also learn noise


def indices_of(weights: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:  # (B,) -> (V,), (V,)
    """Indices of samples by their weights, and their step sizes, as `repeated`; None if each is learned once."""
    if weights is ONCE or (weights == 1).all():  # a shortcut
        return None, None
    return repeated(weights)


# ---- Frames and lists ------------------------------------------------------------------------------------------------


class _Frame:
    """Rows of a frame, of which those with other keys than features are taken alone."""

    def __init__(self, X: pd.DataFrame) -> None:
        check_frame(X)
        self.X = X
        self.names = np.array([*X.columns, None], object)[:-1]
        self.has: np.ndarray | None = None  # (N, F), which values there are
        self.has_others: Any = np.zeros(len(X), bool)  # by row, whether there are other keys
        self.features = -1  # the number of features for which these are

    def segment(self, start: int, stop: int, schema: StreamSchema) -> slice:
        if len(schema.places) != self.features:
            self.features, is_other = len(schema.places), ~self.X.columns.isin([*schema.places])
            if is_other.any():
                if self.has is None:
                    self.has = np.stack([has_values(self.X[name]) for name in self.X.columns], axis=1)
                self.has_others = self.has[:, is_other].any(axis=1)
            else:
                self.has_others = np.zeros(len(self.X), bool)
        alone = self.has_others[start:stop]
        return slice(start, start + max(1, int(alone.argmax())) if alone.any() else stop)

    def take(self, rows: slice, schema: StreamSchema) -> Any:  # a frame, or a dictionary
        if rows.stop - rows.start == len(self.X) and not self.has_others[rows.start]:
            return self.X
        part = self.X.iloc[rows]
        if not self.has_others[rows.start]:
            return part
        assert self.has is not None
        return {name: part[name].iloc[0] for name in self.names[self.has[rows.start]]}


class _Dictionaries:
    """A list of dictionaries, which becomes frames of those that hold only features."""

    def __init__(self, dictionaries: Sequence[Mapping[Hashable, Any]]) -> None:
        for x in dictionaries:
            check_dictionary(x)
        self.dictionaries = dictionaries

    def segment(self, start: int, stop: int, schema: StreamSchema) -> slice:
        end = start
        while end < stop and self.dictionaries[end].keys() <= schema.places.keys():
            end += 1
        return slice(start, max(end, start + 1))

    def take(self, rows: slice, schema: StreamSchema) -> Any:
        if rows.stop - rows.start == 1:
            return self.dictionaries[rows.start]
        return frame_of([schema.filled(x) for x in self.dictionaries[rows]], schema.places, schema.levels)


def _segment(schema: StreamSchema, rows: slice, samples: Any, labels: Any, is_learned: bool, predicts: bool) -> Segment:
    is_frame, known, change = isinstance(samples, pd.DataFrame), None, None
    if is_learned:
        change = schema.propose_frame(samples, labels) if is_frame else schema.propose(samples, labels)
    if predicts and change is not None and rows.stop - rows.start > 1:
        known = _without_new_levels(schema, change)
    elif predicts:
        known = schema.encode_frame(samples) if is_frame else schema.encode(samples)
    return Segment(rows, known, change)


def _without_new_levels(schema: StreamSchema, change: SchemaChange) -> SampleBatch:
    """Samples without each level that is new, where it comes first, as predictions see them."""
    features = change.batch.features.copy() if change.levels else change.batch.features
    for name in change.levels.keys() & change.places.keys():
        column = features[change.places[name]]
        codes, first = np.unique(column, return_index=True)
        column[first[codes >= len(schema.levels.get(name, ()))]] = np.nan
    return SampleBatch(features, change.batch.words)


# ---- What the estimators share ---------------------------------------------------------------------------------------


class SaveableStream(Saveable):
    """`save` and `load` for a model that holds a `StreamEstimator` as `_stream`, and perhaps other attributes."""

    _stream: StreamEstimator
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

    @property
    def known_names(self) -> dict[Hashable, bool]:
        """The names that were learned, and whether each is a category."""
        return self._stream.schema.names

    # The names in files are those that attributes had in version 1.0.

    def _learned(self) -> dict[str, Any]:
        schema = self._stream.schema
        learned = {file_name: getattr(schema, name) for file_name, name in FIELDS.items()}
        if self._stream.are_classes:
            learned |= {"_labels": list(schema.classes), "_last": schema.previous}
        return {**learned, "_learner": self._stream.learner, **super()._learned()}

    def _keep(self, name: str, value: Any) -> None:
        super()._keep(name, value)  # which checks the type
        if name in FIELDS:
            setattr(self._stream.schema, FIELDS[name], vars(self).pop(name))
        elif name == "_labels":
            self._stream.schema.classes = {label: number for number, label in enumerate(vars(self).pop(name))}
        elif name == "_last":
            self._stream.schema.previous = vars(self).pop(name)
        elif name == "_learner":
            self._stream.learner = vars(self).pop(name)


FIELDS = {  # of the schema, by their names in files
    "_places": "places",
    "_levels": "levels",
    "_words": "words",
    "_numbers": "word_count",
    "_occurrences": "occurrences",
    "_count": "sample_count",
}


def check_seed(seed: Any) -> None:
    """Raise ValueError for what is no seed."""
    if seed is not None and not (isinstance(seed, (int, np.integer)) and 0 <= seed < 1 << 32):
        raise ValueError(f"seed: expected None or an integer from 0 to 2^32 - 1, got {seed!r}")
