"""Gated Linear Networks as estimators of River: dictionaries in, one at a time, classes and features as they appear.

Shapes: B samples, F features, C classes.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

try:
    from river import base
except ImportError as error:
    raise ImportError('gln.river needs River: pip install "gated-linear-networks[river]"') from error

from gln.backends import load_backend
from gln.categories import Categories
from gln.features import OF_FEATURES, OF_TARGETS, Standardizer
from gln.learner import Learner, Saveable, sum_to_one
from gln.levels import Levels, codes_of, new_levels

__all__ = ["GLNClassifier", "GLNRegressor"]


class _Samples(NamedTuple):
    """Samples to learn, and what will be known once they are learned."""

    columns: np.ndarray  # (F, B)
    places: dict[Hashable, int]  # of the features, by their names
    new: dict[Hashable, Levels]  # levels of categories


class _Stream(Saveable, base.Estimator):
    """What both share: names of features and levels, by which dictionaries and frames become samples for a learner.

    A feature is there from its first value on, and is a category if that is a string.
    """

    def __init__(self, layer_sizes, context_map_size, context_bias, learning_rate, backend, seed) -> None:
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.backend = backend
        self.seed = seed
        self._places: dict[Hashable, int] = {}  # of features in a sample, by their names
        self._levels: dict[Hashable, Levels] = {}  # of those that are categories
        self._learner: Learner | None = None  # until there is a feature

    @classmethod
    def _unit_test_params(cls):
        yield {"layer_sizes": (8, 4), "seed": 1}

    def _learned(self):
        return {
            name: value for name, value in vars(self).items() if name in ("_places", "_levels", "_labels", "_learner")
        }

    def _built(self, features: int) -> Learner:
        """A learner that knows nothing yet."""
        raise NotImplementedError

    def _network(self, features: int, **kind: Any) -> Any:
        sizes = {"input_size": 2 * features, "context_size": features, "context_map_size": self.context_map_size}
        options = {"context_bias": self.context_bias, "seed": self.seed}
        return load_backend(self.backend).GLN(self.layer_sizes, **sizes, **options, **kind)

    def _learn(self, samples: _Samples, targets: np.ndarray) -> None:
        """Learn samples, whose features and levels are the known ones if nothing is refused."""
        if not samples.places:
            return
        categorical = {samples.places[name] for name in self._levels.keys() | samples.new.keys()}
        learner = self._of_first(samples.columns, categorical) if self._learner is None else self._learner
        learner.learn(samples.columns, targets, categorical=categorical, predicts=False)
        self._places, self._learner = samples.places, learner
        for name, new in samples.new.items():
            self._levels.setdefault(name, {}).update(new)

    def _of_first(self, samples: np.ndarray, categorical: Set[int]) -> Learner:  # (F, B)
        """A learner for a stream that begins with these samples."""
        if not categorical:
            return self._built(len(samples))
        are_classes = isinstance(self, base.Classifier)
        categories = Categories.of_numbers(0, 1 + are_classes, are_classes).of_stream(samples, categorical)
        return dataclasses.replace(self._built(len(categories.columns)), categories=categories)

    def _seen(self, x: Mapping[Hashable, Any]) -> _Samples:
        """A dictionary that will be learned."""
        new: dict[Hashable, Levels] = {}
        x = self._coded(x, new)
        places = self._with_new({name for name in x.keys() - self._places.keys() if not _is_missing(x[name])})
        return _Samples(self._sample(x, places), places, new)

    def _seen_frame(self, X: pd.DataFrame) -> _Samples:
        """A frame that will be learned."""
        new: dict[Hashable, Levels] = {}
        coded = self._coded_frame(X, new)
        places = self._with_new(set(coded.columns[coded.notna().any()]))
        return _Samples(self._columns(coded, places), places, new)

    def _coded(self, x: Mapping[Hashable, Any], new: dict[Hashable, Levels] | None = None) -> Mapping[Hashable, Any]:
        """A dictionary with codes in place of strings. Levels that are not known go to `new`, or are missing values."""
        if not self._levels and not any(isinstance(value, str) for value in x.values()):
            return x
        coded = dict(x)
        for name, value in x.items():
            if not _is_missing(value) and self._is_category(name, [value]):
                known = self._levels.get(name, {})
                coded[name] = known.get(value, np.nan)
                if new is not None and value not in known:
                    coded[name] = len(known)
                    new[name] = {value: len(known)}
        return coded

    def _coded_frame(self, X: pd.DataFrame, new: dict[Hashable, Levels] | None = None) -> pd.DataFrame:
        """The same of a frame."""
        coded = X.copy(deep=False)
        for name in X.columns[[dtype.kind not in "biuf" or name in self._levels for name, dtype in X.dtypes.items()]]:
            values = X[name].dropna()
            if self._is_category(name, values):
                known = self._levels.get(name, {})
                found = {} if new is None else new_levels(known, values)
                coded[name] = codes_of(X[name], known | found)
                if new is not None and found:
                    new[name] = found
        return coded

    def _is_category(self, name: Hashable, values: Iterable[Any]) -> bool:
        """Whether a feature is a category, as its first value decides; raises ValueError if these values are not."""
        is_text = isinstance(next(iter(values), None), str)
        if name in self._places:
            is_text = name in self._levels
        for value in values:
            if isinstance(value, str) != is_text:
                expected = "a string" if is_text else "a finite number or a bool"
                raise ValueError(f"x[{name!r}]: expected {expected}, as its first value is one, got {value!r}")
        return is_text

    def _with_new(self, names: Set[Hashable]) -> dict[Hashable, int]:
        """The places of the known features and of these, the new ones in an order that does not depend on theirs."""
        new = names - self._places.keys()
        if not new:
            return self._places
        order = sorted(new, key=lambda name: (str(type(name)), str(name)))
        return self._places | {name: len(self._places) + i for i, name in enumerate(order)}

    @staticmethod
    def _sample(x: Mapping[Hashable, Any], places: Mapping[Hashable, int]) -> np.ndarray:
        """A dictionary as a column (F, 1), NaN where a feature is missing; others are left out."""
        sample = np.full((len(places), 1), np.nan)
        for name, value in x.items():
            if name in places:  # most values are what `_number` would make of them
                is_plain = value.__class__ is float and abs(value) < np.inf
                sample[places[name], 0] = value if is_plain else _number(name, value)
        return sample

    @staticmethod
    def _columns(X: pd.DataFrame, places: Mapping[Hashable, int]) -> np.ndarray:
        """A frame as columns (F, B), NaN where a feature is missing; others are left out."""
        columns = np.full((len(places), len(X)), np.nan)
        for name, dtype in zip(X.columns, X.dtypes, strict=True):
            if dtype.kind not in "biuf":
                _number(name, X[name].iloc[0] if len(X) else None)
            values = X[name].to_numpy(np.float64, na_value=np.nan)
            if np.isinf(values).any():
                _number(name, np.inf)
            if name in places:
                columns[places[name]] = values
        return columns


class GLNClassifier(_Stream, base.MiniBatchClassifier):
    """Gated Linear Network classifier.

    It learns each sample once, without backpropagation. Features need no scaling: they are standardised by what was
    seen of them. A missing feature counts as its mean, and so does a value far from all earlier ones. Features are
    numbers, bools and strings. A string is a category, of any number of levels, and a level that was never seen counts
    as missing. Classes, features and levels may appear at any time: a new class starts at the rate of one seen once.

    Parameters
    ----------
    layer_sizes
        Neurons of each layer.
    context_map_size
        Halfspaces per neuron, which has a row of weights for each of their 2^context_map_size combinations.
    context_bias
        Standard deviation of the halfspaces' distances from the mean of the features.
    learning_rate
        A number, or a callable from the count of samples learned so far to one. None falls to 1, see
        `gln.rates.stream_rate`.
    backend
        Which implementation learns: "numpy", "numba", "torch", "jax", "tf", or "auto", the fastest of Numba, JAX and
        NumPy that is installed.
    seed
        Draws the halfspaces. Pass an int for the same results each time.

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

    def __init__(
        self,
        layer_sizes: Sequence[int] = (64, 32),
        context_map_size: int = 5,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__(layer_sizes, context_map_size, context_bias, learning_rate, backend, seed)
        self._labels: list[Hashable] = []  # of classes, in the order in which they appeared

    @property
    def _multiclass(self) -> bool:
        return True

    def _built(self, features):
        standardizer = Standardizer(features, **OF_FEATURES)
        return Learner([[self._network(features)]], standardizer, learning_rate=self.learning_rate)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn a sample.

        Infinity, NaN as a label, or a string in place of a number or the other way round is a ValueError, and nothing
        is learned then.
        """
        self._learn_labels(self._seen(x), [y])

    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
        """Learn the rows of a frame one after another, in one fast call; first there is room for all its levels."""
        self._learn_labels(self._seen_frame(X), list(y))

    def _learn_labels(self, samples: _Samples, labels: list[Any]) -> None:
        if any(label is None or label != label for label in labels):
            raise ValueError(f"y: expected labels, got NaN or None among {labels[:10]}")
        known = list(dict.fromkeys([*self._labels, *labels]))
        numbers = {label: number for number, label in enumerate(known)}
        self._learn(samples, np.array([numbers[label] for label in labels], int))
        self._labels = known

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """The probability of each class that was seen."""
        p = self._probabilities(self._sample(self._coded(x), self._places))
        return dict(zip(self._labels, p[:, 0].tolist(), strict=True))

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """The probability of each class that was seen, a column each."""
        p = self._probabilities(self._columns(self._coded_frame(X), self._places))
        return pd.DataFrame(p.T, index=X.index, columns=self._labels)

    def _probabilities(self, samples: np.ndarray) -> np.ndarray:  # (F, B) -> (C, B)
        count = len(self._labels)
        if self._learner is None or count < 2:  # nothing tells classes apart
            return np.full((count, samples.shape[1]), 1 / max(1, count))
        return sum_to_one(self._learner.predict(samples))


class GLNRegressor(_Stream, base.MiniBatchRegressor):
    """Gated Linear Network regressor.

    Like `GLNClassifier` it learns each sample once, standardises features, and takes new ones as they appear; targets
    are standardised too. It predicts the mean, and with `quantiles` intervals. Strings are categories.

    Parameters
    ----------
    layer_sizes
        Neurons of each layer.
    quantiles
        Levels in (0, 1) that `predict_quantiles_one` predicts: (0.05, 0.95) gives intervals that contain about 90 % of
        the targets. A second network learns them.
    context_map_size
        Halfspaces per neuron, which has a row of weights for each of their 2^context_map_size combinations.
    context_bias
        Standard deviation of the halfspaces' distances from the mean of the features.
    learning_rate
        A number, or a callable from the count of samples learned so far to one. None falls from 0.3 to 0.1, and for
        quantiles from 0.5 to 0.05, see `gln.rates.stream_rate`.
    backend
        Which implementation learns: "numpy", "numba", "torch", "jax", "tf", or "auto", the fastest of Numba, JAX and
        NumPy that is installed.
    seed
        Draws the halfspaces. Pass an int for the same results each time.

    References
    ----------
    J. Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from gln.river import GLNRegressor
    >>> metric = evaluate.progressive_val_score(datasets.TrumpApproval(), GLNRegressor(seed=0), metrics.MAE())
    >>> metric.get() < 0.5
    True
    """

    def __init__(
        self,
        layer_sizes: Sequence[int] = (64, 32),
        quantiles: Sequence[float] | None = None,
        context_map_size: int = 5,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__(layer_sizes, context_map_size, context_bias, learning_rate, backend, seed)
        self.quantiles = quantiles

    def _built(self, features):
        groups = [[self._network(features, loss="squared_error")]]
        if self.quantiles is not None:
            groups.append([self._network(features, loss="quantile", quantiles=self.quantiles)])
        standardizers = Standardizer(features, **OF_FEATURES), Standardizer(1, **OF_TARGETS)
        return Learner(groups, *standardizers, learning_rate=self.learning_rate)

    def learn_one(self, x: dict[Any, Any], y: float) -> None:
        """Learn a sample.

        Infinity, a target that is not finite, or a string in place of a number or the other way round is a ValueError,
        and nothing is learned then.
        """
        self._learn(self._seen(x), np.array([[y]], np.float64))

    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
        """Learn the rows of a frame one after another, in one fast call; first there is room for all its levels."""
        self._learn(self._seen_frame(X), np.asarray(y, np.float64)[None])

    def predict_one(self, x: dict[Any, Any]) -> float:
        """The mean of the target; 0 before the first sample."""
        return float(self._predicted(self._sample(self._coded(x), self._places))[0, 0])

    def predict_many(self, X: pd.DataFrame) -> pd.Series:
        """The mean of the target of each row."""
        return pd.Series(self._predicted(self._columns(self._coded_frame(X), self._places))[0], index=X.index)

    def predict_quantiles_one(self, x: dict[Any, Any]) -> dict[float, float]:
        """The quantiles of the target by their levels, both in rising order; 0 before the first sample."""
        if self.quantiles is None:
            raise ValueError("quantiles: expected levels, got None")
        predicted = np.sort(self._predicted(self._sample(self._coded(x), self._places), group=1)[:, 0])
        return dict(zip(sorted(self.quantiles), predicted.tolist(), strict=True))

    def _predicted(self, samples: np.ndarray, group: int = 0) -> np.ndarray:  # (F, B) -> (1 or Q, B)
        if self._learner is None:
            return np.zeros((len(self.quantiles or ()) if group else 1, samples.shape[1]))
        return self._learner.predict(samples, group)


def _number(name: Hashable, value: Any) -> float:
    """A feature's value; None is one that is missing."""
    try:
        number = np.nan if _is_missing(value) else float(value)
    except (TypeError, ValueError):
        number = np.inf
    if abs(number) == np.inf:
        raise ValueError(f"x[{name!r}]: expected a finite number, a bool or a string, got {value!r}")
    return number


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value
