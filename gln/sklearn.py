"""Gated Linear Networks as scikit-learn's classifier and regressor, on the GLN of any backend.

Shapes: N samples, F features, C classes, T targets, Q quantiles, M networks. A sample is a row, as in scikit-learn; a
`Learner` takes it as a column.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_array, check_random_state, check_scalar, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from gln.densities import Shape
from gln.estimators import Estimator, Table, checked_weights
from gln.learner import check_magnitude, sum_to_one
from gln.visits import stream_visits, table_visits

__all__ = ["GLNClassifier", "GLNRegressor"]

CLIPPING = 1e-4  # probabilities within [1e-4, 1 - 1e-4]: with 1e-3 the surest of easy tables are all alike


class GLNClassifier(ClassifierMixin, Estimator):
    """Gated Linear Network classifier.

    It learns one sample after another, without backpropagation: in several passes over a table by `fit`, or from a
    stream by `partial_fit`. Features need no scaling: they are standardised by what was seen of them. A missing feature
    counts as its mean, and so does a value far from all earlier ones. The networks mix each feature and its distance
    from its mean; their halfspaces see one to three of the features each, in `partial_fit` one or two.

    In `partial_fit` networks learn slowly and fast by turns, and are weighted by how well each predicted lately.

    A category of at most ten levels becomes columns of 0 and 1. One of more becomes the log-odds of each class at its
    level, which for training are counted from the samples before each. In `partial_fit` few levels have both. A level
    that was never seen is a missing value.

    Half of the networks of `fit` mix piecewise-linear encodings of the features too. Each network leaves out an eighth
    of the samples. On these a weight for either kind is learned, which calibrates the probabilities.

    A wide sparse table, a sparse array of more than 1,000 features such as words, is learned in another way: features
    are scaled but not centred, a missing one counts as 0, and each network is by default one neuron without halfspaces.
    That is about as good as a linear model, and calibrated.

    Parameters
    ----------
    layer_sizes : sequence of int or None, default=None
        Neurons of each layer. None is (32, 16) in `fit` and (64, 32) in `partial_fit`; (1,) for wide sparse tables.
    n_networks : int or None, default=None
        Networks, each with its own halfspaces and order of samples, whose logits are averaged with weights. None is 8
        in `fit`, 4 from 100,000 samples or 100 classes on, and 2 in `partial_fit`; 1 for wide sparse streams.
    context_map_size : int or None, default=None
        Halfspaces per neuron, which has a row of weights for each of their 2^context_map_size combinations. None is 5
        in `partial_fit`, and in `fit` 3 to 8, one more for each factor of three beyond 5,000 samples; 0, so no
        halfspaces, for wide sparse tables.
    context_bias : float, default=1.0
        Standard deviation of the halfspaces' distances from the mean of the features in `partial_fit`. `fit` lays
        halfspaces between samples.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable from the count of samples learned so far to one. In `fit`, which knows
        how many samples come, None falls linearly to 0.01, from 3 and with encodings from 9. In `partial_fit` it falls
        from min(5, sqrt(d) / 2), d the inputs of the first layer, to 0.5 for slow networks and 3 for fast ones, see
        `gln.rates.stream_rate`.
    n_epochs : int or None, default=None
        Passes of `fit` over the samples. None is about 1000 / N, at least 3, or 5 over a wide sparse table, and at most
        20; but of long tables about 300,000 / N, at least 1.
    max_seconds : float or None, default=None
        About how long `fit` may learn. With less time than all passes take, the learning rate falls faster, and results
        depend on the machine.
    batch_size : int, default=1
        Samples predicted with the same weights before these learn; 1 is exact online learning.
    shuffle : bool, default=True
        Whether each pass of `fit` takes the samples in a new order. `partial_fit` keeps their order.
    class_weight : dict, "balanced" or None, default=None
        Weights by which those of the samples of a class are multiplied. "balanced", in `fit` only, gives all classes
        the same total weight.
    backend : {"auto", "numpy", "numba", "torch", "jax", "tf"}, default="auto"
        Which implementation learns. All predict the same, up to rounding; "auto" is the fastest of Numba, JAX and NumPy
        that is installed.
    n_jobs : int or None, default=None
        Processes, by joblib, that share the networks of `fit` and, if there are fewer networks than processes, their
        heads. None is 1 or what `joblib.parallel_config` says, -1 all processors. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Draws the halfspaces and the order of the samples. Pass an int for reproducible results.
    verbose : bool or int, default=False
        Whether `fit` shows a progress bar.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which features are categories: "from_dtype" takes the categories and the text of a frame of pandas or polars;
        an array-like holds a mask, column numbers or names. None takes all features as numbers.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The class labels.
    n_features_in_ : int
        Number of features seen.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.
    categories_ : dict
        For the column number of each category, the codes of its levels.
    n_iter_ : int
        Passes of the last `fit` or `partial_fit` over its samples.
    learner_ : gln.learner.Learner
        The networks with what standardises their inputs, which are also `glns_` and `standardizer_`.

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

    def __init__(
        self,
        layer_sizes: Sequence[int] | None = None,
        *,
        n_networks: int | None = None,
        context_map_size: int | None = None,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        n_epochs: int | None = None,
        max_seconds: float | None = None,
        batch_size: int = 1,
        shuffle: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        backend: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
        categorical_features: Any = "from_dtype",
    ) -> None:
        self.layer_sizes = layer_sizes
        self.n_networks = n_networks
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.n_epochs = n_epochs
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.class_weight = class_weight
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.categorical_features = categorical_features

    def fit(self, X, y, sample_weight=None):
        """Learn a table from scratch; `partial_fit` continues instead.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
            Numbers, unscaled, and categories; NaN or None is a missing value. Dates are refused: turn them into numbers
            or categories. A sparse array of more than 1,000 features stays sparse where Numba learns; any other is made
            dense part by part.
        y : array-like of shape (N,)
            Class labels, of two classes or more.
        sample_weight : array-like of shape (N,), default=None
            At least 0. A sample of weight 2 is learned as if it were there twice, one of 0.5 by half a step, and one of
            0 not at all. Their mean is limited to [1, 10] by scaling, so that weights may sum to one, as AdaBoost's do.
        """
        X, y = self._checked(X, y, reset=True)
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
        visits, shares = table_visits(X, numbers, self._weights(X, numbers, classes, sample_weight), self.shuffle)
        self._fit([_group(classes)], Table(X, visits, numbers[visits], shares))
        self.classes_ = classes
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learn the next samples of a stream, once and in their order, standardised by the samples up to each.

        A stream learned in parts gives what it gives in one call, if parts hold multiples of `batch_size` samples and
        the first holds all levels of the categories that have few.
        `batch_size` and `learning_rate` may change between two parts; other parameters are those of the first call.

        Parameters
        ----------
        X, y : as in `fit`
        classes : array-like of shape (C,), default=None
            All classes that the stream may contain. Needed in the first call, and the same or None in later ones.
        sample_weight : array-like of shape (N,), default=None
            As in `fit`, from 0 to 100, best about 1.
        """
        self._learn_stream(X, y, classes, sample_weight)
        return self

    def partial_fit_predict_proba(self, X, y, classes=None):
        """`partial_fit` that returns the probabilities (N, C) predicted for each sample before it was learned."""
        return sum_to_one(np.concatenate(self._learn_stream(X, y, classes, predicts=True), axis=1)).T

    def decision_function(self, X):
        """Logits of X (N, F): of `classes_[1]` (N,), or with more than two classes of each against the rest (N, C)."""
        samples = self._samples(X)
        logits = self.learner_.decision(samples)
        return logits[0] if len(logits) == 1 else logits.T

    def predict_proba(self, X):
        """Probabilities (N, C) for X (N, F); with more than two classes, each against the rest, normalised."""
        samples = self._samples(X)
        return sum_to_one(self.learner_.predict(samples)).T

    def predict(self, X):
        """The most probable class, (N,), of each sample of X (N, F)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def explain(self, X):
        """Contribution of each feature to a prediction: with a constant they add up to `decision_function`.

        Between the halfspaces a network is linear in each feature, its distance from its mean and its encoding; a
        feature's contribution is the sum of theirs, compared with that of its mean, and a category's that of all its
        columns. `gln.plots.plot_contributions` draws it.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)

        Returns
        -------
        contributions : ndarray of shape (N, F) or (N, C, F)
        constant : ndarray of shape (N,) or (N, C)
        """
        samples = self._samples(X)
        contributions, constant = self.learner_.explain(samples)
        return (contributions[0], constant[0]) if len(constant) == 1 else (contributions.swapaxes(0, 1), constant.T)

    def _weights(self, X, targets, classes, sample_weight):  # -> (N,), or None where all weigh the same
        weights = checked_weights(sample_weight, X)
        if self.class_weight is None:
            return weights
        of_classes = compute_class_weight(self.class_weight, classes=classes, y=classes[targets])[targets]
        return of_classes if weights is None else weights * of_classes

    def _learn_stream(self, X, y, classes, sample_weight=None, predicts=False):
        """Learn the next samples; returns part by part what was predicted before, (C, n), if wanted."""
        first = not hasattr(self, "learner_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = np.unique(classes) if first else self.classes_
        if not (first or classes is None or np.array_equal(known, np.unique(classes))):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")
        X, y = self._checked(X, y, reset=first)
        alike = (known.dtype.kind in "biuf") == (y.dtype.kind in "biuf")  # numbers, or none
        numbers = np.searchsorted(known, y) if alike else np.zeros(len(y), int)
        if (known[np.minimum(numbers, len(known) - 1)] != y).any():
            check_classification_targets(y)
            raise ValueError(f"y holds labels that are not among the classes {known!r}: {sorted(set(y) - set(known))}")
        if isinstance(self.class_weight, str):
            raise ValueError(f"class_weight: expected a dict or None in partial_fit, got {self.class_weight!r}")
        visits, shares = stream_visits("sample_weight, class_weight", self._weights(X, numbers, known, sample_weight))
        learner = self._of_stream([_group(known)], X) if first else self.learner_
        predicted = self._learn(learner, X[visits], numbers[visits], shares, predicts)
        self.classes_ = known
        return predicted


class GLNRegressor(RegressorMixin, MultiOutputMixin, Estimator):
    """Gated Linear Network regressor.

    It learns as `GLNClassifier` does: in several passes over a table by `fit`, or from a stream by `partial_fit`.
    Categories become the same columns, and the mean of each target at their level in place of log-odds.
    Features and targets need no scaling: they are standardised by what was seen of them. In `fit` the samples that each
    network leaves out give weights and an offset of the means, and offsets of the quantiles for their coverage. Wide
    sparse tables are learned as `GLNClassifier` learns them.

    Parameters
    ----------
    layer_sizes : sequence of int or None, default=None
        Neurons of each layer. None is (32, 16) in `fit` and (64, 32) in `partial_fit`; (1,) for wide sparse tables.
    quantiles : sequence of float or None, default=None
        Levels in (0, 1) that `predict_quantiles` predicts: (0.05, 0.95) gives intervals that contain about 90 % of the
        targets. Networks of their own learn them, beside those of the mean.
    density : bool, default=False
        Whether to learn the distribution of each target around its mean: `predict` with `return_std`,
        `predict_quantiles` of any levels, `log_density` and `sample`. Networks of their own learn the variance. `fit`
        learns it from samples that the networks of the mean left out, with the skew and the tails that all samples
        share; `partial_fit` learns a normal distribution.
    n_networks : int or None, default=None
        Networks, each with its own halfspaces and order of samples, whose predictions are averaged with weights. None
        is 8 in `fit`, 16 with `density`, 4 from 100,000 samples on, and 2 in `partial_fit`; 1 for wide sparse streams.
    context_map_size : int or None, default=None
        Halfspaces per neuron, which has a row of weights for each of their 2^context_map_size combinations. None is 5
        in `partial_fit`, and in `fit` 3 to 8, one more for each factor of three beyond 5,000 samples; 0, so no
        halfspaces, for wide sparse tables.
    context_bias : float, default=1.0
        Standard deviation of the halfspaces' distances from the mean of the features in `partial_fit`. `fit` lays
        halfspaces between samples.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable from the count of samples learned so far to one. In `fit` None falls
        linearly to 0.01, for means from 0.5 and for quantiles from 1.5, with encodings from three times as much. In
        `partial_fit` it falls from 0.3 to 0.1 for slow networks and is 0.5 for fast ones; for quantiles it falls from
        0.5 to 0.05 and 0.25, see `gln.rates.stream_rate`. Steps of batches add up: for means, more than 2 over the size
        of a batch swings.
    n_epochs : int or None, default=None
        Passes of `fit` over the samples. None is about 1000 / N, at least 3, or 5 over a wide sparse table, and at most
        20; but of long tables about 300,000 / N, at least 1.
    max_seconds : float or None, default=None
        About how long `fit` may learn. With less time than all passes take, the learning rate falls faster, and results
        depend on the machine.
    batch_size : int, default=1
        Samples predicted with the same weights before these learn; 1 is exact online learning.
    shuffle : bool, default=True
        Whether each pass of `fit` takes the samples in a new order. `partial_fit` keeps their order.
    backend : {"auto", "numpy", "numba", "torch", "jax", "tf"}, default="auto"
        Which implementation learns. All predict the same, up to rounding; "auto" is the fastest of Numba, JAX and NumPy
        that is installed.
    n_jobs : int or None, default=None
        Processes, by joblib, that share the networks of `fit` and, if there are fewer networks than processes, their
        heads. None is 1 or what `joblib.parallel_config` says, -1 all processors. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Draws the halfspaces and the order of the samples. Pass an int for reproducible results.
    verbose : bool or int, default=False
        Whether `fit` shows a progress bar.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which features are categories: "from_dtype" takes the categories and the text of a frame of pandas or polars;
        an array-like holds a mask, column numbers or names. None takes all features as numbers.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.
    categories_ : dict
        For the column number of each category, the codes of its levels.
    n_iter_ : int
        Passes of the last `fit` or `partial_fit` over its samples.
    learner_ : gln.learner.Learner
        The networks with what standardises features and targets, which are also `standardizer_`,
        `target_standardizer_`, `glns_` (of the means, a head for each target), `quantile_glns_` (for each target a
        list, a head for each level) and `variance_glns_` (a head for each target).
    targets_shape_ : tuple
        Shape of a sample's targets: () where y was (N,), else (T,).

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

    def __init__(
        self,
        layer_sizes: Sequence[int] | None = None,
        *,
        quantiles: Sequence[float] | None = None,
        density: bool = False,
        n_networks: int | None = None,
        context_map_size: int | None = None,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        n_epochs: int | None = None,
        max_seconds: float | None = None,
        batch_size: int = 1,
        shuffle: bool = True,
        backend: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
        categorical_features: Any = "from_dtype",
    ) -> None:
        self.layer_sizes = layer_sizes
        self.quantiles = quantiles
        self.density = density
        self.n_networks = n_networks
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.n_epochs = n_epochs
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.categorical_features = categorical_features

    def fit(self, X, y, sample_weight=None):
        """Learn a table from scratch; `partial_fit` continues instead.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
            As that of `GLNClassifier.fit`.
        y : array-like of shape (N,) or (N, T)
            Finite numbers, unscaled.
        sample_weight : array-like of shape (N,), default=None
            As those of `GLNClassifier.fit`.
        """
        X, targets, shape = self._numbers_of(X, y, reset=True)
        visits, shares = table_visits(X, targets, checked_weights(sample_weight, X), self.shuffle)
        self._fit(self._groups(len(targets)), Table(X, visits, targets[:, visits], shares))
        self.targets_shape_ = shape
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """Learn the next samples of a stream, as `GLNClassifier.partial_fit` does.

        Parameters
        ----------
        X, y : as in `fit`
        sample_weight : array-like of shape (N,), default=None
            From 0 to 100, best about 1.
        """
        self._learn_stream(X, y, sample_weight)
        return self

    def partial_fit_predict(self, X, y):
        """`partial_fit` that returns the mean predicted for each sample before it was learned, in the shape of y."""
        return self._means(np.concatenate(self._learn_stream(X, y, predicts=True), axis=1))

    def predict(self, X, return_std=False):
        """The mean of the targets, (N,) or (N, T) as y was, for X (N, F).

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
        return_std : bool, default=False
            Whether to return the standard deviations of the targets as well, in the same shape; needs `density`.
        """
        samples = self._samples(X)
        if not return_std:
            return self._means(self.learner_.predict(samples))
        mean, std = self._moments(samples, "return_std")
        return self._means(mean), self._means(std)

    def predict_quantiles(self, X, levels=None):
        """The quantiles of the targets in rising order, (N, Q) or (N, T, Q).

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
        levels : sequence of float or None, default=None
            Levels in (0, 1) of the density. None is those of `quantiles`, which their own networks have learned, or
            without these 0.05 and 0.95.
        """
        samples = self._samples(X)
        if levels is None and self.quantile_glns_:
            groups = range(1, 1 + len(self.quantile_glns_))
            found = np.stack([self.learner_.predict(samples, group) for group in groups])  # (T, Q, N)
        elif levels is None and not self.learner_.has_densities:
            raise ValueError("quantiles: expected levels or density=True when the model was fitted, got neither")
        else:
            mean, std = self._moments(samples, "levels")
            levels = np.sort(_levels((0.05, 0.95) if levels is None else levels))
            found = mean[:, None] + std[:, None] * self._shape.quantiles(levels)[..., None]
        return np.sort(found, axis=1).transpose(2, 0, 1).reshape(-1, *self.targets_shape_, found.shape[1])

    def log_density(self, X, y):
        """The natural logarithm of the density of each target, whose unit is that of 1 / y; needs `density`.

        Shapes: X (N, F), y (N,) or (N, T) -> (N,) or (N, T). Their mean is the log-likelihood.
        """
        mean, std = self._moments(self._samples(X), "log_density")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y.shape != (mean.shape[1], *self.targets_shape_):
            raise ValueError(f"y: expected shape {(mean.shape[1], *self.targets_shape_)}, got {y.shape}")
        deviations = (y.reshape(len(y), -1).T - mean) / std
        return self._means(self._shape.log_density(deviations) - np.log(std))

    def sample(self, X, n=1, random_state=None):
        """Draw targets from their densities, (N, n) or (N, T, n); needs `density`.

        Parameters
        ----------
        X : array-like or sparse array of shape (N, F)
        n : int, default=1
            How many for each sample of X.
        random_state : int, RandomState instance or None, default=None
            Pass an int for the same ones each time.
        """
        mean, std = self._moments(self._samples(X), "sample")
        check_scalar(n, "n", Integral, min_val=1)
        normal = check_random_state(random_state).normal(size=(*mean.shape, n))
        drawn = mean[..., None] + std[..., None] * self._shape.of(normal)  # (T, N, n)
        return drawn.swapaxes(0, 1).reshape(-1, *self.targets_shape_, n)

    def explain(self, X):
        """Contribution of each feature to a prediction, in units of the target: with a constant they add up to it.

        See `GLNClassifier.explain`. Shapes: X (N, F) -> contributions (N, F) or (N, T, F), constant (N,) or (N, T).
        """
        samples = self._samples(X)
        contributions, constant = self.learner_.explain(samples)  # (T, N, F), (T, N)
        contributions, constant, shape = contributions.swapaxes(0, 1), constant.T, (-1, *self.targets_shape_)
        return contributions.reshape(*shape, contributions.shape[2]), constant.reshape(shape)

    @property
    def quantile_glns_(self):
        """For each target the networks of quantiles."""
        groups = self.learner_.groups
        return groups[1 : len(groups) - self.learner_.has_densities]

    @property
    def variance_glns_(self):
        """The networks of variances, none without `density`."""
        return self.learner_.groups[-1] if self.learner_.has_densities else []

    @property
    def _shape(self):
        return self.learner_.shape or Shape.normal(len(self.learner_.target_standardizer.mean))

    target_standardizer_ = property(lambda self: self.learner_.target_standardizer, doc="What standardises targets.")

    def _learn_stream(self, X, y, sample_weight=None, predicts=False):
        """Learn the next samples; returns part by part the means that were predicted before, (T, n), if wanted."""
        first = not hasattr(self, "learner_")
        X, targets, shape = self._numbers_of(X, y, reset=first)
        if not first and shape != self.targets_shape_:
            expected, came = ("N", *self.targets_shape_), (X.shape[0], *shape)
            raise ValueError(f"y: expected shape {expected}, as in the first call, got {came}")
        visits, shares = stream_visits("sample_weight", checked_weights(sample_weight, X))
        learner = self._of_stream(self._groups(len(targets)), X, len(targets)) if first else self.learner_
        predicted = self._learn(learner, X[visits], targets[:, visits], shares, predicts)
        self.targets_shape_ = shape
        return predicted

    def _moments(self, samples, wanted):  # (F, N) -> (T, N), (T, N)
        """Means and standard deviations, for what was `wanted`."""
        if not self.learner_.has_densities:
            raise ValueError(f"{wanted}: expected density=True when the model was fitted, got False")
        return self.learner_.predict(samples), self.learner_.deviations(samples)

    def _means(self, predicted):  # (T, N) -> (N,) or (N, T)
        return predicted.T.reshape(-1, *self.targets_shape_)

    def _numbers_of(self, X, y, reset):
        """X (N, F), targets (T, N), and the shape of a sample's targets."""
        X, y = self._checked(X, y, reset, multi_output=True)
        if not isinstance(self.density, (bool, np.bool_)):
            raise ValueError(f"density: expected True or False, got {self.density!r}")
        y = np.asarray(y, np.float64)
        check_magnitude("y", y)
        return X, y.reshape(len(y), -1).T, y.shape[1:]

    def _groups(self, targets):
        """Arguments of the networks of each group. Those of quantiles and variances change nothing about the means."""
        mean = {"loss": "squared_error", "num_outputs": targets}
        levels = {"loss": "quantile", "quantiles": self.quantiles}
        variance = {"loss": "variance", "num_outputs": targets}
        return [mean] + (targets * [levels] if self.quantiles is not None else []) + self.density * [variance]


def _levels(levels):
    """Levels of quantiles, checked, (Q,)."""
    try:
        numbers = np.asarray(levels, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.ndim != 1 or len(numbers) == 0 or not ((numbers > 0) & (numbers < 1)).all():
        raise ValueError(f"levels: expected a sequence of numbers in (0, 1), got {levels!r}")
    return numbers


def _group(classes):
    """Arguments of the networks that tell these classes apart."""
    if len(classes) < 2:
        raise ValueError(f"GLNClassifier needs samples of at least 2 classes, got one class: {classes[0]}")
    return {"num_classes": len(classes), "pred_clipping": CLIPPING}
