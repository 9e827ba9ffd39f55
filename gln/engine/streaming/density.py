"""The distribution of a target that a stream predicts. It imports River's, which takes half a second."""

from __future__ import annotations

import math

import numpy as np
from river import proba

from gln.engine.ensemble.johnson_su import JohnsonSU


class Density(proba.Gaussian):
    """Johnson's SU distribution with mean mu and standard deviation sigma, of the shape of recent targets."""

    mu = sigma = 0.0  # of River's class, these are properties

    def __init__(
        self, mu: float, sigma: float, shape: JohnsonSU, limits: tuple[float, float], seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.mu = mu
        self.sigma = sigma
        self.shape = shape
        self.limits = limits

    def __call__(self, x: float) -> float:
        return math.exp(self.log_pdf(x))

    def log_pdf(self, x: float) -> float:
        """The logarithm of the density at x, without limits."""
        return float(self.shape.log_density(self._standardised(x))[0, 0]) - math.log(self.sigma)

    def cdf(self, x: float) -> float:
        """The probability of at most x; what lies beyond the limits is at them."""
        least, most = self.limits
        if not least <= x < most:
            return float(x >= most)
        return float(self.shape.cdf(self._standardised(x))[0, 0])

    def ppf(self, level: float) -> float:
        """The quantile of a level in (0, 1)."""
        quantile = self.mu + self.sigma * float(self.shape.quantiles([level])[0, 0])
        least, most = self.limits
        return min(max(quantile, least), most)

    def sample(self) -> float:
        """A random value."""
        return self.ppf(self._rng.random())

    def _standardised(self, x: float) -> np.ndarray:
        return np.array([[(x - self.mu) / self.sigma]])
