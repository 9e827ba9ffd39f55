"""Which backends there are, and how the tests get at one."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

FRAMEWORKS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
OTHERS = [name for name in FRAMEWORKS if name != "numpy"]


def load_backend(name: str) -> ModuleType:
    """The backend's module; without its framework the test is skipped, or fails where GLN_REQUIRE_BACKENDS is set."""
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip(FRAMEWORKS[name], reason=f"{FRAMEWORKS[name]} is not installed")
    if name == "torch":  # on a busy machine its threads wait for one another far longer than these small tests work
        importlib.import_module("torch").set_num_threads(1)
    return importlib.import_module(f"gln_{name}")
