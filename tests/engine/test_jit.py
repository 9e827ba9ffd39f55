"""Threads that need compiled loops at the same time, each for its model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gln.engine.jit import compiled


def run_in_threads(count: int, call: Callable[[], object]) -> None:
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        call()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_loop_that_several_threads_need_first_is_made_once(monkeypatch):
    numba = pytest.importorskip("numba")
    made: list[Any] = []
    found: list[Any] = []

    def njit(**options: Any) -> Any:
        time.sleep(0.05)  # so that all threads are here, unless only one may be
        made.append(lambda loop: (loop, len(made)))
        return made[-1]

    def loop() -> None: ...

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr("gln.engine.jit.without_stale", lambda function: function)
    run_in_threads(4, lambda: found.append(compiled(loop)))
    assert found == [(loop, 1)] * 4
