"""Statistics of samples are sums: `merge` makes, of those of two disjoint sets of samples, the ones of both.

It returns a new object, and gives the same in any order, up to rounding. So a table may be learned in parts, by several
processes or machines. Statistics that fade are none: there, the order of samples matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gln.engine.saving import bad


def check_equal(**pairs: tuple[Any, Any]) -> None:
    """Raise ValueError, naming what differs, unless the two of each pair are equal."""
    for name, (one, other) in pairs.items():
        if not np.array_equal(one, other):
            raise bad("merge", f"equal {name}", f"{one} and {other}")
