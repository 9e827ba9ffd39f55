"""What the estimators of `gln.sklearn` share: networks that learn standardised features, of a table or of a stream.

Shapes: N samples, F features, H heads, V visits of samples. As in scikit-learn a sample is a row; the backends take it
as a column.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state, check_scalar, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from gln.backends import load_backend
from gln.features import with_distances
from gln.heads import join_heads, split_heads
from gln.rates import linear_rate, rate_of_streams
from gln.saving import load_estimator, save_estimator

CHUNK = 1000  # samples that are standardised at a time, so that little memory is needed beside X
# A missing value counts as the mean; of a sparse table a chunk at a time is made dense.
ALLOWED = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}
# What None stands for, in `fit` and in `partial_fit`, where a sample has no time for more than one network.
OF_TABLES = {"layer_sizes": (48, 24), "n_networks": 4, "context_map_size": 3}
OF_STREAMS = {"layer_sizes": (64, 32), "n_networks": 1, "context_map_size": 5}
FIT_RATES = {"log_loss": (3.0, 0.01), "squared_error": (0.5, 0.01), "quantile": (1.5, 0.01)}  # first and last
FIT_VISITS, FIT_PASSES = 1000, (3, 20)  # passes are as many as make these visits, but within these bounds
FIT_WEIGHTS, STREAM_WEIGHT = (1, 10), 100  # what weights are on average in a table, and at most in a stream


class Estimator(BaseEstimator):
    """The common part of `GLNClassifier` and `GLNRegressor`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and all that was learned to a file that is read wherever a backend is.

        Parameters
        ----------
        path : str or path-like
            The file, replaced if it exists. Callables and random states are not in it, see
            `gln.saving.save_estimator`.
        """
        check_is_fitted(self)
        save_estimator(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """The estimator that `save` wrote, which goes on where that one stopped. Nothing is unpickled.

        Parameters
        ----------
        path : str or path-like
            The file; a damaged one is refused, see `gln.saving.load_estimator`.
        **parameters
            They take the place of the saved ones, such as another `backend`.

        Returns
        -------
        estimator : of this class
        """
        return load_estimator(cls, path, parameters)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "glns_")  # other attributes stand there even where the first samples were refused

    def __setstate__(self, state):
        super().__setstate__(state)
        # joblib may have mapped a file that can only be read; this moves it into memory.
        for each in (*self._networks(), *(vars(self)[name] for name in vars(self) if name.endswith("standardizer_"))):
            each.set_state(each.get_state())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags

    def _networks(self):
        return list(getattr(self, "glns_", []))

    # ---- What comes in -----------------------------------------------------------------------------------------------

    def _validated(self, X, y, reset, **checks):
        """X and y, checked together with the parameters that the network does not check."""
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        if reset:
            for name in ("n_networks", "n_epochs"):
                if getattr(self, name) is not None:
                    check_scalar(getattr(self, name), name, Integral, min_val=1)
            for name in ("shuffle", "verbose"):
                if not isinstance(getattr(self, name), (bool, np.bool_)):
                    raise ValueError(f"{name}: expected True or False, got {getattr(self, name)!r}")
            load_backend(self.backend)  # which refuses what is none
        plain = not reset and self._is_plain(X) and type(y) is np.ndarray and y.dtype.kind in "biuf"
        if not (plain and y.shape == (len(X),) and np.isfinite(y).all()):
            X, y = self._numbers(X, y, reset=reset, **checks)
        check_magnitude("X", X)
        return X, y

    def _numbers(self, X, *y, **checks):
        """What `validate_data` makes of X, or of X and y; text among the features is told by the name of its column."""
        try:
            return validate_data(self, X, *y, **ALLOWED, **checks)
        except ValueError as error:
            text = _first_text(X)
            if text is None:
                raise
            raise ValueError(f"X: expected numbers, got {text}; an encoder makes numbers of text") from error

    def _is_plain(self, X):
        """Whether X, but for its magnitudes, is what `validate_data` would give back as it is, and take longer to."""
        plain = type(X) is np.ndarray and X.dtype.char in "df" and X.ndim == 2 and len(X) > 0
        return plain and X.shape[1] == self.n_features_in_ and not hasattr(self, "feature_names_in_")

    def _new_columns(self, X):  # (N, F) -> parts of (F, n), standardised for prediction
        check_is_fitted(self)
        X = X if self._is_plain(X) else self._numbers(X, reset=False)
        check_magnitude("X", X)
        return [self.standardizer_.transform(X[part].T) for part in gen_batches(X.shape[0], CHUNK)]

    # ---- Networks, and how they learn --------------------------------------------------------------------------------

    def _setting(self, name, of_stream):
        """A parameter as the user gave it, or its default."""
        given = getattr(self, name)
        return (OF_STREAMS if of_stream else OF_TABLES)[name] if given is None else given

    def _seeds(self, of_stream):
        """Of each network that is to be built."""
        rng, most = check_random_state(self.random_state), np.iinfo(np.int32).max
        return rng.randint(most, size=self._setting("n_networks", of_stream)).tolist()

    def _built(self, features, seed, of_stream, **kind):
        """A network that knows nothing yet."""
        return load_backend(self.backend).GLN(
            self._setting("layer_sizes", of_stream),
            2 * features,
            features,
            context_map_size=self._setting("context_map_size", of_stream),
            context_bias=self.context_bias,
            learning_rate=self.learning_rate,
            seed=seed,
            **kind,
        )

    def _fit(self, X, targets, shares, seeds):  # (V, F), (..., V), (V,) or None, (M,)
        """Each network learns all visits of a table; where there are workers enough, its heads apart."""
        count, pairs, workers = X.shape[0], self._with_targets(targets), effective_n_jobs(self.n_jobs)
        self.n_iter_ = int(np.clip(FIT_VISITS // count, *FIT_PASSES)) if self.n_epochs is None else self.n_epochs
        split = [split_heads(network, own, -(-workers // len(pairs))) for network, own in pairs]
        jobs = [(*part, seed) for parts, seed in zip(split, itertools.cycle(seeds), strict=False) for part in parts]
        table: dict[str, Any] = {"X": X, "shares": shares, "standardizer": self.standardizer_}
        table |= {"passes": self.n_iter_, "batch_size": self.batch_size, "shuffle": self.shuffle}
        try:
            with tqdm(total=len(pairs) * self.n_iter_ * count, unit=" samples", disable=not self.verbose) as bar:
                if workers == 1:  # here, whatever joblib is set up for
                    for _, *job in jobs:
                        _learned(*job, **table, update=bar.update)
                else:
                    states = iter(Parallel(self.n_jobs)(delayed(_learned)(*job, **table) for _, *job in jobs))
                    for (network, _), parts in zip(pairs, split, strict=True):
                        join_heads(network, [(some, next(states)) for some, *_ in parts])
                    bar.update(bar.total)
        except BaseException:
            del self.glns_  # what has learned a part of the table is no model
            raise
        self._set_rates()

    def _learn_part(self, X, targets, shares, part):  # (V, F), (..., n), (V,) or None, slice of n of V
        """Each network learns a part of a stream; gives what each predicted before."""
        columns = self.standardizer_.learn(X[part].T)
        inputs, shares = with_distances(columns), None if shares is None else shares[part]
        pairs = self._with_targets(targets)
        return [learn(network, inputs, columns, own, shares, self.batch_size) for network, own in pairs]

    def _set_rates(self, of_stream=False):
        """Those that the user gave, or the networks' own, or while a part of a stream is learned those of streams."""
        for network in self._networks():
            default = rate_of_streams(network) if of_stream else None
            network.set_learning_rate(default if self.learning_rate is None else self.learning_rate)

    # ---- What they tell ----------------------------------------------------------------------------------------------

    def _explained(self, X):  # (N, F) -> (H, N, F), (H, N)
        """What each feature contributes to what each head mixes, and the constant, on average over the networks."""
        columns = np.concatenate(self._new_columns(X), axis=1)
        inputs, bound, heads = with_distances(columns), self.glns_[0].bound, self.glns_[0].num_heads
        told = [network.explain(inputs, columns) for network in self.glns_]
        weights, constant = (np.mean([each[i] for each in told], axis=0) for i in range(2))
        contributions = (weights * inputs.clip(-bound, bound)).reshape(heads, len(columns), 2, -1).sum(axis=2)
        return contributions.transpose(0, 2, 1), constant.reshape(heads, -1)


# ---- How a network learns, here or in another process ---------------------------------------------------------------


def batches(count: int, batch_size: int) -> Any:
    """Slices of so many samples, each of whole batches."""
    return gen_batches(count, batch_size * max(1, CHUNK // batch_size)) if count else ()


def learn(network: Any, inputs: Any, columns: Any, targets: Any, shares: Any, batch_size: int) -> Any:
    """Learn samples, each by its share of a step, (n,), or all by whole ones; gives what was predicted before."""
    if shares is None:
        return network.predict_online(inputs, columns, targets, batch_size)
    rate, start = network.learning_rate, int(network.step)
    network.set_learning_rate(lambda t: shares[t - start] * (rate(t) if callable(rate) else rate))
    try:
        return network.predict_online(inputs, columns, targets, batch_size)
    finally:
        network.set_learning_rate(rate)


def _learned(network, targets, seed, *, X, shares, standardizer, passes, batch_size, shuffle, update=None):
    """So many passes of a network over a table: targets (..., V), X (V, F), shares (V,) or None.

    Without `update`, which is told how many samples were learned, it is in another process, and gives the state.
    """
    rng, count = np.random.RandomState(seed), X.shape[0]
    if update is None:  # joblib may have mapped arrays, which can then only be read
        network.set_state(network.get_state())
    if network.has_default_rate:
        first, last = FIT_RATES[network.loss]
        network.set_learning_rate(functools.partial(linear_rate, samples=passes * count, first=first, last=last))
    for _ in range(passes):
        order = rng.permutation(count) if shuffle else np.arange(count)
        for visits in (order[part] for part in batches(count, batch_size)):
            z, own = standardizer.transform(X[visits].T), None if shares is None else shares[visits]
            learn(network, with_distances(z), z, targets[..., visits], own, batch_size)
            if update is not None:
                update(len(visits))
    return network.get_state() if update is None else None


def predictions(parts: Any, networks: Any) -> Any:  # parts of (F, n), M -> parts of M of (n,) or (H, n)
    """By parts of standardised samples, what each network says of them."""
    for columns in parts:
        inputs = with_distances(columns)
        yield [network.predict(inputs, columns) for network in networks]


# ---- Weights of samples ----------------------------------------------------------------------------------------------


def checked_weights(sample_weight: Any, X: Any) -> np.ndarray | None:
    """Weights of samples, (N,) float64 of at least 0, where some are given."""
    if sample_weight is None:
        return None
    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (X.shape[0],):
        raise ValueError(f"sample_weight: expected shape {(X.shape[0],)}, got {weights.shape}")
    if (weights < 0).any():
        raise ValueError(f"sample_weight: expected numbers of at least 0, got {weights.min()}")
    return weights


def table_visits(X: Any, targets: np.ndarray, weights: np.ndarray | None, shuffle: bool) -> tuple[Any, Any]:
    """Which samples a pass of `fit` visits, and the share of a step that each gets, None where all get whole ones.

    A sample of weight 2 is visited as two of weight 1 are; and where visits are shuffled it makes no difference in
    which order the samples come. Shapes: (N, F), (..., N), (N,) or None -> (V,), (V,).
    """
    order = _sorted(X, targets) if shuffle else np.arange(X.shape[0])
    if weights is None:
        return order, None
    if not (weights > 0).any():
        raise ValueError("sample_weight, class_weight: expected some above zero, got none")
    mean = weights[weights > 0].mean()
    visits, shares = _repeated(weights[order] * (np.clip(mean, *FIT_WEIGHTS) / mean))
    return order[visits], shares


def stream_visits(weights: np.ndarray | None) -> tuple[Any, Any]:
    """The same of a part of a stream, whose order stays: (N,) or None -> (V,), (V,) or None."""
    if weights is None:
        return slice(None), None
    if (weights > STREAM_WEIGHT).any():
        expected = f"numbers from 0 to {STREAM_WEIGHT} in partial_fit"
        raise ValueError(f"sample_weight, class_weight: expected {expected}, got {weights.max()}")
    return _repeated(weights)


def _repeated(weights: np.ndarray) -> tuple[np.ndarray, Any]:
    """A sample of weight w is visited ceil(w) times, each by w / ceil(w) of a step."""
    times = np.ceil(weights).astype(int)
    shares = (weights / np.maximum(times, 1)).repeat(times)
    return np.arange(len(weights)).repeat(times), None if (shares == 1).all() else shares


def _sorted(X: Any, targets: np.ndarray) -> np.ndarray:  # (N, F), (..., N) -> (N,)
    """An order of the samples that is the same in whatever order they come, but for those that are equal."""
    if issparse(X):
        keys = X @ np.random.default_rng(0).normal(size=X.shape[1])
    else:
        keys = np.ascontiguousarray(X).view(f"V{X.shape[1] * X.itemsize}")[:, 0]  # by the bytes of their numbers
    by_target = np.lexsort(np.atleast_2d(targets))
    return by_target[keys[by_target].argsort(kind="stable")]


# ---- Checks ----------------------------------------------------------------------------------------------------------


def check_magnitude(name: str, array: Any) -> None:
    numbers = array.data if issparse(array) else array
    if (np.abs(numbers) > np.finfo(np.float32).max).any():
        raise ValueError(f"Input {name} contains infinity or a value too large for dtype('float32').")


def _first_text(X: Any) -> str | None:
    """The first column of a table that holds text, in words; None without any."""
    if not isinstance(X, (pd.DataFrame, Sequence, np.ndarray)) or np.ndim(X) != 2:
        return None
    for name, column in pd.DataFrame(X).items():
        text = column[[isinstance(value, str) for value in column]]
        text = text[pd.to_numeric(text, errors="coerce").isna()]
        if len(text) > 0:
            return f"{text.iloc[0]!r} in column {name!r}"
    return None
