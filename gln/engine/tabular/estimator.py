"""Shared by the estimators of `gln.sklearn`: checks of tables, networks for tables and for streams, how they learn.

Shapes: N samples, F features, V indices of the samples to learn. As in scikit-learn, a sample is a row; a `Model`
takes columns.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
import math
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from gln.backends import load_backend
from gln.engine.batches import SampleBatch
from gln.engine.model.builders import NetworkConfig
from gln.engine.model.sample_weights import check_stream_weights, indices_of_table
from gln.engine.model.saveable import Saveable
from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.preprocessing.category_codes import as_table
from gln.engine.preprocessing.columns import (
    CATEGORY,
    TEXT,
    Columns,
    repeated_ids,
)
from gln.engine.saving import ENTRIES, Number, bad
from gln.engine.streaming.waiting import Waiting
from gln.engine.tabular.checks import check_targets, numbered_groups
from gln.engine.tabular.defaults import OF_WIDE, passes_over, table_defaults
from gln.engine.tabular.fit import fit_table
from gln.engine.tabular.folds import FOLDS, count_left_out, find_copies
from gln.engine.tabular.inputs import TrainingTable, is_wide
from gln.engine.tabular.reader import TableReader
from gln.engine.tabular.training import Training
from gln.engine.types import MatrixLike
from gln.engine.warn import Note

OF_CLASSES = f"X: texts are left out, because there are {MANY_CLASSES} classes or more"
OF_GROUPS = f"groups: {{0}}, so there are {{0}} folds instead of {FOLDS}"
FEWEST_OF_SHAPE = 20  # rows; with fewer of a table of 200, intervals of 90 % hold .73 to .80 of new targets, else .92
OF_DENSITY = "density: intervals are fitted on {} and may be too narrow; a larger n_networks leaves out more rows"
OF_COPIES = (
    "X, y: {} equal others and are taken for copies, left out together; if they are separate measurements, pass "
    "groups=np.arange(len(y)), else the group of each row (cross_val_score and searches pass groups to splits alone: "
    "to `fit`, too, after set_fit_request(groups=True))"
)
OF_IDS = (
    "groups: {} may tell which rows belong together, but rows are left out one by one; if new rows will be of others, "
    "pass groups=X[name], else groups=np.arange(len(y))"
)
OF_LEFT_OUT = (
    *("oob_score_", "oob_decision_function_", "oob_prediction_", "validation_scores_", "learning_rate_"),
    *("_left_out", "_importances", "_without_groups"),
)


def notes_of_densities(left_out: int, rows: int) -> list[Note]:
    """What to tell if networks of variances leave out too few rows of a table, so many folds of it."""
    shape_rows = round(rows * (left_out / FOLDS) ** 2)
    return [Note(OF_DENSITY, "density", f"{shape_rows} of {rows} rows")] if shape_rows < FEWEST_OF_SHAPE else []


class Estimator(Saveable, TableReader):
    """The common part of `GLNClassifier` and `GLNRegressor`: a `learner_`, and how it is made and trained."""

    kept: ClassVar[dict[str, Any]] = {
        "n_features_in_": Number(int, 1),
        "feature_names_in_": np.ndarray,
        "categories_": {Number(int, 0): {object: Number(int, 0, ENTRIES)}},
        "n_iter_": Number(int, 0),
        "learning_rate_": Number(float, 0),
        "oob_score_": float,
        "validation_scores_": np.ndarray,
        "_importances": np.ndarray,
        "_columns": Columns,
        # A model of `gln.river` that took this one over keeps what it predicted until labels come; here it only lasts.
        "_waiting": Waiting,
    }
    optional: tuple[str, ...] = ("feature_names_in_", "_columns", "_waiting", *OF_LEFT_OUT)
    changeable: tuple[str, ...] = (
        *("backend", "class_weight", "early_stopping", "learning_rate", "n_epochs", "n_jobs"),
        *("partial_learning_rate", "random_state", "shuffle", "verbose"),
    )

    glns_ = property(lambda self: self.learner_.means.networks, doc="The networks that predict.")
    standardizer_ = property(lambda self: self.learner_.featurizer.standardizer, doc="Standardises the features.")

    @property
    def weights_(self) -> dict[str, float]:
        """The weights by which the last neuron mixes networks and a constant, by their names; after `partial_fit` alone
        also linear models, and after `fit` and `partial_fit` also the stream that began then. Of several targets, the
        means. It is empty for a single network."""
        check_is_fitted(self)
        return self.learner_.means.weights

    def __sklearn_is_fitted__(self):
        return hasattr(self, "learner_")  # after an interruption of the first `partial_fit`, other attributes exist

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags

    def _learned(self):
        check_is_fitted(self)
        return {name: value for name, value in super()._learned().items() if not callable(value)}  # a learning rate

    def _check_loaded(self):
        self.learner_.set_learning_rate(self.partial_learning_rate)
        self.learner_.check()
        if "_waiting" in vars(self):
            self._waiting.check(self.learner_)
        features = self.n_features_in_
        names = vars(self).get("feature_names_in_")
        classes = vars(self).get("classes_", [])
        has_labels = type(classes) is list  # 0 and 1 of each label; none of a regressor
        columns = self._columns
        if columns is not None:
            columns.check()
            if len(columns.columns) != features or {*columns.of_kind(CATEGORY)} != {*self.categories_}:
                raise bad("columns", f"{features} columns with categories {[*self.categories_]}", columns.columns)
        made = features if columns is None else len(columns.owners)
        levels = {*self._levels_made}
        known = made, levels, 0 if has_labels else len(classes)
        if self.learner_.sizes(levels) != known or (names is not None and names.shape != (features,)):
            raise bad("learner_", f"features, categories and classes {known}", self.learner_.sizes(levels))
        lists = classes if has_labels else [classes]
        for labels in lists:
            if not np.array_equal(np.unique(labels), labels) or (has_labels and labels.tolist() != [0, 1]):
                raise bad("classes_", "different labels in ascending order", classes)
        heads = vars(self).get("_heads", np.arange(len(classes)))
        if not np.array_equal(np.sort(heads), np.arange(len(classes))):
            raise bad("_heads", f"each number below {len(classes)} once", heads)
        shape = vars(self).get("targets_shape_", (len(classes),))
        if has_labels and (math.prod(shape) != self.learner_.means.heads or {*map(type, shape)} - {int}):
            raise bad("targets_shape_", "the shape of the targets of the networks", shape)

    # ---- Checks of input ---------------------------------------------------------------------------------------------

    def _check_parameters(self):
        """Check the parameters that the networks do not, and that stay the same from the first call on."""
        for name in ("n_networks", "n_epochs"):
            if getattr(self, name, None) is not None:
                check_scalar(getattr(self, name), name, Integral, min_val=1)
        for name in ("shuffle", "early_stopping", "density"):
            if not isinstance(getattr(self, name, True), (bool, np.bool_)):
                raise ValueError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        if not isinstance(getattr(self, "verbose", False), (bool, np.bool_, Integral)):
            raise ValueError(f"verbose: expected a bool or an integer, got {self.verbose!r}")
        load_backend(self.backend)  # raises an error for unknown names

    def _checked(self, X, y, reset, is_table=False, **checks):
        """Validated X and y; also checks the parameters. With `is_table`, columns may be dates, texts or ids."""
        if reset:
            self._check_parameters()
        plain = not reset and self._is_plain(X) and type(y) is np.ndarray and y.dtype.kind in "biuf"
        if not (plain and y.shape == (len(X),) and np.isfinite(y).all()):
            check_targets(y)
            table = X if reset else self._by_name(X, learning=True)
            X, y = self._numbers(table, y, reset=reset, is_table=is_table, **checks)
            X = X if reset else self._made_from(X, table)
        self._check_magnitude(X)
        return X, y

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def explain_words(self, X: MatrixLike) -> pd.DataFrame:
        """Contributions of words and pairs of words in X (N, F); those of a text add up to its one in `explain`.

        There is a row for each word that was learned of each text, with the columns "row" (a number), "column" (a name
        or number), "word", and "contribution", or one for each class or target.
        """
        X = self._by_name(X)
        samples = self._samples(X)
        contributions = self._by_class(self.learner_.explain(samples)[0])
        columns = self._columns or Columns([])
        words = columns.words_of(as_table(X), samples.features.T, contributions)
        names = vars(self).get("feature_names_in_", range(self.n_features_in_))
        rows = [(row, names[column], word, *values) for row, column, word, values in words]
        classes = vars(self).get("classes_")
        outputs = [*classes] if type(classes) is np.ndarray else [*range(len(contributions))]
        if len(contributions) == 1:
            outputs = ["contribution"]
        return pd.DataFrame(rows, columns=["row", "column", "word", *outputs])

    def _by_class(self, by_head):  # (C, ...)
        """What the heads of several classes say, in the order of `classes_`."""
        return by_head[self._heads] if len(by_head) > 1 and "_heads" in vars(self) else by_head

    @property
    def feature_importances_(self) -> np.ndarray:
        """The importance of each feature, (F,): how much worse left-out samples are predicted if it is shuffled.

        It is the log-loss that is added or, for a regressor, the R² that is lost, on at most 2,000 samples of `fit`
        that some networks left out, predicted by these. It is computed when it is first read. A file holds no samples,
        so `save` keeps it only if it has been read before.

        Raises AttributeError without left-out samples: if `partial_fit` learned last, the table was wide and sparse, or
        the model comes from a file; always of a `GLNDensityClassifier`.
        """
        if "_importances" not in vars(self):
            left_out = vars(self).get("_left_out")
            if left_out is None:
                raise AttributeError(
                    "feature_importances_: expected a model that was just fitted to a table of at most 1,000 features, "
                    "or one that was saved after reading them; got one without left-out samples"
                )
            self._importances = left_out.importances(self.n_features_in_)
        return self._importances

    def _forget_left_out(self):
        for name in vars(self).keys() & set(OF_LEFT_OUT):
            delattr(self, name)

    # ---- Networks ----------------------------------------------------------------------------------------------------

    def _settings(self, defaults):
        """The parameters named in `defaults`, with the defaults instead of None."""
        given = {name: getattr(self, name, None) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}

    def _seeds(self, count):
        return check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=count).tolist()

    def _config(self, settings):
        arguments = {name: settings.get(name) for name in ("layer_sizes", "context_map_size", "context_features")}
        arguments |= {"context_bias": self.context_bias, "learning_rate": self.learning_rate}
        return NetworkConfig(self.backend, arguments, self._seeds)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def _learn_table(self, losses, table, X, targets, weights, groups, learned):
        """Learn the numbers (N, D) of a table from scratch. Returns samples that some networks left out, and what these
        predict there.

        Shapes: targets (N,) or (T, N), of bools if they are labels, (N,) or None, groups and which of them are of these
        samples -> (n,), (C, n).
        """
        groups = numbered_groups(groups, learned, X.shape[0])
        classes = losses.means.get("num_classes", 0)
        heads = len(targets) if targets.ndim == 2 else classes - (classes == 2)
        X, words = self._made_for(0 if heads >= MANY_CLASSES and targets.dtype.kind != "f" else heads, X, table)
        indices, step_sizes = indices_of_table(X, targets, weights, self.shuffle)
        settings = self._table_settings(X, indices, losses)
        left_out = count_left_out(
            settings["n_networks"], losses.variances is not None, self._whole.rows or len(indices)
        )
        without_groups = groups is None
        if groups is None:
            groups = find_copies(X, targets)
        notes = self._notes_of_rows(table, groups, without_groups)
        if losses.variances is not None:
            notes += notes_of_densities(left_out, len(indices))
        self._tell("", notes)
        training_table = TrainingTable(
            X,
            indices,
            targets=targets[..., indices],
            step_sizes=step_sizes,
            groups=groups[indices],
            levels={column: len(codes) for column, codes in self._levels_made.items()},
            outputs=classes or len(targets),
            left_out=left_out,
            owners=np.arange(X.shape[1]) if self._columns is None else self._columns.owners,
            texts=words,
            folds=None if self._whole.folds is None else self._whole.folds[indices],
        )
        options = self.shuffle, self.n_jobs, bool(self.verbose), bool(self.early_stopping)
        training = Training(settings["n_epochs"], *options, self.random_state)
        self._forget_left_out()
        fitted = fit_table(training_table, self._config(settings), settings["n_networks"], losses, training)
        self._take_over(fitted)
        if self._whole.folds is not None:
            self._texts_of_folds = fitted.texts_of_folds
        if without_groups:
            self._without_groups = len(indices)  # rows that were left out one by one
        samples, first = np.unique(fitted.samples, return_index=True)
        return samples, fitted.predictions[:, first]

    def _table_settings(self, X, indices, losses):
        """The parameters of a fit, with defaults for a table of this shape instead of None."""
        if is_wide(X):
            return self._settings(OF_WIDE | {"n_epochs": passes_over(len(indices), 5)})
        classes = losses.means.get("num_classes", 0)
        return self._settings(table_defaults(self._whole.rows or len(indices), classes, losses.variances is not None))

    def _notes_of_rows(self, table, groups, without_groups):
        """What to tell of a table to fit: texts that are left out, rows that may belong together, too few groups."""
        notes = []
        if self._columns is not None and self._columns.heads == 0 and self._columns.of_kind(TEXT):
            notes.append(Note(OF_CLASSES, "y"))
        different = len(np.unique(groups))
        if without_groups:
            notes += [Note(OF_IDS, name) for name in repeated_ids(as_table(table))]
            copies = len(groups) - different
            if copies:
                notes.append(Note(OF_COPIES, "rows", f"{copies} of {len(groups)} rows"))
        elif different < FOLDS:
            notes.append(Note(OF_GROUPS, "groups", str(different)))
        return notes

    def _take_over(self, fitted):
        """Keep what was learned of a table."""
        fitted.model.set_learning_rate(self.partial_learning_rate)
        self.learner_: Any = fitted.model
        if self._columns is not None:
            self._columns = dataclasses.replace(self._columns, texts=fitted.texts)
        self.n_iter_ = len(fitted.scores)
        self.validation_scores_ = fitted.scores
        self.learning_rate_ = self.learning_rate if fitted.learning_rate is None else fitted.learning_rate
        self._left_out = fitted.left_out

    def _nothing_learned(self):
        """What `_learn` returns for no samples."""
        features, _, _ = self.learner_.sizes(frozenset())
        return [self.learner_.predict(SampleBatch.of(np.empty((features, 0))))]

    def _learn(self, learner, X, targets, weights, predicts, classes=0):
        """Predict, if `predicts`, and then learn the next samples, with a head for each of so many classes.

        Returns a list of predictions, (C, n).
        """
        if weights is not None:
            check_stream_weights("sample_weight, class_weight", weights)
        learner.set_learning_rate(self.partial_learning_rate)
        learner.check_rates(X.shape[0])  # before anything changes, because a callable may fail
        learner.add_classes(np.arange(classes))
        samples = SampleBatch.of(X.T)
        categorical = self._levels_made.keys()
        late = not predicts and X.shape[0] > 1 and bool(vars(self).get("learner_"))
        predicted = learner.learn(samples, targets, weights, categorical, predicts, late=late)
        self.learner_ = learner
        self.n_iter_ = 1
        self._forget_left_out()  # the model is no longer the one that left out samples
        return predicted
