"""Categories as numbers: few levels are one-hot encoded, many levels become statistics of their targets.

A category is given as the code of its level, 0, 1 and so on, or NaN if it is missing. Statistics are counted in the
order in which samples are learned. A sample is encoded before it is counted, so its target does not leak into it.
Source: Prokhorenkova et al., CatBoost: unbiased boosting with categorical features, NeurIPS 2018, section 3.2.

Shapes: B samples, F features, D columns that these become, K targets or classes, L levels of a feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.saving import Array, Number, bad, saved

MOST_CLASSES = 40  # statistics per feature; with more classes, several share one
# 5 or 10 levels, and strengths of 1 to 10, are equally good within the noise.
MOST_ONE_HOT = 10  # levels that have a column each; a feature with more, or of a stream, has statistics
STRENGTH = 3.0  # weight of the overall rate or mean, as a number of samples
ONE, NOTHING = np.ones(1), np.zeros((1, 1))  # the weight of all samples, and targets that are not learned


class EncodedColumn(NamedTuple):
    """A number itself, or whether a category is missing; with `level`, whether it has this level; with `target`, the
    statistic of its level."""

    feature: int
    level: int | None = None
    target: int | None = None


@saved(
    size=Number(int, 0),
    columns=[object],
    are_classes=bool,
    totals=Array("f8", "W"),
    counts={Number(int, 0): Array("f8", "* W")},
    fitted=bool,
)
@dataclasses.dataclass
class TargetEncoding(WritableArrays):
    """The columns that samples with categories become, and the counts of the levels.

    The statistic for a class is its log-odds among the samples of the level, minus its log-odds among all samples. For
    a numeric target, standardised to mean 0, it is the mean. STRENGTH shrinks both towards 0. Those of missing values
    and of levels that were never counted are missing; a column tells which it is where a table has missing values.
    """

    size: int  # F
    columns: list[EncodedColumn]
    are_classes: bool  # the targets
    totals: np.ndarray  # (1 + K,), the number of samples and the sum of each target, or the samples of each class
    counts: dict[int, np.ndarray]  # by feature, the same for each level, (L, 1 + K), with room for further levels
    # Whether to a table, whose levels keep their columns; a feature of few levels gets statistics with the eleventh. In
    # a stream, all features have statistics, and the eleventh level ends the columns of the first ten.
    fitted: bool = False

    @classmethod
    def of_saved(cls, size: int, columns: list[Any], counts: dict[int, np.ndarray], **fields: Any) -> TargetEncoding:
        """Raises ValueError for more features than there are columns and counts, for which arrays would be made."""
        if size > len(columns) + len(counts):
            raise bad("encoding", "columns or counts of each feature", f"{size} features")
        return cls(size, columns, counts=counts, **fields)

    def __post_init__(self) -> None:
        # A file holds plain tuples, and what grows names known columns again.
        self.columns = list(dict.fromkeys(EncodedColumn(*column) for column in self.columns))
        filled = [[-1 if n is None else n for n in column] for column in self.columns]
        indices = np.array(filled, np.int64).reshape(-1, 3).T
        self.features, self._levels, self._targets = map(np.ascontiguousarray, indices)  # (D,) each
        self._statistics = np.flatnonzero(self._targets >= 0)
        features = {*self.features.tolist(), *self.counts}
        targets = len(self.totals) - 1
        if max(features, default=-1) >= self.size or min(features, default=0) < 0:
            raise bad("encoding", f"features below {self.size}", sorted(features))
        if {type(n) for column in filled for n in column} - {int} or min(map(min, filled), default=0) < -1:
            raise bad("encoding", "columns of features, levels and targets", self.columns)
        tables = [self.totals[None], *self.counts.values()]
        least = min(table[:, : None if self.are_classes else 1].min(initial=0) for table in tables)
        if self._targets.max(initial=-1) >= targets or targets < 1 or least < 0:
            raise bad("encoding", f"columns and counts of {targets} targets or classes", f"counts from {least}")
        self._with_columns = np.zeros(self.size, np.int64)  # (F,): levels below this number have their columns
        np.maximum.at(self._with_columns, self.features, self._levels + 1)
        self._join_tables()

    def _join_tables(self) -> None:
        """Make the totals and the counts of all features views of one array, which compiled loops read and change."""
        self._table = np.concatenate([self.totals[None], *self.counts.values()], dtype=np.float64)
        self._rows = np.full((self.size, 2), -1)  # of each feature in it: the first, and how many; -1 for numbers
        self.totals = self._table[0]
        tables = self.counts
        self.counts = {}
        start = 1
        for feature, table in tables.items():
            self._rows[feature] = start, len(table)
            self.counts[feature] = self._table[start : start + len(table)]
            start += len(table)
        self._have_many = np.zeros(self.size, np.bool_)  # (F,), whether further levels get no columns
        self._have_many[self.features[self._statistics]] = self.fitted
        for feature, table in self.counts.items():
            self._have_many[feature] |= table[MOST_ONE_HOT:, 0].any() and not self.fitted

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        self._join_tables()  # they were copied one by one

    @classmethod
    def of_numbers(cls, size: int, targets: int, are_classes: bool, fitted: bool = False) -> TargetEncoding:
        """No categories yet: `size` numeric features that stay as they are."""
        count = min(targets, MOST_CLASSES) if are_classes else targets
        return cls(
            size, [EncodedColumn(feature) for feature in range(size)], are_classes, np.zeros(1 + count), {}, fitted
        )

    def of_table(self, levels: Mapping[int, int], with_missing: Sequence[int] = ()) -> TargetEncoding:
        """A copy for a table whose categories have this many levels: each gets columns or statistics, and those that
        are `with_missing` a column that says so."""
        # A category of one level gets a statistic, so that a table has at least one column.
        few = {feature: count for feature, count in levels.items() if 2 <= count <= MOST_ONE_HOT}
        columns = [column for column in self.columns if column.feature not in levels or column.feature in with_missing]
        columns += [
            EncodedColumn(feature, level=level) for feature, count in few.items() for level in _distinguishing(count)
        ]
        table = dataclasses.replace(self, columns=columns, fitted=True)._counting(levels.keys())
        return table._with_statistics(levels.keys() - few.keys())

    def of_stream(self, samples: np.ndarray, categorical: Set[int]) -> TargetEncoding:
        """A copy with columns for new features and levels in samples (F, B), or this object if there are none."""
        last = np.fmax.reduce(samples, axis=1, initial=-1)
        if len(samples) == self.size and categorical <= self.counts.keys():
            has_few = (self._rows[:, 0] >= 0) & ~self._have_many & ((last < MOST_ONE_HOT) | self.fitted)
            if not (has_few & (last >= np.maximum(1, self._with_columns))).any():
                return self
        columns = self.columns + [EncodedColumn(f) for f in range(self.size, len(samples)) if f not in categorical]
        for feature in sorted(categorical):
            count = 1 + int(last[feature])
            if count <= MOST_ONE_HOT and not (feature < self.size and self._have_many[feature]):
                columns += [EncodedColumn(feature, level=level) for level in _distinguishing(count)]
        grown = dataclasses.replace(self, size=len(samples), columns=columns)._counting(categorical)
        many = {feature for feature in categorical if last[feature] >= MOST_ONE_HOT}
        return grown._with_statistics(categorical - self.counts.keys() | many)

    def starts(self, samples: np.ndarray) -> list[int]:
        """The samples out of (F, B) at which a category gets one of its first levels, so that its columns change."""
        starts: set[int] = set()
        for feature in self.counts:
            if not self._have_many[feature]:  # whose columns of single levels are no longer used
                levels, first = np.unique(samples[feature], return_index=True)
                new = (levels >= max(1, self._with_columns[feature])) & (levels < MOST_ONE_HOT)
                starts.update(first[new].tolist())
                starts.update(sorted(first[levels >= MOST_ONE_HOT].tolist())[:1])  # with it, there are too many
        return sorted(starts)

    def with_class(self) -> TargetEncoding:
        return self if len(self.totals) > MOST_CLASSES else self.with_targets(1)

    def with_targets(self, new: int) -> TargetEncoding:
        """A copy with so many more targets or classes."""
        counts = {feature: np.pad(table, [(0, 0), (0, new)]) for feature, table in self.counts.items()}
        return dataclasses.replace(self, totals=np.pad(self.totals, (0, new)), counts=counts)._with_statistics(set())

    def _counting(self, features: Set[int]) -> TargetEncoding:
        """A copy that counts the levels of further features."""
        new = {feature: np.zeros((0, len(self.totals))) for feature in sorted(features - self.counts.keys())}
        return dataclasses.replace(self, counts=self.counts | new)

    def _with_statistics(self, features: Set[int]) -> TargetEncoding:
        """A copy with columns for the statistics of further features, which are counted, and of new classes."""
        size = len(self.totals) - 1
        targets = _distinguishing(size) if self.are_classes else range(size)
        features = features | {*self.features[self._statistics].tolist()}
        encoded = [feature for feature in self.counts if feature in features]
        columns = [EncodedColumn(feature, target=target) for feature in encoded for target in targets]
        return dataclasses.replace(self, columns=self.columns + columns)

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def learn(self, samples: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Encode samples one by one, each with the statistics of those before it, and count them: (F, B) -> (D, B).

        `targets` are class numbers (B,) or standardised numbers (K, B); `weights` are how much samples count, (B,).
        """
        return self._columns(samples, True, plain(np.atleast_2d(targets)), ONE if weights is None else plain(weights))

    def merge(self, other: TargetEncoding) -> TargetEncoding:
        """The counts of the samples of both, which have the same columns."""
        counts = {}
        for feature, table in self.counts.items():
            few, many = sorted([table, other.counts[feature]], key=len)  # which may have room for more levels
            counts[feature] = many + np.pad(few, [(0, len(many) - len(few)), (0, 0)])
        return dataclasses.replace(self, totals=self.totals + other.totals, counts=counts)

    def transform(self, samples: np.ndarray) -> np.ndarray:
        """Encode samples with the statistics of all counted samples: (F, B) -> (D, B)."""
        return self._columns(samples, False, NOTHING, ONE)

    def values_of(self, index: int) -> np.ndarray:  # -> (n,)
        """What this column would have been for the samples that were counted, if they were encoded now."""
        feature = self.columns[index].feature
        counts = self.counts.get(feature, NOTHING[:0])[:, 0]  # none of numbers
        samples = np.full((self.size, len(counts)), np.nan)
        samples[feature] = np.arange(len(counts))
        return self.transform(samples)[index].repeat(np.rint(counts).astype(int))

    def _columns(self, samples: np.ndarray, learns: bool, *learned: np.ndarray) -> np.ndarray:
        if len(samples) != self.size:  # compiled loops do not check
            raise ValueError(f"samples: expected {self.size} features, got {len(samples)}")
        samples = plain(samples)
        if learns:
            self._make_room(samples)
        levels = self._rows, self._have_many, self._with_columns, not self.fitted
        options = self.features, self._levels, self._targets, self._table, self.are_classes, learns
        columns, overall = compiled(encode)(samples, *levels, *options, *learned)
        if self.are_classes:  # NumPy's logarithms are those of the whole library, to the last bit
            rows = self._statistics
            columns[rows] = np.log(columns[rows]) - np.log(overall[rows])
        return columns

    def _make_room(self, samples: np.ndarray) -> None:
        most = np.fmax.reduce(samples, axis=1, initial=-1)
        has_grown = False
        for feature, table in self.counts.items():
            levels = 1 + int(most[feature])
            if levels > len(table):
                # A power of two, so that a new level rarely copies the table.
                self.counts[feature] = np.pad(table, [(0, (1 << (levels - 1).bit_length()) - len(table)), (0, 0)])
                has_grown = True
        if has_grown:
            self._join_tables()


def _distinguishing(count: int) -> range:
    """The levels or classes, out of this many, that get a column: of two, the second is enough."""
    return range(count) if count > 2 else range(1, count)


def encode(
    samples: np.ndarray,  # (F, B)
    rows: np.ndarray,  # (F, 2)
    have_many: np.ndarray,  # (F,), changed if this `learns` and `silences`
    with_columns: np.ndarray,  # (F,)
    silences: bool,  # whether columns of single levels are missing in features that have many
    features: np.ndarray,  # (D,)
    levels: np.ndarray,  # (D,)
    targets: np.ndarray,  # (D,)
    table: np.ndarray,  # (R, 1 + K), changed if this `learns`
    are_classes: bool,
    learns: bool,
    learned: np.ndarray,  # (1, B) class numbers, or (K, B)
    weights: np.ndarray,  # (B,) or (1,)
) -> tuple[np.ndarray, np.ndarray]:
    """The columns of samples, each counted after it if this `learns`; instead of log-odds, the odds of the level and of
    all samples."""
    totals = table[0]
    shape = (len(features), samples.shape[1])
    columns = np.empty(shape)
    overall = np.empty(shape)
    # Of a sample: the row of each level, -1 for none, and that of the totals.
    level_rows = np.zeros(len(samples) + 1, np.int64)
    for b in range(samples.shape[1]):
        for feature in range(len(samples)):
            start = rows[feature, 0]
            room = rows[feature, 1]
            code = samples[feature, b]  # NaN if it is missing
            level_rows[feature] = start + int(code) if start >= 0 and 0 <= code < room else -1
            have_many[feature] |= learns and silences and start >= 0 and code >= MOST_ONE_HOT
        for d in range(len(features)):
            x = samples[features[d], b]
            row = level_rows[features[d]]
            target = targets[d]
            is_itself = levels[d] < 0 and target < 0
            is_category = rows[features[d], 0] >= 0
            columns[d, b] = x if target < 0 else np.nan
            overall[d, b] = np.nan
            if is_itself and is_category:
                columns[d, b] = x != x
            if levels[d] >= 0 and x == x:
                is_unknown = (silences and have_many[features[d]]) or x >= with_columns[features[d]]
                columns[d, b] = np.nan if is_unknown else x == levels[d]
            elif target >= 0 and row >= 0 and table[row, 0] > 0:
                count = table[row, 0]
                total = table[row, 1 + target]
                if are_classes:
                    rate = (totals[1 + target] + 0.5) / (totals[0] + 1)
                    overall[d, b] = rate / (1 - rate)
                    columns[d, b] = (total + STRENGTH * rate) / (count - total + STRENGTH * (1 - rate))
                else:
                    columns[d, b] = total / (count + STRENGTH)
        weight = weights[b % len(weights)]
        for row in level_rows:
            if learns and row >= 0:
                table[row, 0] += weight
                if are_classes:
                    table[row, 1 + int(learned[0, b]) % (table.shape[1] - 1)] += weight
                else:
                    for k in range(len(learned)):
                        table[row, 1 + k] += weight * learned[k, b]
    return columns, overall
