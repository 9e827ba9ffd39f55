"""What networks read of a stream: base models learn it, too, and some networks mix their predictions.

Shapes: B samples, F features, D columns made from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import Matrix, SampleBatch
from gln.engine.ensemble.ensemble import NetworkInputs
from gln.engine.model.featurizer import Featurizer, InputSpec
from gln.engine.model.targets import TargetBatch
from gln.engine.preprocessing.scaling import Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.saving import saved

MOST_LINEAR = 64  # predictions of linear models that a network reads; with many classes, each head would read them all


@saved(standardizer=Standardizer, encoding=(TargetEncoding, None), base_models=OnlineBaseModels)
@dataclasses.dataclass
class StreamFeaturizer(Featurizer):
    """Columns, and what base models predict."""

    base_models: OnlineBaseModels = dataclasses.field(kw_only=True)

    def inputs(self, columns: Matrix, samples: SampleBatch, batch: TargetBatch | None = None) -> NetworkInputs:
        learned = () if batch is None else (batch.targets, batch.step_sizes)
        inputs = self.base_models.predict(columns, samples, self.numbers, *learned)[self.size :]
        return NetworkInputs(columns, inputs, inputs[: self.base_models.linear_size])

    def explain_linear(
        self, columns: Matrix, samples: SampleBatch, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:  # (D, B), (n,) -> (L, B, n), (L, B)
        return self.base_models.explain(columns, samples, self.numbers, self.feature_of_columns, known)

    def _more_specs(self) -> dict[str, InputSpec]:
        linear, bin_means = self.base_models.names()
        linear = linear if len(linear) <= MOST_LINEAR else []
        features = self.feature_of_columns[self.base_models.bin_means.features]
        return {
            "linear": InputSpec.of(linear, np.full(len(linear), -1)),
            "bin_means": InputSpec.of(bin_means, features),
        }

    def with_class(self, count: int) -> StreamFeaturizer:
        grown = super().with_class(count)
        return dataclasses.replace(grown, base_models=grown.base_models.with_class(count))

    def room(self, classes: int) -> int:
        return self.base_models.bin_means.heads

    def with_outputs(self, kept: Sequence[int], new: int) -> StreamFeaturizer:
        """With base predictions of the targets `kept`, in this order, and of new ones."""
        return dataclasses.replace(self, base_models=self.base_models.with_outputs(kept, new))

    def _with_columns(self, encoding: TargetEncoding | None, size: int) -> StreamFeaturizer:
        grown = super()._with_columns(encoding, size)
        new = sorted(set(grown.numbers.tolist()) - set(self.numbers.tolist()) - {-1})
        base_models = self.base_models.grown(new, grown.encoding is not None, grown.size)
        return dataclasses.replace(grown, base_models=base_models)
