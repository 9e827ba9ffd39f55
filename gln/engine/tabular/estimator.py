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

from gln.backends import load_backend
from gln.engine.ensemble.ensemble import grouped
from gln.engine.model.builders import OF_STREAMS, SHALLOW, stream_sizes
from gln.engine.model.featurizers import Featurizer
from gln.engine.model.learner import Learner
from gln.engine.model.persistence import Saveable
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import MANY, OTHERS
from gln.engine.networks.surgery import start_at
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
    if rows >= LONG or heads >= MANY:
        networks = 2 if rows >= LONGER and heads < MANY else 4
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
    """The common part of `GLNClassifier` and `GLNRegressor`: a `learner_`, and how it is made and taught."""

    kept: ClassVar[dict[str, Any]] = {
        **{"n_features_in_": int, "feature_names_in_": np.ndarray, "classes_": np.ndarray, "categories_": dict},
        **{"targets_shape_": tuple, "n_iter_": int, "learner_": Learner},
    }
    changeable = (
        *("backend", "batch_size", "class_weight", "learning_rate", "max_seconds", "n_epochs", "n_jobs"),
        *("random_state", "shuffle", "verbose"),
    )

    glns_ = property(lambda self: self.learner_.ensembles[0].networks, doc="The networks that predict.")
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

    def _seeds(self, settings):
        """One seed per network."""
        rng, most = check_random_state(self.random_state), np.iinfo(np.int32).max
        return rng.randint(most, size=settings["n_networks"]).tolist()

    def _network(self, settings, inputs, features, seed, **loss):
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
            **loss,
        )

    def _table_ensembles(self, settings, losses, featurizer):
        """New networks for a table, half of which also mix encodings and bin means, if there are any."""
        seeds, size = self._seeds(settings), featurizer.size
        plain, encoded = featurizer.inputs(size, 0), featurizer.inputs(size, 1)
        inputs = [plain if i < len(seeds) // 2 else encoded for i in range(len(seeds))]
        networks = [
            [self._network(settings, *sizes, **loss) for sizes in zip(inputs, len(seeds) * [size], seeds, strict=True)]
            for loss in losses
        ]
        return grouped(networks)

    def _stream_networks(self, settings, featurizer, sizes, loss):
        """New networks of a stream, as `stream_sizes` gives them."""
        seeds = self._seeds(settings | {"n_networks": len(sizes)})
        shallow = settings | {"layer_sizes": SHALLOW}
        return [
            self._network(shallow if reads > 1 else settings, featurizer.inputs(columns, reads), columns, seed, **loss)
            for (columns, reads), seed in zip(sizes, seeds, strict=True)
        ]

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def _learn_table(self, losses, X, targets, indices, step_sizes):
        """Learn a table (N, F) from scratch.

        `losses` holds the arguments that give each ensemble's networks their loss and heads. Shapes: targets (N,) or
        (T, N), (V,), (V,) or None.
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
        ensembles = functools.partial(self._table_ensembles, settings, losses)
        self.learner_, self.n_iter_ = fit_table(table, ensembles, training, self.random_state)

    def _stream_learner(self, losses, X, targets=None):
        """A new learner for a stream that begins with X (N, F), of so many `targets`, None for classes."""
        if is_wide(X, self._levels):
            return self._wide_stream_learner(losses, X.shape[1], targets)
        settings, outputs = self._settings(OF_STREAMS), _outputs(losses)
        featurizer = Featurizer.of_stream(X.T, self._levels.keys(), *outputs)
        featurizer = featurizer.with_bases(1 if outputs == (2, True) else outputs[0], outputs[1])
        count = settings["n_networks"]
        sizes = [stream_sizes(featurizer, count), *((len(losses) - 1) * [count * [(featurizer.size, 0)]])]
        networks = [self._stream_networks(settings, featurizer, *pair) for pair in zip(sizes, losses, strict=True)]
        if networks[0][0].num_classes >= MANY:
            for network in networks[0]:
                start_at(network, np.full(network.num_heads, -math.log(OTHERS)))
        return Learner.of_stream(featurizer, grouped(networks, [reads for _, reads in sizes[0]]), targets)

    def _wide_stream_learner(self, losses, features, targets):
        """A new learner for a wide sparse stream."""
        featurizer = Featurizer(SparseScaler(features), distances=False)
        ensembles = self._table_ensembles(self._settings(OF_WIDE | {"n_networks": 1}), losses, featurizer)
        return Learner(featurizer, Classes() if targets is None else Numbers.of_stream(targets), ensembles)

    def _learn(self, learner, X, targets, step_sizes, predicts):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predictions, (C, n)."""
        learner.set_learning_rate(self.learning_rate)
        predicted = learner.learn(X.T, targets, step_sizes, self.batch_size, self._levels.keys(), predicts)
        self.learner_, self.n_iter_ = learner, 1
        return predicted


def _outputs(losses: list[dict[str, Any]]) -> tuple[int, bool]:
    """The number of classes or targets of networks with these arguments, and whether they are classes."""
    return losses[0].get("num_classes") or losses[0]["num_outputs"], "num_classes" in losses[0]
