"""Specific to PyTorch: a module whose state is buffers, without gradients; and recording, compiling and mapping it."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from backends import load_backend
from helpers import ROOT, assert_same_state, run_python
from hypothesis import given, settings
from hypothesis import strategies as st

gln_torch = load_backend("torch")

import torch  # noqa: E402 - after skipping without PyTorch

HEADS = pytest.mark.parametrize("num_classes", [2, 3], ids=["one head", "three heads"])

Stream = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def network(seed: int = 1, **options: Any) -> Any:
    return gln_torch.GLN([5, 3], 8, 6, seed=seed, **{"num_classes": 3, "context_map_size": 3, **options})


@pytest.fixture(scope="module")
def stream() -> Stream:
    """Inputs (8, 40), side information (6, 40), classes (40,)."""
    rng = np.random.default_rng(3)
    inputs, context = (torch.tensor(rng.normal(size=(size, 40)), dtype=torch.float32) for size in (8, 6))
    return inputs, context, torch.tensor(rng.integers(0, 3, 40))


def targets_of(model: Any, stream: Stream) -> torch.Tensor:
    return stream[2] if model.config.num_heads > 1 else stream[2] == 0


def learned(stream: Stream, seed: int = 1, **options: Any) -> Any:
    model = network(seed, **options)
    model.predict_online(*stream[:2], targets_of(model, stream))
    return model


def assert_equal_and_apart(one: Any, other: Any, stream: Stream) -> None:
    """Assert that both predict and learn the same, and independently of each other."""
    before = other.predict(*stream[:2])
    assert torch.equal(one.predict(*stream), before)
    assert torch.equal(other.predict(*stream[:2]), before)
    assert torch.equal(other.predict(*stream), before)
    assert int(one.step) == int(other.step) == 80
    assert torch.equal(one.predict(*stream[:2]), other.predict(*stream[:2]))


# ---- State -----------------------------------------------------------------------------------------------------------


def test_state_is_buffers():
    model = network()
    assert isinstance(model, torch.nn.Module)
    assert list(model.parameters()) == []
    state = model.state_dict()
    config = json.loads(bytes(state.pop("_extra_state").tolist()))
    assert gln_torch.Config(**config) == model.config
    assert {name: (tuple(array.shape), array.dtype) for name, array in state.items()} == {
        "hyperplanes": ((8, 3, 6), torch.float32),
        "hyperplane_bias": ((8, 3), torch.float32),
        "weights_1": ((40, 3, 9), torch.float32),
        "weights_2": ((24, 3, 6), torch.float32),
        "step": ((), torch.int64),
    }


def through_torch_save(state: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    torch.save(state, folder / "state.pt")
    return torch.load(folder / "state.pt", weights_only=True)


def through_safetensors(state: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    safetensors.torch.save_file(state, folder / "state.safetensors")
    return safetensors.torch.load_file(folder / "state.safetensors")


def through_an_older_version(state: dict[str, torch.Tensor], _: Path) -> dict[str, torch.Tensor]:
    config = json.loads(bytes(state["_extra_state"].tolist()))
    del config["context_features"]
    return {**state, "_extra_state": torch.tensor(list(json.dumps(config).encode()), dtype=torch.uint8)}


@pytest.mark.parametrize("through", [through_torch_save, through_safetensors, through_an_older_version])
def test_state_dict_saved_and_loaded_carries_everything(stream, tmp_path, through):
    model, other = learned(stream), network(seed=2)
    assert not torch.equal(other.predict(*stream[:2]), model.predict(*stream[:2]))
    other.load_state_dict(through(model.state_dict(), tmp_path))
    assert other.get_state()["step"] == 40
    assert_equal_and_apart(model, other, stream)


def test_state_of_a_part_of_a_larger_module(stream):
    outer, other = (torch.nn.ModuleDict({"gln": model}) for model in (learned(stream), network(seed=2)))
    assert {name.split(".")[0] for name in outer.state_dict()} == {"gln"}
    other.load_state_dict(outer.state_dict())
    assert_equal_and_apart(outer["gln"], other["gln"], stream)


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "variance"])
def test_state_of_every_loss(stream, loss):
    kind: dict[str, Any] = {"num_classes": 2, "loss": loss, "value_clipping": 4.0}
    kind |= {"quantiles": (0.1, 0.5)} if loss == "quantile" else {"num_outputs": 2}
    model, other = network(**kind), network(seed=2, **kind)
    targets = stream[0][0] if loss == "quantile" else stream[0][:2]
    model.predict_online(*stream[:2], targets)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.predict(*stream[:2]), model.predict(*stream[:2]))
    assert torch.equal(model(*stream[:2]), model.predict(*stream[:2]))
    others = [{"num_classes": 2}, {**kind, "value_clipping": 5.0}]
    others += [{**kind, "quantiles": (0.1, 0.6)}] if loss == "quantile" else []
    for name, arguments in zip(("loss", "value_clipping", "quantiles"), others, strict=False):
        with pytest.raises(RuntimeError, match=rf"^{name}: expected "):
            network(**arguments).load_state_dict(model.state_dict())


UNLIKE: dict[str, tuple[dict[str, Any], str]] = {
    "pred_clipping": ({"pred_clipping": 0.01}, "0.001, got 0.01"),
    "weight_clipping": ({"weight_clipping": 0.3}, "200.0, got 0.3"),
    "normalize": ({"normalize": False}, "True, got False"),
    "bias": ({"bias": False, "input_size": 9}, "True, got False"),  # with the same shapes
}


@pytest.mark.parametrize("name", list(UNLIKE))
@pytest.mark.parametrize("prefix", ["", "0."], ids=["alone", "in a larger module"])
def test_the_state_of_a_different_network_is_refused(name, prefix):
    changes, message = UNLIKE[name]
    arguments: dict[str, Any] = {"layer_sizes": [3], "input_size": 8, "context_size": 6}
    model, other = (gln_torch.GLN(**{**arguments, **some}, seed=seed) for seed, some in enumerate(({}, changes)))
    before, outer = copy.deepcopy(model), torch.nn.Sequential(model) if prefix else model
    state = {prefix + key: array for key, array in other.state_dict().items()}
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=rf"(^|; ){prefix}{name}: expected {message}$"):
            outer.load_state_dict(state, strict)
    assert_same_state(model, before)


@pytest.mark.slow
@pytest.mark.parametrize("convert", ["half", "bfloat16", "double"])
def test_a_converted_network_still_checks_the_config(stream, convert):
    model = getattr(learned(stream), convert)()
    other = network(seed=2)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.weights_1, learned(stream).weights_1, rtol=1e-2, atol=0)
    with pytest.raises(RuntimeError, match=r"pred_clipping: expected 0\.002, got 0\.001"):
        network(pred_clipping=0.002).load_state_dict(model.state_dict())


def through_pickle(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.slow
@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("compiled", [False, True], ids=["", "compiled"])
def test_copies_and_pickles_are_apart(stream, copied, compiled):
    model = learned(stream)
    if compiled:
        model.compile(backend="eager")
    assert_equal_and_apart(model, copied(model), stream)


def test_buffers_stay_where_they_are(stream):
    model = network()
    before = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    model.fit_hyperplanes(stream[1])
    model.set_state(learned(stream).get_state())
    assert {name: buffer.data_ptr() for name, buffer in model.named_buffers()} == before


@pytest.mark.parametrize("learn", ["predict", "predict_online"])
def test_a_network_made_in_inference_mode_learns_outside(stream, learn):
    with torch.inference_mode():
        model = network(seed=2)
        model.set_state(network().get_state())
        model.fit_hyperplanes(stream[1])
    plain = network()
    plain.fit_hyperplanes(stream[1])
    plain.set_state(model.get_state())
    assert torch.equal(getattr(model, learn)(*stream), getattr(plain, learn)(*stream))


# ---- Tensors in and out ----------------------------------------------------------------------------------------------


def test_learning_records_no_gradient(stream):
    inputs = stream[0].clone().requires_grad_()
    model, plain = network(), network()
    for call in ("predict", "predict_online"):
        output = getattr(model, call)(inputs, *stream[1:])
        assert torch.equal(output, getattr(plain, call)(*stream))
        assert not output.requires_grad
    assert not any(buffer.requires_grad for buffer in model.buffers())
    with torch.no_grad():
        assert torch.equal(model(inputs, stream[1]), model.predict(*stream[:2]))
    with torch.inference_mode():
        model.predict(inputs, *stream[1:])
    assert int(model.step) == 120


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(lambda x: list(x.clone().requires_grad_()), id="requiring gradients"),
        pytest.param(lambda x: [list(row) for row in x.clone().requires_grad_()], id="of single numbers"),
        pytest.param(lambda x: list(x.bfloat16()), id="bfloat16"),
    ],
)
def test_lists_of_tensors(stream, kind):
    inputs = stream[0].bfloat16().float()  # numbers that every dtype can represent
    expected = network().predict(inputs, *stream[1:])
    assert torch.equal(network().predict(kind(inputs), *stream[1:]), expected)


def test_low_precision_inputs_are_read_as_they_are(stream):
    inputs = stream[0].bfloat16()
    output = network().predict(inputs, *stream[1:])
    assert output.dtype == torch.float32
    assert torch.equal(output, network().predict(inputs.float(), *stream[1:]))


def test_autocast_does_not_round(stream):
    expected = learned(stream).predict(*stream[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = learned(stream)
        assert torch.equal(model.predict(*stream[:2]), expected)
        assert torch.equal(model(*stream[:2]), expected)


def test_base_predictor_gets_a_tensor(stream):
    seen = []

    def base_predictor(inputs: torch.Tensor) -> torch.Tensor:
        seen.append((inputs.dtype, tuple(inputs.shape)))
        return inputs.clamp(0.1, 0.9)

    model = network(base_predictor=base_predictor).double()
    model.predict(*stream[:2])
    model(*stream[:2])
    assert seen == [(torch.float32, (8, 1)), (torch.float64, (8, 40)), (torch.float64, (8, 40))]


def test_moves_with_to():
    model = network().to("meta")
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}
    with torch.device("meta"):
        model = network()
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}
    assert model.state_dict()["_extra_state"].device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_the_cpu(stream):
    model, there = network(), network().to("cuda")
    expected = model.predict_online(*stream)
    output = there.predict_online(stream[0].cuda(), stream[1], stream[2].cuda())
    assert output.is_cuda
    torch.testing.assert_close(output.cpu(), expected, rtol=0, atol=1e-4)
    output = there(stream[0].cuda(), stream[1].cuda())
    assert output.is_cuda
    torch.testing.assert_close(output.cpu(), model(*stream[:2]), rtol=0, atol=1e-4)
    there.set_state(there.get_state())
    assert {buffer.device.type for buffer in there.buffers()} == {"cuda"}


def test_double_computes_in_float64(stream):
    model = network().double()
    output = model.predict_online(*stream)
    assert output.dtype == torch.float64
    np.testing.assert_allclose(output, network().predict_online(*stream), atol=1e-4)
    assert torch.equal(model(*stream[:2]), model.predict(*stream[:2]))
    model.set_state(model.get_state())
    assert model.weights_1.dtype == torch.float64
    assert model.get_state()["weights.1"].dtype == np.float32


def test_memory_of_a_batch_is_bounded(monkeypatch, stream):
    """Blocks of a few rows give the same as whole layers, and gates never get more samples than a block has."""
    expected = network().predict_online(*stream)
    together = network()(*stream[:2])
    seen: list[int] = []

    def gate(hyperplanes: torch.Tensor, hyperplane_bias: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        seen.append(context.shape[1])
        return whole_gate(hyperplanes, hyperplane_bias, context)

    whole_gate = gln_torch.gate
    monkeypatch.setattr(gln_torch, "gate", gate)
    monkeypatch.setattr(gln_torch, "COPIES_BYTES", 4 * 3 * 9 * 4)  # four rows of the first layer
    monkeypatch.setattr(gln_torch, "BLOCK_SAMPLES", 16)
    torch.testing.assert_close(network().predict_online(*stream), expected, rtol=0, atol=1e-5)
    for call in (network().predict, network()):
        torch.testing.assert_close(call(*stream[:2]), together, rtol=0, atol=1e-6)
    assert seen == 3 * [16, 16, 8]


@pytest.mark.parametrize("kind", [{}, {"num_classes": 2, "loss": "quantile", "quantiles": (0.1, 0.5)}], ids=str)
def test_a_network_made_on_meta_is_filled_by_its_state(stream, kind):
    samples = *stream[:2], stream[0][0] if kind else stream[2]
    model = network(**kind)
    model.predict_online(*samples)
    with torch.device("meta"):
        empty = network(seed=2, **kind)
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    for name, buffer in empty.named_buffers():
        torch.testing.assert_close(buffer, model.get_buffer(name), rtol=0, atol=0)
    for call in (lambda each: each.predict(*stream[:2]), lambda each: each.predict_online(*samples)):
        torch.testing.assert_close(call(empty), call(model), rtol=0, atol=0)


# ---- `forward` traced, exported, mapped and compiled -----------------------------------------------------------------


def first_three(inputs: torch.Tensor) -> torch.Tensor:  # (8, B) -> (3, B)
    return inputs[:3].sigmoid()


@HEADS
@pytest.mark.parametrize("base_predictor", [None, first_three])
@pytest.mark.parametrize("bias", [True, False], ids=["", "no bias"])
def test_forward_is_predict(stream, num_classes, base_predictor, bias):
    model = learned(stream, num_classes=num_classes, base_predictor=base_predictor, bias=bias)
    before = copy.deepcopy(model)
    inputs, context = stream[:2]
    expected = model.predict(inputs, context)
    assert torch.equal(model(inputs, context), expected)
    assert torch.equal(model(inputs=inputs.numpy(), context_inputs=context.tolist()), expected)
    assert torch.equal(model(inputs[:, 0], context[:, 0]), model.predict(inputs[:, 0], context[:, 0]))
    assert model(inputs[:, :0], context[:, :0]).shape == expected[..., :0].shape
    assert_same_state(model, before)


def test_forward_checks_shapes(stream):
    inputs, context = stream[:2]
    calls: dict[str, Callable[[], Any]] = {
        r"inputs: expected shape \(8, B\) or \(8,\), got shape \(7, 40\)": lambda: model(inputs[1:], context),
        r"inputs: expected shape \(8, B\) or \(8,\), got shape \(1, 8, 40\)": lambda: model(inputs[None], context),
        r"context_inputs: expected shape \(6, 40\), got shape \(6, 39\)": lambda: model(inputs, context[:, 1:]),
        r"context_inputs: expected shape \(6,\), got shape \(6, 1\)": lambda: model(inputs[:, 0], context[:, :1]),
        r"base_predictor's output: expected shape \(8, 40\), got shape \(5, 40\)": lambda: odd(inputs, context),
    }
    model, odd = network(), network(base_predictor=lambda x: x.sigmoid()[: 8 if x.shape[1] == 1 else 5])
    for message, call in calls.items():
        with pytest.raises(ValueError, match=f"^{message}$"):
            call()


def traced(model: Any, *example: torch.Tensor) -> Callable[..., torch.Tensor]:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, example), file)
    file.seek(0)
    return torch.jit.load(file)


def exported(model: Any, *example: torch.Tensor) -> Callable[..., torch.Tensor]:
    batch = torch.export.Dim("batch")
    return torch.export.export(model, example, dynamic_shapes=({1: batch}, {1: batch})).module()


def mapped(model: Any, *_: torch.Tensor) -> Callable[..., torch.Tensor]:
    return torch.func.vmap(model, in_dims=1, out_dims=-1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from torch.jit, which is deprecated
@HEADS
@pytest.mark.parametrize("base_predictor", [None, first_three])
@pytest.mark.parametrize("record", [traced, exported, mapped])
def test_recorded_functions_predict_the_same(stream, record, num_classes, base_predictor):
    """Recorded with five samples, then called with others, and with another number of them."""
    model = learned(stream, num_classes=num_classes, base_predictor=base_predictor)
    inputs, context = stream[:2]
    again = record(model, inputs[:, :5].contiguous(), context[:, :5].contiguous())
    for some in (slice(5, 40), slice(7, 9)):
        expected = model.predict(inputs[:, some], context[:, some])
        torch.testing.assert_close(again(inputs[:, some], context[:, some]), expected, rtol=0, atol=1e-6)


def test_gradients_are_those_of_the_weights_that_predicted(stream):
    """Learning between forward and backward does not change what autograd has saved."""
    model, inputs = learned(stream), stream[0].clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(inputs, stream[1]).sum(), inputs)
    output = model(inputs, stream[1])
    model.predict_online(*stream)
    (found,) = torch.autograd.grad(output.sum(), inputs)
    assert torch.equal(found, expected)
    (after,) = torch.autograd.grad(model(inputs, stream[1]).sum(), inputs)
    assert not torch.allclose(after, expected)


# ---- Compiled --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_compile_takes_what_torch_compile_takes(stream):
    """`forward` is one graph, compiled by the chosen backend, and learning still works."""
    made: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        made.append(len(inputs))
        return graph.forward

    model, plain = network(), network()
    model.compile(backend=backend, fullgraph=True)
    torch.testing.assert_close(model(*stream[:2]), plain(*stream[:2]), rtol=0, atol=1e-6)
    assert len(made) == 1
    assert torch.equal(model.predict_online(*stream), plain.predict_online(*stream))
    assert_same_state(model, plain)
    torch.testing.assert_close(model(*stream[:2]), plain(*stream[:2]), rtol=0, atol=1e-6)
    assert len(made) == 1


@pytest.mark.slow
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
    run_python(script)


def test_forward_is_mapped_over_batches_and_over_networks(stream):
    inputs, context = (torch.as_tensor(array[:, :24], dtype=torch.float32) for array in stream[:2])
    batches = [array.unflatten(1, (4, 6)).movedim(1, 0) for array in (inputs, context)]  # 4 batches of 6
    model = network()
    expected = torch.stack([model(*pair) for pair in zip(*batches, strict=True)])
    torch.testing.assert_close(torch.func.vmap(model)(*batches), expected, rtol=0, atol=1e-6)
    models = [network(seed=seed) for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)

    def call(parameters: Any, buffers: Any) -> torch.Tensor:
        return torch.func.functional_call(model, (parameters, buffers), (inputs, context))

    expected = torch.stack([each(inputs, context) for each in models])
    torch.testing.assert_close(torch.func.vmap(call)(parameters, buffers), expected, rtol=0, atol=1e-6)


# ---- Blocks ----------------------------------------------------------------------------------------------------------


def chunks(rows: np.ndarray, learns: bool = True) -> list[list[np.ndarray]]:
    layer = gln_torch.Layer(torch.zeros(1, 1, 2), torch.zeros(rows.shape[1], 1, 2), torch.zeros(1) if learns else None)
    return [list(chunk) for chunk in layer.chunks(rows)]


def test_chunks_of_the_example_in_their_docstring(monkeypatch):
    monkeypatch.setattr("gln_torch.CHUNK", 2)
    found = [[array.tolist() for array in chunk] for chunk in chunks(np.array([[5, 2, 5, 5]]))]
    assert found == [[[2, 5], [[1, 0], [1, 2]], [[1, 1], [0, 1]]], [[5], [[3], [3]], [[1], [0]]]]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(count=st.integers(1, 70), learns=st.booleans(), contexts=st.integers(1, 6), seed=st.integers(0, 99))
def test_chunks_hold_every_visit_once_and_in_order(count, learns, contexts, seed):
    rows = np.random.default_rng(seed).integers(0, contexts, (3, count)) + contexts * np.arange(3)[:, None]
    of_row: dict[int, list[list[int]]] = {}
    for picked, samples, mask in chunks(rows, learns):
        assert (np.diff(mask.sum(axis=0)) >= 0).all()  # rows with more samples come last
        for row, column, is_sample in zip(picked.tolist(), samples.T, mask.T, strict=True):
            of_row.setdefault(row, []).append(column[is_sample].tolist())
            assert set(column.tolist()) == set(column[is_sample].tolist())  # padding repeats samples of the same chunk
    for row, parts in of_row.items():
        assert [b for part in parts for b in part] == np.flatnonzero((rows == row).any(axis=0)).tolist()
        assert all(len(part) <= gln_torch.CHUNK for part in parts) if learns else len(parts) == 1
    assert of_row.keys() == set(rows.ravel().tolist())


def test_the_products_of_a_block_are_those_of_its_functions():
    """Else each sample would be learned alone, which gives the same numbers and takes many times as long."""
    assert gln_torch._is_inlined(gln_torch.mix, gln_torch.update)


@pytest.mark.slow
def test_a_convolution_below_a_network_is_trained_by_the_loss():
    """docs/backends.md states these figures."""
    lines = run_python((ROOT / "examples" / "trained_features.py").read_text(encoding="utf-8")).splitlines()
    accuracies = [float(line.split(": ")[1]) for line in lines]
    np.testing.assert_allclose(accuracies, [0.911, 0.901, 0.938], atol=0.01)
