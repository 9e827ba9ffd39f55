"""A fitted model lives: `partial_fit` after `fit` with something new, in columns of all kinds."""

# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from gln.sklearn import GLNClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 4, "n_epochs": 4, "random_state": 0}
ROWS, NEW, KNOWN = 600, 5, slice(0, 35, 7)  # `KNOWN` are the rows of the control that have what is new
WORDS = np.array([f"{a}{b}" for a in "bcdfgklmnprst" for b in ("ato", "emu", "ilo", "oru")], object)
LEVELS = {"few": 4, "ten": 10, "many": 50, "id": ROWS // 2, "declared": 6}
# Kinds of columns, what may be new in them, and whether a quick test has it.
CASES = [
    *[("number", "scale", True), ("number", "missing", True), ("gaps", "scale", False), ("counts", "scale", False)],
    *[("counts", "missing", False), ("bool", "missing", False), ("few", "level", True), ("few", "missing", False)],
    *[("ten", "level", True), ("ten", "missing", False), ("many", "level", True), ("many", "missing", False)],
    *[("id", "level", False), ("date", "later", True), ("date", "missing", False), ("text", "words", True)],
    *[("text", "missing", False), ("declared", "level", True), ("declared", "undeclared", False)],
]
MARKED = [pytest.param(*case, marks=() if quick else pytest.mark.slow) for *case, quick in CASES]


class Data(NamedTuple):
    """Tables of one column of a kind and a number, with something new in the same rows, and their targets."""

    X: pd.DataFrame
    y: np.ndarray
    new: pd.DataFrame
    new_y: np.ndarray
    known: pd.DataFrame  # `X` with what is new in a few rows
    known_y: np.ndarray
    later: pd.DataFrame  # without anything new
    later_y: np.ndarray


class Moved(NamedTuple):
    by_scales: float  # how far the rows of `later` moved without a step of the networks, in standard deviations
    by_rows: float  # with steps, relative to how wrong the new rows were predicted
    score: float  # before
    score_after: float


def values_of(kind: str, count: int, rng: np.random.Generator) -> tuple[pd.Series, np.ndarray]:
    """A column, and what it adds to the target."""
    if kind in LEVELS:
        codes = rng.integers(0, LEVELS[kind], count)
        effects = 1.5 * np.random.default_rng(7).normal(size=LEVELS[kind])
        return pd.Series([f"l{code}" for code in codes], dtype=object), effects[codes]
    if kind == "date":
        days = rng.integers(0, 365, count)
        dates = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D"))
        return dates, 2 * np.sin(2 * np.pi * days / 365)
    if kind == "text":
        chosen, effects = rng.integers(0, len(WORDS), (count, 6)), np.random.default_rng(8).normal(size=len(WORDS))
        return pd.Series([" ".join(words) for words in WORDS[chosen]], dtype=object), 0.7 * effects[chosen].sum(axis=1)
    if kind == "bool":
        flags = rng.random(count) < 0.5
        return pd.Series(flags), 2.0 * flags
    numbers = rng.poisson(4, count) if kind == "counts" else rng.normal(0, 3, count)
    is_known = rng.random(count) < 0.9 if kind == "gaps" else np.ones(count, bool)
    return pd.Series(numbers).where(is_known), np.where(is_known, 2 * np.sin(numbers / 2), 1)


def with_new(frame: pd.DataFrame, rows: Any, kind: str, new: str) -> pd.DataFrame:
    """The table with something new in some rows."""
    values = {
        "missing": [None] * NEW,
        "level": ["l6" if kind == "declared" else "unheard"] * NEW,
        "undeclared": ["unheard"] * NEW,
        "later": list(pd.date_range("2021-06-01", periods=NEW, freq="20D")),
        "words": [f"unheard{i} of words{i}" for i in range(NEW)],
    }
    if new == "scale":
        return frame.assign(f=frame["f"].astype(float).where(~frame.index.isin(frame.index[rows]), 100.0))
    column = frame["f"].astype(object)
    column.iloc[rows] = values[new]
    return frame.assign(f=pd.to_datetime(column) if kind == "date" else column)


def data_of(kind: str, new: str, is_number: bool) -> Data:
    rng = np.random.default_rng(0)

    def table(count: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        values, effects = values_of(kind, count, rng)
        x = rng.normal(size=count)
        return pd.DataFrame({"f": values, "x": x}), effects, x + rng.normal(0, 0.3, count)

    def as_given(frame: pd.DataFrame) -> pd.DataFrame:
        if kind != "declared":
            return frame
        extra = ["unheard"] if (frame["f"] == "unheard").any() else []
        return frame.astype({"f": pd.CategoricalDtype([*(f"l{i}" for i in range(7)), *extra])})

    X, effects, others = table(ROWS)
    cut = np.median(effects + others)
    of_known = effects.copy()
    of_known[KNOWN] = 1.5
    row, _, of_row = table(NEW)
    later, of_later, of_others = table(1000)
    frames = X, with_new(row, slice(None), kind, new), with_new(X, KNOWN, kind, new), later
    targets = effects + others, 1.5 + of_row, of_known + others, of_later + of_others
    pairs = zip(map(as_given, frames), targets, strict=True)
    parts: list[Any] = [part for frame, y in pairs for part in (frame, y if is_number else (y > cut).astype(int))]
    return Data(*parts)


def moved(data: Data, X: pd.DataFrame, y: np.ndarray, is_number: bool) -> Moved:
    kind, unit = (GLNRegressor, data.later_y.std()) if is_number else (GLNClassifier, 1.0)

    def predicted(model: Any, rows: pd.DataFrame) -> np.ndarray:
        return model.predict(rows) / unit if is_number else model.predict_proba(rows)[:, 1]

    model = kind(**SMALL).fit(X, y)
    still = copy.deepcopy(model)
    before, score = predicted(model, data.later), model.score(data.later, data.later_y)
    surprise = np.abs(predicted(model, data.new) - data.new_y / unit).mean()
    still.set_params(partial_learning_rate=0.0).partial_fit(data.new, data.new_y)
    model.partial_fit(data.new, data.new_y)
    by_scales = np.abs(predicted(still, data.later) - before).mean()
    by_rows = np.abs(predicted(model, data.later) - before).mean() / surprise
    return Moved(by_scales, by_rows, score, model.score(data.later, data.later_y))


@pytest.mark.filterwarnings("ignore:X")
@pytest.mark.parametrize("is_number", [True, False], ids=["number", "class"])
@pytest.mark.parametrize(("kind", "new"), MARKED)
def test_five_rows_with_something_new_move_old_predictions_as_if_it_had_been_known(kind, new, is_number):
    data = data_of(kind, new, is_number)
    fitted = moved(data, data.X, data.y, is_number)
    control = moved(data, data.known, data.known_y, is_number)
    print(f"{kind:8} {new:10} {'number' if is_number else 'class':6}", *(f"{value:.4f}" for value in fitted + control))
    assert fitted.by_scales < max(0.03, 1.3 * control.by_scales)
    assert fitted.by_rows < max(0.2 if is_number else 0.12, 1.3 * control.by_rows)
    assert fitted.score_after > fitted.score - (0.09 if is_number else 0.02)  # the steps of a stream are that long
