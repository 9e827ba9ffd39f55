"""Drawings: the strokes that a browser sends, and their image in the style of MNIST."""

from __future__ import annotations

import math

import numpy as np

from gln.mnist import SIDE

Drawing = list[np.ndarray]  # the points of each stroke, (P, 2): x to the right and y downward, in any unit

MOST_POINTS = 2000
FARTHEST = 10_000.0  # from the origin
BOX = 20  # pixels: the side of the square that MNIST's digits were scaled to
WIDTH = 2.5  # of the pen, in pixels: the median of MNIST's strokes, which gives about the same mean amount of ink
APART = 0.3  # pixels between points: closer ones take time and add no ink
# Variants of a drawing, as the same person might have drawn it: rotation in radians, and factor of the width.
HANDS = ((0.0, 1.0), (0.12, 1.0), (-0.12, 1.0), (0.0, 1.2), (0.0, 1 / 1.2))


def checked_drawing(strokes: object) -> Drawing:
    """A drawing from parsed JSON: a list of lists of points, each [x, y]. Raises ValueError for something else, no
    points, more than 2,000 of them, or one beyond 10,000 units."""
    if not isinstance(strokes, list) or not all(isinstance(stroke, list) for stroke in strokes):
        raise _bad("a list of strokes, each a list of points", type(strokes).__name__)
    points = [point for stroke in strokes for point in stroke]
    if not 0 < len(points) <= MOST_POINTS:
        raise _bad(f"1 to {MOST_POINTS} points", len(points))
    for point in points:
        if not isinstance(point, list) or len(point) != 2 or not all(_is_coordinate(number) for number in point):
            raise _bad(f"points [x, y] of numbers within {FARTHEST:g}", repr(point)[:50])
    return [np.array(stroke, float) for stroke in strokes if stroke]


def _is_coordinate(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) <= FARTHEST  # no NaN


def _bad(expected: str, came: object) -> ValueError:
    return ValueError(f"drawing: expected {expected}, got {came}")


def image(drawing: Drawing) -> np.ndarray:
    """The drawing at the size and pen width of MNIST's digits: -> (784,) float32 in [0, 1].

    It fills a box of 20 pixels in the middle of 28, keeps its aspect ratio, and is antialiased. MNIST's centring by
    mass is left to `gln.mnist.deskew`, which comes after.

    Source: http://yann.lecun.com/exdb/mnist: "size normalized to fit in a 20x20 pixel box".
    """
    points = np.concatenate(drawing)
    low = points.min(axis=0)
    high = points.max(axis=0)
    scale = (BOX - WIDTH) / max((high - low).max(), 1e-9)  # a single point needs none
    strokes = [_thinned((stroke - (low + high) / 2) * scale) for stroke in drawing]
    start = np.concatenate([stroke[:-1] for stroke in strokes]).astype(np.float32)  # of S lines, (S, 2)
    along = np.concatenate([np.diff(stroke, axis=0) for stroke in strokes]).astype(np.float32)
    centers = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    right = centers[None, :, None] - start[:, 0]  # from start to pixel
    down = centers[:, None, None] - start[:, 1]
    share = (right * along[:, 0] + down * along[:, 1]) / np.maximum((along**2).sum(axis=1), 1e-9)
    share = share.clip(0, 1)  # position along the line of the point nearest to the pixel, (28, 28, S)
    squares = (right - share * along[:, 0]) ** 2 + (down - share * along[:, 1]) ** 2
    return (WIDTH / 2 + 0.5 - np.sqrt(squares.min(axis=2))).clip(0, 1).ravel()


def _thinned(stroke: np.ndarray) -> np.ndarray:  # (P, 2) -> (at most P, at least 2; 2)
    passed = np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))  # length up to each point but the first
    kept = np.unique(np.floor(np.append(0, passed) / APART), return_index=True)[1]
    return stroke[np.append(kept, -1)]


def variants(drawing: Drawing) -> list[Drawing]:
    """The drawing and four variants of it, so that one lesson also reaches the contexts of similar drawings."""
    turns = [(math.cos(angle), math.sin(angle), stretch) for angle, stretch in HANDS]
    hands = [np.array([[stretch * cos, stretch * sin], [-sin, cos]]) for cos, sin, stretch in turns]
    return [[stroke @ hand for stroke in drawing] for hand in hands]
