"""What a `Learner` counts: how often the weight rows of its networks were picked by samples that it learned.

Shapes: B samples, F features, D columns made from them, C heads, M networks of a group, N neurons of a network.
"""

from __future__ import annotations

import itertools
from collections.abc import Set
from typing import Any

import numpy as np

from gln.learning.counts import Counts
from gln.learning.samples import CHUNK, check_magnitude, chunks
from gln.learning.single import in_one_call, predict_single

__all__ = ["CountsRows"]


class CountsRows:
    """The part of `Learner` that counts rows, for those who ask for it."""

    reading: Any
    targets: Any
    groups: Any
    counts: Any
    predict: Any
    _read_by: Any
    _is_single: Any

    def start_counting(self, heads: int = 1) -> None:
        """From now on, count which rows the learned samples pick: for each head if there are several, else in total."""
        self.counts = Counts.none(self.groups[0].networks, heads)

    def meet(self, samples: Any, categorical: Set[int] = frozenset()) -> None:
        """Standardise and count samples (F, B) as `learn` does, but learn no targets.

        Raises ValueError for infinity or too few features; nothing has changed then.
        """
        check_magnitude("samples", samples)
        first, nothing = self.groups[0], np.zeros((1, samples.shape[1]))
        self._read_by(self.reading.grown(samples, categorical, self.targets.count(first), self.targets.are_classes))
        self.counts.learn(self._contexts(self.reading.learn(samples, nothing)))

    def meet_columns(self, samples: Any, categorical: Set[int]) -> None:
        """Have columns for the features and levels of samples (F, B), and standardise by them too, but no more."""
        self._read_by(self.reading.grown(samples, categorical, 1, self.targets.are_classes))
        categories = self.reading.categories
        self.reading.standardizer.learn_checked(samples if categories is None else categories.transform(samples))

    def count(self, z: Any) -> None:
        """Count the rows that standardised samples (D, B) pick."""
        self.counts.learn(self._contexts(z))

    def counted(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (C, B) for samples (F, B), and the mean count of the rows that they pick, (C or 1, B)."""
        if samples.shape[1] > CHUNK:
            parts = [self.counted(samples[:, part]) for part in chunks(samples.shape[1])]
            predicted, counts = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
            return predicted, counts
        if in_one_call(self.reading, self.groups[0], samples):
            predicted, picked = predict_single(self.reading, self.groups[0], samples)
            predicted, contexts = self.targets.in_units(predicted, self.groups[0]), self._of_networks(picked)
        else:
            predicted, contexts = self.predict(samples), self._contexts(self.reading.standardised(samples))
        return predicted, self.counts.mean(contexts)

    def novelty(self, samples: Any) -> np.ndarray:
        """How unlike the counted samples these are, in (0, 1]: (F, B) -> (B,)."""
        parts = (self.reading.standardised(samples[:, part]) for part in chunks(samples.shape[1]))
        return np.concatenate([self.counts.novelty(self._contexts(z)) for z in parts])

    def _of_networks(self, picked: np.ndarray) -> list[np.ndarray]:  # (B, N of all) -> M of (B, N)
        ends = itertools.accumulate((len(rows) for rows in self.counts.rows), initial=0)
        return [picked[:, start:stop] for start, stop in itertools.pairwise(ends)]

    def _contexts(self, z: Any) -> list[np.ndarray]:  # (D, B) -> M of (B, N)
        return [network.contexts(self.reading.side_information(network, z)) for network in self.groups[0].networks]
