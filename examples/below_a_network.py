"""A layer of Flax or Equinox below a network, trained by Optax.

The layer follows the gradient of the network's loss; the network learns online.
It prints the accuracy on new digits, of a trained layer and of a random one.
"""

from __future__ import annotations

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import optax

import gln_jax
from gln.mnist import load_mnist

x, y, x_test, y_test = load_mnist(deskew=False)
config = gln_jax.Config([16, 1], input_size=32, context_size=784, num_classes=10)


def train(layer, weights, rate):
    """`layer(weights, rows)` has rows of samples; the gates see the pixels."""
    gated = gln_jax.init(config, jax.random.key(0))
    optimiser = optax.adam(rate)
    state = optimiser.init(weights)

    def loss(weights, gated, rows, labels):
        z = layer(weights, rows).T  # a sample is a column
        p = gln_jax.predict(config, gated, z, rows.T).clip(1e-3, 1 - 1e-3)
        targets = jax.nn.one_hot(labels, 10, axis=0)
        losses = targets * jnp.log(p) + (1 - targets) * jnp.log(1 - p)
        return -losses.sum(axis=0).mean(), z

    @jax.jit
    def step(weights, state, gated, rows, labels, t):
        slope, z = jax.grad(loss, has_aux=True)(weights, gated, rows, labels)
        updates, state = optimiser.update(slope, state)
        weights = optax.apply_updates(weights, updates)
        gated, _ = gln_jax.learn(config, gated, z, rows.T, labels, step=t)
        return weights, state, gated

    for t in range(0, 4096, 64):
        here = slice(t, t + 64)
        weights, state, gated = step(weights, state, gated, x[here], y[here], t)
    p = gln_jax.predict(config, gated, layer(weights, x_test).T, x_test.T)
    return (p.argmax(axis=0) == y_test).mean()


def compare(name, layer, weights):
    trained, random = (train(layer, weights, rate) for rate in (0.003, 0.0))
    print(f"{name}: {trained:.3f} trained, {random:.3f} random")


dense = flax.linen.Dense(32)
compare("Flax", dense.apply, dense.init(jax.random.key(1), x[:1]))
linear = equinox.nn.Linear(784, 32, key=jax.random.key(1))
compare("Equinox", lambda layer, rows: jax.vmap(layer)(rows), linear)
