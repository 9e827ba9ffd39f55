"""Types of the five modules as a user's type checker sees them: the stubs are correct, and in an installed wheel."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from backends import FRAMEWORKS
from helpers import ROOT

import gln_numpy

# By backend, the type of its predictions as mypy prints it, and an array as its users have it.
KINDS = {
    "numpy": ("numpy.ndarray", "np.zeros((4, 3))"),
    "torch": ("torch._tensor.Tensor", "torch.zeros((4, 3))"),
    "tf": ("Any", "tf.zeros((4, 3))"),  # TensorFlow has no types for mypy
    "jax": ("jax._src.basearray.Array", "jnp.zeros((4, 3))"),
    "numba": ("numpy.ndarray", "[[0.0, 1.0, 2.0]] * 4"),
}
UNREAD = """[mypy]
[mypy-torch.*,jax.*]
follow_imports = skip
[mypy-tensorflow.*]
ignore_missing_imports = true
"""
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
reveal_type(model.config.layer_sizes)
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
classifier.decision_function(X), classifier.partial_fit_predict_proba(X, y)
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
model.config.input_size = 3
"""


def installed_backends() -> list[str]:
    """Those whose framework is installed; with GLN_REQUIRE_BACKENDS, all."""
    required = os.environ.get("GLN_REQUIRE_BACKENDS")
    return [name for name, framework in FRAMEWORKS.items() if required or importlib.util.find_spec(framework)]


def test_stubs_have_the_arguments_of_a_network():
    """As `Config` and the class have them, which `stubtest` below compares, too, but takes half a minute."""
    stubs = ast.parse((ROOT / "stubs" / "gln_numpy" / "__init__.pyi").read_text(encoding="utf-8"))
    classes: dict[str, Any] = {node.name: node.body for node in stubs.body if isinstance(node, ast.ClassDef)}
    fields = [ast.unparse(node.target) for node in classes["Config"] if isinstance(node, ast.AnnAssign)]
    assert fields == [*gln_numpy.Config.__dataclass_fields__]
    [arguments] = [node.args for node in classes["_GLN"] if getattr(node, "name", "") == "__init__"]
    defaults = zip(arguments.kwonlyargs, map(ast.literal_eval, arguments.kw_defaults), strict=True)
    shown = inspect.signature(gln_numpy.GLN).parameters.values()
    found = {parameter.name: parameter.default for parameter in shown if parameter.kind is parameter.KEYWORD_ONLY}
    assert {argument.arg: default for argument, default in defaults} == found


@pytest.mark.slow
def test_stubs_describe_the_modules(tmp_path):
    """In one process, which reads no types of frameworks: `test_a_users_files_have_types` does."""
    pytest.importorskip("mypy")
    (tmp_path / "mypy.ini").write_text(UNREAD)
    of_bases = r"gln_tf\.GLN\.(variables|trainable_variables|submodules|name.*)", r"gln_torch\.GLN\.[gs]et_extra_state"
    allowed = r".*\._(?!_init__).*", *of_bases
    (tmp_path / "allowed").write_text("\n".join(allowed))
    settings = ["--mypy-config-file", tmp_path / "mypy.ini", "--allowlist", tmp_path / "allowed"]
    options: list[Any] = ["--concise", "--ignore-unused-allowlist", *settings]
    modules = ["test_mnist", *(f"gln_{name}" for name in installed_backends())]
    run = [sys.executable, "-m", "mypy.stubtest", *options, *modules]
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


def check(python: Path, texts: dict[str, str], folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """The types that mypy reveals in each of a user's files, and its errors."""
    pytest.importorskip("mypy")
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    options = [
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        python.parents[2] / "cache",
        "--python-executable",
        python,
    ]
    command: list[Any] = [sys.executable, "-m", "mypy", *options, *(f"{name}.py" for name in texts)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.stderr
    said = {name: "\n".join(re.findall(rf"^{name}\.py:.*", done.stdout, re.MULTILINE)) for name in texts}
    return {
        name: (re.findall(r'Revealed type is "(.*)"', text), re.findall(r"error: .*", text))
        for name, text in said.items()
    }


@pytest.mark.slow
def test_a_users_files_have_types(installed, tmp_path):
    """All of them in one process, which reads the types of the frameworks once."""
    texts = {"on_top": ON_TOP, "wrong": WRONG, "estimators": ESTIMATORS}
    for name in installed_backends():
        texts[name] = USER.format(name=name, samples=KINDS[name][1], imports=IMPORTS.get(name, ""))
    found = check(installed, {f"of_{name}": text for name, text in texts.items()}, tmp_path)
    for name in installed_backends():
        (revealed, errors), kind = found[f"of_{name}"], KINDS[name][0]
        assert [error for error in errors if "tensorflow" not in error] == []
        start = [kind, kind, "numpy.ndarray", "dict[str, numpy.ndarray", f"gln_{name}.GLN", "float", "float | "]
        for shown, expected in zip(revealed, [*start, "typing.Sequence[int]"], strict=True):
            assert shown.replace("builtins.", "").startswith(expected), revealed
    revealed, errors = found["of_on_top"]
    assert errors == []
    assert [each.replace("builtins.", "")[:11] for each in revealed] == ["tuple[float", "float"]
    mistakes = re.findall(r"\[([\w-]+)\]$", "\n".join(found["of_wrong"][1]), re.MULTILINE)
    assert mistakes == ["call-arg", "attr-defined", "arg-type", "misc"]
    revealed, errors = found["of_estimators"]
    assert errors == []
    # `predict_proba` of several labels is a list
    kinds = ["gln.sklearn.GLNClassifier", "Any", "numpy.ndarray", "gln.sklearn.GLNRegressor", "numpy.ndarray"]
    assert [each.split("[")[0] for each in revealed] == kinds
