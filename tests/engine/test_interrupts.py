"""An interrupt wherever Python may notice it: the model has learned a sample or not, and goes on."""
# ruff: noqa: N806 - X is the name of tables

from __future__ import annotations

import copy
import functools
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

import gln
from gln import sklearn
from gln.bandits import GLNBandit
from gln.engine.interrupts import uninterrupted
from gln.novelty import GLNNovelty
from gln.river import GLNClassifier, GLNDensityClassifier, GLNRegressor

PACKAGE = str(Path(gln.__file__).parent)
SIZES: dict[str, Any] = {"layer_sizes": (4,), "context_map_size": 2, "seed": 0}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


@pytest.fixture(autouse=True)
def heeded():
    """Interrupts are ignored where a script runs these tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Lines:
    """Counts the lines of the package that a call runs, and interrupts before one of them."""

    def __init__(self, interrupted: int = -1) -> None:
        self.count, self.interrupted = 0, interrupted

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            if self.count == self.interrupted:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
            self.count += 1
        return self

    def run(self, call: Callable[[], object]) -> bool:
        """Whether the call was interrupted."""
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False


# ---- What is interrupted ---------------------------------------------------------------------------------------------


def samples(count: int, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = [{"a": float(a), "b": float(b), "c": "xyz"[int(3 * b * b) % 3]} for a, b in rng.normal(size=(count, 2))]
    return [{**row, **more} for row in rows]


def label(x: dict[str, Any]) -> str:
    return "high" if x["a"] > x["b"] else "low"


def taught(model: Any, target: Callable[[Any], Any] = label) -> Any:
    for x in samples(30):
        model.learn_one(x, target(x))
    return model


def words(x: dict[str, Any], i: int) -> dict[str, Any]:
    return {**x, f"word {i % 3}": 1, f"rare {i}": 1}


NEW: dict[str, list[dict[str, Any]]] = {
    "nothing": samples(1, 1),
    "level": samples(1, 1, c="new"),
    "word": samples(1, 1, d=1.0, e="text"),
    "class": samples(1, 1),
}


def learn_one(new: str, model: Any) -> None:
    [x] = NEW[new]
    model.learn_one(x, "other" if new == "class" else label(x))


def of_rows() -> tuple[pd.DataFrame, list[str]]:
    """Rows with a new level, a new name and a new class."""
    rows = [*samples(2, 1), *samples(1, 2, c="new"), *samples(1, 3, d=1.0), *samples(2, 4)]
    return pd.DataFrame(rows), [*map(label, rows[:-2]), "other", "high"]


def learn_number(model: Any) -> None:
    model.learn_one(samples(1, 1, c="new")[0], 30.0)


def first(model: Any) -> None:
    model.learn_one(samples(1)[0], "low")


def with_words() -> Any:
    """The next sample turns words into features."""
    model = GLNClassifier(**SIZES)
    for i, x in enumerate(samples(30)):
        model.learn_one(words(x, i), label(x))
    return model


def class_densities() -> Any:
    return taught(GLNDensityClassifier(**SIZES))


def bandit(features: bool) -> Any:
    arms = {"old": {"size": 1.0}, "other": {"size": 2.0}} if features else ["old", "other"]
    model = GLNBandit(arms, **SIZES)
    for x in samples(20):
        model.learn(x, model.decide(x).arm, x["a"])
    return model


def offered(features: bool) -> Any:
    return {name: {"size": i, "kind": name} for i, name in enumerate(["new", "old"])} if features else ["new", "old"]


def partial_fit(model: Any) -> None:
    X = np.array([[x["a"], x["b"]] for x in samples(3, 1)])
    model.partial_fit(X, [0, 1, 1])


def fitted() -> Any:
    X = np.array([[x["a"], x["b"]] for x in samples(30)])
    model = sklearn.GLNClassifier((4,), context_map_size=2, random_state=0)
    return model.partial_fit(X, X[:, 0] > X[:, 1], classes=[0, 1])


Case = tuple[Callable[[], Any], Callable[[Any], object]]
CASES: dict[str, Case] = {
    **{f"a new {new}": (lambda: taught(GLNClassifier(**SIZES)), functools.partial(learn_one, new)) for new in NEW},
    "the first sample": (lambda: GLNClassifier(**SIZES), first),
    "words": (with_words, functools.partial(learn_one, "word")),
    "density": (class_densities, functools.partial(learn_one, "class")),
    "numbers": (lambda: taught(GLNRegressor(**SIZES), lambda x: x["a"]), learn_number),
    "rows": (lambda: taught(GLNClassifier(**SIZES)), lambda model: model.learn_many(*of_rows())),
    "predicted rows": (lambda: taught(GLNClassifier(**SIZES)), lambda model: model.predict_learn_many(*of_rows())),
    "novelty": (lambda: GLNNovelty(random_state=0), lambda model: model.learn_one(samples(1)[0])),
    "a decision": (lambda: bandit(False), lambda model: model.decide(samples(1, 1)[0], offered(False))),
    "a new arm": (lambda: bandit(False), lambda model: model.learn_log([(samples(1, 1)[0], "new", 1.0, 1.0)])),
    "a retired arm": (lambda: bandit(False), lambda model: model.retire("old")),
    "a decision of features": (lambda: bandit(True), lambda model: model.decide(samples(1, 1)[0], offered(True))),
    "an arm of features": (
        lambda: bandit(True),
        lambda model: model.learn(samples(1, 1)[0], "new", 1.0, {"size": 3.0, "kind": "new"}),
    ),
    "partial_fit": (fitted, partial_fit),
}


def behaviour(model: Any) -> list[Any]:
    """What a model predicts for new samples, and after learning them."""
    found: list[Any] = []
    model, rows = copy.deepcopy(model), samples(2, 9, d=2.0, c="new")
    for x in rows:
        if isinstance(model, GLNBandit):
            found += [model.decide(x), model.predict(x), list(model._model.arms)]
            model.learn(x, "other", 1.0)
        elif isinstance(model, sklearn.GLNClassifier):
            values = np.array([[x["a"], x["b"]]])
            found += [model.predict_proba(values).tolist()]
            model.partial_fit(values, [1])
        elif isinstance(model, GLNNovelty):
            found += [model.score_one(x), model.explain_one(x)]
            model.learn_one(x)
        else:
            of_numbers = isinstance(model, GLNRegressor)
            found += [model.predict_one(x) if of_numbers else model.predict_proba_one(x), model.known_names]
            model.learn_one(x, 5.0 if of_numbers else "low")
    return found


@functools.cache
def references(name: str) -> tuple[Any, int, list[Any]]:
    """A model, the lines that its lesson takes, and how models behave that have learned some of its samples."""
    make, lesson = CASES[name]
    model = make()
    if "rows" in name:
        X, y = of_rows()
        known = [copy.deepcopy(model) for _ in range(len(X) + 1)]
        for count, each in enumerate(known[1:], 1):
            each.learn_many(X[:count], y[:count])
    else:
        known = [model, copy.deepcopy(model)]
        lesson(known[1])
    lesson(copy.deepcopy(model))  # what is compiled now takes no lines later
    lines, another = Lines(), copy.deepcopy(model)
    assert not lines.run(lambda: lesson(another))
    return model, lines.count, [*map(behaviour, known)]


def interrupted(name: str, line: int) -> None:
    """Assert that a model which is interrupted before this line behaves like one that was not."""
    model, lines, known = references(name)
    model = copy.deepcopy(model)
    assert Lines(line % lines).run(lambda: CASES[name][1](model))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert behaviour(model) in known, f"{name}, line {line % lines} of {lines}"


@pytest.mark.parametrize("count", [5, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_an_interrupt_leaves_no_model_half_changed(name, count):
    for line in np.random.default_rng(count).integers(1 << 30, size=count).tolist():
        interrupted(name, line)


# ---- The deferral ----------------------------------------------------------------------------------------------------


def test_interrupts_wait_for_the_end():
    done: list[int] = []

    @uninterrupted
    def call(interrupts: int) -> None:
        for _ in range(interrupts):
            signal.raise_signal(signal.SIGINT)
        done.append(interrupts)

    for interrupts in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            call(interrupts)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert done == [1, 2]


def test_a_handler_of_others_is_called_and_kept():
    came: list[int] = []

    def handler(number: int, _: object) -> None:
        came.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        uninterrupted(signal.raise_signal)(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]


def test_threads_learn():
    model = GLNClassifier(**SIZES)
    thread = threading.Thread(target=lambda: taught(model))
    thread.start()
    thread.join()
    assert list(model.predict_proba_one(samples(1)[0])) == list(taught(GLNClassifier(**SIZES)).predict_proba_one({}))
