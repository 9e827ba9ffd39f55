"""The available backends, and how to load one by name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["BACKENDS", "fastest_backend", "load_backend"]

# Backends, and the package of each one's framework.
BACKENDS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
FASTEST = ("numba", "jax", "numpy")  # "auto" takes the first one installed


def fastest_backend() -> str:
    """The name of the fastest backend whose framework is installed: "numba", "jax" or "numpy"."""
    return next(name for name in FASTEST if importlib.util.find_spec(BACKENDS[name]))  # NumPy always is


def load_backend(name: str) -> ModuleType:
    """Load the module of a backend by name; `"auto"` is the fastest one installed.

    If Numba's code has not been compiled on this machine yet, a line on stderr says that the first call will compile.

    Raises:
        ImportError: the framework is not installed.
        ValueError: there is no backend of this name.
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
        print("gln_numba: the first call on this machine compiles, which takes up to half a minute", file=sys.stderr)
