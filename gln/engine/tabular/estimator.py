"""Shared by the estimators of `gln.sklearn`: networks for tables and for streams, and how they learn.

Shapes: N samples, F features. As in scikit-learn, a sample is a row; a `Learner` takes columns.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import itertools
import math
import time
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gln.backends import load_backend
from gln.engine.batches import spread
from gln.engine.ensemble.ensemble import grouped
from gln.engine.model.builders import OF_STREAMS, SHALLOW, stream_sizes
from gln.engine.model.featurizers import Featurizer
from gln.engine.model.learner import Learner
from gln.engine.model.persistence import Saveable
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import MANY_CLASSES, SAMPLED_HEADS
from gln.engine.networks.surgery import set_initial_logits
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

    def _fit(self, ensembles, table):
        """Learn a table from scratch; `ensembles` holds the arguments of each group's networks."""
        start = time.monotonic()
        if self._is_wide(table.X):
            self._fit_wide(ensembles, table, start)
            return
        targets: Classes | Numbers = Classes()
        if table.targets.ndim == 2:
            targets = Numbers.of_stream(len(table.targets))
            targets.standardizer.fit(table.targets)
        own = targets.standardizer.transform(table.targets) if isinstance(targets, Numbers) else table.targets
        levels = {column: len(own) for column, own in self._levels.items()}
        cells = categories = None
        if ensembles[0].get("num_classes", 0) < MANY_CLASSES:
            table, cells = with_cells(table, levels, own, check_random_state(self.random_state))
        if levels:
            categories = TargetEncoding.of_numbers(table.X.shape[1], *_kind(ensembles)).of_table(levels)
            rng = check_random_state(self.random_state) if self.shuffle else None
            table = with_columns(categories, table, own, rng)
        count, features = len(table.rows), table.X.shape[1]
        standardizer = Standardizer(features, **OF_FEATURES)
        standardizer.fit(table.X.T, table.rows)
        heads = int(table.targets.max()) + 1 if table.targets.ndim == 1 else 1
        settings = self._settings(of_table(count, heads, getattr(self, "density", False)))
        z = standardizer.transform(table.samples(spread(count, int(np.clip(VALUES // features, *LOOKED_AT)))))
        networks, pieces = self._networks(settings, ensembles, z, cells.columns if cells else 0)
        learner = Learner(Featurizer(standardizer, categories, pieces=pieces, cells=cells), targets, grouped(networks))
        self._fit_learner(learner, table, settings["n_epochs"], start)

    def _fit_wide(self, ensembles, table, start):
        """`_fit` for a wide sparse table, which stays sparse."""
        passes = {"n_epochs": passes_over(len(table.rows), WIDE_PASSES)}
        settings, targets = self._settings(OF_WIDE | passes), table.targets if table.targets.ndim == 2 else None
        learner = self._of_wide(settings, ensembles, table.X.shape[1], None if targets is None else len(targets))
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

    def _of_wide(self, settings, ensembles, features, targets=None):
        """A new learner for a wide sparse table or stream."""
        seeds = self._seeds(settings)
        networks = [[self._built(settings, features, features, seed, **kind) for seed in seeds] for kind in ensembles]
        kind = Classes() if targets is None else Numbers.of_stream(targets)
        return Learner(Featurizer(SparseScaler(features), distances=False), kind, grouped(networks))

    def _is_wide(self, X):
        return issparse(X) and X.shape[1] > WIDE and not self._levels

    def _of_stream(self, ensembles, X, targets=None):
        """A new learner for a stream that begins with X (N, F)."""
        if self._is_wide(X):
            return self._of_wide(self._settings(OF_WIDE | {"n_networks": 1}), ensembles, X.shape[1], targets)
        settings, kind = self._settings(OF_STREAMS), _kind(ensembles)
        featurizer = Featurizer.of_stream(X.T, self._levels.keys(), *kind)
        featurizer = featurizer.with_bases(1 if kind == (2, True) else kind[0], kind[1])
        count = settings["n_networks"]
        sizes = [stream_sizes(featurizer, count), *((len(ensembles) - 1) * [count * [(featurizer.size, 0)]])]
        networks = [self._of_sizes(settings, featurizer, *each) for each in zip(sizes, ensembles, strict=True)]
        if networks[0][0].num_classes >= MANY_CLASSES:
            for network in networks[0]:
                set_initial_logits(network, np.full(network.num_heads, -math.log(SAMPLED_HEADS)))
        return Learner.of_stream(featurizer, grouped(networks, [reads for _, reads in sizes[0]]), targets)

    def _of_sizes(self, settings, featurizer, sizes, kind):
        """New networks of a stream, as `stream_sizes` gives them."""
        seeds = self._seeds(settings | {"n_networks": len(sizes)})
        shallow = settings | {"layer_sizes": SHALLOW}
        return [
            self._built(shallow if reads > 1 else settings, featurizer.inputs(columns, reads), columns, seed, **kind)
            for (columns, reads), seed in zip(sizes, seeds, strict=True)
        ]

    def _networks(self, settings, ensembles, z, cells):  # (F, n), standardised samples
        """New networks of each group, with halfspaces between these samples, and encodings for half of the networks."""
        seeds, pieces = self._seeds(settings), quantile_pieces(z)
        encoded = 0 if ensembles[0].get("num_classes", 0) >= MANY_CLASSES else -(-len(seeds) // 2)
        inputs = [2 * len(z)] * (len(seeds) - encoded) + [2 * len(z) + len(pieces.features) + cells] * encoded
        networks = [
            [self._built(settings, size, len(z), seed, **kind) for seed, size in zip(seeds, inputs, strict=True)]
            for kind in ensembles
        ]
        for network in itertools.chain(*networks) if z.shape[1] > 1 else ():
            network.fit_hyperplanes(z)
        return networks, pieces

    def _learn(self, learner, X, targets, step_sizes, predicts):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predictions, (C, n)."""
        learner.set_learning_rate(self.learning_rate)
        predicted = learner.learn(X.T, targets, step_sizes, self.batch_size, self._levels.keys(), predicts)
        self.learner_, self.n_iter_ = learner, 1
        return predicted


def _kind(ensembles: list[dict[str, Any]]) -> tuple[int, bool]:
    """The number of targets or classes that networks with these arguments predict, and whether these are classes."""
    kind = ensembles[0]
    return kind.get("num_classes") or kind["num_outputs"], "num_classes" in kind
