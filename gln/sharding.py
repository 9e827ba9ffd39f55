"""A GLN of JAX whose heads are spread over devices: they know nothing of one another, and so devices exchange nothing.

Letters in the shapes: B samples, C heads, C' heads filled up to a multiple of the devices, L layers, n neurons of a
layer, k halfspaces a neuron, d inputs of a neuron (bias included).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

import gln_jax
from gln.saving import arguments

try:
    shard_map = functools.partial(jax.shard_map, check_vma=False)
except AttributeError:  # before JAX 0.6
    from jax.experimental.shard_map import shard_map as experimental

    shard_map = functools.partial(experimental, check_rep=False)

__all__ = ["ShardedGLN", "shard_heads"]

OF_WEIGHTS, OF_HEADS = Spec(None, "heads", None), Spec("heads", None)  # (n 2^k, C', d) and (C', B)


def shard_heads(model: gln_jax.GLN, devices: Sequence[Any] | None = None) -> ShardedGLN:
    """A model of the same state and calls as a `gln_jax.GLN`, with a part of its heads on each device.

    Where their number is no multiple of the devices', heads that learn nothing of use fill it up. It learns on its own.

    Args:
        model: with the log-loss or the squared error; the heads of quantiles are few.
        devices: of JAX, at least one. None takes all.

    Raises:
        ValueError: a model of quantiles, or no devices.
    """
    sharded = ShardedGLN(**arguments(model), devices=devices)
    sharded.set_state(model.get_state())
    sharded.extra = dict(model.extra)
    return sharded


class ShardedGLN(gln_jax.GLN):
    """What `shard_heads` makes, and over all devices `load`. Its `params` are arrays over those of `mesh`."""

    def __init__(self, *args: Any, devices: Sequence[Any] | None = None, **arguments: Any) -> None:
        devices = jax.devices() if devices is None else list(devices)
        if not devices:
            raise ValueError("devices: expected at least one, got none")
        self.mesh = Mesh(np.array(devices), ("heads",))
        self._runs = tuple(functools.partial(run, self.mesh) for run in (_run, _run_in_place))
        super().__init__(*args, **arguments)
        if self.loss == "quantile":
            raise ValueError(f"model: expected the log-loss or the squared error, got {self!r}")

    def __copy__(self) -> ShardedGLN:
        twin = object.__new__(type(self))
        vars(twin).update(self.__getstate__())
        return twin

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.copy(self)

    def __reduce__(self) -> tuple:
        """Devices cannot be pickled: elsewhere it is spread over those that are there."""
        plain = gln_jax.GLN(**arguments(self))
        plain.set_state(self.get_state())
        plain.extra = dict(self.extra)
        return shard_heads, (plain,)

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:
        everywhere = NamedSharding(self.mesh, Spec())
        with self._lock:
            super()._load_hyperplanes(hyperplanes, hyperplane_bias)
            planes, plane_bias = (jax.device_put(array, everywhere) for array in self.params[:2])
            self.params = gln_jax.Params(planes, plane_bias, self.params.weights)

    def _load_weights(self, weights, step) -> None:  # L of (n, 2^k, C, d)
        over = NamedSharding(self.mesh, OF_WEIGHTS)
        rows = [self._filled(array.reshape(-1, *array.shape[2:]), 1) for array in weights]
        placed = tuple(jax.device_put(array, over) for array in rows)
        with self._lock:
            self.params, self.step = self.params._replace(weights=placed), step

    def _dump(self) -> tuple:
        planes, plane_bias, weights, step = super()._dump()
        return planes, plane_bias, tuple(array[:, : self.num_heads] for array in weights), step

    def _stream(self, base, context, targets, rates, batch_size) -> np.ndarray:
        targets = None if targets is None else self._filled(targets, 0)
        return super()._stream(base, context, targets, rates, batch_size)[: self.num_heads]

    def _filled(self, array: np.ndarray, axis: int) -> np.ndarray:  # C -> C' along an axis
        further = -self.num_heads % self.mesh.size
        return np.pad(array, [(0, further if i == axis else 0) for i in range(array.ndim)])


@functools.partial(jax.jit, static_argnames=("mesh", "config", "batch_size"))
def _run(mesh, config, params, count, batch_size, *samples):
    """As `gln_jax._run`, each device with its own heads."""
    learns, everywhere, of_weights = len(samples) > 2, Spec(), (OF_WEIGHTS,) * len(params.weights)
    of_params: Any = params._replace(hyperplanes=everywhere, hyperplane_bias=everywhere, weights=of_weights)
    of_samples = (Spec(), Spec(), OF_HEADS, Spec())[: len(samples)]
    one = functools.partial(gln_jax._run_one, config, batch_size or samples[0].shape[1])
    outs = (of_params if learns else None, OF_HEADS)
    return shard_map(one, mesh=mesh, in_specs=(of_params, Spec(), *of_samples), out_specs=outs)(params, count, *samples)


_run_in_place = jax.jit(_run, static_argnames=("mesh", "config", "batch_size"), donate_argnames="params")
