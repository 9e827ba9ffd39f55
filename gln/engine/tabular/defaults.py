"""What None stands for in the parameters of `fit`."""

from __future__ import annotations

import math

import numpy as np

from gln.engine.networks.head_sampling import MANY_CLASSES

# A halfspace sees one to three features: one that sees all rarely finds a split that depends on few.
CONTEXT_FEATURES = 3
OF_WIDE = {"layer_sizes": (1,), "n_networks": 8, "context_map_size": 0, "context_features": CONTEXT_FEATURES}
LONG = 100_000  # rows from which on a table gets six networks, to limit the time of a fit
LONGER = 400_000  # and four


def table_defaults(rows: int, classes: int, densities: bool = False) -> dict[str, int | tuple[int, ...]]:
    """What None stands for in `fit`, for a table with this many rows per pass."""
    halfspaces = round(3 + math.log(rows / 5000, 3))  # one more for each factor of three
    # With 16, two networks hold out each sample, and these give its deviation from the mean.
    networks = 16 if densities else 12
    if rows >= LONG or classes >= MANY_CLASSES:
        networks = 4 if rows >= LONGER and classes < MANY_CLASSES else 6
    return {
        "layer_sizes": (16, 8),
        "n_networks": networks,
        "context_map_size": int(np.clip(halfspaces, 3, 8)),
        "context_features": CONTEXT_FEATURES,
        "n_epochs": passes_over(rows, 3),
    }


def passes_over(rows: int, usual: int) -> int:
    """Passes over a table: `usual`, more for a short table, fewer for a long one."""
    return int(np.clip(max(1000 // rows, min(usual, 300_000 // rows)), 1, 20))
