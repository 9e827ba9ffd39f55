"""Many samples of a stream: columns of a frame, dictionaries, or both side by side."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import pandas as pd

from gln.engine.streaming.values import check_dictionary, check_frame, has_values, is_missing

NO_COLUMNS = pd.DataFrame()
Rows: TypeAlias = Any  # a frame, dictionaries, or `NamedRows`


def always(name: Hashable) -> bool:
    return True


@dataclasses.dataclass
class NamedRows:
    """Samples of a stream. A value that is missing, or that a sparse column does not store, is absent."""

    frame: pd.DataFrame
    dictionaries: Sequence[Mapping[Any, Any]] = ()  # whose keys are no columns
    # Whether a feature of this name that is absent is 0, as in sparse formats.
    is_zero: Callable[[Any], bool] = lambda name: False
    texts: Set[Hashable] = frozenset()  # names of text on purpose, of which there is no warning if it reads as numbers

    def __len__(self) -> int:
        return max(len(self.frame), len(self.dictionaries))

    def of(self, rows: slice) -> NamedRows:
        if rows.stop - rows.start == len(self):
            return self
        frame = self.frame.iloc[rows]
        if frame.shape[1] > len(frame):  # most columns may be of categories that other rows have
            frame = frame.dropna(axis=1, how="all")
        return dataclasses.replace(self, frame=frame, dictionaries=self.dictionaries[rows])

    @functools.cached_property
    def names(self) -> Set[Hashable]:
        """The names of columns and keys."""
        return set(self.frame.columns).union(*self.dictionaries)

    def used_names(self) -> Iterator[Hashable]:
        """Names that have a value in some sample."""
        yield from (name for name, column in self.frame.items() if has_values(column).any())
        yield from (name for x in self.dictionaries for name, value in x.items() if not is_missing(value))

    def common_names(self) -> list[Hashable]:
        """The names of columns, and keys that at least half of the samples have."""
        counts = Counter(itertools.chain(*self.dictionaries))
        return [*self.frame, *(name for name, count in counts.items() if 2 * count >= len(self))]

    def values_of(self, name: Hashable) -> list[Any]:
        """The values of a column or key that are not missing."""
        of_column = self.frame[name].dropna() if name in self.frame else ()
        return [*of_column, *(x[name] for x in self.dictionaries if not is_missing(x.get(name)))]


def named_rows(samples: Rows) -> NamedRows:
    """A frame or dictionaries as `NamedRows`.

    Raises ValueError for a frame with several columns of one name, and for what is no dictionary.
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
    return NamedRows(NO_COLUMNS, samples)
