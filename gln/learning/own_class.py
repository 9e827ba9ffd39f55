"""A class that learns from its own samples alone, so that it is the same in whichever order classes come.

Its samples are counted, which gives a density. Its networks learn to tell them from normal noise of the same mean and
covariance; their logit is what the logarithm of a normal density lacks. Source: M. Gutmann and A. Hyvarinen,
Noise-contrastive estimation, AISTATS 2010.

Shapes: B samples, D features, L levels of a category, M networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import polygamma

from gln.learning.class_density import (
    FEW,
    count_samples,
    factor_of,
    freedom_of,
    frequencies,
    least_variance,
    log_density,
    standardised,
)
from gln.learning.encodings import with_distances
from gln.learning.growth import with_inputs
from gln.learning.network import Network, Rate
from gln.learning.owned import OwnsArrays
from gln.learning.samples import CHUNK

__all__ = ["OwnClass"]

LIMIT = 5.0  # standard deviations from the mean, beyond which networks see no difference
FADING = 0.9  # of scores at each renewal, because those of few samples are low
RATE = 1.0  # of the networks; 0.3 to 3 are about as good


@dataclasses.dataclass
class OwnClass(OwnsArrays):
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
    def start(cls, networks: Sequence[Network], size: int) -> OwnClass:
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

    def grown(self, size: int) -> OwnClass:
        """With room for further features, the new ones last."""
        old, new = len(self.mean), size - len(self.mean)
        grown: dict[str, Any] = {name: np.pad(getattr(self, name), (0, new)) for name in ("known", "mean", "center")}
        grown |= {name: np.pad(getattr(self, name), (0, new)) for name in ("scatter", "factor")}
        np.fill_diagonal(grown["factor"][old:, old:], np.inf)
        grown["ends"] = np.pad(self.ends, [(0, 0), (0, new)])
        grown["networks"] = [with_inputs(each, [*range(2 * old), *[-1] * 2 * new], size) for each in self.networks]
        return dataclasses.replace(self, **grown)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(self, numbers: np.ndarray, levels: Mapping[int, Any], shares: np.ndarray, rate: Rate | None) -> None:
        """Learn samples of the class, one after another; several calls give the same as one.

        Args:
            numbers: (D, B), NaN if unknown.
            levels: by feature, (B,) codes of categories, NaN if unknown.
            shares: (B,), the fraction of a step that each sample makes.
            rate: of the networks; None is RATE.
        """
        start = 0
        while start < len(shares):
            some = slice(start, min(len(shares), start + CHUNK, start + self.renewal - self.visits))
            own = {feature: codes[some] for feature, codes in levels.items()}
            self._learn_part(numbers[:, some], own, shares[some], RATE if rate is None else rate)
            start = some.stop
            if self.visits == self.renewal:
                self._renew()

    def _learn_part(self, numbers: np.ndarray, levels: Mapping[int, Any], shares: np.ndarray, rate: Rate) -> None:
        z, known = standardised(numbers, self.center, self.factor)
        distances, sizes = np.square(z).sum(axis=0), known.sum(axis=0)
        logits = self._learn_networks(z, np.where(known, self._noise(len(shares)), 0), shares, rate)
        with np.errstate(divide="ignore"):  # infinite at the mean, which does not count
            scores = np.array([np.log(distances), logits + log_density(distances, sizes, self.freedom)])
        expected = np.array([polygamma(1, np.maximum(sizes, 1) / 2), sizes / 2])
        for feature, codes in levels.items():
            self._learn_levels(feature, codes, shares, scores[1], expected[1])
        scores[:, : max(0, FEW - self.visits)] = np.nan
        counted = self.known, self.mean, self.ends, self.scatter, self.scores
        count_samples(numbers, shares, scores, expected, *counted)
        self.count = sum(shares.tolist(), self.count)  # one by one, so that rounding does not depend on the parts
        self.visits += len(shares)

    def _learn_networks(self, z: np.ndarray, noise: np.ndarray, shares: np.ndarray, rate: Rate) -> np.ndarray:
        """Learn that each sample is one, and that each noise is none. Returns logits of the samples before, (B,)."""
        pairs, both = np.empty((len(z), 2 * len(shares)), np.float32), shares.repeat(2)
        pairs[:, ::2], pairs[:, 1::2] = z.clip(-LIMIT, LIMIT), noise
        targets = np.tile(np.array([1, 0], np.float32), len(shares))[None]
        rates = np.array([network.rates(len(both), rate) * both for network in self.networks], np.float32)
        return self._logits(pairs, targets, rates)[::2]

    def _noise(self, count: int) -> np.ndarray:  # -> (D, count)
        """Normal noise, which depends on the number of the sample alone."""
        seed, size = self.networks[0].seed or 0, len(self.mean)
        numbers = range(self.visits, self.visits + count)
        noise = [np.random.default_rng([seed, number]).standard_normal(size) for number in numbers]
        return np.array(noise).T.clip(-LIMIT, LIMIT)

    def _learn_levels(self, feature: int, codes: np.ndarray, shares: np.ndarray, scores: Any, expected: Any) -> None:
        """Count the levels of a category, and add what each says to the scores of samples."""
        for b, code in enumerate(codes.tolist()):
            if code == code:
                own = self.levels.get(feature, np.zeros(0))
                own = np.pad(own, (0, max(0, int(code) + 1 - len(own))))
                p = frequencies(own, np.ones(len(own)))
                scores[b] += np.log(p[int(code)])
                expected[b] += p @ np.log(p) ** 2 - (p @ np.log(p)) ** 2
                own[int(code)] += shares[b]
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
