"""Schema of a stream: which keys of samples are features, which are words, the levels of categories, and the classes.

A key that most samples have is a feature, which networks read. A key that most samples lack is a word, which linear
models read alone; there, being absent is 0. The keys of the first sample are features at once, unless they are many.
Later ones become features with the sample after a check: after 10, 20, ..., 100, 200, ..., 1,000, 2,000, 3,000, ...
samples.

Samples to learn become a proposed `SchemaChange`. Everything that may be wrong with them raises an error then; `commit`
follows when they have been learned, and cannot fail.

Shapes: B samples, F features, T words of all samples.
"""

from __future__ import annotations

import copy
import itertools
import math
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.batches import SampleBatch, Words, no_words
from gln.engine.jit import compiled
from gln.engine.preprocessing.category_codes import (
    Levels,
    code_of,
    codes_and_new_levels,
    shared_number,
    warn_of_numbers,
)
from gln.engine.preprocessing.target_encoding import MOST_ONE_HOT
from gln.engine.saving import ENTRIES, Array, Number, Part, bad, saved
from gln.engine.streaming.named_rows import NamedRows, named_rows
from gln.engine.streaming.values import MOST, check_dictionary, check_magnitudes, has_values, is_missing, number_of

AT_ONCE = 20  # keys of the first sample that become features at once; of more, most may be words
# What a word becomes a feature by, at a check: so many samples had it, half of those since its first one, and one in
# SHARE of all.
ENOUGH, SHARE = 10, 20
MOST_FEATURES = 1000  # with more, words stay words
MOST_WORDS = 1 << 18  # with a number of their own; later ones share numbers
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


@saved(
    **{"places": {object: Number(int, 0, ENTRIES)}, "levels": {object: {object: Number(int, 0, ENTRIES)}}},
    **{"words": {object: Number(int, 0)}, "word_count": Number(int, 0), "occurrences": Array("i8", "2 *", 0)},
    **{"sample_count": Number(int, 0, 1 << 62), "classes": {object: Number(int, 0, ENTRIES)}, "previous": object},
)
class StreamSchema(Part):
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

    def unknown(self, x: Mapping[Hashable, Any]) -> dict[str, list[Hashable]]:
        """Names that are not known, of categories whose levels are not known, and of features that are missing."""
        check_dictionary(x)
        has = {name: value for name, value in x.items() if not is_missing(value)}
        return {
            "names": [name for name in has if name not in self.places and name not in self.words],
            "levels": [name for name, value in has.items() if name in self.levels and value not in self.levels[name]],
            "missing": [name for name in self.places if name not in has and name not in ADDED],
        }

    @property
    def version(self) -> tuple[int, ...]:
        """Changes when samples may be encoded in another way."""
        return len(self.places), self.word_count, self.level_changes

    @property
    def between_checks(self) -> int:
        """The number of samples between checks of words."""
        return 10 if self.sample_count < 100 else 100 if self.sample_count < 1000 else 1000

    @property
    def until_check(self) -> int:
        return self.between_checks - self.sample_count % self.between_checks

    @property
    def become(self) -> Set[Hashable]:
        """The words that become features with the next sample."""
        if not self.words or self.sample_count % self.between_checks:
            return frozenset()
        first, had = self.occurrences[:, : self.word_count]
        enough = (had >= ENOUGH) & (2 * had >= self.sample_count - first) & (SHARE * had >= self.sample_count)
        found = {name for name, number in self.words.items() if enough[number]} if enough.any() else frozenset()
        return found if len(self.places) + len(found) <= MOST_FEATURES else frozenset()

    @property
    def categorical(self) -> Set[int]:
        """Places of the features that are categories."""
        return {place for name, place in self.places.items() if name in self.levels or name in self.always}

    def check(self) -> None:
        """Raise ValueError unless the fields, of a file, fit together: compiled loops do not check."""
        places, words = [*self.places.values()], self.words.values()
        if places != [*range(len(places))] or not (self.always <= self.places.keys() or not places):
            raise bad("places", f"numbers from 0 and the features {[*self.always]}", self.places)
        if not self.levels.keys() <= self.places.keys() | self.words.keys():
            raise bad("levels", "names of features and words", [*self.levels])
        if not max(words, default=-1) < self.word_count <= self.occurrences.shape[1]:
            raise bad("words", f"numbers below {self.word_count}, with occurrences", self.occurrences.shape)
        previous, count = self.previous, len(self.classes)
        if not (type(previous) in (int, float) and (math.isnan(previous) or previous in range(count))):
            raise bad("previous", f"NaN or the number of one of {count} classes", repr(previous))
        if [*self.classes.values()] != [*range(count)]:
            raise bad("classes", "numbers from 0", self.classes)

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
        if change.places is not self.places:
            for name in change.places.keys() - self.places.keys():
                if (number := self.words.pop(name, -1)) >= 0:
                    self.occurrences[1, number] = 0
            self.places = change.places
        if change.levels:
            self._add_levels(change.levels)
        self._count_words(change)

    def _count_words(self, change: SchemaChange) -> None:
        """Count samples and their words."""
        words = change.batch.words
        if change.words:
            first, self.word_count = self.word_count, self.word_count + len(change.words)
            if (missing := (1 << (self.word_count - 1).bit_length()) - self.occurrences.shape[1]) > 0:
                self.occurrences = np.pad(self.occurrences, [(0, 0), (0, missing)])
            new = words.numbers >= first
            numbers, index = np.unique(words.numbers[new], return_index=True)
            self.occurrences[0, numbers] = self.sample_count + words.samples[new][index]
            self.words.update(change.words)
        if len(words.numbers):
            compiled(_count)(words.numbers, self.occurrences[1])
        self.sample_count += change.batch.shape[1]

    # ---- Dictionaries ------------------------------------------------------------------------------------------------

    def encode(self, x: Mapping[Hashable, Any]) -> SampleBatch:
        """Convert a dictionary for prediction; what is unknown is ignored."""
        values, places = self._values(x), self.places
        if values.keys() <= places.keys():
            batch = SampleBatch(features_of(values, places), NO_WORDS)
        else:
            names = [name for name, value in values.items() if value == value and name not in places]
            words = {name: number for name in names if (number := self._number(name)) >= 0}
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
        if values.keys() <= places.keys() and not self.become:
            batch = SampleBatch(features_of(values, places), NO_WORDS)
            return self._change(batch, places, levels, {}, labels)
        known = [name for name, value in values.items() if value == value]
        places = self._places_with(known, at_once)
        words, new = self._numbers(name for name in known if name not in places)
        for name in self._without_number(levels, places, new):
            del levels[name], words[name]
        return self._change(self._batch(values, words, places, levels), places, levels, new, labels)

    def learn_levels(self, x: Mapping[Hashable, Any]) -> np.ndarray:  # -> (F, 1)
        """Know the levels of the features in a dictionary from now on, and encode these features alone."""
        levels: dict[Hashable, Levels] = {}
        values = self._values({name: x[name] for name in x.keys() & self.places.keys()}, levels)
        self._add_levels(levels)
        return features_of(values, self.places)

    def _values(self, x: Mapping[Hashable, Any], new: dict[Hashable, Levels] | None = None) -> dict[Hashable, float]:
        """The values of a sample as numbers; arguments as for `_value`."""
        levels, values = self.levels, {}
        check_dictionary(x)
        for name, value in x.items():
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
        found: Levels | None = None if new is None else {}
        code = code_of(value, self.levels.get(name, {}), found)
        if new is not None and found:
            new[name] = found
        return code

    def _batch(
        self,
        values: Mapping[Hashable, float],
        words: Mapping[Hashable, int],
        places: Mapping[Hashable, int],
        levels: Mapping[Hashable, Levels],
    ) -> SampleBatch:
        """A sample of these values, of which some are those of words, in the order of `_words_of`."""
        found = sorted(
            [(number, name in self.levels or name in levels, values[name]) for name, number in words.items()]
        )
        numbers = np.array([number for number, _, _ in found], np.int64)
        codes = np.array([value if is_code else -1 for _, is_code, value in found], np.int64)
        amounts = np.array([1.0 if is_code else value for _, is_code, value in found], np.float64)
        return SampleBatch(features_of(values, places), Words(np.array([0, len(words)]), numbers, codes, amounts))

    # ---- Many samples ------------------------------------------------------------------------------------------------

    def encode_rows(self, samples: Any) -> SampleBatch:
        """Convert a frame, dictionaries or `NamedRows` for prediction; what is unknown is ignored."""
        batch, _ = self._batch_of_rows(named_rows(samples), self.places, None)
        return self._with_previous(batch) if self.memory else batch

    def propose_rows(self, rows: NamedRows, labels: Sequence[Hashable] | None = None) -> SchemaChange:
        """Convert samples for learning, as `propose`; where it brings features, a single one."""
        levels: dict[Hashable, Levels] = {}
        places = self.places
        if self.become or not places:
            known = (name for name, column in rows.frame.items() if has_values(column).any())
            places = self._places_with(itertools.chain(known, [] if rows.words is None else rows.words.used))
        batch, new = self._batch_of_rows(rows, places, levels)
        return self._change(batch, places, levels, new, labels, rows.texts)

    def _batch_of_rows(
        self, rows: NamedRows, places: Mapping[Hashable, int], levels: dict[Hashable, Levels] | None
    ) -> tuple[SampleBatch, dict[Hashable, int]]:
        """Samples, and the numbers of new words; unknown levels are added to `levels`, or without it unknown levels and
        words are left out."""
        features, found = no_features(places, len(rows)), []
        for name, place in places.items():
            if name not in self.levels and name not in ADDED and rows.is_zero(name):
                features[place] = 0.0
        for name, column in rows.frame.items():
            values, are_codes = self._column(name, column, levels)
            if name in places:
                np.copyto(features[places[name]], values, where=values == values)
            elif len(samples := np.flatnonzero(values == values)):
                found.append(_Words([name], np.zeros(len(samples), int), samples, values[samples], are_codes))
        if rows.words is not None and len(rows.words.places):
            found.append(self._words_beside(rows, places, features))
        words, new = self._numbered(found, len(rows), levels is not None) if found else (no_words(len(rows)), {})
        if levels:
            for name in self._without_number(levels, places, new):
                del levels[name]
        return SampleBatch(features, words), new

    def _column(
        self, name: Hashable, column: pd.Series, levels: dict[Hashable, Levels] | None
    ) -> tuple[np.ndarray, bool]:  # (B,) -> (B,)
        """Numbers or codes of levels, NaN where a value is missing, and which of the two."""
        if column.dtype.kind in "biuf" and name not in self.levels:
            values = column.to_numpy(np.float64, na_value=np.nan)
            if isinstance(column.dtype, pd.SparseDtype):
                values = np.where(has_values(column), values, np.nan)
        elif self._is_category(name, _distinct_values(column)):
            codes, new = codes_and_new_levels(column, self.levels.get(name, {}), levels is not None)
            if levels is not None and new:
                levels[name] = new
            return codes, True
        else:
            values = np.array([number_of(name, value) for value in column], np.float64)
        check_magnitudes(name, values)
        return values, False

    def _words_beside(self, rows: NamedRows, places: Mapping[Hashable, int], features: np.ndarray) -> _Words:
        """The words of rows that are no features; fills features, (F, B), with those that are."""
        words = rows.words
        assert words is not None
        for name in words.names:
            if name in self.levels or name in rows.frame:
                self._is_category(name, [0.0, "text"])  # raises the error
        if (np.abs(words.values) > MOST).any():
            for place, value in zip(words.places, words.values.tolist(), strict=True):
                number_of(words.names[place], value)
        feature = np.array([places.get(name, -1) for name in words.names])[words.places]
        samples, is_feature = words.samples, feature >= 0
        features[feature[is_feature], samples[is_feature]] = words.values[is_feature]
        others = ~is_feature & (words.values == words.values)
        return _Words(words.names, words.places[others], samples[others], words.values[others], False)

    def _numbered(self, found: list[_Words], count: int, learns: bool) -> tuple[Words, dict[Hashable, int]]:
        """Words with their numbers, and new ones if this `learns`; else unknown ones are left out.

        Words of a sample are in the order of their numbers, and new ones in that of their names: what is learned does
        not depend on the order of columns, or on how many samples come together.
        """
        names = [name for words in found for name in words.names]
        firsts = np.cumsum([0, *(len(words.names) for words in found)])
        places = np.concatenate([words.places + first for words, first in zip(found, firsts, strict=False)])
        samples, values = (np.concatenate([getattr(words, kind) for words in found]) for kind in ("samples", "values"))
        are_codes = np.concatenate([np.full(len(words.places), words.are_codes) for words in found])
        numbers = np.array([self._number(name) for name in names])
        is_unknown = numbers[places] < 0
        new: dict[Hashable, int] = {}
        if learns and is_unknown.any():
            firsts = np.full(len(names), count)
            np.minimum.at(firsts, places[is_unknown], samples[is_unknown])
            unknown = np.flatnonzero(firsts < count).tolist()
            for place in sorted(unknown, key=lambda place: (firsts[place], *_order(names[place]))):
                numbers[place] = self._new_number(names[place], new)
        if learns and self.word_count + len(new) >= MOST_WORDS:
            without = self._without_number([words.names[0] for words in found if words.are_codes], {}, new)
            place_of = dict(zip(names, range(len(names)), strict=True))
            numbers[[place_of[name] for name in without]] = -1
        numbers = numbers[places]
        if (numbers < 0).any():
            known = numbers >= 0
            samples, numbers, values, are_codes = samples[known], numbers[known], values[known], are_codes[known]
        return _words_of(samples, numbers, values, are_codes, count), new

    # ---- Names, levels and classes -----------------------------------------------------------------------------------

    def _change(
        self,
        batch: SampleBatch,
        places: dict[Hashable, int],
        levels: dict[Hashable, Levels],
        words: dict[Hashable, int],
        labels: Sequence[Hashable] | None,
        texts: Set[Any] = frozenset(),
    ) -> SchemaChange:
        for name in levels.keys() - texts:
            warn_of_numbers(f"x[{name!r}]", self.levels.get(name, {}), levels[name], ADVICE)
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

    def _places_with(self, names: Iterable[Hashable], at_once: float | None = None) -> dict[Hashable, int]:
        """The places of features with the next sample, which has these names."""
        if self.places:
            return self._with_new(self.become)
        most = min(at_once or self.at_once, sys.maxsize - 1)
        found = set(itertools.islice(names, int(most) + 1))  # no more, as a table may have many columns
        return self._with_new(found if len(found) <= most else set())

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
        return self.places | {name: len(self.places) + i for i, name in enumerate(sorted(new, key=_order))}

    def _numbers(self, names: Iterable[Hashable]) -> tuple[dict[Hashable, int], dict[Hashable, int]]:
        """Numbers of words by name, and those of them that are new."""
        new: dict[Hashable, int] = {}
        numbers = {name: self._number(name) for name in names}
        for name in sorted((name for name, number in numbers.items() if number < 0), key=_order):
            numbers[name] = self._new_number(name, new)
        return numbers, new

    def _number(self, name: Hashable) -> int:
        """The number of a word; -1 if it is unknown."""
        if (number := self.words.get(name, -1)) < 0 and self.word_count >= MOST_WORDS:
            return shared_number(name, MOST_WORDS)
        return number

    def _without_number(
        self, categories: Iterable[Hashable], places: Mapping[Hashable, int], new: Mapping[Hashable, int]
    ) -> list[Hashable]:
        """The new categories that are neither features nor words with a number: they are left out, or their names would
        grow without a bound."""
        return [name for name in categories if not (name in self.levels or name in places or name in new)]

    def _new_number(self, name: Hashable, new: dict[Hashable, int]) -> int:
        """The number of a word that is added to `new`, unless there are too many."""
        if (number := self.word_count + len(new)) >= MOST_WORDS:
            return shared_number(name, MOST_WORDS)
        new[name] = number
        return number


class _Words(NamedTuple):
    """Words of samples before they have numbers."""

    names: Sequence[Hashable]
    places: np.ndarray  # (T,), of their names
    samples: np.ndarray  # (T,)
    values: np.ndarray  # (T,)
    are_codes: bool  # of levels


def _order(name: Hashable) -> tuple[str, str]:
    return str(type(name)), str(name)


def _words_of(
    samples: np.ndarray, numbers: np.ndarray, values: np.ndarray, are_codes: np.ndarray, count: int
) -> Words:  # (T,) each
    """Words of samples in the order of their numbers; values are codes of levels where `are_codes`."""
    keys = (samples << 32) | numbers
    order = keys.argsort()
    if (np.diff(keys[order]) == 0).any():  # numbers that words share
        order = np.lexsort([values, are_codes, keys])
    numbers, values, are_codes = numbers[order], values[order], are_codes[order]
    codes = np.where(are_codes, values, -1.0).astype(np.int64)
    starts = np.searchsorted(keys[order] >> 32, np.arange(count + 1))
    return Words(starts, numbers, codes, np.where(are_codes, 1.0, values))


def _distinct_values(column: pd.Series) -> Iterable[Any]:
    """Values that tell the kind of a column."""
    return column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna()


def _count(numbers: np.ndarray, occurrences: np.ndarray) -> None:
    for number in numbers:
        occurrences[number] += 1


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
