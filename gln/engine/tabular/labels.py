"""Class labels of tables and streams, and the weights of classes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels


def check_labels(y: np.ndarray) -> None:
    """Raise ValueError for numbers that are no classes, and for labels that cannot be sorted, such as 1 and "a"."""
    try:
        check_classification_targets(y)
    except TypeError as error:
        raise ValueError(f"y: expected labels of one type, got several: {error}") from error


def checked_classes(classes: Any) -> np.ndarray:
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


def ignored_classes(class_weight: Any) -> list[Any]:
    """The classes of weight 0."""
    weights = class_weight if isinstance(class_weight, Mapping) else {}
    return [label for label, weight in weights.items() if weight == 0]


def with_class_weights(
    class_weight: Any,
    targets: np.ndarray,  # (N,), numbers of classes
    classes: np.ndarray,  # (C,)
    weights: np.ndarray | None,  # (N,)
) -> np.ndarray | None:
    """The weights of samples times those of their classes, (N,), or None if all have the same weight."""
    if class_weight is None:
        return weights
    if isinstance(class_weight, Mapping):  # scikit-learn would take 0 for the class "0"
        names = classes.tolist()
        if not (class_weight.keys() <= set(names) or class_weight.keys() >= set(names)):
            raise ValueError(f"class_weight: expected keys among the classes {names}, got {list(class_weight)}")
        factors = np.array([class_weight.get(name, 1) for name in names], float)
    else:
        known, factors = np.unique(targets), np.ones(len(classes))
        factors[known] = compute_class_weight(class_weight, classes=known, y=targets)
    return factors[targets] if weights is None else weights * factors[targets]
