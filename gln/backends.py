"""Which backends there are, and how to get at one by its name."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

__all__ = ["BACKENDS", "fastest_backend", "load_backend"]

# Backends, and what the framework of each is installed as.
BACKENDS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
FASTEST = ("numba", "jax", "numpy")  # of which "auto" takes the first that is installed


def fastest_backend() -> str:
    """The name of the fastest backend whose framework is installed: Numba's, JAX's or NumPy's."""
    return next(name for name in FASTEST if importlib.util.find_spec(BACKENDS[name]))  # NumPy is


def load_backend(name: str) -> ModuleType:
    """The module of a backend, by its name or as `"auto"` the fastest.

    Raises:
        ImportError: its framework is not installed.
        ValueError: there is no such backend.
    """
    if name not in ("auto", *BACKENDS):
        raise ValueError(f"backend: expected 'auto' or one of {list(BACKENDS)}, got {name!r}")
    return importlib.import_module(f"gln_{fastest_backend() if name == 'auto' else name}")
