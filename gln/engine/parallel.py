"""Calls side by side, in threads, since compiled loops and NumPy release Python's lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from joblib import cpu_count, effective_n_jobs

Result = TypeVar("Result")


def thread_count() -> int:
    """How many threads scikit-learn's compiled estimators would take, but at most NUMBA_NUM_THREADS.

    It is the number of cores, or less: OMP_NUM_THREADS, which joblib sets in its processes, a container's share, or
    threadpoolctl's limit, if scikit-learn is imported.
    """
    openmp: Any = sys.modules.get("sklearn.utils._openmp_helpers")  # to import it takes half a second
    threads = cpu_count() if openmp is None else openmp._openmp_effective_n_threads()
    limits = (os.environ.get(name, "").split(",")[0] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"))
    return max(1, min([threads, *(int(limit) for limit in limits if limit.isdecimal())]))


def in_threads(
    function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], n_jobs: int | None = None
) -> Iterator[Result]:
    """The results of calls, in their order, each as soon as it is there.

    The calls must change nothing in common. With `n_jobs=None`, which `joblib.parallel_config` may set, there are
    `thread_count` threads. They are threads of a pool, in which Numba's networks start no others.
    """
    calls = list(arguments)
    threads = effective_n_jobs(n_jobs)
    threads = thread_count() if n_jobs is None and threads == 1 else threads
    if len(calls) == 1 < threads:
        yield function(*calls[0])
        return
    with ThreadPoolExecutor(min(threads, max(1, len(calls)))) as pool:
        yield from pool.map(lambda args: function(*args), calls)
