"""Fixtures shared by all tests: the backends, and real digits. Also reports that slow tests were left out."""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# With a thread per core in every matrix product, two test processes on two cores would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from backends import FRAMEWORKS, load_backend

ROOT = Path(__file__).parents[1]
ORDER = os.environ.get("GLN_TEST_ORDER")
COMPILING = pytest.StashKey[subprocess.Popen[bytes]]()
COMPILES = """
import numpy as np
from gln.sklearn import GLNClassifier
X = np.random.default_rng(0).normal(size=(60, 5))
model = GLNClassifier(backend="numba").partial_fit(X, X[:, 0] > 0, classes=[False, True])
model.partial_fit(X[:1], [True]).predict_proba(X)
"""


def pytest_configure(config: pytest.Config) -> None:
    """Compile Numba's code in one process before several need it: what each compiles may differ in the last bit.

    Meanwhile the others import what they test. JAX compiles in two thirds of the time if it need not optimise.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    several = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if several and importlib.util.find_spec("numba"):
        config.stash[COMPILING] = subprocess.Popen([sys.executable, "-c", COMPILES], cwd=ROOT)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    compiling = node.config.stash.get(COMPILING, None)
    if compiling is not None and compiling.wait():
        pytest.exit("gln_numba does not compile", compiling.returncode)


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through what frameworks created at their import, for seconds each time."""
    gc.freeze()
    gc.enable()


def pytest_report_header() -> str | None:
    return f"random order: GLN_TEST_ORDER={ORDER}" if ORDER else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        compiles = item.get_closest_marker("compiles")
        if compiles and _is_compiled(item) and not any(case in item.name for case in compiles.args):
            item.add_marker("slow")
    if ORDER:  # files in a random order, and the tests of each, which share its fixtures
        rng = random.Random(ORDER)
        places = {file: rng.random() for file in dict.fromkeys(item.path for item in items)}
        items.sort(key=lambda item: (places[item.path], rng.random()))


def _is_compiled(item: Any) -> bool:
    """Whether a test is of a backend that compiles each kind of network, for each batch size."""
    return any(isinstance(value, str) and value in ("tf", "jax") for value in item.callspec.params.values())


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.option.markexpr == "not slow":
        terminalreporter.write_line('Left out: the tests marked slow. All of them: pytest -n 2 -m ""')


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_written_beside_the_code() -> Iterator[None]:
    """No test leaves a model or a picture in the root of the checkout."""
    written = {".gln", ".onnx", ".png", ".svg"}
    before = set(os.listdir(ROOT))
    yield
    assert [name for name in set(os.listdir(ROOT)) - before if Path(name).suffix in written] == []


@pytest.fixture(params=list(FRAMEWORKS))
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return load_backend(request.param)


@pytest.fixture
def gln_numba() -> ModuleType:
    return load_backend("numba")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from benchmarks.handwriting import browser

    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip("selenium")
    try:
        driver = browser()
    except OSError as error:
        if os.environ.get("GLN_REQUIRE_BACKENDS"):
            raise
        pytest.skip(str(error))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """3,000 digits as columns (784, 3000) in [0, 1], and their labels."""
    from gln.mnist import load_mnist  # takes a second, which xdist's controller need not wait for

    images, labels, _, _ = load_mnist(deskew=False)
    return np.ascontiguousarray(images[:3000].T), labels[:3000]
