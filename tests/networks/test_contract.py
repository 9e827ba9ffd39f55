"""The contract of every backend: each test here runs on all of them.

TensorFlow and JAX compile for about a second for each kind of network and each batch size. They pad batches to 8, or to
a power of two, so batches here have up to eight samples, tests share the networks of `small` and `on_digits`, and if
two networks are compared, one is NumPy's whenever possible.
"""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state, to_numpy
from reference import SlowGLN, clear_of_hyperplanes, fitted_halfspaces

import gln_numpy
from gln.features import Standardizer

PIXELS = 784


def targets_of(model: Any, labels: np.ndarray) -> np.ndarray:
    return labels if model.config.num_heads > 1 else labels == 3


def clear_digits(model: Any, digits: tuple[np.ndarray, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` digits that rounding cannot move across a hyperplane, (784, count), and their targets."""
    images, labels = digits
    keep = np.flatnonzero(clear_of_hyperplanes(model, images[:, : 2 * count]))[:count]
    assert len(keep) == count
    return images[:, keep], targets_of(model, labels[keep])


def small(backend: Any, **arguments: Any) -> Any:
    """A network that is fast, and whose sizes all differ."""
    return backend.GLN(**{"layer_sizes": [3, 2], "input_size": 5, "context_size": 4, "seed": 1, **arguments})


def on_digits(backend: Any, num_classes: int) -> Any:
    layer_sizes = [4, 1] if num_classes == 2 else [3]
    return backend.GLN(layer_sizes, PIXELS, PIXELS, num_classes=num_classes, context_map_size=2, seed=0)


def small_batch(count: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(5, count)), rng.normal(size=(4, count)), rng.integers(0, 2, count)


# ---- Values ----------------------------------------------------------------------------------------------------------


# All pairs of values of these options occur; with the slow tests, all triples.
OPTIONS = ("bias", "normalize", "halfspaces", "num_classes")
COMBINATIONS = [
    (False, False, 0, 2),
    (False, True, 3, 10),
    (True, False, 3, 10),
    (True, True, 0, 10),
    (True, True, 3, 2),
]
MORE = [(False, False, 0, 10), (False, False, 3, 2), (False, True, 0, 2), (True, False, 0, 2)]


@pytest.mark.compiles("False-False-0-2")
@pytest.mark.parametrize(OPTIONS, COMBINATIONS + [pytest.param(*more, marks=pytest.mark.slow) for more in MORE])
def test_values_are_those_of_the_plain_loops(backend, digits, bias, normalize, halfspaces, num_classes):
    model = backend.GLN(
        [3, 2] if halfspaces else [3],
        PIXELS,
        PIXELS,
        num_classes=num_classes,
        bias=bias,
        normalize=normalize,
        context_map_size=halfspaces,
        context_bias=0.5,
        seed=3,
    )
    inputs, targets = clear_digits(model, digits, 23)
    inputs[:, 9], targets[9] = inputs[:, 8], targets[8]  # two equal samples in one batch
    slow = SlowGLN(model)
    for start, end in [(0, 8), (8, 16), (16, 23)]:
        batch, labels = inputs[:, start:end], targets[start:end]
        expected = slow.predict(batch, batch, labels)
        output = to_numpy(model.predict(batch, batch, labels))
        np.testing.assert_allclose(np.atleast_2d(output), expected, atol=2e-5)
    assert_same_state(slow.state, model.get_state(), rtol=1e-3, atol=1e-4)


LOSSES: dict[str, dict[str, Any]] = {
    "squared error": {"loss": "squared_error"},
    "squared error, two heads": {"loss": "squared_error", "num_outputs": 2, "bias": False},
    "squared error, not normalized": {"loss": "squared_error", "normalize": False, "value_clipping": 2.5},
    "quantiles": {"loss": "quantile", "quantiles": (0.05, 0.5, 0.95), "context_map_size": 0},
    "variances": {"loss": "variance", "num_outputs": 2},
    "variance, not normalized": {"loss": "variance", "normalize": False, "value_clipping": 2.5, "bias": False},
    "labels": {"num_classes": 3, "context_features": 1},
}


def numbers(model: Any, inputs: np.ndarray) -> np.ndarray:
    """Targets whose noise grows with an input's distance from 0: (B,), or (C, B) if heads have different ones."""
    noise = np.random.default_rng(9).normal(size=(max(2, model.config.num_heads), inputs.shape[1]))
    y = inputs[0] * inputs[1] + np.abs(inputs[2]) * noise
    if model.config.loss == "log_loss":
        return 1 / (1 + np.exp(-y))
    return y[: model.config.num_outputs] if model.config.num_outputs > 1 else y[0]


@pytest.mark.compiles
def test_heads_of_several_labels_are_networks_of_their_own(backend):
    inputs, context, _ = small_batch(40)
    targets = np.stack([inputs[0] > 0, inputs[1] * context[0] > 0.2, inputs[2] > 1]).astype(float)
    targets[1, ::3] = np.nan  # unknown
    model = small(backend, num_outputs=3)
    together = to_numpy(model.predict_online(inputs, context, targets))
    for head, target in enumerate(targets):
        known = ~np.isnan(target)
        alone = small(backend, learning_rate=lambda t, known=known: model.learning_rate(np.flatnonzero(known)[t]))
        found = to_numpy(alone.predict_online(inputs[:, known], context[:, known], target[known]))
        np.testing.assert_allclose(together[head, known], found, atol=1e-5)


@pytest.mark.compiles("labels")
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "variance, not normalized")) for kind in LOSSES]
)
def test_values_of_every_loss_are_those_of_the_plain_loops(backend, kind):
    model = small(backend, **LOSSES[kind], learning_rate=0.2)
    inputs, context, _ = small_batch(151)
    targets, slow = numbers(model, inputs), SlowGLN(model)
    for start, end in [(0, 7), (7, 15), (15, 23)]:
        batch = inputs[:, start:end], context[:, start:end], targets[..., start:end]
        output = np.atleast_2d(to_numpy(model.predict(*batch)))
        np.testing.assert_allclose(output, slow.predict(*batch), atol=2e-5)
    online, one_by_one = [], []
    for start in range(23, 151, 8):
        part = inputs[:, start : start + 8], context[:, start : start + 8], targets[..., start : start + 8]
        online.append(np.atleast_2d(to_numpy(model.predict_online(*part))))
        one_by_one += [slow.predict(*(array[..., b : b + 1] for array in part)) for b in range(8)]
    np.testing.assert_allclose(np.concatenate(online, axis=1), np.concatenate(one_by_one, axis=1), atol=5e-5)
    assert_same_state(slow.state, model.get_state(), rtol=1e-3, atol=1e-4)
    assert np.ptp(online, axis=(0, 2)).min() > 0.1


@pytest.mark.compiles("labels")
@pytest.mark.parametrize("kind", ["squared error, two heads", "variances", "labels"])
def test_heads_do_not_learn_from_unknown_targets(backend, kind):
    model = small(backend, **LOSSES[kind])
    inputs, context, _ = small_batch(16)
    targets = numbers(model, inputs)[: model.config.num_heads]
    targets = np.concatenate([targets, -targets])[: model.config.num_heads].clip(0, 1)
    targets[0, ::2] = targets[1, 8:] = np.nan
    slow = SlowGLN(model)
    for batch in (slice(0, 1), slice(1, 8)):
        now = inputs[:, batch], context[:, batch], targets[:, batch]
        np.testing.assert_allclose(to_numpy(model.predict(*now)), slow.predict(*now), atol=2e-5)
    before, some = model.get_state(), (inputs[:, 8:], context[:, 8:])
    expected = [slow.predict(x, c, y) for x, c, y in zip(*map(each_sample, (*some, targets[:, 8:])), strict=True)]
    predicted = to_numpy(model.predict_online(*some, targets[:, 8:]))
    np.testing.assert_allclose(predicted, np.concatenate(expected, axis=1), atol=2e-5)
    assert_same_state(slow.state, model.get_state(), rtol=1e-3, atol=1e-4)
    for name, array in model.get_state().items():
        if name.startswith("weights"):
            np.testing.assert_array_equal(array[:, :, 1], before[name][:, :, 1])
    state = model.get_state()
    arrays = [array.astype(np.float32) for array in (*some, np.full((model.config.num_heads, 8), np.inf))]
    model.predict_arrays(*arrays)  # heads that need not even predict
    assert_same_state(state | {"step": np.int64(24)}, model.get_state(), rtol=0, atol=0)


def each_sample(array: np.ndarray) -> list[np.ndarray]:
    return [array[:, b : b + 1] for b in range(array.shape[1])]


@pytest.mark.parametrize("kind", ["squared error, two heads", "quantiles", "variances", "labels"])
def test_one_sample_of_every_loss_is_a_batch_of_one(kind):
    one, batch = (small(gln_numpy, **LOSSES[kind]) for _ in range(2))
    inputs, context, _ = small_batch()
    targets = numbers(one, inputs)
    alone = to_numpy(one.predict(inputs[:, 0], context[:, 0], targets[..., 0]))
    expected = to_numpy(batch.predict(inputs[:, :1], context[:, :1], targets[..., :1]))
    np.testing.assert_allclose(alone, expected[..., 0], atol=1e-6)
    assert alone.shape == (() if one.config.num_heads == 1 else (one.config.num_heads,))
    assert_same_state(one, batch, atol=1e-6)


@pytest.mark.compiles
def test_variances_of_a_stream_are_learned(backend):
    """The variance of deviations depends on the side of one halfspace; single outliers hardly change it."""
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(2, 3000))
    noise = np.where(inputs[0] > 0, 2.0, 0.5)
    targets = noise * rng.normal(size=3000)
    targets[::100] = 1e6
    model = backend.GLN([16, 8], 2, 2, loss="variance", context_bias=0.5, seed=0)
    predicted = to_numpy(model.predict_online(inputs, inputs, targets))[-1000:]
    for each, side in ((0.5, inputs[0] < -0.5), (2.0, inputs[0] > 0.5)):
        assert 0.8 < np.sqrt(np.median(predicted[side[-1000:]])) / each < 1.4


@pytest.mark.compiles
def test_quantiles_of_a_stream_are_learned(backend):
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(2, 3000))
    targets = inputs[0] + (1 + (inputs[1] > 0)) * rng.normal(size=3000)
    levels = [0.1, 0.5, 0.9]
    model = backend.GLN([8], 2, 2, loss="quantile", quantiles=levels, seed=0)
    output = to_numpy(model.predict_online(inputs, inputs, targets))[:, 1000:]
    np.testing.assert_allclose((targets[1000:] <= output).mean(axis=1), levels, atol=0.03)
    width = output[2] - output[0]
    assert width[inputs[1, 1000:] > 0.2].mean() > 1.4 * width[inputs[1, 1000:] < -0.2].mean()


@pytest.mark.compiles("quantiles")
@pytest.mark.parametrize("kind", ["squared error", "quantiles"])
def test_targets_beyond_all_predictions_count_as_the_bound(backend, kind):
    far, near = (small(backend, **LOSSES[kind]) for _ in range(2))
    inputs, context, _ = small_batch(8)
    targets = numbers(far, inputs)
    targets[5], targets[6] = 3e38, -1e12
    output = to_numpy(far.predict_online(inputs, context, targets))
    np.testing.assert_array_equal(output, to_numpy(near.predict_online(inputs, context, targets.clip(-10, 10))))
    assert np.abs(output).max() <= 10


@pytest.mark.compiles
@pytest.mark.parametrize(("layer_sizes", "weight_clipping"), [([1], 0.3), ([2, 5, 3], 1.0)])
def test_any_depth_and_width_and_clipped_weights(backend, layer_sizes, weight_clipping):
    model = small(backend, layer_sizes=layer_sizes, weight_clipping=weight_clipping, learning_rate=3.0)
    inputs, context, targets = small_batch(12)
    slow = SlowGLN(model)
    for start in range(0, 12, 4):
        batch = slice(start, start + 4)
        expected = slow.predict(inputs[:, batch], context[:, batch], targets[batch])[0]
        np.testing.assert_allclose(
            to_numpy(model.predict(inputs[:, batch], context[:, batch], targets[batch])), expected, atol=2e-5
        )
    assert_same_state(slow.state, model.get_state(), rtol=1e-4, atol=1e-5)
    largest = max(np.abs(array).max() for name, array in model.get_state().items() if name.startswith("weights"))
    assert largest == np.float32(weight_clipping)  # some weights were clipped
    model.set_state(model.get_state())  # float32(0.3) is more than 0.3, and no error


@pytest.mark.compiles
@pytest.mark.parametrize(("num_classes", "count"), [(2, 6), (10, 1)])
def test_prediction_with_targets_is_the_one_without(backend, digits, num_classes, count):
    model = on_digits(backend, num_classes)
    images, labels = digits
    # Of a single sample, they are two programs in JAX and TensorFlow, and XLA may sum in a different order in one.
    last_digits = 1e-6 if backend.__name__ in ("gln_jax", "gln_tf") else 0
    for start in range(0, 5 * count, count):
        batch, targets = images[:, start : start + count], targets_of(model, labels[start : start + count])
        before = to_numpy(model.predict(batch, batch)).copy()
        np.testing.assert_allclose(to_numpy(model.predict(batch, batch, targets)), before, rtol=0, atol=last_digits)
        assert not np.array_equal(to_numpy(model.predict(batch, batch)), before)


@pytest.mark.compiles("labels")
@pytest.mark.parametrize("kind", ["log-loss", *LOSSES])
def test_grouping_has_no_influence_on_what_is_learned(backend, kind):
    """Calls of 1, 3, 64 and 512 samples learn what a stream learns; each predicts with the weights as they were."""
    options = LOSSES.get(kind, {"num_classes": 3})
    model, online = small(backend, **options), small(gln_numpy, **options)
    inputs, context, _ = small_batch(580)
    inputs[:, 300:400], context[:, 300:400] = inputs[:, :1], context[:, :1]  # samples that pick the same rows
    targets = numbers(model, inputs) if kind in LOSSES else np.random.default_rng(3).integers(0, 3, 580)
    if targets.ndim == 2:
        targets[0, 1::3] = np.nan  # unknown
    parts = [slice(0, 1), slice(1, 4), slice(4, 68), slice(68, 580)]
    for part in parts:
        before = to_numpy(model.predict(inputs[:, part], context[:, part])).copy()
        found = to_numpy(model.predict(inputs[:, part], context[:, part], targets[..., part]))
        np.testing.assert_allclose(found, before, rtol=0, atol=1e-6)
    online.predict_online(inputs, context, targets)
    assert_same_state(online, model, rtol=1e-4, atol=2e-5)


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("num_classes", "batch_size"),
    [(2, 3), (3, 1), *(pytest.param(*more, marks=pytest.mark.slow) for more in [(2, 1), (3, 3)])],
)
def test_weights_that_reach_their_bounds_in_mid_block(backend, batch_size, num_classes):
    """Learning a whole block at once gives the same as its batches one by one, even if some of them clip weights."""
    rng = np.random.default_rng(6)
    inputs, context, targets = rng.normal(size=(5, 150)), rng.normal(size=(4, 150)), rng.integers(0, num_classes, 150)
    options = {"layer_sizes": [4, 3], "num_classes": num_classes, "context_map_size": 1, "learning_rate": 2.0}
    model, free = small(backend, **options, weight_clipping=0.6), small(gln_numpy, **options)
    slow = SlowGLN(model)
    parts = [slice(start, start + batch_size) for start in range(0, 150, batch_size)]
    expected = [slow.predict(inputs[:, part], context[:, part], targets[part]) for part in parts]
    output = np.atleast_2d(to_numpy(model.predict_online(inputs, context, targets, batch_size)))
    np.testing.assert_allclose(output, np.concatenate(expected, axis=1), atol=5e-5)
    assert_same_state(slow.state, model.get_state(), rtol=1e-4, atol=5e-5)
    weights = np.concatenate([array.ravel() for name, array in model.get_state().items() if name.startswith("weights")])
    assert np.abs(weights).max() == np.float32(0.6)
    clipped_on_the_way = np.abs(output - np.atleast_2d(free.predict_online(inputs, context, targets))) > 0.01
    assert clipped_on_the_way[:, : 64 - batch_size].any()  # clipping had an effect before the first block ended


@pytest.mark.compiles
@pytest.mark.parametrize(("halfspaces", "batch_size"), [(0, 31), (2, 5), (2, 40)])
def test_batches_that_fill_no_block_evenly(backend, halfspaces, batch_size):
    rng = np.random.default_rng(7)
    inputs, context, targets = rng.normal(size=(5, 333)), rng.normal(size=(4, 333)), rng.integers(0, 2, 333)
    online, stepwise = (
        small(module, layer_sizes=[3], context_map_size=halfspaces, learning_rate=0.3)
        for module in (backend, gln_numpy)
    )
    output = to_numpy(online.predict_online(inputs, context, targets, batch_size))
    parts = [slice(start, start + batch_size) for start in range(0, 333, batch_size)]
    expected = [stepwise.predict(inputs[:, part], context[:, part], targets[part]) for part in parts]
    np.testing.assert_allclose(output, np.concatenate(expected), atol=2e-5)
    assert_same_state(online, stepwise, rtol=1e-3, atol=5e-5)


@pytest.mark.parametrize("batch_size", [7, 10**19])
def test_a_batch_size_beyond_the_stream_is_one_batch(backend, batch_size):
    online, at_once = small(backend), small(backend)
    output = to_numpy(online.predict_online(*small_batch(), batch_size))
    np.testing.assert_allclose(output, to_numpy(at_once.predict(*small_batch())), atol=1e-6)
    assert_same_state(online.get_state(), at_once.get_state(), atol=1e-6)


def test_targets_may_be_probabilities_or_bools(backend):
    inputs, context, targets = small_batch()
    bools, ints, soft = (small(backend) for _ in range(3))
    bools.predict(inputs, context, targets.astype(bool))
    ints.predict(inputs, context, targets)
    assert_same_state(bools.get_state(), ints.get_state())
    slow = SlowGLN(soft)
    probabilities = np.linspace(0, 1, 6)
    slow.predict(inputs, context, probabilities)
    soft.predict(inputs, context, probabilities)
    assert_same_state(slow.state, soft.get_state(), rtol=1e-4, atol=1e-6)


@pytest.mark.compiles
def test_base_predictor_gives_the_base_values(backend):
    inputs, context, targets = small_batch()
    model = small(backend, loss="squared_error", base_predictor=lambda x: 3 * np.asarray(x))
    plain = small(gln_numpy, loss="squared_error")
    output = to_numpy(model.predict(inputs, context, targets))
    np.testing.assert_allclose(output, plain.predict(3 * inputs, context, targets), atol=1e-5)
    assert_same_state(model, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.compiles
def test_base_predictor_gives_the_base_logits(backend):
    def halves(inputs: Any) -> Any:  # (5, B) -> (2, B)
        return np.clip(np.asarray(inputs)[:2] / 8 + 0.5, 0, 1)

    inputs, context, targets = small_batch()
    inputs[0, 0], inputs[1, 0] = 100, -100  # probabilities of exactly 1 and 0
    model = small(backend, base_predictor=halves)
    plain = small(gln_numpy, input_size=2)
    with np.errstate(divide="ignore"):
        logits = np.log(halves(inputs)) - np.log(1 - halves(inputs))
    logits = np.clip(logits, -50, 50)
    output = to_numpy(model.predict(inputs, context, targets))
    np.testing.assert_allclose(output, plain.predict(logits, context, targets), atol=1e-5)
    assert_same_state(model.get_state(), plain.get_state(), rtol=1e-4, atol=1e-5)
    assert model.get_state()["weights.1"].shape == (3, 16, 1, 3)


@pytest.mark.compiles
def test_a_base_predictor_may_work_in_place(backend):
    def halve(inputs: Any) -> Any:
        array = to_numpy(inputs)
        if array.flags.writeable:
            array[:] = 0.5
        return np.full(array.shape, 0.5)

    inputs = small_batch()[0].astype(np.float32)
    kept = inputs.copy()
    model, plain = small(backend, context_size=5, base_predictor=halve), small(gln_numpy, context_size=5)
    output = to_numpy(model.predict(inputs, inputs))
    np.testing.assert_array_equal(inputs, kept)
    np.testing.assert_allclose(output, plain.predict(np.zeros_like(inputs), inputs), atol=1e-6)


# ---- Rates and the count ---------------------------------------------------------------------------------------------


def test_the_clock_counts_samples(backend):
    inputs, context, targets = small_batch(13)
    asked: list[int] = []

    def rate(t: int) -> float:
        asked.append(t)
        return 1 / (1 + t)

    model = small(backend, learning_rate=rate)
    slow = SlowGLN(model)
    asked.clear()
    model.predict(inputs[:, :8], context[:, :8])
    assert asked == []
    model.predict(inputs[:, :5], context[:, :5], targets[:5])
    model.predict_online(inputs[:, 5:], context[:, 5:], targets[5:], batch_size=3)
    assert asked == list(range(13))
    assert model.get_state()["step"] == 13
    for part in (slice(0, 5), slice(5, 8), slice(8, 11), slice(11, 13)):
        slow.predict(inputs[:, part], context[:, part], targets[part])
    assert_same_state(slow.state, model.get_state(), rtol=1e-4, atol=1e-6)


def test_default_rates(backend):
    model = small(backend)  # five inputs and the bias
    assert [model.learning_rate(t) for t in (0, 9000)] == pytest.approx([2, math.sqrt(6) / 2])
    assert small(backend, bias=False).learning_rate(9000) == pytest.approx(math.sqrt(5) / 2)
    assert [small(backend, input_size=300).learning_rate(t) for t in (0, 3, 9000)] == pytest.approx([2, 3, 5])
    wide = small(backend, base_predictor=lambda x: np.full((100, np.shape(x)[1]), 0.5))
    assert wide.learning_rate(9000) == 5
    numbers, quantiles = small(backend, loss="squared_error"), small(backend, loss="quantile", quantiles=[0.5])
    assert [numbers.learning_rate(t) for t in (0, 9000)] == pytest.approx([0.3, 0.15])
    assert [quantiles.learning_rate(t) for t in (0, 9000)] == pytest.approx([0.5, 0.25])
    assert [small(backend, normalize=False).learning_rate(t) for t in (0, 9999, 19999)] == pytest.approx(
        [0.01, 0.01, 0.005]
    )


@pytest.mark.compiles
def test_four_samples_are_predicted_better_with_each_call(backend):
    """The first lines of the README, at defaults."""
    for seed in range(10):
        model = backend.GLN(layer_sizes=[4, 4, 1], input_size=784, context_size=784, seed=seed)
        train_x, train_y = np.random.default_rng(seed).normal(size=(784, 4)), np.array([0, 1, 1, 0])
        errors = [np.abs(to_numpy(model.predict(train_x, train_x, targets=train_y)) - train_y).max() for _ in range(6)]
        assert (np.diff(errors) < 0).all(), errors
        assert errors[-1] < 0.05


def test_learning_rate_can_be_set(backend):
    model, state = small(backend), small(backend).get_state()
    model.set_learning_rate(0)
    assert model.learning_rate == 0
    model.predict(*small_batch())
    after = model.get_state()
    assert after.pop("step") == 6
    assert_same_state(after, {name: array for name, array in state.items() if name != "step"})
    model.set_learning_rate(None)
    assert [model.learning_rate(t) for t in (0, 6)] == [small(backend).learning_rate(t) for t in (0, 6)]


# ---- Explanations ----------------------------------------------------------------------------------------------------


@pytest.mark.compiles
def test_explanations_add_up_to_the_predictions(backend, digits):
    learned, model = (
        module.GLN([6, 4, 2], PIXELS, PIXELS, num_classes=10, seed=2, learning_rate=1.0)
        for module in (gln_numpy, backend)
    )
    images, labels = digits
    learned.predict_online(images[:, :300], images[:, :300], labels[:300])
    model.set_state(learned.get_state())
    images = images[:, 300:400]
    weights, constant, clipped = model.explain(images, images)
    assert (weights.shape, constant.shape, clipped.shape) == ((10, PIXELS, 100), (10, 100), (10, 100))
    p = learned.predict(images, images).astype(np.float64)
    logits = (weights * images).sum(axis=-2) + constant
    assert 0 < clipped.sum() < clipped.size
    np.testing.assert_allclose(logits, np.log(p / (1 - p)), atol=1e-3)
    of_one = model.explain(images[:, 7], images[:, 7])
    for together, alone in zip((weights, constant, clipped), of_one, strict=True):
        np.testing.assert_allclose(alone, together[..., 7], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["squared error, two heads", "quantiles", "variances", "labels"])
def test_explanations_of_every_loss_add_up(kind):
    model = small(gln_numpy, **LOSSES[kind])
    inputs, context, _ = small_batch(60)
    inputs[0, 0] = 300
    model.predict_online(inputs, context, numbers(model, inputs))
    weights, constant, clipped = model.explain(inputs, context)
    output = model.predict(inputs, context).astype(np.float64)
    of_output: dict[str, Any] = {"log_loss": lambda p: np.log(p / (1 - p)), "variance": np.log}
    s = of_output.get(model.config.loss, np.asarray)(output)
    base = inputs.clip(-model.config.bound, model.config.bound)
    np.testing.assert_allclose((weights * base).sum(axis=-2) + constant, s, atol=1e-3)
    assert clipped[..., 0].all()
    assert not clipped.all()


@pytest.mark.compiles
def test_explanations_tell_what_was_clipped(backend):
    inputs, context, _ = small_batch()
    model = small(backend, pred_clipping=0.4, bias=False)  # logits within 0.41
    assert model.explain(inputs, context).clipped.all()
    inputs = np.full((5, 2), 0.2)
    inputs[1, 0] = 3
    clipped = model.explain(inputs, context[:, :2]).clipped
    assert clipped.tolist() == [True, False]
    state = model.get_state()
    state["weights.1"][2] = 9.0  # one neuron exceeds its bounds
    model.set_state(state)
    assert model.explain(inputs, context[:, :2]).clipped.all()


@pytest.mark.parametrize("bias", [True, False])
def test_explanations_of_base_predictors_are_of_their_logits(bias):
    def mixed(inputs: np.ndarray) -> np.ndarray:  # (5, B) -> (2, B)
        return 1 / (1 + np.exp(-inputs[:2]))

    inputs, context, _ = small_batch()
    inputs = np.clip(inputs, -2, 2)
    model = small(gln_numpy, bias=bias, base_predictor=mixed)
    weights, constant, clipped = model.explain(inputs, context)
    assert weights.shape == (2, 6)
    assert not clipped.any()
    p = model.predict(inputs, context)
    np.testing.assert_allclose((weights * inputs[:2]).sum(axis=0) + constant, np.log(p / (1 - p)), atol=1e-5)
    assert constant.any() == bias


def test_explaining_nothing_and_bad_input(backend):
    model = small(backend, num_classes=3)
    assert [array.shape for array in model.explain(np.empty((5, 0)), np.empty((4, 0)))] == [(3, 5, 0), (3, 0), (3, 0)]
    with pytest.raises(ValueError, match="inputs"):
        model.explain(np.zeros((6, 1)), np.zeros((4, 1)))


# ---- First state -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context_features", [None, 2, 9])
def test_first_state_is_the_documented_draw(backend, context_features):
    model = small(backend, num_classes=3, context_bias=0.7, seed=11, context_features=context_features)
    rng = np.random.default_rng(11)
    state = model.get_state()
    assert list(state) == [f"{kind}.{i}" for i in (1, 2) for kind in ("hyperplanes", "hyperplane_bias", "weights")] + [
        "step"
    ]
    for layer, n, d in ((1, 3, 6), (2, 2, 4)):
        planes, offsets = rng.standard_normal((n, 4, 4)), 0.7 * rng.standard_normal((n, 4))
        if context_features is not None:
            counts, drawn = rng.integers(1, context_features + 1, (n, 4, 1)), rng.random((n, 4, 4))
            for neuron, half in np.ndindex(n, 4):
                from_the_smallest = drawn[neuron, half].argsort()
                planes[neuron, half, from_the_smallest[counts[neuron, half, 0] :]] = 0
        planes /= np.sqrt((planes**2).sum(axis=2))[..., None]
        np.testing.assert_array_equal(state[f"hyperplanes.{layer}"], planes.astype(np.float32))
        np.testing.assert_array_equal(state[f"hyperplane_bias.{layer}"], offsets.astype(np.float32))
        np.testing.assert_array_equal(state[f"weights.{layer}"], np.full((n, 16, 3, d), np.float32(1 / d)))
    seen = (state["hyperplanes.1"] != 0).sum(axis=2)
    assert (seen.min(), seen.max()) == {None: (4, 4), 2: (1, 2), 9: (1, 4)}[context_features]
    assert state["step"].dtype == np.int64
    assert state["step"].shape == ()
    assert {array.dtype for name, array in state.items() if name != "step"} == {np.dtype(np.float32)}


def test_seeds(backend):
    def planes(seed: int | None) -> np.ndarray:
        return small(backend, seed=seed).get_state()["hyperplanes.1"]

    np.testing.assert_array_equal(planes(4), planes(4))
    assert not np.array_equal(planes(4), planes(5))
    assert not np.array_equal(planes(None), planes(None))


def discrete_samples(count: int, seed: int) -> np.ndarray:
    """Columns of a table as estimators standardise them, (9, count): a category one-hot, a rare level among them, the
    same column twice, whole numbers with many ties, one that hardly ever varies, and a constant."""
    rng = np.random.default_rng(seed)
    levels, ages = rng.choice(4, count, p=[0.6, 0.3, 0.08, 0.02]), rng.integers(17, 30, count)
    columns = [*(levels == np.arange(4)[:, None]), levels == 1, ages, ages // 3, np.arange(count) == 5]
    table = np.array(columns, np.float64)
    table = (table - table.mean(axis=1, keepdims=True)) / (table.std(axis=1, keepdims=True) + 1e-9)
    return np.concatenate([table, np.full((1, count), 3.7)]).astype(np.float32)


@pytest.mark.parametrize("context_features", [None, 1, 3])
def test_fit_hyperplanes_separates_samples_and_never_lies_on_one(backend, context_features):
    samples = discrete_samples(40, seed=4)
    model = backend.GLN([6, 2], 9, 9, context_map_size=3, context_features=context_features, seed=7)
    before, sparse = model.get_state(), context_features is not None
    model.fit_hyperplanes(samples)
    state, rng = model.get_state(), np.random.default_rng(7)
    for layer in (1, 2):
        planes, offsets = state[f"hyperplanes.{layer}"], state[f"hyperplane_bias.{layer}"]
        expected = fitted_halfspaces(before[f"hyperplanes.{layer}"], samples, rng, sparse)
        np.testing.assert_allclose(planes, expected[0], atol=1e-6)
        np.testing.assert_allclose(offsets, expected[1], atol=1e-6)
        if sparse:  # the same coefficients, if need be of other values
            np.testing.assert_allclose(np.sort(planes), np.sort(before[f"hyperplanes.{layer}"]), atol=1e-6)
        beyond = (planes @ samples > offsets[..., None]).mean(axis=-1)
        assert ((beyond > 0) & (beyond < 1)).all()
    assert clear_of_hyperplanes(model, samples).all()


@pytest.mark.parametrize("context_features", [None, 2])
def test_fit_hyperplanes_keeps_directions_beside_equal_samples(backend, context_features):
    model = small(backend, context_features=context_features)
    before, sample = model.get_state(), np.array([1.0, -2.0, 0.5, 3.0], np.float32)[:, None]
    with pytest.warns(UserWarning, match="^context_inputs: 4 of 4 features differ"):
        model.fit_hyperplanes(sample.repeat(6, axis=1))
    after = model.get_state()
    for name in ("hyperplanes.1", "hyperplanes.2"):
        one, other = (np.sort(np.abs(state[name])) if context_features else state[name] for state in (before, after))
        np.testing.assert_allclose(other, one, atol=1e-6)
    assert clear_of_hyperplanes(model, sample).all()
    for layer in (1, 2):
        distance = after[f"hyperplanes.{layer}"] @ sample[:, 0] - after[f"hyperplane_bias.{layer}"]
        assert (np.abs(distance) < 0.01).all()


@pytest.mark.compiles
@pytest.mark.parametrize("context_features", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_predictions_do_not_depend_on_how_many_samples_come_together(backend, context_features):
    """On a table of few different values, where halfspaces on samples would leave their side to rounding."""
    models = [
        module.GLN([6], 9, 9, context_map_size=3, context_features=context_features, seed=7)
        for module in (gln_numpy, backend)
    ]
    samples, labels = discrete_samples(1000, seed=4), np.random.default_rng(6).integers(0, 2, 64)
    for model in models:
        model.fit_hyperplanes(samples[:, :100])
        model.predict_online(samples[:, :64], samples[:, :64], labels, 8)
    assert clear_of_hyperplanes(models[0], samples).all()
    expected = models[0].predict(samples, samples)
    weights = models[0].explain(samples[:, :8], samples[:, :8]).weights
    for size in (1, 2, 3, 7, 8, 1000):
        rows = [slice(start, start + size) for start in range(0, min(24, 1000 // size) * size, size)]
        output = [to_numpy(models[1].predict(samples[:, part], samples[:, part])) for part in rows]
        np.testing.assert_allclose(np.concatenate(output), expected[: rows[-1].stop], atol=1e-5)
    for size in (1, 2, 3, 7, 8):
        explained = models[1].explain(samples[:, :size], samples[:, :size]).weights
        np.testing.assert_allclose(explained, weights[:, :size], atol=1e-5)


@pytest.mark.parametrize("context_features", [None, 2])
@pytest.mark.parametrize("offset", [1e7, 1e9])
def test_fit_hyperplanes_says_that_float32_cannot_separate_samples(backend, offset, context_features):
    """At 1e9, samples with a standard deviation of 1 are equal in float32."""
    samples = np.random.default_rng(0).standard_normal((4, 50))
    model, standard = small(backend, context_features=context_features), Standardizer(4).learn(samples + offset)
    with pytest.warns(UserWarning, match="^context_inputs: 4 of 4 features differ by less than 2e-05 of") as came:
        model.fit_hyperplanes(samples + offset)
    assert [warning.filename for warning in came] == [__file__]
    with pytest.warns(UserWarning, match="^context_inputs: 1 of 4 features differ"):
        small(backend).fit_hyperplanes(samples + np.array([[0], [1e7], [0], [0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit_hyperplanes(standard)
    state = model.get_state()
    for layer in (1, 2):
        beyond = state[f"hyperplanes.{layer}"] @ standard > state[f"hyperplane_bias.{layer}"][..., None]
        assert ((beyond.mean(axis=-1) > 0) & (beyond.mean(axis=-1) < 1)).all()


def test_fit_hyperplanes_without_halfspaces(backend):
    model = small(backend, context_map_size=0, context_features=2)
    model.fit_hyperplanes(small_batch()[1])
    assert model.get_state()["hyperplanes.1"].shape == (3, 0, 4)


# ---- State -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context_features", [None, 1])
def test_state_is_copied_out_and_set_again(backend, context_features):
    inputs, context, targets = small_batch(8)
    model = small(backend, num_classes=3, context_features=context_features)
    model.predict(inputs, context, targets)
    state = model.get_state()
    kept = copy.deepcopy(state)
    expected = to_numpy(model.predict(inputs, context, targets)).copy()
    assert_same_state(state, kept)  # the copy does not change when the model learns
    other = small(backend, num_classes=3, seed=99)
    other.set_state(state)
    np.testing.assert_array_equal(to_numpy(other.predict(inputs, context, targets)), expected)
    assert_same_state(other.get_state(), model.get_state())
    assert_same_state(state, kept)  # nor did the other model change the caller's arrays


@pytest.mark.compiles
def test_models_can_be_copied(backend):
    inputs, context, targets = small_batch()
    model = small(backend, layer_sizes=[17])
    model.predict(inputs, context, targets)
    twin = copy.deepcopy(model)
    state = model.get_state()
    assert_same_state(twin.get_state(), state)
    twin.predict(inputs, context, targets)
    assert_same_state(model.get_state(), state)
    model.predict(inputs, context, targets)
    assert_same_state(twin.get_state(), model.get_state())


def test_repr(backend):
    model = small(backend, num_classes=3, context_features=2)
    model.predict(*small_batch())
    shown = "layer_sizes=(3, 2), input_size=5, context_size=4, num_classes=3, seed=1, context_features=2, step=6"
    assert repr(model) == f"GLN({shown})"


# ---- Shapes and kinds of arrays --------------------------------------------------------------------------------------


@pytest.mark.compiles("2]")
@pytest.mark.parametrize("num_classes", [2, 3])
def test_shapes_of_predictions(backend, num_classes):
    model = small(backend, num_classes=num_classes)
    inputs, context, targets = small_batch()
    heads = () if num_classes == 2 else (3,)
    assert to_numpy(model.predict(inputs, context)).shape == (*heads, 6)
    assert to_numpy(model.predict(inputs, context, targets)).shape == (*heads, 6)
    assert to_numpy(model.predict_online(inputs, context, targets)).shape == (*heads, 6)
    assert to_numpy(model.predict(inputs[:, 0], context[:, 0])).shape == heads
    assert to_numpy(model.predict(inputs[:, 0], context[:, 0], targets[0])).shape == heads
    assert to_numpy(model.predict(inputs[:, 0], context[:, 0], targets[:1])).shape == heads
    assert to_numpy(model.predict_online(inputs[:, 0], context[:, 0], targets[0])).shape == heads
    assert to_numpy(model.predict(inputs, context)).dtype == np.float32


@pytest.mark.parametrize("num_classes", [2, 4])
def test_empty_batch_changes_nothing(backend, num_classes):
    model = small(backend, num_classes=num_classes, base_predictor=lambda p: np.full(np.asarray(p).shape, 0.5))
    state = model.get_state()
    empty = (np.empty((5, 0)), np.empty((4, 0)))
    heads = () if num_classes == 2 else (4,)
    assert to_numpy(model.predict(*empty)).shape == (*heads, 0)
    assert to_numpy(model.predict(*empty, [])).shape == (*heads, 0)
    assert to_numpy(model.predict_online(*empty, [])).shape == (*heads, 0)
    assert_same_state(model.get_state(), state)


def test_kinds_of_arrays(backend):
    inputs, context, targets = small_batch()
    inputs, context = inputs.astype(np.float32), context.astype(np.float32)
    expected = to_numpy(small(backend).predict(inputs, context, targets)).copy()
    kinds = [
        (inputs.tolist(), context.tolist(), targets.tolist()),
        (inputs.astype(np.float64), context.astype(np.float64), targets.astype(np.uint8)),
        (np.asfortranarray(inputs), np.asfortranarray(context), targets.astype(np.float32)),
        (np.repeat(inputs, 2, axis=1)[:, ::2], context[::-1][::-1], targets),
    ]
    for kind in kinds:
        np.testing.assert_allclose(to_numpy(small(backend).predict(*kind)), expected, atol=1e-6)
    model = small(backend)
    tensors = [model._tensor(array) for array in (inputs, context, targets.astype(np.float32))]
    output = model.predict(*tensors)
    np.testing.assert_allclose(to_numpy(output), expected, atol=1e-6)
    assert type(output) is type(model.predict(inputs, context))
    pixels = np.arange(10, dtype=np.uint8).reshape(5, 2)
    model.predict(pixels, pixels[:4], [True, False])


def test_callers_arrays_stay_as_they_are(backend):
    inputs, context, targets = small_batch()
    inputs, context = 20 * inputs.astype(np.float32), context.astype(np.float32)
    kept = inputs.copy(), context.copy(), targets.copy()
    model = small(backend)
    model.predict(inputs, context, targets)
    model.predict_online(inputs, context, targets)
    for array, copied in zip((inputs, context, targets), kept, strict=True):
        np.testing.assert_array_equal(array, copied)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:inputs:UserWarning")
@pytest.mark.parametrize("pred_clipping", [0.2, 1e-45])
def test_predictions_stay_within_the_clipping(backend, pred_clipping):
    model = small(backend, layer_sizes=[2], pred_clipping=pred_clipping, learning_rate=100.0)
    inputs, context, targets = small_batch()
    for _ in range(5):
        output = to_numpy(model.predict(1e30 * inputs, 1e30 * context, targets))
        assert np.isfinite(output).all()
        assert (output >= pred_clipping - 1e-6).all()
        assert (output <= 1 - pred_clipping + 1e-6).all()
    assert all(np.isfinite(array).all() for array in model.get_state().values())


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:inputs:UserWarning")
@pytest.mark.parametrize("normalize", [True, False])
def test_largest_numbers_stay_finite(backend, normalize):
    largest = {"context_bias": 1e30, "learning_rate": 1e30, "weight_clipping": 1e30}
    model = small(backend, layer_sizes=[2], normalize=normalize, **largest)
    inputs, context, targets = small_batch()
    for labels in (targets, 1 - targets):
        assert np.isfinite(to_numpy(model.predict(1e30 * inputs, context, labels))).all()
        assert np.isfinite(to_numpy(model.predict_online(1e30 * inputs, context, labels))).all()
    assert all(np.isfinite(array).all() for array in model.get_state().values())


# ---- Bad input -------------------------------------------------------------------------------------------------------

# The code of the checks is the same in all backends, as another test ensures, so only NumPy's is tested with every
# case, and the others with one case of each kind.
BAD_ARGUMENTS: dict[str, list[Any]] = {
    "layer_sizes": [[], 4, np.array(4), "444", [4, 0], [4, 1.5], [True], [10**12], [10**400]],
    "input_size": [0, 2.0, None, 10**15, 10**400],
    "context_size": [-1, 10**15, 2**70],
    "num_classes": [1, 10**15],
    "context_map_size": [-1, 31, 1.0],
    "base_predictor": ["sigmoid"],
    "bias": [1, None],
    "normalize": ["no"],
    "context_bias": [math.nan, -1, "much", "0.5", True, 2e30, 10**400],
    "learning_rate": [-0.1, math.inf, "fast", "0.1", b"0.1", np.True_, 2e30, 10**400],
    "pred_clipping": [0, 0.5, math.nan, "0.1"],
    "weight_clipping": [0, math.inf, True, 2e30],
    "seed": [-1, 0.5, "seed"],
    "loss": ["mse", None, 1, ["log_loss"]],
    "context_features": [0, -1, 1.5, True, "3", 2**40],
    "num_outputs": [0, 1.5],
    # The last of these is in range, but the log-loss does not use it.
    "quantiles": [0.5, [], [0, 0.5], [1.0], ["half"], [math.nan], [0.5]],
    "value_clipping": [0, math.nan, 2e4, 5.0],
}
USELESS: dict[str, tuple[dict[str, Any], str]] = {  # arguments, and the one that the loss does not use
    "classes": ({"loss": "squared_error", "num_classes": 3}, "num_classes"),
    "levels": ({"loss": "squared_error", "quantiles": [0.5]}, "quantiles"),
    "clipped probabilities": ({"loss": "squared_error", "pred_clipping": 0.01}, "pred_clipping"),
    "classes of quantiles": ({"loss": "quantile", "quantiles": [0.5], "num_classes": 3}, "num_classes"),
    "outputs beside quantiles": ({"loss": "quantile", "quantiles": [0.5], "num_outputs": 2}, "num_outputs"),
    "no levels": ({"loss": "quantile"}, "quantiles"),
    "variances too large for float32": ({"loss": "variance", "value_clipping": 81.0}, "value_clipping"),
    "too many outputs": ({"loss": "squared_error", "num_outputs": 10**15}, "num_outputs"),
}


@pytest.mark.parametrize("case", USELESS)
def test_arguments_that_a_loss_does_not_use(case):
    arguments, name = USELESS[case]
    with pytest.raises(ValueError, match=rf"{name}.*: expected .*, got "):
        small(gln_numpy, **arguments)


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments(name):
    for value in BAD_ARGUMENTS[name]:
        with pytest.raises(ValueError, match=rf"{name}.*: expected .*, got "):
            small(gln_numpy, **{name: value})


def test_a_size_that_no_array_can_have():
    """Without halfspaces the arrays of this side information are empty, so memory is no limit."""
    with pytest.raises(ValueError, match="context_size: expected int in "):
        small(gln_numpy, context_size=2**70, context_map_size=0)


def test_scalars_of_few_bits_are_numbers(backend):
    """The bounds of an interval may be too large for float16, and too small for int8."""
    model = small(backend, learning_rate=np.float16(0.5), weight_clipping=np.float16(2), context_map_size=np.int8(2))
    values = model.learning_rate, model.config.weight_clipping, model.config.context_map_size
    assert (values, [*map(type, values)]) == ((0.5, 2.0, 2), [float, float, int])


INPUTS, CONTEXT, TARGETS = small_batch(3)


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.astype(np.float64)
    changed.flat[1] = value
    return changed


BAD_BATCHES = {
    "too few values": ("inputs", (INPUTS[:4], CONTEXT, TARGETS)),
    "turned round": ("inputs", (INPUTS.T, CONTEXT, TARGETS)),
    "three axes": ("inputs", (INPUTS[None], CONTEXT, TARGETS)),
    "a number": ("inputs", (0.5, CONTEXT, TARGETS)),
    "none": ("inputs", (None, CONTEXT, TARGETS)),
    "text": ("inputs", ("digits", CONTEXT, TARGETS)),
    "ragged": ("inputs", ([[1, 2], [3]], CONTEXT, TARGETS)),
    "complex": ("inputs", (INPUTS.astype(complex), CONTEXT, TARGETS)),
    "objects": ("inputs", (INPUTS.astype(object), CONTEXT, TARGETS)),
    "NaN": ("inputs", (with_value(INPUTS, math.nan), CONTEXT, TARGETS)),
    "infinity": ("inputs", (with_value(INPUTS, -math.inf), CONTEXT, TARGETS)),
    "infinity of float16": ("inputs", (with_value(INPUTS, math.inf).astype(np.float16), CONTEXT, TARGETS)),
    "beyond float32": ("inputs", (with_value(INPUTS, 1e39), CONTEXT, TARGETS)),
    "context: too few values": ("context_inputs", (INPUTS, CONTEXT[:3], TARGETS)),
    "context: fewer samples": ("context_inputs", (INPUTS, CONTEXT[:, :2], TARGETS)),
    "context: a vector beside a batch": ("context_inputs", (INPUTS, CONTEXT[:, 0], TARGETS)),
    "context: a batch beside a vector": ("context_inputs", (INPUTS[:, 0], CONTEXT[:, :1], TARGETS[:1])),
    "context: NaN": ("context_inputs", (INPUTS, with_value(CONTEXT, math.nan), TARGETS)),
    "context: none": ("context_inputs", (INPUTS, None, TARGETS)),
    "targets: too few": ("targets", (INPUTS, CONTEXT, TARGETS[:2])),
    "targets: two axes": ("targets", (INPUTS, CONTEXT, TARGETS[None])),
    "targets: a number": ("targets", (INPUTS, CONTEXT, 1)),
    "targets: a third class": ("targets", (INPUTS, CONTEXT, [0, 1, 2])),
    "targets: negative": ("targets", (INPUTS, CONTEXT, [0, 1, -0.1])),
    "targets: NaN": ("targets", (INPUTS, CONTEXT, [0, 1, math.nan])),
    "targets: text": ("targets", (INPUTS, CONTEXT, ["a", "b", "c"])),
    "targets: two for one sample": ("targets", (INPUTS[:, 0], CONTEXT[:, 0], [0, 1])),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_batches_change_nothing(backend, case):
    name, batch = BAD_BATCHES[case]
    model = small(backend)
    state = model.get_state()
    for call in (model.predict, model.predict_online):
        with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
            call(*batch)
    assert_same_state(model.get_state(), state)


def test_errors_count_nan_and_name_text(backend):
    model, (inputs, context, _) = small(backend), small_batch(3)
    inputs[2:, 1] = math.nan
    with pytest.raises(ValueError, match=r"^inputs: expected finite numbers, got 3 NaN of 15 values$"):
        model.predict(inputs, context)
    with pytest.raises(ValueError, match=r"^targets: expected an array of real numbers, got list of dtype <U1$"):
        model.predict(INPUTS, CONTEXT, ["a", "b", "c"])


def test_errors_name_the_argument_that_was_meant(backend):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'lr'"):
        small(backend, lr=0.1)
    with pytest.raises(ValueError, match=r"numbers from 0 to 1 with num_classes=2, got numbers from 0\.0 to 7\.0$"):
        small(backend).predict(INPUTS, CONTEXT, [0, 7, 1])


def test_contexts_of_float64_are_those_of_float32(backend):
    model, context = small(backend), np.array(CONTEXT)
    contexts = np.asarray(model.contexts(context.astype(np.float32)))
    np.testing.assert_array_equal(model.contexts(context.astype(np.float64)), contexts)
    state = model.get_state()
    sides = [state[f"hyperplanes.{i}"] @ context > state[f"hyperplane_bias.{i}"][:, :, None] for i in (1, 2)]
    np.testing.assert_array_equal(contexts.T, np.concatenate([s.transpose(0, 2, 1) @ 2 ** np.arange(4) for s in sides]))


@pytest.mark.compiles
def test_inputs_far_beyond_where_they_are_clipped_cause_a_warning(backend, digits):
    images, model = digits[0][:, :8], on_digits(backend, 2)
    for call in (lambda x: model.predict(x, images), lambda x: model.predict_online(x, images, np.zeros(8), 8)):
        with pytest.warns(UserWarning, match=r"^inputs: far beyond ±6\.91, .* scale or standardise") as found:
            call(255 * images)
        assert [warning.filename for warning in found] == [__file__]


def test_usual_inputs_cause_no_warning(digits):
    images = digits[0]
    z = (images - images.mean(axis=1, keepdims=True)) / np.maximum(images.std(axis=1, keepdims=True), 1e-6)
    assert np.abs(z).max() > 50  # of a pixel that few digits have
    model, other = on_digits(gln_numpy, 2), gln_numpy.GLN([2], 5, 5, base_predictor=lambda x: x / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for some in (slice(0, 300), *range(0, 300, 10)):
            model.predict(z[:, some], z[:, some])
        for x in (np.full(5, 7.0), np.full(5, -20.0), np.array([100.0, 1, -1, 2, 0])):
            gln_numpy.GLN([2], 5, 5).predict(x, x)
        other.predict(np.full(5, 255.0), np.zeros(5))


def test_what_a_subclass_overrides_is_honoured(backend):
    doubled = {"prepare": lambda self, *given: (2 * np.float32(given[0]), *backend.GLN.prepare(self, *given)[1:])}
    own, (inputs, context, targets) = type("Own", (backend.GLN,), doubled), small_batch()
    model, plain = own([3, 2], 5, 4, seed=1), small(backend)
    given = to_numpy(model.predict(inputs, context, targets)), to_numpy(plain.predict(2 * inputs, context, targets))
    np.testing.assert_array_equal(*given)
    assert_same_state(model, plain)
    with pytest.raises(ValueError, match="a Own, which overrides prepare"):
        model.save("never.gln")
    still = type("Still", (backend.GLN,), {"rates": lambda self, count: np.zeros(count, np.float32)})
    model = still([3, 2], 5, 4, seed=1)
    model.predict_online(inputs, context, targets)
    assert_same_state(model.get_state() | {"step": 0}, small(backend).get_state())


def test_a_subclass_of_numpys_may_have_another_gate():
    all_in_row_3 = {"contexts": lambda self, context: np.full((context.shape[1], 5), 3)}
    model = type("Own", (gln_numpy.GLN,), all_in_row_3)([3, 2], 5, 4, seed=1)
    before = model.get_state()
    model.predict(*small_batch())
    changed = [(model.get_state()[f"weights.{i}"] != before[f"weights.{i}"]).any(axis=(0, 2, 3)) for i in (1, 2)]
    assert np.flatnonzero(changed[0]).tolist() == np.flatnonzero(changed[1]).tolist() == [3]
    with pytest.raises(ValueError, match="a Own, which overrides contexts"):
        model.save("never.gln")


BAD_TARGETS: dict[str, tuple[dict[str, Any], Any]] = {
    "NaN": (LOSSES["squared error"], [0, 1, math.nan]),
    "infinity": (LOSSES["quantiles"], [0, 1, math.inf]),
    "a row": (LOSSES["squared error"], [[0, 1, 2]]),
    "one row of two": (LOSSES["squared error, two heads"], [0, 1, 2]),
    "columns": (LOSSES["squared error, two heads"], [[0, 1], [1, 2], [3, 4]]),
    "a row a quantile": (LOSSES["quantiles"], [[0, 1, 2]] * 3),
    "labels above one": (LOSSES["labels"], [[0, 1, 0], [1, 0, 2], [0, 0, 1]]),
    "labels below zero": (LOSSES["labels"], [[0, 1, 0], [1, 0, -0.1], [0, 0, 1]]),
    "labels of too few": (LOSSES["labels"], [[0, 1, 0], [1, 0, 0]]),
    "a class beyond the last": (LOSSES["labels"], [0, 1, 3]),
    "a class below the first": (LOSSES["labels"], [0, 1, -1]),
    "half a class": (LOSSES["labels"], [0, 1, 0.5]),
    "a class that is NaN": (LOSSES["labels"], [0, 1, math.nan]),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_targets_of_every_loss_change_nothing(backend, case):
    kind, targets = BAD_TARGETS[case]
    model = small(backend, **kind)
    state = model.get_state()
    with pytest.raises(ValueError, match=r"^targets: expected .*, got "):
        model.predict_online(INPUTS, CONTEXT, targets)
    assert_same_state(model.get_state(), state)


@pytest.mark.parametrize(
    "rate",
    [-1.0, math.nan, math.inf, 2e30, 1e39, 10**400, "fast", "0.1", None, [1, 2]],
    ids=lambda rate: repr(rate)[:20],
)
def test_bad_rate_of_a_callable_changes_nothing(backend, rate):
    model = small(backend, learning_rate=lambda t: rate if t == 2 else 0.1)
    state = model.get_state()
    with pytest.raises(ValueError, match=r"^learning_rate: expected .*, got "):
        model.predict_online(INPUTS, CONTEXT, TARGETS)
    assert_same_state(model.get_state(), state)
    with pytest.raises(ValueError, match=r"^learning_rate: expected .*, got "):
        model.set_learning_rate(-1)
    assert not model.has_default_rate  # the callable is kept


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None])
def test_bad_batch_size(backend, batch_size):
    with pytest.raises(ValueError, match=r"^batch_size: expected .*, got "):
        small(backend).predict_online(INPUTS, CONTEXT, TARGETS, batch_size=batch_size)


def test_predict_online_needs_targets(backend):
    with pytest.raises(ValueError, match=r"^targets: expected .*, got None"):
        small(backend).predict_online(INPUTS, CONTEXT, None)


@pytest.mark.parametrize(
    "output",
    [
        lambda p: np.empty((0, p.shape[1])),
        lambda p: np.full((2, p.shape[1] + 1), 0.5),
        lambda p: np.full((3 if p.any() else 2, p.shape[1]), 0.5),
        lambda p: np.full((2, p.shape[1]), 1.5 if p.any() else 0.5),
        lambda p: np.full((2, p.shape[1]), np.nan if p.any() else 0.5),
        lambda p: np.full(p.shape[1], 0.5),
        lambda p: "half",
    ],
)
def test_bad_base_predictor_changes_nothing(backend, output):
    with pytest.raises(ValueError, match=r"^base_predictor's output.*: expected .*, got "):  # noqa: PT012
        model = small(backend, base_predictor=lambda tensor: output(np.asarray(tensor)))
        state = model.get_state()
        try:
            model.predict(INPUTS, CONTEXT, TARGETS)
        finally:
            assert_same_state(model.get_state(), state)


@pytest.mark.parametrize(
    "context", [CONTEXT[:, :1], CONTEXT[:, 0], CONTEXT[:3], CONTEXT[:, :0], with_value(CONTEXT, math.inf), None]
)
def test_bad_fit_hyperplanes_changes_nothing(backend, context):
    model = small(backend)
    state = model.get_state()
    with pytest.raises(ValueError, match=r"^context_inputs: expected .*, got "):
        model.fit_hyperplanes(context)
    assert_same_state(model.get_state(), state)


def broken_states() -> dict[str, Any]:
    def change(name: str, value: Any) -> Any:
        return lambda state: {**state, name: value(state[name])}

    return {
        "no mapping": lambda state: list(state.values()),
        "missing": lambda state: {name: array for name, array in state.items() if name != "weights.2"},
        "unknown": lambda state: {**state, "weights.3": state["weights.2"]},
        "shape": change("weights.2", lambda array: array[:, :, :, 1:]),
        "nan": change("weights.2", lambda array: array * np.nan),
        "infinity": change("hyperplane_bias.1", lambda array: array + np.inf),
        "text": change("hyperplanes.2", lambda array: array.astype(str)),
        "negative step": change("step", lambda step: step - 1),
        "float step": change("step", lambda step: step + 0.5),
        "step beyond int64": change("step", lambda _: np.uint64(2**63)),
        "vector step": change("step", lambda step: step[None]),
        "weights beyond weight_clipping": change("weights.1", lambda array: array + np.float32(200.001)),
        "weights that would overflow": change("weights.1", lambda array: np.full_like(array, 3e38)),
    }


def test_a_state_with_initial_weights_beyond_their_bounds_is_accepted(backend):
    model = small(gln_numpy, weight_clipping=0.1)
    model.predict(*small_batch())  # initial weights are 1 / 6 and 1 / 4, and stay so in contexts without samples
    state = model.get_state()
    assert state["weights.2"].max() == 0.25
    small(backend, weight_clipping=0.1).set_state(state)


@pytest.mark.parametrize("kind", list(broken_states()))
def test_bad_state_changes_nothing(backend, kind):
    model = small(backend)
    state = model.get_state()
    other = small(backend, seed=2).get_state()
    with pytest.raises(ValueError, match=r"^state.*: expected .*, got "):
        model.set_state(broken_states()[kind](other))
    assert_same_state(model.get_state(), state)


# ---- Memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.compiles
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_long_prediction_takes_little_memory(backend):
    def memory(kind: str) -> int:  # MiB
        return int(next(line for line in open("/proc/self/status") if line.startswith(kind)).split()[1]) >> 10

    samples = np.random.default_rng(0).random((PIXELS, 10_000), np.float32)  # 30 MiB
    model = on_digits(backend, 10)
    part = to_numpy(model.predict(samples[:, :1500], samples[:, :1500]))
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    output = to_numpy(model.predict(samples, samples))
    assert memory("VmHWM") - before < 30
    np.testing.assert_allclose(output[:, :1500], part, atol=1e-6)
