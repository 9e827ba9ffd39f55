"""Linear models of all that a sample holds: numbers, levels of categories, words, and feature crosses.

A term is a number, a level, a word, or a cross: a level together with one of the others. A hash of what a term is finds
its slot in a table, which has its weights and its learning rate. Slots are used as terms are first seen; a term without
one predicts 0. When the largest table is full, the half of the terms with the smallest sums of squared gradients are
forgotten, those that were rarely seen or always expected.

A sample whose crosses would take more than a quarter of the largest table has none: their number is the square of that
of the levels, and they would make one another forgotten. With up to 8 classes, that is from 256 categories on.

Shapes: B samples, F features, D columns made from them, C heads, M models, S slots, T terms of all samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import SampleBatch, Words, dense, repeats_of
from gln.engine.jit import compiled, plain
from gln.engine.saving import Array, bad, saved

LARGEST_LOGIT = 8.0  # of predictions
LARGEST_VALUE = 3.0  # in standard deviations of the targets
FIRST_SLOTS, MOST_SLOTS, MOST_NUMBERS = 1 << 8, 1 << 18, 1 << 22  # slots, and numbers in all slots
# Follow-the-regularised-leader without regularisation: rates are RATES / (STEADY + root of the sum of squared
# gradients), of the model without crosses and of the one with them, which has more terms. Log-loss is the same within
# .001 for .3 to .5, .1 to .2 and .5 to 2. Source: H. B. McMahan et al., Ad Click Prediction: a View from the Trenches,
# KDD 2013, algorithm 1.
RATES = (0.4, 0.15)
STEADY = 1.0
# Keys have 62 bits: of these, products are the same with Python's integers and with Numba's, which overflow.
KEYS = (1 << 62) - 1
FACTOR = 0x1E3779B97F4A7C15
OTHER_FACTOR = 0x3F58476D1CE4E5B9
BIAS = 1  # key of the term that every sample has


class Terms(NamedTuple):
    """The terms of a batch of samples, each of one feature or of two."""

    starts: np.ndarray  # (B + 1,), where the terms of each sample begin
    crosses: np.ndarray  # (B,), where its crosses begin
    most: np.ndarray  # (B,), how many it may have at most, for which there must be room
    keys: np.ndarray  # (T,)
    values: np.ndarray  # (T,)
    features: np.ndarray  # (T, 2), words after the features; -1 for the bias


@saved(
    are_classes=bool,
    keys=Array("i8", "S"),
    scales=Array("f8", "S", 0),
    leaders=Array("f8", "S M C"),
    squares=Array("f8", "S M C", 0),
)
class HashedLinear(NamedTuple):
    """One model of single terms, or two, of which the second also has crosses; each has C heads."""

    are_classes: bool  # the targets
    keys: np.ndarray  # (S,), 0 for a free slot
    scales: np.ndarray  # (S,), the largest value seen, by which values are divided
    leaders: np.ndarray  # (S, M, C), sums of gradients, from which weights follow
    squares: np.ndarray  # (S, M, C), sums of squared gradients
    used: np.ndarray  # (1,), the number of slots that are not free
    max_slots: int
    limit: float  # the largest logit or value

    @classmethod
    def start(cls, heads: int, are_classes: bool) -> HashedLinear:
        slots = np.zeros((2, FIRST_SLOTS, 1, heads))
        return cls.of_saved(are_classes, np.zeros(FIRST_SLOTS, np.int64), np.zeros(FIRST_SLOTS), *slots)

    @classmethod
    def of_saved(
        cls, are_classes: bool, keys: np.ndarray, scales: np.ndarray, leaders: np.ndarray, squares: np.ndarray
    ) -> HashedLinear:
        """With what follows from these. Raises ValueError for what is no table."""
        slots, models, heads = leaders.shape
        if slots < FIRST_SLOTS or slots & (slots - 1) or not 1 <= models <= len(RATES) or not heads:
            raise bad("linear", "a power of two of slots, and one or two models", f"the shape {leaders.shape}")
        used = np.count_nonzero(keys)
        if 2 * used > slots:  # a search for a free slot would not end
            raise bad("linear", "at least half of the slots to be free", f"{used} of {slots}")
        max_slots = max(FIRST_SLOTS, min(MOST_SLOTS, 1 << (MOST_NUMBERS // (models * heads)).bit_length() - 1))
        limit = LARGEST_LOGIT if are_classes else LARGEST_VALUE
        return cls(are_classes, keys, scales, leaders, squares, np.array([used]), max_slots, limit)

    @property
    def models(self) -> int:
        return self.leaders.shape[1]

    @property
    def heads(self) -> int:
        return self.leaders.shape[2]

    def terms(self, samples: SampleBatch, z: np.ndarray, columns: np.ndarray) -> Terms:
        """The terms of samples; arguments as for `terms_of`."""
        return compiled(terms_of)(plain(dense(samples.features)), samples.words, z, columns, self)

    def learn(
        self,
        terms: Terms,
        targets: np.ndarray,  # (C, B); with infinity a head neither predicts nor learns, with NaN it does not learn
        step_sizes: np.ndarray,  # (B,), how long a step each sample makes
        begin: int = 0,
    ) -> tuple[HashedLinear, np.ndarray]:  # (M C, B)
        """Predict samples from `begin` on, and learn each before the next. Returns these models or, if terms need more
        slots, a copy with room for them; and logits or values."""
        model = self
        predictions = np.zeros((self.models * self.heads, len(step_sizes)))
        arguments = targets, step_sizes, True
        while (begin := compiled(predict_linear)(terms, model, *arguments, begin, predictions)) < len(step_sizes):
            model = model.with_room()
        return model, predictions

    def with_room(self) -> HashedLinear:
        """A copy with twice as many slots, or of the largest table without half of the terms."""
        used = np.flatnonzero(self.keys)
        size = len(self.keys)
        if size < self.max_slots:
            size *= 2
        else:
            order = self.squares[used].sum(axis=(1, 2)).argsort(kind="stable")
            used = np.sort(used[order[len(used) // 2 :]])
        keys = np.zeros(size, np.int64)
        moved = []
        slots = compiled(slots_of)(self.keys[used], keys, True)
        for old in (self.scales, self.leaders, self.squares):
            moved.append(np.zeros((size, *old.shape[1:])))
            moved[-1][slots] = old[used]
        return HashedLinear.of_saved(self.are_classes, keys, *moved)

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def with_class(self, count: float) -> HashedLinear:
        """A copy with a head for one more class, which starts with the probability of a class seen once in `count`
        samples. One head of two classes becomes two, with the same predictions."""
        leaders = self.leaders
        squares = self.squares
        new = np.zeros((len(self.keys), self.models, 1))
        if self.heads == 1:
            leaders = np.concatenate([-leaders, leaders], axis=2)
            squares = squares.repeat(2, axis=2)
        leaders = np.concatenate([leaders, new], axis=2)
        squares = np.concatenate([squares, new], axis=2)
        bias = np.flatnonzero(self.keys == BIAS)
        leaders[bias, :, -1] = np.log(count + 1) * STEADY / np.array(RATES[: self.models])
        return HashedLinear.of_saved(self.are_classes, self.keys, self.scales, leaders, squares)

    def with_outputs(self, kept: Sequence[int], new: int) -> HashedLinear:
        indices = np.array(kept, int)  # `take` keeps the order in memory, for which loops were compiled
        heads = [np.pad(sums.take(indices, 2), [(0, 0), (0, 0), (0, new)]) for sums in (self.leaders, self.squares)]
        return HashedLinear.of_saved(self.are_classes, self.keys, self.scales, *heads)

    def with_crosses(self) -> HashedLinear:
        """A copy with a second model, which knows what the first one knows."""
        leaders = self.leaders.repeat(2, axis=1)
        squares = self.squares.repeat(2, axis=1)
        leaders[:, 1] *= RATES[0] / RATES[1]  # the same weights
        return HashedLinear.of_saved(self.are_classes, self.keys, self.scales, leaders, squares)

    # ---- Explaining --------------------------------------------------------------------------------------------------

    def weights_of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (n,) -> (n, M, C), (n,)
        """The weights of terms, and the scales by which values are divided, 0 for a term that was never learned."""
        slots = compiled(slots_of)(keys, self.keys, False)
        weights = -self.leaders[slots] * np.array(RATES[: self.models])[:, None]
        return weights / (STEADY + np.sqrt(self.squares[slots])), self.scales[slots]

    def explain(self, terms: Terms, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features and words, and a constant, which add up to the predictions.

        A cross counts half for each. Shapes: the features and words of the terms, ascending (n,) -> (M C, B, n),
        (M C, B).
        """
        weights, scales = self.weights_of(terms.keys)
        weights /= np.maximum(scales, np.abs(terms.values))[:, None, None]
        weights *= terms.values[:, None, None]
        samples = np.arange(len(terms.crosses)).repeat(np.diff(terms.starts))
        weights[np.arange(len(samples)) >= terms.crosses[samples], 0] = 0  # the first model has no crosses
        weights = weights.reshape(len(weights), -1)
        sums = np.zeros((len(terms.crosses), len(known) + 1, weights.shape[1]))  # the last is of the bias, feature -1
        for features in terms.features.T:
            np.add.at(sums, (samples, np.where(features < 0, -1, np.searchsorted(known, features))), weights / 2)
        total = sums.sum(axis=1, keepdims=True)
        clipped = total.clip(-self.limit, self.limit)
        sums *= np.divide(clipped, total, out=np.ones_like(total), where=total != clipped)
        return sums[:, :-1].transpose(2, 0, 1), sums[:, -1].T


# ---- Loops: the terms of samples -------------------------------------------------------------------------------------


def pair_key(one: int, other: int) -> int:
    """A hash of two integers, from 2 on."""
    key = (int(one) * FACTOR + int(other) * OTHER_FACTOR) & KEYS
    key = ((key ^ (key >> 31)) * OTHER_FACTOR) & KEYS
    return (key ^ (key >> 29)) | 2


def most_terms(words: Words, b: int, columns: np.ndarray, table: HashedLinear) -> int:
    """How many terms sample b has at most; arguments as for `terms_of`."""
    terms = 1 + len(columns) + words.starts[b + 1] - words.starts[b]
    levels = 0
    if table.leaders.shape[1] > 1:
        for f in range(len(columns)):
            levels += columns[f] < 0
    most = (1 + levels) * terms
    return most if 4 * most <= table.max_slots else terms


def terms_of(
    samples: np.ndarray,  # (F, B), with codes for categories
    words: Words,
    z: np.ndarray,  # (D, B), standardised columns
    columns: np.ndarray,  # (F,), the column of each number, -1 for a category
    table: HashedLinear,
) -> Terms:
    """The terms of samples, and among them feature `crosses`. A missing number is a term as well."""
    count = samples.shape[1]
    room = 0
    t = 0
    starts = np.empty(count + 1, np.int64)
    first_crosses = np.empty(count, np.int64)
    most = np.empty(count, np.int64)
    for b in range(count):
        most[b] = most_terms(words, b, columns, table)
        room += most[b]
    keys = np.empty(room, np.int64)
    values = np.empty(room)
    features = np.empty((room, 2), np.int64)
    for b in range(count):
        starts[b] = t
        keys[t], values[t], features[t, 0], features[t, 1] = BIAS, 1.0, -1, -1  # rows would be slices, which take long
        t += 1
        for f in range(len(columns)):
            if columns[f] < 0 and samples[f, b] == samples[f, b]:
                keys[t] = pair_key(f, 1 + int(samples[f, b]))
                values[t] = 1.0
                features[t, 0] = features[t, 1] = f
                t += 1
        end_of_levels = t
        for f in range(len(columns)):
            if columns[f] >= 0:
                missing = samples[f, b] != samples[f, b]
                keys[t] = pair_key(f, -int(missing))
                values[t] = 1.0 if missing else z[columns[f], b]
                features[t, 0] = features[t, 1] = f
                t += values[t] != 0.0
        for i in range(words.starts[b], words.starts[b + 1]):
            number = words.numbers[i]
            keys[t] = pair_key(number, -3 - words.codes[i])
            values[t] = words.values[i]
            features[t, 0] = features[t, 1] = len(columns) + number
            t += values[t] != 0.0
        first_crosses[b] = t
        if most[b] > 1 + len(columns) + words.starts[b + 1] - words.starts[b]:  # each level with all terms after it
            for i in range(starts[b] + 1, end_of_levels):
                for j in range(i + 1, first_crosses[b]):
                    keys[t] = pair_key(keys[i], keys[j])
                    values[t] = values[j]
                    features[t, 0] = features[i, 0]
                    features[t, 1] = features[j, 0]
                    t += 1
    starts[count] = t
    return Terms(starts, first_crosses, most, keys[:t], values[:t], features[:t])


# ---- Loops: the hash table -------------------------------------------------------------------------------------------


def is_short(table: HashedLinear, needed: int) -> bool:
    """Whether so many more terms need more slots, and `with_room` finds some: at most half of the slots are used."""
    slots = len(table.keys)
    used = table.used[0]
    return 2 * (used + needed) > slots and (slots < table.max_slots or 4 * used > slots)


def slot_of(keys: np.ndarray, key: int) -> int:
    """The slot of a key, or the free one where it belongs. At least one slot must be free."""
    slot = (key >> 20) & (len(keys) - 1)
    while keys[slot] != key and keys[slot] != 0:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


def slots_of(wanted: np.ndarray, keys: np.ndarray, writes: bool) -> np.ndarray:
    """The slots of the keys `wanted`, (n,), which are written into them if this `writes`: -> (n,)."""
    slots = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        slots[i] = slot_of(keys, wanted[i])
        if writes:
            keys[slots[i]] = wanted[i]
    return slots


def find_terms(terms: Terms, b: int, table: HashedLinear, learns: bool, slots: np.ndarray, scaled: np.ndarray) -> None:
    """Fill `slots` with those of sample b's terms, and `scaled` with their values, 0 for one without a slot."""
    keys = table.keys
    scales = table.scales
    used = table.used
    for i in range(terms.starts[b], terms.starts[b + 1]):
        slot = slot_of(keys, terms.keys[i])
        value = terms.values[i]
        if learns and keys[slot] == 0 and 2 * used[0] < len(keys):
            keys[slot] = terms.keys[i]
            used[0] += 1
        scale = max(scales[slot], abs(value))
        if learns and keys[slot] != 0:
            scales[slot] = scale
        slots[i] = slot
        scaled[i] = 0.0 if keys[slot] == 0 else value / scale


def damping(rates: np.ndarray, scaled: np.ndarray, start: int, end: int) -> float:
    """A factor of the gradient, with which a sample of very many terms does not overshoot: the logit moves by at most
    Newton's step, since the log-loss has a second derivative of at most 1/4. Log-loss of reviews is .02 lower by it."""
    moves = 0.0
    for i in range(start, end):
        moves += rates[i] * scaled[i] * scaled[i]
    return min(1.0, 4 / max(moves, 1.0))


def predict_linear(
    terms: Terms,
    table: HashedLinear,
    targets: np.ndarray,  # (C, B)
    step_sizes: np.ndarray,  # (B,)
    learns: bool,
    begin: int,
    predictions: np.ndarray,  # (M C, B), filled
) -> int:
    """Predict each sample from `begin` on, and then learn it if this `learns`; returns at which one slots run out."""
    are_classes = table.are_classes
    leaders = table.leaders
    squares = table.squares
    limit = table.limit
    heads = leaders.shape[2]
    slots = np.zeros(len(terms.keys), np.int64)
    scaled = np.zeros(len(terms.keys))
    weights = np.zeros(len(terms.keys))
    rates = np.zeros(len(terms.keys))
    for b in range(begin, targets.shape[1]):
        start = terms.starts[b]
        stop = terms.starts[b + 1]
        repeats = repeats_of(step_sizes[b])
        size = min(step_sizes[b], repeats) / repeats
        if learns and is_short(table, terms.most[b]):
            return b
        find_terms(terms, b, table, learns, slots, scaled)
        for model in range(leaders.shape[1]):
            end = terms.crosses[b] if model == 0 else stop
            for head in range(heads):
                y = targets[head, b]
                if math.isinf(y):
                    continue
                for repeat in range(repeats if learns and y == y else 1):
                    s = 0.0
                    for i in range(start, end):
                        rates[i] = RATES[model] / (STEADY + math.sqrt(squares[slots[i], model, head]))
                        weights[i] = -leaders[slots[i], model, head] * rates[i]
                        s += weights[i] * scaled[i]
                    s = min(max(s, -limit), limit)
                    predictions[model * heads + head, b] = predictions[model * heads + head, b] if repeat else s
                    if not learns or math.isnan(y):
                        continue
                    error = (1 / (1 + math.exp(-s)) if are_classes else s) - y
                    error *= damping(rates, scaled, start, end) if are_classes else 1.0
                    for i in range(start, end):
                        index = (slots[i], model, head)
                        gradient = size * error * scaled[i]
                        root = math.sqrt(squares[index])
                        squares[index] += gradient * gradient
                        leaders[index] += gradient - (math.sqrt(squares[index]) - root) / RATES[model] * weights[i]
    return targets.shape[1]
