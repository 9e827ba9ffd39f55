"""Numbers in strings: "3.5 GHz", "$1,009.25", "1 234,50 EUR", "100 %", or two, as in "48.1, 2.3".

All strings of a column have one form, which is given as an example. That of "$1,009.25" is "$1,234.5": a currency, a
comma between thousands, and a decimal point. That of "48.1, 2.3" is "1.5, 2.5".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gln.engine.preprocessing.category_codes import MISSING

CURRENCY = r"US\$|[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
UNIT = r"(?:[^\W\d_]|[%°$€£¥₹'\"])\D{0,14}"
# A sign, a currency, digits with separators, an exponent, and a unit.
SHAPE = re.compile(
    rf"([-+]?)(?:({CURRENCY}) ?)?([-+]?)([.,]?\d(?:[\d.,' ]*\d)?)(e[-+]?\d+)?(?: ?({UNIT}))?", re.IGNORECASE
)
SEPARATORS = [
    (",", "."),
    (" ", "."),
    ("'", "."),
    (".", ","),
    (" ", ","),
]  # of thousands and decimals; the first that fits
FORM = re.compile(r"(.*)1([,. '])234([.,])5(.*)")
PAIR = re.compile(r"\(?([-+]?\d+(?:\.\d+)?)( ?[,;x] ?)([-+]?\d+(?:\.\d+)?)\)?")
PAIR_FORM = re.compile(r"1\.5( ?[,;x] ?)2\.5")
DURATION = re.compile(r"\d+(?::[0-5]\d){1,2}(?:\.\d+)?")
DURATIONS = "75:30"  # the form of minutes and seconds, or hours, minutes and seconds
SPACES = "\u00a0\u2009\u202f"
ALIKE = str.maketrans({**dict.fromkeys(SPACES, " "), "\u2212": "-", "\u2019": "'", "\u00d7": "x"})
SOME = 100  # strings that are tried first


class Printed(NamedTuple):
    """How the numbers of a column are printed."""

    form: str
    other: str | None = None  # another form that fits, and gives other numbers


def form_of(texts: pd.Series) -> Printed | None:
    """The form that all of these strings but missing ones have; None if there is none, or if all are plain whole
    numbers, which may be codes."""
    values = texts.unique()
    if _form_of(_cleaned(values[:SOME])) is None:  # most columns are ruled out by a few
        return None
    return _form_of(_cleaned(values))


def numbers_in(column: pd.Series, form: str) -> np.ndarray:  # (N,) -> (N, k)
    """The k numbers of strings of this form; NaN for all else."""
    indices, values = pd.factorize(column.astype(object))
    numbers = [numbers_of(value, form) for value in (*values, None)]
    return np.array(numbers, np.float64)[indices]  # -1: a missing value


def numbers_of(value: object, form: str) -> tuple[float, ...]:  # -> k
    """The k numbers of a string of this form; NaN for all else."""
    numbers = parser(form)(_clean(value)) if isinstance(value, str) else None
    return numbers or width(form) * (np.nan,)


def width(form: str) -> int:
    """How many numbers are in a string of this form."""
    return 2 if PAIR_FORM.fullmatch(form) else 1


def is_form(form: str) -> bool:
    return form == DURATIONS or bool(PAIR_FORM.fullmatch(form) or FORM.fullmatch(form))


@functools.cache
def parser(form: str) -> Callable[[str], tuple[float, ...] | None]:
    """What gives the numbers in a string, or None if it has another form."""
    if form == DURATIONS:
        return _duration
    pair = PAIR_FORM.fullmatch(form)
    single = FORM.fullmatch(form)
    if pair is not None:
        return functools.partial(_pair, pair[1])
    assert single is not None, form
    currency, thousands, decimal, unit = single.groups()
    digits = _digits(thousands, decimal)

    def parse(text: str) -> tuple[float, ...] | None:
        shape = SHAPE.fullmatch(text)
        if shape is None or _affixes(shape) != (currency, unit) or digits.fullmatch(shape[4]) is None:
            return None
        return (_value(shape, thousands, decimal),)

    return parse


def _clean(text: str) -> str:
    return text.translate(ALIKE).strip()


def _cleaned(texts: Iterable[str]) -> list[str]:
    """Strings that are not missing."""
    return [text for text in map(_clean, texts) if text not in MISSING]


def _form_of(values: Sequence[str]) -> Printed | None:
    if not values:
        return None
    if DURATION.fullmatch(values[0]):
        are_alike = all(DURATION.fullmatch(value) for value in values)
        return Printed(DURATIONS) if are_alike and len({value.count(":") for value in values}) == 1 else None
    shapes = [shape for shape in map(SHAPE.fullmatch, values) if shape is not None]
    if len(shapes) < len(values):
        return _form_of_pairs(values)
    if len({*map(_affixes, shapes)}) > 1:
        return None
    currency, unit = _affixes(shapes[0])
    if not (currency or unit) and all(shape[4].isdigit() for shape in shapes):
        return None
    fitting = [pair for pair in SEPARATORS if all(_digits(*pair).fullmatch(shape[4]) for shape in shapes)]
    if not fitting:
        return None if currency or unit else _form_of_pairs(values)
    forms = [f"{currency}1{pair[0]}234{pair[1]}5{unit}" for pair in fitting]
    numbers = [[_value(shape, *pair) for shape in shapes] for pair in fitting]
    others = [form for form, parsed in zip(forms, numbers, strict=True) if parsed != numbers[0]]
    return Printed(forms[0], others[0] if others else None)


def _form_of_pairs(values: Sequence[str]) -> Printed | None:
    pairs = [pair for pair in map(PAIR.fullmatch, values) if pair is not None]
    if len(pairs) < len(values) or len({pair[2] for pair in pairs}) > 1:
        return None
    between = pairs[0][2]
    if between.strip() in ",;" and not any("." in value for value in values):
        return None  # perhaps decimals, or a list of codes
    return Printed(f"1.5{between}2.5")


def _digits(thousands: str, decimal: str) -> re.Pattern[str]:
    between = re.escape(thousands)
    point = re.escape(decimal)
    return re.compile(rf"(?:0|[1-9]\d*|[1-9]\d{{0,2}}(?:{between}\d{{3}})+)(?:{point}\d+)?|{point}\d+")


def _affixes(shape: re.Match[str]) -> tuple[str, str]:
    """The currency before a number, and the unit after it."""
    unit = (shape[6] or "").rstrip()
    return shape[2] or "", f" {unit}" if unit else ""


def _value(shape: re.Match[str], thousands: str, decimal: str) -> float:
    digits = shape[4].replace(thousands, "").replace(decimal, ".")
    return float(f"{shape[1] or shape[3]}{digits}{shape[5] or ''}")


def _pair(between: str, text: str) -> tuple[float, ...] | None:
    pair = PAIR.fullmatch(text)
    return None if pair is None or pair[2] != between else (float(pair[1]), float(pair[3]))


def _duration(text: str) -> tuple[float, ...] | None:
    """A duration in units of its first number."""
    if DURATION.fullmatch(text) is None:
        return None
    return (sum(float(number) / 60**power for power, number in enumerate(text.split(":"))),)
