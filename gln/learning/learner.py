"""Shared by all code that trains networks: standardising, learning, predicting and growing.

Shapes: B samples, F features, C heads or classes, T targets per sample, M networks of a group.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from gln.learning.calibration import Blend, equal
from gln.learning.categories import Categories
from gln.learning.densities import Shape
from gln.learning.encodings import NO_PIECES, Pieces, piecewise_linear, with_distances
from gln.learning.heads import add_class, add_inputs, with_outputs
from gln.learning.many import MANY, log_share, some_heads
from gln.learning.mixture import Mixture, losses_of, weights_of
from gln.learning.rates import rate_of_streams
from gln.learning.samples import MAX_FLOAT, check_magnitude, chunks, magnitude
from gln.learning.sparse_scaler import SparseScaler
from gln.learning.standardizer import OF_FEATURES, OF_TARGETS, Standardizer

__all__ = ["Learner", "as_taken", "sum_to_one"]

# Networks for streams: a slow and a fast one. Halfspaces that see at most 1, 3 or 4 features are about as good.
OF_STREAMS: dict[str, Any] = {"layer_sizes": (64, 32), "n_networks": 2, "context_map_size": 5, "context_features": 2}
LEAST_STD = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass
class Learner:
    """Networks that learn raw samples, each standardised by the samples of the stream up to it.

    Samples are columns, (F, B), with NaN for a missing value. A category is given as the code of its level. Targets are
    class numbers (B,), or with a `target_standardizer` finite numbers (T, B); with several targets, NaN is an unknown
    one. That standardizer has a scale for each target, or a single one for all if its size is 1.
    """

    # The networks that predict the targets, then those of the quantiles of each target, then those of the variances.
    groups: list[list[Any]]
    standardizer: Any  # a Standardizer; a SparseScaler, which keeps samples sparse; or None: samples stay as they are
    target_standardizer: Standardizer | None = None
    distances: bool = True  # whether networks also mix each feature's distance from its mean
    learning_rate: float | Callable[[int], float] | None = None  # None: the rates of streams
    pieces: Pieces = NO_PIECES  # of the encodings, which networks with more inputs also mix
    blends: list[Blend] | None = None  # how to combine the networks of each group; None is their mean
    categories: Categories | None = None  # None if all features are numbers
    # The weights of each group, in place of `blends`, if slow and fast networks alternate, as in streams.
    mixtures: list[Mixture] | None = None
    memory: int | None = None  # the category that only the last network of the first group reads: the previous label
    # How many samples picked each row of weights, per head or for all heads together: for each network of the first
    # group (N, 2^k, C or 1), with N neurons of k halfspaces.
    visits: list[np.ndarray] | None = None
    shape: Shape | None = None  # of the densities; None is normal

    def __post_init__(self) -> None:  # a file holds plain tuples and dicts
        self.pieces = Pieces(*self.pieces)
        self.blends = None if self.blends is None else [Blend(*each) for each in self.blends]
        self.shape = None if self.shape is None else Shape(*self.shape)
        if isinstance(self.categories, dict):
            self.categories = Categories(**self.categories)
        if self.mixtures is not None:
            self.mixtures = [Mixture(**each) if isinstance(each, dict) else each for each in self.mixtures]

    @classmethod
    def of_stream(cls, groups: list[list[Any]], features: int, targets: int | None = None, **fields: Any) -> Learner:
        """A new learner for a stream of this many features. `targets` is the number of targets, None for classes."""
        mixtures = None
        if len(groups[0]) > 1:
            records = [group[0].config.record for group in groups]
            heads = [targets if targets and record.heads == "num_outputs" else 1 for record in records]
            each = zip(groups, heads, records, strict=True)
            mixtures = [Mixture.equal(len(group), count, record.link) for group, count, record in each]
        target_standardizer = None if targets is None else Standardizer(targets, **OF_TARGETS)
        return cls(groups, Standardizer(features, **OF_FEATURES), target_standardizer, mixtures=mixtures, **fields)

    @property
    def networks(self) -> list[Any]:
        return list(itertools.chain(*self.groups))

    @property
    def has_densities(self) -> bool:
        return self.groups[-1][0].config.record.link == "log"

    def set_learning_rate(self, rate: float | Callable[[int], float] | None) -> None:
        """Set the learning rate of this learner and of its networks, for which None is their own default."""
        for network in self.networks:
            network.set_learning_rate(rate)
        self.learning_rate = rate

    def own_arrays(self) -> None:
        """Copy all arrays into memory: joblib may have memory-mapped them read-only."""
        for each in (*self.networks, self.standardizer, self.target_standardizer):
            if each is not None:
                each.set_state(each.get_state())
        self.categories = None if self.categories is None else self.categories.copy()
        self.visits = None if self.visits is None else [np.array(own) for own in self.visits]

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(
        self,
        samples: Any,
        targets: np.ndarray,
        shares: np.ndarray | None = None,
        batch_size: int = 1,
        categorical: Set[int] = frozenset(),
        predicts: bool = True,
    ) -> list[np.ndarray]:
        """Predict samples and then learn them, one after another or batch after batch.

        The networks grow when a class, a feature or one of the first levels of a category is new. Predictions stay the
        same until the networks learn about it.

        Args:
            samples: (F, B), dense or sparse. New features come last.
            targets: (B,) class numbers from 0, or (T, B) numbers.
            shares: (B,), the fraction of a step that each sample makes. None is a whole step.
            batch_size: samples that are predicted before any of them is learned, at least 1.
            categorical: the features that are categories.
            predicts: whether to return predictions. With many classes, predicting takes longer than learning.

        Returns:
            A list of the first group's predictions (C, n), equal to those of `predict`; empty without `predicts`.

        Raises:
            ValueError: wrong shape, infinity, a target or a learning rate out of range; nothing has changed then.
        """
        self._check(samples, targets, shares, batch_size)
        grown = self._grown(samples, categorical)
        rates = None
        if self.learning_rate is not None:  # before anything changes, because a callable may fail
            rates = [network.rates(samples.shape[1], self.learning_rate) for network in grown.networks]
        self._take(grown)
        predictions = []
        for part in self._parts(targets, batch_size):
            own = None if shares is None else shares[part].astype(np.float32)
            of_part = samples[:, part], targets[..., part], own, rates and [each[part] for each in rates]
            predictions += self._learn_part(*of_part, batch_size, predicts)
        return predictions

    def _rates(self, count: int) -> list[np.ndarray]:
        """The default rates for the next `count` samples, (count,) for each network."""
        rates = []
        for number, network in [pair for group in self.groups for pair in enumerate(group)]:
            rate, step = rate_of_streams(network, fast=self.mixtures is not None and number % 2 == 1), int(network.step)
            rates.append(rate(np.arange(step, step + count)).astype(np.float32))
        return rates

    def _learn_part(
        self,
        samples: Any,
        targets: np.ndarray,
        shares: np.ndarray | None,
        rates: list[np.ndarray] | None,
        batch_size: int,
        predicts: bool,
    ) -> list[np.ndarray]:
        if self.target_standardizer is None:
            own = some_heads(self._one_hot(targets), int(self.groups[0][0].step))
            own = np.where(np.isinf(own), np.float32(np.nan), own) if predicts else own
        else:
            own, zero, unit = self._standardised(targets)
            own = own if predicts else np.where(np.isnan(own), np.float32(np.inf), own)  # no prediction either
        if self.categories is not None:
            samples = self.categories.learn(samples, self._counted(targets, own), shares)
        z, means = self._seen(samples), None
        if self.visits is not None:
            self._count(z, own)
        rates = self._rates(z.shape[1]) if rates is None else rates
        rate = iter(rates if shares is None else [each * shares for each in rates])
        combines = predicts or self.has_densities  # otherwise the networks' own predictions suffice
        for number, group in enumerate(self.groups):
            y = self._targets_of(number, own, means)
            predicted = self._run(group, z, y, [next(rate) for _ in group], batch_size)
            weights = self._weights_before(number, predicted, y, shares, batch_size, combines)
            if number == 0 and combines:
                means = self._combined(predicted, 0, weights)
        if not predicts or means is None:
            return []
        return [means if self.target_standardizer is None else zero + unit * means]

    def _targets_of(self, number: int, own: np.ndarray, means: np.ndarray | None) -> np.ndarray:
        """What a group learns: the targets, one target for all quantile levels, or the deviations from the means."""
        group, bound = self.groups[number], self.groups[number][0].bound
        if number == 0:
            return own
        if group[0].config.record.heads == "quantiles":
            return np.broadcast_to(own[number - 1], (group[0].num_heads, own.shape[1]))
        # Deviations below the least one that can be predicted would drive the weights to their bounds.
        deviations = np.abs(own - means).clip(np.exp(-bound / 2), bound)
        return np.where(np.isfinite(own), deviations, own).astype(np.float32)

    def _weights_before(
        self,
        number: int,
        predicted: np.ndarray,
        y: np.ndarray,
        shares: np.ndarray | None,
        batch_size: int,
        combines: bool,
    ) -> np.ndarray | None:
        """Count the losses of a group's networks and, if `combines`, return the networks' weights before each sample.

        Shapes: (M, C, n), (C, n), (n,) -> (M, C or 1, n). None if the networks are not weighted by losses.
        """
        if self.mixtures is None:
            return None
        mixture, config = self.mixtures[number], self.groups[number][0].config
        if mixture.recent is not None:
            predicted = np.concatenate([predicted, mixture.learn_recent(y, shares, batch_size)[None]])
        sums = mixture.learn(losses_of(config, predicted, y), shares, batch_size)
        if not combines:
            return None
        weights = weights_of(sums)
        if mixture.scale is not None:
            mixture.rescale(y, (weights * predicted).sum(axis=0), shares)
        return weights

    def _counted(self, targets: np.ndarray, own: np.ndarray) -> np.ndarray:
        """The input of category statistics: classes, each standardised target, or the sum of the known ones."""
        if self.target_standardizer is None:
            return targets
        if len(own) == self.target_standardizer.size:
            return own
        return np.where(np.isfinite(own), own, 0).sum(axis=0, keepdims=True)

    def _seen(self, samples: Any) -> np.ndarray:  # (F, n) -> (F, n)
        """Count and standardise samples one by one, with the unchecked `learn_one`: they were checked before."""
        if isinstance(self.standardizer, SparseScaler):
            return as_taken(self.networks[0], self.standardizer.learn(samples))
        columns = (samples.toarray() if hasattr(samples, "tocsr") else samples).astype(np.float64)
        if self.standardizer is not None:
            for b, sample in enumerate(columns.T.copy()):
                columns[:, b] = self.standardizer.learn_one(sample)
        return columns.astype(np.float32)

    def _one_hot(self, numbers: np.ndarray) -> np.ndarray:  # (n,) -> (C, n)
        """One-vs-rest targets of the heads; adds heads for new classes."""
        while numbers.max(initial=0) >= self.groups[0][0].num_classes:
            self.add_class()
        heads = self.groups[0][0].num_heads
        own = numbers[None] if heads == 1 else numbers == np.arange(heads)[:, None]
        return own.astype(np.float32)

    def _standardised(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (T, n) -> 3 of (T, n)
        """Standardised targets, and the mean and scale before each, with which it was predicted."""
        standardizer, bound = self.target_standardizer, self.groups[0][0].bound  # the same for all networks
        assert standardizer is not None
        own, zero, unit = np.empty((3, *targets.shape))
        for b, target in enumerate(targets.T):
            zero[:, b], unit[:, b] = standardizer.mean, standardizer.scale
            if len(target) == standardizer.size:
                own[:, b] = standardizer.learn_one(target)
            else:
                for t in np.flatnonzero(~np.isnan(target)):
                    own[t, b] = standardizer.learn_one(target[t : t + 1])[0]
        own[np.isnan(targets)] = np.nan  # the standardizer returns 0 for NaN
        return own.clip(-bound, bound).astype(np.float32), zero, unit

    def _parts(self, targets: np.ndarray, batch_size: int) -> Iterator[slice]:
        """Parts of a stream, in whole batches. A new part begins at the first sample of a class without a head."""
        if self.target_standardizer is not None or targets.max(initial=0) < self.groups[0][0].num_classes:
            return chunks(targets.shape[-1], batch_size)
        known = self.groups[0][0].num_classes
        first = {int(n): b for b, n in reversed(list(enumerate(targets.tolist()))) if n >= known}
        ends = [0, *sorted(first.values()), len(targets)]
        pieces = (range(*pair) for pair in itertools.pairwise(ends))
        return (slice(p.start + c.start, p.start + c.stop) for p in pieces for c in chunks(len(p), batch_size))

    def _check(self, samples: Any, targets: np.ndarray, shares: np.ndarray | None, batch_size: int) -> None:
        check_magnitude("samples", samples)
        count = samples.shape[1:]
        heads = self.groups[0][0].num_heads
        shape = count if self.target_standardizer is None else (heads, *count)
        if targets.shape != shape:
            raise ValueError(f"targets: expected shape {shape}, one target per sample, got shape {targets.shape}")
        if self.target_standardizer is None:
            if targets.dtype.kind not in "iu" or targets.min(initial=0) < 0:
                raise ValueError(f"targets: expected class numbers, integers of at least 0, got {targets}")
        elif magnitude(targets) > float(MAX_FLOAT) or (heads == 1 and np.isnan(targets).any()):
            raise ValueError("targets: expected finite numbers, got NaN, infinity or numbers too large for float32")
        if shares is not None and not (shares.shape == count and (shares >= 0).all() and np.isfinite(shares).all()):
            raise ValueError(f"shares: expected {count} finite numbers of at least 0, got {shares}")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def add_class(self, samples: np.ndarray | None = None) -> None:
        """Add a head for one more class. It learns that standardised samples (F, B), if given, are of other classes."""
        seen = [() if samples is None else self.read(network, samples) for network in self.groups[0]]
        self.groups = [[add_class(network, *z) for network, z in zip(self.groups[0], seen, strict=True)]]
        if self.categories is not None:
            self._take(self._with_categories(self.categories.with_class()))

    def with_outputs(self, kept: Sequence[int], new: int) -> Learner:
        """A learner with the targets `kept`, in this order, followed by `new` new ones. Quantiles and densities
        are left out."""
        groups = [[with_outputs(network, kept, new) for network in self.groups[0]]]
        mixtures = None if self.mixtures is None else [self.mixtures[0].with_targets(kept, new)]
        room = [(0, 0), (0, 0), (0, new)]
        visits = None if self.visits is None else [np.pad(own[:, :, list(kept)], room) for own in self.visits]
        return dataclasses.replace(self, groups=groups, mixtures=mixtures, visits=visits)

    def _grown(self, samples: Any, categorical: Set[int]) -> Learner:
        """A learner with room for what is new in samples, or this one if nothing is."""
        if self.categories is None and not categorical:
            return self.with_features(samples.shape[0])
        standardizer = self.target_standardizer
        targets = self.groups[0][0].num_classes if standardizer is None else standardizer.size
        numbers = Categories.of_numbers(self._size, targets, self.target_standardizer is None)
        known = numbers if self.categories is None else self.categories
        if samples.shape[0] < known.size:
            raise ValueError(f"samples: expected {known.size} features, got {samples.shape[0]}")
        categories = known.of_stream(samples, categorical)
        return self if categories is self.categories else self._with_categories(categories)

    def _with_categories(self, categories: Categories) -> Learner:
        others = int((categories.features != self.memory).sum())
        grown = self.with_features(len(categories.columns), others if self.memory is not None else None)
        return dataclasses.replace(grown, categories=categories)

    def _take(self, grown: Learner) -> None:
        self.groups, self.standardizer, self.categories = grown.groups, grown.standardizer, grown.categories

    def with_features(self, features: int, others: int | None = None) -> Learner:
        """A learner with room for this many features, the new ones numeric, or this one if none is new.

        With a memory, `others` is the number of features without it.
        """
        if features == self._size:
            return self
        if self.standardizer is None or features < self._size:
            raise ValueError(f"samples: expected {self._size} features, got {features}")
        reader, seen = (None, features) if others is None else (self.groups[0][-1], others)
        groups = [
            [self._widened(network, features if network is reader else seen) for network in group]
            for group in self.groups
        ]
        standardizer = copy.deepcopy(self.standardizer)
        standardizer.grow(features)
        return dataclasses.replace(self, groups=groups, standardizer=standardizer)

    @property
    def _size(self) -> int:  # the number of features; the last network reads all of them
        return self.groups[0][-1].context_size

    def _widened(self, network: Any, features: int) -> Any:
        new = (features - network.context_size) * (1 + self.distances)
        return add_inputs(network, network.input_size + new, features) if new else network

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: Any, group: int = 0) -> np.ndarray:
        """A group's predictions: probabilities of each class against the rest, or numbers. (F, B) -> (C, B)."""
        [predicted] = self._predicted(samples, self.groups[group])
        return self._in_units(self._combined(predicted, group), group)

    def moments(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (T, B), (T, B)
        """Means and standard deviations of the targets; these are above 0 even if a target never varied."""
        numbers = 0, len(self.groups) - 1
        predicted = self._predicted(samples, *(self.groups[number] for number in numbers))
        each = zip(predicted, numbers, strict=True)
        mean, variance = (self._in_units(self._combined(own, number), number) for own, number in each)
        return mean, np.maximum(np.sqrt(variance), LEAST_STD)

    def decision(self, samples: Any, group: int = 0) -> np.ndarray:
        """Like `predict`, but logits instead of probabilities: (F, B) -> (C, B)."""
        return self._in_units(self.blend(group)[0].of(self.outputs(samples, self.groups[group])), group)

    def outputs(self, samples: Any, networks: list[Any]) -> np.ndarray:
        """What networks mix for samples (F, B), in float64: logits, standardised values or log variances, (M, C, B)."""
        [predicted] = self._predicted(samples, networks)
        return LINKS[networks[0].config.record.link].of(predicted)

    def _predicted(self, samples: Any, *groups: list[Any]) -> list[np.ndarray]:
        """Predictions of the networks of each of these groups, standardised: (F, B) -> (M, C, B) each."""
        predicted = [np.empty((len(group), group[0].num_heads, samples.shape[1])) for group in groups]
        for part in chunks(samples.shape[1]):
            z = self._transformed(samples[:, part])
            for own, group in zip(predicted, groups, strict=True):
                own[..., part] = self._run(group, z)
        return predicted

    def _combined(self, predicted: np.ndarray, group: int, weights: np.ndarray | None = None) -> np.ndarray:
        """A group's predictions, from those of its networks: (M, C, n), (M, C or 1, n) -> (C, n)."""
        if self.blends is None and len(predicted) == 1 and predicted.shape[1] < MANY:  # fast, for single samples
            return predicted[0]
        blend, link = self.blend(group)
        mixed = LINKS[link].of(predicted)
        mixed = blend.of(mixed) if weights is None else (weights * mixed).sum(axis=0) + blend.offsets[:, None]
        return LINKS[link].inverse(mixed)

    def _in_units(self, combined: np.ndarray, group: int) -> np.ndarray:  # (C, B), in the targets' units
        if self.target_standardizer is None:
            return combined
        record = self.groups[group][0].config.record
        if record.link == "log":
            return np.square(self.target_standardizer.scale)[:, None] * combined
        rows = slice(group - 1, group) if record.heads == "quantiles" else slice(None)
        return self.target_standardizer.mean[rows, None] + self.target_standardizer.scale[rows, None] * combined

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def start_counting(self, heads: int = 1) -> None:
        """From now on, count which rows the learned samples pick: for each head if there are several, else in total."""
        shapes = [(sum(each.layer_sizes), 2**each.context_map_size, heads) for each in self.groups[0]]
        self.visits = [np.zeros(shape, np.int32) for shape in shapes]

    def meet(self, samples: Any, categorical: Set[int] = frozenset()) -> None:
        """Standardise and count samples (F, B) as `learn` does, but learn no targets.

        Raises ValueError for infinity or too few features; nothing has changed then.
        """
        check_magnitude("samples", samples)
        self._take(self._grown(samples, categorical))
        nothing = np.zeros((1, samples.shape[1]))
        columns = samples if self.categories is None else self.categories.learn(samples, nothing)
        self._count(self._seen(columns))

    def count(self, samples: Any) -> None:
        """Count the rows that samples (F, B) pick, with the current mean and scale."""
        self._count(self._transformed(samples))

    def _count(self, z: Any, targets: np.ndarray | None = None) -> None:  # (F, n), (C, n)
        for own, contexts in zip(self.visits or [], self._contexts(z), strict=True):
            neurons = np.arange(len(own))
            if own.shape[2] == 1 or targets is None:
                rows: Any = neurons, contexts, 0
                np.add.at(own, rows, 1)  # `+=` would count a row that two samples pick only once
            else:
                for head, b in np.argwhere(np.isfinite(targets)):
                    own[neurons, contexts[b], head] += 1

    def visited(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """The first group's predictions (C, B) for samples (F, B), and how often the rows that these pick were counted,
        a mean over neurons (C or 1, B)."""
        z = self._transformed(samples)
        predicted = self._in_units(self._combined(self._run(self.groups[0], z), 0), 0)
        return predicted, self._visited(z).mean(axis=1).T

    def novelty(self, samples: Any) -> np.ndarray:  # (F, B) -> (B,)
        """How unlike the counted samples these are: the mean over neurons of 1 / sqrt(1 + count), in (0, 1].

        Source of the square root: M. Bellemare et al., Unifying Count-Based Exploration and Intrinsic Motivation,
        NeurIPS 2016.
        """
        visits = [self._visited(self._transformed(samples[:, part])) for part in chunks(samples.shape[1])]
        return (1 / np.sqrt(1 + np.concatenate(visits).sum(axis=2))).mean(axis=1)

    def _visited(self, z: Any) -> np.ndarray:  # (F, n) -> (n, N of all networks, C or 1)
        counts = zip(self.visits or [], self._contexts(z), strict=True)
        return np.concatenate([own[np.arange(len(own)), contexts] for own, contexts in counts], axis=1)

    def _contexts(self, z: Any) -> list[np.ndarray]:  # (F, n) -> M of (n, N)
        return [network.contexts(self._side_information(network, z)) for network in self.groups[0]]

    def explain(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to the first group's predictions.

        They are logits, or numbers in the targets' units. A contribution compares the feature with its mean.
        """
        z, networks = as_taken(None, self._transformed(samples)), self.groups[0]
        (blend, _), heads = self.blend(0), networks[0].num_heads
        contributions, constant = np.zeros((heads, *z.shape)), np.zeros((heads, z.shape[1])) + blend.offsets[:, None]
        for network, weight in zip(networks, blend.weights[:, :, None], strict=True):
            mixed, context = self.read(network, z)
            of_mean = self.inputs(network, np.zeros_like(context[:, :1]))
            slopes, constants, _ = network.explain(mixed, context)
            slopes, bound = weight[:, None] * slopes.reshape(heads, *mixed.shape), network.bound  # (C, K, B)
            terms = slopes * (mixed.clip(-bound, bound) - of_mean)
            np.add.at(contributions.swapaxes(0, 1), self._features_of(network), terms.swapaxes(0, 1))
            constant += weight * constants + (slopes * of_mean).sum(axis=1)
        contributions = contributions.transpose(0, 2, 1)
        if self.categories is not None:  # the sum over each feature's columns
            contributions = contributions @ (self.categories.features[:, None] == np.arange(self.categories.size))
        if self.target_standardizer is not None:
            contributions = contributions * self.target_standardizer.scale[:, None, None]
            constant = self._in_units(constant, 0)
        return contributions, constant

    def read(self, network: Any, z: Any) -> tuple[Any, Any]:
        """A network's inputs and side information for standardised samples: (F, B) -> (K, B), (D, B)."""
        z = self._side_information(network, z)
        return self.inputs(network, z), z

    def _side_information(self, network: Any, z: Any) -> Any:  # (F, B) -> (D, B)
        return z if network.context_size == z.shape[0] else z[self._rows(network)]

    def _run(
        self,
        networks: list[Any],
        z: Any,
        targets: np.ndarray | None = None,
        rates: list[np.ndarray] | None = None,
        batch_size: int = 1,
    ) -> np.ndarray:
        """The networks' predictions for standardised samples, which they then learn if there are targets.

        Shapes: (F, n), (C, n), M of (n,) -> (M, C, n).
        """
        made: dict[tuple[int, int], tuple[Any, Any]] = {}
        sizes = [(network.input_size, network.context_size) for network in networks]
        for size, network in zip(sizes, networks, strict=True):  # once per size
            made[size] = made[size] if size in made else self.read(network, z)
        is_stream = self.mixtures is not None and z.shape[1] == 1 and len(made) == 1
        if is_stream and hasattr(networks[0], "predict_all"):  # one call, since a call takes as long as a sample
            return networks[0].predict_all(networks, *made[sizes[0]], targets, rates)
        each = zip(networks, sizes, itertools.repeat(None) if rates is None else rates, strict=False)
        return np.array(
            [network.predict_arrays(*made[size], targets, rate, batch_size) for network, size, rate in each]
        )

    def _rows(self, network: Any) -> np.ndarray:  # (D,)
        """The features that a network reads."""
        if network.context_size == self._size or self.categories is None:
            return np.arange(network.context_size)
        return np.flatnonzero(self.categories.features != self.memory)

    def inputs(self, network: Any, z: np.ndarray) -> np.ndarray:
        """A network's inputs for its side information: (D, B) -> (K, B)."""
        rows = with_distances(z) if self.distances else z
        return np.concatenate([piecewise_linear(z, self.pieces), rows]) if self.encodes(network) else rows

    def encodes(self, network: Any) -> bool:
        """Whether a network also mixes encodings, which come first in its inputs."""
        return network.input_size > network.context_size * (1 + self.distances)

    def _features_of(self, network: Any) -> np.ndarray:  # (K,)
        """The feature that each input of a network comes from."""
        features = self._rows(network).repeat(1 + self.distances)
        return np.concatenate([self.pieces.features, features]) if self.encodes(network) else features

    def blend(self, group: int) -> tuple[Blend, str]:
        """How a group's networks are combined, and the link of the summands: "itself" if these are the predictions."""
        networks, record = self.groups[group], self.groups[group][0].config.record
        if self.blends is not None:
            return self.blends[group], record.link
        blend = equal(len(networks), log_share(networks[0].num_heads) if record.link == "logit" else 0.0)
        if self.mixtures is None:
            return blend, record.link
        mixture = self.mixtures[group]
        weights = weights_of(mixture.losses)
        if mixture.recent is None:
            return blend._replace(weights=weights), record.link
        weights = weights * mixture.scale
        return Blend(weights[:-1], weights[-1] * mixture.recent), "itself"  # variances, not logarithms

    def _transformed(self, samples: Any) -> np.ndarray:
        if self.categories is not None:
            samples = self.categories.transform(samples)
        if self.standardizer is None:
            return np.asarray(samples, np.float32)
        return as_taken(self.networks[0], self.standardizer.transform(samples))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.minimum(np.maximum(p.astype(np.float64), 2.0**-126), 1 - 2.0**-24)  # float32's neighbours of 0 and 1
    return np.log(p) - np.log1p(-p)


def _expit(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


def _itself(s: np.ndarray) -> np.ndarray:
    return s


class Link(NamedTuple):
    """Maps a prediction to what networks mix, and back."""

    of: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


LINKS = {"logit": Link(_logit, _expit), "log": Link(np.log, np.exp), "itself": Link(_itself, _itself)}


def as_taken(network: Any, z: Any) -> Any:
    """Standardised samples as a network takes them: sparse ones are made dense for all backends but Numba."""
    return z if not hasattr(z, "tocsc") or getattr(network, "takes_sparse", False) else z.toarray()


def sum_to_one(p: Any) -> np.ndarray:
    """Normalise the heads' probabilities to sum to one: (C, B), or (1, B) of the second of two classes, -> (C, B)."""
    p = np.asarray(p, np.float64)
    return np.concatenate([1 - p, p]) if len(p) == 1 else p / p.sum(axis=0)
