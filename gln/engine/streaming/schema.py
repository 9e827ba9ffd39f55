"""Schema of a stream: which keys of samples are features, which are words, the levels of categories, and the classes.

A key that most samples have is a feature, which networks read. A key that most samples lack is a word, which linear
models read alone; there, being absent is 0.

A sample to learn becomes a proposed `SchemaChange`. Everything that may be wrong with it raises an error then; `commit`
follows when the sample has been learned, and cannot fail.

Shapes: B samples, F features.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import copy
import math
import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.batches import MAX_FLOAT, SampleBatch, Words, no_words
from gln.engine.jit import compiled
from gln.engine.preprocessing.category_codes import Levels, check_different_names, codes_of, new_levels, warn_of_numbers
from gln.engine.preprocessing.target_encoding import MOST_ONE_HOT

AT_ONCE = 20  # keys of the first samples that become features at once; of more, most may be words
ENOUGH = 10  # samples that later have a key before it becomes a feature, if at least half of all samples since had it
MOST = float(MAX_FLOAT)  # the largest number
NO_WORDS = no_words(1)
CONSTANT = ("constant", "feature")  # name of what networks read while there are only words
PREVIOUS = ("previous", "label")  # name of the feature that is the label of the previous sample
ADDED = (CONSTANT, PREVIOUS)
ADVICE = "convert it to float, for example by `converters` of river.stream.iter_csv, unless it is a category"


class SchemaChange(NamedTuple):
    """Samples to learn, and what the schema will know with them."""

    batch: SampleBatch
    places: dict[Hashable, int]  # of all features, by name
    categorical: Set[int]  # places of the features that are categories
    levels: dict[Hashable, Levels]  # new levels of categories, by name
    words: dict[Hashable, int]  # numbers of new words, by name
    classes: Sequence[Hashable] = ()  # new ones
    targets: np.ndarray | None = None  # (B,), the number of each sample's class; None if targets are numbers


class StreamSchema:
    """Converts dictionaries and frames to arrays.

    Args:
        at_once: how many keys of the first sample may become features at once.
        always: names that are added with the first features, as categories. PREVIOUS is filled in here.
        most_features: more are an error, which names `negatives`.
    """

    def __init__(
        self, at_once: float = AT_ONCE, always: Set[Hashable] = frozenset(), most_features: float = math.inf
    ) -> None:
        self.at_once = at_once
        self.always = always
        self.memory = PREVIOUS in always
        self.most_features = most_features
        self.places: dict[Hashable, int] = {}  # of features in a sample, by name
        self.levels: dict[Hashable, Levels] = {}  # of features and words that are categories, by name
        self.words: dict[Hashable, int] = {}  # numbers of words, by name
        self.word_count = 0  # so far; some have become features
        # Of each word, how many samples there were before the first one that had it, and how many had it; with room
        # for further words, because copies would take longer and longer.
        self.occurrences = np.zeros((2, 0), np.int64)
        self.sample_count = 0
        self.level_changes = 0  # how often levels became known
        self.classes: dict[Hashable, int] = {}  # the number of each label, in order of appearance
        self.previous = math.nan  # the number of the previous sample's class

    @property
    def names(self) -> dict[Hashable, bool]:
        """The names of features and words, and whether each is a category."""
        return {name: name in self.levels for name in (*self.places, *self.words) if name not in ADDED}

    @property
    def version(self) -> tuple[int, ...]:
        """Changes when samples may be encoded in another way."""
        return len(self.places), self.word_count, self.level_changes

    def copy(self) -> StreamSchema:
        """A copy, on which several changes can be tried."""
        other = copy.copy(self)
        other.levels = {name: dict(levels) for name, levels in self.levels.items()}
        other.words, other.classes, other.occurrences = dict(self.words), dict(self.classes), self.occurrences.copy()
        return other

    def commit(self, change: SchemaChange) -> None:
        """Know what the samples of a change have, from now on. Samples before the first feature are not counted."""
        if change.targets is not None and len(change.targets):
            for label in change.classes:
                self.classes[label] = len(self.classes)
            self.previous = float(change.targets[-1])
        if not change.places:
            return
        if change.words:
            first, self.word_count = self.word_count, self.word_count + len(change.words)
            if self.word_count > self.occurrences.shape[1]:
                self.occurrences = np.pad(self.occurrences, [(0, 0), (0, self.word_count)])
            self.occurrences[0, first : self.word_count] = self.sample_count
            self.words.update(change.words)
        if len(numbers := change.batch.words.numbers):
            compiled(_count_words)(numbers, self.occurrences)
        if change.places is not self.places:
            for name in change.places.keys() - self.places.keys():
                self.words.pop(name, None)
            self.places = change.places
        if change.levels:
            self._add_levels(change.levels)
        self.sample_count += change.batch.shape[1]

    # ---- Dictionaries ------------------------------------------------------------------------------------------------

    def encode(self, x: Mapping[Hashable, Any]) -> SampleBatch:
        """Convert a dictionary for prediction; what is unknown is ignored."""
        values, places, known = self._values(x), self.places, self.words
        if values.keys() <= places.keys():
            batch = SampleBatch(features_of(values, places), NO_WORDS)
        else:
            words = {name: known[name] for name, value in values.items() if name in known and value == value}
            batch = self._batch(values, words, places, {})
        return self._with_previous(batch) if self.memory else batch

    def propose(
        self, x: Mapping[Hashable, Any], labels: Sequence[Hashable] | None = None, at_once: float | None = None
    ) -> SchemaChange:
        """Convert a dictionary for learning, with its label in a list, if targets are labels.

        `at_once` replaces the schema's. Raises ValueError for values that cannot be learned.
        """
        levels: dict[Hashable, Levels] = {}
        values, places = self._values(x, levels), self.places
        if values.keys() <= places.keys():
            batch = SampleBatch(features_of(values, places), NO_WORDS)
            return self._change(batch, places, levels, {}, labels)
        numbers = self.words
        words = {name: numbers.get(name, -1) for name, value in values.items() if name not in places and value == value}
        new = {name: self.word_count + i for i, name in enumerate(name for name, n in words.items() if n < 0)}
        words |= new
        if words:
            become = self._become_features(np.array(list(words.values())), at_once or self.at_once)
            places = self._with_new({name for name, is_feature in zip(words, become, strict=True) if is_feature})
        if places is not self.places:
            words = {name: number for name, number in words.items() if name not in places}
        return self._change(self._batch(values, words, places, levels), places, levels, new, labels)

    def learn_levels(self, x: Mapping[Hashable, Any]) -> np.ndarray:  # -> (F, 1)
        """Know the levels of the features in a dictionary from now on, and encode these features alone."""
        levels: dict[Hashable, Levels] = {}
        values = self._values({name: x[name] for name in x.keys() & self.places.keys()}, levels)
        self._add_levels(levels)
        return features_of(values, self.places)

    def filled(self, x: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """A sample with 0 for each known feature, except categories, that is absent from it if it is `Sparse`."""
        if not isinstance(x, Sparse):
            return x
        return {name: 0.0 for name in self.places if name not in self.levels} | x

    def _values(self, x: Mapping[Hashable, Any], new: dict[Hashable, Levels] | None = None) -> dict[Hashable, float]:
        """The values of a sample as numbers; arguments as for `_value`."""
        levels, values = self.levels, {}
        check_dictionary(x)
        for name, value in (self.filled(x) if isinstance(x, Sparse) else x).items():
            kind = value.__class__
            if (kind is float or kind is int) and name not in levels and -MOST <= value <= MOST:
                values[name] = value  # most values need no more
            elif kind is str and name in levels and value in levels[name]:
                values[name] = levels[name][value]
            else:
                values[name] = self._value(name, value, new)
        return values

    def _value(self, name: Hashable, value: Any, new: dict[Hashable, Levels] | None) -> float:
        """A value as a number, or as the code of its level; NaN if it is missing. Unknown levels are added to `new`, or
        without it become missing values."""
        if is_missing(value):
            return np.nan
        if not self._is_category(name, [value]):
            return number_of(name, value)
        known = self.levels.get(name, {})
        if value not in known and new is not None:
            new[name] = {value: len(known)}
        return known.get(value, np.nan if new is None else len(known))

    def _batch(
        self,
        values: Mapping[Hashable, float],
        words: Mapping[Hashable, int],
        places: Mapping[Hashable, int],
        levels: Mapping[Hashable, Levels],
    ) -> SampleBatch:
        """A sample of these values, of which some are those of words."""
        amounts, codes = [values[name] for name in words], np.full(len(words), -1)
        for i, name in enumerate(words if self.levels or levels else ()):
            if name in self.levels or name in levels:
                codes[i], amounts[i] = amounts[i], 1.0
        numbers, starts = np.array(list(words.values()), np.int64), np.array([0, len(words)])
        return SampleBatch(features_of(values, places), Words(starts, numbers, codes, np.array(amounts, np.float64)))

    # ---- Frames ------------------------------------------------------------------------------------------------------

    def encode_frame(self, X: pd.DataFrame) -> SampleBatch:
        """Convert a frame for prediction; what is unknown is ignored."""
        check_frame(X)
        batch = self._batch_of_frame(self._coded(X))
        return self._with_previous(batch) if self.memory else batch

    def propose_frame(self, X: pd.DataFrame, labels: Sequence[Hashable] | None = None) -> SchemaChange:
        """Convert rows of a frame for learning, of which no other keys than features have values; as `propose`."""
        levels: dict[Hashable, Levels] = {}
        return self._change(self._batch_of_frame(self._coded(X, levels)), self.places, levels, {}, labels)

    def _coded(self, X: pd.DataFrame, new: dict[Hashable, Levels] | None = None) -> pd.DataFrame:
        """Replace strings by codes. Unknown levels are added to `new`, or without it become missing values."""
        coded = X.copy(deep=False)
        for name in X.columns[[dtype.kind not in "biuf" or name in self.levels for name, dtype in X.dtypes.items()]]:
            values = X[name].dropna()
            if self._is_category(name, values):
                known = self.levels.get(name, {})
                found = {} if new is None else new_levels(known, values)
                coded[name] = codes_of(X[name], known | found)
                if new is not None and found:
                    new[name] = found
        return coded

    def _batch_of_frame(self, X: pd.DataFrame) -> SampleBatch:
        """Samples of the rows of a frame, with codes in place of strings; what is unknown is ignored."""
        features, found = no_features(self.places, len(X)), []
        for name, dtype in zip(X.columns, X.dtypes, strict=True):
            if dtype.kind in "biuf":
                values = X[name].to_numpy(np.float64, na_value=np.nan)
            else:
                values = np.array([number_of(name, value) for value in X[name]], np.float64)
            for value in values[np.abs(values) > MOST].tolist():
                number_of(name, value)
            values = np.where(has_values(X[name]), values, np.nan)
            if name in self.places:
                features[self.places[name]] = values
            elif name in self.words:
                rows, is_level = np.flatnonzero(values == values), name in self.levels
                ones = np.ones(len(rows))
                codes, amounts = (values[rows].astype(int), ones) if is_level else (-ones.astype(int), values[rows])
                found.append((rows, self.words[name] * ones.astype(int), codes, amounts))
        if not found:
            return SampleBatch(features, no_words(len(X)))
        rows, numbers, codes, amounts = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        order = rows.argsort(kind="stable")
        starts = np.searchsorted(rows[order], np.arange(len(X) + 1))
        return SampleBatch(features, Words(starts, numbers[order], codes[order], amounts[order]))

    # ---- Names, levels and classes -----------------------------------------------------------------------------------

    def _change(
        self,
        batch: SampleBatch,
        places: dict[Hashable, int],
        levels: dict[Hashable, Levels],
        words: dict[Hashable, int],
        labels: Sequence[Hashable] | None,
    ) -> SchemaChange:
        for name, new in levels.items():
            warn_of_numbers(f"x[{name!r}]", self.levels.get(name, {}), new, ADVICE)
        categorical: Set[int] = frozenset()
        if self.levels or levels or self.always:
            names = (places.keys() & self.levels.keys()) | levels.keys() | self.always
            categorical = {places[name] for name in names if name in places}
        if labels is None:
            return SchemaChange(batch, places, categorical, levels, words)
        numbers, classes = self.classes, [label for label in dict.fromkeys(labels) if label not in self.classes]
        if classes:
            numbers = numbers | {label: len(numbers) + i for i, label in enumerate(classes)}
        targets = np.array([numbers[label] for label in labels], int)
        if self.memory and places:
            batch.features[places[PREVIOUS]] = previous_codes([self.previous, *targets[:-1]])
        return SchemaChange(batch, places, categorical, levels, words, classes, targets)

    def _with_previous(self, batch: SampleBatch) -> SampleBatch:
        if self.places:
            batch.features[self.places[PREVIOUS]] = previous_codes(self.previous)
        return batch

    def _add_levels(self, levels: Mapping[Hashable, Levels]) -> None:
        self.level_changes += len(levels)
        for name, new in levels.items():
            self.levels.setdefault(name, {}).update(new)

    def _is_category(self, name: Hashable, values: Iterable[Any]) -> bool:
        """Whether a key is a category, by its first value. Raises ValueError if other values differ in kind."""
        is_text = isinstance(next(iter(values), None), str)
        if name in self.places or name in self.words:
            is_text = name in self.levels
        for value in values:
            if isinstance(value, str) != is_text:
                expected = "a string" if is_text else "a finite number or a bool"
                raise ValueError(f"x[{name!r}]: expected {expected}, like its first value, got {value!r}")
        return is_text

    def _become_features(self, numbers: np.ndarray, at_once: float) -> list[bool]:  # (n,)
        """Which of the words of the next sample become features."""
        if not self.places:
            return [len(numbers) <= at_once] * len(numbers)
        return compiled(_had_by_most)(numbers, self.occurrences, self.sample_count).tolist()

    def _with_new(self, new: Set[Hashable]) -> dict[Hashable, int]:
        """The places of known features and of new ones, which are sorted, so that their order is irrelevant."""
        if not self.places:
            new = (new or {CONSTANT}) | self.always
        if not new:
            return self.places
        if (size := len(self.places) + len(new)) > self.most_features:
            raise ValueError(
                f"negatives: expected True for more than {self.most_features} features, got False for {size}"
            )
        order = sorted(new, key=lambda name: (str(type(name)), str(name)))
        return self.places | {name: len(self.places) + i for i, name in enumerate(order)}


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


def previous_codes(numbers: Any) -> np.ndarray:
    """Codes of previous labels, from MOST_ONE_HOT on, where levels have statistics and add no columns."""
    return np.add(numbers, MOST_ONE_HOT)


# ---- Checks of values ------------------------------------------------------------------------------------------------


def check_dictionary(x: Any) -> None:
    """Raise ValueError for what is no dictionary."""
    if not hasattr(x, "items"):
        raise ValueError(f"x: expected a dictionary of features, got {reprlib.repr(x)}")


def check_frame(X: Any) -> None:
    """Raise ValueError for what is no frame, and for columns of equal names."""
    if not isinstance(X, pd.DataFrame):
        raise ValueError(f"X: expected a pandas frame, got {type(X).__name__}")
    check_different_names(X)


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
