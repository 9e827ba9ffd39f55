"""Many classes: a sample updates the head of its own class and a few others, so time hardly grows with their number.

A head then sees too few samples of other classes, which shifts its logit by a known constant. Source: G. King and L.
Zeng, Logistic Regression in Rare Events Data, Political Analysis 9, 2001, section 4.1.

Shapes: C heads, n samples.
"""

from __future__ import annotations

import math

import numpy as np

MANY, OTHERS = 100, 20  # with at least MANY classes, a sample updates its own head and OTHERS of all heads


def some_heads(targets: np.ndarray, first: int) -> np.ndarray:  # (C, n) -> (C, n)
    """One-vs-rest targets, with infinity for the heads that a sample does not update.

    The choice depends only on the count of samples; `first` is the count before these.
    """
    heads, count = targets.shape
    if heads < MANY:
        return targets
    start = (np.arange(first, first + count) * 2654435761 % 2**32 * heads) >> 32  # Knuth's multiplicative hash
    taught = (np.arange(heads)[:, None] - start) % heads < OTHERS
    return np.where(taught | (targets > 0), targets, np.float32(np.inf))


def log_share(heads: int) -> float:
    """Log of the fraction of other classes' samples that a head learns from."""
    return math.log(OTHERS / heads) if heads >= MANY else 0.0
