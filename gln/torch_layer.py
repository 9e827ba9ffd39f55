"""A GLN as a PyTorch layer, on top of modules trained by gradients."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("gln.torch_layer needs PyTorch: pip install torch") from error

from gln.engine.networks.rows import as_columns, check_rows
from gln_torch import GLN

__all__ = ["GLNLayer"]


class GLNLayer(nn.Module):
    """A layer that predicts with its `gln`, a `gln_torch.GLN`, and passes gradients to the modules below.

    Samples are rows, as tensors or NumPy arrays. The GLN has no parameters, so optimisers do not change it; it learns
    online, by a call of `learn` in the loop. Without `context_inputs` the inputs are also the side information.
    """

    def __init__(self, layer_sizes: Sequence[int] | GLN, *sizes: int, **options: Any) -> None:
        """The arguments are those of `GLN`, or a GLN alone. Raises ValueError for an argument outside its range."""
        super().__init__()
        is_alone = isinstance(layer_sizes, GLN) and not sizes and not options
        self.gln: Any = layer_sizes if is_alone else GLN(layer_sizes, *sizes, **options)  # type: ignore[arg-type]

    def forward(self, inputs: Any, context_inputs: Any = None) -> torch.Tensor:
        """Predictions, (B, C) of C heads, which is 1 for two classes, for rows (B, input_size) and (B, context_size).

        Side information has no gradient: gates are step functions. Raises ValueError for a wrong shape.
        """
        inputs = torch.as_tensor(inputs)
        context = inputs if context_inputs is None else torch.as_tensor(context_inputs)
        check_rows(self.gln, inputs, context)
        return torch.atleast_2d(self.gln(inputs.T, context.T)).T

    def learn(self, inputs: Any, targets: Any, context_inputs: Any = None) -> torch.Tensor:
        """Learn one sample after another, outside autograd; returns the predictions before each update, (B, C).

        Targets are (B,), (B, 1) or (B, C), otherwise as in `GLN.predict`. Raises ValueError for a wrong shape or value.
        In a step that `torch.compile` compiles, it breaks the graph, because which weights learn depends on the values;
        call it after `backward()`, which reads the weights again.
        """
        inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
        context = inputs if context_inputs is None else torch.as_tensor(context_inputs)
        check_rows(self.gln, inputs, context, targets)
        learn = self.gln.predict_online
        learn = torch.compiler.disable(learn) if "torch._dynamo" in sys.modules else learn  # also below a graph break
        return torch.atleast_2d(learn(inputs.T, context.T, as_columns(targets))).T
