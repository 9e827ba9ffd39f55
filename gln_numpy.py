"""Gated Linear Networks in NumPy, written to be read: first the whole algorithm, then the class and its checks.

A GLN learns online and without backpropagation. Every neuron predicts the target itself: halfspaces of the side
information pick one of its weight rows, the row mixes the predictions of the layer below, and the neuron's own error
corrects that row at once. Source: Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

Letters in the shapes: B samples, C heads, L layers, n neurons in a layer, N neurons in all layers, k halfspaces
per neuron, d inputs per neuron (bias included), D values of side information, K base logits. The input z of a layer has
one row per head, (C, d), or a single one in the first layer, (1, d), because all heads mix the same base logits.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

__all__ = ["Config", "GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]


def gate(hyperplanes: np.ndarray, hyperplane_bias: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Context of each neuron: bit i tells which side of its halfspace i the side information is on.

    Shapes: (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k).
    """
    bits = np.tensordot(hyperplanes, context, 1) > hyperplane_bias[:, :, None]  # (N, k, B)
    return np.einsum("nkb,k->bn", bits, 2 ** np.arange(bits.shape[1]))


def mix(rows: np.ndarray, z: np.ndarray, bound: float) -> np.ndarray:
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss.

    Shapes: (n, C, d), (C or 1, d) -> (n, C).
    """
    return np.einsum("ncd,cd->nc", rows, z).clip(-bound, bound)


def output(s: np.ndarray, loss: str) -> np.ndarray:
    """The prediction for a mixed s: a probability with the log-loss, a variance with the variance loss, otherwise s."""
    if loss == "log_loss":
        return 1 / (1 + np.exp(-s))
    if loss == "variance":
        return np.exp(s)
    return s


def residual(s: np.ndarray, y: np.ndarray, loss: str, quantile: Any) -> np.ndarray:
    """Derivative of the loss with respect to s; `quantile` only matters for the quantile loss.

    Shapes: (n, C), (C,), (C,) -> (n, C).
    """
    if loss == "quantile":
        return (s > y).astype(np.float32) - np.float32(quantile)
    if loss == "variance":  # 9 limits the effect of outliers
        return (1 - np.minimum(y * y * np.exp(-s), 9)) / 2
    return output(s, loss) - y


def update(rows: np.ndarray, z: np.ndarray, r: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """One step of online gradient descent, in place: w <- w - rate r z, r the residual.

    Shapes: (n, C, d), (C or 1, d), (n, C), (C,) -> (n, C, d).
    """
    rows -= np.einsum("nc,cd->ncd", rate * r, z)
    return rows


def add_bias(config: Config, z: np.ndarray) -> np.ndarray:
    """Append a constant 1 to the inputs of a layer, if the network has a bias: (..., d - 1) -> (..., d)."""
    return np.concatenate([z, np.ones((*z.shape[:-1], 1), np.float32)], axis=-1) if config.bias else z


def learn_rows(config: Config, rows: np.ndarray, z: np.ndarray, s: Any, y: Any, rate: Any) -> np.ndarray:
    """Correct rows by the errors of what they predicted. Divided by 1 + |z|^2, a rate suits any number of inputs.

    Shapes: (n, C, d), (C or 1, d), (n, C), (C,), (C,) -> (n, C, d).
    """
    if config.normalize:
        rate = rate / (1 + np.einsum("cd,cd->c", z, z))
    return update(rows, z, residual(s, y, config.loss, config.quantiles), rate)


def pass_sample(config: Config, layers: list, contexts: Any, z: np.ndarray, y: Any = None, rate: Any = None) -> Any:
    """Predict a sample and, given its targets, learn it: Algorithm 1 of the paper.

    Shapes: weights (n, 2^k, C, d) and contexts (n,) of each layer, base logits (1, K), targets and learning rates (C,)
    -> logits of the last layer (n, C).
    """
    for weights, context in zip(layers, contexts, strict=True):
        z = add_bias(config, z)
        picked = np.arange(len(weights)), context
        rows = weights[picked]  # a copy: (n, C, d)
        s = mix(rows, z, config.bound)
        if y is not None:
            rows = learn_rows(config, rows, z, s, y, rate)
            weights[picked] = rows.clip(-config.weight_clipping, config.weight_clipping, out=rows)
        z = s.T  # what this layer predicted before it learned
    return s


def learn_batch(config: Config, layers: list, contexts: list, z: np.ndarray, y: Any, rates: Any) -> np.ndarray:
    """Predict all samples of a batch with the weights as they were, then add up their steps, then clip the weights.

    Shapes: as for `pass_sample`, with B before all others but that of weights -> (B, n, C).
    """
    samples = range(len(z))
    for weights, context in zip(layers, contexts, strict=True):
        z = add_bias(config, z)
        picked = [(np.arange(len(weights)), context[b]) for b in samples]
        s = np.stack([mix(weights[picked[b]], z[b], config.bound) for b in samples])
        for b in samples:  # one after another, because samples may pick the same row
            weights[picked[b]] = learn_rows(config, weights[picked[b]], z[b], s[b], y[b], rates[b])
        for b in samples:
            weights[picked[b]] = weights[picked[b]].clip(-config.weight_clipping, config.weight_clipping)
        z = s.swapaxes(1, 2)
    return s


def pass_block(config: Config, layers: list, contexts: Any, base: Any, targets: Any, rates: Any, size: int) -> Any:
    """Predict samples and, given their targets, learn them in batches of `size` samples.

    Shapes: contexts (B, N), base logits (K, B), targets (C, B) or None, learning rates (B,) or None -> (C, B).
    """
    z = np.clip(base.T[:, None], -config.bound, config.bound, order="C")  # the numbers of a sample side by side
    by_layer = np.split(contexts, np.cumsum(config.layer_sizes)[:-1], axis=1)
    by_sample = zip(*by_layer, strict=True)
    if targets is None:
        s = [pass_sample(config, layers, contexts_b, z_b) for contexts_b, z_b in zip(by_sample, z, strict=True)]
        return output(np.mean(s, axis=1).T, config.loss)
    known = np.isfinite(targets.T)  # a head whose target is unknown learns at rate 0
    y, rates = np.where(known, targets.T, 0), np.where(known, rates[:, None], 0)  # (B, C)
    if size == 1:
        samples = zip(by_sample, z, y, rates, strict=True)
        s = [pass_sample(config, layers, contexts_b, z_b, y_b, rate) for contexts_b, z_b, y_b, rate in samples]
    else:
        s = []
        for start in range(0, len(z), size):
            b = slice(start, start + size)
            s.extend(learn_batch(config, layers, [c[b] for c in by_layer], z[b], y[b], rates[b]))
    return output(np.mean(s, axis=1).T, config.loss)  # of the mean logit of the last layer's neurons


# ---- The same in every backend: tools/copy_shared.py copies it from gln_numpy.py -------------------------------------
Rate = float | Callable[[int], float]
MAX_FLOAT = float(np.finfo(np.float32).max)
BLOCK_SAMPLES = 512  # per block in steps where samples are independent: gating, and prediction without learning


def decaying_rate(t: int, start: float = 10.0) -> float:
    """Default learning rate with `normalize=True`: start / sqrt(1 + t / 3000) after t samples."""
    return start / math.sqrt(1.0 + t / 3000.0)


def paper_rate(t: int) -> float:
    """Default learning rate with `normalize=False`: min(100 / (t + 1), 0.01), the paper's for MNIST."""
    return min(100.0 / (t + 1.0), 0.01)


class Loss(NamedTuple):
    """The properties of a loss that other code needs; `output` and `residual` compute it."""

    heads: str  # the argument that determines the number of heads
    clipping: str  # the argument that sets the bound of logits or values
    targets: tuple[float, float]  # range of the targets
    first_rate: float | None  # default learning rate at the start; None is min(10, sqrt(d)), d the first layer's inputs
    link: str  # the mean of the last layer is the prediction's "logit", its "log", or the prediction "itself"


LOSSES = {
    "log_loss": Loss("num_classes", "pred_clipping", (0, 1), None, "logit"),
    "squared_error": Loss("num_outputs", "value_clipping", (-MAX_FLOAT, MAX_FLOAT), 0.3, "itself"),
    "quantile": Loss("quantiles", "value_clipping", (-MAX_FLOAT, MAX_FLOAT), 0.5, "itself"),
    "variance": Loss("num_outputs", "value_clipping", (-MAX_FLOAT, MAX_FLOAT), 0.3, "log"),
}


def _argument(kind: type, interval: str = "", default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """A field of `Config`: of a kind or, if that is its default, None; a number or numbers are in the interval."""
    return dataclasses.field(default=default, metadata={"check": (kind, interval)}, **options)


@dataclasses.dataclass(frozen=True)
class Config:
    """The checked arguments of a `GLN` but its callables, for JSON by `dataclasses.asdict` and `Config(**values)`."""

    layer_sizes: Sequence[int] = _argument(int, "[1, inf)")  # neurons of each layer, first to last; becomes a tuple
    input_size: int = _argument(int, "[1, 1e9]")  # values per sample in the inputs
    context_size: int = _argument(int, "[1, 1e9]")  # values per sample in the side information
    num_classes: int = _argument(int, "[2, inf)", 2)  # 2: one head, the probability of class 1; more: a head per class
    context_map_size: int = _argument(int, "[0, 30]", 4)  # halfspaces per neuron; 2^30 contexts fit an int32
    bias: bool = _argument(bool, "", True)  # whether to append a constant 1 to the input of every layer
    context_bias: float = _argument(float, "[0, 1e30]", 0.0, compare=False)  # standard deviation of their offsets
    normalize: bool = _argument(bool, "", True)  # whether to divide a step by 1 + |z|^2; False: the paper's plain step
    pred_clipping: float = _argument(float, "(0, 0.5)", 1e-3)  # logits are clipped to ±logit(1 - pred_clipping)
    weight_clipping: float = _argument(float, "(0, 1e30]", 200.0)  # of weights, so that sums of products stay finite
    seed: int | None = _argument(int, "[0, inf)", None, compare=False)  # gives the same network in every backend
    loss: str = _argument(str, "", "log_loss")  # what neurons minimise: one of `LOSSES`
    num_outputs: int = _argument(int, "[1, inf)", 1)  # heads, one per target of a sample; with the log-loss, per label
    quantiles: Sequence[float] | None = _argument(float, "(0, 1)", None)  # levels, one head per level; becomes a tuple
    value_clipping: float = _argument(float, "(0, 1e4]", 10.0)  # of inputs, targets and outputs, without the log-loss
    context_features: int | None = _argument(int, "[1, 1e9]", None, compare=False)  # most values a halfspace sees

    def __post_init__(self) -> None:
        if not isinstance(self.loss, str) or self.loss not in LOSSES:
            raise _bad("loss", f"one of {list(LOSSES)}", repr(self.loss))
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "loss" or (value is None and field.default is None and name != LOSSES[self.loss].heads):
                continue
            check = _numbers if name in ("layer_sizes", "quantiles") else _number
            object.__setattr__(self, name, check(name, value, *field.metadata["check"]))  # the class is frozen
        for name in ("num_classes", "num_outputs", "quantiles", "pred_clipping", "value_clipping"):
            value, default = getattr(self, name), getattr(Config, name)
            if name not in (self.record.heads, self.record.clipping) and value != default:
                raise _bad(name, f"{default}, because {self.loss} does not use it", value)
        if self.record.link == "log" and self.bound > 80:  # exp(80) and exp(-80) fit in float32
            raise _bad("value_clipping", "at most 80 for log variances", self.bound)

    logits = property(lambda self: self.record.link == "logit")

    @property
    def record(self) -> Loss:
        """The properties of the loss. With the log-loss and several outputs, each has a probability of its own."""
        record = LOSSES[self.loss]
        return record._replace(heads="num_outputs") if record.link == "logit" and self.num_outputs > 1 else record

    @property
    def bound(self) -> float:
        """Inputs and outputs of neurons are clipped to [-bound, bound]."""
        return math.log1p(-self.pred_clipping) - math.log(self.pred_clipping) if self.logits else self.value_clipping

    @property
    def num_heads(self) -> int:
        return max(1 if self.num_classes == 2 else self.num_classes, self.num_outputs, len(self.quantiles or ()))


def _of_package(function: str, does: str) -> Callable:
    """A method that is a function of the package `gln`, imported when it is called: it serves all backends."""
    module, name = function.rsplit(".", 1)

    def method(self, *arguments, **options):
        try:
            shared = getattr(importlib.import_module(f"gln.{module}"), name)
        except ModuleNotFoundError as error:
            way = "pip install . in its folder; get_state() works without it"
            raise ImportError(f"{name} needs the package gln: {error}; {way}") from error
        return shared(self, *arguments, **options)

    method.__name__, method.__doc__ = name, f"{does}; see `gln.{function}`."
    return method


class BaseGLN:
    """What networks of all backends have in common; a `GLN` adds how it keeps its arrays, predicts and learns."""

    step: Any  # number of samples learned
    extra: Mapping[str, np.ndarray] = MappingProxyType({})  # of a loaded model: the `extra` given to `save`
    takes_sparse = False  # only Numba's networks take sparse arrays of SciPy
    config = property(lambda self: self._config, doc="The checked arguments, a `Config`.")
    base_predictor = property(lambda self: self._base_predictor, doc="The callable given, or None.")
    base_size = property(lambda self: self._base_size, doc="K, the number of base logits or values.")
    if TYPE_CHECKING:  # the arguments, which are properties set below, and what a `GLN` adds

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, layer_sizes, input_size, context_size, *, base_predictor=None, learning_rate=None, **options):
        """Build the network, of arguments as in `Config`, and draw its halfspaces; every weight starts at 1 / d.

        `base_predictor` is a callable (input_size, B) -> (K, B) of probabilities, or values without the log-loss, that
        replace the inputs; called once here with zeros to find K. For `learning_rate` see `set_learning_rate`. Raises
        ValueError for an argument outside its range or not used by the loss, or a network larger than memory.
        """
        super().__init__()
        for name in options.keys() - Config.__dataclass_fields__.keys():
            raise TypeError(f"{name}: expected one of {', '.join(inspect.signature(BaseGLN).parameters)}")
        self._config = Config(layer_sizes, input_size, context_size, **options)
        self._base_predictor, self._base_size = base_predictor, self.config.input_size
        if base_predictor is not None:
            if not callable(base_predictor):
                raise _bad("base_predictor", "a callable or None", repr(base_predictor))
            self._base_size = len(self._base_values(np.zeros((self.base_size, 1), np.float32), None))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
        if (size := 4 * sum(map(math.prod, self._shapes().values()))) > memory:
            names = "layer_sizes, input_size, context_size, num_classes, num_outputs, context_map_size"
            raise _bad(names, f"a network within {memory / 2**30:.1f} GiB of memory", f"one of {size >> 30} GiB")
        self.set_learning_rate(learning_rate)
        self._load(self._initial_state(), 0)

    def __repr__(self) -> str:
        values = dataclasses.asdict(self.config).items()
        shown = [f"{name}={value!r}" for name, value in values if value != getattr(Config, name, None)]
        return f"GLN({', '.join(shown)}, step={int(self.step)})"

    def predict(self, inputs: Any, context_inputs: Any, targets: Any = None) -> Any:
        """Predict a batch, and learn from it if targets are given: probabilities or values, (B,), or (C, B) for C > 1.

        All samples are predicted with the same weights, then their updates are added up; one sample is Algorithm 1.

        Args:
            inputs: (input_size, B) logits or values, or what `base_predictor` takes. A transposed batch raises an error
                unless it is square. For a single sample, (input_size,), omit the axis B everywhere.
            context_inputs: (context_size, B) side information, often the same array.
            targets: (B,) of bools, probabilities, class numbers or numbers, depending on the loss; for several classes
                or outputs (C, B) of probabilities or numbers, NaN if a head should not learn. None: predict only.

        Raises ValueError, and changes nothing, for a wrong shape, NaN, infinity or a target outside its range.
        """
        return self._answer(inputs, context_inputs, targets, None)

    def predict_online(self, inputs: Any, context_inputs: Any, targets: Any, batch_size: int = 1) -> Any:
        """`predict` with targets on one batch of `batch_size` samples after another, in one fast call."""
        if targets is None:
            raise _bad("targets", "one target per sample", None)
        return self._answer(inputs, context_inputs, targets, _number("batch_size", batch_size, int, "[1, inf)"))

    def _answer(self, inputs: Any, context_inputs: Any, targets: Any, batch_size: int | None) -> Any:
        """Predictions in the shape that users get; learns if targets are given. `batch_size=None`: a single batch."""
        base, context, targets, is_vector = self.prepare(inputs, context_inputs, targets)
        p = self._predict(base, context, targets, None, batch_size or base.shape[1])  # (C, B)
        p = p[0] if self._config.num_heads == 1 else p
        return self._tensor(p[..., 0] if is_vector else p)

    def predict_arrays(self, base, context, targets=None, rates=None, batch_size: int = 1) -> np.ndarray:
        """`predict`, or with targets `predict_online`, for checked float32 arrays: only shapes and dtypes are checked.

        Shapes: base values (K, B), side information (D, B), targets of the heads (C, B), learning rates (B,), by
        default `rates(B)` -> (C, B). With an infinite target a head does not learn, as with NaN, and need not predict.
        """
        count, heads = base.shape[-1], self._config.num_heads
        shapes = (self._base_size, count), (self._config.context_size, count), (heads, count), (count,)
        arrays = {"base": base, "context": context, "targets": targets, "rates": rates}
        for (name, array), shape in zip(arrays.items(), shapes, strict=True):
            if array is not None and (array.shape != shape or array.dtype != np.float32):
                raise _bad(name, f"float32 of shape {shape}", f"{array.dtype} of shape {array.shape}")
        return self._numpy(self._predict(base, context, targets, rates, batch_size))

    def _predict(self, base, context, targets, rates, batch_size: int):  # (K, B), (D, B), (C, B), (B,) -> (C, B)
        if (count := base.shape[1]) == 0:
            return np.empty((self._config.num_heads, 0), np.float32)
        if targets is None:  # predictions are independent
            return self._stream(base, context, None, None, min(BLOCK_SAMPLES, count))
        rates = self.rates(count) if rates is None else rates
        return self._stream(base, context, targets, rates, min(batch_size, count))

    def rates(self, count: int, rate: Rate | None = None) -> np.ndarray:
        """Learning rates of the next `count` samples, (count,), checked; `rate` replaces `learning_rate`."""
        rate, step = self._learning_rate if rate is None else rate, int(self.step)
        rates = [rate(t) for t in range(step, step + count)] if callable(rate) else [rate] * count
        return self.check_array("learning_rate", rates, (count,), span=(0, 1e30))

    def prepare(self, inputs: Any, context_inputs: Any, targets: Any = None) -> tuple:
        """Check the arguments of `predict` and convert them for `predict_arrays`: base values (K, B), side information
        (D, B), targets of the heads (C, B) or None; also returns whether they are a single sample, a vector."""
        size, context_size = self._config.input_size, self._config.context_size
        base = context = self.check_array("inputs", inputs, (size, None), (size,), sparse=True)
        batch, is_vector = base.shape[1:], base.ndim == 1
        if context_inputs is not inputs or context_size != size:
            context = self.check_array("context_inputs", context_inputs, (context_size, *batch), sparse=True)
        targets = None if targets is None else self._targets_of_heads(targets, batch)
        base, context = base.reshape(size, -1), context.reshape(context_size, -1)
        usual = self._config.bound + 20
        if self._base_predictor is not None:
            base = self._base_values(base, self._base_size) if base.size else base  # few take an empty batch
        elif base.size and max(base.max(), -base.min()) > usual and abs(base).mean(dtype=np.float64) > usual:
            clipped = f"inputs: far beyond ±{self._config.bound:.3g}, to which they are clipped"
            advice = "scale or standardise them first, for example by gln.features.Standardizer"
            warnings.warn(f"{clipped}; {advice}", stacklevel=4)  # in the line that called `predict`
        return base, context, targets, is_vector

    def get_state(self, copy: bool = True) -> dict[str, np.ndarray]:
        """All arrays, under the same names in every backend: for each layer l = 1 ... L `hyperplanes.{l}` (n, k, D),
        `hyperplane_bias.{l}` (n, k) and `weights.{l}` (n, 2^k, C, d), and `step` (), the number of samples learned.
        With `copy=False` they may share the model's memory and must not be modified."""
        *halfspaces, weights, step = self._dump()
        ends, take = np.cumsum(self.config.layer_sizes)[:-1], np.array if copy else np.asarray
        layers = zip(*(np.split(array, ends) for array in halfspaces), weights, strict=True)
        arrays = [array for layer in layers for array in layer] + [np.int64(step)]
        shapes = zip(arrays, self._shapes().items(), strict=True)
        return {name: take(array, order="C").reshape(shape) for array, (name, shape) in shapes}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Load the state of a model of the same shape, from any backend. Raises ValueError, and changes nothing, for a
        missing or unknown name, a wrong shape, NaN, infinity or a weight beyond `weight_clipping`."""
        shapes, arrays = self._shapes(), {}
        if not isinstance(state, Mapping) or set(state) != set(shapes):
            raise _bad("state", f"a mapping of the names {sorted(shapes)}", repr(state)[:200])
        for name, shape in shapes.items():
            most = max(self.config.weight_clipping, 1 / shape[-1]) if name.startswith("weights") else MAX_FLOAT
            bound = float(np.float32(most))
            arrays[name] = self.check_array(f"state[{name!r}]", state[name], shape, span=(-bound, bound))
        self._load(arrays, _number("state['step']", self._numpy(state["step"])[()], int, "[0, 9.2e18]"))

    save = _of_package("saving.save", "`save(path, extra=None)` writes a file that every backend can load")
    load = classmethod(_of_package("saving.load", "`GLN.load(path)` returns a model that any backend saved"))
    explain = _of_package("explaining.explain", "The linear function of `inputs` and `context_inputs` that is computed")
    fit_hyperplanes = _of_package("engine.networks.sample_halfspaces.fit_hyperplanes", "Fit halfspaces to samples")

    def set_learning_rate(self, rate: Rate | None) -> None:
        """Set `learning_rate`: a number from 0 to 1e30, a callable of the number of samples learned, or None.

        None stands for `decaying_rate`, which starts at min(10, sqrt(d)) for d inputs of the first layer, or at 0.3 for
        squared errors and variances and 0.5 for quantiles; without `normalize` it stands for `paper_rate`.
        """
        if rate is not None and not callable(rate):
            rate = _number("learning_rate", rate, float, "[0, 1e30]")
        start = self.config.record.first_rate or min(10.0, math.sqrt(self.base_size + self.config.bias))
        default = functools.partial(decaying_rate, start=start) if self.config.normalize else paper_rate
        self._learning_rate, self.has_default_rate = default if rate is None else rate, rate is None

    learning_rate = property(lambda self: self._learning_rate, set_learning_rate, doc="See `set_learning_rate`.")

    def _targets_of_heads(self, targets: Any, batch: tuple[int, ...]) -> np.ndarray:
        """One target per sample, or per head and sample -> (C, B); `batch` is the shape (B,), or () for one sample."""
        config, heads = self._config, self._config.num_heads
        per_head, per_sample = (heads, *batch), [batch] if batch else [(), (1,)]  # of one sample: number or vector
        shapes = {"num_classes": [*per_sample, per_head], "num_outputs": [per_head], "quantiles": per_sample}
        allowed = shapes[config.record.heads] if heads > 1 else per_sample
        y = self.check_array("targets", targets, *allowed, unknown=heads > 1 and per_head in allowed)
        is_per_head = heads > 1 and y.shape == per_head
        y = y.reshape(heads if is_per_head else 1, -1)
        if config.record.heads == "num_classes" and len(y) < heads:
            classes, y = y[0], (y == np.arange(heads)[:, None]).astype(np.float32)
            if np.count_nonzero(y) < y.shape[1]:
                raise _bad("targets", f"class numbers, integers from 0 to {heads - 1}", classes)
        else:
            given = " with num_classes=2" if config.logits and heads == 1 else ""
            _check_range("targets", y, config.record.targets, unknown=is_per_head, given=given)
        if not config.logits:  # a target beyond all predictions would drive the weights to their bounds
            y = y.clip(-config.bound, config.bound)
        return y if len(y) == heads else np.broadcast_to(y, (heads, y.shape[1]))

    def _base_values(self, inputs: np.ndarray, size: int | None) -> np.ndarray:  # (input_size, B) -> (K, B)
        values = self.base_predictor(self._tensor(inputs.copy()))  # it may change its copy
        name, config = "base_predictor's output", self._config
        values = self.check_array(name, values, (size, inputs.shape[1]), span=config.record.targets)
        if len(values) == 0:
            raise _bad(name, "at least one row", "none")
        if not config.logits:
            return values
        p = values.astype(np.float64).clip(config.pred_clipping, 1 - config.pred_clipping)
        return (np.log(p) - np.log1p(-p)).astype(np.float32)

    @classmethod
    def check_array(cls: Any, name, value, *shapes, span=(-MAX_FLOAT, MAX_FLOAT), unknown=False, sparse=False) -> Any:
        """`value` as float32 of one of the `shapes`, None for any size; in `span`, NaN only if `unknown`."""
        try:
            array = cls._numpy(value)
        except (TypeError, ValueError) as error:
            raise _bad(name, "an array of real numbers", f"{type(value).__name__} ({error})") from None
        if array.dtype.kind not in "biuf" or (hasattr(array, "tocsc") and not sparse):
            dense = "a dense array of real numbers (gln_numba also takes sparse inputs)"
            expected = dense if hasattr(value, "tocsc") else "an array of real numbers"
            raise _bad(name, expected, f"{type(value).__name__} of dtype {array.dtype}")
        if not any(_fits(array.shape, shape) for shape in shapes):
            expected = " or ".join(str(shape).replace("None", "B") for shape in shapes)
            raise _bad(name, f"shape {expected}", f"shape {array.shape}")
        _check_range(name, array, span, unknown)
        return array.astype(np.float32, copy=False)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array of the state."""
        config, below = self.config, self.base_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, n in enumerate(config.layer_sizes, start=1):
            shapes[f"hyperplanes.{layer}"] = n, config.context_map_size, config.context_size
            shapes[f"hyperplane_bias.{layer}"] = n, config.context_map_size
            shapes[f"weights.{layer}"] = n, 2**config.context_map_size, config.num_heads, below + config.bias
            below = n
        return {**shapes, "step": ()}

    def _initial_state(self) -> dict[str, np.ndarray]:
        rng, state, most = np.random.default_rng(self.config.seed), {}, self.config.context_features
        for name, shape in self._shapes().items():
            if name.startswith("hyperplanes"):
                hyperplanes, offsets = rng.standard_normal(shape), rng.standard_normal(shape[:2])
                if most is not None:  # a halfspace sees the values with the smallest random numbers
                    count, drawn = rng.integers(1, most + 1, (*shape[:2], 1)).clip(max=shape[2]), rng.random(shape)
                    hyperplanes[drawn > np.take_along_axis(np.sort(drawn), count - 1, axis=-1)] = 0
                hyperplanes /= np.linalg.norm(hyperplanes, axis=-1, keepdims=True)
                state[name] = hyperplanes.astype(np.float32)
            elif name.startswith("hyperplane_bias"):
                state[name] = (self.config.context_bias * offsets).astype(np.float32)
            elif name.startswith("weights"):
                state[name] = np.broadcast_to(np.float32(1 / shape[-1]), shape)  # takes no memory
        return state

    def _load(self, state: Mapping[str, np.ndarray], step: int) -> None:
        names, layers = ("hyperplanes", "hyperplane_bias", "weights"), range(1, len(self.config.layer_sizes) + 1)
        *halfspaces, weights = ([state[f"{name}.{layer}"] for layer in layers] for name in names)
        self._load_hyperplanes(*map(np.concatenate, halfspaces))  # so that the gates of a batch are one matrix product
        self._load_weights(weights, step)


for _name in (*Config.__dataclass_fields__, "num_heads", "bound"):  # `model.seed` stands for `model.config.seed`
    setattr(BaseGLN, _name, property(operator.attrgetter(f"config.{_name}")))
_first, _fields = ([*inspect.signature(call).parameters.values()] for call in (BaseGLN.__init__, Config))
_options = [field.replace(kind=field.KEYWORD_ONLY) for field in _fields[3:]]  # in place of `**options`, for `help`
BaseGLN.__init__.__signature__ = inspect.Signature([*_first[:-1], *_options])  # type: ignore[attr-defined]


def _bad(name: str, expected: str, came: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {came}")


def _number(name: str, value: Any, kind: type, interval: str = "") -> Any:
    """`value` as bool, or as int or float in an interval such as "(0, 1]"."""
    value = value.item() if isinstance(value, np.generic) else value
    fits = isinstance(value, (int, float) if kind is float else int) and isinstance(value, bool) == (kind is bool)
    if fits and interval:
        low, high = map(float, interval[1:-1].split(","))
        fits = low < value < high or (value == low and interval[0] == "[") or (value == high and interval[-1] == "]")
    if not fits:
        raise _bad(name, f"{kind.__name__} {interval and 'in'} {interval}".strip(), repr(value))
    return kind(value)


def _numbers(name: str, values: Any, kind: type, interval: str) -> tuple:
    if getattr(values, "ndim", 1) == 0 or not isinstance(values, Iterable) or not (items := tuple(values)):
        raise _bad(name, "a sequence of one or more numbers", repr(values))
    return tuple(_number(f"{name}[{i}]", item, kind, interval) for i, item in enumerate(items))


def _check_range(name: str, array: Any, span: tuple[float, float], unknown: bool, given: str = "") -> None:
    low, high = (float(array.min()), float(array.max())) if array.size else span
    if unknown and math.isnan(low):
        _check_range(name, array[~np.isnan(array)], span, unknown=False)
    elif not (span[0] <= low and high <= span[1]):
        nans = int((array != array).sum())
        came = f"{nans} NaN of {array.size} values" if nans else f"numbers from {low} to {high}"
        raise _bad(name, "finite numbers" if nans else f"numbers from {span[0]:g} to {span[1]:g}{given}", came)


def _fits(shape: tuple, expected: tuple) -> bool:  # in `expected`, None is any size
    return len(shape) == len(expected) and all(n in (None, size) for n, size in zip(expected, shape, strict=True))


# ---- NumPy -----------------------------------------------------------------------------------------------------------


class GLN(BaseGLN):
    """A Gated Linear Network whose state is NumPy arrays: for reading, for teaching, for small streams."""

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        self._hyperplanes, self._hyperplane_bias = np.array(hyperplanes), np.array(hyperplane_bias)

    def _load_weights(self, weights, step) -> None:  # L of (n, 2^k, C, d)
        self._weights, self.step = [np.array(array, order="C") for array in weights], step

    def _dump(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
        return self._hyperplanes, self._hyperplane_bias, self._weights, self.step

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._load(self.get_state(copy=False), self.step)  # copies: joblib maps the arrays of a file read-only

    def _tensor(self, array: np.ndarray) -> np.ndarray:
        return array

    @staticmethod
    def _numpy(value: Any) -> np.ndarray:
        return np.asarray(value)

    def contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N)
        return gate(self._hyperplanes, self._hyperplane_bias, context)

    # exp(-s) may be infinite, and 1 / inf is correct; a BLAS that reads beyond matrices may report "invalid".
    @np.errstate(over="ignore", invalid="ignore")
    def _stream(self, base, context, targets, rates, batch_size) -> np.ndarray:
        """One block of whole batches after another: (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B)."""
        blocks, size = [], batch_size * max(1, BLOCK_SAMPLES // batch_size)
        for start in range(0, base.shape[1], size):
            here = slice(start, start + size)
            contexts = self.contexts(context[:, here])  # one product for the gates of all layers and samples
            y, rate = (None, None) if targets is None else (targets[:, here], rates[here])
            blocks.append(pass_block(self.config, self._weights, contexts, base[:, here], y, rate, batch_size))
            if targets is not None:
                self.step += len(contexts)
        return np.concatenate(blocks, axis=1)
