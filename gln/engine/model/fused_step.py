"""A single sample of a stream in one compiled call, because a call takes as long as what it computes.

It is for networks of `gln_numba` and does what `Featurizer`, `Ensemble` and `Hedge` do for samples together.

Shapes: F features, D columns made from them, C heads, M networks with N neurons in all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from gln.engine.batches import Words, check_samples, features_and_words, no_words
from gln.engine.ensemble.ensemble import COLUMNS, Ensemble
from gln.engine.ensemble.hedge import Hedge
from gln.engine.jit import plain
from gln.engine.model.featurizers import StreamFeaturizer
from gln.engine.networks.head_sampling import log_sampling_rate
from gln.engine.preprocessing.scaling import Standardizer

ONE, NO_SPREAD = np.ones(1), np.zeros(0)


def is_single(featurizer: Any, ensemble: Ensemble, samples: Any) -> bool:
    """Whether these samples are one, that this reading and this group can take in one call."""
    return samples.shape[1] == 1 and in_one_call(featurizer, ensemble, samples)


def in_one_call(featurizer: Any, ensemble: Ensemble, samples: Any) -> bool:
    """Whether this reading and this group can predict these samples in one call."""
    return (
        isinstance(featurizer, StreamFeaturizer)
        and ensemble.mixes_linear
        and not issparse(samples)
        and isinstance(featurizer.standardizer, Standardizer)
        and type(ensemble.combination) is Hedge
        and ensemble.link in ("logit", "itself")
        and hasattr(ensemble.networks[0], "of_sample")
    )


def compile_step(featurizer: Any, ensemble: Ensemble) -> None:
    """Compile what `learn_single` calls, before anything is learned, because this may fail or be interrupted."""
    _fixed(featurizer, ensemble)


def predict_single(
    featurizer: Any, ensemble: Ensemble, samples: Any
) -> tuple[np.ndarray, np.ndarray]:  # (C, B), (B, N)
    """The combined predictions for a sample, or for several, in the networks' units, and the rows that each picks."""
    features, words = features_and_words(samples)
    if features is samples:
        check_samples(features, len(featurizer.numbers))  # compiled loops do not; samples with words have been checked
    columns = features if featurizer.encoding is None else featurizer.encoding.transform(features)
    fixed, count = _fixed(featurizer, ensemble), samples.shape[1]
    y, rates = fixed.nothing if count == 1 else (each.repeat(count, axis=1) for each in fixed.nothing)
    return _run(fixed.predicts, columns, features, words, y, rates, ONE, False)


def learn_single(
    featurizer: Any,
    ensemble: Ensemble,
    samples: Any,
    counted: np.ndarray | None,
    y: np.ndarray,
    rates: np.ndarray,
    step_sizes: np.ndarray | None,
) -> np.ndarray:  # (1, N)
    """Learn a sample, and return the rows that it picks; arguments as for `Featurizer.learn` and `Ensemble.learn`."""
    features, words = features_and_words(samples)
    columns = features
    if featurizer.encoding is not None:
        assert counted is not None
        columns = featurizer.encoding.learn(features, counted, step_sizes)
    counts = not featurizer.standardizer.is_warming_up
    if not counts:
        featurizer.standardizer.count_first(columns)
    fixed = with_room(featurizer, ensemble, len(features) + len(words.numbers))
    share = ONE if step_sizes is None else plain(step_sizes)
    _, picked = _run(fixed.learns, columns, features, words, y, rates, share, counts)
    for network in ensemble.networks:
        network.step += 1
    return picked


def _run(
    call: _Call, columns: Any, features: Any, words: Words, y: Any, rates: Any, share: np.ndarray, counts: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`step`. Arrays must be as it was compiled for, which it does not check."""
    y, rates = (np.ascontiguousarray(each, np.float32) for each in (y, rates))
    return call.step(plain(columns), plain(features), words, y, rates, share, counts, *call.arguments)


class _Call(NamedTuple):
    """Arguments of `step` that stay the same from sample to sample, and the step compiled for them."""

    step: Callable[..., tuple[np.ndarray, np.ndarray]]
    arguments: tuple[Any, ...]


def _call(arguments: tuple[Any, ...]) -> _Call:
    from numba import typeof

    from gln.engine.model.fused_loops import step

    one, other = np.zeros((1, 1)), np.zeros((1, 1), np.float32)
    of_sample = one, one, no_words(1), other, other, ONE, False
    # To find what was compiled for the types of so many arguments takes a third of a call, so it is done once.
    return _Call(step.compile((*map(typeof, (*of_sample, *arguments)),)), arguments)


class _Fixed(NamedTuple):
    """What stays the same from sample to sample."""

    parts: list[Any]  # what they were made from
    used: np.ndarray  # (1,), slots of linear models
    room: float  # most slots that may be used
    joined: int  # times that linear models have each feature
    nothing: tuple[np.ndarray, np.ndarray]  # targets and rates of samples that are only predicted
    predicts: _Call
    learns: _Call


def with_room(featurizer: Any, ensemble: Ensemble, count: int) -> _Fixed:
    """What stays the same, with enough slots for a sample of so many features and words."""
    fixed, base_models = _fixed(featurizer, ensemble), featurizer.base_models
    if base_models is not None and fixed.used[0] + (terms := fixed.joined * (1 + count)) > fixed.room:
        base_models.linear.make_room(terms)
        return _fixed(featurizer, ensemble)
    return fixed


def _fixed(featurizer: Any, ensemble: Ensemble) -> _Fixed:
    """What stays the same for this reading and this group, gathered anew only if a part was replaced."""
    base_models, mixture, networks = featurizer.base_models, ensemble.combination, ensemble.networks
    assert base_models is not None
    statistics, *options = featurizer.standardizer.loop_state
    of_sample: list[Any] = [network.of_sample for network in networks]  # type: ignore[attr-defined] # of gln_numba
    parts = [statistics, featurizer.numbers, base_models.linear.keys, base_models.least_squares, base_models.bin_means]
    parts += [mixture.losses, mixture.spread, *of_sample]
    known = ensemble.fixed
    if known is not None and len(known.parts) == len(parts) and all(map(operator.is_, known.parts, parts)):
        return known
    linear, heads, inputs = base_models.linear, ensemble.heads, np.array([network.base_size for network in networks])
    offset = log_sampling_rate(heads) if linear.are_classes else 0.0
    of_mixture = mixture.losses, NO_SPREAD if mixture.spread is None else mixture.spread, offset
    same = (
        statistics,
        *options,
        featurizer.numbers,
        *base_models.arguments,
        featurizer.columns_of(COLUMNS),
        inputs,
        *of_mixture,
    )
    planes, *both = zip(*of_sample, strict=True)
    calls = [_call((*same, planes, own, learns)) for own, learns in zip(both, (False, True), strict=True)]
    nothing = np.full((heads, 1), np.nan, np.float32), np.zeros((len(networks), 1), np.float32)
    room = len(linear.keys) / 2 if len(linear.keys) < linear.max_slots else np.inf
    joined = 1 + int((featurizer.numbers < 0).sum()) * (linear.models > 1)
    ensemble.fixed = _Fixed(parts, linear.table.used, room, joined, nothing, *calls)
    return ensemble.fixed
