"""Samples that are predicted and never learned: every Nth one of a stream."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gln.stream.formats.chunks import Chunk
from gln.stream.metrics.metrics import Metrics

__all__ = ["HeldOut"]


class HeldOut:
    """Every Nth sample with a target, or none; its figures are those of the model as it is at this place of the
    stream."""

    def __init__(self, every: int | None, are_classes: bool, intervals: bool) -> None:
        self.every = every
        self._targets = 0  # how many samples had a target
        self.figures = Metrics(are_classes, intervals)

    def state(self) -> dict[str, Any] | None:
        """What to save, so that a run can go on; None if nothing is held out."""
        if self.every is None:
            return None
        return {"every": self.every, "targets": self._targets, "figures": self.figures.state()}

    def resume(self, state: dict[str, Any] | None) -> None:
        """Continue from a `state`. Raises ValueError if other samples were held out."""
        every = None if state is None else state["every"]
        if every != self.every:
            expected, got = every or "none", self.every or "none"
            raise ValueError(f"--test-every: expected {expected}, as in the saved run, got {got}")
        if state is not None:
            self._targets = state["targets"]
            self.figures.resume(state["figures"])

    def learned(self, targets: list[Any]) -> list[Any]:
        """The targets of the next samples, with None for those that are held out."""
        targets = list(targets)
        for place in self._places(targets):
            targets[place] = None
        return targets

    def count(self, predicted: pd.DataFrame, chunk: Chunk) -> None:
        """Count the next samples."""
        if places := self._places(chunk.targets):
            targets = [chunk.targets[place] for place in places]
            weights = None if chunk.weights is None else [chunk.weights[place] for place in places]
            self.figures.count(predicted.iloc[places], targets, weights)
        self._targets += sum(target is not None for target in chunk.targets)

    def _places(self, targets: list[Any]) -> list[int]:
        if self.every is None:
            return []
        known = [place for place, target in enumerate(targets) if target is not None]
        return known[-(self._targets + 1) % self.every :: self.every]
