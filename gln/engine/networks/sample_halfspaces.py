"""Halfspaces between samples, before a network learns: what `fit_hyperplanes` of every backend computes.

Shapes: N samples, D values of side information, n neurons in a layer, k halfspaces per neuron.
"""

from __future__ import annotations

import warnings

import numpy as np

from gln.engine.networks.protocol import Network, Tensor
from gln.engine.saving import bad

TRIES, LEAST_GAP = 50, 1e-5  # pairs of samples for a halfspace; gap between them, relative to what is added up


def fit_hyperplanes(model: Network, context_inputs: Tensor) -> None:
    """Move every halfspace of a model to where it separates two of the samples, (D, N), N at least 2.

    It is perpendicular to the line between them; with `context_features` it keeps its coefficients. Raises RuntimeError
    after the first update, because moving the gates would scramble what the model has learned.
    """
    if int(model.step) > 0:
        raise RuntimeError(f"fit_hyperplanes: expected a model before its first update, got step {int(model.step)}")
    samples = model.check_array("context_inputs", context_inputs, (model.config.context_size, None)).T
    if len(samples) < 2:
        raise bad("context_inputs", "two samples or more", f"shape {samples.T.shape}")
    _warn_of_rounding(samples)
    rng = np.random.default_rng(model.config.seed)
    state = model.get_state(copy=False)
    for layer in range(1, len(model.config.layer_sizes) + 1):
        planes = state[f"hyperplanes.{layer}"]
        fitted = layer_between_samples(planes, samples, rng, model.config.context_features is not None)
        for name, array in zip(("hyperplanes", "hyperplane_bias"), fitted, strict=True):
            state[f"{name}.{layer}"] = model.check_array("context_inputs", array, array.shape)
    model.set_state(state)


def _warn_of_rounding(samples: np.ndarray) -> None:  # (N, D)
    low = samples.min(axis=0).astype(np.float64)
    high = samples.max(axis=0).astype(np.float64)
    least = np.maximum(low, -high)  # magnitude, if a feature's values have the same sign
    lost = (least > 0) & (high - low <= 2 * LEAST_GAP * least)
    if (lost & (high > low)).any() or lost.all():  # a few constants do no harm
        what = f"{lost.sum()} of {len(lost)} features differ by less than {2 * LEAST_GAP:g} of their values"
        advice = "too little for float32; standardise them first, for example by gln.features.Standardizer"
        warnings.warn(f"context_inputs: {what}, {advice}", stacklevel=4)  # in the line that called the method


def layer_between_samples(
    hyperplanes: np.ndarray, samples: np.ndarray, rng: np.random.Generator, sparse: bool
) -> tuple:
    """(n, k, D), (N, D) -> (n, k, D), (n, k).

    They are perpendicular to the line between the two, or if `sparse` keep their coefficients. While projections are
    equal up to rounding, another pair is drawn, and sparse coefficients move on to other values. A halfspace that never
    separates two samples ends up beside them: on them, rounding would decide their side.
    """
    h = hyperplanes.reshape(-1, hyperplanes.shape[-1]).astype(np.float64)  # (n k, D)
    seen = np.argsort(h == 0, axis=1, kind="stable")[:, : (h != 0).sum(axis=1).max(initial=0)]  # (n k, m), not zero
    coefficients = np.take_along_axis(h, seen, axis=1)
    offsets = np.zeros(len(h))
    left = np.arange(len(h))  # the halfspaces that separate no samples yet
    for attempt in range(TRIES if len(samples) > 1 else 0):
        first = rng.integers(0, len(samples), len(left))
        second = (first + rng.integers(1, len(samples), len(left))) % len(samples)
        if sparse and attempt > 0:
            seen[left] = (seen[left] + rng.integers(0, h.shape[1], (len(left), 1))) % h.shape[1]
        x, y = (samples[sample[:, None], seen[left]].astype(np.float64) for sample in (first, second))  # (left, m)
        if not sparse:
            coefficients[left] = _directions(y - x, coefficients[left])
        x = coefficients[left] * x
        y = coefficients[left] * y
        start = x.sum(axis=1)
        gap = y.sum(axis=1) - start
        rounding = LEAST_GAP * (np.abs(x) + np.abs(y)).sum(axis=1)
        # Near the middle, but not there: where values are few, many samples are as far from the one as from the other.
        fraction = rng.uniform(0.1, 0.9, len(left)) if sparse else rng.uniform(0.4, 0.6, len(left))
        is_equal = np.abs(gap) <= rounding
        offsets[left] = start + fraction * np.where(is_equal, 100 * rounding, gap)
        left = left[is_equal]
        if len(left) == 0:
            break
    fitted = np.zeros_like(h)
    np.put_along_axis(fitted, seen, coefficients, axis=1)
    return fitted.reshape(hyperplanes.shape), offsets.reshape(hyperplanes.shape[:2])


def _directions(differences: np.ndarray, coefficients: np.ndarray) -> np.ndarray:  # (left, m), (left, m) -> (left, m)
    """Differences of length 1; the coefficients where samples are equal."""
    length = np.linalg.norm(differences, axis=1, keepdims=True)
    return np.where(length > 0, differences / np.where(length > 0, length, 1), coefficients)
