"""One exact online pass of a GLN as the shortest NumPy loop that does the same arithmetic.

It has no checks, batches of one only, and one kind of network: several heads, a bias, normalised steps, and halfspaces
through the origin. Comparing `gln_numpy` with it shows what checks and generality cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def one_pass(model: Any, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Learn a stream (d, B) of integers (B,), with copies of the arrays of a `gln_numpy.GLN`: predictions (C, B)."""
    state, sizes, heads = model.get_state(), model.config.layer_sizes, model.config.num_heads
    planes = np.concatenate([state[f"hyperplanes.{layer}"] for layer in range(1, len(sizes) + 1)])
    weights = [
        state[f"weights.{layer}"].reshape(-1, heads, d + 1) for layer, d in enumerate([len(inputs), *sizes[:-1]], 1)
    ]
    first_rows = [np.arange(n) << model.config.context_map_size for n in sizes]
    labels = (targets == np.arange(heads)[:, None]).astype(np.float32)
    rates = np.array([model.learning_rate(t) for t in range(len(targets))], np.float32)
    output, bound = np.empty(labels.shape, np.float32), model.config.bound
    for start in range(0, len(targets), 512):
        block = inputs[:, start : start + 512]
        bits = (planes.reshape(-1, len(inputs)) @ block).reshape(*planes.shape[:2], -1) > 0
        contexts = np.ascontiguousarray((bits << np.arange(planes.shape[1])[:, None]).sum(axis=1).T)
        base = np.ones((block.shape[1], len(inputs) + 1), np.float32)
        np.clip(block.T, -bound, bound, out=base[:, :-1])
        for b in range(len(base)):
            t, z, neuron = start + b, base[b], 0
            y = labels[:, t]
            for layer, n in enumerate(sizes):
                picked = first_rows[layer] + contexts[b, neuron : neuron + n]
                rows = weights[layer][picked]
                if layer == 0:
                    s = (rows.reshape(n * heads, -1) @ z).reshape(n, heads)
                    rate = rates[t] / (1 + z @ z)
                else:
                    s = np.matmul(rows.transpose(1, 0, 2), z[:, :, None])[:, :, 0].T
                    rate = rates[t] / (1 + np.einsum("cd,cd->c", z, z))
                s = s.clip(-bound, bound)
                step = rate * (1 / (1 + np.exp(-s)) - y)
                rows -= np.einsum("nc,d->ncd", step, z) if layer == 0 else np.einsum("nc,cd->ncd", step, z)
                weights[layer][picked] = rows.clip(
                    -model.config.weight_clipping, model.config.weight_clipping, out=rows
                )
                z = np.ones((heads, n + 1), np.float32)
                z[:, :n], neuron = s.T, neuron + n
            output[:, t] = 1 / (1 + np.exp(-z[:, :n].mean(axis=1)))
    return output
