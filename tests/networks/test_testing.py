"""`gln.testing.assert_same`: all backends pass, and of a broken copy it says what is wrong."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from backends import FRAMEWORKS, load_backend
from helpers import ROOT

import gln.testing
import gln_numpy
from gln.testing import assert_same


@pytest.mark.compiles
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_all_backends_are_the_same(name, monkeypatch):
    if name in ("tf", "jax"):  # which compile for seconds; other tests are of their values
        few = {kind: gln.testing.KINDS[kind] for kind in ("three classes without a bias", "quantiles")}
        monkeypatch.setattr("gln.testing.KINDS", few)
    assert_same(load_backend(name))


def changed_copy(folder: Path, old: str, new: str) -> ModuleType:
    """The module of a copy of gln_numpy.py in another folder, with one passage replaced."""
    text = (ROOT / "gln_numpy.py").read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / "gln_mine.py").write_text(text.replace(old, new), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("gln_mine", folder / "gln_mine.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["gln_mine"] = importlib.util.module_from_spec(spec)  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _forget_copies(monkeypatch):
    monkeypatch.delitem(sys.modules, "gln_mine", raising=False)


BROKEN = {
    "half a step": (
        "rate * r, z)",
        "0.5 * rate * r, z)",
        "gln_mine, two classes: a stream: expected the same to 1e-05",
    ),
    "no outliers": ("np.exp(-s), 9)", "np.exp(-s), 1)", "gln_mine, variance: "),
    "one quantile": (
        "(s > y).astype(np.float32) - np.float32(quantile)",
        "(s > y) - np.float32(0.5)",
        "gln_mine, quantiles: ",
    ),
    "no bias of one": ("np.ones((*z.shape", "np.zeros((*z.shape", "gln_mine, two classes: a batch"),
    "unclipped batches": (
        "weights[picked[b]].clip(-config.weight_clipping, config.weight_clipping)",
        "weights[picked[b]]",
        "gln_mine, clipped weights: ",
    ),
    "other halfspaces": (
        "hyperplanes /= np.linalg.norm",
        "hyperplanes *= np.linalg.norm",
        "initial state, hyperplanes.1",
    ),
    "a clock of batches": ("self.step += len(contexts)", "self.step += 1", "gln_mine, two classes: "),
    "unchecked NaN": (
        "        _check_range(name, array, span, unknown)\n",
        "",
        "gln_mine: bad inputs: expected a ValueError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(case, tmp_path):
    old, new, message = BROKEN[case]
    with pytest.raises(AssertionError) as raised:
        assert_same(changed_copy(tmp_path, old, new))
    assert message in str(raised.value)


def test_a_subclass_is_compared_with_another():
    class Lower(gln_numpy.GLN):
        """Every sample picks the row 0."""

        def contexts(self, context):
            return np.zeros((context.shape[1], sum(self.layer_sizes)), int)

    assert_same(Lower, Lower)
    with pytest.raises(AssertionError, match=r"^.*, two classes: a (batch|stream): expected the same"):
        assert_same(Lower)
