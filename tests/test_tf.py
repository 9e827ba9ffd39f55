"""What only TensorFlow has: variables, traces, checkpoints and the SavedModel."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import load_backend

import gln_numpy

gln_tf: Any = load_backend("tf")

import tensorflow as tf  # noqa: E402 - only where TensorFlow is there, or must be

FUNCTIONS = ("serve", "_only_predict", "_learn", "_learn_block")


@pytest.fixture(scope="module")
def columns(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """300 digits as columns of every fourth pixel, (196, 300), and their labels."""
    return np.ascontiguousarray(digits[0][::4, :300]), digits[1][:300]


def network(module: Any = gln_tf, **options: Any) -> Any:
    return module.GLN([5, 3, 2], 196, 196, **{"num_classes": 10, "seed": 1, **options})


def run_python(code: str, cwd: Path) -> None:
    """Run `code` in a fresh Python, away from this checkout."""
    command = [sys.executable, "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_trace_serves_batches_of_all_sizes(columns):
    x, y = columns
    model = network()
    for count in (1, 2, 7, 64):
        model.predict(x[:, :count], x[:, :count])
        model.predict(x[:, :count], x[:, :count], y[:count])
        model.serve(x[:, :count], x[:, :count])
        for batch_size in (1, 3, count, 300):
            model.predict_online(x[:, : 3 * count], x[:, : 3 * count], y[: 3 * count], batch_size)
    model.predict(x[:, 0], x[:, 0], y[0])
    model.set_state(network(seed=2).get_state())
    model.predict(x[:, :5], x[:, :5], y[:5])
    assert {name: getattr(model, name).experimental_get_tracing_count() for name in FUNCTIONS} == dict.fromkeys(
        FUNCTIONS, 1
    )


@pytest.mark.parametrize("rows_bytes", [0, 100_000, 1 << 24])
def test_parts_of_a_batch_change_nothing(columns, monkeypatch, rows_bytes):
    """The rows of no sample, of two, or of all are within the budget: the results are those of the reference."""
    x, y = columns[0][:, :103], columns[1][:103]
    monkeypatch.setattr(gln_tf, "ROWS_BYTES", rows_bytes)
    options = {"learning_rate": 0.5, "weight_clipping": 0.3}
    model, reference = network(**options), network(gln_numpy, **options)
    for count in (1, 40, 1):
        before = model.predict(x[:, :count], x[:, :count]).numpy()
        learned = model.predict(x[:, :count], x[:, :count], y[:count]).numpy()
        np.testing.assert_array_equal(learned, before)
        expected = reference.predict(x[:, :count], x[:, :count], y[:count])
        np.testing.assert_allclose(learned, expected, atol=1e-5)
    for batch_size in (1, 8, 300):
        learned, expected = (m.predict_online(x, x, y, batch_size) for m in (model, reference))
        np.testing.assert_allclose(learned, expected, atol=1e-5)
    state = model.get_state()
    assert any((np.abs(array) == np.float32(0.3)).any() for name, array in state.items() if name[0] == "w")
    for name, array in reference.get_state().items():
        np.testing.assert_allclose(state[name], array, atol=1e-5, err_msg=name)


def test_saved_model_predicts_without_this_project(columns, tmp_path):
    x, y = columns
    np.save(tmp_path / "x.npy", x)
    expected = {}
    for num_classes in (2, 10):
        model = network(num_classes=num_classes)
        model.predict_online(x, x, y % num_classes)
        tf.saved_model.save(model, str(tmp_path / f"model_{num_classes}"), signatures=model.serve)
        expected[num_classes] = model.predict(x, x).numpy()
    tf.saved_model.save(model, str(tmp_path / "model_plain"))
    code = """
import sys
sys.modules["gln_tf"] = None  # where this project is installed, importing it fails all the same
import numpy as np, tensorflow as tf
x = tf.constant(np.load("x.npy"))
plain = tf.saved_model.load("model_plain")
np.save("plain.npy", plain.serve(x, x))
for num_classes in (2, 10):
    loaded = tf.saved_model.load(f"model_{num_classes}")
    [output] = loaded.signatures["serving_default"](inputs=x, context_inputs=x).values()
    np.save(f"{num_classes}.npy", output)
"""
    run_python(code, cwd=tmp_path)
    for name, predictions in [("2", expected[2]), ("10", expected[10]), ("plain", expected[10])]:
        served = np.load(tmp_path / f"{name}.npy")
        assert served.shape == predictions.shape
        np.testing.assert_allclose(served, predictions, atol=1e-6)


def test_bfloat16_is_read_as_it_is(columns):
    x, y = tf.constant(columns[0], tf.bfloat16), tf.constant(columns[1] % 2, tf.bfloat16)
    output = network(num_classes=2).predict(x, x, y)
    expected = network(num_classes=2).predict(*[tf.cast(tensor, tf.float32) for tensor in (x, x, y)])
    np.testing.assert_array_equal(output, expected)


def test_serve_applies_the_base_predictor(columns):
    x = columns[0]
    model = network(base_predictor=lambda inputs: tf.sigmoid(3.0 * inputs[:50] - 1.0))
    np.testing.assert_allclose(model.serve(x, x), model.predict(x, x), atol=1e-6)


def test_state_is_variables_that_stay(columns):
    x, y = columns
    model = network()
    variables = [variable.ref() for variable in model.variables]
    shapes = sorted(tuple(variable.shape) for variable in model.variables)
    assert shapes == sorted([(10, 4, 196), (10, 4), (5 * 16, 10, 197), (3 * 16, 10, 6), (2 * 16, 10, 4), ()])
    assert model.step.dtype == tf.int64
    model.fit_hyperplanes(x)
    model.predict_online(x, x, y)
    model.set_state(network(seed=2).get_state())
    assert [variable.ref() for variable in model.variables] == variables


def test_checkpoint_restores_the_state(columns, tmp_path):
    x, y = columns
    model, other = network(), network(seed=2)
    model.predict_online(x, x, y)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    for name, array in other.get_state().items():
        np.testing.assert_array_equal(array, model.get_state()[name], err_msg=name)


def test_copy_learns_on_its_own(columns):
    x, y = columns
    model = network()
    model.predict(x[:, 0], x[:, 0], y[0])
    before = model.get_state()
    other = copy.deepcopy(model)
    for start, end in ((1, 2), (2, 40)):
        other.predict(x[:, start:end], x[:, start:end], y[start:end])
    other.predict_online(x, x, y)
    for name, array in model.get_state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert int(other.step) == 40 + 300
