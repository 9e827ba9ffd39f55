"""A GLN as a layer of Keras, which saves and loads it with the model around it. Keras has to run on TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from gln_tf import GLN

__all__ = ["GLNLayer"]


@keras.saving.register_keras_serializable(package="gln")
class GLNLayer(keras.layers.Layer):
    """A layer that predicts with its `gln`, a `gln_tf.GLN`, whose state is the layer's non-trainable weights.

    Nothing in it is trained by gradients. It learns as every GLN does, by a call of its own:
    `layer.gln.predict(inputs.T, context_inputs.T, targets)`, for a GLN has its samples in columns. It computes in
    float32 under every dtype policy. Keras saves its state, and its learning rate if that is a number. It cannot save a
    callable: with one as the learning rate, or with a `base_predictor`, saving and cloning raise ValueError.
    """

    def __init__(
        self, layer_sizes: Sequence[int], input_size: int, context_size: int, *, name: str | None = None, **options: Any
    ) -> None:
        """The arguments are those of `GLN`; `options` may hold `trainable`, too, as Keras restores it.

        Raises:
            ValueError: an argument outside its range.
        """
        super().__init__(name=name, trainable=options.pop("trainable", True), dtype="float32")
        sizes = {"layer_sizes": list(layer_sizes), "input_size": input_size, "context_size": context_size}
        self.arguments: dict[str, Any] = {**sizes, **options}
        self.gln = GLN(**self.arguments)
        for place, variable in enumerate(self.gln.variables):
            variable.path = f"{self.name}/{place}"  # which Keras's own variables have

    @property
    def variables(self) -> list[tf.Variable]:
        """The state of the GLN, which `get_weights` and `set_weights` copy."""
        return list(self.gln.variables)

    weights = variables

    def call(self, inputs: Any, context_inputs: Any = None) -> tf.Tensor:
        """Predictions, (B,) or with more heads (B, C), of samples in rows: (B, input_size), (B, context_size).

        Without `context_inputs` the inputs are the side information too.
        """
        context = inputs if context_inputs is None else context_inputs
        columns = (tf.transpose(tf.cast(array, tf.float32)) for array in (inputs, context))
        return tf.transpose(self.gln.serve(*columns))

    def get_config(self) -> dict[str, Any]:
        rate = None if self.gln.has_default_rate else self.gln.learning_rate
        config = {**super().get_config(), **self.arguments, "learning_rate": rate}
        del config["dtype"]  # which is float32
        for key, value in config.items():
            if callable(value):
                raise ValueError(f"{key}: expected no callable, because Keras cannot save it, got {value!r}")
        return config

    def save_own_variables(self, store: Any) -> None:
        for name, array in self.gln.get_state().items():
            store[name] = array

    def load_own_variables(self, store: Any) -> None:
        self.gln.set_state({name: store[name] for name in store.keys()})  # noqa: SIM118 - no mapping
