"""The heads of one network over several devices of JAX, which do not communicate.

Run it with four devices that a CPU pretends to have:

    export XLA_FLAGS=--xla_force_host_platform_device_count=4
    python examples/heads_over_devices.py
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

import gln_jax

mesh = Mesh(np.array(jax.devices()), ("heads",))
everywhere = NamedSharding(mesh, PartitionSpec())
# Weights are (n 2^k, C, d) and targets (C, B): C is a multiple of the devices.
of_weights = NamedSharding(mesh, PartitionSpec(None, "heads"))
of_targets = NamedSharding(mesh, PartitionSpec("heads"))

images, digits = load_digits(n_class=8, return_X_y=True)
images = jnp.asarray(images.T / 8 - 1, jnp.float32)  # (64, B)
targets = jnp.asarray(digits == np.arange(8)[:, None], jnp.float32)  # (8, B)

config = gln_jax.Config([16, 8], 64, 64, num_classes=8)
alone = gln_jax.init(config, jax.random.key(0))
placed = gln_jax.Params(
    jax.device_put(alone.hyperplanes, everywhere),
    jax.device_put(alone.hyperplane_bias, everywhere),
    jax.device_put(alone.weights, of_weights),
)
learn = jax.jit(functools.partial(gln_jax.learn, config))
images_placed = jax.device_put(images, everywhere)
targets_placed = jax.device_put(targets, of_targets)
arrays = images_placed, images_placed, targets_placed
learned, p = learn(placed, *arrays, step=0)

expected, on_one = learn(alone, images, images, targets, step=0)
np.testing.assert_allclose(p, on_one, atol=1e-5)
for weights, of_one in zip(learned.weights, expected.weights, strict=True):
    np.testing.assert_allclose(weights, of_one, atol=1e-4)
shards = learned.weights[0].addressable_shards
print(f"{len(shards)} devices, {shards[0].data.shape[1]} heads each")
print(f"{np.mean(p.argmax(axis=0) == digits):.3f} right while learning")
