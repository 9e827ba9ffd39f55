"""A GLN as a Keras layer, saved and loaded with its model. Keras must use the TensorFlow backend."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise ImportError('gln.keras needs TensorFlow: pip install "gated-linear-networks[tf]"') from error

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "gln.keras needs Keras with the TensorFlow backend: set the environment variable KERAS_BACKEND=tensorflow "
        f"before Keras is imported; got {keras.backend.backend()!r}"
    )

from gln_tf import GLN

__all__ = ["GLNLayer"]


@keras.saving.register_keras_serializable(package="gln")
class GLNLayer(keras.layers.Layer):
    """A layer that predicts with its `gln`, a `gln_tf.GLN` whose state is the layer's non-trainable weights.

    Keras's `fit` trains the layers around it, not the GLN, which learns by an explicit call:
    `layer.gln.predict(inputs.T, context_inputs.T, targets)`; a GLN takes samples as columns. It computes in float32
    under every dtype policy. Keras saves its state, and its learning rate if that is a number. Callables cannot be
    saved: with a callable learning rate or a `base_predictor`, saving and cloning raise ValueError.
    """

    def __init__(
        self, layer_sizes: Sequence[int], input_size: int, context_size: int, *, name: str | None = None, **options: Any
    ) -> None:
        """The arguments are those of `GLN`. `options` may also contain `trainable`, which Keras restores.

        Raises:
            ValueError: an argument outside its range.
        """
        super().__init__(name=name, trainable=options.pop("trainable", True), dtype="float32")
        sizes = {"layer_sizes": list(layer_sizes), "input_size": input_size, "context_size": context_size}
        self.arguments: dict[str, Any] = {**sizes, **options}
        self.gln = GLN(**self.arguments)
        for place, variable in enumerate(self.gln.variables):
            variable.path = f"{self.name}/{place}"  # as Keras names its own variables

    @property
    def variables(self) -> list[tf.Variable]:
        """The state of the GLN, as `get_weights` and `set_weights` copy it."""
        return list(self.gln.variables)

    weights = variables

    def call(self, inputs: Any, context_inputs: Any = None, training: bool | None = None) -> tf.Tensor:
        """Predictions, (B, C) of C heads, which is 1 for two classes, for rows (B, input_size) and (B, context_size).

        Without `context_inputs`, the inputs are also the side information. With `training`, as in `fit`, it warns if
        the GLN has learned nothing so far.
        """
        with tf.init_scope():
            if training and int(self.gln.step) == 0:
                call = "layer.gln.predict(inputs.T, context_inputs.T, targets)"
                warnings.warn(
                    f"{self.name}: fit does not train a GLN, and it has learned nothing; {call} does", stacklevel=2
                )
        context = inputs if context_inputs is None else context_inputs
        columns = (tf.transpose(tf.cast(array, tf.float32)) for array in (inputs, context))
        return tf.reshape(tf.transpose(self.gln.serve(*columns)), (-1, self.gln.num_heads))

    def get_config(self) -> dict[str, Any]:
        rate = None if self.gln.has_default_rate else self.gln.learning_rate
        config = {**super().get_config(), **self.arguments, "learning_rate": rate}
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
