"""The loops of `gln.learning.categories`, which Numba compiles where it is installed.

Shapes: B samples, F features, D columns, K targets or classes, R rows of the table: that of the totals, and one for
each level of each feature. `rows` are the first one of each feature and their number, -1 for a feature of numbers.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FEW", "STRENGTH", "encode", "find", "needs_columns"]

# 5 or 10 levels, and strengths of 1 to 10, are equally good within the noise.
FEW = 10  # up to this many levels, a feature has a column per level; with more, and always in streams, statistics
STRENGTH = 3.0  # weight of the overall rate or mean, as a number of samples


def find(
    samples: np.ndarray,  # (F, B)
    table: np.ndarray,  # (R, 1 + K)
    rows: np.ndarray,  # (F, 2)
    learns: bool,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Each level's row, -1 for none, and last the row of the totals, (F + 1, B); whether its feature has many levels,
    these included if this `learns`, (F, B); and whether all levels have rows."""
    places, many, fits = (
        np.zeros((len(samples) + 1, samples.shape[1]), np.int64),
        np.zeros(samples.shape, np.bool_),
        True,
    )
    for feature in range(len(samples)):
        start, room = rows[feature]
        has_many = start >= 0 and room > FEW and table[start + FEW, 0] != 0
        for b in range(samples.shape[1]):
            code = samples[feature, b]  # NaN if it is missing
            has_row = start >= 0 and 0 <= code < room
            places[feature, b] = start + int(code) if has_row else -1
            has_many |= learns and start >= 0 and code >= FEW
            many[feature, b] = has_many
            fits &= has_row or start < 0 or code != code
    return places, many, fits


def needs_columns(
    samples: np.ndarray,  # (F, B)
    table: np.ndarray,  # (R, 1 + K)
    rows: np.ndarray,  # (F, 2)
    with_columns: np.ndarray,  # (F,)
) -> bool:
    """Whether a feature has few levels, and one or more of them in these samples have no columns yet."""
    for feature in range(len(samples)):
        start, room = rows[feature]
        if start >= 0 and not (room > FEW and table[start + FEW, 0] != 0):
            count = 0
            for b in range(samples.shape[1]):
                if samples[feature, b] >= count:
                    count = int(samples[feature, b]) + 1
            if count > 1 and with_columns[feature] < count <= FEW:
                return True
    return False


def encode(
    samples: np.ndarray,  # (F, B)
    places: np.ndarray,  # (F + 1, B)
    many: np.ndarray,  # (F, B)
    features: np.ndarray,  # (D,)
    levels: np.ndarray,  # (D,)
    targets: np.ndarray,  # (D,)
    table: np.ndarray,  # (R, 1 + K), changed if this `learns`
    are_classes: bool,
    learns: bool,
    learned: np.ndarray,  # (1, B) class numbers, or (K, B)
    shares: np.ndarray,  # (B,) or (1,)
) -> tuple[np.ndarray, np.ndarray]:
    """The columns of samples, each counted after it if this `learns`; instead of log-odds, the odds of the level and of
    all samples."""
    totals, classes = table[0], table.shape[1] - 1
    columns, overall = np.empty((len(features), samples.shape[1])), np.empty((len(features), samples.shape[1]))
    for b in range(samples.shape[1]):
        for d in range(len(features)):
            x, place, target = samples[features[d], b], places[features[d], b], targets[d]
            columns[d, b], overall[d, b] = x if target < 0 else np.nan, np.nan
            if levels[d] >= 0 and x == x:
                columns[d, b] = np.nan if many[features[d], b] else x == levels[d]
            elif target >= 0 and place >= 0 and table[place, 0] > 0:
                count, total = table[place, 0], table[place, 1 + target]
                if are_classes:
                    rate = (totals[1 + target] + 0.5) / (totals[0] + 1)
                    overall[d, b] = rate / (1 - rate)
                    columns[d, b] = (total + STRENGTH * rate) / (count - total + STRENGTH * (1 - rate))
                else:
                    columns[d, b] = total / (count + STRENGTH)
        for place in places[:, b]:
            if learns and place >= 0:
                share = shares[b % len(shares)]
                table[place, 0] += share
                if are_classes:
                    table[place, 1 + int(learned[0, b]) % classes] += share
                else:
                    for k in range(classes):
                        table[place, 1 + k] += share * learned[k, b]
    return columns, overall
