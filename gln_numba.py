"""Gated Linear Networks in Numba: `gln_numpy` with its inner loops compiled, for streams on a CPU.

Letters in the shapes: B samples, C heads, L layers, n neurons of a layer, N neurons of all layers, k halfspaces a
neuron, d inputs of a neuron (bias included), D values of side information, K base logits.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

try:
    import numba
except ImportError as error:
    raise ImportError("gln_numba needs Numba: pip install numba") from error

__all__ = ["GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]

Rate = float | Callable[[int], float]
LOSSES = {"log_loss": "num_classes", "squared_error": "num_outputs", "quantile": "quantiles"}  # and what gives heads
MAX_HALFSPACES = 30  # 2^30 rows a neuron: beyond any memory, and a context still fits an int32
MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_REAL = 1e30  # of rates, weights and offsets: products with logits, and their sums, stay finite in float32
BLOCK_SAMPLES = 512  # at a time, where they need not wait for one another: to gate, and to predict without learning
SHARED_PRODUCTS = 1 << 21  # of a layer in a block: from here on it is worth waking Numba's threads
CACHED = 1 << 21  # numbers of z, which all neurons of a layer go through before they go on to later samples
LOG_LOSS, _, QUANTILE = range(len(LOSSES))  # in compiled code, where to compare strings takes long
THREADS = threading.Lock()  # they are lent to one call at a time: Numba's workqueue layer ends the process at a second
# Sums may be taken in any order, which is what lets the compiler vectorise them; NaN and infinity stay what they are.
compiled: Any = functools.partial(numba.njit, cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})


@compiled
def sigmoid(s):
    return np.float32(1) / (np.float32(1) + np.exp(-s))


@compiled
def dot(w, z):  # (d,), (d,) -> ()
    s = np.float32(0)
    for i in range(len(z)):
        s += w[i] * z[i]
    return s


@compiled
def gate(hyperplanes, hyperplane_bias, context):  # (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k)
    """Context of each neuron: bit i tells on which side of its halfspace i the side information lies."""
    samples, (neurons, k, size) = np.ascontiguousarray(context.T), hyperplanes.shape  # loops: a BLAS wakes its threads
    contexts, last = np.zeros((neurons, len(samples)), np.int64), len(samples) - 1
    for b in range(0, len(samples), 4):  # four side by side, so that a halfspace is read once for all of them
        x0, x1, x2, x3 = samples[b], samples[min(b + 1, last)], samples[min(b + 2, last)], samples[min(b + 3, last)]
        for j, i in np.ndindex(neurons, k):
            s0 = s1 = s2 = s3 = np.float32(0)
            for a in range(size):
                s0 += hyperplanes[j, i, a] * x0[a]
                s1 += hyperplanes[j, i, a] * x1[a]
                s2 += hyperplanes[j, i, a] * x2[a]
                s3 += hyperplanes[j, i, a] * x3[a]
            for place, s in enumerate((s0, s1, s2, s3)):
                contexts[j, min(b + place, last)] |= (s > hyperplane_bias[j, i]) << i
    return contexts.T


@compiled
def mix(w, z, bound):  # (d,), (d,) -> ()
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss."""
    return min(max(dot(w, z), -bound), bound)


@compiled
def output(s, loss):
    """What a mixed s predicts: a probability with the log-loss, and s itself with another."""
    return sigmoid(s) if loss == LOG_LOSS else s


@compiled
def residual(s, y, loss, quantile):
    """Derivative of the loss by s: output(s) - y, or with the quantile loss [s > y] - quantile."""
    return np.float32(s > y) - quantile if loss == QUANTILE else output(s, loss) - y


@compiled
def update(w, z, step, weight_clipping):  # (d,), (d,) -> None
    """One step of online gradient descent, in place: w <- clip(w - step z), where step = rate * residual."""
    for i in range(len(z)):
        w[i] = min(max(w[i] - step * z[i], -weight_clipping), weight_clipping)


@compiled
def update_and_mix(w, c, z, head, b, after, step, weight_clipping, bound):  # (C, d), (), (C or 1, B, d), () ...
    """`update` of w[c] with z[head, b], and `mix` with z[head, after], in one; slices take as long as sums."""
    s = np.float32(0)
    for i in range(w.shape[1]):
        w[c, i] = weight = min(max(w[c, i] - step * z[head, b, i], -weight_clipping), weight_clipping)
        s += weight * z[head, after, i]
    return min(max(s, -bound), bound)


class Network(NamedTuple):  # a model, and how it goes through a stream
    sizes: np.ndarray  # (L,)
    hyperplanes: np.ndarray  # (N, k, D)
    hyperplane_bias: np.ndarray  # (N, k)
    weights: np.ndarray  # of all layers one after another, each (n, 2^k, C, d)
    bias: bool
    normalize: bool
    bound: np.float32
    weight_clipping: np.float32
    loss: int  # its place among LOSSES
    quantiles: np.ndarray  # (C,), which only one loss knows
    batch_size: int
    learns: bool


@compiled
def transposed(array, bound, bias):  # (n, B) -> (B, n), clipped, or with the bias (B, n + 1)
    rows = np.ones((array.shape[1], len(array) + bias), np.float32)
    for i, b in np.ndindex(array.shape):
        rows[b, i] = min(max(array[i, b], -bound), bound)
    return rows


@compiled
def learn_row(network, own, w, z, targets, scales, start, later, s, steps):
    """Heads `own` of a row, (C, d), go through the samples that picked it, `start` and those `later`; s is (C, B)."""
    heads, clipping, bound, first = len(z) > 1, network.weight_clipping, network.bound, start
    while start < len(later):
        b = end = start  # of its batch
        while end < len(later) and end // network.batch_size == start // network.batch_size:
            end = later[end]
        while b != end:
            if b != start or b == first or not network.learns:  # others are predicted by the update before
                for c in own:  # all heads of the first layer mix the same z
                    s[c, b] = mix(w[c], z[c * heads, b], bound)
            b = later[b]
        while start != end:
            b, start = start, later[start]
            if network.learns:
                for c in own:
                    r = residual(s[c, b], targets[c, b], network.loss, network.quantiles[c])
                    steps[c] = scales[c * heads, b] * r
                for c in own:
                    if start == end and end < len(later):
                        s[c, end] = update_and_mix(w, c, z, c * heads, b, end, steps[c], clipping, bound)
                    else:  # the row is clipped when all of its batch have changed it
                        update(w[c], z[c * heads, b], steps[c], clipping if start == end else np.float32(np.inf))


@compiled
def learn_units(layer, network, above, first, last):
    """Units first ... last - 1 of a layer go through a block and write their logits to `above`, (C, B, n or n + 1)."""
    # (n, k, D), (n, k), (n, 2^k, C, d), (D, B) in Fortran order, (C or 1, B, d), (C, B), (C or 1, B)
    hyperplanes, hyperplane_bias, weights, context, z, targets, scales = layer
    (heads, count), steps = targets.shape, np.empty(len(targets), np.float32)
    neurons = slice(first // heads, -(-last // heads))
    contexts = gate(hyperplanes[neurons], hyperplane_bias[neurons], context)
    earliest, later = np.empty(weights.shape[1], np.int64), np.empty(count, np.int64)  # chains of a row's samples
    tile = network.batch_size * max(1, CACHED // (len(z) * z.shape[2] * network.batch_size))
    for begin in range(0, count, tile):
        block = range(begin, min(begin + tile, count))
        for j in range(neurons.start, neurons.stop):
            own = range(max(first - j * heads, 0), min(last - j * heads, heads))  # unit j C + c is head c of neuron j
            rows = contexts[:, j - neurons.start]
            for b in block:
                earliest[rows[b]] = count
            for b in range(block.stop - 1, begin - 1, -1):
                later[b], earliest[rows[b]] = earliest[rows[b]], b
            for b in block:
                if earliest[rows[b]] == b:  # row after row: each stays in the cache while its samples go through it
                    learn_row(network, own, weights[j, rows[b]], z, targets, scales, b, later, above[:, :, j], steps)


@compiled(parallel=True)
def share_units(layer, network, above, threads):  # each takes some, which know nothing of one another
    units = len(layer[0]) * len(above)
    parts = min(threads, units)
    for part in numba.prange(parts):
        learn_units(layer, network, above, part * units // parts, (part + 1) * units // parts)


@compiled
def learn_block(network, base, context, targets, rates, threads):  # (K, B), (D, B), (C, B), (B,) -> (C, B)
    """All of a block go through a layer, whose rows stay in the cache, then through the next, which it never reads."""
    columns = transposed(context, np.float32(np.inf), False).T
    z = transposed(base, network.bound, network.bias).reshape(1, len(rates), -1)
    first_neuron = first_weight = 0
    for n in network.sizes:
        shape = n, 1 << network.hyperplanes.shape[1], len(targets), z.shape[2]
        weights = network.weights[first_weight:][: shape[0] * shape[1] * shape[2] * shape[3]]
        planes = network.hyperplanes[first_neuron:][:n], network.hyperplane_bias[first_neuron:][:n]
        scales = np.empty(z.shape[:2], np.float32)
        for c, b in np.ndindex(scales.shape):
            scales[c, b] = rates[b] / (np.float32(1) + dot(z[c, b], z[c, b]) if network.normalize else np.float32(1))
        layer = *planes, weights.reshape(shape), columns, z, targets, scales
        z = np.ones((len(targets), len(rates), n + network.bias), np.float32)
        if threads > 1 and len(rates) * (planes[0].size + weights.size // shape[1]) >= SHARED_PRODUCTS:
            share_units(layer, network, z, threads)
        else:
            learn_units(layer, network, z, np.int64(0), n * len(targets))  # for a literal 0 all is compiled anew
        first_neuron, first_weight = first_neuron + n, first_weight + weights.size
    p = np.empty(z.shape[:2], np.float32)
    for c, b in np.ndindex(p.shape):
        p[c, b] = output(z[c, b, :n].sum() / np.float32(n), network.loss)
    return p


@functools.cache
def owner() -> int:
    """The process that may use threads: the first to ask. In a fork of it they are gone, and to wake them is fatal."""
    return os.getpid()


def plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and writeable: for slices, and for arrays that may only be read, all would be compiled again."""
    return array if array.flags.carray else array.copy()


class GLN:
    """A Gated Linear Network in compiled loops: the one to take for a stream on a CPU."""

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

    # ---- Numba -------------------------------------------------------------------------------------------------------

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        self._hyperplanes, self._hyperplane_bias = (np.array(a, order="C") for a in (hyperplanes, hyperplane_bias))

    def _load_weights(self, weights, step) -> None:  # L of (n, 2^k, C, d)
        self._weights = np.empty(sum(array.size for array in weights), np.float32)  # one, for code of any depth
        for into, array in zip(self._of_layers(), weights, strict=True):
            into[:] = array
        self.step = step

    def _of_layers(self) -> list[np.ndarray]:  # views, L of (n, 2^k, C, d)
        shapes = [shape for name, shape in self._shapes().items() if name.startswith("weights")]
        parts = np.split(self._weights, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _dump(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
        return self._hyperplanes, self._hyperplane_bias, self._of_layers(), self.step

    def _tensor(self, array: np.ndarray) -> np.ndarray:
        return array

    @staticmethod
    def _numpy(value: Any) -> np.ndarray:
        return np.asarray(value)

    def _contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N)
        return gate(self._hyperplanes, self._hyperplane_bias, plain(context))

    def _stream(self, base, context, targets, rates, batch_size) -> np.ndarray:
        """One block of batches after another. Shapes: (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B)."""
        p, learns = np.zeros((self.num_heads, base.shape[1]), np.float32), targets is not None
        targets, rates, batch_size = (targets, rates, batch_size) if learns else (p, p[0], 1)
        arrays = np.array(self.layer_sizes), self._hyperplanes, self._hyperplane_bias, self._weights
        bounds = np.float32(self.bound), np.float32(self.weight_clipping)
        loss = list(LOSSES).index(self.loss), np.array(self.quantiles or [0] * self.num_heads, np.float32)
        network = Network(*arrays, self.bias, self.normalize, *bounds, *loss, batch_size, learns)
        size = batch_size * max(1, BLOCK_SAMPLES // batch_size)
        for start in range(0, len(rates), size):
            block = [plain(array[..., start : start + size]) for array in (base, context, targets, rates)]
            p[:, start : start + size] = self._block(network, block)
            self.step += len(block[-1]) if learns else 0
        return p

    def _block(self, network: Network, block: list[np.ndarray]) -> np.ndarray:
        products = len(block[-1]) * (network.hyperplanes.size + (network.weights.size >> self.context_map_size))
        threads = numba.get_num_threads()  # to ask starts them, without which Numba before 0.63 fails on cached code
        if owner() != os.getpid() or products < SHARED_PRODUCTS:
            return learn_block(network, *block, 1)
        with THREADS:
            return learn_block(network, *block, threads)


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
