"""Checks of tables, weights, groups, targets and labels, with errors that say where.

Shapes: N samples, F features, C classes, T targets.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils import check_array, check_consistent_length, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from gln.engine.batches import MAX_FLOAT
from gln.engine.preprocessing.category_codes import OF_LISTS, as_table, reads_as_number
from gln.engine.preprocessing.dates import AMBIGUOUS, days_in, format_of, is_date
from gln.engine.tabular.folds import FOLDS
from gln.engine.types import ClassWeight, MatrixLike, VectorLike


def as_labels(y: VectorLike) -> np.ndarray | None:
    """Several columns of 0 and 1, dense or sparse, (N, L); None for targets of one column.

    Raises ValueError for several columns of something else.
    """
    if y is None:
        return None
    labels = y.toarray() if issparse(y) else np.asarray(y)
    if labels.ndim != 2 or labels.shape[1] < 2:
        return None
    check_targets(labels)
    labels = labels.astype(bool) if labels.dtype == object and np.isin(labels, (0, 1)).all() else labels
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"y: expected one column of classes, or 0 and 1 in each of several, got {reprlib.repr(labels.tolist())}; "
            "for several columns of classes there is sklearn.multioutput.MultiOutputClassifier"
        )
    return labels


def check_labels(y: np.ndarray) -> None:
    """Raise ValueError for numbers that are no classes, and for labels that cannot be sorted, such as 1 and "a"."""
    try:
        check_classification_targets(y)
    except TypeError as error:
        raise ValueError(f"y: expected labels of one type, got several: {error}") from error


def checked_classes(classes: VectorLike) -> np.ndarray:
    """All classes of a stream, (C,), sorted."""
    labels = np.asarray(classes, object)
    with contextlib.suppress(TypeError, ValueError):
        if labels.ndim == 1 and labels.size and not pd.isna(labels).any():
            return unique_labels(classes)
    raise ValueError(f"classes: expected labels that are all text, all bools or all integers, got {classes!r}")


def class_numbers(y: np.ndarray, classes: np.ndarray) -> np.ndarray:  # (N,), (C,) -> (N,)
    """The number of each label's class. Raises ValueError for a label that is none of these classes."""
    if y.dtype == object:  # text, or labels that cannot be sorted
        check_labels(y)
    alike = (classes.dtype.kind in "biuf") == (y.dtype.kind in "biuf")  # both numbers, or neither
    numbers = np.searchsorted(classes, y) if alike else np.zeros(len(y), int)
    if (classes[np.minimum(numbers, len(classes) - 1)] != y).any():
        check_labels(y)
        raise ValueError(f"y contains labels that are not in classes {classes!r}: {sorted(set(y) - set(classes))}")
    return numbers


def joined_classes(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:  # (C,), (N,)
    """The classes with those that are new among labels of the same type, sorted."""
    if labels.dtype == object:  # text, or labels that cannot be sorted
        check_labels(labels)
    are_numbers = [array.dtype.kind in "biuf" for array in (classes, labels)]
    if are_numbers[0] != are_numbers[1]:
        raise ValueError(f"y, classes: expected labels of the type of {classes!r}, got {reprlib.repr(labels.tolist())}")
    if np.isin(labels, classes).all():
        return classes
    check_labels(labels)
    return np.unique(np.concatenate([classes, labels]))


def with_class_weights(
    class_weight: ClassWeight,
    targets: np.ndarray,  # (N,), numbers of classes
    classes: np.ndarray,  # (C,)
    weights: np.ndarray | None,  # (N,)
    most: float = 1e30,
) -> np.ndarray | None:
    """The weights of samples times those of their classes, (N,), or None if all have the same weight."""
    if class_weight is None:
        return weights
    if isinstance(class_weight, Mapping):  # scikit-learn would take 0 for the class "0"
        names = classes.tolist()
        if not (class_weight.keys() <= set(names) or class_weight.keys() >= set(names)):
            raise ValueError(f"class_weight: expected keys among the classes {names}, got {list(class_weight)}")
        given = [class_weight.get(name, 1) for name in names]
        if not all(reads_as_number(factor) and 0 <= float(factor) <= most for factor in given):
            raise ValueError(f"class_weight: expected numbers from 0 to {most:g}, got {class_weight!r}")
        factors = np.array(given, float)
    else:
        known = np.unique(targets)
        factors = np.ones(len(classes))
        factors[known] = compute_class_weight(class_weight, classes=known, y=targets)
    return factors[targets] if weights is None else weights * factors[targets]


def are_empty(X: MatrixLike, y: VectorLike) -> bool:
    """Whether a table and its targets have no rows."""
    return np.shape(y)[:1] == (0,) and np.shape(as_table(X))[:1] == (0,)


@contextlib.contextmanager
def undone_after(kind: type[BaseException], estimator: object) -> Iterator[None]:
    """After an error of this kind, all attributes of the estimator are again those of before."""
    before = dict(vars(estimator))
    try:
        yield
    except kind:
        estimator.__dict__ = before
        raise


def with_weight(
    X: MatrixLike, y: VectorLike, sample_weight: VectorLike, class_weight: ClassWeight = None, least: int = 1
) -> tuple[MatrixLike, VectorLike, np.ndarray | None, np.ndarray | None]:
    """A table, its targets and its weights without samples of weight 0, which are as if they were not there, and the
    mask of the others, (N,), None if these are all.

    Samples of classes of weight 0 have no weight either. Weights are None if there are none. Raises ValueError
    for weights that are not numbers of at least 0, one per sample, for fewer than `least` above 0, and for targets that
    are missing, whatever their weight.
    """
    weights_of = class_weight if isinstance(class_weight, Mapping) else {}
    ignored = [label for label, weight in weights_of.items() if weight == 0]
    if X is None or y is None or (sample_weight is None and not ignored):  # None is refused later
        return X, y, None, None
    check_consistent_length(X, y)
    check_targets(y)
    X = as_table(X)
    y = y if hasattr(y, "shape") else np.asarray(y)
    weights = np.ones(X.shape[0]) if sample_weight is None else sample_weight
    weights = check_array(weights, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (X.shape[0],):
        raise ValueError(f"sample_weight: expected shape {(X.shape[0],)}, got {weights.shape}")
    if (weights < 0).any():
        raise ValueError(f"sample_weight: expected numbers of at least 0, got {weights.min()}")
    learned = (weights > 0) & ~pd.Series(column_or_1d(y)).isin(ignored).to_numpy() if ignored else weights > 0
    if learned.sum() < least:
        name = "class_weight" if sample_weight is None else "sample_weight, class_weight"
        raise ValueError(f"{name}: expected at least one above zero, got none")
    if learned.all():
        return X, y, weights, None
    rows = np.flatnonzero(learned)
    return taken(X, rows), taken(y, rows), weights[rows], learned


def numbered_groups(
    groups: VectorLike, learned: np.ndarray | None, count: int
) -> np.ndarray | None:  # (N,), (N,) or None
    """Numbers for the labels of groups, without the rows that are not learned, so that `count` are left.

    Raises ValueError unless each of the N rows has a label, and the rest of them at least two.
    """
    if groups is None:
        return None
    learned = np.ones(count, bool) if learned is None else learned
    try:
        numbers, _ = pd.factorize(pd.Series(list(groups), dtype=object))
    except TypeError as error:  # from what is no list, and from labels without a hash
        expected = "a label for each row (a splitter is the cv of cross_val_score)"
        raise ValueError(f"groups: expected {expected}, got {error}") from error
    if len(numbers) != len(learned) or (numbers < 0).any():
        came = f"{len(numbers)}, of which {(numbers < 0).sum()} are NaN or None"
        raise ValueError(f"groups: expected {len(learned)} labels, got {came}")
    if len(np.unique(numbers[learned])) < 2:
        raise ValueError("groups: expected at least two, of which one can be left out, got one")
    return numbers[learned]


def groups_of(
    X: MatrixLike, groups: VectorLike, time: VectorLike
) -> VectorLike:  # (N, F), (N,) or None, (N,), a column's name or None
    """The groups of rows: as given, or else FOLDS blocks of about as many rows, in order of time. Rows of the same time
    are in the same block. Raises ValueError if both are given, and for what is no time."""
    if time is None:
        return groups
    if groups is not None:
        raise ValueError("time: expected None beside groups, which also say what is left out together, got both")
    if isinstance(time, str):
        table = as_table(X)
        if not isinstance(table, pd.DataFrame) or time not in table.columns:
            raise ValueError(f"time: expected numbers or dates, or the name of a column of X, got {time!r}")
        time = table[time]
    check_consistent_length(X, time)
    column = pd.Series(time).infer_objects().reset_index(drop=True)
    times = column.astype(float).to_numpy() if column.dtype.kind in "biuf" else days_in(column, text_format(column))
    unknown = np.flatnonzero(np.isnan(times))
    if len(unknown):
        came = f"{column.tolist()[unknown[0]]!r} in row {unknown[0]}"
        raise ValueError(f"time: expected a number for each row, or a date in one format, got {came}")
    before = pd.Series(times).rank(method="min").to_numpy() - 1
    if not before.any():
        raise ValueError("time: expected at least two times, of which one can be left out, got one")
    return (before * FOLDS // len(times)).astype(int)


def text_format(column: pd.Series) -> str | None:
    """The format of dates that are texts; None if they are dates by type, or in no format."""
    form = None if is_date(column) else format_of(column.dropna().astype(str))
    return None if form == AMBIGUOUS else form


def in_all_rows(
    values: np.ndarray, samples: np.ndarray, learned: np.ndarray | None, count: int
) -> np.ndarray:  # (n, ...), (n,), (N,) or None -> (N, ...)
    """Values of some of the `count` samples that were learned, with NaN for all other rows of the table."""
    learned = np.ones(count, bool) if learned is None else learned
    result = np.full((len(learned), *values.shape[1:]), np.nan)
    result[np.flatnonzero(learned)[samples]] = values
    return result


def taken(values: MatrixLike, indices: np.ndarray) -> MatrixLike:
    if isinstance(values, (pd.DataFrame, pd.Series)):
        return values.iloc[indices]
    return (values.tocsr() if issparse(values) else values)[indices]


def check_targets(y: VectorLike) -> None:
    """Raise ValueError, saying where, for NaN, None and infinity among targets or labels, (N,) or (N, T)."""
    numbers = np.asarray(y)
    if numbers.dtype.kind == "V":
        raise ValueError(f"y: expected numbers or labels, got records of dtype {numbers.dtype}")
    too_large = np.abs(numbers) > MAX_FLOAT if numbers.dtype.kind == "f" else np.zeros(numbers.shape, bool)
    kinds = {"NaN": np.asarray(pd.isna(y)), "infinity or a value too large for dtype('float32')": too_large}
    for kind, wrong in kinds.items():
        if wrong.ndim > 0 and wrong.any():
            where = f"{wrong.sum()} of {wrong.size} values, the first in row {wrong.nonzero()[0][0]}"
            raise ValueError(f"Input y contains {kind}: {where}.")


def first_other(X: MatrixLike) -> str | None:
    """The first value in a table that is not a number, and its column, for an error message; None if there is none."""
    if not isinstance(X, (pd.DataFrame, np.ndarray)) or X.ndim != 2:
        return None
    for name, column in pd.DataFrame(X).items():
        if column.dtype.kind in "biuf":
            continue
        for value in column:
            if value is not None and not reads_as_number(value):
                advice = f"; {OF_LISTS}" if np.iterable(value) else ""
                advice = "; name it in categorical_features, or encode it" if isinstance(value, str) else advice
                return f"{reprlib.repr(value)} in column {name!r}{advice}"
    return None
