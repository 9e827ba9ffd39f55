"""Names of a stream: which keys of samples are features, which are words, and the levels of categories.

A key that most samples have is a feature, which networks read. A key that most samples lack is a word, which linear
models read alone; there, being absent is 0.

Shapes: B samples, F features.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.learning.levels import Levels, codes_of, new_levels
from gln.learning.samples import MAX_FLOAT, WithWords, Words, no_words

__all__ = ["CONSTANT", "Names", "Samples"]

AT_ONCE = 50  # keys of the first samples that become features at once; of more, most may be words
ENOUGH = 10  # samples that later have a key before it becomes a feature, if at least half of all samples since had it
CONSTANT = ("constant", "feature")  # name of what networks read while there are only words
NO_WORDS = no_words(1)
MOST = float(MAX_FLOAT)  # the largest number


class Samples(NamedTuple):
    """Samples to learn, and what will be known afterwards."""

    rows: WithWords
    places: dict[Hashable, int]  # of the features, by name
    levels: dict[Hashable, Levels]  # new levels of categories, by name
    words: dict[Hashable, list[int]]  # as for `Names`, of keys that samples have and that are no features


class Names:
    """Converts dictionaries and frames to arrays."""

    _always: Set[Hashable] = frozenset()  # names that are added with the first features

    def __init__(self) -> None:
        self._places: dict[Hashable, int] = {}  # of features in a sample, by name
        self._levels: dict[Hashable, Levels] = {}  # of features and words that are categories, by name
        # For each word its number, how many samples there were before its first one, and how many had it.
        self._words: dict[Hashable, list[int]] = {}
        self._numbers = 0  # of words so far
        self._count = 0  # of samples so far

    # ---- Dictionaries ------------------------------------------------------------------------------------------------

    def _seen(self, x: Mapping[Hashable, Any]) -> Samples:
        """Convert a dictionary for learning."""
        levels: dict[Hashable, Levels] = {}
        values = self._values(x, levels)
        places, words = self._places, {}
        if not values.keys() <= places.keys():
            places, words = self._sorted([name for name in values if name not in places and values[name] == values[name]])
        return Samples(self._row(values, places, words, levels), places, levels, words)

    def _known(self, x: Mapping[Hashable, Any]) -> WithWords:
        """Convert a dictionary for prediction; what is unknown is ignored."""
        return self._row(self._values(x), self._places, self._words, {})

    def _values(
        self, x: Mapping[Hashable, Any], new: dict[Hashable, Levels] | None = None
    ) -> dict[Hashable, float]:
        """The values of a sample as numbers; arguments as for `_value`."""
        return {
            name: value
            if value.__class__ is float and abs(value) <= MOST and name not in self._levels  # as most values are
            else self._value(name, value, new)
            for name, value in x.items()
        }

    def _value(self, name: Hashable, value: Any, new: dict[Hashable, Levels] | None = None) -> float:
        """A value as a number, or as the code of its level; NaN if it is missing. Unknown levels are added to `new`, or
        without it become missing values."""
        if _is_missing(value):
            return np.nan
        if not self._is_category(name, [value]):
            return _number(name, value)
        known = self._levels.get(name, {})
        if value not in known and new is not None:
            new[name] = {value: len(known)}
        return known.get(value, np.nan if new is None else len(known))

    def _row(
        self,
        values: Mapping[Hashable, float],
        places: Mapping[Hashable, int],
        words: Mapping[Hashable, Sequence[int]],
        levels: Mapping[Hashable, Levels],
    ) -> WithWords:
        """A sample of these values."""
        row = np.array([[values.get(name, np.nan)] for name in places]) if places else np.empty((0, 1))
        if CONSTANT in places:
            row[places[CONSTANT]] = 0
        if values.keys() <= places.keys():
            return WithWords(row, NO_WORDS)
        found = []
        for name in values.keys() & words.keys():
            value, is_level = values[name], name in self._levels or name in levels
            if value == value:
                found.append((words[name][0], int(value) if is_level else -1, 1.0 if is_level else value))
        numbers, codes, of_words = np.array(sorted(found), np.float64).reshape(-1, 3).T
        return WithWords(row, Words(np.array([0, len(found)]), numbers.astype(int), codes.astype(int), of_words.copy()))

    # ---- Frames ------------------------------------------------------------------------------------------------------

    def _parts(self, X: pd.DataFrame) -> Iterator[tuple[slice, Samples]]:
        """Rows of a frame to learn, one part after another: those before the next key that is no feature, or one row
        with such keys, which may make features of them."""
        names, start, features = np.array([*X.columns, None], object)[:-1], 0, -1
        has = np.stack([_has(X[name]) for name in X.columns], axis=1) if len(names) else np.zeros((len(X), 0), bool)
        while start < len(X):
            if len(self._places) != features:
                features = len(self._places)
                alone = has[:, [name not in self._places for name in names]].any(axis=1)
            end = start + int(alone[start:].argmax()) if alone[start:].any() else len(X)
            if end == start:
                row = X.iloc[start : start + 1]
                end, samples = start + 1, self._seen({name: row[name].iloc[0] for name in names[has[start]]})
            else:
                samples = self._seen_rows(X.iloc[start:end])
            yield slice(start, end), samples
            start = end

    def _seen_rows(self, X: pd.DataFrame) -> Samples:
        """Convert rows of a frame for learning, of which no other keys than features have values."""
        levels: dict[Hashable, Levels] = {}
        return Samples(self._rows(self._coded(X, levels)), self._places, levels, {})

    def _known_frame(self, X: pd.DataFrame) -> WithWords:
        """Convert a frame for prediction; what is unknown is ignored."""
        return self._rows(self._coded(X))

    def _coded(self, X: pd.DataFrame, new: dict[Hashable, Levels] | None = None) -> pd.DataFrame:
        """Replace strings by codes. Unknown levels are added to `new`, or without it become missing values."""
        coded = X.copy(deep=False)
        for name in X.columns[[dtype.kind not in "biuf" or name in self._levels for name, dtype in X.dtypes.items()]]:
            values = X[name].dropna()
            if self._is_category(name, values):
                known = self._levels.get(name, {})
                found = {} if new is None else new_levels(known, values)
                coded[name] = codes_of(X[name], known | found)
                if new is not None and found:
                    new[name] = found
        return coded

    def _rows(self, X: pd.DataFrame) -> WithWords:
        """Samples of the rows of a frame, with codes in place of strings; what is unknown is ignored."""
        features, found = _no_features(self._places, len(X)), []
        for name, dtype in zip(X.columns, X.dtypes, strict=True):
            if dtype.kind in "biuf":
                values = X[name].to_numpy(np.float64, na_value=np.nan)
            else:
                values = np.array([_number(name, value) for value in X[name]], np.float64)
            for value in values[np.abs(values) > MOST]:
                _number(name, value)
            if name in self._places:
                features[self._places[name]] = values
            elif name in self._words:
                rows, is_level = np.flatnonzero(_has(X[name])), name in self._levels
                codes = values[rows].astype(int) if is_level else np.full(len(rows), -1)
                numbers = np.full(len(rows), self._words[name][0])
                found.append((rows, numbers, codes, np.ones(len(rows)) if is_level else values[rows]))
        if not found:
            return WithWords(features, no_words(len(X)))
        rows, *of_words = (np.concatenate(each) for each in zip(*found, strict=True))
        order = rows.argsort(kind="stable")
        starts = np.searchsorted(rows[order], np.arange(len(X) + 1))
        return WithWords(features, Words(starts, *(each[order] for each in of_words)))

    # ---- Names -------------------------------------------------------------------------------------------------------

    def _is_category(self, name: Hashable, values: Iterable[Any]) -> bool:
        """Whether a key is a category, by its first value. Raises ValueError if other values differ in kind."""
        is_text = isinstance(next(iter(values), None), str)
        if name in self._places or name in self._words:
            is_text = name in self._levels
        for value in values:
            if isinstance(value, str) != is_text:
                expected = "a string" if is_text else "a finite number or a bool"
                raise ValueError(f"x[{name!r}]: expected {expected}, like its first value, got {value!r}")
        return is_text

    def _sorted(self, names: Sequence[Hashable]) -> tuple[dict[Hashable, int], dict[Hashable, list[int]]]:
        """The places of all features, and the words among the keys of a sample that are no features so far."""
        words, number = {}, self._numbers
        for name in names:
            own, before, had = self._words.get(name, (number, self._count, 0))
            number = max(number, own + 1)
            words[name] = [own, before, had + 1]
        if not self._places and len(names) <= AT_ONCE:
            features = set(words)
        else:
            now = self._count + 1
            features = {name for name, (_, before, had) in words.items() if had >= ENOUGH and 2 * had >= now - before}
        places = self._with_new(features if features or self._places or not words else {CONSTANT})
        return places, {name: word for name, word in words.items() if name not in features}

    def _with_new(self, new: Set[Hashable]) -> dict[Hashable, int]:
        """The places of known features and of new ones, which are sorted, so that their order is irrelevant."""
        if not new:
            return self._places
        if not self._places:
            new = new | self._always
        order = sorted(new, key=lambda name: (str(type(name)), str(name)))
        return self._places | {name: len(self._places) + i for i, name in enumerate(order)}

    def _remember(self, samples: Samples) -> None:
        """Know what samples have, from now on."""
        self._count += samples.rows.shape[1]
        self._numbers = max([self._numbers, *(word[0] + 1 for word in samples.words.values())])
        self._words.update(samples.words)
        for name in samples.places.keys() - self._places.keys():
            self._words.pop(name, None)
        self._places = samples.places
        for name, new in samples.levels.items():
            self._levels.setdefault(name, {}).update(new)


def _no_features(places: Mapping[Hashable, int], count: int) -> np.ndarray:  # -> (F, B)
    """Samples whose features are all missing."""
    features = np.full((len(places), count), np.nan)
    if CONSTANT in places:
        features[places[CONSTANT]] = 0
    return features


def _has(column: pd.Series) -> np.ndarray:
    """Which rows have a value; one that a sparse column does not store is absent."""
    has = column.notna().to_numpy()
    return has & (column != 0).to_numpy() if isinstance(column.dtype, pd.SparseDtype) else has


def _number(name: Hashable, value: Any) -> float:
    """A value as a float; NaN if it is missing."""
    is_date = isinstance(value, (np.datetime64, np.timedelta64))  # some of which `float` takes
    try:
        number = np.nan if _is_missing(value) else np.inf if is_date else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.inf
    if abs(number) > MOST:
        raise ValueError(f"x[{name!r}]: expected a finite number, a bool or a string, got {value!r}")
    return number


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value
