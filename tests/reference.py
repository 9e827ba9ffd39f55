"""A GLN in its plainest form: loops over samples, heads, layers and neurons, in float64.

Written from the description of the algorithm (docs/algorithm.md), not from the backends.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class SlowGLN:
    """The network of a model's `get_state()`."""

    def __init__(self, model: Any) -> None:
        self.state = {name: array.astype(np.float64) for name, array in model.get_state().items()}
        self.num_layers, self.num_heads = len(model.config.layer_sizes), model.config.num_heads
        self.bias, self.normalize = model.config.bias, model.config.normalize
        self.loss, self.quantiles = model.config.loss, model.config.quantiles
        logit_bound = math.log((1 - model.config.pred_clipping) / model.config.pred_clipping)
        self.bound = logit_bound if self.loss == "log_loss" else model.config.value_clipping
        self.weight_clipping, self.rate = model.config.weight_clipping, model.learning_rate

    def predict(self, inputs: np.ndarray, context: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
        """(input_size, B), (context_size, B), (B,) or (C, B) -> (C, B)."""
        output = np.stack([self.pass_sample(inputs[:, b], context[:, b]) for b in range(inputs.shape[1])], axis=1)
        if targets is not None:
            for b in range(inputs.shape[1]):
                self.pass_sample(inputs[:, b], context[:, b], np.asarray(targets)[..., b])
                self.state["step"] += 1
        return output

    def pass_sample(self, inputs: np.ndarray, context: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        """(input_size,), (context_size,), () or (C,) -> (C,), before the target is learned."""
        output = np.empty(self.num_heads)
        rate = self.rate(int(self.state["step"])) if callable(self.rate) else self.rate
        for head in range(self.num_heads):
            logits = [max(-self.bound, min(self.bound, float(v))) for v in inputs]
            for layer in range(1, self.num_layers + 1):
                z = np.array([*logits, 1.0] if self.bias else logits)
                logits = []
                for neuron in range(len(self.state[f"weights.{layer}"])):
                    w = self.state[f"weights.{layer}"][neuron, self.context(layer, neuron, context), head]
                    s = max(-self.bound, min(self.bound, float(w @ z)))
                    logits.append(s)
                    if target is not None and not math.isnan(y := self.target_of(target, head)):
                        step = rate / (1 + z @ z) if self.normalize else rate
                        w[:] = np.clip(
                            w - step * self.residual(s, y, head) * z, -self.weight_clipping, self.weight_clipping
                        )
            s = sum(logits) / len(logits)
            output[head] = {"log_loss": sigmoid, "variance": math.exp}.get(self.loss, float)(s)
        return output

    def target_of(self, target: np.ndarray, head: int) -> float:
        """The target of a head, NaN if it is unknown."""
        if target.ndim == 1:
            return float(target[head])
        return float(target == head) if self.loss == "log_loss" and self.num_heads > 1 else float(target)

    def residual(self, s: float, y: float, head: int) -> float:
        """Derivative of a head's loss with respect to s."""
        if self.loss == "log_loss":
            return sigmoid(s) - y
        y = max(-self.bound, min(self.bound, y))
        if self.loss == "variance":
            return 0.5 * (1 - min(y * y / math.exp(s), 9))
        return s - y if self.loss == "squared_error" else float(s > y) - self.quantiles[head]

    def context(self, layer: int, neuron: int, x: np.ndarray) -> int:
        number = 0
        for i, (h, b) in enumerate(zip(*self.halfspaces(layer, neuron), strict=True)):
            number += 2**i * bool(h @ x > b)
        return number

    def halfspaces(self, layer: int, neuron: int) -> tuple[np.ndarray, np.ndarray]:
        return self.state[f"hyperplanes.{layer}"][neuron], self.state[f"hyperplane_bias.{layer}"][neuron]


def sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s))


def fitted_halfspaces(planes: np.ndarray, samples: np.ndarray, rng: Any, sparse: bool) -> tuple:
    """What `fit_hyperplanes` makes of a layer's halfspaces: (n, k, D), (D, N) -> (n, k, D), (n, k)."""
    planes, offsets = planes.astype(np.float64), np.zeros(planes.shape[:2])
    left, count = list(np.ndindex(*offsets.shape)), samples.shape[1]
    for attempt in range(50):
        if not left:
            break
        first = rng.integers(0, count, len(left))
        second = (first + rng.integers(1, count, len(left))) % count
        if sparse and attempt > 0:
            for place, steps in zip(left, rng.integers(0, planes.shape[2], (len(left), 1)), strict=True):
                planes[place] = np.roll(planes[place], steps[0])
        along, dead = rng.uniform(*((0.1, 0.9) if sparse else (0.4, 0.6)), len(left)), []
        for place, i, j, u in zip(left, first, second, along, strict=True):
            x, y = samples[:, i].astype(np.float64), samples[:, j].astype(np.float64)
            if not sparse and math.dist(x, y) > 0:
                planes[place] = (y - x) / math.dist(x, y)
            h = planes[place]
            gap, rounding = h @ y - h @ x, 1e-5 * (np.abs(h) @ np.abs(x) + np.abs(h) @ np.abs(y))
            if abs(gap) <= rounding:
                gap = 100 * rounding
                dead.append(place)
            offsets[place] = h @ x + u * gap
        left = dead
    return planes, offsets


def clear_of_hyperplanes(model: Any, context: np.ndarray) -> np.ndarray:
    """Which samples (D, B) are further from every hyperplane than the rounding error of a float32 product, (B,) bools.

    The side of a hyperplane that other samples lie on depends on a framework's order of summation, so tests that
    compare values leave these few samples out.
    """
    state = model.get_state()
    clear = np.ones(context.shape[1], bool)
    for layer in range(1, len(model.config.layer_sizes) + 1):
        h, b = state[f"hyperplanes.{layer}"].astype(np.float64), state[f"hyperplane_bias.{layer}"].astype(np.float64)
        distance = np.abs(h @ context - b[..., None])  # (n, k, B)
        rounding = 1e-6 * (np.abs(h) @ np.abs(context) + np.abs(b[..., None]))
        clear &= (distance > rounding).all(axis=(0, 1))
    return clear
