"""What networks mix besides standardised values: distances from the mean, and piecewise-linear encodings.

Shapes: B samples, D features, E pieces.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from gln.engine.jit import compiled
from gln.engine.saving import Array, saved

DISTANCE = np.float32(0.8)  # mean distance of a normal value from its mean, in standard deviations
NARROWEST = 1e-6  # width of a piece, in standardised values: dividing by less may overflow


def with_distances(standardised: np.ndarray) -> np.ndarray:
    """Each standardised value and its distance from the mean, minus the average distance: (D, B) -> (2 D, B).

    A weighted sum of both is a function with a bend at the mean. A value of 0 is missing or belongs to a feature that
    never varies; its distance is unknown as well, so it stays 0.
    """
    both = np.empty((2 * len(standardised), standardised.shape[1]), standardised.dtype)
    compiled(fill_distances)(np.ascontiguousarray(standardised), both)
    return both


def fill_distances(standardised: np.ndarray, both: np.ndarray) -> None:  # (D, B), (2 D, B), which is filled
    """The loop of `with_distances`."""
    for i, b in np.ndindex(standardised.shape):
        z = standardised[i, b]
        both[2 * i, b] = z
        both[2 * i + 1, b] = z if z == 0 else abs(z) - DISTANCE


@saved(features=Array("i8", "E", 0, "D"), low=Array("f4", "E"), high=Array("f4", "E"))
class Pieces(NamedTuple):
    """The pieces of a piecewise-linear encoding, each between two values of a feature; see `piecewise_linear`."""

    features: np.ndarray  # (E,) integers
    low: np.ndarray  # (E,) float32
    high: np.ndarray  # (E,) float32


def quantile_pieces(values: np.ndarray, most: int = 8, total: int = 200) -> Pieces:
    """Pieces between quantiles of each feature's distinct values: (D, N) -> E pieces.

    Args:
        values: finite numbers. A feature of one or two distinct values gets no pieces.
        most: maximum number of pieces per feature; a feature with fewer distinct values gets fewer.
        total: approximate number of pieces of all features; each feature gets at least two.
    """
    distinct = {feature: np.unique(row) for feature, row in enumerate(values)}
    distinct = {feature: row for feature, row in distinct.items() if len(row) > 2}
    most = min(most, max(2, total // max(1, len(distinct))))
    pieces = []
    for feature, row in distinct.items():
        knots = np.quantile(row, np.linspace(0, 1, min(most, len(row) - 1) + 1)).astype(np.float32)
        wide = np.diff(knots, prepend=-np.inf) > NARROWEST
        pieces += [(feature, *ends) for ends in itertools.pairwise(knots[wide])]
    features, low, high = zip(*pieces, strict=True) if pieces else ((), (), ())
    return Pieces(np.array(features, int), np.array(low, np.float32), np.array(high, np.float32))


def piecewise_linear(values: np.ndarray, pieces: Pieces) -> np.ndarray:
    """Encode features: a piece is -1 below its range, 1 above it and linear within it. (D, B) -> (E, B) float32.

    A linear combination of a feature's pieces is a piecewise-linear function of it. Source: Gorishniy et al., On
    Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022, section 3.2; there from 0 to 1.
    """
    passed = (values[pieces.features] - pieces.low[:, None]) * (2 / (pieces.high - pieces.low))[:, None] - 1
    return passed.clip(-1, 1).astype(np.float32, copy=False)


def with_expansions(columns: np.ndarray, bin_means: np.ndarray, pieces: Pieces) -> np.ndarray:
    """What networks of tables mix: `piecewise_linear` of columns, means of bins, and `with_distances`, by sample.

    Shapes: (B, D), (B, E), P pieces -> (B, P + E + 2 D) float32.
    """
    size = len(pieces.features) + bin_means.shape[1] + 2 * columns.shape[1]
    inputs = np.empty((len(columns), size), np.float32)
    slopes = 2 / (pieces.high - pieces.low)
    compiled(fill_expansions)(columns, bin_means, pieces.features, pieces.low, slopes, inputs)
    return inputs


def fill_expansions(
    columns: np.ndarray,  # (B, D)
    bin_means: np.ndarray,  # (B, E)
    features: np.ndarray,  # (P,)
    low: np.ndarray,  # (P,)
    slopes: np.ndarray,  # (P,)
    inputs: np.ndarray,  # (B, P + E + 2 D), filled
) -> None:
    """The loop of `with_expansions`: as arrays, the steps take as long as small networks."""
    one = np.float32(1)
    first = len(features) + bin_means.shape[1]
    for b in range(len(columns)):  # without slices, which take as long as ten numbers
        for i in range(len(features)):
            inputs[b, i] = min(max((columns[b, features[i]] - low[i]) * slopes[i] - one, -one), one)
        for i in range(bin_means.shape[1]):
            inputs[b, len(features) + i] = bin_means[b, i]
        for i in range(columns.shape[1]):
            inputs[b, first + 2 * i] = z = columns[b, i]
            inputs[b, first + 2 * i + 1] = z if z == 0 else abs(z) - DISTANCE


NO_PIECES = quantile_pieces(np.zeros((0, 0)))
