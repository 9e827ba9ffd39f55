"""Which names are text and which are numbers, and their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gln.engine.streaming.named_rows import NamedRows
from gln.engine.streaming.values import MOST

__all__ = ["Kinds", "ids_in", "is_numeric", "label_of", "number_of", "shown"]

# The usual words for a missing value, in a file that is text throughout, except in columns that `--strings` names.
MISSING = frozenset(["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None"])
CAPITAL = re.compile("(?<=[a-z0-9])(?=[A-Z])")  # where a word begins in movieId
ID = re.compile(
    "user|item|customer|client|product|movie|store|device|account|"
    "(.*[^a-z])?(id|uid|sku|zip|code|(user|item|customer|client|product|movie|store|device|account)id|(zip|post)code)"
)


def number_of(text: str) -> float:
    """A text as a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = np.inf
    if not abs(number) <= MOST or "_" in text:  # which Python takes in numbers
        raise ValueError(f"expected a finite number, got {shown(text)}")
    return number


def is_numeric(text: str) -> bool:
    """Whether a text is a number, even one that is too large."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def label_of(number: float) -> float:
    """A number as a label: a whole one as an int, so that it is written without a decimal point."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."


def ids_in(rows: NamedRows) -> list[str]:
    """The names that are read as numbers, and look like those of ids, whose order and distances mean nothing.

    Numbers alone do not tell: the users from 1 to 500 look like any count. So names decide, such as user, user_id,
    movieId or zip code, if the values are whole numbers, not just 0 and 1, and some repeat, unlike those of rows.
    """
    found = []
    for name in map(str, rows.frame.columns):
        if ID.fullmatch(CAPITAL.sub("_", name).lower()):
            values = rows.frame[name].dropna().tolist()
            are_whole = all(type(value) in (int, float) and value % 1 == 0 for value in values)
            if are_whole and any(value > 1 for value in values) and 1 < len(set(values)) < len(values):
                found.append(name)
    return found


class Kinds:
    """What each name is: text, or a number. The first values of a name decide, unless an option does."""

    def __init__(self, strings: Iterable[str], numbers: Iterable[str], known: Mapping[str, bool]) -> None:
        said = {name: True for name in strings} | {name: False for name in numbers}
        self._said, self._strings = said.keys(), frozenset(strings)
        self._are_text = {**known, **said}

    # ---- Columns of text -------------------------------------------------------------------------------------------

    def column(self, name: str, texts: Sequence[str]) -> tuple[Any, dict[int, str]]:
        """The values of a column, as an array of numbers with NaN or a list of strings with None where one is missing;
        and what is wrong with values, by place."""
        if name not in self._are_text:
            given = [text for text in texts if text not in MISSING]
            if not given:
                return np.full(len(texts), np.nan), {}
            self._are_text[name] = not all(map(is_numeric, given))
        if self._are_text[name]:
            missing = {""} if name in self._strings else MISSING
            return [None if text in missing else text for text in texts], {}
        try:
            values = np.array([np.nan if text in MISSING else float(text) for text in texts])
        except ValueError:
            return self._one_by_one(name, texts)
        if (np.abs(values) > MOST).any() or "_" in "".join(texts):
            return self._one_by_one(name, texts)
        return values, {}

    def is_number(self, name: str) -> bool:
        """Whether a column has been found to hold numbers."""
        return self._are_text.get(name) is False

    def _one_by_one(self, name: str, texts: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
        values, wrong = np.full(len(texts), np.nan), {}
        advice = "" if name in self._said else f" (--strings {name} reads the column as text)"
        for place, text in enumerate(texts):
            if text not in MISSING:
                try:
                    values[place] = number_of(text)
                except ValueError as error:
                    wrong[place] = f"{name}: {error}{advice}"
        return values, wrong

    # ---- Values that are typed -------------------------------------------------------------------------------------

    def values(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """A sample with values of the right kind. Raises ValueError for others; nothing is decided then."""
        values, new, are_text = {}, {}, self._are_text
        for name, value in x.items():
            if value is not None:
                is_text = value.__class__ is str
                if name not in are_text:
                    new[name] = is_text
                elif is_text is not are_text[name]:
                    value = self._converted(name, value)
                if value.__class__ is not str and not -MOST <= value <= MOST:
                    raise ValueError(f"{name}: expected a finite number, got {shown(value)}")
            values[name] = value
        are_text.update(new)
        return values

    def _converted(self, name: str, value: Any) -> Any:
        """A value of the other kind as one of the kind that was said."""
        if name not in self._said:
            expected = "a string" if self._are_text[name] else "a number"
            advice = f"(--strings {name} reads it as text)"
            raise ValueError(f"{name}: expected {expected}, like its first value, got {shown(value)} {advice}")
        if self._are_text[name]:
            return json.dumps(value)
        try:
            return number_of(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
