"""The networks of a stream: how many there are, how large, and what each reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gln.learning.learner import Learner
from gln.learning.mixture import Mixture
from gln.learning.reading import Reading

__all__ = ["OF_STREAMS", "SHALLOW", "stream_sizes", "with_linear_models"]

# Networks for streams: a slow and a fast one. Halfspaces that see at most 1, 3 or 4 features are about as good.
OF_STREAMS: dict[str, Any] = {"layer_sizes": (64, 32), "n_networks": 2, "context_map_size": 5, "context_features": 2}
SHALLOW = (16,)  # layers of one more, which also reads what linear models say; 8 to 64 neurons are about as good

HANDICAP = 5.0  # the loss with which linear models start beside a network that has learned


def stream_sizes(reading: Reading, count: int, memory: bool = False) -> list[tuple[int, int]]:
    """Sizes of the networks of a stream with base predictors: the columns of each, and what it reads, as for
    `Reading.widened`.

    Slow networks, which also read cells, and fast ones alternate; the last one, SHALLOW, also reads what linear models
    say. With `memory`, another one reads all columns.
    """
    columns = len(reading.columns)
    several = [(columns, 1 - i % 2) for i in range(count)]
    return [*several, *(memory * [(reading.size, 0)]), (columns, 2)]


def with_linear_models(learner: Learner) -> Learner:
    """The learner of numbers with linear models beside its networks, which count little until they predict well."""
    [group] = learner.groups
    reading = learner.reading.with_bases(group.heads, are_classes=False, counts=False)
    group = dataclasses.replace(group, reads=[0] * len(group.networks))
    losses = np.full((group.members(reading), group.heads), HANDICAP)
    losses[: len(group.networks)] = 0
    group.combination = Mixture(losses, np.ones(group.heads))
    return dataclasses.replace(learner, reading=reading, groups=[group])
