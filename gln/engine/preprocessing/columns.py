"""What each column of a table is, decided once: numbers, a category, dates, texts, or ids, which are left out.

Numbers and categories stay one column each, and strings may hold one or two numbers. Dates become the parts of them
that vary, and texts what a linear model predicts from their words, one column per head.

Shapes: N rows, F columns of the table, D columns made from them.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gln.engine.preprocessing import category_codes, dates, printed_numbers
from gln.engine.preprocessing.category_codes import column_of
from gln.engine.preprocessing.texts import TYPICAL, TextModel, TextWords, counts_of, has_no_spaces, texts_of
from gln.engine.saving import bad, saved
from gln.engine.types import ColumnNames, MatrixLike, VectorLike
from gln.engine.warn import Note

NUMBER = "number"
CATEGORY = "category"
DATE = "date"
TEXT = "text"
ID = "id"
PRINTED = "number in text"
FEWEST_IDS = 50  # rows, or chance makes values differ
FEWEST_WORDS = 3  # of a text
DISTINCT = 0.5  # of a column of texts
ID_NAME = re.compile("(.*[^a-z])?(id|uid|uuid|guid|rownames?|row_?(id|nr|no|number)|index|unnamed: 0)")
OF_OTHERS = {
    DATE: "{} has values that are no dates, which count as missing",
    PRINTED: "{} has values that are no such numbers, which count as missing",
}
# Of what several rows belong to: patient, patient_id, userName.
GROUP_NAME = re.compile(
    "(.*[^a-z])?(id|uid|uuid|guid)|name|(user|customer|client|patient|subject|person|participant|student|player|member"
    "|account|device|household|family|session)(_?(name|nr|no|number|key))?"
)
FEWEST_GROUPS = 10  # values of a column that is named so, each of which occurs twice, on average
AS_CATEGORY = "give it the dtype 'category' to make it a category"


@saved(kind=str, told_by=str, form=(str, None), zone=(str, None), parts=[str], of_characters=bool)
@dataclasses.dataclass(frozen=True)
class Column:
    kind: str = NUMBER
    told_by: str = "its type"
    form: str | None = None  # of dates and numbers that come as text
    zone: str | None = None  # of clocks, for dates that have one
    parts: list[str] = dataclasses.field(default_factory=list)  # of dates, that vary
    of_characters: bool = False  # whether texts are of a language without spaces

    def width(self, heads: int = 0) -> int:
        """How many columns it becomes; texts become one for each of so many heads."""
        printed = printed_numbers.width(self.form) if self.kind == PRINTED and self.form else 0
        return {DATE: len(self.parts), TEXT: heads, ID: 0, PRINTED: printed}.get(self.kind, 1)

    def read(self, given: pd.Series) -> tuple[np.ndarray, VectorLike]:  # (N,) -> (N,)
        """Days, or the first number of each string, NaN for what is none; and such a value that is not missing, or
        None. Raises ValueError for several."""
        if self.kind == DATE:
            days = dates.days_in(given, self.form, self.zone)
            return days, dates.check_later(given, days, self.form)
        numbers = printed_numbers.numbers_in(given, str(self.form))[:, 0]
        return numbers, dates.other_of(given, np.isnan(numbers), f"numbers in text, such as {self.form!r}")

    @property
    def is_known(self) -> bool:
        """Whether the form and the parts are some that can be read."""
        if self.kind == PRINTED:
            return self.form is not None and printed_numbers.is_form(self.form)
        return self.form in (None, *dates.FORMATS) and {*self.parts} <= {*dates.PARTS}


@saved(columns=[Column], heads=int, texts={int: TextModel})
@dataclasses.dataclass
class Columns:
    """What all columns of a table are, and what they become."""

    columns: list[Column]  # F
    heads: int = 0  # columns that each text becomes
    texts: dict[int, TextModel] = dataclasses.field(default_factory=dict)  # by column, once they are fitted

    def of_kind(self, kind: str) -> list[int]:
        return [index for index, column in enumerate(self.columns) if column.kind == kind]

    @property
    def has_others(self) -> bool:
        """Whether there are columns that are neither numbers nor categories."""
        return any(column.kind not in (NUMBER, CATEGORY) for column in self.columns)

    @property
    def owners(self) -> np.ndarray:  # (D,)
        """The column of the table that each column is made from."""
        widths = [column.width(self.heads) for column in self.columns]
        return np.arange(len(widths)).repeat(widths)

    def check(self) -> None:
        are_known = all(column.is_known for column in self.columns)
        sizes = {len(model.offset) for model in self.texts.values()}
        if not are_known or [*self.texts] != (self.of_kind(TEXT) if self.heads else []) or not sizes <= {self.heads}:
            raise bad("columns", f"dates in known formats and models of {self.heads} heads for texts", str(sizes))

    def with_new(self, X: pd.DataFrame, categorical: ColumnNames) -> tuple[Columns, list[Note]]:
        """These and the columns of a frame that come after them, and what to tell of these. They are what `fit` finds,
        but texts are categories."""
        if np.asarray(categorical).dtype == bool:  # a mask of the first table
            categorical = np.flatnonzero(categorical)
        new, notes = find_columns(X, categorical, None, start=len(self.columns))
        return dataclasses.replace(self, columns=self.columns + new.columns), notes

    # ---- Tables ----------------------------------------------------------------------------------------------------

    def as_numbers(self, X: MatrixLike) -> tuple[MatrixLike, list[Note]]:
        """A table (N, F) with days instead of dates, hashes instead of texts, and 0 instead of ids, and what to tell
        of its values. Raises ValueError for columns of another type or format."""
        values: dict[int, VectorLike] = {}
        notes = []
        for index, column in enumerate(self.columns):
            if column.kind in OF_OTHERS:
                given = column_of(X, index)
                values[index], other = column.read(given)
                if other is not None:
                    notes.append(Note(OF_OTHERS[column.kind], given.name, f"{given.name!r} (such as {other!r})"))
            elif column.kind == TEXT:
                texts = column_of(X, index)
                values[index] = np.where(texts.isna(), np.nan, pd.util.hash_array(texts_of(texts)) / 2.0**64)
            elif column.kind == ID:
                values[index] = np.zeros(len(X))
        return category_codes.with_columns(X, values), notes

    def words(self, X: MatrixLike) -> dict[int, TextWords]:
        kinds = {index: self.columns[index].of_characters for index in self.of_kind(TEXT)}
        return {index: TextWords(kind, counts_of(column_of(X, index), kind)) for index, kind in kinds.items()}

    def made_from(self, numbers: np.ndarray, X: MatrixLike) -> np.ndarray:  # (N, F), (N, F) -> (N, D)
        """The columns made from a table and its numbers; before texts are fitted, hashes stand for them."""
        made: list[np.ndarray] = []
        for index, column in enumerate(self.columns):
            values = numbers[:, index : index + 1]
            if column.kind == DATE:
                made += [dates.part_of(part, values[:, 0])[:, None] for part in column.parts]
            elif column.kind == TEXT:
                model = self.texts.get(index)
                texts = column_of(X, index)
                made.append(values.repeat(self.heads, axis=1) if model is None else model.transform(texts))
            elif column.kind == PRINTED and column.width() > 1:
                made.append(printed_numbers.numbers_in(column_of(X, index), str(column.form)))
            elif column.kind != ID:
                made.append(values)
        return np.concatenate([numbers[:, :0], *made], axis=1)

    def summed(self, values: np.ndarray) -> np.ndarray:  # (..., D) -> (..., F)
        """What belongs to the columns made from a table, summed by column of the table."""
        sums = [values[..., self.owners == index].sum(axis=-1) for index in range(len(self.columns))]
        return np.stack(sums, axis=-1)

    def words_of(
        self, X: MatrixLike, made: np.ndarray, contributions: np.ndarray
    ) -> list[tuple[int, int, str, np.ndarray]]:
        """Row, column, word and contributions (C,) of each word of a table's texts.

        Shapes: (N, F), the columns made from it (N, D), and the contributions of these (C, N, D).
        """
        words = []
        for index, model in self.texts.items():
            owned = self.owners == index
            for row, text in enumerate(texts_of(column_of(X, index))):
                divided = model.divided(text, made[row, owned], contributions[:, row, owned])
                words += [(row, index, *pair) for pair in divided]
        return words

    def shown(self, names: Sequence[Any], levels: Mapping[int, Mapping]) -> pd.DataFrame:
        """A table for people: a row for each column."""
        becomes = []
        for index, column in enumerate(self.columns):
            texts = f"what its words predict ({self.heads})" if self.heads else "nothing: too many classes"
            parts = ", ".join(column.parts) or "nothing: constant"
            printed = f"{'a number' if column.width() == 1 else 'two numbers'}, read as {column.form}"
            descriptions = {NUMBER: "itself", ID: "nothing", TEXT: texts, DATE: parts, PRINTED: printed}
            becomes.append(descriptions.get(column.kind, f"a category of {len(levels.get(index, ()))} levels"))
        kinds, told_by = zip(*((column.kind, column.told_by) for column in self.columns), strict=True)
        return pd.DataFrame(
            {"treated as": kinds, "becomes": becomes, "told by": told_by}, pd.Index(names, name="column")
        )


# ---- Finding out -----------------------------------------------------------------------------------------------------


def find_columns(
    X: MatrixLike, categorical: ColumnNames, text: ColumnNames, start: int = 0
) -> tuple[Columns, list[Note]]:
    """What the columns of a dense table are, and what to tell: what values or names decided.

    `categorical` and `text` are the estimators' `categorical_features` and `text_features`. The columns before `start`
    are known: those after it are new to a fitted model, and dates among them become all their parts, because a few rows
    do not tell which vary.
    """
    categories = category_codes.categorical_columns(X, categorical)
    texts = category_codes.chosen_columns("text_features", X, text, "auto", [])
    is_auto = isinstance(text, str)
    named = not isinstance(categorical, str) and categorical is not None
    both = [*{*categories} & {*texts}] if named else []
    if both:
        raise ValueError(f"text_features: expected columns that are not in categorical_features, got {both}")
    columns = []
    notes = []
    for index in range(start, X.shape[1]):
        values = column_of(X, index)
        if index in texts:
            column = Column(TEXT, "text_features", of_characters=has_no_spaces(values))
        elif named and index in categories:
            column = Column(CATEGORY, "categorical_features")
        else:
            column = _detected(values, isinstance(X, pd.DataFrame) and X.shape[1] > 1, is_auto) or Column()
            column = Column(CATEGORY) if index in categories and column.kind == NUMBER else column
        if start and column.kind == DATE:
            column = dataclasses.replace(column, parts=[*dates.PARTS])
        is_constant = column.kind == DATE and not column.parts
        if is_constant or (column.told_by != "its type" and column.told_by.startswith("its")):
            notes.append(Note(_note(column), values.name))
        columns.append(column)
    return Columns(columns), notes


def repeated_ids(X: MatrixLike) -> list[Hashable]:
    """The columns of a frame that are named like an id, and whose values repeat: rows may belong together."""
    repeated: list[Hashable] = []
    names = X.columns if isinstance(X, pd.DataFrame) else ()
    for index, name in enumerate(names):
        column = X.iloc[:, index]
        is_named = GROUP_NAME.fullmatch(category_codes.snake_case(name)) and column.dtype.kind not in "bfcmM"
        if is_named and FEWEST_GROUPS <= column.nunique() <= column.count() / 2:
            repeated.append(name)
    return repeated


def _note(column: Column) -> str:
    if column.kind == DATE and not column.parts:
        return "{} is left out, because all of its dates are equal"
    if column.kind == DATE and column.form == dates.COMPACT:
        return f"{{}} becomes dates, read as {column.form}; convert it to float to make it a number, or {AS_CATEGORY}"
    if column.kind == DATE:
        return f"{{}} becomes dates, read as {column.form}; {AS_CATEGORY}"
    if column.kind == PRINTED:
        doubt = column.told_by.removeprefix("its values")
        advice = f"convert it to float to choose, or {AS_CATEGORY}" if doubt else AS_CATEGORY
        return f"{{}} becomes numbers, read as {column.form}{doubt}; {advice}"
    if column.kind == TEXT:
        return f"{{}} becomes texts, of which words are learned; {AS_CATEGORY}, or name all texts in text_features"
    if column.kind == CATEGORY:
        doubt = "it cannot be told if day or month is first, or many values are none"
        return f"{{}} may be dates, but becomes a category: {doubt}; convert it by pandas.to_datetime"
    return f"{{}} is left out, because it names rows; convert it to float to make it a number, or {AS_CATEGORY}"


def _detected(column: pd.Series, has_ids: bool, has_texts: bool) -> Column | None:
    """A column that is dates, texts or ids, or None."""
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind in "bfc":
        return None
    if column.dtype.kind in "iu" and dates.are_compact(column):
        days = dates.days_in(column, dates.COMPACT)
        return Column(DATE, "its values", form=dates.COMPACT, parts=dates.varying_parts(days))
    if dates.is_date(column):
        zone = getattr(column.infer_objects().dtype, "tz", None)
        zone = None if zone is None else str(zone)
        return Column(DATE, zone=zone, parts=dates.varying_parts(dates.days_in(column, zone=zone)))
    if column.dtype.kind in "iu":
        name = category_codes.snake_case(column.name)
        is_id = has_ids and ID_NAME.fullmatch(name) and len(column) >= FEWEST_IDS and column.is_unique
        return Column(ID, "its name and values") if is_id else None
    return _detected_in_values(column, has_ids, has_texts)


def _detected_in_values(column: pd.Series, has_ids: bool, has_texts: bool) -> Column | None:
    """`_detected` for a column of objects, whose values decide."""
    texts = column.dropna().astype(object)
    types = {*map(type, texts)}
    if not all(issubclass(kind, (str, *dates.DATES)) for kind in types):
        return None
    texts = texts if types == {str} else texts.map(str)
    form = dates.format_of(texts)
    if form == dates.AMBIGUOUS:
        return Column(CATEGORY, "its values")
    if form is not None:
        return Column(DATE, "its values", form=form, parts=dates.varying_parts(dates.days_in(column, form)))
    printed = printed_numbers.form_of(texts)
    if printed is not None:
        doubt = "" if printed.other is None else f", though {printed.other} is possible"
        return Column(PRINTED, f"its values{doubt}", form=printed.form)
    some = texts.iloc[:: 1 + len(texts) // TYPICAL]
    if types != {str} or len(texts) < FEWEST_IDS or some.nunique() < DISTINCT * len(some):
        return None
    words = [len(text.split()) for text in some]
    share = texts.nunique() / len(texts)
    if has_texts and share >= DISTINCT:
        lacks_spaces = has_no_spaces(some)
        if lacks_spaces or np.median(words) >= FEWEST_WORDS:
            return Column(TEXT, "its values", of_characters=lacks_spaces)
    if has_ids and share == 1 and max(words) == 1 and not all(map(category_codes.looks_like_number, some)):
        return Column(ID, "its values")
    return None
