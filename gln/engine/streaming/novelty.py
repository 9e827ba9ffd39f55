"""What `PairHistograms` compare of named samples, whose keys may be new.

These are scored and learned as proposed changes of a schema, before each is committed; so new keys and levels are told.

Shapes: B samples, F features, T words.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from gln.engine.novelty.pair_histograms import UNSEEN, PairHistograms
from gln.engine.streaming.schema import CONSTANT, SchemaChange, StreamSchema

FIRST = 100  # samples that are not judged
WINDOW = 250  # recent samples; 1,000 are about as good, but stay behind a drift


def new_novelty(seed: int | None, window: int = WINDOW) -> PairHistograms:
    """Before the first sample, with pairs that this seed determines."""
    return PairHistograms.start(0, window, int(np.random.RandomState(seed).randint(1 << 31)))


def compared(schema: StreamSchema, change: SchemaChange) -> tuple[np.ndarray, Set[int], np.ndarray | None]:
    """The features of samples, (F, B), always missing where the schema added one; which are categories; the number of
    the words of each sample, and the sum of their surprises, (2, B), or None without words."""
    features, words = change.batch.features, change.batch.words
    if CONSTANT in change.places:
        features = features.copy()
        features[change.places[CONSTANT]] = np.nan
    if not len(words.numbers):
        return features, change.categorical, None
    sums = np.bincount(words.samples, surprises_of_words(schema, change), len(change.batch))
    return features, change.categorical, np.array([np.diff(words.starts), sums])


def surprises_of_words(schema: StreamSchema, change: SchemaChange) -> np.ndarray:  # -> (T,)
    """1 / sqrt(p) of each word, p the share of the samples before it that had it."""
    words = change.batch.words
    order = words.numbers.argsort(kind="stable")  # of each word, the samples follow one another
    new = np.append(True, np.diff(words.numbers[order]) > 0)[: len(order)]
    before = np.empty(len(order))
    before[order] = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    is_known = words.numbers < schema.occurrences.shape[1]
    before[is_known] += schema.occurrences[1, words.numbers[is_known]]
    return 1 / np.sqrt(np.maximum(before / np.maximum(schema.sample_count + words.samples, 1), UNSEEN))
