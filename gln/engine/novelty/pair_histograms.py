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
from typing import Any

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
        return cls(seed, **_arrays(0, 1), levels={}, scores=np.zeros(window)).grown(size)

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
        arrays = _arrays(size, pairs)
        kept = arrays if self.count else {}
        for name, array in kept.items():
            old = getattr(self, name)
            array[tuple(map(slice, old.shape))] = old
        for feature in range(old_size, size):
            steps = np.random.default_rng([self.seed, feature]).integers(1, max(2, size), pairs)
            arrays["partners"][feature] = (feature + steps) % size
        return dataclasses.replace(self, **arrays)

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
        arrays = [getattr(self, name) for name in ARRAYS]
        compiled(_surprises_of_numbers)(features, are_numbers, totals, weights, learns, self.window, *arrays, surprises)
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


def _arrays(size: int, pairs: int) -> dict[str, Any]:
    """The arrays of features without values, in the order in which compiled loops take them."""
    return {
        "partners": np.zeros((size, pairs), np.int64),
        "histograms": np.zeros((size, pairs, BINS), np.float32),
        "products": np.zeros((size, pairs)),
        "moments": np.zeros((2, size)),
        "values": np.zeros(size),
        "known": np.zeros(size),
    }


ARRAYS = tuple(_arrays(0, 0))


def _next_total(total: float, count: int, window: int) -> float:
    """The weight of all samples after the next one, of which it has the share FADING / (count + FADING) or more."""
    return total / (1 - max(FADING / (count + FADING), 1 / window)) if count else 1.0


def _score(surprises: np.ndarray, words: np.ndarray | None) -> np.ndarray:  # (F, B), (2, B) -> (B,)
    number, total = (0, 0) if words is None else words
    sums = surprises.cumsum(axis=0)[-1:].sum(axis=0)  # `sum` alone adds up one sample in another order than several
    return np.log((sums + total) / np.maximum(len(surprises) + number, 1))


# ---- Loops -----------------------------------------------------------------------------------------------------------


def _surprises_of_numbers(  # Long, because it is one loop
    features: np.ndarray,  # (F, B)
    are_numbers: np.ndarray,  # (F,) of bools
    totals: np.ndarray,  # (B,), the weight of all samples before each
    weights: np.ndarray,  # (B,), that of each
    learns: bool,
    window: int,
    partners: np.ndarray,
    histograms: np.ndarray,
    products: np.ndarray,
    moments: np.ndarray,
    values: np.ndarray,
    known: np.ndarray,
    surprises: np.ndarray,  # (F, B), which is filled
) -> None:
    size, pairs = partners.shape
    z = np.zeros(size)
    scales = np.zeros(size)
    expects = np.zeros(size)
    for b in range(features.shape[1]):
        total = totals[b]
        weight = weights[b]
        for f in range(size):
            x = features[f, b]
            mean = moments[0, f]
            scales[f] = max(np.sqrt(moments[1, f]), CONSTANT_SCALE * max(abs(mean), 1.0))
            z[f] = (x - mean) / scales[f] if are_numbers[f] and values[f] > 0 else np.nan
            expects[f] = min(max(z[f], -EXPECTS), EXPECTS) if z[f] == z[f] else 0.0
        for f in range(size):
            if not are_numbers[f]:
                continue
            x = features[f, b]
            surprise = 0.0
            known_share = known[f] / total if total > 0 else 1.0
            if x != x:
                surprises[f, b] = 1 / np.sqrt(max(1 - known_share, UNSEEN))
                continue
            step = max(FADING / (values[f] + FADING), 1 / window)
            for k in range(pairs if values[f] > 0 else 0):
                partner = partners[f, k]
                correlation = products[f, k] * values[f] / (values[f] + FEW)
                correlation = min(max(correlation, -0.99), 0.99) if partner != f else 0.0
                residual = (z[f] - correlation * expects[partner]) / np.sqrt(1 - correlation**2)
                position = np.arcsinh(residual) / WIDTH + (k + 0.5) / pairs + BINS / 2
                i = int(min(max(position, 1), BINS - 2))
                histogram = histograms[f, k]
                near = (histogram[i - 1] + 2 * histogram[i] + histogram[i + 1]) / 4
                normal = WIDTH * np.exp(-(residual**2) / (2 + 2 * FEW / values[f])) / np.sqrt(2 * np.pi)
                density = near / np.sqrt(1 + residual**2) + PRIOR * weight * normal
                density = density / (known[f] + PRIOR * weight) + UNSEEN / np.sqrt(1 + residual**2)
                surprise += 1 / np.sqrt(density)
                if learns:
                    histogram[i] += weight * (values[f] >= FEW)
                    products[f, k] += step * (expects[f] * expects[partner] - products[f, k])
            surprises[f, b] = (surprise / pairs if values[f] >= FEW else 1.0) / np.sqrt(max(known_share, UNSEEN))
            if learns:
                difference = x - moments[0, f]
                if moments[1, f] > 0:
                    reach = LIMIT * (1 + FEW / values[f]) * scales[f]
                    difference = min(max(difference, -reach), reach)
                moments[0, f] += step * difference
                moments[1, f] = (1 - step) * (moments[1, f] + step * difference**2)
                values[f] += 1
                known[f] += weight


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
