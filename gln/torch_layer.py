"""A GLN as a layer of PyTorch, on top of modules that gradients train."""

from __future__ import annotations

import torch
from torch import nn

from gln_torch import GLN

__all__ = ["GLNLayer"]


class GLNLayer(nn.Module):
    """A layer that predicts with `gln`, samples in rows, and passes gradients on to what is below it.

    The GLN has no parameters, so an optimiser leaves it alone: it learns online, by `learn`. Without `context_inputs`
    the inputs are the side information too.
    """

    def __init__(self, gln: GLN) -> None:
        super().__init__()
        self.gln = gln

    def forward(self, inputs: torch.Tensor, context_inputs: torch.Tensor | None = None) -> torch.Tensor:
        """Predictions, (B,) or with more heads (B, C), of (B, input_size) and (B, context_size).

        Side information has no gradient: gates are steps. A wrong shape raises ValueError.
        """
        context = inputs if context_inputs is None else context_inputs
        return self.gln(inputs.t(), context.t()).t()

    def learn(
        self, inputs: torch.Tensor, targets: torch.Tensor, context_inputs: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Learn one sample after another, outside of autograd, and return what was predicted before each update.

        Targets are (B,) or (B, C), else as in `GLN.predict`. A wrong shape or value raises ValueError.
        """
        context = inputs if context_inputs is None else context_inputs
        return self.gln.predict_online(inputs.t(), context.t(), targets.t()).t()
