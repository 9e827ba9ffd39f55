"""Arrays that an object may write to after it was unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["OwnsArrays"]


class OwnsArrays:
    """Copies its arrays when it is unpickled: joblib passes large ones to its processes memory-mapped and read-only."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update({name: _owned(value) for name, value in state.items()})


def _owned(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.array(value)
    if isinstance(value, dict):
        return {name: _owned(each) for name, each in value.items()}
    return [_owned(each) for each in value] if isinstance(value, list) else value
