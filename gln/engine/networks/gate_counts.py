"""How often each weight row of some networks was picked by samples that were learned: what is known where.

Shapes: B samples, C heads, D columns, k halfspaces per neuron, N neurons of a network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from gln.engine.jit import WritableArrays, compiled
from gln.engine.networks.protocol import Network


@dataclasses.dataclass
class GateCounts(WritableArrays):
    rows: list[np.ndarray]  # for each network (N, 2^k, C or 1): per head, or for all heads together

    @classmethod
    def none(cls, networks: Sequence[Network], heads: int = 1) -> GateCounts:
        """Before the first sample."""
        shapes = [(sum(network.layer_sizes), 2**network.context_map_size, heads) for network in networks]
        return cls([np.zeros(shape, np.int32) for shape in shapes])

    def learn(self, contexts: Sequence[np.ndarray], targets: np.ndarray | None = None) -> None:
        """Count the rows that samples pick; with a count per head, those of heads whose target is known.

        Shapes: contexts (B, N) for each network, targets (C, B).
        """
        for rows, picked in zip(self.rows, contexts, strict=True):
            known = np.zeros((1, len(picked)), np.float32)
            if targets is not None and rows.shape[2] > 1:
                known = np.ascontiguousarray(targets, np.float32)
            if picked.shape[1] != len(rows) or len(known) > rows.shape[2]:  # compiled loops do not check
                came = f"{picked.shape[1]} neurons and {len(known)} heads"
                raise ValueError(f"counts: expected {len(rows)} neurons and {rows.shape[2]} heads, got {came}")
            compiled(_count)(rows, np.ascontiguousarray(picked, np.int64), known)

    def transform(self, contexts: Sequence[np.ndarray]) -> np.ndarray:
        """How often the rows that samples pick were counted: (B, N) for each network -> (B, N of all, C or 1)."""
        each = [rows[np.arange(len(rows)), picked] for rows, picked in zip(self.rows, contexts, strict=True)]
        return each[0] if len(each) == 1 else np.concatenate(each, axis=1)

    def mean(self, contexts: Sequence[np.ndarray]) -> np.ndarray:  # (B, N) for each network -> (C or 1, B)
        """The mean of `transform` over neurons."""
        each = zip(self.rows, contexts, strict=True)
        sums = [compiled(_sums)(rows, np.ascontiguousarray(picked.T, np.int64)) for rows, picked in each]
        return sum(sums) / sum(map(len, self.rows))

    def novelty(self, contexts: Sequence[np.ndarray]) -> np.ndarray:  # (B, N) for each network -> (B,)
        """How unlike the counted samples these are: the mean over neurons of 1 / sqrt(1 + count), in (0, 1].

        Source of the square root: M. Bellemare et al., Unifying Count-Based Exploration and Intrinsic Motivation,
        NeurIPS 2016.
        """
        return (1 / np.sqrt(1 + self.transform(contexts).sum(axis=2))).mean(axis=1)

    def with_outputs(self, kept: Sequence[int], new: int) -> GateCounts:
        """The counts of the heads `kept`, in this order, followed by `new` new ones."""
        return GateCounts([np.pad(rows[:, :, list(kept)], [(0, 0), (0, 0), (0, new)]) for rows in self.rows])

    def widened(self, before: Sequence[Network], after: Sequence[Network]) -> GateCounts:
        """The counts that networks have after some of their halfspaces were replaced."""
        each = zip(self.rows, before, after, strict=True)
        return GateCounts([rows if old is new else _redistributed(rows, old, new) for rows, old, new in each])


def _count(rows: np.ndarray, picked: np.ndarray, targets: np.ndarray) -> None:  # (N, 2^k, C), (B, N), (C or 1, B)
    """Count each sample in the rows that it picks, for the heads whose target is known."""
    for b in range(len(picked)):
        for head in range(len(targets)):
            if math.isfinite(targets[head, b]):
                for neuron in range(len(rows)):
                    rows[neuron, picked[b, neuron], head] += 1


def _sums(rows: np.ndarray, picked: np.ndarray) -> np.ndarray:  # (N, 2^k, C), (N, B) -> (C, B)
    """The sums of the counts of the rows that samples pick."""
    sums = np.zeros((rows.shape[2], picked.shape[1]))
    for neuron in range(len(rows)):
        for b in range(picked.shape[1]):
            for head in range(len(sums)):
                sums[head, b] += rows[neuron, picked[neuron, b], head]
    return sums


def _redistributed(rows: np.ndarray, old: Network, new: Network) -> np.ndarray:
    """Split what was counted on both sides of each halfspace that was replaced between the sides of the new one.

    On which side the samples so far would have been is known for a halfspace that sees new columns alone, where they
    all were 0, the mean. Otherwise the expected number is taken: a projection of standardised values is about normal.
    """
    planes, offsets = (np.concatenate(list(_of_layers(new, name))) for name in ("hyperplanes", "hyperplane_bias"))
    former = [np.concatenate(list(_of_layers(old, name))) for name in ("hyperplanes", "hyperplane_bias")]
    seen = planes[..., : old.context_size]
    replaced = (seen != former[0]).any(axis=-1) | (offsets != former[1])  # (N, k)
    length = np.linalg.norm(seen, axis=-1)
    above = np.where(length > 0, ndtr(-offsets / np.where(length > 0, length, 1)), offsets < 0)
    rows, heads = rows.copy(), rows.shape[2]
    for neuron, i in np.argwhere(replaced):
        sides = rows[neuron].reshape(-1, 2, 2**i, heads)  # bit i of a row's number is the side of halfspace i
        both = sides.sum(axis=1)
        sides[:, 1] = np.rint(above[neuron, i] * both)
        sides[:, 0] = both - sides[:, 1]
    return rows


def _of_layers(network: Network, name: str) -> Any:
    state = network.get_state(copy=False)
    return (state[f"{name}.{layer}"] for layer in range(1, len(network.layer_sizes) + 1))
