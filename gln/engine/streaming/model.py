"""`StreamModel`: what learns a stream, one sample after another, with base models beside its networks.

Shapes: B samples, F features, C heads, N neurons of a network, K values that are predicted of a sample.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Sequence, Set
from typing import cast

import numpy as np

from gln.engine.base_models.least_squares import LeastSquares
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import SampleBatch
from gln.engine.ensemble.ensemble import FAST, SHALLOW, SLOW, STEADY, Ensemble, Role
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.model.builders import Losses, NetworkConfig, ensembles_of
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.model import NetworkModel, by_chunks
from gln.engine.model.targets import TARGETS, Numbers, TargetBatch, Targets
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.head_sampling import MANY_CLASSES, SAMPLED_HEADS
from gln.engine.networks.surgery import set_initial_logits, with_outputs
from gln.engine.saving import bad, saved
from gln.engine.streaming.featurizer import StreamFeaturizer
from gln.engine.streaming.step import CompiledStep, is_possible
from gln.engine.types import State

# Networks for streams: a slow and a fast one. Halfspaces that see at most 1, 3 or 4 features are about as good.
OF_STREAMS: State = {"layer_sizes": (64, 32), "n_networks": 2, "context_map_size": 5, "context_features": 2}


@saved(
    featurizer=StreamFeaturizer, targets=TARGETS, means=Ensemble, variances=(Ensemble, None), counts=(GateCounts, None)
)
@dataclasses.dataclass
class StreamModel(NetworkModel[StreamFeaturizer]):
    """Networks and base models, whose predictions a last neuron mixes."""

    compiled: CompiledStep | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "compiled": None}  # compiled code cannot be pickled

    def check(self) -> None:
        super().check()
        base_models = self.featurizer.base_models
        heads = self.means.heads
        base_models.check(self.featurizer.size, heads, self.means.free)
        expected = [[rows.shape for rows in GateCounts.zeros(self.means.networks, n).rows] for n in (1, heads)]
        counts_fit = self.counts is None or [rows.shape for rows in self.counts.rows] in expected
        if not counts_fit or base_models.linear.are_classes != (self.targets.link == "logit"):
            raise bad("counts", "those of the networks, and linear models of their targets", "others")

    def fits(self, ensemble: Ensemble) -> bool:
        is_of_means = ensemble is self.means
        if not super().fits(ensemble) or (ensemble.mixes_linear, ensemble.recent is None) != (is_of_means, is_of_means):
            return False
        if ensemble.free and (ensemble.config.record.heads != "num_classes" or ensemble.heads < 2):
            return False
        return ensemble.is_combined(self.featurizer.base_models.models if is_of_means else 1)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def grown_featurizer(self, samples: SampleBatch, categorical: Set[int]) -> StreamFeaturizer:
        if self.compiled is None and len(samples) == 1 and is_possible(self.means, samples):
            self.step()  # which compiles, before anything is learned, because this may fail
        return super().grown_featurizer(samples, categorical)

    def step(self) -> CompiledStep:
        """The compiled step of these sources, made anew only if something was replaced."""
        sources = self.featurizer, self.ensembles, self.counts
        if self.compiled is None or not self.compiled.is_of(*sources):
            self.compiled = CompiledStep.of(*sources)
        return self.compiled

    def learn_segment(self, samples: SampleBatch, batch: TargetBatch, predicts: bool) -> np.ndarray | None:  # (K, B)
        if len(samples) == 1 and not predicts and is_possible(self.means, samples):
            self.step().learn(samples, batch)
            return None
        return super().learn_segment(samples, batch, predicts)

    def follow(self, samples: SampleBatch, batch: TargetBatch) -> np.ndarray:  # -> (C, B)
        """Learn what another model learns of samples, in its units, and return the predictions before each."""
        rates = self.sized_rates(len(samples), batch.step_sizes)
        learned = batch._replace(counted=None, rates=rates, earlier=batch.earlier and batch.earlier[-1:])
        if len(samples) == 1 and not self.featurizer.is_warming_up and is_possible(self.means, samples):
            predicted, _ = self.step().predict(samples, 1)
            self.step().learn(samples, learned)
            return predicted
        return cast(np.ndarray, super().learn_segment(samples, learned, predicts=True))

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def grow(self, featurizer: StreamFeaturizer) -> None:
        """As of a `NetworkModel`; combinations and counts grow, too."""
        before = self.featurizer
        if featurizer is before:
            return
        networks = self.means.networks
        super().grow(featurizer)
        new = featurizer.base_models.models - before.base_models.models
        if new:
            self.means.combination = self.means.neuron.with_models(new)
        if self.counts is not None:
            self.counts = self.counts.widened(networks, self.means.networks)

    def with_columns(self, size: int) -> StreamModel:
        """A model of so many features, all of them numbers, the new ones last."""
        model = copy.copy(self)
        model.grow(self.featurizer.grown(SampleBatch.of(np.empty((size, 0))), frozenset(), 0, False))
        return model

    def with_class(self) -> StreamModel:
        """A model of one more class."""
        model = copy.copy(self)
        model.add_classes(np.array([self.targets.count(self.means)]))
        return model

    def with_outputs(self, kept: Sequence[int], new: int) -> StreamModel:
        """A model of means alone, of the targets `kept`, in this order, and of `new` new ones."""
        members = [member._replace(network=with_outputs(member.network, kept, new)) for member in self.means.members]
        combination = self.means.neuron.with_targets(kept, new)
        means = dataclasses.replace(self.means, members=members, combination=combination)
        counts = None if self.counts is None else self.counts.with_outputs(kept, new)
        return dataclasses.replace(self, featurizer=self.featurizer.with_outputs(kept, new), means=means, counts=counts)

    def with_targets(self, new: int) -> StreamModel:
        """A model of so many more targets, each with a scale and statistics of its own."""
        model = self.with_outputs(range(self.means.heads), new)
        model.targets = copy.deepcopy(self.targets)
        cast(Numbers, model.targets).standardizer.grow(self.means.heads + new)
        featurizer = model.featurizer.with_targets(new)
        model.featurizer = self.featurizer
        model.grow(featurizer)
        return model

    def scale_by(self, samples: SampleBatch, categorical: Set[int]) -> None:
        """Have columns for the features and levels of samples, and standardise by them, too, but learn no more."""
        self.grow(self.grown_featurizer(samples, categorical))
        features = samples.features
        encoding = self.featurizer.encoding
        self.featurizer.standardizer.learn_checked(features if encoding is None else encoding.transform(features))

    def with_first_features(self, fresh: StreamModel) -> StreamModel:
        """A fresh model that knows what this one has learned from words, since its networks read nothing so far."""
        old = self.featurizer.base_models
        new = fresh.featurizer.base_models
        if fresh.means.heads != self.means.heads:
            return self
        new.linear = old.linear.with_crosses() if new.linear.models > old.linear.models else old.linear
        fresh.targets = self.targets
        return fresh

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def predicted(self, samples: SampleBatch, ensembles: int) -> np.ndarray:
        if len(samples) == 1 and is_possible(self.means, samples):
            return self.step().predict(samples, ensembles)[0]
        return super().predicted(samples, ensembles)

    def scaled_model_predictions(self, samples: SampleBatch) -> list[np.ndarray]:
        if len(samples) != 1 or not is_possible(self.means, samples):
            return super().scaled_model_predictions(samples)
        return self.step().model_predictions(samples)

    # ---- Counting ----------------------------------------------------------------------------------------------------

    def start_counting(self, heads: int = 1) -> None:
        """From now on, count which rows the learned samples pick: for each head if there are several, else in total."""
        self.counts = GateCounts.zeros(self.means.networks, heads)

    def predict_and_count(self, samples: SampleBatch, heads: Sequence[int] | None = None) -> np.ndarray:
        """Predictions of some heads, or all, and the mean count of the rows that samples pick, (2, C, B).

        Rows are counted for each head. Predictions have no limits, at which those of several arms would be equal.
        """
        counts = self.counts
        chosen = slice(None) if heads is None else np.array(heads, int)
        targets = np.full((self.means.heads, 1), np.inf, np.float32)
        targets[chosen] = np.nan
        assert counts is not None

        def predict(chunk: SampleBatch) -> np.ndarray:
            if is_possible(self.means, chunk):
                predicted, counted = self.step().predict(chunk, 1, targets.repeat(len(chunk), axis=1))
            else:
                predicted = self.predicted(chunk, 1)
                counted = counts.mean(self.contexts(self.featurizer.standardised(chunk)))
            return np.array([self.targets.units.of(predicted), counted])[:, chosen]

        return by_chunks(predict, samples)


def stream_config(
    layer_sizes: Sequence[int], context_map_size: int, context_bias: float, backend: str | type, seed: int | None
) -> NetworkConfig:
    """What the networks of a stream have in common."""
    arguments = {"layer_sizes": layer_sizes, "context_map_size": context_map_size, "context_bias": context_bias}
    arguments["context_features"] = OF_STREAMS["context_features"]
    return NetworkConfig(backend, arguments, functools.partial(_seeds, seed))


def _seeds(seed: int | None, count: int) -> list[int]:
    return np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=count).tolist()


def stream_roles(has_names: bool, has_slow: bool = True, networks: int = OF_STREAMS["n_networks"]) -> list[Role]:
    """Slow and fast networks alternate; shallow ones are last.

    A steady one lowers the log-loss of streams with names or words by up to .008, those of numbers alone not at all.
    """
    roles = [*(networks * [SLOW, FAST])[:networks], SHALLOW, *(has_names * [STEADY])]
    return [role for role in roles if has_slow or role != SLOW]


def build_stream(
    config: NetworkConfig,
    first: Featurizer,
    targets: Targets,
    roles: Sequence[Role],
    losses: Losses,
    least_squares: bool = False,
) -> StreamModel:
    """A new model, whose base models are linear models and means of bins or, instead of these, `least_squares`.

    `first` makes the columns.
    """
    outputs = losses.means.get("num_classes") or losses.means.get("num_outputs", 1)
    heads = 1 if targets.are_classes and outputs == 2 else outputs
    numbers = first.numbers[first.numbers >= 0].tolist()
    crosses = first.encoding is not None
    are_logits = targets.link == "logit"
    uses_bins = not least_squares
    base_models = OnlineBaseModels.start(numbers, heads, are_logits, crosses, uses_bins)
    base_models.least_squares = LeastSquares.start(heads, first.size) if least_squares else None
    featurizer = StreamFeaturizer(first.standardizer, first.encoding, base_models=base_models)
    model = StreamModel(featurizer, targets, *ensembles_of(config, featurizer, roles, losses))
    model.means.mixes_linear = True
    if outputs >= MANY_CLASSES and targets.are_classes:
        for network in model.means.networks:
            set_initial_logits(network, np.full(outputs, -math.log(SAMPLED_HEADS)))
    model.means.combination = model.means.equal_combination(base_models.models)
    if model.variances is not None:
        model.variances.shape = JohnsonSU.normal(heads)
        model.variances.recent = np.ones(heads)
        model.variances.combination = model.variances.equal_combination(1)
    return model
