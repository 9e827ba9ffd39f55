"""Samples of a stream, each predicted and then learned, in one compiled call where that is possible.

The numbers are those of predicting and learning each sample alone, to the last bit.

Shapes: B samples, F features, K values that are predicted of a sample, N rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from gln.engine.batches import SampleBatch
from gln.engine.model import fused
from gln.engine.model.learner import Learner


def runs(flags: np.ndarray) -> list[slice]:  # (N,)
    """Rows that follow one another with equal flags."""
    ends = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    return [slice(*pair) for pair in itertools.pairwise(ends) if pair[0] < pair[1]]


def predictions_of(learner: Any, samples: Any) -> np.ndarray:  # (F, B) -> (K, B)
    """Probabilities or means, then quantiles in ascending order, then standard deviations."""
    rows = [learner.predict(samples)]
    if isinstance(learner, Learner):
        rows += [np.sort(learner.predict(samples, ensemble), axis=0) for ensemble in learner.quantiles]
        rows += [] if learner.variances is None else [learner.moments(samples)[1]]
    return np.concatenate(rows)


def predict_then_learn(
    learner: Any,  # a Learner, or ClassDensityClassifier
    samples: SampleBatch,
    targets: np.ndarray,
    step_sizes: np.ndarray | None,
    categorical: Set[int],
) -> list[np.ndarray]:
    """Predict each sample, and then learn it. What it brings does not change its own prediction.

    Args:
        samples: (F, B), of known features.
        targets, step_sizes, categorical: as for `Learner.learn`.

    Returns a list of `predictions_of` samples that follow one another, (K, n), which may have more values as classes
    are added.
    """
    predicted: list[np.ndarray] = []
    is_fused = samples.shape[1] > 1 and isinstance(learner, Learner) and fused.can_learn(learner, samples)
    if is_fused:
        fused.prepare(learner)  # which compiles, before anything is learned, because this may fail
    for segment in segments_of(learner, samples, targets):
        first = segment.start
        while first < segment.stop:
            # The first sample of a segment brings something new, to which the learner adapts when it comes alone.
            if is_fused and first > segment.start and not learner.featurizer.standardizer.is_warming_up:
                rows = slice(first, segment.stop)
                steps = None if step_sizes is None else step_sizes[rows]
                predictions = _learn_fused(learner, samples[:, rows], targets[..., rows], steps)
            else:
                row = slice(first, first + 1)
                predictions = predictions_of(learner, samples[:, row])
                steps = (
                    None if step_sizes is None or step_sizes[first] == 1 else step_sizes[row]
                )  # as it would come alone
                learner.learn(samples[:, row], targets[..., row], steps, categorical=categorical, predicts=False)
            predicted.append(predictions)
            first += predictions.shape[1]
    return predicted


def _learn_fused(
    learner: Learner, samples: SampleBatch, targets: np.ndarray, step_sizes: np.ndarray | None
) -> np.ndarray:  # (K, B)
    """`predict_then_learn` for samples that bring nothing new."""
    target_batch, units = learner.target_batch(targets, None if step_sizes is None else step_sizes.astype(np.float32))
    predicted, first, rows = fused.learn(learner, samples, target_batch), 0, []
    for ensemble in learner.ensembles:
        standardised = predicted[first : first + ensemble.heads]
        if ensemble.target is None:
            rows.append(units.zero + units.unit * standardised)
        else:
            target = slice(ensemble.target, ensemble.target + 1)
            rows.append(np.sort(units.zero[target] + units.unit[target] * standardised, axis=0))
        first += ensemble.heads
    return np.concatenate(rows)


def segments_of(learner: Any, samples: SampleBatch, targets: Any) -> list[slice]:
    """Segments of these samples of which only the first brings a new class, or a level that becomes a column.

    Raises ValueError for targets that cannot be learned, because an error in a later segment would come too late.
    """
    count = samples.shape[1]
    if count == 1 or not isinstance(learner, Learner):
        return [slice(0, count)]
    learner.targets.check(targets, count, learner.means.heads)
    starts = {segment.start for segment in learner.targets.segments(targets, count, learner.means)}
    if learner.featurizer.encoding is not None:
        starts.update(learner.featurizer.encoding.starts(samples.features))
    ends = [*sorted(starts | {0}), count]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def joined(predicted: Sequence[np.ndarray]) -> np.ndarray:  # N of (K, n) -> (sum of n, largest K)
    """Predictions, of which later ones may have more values, with 0 for what earlier ones lack."""
    count, most = sum(values.shape[1] for values in predicted), max((len(values) for values in predicted), default=0)
    rows, first = np.zeros((count, most)), 0
    for values in predicted:
        rows[first : first + values.shape[1], : len(values)] = values.T
        first += values.shape[1]
    return rows
