"""Dates of tables: which columns are dates, their days and parts."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gln.engine.preprocessing.dates import (
    AMBIGUOUS,
    are_compact,
    check_later,
    day_in,
    days_in,
    format_of,
    is_date,
    part_of,
    varying_parts,
)

TIMES = pd.Series(pd.to_datetime(["2024-02-29 23:30", "1969-12-28 00:00", "2021-07-04 12:15"]))
DAYS = [19782 + 23.5 / 24, -4.0, 18812 + 12.25 / 24]  # by datetime.date.toordinal


@pytest.mark.parametrize(
    "column",
    [
        TIMES,
        TIMES.astype("datetime64[s]"),
        TIMES.astype(object),
        TIMES.dt.to_period("min"),
        TIMES.dt.tz_localize("Europe/Berlin"),
        TIMES.dt.tz_localize("Europe/Berlin").astype(object),
        pd.Series(TIMES.dt.to_pydatetime(), dtype=object),
    ],
)
def test_days_of_every_type_are_those_of_its_clock(column):
    assert is_date(column)
    zone = str(getattr(column.infer_objects().dtype, "tz", None) or "UTC")
    np.testing.assert_allclose(days_in(column, zone=zone), DAYS, rtol=0, atol=1e-9)
    with_missing = pd.concat([column, pd.Series([None], dtype=column.dtype)], ignore_index=True)
    assert np.isnan(days_in(with_missing, zone=zone)).tolist() == [False, False, False, True]


def test_parts_are_those_of_python():
    days, stamps = np.array([*DAYS, np.nan]), [time.to_pydatetime() for time in TIMES]
    parts: dict[str, Any] = {
        "year": [stamp.year for stamp in stamps],
        "month": [stamp.month for stamp in stamps],
        "weekday": [stamp.weekday() for stamp in stamps],
        "hour": [stamp.hour + stamp.minute / 60 for stamp in stamps],
        "hour_cos": [np.cos(2 * np.pi * (stamp.hour + stamp.minute / 60) / 24) for stamp in stamps],
    }
    for part, expected in parts.items():
        np.testing.assert_allclose(part_of(part, days), [*expected, np.nan], atol=1e-9)
    hours = part_of("hour", np.arange(24 * 500) / 24 + 19000)
    assert len(np.unique(hours)) == 24  # equal hours of different days are equal numbers


def test_parts_that_never_vary_are_left_out():
    day = pd.Timestamp("2024-03-04")
    assert varying_parts(days_in(pd.Series([day, day]))) == []
    weeks = pd.Series(pd.date_range(day, periods=4, freq="7D"))
    assert varying_parts(days_in(weeks)) == ["days since 1970"]
    assert varying_parts(days_in(weeks + pd.to_timedelta([0, 6, 12, 0], "h"))) == [
        *("days since 1970", "hour", "hour_sin", "hour_cos"),
    ]


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["2024-02-29", "2024-03-01T12:00:00+02:00"], "ISO 8601"),
        (["29/02/2024", "01/03/2024"], "%d/%m/%Y"),
        (["02/29/2024 10:30", "03/01/2024 11:00"], "%m/%d/%Y %H:%M"),
        (["03/04/2024", "01/03/2024"], AMBIGUOUS),
        (["03/03/2024", "04/04/2024"], "%d/%m/%Y"),  # the same in both orders
        (["5. May 2024"], None),
        (["5 May 2024", "16 Dec 2023"], "%d %b %Y"),
        (["May 5, 2024"], "%b %d, %Y"),
        (["2024-02-30"], None),
        (["2024-02-29", "unknown"], None),
        ([*19 * ["2024-02-29"], "unknown"], "ISO 8601"),
        (["unknown", *19 * ["13/02/2024"], "?", "n/a", ""], "%d/%m/%Y"),
        ([*18 * ["2024-02-29"], "unknown", "soon"], AMBIGUOUS),
        ([*18 * ["2024-02-29"], "?", "NaT"], "ISO 8601"),
        ([*30 * ["03/04/2024"], "13/04/2024", "unknown"], "%d/%m/%Y"),
        (["8/3/20 17:21", "8/25/20 5:01"], "%m/%d/%y %H:%M"),
        (["8/3/20 5:21 PM", "8/25/20 11:01 AM"], "%m/%d/%y %I:%M %p"),
        (["8/3/20", "3/8/20"], AMBIGUOUS),
        (["13:45", "0:05", "", " "], "%H:%M"),
        (["13:45", "75:30"], None),  # durations
        (["20200131", "20201231"], "%Y%m%d"),
        (["20200131", "20201301"], None),
        (["4711", "1234-05"], None),
        (["now", "today"], None),
    ],
)
def test_formats_of_texts(texts, form):
    assert format_of(pd.Series(texts)) == form
    if form not in (None, AMBIGUOUS):
        found = days_in(pd.Series([*texts, "soon", None]), form)
        others = ("unknown", "?", "n/a", "", " ", "NaT")
        assert np.isnan(found).tolist() == [text in others for text in texts] + [True, True]
        assert is_date(pd.Series([datetime.date(2024, 1, 1)], dtype=object))
        assert not is_date(pd.Series(texts))


def test_whole_numbers_that_are_all_dates():
    numbers = pd.Series([20200131, 20191231, 20210704])
    assert are_compact(numbers)
    days = days_in(numbers, "%Y%m%d")
    np.testing.assert_array_equal(days, days_in(pd.Series(["2020-01-31", "2019-12-31", "2021-07-04"]), "ISO 8601"))
    np.testing.assert_array_equal(days_in(numbers.astype(float), "%Y%m%d"), days)
    assert [day_in(number, "%Y%m%d") for number in numbers] == days.tolist()
    assert np.isnan(days_in(pd.Series([20200131.5, np.nan, 2020.0]), "%Y%m%d")).all()
    assert not are_compact(pd.Series([20200131, 20200132]))
    assert not are_compact(pd.Series([20200131, 20200131]))
    assert not are_compact(pd.Series(np.arange(20200101, 20200201)))
    assert varying_parts(days_in(pd.Series(["13:45", "7:05"]), "%H:%M")) == ["hour", "hour_sin", "hour_cos"]


ISO_DAYS = TIMES.dt.strftime("%Y-%m-%d").tolist() * 10


@pytest.mark.parametrize(
    ("values", "form", "other"),
    [
        (ISO_DAYS, "ISO 8601", None),
        ([*ISO_DAYS, "soon", "n/a", None, "NaT"], "ISO 8601", "soon"),
        (["soon", ISO_DAYS[0]], "ISO 8601", "soon"),
        ([*TIMES.dt.to_pydatetime(), "soon", "?"], None, "soon"),
        ([*TIMES.dt.to_pydatetime(), "soon", ISO_DAYS[0]], "ISO 8601", "soon"),
        (TIMES, "%d.%m.%Y", None),
        ([None, "n/a"], "ISO 8601", None),
        ([np.nan, np.nan], None, None),
    ],
)
def test_single_values_that_are_no_dates_are_missing(values, form, other):
    column = pd.Series(values, name="when")
    days = days_in(column, form)
    assert check_later(column, days, form) == other
    assert np.isnan(days).tolist() == [value in ("soon", "n/a", "NaT", "?") or pd.isna(value) for value in values]


@pytest.mark.parametrize("form", [None, "ISO 8601", "%d.%m.%Y"])
def test_columns_of_another_type_or_format_are_an_error(form):
    texts = {"ISO 8601": TIMES.dt.strftime("%Y-%m-%d"), "%d.%m.%Y": TIMES.dt.strftime("%d.%m.%Y")}
    columns: list[Any] = [column for own, column in texts.items() if own != form]
    columns += [TIMES.dt.strftime("%m.%d.%Y"), TIMES.dt.strftime("%Y%m%d").astype(int), TIMES.astype("i8"), ["soon"]]
    columns += [[1.5], [TIMES[0], 5, 6], [TIMES[0], *["soon"] * 2], [datetime.time(3)], [["soon", "now"]]]
    for values in columns:
        column = pd.Series(values, name="when")
        with pytest.raises(
            ValueError, match=r"X: expected dates by type.* in column 'when'; convert it by pandas.to_dat"
        ):
            check_later(column, days_in(column, form), form)
