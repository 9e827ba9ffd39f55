"""Gated Linear Networks as estimators of River: dictionaries in, one at a time, classes and features as they appear.

Shapes: B samples, F features, C heads, d inputs of a neuron (bias included).
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

try:
    from river import base
except ImportError as error:
    raise ImportError('gln.river needs River: pip install "gated-linear-networks[river]"') from error

from gln.backends import load_backend
from gln.features import OF_FEATURES, OF_TARGETS, Standardizer, with_distances
from gln.rates import rate_of_streams

__all__ = ["GLNClassifier", "GLNRegressor"]


class _Stream(base.Estimator):
    """What both share: a dictionary goes into a buffer, the buffer into networks, and all grow with what is new.

    The networks mix each feature and how far it is from its mean, all standardised by what was seen up to then; their
    halfspaces see the features.
    """

    def __init__(self, layer_sizes, context_map_size, context_bias, learning_rate, backend, seed) -> None:
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.backend = backend
        self.seed = seed
        self._places: dict[Hashable, int] = {}
        self._networks: list[Any] = []
        self._standardizer: Any = None  # until the first sample tells how many features there are
        self._buffer = np.empty(0)

    @classmethod
    def _unit_test_params(cls):
        yield {"layer_sizes": (8, 4), "seed": 1}

    def _kinds(self) -> list[dict[str, Any]]:
        """The arguments that make one network another's unlike."""
        raise NotImplementedError

    def _grow_features(self, names) -> None:
        """Make room for features that are new."""
        for name in sorted(names, key=lambda name: (str(type(name)), str(name))):  # whatever their order was
            self._places[name] = len(self._places)
        count = len(self._places)
        self._buffer = np.empty(count)
        if self._standardizer is None:
            self._standardizer = Standardizer(count, **OF_FEATURES)
            self._networks = [self._network(kind) for kind in self._kinds()]
        else:
            self._standardizer.grow(count)
            self._networks = [self._grown(*pair) for pair in zip(self._networks, self._kinds(), strict=True)]

    def _network(self, kind: Mapping[str, Any]) -> Any:
        count = len(self._places)
        sizes = {"input_size": 2 * count, "context_size": count, "context_map_size": self.context_map_size}
        options = {"context_bias": self.context_bias, "seed": self.seed, "learning_rate": self.learning_rate}
        network = load_backend(self.backend).GLN(self.layer_sizes, **sizes, **options, **kind)
        if self.learning_rate is None:
            network.set_learning_rate(rate_of_streams(network))
        return network

    def _grown(self, old: Any, kind: Mapping[str, Any]) -> Any:
        """A network of more features or heads that predicts what the old one did until it learns what is new."""
        new = self._network(kind)
        state, before = new.get_state(), old.get_state()
        for name, array in before.items():
            kept, further = state[name], [slice(0, size) for size in array.shape]
            if name.startswith("weights"):
                heads, inputs = array.shape[2], array.shape[3] - 1
                if heads == 1 < kept.shape[2]:  # from now on the first class has a head of its own
                    array = np.concatenate([_mirrored(array, name), array], axis=2)
                    further[2] = slice(0, 2)
                kept[:, :, further[2], inputs:-1] = 0  # of a new feature nothing is known
                kept[:, :, further[2], -1] = array[..., -1]
                further[3], array = slice(0, inputs), array[..., :-1]
            kept[tuple(further)] = array
        new.set_state(state)
        return new

    def _sample(self, x: Mapping[Hashable, Any], learn: bool) -> np.ndarray:
        """A dictionary as a vector (F,), NaN where a feature is missing. Only learning makes room for new ones."""
        if learn and not x.keys() <= self._places.keys():
            _check_numbers(x)
            self._grow_features(x.keys() - self._places.keys())
        buffer, places = self._buffer, self._places
        buffer.fill(np.nan)
        try:
            for name, value in x.items():
                if name in places:
                    buffer[places[name]] = value if value.__class__ is not str else _no_number(name, value)
        except (TypeError, ValueError):
            _check_numbers(x)
            raise
        if np.isinf(buffer).any():
            raise ValueError(f"x: expected finite numbers, got infinity among {dict(x)}")
        return buffer

    def _run(self, network: Any, z: np.ndarray, targets: np.ndarray | None = None, learn: bool = False) -> np.ndarray:
        """What the heads say (C, B) of standardised features (F, B); given targets (C, B) they learn one by one.

        It is `predict_online` without its checks: all that comes was made here.
        """
        z = z.astype(np.float32, copy=False)
        rates = network._rates(z.shape[1]) if learn else None
        return np.asarray(network._stream(with_distances(z), z, targets, rates, 1 if learn else min(512, z.shape[1])))

    def _columns(self, X: pd.DataFrame, learn: bool) -> np.ndarray:
        """A frame as columns (F, B), NaN where a feature is missing."""
        for name in X.columns[[dtype.kind not in "biuf" for dtype in X.dtypes]]:
            _no_number(name, X[name].iloc[0])
        values = {name: X[name].to_numpy(np.float64, na_value=np.nan) for name in X.columns}
        for name, column in values.items():
            if np.isinf(column).any():
                _no_number(name, np.inf)
        if learn and (new := values.keys() - self._places.keys()):
            self._grow_features(new)
        columns = np.full((len(self._places), len(X)), np.nan)
        for name in values.keys() & self._places.keys():
            columns[self._places[name]] = values[name]
        return columns


class GLNClassifier(_Stream, base.MiniBatchClassifier):
    """Gated Linear Network classifier.

    It learns each sample once, without backpropagation. Features need no scaling, they are standardised by what was
    seen of them; one that is missing counts as its mean, and what is far off all that was seen as missing. Numbers and
    bools are features, strings are not: encode them first, by `preprocessing.OneHotEncoder` for example. Classes and
    features may appear at any time: a new class gets a head that has seen nothing.

    Parameters
    ----------
    layer_sizes
        Neurons of each layer.
    context_map_size
        Halfspaces of a neuron, which has a row of weights for each of their 2^context_map_size combinations.
    context_bias
        Standard deviation of the halfspaces' distances from the features' mean.
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
        self._classes: dict[Hashable, int] = {}

    @property
    def _multiclass(self) -> bool:
        return True

    def _kinds(self):
        return [{"num_classes": max(2, len(self._classes))}]

    def _targets(self, labels) -> np.ndarray:  # B labels -> (C, B)
        """What the heads learn; classes that are new get theirs."""
        new = [label for label in dict.fromkeys(labels) if label not in self._classes]
        for label in new:
            self._classes[label] = len(self._classes)
        if len(self._classes) > 2 and new and self._networks:
            self._networks = [self._grown(self._networks[0], self._kinds()[0])]
        places = np.array([self._classes[label] for label in labels])
        if len(self._classes) <= 2:
            return places[None].astype(np.float32)
        return (places == np.arange(len(self._classes))[:, None]).astype(np.float32)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn a sample. A string in `x`, or infinity, is a ValueError, and nothing is learned then."""
        sample = self._sample(x, learn=True)
        targets = self._targets([y])
        if len(sample):
            self._run(self._networks[0], self._standardizer.learn_one(sample)[:, None], targets, learn=True)

    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
        """Learn the rows of a frame one after another, in one fast call."""
        columns, labels = self._columns(X, learn=True), list(y)
        z = self._standardizer.learn(columns) if columns.size else columns
        new = {label: labels.index(label) for label in dict.fromkeys(labels) if label not in self._classes}
        cuts = sorted({0, *new.values(), len(labels)})  # a class gets its head when it appears, as one by one
        for part in itertools.starmap(slice, itertools.pairwise(cuts)):
            targets = self._targets(labels[part])
            if columns.size:
                self._run(self._networks[0], z[:, part], targets, learn=True)

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """The probability of each class that was seen."""
        if len(self._classes) < 2 or not self._networks:
            return dict.fromkeys(self._classes, 1.0)
        z = self._standardizer.transform_one(self._sample(x, learn=False))
        return dict(
            zip(self._classes, self._shares(self._run(self._networks[0], z[:, None]))[:, 0].tolist(), strict=True)
        )

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """The probability of each class that was seen, a column each."""
        if len(self._classes) < 2 or not self._networks:
            return pd.DataFrame(1.0, index=X.index, columns=list(self._classes))
        z = self._standardizer.transform(self._columns(X, learn=False))
        shares = self._shares(self._run(self._networks[0], z)).T if len(X) else np.empty((0, len(self._classes)))
        return pd.DataFrame(shares, index=X.index, columns=list(self._classes))

    def _shares(self, p: np.ndarray) -> np.ndarray:  # (1 or C, B) -> (C, B)
        p = p.astype(np.float64)
        return np.concatenate([1 - p, p]) if len(p) == 1 else p / p.sum(axis=0)


class GLNRegressor(_Stream, base.MiniBatchRegressor):
    """Gated Linear Network regressor.

    As `GLNClassifier` it learns each sample once, standardises features, and takes new ones as they appear; targets are
    standardised too. It predicts the mean, and with `quantiles` intervals.

    Parameters
    ----------
    layer_sizes
        Neurons of each layer.
    quantiles
        Levels in (0, 1) that `predict_quantiles_one` predicts: (0.05, 0.95) gives intervals that hold some 90 % of the
        targets. They are learned by a network of their own, beside that of the mean.
    context_map_size
        Halfspaces of a neuron, which has a row of weights for each of their 2^context_map_size combinations.
    context_bias
        Standard deviation of the halfspaces' distances from the features' mean.
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
        self._target = Standardizer(1, **OF_TARGETS)

    def _kinds(self):
        kinds: list[dict[str, Any]] = [{"loss": "squared_error"}]
        return kinds if self.quantiles is None else [*kinds, {"loss": "quantile", "quantiles": self.quantiles}]

    def learn_one(self, x: dict[Any, Any], y: float) -> None:
        """Learn a sample. A string in `x`, or infinity, is a ValueError, and nothing is learned then."""
        target = _finite(np.array([y], np.float64))
        sample = self._sample(x, learn=True)
        self._learn(sample[:, None], self._target.learn_one(target)[None], one=True)

    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
        """Learn the rows of a frame one after another, in one fast call."""
        targets = _finite(np.asarray(y, np.float64)[None])
        self._learn(self._columns(X, learn=True), self._target.learn(targets))

    def _learn(self, columns: np.ndarray, targets: np.ndarray, one: bool = False) -> None:  # (F, B), (1, B)
        if columns.size == 0:
            return
        z = self._standardizer.learn_one(columns[:, 0])[:, None] if one else self._standardizer.learn(columns)
        targets = targets.astype(np.float32)
        for network in self._networks:
            self._run(network, z, np.broadcast_to(targets, (network.num_heads, targets.shape[1])), learn=True)

    def predict_one(self, x: dict[Any, Any]) -> float:
        """The mean of the target; 0 before the first sample."""
        return float(self._predicted(0, x)[0])

    def predict_quantiles_one(self, x: dict[Any, Any]) -> dict[float, float]:
        """The quantiles of the target by their levels, both in rising order; 0 before the first sample."""
        if self.quantiles is None:
            raise ValueError("quantiles: expected levels, got None")
        return dict(zip(sorted(self.quantiles), np.sort(self._predicted(1, x)).tolist(), strict=True))

    def predict_many(self, X: pd.DataFrame) -> pd.Series:
        """The mean of the target of each row."""
        if not self._networks or len(X) == 0:
            return pd.Series(self._target.mean[0], index=X.index)
        z = self._standardizer.transform(self._columns(X, learn=False))
        return pd.Series(self._target.inverse_transform(self._run(self._networks[0], z))[0], index=X.index)

    def _predicted(self, which: int, x: Mapping[Hashable, Any]) -> np.ndarray:  # (C,)
        if not self._networks:
            return np.repeat(self._target.mean, len(self.quantiles or ()) if which else 1)
        z = self._standardizer.transform_one(self._sample(x, learn=False))
        return self._target.inverse_transform(self._run(self._networks[which], z[:, None]).reshape(1, -1))[0]


def _mirrored(weights: np.ndarray, name: str) -> np.ndarray:  # (n, 2^k, 1, d) -> the same
    """Weights of a head that gives the opposite logit: above the first layer its inputs are opposite already."""
    mirrored = -weights if name == "weights.1" else weights.copy()
    mirrored[..., -1] = -weights[..., -1]
    return mirrored


def _no_number(name: Hashable, value: Any) -> Any:
    raise ValueError(
        f"x[{name!r}]: expected a finite number or a bool, got {value!r}; strings are to be encoded first, for example "
        "by river.preprocessing.OneHotEncoder"
    )


def _check_numbers(x: Mapping[Hashable, Any]) -> None:
    for name, value in x.items():
        try:
            if isinstance(value, str) or np.isinf(float(np.nan if value is None else value)):
                _no_number(name, value)
        except (TypeError, ValueError):
            _no_number(name, value)


def _finite(targets: np.ndarray) -> np.ndarray:
    if not np.isfinite(targets).all():
        raise ValueError(f"y: expected finite numbers, got {targets[~np.isfinite(targets)][0]}")
    return targets
