"""Ctrl-C between two samples instead of within one, which would leave a model half-changed.

Then a learner may have a class that its schema or its statistics lack, and compiled loops do not check indices.
"""

from __future__ import annotations

import functools
import threading
from _signal import getsignal, signal  # type: ignore[import-not-found]  # those of `signal` take five times as long
from collections.abc import Callable
from signal import SIGINT
from typing import Any, TypeVar

Call = TypeVar("Call", bound=Callable[..., Any])


def uninterrupted(call: Call) -> Call:
    """A function that Ctrl-C does not end: `KeyboardInterrupt` is raised after it."""

    @functools.wraps(call)
    def whole(*args: Any, **kwargs: object) -> Any:
        handler = getsignal(SIGINT)
        came = []
        if threading.get_ident() != threading.main_thread().ident or not callable(handler):
            return call(*args, **kwargs)  # no interrupt can come
        signal(SIGINT, lambda *received: came.append(received))
        try:
            return call(*args, **kwargs)
        finally:
            signal(SIGINT, handler)
            for received in came:
                handler(*received)

    return whole  # type: ignore[return-value]
