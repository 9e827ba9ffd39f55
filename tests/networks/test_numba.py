"""Specific to Numba: threads do not change results, and code is compiled only once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, run_python

import gln_numpy


@pytest.mark.parametrize("threads", [2, 3, 64])  # with 3, threads share neurons; 64 is more than there are units
def test_threads_change_nothing(gln_numba, digits, monkeypatch, threads):
    images, labels = digits[0][:, :98], digits[1][:98]
    expected, alone, shared = (
        module.GLN([4, 7], 784, 784, num_classes=10, seed=3, learning_rate=1.0)
        for module in (gln_numpy, gln_numba, gln_numba)
    )
    assert 98 * min(4 * (4 * 784 + 10 * 785), 7 * (4 * 784 + 10 * 5)) >= gln_numba.SHARED_PRODUCTS
    for _ in range(2):
        outputs = []
        for model, count in ((expected, 1), (alone, 1), (shared, threads)):
            monkeypatch.setattr(gln_numba.settings, "NUMBA_NUM_THREADS", count)
            outputs.append([model.predict(images, images), model.predict_online(images, images, labels)])
        np.testing.assert_allclose(outputs[1], outputs[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(outputs[2], outputs[1], rtol=0, atol=1e-6)
    for name, array in alone.get_state().items():
        np.testing.assert_allclose(shared.get_state()[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


LEARN = """
import os, signal, threading
import numpy as np
import gln_numba

inputs = np.random.default_rng(0).normal(size=(100, 600)).astype(np.float32)
targets = np.arange(600) % 3
assert 512 * 8 * (4 * 100 + 3 * 101) > gln_numba.SHARED_PRODUCTS

def learn(threads=2):
    gln_numba.settings.NUMBA_NUM_THREADS = threads
    model = gln_numba.GLN([8, 2], 100, 100, num_classes=3, seed=0)
    return [model.predict(inputs, inputs), model.predict_online(inputs, inputs, targets, 5), model._weights]

def same(arrays):
    return all(np.allclose(*pair, rtol=0, atol=1e-5) for pair in zip(arrays, expected, strict=True))

expected = learn(threads=1)
"""

AT_ONCE = """
results = []
threads = [threading.Thread(target=lambda: results.extend(learn() for _ in range(20))) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(results) == 40
assert all(map(same, results))
"""

FORKED = """
def learn_in_child():
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if same(learn()) else 1)
    assert os.waitpid(child, 0)[1] == 0

learn_in_child()
assert same(learn())
learn_in_child()
thread = threading.Thread(target=lambda: [learn() for _ in range(20)])
thread.start()
learn_in_child()  # while another call is using them
thread.join()
assert same(learn())
"""


def run(script: str) -> None:
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", LEARN + script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_models_in_two_threads(gln_numba):
    run(AT_ONCE)


@pytest.mark.slow
def test_large_calls_leave_pytorchs_number_of_threads_alone(gln_numba):
    """`numba.get_num_threads` would start Numba's own threads, and PyTorch would use as many."""
    pytest.importorskip("torch")
    run("import torch; torch.set_num_threads(1); learn(); assert torch.get_num_threads() == 1")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_process(gln_numba):
    run(FORKED)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11])
def test_gates_are_those_of_numpy(gln_numba, digits, count):
    model = gln_numpy.GLN([7, 5], 784, 784, context_bias=0.5, seed=3)
    planes, context = (model._hyperplanes, model._hyperplane_bias), np.ascontiguousarray(digits[0][:, :count])
    expected = gln_numpy.gate(*planes, context)
    np.testing.assert_array_equal(gln_numba.gate(*planes, context), expected)
    np.testing.assert_array_equal(
        gln_numba.gate(*planes, np.repeat(context, 5, axis=1)), np.repeat(expected, 5, axis=0)
    )


@pytest.mark.parametrize("count", [1, 7, 8, 300])
def test_gates_that_see_few_values_are_those_of_all_values(gln_numba, count):
    rng = np.random.default_rng(count)
    model = gln_numba.GLN([7, 5], 9, 9, context_features=4, seed=3)
    model.fit_hyperplanes(rng.normal(size=(9, 50)))
    planes, context = model._planes, rng.normal(size=(9, count)).astype(np.float32)
    assert planes[1].shape == (12, 4, 4)
    contexts = gln_numba.gate_block(*planes, context, np.ascontiguousarray(context.T)).T
    np.testing.assert_array_equal(contexts, gln_numba.gate(planes[0], planes[3], context))
    np.testing.assert_array_equal(contexts, model.contexts(context))
    np.testing.assert_array_equal(contexts, [model.contexts(x[:, None])[0] for x in context.T])
    assert count == 1 or (contexts[1:] != contexts[:-1]).any(axis=0).all()


def test_a_sample_on_the_halfspaces_is_on_one_side_whatever_comes_with_it(gln_numba):
    rng = np.random.default_rng(0)
    model, x = gln_numba.GLN([64], 9, 9, context_features=2, seed=3), rng.normal(size=(9, 300)).astype(np.float32)
    state = model.get_state()
    state["hyperplane_bias.1"] = (state["hyperplanes.1"] @ x[:, 0]).astype(np.float32)  # to the last bit or two
    model.set_state(state)
    alone = model.contexts(x[:, :1])[0]
    assert 0 < np.count_nonzero(alone) < 64
    for count in (2, 4, 7, 8, 300):
        np.testing.assert_array_equal(model.contexts(x[:, :count])[0], alone)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_narrow_and_wide_layers_learn_the_same(gln_numba, num_classes):
    """Sample by sample and row by row; inputs of zero make a layer wide without changing its results."""
    rng = np.random.default_rng(4)
    x, targets = rng.normal(size=(5, 200)), rng.integers(0, num_classes, 200)
    options: dict[str, Any] = {"num_classes": num_classes, "weight_clipping": 0.6, "learning_rate": 1.0, "seed": 0}
    narrow, wide = (gln_numba.GLN([6, 3], size, 5, **options) for size in (5, gln_numba.NARROW))
    state = narrow.get_state()
    first = np.zeros(wide.get_state()["weights.1"].shape)
    first[..., :5], first[..., -1] = state["weights.1"][..., :5], state["weights.1"][..., -1]
    wide.set_state(state | {"weights.1": first})
    padded = np.concatenate([x, np.zeros((gln_numba.NARROW - 5, 200))])
    outputs = narrow.predict_online(x, x, targets), wide.predict_online(padded, x, targets)
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-5)
    assert np.abs(narrow.get_state()["weights.1"]).max() == np.float32(0.6)  # some were clipped


def test_all_loops_add_up_in_one_order(gln_numba):
    """Of single samples and of blocks, learned or not, in narrow layers and in wide ones, with heads left out."""
    rng, count = np.random.default_rng(0), 9
    contexts, still = np.zeros((5, count), np.int64), np.zeros(count, np.float32)  # one row, which does not move
    targets = (rng.integers(0, 3, count) == np.arange(3)[:, None]).astype(np.float32)
    for size in [*range(1, 40), 63, 64, 65, 255, 256, 257, 300]:
        model = gln_numba.GLN([5], size, 2, num_classes=3, context_map_size=0)
        model.set_state(model.get_state() | {"weights.1": rng.normal(size=(5, 1, 3, size + 1)) / size})
        x, network = rng.normal(size=(size, count)).astype(np.float32), model.of_sample[1]

        def logits(part: slice, y: np.ndarray = targets, **changes: Any) -> np.ndarray:
            z = gln_numba.read(x[:, part].copy(), network.bias, network.bound)  # noqa: B023 - called in this round
            block = contexts[:, part].copy(), y[:, part].copy(), still[part]
            return gln_numba.learn_block(network._replace(**changes), z, *block)[..., :5]  # noqa: B023

        expected, partly = logits(slice(0, count), learns=False), targets.copy()
        partly[0] = np.inf
        np.testing.assert_array_equal(logits(slice(0, count), partly)[1:], expected[1:])
        for small in (True, False):
            alone = [logits(slice(b, b + 1), small=small) for b in range(count)]
            np.testing.assert_array_equal(logits(slice(0, count), small=small), expected)
            np.testing.assert_array_equal(np.concatenate(alone, axis=1), expected)


def test_arrays_of_all_kinds_run_what_is_compiled(gln_numba):
    rng = np.random.default_rng(0)
    model, inputs, targets = gln_numba.GLN([3, 2], 5, 5), rng.normal(size=(5, 600)), rng.random(600)
    inputs, targets = inputs.astype(np.float32), targets.astype(np.float32)
    functions = [each for each in vars(gln_numba).values() if hasattr(each, "signatures")]
    assert {"gate", "gate_block", "learn_block", "learn_samples", "learn_units", "outputs", "read"} <= {
        each.__name__ for each in functions
    }

    def learn(inputs: np.ndarray, targets: np.ndarray) -> list[int]:
        model.predict(inputs, inputs)
        model.predict(inputs[:, 0], inputs[:, 0], targets[0])
        model.predict_online(inputs, inputs, targets)  # in two blocks, the second of which is a slice
        model.explain(inputs[:, :1], inputs[:, :1])
        model.explain(inputs[:, :9], inputs[:, :9])
        model.set_state({name: np.array(array, order="F") for name, array in model.get_state().items()})
        return [len(function.signatures) for function in functions]

    compiled = learn(inputs, targets)
    assert learn(np.asfortranarray(inputs)[:, ::-1], targets[::-1]) == compiled
    inputs.flags.writeable = targets.flags.writeable = False
    assert learn(inputs, targets) == compiled
    deep, other = gln_numba.GLN([4, 3, 2], 5, 5, num_classes=3, context_features=2), inputs.astype(np.float64)
    deep.predict_online(other, other, np.arange(600) % 3, 7)
    assert [len(function.signatures) for function in functions] == compiled


@pytest.mark.slow
def test_a_single_message_says_that_numba_compiles(gln_numba, tmp_path):
    script = """
import contextlib, io
import numpy as np
from gln.backends import load_backend
errors = io.StringIO()
with contextlib.redirect_stderr(errors):
    gln_numba = load_backend("numba")
    gln_numba.mix(np.ones(3, np.float32), np.ones(3, np.float32), np.float32(1))  # calls another compiled function
print(errors.getvalue().count("gln: waiting for Numba to compile"))
"""
    assert run_python(script, NUMBA_CACHE_DIR=str(tmp_path)).strip() == "1"
    for file in tmp_path.glob("**/*.nbi"):
        os.utime(file, (0, 0))  # older than the source, as after another checkout of the same text
    assert run_python(script, NUMBA_CACHE_DIR=str(tmp_path)).strip() == "0"
