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

from gln.learning.owned import OwnsArrays

__all__ = ["FEW", "Categories", "Column"]

# 5 or 10 levels, and strengths of 1 to 10, are equally good within the noise.
FEW = 10  # up to this many levels, a feature has a column per level; with more, and always in streams, statistics
MOST_CLASSES = 40  # statistics per feature; with more classes, several share one
STRENGTH = 3.0  # weight of the overall rate or mean, as a number of samples


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
        self.features, self._levels, self._targets = np.array(filled, int).reshape(-1, 3).T  # (D,) each
        kinds = [self._levels >= 0, self._targets >= 0]
        self._rows = {f: [np.flatnonzero((self.features == f) & kind) for kind in kinds] for f in self.counts}

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
        columns = [Column(f) for f in range(self.size, len(samples)) if f not in categorical]
        for feature in sorted(categorical):
            count = 1 + int(np.fmax.reduce(samples[feature], initial=-1))
            if count <= FEW and not self._has_many(feature):
                columns += [Column(feature, level=level) for level in _told_apart(count)]
        new = [column for column in columns if column not in self._known]
        if not new and categorical <= self.counts.keys():
            return self
        grown = dataclasses.replace(self, size=len(samples), columns=[*self.columns, *new])
        return grown._with_statistics(categorical - self.counts.keys())

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
        count = len(self.totals) - 1
        sums = targets % count == np.arange(count)[:, None] if self.are_classes else targets
        counted = np.concatenate([np.ones((1, samples.shape[1])), sums]) * (1 if weights is None else weights)
        before, many = {}, {}
        for feature in self.counts:
            many[feature] = self._has_many(feature) | np.logical_or.accumulate(samples[feature] >= FEW)
            known = np.flatnonzero(~np.isnan(samples[feature]))
            codes, own = samples[feature, known].astype(int), counted[:, known]
            table = self._with_room(feature, codes.max(initial=-1) + 1)
            before[feature] = np.zeros(counted.shape)
            before[feature][:, known] = table[codes].T + _before_in_level(codes, own)
            np.add.at(table, codes, own.T)
        columns = self._columns(samples, before, self.totals[:, None] + _before(counted), many)
        self.totals = self.totals + counted.sum(axis=1)
        return columns

    def transform(self, samples: np.ndarray) -> np.ndarray:
        """Encode samples with the statistics of all counted samples: (F, B) -> (D, B)."""
        before = {}
        for feature, table in self.counts.items():
            known = samples[feature] < len(table)  # NaN never is
            before[feature] = np.zeros((len(self.totals), samples.shape[1]))
            before[feature][:, known] = table[samples[feature, known].astype(int)].T
        return self._columns(samples, before, self.totals[:, None], {f: self._has_many(f) for f in self.counts})

    def _has_many(self, feature: int) -> bool:
        """Whether more than FEW levels were counted, so that columns of single levels are no longer used."""
        return feature in self.counts and bool(self.counts[feature][FEW : FEW + 1, 0].any())

    def _with_room(self, feature: int, levels: int) -> np.ndarray:
        """The counts of a feature, with room for at least this many levels."""
        table = self.counts[feature]
        if levels > len(table):  # twice as many, so that a new level rarely copies the table
            table = np.pad(table, [(0, max(levels, 2 * len(table)) - len(table)), (0, 0)])
            self.counts[feature] = table
        return table

    def _columns(
        self, samples: np.ndarray, before: Mapping[int, np.ndarray], overall: np.ndarray, many: Mapping[int, Any]
    ) -> np.ndarray:
        columns, of_level = samples[self.features].astype(np.float64), self._levels >= 0  # numeric features stay
        has_level = columns[of_level] == self._levels[of_level, None]
        columns[of_level] = np.where(np.isnan(columns[of_level]), np.nan, has_level)
        for feature, (levels, statistics) in self._rows.items():
            columns[levels] = np.where(many[feature], np.nan, columns[levels])
            columns[statistics] = self._statistic(before[feature], overall)[self._targets[statistics]]
        return columns

    def _statistic(self, counted: np.ndarray, overall: np.ndarray) -> np.ndarray:  # 2 of (1 + K, B or 1) -> (K, B)
        count, sums = counted[0], counted[1:]
        if self.are_classes:
            rate = (overall[1:] + 0.5) / (overall[0] + 1)
            odds = (sums + STRENGTH * rate) / (count - sums + STRENGTH * (1 - rate))
            statistic = np.log(odds) - np.log(rate / (1 - rate))
        else:
            statistic = sums / (count + STRENGTH)
        return np.where(count > 0, statistic, np.nan)


def _told_apart(count: int) -> range:
    """The columns that distinguish this many levels or classes: for two, the second is enough."""
    return range(count) if count > 2 else range(1, count)


def _before(counted: np.ndarray) -> np.ndarray:  # (1 + K, B) -> (1 + K, B)
    """The sums over the samples before each."""
    return counted.cumsum(axis=1) - counted


def _before_in_level(codes: np.ndarray, counted: np.ndarray) -> np.ndarray:  # (B,), (1 + K, B) -> (1 + K, B)
    """The sums over the samples of the same level before each."""
    order = codes.argsort(kind="stable")
    sums, first = _before(counted[:, order]), codes[order].searchsorted(codes[order])
    before = np.empty_like(sums)
    before[:, order] = sums - sums[:, first]
    return before
