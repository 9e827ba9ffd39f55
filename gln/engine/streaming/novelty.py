"""`StreamNovelty`: novelty of named samples, whose keys may be new.

Shapes: B samples, F features, T words.
"""

from __future__ import annotations

from collections.abc import Hashable, Set

import numpy as np

from gln.engine.novelty.pair_histograms import UNSEEN, PairHistograms
from gln.engine.saving import Part, bad, saved
from gln.engine.streaming.schema import CONSTANT, SchemaChange, StreamSchema
from gln.engine.streaming.values import Sample

FIRST = 100  # samples that are not judged
WINDOW = 250  # recent samples; 1,000 are about as good, but stay behind a drift


@saved(schema=StreamSchema, model=PairHistograms)
class StreamNovelty(Part):
    """Scores and learns proposed changes of a schema, before each is committed; so new keys and levels are told."""

    def __init__(self, schema: StreamSchema, model: PairHistograms) -> None:
        self.schema = schema
        self.model = model

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together."""
        self.schema.check()
        self.model.check()
        if self.model.size > len(self.schema.places):
            raise bad("novelty", f"at most {len(self.schema.places)} features", self.model.size)

    def learn(self, change: SchemaChange) -> None:
        if not change.places:
            return
        features, categorical = _features(change)
        if len(features) > self.model.size:
            self.model = self.model.grown(len(features))
        self.model.learn(features, categorical, _sums(self.schema, change))

    def novelty(self, x: Sample) -> float:
        """The share of recent samples that were less novel; 0 before the first hundred."""
        change = self.schema.propose(x)
        judges = self.model.count >= FIRST
        return float(judges and self.model.novelty(*_features(change), _sums(self.schema, change))[0])

    def explain(self, x: Sample) -> dict[Hashable, float]:
        """How much each key contributes to the novelty of a sample; together 1."""
        schema, x = self.schema, self.schema.of_dates(x)
        change = schema.propose(x)
        names, numbers = [*change.places], {**schema.words, **change.words}
        found = dict(zip(names, self.model.surprises(*_features(change))[:, 0].tolist(), strict=True))
        of_words = dict(zip(change.batch.words.numbers.tolist(), _of_words(schema, change).tolist(), strict=True))
        found |= {name: of_words[numbers[name]] for name in x if numbers.get(name) in of_words}
        for part, name in schema.parts.items():
            found[name] += found.pop(part, 0.0)
        found = {name: surprise for name, surprise in found.items() if name != CONSTANT}
        total = sum(found.values())
        return {name: surprise / total for name, surprise in found.items()}


def _features(change: SchemaChange) -> tuple[np.ndarray, Set[int]]:  # -> (F, B)
    """The features of samples, always missing where the schema added one."""
    features = change.batch.features
    if CONSTANT in change.places:
        features = features.copy()
        features[change.places[CONSTANT]] = np.nan
    return features, change.categorical


def _sums(schema: StreamSchema, change: SchemaChange) -> np.ndarray | None:  # -> (2, B)
    """The number of the words of each sample, and the sum of their surprises; None without words."""
    words, count = change.batch.words, len(change.batch)
    if not len(words.numbers):
        return None
    sums = np.bincount(words.samples, _of_words(schema, change), count)
    return np.array([np.diff(words.starts), sums])


def _of_words(schema: StreamSchema, change: SchemaChange) -> np.ndarray:  # -> (T,)
    """1 / sqrt(p) of each word, p the share of the samples before it that had it."""
    words = change.batch.words
    order = words.numbers.argsort(kind="stable")  # of each word, the samples follow one another
    new = np.append(True, np.diff(words.numbers[order]) > 0)[: len(order)]
    before = np.empty(len(order))
    before[order] = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    is_known = words.numbers < schema.occurrences.shape[1]
    before[is_known] += schema.occurrences[1, words.numbers[is_known]]
    return 1 / np.sqrt(np.maximum(before / np.maximum(schema.sample_count + words.samples, 1), UNSEEN))


def new_novelty(schema: StreamSchema, seed: int | None, window: int = WINDOW) -> StreamNovelty:
    """Before the first sample, with pairs that this seed determines."""
    return StreamNovelty(schema, PairHistograms.start(0, window, int(np.random.RandomState(seed).randint(1 << 31))))
