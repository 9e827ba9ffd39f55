"""Gated Linear Networks (arXiv 1910.01526) in JAX: pure functions for `jit`, `vmap` and `scan`, and a `GLN` above them.

Letters in the shapes: B samples, C heads, L layers, n neurons in a layer, N neurons in all layers, k halfspaces
per neuron, d inputs per neuron (bias included), D values of side information, K base logits.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

try:
    import jax
    import jax.numpy as jnp
    from jax import Array, lax
except ImportError as error:
    raise ImportError("gln_jax needs JAX: pip install jax") from error

__all__ = ["Config", "GLN", "Params", "decaying_rate", "gate", "init", "learn", "mix", "output", "paper_rate"]
__all__ += ["predict", "residual", "update"]

BLOCK_SAMPLES = 512  # that pass through a layer before the next


def gate(hyperplanes: Array, hyperplane_bias: Array, context: Array) -> Array:  # (N, k, D), (N, k), (D, B) -> (B, N)
    """Context of each neuron, in [0, 2^k): bit i tells which side of its halfspace i the side information is on."""
    bits = jnp.tensordot(hyperplanes, context, 1, precision="highest") > hyperplane_bias[:, :, None]  # (N, k, B)
    return jnp.einsum("nkb,k->bn", bits.astype(jnp.int32), 2 ** jnp.arange(bits.shape[1], dtype=jnp.int32))


def mix(row: Array, z: Array, bound: float) -> Array:  # (C, d), (C or 1, d) -> (C,)
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss."""
    same = len(z) == 1  # all heads of the first layer mix the same z
    return (jnp.matmul(row, z[0], precision="highest") if same else (row * z).sum(axis=1)).clip(-bound, bound)


def output(s: Array, loss: str) -> Array:
    """The prediction for a mixed s: a probability with the log-loss, a variance with the variance loss, otherwise s."""
    if loss == "log_loss":
        return jax.nn.sigmoid(s)
    if loss == "variance":
        return jnp.exp(s)
    return s


def residual(s: Array, y: Array, loss: str, quantile: Array) -> Array:  # all (C,)
    """Derivative of the loss with respect to s; `quantile` only matters for the quantile loss."""
    if loss == "quantile":
        return (s > y) - quantile
    if loss == "variance":  # 9 limits the effect of outliers
        return (1 - jnp.minimum(y * y * jnp.exp(-s), 9)) / 2
    return output(s, loss) - y


def update(row: Array, z: Array, r: Array, rate: Array) -> Array:  # (C, d), (C or 1, d), (C,), (C,) -> (C, d)
    """One step of online gradient descent: w <- w - rate r z, r the residual."""
    return row - (rate * r)[:, None] * z


class Params(NamedTuple):
    """The arrays of a network, a pytree. Row j 2^k + c of a layer has neuron j's weights in context c, of all heads."""

    hyperplanes: Array  # (N, k, D)
    hyperplane_bias: Array  # (N, k)
    weights: tuple[Array, ...]  # L of (n 2^k, C, d)


def init(config: Config, key: Array) -> Params:
    """A new network, whose halfspaces are drawn as a `GLN`'s, but by a key of `jax.random`: the numbers differ."""
    layers, k, most = config.layer_sizes, config.context_map_size, config.context_features
    normal, keys = functools.partial(jax.random.normal, dtype=jnp.float32), jax.random.split(key, 4)
    planes = normal(keys[0], (sum(layers), k, config.context_size))
    if most is not None:  # a halfspace sees the values with the smallest random numbers
        count = jax.random.randint(keys[1], (*planes.shape[:2], 1), 1, most + 1).clip(max=planes.shape[2])
        drawn = jax.random.uniform(keys[2], planes.shape)
        planes = jnp.where(drawn > jnp.take_along_axis(jnp.sort(drawn), count - 1, axis=-1), 0, planes)
    planes /= jnp.linalg.norm(planes, axis=-1, keepdims=True)
    plane_bias = config.context_bias * normal(keys[3], planes.shape[:2])
    sizes = zip(layers, (config.input_size, *layers[:-1]), strict=True)
    shapes = [(n << k, config.num_heads, below + config.bias) for n, below in sizes]
    return Params(planes, plane_bias, tuple(jnp.full(shape, 1 / shape[2], jnp.float32) for shape in shapes))


def predict(config: Config, params: Params, base, context, count=None) -> Array:
    """Predict a batch: base logits (K, B), side information (D, B), B at least 1 -> (C, B), or a sample without axis B.

    Samples after the first `count` only pad the batch to a compiled shape. Raises ValueError for a wrong shape, NaN or
    infinity; traced arrays have no values to check. A differentiated batch copies the rows that its samples pick.
    """
    base, context = _checked(config, params, base, context)
    is_vector = base.ndim == 1
    return _of_sample(config, params, base, context) if is_vector else _run(config, count, params, base, context)[1]


def learn(config: Config, params: Params, base, context, targets, rates=None, count=None, *, step=None) -> tuple:
    """Learn a batch one sample after another: new parameters, and the predictions (C, B) made before each sample.

    `targets` are (B,) as for `GLN.predict`, class numbers for example, or (C, B), NaN if a head should not learn;
    `rates` are (B,), (), or None for the default ones after `step` samples. The rest is as for `predict`.
    """
    base, context = _checked(config, params, base, context)
    (heads, d), batch = params.weights[0].shape[1:], base.shape[1:]
    if (rates is None) == (step is None):
        raise _bad("rates", "either learning rates or `step`", "neither" if step is None else "both")
    if rates is None:
        t = jnp.float32(step) + jnp.arange(math.prod(batch), dtype=jnp.float32).reshape(batch)
        start = config.record.first_rate or min(10.0, math.sqrt(d))
        decaying = jnp.minimum(2 + t / 3, start / jnp.sqrt(1 + t / 3000))
        rates = decaying if config.normalize else jnp.minimum(100 / (t + 1), 0.01)
    rates = jnp.broadcast_to(_array("rates", rates, batch, (), span=(0, 1e30)), batch)
    return _run(config, count, params, base, context, _targets(config, targets, heads, batch), rates)


def _checked(config, params, base, context) -> tuple[Array, Array]:
    weights = params.weights[0]
    if isinstance(weights, Array) and not isinstance(weights, jax.core.Tracer) and weights.is_deleted():
        raise _bad("params", "arrays that exist", "deleted ones, as after the GLN that held them has learned")
    inputs = weights.shape[2] - config.bias
    base = _array("base", base, (inputs, None), (inputs,))
    _number("samples of base", math.prod(base.shape[1:]), int, "[1, inf)")
    return base, _array("context", context, (params.hyperplanes.shape[2], *base.shape[1:]))


def _targets(config, targets, heads, batch) -> Array:  # (B,) or (C, B) -> (C, B)
    record, per_head = config.record, (heads, *batch)
    per_sample = np.shape(targets) == batch
    if per_sample and heads > 1 and record.heads == "num_classes":
        y = _array("targets", targets, batch) == jnp.arange(heads).reshape(heads, *[1] * len(batch))
        if not isinstance(y, jax.core.Tracer) and not y.any(axis=0).all():
            raise _bad("targets", f"class numbers, integers from 0 to {heads - 1}", targets)
        return y.astype(jnp.float32)
    shapes = [per_head] if heads > 1 and record.heads == "num_outputs" else [batch, per_head]
    y = _array("targets", targets, *shapes, span=record.targets, unknown=heads > 1 and not per_sample)
    return jnp.broadcast_to(y if config.logits else y.clip(-config.bound, config.bound), per_head)


def _array(name, value, *shapes, **limits) -> Array:
    """`value` as float32 of one of the shapes; a traced one has no values to check."""
    known = np.broadcast_to(np.zeros((), value.dtype), value.shape) if isinstance(value, jax.core.Tracer) else value
    GLN.check_array(name, known, *shapes, **limits)
    return jnp.asarray(value, jnp.float32)


@functools.partial(jax.jit, static_argnames="config")
def _of_sample(config, params, base, context):  # (K,), (D,) -> (C,)
    """Predict one sample by copying the rows that it picks: no loops, so JAX can differentiate and map it."""
    (planes, plane_bias, weights), z = params, base[None].clip(-config.bound, config.bound)
    picked = jnp.split(gate(planes, plane_bias, context[:, None])[0], np.cumsum(config.layer_sizes[:-1]))
    for rows, contexts in zip(weights, picked, strict=True):
        rows = rows[(np.arange(len(contexts)) << planes.shape[1]) + contexts]  # (n, C, d)
        z = jnp.pad(z, ((0, 0), (0, int(config.bias))), constant_values=1)
        z = jax.vmap(mix, in_axes=(0, None, None), out_axes=1)(rows, z, config.bound)  # (C, n)
    return output(z.mean(axis=1), config.loss)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pass_samples(config, count, params, *samples):
    """Predict (K, B), (D, B) and, given (C, B), (B,), learn: parameters or None, and (C, B)."""
    if samples[0].ndim == 1:  # one sample
        params, p = _pass_samples(config, count, params, *(array[..., None] for array in samples))
        return params, p[:, 0]
    # `vmap` runs networks one after another: XLA would gather and scatter their rows, four times as slow as in place.
    return jax.custom_batching.sequential_vmap(functools.partial(_pass_blocks, config))(count, params, *samples)


@_pass_samples.defjvp
def _derivative(config, at, along):  # of `_of_sample`: JAX has no reverse mode for `while_loop`
    if len(at) > 4:
        raise TypeError("learning has no derivative: every neuron learns by itself; differentiate gln_jax.predict")
    predict = jax.vmap(functools.partial(_of_sample, config), in_axes=(None, 1, 1), out_axes=1)
    p, derivative = jax.jvp(predict, at[1:], along[1:])
    return (None, p), (None, derivative)


_run = jax.jit(_pass_samples, static_argnums=0)
_run_in_place = jax.jit(_pass_samples, static_argnums=0, donate_argnums=2)  # for the class


def _pass_blocks(config, count, params, *samples):
    """`_pass_samples` for one network, in blocks, each of which passes through a layer before the next."""
    planes, plane_bias, weights = params
    size, ends = samples[0].shape[1], np.cumsum(config.layer_sizes[:-1])
    block = min(BLOCK_SAMPLES, size)

    def pass_block(weights, samples):
        count, base, context, *learned = samples
        weights, z = list(weights), base[:, None].clip(-config.bound, config.bound)
        for i, contexts in enumerate(jnp.split(gate(planes, plane_bias, context.T), ends, axis=1)):
            weights[i], z = _pass_layer(config, weights[i], count, z, contexts, *learned)
        return tuple(weights), output(z.mean(axis=2), config.loss)  # (B, C)

    counts = (size if count is None else jnp.minimum(count, size)) - jnp.arange(0, size, block, dtype=jnp.int32)
    blocks = [jnp.pad(a.T, [(0, -size % block), (0, 0)][: a.ndim]).reshape(-1, block, *a.shape[:-1]) for a in samples]
    weights, p = lax.scan(pass_block, weights, [counts.clip(0, block), *blocks])
    return (params._replace(weights=weights) if len(samples) > 2 else None), p.reshape(-1, p.shape[2])[:size].T


def _pass_layer(config, weights, count, z, contexts, targets=None, rates=None):
    """Predict a block in a layer and, given targets, learn it, row by row, so that a row stays in the cache.

    Shapes: (n 2^k, C, d), (), (B, C or 1, inputs), (B, n), (B, C), (B,) -> weights, logits (B, C, n).
    """
    (size, n), heads, learns = contexts.shape, weights.shape[1], targets is not None
    rows_each, levels = len(weights) // n, jnp.float32(config.quantiles or [0])
    visited, samples = _visits(contexts, count, rows_each)
    visited = jnp.pad(visited, (0, 1), constant_values=len(weights))  # ends the loops
    z = jnp.pad(z, ((0, 0), (0, 0), (0, int(config.bias))), constant_values=1)
    if learns:
        known, targets = jnp.isfinite(targets), jnp.nan_to_num(targets, posinf=0, neginf=0)  # unknown: at rate 0
        rates = rates[:, None] / (1 + jnp.square(z).sum(axis=2) if config.normalize else 1) * known

    def pass_row(state):
        first, weights, s = state
        here = visited[first]

        def visit(state):
            i, row, s = state
            b = samples[i]
            s_b = mix(row, z[b], config.bound)
            if learns:
                row = update(row, z[b], residual(s_b, targets[b], config.loss, levels), rates[b])
                row = row.clip(-config.weight_clipping, config.weight_clipping)
            return i + 1, row, lax.dynamic_update_index_in_dim(s, s_b, here // rows_each * size + b, axis=0)

        row = lax.dynamic_index_in_dim(weights, here, keepdims=False)  # (C, d)
        after, row, s = lax.while_loop(lambda state: visited[state[0]] == here, visit, (first, row, s))
        if learns:
            weights = lax.dynamic_update_index_in_dim(weights, row, here, axis=0)
        return after, weights, s

    s = jnp.zeros((n * size, heads), jnp.float32)  # sample b, neuron j at j B + b
    _, weights, s = lax.while_loop(lambda state: visited[state[0]] < len(weights), pass_row, (jnp.int32(0), weights, s))
    return weights, s.reshape(n, size, heads).transpose(1, 2, 0)


def _visits(contexts, count, rows_each):  # (B, n), () and the rows of a neuron -> (n B,), (n B,)
    """The row and the sample of each visit to a layer, sorted; padding, the samples from `count` on, comes last.

    Samples 0 to 3 that pick rows 1, 0, 1, 1 of one neuron make the visits (0, 1), (1, 0), (1, 2), (1, 3).
    """
    size, n = contexts.shape
    neuron, sample = (lax.broadcasted_iota(jnp.int32, (n, size), axis).ravel() for axis in range(2))
    row = jnp.where(sample < count, neuron * rows_each + contexts.T.ravel(), n * rows_each)
    if (n * rows_each + 1) * size < 2**31:  # both fit in one integer, which sorts five times as fast
        return jnp.divmod(jnp.sort(row * size + sample), size)
    return lax.sort((row, sample), num_keys=1)


class Network:
    """A Gated Linear Network; its `config` and `params` are the arguments of the pure functions.

    Learning donates the arrays of `params` to the new ones; `jax.tree.map(jnp.copy, params)` makes a copy to keep.
    """

    config: Config
    base_predictor: Any  # a callable or None
    extra: Mapping[str, np.ndarray]
    step: int  # the number of samples learned
    takes_sparse = False  # only Numba's networks take sparse arrays of SciPy
    _lock = threading.Lock()  # for all networks: learning donates `params`, which are unreadable until replaced

    def __getstate__(self) -> dict[str, object]:  # copies the arrays: a copy learns on its own
        with self._lock:
            return vars(self) | {"params": jax.tree.map(jnp.copy, self.params), "extra": dict(self.extra)}

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        with self._lock:
            weights = self.params.weights if hasattr(self, "params") else ()
            self.params: Params = Params(jnp.array(hyperplanes), jnp.array(hyperplane_bias), weights)

    def _load_weights(self, step, weights) -> None:  # L of (n, 2^k, C, d)
        rows = [array.reshape(-1, *array.shape[2:]) for array in weights]
        # JAX itself fills arrays of one repeated number, such as initial weights, so that there are never two copies.
        owned = [jnp.array(array) if any(array.strides) else jnp.full(array.shape, array.flat[0]) for array in rows]
        with self._lock:  # `step` is not in `params`, because JAX's integers have 32 bits
            self.params, self.step = self.params._replace(weights=tuple(owned)), step

    def _dump(self) -> tuple:
        with self._lock:
            return *map(np.asarray, self.params[:2]), self.step, [*map(np.asarray, self.params.weights)]

    def _tensor(self, array: np.ndarray) -> Array:
        return jnp.asarray(array)

    @staticmethod
    def _numpy(value: object) -> np.ndarray:
        if isinstance(value, jax.core.Tracer):
            raise TypeError("JAX can only trace the pure functions gln_jax.predict and learn")
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16, which NumPy does not know

    def contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N)
        with self._lock:
            return np.asarray(gate(*self.params[:2], context))

    def _stream(self, base, context, targets=None, rates=None) -> np.ndarray:
        """Run blocks of few sizes, so that few are compiled: the last is padded, a single one to a power of two."""
        learned = [] if targets is None else [targets, rates]
        run = _run_in_place if learned else _run
        block = min(BLOCK_SAMPLES, 1 << (base.shape[1] - 1).bit_length())
        outputs = []
        for start in range(0, base.shape[1], block):
            arrays = [array[..., start : start + block] for array in (base, context, *learned)]
            here = arrays[0].shape[1]
            if here < block:
                arrays = [np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, block - here)]) for array in arrays]
            with self._lock:
                params, p = run(self.config, here, self.params, *arrays)
                if learned:
                    self.params, self.step = params, self.step + here
            outputs.append(np.asarray(p)[:, :here])
        return np.concatenate(outputs, axis=1)


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
