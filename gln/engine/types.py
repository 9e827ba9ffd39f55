"""Types of arguments and values that several modules share. Where Python has no type for it, `Any` stands here once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias

from numpy.typing import ArrayLike as ArrayLike

Label: TypeAlias = Hashable  # a class: a string, a number or a truth value
Row: TypeAlias = Mapping[Any, Any]  # one sample by names of features, as River passes it; values of any type
LearningRate: TypeAlias = float | Callable[[int], float] | None  # of the number of samples learned; None is the default
MatrixLike: TypeAlias = Any  # (B, F): an array, a sparse array of SciPy, or a frame of pandas, polars or Arrow
VectorLike: TypeAlias = Any  # (B,): what becomes an array, or a column of a frame
ColumnNames: TypeAlias = Any  # names, indices or a mask of columns; "auto", "from_dtype" or None
RandomState: TypeAlias = Any  # as in scikit-learn: None, an integer or a generator
Fitted: TypeAlias = Any  # an estimator of `gln.sklearn`, `gln.river` or `gln.bandits`
Arm: TypeAlias = Any  # any hashable value, as a string or a number
Context: TypeAlias = Any  # of a decision: a dictionary of features, a vector, or None
Arms: TypeAlias = Any  # a list of arms, or a dictionary of arms and their features; None is all that are known
Network: TypeAlias = Any  # a `GLN` of any backend: each file stands alone, so they share no class
ClassWeight: TypeAlias = Mapping[Any, float] | str | None  # of each class, or "balanced", as in scikit-learn
State: TypeAlias = dict[str, Any]  # fields by name, as files have them
