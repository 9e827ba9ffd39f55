"""Gated Linear Networks in Numba: `gln_numpy` with its inner loops compiled, for streams on a CPU and sparse samples.

Letters in the shapes: B samples, C heads, L layers, n neurons in a layer, N neurons in all layers, k halfspaces
per neuron, d inputs per neuron (bias included), D values of side information, K base logits.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import itertools
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

try:
    import numba
except ImportError as error:
    raise ImportError("gln_numba needs Numba: pip install numba") from error

__all__ = ["Config", "GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]

Array = np.ndarray
BLOCK_SAMPLES = 512  # that pass through a layer before the next one
SHARED_PRODUCTS = 1 << 21  # per layer and block; with more, waking threads pays off
CACHED = 1 << 21  # numbers of z that all neurons of a layer process before later samples
NARROW, SMALL = 1 << 8, 1 << 19  # weights per head, in a row and in a layer, up to which sample by sample is faster
LOG_LOSS, _, QUANTILE, VARIANCE = range(4)  # indices in LOSSES: comparing strings is slow in compiled code
settings: Any = numba.config  # `numba.get_num_threads` would start threads, and PyTorch would use as many
# Sums may be reordered, so that the compiler can vectorise them; NaN and infinity are respected.
compiled: Any = functools.partial(numba.njit, cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
inner: Any = functools.partial(compiled, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by compiled code only


@inner
def dot(w, z):  # (d,), (d,) -> ()
    s = np.float32(0)
    for i in range(len(z)):
        s += w[i] * z[i]
    return s


@compiled
def gate(hyperplanes, hyperplane_bias, context):  # (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k)
    """Context of each neuron: bit i tells which side of its halfspace i the side information is on."""
    samples, (neurons, k, size) = np.ascontiguousarray(context.T), hyperplanes.shape  # no BLAS: it wakes threads
    contexts, last = np.zeros((neurons, len(samples)), np.int64), len(samples) - 1
    for b in range(0, len(samples), 4):  # four at a time, so that a halfspace is read once for all of them
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
def gate_block(hyperplanes, seen, coefficients, hyperplane_bias, context, samples):  # -> (N, B)
    """`gate` for a block, reading only the m values of side information that halfspaces see; all if m is 0."""
    # (N, k, D), (N, k, m) twice, (N, k), (D, B), (B, D), for loops over values or over samples
    if seen.shape[2] == 0:
        return gate(hyperplanes, hyperplane_bias, samples.T).T
    contexts, s = np.zeros((len(seen), context.shape[1]), np.int64), np.empty(context.shape[1], np.float32)
    if len(s) == 1:  # loops over one sample would take three times as long
        for j in range(len(seen)):
            row = 0  # a number instead of its place in `contexts`, which takes twice as long
            for i in range(seen.shape[1]):
                alone = np.float32(0)
                for a in range(seen.shape[2]):
                    alone += coefficients[j, i, a] * context[seen[j, i, a], 0]
                row |= (alone > hyperplane_bias[j, i]) << i
            contexts[j, 0] = row
        return contexts
    for j, i in np.ndindex(hyperplane_bias.shape):
        s[:] = 0
        for a in range(seen.shape[2]):
            values, coefficient = context[seen[j, i, a]], coefficients[j, i, a]
            for b in range(len(s)):
                s[b] += coefficient * values[b]
        for b in range(len(s)):
            contexts[j, b] |= (s[b] > hyperplane_bias[j, i]) << i
    return contexts


@inner
def clip(x, bound):  # (), () -> ()
    return min(max(x, -bound), bound)


@compiled
def mix(w, z, bound):  # (d,), (d,) -> ()
    """Geometric mixing of the predictions below: s = clip(w . z, -bound, bound), a logit with the log-loss."""
    return clip(dot(w, z), bound)


@compiled
def output(s, loss):
    """The prediction for a mixed s: a probability with the log-loss, a variance with the variance loss, otherwise s."""
    if loss == LOG_LOSS:
        return np.float32(1) / (np.float32(1) + np.exp(-s))
    if loss == VARIANCE:
        return np.exp(s)
    return s


@compiled
def residual(s, y, loss, quantile):
    """Derivative of the loss with respect to s, 0 if y is unknown; `quantile` only matters for the quantile loss."""
    if not np.isfinite(y):
        return np.float32(0)
    if loss == QUANTILE:
        return np.float32(s > y) - quantile
    if loss == VARIANCE:  # 9 limits the effect of outliers
        return (np.float32(1) - min(y * y * np.exp(-s), np.float32(9))) / np.float32(2)
    return output(s, loss) - y


@compiled
def update(w, z, step):  # numbers
    """One step of online gradient descent for one weight: w <- w - step z, where step = rate * residual."""
    return w - step * z


@inner
def update_row(w, z, step, weight_clipping):  # (d,), (d,) -> None
    for i in range(len(z)):
        w[i] = clip(update(w[i], z[i], step), weight_clipping)


@functools.cache
def is_changed(name: str) -> bool:
    """Whether this is a copy with another `gate` or `mix`, which not all loops call."""
    planes, x = np.random.default_rng(0).normal(size=(2, 5, 9)).astype(np.float32)
    sums, one = planes @ x.T, np.float32(1)
    if name == "gate":
        return not np.array_equal(gate(planes[None], np.full((1, 5), one), x.T)[:, 0], 2 ** np.arange(5) @ (sums > 1))
    return not np.allclose([mix(planes[0], x_b, one) for x_b in x], sums[0].clip(-1, 1), atol=1e-5)


class Layers(NamedTuple):  # all layers as compiled code takes them, and whether they learn
    sizes: np.ndarray  # (L,)
    bias: bool
    normalize: bool
    bound: np.float32
    weight_clipping: np.float32
    loss: int  # its index in LOSSES
    quantiles: np.ndarray  # (C,)
    small: bool  # whether narrow layers are so small that sample by sample is faster
    rows: int  # 2^k
    weights: np.ndarray  # of all layers one after another, each (n, 2^k, C, d)
    learns: bool


@inner
def predicting(network):
    """The network, which does not learn."""
    return Layers(*network[:-1], False)  # type: ignore[call-arg]  # which counts one of them


@inner
def learn_row(network, w, z, targets, scales, b, later, s):
    """Predict and learn the samples of a row, (C, d), from b on, one after another."""
    own = len(z) > 1  # all heads of the first layer mix the same z
    while b < len(later):
        for c in range(len(w)):
            s[c, b] = mix(w[c], z[c * own, b], network.bound)
            step = scales[c * own, b] * residual(s[c, b], targets[c, b], network.loss, network.quantiles[c])
            update_row(w[c], z[c * own, b], step, network.weight_clipping)
        b = later[b]


@inner
def learn_units(layer, network, above):
    """Process a block in a layer, neuron by neuron; writes their logits to `above`, (C, B, n or n + 1)."""
    weights, contexts, z, targets, scales = layer  # (n, 2^k, C, d), (n, B), (C or 1, B, d), (C, B), (C or 1, B)
    count = targets.shape[1]
    # Linked lists of the samples of each row: if 0 to 3 pick rows 1, 0, 1, 1, earliest is 1, 0 and later is 2, 4, 3, 4.
    earliest, later = np.empty(weights.shape[1], np.int64), np.empty(count, np.int64)
    tile = max(1, CACHED // (len(z) * z.shape[2]))
    for begin in range(0, count, tile):
        block = range(begin, min(begin + tile, count))
        for j in range(len(weights)):
            rows = contexts[j]
            for b in block:
                earliest[rows[b]] = count
            for b in range(block.stop - 1, begin - 1, -1):
                later[b], earliest[rows[b]] = earliest[rows[b]], b
            for b in block:
                if earliest[rows[b]] == b:  # row by row: each stays in the cache for all its samples
                    learn_row(network, weights[j, rows[b]], z, targets, scales, b, later, above[:, :, j])


@inner
def predict_units(layer, bound, above):
    """`learn_units` without learning, where no sample waits for another: a plain loop is up to twice as fast."""
    weights, contexts, z, targets, _ = layer
    count, own, tile = targets.shape[1], len(z) > 1, max(1, CACHED // (len(z) * z.shape[2]))
    for begin in range(0, count, tile):
        for j in range(len(weights)):
            for b in range(begin, min(begin + tile, count)):
                row = contexts[j, b]
                for c in range(len(targets)):  # not `mix`, because slices take as long as short sums
                    s = np.float32(0)
                    for i in range(weights.shape[3]):
                        s += weights[j, row, c, i] * z[c * own, b, i]
                    above[c, b, j] = clip(s, bound)


@inner
def list_heads(targets, b, heads):  # (C, B), (), (C,) -> ()
    """Write the heads whose target is not infinite to `heads`, and return their number."""
    count = 0
    for c in range(len(targets)):
        heads[count] = c
        count += not np.isinf(targets[c, b])
    return count


@inner
def learn_samples(layer, network, above):
    """`learn_units` for a whole layer, sample by sample; skips heads whose target is infinite.

    `mix` is inlined, because slicing weights takes as long as short sums.
    """
    weights, contexts, z, targets, scales = layer
    own, heads = len(z) > 1, np.empty(len(targets), np.int64)
    for b in range(targets.shape[1]):
        count = list_heads(targets, b, heads)
        for j in range(len(weights)):
            row = contexts[j, b]
            for h in range(count):
                c = heads[h]
                s = np.float32(0)
                for i in range(weights.shape[3]):
                    s += weights[j, row, c, i] * z[c * own, b, i]
                s = clip(s, network.bound)
                above[c, b, j] = s
                if not network.learns:
                    continue
                step = scales[c * own, b] * residual(s, targets[c, b], network.loss, network.quantiles[c])
                # Heads that only predict, as most of many classes, have nothing to learn.
                for i in range(weights.shape[3] if step else 0):
                    weight = update(weights[j, row, c, i], z[c * own, b, i], step)
                    weights[j, row, c, i] = clip(weight, network.weight_clipping)


@compiled
def read(base, bias, bound):  # (K, B) -> (1, B, d), for the first layer
    z = np.ones((1, base.shape[1], len(base) + bias), np.float32)
    for b in range(base.shape[1]):  # `np.ndindex` takes six times as long
        for i in range(len(base)):
            z[0, b, i] = clip(base[i, b], bound)
    return z


@compiled
def learn_block(network, z, contexts, targets, rates):  # (C or 1, B, d), (N, B), (C, B), (B,) -> (C, B, n or n + 1)
    """Process a block in one layer, whose rows stay in the cache, then in the next: no layer reads one above it."""
    first_neuron, first_weight = 0, 0
    for n in network.sizes:
        shape = n, network.rows, len(targets), z.shape[2]
        weights = network.weights[first_weight:][: shape[0] * shape[1] * shape[2] * shape[3]]
        scales = np.empty(z.shape[:2], np.float32)
        for c, b in np.ndindex(scales.shape):
            scales[c, b] = rates[b] / (np.float32(1) + dot(z[c, b], z[c, b]) if network.normalize else np.float32(1))
        layer = weights.reshape(shape), contexts[first_neuron : first_neuron + n], z, targets, scales
        z = np.ones((len(targets), len(rates), n + network.bias), np.float32)
        if np.isinf(targets).any() or (network.learns and network.small and shape[3] <= NARROW):
            learn_samples(layer, network, z)
        elif network.learns:
            learn_units(layer, network, z)
        else:
            predict_units(layer, network.bound, z)
        first_neuron, first_weight = first_neuron + n, first_weight + weights.size
    return z


@compiled
def outputs(network, z):  # (C, B, n or n + 1), from the last layer -> (C, B)
    p, last = np.empty(z.shape[:2], np.float32), z.shape[2] - network.bias
    for c, b in np.ndindex(p.shape):
        p[c, b] = output(z[c, b, :last].sum() / np.float32(last), network.loss)
    return p


@compiled
def learn_layers(network, planes, base, context, targets, rates):  # (K, B), (D, B), (C, B), (B,) -> (C, B)
    """A block in all layers, in one call, because calls take long."""
    contexts, z = gate_block(*planes, context, np.ascontiguousarray(context.T)), read(base, network.bias, network.bound)
    return outputs(network, learn_block(network, z, contexts, targets, rates))


class Columns(NamedTuple):  # sparse samples: only non-zero values are stored
    starts: np.ndarray  # (B + 1,): sample b has the values from starts[b] to starts[b + 1]
    places: np.ndarray  # (S,), the index of each value in its sample
    values: np.ndarray  # (S,)


@compiled
def seen_values(samples, places, size):  # Columns, (D,) -> (size, B)
    """The values of side information that halfspaces see, at their places; unseen values have place -1."""
    context = np.zeros((size, len(samples.starts) - 1), np.float32)
    for b in range(context.shape[1]):
        for i in range(samples.starts[b], samples.starts[b + 1]):
            if places[samples.places[i]] >= 0:
                context[places[samples.places[i]], b] = samples.values[i]
    return context


@inner
def mix_sparse(w, samples, b, bound):  # (d,), Columns, (), () -> ()
    """`mix` of sample b."""
    some, s = slice(samples.starts[b], samples.starts[b + 1]), np.float32(0)
    for place, value in zip(samples.places[some], samples.values[some]):  # noqa: B905 - no strict in Numba
        s += w[place] * value
    return clip(s, bound)


@inner
def update_sparse(w, samples, b, step, weight_clipping):  # (d,), Columns, (), (), () -> None
    """Update with sample b, in place; weights of values that are 0 stay as they are."""
    some = slice(samples.starts[b], samples.starts[b + 1])
    for place, value in zip(samples.places[some], samples.values[some]):  # noqa: B905
        w[place] = clip(update(w[place], value, step), weight_clipping)


@compiled
def learn_sparse(network, samples, contexts, targets, rates):  # Columns, (n, B), (C, B), (B,) -> (C, B, n or n + 1)
    """Process a block in the first layer, mixing and learning only the non-zero values of each sample.

    Each head of a neuron processes the whole block before the next head does, so that its rows stay in the cache.
    """
    heads, count, n = len(targets), len(rates), len(contexts)
    weights = network.weights.reshape(n, network.rows, heads, -1)
    above, scales = np.ones((heads, count, n + network.bias), np.float32), np.empty(count, np.float32)
    for b in range(count):
        z = samples.values[samples.starts[b] : samples.starts[b + 1]]
        scales[b] = rates[b] / (np.float32(1) + dot(z, z) if network.normalize else np.float32(1))
    for j, c in np.ndindex(n, heads):
        for b in range(count):
            if np.isinf(targets[c, b]):  # as in `learn_samples`
                continue
            w = weights[j, contexts[j, b], c]
            above[c, b, j] = mix_sparse(w, samples, b, network.bound)
            if network.learns and np.isfinite(targets[c, b]):
                step = scales[b] * residual(above[c, b, j], targets[c, b], network.loss, network.quantiles[c])
                update_sparse(w, samples, b, step, network.weight_clipping)
    return above


@functools.cache
def workers(process: int) -> ThreadPoolExecutor:  # a fork has none of the threads that its parent has
    return ThreadPoolExecutor(os.cpu_count())


def is_sparse(array: Any) -> bool:
    return hasattr(array, "tocsc")  # of SciPy, which may be missing


def canonical(array: Any) -> Any:  # (D, B) -> the same as CSC, each value stored once, in order
    columns = array.tocsc()
    if not columns.has_canonical_format:
        columns = columns.copy()
        columns.sum_duplicates()
    return columns


def columns(array: Any, bound: float = np.inf, bias: bool = False) -> Columns:  # (D, B), sparse
    """The values, clipped to ±bound, with a 1 at the end of each sample if `bias`."""
    array = canonical(array)
    starts, places = array.indptr.astype(np.int64), array.indices.astype(np.int64)
    values = array.data.astype(np.float32).clip(-bound, bound)
    if bias:
        places, values = np.insert(places, starts[1:], array.shape[0]), np.insert(values, starts[1:], 1)
        starts += np.arange(len(starts))
    return Columns(starts, places, values)


def plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and writeable: for slices and read-only arrays, Numba would compile everything again."""
    return array if array.flags.carray else array.copy()


class Network:
    """A Gated Linear Network in compiled loops, the fastest backend for streams on a CPU.

    Inputs and side information may be SciPy sparse arrays, (input_size, B) and (context_size, B). The first layer then
    mixes and learns only the non-zero values, with the same predictions as for dense arrays.
    """

    config: Config
    base_predictor: Any  # a callable or None
    base_size: int
    step: int  # the number of samples learned
    takes_sparse = True  # inputs and side information may be sparse arrays of SciPy, samples as columns

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:  # (N, k, D), (N, k)
        most = int((hyperplanes != 0).sum(axis=2).max(initial=0))
        seen = np.zeros((*hyperplanes.shape[:2], 0), np.int64)
        if 2 * most < hyperplanes.shape[2] and not is_changed("gate"):
            seen = np.argsort(hyperplanes == 0, axis=2, kind="stable")[..., :most]
        arrays = hyperplanes, seen, np.take_along_axis(hyperplanes, seen, axis=2), hyperplane_bias
        self._planes = tuple(np.array(array, order="C") for array in arrays)
        vars(self).pop("of_sample", None)
        # For sparse side information: the place of each value among those that halfspaces see, -1 for others, (D,), and
        # halfspaces that read only these. The padding of `seen` has coefficients of 0, so its places do not matter.
        hyperplanes, seen, *others = self._planes
        some = np.flatnonzero((hyperplanes != 0).any(axis=(0, 1)))
        places = np.full(hyperplanes.shape[2], -1)
        places[some] = np.arange(len(some))
        hyperplanes = hyperplanes if len(some) == len(places) else np.ascontiguousarray(hyperplanes[..., some])
        self._sparse_planes = places, hyperplanes, places[seen].clip(0), *others

    def _load_weights(self, step, weights) -> None:  # L of (n, 2^k, C, d)
        if is_changed("mix"):
            raise _bad("mix", "that of gln_numba", "another; change a copy of another backend's file instead")
        self._shapes_of_weights = [array.shape for array in weights]
        self._weights = np.empty(sum(array.size for array in weights), np.float32)  # one array for any number of layers
        vars(self).pop("of_sample", None)
        for into, array in zip(self._of_layers(), weights, strict=True):
            into[:] = array
        self.step = step

    def _of_layers(self) -> list[np.ndarray]:  # views, L of (n, 2^k, C, d)
        parts = np.split(self._weights, np.cumsum([math.prod(shape) for shape in self._shapes_of_weights])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes_of_weights, strict=True)]

    def _dump(self) -> tuple[np.ndarray, np.ndarray, int, list[np.ndarray]]:
        return self._planes[0], self._planes[3], self.step, self._of_layers()

    def _tensor(self, array: np.ndarray) -> np.ndarray:
        return array

    @staticmethod
    def _numpy(value: object) -> np.ndarray:
        return canonical(value) if is_sparse(value) else np.asarray(value)

    def contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N)
        planes, context = self._side_information(context if is_sparse(context) else np.asarray(context, np.float32))
        return gate_block(*planes, plain(context), np.ascontiguousarray(context.T)).T

    def _side_information(self, context) -> tuple[tuple[np.ndarray, ...], np.ndarray]:  # (D, B) -> 4 arrays, (R, B)
        """Halfspaces and the values that they see; only these are made dense if side information is sparse."""
        if not is_sparse(context):
            return self._planes, context
        places, *planes = self._sparse_planes
        return tuple(planes), seen_values(columns(context), places, planes[0].shape[2])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_network", "of_sample")}  # cached

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        planes, offsets, *learned = self._dump()
        self._load_hyperplanes(planes, offsets)  # copies: joblib maps the arrays of a file read-only
        self._load_weights(*learned)

    @functools.cached_property
    def _network(self) -> Callable[..., Layers]:  # with the arguments that `config` gives
        config = self.config
        bounds = np.float32(config.bound), np.float32(config.weight_clipping)
        loss = list(LOSSES).index(config.loss), np.array(config.quantiles or [0] * config.num_heads, np.float32)
        sizes = [array.size // self.config.num_heads for array in self._of_layers() if array.shape[3] <= NARROW]
        options = config.bias, config.normalize, *bounds, *loss, max(sizes, default=0) <= SMALL
        return functools.partial(Layers, np.array(config.layer_sizes), *options, 1 << config.context_map_size)

    @functools.cached_property
    def of_sample(self) -> tuple[Any, Layers]:  # halfspaces, and the network that learns sample by sample
        return self._planes, self._network(self._weights, True)

    def _stream(self, base, context, targets=None, rates=None) -> np.ndarray:
        """Predict and, given targets, learn: (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B)."""
        p, learns = np.zeros((self.config.num_heads, base.shape[1]), np.float32), targets is not None
        targets, rates = (targets, rates) if learns else (p, p[0])
        network = self._network(self._weights, learns)
        for start in range(0, len(rates), BLOCK_SAMPLES):
            some = slice(start, start + BLOCK_SAMPLES)
            planes, seen = self._side_information(context[:, some])
            block = map(plain, (seen, targets[:, some], rates[some]))
            run = self._sparse_block if is_sparse(base) else self._block
            p[:, some] = run(network, planes, base[:, some], *block)
            self.step += len(rates[some]) if learns else 0
        return p

    def _sparse_block(self, network: Layers, planes, base, context, targets, rates) -> np.ndarray:
        """`_block` for sparse inputs."""
        config, size = self.config, self._of_layers()[0].size
        n, samples = config.layer_sizes[0], columns(base, config.bound, config.bias)
        contexts = gate_block(*planes, context, np.ascontiguousarray(context.T))
        first = network._replace(weights=self._weights[:size])
        above = network._replace(sizes=network.sizes[1:], weights=self._weights[size:])
        z = learn_sparse(first, samples, contexts[:n], targets, rates)
        return outputs(above, learn_block(above, z, contexts[n:], targets, rates))

    def _block(self, network: Layers, planes, base, context, targets, rates) -> np.ndarray:
        base, count = plain(base.T).T, base.shape[1]
        # Threads share large layers, but those of a pool have enough to do.
        alone = settings.NUMBA_NUM_THREADS == 1 or threading.current_thread() is not threading.main_thread()
        if alone or count * _products(planes, self._weights, network) < SHARED_PRODUCTS:
            return learn_layers(network, planes, base, context, targets, rates)
        z, seen, first = read(base, self.config.bias, self.config.bound), (context, np.ascontiguousarray(context.T)), 0
        for weights in self._of_layers():
            some = slice(first, first + len(weights))
            z = _share(network, [array[some] for array in planes], weights, z, seen, targets, rates)
            first = some.stop
        return outputs(network, z)


def _products(planes, weights: np.ndarray, network: Layers) -> int:  # of a sample
    return (planes[2].size or planes[0].size) + weights.size // network.rows


def _share(network: Layers, planes, weights, z, seen, *block) -> np.ndarray:  # as for `gate_block` and `learn_block`
    """Process a block in a layer with these weights, (n, 2^k, C, d). If it is large, threads share the neurons."""
    large = len(seen[1]) * _products(planes, weights, network) >= SHARED_PRODUCTS
    ends = np.linspace(0, len(weights), 1 + (settings.NUMBA_NUM_THREADS if large else 1))
    some = [slice(*pair) for pair in itertools.pairwise(np.unique(ends.astype(int)).tolist())]

    def learn(own: slice) -> np.ndarray:
        part = network._replace(sizes=np.array([own.stop - own.start]), weights=weights[own].ravel())
        return learn_block(part, z, gate_block(*(each[own] for each in planes), *seen), *block)

    if len(some) == 1:
        return learn(some[0])
    above = np.ones((len(block[0]), len(seen[1]), len(weights) + network.bias), np.float32)
    for own, found in zip(some, workers(os.getpid()).map(learn, some), strict=True):
        above[..., own] = found[..., : own.stop - own.start]
    return above


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
