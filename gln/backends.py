"""Which backends there are, and how to get at one by its name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
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

    Raises:
        ImportError: its framework is not installed.
        ValueError: there is no such backend.
    """
    if name not in ("auto", *BACKENDS):
        raise ValueError(f"backend: expected 'auto' or one of {list(BACKENDS)}, got {name!r}")
    name = fastest_backend() if name == "auto" else name
    if name == "numba" and importlib.util.find_spec("numba"):
        _tell_of_compiling()
    return importlib.import_module(f"gln_{name}")


@functools.cache
def _tell_of_compiling() -> None:
    """Have Numba say when it first compiles a function of `gln_numba`, for that is half a minute of silence."""
    event = importlib.import_module("numba.core.event")

    class Teller(event.Listener):  # type: ignore[name-defined] # of a module that need not be there
        told = False

        def on_start(self, started: Any) -> None:
            if started.data["dispatcher"].py_func.__module__ == "gln_numba" and not self.told:
                self.told = True
                print("gln_numba compiles, once on this machine: up to half a minute", file=sys.stderr, flush=True)

        def on_end(self, ended: Any) -> None:
            pass

    event.register("numba:compile", Teller())
