"""`NoveltyDetector`: how novel named samples are, whose keys and levels may be new.

Samples are scored as proposed changes of a schema, before they are committed; so new keys and levels are novel.

Shapes: B samples, F features, T words.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from gln.engine.interrupts import uninterrupted
from gln.engine.novelty.pair_histograms import UNSEEN, PairHistograms
from gln.engine.saving import Number, Part, Value, bad, saved
from gln.engine.streaming.schema import CONSTANT, SchemaChange, StreamSchema
from gln.engine.streaming.values import Rows, Sample

if TYPE_CHECKING:
    from typing_extensions import Self

FIRST = 100  # samples of a stream that are not judged
WINDOW = 250  # recent samples of a stream; 1,000 are about as good, but stay behind a drift


@saved(schema=StreamSchema, histograms=PairHistograms, first=Number(int, 0, 1 << 62))
class NoveltyDetector(Part):
    """A schema of all keys, and histograms of their values."""

    def __init__(self, seed: int, window: int = WINDOW, first: int = FIRST) -> None:
        self.schema = StreamSchema(at_once=math.inf)
        self.histograms = PairHistograms.start(0, window, seed)
        self.first = first  # so many samples are learned before one is judged

    @classmethod
    def of_saved(cls, **fields: Value) -> Self:
        detector = cls(0)
        detector._restore(fields)
        return detector

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn_one(self, x: Sample) -> None:
        self._learn(self.schema.propose(x))

    def learn(self, samples: Rows) -> None:
        """Learn samples one after another. If one cannot be learned, raises ValueError, and none is."""
        schema = self.schema.copy()
        rows = schema.rows(samples)
        changes = []
        start = 0
        while start < len(rows):
            together = schema.rows_per_call(rows, slice(start, len(rows))) if schema.indices else len(rows)
            stop = start + max(1, together)
            changes.append(schema.propose_rows(rows.of(slice(start, min(stop, len(rows))))))
            schema.commit(changes[-1])
            start = stop
        for change in changes:
            self._learn(change)

    @uninterrupted
    def _learn(self, change: SchemaChange) -> None:
        if change.indices:
            self.histograms = self.histograms.grown(len(change.batch.features))
            self.histograms.learn(*self._compared(change, learns=True))
        self.schema.commit(change)

    # ---- Scoring -----------------------------------------------------------------------------------------------------

    def score_one(self, x: Sample) -> float:
        """The share of recent samples that were less novel; 0 before the first ones have been learned."""
        return float(self._novelty(self.schema.propose(x))[0])

    def score(self, samples: Rows) -> np.ndarray:  # -> (B,)
        """That of each sample."""
        return self._novelty(self.schema.propose_rows(self.schema.rows(samples)))

    def _novelty(self, change: SchemaChange) -> np.ndarray:  # -> (B,)
        if self.histograms.count < self.first:
            return np.zeros(len(change.batch))
        return self.histograms.novelty(*self._compared(change))

    def explain(self, x: Sample) -> dict[Hashable, float]:
        """How much each key contributes to the novelty of a sample; together 1."""
        schema = self.schema
        x = schema.without_dates(x)
        change = schema.propose(x)
        features, categorical, _ = self._compared(change)
        surprises = self.histograms.surprises(features, categorical)[:, 0].tolist()
        by_name = dict(zip(change.indices, surprises, strict=True))
        by_number = dict(zip(change.batch.words.numbers.tolist(), self._surprises_of_words(change), strict=True))
        numbers = schema.words | change.words
        by_name |= {name: float(by_number[numbers[name]]) for name in x if numbers.get(name) in by_number}
        by_name.pop(CONSTANT, None)
        by_name = schema.with_dates(by_name)
        total = sum(by_name.values())
        return {name: surprise / total for name, surprise in by_name.items()}

    def _compared(self, change: SchemaChange, learns: bool = False) -> tuple[np.ndarray, Set[int], np.ndarray | None]:
        """The features of samples, (F, B), always missing where the schema added one; which are categories; the number
        of the words of each sample, and the sum of their surprises, (2, B), or None without words."""
        features = change.batch.features
        words = change.batch.words
        if CONSTANT in change.indices:
            features = features.copy()
            features[change.indices[CONSTANT]] = np.nan
        if not len(words.numbers):
            return features, change.categorical, None
        sums = np.bincount(words.samples, self._surprises_of_words(change, learns), len(change.batch))
        return features, change.categorical, np.array([np.diff(words.starts), sums])

    def _surprises_of_words(self, change: SchemaChange, learns: bool = False) -> np.ndarray:  # -> (T,)
        """1 / sqrt(p) of each word, p the share of the samples before it that had it."""
        schema = self.schema
        words = change.batch.words
        before = np.zeros(len(words.numbers))
        samples: Any = 0
        if learns:  # the samples follow one another
            order = words.numbers.argsort(kind="stable")
            new = np.append(True, np.diff(words.numbers[order]) > 0)
            before[order] = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
            samples = words.samples
        is_known = words.numbers < schema.occurrences.shape[1]
        before[is_known] += schema.occurrences[1, words.numbers[is_known]]
        return 1 / np.sqrt(np.maximum(before / np.maximum(schema.sample_count + samples, 1), UNSEEN))

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together."""
        self.schema.check()
        self.histograms.check()
        if self.histograms.size > len(self.schema.indices):
            raise bad("novelty", f"at most {len(self.schema.indices)} features", self.histograms.size)
