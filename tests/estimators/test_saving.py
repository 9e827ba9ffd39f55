"""Saved models: every backend can load them, and damaged files raise errors."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backends import FRAMEWORKS, load_backend
from helpers import ROOT, Box, assert_same_state, backend_name, boxed, learner_state, run_python
from safetensors.numpy import load_file, save_file
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import gln_numpy
from gln import backends
from gln.engine import saving
from gln.engine.networks.files import configuration
from gln.sklearn import GLNClassifier, GLNRegressor
from gln_numpy import GLN, paper_rate


def network(backend: Any, **arguments: Any) -> Any:
    return backend.GLN([8, 4], 784, 784, **{"num_classes": 10, "context_map_size": 3, "seed": 4, **arguments})


# The backend that continues: TensorFlow and JAX, which take seconds to compile learning, from one another.
NEXT = {"numpy": "torch", "torch": "numba", "numba": "numpy", "tf": "jax", "jax": "tf"}


@pytest.mark.compiles
def test_any_backend_continues_from_another(backend, digits, tmp_path):
    images, labels = digits
    first, rest = slice(0, 150), slice(150, 300)
    uninterrupted = network(backend)
    uninterrupted.predict_online(images[:, first], images[:, first], labels[first])
    uninterrupted.save(tmp_path / "half.gln")
    assert os.listdir(tmp_path) == ["half.gln"]
    others = {name: load_backend(name).GLN.load(tmp_path / "half.gln") for name in FRAMEWORKS}
    for other in others.values():
        assert_same_state(uninterrupted, other)
    resumed = others[NEXT[backend_name(backend)]]
    expected, found = (
        np.asarray(model.predict_online(images[:, rest], images[:, rest], labels[rest]))
        for model in (uninterrupted, resumed)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert resumed.step == 300


def test_arguments_are_saved(backend, tmp_path):
    arguments = {"num_classes": 3, "context_map_size": 0, "bias": False, "context_bias": 0.5, "learning_rate": 0.25}
    arguments |= {"normalize": False, "pred_clipping": 0.01, "weight_clipping": 5.0, "seed": 2**40}
    arguments |= {"context_features": 3}
    backend.GLN((3, 1), 5, 4, **arguments).save(tmp_path / "m")
    loaded = backend.GLN.load(str(tmp_path / "m"))
    assert (loaded.config.layer_sizes, loaded.config.input_size, loaded.config.context_size) == ((3, 1), 5, 4)
    assert loaded.learning_rate == arguments.pop("learning_rate")
    assert {name: getattr(loaded.config, name) for name in arguments} == arguments


@pytest.mark.compiles
@pytest.mark.parametrize(
    "kind",
    [
        {"loss": "squared_error", "num_outputs": 2, "value_clipping": 4.0},
        {"loss": "quantile", "quantiles": (0.05, 0.3, 0.95), "context_features": 2},
        {"loss": "variance", "num_outputs": 2},
        {"loss": "log_loss", "num_outputs": 2},
    ],
    ids=lambda kind: kind["loss"],
)
def test_a_model_of_numbers_continues_in_the_next_backend(backend, kind, tmp_path):
    rng = np.random.default_rng(2)
    inputs, targets = rng.normal(size=(5, 80)), rng.normal(size=(2, 80))
    targets = np.heaviside(targets, 0) if kind["loss"] == "log_loss" else targets
    targets = targets if "num_outputs" in kind else targets[0]
    whole, first = (backend.GLN([4], 5, 5, seed=1, **kind) for _ in range(2))
    for model in (whole, first):
        model.predict_online(inputs[:, :40], inputs[:, :40], targets[..., :40])
    expected = np.asarray(whole.predict_online(inputs[:, 40:], inputs[:, 40:], targets[..., 40:]))
    first.save(tmp_path / "m")
    resumed = load_backend(NEXT[backend_name(backend)]).GLN.load(tmp_path / "m")
    assert {name: getattr(resumed.config, name) for name in kind} == kind
    output = np.asarray(resumed.predict_online(inputs[:, 40:], inputs[:, 40:], targets[..., 40:]))
    np.testing.assert_allclose(output, expected, atol=1e-4)


def test_rates(backend, tmp_path):
    file = tmp_path / "m"
    for given, expected in ((None, backend.GLN([2], 5, 4).learning_rate(7)), (0.5, 0.5)):
        backend.GLN([2], 5, 4, learning_rate=given).save(file)
        rate = backend.GLN.load(file).learning_rate
        assert (rate(7) if callable(rate) else rate) == expected
    model = backend.GLN([2], 5, 4)
    model.learning_rate = 0.125
    model.save(file)
    assert backend.GLN.load(file).learning_rate == 0.125
    assert backend.GLN.load(file, learning_rate=3).learning_rate == 3
    backend.GLN([2], 5, 4, learning_rate=paper_rate).save(file)
    with pytest.raises(ValueError, match="learning_rate: expected the callable that the saved model had, got None"):
        backend.GLN.load(file)
    assert backend.GLN.load(file, learning_rate=paper_rate).learning_rate is paper_rate


def test_a_class_whose_predictions_no_file_holds_is_refused(backend, tmp_path):
    network: Any = backend.GLN

    class Halved(network):
        def predict(self, *arrays: Any) -> Any:
            return super().predict(*arrays) / 2

    class Named(network):
        name = "of a class that predicts as its parent does"

    with pytest.raises(ValueError, match=r"^model: expected .* a file holds, got a Halved, which overrides predict$"):
        Halved([2], 3, 3, seed=0).save(tmp_path / "m")
    assert os.listdir(tmp_path) == []
    Named([2], 3, 3, seed=0).save(tmp_path / "m")
    assert_same_state(network.load(tmp_path / "m"), GLN([2], 3, 3, seed=0))


GATES = {"numba": ("> hyperplane_bias[j, i]) << i", "> 0.5 + hyperplane_bias[j, i]) << i")}
OTHER_GATE = ("hyperplane_bias[:, :, None]", "(0.5 + hyperplane_bias[:, :, None])")
GATES["tf"] = ("> offsets[:, :, None]", "> 0.5 + offsets[:, :, None]")


def copied(backend: Any, name: str, folder: Path, old: str = "", new: str = "") -> Any:
    """A copy of a backend's file under another name, with other words and perhaps other code."""
    text = Path(backend.__file__).read_text(encoding="utf-8")
    assert old in text
    text = text.replace(old, new, 1).replace("Derivative of the loss", "The derivative of the loss") + "\n\nADDED = 3\n"
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return backends.load_backend(str(folder / f"{name}.py"))


def test_a_file_of_a_copy_is_loaded_by_what_computes_the_same(backend, tmp_path):
    plain = copied(backend, "plain_copy", tmp_path)
    plain.GLN([3, 2], 5, 4, seed=0).save(tmp_path / "plain")
    for cls in (GLN, backend.GLN, plain.GLN):
        assert_same_state(cls.load(tmp_path / "plain"), GLN([3, 2], 5, 4, seed=0))
    changed = copied(backend, "changed_copy", tmp_path, *GATES.get(backend_name(backend), OTHER_GATE))
    changed.GLN([3, 2], 5, 4, seed=0).save(tmp_path / "changed")
    assert_same_state(changed.GLN.load(tmp_path / "changed"), GLN([3, 2], 5, 4, seed=0))
    for cls, file in ((GLN, "changed"), (backend.GLN, "changed"), (plain.GLN, "changed"), (changed.GLN, "plain")):
        with pytest.raises(ValueError, match=rf"{file}: .* the `gate` of {cls.__module__}, got one made with"):
            cls.load(tmp_path / file)


def test_a_file_of_a_copy_with_a_new_loss_names_what_it_needs(tmp_path):
    record = '"absolute": Loss("num_outputs", (-MAX_FLOAT, MAX_FLOAT), 0.5, "itself"),'
    copy_of_numpy = copied(gln_numpy, "copy_with_a_loss", tmp_path, "LOSSES = {", f"LOSSES = {{\n    {record}")
    copy_of_numpy.GLN([2], 3, 3, loss="absolute", seed=0).save(tmp_path / "m")
    assert copy_of_numpy.GLN.load(tmp_path / "m").config.loss == "absolute"
    with pytest.raises(ValueError, match="made with the `LOSSES` of gln_numpy, got one made with another"):
        GLN.load(tmp_path / "m")


def test_a_function_replaced_while_python_runs_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(gln_numpy, "gate", lambda *arrays: 0)
    with pytest.raises(ValueError, match="model: expected a network with `gate` in the source of its class"):
        GLN([2], 3, 3, seed=0).save(tmp_path / "m")


EQUAL = """
import hashlib, pathlib
import numpy as np
from gln.sklearn import GLNClassifier
from gln_numpy import GLN
x = np.random.default_rng(0).normal(size=(40, 3))
GLN([3, 2], 5, 4, seed=0).save("network", {"b": np.zeros(3), "a": np.ones(2)})
GLNClassifier([2], n_networks=1, n_epochs=1, backend="numpy", random_state=0).fit(x, x[:, 0] > 0).save("table")
print(*(hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest() for name in ("network", "table")))
"""


def test_equal_models_have_equal_bytes(tmp_path):
    assert len({run_python(EQUAL, tmp_path) for _ in range(3)}) == 1


def test_base_predictor_is_required(tmp_path):
    def halves(inputs: np.ndarray) -> np.ndarray:
        return np.full((3, inputs.shape[1]), 0.5)

    GLN([2], 5, 4, base_predictor=halves).save(tmp_path / "m")
    with pytest.raises(ValueError, match="base_predictor: expected the callable"):
        GLN.load(tmp_path / "m")
    assert GLN.load(tmp_path / "m", base_predictor=halves).base_predictor is halves
    GLN([2], 5, 4).save(tmp_path / "m")
    with pytest.raises(ValueError, match="base_predictor: expected None, because the saved model had none, got <fun"):
        GLN.load(tmp_path / "m", base_predictor=halves)


def test_extra_arrays(backend, tmp_path):
    model, extra = network(backend), {"mean": np.arange(3.0, dtype=">f8"), "count": np.array(5)}
    assert dict(model.extra) == {}
    with pytest.raises(TypeError):
        model.extra["mean"] = extra["mean"]
    model.save(tmp_path / "m", extra)
    loaded = backend.GLN.load(tmp_path / "m")
    for twin in (loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert {name: array.tolist() for name, array in twin.extra.items()} == {"mean": [0, 1, 2], "count": 5}
    assert dict(copy.deepcopy(model).extra) == dict(pickle.loads(pickle.dumps(model)).extra) == {}
    with pytest.raises(ValueError, match=r"extra\['a'\]: expected an array of numbers"):
        model.save(tmp_path / "m", {"a": "text"})
    for other in (0.5, "text", [np.zeros(3)]):
        with pytest.raises(ValueError, match="extra: expected a mapping of names to arrays, got "):
            model.save(tmp_path / "m", other)
    assert set(backend.GLN.load(tmp_path / "m").extra) == {"mean", "count"}


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="a long double is a double here")
def test_extra_numbers_too_large_for_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"extra\['a'\]: expected an array of numbers of at most 8 bytes, got dtype"):
        GLN([2], 5, 4).save(tmp_path / "m", {"a": np.ones(2, np.longdouble)})
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, Any]:
    model = GLN([3, 2], 5, 4, context_map_size=2, seed=1)
    rng = np.random.default_rng(0)
    model.predict_online(rng.normal(size=(5, 20)), rng.normal(size=(4, 20)), rng.integers(0, 2, 20))
    file = tmp_path_factory.mktemp("saved") / "model.gln"
    model.save(file, {"note": np.arange(4)})
    return file, model


def test_a_file_cut_anywhere_is_refused(saved, tmp_path):
    whole = saved[0].read_bytes()
    for length in np.random.default_rng(1).integers(0, len(whole), 100):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut: expected a"):
            GLN.load(tmp_path / "cut")


@pytest.mark.parametrize("changes", [1, 3])
def test_a_file_with_bytes_changed_is_refused_or_the_same_model(saved, tmp_path, changes):
    file, model = saved
    whole, rng, refused = np.frombuffer(file.read_bytes(), np.uint8), np.random.default_rng(2), 0
    for _ in range(200):
        changed = whole.copy()
        changed[rng.integers(0, len(whole), changes)] = rng.integers(0, 256, changes)
        (tmp_path / "changed").write_bytes(changed.tobytes())
        try:
            loaded = GLN.load(tmp_path / "changed")
        except ValueError as error:
            assert "changed: expected a" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert_same_state(loaded, model)
            assert configuration(loaded) == configuration(model)
    assert refused > 180


def resaved(file: Path, to: Path, **changes: Any) -> Path:
    """The file with changed arrays and a valid checksum; None removes an array."""
    arrays = {name: array for name, array in {**load_file(file), **changes}.items() if array is not None}
    save_file(arrays, to, {saving.FORMAT: saving.checksum(arrays)})
    return to


def as_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"gln-3": "0"}, r"format: expected gln-2, got \['gln-3'\]"),
        ({}, r"format: expected gln-2, got \[\]"),
        ({"gln-2": "0"}, "checksum differs"),
    ],
)
def test_other_metadata_is_refused(saved, tmp_path, metadata, message):
    save_file(load_file(saved[0]), tmp_path / "m", metadata)
    with pytest.raises(ValueError, match=message):
        GLN.load(tmp_path / "m")


def test_an_invalid_config_with_a_valid_checksum_is_refused(saved, tmp_path):
    for config in (
        "{}",
        "[]",
        "",
        "no json",
        json.dumps({**configuration(saved[1]), "run": "me"}),
        json.dumps({**configuration(saved[1]), "bias": 1}),
    ):
        with pytest.raises(ValueError, match=r"expected"):
            GLN.load(resaved(saved[0], tmp_path / "m", config=as_bytes(config)))


@pytest.mark.compiles
def test_every_row_is_saved_once(backend, digits, tmp_path):
    model, image = network(backend), digits[0][:, :1]
    model.predict_online(image, image, [[1], [1], [0]] + [[np.nan]] * 7)
    model.save(tmp_path / "m")
    arrays = load_file(tmp_path / "m")
    assert arrays["weights.1"].shape == (
        3,
        785,
    )  # the initial row, and those of heads that learned 1 and 0 from the image
    assert arrays["weights.1.rows"].shape == (8, 8, 10)
    assert_same_state(backend.GLN.load(tmp_path / "m"), model)
    network(backend).save(tmp_path / "m")
    assert load_file(tmp_path / "m")["weights.1"].shape == (1, 785)
    assert_same_state(backend.GLN.load(tmp_path / "m"), network(backend))


def test_what_is_saved_in_few_bytes_can_be_loaded(tmp_path, monkeypatch):
    """What a small file could not make is saved as it is: equal rows, texts as wide as the longest, and zeros."""
    monkeypatch.setattr(saving, "FREE", 1000)
    network = GLN([20, 2], 300, 3, num_classes=40, context_map_size=1, seed=0)
    values = {"zeros": np.zeros(100_000), "texts": np.array(["x" * 5000, *"abc" * 400])}
    network.save(tmp_path / "network")
    assert_same_state(GLN.load(tmp_path / "network"), network)
    boxed(value=values).save(tmp_path / "box")
    loaded = vars(Box.load(tmp_path / "box"))["value"]
    for name, array in values.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert loaded["texts"].dtype == object


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("weights.1", None, "a saved GLN, got contents that cannot be used: KeyError"),
        ("weights.1", np.zeros((0, 2**40)), "a file that cannot be read|shape: expected at most"),
        ("weights.1", np.zeros((0, 6)), r"weights.1.rows: .* for rows of shape \(0, 6\)"),
        ("weights.1", np.array(1, np.float32), "a saved GLN, got contents that cannot be used: TypeError"),
        ("weights.1.rows", None, r"state\['weights.1'\]: expected shape"),
        ("weights.1.rows", np.zeros((3, 4, 1)), r"weights.1.rows: .*, got float64 of shape \(3, 4, 1\)"),
        ("weights.1.rows", np.zeros((9, 4, 1), np.int32), r"weights.1.rows: .*, got int32 of shape \(9, 4, 1\)"),
        ("weights.1.rows", np.full((3, 4, 1), -1, np.int32), "weights.1.rows: expected numbers of rows"),
        ("weights.9.rows", np.zeros(1, np.int32), "state: expected a mapping of the names"),
    ],
)
def test_invalid_rows_with_a_valid_checksum_are_refused(name, array, message, tmp_path):
    GLN([3, 2], 5, 4, context_map_size=2).save(tmp_path / "m")
    with pytest.raises(ValueError, match=message):
        GLN.load(resaved(tmp_path / "m", tmp_path / "changed", **{name: array}))


def test_foreign_files_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "unpickled"),))

    (tmp_path / "pickle").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("a model, honestly")
    save_file({"weights.1": np.ones(3, np.float32)}, tmp_path / "tensors")
    for name in ("pickle", "empty", "text", "tensors"):
        with pytest.raises(ValueError, match=f"{name}: expected a"):
            GLN.load(tmp_path / name)
    assert not (tmp_path / "unpickled").exists()
    with pytest.raises(FileNotFoundError):
        GLN.load(tmp_path / "missing")


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links are those of POSIX")
def test_modes_and_links_are_as_for_any_file(saved, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(Path("folder", "m"))
    umask = os.umask(0o027)
    try:
        saved[1].save(tmp_path / "link")
    finally:
        os.umask(umask)
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "folder") == ["m"]
    assert (tmp_path / "folder" / "m").stat().st_mode & 0o777 == 0o640
    assert_same_state(GLN.load(tmp_path / "link"), saved[1])


def test_a_crash_while_saving_leaves_the_old_file(saved, tmp_path):
    file = tmp_path / "m"
    file.write_bytes(saved[0].read_bytes())
    script = f"""
import os, pathlib
import gln.engine.saving
from gln_numpy import GLN

model = GLN.load({str(file)!r})
def half(arrays, path, metadata):
    pathlib.Path(path).write_bytes(b"half a file")
    os._exit(9)
gln.engine.saving.save_file = half
model.save({str(file)!r})
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 9
    assert_same_state(GLN.load(file), saved[1])


def test_an_error_while_saving_leaves_the_old_file(saved, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        saved[1].save(tmp_path / "folder")
    with pytest.raises(OSError, match="none"):
        saved[1].save(tmp_path / "none" / "m")
    assert os.listdir(tmp_path) == ["folder"]


# ---- Estimators ------------------------------------------------------------------------------------------------------


def wines() -> tuple[pd.DataFrame, np.ndarray]:
    X, y = load_wine(return_X_y=True, as_frame=True)
    X.iloc[3, 2] = np.nan
    return X, np.array(["barolo", "grignolino", "barbera"])[y]


@pytest.mark.slow
def test_a_classifier_continues_without_numba(tmp_path):
    X, y = wines()
    model = GLNClassifier(class_weight={"barbera": 2.0}, n_epochs=2, random_state=0).fit(X[::2], y[::2])
    model.save(tmp_path / "wines.gln")
    model.partial_fit(X[1::2], y[1::2])
    script = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else find(name, *rest)
sys.modules["numba"] = None
import numpy as np
from gln.sklearn import GLNClassifier
from test_saving import wines
X, y = wines()
model = GLNClassifier.load({str(tmp_path / "wines.gln")!r}, backend="numpy")
model.partial_fit(X[1::2], y[1::2])
assert set(model.predict(X)) == {{"barolo", "grignolino", "barbera"}}
np.save({str(tmp_path / "logits.npy")!r}, model.decision_function(X))
"""
    run_python(script)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.decision_function(X), atol=1e-3)


def assert_same_estimator(one: Any, other: Any) -> None:
    assert one.get_params() == other.get_params()
    # Files hold no rows, nor what was told of a table.
    of_rows = {"oob_decision_function_", "oob_prediction_", "_left_out", "_told", "_without_groups"}
    assert vars(one).keys() - of_rows == vars(other).keys() - of_rows
    for mine, its in zip(one.learner_.networks, other.learner_.networks, strict=True):
        assert_same_state(mine, its)
        assert mine.has_default_rate == its.has_default_rate
    assert_same_state(learner_state(one.learner_), learner_state(other.learner_))
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(other, name))
            assert value.dtype == getattr(other, name).dtype


@pytest.mark.parametrize(
    ("estimator", "labels"),
    [
        pytest.param(GLNClassifier, lambda y: y.astype(np.int8), id="numbers"),
        pytest.param(GLNClassifier, lambda y: y == 1, id="bools"),
        pytest.param(GLNClassifier, lambda y: np.array(["a", "bb", "c"])[y], id="strings"),
        pytest.param(GLNClassifier, lambda y: np.array(["a", "bb", "c"], object)[y], id="objects"),
        pytest.param(GLNRegressor, lambda y: y + 0.5, id="one target"),
        pytest.param(GLNRegressor, lambda y: np.stack([y, -y], axis=1), id="two targets"),
    ],
)
def test_estimators(estimator, labels, tmp_path):
    X, y = load_wine(return_X_y=True)
    y, more = labels(y), {"quantiles": (0.1, 0.9)} if estimator is GLNRegressor else {"class_weight": "balanced"}
    model = estimator((4, 2), n_networks=2, n_epochs=1, backend="numpy", random_state=3, **more)
    for rate in (None, 0.25):
        model.set_params(learning_rate=rate, partial_learning_rate=rate).fit(X, y).save(tmp_path / "m")
        loaded = estimator.load(tmp_path / "m")
        assert_same_estimator(loaded, model)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        assert type(loaded.glns_) is list
    assert os.listdir(tmp_path) == ["m"]


def test_an_estimator_keeps_what_is_saved_with_it(tmp_path):
    X, y = load_wine(return_X_y=True)
    model = GLNClassifier([2], n_networks=1, n_epochs=1, backend="numpy").fit(X, y)
    extra: dict[str, Any] = {
        "offsets": {0: 17, 1: 4},
        "columns": ["ash", "hue"],
        "means": X.mean(axis=0),
        "until": "2024-05-01",
    }
    model.save(tmp_path / "m", extra)
    assert dict(model.extra) == {}
    loaded = GLNClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.extra["means"], extra["means"])
    assert {**loaded.extra, "means": None} == {**extra, "means": None}
    loaded.save(tmp_path / "m")  # without it
    assert dict(GLNClassifier.load(tmp_path / "m").extra) == {}
    wrong: dict[str, Any] = {
        "extra: expected a mapping, got 3": 3,
        r"extra.*: expected numbers, text or .*, got <": {"f": len},
    }
    for message, value in wrong.items():
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "m", value)
    assert dict(GLNClassifier.load(tmp_path / "m").extra) == {}


def test_arrays_of_any_size_keep_their_shape_and_place(tmp_path):
    arrays: dict[Any, np.ndarray] = {
        "few": np.zeros((0, 3)),
        "some": np.arange(6).reshape(2, 3),
        **{i: np.full((40, 30), i) for i in range(2)},
        "half": np.random.default_rng(0).random((2000, 2)) * [1, 0],  # which is compressed
    }
    boxed(value={"arrays": arrays, "list": [*arrays]}).save(tmp_path / "a")
    learned = vars(Box.load(tmp_path / "a"))["value"]
    assert learned["list"] == [*arrays]
    assert (tmp_path / "a").stat().st_size < 50_000  # of 51,200 bytes of arrays
    for name, array in arrays.items():
        np.testing.assert_array_equal(learned["arrays"][name], array)
        assert learned["arrays"][name].shape == array.shape


def test_parameters_that_a_file_cannot_hold(tmp_path):
    X, y = load_wine(return_X_y=True)
    rng, file = np.random.RandomState(0), tmp_path / "m"
    rates: dict[str, Any] = {"learning_rate": paper_rate, "partial_learning_rate": paper_rate}
    model = GLNClassifier([2], n_epochs=1, backend="numpy", random_state=rng, **rates)
    with pytest.raises(NotFittedError):
        model.save(file)
    model.fit(X, y).save(file)
    for name in rates:
        others = {other: 0.5 for other in rates if other != name}
        with pytest.raises(ValueError, match=f"^{name}: expected the callable that the saved model had, got None"):
            GLNClassifier.load(file, **others)
    loaded = GLNClassifier.load(file, **rates)
    assert loaded.learning_rate is loaded.glns_[0].learning_rate is paper_rate
    assert loaded.random_state is None
    for fixed in ("colour", "layer_sizes", "n_networks"):
        with pytest.raises(ValueError, match=rf"parameters: expected some of \[.*, got \['{fixed}'\]"):
            GLNClassifier.load(file, **rates, **{fixed: 3})
    with pytest.raises(ValueError, match=r"classes_: expected numbers or text, .*got dtype datetime64"):
        model.fit(X, y.astype("datetime64[D]")).save(file)
    assert GLNClassifier.load(file, learning_rate=1.0, partial_learning_rate=0.5).glns_[0].learning_rate == 0.5
    model.set_params(layer_sizes=range(3, 1, -1)).fit(X, y).save(file)
    assert GLNClassifier.load(file, **rates).layer_sizes == (3, 2)
    model.set_params(layer_sizes={2}).fit(X, y)
    with pytest.raises(ValueError, match=r"layer_sizes: expected numbers, text or sequences of them, got \{2\}"):
        model.save(file)


def test_a_file_of_another_kind(tmp_path):
    X, y = load_wine(return_X_y=True)
    GLNClassifier([2], n_epochs=1, backend="numpy").fit(X, y).save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"expected a saved gln\.sklearn\.GLNRegressor, got a saved gln\.sklearn\.GLN"):
        GLNRegressor.load(tmp_path / "m")
    with pytest.raises(ValueError, match=r"expected a saved network, got a saved gln\.sklearn\.GLNClassifier"):
        GLN.load(tmp_path / "m")
    GLN([2], 5, 4).save(tmp_path / "network")
    with pytest.raises(ValueError, match=r"expected a saved gln\.sklearn\.GLNClassifier, got a saved network"):
        GLNClassifier.load(tmp_path / "network")
    with pytest.raises(FileNotFoundError):
        GLNClassifier.load(tmp_path / "nothing")


def crafted(file: Path, to: Path, change: Any) -> Path:
    """The file with its configuration changed, and a checksum that fits."""
    config, arrays = saving.read(file)
    change(config)
    saving.write(to, config, arrays)
    return to


CRAFTED: dict[str, Any] = {
    "an attribute": lambda config: config["learned"].update(__dict__={"pairs": [["classes_", 3]]}),
    "a method": lambda config: config["learned"].update(predict=3),
    "another type": lambda config: config["learned"].update(classes_="barolo"),
    "an unknown parameter": lambda config: config["parameters"].update(colour="red"),
    "no backend": lambda config: config["parameters"].pop("backend"),
    "no parameters": lambda config: config.pop("parameters"),
    "no kind": lambda config: config["learned"].update(classes_={}),
    "no array": lambda config: config["learned"].update(classes_={"tensor": "nothing"}),
    "no learner": lambda config: config["learned"].update(learner_={"object": "TableModel", "fields": {}}),
    "no networks": lambda config: model_in(config)["means"]["fields"].update(members=[]),
    "more than a learner has": lambda config: model_in(config).update(run="me"),
    "a large standardizer": lambda config: standardizer_in(config).update(
        mean={"array": [0.0], "dtype": "<f8", "shape": [10**15]}
    ),
    "much from few bytes": lambda config: standardizer_in(config).update(
        mean={"compressed": "learner_.means.members.0.network.weights.1", "dtype": "<f8", "shape": [10**9]}
    ),
    "another standardizer": lambda config: model_in(config)["featurizer"]["fields"]["standardizer"].update(
        object="SparseScaler"
    ),
    "other weights": lambda config: model_in(config)["means"]["fields"]["combination"]["fields"].update(
        weights={"array": [1.0], "dtype": "<f8", "shape": [1, 1]}
    ),
    "fewer pieces": lambda config: model_in(config)["featurizer"]["fields"].update(pieces={"tuple": [0]}),
    "a large network": lambda config: model_in(config)["means"]["fields"]["members"][0]["fields"]["network"][
        "network"
    ].update(context_map_size=30),
}


def model_in(config: Any) -> Any:
    return config["learned"]["learner_"]["fields"]


def standardizer_in(config: Any) -> Any:
    return model_in(config)["featurizer"]["fields"]["standardizer"]["fields"]


@pytest.fixture(scope="module")
def of_wines(tmp_path_factory):
    X, y = load_wine(return_X_y=True)
    file = tmp_path_factory.mktemp("wines") / "m"
    GLNClassifier([2], n_networks=2, n_epochs=1, backend="numpy", random_state=0).fit(X, y).save(file)
    return file


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_file_with_a_valid_checksum_is_refused(change, of_wines, tmp_path):
    with pytest.raises(ValueError, match="expected"):
        GLNClassifier.load(crafted(of_wines, tmp_path / "m", change))


def test_a_deeply_nested_file_is_refused(of_wines, tmp_path):
    resaved(of_wines, tmp_path / "m", config=as_bytes("[" * 100_000))
    with pytest.raises(ValueError, match="expected a saved GLN, got a configuration that cannot be read"):
        GLNClassifier.load(tmp_path / "m")


@pytest.mark.parametrize("package", ["joblib", pytest.param("skops.io", marks=pytest.mark.slow)])
def test_a_whole_pipeline_predicts_the_same_and_continues(package, tmp_path):
    if package != "joblib" and not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip(package)
    library, path = importlib.import_module(package), tmp_path / "pipeline"
    frame = pd.DataFrame({"size": [1.0, 2.0, np.nan, 4.0] * 10, "colour": ["red", "blue", "red", "green"] * 10})
    columns = ColumnTransformer([("one", OneHotEncoder(), ["colour"]), ("fill", SimpleImputer(), ["size"])])
    model = make_pipeline(columns, GLNClassifier((4,), n_epochs=2, random_state=0))
    model.fit(frame, np.array(["a", "b", "b", "a"] * 10))
    library.dump(model, path)
    trusted = {} if package == "joblib" else {"trusted": library.get_untrusted_types(file=path)}
    others = {name for name in trusted.get("trusted", ()) if not name.startswith(("gln", "sklearn."))}  # older skops
    assert others <= {"functools.partial", "numpy.dtype"}  # docs/production.md lists these
    loaded = library.load(path, **trusted)
    np.testing.assert_array_equal(loaded.predict_proba(frame), model.predict_proba(frame))
    for pipeline in (model, loaded):
        pipeline[-1].partial_fit(columns.transform(frame[:3]), np.array(["b", "b", "a"]))
    np.testing.assert_array_equal(loaded.predict_proba(frame), model.predict_proba(frame))


@pytest.mark.slow
def test_the_calls_of_mlflow_that_docs_show_save_what_predicts_the_same(tmp_path, monkeypatch):
    mlflow, skops = pytest.importorskip("mlflow.sklearn"), pytest.importorskip("skops.io")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:runs")
    X, y = wines()
    pipeline = make_pipeline(SimpleImputer(), GLNClassifier((4,), n_networks=2, n_epochs=1, random_state=0)).fit(X, y)
    skops.dump(pipeline, "pipeline.skops")
    names = {"mlflow": mlflow, "pipeline": pipeline, "types": skops.get_untrusted_types(file="pipeline.skops")}
    calls = re.findall(r"`mlflow\.sklearn\.(.*\))`", (ROOT / "docs" / "production.md").read_text(encoding="utf-8"))
    for call, where in zip(calls, ("folder", ""), strict=True):
        told = eval(f"mlflow.{call}", names)
        loaded = mlflow.load_model(where or told.model_uri)
        np.testing.assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))
