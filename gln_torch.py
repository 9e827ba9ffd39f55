"""Gated Linear Networks in PyTorch: an `nn.Module` whose state is buffers, learning without autograd.

A GLN learns online and without backpropagation. Every neuron predicts the target itself: halfspaces of the side
information pick one of its weight rows, the row mixes the predictions of the layer below, and the neuron's own error
corrects that row at once. Source: Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

Letters in the shapes: B samples, C heads, L layers, n neurons of a layer, N neurons of all layers, k halfspaces a
neuron, d inputs of a neuron (bias included), D values of side information, K base logits.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("gln_torch needs PyTorch: pip install torch") from error

__all__ = ["GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]

Rate = float | Callable[[int], float]
LOSSES = {"log_loss": "num_classes", "squared_error": "num_outputs", "quantile": "quantiles"}  # and what gives heads
MAX_HALFSPACES = 30  # 2^30 rows a neuron: beyond any memory, and a context still fits an int32
MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_REAL = 1e30  # of rates, weights and offsets: products with logits, and their sums, stay finite in float32
BLOCK_SAMPLES = 512  # at a time, where they need not wait for one another: to gate, and to predict without learning

# A layer copies what it works on: of a row that many samples, and so many rows as keep the copies within these bytes.
ROW_SAMPLES, ROWS_BYTES = 32, 1 << 24
ALIKE = ("bias", "normalize", "pred_clipping", "weight_clipping")  # which a state is for, and its shapes do not show


def gate(hyperplanes: torch.Tensor, hyperplane_bias: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Context of each neuron: bit i tells on which side of its halfspace i the side information lies.

    Shapes: (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k).
    """
    if hyperplanes.is_cuda:  # where a float32 product may be one of TF32, which would tell samples apart differently
        hyperplanes, context = hyperplanes.double(), context.double()
    products = (hyperplanes.flatten(0, 1) @ context).unflatten(0, hyperplane_bias.shape)
    bits = (products > hyperplane_bias[:, :, None]).int()
    return (bits << torch.arange(bits.shape[1], dtype=torch.int32, device=bits.device)[:, None]).sum(dim=1).T


def mix(rows: torch.Tensor, z: torch.Tensor, bound: float) -> torch.Tensor:
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss.

    Shapes: (..., n, C, d), (..., 1, C or 1, d) -> (..., n, C, 1). All heads of the first layer mix the same z.
    """
    if z.shape[-2] == 1:
        s = (rows.flatten(-3, -2) @ z.squeeze(-3).mT).view(*rows.shape[:-1], 1)
    else:  # each head reads its own z, and so many small products are slower than one sum
        s = (rows * z).sum(dim=-1, keepdim=True)
    return s.clamp(-bound, bound)


def output(s: torch.Tensor, loss: str) -> torch.Tensor:
    """What a mixed s predicts: a probability with the log-loss, and s itself with another."""
    return s.sigmoid() if loss == "log_loss" else s


def residual(s: torch.Tensor, y: torch.Tensor, loss: str, quantile: Any) -> torch.Tensor:
    """Derivative of the loss by s: output(s) - y, or with the quantile loss [s > y] - quantile."""
    return (s > y).to(s) - quantile if loss == "quantile" else output(s, loss) - y


def update(rows: torch.Tensor, z: torch.Tensor, r: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """One step of online gradient descent, in place: w <- w - rate r z, r the residual.

    Shapes: (..., n, C, d), (..., 1, C or 1, d), (..., n, C, 1), (..., 1, C or 1, 1) -> (..., n, C, d).
    """
    return rows.addcmul_(r * rate, z, value=-1)


def _exact(method: Callable[..., Any]) -> Callable[..., Any]:
    """Without autograd, and without autocast, which would round what the gates see."""

    @functools.wraps(method)
    def run(self, *arguments, **options):
        with torch.no_grad(), torch.autocast(self.hyperplanes.device.type, enabled=False):
            return method(self, *arguments, **options)

    return run


class GLN(nn.Module):
    """A Gated Linear Network as an `nn.Module`: its state is buffers, and it works where `.to(device)` puts it.

    Nothing is recorded for autograd. `.double()` computes in float64; below float32 small steps of learning are lost.
    On a CPU small networks are fastest after `torch.set_num_threads(1)`: an operation is too short to share.
    """

    # ---- The same in every backend -----------------------------------------------------------------------------------

    step: Any  # the count of samples learned
    extra: Mapping[str, np.ndarray] = MappingProxyType({})  # what `save` was given with a model that was loaded

    def __init__(
        self,
        layer_sizes: Sequence[int],
        input_size: int,
        context_size: int,
        *,
        num_classes: int = 2,
        context_map_size: int = 4,
        base_predictor: Callable[[Any], Any] | None = None,
        bias: bool = True,
        context_bias: float = 0.0,
        learning_rate: Rate | None = None,
        normalize: bool = True,
        pred_clipping: float = 1e-3,
        weight_clipping: float = 200.0,
        seed: int | None = None,
        loss: str = "log_loss",
        num_outputs: int = 1,
        quantiles: Sequence[float] | None = None,
        value_clipping: float = 10.0,
    ) -> None:
        """Build the network and draw its halfspaces; every weight starts at 1 / d.

        Args:
            layer_sizes: neurons of each layer, from first to last, each at least 1.
            input_size: values of one sample, at least 1.
            context_size: values of side information of one sample, at least 1.
            num_classes: 2 for one head, the probability of class 1; more for one head a class, one-vs-rest.
            context_map_size: halfspaces of a neuron, 0 to 30; a neuron has 2^context_map_size weight rows a head.
            base_predictor: callable (input_size, B) -> (K, B) of probabilities, or of values where the loss is not the
                log-loss, which take the place of the inputs; it is called once here, with zeros, to learn K. Without it
                the inputs are logits, or values.
            bias: whether a constant 1 is appended to the input of every layer.
            context_bias: standard deviation of the halfspaces' offsets from the origin, 0 to 1e30.
            learning_rate: a number, or a callable from the count of samples learned so far to one; 0 to 1e30. None is
                `decaying_rate` from min(10, sqrt(d)) on, d the first layer's inputs, with squared error from 0.3 on and
                with quantiles from 0.5; without `normalize` `paper_rate`.
            normalize: whether a step is divided by 1 + |z|^2, z a neuron's input; without, the paper's plain step.
            pred_clipping: probabilities are kept in [pred_clipping, 1 - pred_clipping]; between 0 and 0.5.
            weight_clipping: weights are kept in [-weight_clipping, weight_clipping]; above 0, at most 1e30.
            seed: at least 0; the same one gives the same network in every backend. None draws others each time.
            loss: what a neuron minimises: "log_loss" for probabilities, "squared_error" for means of numbers or
                "quantile" for their quantiles.
            num_outputs: heads with squared error, one for each target of a sample; at least 1.
            quantiles: with the quantile loss, one head for each of these levels in (0, 1).
            value_clipping: without the log-loss, inputs, targets and predictions are kept in [-value_clipping,
                value_clipping], so they are best standardised; above 0, at most 1e4.

        Raises:
            ValueError: an argument outside these ranges, or that the loss has no use for, or a network larger than the
                machine's memory.
        """
        super().__init__()
        sizes = _sequence("layer_sizes", layer_sizes)
        self.layer_sizes = tuple(_integer(f"layer_sizes[{i}]", size, 1) for i, size in enumerate(sizes))
        self.input_size = _integer("input_size", input_size, 1)
        self.context_size = _integer("context_size", context_size, 1)
        self._set_loss(loss, num_classes, pred_clipping, num_outputs, quantiles, value_clipping)
        self.context_map_size = _integer("context_map_size", context_map_size, 0, MAX_HALFSPACES)
        self.bias, self.normalize = _bool("bias", bias), _bool("normalize", normalize)
        self.context_bias = _real("context_bias", context_bias, "from 0 to 1e30", lambda v: 0 <= v <= MAX_REAL)
        self.weight_clipping = _real("weight_clipping", weight_clipping, "in (0, 1e30]", lambda v: 0 < v <= MAX_REAL)
        self.seed = None if seed is None else _integer("seed", seed, 0)
        self.base_predictor, self.base_size = base_predictor, self.input_size
        if base_predictor is not None:
            if not callable(base_predictor):
                raise _bad("base_predictor", "a callable or None", repr(base_predictor))
            self.base_size = len(self._base_values(np.zeros((self.input_size, 1), np.float32), None))
        _check_memory(sum(map(math.prod, self._shapes().values())))
        self.set_learning_rate(learning_rate)
        self._load(self._initial_state(), 0)

    def __repr__(self) -> str:
        sizes = f"{list(self.layer_sizes)}, input_size={self.input_size}, context_size={self.context_size}"
        loss = "" if self.loss == "log_loss" else f"loss={self.loss!r}, "
        heads = f"{loss}{LOSSES[self.loss]}={getattr(self, LOSSES[self.loss])}"
        return f"GLN({sizes}, {heads}, context_map_size={self.context_map_size}, step={int(self.step)})"

    def _set_loss(self, loss, num_classes, pred_clipping, num_outputs, quantiles, value_clipping) -> None:
        """What is learned, by how many heads, and `bound`, within which logits or values are kept."""
        if not isinstance(loss, str) or loss not in LOSSES:
            raise _bad("loss", f"one of {list(LOSSES)}", repr(loss))
        self.num_classes = _integer("num_classes", num_classes, 2)
        self.pred_clipping = _real("pred_clipping", pred_clipping, "in (0, 0.5)", lambda v: 0 < v < 0.5)
        self.num_outputs = _integer("num_outputs", num_outputs, 1)
        self.value_clipping = _real("value_clipping", value_clipping, "in (0, 1e4]", lambda v: 0 < v <= 1e4)
        given = () if quantiles is None and loss != "quantile" else _sequence("quantiles", quantiles)
        levels = tuple(_real(f"quantiles[{i}]", q, "in (0, 1)", lambda v: 0 < v < 1) for i, q in enumerate(given))
        self.loss, self.quantiles = loss, levels or None
        defaults = {"num_classes": 2, "pred_clipping": 1e-3, "num_outputs": 1, "quantiles": None, "value_clipping": 10}
        for name in defaults.keys() - {LOSSES[loss], "pred_clipping" if loss == "log_loss" else "value_clipping"}:
            if getattr(self, name) != defaults[name]:
                raise _bad(name, f"{defaults[name]}, for {loss} has no use for it", getattr(self, name))
        self.num_heads = max(1 if num_classes == 2 else self.num_classes, self.num_outputs, len(levels))
        logit_bound = math.log1p(-self.pred_clipping) - math.log(self.pred_clipping)
        self.bound = logit_bound if loss == "log_loss" else self.value_clipping

    def predict(self, inputs: Any, context_inputs: Any, targets: Any = None) -> Any:
        """Predict a batch and, given targets, learn from it.

        All samples are predicted with the weights as they were; then the updates of all samples are added up. What
        is returned are those predictions, the same with and without targets. A batch of one is exact online learning
        (Algorithm 1 of the paper).

        Args:
            inputs: (input_size, B) logits or values, or whatever `base_predictor` takes; (input_size,) is one sample. A
                sample is a column: no check can tell that a square array holds its samples in rows.
            context_inputs: (context_size, B) side information, often the same array; (context_size,) is one sample.
            targets: (B,) of bools or probabilities in [0, 1]; with more than two classes, of integers below
                num_classes, or (C, B) of probabilities; with squared error (B,) or, with several outputs, (C, B) of
                numbers; with the quantile loss (B,) of numbers. None only predicts.

        Returns:
            Probabilities or values, (B,) with one head and (C, B) with more; for one sample a scalar or (C,).

        Raises:
            ValueError: wrong shape, NaN, infinity or a target outside its range; the model is then unchanged.
        """
        return self._answer(inputs, context_inputs, targets, None)

    def predict_online(self, inputs: Any, context_inputs: Any, targets: Any, batch_size: int = 1) -> Any:
        """`predict` with targets on one batch of `batch_size` samples after another, in one fast call.

        Arguments, result and errors are those of `predict`; the last batch may be smaller.
        """
        if targets is None:
            raise _bad("targets", "one target a sample", None)
        return self._answer(inputs, context_inputs, targets, _integer("batch_size", batch_size, 1))

    def fit_hyperplanes(self, context_inputs: Any) -> None:
        """Redraw every halfspace as the perpendicular bisector of two of the samples, drawn by `seed`.

        Args:
            context_inputs: (context_size, B) side information of two samples or more.

        Raises:
            ValueError: wrong shape, NaN or infinity.
            RuntimeError: the model has already learned; moving its gates would scramble what it knows.
        """
        if int(self.step) > 0:
            raise RuntimeError(f"fit_hyperplanes: expected a model before its first update, got step {int(self.step)}")
        context = self._array("context_inputs", context_inputs, (self.context_size, None))
        if context.shape[1] < 2:
            raise _bad("context_inputs", f"({self.context_size}, B) with B at least 2", f"shape {context.shape}")
        samples, rng, old = context.T, np.random.default_rng(self.seed), self._dump()[0]
        hyperplanes, hyperplane_bias = np.empty_like(old), np.empty(old.shape[:2])
        for neurons in self._layers():
            shape = old[neurons].shape[:2]  # (n, k)
            first = rng.integers(0, len(samples), shape)
            second = (first + 1 + rng.integers(0, len(samples) - 1, shape)) % len(samples)
            x, y = samples[first].astype(np.float64), samples[second].astype(np.float64)  # (n, k, D)
            length = np.linalg.norm(x - y, axis=-1, keepdims=True)
            # Two equal samples have no bisector: the direction stays, and moves to go through that sample.
            planes = np.where(length > 0, (x - y) / np.where(length > 0, length, 1), old[neurons])
            hyperplanes[neurons], hyperplane_bias[neurons] = planes, (planes * (x + y)).sum(axis=-1) / 2
        self._load_hyperplanes(hyperplanes, self._array("context_inputs' midpoints", hyperplane_bias, old.shape[:2]))

    def get_state(self) -> dict[str, np.ndarray]:
        """All arrays of the model, copied, by the names that every backend shares.

        For each layer l = 1 ... L `hyperplanes.{l}` (n, k, D), `hyperplane_bias.{l}` (n, k), `weights.{l}`
        (n, 2^k, C, d), and `step` (), the count of samples learned.
        """
        hyperplanes, hyperplane_bias, weights, step = self._dump()
        arrays: dict[str, Any] = {"step": np.int64(step)}
        for layer, neurons in enumerate(self._layers(), start=1):
            arrays[f"hyperplanes.{layer}"] = hyperplanes[neurons]
            arrays[f"hyperplane_bias.{layer}"] = hyperplane_bias[neurons]
            arrays[f"weights.{layer}"] = weights[layer - 1]
        shapes = self._shapes().items()
        return {name: np.array(arrays[name], order="C").reshape(shape) for name, shape in shapes}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a model of the same shape, from whichever backend.

        Raises:
            ValueError: a missing or unknown name, a wrong shape, NaN, infinity or a weight beyond `weight_clipping`;
                the model is then unchanged.
        """
        shapes = self._shapes()
        if not isinstance(state, Mapping) or set(state) != set(shapes):
            came = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise _bad("state", f"a mapping of the names {sorted(shapes)}", came)
        arrays = {}
        for name, shape in shapes.items():
            bound = np.float32(max(self.weight_clipping, 1 / shape[-1])) if name.startswith("weights") else MAX_FLOAT
            arrays[name] = self._array(f"state[{name!r}]", state[name], shape, low=-bound, high=bound)
        self._load(arrays, _integer("state['step']", self._numpy(state["step"])[()], 0, 2**63 - 1))

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write the model to a file from which every backend can go on, see `gln.saving.save`."""
        _of_gln("saving").save(self, path, extra)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **callables: Any) -> Any:
        """The model in a file that any backend's `save` wrote, see `gln.saving.load`."""
        return _of_gln("saving").load(cls, path, **callables)

    def explain(self, inputs: Any, context_inputs: Any) -> Any:
        """Weights (K, B), constant (B,) and clipped (B,) of the linear function that the network is for each sample, or
        all with C in front, see `gln.explaining.explain`."""
        return _of_gln("explaining").explain(self, inputs, context_inputs)

    def set_learning_rate(self, rate: Rate | None) -> None:
        """Set `learning_rate`: a number from 0 to 1e30, a callable t -> number, or None for the default."""
        default = rate is None
        if rate is None:
            start = min(10.0, math.sqrt(self.base_size + self.bias))
            start = {"squared_error": 0.3, "quantile": 0.5}.get(self.loss, start)
            rate = functools.partial(decaying_rate, start=start) if self.normalize else paper_rate
        elif not callable(rate):
            rate = _real("learning_rate", rate, "from 0 to 1e30, or a callable", lambda v: 0 <= v <= MAX_REAL)
        self._learning_rate, self.has_default_rate = rate, default

    learning_rate = property(lambda self: self._learning_rate, set_learning_rate, doc="What `set_learning_rate` set.")

    def _answer(self, inputs: Any, context_inputs: Any, targets: Any, batch_size: int | None) -> Any:
        """Predictions in the shape that users get; given targets the model learns. `batch_size` None is one batch."""
        base, context, targets, one = self._checked(inputs, context_inputs, targets)
        count, learns = base.shape[1], targets is not None
        rates = self._rates(count) if learns else None
        at_once = (batch_size or count) if learns else BLOCK_SAMPLES  # a prediction needs no other sample
        none = np.empty((self.num_heads, 0), np.float32)
        output = self._stream(base, context, targets, rates, min(at_once, count)) if count else none  # (C, B)
        output = output[0] if self.num_heads == 1 else output
        return self._tensor(output[..., 0] if one else output)

    def _checked(self, inputs, context_inputs, targets) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, bool]:
        """Base values (K, B), side information (D, B), targets of the heads (C, B) or None, whether one vector came."""
        base = context = self._array("inputs", inputs, (self.input_size, None), (self.input_size,))
        batch, one = base.shape[1:], base.ndim == 1
        if context_inputs is not inputs or self.context_size != self.input_size:
            context = self._array("context_inputs", context_inputs, (self.context_size, *batch))
        if targets is not None:
            targets = self._of_heads(targets, batch)
        base, context = (base[:, None], context[:, None]) if one else (base, context)
        if self.base_predictor is not None and base.size > 0:  # few predictors take an empty batch
            base = self._base_values(base, self.base_size)
        return base, context, targets, one

    def _of_heads(self, targets, batch: tuple[int, ...]) -> np.ndarray:  # (B,) or (C, B), or of one sample -> (C, B)
        heads, count, one = self.num_heads, math.prod(batch), [batch] if batch else [(), (1,)]  # a target a sample
        each = [] if heads == 1 or self.loss == "quantile" else [(heads, *batch)]  # a target for each head
        targets = self._array("targets", targets, *(each if each and self.loss == "squared_error" else one + each))
        targets = targets.reshape(heads if targets.shape in each else 1, count)
        if self.loss != "log_loss":  # a target beyond all predictions would drive the weights to their bounds
            targets = targets.clip(-self.bound, self.bound)
        elif len(targets) == heads:
            self._array("targets", targets, targets.shape, low=0, high=1)
        else:
            numbers, targets = targets[0], (targets == np.arange(heads)[:, None]).astype(np.float32)
            if not targets.any(axis=0).all():
                raise _bad("targets", f"numbers of classes, integers from 0 to {heads - 1}", numbers)
        return np.broadcast_to(targets, (heads, count))

    def _base_values(self, inputs: np.ndarray, size: int | None) -> np.ndarray:  # (input_size, B) -> (K, B)
        values = self.base_predictor(self._tensor(inputs.copy()))  # type: ignore[misc] # and it may change its copy
        low, high = (0.0, 1.0) if self.loss == "log_loss" else (-MAX_FLOAT, MAX_FLOAT)
        values = self._array("base_predictor's output", values, (size, inputs.shape[1]), low=low, high=high)
        if len(values) == 0:
            raise _bad("base_predictor's output", "at least one row", "none")
        p = values.astype(np.float64).clip(self.pred_clipping, 1 - self.pred_clipping)
        return (np.log(p) - np.log1p(-p)).astype(np.float32) if self.loss == "log_loss" else values

    def _rates(self, count: int) -> np.ndarray:
        """Learning rates of the next `count` samples, (count,), each from the count of samples before it."""
        rate, step = self.learning_rate, int(self.step)
        rates = [rate(t) for t in range(step, step + count)] if callable(rate) else [rate] * count
        return self._array("learning_rate", rates, (count,), low=0, high=MAX_REAL)

    def _array(self, name: str, value: Any, *shapes: tuple, low=-MAX_FLOAT, high=MAX_FLOAT) -> np.ndarray:
        """`value` as float32 of one of the `shapes`, where None is any size, and all of it from `low` to `high`."""
        try:
            array = self._numpy(value)
        except (TypeError, ValueError) as error:
            raise _bad(name, "an array of real numbers", f"{type(value).__name__} ({error})") from None
        if array.dtype.kind not in "biuf":
            raise _bad(name, "an array of real numbers", f"dtype {array.dtype}")
        if not any(len(shape) == array.ndim and all(map(_fits, shape, array.shape)) for shape in shapes):
            expected = " or ".join(str(shape).replace("None", "B") for shape in shapes)
            raise _bad(name, f"shape {expected}", f"shape {array.shape}")
        if array.size and not (float(array.min()) >= low and float(array.max()) <= high):
            raise _bad(name, f"numbers from {low:g} to {high:g}", f"numbers from {array.min()} to {array.max()}")
        return array.astype(np.float32, copy=False)

    def _layers(self) -> list[slice]:
        """Of each layer, where its neurons are among those of all layers."""
        ends = np.cumsum(self.layer_sizes).tolist()
        return [slice(end - n, end) for n, end in zip(self.layer_sizes, ends, strict=True)]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        below = self.base_size
        for layer, n in enumerate(self.layer_sizes, start=1):
            shapes[f"hyperplanes.{layer}"] = (n, self.context_map_size, self.context_size)
            shapes[f"hyperplane_bias.{layer}"] = (n, self.context_map_size)
            shapes[f"weights.{layer}"] = (n, 2**self.context_map_size, self.num_heads, below + self.bias)
            below = n
        return {**shapes, "step": ()}

    def _initial_state(self) -> dict[str, np.ndarray]:
        rng, state = np.random.default_rng(self.seed), {}
        for name, shape in self._shapes().items():
            if name.startswith("hyperplanes"):
                planes = rng.standard_normal(shape)
                state[name] = (planes / np.linalg.norm(planes, axis=-1, keepdims=True)).astype(np.float32)
            elif name.startswith("hyperplane_bias"):
                state[name] = (self.context_bias * rng.standard_normal(shape)).astype(np.float32)
            elif name.startswith("weights"):
                state[name] = np.broadcast_to(np.float32(1 / shape[-1]), shape)  # which takes no memory
        return state

    def _load(self, state: Mapping[str, np.ndarray], step: int) -> None:
        # The halfspaces of all layers lie in one array, so that the gates of a batch are one matrix product.
        kinds = ("hyperplanes", "hyperplane_bias", "weights")
        of = {kind: [state[f"{kind}.{layer + 1}"] for layer in range(len(self.layer_sizes))] for kind in kinds}
        self._load_hyperplanes(np.concatenate(of["hyperplanes"]), np.concatenate(of["hyperplane_bias"]))
        self._load_weights(of["weights"], step)

    # ---- PyTorch -----------------------------------------------------------------------------------------------------

    hyperplanes: torch.Tensor
    hyperplane_bias: torch.Tensor
    first_rows: torch.Tensor
    levels: torch.Tensor

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        first_rows = np.concatenate([np.arange(n) << self.context_map_size for n in self.layer_sizes])
        levels = np.array(self.quantiles or [0] * self.num_heads, np.float32)[:, None]
        self._fill(hyperplanes=hyperplanes, hyperplane_bias=hyperplane_bias, first_rows=first_rows, levels=levels)

    def _load_weights(self, weights, step) -> None:  # L of (n, 2^k, C, d)
        # Row j 2^k + c of a layer is neuron j's in context c: the weights of all heads, side by side in memory.
        rows = {f"weights_{layer}": array.reshape(-1, *array.shape[2:]) for layer, array in enumerate(weights, start=1)}
        self._fill(**rows, step=np.int64(step))

    def _fill(self, **arrays: Any) -> None:
        """Copy arrays into buffers, which stay once they are there: they may be shared, or referred to."""
        for name, array in arrays.items():
            with torch.inference_mode(False):  # what is made in that mode could not learn outside of it
                tensor = torch.as_tensor(np.array(array, order="C"))
            if name in self._buffers:
                getattr(self, name).copy_(tensor)
            else:
                self.register_buffer(name, tensor, persistent=name not in ("first_rows", "levels"))

    def _dump(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
        weights = [self._numpy(getattr(self, f"weights_{layer + 1}")) for layer in range(len(self.layer_sizes))]
        return self._numpy(self.hyperplanes), self._numpy(self.hyperplane_bias), weights, int(self.step)

    def _tensor(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        like = getattr(self, "hyperplanes", torch.empty(0, dtype=torch.float32))  # before there are buffers, float32
        return (array if isinstance(array, torch.Tensor) else torch.as_tensor(np.array(array, order="C"))).to(like)

    @staticmethod
    def _numpy(value: Any) -> np.ndarray:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            return (value.float() if value.is_floating_point() else value).numpy()  # NumPy has no bfloat16
        try:
            return np.asarray(value)
        except (RuntimeError, TypeError):  # a list of tensors that only PyTorch reads
            return np.asarray([GLN._numpy(each) for each in value])

    @_exact
    def _contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N)
        return self._numpy(gate(self.hyperplanes, self.hyperplane_bias, self._tensor(context)))

    @_exact
    def _stream(self, base, context, targets, rates, batch_size) -> torch.Tensor:
        """One block of whole batches after another: (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B)."""
        parts, arrays = [], (base, context) if targets is None else (base, context, targets, rates)
        many = min(max(64, 8 << self.context_map_size), BLOCK_SAMPLES) // batch_size  # some eight samples a row
        size = batch_size * (many if batch_size < ROW_SAMPLES else 1)
        for start in range(0, base.shape[1], size):
            block = [self._tensor(array[..., start : start + size]) for array in arrays]
            parts.append(self._each(*block) if block[0].shape[1] == 1 else self._block(batch_size, *block))
            if targets is not None:
                self.step.add_(block[0].shape[1])
        return output(torch.cat(parts, dim=1), self.loss)

    def _each(self, base, context, targets=None, rates=None) -> torch.Tensor:
        """Logits (C, B) of samples that have copies of their rows each. One alone may learn, which is quickest so."""
        z = base.T.clamp(-self.bound, self.bound)[:, None]
        contexts = gate(self.hyperplanes, self.hyperplane_bias, context)
        for layer, rows in enumerate((contexts + self.first_rows).split(self.layer_sizes, dim=1), start=1):
            weights = getattr(self, f"weights_{layer}")
            z = torch.cat([z, z.new_ones(*z.shape[:2], self.bias)], dim=2)[:, None]  # (B, 1, C or 1, d)
            copies = weights.index_select(0, rows.flatten()).unflatten(0, rows.shape)  # (B, n, C, d)
            s = mix(copies, z, self.bound)
            if targets is not None:
                copies = update(copies, z, residual(s, targets, self.loss, self.levels), self._scaled(rates, z))
                weights.index_put_((rows[0],), copies[0].clamp_(-self.weight_clipping, self.weight_clipping))
            z = s.squeeze(3).mT
        return z.mean(dim=2).T

    def _scaled(self, rates, z) -> torch.Tensor:  # (..., 1), (..., d) -> (..., 1)
        return rates / (1 + self.normalize * z.square().sum(dim=-1, keepdim=True))

    def _block(self, batch_size, base, context, targets=None, rates=None) -> torch.Tensor:
        """The logits of a block, (C, B). All samples go through a layer, then through the next, which it never reads.

        One more sample, of zeros, fills up what has to be of one size.
        """
        learn: tuple[Any, ...] = ()
        count = base.shape[1]
        rows = gate(self.hyperplanes, self.hyperplane_bias, context) + self.first_rows
        z = base.new_ones(1, count + 1, self.base_size + self.bias)
        z[0, :-1, : self.base_size] = base.T.clamp(-self.bound, self.bound)
        batches = torch.arange(count + 1, device=z.device) // batch_size
        earlier = batches[:, None] < batches if count > batch_size else None
        if targets is not None:
            targets, rates = nn.functional.pad(targets, (0, 1)), nn.functional.pad(rates, (0, 1))[:, None]
        for layer, picked in enumerate(rows.T.split(self.layer_sizes), start=1):
            z[:, -1] = 0
            above = z.new_ones(self.num_heads, count + 1, len(picked) + self.bias)
            if targets is not None:
                # Batches may overshoot: the sums are large, and what is left of them small.
                x = z if batch_size == 1 or z.is_mps else z.double()  # which MPS does not know
                learn = targets, self._scaled(rates, z), None if earlier is None else x @ x.mT * earlier
            picked, order = picked.flatten().sort(stable=True)  # by row, and the samples of a row as they came
            self._visit((getattr(self, f"weights_{layer}"), z, above, *learn), picked, order % count, batch_size)
            z = above
        return z[:, :-1, : self.layer_sizes[-1]].mean(dim=2)

    def _visit(self, layer, rows, samples, batch_size) -> None:
        """Samples mix the rows that they pick and correct them: (V,), (V,), in order of rows, those of a row in time.

        The samples of a row are filled up to one of few sizes, so that all rows of a size are products side by side.
        """
        weights, z = layer[:2]
        rows, counts = rows.unique_consecutive(return_counts=True)
        starts, powers = counts.cumsum(0) - counts, 2 ** torch.arange(1, 32, device=rows.device)
        sizes = powers[torch.bucketize(counts, powers)]
        for m in sizes.unique().tolist():
            some, parts = sizes == m, max(1, m // ROW_SAMPLES) if batch_size == 1 else 1
            places = torch.arange(m, device=rows.device)
            members = samples[(starts[some, None] + places).clamp(max=len(samples) - 1)]  # (q, m)
            members = members.masked_fill_(places >= counts[some, None], z.shape[1] - 1)
            at_once = max(1, ROWS_BYTES // (weights[0].nbytes + m // parts * z[:, 0].nbytes))
            for picked, whose in zip(rows[some].split(at_once), members.split(at_once), strict=True):
                for part in whose.chunk(parts, dim=1):
                    self._learn(layer, picked, part, batch_size)

    def _learn(self, layer, rows, members, batch_size) -> None:
        """As `_visit`, of rows (q,), each with the samples that pick it, (q, m).

        Layer: weights (n 2^k, C, d), inputs (H, B + 1, d), H = 1 in the first layer, where all heads mix the same, and
        C above, what comes out (C, B + 1, n or n + 1); and to learn targets (C, B + 1), rates (H, B + 1, 1) and, if
        there are several batches, products of each input with those of later ones (H, B + 1, B + 1).
        """
        (weights, z, above, *learn), (heads, size, d), m = layer, layer[1].shape, members.shape[1]
        at = members[:, None, None] + size * torch.arange(self.num_heads, device=z.device).view(heads, -1, 1)
        at = at.flatten(0, 1)  # (q H, C / H, m) places in (C, B + 1)
        w = weights.index_select(0, rows).view(len(at), -1, d)
        x = z.view(-1, d).index_select(0, at[:, 0].flatten()).view(len(at), m, d)
        s = w @ x.mT
        if learn:
            s = s if learn[2] is None else s.to(learn[2])
            steps = self._steps(s, at, size, *learn)
            low, high = w.aminmax()
            reach = torch.maximum(high, -low) + max(1, self.bound) * steps.abs().sum(dim=2).max()
            clips = not reach <= 0.99 * self.weight_clipping  # also where sums overflowed, and are no number
            if clips and learn[2] is not None and self._in_halves(layer, rows, members, batch_size):
                return
            w.baddbmm_(steps, x, alpha=-1)
            if clips:
                w.clamp_(-self.weight_clipping, self.weight_clipping)
            weights.index_put_((rows,), w.view(-1, *weights.shape[1:]))
        neurons = (rows >> self.context_map_size).repeat_interleave(heads)[:, None, None]
        above.view(-1, above.shape[2]).index_put_((at, neurons), s.clamp_(-self.bound, self.bound).to(z))

    def _steps(self, s, at, size, targets, rates, products) -> torch.Tensor:
        """Steps of learning, and in place logits, (q H, C / H, m), by the weights that each sample finds.

        Batches before its own changed them. This alone goes sample by sample, and is of numbers, not of rows.
        """
        steps, one = [], s.shape[2] if products is None else 1
        if products is not None:
            products = products.take(at[:, :1] % size + size * at[:, 0, :, None]).split(1, dim=1)
        parts = zip(*(each.split(one, dim=2) for each in (s, targets.take(at), rates.take(at[:, :1]))), strict=True)
        levels = self.levels.take(at[..., :1] // size) if self.quantiles else None
        for i, (now, y, rate) in enumerate(parts):
            steps.append(residual(now.clamp_(-self.bound, self.bound), y, self.loss, levels).mul_(rate))
            if products is not None:
                s.addcmul_(steps[i], products[i], value=-1)
        return torch.cat(steps, dim=2).to(targets)

    def _in_halves(self, layer, rows, members, batch_size) -> bool:
        """As `_learn`, in two shorter blocks, after each of which weights are clipped; if there are several batches."""
        blank, batches = layer[1].shape[1] - 1, members // batch_size
        first, last = int(batches.min()), int((batches * (members < blank)).max())
        early = batches <= (first + last) // 2
        for half in (early, ~early & (members < blank)) if first < last else ():
            part, some = members.where(half, blank).sort(dim=1).values, half.any(dim=1)  # other rows stay unclipped
            self._learn(layer, rows[some], part[some, : half.sum(dim=1).max()], batch_size)
        return first < last

    @_exact
    def forward(self, inputs: torch.Tensor, context_inputs: torch.Tensor) -> torch.Tensor:
        """`predict` without targets in tensor operations alone, which PyTorch can trace, export and map.

        Of what comes only the shapes are checked. What is recorded takes all samples of a batch at once.
        """
        base = self._shaped("inputs", inputs, (self.input_size, None), (self.input_size,))
        context = self._shaped("context_inputs", context_inputs, (self.context_size, *base.shape[1:]))
        base, context, one = (base[:, None], context[:, None], True) if base.ndim == 1 else (base, context, False)
        if self.base_predictor is not None:
            p = self.base_predictor(self._tensor(base.clone()))
            p = self._shaped("base_predictor's output", p, (self.base_size, base.shape[1]))
            base = torch.logit(p.double(), self.pred_clipping).float() if self.loss == "log_loss" else p
        size = 0 if torch.jit.is_tracing() or torch.compiler.is_compiling() else min(BLOCK_SAMPLES, base.shape[1])
        parts = map(self._tensor, (base, context))
        p = self._stream(base, context, None, None, size) if size else output(self._each(*parts), self.loss)
        p = p[0] if self.num_heads == 1 else p
        return p[..., 0] if one else p

    def _shaped(self, name: str, value: Any, *shapes: tuple) -> torch.Tensor:
        tensor = (value if isinstance(value, torch.Tensor) else torch.as_tensor(value)).float()
        if not any(len(shape) == tensor.ndim and all(map(_fits, shape, tensor.shape)) for shape in shapes):
            expected = " or ".join(map(str, shapes)).replace("None", "B")
            raise _bad(name, f"shape {expected}", f"shape {tuple(tensor.shape)}")
        return tensor

    def get_extra_state(self) -> torch.Tensor:
        """What of a network its arrays do not show: a part of `state_dict` that no conversion of the module rounds."""
        return torch.tensor([value for _, value in self._alike()], dtype=torch.float64, device="cpu")

    def _alike(self) -> list[tuple[str, Any]]:  # for each loss another number of them
        bound = [] if self.loss == "log_loss" else [("value_clipping", self.value_clipping)]
        quantiles = [("quantiles", level) for level in self.quantiles or ()]
        return [(name, getattr(self, name)) for name in ALIKE] + bound + quantiles

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Nothing is left to do: a state that does not fit was refused before anything was loaded."""

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        own, came = self._alike(), state_dict.get(f"{prefix}_extra_state", self.get_extra_state()).tolist()
        if len(came) != len(own):
            raise RuntimeError(f"{prefix}loss: expected the state of a network with {self.loss}, got another's")
        for (name, expected), value in zip(own, came, strict=True):
            if value != expected:
                raise RuntimeError(f"{prefix}{name}: expected {expected}, got {type(expected)(value)}")
        super()._load_from_state_dict(state_dict, prefix, *rest)


# ---- The same in every backend ---------------------------------------------------------------------------------------


def decaying_rate(t: int, start: float = 10.0) -> float:
    """Learning rate with `normalize=True` where none is given: start / sqrt(1 + t / 3000) after t samples."""
    return start / math.sqrt(1.0 + t / 3000.0)


def paper_rate(t: int) -> float:
    """Learning rate with `normalize=False` where none is given: min(100 / (t + 1), 0.01), the paper's for MNIST."""
    return min(100.0 / (t + 1.0), 0.01)


def _bad(name: str, expected: str, came: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {came}")


def _sequence(name: str, value: Any) -> tuple:
    if not isinstance(value, Iterable) or not (items := tuple(value)):
        raise _bad(name, "a sequence of one or more numbers", repr(value))
    return items


def _integer(name: str, value: Any, low: int, high: float = math.inf) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
        raise _bad(name, f"an integer from {low} to {high}", repr(value))
    return int(value)


def _real(name: str, value: Any, expected: str, accept: Callable[[Any], bool]) -> float:
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool) or not accept(value):
        raise _bad(name, f"a number {expected}", repr(value))
    return float(value)


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise _bad(name, "True or False", repr(value))
    return bool(value)


def _fits(size: int | None, came: int) -> bool:
    return size is None or size == came


def _check_memory(numbers: int) -> None:
    """Raises ValueError where so many float32 are more than the machine's memory, if the system tells of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if 4 * numbers > memory:
        names = "layer_sizes, input_size, context_size, num_classes, num_outputs, context_map_size"
        raise _bad(names, f"a network within {memory / 2**30:.1f} GiB of memory", f"one of {4 * numbers >> 30} GiB")


def _of_gln(module: str) -> Any:
    """A module of the package `gln`, where stands what is the same around all backends."""
    try:
        return importlib.import_module(f"gln.{module}")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("gln"):
            raise
        raise ImportError(f"this needs the package gln, which belongs to {__name__} and is not installed") from error
