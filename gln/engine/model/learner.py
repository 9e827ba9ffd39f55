"""`Learner`: sends samples through what networks read, the networks, and how these are combined.

Shapes: B samples, F features, D columns made from them, C heads, T targets, M networks of a group.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from gln.engine.batches import CHUNK, check_magnitude, check_steps, chunks, dense
from gln.engine.ensemble.ensemble import Ensemble, predictions
from gln.engine.ensemble.hedge import Hedge
from gln.engine.model import fused
from gln.engine.model.featurizers import Featurizer, by_feature
from gln.engine.model.fused import Lesson
from gln.engine.model.targets import Classes, Numbers, Units
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.protocol import Network, Rate
from gln.engine.networks.surgery import add_class, with_outputs
from gln.engine.preprocessing.scaling import Unscaled

LEAST_STD = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass
class Learner:
    """Predicts and learns raw samples, columns of numbers with NaN for a missing value and codes for categories."""

    featurizer: Featurizer
    targets: Any  # Classes or Numbers
    # Networks that predict the targets, then those of the quantiles of each target, then those of the variances.
    ensembles: list[Ensemble]
    counts: Any = None  # `GateCounts` of the rows of the first group's networks, or None if nobody asks for them
    learning_rate: Rate | None = None  # None: the rates of streams
    fixed: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)  # of `fused`

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "fixed": None}  # compiled code cannot be pickled

    @classmethod
    def of_network(cls, network: Network, standardizer: Any = None, learning_rate: Rate | None = None) -> Learner:
        """For one network of classes that reads samples as the standardizer gives them."""
        featurizer = Featurizer(
            Unscaled(network.context_size) if standardizer is None else standardizer, distances=False
        )
        return cls(featurizer, Classes(), [Ensemble([network])], learning_rate=learning_rate)

    @classmethod
    def of_stream(
        cls, featurizer: Featurizer, ensembles: list[Ensemble], targets: int | None = None, **fields: Any
    ) -> Learner:
        """For a stream. `targets` is the number of scales of the targets, None for classes.

        In groups of several networks, slow and fast ones alternate, weighted by how well each predicted recently.
        """
        for ensemble in ensembles if ensembles[0].members(featurizer) > 1 else ():
            heads = ensemble.heads if ensemble.config.record.heads == "num_outputs" else 1
            ensemble.combination = Hedge.equal(ensemble.members(featurizer), heads, ensemble.link)
        return cls(featurizer, Classes() if targets is None else Numbers.of_stream(targets), ensembles, **fields)

    @property
    def networks(self) -> list[Network]:
        return list(itertools.chain(*(ensemble.networks for ensemble in self.ensembles)))

    @property
    def has_densities(self) -> bool:
        return self.ensembles[-1].link == "log"

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
        step_sizes: np.ndarray | None = None,
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
        count, first = samples.shape[1], self.ensembles[0]
        check_magnitude("samples", samples)
        self.targets.check(targets, count, first.heads)
        check_steps(step_sizes, batch_size, count)
        featurizer = self.featurizer.grown(samples, categorical, self.targets.count(first), self.targets.are_classes)
        # Before anything changes, because a callable may fail.
        rates = None if self.learning_rate is None else self._rates(count)
        if self.fixed is None and not predicts and self._is_single(samples):
            fused.prepare(self)  # before anything is learned, because this may fail or be interrupted
        self._read_by(featurizer)
        predicted: list[Any] = []
        for part in self.targets.parts(targets, batch_size, first):
            for _ in range(self.targets.new_classes(targets[..., part], self.ensembles[0])):
                self.add_class()
            own = (
                None if step_sizes is None else step_sizes[part].astype(np.float32),
                rates and [each[:, part] for each in rates],
            )
            predicted.append(self._learn_part(samples[:, part], targets[..., part], *own, batch_size, predicts))
        return predicted if predicts else []

    def _learn_part(
        self,
        samples: Any,
        targets: np.ndarray,
        step_sizes: np.ndarray | None,
        rates: list[np.ndarray] | None,
        batch_size: int,
        predicts: bool,
    ) -> np.ndarray | None:
        lesson, units = self.lesson(targets, step_sizes, rates, predicts)
        y, rates = lesson.targets, lesson.rates
        if not predicts and self._is_single(samples):
            fused.learn(self, samples, lesson)
            return None
        z, means = self.featurizer.learn(samples, lesson.counted, y, step_sizes), None
        if self.counts is not None:
            self.counts.learn(self._contexts(z), y)
        for ensemble, rates_of_group in zip(self.ensembles, rates, strict=True):
            own = ensemble.targets_of(y, means), rates_of_group
            # Variances are of deviations from the combined means; nothing else needs combining.
            combines = ensemble is self.ensembles[0] and (predicts or self.has_densities)
            combined = ensemble.learn(self.featurizer, z, *own, step_sizes, batch_size, combines)
            means = combined if means is None else means
        return None if means is None else units.zero + units.unit * means

    def _is_single(self, samples: Any) -> bool:
        return samples.shape[1] == 1 and fused.can_learn(self, samples)

    def lesson(
        self,
        targets: np.ndarray,
        step_sizes: np.ndarray | None,
        rates: list[np.ndarray] | None = None,
        predicts: bool = False,
    ) -> tuple[Lesson, Units]:
        """What the next samples teach, and the units in which each of them is predicted before."""
        y, units = self.targets.learn(targets, self.ensembles[0], predicts)
        counted = None if self.featurizer.categories is None else self.targets.counted(targets, y)
        rates = self._rates(y.shape[1]) if rates is None else rates
        if step_sizes is not None:
            rates = [rates_of_ensemble * step_sizes for rates_of_ensemble in rates]
        return Lesson(y, counted, rates, step_sizes), units

    def _rates(self, count: int) -> list[np.ndarray]:
        """The rates of the next samples, (M, count) for each ensemble."""
        given = self.learning_rate
        if given is None:
            return [ensemble.rates(count) for ensemble in self.ensembles]
        return [np.array([each.rates(count, given) for each in ensemble.networks]) for ensemble in self.ensembles]

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def _read_by(self, featurizer: Featurizer) -> None:
        """Take over a reading that has grown, with networks and counts to match."""
        if featurizer is self.featurizer:
            return
        ensembles = [ensemble.widened(self.featurizer, featurizer) for ensemble in self.ensembles]
        if self.counts is not None:
            self.counts = self.counts.widened(self.ensembles[0].networks, ensembles[0].networks)
        self.ensembles, self.featurizer = ensembles, featurizer

    def add_class(self, samples: np.ndarray | None = None) -> None:
        """Add a head for one more class. It learns that standardised samples (D, B), if given, are of other classes."""
        ensemble = self.ensembles[0]
        seen = [() if samples is None else self.featurizer.read(network, samples) for network in ensemble.networks]
        networks = [add_class(network, *read) for network, read in zip(ensemble.networks, seen, strict=True)]
        self.ensembles = [dataclasses.replace(ensemble, networks=networks)]
        self._read_by(self.featurizer.with_class(int(ensemble.networks[0].step)))

    def with_outputs(self, kept: Sequence[int], new: int) -> Learner:
        """A learner of the targets `kept`, in this order, and `new` new ones, without quantiles and densities."""
        ensemble = self.ensembles[0]
        networks = [with_outputs(network, kept, new) for network in ensemble.networks]
        combination = ensemble.combination.with_targets(kept, new)
        counts = None if self.counts is None else self.counts.with_outputs(kept, new)
        ensembles = [dataclasses.replace(ensemble, networks=networks, combination=combination)]
        return dataclasses.replace(
            self, featurizer=self.featurizer.with_outputs(kept, new), ensembles=ensembles, counts=counts
        )

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: Any, ensemble: int = 0) -> np.ndarray:
        """A group's predictions: probabilities of each class against the rest, or numbers. (F, B) -> (C, B)."""
        own = self.ensembles[ensemble]
        if samples.shape[1] == 1 and fused.can_predict(self, samples):
            return self.targets.in_units(fused.predict(self, samples, ensemble)[0], own)
        [predicted] = predictions(self.featurizer, *self.featurizer.parts(samples), own)
        return self.targets.in_units(own.combined(predicted), own)

    def moments(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (T, B), (T, B)
        """Means and standard deviations of the targets; these are above 0 even if a target never varied."""
        ensembles = self.ensembles[0], self.ensembles[-1]
        each = zip(ensembles, predictions(self.featurizer, *self.featurizer.parts(samples), *ensembles), strict=True)
        mean, variance = (self.targets.in_units(ensemble.combined(predicted), ensemble) for ensemble, predicted in each)
        return mean, np.maximum(np.sqrt(variance), LEAST_STD)

    def decision(self, samples: Any) -> np.ndarray:
        """Like `predict`, but logits instead of probabilities: (F, B) -> (C, B)."""
        ensemble = self.ensembles[0]
        [predicted] = predictions(self.featurizer, *self.featurizer.parts(samples), ensemble)
        return self.targets.in_units(ensemble.blend()[0].of(ensemble.mixed(predicted)), ensemble)

    def explain(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to the first group's predictions.

        They are logits, or numbers in the targets' units. A contribution compares the feature with its mean.
        """
        ensemble, z = self.ensembles[0], dense(self.featurizer.transform(samples))
        contributions, constant = ensemble.explain(self.featurizer, z)
        contributions, more = by_feature(self.featurizer, contributions, samples, z)
        return self.targets.scaled(contributions), self.targets.in_units(constant + more, ensemble)

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def start_counting(self, heads: int = 1) -> None:
        """From now on, count which rows the learned samples pick: for each head if there are several, else in total."""
        self.counts = GateCounts.none(self.ensembles[0].networks, heads)

    def meet(self, samples: Any, categorical: Set[int] = frozenset()) -> None:
        """Standardise and count samples (F, B) as `learn` does, but learn no targets.

        Raises ValueError for infinity or too few features; nothing has changed then.
        """
        check_magnitude("samples", samples)
        first, nothing = self.ensembles[0], np.zeros((1, samples.shape[1]))
        self._read_by(self.featurizer.grown(samples, categorical, self.targets.count(first), self.targets.are_classes))
        self.counts.learn(self._contexts(self.featurizer.learn(samples, nothing)))

    def meet_columns(self, samples: Any, categorical: Set[int]) -> None:
        """Have columns for the features and levels of samples (F, B), and standardise by them too, but no more."""
        self._read_by(self.featurizer.grown(samples, categorical, 1, self.targets.are_classes))
        categories = self.featurizer.categories
        self.featurizer.standardizer.learn_checked(samples if categories is None else categories.transform(samples))

    def count(self, z: Any) -> None:
        """Count the rows that standardised samples (D, B) pick."""
        self.counts.learn(self._contexts(z))

    def counted(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (C, B) for samples (F, B), and the mean count of the rows that they pick, (C or 1, B)."""
        if samples.shape[1] > CHUNK:
            parts = [self.counted(samples[:, part]) for part in chunks(samples.shape[1])]
            predicted, counts = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
            return predicted, counts
        if fused.can_predict(self, samples):
            predicted, picked = fused.predict(self, samples)
            predicted, contexts = self.targets.in_units(predicted, self.ensembles[0]), fused.split(picked, self.counts)
        else:
            predicted, contexts = self.predict(samples), self._contexts(self.featurizer.standardised(samples))
        return predicted, self.counts.mean(contexts)

    def novelty(self, samples: Any) -> np.ndarray:
        """How unlike the counted samples these are, in (0, 1]: (F, B) -> (B,)."""
        parts = (self.featurizer.standardised(samples[:, part]) for part in chunks(samples.shape[1]))
        return np.concatenate([self.counts.novelty(self._contexts(z)) for z in parts])

    def _contexts(self, z: Any) -> list[np.ndarray]:  # (D, B) -> M of (B, N)
        return [
            network.contexts(self.featurizer.side_information(network, z)) for network in self.ensembles[0].networks
        ]
