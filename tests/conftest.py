"""Fixtures that every test shares: the backends, and real digits."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import numpy as np
import pytest

from test_mnist import load_mnist

FRAMEWORKS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax"}


def load_backend(name: str) -> ModuleType:
    """The backend's module; without its framework the test is skipped, or fails where GLN_REQUIRE_BACKENDS is set."""
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip(FRAMEWORKS[name], reason=f"{FRAMEWORKS[name]} is not installed")
    return importlib.import_module(f"gln_{name}")


@pytest.fixture(params=list(FRAMEWORKS))
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return load_backend(request.param)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """3,000 digits as columns (784, 3000) in [0, 1], and their labels."""
    images, labels, _, _ = load_mnist(deskew=False)
    return np.ascontiguousarray(images[:3000].T), labels[:3000]
