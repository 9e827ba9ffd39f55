"""`NetworkModel`, what models of tables and of streams are: a featurizer, targets, and ensembles of networks.

Shapes: B samples, F features, D columns made from them, C heads, T targets, M networks of an ensemble, K inputs of a
network, L predictions of linear models, n features and words.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Set
from typing import Generic, NamedTuple, TypeVar, cast

import numpy as np

from gln.engine.batches import CHUNK, Matrix, SampleBatch, Steps, chunks, dense, steps_of
from gln.engine.ensemble.ensemble import Ensemble, NetworkInputs
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.model.featurizer import Featurizer, InputSpec
from gln.engine.model.targets import TargetBatch, Targets, Units
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.protocol import Network, Rate
from gln.engine.networks.surgery import add_class
from gln.engine.parallel import in_threads

F = TypeVar("F", bound=Featurizer)
DAY = 100  # samples whose labels come together


@dataclasses.dataclass
class NetworkModel(Generic[F]):
    """Predicts and learns samples: columns of numbers with NaN for a missing value, and codes for categories."""

    featurizer: F
    targets: Targets
    means: Ensemble  # predicts the probabilities of classes, or means of numbers
    variances: Ensemble | None = None  # of all targets
    learning_rate: Rate | None = None  # None: the rates of streams
    counts: GateCounts | None = None  # of the networks of the means, if somebody asks for them

    @property
    def ensembles(self) -> list[Ensemble]:
        return [self.means] if self.variances is None else [self.means, self.variances]

    @property
    def networks(self) -> list[Network]:
        return list(itertools.chain(*(ensemble.networks for ensemble in self.ensembles)))

    @property
    def shape(self) -> JohnsonSU:
        """The shape of densities; normal if nothing else was learned."""
        return (self.variances and self.variances.shape) or JohnsonSU.normal(self.means.heads)

    def sizes(self, categorical: Set[int]) -> tuple[int, Set[int], int]:
        """The number of features, those that are categories, and the number of classes, 0 for numbers."""
        featurizer = self.featurizer
        classes = self.targets.count(self.means) * self.targets.are_classes
        return len(featurizer.numbers), featurizer.categorical, classes

    def set_learning_rate(self, rate: Rate | None) -> None:
        """Set the learning rate of this model and of its networks, for which None is their own default."""
        for network in self.networks:
            network.set_learning_rate(rate)
        self.learning_rate = rate

    # ---- Parts of a file ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together: compiled loops do not check."""
        self.featurizer.check()
        targets = self.targets
        encoding = self.featurizer.encoding
        heads = self.means.heads
        kinds = [(ensemble.config.record.heads, ensemble.link) for ensemble in self.ensembles]
        expected = [(targets.heads_argument, targets.link), ("num_outputs", "log")][: len(kinds)]
        if not (
            kinds == expected
            and targets.fits(heads, encoding)
            and all(ensemble.heads == heads and self.fits(ensemble) for ensemble in self.ensembles)
            and len(self.shape.skew) == heads
            and (np.diff(self.shape.probits) > 0).all()
        ):
            raise ValueError("learner: expected networks, standardizers and counts of one size, got several")

    def fits(self, ensemble: Ensemble) -> bool:
        """Whether the networks of an ensemble are of the inputs of the featurizer, and of one kind."""
        sizes = [(network.base_size, network.config.context_size) for network in ensemble.networks]
        spec_of = self.featurizer.spec_of
        size = self.featurizer.size
        roles = [member.role for member in ensemble.members]
        if sizes != [(len(spec_of(role).names), size) for role in roles]:
            return False
        configs = [network.config for network in ensemble.networks]
        return len({(config.loss, config.num_heads) for config in configs}) == 1

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(
        self,
        samples: SampleBatch,
        targets: np.ndarray,
        step_sizes: Steps = None,
        categorical: Set[int] = frozenset(),
        predicts: bool = True,
        earlier: np.ndarray | None = None,
        late: bool = False,
    ) -> list[np.ndarray]:
        """Predict samples and then learn them, one after another.

        Everything grows when a class, a feature or one of the first levels of a category is new. Predictions stay the
        same until the networks learn about it.

        Args:
            samples: New features come last.
            targets: (B,) class numbers from 0, or (T, B) numbers or labels.
            step_sizes: (B,), how long a step each sample makes, at least 0. None is 1, a whole step.
            categorical: the features that are categories.
            predicts: whether to return predictions. With many classes, predicting takes longer than learning.
            earlier: (M, C, B), what `model_predictions` returned before labels came; NaN or None: models predict now.
            late: whether labels came together, so that samples are to be predicted before any of their neighbours is
                learned: a hundred at a time, since many more are rather a part of the history than one day.

        Returns a list of means or probabilities (C, n), equal to those of `predict`; empty without `predicts`.
        Raises ValueError for a wrong shape, and a target out of range; nothing has changed then. Whether a rate is in
        range must be told by `check_rates` before.
        """
        self.targets.check(targets, len(samples), self.means.heads)
        self.grow(self.grown_featurizer(samples, categorical))
        self.add_classes(targets)
        predicted: list[np.ndarray] = []
        for segment in chunks(len(samples), DAY if late else CHUNK):
            steps = None if step_sizes is None else step_sizes[segment]
            before = None if earlier is None else earlier[..., segment]
            if late:
                before = self.model_predictions(samples.take(segment))
            batch, units = self.target_batch(targets[..., segment], steps, predicts, before)
            values = self.learn_segment(samples.take(segment), batch, predicts)
            if values is not None and predicts:
                predicted.append(units.limited(values[: self.means.heads]))
        return predicted

    def progressive(
        self,
        samples: SampleBatch,
        targets: np.ndarray,
        step_sizes: Steps,
        categorical: Set[int],
        predicts: bool = True,
        earlier: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Learn samples, of known features, to the last bit as if each came alone.

        Returns `outputs` of samples that follow one another, (K, n), each before it was learned, which may have more
        values as classes are added; nothing unless this `predicts`.
        """
        predicted: list[np.ndarray] = []
        for rows, is_new in self._segments(samples, targets, predicts):
            segment = samples.take(rows)
            steps = None if step_sizes is None else step_sizes[rows]
            before = None if earlier is None else earlier[..., rows]
            if predicts and not is_new:
                batch, units = self.target_batch(targets[..., rows], steps, predicts=True, earlier=before)
                values = self.learn_segment(segment, batch, predicts=True)
                predicted.append(self._outputs(cast(np.ndarray, values), units))
            else:
                predicted += [self.outputs(segment)] if predicts else []
                self.learn(segment, targets[..., rows], steps, categorical, predicts=False, earlier=before)
        return predicted

    def _segments(self, samples: SampleBatch, targets: np.ndarray, predicts: bool) -> Iterator[tuple[slice, bool]]:
        """Rows to learn together, and whether the first of them may bring something new.

        If something is predicted, such a row comes alone, as the model adapts to it. What comes next depends on what
        has been learned, so each segment is to be learned before the next one is asked for.
        """
        for part in self.parts(samples, targets):
            first = part.start
            while first < part.stop:
                is_new = first == part.start or self.featurizer.is_warming_up
                rows = slice(first, first + 1 if is_new and predicts else min(first + CHUNK, part.stop))
                yield rows, is_new
                first = rows.stop

    def parts(self, samples: SampleBatch, targets: np.ndarray) -> list[slice]:
        """Parts of these samples of which only the first sample brings a new class, or a level that becomes a column.

        Raises ValueError for targets that cannot be learned, because an error in a later part would come too late.
        """
        count = len(samples)
        if count == 1:
            return [slice(0, 1)]
        self.targets.check(targets, count, self.means.heads)
        starts = {0, *self.targets.starts(targets, self.means)}
        if self.featurizer.encoding is not None:
            starts.update(self.featurizer.encoding.starts(samples.features))
        return [slice(*pair) for pair in itertools.pairwise([*sorted(starts), count])]

    def learn_segment(self, samples: SampleBatch, batch: TargetBatch, predicts: bool) -> np.ndarray | None:  # (K, B)
        """Learn samples of which none brings anything new. Returns what `predicted` does before each, if needed."""
        read = self.featurizer.learn(samples, batch)
        y = batch.targets
        steps = batch.step_sizes
        if self.counts is not None:
            self.counts.learn(self.contexts(read.columns), y)
        earlier = [None, None] if batch.earlier is None else batch.earlier
        means = self.means.learn(read, y, batch.rates[0], steps, earlier[0])
        if self.variances is None:
            return means
        deviations = self.variances.deviations(y, means)
        variances = self.variances.learn(read, deviations, batch.rates[1], steps, earlier[1])
        assert batch.at_limits is not None
        shapes = self.variances.follow_shape((y - means) / np.sqrt(variances), batch.at_limits, steps)
        return np.concatenate([means, variances, shapes])

    def contexts(self, columns: Matrix) -> list[np.ndarray]:  # (D, B) -> M of (B, N)
        """The contexts of the networks of means."""
        return [network.contexts(dense(columns)) for network in self.means.networks]

    def target_batch(
        self, targets: np.ndarray, step_sizes: Steps, predicts: bool = False, earlier: np.ndarray | None = None
    ) -> tuple[TargetBatch, Units]:
        """What is learned from the next samples, and the units in which each of them is predicted before."""
        step_sizes = None if step_sizes is None else step_sizes.astype(np.float32)
        y, units = self.targets.learn(targets, self.means, predicts)
        counted = None if self.featurizer.encoding is None else self.targets.counted(targets, y)
        rates = self.sized_rates(y.shape[1], step_sizes)
        standardised = None if earlier is None else self._standardised(earlier, units)
        at_limits = None if self.variances is None else units.at_limits(targets)
        return TargetBatch(y, counted, rates, step_sizes, standardised, at_limits), units

    def sized_rates(self, count: int, step_sizes: Steps) -> list[np.ndarray]:
        """The rates of the next samples times the size of their steps, (M, count) for each ensemble."""
        rates = self.rates(count)
        if step_sizes is None:
            return rates
        _, sizes = steps_of(step_sizes)
        return [ensemble_rates * sizes for ensemble_rates in rates]

    def check_rates(self, count: int) -> None:
        """Raise ValueError if a learning rate that is a callable fails in one of the next steps of a network."""
        if callable(self.learning_rate):
            self.rates(count)

    def rates(self, count: int) -> list[np.ndarray]:
        """The rates of the next samples, (M, count) for each ensemble."""
        rate = self.learning_rate
        ensembles = self.ensembles
        if rate is None:
            return [ensemble.rates(count) for ensemble in ensembles]
        return [np.array([network.rates(count, rate) for network in ensemble.networks]) for ensemble in ensembles]

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grown_featurizer(self, samples: SampleBatch, categorical: Set[int]) -> F:
        """The featurizer with room for what is new in samples."""
        return self.featurizer.grown(samples, categorical, self.targets.count(self.means), self.targets.are_classes)

    def grow(self, featurizer: F) -> None:
        """Take over a featurizer that has grown, with networks to match."""
        before = self.featurizer
        if featurizer is before:
            return

        def widened(ensemble: Ensemble) -> Ensemble:
            members = [featurizer.widened(member, before) for member in ensemble.members]
            return dataclasses.replace(ensemble, members=members)

        self.means = widened(self.means)
        self.variances = None if self.variances is None else widened(self.variances)
        self.featurizer = featurizer

    def add_classes(self, targets: np.ndarray) -> None:
        """Add heads for classes that are new."""
        while self.targets.starts(targets, self.means):
            classes = 1 + self.targets.count(self.means)
            self.grow(self.featurizer.with_class(int(self.means.networks[0].step)))  # first, as it may read less then
            room = self.featurizer.room(classes)
            members = self.means.members
            combination = self.means.combination
            new = room - max(2, self.means.networks[0].config.num_heads)
            if new > 0:
                members = [member._replace(network=add_class(member.network, count=new)) for member in members]
            combination = combination and combination.with_class()
            free = room - classes
            self.means = dataclasses.replace(self.means, members=members, combination=combination, free=free)

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predict(self, samples: SampleBatch) -> np.ndarray:  # -> (C, B)
        """Probabilities of each class against the rest, or means."""
        return self.targets.units.limited(self.predicted(samples, 1))

    def moments(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray]:  # -> (T, B), (T, B)
        """Means and standard deviations of the targets."""
        predicted = self.predicted(samples, 2)
        heads = self.means.heads
        units = self.targets.units
        return units.limited(predicted[:heads]), units.stds(predicted[heads : 2 * heads])

    def model_predictions(self, samples: SampleBatch) -> np.ndarray | None:  # -> (M, C, B)
        """What the models of all ensembles predict, in the targets' units; None if there is nothing to combine.

        Who learns a sample later than it was predicted gives this to `learn`: what the models would say then, after the
        labels of its neighbours, does not tell how good they are at predicting.
        """
        return self._in_units(self.scaled_model_predictions(samples))

    def scaled_model_predictions(self, samples: SampleBatch) -> list[np.ndarray]:  # of each ensemble (M, C, B)
        """As `model_predictions`, in the networks' units."""

        def predict(chunk: SampleBatch) -> np.ndarray:
            read = self.featurizer.transform(chunk)
            return np.concatenate([ensemble.run(read) for ensemble in self.ensembles])

        return np.split(by_chunks(predict, samples), [self.means.models])[: len(self.ensembles)]

    def predict_with_models(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray | None]:  # -> (K, B), (M, C, B)
        """What `outputs` and `model_predictions` return, by one run of the networks."""
        predicted = self.scaled_model_predictions(samples)
        return self._outputs(self.combined(predicted), self.targets.units), self._in_units(predicted)

    def combined(self, predicted: list[np.ndarray]) -> np.ndarray:  # of each ensemble (M, C, B) -> (C, B) or (2 T, B)
        """What all ensembles predict, from what their models do."""
        pairs = zip(self.ensembles, predicted, strict=True)
        return np.concatenate([ensemble.combined(values) for ensemble, values in pairs])

    def _in_units(self, predicted: list[np.ndarray]) -> np.ndarray | None:  # of each ensemble (M, C, B) -> of all
        if self.means.combination is None:
            return None
        units = self.targets.units
        means, *variances = predicted
        return np.concatenate([units.of(means), *(values * np.square(units.unit) for values in variances)])

    def _standardised(self, earlier: np.ndarray, units: Units) -> list[np.ndarray]:
        """Earlier predictions for each ensemble, by models and heads of today."""
        means, variances = np.split(self.sized_for_today(earlier), [self.means.models])
        if self.variances is None:
            return [units.standardised(means)]
        known = np.where(variances > 0, variances, np.nan)  # 0 is of a target that had not varied
        return [units.standardised(means), known / units.unit_of_variances]

    def sized_for_today(self, earlier: np.ndarray) -> np.ndarray:
        """Earlier predictions, with NaN for models and heads that were not there then: these predict now."""
        if earlier.shape[1] == 1 < self.means.heads and self.targets.are_classes:  # of the second of two classes
            earlier = np.concatenate([1 - earlier, earlier], axis=1)
        models = sum(ensemble.models for ensemble in self.ensembles)
        means = len(earlier)  # of which new models are
        if self.variances is not None:
            means -= self.variances.models
        if len(earlier) > models or earlier.shape[1] > self.means.heads:  # of another model
            return np.full((models, self.means.heads, earlier.shape[2]), np.nan)
        earlier = np.insert(earlier, [means] * (models - len(earlier)), np.nan, axis=0)
        return np.pad(earlier, [(0, 0), (0, self.means.heads - earlier.shape[1]), (0, 0)], constant_values=np.nan)

    def predicted(self, samples: SampleBatch, ensembles: int) -> np.ndarray:  # -> (C, B) or (2 T, B)
        """What the first so many ensembles predict."""

        def predict(chunk: SampleBatch) -> np.ndarray:
            read = self.featurizer.transform(chunk)
            return np.concatenate([ensemble.predict(read) for ensemble in self.ensembles[:ensembles]])

        return by_chunks(predict, samples)

    def outputs(self, samples: SampleBatch, ensembles: int = 2) -> np.ndarray:  # -> (K, B)
        """Probabilities or means and, of two ensembles, standard deviations, shapes of densities, and limits."""
        return self._outputs(self.predicted(samples, min(ensembles, len(self.ensembles))), self.targets.units)

    def _outputs(self, predicted: np.ndarray, units: Units) -> np.ndarray:  # of `predicted`, or of `learn_segment`
        heads = self.means.heads
        count = predicted.shape[1]
        predicted[:heads] = units.limited(predicted[:heads])
        if len(predicted) == heads:
            return predicted
        predicted[heads : 2 * heads] = units.stds(predicted[heads : 2 * heads])
        shapes = [self.shape.rows.repeat(count, axis=1)] if len(predicted) == 2 * heads else []  # the same for all
        limits = [np.broadcast_to(limit, (heads, count)) for limit in units.limits]
        return np.concatenate([predicted, *shapes, *limits])

    def decision(self, samples: SampleBatch) -> np.ndarray:  # -> (C, B)
        """Like `predict`, but logits instead of probabilities."""
        weights = self.means.weighted_sum()

        def predict(chunk: SampleBatch) -> np.ndarray:
            predicted = self.means.run(self.featurizer.transform(chunk)).astype(np.float64)
            return weights.combine(self.means.mixed(predicted))

        return self.targets.units.of(by_chunks(predict, samples))

    def explain(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray]:  # -> (C, B, n), (C, B)
        """Contributions of features and a constant, which add up to the logits, or to means in the targets' units
        without limits.

        A contribution compares the feature with its mean. Features are followed by the words of the samples, in the
        order of their numbers. A prediction is piecewise linear in the inputs of the networks, and these are sums over
        features, or nearly so: an expansion is of one feature, a mean of bins of one or two, with a half for each, and
        linear models are explained by themselves.
        """
        contributions, constant = self.contributions(samples)
        units = self.targets.units
        return contributions * np.expand_dims(units.unit, -1), units.of(constant)

    def contributions(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray]:  # -> (C, B, n), (C, B)
        """As `explain`, in the networks' units."""
        size = samples.features.shape[0]
        known = np.append(np.arange(size), size + np.unique(samples.words.numbers))
        read = self.featurizer.transform(samples)
        weights, offsets = self.means.weighted_sum()
        contributions = np.zeros((len(known), self.means.heads, len(samples)))
        constant = np.zeros(contributions.shape[1:]) + offsets[:, None]
        linear_slopes = np.zeros((self.means.heads, read.linear.shape[0], len(samples)))
        for member, weight in zip(self.means.members, weights[:, :, None], strict=False):
            spec = self.featurizer.spec_of(member.role)
            explained = explain_network(member.network, read, spec, weight, self.means.heads)
            explained.add_to(contributions, linear_slopes, spec)
            constant += explained.at_mean
        self._add_weights(linear_slopes, weights[len(self.means.members) :])
        by_model, constants = self.featurizer.explain_linear(read.columns, samples, known)
        contributions = contributions.transpose(1, 2, 0)
        contributions += np.einsum("clb,lbn->cbn", linear_slopes, by_model)
        constant += np.einsum("clb,lb->cb", linear_slopes, constants)
        return contributions, constant

    def _add_weights(self, linear_slopes: np.ndarray, weights: np.ndarray) -> None:  # (C, L, B), (models, C)
        """Add the weights of linear models, or of a stream, which the last neuron mixes itself."""
        heads = np.arange(self.means.heads)
        for model, weight in enumerate(weights):
            linear_slopes[heads, model * len(heads) + heads] += weight[:, None]


class ExplainedNetwork(NamedTuple):
    """What a network says of samples, by its inputs and times its weight, without free heads."""

    slopes: np.ndarray  # (C, K, B)
    moved: np.ndarray  # (C, K, B), what the inputs add by their distance from the mean
    at_mean: np.ndarray  # (C, B)

    def add_to(self, contributions: np.ndarray, linear_slopes: np.ndarray, spec: InputSpec) -> None:
        """Add to the contributions of features, (n, C, B), and to the slopes of linear models, (C, L, B)."""
        linear = (spec.features[:, 0] < 0).sum()  # predictions of linear models, which come first
        linear_slopes[:, :linear] += self.slopes[:, :linear]
        halves = self.moved[:, linear:].swapaxes(0, 1) / 2
        for features in spec.features[linear:].T:
            np.add.at(contributions, features, halves)


def explain_network(
    network: Network, read: NetworkInputs, spec: InputSpec, weight: np.ndarray, heads: int
) -> ExplainedNetwork:  # weight: (C, 1), or (1, 1) for all heads
    inputs, columns = map(dense, read.of(network))
    slopes, constants, _ = network.explain(inputs, columns)
    slopes = weight[:, None] * slopes.reshape(-1, *inputs.shape)[:heads]
    bound = network.config.bound
    moved = slopes * (inputs.clip(-bound, bound) - spec.at_mean)
    at_mean = weight * np.atleast_2d(constants)[:heads] + (slopes * spec.at_mean).sum(axis=1)
    return ExplainedNetwork(slopes, moved, at_mean)


def by_chunks(function: Callable[[SampleBatch], np.ndarray], samples: SampleBatch) -> np.ndarray:
    """A function of samples, chunk by chunk in threads; samples are the last axis of what it returns."""
    if len(samples) <= CHUNK:
        return function(samples)
    parts = in_threads(lambda chunk: function(samples.take(chunk)), [(chunk,) for chunk in chunks(len(samples))])
    return np.concatenate([*parts], axis=-1)
