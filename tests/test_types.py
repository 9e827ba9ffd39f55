"""Types of the five modules as a user's type checker sees them: the stubs are correct, and in an installed wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from backends import FRAMEWORKS, load_backend
from helpers import ROOT

# By backend, the type of its predictions as mypy prints it, and an array as its users have it.
KINDS = {
    "numpy": ("numpy.ndarray", "np.zeros((4, 3))"),
    "torch": ("torch._tensor.Tensor", "torch.zeros((4, 3))"),
    "tf": ("Any", "tf.zeros((4, 3))"),  # TensorFlow has no types for mypy
    "jax": ("jax._src.basearray.Array", "jnp.zeros((4, 3))"),
    "numba": ("numpy.ndarray", "[[0.0, 1.0, 2.0]] * 4"),
}
IMPORTS = {"torch": "import torch", "tf": "import tensorflow as tf", "jax": "import jax.numpy as jnp"}
USER = """
import numpy as np
from gln_{name} import GLN
{imports}

x = {samples}
model = GLN([4, 2], 4, 4, num_classes=3, learning_rate=lambda t: 1 / (1 + t))
model.fit_hyperplanes(x)
reveal_type(model.predict(x, x, [0, 1, 2]))
reveal_type(model.predict_online(x, x, np.array([0, 1, 2]), batch_size=2))
reveal_type(model.explain(x, x).weights)
reveal_type(model.get_state())
model.set_state(model.get_state())
model.save("model.gln", {{"mean": np.zeros(4)}})
reveal_type(GLN.load("model.gln", learning_rate=0.1))
reveal_type(model.config.bound)
reveal_type(model.learning_rate)
model.learning_rate = None
reveal_type(model.layer_sizes)
"""
ON_TOP = """
from gln_numpy import GLN
from test_mnist import get_mnist_metrics, get_ten_digits_metrics

reveal_type(get_mnist_metrics(GLN([1], 784, 784), mnist_class=3))
reveal_type(get_ten_digits_metrics(GLN([1], 784, 784, num_classes=10)).accuracy)
"""
ESTIMATORS = """
from gln.sklearn import GLNClassifier, GLNRegressor

X, y = [[0.0], [1.0]], [0, 1]
classifier = GLNClassifier().fit(X, y).partial_fit(X, y, classes=[0, 1])
reveal_type(classifier)
reveal_type(classifier.predict_proba(X))
reveal_type(classifier.explain(X)[0])
classifier.decision_function(X), classifier.partial_fit_predict_proba(X, y), classifier.novelty(X)
regressor = GLNRegressor(density=True).fit(X, y).partial_fit(X, y)
reveal_type(regressor)
reveal_type(regressor.predict_quantiles(X, levels=[0.5]))
regressor.predict(X, return_std=True), regressor.log_density(X, y), regressor.sample(X, 3), regressor.explain(X)
"""
WRONG = """
from gln_numpy import GLN

model = GLN([1], 2, 2, layers=3)
model.predcit([[0.0], [1.0]], [[0.0], [1.0]])
model.predict({}, [0.0])
model.input_size = 3
"""
MODULES = ["test_mnist", *(f"gln_{name}" for name in FRAMEWORKS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_stubs_describe_the_module(name, tmp_path):
    pytest.importorskip("mypy")
    if name != "test_mnist":
        load_backend(name.removeprefix("gln_"))
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-tensorflow.*]\nignore_missing_imports = true\n")
    (tmp_path / "allowed").write_text(r".*\._.*|gln_tf\.GLN\.(variables|trainable_variables|submodules|name.*)" + "\n")
    settings = ["--mypy-config-file", tmp_path / "mypy.ini", "--allowlist", tmp_path / "allowed"]
    options: list[Any] = ["--concise", "--ignore-unused-allowlist", *settings]
    run = [sys.executable, "-m", "mypy.stubtest", *options, name]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "stubs"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The Python of an environment with the wheel, and with everything that is installed here."""
    folder = tmp_path_factory.mktemp("installed")
    pip, source = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"], folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "docs", "*.egg-info"))
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "user"], check=True)
    [wheel], [site] = folder.glob("*.whl"), (folder / "user").glob("lib/*/site-packages")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    (site / "here.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "user" / "bin" / "python"


def check(python: Path, text: str, folder: Path) -> tuple[list[str], list[str]]:
    """The types that mypy reveals in a user's file, and its errors."""
    pytest.importorskip("mypy")
    (folder / "user.py").write_text(text)
    options = [
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        python.parents[2] / "cache",
        "--python-executable",
        python,
    ]
    command: list[Any] = [sys.executable, "-m", "mypy", *options, "user.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.stderr
    return re.findall(r'Revealed type is "(.*)"', done.stdout), re.findall(r"error: .*", done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_users_file_has_types(name, installed, tmp_path):
    load_backend(name)
    kind, samples = KINDS[name]
    text = USER.format(name=name, samples=samples, imports=IMPORTS.get(name, ""))
    revealed, errors = check(installed, text, tmp_path)
    assert [error for error in errors if "tensorflow" not in error] == []
    start = [kind, kind, "numpy.ndarray", "dict[str, numpy.ndarray", f"gln_{name}.GLN", "float", "float | "]
    for found, expected in zip(revealed, [*start, "typing.Sequence[int]"], strict=True):
        assert found.replace("builtins.", "").startswith(expected), revealed


@pytest.mark.slow
def test_helpers_have_types_and_mistakes_are_found(installed, tmp_path):
    revealed, errors = check(installed, ON_TOP, tmp_path)
    assert errors == []
    assert [each.replace("builtins.", "")[:11] for each in revealed] == ["tuple[float", "float"]
    found = re.findall(r"\[([\w-]+)\]$", "\n".join(check(installed, WRONG, tmp_path)[1]), re.MULTILINE)
    assert found == ["call-arg", "attr-defined", "arg-type", "misc"]


@pytest.mark.slow
def test_estimators_have_types(installed, tmp_path):
    revealed, errors = check(installed, ESTIMATORS, tmp_path)
    assert errors == []
    kinds = ["gln.sklearn.GLNClassifier", *["numpy.ndarray"] * 2, "gln.sklearn.GLNRegressor", "numpy.ndarray"]
    assert [each.split("[")[0] for each in revealed] == kinds
