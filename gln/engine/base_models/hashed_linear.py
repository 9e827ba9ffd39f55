"""Linear models of all that a sample holds: numbers, levels of categories, words, and pairs of these.

Each term of a sample has a slot with weights of its own, found by a hash of what the term is. A term is a number, a
level, a word, or a level together with one of the others. Slots are made as terms are seen, and each has its learning
rate.

Shapes: B samples, F features, D columns made from them, C heads, M models, S slots, T terms of all samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import Words, dense
from gln.engine.jit import OwnsArrays, compiled, plain

LARGEST_LOGIT, LARGEST_VALUE = 8.0, 3.0  # of predictions; values are in standard deviations of the targets
FIRST_SLOTS, MOST_SLOTS, MOST_NUMBERS = 1 << 8, 1 << 18, 1 << 22  # slots, and numbers in all slots


@dataclasses.dataclass
class HashedLinear(OwnsArrays):
    """One model of single terms, or two, of which the second also has pairs; each has C heads."""

    are_classes: bool  # the targets
    keys: np.ndarray  # (S,), 0 for a free slot
    scales: np.ndarray  # (S,), the largest value seen, by which values are divided
    leaders: np.ndarray  # (S, M, C), sums of gradients, from which weights follow
    squares: np.ndarray  # (S, M, C), sums of squared gradients

    @classmethod
    def start(cls, heads: int, are_classes: bool, models: int = 1) -> HashedLinear:
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

    def learn(
        self, terms: Terms, targets: np.ndarray, step_sizes: np.ndarray | None = None, begin: int = 0
    ) -> np.ndarray:
        """Predict samples from `begin` on, and learn each before the next.

        Args:
            terms: of the samples.
            targets: (C, B); with infinity a head neither predicts nor learns, with NaN it does not learn.
            shares: (B,), the fraction of a step that each sample makes. None is a whole step.
            begin: the first sample.

        Returns logits or values, (M C, B).
        """
        count = targets.shape[1]
        said, step_sizes = (
            np.zeros((self.models * self.heads, count)),
            np.ones(count) if step_sizes is None else plain(step_sizes),
        )
        options = self.are_classes, self.limit, self.most, plain(targets), step_sizes, True
        while (begin := compiled(*LEARN_TERMS)(terms, self.slots, *options, begin, said)) < count:
            self.double()
        return said

    @property
    def slots(self) -> HashTable:
        return HashTable(self.keys, self.scales, self.leaders, self.squares, self._used)

    @property
    def limit(self) -> float:
        """The largest logit or value."""
        return LARGEST_LOGIT if self.are_classes else LARGEST_VALUE

    @property
    def most(self) -> int:
        """The largest number of slots."""
        return max(FIRST_SLOTS, min(MOST_SLOTS, 1 << (MOST_NUMBERS // (self.models * self.heads)).bit_length() - 1))

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

    def with_class(self, count: float) -> HashedLinear:
        """A copy with a head for one more class, which starts with the probability of a class seen once in `count`
        samples. One head of two classes becomes two, with the same predictions."""
        new = np.zeros((len(self.keys), self.models, 1))
        mirrored = [-self.leaders] if self.heads == 1 else []
        leaders = np.concatenate([*mirrored, self.leaders, new], axis=2)
        squares = np.concatenate([*([self.squares] if mirrored else []), self.squares, new], axis=2)
        bias = np.flatnonzero(self.keys == BIAS)
        leaders[bias, :, -1] = np.log(count + 1) * STEADY / np.array(RATES[: self.models])
        return HashedLinear(self.are_classes, self.keys, self.scales, leaders, squares)

    def with_outputs(self, kept: Sequence[int], new: int) -> HashedLinear:
        """A copy of the heads `kept`, in this order, followed by `new` new ones."""
        numbers = [np.pad(each[..., list(kept)], [(0, 0), (0, 0), (0, new)]) for each in (self.leaders, self.squares)]
        return HashedLinear(self.are_classes, self.keys, self.scales, *numbers)

    def with_pairs(self) -> HashedLinear:
        """A copy with a second model, which knows what the first one knows."""
        leaders, squares = (each.repeat(2, axis=1) for each in (self.leaders, self.squares))
        leaders[:, 1] *= RATES[0] / RATES[1]  # the same weights
        return HashedLinear(self.are_classes, self.keys, self.scales, leaders, squares)

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


# Follow-the-regularised-leader without regularisation: rates are RATES / (STEADY + root of the sum of squared
# gradients), of the model without pairs and of the one with them, which has more terms. Log-loss is the same within
# .001 for .3 to .5, .1 to .2 and .5 to 2. Source: H. B. McMahan et al., Ad Click Prediction: a View from the Trenches,
# KDD 2013, algorithm 1.
RATES, STEADY = (0.4, 0.15), 1.0
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


class HashTable(NamedTuple):
    """The state of linear models."""

    keys: np.ndarray  # (S,), 0 for a free slot
    scales: np.ndarray  # (S,), the largest value seen, by which values are divided
    leaders: np.ndarray  # (S, M, C), sums of gradients, from which weights follow
    squares: np.ndarray  # (S, M, C), sums of squared gradients
    used: np.ndarray  # (1,), the number of slots that are not free


def key_of(one: int, other: int) -> int:
    """A hash of two integers, from 2 on."""
    key = (int(one) * FACTOR + int(other) * OTHER_FACTOR) & KEYS
    key = ((key ^ (key >> 31)) * OTHER_FACTOR) & KEYS
    return (key ^ (key >> 29)) | 2


def join_terms(
    start: int, end_of_levels: int, end: int, keys: np.ndarray, values: np.ndarray, features: np.ndarray
) -> int:
    """Join each level with all terms of its sample after it, and return where these pairs end."""
    t = end
    for i in range(start, end_of_levels):
        for j in range(i + 1, end):
            keys[t], values[t] = key_of(keys[i], keys[j]), values[j]
            features[t, 0], features[t, 1] = features[i, 0], features[j, 0]
            t += 1
    return t


def terms_of(
    samples: np.ndarray,  # (F, B), with codes for categories
    words: Words,
    z: np.ndarray,  # (D, B), standardised columns
    columns: np.ndarray,  # (F,), the column of each number, -1 for a category
    joins: bool,
) -> Terms:
    """The terms of samples, and among them pairs if this `joins` levels with other terms.

    A missing number is a term as well.
    """
    count, levels, t = samples.shape[1], 0, 0
    for f in range(len(columns)):
        levels += columns[f] < 0 and joins
    most = (count * (1 + len(columns)) + len(words.numbers)) * (1 + levels)
    starts, pairs, keys = np.empty(count + 1, np.int64), np.empty(count, np.int64), np.empty(most, np.int64)
    values, features = np.empty(most), np.empty((most, 2), np.int64)
    for b in range(count):
        starts[b] = t
        keys[t], values[t], features[t] = BIAS, 1.0, -1
        t += 1
        for f in range(len(columns)):
            if columns[f] < 0 and samples[f, b] == samples[f, b]:
                keys[t], values[t], features[t] = key_of(f, 1 + int(samples[f, b])), 1.0, f
                t += 1
        end_of_levels = t
        for f in range(len(columns)):
            if columns[f] >= 0:
                missing = samples[f, b] != samples[f, b]
                keys[t], values[t], features[t] = key_of(f, -int(missing)), 1.0 if missing else z[columns[f], b], f
                t += values[t] != 0.0
        for i in range(words.starts[b], words.starts[b + 1]):
            number = words.numbers[i]
            keys[t], values[t], features[t] = (
                key_of(number, -3 - words.codes[i]),
                words.values[i],
                len(columns) + number,
            )
            t += values[t] != 0.0
        pairs[b] = t
        if joins:
            t = join_terms(starts[b] + 1, end_of_levels, t, keys, values, features)
    starts[count] = t
    return Terms(starts, pairs, keys[:t], values[:t], features[:t])


def is_full(keys: np.ndarray, used: np.ndarray, most: int) -> bool:
    """Whether no more slots may be used: half of the largest number of them are, which shrinks with each class."""
    return len(keys) >= most and 2 * used[0] >= len(keys)


def slot_of(keys: np.ndarray, used: np.ndarray, most: int, key: int) -> int:
    """The slot of a key, or a free one for it, or once these are full one that it shares, as in a hashed model.

    At least one slot must be free.
    """
    first = slot = (key >> 20) & (len(keys) - 1)
    while keys[slot] != key and keys[slot] != 0:
        slot = (slot + 1) & (len(keys) - 1)
    return first if keys[slot] == 0 and is_full(keys, used, most) else slot


def slots_of(found: np.ndarray, keys: np.ndarray, used: np.ndarray, most: int, slots: np.ndarray) -> None:
    """Fill `slots`, (n,), with those of the keys `found`, (n,)."""
    for i in range(len(found)):
        slots[i] = slot_of(keys, used, most, found[i])


def move(found: np.ndarray, keys: np.ndarray, used: np.ndarray, most: int, slots: np.ndarray) -> None:
    """`slots_of`, and write each key into its slot."""
    for i in range(len(found)):
        slots[i] = slot_of(keys, used, most, found[i])
        keys[slots[i]] = found[i]


def find_terms(
    terms: Terms, b: int, slots: HashTable, most: int, learns: bool, places: np.ndarray, scaled: np.ndarray
) -> None:
    """Fill `places` with the slots of the terms of sample b, and `scaled` with their values."""
    keys, scales, _, _, used = slots
    for i in range(terms.starts[b], terms.starts[b + 1]):
        slot = slot_of(keys, used, most, terms.keys[i])
        if learns and keys[slot] == 0 and not is_full(keys, used, most):
            keys[slot] = terms.keys[i]
            used[0] += 1
        scale = max(scales[slot], abs(terms.values[i]))
        if learns:
            scales[slot] = scale
        places[i], scaled[i] = slot, terms.values[i] / scale


def learn_terms(
    terms: Terms,
    slots: HashTable,
    are_classes: bool,
    limit: float,
    most: int,
    targets: np.ndarray,  # (C, B)
    step_sizes: np.ndarray,  # (B,)
    learns: bool,
    begin: int,
    said: np.ndarray,  # (M C, B), filled
) -> int:
    """Predict the samples from `begin` on, and learn them if `learns`; returns at which one slots run out."""
    (keys, _, leaders, squares, used), heads = slots, slots.leaders.shape[2]
    places, scaled, weights = np.zeros(len(terms.keys), np.int64), np.zeros(len(terms.keys)), np.zeros(len(terms.keys))
    for b in range(begin, targets.shape[1]):
        start, stop = terms.starts[b], terms.starts[b + 1]
        if learns and len(keys) < most and 2 * (used[0] + stop - start) > len(keys):
            return b
        find_terms(terms, b, slots, most, learns, places, scaled)
        for model in range(leaders.shape[1]):
            end = terms.pairs[b] if model == 0 else stop
            for head in range(heads):
                y, s = targets[head, b], 0.0
                if math.isinf(y):
                    continue
                for i in range(start, end):
                    rate = RATES[model] / (STEADY + math.sqrt(squares[places[i], model, head]))
                    weights[i] = -leaders[places[i], model, head] * rate
                    s += weights[i] * scaled[i]
                said[model * heads + head, b] = s = min(max(s, -limit), limit)
                if not learns or math.isnan(y):
                    continue
                error = (1 / (1 + math.exp(-s)) if are_classes else s) - y
                for i in range(start, end):
                    gradient, slot = step_sizes[b] * error * scaled[i], places[i]
                    root = math.sqrt(squares[slot, model, head])
                    squares[slot, model, head] += gradient * gradient
                    change = (math.sqrt(squares[slot, model, head]) - root) / RATES[model]
                    leaders[slot, model, head] += gradient - change * weights[i]
    return targets.shape[1]


TERMS_OF = terms_of, join_terms, key_of
SLOTS_OF = slots_of, slot_of, is_full
LEARN_TERMS = learn_terms, find_terms, slot_of, is_full
