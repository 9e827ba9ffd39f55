"""What is special to PyTorch: a module with buffers, `state_dict`, no gradients."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
from backends import load_backend

gln_torch = load_backend("torch")

import torch  # noqa: E402 - only where PyTorch is there, or must be


def network(seed: int = 1, num_classes: int = 3) -> Any:
    return gln_torch.GLN([4, 2], 5, 5, num_classes=num_classes, context_map_size=3, seed=seed)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 12, generator=generator), torch.arange(12) % 3


def learned(batch: tuple[torch.Tensor, torch.Tensor]) -> Any:
    model = network()
    model.predict(batch[0], batch[0], batch[1])
    return model


def assert_same(one: Any, other: Any) -> None:
    state = other.get_state()
    for name, array in one.get_state().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_state_is_buffers_and_nothing_is_a_parameter(batch):
    model = learned(batch)
    assert isinstance(model, torch.nn.Module)
    assert list(model.parameters()) == []
    assert set(model.state_dict()) == {"hyperplanes", "hyperplane_bias", "weights_1", "weights_2", "step"}
    assert int(model.state_dict()["step"]) == 12


def saved_and_loaded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("way", [lambda state: state, saved_and_loaded])
def test_state_dict_carries_all_that_was_learned(batch, way):
    model, other = learned(batch), network(seed=2)
    other.load_state_dict(way(model.state_dict()))
    assert_same(other, model)
    expected = model.predict(batch[0], batch[0], batch[1])  # the rates go on from the count that was loaded
    torch.testing.assert_close(other.predict(batch[0], batch[0], batch[1]), expected, rtol=0, atol=0)
    assert_same(other, model)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_learn_on_their_own(batch, copied):
    model = learned(batch)
    twin = copied(model)
    assert_same(twin, model)
    twin.predict_online(batch[0], batch[0], batch[1])
    assert int(model.step) == 12
    assert int(twin.step) == 24


def test_forward_is_predict_without_targets(batch):
    model = learned(batch)
    torch.testing.assert_close(model(batch[0], batch[0]), model.predict(batch[0], batch[0]), rtol=0, atol=0)
    assert int(model.step) == 12


def test_no_gradients_are_recorded(batch):
    model = network()
    inputs = batch[0].clone().requires_grad_()
    for output in (
        model.predict(inputs, inputs),
        model.predict(inputs, inputs, batch[1]),
        model.predict_online(inputs, inputs, batch[1]),
    ):
        assert isinstance(output, torch.Tensor)
        assert not output.requires_grad
    assert not any(buffer.requires_grad for buffer in model.buffers())


def test_buffers_follow_to_another_device(batch):
    model = network().to("meta")
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_the_same_network(batch):
    model, other = network(), network().to("cuda")
    expected = model.predict(batch[0], batch[0], batch[1])
    output = other.predict(batch[0].to("cuda"), batch[0], batch[1])  # tensors of any device
    assert output.device.type == "cuda"
    torch.testing.assert_close(output.cpu(), expected, rtol=0, atol=1e-5)
