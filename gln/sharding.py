"""A JAX GLN whose heads are sharded over devices. Heads are independent, so the devices need not communicate.

Shapes: B samples, C heads, C' heads padded to a multiple of the devices, L layers, n neurons per layer, k halfspaces
per neuron, d inputs per neuron (bias included).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

import gln_jax
from gln.engine.networks.protocol import arguments

try:
    shard_map = functools.partial(jax.shard_map, check_vma=False)
except AttributeError:  # before JAX 0.6
    from jax.experimental.shard_map import shard_map as experimental

    shard_map = functools.partial(experimental, check_rep=False)

__all__ = ["ShardedGLN", "shard_heads"]

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
        devices = jax.devices() if devices is None else list(devices)
        if not devices:
            raise ValueError("devices: expected at least one, got none")
        self.mesh = Mesh(np.array(devices), ("heads",))
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
