from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gln_numpy import _GLN, Config, decaying_rate, paper_rate

__all__ = ["Config", "GLN", "decaying_rate", "gate", "mix", "output", "paper_rate", "residual", "update"]

class _Sparse(Protocol):  # a SciPy sparse array
    def tocsc(self, copy: bool = ...) -> Any: ...

# Compiled functions, which take the loss as its index in LOSSES.
gate: Any
mix: Any
output: Any
residual: Any
update: Any

class GLN(_GLN[NDArray[np.float32], ArrayLike | _Sparse]):
    @cached_property
    def of_sample(self) -> tuple[Any, ...]: ...
