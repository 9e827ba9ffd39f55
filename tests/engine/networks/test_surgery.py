"""Classes and inputs that are added to a network, which predicts as before; and heads that start at given logits."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_state, to_numpy

from gln.engine.networks.surgery import add_class, set_initial_logits, with_inputs
from gln_numpy import GLN


def test_heads_start_at_given_logits():
    network, x = GLN([4, 3], 5, 5, num_classes=3, seed=0), np.random.default_rng(0).normal(size=(5, 6))
    set_initial_logits(network, np.array([-2.0, 0.0, 1.0]))
    np.testing.assert_allclose(network.predict(x, x), np.tile(1 / (1 + np.exp([[2], [0], [-1]])), 6), rtol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_a_new_class_starts_at_its_rate(bias):
    network, x = GLN([4, 3], 5, 5, seed=0, bias=bias), np.random.default_rng(0).normal(size=(5, 99))
    network.predict_online(x, x, np.arange(99) % 2)
    p = add_class(network).predict(x, x)[2]
    assert np.allclose(p, 1 / 101) == bias


@pytest.mark.slow
@pytest.mark.compiles
def test_a_new_class_leaves_the_others_unchanged(backend, digits):
    images, labels = digits[0][:, :200], digits[1][:200] % 3
    network = backend.GLN([8], 784, 784, num_classes=3, seed=0, learning_rate=1.0)
    network.fit_hyperplanes(images)  # so that they do not follow from the seed
    network.predict_online(images, images, labels)
    before, known = network.get_state(), to_numpy(network.predict(images, images))
    joined = add_class(network, images, images)
    assert (joined.config.num_classes, int(joined.step), joined.learning_rate) == (4, 200, 1.0)
    p = to_numpy(joined.predict(images, images))
    np.testing.assert_allclose(p[:3], known, atol=1e-6)
    assert p[3].mean() < 0.05  # none of them belongs to the new class
    assert_same_state(network, before)
    joined.predict_online(images, images, np.full(200, 3))
    assert (to_numpy(joined.predict(images, images))[3] > p[3]).all()


@pytest.mark.slow
def test_a_third_class_and_further_inputs_change_no_prediction():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 40))
    network = GLN([3, 2], 4, 3, seed=0, context_bias=0.5)
    network.predict_online(x[:4], x[:3], x[0] > 0)
    p = network.predict(x[:4], x[:3])
    three = add_class(network).predict(x[:4], x[:3])
    np.testing.assert_allclose(three[:2], [1 - p, p], atol=1e-6)
    wider = with_inputs(network, [0, 1, 2, 3, -1, -1], 5)
    np.testing.assert_allclose(wider.predict(x, x[:5] * [[1], [1], [1], [0], [0]]), p, atol=1e-6)
    wider.predict_online(x, x[:5], x[5] > 0)
    assert np.abs(wider.get_state()["weights.1"][..., 4:6]).max() > 0.01


@pytest.mark.slow
def test_further_side_information_is_seen_by_some_sparse_halfspaces():
    network = GLN([40, 40], 4, 3, seed=0, context_bias=0.5, context_features=2)
    wider = with_inputs(network, [0, 1, 2, 3, -1, -1], 5)
    models = network, wider, GLN([40, 40], 6, 5, seed=0, context_features=2)
    old, new, drawn = (model.get_state() for model in models)
    for layer in (1, 2):
        planes = new[f"hyperplanes.{layer}"]
        sees_new = (planes[..., 3:] != 0).any(axis=2)
        assert sees_new.any(axis=1).sum() == 10  # a quarter of the neurons
        np.testing.assert_array_equal(planes[sees_new], drawn[f"hyperplanes.{layer}"][sees_new])
        for name in (f"hyperplanes.{layer}", f"hyperplane_bias.{layer}"):
            kept = new[name][..., :3] if "planes" in name else new[name]
            np.testing.assert_array_equal(kept[~sees_new], old[name][~sees_new])
        assert (planes != 0).sum(axis=2).max() == 2


@pytest.mark.slow
def test_a_class_that_cannot_be_added():
    with pytest.raises(ValueError, match="network: expected one with the log-loss"):
        add_class(GLN([2], 3, 3, loss="squared_error"), np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="inputs"):
        add_class(GLN([2], 3, 3, num_classes=3, seed=0), np.zeros((4, 1)), np.zeros((3, 1)))
