"""Values of samples, targets and labels as they come from users: which are missing, checks, and many samples together.

Missing are None, NaN, and pandas' own missing value.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import dataclasses
import functools
import reprlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from gln.engine.batches import MAX_FLOAT
from gln.engine.preprocessing.category_codes import check_different_names
from gln.engine.types import Row

MOST = float(MAX_FLOAT)  # the largest number
OTHERS = (str, np.datetime64, np.timedelta64, np.complexfloating)  # no numbers, though `float` takes some
NO_COLUMNS = pd.DataFrame()
Sample: TypeAlias = Mapping[Hashable, Any]  # of a stream: values by name
Rows: TypeAlias = Any  # a frame, dictionaries, or `NamedRows`


def check_dictionary(x: object) -> None:
    """Raise ValueError for what is no dictionary."""
    if not hasattr(x, "items"):
        raise ValueError(f"x: expected a dictionary of features, got {reprlib.repr(x)}")


def check_frame(X: object) -> None:
    """Raise ValueError for what is no frame, and for columns of equal names."""
    if not isinstance(X, pd.DataFrame):
        raise ValueError(f"X: expected a pandas frame, got {type(X).__name__}")
    check_different_names(X)


def has_values(column: pd.Series) -> np.ndarray:
    """Which rows have a value; one that a sparse column does not store is absent."""
    has = column.notna().to_numpy()
    return has & (column != 0).to_numpy() if isinstance(column.dtype, pd.SparseDtype) else has


def number_of(name: str, expected: str, value: Any) -> float:
    """A value as a float; NaN if it is missing. Raises ValueError for what is no number, with the value's name."""
    try:
        number = np.nan if is_missing(value) else np.inf if isinstance(value, OTHERS) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.inf
    if abs(number) > MOST:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return number


def target_of(value: object) -> float:
    """A number to learn as a float; NaN if it is missing."""
    return number_of("y", "finite numbers", value)


def label_of(value: Hashable) -> Hashable:
    """A label to learn; None if it is missing."""
    check_key("y", "labels", value)
    return None if is_missing(value) else value


def check_key(name: str, kind: str, value: object) -> None:
    """Raise ValueError for a value of the argument `name` that no dictionary can have as a key."""
    try:
        hash(value)
    except TypeError as error:
        raise ValueError(f"{name}: expected {kind} that can be keys of a dictionary, got {value!r}") from error


def check_arm(name: str, arm: object) -> None:
    """Raise ValueError for a value of the argument `name` that is no arm."""
    check_key(name, "arms", arm)
    if arm is None:
        raise ValueError(f"{name}: expected the name of an arm, got None")


def is_missing(value: object) -> bool:
    try:
        return value is None or value is pd.NA or bool(value != value)
    except (TypeError, ValueError):  # an array, for example, is neither equal to itself nor not
        return False


# ---- Many samples ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class NamedRows:
    """Samples of a stream. A value that is missing, or that a sparse column does not store, is absent."""

    frame: pd.DataFrame
    dictionaries: Sequence[Row] = ()  # whose keys are no columns
    # Whether a feature of this name that is absent is 0, as in sparse formats.
    is_zero: Callable[[Any], bool] = lambda name: False
    texts: Set[Hashable] = frozenset()  # names of text on purpose, of which there is no warning if it reads as numbers

    def __len__(self) -> int:
        return max(len(self.frame), len(self.dictionaries))

    def of(self, rows: slice) -> NamedRows:
        if rows.stop - rows.start == len(self):
            return self
        frame = self.frame.iloc[rows]
        if frame.shape[1] > len(frame):  # most columns may be of categories that other rows have
            frame = frame.dropna(axis=1, how="all")
        return dataclasses.replace(self, frame=frame, dictionaries=self.dictionaries[rows])

    @functools.cached_property
    def names(self) -> Set[Hashable]:
        """The names of columns and keys."""
        return set(self.frame.columns).union(*self.dictionaries)

    def used_names(self) -> Iterator[Hashable]:
        """Names that have a value in some sample."""
        yield from (name for name, column in self.frame.items() if has_values(column).any())
        yield from (name for x in self.dictionaries for name, value in x.items() if not is_missing(value))

    def records(self) -> list[dict[Any, Any]]:
        """Each sample as a dictionary."""
        rows: list[dict[Any, Any]] = [{}] * len(self)
        if not self.frame.empty:  # or a frame without columns would take longer than a prediction
            rows = self.frame.astype(object).to_dict("records")
        return [{**row, **x} for row, x in zip(rows, self.dictionaries or [{}] * len(self), strict=True)]

    def values_of(self, name: Hashable) -> list[Any]:
        """The values of a column or key that are not missing."""
        column = self.frame[name].dropna() if name in self.frame else ()
        return [*column, *(x[name] for x in self.dictionaries if not is_missing(x.get(name)))]


def named_rows(samples: Rows) -> NamedRows:
    """A frame or dictionaries as `NamedRows`.

    Raises ValueError for a frame with several columns of one name, and for what is no dictionary.
    """
    if isinstance(samples, NamedRows):
        return samples
    if isinstance(samples, pd.DataFrame):
        check_frame(samples)
        return NamedRows(samples)
    if not isinstance(samples, (list, tuple)):
        raise ValueError(f"X: expected a pandas frame or a list of dictionaries, got {type(samples).__name__}")
    for x in samples:
        check_dictionary(x)
    return NamedRows(NO_COLUMNS, samples)
