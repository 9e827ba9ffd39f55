from typing import Any, NamedTuple

from jax import Array
from numpy.typing import ArrayLike

from gln_numpy import _GLN, Config, decaying_rate, paper_rate

__all__ = ["Config", "GLN", "Params", "decaying_rate", "gate", "init", "learn", "mix", "output", "paper_rate"]
__all__ += ["predict", "residual", "update"]

_Samples = ArrayLike | Array

def gate(hyperplanes: Array, hyperplane_bias: Array, context: Array) -> Array: ...
def mix(row: Array, z: Array, bound: float) -> Array: ...
def output(s: Array, loss: str) -> Array: ...
def residual(s: Array, y: Array, loss: str, quantile: Any) -> Array: ...
def update(row: Array, z: Array, r: Array, rate: Array) -> Array: ...

class Params(NamedTuple):
    hyperplanes: Array
    hyperplane_bias: Array
    weights: tuple[Array, ...]

def init(config: Config, key: Array) -> Params: ...
def predict(config: Config, params: Params, base: _Samples, context: _Samples, count: Any = None) -> Array: ...
def learn(
    config: Config,
    params: Params,
    base: _Samples,
    context: _Samples,
    targets: _Samples,
    rates: _Samples | None = None,
    count: Any = None,
    *,
    step: Any = None,
) -> tuple[Params, Array]: ...

class GLN(_GLN[Array, _Samples]):
    params: Params
