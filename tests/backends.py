"""The backends, and how the tests load one."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

FRAMEWORKS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
OTHERS = [name for name in FRAMEWORKS if name != "numpy"]


def load_backend(name: str) -> ModuleType:
    """The backend's module. Without its framework the test is skipped, or fails if GLN_REQUIRE_BACKENDS is set."""
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip(FRAMEWORKS[name], reason=f"{FRAMEWORKS[name]} is not installed")
    if name == "torch":  # on a busy machine, its threads would spend most of these small tests waiting for one another
        importlib.import_module("torch").set_num_threads(1)
    return importlib.import_module(f"gln_{name}")
