"""`Model`, what estimators of tables and of streams call.

Shapes: B samples, C heads or classes, F features, K predicted values, M models that an ensemble combines.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gln.engine.batches import SampleBatch, Steps


@runtime_checkable
class Model(Protocol):
    """Predicts and learns encoded samples: a `TableModel`, a `StreamModel` or a `ClassDensityClassifier`."""

    learning_rate: float | Callable[[int], float] | None
    means: Any  # the `Ensemble` whose weights and networks are shown

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together."""

    def sizes(self, categorical: Set[int]) -> tuple[int, Set[int], int]:
        """The number of features, those that are categories, and the number of classes, 0 for numbers."""

    def set_learning_rate(self, rate: float | Callable[[int], float] | None) -> None:
        """Set the learning rate; None is the default one."""

    def check_rates(self, steps: int) -> None:
        """Raise ValueError if a learning rate that is a callable fails in one of the next steps."""

    def add_classes(self, targets: np.ndarray) -> None:
        """Have room for classes that are new among these, (B,)."""

    def learn(
        self,
        samples: SampleBatch,
        targets: np.ndarray,
        step_sizes: Steps = None,
        categorical: Set[int] = frozenset(),
        predicts: bool = True,
        *,
        late: bool = False,
    ) -> list[np.ndarray]:
        """Learn samples; if this `predicts`, return what `predict` would before each, several of (C, n)."""

    def progressive(
        self,
        samples: SampleBatch,
        targets: np.ndarray,
        step_sizes: Steps,
        categorical: Set[int],
        predicts: bool = True,
        earlier: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """As `learn`, to the last bit as if each sample came alone; returns `outputs`, several of (K, n)."""

    def model_predictions(self, samples: SampleBatch) -> np.ndarray | None:
        """What all models predict of samples that are learned later, (M, C, B); None if nothing is combined."""

    def predict_with_models(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray | None]:
        """What `outputs` and `model_predictions` return."""

    def predict(self, samples: SampleBatch) -> np.ndarray:
        """Probabilities of each class against the rest, or means, (C, B)."""

    def outputs(self, samples: SampleBatch, ensembles: int = ...) -> np.ndarray:
        """What `predict` returns and, of densities, what else determines them, (K, B)."""

    def decision(self, samples: SampleBatch) -> np.ndarray:
        """Logits, or means, (C, B)."""

    def explain(self, samples: SampleBatch) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of features (C, B, F) and a constant (C, B), which add up to `decision`."""
