"""Shared by several test files: comparing states and files, blocks of pages, and scripts in a separate Python."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import gln_numpy
from gln.engine.model.saveable import Saveable
from gln.engine.networks.protocol import is_network
from gln.engine.saving import SAVED, Arrays, decoded, encoded, read

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


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


def assert_same_file(one: Path, other: Path) -> None:
    """Assert that two saved models, and the figures of their runs, are the same to the last bit."""
    (config, arrays), (expected, of_other) = read(one), read(other)
    assert config == expected
    assert arrays.keys() == of_other.keys()
    assert [name for name in arrays if arrays[name].tobytes() != of_other[name].tobytes()] == []


def fields_of(dataclass: Any) -> dict[str, Any]:
    return {field.name: getattr(dataclass, field.name) for field in dataclasses.fields(dataclass)}


def as_in_a_file(place: str, made: Any, **changed: Any) -> Any:
    """The object that is read from a file of this one with changed fields."""
    arrays = Arrays()
    saved = encoded(place, made, arrays)
    saved["fields"] |= {name: encoded(f"changed {name}", value, arrays) for name, value in changed.items()}
    return decoded(place, saved, arrays, None)


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
    optional = ("learner", "value")

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


def blocks(page: str = "README.md") -> list[tuple[str, str]]:
    """The language and the code of each block."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def words(text: str) -> list[str]:
    """Words with numbers as #; brackets are separate words, because NumPy pads numbers that are a digit shorter."""
    return re.sub(r"([\[\]])", r" \1 ", NUMBER.sub("#", text)).split()


def assert_shown(output: str, shown: str) -> None:
    """Assert equal words and nearly equal numbers: within 1 %, or 10 for counts of 20 and more, because rounding on
    another processor moves a few digits across a hyperplane. If the shown output ends in a line of dots, only its lines
    are compared."""
    lines = shown.splitlines(keepends=True)
    if lines[-1] == "...\n":
        output, shown = "".join(output.lstrip().splitlines(keepends=True)[: len(lines) - 1]), "".join(lines[:-1])
    assert words(output) == words(shown), output
    for ours, theirs in zip(NUMBER.finditer(output), NUMBER.finditer(shown), strict=True):
        number = theirs[0]
        is_count = "." not in number and float(number) >= 20 and shown[theirs.end() :][:1] != "%"
        slack = 10 if is_count else 0.01
        np.testing.assert_allclose(float(ours[0]), float(number), rtol=0.01, atol=slack, err_msg=output)


def run_python(code: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a script in a separate process and return its output; a failed assertion there fails the test."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
