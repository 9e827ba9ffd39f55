"""Input of the estimators of `gln.sklearn`: checks of tables, of targets and of weights, and the codes of categories.

Shapes: N samples, F features. As in scikit-learn, a sample is a row; a `Learner` takes columns.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from gln.backends import load_backend
from gln.learning.levels import Levels, as_pandas, categorical_columns, check_no_dates, new_levels, with_codes
from gln.learning.samples import check_magnitude

__all__ = ["Validation", "checked_weights"]

# A missing value counts as the mean. A sparse table that is not wide is made dense chunk by chunk.
ALLOWED = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}


class Validation(BaseEstimator):
    """What an estimator knows about its input: the number and names of features, and the codes of categories."""

    _levels = property(lambda self: vars(self).get("categories_", {}))  # estimators from older files have none

    def _check_parameters(self):
        """Check the parameters that the networks do not, and that stay the same from the first call on."""
        for name in ("n_networks", "n_epochs"):
            if getattr(self, name) is not None:
                check_scalar(getattr(self, name), name, Integral, min_val=1)
        if self.max_seconds is not None:
            check_scalar(self.max_seconds, "max_seconds", Real, min_val=0, include_boundaries="neither")
        if not isinstance(self.shuffle, (bool, np.bool_)):
            raise ValueError(f"shuffle: expected True or False, got {self.shuffle!r}")
        if not isinstance(self.verbose, (bool, np.bool_, Integral)):
            raise ValueError(f"verbose: expected a bool or an integer, got {self.verbose!r}")
        load_backend(self.backend)  # raises an error for unknown names

    def _checked(self, X, y, reset, **checks):
        """Validated X and y; also checks the parameters."""
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        if reset:
            self._check_parameters()
        plain = not reset and self._is_plain(X) and type(y) is np.ndarray and y.dtype.kind in "biuf"
        if not (plain and y.shape == (len(X),) and np.isfinite(y).all()):
            X, y = self._numbers(X, y, reset=reset, **checks)
        check_magnitude("X", X)
        return X, y

    def _numbers(self, X, *y, **checks):
        """X, or X and y, as `validate_data` returns them; an error about text names the column."""
        X = self._coded(X, checks["reset"], learning=len(y) > 0)
        try:
            return validate_data(self, X, *y, **ALLOWED, **checks)
        except ValueError as error:
            text = _first_text(X)
            if text is None or "convert" not in str(error):
                raise
            raise ValueError(
                f"X: expected numbers, got {text}; name it in categorical_features, or encode it"
            ) from error

    def _coded(self, X, reset, learning):
        """X with categories replaced by codes; when learning, new levels get a code."""
        X, chosen = as_pandas(X), self.categorical_features
        if isinstance(X, pd.DataFrame):
            check_no_dates(X)
        if not (hasattr(X, "shape") or chosen is None or isinstance(chosen, str)):
            X = np.asarray(X, object)
        if reset:
            found = categorical_columns(X, chosen) if getattr(X, "ndim", 2) == 2 else []
            self.categories_: dict[int, Levels] = {column: {} for column in found}
        if not self._levels or np.ndim(X) != 2 or not (reset or X.shape[1] == self.n_features_in_):
            return X  # with categories, `validate_data` rejects it
        if issparse(X):
            raise ValueError("X: expected a dense array or a frame for categorical_features, got a sparse array")
        if learning:
            columns = X.iloc if isinstance(X, pd.DataFrame) else X
            self.categories_ = {i: own | new_levels(own, columns[:, i], False) for i, own in self._levels.items()}
        return with_codes(X, self._levels)

    def _is_plain(self, X):
        """Whether X, apart from its magnitudes, is valid as it is and can skip `validate_data`, which is slow."""
        plain = type(X) is np.ndarray and X.dtype.char in "df" and X.ndim == 2 and len(X) > 0
        plain = plain and X.shape[1] == self.n_features_in_ and not hasattr(self, "feature_names_in_")
        return plain and not self._levels

    def _samples(self, X):  # (N, F) -> (F, N), for prediction
        check_is_fitted(self)
        X = X if self._is_plain(X) else self._numbers(X, reset=False)
        check_magnitude("X", X)
        return X.T


def checked_weights(sample_weight: Any, X: Any) -> np.ndarray | None:
    """Validated weights of samples, (N,) float64 of at least 0; None if there are none."""
    if sample_weight is None:
        return None
    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (X.shape[0],):
        raise ValueError(f"sample_weight: expected shape {(X.shape[0],)}, got {weights.shape}")
    if (weights < 0).any():
        raise ValueError(f"sample_weight: expected numbers of at least 0, got {weights.min()}")
    return weights


def _first_text(X: Any) -> str | None:
    """The first text in a table and its column, for an error message; None if there is no text."""
    if not isinstance(X, (pd.DataFrame, Sequence, np.ndarray)) or np.ndim(X) != 2:
        return None
    for name, column in pd.DataFrame(X).items():
        text = column[[isinstance(value, str) for value in column]]
        text = text[pd.to_numeric(text, errors="coerce").isna()]
        if len(text) > 0:
            return f"{text.iloc[0]!r} in column {name!r}"
    return None
