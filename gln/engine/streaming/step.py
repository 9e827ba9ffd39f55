"""Samples of a stream in one compiled call, because a call takes as long as what it computes.

It is for networks of `gln_numba`, and does what `StreamModel` does without it by `StreamFeaturizer`, `Ensemble` and
`Hedge`, which are its reference: one ensemble of classes, or one of means and those of their quantiles.

Shapes: B samples, F features, C heads of the means, K heads of all ensembles, M networks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import Samples, check_samples, features_and_words, no_words
from gln.engine.ensemble.ensemble import COLUMNS, Ensemble
from gln.engine.jit import plain
from gln.engine.model.targets import TargetBatch
from gln.engine.networks.head_sampling import log_sampling_rate

if TYPE_CHECKING:
    from gln.engine.streaming.model import StreamModel

ONE, NOTHING, NO_COUNTS = np.ones(1), np.zeros(0), np.zeros((0, 0, 0), np.int32)
ALL = -1  # in place of the number of an ensemble


def can_predict(model: StreamModel, samples: Samples) -> bool:
    """Whether `predict` takes these samples, of any number."""
    means = model.means
    return means.mixes_linear and hasattr(means.members[0].network, "of_sample") and not issparse(samples)


def can_learn(model: StreamModel, samples: Samples) -> bool:
    """Whether `learn` takes these samples: variances are learned from the deviations of combined means."""
    return model.variances is None and can_predict(model, samples)


def predict(
    model: StreamModel, samples: Samples, ensemble: Ensemble
) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (C, B), (C or 1, B)
    """The combined predictions of the means, or of another ensemble, in its networks' units; and what `GateCounts.mean`
    returns for the means, if rows are counted."""
    featurizer, count = model.featurizer, samples.shape[1]
    number = 0 if ensemble is model.means else 1 + model.quantiles.index(ensemble)
    features, words = features_and_words(samples)
    if features is samples:
        check_samples(features, len(featurizer.numbers))  # compiled loops do not; samples with words have been checked
    columns = features if featurizer.encoding is None else featurizer.encoding.transform(features)
    known = prepare(model)
    targets, rates = known.nothing if count == 1 else (array.repeat(count, axis=1) for array in known.nothing)
    features = plain(features)
    batch = plain(columns), features, words, targets, rates, ONE
    predicted, counted = np.empty((known.heads[number], count)), np.zeros((known.state.counts[0].shape[2], count))
    known.run(batch, predicted, counted, number, False, False, 0, known.state)
    return predicted, counted if model.counts is None else counted / model.counts.neurons


def learn(model: StreamModel, samples: Samples, target_batch: TargetBatch) -> np.ndarray:  # (F, B) -> (K, B)
    """Predict and learn samples one after another.

    Returns the combined predictions of all ensembles in their networks' units.
    """
    featurizer, count = model.featurizer, samples.shape[1]
    features, words = features_and_words(samples)
    columns, step_sizes = features, ONE if count == 1 else np.ones(count)
    if target_batch.step_sizes is not None:
        step_sizes = plain(target_batch.step_sizes)
    if featurizer.encoding is not None:
        assert target_batch.counted is not None
        columns = featurizer.encoding.learn(features, target_batch.counted, target_batch.step_sizes)
    counts = not featurizer.standardizer.is_warming_up
    if not counts:
        featurizer.standardizer.count_first(columns)
    features = plain(features)
    rates = target_batch.rates[0] if len(target_batch.rates) == 1 else np.concatenate(target_batch.rates)
    numbers = (np.ascontiguousarray(array, np.float32) for array in (target_batch.targets, rates))
    batch = plain(columns), features, words, *numbers, step_sizes
    known, done = prepare(model), 0
    predicted = np.empty((known.heads[ALL], count))
    options = ALL, True, counts
    before = []  # predictions of samples before room is made for them, which may change them
    while (done := known.run(batch, predicted, predicted, *options, done, known.state)) < count:
        before.append((done, _predicted_alone(batch, done, known)))
        known_base_models(model).linear.make_room()
        known = prepare(model)
    for row, of_row in before:
        predicted[:, row] = of_row
    for ensemble in model.ensembles:
        for network in ensemble.networks:
            network.step += count
    return predicted


def _predicted_alone(batch: tuple[Any, ...], row: int, known: CompiledStep) -> np.ndarray:  # -> (K,)
    """The predictions of all ensembles for one of the samples."""
    columns, features, words, targets, rates, _ = batch
    place, predicted = slice(row, row + 1), np.empty((known.heads[ALL], 1))
    arrays = (np.ascontiguousarray(array[:, place]) for array in (columns, features))
    others = words.take(place), *(np.ascontiguousarray(array[:, place]) for array in (targets, rates)), ONE
    known.run((*arrays, *others), predicted, predicted, ALL, False, False, 0, known.state)
    return predicted[:, 0]


class CompiledStep(NamedTuple):
    """What stays the same from call to call."""

    made_from: list[object]  # what the rest was made from
    heads: dict[int, int]  # how many, by the number of the ensemble, or ALL
    nothing: tuple[np.ndarray, np.ndarray]  # targets and rates of a sample that is only predicted
    run: Callable[..., int]  # `compiled_step.run`, compiled for these types, which it does not check
    state: Any  # `compiled_step.State`


def prepare(model: StreamModel) -> CompiledStep:
    """What stays the same for this model, made_from anew only if something was replaced.

    It compiles, which may fail: before anything is learned, call it.
    """
    featurizer, ensembles = model.featurizer, _ensembles(model)
    base_models, statistics = known_base_models(model), featurizer.standardizer.loop_state[0]
    made_from: list[object] = [statistics, featurizer.numbers]
    made_from += [base_models.linear.keys, base_models.least_squares, base_models.bin_means, model.counts]
    for ensemble in ensembles:
        made_from += [ensemble.combination.losses, ensemble.combination.spread]
        made_from += [member.network.of_sample for member in ensemble.members]
    known = model.compiled
    if (
        known is None
        or len(known.made_from) != len(made_from)
        or not all(map(operator.is_, known.made_from, made_from))
    ):
        model.compiled = known = _step_of(model, ensembles, made_from)
    return known


def known_base_models(model: StreamModel) -> OnlineBaseModels:
    assert model.featurizer.base_models is not None
    return model.featurizer.base_models


def _ensembles(model: StreamModel) -> list[Ensemble]:
    """Those of the means and of quantiles."""
    return [model.means, *model.quantiles]


def _step_of(model: StreamModel, ensembles: Sequence[Ensemble], made_from: list[object]) -> CompiledStep:
    from numba import typeof

    from gln.engine.streaming import compiled_step

    compiled: Any = compiled_step
    featurizer, networks = model.featurizer, [network for ensemble in ensembles for network in ensemble.networks]
    base_models, counts = known_base_models(model), [NO_COUNTS] * len(networks)
    if model.counts is not None:
        counts[: len(model.counts.rows)] = model.counts.rows
    of_ensembles = tuple(_state_of(ensemble, compiled.EnsembleState) for ensemble in ensembles)
    planes, predicting, learning = zip(*(network.of_sample for network in networks), strict=True)
    columns = featurizer.columns_of(COLUMNS)
    offset = log_sampling_rate(ensembles[0].heads) if base_models.linear.are_classes else 0.0
    inputs = np.array([network.base_size for network in networks])
    of_features = *featurizer.standardizer.loop_state, featurizer.numbers, *base_models.arguments, columns
    state = compiled.State(*of_features, offset, of_ensembles, inputs, planes, predicting, learning, tuple(counts))
    heads = {number: ensemble.heads for number, ensemble in enumerate(ensembles)}
    heads[ALL] = sum(heads.values())
    nothing = np.full((ensembles[0].heads, 1), np.nan, np.float32), np.zeros((len(networks), 1), np.float32)
    one = np.zeros((1, 1))
    batch = compiled.Batch(one, one, no_words(1), *nothing, ONE)
    arguments = batch, one, one, 0, True, True, 0, state
    # To find what was compiled for the types of so many arguments takes a third of a call, so it is done once.
    return CompiledStep(made_from, heads, nothing, compiled.run.compile(tuple(map(typeof, arguments))), state)


def _state_of(ensemble: Ensemble, make: Callable[..., Any]) -> Any:
    hedge, target = ensemble.combination, -1 if ensemble.target is None else ensemble.target
    levels = np.array([] if ensemble.target is None else ensemble.config.quantiles, np.float64)
    spread = NOTHING if hedge.spread is None else hedge.spread
    return make(len(ensemble.networks), ensemble.heads, target, levels, hedge.losses, spread)
