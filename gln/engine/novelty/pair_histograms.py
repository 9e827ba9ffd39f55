"""`PairHistograms`: how unlike recent samples a sample is, from histograms of each feature given other features.

A number is compared with what another feature lets expect. The residual, in standard deviations, has a histogram, which
gives the probability p of the value; there are several such pairs for each feature, with partners drawn at random. For
a category, p is the frequency of its level; for a missing value, that of missing values; for a key that is no feature,
that of samples which have it. The score of a sample is the mean of 1 / sqrt(p), and its novelty the share of recent
samples with a lower score.

Sources: T. Pevný, Loda: Lightweight on-line detector of anomalies, Machine Learning 2016, for histograms of
projections; M. Bellemare et al., Unifying Count-Based Exploration and Intrinsic Motivation, NeurIPS 2016, for the
square root.

Shapes: B samples, F features, K pairs per feature, H bins of a histogram, L levels of a category.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Set
from typing import NamedTuple

import numpy as np

from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.saving import Array, Number, bad, saved

FADING = 2  # of fewer samples, each counts as much as its number, so that a bad start is soon forgotten
PAIRS, MOST_PAIRS = 8, 512  # per feature, and of all the features of the first sample, if these are fewer
BINS, WIDTH = 64, 0.5  # of asinh(residual); so bins are wider far from the mean
UNSEEN = 1e-5  # probability of what was never seen
PRIOR = 10.0  # samples that the normal distribution counts for in a histogram; 3 to 30 are about as good
FEW = 10  # values of a feature that are not judged and have no histogram, because its scale is uncertain
LIMIT = 10.0  # standard deviations, beyond which a value moves the mean no further
EXPECTS = 3.0  # standard deviations, beyond which a partner lets expect no more
CONSTANT_SCALE = 1e-6  # of the mean: the standard deviation of a feature that never varied
TAIL, LEAST_REACH, SHAPE = 20, 1e-3, 0.25  # one in so many scores, the highest, tell how far others reach


@saved(
    seed=Number(int, 0),
    partners=Array("i8", "F K", 0, "F"),
    histograms=Array("f4", f"F K {BINS}", 0),
    products=Array("f8", "F K"),
    moments=Array("f8", "2 F"),
    values=Array("f8", "F", 0),
    known=Array("f8", "F", 0),
    levels={Number(int, 0, "F"): Array("f8", "*", 0)},
    scores=Array("f8", "W"),
    total=Number(float, 0, 1e30),
    count=Number(int, 0, 1 << 62),
)
@dataclasses.dataclass
class PairHistograms(WritableArrays):
    seed: int  # of the partners
    partners: np.ndarray  # (F, K), features; the feature itself if there is no other
    histograms: np.ndarray  # (F, K, H), weights of values
    products: np.ndarray  # (F, K), correlations of the pairs
    moments: np.ndarray  # (2, F), mean and variance of each feature
    values: np.ndarray  # (F,), how many there were
    known: np.ndarray  # (F,), weights of the samples that have a value
    levels: dict[int, np.ndarray]  # by feature, the weight of the samples with each level, (L,)
    scores: np.ndarray  # (window,), of the latest samples, before each was learned; the next is at count % window
    total: float = 0.0  # weight of all samples
    count: int = 0  # their number

    @classmethod
    def start(cls, size: int, window: int, seed: int) -> PairHistograms:
        """Before the first sample, for so many features.

        A sample is compared with so many before it, the window; all that is learned fades as slowly.
        """
        return cls(seed, *FeatureArrays.empty(0, 1), levels={}, scores=np.zeros(window)).grown(size)

    @property
    def size(self) -> int:
        """F, the number of features."""
        return len(self.values)

    @property
    def window(self) -> int:
        return len(self.scores)

    def grown(self, size: int) -> PairHistograms:
        """With room for further features, the new ones last; or this object if there are none."""
        if size == self.size:
            return self
        old_size, pairs = self.partners.shape
        if not self.count:
            old_size = 0
            pairs = max(1, min(PAIRS, MOST_PAIRS // max(1, size)))
        arrays = FeatureArrays.empty(size, pairs)
        kept = arrays._asdict() if self.count else {}
        for name, array in kept.items():
            old = getattr(self, name)
            array[tuple(map(slice, old.shape))] = old
        for feature in range(old_size, size):
            steps = np.random.default_rng([self.seed, feature]).integers(1, max(2, size), pairs)
            arrays.partners[feature] = (feature + steps) % size
        return dataclasses.replace(self, **arrays._asdict())

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(self, features: np.ndarray, categorical: Set[int], words: np.ndarray | None = None) -> None:
        """Learn samples (F, B) one after another; several calls give the same as one.

        `categorical` are the features that are categories, as codes of levels. `words`, (2, B), are of the keys of each
        sample that are no features: their number, and the sum of 1 / sqrt(p).
        """
        start = 0
        while start < features.shape[1]:
            chunk = slice(start, start + self.window - self.count % self.window)
            values = features[:, chunk]
            totals = [self.total]
            for count in range(self.count, self.count + values.shape[1]):
                totals.append(_next_total(totals[-1], count, self.window))
            surprises = self._surprises(values, categorical, np.array(totals[:-1]), np.diff(totals), True)
            scores = _score(surprises, None if words is None else words[:, chunk])
            self.scores[np.arange(self.count, self.count + len(scores)) % self.window] = scores
            self.total = totals[-1]
            self.count += len(scores)
            start = chunk.stop
            if self.count % self.window == 0:  # weights would grow without end
                for weights in (self.histograms, self.known, *self.levels.values()):
                    weights /= self.total
                self.total = 1.0

    # ---- Scoring -----------------------------------------------------------------------------------------------------

    def novelty(
        self, features: np.ndarray, categorical: Set[int], words: np.ndarray | None = None
    ) -> np.ndarray:  # -> (B,)
        """The share of recent samples that were less novel than each of these; arguments as for `learn`.

        It rises further above the highest of their scores, and is 0 before the first sample.
        """
        # Not of the first samples, whose scores were higher, because less was known.
        latest = min(self.window, (self.count + 1) // 2)
        if not latest:
            return np.zeros(features.shape[1])
        scores = _score(self.surprises(features, categorical), words)
        slots = np.arange(self.count - latest, self.count) % self.window
        return compiled(_shares)(scores, np.sort(self.scores[slots]))

    def surprises(self, features: np.ndarray, categorical: Set[int]) -> np.ndarray:  # (F, B) -> (F, B)
        """1 / sqrt(p) of each value. A feature that is not known yet was missing in all samples so far."""
        model = self.grown(len(features))
        weight = _next_total(self.total, self.count, self.window) - self.total
        totals, weights = np.full((2, features.shape[1]), [[self.total], [weight]])
        return model._surprises(features, categorical, totals, weights, False)

    def _surprises(
        self, features: np.ndarray, categorical: Set[int], totals: np.ndarray, weights: np.ndarray, learns: bool
    ) -> np.ndarray:  # (F, B), (B,), (B,) -> (F, B)
        features = plain(features)
        surprises = np.ones(features.shape)
        are_numbers = np.array([feature not in categorical for feature in range(len(features))])
        state = FeatureArrays(*(getattr(self, name) for name in FeatureArrays._fields))
        compiled(_surprises_of_numbers)(features, are_numbers, totals, weights, learns, self.window, state, surprises)
        for feature in sorted(categorical):
            counts = self.levels.get(feature, np.zeros(0))
            most = int(np.fmax.reduce(features[feature], initial=-1)) if learns else -1
            if most >= len(counts):
                size = 1 << most.bit_length()  # with room for further levels, because copies take longer and longer
                counts = self.levels[feature] = np.pad(counts, (0, size - len(counts)))
            arguments = features[feature], totals, weights, learns, counts, self.known[feature : feature + 1]
            compiled(_surprises_of_levels)(*arguments, surprises[feature])
        return surprises

    # ---- State -------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ValueError unless the fields, of a file, fit together."""
        has_weight = (self.total == 0) == (self.count == 0)
        has_room = self.window > 1 and self.partners.shape[1]
        if not (has_weight and has_room) or (self.moments[1] < 0).any():
            raise bad("novelty", "a weight of the samples, a window, pairs and variances", f"{self.total}")


class FeatureArrays(NamedTuple):
    """The arrays of `PairHistograms` that compiled loops take."""

    partners: np.ndarray  # (F, K)
    histograms: np.ndarray  # (F, K, H)
    products: np.ndarray  # (F, K)
    moments: np.ndarray  # (2, F)
    values: np.ndarray  # (F,)
    known: np.ndarray  # (F,)

    @classmethod
    def empty(cls, size: int, pairs: int) -> FeatureArrays:
        """Those of so many features without values."""
        histograms = np.zeros((size, pairs, BINS), np.float32)
        shape = size, pairs
        zeros = np.zeros(shape), np.zeros((2, size)), np.zeros(size), np.zeros(size)
        return cls(np.zeros(shape, np.int64), histograms, *zeros)


def _next_total(total: float, count: int, window: int) -> float:
    """The weight of all samples after the next one, of which it has the share FADING / (count + FADING) or more."""
    return total / (1 - max(FADING / (count + FADING), 1 / window)) if count else 1.0


def _score(surprises: np.ndarray, words: np.ndarray | None) -> np.ndarray:  # (F, B), (2, B) -> (B,)
    number, total = (0, 0) if words is None else words
    sums = surprises.cumsum(axis=0)[-1:].sum(axis=0)  # `sum` alone adds up one sample in another order than several
    return np.log((sums + total) / np.maximum(len(surprises) + number, 1))


# ---- Loops -----------------------------------------------------------------------------------------------------------


class Standardised(NamedTuple):
    """The numbers of a sample."""

    z: np.ndarray  # (F,), NaN if missing, or of a category
    expects: np.ndarray  # (F,), within EXPECTS; 0 if missing
    scales: np.ndarray  # (F,), standard deviations


def _surprises_of_numbers(
    features: np.ndarray,  # (F, B)
    are_numbers: np.ndarray,  # (F,) of bools
    totals: np.ndarray,  # (B,), the weight of all samples before each
    weights: np.ndarray,  # (B,), that of each
    learns: bool,
    window: int,
    state: FeatureArrays,  # changed if this learns
    surprises: np.ndarray,  # (F, B), which is filled
) -> None:
    for b in range(features.shape[1]):
        sample = _standardised(features[:, b], are_numbers, state)
        for f in range(len(features)):
            if not are_numbers[f]:
                continue
            x = features[f, b]
            share = state.known[f] / totals[b] if totals[b] > 0 else 1.0
            if x != x:
                surprises[f, b] = 1 / np.sqrt(max(1 - share, UNSEEN))
                continue
            step = max(FADING / (state.values[f] + FADING), 1 / window)
            surprise = _surprise_of_pairs(f, sample, weights[b], step, learns, state)
            surprises[f, b] = surprise / np.sqrt(max(share, UNSEEN))
            if learns:
                _learn_moments(f, x, sample.scales[f], step, state)
                state.values[f] += 1
                state.known[f] += weights[b]


def _standardised(x: np.ndarray, are_numbers: np.ndarray, state: FeatureArrays) -> Standardised:  # (F,), (F,)
    z = np.full(len(x), np.nan)
    expects = np.zeros(len(x))
    scales = np.empty(len(x))
    for f in range(len(x)):
        mean = state.moments[0, f]
        scales[f] = max(np.sqrt(state.moments[1, f]), CONSTANT_SCALE * max(abs(mean), 1.0))
        if are_numbers[f] and state.values[f] > 0 and x[f] == x[f]:
            z[f] = (x[f] - mean) / scales[f]
            expects[f] = min(max(z[f], -EXPECTS), EXPECTS)
    return Standardised(z, expects, scales)


def _surprise_of_pairs(
    f: int, sample: Standardised, weight: float, step: float, learns: bool, state: FeatureArrays
) -> float:
    """The mean of 1 / sqrt(p) of feature f, given its partners; the pairs learn it afterwards."""
    pairs = state.partners.shape[1]
    values = state.values[f]
    total = 0.0
    for k in range(pairs if values > 0 else 0):
        partner = state.partners[f, k]
        correlation = state.products[f, k] * values / (values + FEW)
        correlation = min(max(correlation, -0.99), 0.99) if partner != f else 0.0
        residual = (sample.z[f] - correlation * sample.expects[partner]) / np.sqrt(1 - correlation**2)
        position = np.arcsinh(residual) / WIDTH + (k + 0.5) / pairs + BINS / 2
        i = int(min(max(position, 1), BINS - 2))
        total += 1 / np.sqrt(_density(state.histograms[f, k], i, residual, weight, values, state.known[f]))
        if learns:
            state.histograms[f, k, i] += weight * (values >= FEW)
            expected = sample.expects[f] * sample.expects[partner]
            state.products[f, k] += step * (expected - state.products[f, k])
    return total / pairs if values >= FEW else 1.0


def _density(histogram: np.ndarray, i: int, residual: float, weight: float, values: float, known: float) -> float:
    """The probability of a residual in bin i, (H,), with that of a normal distribution for a few samples."""
    near = (histogram[i - 1] + 2 * histogram[i] + histogram[i + 1]) / 4
    normal = WIDTH * np.exp(-(residual**2) / (2 + 2 * FEW / values)) / np.sqrt(2 * np.pi)
    density = near / np.sqrt(1 + residual**2) + PRIOR * weight * normal
    return density / (known + PRIOR * weight) + UNSEEN / np.sqrt(1 + residual**2)


def _learn_moments(f: int, x: float, scale: float, step: float, state: FeatureArrays) -> None:
    """Move the mean and the variance of feature f to a value."""
    moments = state.moments
    difference = x - moments[0, f]
    if moments[1, f] > 0:
        reach = LIMIT * (1 + FEW / state.values[f]) * scale
        difference = min(max(difference, -reach), reach)
    moments[0, f] += step * difference
    moments[1, f] = (1 - step) * (moments[1, f] + step * difference**2)


def _surprises_of_levels(
    codes: np.ndarray,  # (B,), NaN if missing
    totals: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,)
    learns: bool,
    counts: np.ndarray,  # (L,)
    known: np.ndarray,  # (1,)
    surprises: np.ndarray,  # (B,), which is filled
) -> None:
    for b in range(len(codes)):
        total = totals[b]
        weight = weights[b]
        if codes[b] != codes[b]:
            count = total - known[0]
        else:
            code = int(codes[b])
            count = counts[code] if code < len(counts) else 0.0
            if learns:
                counts[code] += weight
                known[0] += weight
        surprises[b] = 1 / np.sqrt(max(count / total, UNSEEN) if total > 0 else 1.0)


def _shares(scores: np.ndarray, recent: np.ndarray) -> np.ndarray:  # (B,), (n,) ascending -> (B,)
    """The share of recent scores below each; above the highest by a generalised Pareto distribution.

    Source: A. Siffer et al., Anomaly Detection in Streams with Extreme Value Theory, KDD 2017.
    """
    count = len(recent)
    shares = np.empty(len(scores))
    highest = recent[count - 1 - count // TAIL :]
    reach = max(np.mean(highest) - highest[0], LEAST_REACH)
    for b in range(len(scores)):
        left = np.searchsorted(recent, scores[b])
        right = np.searchsorted(recent, scores[b], side="right")
        if left == count:
            above = (1 + SHAPE * (scores[b] - recent[-1]) / reach) ** (-1 / SHAPE)
            shares[b] = 1 - above / (1 + count)
        elif left < right:  # equal scores
            shares[b] = (left + right + 1) / 2 / (1 + count)
        elif left == 0:
            shares[b] = 0.0
        else:
            shares[b] = (left + (scores[b] - recent[left - 1]) / (recent[left] - recent[left - 1])) / (1 + count)
    return shares
