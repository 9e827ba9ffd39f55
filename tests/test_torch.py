"""What is special to PyTorch: a module whose state is buffers, without gradients, and what `compile` makes of it."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import load_backend

gln_torch = load_backend("torch")

import torch  # noqa: E402 - only where PyTorch is there, or must be

ROOT = Path(__file__).parents[1]


def network(seed: int = 1, **options: Any) -> Any:
    return gln_torch.GLN([6, 3], 196, 196, context_map_size=3, seed=seed, **{"num_classes": 10, **options})


@pytest.fixture(scope="module")
def stream(digits: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """60 digits of every fourth pixel, (196, 60), and their labels."""
    return torch.tensor(digits[0][::4, :60]), torch.tensor(digits[1][:60].astype(np.int64))


def learned(stream: tuple[torch.Tensor, torch.Tensor], seed: int = 1) -> Any:
    model = network(seed)
    model.predict_online(stream[0], stream[0], stream[1])
    return model


def assert_equal_and_apart(one: Any, other: Any, stream: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Both predict and learn the same from here on, and what one learns the other does not."""
    images, labels = stream
    before = other.predict(images, images)
    assert torch.equal(one.predict(images, images, labels), before)
    assert torch.equal(other.predict(images, images), before)
    assert torch.equal(other.predict(images, images, labels), before)
    assert int(one.step) == int(other.step) == 120
    assert torch.equal(one.predict(images, images), other.predict(images, images))


def test_state_is_buffers():
    model = network()
    assert isinstance(model, torch.nn.Module)
    assert list(model.parameters()) == []
    shapes = {name: tuple(buffer.shape) for name, buffer in model.state_dict().items()}
    assert shapes == {
        "hyperplanes": (9, 3, 196),
        "hyperplane_bias": (9, 3),
        "weights_1": (48, 10, 197),
        "weights_2": (24, 10, 7),
        "step": (),
    }
    assert model.step.dtype == torch.int64
    assert all(buffer.dtype == torch.float32 for name, buffer in model.state_dict().items() if name != "step")


def test_state_dict_saved_and_loaded_carries_everything(stream):
    model, file = learned(stream), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = network(seed=2)
    assert not torch.equal(other.predict(stream[0], stream[0]), model.predict(stream[0], stream[0]))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.get_state()["step"] == 60
    assert_equal_and_apart(model, other, stream)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("compiled", [False, True])
def test_copies_and_pickles_are_apart(stream, copied, compiled):
    model = learned(stream)
    if compiled:
        model.compile()
    assert_equal_and_apart(model, copied(model), stream)


def test_loaded_state_of_a_part_of_a_larger_module(stream):
    outer = torch.nn.ModuleDict({"gln": learned(stream)})
    assert {name.split(".")[0] for name in outer.state_dict()} == {"gln"}
    other = torch.nn.ModuleDict({"gln": network(seed=2)})
    other.load_state_dict(outer.state_dict())
    assert_equal_and_apart(outer["gln"], other["gln"], stream)


def test_no_gradient_is_recorded(stream):
    images, labels = stream[0].clone().requires_grad_(), stream[1]
    model, plain = network(), network()
    for call in ("predict", "predict_online"):
        output = getattr(model, call)(images, images, labels)
        assert torch.equal(output, getattr(plain, call)(stream[0], stream[0], labels))
        assert not output.requires_grad
    assert not model(images, images).requires_grad
    assert not any(buffer.requires_grad for buffer in model.buffers())
    with torch.inference_mode():
        model.predict(images, images, labels)
    assert int(model.step) == 180


@pytest.mark.parametrize("learn", ["predict", "predict_online"])
def test_made_in_inference_mode_it_learns_outside(stream, learn):
    images, labels = stream
    with torch.inference_mode():
        model = network(seed=2)
        model.set_state(network().get_state())
        model.fit_hyperplanes(images)
    plain = network()
    plain.fit_hyperplanes(images)
    plain.set_state(model.get_state())
    expected = getattr(plain, learn)(images, images, labels)
    assert torch.equal(getattr(model, learn)(images, images, labels), expected)


def test_buffers_stay_where_they_are(stream):
    model = network()
    before = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    model.fit_hyperplanes(stream[0])
    model.set_state(learned(stream).get_state())
    assert {name: buffer.data_ptr() for name, buffer in model.named_buffers()} == before


def test_forward_only_predicts(stream):
    model = learned(stream)
    before = model.get_state()
    assert torch.equal(model(stream[0], stream[0]), model.predict(stream[0], stream[0]))
    for name, array in model.get_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_moves_with_to():
    model = network().to("meta")
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}
    with torch.device("meta"):
        model = network()
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("batch_size", [1, 8])
def test_cuda_is_the_cpu(stream, batch_size):
    images, labels = stream
    model, there = network(), network().to("cuda")
    expected = model.predict_online(images, images, labels, batch_size)
    output = there.predict_online(images.cuda(), images, labels.cuda(), batch_size)
    assert output.is_cuda
    torch.testing.assert_close(output.cpu(), expected, rtol=0, atol=1e-4)
    there.set_state(there.get_state())
    assert {buffer.device.type for buffer in there.buffers()} == {"cuda"}


def test_double_computes_in_float64(stream):
    images, labels = stream
    model = network().double()
    output = model.predict_online(images, images, labels)
    assert output.dtype == torch.float64
    np.testing.assert_allclose(output, network().predict_online(images, images, labels), atol=1e-4)
    model.set_state(model.get_state())
    assert model.weights_1.dtype == torch.float64
    assert model.get_state()["weights.1"].dtype == np.float32


def test_low_precision_inputs_are_read_as_they_are(stream):
    images, labels = stream[0].bfloat16(), stream[1]
    output = network().predict(images, images, labels)
    assert output.dtype == torch.float32
    assert torch.equal(output, network().predict(images.float(), images.float(), labels))


def test_autocast_does_not_round(stream):
    images = stream[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = learned(stream).predict(images, images)
    assert torch.equal(output, learned(stream).predict(images, images))


def test_base_predictor_gets_a_tensor(stream):
    seen = []

    def base_predictor(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return inputs.clamp(0.1, 0.9)

    model = network(base_predictor=base_predictor).double()
    model.predict(stream[0], stream[0])
    assert [(tensor.dtype, tuple(tensor.shape)) for tensor in seen] == [
        (torch.float32, (196, 1)),
        (torch.float64, (196, 60)),
    ]


def test_memory_of_a_batch_is_bounded(monkeypatch, stream):
    """Blocks of a few rows give what whole layers give."""
    images, labels = stream
    expected = {size: network().predict_online(images, images, labels, size) for size in (1, 8)}
    monkeypatch.setattr(gln_torch, "ROWS_BYTES", 4 * 10 * 197 * 4)  # four rows of the first layer
    for size, output in expected.items():
        torch.testing.assert_close(network().predict_online(images, images, labels, size), output, rtol=0, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="compiling needs a C++ compiler")
def test_compiled_stream_is_the_eager_one(stream):
    images, labels = stream[0][:, :58], stream[1][:58]  # two samples more than whole compiled calls
    model, compiled = network(), network()
    compiled.compile()
    expected = model.predict_online(images, images, labels)
    torch.testing.assert_close(compiled.predict_online(images, images, labels), expected, rtol=0, atol=1e-5)
    for name, array in model.get_state().items():
        np.testing.assert_allclose(compiled.get_state()[name], array, atol=1e-4)


def test_import_changes_no_setting():
    script = """
import torch
def settings():
    return (torch.get_num_threads(), torch.get_default_device(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(), torch.initial_seed(), torch.are_deterministic_algorithms_enabled())
before = settings()
import gln_torch
assert settings() == before
model = gln_torch.GLN([4, 1], 3, 3, seed=1)
model.predict([0.5, 0.2, 0.1], [0.5, 0.2, 0.1], 1)
assert settings() == before
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
