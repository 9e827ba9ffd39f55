"""Halfspaces chosen before a network learns: which splits are found, and what they bring to a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import clear_of_hyperplanes
from sklearn.metrics import log_loss

from gln.engine.networks.tree_halfspaces import (
    MAX_DEPTH,
    OFFSETS,
    PENALTY,
    best_gap,
    choose_halfspaces,
    gains_of_candidates,
    max_samples,
)
from gln.sklearn import GLNClassifier, GLNRegressor
from gln_numpy import GLN

Z = np.random.default_rng(0).normal(size=(6, 1000)).astype(np.float32)
ONES, NOISE = np.ones(1000), np.random.default_rng(1).normal(size=1000)
TASKS: dict[str, Any] = {
    "two classes": ({}, lambda x: (x > 0.4).astype(int)),
    "three classes": ({"num_classes": 3}, lambda x: (x > 0.4) + (x > 1.2).astype(int)),
    "twelve classes": ({"num_classes": 12}, lambda x: np.digitize(x, np.linspace(-2, 2, 11))),
    "numbers": ({"loss": "squared_error"}, lambda x: np.where(x > 0.4, 1.0, -1.0)),
    "two targets": ({"loss": "squared_error", "num_outputs": 2}, lambda x: np.stack([x > 0.4, x < 0.4]).astype(float)),
    "two labels": ({"num_outputs": 2}, lambda x: np.stack([x > 0.4, x < 0.4])),
    "quantiles": ({"loss": "quantile", "quantiles": [0.1, 0.9]}, lambda x: np.where(x > 0.4, 1.0, -1.0)),
    "variances": ({"loss": "variance"}, lambda x: np.where(x > 0.4, 2.0, 0.1) * NOISE),
}


def network(**options):
    return GLN([8, 4], 6, 6, context_map_size=3, context_features=3, seed=0, **options)


@pytest.mark.parametrize("task", TASKS)
def test_the_first_split_is_where_the_targets_change(task):
    options, make = TASKS[task]
    planes, offsets = choose_halfspaces(network(**options).config, Z, make(Z[2]), ONES)
    assert planes.shape == (12, 3, 6)
    assert offsets.shape == (12, 3)
    np.testing.assert_allclose(np.linalg.norm(planes, axis=2), 1, rtol=1e-5)
    assert ((planes != 0).sum(axis=2) <= 3).all()
    np.testing.assert_array_equal(planes[8:], planes[:4])  # the second layer has those of the first again
    assert len(np.unique(offsets[:8], axis=0)) == 8  # neurons differ
    assert np.mean(np.abs(planes[:8, 0, 2]) > 0.9) > 0.6  # most neurons split the third column first
    if task != "twelve classes":
        of_column = offsets[:8, 0] / planes[:8, 0, 2]
        assert np.median(np.abs(of_column[np.abs(planes[:8, 0, 2]) > 0.99] - 0.4)) < (0.2 if "three" not in task else 1)


def test_the_choice_depends_on_the_seed_and_on_the_weights_alone():
    config, y = network().config, (Z[0] + Z[1] > 0).astype(int)
    (first, _), (again, _) = (choose_halfspaces(config, Z, y, ONES) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    heavier, _ = choose_halfspaces(config, Z, y, np.where(Z[0] > 0, 5.0, 0.2))
    assert not np.array_equal(first, heavier)


def test_the_gain_is_that_of_leaves_fitted_to_gradients():
    rng = np.random.default_rng(1)
    gradients, weights, leaves = rng.normal(size=(50, 2)), rng.random(50) + 0.5, rng.integers(0, 4, 50)
    sides, sums = rng.random((50, 7)) < 0.4, np.column_stack([gradients, weights]).astype(np.float32)
    found = gains_of_candidates(sides, 2, 7, leaves, sums, 4)
    for candidate in range(5):
        slow = 0.0
        for leaf in range(4):
            for side in (False, True):
                inside = (leaves == leaf) & (sides[:, 2 + candidate] == side)
                slow += np.square(gradients[inside].sum(axis=0)).sum() / (weights[inside].sum() + PENALTY)
        assert found[candidate] == pytest.approx(slow, rel=1e-5)


def test_the_best_gap_is_that_of_all_offsets_tried_one_by_one():
    rng = np.random.default_rng(5)
    projection = (rng.integers(0, 40, 300) / 7).astype(np.float32)  # so few values that all gaps are tried
    leaves, sums = rng.integers(0, 2, 300), np.column_stack([rng.normal(size=300) + (projection > 3), np.ones(300)])
    values = np.unique(projection)
    gains = []
    for value in values[:-1]:
        gains.append(0.0)
        for inside in [(leaves == leaf) & ((projection > value) == side) for leaf in (0, 1) for side in (False, True)]:
            gains[-1] += sums[inside, 0].sum() ** 2 / (sums[inside, 1].sum() + PENALTY)
    best = int(np.argmax(gains))
    assert len(values) < OFFSETS
    of_leaves = leaves, sums.astype(np.float32), 2
    assert best_gap(projection, projection.argsort(), *of_leaves) == (values[best], values[best + 1])
    low, high = best_gap(np.ones(300, np.float32), np.arange(300), *of_leaves)
    assert low == high  # no gap


def test_more_halfspaces_are_chosen_on_more_samples():
    assert [max_samples(k) for k in (1, 3, 4, 6, 8)] == [2000, 2000, 4000, 10_000, 10_000]


def test_beyond_the_deepest_tree_halfspaces_are_random():
    y = (Z[0] + Z[1] > 0).astype(int)
    (few, _), (many, offsets) = (
        choose_halfspaces(GLN([2], 6, 6, context_map_size=k, context_features=3, seed=0).config, Z, y, ONES)
        for k in (MAX_DEPTH, MAX_DEPTH + 5)
    )
    assert many.shape == (2, MAX_DEPTH + 5, 6)
    np.testing.assert_array_equal(many[0, :MAX_DEPTH], few[0])
    np.testing.assert_allclose(np.linalg.norm(many, axis=2), 1, rtol=1e-5)
    assert len(np.unique(offsets[0])) == MAX_DEPTH + 5


def test_splits_keep_clear_of_samples_where_values_are_few():
    """Sums of a few columns of 0 and 1 are equal but for rounding, which is no gap to split in."""
    rng = np.random.default_rng(2)
    table = np.concatenate(
        [rng.random((5, 1000)) < [[0.5], [0.2], [0.05], [0.01], [0.002]], rng.integers(0, 4, (3, 1000))]
    )
    z = ((table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)).astype(np.float32)
    y = (table[0] + table[5] > rng.integers(0, 4, 1000)).astype(int)
    model = GLN([16], 8, 8, context_map_size=MAX_DEPTH + 2, context_features=3, seed=0)
    planes, offsets = choose_halfspaces(model.config, z, y, ONES)
    model.set_state({**model.get_state(), "hyperplanes.1": planes, "hyperplane_bias.1": offsets})
    assert clear_of_hyperplanes(model, z).all()


def test_columns_that_never_vary_are_no_obstacle():
    z = np.zeros((2, 40), np.float32)
    config = GLN([4], 2, 2, context_map_size=2, context_features=3, seed=0).config
    planes, offsets = choose_halfspaces(config, z, np.arange(40) % 2, np.ones(40))
    assert np.isfinite(planes).all()
    assert np.isfinite(offsets).all()
    alone = GLNClassifier(random_state=0, n_epochs=1, layer_sizes=(4,), context_map_size=1).fit([[1.0], [1.0]], [0, 1])
    np.testing.assert_allclose(alone.predict_proba([[1.0]]), [[0.5, 0.5]], atol=0.1)


def test_steps_of_combinations_are_learned():
    """Classes change at a tilted border, which neither cells nor halfspaces at random find."""
    rng = np.random.default_rng(4)
    samples = rng.uniform(-1, 1, (3000, 8))
    y = ((samples[:, 0] + samples[:, 1] > 0.2) != (samples[:, 2] - samples[:, 3] > 0)).astype(int)
    model = GLNClassifier(random_state=0).fit(samples[:2000], y[:2000])
    assert log_loss(y[2000:], model.predict_proba(samples[2000:])) < 0.5


def test_only_networks_with_cells_choose():
    model = GLNRegressor(random_state=0, n_epochs=1).fit(Z.T, Z[2] + NOISE)
    repeated: dict[str, list[bool]] = {}
    for network, role in model.learner_.means.members:
        state = network.get_state()
        same = np.array_equal(state["hyperplanes.1"][: len(state["hyperplanes.2"])], state["hyperplanes.2"])
        repeated.setdefault(role.name, []).append(same)
    assert repeated == {"columns": [False] * 6, "expanded": [True] * 6}
