"""Samples of a stream that are predicted and then learned in turn, in one compiled call where that is possible.

The numbers are those of predicting and learning each sample alone, to the last bit.

Shapes: B samples, F features, D columns made from them, C heads, K values that are predicted of a sample, N rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from gln.engine.batches import SampleBatch, no_words
from gln.engine.jit import plain
from gln.engine.model import fused_step as single
from gln.engine.model.learner import Learner
from gln.engine.preprocessing.category_codes import Levels

NO_WORDS = no_words(1)


def runs(flags: np.ndarray) -> list[slice]:  # (N,)
    """Rows that follow one another with equal flags."""
    ends = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    return [slice(*pair) for pair in itertools.pairwise(ends) if pair[0] < pair[1]]


def predictions_of(learner: Any, samples: Any) -> np.ndarray:  # (F, B) -> (K, B)
    """The predictions of the first group, then quantiles in ascending order, then standard deviations."""
    rows = [learner.predict(samples)]
    for ensemble in learner.ensembles[1:]:
        is_variance = ensemble.link == "log"
        rows.append(learner.moments(samples)[1] if is_variance else np.sort(learner.predict(samples, ensemble), axis=0))
    return np.concatenate(rows)


def predict_then_learn(
    learner: Any,  # a Learner, or ClassDensityClassifier
    known: SampleBatch,
    samples: SampleBatch,
    targets: np.ndarray,
    step_sizes: np.ndarray | None,
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
    together = samples.shape[1] > 1 and _fits_one_call(learner, samples)
    if together:
        _compile(learner)  # before anything is learned, because this may fail or be interrupted
    for part in parts_of(learner, samples, targets):
        first = part.start
        while first < part.stop:
            # The first sample of a part brings something new, to which the learner adapts when it comes alone.
            if together and first > part.start and not learner.featurizer.standardizer.is_warming_up:
                said = _learn_together(learner, known, samples, targets, step_sizes, slice(first, part.stop))
            else:
                one = slice(first, first + 1)
                said = predictions_of(learner, known[:, one])
                own = (
                    None if step_sizes is None or step_sizes[first] == 1 else step_sizes[one]
                )  # as it would come alone
                learner.learn(samples[:, one], targets[..., one], own, categorical=categorical, predicts=False)
            predicted.append(said)
            first += said.shape[1]
    return predicted


def parts_of(learner: Any, samples: SampleBatch, targets: Any) -> list[slice]:
    """Parts of these samples of which only the first brings a new class, or a level that becomes a column.

    Raises ValueError for targets that cannot be learned, because an error in a later part would come too late.
    """
    count, (ensemble, *_) = samples.shape[1], learner.ensembles
    if count == 1 or not isinstance(learner, Learner):
        return [slice(0, count)]
    learner.targets.check(targets, count, ensemble.heads)
    starts = {part.start for part in learner.targets.segments(targets, count, ensemble)}
    if learner.featurizer.encoding is not None:
        starts.update(learner.featurizer.encoding.starts(samples.features))
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


def _fits_one_call(learner: Any, samples: SampleBatch) -> bool:
    """Whether the learner has no parts that need several calls, and samples have no words."""
    if not isinstance(learner, Learner) or len(learner.ensembles) > 1 or learner.counts is not None:
        return False
    return not len(samples.words.numbers) and single.is_single(learner.featurizer, learner.means, samples[:, :1])


def _learn_together(
    learner: Learner,
    known: SampleBatch,
    samples: SampleBatch,
    targets: np.ndarray,
    step_sizes: np.ndarray | None,
    rows: slice,
) -> np.ndarray:  # (K, n)
    """Predict and learn some of the samples in one compiled call."""
    featurizer, ensemble = learner.featurizer, learner.means
    own, given, count = samples[:, rows], learner.learning_rate, rows.stop - rows.start
    rates = (
        ensemble.rates(count) if given is None else np.array([each.rates(count, given) for each in ensemble.networks])
    )
    share = np.ones(count, np.float32) if step_sizes is None else step_sizes[rows].astype(np.float32)
    y, units = learner.targets.learn(targets[..., rows], ensemble, False)
    columns = own.features
    if featurizer.encoding is not None:
        columns = featurizer.encoding.learn(columns, learner.targets.counted(targets[..., rows], y), share)
    arrays = [plain(each.T) for each in (columns, known[:, rows].features, own.features)]
    steps = [np.ascontiguousarray(each.T, np.float32) for each in (y, rates * share)]
    said, done = np.empty((count, len(y))), 0
    while done < count:
        done = _run(learner, done, *arrays, *steps, plain(share), said)
    for network in ensemble.networks:
        network.step += count
    return units.zero + units.unit * said.T


def _compile(learner: Learner) -> None:
    """Compile what `_learn_together` calls, by a call without samples."""
    _run(learner, 0, *np.empty((3, 0, 1)), *np.empty((2, 0, 1), np.float32), np.empty(0), np.empty((0, 1)))


def _run(learner: Learner, begin: int, *arrays: np.ndarray) -> int:
    """`turns` of arrays of its names, from sample `begin` on."""
    from gln.engine.model.fused_loops import turns

    columns, known, features, y, rates, share, said = arrays
    fixed = single.with_room(learner.featurizer, learner.means, len(learner.featurizer.numbers))
    kinds = *fixed.nothing, fixed.predicts.arguments, fixed.learns.arguments
    most = fixed.room - fixed.joined * (1 + len(learner.featurizer.numbers))
    return turns(begin, columns, known, features, NO_WORDS, y, rates, share, fixed.used, most, *kinds, said)


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
