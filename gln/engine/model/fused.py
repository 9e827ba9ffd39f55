"""Samples of a stream in one compiled call, because a call takes as long as what it computes.

It is for networks of `gln_numba`, and does what `Featurizer`, `Ensemble` and `Hedge` do, which are its reference: one
ensemble of classes, or one of means and those of their quantiles.

Shapes: B samples, F features, C heads of the means, K heads of all ensembles, M networks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from gln.engine.batches import check_samples, features_and_words, no_words
from gln.engine.ensemble.ensemble import COLUMNS, Ensemble
from gln.engine.ensemble.hedge import Hedge
from gln.engine.jit import plain
from gln.engine.networks.head_sampling import log_sampling_rate

ONE, NOTHING, NO_COUNTS = np.ones(1), np.zeros(0), np.zeros((0, 0, 0), np.int32)
ALL = -1  # in place of the number of an ensemble


class TargetBatch(NamedTuple):
    """What is learned from samples."""

    targets: np.ndarray  # (C, B); with infinity a head neither predicts nor learns, with NaN it only predicts
    counted: np.ndarray | None  # (B,) or (T, B), for the statistics of categories, if there are any
    rates: list[np.ndarray]  # (M, B), for each ensemble
    step_sizes: np.ndarray | None  # (B,), how long a step each sample makes; None is 1, a whole step


def can_predict(learner: Any, samples: Any) -> bool:
    """Whether `predict` takes these samples, of any number."""
    means = learner.means
    return (
        means.mixes_linear
        and not issparse(samples)
        and type(means.combination) is Hedge
        and hasattr(means.members[0].network, "of_sample")
    )


def can_learn(learner: Any, samples: Any) -> bool:
    """Whether `learn` takes these samples: variances are learned from the deviations of combined means."""
    return learner.variances is None and can_predict(learner, samples)


def predict(
    learner: Any, samples: Any, ensemble: Ensemble | None = None
) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (C, B), (C or 1, B)
    """The combined predictions of the means, or of another ensemble, in its networks' units; and what `GateCounts.mean`
    returns for the means, if rows are counted."""
    featurizer, count = learner.featurizer, samples.shape[1]
    number = 0 if ensemble is None or ensemble is learner.means else 1 + learner.quantiles.index(ensemble)
    features, words = features_and_words(samples)
    if features is samples:
        check_samples(features, len(featurizer.numbers))  # compiled loops do not; samples with words have been checked
    columns = features if featurizer.encoding is None else featurizer.encoding.transform(features)
    fixed = prepare(learner)
    targets, rates = fixed.nothing if count == 1 else (array.repeat(count, axis=1) for array in fixed.nothing)
    features = plain(features)
    batch = plain(columns), features, words, targets, rates, ONE
    predicted, counted = np.empty((fixed.heads[number], count)), np.zeros((fixed.state.counts[0].shape[2], count))
    fixed.run(batch, predicted, counted, number, False, False, 0, fixed.state)
    return predicted, counted if learner.counts is None else counted / learner.counts.neurons


def learn(learner: Any, samples: Any, target_batch: TargetBatch) -> np.ndarray:  # (F, B) -> (K, B)
    """Predict and learn samples one after another.

    Returns the combined predictions of all ensembles in their networks' units.
    """
    featurizer, count = learner.featurizer, samples.shape[1]
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
    fixed, done = prepare(learner), 0
    predicted = np.empty((fixed.heads[ALL], count))
    options = ALL, True, counts
    before = []  # predictions of samples before room is made for them, which may change them
    while (done := fixed.run(batch, predicted, predicted, *options, done, fixed.state)) < count:
        before.append((done, _predicted_alone(batch, done, fixed)))
        featurizer.base_models.linear.make_room()
        fixed = prepare(learner)
    for row, of_row in before:
        predicted[:, row] = of_row
    for ensemble in learner.ensembles:
        for network in ensemble.networks:
            network.step += count
    return predicted


def _predicted_alone(batch: tuple[Any, ...], row: int, fixed: Fixed) -> np.ndarray:  # -> (K,)
    """The predictions of all ensembles for one of the samples."""
    columns, features, words, targets, rates, _ = batch
    place, predicted = slice(row, row + 1), np.empty((fixed.heads[ALL], 1))
    arrays = (np.ascontiguousarray(array[:, place]) for array in (columns, features))
    others = words.take(place), *(np.ascontiguousarray(array[:, place]) for array in (targets, rates)), ONE
    fixed.run((*arrays, *others), predicted, predicted, ALL, False, False, 0, fixed.state)
    return predicted[:, 0]


class Fixed(NamedTuple):
    """What stays the same from call to call."""

    gathered: list[Any]  # what the rest was made from
    heads: dict[int, int]  # how many, by the number of the ensemble, or ALL
    nothing: tuple[np.ndarray, np.ndarray]  # targets and rates of a sample that is only predicted
    run: Callable[..., int]  # `fused_step.run`, compiled for these types, which it does not check
    state: Any  # `fused_step.State`


def prepare(learner: Any) -> Fixed:
    """What stays the same for this learner, gathered anew only if something was replaced.

    It compiles, which may fail: before anything is learned, call it.
    """
    featurizer, ensembles = learner.featurizer, ensembles_of(learner)
    base_models, statistics = featurizer.base_models, featurizer.standardizer.loop_state[0]
    gathered = [statistics, featurizer.numbers]
    gathered += [base_models.linear.keys, base_models.least_squares, base_models.bin_means, learner.counts]
    for ensemble in ensembles:
        gathered += [ensemble.combination.losses, ensemble.combination.spread]
        gathered += [member.network.of_sample for member in ensemble.members]
    known = learner.fixed
    if known is None or len(known.gathered) != len(gathered) or not all(map(operator.is_, known.gathered, gathered)):
        learner.fixed = known = _gather(learner, ensembles, gathered)
    return known


def ensembles_of(learner: Any) -> list[Any]:
    """Those of the means and of quantiles."""
    return [learner.means, *learner.quantiles]


def _gather(learner: Any, ensembles: list[Any], gathered: list[Any]) -> Fixed:
    from numba import typeof

    from gln.engine.model import fused_step

    compiled: Any = fused_step

    featurizer, networks = learner.featurizer, [network for ensemble in ensembles for network in ensemble.networks]
    base_models, counts = featurizer.base_models, [NO_COUNTS] * len(networks)
    if learner.counts is not None:
        counts[: len(learner.counts.rows)] = learner.counts.rows
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
    return Fixed(gathered, heads, nothing, compiled.run.compile(tuple(map(typeof, arguments))), state)


def _state_of(ensemble: Ensemble, make: Callable[..., Any]) -> Any:
    hedge, target = ensemble.combination, -1 if ensemble.target is None else ensemble.target
    levels = np.array([] if ensemble.target is None else ensemble.config.quantiles, np.float64)
    spread = NOTHING if hedge.spread is None else hedge.spread
    return make(len(ensemble.networks), ensemble.heads, target, levels, hedge.losses, spread)
