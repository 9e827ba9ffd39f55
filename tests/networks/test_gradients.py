"""Frameworks differentiate predictions with respect to inputs: before its link, a GLN is piecewise linear in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from backends import load_backend

import gln_numpy

KINDS: dict[str, dict[str, Any]] = {
    "three heads": {"num_classes": 3},
    "means, no bias": {"loss": "squared_error", "num_outputs": 2, "bias": False},
    "variance": {"loss": "variance"},
}
MORE: dict[str, dict[str, Any]] = {"one head": {}, "quantiles": {"loss": "quantile", "quantiles": (0.1, 0.9)}}
Gradients = tuple[np.ndarray, np.ndarray, Any]  # predictions, and derivatives by inputs and by side information


def of_torch(model: Any, inputs: np.ndarray, context: np.ndarray, given: np.ndarray) -> Gradients:
    import torch

    x, c = (torch.tensor(array, requires_grad=True) for array in (inputs, context))
    p = model(x, c)
    p.backward(torch.tensor(given))
    return p.detach().numpy(), np.asarray(x.grad), c.grad


def of_torch_func(model: Any, inputs: np.ndarray, context: np.ndarray, given: np.ndarray) -> Gradients:
    import torch

    p, backward = torch.func.vjp(model, torch.tensor(inputs), torch.tensor(context))[:2]
    by_inputs, by_context = backward(torch.tensor(given))
    return p.detach().numpy(), by_inputs.numpy(), by_context.numpy()


def of_jax(model: Any, inputs: np.ndarray, context: np.ndarray, given: np.ndarray) -> Gradients:
    import jax

    def predict(inputs: Any, context: Any) -> Any:
        base = inputs
        if model.base_predictor is not None:
            p = model.base_predictor(inputs)
            base = jax.numpy.log(p / (1 - p))
        p = load_backend("jax").predict(model.config, model.params, base, context)
        return p[0] if model.config.num_heads == 1 else p

    p, backward = jax.vjp(predict, inputs, context)
    by_inputs, by_context = backward(given)
    return np.asarray(p), np.asarray(by_inputs), np.asarray(by_context)


def of_tf(model: Any, inputs: np.ndarray, context: np.ndarray, given: np.ndarray) -> Gradients:
    import tensorflow as tf

    x, c = tf.constant(inputs), tf.constant(context)
    with tf.GradientTape() as tape:
        tape.watch([x, c])
        p = model.serve(x, c)
    by_inputs, by_context = tape.gradient(p, [x, c], given)
    return p.numpy(), by_inputs.numpy(), by_context


WAYS = {"torch": of_torch, "torch.func": of_torch_func, "jax": of_jax, "tf": of_tf}


@pytest.fixture(params=[pytest.param(way, marks=pytest.mark.slow) if "." in way else way for way in WAYS])
def way(request: pytest.FixtureRequest) -> tuple[Any, Callable[..., Gradients]]:
    """A backend's module, and how its framework differentiates."""
    return load_backend(request.param.split(".")[0]), WAYS[request.param]


def learned(module: Any, **options: Any) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A network that has learned 40 samples, NumPy's in the same state, and these samples: inputs (8, 40), context."""
    rng = np.random.default_rng(3)
    inputs, context = (rng.normal(size=(size, 40)).astype(np.float32) for size in (8, 6))
    model, reference = (each.GLN([5, 3], 8, 6, context_map_size=3, seed=1, **options) for each in (module, gln_numpy))
    targets = inputs[0] > 0 if model.config.logits else inputs[: model.config.num_outputs].squeeze()
    reference.predict_online(inputs, context, targets)
    model.set_state(reference.get_state())
    return model, reference, inputs, context


def given_for(model: Any) -> np.ndarray:
    shape = (40,) if model.config.num_heads == 1 else (model.config.num_heads, 40)
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)


def measured(model: Any, inputs: np.ndarray, context: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Central differences of predictions; the side information is fixed, so no gate switches."""
    slopes, step = np.empty_like(inputs), 1e-2
    for i, each in enumerate(np.eye(len(inputs), dtype=np.float32)[:, :, None]):
        above, below = (model.predict(inputs + sign * step * each, context) for sign in (1, -1))
        slopes[i] = ((above - below) * given).reshape(-1, 40).sum(axis=0) / (2 * step)
    return slopes


@pytest.mark.slow
@pytest.mark.compiles("three heads")
@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE)])
def test_gradients_are_finite_differences_and_what_explains_a_prediction(way, kind):
    """The weights of the explanation are multiplied by p (1 - p) for the log-loss, and by the variance for its loss."""
    module, gradients = way
    model, reference, inputs, context = learned(module, **{**KINDS, **MORE}[kind])
    given, explained = given_for(model), reference.explain(inputs, context)
    p, by_inputs, by_context = gradients(model, inputs, context, given)
    np.testing.assert_allclose(p, reference.predict(inputs, context), atol=1e-5)
    expected = measured(reference, inputs, context, given)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(by_inputs, expected, rtol=1e-3, atol=1e-3)
    assert by_context is None or not by_context.any()
    slope = {"logit": p * (1 - p), "log": p, "itself": np.ones_like(p)}[model.config.record.link]
    expected = (np.moveaxis(explained.weights, -2, 0) * slope * given).reshape(8, -1, 40).sum(axis=1)
    free = ~explained.clipped.reshape(-1, 40).any(axis=0)
    assert free.sum() > 30
    np.testing.assert_allclose(by_inputs[:, free], expected[:, free], atol=1e-5)


@pytest.mark.compiles
def test_gradients_go_through_the_base_predictor(way):
    module, gradients = way

    def first_three(inputs: Any) -> Any:
        return 1 / (1 + abs(inputs[:3] - 4) ** 1.5)

    model, reference, inputs, context = learned(module, base_predictor=first_three)
    given = given_for(model)
    _, by_inputs, _ = gradients(model, inputs, context, given)
    np.testing.assert_allclose(by_inputs, measured(reference, inputs, context, given), rtol=1e-3, atol=1e-3)
    assert by_inputs[:3].any()
    assert not by_inputs[3:].any()


@pytest.mark.compiles
def test_where_an_input_is_clipped_the_slope_is_zero(way):
    module, gradients = way
    model, _, inputs, context = learned(module, loss="squared_error", value_clipping=2.0)
    inputs[:4] = np.sign(inputs[:4]) * 2.5
    _, by_inputs, _ = gradients(model, inputs, context, given_for(model))
    assert not by_inputs[:4].any()
    assert by_inputs[4:].any()


def jacobian_of(name: str, model: Any, inputs: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Derivatives of the predictions of one head, (B,), by inputs: (B, input_size, B)."""
    if name == "tf":
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            x = tf.constant(inputs)
            tape.watch(x)
            p = model.serve(x, tf.constant(context))
        return tape.jacobian(p, x, experimental_use_pfor=False).numpy()
    if name == "jax":
        import jax

        predict = functools.partial(load_backend("jax").predict, model.config, model.params)
        by_columns, by_rows = (kind(lambda x: predict(x, context)[0])(inputs) for kind in (jax.jacfwd, jax.jacrev))
        np.testing.assert_allclose(by_columns, by_rows, atol=1e-6)
        return np.asarray(by_rows)
    import torch

    return torch.func.jacrev(lambda x: model(x, torch.tensor(context)))(torch.tensor(inputs)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "jax", "tf"])
def test_a_jacobian_has_the_gradient_of_each_sample(name):
    model, _, inputs, context = learned(load_backend(name))
    jacobian = jacobian_of(name, model, inputs[:, :6], context[:, :6])
    gradient = WAYS[name](model, inputs, context, np.ones(40, np.float32))[1][:, :6]
    np.testing.assert_allclose(jacobian.diagonal(axis1=0, axis2=2), gradient, atol=1e-6)
    assert np.count_nonzero(jacobian) <= gradient.size  # a prediction depends on its own sample alone


@pytest.mark.slow
def test_predictions_of_jax_are_differentiated_by_weights():
    gln_jax = load_backend("jax")
    import jax

    model, _, inputs, context = learned(gln_jax, loss="squared_error", bias=False)

    def total(weights: Any) -> Any:
        return gln_jax.predict(model.config, model.params._replace(weights=weights), inputs, context).sum()

    slopes = jax.grad(total)(model.params.weights)
    weights = sum(float((slope * array).sum()) for slope, array in zip(slopes, model.params.weights, strict=True))
    # Without a bias predictions are proportional to the weights of each of the two layers, which gives their sum twice.
    np.testing.assert_allclose(weights, 2 * float(total(model.params.weights)), rtol=1e-4)


@pytest.mark.slow
def test_learning_of_jax_has_no_derivative_and_says_so():
    gln_jax = load_backend("jax")
    import jax

    model, _, inputs, context = learned(gln_jax, loss="squared_error", bias=False)
    targets, rates = inputs[:1], np.full(40, 0.1, np.float32)

    def total(inputs: Any) -> Any:
        return gln_jax.learn(model.config, model.params, inputs, context, targets, rates)[1].sum()

    for derivative in (jax.grad(total), jax.jacfwd(total)):
        with pytest.raises(TypeError, match=r"learning has no derivative: .* differentiate gln_jax\.predict"):
            derivative(inputs)
