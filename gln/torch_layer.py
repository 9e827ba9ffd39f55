"""A GLN as a PyTorch layer, on top of modules trained by gradients."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("gln.torch_layer needs PyTorch: pip install torch") from error

from gln.engine.networks.protocol import Rate
from gln.engine.networks.rows import as_columns, check_rows
from gln.engine.saving import bad
from gln.engine.types import MatrixLike
from gln_torch import GLN, Config

__all__ = ["GLNLayer"]

OF_RANGE = 0.2  # of a feature, added to its standard deviation, so that rare large values stay small


class GLNLayer(nn.Module):
    """A layer that predicts with its `gln`, a `gln_torch.GLN`, and passes gradients to the modules below.

    Samples are rows, as tensors or NumPy arrays. The GLN has no parameters, so optimisers do not change it; it learns
    online, by a call of `learn` in the loop. Without `context_inputs` the inputs are also the side information.
    """

    mean: torch.Tensor  # (input_size,), subtracted from inputs, which are then divided by `scale`
    scale: torch.Tensor
    context_mean: torch.Tensor  # (context_size,)
    context_scale: torch.Tensor

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
    ) -> None:
        """The arguments are those of `GLN`. Raises ValueError for an argument outside its range."""
        given = locals()
        super().__init__()
        self.gln: Any = GLN(**{name: given[name] for name in inspect.signature(GLN).parameters})
        for prefix, size in (("", input_size), ("context_", context_size)):
            self.register_buffer(f"{prefix}mean", torch.zeros(size))
            self.register_buffer(f"{prefix}scale", torch.ones(size))

    @torch.no_grad()
    def fit_hyperplanes(self, inputs: MatrixLike, context_inputs: MatrixLike = None) -> None:
        """Standardise inputs and side information as these samples, and place each halfspace between two of them.

        For inputs that no sigmoid or logit brought to a scale, such as features of a frozen network: some hundred rows
        (B, input_size) and (B, context_size), before `learn`. Means and scales are buffers. Constant features are only
        centred, and inputs of a `base_predictor` stay as they are. Raises ValueError for a wrong shape, and NaN.
        """
        inputs, context = self._checked(inputs, context_inputs)
        input_moments = _moments("inputs", inputs)
        mean, scale = _moments("context_inputs", context)
        self.gln.fit_hyperplanes(((context - mean) / scale).T)  # which may fail, before anything changes
        self.context_mean = mean
        self.context_scale = scale
        if self.gln.base_predictor is None:
            self.mean, self.scale = input_moments

    def _checked(
        self, inputs: MatrixLike, context_inputs: MatrixLike, targets: MatrixLike = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.as_tensor(inputs)
        context = inputs if context_inputs is None else torch.as_tensor(context_inputs)
        check_rows(self.gln, inputs, context, targets)
        return inputs, context

    def _standardised(self, inputs: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (inputs - self.mean) / self.scale, (context - self.context_mean) / self.context_scale

    def forward(self, inputs: MatrixLike, context_inputs: MatrixLike = None) -> torch.Tensor:
        """Predictions, (B, C) of C heads, which is 1 for two classes, for rows (B, input_size) and (B, context_size).

        Side information has no gradient: gates are step functions. Raises ValueError for a wrong shape.
        """
        inputs, context = self._standardised(*self._checked(inputs, context_inputs))
        return torch.atleast_2d(self.gln(inputs.T, context.T)).T

    def learn(self, inputs: MatrixLike, targets: MatrixLike, context_inputs: MatrixLike = None) -> torch.Tensor:
        """Learn one sample after another, outside autograd; returns the predictions before each update, (B, C).

        Targets are (B,), (B, 1) or (B, C), otherwise as in `GLN.predict`. Raises ValueError for a wrong shape or value.
        In a step that `torch.compile` compiles, it breaks the graph, because which weights learn depends on the values;
        call it after `backward()`, which reads the weights again. `torch.export` and `torch.jit.trace` make one graph,
        which cannot hold it: there it raises TypeError.
        """
        is_exporting = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
        if is_exporting or torch.jit.is_tracing():
            raise TypeError("learn: an exported or traced graph can only predict; call learn outside of it")
        targets = torch.as_tensor(targets)
        inputs, context = self._standardised(*self._checked(inputs, context_inputs, targets))
        learn = self.gln.predict_online
        learn = torch.compiler.disable(learn) if "torch._dynamo" in sys.modules else learn  # also below a graph break
        return torch.atleast_2d(learn(inputs.T, context.T, as_columns(targets))).T


def _moments(name: str, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # (B, D) -> (D,), (D,)
    """Means, and scales, with 1 for features that are constant. Raises ValueError for NaN and infinity."""
    rows = rows.to(torch.float32)
    if len(rows) == 0 or not torch.isfinite(rows).all():
        raise bad(name, "finite numbers of at least one row", f"NaN, infinity or no row among {len(rows)}")
    span = rows.amax(dim=0) - rows.amin(dim=0)
    scale = rows.std(dim=0, correction=0) + OF_RANGE * span
    return rows.mean(dim=0), torch.where(span > 0, scale, 1.0)
