"""Shared by the estimators of `gln.sklearn`: networks for tables and for streams, and how they learn.

Shapes: N samples, F features, V indices of the samples to learn. As in scikit-learn, a sample is a row; a `Learner`
takes columns.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gln.engine.ensemble.ensemble import COLUMNS, EXPANDED
from gln.engine.model.builders import OF_STREAMS, Losses, NetworkConfig, build, build_stream, stream_roles
from gln.engine.model.featurizers import PlainFeaturizer, StreamFeaturizer
from gln.engine.model.learner import Learner
from gln.engine.model.persistence import Saveable
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.preprocessing.sparse_scaling import SparseScaler
from gln.engine.tabular.blocks import TrainingTable, is_wide
from gln.engine.tabular.duplicates import find_copies
from gln.engine.tabular.fit import Training, fit_table
from gln.engine.tabular.validation import Validation

# A halfspace sees one to three features: one that sees all rarely finds a split that depends on few.
CONTEXT_FEATURES = 3
OF_WIDE = {"layer_sizes": (1,), "n_networks": 8, "context_map_size": 0, "context_features": CONTEXT_FEATURES}
LONG, LONGER = 100_000, 400_000  # rows from which on a table gets four networks, or two, to limit the time of a fit


def of_table(rows: int, heads: int, densities: bool = False) -> dict[str, Any]:
    """What None stands for in `fit`, for a table with this many rows per pass."""
    halfspaces = round(3 + math.log(rows / 5000, 3))  # one more for each factor of three
    # With 16, two networks hold out each sample, and these give its deviation from the mean.
    networks = 16 if densities else 8
    if rows >= LONG or heads >= MANY_CLASSES:
        networks = 2 if rows >= LONGER and heads < MANY_CLASSES else 4
    return {
        "layer_sizes": (32, 16),
        "n_networks": networks,
        "context_map_size": int(np.clip(halfspaces, 3, 8)),
        "context_features": CONTEXT_FEATURES,
        "n_epochs": passes_over(rows, 3),
    }


def of_wide_table(rows: int) -> dict[str, Any]:
    """`of_table` for a wide sparse table."""
    return OF_WIDE | {"n_epochs": passes_over(rows, 5)}


def passes_over(rows: int, usual: int) -> int:
    """Passes over a table: `usual`, more for a short table, fewer for a long one."""
    return int(np.clip(max(1000 // rows, min(usual, 300_000 // rows)), 1, 20))


class Estimator(Saveable, Validation):
    """The common part of `GLNClassifier` and `GLNRegressor`: a `learner_`, and how it is made and trained."""

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
        of_settings = {name: settings[name] for name in ("layer_sizes", "context_map_size", "context_features")}
        rest = {"context_bias": self.context_bias, "learning_rate": self.learning_rate, "seeds": self._seeds}
        return NetworkConfig(backend=self.backend, **of_settings, **rest)

    def _table_learner(self, settings, losses, featurizer, targets):
        """A new learner of a table. Half of its networks also mix expansions and bin means, if there are any."""
        expands = len(featurizer.inputs_of(EXPANDED).names) > len(featurizer.inputs_of(COLUMNS).names)
        count = settings["n_networks"]
        expanded = -(-count // 2) if expands else 0
        roles = [COLUMNS] * (count - expanded) + [EXPANDED] * expanded
        return build(self._config(settings), featurizer, targets, roles, losses)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def _learn_table(self, losses, X, targets, indices, step_sizes):
        """Learn a table (N, F) from scratch.

        Shapes: targets (N,) or (T, N), (V,), (V,) or None.
        """
        rows, (outputs, are_classes) = len(indices), _outputs(losses)
        table = TrainingTable(
            X,
            indices,
            targets=targets[..., indices],
            step_sizes=np.ones(rows) if step_sizes is None else step_sizes,
            copies=find_copies(X, targets)[indices],
            levels={column: len(codes) for column, codes in self._levels.items()},
            outputs=outputs,
        )
        wide, densities = is_wide(X, self._levels), getattr(self, "density", False)
        heads = outputs if are_classes else 1
        settings = self._settings(of_wide_table(rows) if wide else of_table(rows, heads, densities))
        training = Training(
            passes=settings["n_epochs"],
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            seconds=np.inf if self.max_seconds is None else self.max_seconds,
            n_jobs=self.n_jobs,
            verbose=bool(self.verbose),
        )
        new_learner = functools.partial(self._table_learner, settings, losses)
        self.learner_: Any
        self.learner_, self.n_iter_ = fit_table(table, new_learner, training, self.random_state)

    def _stream_learner(self, losses, X, targets=None):
        """A new learner for a stream that begins with X (N, F), of so many `targets`, None for classes."""
        kind = Classes() if targets is None else Numbers.of_stream(targets)
        if is_wide(X, self._levels):
            settings = self._settings(OF_WIDE | {"n_networks": 1})
            featurizer, roles = PlainFeaturizer(SparseScaler(X.shape[1])), [COLUMNS] * settings["n_networks"]
            return build(self._config(settings), featurizer, kind, roles, losses)
        settings, (outputs, are_classes) = self._settings(OF_STREAMS), _outputs(losses)
        stream = StreamFeaturizer.of_first(X.T, self._levels.keys(), outputs, are_classes)
        return build_stream(self._config(settings), stream, kind, stream_roles(settings["n_networks"]), losses)

    def _learn(self, learner, X, targets, step_sizes, predicts):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predictions, (C, n)."""
        learner.set_learning_rate(self.learning_rate)
        predicted = learner.learn(X.T, targets, step_sizes, self.batch_size, self._levels.keys(), predicts)
        self.learner_, self.n_iter_ = learner, 1
        return predicted


def _outputs(losses: Losses) -> tuple[int, bool]:
    """The number of classes or targets of networks with these losses, and whether they are classes."""
    return losses.means.get("num_classes") or losses.means["num_outputs"], "num_classes" in losses.means
