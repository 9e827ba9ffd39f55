"""Samples with names, many at a time: a frame, and beside it words that few samples have.

Shapes: N samples, T words of all samples, V different words.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gln.engine.streaming.values import check_dictionary, check_frame, has_values, number_of

# Kinds of values that NumPy converts to floats as they are.
NUMBERS = frozenset([float, int, bool, type(None), np.float64, np.float32, np.int64, np.int32, np.bool_])


def never(name: Hashable) -> bool:
    return False


def always(name: Hashable) -> bool:
    return True


class NamedWords(NamedTuple):
    """Numbers with names, of samples one after another; NaN for a missing one."""

    samples: np.ndarray  # (T,)
    places: np.ndarray  # (T,), of their names
    names: Sequence[Hashable]  # V
    values: np.ndarray  # (T,)

    @property
    def used(self) -> list[Hashable]:
        """The names of the words."""
        return [self.names[place] for place in dict.fromkeys(self.places[self.values == self.values].tolist())]

    def where(self, chosen: np.ndarray) -> NamedWords:  # (T,)
        return NamedWords(self.samples[chosen], self.places[chosen], self.names, self.values[chosen])

    def of(self, rows: slice) -> NamedWords:
        first, last = np.searchsorted(self.samples, [rows.start, rows.stop])
        words = slice(first, last)
        return NamedWords(self.samples[words] - rows.start, self.places[words], self.names, self.values[words])


def joined(words: Sequence[NamedWords]) -> NamedWords:
    """Words of different names."""
    if len(words) == 1:
        return words[0]
    firsts = np.cumsum([0, *(len(each.names) for each in words)])
    places = np.concatenate([each.places + first for each, first in zip(words, firsts, strict=False)])
    samples, values = (np.concatenate([getattr(each, kind) for each in words]) for kind in ("samples", "values"))
    return NamedWords(samples, places, [name for each in words for name in each.names], values)


@dataclasses.dataclass
class NamedRows:
    """Samples of a stream. A value that is missing, or that a sparse column does not store, is absent."""

    frame: pd.DataFrame  # numbers, and text of categories
    words: NamedWords | None = None
    is_zero: Callable[[Any], bool] = never  # whether a feature of this name that is absent is 0, as in sparse formats
    texts: Set[Any] = frozenset()  # names of text on purpose, of which there is no warning if it reads as numbers

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> Iterator[Hashable]:
        """The names that some of the samples have."""
        yield from (name for name, column in self.frame.items() if has_values(column).any())
        if self.words is not None:
            yield from self.words.used

    def of(self, rows: slice) -> NamedRows:
        if rows.stop - rows.start == len(self):
            return self
        words = None if self.words is None else self.words.of(rows)
        frame = self.frame.iloc[rows]
        if frame.shape[1] > len(frame):  # most columns may be of categories that other rows have
            frame = frame.dropna(axis=1, how="all")
        return dataclasses.replace(self, frame=frame, words=words)


def named_rows(samples: Any) -> NamedRows:
    """A frame or dictionaries as `NamedRows`.

    Raises ValueError for a frame with several columns of one name, for what is no dictionary, and for words that are no
    finite numbers.
    """
    if isinstance(samples, NamedRows):
        return samples
    if isinstance(samples, pd.DataFrame):
        check_frame(samples)
        return NamedRows(samples)
    if not isinstance(samples, (list, tuple)):
        raise ValueError(f"X: expected a pandas frame or a list of dictionaries, got {type(samples).__name__}")
    for x in samples:
        check_dictionary(x)
    return _of_dictionaries(samples)


def _of_dictionaries(samples: Sequence[Mapping[Hashable, Any]]) -> NamedRows:
    """Numbers that less than half of the samples have are words, everything else columns."""
    counts = Counter(itertools.chain(*samples))
    columns = {name for name, count in counts.items() if 2 * count >= len(samples)}
    columns.update(name for x in samples for name, value in x.items() if value.__class__ not in NUMBERS)
    frame = {name: _column([x.get(name) for x in samples]) for name in counts if name in columns}
    rows, names = pd.DataFrame(frame, index=range(len(samples))), [name for name in counts if name not in columns]
    if not names:
        return NamedRows(rows)
    numbers = {name: i for i, name in enumerate(names)}
    found = [[(numbers[name], value) for name, value in x.items() if name in numbers] for x in samples]
    owners = np.arange(len(samples)).repeat([*map(len, found)])
    places, values = zip(*itertools.chain(*found), strict=True)
    return NamedRows(rows, NamedWords(owners, np.array(places), names, _floats(values, names, places)))


def _column(values: list[Any]) -> pd.Series:  # N -> (N,)
    if NUMBERS.issuperset(map(type, values)):
        try:
            return pd.Series(np.array(values, np.float64))
        except OverflowError:  # an integer, of which the schema reports the name
            pass
    return pd.Series(values, dtype=object)


def _floats(values: Sequence[Any], names: Sequence[Hashable], places: Sequence[int]) -> np.ndarray:  # T -> (T,)
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return np.array([number_of(names[place], value) for place, value in zip(places, values, strict=True)])
