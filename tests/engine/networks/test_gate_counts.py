"""`GateCounts`: how often each row of weights was picked, and what becomes of it when halfspaces are replaced."""

from __future__ import annotations

import numpy as np
import pytest

from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.surgery import with_inputs
from gln_numpy import GLN


def counted(network: GLN, samples: np.ndarray, heads: int = 1) -> GateCounts:  # (D, B)
    counts = GateCounts.zeros([network], heads)
    counts.learn([network.contexts(samples.astype(np.float32))], np.ones((heads, samples.shape[1])))
    return counts


def test_each_sample_counts_once_in_each_neuron():
    network, samples = GLN([5, 3], 4, 4, context_map_size=2, seed=0), np.random.default_rng(0).normal(size=(4, 50))
    [rows] = counted(network, samples).rows
    assert rows.shape == (8, 4, 1)
    assert rows.sum(axis=1).ravel().tolist() == 8 * [50]
    [mean] = GateCounts([rows]).mean([network.contexts(samples.astype(np.float32))])
    assert 8 * mean.sum() == sum(n * n for n in rows.ravel())


@pytest.mark.parametrize("numba", [True, False])
def test_heads_count_samples_whose_target_is_known(numba, monkeypatch):
    if not numba:
        monkeypatch.setattr("gln.engine.networks.gate_counts.compiled", lambda loop: loop)
    network, samples = (
        GLN([3], 2, 2, context_map_size=1, seed=0),
        np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32),
    )
    counts, targets = GateCounts.zeros([network], 2), np.where(np.arange(20) < 5, np.nan, [[1.0], [2.0]])
    targets[1, :] = np.nan
    counts.learn([network.contexts(samples)], targets)
    assert counts.rows[0].sum(axis=1).tolist() == 3 * [[15, 0]]
    assert counts.with_outputs([1], 2).rows[0].shape == (3, 2, 3)


def test_counts_of_another_shape_raise_an_error():
    """The loop that counts is compiled: it would write beyond the end of an array."""
    network, samples = (
        GLN([3], 2, 2, context_map_size=1, seed=0),
        np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32),
    )
    counts, contexts = GateCounts.zeros([network], 2), network.contexts(samples)
    for picked, heads, message in ((contexts, 3, "got 3 neurons and 3 heads"), (contexts[:, :2], 2, "got 2 neurons")):
        with pytest.raises(ValueError, match=f"counts: expected 3 neurons and 2 heads, {message}"):
            counts.learn([picked], np.ones((heads, 20)))
    assert not counts.rows[0].any()


def test_counts_follow_the_halfspaces_that_are_replaced():
    """With sparse halfspaces, some are replaced when side information is added; samples so far had 0 there."""
    old = GLN([200], 6, 3, context_map_size=3, context_features=2, context_bias=1.0, seed=0)
    new, samples = with_inputs(old, [*range(6), -1, -1], 4), np.random.default_rng(0).normal(size=(3, 4000))
    [rows] = counted(old, samples).widened([old], [new]).rows
    [expected] = counted(new, np.concatenate([samples, np.zeros((1, 4000))])).rows
    planes = new.get_state()["hyperplanes.1"]
    sees_new = planes[..., 3] != 0
    assert 10 < sees_new.any(axis=1).sum() < 100
    only_new = (sees_new <= (planes[..., :3] == 0).all(axis=2)).all(axis=1)
    assert (only_new & sees_new.any(axis=1)).any()
    np.testing.assert_array_equal(rows[only_new], expected[only_new])  # known exactly
    assert np.abs(rows - expected).sum() / expected.sum() < 0.03  # those that see two values: as a normal value has it
    assert (rows.sum(axis=1) == 4000).all()


def test_without_sparse_halfspaces_all_counts_stay():
    old = GLN([20], 6, 3, context_bias=1.0, seed=0)
    counts = counted(old, np.random.default_rng(0).normal(size=(3, 100)))
    [rows] = counts.widened([old], [with_inputs(old, [*range(6), -1, -1], 4)]).rows
    np.testing.assert_array_equal(rows, counts.rows[0])
