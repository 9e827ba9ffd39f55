"""Files with a valid checksum and changed contents: an error at `load`, or a model that predicts and learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, Box, boxed, run_python

pytest.importorskip("numba")
pytest.importorskip("river")

import bombs
import changed_files
from changed_files import KINDS

from gln.engine.saving import read, write
from gln.river import GLNClassifier
from gln_numpy import GLN


def outcomes(folder: Path, first: int, last: int, seconds: float, *names: str) -> list[str]:
    """What became of the changed files with these numbers, in a process of its own, which may crash."""
    command = [sys.executable, str(ROOT / "tests" / "changed_files.py"), str(folder), str(first), str(last), *names]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    with (folder / "lines").open("w+") as lines:
        code: int | str
        try:
            code = subprocess.run(command, stdout=lines, env=environment, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = "none in time"
        lines.seek(0)
        found = lines.read().splitlines()
    assert code == 0, f"{code}: {found[-1:]}"
    return found


@pytest.mark.parametrize(
    ("last", "names"),
    [(40, ["levels", "river", "bandit of features"]), pytest.param(1500, [*KINDS], marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_changed_files_are_refused_or_used(last, names, tmp_path):
    found = outcomes(tmp_path, 0, last, 60 + last, *names)
    assert len(found) == last
    assert [line for line in found if "FAILED" in line] == []
    assert 0.5 * last < sum("refused" in line for line in found) < 0.95 * last


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the largest size of a process")
def test_small_files_take_little_memory_and_time(tmp_path):
    """Half a hundred made by hand, of every stage of reading."""
    found = [line.split("\t") for line in run_python(f"import bombs\nbombs.main({str(tmp_path)!r})").splitlines()]
    assert [name for name, *_ in found] == [*bombs.HEADERS, *bombs.BOMBS]
    wrong = [line for line in found if float(line[1]) > 2 or line[3] == "NOTHING" or "MemoryError" in line[3]]
    assert wrong == []
    assert int(found[-1][2]) < 200  # MB, that all of them took


# ---- One by one ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Any:
    """A function that loads a model of a kind after its configuration and arrays were changed."""
    folder = tmp_path_factory.mktemp("saved")

    def load(name: str, change: Any) -> Any:
        path = folder / name
        if not path.exists():
            KINDS[name].make().save(path)
        config, arrays = read(path)
        change(config.get("learned", config), arrays)
        write(folder / "changed", config, arrays)
        return changed_files.class_of(name, config).load(folder / "changed")

    return load


def put(value: Any, *path: Any) -> Any:
    """A change of what stands in the configuration at this path."""

    def change(learned: Any, arrays: dict[str, np.ndarray]) -> None:
        for key in path[:-1]:
            learned = learned[key]
        learned[path[-1]] = value

    return change


SCHEMA, LEARNER = ("_stream", "fields", "schema", "fields"), ("_stream", "fields", "learner", "fields")
CODE = ("pairs", 0, 1, "pairs", 0, 1)
WEIGHTS = (*LEARNER, "means", "fields", "combination", "fields", "weights")
LINEAR = (*LEARNER, "featurizer", "fields", "base_models", "fields", "linear", "fields")
WAITING = ("_stream", "fields", "waiting", "fields")
NOVELTY = ("_detector", "fields", "histograms", "fields")
LIMIT = (*LEARNER, "featurizer", "fields", "standardizer", "fields", "limit", "array")
CHANGES: dict[str, tuple[str, Any, str]] = {
    "a word's number": ("river", put(9, *SCHEMA, "words", "pairs", 0, 1), "words: expected numbers below 7"),
    "a large number of a word": (
        "river",
        put(5000, *SCHEMA, "words", "pairs", 0, 1),
        "words: expected numbers below 7",
    ),
    "a code": ("river", put(-(10**8), *SCHEMA, "levels", *CODE), "levels from 0 to 5, got -100000000"),
    "a code of a few bytes": ("river", put(-200, *SCHEMA, "levels", *CODE), "levels from 0 to 5, got -200"),
    "a code of a table": ("levels", put(-(10**8), "categories_", *CODE), "categories_ from 0 to 2, got -1"),
    "a feature's index": ("river", put(8, *SCHEMA, "indices", "pairs", 0, 1), "indices from 0 to"),
    "an index twice": ("river", put(1, *SCHEMA, "indices", "pairs", 0, 1), "indices: expected numbers from 0"),
    "a class twice": ("river", put(1, *SCHEMA, "classes", "pairs", 0, 1), "classes: expected numbers from 0"),
    "a negative count": ("novelty", put(-7, *NOVELTY, "count"), "histograms: expected count from 0 to"),
    "no weight": ("novelty", put(None, *NOVELTY, "total"), "histograms: expected total from 0 to"),
    "a text as weights": ("river", put("text", *WEIGHTS), "combination: expected weights, float64"),
    "a limit": ("river", put([50.0], *LIMIT), "standardizer: expected a limit"),
    "a free head that is not there": (
        "river",
        put(1, *LEARNER, "means", "fields", "free"),
        "(learner|linear): expected",
    ),
    "a free head of a table": ("levels", put(1, "learner_", "fields", "means", "fields", "free"), "learner: expected"),
    "another dtype": (
        "river",
        put({"array": [], "dtype": "<i8", "shape": [0, 2, 3]}, *LINEAR, "leaders"),
        "linear: expected leaders, float64 of shape",
    ),
    "weights of another shape": (
        "river",
        put({"array": [1.0], "dtype": "<f8", "shape": [1]}, *WEIGHTS),
        r"shape \(T, E\)",
    ),
    "a class that is not declared": ("river", put("Path", *LEARNER[:2], "learner", "object"), "KeyError"),
    "a head that is not there": (
        "bandit",
        put(9, "_model", "fields", "arms", "pairs", 0, 1),
        r"arms: expected one of \d heads for each arm",
    ),
    "what waits without a learner": (
        "fresh",
        put({"pairs": [["0", {"array": [0.0], "dtype": "<f8", "shape": [1, 1, 1]}]]}, *WAITING, "predictions"),
        "waiting: expected no predictions without a last neuron, got 1",
    ),
    "what waits without a prediction": (
        "river, late",
        put({"pairs": [["0", 1]]}, *WAITING, "repeats"),
        "waiting: expected repeats of samples that wait",
    ),
    "what waits of no model": (
        "river, late",
        put({"array": [], "dtype": "<f8", "shape": [0, 1, 1]}, *WAITING, "predictions", "pairs", 0, 1),
        r"waiting: expected predictions of at least \d models, got 0",
    ),
    "what waits of no model, in a table": (
        "table, late",
        put({"array": [], "dtype": "<f8", "shape": [0, 1, 1]}, "_waiting", "fields", "predictions", "pairs", 0, 1),
        r"waiting: expected predictions of at least \d models, got 0",
    ),
    "another model": ("levels", put("ClassDensity", "learner_", "object"), "expected"),
}


@pytest.mark.filterwarnings("ignore:density")
@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_file_is_refused(case, saved):
    name, change, message = CHANGES[case]
    with pytest.raises(ValueError, match=message):
        saved(name, change)


@pytest.mark.parametrize(
    ("name", "place", "part"),
    [
        *[("levels", (), part) for part in ("learner_", "classes_", "categories_", "n_features_in_", "n_iter_")],
        *[("river", (), "_stream"), ("fresh", (), "_stream")],
        *[("bandit", (), part) for part in ("_model", "_retired", "_size", "_key")],
        *[("river", ("_stream", "fields"), part) for part in ("schema", "learner")],
        *[("novelty", ("_detector", "fields"), part) for part in ("schema", "histograms", "first")],
        *[("river", SCHEMA, "levels"), ("river", LEARNER, "variances"), ("bandit", ("_model", "fields"), "arms")],
    ],
)
def test_a_file_without_a_part_is_refused(name, place, part, saved):
    def change(learned: Any, arrays: dict[str, np.ndarray]) -> None:
        for key in place:
            learned = learned[key]
        del learned[part]

    with pytest.raises(ValueError, match=rf": expected the fields .*, got no {part}$"):
        saved(name, change)


def test_names_of_features_may_be_missing(saved):
    model = saved("levels", lambda learned, arrays: learned.pop("feature_names_in_"))
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("dtype", ["S1900000000", "U400000000", "(9000,9000)f8", "V9", "U5"])
def test_a_file_tells_no_width_of_texts(dtype, tmp_path):
    boxed(value=np.array(["a", "bcd"], "U9")).save(tmp_path / "m")
    assert vars(Box.load(tmp_path / "m"))["value"].dtype == "U3"
    config, arrays = read(tmp_path / "m")
    config["learned"]["value"]["dtype"] = dtype
    write(tmp_path / "m", config, arrays)
    with pytest.raises(ValueError, match="value: expected an array of numbers or texts, got dtype"):
        Box.load(tmp_path / "m")


@pytest.mark.parametrize(
    "config",
    [
        [0] * 10**5,
        {"estimator": []},
        {"estimator": {"\x1b[31m": 1}},
        {"estimator": "\x1b]0;owned\x07" + "x" * 10**6},
        {"layer_sizes": "x" * 10**6},
    ],
    ids=range(5),
)
def test_messages_are_short_and_without_escape_codes(config, tmp_path):
    write(tmp_path / "m", config, {"none": np.zeros(1)})
    for load in (GLNClassifier.load, GLN.load):
        with pytest.raises(ValueError, match="expected") as caught:
            load(tmp_path / "m")
        assert len(str(caught.value)) < 2000
        assert str(caught.value).isprintable()
