from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gln.features import Standardizer
from gln.mnist import Digits, deskew, load_mnist

__all__ = ["TenDigits", "deskew", "get_mnist_metrics", "get_ten_digits_metrics", "load_mnist", "main"]

CHUNK: int

def get_mnist_metrics(
    model: Any,
    mnist_class: int = 0,
    batch_size: int = 1,
    *,
    digits: Digits | None = None,
    seed: int | None = 0,
    verbose: bool = True,
) -> tuple[float, pd.DataFrame, pd.DataFrame]: ...

class TenDigits(NamedTuple):
    accuracy: float
    online_hits: NDArray[np.bool_]
    conf_mat: pd.DataFrame
    prfs: pd.DataFrame
    log_loss: float
    calibration_error: float
    seconds: float
    standardizer: Standardizer | None

def get_ten_digits_metrics(
    model: Any,
    *,
    digits: Digits | None = None,
    standardize: bool = True,
    halfspace_samples: int = 1000,
    halfspace_window: int | None = 6,
    seed: int | None = 0,
    save: str | Path | None = None,
    verbose: bool = True,
) -> TenDigits: ...
def calibration_error(confidence: NDArray[Any], hits: NDArray[np.bool_], bins: int = 15) -> float: ...
def main(arguments: Sequence[str] | None = None) -> int: ...
