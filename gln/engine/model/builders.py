"""The networks of a stream: how many there are, how large, and what each reads."""

from __future__ import annotations

from typing import Any

from gln.engine.model.featurizers import Featurizer

# Networks for streams: a slow and a fast one. Halfspaces that see at most 1, 3 or 4 features are about as good.
OF_STREAMS: dict[str, Any] = {"layer_sizes": (64, 32), "n_networks": 2, "context_map_size": 5, "context_features": 2}
SHALLOW = (16,)  # layers of one more, which also reads what linear models say; 8 to 64 neurons are about as good


def stream_sizes(featurizer: Featurizer, count: int, memory: bool = False) -> list[tuple[int, int]]:
    """Sizes of the networks of a stream with base predictors: the columns of each, and what it reads, as for
    `Featurizer.widened`.

    Slow networks, which also read cells, and fast ones alternate; the last one, SHALLOW, also reads what linear models
    say. With `memory`, another one reads all columns.
    """
    columns = len(featurizer.columns)
    several = [(columns, 1 - i % 2) for i in range(count)]
    return [*several, *(memory * [(featurizer.size, 0)]), (columns, 2)]
