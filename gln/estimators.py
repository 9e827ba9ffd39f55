"""Shared by the estimators of `gln.sklearn`: input validation, and learning a table, optionally in several processes.

Shapes: N samples, F features, V visits of samples. As in scikit-learn, a sample is a row; a `Learner` takes columns.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from gln.backends import load_backend
from gln.calibration import PARTS, Blend, blend_of_kinds, learned_blend, parts_of_table
from gln.categories import Categories
from gln.densities import Shape, fitted
from gln.features import OF_FEATURES, OF_TARGETS, SparseScaler, Standardizer, quantile_pieces
from gln.heads import join_heads, split_heads, start_at
from gln.learner import OF_STREAMS, Learner, Saveable, as_taken, check_magnitude, chunks
from gln.levels import Levels, as_pandas, categorical_columns, check_no_dates, new_levels, with_codes
from gln.many import MANY, OTHERS, log_share, some_heads
from gln.rates import linear_rate

# A missing value counts as the mean. A sparse table that is not wide is made dense chunk by chunk.
ALLOWED = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}
# A halfspace sees one to three features: one that sees all rarely finds a split that depends on few. Half of the
# networks of `fit` also mix encodings of the features; their learning rate is ENCODED_RATE times as high.
CONTEXT_FEATURES, ENCODED_RATE = 3, 3.0
# A sparse table of more than WIDE features, such as texts, stays sparse. Its networks are single neurons without
# halfspaces: a word is missing from most texts, so halfspaces hardly split them, and layers above the first overfit.
WIDE, WIDE_PASSES = 1000, 5
OF_WIDE = {"layer_sizes": (1,), "n_networks": 8, "context_map_size": 0, "context_features": CONTEXT_FEATURES}
LOOKED_AT = (500, 5000), 10**7  # samples for halfspaces and encodings: least and most, and most values in total
CALIBRATED_ON = 40_000  # samples at most: enough for a few weights, and for the counts behind `novelty`
LONG = 100_000  # visits: tables this long get four networks, which take about as long as gradient boosting


def of_table(visits: int, heads: int, densities: bool = False) -> dict[str, Any]:
    """What None stands for in `fit`, for a table with this many visits per pass."""
    halfspaces = round(3 + math.log(visits / 5000, 3))  # one more for each factor of three
    return {
        "layer_sizes": (32, 16),
        # With 16, two networks leave out each sample, and these give its deviation from the mean.
        "n_networks": 4 if visits >= LONG or heads >= MANY else 16 if densities else 8,
        "context_map_size": int(np.clip(halfspaces, 3, 8)),
        "context_features": CONTEXT_FEATURES,
        "n_epochs": passes_over(visits, 3),
    }


def passes_over(visits: int, usual: int) -> int:
    """Passes over a table: `usual`, more for a short table, fewer for a long one."""
    return int(np.clip(max(1000 // visits, min(usual, 300_000 // visits)), 1, 20))


class Estimator(Saveable, BaseEstimator):
    """The common part of `GLNClassifier` and `GLNRegressor`: a `learner_`, and validation of its input."""

    changeable = (
        *("backend", "batch_size", "class_weight", "learning_rate", "max_seconds", "n_epochs", "n_jobs"),
        *("random_state", "shuffle", "verbose"),
    )

    glns_ = property(lambda self: self.learner_.groups[0], doc="The networks that predict.")
    standardizer_ = property(lambda self: self.learner_.standardizer, doc="Standardises the features.")
    _levels = property(lambda self: vars(self).get("categories_", {}))  # estimators from older files have none

    def __sklearn_is_fitted__(self):
        return hasattr(self, "learner_")  # other attributes exist even if the first samples were invalid

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "learner_"):
            self.learner_.own_arrays()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags

    def _learned(self):
        check_is_fitted(self)
        return {name: value for name, value in vars(self).items() if name.endswith("_")}

    # ---- Input validation --------------------------------------------------------------------------------------------

    def _checked(self, X, y, reset, **checks):
        """Validated X and y; also checks the parameters that the network does not."""
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        if reset:
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

    def novelty(self, X: Any) -> np.ndarray:
        """Novelty of samples, from 0 to 1: how unlike the training samples of `fit` they are.

        It is the mean over neurons of 1 / sqrt(1 + n), where n is the number of training samples, out of at most
        40,000, between the same halfspaces. For streams there is `gln.river.GLNNovelty`.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)

        Returns
        -------
        novelty : ndarray of shape (N,)
        """
        samples = self._samples(X)
        if self.learner_.visits is None:
            raise ValueError(
                "novelty: expected a model trained by `fit`, got one trained by `partial_fit` or by an older version"
            )
        return self.learner_.novelty(samples)

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

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def _settings(self, defaults):
        """The parameters named in `defaults`, with the defaults in place of None."""
        given = {name: getattr(self, name, None) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}

    def _seeds(self, settings):
        """One seed per network."""
        rng, most = check_random_state(self.random_state), np.iinfo(np.int32).max
        return rng.randint(most, size=settings["n_networks"]).tolist()

    def _built(self, settings, inputs, features, seed, **kind):
        """A new network with this many inputs and features."""
        return load_backend(self.backend).GLN(
            settings["layer_sizes"],
            inputs,
            features,
            context_map_size=settings["context_map_size"],
            context_features=settings["context_features"],
            context_bias=self.context_bias,
            learning_rate=self.learning_rate,
            seed=seed,
            **kind,
        )

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def _fit(self, groups, table):
        """Learn a table from scratch. If this is interrupted, the estimator is not fitted.

        `groups` holds the arguments of each group's networks.
        """
        self.__dict__.pop("learner_", None)
        if self._is_wide(table.X):
            self._fit_wide(groups, table)
            return
        target_standardizer = None
        if table.targets.ndim == 2:
            target_standardizer = Standardizer(len(table.targets), **OF_TARGETS)
            target_standardizer.fit(table.targets)
        categories = self._categories(groups, table.X.shape[1])
        if categories is not None:
            rng = check_random_state(self.random_state) if self.shuffle else None
            own = table.targets if target_standardizer is None else target_standardizer.transform(table.targets)
            table = with_columns(categories, table, own, rng)
        count, features = len(table.visits), table.X.shape[1]
        standardizer = Standardizer(features, **OF_FEATURES)
        standardizer.fit(table.X.T, table.visits)
        heads, densities = 1 if target_standardizer else int(table.targets.max()) + 1, getattr(self, "density", False)
        settings = self._settings(of_table(count, heads, densities))
        some = _spread(count, int(np.clip(LOOKED_AT[1] // features, *LOOKED_AT[0])))
        networks, pieces = self._networks(settings, groups, standardizer.transform(table.samples(some)))
        learner = Learner(networks, standardizer, target_standardizer, pieces=pieces)
        self._fit_learner(learner, table, settings["n_epochs"])
        learner.categories = categories

    def _fit_wide(self, groups, table):
        """`_fit` for a wide sparse table, which stays sparse."""
        passes = {"n_epochs": passes_over(len(table.visits), WIDE_PASSES)}
        settings, targets = self._settings(OF_WIDE | passes), table.targets if table.targets.ndim == 2 else None
        learner = self._of_wide(settings, groups, table.X.shape[1], None if targets is None else len(targets))
        learner.standardizer.fit(table.X.T, table.visits)
        if targets is not None:
            learner.target_standardizer.fit(targets)
        self._fit_learner(learner, table, settings["n_epochs"])

    def _fit_learner(self, learner, table, passes):
        networks = learner.groups[0]
        if networks[0].num_classes >= MANY:
            rates = np.bincount(table.targets) / len(table.visits)
            for network in networks:
                start_at(network, np.log(rates / (1 - rates)) - log_share(len(rates)))
        passing = {"passes": passes, "batch_size": self.batch_size, "shuffle": self.shuffle}
        passing["seconds"] = np.inf if self.max_seconds is None else self.max_seconds
        fit_table(learner, table, self.n_jobs, bool(self.verbose), **passing)
        learner.start_counting()
        for part in chunks(len(some := _spread(len(table.visits), CALIBRATED_ON))):
            learner.count(table.samples(some[part]))
        self.learner_, self.n_iter_ = learner, passes

    def _of_wide(self, settings, groups, features, targets=None):
        """A new learner for a wide sparse table or stream."""
        seeds = self._seeds(settings)
        networks = [[self._built(settings, features, features, seed, **kind) for seed in seeds] for kind in groups]
        target_standardizer = None if targets is None else Standardizer(targets, **OF_TARGETS)
        return Learner(networks, SparseScaler(features), target_standardizer, distances=False)

    def _is_wide(self, X):
        return issparse(X) and X.shape[1] > WIDE and not self._levels

    def _categories(self, groups, features):
        """The columns that a table's categories become, before anything is counted; None without categories."""
        if not self._levels:
            return None
        return _of_numbers(groups, features).of_table({column: len(own) for column, own in self._levels.items()})

    def _of_stream(self, groups, X, targets=None):
        """A new learner for a stream that begins with X (N, F)."""
        if self._is_wide(X):
            return self._of_wide(self._settings(OF_WIDE | {"n_networks": 1}), groups, X.shape[1], targets)
        settings = self._settings(OF_STREAMS)
        seeds = self._seeds(settings)
        categories = _of_numbers(groups, 0).of_stream(X.T, self._levels.keys()) if self._levels else None
        features = X.shape[1] if categories is None else len(categories.columns)
        networks = [[self._built(settings, 2 * features, features, seed, **kind) for seed in seeds] for kind in groups]
        if networks[0][0].num_classes >= MANY:
            for network in networks[0]:
                start_at(network, np.full(network.num_heads, -math.log(OTHERS)))
        return Learner.of_stream(networks, features, targets, categories=categories)

    def _networks(self, settings, groups, z):  # (F, n), standardised samples
        """New networks of each group, with halfspaces between these samples, and encodings for half of the networks."""
        seeds, pieces = self._seeds(settings), quantile_pieces(z)
        encoded = 0 if groups[0].get("num_classes", 0) >= MANY else len(seeds) // 2
        inputs = [2 * len(z)] * (len(seeds) - encoded) + [2 * len(z) + len(pieces.features)] * encoded
        networks = [
            [self._built(settings, size, len(z), seed, **kind) for seed, size in zip(seeds, inputs, strict=True)]
            for kind in groups
        ]
        for network in itertools.chain(*networks) if z.shape[1] > 1 else ():
            network.fit_hyperplanes(z)
        return networks, pieces

    def _learn(self, learner, X, targets, shares, predicts):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predictions, (C, n)."""
        learner.set_learning_rate(self.learning_rate)
        said = learner.learn(X.T, targets, shares, self.batch_size, self._levels.keys(), predicts)
        self.learner_, self.n_iter_ = learner, 1
        return said


# ---- Learning a table, in this process or in others ------------------------------------------------------------------


class Table(NamedTuple):
    X: Any  # (N, F)
    visits: np.ndarray  # (V,), index of the sample of each visit
    targets: np.ndarray  # (V,) class numbers, or (T, V)
    shares: np.ndarray | None  # (V,), the fraction of a step that each visit makes

    def samples(self, visits: np.ndarray) -> Any:  # (n,) -> (F, n)
        return self.X[self.visits[visits]].T


class Job(NamedTuple):
    network: Any
    targets: np.ndarray  # (..., V)
    parts: np.ndarray  # (V,), the part of the table that each visit is in
    left_out: int  # the part that the network does not learn


def _of_numbers(groups: list[dict[str, Any]], features: int) -> Categories:
    kind = groups[0]  # arguments of the networks that predict classes or means
    return Categories.of_numbers(features, kind.get("num_classes") or kind["num_outputs"], "num_classes" in kind)


def with_columns(categories: Categories, table: Table, targets: np.ndarray, rng: np.random.RandomState | None) -> Table:
    """The table with categories as columns. Statistics are counted in random order, or in the table's if `rng` is None.

    A sample that is visited several times in a row is counted once, so that its own target does not leak into it.
    """
    is_first = np.diff(table.visits, prepend=-1) != 0
    first, visits = np.flatnonzero(is_first), is_first.cumsum() - 1
    weights = np.bincount(visits, table.shares)
    columns = np.empty((len(first), len(categories.columns)), table.X.dtype)
    order = np.arange(len(first)) if rng is None else rng.permutation(len(first))
    for some in (order[part] for part in chunks(len(order))):
        columns[some] = categories.learn(table.samples(first[some]), targets[..., first[some]], weights[some]).T
    return table._replace(X=columns, visits=visits)


def fit_table(learner: Learner, table: Table, n_jobs: int | None, verbose: bool, **passing: Any) -> None:
    """Train each network on all but one part of a table, then learn the networks' weights on the parts left out.

    The variances are learned last, from the deviations of the samples that the networks of the means left out.
    """
    targets, classes = [table.targets], table.targets
    if learner.target_standardizer is not None:
        own = learner.target_standardizer.transform(table.targets)
        targets, classes = [_for_heads(own), *own], np.zeros(own.shape[1], int)
    groups = list(zip(learner.groups[: len(learner.groups) - learner.has_densities], targets, strict=False))
    parts = _fit_groups(groups, classes, learner, table, n_jobs, verbose, passing)
    blends = [_blend(learner, group, own, table, parts) for group, own in groups]
    if learner.has_densities:
        blends.append(_fit_variances(learner, blends[0], own, table, parts, n_jobs, verbose, passing))
    learner.blends = blends


def _fit_variances(
    learner: Learner,
    of_means: Blend,
    targets: np.ndarray,
    table: Table,
    parts: np.ndarray,
    n_jobs: int | None,
    verbose: bool,
    passing: dict[str, Any],
) -> Blend:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    by networks that left out the sample's part of the table (V,). Sets the shape of densities, and returns a blend."""
    means, variances = learner.groups[0], learner.groups[-1]
    visits, mixed = _of_left_out(learner, means, table, parts)
    of_kinds = of_means._replace(weights=np.stack([of_means.weights[kind].sum(axis=0) for kind in _kinds(means)]))
    deviations = (targets[:, visits] - of_kinds.of(mixed)).clip(-means[0].bound, means[0].bound).astype(np.float32)
    shares = None if table.shares is None else table.shares[visits]
    rest = table._replace(visits=table.visits[visits], shares=shares)
    groups = [(variances, _for_heads(deviations))]
    parts = _fit_groups(groups, np.zeros(len(visits), int), learner, rest, n_jobs, verbose, passing)
    blend, learner.shape = _densities(learner, variances, deviations, rest, parts)
    return blend


def _for_heads(targets: np.ndarray) -> np.ndarray:  # (T, V) -> (T, V), or (V,) for one head
    return targets if len(targets) > 1 else targets[0]


def _fit_groups(
    groups: list[tuple[list[Any], np.ndarray]],
    classes: np.ndarray,
    learner: Learner,
    table: Table,
    n_jobs: int | None,
    verbose: bool,
    passing: dict[str, Any],
) -> np.ndarray:
    """Train each network on all but one part of a table; each group comes with its targets.

    Parts are stratified by `classes` (V,). Returns the part of each visit, (V,).
    """
    parts = parts_of_table(classes, np.random.RandomState(learner.networks[0].seed))
    jobs = [
        Job(network, own, parts, part)
        for group, own in groups
        for network, part in zip(group, _left_out(group), strict=True)
    ]
    passing = passing | {"seconds": passing["seconds"] * len(jobs) / len(learner.networks)}
    _learn_all(jobs, table, dataclasses.replace(learner, groups=[]), n_jobs, verbose, passing)
    return parts


def _spread(count: int, most: int) -> np.ndarray:
    """Indices below `count`, evenly spaced, at most `most` of them."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def _kinds(group: list[Any]) -> list[np.ndarray]:
    """Indices of the networks of each kind. Networks of one kind have the same inputs."""
    sizes = np.array([network.input_size for network in group])
    return [np.flatnonzero(sizes == size) for size in np.unique(sizes)]


def _left_out(group: list[Any]) -> np.ndarray:  # (M,)
    """The part that each network leaves out: different ones within a kind, and with classes never part 0."""
    parts = np.empty(len(group), int)
    for kind in _kinds(group):
        numbers = np.arange(len(kind))
        parts[kind] = 1 + numbers % (PARTS - 1) if group[0].config.logits else (1 + numbers) % PARTS
    return parts


def _learn_all(
    jobs: list[Job], table: Table, learner: Learner, n_jobs: int | None, verbose: bool, passing: dict[str, Any]
) -> None:
    """Train all networks, in this process or in others; with enough workers, each network's heads separately."""
    workers = effective_n_jobs(n_jobs)
    parts_each = 1 if jobs[0].network.num_classes >= MANY else -(-workers // len(jobs))
    passing = passing | {"seconds": passing["seconds"] * min(1, workers / len(jobs))}
    split = [
        [(some, job._replace(network=part, targets=own)) for some, part, own in split_heads(*job[:2], parts_each)]
        for job in jobs
    ]
    total = passing["passes"] * sum((job.parts != job.left_out).sum() for parts in split for _, job in parts)
    with tqdm(total=total, unit=" samples", disable=not verbose) as bar:
        if workers == 1:  # in this process, whatever joblib's configuration
            for _, job in itertools.chain(*split):
                _learned(job, table, learner, **passing, update=bar.update)
        else:
            calls = (delayed(_learned)(job, table, learner, **passing) for _, job in itertools.chain(*split))
            states = iter(Parallel(n_jobs)(calls))
            for job, parts in zip(jobs, split, strict=True):
                join_heads(job.network, [(some, next(states)) for some, _ in parts])
            bar.update(bar.total)


def _learned(job, table, learner, *, passes, batch_size, shuffle, seconds, update=None):
    """Train a network for some passes over its visits, at most for `seconds`; `learner` prepares the inputs.

    `update` is called with the number of samples learned. None means that this is another process: return the state.
    """
    network, targets, visits = job.network, job.targets, np.flatnonzero(job.parts != job.left_out)
    rng, count, start = np.random.RandomState(network.seed), len(visits), time.monotonic()
    if update is None:  # joblib may have memory-mapped the arrays read-only
        network.set_state(network.get_state())
    first, last = network.config.record.table_rates
    first *= ENCODED_RATE if learner.encodes(network) else 1
    for learned, some in _order(visits, passes, batch_size, rng if shuffle else None):
        passed = (time.monotonic() - start) / seconds  # if time is short, the rate falls faster
        if passed >= 1:
            break
        done = np.arange(len(some)) + max(learned, passed * passes * count)
        falling = linear_rate(done, passes * count, first, last).astype(np.float32)
        rates = falling if network.has_default_rate else network.rates(len(some))
        rates = rates if table.shares is None else (rates * table.shares[some]).astype(np.float32)
        z = as_taken(network, learner.standardizer.transform(table.samples(some)))
        base, context, own, _ = network.prepare(learner.inputs(network, z), z, targets[..., some])
        own = some_heads(own, int(network.step)) if network.config.logits else own
        network.predict_arrays(base, context, own, rates, batch_size)
        if update is not None:
            update(len(some))
    return network.get_state() if update is None else None


def _order(visits: np.ndarray, passes: int, batch_size: int, rng: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the visits of all passes in whole batches, with the number before them. `rng` shuffles each pass."""
    for number in range(passes):
        order = visits if rng is None else visits[rng.permutation(len(visits))]
        for part in chunks(len(visits), batch_size):
            yield number * len(visits) + part.start, order[part]


def _blend(learner: Learner, group: list[Any], targets: np.ndarray, table: Table, parts: np.ndarray) -> Blend:
    """How to combine a group's networks, learned from their predictions for the samples that they left out."""
    visits, mixed = _of_left_out(learner, group, table, parts, CALIBRATED_ON // PARTS)
    return learned_blend(group[0].config, _kinds(group), mixed, targets[..., visits], _shares(table, visits))


def _densities(
    learner: Learner, group: list[Any], deviations: np.ndarray, table: Table, parts: np.ndarray
) -> tuple[Blend, Shape]:
    """How to combine the networks of variances, and the shape of the densities, from deviations (T, V)."""
    visits, mixed = _of_left_out(learner, group, table, parts, CALIBRATED_ON // PARTS)
    of_targets = zip(mixed.swapaxes(0, 1), deviations[:, visits], strict=True)
    weights, skew, tails = zip(*(fitted(*each, _shares(table, visits)) for each in of_targets), strict=True)
    return blend_of_kinds(np.stack(weights, axis=1), _kinds(group)), Shape(np.array(skew), np.array(tails))


def _of_left_out(
    learner: Learner, group: list[Any], table: Table, parts: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:  # (n,), (G, C, n)
    """Visits that networks of each kind left out, at most `most` per part, and the mean output of each kind there."""
    kinds, left_out = _kinds(group), _left_out(group)
    outputs = [np.empty((len(kinds), group[0].num_heads, 0))]  # of each part
    known = [np.empty(0, int)]  # the visits of each part
    for part in np.unique(left_out):
        of_kinds = [[group[place] for place in kind if left_out[place] == part] for kind in kinds]
        if all(of_kinds):
            visits = np.flatnonzero(parts == part)
            known.append(visits[_spread(len(visits), most or len(visits))])
            samples = table.samples(known[-1])
            outputs.append(np.stack([learner.outputs(samples, networks).mean(axis=0) for networks in of_kinds]))
    return np.concatenate(known), np.concatenate(outputs, axis=2)


def _shares(table: Table, visits: np.ndarray) -> np.ndarray:  # (n,) -> (n,)
    return np.ones(len(visits)) if table.shares is None else table.shares[visits]


# ---- Weights of samples ----------------------------------------------------------------------------------------------


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


# ---- Checks ----------------------------------------------------------------------------------------------------------


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
