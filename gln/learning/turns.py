"""Samples of a stream that are predicted and then learned in turn, in one compiled call where that is possible.

The numbers are those of predicting and learning each sample alone, to the last bit.

Shapes: B samples, F features, D columns made from them, C heads, K values that are predicted of a sample, N rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from gln.learning import single
from gln.learning.compiled import compiled, plain
from gln.learning.learner import Learner
from gln.learning.levels import Levels
from gln.learning.samples import WithWords, no_words

__all__ = ["frame_of", "in_turns", "joined", "parts_of", "predictions_of", "runs", "singles"]

step: Any = None  # `gln.learning.single._step`, once it is needed
NO_WORDS = no_words(1)


def runs(flags: np.ndarray) -> list[slice]:  # (N,)
    """Rows that follow one another with equal flags."""
    ends = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    return [slice(*pair) for pair in itertools.pairwise(ends) if pair[0] < pair[1]]


def predictions_of(learner: Any, samples: Any) -> np.ndarray:  # (F, B) -> (K, B)
    """The predictions of the first group, then quantiles in ascending order, then standard deviations."""
    rows = [learner.predict(samples)]
    for number, group in enumerate(learner.groups[1:], 1):
        is_variance = group.link == "log"
        rows.append(learner.moments(samples)[1] if is_variance else np.sort(learner.predict(samples, number), axis=0))
    return np.concatenate(rows)


def in_turns(
    learner: Any,  # a Learner, or OwnClasses
    known: WithWords,
    samples: WithWords,
    targets: np.ndarray,
    shares: np.ndarray | None,
    categorical: Set[int],
) -> list[np.ndarray]:
    """Predict each sample as `known`, and then learn it.

    Args:
        known: (F, B), the samples without the levels that were unknown before each.
        samples: (F, B), of known features; with words, each takes a call.
        targets, shares, categorical: as for `Learner.learn`.

    Returns a list of `predictions_of` samples that follow one another, (K, n), which may have more values as classes
    are added.
    """
    predicted: list[np.ndarray] = []
    for part in parts_of(learner, samples, targets):
        first = part.start
        while first < part.stop:
            rest = slice(first, part.stop)
            # The first sample of a part brings something new, to which the learner adapts when it comes alone.
            alone = first == part.start or not isinstance(learner, Learner)
            said = None if alone else _learn_together(learner, known, samples, targets, shares, rest)
            if said is None:
                one = slice(first, first + 1)
                said = predictions_of(learner, known[:, one])
                own = None if shares is None or shares[first] == 1 else shares[one]  # as it would come alone
                learner.learn(samples[:, one], targets[..., one], own, categorical=categorical, predicts=False)
            predicted.append(said)
            first += said.shape[1]
    return predicted


def parts_of(learner: Any, samples: WithWords, targets: Any) -> list[slice]:
    """Parts of these samples of which only the first brings a new class, or a level that becomes a column.

    Raises ValueError for targets that cannot be learned, because an error in a later part would come too late.
    """
    count, (group, *_) = samples.shape[1], learner.groups
    if count == 1 or not isinstance(learner, Learner):
        return [slice(0, count)]
    learner.targets.check(targets, count, group.heads)
    starts = {part.start for part in learner.targets.parts(targets, count, group)}
    if learner.reading.categories is not None:
        starts.update(learner.reading.categories.starts(samples.features))
    ends = [*sorted(starts | {0}), count]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def singles(count: int) -> list[slice]:
    return [slice(place, place + 1) for place in range(count)]


def joined(predicted: Sequence[np.ndarray]) -> np.ndarray:  # N of (K, n) -> (sum of n, largest K)
    """Predictions, of which later ones may have more values, with 0 for what earlier ones lack."""
    rows = np.zeros((sum(each.shape[1] for each in predicted), max((len(each) for each in predicted), default=0)))
    first = 0
    for each in predicted:
        rows[first : first + each.shape[1], : len(each)] = each.T
        first += each.shape[1]
    return rows


def _learn_together(
    learner: Learner,
    known: WithWords,
    samples: WithWords,
    targets: np.ndarray,
    shares: np.ndarray | None,
    rows: slice,
) -> np.ndarray | None:  # (K, n)
    """Predict and learn some of the samples in one compiled call; None if the learner has parts that need several."""
    reading, (group, *others) = learner.reading, learner.groups
    if others or learner.counts is not None or len(samples.words.numbers):
        return None
    if not single.is_single(reading, group, samples[:, :1]) or reading.standardizer.judges_together:
        return None
    own = samples[:, rows]
    y, units = learner.targets.learn(targets[..., rows], group, False)
    share = np.ones(y.shape[1], np.float32) if shares is None else shares[rows].astype(np.float32)
    columns = own.features
    if reading.categories is not None:
        columns = reading.categories.learn(columns, learner.targets.counted(targets[..., rows], y), share)
    given, count = learner.learning_rate, y.shape[1]
    rates = group.rates(count) if given is None else np.array([each.rates(count, given) for each in group.networks])
    arrays = [plain(each.T) for each in (columns, known[:, rows].features, own.features)]
    steps = [np.ascontiguousarray(each.T, np.float32) for each in (y, rates * share)]
    said, done = np.empty((count, len(y))), 0
    while done < count:
        fixed = single.with_room(reading, group, len(reading.numbers))
        kinds = *fixed.nothing, fixed.predicts.arguments, fixed.learns.arguments
        terms = fixed.joined * (1 + len(reading.numbers))
        done = _compiled_turns()(
            done, *arrays, NO_WORDS, *steps, plain(share), fixed.used, fixed.room - terms, *kinds, said
        )
    for network in group.networks:
        network.step += count
    return units.zero + units.unit * said.T


@functools.cache
def _compiled_turns() -> Callable[..., int]:
    globals()["step"] = single.compiled_step()
    return compiled(_turns)


def _turns(
    begin: int,
    columns: np.ndarray,  # (B, D)
    known: np.ndarray,  # (B, F)
    features: np.ndarray,  # (B, F)
    words: Any,
    targets: np.ndarray,  # (B, C)
    rates: np.ndarray,  # (B, M)
    shares: np.ndarray,  # (B,)
    used: np.ndarray,  # (1,), slots
    most: float,
    no_target: np.ndarray,
    no_rates: np.ndarray,
    predicts: Any,
    learns: Any,
    said: np.ndarray,  # (B, C), filled
) -> int:
    """Predict and learn the samples from `begin` on; returns at which one more than `most` slots are used."""
    one = np.ones(1)
    for b in range(begin, len(columns)):
        if used[0] > most:
            return b
        x, own = columns[b].reshape((-1, 1)), features[b].reshape((-1, 1))
        p, _ = step(x, known[b].reshape((-1, 1)), words, no_target, no_rates, one, False, *predicts)
        said[b] = p[:, 0]
        step(x, own, words, targets[b].reshape((-1, 1)), rates[b].reshape((-1, 1)), shares[b : b + 1], True, *learns)
    return len(columns)


def frame_of(
    dictionaries: Sequence[Mapping[Hashable, Any]], places: Mapping[Hashable, int], levels: Mapping[Hashable, Levels]
) -> pd.DataFrame | None:
    """A frame of samples that have features alone, with these `places`; None for a single sample."""
    if len(dictionaries) == 1:
        return None
    columns = {}
    for name in places:
        values = [x.get(name) for x in dictionaries]
        try:
            columns[name] = pd.Series(values, dtype=object if name in levels else np.float64)
        except (TypeError, ValueError):  # such as pandas' own missing value
            columns[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns, index=range(len(dictionaries)))
