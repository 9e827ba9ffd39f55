"""`benchmarks.images`: its network is that of `gln_numba`, no prediction sees later bits, the mixture sums to one."""

from __future__ import annotations

import os

import numpy as np
import pytest

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("numba", "joblib", "scipy"):
        pytest.importorskip(package)

import gln_numba
from benchmarks import images
from gln.mnist import PIXELS, SIDE

pytestmark = pytest.mark.slow

PIXEL = np.array([13 * SIDE + 14])
IMAGES = 300


@pytest.fixture(scope="module")
def bits():
    return images.load_bits(IMAGES, 1)[0]


def test_network_is_that_of_gln_numba(bits):
    """One pixel at a constant rate, predicted by the last weights: the same, during learning and afterwards."""
    square = images.Square(PIXEL, bits)
    square.rates[:], square.steady, square.recent = 0.5, np.float32(np.inf), np.float32(1e30)
    near = images.neighbours(bits, PIXEL).astype(np.float32).T
    z, _, y = square.features(bits, PIXEL, learns=True)
    square.tables[:] = 0
    model = gln_numba.GLN(
        images.SIZES,
        z.shape[1] - 1,
        len(near),
        context_map_size=images.HALFSPACES,
        learning_rate=0.5,
        pred_clipping=float(1 / (1 + np.exp(images.BOUND))),
    )
    state, first = dict(model.get_state()), 0
    for layer, (size, weights) in enumerate(zip(images.SIZES, square.weights, strict=True), start=1):
        places = square.places[:, first : first + size].T  # (n, m)
        bit = np.arange(images.HALFSPACES)
        state[f"hyperplanes.{layer}"] = (places[:, None] == 2.0 ** bit[:, None]).astype(np.float32)
        state[f"hyperplane_bias.{layer}"] = np.full((size, images.HALFSPACES), 0.5, np.float32)
        state[f"weights.{layer}"], first = weights[:, :, None].copy(), first + size
    model.set_state(state)
    expected = model.predict_online(z[:, :-1].T, near, y)
    np.testing.assert_allclose(sigmoid(square.predict(bits, learns=True)[:, 0]), expected, atol=1e-4)
    z, *_ = square.features(bits, PIXEL, learns=False)
    frozen = square.predict(bits, learns=False)[:, 0]
    np.testing.assert_allclose(sigmoid(frozen), model.predict(z[:, :-1].T, near), atol=1e-4)
    assert np.ptp(expected) > 0.5


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def test_a_prediction_sees_only_earlier_bits(bits):
    pixels = images.squares()[9]
    square = images.Square(pixels, bits)
    square.predict(bits, learns=True)
    before = square.predict(bits, learns=False)
    assert (square.predict(bits, learns=False) == before).all()  # frozen
    for place in (0, 24, len(pixels) - 1):
        changed = bits.copy()
        changed[:, pixels[place] :] ^= 1
        after = square.predict(changed, learns=False)
        assert (after[:, place] == before[:, place]).all()
        assert (square.predict(changed, learns=False, pixels=pixels[[place]])[:, 0] == before[:, place]).all()


def test_an_image_is_learned_after_its_prediction(bits):
    pixels, changed = images.squares()[6], bits.copy()
    changed[-1] ^= 1
    one, other = (images.Square(pixels, bits[:100]).predict(each, learns=True) for each in (bits, changed))
    assert (one[:-1] == other[:-1]).all()
    assert images.nats(one[-100:], bits[-100:, pixels]).mean() < images.nats(one[:100], bits[:100, pixels]).mean()


def test_squares_are_all_pixels():
    assert np.array_equal(np.sort(np.concatenate(images.squares())), np.arange(PIXELS))


def test_mixture_is_a_distribution(monkeypatch):
    """The probabilities of all sixteen images of four pixels sum to one."""
    monkeypatch.setattr(images, "COMPONENTS", 3)
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.uint8)
    train = every[np.random.default_rng(0).integers(0, 8, 200)]
    nats = images.fit_mixture(train, every)
    assert np.exp(-nats).sum() == pytest.approx(1, abs=1e-4)
    assert nats[:8].mean() < nats[8:].mean()
