"""Which names are text and which are numbers, and their values."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import DECIDING, Target, Wanted
from gln.engine.model.sample_weights import STREAM_WEIGHT
from gln.engine.preprocessing.category_codes import MISSING, snake_case
from gln.engine.preprocessing.dates import CYCLES, NEARLY_ALL, NO_TIME, named_dates, times_of
from gln.engine.preprocessing.printed_numbers import form_of, numbers_in, width
from gln.engine.streaming.schema import MOST_WORDS
from gln.engine.streaming.values import MOST, NamedRows

# Numbers with NaN, or texts with None, where one is missing; or times.
Column: TypeAlias = np.ndarray | pd.Series | list[str | None]
Json: TypeAlias = Any  # a value of JSON, whose type is known only where it is used

ID = re.compile(
    "user|item|customer|client|product|movie|store|device|account|"
    "(.*[^a-z])?(id|uid|sku|zip|code|(user|item|customer|client|product|movie|store|device|account)id|(zip|post)code)"
)


def finite_number(text: str) -> float:
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


def as_label(number: float) -> float:
    """A number as a label: a whole one as an int, so that it is written without a decimal point."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def labels_of(column: Column) -> list[Target]:  # N
    """The targets in a column, with None where one is missing."""
    values = column if isinstance(column, list) else column.tolist()
    values = [None if value != value else value for value in values]  # NaN, and pandas' NaT
    return [as_label(value) if isinstance(value, float) else value for value in values]


def weight_of(value: object) -> float:
    """A value as the weight of a sample. Raises ValueError for other values than numbers from 0 to 10^6."""
    with contextlib.suppress(ValueError):
        weight = finite_number(str(value))
        if 0 <= weight <= STREAM_WEIGHT:
            return weight
    raise ValueError(f"expected a weight from 0 to {STREAM_WEIGHT}, got {shown(value)}")


def weights_of(name: str, values: Iterable[object]) -> tuple[list[float], dict[int, str]]:
    """The weights in a column, and what is wrong with other values, by row."""
    weights = []
    wrong = {}
    for row, value in enumerate(values):
        try:
            weights.append(weight_of(value))
        except ValueError as error:
            weights.append(0.0)
            wrong[row] = f"{name}: {error}"
    return weights, wrong


def shown(value: object) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."


def ids_in(rows: NamedRows) -> list[str]:
    """The names that are read as numbers, and look like those of ids, whose order and distances mean nothing.

    Numbers alone do not tell: the users from 1 to 500 look like any count. So names decide, such as user, user_id,
    movieId or zip code, if the values are whole numbers, not just 0 and 1, and some repeat, unlike those of rows.
    """
    ids = []
    for name in dict.fromkeys(itertools.chain(rows.frame, *rows.dictionaries)):
        if ID.fullmatch(snake_case(name)):
            values = rows.values_of(name)
            are_whole = all(type(value) in (int, float) and value % 1 == 0 for value in values)
            repeat = 1 < len(set(values)) < len(values) and 2 * len(values) >= len(rows)  # unlike words
            if are_whole and repeat and any(value > 1 for value in values):
                ids.append(str(name))
    return ids


def _printed(name: str, texts: Sequence[str], form: str) -> tuple[np.ndarray, dict[int, str]]:
    """Numbers that are printed in one form, and what is wrong with others, by row."""
    values = numbers_in(pd.Series(texts, dtype=object), form)[:, 0]
    bad = [row for row in np.flatnonzero(~(np.abs(values) <= MOST)).tolist() if texts[row] not in MISSING]
    advice = f"(--strings {name} reads the column as text)"
    return values, {row: f"{name}: expected a number like {form!r}, got {shown(texts[row])} {advice}" for row in bad}


def _are_most(are: Sequence[bool]) -> bool:
    return sum(are) >= NEARLY_ALL * len(are)


class ColumnTypes:
    """What each name is: text, a number, or a timestamp, which comes as text. An option or the loaded model decides, or
    else the values in the first chunk, or else, of a name that has none there, its first value."""

    def __init__(self, wanted: Wanted) -> None:
        given = dict.fromkeys(wanted.strings, True) | dict.fromkeys(wanted.numbers, False)
        times = named_dates({name for name, is_text in wanted.known.items() if not is_text}) - given.keys()
        self._given = given.keys()
        self._strings = wanted.strings
        self._target = wanted.target
        self._forms = wanted.forms
        self._are_text = (
            dict.fromkeys(wanted.forms or (), False) | dict(wanted.known) | given | {str(name): True for name in times}
        )
        self._most = DECIDING  # values that decide
        # Of each column of text whose values have decided, whether it has timestamps.
        self._are_times = {name: name in times for name, is_text in self._are_text.items() if is_text}
        if wanted.target is not None:
            self._are_times[wanted.target] = False
        self._notes: dict[str, str] = {}  # of each kind one, or "" if the user was told

    def column(self, name: str, texts: Sequence[str]) -> tuple[Column, dict[int, str]]:
        """The values of a column, and what is wrong with others, by row."""
        if name not in self._are_text:
            given = [text for text in texts if text not in MISSING]
            if not given:
                return np.full(len(texts), np.nan), {}
            are_numbers = _are_most([*map(is_numeric, given[: self._most])])
            self._are_text[name] = not (are_numbers or self._find_form(name, given))
        if self._are_text[name]:
            times = self.times(name, texts)
            if times is not None:
                return times
            missing = {""} if name in self._strings else MISSING
            return [*texts] if missing.isdisjoint(texts) else [None if text in missing else text for text in texts], {}
        if self._forms and name in self._forms:
            return _printed(name, texts, self._forms[name])
        with contextlib.suppress(ValueError):
            try:
                values = np.array([*map(float, texts)])
            except ValueError:
                values = np.array([float("nan" if text in MISSING else text) for text in texts])
            if not ((np.abs(values) > MOST).any() or "_" in "".join(texts)):
                return values, {}
        values = np.full(len(texts), np.nan)
        wrong = {}
        advice = "" if name in self._given else f" (--strings {name} reads the column as text)"
        for row, text in enumerate(texts):  # one by one, to find the bad ones
            if text not in MISSING:
                try:
                    values[row] = finite_number(text)
                except ValueError as error:
                    wrong[row] = f"{name}: {error}{advice}"
        return values, wrong

    def _find_form(self, name: str, texts: Sequence[str]) -> bool:
        """Whether the first chunk has different numbers, all printed in one form; keeps it and tells the user."""
        if self._forms is None or not self.are_deciding or name == self._target or len({*texts}) == 1:
            return False
        printed = form_of(pd.Series(texts, dtype=object))
        if printed is None or width(printed.form) > 1:
            return False
        self._forms[name] = printed.form
        self.note(
            f"form of {name}", f"{name}: numbers like {printed.form!r}\n    (--strings {name} reads the column as text)"
        )
        return True

    @property
    def are_deciding(self) -> bool:
        """Whether the first chunk has not ended."""
        return self._most > 1

    @property
    def decided(self) -> Set[str]:
        """The names that are known to be text, numbers or timestamps."""
        return self._are_text.keys()

    def is_number(self, name: str) -> bool:
        """Whether a column is known to hold numbers."""
        return self._are_text.get(name) is False

    def check_type(self, name: str, kind: str) -> None:
        """Know that a column holds "text", "numbers" or "timestamps". Raises ValueError if it is known as another."""
        if name in self._strings or (name in self._given and kind != "timestamps"):  # text can be converted
            return
        is_text = self._are_text.setdefault(name, kind != "numbers")
        expected = "numbers" if not is_text else "timestamps" if self._are_times.get(name) else "text"
        if expected == "text" and name not in self._are_times:  # nothing has decided yet
            expected = kind
        if kind != expected and (kind, expected) != ("text", "timestamps"):
            option = "numbers" if (kind, expected) == ("text", "numbers") else "strings"
            raise ValueError(f"{name}: expected {expected}, got {kind} (--{option} {name} converts the column)")

    def add_times(self, name: str, times: pd.DatetimeIndex) -> None:  # N
        """Know that a column holds timestamps."""
        if name not in self._are_times and not times.isna().all():
            self._are_times[name] = True
            text = f"{name}: a time, read as days since 1970, and as cycles of {', '.join(CYCLES)}"
            self.note(f"times of {name}", f"{text}\n    (--strings {name} reads it as text)")

    def may_be_times(self) -> list[str]:
        """The names of text that are timestamps, or whose values have not decided yet."""
        return [name for name, is_text in self._are_text.items() if is_text and self._are_times.get(name, True)]

    def times(self, name: str, texts: Sequence[str | None]) -> tuple[pd.Series, dict[int, str]] | None:
        """The values of a column of timestamps, in UTC, NaT where one is missing, and what is wrong with values, by
        row; None if the column is something else. Its first values decide."""
        if not self._are_times.get(name, True):
            return None
        given = [None if text in NO_TIME else text for text in texts]
        times = times_of(given)
        are_times = {row: is_time for row, is_time in enumerate(times.notna().tolist()) if given[row] is not None}
        if name not in self._are_times and are_times and not _are_most([*are_times.values()][: self._most]):
            self._are_times[name] = False
        else:
            self.add_times(name, times)
        if not self._are_times.get(name):
            return None
        bad = [row for row, is_time in are_times.items() if not is_time]
        advice = f"(--strings {name} reads the column as text)"
        wrong = {i: f"{name}: expected an ISO 8601 date or time, got {shown(texts[i])} {advice}" for i in bad}
        return pd.Series(times), wrong

    def note(self, kind: str, text: str) -> None:
        """Tell the user something with the next samples, once of each kind."""
        self._notes.setdefault(kind, text)

    def end_chunk(self) -> tuple[str, ...]:
        """Know that the samples of a chunk were read; returns what to tell the user with them."""
        self._most = 1
        notes = tuple(filter(None, self._notes.values()))
        self._notes = dict.fromkeys(self._notes, "")
        return notes

    def decide(self, samples: Iterable[Mapping[str, Json]]) -> None:
        """Let the first chunk decide what its names are: what most of their values are, as others are errors."""
        are_numbers: dict[str, list[bool]] = {}
        for x in samples:
            if any(value.__class__ in (int, float) and not -MOST <= value <= MOST for value in x.values()):
                continue  # it is a bad line
            for name, value in x.items():
                if value is not None and name not in self._are_text:
                    are_numbers.setdefault(name, []).append(value.__class__ is not str)
        self._are_text |= {name: 2 * sum(are) < len(are) for name, are in are_numbers.items()}

    def values(self, x: Mapping[str, Json]) -> dict[str, Json]:
        """A sample with values of the right kind. Raises ValueError for others; nothing is decided then."""
        values = {}
        new = {}
        are_text = self._are_text
        for name, value in x.items():
            if value is not None:
                is_text = value.__class__ is str
                if name not in are_text:
                    new[name] = is_text
                elif is_text is not are_text[name]:
                    value = self._converted(name, value)
                if not isinstance(value, str) and not -MOST <= value <= MOST:
                    raise ValueError(f"{name}: expected a finite number, got {shown(value)}")
            values[name] = value
        if len(are_text) < MOST_WORDS:  # so that memory is bounded where names are always new
            are_text.update(new)
        return values

    def _converted(self, name: str, value: str | float) -> str | float:
        """A value of the other kind as one of the kind that an option gave."""
        if name not in self._given:
            expected = "a string" if self._are_text[name] else "a number"
            advice = f"(--strings {name} reads it as text)"
            raise ValueError(f"{name}: expected {expected}, like its first values, got {shown(value)} {advice}")
        if self._are_text[name]:
            return json.dumps(value)
        try:
            return finite_number(str(value))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
