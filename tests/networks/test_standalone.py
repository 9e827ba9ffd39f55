"""Each backend is one file that needs only NumPy and its framework, and nothing else from this project."""

from __future__ import annotations

import ast
import importlib
import os
import runpy
import shutil
import subprocess
import sys

import pytest
from backends import FRAMEWORKS, OTHERS, load_backend
from helpers import ROOT

ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused}:
            raise ModuleNotFoundError(f"{{name}} is out of reach here")

sys.meta_path.insert(0, Refuse())
import os, random
import numpy as np
import {framework}

def settings():
    return dict(os.environ), np.random.get_state()[1].tolist(), random.getstate(), np.geterr()

before = settings()
from gln_{name} import GLN
assert settings() == before, "importing it changes something global"

images = np.random.default_rng(0).normal(size=(20, 200))
targets = images[3] * images[5] > 0
model = GLN([8, 1], 20, 20, seed=0)
first = np.asarray(model.predict_online(images, images, targets))
second = np.asarray(model.predict_online(images, images, targets))
assert np.abs(second - targets).mean() < np.abs(first - targets).mean()
assert settings()[1:] == before[1:], "learning changes a global random state"
fresh = GLN([8, 1], 20, 20)
calls = [lambda: model.save("m"), lambda: GLN.load("m"), lambda: model.explain(images, images)]
for method in (*calls, lambda: fresh.fit_hyperplanes(images)):
    try:
        method()
    except ImportError as error:
        assert all(part in str(error) for part in ("needs the package gln: ", "pip install .", "get_state()")), error
    else:
        raise AssertionError("what is not there did something")
print(*sorted(set(sys.modules) & {refused}))
"""


@pytest.mark.compiles
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_file_alone_in_an_empty_folder_learns_and_changes_nothing_global(name, tmp_path):
    load_backend(name)
    shutil.copy(ROOT / f"gln_{name}.py", tmp_path)
    ours = {path.stem for path in ROOT.glob("*.py")} | {"gln"}
    refused = ours | set(FRAMEWORKS.values()) | {"pandas", "safetensors", "sklearn", "tqdm"}
    refused -= {f"gln_{name}", "numpy", FRAMEWORKS[name]}
    script = ALONE.format(name=name, framework=FRAMEWORKS[name], refused=refused)
    # What Numba compiles is the same in any folder, and takes ten seconds.
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", OTHERS)
def test_missing_framework_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, FRAMEWORKS[name], None)
    monkeypatch.delitem(sys.modules, f"gln_{name}", raising=False)
    with pytest.raises(ImportError, match=rf"^gln_{name} needs \w+: pip install {FRAMEWORKS[name]}$"):
        importlib.import_module(f"gln_{name}")


def source(name: str) -> str:
    return (ROOT / f"gln_{name}.py").read_text(encoding="utf-8")


def test_the_shared_region_is_a_copy_of_numpys(tmp_path):
    for name in FRAMEWORKS:
        shutil.copy(ROOT / f"gln_{name}.py", tmp_path)
    script = runpy.run_path(str(ROOT / "tools" / "copy_shared.py"))
    assert script["copy_shared"](tmp_path) == []
    text = source("numpy").replace("    def predict(", "    def forecast(")
    (tmp_path / "gln_numpy.py").write_text(text, encoding="utf-8")
    assert script["copy_shared"](tmp_path) == [f"gln_{name}.py" for name in sorted(OTHERS)]
    assert "    def forecast(" in (tmp_path / "gln_jax.py").read_text(encoding="utf-8")
    assert script["copy_shared"](tmp_path) == []


def test_the_whole_algorithm_comes_first_in_numpy():
    """Whoever reads `gln_numpy` from the top has read all of the algorithm before any check or state."""
    functions = {node.name: node for node in ast.parse(source("numpy")).body if isinstance(node, ast.FunctionDef)}
    of_algorithm = ["gate", "mix", "output", "residual", "update", "add_bias", "learn_rows", "pass_sample"]
    of_algorithm += ["pass_block", "decaying_rate", "paper_rate"]
    assert list(functions)[: len(of_algorithm)] == of_algorithm
