"""How unlike earlier rows a row is, and which columns make it so: for tables, and for streams of dictionaries.

Shapes: N rows, F columns.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

try:
    from river.base import AnomalyDetector
except ImportError:
    try:
        from river.anomaly.base import AnomalyDetector  # type: ignore[no-redef]  # of an older River
    except ImportError:
        AnomalyDetector = object  # type: ignore[assignment, misc]

from gln.engine.batches import check_integer
from gln.engine.model.saveable import Saveable
from gln.engine.novelty.detector import WINDOW, NoveltyDetector
from gln.engine.preprocessing.category_codes import as_table, with_columns
from gln.engine.saving import Number, bad
from gln.engine.streaming.values import named_rows
from gln.engine.tabular.checks import undone_after
from gln.engine.types import Label, MatrixLike, RandomState, Row, VectorLike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["GLNNovelty"]

MOST_ROWS = 4000  # that `fit` learns


class GLNNovelty(OutlierMixin, Saveable, BaseEstimator, AnomalyDetector):
    """Novelty detector for tables and streams: the novelty of a row is the share of earlier rows that were less novel.

    So a novelty above .99 means one in a hundred. Novel are numbers far from earlier ones, the more so the farther;
    numbers that another column does not let expect; missing values where none were; levels of categories that were
    never seen, and columns. Columns need no scaling. Numbers and bools are numbers, strings and pandas categories are
    categories, and dates have cycles.

    It has two interfaces. Scikit-learn's takes arrays (N, F), and pandas or polars frames, whose columns are found by
    name. River's takes dictionaries; the names of an array's columns are then numbers from 0. What `fit` has learned,
    `partial_fit` and `learn_one` go on with.

    Each number is compared with what another column lets expect. The residuals of eight such pairs per column have
    histograms, which fade. A row is the more novel, the lower its probabilities in these.

    Parameters
    ----------
    contamination : float in (0, 0.5]
        The share of rows that `predict` calls outliers, -1: of the table of `fit` or, in a stream, of recent rows.
    window_size : int or None
        The number of recent rows that a row is compared with, at least 2. A large one tells rare rows from new ones
        better, and follows drift later. None is 250 in a stream, and half of the rows that `fit` learns.
    random_state : int, RandomState or None
        Determines the pairs, and which rows `fit` learns. Pass an int for reproducible results.

    Attributes
    ----------
    offset_ : float
        `decision_function` is `score_samples` minus this.
    n_features_in_, feature_names_in_
        Of the first table, if one was learned.

    References
    ----------
    T. Pevný, "Loda: Lightweight on-line detector of anomalies", Machine Learning 2016.

    Examples
    --------
    >>> from gln.novelty import GLNNovelty
    >>> model = GLNNovelty(random_state=0).fit([[i % 7, i % 11] for i in range(500)])
    >>> model.predict([[3, 5], [3, -20]])
    array([ 1, -1])
    >>> model.explain([[3, -20]]).idxmax(axis=1).tolist()
    [1]
    >>> model.score_one({0: 3, 1: 5}) < 0.95 < model.score_one({0: 3, 1: -20})
    True
    """

    changeable = ()
    kept: ClassVar[dict[str, Any]] = {
        "_detector": NoveltyDetector,
        "offset_": float,
        "n_features_in_": Number(int, 1),
        "feature_names_in_": np.ndarray,
    }
    optional = tuple(kept)

    def __init__(
        self, contamination: float = 0.01, window_size: int | None = None, random_state: RandomState = None
    ) -> None:
        self.contamination = contamination
        self.window_size = window_size
        self.random_state = random_state

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def fit(self, X: MatrixLike, y: VectorLike = None) -> Self:
        """Learn a table (N, F) from scratch, of more than 4,000 rows some of these. `y` is ignored.

        Raises ValueError for infinity, and for strings in a column of numbers or vice versa, naming the column.
        """
        rng = self._checked_parameters()
        with undone_after(ValueError, self):
            table = self._table(X, reset=True)
            rows = rng.permutation(len(table))[:MOST_ROWS]
            window = self.window_size or max(2, 1 + len(rows) // 2)
            detector = NoveltyDetector(_seed(rng), window, first=0)
            detector.learn(table.iloc[rows])
        self._detector = detector
        self.offset_ = float(np.quantile(-detector.score(table), self.contamination))
        return self

    def partial_fit(self, X: MatrixLike, y: VectorLike = None) -> Self:
        """Learn the rows of a table (N, F) one after another, as `learn_one` does. `y` is ignored.

        If a row cannot be learned, raises ValueError as `fit` does, and none is.
        """
        detector = self._started()
        with undone_after(ValueError, self):
            detector.learn(self._table(X, reset=not hasattr(self, "_detector")))
        self._start(detector)
        return self

    def learn_one(self, x: Row) -> None:
        """Learn a dictionary. Raises ValueError for infinity, or a string in a numeric column or vice versa."""
        detector = self._started()
        detector.learn_one(x)
        self._start(detector)

    def _started(self) -> NoveltyDetector:
        """What learns: that so far, or a new one."""
        if hasattr(self, "_detector"):
            return self._detector
        return NoveltyDetector(_seed(self._checked_parameters()), self.window_size or WINDOW)

    def _start(self, detector: NoveltyDetector) -> None:
        if not hasattr(self, "_detector"):
            self._detector = detector
            self.offset_ = self.contamination - 1.0

    # ---- Scoring -----------------------------------------------------------------------------------------------------

    def score_samples(self, X: MatrixLike) -> np.ndarray:
        """Minus the novelty of the rows X (N, F), from -1 to 0, (N,). In a stream it is 0 before the first hundred rows
        have been learned."""
        check_is_fitted(self)
        return -self._detector.score(self._table(X))

    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """`score_samples` minus `offset_`, (N,): below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: MatrixLike) -> np.ndarray:
        """-1 for outliers among the rows X (N, F), 1 for others, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def explain(self, X: MatrixLike) -> pd.DataFrame:
        """How much each column contributes to the novelty of the rows X (N, F): a frame whose rows add up to 1.

        It also has columns that only the rows before had, and those that only these rows have.
        """
        check_is_fitted(self)
        table = self._table(X)
        contributions = [self._detector.explain(x) for x in named_rows(table).records()]
        return pd.DataFrame(contributions, index=table.index).fillna(0.0)

    def score_one(self, x: Row) -> float:
        """The novelty of a dictionary, from 0 to 1; in a stream, 0 before the first hundred are learned."""
        return self._started().score_one(x)

    def explain_one(self, x: Row) -> dict[Label, float]:
        """How much each key contributes to the novelty of a dictionary, together 1."""
        return self._started().explain(x)

    # ---- Checks ------------------------------------------------------------------------------------------------------

    def _checked_parameters(self) -> np.random.RandomState:
        """A random generator for what begins now. Raises ValueError for parameters out of range."""
        share = self.contamination
        if not (isinstance(share, Real) and 0 < share <= 0.5):
            raise bad("contamination", "a number above 0, at most .5", repr(share))
        if self.window_size is not None:
            check_integer("window_size", self.window_size, 2)
        return check_random_state(self.random_state)

    def _table(self, X: MatrixLike, reset: bool = False) -> pd.DataFrame:
        """A table as a frame, with the names by which its columns are known."""
        X = as_table(X)
        names = vars(self).get("feature_names_in_")
        is_frame = isinstance(X, pd.DataFrame)
        by_name = is_frame and not reset and (names is not None or not hasattr(self, "n_features_in_"))
        if not by_name:
            least = 1 if reset else 0
            checks = {"dtype": None, "ensure_all_finite": False, "ensure_min_samples": least}
            checked = validate_data(self, X, reset=reset, **({"skip_check_array": True} if is_frame else checks))
            names = vars(self).get("feature_names_in_", range(self.n_features_in_))
            X = pd.DataFrame(checked).infer_objects().set_axis(names, axis=1)
        categories = [column for column, dtype in enumerate(X.dtypes) if isinstance(dtype, pd.CategoricalDtype)]
        return with_columns(X, {column: X.iloc[:, column].cat.rename_categories(str) for column in categories})

    def _check_loaded(self) -> None:
        if hasattr(self, "_detector"):
            self._detector.check()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(1 << 31))
