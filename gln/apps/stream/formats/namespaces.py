"""Namespaces of Vowpal Wabbit's text, and lists of names in JSON: categories, or words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import DECIDING, Chunk, Target, Wanted
from gln.apps.stream.formats.column_types import Column, Json, shown
from gln.apps.stream.formats.lines import BadLine, Record, parsed
from gln.engine.batches import WORD
from gln.engine.streaming.schema import MOST_FEATURES, MOST_WORDS
from gln.engine.streaming.values import NO_COLUMNS, NamedRows

FEW = 50  # samples: a frame of fewer takes longer than their dictionaries


Names: TypeAlias = str | list[str]  # a text of words, or a list of names


class Sample(NamedTuple):
    """What stands in a line."""

    values: dict[str, Json]  # by the names of features
    names: dict[str, list[str]]  # by namespace, or by the key of a list
    numbers: Set[str] = frozenset()  # names of those values that are 0 in samples without them
    target: Target = None
    weight: float = 1.0
    tag: str | None = None


class TableColumns(NamedTuple):
    """The columns of a table as they were converted."""

    features: Mapping[str, Column]
    words: Mapping[str, Sequence[Names | None]]
    targets: list[Target]
    weights: list[float]
    wrong: dict[int, str]  # the rows that cannot be read, and why


class Namespaces:
    """A namespace that holds at most one name in each sample is a category; of others, the names are words.

    The first chunk decides, or of a namespace that comes later, its first sample, unless an option or the loaded model
    does. If a category has several names in a later sample, those after the first one are words, or an error if an
    option asked for a category.

    Names with values are numbers, and 0 in all other samples, however many these are. With more than MOST_FEATURES in
    all, those of the namespaces with most, which are texts, are words.
    """

    def __init__(self, wanted: Wanted, separator: str) -> None:
        """The name of a word is that of its namespace, the separator, and its own."""
        self._separator = separator
        self._asked = wanted.strings
        self._ngrams = wanted.ngrams
        self._most = DECIDING  # samples that decide
        names = [name.rpartition(separator) for name, is_text in wanted.known.items() if not is_text]
        word_namespaces = {namespace for namespace, separated, _ in names if separated}
        self._are_categories = dict.fromkeys(word_namespaces, False) | dict(wanted.known)
        self._are_categories |= dict.fromkeys(wanted.words, False) | dict.fromkeys(wanted.strings, True)
        # Names whose values, if they are text, hold words.
        self.texts = wanted.words | (word_namespaces - wanted.strings)
        self._ignore = wanted.ignore
        self._zeros: dict[str, float] = {}  # of all numbers
        counts = Counter(namespace for namespace, _, _ in names)
        # Namespaces whose names are words, and whether the user was told.
        self._text_namespaces = {namespace: False for namespace, count in counts.items() if count > MOST_FEATURES}
        self._text_namespaces |= dict.fromkeys(wanted.words, True)

    @property
    def decided(self) -> Set[str]:
        """Namespaces that were decided to hold names, as the user was told, even if these read as numbers."""
        return self._are_categories.keys()

    def _features(self, records: Sequence[Record]) -> tuple[list[Record], list[BadLine], tuple[str, ...]]:
        """`Sample`s whose names are among their values, those that are refused, and what to tell the user."""
        samples = [sample for _, sample in records]
        notes = (*self._decide(samples), *self._decide_numbers(samples))
        self._most = 1
        return *parsed(records, self._with_names), notes

    def chunk(self, records: Sequence[Record], is_zero: Callable[[str], bool]) -> Chunk:
        """A chunk of `Sample`s, of which features of some names are 0 where they are absent."""
        good, refused, notes = self._features(records)
        samples = [sample for _, sample in good]
        values = [sample.values for sample in samples]
        frame = frame_of(values) if len(values) >= FEW else None
        rows = NamedRows(NO_COLUMNS if frame is None else frame, values if frame is None else (), is_zero, self.decided)
        return Chunk(
            rows,
            targets=[sample.target for sample in samples],
            weights=[sample.weight for sample in samples],
            tags=[sample.tag for sample in samples],
            lines=[number for number, _ in good],
            notes=notes,
            bad=refused,
        )

    def words_of(self, name: str, names: Names) -> list[str]:
        """The words of a text, in lower case, or those in a list, but not those to ignore. Raises ValueError if one is
        missing."""
        words = re.findall(WORD, names.lower()) if isinstance(names, str) else names
        if None in words:
            raise ValueError(f"{name}: expected a list of strings, got {shown(words)}")
        return [word for word in words if f"{name}={word}" not in self._ignore]

    def table_chunk(self, columns: TableColumns, lines: Sequence[int], unit: str = "line") -> Chunk:
        """A chunk of the rows of a table, which have these numbers."""
        wrong = dict(columns.wrong)
        words, notes = self._word_features(columns.words, len(lines), wrong)
        texts = {
            name: pd.Series(column, dtype=object) if isinstance(column, list) else column
            for name, column in columns.features.items()
        }
        frame = pd.DataFrame(texts, index=range(len(lines)))
        good = [row for row in range(len(lines)) if row not in wrong]
        if wrong:
            frame = frame.iloc[good].reset_index(drop=True)
        return Chunk(
            NamedRows(frame, words, self.is_word, self.decided),
            targets=[columns.targets[row] for row in good],
            weights=[columns.weights[row] for row in good],
            tags=None,
            lines=[lines[row] for row in good],
            notes=notes,
            bad=[BadLine(lines[row], wrong[row], unit) for row in sorted(wrong)],
        )

    def _word_features(
        self, columns: Mapping[str, Sequence[Names | None]], count: int, wrong: dict[int, str]
    ) -> tuple[list[dict[str, Json]], tuple[str, ...]]:
        """The categories and words in columns of texts or lists, and what to tell the user. Adds to `wrong`."""
        good, refused, notes = self._features(self._word_records(columns, count, wrong))
        wrong.update({bad.line: bad.message for bad in refused})
        return [sample.values for _, sample in good], notes

    def _word_records(
        self, columns: Mapping[str, Sequence[Names | None]], count: int, wrong: dict[int, str]
    ) -> list[Record]:
        records: list[Record] = []
        for row in range(count if columns else 0):
            try:
                cells = {name: column[row] for name, column in columns.items()}
                names = {name: self.words_of(name, cell) for name, cell in cells.items() if cell is not None}
            except ValueError as error:
                wrong.setdefault(row, str(error))
            if row not in wrong:
                records.append((row, Sample({}, names)))
        return records

    def is_word(self, name: str) -> bool:
        """Whether a feature of this name is a word."""
        return self._are_categories.get(name.rpartition(self._separator)[0]) is False

    def _decide(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        if len(self._are_categories) >= MOST_WORDS:  # later ones are words: memory is bounded where they are always new
            return ()
        counts: dict[str, list[int]] = {}
        for sample in samples:
            for namespace, names in sample.names.items():
                if namespace not in self._are_categories:
                    counts.setdefault(namespace, []).append(len(names))
        decided = {namespace: bool(namespace) and max(of[: self._most]) <= 1 for namespace, of in counts.items()}
        self._are_categories |= decided
        kinds = {"categories": True, "words": False}
        listed = {kind: _listed(decided, is_category) for kind, is_category in kinds.items()}
        texts = [f"{kind}: {names}" for kind, names in listed.items() if names]
        return ("; ".join(texts) + "\n    (--words and --strings name others)",) if texts else ()

    def _decide_numbers(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        new: dict[str, list[str]] = {}
        for name in set[str]().union(*(sample.numbers for sample in samples)) - self._zeros.keys():
            new.setdefault(name.rpartition(self._separator)[0], []).append(name)
        as_words: dict[str, bool] = {}
        for namespace, names in sorted(new.items(), key=lambda item: (len(item[1]), item[0])):
            if namespace not in self._text_namespaces and len(self._zeros) + len(names) <= MOST_FEATURES:
                self._zeros |= dict.fromkeys(sorted(names), 0.0)
            elif not self._text_namespaces.get(namespace):
                as_words[namespace] = True
                self._zeros = {name: 0.0 for name in self._zeros if name.rpartition(self._separator)[0] != namespace}
        if len(self._text_namespaces) < MOST_WORDS:
            self._text_namespaces |= as_words
        text = f"words, since more than {MOST_FEATURES:,} names have values: {_listed(as_words, True)}"
        return (f"{text}\n    (fewer are numbers; --ignore leaves names out)",) if as_words else ()

    def _with_names(self, sample: Sample) -> Sample:
        if not (sample.names or self._zeros):
            return sample  # fast, for JSON without lists
        features: dict[str, Json] = self._zeros | sample.values if self._zeros else sample.values
        for namespace, names in sample.names.items():
            if names and self._are_categories.get(namespace):
                features[namespace] = names[0]
                if len(names) == 1:
                    continue
                if namespace in self._asked:
                    raise ValueError(f"{namespace}: expected one name, got {names[0]!r} and {names[1]!r}")
                names = names[1:]
            elif self._ngrams > 1:
                names = [*names, *ngrams(names, self._ngrams)]
            if names:
                prefix = f"{namespace}{self._separator}" if namespace else ""
                for name, count in Counter(names).items():
                    features[prefix + name] = features.get(prefix + name, 0.0) + count
        return sample._replace(values=features)


def frame_of(samples: Sequence[Mapping[str, Json]]) -> pd.DataFrame | None:
    """Samples that have the same names, with numbers or text, as a frame, which takes less time; None for others."""
    if any(x.keys() != samples[0].keys() for x in samples):
        return None
    columns: dict[str, pd.Series] = {}
    for name in samples[0]:
        values = [x[name] for x in samples]
        kinds = {*map(type, values)} - {type(None)}
        if not (kinds <= {float, int, bool} or kinds == {str}):
            return None
        columns[name] = pd.Series(values, dtype=object if kinds == {str} else np.float64)
    return pd.DataFrame(columns, index=range(len(samples)))


def ngrams(words: Sequence[str], most: int) -> list[str]:
    """Two to `most` words that follow one another, with spaces between, which no word has."""
    return [" ".join(words[i : i + n]) for n in range(2, most + 1) for i in range(len(words) - n + 1)]


def _listed(are_categories: dict[str, bool], is_category: bool) -> str:
    names = [name or "those without a namespace" for name, kind in are_categories.items() if kind == is_category]
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
