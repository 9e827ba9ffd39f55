"""A GLN as a Keras layer, saved and loaded with its model. Keras must use the TensorFlow backend."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise ImportError("gln.keras needs TensorFlow: pip install tensorflow") from error

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "gln.keras needs Keras with the TensorFlow backend: set the environment variable KERAS_BACKEND=tensorflow "
        f"before Keras is imported; got {keras.backend.backend()!r}"
    )

from gln.engine.networks.protocol import arguments
from gln.engine.networks.rows import as_columns, check_rows
from gln_tf import GLN

__all__ = ["GLNLayer", "GLNModel"]


@keras.saving.register_keras_serializable(package="gln")
class GLNLayer(keras.layers.Layer):
    """A layer that predicts with its `gln`, a `gln_tf.GLN` whose state is the layer's non-trainable weights.

    Samples are rows. The GLN learns in `fit` of a `GLNModel`, or by `learn`; `fit` of another model only trains the
    layers around it. It computes in float32 under every dtype policy. Keras saves its state, and its learning rate if
    that is a number. Callables cannot be saved: with a callable learning rate or a `base_predictor`, saving and cloning
    raise ValueError. Without `context_inputs` the inputs are also the side information.
    """

    def __init__(self, layer_sizes: Sequence[int] | GLN, *sizes: int, name: str | None = None, **options: Any) -> None:
        """The arguments are those of `GLN`, or a GLN alone; and `trainable`, which Keras restores.

        Raises:
            ValueError: an argument outside its range.
        """
        super().__init__(name=name, trainable=options.pop("trainable", True), dtype="float32")
        if not isinstance(layer_sizes, GLN) or sizes or options:
            layer_sizes = GLN(layer_sizes, *sizes, **options)
        self.gln = layer_sizes
        self.supports_jit = False  # learning in `fit` leaves the graph
        for place, variable in enumerate(self.gln.variables):
            variable.path = f"{self.name}/{place}"  # as Keras names its own variables

    @property
    def variables(self) -> list[tf.Variable]:
        """The state of the GLN, as `get_weights` and `set_weights` copy it."""
        return list(self.gln.variables)

    weights = variables

    def call(self, inputs: Any, context_inputs: Any = None, training: bool | None = None) -> tf.Tensor:
        """Predictions, (B, C) of C heads, which is 1 for two classes, for rows (B, input_size) and (B, context_size).

        Raises ValueError for a wrong shape. With `training`, as in `fit`, it warns if the GLN has learned nothing yet.
        """
        with tf.init_scope():
            if training and int(self.gln.step) == 0:
                how = "use gln.keras.GLNModel, or call layer.learn(inputs, targets)"
                warnings.warn(f"{self.name}: fit does not train a GLN, and it has learned nothing; {how}", stacklevel=2)
        context = inputs if context_inputs is None else context_inputs
        check_rows(self.gln, inputs, context)
        columns = (tf.transpose(tf.cast(array, tf.float32)) for array in (inputs, context))
        p = tf.reshape(tf.transpose(self.gln.serve(*columns)), (-1, self.gln.config.num_heads))
        if training is not False and "to_learn" in self.__dict__:  # set by `GLNModel` for this step
            self.__dict__["to_learn"] = inputs, context, p
        return p

    def learn(self, inputs: Any, targets: Any, context_inputs: Any = None) -> tf.Tensor:
        """Learn one sample after another; returns the predictions before each update, (B, C).

        Targets are (B,), (B, 1) or (B, C), otherwise as in `GLN.predict`. Raises ValueError for a wrong shape or value.
        """
        arrays = inputs, targets, inputs if context_inputs is None else context_inputs
        if tf.executing_eagerly():
            return tf.constant(self._learn(*arrays))
        return tf.numpy_function(self._learn, arrays, tf.float32)  # in a graph

    def _learn(self, *arrays: Any) -> np.ndarray:
        inputs, targets, context = map(np.asarray, arrays)
        check_rows(self.gln, inputs, context, targets)
        p = self.gln.predict_online(inputs.T, context.T, as_columns(targets))
        return np.atleast_2d(p).T

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **arguments(self.gln)}
        del config["dtype"]  # it is always float32
        for key, value in config.items():
            if callable(value):
                raise ValueError(f"{key}: expected no callable, because Keras cannot save it, got {value!r}")
        return config

    def save_own_variables(self, store: Any) -> None:
        for name, array in self.gln.get_state().items():
            store[name] = array

    def load_own_variables(self, store: Any) -> None:
        self.gln.set_state({name: store[name] for name in store.keys()})  # noqa: SIM118 - no mapping


@keras.saving.register_keras_serializable(package="gln")
class GLNModel(keras.Model):
    """A `keras.Model` whose `fit` also teaches each of its `GLNLayer`s the model's targets, after the gradient step.

    A layer that is `trainable` learns what it was called with, one sample after another. With a mapping of targets, it
    learns those under its own name. Raises ValueError for `sample_weight`, which a GLN does not know.
    """

    def train_step(self, data: Any) -> Any:
        _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError("sample_weight: expected None, because a GLN learns all samples alike, got weights")
        layers = [layer for layer in self._flatten_layers(include_self=False) if isinstance(layer, GLNLayer)]
        for layer in layers:
            layer.__dict__["to_learn"] = None
        with warnings.catch_warnings():  # its layers learn here, and it may have no others
            warnings.filterwarnings("ignore", r".*: fit does not train a GLN|The model does not have any trainable")
            logs = super().train_step(data)
        for layer in layers:
            called = layer.__dict__.pop("to_learn")
            if layer.trainable and called is not None:
                inputs, context, p = called
                with tf.control_dependencies([p]):
                    layer.learn(inputs, y[layer.name] if isinstance(y, dict) else y, context)
        return logs
