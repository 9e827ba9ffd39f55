# Types of the backends, as stubs because a single-file module cannot have a `py.typed`. This file has the types shared
# by all five; `tests/networks/test_types.py` compares them with each backend.

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

from gln.explaining import Explanation

__all__ = ["Config", "GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]

_Rate = float | Callable[[int], float]
_BasePredictor = Callable[[Any], Any]
_Floats = NDArray[np.float32]
_Array = TypeVar("_Array")  # the type of predictions
_Samples = TypeVar("_Samples")  # the types accepted as inputs and side information

def gate(hyperplanes: _Floats, hyperplane_bias: _Floats, context: _Floats) -> NDArray[np.integer[Any]]: ...
def mix(rows: _Floats, z: _Floats, bound: float) -> _Floats: ...
def output(s: _Floats, loss: str) -> _Floats: ...
def residual(s: _Floats, y: _Floats, loss: str, quantile: Any) -> _Floats: ...
def update(rows: _Floats, z: _Floats, r: _Floats, rate: _Floats) -> _Floats: ...
def decaying_rate(t: int, start: float = 10.0) -> float: ...
def paper_rate(t: int) -> float: ...

@dataclass(frozen=True)
class Config:
    layer_sizes: Sequence[int]
    input_size: int
    context_size: int
    num_classes: int = 2
    context_map_size: int = 4
    bias: bool = True
    context_bias: float = 0.0
    normalize: bool = True
    pred_clipping: float = 1e-3
    weight_clipping: float = 200.0
    seed: int | None = None
    loss: str = "log_loss"
    num_outputs: int = 1
    quantiles: Sequence[float] | None = None
    value_clipping: float = 10.0
    context_features: int | None = None

    @property
    def bound(self) -> float: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def record(self) -> Any: ...
    @property
    def logits(self) -> bool: ...

class _GLN(Generic[_Array, _Samples]):
    config: Config
    base_predictor: _BasePredictor | None
    base_size: int
    step: Any
    extra: Mapping[str, NDArray[Any]]
    has_default_rate: bool
    takes_sparse: bool
    @property
    def learning_rate(self) -> _Rate: ...
    @learning_rate.setter
    def learning_rate(self, rate: _Rate | None) -> None: ...
    def __init__(
        self,
        layer_sizes: Sequence[int],
        input_size: int,
        context_size: int,
        *,
        num_classes: int = 2,
        context_map_size: int = 4,
        base_predictor: _BasePredictor | None = None,
        bias: bool = True,
        context_bias: float = 0.0,
        learning_rate: _Rate | None = None,
        normalize: bool = True,
        pred_clipping: float = 1e-3,
        weight_clipping: float = 200.0,
        seed: int | None = None,
        loss: str = "log_loss",
        num_outputs: int = 1,
        quantiles: Sequence[float] | None = None,
        value_clipping: float = 10.0,
        context_features: int | None = None,
    ) -> None: ...
    def predict(self, inputs: _Samples, context_inputs: _Samples, targets: ArrayLike | None = None) -> _Array: ...
    def predict_online(
        self, inputs: _Samples, context_inputs: _Samples, targets: ArrayLike, batch_size: int = 1
    ) -> _Array: ...
    def predict_arrays(
        self, base: Any, context: Any, targets: _Floats | None = None, rates: _Floats | None = None
    ) -> _Floats: ...
    def rates(self, count: int, rate: _Rate | None = None) -> _Floats: ...
    def prepare(
        self, inputs: _Samples, context_inputs: _Samples, targets: ArrayLike | None = None
    ) -> tuple[Any, Any, _Floats | None, bool]: ...
    @classmethod
    def check_array(
        cls,
        name: Any,
        value: Any,
        *shapes: tuple[int | None, ...],
        span: tuple[float, float] = ...,
        unknown: bool = False,
        sparse: bool = False,
    ) -> Any: ...
    def contexts(self, context: Any) -> NDArray[np.integer[Any]]: ...
    def fit_hyperplanes(self, context_inputs: _Samples) -> None: ...
    def get_state(self, copy: bool = True) -> dict[str, NDArray[Any]]: ...
    def set_state(self, state: Mapping[str, ArrayLike]) -> None: ...
    def save(self, path: str | os.PathLike[str], extra: Mapping[str, ArrayLike] | None = None) -> None: ...
    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        learning_rate: _Rate | None = None,
        base_predictor: _BasePredictor | None = None,
    ) -> Self: ...
    def explain(self, inputs: _Samples, context_inputs: _Samples) -> Explanation: ...
    def set_learning_rate(self, rate: _Rate | None) -> None: ...

class GLN(_GLN[_Floats, ArrayLike]): ...
