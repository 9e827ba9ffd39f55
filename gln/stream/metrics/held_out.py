"""Samples that are predicted and never learned: every Nth one of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gln.stream.formats.chunks import Chunk
from gln.stream.metrics.metrics import Metrics

__all__ = ["HeldOut"]


class HeldOut:
    """Every Nth sample with a target; its figures are those of the model as it is at this place of the stream."""

    def __init__(self, every: int, are_classes: bool, intervals: bool) -> None:
        self._every = every
        self._targets = 0  # how many samples had a target
        self.figures = Metrics(are_classes, intervals)

    def state(self) -> dict[str, Any]:
        """What to save, so that a run can go on."""
        return {"every": self._every, "targets": self._targets, "figures": self.figures.state()}

    def resume(self, state: dict[str, Any] | None) -> None:
        """Continue from a `state`, None if nothing was held out. Raises ValueError if other samples were."""
        if state is None or state["every"] != self._every:
            expected = "none" if state is None else state["every"]
            raise ValueError(f"--test-every: expected {expected}, as in the saved run, got {self._every}")
        self._targets = state["targets"]
        self.figures.resume(state["figures"])

    def learned(self, targets: list[Any]) -> list[Any]:
        """The targets of the next samples, with None for those that are held out."""
        targets = list(targets)
        for place in self._places(targets).tolist():
            targets[place] = None
        return targets

    def count(self, predicted: pd.DataFrame, chunk: Chunk) -> None:
        """Count the next samples."""
        places = self._places(chunk.targets)
        self._targets += sum(target is not None for target in chunk.targets)
        if len(places):
            targets = [chunk.targets[place] for place in places.tolist()]
            weights = None if chunk.weights is None else [chunk.weights[place] for place in places.tolist()]
            self.figures.count(predicted.iloc[places], targets, weights)

    def _places(self, targets: list[Any]) -> np.ndarray:
        known = np.flatnonzero([target is not None for target in targets])
        return known[(self._targets + 1 + np.arange(len(known))) % self._every == 0]
