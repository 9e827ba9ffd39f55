"""Linear models of all that a sample holds: numbers, levels of categories, words, and pairs of these.

Each term of a sample has a slot with weights of its own, found by a hash of what the term is. A term is a number, a
level, a word, or a level together with one of the others. Slots are made as terms are seen, and each learns at a rate
of its own.

Shapes: B samples, F features, D columns made from them, C heads, M models, S slots, T terms of all samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from gln.learning.compiled import compiled, plain
from gln.learning.linear_loops import BIAS, LEARN_TERMS, RATES, SLOTS_OF, STEADY, TERMS_OF, Slots, Terms, move
from gln.learning.owned import OwnsArrays
from gln.learning.samples import Words, dense

__all__ = ["Linear"]

LARGEST_LOGIT, LARGEST_VALUE = 8.0, 3.0  # of predictions; values are in standard deviations of the targets
FIRST_SLOTS, MOST_SLOTS, MOST_NUMBERS = 1 << 8, 1 << 18, 1 << 22  # slots, and numbers in all slots


@dataclasses.dataclass
class Linear(OwnsArrays):
    """One model of single terms, or two, of which the second also has pairs; each has C heads."""

    are_classes: bool  # the targets
    keys: np.ndarray  # (S,), 0 for a free slot
    scales: np.ndarray  # (S,), the largest value seen, by which values are divided
    leaders: np.ndarray  # (S, M, C), sums of gradients, from which weights follow
    squares: np.ndarray  # (S, M, C), sums of squared gradients

    @classmethod
    def start(cls, heads: int, are_classes: bool, models: int = 1) -> Linear:
        """Before the first sample."""
        slots = np.zeros((2, FIRST_SLOTS, models, heads))
        return cls(are_classes, np.zeros(FIRST_SLOTS, np.int64), np.zeros(FIRST_SLOTS), *slots)

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.keys, self.scales, self.leaders, self.squares)]
        slots = len(self.keys)
        fits = shapes == [(slots,), (slots,), (slots, *shapes[2][1:]), shapes[2]] and len(shapes[2]) == 3
        if not fits or slots < FIRST_SLOTS or slots & (slots - 1) or self.keys.dtype != np.int64:
            raise ValueError(f"linear: expected arrays of as many slots, a power of two, got the shapes {shapes}")
        self._used = np.array([np.count_nonzero(self.keys)])
        if 2 * self._used[0] > slots:  # a search for a free slot would not end
            raise ValueError(f"linear: expected at least half of the slots to be free, got {self._used[0]} of {slots}")

    @property
    def models(self) -> int:
        return self.leaders.shape[1]

    @property
    def heads(self) -> int:
        return self.leaders.shape[2]

    def terms(self, samples: np.ndarray, words: Words, z: np.ndarray, columns: np.ndarray) -> Terms:
        """The terms of samples.

        Args:
            samples: (F, B), with codes for categories.
            words: of the samples.
            z: (D, B), standardised columns.
            columns: (F,), the column of each number, -1 for a category.
        """
        return compiled(*TERMS_OF)(plain(dense(samples)), words, z, columns, self.models > 1)

    def learn(self, terms: Terms, targets: np.ndarray, shares: np.ndarray | None = None, begin: int = 0) -> np.ndarray:
        """Predict samples from `begin` on, and learn each before the next.

        Args:
            terms: of the samples.
            targets: (C, B); with infinity a head neither predicts nor learns, with NaN it does not learn.
            shares: (B,), the fraction of a step that each sample makes. None is a whole step.
            begin: the first sample.

        Returns logits or values, (M C, B).
        """
        count = targets.shape[1]
        said, shares = np.zeros((self.models * self.heads, count)), np.ones(count) if shares is None else plain(shares)
        options = self.are_classes, self.limit, self.most, plain(targets), shares, True
        while (begin := compiled(*LEARN_TERMS)(terms, self.slots, *options, begin, said)) < count:
            self.double()
        return said

    @property
    def slots(self) -> Slots:
        return Slots(self.keys, self.scales, self.leaders, self.squares, self._used)

    @property
    def limit(self) -> float:
        """The largest logit or value."""
        return LARGEST_LOGIT if self.are_classes else LARGEST_VALUE

    @property
    def most(self) -> int:
        """The largest number of slots."""
        return max(FIRST_SLOTS, min(MOST_SLOTS, 1 << (MOST_NUMBERS // (self.models * self.heads)).bit_length() - 1))

    def make_room(self, terms: int) -> None:
        """Have enough slots for a sample of so many terms."""
        while 2 * (self._used[0] + terms) > len(self.keys) < self.most:
            self.double()

    def double(self) -> None:
        """Move everything to twice as many slots."""
        used = np.flatnonzero(self.keys)
        keys, places = np.zeros(2 * len(self.keys), np.int64), np.empty(len(used), np.int64)
        compiled(move, *SLOTS_OF[1:])(self.keys[used], keys, self._used, self.most, places)
        for name in ("scales", "leaders", "squares"):
            old = getattr(self, name)
            new = np.zeros((len(keys), *old.shape[1:]))
            new[places] = old[used]
            setattr(self, name, new)
        self.keys = keys

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def with_class(self, count: float) -> Linear:
        """A copy with a head for one more class, which starts with the probability of a class seen once in `count`
        samples. One head of two classes becomes two, with the same predictions."""
        new = np.zeros((len(self.keys), self.models, 1))
        mirrored = [-self.leaders] if self.heads == 1 else []
        leaders = np.concatenate([*mirrored, self.leaders, new], axis=2)
        squares = np.concatenate([*([self.squares] if mirrored else []), self.squares, new], axis=2)
        bias = np.flatnonzero(self.keys == BIAS)
        leaders[bias, :, -1] = np.log(count + 1) * STEADY / np.array(RATES[: self.models])
        return Linear(self.are_classes, self.keys, self.scales, leaders, squares)

    def with_outputs(self, kept: Sequence[int], new: int) -> Linear:
        """A copy of the heads `kept`, in this order, followed by `new` new ones."""
        numbers = [np.pad(each[..., list(kept)], [(0, 0), (0, 0), (0, new)]) for each in (self.leaders, self.squares)]
        return Linear(self.are_classes, self.keys, self.scales, *numbers)

    def with_pairs(self) -> Linear:
        """A copy with a second model, which knows what the first one knows."""
        leaders, squares = (each.repeat(2, axis=1) for each in (self.leaders, self.squares))
        leaders[:, 1] *= RATES[0] / RATES[1]  # the same weights
        return Linear(self.are_classes, self.keys, self.scales, leaders, squares)

    # ---- Explaining --------------------------------------------------------------------------------------------------

    def explain(self, terms: Terms, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features and words, and a constant, which add up to the predictions.

        A pair is half of each. Shapes: the features and words of the terms, ascending (n,) -> (M C, B, n), (M C, B).
        """
        weights, scales = self.weights(terms.keys)
        weights /= np.maximum(scales, np.abs(terms.values))[:, None, None]
        weights *= terms.values[:, None, None]
        samples = np.arange(len(terms.pairs)).repeat(np.diff(terms.starts))
        weights[np.arange(len(samples)) >= terms.pairs[samples], 0] = 0  # pairs are not of the first model
        weights = weights.reshape(len(weights), -1)
        found = np.zeros((len(terms.pairs), len(known) + 1, weights.shape[1]))  # the last is of the bias, feature -1
        for own in terms.features.T:
            np.add.at(found, (samples, np.where(own < 0, -1, np.searchsorted(known, own))), weights / 2)
        total = found.sum(axis=1, keepdims=True)
        clipped = total.clip(-self.limit, self.limit)
        found *= np.divide(clipped, total, out=np.ones_like(total), where=total != clipped)
        return found[:, :-1].transpose(2, 0, 1), found[:, -1].T

    def weights(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (T,) -> (T, M, C), (T,)
        """Weights of the terms with these keys, for values divided by their scales, and the scales."""
        places = np.empty(len(keys), np.int64)
        compiled(*SLOTS_OF)(keys, self.keys, self._used, self.most, places)
        weights = -self.leaders[places] * np.array(RATES[: self.models])[:, None]
        return weights / (STEADY + np.sqrt(self.squares[places])), self.scales[places]

    def state(self) -> dict[str, Any]:
        """The fields, which `Linear` takes back."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
