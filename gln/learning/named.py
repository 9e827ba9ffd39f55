"""Convert dictionaries and frames to arrays for a `Learner`, by the names of features and levels.

Shapes: B samples, F features.
"""
# ruff: noqa: N803 - X is River's name

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from gln.backends import load_backend
from gln.learning.learner import OF_STREAMS, Learner
from gln.learning.levels import Levels, codes_of, new_levels, warn_of_numbers
from gln.learning.reading import Reading
from gln.learning.saveable import Saveable

__all__ = ["COPIES", "PREVIOUS", "Named", "Samples"]

COPIES = OF_STREAMS["n_networks"]
PREVIOUS = ("previous", "label")  # name of the feature that `memory` adds
ADVICE = "convert it to float, for example by `converters` of river.stream.iter_csv, unless it is a category"


class Samples(NamedTuple):
    """Samples to learn, and the features and levels that will be known afterwards."""

    columns: np.ndarray  # (F, B)
    places: dict[Hashable, int]  # of the features, by name
    new: dict[Hashable, Levels]  # new levels of categories, by name


class Named(Saveable):
    """A model that learns a stream of named features. A feature is added with its first value.

    It is a category if that value is a string.
    """

    kept: ClassVar[dict[str, Any]] = {"_places": dict, "_levels": dict, "_learner": Learner}

    memory = False  # whether one more network reads the previous label, as a category
    _always = property(lambda self: {PREVIOUS} if self.memory else set())  # added with the first features
    _are_classes = False  # whether targets are classes

    def __init__(self, layer_sizes, context_map_size, context_bias, learning_rate, backend, seed) -> None:
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.backend = backend
        self.seed = seed
        self._places: dict[Hashable, int] = {}  # of features in a sample, by name
        self._levels: dict[Hashable, Levels] = {}  # of features that are categories, by name
        self._learner: Learner | None = None  # until there is a feature

    def _built(self, reading: Reading) -> Learner:
        """A new learner for what networks read."""
        raise NotImplementedError

    def _networks(self, columns: Sequence[int], **kind: Any) -> list[Any]:
        """New networks, one for each entry of `columns`, the number of columns that it reads."""
        options = {"context_bias": self.context_bias, "context_features": OF_STREAMS["context_features"]}
        network, rng = load_backend(self.backend).GLN, np.random.RandomState(self.seed)
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(columns)).tolist()
        return [
            network(self.layer_sizes, 2 * n, n, context_map_size=self.context_map_size, seed=seed, **options, **kind)
            for n, seed in zip(columns, seeds, strict=True)
        ]

    def _learn(self, samples: Samples, targets: Any = None, shares: np.ndarray | None = None) -> None:
        """Learn samples, and keep their features and levels unless there is an error."""
        if not (samples.places and samples.columns.shape[1]):
            return
        names = self._levels.keys() | samples.new.keys() | self._always
        categorical = {samples.places[name] for name in names}
        for name, new in samples.new.items():
            warn_of_numbers(f"x[{name!r}]", self._levels.get(name, {}), new, ADVICE)
        learner = self._learner or self._of_first(samples, categorical)
        self._teach(learner, samples.columns, targets, shares, categorical)
        self._places, self._learner = samples.places, learner
        for name, new in samples.new.items():
            self._levels.setdefault(name, {}).update(new)

    @staticmethod
    def _teach(learner: Learner, samples: np.ndarray, targets: Any, shares: Any, categorical: Set[int]) -> None:
        learner.learn(samples, targets, shares, categorical=categorical, predicts=False)

    def _of_first(self, samples: Samples, categorical: Set[int]) -> Learner:
        """A learner for a stream that begins with these samples."""
        kind = 1 + self._are_classes, self._are_classes, samples.places.get(PREVIOUS)
        return self._built(Reading.of_stream(samples.columns, categorical, *kind))

    def _explained(self, x: Mapping[Hashable, Any]) -> tuple[np.ndarray, np.ndarray]:  # -> (C, F), (C,)
        assert self._learner is not None
        contributions, constant = self._learner.explain(self._known(x))
        return contributions[:, 0], constant[:, 0]

    def _seen(self, x: Mapping[Hashable, Any]) -> Samples:
        """Convert a dictionary for learning."""
        new: dict[Hashable, Levels] = {}
        x = self._coded(x, new)
        places = self._with_new({name for name in x.keys() - self._places.keys() if not _is_missing(x[name])})
        return Samples(self._sample(x, places), places, new)

    def _seen_frame(self, X: pd.DataFrame) -> Samples:
        """Convert a frame for learning."""
        new: dict[Hashable, Levels] = {}
        coded = self._coded_frame(X, new)
        places = self._with_new(set(coded.columns[coded.notna().any()]))
        return Samples(self._columns(coded, places), places, new)

    def _coded(self, x: Mapping[Hashable, Any], new: dict[Hashable, Levels] | None = None) -> Mapping[Hashable, Any]:
        """Replace strings in a dictionary by codes. Unknown levels are added to `new`, or without it become missing
        values."""
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
        """`_coded` for a frame."""
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
        """Whether a feature is a category, by its first value. Raises ValueError if other values differ in kind."""
        is_text = isinstance(next(iter(values), None), str)
        if name in self._places:
            is_text = name in self._levels
        for value in values:
            if isinstance(value, str) != is_text:
                expected = "a string" if is_text else "a finite number or a bool"
                raise ValueError(f"x[{name!r}]: expected {expected}, like its first value, got {value!r}")
        return is_text

    def _with_new(self, names: Set[Hashable]) -> dict[Hashable, int]:
        """The places of known features and of `names`. New ones are sorted, so the order of `names` is irrelevant."""
        new = names - self._places.keys()
        if not new:
            return self._places
        if not self._places:
            new = new | self._always
        order = sorted(new, key=lambda name: (str(type(name)), str(name)))
        return self._places | {name: len(self._places) + i for i, name in enumerate(order)}

    def _known(self, x: Mapping[Hashable, Any]) -> np.ndarray:
        """Convert a dictionary to a column (F, 1) for prediction."""
        return self._sample(self._coded(x), self._places)

    def _known_frame(self, X: pd.DataFrame) -> np.ndarray:
        """Convert a frame to columns (F, B) for prediction."""
        return self._columns(self._coded_frame(X), self._places)

    @staticmethod
    def _sample(x: Mapping[Hashable, Any], places: Mapping[Hashable, int]) -> np.ndarray:
        """A dictionary as a column (F, 1), with NaN for missing features; unknown features are ignored."""
        sample = np.full((len(places), 1), np.nan)
        for name, value in x.items():
            if name in places:  # most values need no `_number`
                is_plain = value.__class__ is float and abs(value) < np.inf
                sample[places[name], 0] = value if is_plain else _number(name, value)
        return sample

    @staticmethod
    def _columns(X: pd.DataFrame, places: Mapping[Hashable, int]) -> np.ndarray:
        """A frame as columns (F, B), with NaN for missing features; unknown features are ignored."""
        columns = np.full((len(places), len(X)), np.nan)
        for name, dtype in zip(X.columns, X.dtypes, strict=True):
            if dtype.kind in "biuf":
                values = X[name].to_numpy(np.float64, na_value=np.nan)
            else:
                values = np.array([_number(name, value) for value in X[name]], np.float64)
            if np.isinf(values).any():
                _number(name, np.inf)
            if name in places:
                columns[places[name]] = values
        return columns


def _number(name: Hashable, value: Any) -> float:
    """A feature's value as a float; NaN if it is missing."""
    is_date = isinstance(value, (np.datetime64, np.timedelta64))  # some of which `float` takes
    try:
        number = np.nan if _is_missing(value) else np.inf if is_date else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.inf
    if abs(number) == np.inf:
        raise ValueError(f"x[{name!r}]: expected a finite number, a bool or a string, got {value!r}")
    return number


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value
