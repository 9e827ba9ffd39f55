"""How many learned samples picked each weight row: what networks have seen often, and what is new to them.

Shapes: B samples, C heads, D columns, k halfspaces per neuron, N neurons of a network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from gln.engine.jit import WritableArrays, compiled
from gln.engine.networks.protocol import Network
from gln.engine.saving import Array, saved


@saved(rows=[Array("i4", "* * H", 0)])
@dataclasses.dataclass
class GateCounts(WritableArrays):
    rows: list[np.ndarray]  # for each network (N, 2^k, C or 1): per head, or for all heads together

    @classmethod
    def zeros(cls, networks: Sequence[Network], heads: int = 1) -> GateCounts:
        shapes = [(sum(network.config.layer_sizes), 2**network.config.context_map_size, heads) for network in networks]
        return cls([np.zeros(shape, np.int32) for shape in shapes])

    @property
    def neurons(self) -> int:
        return sum(map(len, self.rows))

    def learn(self, contexts: Sequence[np.ndarray], targets: np.ndarray) -> None:
        """Count the rows that samples pick; with a count per head, those of heads whose target is known.

        Shapes: contexts (B, N) for each network, targets (C, B).
        """
        known = np.ascontiguousarray(targets, np.float32)
        for rows, picked in zip(self.rows, contexts, strict=True):
            if picked.shape[1] != len(rows) or rows.shape[2] not in (1, len(known)):  # compiled loops do not check
                came = f"{picked.shape[1]} neurons and {len(known)} heads"
                raise ValueError(f"counts: expected {len(rows)} neurons and {rows.shape[2]} heads, got {came}")
            compiled(count_rows)(rows, np.ascontiguousarray(picked.T, np.int64), known)

    def mean(self, contexts: Sequence[np.ndarray]) -> np.ndarray:  # (B, N) for each network -> (C or 1, B)
        """The mean over neurons of the counts of the rows that samples pick."""
        sums = np.zeros((self.rows[0].shape[2], len(contexts[0])))
        targets = np.zeros(sums.shape, np.float32)
        for rows, picked in zip(self.rows, contexts, strict=True):
            compiled(add_counts)(rows, np.ascontiguousarray(picked.T, np.int64), targets, sums)
        return sums / self.neurons

    def with_outputs(self, kept: Sequence[int], new: int) -> GateCounts:
        """The counts of the heads `kept`, in this order, followed by `new` new ones."""
        heads = np.array(kept, int)
        return GateCounts([np.pad(rows.take(heads, 2), [(0, 0), (0, 0), (0, new)]) for rows in self.rows])

    def widened(self, before: Sequence[Network], after: Sequence[Network]) -> GateCounts:
        """The counts after `with_inputs` made the networks `after` from those `before`."""
        triples = zip(self.rows, before, after, strict=True)
        return GateCounts([rows if old is new else _redistributed(rows, old, new) for rows, old, new in triples])


def count_rows(rows: np.ndarray, picked: np.ndarray, targets: np.ndarray) -> None:  # (N, 2^k, C or 1), (N, B), (C, B)
    """Count the rows that samples pick, of heads whose target is known; of a single head, always."""
    for b in range(picked.shape[1]):
        for head in range(rows.shape[2]):
            if rows.shape[2] == 1 or math.isfinite(targets[head, b]):
                for neuron in range(len(rows)):
                    rows[neuron, picked[neuron, b], head] += 1


def add_counts(rows: np.ndarray, picked: np.ndarray, targets: np.ndarray, sums: np.ndarray) -> None:
    """Add the counts of the rows that samples pick to the sums over neurons, but for heads whose target is infinite.

    Shapes: (N, 2^k, C or 1), (N, B), (C, B), (C or 1, B).
    """
    for head in range(rows.shape[2]):
        for b in range(picked.shape[1]):
            if not math.isinf(targets[head, b]):
                for neuron in range(len(rows)):
                    sums[head, b] += rows[neuron, picked[neuron, b], head]


def _redistributed(rows: np.ndarray, old: Network, new: Network) -> np.ndarray:
    """Where a halfspace was replaced, divide the counts of both of its sides anew.

    On which side earlier samples would have been is known for a halfspace that sees new columns alone, where they all
    were 0, the mean. Otherwise the expected number is taken: a projection of standardised values is about normal.
    """
    old_planes, old_offsets = _halfspaces(old)
    planes, offsets = _halfspaces(new)
    seen = planes[..., : old.config.context_size]
    is_replaced = (seen != old_planes).any(axis=-1) | (offsets != old_offsets)  # (N, k)
    length = np.linalg.norm(seen, axis=-1)
    above = np.where(length > 0, ndtr(-offsets / np.where(length > 0, length, 1)), offsets < 0)
    rows = rows.copy()
    for neuron, i in np.argwhere(is_replaced):
        sides = rows[neuron].reshape(-1, 2, 2**i, rows.shape[2])  # bit i of a row's number is the side of halfspace i
        both = sides.sum(axis=1)
        sides[:, 1] = np.rint(above[neuron, i] * both)
        sides[:, 0] = both - sides[:, 1]
    return rows


def _halfspaces(network: Network) -> tuple[np.ndarray, np.ndarray]:  # (N, k, D), (N, k)
    state = network.get_state(copy=False)
    layers = range(1, len(network.config.layer_sizes) + 1)
    planes = np.concatenate([state[f"hyperplanes.{layer}"] for layer in layers])
    return planes, np.concatenate([state[f"hyperplane_bias.{layer}"] for layer in layers])
