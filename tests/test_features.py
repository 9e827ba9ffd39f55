"""What a GLN is fed with: the running standardisation of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from gln_features import Standardizer


def stream(count: int = 50) -> np.ndarray:
    """Values of very different scales and places, (4, count); the last never changes."""
    rng = np.random.default_rng(3)
    return np.array([[1.0], [1e-3], [1e6], [0.0]]) * rng.normal(size=(4, count)) + np.array([[0], [5], [1e8], [7]])


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_each_sample_is_standardised_by_those_up_to_it(floor):
    x = stream()
    expected = np.zeros_like(x)
    for i in range(x.shape[1]):
        seen = x[:, : i + 1]
        deviation = seen.std(axis=1) + floor * (seen.max(axis=1) - seen.min(axis=1))
        varies = deviation > 0
        expected[varies, i] = ((x[:, i] - seen.mean(axis=1))[varies]) / deviation[varies]
    standardised = Standardizer(4, floor).learn(x)
    assert standardised.dtype == np.float32
    np.testing.assert_allclose(standardised, expected, rtol=1e-5, atol=1e-5)
    assert (standardised[3] == 0).all()
    assert (standardised[:, 0] == 0).all()


def test_one_call_is_many_calls():
    x = stream()
    whole, parts = Standardizer(4), Standardizer(4)
    at_once = whole.learn(x)
    in_turn = np.concatenate([parts.learn(part) for part in np.split(x, [1, 2, 20, 20], axis=1)], axis=1)
    np.testing.assert_allclose(in_turn, at_once, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(parts.transform(x), whole.transform(x), rtol=1e-6, atol=1e-6)


def test_transform_counts_nothing():
    x, standardizer = stream(), Standardizer(4, 0.1)
    standardizer.learn(x)
    before = standardizer.get_state()
    z = standardizer.transform(x + 1)
    scale = x.std(axis=1) + 0.1 * (x.max(axis=1) - x.min(axis=1))
    scale[3] = 1  # what never varied has no scale
    np.testing.assert_allclose(z, (x + 1 - x.mean(axis=1)[:, None]) / scale[:, None], rtol=1e-4)
    after = standardizer.get_state()
    assert all((before[name] == after[name]).all() for name in before)
    assert (
        Standardizer(4).transform(x) == x.astype(np.float32)
    ).all()  # before the first: mean 0, nothing to divide by


def test_state_goes_to_another():
    x, one, other = stream(), Standardizer(4), Standardizer(4)
    one.learn(x)
    other.set_state(one.get_state())
    np.testing.assert_array_equal(one.learn(x), other.learn(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.zeros(3)}, r"state\['mean'\]: expected finite numbers of shape \(4,\)"),
        ({"squares": -np.ones(4)}, r"state\['squares'\]"),
        ({"count": np.nan}, r"state\['count'\]"),
        ({"other": 1}, "state: expected a mapping of the names"),
    ],
)
def test_bad_state_changes_nothing(change, message):
    standardizer = Standardizer(4)
    standardizer.learn(stream())
    before = standardizer.get_state()
    with pytest.raises(ValueError, match=message):
        standardizer.set_state({**before, **change})
    after = standardizer.get_state()
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize("samples", [np.zeros((3, 2)), np.zeros(4), [["a"]] * 4, np.full((4, 1), np.nan)])
def test_bad_samples_change_nothing(samples):
    standardizer = Standardizer(4)
    for call in (standardizer.learn, standardizer.transform):
        with pytest.raises(ValueError, match="samples: expected"):
            call(samples)
    assert standardizer.count == 0


@pytest.mark.parametrize(("size", "floor"), [(0, 0), (1.5, 0), (True, 0), (3, -1), (3, np.nan)])
def test_bad_arguments(size, floor):
    with pytest.raises(ValueError, match=r"size|floor"):
        Standardizer(size, floor)
