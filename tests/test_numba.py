"""What is special to Numba: work shared among threads gives what it gives in turn, and rows are padded with zeros."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from backends import load_backend
from reference import clear_of_hyperplanes

import gln_numpy


@pytest.mark.parametrize("shared", ["heads", "neurons"])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_threads_change_nothing(digits, monkeypatch, shared, batch_size):
    gln_numba = load_backend("numba")
    everything, nothing = 0, 1 << 60
    monkeypatch.setattr(gln_numba, "CALL_PRODUCTS", everything if shared == "heads" else nothing)
    monkeypatch.setattr(gln_numba, "LAYER_PRODUCTS", everything)
    images, labels = digits[0][:, :98], digits[1][:98]
    expected, model = (
        module.GLN([7, 5], 784, 784, num_classes=10, seed=3, learning_rate=1.0) for module in (gln_numpy, gln_numba)
    )
    of_heads, of_neurons = model._parts(98, batch_size)
    threads = gln_numba.numba.get_num_threads()
    assert (of_heads, of_neurons) == ((min(threads, 10), 1) if shared == "heads" else (1, threads))
    for _ in range(2):
        np.testing.assert_allclose(
            model.predict_online(images, images, labels, batch_size),
            expected.predict_online(images, images, labels, batch_size),
            atol=1e-4,
        )
    np.testing.assert_allclose(model.predict(images, images), expected.predict(images, images), atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
def test_gates_are_those_of_numpy(digits, count):
    gln_numba = load_backend("numba")
    model = gln_numpy.GLN([7, 5], 784, 784, context_bias=0.5, seed=3)
    planes, context = (model._hyperplanes, model._hyperplane_bias), digits[0][:, :count]
    expected = gln_numpy.gate(*planes, context)
    np.testing.assert_array_equal(gln_numba.gate(*planes, context), expected)
    np.testing.assert_array_equal(gln_numba.gate_in_parallel(*planes, context, 2), expected)


@pytest.mark.parametrize("input_size", [14, 15, 16, 17, 31, 32, 33])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_padding_changes_nothing(input_size, bias, num_classes):
    gln_numba, rng = load_backend("numba"), np.random.default_rng(input_size)
    inputs, labels = rng.normal(size=(input_size, 40)), rng.integers(0, num_classes, 40)
    reference, model = (
        module.GLN([15, 16, 17, 33, 2], input_size, input_size, num_classes=num_classes, bias=bias, seed=1)
        for module in (gln_numpy, gln_numba)
    )
    assert clear_of_hyperplanes(reference, inputs).all()
    for batch_size in (1, 7):
        expected, output = (m.predict_online(inputs, inputs, labels, batch_size) for m in (reference, model))
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)
    state = model.get_state()
    for name, array in reference.get_state().items():
        np.testing.assert_allclose(state[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    rest = copy.deepcopy(model)
    assert rest._weights.size > sum(array.size for name, array in state.items() if name.startswith("weights"))
    for weights in rest._of_layers():
        weights[:] = 0
    assert not rest._weights.any()


def test_padding_is_counted_as_memory(monkeypatch):
    gln_numba = load_backend("numba")
    plain, padded = (4 * (2**4 * room + 4 * (5 + 1)) for room in (17, 32))  # one neuron of 16 inputs and the bias
    monkeypatch.setattr(gln_numba, "_memory", lambda: padded)
    gln_numba.GLN([1], 16, 5)
    for memory in (plain, padded - 1):
        monkeypatch.setattr(gln_numba, "_memory", lambda memory=memory: memory)
        with pytest.raises(ValueError, match="expected a network within the"):
            gln_numba.GLN([1], 16, 5)


def test_arrays_of_all_kinds_run_what_is_compiled():
    gln_numba, rng = load_backend("numba"), np.random.default_rng(0)
    model, inputs, targets = gln_numba.GLN([3, 2], 5, 5), rng.normal(size=(5, 8)), rng.random(8)
    inputs, targets = inputs.astype(np.float32), targets.astype(np.float32)
    functions = (gln_numba.gate, gln_numba.transpose, gln_numba.learn_stream)

    def learn(inputs: np.ndarray, targets: np.ndarray) -> list[int]:
        model.predict(inputs, inputs, targets)
        model.predict_online(inputs, inputs, targets)
        model.explain(inputs, inputs)
        model.set_state({name: np.array(array, order="F") for name, array in model.get_state().items()})
        return [len(function.signatures) for function in functions]

    compiled = learn(inputs, targets)
    assert learn(np.asfortranarray(inputs)[:, ::2], targets[::2]) == compiled
    inputs.flags.writeable = targets.flags.writeable = False
    assert learn(inputs, targets) == compiled
