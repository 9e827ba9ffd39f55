"""A GLN as a PyTorch layer, on top of modules trained by gradients."""

from __future__ import annotations

from typing import Any

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError('gln.torch_layer needs PyTorch: pip install "gated-linear-networks[torch]"') from error

from gln_torch import GLN

__all__ = ["GLNLayer"]


class GLNLayer(nn.Module):
    """A layer around `gln` that takes samples as rows and passes gradients to the modules below.

    Rows may be tensors or NumPy arrays. The GLN has no parameters, so optimisers do not change it; it learns online, by
    `learn`. Without `context_inputs` the inputs are also the side information.
    """

    def __init__(self, gln: GLN) -> None:
        super().__init__()
        self.gln = gln

    def forward(self, inputs: Any, context_inputs: Any = None) -> torch.Tensor:
        """Predictions for (B, input_size) and (B, context_size): (B,), or (B, C) with several heads.

        Side information has no gradient: gates are step functions. Raises ValueError for a wrong shape.
        """
        context = inputs if context_inputs is None else context_inputs
        return self.gln(inputs.swapaxes(0, -1), context.swapaxes(0, -1)).t()

    def learn(self, inputs: Any, targets: Any, context_inputs: Any = None) -> torch.Tensor:
        """Learn one sample after another, outside autograd; returns the predictions before each update.

        Targets are (B,) or (B, C), otherwise as in `GLN.predict`. Raises ValueError for a wrong shape or value. In a
        step that `torch.compile` compiles, it breaks the graph: which weights learn depends on the values of samples.
        """
        learn = self.gln.predict_online
        learn = torch.compiler.disable(learn) if torch.compiler.is_compiling() else learn
        context = inputs if context_inputs is None else context_inputs
        columns = inputs.swapaxes(0, -1), context.swapaxes(0, -1)  # `t` raises RuntimeError for three axes
        return learn(*columns, targets.swapaxes(0, -1)).t()
