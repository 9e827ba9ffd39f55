"""Features of images: where their edges are, and in which direction they go."""

from __future__ import annotations

import math

import numpy as np

from gln.engine.batches import MAX_FLOAT, check_integer
from gln.engine.types import MatrixLike


def orientation_features(images: MatrixLike, orientations: int = 12, cells: int = 7) -> np.ndarray:
    """Directions of the edges in images, and where they are: histograms of oriented gradients over overlapping cells.

    For each cell and direction, the square root of the sum of the gradients' lengths. Each gradient is shared between
    the two nearest directions and the four nearest cells. Source of the idea: Dalal and Triggs, Histograms of Oriented
    Gradients for Human Detection, CVPR 2005; their cells differ and are normalised.

    Args:
        images: (N, side * side), square images by rows, side at least 2.
        orientations: number of directions in the full circle, at least 2; dark to bright differs from bright to dark.
        cells: number of cells along each side, at least 1.

    Returns:
        (N, cells * cells * orientations) float32, at least 0.

    Raises:
        ValueError: images of the wrong shape, NaN or infinity, or an argument outside its range.
    """
    images = np.asarray(images)
    side = math.isqrt(images.shape[-1]) if images.ndim == 2 else 0
    if images.ndim != 2 or side**2 != images.shape[1] or side < 2 or images.dtype.kind not in "biuf":
        raise ValueError(f"images: expected numbers of shape (N, side * side), got {images.dtype} of {images.shape}")
    if images.size and not (images.min() >= -MAX_FLOAT and images.max() <= MAX_FLOAT):
        raise ValueError("images: expected finite float32 numbers, got NaN, infinity or numbers too large")
    check_integer("orientations", orientations, 2)
    check_integer("cells", cells, 1)
    # Weight of each row of pixels in each row of cells, (side, cells): it falls with the distance from the middle.
    spacing = side / cells
    middles = (np.arange(cells) + 0.5) * spacing - 0.5
    weights = np.maximum(1 - np.abs(np.arange(side)[:, None] - middles) / spacing, 0).astype(np.float32)
    features = np.empty((len(images), cells, cells, orientations), np.float32)
    for start in range(0, len(images), 2000):  # in blocks: temporary arrays need far more memory than the images
        block = images[start : start + 2000].astype(np.float32).reshape(-1, side, side)
        down, right = np.gradient(block, axis=(1, 2))
        length = np.hypot(down, right)
        direction = np.arctan2(down, right) * np.float32(orientations / (2 * np.pi)) % orientations
        for o in range(orientations):
            apart = np.abs(direction - o)
            towards = np.maximum(1 - np.minimum(apart, orientations - apart), 0) * length  # (block, side, side)
            features[start : start + 2000, :, :, o] = weights.T @ towards @ weights
    return np.sqrt(features, out=features).reshape(len(images), cells * cells * orientations)
