"""Gated Linear Networks in JAX: pure functions on a pytree of parameters, and a class round them.

A GLN learns online and without backpropagation. Every neuron predicts the target itself: halfspaces of the side
information pick one of its weight rows, the row mixes the predictions of the layer below, and the neuron's own error
corrects that row at once. Source: Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

`predict`, `learn` and `learn_online` are pure, for `jit`, `vmap`, `scan` and sharding; a `GLN` keeps their parameters.

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
from typing import Any, NamedTuple

import numpy as np

try:
    import jax
    import jax.numpy as jnp
    from jax import Array, lax
except ImportError as error:
    raise ImportError("gln_jax needs JAX: pip install jax") from error

__all__ = ["GLN", "Params", "Settings", "decaying_rate", "gate", "learn", "learn_online", "mix", "output"]
__all__ += ["paper_rate", "predict", "residual", "update"]

Rate = float | Callable[[int], float]
LOSSES = {"log_loss": "num_classes", "squared_error": "num_outputs", "quantile": "quantiles"}  # and what gives heads
MAX_HALFSPACES = 30  # 2^30 rows a neuron: beyond any memory, and a context still fits an int32
MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_REAL = 1e30  # of rates, weights and offsets: products with logits, and their sums, stay finite in float32
BLOCK_SAMPLES = 512  # at a time, where they need not wait for one another: to gate, and to predict without learning


def gate(hyperplanes: Array, hyperplane_bias: Array, context: Array) -> Array:
    """Context of each neuron: bit i tells on which side of its halfspace i the side information lies.

    Shapes: (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k).
    """
    products = jnp.matmul(hyperplanes, context, precision="highest")  # (N, k, B), in float32 on every device
    bits = products > hyperplane_bias[:, :, None]
    return (bits << jnp.arange(bits.shape[1], dtype=jnp.int32)[:, None]).sum(axis=1, dtype=jnp.int32).T


def mix(row: Array, z: Array, bound: float) -> Array:
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss.

    Shapes: (C, d), (C or 1, d) -> (C,). All heads of the first layer mix the same z.
    """
    s = jnp.matmul(row, z[0], precision="highest") if len(z) == 1 else (row * z).sum(axis=1)
    return s.clip(-bound, bound)


def output(s: Array, loss: str) -> Array:
    """What a mixed s predicts: a probability with the log-loss, and s itself with another."""
    return jax.nn.sigmoid(s) if loss == "log_loss" else s


def residual(s: Array, y: Array, loss: str, quantile: Any) -> Array:
    """Derivative of the loss by s: output(s) - y, or with the quantile loss [s > y] - quantile."""
    return (s > y) - quantile if loss == "quantile" else output(s, loss) - y


def update(row: Array, z: Array, r: Array, rate: Array) -> Array:
    """One step of online gradient descent: w <- w - rate r z, r the residual.

    Shapes: (C, d), (C or 1, d), (C,), (C or 1,) -> (C, d).
    """
    return row - (rate * r)[:, None] * z


class Params(NamedTuple):
    """The arrays of a network: the pytree that the pure functions take and give."""

    hyperplanes: Array  # (N, k, D)
    hyperplane_bias: Array  # (N, k)
    # Row j 2^k + c of a layer is neuron j's in context c: the weights of all heads, side by side in memory.
    weights: tuple[Array, ...]  # L of (n 2^k, C, d)


class Settings(NamedTuple):
    """What the pure functions are compiled for, beside the shapes: hashable, a static argument of `jax.jit`."""

    bias: bool
    normalize: bool
    bound: float
    weight_clipping: float
    loss: str = "log_loss"
    quantiles: tuple[float, ...] | None = None


def predict(settings: Settings, params: Params, base, context, count=None) -> Array:
    """Probabilities of a batch.

    Shapes: base logits (K, B), side information (D, B), B at least 1 -> (C, B). With `count` only the first `count`
    samples are meant; the rest pads the batch to a shape that is compiled already, and takes no time.

    Raises:
        ValueError: wrong shape, NaN or infinity; but of what `jit` or `vmap` traces only the shape can be checked.
    """
    return _run(settings, params, count, None, *_checked(settings, params, base, context))[1]


def learn(settings: Settings, params: Params, base, context, targets, rates, count=None) -> tuple[Params, Array]:
    """The parameters after the updates of all samples, added up, and what `predict` gives before them.

    Shapes: (K, B), (D, B), targets (C, B), learning rates (B,) -> (C, B). `count` and errors are those of `predict`.
    Targets beyond `settings.bound`, which no prediction reaches, are for the caller to clip.
    """
    return _run(settings, params, count, None, *_checked(settings, params, base, context, targets, rates))


def learn_online(settings: Settings, params: Params, base, context, targets, rates, batch_size=1, count=None) -> tuple:
    """`learn` on one batch of `batch_size` samples after another, in one compiled loop; the last may be smaller."""
    batch_size = _integer("batch_size", batch_size, 1)
    return _run(settings, params, count, batch_size, *_checked(settings, params, base, context, targets, rates))


def _checked(settings, params, *arrays) -> list[Array]:
    """Base logits, side information and, where they are given, targets and rates, as float32."""
    heads, d = params.weights[0].shape[1:]
    shapes = {"base": [d - settings.bias], "context": [params.hyperplanes.shape[2]], "targets": [heads], "rates": []}
    batch = None
    for name, array in zip(shapes, arrays, strict=False):
        traced = isinstance(array, jax.core.Tracer)  # which has no values to check
        known = np.broadcast_to(np.zeros((), array.dtype), array.shape) if traced else array
        batch = GLN._array(GLN, name, known, (*shapes[name], batch)).shape[-1]  # type: ignore[arg-type] # needs no model
    _integer("samples of base", batch, 1)
    return [jnp.asarray(array, jnp.float32) for array in arrays]


@functools.partial(jax.jit, static_argnames=("settings", "batch_size"))
def _run(settings, params, count, batch_size, *samples):
    """Predict all as one batch or, given targets, one batch after another, and learn each before the next.

    Networks that `vmap` maps take turns: XLA would gather and scatter their rows, four times as slow as in place.
    Shapes: () or None, (), (K, B), (D, B) and, with targets, (C, B), (B,) -> parameters or None, (C, B).
    """
    one = functools.partial(_run_one, settings, batch_size or samples[0].shape[1])
    return jax.custom_batching.sequential_vmap(one)(params, count, *samples)


_run_in_place = jax.jit(_run, static_argnames=("settings", "batch_size"), donate_argnames="params")  # for the class


def _run_one(settings, batch_size, params, count, *samples):
    """`_run` of one network, block after block of whole batches."""
    planes, plane_bias, weights = params
    size, ends = samples[0].shape[1], np.cumsum([len(rows) >> planes.shape[1] for rows in weights])
    block = min(batch_size * max(1, BLOCK_SAMPLES // batch_size), size)

    def learn(weights, some):
        """A layer never reads those above it, and so all of a block go through it at once."""
        count, base, context, *learned = some
        weights, z = list(weights), base[:, None].clip(-settings.bound, settings.bound)
        for i, picked in enumerate(jnp.split(gate(planes, plane_bias, context.T), ends[:-1], axis=1)):
            weights[i], z = _layer(settings, min(batch_size, block), weights[i], count, z, picked, *learned)
        return tuple(weights), output(z.mean(axis=2), settings.loss)  # (B, C)

    counts = (size if count is None else jnp.minimum(count, size)) - jnp.arange(0, size, block, dtype=jnp.int32)
    blocks = [jnp.pad(a.T, [(0, -size % block), (0, 0)][: a.ndim]).reshape(-1, block, *a.shape[:-1]) for a in samples]
    weights, p = lax.scan(learn, weights, [counts.clip(0, block), *blocks])
    return (params._replace(weights=weights) if len(blocks) > 2 else None), p.reshape(-1, p.shape[2])[:size].T


def _layer(settings, batch_size, weights, count, z, contexts, targets=None, rates=None):
    """Predict a block with a layer and, given targets, let it learn.

    Rows know nothing of one another: one after another goes through the samples that pick it, and stays in the
    processor's cache. Those that are predicted before any of them is learned are a group.
    Shapes: (n 2^k, C, d), (), (B, C or 1, inputs), (B, n), (B, C), (B,) -> weights, logits (B, C, n).
    """
    (size, n), heads, learns = contexts.shape, weights.shape[1], targets is not None
    levels = jnp.array(settings.quantiles or [0.0])
    alone, bound = learns and batch_size == 1, settings.weight_clipping  # alone: all of a row are in one loop
    z = jnp.pad(z, ((0, 0), (0, 0), (0, int(settings.bias))), constant_values=1)
    if learns:
        rates = rates[:, None] / (1 + jnp.square(z).sum(axis=2) if settings.normalize else 1)  # (B, C or 1)
    # Visit i is of row rows[i] by sample order[i]. What pads the block comes last, and is left out.
    neurons, order = (lax.broadcasted_iota(jnp.int32, (n, size), axis).ravel() for axis in range(2))
    rows = jnp.where(order < count, neurons * (len(weights) // n) + contexts.T.ravel(), len(weights))
    fits = (len(weights) + 1) * size < 2**31  # both in one integer, which is sorted five times as fast
    rows, order = jnp.divmod(jnp.sort(rows * size + order), size) if fits else lax.sort((rows, order), num_keys=1)
    batch, place = order // (size if alone else batch_size), rows // (len(weights) // n) * size + order
    last = jnp.append((rows[1:] != rows[:-1]) | (batch[1:] != batch[:-1]), True)  # of its group

    def group(state):
        i, weights, s = state
        old = lax.dynamic_index_in_dim(weights, rows[i], keepdims=False)  # (C, d)

        def visit(state):
            (i, _, row, s), b = state, order[state[0]]
            s_b = mix(row if alone else old, z[b], settings.bound)
            if learns:
                row = update(row, z[b], residual(s_b, targets[b], settings.loss, levels), rates[b])
            row = row.clip(-bound, bound) if alone else row
            return i + 1, last[i], row, lax.dynamic_update_index_in_dim(s, s_b, place[i], axis=0)

        end, _, row, s = lax.while_loop(lambda state: ~state[1], visit, (i, False, old if learns else i, s))
        if learns:  # samples of a batch may share a row, which is clipped when all of them have changed it
            weights = lax.dynamic_update_index_in_dim(weights, row.clip(-bound, bound), rows[i], axis=0)
        return end, weights, s

    s = jnp.zeros((n * size, heads), jnp.float32)
    _, weights, s = lax.while_loop(lambda state: state[0] < count * n, group, (jnp.int32(0), weights, s))
    return weights, s.reshape(n, size, heads).transpose(1, 2, 0)


class GLN:
    """A Gated Linear Network whose state is `params`, to be used with `settings` in the pure functions too.

    Learning by the class invalidates the arrays of the `params` before: `jax.tree.map(jnp.copy, params)` keeps them.
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

    # ---- JAX ---------------------------------------------------------------------------------------------------------

    _runs: tuple[Any, ...] = (_run, _run_in_place)  # to predict, and to learn

    def __copy__(self) -> GLN:
        """A model that learns on its own: learning takes parameters over, also from who shares them."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, params=jax.tree.map(jnp.copy, self.params), extra=dict(self.extra))
        return twin

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        self.settings = Settings(
            *(self.bias, self.normalize, self.bound, self.weight_clipping, self.loss, self.quantiles)
        )
        weights = self.params.weights if hasattr(self, "params") else ()
        self.params: Params = Params(jnp.array(hyperplanes), jnp.array(hyperplane_bias), weights)

    def _load_weights(self, weights, step) -> None:  # L of (n, 2^k, C, d)
        rows = [array.reshape(-1, *array.shape[2:]) for array in weights]
        # Of one number many times, as weights are at first, JAX makes the copies: else there would be two for a while.
        owned = [jnp.array(array) if any(array.strides) else jnp.full(array.shape, array.flat[0]) for array in rows]
        self.params = self.params._replace(weights=tuple(owned))
        self.step = step  # no part of `params`: JAX's integers are of 32 bits, and the pure functions are given rates

    def _dump(self) -> tuple:
        return *jax.tree.map(np.asarray, self.params), self.step

    def _tensor(self, array: np.ndarray) -> Array:
        return jnp.asarray(array)

    @staticmethod
    def _numpy(value: Any) -> np.ndarray:
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16, which NumPy does not know

    def _contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N)
        return np.asarray(gate(self.params.hyperplanes, self.params.hyperplane_bias, context))

    def _stream(self, base, context, targets, rates, batch_size) -> np.ndarray:
        """Block after block of few sizes, so that few are compiled; a single batch is padded to a power of two.

        Shapes: (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B).
        """
        count = base.shape[1]
        size = 1 << (count - 1).bit_length()
        batch_size = size if batch_size == count else batch_size
        block = batch_size * max(1, BLOCK_SAMPLES // batch_size)
        outputs = []
        for start in range(0, count, block):
            arrays = [a[..., start : start + block] for a in (base, context, targets, rates) if a is not None]
            here = arrays[0].shape[1]
            if missing := min(size, block) - here:
                arrays = [np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]) for array in arrays]
            params, p = self._runs[targets is not None](self.settings, self.params, here, batch_size, *arrays)
            if targets is not None:
                self.params, self.step = params, self.step + here
            outputs.append(np.asarray(p)[:, :here])
        return np.concatenate(outputs, axis=1) if len(outputs) > 1 else outputs[0]


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
