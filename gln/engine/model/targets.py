"""What networks learn: class numbers, one-vs-rest; numbers, standardised by those of the stream up to each; or labels.

Shapes: B samples, C heads, M networks of an ensemble, T targets.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from gln.engine.batches import is_too_large
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.jit import compiled, plain
from gln.engine.networks.head_sampling import one_vs_rest
from gln.engine.preprocessing.scaling import OF_TARGETS, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.saving import saved

if TYPE_CHECKING:
    from typing_extensions import Self

LEAST_STD = float(np.finfo(np.float32).tiny)
BEYOND = 0.1  # of the range of the targets, by which predictions may leave it: a trend goes on
ROUNDING = 1e-9  # of the range, by which its ends may be off


class TargetBatch(NamedTuple):
    """What is learned from samples."""

    targets: np.ndarray  # (C, B); with infinity a head neither predicts nor learns, with NaN it only predicts
    counted: np.ndarray | None  # (B,) or (T, B), for the statistics of categories, if there are any
    rates: list[np.ndarray]  # (M, B), for each ensemble
    step_sizes: np.ndarray | None  # (B,), how long a step each sample makes; None is 1, a whole step
    earlier: list[np.ndarray] | None = None  # (M, C, B), for each ensemble, what models predicted; None: they do now
    at_limits: np.ndarray | None = None  # (2, T, B), of `Units`, if densities are predicted


class Units(NamedTuple):
    """A prediction in the targets' units is zero + unit * what networks predict, kept within limits."""

    zero: np.ndarray | float = 0  # (T, B) for numbers, or (T, 1) for all samples
    unit: np.ndarray | float = 1
    low: Any = 0  # of the targets so far
    high: Any = 1

    def of(self, predicted: np.ndarray) -> np.ndarray:  # (C, B) -> (C, B)
        """In the targets' units, without limits."""
        return predicted if self is PLAIN else self.zero + self.unit * predicted

    def limited(self, predicted: np.ndarray) -> np.ndarray:  # (C, B) -> (C, B)
        """As `of`, within `limits`."""
        return predicted if self is PLAIN else self.of(predicted).clip(*self.limits)

    @property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the most that is predicted: the range of the targets and a tenth of it at both ends, but
        nothing below 0 if no target was, and nothing above 0 if no target was."""
        return limits_of(self.low, self.high)

    def at_limits(self, targets: np.ndarray) -> np.ndarray:  # (T, B) -> (2, T, B)
        """Whether targets are the least that is predicted, and the most."""
        return compiled(at_limits_of)(plain(targets), self.low, self.high)

    def standardised(self, values: np.ndarray) -> np.ndarray:  # (M, T, B) -> (M, T, B)
        """What networks predict, from what `of` returned; NaN while a target has not varied."""
        return values if self is PLAIN else (values - self.zero) / np.where(self.unit > 0, self.unit, np.nan)

    @property
    def unit_of_variances(self) -> np.ndarray | float:
        """NaN while a target has not varied."""
        return np.square(np.where(self.unit > 0, self.unit, np.nan))

    def stds(self, variances: np.ndarray) -> np.ndarray:  # (T, B) -> (T, B)
        """Standard deviations, above 0 even if a target never varied."""
        return np.maximum(np.sqrt(np.square(self.unit) * variances), LEAST_STD)


PLAIN = Units()  # of probabilities


def limits_of(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    least = low - BEYOND * (high - low)
    most = high + BEYOND * (high - low)
    rounding = ROUNDING * (high - low)
    least = np.where(low >= -rounding, np.maximum(least, 0), least)
    return least, np.where(high <= rounding, np.minimum(most, 0), most)


def at_limits_of(targets: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(T, B), and two of (T, B) or (T, 1) -> (2, T, B)."""
    least, most = limits_of(low, high)
    rounding = 1e-6 * (high - low)  # of float32
    are_at = np.empty((2, len(targets), targets.shape[1]), np.bool_)
    are_at[0] = targets <= least + rounding
    are_at[1] = targets >= most - rounding
    return are_at


@saved()
class Classes:
    """Targets are class numbers (B,); predictions are probabilities of each class against the rest."""

    are_classes = True
    link = "logit"
    units = PLAIN
    heads_argument = "num_classes"  # of networks

    def check(self, targets: np.ndarray, count: int, heads: int) -> None:
        """Raise ValueError for targets that cannot be learned."""
        if targets.shape != (count,):
            raise ValueError(f"targets: expected shape {(count,)}, one target per sample, got shape {targets.shape}")
        if targets.dtype.kind not in "iu" or min(targets.tolist(), default=0) < 0:
            raise ValueError(f"targets: expected class numbers, integers of at least 0, got {targets}")

    def count(self, ensemble: Ensemble) -> int:
        """The number of classes."""
        return max(2, ensemble.heads)

    def fits(self, heads: int, encoding: TargetEncoding | None) -> bool:
        """Whether statistics of categories are of these targets."""
        return encoding is None or encoding.are_classes

    def starts(self, targets: np.ndarray, ensemble: Ensemble) -> list[int]:
        """The first sample of each class without a head."""
        known = self.count(ensemble)
        first = {n: b for b, n in reversed(list(enumerate(targets.tolist()))) if n >= known}
        return sorted(first.values())

    def learn(self, targets: np.ndarray, ensemble: Ensemble, predicts: bool) -> tuple[np.ndarray, Units]:
        """Targets of the heads, (C, B), where infinity keeps a head from learning and predicting, and NaN from
        learning."""
        y = one_vs_rest(targets, ensemble.heads, int(ensemble.members[0].network.step))
        return np.where(np.isinf(y), np.float32(np.nan), y) if predicts else y, PLAIN

    def counted(self, targets: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What statistics of categories count."""
        return targets


@saved(standardizer=Standardizer)
@dataclasses.dataclass
class Numbers:
    """Targets are finite numbers (T, B), or NaN for an unknown one of several; predictions are in their units."""

    standardizer: Standardizer  # has a scale for each target, or a single one for all if its size is 1

    are_classes = False
    link = "itself"
    heads_argument = "num_outputs"

    @classmethod
    def of_stream(cls, targets: int) -> Self:
        return cls(Standardizer(targets, **OF_TARGETS))

    def check(self, targets: np.ndarray, count: int, heads: int) -> None:
        """Raise ValueError for targets that cannot be learned."""
        if targets.shape != (heads, count):
            expected = f"shape {(heads, count)}, one target per sample"
            raise ValueError(f"targets: expected {expected}, got shape {targets.shape}")
        if is_too_large(targets) or (heads == 1 and np.isnan(targets).any()):
            raise ValueError("targets: expected finite numbers, got NaN, infinity or numbers too large for float32")

    def count(self, ensemble: Ensemble) -> int:
        """The number of targets that have a scale of their own."""
        return self.standardizer.size

    def fits(self, heads: int, encoding: TargetEncoding | None) -> bool:
        """Whether scales and statistics of categories are of so many targets."""
        size = self.standardizer.size
        is_counted = encoding is None or (not encoding.are_classes and len(encoding.totals) == 1 + size)
        return size in (1, heads) and is_counted

    def starts(self, targets: np.ndarray, ensemble: Ensemble) -> list[int]:
        return []

    def learn(self, targets: np.ndarray, ensemble: Ensemble, predicts: bool) -> tuple[np.ndarray, Units]:
        """Standardised targets, (T, B), and the units before each sample, in which it is predicted.

        Heads without a target have infinity or NaN, as for `Classes`.
        """
        bound = ensemble.members[0].network.config.bound
        unknown = np.nan if predicts else np.inf
        if len(targets) == self.standardizer.size:
            y, units_before = self.standardizer.learn_targets(targets, bound, unknown)
            return y, Units(*units_before[..., :-1])
        y = np.full(targets.shape, unknown, np.float32)
        units = []
        for b in range(targets.shape[1]):  # all known targets one after another have the same scale
            rows = [t for t, target in enumerate(targets[:, b].tolist()) if target == target]
            learned, units_before = self.standardizer.learn_targets(targets[rows, b][None], bound, unknown)
            y[rows, b] = learned[0]
            units.append(units_before[..., :1])
        return y, Units(*np.concatenate(units, axis=2))

    def counted(self, targets: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What statistics of categories count: each standardised target, 0 if it is unknown, or the sum of all."""
        known = np.where(np.isfinite(y), y, 0)
        return known if len(y) == self.standardizer.size else known.sum(axis=0, keepdims=True)

    @property
    def units(self) -> Units:
        """Those of all samples so far."""
        return Units(*self.standardizer.units[..., None])


@saved(standardizer=Standardizer)
class Labels(Numbers):
    """Targets are at least two labels (T, B), each 0 or 1, or NaN if it is unknown; predictions are probabilities."""

    link = "logit"
    units = PLAIN  # `standardizer` learns only what statistics of categories count

    def check(self, targets: np.ndarray, count: int, heads: int) -> None:
        super().check(targets, count, heads)
        if (np.abs(targets - 0.5) > 0.5).any():  # not so of NaN
            raise ValueError(f"targets: expected labels, 0 or 1, got {targets}")

    def learn(self, targets: np.ndarray, ensemble: Ensemble, predicts: bool) -> tuple[np.ndarray, Units]:
        unknown = np.float32(np.nan if predicts else np.inf)
        return np.where(np.isnan(targets), unknown, targets).astype(np.float32), PLAIN

    def counted(self, targets: np.ndarray, y: np.ndarray) -> np.ndarray:
        standardised, _ = self.standardizer.learn_targets(targets, np.inf, 0.0)
        return standardised


Targets: TypeAlias = Classes | Numbers  # and `Labels`, which are
TARGETS = (Classes, Numbers, Labels)  # of which a file has one


def sum_to_one(p: ArrayLike) -> np.ndarray:
    """Normalise the heads' probabilities to sum to one: (C, B), or (1, B) of the second of two classes, -> (C, B)."""
    p = np.asarray(p, np.float64)
    if p.shape == (1, 1):  # fast
        return np.array([[1 - p[0, 0]], [p[0, 0]]])
    # NumPy adds up in another order for one sample than for several, unless it keeps all sums.
    return np.concatenate([1 - p, p]) if len(p) == 1 else p / p.cumsum(axis=0)[-1:]
