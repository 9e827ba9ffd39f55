"""Load the MNIST digits, from the file in this package or from another, and deskew them."""

from __future__ import annotations

import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
from scipy import ndimage

from gln.engine.parallel import in_threads
from gln.engine.saving import MOST_TIMES

SIDE = 28  # pixels
PIXELS = SIDE * SIDE
Digits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load_mnist(deskew: bool = True, path: str | Path | None = None) -> Digits:
    """The MNIST digits, from the file in this package or from another with the same arrays.

    Args:
        deskew: whether to shear every digit upright; see `deskew`.
        path: an `.npz` file with `x_train` and `x_test`, (N, 28, 28) or (N, 784) uint8, and `y_train` and `y_test`,
            (N,) integers from 0 to 9. None loads the file in this package: 60,000 digits to train, 10,000 to test.

    Returns:
        x_train, y_train, x_test, y_test: images (N, 784) float32 in [0, 1], labels (N,) int64.

    Raises:
        ValueError: the file is missing, truncated or invalid; the message names it and says what was expected.
    """
    file = Path(str(resources.files("gln.mnist") / "mnist.npz")) if path is None else Path(path)
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > MOST_TIMES * file.stat().st_size:
            raise ValueError(f"{size} bytes, over {MOST_TIMES} times the size of the file")
        with np.load(file, allow_pickle=False) as arrays:  # never unpickle: a file could run code
            parts = [_checked(part, arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        expected = "an .npz file with the arrays x_train, y_train, x_test, y_test"
        raise ValueError(f"{file}: expected {expected}, got {error}") from error
    (x_train, y_train), (x_test, y_test) = parts
    return _deskewed(x_train) if deskew else x_train, y_train, _deskewed(x_test) if deskew else x_test, y_test


def _checked(part: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if images.dtype != np.uint8 or images.ndim not in (2, 3) or images.shape[1:] not in ((SIDE, SIDE), (PIXELS,)):
        raise ValueError(f"x_{part} of dtype {images.dtype} and shape {images.shape}, not uint8 (N, {SIDE}, {SIDE})")
    if len(images) == 0:
        raise ValueError(f"an empty x_{part}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or (labels > 9).any() or (labels < 0).any():
        raise ValueError(f"y_{part} that is not {len(images)} integers 0 to 9")
    return images.reshape(-1, PIXELS).astype(np.float32) / np.float32(255), labels.astype(np.int64)


def deskew(images: np.ndarray) -> np.ndarray:
    """Shear every digit upright about its centre of mass, and move it to the middle of the image.

    The shear makes the covariance of rows and columns zero, with the pixels' intensities as mass, as in the MNIST
    experiments of the GLN paper. Intensities between pixels are interpolated linearly.

    Args:
        images: (N, 784), finite, at least 0; an empty image stays empty.

    Returns:
        (N, 784) float32, in the range of the input.

    Raises:
        ValueError: wrong shape, a negative intensity, NaN or infinity.
    """
    images = np.asarray(images)
    if images.ndim != 2 or images.shape[1] != PIXELS or images.dtype.kind not in "biuf":
        raise ValueError(f"images: expected numbers of shape (N, {PIXELS}), got {images.dtype} of shape {images.shape}")
    if not (np.isfinite(images).all() and (images >= 0).all()):
        raise ValueError("images: expected finite intensities of at least 0, got NaN, infinity or a negative one")
    return _deskewed(images.astype(np.float32, copy=False))


def _deskewed(images: np.ndarray, block: int = 2000) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)

    def sheared(start: int) -> np.ndarray:
        image = images[start : start + block].reshape(-1, SIDE, SIDE)
        mass = image.sum(axis=(1, 2), keepdims=True)
        mass[mass == 0] = 1
        row = (image * rows).sum(axis=(1, 2), keepdims=True) / mass  # the centre of mass, (block, 1, 1)
        column = (image * columns).sum(axis=(1, 2), keepdims=True) / mass
        covariance = (image * (rows - row) * (columns - column)).sum(axis=(1, 2), keepdims=True)
        variance = (image * (rows - row) ** 2).sum(axis=(1, 2), keepdims=True)
        shear = covariance / np.where(variance > 0, variance, 1)
        # Where each pixel of the new images comes from; the first coordinate is the image.
        down = rows - SIDE / 2
        right = columns - SIDE / 2
        which = np.broadcast_to(np.arange(len(image)).reshape(-1, 1, 1), image.shape)
        source = [which, row + down, column + right + shear * down]
        return ndimage.map_coordinates(image, source, order=1).reshape(-1, PIXELS)

    # In blocks, because coordinates need far more memory than the images
    blocks = in_threads(sheared, [(start,) for start in range(0, len(images), block)])
    return np.concatenate([images[:0], *blocks])
