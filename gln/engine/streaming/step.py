"""A sample of a stream is learned in one compiled call, and any number are predicted, because a call takes as long as
what it computes for one sample.

It is for networks of `gln_numba`, and does what `StreamModel` does without it by `StreamFeaturizer`, `Ensemble` and
`Combination`, which are its reference: one ensemble of classes, or those of means and variances.

Shapes: B samples, F features, C heads of the means, K predicted values, M networks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.engine.batches import SampleBatch, no_words
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.jit import plain
from gln.engine.model.targets import TargetBatch
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.streaming.featurizer import StreamFeaturizer

ONE = np.ones(1)
NOTHING = np.zeros(0)
NO_COUNTS = np.zeros((0, 0, 0), np.int32)
# Numba compiles the step for each number of ensembles and networks, which takes ten seconds: so there are always two,
# and three or six.
ENSEMBLES, NETWORKS = 2, 3
NO_LIMITS = np.zeros((2, 0, 0), bool)
NONE_SAID = ENSEMBLES * (np.zeros((0, 0, 0), np.float32),)


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
    values: list[int]  # how many none of the ensembles predicts, the first one, the first two, ...
    nothing: tuple[np.ndarray, np.ndarray]  # targets and rates of a sample that is only predicted
    run: Callable[..., bool]  # `compiled_step.run`, compiled for these types, which it does not check
    state: Any  # `compiled_step.State`

    @classmethod
    def of(
        cls, featurizer: StreamFeaturizer, ensembles: Sequence[Ensemble], counted: GateCounts | None
    ) -> CompiledStep:
        """The step, which this compiles; that may fail."""
        from numba import typeof

        from gln.engine.streaming import compiled_step

        compiled: Any = compiled_step
        networks: list[Any] = [network for ensemble in ensembles for network in ensemble.networks]
        size = -(-len(networks) // NETWORKS) * NETWORKS
        base_models = featurizer.base_models
        counts = [NO_COUNTS] * size
        if counted is not None:
            counts[: len(counted.rows)] = counted.rows
        states = _filled([_state_of(ensemble, compiled.EnsembleState) for ensemble in ensembles], ENSEMBLES)
        planes, arrays = zip(*_filled([network.of_sample for network in networks], size), strict=True)
        inputs = np.array([network.base_size for network in networks])
        features = *featurizer.standardizer.loop_state, featurizer.numbers, *base_models.arguments
        last = ensembles[-1]
        if last.shape is not None:
            last.shape = JohnsonSU(*map(np.array, last.shape))  # writeable
        shape = last.shape or JohnsonSU.normal(0)
        state = compiled.State(*features, states, shape, inputs, planes, arrays, tuple(counts))
        values = [0, *(ensemble.heads for ensemble in ensembles)]
        nothing = np.full((ensembles[0].heads, 1), np.nan, np.float32), np.zeros((len(networks), 1), np.float32)
        one = np.zeros((1, 1))
        batch = compiled.Batch(one, one, no_words(1), *nothing, ONE, NO_LIMITS, NONE_SAID)
        arguments = batch, one, one, 0, True, True, state
        # To find what was compiled for the types of so many arguments takes a third of a call, so it is done once.
        run = compiled.run.compile(tuple(map(typeof, arguments)))
        made_from = replaceable(featurizer, ensembles, counted)
        return cls(featurizer, ensembles, counted, made_from, np.cumsum(values).tolist(), nothing, run, state)

    def is_of(self, *sources: Any) -> bool:
        """Whether nothing of these was replaced since."""
        present = replaceable(*sources)
        return len(present) == len(self.made_from) and all(map(operator.is_, present, self.made_from))

    def predict(
        self,
        samples: SampleBatch,
        most: int,
        targets: np.ndarray | None = None,
        said: tuple[np.ndarray, ...] = NONE_SAID,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The combined predictions of the first so many ensembles in their networks' units, and what `GateCounts.mean`
        returns for the means, if rows are counted: (K, B), (C or 1, B).

        Heads with a target of infinity have none.
        """
        featurizer = self.featurizer
        features = samples.features
        count = len(samples)
        if len(features) != len(featurizer.numbers):  # compiled loops do not check
            raise ValueError(f"samples: expected {len(featurizer.numbers)} features, got {len(features)}")
        features = plain(features)
        columns = features if featurizer.encoding is None else plain(featurizer.encoding.transform(features))
        nothing, rates = self.nothing if count == 1 else (array.repeat(count, axis=1) for array in self.nothing)
        targets = nothing if targets is None else targets
        steps = ONE if count == 1 else np.ones(count)
        batch = columns, features, samples.words, targets, rates, steps, NO_LIMITS, said
        predicted = np.empty((self.values[most], count))
        counted = np.zeros((self.state.counts[0].shape[2], count))
        self.run(batch, predicted, counted, most, False, False, self.state)
        return predicted, counted if self.counts is None else counted / self.counts.neurons

    def ask(self, samples: SampleBatch) -> list[np.ndarray]:
        """What the models of each ensemble predict of samples, (M, C, B)."""
        shapes = [(ensemble.models, ensemble.heads, len(samples)) for ensemble in self.ensembles]
        said = [np.empty(shape, np.float32) for shape in shapes]
        self.predict(samples, len(said), said=_filled(said, ENSEMBLES))
        return said

    def learn(self, samples: SampleBatch, target_batch: TargetBatch) -> None:
        """Learn a single sample."""
        featurizer = self.featurizer
        features = samples.features
        step_sizes = ONE if target_batch.step_sizes is None else plain(target_batch.step_sizes)
        columns = features
        if featurizer.encoding is not None:
            assert target_batch.counted is not None
            columns = featurizer.encoding.learn(features, target_batch.counted, target_batch.step_sizes)
        counts = not featurizer.standardizer.is_warming_up
        if not counts:
            featurizer.standardizer.count_first(columns)
        rates = target_batch.rates[0] if len(target_batch.rates) == 1 else np.concatenate(target_batch.rates)
        numbers = (np.ascontiguousarray(array, np.float32) for array in (target_batch.targets, rates))
        said = NONE_SAID
        if target_batch.said is not None:
            said = _filled([np.ascontiguousarray(array, np.float32) for array in target_batch.said], ENSEMBLES)
        at_limits = NO_LIMITS if target_batch.at_limits is None else target_batch.at_limits
        batch = plain(columns), plain(features), samples.words, *numbers, step_sizes, at_limits, said
        step = self
        predicted = np.empty((self.values[-1], 1))
        while not step.run(batch, predicted, predicted, len(self.ensembles), True, counts, step.state):
            featurizer.base_models.linear = featurizer.base_models.linear.with_room()
            step = CompiledStep.of(featurizer, self.ensembles, self.counts)
        for ensemble in self.ensembles:
            for network in ensemble.networks:
                network.step += 1


def replaceable(featurizer: StreamFeaturizer, ensembles: Sequence[Ensemble], counts: GateCounts | None) -> list[object]:
    """What must be the same from call to call."""
    base_models = featurizer.base_models
    parts: list[Any] = [featurizer.standardizer.loop_state[0], featurizer.numbers, counts]
    parts += [base_models.linear, base_models.least_squares, base_models.bin_means]
    for ensemble in ensembles:
        parts += [ensemble.shape, ensemble.recent, ensemble.combination]
        networks: list[Any] = ensemble.networks
        parts += [network.of_sample for network in networks]
    return parts


def _filled(values: list[Any], size: int) -> tuple[Any, ...]:
    """So many values, of which the first one stands in for those that are missing."""
    return *values, *values[:1] * (size - len(values))


def _state_of(ensemble: Ensemble, make: Callable[..., Any]) -> Any:
    """What is learned of an ensemble beside its networks."""
    recent = NOTHING if ensemble.recent is None else ensemble.recent
    return make(len(ensemble.networks), ensemble.free, ensemble.neuron.loop_state, ensemble.offset, recent)
