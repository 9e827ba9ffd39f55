"""Negative sampling: with many classes, a sample updates its class's head and a few others, so time hardly grows.

A head then sees too few samples of other classes, which shifts its logit by a known constant. Source: G. King and L.
Zeng, Logistic Regression in Rare Events Data, Political Analysis 9, 2001, section 4.1.

Shapes: C heads, n samples.
"""

from __future__ import annotations

import math

import numpy as np

MANY_CLASSES, SAMPLED_HEADS = 100, 20  # from so many classes on, a sample updates so many heads besides its class's


def one_vs_rest(classes: np.ndarray, heads: int, first: int) -> np.ndarray:  # (n,) -> (C, n) float32
    """Targets of the heads, where infinity keeps a head from learning and predicting.

    The choice of these depends only on the count of samples; `first` is the count before these.
    """
    numbers = np.arange(heads)[:, None]
    targets = (classes[None] if heads == 1 else classes == numbers).astype(np.float32)
    if heads < MANY_CLASSES:
        return targets
    start = (np.arange(first, first + len(classes)) * 2654435761 % 2**32 * heads) >> 32  # Knuth's multiplicative hash
    is_sampled = (numbers - start) % heads < SAMPLED_HEADS
    return np.where(is_sampled | (targets > 0), targets, np.float32(np.inf))


def log_sampling_rate(heads: int) -> float:
    """Log of the fraction of other classes' samples that a head learns from."""
    return math.log(SAMPLED_HEADS / heads) if heads >= MANY_CLASSES else 0.0
