"""Which backends there are, and how to get at one by its name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["BACKENDS", "fastest_backend", "load_backend"]

# Backends, and what the framework of each is installed as.
BACKENDS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
FASTEST = ("numba", "jax", "numpy")  # of which "auto" takes the first that is installed


def fastest_backend() -> str:
    """The name of the fastest backend whose framework is installed: Numba's, JAX's or NumPy's."""
    return next(name for name in FASTEST if importlib.util.find_spec(BACKENDS[name]))  # NumPy is


def load_backend(name: str) -> ModuleType:
    """The module of a backend, by its name or as `"auto"` the fastest.

    Where Numba has nothing compiled on disk yet, a line on stderr says that the first call will compile.

    Raises:
        ImportError: its framework is not installed.
        ValueError: there is no such backend.
    """
    if name not in ("auto", *BACKENDS):
        raise ValueError(f"backend: expected 'auto' or one of {list(BACKENDS)}, got {name!r}")
    name = fastest_backend() if name == "auto" else name
    module = importlib.import_module(f"gln_{name}")
    if name == "numba":
        _tell_of_compiling(module)
    return module


@functools.cache
def _tell_of_compiling(gln_numba: Any) -> None:
    compiled = Path(gln_numba.learn_block.stats.cache_path).glob("gln_numba.learn_block-*.nbi")
    changed = Path(gln_numba.__file__).stat().st_mtime
    if not any(file.stat().st_mtime > changed for file in compiled):
        print("gln_numba: the first call compiles, once on this machine: up to half a minute", file=sys.stderr)
