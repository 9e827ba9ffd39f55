"""Encode the levels of categories as codes, and find which columns of a table are categories.

Shapes: N samples, F features.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gln.engine.types import ColumnNames, MatrixLike, State
from gln.engine.warn import Note

Levels = dict[Hashable, int]  # the code of each level: text, numbers and bools
DATES = ("date", "datetime", "datetime64", "period", "time", "timedelta", "timedelta64")  # as pandas names them
CAPITAL = re.compile("(?<=[a-z0-9])(?=[A-Z])")  # where a word begins in movieId
SEVERAL, NEARLY_ALL = 10, 0.9  # levels of a category, and the fraction of them that read as numbers: worth a warning
SPACES = 5  # of a sentence; names of categories have fewer
PRINTED = re.compile(r"\s*[-+]?[$€£]?(\d{1,3}(,\d{3})+|\d+)([.,]\d+)?\s?[%€$£]?\s*")  # numbers: 1,234.50, 12,5, $3, 7 %
DECIMAL_COMMA = re.compile(r".*,(\d{1,2}|\d{4,})\D*|\D*0,.*")  # unlike a comma of thousands
# The usual words for a missing value.
MISSING = frozenset(["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None"])
OF_LISTS = "join lists to text, as by X[name].str.join(' '), or encode them by scikit-learn's MultiLabelBinarizer"


def as_pandas(X: MatrixLike) -> MatrixLike:
    """A polars frame converted to pandas; anything else unchanged."""
    is_polars = type(X).__module__.startswith("polars")
    if is_polars and hasattr(X, "collect"):
        raise ValueError("X: expected a frame or an array, got a LazyFrame; call its collect() first")
    if not (is_polars and hasattr(X, "get_columns")):
        return X
    columns: State = {}
    for column in X.get_columns():
        if column.dtype.is_numeric():
            columns[column.name] = column.to_numpy()
        else:
            is_category = str(column.dtype).startswith(("Categorical", "Enum"))
            columns[column.name] = pd.Series(column.to_list(), dtype="category" if is_category else object)
    return pd.DataFrame(columns)


def as_table(X: MatrixLike) -> MatrixLike:
    """A table with a shape: a pandas frame instead of a polars one, and an array instead of lists."""
    X = as_pandas(X)
    if isinstance(X, pd.Series):
        raise ValueError("X: expected a table, got a Series; X.iloc[[0]] is a row of a frame, and X[[name]] a column")
    if isinstance(X, np.ndarray) and X.dtype.kind == "V":
        raise ValueError(f"X: expected numbers, strings or dates, got records or bytes of dtype {X.dtype}")
    return X if hasattr(X, "shape") else np.asarray(X, object)


def check_no_dates(X: MatrixLike) -> None:
    """Raise ValueError, naming the column, if one column of a table holds dates or times, or complex numbers."""
    if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "OmM":
        X = pd.DataFrame(X)
    dtypes = X.dtypes if isinstance(X, pd.DataFrame) else ()
    for column, dtype in enumerate(dtypes):
        if dtype.kind == "c":
            raise ValueError(f"X: expected real numbers, got complex ones in column {X.columns[column]!r}")
        if dtype.kind not in "biuf" and pd.api.types.infer_dtype(X.iloc[:, column], skipna=True) in DATES:
            raise ValueError(
                f"X: expected numbers or categories, got dates or times in column {X.columns[column]!r}; convert "
                "them to numbers, such as days since the first, or to categories, such as the day of the week"
            )


def check_different_names(X: pd.DataFrame) -> None:
    """Raise ValueError, naming the first one, for columns of equal names."""
    if not X.columns.is_unique:
        name = X.columns[X.columns.duplicated()].tolist()[0]
        raise ValueError(f"X: expected columns with different names, got several named {name!r}")


def column_of(X: MatrixLike, index: int) -> pd.Series:
    """A column of a frame or of an array, under its name or number."""
    return X.iloc[:, index] if isinstance(X, pd.DataFrame) else pd.Series(X[:, index], name=index)


def categorical_columns(X: MatrixLike, chosen: ColumnNames) -> list[int]:
    """The columns of a pandas frame or array that are categories: `chosen` is `categorical_features`."""
    text_columns = [i for i in range(X.shape[1]) if _is_text(X.iloc[:, i])] if isinstance(X, pd.DataFrame) else []
    return chosen_columns("categorical_features", X, chosen, "from_dtype", text_columns)


def chosen_columns(argument: str, X: MatrixLike, chosen: ColumnNames, default: str, by_default: list[int]) -> list[int]:
    """The columns of a pandas frame or array that are chosen.

    `chosen` is the word for the default, None for no column, or an array-like: a mask (F,), column numbers, or column
    names of a frame. Anything else raises ValueError.
    """
    if chosen is None:
        return []
    if np.array_equal(chosen, default):
        return by_default
    names = list(getattr(X, "columns", ()))
    wanted = np.asarray(chosen)
    count = X.shape[1]
    if wanted.dtype.kind == "b" and wanted.shape == (count,):
        return np.flatnonzero(wanted).tolist()
    if wanted.ndim == 1 and all(type(name) is str and name in names for name in wanted.tolist()):
        return [names.index(name) for name in wanted.tolist()]
    if wanted.ndim == 1 and wanted.dtype.kind in "iu" and ((wanted >= 0) & (wanted < count)).all():
        return wanted.tolist()
    expected = f"{default!r}, None, or a mask, numbers or names"
    raise ValueError(f"{argument}: expected {expected} of the {count} columns of X, got {chosen!r}")


def _is_text(column: pd.Series) -> bool:
    """Whether a column is text, or a category; an object column without any value is one without levels."""
    if isinstance(column.dtype, (pd.CategoricalDtype, pd.StringDtype)):
        return True
    if column.dtype == object and len(column) and column.isna().all():
        return True
    return column.dtype.kind not in "biufmM" and any(isinstance(value, str) for value in column)


def with_columns(X: MatrixLike, values: Mapping[int, np.ndarray]) -> MatrixLike:
    """A copy of a frame or array with numbers in some columns."""
    is_frame = isinstance(X, pd.DataFrame)
    X = X.copy(deep=False) if is_frame else X.astype(np.float64 if X.dtype.kind in "biuf" else object)
    for column, numbers in values.items():
        if is_frame:
            X.isetitem(column, numbers)
        else:
            X[:, column] = numbers
    return X


def new_levels(levels: Levels, column: pd.Series) -> Levels:
    """New levels in a column (N,), sorted, with the next codes."""
    new = {*_distinct(column, levels)[1]} - levels.keys()
    in_order = sorted(new, key=lambda level: (isinstance(level, str), level))
    return {level: code for code, level in enumerate(in_order, len(levels))}


def codes_of(column: pd.Series, levels: Levels) -> np.ndarray:
    """The code of each value, the next one for all unknown levels, and NaN if it is missing: (N,) -> (N,)."""
    indices, distinct = _distinct(column, levels)
    return np.array([*(levels.get(level, len(levels)) for level in distinct), np.nan])[indices]  # -1: a missing value


def code_of(
    key: Hashable, known: Mapping[Hashable, int], new: dict[Hashable, int] | None, count: int, most: int
) -> float:
    """The code of a level, or the number of a name, of which `count` are known.

    An unknown one is added to `new`, or without it is NaN. From `most` on, further ones share codes.
    """
    for codes in (known, new or {}):
        if key in codes:
            return codes[key]
    code = count + len(new or {})
    if code >= most:
        return zlib.crc32(repr(key).encode()) % most  # the same in every process, unlike Python's hash
    if new is None:
        return np.nan
    new[key] = code
    return code


def _distinct(column: pd.Series, known: Levels) -> tuple[np.ndarray, list[Hashable]]:
    """The index of each value among the levels in a column, -1 if it is missing, and these, in order of appearance.

    Raises ValueError for text if all known levels are numbers, and for numbers if all are text.
    """
    try:
        indices, values = pd.factorize(column)
    except TypeError as error:  # lists, for example, have no hash
        expected = f"text or numbers as levels of column {column.name!r}"
        raise ValueError(f"X: expected {expected}, got {error}; {OF_LISTS}") from error
    levels = [*map(level_of, values)]
    new = [level for level in levels if level not in known]
    are_text = {isinstance(level, str) for level in known} if new else set()
    others = [level for level in new if {isinstance(level, str)} != are_text]
    if len(are_text) == 1 and others:
        expected = f"{'text' if are_text == {True} else 'numbers'} in column {column.name!r}"
        raise ValueError(f"X: expected {expected}, like its first levels, got {others[0]!r}")
    return indices, levels


def notes_of_levels(
    category: str, known: Levels, new: Levels, number_advice: Callable[[list[str]], str], sentence_advice: str
) -> list[Note]:
    """A note, with advice if there is any, on a category whose levels read as numbers or are sentences; once: when the
    new ones make its levels SEVERAL."""
    levels = [str(level) for level in (*known, *new) if level is not None]  # as missing values are
    if not len(known.keys() - {None}) < SEVERAL <= len(levels):
        return []
    text = "{} is text and becomes a category, but its levels"
    numbers = [*filter(looks_like_number, levels)]
    if len(numbers) >= NEARLY_ALL * len(levels):
        text = f"{text} read as numbers; {number_advice(numbers)}"
        return [Note(text, category, f"{category} (such as {numbers[0]!r})")]
    if not sentence_advice or np.median([level.count(" ") for level in levels]) < SPACES:
        return []
    return [Note(f"{text} are sentences; {sentence_advice}", category, category)]


def advice_on_numbers(texts: list[str]) -> str:
    """How to convert a column of these texts, with code."""
    replaced = "" if all(map(reads_as_number, texts)) else ".str.replace('[$€£%, ]', '', regex=True)"
    if any(map(DECIMAL_COMMA.fullmatch, texts)):
        replaced = f".str.replace(',', '.'){replaced}"
    advice = "or, if it is a category, give it the dtype 'category' or name it in categorical_features"
    return f"convert it by pandas.to_numeric(X[name]{replaced}, errors='coerce'), {advice}"


def reads_as_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def looks_like_number(value: object) -> bool:
    """Whether it reads as a number, perhaps after a sign, a unit or a comma is replaced."""
    return reads_as_number(value) or PRINTED.fullmatch(str(value)) is not None


def snake_case(name: Hashable) -> str:
    """A name in lower case, its words apart: movieId is movie_id."""
    return CAPITAL.sub("_", str(name)).lower()


def level_of(value: Hashable) -> Hashable:
    """A level in a form that can be saved: text, numbers and bools unchanged, anything else as text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (str, bool, int, float)) else str(value)
