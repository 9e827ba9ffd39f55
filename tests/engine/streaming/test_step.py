"""The compiled step predicts and learns what the plain way does, which is its reference."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import run_python

pytest.importorskip("river")
pytest.importorskip("numba")

from gln import sklearn
from gln.bandits import GLNBandit
from gln.engine.batches import SampleBatch, Words, no_words
from gln.engine.saving import read
from gln.river import GLNClassifier, GLNRegressor

COUNT = 80
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(COUNT, 4))
LEVELS = [f"level {i}" for i in RNG.exponential(5, COUNT).astype(int)]  # more and more of them
SMALL: dict[str, Any] = {"layer_sizes": (6, 3), "context_map_size": 2, "seed": 0}


def numbers(i: int) -> dict[str, Any]:
    return dict(zip("abcd", NUMBERS[i].tolist(), strict=True))


def strings(i: int) -> dict[str, Any]:
    return {"a": NUMBERS[i, 0], "level": LEVELS[i], "few": "xy"[i % 2]}


def words(i: int) -> dict[str, Any]:
    return {"a": NUMBERS[i, 0]} | {f"word {(i * j) % 37}": 1.0 for j in range(1, 9)}


def classes(i: int) -> int:
    return int(NUMBERS[i, 0] > 0) + int(i > 30 and NUMBERS[i, 1] > 0.5)  # the third class is late


def target(i: int) -> float:
    return float(NUMBERS[i, 0] * NUMBERS[i, 1])


STREAMS: dict[str, tuple[Callable[..., Any], Callable[[int], dict[str, Any]], Callable[[int], Any]]] = {
    "numbers": (GLNClassifier, numbers, classes),
    "strings": (GLNClassifier, strings, classes),
    "words": (GLNClassifier, words, classes),
    "regression": (GLNRegressor, strings, target),
    "quantiles": (functools.partial(GLNRegressor, quantiles=(0.9, 0.1, 0.5)), numbers, target),
    "density": (functools.partial(GLNRegressor, density=True, quantiles=(0.5,)), strings, target),
    "rate": (functools.partial(GLNRegressor, quantiles=(0.5,), learning_rate=0.3), words, target),
}


def learned(model: Any, folder: Any) -> dict[str, bytes]:
    model.save(folder / "model")
    config, arrays = read(folder / "model")
    return {name: array.tobytes() for name, array in arrays.items()} | {"config": repr(config).encode()}


def one_by_one(model: Any, features: Callable[[int], Any], y: Callable[[int], Any]) -> np.ndarray:
    predictions = []
    for i in range(COUNT):
        x = features(i)
        if isinstance(model, GLNClassifier):
            p = model.predict_proba_one(x)
        else:
            p = {"mean": model.predict_one(x)} | (model.predict_quantiles_one(x) if model.quantiles else {})
            p |= {"std": model.predict_one(x, with_dist=True).sigma} if model.density else {}
        predictions.append(p)
        model.learn_one(x, y(i), [1.0, 2.0, 0.5][i % 3])
    return pd.DataFrame(predictions).fillna(0.0).to_numpy()


def in_batches(model: Any, features: Callable[[int], Any], y: Callable[[int], Any]) -> np.ndarray:
    predictions = []
    for start in range(0, COUNT, 23):
        rows = range(start, min(start + 23, COUNT))
        w = [[1.0, 2.0, 0.5][i % 3] for i in rows]
        predictions.append(model.predict_learn_many([features(i) for i in rows], [y(i) for i in rows], w))
    return pd.concat(predictions).fillna(0.0).to_numpy()


def without_compiled_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gln.engine.streaming.model.is_possible", lambda means, samples: False)


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_are_predicted_and_learned_as_in_the_plain_way(kind, tmp_path, monkeypatch):
    make, *stream = STREAMS[kind]
    models = [make(backend=backend, **SMALL) for backend in ("numba", "numba", "numba", "numpy")]
    single, batches = one_by_one(models[0], *stream), in_batches(models[1], *stream)
    without_compiled_step(monkeypatch)
    plain, numpy = one_by_one(models[2], *stream), one_by_one(models[3], *stream)
    assert single.std() > 0.01
    assert [model._stream.learner.compiled is not None for model in models] == [True, True, False, False]
    for predictions, model in ((single, models[0]), (batches, models[1])):
        np.testing.assert_allclose(predictions, plain, rtol=1e-12, atol=1e-12)
        assert learned(model, tmp_path) == learned(models[2], tmp_path)
    np.testing.assert_allclose(single, numpy, atol=1e-4)


def test_one_of_many_classes_learns_with_few_heads_as_in_the_plain_way(tmp_path, monkeypatch):
    def run() -> tuple[np.ndarray, sklearn.GLNClassifier]:
        model = sklearn.GLNClassifier(layer_sizes=(6, 3), context_map_size=2, backend="numba", random_state=0)
        model.partial_fit(NUMBERS[:15], np.arange(15), classes=range(120))
        found = []
        for i in range(15, 40):
            found.append(model.predict_proba(NUMBERS[i : i + 1]))
            model.partial_fit(NUMBERS[i : i + 1], [i % 7])
        return np.concatenate(found), model

    fast, model = run()
    without_compiled_step(monkeypatch)
    plain, reference = run()
    np.testing.assert_allclose(fast, plain, rtol=1e-12, atol=1e-12)
    assert learned(model, tmp_path) == learned(reference, tmp_path)


def test_bandits_predict_and_count_as_in_the_plain_way(tmp_path, monkeypatch):
    def run() -> tuple[np.ndarray, GLNBandit]:
        bandit, found = GLNBandit(["x", "y"], backend="numba", seed=0), []
        for i in range(COUNT):
            decision = bandit.decide(strings(i))
            found.append((decision.value, decision.propensity))
            bandit.learn(strings(i), decision.arm, target(i))
        return np.array(found), bandit

    fast, model = run()
    without_compiled_step(monkeypatch)
    plain, reference = run()
    np.testing.assert_allclose(fast, plain, rtol=1e-12, atol=1e-12)
    assert learned(model, tmp_path) == learned(reference, tmp_path)


def test_a_batch_with_words_is_learned_as_its_samples(tmp_path):
    """More words than there are slots at first, which the loop asks for in the middle of a batch."""
    models = [GLNRegressor(backend="numba", quantiles=(0.2, 0.8), **SMALL) for _ in range(2)]
    for model in models:
        for i in range(20):
            model.learn_one(numbers(i), target(i))
    rows, starts = range(20, COUNT), np.arange(COUNT - 19) * 9
    count = int(starts[-1])
    batch = SampleBatch(
        NUMBERS[rows].T.copy(), Words(starts, np.arange(count) % 300, np.full(count, -1), np.linspace(1, 2, count))
    )
    targets = np.array([[target(i) for i in rows]])
    together, alone = (model._stream.learner for model in models)
    slots = len(together.featurizer.base_models.linear.keys)
    predicted = together.progressive(batch, targets, None, set())
    expected = []
    for i in range(len(rows)):
        row = slice(i, i + 1)
        expected += alone.progressive(batch.take(row), targets[:, row], None, set())
    assert [len(predicted), len(expected)] == [2, len(rows)]
    assert len(together.featurizer.base_models.linear.keys) > slots
    np.testing.assert_array_equal(np.concatenate(predicted, axis=1), np.concatenate(expected, axis=1))
    assert learned(models[0], tmp_path) == learned(models[1], tmp_path)


def test_gate_counts_of_a_batch_are_those_of_its_samples():
    bandits = [GLNBandit(["x", "y"], backend="numba", seed=0) for _ in range(2)]
    for bandit in bandits:
        for i in range(20):
            bandit.learn(numbers(i), "xy"[i % 2], target(i))
    together, alone = (bandit._model.learner for bandit in bandits)
    batch = SampleBatch(NUMBERS[20:].T.copy(), no_words(COUNT - 20))
    targets = np.full((2, COUNT - 20), np.nan)
    targets[np.arange(COUNT - 20) % 2, np.arange(COUNT - 20)] = NUMBERS[20:, 0]
    together.progressive(batch, targets, None, set())
    for i in range(COUNT - 20):
        alone.learn(batch.take(slice(i, i + 1)), targets[:, i : i + 1], predicts=False)
    assert [rows.sum() for rows in together.counts.rows] == [COUNT * len(rows) for rows in together.counts.rows]
    for rows, expected in zip(together.counts.rows, alone.counts.rows, strict=True):
        np.testing.assert_array_equal(rows, expected)


OLD_CODE = """
import os
from pathlib import Path
import numba
from loops import double
from gln.engine.jit import without_stale

double = numba.njit(cache=True)(double)
assert double(2) == 4
[index] = Path(double.stats.cache_path).glob("*.double-*.nbi")
without_stale(double)
assert index.exists()
os.utime(index, (0, 0))
assert without_stale(double)(3) == 6
assert not index.exists()
"""


def test_compiled_code_that_is_older_than_the_package_is_not_loaded(tmp_path):
    """In a process of its own: Numba keeps references to its functions, which River's check of memory would follow."""
    (tmp_path / "loops.py").write_text("def double(x):\n    return 2 * x\n")
    run_python(OLD_CODE, PYTHONPATH=str(tmp_path))
