"""Gated Linear Networks as a scikit-learn classifier and regressor, on any backend.

Shapes: N samples, F features, C classes, L labels, T targets, Q quantiles, M networks. As in scikit-learn, a sample is
a row; a `Model` takes columns.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_array, check_random_state, column_or_1d

from gln.engine.batches import SampleBatch, check_integer
from gln.engine.class_density.classifier import ClassDensityClassifier
from gln.engine.docstrings import documented_like
from gln.engine.ensemble.johnson_su import checked_levels
from gln.engine.interrupts import uninterrupted
from gln.engine.model.builders import Losses, checked_loss
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.sample_weights import STREAM_WEIGHT, indices_of_table
from gln.engine.model.targets import Classes, Labels, Numbers, Targets, sum_to_one
from gln.engine.preprocessing.scaling import SparseScaler
from gln.engine.saving import Array
from gln.engine.streaming.model import OF_STREAMS, StreamModel, build_stream, stream_roles
from gln.engine.tabular import checks
from gln.engine.tabular.defaults import OF_WIDE
from gln.engine.tabular.estimator import Estimator
from gln.engine.tabular.folds import representing
from gln.engine.tabular.inputs import PlainFeaturizer, is_wide
from gln.engine.tabular.model import TableModel
from gln.engine.types import ClassWeight, ColumnNames, MatrixLike, RandomState, VectorLike
from gln.engine.warn import Note

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["GLNClassifier", "GLNDensityClassifier", "GLNRegressor"]

OF_RATE = "{} is that of `fit`; `partial_fit` learns at partial_learning_rate"
OF_NEW_CLASSES = "{} is new, and a class from now on; `classes` names those to expect"
CLIPPING = 1e-4  # probabilities are in [1e-4, 1 - 1e-4]; with 1e-3 the most confident ones would all be equal


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class OfStreams(Estimator):
    """The common part that knows streams, too, with the parameters that both have."""

    layer_sizes: Sequence[int] | None = dataclasses.field(default=None, kw_only=False)
    n_networks: int | None = None
    context_map_size: int | None = None
    context_bias: float = 1.0
    learning_rate: float | Callable[[int], float] | None = None
    partial_learning_rate: float | Callable[[int], float] | None = None
    n_epochs: int | None = None
    early_stopping: bool = False
    shuffle: bool = True
    backend: str | type = "auto"
    n_jobs: int | None = None
    random_state: RandomState = None
    verbose: bool | int = False
    categorical_features: ColumnNames = "from_dtype"
    text_features: ColumnNames = "auto"

    def _new_stream_learner(self, losses: Losses, X: MatrixLike, targets: Targets) -> TableModel | StreamModel:
        """A new model for a stream that begins with X (N, F)."""
        if self.learning_rate is not None:
            self._tell("", [Note(OF_RATE, "learning_rate")])
        if is_wide(X):
            settings = self._settings(OF_WIDE | {"n_networks": 1})
            wide = PlainFeaturizer(SparseScaler(X.shape[1]))
            return TableModel.start(self._config(settings), settings["n_networks"], losses, wide, targets)
        settings = self._settings(OF_STREAMS)
        levels = self.categories_
        outputs = losses.means.get("num_classes") or losses.means["num_outputs"]
        featurizer = Featurizer.of_first(SampleBatch.of(X.T), levels.keys(), outputs, targets.are_classes)
        roles = stream_roles(bool(levels), networks=settings["n_networks"])
        return build_stream(self._config(settings), featurizer, targets, roles, losses)


class _Classifies(ClassifierMixin):
    """Predictions of classes, and how a stream of them is learned."""

    classes_: VectorLike
    learner_: Any

    kept: ClassVar[dict[str, Any]] = {
        "classes_": lambda value: {np.ndarray} == {*map(type, value if type(value) is list else [value])},
        "_heads": Array("i8", "*", 0),
    }

    def partial_fit(
        self, X: MatrixLike, y: VectorLike, classes: VectorLike = None, sample_weight: VectorLike = None
    ) -> Self:
        """Learn the next samples of a stream once, in order, each standardised by the samples up to it.

        They must not be those of `fit`, whose targets it has used: with texts, replaying a table raised the log-loss of
        new samples from .631 to .973.

        The labels of a call come together, so in `GLNClassifier` its samples are predicted, a hundred at a time, before
        any of these is learned, and networks that predict well by then get more weight. (The first call of a new model
        and `partial_fit_predict_proba` predict each sample just before it is learned.) Parts of a stream give the same
        networks as the whole if the first contains all levels of the categories with few levels.
        `partial_learning_rate` may change between calls; other parameters are those of the first call.

        Columns of a frame are found by name, here and wherever X is a frame: a column that is missing has missing
        values, a new one is learned from now on (as `fit` would, but texts are categories), and elsewhere it is left
        out with a warning. No rows change nothing, once there is a model.

        After an error, the estimator is as it was before. An interrupt (Ctrl-C) waits for the end of the call.
        `oob_score_`, `feature_importances_` and all else that samples left out by `fit` determined are removed.

        Parameters
        ----------
        X, y : as in `fit`
        classes : array-like of shape (C,), default=None
            Classes that the stream may contain. Required in the first call of a new model, with all labels of that
            call; in later ones, further classes, or None. A label that is new then is a new class, with a warning
            unless it is among them. Not used for several labels.
        sample_weight : array-like of shape (N,), default=None
            From 0 to 10^6, ideally about 1: a sample of weight 2 counts as two. If all are 0, nothing changes.
        """
        self._learn_stream(X, y, classes, sample_weight)
        return self

    def partial_fit_predict_proba(self, X: MatrixLike, y: VectorLike, classes: VectorLike = None) -> np.ndarray:
        """Like `partial_fit`, but returns what `predict_proba` does for each sample before learning it."""
        predicted = np.concatenate(self._learn_stream(X, y, classes, predicts=True), axis=1)
        return _listed(_shares(self._by_class(predicted), self.classes_))

    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Logits for X (N, F): of `classes_[1]`, (N,); with more than two classes, of each against the rest, (N, C); of
        several labels, (N, L)."""
        samples = self._samples(X)
        logits = self._by_class(self.learner_.decision(samples))
        return logits[0] if len(logits) == 1 else logits.T

    def predict_proba(self, X: MatrixLike) -> Any:
        """Probabilities (N, C) for X (N, F); with more than two classes they are one-vs-rest, normalised.

        For several labels, a list of arrays (N, 2) as in scikit-learn's forests: of 0 and 1 for each label.
        """
        return _listed(self._predicted(X))

    def predict(self, X: MatrixLike) -> np.ndarray:
        """The most probable class of each sample, (N,), for X (N, F), or 0 or 1 for each of several labels, (N, L)."""
        best = self._predicted(X).argmax(axis=1)
        return (self.classes_[0] if type(self.classes_) is list else self.classes_)[best]

    def _predicted(self, X):  # (N, F) -> (N, C) or (N, 2, L)
        samples = self._samples(X)
        return _shares(self._by_class(self.learner_.predict(samples)), self.classes_)

    @property
    def n_outputs_(self) -> int:
        """The number of labels of a sample; 1 unless there are several columns of them."""
        return len(self.classes_) if type(self.classes_) is list else 1

    def explain(self, X: MatrixLike) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of the features to each prediction; with a constant they add up to `decision_function`.

        Between its halfspaces, a network is linear in what it mixes of a feature: the feature itself, its distance from
        its mean, its encoding, its columns if it is a category, and its cells. The contribution is the sum of all,
        minus their sum at the feature's mean, or for cells what they say on average; that of a pair's cell is divided
        equally between its two features. `gln.plots.plot_contributions` draws contributions.

        Shapes: X (N, F) -> contributions (N, F) or (N, C, F), constant (N,) or (N, C); with L in place of C for several
        labels.
        """
        samples = self._samples(X)
        contributions, constant = map(self._by_class, self.learner_.explain(samples))
        contributions = self._summed(contributions)
        return (contributions[0], constant[0]) if len(constant) == 1 else (contributions.swapaxes(0, 1), constant.T)

    def _several(self, y: VectorLike) -> np.ndarray | None:
        """Several labels, (N, L), or None for classes."""
        return None

    def _class_numbers(self, labels: VectorLike, y: np.ndarray) -> np.ndarray:  # (N,), (n,) -> (n,)
        """The classes of samples to fit. All labels become `classes_`, as in scikit-learn also those of weight 0."""
        labels = column_or_1d(labels)
        checks.check_labels(labels)
        self.classes_ = np.unique(labels)
        return np.searchsorted(self.classes_, y)

    @uninterrupted
    def _learn_stream(self, X, y, classes, sample_weight=None, predicts=False):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predictions, (C, n)."""
        with checks.undone_after(Exception, self):
            first = not hasattr(self, "learner_")
            several = self._several(y)
            if several is not None:
                y = several
                classes = None
                known = _binary_classes(several) if first else self.classes_
            elif first and classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            else:
                classes = None if classes is None else checks.checked_classes(classes)
                known = classes if first else self.classes_
            if not first and self.n_outputs_ != (1 if several is None else several.shape[1]):
                expected = f"as many columns as in the first call, {self.n_outputs_}"
                raise ValueError(f"y: expected {expected}, got shape {np.shape(y)}")
            if not first and checks.are_empty(X, y):
                return self._nothing_learned()
            X, y, weights, _ = checks.with_weight(X, y, sample_weight, self.class_weight, least=0)
            if weights is not None and len(weights) == 0:
                return []
            X, y = self._checked(X, y, reset=first, multi_output=several is not None)
            if several is None and not first:
                known = self._with_new_classes(classes, y)
            targets = checks.class_numbers(y, known) if several is None else y.T.astype(np.float64)
            if isinstance(self.class_weight, str):
                raise ValueError(f"class_weight: expected a dict or None in partial_fit, got {self.class_weight!r}")
            weights = checks.with_class_weights(self.class_weight, targets, known, weights, most=STREAM_WEIGHT)
            learner = self._stream_learner(_losses(known), X) if first else self.learner_
            if several is not None:
                self.classes_ = known
                return self._learn(learner, X, targets, weights, predicts)
            self._heads = self._heads_of(known)
            self.classes_ = known
            return self._learn(learner, X, self._heads[targets], weights, predicts, len(known))

    def _with_new_classes(self, classes, y):  # (C,) or None, (N,)
        """All classes, sorted, with those that `classes` names and those of labels that are new."""
        named = self.classes_ if classes is None else checks.joined_classes(self.classes_, classes)
        known = checks.joined_classes(named, y)
        self._tell("y: ", [Note(OF_NEW_CLASSES, label) for label in np.setdiff1d(known, named).tolist()])
        return known

    def _heads_of(self, known):  # (C,)
        """The head of each class; those of new classes come last."""
        old = np.searchsorted(known, vars(self).get("classes_", known))
        heads = np.full(len(known), -1)
        heads[old] = vars(self).get("_heads", np.arange(len(old)))
        heads[heads < 0] = np.arange(len(old), len(known))
        return heads


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class GLNClassifier(_Classifies, OfStreams):
    """Gated Linear Network classifier.

    It learns one sample after another, without backpropagation: in several passes over a table by `fit`, or from a
    stream by `partial_fit`. Features need no scaling: they are standardised by the samples seen so far. A missing value
    counts as the feature's mean, and so does a value far from all earlier ones. After `fit`, a level of a category that
    was not seen counts as the mean of all levels, unlike a missing one. docs/tables.md says what networks read of
    features and categories.

    Each network of `fit` leaves out an eighth of the samples, on which the weights of networks are learned, so that
    probabilities are calibrated. In `partial_fit`, these go on learning; a new model has networks that learn at several
    rates, and linear models.

    Targets may be several labels of a sample (multilabel): columns of 0 and 1. The networks then have one head per
    label, and all that is said of classes holds for each label by itself.

    Wide sparse tables (sparse arrays of more than 1,000 features, such as words) are learned differently: features are
    scaled but not centred, a missing value counts as 0, and each network is by default one neuron without halfspaces.

    Parameters
    ----------
    layer_sizes : sequence of int or None, default=None
        Neurons of each layer. None is (16, 8) in `fit` and (64, 32) in `partial_fit`; (1,) for wide sparse tables.
    n_networks : int or None, default=None
        Number of networks, each with its own halfspaces and order of samples; the prediction is the weighted mean of
        their logits. None is 12 in `fit`, 6 with at least 100,000 samples or 100 classes, and 4 with at least 400,000
        samples; 8 for wide sparse tables. In `partial_fit` it is 2, or 1 for wide sparse streams.
    context_map_size : int or None, default=None
        Halfspaces per neuron. A neuron has a row of weights for each of their 2^context_map_size combinations. None is
        5 in `partial_fit`, and 3 to 8 in `fit`: one more for each factor of three beyond 5,000 samples. For wide sparse
        tables it is 0: no halfspaces.
    context_bias : float, default=1.0
        In `partial_fit`, the standard deviation of the halfspaces' distances from the mean of the features. `fit`
        places halfspaces between samples.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable that returns one for the number of samples learned so far. In `fit`, None
        falls linearly to 0.01, from 3 or from 0.3, which is better for noisy tables, or from three times as much with
        encodings. Up to six networks try both, and what these left out decides.
    partial_learning_rate : float, callable or None, default=None
        As `learning_rate`, in `partial_fit`. There, None falls from min(5, sqrt(d) / 2), d the inputs of the first
        layer, to 0.5 for slow networks and 3 for fast ones; see `gln.rates.stream_rate`. After `fit`, a third of the
        networks are slow, and others learn at a tenth and at 0.03 of that rate: the last neuron finds out which to
        trust, so that a table that does not change is not forgotten.
    n_epochs : int or None, default=None
        Passes of `fit` over the samples. None is about 1000 / N, at least 3 (5 for wide sparse tables) and at most 20;
        for long tables it is about 300,000 / N, at least 1.
    early_stopping : bool, default=False
        Whether `fit` goes on for as many passes again, while that raises the score of what networks left out by 0.001,
        at most ten times. It helps where there is little noise.
    shuffle : bool, default=True
        Whether `fit` shuffles the samples before each pass. `partial_fit` keeps their order.
    class_weight : dict, "balanced" or None, default=None
        Factors by which the weights of each class's samples are multiplied. "balanced", in `fit` only, gives all
        classes the same total weight. None for several labels.
    backend : {"auto", "numpy", "numba", "torch", "jax", "tf"}, path or class, default="auto"
        The implementation. All predict the same, up to rounding; "auto" is the fastest of Numba, JAX and NumPy that is
        installed. A changed copy of a file is given by its path, "my.py", or as its `GLN`; `load` needs it again.
    n_jobs : int or None, default=None
        Number of threads in `fit`; None is as many as HistGradientBoosting takes, and -1 is all processors. The result
        does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the halfspaces and the order of the samples. Pass an int for reproducible results.
    verbose : bool or int, default=False
        Whether `fit` shows a progress bar, with the score of what networks left out after each pass.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which features are categories: "from_dtype" takes the categorical and text columns of a pandas or polars frame
        that `fit` does not find to be dates, texts or ids; an array-like holds a mask, column numbers or names. None
        takes all features as numbers.
    text_features : "auto", array-like or None, default="auto"
        Which features are texts, of which `fit` learns words: "auto" takes string columns whose values are mostly
        several words and mostly different; an array-like holds a mask, column numbers or names. `fit` warns of what
        "auto" took for texts. A text becomes what ridge regression predicts from its words and pairs of words, one
        column per class or target, for the rows of `fit` out of fold. With None, and in `partial_fit` alone, texts are
        categories; with 100 classes or more they are left out.

    Attributes
    ----------
    classes_ : ndarray of shape (C,), or a list of L arrays
        The class labels; for several labels 0 and 1 of each.
    n_outputs_ : int
        1, or L for several labels.
    n_features_in_ : int
        Number of features seen.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.
    columns_ : DataFrame
        What each feature was taken for (a number, a category, dates, text or an id), what it becomes, and what told it.
    categories_ : dict
        For each category, by column number, the codes of its levels.
    n_iter_ : int
        Passes over the samples in the last `fit` or `partial_fit`: `n_epochs`, or more with `early_stopping`.
    oob_score_ : float
        The accuracy of samples of `fit` that networks left out, an estimate for new samples. As in scikit-learn's
        random forests, only those that left out a sample predict it. Each class counts by its share of the table.
        Several labels count if all are right, as in `score`.
    oob_decision_function_ : ndarray of shape (N, C) or (N, 2, L)
        Their probabilities, NaN for samples that none left out, about five of eight, or had no weight. No file has
        them.
    validation_scores_ : ndarray of shape (n_iter_,)
        Minus the log-loss of these samples after each pass, the mean of several labels.
    learning_rate_ : float or callable
        The rate at which `fit` began, without encodings.
    feature_importances_ : ndarray of shape (n_features_in_,)
        By how much the log-loss rises if a feature is shuffled among these samples; computed when it is first read.
    learner_ : gln.engine.tabular.model.TableModel or gln.engine.streaming.model.StreamModel
        The networks and the standardizer of their inputs, also available as `glns_` and `standardizer_`.

    References
    ----------
    J. Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from gln.sklearn import GLNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> GLNClassifier(random_state=0).fit(X, y).predict(X[:2])
    array([0, 0])
    """

    class_weight: ClassWeight = None

    def fit(
        self,
        X: MatrixLike,
        y: VectorLike,
        sample_weight: VectorLike = None,
        groups: VectorLike = None,
        time: VectorLike = None,
    ) -> GLNClassifier:
        """Learn a table from scratch. To continue with other samples, use `partial_fit` (docs/living.md).

        After an error or an interruption, the estimator is as it was before.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
            Unscaled numbers, categories, dates and texts; NaN or None is a missing value. With Numba, a sparse array of
            more than 1,000 features stays sparse; any other is made dense.
        y : array-like of shape (N,), or array-like or sparse array of shape (N, L)
            Class labels, of at least two classes, or several labels, each 0 or 1.
        sample_weight : array-like of shape (N,), default=None
            At least 0. A sample of weight 2 is learned as if it occurred twice, one of 0.5 by half a step, and one of 0
            is as if it were not there, except that its class is in `classes_`. Weights whose mean is outside [1, 10]
            are scaled, so they may sum to one, as in AdaBoost.
        groups : array-like of shape (N,), default=None
            The group of each row, such as the patient of a measurement: numbers, text or other labels with a hash, at
            least two. Rows of a group are left out together; with fewer groups than eight, some networks leave out
            none. None takes equal rows for copies of one another if they are too many for chance, as in a bootstrap
            sample; a warning says how many. `np.arange(N)` says that all rows are independent.
        time : str or array-like of shape (N,), default=None
            When each row was measured, as a number or a date, or the name of a column of X that says so. Eight blocks
            of neighbouring rows are then left out instead of `groups`, for a model that is to predict later rows.
        """
        with checks.undone_after(BaseException, self):
            groups = checks.groups_of(X, groups, time)
            several = self._several(y)
            labels = y if several is None else several
            table, y, weights, learned = checks.with_weight(X, labels, sample_weight, self.class_weight)
            X, y = self._checked(table, y, reset=True, is_table=True, multi_output=several is not None)
            if several is None:
                targets = self._class_numbers(labels, y)
            else:
                self.classes_ = _binary_classes(several)
                targets = y.T.astype(bool)
            self.__dict__.pop("_heads", None)
            losses = _losses(self.classes_)
            weighted = checks.with_class_weights(self.class_weight, targets, self.classes_, weights)
            samples, predicted = self._learn_table(losses, table, X, targets, weighted, groups, learned)
            p = _shares(predicted, self.classes_)
            weights = np.ones(len(y)) if weights is None else weights
            self.oob_decision_function_ = checks.in_all_rows(p, samples, learned, X.shape[0])
            weights = representing(targets, weights, samples)
            self.oob_score_ = self._score_left_out(targets[..., samples], predicted, weights)
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    kept = OfStreams.kept | _Classifies.kept | {"learner_": (TableModel, StreamModel)}
    optional = (*OfStreams.optional, "_heads")

    def _score_left_out(self, targets, predicted, weights):  # (..., n), (C, n), (n,) or None
        return _score_of(accuracy_score, targets.T, _shares(predicted, self.classes_).argmax(axis=1), weights)

    def _several(self, y: VectorLike) -> np.ndarray | None:
        """Several labels, (N, L), or None for classes. Raises ValueError for class weights of several labels."""
        several = checks.as_labels(y)
        if several is not None and self.class_weight is not None:
            came = f"{self.class_weight!r}, which sklearn.multioutput.MultiOutputClassifier can give each"
            raise ValueError(f"class_weight: expected None for several labels, got {came}")
        return several

    def _stream_learner(self, losses: Losses, X: MatrixLike) -> TableModel | StreamModel:
        labels = losses.means.get("num_outputs")
        return self._new_stream_learner(losses, X, Classes() if labels is None else Labels.of_stream(labels))


@documented_like(GLNClassifier)
@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class GLNDensityClassifier(_Classifies, Estimator):
    """Classifier whose classes each learn from their own samples alone.

    A class is its mean, its covariance, its levels of categories, and a Gated Linear Network that tells its samples
    from noise of this mean and covariance (docs/papers.md). The result is the same in whichever order classes come,
    even one after another; nothing is forgotten. Where the order is random, `GLNClassifier` is usually more accurate.

    Features need no scaling, and a missing value says nothing. Time and memory grow with the square of the number of
    features, of which there may be 1,000.

    Parameters
    ----------
    layer_sizes : sequence of int, default=(64, 32)
        Neurons of each layer.
    n_networks : int, default=1
        Networks of each class, whose logits are averaged.
    context_map_size : int, default=5
        Halfspaces per neuron. A neuron has a row of weights for each of their 2^context_map_size combinations.
    context_bias : float, default=1.0
        Standard deviation of the halfspaces' distances from the mean.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable that returns one for the number of samples learned so far. None is 1.
    shuffle : bool, default=True
        Whether `fit` shuffles the samples. `partial_fit` keeps their order.
    class_weight
    backend, random_state
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which features are categories: "from_dtype" takes the categorical and text columns of a pandas or polars frame;
        an array-like holds a mask, column numbers or names. None takes all features as numbers.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The class labels.
    n_features_in_, feature_names_in_, columns_, categories_
    learner_ : gln.engine.class_density.classifier.ClassDensityClassifier
        The densities of the classes, `learner_.classes`, also available as networks, `glns_`.

    References
    ----------
    M. Gutmann and A. Hyvärinen, "Noise-contrastive estimation", AISTATS 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from gln.sklearn import GLNDensityClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> GLNDensityClassifier(random_state=0).fit(X, y).predict(X[:2])
    array([0, 0])
    """

    layer_sizes: Sequence[int] = dataclasses.field(default=OF_STREAMS["layer_sizes"], kw_only=False)
    n_networks: int = 1
    context_map_size: int = OF_STREAMS["context_map_size"]
    context_bias: float = 1.0
    learning_rate: float | Callable[[int], float] | None = None
    shuffle: bool = True
    class_weight: ClassWeight = None
    backend: str | type = "auto"
    random_state: RandomState = None
    categorical_features: ColumnNames = "from_dtype"

    text_features = None  # texts are categories
    partial_learning_rate = property(lambda self: self.learning_rate, doc="The learning rate, in `fit`, too.")
    kept = Estimator.kept | _Classifies.kept | {"learner_": ClassDensityClassifier}
    optional = (*Estimator.optional, "_heads")
    changeable = ("backend", "class_weight", "learning_rate", "random_state", "shuffle")

    def fit(self, X: MatrixLike, y: VectorLike, sample_weight: VectorLike = None) -> GLNDensityClassifier:
        """Learn each sample of a table once, from scratch. To continue with other samples, use `partial_fit`.

        After an error or an interruption, the estimator is as it was before.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
            Unscaled numbers and categories; NaN or None is a missing value. A sparse array is made dense.
        y : array-like of shape (N,)
            Class labels, of at least two classes.
        sample_weight : array-like of shape (N,), default=None
            As in `GLNClassifier.fit`.
        """
        with checks.undone_after(BaseException, self):
            labels = y
            X, y, weights, _ = checks.with_weight(X, y, sample_weight, self.class_weight)
            X, y = self._checked(X, y, reset=True)
            targets = self._class_numbers(labels, y)
            self.__dict__.pop("_heads", None)
            weights = checks.with_class_weights(self.class_weight, targets, self.classes_, weights)
            indices, step_sizes = indices_of_table(X, targets, weights, self.shuffle)
            if self.shuffle:
                order = check_random_state(self.random_state).permutation(len(indices))
                indices = indices[order]
                step_sizes = step_sizes[order]
            learner = self._stream_learner(_losses(self.classes_), X)
            self._learn(learner, X[indices], targets[indices], step_sizes, predicts=False)
        return self

    def _stream_learner(self, losses: Losses, X: MatrixLike) -> ClassDensityClassifier:
        settings = self._settings(OF_STREAMS)
        return ClassDensityClassifier.start(self._config(settings), self.n_networks, X.shape[1], losses.means)


@documented_like(GLNClassifier)
@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class GLNRegressor(RegressorMixin, MultiOutputMixin, OfStreams):
    """Gated Linear Network regressor.

    It learns like `GLNClassifier`: in several passes over a table by `fit`, or from a stream by `partial_fit`. Targets
    need no scaling, either. In `fit`, the samples that each network leaves out are used to learn weights and an offset
    for the means.

    Means, quantiles and samples stay within the range of the targets and a tenth of it at both ends, and never have a
    sign that no target had.

    Parameters
    ----------
    layer_sizes
    quantiles : sequence of float or None, default=None
        Levels in (0, 1) that `predict_quantiles` predicts: (0.05, 0.95) gives intervals that contain about 90% of the
        targets. They are those of the density, which is learned with them.
    density : bool, default=False
        Whether to learn the distribution of each target around its mean, for `predict` with `return_std`,
        `predict_quantiles`, `log_density` and `sample`. Separate networks learn the variance. `fit` learns it from
        samples that the networks of the mean left out, and adds a shape that all samples share; in `partial_fit` the
        shape follows the targets.
    loss : str, default="squared_error"
        What the networks of the mean minimise, on standardised targets: another name only for a `backend` that is a
        changed copy of a file, one of its `LOSSES` with `num_outputs` heads and the link "itself". Networks are
        weighted by squared errors, whatever their loss.
    n_networks : int or None, default=None
        Number of networks, each with its own halfspaces and order of samples; the prediction is their weighted mean.
        None is 12 in `fit`, 16 with densities, 6 with at least 100,000 samples, or 4 with at least 400,000; 8 for wide
        sparse tables. In `partial_fit` it is 2, or 1 for wide sparse streams.
    context_map_size, context_bias
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable that returns one for the number of samples learned so far. In `fit`, None
        falls linearly to 0.01, from 0.5, or from three times as much with encodings.
    partial_learning_rate : float, callable or None, default=None
        As `learning_rate`, in `partial_fit`. There, None falls from 0.3 to 0.1 for slow networks and is 0.5 for fast
        ones; see `gln.rates.stream_rate`. After `fit` it is as in `GLNClassifier`.
    n_epochs, early_stopping, shuffle
    backend, n_jobs, random_state, verbose, categorical_features, text_features

    Attributes
    ----------
    n_features_in_, feature_names_in_, columns_, categories_, n_iter_
    oob_score_ : float
        R² of samples of `fit` that networks left out, an estimate for new samples. As in scikit-learn's random
        forests, only those that left out a sample predict it.
    oob_prediction_ : ndarray of shape (N,) or (N, T)
        Their predicted means, NaN for samples that none left out, about five of eight, or had no weight. No file has
        them.
    validation_scores_ : ndarray of shape (n_iter_,)
        R² of these samples after each pass, the mean of the targets that vary among them; NaN if none does.
    learning_rate_
    feature_importances_ : ndarray of shape (n_features_in_,)
        By how much R² falls if a feature is shuffled among these samples; computed when it is first read.
    learner_ : gln.engine.tabular.model.TableModel or gln.engine.streaming.model.StreamModel
        The networks and the standardizers of features and targets, also available as `standardizer_`,
        `target_standardizer_` and `glns_` (means, one head per target). `learner_.variances` is an ensemble with one
        head per target.
    targets_shape_ : tuple
        Shape of a sample's targets: () if y was (N,), else (T,).

    References
    ----------
    J. Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from gln.sklearn import GLNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GLNRegressor(quantiles=(0.05, 0.95), random_state=0).fit(X[:400], y[:400])
    >>> model.predict(X[400:402]).shape, model.predict_quantiles(X[400:402]).shape
    ((2,), (2, 2))
    """

    quantiles: Sequence[float] | None = None
    density: bool = False
    loss: str = "squared_error"

    def fit(
        self,
        X: MatrixLike,
        y: VectorLike,
        sample_weight: VectorLike = None,
        groups: VectorLike = None,
        time: VectorLike = None,
    ) -> GLNRegressor:
        """Learn a table from scratch. To continue learning, use `partial_fit`.

        After an error or an interruption, the estimator is as it was before.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
            As in `GLNClassifier.fit`.
        y : array-like of shape (N,) or (N, T)
            Finite, unscaled numbers.
        sample_weight, groups, time : array-like of shape (N,), default=None
            As in `GLNClassifier.fit`.
        """
        with checks.undone_after(BaseException, self):
            groups = checks.groups_of(X, groups, time)
            table, y, weights, learned = checks.with_weight(X, y, sample_weight)
            X, targets, self.targets_shape_ = self._numbers_of(table, y, reset=True, is_table=True)
            losses = self._losses(len(targets))
            samples, predicted = self._learn_table(losses, table, X, targets, weights, groups, learned)
            self.oob_prediction_ = checks.in_all_rows(self._means(predicted), samples, learned, X.shape[0])
            weights = None if weights is None else weights[samples]
            self.oob_score_ = self._score_left_out(targets[:, samples], predicted, weights)
        return self

    def partial_fit(self, X: MatrixLike, y: VectorLike, sample_weight: VectorLike = None) -> GLNRegressor:
        """Learn the next samples of a stream, as `GLNClassifier.partial_fit` does; errors are undone in the same way.

        X and y are as in `fit`, and `sample_weight`, (N,), as in `GLNClassifier.partial_fit`, from 0 to 10^6.
        """
        self._learn_stream(X, y, sample_weight)
        return self

    def partial_fit_predict(self, X: MatrixLike, y: VectorLike) -> np.ndarray:
        """Like `partial_fit`, but returns the mean predicted for each sample before learning it, in the shape of y."""
        return self._means(np.concatenate(self._learn_stream(X, y, predicts=True), axis=1))

    def predict(self, X: MatrixLike, return_std: bool = False) -> Any:
        """The mean of the targets for X (N, F): (N,) or (N, T), like y.

        With `return_std`, also the targets' standard deviations, in the same shape.
        """
        samples = self._samples(X)
        if not return_std:
            return self._means(self.learner_.predict(samples))
        mean, std = self._moments(samples, "return_std")
        return self._means(mean), self._means(std)

    def predict_quantiles(self, X: MatrixLike, levels: VectorLike = None) -> np.ndarray:
        """Quantiles of the targets for X (N, F), in ascending order: (N, Q) or (N, T, Q).

        `levels` are Q numbers in (0, 1). None is the levels of `quantiles`; without these, 0.05 and 0.95.
        """
        samples = self._samples(X)
        mean, std = self._moments(samples, "levels")
        given = (0.05, 0.95) if self.quantiles is None else self.quantiles
        levels = checked_levels("levels", given if levels is None else levels)
        quantiles = mean[:, None] + std[:, None] * self.learner_.shape.quantiles(levels)[..., None]  # (T, Q, N)
        quantiles = quantiles.clip(*self._limits)
        return quantiles.transpose(2, 0, 1).reshape(-1, *self.targets_shape_, len(levels))

    def log_density(self, X: MatrixLike, y: VectorLike) -> np.ndarray:
        """Natural logarithm of the predicted density at each target, in units of 1 / y.

        Shapes: X (N, F), y (N,) or (N, T) -> (N,) or (N, T). The mean of the result is the mean log-likelihood. The
        density is without the limits of quantiles.
        """
        mean, std = self._moments(self._samples(X), "log_density")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        checks.check_targets(y)
        if y.shape != (mean.shape[1], *self.targets_shape_):
            raise ValueError(f"y: expected shape {(mean.shape[1], *self.targets_shape_)}, got {y.shape}")
        deviations = (y.reshape(len(y), -1).T - mean) / std
        return self._means(self.learner_.shape.log_density(deviations) - np.log(std))

    def sample(self, X: MatrixLike, n: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw n targets for each sample of X (N, F) from their predicted densities: (N, n) or (N, T, n).

        Several targets are drawn independently of each other. Pass an int as `random_state` for reproducible draws.
        """
        mean, std = self._moments(self._samples(X), "sample")
        check_integer("n", n, 1)
        normal = check_random_state(random_state).normal(size=(*mean.shape, n))
        drawn = mean[..., None] + std[..., None] * self.learner_.shape.transform(normal)  # (T, N, n)
        return drawn.clip(*self._limits).swapaxes(0, 1).reshape(-1, *self.targets_shape_, n)

    def explain(self, X: MatrixLike) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of the features to each prediction, in the target's units; with a constant they add up to it
        without limits.

        See `GLNClassifier.explain`. Shapes: X (N, F) -> contributions (N, F) or (N, T, F), constant (N,) or (N, T).
        """
        samples = self._samples(X)
        contributions, constant = self.learner_.explain(samples)  # (T, N, F), (T, N)
        contributions = self._summed(contributions).swapaxes(0, 1)
        constant = constant.T
        shape = (-1, *self.targets_shape_)
        return contributions.reshape(*shape, contributions.shape[2]), constant.reshape(shape)

    kept = OfStreams.kept | {"targets_shape_": tuple, "learner_": (TableModel, StreamModel)}

    target_standardizer_ = property(lambda self: self.learner_.targets.standardizer, doc="Standardises the targets.")

    @uninterrupted
    def _learn_stream(self, X, y, sample_weight=None, predicts=False):
        """Predict, if `predicts`, and then learn the next samples. Returns a list of predicted means, (T, n)."""
        with checks.undone_after(Exception, self):
            first = not hasattr(self, "learner_")
            if not first and checks.are_empty(X, y):
                return self._nothing_learned()
            X, y, weights, _ = checks.with_weight(X, y, sample_weight, least=0)
            if weights is not None and len(weights) == 0:
                return []
            X, targets, shape = self._numbers_of(X, y, reset=first)
            if not first and shape != self.targets_shape_:
                expected = ("N", *self.targets_shape_)
                came = (X.shape[0], *shape)
                raise ValueError(f"y: expected shape {expected}, as in the first call, got {came}")
            self.targets_shape_ = shape
            losses = self._losses(len(targets))
            learner = self._new_stream_learner(losses, X, Numbers.of_stream(len(targets))) if first else self.learner_
            return self._learn(learner, X, targets, weights, predicts)

    def _score_left_out(self, targets, predicted, weights):  # (T, n), (T, n), (n,) or None
        return _score_of(r2_score, targets.T, predicted.T, weights)

    def _moments(self, samples, wanted):  # (F, N) -> (T, N), (T, N)
        """Means and standard deviations. `wanted` names what needs them, for the error message."""
        if self.learner_.variances is None:
            raise ValueError(f"{wanted}: expected density=True or quantiles when the model was fitted, got neither")
        return self.learner_.moments(samples)

    @property
    def _limits(self):
        """Of quantiles and samples: (T, 1, 1) each."""
        return [limit[..., None] for limit in self.learner_.targets.units.limits]

    def _means(self, predicted):  # (T, N) -> (N,) or (N, T)
        return predicted.T.reshape(-1, *self.targets_shape_)

    def _numbers_of(self, X, y, reset, is_table=False):
        """Validated X (N, F) and targets (T, N), and the shape of a sample's targets."""
        X, y = self._checked(X, y, reset, is_table, multi_output=True)
        try:
            if y.dtype.kind in "mM":
                raise TypeError(f"dates or times of dtype {y.dtype}")
            y = np.asarray(y, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"y: expected numbers, got {type(y).__name__} ({error})") from error
        checks.check_targets(y)
        return X, y.reshape(len(y), -1).T, y.shape[1:]

    def _losses(self, targets):
        """Quantiles are those of the density."""
        if self.quantiles is not None:
            checked_levels("quantiles", self.quantiles)
        has_density = self.density or self.quantiles is not None
        variances = {"loss": "variance", "num_outputs": targets} if has_density else None
        return Losses({"loss": checked_loss(self.loss, self.backend), "num_outputs": targets}, variances)


def _score_of(score, y, predicted, weights):
    """A score of scikit-learn; NaN for fewer than two samples."""
    return float(score(y, predicted, sample_weight=weights)) if len(y) > 1 else np.nan


def _binary_classes(several):  # (N, L)
    """0 and 1 for each of several labels, as `classes_`."""
    return several.shape[1] * [np.array([0, 1], several.dtype)]


def _shares(predicted, classes):  # (C, n) -> (n, C), or (L, n) -> (n, 2, L)
    """Probabilities of classes, or of 0 and 1 of several labels."""
    if type(classes) is list:
        return np.stack([1 - predicted, predicted]).transpose(2, 0, 1)
    return sum_to_one(predicted).T


def _listed(p):  # (n, C), or (n, 2, L) -> L of (n, 2)
    return p if p.ndim == 2 else [*p.transpose(2, 0, 1)]


def _losses(classes):
    if type(classes) is list:
        return Losses({"num_outputs": len(classes), "pred_clipping": CLIPPING})
    if len(classes) < 2:
        raise ValueError(f"GLNClassifier needs samples of at least 2 classes, got one class: {classes.tolist()[0]!r}")
    return Losses({"num_classes": len(classes), "pred_clipping": CLIPPING})
