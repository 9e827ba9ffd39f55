"""Specific to TensorFlow: variables, traces, checkpoints and the SavedModel."""

from __future__ import annotations

import gc
import re
import warnings
import weakref
from inspect import signature
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from helpers import assert_same_state, run_python

import gln_numpy

gln_tf: Any = load_backend("tf")

import tensorflow as tf  # noqa: E402 - after skipping without TensorFlow


@pytest.fixture(scope="module")
def columns(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Every fourth pixel of 300 digits, as columns (196, 300), and their labels."""
    return np.ascontiguousarray(digits[0][::4, :300]), digits[1][:300]


def network(module: Any = gln_tf, **options: Any) -> Any:
    """Of one layer, because TensorFlow compiles each for half a second."""
    return module.GLN(**{"layer_sizes": [5], "num_classes": 10, "seed": 1, **options}, input_size=196, context_size=196)


@pytest.mark.slow
def test_networks_of_one_kind_share_what_is_compiled(columns):
    x, y = columns
    model, other = network(context_map_size=2), network(context_map_size=2, seed=2, learning_rate=1.0)
    kinds = len(gln_tf.COMPILED)
    for twin in (model, other):
        for count in (2, 7):
            twin.predict(x[:, :count], x[:, :count])
            twin.predict_online(x[:, :count], x[:, :count], y[:count])
            twin.serve(x[:, :count], x[:, :count])
    assert len(gln_tf.COMPILED) == kinds + 2  # to predict, to learn
    assert model._quick.func is other._quick.func
    assert model.serve.experimental_get_tracing_count() == 1
    weak = weakref.ref(model)
    del model, twin
    gc.collect()
    assert weak() is None  # compiled functions keep no network alive
    network(context_map_size=2, weight_clipping=3.0).predict(x[:, 0], x[:, 0])
    assert len(gln_tf.COMPILED) == kinds + 3


@pytest.mark.parametrize(
    "rows_bytes", [100_000, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 1 << 24))]
)
def test_a_server_reads_its_rows_in_parts(columns, monkeypatch, rows_bytes):
    """The budget is enough for the rows of no sample, of two, or of all."""
    x, model = columns[0][:, :40], network()
    monkeypatch.setattr(gln_tf, "ROWS_BYTES", rows_bytes)
    np.testing.assert_allclose(model.serve(x, x), network(gln_numpy).predict(x, x), atol=1e-5)


@pytest.mark.slow
def test_gates_multiply_in_float64_where_a_gpu_may_run_them(columns, monkeypatch):
    """A GPU multiplies float32 as TF32. An exported model may run on one, and a model here does if there is one."""

    def of_gates(graph: Any) -> set[Any]:
        compared = [op for op in graph.get_operations() if op.type in ("MatMul", "Greater")]
        return {tensor.dtype for op in compared for tensor in op.inputs}

    x = columns[0][:, :7]
    alone = network(context_map_size=3)
    expected = alone.predict(x, x)
    assert of_gates(alone._quick.func.graph) == {tf.float32}  # which takes half the time on a CPU
    assert of_gates(alone.serve.get_concrete_function().graph) == {tf.float64}
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    model = network(context_map_size=3, weight_clipping=100.0)  # another kind of network, not compiled yet
    np.testing.assert_allclose(model.predict(x, x), expected, atol=1e-6)
    assert of_gates(model._quick.func.graph) == {tf.float64}


@pytest.mark.slow
def test_saved_model_predicts_without_this_project(columns, tmp_path):
    x, y = columns
    np.save(tmp_path / "x.npy", x)
    kinds: dict[str, dict[str, Any]] = {
        "2": {"num_classes": 2},
        "10": {},
        "mean": {"num_classes": 2, "loss": "squared_error"},
        "variance": {"num_classes": 2, "loss": "variance"},
    }
    kinds["quantiles"] = {"num_classes": 2, "loss": "quantile", "quantiles": [0.1, 0.9]}
    for kind, options in kinds.items():
        model = network(**options)
        model.predict_online(x, x, y % 2)
        tf.saved_model.save(model, str(tmp_path / f"model_{kind}"), signatures=model.serve)
        np.save(tmp_path / f"expected_{kind}.npy", model.predict(x, x))
    code = """
import sys
for name in ("gln_tf", "gln"):
    sys.modules[name] = None  # importing this project fails even if it is installed
import numpy as np, tensorflow as tf
x = tf.constant(np.load("x.npy"))
for kind in ("2", "10", "mean", "variance", "quantiles"):
    loaded, expected = tf.saved_model.load(f"model_{kind}"), np.load(f"expected_{kind}.npy")
    [output] = loaded.signatures["serving_default"](inputs=x, context_inputs=x).values()
    for served in (output, loaded.serve(x, x)):
        assert served.shape == expected.shape
        np.testing.assert_allclose(served, expected, rtol=1e-6, atol=1e-6)
"""
    run_python(code, cwd=tmp_path)


def test_nothing_is_trained_by_gradients():
    model = network(layer_sizes=[5, 2])
    assert model.trainable_variables == ()
    assert len(model.variables) == 5


@pytest.mark.slow
@pytest.mark.parametrize("call", ["predict", "predict_online"])
def test_in_a_graph_an_error_says_how_to_predict(columns, call):
    x, model = columns[0], network()
    targets = () if call == "predict" else (tf.zeros(300),)

    @tf.function
    def in_graph(x):
        return getattr(model, call)(x, x, *targets)

    with pytest.raises(ValueError, match=r"inputs: expected .*, got .*serve\(inputs, context_inputs\)"):
        in_graph(tf.constant(x))
    with pytest.raises(ValueError, match="serve"):
        tf.data.Dataset.from_tensors(x).map(lambda x: model.predict(x, x))
    served = next(iter(tf.data.Dataset.from_tensors(x).map(lambda x: model.serve(x, x))))
    np.testing.assert_allclose(served, model.predict(x, x), atol=1e-6)


def test_a_server_checks_shapes(columns):
    x, model = columns[0], network()
    for inputs, context in ((x[:5], x), (x, x[:5]), (x, x[:, :2])):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            model.serve(inputs, context)


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras_model(seed: int) -> Any:
    import keras

    from gln.keras import GLNLayer

    inputs = keras.Input((196,))
    layer = GLNLayer([5], 196, 196, num_classes=10, seed=seed, learning_rate=2.0)
    return keras.Model(inputs, layer(keras.layers.Rescaling(0.5)(inputs)))


@pytest.mark.slow
def test_keras_saves_what_the_layer_has_learned(columns, tmp_path):
    import keras

    x, y = columns
    model = keras_model(seed=1)
    gln = model.layers[-1].gln
    gln.predict_online(x / 2, x / 2, y)
    gln.set_learning_rate(0.5)
    expected = model.predict(x.T, verbose=0)
    np.testing.assert_allclose(expected, gln.predict(x / 2, x / 2).numpy().T, atol=1e-6)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded, other = keras.saving.load_model(tmp_path / "model.keras"), keras_model(seed=2)
    assert not np.allclose(other.predict(x.T, verbose=0), expected, atol=0.1)
    other.load_weights(tmp_path / "model.weights.h5")
    for twin in (loaded, other):
        np.testing.assert_allclose(twin.predict(x.T, verbose=0), expected, atol=1e-6)
        assert_same_state(twin.layers[-1].gln, gln)
    assert loaded.layers[-1].gln.learning_rate == 0.5
    ones = np.ones((196, 2), int)
    np.testing.assert_allclose(loaded.layers[-1](ones.T), gln.predict(ones, ones).numpy().T, atol=1e-6)
    assert model.trainable_variables == []


def test_fit_of_keras_says_that_it_does_not_train_a_gln(columns):
    import keras

    from gln.keras import GLNLayer

    x = np.ascontiguousarray(columns[0].T[:8])
    layer = GLNLayer([3], 196, 196, seed=1, name="gated")
    model = keras.Sequential([keras.Input((196,)), keras.layers.Dense(196), layer])
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1), "mse")  # which changes nothing in the layer
    state = layer.gln.get_state()
    with pytest.warns(UserWarning, match=r"^gated: fit does not train a GLN, .*; use gln\.keras\.GLNModel, or call"):
        model.fit(x, np.zeros(8), verbose=0)
    assert_same_state(layer.gln.get_state(), state)


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [2, 10])
def test_fit_of_a_gln_model_teaches_its_layers(columns, num_classes, tmp_path):
    import keras

    from gln.keras import GLNLayer, GLNModel

    x, y = np.ascontiguousarray(columns[0].T), columns[1] if num_classes > 2 else columns[1] < 5
    layer, plain = (GLNLayer([3], 196, 196, num_classes=num_classes, seed=1) for _ in range(2))
    inputs = keras.Input((196,))
    model = GLNModel(inputs, layer(inputs))
    model.compile(loss="sparse_categorical_crossentropy" if num_classes > 2 else "binary_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, y[:, None], epochs=1, shuffle=False, verbose=0)
    learned = plain.learn(x, y)
    assert learned.shape == (300, layer.gln.config.num_heads)
    assert_same_state(layer.gln, plain.gln)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), plain(x), atol=1e-6)
    loaded.fit(x, y, verbose=0)
    assert int(loaded.layers[-1].gln.step) == 600


def test_sample_weights_reach_the_layers_of_a_gln_model(columns):
    import keras

    from gln.keras import GLNLayer, GLNModel

    x, y = np.ascontiguousarray(columns[0].T[:40]), columns[1][:40] < 5
    layer, plain = (GLNLayer([3], 196, 196, seed=1) for _ in range(2))
    inputs = keras.Input((196,))
    model = GLNModel(inputs, layer(inputs))
    model.compile(loss="binary_crossentropy")
    weights = np.arange(40) % 3
    model.fit(x, y[:, None], sample_weight=weights, shuffle=False, verbose=0, batch_size=40)
    for sample, target, weight in zip(x, y, weights, strict=True):
        step = int(plain.gln.step)
        for _ in range(weight):  # twice at the same rate, as one sample
            base, context, targets, _ = plain.gln.prepare(sample[:, None], sample[:, None], [target])
            plain.gln.step.assign(step)
            plain.gln.predict_arrays(base, context, targets)
    assert_same_state(layer.gln, plain.gln, atol=1e-6)
    assert int(layer.gln.step) == (weights > 0).sum()
    with pytest.raises(Exception, match="sample_weight: expected 40 finite numbers of at least 0"):
        model.fit(x, y[:, None], sample_weight=-weights, verbose=0, batch_size=40)


@pytest.mark.slow
def test_a_gln_model_trains_what_is_below_by_gradients(columns):
    import keras

    from gln.keras import GLNLayer, GLNModel

    x, y, inputs = columns[0].T, columns[1], keras.Input((196,))
    below, layer = keras.layers.Dense(20), GLNLayer([3], 20, 196, num_classes=10, seed=1, name="gated")
    model = GLNModel(inputs, {"gated": layer(below(inputs), inputs)})
    model.compile("adam", loss={"gated": "sparse_categorical_crossentropy"})
    before = below.get_weights()[0]
    model.fit(x, {"gated": y}, verbose=0)
    layer.trainable = False
    model.compile("adam", loss={"gated": "sparse_categorical_crossentropy"})
    model.fit(x, {"gated": y}, verbose=0)
    assert int(layer.gln.step) == 300
    assert np.abs(below.get_weights()[0] - before).max() > 1e-3


@pytest.mark.parametrize("has_training", [False, True])
def test_fit_of_a_subclass_of_a_gln_model_teaches_its_layers(columns, has_training):
    import keras

    from gln.keras import GLNLayer, GLNModel

    # `GLNModel(inputs, outputs)`, as in other tests, makes Keras replace this base by one that needs these arguments.
    GLNModel.__bases__ = (keras.Model,)

    class Plain(GLNModel):
        def __init__(self):
            super().__init__()
            self.below, self.gated = keras.layers.Identity(), GLNLayer([3], 196, 196, seed=1)

        def call(self, inputs):
            return self.gated(self.below(inputs))

    class WithTraining(Plain):
        def call(self, inputs, training=None):
            return self.gated(self.below(inputs, training=training), training=training)

    x, y = np.ascontiguousarray(columns[0].T[:64]), columns[1][:64] < 5
    model = (WithTraining if has_training else Plain)()
    model.compile(loss="binary_crossentropy")
    model.fit(x, y, shuffle=False, verbose=0)
    plain = gln_numpy.GLN([3], 196, 196, seed=1)
    plain.predict_online(x.T, x.T, y)
    assert_same_state(model.gated.gln.get_state(), plain.get_state(), atol=1e-5)
    assert model.evaluate(x, y, verbose=0) < np.log(2)
    model.fit(x, y, verbose=0)
    assert int(model.gated.gln.step) == 128


def test_the_arguments_of_a_layer_are_those_of_a_network_and_of_keras():
    from gln.keras import GLNLayer

    own = dict(signature(GLNLayer).parameters)
    assert [own.pop(name).default for name in ("name", "trainable")] == [None, True]
    assert own == dict(signature(gln_tf.GLN).parameters)
    with pytest.raises(TypeError, match="foo"):
        GLNLayer([3], 20, 20, foo=3)  # type: ignore[call-arg]


def test_shapes_in_errors_of_the_layer_are_those_that_were_given():
    from gln.keras import GLNLayer

    layer, x = GLNLayer([3], 20, 20, num_classes=3, seed=1), np.zeros((30, 20), np.float32)
    for bad in (x[:, :19], x.T, x[0], x[None]):
        for call in (layer, lambda inputs: layer.learn(inputs, np.zeros(30))):
            with pytest.raises(ValueError, match=re.escape(f"inputs: expected shape (B, 20), got shape {bad.shape}")):
                call(bad)
    with pytest.raises(ValueError, match=r"context_inputs: expected shape \(30, 20\), got shape \(29, 20\)"):
        layer(x, x[1:])
    for bad in (np.zeros(29), np.zeros((3, 30)), np.zeros((30, 2))):
        with pytest.raises(ValueError, match=rf"^targets: expected shape \(30,\) or .*, got shape \({len(bad)}"):
            layer.learn(x, bad)
    assert int(layer.gln.step) == 0


def test_metrics_of_keras_understand_a_layer_of_two_classes(columns):
    import keras

    from gln.keras import GLNLayer

    x, y = np.ascontiguousarray(columns[0].T[:32]), columns[1][:32, None] < 5
    layer = GLNLayer([3], 196, 196, seed=1)
    layer.gln.predict_online(x.T, x.T, y[:, 0])
    model = keras.Sequential([keras.Input((196,)), layer])
    predicted = model.predict(x, verbose=0)
    assert model.output_shape == (None, 1)
    assert predicted.shape == (32, 1)
    np.testing.assert_allclose(predicted[:, 0], layer.gln.predict(x.T, x.T), atol=1e-6)
    accuracy = ((predicted > 0.5) == y).mean()
    assert accuracy > 0.7
    for targets in (y, y[:, 0]):
        model.compile(loss="binary_crossentropy", metrics=["accuracy"])
        metrics = model.evaluate(x, targets.astype(int), verbose=0, return_dict=True)
        assert metrics["accuracy"] == pytest.approx(accuracy)


def test_keras_copies_what_the_layer_has_learned_as_weights(columns, tmp_path):
    import keras

    x, y = columns
    model = keras_model(seed=1)
    gln = model.layers[-1].gln
    gln.predict_online(x / 2, x / 2, y)
    gln.set_learning_rate(None)
    assert [each.shape for each in model.get_weights()] == [tuple(variable.shape) for variable in gln.variables]
    assert model.trainable_weights == []
    assert model.count_params() == sum(array.size for array in gln.get_state().values())
    clone = keras.models.clone_model(model)
    assert clone.layers[-1].gln.has_default_rate
    clone.set_weights(model.get_weights())
    model.save(tmp_path / "model.h5")  # weights only
    for twin in (clone, keras.saving.load_model(tmp_path / "model.h5")):
        assert_same_state(twin.layers[-1].gln, gln)


@pytest.mark.parametrize("name", ["learning_rate", "base_predictor"])
def test_keras_says_that_it_cannot_save_a_callable(name):
    from gln.keras import GLNLayer

    options: dict[str, Any] = {name: lambda given: given * 0.5}
    layer = GLNLayer([2], 3, 3, **options)
    layer(np.ones((1, 3)))
    with pytest.raises(ValueError, match=f"^{name}: expected no callable, because Keras cannot save it, got <function"):
        layer.get_config()


def test_a_layer_computes_in_float32_under_every_policy(columns):
    import keras

    from gln.keras import GLNLayer

    x, policy = columns[0], keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = GLNLayer([5], 196, 196, num_classes=10, seed=1)
        output = layer(x.T)
    finally:
        keras.config.set_dtype_policy(policy)
    assert output.dtype == tf.float32
    np.testing.assert_allclose(output, layer.gln.predict(x, x).numpy().T, atol=1e-6)


def test_learning_is_not_recorded(columns):
    x, model = tf.constant(columns[0]), network()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = model.predict(x, x, columns[1]), model.predict_online(x, x, columns[1])
    assert [tape.gradient(output, x) for output in outputs] == [None, None]


def test_bfloat16_is_read_as_it_is(columns):
    x, y = tf.constant(columns[0], tf.bfloat16), tf.constant(columns[1], tf.bfloat16)
    output = network().predict(x, x, y)
    expected = network().predict(*[tf.cast(tensor, tf.float32) for tensor in (x, x, y)])
    np.testing.assert_array_equal(output, expected)


def test_serve_applies_the_base_predictor(columns):
    x = columns[0]
    model = network(base_predictor=lambda inputs: tf.sigmoid(3.0 * inputs[:50] - 1.0))
    np.testing.assert_allclose(model.serve(x, x), model.predict(x, x), atol=1e-6)


@pytest.mark.slow
def test_state_is_variables_that_stay(columns):
    x, y = columns
    model = network(layer_sizes=[5, 2])
    variables = [variable.ref() for variable in model.variables]
    shapes = sorted(tuple(variable.shape) for variable in model.variables)
    assert shapes == sorted([(7, 4, 196), (7, 4), (5 * 16, 10, 197), (2 * 16, 10, 6), ()])
    assert model.step.dtype == tf.int64
    model.fit_hyperplanes(x)
    model.predict_online(x, x, y)
    model.set_state(network(layer_sizes=[5, 2], seed=2).get_state())
    assert [variable.ref() for variable in model.variables] == variables


def test_checkpoint_restores_the_state(columns, tmp_path):
    x, y = columns
    model, other = network(), network(seed=2)
    model.predict_online(x, x, y)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    assert_same_state(other, model)
