"""Dates and times as numbers.

In a stream, `time` becomes the days since 1970, and for each of CYCLES a sine and a cosine: `time.hour_sin`,
`time.hour_cos`, `time.weekday_sin`, ... A zone or an offset such as +02:00 is taken into account; without one, times
are UTC. In a table, a column becomes the days since 1970 and those of PARTS that vary. Both numbers and cycles: trees
and bins cut numbers, and linear models follow cycles, which add .014 to R² where seasons and hours act smoothly.

Shapes: N samples.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gln.engine.preprocessing.category_codes import MISSING
from gln.engine.types import VectorLike

DATES = (datetime.date, np.datetime64, pd.Period)  # types of single values; times are dates, too
# Days that each takes. A stream cannot know which of them matter, so it has all. Without the year, the absolute error
# on monthly passengers rises from 17 to 36, and without the hour, the log-loss of warmer hours from .474 to .527. What
# is superfluous costs up to 2%, on ten of twelve streams, and 10% on two.
CYCLES = {"hour": 1.0, "weekday": 7.0, "year": 365.2425}
PARTS = ("days since 1970", "year", "month", "year_sin", "year_cos", "weekday", "hour", "hour_sin", "hour_cos")
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?Z| ?[+-]\d\d(:?\d\d)?)?)?")
MAYBE = re.compile(r"\d{4}[-/]\d.*|\d{8}|\d\d?:\d\d.*|[\w,]{1,9}[-/. ][\w,]{1,9}[-/. ]\d\d(\d\d)?\b.*")
ISO_8601 = "ISO 8601"
COMPACT = "%Y%m%d"  # of strings, and of whole numbers
EIGHT_DIGITS = re.compile(r"(19|20)\d{6}")
TIMES = ["%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p"]
WITH_NUMBERS = ["%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"]
WITH_NUMBERS += ["%d.%m.%y", "%d/%m/%y", "%m/%d/%y"]
WITH_NAMES = ["%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y"]
FORMATS = [ISO_8601, COMPACT, *TIMES]
FORMATS += [f"{date} {time}".rstrip() for date in WITH_NUMBERS + WITH_NAMES for time in ("", *TIMES)]
AMBIGUOUS = "day or month first"  # instead of a format, also of a column that has too many other values
NEARLY_ALL = 0.95  # of the values of a column of dates are some
NO_TIME = MISSING | {"NaT"}
MICROSECONDS = 86_400_000_000  # of a day


def times_of(texts: Sequence[str | None]) -> pd.DatetimeIndex:  # N -> N
    """ISO 8601 texts as times in UTC; NaT for None, and for what is no date or time."""
    given = [text if text is not None and ISO.fullmatch(text) else None for text in texts]  # pandas also takes "now"
    times = pd.to_datetime(pd.Index(given, dtype=object), format="ISO8601", utc=True, errors="coerce")
    return times.tz_localize(None)


def _days(times: pd.DatetimeIndex) -> np.ndarray:  # N -> (N,)
    return np.where(times.isna(), np.nan, times.as_unit("us").asi8 / MICROSECONDS)


def day_of(value: Any) -> float:
    """Days since 1970 of one of DATES."""
    value = value.start_time if isinstance(value, pd.Period) else value
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return int(np.datetime64(value, "us").astype(np.int64)) / MICROSECONDS


def part_name(name: Hashable, part: str) -> Hashable:
    """The name of a part of a date, `time.hour_sin` for `time`."""
    return (*name[:-1], f"{name[-1]}.{part}") if isinstance(name, tuple) else f"{name}.{part}"


def named_dates(names: Collection[Hashable]) -> set[Hashable]:
    """Those of these names of features that are of dates, as the others show."""
    return {name for name in names if part_name(name, "weekday_sin") in names}


def features_of(name: Hashable, days: np.ndarray) -> dict[Hashable, np.ndarray]:  # (N,) -> (N,) each
    parts = [f"{cycle}_{wave}" for cycle in CYCLES for wave in ("sin", "cos")]
    return {name: days} | {part_name(name, part): part_of(part, days) for part in parts}


# ---- Columns of tables -----------------------------------------------------------------------------------------------


def is_date(column: pd.Series) -> bool:
    """Whether the type of a column, or of all its values, is one of dates."""
    kinds = ("date", "datetime", "datetime64", "period")
    if len(column) and type(column.iat[0]) is str:  # most columns of objects are text: no need to look at all values
        return False
    return column.dtype.kind == "M" or pd.api.types.infer_dtype(column, skipna=True) in kinds


def format_of(texts: pd.Series) -> str | None:
    """The format in which nearly all of these texts are dates; None if at most half are in any, and AMBIGUOUS if the
    others are too many, or if 03/04/2020 may be March or April."""
    texts = texts[~texts.str.strip().isin(NO_TIME)]
    some = texts[:: 1 + len(texts) // 100]
    fitting: dict[str, np.ndarray] = {}
    if sum(MAYBE.fullmatch(text) is not None for text in some) > len(some) / 2:  # formats take time to try
        fitting = {form: _parsed(texts, form) for form in FORMATS if _known(_parsed(some, form)) > len(some) / 2}
    most = max(map(_known, fitting.values()), default=0)
    if most <= len(texts) / 2:
        return None
    best = [form for form, days in fitting.items() if _known(days) == most]
    if best[0] in TIMES and most < len(texts):  # perhaps durations: 75:30
        return None
    is_one = all(np.array_equal(fitting[form], fitting[best[0]], equal_nan=True) for form in best)
    return best[0] if is_one and most >= NEARLY_ALL * len(texts) else AMBIGUOUS


def _known(days: np.ndarray) -> int:  # (N,) ->
    return int((~np.isnan(days)).sum())


def _parsed(texts: pd.Series, form: str) -> np.ndarray:
    if form == ISO_8601:
        return _days(times_of(texts.tolist()))
    if form == COMPACT:
        texts = texts.where(texts.str.fullmatch(EIGHT_DIGITS))  # pandas also takes fewer
    return _days(pd.DatetimeIndex(pd.to_datetime(texts, format=form, errors="coerce")))


def are_compact(column: pd.Series) -> bool:
    """Whether whole numbers are all dates such as 20200131, and several."""
    numbers = column.dropna()
    are_likely = (numbers // 10_000).between(1900, 2099) & (numbers // 100 % 100).between(1, 12)  # parsing takes longer
    return bool(are_likely.all()) and numbers.nunique() > 1 and not np.isnan(days_in(numbers, COMPACT)).any()


def days_in(column: pd.Series, form: str | None = None, zone: str | None = None) -> np.ndarray:  # (N,) -> (N,)
    """Days since 1970 of a column of dates, or of texts in this format; NaN for what is no date.

    Times of a type with a time zone are those of clocks in `zone`, because hours decide; UTC without it.
    """
    column = column.infer_objects()
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if column.dtype.kind == "M":
        times = pd.DatetimeIndex(column)
        return _days(times if times.tz is None else times.tz_convert(zone or "UTC").tz_localize(None))
    if form == COMPACT and column.dtype.kind in "iuf":
        column = column.astype(object).map(_compact, na_action="ignore")
    is_text = np.array([isinstance(value, str) for value in column], bool)
    if is_text.any():
        days = np.full(len(column), np.nan)
        days[~is_text] = days_in(column[~is_text], zone=zone)
        if form is not None:
            days[is_text] = _parsed(column[is_text].astype(object), form)
        return days
    starts = [value.start_time if isinstance(value, pd.Period) else value for value in column]
    return _parsed(pd.Series([*map(str, starts)], dtype=object), ISO_8601)


def _compact(number: Any) -> str:
    return str(number).removesuffix(".0")


def day_in(value: object, form: str | None = None, zone: str | None = None) -> float:
    """`days_in` of a single value that is not missing, in a hundredth of the time."""
    if form == COMPACT and isinstance(value, (int, float, np.number)):
        value = _compact(value)
    if form == COMPACT and not EIGHT_DIGITS.fullmatch(str(value)):
        return np.nan
    if isinstance(value, str) and form is not None:
        try:
            is_iso = form == ISO_8601 and ISO.fullmatch(value) is not None
            value = pd.Timestamp(value) if is_iso else datetime.datetime.strptime(value, form)
        except ValueError:
            return np.nan
    if not isinstance(value, DATES):
        return np.nan
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = pd.Timestamp(value).tz_convert(zone or "UTC").tz_localize(None)
    return day_of(value)


def check_later(column: pd.Series, days: np.ndarray, form: str | None) -> VectorLike:
    """A value of a column that is no date and not missing, or None.

    Raises ValueError, naming the column, if they are more than single ones: it has another type or format.
    """
    expected = "dates by type" if form is None else f"dates by type, or as text in the format {form}"
    return other_of(column, np.isnan(days), expected, "; convert it by pandas.to_datetime")


def other_of(column: pd.Series, is_unknown: np.ndarray, expected: str, advice: str = "") -> VectorLike:  # (N,), (N,)
    """One of the unknown values of a column that are not missing, or None.

    Raises ValueError, naming the column, if they are more than single ones.
    """
    others = [
        value for value in column[is_unknown].dropna() if not (isinstance(value, str) and value.strip() in NO_TIME)
    ]
    known = int((~is_unknown).sum())
    if others and (known == 0 or len(others) > max(1, (1 - NEARLY_ALL) * (known + len(others)))):
        came = f"{others[0]!r} in column {column.name!r}"
        raise ValueError(f"X: expected {expected}, as in training, got {came}{advice}")
    return min(others, key=str, default=None)


def part_of(part: str, days: np.ndarray) -> np.ndarray:  # (N,) -> (N,)
    """One of PARTS of dates, or a sine or a cosine of another cycle; NaN where they are."""
    match part.split("_"):
        case [cycle, wave]:
            return {"sin": np.sin, "cos": np.cos}[wave](2 * np.pi * (days / CYCLES[cycle] % 1))
        case ["weekday"]:
            return (np.floor(days) + 3) % 7  # Monday is 0, and 1970 began on a Thursday
        case ["hour"]:
            return (days % 1 * 24).round(6) % 24  # or rounding would make equal hours differ
        case [("year" | "month") as unit]:
            times = (np.nan_to_num(days) * MICROSECONDS).round().astype("i8").astype("M8[us]")
            values = times.astype(f"M8[{unit[0].upper()}]").astype(int)
            return np.where(np.isnan(days), np.nan, values + 1970 if unit == "year" else values % 12 + 1)
    return days


def varying_parts(days: np.ndarray) -> list[str]:  # (N,) ->
    """The PARTS that vary among dates; cycles of a year only where months do."""
    known = days[~np.isnan(days)]
    vary = {part for part in PARTS if len(np.unique(part_of(part, known))) > 1}
    if len(np.unique(np.floor(known))) == 1:
        vary.discard("days since 1970")  # times of a day, of which the hour says as much
    return [part for part in PARTS if part in vary and ("month" in vary or not part.startswith("year_"))]
