"""A GLN on top of PyTorch modules: samples as rows, gradients to the modules below, and learning outside autograd."""

from __future__ import annotations

import copy
import re
import shutil
from inspect import signature
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from helpers import assert_same_state

gln_torch = load_backend("torch")

import torch  # noqa: E402 - after skipping without PyTorch
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from gln.torch_layer import GLNLayer  # noqa: E402

KINDS: dict[str, dict[str, Any]] = {
    "one head": {},
    "three heads": {"num_classes": 3},
    "means": {"loss": "squared_error", "num_outputs": 2},
}


@pytest.fixture(params=list(KINDS))
def layer(request: pytest.FixtureRequest) -> Any:
    return GLNLayer([6, 1], 20, 20, seed=0, **KINDS[request.param])


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 20, generator=torch.Generator().manual_seed(seed))


def targets_for(layer: Any, count: int) -> torch.Tensor:
    values = rows(count, 1)[:, : layer.gln.config.num_heads]
    if layer.gln.config.logits:
        return values.argmax(dim=1) if layer.gln.config.num_heads > 1 else values[:, 0] > 0
    return values


def test_rows_go_in_and_come_out(layer):
    x, context, plain = rows(30), rows(30, 2), copy.deepcopy(layer.gln)
    targets = targets_for(layer, 30)
    assert layer(x).shape == (30, plain.config.num_heads)
    assert layer(x[:0]).shape == (0, plain.config.num_heads)
    assert torch.equal(layer(x), plain.predict(x.T, x.T).reshape(-1, 30).T)
    assert torch.equal(layer(x, context), plain.predict(x.T, context.T).reshape(-1, 30).T)
    columns = targets.T if targets.ndim == 2 else targets
    assert torch.equal(layer.learn(x, targets), plain.predict_online(x.T, x.T, columns).reshape(-1, 30).T)
    column = targets if targets.ndim == 2 else targets[:, None]
    learned = plain.predict_online(x.T, context.T, columns).reshape(-1, 30).T
    assert torch.equal(layer.learn(x, column, context), learned)
    assert_same_state(layer.gln, plain)
    assert int(layer.gln.step) == 60


def test_the_arguments_are_those_of_a_network():
    layer, x = GLNLayer([6, 1], 20, 20, seed=0, num_classes=3), rows(5)
    assert torch.equal(layer(x), gln_torch.GLN([6, 1], 20, 20, seed=0, num_classes=3).predict(x.T, x.T).T)
    assert signature(GLNLayer).parameters == signature(gln_torch.GLN).parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        GLNLayer([6, 1], 20, 20, foo=3)  # type: ignore[call-arg]


def test_a_fitted_layer_standardises_what_it_is_given():
    """Samples in another unit give the same predictions, and a constant feature tells nothing."""
    x, new = rows(200), rows(50, 1)
    x[:, 3] = new[:, 3] = 7.0
    layers = [GLNLayer([6, 1], 20, 20, seed=0, num_classes=3) for _ in range(2)]
    unit, offset = torch.logspace(-2, 2, 20), torch.linspace(-5, 5, 20)
    targets = x[:, 0] + x[:, 1] > 0
    for layer, samples in zip(layers, (x, unit * x + offset), strict=True):
        layer.fit_hyperplanes(samples)
        layer.learn(samples, targets.long())
    predicted = layers[0](new)
    assert torch.allclose(predicted, layers[1](unit * new + offset), atol=1e-3)
    scale = x.std(dim=0, correction=0) + 0.2 * (x.amax(dim=0) - x.amin(dim=0))
    scale[3] = 1
    hand = (x - x.mean(dim=0)) / scale
    plain = gln_torch.GLN([6, 1], 20, 20, seed=0, num_classes=3)
    plain.fit_hyperplanes(hand.T)
    plain.predict(hand.T, hand.T, targets.long())
    assert_same_state(layers[0].gln, plain, atol=1e-4)
    loaded = GLNLayer([6, 1], 20, 20, seed=1, num_classes=3)
    loaded.load_state_dict(layers[0].state_dict())
    assert torch.equal(loaded(new), predicted)
    with pytest.raises(ValueError, match=r"inputs: expected shape \(B, 20\)"):
        layers[0].fit_hyperplanes(x[:, :19])
    with pytest.raises(RuntimeError, match="before its first update"):
        layers[0].fit_hyperplanes(unit * x)
    x[0, 0] = torch.nan
    with pytest.raises(ValueError, match="inputs: expected finite numbers of at least one row"):
        layers[0].fit_hyperplanes(x)
    assert torch.equal(layers[0](new), predicted)


def test_export_refuses_a_module_that_learns(layer):
    class Learns(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gated = layer

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.gated.learn(x, y)

    state = {name: value.clone() for name, value in layer.state_dict().items()}
    samples = rows(5), targets_for(layer, 5)
    for make in (torch.export.export, torch.jit.trace):
        with pytest.raises(TypeError, match="learn: an exported or traced graph can only predict"):
            make(Learns(), samples)
    assert_same_state(layer.state_dict(), state)


def test_a_loop_over_batches_in_mixed_precision_learns(layer):
    x, targets, plain = rows(30), targets_for(layer, 30), copy.deepcopy(layer)
    for some, y in DataLoader(TensorDataset(x, targets), batch_size=8):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer.learn(some, y)
            p = layer(some)
    plain.learn(x, targets)
    assert_same_state(layer.gln, plain.gln, atol=1e-6)
    torch.testing.assert_close(p, plain(x[24:]), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_exported_layer_predicts_batches_of_other_sizes(layer):
    layer.learn(rows(30), targets_for(layer, 30))
    exported = torch.export.export(layer, (rows(8),), dynamic_shapes=({0: torch.export.Dim("rows", min=2)},))
    for count in (3, 20):
        assert torch.allclose(exported.module()(rows(count)), layer(rows(count)), atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of the exporters: one is deprecated, and both look at shapes
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_onnx_runtime_predicts_what_a_convolution_below_a_layer_does(tmp_path, dynamo):
    runtime = pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript", reason="torch.onnx.export needs it, except with dynamo=False")
    torch.manual_seed(0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.below = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, stride=2), nn.Flatten())
            self.gated = GLNLayer([6, 1], 36, 64, num_classes=3, seed=0)

        def forward(self, x):
            return self.gated(self.below(x), x)

    model, x = Network(), torch.randn(30, 64)
    model.gated.learn(model.below(x), x[:, 0].gt(0) + x[:, 1].gt(0), x)
    sizes = {"dynamic_shapes": [{0: "B"}]} if dynamo else {"dynamic_axes": {"x": {0: "B"}}}
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", input_names=["x"], dynamo=dynamo, **sizes)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for count in (30, 7):
        [p] = session.run(None, {"x": x[:count].numpy()})
        np.testing.assert_allclose(p, model(x[:count]).detach(), rtol=0, atol=1e-6)


def test_gradients_reach_what_is_below_and_learning_does_not(layer):
    x, targets = rows(30), targets_for(layer, 30)
    below = nn.Linear(20, 20)
    model = nn.Sequential(below, layer)
    assert {name for name, _ in model.named_parameters()} == {"0.weight", "0.bias"}
    layer.learn(below(x), targets)
    before = copy.deepcopy(layer.gln)
    model(x).sum().backward()
    assert below.weight.grad is not None
    assert below.weight.grad.any()
    assert_same_state(layer.gln, before)
    gradient = below.weight.grad.clone()
    assert not layer.learn(below(x), targets).requires_grad
    assert torch.equal(below.weight.grad, gradient)


def test_arrays_give_the_numbers_of_tensors(layer):
    x, context, other = rows(20), rows(20, 2), copy.deepcopy(layer)  # no check finds that a square batch is transposed
    targets = targets_for(layer, 20)
    assert torch.equal(layer(x.numpy(), context.numpy()), other(x, context))
    learned = layer.learn(x.numpy(), targets.numpy(), context.numpy())
    assert torch.equal(learned, other.learn(x, targets, context))
    assert_same_state(layer.gln, other.gln)


@pytest.mark.slow
def test_a_compiled_step_learns_like_a_plain_one(layer):
    x, other = rows(30), copy.deepcopy(layer)
    targets, below = targets_for(layer, 30), nn.Linear(20, 20)

    def step(layer: GLNLayer, x: torch.Tensor) -> torch.Tensor:
        z = below(x)
        layer(z).sum().backward()
        return layer.learn(2 * z, targets)

    learned = torch.compile(step, backend="eager")(layer, x)
    gradient, below.weight.grad = below.weight.grad, None
    torch.testing.assert_close(learned, step(other, x), rtol=0, atol=1e-6)
    torch.testing.assert_close(below.weight.grad, gradient, rtol=0, atol=1e-6)
    for name, array in layer.gln.get_state().items():
        np.testing.assert_allclose(array, other.gln.get_state()[name], atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no compiler of C++ here")
@pytest.mark.parametrize("learns_first", [False, True])
def test_inductor_compiles_a_step_that_learns_after_backward(learns_first):
    layers, x = [GLNLayer([6, 1], 20, 20, seed=0) for _ in range(2)], rows(30)
    targets, below = targets_for(layers[0], 30), nn.Linear(20, 20)

    def step(layer: GLNLayer) -> None:
        z = below(x)
        p = layer(z)
        if learns_first:
            layer.learn(z, targets)
        nn.functional.binary_cross_entropy(p[:, 0], targets.float()).backward()
        if not learns_first:
            layer.learn(z, targets)

    step(layers[0])
    gradient, below.weight.grad = below.weight.grad, None
    if learns_first:  # the sentence in `GLNLayer.learn` and docs/backends.md
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.compile(step)(layers[1])
        return
    torch.compile(step)(layers[1])
    torch.testing.assert_close(below.weight.grad, gradient, rtol=0, atol=1e-6)
    assert_same_state(layers[1].gln, layers[0].gln, atol=1e-6)


def test_shapes_in_errors_are_those_that_were_given(layer):
    x, heads = rows(30), layer.gln.config.num_heads
    sequences = x.view(5, 6, 20)
    for bad, shape in ((x[:, :19], (30, 19)), (x.T, (20, 30)), (sequences, (5, 6, 20)), (x[0], (20,))):
        for call in (layer, lambda inputs: layer.learn(inputs, rows(5))):
            with pytest.raises(ValueError, match=re.escape(f"inputs: expected shape (B, 20), got shape {shape}")):
                call(bad)
    with pytest.raises(ValueError, match=r"^context_inputs: expected shape \(30, 20\), got shape \(29, 20\)$"):
        layer(x, rows(29))
    for bad in (torch.zeros(29), torch.zeros(heads + 1, 30), torch.zeros(30, heads + 1)):
        with pytest.raises(ValueError, match=rf"^targets: expected shape .*\(30, .*, got shape \({len(bad)}"):
            layer.learn(x, bad)
    assert int(layer.gln.step) == 0
