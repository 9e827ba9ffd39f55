"""The density of a class: Student's t-distribution of its numbers, frequencies of the levels of its categories, and
networks that learn what these two lack.

All of it depends on the samples of the class alone, so the order of the classes makes no difference. To predict, the
densities of all classes are pooled.

Shapes: B samples, D features, C classes, L levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import polygamma

from gln.engine.batches import CHUNK, steps_of
from gln.engine.ensemble.combination import LINKS
from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.networks.protocol import Network, Rate, is_network, predict_all
from gln.engine.networks.surgery import with_inputs
from gln.engine.preprocessing.basis_expansion import with_distances
from gln.engine.saving import Array, Number, bad, saved
from gln.engine.types import State

PRIOR = 10.0  # samples that the assumed covariances and tails count for; 2 to 20 are about as good
LEVEL_PRIOR = 1.0  # the same for the levels of a category
UNCERTAIN = 10  # samples of a class, with which its scale is uncertain
RANGE_FRACTION, MIN_VARIANCE = 0.2, 3e-4  # of a range and of a unit, added to standard deviations and variances
# In standard deviations; values and scores farther from the mean count as at this distance.
MAX_DEVIATION = 50.0
MAX_SCORE_DEVIATION = 5.0
FAR = 20.0  # standard deviations from the mean of every class, beyond which a value counts as missing
CLIP = 5.0  # standard deviations from the mean, beyond which networks see no difference
SCORE_FADING = 0.9  # at each renewal, because scores of few samples are low
LEARNING_RATE = 1.0  # of the networks; 0.3 to 3 are about as good
Codes = Mapping[int, np.ndarray]  # of categories, by feature, (B,)


@saved(
    networks=[is_network],
    known=Array("f8", "D", 0),
    mean=Array("f8", "D"),
    ends=Array("f8", "2 D"),
    scatter=Array("f8", "D D"),
    scores=Array("f8", "2 4"),
    center=Array("f8", "D"),
    factor=Array("f8", "D D", most=np.inf),
    freedom=Number(float, 0),
    count=Number(float, 0),
    levels={Number(int, 0, "D"): Array("f8", "*", 0)},
    samples=Number(int, 0, 1 << 62),
    renewal=Number(int, 1, 1 << 62),
)
@dataclasses.dataclass
class ClassDensity(WritableArrays):
    """What one class has learned. Categories are NaN among the numbers, and counted by their levels."""

    networks: list[Network]  # of one head, whose targets are 1 for a sample and 0 for noise
    known: np.ndarray  # (D,), the weight of each feature's values
    mean: np.ndarray  # (D,)
    ends: np.ndarray  # (2, D), the least and the largest value
    scatter: np.ndarray  # (D, D), sums of products of deviations from the mean, in the lower triangle
    # (2, 4), of logarithms of squared distances and of densities: weight, mean, squared deviations, expected ones.
    scores: np.ndarray
    # As they were at the last renewal: how networks' inputs are whitened, and the t-distribution's degrees of freedom.
    center: np.ndarray  # (D,), the mean
    factor: np.ndarray  # (D, D), of the covariance
    freedom: float
    levels: dict[int, np.ndarray]  # by feature, the weight of the samples with each level, (L,)
    count: float = 0.0  # the weight of all samples
    samples: int = 0  # their number
    renewal: int = 2  # the number of samples after which the next renewal is due

    def to_save(self) -> dict[str, object]:
        """The fields, whatever the order in which categories came."""
        return vars(self) | {"levels": dict(sorted(self.levels.items()))}

    def check(self, size: int) -> None:
        """Raise ValueError unless this is of so many features."""
        if len(self.known) != size:
            raise bad("classes", f"{size} features", len(self.known))
        lower = np.tril(self.factor, -1)
        positive = (np.diag(self.factor), self.freedom, self.renewal - self.samples)
        if not (np.isfinite(lower).all() and all(np.all(number > 0) for number in positive)):
            raise bad("classes", "a factor, degrees of freedom and a next renewal", f"{self.renewal} of {self.samples}")
        if (np.diag(self.scatter) < 0).any() or (self.scores[:, [0, 2]] < 0).any():
            raise bad("classes", "variances of at least 0", np.diag(self.scatter).min(initial=0))

    @classmethod
    def start(cls, networks: list[Network]) -> ClassDensity:
        arrays = _initial_arrays(networks[0].config.context_size)
        return cls(networks, **arrays, freedom=degrees_of_freedom(arrays["scores"][0]), levels={})

    def grown(self, size: int) -> ClassDensity:
        """With room for further features, the new ones last."""
        arrays = _initial_arrays(size)
        for name, array in arrays.items():
            old = getattr(self, name)
            array[tuple(map(slice, old.shape))] = old
        return dataclasses.replace(self, networks=with_features(self.networks, size), **arrays)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(self, numbers: np.ndarray, levels: Codes, step_sizes: np.ndarray, rate: Rate | None) -> None:
        """Learn samples of the class, one after another; several calls give the same as one.

        Shapes: (D, B), by feature codes of categories (B,), (B,). NaN is unknown. The rate is that of the networks;
        None is LEARNING_RATE.
        """
        rate = LEARNING_RATE if rate is None else rate
        start = 0
        while start < len(step_sizes):
            chunk = slice(start, min(len(step_sizes), start + CHUNK, start + self.renewal - self.samples))
            codes = {feature: feature_codes[chunk] for feature, feature_codes in levels.items()}
            self._learn_chunk(numbers[:, chunk], codes, step_sizes[chunk], rate)
            start = chunk.stop
            if self.samples == self.renewal:  # whiten by the present moments
                self.center = self.mean.copy()
                self.factor = self._factor()
                self.freedom = degrees_of_freedom(self.scores[0])
                self.scores[:, [0, 2, 3]] *= SCORE_FADING
                self.renewal += max(1, self.samples // 10)

    def _learn_chunk(self, numbers: np.ndarray, levels: Codes, step_sizes: np.ndarray, rate: Rate) -> None:
        z = self._whitened(numbers)
        known = ~np.isnan(numbers) & np.isfinite(np.diag(self.factor))[:, None]
        distances = np.square(z).sum(axis=0)
        sizes = known.sum(axis=0)
        logits = self._learn_networks(z, np.where(known, self._noise(len(step_sizes)), 0), step_sizes, rate)
        with np.errstate(divide="ignore"):  # infinite at the mean, which does not count
            scores = np.array([np.log(distances), logits + log_density(distances, sizes, self.freedom)])
        # How large squared deviations of the scores would be if features were independent and normal.
        expected = np.array([polygamma(1, np.maximum(sizes, 1) / 2), sizes / 2])
        for feature, codes in levels.items():
            self._learn_levels(feature, codes, step_sizes, scores[1], expected[1])
        scores[:, : max(0, UNCERTAIN - self.samples)] = np.nan
        steps = plain(step_sizes)
        compiled(_update_features)(plain(numbers.T), steps, self.known, self.mean, self.ends, self.scatter)
        compiled(_update_scores)(plain(scores), plain(expected), steps, self.scores)
        self.count = sum(step_sizes.tolist(), self.count)  # one by one, so that rounding does not depend on the chunks
        self.samples += len(step_sizes)

    def _learn_networks(self, z: np.ndarray, noise: np.ndarray, step_sizes: np.ndarray, rate: Rate) -> np.ndarray:
        """Learn to tell each sample from the noise after it. Returns logits of the samples before, (B,)."""
        repeats, steps = steps_of(step_sizes)
        pairs = np.empty((len(z), 2 * repeats.sum()), np.float32)
        pairs[:, ::2], pairs[:, 1::2] = (side.repeat(repeats, axis=1) for side in (z.clip(-CLIP, CLIP), noise))
        targets = np.tile(np.array([1, 0], np.float32), repeats.sum())[None]
        steps = steps.repeat(2 * repeats)
        rates = np.array([network.rates(len(steps), rate) * steps for network in self.networks], np.float32)
        return self._logits(pairs, targets, rates)[::2][repeats.cumsum() - repeats]

    def _noise(self, count: int) -> np.ndarray:  # -> (D, count)
        """Normal noise, which depends on the number of the sample alone."""
        seed = self.networks[0].config.seed or 0
        size = len(self.mean)
        numbers = range(self.samples, self.samples + count)
        noise = [np.random.default_rng([seed, number]).standard_normal(size) for number in numbers]
        return np.array(noise).T.clip(-CLIP, CLIP)

    def _learn_levels(
        self, feature: int, codes: np.ndarray, step_sizes: np.ndarray, scores: np.ndarray, expected: np.ndarray
    ) -> None:  # (B,) each
        """Count the levels of a category, and add the logarithm of their frequencies to the scores of samples."""
        for b, code in enumerate(codes.tolist()):
            if code == code:
                counts = self.levels.get(feature, np.zeros(0))
                if code >= len(counts):
                    counts = np.pad(counts, (0, int(code) + 1 - len(counts)))
                p = frequencies(counts, np.ones(len(counts)))
                scores[b] += np.log(p[int(code)])
                expected[b] += p @ np.log(p) ** 2 - (p @ np.log(p)) ** 2
                counts[int(code)] += step_sizes[b]
                self.levels[feature] = counts

    def _factor(self) -> np.ndarray:  # -> (D, D)
        """The Cholesky factor of the covariance, shrunk to that of independent features; for `whitened`."""
        covariance = self.covariance()
        variances = np.diag(covariance)
        units = feature_units(variances, np.ptp(self.ends, axis=0))
        varies = units < np.inf
        shrunk = covariance * (self.count / (self.count + PRIOR)) / units[:, None] / units
        np.fill_diagonal(shrunk, np.where(varies, variances / units**2 + added_variance(self.scores[1]), 1))
        factor = np.linalg.cholesky(shrunk) * np.where(varies, units, 1)[:, None]
        factor[~varies, ~varies] = np.inf
        return factor

    def covariance(self) -> np.ndarray:  # (D, D)
        """The covariance of the features. It does not matter how often each is known."""
        root = np.sqrt(np.where(self.known > 0, self.known, 1))
        lower = self.scatter / root[:, None] / root
        return lower + np.tril(lower, -1).T

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def logits(self, numbers: np.ndarray) -> np.ndarray:  # (D, B) -> (B,)
        """The logarithm of how much likelier samples are than normal noise."""
        return self._logits(self._whitened(numbers).clip(-CLIP, CLIP).astype(np.float32))

    def explain(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (D, B) -> (D, B), (B,)
        """Contributions of the features and a constant, which add up to `logits`."""
        z = self._whitened(numbers).clip(-CLIP, CLIP).astype(np.float32)
        inputs = with_distances(z)
        contributions = np.zeros(z.shape)
        constant = np.zeros(z.shape[1])
        for network in self.networks:
            slopes, constants, _ = network.explain(inputs, z)
            summands = (slopes * inputs.clip(-network.config.bound, network.config.bound)).reshape(len(z), 2, -1)
            contributions += summands.sum(axis=1) / len(self.networks)
            constant += constants / len(self.networks)
        return contributions, constant

    def _whitened(self, numbers: np.ndarray) -> np.ndarray:  # (D, B) -> (D, B)
        return whitened(numbers, self.center[None], plain(self.factor)[None])[0].T

    def _logits(self, z: np.ndarray, targets: np.ndarray | None = None, rates: np.ndarray | None = None) -> np.ndarray:
        [p] = predict_all(self.networks, with_distances(z), z, targets, rates).swapaxes(0, 1)
        return LINKS["logit"](p).mean(axis=0)


def _initial_arrays(size: int) -> State:
    vectors = {name: np.zeros(size) for name in ("known", "mean", "center")}
    matrices = {"ends": np.zeros((2, size)), "scatter": np.zeros((size, size)), "scores": np.zeros((2, 4))}
    return vectors | matrices | {"factor": np.diag(np.full(size, np.inf))}


def with_features(networks: Sequence[Network], size: int) -> list[Network]:
    """Networks that read so many features, the new ones last, with their distances."""
    old = networks[0].config.context_size
    indices = [*range(2 * old), *[-1] * 2 * (size - old)]
    return [with_inputs(network, indices, size) for network in networks]


# ---- Covariance ------------------------------------------------------------------------------------------------------


def whitened(numbers: np.ndarray, centers: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Values that are independent and standard normal if samples of a class have this mean and covariance.

    An unknown value, NaN, is assumed to be what those before it let expect, which makes it 0. So is a feature that
    never varied.

    Shapes: (D, B), (C, D), Cholesky factors of covariances, (C, D, D), infinite on the diagonal where a feature never
    varied -> (C, B, D).
    """
    z = np.ascontiguousarray(numbers.T - centers[:, None])
    compiled(forward_substitution)(z, factors)
    return z


def forward_substitution(z: np.ndarray, factors: np.ndarray) -> None:  # (C, B, D), (C, D, D)
    """Solve factors[c] @ x = z[c, b] for all c and b, in place, with 0 for NaN and for infinite factors."""
    for c, b in np.ndindex(z.shape[:2]):
        x = z[c, b]
        factor = factors[c]
        for i in range(len(x)):
            is_known = x[i] == x[i] and factor[i, i] < np.inf
            x[i] = (x[i] - np.dot(factor[i, :i], x[:i])) / factor[i, i] if is_known else 0.0


def feature_units(variances: np.ndarray, ranges: np.ndarray) -> np.ndarray:  # (D,), (D,) -> (D,)
    """The unit of each feature, infinite if it never varied.

    It is larger than the standard deviation, above all of one that varies rarely, as a pixel at the edge of an image.
    """
    return np.where(variances > 0, np.sqrt(variances) + RANGE_FRACTION * ranges, np.inf)


def added_variance(scores: np.ndarray) -> float:  # (4,), of logarithms of densities
    """What is added to variances in units of `feature_units`: the more, the wider densities spread, up to 1.

    On tables they spread 1 to 12 times as wide as expected, and more than a thousandth would cost accuracy; on images
    100 times and more, because pixels are often equal in all samples so far and yet differ in the next.
    """
    return float(min(MIN_VARIANCE + (1 / inverse_temperature(scores) ** 2 / 100) ** 3, 1))


# ---- Densities -------------------------------------------------------------------------------------------------------


def log_density(squares: np.ndarray, known: np.ndarray, freedom: float) -> np.ndarray:  # (B,), (B,) -> (B,)
    """The logarithm of the t-density of so many known features at a squared distance from the mean, less that at it."""
    return -(freedom + known) / 2 * np.log1p(squares / freedom)


def degrees_of_freedom(scores: np.ndarray) -> float:  # (4,), of logarithms of squared distances
    """The degrees of freedom of the t-distribution: the wider distances spread, the fewer."""
    weight, _, squares, expected = scores
    assumed = 0.28  # 8 degrees
    excess = max((squares - expected + PRIOR * assumed) / (weight + PRIOR), 1e-3)
    return float((1 + np.sqrt(1 + 2 * excess)) / excess)  # polygamma(1, x) is about 1 / x + 1 / (2 x^2)


def inverse_temperature(scores: np.ndarray) -> float:  # (4,), of logarithms of densities
    """The factor with which logarithms of densities spread as those of independent normal features do.

    They spread more where features repeat one another in ways that densities do not know, and then are too sure.
    """
    _, _, squares, expected = scores
    return float(np.sqrt(expected / squares)) if 0 < expected < squares else 1.0


def frequencies(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:  # (L,), (L,) -> (L,)
    """Frequencies of levels with these counts, shrunk to those of `prior`."""
    return (counts + LEVEL_PRIOR * prior / prior.sum()) / (counts.sum() + LEVEL_PRIOR)


# ---- Moments, changed in place by one sample after another -----------------------------------------------------------


def _limited(difference: float, deviations: float, weight: float, squares: float) -> float:
    """A difference from the mean, of at most so many standard deviations, more while few samples tell these."""
    if squares == 0:
        return difference
    limit = deviations * (1 + UNCERTAIN / weight) * np.sqrt(squares / weight)
    return min(max(difference, -limit), limit)


def _update_features(
    samples: np.ndarray,  # (B, D), NaN if unknown
    step_sizes: np.ndarray,  # (B,), how much each counts
    known: np.ndarray,
    mean: np.ndarray,
    ends: np.ndarray,
    scatter: np.ndarray,
) -> None:
    size = len(mean)
    for b in range(len(samples)):
        step_size = step_sizes[b]
        deviations = np.zeros(size)
        for i in range(size):
            difference = samples[b, i] - mean[i]
            if difference == difference:
                difference = _limited(difference, MAX_DEVIATION, known[i], scatter[i, i])
                if known[i] == 0:
                    ends[:, i] = samples[b, i]
                ends[0, i] = min(ends[0, i], mean[i] + difference)
                ends[1, i] = max(ends[1, i], mean[i] + difference)
                known[i] += step_size
                mean[i] += difference * step_size / known[i]
                deviations[i] = difference * np.sqrt(step_size * (1 - step_size / known[i]))
        for i in range(size):
            if deviations[i] != 0:
                scatter[i, : i + 1] += deviations[i] * deviations[: i + 1]


def _update_scores(scores: np.ndarray, expected: np.ndarray, step_sizes: np.ndarray, moments: np.ndarray) -> None:
    """Scores that are not finite do not count: (2, B), (2, B), (B,), (2, 4)."""
    for k, b in np.ndindex(scores.shape):
        step_size = step_sizes[b]
        moment = moments[k]
        difference = scores[k, b] - moments[k, 1]
        if np.isfinite(difference):
            difference = _limited(difference, MAX_SCORE_DEVIATION, moment[0], moment[2])
            moment[0] += step_size
            moment[1] += difference * step_size / moment[0]
            moment[2] += step_size * difference**2 * (1 - step_size / moment[0])
            moment[3] += step_size * expected[k, b]


# ---- The densities of all classes ------------------------------------------------------------------------------------


class LogLikelihood(NamedTuple):
    """The log-likelihood of classes, times how frequent they are, but for what all classes share; without networks."""

    numbers: np.ndarray  # (D, B), NaN for categories, and for values that are missing or far from all classes
    squares: np.ndarray  # (C, B, D), squared distances of the features from the mean
    by_distance: np.ndarray  # (C, B), of all these
    constant: np.ndarray  # (C, B), at the mean, with the frequency of the class
    by_level: dict[int, np.ndarray]  # by feature, of the levels of categories, (C, B)


class PooledDensities:
    """The densities of all classes, in common units, with covariances shrunk to the one that they share."""

    def __init__(self, classes: Sequence[ClassDensity]) -> None:
        names = "count", "known", "mean", "ends"
        counts, known, means, ends = (np.array([getattr(density, name) for density in classes]) for name in names)
        scores = np.sum([density.scores for density in classes], axis=0)
        total = np.maximum(known.sum(axis=0), 1e-300)
        center = (known * means).sum(axis=0) / total
        means = np.where(known > 0, means, center)  # that of all samples where a class knows none
        ends = np.where(known[:, None] > 0, ends, center)
        squares = sum(np.diag(density.scatter) for density in classes) + (known * (means - center) ** 2).sum(axis=0)
        units = feature_units(squares / total, np.ptp(ends, axis=(0, 1)))
        covariances = np.array([density.covariance() for density in classes]) / units[:, None] / units
        covariances += [np.diag((weights == 0).astype(float)) for weights in known]  # assumed to vary as in all classes
        within = np.tensordot(counts, covariances, 1) / max(counts.sum(), 1)
        covariances = (counts[:, None, None] * covariances + PRIOR * within) / (counts + PRIOR)[:, None, None]
        covariances += added_variance(scores[1]) * np.eye(len(units))
        varies = units < np.inf
        far = FAR * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)) * np.where(varies, units, 1)
        self.counts = counts  # (C,), weights of samples
        self.units = units  # (D,), infinite for features that never varied
        self.means = means / units  # (C, D)
        self.factors = np.linalg.cholesky(covariances)  # (C, D, D)
        self.factors[:, ~varies, ~varies] = np.inf
        self.limits = np.array([(means - far).min(axis=0), (means + far).max(axis=0)])  # (2, D), of values that count
        self.freedom = degrees_of_freedom(scores[0])  # of the t-distributions
        self.inverse_temperature = inverse_temperature(scores[1])
        features = sorted({feature for density in classes for feature in density.levels})
        # By feature, of its levels and last 0 for unknown ones, (C, L + 1).
        self.log_frequencies = {feature: _log_frequencies(classes, feature) for feature in features}

    def log_likelihood(self, samples: np.ndarray) -> LogLikelihood:  # (D, B)
        numbers, codes = split(samples, self.log_frequencies)
        low, high = self.limits[:, :, None]
        numbers[(numbers < low) | (numbers > high)] = np.nan
        varies = self.units < np.inf
        known = ~np.isnan(numbers) & varies[:, None]
        squares = np.square(whitened(numbers / self.units[:, None], self.means, self.factors))
        by_distance = log_density(squares.sum(axis=2), known.sum(axis=0), self.freedom)
        widths = np.where(varies, np.log(np.diagonal(self.factors, axis1=1, axis2=2)), 0)
        by_level = {
            feature: logs[:, np.fmin(codes[feature], logs.shape[1] - 1).astype(int)]  # the last one for NaN
            for feature, logs in self.log_frequencies.items()
        }
        # Not a matrix product, which adds up one sample in another order than several.
        constant = np.log(self.counts + 1)[:, None] - (widths[:, None] * known.T).sum(axis=2)
        return LogLikelihood(numbers, squares, by_distance, constant, by_level)


def split(features: np.ndarray, categorical: Collection[int]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Samples' numbers (D, B), NaN for categories, and by feature the codes of these (B,)."""
    numbers = np.array(features, np.float64)
    codes = {feature: numbers[feature].copy() for feature in sorted(categorical)}  # sums depend on the order
    numbers[list(codes)] = np.nan
    return numbers, codes


def _log_frequencies(classes: Sequence[ClassDensity], feature: int) -> np.ndarray:  # -> (C, L + 1)
    counts = [density.levels.get(feature, np.zeros(0)) for density in classes]
    size = max(map(len, counts))
    table = np.array([np.pad(weights, (0, size - len(weights))) for weights in counts])
    return np.pad(np.log([frequencies(row, table.sum(axis=0) + 1) for row in table]), [(0, 0), (0, 1)])
