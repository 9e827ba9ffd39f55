"""`gln.testing.assert_same`: all backends pass, and of a broken copy it says what is wrong."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn.base
from backends import FRAMEWORKS, load_backend
from helpers import ROOT

import gln.backends
import gln.testing
import gln_numpy
import test_mnist
from benchmarks import report
from gln.sklearn import GLNClassifier, GLNRegressor
from gln.testing import assert_same


@pytest.mark.compiles
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_all_backends_are_the_same(name, monkeypatch):
    if name in ("tf", "jax"):  # which compile for seconds; other tests are of their values
        few = {kind: gln.testing.KINDS[kind] for kind in ("three classes without a bias", "quantiles")}
        monkeypatch.setattr("gln.testing.KINDS", few)
    assert_same(load_backend(name))


def changed_copy(folder: Path, *changes: tuple[str, str], name: str = "numpy") -> Any:
    """The module of a copy of a backend's file in another folder, with passages replaced."""
    text = (ROOT / f"gln_{name}.py").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "gln_mine.py").write_text(text, encoding="utf-8")
    return gln.backends.load_backend(str(folder / "gln_mine.py"))


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
        "(s > y).astype(np.float32) - np.asarray(quantile, np.float32)",
        "(s > y) - np.float32(0.5)",
        "gln_mine, quantiles: ",
    ),
    "no bias of one": ("np.ones((*z.shape", "np.zeros((*z.shape", "gln_mine, two classes: a batch"),
    "unclipped weights": (
        "rows.clip(-config.weight_clipping, config.weight_clipping, out=rows)",
        "rows",
        "gln_mine, clipped weights: ",
    ),
    "other halfspaces": (
        "normal /= np.linalg.norm",
        "normal *= np.linalg.norm",
        "initial state, hyperplanes.1",
    ),
    "a clock of batches": ("self.step += len(contexts)", "self.step += 1", "gln_mine, two classes: "),
    "a row beyond the last": ("bits, 2 ** np", "bits, 3 ** np", "contexts: expected integers from 0 to 15 of shape (7"),
    "a gate of booleans": ('np.einsum("nkb,k->bn", bits, 2', "bits[:, 0].T  # ", "(7, 5), got bool of shape (7, 5)"),
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
        assert_same(changed_copy(tmp_path, (old, new)))
    assert message in str(raised.value)


def test_a_subclass_is_compared_with_another():
    class Lower(gln_numpy.GLN):
        """Every sample picks the row 0."""

        def contexts(self, context):
            return np.zeros((context.shape[1], sum(self.config.layer_sizes)), int)

    assert_same(Lower, Lower)
    with pytest.raises(AssertionError, match=r", two classes: a (batch|stream): expected the same"):
        assert_same(Lower)


PLANES, STEP = "hyperplanes, context, 1)", "(rate * r)[:, None] * z"
CHANGED: dict[str, dict[str, list[tuple[str, str]]]] = {
    "gate": {  # the other sides
        "numpy": [(f"np.tensordot({PLANES} >", f"np.tensordot({PLANES} <")],
        "jax": [('1, precision="highest") >', '1, precision="highest") <')],
        "tf": [("tf.tensordot(planes, context, 1) >", "tf.tensordot(planes, context, 1) <")],
        "torch": [("(hyperplanes @ context >", "(hyperplanes @ context <")],
        "numba": [("(s > hyperplane_bias", "(s < hyperplane_bias")],
    },
    "mix": {  # half as much
        "numpy": [('np.einsum("ncd,cd->nc", rows, z).clip', '(0.5 * np.einsum("ncd,cd->nc", rows, z)).clip')],
        "jax": [("matmul(row,", "matmul(0.5 * row,"), ("(row * z).sum", "(0.5 * row * z).sum")],
        "tf": [("rows, z[..., 0, :]", "0.5 * rows, z[..., 0, :]"), ('", rows, z)', '", 0.5 * rows, z)')],
        "torch": [("(rows @ z.", "(0.5 * rows @ z."), ("(rows * z.", "(0.5 * rows * z.")],
        "numba": [("clip(dot(w, z), bound)", "clip(np.float32(0.5) * dot(w, z), bound)")],
    },
    "output": {  # of twice the logit
        "numpy": [("1 / (1 + np.exp(-s))", "1 / (1 + np.exp(-2 * s))")],
        "jax": [("jax.nn.sigmoid(s)", "jax.nn.sigmoid(2 * s)")],
        "tf": [("tf.sigmoid(s)", "tf.sigmoid(2 * s)")],
        "torch": [("torch.sigmoid(s)", "torch.sigmoid(2 * s)")],
        "numba": [("(np.float32(1) + np.exp(-s))", "(np.float32(1) + np.exp(-2 * s))")],
    },
    "residual": {name: [(" output(s, loss) - y", " (output(s, loss) - y) / 2")] for name in FRAMEWORKS},
    "update": {  # at most 0.05 for each weight
        "numpy": [("rate * r, z)", "rate * r, z).clip(-0.05, 0.05)")],
        "jax": [(STEP, f"({STEP}).clip(-0.05, 0.05)")],
        "tf": [(STEP, f"tf.clip_by_value({STEP}, -0.05, 0.05)")],
        "torch": [
            ("r)[:, :, None], z, value=-1)", "r)[:, :, None] * z).clamp(-0.05, 0.05))"),
            ("addcmul_((", "sub_((("),
        ],
        "numba": [("return w - step * z", "return w - clip(step * z, np.float32(0.05))")],
    },
}


@pytest.mark.compiles
@pytest.mark.parametrize("function", CHANGED)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_changed_function_does_in_a_copy_what_the_page_says(name, function, tmp_path, monkeypatch):
    """It predicts and learns as in a copy of gln_numpy.py, in streams, batches and single samples, or it is refused."""
    load_backend(name)
    page = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    [row] = [row for row in page[page.index("## Change it") :].splitlines() if f"`{function}`" in row and row[0] == "|"]
    is_refused = f"`gln_{name}` raises ValueError" in row
    expected = changed_copy(tmp_path, *CHANGED[function]["numpy"])
    kinds = ["three classes without a bias"] if name in ("tf", "jax") else ["two classes", "two labels", "quantiles"]
    few = {kind: gln.testing.KINDS[kind] for kind in kinds} | {"one value per halfspace": {"context_features": 1}}
    monkeypatch.setattr("gln.testing.KINDS", few)
    if name == "numba":  # compiling the loops takes half a minute for each function
        monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    with pytest.raises(AssertionError, match="expected the same"):
        assert_same(expected)
    changed = changed_copy(tmp_path, *CHANGED[function][name], name=name)
    if not is_refused:
        assert_same(changed, expected)
        if name == "numba":  # also row by row, as in wide layers, and sparse samples
            monkeypatch.setattr(changed, "NARROW", 0)
            assert_same(changed, expected)
            x = np.random.default_rng(1).normal(size=(6, 40)).clip(0).astype(np.float32)
            models = [module.GLN([3], 6, 6, num_classes=3, seed=1) for module in (changed, expected)]
            sparse = scipy.sparse.csc_array(x)
            calls = zip(models, (sparse, x), strict=True)
            p, q = (model.predict_online(values, values, np.arange(40) % 3) for model, values in calls)
            np.testing.assert_allclose(p, q, rtol=0, atol=1e-5)
    else:
        with pytest.raises(ValueError, match=rf"^{function}: expected that of gln_{name}, got another; change a copy"):
            changed.GLN([2], 3, 3)


VARIANCE = 'if loss == "variance":\n        return np.exp(s)'
POISSON = (
    ("LOSSES = {", 'LOSSES = {"poisson": Loss("num_outputs", (0, MAX_FLOAT), 0.3, "log"),'),
    (VARIANCE, VARIANCE.replace('== "variance"', 'in ("variance", "poisson")')),
)
WRONG = {
    "2 * np.exp(s) - y": "poisson: residual for a target of 0, and the slope of the loss: expected the same",
    "y - np.exp(s)": "poisson: residual for a target of 0: expected one that grows with s, as of a convex loss",
}


def test_the_residual_of_a_new_loss_is_its_slope(tmp_path):
    losses = {
        "poisson": lambda s, y: np.exp(s) - y * s,
        "log_loss": lambda s, y: np.log1p(np.exp(s)) - y * s,
        "quantile": lambda s, y: np.maximum(0.7 * (s - y), 0.3 * (y - s)),
    }
    assert_same(changed_copy(tmp_path, *POISSON), losses=losses)
    for residual, message in WRONG.items():
        end = "    return output(s, loss) - y"
        wrong = changed_copy(tmp_path, *POISSON, (end, f'    if loss == "poisson":\n        return {residual}\n{end}'))
        with pytest.raises(AssertionError) as raised:
            assert_same(wrong, losses={} if "y -" in residual else losses)
        assert f"gln_mine, {message}" in str(raised.value)


def test_a_changed_copy_is_a_backend_of_estimators_and_of_the_command(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(120, 4))
    few: dict[str, Any] = {"n_networks": 2, "n_epochs": 1, "random_state": 0}
    y = x[:, 0] * x[:, 1] > 0
    plain = GLNClassifier(backend="numpy", **few).fit(x, y)
    for change, same in (((), True), ((("rate * r, z)", "0.5 * rate * r, z)"),), False)):
        changed_copy(tmp_path, *change)
        network = str(tmp_path / "gln_mine.py")
        model = sklearn.base.clone(GLNClassifier(backend=network, **few)).fit(x, y)
        assert np.array_equal(model.predict_proba(x), plain.predict_proba(x)) == same
    model.save(tmp_path / "model.gln")
    with pytest.raises(ValueError, match=r"made with the `update` of gln_num.*, got one made with another"):
        GLNClassifier.load(tmp_path / "model.gln")
    loaded = GLNClassifier.load(tmp_path / "model.gln", backend=network)
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))
    plain.set_params(backend=changed_copy(tmp_path).GLN).save(tmp_path / "plain.gln")
    loaded = GLNClassifier.load(tmp_path / "plain.gln", backend="numpy")
    np.testing.assert_array_equal(loaded.predict_proba(x), plain.predict_proba(x))
    options = ["--layer-sizes", "2", "--data", str(ROOT / "no.npz"), "--backend"]
    for backend, message in ((str(tmp_path / "gln_mine.py"), "no.npz"), ("mine.py", "mine.py"), ("mine", "mine")):
        assert test_mnist.main([*options, backend]) == 2
        assert message in capsys.readouterr().err


def copy_of_the_notebook(name: str, folder: Path) -> Any:
    """The module of a copy that `6_change_it` shows as a diff."""
    notebook = json.loads((ROOT / "examples" / "6_change_it.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) + "\n" for cell in notebook["cells"]]
    [diff] = [cell for cell in cells if cell.startswith(f"%%changed {name}\n")]
    hunks = [hunk.splitlines(keepends=True) for hunk in re.split("^@@.*\n", diff, flags=re.MULTILINE)[1:]]
    old, new = (["".join(line[1:] for line in hunk if line[0] != mark) for hunk in hunks] for mark in "+-")
    return changed_copy(folder, *zip(old, new, strict=True))


def test_what_a_copy_keeps_for_each_weight_is_saved_copied_and_grows(tmp_path):
    """Adam of the notebook: it has means of slopes and of squares, and a count."""
    river: Any = pytest.importorskip("gln.river")
    module = copy_of_the_notebook("adam", tmp_path)
    x = np.random.default_rng(0).normal(size=(4, 300))
    labels = (x[0] > 0).astype(int) + (x[1] > 0)
    model = module.GLN([3], 4, 4, num_classes=3, seed=0)
    model.predict(x, x, labels)
    weights, counts = (model.get_state()[name] for name in ("weights.1", "count.1"))
    assert counts.shape == weights.shape
    assert counts[:, :, 0, 0].sum() == 3 * 300  # a row per neuron and sample
    assert (model.predict(x, x).argmax(axis=0) == labels).mean() > 0.8
    model.save(tmp_path / "network")
    with pytest.raises(ValueError, match="got one made with another"):
        gln_numpy.GLN.load(tmp_path / "network")
    others = [module.GLN.load(tmp_path / "network"), copy.deepcopy(model)]
    expected = model.predict_online(x, x, labels)
    for other in others:
        np.testing.assert_array_equal(other.predict_online(x, x, labels), expected)
    stream = river.GLNClassifier(layer_sizes=(4,), backend=str(tmp_path / "gln_mine.py"), seed=0)
    for i in np.argsort(labels, kind="stable"):  # classes and features come one after another
        stream.learn_one(dict(enumerate(x[: 2 + labels[i], i])), int(labels[i]))
    stream.save(tmp_path / "stream")
    loaded = river.GLNClassifier.load(tmp_path / "stream", backend=str(tmp_path / "gln_mine.py"))
    for one in (stream, loaded):
        one.learn_one(dict(enumerate(x[:, 0])), 0)
    assert stream.predict_proba_one({0: 1.0}) == loaded.predict_proba_one({0: 1.0})


def test_networks_of_a_regressor_minimise_a_loss_of_a_copy(tmp_path):
    """Absolute errors make less of outliers: the signal below them is found."""
    copy_of_the_notebook("absolute", tmp_path)
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (400, 2))
    signal = np.sin(2 * x[:, 0]) + x[:, 1]
    y = signal + (rng.random(400) < 0.05) * rng.normal(0, 8, 400)
    few: dict[str, Any] = {"backend": str(tmp_path / "gln_mine.py"), "n_networks": 2, "random_state": 0}
    models = [GLNRegressor(loss=loss, **few).fit(x, y) for loss in ("squared_error", "absolute")]
    squared, absolute = (np.abs(model.predict(x) - signal).mean() for model in models)
    assert absolute < 0.75 * squared
    models[1].save(tmp_path / "m")
    assert GLNRegressor.load(tmp_path / "m", backend=few["backend"]).loss == "absolute"
    others: list[Any] = ["huber", "variance", "quantile", "log_loss", None, ["absolute"]]
    for loss in others:
        with pytest.raises(ValueError, match=r"^loss: expected one of \['absolute', 'squared_error'\], .* got "):
            GLNRegressor(loss=loss, **few).fit(x, y)
    with pytest.raises(ValueError, match=r"^loss: expected one of \['squared_error'\], .* got 'absolute'"):
        GLNRegressor(loss="absolute").partial_fit(x, y)


def test_a_class_of_a_copy_learns_at_its_own_rate(tmp_path):
    module = copy_of_the_notebook("class_rates", tmp_path)
    x = np.random.default_rng(0).normal(size=(4, 1))
    models = [kind.GLN([2], 4, 4, num_classes=3, learning_rate=0.1, seed=0) for kind in (gln_numpy, module)]
    before = models[0].get_state()["weights.1"]
    for model in models:
        model.predict(x, x, [1])
    plain, other = (model.get_state()["weights.1"] - before for model in models)
    np.testing.assert_allclose(other[:, :, 0], 3 * plain[:, :, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(other[:, :, 1:], plain[:, :, 1:])


def test_a_changed_copy_is_a_backend_of_benchmarks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(report.CHOSEN, "auto")
    parser, module = report.command_line("", backend=True), changed_copy(tmp_path)
    for name, expected in (("numpy", gln_numpy.__name__), (str(tmp_path / "gln_mine.py"), module.__name__)):
        parser.parse_args(["--backend", name])
        assert report.network().__module__ == expected
    with pytest.raises(SystemExit):
        parser.parse_args(["--backend", "mine"])
    assert "backend: expected 'auto'" in capsys.readouterr().err


def test_a_changed_network_is_a_backend_of_rivers_estimators():
    river: Any = pytest.importorskip("gln.river")
    network: Any = load_backend("numba").GLN

    class Slower(network):
        def _stream(self, base, context, targets=None, rates=None):
            return super()._stream(base, context, targets, None if rates is None else rates / 2)

    learned = [river.GLNRegressor(backend=backend, seed=0) for backend in ("numba", network, Slower)]
    for model in learned:
        for x in np.random.default_rng(0).normal(size=(60, 2)):
            model.learn_one({"a": x[0], "b": x[1]}, x[0] * x[1])
    plain, same, slower = (model.clone(include_attributes=True).predict_one({"a": 1.0, "b": 1.0}) for model in learned)
    assert plain == same != slower
