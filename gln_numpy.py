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
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Config", "GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]

Array = np.ndarray
BLOCK_SAMPLES = 512  # gated at a time


def gate(hyperplanes: Array, hyperplane_bias: Array, context: Array) -> Array:
    """Context of each neuron: bit i tells which side of its halfspace i the side information is on.

    Shapes: (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k).
    """
    bits = np.tensordot(hyperplanes, context, 1) > hyperplane_bias[:, :, None]  # (N, k, B)
    return np.einsum("nkb,k->bn", bits, 2 ** np.arange(bits.shape[1]))


def mix(rows: Array, z: Array, bound: float) -> Array:
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss.

    Shapes: (n, C, d), (C or 1, d) -> (n, C).
    """
    return np.einsum("ncd,cd->nc", rows, z).clip(-bound, bound)


def output(s: Array, loss: str) -> Array:
    """The prediction for a mixed s: a probability with the log-loss, a variance with the variance loss, otherwise s."""
    if loss == "log_loss":
        return 1 / (1 + np.exp(-s))
    if loss == "variance":
        return np.exp(s)
    return s


def residual(s: Array, y: Array, loss: str, quantile: ArrayLike | None) -> Array:
    """Derivative of the loss with respect to s; `quantile` only matters for the quantile loss.

    Shapes: (n, C), (C,), (C,) -> (n, C).
    """
    if loss == "quantile":
        return (s > y).astype(np.float32) - np.asarray(quantile, np.float32)
    if loss == "variance":  # 9 limits the effect of outliers
        return (1 - np.minimum(y * y * np.exp(-s), 9)) / 2
    return output(s, loss) - y


def update(rows: Array, z: Array, r: Array, rate: Array) -> Array:
    """One step of online gradient descent, in place: w <- w - rate r z, r the residual.

    Shapes: (n, C, d), (C or 1, d), (n, C), (C,) -> (n, C, d).
    """
    rows -= np.einsum("nc,cd->ncd", rate * r, z)
    return rows


def add_bias(config: Config, z: Array) -> Array:
    """Append a constant 1 to the inputs of a layer, if the network has a bias: (..., d - 1) -> (..., d)."""
    return np.concatenate([z, np.ones((*z.shape[:-1], 1), np.float32)], axis=-1) if config.bias else z


def learn_rows(config: Config, rows: Array, z: Array, s: Array, y: Array, rate: Array) -> Array:
    """Correct rows by the errors of what they predicted. Divided by 1 + |z|^2, a rate suits any number of inputs.

    Shapes: (n, C, d), (C or 1, d), (n, C), (C,), (C,) -> (n, C, d).
    """
    if config.normalize:
        rate = rate / (1 + np.einsum("cd,cd->c", z, z))
    return update(rows, z, residual(s, y, config.loss, config.quantiles), rate)


def pass_sample(config: Config, layers: list[Array], contexts: Iterable[Array], z: Array, y=None, rate=None) -> Array:
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


def pass_block(config: Config, layers: list[Array], contexts: Array, base: Array, targets, rates) -> Array:
    """Predict samples and, given their targets, learn each of them before the next one is predicted.

    Shapes: contexts (B, N), base logits (K, B), targets (C, B) or None, learning rates (B,) or None -> (C, B).
    """
    z = np.clip(base.T[:, None], -config.bound, config.bound, order="C")  # the numbers of a sample side by side
    by_sample = zip(*np.split(contexts, np.cumsum(config.layer_sizes)[:-1], axis=1), strict=True)
    learned: tuple = ()
    if targets is not None:
        known = np.isfinite(targets.T)  # a head whose target is unknown learns at rate 0
        learned = np.where(known, targets.T, 0), np.where(known, rates[:, None], 0)  # (B, C) both
    s = [pass_sample(config, layers, *sample) for sample in zip(by_sample, z, *learned, strict=True)]
    return output(np.mean(s, axis=1).T, config.loss)  # of the mean logit of the last layer's neurons


class Network:
    """A Gated Linear Network whose state is NumPy arrays: for reading, for teaching, for small streams."""

    config: Config
    base_predictor: Any  # a callable or None
    base_size: int
    step: int  # the number of samples learned
    takes_sparse = False  # only Numba's networks take sparse arrays of SciPy

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        self._hyperplanes, self._hyperplane_bias = np.array(hyperplanes), np.array(hyperplane_bias)

    def _load_weights(self, step, weights) -> None:  # L of (n, 2^k, C, d)
        self._weights, self.step = [np.array(array, order="C") for array in weights], step

    def _dump(self) -> tuple[Array, Array, int, list[Array]]:
        return self._hyperplanes, self._hyperplane_bias, self.step, self._weights

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        planes, offsets, *learned = self._dump()
        self._load_hyperplanes(planes, offsets)  # copies: joblib maps the arrays of a file read-only
        self._load_weights(*learned)

    def _tensor(self, array: Array) -> Array:
        return array

    @staticmethod
    def _numpy(value: object) -> Array:
        return np.asarray(value)

    def contexts(self, context) -> Array:  # (D, B) -> (B, N)
        return gate(self._hyperplanes, self._hyperplane_bias, context)

    # exp(-s) may be infinite, and 1 / inf is correct; a BLAS that reads beyond matrices may report "invalid".
    @np.errstate(over="ignore", invalid="ignore")
    def _stream(self, base, context, targets=None, rates=None) -> Array:
        """Predict and, given targets, learn: (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B)."""
        blocks = []
        for start in range(0, base.shape[1], BLOCK_SAMPLES):
            here = slice(start, start + BLOCK_SAMPLES)
            contexts = self.contexts(context[:, here])  # one product for the gates of all layers and samples
            y, rate = (None, None) if targets is None else (targets[:, here], rates[here])
            blocks.append(pass_block(self.config, self._weights, contexts, base[:, here], y, rate))
            if targets is not None:
                self.step += len(contexts)
        return np.concatenate(blocks, axis=1)


# ---- The same in every backend: tools/copy_shared.py copies it from gln_numpy.py -------------------------------------
Rate = float | Callable[[int], float]
MAX_FLOAT = float(np.finfo(np.float32).max)


def decaying_rate(t: int, start: float = 10.0) -> float:
    """Default learning rate with `normalize=True`: start / sqrt(1 + t / 3000), at most 2 + t / 3, after t samples."""
    return min(2.0 + t / 3.0, start / math.sqrt(1.0 + t / 3000.0))


def paper_rate(t: int) -> float:
    """Default learning rate with `normalize=False`: min(100 / (t + 1), 0.01), the paper's for MNIST."""
    return min(100.0 / (t + 1.0), 0.01)


class Loss(NamedTuple):
    """The properties of a loss that other code needs; `output` and `residual` compute it."""

    heads: str  # the argument that determines the number of heads
    targets: tuple[float, float]  # their range
    first_rate: float | None  # default learning rate at the start; None is min(10, sqrt(d)), d the first layer's inputs
    link: str  # the mean of the last layer is the prediction's "logit", its "log", or the prediction "itself"


LOSSES = {
    "log_loss": Loss("num_classes", (0, 1), None, "logit"),
    "squared_error": Loss("num_outputs", (-MAX_FLOAT, MAX_FLOAT), 0.3, "itself"),
    "quantile": Loss("quantiles", (-MAX_FLOAT, MAX_FLOAT), 0.5, "itself"),
    "variance": Loss("num_outputs", (-MAX_FLOAT, MAX_FLOAT), 0.3, "log"),
}


def _argument(kind: type, interval: str, meaning: str, default: Any = dataclasses.MISSING, compare: bool = True) -> Any:
    """A field of `Config`: of a kind or, if that is its default, None; a number or numbers are in the interval."""
    meaning = f"{meaning}; {kind.__name__}{interval and ' in '}{interval}."
    return dataclasses.field(default=default, compare=compare, metadata={"check": (kind, interval), "doc": meaning})


@dataclasses.dataclass(frozen=True)
class Config:
    """The checked arguments of a `GLN` but its callables, for JSON by `dataclasses.asdict` and `Config(**values)`."""

    layer_sizes: Sequence[int] = _argument(int, "[1, inf)", "neurons of each layer, first to last")
    input_size: int = _argument(int, "[1, 1e9]", "values of a sample in the inputs")
    context_size: int = _argument(int, "[1, 1e9]", "values of a sample in the side information")
    num_classes: int = _argument(int, "[2, inf)", "2: one head, the probability of class 1; more: one per class", 2)
    context_map_size: int = _argument(int, "[0, 30]", "halfspaces per neuron, k, which make 2^k contexts", 4)
    bias: bool = _argument(bool, "", "whether a constant 1 is appended to the input of every layer", True)
    context_bias: float = _argument(float, "[0, 1e30]", "standard deviation of the halfspaces' offsets", 0.0, False)
    normalize: bool = _argument(bool, "", "whether a step is divided by 1 + |z|^2; False: the paper's plain step", True)
    pred_clipping: float = _argument(float, "(0, 0.5)", "logits are clipped to ±logit(1 - pred_clipping)", 1e-3)
    weight_clipping: float = _argument(float, "(0, 1e30]", "weights are clipped to ±weight_clipping", 200.0)
    seed: int | None = _argument(int, "[0, inf)", "draws the same halfspaces in every backend", None, False)
    loss: str = _argument(str, "", "what neurons minimise, one of `LOSSES`", "log_loss")
    num_outputs: int = _argument(int, "[1, inf)", "heads, one per target of a sample; with the log-loss, per label", 1)
    quantiles: Sequence[float] | None = _argument(float, "(0, 1)", "levels, one head per level", None)
    value_clipping: float = _argument(float, "(0, 1e4]", "without the log-loss, limit of inputs and outputs", 10.0)
    context_features: int | None = _argument(int, "[1, 1e9]", "most values a halfspace sees; None: all", None, False)

    def __post_init__(self) -> None:
        if self.loss not in list(LOSSES):  # which need not be hashable
            raise _bad("loss", f"one of {list(LOSSES)}", repr(self.loss))
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            check = _numbers if name in ("layer_sizes", "quantiles") else _number
            if name != "loss" and (value is not None or field.default is not None or name == LOSSES[self.loss].heads):
                object.__setattr__(self, name, check(name, value, *field.metadata["check"]))  # the class is frozen
        used = self.record.heads, "pred_clipping" if self.logits else "value_clipping"
        for name in ("num_classes", "num_outputs", "quantiles", "pred_clipping", "value_clipping"):
            if name not in used and getattr(self, name) != getattr(Config, name):
                raise _bad(name, f"{getattr(Config, name)}, because {self.loss} does not use it", getattr(self, name))
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


_ARGUMENTS = "".join(f"\n        {field.name}: {field.metadata['doc']}" for field in dataclasses.fields(Config))
Config.__doc__ = f"{Config.__doc__}\n\n    Args:{_ARGUMENTS}\n    "


class GLN(Network):
    __doc__ = f"""{inspect.getdoc(Network)}

    Args:{_ARGUMENTS}
        base_predictor: a callable (input_size, B) -> (K, B) of probabilities, or of values without the log-loss, which
            replace the inputs; it is called once here, with zeros, to find K.
        learning_rate: see `set_learning_rate`.

    Raises ValueError for an argument outside its range or not used by the loss, or a network larger than memory.
    """
    extra: Mapping[str, np.ndarray] = MappingProxyType({})  # of a loaded model: the `extra` given to `save`

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
        given = locals()
        super().__init__()
        self.config = Config(**{field.name: given[field.name] for field in dataclasses.fields(Config)})
        self.base_predictor, self.base_size = base_predictor, self.config.input_size
        if base_predictor is not None:
            if not callable(base_predictor):
                raise _bad("base_predictor", "a callable or None", repr(base_predictor))
            self.base_size = len(self._base_values(np.zeros((self.base_size, 1), np.float32), None))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
        size = 4 * sum(map(math.prod, self._shapes().values()))
        if size > memory:
            sizes = "layer_sizes, input_size, context_size, num_classes, num_outputs, context_map_size"
            raise _bad(sizes, f"a network within {memory / 2**30:.1f} GiB of memory", f"one of {size >> 30} GiB")
        self.set_learning_rate(learning_rate)
        self._draw()

    def __repr__(self) -> str:
        values = dataclasses.asdict(self.config).items()
        shown = [f"{name}={value!r}" for name, value in values if value != getattr(Config, name, None)]
        return f"GLN({', '.join(shown)}, step={int(self.step)})"

    def predict(self, inputs: ArrayLike, context_inputs: ArrayLike, targets: ArrayLike | None = None) -> Array:
        """Predict all samples, (B,) or with several heads (C, B), and then, given targets, learn one after another.

        Args:
            inputs: (input_size, B) logits or values, or what `base_predictor` takes; a single sample has no axis B.
            context_inputs: (context_size, B) side information, often the same array.
            targets: (B,) of bools, probabilities, class numbers or numbers, depending on the loss; for several classes
                or outputs (C, B) of probabilities or numbers, NaN if a head should not learn.

        Raises ValueError, and changes nothing, for a wrong shape, NaN, infinity or a target outside its range.
        """
        return self._progressive(inputs, context_inputs, targets, None)

    def predict_online(
        self, inputs: ArrayLike, context_inputs: ArrayLike, targets: ArrayLike, batch_size: int = 1
    ) -> Array:
        """`predict` with targets, but for predictions, which are those before each `batch_size` samples are learned."""
        if targets is None:
            raise _bad("targets", "one target per sample", None)
        return self._progressive(inputs, context_inputs, targets, _number("batch_size", batch_size, int, "[1, inf)"))

    def _progressive(self, inputs, context_inputs, targets, batch_size: int | None) -> Array:
        base, context, targets, is_vector = self.prepare(inputs, context_inputs, targets)
        count = base.shape[1]
        size = min(batch_size or count, count)
        if targets is None or size <= 1:
            p = self.predict_arrays(base, context, targets)
        else:
            p, rates = np.empty((self.config.num_heads, count), np.float32), self.rates(count)
            for start in range(0, count, size):
                b = slice(start, start + size)
                p[:, b] = self.predict_arrays(base[:, b], context[:, b])
                self.predict_arrays(base[:, b], context[:, b], targets[:, b], rates[b])
        p = p[0] if self.config.num_heads == 1 else p
        return self._tensor(p[..., 0] if is_vector else p)

    def predict_arrays(self, base, context, targets=None, rates=None) -> np.ndarray:
        """`predict`, or with targets `predict_online`, for checked float32 arrays: only shapes and dtypes are checked.

        Shapes: base values (K, B), side information (D, B), targets of the heads (C, B), learning rates (B,), by
        default `rates(B)` -> (C, B). With an infinite target a head does not learn, as with NaN, and need not predict.
        """
        count, heads = base.shape[-1], self.config.num_heads
        shapes = (self.base_size, count), (self.config.context_size, count), (heads, count), (count,)
        arrays = {"base": base, "context": context, "targets": targets, "rates": rates}
        for (name, array), shape in zip(arrays.items(), shapes, strict=True):
            if array is not None and (array.shape != shape or array.dtype != np.float32):
                raise _bad(name, f"float32 of shape {shape}", f"{array.dtype} of shape {array.shape}")
        if count == 0:
            return np.empty((heads, 0), np.float32)
        if targets is not None and rates is None:
            rates = self.rates(count)
        return self._numpy(self._stream(base, context, targets, rates))

    def rates(self, count: int, rate: Rate | None = None) -> np.ndarray:
        """Learning rates of the next `count` samples, (count,), checked; `rate` replaces `learning_rate`."""
        rate, step = self._learning_rate if rate is None else rate, int(self.step)
        rates = [rate(t) for t in range(step, step + count)] if callable(rate) else [rate] * count
        return self.check_array("learning_rate", rates, (count,), span=(0, 1e30))

    def prepare(self, inputs: ArrayLike, context_inputs: ArrayLike, targets: ArrayLike | None = None) -> tuple:
        """Check the arguments of `predict` and convert them for `predict_arrays`: base values (K, B), side information
        (D, B), targets of the heads (C, B) or None; also returns whether they are a single sample, a vector."""
        size, context_size = self.config.input_size, self.config.context_size
        base = context = self.check_array("inputs", inputs, (size, None), (size,), sparse=True)
        batch, usual = base.shape[1:], self.config.bound + 20
        if context_inputs is not inputs or context_size != size:
            context = self.check_array("context_inputs", context_inputs, (context_size, *batch), sparse=True)
        targets = None if targets is None else self._targets_of_heads(targets, batch)
        base, context = base.reshape(size, -1), context.reshape(context_size, -1)
        if self.base_predictor is not None:
            base = self._base_values(base, self.base_size)
        elif base.size and max(base.max(), -base.min()) > usual and abs(base).mean(dtype=np.float64) > usual:
            clipped = f"inputs: far beyond ±{self.config.bound:.3g}, to which they are clipped"
            advice = "scale or standardise them first, as gln.features.Standardizer does"
            warnings.warn(f"{clipped}; {advice}", stacklevel=4)  # in the line that called `predict`
        return base, context, targets, not batch

    def get_state(self, copy: bool = True) -> dict[str, np.ndarray]:
        """All arrays, named alike in every backend: of layers l = 1 ... L `hyperplanes.{l}` (n, k, D), `weights.{l}`
        (n, 2^k, C, d) and `hyperplane_bias.{l}` (n, k), and `step` (). With `copy=False` do not modify them."""
        planes, offsets, step, *by_layer = self._dump()
        ends, take = np.cumsum(self.config.layer_sizes)[:-1], np.array if copy else np.asarray
        layers = zip(np.split(planes, ends), np.split(offsets, ends), *by_layer, strict=True)
        arrays = [array for layer in layers for array in layer] + [np.int64(step)]
        shapes = zip(arrays, self._shapes().items(), strict=True)
        return {name: take(array, order="C").reshape(shape) for array, (name, shape) in shapes}

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Load the state of a model of the same shape, from any backend. Raises ValueError, and changes nothing, for a
        missing or unknown name, a wrong shape, NaN, infinity or a weight beyond `weight_clipping`."""
        shapes, arrays = self._shapes(), {}
        if not isinstance(state, Mapping) or set(state) != set(shapes):
            raise _bad("state", f"a mapping of the names {sorted(shapes)}", repr(state)[:200])
        for name, shape in shapes.items():
            most = max(self.config.weight_clipping, 1 / shape[-1]) if name.startswith("weights") else MAX_FLOAT
            bound = float(np.float32(most))
            arrays[name] = self.check_array(f"state[{name!r}]", state[name], shape, span=(-bound, bound))
        step = _number("state['step']", self._numpy(state["step"])[()], int, "[0, 9.2e18]")
        kinds = (len(shapes) - 1) // len(self.config.layer_sizes)  # of arrays of a layer
        planes, offsets, *by_layer = ([*arrays.values()][kind:-1:kinds] for kind in range(kinds))
        self._load_hyperplanes(np.concatenate(planes), np.concatenate(offsets))
        self._load_weights(step, *by_layer)

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, ArrayLike] | None = None) -> None:
        """Write a file that the `GLN` of every backend can load; see `gln.saving.save`."""
        _package("saving").save(self, path, extra)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **arguments: Any) -> GLN:
        """Read a file that the `GLN` of any backend has saved; see `gln.saving.load`."""
        return _package("saving").load(cls, path, **arguments)

    def explain(self, inputs: ArrayLike, context_inputs: ArrayLike) -> Any:
        """The linear function of the inputs that is computed for each sample; see `gln.explaining.explain`."""
        return _package("explaining").explain(self, inputs, context_inputs)

    def fit_hyperplanes(self, context_inputs: ArrayLike) -> None:
        """Move each halfspace to where it separates two of the samples; see `gln.engine.networks.sample_halfspaces`."""
        _package("engine.networks.sample_halfspaces").fit_hyperplanes(self, context_inputs)

    def set_learning_rate(self, rate: Rate | None) -> None:
        """Set `learning_rate`: a number from 0 to 1e30, a callable of the number of samples learned, or None.

        None is `decaying_rate` from `first_rate` of the loss (see `LOSSES`), or `paper_rate` without `normalize`.
        """
        if rate is not None and not callable(rate):
            rate = _number("learning_rate", rate, float, "[0, 1e30]")
        start = self.config.record.first_rate or min(10.0, math.sqrt(self.base_size + self.config.bias))
        default = functools.partial(decaying_rate, start=start) if self.config.normalize else paper_rate
        self._learning_rate, self.has_default_rate = default if rate is None else rate, rate is None

    learning_rate = property(lambda self: self._learning_rate, set_learning_rate, doc="See `set_learning_rate`.")

    def _targets_of_heads(self, targets: ArrayLike, batch: tuple[int, ...]) -> np.ndarray:
        """One target per sample, or per head and sample -> (C, B); `batch` is the shape (B,), or () for one sample."""
        config, heads = self.config, self.config.num_heads
        per_head, per_sample = (heads, *batch), [batch] if batch else [(), (1,)]  # of one sample: number or vector
        shapes = {"num_classes": [*per_sample, per_head], "num_outputs": [per_head], "quantiles": per_sample}
        allowed = shapes[config.record.heads] if heads > 1 else per_sample
        y = self.check_array("targets", targets, *allowed, unknown=heads > 1 and per_head in allowed)
        is_per_head = heads > 1 and y.shape == per_head
        y = y.reshape(heads if is_per_head else 1, -1)
        if config.record.heads == "num_classes" and len(y) < heads:
            is_class = y == np.arange(heads)[:, None]
            if np.count_nonzero(is_class) < y.shape[1]:
                raise _bad("targets", f"class numbers, integers from 0 to {heads - 1}", y[0])
            return is_class.astype(np.float32)
        given = " with num_classes=2" if config.logits and heads == 1 else ""
        _check_range("targets", y, config.record.targets, is_per_head, given)
        if not config.logits:  # a target beyond all predictions would drive the weights to their bounds
            y = y.clip(-config.bound, config.bound)
        return y if len(y) == heads else np.broadcast_to(y, (heads, y.shape[1]))

    def _base_values(self, inputs: np.ndarray, size: int | None) -> np.ndarray:  # (input_size, B) -> (K, B)
        if inputs.shape[1] == 0:  # few callables take an empty batch
            return np.empty((self.base_size, 0), np.float32)
        name, config = "base_predictor's output", self.config
        values = self.base_predictor(self._tensor(inputs.copy()))  # it may change its copy
        values = self.check_array(name, values, (size, inputs.shape[1]), span=config.record.targets)
        _number(f"{name}, its rows", len(values), int, "[1, inf)")
        if not config.logits:
            return values
        p = values.astype(np.float64).clip(config.pred_clipping, 1 - config.pred_clipping)
        return (np.log(p) - np.log1p(-p)).astype(np.float32)

    @classmethod
    def check_array(
        cls, name: str, value: object, *shapes: tuple, span=(-MAX_FLOAT, MAX_FLOAT), unknown=False, sparse=False
    ) -> np.ndarray:
        """`value` as float32 of one of the `shapes`, None for any size; in `span`, NaN only if `unknown`."""
        try:
            array = cls._numpy(value)
        except (TypeError, ValueError) as error:
            raise _bad(name, "an array of real numbers", f"{type(value).__name__} ({error})") from None
        if array.dtype.kind not in "biuf" or (hasattr(array, "tocsc") and not sparse):
            dense = "a dense array (gln_numba also takes sparse inputs)" if hasattr(value, "tocsc") else "an array"
            raise _bad(name, f"{dense} of real numbers", f"{type(value).__name__} of dtype {array.dtype}")
        if not any(_fits(array.shape, shape) for shape in shapes):
            raise _bad(name, "shape " + " or ".join(map(str, shapes)).replace("None", "B"), f"shape {array.shape}")
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

    def _draw(self) -> None:
        """Load the initial state: random halfspaces, and weights of 1 / d."""
        config, planes, offsets = self.config, [], []
        rng, most = np.random.default_rng(config.seed), config.context_features
        for n in config.layer_sizes:
            shape = n, config.context_map_size, config.context_size
            normal, offset = rng.standard_normal(shape), rng.standard_normal(shape[:2])
            if most is not None:  # a halfspace sees the values with the smallest random numbers
                count, drawn = rng.integers(1, most + 1, (*shape[:2], 1)).clip(max=shape[2]), rng.random(shape)
                normal[drawn > np.take_along_axis(np.sort(drawn), count - 1, axis=-1)] = 0
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            planes.append(normal.astype(np.float32))
            offsets.append((config.context_bias * offset).astype(np.float32))
        self._load_hyperplanes(np.concatenate(planes), np.concatenate(offsets))
        shapes = [shape for name, shape in self._shapes().items() if name.startswith("weights")]
        self._load_weights(0, [np.broadcast_to(np.float32(1 / shape[-1]), shape) for shape in shapes])  # take no memory


def _package(module: str) -> Any:
    """A module of the package `gln`, which serves all backends."""
    try:
        return importlib.import_module(f"gln.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"this needs the package gln: {error}; pip install . in its folder, or get_state()"
        ) from error


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


def _numbers(name: str, values: object, kind: type, interval: str) -> tuple:
    items = tuple(values) if isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0 else ()
    if not items:
        raise _bad(name, "a sequence of one or more numbers", repr(values))
    return tuple(_number(f"{name}[{i}]", item, kind, interval) for i, item in enumerate(items))


def _check_range(name: str, array: np.ndarray, span: tuple[float, float], unknown: bool, given: str = "") -> None:
    low, high = (float(array.min()), float(array.max())) if array.size else span
    if unknown and math.isnan(low):
        _check_range(name, array[~np.isnan(array)], span, unknown=False)
    elif not (span[0] <= low and high <= span[1]):
        nans = int((array != array).sum())
        came = f"{nans} NaN of {array.size} values" if nans else f"numbers from {low} to {high}"
        raise _bad(name, "finite numbers" if nans else f"numbers from {span[0]:g} to {span[1]:g}{given}", came)


def _fits(shape: tuple, expected: tuple) -> bool:  # in `expected`, None is any size
    return len(shape) == len(expected) and all(n in (None, size) for n, size in zip(expected, shape, strict=True))
