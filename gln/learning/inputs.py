"""What the inputs of networks stand for: their names, which columns they come from, and which features these belong to.

A `reading` is a `gln.learning.reading.Reading`.

Shapes: B samples, F features, D columns made from them, E values of base predictors, C heads, K inputs of a network.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from gln.learning.network import Network
from gln.learning.samples import features_and_words

__all__ = ["by_feature", "column_of_inputs", "names_of"]

MOST_LINEAR = 64  # values of linear models that a network reads; with many classes, each head would read all of them


def names_of(reading: Any, columns: np.ndarray, reads: int) -> list[Hashable]:
    """Names of the inputs of a network that reads these columns, which stay the same when a reading grows.

    `reads` is 0 for columns and distances, 1 also for encodings and cells, 2 also for linear models.
    """
    rows: list[Hashable] = [(column, i) for column in columns.tolist() for i in range(1 + reading.distances)]
    linear: list[Hashable] = []
    if reading.bases is None:
        cells: list[Hashable] = [("cell", i) for i in range(reading.cells_size)]
    else:
        linear, cells = reading.bases.names()
    pieces: list[Hashable] = [("piece", i) for i in range(len(reading.pieces.features))]
    some = linear if reads > 1 and len(linear) <= MOST_LINEAR else []
    return some + (pieces + cells if reads > 0 else []) + rows


def column_of_inputs(reading: Any, network: Network) -> np.ndarray:  # (K,)
    """The column that each input of a network comes from, out of D + E."""
    read = reading.columns if network.context_size < reading.size else np.arange(reading.size)
    linear = reading.size + np.arange(reading.linear_size)
    cells = reading.size + reading.linear_size + np.arange(reading.cells_size)
    columns = np.concatenate([linear, reading.pieces.features, cells, read.repeat(1 + reading.distances)])
    return columns[-network.input_size :]


def by_feature(reading: Any, contributions: np.ndarray, samples: Any, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum over each feature's columns, and what is constant; a cell of two features is half of each.

    Contributions of linear models are slopes, which are shared between what they read.

    Shapes: (C, B, D + E), samples, (D + E, B) -> (C, B, F), and after the features the words of the samples in the
    order of their numbers, (C, B).
    """
    ends = np.cumsum([reading.size, reading.linear_size, reading.cells_size])
    own, slopes, cells, _ = np.split(contributions, ends, axis=-1)
    features, words = features_and_words(samples)
    count, feature_of = features.shape[0], np.arange(reading.size)
    if reading.categories is not None:
        feature_of = reading.categories.features
    found = own @ (feature_of[:, None] == np.arange(count))
    if reading.bases is None:
        of_cells = np.zeros((0, 2), int) if reading.cells is None else reading.cells.features
    else:
        of_cells = feature_of[reading.bases.cells.features]
    found += cells @ (of_cells[:, :, None] == np.arange(count)).mean(axis=1)
    if reading.bases is None:
        return found, np.zeros(found.shape[:2])
    known = np.append(np.arange(count), count + np.unique(words.numbers))
    said, constant = reading.bases.explain(z[: reading.size], features, words, reading.numbers, feature_of, known)
    found = np.pad(found, [(0, 0), (0, 0), (0, len(known) - count)])
    return found + np.einsum("cbl,lbf->cbf", slopes, said), np.einsum("cbl,lb->cb", slopes, constant)
