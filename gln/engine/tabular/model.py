"""`TableModel`: networks that learned a table in several passes, and may learn further samples as a stream.

Shapes: B samples, C heads, M models, K values that are predicted of a sample.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from gln.engine.batches import SampleBatch
from gln.engine.ensemble.ensemble import COLUMNS, EXPANDED, Ensemble, Member
from gln.engine.model.builders import Losses, NetworkConfig, ensembles_of
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.model import NetworkModel
from gln.engine.model.targets import TARGETS, Classes, Targets, Units
from gln.engine.networks.head_sampling import MANY_CLASSES
from gln.engine.networks.protocol import Network, Rate
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer, Unscaled
from gln.engine.saving import saved
from gln.engine.streaming.model import OF_STREAMS, StreamModel, build_stream, stream_config, stream_roles
from gln.engine.tabular.inputs import PlainFeaturizer, TableFeaturizer


@saved(featurizer=(TableFeaturizer, PlainFeaturizer), targets=TARGETS, means=Ensemble, variances=(Ensemble, None))
@dataclasses.dataclass
class TableModel(NetworkModel[TableFeaturizer | PlainFeaturizer]):
    """Networks of several roles, mixed by a last neuron that starts with how well each predicted what it left out."""

    @classmethod
    def start(
        cls,
        config: NetworkConfig,
        networks: int,
        losses: Losses,
        featurizer: TableFeaturizer | PlainFeaturizer,
        targets: Targets,
    ) -> TableModel:
        """Before the first row. Half of the networks also mix expansions and bin means, if there are any."""
        expands = len(featurizer.spec_of(EXPANDED).names) > len(featurizer.spec_of(COLUMNS).names)
        expanded = -(-networks // 2) if expands else 0
        roles = [COLUMNS] * (networks - expanded) + [EXPANDED] * expanded
        return cls(featurizer, targets, *ensembles_of(config, featurizer, roles, losses))

    @classmethod
    def of_network(cls, network: Network, scaler: Standardizer | None, learning_rate: Rate | None) -> TableModel:
        """For one network of classes that reads samples as they are, or as a scaler gives them."""
        featurizer = PlainFeaturizer(Unscaled(network.config.context_size) if scaler is None else scaler)
        return cls(featurizer, Classes(), Ensemble([Member(network)]), learning_rate=learning_rate)

    def set_learning_rate(self, rate: Rate | None) -> None:
        super().set_learning_rate(rate)
        if self.stream is not None:
            self.stream.set_learning_rate(rate)

    @property
    def stream(self) -> StreamModel | None:
        """What learns beside the networks since the table goes on."""
        return getattr(self.featurizer, "stream", None)

    def fits(self, ensemble: Ensemble) -> bool:
        has_stream = ensemble is self.means and self.stream is not None
        if ensemble.mixes_linear != has_stream or ensemble.recent is not None or ensemble.free:
            return False
        if not super().fits(ensemble):
            return False
        return len(ensemble.members) == 1 if ensemble.combination is None else ensemble.is_combined(int(has_stream))

    def learn(self, samples: SampleBatch, targets: np.ndarray, *options: Any, **others: Any) -> list[np.ndarray]:
        """As of a `NetworkModel`. After a table, networks of each kind go on at several paces."""
        self.go_on()
        return super().learn(samples, targets, *options, **others)

    def go_on(self) -> None:
        """Before the first rows that follow the table: networks take their paces, and the stream begins."""
        paced = self.means.after_table()
        if paced is self.means:  # a single network, or one that has gone on
            return
        self.means = paced
        self.variances = self.variances and self.variances.after_table()
        if not isinstance(self.featurizer, TableFeaturizer) or self.targets.count(paced) >= MANY_CLASSES:
            return
        stream = stream_beside(paced, self.featurizer, self.targets)
        stream.learning_rate = self.learning_rate
        self.featurizer = dataclasses.replace(self.featurizer, stream=stream)
        self.means.combination = paced.neuron.with_rival()
        self.means.mixes_linear = True

    def model_predictions(self, samples: SampleBatch) -> np.ndarray | None:  # -> (M, C, B)
        """As of a `NetworkModel`, followed by what the models of the stream predict."""
        return self._with_stream(super().model_predictions(samples), samples)

    def predict_with_models(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray | None]:  # -> (K, B), (M, C, B)
        outputs, earlier = super().predict_with_models(samples)
        return outputs, self._with_stream(earlier, samples)

    def _with_stream(self, earlier: np.ndarray | None, samples: SampleBatch) -> np.ndarray | None:
        if self.stream is None or earlier is None:
            return earlier
        columns = SampleBatch.of(self.featurizer.standardised(samples))
        return np.concatenate([earlier, *self.stream.scaled_model_predictions(columns)])

    def _standardised(self, earlier: np.ndarray, units: Units) -> list[np.ndarray]:
        earlier = self.sized_for_today(earlier)
        if self.stream is None:
            return super()._standardised(earlier, units)
        models = self.stream.means.models
        return [*super()._standardised(earlier[:-models], units), earlier[-models:]]

    def sized_for_today(self, earlier: np.ndarray) -> np.ndarray:
        """As of a `NetworkModel`; those of the stream did not say anything before it began."""
        models = sum(ensemble.models for ensemble in self.ensembles)
        if self.stream is None or len(earlier) == models:
            return super().sized_for_today(earlier)
        inner = self.stream.means.models
        has_inner = len(earlier) == models + inner
        by_table = super().sized_for_today(earlier[:-inner] if has_inner else earlier)
        by_stream = np.full((inner, *by_table.shape[1:]), np.nan)
        if has_inner and earlier.shape[1] == by_table.shape[1]:  # else a class is new
            by_stream = earlier[-inner:]
        return np.concatenate([by_table, by_stream])


def stream_beside(means: Ensemble, featurizer: TableFeaturizer, targets: Targets) -> StreamModel:
    """A new stream of the columns of a table, of whose ensemble it takes the loss, the backend and the seed."""
    network = means.networks[0]
    sizes = OF_STREAMS["layer_sizes"], OF_STREAMS["context_map_size"]
    config = stream_config(*sizes, network.config.context_bias, type(network), network.config.seed)
    heads = max(2, means.heads) if targets.are_classes else means.heads
    losses = Losses({means.config.record.heads: heads, "loss": network.config.loss})
    first = Featurizer(Standardizer(featurizer.size, **OF_FEATURES))
    roles = stream_roles(has_names=featurizer.encoding is not None)
    return build_stream(config, first, copy.deepcopy(targets), roles, losses)  # which stand still: the table's go on
