"""A sample of a stream is learned in one compiled call, and any number are predicted, because a call takes as long as
what it computes for one sample.

It is for networks of `gln_numba`, and does what `StreamModel` does without it by `StreamFeaturizer`, `Ensemble` and
`Combination`, which are its reference: one ensemble of classes, or those of means and variances.

Shapes: B samples, F features, C heads of the means, K predicted values, M networks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from gln.engine.batches import SampleBatch, no_words
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.jit import plain
from gln.engine.model.targets import TargetBatch
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.streaming.featurizer import StreamFeaturizer

if TYPE_CHECKING:  # importing it imports Numba
    from gln.engine.streaming.compiled_step import EnsembleState, State

T = TypeVar("T")
ONE = np.ones(1)
NOTHING = np.zeros(0)
NO_COUNTS = np.zeros((0, 0, 0), np.int32)
# Numba compiles the step for each number of ensembles and networks, which takes ten seconds: so there are always two,
# and three or six.
ENSEMBLES, NETWORKS = 2, 3
NO_LIMITS = np.zeros((2, 0, 0), bool)
_OF_SAMPLE = operator.attrgetter("of_sample")  # of a network of `gln_numba`: what its compiled loops take
NO_EARLIER = ENSEMBLES * (np.zeros((0, 0, 0), np.float32),)


def is_possible(means: Ensemble, samples: SampleBatch) -> bool:
    """Whether these samples, of any number, can be predicted in a compiled call."""
    is_dense = type(samples.features) is np.ndarray
    is_numba = type(means.members[0].network).__module__ == "gln_numba"  # no copy or subclass, which may do otherwise
    return is_dense and is_numba


class CompiledStep(NamedTuple):
    """What stays the same from call to call."""

    featurizer: StreamFeaturizer
    ensembles: Sequence[Ensemble]  # of the means, and of variances
    counts: GateCounts | None
    made_from: list[object]
    nothing: tuple[np.ndarray, np.ndarray]  # targets and rates of a sample that is only predicted: (C, 1), (M, 1)
    run: Callable[..., bool]  # `compiled_step.run`, compiled for these types, which it does not check
    state: State

    @classmethod
    def of(cls, featurizer: StreamFeaturizer, ensembles: Sequence[Ensemble], counts: GateCounts | None) -> CompiledStep:
        """The step, which this compiles; that may fail."""
        from numba import typeof

        from gln.engine.streaming import compiled_step

        state = state_of(featurizer, ensembles, counts)
        networks = sum(len(ensemble.members) for ensemble in ensembles)
        nothing = np.full((ensembles[0].heads, 1), np.nan, np.float32), np.zeros((networks, 1), np.float32)
        one = np.zeros((1, 1))
        batch = compiled_step.Batch(one, one, no_words(1), *nothing, ONE, NO_LIMITS, NO_EARLIER)
        run: Any = compiled_step.run
        # To find what was compiled for the types of so many arguments takes a third of a call, so it is done once.
        run = run.compile(tuple(map(typeof, (batch, one, one, True, True, state))))
        made_from = replaceable(featurizer, ensembles, counts)
        return cls(featurizer, ensembles, counts, made_from, nothing, run, state)

    def is_of(self, featurizer: StreamFeaturizer, ensembles: Sequence[Ensemble], counts: GateCounts | None) -> bool:
        """Whether nothing of these was replaced since."""
        present = replaceable(featurizer, ensembles, counts)
        return len(present) == len(self.made_from) and all(map(operator.is_, present, self.made_from))

    def predict(
        self,
        samples: SampleBatch,
        most: int,
        targets: np.ndarray | None = None,  # (C, B)
        earlier: tuple[np.ndarray, ...] = NO_EARLIER,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The combined predictions of the first so many ensembles in their networks' units, and what `GateCounts.mean`
        returns for the means, if rows are counted: (K, B), (C or 1, B).

        Heads with a target of infinity have none.
        """
        encoding = self.featurizer.encoding
        features = samples.features
        size = len(self.featurizer.numbers)
        count = len(samples)
        if len(features) != size:  # compiled loops do not check
            raise ValueError(f"samples: expected {size} features, got {len(features)}")
        features = plain(features)
        columns = features if encoding is None else plain(encoding.transform(features))
        nothing, rates = self.nothing if count == 1 else (array.repeat(count, axis=1) for array in self.nothing)
        targets = nothing if targets is None else targets
        step_sizes = ONE if count == 1 else np.ones(count)
        predicted = np.empty((most * len(targets), count))
        counted = np.zeros((self.state.counts[0].shape[2], count))
        batch = columns, features, samples.words, targets, rates, step_sizes, NO_LIMITS, earlier
        self.run(batch, predicted, counted, False, False, self.state)
        return predicted, counted if self.counts is None else counted / self.counts.neurons

    def model_predictions(self, samples: SampleBatch) -> list[np.ndarray]:
        """What the models of each ensemble predict of samples, (M, C, B)."""
        shapes = [(ensemble.models, ensemble.heads, len(samples)) for ensemble in self.ensembles]
        earlier = [np.empty(shape, np.float32) for shape in shapes]
        self.predict(samples, len(earlier), earlier=_filled(earlier, ENSEMBLES))
        return earlier

    def learn(self, samples: SampleBatch, learned: TargetBatch) -> None:
        """Learn a single sample."""
        featurizer = self.featurizer
        columns = samples.features
        if featurizer.encoding is not None:
            assert learned.counted is not None
            columns = featurizer.encoding.learn(columns, learned.counted, learned.step_sizes)
        counts = not featurizer.standardizer.is_warming_up
        if not counts:
            featurizer.standardizer.count_first(columns)
        batch = (plain(columns), plain(samples.features), samples.words, *_arrays_of(learned))
        predicted = np.empty((len(self.ensembles) * len(learned.targets), 1))
        step = self
        while not step.run(batch, predicted, predicted, True, counts, step.state):
            featurizer.base_models.linear = featurizer.base_models.linear.with_room()
            step = CompiledStep.of(featurizer, self.ensembles, self.counts)
        for ensemble in self.ensembles:
            for member in ensemble.members:
                member.network.step += 1


def replaceable(featurizer: StreamFeaturizer, ensembles: Sequence[Ensemble], counts: GateCounts | None) -> list[object]:
    """What must be the same from call to call."""
    base_models = featurizer.base_models
    parts: list[object] = [featurizer.standardizer.loop_state[0], featurizer.numbers, counts]
    parts += [base_models.linear, base_models.least_squares, base_models.bin_means]
    for ensemble in ensembles:
        parts += [ensemble.shape, ensemble.recent, ensemble.combination]
        parts += map(_OF_SAMPLE, ensemble.networks)
    return parts


def state_of(featurizer: StreamFeaturizer, ensembles: Sequence[Ensemble], counts: GateCounts | None) -> State:
    """The arrays of a model, which the compiled step changes."""
    from gln.engine.streaming.compiled_step import FeatureState, State

    networks = [network for ensemble in ensembles for network in ensemble.networks]
    size = -(-len(networks) // NETWORKS) * NETWORKS
    features = *featurizer.standardizer.loop_state, featurizer.numbers, *featurizer.base_models.arguments
    last = ensembles[-1]
    if last.shape is not None:
        last.shape = JohnsonSU(*map(np.array, last.shape))  # writeable
    planes, layers = zip(*_filled([*map(_OF_SAMPLE, networks)], size), strict=True)
    rows = [] if counts is None else counts.rows
    return State(
        FeatureState(*features),
        _filled([*map(_state_of, ensembles)], ENSEMBLES),
        last.shape or JohnsonSU.normal(0),
        np.array([network.base_size for network in networks]),
        planes,
        layers,
        (*rows, *[NO_COUNTS] * (size - len(rows))),
    )


def _state_of(ensemble: Ensemble) -> EnsembleState:
    """What is learned of an ensemble beside its networks."""
    from gln.engine.streaming.compiled_step import EnsembleState

    recent = NOTHING if ensemble.recent is None else ensemble.recent
    return EnsembleState(len(ensemble.members), ensemble.free, ensemble.neuron.loop_state, ensemble.offset, recent)


def _arrays_of(learned: TargetBatch) -> tuple[np.ndarray | tuple[np.ndarray, ...], ...]:
    """Targets, rates, step sizes, limits and earlier predictions of a sample, as the compiled step takes them."""
    targets = np.ascontiguousarray(learned.targets, np.float32)
    rates = np.ascontiguousarray(np.concatenate(learned.rates), np.float32)
    step_sizes = ONE if learned.step_sizes is None else plain(learned.step_sizes)
    at_limits = NO_LIMITS if learned.at_limits is None else learned.at_limits
    earlier = NO_EARLIER
    if learned.earlier is not None:
        earlier = _filled([np.ascontiguousarray(array, np.float32) for array in learned.earlier], ENSEMBLES)
    return targets, rates, step_sizes, at_limits, earlier


def _filled(values: list[T], size: int) -> tuple[T, ...]:
    """So many values, of which the first one stands in for those that are missing."""
    return *values, *values[:1] * (size - len(values))
