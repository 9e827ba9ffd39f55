"""A Gated Linear Network as a scikit-learn classifier, round the GLN of any backend.

Shapes: N samples, F features, C classes. As in scikit-learn a sample is a row; the backends take it as a column.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, check_scalar, gen_batches
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from gln.backends import load_backend
from gln.features import Standardizer
from gln.rates import linear_rate

__all__ = ["GLNClassifier"]

CHUNK = 1000  # samples that are standardised at a time, so that little memory is needed beside X
FLOOR = 0.05  # of `Standardizer`: with 0 the digits lose 0.4 points, and from 0.1 on the wines do
FARTHEST = 1e6  # what is further from the mean, in deviations, is taken to be there: float32 products stay finite


class GLNClassifier(ClassifierMixin, BaseEstimator):
    """Gated Linear Network classifier.

    It learns one sample after another, without backpropagation: in several passes over a table by `fit`, or from a
    stream by `partial_fit`. Features need no scaling; they are standardised by what was seen of them.

    Parameters
    ----------
    layer_sizes : sequence of int or None, default=None
        Neurons of each layer. None takes 64 and 32, or without halfspaces one neuron, for all would be the same.
    context_map_size : int or None, default=None
        Halfspaces of a neuron, which has a row of weights for each of their 2^context_map_size combinations. In `fit`
        None takes as many as make 2^context_map_size about N / (30 sqrt(F)), and at most 6; a table too short for one
        gets a linear model. In `partial_fit`, which cannot know N, it takes 2.
    halfspaces_from_data : bool, default=True
        Whether `fit` draws the halfspaces as bisectors of two samples each, instead of at random. `partial_fit` always
        draws them at random, for what it learns must not depend on how a stream is cut.
    context_bias : float, default=1.0
        Standard deviation of the distances from the features' mean of halfspaces that are drawn at random.
    learning_rate : float, callable or None, default=None
        A number from 0 to 1e30, or a callable from the count of samples learned so far to one. None starts at
        min(10, sqrt(F + 1)). In `fit`, which knows how many samples come, it falls linearly to 0.1; in `partial_fit` it
        falls with the square root of the count, see `gln_numpy.decaying_rate`.
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
            Finite numbers, unscaled.
        y : array-like of shape (N,)
            Class labels, of two classes or more.

        Returns
        -------
        self : GLNClassifier
        """
        X, y = self._validated(X, y, reset=True)
        classes, targets = np.unique(y, return_inverse=True)
        if self.n_epochs is not None:
            check_scalar(self.n_epochs, "n_epochs", Integral, min_val=1)
        epochs = int(np.clip(2000 // len(X), 3, 20)) if self.n_epochs is None else self.n_epochs
        halfspaces = round(np.log2(len(X) / (30 * np.sqrt(X.shape[1]))))
        rng = check_random_state(self.random_state)
        self._start(classes, X.shape[1], int(np.clip(halfspaces, 0, 6)), rng)
        for part in self._parts(X):
            self.standardizer_.learn(X[part].T)
        if self.halfspaces_from_data and len(X) > 1:
            self.gln_.fit_hyperplanes(self._standardized(X[rng.permutation(len(X))[:CHUNK]]))
        self._pass_over(X, targets, epochs, rng)
        self.n_iter_ = epochs
        return self

    def partial_fit(self, X, y, classes=None):
        """Learn the next samples of a stream, once and in their order.

        Features are standardised by the samples up to each. A stream learned in parts gives what it gives in one call,
        where the parts hold a multiple of `batch_size` samples. `batch_size` and `learning_rate` may be set anew
        between two parts; the other parameters are those of the first call.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Finite numbers, unscaled.
        y : array-like of shape (N,)
            Class labels, all among `classes`.
        classes : array-like of shape (C,), default=None
            All classes that the stream may hold. Needed in the first call, and the same or None in later ones.

        Returns
        -------
        self : GLNClassifier
        """
        first = not hasattr(self, "gln_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = np.unique(classes) if first else self.classes_
        if not (first or classes is None or np.array_equal(known, np.unique(classes))):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")
        X, y = self._validated(X, y, reset=first)
        if unseen := set(np.unique(y)) - set(known):
            raise ValueError(f"y holds labels that are not among the classes {known!r}: {sorted(unseen)}")
        if first:
            self._start(known, X.shape[1], 2, check_random_state(self.random_state))
        self.gln_.set_learning_rate(self.learning_rate)  # which may have been set anew since the last call
        targets = np.searchsorted(self.classes_, y)
        for part in self._parts(X):
            self._learn(self.standardizer_.learn(X[part].T), targets[part])
        self.n_iter_ = 1
        return self

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
        p = self._probabilities(X)
        return np.stack([1 - p, p], axis=1) if p.ndim == 1 else p / p.sum(axis=1, keepdims=True)

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

    def __sklearn_is_fitted__(self):
        return hasattr(self, "gln_")  # other attributes stand there even where the first samples were refused

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "gln_"):  # joblib may have mapped a file that can only be read; this moves it into memory
            self.gln_.set_state(self.gln_.get_state())

    def _validated(self, X, y, reset):
        """X and y, checked together with the parameters that the network does not check."""
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        for name in ("halfspaces_from_data", "shuffle", "verbose"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        load_backend(self.backend)  # which refuses what is none
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=reset)
        check_classification_targets(y)
        _check_magnitude(X)
        return X, y

    def _start(self, classes, features, halfspaces, rng):
        """Make a network that knows nothing yet, with so many halfspaces a neuron where the user did not say."""
        if len(classes) < 2:
            raise ValueError(f"{type(self).__name__} needs samples of at least 2 classes, got one class: {classes[0]}")
        if self.context_map_size is not None:
            halfspaces = self.context_map_size
        layer_sizes = self.layer_sizes
        if layer_sizes is None:
            layer_sizes = (1,) if halfspaces == 0 else (64, 32)
        network = load_backend(self.backend).GLN(
            layer_sizes,
            features,
            features,
            num_classes=len(classes),
            context_map_size=halfspaces,
            context_bias=self.context_bias,
            learning_rate=self.learning_rate,
            seed=int(rng.randint(np.iinfo(np.int32).max)),
        )
        self.gln_, self.classes_, self.standardizer_ = network, classes, Standardizer(features, FLOOR)

    def _parts(self, X):
        """Slices of X, each of whole batches."""
        return gen_batches(len(X), self.batch_size * max(1, CHUNK // self.batch_size))

    def _standardized(self, X):  # (N, F) -> (F, N)
        with np.errstate(over="ignore"):  # beyond float32 is beyond FARTHEST
            return np.clip(self.standardizer_.transform(X.T), -FARTHEST, FARTHEST)

    def _pass_over(self, X, targets, epochs, rng):
        """Learn all samples so many times, at a rate that falls to the end where the user gave none."""
        total = epochs * len(X)
        if self.learning_rate is None:
            first = self.gln_.learning_rate(0)
            self.gln_.set_learning_rate(functools.partial(linear_rate, samples=total, first=first))
        with tqdm(total=total, unit=" samples", disable=not self.verbose) as bar:
            for _ in range(epochs):
                order = rng.permutation(len(X)) if self.shuffle else np.arange(len(X))
                for part in self._parts(X):
                    self._learn(self._standardized(X[order[part]]), targets[order[part]])
                    bar.update(len(order[part]))
        self.gln_.set_learning_rate(self.learning_rate)  # of a stream that may follow

    def _learn(self, columns, targets):
        self.gln_.predict_online(columns, columns, targets, self.batch_size)

    def _probabilities(self, X):  # (N, F) -> (N,) or (N, C)
        """What the heads say, each of its class against the rest."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        _check_magnitude(X)
        parts = [self._standardized(X[part]) for part in gen_batches(len(X), CHUNK)]
        return np.concatenate([np.asarray(self.gln_.predict(z, z), np.float64).T for z in parts])


def _check_magnitude(X):
    if max(X.max(), -X.min()) > np.finfo(np.float32).max:
        raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
