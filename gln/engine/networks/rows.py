"""Samples as rows, as the layers of PyTorch and Keras take them; networks take samples as columns.

Shapes: B samples, C heads.
"""

from __future__ import annotations

from gln.engine.networks.protocol import Tensor
from gln.engine.saving import bad
from gln.engine.types import Network


def check_rows(model: Network, inputs: Tensor, context_inputs: Tensor, targets: Tensor = None) -> None:
    """Raise a ValueError, with shapes as the caller gave them, for another shape than the layers document."""
    _check("inputs", inputs, (None, model.config.input_size))
    count = inputs.shape[0]
    heads = model.config.num_heads
    kind = model.config.record.heads
    _check("context_inputs", context_inputs, (count, model.config.context_size))
    if targets is not None:
        sample_shapes = [(count,), (count, 1)]
        head_shapes = [(count, heads)]
        classes = sample_shapes + head_shapes if kind == "num_classes" else sample_shapes
        _check("targets", targets, *(head_shapes if kind == "num_outputs" and heads > 1 else classes))


def as_columns(targets: Tensor) -> Tensor:
    """(B,), (B, 1) or (B, C) -> (B,) or (C, B)."""
    return targets.reshape(-1) if len(targets.shape) == 1 or targets.shape[1] == 1 else targets.T


def _check(name: str, array: Tensor, *shapes: tuple) -> None:
    """Sizes may be None, for any, in the shapes that are expected and in that of a symbolic tensor."""
    shape = tuple(array.shape)
    for expected in shapes:
        pairs = zip(shape, expected, strict=False)
        if len(shape) == len(expected) and all(given is None or size in (None, given) for given, size in pairs):
            return
    allowed = " or ".join(map(str, dict.fromkeys(shapes))).replace("None", "B")
    raise bad(name, f"shape {allowed}", f"shape {shape}")
