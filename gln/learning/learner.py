"""`Learner`: sends samples through what networks read, the networks, and how these are combined.

Shapes: B samples, F features, D columns made from them, C heads, T targets, M networks of a group.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from gln.learning.counts_rows import CountsRows
from gln.learning.group import Group, predictions
from gln.learning.growth import add_class, with_outputs
from gln.learning.inputs import by_feature
from gln.learning.mixture import Mixture
from gln.learning.network import Network, Rate
from gln.learning.reading import Reading
from gln.learning.samples import check_magnitude, dense
from gln.learning.single import compile_step, is_single, learn_single, predict_single
from gln.learning.targets import Classes, Numbers
from gln.learning.unscaled import Unscaled

__all__ = ["LEAST_STD", "Learner", "check_steps"]

LEAST_STD = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass
class Learner(CountsRows):
    """Predicts and learns raw samples, columns of numbers with NaN for a missing value and codes for categories."""

    reading: Reading
    targets: Any  # Classes or Numbers
    # Networks that predict the targets, then those of the quantiles of each target, then those of the variances.
    groups: list[Group]
    counts: Any = None  # Counts of the rows of the first group's networks, or None if nobody asks for them
    learning_rate: Rate | None = None  # None: the rates of streams

    @classmethod
    def of_network(cls, network: Network, standardizer: Any = None, learning_rate: Rate | None = None) -> Learner:
        """For one network of classes that reads samples as the standardizer gives them."""
        reading = Reading(Unscaled(network.context_size) if standardizer is None else standardizer, distances=False)
        return cls(reading, Classes(), [Group([network])], learning_rate=learning_rate)

    @classmethod
    def of_stream(cls, reading: Reading, groups: list[Group], targets: int | None = None, **fields: Any) -> Learner:
        """For a stream. `targets` is the number of scales of the targets, None for classes.

        In groups of several networks, slow and fast ones alternate, weighted by how well each predicted recently.
        """
        for group in groups if groups[0].members(reading) > 1 else ():
            heads = group.heads if group.config.record.heads == "num_outputs" else 1
            group.combination = Mixture.equal(group.members(reading), heads, group.link)
        return cls(reading, Classes() if targets is None else Numbers.of_stream(targets), groups, **fields)

    @property
    def networks(self) -> list[Network]:
        return list(itertools.chain(*(group.networks for group in self.groups)))

    @property
    def has_densities(self) -> bool:
        return self.groups[-1].link == "log"

    def set_learning_rate(self, rate: Rate | None) -> None:
        """Set the learning rate of this learner and of its networks, for which None is their own default."""
        for network in self.networks:
            network.set_learning_rate(rate)
        self.learning_rate = rate

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

        Everything grows when a class, a feature or one of the first levels of a category is new. Predictions stay the
        same until the networks learn about it.

        Args:
            samples: (F, B), dense or sparse. New features come last.
            targets: (B,) class numbers from 0, or (T, B) numbers.
            shares: (B,), the fraction of a step that each sample makes. None is a whole step.
            batch_size: samples that are predicted before any of them is learned, at least 1.
            categorical: the features that are categories.
            predicts: whether to return predictions. With many classes, predicting takes longer than learning.

        Returns a list of the first group's predictions (C, n), equal to those of `predict`; empty without `predicts`.
        Raises ValueError for a wrong shape, infinity, a target or a rate out of range; nothing has changed then.
        """
        count, first = samples.shape[1], self.groups[0]
        check_magnitude("samples", samples)
        self.targets.check(targets, count, first.heads)
        check_steps(shares, batch_size, count)
        reading = self.reading.grown(samples, categorical, self.targets.count(first), self.targets.are_classes)
        given = self.learning_rate  # before anything changes, because a callable may fail
        rates = None
        if given is not None:
            rates = [np.array([each.rates(count, given) for each in group.networks]) for group in self.groups]
        if first.fixed is None and not predicts and self._is_single(samples):
            compile_step(self.reading, first)
        self._read_by(reading)
        predicted: list[Any] = []
        for part in self.targets.parts(targets, batch_size, first):
            for _ in range(self.targets.new_classes(targets[..., part], self.groups[0])):
                self.add_class()
            own = (
                None if shares is None else shares[part].astype(np.float32),
                rates and [each[:, part] for each in rates],
            )
            predicted.append(self._learn_part(samples[:, part], targets[..., part], *own, batch_size, predicts))
        return predicted if predicts else []

    def _learn_part(
        self,
        samples: Any,
        targets: np.ndarray,
        shares: np.ndarray | None,
        rates: list[np.ndarray] | None,
        batch_size: int,
        predicts: bool,
    ) -> np.ndarray | None:
        y, units = self.targets.learn(targets, self.groups[0], predicts)
        counted = None if self.reading.categories is None else self.targets.counted(targets, y)
        if rates is None:
            rates = [group.rates(y.shape[1]) for group in self.groups]
        rates = rates if shares is None else [each * shares for each in rates]
        if not predicts and self._is_single(samples):
            picked = learn_single(self.reading, self.groups[0], samples, counted, y, rates[0], shares)
            if self.counts is not None:
                self.counts.learn(self._of_networks(picked), y)
            return None
        z, means = self.reading.learn(samples, counted, y, shares), None
        if self.counts is not None:
            self.counts.learn(self._contexts(z), y)
        for group, rates_of_group in zip(self.groups, rates, strict=True):
            own = group.targets_of(y, means), rates_of_group
            # Variances are of deviations from the combined means; nothing else needs combining.
            combines = group is self.groups[0] and (predicts or self.has_densities)
            combined = group.learn(self.reading, z, *own, shares, batch_size, combines)
            means = combined if means is None else means
        return None if means is None else units.zero + units.unit * means

    def _is_single(self, samples: Any) -> bool:
        return len(self.groups) == 1 and is_single(self.reading, self.groups[0], samples)

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def _read_by(self, reading: Reading) -> None:
        """Take over a reading that has grown, with networks and counts to match."""
        if reading is self.reading:
            return
        groups = [group.widened(self.reading, reading) for group in self.groups]
        if self.counts is not None:
            self.counts = self.counts.widened(self.groups[0].networks, groups[0].networks)
        self.groups, self.reading = groups, reading

    def add_class(self, samples: np.ndarray | None = None) -> None:
        """Add a head for one more class. It learns that standardised samples (D, B), if given, are of other classes."""
        group = self.groups[0]
        seen = [() if samples is None else self.reading.read(network, samples) for network in group.networks]
        networks = [add_class(network, *read) for network, read in zip(group.networks, seen, strict=True)]
        self.groups = [dataclasses.replace(group, networks=networks)]
        self._read_by(self.reading.with_class(int(group.networks[0].step)))

    def with_outputs(self, kept: Sequence[int], new: int) -> Learner:
        """A learner of the targets `kept`, in this order, and `new` new ones, without quantiles and densities."""
        group = self.groups[0]
        networks = [with_outputs(network, kept, new) for network in group.networks]
        combination = group.combination.with_targets(kept, new)
        counts = None if self.counts is None else self.counts.with_outputs(kept, new)
        groups = [dataclasses.replace(group, networks=networks, combination=combination)]
        return dataclasses.replace(self, reading=self.reading.with_outputs(kept, new), groups=groups, counts=counts)

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: Any, group: int = 0) -> np.ndarray:
        """A group's predictions: probabilities of each class against the rest, or numbers. (F, B) -> (C, B)."""
        own = self.groups[group]
        if is_single(self.reading, own, samples):
            return self.targets.in_units(predict_single(self.reading, own, samples)[0], own)
        [predicted] = predictions(self.reading, *self.reading.parts(samples), own)
        return self.targets.in_units(own.combined(predicted), own)

    def moments(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (T, B), (T, B)
        """Means and standard deviations of the targets; these are above 0 even if a target never varied."""
        groups = self.groups[0], self.groups[-1]
        each = zip(groups, predictions(self.reading, *self.reading.parts(samples), *groups), strict=True)
        mean, variance = (self.targets.in_units(group.combined(predicted), group) for group, predicted in each)
        return mean, np.maximum(np.sqrt(variance), LEAST_STD)

    def decision(self, samples: Any) -> np.ndarray:
        """Like `predict`, but logits instead of probabilities: (F, B) -> (C, B)."""
        group = self.groups[0]
        [predicted] = predictions(self.reading, *self.reading.parts(samples), group)
        return self.targets.in_units(group.blend()[0].of(group.mixed(predicted)), group)

    def explain(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to the first group's predictions.

        They are logits, or numbers in the targets' units. A contribution compares the feature with its mean.
        """
        group, z = self.groups[0], dense(self.reading.transform(samples))
        contributions, constant = group.explain(self.reading, z)
        contributions, more = by_feature(self.reading, contributions, samples, z)
        return self.targets.scaled(contributions), self.targets.in_units(constant + more, group)


def check_steps(shares: np.ndarray | None, batch_size: int, count: int) -> None:
    if shares is not None and not (shares.shape == (count,) and (shares >= 0).all() and np.isfinite(shares).all()):
        raise ValueError(f"shares: expected {(count,)} finite numbers of at least 0, got {shares}")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
