"""Names of a stream: which keys of samples are features, which are words, and the levels of categories.

A key that most samples have is a feature, which networks read. A key that most samples lack is a word, which linear
models read alone; there, being absent is 0.

Shapes: B samples, F features.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.batches import MAX_FLOAT, SampleBatch, Words, no_words
from gln.engine.jit import compiled
from gln.engine.preprocessing.category_codes import Levels, check_different_names, codes_of, new_levels

AT_ONCE = 20  # keys of the first samples that become features at once; of more, most may be words
ENOUGH = 10  # samples that later have a key before it becomes a feature, if at least half of all samples since had it
NO_WORDS = no_words(1)


class Samples(NamedTuple):
    """Samples to learn, and what will be known afterwards."""

    rows: SampleBatch
    places: dict[Hashable, int]  # of the features, by name
    levels: dict[Hashable, Levels]  # new levels of categories, by name
    words: dict[Hashable, int]  # numbers of new words, by name


class StreamSchema:
    """Converts dictionaries and frames to arrays."""

    _always: Set[Hashable] = frozenset()  # names that are added with the first features
    _at_once: float = AT_ONCE

    def __init__(self) -> None:
        self._places: dict[Hashable, int] = {}  # of features in a sample, by name
        self._levels: dict[Hashable, Levels] = {}  # of features and words that are categories, by name
        self._words: dict[Hashable, int] = {}  # numbers of words, by name
        self._numbers = 0  # of words so far
        # Of each word, how many samples there were before the first one that had it, and how many had it; with room
        # for further words, because copies would take longer and longer.
        self._occurrences = np.zeros((2, 0), np.int64)
        self._count = 0  # of samples so far
        self._changes = 0  # how often levels became known

    # ---- Dictionaries ------------------------------------------------------------------------------------------------

    def _seen(self, x: Mapping[Hashable, Any], at_once: float | None = None) -> Samples:
        """Convert a dictionary for learning. In the first one, at most so many keys become features at once."""
        levels: dict[Hashable, Levels] = {}
        values, places = self._values(x, levels), self._places
        if values.keys() <= places.keys():
            return Samples(SampleBatch(features_of(values, places), NO_WORDS), places, levels, {})
        numbers = self._words
        words = {name: numbers.get(name, -1) for name, value in values.items() if name not in places and value == value}
        new = {name: self._numbers + i for i, name in enumerate(name for name, number in words.items() if number < 0)}
        words |= new
        if words:
            become = self._become_features(np.array(list(words.values())), at_once or self._at_once)
            places = self._with_new({name for name, is_feature in zip(words, become, strict=True) if is_feature})
        if places is not self._places:
            words = {name: number for name, number in words.items() if name not in places}
        return Samples(self._row(values, words, places, levels), places, levels, new)

    def _known(self, x: Mapping[Hashable, Any]) -> SampleBatch:
        """Convert a dictionary for prediction; what is unknown is ignored."""
        values, places, known = self._values(x), self._places, self._words
        if values.keys() <= places.keys():
            return SampleBatch(features_of(values, places), NO_WORDS)
        words = {name: known[name] for name, value in values.items() if name in known and value == value}
        return self._row(values, words, places, {})

    def _values(self, x: Mapping[Hashable, Any], new: dict[Hashable, Levels] | None = None) -> dict[Hashable, float]:
        """The values of a sample as numbers; arguments as for `_value`."""
        levels, values = self._levels, {}
        if not hasattr(x, "items"):
            raise ValueError(f"x: expected a dictionary of features, got {reprlib.repr(x)}")
        for name, value in self._filled(x).items():
            kind = value.__class__
            if (kind is float or kind is int) and name not in levels and -MOST <= value <= MOST:
                values[name] = value  # most values need no more
            elif kind is str and name in levels and value in levels[name]:
                values[name] = levels[name][value]
            else:
                values[name] = self._value(name, value, new)
        return values

    def _filled(self, x: Mapping[Hashable, Any]) -> Mapping[Hashable, Any]:
        """A sample with 0 for each known feature, except categories, that is absent from it if it is `Sparse`."""
        if not isinstance(x, Sparse):
            return x
        return {name: 0.0 for name in self._places if name not in self._levels} | x

    def _value(self, name: Hashable, value: Any, new: dict[Hashable, Levels] | None) -> float:
        """A value as a number, or as the code of its level; NaN if it is missing. Unknown levels are added to `new`, or
        without it become missing values."""
        if is_missing(value):
            return np.nan
        if not self._is_category(name, [value]):
            return number_of(name, value)
        known = self._levels.get(name, {})
        if value not in known and new is not None:
            new[name] = {value: len(known)}
        return known.get(value, np.nan if new is None else len(known))

    def _row(
        self,
        values: Mapping[Hashable, float],
        words: Mapping[Hashable, int],
        places: Mapping[Hashable, int],
        levels: Mapping[Hashable, Levels],
    ) -> SampleBatch:
        """A sample of these values, of which some are those of words."""
        amounts, codes = [values[name] for name in words], np.full(len(words), -1)
        for i, name in enumerate(words if self._levels or levels else ()):
            if name in self._levels or name in levels:
                codes[i], amounts[i] = amounts[i], 1.0
        numbers, starts = np.array(list(words.values()), np.int64), np.array([0, len(words)])
        return SampleBatch(features_of(values, places), Words(starts, numbers, codes, np.array(amounts, np.float64)))

    # ---- Frames ------------------------------------------------------------------------------------------------------

    def _parts(self, X: pd.DataFrame) -> Iterator[tuple[slice, Samples]]:
        """Rows of a frame to learn, one part after another: those before the next key that is no feature, or one row
        with such keys, which may make features of them."""
        names, start, features = np.array([*X.columns, None], object)[:-1], 0, -1
        has = (
            np.stack([has_values(X[name]) for name in X.columns], axis=1) if len(names) else np.zeros((len(X), 0), bool)
        )
        while start < len(X):
            if len(self._places) != features:
                features = len(self._places)
                alone = np.any(has[:, [name not in self._places for name in names]], axis=1)
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

    def _known_frame(self, X: pd.DataFrame) -> SampleBatch:
        """Convert a frame for prediction; what is unknown is ignored."""
        check_frame(X)
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

    def _rows(self, X: pd.DataFrame) -> SampleBatch:
        """Samples of the rows of a frame, with codes in place of strings; what is unknown is ignored."""
        features, found = no_features(self._places, len(X)), []
        for name, dtype in zip(X.columns, X.dtypes, strict=True):
            if dtype.kind in "biuf":
                values = X[name].to_numpy(np.float64, na_value=np.nan)
            else:
                values = np.array([number_of(name, value) for value in X[name]], np.float64)
            for value in values[np.abs(values) > MOST].tolist():
                number_of(name, value)
            values = np.where(has_values(X[name]), values, np.nan)
            if name in self._places:
                features[self._places[name]] = values
            elif name in self._words:
                rows, is_level = np.flatnonzero(values == values), name in self._levels
                ones = np.ones(len(rows))
                of_rows = (values[rows].astype(int), ones) if is_level else (-ones.astype(int), values[rows])
                found.append((rows, self._words[name] * ones.astype(int), *of_rows))
        if not found:
            return SampleBatch(features, no_words(len(X)))
        of_all, numbers, codes, amounts = (np.concatenate(each) for each in zip(*found, strict=True))
        order = of_all.argsort(kind="stable")
        starts = np.searchsorted(of_all[order], np.arange(len(X) + 1))
        return SampleBatch(features, Words(starts, numbers[order], codes[order], amounts[order]))

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

    def _become_features(self, numbers: np.ndarray, at_once: float) -> list[bool]:  # (n,)
        """Which of the words of the next sample become features."""
        if not self._places:
            return [len(numbers) <= at_once] * len(numbers)
        return compiled(_had_by_most)(numbers, self._occurrences, self._count).tolist()

    def _with_new(self, new: Set[Hashable]) -> dict[Hashable, int]:
        """The places of known features and of new ones, which are sorted, so that their order is irrelevant."""
        if not self._places:
            new = (new or {CONSTANT}) | self._always
        if not new:
            return self._places
        order = sorted(new, key=lambda name: (str(type(name)), str(name)))
        return self._places | {name: len(self._places) + i for i, name in enumerate(order)}

    def _remember(self, samples: Samples) -> None:
        """Know what samples have, from now on."""
        if samples.words:
            first, self._numbers = self._numbers, self._numbers + len(samples.words)
            if self._numbers > self._occurrences.shape[1]:
                self._occurrences = np.pad(self._occurrences, [(0, 0), (0, self._numbers)])
            self._occurrences[0, first : self._numbers] = self._count
            self._words.update(samples.words)
        if len(numbers := samples.rows.words.numbers):
            compiled(_count_words)(numbers, self._occurrences)
        if samples.places is not self._places:
            for name in samples.places.keys() - self._places.keys():
                self._words.pop(name, None)
            self._places = samples.places
        self._changes += len(samples.levels)
        for name, own in samples.levels.items():
            self._levels.setdefault(name, {}).update(own)
        self._count += samples.rows.shape[1]


def check_frame(X: Any) -> None:
    """Raise ValueError for what is no frame, and for columns of equal names."""
    if not isinstance(X, pd.DataFrame):
        raise ValueError(f"X: expected a pandas frame, got {type(X).__name__}")
    check_different_names(X)


def _had_by_most(numbers: np.ndarray, occurrences: np.ndarray, count: int) -> np.ndarray:  # (n,) -> (n,)
    """Which words ENOUGH samples had, the next one included, and half of those since the first one."""
    become = np.zeros(len(numbers), np.bool_)
    for i, number in enumerate(numbers):
        if number < occurrences.shape[1]:
            had = occurrences[1, number] + 1
            become[i] = had >= ENOUGH and 2 * had >= count + 1 - occurrences[0, number]
    return become


def _count_words(numbers: np.ndarray, occurrences: np.ndarray) -> None:
    for number in numbers:
        occurrences[1, number] += 1


MOST = float(MAX_FLOAT)  # the largest number
CONSTANT = ("constant", "feature")  # name of what networks read while there are only words


class Sparse(dict[str, float]):
    """A sample in which a feature that is absent is 0 instead of missing, as in Vowpal Wabbit's text and libsvm's."""


def features_of(values: Mapping[Hashable, float], places: Mapping[Hashable, int]) -> np.ndarray:  # -> (F, 1)
    """The features of a sample with these values."""
    features = np.array([*map(values.get, places)], np.float64)[:, None]  # None, of a missing value, becomes NaN
    if CONSTANT in places:
        features[places[CONSTANT]] = 0
    return features


def no_features(places: Mapping[Hashable, int], count: int) -> np.ndarray:  # -> (F, B)
    """Samples whose features are all missing."""
    features = np.full((len(places), count), np.nan)
    if CONSTANT in places:
        features[places[CONSTANT]] = 0
    return features


def has_values(column: pd.Series) -> np.ndarray:
    """Which rows have a value; one that a sparse column does not store is absent."""
    has = column.notna().to_numpy()
    return has & (column != 0).to_numpy() if isinstance(column.dtype, pd.SparseDtype) else has


def number_of(name: Hashable, value: Any) -> float:
    """A value as a float; NaN if it is missing."""
    number = _as_float(value)
    if abs(number) > MOST:
        raise ValueError(f"x[{name!r}]: expected a finite number, a bool or a string, got {value!r}")
    return number


def target_of(value: Any) -> float:
    """A number to learn as a float; NaN if it is missing."""
    number = np.inf if isinstance(value, str) else _as_float(value)
    if abs(number) > MOST:
        raise ValueError(f"y: expected finite numbers, got {value!r}")
    return number


def _as_float(value: Any) -> float:
    """NaN for a missing value, infinity for what is no number."""
    is_other = isinstance(value, (np.datetime64, np.timedelta64, np.complexfloating))  # some of which `float` takes
    try:
        return np.nan if is_missing(value) else np.inf if is_other else float(value)
    except (TypeError, ValueError, OverflowError):
        return np.inf


def label_of(value: Any) -> Hashable:
    """A label to learn; None if it is missing."""
    check_key("y", "labels", value)
    return None if is_missing(value) else value


def check_key(name: str, kind: str, value: Any) -> None:
    """Raise ValueError for a value of the argument `name` that no dictionary can have as a key."""
    try:
        hash(value)
    except TypeError as error:
        raise ValueError(f"{name}: expected {kind} that can be keys of a dictionary, got {value!r}") from error


def is_missing(value: Any) -> bool:
    try:
        return value is None or value is pd.NA or bool(value != value)
    except (TypeError, ValueError):  # an array, for example, is neither equal to itself nor not
        return False
