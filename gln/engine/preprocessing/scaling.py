"""Online standardisation of features and targets, robust to outliers; and scaling of wide sparse samples.

Shapes: B samples, D features.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array, issparse

from gln.engine.batches import MAX_FLOAT, check_integer, check_samples, dense
from gln.engine.jit import WritableArrays, compiled, plain
from gln.engine.saving import LARGEST, Array, bad, saved, value_of

# The states of a Standardizer, its options, the statistics of features and the first samples, and of a SparseScaler.
OPTIONS = {"floor": Array("f8", "", 0), "limit": Array("f8", "", 0), "far_is_missing": Array("f8", "", 0, 1)}
OPTIONS |= {"fitted": Array("f8", "", 0, 1)}
STATISTICS = {name: Array("f8", "D", least) for name, least in (("count", 0), ("mean", -LARGEST), ("squares", 0))}
STATISTICS |= {"low": Array("f8", "D"), "high": Array("f8", "D")}
STATE = OPTIONS | STATISTICS | {"first": Array("f8", "* D")}
SPARSE_STATE = {"squares": Array("f8", "D", 0), "count": Array("f8", "", 0), "stored": Array("f8", "", 0)}
SPARSE_STATE |= {"logs": Array("f8", "")}
# How the estimators standardise. Features: a floor of 0 costs 0.4 points on digits, floors of 0.1 or more on wines.
# Targets: the networks clip them at their own bound; the limit only guards against a single wrong value.
OF_FEATURES: Any = {"floor": 0.05, "limit": 5.0}
OF_TARGETS: Any = {"floor": 0.0, "limit": 50.0, "far_is_missing": False}
CHUNK = 1 << 16  # numbers processed at a time, to keep temporary arrays small
FAR = 4  # times the limit: values further from the mean count as missing
# Standard deviations from the mean, at which values beyond the range of a table count. At the limit, five values of ten
# times the range would shrink those of 600 rows by a quarter, while halfspaces and bins stay where they are.
BEYOND_RANGE = 3.0
FEW_VALUES = 10  # values: with so few the scale is uncertain, so the limit is wider
SPARSE_SIZE = 0.25  # factor of `SparseScaler`; half or twice as much makes little difference
LARGEST_LOG = 89.0  # of values, which float32 can hold
ROUNDS = 10  # of outlier removal at most: large outliers hide smaller ones


def _from_state(cls: Any, **state: np.ndarray) -> Any:
    made = cls(len(state["squares"]))
    made.set_state(state)
    return made


@saved(**dict.fromkeys(STATE, np.ndarray))  # which `set_state` checks
class Standardizer(WritableArrays):
    """Standardises the features of a stream by the mean and scale of the values seen so far.

    A value x becomes (x - mean) / scale, where scale = std + floor * (max - min), all of the samples before it. Only
    the first ten samples, before which nothing shows a scale, are counted first. A feature that never varied becomes 0.

    A value further than `limit` scales from the mean is clipped to that distance, both when counted and when
    standardised, so a bad value moves mean and scale no further than a good one could. After `fit`, a value beyond the
    range of the table counts as its end, or as three standard deviations from the mean. NaN is a missing value: it
    becomes 0, the mean, and is not counted. With `far_is_missing`, a value further than 4 * `limit` scales from the
    mean becomes 0 too: it is more likely a faulty sensor than a real change. For targets, switch it off, so that they
    are only clipped.

    Arguments out of range, samples of a wrong shape or with infinity, and a state of another size, with other names or
    with an invalid number, are a ValueError, and nothing has changed then.
    """

    def __init__(self, size: int, floor: float = 0.2, limit: float = 5.0, far_is_missing: bool = True) -> None:
        """
        Args:
            size: D, the number of features, at least 1.
            floor: at least 0. Keeps rarely varying features small, such as pixels at the edge of an image.
            limit: above 0. Standardised values lie within [-limit, limit].
            far_is_missing: whether values further than 4 * limit scales from the mean become 0.
        """
        check_integer("size", size, 1)
        if not (np.asarray(floor).dtype.kind in "biuf" and 0 <= floor < np.inf):
            raise bad("floor", "a finite number of at least 0", repr(floor))
        if not (np.asarray(limit).dtype.kind in "biuf" and 0 < limit < np.inf):
            raise bad("limit", "a finite number above 0", repr(limit))
        if np.asarray(far_is_missing).dtype != bool:
            raise bad("far_is_missing", "True or False", repr(far_is_missing))
        self.size = int(size)
        self.floor = float(floor)
        self.limit = float(limit)
        self.far_is_missing = bool(far_is_missing)
        self.fitted = False  # to a table, whose range is known
        # Of each feature: number of known values, their mean, sum of squared deviations, minimum and maximum; the scale
        # that values are divided by, infinite for one that never varied, and how far from the mean they are clipped.
        self._features = np.zeros((7, self.size))
        self.first = np.zeros((0, self.size))  # the first samples, until there are enough to know a scale
        self._rescale()

    # (D,) each, of known values
    count = property(lambda self: self._features[0])
    mean = property(lambda self: self._features[1])
    squares = property(lambda self: self._features[2])
    low = property(lambda self: self._features[3])
    high = property(lambda self: self._features[4])

    def learn(self, samples: ArrayLike) -> np.ndarray:
        """Standardise samples one after another by those before, and count each: (D, B) -> (D, B) float32.

        Several calls give the same numbers as one.
        """
        return self.learn_checked(self._checked(samples))

    def learn_checked(self, samples: np.ndarray) -> np.ndarray:
        return self._by_chunks(lambda chunk: self._learn(chunk, self.limit, 0.0, False), samples)

    def learn_targets(self, targets: np.ndarray, bound: float, missing: float) -> tuple[np.ndarray, np.ndarray]:
        """`learn_checked` for targets, clipped to [-bound, bound], or `missing` where they are NaN: (T, B) -> (T, B).

        Also returns `units` before each sample and after the last, (4, T, B + 1).
        """
        return self._learn(targets, min(bound, self.limit), missing, True)

    def _learn(
        self, samples: np.ndarray, bound: float, missing: float, counts_first: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        options = bound, missing, counts_first
        if not self.is_warming_up:  # fast
            return self._standardise(samples, True, *options)
        results: list[tuple[np.ndarray, np.ndarray]] = []
        while self.is_warming_up and len(results) < samples.shape[1]:
            sample = samples[:, len(results) : len(results) + 1]
            before = self.units
            self.count_first(sample)
            results.append((self._standardise(sample, False, *options)[0], before[:, :, None]))
        results.append(self._standardise(samples[:, len(results) :], True, *options))
        standardised, moments = zip(*results, strict=True)
        # In NumPy's order: for another, Numba would compile once more what takes these.
        return np.ascontiguousarray(np.concatenate(standardised, axis=1)), np.concatenate(moments, axis=2)

    def count_first(self, sample: np.ndarray) -> None:
        """Count one of the first samples, (D, 1), together with those before it: any of them may be an outlier."""
        first = np.concatenate([self.first, dense(sample).T])
        self.first = first if len(first) < FEW_VALUES else first[:0]
        self._count_table(first.T)

    def _standardise(
        self, samples: np.ndarray, learns: bool, bound: float, missing: float, counts_first: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        features, *options = self.loop_state
        kind = learns, counts_first, self.fitted
        return compiled(standardise)(plain(dense(samples)), features, *kind, *options, bound, missing)

    @property
    def loop_state(self) -> tuple[np.ndarray, float, float, float]:
        """What `standardise` takes: the statistics, `floor`, `limit`, and from where on values are missing."""
        far = FAR * self.limit if self.far_is_missing else np.nan  # nothing is beyond NaN
        return self._features, self.floor, self.limit, far

    def fit(self, samples: ArrayLike, indices: np.ndarray | None = None) -> None:
        """Count a table, (D, B), in any order, replacing earlier counts; or of it the samples with these indices, (V,),
        which may repeat."""
        checked = self._checked(samples)
        self.first = self.first[:0]
        self.fitted = True
        self._count_table(checked, indices)

    def _count_table(self, samples: np.ndarray, indices: np.ndarray | None = None) -> None:  # (D, B), (V,)
        rows = max(1, CHUNK // max(1, samples.shape[1]))
        for start in range(0, self.size, rows):
            chunk = slice(start, start + rows)
            x = dense(samples[chunk]).astype(np.float64)
            x = x if indices is None else x[:, indices]
            typical = x
            rounds = ROUNDS if x.shape[1] > FEW_VALUES else 1  # few values: once, or too few would remain
            for _ in range(rounds):
                far = outliers(typical, self.limit, self.floor)
                if not far.any():
                    break
                typical = np.where(far, np.nan, typical)
            moments = moments_of(typical)
            reach = wide_limit(self.limit, moments.known) * divisor(moments, self.floor)
            clipped = x.clip((moments.mean - reach)[:, None], (moments.mean + reach)[:, None])
            self._features[:5, chunk] = moments_of(clipped)
        self._rescale()

    def transform(self, samples: ArrayLike) -> np.ndarray:
        """Standardise samples by those counted before, without counting them: (D, B) -> (D, B) float32."""
        return self._by_chunks(lambda chunk: self._standardise(chunk, False, self.limit, 0.0), self._checked(samples))

    def _by_chunks(
        self, function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], samples: np.ndarray
    ) -> np.ndarray:
        """What a function returns first for samples (D, B), chunk by chunk, because it returns more than is needed."""
        size = max(1, CHUNK // self.size)
        if samples.shape[1] <= size:
            return function(samples)[0]
        standardised = np.empty(samples.shape, np.float32)
        for start in range(0, samples.shape[1], size):
            standardised[:, start : start + size], _ = function(samples[:, start : start + size])
        return standardised

    def inverse_transform(self, standardised: ArrayLike) -> np.ndarray:
        """Undo `transform`: (D, B) -> (D, B) float64. A feature that never varied gets its mean."""
        return np.asarray(standardised, np.float64) * self.scale[:, None] + self.mean[:, None]

    @property
    def scale(self) -> np.ndarray:
        """The divisor of each feature, or 0 for one that never varied: (D,)."""
        return np.where(self._features[5] < np.inf, self._features[5], 0)

    @property
    def units(self) -> np.ndarray:
        """Mean, scale, minimum and maximum of each feature: (4, D)."""
        return np.array([self.mean, self.scale, self.low, self.high])

    def fit_feature(self, feature: int, values: np.ndarray) -> None:  # (n,)
        """Count a table of one feature, replacing earlier counts of it."""
        if len(values):
            table = Standardizer(1, self.floor, self.limit)
            table.fit(values[None])
            self._features[:, feature] = table._features[:, 0]

    def grow(self, size: int) -> None:
        """Append features without any values yet, so that samples have `size` features from now on."""
        new = [(0, 0), (0, size - self.size)]
        self._features = np.pad(self._features, new)
        self.first = np.pad(self.first, new, constant_values=np.nan)
        self.size = size
        self._rescale()

    def get_state(self) -> dict[str, np.ndarray]:
        """A copy of `floor`, `limit`, `far_is_missing` and `fitted`, (), and of the counts: `count`, `mean`, `squares`,
        `low` and `high`, (D,), and `first`, the first samples while there are few, (n, D)."""
        return {name: np.array(getattr(self, name)) for name in STATE}

    to_save = get_state
    of_saved = classmethod(_from_state)

    def set_state(self, state: Mapping[str, object]) -> None:
        """Continue from the state of another `Standardizer` of the same size."""
        arrays = checked_state(state, STATE, self.size)
        if len(arrays["first"]) >= FEW_VALUES or (arrays["count"] % 1).any():
            raise bad("state", f"integer counts, and fewer than {FEW_VALUES} first samples", arrays["count"])
        self.floor = float(arrays["floor"])
        self.limit = float(arrays["limit"])
        self.far_is_missing = bool(arrays["far_is_missing"])
        self.fitted = bool(arrays["fitted"])
        self.first = arrays["first"]
        self._features[:5] = [arrays[name] for name in STATISTICS]
        self._rescale()

    def _rescale(self) -> None:
        scales = divisor(Moments(*self._features[:5]), self.floor)
        self._features[5:] = scales, wide_limit(self.limit, self.count) * scales
        self.is_warming_up = bool(self.count.max() <= len(self.first))  # all that was counted is in `first`

    def _checked(self, samples: ArrayLike) -> Any:
        checked = check_samples(samples, self.size)
        return checked.tocsr() if issparse(checked) else checked


@saved(**dict.fromkeys(SPARSE_STATE, np.ndarray))
class SparseScaler(WritableArrays):
    """Scales the features of wide sparse samples, such as texts, by the values seen so far; zeros stay zeros.

    A value x becomes 0.25 x / sqrt(r m), where r is the root mean square of its feature, zeros included, and m the
    geometric mean of the magnitudes of all nonzero values. So a rare word counts for more than a frequent one, but for
    less than if each were divided by its r. NaN is a missing value and becomes 0, as does a feature never seen. Errors
    are those of `Standardizer`.
    """

    def __init__(self, size: int) -> None:
        """`size` is D, the number of features, an integer of at least 1."""
        check_integer("size", size, 1)
        self.size = int(size)
        self.squares = np.zeros(size)  # sum of the squares of each feature
        self.count = self.stored = self.logs = 0.0  # number of samples and of values, and sum of log |value|

    def fit(self, samples: ArrayLike, indices: np.ndarray | None = None) -> None:
        """Count a table, (D, B), replacing earlier counts; or of the samples with these indices, (V,)."""
        columns = _columns(check_samples(samples, self.size))
        self.squares = np.zeros(self.size)
        self.count = 0.0
        self.stored = 0.0
        self.logs = 0.0
        times = np.ones(columns.shape[1]) if indices is None else np.bincount(indices, minlength=columns.shape[1])
        self._count(columns.indices, columns.data, times.repeat(np.diff(columns.indptr)), times.sum())

    def learn(self, samples: ArrayLike) -> csc_array:
        """Count samples one after another, and scale each by those up to it: (D, B) -> (D, B), sparse float32."""
        return self.learn_checked(check_samples(samples, self.size))

    def learn_checked(self, samples: np.ndarray) -> csc_array:
        columns = _columns(samples)
        for start, end in itertools.pairwise(columns.indptr):
            words = columns.indices[start:end]
            values = columns.data[start:end]
            self._count(words, values, np.ones(len(values)), 1)
            columns.data[start:end] = self._scaled(words, values)
        return columns.astype(np.float32)

    def transform(self, samples: ArrayLike) -> csc_array:
        """Scale samples by those counted before, without counting them: (D, B) -> (D, B), sparse float32 columns."""
        columns = _columns(check_samples(samples, self.size))
        columns.data = self._scaled(columns.indices, columns.data)
        return columns.astype(np.float32)

    def grow(self, size: int) -> None:
        """Append features without any values yet, so that samples have `size` features from now on."""
        self.squares = np.pad(self.squares, (0, size - self.size))
        self.size = size

    def get_state(self) -> dict[str, np.ndarray]:
        """A copy of the counts: `squares`, (D,), and `count`, `stored` and `logs`, ()."""
        return {name: np.array(getattr(self, name)) for name in SPARSE_STATE}

    to_save = get_state
    of_saved = classmethod(_from_state)

    def set_state(self, state: Mapping[str, object]) -> None:
        """Continue from the state of another `SparseScaler` of the same size."""
        arrays = checked_state(state, SPARSE_STATE, self.size)
        if arrays["logs"] > LARGEST_LOG * max(1.0, float(arrays["stored"])):
            raise bad("state", f"logs of at most {LARGEST_LOG} per value", arrays["logs"])
        self.squares = arrays["squares"]
        self.count, self.stored, self.logs = (float(arrays[name]) for name in ("count", "stored", "logs"))

    def _count(self, words: np.ndarray, values: np.ndarray, times: np.ndarray, samples: float) -> None:  # 3 of (S,)
        np.add.at(self.squares, words, times * np.square(values))
        self.count += float(samples)
        self.stored += float(times.sum())
        self.logs += float(times @ np.log(np.abs(values)))

    def _scaled(self, words: np.ndarray, values: np.ndarray) -> np.ndarray:  # (S,), (S,) -> (S,)
        typical = math.exp(self.logs / max(1, self.stored))
        divisor = np.sqrt(np.sqrt(self.squares[words] / max(1, self.count)) * typical)
        scaled = np.where(divisor > 0, SPARSE_SIZE * values / np.where(divisor > 0, divisor, 1), 0)
        return scaled.clip(-MAX_FLOAT, MAX_FLOAT)


@dataclasses.dataclass
class Unscaled:
    """Stands for a standardizer where samples are read as they are."""

    size: int

    def transform(self, samples: ArrayLike) -> np.ndarray:
        return np.asarray(samples, np.float32)

    learn_checked = transform

    def grow(self, size: int) -> None:
        raise ValueError(f"samples: expected {self.size} features, got {size}")


def checked_state(state: Mapping[str, object], declared: Mapping[str, Array], size: int) -> dict[str, np.ndarray]:
    """Copies of the arrays of a state; raises ValueError unless they are as declared, for so many features."""
    if set(state) != set(declared):
        raise bad("state", f"a mapping of the names {list(declared)}", sorted(map(str, state)))
    arrays = {name: np.array(state[name], np.float64) for name in declared}
    sizes = {"D": size}
    for name, array in arrays.items():  # only the first samples may lack values
        known = np.where(np.isnan(array), 0, array) if name == "first" else array
        value_of(declared[name], "state", name, known, sizes)
    return arrays


# ---- Moments and loops ----------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Statistics of the known values of d features, (d,) each."""

    known: np.ndarray  # their number
    mean: np.ndarray
    squares: np.ndarray  # sum of squared deviations
    low: np.ndarray
    high: np.ndarray


def moments_of(x: np.ndarray) -> Moments:  # (d, B)
    known = ~np.isnan(x)
    count = known.sum(axis=1)
    origin = x[np.arange(len(x)), known.argmax(axis=1)]  # sums of differences lose fewer digits
    difference = np.where(known, x - origin[:, None], 0)
    shift = difference.sum(axis=1) / np.maximum(count, 1)
    difference = np.where(known, difference - shift[:, None], 0)
    mean = np.where(count > 0, origin + shift, 0)
    low = mean + difference.min(axis=1)
    high = mean + difference.max(axis=1)
    return Moments(count, mean, np.square(difference).sum(axis=1), low, high)


def divisor(moments: Moments, floor: float) -> np.ndarray:  # -> (d,)
    """The scale that values are divided by; infinite for features that never varied, so that they become 0."""
    deviation = np.sqrt(moments.squares / np.maximum(moments.known, 1))
    scale = deviation + floor * (moments.high - moments.low)
    return np.where(scale > 0, scale, np.inf)


def wide_limit(limit: float, count: np.ndarray) -> np.ndarray:
    """The limit for a scale estimated from `count` values: wider for few, whose scale is uncertain."""
    return limit * (1 + FEW_VALUES / np.maximum(count, 1))


def outliers(x: np.ndarray, limit: float, floor: float) -> np.ndarray:  # (d, B) -> (d, B) of bools
    """Which values are further than `limit` scales from the mean, both computed from the other values in the row."""
    if x.shape[1] > FEW_VALUES:  # mean and deviation of the others follow from those of all
        count, mean, squares, low, high = (moment[:, None] for moment in moments_of(x))
        n = np.maximum(count, 2)
        limits = wide_limit(limit, count)
        deviation = np.sqrt(squares / n * (n - 1) / (n + limits**2))
        return np.abs(x - mean) > limits * (deviation + floor * (high - low))
    others = np.where(np.eye(x.shape[1], dtype=bool), np.nan, x[:, None]).reshape(-1, x.shape[1])
    moments = moments_of(others)
    reach = wide_limit(limit, moments.known + 1) * divisor(moments, floor)
    return np.abs(x - moments.mean.reshape(x.shape)) > reach.reshape(x.shape)


def standardise(
    samples: np.ndarray,  # (D, B)
    features: np.ndarray,  # (7, D), changed if this `learns`
    learns: bool,
    counts_first: bool,
    fitted: bool,
    floor: float,
    limit: float,
    far: float,
    bound: float,
    missing: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised samples, (D, B), each counted afterwards if this `learns`, or before if it also `counts_first`.

    Also returns `Standardizer.units` before each and after the last, (4, D, B + 1).
    """
    size, total = samples.shape
    standardised = np.empty(samples.shape, np.float32)
    before = np.empty((4, size, total + 1))
    for i in range(size):
        f = features[:, i]
        count = f[0]
        mean = f[1]
        squares = f[2]
        low = f[3]
        high = f[4]
        divisor = f[5]
        reach = f[6]
        scale = divisor if divisor < np.inf else 0.0
        before[0, i, 0] = mean
        before[1, i, 0] = scale
        before[2, i, 0] = low
        before[3, i, 0] = high
        for b in range(total):
            x = samples[i, b]
            center = mean
            width = divisor
            if learns and x == x:  # NaN is not
                least = -reach
                most = reach
                if fitted and squares > 0:
                    deviation = BEYOND_RANGE * np.sqrt(squares / count)
                    least = min(low - mean, -deviation)
                    most = max(high - mean, deviation)
                count += 1
                difference = min(max(x - mean, least), most)
                low = min(low, mean + difference)
                high = max(high, mean + difference)
                if count == 1:
                    low = high = x
                step = difference / count
                mean += step
                squares += difference * (difference - step)
                scale = np.sqrt(squares / count) + floor * (high - low)
                divisor = scale if scale > 0 else np.inf
                reach = limit * (1 + FEW_VALUES / count) * divisor
            if counts_first:
                center = mean
                width = divisor
            z = (x - center) / width
            is_missing = z != z or abs(z) >= far
            standardised[i, b] = missing if is_missing else min(max(z, -bound), bound)
            before[0, i, b + 1] = mean
            before[1, i, b + 1] = scale
            before[2, i, b + 1] = low
            before[3, i, b + 1] = high
        f[0] = count
        f[1] = mean
        f[2] = squares
        f[3] = low
        f[4] = high
        f[5] = divisor
        f[6] = reach
    return standardised, before


def _columns(samples: np.ndarray) -> csc_array:
    """A copy as float64 columns that store only known, nonzero values."""
    columns = csc_array(samples, dtype=np.float64, copy=True)
    columns.sum_duplicates()
    columns.data = np.nan_to_num(columns.data)
    columns.eliminate_zeros()
    return columns
