"""All backends agree: their predictions and states are compared with NumPy's, on one stream of real digits.

A digit that lies within float32 rounding of a hyperplane may fall on either side of it, depending on the order in which
a framework sums a product. `clear_of_hyperplanes` finds those digits in float64, and they are left out of the streams
here, except in `test_raw_stream`, which keeps and counts them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from backends import FRAMEWORKS, OTHERS, load_backend
from helpers import assert_same_state
from reference import clear_of_hyperplanes
from sklearn.datasets import make_friedman1

import gln_numpy

PIXELS = 784


def network(module: ModuleType, num_classes: int, **arguments: Any) -> Any:
    return module.GLN([8, 1], PIXELS, PIXELS, num_classes=num_classes, seed=2, **arguments)


def stream(digits: tuple[np.ndarray, np.ndarray], num_classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = digits
    keep = np.flatnonzero(clear_of_hyperplanes(network(gln_numpy, num_classes), images))[:count]
    assert len(keep) == count
    return images[:, keep], labels[keep] if num_classes > 2 else labels[keep] == 3


def stable_rate(batch_size: int) -> float | None:
    """64 samples learned at once at the default rate of 10 overshoot and oscillate, which amplifies rounding errors:
    even NumPy's predictions then change with the order of the pixels. A rate of 1 is stable."""
    return 1.0 if batch_size == 64 else None


def learn(model: Any, images: np.ndarray, targets: np.ndarray, batch_size: int) -> np.ndarray:
    parts = [slice(start, start + batch_size) for start in range(0, len(targets), batch_size)]
    outputs = [np.asarray(model.predict(images[:, part], images[:, part], targets[part])) for part in parts]
    return np.concatenate(outputs, axis=-1)


@pytest.fixture(scope="module")
def of_numpy(digits: tuple[np.ndarray, np.ndarray]) -> Callable[[int, int], tuple]:
    """For a number of classes and a batch size: 2,000 images, targets, NumPy's online predictions, and its network."""

    @functools.cache
    def learned(num_classes: int, batch_size: int) -> tuple:
        images, targets = stream(digits, num_classes, 2000)
        images[:, 65], targets[65] = images[:, 64], targets[64]  # equal samples in one batch
        model = network(gln_numpy, num_classes, learning_rate=stable_rate(batch_size))
        return images, targets, model.predict_online(images, images, targets, batch_size), model

    return learned


@pytest.mark.compiles("2-8")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("num_classes", "batch_size"), [(2, 8), (10, 1), (10, 64)])
def test_2000_digits_online(of_numpy, name, num_classes, batch_size):
    images, targets, expected, model = of_numpy(num_classes, batch_size)
    other = network(load_backend(name), num_classes, learning_rate=stable_rate(batch_size))
    output = np.asarray(other.predict_online(images, images, targets, batch_size))
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)
    assert_same_state(other, model, rtol=1e-3, atol=1e-4)


@pytest.mark.compiles("squared_error")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("kind", "batch_size"),
    [
        pytest.param({"loss": "squared_error", "num_outputs": 3}, 8, id="squared_error"),
        pytest.param({"loss": "quantile", "quantiles": [0.05, 0.5, 0.95]}, 1, id="quantile"),
        pytest.param({"loss": "variance", "num_outputs": 3}, 1, id="variance"),
        pytest.param({"loss": "variance", "num_outputs": 3}, 8, id="variance in batches", marks=pytest.mark.slow),
        pytest.param({"loss": "squared_error", "num_outputs": 3, "context_features": 2}, 8, id="sparse halfspaces"),
    ],
)
def test_2000_numbers_online(name, kind, batch_size):
    inputs, y = make_friedman1(2100, noise=1, random_state=0)
    inputs, y = (inputs.T - 0.5) * 12**0.5, (y - y.mean()) / y.std()
    targets = np.stack([y, -y, y**2]) if "num_outputs" in kind else y
    models = [module.GLN([8, 1], 10, 10, seed=2, **kind) for module in (gln_numpy, load_backend(name))]
    for model in models if "context_features" in kind else []:
        model.fit_hyperplanes(inputs[:, :100])
    keep = np.flatnonzero(clear_of_hyperplanes(models[0], inputs))[:2000]
    inputs, targets = inputs[:, keep], targets[..., keep]
    assert len(keep) == 2000
    expected, output = (np.asarray(m.predict_online(inputs, inputs, targets, batch_size)) for m in models)
    np.testing.assert_allclose(output, expected, rtol=1e-4 if kind["loss"] == "variance" else 0, atol=1e-4)
    assert_same_state(models[1], models[0], rtol=1e-3, atol=1e-4)


def random_network(kind: int, draw: int) -> tuple[dict[str, Any], np.random.Generator]:
    """Arguments of a network: what backends compile depends on `kind` alone. Also the generator, to draw samples."""
    rng = np.random.default_rng(kind)
    losses: list[dict[str, Any]] = [
        {},
        {"num_classes": 3},
        {"num_outputs": 2},
        {"loss": "squared_error", "num_outputs": int(rng.integers(1, 3))},
        {"loss": "quantile", "quantiles": (0.1, 0.5)},
        {"loss": "variance", "num_outputs": int(rng.integers(1, 3))},
    ]
    arguments = losses[kind % len(losses)] | {
        "layer_sizes": rng.integers(1, 6, rng.integers(1, 4)).tolist(),
        "input_size": int(rng.integers(2, 9)),
        "context_size": int(rng.integers(3, 9)),
        "context_map_size": int(rng.integers(0, 4)),
        "bias": bool(rng.integers(2)),
        "normalize": bool(rng.random() < 0.75),
        "weight_clipping": float(rng.choice([0.6, 200.0])),
    }
    rng = np.random.default_rng([kind, draw])
    drawn = {"seed": draw, "context_bias": float(rng.choice([0, 0.5])), "context_features": [None, 2][rng.integers(2)]}
    return arguments | drawn, rng


def random_samples(model: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, side information and targets of 68 samples, 16 of which are equal; some targets are unknown."""
    config = model.config
    context = rng.normal(size=(config.context_size, 400))
    context = context[:, clear_of_hyperplanes(model, context)][:, :68]
    inputs = rng.normal(size=(config.input_size, 68))
    inputs[:, 40:55] = inputs[:, :1]
    context[:, 40:55] = context[:, :1]
    if config.record.heads == "num_classes":
        return inputs, context, rng.integers(0, config.num_classes, 68)
    if config.record.heads == "quantiles" or config.num_heads == 1:
        return inputs, context, rng.normal(size=68)
    targets = rng.random((config.num_heads, 68))
    targets[0, ::5] = np.nan
    return inputs, context, targets


@pytest.mark.compiles
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", range(12))
def test_60_random_networks_in_calls_of_1_3_and_64_samples(name, kind):
    for draw in range(5):
        arguments, rng = random_network(kind, draw)
        models = [module.GLN(**arguments) for module in (gln_numpy, load_backend(name))]
        inputs, context, targets = random_samples(models[0], rng)
        for some in (slice(0, 1), slice(1, 4), slice(4, 68)):
            samples = inputs[:, some], context[:, some], targets[..., some]
            expected, output = (np.asarray(model.predict(*samples)) for model in models)
            np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)
        assert_same_state(models[1], models[0], rtol=0, atol=1e-5)


@pytest.mark.compiles("16-True")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("input_size", "bias", "batch_size"), [(16, True, 7), (33, False, 1)])
def test_sizes_around_16_and_32(name, input_size, bias, batch_size):
    rng = np.random.default_rng(input_size)
    inputs, targets = rng.normal(size=(input_size, 40)), rng.integers(0, 3, 40)
    models = [
        module.GLN([17, 33], input_size, input_size, num_classes=3, bias=bias, seed=1, context_map_size=2)
        for module in (gln_numpy, load_backend(name))
    ]
    assert clear_of_hyperplanes(models[0], inputs).all()
    for _ in range(2):
        expected, output = (np.asarray(m.predict_online(inputs, inputs, targets, batch_size)) for m in models)
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)
    assert_same_state(models[1], models[0], rtol=1e-3, atol=1e-4)


@pytest.mark.compiles
@pytest.mark.parametrize("name", OTHERS)
def test_raw_stream(digits, name):
    """With all digits: few are on a hyperplane, and few predictions differ."""
    images, _ = digits
    models = [network(module, 10) for module in (gln_numpy, load_backend(name))]
    close = ~clear_of_hyperplanes(models[0], images)
    assert close.mean() < 0.01
    expected, output = (np.asarray(model.predict(images, images)) for model in models)
    differs = (np.abs(output - expected) > 1e-4).any(axis=0)
    assert not (differs & ~close).any()


@pytest.fixture(scope="module")
def few(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """60 images, whether each is a three, NumPy's network after them, and its predictions before learning each."""
    images, targets = stream(digits, 2, 60)
    whole = network(gln_numpy, 2)
    return images, targets, whole, learn(whole, images, targets, 4)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(FRAMEWORKS, 2)))
def test_state_carried_over_in_mid_stream(few, source, target):
    images, targets, whole, expected = few
    first, second = (network(load_backend(name), 2) for name in (source, target))
    output = learn(first, images[:, :28], targets[:28], 4)
    second.set_state(first.get_state())
    output = np.concatenate([output, learn(second, images[:, 28:], targets[28:], 4)])
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)
    assert_same_state(second, whole, rtol=1e-3, atol=1e-4)
