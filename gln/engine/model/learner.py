"""`Learner`: a featurizer, ensembles of networks, and targets; predicts and learns raw samples.

Shapes: B samples, F features, D columns made from them, C heads, T targets, M networks of an ensemble, N neurons and K
inputs of a network, L predictions of linear models, n features and words.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np

from gln.engine.batches import CHUNK, check_magnitude, check_steps, chunks, dense, features_and_words, repeats_of
from gln.engine.ensemble.ensemble import Ensemble, Member
from gln.engine.model import fused
from gln.engine.model.featurizers import PlainFeaturizer
from gln.engine.model.fused import TargetBatch
from gln.engine.model.targets import Classes, Units
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.protocol import Network, Rate, count_samples
from gln.engine.networks.surgery import add_class, with_outputs
from gln.engine.preprocessing.scaling import Unscaled

LEAST_STD = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass
class Learner:
    """Predicts and learns samples: columns of numbers with NaN for a missing value, and codes for categories."""

    featurizer: Any  # one of `featurizers`
    targets: Any  # Classes or Numbers
    means: Ensemble  # predicts the probabilities of classes, or means of numbers
    quantiles: list[Ensemble] = dataclasses.field(default_factory=list)  # of each target
    variances: Ensemble | None = None  # of all targets
    counts: Any = None  # `GateCounts` of the networks of the means, or None if nobody asks for them
    learning_rate: Rate | None = None  # None: the rates of streams
    fixed: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)  # of `fused`

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "fixed": None}  # compiled code cannot be pickled

    @classmethod
    def of_network(cls, network: Network, standardizer: Any, learning_rate: Rate | None) -> Learner:
        """For one network of classes that reads samples as they are, or as a standardizer gives them."""
        featurizer = PlainFeaturizer(Unscaled(network.context_size) if standardizer is None else standardizer)
        return cls(featurizer, Classes(), Ensemble([Member(network)]), learning_rate=learning_rate)

    @property
    def ensembles(self) -> list[Ensemble]:
        return [self.means, *self.quantiles, *([] if self.variances is None else [self.variances])]

    @property
    def networks(self) -> list[Network]:
        return list(itertools.chain(*(ensemble.networks for ensemble in self.ensembles)))

    def sizes(self, categorical: Set[int]) -> tuple[int, Set[int], int]:
        """The number of features, those that are categories, and the number of classes, 0 for numbers."""
        numbers, are_classes = self.featurizer.numbers, self.targets.are_classes
        return len(numbers), {*np.flatnonzero(numbers < 0).tolist()}, self.targets.count(self.means) * are_classes

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
            step_sizes: (B,), how long a step each sample makes. None is 1, a whole step.
            batch_size: samples that are predicted before any of them is learned, at least 1.
            categorical: the features that are categories.
            predicts: whether to return predictions. With many classes, predicting takes longer than learning.

        Returns a list of means or probabilities (C, n), equal to those of `predict`; empty without `predicts`.
        Raises ValueError for a wrong shape, infinity, a target or a rate out of range; nothing has changed then.
        """
        count = samples.shape[1]
        check_magnitude("samples", samples)
        self.targets.check(targets, count, self.means.heads)
        check_steps(step_sizes, batch_size, count)
        is_fused = count == 1 and not predicts and fused.can_learn(self, samples)
        featurizer = self._grown(samples, categorical)
        # Before anything changes, because a callable may fail. Default rates depend on the inputs, which may grow.
        rates = None if self.learning_rate is None else self._rates(count)
        if is_fused and self.fixed is None:
            fused.prepare(self)  # which compiles, before anything is learned, because this may fail
        self._grow(featurizer)
        predicted: list[np.ndarray] = []
        for segment in self.targets.segments(targets, batch_size, self.means):
            for _ in range(self.targets.new_classes(targets[..., segment], self.means)):
                self.add_class()
            steps = None if step_sizes is None else step_sizes[segment].astype(np.float32)
            segment_rates = rates and [ensemble_rates[:, segment] for ensemble_rates in rates]
            target_batch, units = self.target_batch(targets[..., segment], steps, segment_rates, predicts)
            if is_fused:
                fused.learn(self, samples, target_batch)
                return []
            means = self._learn_segment(samples[:, segment], target_batch, batch_size, predicts)
            if predicts:
                predicted.append(units.zero + units.unit * means)
        return predicted

    def _learn_segment(self, samples: Any, target_batch: TargetBatch, batch_size: int, predicts: bool) -> Any:
        """Learn samples of which none brings anything new. Returns the standardised means before each, (C, B), if
        these are needed."""
        y, _, rates, step_sizes = target_batch
        blocks, means = self.featurizer.learn(samples, target_batch), None
        if self.counts is not None:
            self.counts.learn(self._contexts(blocks.columns), y)
        for ensemble, ensemble_rates in zip(self.ensembles, rates, strict=True):
            # Variances are of deviations from the combined means; nothing else needs combining.
            combines = ensemble is self.means and (predicts or self.variances is not None)
            learned = ensemble.targets_of(y, means), ensemble_rates
            combined = ensemble.learn(blocks, *learned, step_sizes, batch_size, combines)
            means = combined if ensemble is self.means else means
        return means

    def learn_linear(self, samples: Any, targets: np.ndarray, step_sizes: np.ndarray | None = None) -> None:
        """Let linear models alone learn samples that everything has learned before; arguments as for `learn`.

        What has counted a sample's target, by its categories or words, predicts it too well. Networks that learned from
        such predictions would trust them too much.
        """
        (features, words), featurizer = features_and_words(samples), self.featurizer
        linear = featurizer.base_models.linear
        terms = linear.terms(features, words, featurizer.standardised(samples), featurizer.numbers)
        linear.learn(terms, self.targets.of_heads(targets, self.means), step_sizes)
        for network in self.networks:
            count_samples(network, targets.shape[-1])

    def target_batch(
        self,
        targets: np.ndarray,
        step_sizes: np.ndarray | None,
        rates: list[np.ndarray] | None = None,
        predicts: bool = False,
    ) -> tuple[TargetBatch, Units]:
        """What is learned from the next samples, and the units in which each of them is predicted before."""
        y, units = self.targets.learn(targets, self.means, predicts)
        counted = None if self.featurizer.encoding is None else self.targets.counted(targets, y)
        rates = self._rates(y.shape[1]) if rates is None else rates
        if step_sizes is not None:
            repeats = np.array([*map(repeats_of, step_sizes.tolist())], np.float32)
            sizes = np.minimum(step_sizes, repeats) / repeats
            rates = [ensemble_rates * sizes for ensemble_rates in rates]
        return TargetBatch(y, counted, rates, step_sizes), units

    def _rates(self, count: int) -> list[np.ndarray]:
        """The rates of the next samples, (M, count) for each ensemble."""
        rate, ensembles = self.learning_rate, self.ensembles
        if rate is None:
            return [ensemble.rates(count) for ensemble in ensembles]
        return [np.array([network.rates(count, rate) for network in ensemble.networks]) for ensemble in ensembles]

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def _grown(self, samples: Any, categorical: Set[int]) -> Any:
        """The featurizer with room for what is new in samples."""
        return self.featurizer.grown(samples, categorical, self.targets.count(self.means), self.targets.are_classes)

    def _grow(self, featurizer: Any) -> None:
        """Take over a featurizer that has grown, with networks, combinations and counts to match."""
        before = self.featurizer
        if featurizer is before:
            return

        def widened(ensemble: Ensemble) -> Ensemble:
            members = [featurizer.widened(member, before) for member in ensemble.members]
            return dataclasses.replace(ensemble, members=members)

        means, self.quantiles = widened(self.means), [widened(ensemble) for ensemble in self.quantiles]
        self.variances = None if self.variances is None else widened(self.variances)
        if means.mixes_linear and (new := featurizer.base_models.models - before.base_models.models):
            means.combination = means.combination.with_models(new)
        if self.counts is not None:
            self.counts = self.counts.widened(self.means.networks, means.networks)
        self.means, self.featurizer = means, featurizer

    def add_class(self) -> None:
        """Add a head for one more class."""
        count = int(self.means.members[0].network.step)
        members = [member._replace(network=add_class(member.network)) for member in self.means.members]
        self.means = dataclasses.replace(self.means, members=members)
        self._grow(self.featurizer.with_class(count))

    def with_outputs(self, kept: Sequence[int], new: int) -> Learner:
        """A learner of means alone, of the targets `kept`, in this order, and of `new` new ones."""
        members = [member._replace(network=with_outputs(member.network, kept, new)) for member in self.means.members]
        combination = self.means.combination and self.means.combination.with_targets(kept, new)
        means = dataclasses.replace(self.means, members=members, combination=combination)
        featurizer, counts = self.featurizer.with_outputs(kept, new), self.counts.with_outputs(kept, new)
        return dataclasses.replace(self, featurizer=featurizer, means=means, counts=counts)

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: Any, ensemble: Ensemble | None = None) -> np.ndarray:  # (F, B) -> (C, B)
        """Probabilities of each class against the rest, means, or what an ensemble of quantiles predicts."""
        ensemble = self.means if ensemble is None else ensemble
        if samples.shape[1] == 1 and fused.can_predict(self, samples):
            return self.targets.in_units(fused.predict(self, samples, ensemble)[0], ensemble)
        predicted = _by_chunks(lambda chunk: ensemble.predict(self.featurizer.transform(chunk)), samples)
        return self.targets.in_units(predicted, ensemble)

    def moments(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (T, B), (T, B)
        """Means and standard deviations of the targets; these are above 0 even if a target never varied."""
        assert self.variances is not None
        ensembles = self.means, self.variances

        def predict(chunk: Any) -> np.ndarray:
            blocks = self.featurizer.transform(chunk)
            return np.stack([self.targets.in_units(ensemble.predict(blocks), ensemble) for ensemble in ensembles])

        mean, variance = _by_chunks(predict, samples)
        return mean, np.maximum(np.sqrt(variance), LEAST_STD)

    def decision(self, samples: Any) -> np.ndarray:  # (F, B) -> (C, B)
        """Like `predict`, but logits instead of probabilities."""
        weights, _ = self.means.stacking_weights()

        def predict(chunk: Any) -> np.ndarray:
            predicted = self.means.run(self.featurizer.transform(chunk)).astype(np.float64)
            return weights.combine(self.means.mixed(predicted))

        return self.targets.in_units(_by_chunks(predict, samples), self.means)

    def explain(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:  # (F, B) -> (C, B, n), (C, B)
        """Contributions of features and a constant, which add up to the logits, or to means in the targets' units.

        A contribution compares the feature with its mean. Features are followed by the words of the samples, in the
        order of their numbers. A prediction is piecewise linear in the inputs of the networks, and these are sums over
        features, or nearly so: an expansion is of one feature, a mean of bins of one or two, with a half for each, and
        linear models are explained by themselves.
        """
        featurizer, ensemble, (features, words) = self.featurizer, self.means, features_and_words(samples)
        blocks, (weights, _) = featurizer.transform(samples), ensemble.stacking_weights()
        known = np.append(np.arange(features.shape[0]), features.shape[0] + np.unique(words.numbers))
        contributions = np.zeros((len(known), ensemble.heads, features.shape[1]))
        constant = np.zeros(contributions.shape[1:]) + weights.offsets[:, None]
        linear_slopes = np.zeros((ensemble.heads, blocks.linear.shape[0], features.shape[1]))
        for member, weight in zip(ensemble.members, weights.weights[:, :, None], strict=False):
            inputs, columns = map(dense, blocks.of(member))
            slopes, constants, _ = member.network.explain(inputs, columns)
            slopes = weight[:, None] * slopes.reshape(ensemble.heads, *inputs.shape)  # (C, K, B)
            _, input_features, at_mean = featurizer.inputs_of(member.role)
            linear, bound = (input_features[:, 0] < 0).sum(), member.network.bound
            linear_slopes[:, :linear] += slopes[:, :linear]
            halves = (slopes * (inputs.clip(-bound, bound) - at_mean))[:, linear:].swapaxes(0, 1) / 2
            for place in (0, 1):
                np.add.at(contributions, input_features[linear:, place], halves)
            constant += weight * constants + (slopes * at_mean).sum(axis=1)
        contributions = contributions.transpose(1, 2, 0)
        if ensemble.mixes_linear:
            heads = np.arange(ensemble.heads)
            for model, weight in enumerate(weights.weights[len(ensemble.members) :]):
                linear_slopes[heads, model * ensemble.heads + heads] += weight[:, None]
            all_columns = blocks.columns if blocks.memory is None else blocks.memory[1]
            arguments = all_columns, features, words, featurizer.numbers, featurizer.feature_of_columns, known
            of_linear, constant_of_linear = featurizer.base_models.explain(*arguments)
            contributions += np.einsum("clb,lbn->cbn", linear_slopes, of_linear)
            constant += np.einsum("clb,lb->cb", linear_slopes, constant_of_linear)
        return self.targets.scaled(contributions), self.targets.in_units(constant, self.means)

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def start_counting(self, heads: int = 1) -> None:
        """From now on, count which rows the learned samples pick: for each head if there are several, else in total."""
        self.counts = GateCounts.zeros(self.means.networks, heads)

    def scale_by(self, samples: Any, categorical: Set[int]) -> None:  # (F, B)
        """Have columns for the features and levels of samples, and standardise by them, too, but learn no more."""
        self._grow(self._grown(samples, categorical))
        encoding = self.featurizer.encoding
        self.featurizer.standardizer.learn_checked(samples if encoding is None else encoding.transform(samples))

    def predict_and_count(self, samples: Any) -> np.ndarray:  # (F, B) -> (2, C, B)
        """Predictions, and the mean count of the rows that samples pick, if these are counted for each head."""

        def predict(chunk: Any) -> np.ndarray:
            if fused.can_predict(self, chunk):
                predicted, counted = fused.predict(self, chunk)
                return np.array([self.targets.in_units(predicted, self.means), counted])
            contexts = self._contexts(self.featurizer.standardised(chunk))
            return np.array([self.predict(chunk), self.counts.mean(contexts)])

        return _by_chunks(predict, samples)

    def novelty(self, samples: Any) -> np.ndarray:  # (F, B) -> (B,)
        """How unlike the counted samples these are, in (0, 1]."""
        standardised = self.featurizer.standardised
        return _by_chunks(lambda chunk: self.counts.novelty(self._contexts(standardised(chunk))), samples)

    def _contexts(self, columns: Any) -> list[np.ndarray]:  # (D, B) -> M of (B, N)
        networks = self.means.networks
        return [network.contexts(columns if network.takes_sparse else dense(columns)) for network in networks]


def _by_chunks(function: Callable[[Any], np.ndarray], samples: Any) -> np.ndarray:
    """A function of samples (F, B), chunk by chunk to save memory; samples are the last axis of what it returns."""
    if samples.shape[1] <= CHUNK:
        return function(samples)
    return np.concatenate([function(samples[:, chunk]) for chunk in chunks(samples.shape[1])], axis=-1)
