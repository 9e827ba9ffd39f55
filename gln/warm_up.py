"""`python -m gln.warm_up` compiles the Numba code of networks and estimators, so that their first calls need not.

Compiled code is cached in `__pycache__` beside `gln_numba.py`, or in the user's cache folder if that is not writable;
`NUMBA_CACHE_DIR` selects another folder. The code is specific to the kind of processor: warm up where it will run.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from gln.backends import load_backend
from gln.bandits import GLNBandit
from gln.sklearn import GLNClassifier, GLNDensityClassifier, GLNRegressor

__all__ = ["main", "warm_up"]


def warm_up() -> dict[str, float]:
    """Make each kind of call once; returns the seconds of each, by name. Raises ImportError without Numba."""
    seconds = {}
    x = np.random.default_rng(0).normal(size=(5, 60))
    for call in (networks, tables, streams, decisions, lines):
        start = time.perf_counter()
        call(x, x[0])
        seconds[call.__name__] = time.perf_counter() - start
    return seconds


def networks(x: np.ndarray, y: np.ndarray) -> None:  # (F, N), (N,)
    """A GLN with dense and sparse samples, and one so large that threads share its layers."""
    numba = load_backend("numba")
    sparse = csc_array(x)
    numba.GLN([256, 256, 1], 5, 5, seed=0).predict_online(x, x, y > 0)
    model = numba.GLN([2, 1], 5, 5, seed=0)
    for inputs, context_inputs in ((x, x), (sparse, sparse), (x, sparse), (sparse, x)):
        model.predict_online(inputs, context_inputs, y > 0)
    model.predict(x[:, 0], x[:, 0])
    model.explain(x, x)


def estimators(**more: Any) -> Iterator[tuple[Any, bool]]:
    """Estimators for classes, categories, means and densities, and whether each is a classifier."""
    yield GLNDensityClassifier(backend="numba"), True
    for categorical in (None, [0]):
        yield GLNClassifier(backend="numba", categorical_features=categorical, **more), True
    for density in (False, True):
        yield GLNRegressor(backend="numba", density=density, **more), False


def tables(x: np.ndarray, y: np.ndarray) -> None:  # (F, N), (N,)
    """`fit`, with samples as rows."""
    for estimator, classifies in estimators(n_epochs=1):
        estimator.fit(x.T, y > 0 if classifies else y).predict(x.T)
        estimator.predict(x.T[:1])


def streams(x: np.ndarray, y: np.ndarray) -> None:  # (F, N), (N,)
    """`partial_fit` with many samples, and with one, which takes one compiled call."""
    for estimator, classifies in estimators():
        known = {"classes": [False, True]} if classifies else {}
        for rows in (slice(0, 50), slice(50, 51), slice(51, 52)):
            samples = x[:, rows].T
            targets = y[rows] > 0 if classifies else y[rows]
            estimator.partial_fit(samples, targets, **known).predict(samples)


def decisions(x: np.ndarray, y: np.ndarray) -> None:  # (F, N), (N,)
    """A bandit whose second context has a word."""
    bandit = GLNBandit(["left", "right"], backend="numba")
    numbers = dict(enumerate(x[:, 0].tolist()))
    for context in (numbers, numbers | {"word": 1.0}):
        bandit.learn(context, bandit.decide(context).arm, y[0])


def lines(x: np.ndarray, y: np.ndarray) -> None:  # (F, N), (N,)
    """`gln.river`, as `gln-stream` calls it: with numbers and with text, several samples together and one."""
    if importlib.util.find_spec("river") is None:
        return
    from gln.river import GLNClassifier as OfClasses
    from gln.river import GLNRegressor as OfNumbers

    numbers = pd.DataFrame(x.T, columns=list("abcde"))
    for frame in (numbers, numbers.assign(a=np.where(y > 0, "yes", "no"))):
        OfClasses(backend="numba").predict_learn_many(frame, (y > 0).tolist())
        for density in (False, True):
            OfNumbers(backend="numba", density=density).predict_learn_many(frame, y.tolist())
    rows = [{"a": number, f"word {row % 30}": 1} for row, number in enumerate(y)]
    OfClasses(backend="numba").predict_learn_many(rows, (y > 0).tolist())


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        seconds = warm_up()
        folder = load_backend("numba").learn_block.stats.cache_path
    except ImportError as error:
        print(f"gln.warm_up: {error}", file=sys.stderr)
        return 2
    for name, value in seconds.items():
        print(f"{name}: {value:.1f} s")
    print(f"{sum(seconds.values()):.1f} s in total; the compiled code is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
