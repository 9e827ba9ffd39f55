"""Calls side by side: in threads, since compiled loops and NumPy release Python's lock, or as joblib is configured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

Result = TypeVar("Result")


def thread_count() -> int:
    """How many threads scikit-learn's compiled estimators would take, but at most NUMBA_NUM_THREADS.

    It is the number of cores, or less: OMP_NUM_THREADS, which joblib sets in its processes, threadpoolctl's limit, or a
    container's share.
    """
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads  # takes a while to import

    threads = _openmp_effective_n_threads()
    return min(threads, int(os.environ.get("NUMBA_NUM_THREADS", threads)))


def in_threads(
    function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], n_jobs: int | None = None
) -> Iterator[Result]:
    """The results of calls, in their order, each as soon as it is there.

    The calls must change nothing in common. With `n_jobs=None`, which `joblib.parallel_config` may set, there are
    `thread_count` threads. They are threads of a pool, in which Numba's networks start no others.
    """
    calls, threads = list(arguments), effective_n_jobs(n_jobs)
    threads = thread_count() if n_jobs is None and threads == 1 else threads
    if len(calls) == 1 < threads:
        yield function(*calls[0])
        return
    with ThreadPoolExecutor(min(threads, max(1, len(calls)))) as pool:
        yield from pool.map(lambda args: function(*args), calls)


def run_all(
    function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], n_jobs: int | None
) -> Iterator[Result]:
    """`in_threads`, or in processes if `joblib.parallel_config` asks for them, of this machine or of others."""
    backend, _ = get_active_backend(prefer="threads")
    if getattr(backend, "supports_sharedmem", False) or effective_n_jobs(n_jobs) == 1:
        return in_threads(function, arguments, n_jobs)
    return Parallel(n_jobs, return_as="generator")(delayed(function)(*args) for args in arguments)
