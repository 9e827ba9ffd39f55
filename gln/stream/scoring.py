"""The file of `--test`, which a model predicts that no longer learns."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pandas as pd

from gln.stream.formats.chunks import Chunk
from gln.stream.formats.lines import BadLine
from gln.stream.formats.reader import form_of, opened
from gln.stream.learning import kind_of, predict_then_learn, samples_of, taught
from gln.stream.metrics.metrics import Metrics
from gln.stream.signals import Signals

__all__ = ["TestFile"]


class TestFile:
    """Samples that are predicted once the last one was learned."""

    __test__ = False  # for pytest

    def __init__(self, options: argparse.Namespace, target: str | None) -> None:
        self._options, self._target = options, target
        self.skipped = 0  # bad lines
        self.figures: Metrics | None = None  # of a model that was scored

    def check(self, model: Any) -> None:
        """Raise ValueError or OSError, before a long run, if the file's beginning cannot be read."""
        try:
            next(self._chunks(model), None)
        except ValueError as error:
            raise self._error(error) from None
        self.skipped = 0

    def score(self, model: Any, signals: Signals) -> None:
        """Count all samples, up to a signal. Raises ValueError for a bad line, unless these are left out."""
        self.figures = figures = Metrics(*kind_of(model))

        def predict(samples: Chunk) -> pd.DataFrame:
            return predict_then_learn(model, samples, [None] * len(samples.targets))

        try:
            for chunk in signals.each(self._chunks(model)):
                for predicted, samples in taught(chunk, predict, self._refused):
                    figures.count(predicted, samples.targets, samples.weights)
        except ValueError as error:
            raise self._error(error) from None
        if not (figures.sums[0] or signals.received):
            raise self._error(f"expected a target in at least one sample, got {figures.samples:,} samples without")

    def _chunks(self, model: Any) -> Iterator[Chunk]:
        options = self._options
        with opened(options.test) as source:
            skip = self._skip if options.skip_bad else None
            form = options.format or form_of(options.test)
            yield from samples_of(source, form, options, self._target, model, skip)

    def _refused(self, bad: BadLine) -> None:
        """The model does not take a sample."""
        if not self._options.skip_bad:
            raise bad
        self._skip(bad)

    def _skip(self, _: BadLine) -> None:
        self.skipped += 1

    def _error(self, error: object) -> ValueError:
        return ValueError(f"--test: {error}: {self._options.test}")
