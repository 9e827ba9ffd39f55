"""Shared by the estimators of `gln.sklearn`: networks for tables and for streams, and how they learn.

Shapes: N samples, F features. As in scikit-learn, a sample is a row; a `Learner` takes columns.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gln.engine.batches import spread
from gln.engine.ensemble.ensemble import COLUMNS, EXPANDED, Role
from gln.engine.model.builders import OF_STREAMS, NetworkConfig, build, build_stream, stream_roles
from gln.engine.model.featurizers import PlainFeaturizer, StreamFeaturizer, TableFeaturizer
from gln.engine.model.learner import Learner
from gln.engine.model.persistence import Saveable
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.preprocessing.basis_expansion import quantile_pieces
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer
from gln.engine.preprocessing.sparse_scaling import SparseScaler
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.tabular.fit import Training, fit_table, time_left, with_cells, with_columns
from gln.engine.tabular.validation import Validation

# A halfspace sees one to three features: one that sees all rarely finds a split that depends on few.
CONTEXT_FEATURES = 3
# A sparse table of more than WIDE features, such as texts, stays sparse. Its networks are single neurons without
# halfspaces: a word is missing from most texts, so halfspaces hardly split them, and layers above the first overfit.
WIDE, WIDE_PASSES = 1000, 5
OF_WIDE = {"layer_sizes": (1,), "n_networks": 8, "context_map_size": 0, "context_features": CONTEXT_FEATURES}
LOOKED_AT, VALUES = (500, 5000), 10**7  # samples for halfspaces and encodings: least and most, and most values in total
LONG, LONGER = 100_000, 400_000  # visits from which on a table gets four networks, or two, to limit the time of a fit


def of_table(visits: int, heads: int, densities: bool = False) -> dict[str, Any]:
    """What None stands for in `fit`, for a table with this many visits per pass."""
    halfspaces = round(3 + math.log(visits / 5000, 3))  # one more for each factor of three
    # With 16, two networks leave out each sample, and these give its deviation from the mean.
    networks = 16 if densities else 8
    if visits >= LONG or heads >= MANY_CLASSES:
        networks = 2 if visits >= LONGER and heads < MANY_CLASSES else 4
    return {
        "layer_sizes": (32, 16),
        "n_networks": networks,
        "context_map_size": int(np.clip(halfspaces, 3, 8)),
        "context_features": CONTEXT_FEATURES,
        "n_epochs": passes_over(visits, 3),
    }


def passes_over(visits: int, usual: int) -> int:
    """Passes over a table: `usual`, more for a short table, fewer for a long one."""
    return int(np.clip(max(1000 // visits, min(usual, 300_000 // visits)), 1, 20))


class Estimator(Saveable, Validation):
    """The common part of `GLNClassifier` and `GLNRegressor`: a `learner_`, and how it is made and taught."""

    kept: ClassVar[dict[str, Any]] = {
        **{"n_features_in_": int, "feature_names_in_": np.ndarray, "classes_": np.ndarray, "categories_": dict},
        **{"targets_shape_": tuple, "n_iter_": int, "learner_": Learner},
    }
    changeable = (
        *("backend", "batch_size", "class_weight", "learning_rate", "max_seconds", "n_epochs", "n_jobs"),
        *("random_state", "shuffle", "verbose"),
    )

    glns_ = property(lambda self: self.learner_.means.networks, doc="The networks that predict.")
    standardizer_ = property(lambda self: self.learner_.featurizer.standardizer, doc="Standardises the features.")

    def __sklearn_is_fitted__(self):
        return hasattr(self, "learner_")  # after an interruption of the first `partial_fit`, other attributes exist

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags

    def _learned(self):
        check_is_fitted(self)
        return super()._learned()

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def novelty(self, X: Any) -> np.ndarray:
        """Novelty of samples, from 0 to 1: how unlike the training samples of `fit` they are.

        It is the mean over neurons of 1 / sqrt(1 + n), where n is the number of training samples, out of at most
        40,000, between the same halfspaces; with `negatives=False`, the fraction of the most similar class that is
        expected closer to its mean. For streams there is `gln.river.GLNNovelty`.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)

        Returns
        -------
        novelty : ndarray of shape (N,)
        """
        samples = self._samples(X)
        if getattr(self.learner_, "counts", self) is None:  # classes that learn alone need none
            came = "got one trained by `partial_fit` or by an older version"
            raise ValueError(f"novelty: expected a model trained by `fit`, {came}")
        return self.learner_.novelty(samples)

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def _settings(self, defaults):
        """The parameters named in `defaults`, with the defaults in place of None."""
        given = {name: getattr(self, name, None) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}

    def _seeds(self, count):
        """So many seeds of networks."""
        return check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=count).tolist()

    def _config(self, settings):
        """What all networks have in common."""
        names = "layer_sizes", "context_map_size", "context_features"
        of_settings = {name: settings[name] for name in names}
        rest = {"context_bias": self.context_bias, "learning_rate": self.learning_rate, "seeds": self._seeds}
        return NetworkConfig(backend=self.backend, **of_settings, **rest)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def _fit(self, kinds, table):
        """Learn a table from scratch; `kinds` holds the arguments of each ensemble's networks."""
        start = time.monotonic()
        if self._is_wide(table.X):
            self._fit_wide(kinds, table, start)
            return
        targets: Classes | Numbers = Classes()
        if table.targets.ndim == 2:
            targets = Numbers.of_stream(len(table.targets))
            targets.standardizer.fit(table.targets)
        own = targets.standardizer.transform(table.targets) if isinstance(targets, Numbers) else table.targets
        levels = {column: len(own) for column, own in self._levels.items()}
        bin_means = encoding = None
        if kinds[0].get("num_classes", 0) < MANY_CLASSES:
            table, bin_means = with_cells(table, levels, own, check_random_state(self.random_state))
        if levels:
            encoding = TargetEncoding.of_numbers(table.X.shape[1], *_kind(kinds)).of_table(levels)
            rng = check_random_state(self.random_state) if self.shuffle else None
            table = with_columns(encoding, table, own, rng)
        count, features = len(table.rows), table.X.shape[1]
        standardizer = Standardizer(features, **OF_FEATURES)
        standardizer.fit(table.X.T, table.rows)
        heads = int(table.targets.max()) + 1 if table.targets.ndim == 1 else 1
        settings = self._settings(of_table(count, heads, getattr(self, "density", False)))
        z = standardizer.transform(table.samples(spread(count, int(np.clip(VALUES // features, *LOOKED_AT)))))
        featurizer = TableFeaturizer(standardizer, encoding, quantile_pieces(z), bin_means)
        roles = _roles(featurizer, settings["n_networks"], kinds[0].get("num_classes", 0))
        learner = build(self._config(settings), featurizer, roles, *_by_name(kinds))
        learner.targets = targets
        for network in learner.networks if z.shape[1] > 1 else ():
            network.fit_hyperplanes(z)
        self._fit_learner(learner, table, settings["n_epochs"], start)

    def _fit_wide(self, kinds, table, start):
        """`_fit` for a wide sparse table, which stays sparse."""
        passes = {"n_epochs": passes_over(len(table.rows), WIDE_PASSES)}
        settings, targets = self._settings(OF_WIDE | passes), table.targets if table.targets.ndim == 2 else None
        learner = self._of_wide(settings, kinds, table.X.shape[1], None if targets is None else len(targets))
        learner.featurizer.standardizer.fit(table.X.T, table.rows)
        if targets is not None:
            learner.targets.standardizer.fit(targets)
        self._fit_learner(learner, table, settings["n_epochs"], start)

    def _fit_learner(self, learner, table, passes, start):
        seconds = np.inf if self.max_seconds is None else time_left(self.max_seconds, start)
        seconds /= len(learner.networks)
        training = Training(passes, self.batch_size, self.shuffle, seconds, self.n_jobs, bool(self.verbose))
        self.n_iter_ = fit_table(learner, table, training)
        self.learner_ = learner

    def _of_wide(self, settings, kinds, features, targets=None):
        """A new learner for a wide sparse table or stream."""
        featurizer, roles = PlainFeaturizer(SparseScaler(features)), [COLUMNS] * settings["n_networks"]
        return build(self._config(settings), featurizer, roles, *_by_name(kinds), targets=targets)

    def _is_wide(self, X):
        return issparse(X) and X.shape[1] > WIDE and not self._levels

    def _of_stream(self, kinds, X, targets=None):
        """A new learner for a stream that begins with X (N, F)."""
        if self._is_wide(X):
            return self._of_wide(self._settings(OF_WIDE | {"n_networks": 1}), kinds, X.shape[1], targets)
        settings, kind = self._settings(OF_STREAMS), _kind(kinds)
        featurizer = StreamFeaturizer.of_first(X.T, self._levels.keys(), *kind)
        featurizer = featurizer.with_base_models(1 if kind == (2, True) else kind[0], kind[1])
        count = settings["n_networks"]
        options = {"networks": count, "targets": targets}
        return build_stream(self._config(settings), featurizer, stream_roles(count), *_by_name(kinds), **options)

    def _learn(self, learner, X, targets, step_sizes, predicts):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predictions, (C, n)."""
        learner.set_learning_rate(self.learning_rate)
        predicted = learner.learn(X.T, targets, step_sizes, self.batch_size, self._levels.keys(), predicts)
        self.learner_, self.n_iter_ = learner, 1
        return predicted


def _kind(kinds: list[dict[str, Any]]) -> tuple[int, bool]:
    """The number of targets or classes that networks with these arguments predict, and whether these are classes."""
    kind = kinds[0]
    return kind.get("num_classes") or kind["num_outputs"], "num_classes" in kind


def _by_name(kinds: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]:
    """The arguments of the networks of means, of quantiles and of variances."""
    means, *others = kinds
    variances = others.pop() if others and others[-1]["loss"] == "variance" else None
    return means, others, variances


def _roles(featurizer: TableFeaturizer, networks: int, classes: int) -> list[Role]:
    """Half of the networks also mix expansions and means of bins."""
    has_more = len(featurizer.pieces.features) or featurizer.bin_means is not None
    expanded = -(-networks // 2) if has_more and classes < MANY_CLASSES else 0
    return [COLUMNS] * (networks - expanded) + [EXPANDED] * expanded
