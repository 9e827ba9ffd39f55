"""Specific to JAX: pure functions on a pytree under `jit`, `vmap`, `scan` and sharding, and what is compiled."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from helpers import ROOT, assert_same_state, run_python
from reference import clear_of_hyperplanes

import gln_numpy

gln_jax = load_backend("jax")

import jax  # noqa: E402 - after skipping without JAX
import jax.numpy as jnp  # noqa: E402

SEEDS = (1, 2)


def network(module: Any, seed: int = 1, layer_sizes: Sequence[int] = (6,)) -> Any:
    """Of one layer, because JAX compiles each for half a second."""
    return module.GLN(layer_sizes, 196, 196, num_classes=10, context_map_size=3, seed=seed)


@pytest.fixture(scope="module")
def stream(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Every fourth pixel of 60 digits, (196, 60), clear of the hyperplanes of all seeds, and their labels."""
    images, labels = np.ascontiguousarray(digits[0][::4, :500]), digits[1][:500]
    keep = np.logical_and.reduce([clear_of_hyperplanes(network(gln_numpy, seed, [6, 3]), images) for seed in SEEDS])
    return images[:, keep][:, :60], labels[keep][:60]


@pytest.fixture(scope="module")
def config() -> Any:
    return network(gln_jax).config


@pytest.fixture
def params() -> Any:
    return network(gln_jax).params


def arguments(stream: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The arguments of the pure functions as NumPy arrays: base, context, targets, rates."""
    images, labels = stream
    rates = [gln_jax.decaying_rate(t) for t in range(len(labels))]
    return images, images, labels == np.arange(10)[:, None], np.array(rates)


def assert_params(params: Any, model: Any) -> None:
    """Assert that `params` are those of a NumPy model."""
    state = model.get_state()
    for layer, weights in enumerate(params.weights, start=1):
        expected = state[f"weights.{layer}"]
        assert weights.dtype == jnp.float32
        np.testing.assert_allclose(np.reshape(weights, expected.shape), expected, rtol=1e-3, atol=1e-4)


def assert_close(output: Any, expected: np.ndarray) -> None:
    assert output.dtype == jnp.float32
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)


# ---- The pure functions ----------------------------------------------------------------------------------------------


def as_they_are(function: Any) -> Any:
    return function


@pytest.mark.parametrize("compiled", [as_they_are, jax.jit])
def test_learn_and_predict(stream, config, params, compiled):
    reference = network(gln_numpy)
    predict = compiled(functools.partial(gln_jax.predict, config))
    before = predict(params, *arguments(stream)[:2])
    assert_close(before, reference.predict(stream[0], stream[0]))
    learned, p = compiled(functools.partial(gln_jax.learn, config))(params, *arguments(stream))
    assert_close(p, reference.predict_online(stream[0], stream[0], stream[1]))
    assert_params(learned, reference)
    # Nothing was donated here: the earlier parameters are unchanged, and predict the same.
    np.testing.assert_array_equal(predict(params, *arguments(stream)[:2]), before)
    assert_close(predict(learned, *arguments(stream)[:2]), reference.predict(stream[0], stream[0]))


@pytest.mark.parametrize("count", [50, pytest.param(61, marks=pytest.mark.slow), 0])
def test_samples_after_count_are_ignored(stream, config, params, count):
    reference = network(gln_numpy)
    params, p = gln_jax.learn(config, params, *arguments(stream), count=count)
    assert p.shape == (10, 60)
    images, labels = stream[0][:, :count], stream[1][:count]
    assert_close(p[:, :count], reference.predict_online(images, images, labels))
    assert_params(params, reference)


@pytest.mark.parametrize("compiled", [as_they_are, pytest.param(jax.jit, marks=pytest.mark.slow)])
def test_class_numbers_and_the_default_rates(stream, config, params, compiled):
    """In two calls, of which the second goes on with the rates of the first."""
    reference = network(gln_numpy)
    expected = reference.predict_online(stream[0], stream[0], stream[1])
    learn = compiled(functools.partial(gln_jax.learn, config))
    outputs = []
    for start in (0, 30):
        images, labels = stream[0][:, start : start + 30], stream[1][start : start + 30]
        params, p = learn(params, images, images, labels, step=start)
        outputs.append(p)
    assert_close(jnp.concatenate(outputs, axis=1), expected)
    assert_params(params, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"num_classes": 2},
        {"normalize": False},
        {"loss": "squared_error"},
        {"loss": "quantile", "quantiles": (0.1, 0.9)},
        {"loss": "squared_error", "num_outputs": 2, "value_clipping": 0.5},
    ],
    ids=str,
)
def test_targets_and_default_rates_of_each_loss_are_those_of_the_class(kind):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 12)).astype(np.float32), rng.integers(0, 2, (kind.get("num_outputs", 1), 12))
    y = y if len(y) > 1 else y[0]
    reference = gln_numpy.GLN([3, 1], 4, 4, seed=0, **kind)
    model = gln_jax.GLN([3, 1], 4, 4, seed=0, **kind)
    reference.set_state({**reference.get_state(), "step": np.int64(7000)})
    params, p = gln_jax.learn(model.config, model.params, x, x, y, step=7000)
    assert_close(p, np.atleast_2d(reference.predict_online(x, x, y)))
    assert_params(params, reference)


def test_bad_rates_and_class_numbers(config, params):
    for arguments, message in (
        ({}, "rates: expected either learning rates or `step`, got neither"),
        ({"rates": 1.0, "step": 0}, "rates: expected either learning rates or `step`, got both"),
        ({"rates": -1.0}, "rates: expected numbers from 0 to "),
    ):
        with pytest.raises(ValueError, match=message):
            gln_jax.learn(config, params, BASE, BASE, TARGETS, **arguments)
    for labels in (np.arange(5) + 6, np.arange(5) / 2, np.full(5, np.nan)):
        with pytest.raises(ValueError, match=r"^targets: expected "):
            gln_jax.learn(config, params, BASE, BASE, labels, 1.0)


def test_init_draws_the_distribution_of_a_new_network():
    """Held to what is promised: unit normals of 1 to m values, each number as often, offsets, and weights 1 / d."""
    config = gln_jax.Config([300, 100], 12, 12, num_classes=3, context_bias=0.5, context_features=3)
    params = jax.jit(functools.partial(gln_jax.init, config))(jax.random.key(0))
    planes, offsets, weights = params
    np.testing.assert_allclose(np.linalg.norm(planes, axis=-1), 1, atol=1e-5)
    counts = np.bincount((np.asarray(planes) != 0).sum(axis=-1).ravel()) / offsets.size
    np.testing.assert_allclose(counts, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.05)
    np.testing.assert_allclose((np.asarray(planes) != 0).mean(axis=(0, 1)), 2 / 12, atol=0.05)
    assert abs(float(planes.sum())) < 200
    assert abs(float(offsets.std()) - 0.5) < 0.03
    assert [array.shape for array in weights] == [(4800, 3, 13), (1600, 3, 301)]
    assert [float(array[0, 0, 0] * array.shape[2]) for array in weights] == pytest.approx([1, 1])
    assert all(array.dtype == np.float32 for array in jax.tree.leaves(params))
    other = gln_jax.init(config, jax.random.key(1))
    assert not np.array_equal(planes, other.hyperplanes)


MIXTURES = {
    "networks": (True, False, False),
    "streams": (False, True, False),
    "networks, each with its stream": (True, True, False),
    "rates": (False, False, True),
}


TOGETHER = "networks, each with its stream"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiled", "mixture"),
    [
        (jax.jit, TOGETHER),
        pytest.param(as_they_are, TOGETHER, marks=pytest.mark.slow),
        *(pytest.param(jax.jit, name, marks=pytest.mark.slow) for name in MIXTURES if name != TOGETHER),
    ],
)
def test_vmap_of_learn_gives_what_single_calls_give(stream, config, mixture, compiled):
    first = network(gln_jax, SEEDS[0]).params, arguments(stream)[:3], arguments(stream)[3]
    second = network(gln_jax, SEEDS[1]).params, tuple(array[:, ::-1] for array in first[1]), first[2] / 2
    pairs = list(zip(MIXTURES[mixture], first, second, strict=True))
    stacked = [jax.tree.map(lambda *two: jnp.stack(two), a, b) if mapped else a for mapped, a, b in pairs]

    def learn(params: Any, arrays: Any, rates: Any) -> Any:
        return gln_jax.learn(config, params, *arrays, rates, count=50)

    together = jax.vmap(learn, in_axes=[0 if mapped else None for mapped, _, _ in pairs])
    output = compiled(together)(*stacked)
    for i in range(2):
        expected = learn(*[(b if mapped and i else a) for mapped, a, b in pairs])
        jax.tree.map(lambda many, one, i=i: np.testing.assert_allclose(many[i], one, atol=1e-6), output, expected)


@pytest.mark.slow
def test_one_sample(stream, config, params):
    """A single sample has no sample axis, also under `jit` and `vmap`, and gets the same predictions as in a batch."""
    arrays = arguments(stream)
    expected = gln_jax.predict(config, params, *arrays[:2])
    predict = jax.jit(functools.partial(gln_jax.predict, config))
    output = predict(params, arrays[0][:, 3], arrays[1][:, 3])
    assert_close(output, expected[:, 3])
    mapped = jax.vmap(predict, in_axes=(None, 1, 1), out_axes=1)(params, *arrays[:2])
    np.testing.assert_allclose(mapped, expected, rtol=0, atol=1e-5)
    learned, p = gln_jax.learn(config, params, *[array[..., 3] for array in arrays])
    batch, of_batch = gln_jax.learn(config, params, *[array[..., 3:4] for array in arrays])
    np.testing.assert_array_equal(p, of_batch[:, 0])
    jax.tree.map(np.testing.assert_array_equal, learned, batch)


@pytest.mark.slow
def test_gradients_of_samples_and_networks_that_vmap_maps(stream, config):
    images = stream[0][:, :5]
    params = [network(gln_jax, seed).params for seed in SEEDS]
    together = jax.tree.map(lambda *arrays: jnp.stack(arrays), *params)
    slope = jax.grad(lambda images, params, context: gln_jax.predict(config, params, images, context).sum())
    of_networks = jax.jit(jax.vmap(slope, in_axes=(None, 0, None)))(images, together, images)
    for i, each in enumerate(params):
        expected = slope(images, each, images)
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(of_networks[i], expected, atol=1e-6)
        of_samples = jax.vmap(slope, in_axes=(1, None, 1), out_axes=1)(images, each, images)
        np.testing.assert_allclose(of_samples, expected, atol=1e-6)


@pytest.mark.slow
def test_more_rows_than_one_integer_can_sort():
    """Rows and samples are sorted as two numbers if their product exceeds int32."""
    reference, model = (
        module.GLN([1], 1, 1, context_map_size=21, context_bias=0.5, seed=0) for module in (gln_numpy, gln_jax)
    )
    x = np.random.default_rng(0).normal(size=(1, 1030)).astype(np.float32)
    expected, output = (np.asarray(each.predict(x, x, x[0] > 0)) for each in (reference, model))
    np.testing.assert_allclose(output, expected, atol=1e-5)
    assert_same_state(model, reference, rtol=1e-6, atol=1e-5)


def test_scan(stream, config, params):
    reference, batch_size = network(gln_numpy), 4
    base, context, targets, _ = arguments(stream)

    def step(carry, batch):
        params, t = carry
        params, p = gln_jax.learn(config, params, *batch, step=t)
        return (params, t + batch_size), p

    # (values, samples) -> (batches, values, batch_size)
    batches = [array.reshape(len(array), -1, batch_size).swapaxes(0, 1) for array in (base, context, targets)]
    (params, t), p = jax.jit(lambda params: jax.lax.scan(step, (params, 0), batches))(params)
    assert t == len(stream[1])
    assert_close(p.swapaxes(0, 1).reshape(10, -1), reference.predict_online(*stream[:1] * 2, stream[1]))
    assert_params(params, reference)


BASE, TARGETS, RATES = np.zeros((196, 5)), np.zeros((10, 5)), np.ones(5)
BAD_SHAPES = {
    "base of other inputs": ("base", (BASE[1:], BASE, TARGETS, RATES)),
    "base of two axes of samples": ("base", (BASE[..., None], BASE, TARGETS, RATES)),
    "context of a batch": ("context", (BASE[:, 0], BASE, TARGETS, RATES)),
    "base of no sample": ("samples of base", (BASE[:, :0], BASE[:, :0], TARGETS[:, :0], RATES[:0])),
    "context of other values": ("context", (BASE, BASE[1:], TARGETS, RATES)),
    "context of fewer samples": ("context", (BASE, BASE[:, 1:], TARGETS, RATES)),
    "class numbers of fewer samples": ("targets", (BASE, BASE, TARGETS[0, 1:], RATES)),
    "targets of one head": ("targets", (BASE, BASE, TARGETS[:1], RATES)),
    "targets of one sample": ("targets", (BASE, BASE, TARGETS[:, :1], RATES)),
    "rates of fewer samples": ("rates", (BASE, BASE, TARGETS, RATES[1:])),
    "rates with heads": ("rates", (BASE, BASE, TARGETS, RATES[None])),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
@pytest.mark.parametrize("traced", [True, False])
def test_bad_shapes(config, params, case, traced):
    name, arrays = BAD_SHAPES[case]
    function = functools.partial(gln_jax.learn, config)
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        jax.eval_shape(function, params, *arrays) if traced else function(params, *arrays)
    if name not in ("targets", "rates"):
        with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
            gln_jax.predict(config, params, *arrays[:2])


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4), ids=["base", "context", "targets", "rates"])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_bad_values(config, params, place, value, kind):
    arrays = [BASE, BASE, TARGETS, RATES]
    arrays[place] = arrays[place].copy()
    arrays[place].flat[2] = value
    name = ("base", "context", "targets", "rates")[place]
    if name == "targets" and np.isnan(value):  # unknown for one of several heads, which is allowed
        assert np.isfinite(gln_jax.learn(config, params, *map(kind, arrays))[1]).all()
        return
    expected = "finite numbers" if np.isnan(value) else "numbers .*"
    with pytest.raises(ValueError, match=rf"^{name}: expected {expected}, got "):
        gln_jax.learn(config, params, *map(kind, arrays))


def test_a_batch_may_have_one_rate(config, params):
    base, targets = np.random.default_rng(0).random((196, 5)), TARGETS + 0.5
    expected, p = gln_jax.learn(config, params, base, base, targets, 2 * RATES)

    def step(params, rate):
        return gln_jax.learn(config, params, base, base, targets, rate)

    learned, seen = jax.lax.scan(step, params, jnp.array([2.0]))
    np.testing.assert_allclose(seen[0], p, atol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), learned, expected)


@pytest.mark.parametrize("trace", [jax.jit, jax.vmap, lambda call: jax.grad(lambda *arrays: call(*arrays).sum())])
def test_a_traced_method_names_the_pure_functions(trace):
    model = gln_jax.GLN([3], 4, 4, seed=0)
    with pytest.raises(ValueError, match=r"^inputs: .*only trace the pure functions gln_jax\.predict and learn"):
        trace(model.predict)(jnp.ones((4, 4)), jnp.ones((4, 4)))


def test_parameters_that_a_network_has_replaced_are_named(stream):
    images, labels = stream
    model = gln_jax.GLN([2], 196, 196, num_classes=10, seed=0)
    before = model.params
    model.predict(images[:, :4], images[:, :4], labels[:4])
    with pytest.raises(ValueError, match=r"^params: expected arrays that exist, got deleted ones, as after the GLN "):
        gln_jax.predict(model.config, before, images[:, :4], images[:, :4])


# ---- Devices and numbers ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_import_does_nothing_and_seeds_are_shared_out():
    """In a separate process with two devices, which are not available before the import, so it cannot use one."""
    code = """
import functools
import jax, jax.numpy as jnp, numpy as np
before = dict(jax.config.values)
import gln_jax
assert dict(jax.config.values) == before
jax.config.update("jax_platforms", "cpu")
from jax.sharding import Mesh, NamedSharding, PartitionSpec
assert len(jax.devices()) == 2
models = [gln_jax.GLN([4, 1], 5, 5, seed=seed, learning_rate=1.0) for seed in range(4)]
params = jax.tree.map(lambda *arrays: jnp.stack(arrays), *[model.params for model in models])
params = jax.device_put(params, NamedSharding(Mesh(jax.devices(), "seed"), PartitionSpec("seed")))
x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
y, rates = np.arange(8, dtype=np.float32)[None] % 2, np.ones(8, np.float32)
learn = jax.vmap(functools.partial(gln_jax.learn, models[0].config), in_axes=(0, None, None, None, None))
params, p = jax.jit(learn)(params, x, x, y, rates)
assert len(params.weights[0].sharding.device_set) == 2
for model, output in zip(models, p):
    np.testing.assert_allclose(output[0], model.predict_online(x, x, y[0]), rtol=0, atol=1e-5)
"""
    flags = "--xla_force_host_platform_device_count=2"
    run_python(code, JAX_PLATFORMS="none_such", XLA_FLAGS=flags)


@pytest.fixture
def x64() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "kind",
    [
        {"num_classes": 3},
        pytest.param({"loss": "quantile", "quantiles": (0.1, 0.9)}, marks=pytest.mark.slow),
        pytest.param({"loss": "variance"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_float32_with_x64_on(kind):
    assert jnp.zeros(1).dtype == np.float64
    models = [module.GLN([4], 5, 5, seed=0, **kind) for module in (gln_numpy, gln_jax)]
    x, y = np.random.default_rng(0).normal(size=(5, 21)), np.arange(21) % 3
    for call in (lambda m: m.predict_online(x, x, y, 4), lambda m: m.predict(x, x)):
        expected, output = map(call, models)
        assert_close(output, expected)
    state = models[1].get_state()
    assert all(array.dtype == (np.int64 if name == "step" else np.float32) for name, array in state.items())
    assert all(array.dtype == np.float32 for array in jax.tree.leaves(models[1].params))


@pytest.mark.slow
def test_bfloat16_is_read_as_it_is(stream):
    images, labels = (jnp.asarray(array, jnp.bfloat16) for array in stream)
    models = [network(gln_jax) for _ in range(2)]
    output = models[0].predict(images, images, labels)
    expected = models[1].predict(*[np.asarray(array, np.float32) for array in (images, images, labels)])
    np.testing.assert_array_equal(output, expected)


@pytest.mark.slow
def test_step_beyond_int32(stream):
    images, labels = stream
    model = network(gln_jax)
    model.set_state({**model.get_state(), "step": np.int64(2**40)})
    model.predict_online(images, images, labels)
    assert model.get_state()["step"] == 2**40 + 60


# ---- The class -------------------------------------------------------------------------------------------------------


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_learn_on_their_own(stream, copied):
    images, labels = stream
    model = network(gln_jax)
    model.extra = {"mean": np.ones(3)}
    model.predict_online(images, images, labels)
    twin = copied(model)
    state = twin.get_state()
    output = model.predict_online(images, images, labels)
    model.set_learning_rate(0.5)
    model.extra["more"] = np.zeros(1)
    jax.tree.map(np.testing.assert_array_equal, twin.get_state(), state)
    assert list(twin.extra) == ["mean"]
    assert twin.learning_rate(9000) == 5
    np.testing.assert_array_equal(twin.predict_online(images, images, labels), output)
    jax.tree.map(np.testing.assert_array_equal, twin.get_state(), model.get_state())


def test_weights_are_changed_in_place(stream):
    """Learning makes no second copy of the weights, and earlier results of `get_state` do not change."""
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


READS = {
    "predict": lambda model, x: model.predict(x, x),
    "get_state": lambda model, x: model.get_state(),
    "explain": lambda model, x: model.explain(x[:, 0], x[:, 0]),
    "copy": lambda model, x: copy.copy(model).get_state(),
    "pickle": lambda model, x: pickled(model).get_state(),
}


@pytest.mark.slow
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_no_thread_reads_donated_arrays(stream, monkeypatch, read):
    """A thread that reads after the old arrays were donated and before the new ones are set gets the new ones."""
    images, labels = stream
    model, found = network(gln_jax), []

    def run() -> None:
        try:
            found.append(read(model, images))
        except (RuntimeError, ValueError) as error:
            found.append(error)

    learn = gln_jax._run_in_place
    thread = threading.Thread(target=run)

    def learn_slowly(*arguments: Any) -> Any:
        learned = learn(*arguments)
        thread.start()
        thread.join(0.3)
        return learned

    monkeypatch.setattr(gln_jax, "_run_in_place", learn_slowly)
    model.predict(images, images, labels)
    thread.join()
    jax.tree.map(np.testing.assert_array_equal, found[0], read(model, images))


def test_predict_takes_blocks(stream, monkeypatch):
    """The memory of a prediction does not grow with the number of samples, and only one size is compiled."""
    images, seen = stream[0], []
    run = gln_jax._run

    def watched(config, count, params, base, context):
        seen.append((count, base.shape[1]))
        return run(config, count, params, base, context)

    monkeypatch.setattr(gln_jax, "_run", watched)
    monkeypatch.setattr(gln_jax, "BLOCK_SAMPLES", 16)
    assert_close(network(gln_jax).predict(images, images), network(gln_numpy).predict(images, images))
    assert seen == [(16, 16), (16, 16), (16, 16), (12, 16)]


@pytest.mark.slow
def test_compilations(monkeypatch, stream):
    """Only one block for streams and power-of-two batches are compiled; models of the same shape share them."""
    traces: list[tuple[Any, ...]] = []
    mix = gln_jax.mix

    def traced(*args: Any) -> Any:  # Python runs only while JAX compiles
        traces.append(args)
        return mix(*args)

    monkeypatch.setattr(gln_jax, "mix", traced)
    monkeypatch.setattr(gln_jax, "BLOCK_SAMPLES", 24)

    def compiled(call: str, count: int, learns: bool = True) -> int:
        images, labels = stream[0][:100, :count], stream[1][:count]  # a shape that no other test compiles
        model = gln_jax.GLN([2], 100, 100, num_classes=10)
        traces.clear()
        getattr(model, call)(images, images, *([labels] if learns else []))
        return len(traces)

    assert compiled("predict_online", 30) > 0
    assert [compiled("predict_online", count) for count in (25, 47, 48, 60)] == [0, 0, 0, 0]
    for learns in (False, True):
        assert compiled("predict", 16, learns) > 0
        assert [compiled("predict", count, learns) for count in (9, 12, 15, 16)] == [0, 0, 0, 0]
    assert compiled("predict", 30, learns=False) > 0
    assert [compiled("predict", count) for count in (25, 47, 60)] == [0, 0, 0]


# ---- Heads over devices ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_heads_over_devices_learn_what_they_learn_on_one():
    """The example compares them itself."""
    code = (ROOT / "examples" / "heads_over_devices.py").read_text(encoding="utf-8")
    code += "hlo = learn.lower(placed, *arrays, step=0).compile().as_text()\n"
    code += "print(sum(hlo.count(word) for word in ('all-reduce', 'all-gather', 'all-to-all', 'permute(')))\n"
    printed = run_python(code, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    assert printed.splitlines()[0] == "4 devices, 2 heads each"
    assert printed.splitlines()[-1] == "0"  # communications


@pytest.mark.slow
def test_a_layer_below_a_network_is_trained_by_optax_in_flax_and_equinox():
    for package in ("optax", "flax", "equinox"):
        pytest.importorskip(package)
    lines = run_python((ROOT / "examples" / "below_a_network.py").read_text(encoding="utf-8")).splitlines()
    assert [line.split(":")[0] for line in lines] == ["Flax", "Equinox"]
    for line in lines:
        trained, random = map(float, re.findall(r"0\.\d+", line))
        assert trained > random + 0.02
        assert trained > 0.8
