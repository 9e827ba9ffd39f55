"""Fixtures that every test shares: the backends, and real digits."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from backends import FRAMEWORKS, load_backend

from test_mnist import load_mnist


@pytest.fixture(params=list(FRAMEWORKS))
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return load_backend(request.param)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """3,000 digits as columns (784, 3000) in [0, 1], and their labels."""
    images, labels, _, _ = load_mnist(deskew=False)
    return np.ascontiguousarray(images[:3000].T), labels[:3000]
