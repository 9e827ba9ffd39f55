"""A JAX GLN over several devices: each has some of the heads, which are independent, or learns some of the samples.

Shapes: B samples, C heads, C' heads padded to a multiple of the devices, L layers, n neurons per layer, k halfspaces
per neuron, d inputs per neuron (bias included), M devices.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

import gln_jax
from gln.engine.batches import check_integer
from gln.engine.networks.protocol import arguments

try:
    shard_map = functools.partial(jax.shard_map, check_vma=False)
except AttributeError:  # before JAX 0.6
    from jax.experimental.shard_map import shard_map as experimental

    shard_map = functools.partial(experimental, check_rep=False)

__all__ = ["ShardedGLN", "learn_rows", "shard_heads"]

OF_WEIGHTS, OF_HEADS = Spec(None, "heads", None), Spec("heads", None)  # (n 2^k, C', d) and (C', B)


def shard_heads(model: gln_jax.GLN, devices: Sequence[Any] | None = None) -> ShardedGLN:
    """A copy of a `gln_jax.GLN`, with the same state and methods, that keeps some of its heads on each device.

    If the number of heads is not a multiple of the number of devices, it is padded with unused heads.

    Args:
        model: has classes or outputs; quantiles are not supported, since they have few heads.
        devices: JAX devices, at least one. None takes all.

    Raises:
        ValueError: a model of quantiles, or no devices.
    """
    sharded = ShardedGLN(**arguments(model), devices=devices)
    sharded.set_state(model.get_state())
    sharded.extra = dict(model.extra)
    return sharded


class ShardedGLN(gln_jax.GLN):
    """The result of `shard_heads`; `load` shards over all devices. Its `params` are sharded arrays on `mesh`."""

    def __init__(self, *args: Any, devices: Sequence[Any] | None = None, **arguments: Any) -> None:
        self.mesh = _mesh(devices, "heads")
        self.runs = tuple(functools.partial(run, self.mesh) for run in (_run, _run_in_place))
        super().__init__(*args, **arguments)
        if self.config.record.heads == "quantiles":
            raise ValueError(f"model: expected one with classes or outputs, got {self!r}")

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.copy(self)

    def __reduce__(self) -> tuple:
        """Devices cannot be pickled: unpickling shards over all devices present."""
        plain = gln_jax.GLN(**arguments(self))
        plain.set_state(self.get_state())
        plain.extra = dict(self.extra)
        return shard_heads, (plain,)

    def placed(self, params: gln_jax.Params) -> gln_jax.Params:
        heads = -(-self.num_heads // self.mesh.size) * self.mesh.size
        filled = [jnp.pad(rows, [(0, 0), (0, heads - rows.shape[1]), (0, 0)]) for rows in params.weights]
        over, everywhere = NamedSharding(self.mesh, OF_WEIGHTS), NamedSharding(self.mesh, Spec())
        planes, plane_bias = (jax.device_put(array, everywhere) for array in params[:2])
        return gln_jax.Params(planes, plane_bias, tuple(jax.device_put(rows, over) for rows in filled))


def _mesh(devices: Sequence[Any] | None, axis: str) -> Mesh:
    devices = jax.devices() if devices is None else list(devices)
    if not devices:
        raise ValueError("devices: expected at least one, got none")
    return Mesh(np.array(devices), (axis,))


@functools.partial(jax.jit, static_argnames=("mesh", "config", "batch_size"))
def _run(mesh, config, params, count, batch_size, *samples):
    """`gln_jax.run_blocks` on each device with the heads there. Padding heads learn targets of zero."""
    learns, everywhere, of_weights = len(samples) > 2, Spec(), (OF_WEIGHTS,) * len(params.weights)
    if learns:
        base, context, targets, rates = samples
        samples = base, context, jnp.pad(targets, [(0, params.weights[0].shape[1] - len(targets)), (0, 0)]), rates
    of_params: Any = params._replace(hyperplanes=everywhere, hyperplane_bias=everywhere, weights=of_weights)
    of_samples = (Spec(), Spec(), OF_HEADS, Spec())[: len(samples)]
    one = functools.partial(gln_jax.run_blocks, config, batch_size or samples[0].shape[1])
    outs = (of_params if learns else None, OF_HEADS)
    return shard_map(one, mesh=mesh, in_specs=(of_params, Spec(), *of_samples), out_specs=outs)(params, count, *samples)


_run_in_place = jax.jit(_run, static_argnames=("mesh", "config", "batch_size"), donate_argnames="params")


# ---- Rows over devices -----------------------------------------------------------------------------------------------


def learn_rows(
    model: gln_jax.GLN,
    inputs: Any,
    context_inputs: Any,
    targets: Any,
    batch_size: int = 1,
    devices: Sequence[Any] | None = None,
) -> jax.Array:
    """`model.predict_online`, but each device learns some of the samples, and then their weights are averaged.

    All devices start with the model's weights. Sample b is learned on device b modulo M, at the learning rate of its
    place in the stream. Give a long stream in several calls of equal length: each call averages once, and each length
    is compiled once.

    Args:
        model: a `gln_jax.GLN` that is on one device, which learns.
        inputs, context_inputs, targets, batch_size: as for `predict_online`; a batch is of samples of one device.
        devices: JAX devices, at least one. None takes all.

    Returns:
        predictions, (B,) or (C, B), each by the device that learned the sample afterwards.

    Raises:
        ValueError: an argument is out of range or of the wrong shape; the model has not changed.
    """
    if isinstance(model, ShardedGLN):
        raise ValueError(f"model: expected one that is on one device, got {model!r} of shard_heads")
    check_integer("batch_size", batch_size, 1)
    mesh = _mesh(devices, "rows")
    base, context, labels, is_vector = model.prepare(inputs, context_inputs, targets)
    count = base.shape[1]
    if targets is None or is_vector or count == 0:  # an error, or nothing to share
        return model.predict_online(inputs, context_inputs, targets, batch_size)
    dealt = np.arange(-(-count // mesh.size) * mesh.size).reshape(-1, mesh.size).T  # (M, B / M), places in the stream
    counts, places = (dealt < count).sum(axis=1), dealt.ravel()
    samples = [array[..., places.clip(max=count - 1)] for array in (base, context, labels, model.rates(count))]
    params = jax.device_put(model.params, NamedSharding(mesh, Spec()))
    weights, p = _learn_rows(mesh, model.config, min(batch_size, dealt.shape[1]), params, counts, *samples)
    weights = jax.device_put(weights, [array.sharding for array in model.params.weights])
    model.params, model.step = model.params._replace(weights=tuple(weights)), model.step + count
    p = p[:, np.argsort(places)[:count]]
    return p[0] if model.num_heads == 1 else p


@functools.partial(jax.jit, static_argnames=("mesh", "config", "batch_size"))
def _learn_rows(mesh, config, batch_size, params, counts, *samples):
    """The mean weights of devices that each learned `counts` of their samples, and predictions (C, B)."""

    def one(params, count, *samples):
        learned, p = gln_jax.run_blocks(config, batch_size, params, count[0], *samples)
        share = count[0] / lax.psum(count[0], "rows")
        return [lax.psum(share * array, "rows") for array in learned.weights], p

    everywhere, over, of_rates = Spec(), Spec(None, "rows"), Spec("rows")
    places = everywhere, of_rates, over, over, over, of_rates
    return shard_map(one, mesh=mesh, in_specs=places, out_specs=(everywhere, over))(params, counts, *samples)
