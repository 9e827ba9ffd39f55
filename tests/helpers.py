"""Shared by several test files: converting tensors, comparing states, and running scripts in a separate Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import gln_numpy
from gln.engine.model.saveable import Saveable
from gln.engine.networks.protocol import is_network
from gln.engine.saving import SAVED

ROOT = Path(__file__).parents[1]


def backend_name(backend: Any) -> str:
    return backend.__name__.removeprefix("gln_")


def to_numpy(tensor: Any) -> np.ndarray:
    return np.asarray(tensor)


def assert_same_state(one: Any, other: Any, rtol: float = 0, atol: float = 0) -> None:
    """Assert that two states, or the states of two models, have the same arrays."""
    one, other = (state if isinstance(state, Mapping) else state.get_state() for state in (one, other))
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=rtol, atol=atol, err_msg=name)


def learner_state(learner: Any) -> dict[str, np.ndarray]:
    """Copies of all arrays that a model has learned, for `assert_same_state`; "0 step" is of its first network."""
    state = {
        f"{i} {name}": array
        for i, network in enumerate(learner.networks)
        for name, array in network.get_state().items()
    }
    return state | dict(_arrays_of("", learner))


def _arrays_of(place: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """All numbers that a file would hold of a model, besides its networks, by their place."""
    if type(value) in SAVED and not is_network(value):
        fields = (
            value.to_save()
            if hasattr(value, "to_save")
            else {name: getattr(value, name) for name in SAVED[type(value)]}
        )
        value = fields
    if isinstance(value, (Mapping, list)):
        for name, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _arrays_of(f"{place}.{name}", entry)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        yield place, value.copy()


class Box(Saveable):
    """An estimator that only holds what it is given."""

    kept: ClassVar[dict[str, Any]] = {"learner": object, "value": object}

    def __init__(self, learning_rate: Any = None, backend: str = "numpy") -> None:
        self.learning_rate, self.backend = learning_rate, backend


def boxed(**values: Any) -> Box:
    box = Box()
    vars(box).update(values)
    return box


def watch_rates(monkeypatch: Any) -> list[float]:
    """A list that collects the first learning rate of each part that a NumPy network learns."""
    firsts: list[float] = []
    learn = gln_numpy.GLN.predict_arrays

    def watched(self: Any, base: Any, context: Any, targets: Any = None, rates: Any = None, *others: Any) -> Any:
        if targets is not None:
            firsts.append(rates[0])
        return learn(self, base, context, targets, rates, *others)

    monkeypatch.setattr(gln_numpy.GLN, "predict_arrays", watched)
    return firsts


def run_python(code: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a script in a separate process and return its output; a failed assertion there fails the test."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environ = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
