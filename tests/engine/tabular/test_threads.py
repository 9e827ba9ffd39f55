"""Work shared among threads: the same results, and no model after an error in one."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.utils import _openmp_helpers

from gln.engine import parallel
from gln.engine.parallel import in_threads, thread_count
from gln.sklearn import GLNClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_epochs": 1, "random_state": 0}


def digits(classes: int) -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400] if classes == 10 else np.arange(400) % classes


@pytest.mark.parametrize(("classes", "networks"), [(10, 4), (10, 1), (100, 1), (2, 1)])
def test_a_classifier_is_the_same_to_the_last_bit(classes, networks):
    X, y = digits(classes)
    options = {**SMALL, "backend": "numba", "n_networks": networks}
    alone = GLNClassifier(**options, n_jobs=1).fit(X, y)
    with joblib.parallel_config(n_jobs=2):
        shared = GLNClassifier(**options).fit(X, y)
    np.testing.assert_array_equal(shared.decision_function(X), alone.decision_function(X))


def test_a_regressor_is_the_same_to_the_last_bit():
    X, y = load_diabetes(return_X_y=True)
    targets, weights = np.stack([y, -y, 2 * y], axis=1), np.linspace(0, 3, len(y))
    options = {**SMALL, "backend": "numba", "quantiles": (0.1, 0.5, 0.9), "n_networks": 1}
    alone, shared = (GLNRegressor(**options, n_jobs=jobs).fit(X, targets, weights) for jobs in (1, 2))
    np.testing.assert_array_equal(shared.predict(X), alone.predict(X))
    np.testing.assert_array_equal(shared.predict_quantiles(X), alone.predict_quantiles(X))


def test_threads_are_as_many_as_other_estimators_take(monkeypatch):
    ran: set[int] = set()

    def note(number: int) -> int:
        ran.add(threading.get_ident())
        time.sleep(0.02)
        return number

    calls = [(number,) for number in range(6)]
    monkeypatch.setenv("OMP_NUM_THREADS", "9,2")  # the second one is of threads in threads
    for cores, environment in [(1, "3"), (3, "2"), (3, "8")]:
        monkeypatch.setenv("NUMBA_NUM_THREADS", environment)
        monkeypatch.setattr(_openmp_helpers, "_openmp_effective_n_threads", functools.partial(min, 9, cores))
        ran.clear()
        assert [*in_threads(note, calls)] == [*range(6)]
        assert len(ran) == thread_count() == min(cores, int(environment))
        ran.clear()
        assert [*in_threads(note, calls, n_jobs=1)] == [*range(6)]
        assert len(ran) == 1
    monkeypatch.delitem(sys.modules, _openmp_helpers.__name__)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 12)
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert thread_count() == 9


def test_an_error_in_a_thread_is_raised_and_leaves_no_model():
    def fail(t: int) -> float:
        raise RuntimeError("no rate")

    X, y = digits(10)
    model = GLNClassifier(**SMALL, backend="numpy", learning_rate=fail, n_jobs=2)
    with pytest.raises(RuntimeError, match="no rate"):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_predictions_of_many_rows_are_those_of_each_part():
    X, y = digits(10)
    model = GLNClassifier(**SMALL, n_networks=2).fit(X, y)
    many = np.tile(X, (6, 1))  # chunks of them share threads
    np.testing.assert_array_equal(model.predict_proba(many), np.tile(model.predict_proba(X), (6, 1)))
