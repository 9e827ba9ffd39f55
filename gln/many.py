"""Many classes: a sample teaches the head of its own class and some of the others, so that time grows little with them.

A head then sees too few samples of other classes, which moves its logit by a known constant: G. King and L. Zeng,
Logistic Regression in Rare Events Data, Political Analysis 9, 2001, section 4.1.

Shapes: C heads, n samples.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["MANY", "OTHERS", "log_share", "some_heads"]

MANY, OTHERS = 100, 20  # from so many classes on a sample teaches its own head and so many of all


def some_heads(targets: np.ndarray, first: int) -> np.ndarray:  # (C, n) -> (C, n)
    """One-vs-rest targets, infinite for the heads that a sample does not teach.

    Which ones these are follows from the count of samples, of which there were `first` before.
    """
    heads, count = targets.shape
    if heads < MANY:
        return targets
    start = (np.arange(first, first + count) * 2654435761 % 2**32 * heads) >> 32  # Knuth's multiplicative hash
    taught = (np.arange(heads)[:, None] - start) % heads < OTHERS
    return np.where(taught | (targets > 0), targets, np.float32(np.inf))


def log_share(heads: int) -> float:
    """The logarithm of the share of the samples of other classes that a head learns from."""
    return math.log(OTHERS / heads) if heads >= MANY else 0.0
