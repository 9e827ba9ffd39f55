"""Categories as numbers: few levels become columns of 0 and 1, many levels become statistics of their targets.

A category is given as the code of its level, 0, 1 and so on, or NaN if it is missing. Statistics are counted in the
order in which samples are learned. A sample is encoded before it is counted, so its own target does not leak into it.
Source: Prokhorenkova et al., CatBoost: unbiased boosting with categorical features, NeurIPS 2018, section 3.2.

Shapes: B samples, F features, D columns that these become, K targets or classes, L levels of a feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from gln.learning.category_loops import FEW, STRENGTH, encode, find, needs_columns
from gln.learning.compiled import compiled, plain
from gln.learning.owned import OwnsArrays

__all__ = ["FEW", "STRENGTH", "Categories", "Column"]

MOST_CLASSES = 40  # statistics per feature; with more classes, several share one


class Column(NamedTuple):
    """A feature itself; with `level`, whether it has this level; with `target`, the statistic of its level."""

    feature: int
    level: int | None = None
    target: int | None = None


@dataclasses.dataclass
class Categories(OwnsArrays):
    """The columns that samples with categories become, and the counts of each level.

    The statistic for a class is its log-odds among the samples of the level, minus its log-odds among all samples. For
    a numeric target, standardised to mean 0, it is the mean. STRENGTH shrinks both towards 0. A level that was never
    counted is a missing value.
    """

    size: int  # F
    columns: list[Column]
    are_classes: bool  # the targets
    totals: np.ndarray  # (1 + K,), the number of samples and the sum of each target, or the samples of each class
    counts: dict[int, np.ndarray]  # by feature, the same for each level, (L, 1 + K), with room for further levels

    def __post_init__(self) -> None:
        self.columns = [Column(*column) for column in self.columns]  # a file holds plain tuples
        self._known = set(self.columns)
        filled = [[-1 if n is None else n for n in column] for column in self.columns]
        of_columns = np.array(filled, np.int64).reshape(-1, 3).T
        self.features, self._levels, self._targets = map(np.ascontiguousarray, of_columns)  # (D,) each
        self._statistics = np.flatnonzero(self._targets >= 0)
        self._check()
        self._with_columns = np.zeros(self.size, np.int64)  # (F,): levels below this number have their columns
        np.maximum.at(self._with_columns, self.features, self._levels + 1)
        self._join_tables()

    def _check(self) -> None:
        """Raise ValueError unless the fields fit together: compiled loops do not check, and a file may be changed."""
        features, width = [*self.features, *self.counts], len(self.totals)
        if min(features, default=0) < 0 or max(features, default=-1) >= self.size:
            raise ValueError(f"categories: expected features below {self.size}, got {sorted(set(features))}")
        wrong = [table.shape for table in self.counts.values() if table.shape[1:] != (width,)]
        if self._targets.max(initial=-1) >= width - 1 or wrong:
            raise ValueError(f"categories: expected columns and counts of {width - 1} targets or classes")

    def _join_tables(self) -> None:
        """Make the totals and the counts of all features parts of one array, which compiled loops read and change."""
        self._table = np.concatenate([self.totals[None], *self.counts.values()], dtype=np.float64)
        self._rows = np.full((self.size, 2), -1)  # of each feature in it: the first, and how many; -1 for numbers
        self.totals, tables, self.counts, start = self._table[0], self.counts, {}, 1
        for feature, table in tables.items():
            self._rows[feature] = start, len(table)
            self.counts[feature] = self._table[start : start + len(table)]
            start += len(table)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        self._join_tables()  # they were copied one by one

    @classmethod
    def of_numbers(cls, size: int, targets: int, are_classes: bool) -> Categories:
        """No categories yet: `size` numeric features that stay as they are."""
        count = min(targets, MOST_CLASSES) if are_classes else targets
        return cls(size, [Column(feature) for feature in range(size)], are_classes, np.zeros(1 + count), {})

    def of_table(self, levels: Mapping[int, int]) -> Categories:
        """A copy for a table whose categories have this many levels: each gets columns or statistics."""
        # A category of one level gets a statistic, so that a table has at least one column.
        few = {feature: count for feature, count in levels.items() if 2 <= count <= FEW}
        columns = [column for column in self.columns if column.feature not in levels]
        columns += [Column(feature, level=level) for feature, count in few.items() for level in _told_apart(count)]
        return dataclasses.replace(self, columns=columns)._with_statistics(levels.keys() - few.keys())

    def of_stream(self, samples: np.ndarray, categorical: Set[int]) -> Categories:
        """A copy with columns for new features and levels in samples (F, B), or this object if there are none."""
        if len(samples) == self.size and categorical <= self.counts.keys() and not self._needs_columns(samples):
            return self
        columns = [Column(f) for f in range(self.size, len(samples)) if f not in categorical]
        for feature in sorted(categorical):
            count = 1 + int(np.fmax.reduce(samples[feature], initial=-1))
            if count <= FEW and not self._has_many(feature):
                columns += [Column(feature, level=level) for level in _told_apart(count)]
        new = [column for column in columns if column not in self._known]
        grown = dataclasses.replace(self, size=len(samples), columns=[*self.columns, *new])
        return grown._with_statistics(categorical - self.counts.keys())

    def _needs_columns(self, samples: np.ndarray) -> bool:
        return compiled(needs_columns)(plain(samples), self._table, self._rows, self._with_columns)

    def starts(self, samples: np.ndarray) -> list[int]:
        """Which of these samples (F, B) bring one of the first levels of a category, so that its columns change."""
        found: set[int] = set()
        for feature in self.counts:
            if not self._has_many(feature):
                levels, first = np.unique(samples[feature], return_index=True)
                new = (levels >= max(1, self._with_columns[feature])) & (levels <= FEW)  # FEW ends the columns
                found.update(first[new].tolist())
        return sorted(found)

    def with_class(self) -> Categories:
        """A copy with one more class."""
        if len(self.totals) > MOST_CLASSES:
            return self
        counts = {feature: np.pad(table, [(0, 0), (0, 1)]) for feature, table in self.counts.items()}
        return dataclasses.replace(self, totals=np.append(self.totals, 0), counts=counts)._with_statistics(set())

    def _with_statistics(self, features: Set[int]) -> Categories:
        """A copy with statistics of further features and of new classes."""
        counts = self.counts | {feature: np.zeros((0, len(self.totals))) for feature in sorted(features)}
        targets = range(len(self.totals) - 1)
        wanted = [
            Column(f, target=t) for f in counts for t in (_told_apart(len(targets)) if self.are_classes else targets)
        ]
        columns = self.columns + [column for column in wanted if column not in self._known]
        return dataclasses.replace(self, columns=columns, counts=counts)

    def state(self) -> dict[str, Any]:
        """The fields, which `Categories` takes back."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def learn(self, samples: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Encode samples one by one, each with the statistics of those before it, and count them: (F, B) -> (D, B).

        Args:
            samples: (F, B).
            targets: (B,) class numbers from 0, or (K, B) standardised numbers.
            weights: (B,), how much each sample counts. None is 1.
        """
        shares = np.ones(1) if weights is None else plain(weights)
        return self._columns(samples, True, plain(np.atleast_2d(targets)), shares)

    def transform(self, samples: np.ndarray) -> np.ndarray:
        """Encode samples with the statistics of all counted samples: (F, B) -> (D, B)."""
        return self._columns(samples, False, np.zeros((1, samples.shape[1])), np.ones(1))

    def _columns(self, samples: np.ndarray, learns: bool, *learned: np.ndarray) -> np.ndarray:
        if len(samples) != self.size:  # compiled loops do not check
            raise ValueError(f"samples: expected {self.size} features, got {len(samples)}")
        samples = plain(samples)
        places, many, fits = compiled(find)(samples, self._table, self._rows, learns)
        if learns and not fits:
            self._make_room(samples)
            places, many, _ = compiled(find)(samples, self._table, self._rows, learns)
        options = self.features, self._levels, self._targets, self._table, self.are_classes, learns
        columns, overall = compiled(encode)(samples, places, many, *options, *learned)
        if self.are_classes:  # NumPy's logarithms are those of the whole library, to the last bit
            some = self._statistics
            columns[some] = np.log(columns[some]) - np.log(overall[some])
        return columns

    def _has_many(self, feature: int) -> bool:
        """Whether more than FEW levels were counted, so that columns of single levels are no longer used."""
        return feature in self.counts and bool(self.counts[feature][FEW : FEW + 1, 0].any())

    def _make_room(self, samples: np.ndarray) -> None:
        """Let the counts have room for all levels in these samples."""
        for feature, table in self.counts.items():
            levels = 1 + int(np.fmax.reduce(samples[feature], initial=-1))
            if levels > len(table):  # a power of two, so that a new level rarely copies the table
                self.counts[feature] = np.pad(table, [(0, (1 << (levels - 1).bit_length()) - len(table)), (0, 0)])
        self._join_tables()


def _told_apart(count: int) -> range:
    """The columns that distinguish this many levels or classes: for two, the second is enough."""
    return range(count) if count > 2 else range(1, count)
