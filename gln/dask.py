"""Gated Linear Networks as a classifier and a regressor of Dask frames and arrays, which no machine need hold.

Shapes: N rows, n of them, F features, C classes, L labels, T targets.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length, column_or_1d

import gln.sklearn
from gln.engine.ensemble.combination import INVERSE_LINKS
from gln.engine.model.sample_weights import FIT_WEIGHTS
from gln.engine.preprocessing.category_codes import Levels, as_table, column_of, new_levels
from gln.engine.preprocessing.texts import TextModelsOfFolds
from gln.engine.saving import bad
from gln.engine.tabular.checks import as_labels, check_targets, class_numbers, taken, undone_after, with_class_weights
from gln.engine.tabular.defaults import passes_over
from gln.engine.tabular.estimator import Estimator
from gln.engine.tabular.folds import FOLDS, count_left_out, representing
from gln.engine.tabular.importance import LeftOutRows
from gln.engine.tabular.reader import Whole
from gln.engine.tabular.shares import Cluster, Common, Share, combine_by, folds_of, learn_shares
from gln.engine.tabular.training import Training
from gln.engine.tabular.variances import fit_variances
from gln.engine.types import MatrixLike, VectorLike

try:
    import dask
    import dask.array as da
    import dask.dataframe as dd
    import distributed
    from dask.dataframe.dispatch import concat
except ImportError as error:
    raise ImportError("gln.dask needs Dask: pip install 'dask[dataframe,distributed]'") from error

__all__ = ["GLNClassifier", "GLNRegressor"]

Futures: TypeAlias = list[Any]  # of partitions, which lie on workers

LONG = 200_000  # rows; a table of fewer is learned by the client
SAMPLED = 50_000  # rows that determine halfspaces and bins
HELD_OUT = 40_000  # rows that determine stacking weights
PASSES = 1000  # divided by the square root of a share's rows: two for 250,000, four for 62,500, one from 450,000 on
# Of the first rate, as a factor: a mean has less noise. On two tables of 500,000 rows, sqrt(shares) is better than its
# half with 4 shares (2) and 16 (4): log-loss .422 for .424 and .419 for .421, .238 for .240 and .231 for .238.
MOST_RATE = 4.0
RARE = 100  # rows of each class that are in the sample, if there are so many


class Partition(NamedTuple):
    """Rows of the table."""

    X: MatrixLike  # (n, F), a frame or an array
    y: VectorLike
    weights: np.ndarray  # (n,)
    groups: np.ndarray | None  # (n,), hashes
    positions: np.ndarray  # (n,), in the whole table

    @classmethod
    def of(cls, X: MatrixLike, y: VectorLike, weights: VectorLike, groups: VectorLike) -> Partition:
        """Raises ValueError for rows that cannot be learned."""
        check_consistent_length(X, y, weights, groups)
        check_targets(y)
        count = X.shape[0]
        weights = np.ones(count) if weights is None else np.asarray(weights, np.float64)
        if weights.shape != (count,) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(f"sample_weight: expected {count} finite numbers of at least 0, got {weights}")
        if groups is not None and pd.isna(groups).any():
            raise ValueError(f"groups: expected a label for each row, got {groups}")
        groups = None if groups is None else pd.util.hash_array(np.asarray(groups))
        return cls(X, y, weights, groups, np.arange(count))

    @property
    def order(self) -> np.ndarray:  # (n,)
        """A random number of each row, the same in any partition."""
        return pd.util.hash_array(self.positions.astype(np.uint64))

    @property
    def keys(self) -> np.ndarray:  # (n,)
        return pd.util.hash_array(self.order if self.groups is None else self.groups)

    def take(self, chosen: np.ndarray) -> Partition:  # (n,) of bools
        rows = np.flatnonzero(chosen)
        groups = None if self.groups is None else self.groups[rows]
        return Partition(taken(self.X, rows), taken(self.y, rows), self.weights[rows], groups, self.positions[rows])

    def drawn(self, share: float, are_classes: bool) -> np.ndarray:  # -> (n,) of bools
        """Which rows are in a random share of the table, below 1, or among the first of a class."""
        drawn = self.order < int(share * 2**64)
        if are_classes and np.size(self.y) == len(drawn):  # not several labels
            ranks = pd.Series(self.order).groupby(column_or_1d(self.y)).rank("first")
            drawn |= (ranks <= RARE).to_numpy()
        return drawn & (self.weights > 0)

    def between(self, start: int, stop: int) -> Partition:
        return self.take((self.positions >= start) & (self.positions < stop))


def joined(parts: Sequence[Partition]) -> Partition:
    """The rows of several parts. Raises ValueError if there are none."""
    parts = [part for part in parts if len(part.positions)]
    if not parts:
        raise ValueError("X: expected rows of a weight above 0 in each share, got none")

    def join(values: Sequence[MatrixLike]) -> MatrixLike:
        return np.concatenate(values) if isinstance(values[0], np.ndarray) else concat(values)

    columns = zip(*parts, strict=True)
    together: Any = [None if values[0] is None else join(values) for values in columns]
    return Partition(*together)


def distinct_values(part: Partition, columns: Sequence[int]) -> dict[int, np.ndarray]:
    """The distinct values of some columns."""
    return {column: column_of(as_table(part.X), column).unique() for column in columns}


def all_levels(cluster: Cluster, parts: Futures, categories: Mapping[int, Levels]) -> dict[int, Levels]:
    """The levels of categories, with those of all parts."""
    distinct = cluster.gather([cluster.submit(distinct_values, part, [*categories]) for part in parts])
    columns = {column: np.concatenate([values[column] for values in distinct]) for column in categories}
    return {column: known | new_levels(known, pd.Series(columns[column])) for column, known in categories.items()}


def share_of(model: Any, parts: Sequence[Partition], sample: np.ndarray, scale: float, number: int) -> Share:
    """What networks learn of parts: without rows of no weight, and without the sample's, which have been learned."""
    part = joined(parts)
    return model._share(part.take((part.weights > 0) & ~np.isin(part.positions, sample)), scale, number)


class OnDask(Estimator):
    """`fit` and predictions of Dask's frames and arrays, for an estimator of `gln.sklearn`."""

    _local: type[Any]

    @property
    def client_(self) -> distributed.Client:
        """The current client of Dask. Raises ValueError if there is none."""
        return distributed.get_client()

    def fit(
        self,
        X: MatrixLike,
        y: VectorLike,
        sample_weight: VectorLike = None,
        groups: VectorLike = None,
        time: None = None,
    ) -> Any:
        """Learn a table from scratch, on the workers of the current client.

        After an error or an interruption, the estimator is as it was before.

        All are Dask's Series, DataFrames or Arrays, in partitions of the same lengths, and as in `gln.sklearn`: X
        (N, F), y (N,), (N, L) or (N, T), `sample_weight` and `groups` (N,). The rows should be in random order, or in
        one that tells little of their targets. Rows of a group are left out together; with None, each row is a group.
        """
        self._check_supported()
        if time is not None:
            raise bad("time", "None in gln.dask, where `groups` can be blocks of time", repr(time))
        with undone_after(BaseException, self):
            cluster = cluster_of(self.client_)
            parts, ends = partitions_on(self.client_, X, y, sample_weight, groups)
            if ends[-1] > LONG:
                self._learn_parts(cluster, parts, ends, sample_weight is not None)
                return self
            table = joined(cluster.gather(parts))
            weights = None if sample_weight is None else table.weights
            return super().fit(table.X, table.y, weights, table.groups)

    def to_local(self) -> Any:
        """What was learned, as an estimator of `gln.sklearn`, to save, explain and export."""
        local = self._local(**self.get_params(deep=False))
        vars(local).update(vars(self))
        return local

    def _check_supported(self) -> None:
        if self.early_stopping:
            raise bad("early_stopping", "False in gln.dask", repr(self.early_stopping))
        weights = getattr(self, "class_weight", None)
        if isinstance(weights, str) or 0 in dict(weights or {}).values():
            raise bad("class_weight", "None or a dict of numbers above 0 in gln.dask", repr(weights))

    def _learn_parts(self, cluster: Cluster, parts: Futures, ends: np.ndarray, has_weights: bool) -> None:
        """Learn a sample, and then the other rows in shares."""
        rows = int(ends[-1])
        sample, held = self._drawn(cluster, parts, rows)
        self._whole = Whole(rows, folds_of(sample.keys), functools.partial(all_levels, cluster, parts))
        groups = np.arange(len(sample.positions)) if sample.groups is None else sample.groups
        super().fit(sample.X, sample.y, sample.weights if has_weights else None, groups)
        del self._whole
        mean = self._weights_of(sample, self._targets_of(sample.y)).mean()
        scale = np.clip(mean, *FIT_WEIGHTS) / mean
        count = cluster.threads if self.n_jobs in (None, -1) else self.n_jobs
        shares = self._submit_shares(cluster, parts, ends, sample.positions, scale, count)
        parts.clear()  # so that workers have memory for the shares
        passes = max(1, round(PASSES / math.sqrt(rows / count))) if self.n_epochs is None else self.n_epochs
        training = Training(passes, self.shuffle, self.n_jobs, verbose=False, early_stopping=False)
        left_out = count_left_out(len(self.learner_.means.members), self.learner_.variances is not None, rows)
        rate = min(MOST_RATE, math.sqrt(count)) * self.learning_rate_ if self.learning_rate is None else None
        start = Common(self.learner_, [], left_out, rate, training)
        self._learn_shares(cluster, self._share(sample, scale), shares, start, self._share(held, scale))
        del self._texts_of_folds

    def _drawn(self, cluster: Cluster, parts: Futures, rows: int) -> tuple[Partition, Partition]:
        """Random rows to learn first, and others that are held out."""
        share = (SAMPLED + HELD_OUT) / rows
        are_classes = is_classifier(self)
        drawn = [cluster.submit(lambda part: part.take(part.drawn(share, are_classes)), part) for part in parts]
        both = joined(cluster.gather(drawn))
        is_sampled = both.drawn(SAMPLED / rows, are_classes)
        is_held = both.drawn(share, are_classes) & ~is_sampled
        sample = both.take(is_sampled)
        held = both.take(is_held)
        if min(len(np.unique(folds_of(part.keys))) for part in (sample, held)) < FOLDS:
            raise bad("groups", f"so many that all {FOLDS} folds have some", len(np.unique(both.keys)))
        return sample, held

    def _submit_shares(
        self, cluster: Cluster, parts: Futures, ends: np.ndarray, sample: np.ndarray, scale: float, count: int
    ) -> Futures:
        """Give workers what networks learn of the table, in so many shares, without the sample's rows."""
        shares = []
        model = cluster.scatter(self)
        for number, (start, stop) in enumerate(itertools.pairwise(np.linspace(0, ends[-1], count + 1).astype(int))):
            first, last = np.searchsorted(ends, [start, stop - 1], side="right")
            pieces = [cluster.submit(Partition.between, part, start, stop) for part in parts[first : last + 1]]
            shares.append(cluster.submit(share_of, model, pieces, sample, scale, number))
        return shares

    def _learn_shares(self, cluster: Cluster, sample: Share, shares: list[Any], start: Common, held: Share) -> None:
        common = learn_shares(cluster, sample, shares, start)
        model = common.model
        jobs, inputs, out_of_fold, estimates = combine_by(common, held)
        if model.variances is not None:
            training = start.training._replace(passes=passes_over(len(out_of_fold.rows), 3))
            fit_variances(model, out_of_fold, inputs, start.left_out, training)
        self._forget_left_out()
        self.learner_ = model
        self.n_iter_ = start.training.passes
        self.validation_scores_ = np.array([out_of_fold.score])
        weights = representing(held.targets, held.weights, out_of_fold.rows)
        estimates = INVERSE_LINKS[model.means.link](estimates)
        self.oob_score_ = self._score_left_out(held.targets[..., out_of_fold.rows], estimates, weights)
        owners = np.arange(held.X.shape[1]) if self._columns is None else self._columns.owners
        self._left_out = LeftOutRows.of_table(held.X, owners, inputs, model.means, jobs)
        self.learning_rate_ = self.learning_rate if start.rate is None else start.rate

    def _share(self, part: Partition, scale: float = 1.0, number: int = 0) -> Share:
        """What networks learn of a part."""
        folds = folds_of(part.keys)
        reader = copy.copy(self)
        if self._columns is not None:
            texts: Any = {column: TextModelsOfFolds(models, folds) for column, models in self._texts_of_folds.items()}
            reader._columns = dataclasses.replace(self._columns, texts=texts)
        X = reader._samples(part.X).features.T
        targets = self._targets_of(part.y)
        return Share(X, targets, self._weights_of(part, targets) * scale, folds, part.keys, number)

    def _weights_of(self, part: Partition, targets: np.ndarray) -> Any:
        classes: VectorLike = getattr(self, "classes_", None)
        return with_class_weights(getattr(self, "class_weight", None), targets, classes, part.weights)

    def _lazily(self, method: str, X: MatrixLike, dtype: Any, shape: tuple[int, ...]) -> da.Array:
        """What a method of the local estimator returns for each partition, (n, *shape) of a dtype."""
        sizes = X.chunks[0] if isinstance(X, da.Array) else X.npartitions * [math.nan]
        model = dask.delayed(self.to_local(), pure=False, traverse=False)
        call = dask.delayed(lambda model, part: getattr(model, method)(part))
        values = [call(model, part) for part in partitions("X", X)]
        pairs = zip(values, sizes, strict=True)
        arrays = [da.from_delayed(value, (size, *shape), dtype) for value, size in pairs]
        return da.concatenate(arrays, allow_unknown_chunksizes=True)


def partitions(name: str, values: Any) -> Futures:
    """Partitions of a frame or an array, as delayed values. Raises ValueError for anything else."""
    if isinstance(values, da.Array):
        return (values.rechunk({1: -1}) if values.ndim == 2 else values).to_delayed().ravel().tolist()
    if isinstance(values, (dd.DataFrame, dd.Series)):
        return values.to_delayed()
    raise bad(name, "a Dask DataFrame, Series or Array", type(values).__name__)


def partitions_on(
    client: distributed.Client, X: MatrixLike, y: VectorLike, weights: VectorLike, groups: VectorLike
) -> tuple[Futures, np.ndarray]:
    """The parts of a table, on workers, and where they end."""
    optional = {"sample_weight": weights, "groups": groups}
    given = {"X": X, "y": y} | {name: values for name, values in optional.items() if values is not None}
    by_name = {name: partitions(name, values) for name, values in given.items()}
    count = len(by_name["X"])
    for name, pieces in by_name.items():
        if len(pieces) != count:
            raise bad(name, f"{count} partitions, as X has", len(pieces))
    rows = zip(by_name["X"], by_name["y"], *(by_name.get(name, count * [None]) for name in optional), strict=True)
    parts = client.compute([dask.delayed(Partition.of)(*values) for values in rows])
    ends = np.cumsum(client.gather([client.submit(lambda part: len(part.positions), part) for part in parts]))
    pairs = zip(parts, [0, *ends[:-1].tolist()], strict=True)
    return [client.submit(lambda part, by: part._replace(positions=part.positions + by), *pair) for pair in pairs], ends


def cluster_of(client: distributed.Client) -> Cluster:
    def scatter(value: object) -> Any:
        # As a task, which the scheduler keeps: what `client.scatter` sends is lost with a worker that dies at once.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            return client.submit(lambda: value, pure=False)

    threads = sum(client.nthreads().values())
    return Cluster(functools.partial(client.submit, pure=False), scatter, client.gather, threads)


class GLNClassifier(OnDask, gln.sklearn.GLNClassifier):
    """`gln.sklearn.GLNClassifier` for tables that are spread over the workers of a Dask cluster.

    Up to 200,000 rows are learned by the client, as in `gln.sklearn`. Of a longer table, a random sample of 50,000 rows
    determines the columns, models of texts, halfspaces, bins and the learning rate, and is learned first. The levels of
    categories and the cells of bins are counted in all rows. Then copies of the networks learn shares of the table side
    by side. Their weights are averaged after each pass, and at least four times. 40,000 rows, each predicted by
    networks that left out its group, determine how networks are combined, and `oob_score_`.

    The result does not depend on partitions. A share is about as many rows in a row; a worker keeps it in memory.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of shares, on which the result depends; None or -1 is the number of threads of the cluster.
    n_epochs : int or None, default=None
        Passes over the table. None is about 1000 / sqrt(n), at least 1, for shares of n rows.
    learning_rate : float, callable or None, default=None
        As in `gln.sklearn`; None is sqrt(shares) times as high, at most four times.
    class_weight : dict or None, default=None
        As in `gln.sklearn`.
    **parameters
        As in `gln.sklearn`, except that `early_stopping` must be False.

    Attributes
    ----------
    client_ : distributed.Client
        The current client.
    n_iter_ : int
        Passes over the table.
    oob_score_, validation_scores_
        Scores of the 40,000 rows after the last pass; see `gln.sklearn`.
    """

    _local = gln.sklearn.GLNClassifier

    def _predicted(self, X):
        several = type(self.classes_) is list
        shape = (2, len(self.classes_)) if several else (len(self.classes_),)
        return self._lazily("_predicted", X, float, shape) if dask.is_dask_collection(X) else super()._predicted(X)

    def predict(self, X: MatrixLike) -> Any:
        """As in `gln.sklearn`; of Dask's frames and arrays a Dask Array, which is computed when it is needed."""
        several = type(self.classes_) is list
        shown = (self.classes_[0].dtype, (len(self.classes_),)) if several else (self.classes_.dtype, ())
        return self._lazily("predict", X, *shown) if dask.is_dask_collection(X) else super().predict(X)

    def _targets_of(self, y):
        if type(self.classes_) is list:
            labels = as_labels(y)
            assert labels is not None
            return labels.T.astype(bool)
        return class_numbers(column_or_1d(y), self.classes_)


class GLNRegressor(OnDask, gln.sklearn.GLNRegressor):
    """`gln.sklearn.GLNRegressor` for tables that are spread over the workers of a Dask cluster.

    It learns like `GLNClassifier`, and has the parameters and attributes of `gln.sklearn.GLNRegressor` with the same
    exceptions. Densities are learned from the 40,000 rows.
    """

    _local = gln.sklearn.GLNRegressor

    def predict(self, X: MatrixLike, return_std: bool = False) -> Any:
        """As in `gln.sklearn`; of Dask's frames and arrays a Dask Array, which is computed when it is needed."""
        if not dask.is_dask_collection(X):
            return super().predict(X, return_std)
        if return_std:
            raise bad("return_std", "False for Dask's frames and arrays; see to_local()", return_std)
        return self._lazily("predict", X, np.dtype(float), self.targets_shape_)

    def _targets_of(self, y):
        y = np.asarray(y, np.float64)
        return self.target_standardizer_.transform(y.reshape(len(y), -1).T)
