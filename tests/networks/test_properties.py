"""Properties that hold for networks of any shape and any split of a stream, with hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers import assert_same_state
from hypothesis import given, settings
from hypothesis import strategies as st

from gln_numpy import GLN

SIZES = st.integers(1, 5)


@st.composite
def networks(draw: Any) -> dict[str, Any]:
    return {
        "layer_sizes": draw(st.lists(SIZES, min_size=1, max_size=3)),
        "input_size": draw(SIZES),
        "context_size": draw(SIZES),
        "num_classes": draw(st.integers(2, 4)),
        "context_map_size": draw(st.integers(0, 4)),
        "bias": draw(st.booleans()),
        "context_bias": draw(st.sampled_from([0.0, 1.0])),
        "normalize": draw(st.booleans()),
        "weight_clipping": draw(st.sampled_from([0.3, 200.0])),
        "seed": draw(st.integers(0, 2**32)),
        "context_features": draw(st.sampled_from([None, 1, 3])),
    }


def batch(network: dict[str, Any], count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(scale=3, size=(network["input_size"], count)).astype(np.float32)
    context = rng.normal(size=(network["context_size"], count)).astype(np.float32)
    return inputs, context, rng.integers(0, network["num_classes"], count)


def assert_close_states(one: GLN, other: GLN) -> None:
    assert_same_state(one, other, rtol=1e-3, atol=1e-4)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(network=networks(), count=st.integers(0, 12), seed=st.integers(0, 99))
def test_shapes_and_ranges(network, count, seed):
    model = GLN(**network)
    inputs, context, targets = batch(network, count, seed)
    before = model.predict(inputs, context)
    assert before.shape == ((count,) if network["num_classes"] == 2 else (network["num_classes"], count))
    assert before.dtype == np.float32
    assert ((before >= 0.999e-3) & (before <= 1 - 0.999e-3)).all()
    np.testing.assert_array_equal(model.predict(inputs, context, targets), before)
    state, below = model.get_state(), network["input_size"]
    assert state["step"] == count
    for layer, n in enumerate(network["layer_sizes"], start=1):
        weights = state[f"weights.{layer}"]
        assert weights.shape == (n, 2 ** network["context_map_size"], model.config.num_heads, below + network["bias"])
        initial = np.float32(1 / weights.shape[-1])
        assert np.abs(weights).max() <= max(initial, np.float32(network["weight_clipping"]))
        assert (weights != initial).any(axis=(2, 3)).sum() <= n * count  # a sample moves one row of each neuron
        below = n


@settings(deadline=None, max_examples=60, derandomize=True)
@given(network=networks(), count=st.integers(1, 20), batch_size=st.integers(1, 7), seed=st.integers(0, 99))
def test_any_split_of_a_stream(network, count, batch_size, seed):
    """`predict_online` equals `predict` on each batch, and a stream may be split between any two batches."""
    online, stepwise, halves = (GLN(**network) for _ in range(3))
    inputs, context, targets = batch(network, count, seed)
    output = online.predict_online(inputs, context, targets, batch_size)
    parts = [slice(start, start + batch_size) for start in range(0, count, batch_size)]
    expected = [stepwise.predict(inputs[:, p], context[:, p], targets[p]) for p in parts]
    np.testing.assert_allclose(output, np.concatenate(expected, axis=-1), atol=1e-4)
    assert_close_states(online, stepwise)
    cut = batch_size * (len(parts) // 2)
    for part in (slice(0, cut), slice(cut, count)):
        halves.predict_online(inputs[:, part], context[:, part], targets[part], batch_size)
    assert_close_states(halves, online)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(network=networks(), seed=st.integers(0, 99))
def test_an_update_brings_the_prediction_nearer(network, seed):
    """A normalised step on one sample with a rate of at most 1 cannot overshoot a neuron's target, so the log-loss of
    the first layer, whose inputs stay the same, falls."""
    network = {**network, "layer_sizes": [1], "normalize": True, "num_classes": 2, "weight_clipping": 200.0}
    model = GLN(**network, learning_rate=1.0)
    inputs, context, targets = batch(network, 1, seed)
    before = model.predict(inputs, context, targets)
    after = model.predict(inputs, context)
    assert abs(after[0] - targets[0]) <= abs(before[0] - targets[0])
