"""Loops that Numba compiles where it is installed, and that Python runs as they are where it is not."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import inspect
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

Loop: TypeAlias = Callable[..., Any]
LOCK = threading.RLock()  # of several threads that need a loop for the first time, one compiles it


@functools.cache
def is_compiled() -> bool:
    """Whether loops are compiled."""
    return importlib.util.find_spec("numba") is not None


@functools.cache
def compiled(loop: Loop) -> Loop:
    """The compiled function, with the functions of this package that it calls.

    Numba is imported by the first call, because that takes a while.
    """
    with LOCK:
        return _compiled(loop)


@functools.cache
def _compiled(loop: Loop) -> Loop:
    if not is_compiled():
        return loop
    import numba

    for called in _called_by(loop):
        _register(called)
    njit: Any = numba.njit
    # x / 0 is infinite, as in NumPy. Nothing calls loops through pointers of C, so no wrappers are compiled for these.
    return without_stale(njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(loop))


@functools.cache
def _register(function: Loop) -> None:
    """Let compiled code call a function, and the functions of this package that it calls."""
    from numba import extending

    extending.register_jitable(function)
    for called in _called_by(function):
        _register(called)


def _called_by(function: Any) -> list[Loop]:
    """The functions of this package that a function names."""
    named = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [value for value in named if inspect.isfunction(value) and value.__module__.startswith("gln.")]


def without_stale(function: Any) -> Any:
    """A compiled function that is not loaded from disk if a file of the package has changed since.

    Numba compares only the file of the function itself, not of those that it calls, and after it has read what is on
    disk, which fails if this names a type that is gone.
    """
    for index in Path(function.stats.cache_path).glob(f"*.{function.py_func.__qualname__}-*.nbi"):
        with contextlib.suppress(OSError):
            if index.stat().st_mtime < _last_change():
                index.unlink()
    return function


@functools.cache
def _last_change() -> float:
    """When a file of the package changed, in seconds."""
    return max(file.stat().st_mtime for file in Path(__file__).parents[1].rglob("*.py"))


def plain(array: ArrayLike) -> np.ndarray:
    """As float64, contiguous and writeable: for other kinds of arrays, Numba would compile everything again."""
    array = np.ascontiguousarray(array, np.float64)
    return array if array.flags.writeable else array.copy()


class WritableArrays:
    """Copies its arrays when it is unpickled: joblib passes large ones to its processes memory-mapped and read-only."""

    def __setstate__(self, state: Mapping[str, object]) -> None:
        for name, value in state.items():
            has_arrays = isinstance(value, (np.ndarray, dict, list, tuple))  # other objects have copied theirs
            vars(self)[name] = copy.deepcopy(value) if has_arrays else value
