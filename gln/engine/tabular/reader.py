"""`TableReader`: makes the columns that networks read of what users pass to an estimator, and says what it assumed.

Shapes: N samples, F features as users pass them, D columns that networks read.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from gln.engine.batches import MAX_FLOAT, SampleBatch, is_too_large
from gln.engine.preprocessing import category_codes
from gln.engine.preprocessing.category_codes import Levels, as_table, codes_of, column_of, new_levels
from gln.engine.preprocessing.columns import CATEGORY, FEWEST_GROUPS, NUMBER, Column, Columns, find_columns
from gln.engine.tabular.checks import first_other
from gln.engine.warn import Note, warn_of

# A sparse table that is not wide is made dense chunk by chunk. Magnitudes are checked afterwards, by column.
ALLOWED = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "ensure_all_finite": False}
# Texts in the errors that `validate_data` raises if a value is not a number.
OF_CONVERSION = ("could not convert", "float() argument", "setting an array element")
OF_SENTENCES = (
    "`fit` learns their words, except in GLNDensityClassifier; `gln.river` learns what River's BagOfWords makes"
)
OF_MISSING = "there is no column {}, so its values count as missing"
OF_UNKNOWN = "column {} is left out, because it was not there in training; partial_fit learns it"
OF_NEW = (
    "more than half of the values in {} were not there in training, where rows were left out one by one; pass "
    "groups=X[name] to `fit`, so that scores and intervals are those of new ones"
)
FEWEST_NEW = 10  # rows to predict
OFTEN = 2  # rows of a level in training, on average


class Whole(NamedTuple):
    """What is known of a table before `fit` learns it, or a sample of it."""

    rows: int | None = None  # of the whole table
    folds: np.ndarray | None = None  # (N,), of the sample's rows
    levels: Callable[[dict[int, Levels]], dict[int, Levels]] = lambda known: known  # adds those of the whole table


class TableReader(BaseEstimator):
    """What estimators know of the columns of a table: their kinds, the levels of categories, and what was told."""

    _columns: Columns | None = None  # None if all columns are numbers and categories
    _whole = Whole()  # the table of which `fit` gets a sample; see `gln.dask`

    @property
    def columns_(self) -> pd.DataFrame:
        """What the columns of the table are treated as, what they become, and what told it: a row for each column."""
        check_is_fitted(self)
        names = vars(self).get("feature_names_in_", range(self.n_features_in_))
        return self.known_columns.shown(names, self.categories_)

    @property
    def known_columns(self) -> Columns:
        """What each column is, and what it becomes."""
        kinds = [CATEGORY if column in self.categories_ else NUMBER for column in range(self.n_features_in_)]
        return self._columns or Columns([*map(Column, kinds)])

    @property
    def _levels_made(self):
        """The levels of categories, by number of the column that the networks read."""
        if self._columns is None:
            return self.categories_
        return {int(np.searchsorted(self._columns.owners, column)): codes for column, codes in self.categories_.items()}

    def _numbers(self, X, *y, is_table=False, **checks):
        """X, or X and y, as `validate_data` returns them; an error about a value of X names the column."""
        X = self._coded(X, checks["reset"], learning=len(y) > 0, is_table=is_table)
        try:
            return validate_data(self, X, *y, **ALLOWED, **checks)
        except (TypeError, ValueError) as error:
            value = first_other(X) if any(text in str(error) for text in OF_CONVERSION) else None
            if value is None:
                raise
            reason = f" ({error})" if isinstance(error, TypeError) else ""
            raise type(error)(f"X: expected numbers, got {value}{reason}") from error

    def _check_magnitude(self, X):
        """Raise ValueError, naming the column, for infinity and for numbers that float32 cannot hold; NaN passes."""
        if is_too_large(X):
            column = int((abs(X) > MAX_FLOAT).nonzero()[1].min())
            name = vars(self).get("feature_names_in_", range(X.shape[1]))[column]
            raise ValueError(f"Input X contains infinity or a value too large for dtype('float32') in column {name!r}.")

    def _coded(self, X, reset, learning, is_table):
        """X with numbers instead of dates, texts and ids, and codes of categories; if learning, new levels get one."""
        X = as_table(X)
        notes = list[Note]()
        if isinstance(X, pd.DataFrame):
            category_codes.check_different_names(X)
        if reset:
            if hasattr(self, "learner_"):
                for name in ("_told", "_waiting"):  # of another table
                    self.__dict__.pop(name, None)
            categorical, notes = self._find_columns(X, is_table)
            self.categories_: dict[int, Levels] = {column: {} for column in categorical}
        elif isinstance(X, pd.DataFrame) and (self.categories_ or self._columns is not None):
            validate_data(self, X, reset=False, skip_check_array=True)  # names, before notes of single columns
        if self._columns is not None and np.ndim(X) == 2 and X.shape[1] == len(self._columns.columns):
            X, value_notes = self._columns.as_numbers(X)
            notes += value_notes
        category_codes.check_no_dates(X)
        if self.categories_ and np.ndim(X) == 2 and (reset or X.shape[1] == self.n_features_in_):
            if issparse(X):
                raise ValueError("X: expected a dense array or a frame for categorical_features, got a sparse array")
            if learning:
                notes += self._learn_levels(X, is_table)
            codes = {i: codes_of(column_of(X, i), levels) for i, levels in self.categories_.items()}
            if not learning:
                notes += self._notes_of_new(X, codes)
            X = category_codes.with_columns(X, codes)
        self._tell("X: ", notes)  # what `validate_data` rejects has no codes
        return X

    def _learn_levels(self, X, is_table):
        """Give new levels of categories their codes; returns what to tell of them."""
        notes = []
        categories = {}
        for index, levels in self.categories_.items():
            column = column_of(X, index)
            new = new_levels(levels, column)
            categories[index] = levels | new
            if isinstance(self.categorical_features, str) and not isinstance(column.dtype, pd.CategoricalDtype):
                advice = category_codes.advice_on_numbers, "" if is_table else OF_SENTENCES
                notes += category_codes.notes_of_levels(f"column {column.name!r}", levels, new, *advice)
        self.categories_ = self._whole.levels(categories)
        return notes

    def _notes_of_new(self, X, codes):
        """A note on each category of which most values are new, though each repeated in training, without groups."""
        if "_without_groups" not in vars(self) or len(X) < FEWEST_NEW:
            return []
        notes = []
        for index, levels in self.categories_.items():
            is_new = codes[index] == len(levels)
            repeat = FEWEST_GROUPS <= len(levels) <= self._without_groups / OFTEN
            if repeat and is_new.sum() > np.isfinite(codes[index]).sum() / 2:
                notes.append(Note(OF_NEW, column_of(X, index).name))
        return notes

    def _by_name(self, X, learning=False):
        """A frame with its columns in the order of training, in which missing ones are empty. If learning, those that
        are new are known from now on and come last; without it they are left out."""
        X = category_codes.as_pandas(X)
        names = vars(self).get("feature_names_in_")
        if names is None or not isinstance(X, pd.DataFrame) or X.columns.tolist() == names.tolist():
            return X
        category_codes.check_different_names(X)
        missing = [name for name in names if name not in X.columns]
        new = X.columns[~X.columns.isin(names)].tolist()
        if len(missing) == len(names):
            return X  # which is another table: `validate_data` raises an error
        notes = [Note(OF_MISSING, name) for name in missing]
        if learning:
            new = [name for name in new if X[name].notna().any()]
        else:
            notes += [Note(OF_UNKNOWN, name) for name in new]
        self._tell("X: ", notes)
        X = X.reindex(columns=[*names, *(new if learning else [])])
        if learning and new:
            columns, notes = self.known_columns.with_new(X, self.categorical_features)
            self._tell("X: ", notes)
            levels = {index: self.categories_.get(index, {}) for index in columns.of_kind(CATEGORY)}
            self.set_columns(X.columns.tolist(), columns, levels)
        return X

    def set_columns(self, names: Sequence[str], columns: Columns, levels: dict[int, Levels]) -> None:
        """Have these columns, of which the first ones are those so far."""
        if self._columns is not None or columns.has_others:
            self._columns = columns
        self.categories_ = levels
        self.n_features_in_: int = len(names)
        self.feature_names_in_ = np.array(names, object)

    def _find_columns(self, X, is_table):
        """Find out what the columns of a table are; returns the categories, and what to tell."""
        self.__dict__.pop("_columns", None)
        names_texts = not (self.text_features is None or np.array_equal(self.text_features, "auto"))
        if names_texts and (issparse(X) or not is_table):
            expected = "'auto' or None in partial_fit and for sparse X"
            raise ValueError(f"text_features: expected {expected}")
        if getattr(X, "ndim", 2) != 2:
            return [], []
        if not is_table or issparse(X) or (isinstance(X, np.ndarray) and X.dtype.kind in "biuf" and not names_texts):
            return category_codes.categorical_columns(X, self.categorical_features), []
        columns, notes = find_columns(X, self.categorical_features, self.text_features)
        if columns.has_others:
            self._columns = columns
        return columns.of_kind(CATEGORY), notes

    def _made_from(self, numbers, X):  # (N, F), (N, F) -> (N, D)
        """The columns that networks read, of a table and its numbers."""
        if self._columns is None:
            return numbers
        self._check_magnitude(numbers)
        return self._columns.made_from(numbers, as_table(X))

    def _made_for(self, heads, numbers, X):  # -> (N, D), dict
        """The columns that networks of so many heads read of a table to fit, and counts of words by column."""
        if self._columns is None:
            return numbers, {}
        columns = self._columns = dataclasses.replace(self._columns, heads=heads)
        if len(columns.owners) == 0:
            raise ValueError("X: expected a column to learn from, got ids and other columns that are left out")
        return self._made_from(numbers, X), columns.words(as_table(X)) if heads else {}

    def _tell(self, what, notes):
        """Warn, in one line, of what neither this estimator nor one that it was cloned from or to has told."""
        new = [note for note in notes if (note.text, note.name) not in vars(self).get("_told", ())]
        if new:
            warn_of(what, new)
            self.__dict__.setdefault("_told", set()).update((note.text, note.name) for note in new)

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_told"}  # no part of a model

    def __sklearn_clone__(self):
        clone = super().__sklearn_clone__()
        clone._told = self.__dict__.setdefault("_told", set())  # so that a search tells once
        return clone

    def _is_plain(self, X):
        """Whether X, apart from its magnitudes, is valid as it is and can skip `validate_data`, which is slow."""
        plain = type(X) is np.ndarray and X.dtype.char in "df" and X.ndim == 2 and len(X) > 0
        plain = plain and X.shape[1] == self.n_features_in_ and not hasattr(self, "feature_names_in_")
        return plain and not self.categories_ and self._columns is None

    def _samples(self, X):  # (N, F), for prediction
        if not hasattr(self, "learner_"):
            check_is_fitted(self)  # raises an error; otherwise it only takes time
        X = self._by_name(X)
        if not self._is_plain(X):
            X = self._made_from(self._numbers(X, reset=False), X)
        self._check_magnitude(X)
        return SampleBatch.of(X.T)

    def _summed(self, contributions):  # (..., D) -> (..., F)
        return contributions if self._columns is None else self._columns.summed(contributions)
