"""What is special to Numba: work shared among threads gives what it gives in turn."""

from __future__ import annotations

import numpy as np
import pytest
from backends import load_backend

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
