"""The available backends, and how to load one by name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["BACKENDS", "fastest_backend", "load_backend"]

# Backends, and the package of each one's framework.
BACKENDS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
FASTEST = ("numba", "jax", "numpy")  # "auto" takes the first one installed


def fastest_backend() -> str:
    """The name of the fastest backend whose framework is installed: "numba", "jax" or "numpy"."""
    return next(name for name in FASTEST if importlib.util.find_spec(BACKENDS[name]))  # NumPy always is


def load_backend(backend: Any) -> Any:
    """Load the module of a backend by name; `"auto"` is the fastest one installed.

    A changed copy of a file is given as its path, which ends in ".py" and is run, or as its module or class, which the
    result then has as `GLN`. With Numba, a line on stderr says when a call compiles, once per process.

    Raises:
        ImportError: the framework is not installed.
        ValueError: there is no backend of this name, no such file, or no `GLN` in the module.
    """
    if hasattr(getattr(backend, "GLN", None), "predict_arrays"):
        return backend
    if hasattr(backend, "predict_arrays"):
        return SimpleNamespace(GLN=backend, __name__=backend.__name__)
    if isinstance(backend, str) and backend.endswith(".py"):
        if not Path(backend).is_file():
            raise ValueError(f"backend: expected a Python file, got {backend!r}")
        return _of_file(str(Path(backend).resolve()), Path(backend).stat().st_mtime_ns)
    if not isinstance(backend, str) or backend not in ("auto", *BACKENDS):
        raise ValueError(f"backend: expected 'auto', one of {list(BACKENDS)} or a GLN, got {backend!r}")
    name = fastest_backend() if backend == "auto" else backend
    module = importlib.import_module(f"gln_{name}")
    if name == "numba":
        _watch_compiling()
    return module


@functools.cache
def _of_file(path: str, changed: int) -> Any:
    """The module of a changed copy, run once until its time of change is another."""
    spec: Any = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return load_backend(module)


@functools.cache
def _watch_compiling() -> None:
    try:
        from numba.core.event import Listener, register
    except ImportError:  # another Numba, of which nothing is known
        return

    class Watch(Listener):
        """Told by Numba when a function is compiled, but not when it is loaded from the cache."""

        has_said = False

        def on_start(self, event: Any) -> None:
            function = getattr((event.data or {}).get("dispatcher"), "py_func", None)
            if getattr(function, "__module__", "").split(".")[0] in ("gln", "gln_numba") and not self.has_said:
                self.has_said = True
                wait = "up to half a minute on an idle machine; the result is kept on disk"
                print(f"gln: waiting for Numba to compile, {wait}", file=sys.stderr)

        def on_end(self, event: Any) -> None: ...

    register("numba:compile", Watch())
