"""What columns are taken for: texts, dates and ids are found, genuine numbers and categories are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gln.engine.preprocessing.columns import find_columns
from gln.engine.saving import Arrays, decoded, encoded
from gln.engine.warn import warn_of

N = 200
RNG = np.random.default_rng(0)
WORDS = np.array(["tea", "cup", "of", "the", "with", "and", "great", "stale"])


def found(values, name="x", text="auto", categorical="from_dtype"):
    frame = pd.DataFrame({name: values, "other": np.arange(N) % 2 * 1.0})
    return find_columns(frame, categorical, text)[0].columns[0].kind


SENTENCES = [" ".join(RNG.choice(WORDS, 6)) for _ in range(N)]
KEYS = [f"B{number:05d}" for number in RNG.permutation(N)]
FOUND: dict[str, dict[str, Any]] = {
    "text": {
        "review": SENTENCES,
        "title": [*SENTENCES[:180], *20 * [None]],
        "comment": [f"第{i}次的评论写得非常好" for i in range(N)],
    },
    "id": {
        **{"id": RNG.permutation(N), "orderId": RNG.permutation(10**6)[:N], "user_id": np.arange(N)},
        **{"rownames": np.arange(1, N + 1), "asin": KEYS},
    },
    "number": {
        **{"price": RNG.permutation(10**5)[:N], "time": np.arange(N), "area": RNG.permutation(N) + 50},
        **{"id": np.arange(N) // 2, "timestamp": 1_600_000_000 + np.arange(N), "year": np.arange(1800, 1800 + N)},
        **{"digits": np.arange(20200101, 20200101 + N)},
        **{"customer_id": np.arange(N) + 0.5, "width": RNG.permutation(N), "paid": RNG.permutation(N)},
    },
    "category": {
        **{"zip": [f"{i % 90:05d}" for i in range(N)], "city": RNG.choice(["New York City", "Rio de Janeiro"], N)},
        **{"job": RNG.choice([f"head of group {i}" for i in range(40)], N), "code": [str(i) for i in range(N)]},
        **{"dose": pd.Categorical(KEYS), "note": pd.Categorical(SENTENCES), "name": [f"{key} Smith" for key in KEYS]},
        **{
            "weight": ["3 lb", *[f"{i} kg" for i in range(N - 1)]],
            "door": [f"{i % 50}{'AB'[i % 2]}" for i in range(N)],
        },
        **{"speed": [*[f"{i} km/h" for i in range(N - 1)], "fast"], "list": [f"{i}, {i % 7}" for i in range(N)]},
        "often": [*KEYS[:-1], KEYS[0]],
        "some": [*pd.date_range("2020", periods=N - 11).astype(str), *["unknown"] * 11],
    },
    "number in text": {
        **{"clock": [f"{i / 10} GHz" for i in range(N)], "share": [f"{i} %" for i in range(N)]},
        **{"price": [f"${1000 + 9 * i:,}" for i in range(N)], "salary": ["n/a", *[f"{i}.5" for i in range(N - 1)]]},
        **{"place": [f"{i / 10}, {i}" for i in range(N)], "lap": [f"{60 + i % 50}:{i % 60:02d}" for i in range(N)]},
    },
    "date": {
        **{"digits": pd.date_range("2020", periods=N).strftime("%Y%m%d").astype(int)},
        **{
            "time": [f"{i % 24}:{i % 60:02d}" for i in range(N)],
            "short": [f"8/{1 + i % 31}/20 17:21" for i in range(N)],
        },
        "day": pd.date_range("2020", periods=N),
        "text day": pd.date_range("2020", periods=N).strftime("%d.%m.%Y"),
        **{
            f"{text} day": [text, *pd.date_range("2020", periods=N - 1).astype(str)] for text in ("n/a", "?", "unknown")
        },
        "sheet": [*pd.date_range("2020", periods=N - 1), "unknown"],
        "rest": [*pd.date_range("2020", periods=N - 10).astype(str), *["unknown"] * 10],
    },
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, columns in FOUND.items() for name in columns])
def test_what_a_column_is_taken_for(kind, name):
    assert found(FOUND[kind][name], name) == kind


def test_what_values_or_names_tell_is_said_once_with_how_to_change_it():
    frame = pd.DataFrame({"review": SENTENCES, "key": KEYS, "day": pd.Series(["03/04/2021", "01/02/2021"] * (N // 2))})
    frame["when"] = pd.date_range("2020", periods=N).strftime("%Y-%m-%d")
    frame["typed"], frame["same"] = pd.to_datetime(frame.when), pd.Timestamp("2020")
    columns, found = find_columns(frame, "from_dtype", "auto")
    notes = [note.text.format(repr(note.name)) for note in found]
    for name, words in {
        "review": "becomes texts.*text_features",
        "key": "left out.*dtype 'category'",
        "day": "cannot be told if day or month.*to_datetime",
        "when": "dates, read as ISO 8601.*dtype 'category'",
        "same": "all of its dates are equal",
    }.items():
        assert [note for note in notes if f"'{name}'" in note and pd.Series([note]).str.contains(words)[0]], name
    assert len(notes) == 5
    with pytest.warns(UserWarning, match="^X: 0, 1, 2, 3, 4 and 2 more becomes dates"):
        warn_of("X: ", [found[3]._replace(name=i) for i in range(7)])
    shown = columns.shown(list(frame), {2: {"a": 0}})
    assert shown["treated as"].tolist() == ["text", "id", "category", "date", "date", "date"]
    assert shown.loc["same", "becomes"] == "nothing: constant"
    for given, text, kind in (  # nothing is told of what the user said
        (frame[["review", "typed"]], ["review"], "text"),
        (frame.astype({"review": "category"})[["review", "typed"]], "auto", "category"),
        (frame[["review"]], None, "category"),
    ):
        columns, none = find_columns(given, "from_dtype", text)
        assert (columns.of_kind(kind), none) == ([0], [])
    with pytest.raises(ValueError, match=r"text_features: expected columns that are not in categorical_features"):
        find_columns(frame, ["review"], ["review"])


def test_columns_are_saved_and_checked():
    frame = pd.DataFrame({"key": KEYS, "day": pd.date_range("2020", periods=N, tz="Asia/Tokyo"), "x": 1.0})
    arrays = Arrays()
    columns, _ = find_columns(frame, "from_dtype", "auto")
    assert columns.owners.tolist() == [1, 1, 1, 1, 1, 2]
    again = decoded("columns", encoded("columns", columns, arrays), arrays, None)
    assert again == columns
    again.check()
    again.columns[1].parts.append("century")
    with pytest.raises(ValueError, match="dates in known formats"):
        again.check()
    np.testing.assert_array_equal(columns.summed(np.ones((2, 6))), [[0, 5, 1]] * 2)
