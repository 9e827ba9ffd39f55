"""ONNX files: ONNX Runtime predicts the same as the models, for any number of samples."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import to_numpy
from scipy.sparse import random_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

import gln.onnx
from gln.learning.fading import STEEP, FadingCells, count_cells
from gln.learning.levels import with_codes
from gln.onnx import export
from gln.sklearn import GLNClassifier, GLNRegressor
from gln_numpy import GLN

RNG = np.random.default_rng(0)
COUNT = 1000
SOME = (slice(None), slice(0), slice(1), slice(100, 177))  # samples for one session
INPUTS = RNG.normal(size=(6, COUNT)).astype(np.float32)
CONTEXT = RNG.normal(size=(5, COUNT)).astype(np.float32)
KINDS: dict[str, dict[str, Any]] = {
    "binary": {"layer_sizes": (8, 4, 2)},
    "classes": {"layer_sizes": (8, 4), "num_classes": 4, "context_features": 2},
    "means": {"layer_sizes": (8, 4), "loss": "squared_error", "num_outputs": 2, "bias": False},
    "quantiles": {"layer_sizes": (8, 1), "loss": "quantile", "quantiles": (0.1, 0.5, 0.9), "value_clipping": 1.0},
    "variances": {"layer_sizes": (4,), "loss": "variance"},
    "no halfspaces": {"layer_sizes": (4, 4), "num_classes": 3, "context_map_size": 0},
}

# A table as float32 rows: a large number that varies little, missing values, a constant, and outliers.
X = RNG.normal(size=(COUNT, 5))
TARGET = np.abs(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * RNG.normal(size=COUNT)
CLASSES = np.digitize(TARGET, (0.3, 1.2))
X[:, 0] = 1e6 + 100 * X[:, 0]
X[:, 3] = 7
X[RNG.random(X.shape) < 0.05] = np.nan
X[5:7, 1] = 10, 1e6
X = X.astype(np.float32)
SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "random_state": 0, "n_networks": 4, "n_epochs": 1}


def session_of(model: Any, folder: Path) -> Any:
    file = folder / "model.onnx"
    export(model, file)
    onnx.checker.check_model(str(file), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options)


def answers(session: Any, **inputs: Any) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def expected_of(model: Any, rows: Any) -> dict[str, np.ndarray]:
    if isinstance(model, GLNClassifier):
        return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
    found = {"variable": model.predict(rows)}
    if model.quantiles is not None:
        found["quantiles"] = model.predict_quantiles(rows)
    if model.density:
        found["std"] = model.predict(rows, return_std=True)[1]
    return found


def assert_same_predictions(model: Any, folder: Path, rows: Any, given: np.ndarray | None = None) -> None:
    """Assert equal outputs for none, one, some and all of the rows; the session gets them as `given` (N, F)."""
    session = session_of(model, folder)
    given = np.asarray(rows if given is None else given, np.float32)
    expected = expected_of(model, rows)
    for some in SOME:
        found = answers(session, X=given[some])
        assert found.keys() == expected.keys()
        for name, array in found.items():
            assert array.shape == expected[name][some].shape
            if name == "label":
                assert array.tolist() == expected[name][some].tolist()
            else:
                rtol, atol = (0, 1e-5) if name == "probabilities" else (1e-5, 1e-5 * np.std(expected[name]))
                np.testing.assert_allclose(array, expected[name][some], rtol=rtol, atol=atol, err_msg=name)


# ---- Networks --------------------------------------------------------------------------------------------------------


def learned(**arguments: Any) -> GLN:
    model = GLN(**arguments, input_size=6, context_size=5, context_bias=0.5, seed=0)
    targets = RNG.random((model.num_outputs, COUNT)).round()
    model.predict_online(INPUTS, CONTEXT, targets if model.num_outputs > 1 else targets[0])
    return model


def assert_network_predicts_the_same(model: Any, folder: Path) -> None:
    session = session_of(model, folder)
    inputs = INPUTS * np.float32(9)  # so that some are clipped
    expected = to_numpy(model.predict(inputs, CONTEXT))
    assert np.ptp(expected) > 0.2
    for some in SOME:
        found = answers(session, inputs=inputs[:, some], context_inputs=CONTEXT[:, some])["predictions"]
        assert found.shape == expected[..., some].shape
        np.testing.assert_allclose(found, expected[..., some], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_each_loss(kind, tmp_path):
    assert_network_predicts_the_same(learned(**KINDS[kind]), tmp_path)


def test_networks_of_each_backend(backend, tmp_path):
    model = backend.GLN(**KINDS["classes"], input_size=6, context_size=5)
    model.set_state(learned(**KINDS["classes"]).get_state())
    assert_network_predicts_the_same(model, tmp_path)


def test_base_predictors_are_refused(tmp_path):
    model = GLN([4], 6, 5, base_predictor=lambda inputs: 1 / (1 + np.exp(-inputs)))
    with pytest.raises(ValueError, match="base_predictor: expected None, because a file cannot hold a callable"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


# ---- Estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
@pytest.mark.parametrize("labels", [np.array(["low", "middle", "high"]), np.array([3, 7]), np.array([False, True])])
def test_classifiers(learn, labels, tmp_path):
    model = GLNClassifier(**SMALL)
    getattr(model, learn)(X, labels[CLASSES % len(labels)], **({} if learn == "fit" else {"classes": labels}))
    assert_same_predictions(model, tmp_path, X)


def test_many_classes(tmp_path):
    model = GLNClassifier(**SMALL).fit(X, np.arange(COUNT) % 100)
    assert_same_predictions(model, tmp_path, X)


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
@pytest.mark.parametrize("targets", [TARGET, np.stack([TARGET, 1000 - TARGET], axis=1)], ids=["one", "several"])
def test_regressors(learn, targets, tmp_path):
    model = GLNRegressor(**SMALL)
    assert_same_predictions(getattr(model, learn)(X, targets), tmp_path, X)
    model = clone(model).set_params(quantiles=(0.9, 0.1), density=True)
    assert_same_predictions(getattr(model, learn)(X, targets), tmp_path, X)


def test_deviations_of_a_target_that_never_varied(tmp_path):
    model = GLNRegressor(**SMALL, density=True).fit(X, np.ones(COUNT))
    assert_same_predictions(model, tmp_path, X)


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_categories_are_codes(learn, estimator, tmp_path):
    rows = np.column_stack([RNG.integers(30, 50, COUNT), X[:, :2], RNG.integers(0, 3, COUNT) * 5, X[:, 2]])
    rows[RNG.random(COUNT) < 0.1, 0] = np.nan
    model = estimator(**SMALL, categorical_features=[0, 3])
    more = {"classes": [0, 1, 2]} if learn == "partial_fit" and estimator is GLNClassifier else {}
    getattr(model, learn)(rows, (CLASSES + rows[:, 3].astype(int)) % 3, **more)
    rows[:50, 0] = 99  # a level that was never seen
    codes = with_codes(rows, model.categories_)
    codes[:20, 0], codes[20:40, 0] = -2, 99
    assert_same_predictions(model, tmp_path, rows, codes)


def test_streams_that_grew_and_samples_beyond_them(tmp_path):
    """Levels and pairs of levels that came later, categories alone, one without levels, and values larger than any."""
    kinds = np.column_stack([RNG.integers(0, 30, COUNT), RNG.integers(0, 4, COUNT), np.full(COUNT, np.nan)])
    kinds[: COUNT // 2, 0] %= 5
    labels = (kinds[:, 0] * kinds[:, 1] % 3).astype(int)
    model = GLNClassifier(**SMALL, categorical_features=[0, 1, 2])
    for part in (slice(0, 500), slice(500, COUNT)):
        model.partial_fit(kinds[part], labels[part], classes=[0, 1, 2])
    assert_same_predictions(model, tmp_path, kinds, with_codes(kinds, model.categories_))
    rows = np.column_stack([kinds[:, :2], 3 + RNG.normal(size=(COUNT, 2))])
    model = GLNRegressor(**SMALL, categorical_features=[0, 1]).partial_fit(rows, kinds[:, 0] * rows[:, 2])
    assert not np.isnan(rows).any()
    rows[:300, 2:] *= -4  # up to the limit of standardised values
    rows[RNG.random(rows.shape) < 0.1] = np.nan
    assert_same_predictions(model, tmp_path, rows, with_codes(rows, model.categories_))


def test_bins_of_a_stream_do_not_depend_on_numba():
    """Without Numba, products with a float32 were rounded to float32, in another bin if they are near its end."""
    ends = (np.log(np.arange(1, 64) / np.arange(63, 0, -1)) / STEEP).astype(np.float32)
    z = np.concatenate([np.nextafter(ends, np.float32(9)), ends, np.nextafter(ends, np.float32(-9))])[None]
    found = FadingCells.start([0], 1, are_classes=False)
    found.counts[:], found.sums[:, 0] = 1, np.arange(len(found.sums))
    said, nothing = np.zeros((2, *z.shape), np.float32), np.full(z.shape, np.nan)
    for own, values in zip(said, (z, z.astype(np.float64)), strict=True):
        count_cells(values, found.cells, False, nothing, nothing[0], own)
    assert len(np.unique(said)) == 64
    np.testing.assert_array_equal(*said)


def test_too_many_levels_for_a_table_of_pairs_are_refused(tmp_path, monkeypatch):
    rows = np.column_stack([np.arange(100), np.arange(100) % 50, np.zeros(100)])
    model = GLNRegressor(**SMALL, categorical_features=[0, 1]).partial_fit(rows, rows[:, 1])
    monkeypatch.setattr(gln.onnx, "MOST_PAIRS", 4999)
    with pytest.raises(ValueError, match=r"^model: expected at most 4999 numbers .*got 5000 for the features 0 and 1$"):
        export(model, tmp_path / "m")
    monkeypatch.setattr(gln.onnx, "MOST_PAIRS", 599)
    with pytest.raises(ValueError, match=r"^model: expected at most 599 numbers .*got 600 for feature 0 and the num"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_wide_sparse_models_take_dense_rows(tmp_path):
    counts = random_array((COUNT, 1200), density=0.02, rng=RNG, format="csr", dtype=np.float32)
    classifier = GLNClassifier(random_state=0).fit(counts, np.digitize(counts[:, :300].sum(axis=1), (2, 4)))
    assert classifier.glns_[0].input_size == 1200
    dense = counts.toarray()
    assert_same_predictions(classifier, tmp_path, counts, np.where(dense == 0, np.nan, dense))
    regressor = GLNRegressor(random_state=0, density=True).partial_fit(counts, counts[:, :300].sum(axis=1))
    assert_same_predictions(regressor, tmp_path, counts, dense)


def test_a_loaded_estimator_is_exported(tmp_path):
    GLNRegressor(**SMALL, density=True).fit(X, TARGET).save(tmp_path / "m")
    assert_same_predictions(GLNRegressor.load(tmp_path / "m"), tmp_path, X)


# ---- Files and errors ------------------------------------------------------------------------------------------------


def test_other_models_are_refused(tmp_path):
    for model in (None, "model", {"config": 1}):
        with pytest.raises(ValueError, match=r"^model: expected a GLN, or a GLNClassifier or GLNRegressor"):
            export(model, tmp_path / "m")
    with pytest.raises(NotFittedError):
        export(GLNRegressor(), tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_a_model_too_large_for_a_file_leaves_the_old_file(tmp_path, monkeypatch):
    export(GLN([2], 3, 3, seed=0), tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    monkeypatch.setattr(gln.onnx, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"^model: expected at most 1000 bytes, .* 2 GiB, got \d+ bytes$"):
        export(GLN([8], 3, 3, seed=0), tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    assert (tmp_path / "m").read_bytes() == before
    with pytest.raises(OSError, match="nowhere"):
        export(GLN([2], 3, 3, seed=0), tmp_path / "nowhere" / "m")


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "gln.onnx")
    with pytest.raises(ImportError, match=r'^gln.onnx needs ONNX: pip install "gated-linear-networks\[onnx\]"$'):
        importlib.import_module("gln.onnx")
