"""Texts as numbers: what a linear model of their words predicts, out of fold for the rows that it learned.

The words and punctuation of a text, and pairs of neighbours, are hashed to slots, so that memory is bounded. A text is
a unit vector of their TF-IDF weights, from which ridge regression predicts each class, as 0 or 1, or each target. It is
about as good as logistic regression on seven tables, and takes a tenth of the time.

Shapes: N texts, S slots, n of them that occur, H heads (one for two classes, else one per class or target).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize
from sklearn.utils import murmurhash3_32

from gln.engine.batches import WORD
from gln.engine.saving import Array, saved

SLOTS = 1 << 20
TOLERANCE = 1e-3  # of ridge regression; 1e-4 predicts as well and takes longer
# Of ridge regression on all texts; in proportion for fewer, so that they shrink alike. A compromise: with .1 names of
# dishes explain .50 of their calories and reviews of food have a log-loss of .429, with .7 .47 and .421, with 1 .46 and
# .419. What was left out does not tell which is better: it is predicted by fewer texts, which need more shrinking.
ALPHA = 0.7
# Pairs of words lower the log-loss of `benchmarks.texts` from .445 to .421 on reviews of food.
WORDS = {"token_pattern": WORD, "ngram_range": (1, 2)}
CHARACTERS = {"analyzer": "char_wb", "ngram_range": (1, 3)}  # of languages without spaces
NEAR = 0.1  # standard deviations from the mean where slopes would be too steep
TINY = 1e-300
TYPICAL = 1000  # texts, which tell of a column
FEWEST_PER_SPACE = 12  # characters, on average, of a language without spaces


@saved(
    of_characters=bool,
    slots=Array("i8", "n", 0, SLOTS - 1),
    idf=Array("f4", "n", 0),
    weights=Array("f4", "H n"),
    offset=Array("f8", "H"),
    mean=Array("f8", "H"),
    std=Array("f8", "H", 0),
)
class TextModel(NamedTuple):
    """A linear model of the words of a column of texts."""

    of_characters: bool  # instead of words
    slots: np.ndarray  # (n,), ascending
    idf: np.ndarray  # (n,)
    weights: np.ndarray  # (H, n)
    offset: np.ndarray  # (H,)
    mean: np.ndarray  # (H,), of what is predicted for texts that were not learned
    std: np.ndarray  # (H,)

    def transform(self, column: pd.Series) -> np.ndarray:  # (N,) -> (N, H)
        """What is predicted for texts; NaN for one that is missing, or has no words."""
        return self.predict(counts_of(column, self.of_characters))

    def predict(self, counts: csr_array) -> np.ndarray:  # (N, S) -> (N, H)
        values = unit_vectors(counts[:, self.slots], self.idf) @ self.weights.T.astype(np.float64) + self.offset
        values[np.diff(counts.indptr) == 0] = np.nan
        return values

    def of_text(self, text: str) -> np.ndarray:  # -> (H,)
        """What `transform` predicts for a single text, in a fiftieth of the time."""
        slots = np.unique([abs(murmurhash3_32(word)) % SLOTS for word in _analyzer(self.of_characters)(text)])
        if not len(slots) or not len(self.slots):
            return self.offset if len(slots) else np.full(len(self.offset), np.nan)
        indices = np.searchsorted(self.slots, slots).clip(max=len(self.slots) - 1)
        indices = indices[self.slots[indices] == slots]
        vector = self.idf[indices]
        length = np.sqrt(np.square(vector).sum(dtype=np.float64))
        vector = (vector / (length or 1)).astype(np.float32).astype(np.float64)
        return self.weights[:, indices].astype(np.float64) @ vector + self.offset

    def divided(
        self, text: str, values: np.ndarray, contributions: np.ndarray
    ) -> list[tuple[str, np.ndarray]]:  # (H,), (C, H) -> (C,) of each word
        """Contributions of what is predicted for a text, divided among its words, of which those that are known count.

        As far as a contribution grows with the distance from the mean, in proportion to by how much each word changes
        what is predicted; the rest by the shares of words of the text, which are 1 together.
        """
        words = [*dict.fromkeys(vectorizer(self.of_characters).build_analyzer()(text))]
        if not words or len(self.slots) == 0:
            return []
        hashed = FeatureHasher(SLOTS, input_type="string", alternate_sign=False).transform([[word] for word in words])
        indices = np.searchsorted(self.slots, hashed.indices).clip(max=len(self.slots) - 1)
        known = np.flatnonzero(self.slots[indices] == hashed.indices)
        indices = indices[known]
        shares, changes = self._shares_and_changes(indices)
        distance = values - self.mean
        slopes = contributions * distance / (distance**2 + (NEAR * self.std) ** 2 + TINY)
        word_contributions = changes @ slopes.T + shares[:, None] * (contributions - slopes * distance).sum(axis=1)
        return [*zip([words[index] for index in known], word_contributions, strict=True)]

    def _shares_and_changes(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (n,) -> (n,), (n, H)
        """The share of each word of a text, and by how much it changes what is predicted."""
        used, slot, sharing = np.unique(indices, return_inverse=True, return_counts=True)
        vector = self.idf[used] / max(np.linalg.norm(self.idf[used]), TINY)
        parts = 1 / sharing[slot]
        shares = parts * vector[slot] ** 2
        changes = (parts * vector[slot])[:, None] * self.weights[:, indices].T
        return shares, changes + shares[:, None] * (self.offset - self.mean)


class TextModelsOfFolds(NamedTuple):
    """The models of each fold of a table, for rows that must not be predicted by what was learned from their fold."""

    models: list[TextModel]  # R
    folds: np.ndarray  # (N,), of the rows

    def transform(self, column: pd.Series) -> np.ndarray:  # (N,) -> (N, H)
        return self.predict(counts_of(column, self.models[0].of_characters))

    def predict(self, counts: csr_array) -> np.ndarray:  # (N, S) -> (N, H)
        values = np.empty((len(self.folds), len(self.models[0].offset)))
        for fold, model in enumerate(self.models):
            rows = np.flatnonzero(self.folds == fold)
            values[rows] = model.predict(counts[rows])
        return values


class TextWords(NamedTuple):
    """Which words the texts of a column have."""

    of_characters: bool
    counts: csr_array  # (N, S), 1 for those that occur


def vectorizer(of_characters: bool) -> HashingVectorizer:
    options = CHARACTERS if of_characters else WORDS
    return HashingVectorizer(
        n_features=SLOTS, alternate_sign=False, norm=None, binary=True, dtype=np.float32, **options
    )


@functools.cache
def _analyzer(of_characters: bool) -> Callable[[str], list[str]]:
    return vectorizer(of_characters).build_analyzer()


def texts_of(column: pd.Series) -> np.ndarray:  # (N,) -> (N,), of str; empty ones where they are missing
    return column.astype(object).where(column.notna(), "").map(str).to_numpy(object)


def has_no_spaces(column: pd.Series) -> bool:
    """Whether texts are of a language that does not separate words by spaces, such as Chinese."""
    text = " ".join(texts_of(column.dropna()[:TYPICAL]))
    return not text.isascii() and len(text) > FEWEST_PER_SPACE * text.count(" ")


def counts_of(column: pd.Series, of_characters: bool) -> csr_array:  # (N,) -> (N, S)
    """1 for the words of each text; nothing if it is missing."""
    return csr_array(vectorizer(of_characters).transform(texts_of(column)))


def unit_vectors(counts: csr_array, idf: np.ndarray) -> csr_array:  # (N, n), (n,) -> (N, n)
    """IDF of the words of each text, as in scikit-learn's `TfidfTransformer`, normalised."""
    vectors = counts.copy()
    vectors.data = idf[counts.indices].astype(np.float32)
    return normalize(vectors, copy=False) if vectors.nnz else vectors


def fit_text(
    words: TextWords,  # (N, S)
    targets: np.ndarray,  # (H, N)
    weights: np.ndarray,  # (N,)
    folds: np.ndarray,  # (N,)
    counted: np.ndarray,  # (R, R) bools, whether the rows of a fold (second) are learned for those of a fold (first)
) -> tuple[TextModel, list[TextModel], np.ndarray]:
    """The model of all texts, for each fold that of the folds that are counted, and what these predict, (N, H).

    A weight counts like so many rows.
    """
    slots = np.unique(words.counts.indices)
    counts = words.counts[:, slots]
    known = (np.diff(counts.indptr) > 0) & (weights > 0)
    occurrences = np.bincount(counts.indices, weights.repeat(np.diff(counts.indptr)), len(slots))
    total = weights[known].sum()
    idf = 1 + np.log((1 + total) / (1 + occurrences)).astype(np.float32)
    nothing = np.zeros(len(targets))
    empty = TextModel(words.of_characters, slots, idf, np.zeros((0, 0)), nothing, nothing, nothing)

    def model_of(rows: np.ndarray) -> TextModel:  # (N,), of bools
        share = weights[rows].sum() / total if rows.any() else 0
        return _fitted(empty, counts[rows], targets[:, rows], weights[rows], ALPHA * share)

    models = [model_of(known & is_counted[folds]) for is_counted in counted]
    values = TextModelsOfFolds(models, folds).predict(words.counts)
    mean, std = _moments(values, weights)
    model = model_of(known)
    return model._replace(offset=np.nan_to_num(model.offset), mean=mean, std=std), models, values


def _fitted(model: TextModel, counts: csr_array, targets: np.ndarray, weights: np.ndarray, alpha: float) -> TextModel:
    """A copy that has learned texts: (N, n), (H, N) and (N,)."""
    coefficients, offset = _ridge(unit_vectors(counts, model.idf), targets, weights, alpha)
    is_seen = np.bincount(counts.indices, minlength=len(model.slots)) > 0  # others are as unknown as in new texts
    return model._replace(idf=model.idf * is_seen, weights=coefficients, offset=offset)


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (N, H), (N,) -> (H,), (H,)
    """Mean and standard deviation of what is predicted, without NaN."""
    shares = weights * ~np.isnan(values[:, 0])
    predicted = np.nan_to_num(values)
    shares /= max(shares.sum(), TINY)
    mean = shares @ predicted
    return mean, np.sqrt(shares @ (predicted - mean) ** 2)


def _ridge(vectors: csr_array, targets: np.ndarray, weights: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (H, n) and offsets (H,), NaN if there are no texts, from (N, n), (H, N) and (N,)."""
    if len(weights) == 0:
        return np.zeros((len(targets), vectors.shape[1]), np.float32), np.full(len(targets), np.nan)
    model = Ridge(alpha, solver="sparse_cg", tol=TOLERANCE).fit(
        vectors, targets.T.astype(np.float32), weights.astype(np.float32)
    )
    return np.atleast_2d(model.coef_).astype(np.float32), np.atleast_1d(model.intercept_).astype(np.float64)
