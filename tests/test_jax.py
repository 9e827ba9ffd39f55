"""What is special to JAX: pure functions on a pytree under `jit`, `vmap`, `scan` and sharding, and what is compiled."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from reference import clear_of_hyperplanes

import gln_numpy

gln_jax = load_backend("jax")

import jax  # noqa: E402 - only where JAX is there, or must be
import jax.numpy as jnp  # noqa: E402

ROOT = Path(__file__).parents[1]
SEEDS = (1, 2, 3)


def network(module: Any, seed: int = 1, num_classes: int = 10, layer_sizes: tuple[int, ...] = (6, 3)) -> Any:
    return module.GLN(layer_sizes, 196, 196, num_classes=num_classes, context_map_size=3, seed=seed)


@pytest.fixture(scope="module")
def stream(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """60 digits of every fourth pixel, (196, 60), clear of the hyperplanes of all seeds, and their labels."""
    images, labels = np.ascontiguousarray(digits[0][::4, :500]), digits[1][:500]
    keep = np.logical_and.reduce([clear_of_hyperplanes(network(gln_numpy, seed), images) for seed in SEEDS])
    return images[:, keep][:, :60], labels[keep][:60]


def arguments(stream: tuple[np.ndarray, np.ndarray], step: int = 0) -> tuple[np.ndarray, ...]:
    """base, context, targets, rates: what the pure functions take."""
    images, labels = stream
    targets = (labels == np.arange(10)[:, None]).astype(np.float32)  # (C, B)
    rates = [gln_jax.decaying_rate(t) for t in range(step, step + len(labels))]
    return images, images, targets, np.array(rates, np.float32)


def assert_params(params: Any, model: Any) -> None:
    """`params` hold what the NumPy model holds."""
    state = model.get_state()
    for layer, weights in enumerate(params.weights, start=1):
        expected = state[f"weights.{layer}"]
        assert weights.dtype == jnp.float32
        np.testing.assert_allclose(np.reshape(weights, expected.shape), expected, rtol=1e-3, atol=1e-4)


def assert_close(output: Any, expected: np.ndarray) -> None:
    assert output.dtype == jnp.float32
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)


def python(code: str, **environment: str) -> None:
    """Run `code` in a process of its own; what it asserts, this test asserts."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environ = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_jit(stream):
    reference, model = network(gln_numpy), network(gln_jax)
    predict = jax.jit(functools.partial(gln_jax.predict, model.settings))
    learn = jax.jit(functools.partial(gln_jax.learn, model.settings))
    params, p = learn(model.params, *arguments(stream))
    assert_close(p, reference.predict(stream[0], stream[0], stream[1]))
    assert_params(params, reference)
    # Nothing was donated here: the parameters from before are as they were, and predict the same.
    np.testing.assert_array_equal(predict(model.params, *arguments(stream)[:2]), p)
    assert_close(predict(params, *arguments(stream)[:2]), reference.predict(stream[0], stream[0]))


def test_vmap_over_seeds(stream):
    models = [network(gln_jax, seed) for seed in SEEDS]
    params = jax.tree.map(lambda *arrays: jnp.stack(arrays), *[model.params for model in models])
    learn = functools.partial(gln_jax.learn, models[0].settings)
    params, p = jax.jit(jax.vmap(learn, in_axes=(0, None, None, None, None)))(params, *arguments(stream))
    predict = functools.partial(gln_jax.predict, models[0].settings)
    after = jax.jit(jax.vmap(predict, in_axes=(0, None, None)))(params, *arguments(stream)[:2])
    for i, seed in enumerate(SEEDS):
        reference = network(gln_numpy, seed)
        assert_close(p[i], reference.predict(stream[0], stream[0], stream[1]))
        assert_params(jax.tree.map(lambda array, i=i: array[i], params), reference)
        assert_close(after[i], reference.predict(stream[0], stream[0]))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_scan(stream, batch_size):
    reference, model = network(gln_numpy), network(gln_jax)
    base, context, targets, _ = arguments(stream)

    def step(carry, batch):
        params, t = carry
        base, context, targets = batch
        rates = 10 / jnp.sqrt(1 + (t + jnp.arange(batch_size)) / 3000)  # the default, in JAX
        params, p = gln_jax.learn(model.settings, params, base, context, targets, rates)
        return (params, t + batch_size), p

    # (values, samples) -> (batches, values, batch_size)
    batches = [array.reshape(len(array), -1, batch_size).swapaxes(0, 1) for array in (base, context, targets)]
    (params, t), p = jax.jit(lambda params: jax.lax.scan(step, (params, 0), batches))(model.params)
    assert t == len(stream[1])
    assert_close(p.swapaxes(0, 1).reshape(10, -1), reference.predict_online(*stream[:1] * 2, stream[1], batch_size))
    assert_params(params, reference)


@pytest.mark.parametrize(("batch_size", "count"), [(1, None), (4, None), (4, 50), (1, 0)])
def test_learn_online(stream, batch_size, count):
    """One loop over the batches; samples after `count` are not there."""
    reference, model = network(gln_numpy), network(gln_jax)
    learn_online = jax.jit(functools.partial(gln_jax.learn_online, model.settings, batch_size=batch_size))
    params, p = learn_online(model.params, *arguments(stream), count=count)
    images, labels = stream[0][:, :count], stream[1][:count]
    assert_close(p[:, :count], reference.predict_online(images, images, labels, batch_size))
    assert_params(params, reference)


def test_sharding_of_seeds():
    python(
        """
import functools, jax, jax.numpy as jnp, numpy as np, gln_jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
assert len(jax.devices()) == 2
models = [gln_jax.GLN([4, 1], 5, 5, seed=seed) for seed in range(4)]
params = jax.tree.map(lambda *arrays: jnp.stack(arrays), *[model.params for model in models])
params = jax.device_put(params, NamedSharding(Mesh(jax.devices(), "seed"), PartitionSpec("seed")))
x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
y, rates = np.arange(8, dtype=np.float32)[None] % 2, np.ones(8, np.float32)
learn = jax.vmap(functools.partial(gln_jax.learn, models[0].settings), in_axes=(0, None, None, None, None))
params, p = jax.jit(learn)(params, x, x, y, rates)
assert len(params.weights[0].sharding.device_set) == 2
for model, output in zip(models, p):
    model.set_learning_rate(1.0)
    np.testing.assert_allclose(output[0], model.predict(x, x, y[0]), rtol=0, atol=1e-5)
""",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )


def test_float32_with_x64_on():
    python(
        """
import jax, numpy as np, gln_jax, gln_numpy
assert jax.numpy.zeros(1).dtype == np.float64
models = [module.GLN([4, 3, 1], 5, 5, num_classes=3, seed=0) for module in (gln_numpy, gln_jax)]
x, y = np.random.default_rng(0).normal(size=(5, 21)), np.arange(21) % 3
for learn in (lambda m: m.predict(x, x, y), lambda m: m.predict_online(x, x, y), lambda m: m.predict_online(x, x, y, 4),
              lambda m: m.predict(x, x), lambda m: m.predict(x[:, 0], x[:, 0], 1)):
    expected, output = map(learn, models)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)
state = models[1].get_state()
assert all(array.dtype == (np.int64 if name == "step" else np.float32) for name, array in state.items())
assert all(array.dtype == np.float32 for array in jax.tree.leaves(models[1].params))
""",
        JAX_ENABLE_X64="1",
    )


def test_import_defines_and_does_nothing_else():
    # Whatever needs a device fails where there is no platform of that name.
    python(
        """
import jax
before = dict(jax.config.values)
import gln_jax
assert dict(jax.config.values) == before
""",
        JAX_PLATFORMS="none_such",
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_learn_on_their_own(stream, copied):
    images, labels = stream
    model = network(gln_jax)
    model.predict_online(images, images, labels)
    twin = copied(model)
    state = twin.get_state()
    output = model.predict(images, images, labels)
    jax.tree.map(np.testing.assert_array_equal, twin.get_state(), state)
    np.testing.assert_array_equal(twin.predict(images, images, labels), output)
    jax.tree.map(np.testing.assert_array_equal, twin.get_state(), model.get_state())


def test_weights_are_changed_in_place(stream):
    """Learning takes no second copy of the weights, and what `get_state` gave before stays as it was."""
    images, labels = stream
    model = network(gln_jax)
    model.predict(images, images, labels)
    state = model.get_state()
    kept = copy.deepcopy(state)
    before = [weights.unsafe_buffer_pointer() for weights in model.params.weights]
    model.predict(images, images, labels)
    model.predict_online(images, images, labels)
    assert [weights.unsafe_buffer_pointer() for weights in model.params.weights] == before
    jax.tree.map(np.testing.assert_array_equal, state, kept)


def test_bfloat16_is_read_as_it_is(stream):
    images, labels = jnp.asarray(stream[0], jnp.bfloat16), jnp.asarray(stream[1] % 2, jnp.bfloat16)
    models = [network(gln_jax, num_classes=2) for _ in range(2)]
    output = models[0].predict(images, images, labels)
    expected = models[1].predict(*[np.asarray(array, np.float32) for array in (images, images, labels)])
    np.testing.assert_array_equal(output, expected)


def test_step_beyond_int32(stream):
    images, labels = stream
    model = network(gln_jax)
    model.set_state({**model.get_state(), "step": np.int64(2**40)})
    model.predict_online(images, images, labels)
    assert model.get_state()["step"] == 2**40 + 60


def test_compilations(monkeypatch, stream):
    """Compiled are one block for streams, and batches of sizes that are powers of two; models of a shape share them."""
    traces: list[tuple[Any, ...]] = []
    mix = gln_jax.mix

    def traced(*args: Any) -> Any:  # Python runs only while JAX compiles
        traces.append(args)
        return mix(*args)

    monkeypatch.setattr(gln_jax, "mix", traced)
    images, labels = (np.tile(array, 20) for array in stream)  # 1,200 digits

    def compiled(call: str, count: int, batch_size: int | None = None) -> int:
        model = network(gln_jax, layer_sizes=(5, 2))
        more = () if batch_size is None else (batch_size,)
        traces.clear()
        getattr(model, call)(images[:, :count], images[:, :count], labels[:count], *more)
        return len(traces)

    for batch_size in (1, 8):
        assert compiled("predict_online", 600, batch_size) > 0
        assert [compiled("predict_online", count, batch_size) for count in (513, 1000, 1024, 1199)] == [0, 0, 0, 0]
    assert compiled("predict", 64) > 0
    assert [compiled("predict", count) for count in (33, 50, 63, 64)] == [0, 0, 0, 0]
