"""Why a prediction is what it is: until a gate turns, a GLN is a linear function of its base logits, or values.

Letters in the shapes: B samples, C heads, n neurons of a layer, N neurons of all layers, k halfspaces a neuron, d
inputs of a neuron (bias included), K base values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Explanation", "explain"]


class Explanation(NamedTuple):
    """What `explain` gives: output = sum of weights * base values, plus constant.

    With the log-loss output and base values are logits.

    The shapes are those of one head; with more heads all begin with C, and for one sample none has B.
    """

    weights: np.ndarray  # (K, B), of the base values, which without `base_predictor` are the inputs
    constant: np.ndarray  # (B,)
    clipped: np.ndarray  # (B,) of bools: an input or what a neuron mixed was clipped


def explain(model: Any, inputs: Any, context_inputs: Any) -> Explanation:
    """The linear function that a model of any backend is for each sample; `model.explain` is this.

    Its weights are the product of the rows that the gates picked, as in the paper. The row of a neuron that was clipped
    is scaled down to fit, so that the sum holds there too; the weights are then shares of the output, not slopes, and
    `clipped` is true.

    Arguments and errors are those of `GLN.predict`.
    """
    base, context, _, one = model.prepare(inputs, context_inputs)
    base = base.toarray() if hasattr(base, "tocsc") else base
    count, heads, state = base.shape[1], model.num_heads, model.get_state(copy=False)
    layers = [array for name, array in state.items() if name.startswith("weights")]  # (n, 2^k, C, d)
    contexts = model.contexts(context) if count > 0 else ()  # the backend's own, to the last rounding
    explanation = Explanation(
        np.empty((heads, model.base_size, count), np.float32),
        np.empty((heads, count), np.float32),
        np.empty((heads, count), bool),
    )
    for b, picked in enumerate(contexts):
        explained = _explain_one(model, _picked(layers, picked), base[:, b])
        for array, values in zip(explanation, explained, strict=True):
            array[..., b] = values
    if heads == 1:
        explanation = Explanation(*(array[0] for array in explanation))
    return Explanation(*(array[..., 0] for array in explanation)) if one else explanation


def _picked(layers: list[np.ndarray], contexts: np.ndarray) -> list[np.ndarray]:
    """Of each layer the rows that its neurons picked, (n, C, d): from (n, 2^k, C, d) a layer, and (N,)."""
    ends = np.cumsum([len(weights) for weights in layers])[:-1]
    parts = zip(layers, np.split(contexts, ends), strict=True)
    return [weights[np.arange(len(weights)), rows].astype(np.float64) for weights, rows in parts]


def _explain_one(model: Any, rows: list[np.ndarray], base: np.ndarray) -> tuple[np.ndarray, ...]:
    """L of (n, C, d), (K,) -> weights (C, K), constant (C,), clipped (C,)."""
    bound, bias = model.bound, int(model.bias)
    z = np.tile(base.clip(-bound, bound), (model.num_heads, 1))  # (C, K)
    clipped, scaled = (z != base).any(axis=1), []
    for row in rows:
        s = np.einsum("ncd,cd->cn", row, np.pad(z, ((0, 0), (0, bias)), constant_values=1))
        excess = np.maximum(np.abs(s) / bound, 1)
        clipped |= (excess > 1).any(axis=1)
        scaled.append(row / excess.T[:, :, None])
        z = s / excess
    explained, constant = np.full(z.shape, 1 / z.shape[1]), np.zeros(model.num_heads)
    for row in reversed(scaled):
        explained = np.einsum("cn,ncd->cd", explained, row)
        if bias:
            explained, constant = explained[:, :-1], constant + explained[:, -1]
    return explained, constant, clipped
