"""Explain predictions: as long as no gate switches, a GLN is a linear function of its base logits or values.

Shapes: B samples, C heads, n neurons per layer, N neurons in all layers, k halfspaces per neuron, d inputs per neuron
(bias included), K base values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gln.engine.batches import dense
from gln.engine.types import MatrixLike, Network

__all__ = ["Explanation", "explain"]


class Explanation(NamedTuple):
    """What `explain` returns: output = sum of weights * base values, plus constant.

    With the log-loss, output and base values are logits.

    Shapes are for one head; with more heads, all shapes begin with C. For a single sample, B is absent.
    """

    weights: np.ndarray  # (K, B), of the base values; without a `base_predictor` these are the inputs
    constant: np.ndarray  # (B,)
    clipped: np.ndarray  # (B,) of bools: whether an input or a neuron's output was clipped


def explain(model: Network, inputs: MatrixLike, context_inputs: MatrixLike) -> Explanation:
    """The linear function that a model computes for each sample, for any backend. `model.explain` calls this.

    Its weights are the product of the weight rows that the gates picked, as in the paper. If a neuron's output was
    clipped, its row is scaled down accordingly, so that the sum still holds; the weights are then shares of the output
    rather than slopes, and `clipped` is true.

    Arguments and errors are those of `GLN.predict`.
    """
    base, context, _, one = model.prepare(inputs, context_inputs)
    base = dense(base)
    count = base.shape[1]
    heads = model.config.num_heads
    state = model.get_state(copy=False)
    layers = [array for name, array in state.items() if name.startswith("weights")]  # (n, 2^k, C, d)
    contexts = model.contexts(context) if count > 0 else ()  # from the backend, so that rounding agrees
    explanation = Explanation(
        np.empty((heads, model.base_size, count), np.float32),
        np.empty((heads, count), np.float32),
        np.empty((heads, count), bool),
    )
    for b, picked in enumerate(contexts):
        explained = _explain_one(model, layers, picked, base[:, b])
        for array, values in zip(explanation, explained, strict=True):
            array[..., b] = values
    if heads == 1:
        explanation = Explanation(*(array[0] for array in explanation))
    return Explanation(*(array[..., 0] for array in explanation)) if one else explanation


def _explain_one(
    model: Network, layers: list[np.ndarray], contexts: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, ...]:
    """(n, 2^k, C, d) per layer, contexts (N,), base values (K,) -> weights (C, K), constant (C,), clipped (C,)."""
    pairs = zip(layers, np.split(contexts, np.cumsum([len(weights) for weights in layers])[:-1]), strict=True)
    rows = [weights[np.arange(len(weights)), picked].astype(np.float64) for weights, picked in pairs]  # (n, C, d)
    bound = model.config.bound
    bias = int(model.config.bias)
    z = np.tile(base.clip(-bound, bound), (model.config.num_heads, 1))  # (C, K)
    clipped = (z != base).any(axis=1)
    scaled = []
    for row in rows:
        s = np.einsum("ncd,cd->cn", row, np.pad(z, ((0, 0), (0, bias)), constant_values=1))
        excess = np.maximum(np.abs(s) / bound, 1)
        clipped |= (excess > 1).any(axis=1)
        scaled.append(row / excess.T[:, :, None])
        z = s / excess
    explained = np.full(z.shape, 1 / z.shape[1])
    constant = np.zeros(model.config.num_heads)
    for row in reversed(scaled):
        explained = np.einsum("cn,ncd->cd", explained, row)
        if bias:
            explained, constant = explained[:, :-1], constant + explained[:, -1]
    return explained, constant, clipped
