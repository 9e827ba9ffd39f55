"""The density of a class: Student's t-distribution of its numbers, and frequencies of the levels of its categories.

All of it is counted, so the order of the classes makes no difference.

Shapes: B samples, D features, L levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import polygamma

from gln.engine.batches import CHUNK
from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.networks.protocol import Network, Rate
from gln.engine.networks.surgery import with_inputs
from gln.engine.preprocessing.basis_expansion import with_distances

PRIOR = 10.0  # samples that speak for what is assumed of covariances and tails; 2 to 20 are about as good
OF_LEVELS = 1.0  # the same of the levels of a category
FEW = 10  # samples of a class, with which its scale is uncertain
FLOOR, LEAST = 0.2, 3e-4  # of a range and of a unit, which are added to standard deviations and variances
WRONG, RARE = 50.0, 5.0  # standard deviations; values and scores farther from the mean count as at this distance


def standardised(numbers: np.ndarray, center: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What are values of independent standard normal distributions if samples have this mean and covariance.

    An unknown value is assumed to be what those before it let expect, which makes it 0. So is a feature that never
    varied. Also returns which are known.

    Shapes: (D, B), (D,), the Cholesky factor of the covariance, (D, D), infinite on its diagonal where a feature never
    varied -> (D, B), (D, B).
    """
    deviations = numbers - center[:, None]
    known = ~np.isnan(deviations) & np.isfinite(np.diag(factor))[:, None]
    z = np.ascontiguousarray(np.where(known, deviations, np.nan).T[None])
    compiled(substitute)(z, plain(factor)[None])
    return z[0].T, known


def substitute(z: np.ndarray, factors: np.ndarray) -> None:  # (C, B, D), (C, D, D)
    """Solve factors[c] @ x = z[c, b] for all c and b, in place, with 0 for NaN."""
    for c, b in np.ndindex(z.shape[:2]):
        x, factor = z[c, b], factors[c]
        for i in range(len(x)):
            x[i] = (x[i] - np.dot(factor[i, :i], x[:i])) / factor[i, i] if x[i] == x[i] else 0.0


def scale_of(variances: np.ndarray, ranges: np.ndarray) -> np.ndarray:  # (D,), (D,) -> (D,)
    """The unit of each feature, infinite if it never varied.

    It is larger than the standard deviation, above all of one that varies rarely, as a pixel at the edge of an image.
    """
    return np.where(variances > 0, np.sqrt(variances) + FLOOR * ranges, np.inf)


def least_variance(scores: np.ndarray) -> float:  # (4,), of logarithms of densities
    """What is added to variances in units of `scale_of`: the more, the wider densities spread, up to 1.

    On tables they spread 1 to 12 times as wide as expected, and more than a thousandth would cost accuracy; on images
    100 times and more, because pixels are often equal in all samples so far and yet differ in the next.
    """
    return float(min(LEAST + (1 / trust_of(scores) ** 2 / 100) ** 3, 1))


def factor_of(covariance: np.ndarray, ranges: np.ndarray, weight: float, least: float) -> np.ndarray:
    """The factor for `standardised`, if samples of this weight have this covariance and features may be independent.

    Shapes: (D, D), (D,), (), () -> (D, D).
    """
    variances = np.diag(covariance)
    scale = scale_of(variances, ranges)
    own = covariance * (weight / (weight + PRIOR)) / scale[:, None] / scale
    np.fill_diagonal(own, np.where(scale < np.inf, variances / scale**2 + least, 1))
    factor = np.linalg.cholesky(own) * np.where(scale < np.inf, scale, 1)[:, None]
    np.fill_diagonal(factor, np.where(scale < np.inf, np.diag(factor), np.inf))
    return factor


def log_density(squares: np.ndarray, known: np.ndarray, freedom: float) -> np.ndarray:  # (B,), (B,) -> (B,)
    """The logarithm of the density at a squared distance from the mean, with so many known features, over that at the
    mean."""
    return -(freedom + known) / 2 * np.log1p(squares / freedom)


def freedom_of(scores: np.ndarray) -> float:  # (4,), of logarithms of squared distances, as `count_samples` has them
    """The degrees of freedom of the t-distribution: the wider distances spread, the fewer."""
    weight, _, squares, expected = scores
    of_eight = 0.28  # what is assumed: 8 degrees
    excess = max((squares - expected + PRIOR * of_eight) / (weight + PRIOR), 1e-3)
    return float((1 + np.sqrt(1 + 2 * excess)) / excess)  # polygamma(1, x) is about 1 / x + 1 / (2 x^2)


def trust_of(scores: np.ndarray) -> float:  # (4,), of logarithms of densities, as `count_samples` has them
    """The factor with which logarithms of densities spread as those of independent normal features do.

    They spread more where features repeat one another in ways that densities do not know, and then are too sure.
    """
    _, _, squares, expected = scores
    return float(np.sqrt(expected / squares)) if 0 < expected < squares else 1.0


def frequencies(counts: np.ndarray, assumed: np.ndarray) -> np.ndarray:  # (L,), (L,) -> (L,)
    """How frequent levels with these counts are, if they are assumed to be as frequent as in `assumed`."""
    return (counts + OF_LEVELS * assumed / assumed.sum()) / (counts.sum() + OF_LEVELS)


def count_samples(
    samples: np.ndarray, step_sizes: np.ndarray, scores: Any, expected: Any, *counted: np.ndarray
) -> None:
    """Count samples one after another.

    Args:
        samples: (D, B), NaN if unknown.
        shares: (B,), how much each counts.
        scores: (2, B), logarithms of squared distances and of densities; those that are not finite do not count.
        expected: (2, B), how large their squared deviations would be if features were independent and normal.
        counted: changed in place. Of each feature, the weight of its values, their mean, (D,), and the least and the
            largest, (2, D); the sum of products of deviations from the mean, in the lower triangle of (D, D);
            and of the scores their weight, mean, squared deviations and expected ones, (2, 4).
    """
    *of_features, of_scores = counted
    compiled(_count)(plain(samples.T), plain(step_sizes), *of_features)
    compiled(_count_scores)(plain(scores), plain(expected), plain(step_sizes), of_scores)


def _count(
    samples: np.ndarray,  # (B, D)
    step_sizes: np.ndarray,
    known: np.ndarray,
    mean: np.ndarray,
    ends: np.ndarray,
    scatter: np.ndarray,
) -> None:
    size = len(mean)
    for b in range(len(samples)):
        share, deviations = step_sizes[b], np.zeros(size)
        for i in range(size):
            difference = samples[b, i] - mean[i]
            if difference == difference:
                if scatter[i, i] > 0:
                    reach = WRONG * (1 + FEW / known[i]) * np.sqrt(scatter[i, i] / known[i])
                    difference = min(max(difference, -reach), reach)
                if known[i] == 0:
                    ends[:, i] = samples[b, i]
                ends[0, i] = min(ends[0, i], mean[i] + difference)
                ends[1, i] = max(ends[1, i], mean[i] + difference)
                known[i] += share
                mean[i] += difference * share / known[i]
                deviations[i] = difference * np.sqrt(share * (1 - share / known[i]))
        for i in range(size):
            if deviations[i] != 0:
                scatter[i, : i + 1] += deviations[i] * deviations[: i + 1]


def _count_scores(scores: np.ndarray, expected: np.ndarray, step_sizes: np.ndarray, counted: np.ndarray) -> None:
    for k, b in np.ndindex(scores.shape):
        share, own, difference = step_sizes[b], counted[k], scores[k, b] - counted[k, 1]
        if np.isfinite(difference):
            if own[2] > 0:
                reach = RARE * (1 + FEW / own[0]) * np.sqrt(own[2] / own[0])
                difference = min(max(difference, -reach), reach)
            own[0] += share
            own[1] += difference * share / own[0]
            own[2] += share * difference**2 * (1 - share / own[0])
            own[3] += share * expected[k, b]


LIMIT = 5.0  # standard deviations from the mean, beyond which networks see no difference
FADING = 0.9  # of scores at each renewal, because those of few samples are low
RATE = 1.0  # of the networks; 0.3 to 3 are about as good


@dataclasses.dataclass
class ClassDensity(WritableArrays):
    """What one class has learned. Categories are unknown as numbers, and known by their levels."""

    networks: list[Network]  # of one head, whose targets are 1 for a sample and 0 for noise
    # As `count_samples` counts them: weights (D,), means (D,), ends (2, D), products of deviations (D, D), and
    # scores (2, 4).
    known: np.ndarray
    mean: np.ndarray
    ends: np.ndarray
    scatter: np.ndarray
    scores: np.ndarray
    # How networks standardise: the mean, (D,), the factor of the covariance, (D, D), and the degrees of freedom, as
    # they were at the last renewal.
    center: np.ndarray
    factor: np.ndarray
    freedom: float
    levels: dict[int, np.ndarray]  # by feature, the weight of the samples with each level, (L,)
    count: float = 0.0  # the weight of all samples
    visits: int = 0  # the number of samples
    renewal: int = 2  # the number of samples after which the next renewal is due

    @classmethod
    def start(cls, networks: Sequence[Network], size: int) -> ClassDensity:
        known, mean, center = np.zeros((3, size))
        scores, factor = np.zeros((2, 4)), np.diag(np.full(size, np.inf))
        counted = known, mean, np.zeros((2, size)), np.zeros((size, size)), scores
        return cls(list(networks), *counted, center, factor, freedom_of(scores[0]), {})

    def check(self) -> None:
        """Raise ValueError unless shapes fit together: compiled loops do not check, and a file may be changed."""
        size = self.networks[0].context_size
        shapes: dict[str, tuple[int, ...]] = {name: (size,) for name in ("known", "mean", "center")}
        shapes |= {"ends": (2, size), "scatter": (size, size), "factor": (size, size), "scores": (2, 4)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {getattr(self, name).shape}")

    def grown(self, size: int) -> ClassDensity:
        """With room for further features, the new ones last."""
        old, new = len(self.mean), size - len(self.mean)
        grown: dict[str, Any] = {name: np.pad(getattr(self, name), (0, new)) for name in ("known", "mean", "center")}
        grown |= {name: np.pad(getattr(self, name), (0, new)) for name in ("scatter", "factor")}
        np.fill_diagonal(grown["factor"][old:, old:], np.inf)
        grown["ends"] = np.pad(self.ends, [(0, 0), (0, new)])
        grown["networks"] = [with_inputs(each, [*range(2 * old), *[-1] * 2 * new], size) for each in self.networks]
        return dataclasses.replace(self, **grown)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(self, numbers: np.ndarray, levels: Mapping[int, Any], step_sizes: np.ndarray, rate: Rate | None) -> None:
        """Learn samples of the class, one after another; several calls give the same as one.

        Args:
            numbers: (D, B), NaN if unknown.
            levels: by feature, (B,) codes of categories, NaN if unknown.
            shares: (B,), the fraction of a step that each sample makes.
            rate: of the networks; None is RATE.
        """
        start = 0
        while start < len(step_sizes):
            some = slice(start, min(len(step_sizes), start + CHUNK, start + self.renewal - self.visits))
            own = {feature: codes[some] for feature, codes in levels.items()}
            self._learn_part(numbers[:, some], own, step_sizes[some], RATE if rate is None else rate)
            start = some.stop
            if self.visits == self.renewal:
                self._renew()

    def _learn_part(self, numbers: np.ndarray, levels: Mapping[int, Any], step_sizes: np.ndarray, rate: Rate) -> None:
        z, known = standardised(numbers, self.center, self.factor)
        distances, sizes = np.square(z).sum(axis=0), known.sum(axis=0)
        logits = self._learn_networks(z, np.where(known, self._noise(len(step_sizes)), 0), step_sizes, rate)
        with np.errstate(divide="ignore"):  # infinite at the mean, which does not count
            scores = np.array([np.log(distances), logits + log_density(distances, sizes, self.freedom)])
        expected = np.array([polygamma(1, np.maximum(sizes, 1) / 2), sizes / 2])
        for feature, codes in levels.items():
            self._learn_levels(feature, codes, step_sizes, scores[1], expected[1])
        scores[:, : max(0, FEW - self.visits)] = np.nan
        counted = self.known, self.mean, self.ends, self.scatter, self.scores
        count_samples(numbers, step_sizes, scores, expected, *counted)
        self.count = sum(step_sizes.tolist(), self.count)  # one by one, so that rounding does not depend on the parts
        self.visits += len(step_sizes)

    def _learn_networks(self, z: np.ndarray, noise: np.ndarray, step_sizes: np.ndarray, rate: Rate) -> np.ndarray:
        """Learn that each sample is one, and that each noise is none. Returns logits of the samples before, (B,)."""
        pairs, both = np.empty((len(z), 2 * len(step_sizes)), np.float32), step_sizes.repeat(2)
        pairs[:, ::2], pairs[:, 1::2] = z.clip(-LIMIT, LIMIT), noise
        targets = np.tile(np.array([1, 0], np.float32), len(step_sizes))[None]
        rates = np.array([network.rates(len(both), rate) * both for network in self.networks], np.float32)
        return self._logits(pairs, targets, rates)[::2]

    def _noise(self, count: int) -> np.ndarray:  # -> (D, count)
        """Normal noise, which depends on the number of the sample alone."""
        seed, size = self.networks[0].seed or 0, len(self.mean)
        numbers = range(self.visits, self.visits + count)
        noise = [np.random.default_rng([seed, number]).standard_normal(size) for number in numbers]
        return np.array(noise).T.clip(-LIMIT, LIMIT)

    def _learn_levels(
        self, feature: int, codes: np.ndarray, step_sizes: np.ndarray, scores: Any, expected: Any
    ) -> None:
        """Count the levels of a category, and add what each says to the scores of samples."""
        for b, code in enumerate(codes.tolist()):
            if code == code:
                own = self.levels.get(feature, np.zeros(0))
                own = np.pad(own, (0, max(0, int(code) + 1 - len(own))))
                p = frequencies(own, np.ones(len(own)))
                scores[b] += np.log(p[int(code)])
                expected[b] += p @ np.log(p) ** 2 - (p @ np.log(p)) ** 2
                own[int(code)] += step_sizes[b]
                self.levels[feature] = own

    def _renew(self) -> None:
        """Standardise by what has been counted so far. The next renewal is due after a tenth more samples."""
        self.center, self.freedom = self.mean.copy(), freedom_of(self.scores[0])
        self.factor = factor_of(
            self.covariance(), np.ptp(self.ends, axis=0), self.count, least_variance(self.scores[1])
        )
        self.scores[:, [0, 2, 3]] *= FADING
        self.renewal = self.visits + max(1, self.visits // 10)

    def covariance(self) -> np.ndarray:  # (D, D)
        """The covariance of the features. It does not matter how often each is known."""
        root = np.sqrt(np.where(self.known > 0, self.known, 1))
        lower = self.scatter / root[:, None] / root
        return lower + np.tril(lower, -1).T

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def logits(self, numbers: np.ndarray) -> np.ndarray:  # (D, B) -> (B,)
        """The logarithm of how much likelier samples are than normal noise."""
        return self._logits(self._seen(numbers))

    def explain(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (D, B) -> (D, B), (B,)
        """Contributions of the features and a constant, which add up to `logits`."""
        seen = self._seen(numbers)
        inputs, contributions, constant = with_distances(seen), np.zeros(seen.shape), np.zeros(seen.shape[1])
        for network in self.networks:
            slopes, constants, _ = network.explain(inputs, seen)
            summands = (slopes * inputs.clip(-network.bound, network.bound)).reshape(len(seen), 2, -1)
            contributions += summands.sum(axis=1) / len(self.networks)
            constant += constants / len(self.networks)
        return contributions, constant

    def _seen(self, numbers: np.ndarray) -> np.ndarray:
        z, _ = standardised(numbers, self.center, self.factor)
        return z.clip(-LIMIT, LIMIT).astype(np.float32)

    def _logits(self, seen: np.ndarray, targets: Any = None, rates: Any = None) -> np.ndarray:  # (D, B) -> (B,)
        networks = self.networks
        [p] = networks[0].predict_all(networks, with_distances(seen), seen, targets, rates).swapaxes(0, 1)
        p = p.astype(np.float64).clip(2.0**-126, 1 - 2.0**-24)  # float32's neighbours of 0 and 1
        return (np.log(p) - np.log1p(-p)).mean(axis=0)
