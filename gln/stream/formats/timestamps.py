"""ISO 8601 dates and times as numbers.

A column `time` becomes the days since 1970, and for each of its cycles a sine and a cosine: `time.hour_sin`,
`time.hour_cos`, `time.weekday_sin`, ... An offset such as +02:00 is taken into account; without one, times are UTC.

Shapes: N samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

__all__ = ["MICROSECONDS", "cycles_of", "days_of", "features_of", "known_cycles"]

CYCLES = {"hour": 1.0, "weekday": 7.0, "year": 365.2425}  # days that each takes
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?Z| ?[+-]\d\d(:?\d\d)?)?)?")
MICROSECONDS = 86_400_000_000  # of a day


def days_of(texts: Sequence[str | None]) -> np.ndarray:  # N -> (N,)
    """Days since 1970; NaN for None, and for what is no date or time."""
    given = [text if text is not None and ISO.fullmatch(text) else None for text in texts]  # pandas also takes "now"
    times = pd.to_datetime(pd.Index(given, dtype=object), format="ISO8601", utc=True, errors="coerce").as_unit("us")
    return np.where(times.isna(), np.nan, times.asi8 / MICROSECONDS)


def cycles_of(days: np.ndarray) -> list[str]:  # (N,) ->
    """The cycles of a column with these values: of times, or of dates.

    Measured on streams of `benchmarks.stream_data` with a time instead of the hour: the hour lowers the log-loss of
    weather from .564 to .471 and of electricity from .239 to .210, the weekday that of flights by .003; the year raises
    two of three. For dates, weekday and year lower the absolute error of births from .737 to .208, the weekday .226.
    """
    return ["hour", "weekday"] if (days % 1 > 0).any() else ["weekday", "year"]


def known_cycles(known: Mapping[str, bool]) -> dict[str, list[str]]:
    """The columns that a model reads as timestamps, and their cycles."""
    found: dict[str, list[str]] = {}
    for name in known:
        column, _, part = name.rpartition(".")
        cycle = part.removesuffix("_sin")
        if cycle != part and cycle in CYCLES and known.get(column) is False:
            found.setdefault(column, []).append(cycle)
    return found


def features_of(name: str, days: np.ndarray, cycles: Iterable[str]) -> dict[str, np.ndarray]:  # (N,) -> (N,) each
    """The features of a column of timestamps, by name."""
    features = {name: days}
    for cycle in cycles:
        angles = 2 * np.pi * (days / CYCLES[cycle] % 1)
        features |= {f"{name}.{cycle}_sin": np.sin(angles), f"{name}.{cycle}_cos": np.cos(angles)}
    return features
