"""README.md does what it says: every block of it is run, and what it shows is compared with what comes out.
So are the Python blocks of six pages in docs."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import test_mnist
from gln.mnist import command as of_command
from gln.mnist import load_mnist

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def blocks(page: str = "README.md") -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def words(text: str) -> list[str]:
    """Numbers as #; a bracket by itself, for NumPy fills up a last number that happens to be a digit shorter."""
    return re.sub(r"([\[\]])", r" \1 ", NUMBER.sub("#", text)).split()


def assert_shown(output: str, shown: str) -> None:
    """The words are the same, and so are the numbers, but for the few digits that another processor's rounding moves
    across a hyperplane: within 1 %, or 10 where they are counts."""
    assert words(output) == words(shown), output
    for ours, theirs in zip(NUMBER.findall(output), NUMBER.findall(shown), strict=True):
        slack = 0.01 if "." in theirs else 10
        np.testing.assert_allclose(float(ours), float(theirs), rtol=0.01, atol=slack, err_msg=output)


def test_python_and_shell_blocks(monkeypatch):
    once = functools.cache(load_mnist)  # to load and deskew the digits takes seconds, and four blocks do it
    for module in (test_mnist, of_command):
        monkeypatch.setattr(module, "load_mnist", once)
    namespace: dict[str, object] = {}
    compared, output = 0, ""
    for language, text in blocks():
        if language == "text":
            assert_shown(output, text)
            compared += 1
            continue
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            if language == "python":
                try:
                    exec(compile(text, "README.md", "exec"), namespace)
                except ImportError as error:
                    if os.environ.get("GLN_REQUIRE_BACKENDS"):
                        raise
                    pytest.skip(f"the rest of the README: {error}")
            else:
                assert language == "bash", f"a block of {language}, which nothing here runs"
                run_shell(text)
        output = stream.getvalue()
    assert compared >= 5


# And how often they compare.
PAGES = {"larger": 4, "pictures": 0, "rare_classes": 3, "regression": 3, "streams": 8, "tables": 3}


@pytest.mark.parametrize(("page", "comparisons"), [(f"docs/{name}.md", count) for name, count in PAGES.items()])
def test_python_blocks_of_pages(page, comparisons, tmp_path, monkeypatch):
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        for package in ("matplotlib", "river", "distributed", "jax", "numba"):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)  # where pictures are saved
    namespace: dict[str, object] = {}
    compared, output = 0, ""
    for language, text in blocks(page):
        if language == "text":
            assert_shown(output, text)
            compared += 1
        elif language == "python":
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile(text, page, "exec"), namespace)
            output = stream.getvalue()
    assert compared == comparisons
    saved = re.findall(r'savefig\("(.*?)"', (ROOT / page).read_text(encoding="utf-8"))
    assert sorted(file.name for file in tmp_path.glob("*.png")) == sorted(saved)
    assert all((ROOT / "docs" / "images" / name).exists() for name in saved)


def run_shell(text: str) -> None:
    """`gln-mnist` is run here; installing, testing and `gln-draw` is what .ci/run does, with the same words."""
    for command in re.split(r"&&|\n", text.strip()):
        words = shlex.split(command, comments=True)
        if words[:1] == ["gln-mnist"]:
            assert test_mnist.main([*words[1:], "--quiet"]) == 0
        elif words:
            script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
            installs = 'pip install --quiet ".[all,test]"' in script if words[:2] == ["pip", "install"] else True
            assert installs, script
            extras = [["pip", "install", extra] for extra in (".", ".[all,test]", ".[page]")]
            assert words in [*extras, ["pytest", "-n", "2"], ["gln-draw"]], command
            assert "gln-draw" in script


def test_every_block_has_a_language():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * len(blocks())
