"""Numbers in strings: their forms, and what is read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gln.engine.preprocessing.printed_numbers import form_of, numbers_in


@pytest.mark.parametrize(
    ("texts", "form", "numbers"),
    [
        (["3.5 GHz", "2GHz", " 1e3 GHz"], "1,234.5 GHz", [3.5, 2, 1000]),
        (["$1,009.25", "-$5.00", "$-3", "$.5"], "$1,234.5", [1009.25, -5, -3, 0.5]),
        (["1 234,50 EUR", "1\u00a0234 567,5 EUR", "\u221212,00 EUR"], "1 234,5 EUR", [1234.5, 1234567.5, -12]),
        (["100.05 %", "3%", "n/a", " "], "1,234.5 %", [100.05, 3, np.nan, np.nan]),
        (["12'000", "3'500.5"], "1'234.5", [12000, 3500.5]),
        (["12,5", "1,234"], "1.234,5", [12.5, 1.234]),
        (["0,123", "1,234"], "1.234,5", [0.123, 1.234]),
        (["1,234,567", "1,234"], "1,234.5", [1234567, 1234]),
        (["75:30", "12:15"], "75:30", [75.5, 12.25]),
        (["48.1, 2.3", "(47, -1.25)"], "1.5, 2.5", [[48.1, 2.3], [47, -1.25]]),
        (["1920x1080", "800\u00d7600"], "1.5x2.5", [[1920, 1080], [800, 600]]),
    ],
)
def test_what_is_read(texts, form, numbers):
    assert form_of(pd.Series(texts)) == (form, None)
    found = numbers_in(pd.Series([*texts, None, "soon", 3.5], dtype=object), form)
    np.testing.assert_array_equal(found[: len(texts)], np.array(numbers, float).reshape(len(texts), -1))
    assert np.isnan(found[len(texts) :]).all()


@pytest.mark.parametrize(
    ("texts", "form", "other"),
    [
        (["1,234", "5,678"], "1,234.5", "1.234,5"),
        (["1.234 kg", "2.345 kg"], "1,234.5 kg", "1.234,5 kg"),
    ],
)
def test_another_form_that_gives_other_numbers_is_told(texts, form, other):
    assert form_of(pd.Series(texts)) == (form, other)


@pytest.mark.parametrize(
    "texts",
    [
        ["12 kg", "3 lb"],
        ["$5", "\u20ac3"],
        ["3.5 GHz", "fast"],
        ["1", "2"],  # perhaps codes
        ["007.5", "2.5"],
        ["Q1", "Q2"],
        ["1st", "2nd"],
        ["1.2.3", "1.2.4"],
        ["5 - 10", "1 - 3"],
        ["1, 2", "3, 4"],  # perhaps decimals, or a list
        ["48.1, 2.3", "48.1; 2.3"],
        ["1,23,456", "1"],
        ["n/a", ""],
        [],
    ],
)
def test_what_has_no_single_form_is_left(texts):
    assert form_of(pd.Series(texts, dtype=object)) is None
