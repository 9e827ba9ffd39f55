"""Threads that need compiled loops at the same time, each for its model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import run_python

from gln.engine.jit import compiled

FIRST_USE = """
import os, threading, time
import numba
from gln.river import GLNClassifier, GLNRegressor

njit = numba.njit

def slow_njit(*arguments, **options):  # so that the second thread is still in it when the first is done
    time.sleep(0.03 if threading.current_thread() is threads[1] else 0.01)
    return njit(*arguments, **options)

def models():
    return [kind.load(os.path.join(os.environ["FOLDER"], kind.__name__)) for kind in (GLNClassifier, GLNRegressor)]

def learn(model):
    for place in range(5):
        model.learn_one({"a": place / 3, "b": "xyz"[place % 3]}, place % 2)

def learn_at_once(model):
    barrier.wait()
    learn(model)

numba.njit, barrier, together = slow_njit, threading.Barrier(2), models()
threads = [threading.Thread(target=learn_at_once, args=[model]) for model in together]
for step in (threading.Thread.start, threading.Thread.join):
    for thread in threads:
        step(thread)
for one, other in zip(together, models()):
    learn(other)  # the second after the first
    for x in ({"a": 0.5, "b": "x"}, {"a": -1.0, "b": "y"}):
        predictions = [getattr(model, "predict_proba_one", model.predict_one)(x) for model in (one, other)]
        assert predictions[0] == predictions[1], predictions
"""


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


@pytest.mark.slow
def test_two_models_learn_first_in_two_threads(tmp_path):
    pytest.importorskip("numba")
    river = pytest.importorskip("gln.river", exc_type=ImportError)
    for kind in (river.GLNClassifier, river.GLNRegressor):
        model = kind(seed=0, backend="numba")
        for place in range(9):
            model.learn_one({"a": place / 9, "b": "xy"[place % 2]}, place % 2)
        model.save(tmp_path / kind.__name__)
    run_python(FIRST_USE, FOLDER=str(tmp_path))
