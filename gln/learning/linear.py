"""Linear models of all that a sample holds: numbers, levels of categories, words, and pairs of these.

Each term of a sample has a slot with weights of its own, found by a hash of what the term is. A term is a number, a
level, a word, or a level together with one of the others. Slots are made as terms are seen, and each learns at a rate
of its own.

Shapes: B samples, F features, D columns made from them, C heads, M models, S slots, T terms of all samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.learning.compiled import compiled
from gln.learning.owned import OwnsArrays
from gln.learning.samples import Words

__all__ = ["Linear", "Terms"]

# Follow-the-regularised-leader without regularisation: rates are RATE / (STEADY + root of the sum of squared
# gradients). Log-loss is the same within .001 for .3 to .5 and .5 to 2. Source: H. B. McMahan et al., Ad Click
# Prediction: a View from the Trenches, KDD 2013, algorithm 1.
RATES, STEADY = (0.4, 0.15), 1.0
LARGEST_LOGIT, LARGEST_VALUE = 8.0, 3.0  # of predictions; values are in standard deviations of the targets
FIRST_SLOTS, MOST_SLOTS, MOST_NUMBERS = 1 << 8, 1 << 18, 1 << 22  # slots, and numbers in all slots
# Keys have 62 bits: of these, products are the same with Python's integers and with Numba's, which overflow.
KEYS, FACTOR, OTHER_FACTOR = (1 << 62) - 1, 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
BIAS = 1  # key of the term that every sample has


class Terms(NamedTuple):
    """The terms of some samples, each of one feature or of two."""

    starts: np.ndarray  # (B + 1,), where the terms of each sample begin
    pairs: np.ndarray  # (B,), where its pairs begin
    keys: np.ndarray  # (T,)
    values: np.ndarray  # (T,)
    features: np.ndarray  # (T, 2), words after the features; -1 for the bias

    @classmethod
    def of(cls, samples: np.ndarray, words: Words, z: np.ndarray, columns: np.ndarray, pairs: bool) -> Terms:
        """The terms of samples.

        Args:
            samples: (F, B), with codes for categories.
            words: of the samples.
            z: (D, B), standardised columns.
            columns: (F,), the column of each number, -1 for a category.
            pairs: whether to join levels with other terms.
        """
        count, levels = samples.shape[1], int((columns < 0).sum()) if pairs else 0
        most = (count * (1 + len(columns)) + len(words.numbers)) * (1 + levels)
        starts, ends, keys = np.empty(count + 1, np.int64), np.empty(count, np.int64), np.empty(most, np.int64)
        values, features = np.empty(most), np.empty((most, 2), np.int64)
        size = compiled(_fill, _key)(samples, *words, z, columns, pairs, starts, ends, keys, values, features)
        return cls(starts, ends, keys[:size], values[:size], features[:size])


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

    def learn(self, terms: Terms, targets: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
        """Predict samples, and learn each before the next.

        Args:
            terms: of the samples.
            targets: (C, B); with infinity a head neither predicts nor learns, with NaN it does not learn.
            shares: (B,), the fraction of a step that each sample makes. None is a whole step.

        Returns logits or values, (M C, B).
        """
        count = targets.shape[1]
        said, done = np.zeros((self.models * self.heads, count)), 0
        targets = np.ascontiguousarray(targets, np.float64)
        shares = np.ones(count) if shares is None else shares.astype(np.float64)
        while True:
            done = self._run(terms, targets, shares, True, done, said)
            if done == count:
                return said
            self._double()

    def predict(self, terms: Terms) -> np.ndarray:  # -> (M C, B)
        """Logits or values, without learning."""
        count = len(terms.pairs)
        said, nothing = np.zeros((self.models * self.heads, count)), np.zeros((self.heads, count))
        self._run(terms, nothing, nothing[0], False, 0, said)
        return said

    def _run(self, terms: Terms, *rest: Any) -> int:
        slots = self.keys, self.scales, self.leaders, self.squares, self._used
        return compiled(_learn, _slot)(*terms[:4], *slots, self.are_classes, self._limit, self._most, *rest)

    @property
    def _limit(self) -> float:
        """The largest logit or value."""
        return LARGEST_LOGIT if self.are_classes else LARGEST_VALUE

    @property
    def _most(self) -> int:
        """The largest number of slots."""
        return max(FIRST_SLOTS, min(MOST_SLOTS, 1 << (MOST_NUMBERS // (self.models * self.heads)).bit_length() - 1))

    def _double(self) -> None:
        """Move everything to twice as many slots."""
        used = np.flatnonzero(self.keys)
        keys, places = np.zeros(2 * len(self.keys), np.int64), np.empty(len(used), np.int64)
        compiled(_move, _slot)(self.keys[used], keys, places)
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

    def explain(self, terms: Terms, features: int) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features and words, and a constant, which add up to the predictions.

        A pair is half of each. Shapes: -> (M C, B, features), (M C, B).
        """
        weights = self._weights(terms) * terms.values[:, None, None]  # (T, M, C)
        samples = np.arange(len(terms.pairs)).repeat(np.diff(terms.starts))
        weights[np.arange(len(samples)) >= terms.pairs[samples], 0] = 0  # pairs are not of the first model
        weights = weights.reshape(len(weights), -1)
        found = np.zeros((len(terms.pairs), features + 1, weights.shape[1]))  # the last is of the bias, feature -1
        for own in terms.features.T:
            np.add.at(found, (samples, own), weights / 2)
        total = found.sum(axis=1, keepdims=True)
        clipped = total.clip(-self._limit, self._limit)
        found *= np.divide(clipped, total, out=np.ones_like(total), where=total != clipped)
        return found[:, :-1].transpose(2, 0, 1), found[:, -1].T

    def _weights(self, terms: Terms) -> np.ndarray:  # (T, M, C), of unscaled values
        places = np.empty(len(terms.keys), np.int64)
        compiled(_slots, _slot)(terms.keys, self.keys, places)
        weights = -self.leaders[places] * np.array(RATES[: self.models])[:, None] / (STEADY + np.sqrt(self.squares[places]))
        scales = np.maximum(self.scales[places], np.abs(terms.values))
        known = self.keys[places] == terms.keys
        return np.where((known & (scales > 0))[:, None, None], weights / np.where(scales > 0, scales, 1)[:, None, None], 0)

    def state(self) -> dict[str, Any]:
        """The fields, which `Linear` takes back."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


# ---- Loops -----------------------------------------------------------------------------------------------------------


def _key(one: int, other: int) -> int:
    """A hash of two integers, from 2 on."""
    key = (int(one) * FACTOR + int(other) * OTHER_FACTOR) & KEYS
    key = ((key ^ (key >> 31)) * OTHER_FACTOR) & KEYS
    return (key ^ (key >> 29)) | 2


def _fill(
    samples: np.ndarray,  # (F, B)
    word_starts: np.ndarray,
    words: np.ndarray,
    word_codes: np.ndarray,
    word_values: np.ndarray,
    z: np.ndarray,  # (D, B)
    columns: np.ndarray,  # (F,)
    joins: bool,
    starts: np.ndarray,  # filled, and so are the following
    pairs: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    features: np.ndarray,
) -> int:
    """Fill the arrays of `Terms`, and return the number of terms. A missing number is a term as well."""
    t = 0
    for b in range(samples.shape[1]):
        starts[b] = t
        keys[t], values[t], features[t] = BIAS, 1.0, -1
        t += 1
        for f in range(len(columns)):
            if columns[f] < 0 and samples[f, b] == samples[f, b]:
                keys[t], values[t], features[t] = _key(f, 1 + int(samples[f, b])), 1.0, f
                t += 1
        levels = t
        for f in range(len(columns)):
            if columns[f] >= 0:
                missing = samples[f, b] != samples[f, b]
                keys[t], values[t], features[t] = _key(f, -int(missing)), 1.0 if missing else z[columns[f], b], f
                t += values[t] != 0.0
        for i in range(word_starts[b], word_starts[b + 1]):
            keys[t], values[t], features[t] = _key(words[i], -3 - word_codes[i]), word_values[i], len(columns) + words[i]
            t += values[t] != 0.0
        pairs[b] = end = t
        for i in range(starts[b] + 1, levels if joins else 0):
            for j in range(i + 1, end):
                keys[t], values[t] = _key(keys[i], keys[j]), values[j]
                features[t, 0], features[t, 1] = features[i, 0], features[j, 0]
                t += 1
    starts[samples.shape[1]] = t
    return t


def _slot(keys: np.ndarray, key: int) -> int:
    """The slot of a key, or a free one for it. At least half of the slots must be free."""
    slot = (key >> 20) & (len(keys) - 1)
    while keys[slot] != key and keys[slot] != 0:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


def _slots(found: np.ndarray, keys: np.ndarray, slots: np.ndarray) -> None:  # (n,), (S,), (n,)
    """Fill `slots` with those of the keys `found`."""
    for i in range(len(found)):
        slots[i] = _slot(keys, found[i])


def _move(found: np.ndarray, keys: np.ndarray, slots: np.ndarray) -> None:  # (n,), (S,), (n,)
    """`_slots`, and write each key into its slot."""
    for i in range(len(found)):
        slots[i] = _slot(keys, found[i])
        keys[slots[i]] = found[i]


def _learn(
    starts: np.ndarray,
    pairs: np.ndarray,
    terms: np.ndarray,
    values: np.ndarray,
    keys: np.ndarray,
    scales: np.ndarray,
    leaders: np.ndarray,
    squares: np.ndarray,
    used: np.ndarray,  # (1,)
    are_classes: bool,
    limit: float,
    most: int,
    targets: np.ndarray,  # (C, B)
    shares: np.ndarray,  # (B,)
    learns: bool,
    begin: int,
    said: np.ndarray,  # (M C, B), filled
) -> int:
    """Predict the samples from `begin` on, and learn them if `learns`; returns at which one slots run out."""
    heads = leaders.shape[2]
    slots, scaled, weights = np.zeros(len(terms), np.int64), np.zeros(len(terms)), np.zeros(len(terms))
    for b in range(begin, targets.shape[1]):
        start, stop = starts[b], starts[b + 1]
        if learns and len(keys) < most and 2 * (used[0] + stop - start) > len(keys):
            return b
        for i in range(start, stop):
            slot = _slot(keys, terms[i])
            if keys[slot] == 0:
                if len(keys) == most and 2 * used[0] >= most:
                    slot = (terms[i] >> 20) & (most - 1)  # shared, as in a hashed model
                elif learns:
                    keys[slot] = terms[i]
                    used[0] += 1
            scale = max(scales[slot], abs(values[i]))
            if learns:
                scales[slot] = scale
            slots[i], scaled[i] = slot, values[i] / scale
        for model in range(leaders.shape[1]):
            end = pairs[b] if model == 0 else stop
            for head in range(heads):
                y, s = targets[head, b], 0.0
                if math.isinf(y):
                    continue
                for i in range(start, end):
                    rate = RATES[model] / (STEADY + math.sqrt(squares[slots[i], model, head]))
                    weights[i] = -leaders[slots[i], model, head] * rate
                    s += weights[i] * scaled[i]
                said[model * heads + head, b] = s = min(max(s, -limit), limit)
                if not learns or math.isnan(y):
                    continue
                error = (1 / (1 + math.exp(-s)) if are_classes else s) - y
                for i in range(start, end):
                    gradient, slot = shares[b] * error * scaled[i], slots[i]
                    root = math.sqrt(squares[slot, model, head])
                    squares[slot, model, head] += gradient * gradient
                    change = (math.sqrt(squares[slot, model, head]) - root) / RATES[model]
                    leaders[slot, model, head] += gradient - change * weights[i]
    return targets.shape[1]
