"""Values of features as users give them, in dictionaries and frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gln.learning.samples import MAX_FLOAT

__all__ = [
    *("CONSTANT", "MOST", "Sparse", "check_key", "features_of", "has_values", "is_missing", "label_of", "no_features"),
    *("number_of", "target_of"),
]

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
