"""Gated Linear Networks as scikit-learn's classifier and regressor, round the GLN of any backend.

Shapes: N samples, F features, C classes, T targets, Q quantiles. As in scikit-learn a sample is a row; the backends
take it as a column.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state, check_scalar, gen_batches
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from gln.backends import load_backend
from gln.features import OF_FEATURES, OF_TARGETS, Standardizer, with_distances
from gln.rates import linear_rate, rate_of_streams

__all__ = ["GLNClassifier", "GLNRegressor"]

CHUNK = 1000  # samples that are standardised at a time, so that little memory is needed beside X
ALLOWED = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}  # a missing value counts as the mean
STREAM_HALFSPACES = 5  # in `partial_fit`, which cannot know how many samples come
FIT_RATES = {"log_loss": (None, 0.1), "squared_error": (0.5, 0.01), "quantile": (1.5, 0.01)}  # of `fit`, first and last


class _Estimator(BaseEstimator):
    """What classifier and regressor share: standardised features, passes over a table, the parts of a stream."""

    def __sklearn_is_fitted__(self):
        return hasattr(self, "gln_")  # other attributes stand there even where the first samples were refused

    def __setstate__(self, state):
        super().__setstate__(state)
        # joblib may have mapped a file that can only be read; this moves it into memory.
        for each in (*self._networks(), *(vars(self)[name] for name in vars(self) if name.endswith("standardizer_"))):
            each.set_state(each.get_state())

    def _networks(self):
        return [self.gln_] if hasattr(self, "gln_") else []

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _validated(self, X, y, reset, **checks):
        """X and y, checked together with the parameters that the network does not check."""
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        if reset:
            if self.n_epochs is not None:
                check_scalar(self.n_epochs, "n_epochs", Integral, min_val=1)
            for name in ("halfspaces_from_data", "shuffle", "verbose"):
                if not isinstance(getattr(self, name), (bool, np.bool_)):
                    raise ValueError(f"{name}: expected True or False, got {getattr(self, name)!r}")
            load_backend(self.backend)  # which refuses what is none
        plain = not reset and self._is_plain(X) and type(y) is np.ndarray and y.dtype.kind in "biuf"
        if not (plain and y.shape == (len(X),) and np.isfinite(y).all()):
            X, y = validate_data(self, X, y, **ALLOWED, reset=reset, **checks)
        _check_magnitude("X", X)
        return X, y

    def _is_plain(self, X):
        """Whether X, but for its magnitudes, is what `validate_data` would give back as it is, and take longer to."""
        plain = type(X) is np.ndarray and X.dtype.char in "df" and X.ndim == 2 and len(X) > 0
        return plain and X.shape[1] == self.n_features_in_ and not hasattr(self, "feature_names_in_")

    def _network(self, features, halfspaces, seed, distances=True, **kind):
        """A network that knows nothing yet, with so many halfspaces a neuron where the user did not say."""
        halfspaces = halfspaces if self.context_map_size is None else self.context_map_size
        sizes = (1,) if halfspaces == 0 else (64, 32)
        return load_backend(self.backend).GLN(
            sizes if self.layer_sizes is None else self.layer_sizes,
            2 * features if distances else features,
            features,
            context_map_size=halfspaces,
            context_bias=self.context_bias,
            learning_rate=self.learning_rate,
            seed=seed,
            **kind,
        )

    def _inputs(self, columns):  # (F, N) -> (2 F, N), or as it is
        return with_distances(columns) if self.gln_.input_size > len(columns) else columns

    def _parts(self, X):
        """Slices of X, each of whole batches."""
        return gen_batches(len(X), self.batch_size * max(1, CHUNK // self.batch_size))

    def _new_columns(self, X):  # (N, F) -> parts of (F, n), standardised for prediction
        check_is_fitted(self)
        X = X if self._is_plain(X) else validate_data(self, X, **ALLOWED, reset=False)
        _check_magnitude("X", X)
        return [self.standardizer_.transform(X[part].T) for part in gen_batches(len(X), CHUNK)]

    def _learn_table(self, X, targets, epochs, rng):
        """Learn all samples, with targets (..., N), so many times, at rates that fall where the user gave none."""
        if self.halfspaces_from_data and len(X) > 1:
            some = self.standardizer_.transform(X[rng.permutation(len(X))[:CHUNK]].T)
            for network in self._networks():
                network.fit_hyperplanes(some)
        total = epochs * len(X)
        for network in self._networks() if self.learning_rate is None else ():
            first, last = FIT_RATES[network.loss]
            first = network.learning_rate(0) if first is None else first
            network.set_learning_rate(functools.partial(linear_rate, samples=total, first=first, last=last))
        with tqdm(total=total, unit=" samples", disable=not self.verbose) as bar:
            for _ in range(epochs):
                order = rng.permutation(len(X)) if self.shuffle else np.arange(len(X))
                for part in self._parts(X):
                    self._learn(self.standardizer_.transform(X[order[part]].T), targets[..., order[part]])
                    bar.update(len(order[part]))
        self._set_rates()
        self.n_iter_ = epochs

    def _set_rates(self, of_stream=False):
        """Those that the user gave, or the networks' own, or while a part of a stream is learned those of streams."""
        for network in self._networks():
            default = rate_of_streams(network) if of_stream else None
            network.set_learning_rate(default if self.learning_rate is None else self.learning_rate)


class GLNClassifier(ClassifierMixin, _Estimator):
    """Gated Linear Network classifier.

    It learns one sample after another, without backpropagation: in several passes over a table by `fit`, or from a
    stream by `partial_fit`. Features need no scaling; they are standardised by what was seen of them. A missing one
    counts as its mean, and one far off all that was seen as missing. In a stream the network mixes each feature and how
    far it is from its mean, in a table the features; its halfspaces see the features.

    Parameters
    ----------
    layer_sizes : sequence of int or None, default=None
        Neurons of each layer. None takes 64 and 32, or without halfspaces one neuron, for all would be the same.
    context_map_size : int or None, default=None
        Halfspaces of a neuron, which has a row of weights for each of their 2^context_map_size combinations. In `fit`
        None takes as many as make 2^context_map_size about N / (30 sqrt(F)), and at most 6; a table too short for one
        gets a linear model. In `partial_fit`, which cannot know N, it takes 5.
    halfspaces_from_data : bool, default=True
        Whether `fit` draws the halfspaces as bisectors of two samples each, instead of at random. `partial_fit` always
        draws them at random, for what it learns must not depend on how a stream is cut.
    context_bias : float, default=1.0
        Standard deviation of the distances from the features' mean of halfspaces that are drawn at random.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable from the count of samples learned so far to one. None starts at
        min(10, sqrt(d)), d the inputs of the first layer. In `fit`, which knows how many samples come, it falls
        linearly to 0.1; in `partial_fit` it falls to 1, see `gln.rates.stream_rate`.
    n_epochs : int or None, default=None
        Passes of `fit` over the samples. None makes about 2000 / N, at least 3 and at most 20.
    batch_size : int, default=1
        Samples predicted with the same weights before these learn; 1 is exact online learning.
    shuffle : bool, default=True
        Whether `fit` goes through the samples in a new order in each pass. `partial_fit` keeps their order.
    backend : {"auto", "numpy", "numba", "torch", "jax", "tf"}, default="auto"
        Which implementation learns. All give the same predictions but for rounding; "auto" takes the fastest of
        Numba, JAX and NumPy that is installed.
    random_state : int, RandomState instance or None, default=None
        Draws the halfspaces and the order of the samples. Pass an int for the same results each time.
    verbose : bool, default=False
        Whether `fit` shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The class labels.
    n_features_in_ : int
        Number of features seen.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features; defined only where all were strings.
    n_iter_ : int
        Passes over the samples that the last `fit` or `partial_fit` made.
    gln_ : GLN
        The network, of the chosen backend.
    standardizer_ : gln.features.Standardizer
        What standardises its inputs.

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
        context_map_size: int | None = None,
        halfspaces_from_data: bool = True,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        n_epochs: int | None = None,
        batch_size: int = 1,
        shuffle: bool = True,
        backend: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.halfspaces_from_data = halfspaces_from_data
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y):
        """Learn a table from scratch.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Numbers, unscaled; NaN is a missing value.
        y : array-like of shape (N,)
            Class labels, of two classes or more.

        Returns
        -------
        self : GLNClassifier
        """
        X, y = self._validated(X, y, reset=True)
        check_classification_targets(y)
        classes, targets = np.unique(y, return_inverse=True)
        epochs = int(np.clip(2000 // len(X), 3, 20)) if self.n_epochs is None else self.n_epochs
        halfspaces = round(np.log2(len(X) / (30 * np.sqrt(X.shape[1]))))
        rng = check_random_state(self.random_state)
        self._start(classes, X.shape[1], int(np.clip(halfspaces, 0, 6)), rng, distances=False)
        self.standardizer_.fit(X.T)
        self._learn_table(X, targets, epochs, rng)
        return self

    def partial_fit(self, X, y, classes=None):
        """Learn the next samples of a stream, once and in their order.

        Features are standardised by the samples up to each. A stream learned in parts gives what it gives in one call,
        where the parts hold a multiple of `batch_size` samples. `batch_size` and `learning_rate` may be set anew
        between two parts; the other parameters are those of the first call.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Numbers, unscaled; NaN is a missing value.
        y : array-like of shape (N,)
            Class labels, all among `classes`.
        classes : array-like of shape (C,), default=None
            All classes that the stream may hold. Needed in the first call, and the same or None in later ones.

        Returns
        -------
        self : GLNClassifier
        """
        self._learn_stream(X, y, classes)
        return self

    def partial_fit_predict_proba(self, X, y, classes=None):
        """`partial_fit`, which gives what was predicted of each sample before it was learned.

        Parameters
        ----------
        X, y, classes
            As those of `partial_fit`.

        Returns
        -------
        probabilities : ndarray of shape (N, C)
        """
        return self._normalized(self._learn_stream(X, y, classes))

    def decision_function(self, X):
        """Logits of the classes.

        Parameters
        ----------
        X : array-like of shape (N, F)

        Returns
        -------
        logits : ndarray of shape (N,) or (N, C)
            With two classes that of `classes_[1]`, else each class's against the rest.
        """
        return logit(self._probabilities(X))

    def predict_proba(self, X):
        """Probabilities of the classes; with more than two, those of each against the rest, brought to sum to one.

        Parameters
        ----------
        X : array-like of shape (N, F)

        Returns
        -------
        probabilities : ndarray of shape (N, C)
        """
        return self._normalized(self._probabilities(X))

    def predict(self, X):
        """The most probable class of each sample.

        Parameters
        ----------
        X : array-like of shape (N, F)

        Returns
        -------
        labels : ndarray of shape (N,)
        """
        p = self.predict_proba(X)
        return self.classes_[p.argmax(axis=1)]

    def _learn_stream(self, X, y, classes):
        """Learn the next samples; gives what the heads said before, (N,) or (N, C)."""
        first = not hasattr(self, "gln_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = np.unique(classes) if first else self.classes_
        if not (first or classes is None or np.array_equal(known, np.unique(classes))):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")
        X, y = self._validated(X, y, reset=first)
        alike = (known.dtype.kind in "biuf") == (y.dtype.kind in "biuf")  # numbers, or none
        targets = np.searchsorted(known, y) if alike else np.zeros(len(y), int)
        if (known[np.minimum(targets, len(known) - 1)] != y).any():
            check_classification_targets(y)
            raise ValueError(f"y holds labels that are not among the classes {known!r}: {sorted(set(y) - set(known))}")
        if first:
            self._start(known, X.shape[1], STREAM_HALFSPACES, check_random_state(self.random_state))
        self._set_rates(of_stream=True)
        said = [self._learn(self.standardizer_.learn(X[part].T), targets[part]) for part in self._parts(X)]
        self._set_rates()
        self.n_iter_ = 1
        return np.concatenate(said, axis=-1).T

    def _normalized(self, p):  # (N,) or (N, C) -> (N, C)
        return np.stack([1 - p, p], axis=1) if p.ndim == 1 else p / p.sum(axis=1, keepdims=True)

    def _start(self, classes, features, halfspaces, rng, distances=True):
        if len(classes) < 2:
            raise ValueError(f"{type(self).__name__} needs samples of at least 2 classes, got one class: {classes[0]}")
        self.gln_ = self._network(features, halfspaces, _seed(rng), distances, num_classes=len(classes))
        self.classes_, self.standardizer_ = classes, Standardizer(features, **OF_FEATURES)

    def _learn(self, columns, targets):
        inputs = self._inputs(columns)
        return np.asarray(self.gln_.predict_online(inputs, columns, targets, self.batch_size), np.float64)

    def _probabilities(self, X):  # (N, F) -> (N,) or (N, C)
        """What the heads say, each of its class against the rest."""
        parts = self._new_columns(X)
        return np.concatenate([np.asarray(self.gln_.predict(self._inputs(z), z), np.float64).T for z in parts])


class GLNRegressor(RegressorMixin, MultiOutputMixin, _Estimator):
    """Gated Linear Network regressor.

    It learns one sample after another, without backpropagation: in several passes over a table by `fit`, or from a
    stream by `partial_fit`. Features and targets need no scaling; they are standardised by what was seen of them. A
    missing feature counts as its mean, and one far off all that was seen as missing. The network mixes each feature and
    how far it is from its mean; its halfspaces see the features.

    Parameters
    ----------
    layer_sizes : sequence of int or None, default=None
        Neurons of each layer. None takes 64 and 32, or without halfspaces one neuron, for all would be the same.
    quantiles : sequence of float or None, default=None
        Levels in (0, 1) that `predict_quantiles` predicts: (0.05, 0.95) gives intervals that hold some 90 % of the
        targets. They are learned by a network of their own, beside that of the mean.
    context_map_size : int or None, default=None
        Halfspaces of a neuron, which has a row of weights for each of their 2^context_map_size combinations. None takes
        3 in `fit` and 5 in `partial_fit`.
    halfspaces_from_data : bool, default=True
        Whether `fit` draws the halfspaces as bisectors of two samples each, instead of at random. `partial_fit` always
        draws them at random, for what it learns must not depend on how a stream is cut.
    context_bias : float, default=1.0
        Standard deviation of the distances from the features' mean of halfspaces that are drawn at random.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable from the count of samples learned so far to one. In `fit` None falls
        linearly to 0.01, for means from 0.5 and for quantiles from 1.5; in `partial_fit` it falls from 0.3 to 0.1, and
        from 0.5 to 0.05, see `gln.rates.stream_rate`. Steps of batches add up: for means, more than 2 over the size of
        a batch swings.
    n_epochs : int or None, default=None
        Passes of `fit` over the samples. None makes about 1000 / N, at least 3 and at most 20.
    batch_size : int, default=1
        Samples predicted with the same weights before these learn; 1 is exact online learning.
    shuffle : bool, default=True
        Whether `fit` goes through the samples in a new order in each pass. `partial_fit` keeps their order.
    backend : {"auto", "numpy", "numba", "torch", "jax", "tf"}, default="auto"
        Which implementation learns. All give the same predictions but for rounding; "auto" takes the fastest of
        Numba, JAX and NumPy that is installed.
    random_state : int, RandomState instance or None, default=None
        Draws the halfspaces and the order of the samples. Pass an int for the same results each time.
    verbose : bool, default=False
        Whether `fit` shows a progress bar.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features; defined only where all were strings.
    n_iter_ : int
        Passes over the samples that the last `fit` or `partial_fit` made.
    gln_ : GLN
        The network of the means, a head for each target.
    quantile_glns_ : list of GLN
        For each target the network of its quantiles, a head for each; empty without `quantiles`.
    standardizer_, target_standardizer_ : gln.features.Standardizer
        What standardises features and targets.

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
        context_map_size: int | None = None,
        halfspaces_from_data: bool = True,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        n_epochs: int | None = None,
        batch_size: int = 1,
        shuffle: bool = True,
        backend: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.layer_sizes = layer_sizes
        self.quantiles = quantiles
        self.context_map_size = context_map_size
        self.halfspaces_from_data = halfspaces_from_data
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y):
        """Learn a table from scratch.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Numbers, unscaled; NaN is a missing value.
        y : array-like of shape (N,) or (N, T)
            Finite numbers, unscaled.

        Returns
        -------
        self : GLNRegressor
        """
        X, y = self._numbers(X, y, reset=True)
        epochs = int(np.clip(1000 // len(X), 3, 20)) if self.n_epochs is None else self.n_epochs
        rng = check_random_state(self.random_state)
        self._start(X.shape[1], y.shape[1:], 3, rng)
        columns = y.reshape(len(y), -1).T
        self.standardizer_.fit(X.T)
        self.target_standardizer_.fit(columns)
        self._learn_table(X, self.target_standardizer_.transform(columns), epochs, rng)
        return self

    def partial_fit(self, X, y):
        """Learn the next samples of a stream, once and in their order.

        Features and targets are standardised by the samples up to each. A stream learned in parts gives what it gives
        in one call, where the parts hold a multiple of `batch_size` samples. `batch_size` and `learning_rate` may be
        set anew between two parts; the other parameters are those of the first call.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Numbers, unscaled; NaN is a missing value.
        y : array-like of shape (N,) or (N, T)
            Finite numbers, unscaled.

        Returns
        -------
        self : GLNRegressor
        """
        self._learn_stream(X, y)
        return self

    def partial_fit_predict(self, X, y):
        """`partial_fit`, which gives the mean that was predicted of each sample before it was learned.

        Parameters
        ----------
        X, y
            As those of `partial_fit`.

        Returns
        -------
        means : ndarray of shape (N,) or (N, T)
        """
        return self._learn_stream(X, y)

    def predict(self, X):
        """The mean of the targets.

        Parameters
        ----------
        X : array-like of shape (N, F)

        Returns
        -------
        means : ndarray of shape (N,) or (N, T), as y was
        """
        parts = [np.atleast_2d(self.gln_.predict(with_distances(z), z)) for z in self._new_columns(X)]
        return self._restored(np.concatenate(parts, axis=1)).reshape(-1, *self._targets)

    def predict_quantiles(self, X):
        """The quantiles of the targets, in rising order.

        Parameters
        ----------
        X : array-like of shape (N, F)

        Returns
        -------
        quantiles : ndarray of shape (N, Q) or (N, T, Q)
        """
        parts = self._new_columns(X)
        if not self.quantile_glns_:
            raise ValueError("quantiles: expected levels when the model was fitted, got None")
        levels = [[np.atleast_2d(g.predict(with_distances(z), z)) for z in parts] for g in self.quantile_glns_]
        values = np.sort(np.stack([np.concatenate(each, axis=1) for each in levels]), axis=1)  # (T, Q, N)
        restored = [self._restored(values[:, i]) for i in range(values.shape[1])]  # Q of (N, T)
        return np.stack(restored, axis=-1).reshape(-1, *self._targets, len(restored))

    def explain(self, X):
        """What each feature contributes to a prediction, in units of the target: with the constant they add up to it.

        Between the halfspaces the network is linear in each feature and in its distance from its mean; a feature's
        contribution is that of both.

        Parameters
        ----------
        X : array-like of shape (N, F)

        Returns
        -------
        contributions : ndarray of shape (N, F) or (N, T, F)
        constant : ndarray of shape (N,) or (N, T)
        """
        columns = np.concatenate(self._new_columns(X), axis=1)
        inputs, heads = with_distances(columns), self.gln_.num_heads
        weights, constant, _ = self.gln_.explain(inputs, columns)
        contributions = (weights * inputs.clip(-self.gln_.bound, self.gln_.bound)).reshape(heads, len(columns), 2, -1)
        scale = self._restored(np.ones((heads, 1))) - self._restored(np.zeros((heads, 1)))  # (1, T)
        contributions = contributions.sum(axis=2).transpose(2, 0, 1) * scale[:, :, None]  # (N, T, F)
        constant = self._restored(constant.reshape(heads, -1)).reshape(-1, *self._targets)
        return contributions.reshape(*constant.shape, len(columns)), constant

    def _networks(self):
        return [*super()._networks(), *getattr(self, "quantile_glns_", [])]

    def _learn_stream(self, X, y):
        """Learn the next samples; gives the means that were predicted before."""
        first = not hasattr(self, "gln_")
        X, y = self._numbers(X, y, reset=first)
        if first:
            self._start(X.shape[1], y.shape[1:], STREAM_HALFSPACES, check_random_state(self.random_state))
        elif y.shape[1:] != self._targets:
            raise ValueError(f"y: expected shape {('N', *self._targets)}, as in the first call, got {y.shape}")
        self._set_rates(of_stream=True)
        means = []
        for part in self._parts(X):
            columns = y[part].reshape(len(y[part]), -1).T
            targets, units = np.empty(columns.shape, np.float32), np.empty((2, *columns.shape))
            for b, sample in enumerate(columns.T):  # a prediction is in units of what was known before its target
                units[:, :, b] = self.target_standardizer_.inverse_transform(np.array([[0.0, 1.0]])).T
                targets[:, b] = self.target_standardizer_.learn_one(sample)
            said = self._learn(self.standardizer_.learn(X[part].T), targets)
            means.append(units[0] + said * (units[1] - units[0]))
        self._set_rates()
        self.n_iter_ = 1
        return np.concatenate(means, axis=1).T.reshape(-1, *self._targets)

    def _numbers(self, X, y, reset):
        X, y = self._validated(X, y, reset, multi_output=True)
        y = np.asarray(y, np.float64)
        _check_magnitude("y", y)
        return X, y

    def _start(self, features, targets, halfspaces, rng):
        # Of one seed: all have the same halfspaces, and the means are the same with quantiles and without.
        network = functools.partial(self._network, features, halfspaces, _seed(rng))
        count = int(np.prod(targets))
        mean = network(loss="squared_error", num_outputs=count)
        levels = self.quantiles
        quantiles = [network(loss="quantile", quantiles=levels) for _ in range(count) if levels is not None]
        self.gln_, self.quantile_glns_, self._targets = mean, quantiles, targets
        self.standardizer_ = Standardizer(features, **OF_FEATURES)
        self.target_standardizer_ = Standardizer(count, **OF_TARGETS)

    def _learn(self, columns, targets):  # (F, N), (T, N) -> (T, N)
        inputs = with_distances(columns)
        means = self.gln_.predict_online(inputs, columns, targets if len(targets) > 1 else targets[0], self.batch_size)
        for network, target in zip(self.quantile_glns_, targets, strict=len(self.quantile_glns_) > 0):
            network.predict_online(inputs, columns, target, self.batch_size)
        return np.atleast_2d(np.asarray(means, np.float64))

    def _restored(self, standardized):  # (T, N) -> (N, T)
        return self.target_standardizer_.inverse_transform(standardized).T


def _seed(rng):
    return int(rng.randint(np.iinfo(np.int32).max))


def _check_magnitude(name, array):
    if (np.abs(array) > np.finfo(np.float32).max).any():
        raise ValueError(f"Input {name} contains infinity or a value too large for dtype('float32').")
