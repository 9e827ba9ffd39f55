"""Rows of a stream that are predicted and then learned, one after another: which of them one call takes.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

__all__ = ["first_visits", "runs", "steps_of"]

NOT_LEARNED, WHOLE, PARTIAL = range(3)


def steps_of(weights: np.ndarray, missing: np.ndarray) -> np.ndarray:  # (N,), (N,) -> (N,)
    """Whether each row is learned, and by whole steps. This decides how it is learned, and not the rows beside it."""
    whole = np.isclose(weights, np.rint(weights), rtol=1e-9, atol=0)
    return np.where(missing | (weights == 0), NOT_LEARNED, np.where(whole, WHOLE, PARTIAL))


def runs(steps: np.ndarray, starts: Collection[int]) -> list[slice]:
    """Rows that follow one another with equal steps; at each of `starts` another run begins, too."""
    ends = {*np.flatnonzero(np.diff(steps)) + 1, *starts} - {0}
    ends = [0, *sorted(ends), len(steps)]
    return [slice(*pair) for pair in zip(ends, ends[1:], strict=False) if pair[0] < pair[1]]


def first_visits(weights: np.ndarray) -> np.ndarray:  # (N,) -> (N,)
    """The first visit of each row, as `stream_visits` repeats rows of these weights, all above 0."""
    times = np.where(np.isclose(weights, np.rint(weights), rtol=1e-9, atol=0), np.rint(weights), np.ceil(weights))
    return (np.cumsum(times) - times).astype(int)
