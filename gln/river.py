"""Gated Linear Networks as River estimators: one dictionary at a time; classes and features may appear at any time.

Shapes: B samples, F features, C classes.
"""
# ruff: noqa: N803, N806 - X is River's name

from __future__ import annotations

import copy
import inspect
import itertools
import math
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

try:
    from river import base
except ImportError as error:
    raise ImportError("gln.river needs River: pip install river") from error

from gln.engine.class_density.classifier import MAX_FEATURES, ClassDensityClassifier
from gln.engine.docstrings import documented_like
from gln.engine.ensemble.johnson_su import JohnsonSU, checked_levels
from gln.engine.interrupts import uninterrupted
from gln.engine.model.builders import Losses, checked_loss
from gln.engine.model.sample_weights import check_stream_weights
from gln.engine.model.targets import Classes, Labels, Numbers, sum_to_one
from gln.engine.preprocessing.category_codes import as_pandas
from gln.engine.saving import bad, read
from gln.engine.streaming.estimator import ONCE, SaveableStream, Segment, StreamEstimator, check_seed
from gln.engine.streaming.model import build_stream, stream_config, stream_roles
from gln.engine.streaming.schema import StreamSchema
from gln.engine.streaming.values import check_frame, is_missing, label_of, named_rows, target_of
from gln.engine.streaming.waiting import Waiting
from gln.engine.types import Label, MatrixLike, Row, VectorLike

__all__ = ["GLNClassifier", "GLNDensityClassifier", "GLNMultiLabelClassifier", "GLNMultiTargetRegressor"]
__all__ += ["GLNRegressor"]

# The mean, the standard deviation and the shape of a density, and limits of its quantiles, before the first sample.
BEFORE = 0.0, 1.0, *JohnsonSU.normal(1).rows[:, 0], -np.inf, np.inf
LEAST_HEADS = 2  # of several targets: with the log-loss, one head would be of two classes


class _Stream(SaveableStream, base.Estimator):
    """The parameters that all have, and a `StreamEstimator`, which learns; each class builds its learner."""

    changeable = (*SaveableStream.changeable, "waiting")
    _build: Callable[..., Any]

    def __init__(
        self,
        layer_sizes: Sequence[int] = (64, 32),
        context_map_size: int = 5,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str | type = "auto",
        seed: int | None = None,
        fast: bool = False,
        waiting: int = 0,
    ) -> None:
        check_seed(seed)
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.backend = backend
        self.seed = seed
        self.fast = fast
        self.waiting = waiting
        are_classes = isinstance(self, base.MiniBatchClassifier)
        schema = StreamSchema(missing_levels=True)
        self._stream = StreamEstimator(self._build, schema, learning_rate, are_classes, waiting)

    def _check_loaded(self) -> None:
        super()._check_loaded()
        self._stream.waiting.most = self.waiting

    # Kept where new learners are made, so that one set before the first sample counts.
    @property
    def learning_rate(self):
        return self._stream.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate):
        self._stream.learning_rate = rate

    @property
    def weights_(self) -> dict[str, float]:
        """The weights by which the last neuron mixes networks, linear models and a constant, by their names; of several
        targets, the means. It is empty before the first sample, and where nothing is mixed."""
        learner = self._stream.learner
        return {} if learner is None else learner.means.weights

    def _explain(self, x: Row, least: int = 1) -> tuple[dict[Label, dict[Label, float]], dict[Label, float]]:
        """Contributions by class or target and by feature, and constants; 0 while there are fewer than the `least`."""
        stream = self._stream
        keys = [*self._stream.schema.classes]
        if stream.learner is None or len(keys) < least:
            return {key: {} for key in keys}, dict.fromkeys(keys, 0.0)
        names, contributions, constants = stream.explain(x)  # (C, F), (C,)
        if len(constants) == 1:  # of two classes
            contributions = np.concatenate([-contributions, contributions])
            constants = np.append(-constants, constants)
        by_head = [dict(zip(names, row, strict=True)) for row in contributions.tolist()]  # perhaps more than keys
        return dict(zip(keys, by_head, strict=False)), dict(zip(keys, constants.tolist(), strict=False))

    def _config(self):
        """What all networks have in common."""
        return stream_config(self.layer_sizes, self.context_map_size, self.context_bias, self.backend, self.seed)


class _OneTarget(_Stream):
    """Learns labels, or numbers."""

    _expected: ClassVar[str]  # of targets
    _table: ClassVar[str]  # the class of `gln.sklearn` that learns the same from tables
    _shown: Callable[..., pd.DataFrame]  # predictions, (N, K), as `predict_learn_many` returns them
    _values: Callable[[VectorLike], VectorLike]  # targets as they are learned; None or NaN where one is missing

    @classmethod
    def of(cls, fitted: Any, waiting: int | None = None) -> Any:
        """A model that predicts as one of `gln.sklearn` of the same name, and learns on from samples by their names.

        It takes over a copy of a model that `fit` (or `partial_fit`) trained on a dense table, of one target.
        Names are those of the frame's columns, or numbers from 0; a key that is not there is missing. `learn_one`
        learns as `partial_fit` does a row: keys that are new become columns, of the kind of their first value, up to
        1,000 and unless the table was an array. Predictions leave them out, and `unknown_one` lists them. `save` writes
        the file that `fitted.save` would, which `load` of both classes take. A clone begins anew. Raises ValueError for
        another model.

        `waiting` is the parameter; None is 0, or that of a loaded model. What waits is in the file; `partial_fit` of
        `gln.sklearn` neither uses nor removes it.
        """
        from gln import sklearn
        from gln.engine.streaming.table import TableStream
        from gln.engine.tabular.estimator import OF_LEFT_OUT
        from gln.engine.tabular.inputs import WIDE, PlainFeaturizer

        kind: Any = getattr(sklearn, cls._table)
        if not isinstance(fitted, kind) or not hasattr(fitted, "learner_"):
            raise bad("fitted", f"a fitted gln.sklearn.{cls._table}", reprlib.repr(fitted))
        if vars(fitted).get("targets_shape_", ()) != () or type(vars(fitted).get("classes_")) is list:
            raise bad("fitted", "a model of one target", "one of several")
        if fitted.n_features_in_ > WIDE and isinstance(getattr(fitted.learner_, "featurizer", None), PlainFeaturizer):
            raise bad("fitted", "a model of a dense table", f"one of {fitted.n_features_in_} sparse columns")
        if getattr(fitted, "class_weight", None) is not None:
            raise bad("class_weight", "None, because learn_one takes the weight of each sample", fitted.class_weight)
        names = inspect.signature(cls).parameters.keys() & inspect.signature(kind).parameters.keys()
        given = {name: getattr(fitted, name) for name in names}
        seed = fitted.random_state if isinstance(fitted.random_state, int) else None
        most = (
            vars(fitted).get("_waiting", Waiting(0)).most if waiting is None else Waiting(waiting).most
        )  # which checks it
        model = cls(seed=seed, **{name: value for name, value in given.items() if value is not None})
        model.waiting = most
        fitted = copy.copy(fitted)
        for name in OF_LEFT_OUT:  # which is large, and not of a model that learns on
            vars(fitted).pop(name, None)
        stream = TableStream(copy.deepcopy(fitted), model._build)
        stream.waiting.most = most
        model._go_on(stream)
        model.extra = dict(fitted.extra)
        return model

    def _go_on(self, stream: StreamEstimator) -> None:
        self._stream = stream

    @property
    def _initial(self) -> Sequence[float]:
        """What is predicted before the first sample."""
        return ()

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, object] | None = None) -> None:
        """As `gln.sklearn.GLNClassifier.save`, whose file a model that `of` took over becomes."""
        if hasattr(self._stream, "table"):
            self._stream.table().save(path, extra)
        else:
            super().save(path, extra)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """As `gln.sklearn.GLNClassifier.load`, whose files this takes, too, by `of`; `learning_rate` is then that of
        `partial_fit`. `waiting` may be replaced, too."""
        if read(path)[0].get("estimator") != f"gln.sklearn.{cls._table}":
            return super().load(path, **parameters)
        from gln import sklearn

        waiting = parameters.pop("waiting", None)
        if "learning_rate" in parameters:
            parameters["partial_learning_rate"] = parameters.pop("learning_rate")
        return cls.of(getattr(sklearn, cls._table).load(path, **parameters), waiting)

    def learn_one(self, x: Row, y: VectorLike, w: float = 1.0) -> None:
        """Learn a sample.

        A sample of weight 2 counts as two, and one of 0 is not learned; the largest weight is 10^6. Networks and linear
        models make as many steps, at most 100. Raises ValueError for infinity, a label that is missing or a target that
        is not finite, or a string in a numeric feature or vice versa; nothing is learned then.
        """
        weights = _weights(w, 1)
        if weights[0]:
            self._learn([x], [y], weights)

    def learn_many(self, X: pd.DataFrame, y: pd.Series, w: float | pd.Series = 1.0, late: bool = False) -> None:
        """Learn the rows of a frame, of pandas or polars, one after another. Rows of known features take one fast call.

        Targets and weights belong to rows by position, whatever their index. If labels come `late`, all rows are
        predicted before any is learned, as they were where their labels came together: then networks are weighted by
        what they could know.
        """
        X = as_pandas(X)
        check_frame(X)
        targets, weights = _targets_and_weights(X, y, w)
        learns = weights > 0
        if not learns.all():  # others are as if they were not there
            X = X[learns]
            targets = list(itertools.compress(targets, learns))
            weights = weights[learns]
        self._learn(X, targets, weights, late)

    def predict_with_models_many(self, X: MatrixLike) -> tuple[pd.DataFrame, np.ndarray | None]:
        """What `predict_learn_many` returns of rows without a target, and what all models predict of each, (M, C, N),
        for `learn_predicted` when labels come; None if there is nothing to combine."""
        predicted, earlier = self._stream.predict_with_models(X, self._initial)
        return self._shown(X, predicted), earlier

    def learn_predicted(
        self, X: MatrixLike, y: VectorLike, weights: np.ndarray, earlier: np.ndarray | None = None
    ) -> None:
        """Learn rows, each with a target and a weight above 0, (N,), from what `predict_with_models_many` returned."""
        targets, segments = self._plan(X, y)
        self._stream.learn_segments(segments, targets, weights, earlier=earlier)

    def _learn(self, X: MatrixLike, y: VectorLike, weights: np.ndarray, late: bool = False) -> None:
        targets, segments = self._plan(X, y)
        self._stream.learn_segments(segments, targets, weights, earlier=self._stream.earlier_predictions(X, late))

    def _plan(self, X: MatrixLike, y: VectorLike) -> tuple[VectorLike, list[Segment]]:
        """The targets of rows, and how these are learned."""
        targets = self._values(y)
        if any(map(is_missing, targets)):
            raise ValueError(f"y: expected {self._expected}, got NaN or None among {y[:10]}")
        return targets, self._stream.plan(X, targets)

    def _rows(
        self, X: MatrixLike, y: VectorLike, w: VectorLike
    ) -> tuple[MatrixLike, VectorLike, np.ndarray, np.ndarray]:  # -> N, (N,), (N,), (N,)
        """Samples, targets, weights, and which rows are learned; the others have no target."""
        X = as_pandas(X)
        given, weights = _targets_and_weights(X, y, w)
        targets = self._values([target if weight else None for target, weight in zip(given, weights, strict=True)])
        return X, targets, weights, np.array([not is_missing(target) for target in targets], bool)


class _Classifies(_OneTarget, base.MiniBatchClassifier):
    """Predictions of classes."""

    _expected = "labels"
    _multiclass = True  # for River's wrappers

    @staticmethod
    def _values(targets: VectorLike) -> list[Any]:
        are_plain = {*map(type, targets)} <= {str, int, bool, type(None)}  # most are
        return [*targets] if are_plain else [*map(label_of, targets)]

    def predict_learn_many(self, X: MatrixLike, y: VectorLike, w: float | Sequence[float] = 1.0) -> pd.DataFrame:
        """Predict and then learn each row, as `predict_proba_one` and `learn_one` in turn do, in few fast calls.

        X is a frame, of pandas or polars, or a list of dictionaries.
        Returns probabilities, one column per class; a class has 0 in the rows up to its first one. A row whose label is
        None or NaN, or whose weight is 0, is only predicted. If there is an error, nothing is learned.
        """
        X, labels, weights, learns = self._rows(X, y, w)
        known = self._stream.schema.classes
        firsts = {labels[i]: i for i in np.flatnonzero(learns).tolist()[::-1]}
        new = sorted(row for label, row in firsts.items() if label not in known)  # rows that bring a class
        known_before = len(known) + np.searchsorted(new, np.arange(len(labels)))[:, None]
        return self._shown(X, self._stream.progressive(X, labels, weights, learns, self._initial), known_before)

    def _shown(self, X: MatrixLike, predicted: np.ndarray, known_before: np.ndarray | None = None) -> pd.DataFrame:
        """Predictions before each row, when so many classes were known, (N, 1); None is all."""
        classes = [*self._stream.schema.classes]
        if known_before is None:
            known_before = np.full((len(X), 1), len(classes))
        p = np.zeros((len(X), len(classes)))
        p[:, : predicted.shape[1]] = predicted[:, : p.shape[1]]
        nothing = (known_before < 2) | ~p.any(axis=1, keepdims=True)  # to distinguish yet
        p = np.where(nothing, (np.arange(len(classes)) < known_before) / np.maximum(known_before, 1), p)
        return pd.DataFrame(p, index=X.index if isinstance(X, pd.DataFrame) else None, columns=classes)

    def predict_proba_one(self, x: Row, **kwargs: object) -> dict[Any, float]:
        """The probability of each class seen so far."""
        schema = self._stream.schema
        p = self._probabilities([x])
        return dict(zip(schema.classes, p[:, 0].tolist(), strict=True))

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """The probabilities of the classes seen so far, one column per class."""
        X = as_pandas(X)
        p = self._probabilities(X)
        return pd.DataFrame(p.T, index=X.index, columns=[*self._stream.schema.classes])

    def explain_one(self, x: Row) -> tuple[dict[Label, dict[Label, float]], dict[Label, float]]:
        """Contributions of the features to the prediction of each class, and a constant for each class.

        They add up to the logit of the class against the rest. While there is only one class, there are no
        contributions.
        """
        return self._explain(x, least=2)

    def _probabilities(self, X: MatrixLike) -> np.ndarray:  # -> (C, N)
        p = self._stream.predict(X)
        count = len(self._stream.schema.classes)
        if p is None or count < 2:  # nothing to distinguish yet
            return np.full((count, len(X)), 1 / max(1, count))
        return sum_to_one(p)


class GLNClassifier(_Classifies):
    """Gated Linear Network classifier.

    It learns each sample once, without backpropagation. Features are numbers, bools, strings and dates. Numbers are
    standardised by the samples seen so far. A missing number counts as the feature's mean, and so does a value far from
    all earlier ones. A string is a category, with any number of levels. A missing category is a level of its own; a
    level never seen says nothing. Classes, features and levels may appear at any time. A new class starts with the
    frequency of a class seen once.

    A slow and a fast network, a shallow one and linear models of all that a sample holds learn the stream. A last
    neuron mixes what they predict, by weights that learn, too. Keys that most samples lack, such as the words of texts,
    are words: linear models read them alone, and a word that is not in a sample is 0 instead of missing.

    Parameters
    ----------
    layer_sizes
        Neurons of each layer.
    context_map_size
        Halfspaces per neuron. A neuron has a row of weights for each of their 2^context_map_size combinations.
    context_bias
        Standard deviation of the halfspaces' distances from the mean of the features.
    learning_rate
        A number, or a callable that returns one for the number of samples learned so far. None falls to 0.5 for the
        slow and the shallow network and to 3 for the fast one; see `gln.rates.stream_rate`. Linear models have rates of
        their own.
    backend
        The implementation: "numpy", "numba", "torch", "jax", "tf", "auto", the fastest of Numba, JAX and NumPy that is
        installed, or a `GLN` of your own, a class; `save` refuses it.
    seed
        Determines the halfspaces. Pass an int for reproducible results.
    fast
        Whether to leave out the slow network, which saves about a fifth of the time. `gln-stream --fast` also has
        `layer_sizes=(16, 8)`; its docs show what this costs in accuracy.
    waiting
        For how many samples at most, which wait for their labels, to keep what each network predicted. If labels come
        late, networks are then weighted by that, and not by what they would predict after the labels of others.
        The sample is known again by its values. 0 is for labels that come before the next sample.

    References
    ----------
    J. Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from gln.river import GLNClassifier
    >>> model = GLNClassifier(seed=0)
    >>> metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    >>> metric.get() > 0.88
    True
    """

    _table = "GLNClassifier"

    def _build(self, featurizer, classes, has_names):
        roles = stream_roles(has_names, not self.fast)
        losses = Losses({"num_classes": classes})
        return build_stream(self._config(), featurizer, Classes(), roles, losses)


@documented_like(GLNClassifier)
class GLNDensityClassifier(_Classifies):
    """Classifier whose classes each learn from their own samples alone.

    A class is its mean, its covariance, its levels of categories, and a Gated Linear Network that tells its samples
    from noise of this mean and covariance (docs/papers.md). The result is the same in whichever order classes come,
    even one after another; nothing is forgotten. Where the order is random, `GLNClassifier` is usually more accurate.

    Classes, features and levels may appear at any time, and a missing value says nothing. Words are left out. Time and
    memory grow with the square of the number of features, of which there may be 1,000.

    Parameters
    ----------
    layer_sizes, context_map_size
    context_bias
        Standard deviation of the halfspaces' distances from the mean.
    learning_rate
        A number, or a callable that returns one for the number of samples learned so far. None is 1.
    backend, seed

    References
    ----------
    M. Gutmann and A. Hyvärinen, "Noise-contrastive estimation", AISTATS 2010.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from gln.river import GLNDensityClassifier
    >>> model = GLNDensityClassifier(seed=0)
    >>> metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    >>> metric.get() > 0.88
    True
    """

    _table = "GLNDensityClassifier"
    changeable = ("backend", "learning_rate")

    def __init__(
        self,
        layer_sizes: Sequence[int] = (64, 32),
        context_map_size: int = 5,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str | type = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__(layer_sizes, context_map_size, context_bias, learning_rate, backend, seed)
        self._stream.schema = StreamSchema(math.inf, most_features=MAX_FEATURES)  # no words: all keys are features

    def _build(self, featurizer, classes, has_names):
        loss = {"num_classes": len(self._stream.schema.classes)}  # of samples without features, too
        return ClassDensityClassifier.start(self._config(), 1, len(featurizer.numbers), loss)


@documented_like(GLNClassifier)
class GLNRegressor(_OneTarget, base.MiniBatchRegressor):
    """Gated Linear Network regressor.

    Like `GLNClassifier`, it learns each sample once, with networks and linear models, standardises features and accepts
    new ones and words at any time. Strings are categories. Targets are standardised too. It predicts the mean, and with
    `quantiles` also intervals. Predictions stay within the range of the targets so far and a tenth of it at both ends,
    and never have a sign that no target had.

    Parameters
    ----------
    layer_sizes
    quantiles
        Levels in (0, 1) that `predict_quantiles_one` predicts: (0.05, 0.95) gives intervals that contain about 90% of
        the targets. They are those of the density, which is learned with them.
    density
        Whether two more networks learn the variance of the target around its mean, for `predict_one` with `with_dist`.
    context_map_size, context_bias
    learning_rate
        A number, or a callable that returns one for the number of samples learned so far. None falls from 0.3 to 0.1
        for the slow network and is 0.5 for the fast one; see `gln.rates.stream_rate`.
    backend, seed, fast, waiting
    loss
        What the networks of the mean minimise, as in `gln.sklearn.GLNRegressor`.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from gln.river import GLNRegressor
    >>> metric = evaluate.progressive_val_score(datasets.TrumpApproval(), GLNRegressor(seed=0), metrics.MAE())
    >>> metric.get() < 0.5
    True
    """

    _expected = "finite numbers"
    _table = "GLNRegressor"

    def __init__(
        self,
        layer_sizes: Sequence[int] = (64, 32),
        quantiles: Sequence[float] | None = None,
        density: bool = False,
        context_map_size: int = 5,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str | type = "auto",
        seed: int | None = None,
        fast: bool = False,
        waiting: int = 0,
        loss: str = "squared_error",
    ) -> None:
        options = layer_sizes, context_map_size, context_bias, learning_rate, backend, seed, fast, waiting
        super().__init__(*options)
        self.quantiles = quantiles
        self.density = density
        self.loss = loss

    def _build(self, featurizer, heads, has_names):
        if self.quantiles is not None:
            checked_levels("quantiles", self.quantiles)
        means = {"loss": checked_loss(self.loss, self.backend)}
        losses = Losses(means, {"loss": "variance"} if self._has_density else None)
        roles = stream_roles(has_names, not self.fast)
        return build_stream(self._config(), featurizer, Numbers.of_stream(1), roles, losses)

    @property
    def _has_density(self) -> bool:
        return self.density or self.quantiles is not None

    def _check_loaded(self) -> None:
        super()._check_loaded()
        learner = self._stream.learner
        if learner is not None and (learner.variances is not None) != self._has_density:
            raise bad("quantiles, density", "those of the saved networks", f"{self.quantiles}, {self.density}")

    @staticmethod
    def _values(targets: VectorLike) -> np.ndarray:  # -> (N,)
        return np.array([*map(target_of, targets)], np.float64)

    def predict_learn_many(self, X: MatrixLike, y: VectorLike, w: float | Sequence[float] = 1.0) -> pd.DataFrame:
        """Predict and then learn each row, as `predict_one` and `learn_one` in turn do, in few fast calls.

        X is a frame, of pandas or polars, or a list of dictionaries.
        Returns a column "mean", with `quantiles` one for each level, in ascending order, and with `density` one "std".
        A row whose target is None or NaN, or whose weight is 0, is only predicted. If there is an error, nothing is
        learned.
        """
        X, targets, weights, learns = self._rows(X, y, w)
        return self._shown(X, self._stream.progressive(X, targets, weights, learns, self._initial))

    @property
    def _initial(self) -> Sequence[float]:
        return BEFORE if self._has_density else BEFORE[:1]

    def _shown(self, X: MatrixLike, predicted: np.ndarray) -> pd.DataFrame:
        names = ["mean", *sorted(self.quantiles or ()), *(self.density * ["std"])]
        if self.quantiles is not None:
            predicted = np.concatenate([predicted[:, :1], self._quantiles(predicted.T), predicted[:, 1:]], axis=1)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(predicted[:, : len(names)], index=index, columns=names)

    def predict_one(self, x: Row, with_dist: bool = False) -> Any:
        """The mean of the target, or with `with_dist` its distribution, a `river.proba.Gaussian` of another shape.

        It has `mu`, `sigma`, `cdf(x)`, `ppf(level)`, `log_pdf(x)` and `sample()`. `cdf`, `ppf` and `sample` keep within
        the limits of predictions, `log_pdf` does not. Before the first sample it is normal with mean 0 and standard
        deviation 1.
        """
        if not with_dist:
            return float(self._outputs([x], 1)[0, 0])
        if not self._has_density:
            raise ValueError("with_dist: expected a model with density=True or quantiles, got one without")
        from gln.engine.streaming.density import Density

        outputs = self._outputs([x], 2)
        mean, std, *_, least, most = outputs[:, 0].tolist()
        return Density(mean, std, self._shapes(outputs), (least, most))

    def predict_many(self, X: pd.DataFrame) -> pd.Series:
        """The mean of the target of each row."""
        X = as_pandas(X)
        return pd.Series(self._outputs(X, 1)[0], index=X.index)

    def explain_one(self, x: Row) -> tuple[dict[Label, float], float]:
        """Contributions of the features and a constant, in the target's units; they add up to the prediction
        without limits."""
        if self._stream.learner is None:
            return {}, 0.0
        names, (contributions,), (constant,) = self._stream.explain(x)
        return dict(zip(names, contributions.tolist(), strict=True)), float(constant)

    def predict_quantiles_one(self, x: Row) -> dict[float, float]:
        """The quantiles of the target by level, both in ascending order.

        Before the first sample they are those of a normal distribution with mean 0 and standard deviation 1.
        """
        if self.quantiles is None:
            raise ValueError("quantiles: expected levels, got None")
        values = self._quantiles(self._outputs([x], 2))[0]
        return dict(zip(sorted(self.quantiles), values.tolist(), strict=True))

    def _quantiles(self, outputs: np.ndarray) -> np.ndarray:  # of `_outputs`
        """Quantiles in ascending order, (N, Q)."""
        mean, std, least, most = outputs[[0, 1, -2, -1], :, None]
        return (mean + std * self._shapes(outputs).quantiles(sorted(self.quantiles or ()))).clip(least, most)

    def _shapes(self, outputs: np.ndarray) -> JohnsonSU:  # of `_outputs`
        learner = self._stream.learner
        return JohnsonSU.of_rows(np.zeros(1) if learner is None else learner.shape.skew, outputs[2:-2])

    def _outputs(self, X: MatrixLike, ensembles: int) -> np.ndarray:  # -> (1 or K, N)
        """The means and, of two ensembles, standard deviations, shapes and limits."""
        outputs = self._stream.predict(X, ensembles)
        return np.repeat(np.array(BEFORE)[:, None], len(X), axis=1) if outputs is None else outputs


class _SeveralTargets(_Stream):
    """Learns a dictionary of targets by one model, with a head for each; their names are the schema's `classes`."""

    _targets: ClassVar[type[Numbers]]
    _loss: ClassVar[dict[str, str]]

    def _build(self, featurizer, heads, has_names):
        losses = Losses({**self._loss, "num_outputs": heads})
        roles = stream_roles(has_names, not self.fast)
        featurizer = featurizer.with_targets(heads - 1)  # it has statistics of one
        return build_stream(self._config(), featurizer, self._targets.of_stream(heads), roles, losses)

    def _check_loaded(self) -> None:
        super()._check_loaded()
        learner = self._stream.learner
        names = [*self._stream.schema.classes]
        heads = max(LEAST_HEADS, len(names))
        if learner is not None and (learner.means.heads != heads or type(learner.targets) is not self._targets):
            raise bad("learner", f"the targets {names}", f"{learner.means.heads} {type(learner.targets).__name__}")

    @uninterrupted
    def learn_one(self, x: Row, y: Row, w: float = 1.0) -> None:
        """Learn a sample; `w` as in `GLNClassifier`.

        A target that is None, NaN or absent is unknown: nothing is learned about it. New ones may appear at any time.
        Raises ValueError for infinity, another target, or a string in a numeric feature or vice versa; nothing is
        learned then.
        """
        weights = _weights(w, 1)
        stream = self._stream
        known = self._known(y)
        change = stream.schema.propose(x)
        if not (weights[0] and known):
            return
        names = [*dict.fromkeys([*stream.schema.classes, *known])]
        targets = np.full((max(LEAST_HEADS, len(names)), 1), np.nan)
        targets[: len(names), 0] = [known.get(name, np.nan) for name in names]
        if stream.learner is not None:
            stream.learner.check_rates(1)  # before anything changes, because a callable may fail
            new = len(targets) - stream.learner.means.heads
            if new:
                stream.learner = stream.learner.with_targets(new)
        change = change._replace(classes=names[len(stream.schema.classes) :])
        stream.learn(change, targets, weights, earlier=stream.earlier_predictions([x]))

    @staticmethod
    def _known(y: VectorLike) -> dict[Label, float]:
        """The known targets of a sample."""
        if not hasattr(y, "items"):
            raise ValueError(f"y: expected a dictionary of targets, got {y!r}")
        targets = {name: target_of(target) for name, target in y.items()}
        return {name: target for name, target in targets.items() if not math.isnan(target)}

    def explain_one(self, x: Row) -> tuple[dict[Label, dict[Label, float]], dict[Label, float]]:
        """Contributions of the features to the prediction of each target, and a constant for each, which add up to it,
        or to the logit of a label."""
        return self._explain(x)

    def _predict(self, x: Row, initial: float) -> dict[Label, float]:
        """What is predicted of each target, or before the first sample with a feature an initial value."""
        outputs = self._stream.predict([x])
        names = self._stream.schema.classes
        if outputs is None:
            return dict.fromkeys(names, initial)
        return dict(zip(names, outputs[:, 0].tolist(), strict=False))


@documented_like(GLNClassifier)
class GLNMultiLabelClassifier(_SeveralTargets, base.MultiLabelClassifier):
    """Gated Linear Network classifier of several labels, each of them true or false.

    It learns like `GLNClassifier`, all labels by one model: the networks have a head for each label, and some of them
    also mix what linear models and means of bins predict for the other labels.

    `predict_one` gives the labels that make the expected Jaccard score highest, usually more than those above 1/2. For
    the fewest wrong labels, take those of `predict_proba_one` above 1/2.

    Parameters
    ----------
    layer_sizes, context_map_size, context_bias, learning_rate, backend, seed, fast, waiting

    Examples
    --------
    >>> from river import datasets
    >>> from gln.river import GLNMultiLabelClassifier
    >>> model = GLNMultiLabelClassifier(seed=0)
    >>> for x, y in datasets.Phishing().take(300):
    ...     model.learn_one(x, {"phishing": y, "https": x.pop("https") > 0})
    >>> model.predict_one(x)
    {'phishing': False, 'https': True}
    """

    _targets = Labels
    _loss: ClassVar[dict[str, str]] = {}

    def predict_proba_one(self, x: Row, **kwargs: object) -> dict[Label, dict[bool, float]]:
        """The probabilities of False and True for each label seen so far."""
        return {name: {False: 1 - p, True: p} for name, p in self._predict(x, 0.5).items()}

    def predict_one(self, x: Row, **kwargs: object) -> dict[Label, bool]:
        """Whether each label is in the set with the highest expected Jaccard score, as if labels were independent.

        Of a set, it is the expected number of its true labels times the mean of 1 / (its size + the number of others
        that are true); of the empty set, the probability that no label is true.
        """
        p = self._predict(x, 0.5)
        names = sorted(p, key=p.__getitem__, reverse=True)
        inside = sum(p.values())
        outside = np.ones(1)
        most = 0.0
        chosen = 0
        for k in range(len(names), 0, -1):  # the k most probable ones; `outside` has probabilities of numbers of others
            score = inside * (outside / np.arange(k, k + len(outside))).sum()
            most, chosen = max((most, chosen), (score, k))
            q = p[names[k - 1]]
            inside = inside - q
            outside = np.convolve(outside, [1 - q, q])
        chosen = 0 if outside[0] >= most else chosen
        return dict.fromkeys(p, False) | dict.fromkeys(names[:chosen], True)

    @staticmethod
    def _known(y: VectorLike) -> dict[Label, float]:
        known = _SeveralTargets._known(y)
        if not {*known.values()} <= {0.0, 1.0}:
            raise ValueError(f"y: expected True or False for each label, got {y!r}")
        return known


@documented_like(GLNClassifier)
class GLNMultiTargetRegressor(_SeveralTargets, base.MultiTargetRegressor):  # type: ignore[misc]  # no options of learn_one
    """Gated Linear Network regressor of several targets.

    It learns like `GLNRegressor`, all targets by one model: the networks have a head for each target, and some of them
    also mix what linear models and means of bins predict for the other targets. It predicts the means.

    Parameters
    ----------
    layer_sizes, context_map_size, context_bias
    learning_rate
        As in `GLNRegressor`.
    backend, seed, fast, waiting

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from gln.river import GLNMultiTargetRegressor
    >>> metric = metrics.multioutput.MicroAverage(metrics.MAE())
    >>> metric = evaluate.progressive_val_score(datasets.SolarFlare(), GLNMultiTargetRegressor(seed=0), metric)
    >>> metric.get() < 0.2
    True
    """

    _targets = Numbers
    _loss: ClassVar[dict[str, str]] = {"loss": "squared_error"}

    def predict_one(self, x: Row) -> dict[Label, float]:
        """The mean of each target seen so far; 0 before the first sample."""
        return self._predict(x, 0.0)


def _targets_and_weights(X: MatrixLike, y: VectorLike, w: VectorLike) -> tuple[list[Any], np.ndarray]:
    """The target and the weight of each row. Raises ValueError for another number of them, or weights out of range."""
    count = len(named_rows(X))
    try:
        targets = list(y)
    except TypeError:
        targets = []
    if len(targets) != count:
        raise ValueError(f"y: expected {count} targets, one per row, got {len(targets) or repr(y)}")
    return targets, _weights(w, count)


def _weights(w: VectorLike, count: int) -> np.ndarray:  # -> (N,)
    """The weight of each of so many samples. Raises ValueError for another number of them, or weights out of range."""
    if count == 1 and w.__class__ in (float, int) and w == 1:
        return ONCE
    try:
        weights = np.asarray(w)
        if weights.shape not in ((), (count,)) or weights.dtype.kind not in "biufO":  # text, dates, complex numbers
            raise TypeError
        weights = np.broadcast_to(weights.astype(np.float64), (count,))
    except (TypeError, ValueError) as error:
        raise ValueError(f"w: expected a number or {count} of them, got {reprlib.repr(w)}") from error
    check_stream_weights("w", weights)
    return weights
