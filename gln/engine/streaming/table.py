"""`TableStream`: what a fitted table has learned, as a stream of samples by names, for River's estimators.

A `TableSchema` stands for a stream's: columns, and what they become, are those of the table.

Shapes: B samples, C heads, F columns of the table, D columns made from them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from gln.engine.batches import SampleBatch
from gln.engine.preprocessing.category_codes import MISSING, Levels, level_of
from gln.engine.preprocessing.columns import CATEGORY, DATE, ID, NUMBER, PRINTED, Columns
from gln.engine.preprocessing.dates import NO_TIME, day_in, features_of, part_of
from gln.engine.preprocessing.printed_numbers import numbers_of
from gln.engine.saving import bad
from gln.engine.streaming.estimator import StreamEstimator
from gln.engine.streaming.schema import MOST_FEATURES, Labels, SchemaChange
from gln.engine.streaming.values import (
    NamedRows,
    Rows,
    Sample,
    check_dictionary,
    check_key,
    is_missing,
    named_rows,
    number_of,
)
from gln.engine.types import ColumnNames
from gln.engine.warn import warn_of


class TableSchema:
    """Converts dictionaries and frames to what the networks of a table read. Predictions leave out other keys."""

    always: Set[Hashable] = frozenset()

    def __init__(
        self,
        names: Sequence[Hashable],
        columns: Columns,
        levels: dict[int, Levels],
        classes: Sequence[Hashable],
        categorical_features: ColumnNames = None,  # of the estimator; new columns of these names are categories
    ) -> None:
        self.classes = {label: number for number, label in enumerate(classes)}
        self.categorical_features = categorical_features
        self.are_named = all(isinstance(name, str) for name in names)
        self._know(names, columns, levels)

    def _know(self, names: Sequence[Hashable], columns: Columns, levels: dict[int, Levels]) -> None:
        self.columns = columns
        self.levels = {index: levels.get(index, {}) for index in columns.of_kind(CATEGORY)}  # of columns
        self.indices = {name: index for index, name in enumerate(names)}  # of columns
        owners = columns.owners
        self.widths = np.bincount(owners, minlength=len(columns.columns)).tolist()  # columns made from each
        self.categorical = {int(np.searchsorted(owners, index)) for index in columns.of_kind(CATEGORY)}

    @property
    def names(self) -> dict[Hashable, bool]:
        """The names that were learned, and whether each is text; with those of the cycles of dates by type."""
        names: dict[Hashable, bool] = {}
        for (name, index), column in zip(self.indices.items(), self.columns.columns, strict=True):
            if column.kind == DATE and column.form is None:
                names |= dict.fromkeys(features_of(name, np.zeros(1)), False)
            elif column.kind != ID:
                are_texts = all(isinstance(level, str) for level in self.levels.get(index, ()))
                names[name] = are_texts and column.kind != NUMBER
        return names

    def unknown(self, x: Sample) -> dict[str, list[Hashable]]:
        """As of a `StreamSchema`."""
        check_dictionary(x)
        has = {name: level_of(value) for name, value in x.items() if not is_missing(value)}
        levels = {name: self.levels[index] for name, index in self.indices.items() if index in self.levels}
        read = {name for name, index in self.indices.items() if self.columns.columns[index].kind != ID}
        return {
            "names": [name for name in has if name not in self.indices],
            "levels": [name for name in has if name in levels and has[name] not in levels[name]],
            "missing": [name for name in self.indices if name in read and name not in has],
        }

    # ---- Samples -----------------------------------------------------------------------------------------------------

    def rows(self, samples: Rows) -> NamedRows:
        return named_rows(samples)

    def encode(self, x: Sample) -> SampleBatch:
        """Convert a sample for prediction."""
        return SampleBatch.of(np.array(self._values(x, None))[:, None])

    def encode_rows(self, samples: Rows) -> SampleBatch:
        return self._samples(named_rows(samples), None)

    def rows_per_call(self, samples: NamedRows, rows: slice) -> int:
        """As of a `StreamSchema`."""
        count = rows.stop - rows.start
        if self.indices.keys() >= samples.names or not self._new_names(samples.of(rows)):
            return count
        first = (samples.of(slice(rows.start + row, rows.start + row + 1)) for row in range(count))
        return next(row for row, sample in enumerate(first) if self._new_names(sample))

    def propose(self, x: Sample, labels: Labels | None = None) -> SchemaChange:
        """Convert a sample for learning, with its label if targets are classes. Keys that are new become columns."""
        check_dictionary(x)
        if not self.indices.keys() >= x.keys():
            return self.propose_rows(named_rows([x]), labels)
        new: dict[int, Levels] = {}
        return self._change(SampleBatch.of(np.array(self._values(x, new))[:, None]), new, labels)

    def propose_rows(self, rows: NamedRows, labels: Labels | None = None) -> SchemaChange:
        schema = self._with_columns_of(rows)
        new: dict[int, Levels] = {}
        return schema._change(schema._samples(rows, new), new, labels)

    def _new_names(self, rows: NamedRows) -> list[Hashable]:
        """Names that become columns: no words of texts, none beside those of an array, which are numbers, and none of a
        table that is wide."""
        if not self.are_named or len(self.indices) >= MOST_FEATURES:
            return []
        return [*dict.fromkeys(name for name in rows.used_names() if not (name in self.indices or rows.is_zero(name)))]

    def _with_columns_of(self, rows: NamedRows) -> TableSchema:
        """With columns for what is new in samples; a single one says what each is, as in other streams."""
        new = self._new_names(rows)
        if not new:
            return self
        if not all(isinstance(name, str) for name in new):
            raise bad("x", "text as names of new columns, as in the table", f"{new}")
        values: dict[Hashable, Any] = {name: rows.frame.get(name) for name in new}
        values |= {name: [x.get(name) for x in rows.dictionaries] for name in new if name not in rows.frame}
        frame = pd.DataFrame(values).reindex(columns=[*self.indices, *new])
        columns, notes = self.columns.with_new(frame, self.categorical_features)
        warn_of("x: ", notes)
        grown = self.copy()
        grown._know([*self.indices, *new], columns, grown.levels)
        return grown

    def copy(self) -> TableSchema:
        """A copy, on which several changes can be tried."""
        other = copy.copy(self)
        other.levels = {column: dict(known) for column, known in self.levels.items()}
        other.classes = dict(self.classes)
        return other

    def commit(self, change: SchemaChange) -> None:
        index: Any
        if change.columns is not None and change.columns is not self.columns:
            self._know([*change.indices], change.columns, self.levels)
        for index, new in change.levels.items():
            self.levels[index].update(new)
        self.classes |= {label: len(self.classes) + i for i, label in enumerate(change.classes)}

    def _change(self, batch: SampleBatch, new: dict[Any, Levels], labels: Labels | None) -> SchemaChange:
        if labels is None:
            return SchemaChange(batch, self.indices, self.categorical, new, {}, columns=self.columns)
        are_text = {isinstance(label, str) for label in (*self.classes, *labels)}
        if len(are_text) > 1:
            raise bad("y", f"labels like {[*self.classes]}", [*dict.fromkeys(labels)])
        classes = [label for label in dict.fromkeys(labels) if label not in self.classes]
        numbers = self.classes | {label: len(self.classes) + i for i, label in enumerate(classes)}
        targets = np.array([numbers[label] for label in labels], int)
        return SchemaChange(batch, self.indices, self.categorical, new, {}, classes, targets, self.columns)

    def _samples(self, rows: NamedRows, new: dict[Any, Levels] | None) -> SampleBatch:
        zeros = {name: 0.0 for name in self.indices if rows.is_zero(name)}
        values = [self._values({**zeros, **x}, new) for x in rows.records()]
        return SampleBatch.of(np.array(values, np.float64).reshape(len(rows), -1).T)

    # ---- Values ------------------------------------------------------------------------------------------------------

    def _values(self, x: Sample, new: dict[Any, Levels] | None) -> list[float]:  # -> D
        """The columns made from a sample. Levels that are not known are added to `new`."""
        check_dictionary(x)
        made: list[float] = []
        for name, index in self.indices.items():
            value = x.get(name)
            column = self.columns.columns[index]
            if is_missing(value) or self.widths[index] == 0:
                made += [np.nan] * self.widths[index]
            elif column.kind == NUMBER:
                made.append(number_of(f"x[{name!r}]", "a finite number or a bool", value))
            elif column.kind == CATEGORY:
                made.append(self._code(name, index, value, new))
            elif column.kind == DATE:
                day = np.array([day_in(value, column.form, column.zone)])
                if np.isnan(day[0]) and value not in NO_TIME:
                    form = "" if column.form is None else f", or text in the format {column.form}"
                    raise bad(f"x[{name!r}]", f"a date{form}, as in the table", repr(value))
                made += [part_of(part, day).item() for part in column.parts]
            elif column.kind == PRINTED:
                numbers = numbers_of(value, str(column.form))
                if np.isnan(numbers[0]) and not (isinstance(value, str) and value.strip() in MISSING):
                    expected = f"a number in text, such as {column.form!r}, as in the table"
                    raise bad(f"x[{name!r}]", expected, repr(value))
                made += numbers
            else:
                made += self.columns.texts[index].of_text(str(value)).tolist()
        return made

    def _code(self, name: Hashable, index: int, value: object, new: dict[Any, Levels] | None) -> float:
        """The code of a level; without `new`, the next one if it is not known."""
        check_key(f"x[{name!r}]", "values", value)
        level = level_of(value)
        known = self.levels[index]
        if level in known:
            return known[level]
        are_text = {isinstance(other, str) for other in known}
        if len(are_text) == 1 and isinstance(level, str) not in are_text:
            kind = "text" if are_text == {True} else "a number"
            raise bad(f"x[{name!r}]", f"{kind}, like its first levels", repr(value))
        if new is None:
            return len(known)
        added = new.setdefault(index, {})
        return added.setdefault(level, len(known) + len(added))


class TableStream(StreamEstimator):
    """A fitted estimator of `gln.sklearn`, which learns on from a stream of its columns."""

    schema: Any

    def __init__(self, fitted: Any, build: Callable[..., Any]) -> None:
        self.fitted = fitted
        names = getattr(fitted, "feature_names_in_", range(fitted.n_features_in_))
        classes = np.asarray(getattr(fitted, "classes_", ()))
        classes = classes[np.argsort(getattr(fitted, "_heads", np.arange(len(classes))))].tolist()
        known = fitted.known_columns, fitted.categories_, classes, fitted.categorical_features
        schema: Any = TableSchema([*names], *known)
        super().__init__(build, schema, fitted.partial_learning_rate, hasattr(fitted, "classes_"))
        self.learner = fitted.learner_
        self.waiting = vars(fitted).get("_waiting", self.waiting)
        self.learner.set_learning_rate(fitted.partial_learning_rate)

    def table(self) -> Any:
        """The estimator of `gln.sklearn`, with classes and columns that came since, and predictions that wait."""
        schema = self.schema
        if len(schema.indices) > self.fitted.n_features_in_:
            self.fitted.set_columns([*schema.indices], schema.columns, schema.levels)
        self.fitted.categories_ = schema.levels
        if self.waiting.most:
            self.fitted._waiting = self.waiting
        classes = schema.classes
        if self.are_classes and len(classes) > len(self.fitted.classes_):
            self.fitted.classes_ = np.unique([*classes])
            self.fitted._heads = np.array([classes[label] for label in self.fitted.classes_.tolist()])
        return self.fitted

    def explain(self, x: Sample) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
        """Names of columns; their contributions, (C, F), and constants, (C,)."""
        contributions, constants = self.learner.explain(self.schema.encode(x))
        return [*self.schema.indices], self.schema.columns.summed(contributions[:, 0]), constants[:, 0]
