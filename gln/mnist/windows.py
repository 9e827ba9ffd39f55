"""Halfspaces that see only a window of an image."""

from __future__ import annotations

import numpy as np

from gln.engine.batches import check_integer
from gln.engine.saving import bad
from gln.engine.types import ArrayLike, Network
from gln.mnist.digits import PIXELS, SIDE

TRIES = 10  # pairs of digits drawn for a halfspace, at most


def fit_windows(network: Network, samples: ArrayLike, window: int = 6) -> None:
    """Redraw every halfspace as the bisector of two samples within a window of `window` x `window` pixels.

    A neuron then picks its weights by parts of strokes, which many digits share, rather than by the similarity of whole
    digits. Windows lie anywhere inside the image. A halfspace's coefficients are 0 outside its window; inside,
    it is the perpendicular bisector of the two digits' pixels. If these are equal, as they often are at the edges of
    the image, another window and pair are drawn, up to ten in total. If the last pair is equal too, all pixels of the
    window get the same coefficient, and the halfspace's boundary passes beside that digit.

    The network's seed determines windows and pairs; the same seed gives the same halfspaces in every backend. Weights
    are unchanged, but may be in memory twice while the state is set.

    Args:
        network: an untrained `GLN` of any backend, with 784 values of side information.
        samples: (784, B), B at least 2: digits in the form in which the network gets them as side information.
        window: width and height in pixels, from 1 to 28.

    Raises:
        ValueError: an argument outside its range or of the wrong size, NaN or infinity; nothing has changed then.
        RuntimeError: the network has already learned; moving its halfspaces would scramble what it learned.
    """
    if network.config.context_size != PIXELS:
        raise bad("network", f"a context_size of {PIXELS}", network.config.context_size)
    if int(network.step) > 0:
        raise RuntimeError(f"network: expected one before its first update, got step {int(network.step)}")
    check_integer("window", window, 1)
    if window > SIDE:
        raise bad("window", f"at most {SIDE}", window)
    digits = np.ascontiguousarray(network.check_array("samples", samples, (PIXELS, None)).T)  # (B, 784)
    if len(digits) < 2:
        raise bad("samples", "two digits or more", len(digits))
    rng = np.random.default_rng(network.config.seed)
    state = network.get_state(copy=False)
    for layer, n in enumerate(network.config.layer_sizes, start=1):
        planes, bias = _bisectors(rng, digits, (n, network.config.context_map_size), window)
        state |= {f"hyperplanes.{layer}": planes, f"hyperplane_bias.{layer}": bias}
    network.set_state(state)


def _bisectors(
    rng: np.random.Generator,
    digits: np.ndarray,  # (B, 784)
    shape: tuple[int, int],  # (n, k)
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Hyperplanes (n, k, 784) and their offsets (n, k), float32. Only windows are kept in float64."""
    inside = (SIDE * np.arange(window)[:, None] + np.arange(window)).ravel()  # pixels of a window in the corner
    seen = np.zeros((*shape, window * window), np.int64)
    x, y = np.zeros((2, *seen.shape), np.float32)
    for _ in range(TRIES):
        corner = SIDE * rng.integers(0, SIDE - window + 1, shape) + rng.integers(0, SIDE - window + 1, shape)
        first = rng.integers(0, len(digits), shape)
        second = (first + 1 + rng.integers(0, len(digits) - 1, shape)) % len(digits)
        equal = (x == y).all(axis=-1)  # at first all are
        seen[equal] = corner[equal][:, None] + inside
        x[equal], y[equal] = (digits[pair[equal][:, None], seen[equal]] for pair in (first, second))
    normal = x.astype(np.float64) - y
    equal = (x == y).all(axis=-1)
    normal[equal] = 1
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    planes = np.zeros((*shape, PIXELS), np.float32)
    np.put_along_axis(planes, seen, normal.astype(np.float32), axis=-1)
    terms = normal * (x.astype(np.float64) + y) / 2
    beside = equal * 1e-3 * np.abs(terms).sum(axis=-1)  # on equal digits, rounding would decide their side
    return planes, (terms.sum(axis=-1) + beside).astype(np.float32)
