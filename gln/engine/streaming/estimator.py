"""`StreamEstimator`: a schema and a learner of a stream of named features, as River's estimators and bandits hold one.

Samples are encoded against the schema and proposed as changes; what may be wrong with them is checked. Then each is
predicted, learned and committed. So an error changes nothing, also in the middle of a frame, and an interrupt comes
between two samples.

Shapes: B samples, C heads, F features, K predicted values, N rows.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Hashable, Sequence, Set
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gln.engine.batches import SampleBatch
from gln.engine.interrupts import uninterrupted
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.saveable import Saveable
from gln.engine.model.targets import sum_to_one
from gln.engine.networks.protocol import Rate
from gln.engine.protocols import Model
from gln.engine.saving import Kind, Part, bad, saved
from gln.engine.streaming.schema import CONSTANT, Labels, SchemaChange, StreamSchema
from gln.engine.streaming.values import NO_COLUMNS, NamedRows, Rows, Sample, named_rows
from gln.engine.streaming.waiting import Waiting

NO_ROWS = NamedRows(NO_COLUMNS)
ONCE = np.ones(1)  # the weight of most samples that come alone


class Segment(NamedTuple):
    """Samples that follow one another and take one call."""

    rows: slice
    batch: SampleBatch | None  # as predictions see them; None if this is as they are learned
    change: SchemaChange | None  # None if they are only predicted


def is_model(value: object) -> bool:
    return value is None or isinstance(value, Model)


@saved(schema=StreamSchema, learner=is_model, waiting=Waiting)
class StreamEstimator(Part):
    """Learns a stream of named features and words."""

    def __init__(
        self,
        # Makes a `Model` from a featurizer, a number of heads, and whether the stream begins with categories or words.
        build: Callable[[Featurizer, int, bool], Model],
        schema: StreamSchema,
        learning_rate: Rate | None = None,  # of new learners
        are_classes: bool = False,  # whether targets are labels, instead of numbers
        waiting: int = 0,  # of so many samples, what models predicted is kept until they are learned
    ) -> None:
        self.build = build
        self.schema = schema
        self.learning_rate = learning_rate
        self.are_classes = are_classes
        self.waiting: Waiting[np.ndarray] = Waiting(waiting)  # (M, C, 1), what models predicted of each
        self.learner: Any = None  # a `Model` from the first feature on

    # ---- Learning ----------------------------------------------------------------------------------------------------

    @uninterrupted
    def learn(
        self,
        change: SchemaChange,
        targets: np.ndarray,  # (C, B)
        weights: np.ndarray,  # (B,)
        predicts: bool = False,
        earlier: np.ndarray | None = None,  # (M, C, B), see `model_predictions`
    ) -> list[np.ndarray]:  # several of (K, n)
        """Learn samples, and commit the change that was proposed for them. If this `predicts`, predict each before."""
        predicted: list[np.ndarray] = []
        if change.indices:
            learner = self._learner_for(change, targets)
            step_sizes = step_sizes_of(weights)
            predicted = learner.progressive(change.batch, targets, step_sizes, change.categorical, predicts, earlier)
            self.learner = learner
        self.schema.commit(change)
        return predicted

    def plan(self, samples: Rows, y: Labels = (), learns: np.ndarray | None = None) -> list[Segment]:
        """Samples, checked, to learn, with labels if targets are classes; or to predict and learn if it `learns`."""
        if learns is None and isinstance(samples, list) and len(samples) == 1:  # fast
            segments = [Segment(slice(0, 1), None, self.schema.propose(samples[0], y if self.are_classes else None))]
        else:
            predicts = learns is not None
            learns = np.ones(len(samples), bool) if learns is None else learns
            segments = self._plan(self.schema.rows(samples), y, learns, predicts)
        self._check_rates(segments)
        return segments

    def model_predictions(self, samples: Rows) -> np.ndarray | None:  # -> (M, C, N)
        """What all models predict, for who learns these samples later; None if there is nothing to combine."""
        return None if self.learner is None else self.learner.model_predictions(self.schema.encode_rows(samples))

    def predict(self, samples: Rows, ensembles: int = 1) -> np.ndarray | None:  # -> (K, B)
        """`outputs` of the first so many ensembles, or None before the first sample; if samples may wait for their
        labels, what models predict is kept."""
        batch = self.schema.encode(samples[0]) if isinstance(samples, list) else self.schema.encode_rows(samples)
        if self.learner is None:
            return None
        return self._outputs(batch, samples, ensembles)

    def _outputs(self, batch: SampleBatch, samples: Rows, ensembles: int = 2) -> np.ndarray:  # -> (K, B)
        """As `predict`, of samples that are encoded."""
        if not self.waiting.most:
            return self.learner.outputs(batch, ensembles)
        outputs, earlier = self.learner.predict_with_models(batch)
        if earlier is not None:
            for b, x in enumerate(named_rows(samples).records()):
                kept = np.ascontiguousarray(earlier[..., b : b + 1], np.float64)  # targets may be far from 0
                self.waiting.put(x, kept)
        return outputs

    def predict_with_models(self, samples: Rows, initial: Sequence[float]) -> tuple[np.ndarray, np.ndarray | None]:
        """What `progressive` returns of samples that it does not learn, (N, K), and what `model_predictions` does."""
        batch = self.schema.encode_rows(samples)
        if self.learner is None:
            return np.tile(initial, (len(batch), 1)), None
        outputs, earlier = self.learner.predict_with_models(batch)
        return (sum_to_one(outputs) if self.are_classes else outputs).T, earlier

    def earlier_predictions(self, samples: Rows, late: bool = False) -> np.ndarray | None:  # -> (M, C, N)
        """What models predicted of samples that are learned now; NaN or None: they predict just before.

        If samples are `late`, those that did not wait are predicted now, before any is learned.
        """
        now = self.model_predictions(samples) if late else None
        if not self.waiting.predictions:
            return now
        kept = [self.waiting.take(x) for x in named_rows(samples).records()]
        if all(row is None for row in kept):
            return now
        rows = [np.full((1, 1, 1), np.nan) if row is None else row for row in kept]
        before = np.concatenate([self.learner.sized_for_today(row) for row in rows], axis=2)
        return before if now is None else np.where(np.isnan(before), now, before)

    def learn_segments(
        self,
        segments: Sequence[Segment],
        y: Labels,
        weights: np.ndarray,
        initial: Sequence[float] | None = None,
        earlier: np.ndarray | None = None,  # (M, C, N)
        samples: NamedRows = NO_ROWS,  # N
    ) -> list[np.ndarray]:  # -> several of (K, n)
        """Learn what was planned, with labels or numbers (N,), or of several heads (N, C). With `initial`, which is
        predicted before the first feature, (K,), predict each of these samples before."""
        predicted = []
        for rows, batch, change in segments:
            if batch is not None and self.learner is None:
                predicted.append(np.repeat(np.array(initial)[:, None], len(batch), axis=1))
            elif batch is not None:
                is_learned = change is not None
                predicted.append(self.learner.outputs(batch) if is_learned else self._outputs(batch, samples.of(rows)))
            if change is not None:
                targets = np.atleast_2d(np.asarray(y[rows]).T) if change.targets is None else change.targets
                row_weights = weights if weights is ONCE else weights[rows]
                row_earlier = None if earlier is None else earlier[..., rows]
                predicts = batch is None and initial is not None
                predicted += self.learn(change, targets, row_weights, predicts, row_earlier)
        return predicted

    def progressive(
        self, samples: Rows, y: Labels, weights: np.ndarray, learns: np.ndarray, initial: Sequence[float]
    ) -> np.ndarray:  # -> (N, K)
        """Predict each sample, and then learn it if it `learns`, as many as possible in one call. If there is an error,
        none is learned.

        Returns 0 for values that only later samples have.
        """
        segments = self.plan(samples, y, learns)
        predicted = self.learn_segments(segments, y, weights, initial, samples=named_rows(samples))
        predicted = [sum_to_one(p) for p in predicted] if self.are_classes else predicted
        most = max(map(len, predicted), default=0)
        padded = [np.pad(values.T, [(0, 0), (0, most - len(values))]) for values in predicted]
        return np.concatenate([np.zeros((0, most)), *padded])

    # ---- Checks, before the first sample is learned ------------------------------------------------------------------

    def _plan(self, samples: NamedRows, y: Labels, learns: np.ndarray, predicts: bool = True) -> list[Segment]:
        """Samples as segments, proposed one after another; where there are several, on a copy of the schema.

        Raises ValueError if one of them cannot be learned.
        """
        schema = self.schema
        segments = list[Segment]()
        start = 0
        ends = [*(np.flatnonzero(np.diff(learns)) + 1).tolist(), len(learns)]  # of rows that all learn, or none
        while start < len(learns):
            stop = ends[bisect.bisect(ends, start)]
            change = None
            brings_features = False
            if learns[start]:
                count = schema.rows_per_call(samples, slice(start, stop))
                brings_features = count == 0
                stop = min(stop, start + max(1, count))
            rows = slice(start, stop)
            segment = samples.of(rows)
            if learns[start]:
                change = schema.propose_rows(segment, y[rows] if self.are_classes else None)
            sees_less = change is None or (predicts and brings_features)
            segments.append(Segment(rows, schema.encode_rows(segment) if sees_less else None, change))
            if change is not None and stop < len(learns):
                schema = schema.copy() if schema is self.schema else schema
                schema.commit(change)
            start = stop
        return segments

    def _check_rates(self, segments: list[Segment]) -> None:
        """Evaluate a learning rate that is a callable for all steps to come. Raises ValueError for what is no rate."""
        rate = self.learning_rate if self.learner is None else self.learner.learning_rate
        changes = [change for _, _, change in segments if change is not None and change.indices]
        if callable(rate) and changes:
            learner = self.learner or self._learner_for(changes[0], np.zeros((1, 1)))
            learner.check_rates(sum(len(change.batch) for change in changes))

    # ---- Learners ----------------------------------------------------------------------------------------------------

    def _learner_for(self, change: SchemaChange, targets: np.ndarray) -> Any:
        """The learner of these samples: the known one, unless they bring the first features."""
        known = self.learner
        indices = self.schema.indices
        has_features = not indices.keys() <= {CONSTANT, *self.schema.always}
        if known is not None and (change.indices is indices or has_features):
            return known
        fresh = self.new_learner(change.batch, change.categorical, targets)
        return fresh if known is None else known.with_first_features(fresh)

    def new_learner(self, samples: SampleBatch, categorical: Set[int], targets: np.ndarray) -> Any:  # (C, B)
        """A learner of a stream that begins with these samples."""
        featurizer = Featurizer.of_first(samples, categorical, 1 + self.are_classes, self.are_classes)
        heads = max(2, len(self.schema.classes)) if self.are_classes else len(targets)
        has_names = bool(categorical) or len(samples.words.codes) > 0
        learner = self.build(featurizer, heads, has_names)
        learner.learning_rate = self.learning_rate
        return learner

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together."""
        schema = self.schema
        learner = self.learner
        schema.check()
        self.waiting.check(learner)
        if learner is None:
            return
        learner.set_learning_rate(self.learning_rate)
        learner.check()
        expected = len(schema.indices), schema.categorical, max(2, len(schema.classes)) * self.are_classes
        came = learner.sizes(schema.categorical)
        if came != expected:
            raise bad("learner", f"the features, categories and classes {expected}", came)

    # ---- Explaining --------------------------------------------------------------------------------------------------

    def explain(self, x: Sample) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
        """Names of features, and of words that the sample has; their contributions, (C, n), and constants, (C,)."""
        schema = self.schema
        x = self.schema.without_dates(x)
        sample = schema.encode(x)
        contributions, constants = self.learner.explain(sample)
        values = contributions[:, 0].T
        by_name = dict(zip(schema.indices, values, strict=False))
        by_word = dict(zip(np.unique(sample.words.numbers).tolist(), values[len(by_name) :], strict=False))
        nothing = np.zeros(len(constants))  # of words whose level is unknown
        by_name |= {name: by_word.get(schema.words[name], nothing) for name in x if name in schema.words}
        constant = constants[:, 0] + by_name.pop(CONSTANT, 0.0)
        by_name = schema.with_dates(by_name)
        return [*by_name], np.array([*by_name.values()]).reshape(-1, len(constants)).T, constant


def step_sizes_of(weights: np.ndarray) -> np.ndarray | None:  # (B,)
    return None if weights is ONCE or (weights == 1).all() else weights


# ---- What the estimators share ---------------------------------------------------------------------------------------


class SaveableStream(Saveable):
    """`save` and `load` for a model that holds what learned as `_stream`, and perhaps other attributes."""

    _stream: Any
    kept: ClassVar[dict[str, Kind]] = {"_stream": StreamEstimator}

    @property
    def known_names(self) -> dict[Hashable, bool]:
        """The names that were learned, and whether each is a category."""
        return self._stream.schema.names

    def unknown_one(self, x: Sample) -> dict[str, list[Hashable]]:
        """What of a sample the model does not know: "names" that it never learned, names of categories with "levels"
        that it never learned, and names of features that are "missing" in the sample."""
        return self._stream.schema.unknown(x)

    def _check_loaded(self) -> None:
        self._stream.check()


def check_seed(seed: object) -> None:
    """Raise ValueError for what is no seed."""
    if seed is not None and not (isinstance(seed, (int, np.integer)) and 0 <= seed < 1 << 32):
        raise ValueError(f"seed: expected None or an integer from 0 to 2^32 - 1, got {seed!r}")
