"""Calls side by side, in threads, since compiled loops and NumPy release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from joblib import effective_n_jobs

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
