"""Schema of a stream: which keys of samples are features, which are words, the levels of categories, and the classes.

A key that most samples have is a feature, which networks read. A key that most samples lack is a word, which linear
models read alone; there, being absent is 0. The keys of the first sample are features at once, unless they are many.
Later ones become features with the sample after a check: after 10, 20, ..., 100, 200, ..., 1,000, 2,000, 3,000, ...
samples.

A date has several features, the days since 1970 under its own name and cycles (`preprocessing.dates`).

With `missing_levels`, a category that a sample lacks has the level None: missing values have statistics of their own,
which levels that were never learned do not get.

Samples to learn become a proposed `SchemaChange`. Everything that may be wrong with them raises an error then; `commit`
follows when they have been learned, and cannot fail.

Shapes: B samples, F features, T words of all samples.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import sys
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from gln.engine.batches import SampleBatch, Words, no_words
from gln.engine.preprocessing.category_codes import Levels, code_of, level_of, notes_of_levels
from gln.engine.preprocessing.dates import DATES, day_of, days_in, features_of, is_date, named_dates, part_name
from gln.engine.saving import ENTRIES, Array, Number, Part, Value, bad, saved
from gln.engine.streaming.values import (
    MOST,
    NamedRows,
    Rows,
    Sample,
    check_dictionary,
    has_values,
    is_missing,
    named_rows,
    number_of,
)
from gln.engine.warn import Note, warn_of

if TYPE_CHECKING:  # of tables; importing it would take a stream's start half a second
    from gln.engine.preprocessing.columns import Columns

AT_ONCE = 20  # keys of the first sample that become features at once; of more, most may be words
# What a word becomes a feature by, at a check: so many samples had it, half of those since its first one, and one in
# SHARE of all.
ENOUGH, SHARE = 10, 20
MOST_FEATURES = 1000  # with more, words stay words
MOST_WORDS = 1 << 18  # with a number of their own; later ones share numbers
MOST_LEVELS = 1 << 17  # of a category, with codes of their own
NO_WORDS = no_words(1)
Labels: TypeAlias = Sequence[Any] | np.ndarray  # (B,), or numbers
CONSTANT = ("constant", "feature")  # name of what networks read while there are only words
VALUE = "a finite number, a bool or a string"
ADVICE = "convert it to float, for example by `converters` of river.stream.iter_csv, unless it is a category"
MANY_LABELS = 100
OF_LABELS = f"{{}}: {MANY_LABELS} classes, as if labels were ids; each class makes the model larger and learning slower"
OF_SENTENCES = "split them into words, as River's BagOfWords does, or gln-stream with --words and the name"


class SchemaChange(NamedTuple):
    """Samples to learn, and what the schema will know with them."""

    batch: SampleBatch
    indices: dict[Hashable, int]  # of all features, by name
    categorical: Set[int]  # those of the features that are categories
    levels: dict[Hashable, Levels]  # new levels of categories, by name
    words: dict[Hashable, int]  # numbers of new words, by name
    classes: Sequence[Hashable] = ()  # new ones
    targets: np.ndarray | None = None  # (B,), the number of each sample's class; None if targets are numbers
    columns: Columns | None = None  # what those of a table are


class NewNames(NamedTuple):
    """What samples to learn bring."""

    levels: dict[Hashable, Levels]  # of categories, by name
    words: dict[Hashable, int]  # their numbers, by name


class NamedValues(NamedTuple):
    """Values of samples that are no features, each with its name."""

    names: list[Hashable]  # (T,)
    samples: list[int]  # (T,)
    values: list[float]  # (T,)


@saved(
    indices={object: Number(int, 0, ENTRIES)},
    levels={object: {object: Number(int, 0, ENTRIES)}},
    words={object: Number(int, 0)},
    word_count=Number(int, 0),
    occurrences=Array("i8", "2 *", 0),
    sample_count=Number(int, 0, 1 << 62),
    classes={object: Number(int, 0, ENTRIES)},
)
class StreamSchema(Part):
    """Converts dictionaries and frames to arrays."""

    def __init__(
        self,
        at_once: float = AT_ONCE,
        always: Set[Hashable] = frozenset(),
        most_features: float = math.inf,
        missing_levels: bool = False,
    ) -> None:
        self.at_once = at_once  # so many keys of the first sample may become features at once
        self.always = always  # names that are added with the first features, as categories
        self.most_features = most_features  # more are an error
        self.missing_levels = missing_levels  # whether a missing value of a category is a level
        self.indices: dict[Hashable, int] = {}  # of features in an array, by name
        self.levels: dict[Hashable, Levels] = {}  # of features and words that are categories, by name
        self.words: dict[Hashable, int] = {}  # numbers of words, by name
        self.dates: Set[Hashable] = frozenset()  # names of features and words that are dates
        self.word_count = 0  # so far; some have become features
        # Of each word, how many samples there were before the first one that had it, and how many had it; with room
        # for further words, because copies would take longer and longer.
        self.occurrences = np.zeros((2, 0), np.int64)
        self.sample_count = 0
        # The number of each label or, of several targets, of the name of each, in order of appearance.
        self.classes: dict[Hashable, int] = {}

    @property
    def names(self) -> dict[Hashable, bool]:
        """The names of features and words, and whether each is a category."""
        return {name: name in self.levels for name in (*self.indices, *self.words) if name != CONSTANT}

    def unknown(self, x: Sample) -> dict[str, list[Hashable]]:
        """Names that are not known, of categories whose levels are not known, and of features that are missing."""
        check_dictionary(x)
        has = {name: value for name, value in x.items() if not is_missing(value)}
        parts = self.parts
        return {
            "names": [name for name in has if name not in self.indices and name not in self.words],
            "levels": [name for name, value in has.items() if name in self.levels and value not in self.levels[name]],
            "missing": [name for name in self.indices if name not in has and name not in parts and name != CONSTANT],
        }

    @property
    def parts(self) -> dict[Hashable, Hashable]:
        """The date of each feature or word that is a cycle of one."""
        return {
            part: name
            for name in self.dates
            for part in features_of(name, np.zeros(1))
            if part != name and (part in self.indices or part in self.words)
        }

    @property
    def between_checks(self) -> int:
        """The number of samples between checks of words."""
        if self.sample_count < 100:
            return 10
        return 100 if self.sample_count < 1000 else 1000

    def rows_per_call(self, samples: NamedRows, rows: slice) -> int:
        """How many of these rows of samples can be learned in one call; 0 if the first one brings features."""
        if not self.indices or self.promoted:
            return 0
        if not self.words and self.indices.keys() >= samples.names:
            return rows.stop - rows.start
        return self.between_checks - self.sample_count % self.between_checks

    @property
    def promoted(self) -> Set[Hashable]:
        """The words that are features from the next sample on."""
        if not self.words or self.sample_count % self.between_checks:
            return frozenset()
        first, had = self.occurrences[:, : self.word_count]
        enough = (had >= ENOUGH) & (2 * had >= self.sample_count - first) & (SHARE * had >= self.sample_count)
        if not enough.any():
            return frozenset()
        names = {name for name, number in self.words.items() if enough[number]}
        return names if len(self.indices) + len(names) <= MOST_FEATURES else frozenset()

    @property
    def categorical(self) -> Set[int]:
        """Indices of the features that are categories."""
        return self._categorical(self.indices, ())

    def _categorical(self, indices: Mapping[Hashable, int], new: Collection[Hashable]) -> Set[int]:
        names = itertools.chain(indices.keys() & self.levels.keys(), new, self.always)
        return {indices[name] for name in names if name in indices}

    def check(self) -> None:
        """Raise ValueError unless the fields, of a file, fit together: compiled loops do not check."""
        indices = [*self.indices.values()]
        words = self.words.values()
        if indices != [*range(len(indices))] or not (self.always <= self.indices.keys() or not indices):
            raise bad("indices", f"numbers from 0 and the features {[*self.always]}", self.indices)
        if not self.levels.keys() <= self.indices.keys() | self.words.keys():
            raise bad("levels", "names of features and words", [*self.levels])
        if not max(words, default=-1) < self.word_count <= self.occurrences.shape[1]:
            raise bad("words", f"numbers below {self.word_count}, with occurrences", self.occurrences.shape)
        if [*self.classes.values()] != [*range(len(self.classes))]:
            raise bad("classes", "numbers from 0", self.classes)

    def _restore(self, fields: Mapping[str, Value]) -> None:
        super()._restore(fields)
        self.dates = named_dates({name for name, is_category in self.names.items() if not is_category})

    def copy(self) -> StreamSchema:
        """A copy, on which several changes can be tried."""
        other = copy.copy(self)
        other.levels = {name: dict(levels) for name, levels in self.levels.items()}
        other.words = dict(self.words)
        other.classes = dict(self.classes)
        other.occurrences = self.occurrences.copy()
        return other

    def commit(self, change: SchemaChange) -> None:
        """Know what the samples of a change have, from now on. Samples before the first feature are not counted."""
        for label in change.classes:
            self.classes[label] = len(self.classes)
        if not change.indices:
            return
        new: Set[Hashable] = change.words.keys()
        if change.indices is not self.indices:
            new = new | (change.indices.keys() - self.indices.keys())
            for name in new & self.words.keys():
                self.occurrences[1, self.words.pop(name)] = 0
            self.indices = change.indices
        if new:
            self.dates |= named_dates(new - change.levels.keys())
        self._add_levels(change.levels)
        self._count_words(change)

    def _count_words(self, change: SchemaChange) -> None:
        """Count samples and their words."""
        words = change.batch.words
        if change.words:
            first = self.word_count
            self.word_count = self.word_count + len(change.words)
            lacking = (1 << (self.word_count - 1).bit_length()) - self.occurrences.shape[1]
            if lacking > 0:
                self.occurrences = np.pad(self.occurrences, [(0, 0), (0, lacking)])
            new = words.numbers >= first
            numbers, index = np.unique(words.numbers[new], return_index=True)
            self.occurrences[0, numbers] = self.sample_count + words.samples[new][index]
            self.words.update(change.words)
        if len(words.numbers):
            np.add.at(self.occurrences[1], words.numbers, 1)
        self.sample_count += len(change.batch)

    # ---- Samples -----------------------------------------------------------------------------------------------------

    def encode(self, x: Sample) -> SampleBatch:
        """Convert a dictionary for prediction; what is unknown is ignored."""
        return self._sample(self._values(x, None), self.indices, None)

    def encode_rows(self, samples: Rows) -> SampleBatch:
        """Convert a frame, dictionaries or `NamedRows` for prediction; what is unknown is ignored."""
        return self._samples(self.rows(samples), self.indices, None)

    def propose(self, x: Sample, labels: Labels | None = None) -> SchemaChange:
        """Convert a dictionary for learning, with its label in a list. Raises ValueError for what cannot be learned."""
        new = NewNames({}, {})
        values = self._values(x, new)
        indices = self.indices
        if self.promoted or (values and not indices):
            indices = self._indices_with([name for name, value in values.items() if value == value])
        return self._change(self._sample(values, indices, new), indices, new, labels)

    def propose_rows(self, rows: NamedRows, labels: Labels | None = None) -> SchemaChange:
        """Convert samples for learning, as `propose`; where it brings features, a single one."""
        new = NewNames({}, {})
        indices = self._indices_with(rows.used_names())
        return self._change(self._samples(rows, indices, new), indices, new, labels, rows.texts)

    def learn_levels(self, x: Sample) -> np.ndarray:  # -> (F, 1)
        """Know the levels of the features in a dictionary from now on, and encode these features alone."""
        new = NewNames({}, {})
        values = self._values({name: x[name] for name in x.keys() & self.indices.keys()}, new)
        self._add_levels(new.levels)
        return vector_of(values, self.indices)

    def _sample(
        self, values: Mapping[Hashable, float], indices: Mapping[Hashable, int], new: NewNames | None
    ) -> SampleBatch:
        """A sample of these values; what `_samples` does with a single row, in a tenth of the time."""
        features = vector_of(values, indices)
        for name in self._with_missing_level(indices) - values.keys():
            features[indices[name]] = self._codes(name, [None], new)[0]
        if values.keys() <= indices.keys():
            return SampleBatch(features, NO_WORDS)
        names = [name for name, value in values.items() if not math.isnan(value) and name not in indices]
        added = {} if new is None else new.levels
        words = []
        for name, number in self._word_numbers(dict.fromkeys(names, 0), new).items():
            is_text = name in self.levels or name in added
            words.append((number, values[name], 1.0) if is_text else (number, -1, values[name]))
        if not words:
            return SampleBatch(features, NO_WORDS)
        numbers, codes, amounts = zip(*sorted(words), strict=True)
        starts = np.array([0, len(words)])
        return SampleBatch(features, Words(starts, np.array(numbers), np.array(codes), np.array(amounts, np.float64)))

    def _samples(self, rows: NamedRows, indices: Mapping[Hashable, int], new: NewNames | None) -> SampleBatch:
        """Samples with these features.

        New levels and words are added to `new`. Without it, unknown ones are left out.
        """
        features = vector_of({}, indices).repeat(len(rows), axis=1)
        for name, index in indices.items():
            if name not in self.levels and name != CONSTANT and rows.is_zero(name):
                features[index] = 0.0
        others = NamedValues([], [], [])
        with_missing = self._with_missing_level(indices)
        for name, column in rows.frame.items():
            values = self._column(name, column, name in with_missing, new)
            if name in indices:
                np.copyto(features[indices[name]], values, where=values == values)
                continue
            samples = np.flatnonzero(values == values).tolist()
            others.names.extend([name] * len(samples))
            others.samples.extend(samples)
            others.values.extend(values[samples].tolist())
        with_missing = with_missing - {*rows.frame}
        if not rows.dictionaries:
            for name in with_missing:
                features[indices[name]] = self._codes(name, [None], new)[0]
        for sample, x in enumerate(rows.dictionaries):
            by_name = self._values(x, new)
            for name in with_missing - by_name.keys():
                features[indices[name], sample] = self._codes(name, [None], new)[0]
            for name, value in by_name.items():
                if name in indices and value == value:
                    features[indices[name], sample] = value
                elif value == value:
                    others.names.append(name)
                    others.samples.append(sample)
                    others.values.append(value)
        added = {} if new is None else new.levels
        for name in added:
            if name not in self.levels:  # not a difference of sets, which takes as long as all names are many
                self._is_category(name, rows.values_of(name))
        return SampleBatch(features, self._words_of(others, len(rows), new))

    def _with_missing_level(self, indices: Mapping[Hashable, int]) -> Set[Hashable]:
        """Those of these features whose missing values have a level."""
        return self.levels.keys() & indices.keys() if self.missing_levels else frozenset()

    def _words_of(self, given: NamedValues, count: int, new: NewNames | None) -> Words:
        """Words of `count` samples, those of each in the order of their numbers."""
        if not given.names:
            return no_words(count)
        firsts = dict(zip(reversed(given.names), reversed(given.samples), strict=True))
        number_of_name = self._word_numbers(firsts, new)
        added = {} if new is None else new.levels
        texts = {name for name in firsts if name in self.levels or name in added}
        are_codes = np.array([name in texts for name in given.names])
        values = np.array(given.values, np.float64)
        codes = np.where(are_codes, values, -1).astype(np.int64)
        values = np.where(are_codes, 1.0, values)
        numbers = np.array([number_of_name.get(name, -1) for name in given.names])
        keys = (np.array(given.samples) << 32) | numbers  # below 0 without a number
        order = keys.argsort()
        if (np.diff(keys[order]) == 0).any():  # numbers that words share
            order = np.lexsort([values, codes, keys])
        starts = np.searchsorted(keys[order], np.arange(count + 1) << 32)
        order = order[starts[0] :]
        return Words(starts - starts[0], numbers[order], codes[order], values[order])

    # ---- Dates -------------------------------------------------------------------------------------------------------

    def rows(self, samples: Rows) -> NamedRows:
        """A frame, dictionaries or `NamedRows` with numbers instead of dates."""
        rows = named_rows(samples)
        columns = {name: days_in(column) for name, column in rows.frame.items() if is_date(column)}
        dates = self.dates | {name for x in rows.dictionaries for name, value in x.items() if _is_date(value)}
        if not (columns or dates):
            return rows
        firsts = {name: value for name in {*rows.frame} - columns.keys() for value in rows.frame[name].dropna()[:1]}
        for x in (firsts, *rows.dictionaries):
            _check_dates(x, dates)
        frame = pd.DataFrame({**rows.frame, **self._features_of(columns, rows.frame)}, rows.frame.index)
        return dataclasses.replace(rows, frame=frame, dictionaries=[self.without_dates(x) for x in rows.dictionaries])

    def without_dates(self, x: Sample) -> Sample:
        """A sample with numbers instead of dates."""
        check_dictionary(x)
        days = {name: np.array([day_of(value)]) for name, value in x.items() if _is_date(value)}
        if not days:
            return x
        return {**x, **{name: value.item() for name, value in self._features_of(days, x).items()}}

    def with_dates(self, by_name: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Values of features and words, with those of the cycles of a date added to its own."""
        values = dict(by_name)
        for part, name in self.parts.items():
            if part in values:
                values[name] = values[name] + values.pop(part)
        return values

    def _features_of(self, dates: Mapping[Hashable, np.ndarray], x: Collection[Hashable]) -> dict[Hashable, np.ndarray]:
        """The features of dates, without cycles of a date that x has by their own names."""
        features: dict[Hashable, np.ndarray] = {}
        for name, days in dates.items():
            if name not in self.dates and (name in self.indices or name in self.words):
                expected = "a string" if name in self.levels else "a finite number or a bool"
                raise ValueError(f"x[{name!r}]: expected {expected}, like its first value, got a date")
            features |= features_of(name, days)
        return {name: values for name, values in features.items() if name in dates or name not in x}

    # ---- Values ------------------------------------------------------------------------------------------------------

    def _values(self, x: Sample, new: NewNames | None) -> dict[Hashable, float]:
        """The values of a sample as `_numbers`, NaN where they are missing, and without categories that are missing."""
        levels = self.levels
        values = {}
        check_dictionary(x)
        for name, value in x.items():
            kind = value.__class__
            if (kind is float or kind is int) and name not in levels and -MOST <= value <= MOST:
                values[name] = value  # most values need no more
            elif kind is str and name in levels and value in levels[name]:
                values[name] = levels[name][value]
            elif is_missing(value):
                if name not in levels:
                    values[name] = np.nan
            elif isinstance(value, DATES):
                return self._values(self.without_dates(x), new)
            else:
                values[name] = self._numbers(name, [value], new)[0]
        if self.dates:
            _check_dates(x, self.dates)
        return values

    def _column(  # (B,) -> (B,)
        self, name: Hashable, column: pd.Series, with_missing: bool, new: NewNames | None
    ) -> np.ndarray:
        """The values of a column as `_numbers`; missing ones are NaN, or have a level."""
        if column.dtype.kind not in "biuf" or name in self.levels:
            different: Iterable[Hashable]
            try:
                indices, different = pd.factorize(column, use_na_sentinel=not with_missing)
            except TypeError:  # lists, for example, have no hash
                different = column.dropna()
                has = column.notna().to_numpy()
                indices = np.where(has, has.cumsum() - 1, -1)
            return np.array([*self._numbers(name, different, new), np.nan])[indices]  # -1 is a missing value
        values = column.to_numpy(np.float64, na_value=np.nan)
        if isinstance(column.dtype, pd.SparseDtype):
            values = np.where(has_values(column), values, np.nan)
        for value in values[np.abs(values) > MOST].tolist():
            number_of(f"x[{name!r}]", VALUE, value)  # raises the error
        return values

    def _numbers(self, name: Hashable, values: Iterable[Hashable], new: NewNames | None) -> list[float]:
        """Different values of a key as numbers or as codes of levels.

        Unknown levels are added to `new`, or without it are NaN. Raises ValueError for values that cannot be learned.
        """
        if not self._is_category(name, values):
            return [number_of(f"x[{name!r}]", VALUE, value) for value in values]
        return self._codes(name, [None if is_missing(value) else level_of(value) for value in values], new)

    def _codes(self, name: Hashable, levels: Iterable[Hashable], new: NewNames | None) -> list[float]:
        """The codes of levels; None is that of missing values."""
        known = self.levels.get(name, {})
        added = None if new is None else new.levels.get(name, {})
        codes = [code_of(level, known, added, len(known), MOST_LEVELS) for level in levels]
        if new is not None and added:
            new.levels[name] = added
        return codes

    def _is_category(self, name: Hashable, values: Iterable[Hashable]) -> bool:
        """Whether a key is a category, by its first value. Raises ValueError if other values differ in kind."""
        is_text = isinstance(next(iter(values), None), str)
        if name in self.indices or name in self.words:
            is_text = name in self.levels
        for value in values:
            if isinstance(value, str) != is_text and not is_missing(value):
                expected = "a string" if is_text else "a finite number or a bool"
                if not is_text and name in self.dates:
                    expected = "a date"
                raise ValueError(f"x[{name!r}]: expected {expected}, like its first value, got {value!r}")
        return is_text

    def _word_numbers(self, firsts: Mapping[Hashable, int], new: NewNames | None) -> dict[Hashable, int]:
        """The numbers of words, given the first sample that has each; without those of words that are left out.

        Unknown words are added to `new`, those of a sample in the order of their names: what is learned does not depend
        on the order of columns, or on how many samples come together.
        """
        numbers = {name: self.words[name] for name in firsts if name in self.words}
        if len(numbers) == len(firsts) or (new is None and self.word_count < MOST_WORDS):
            return numbers
        unknown = [name for name in firsts if name not in numbers]
        for name in sorted(unknown, key=lambda name: (firsts[name], *_name_order(name))):
            if new and name in new.levels and self.word_count + len(new.words) >= MOST_WORDS:
                del new.levels[name]  # names of categories would grow without a bound
            else:
                numbers[name] = int(code_of(name, {}, new and new.words, self.word_count, MOST_WORDS))
        return numbers

    # ---- Names, levels and classes -----------------------------------------------------------------------------------

    def _change(
        self,
        batch: SampleBatch,
        indices: dict[Hashable, int],
        new: NewNames,
        labels: Labels | None,
        texts: Set[Hashable] = frozenset(),
    ) -> SchemaChange:
        levels, words = new
        notes: list[Note] = []
        for name in levels.keys() - texts:
            known = self.levels.get(name, {})
            notes += notes_of_levels(f"x[{name!r}]", known, levels[name], lambda numbers: ADVICE, OF_SENTENCES)
        numbers = self.classes
        classes = [] if labels is None else [label for label in dict.fromkeys(labels) if label not in numbers]
        if classes:
            numbers = numbers | {label: len(numbers) + i for i, label in enumerate(classes)}
        if len(self.classes) < MANY_LABELS <= len(numbers):
            notes.append(Note(OF_LABELS, "labels", "y"))
        warn_of("", notes)
        targets = None if labels is None else np.array([numbers[label] for label in labels], int)
        return SchemaChange(batch, indices, self._categorical(indices, levels), levels, words, classes, targets)

    def _add_levels(self, levels: Mapping[Hashable, Levels]) -> None:
        for name, new in levels.items():
            self.levels.setdefault(name, {}).update(new)

    def _indices_with(self, names: Iterable[Hashable]) -> dict[Hashable, int]:
        """The indices of features with the next sample, which has these names; new ones in the order of their names."""
        new = self.promoted
        if not self.indices:
            most = min(self.at_once, sys.maxsize - 1)
            first = set(itertools.islice(names, int(most) + 1))  # no more, as a table may have many columns
            new = (first if 0 < len(first) <= most else {CONSTANT}) | self.always
        if not new:
            return self.indices
        size = len(self.indices) + len(new)
        if size > self.most_features:
            raise bad("features", f"at most {self.most_features}, as each pair has a number", size)
        return self.indices | {
            name: index for index, name in enumerate(sorted(new, key=_name_order), len(self.indices))
        }


def _is_date(value: object) -> bool:
    return isinstance(value, DATES) and not is_missing(value)


def _check_dates(x: Sample, dates: Set[Hashable]) -> None:
    """Raise ValueError if a sample has another value instead of one of these dates, without its parts."""
    for name in dates & x.keys():
        if not (isinstance(x[name], DATES) or is_missing(x[name]) or part_name(name, "weekday_sin") in x):
            raise ValueError(f"x[{name!r}]: expected a date, as in other samples, got {x[name]!r}")


def _name_order(name: Hashable) -> tuple[str, str]:
    return str(type(name)), str(name)


def vector_of(values: Mapping[Hashable, float], indices: Mapping[Hashable, int]) -> np.ndarray:  # -> (F, 1)
    """The features of a sample with these values."""
    features = np.array([*map(values.get, indices)], np.float64)[:, None]  # None, of a missing value, becomes NaN
    if CONSTANT in indices:
        features[indices[CONSTANT]] = 0
    return features
