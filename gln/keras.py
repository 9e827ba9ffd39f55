"""A GLN as a Keras layer, saved and loaded with its model. Keras must use the TensorFlow backend."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
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

from gln.engine.batches import steps_of
from gln.engine.networks.protocol import Rate, arguments, predict_all
from gln.engine.networks.rows import as_columns, check_rows
from gln.engine.saving import bad
from gln.engine.types import MatrixLike, State, VectorLike
from gln_tf import GLN, Config

__all__ = ["GLNLayer", "GLNModel"]


@keras.saving.register_keras_serializable(package="gln")
class GLNLayer(keras.layers.Layer):
    """A layer that predicts with its `gln`, a `gln_tf.GLN` whose state is the layer's non-trainable weights.

    Samples are rows. The GLN learns in `fit` of a `GLNModel`, or by `learn`; `fit` of another model only trains the
    layers around it. It computes in float32 under every dtype policy. Keras saves its state, and its learning rate if
    that is a number. Callables cannot be saved: with a callable learning rate or a `base_predictor`, saving and cloning
    raise ValueError. Without `context_inputs` the inputs are also the side information.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        input_size: int,
        context_size: int,
        *,
        num_classes: int = Config.num_classes,
        context_map_size: int = Config.context_map_size,
        base_predictor: Callable[[Any], Any] | None = None,
        bias: bool = Config.bias,
        context_bias: float = Config.context_bias,
        learning_rate: Rate | None = None,
        normalize: bool = Config.normalize,
        pred_clipping: float = Config.pred_clipping,
        weight_clipping: float = Config.weight_clipping,
        seed: int | None = Config.seed,
        loss: str = Config.loss,
        num_outputs: int = Config.num_outputs,
        quantiles: Sequence[float] | None = Config.quantiles,
        value_clipping: float = Config.value_clipping,
        context_features: int | None = Config.context_features,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        """The arguments are those of `GLN`, and Keras' `name` and `trainable`, whether `GLNModel` teaches the layer.

        Raises:
            ValueError: an argument outside its range.
        """
        given = locals()
        super().__init__(name=name, trainable=trainable, dtype="float32")
        self.gln = GLN(**{argument: given[argument] for argument in inspect.signature(GLN).parameters})
        self.supports_jit = False  # learning in `fit` leaves the graph
        for index, variable in enumerate(self.gln.variables):
            variable.path = f"{self.name}/{index}"  # as Keras names its own variables

    @property
    def variables(self) -> list[tf.Variable]:
        """The state of the GLN, as `get_weights` and `set_weights` copy it."""
        return list(self.gln.variables)

    weights = variables

    def call(self, inputs: MatrixLike, context_inputs: MatrixLike = None, training: bool | None = None) -> tf.Tensor:
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

    def learn(self, inputs: MatrixLike, targets: MatrixLike, context_inputs: MatrixLike = None) -> tf.Tensor:
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

    def _learn_weighted(self, weights: VectorLike, *arrays: Any) -> np.ndarray:
        """As `_learn`, each sample by steps that add up to its weight, and those of weight 0 not at all."""
        weights, inputs, targets, context = map(np.asarray, (weights, *arrays))
        check_rows(self.gln, inputs, context, targets)
        weights = weights.astype(np.float64).reshape(-1)
        if len(weights) != len(inputs) or not (weights >= 0).all() or not np.isfinite(weights).all():
            raise bad("sample_weight", f"{len(inputs)} finite numbers of at least 0", repr(weights))
        is_learned = weights > 0
        inputs, targets, context, weights = (rows[is_learned] for rows in (inputs, targets, context, weights))
        base, context, targets, _ = self.gln.prepare(inputs.T, context.T, as_columns(targets))
        _, sizes = steps_of(weights)
        rates = (self.gln.rates(len(weights)) * sizes).astype(np.float32)
        return predict_all([self.gln], base, context, targets, rates[None], weights)[0].T

    def get_config(self) -> State:
        config = super().get_config() | arguments(self.gln)
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
    learns those under its own name. With weights, a sample of weight 2 is learned twice, one of .5 by half a step.
    """

    def train_step(self, data: Any) -> Any:
        _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
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
                targets = y[layer.name] if isinstance(y, dict) else y
                weights = sample_weight.get(layer.name) if isinstance(sample_weight, dict) else sample_weight
                with tf.control_dependencies([p]):
                    if weights is None:
                        layer.learn(inputs, targets, context)
                    else:
                        tf.numpy_function(layer._learn_weighted, (weights, inputs, targets, context), tf.float32)
        return logs
