"""Signals that end a run between two chunks, or while it waits for one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["Signals", "Stopped"]


class Stopped(BaseException):
    """A signal came. Not an `Exception`, so that no handler on the way treats it as an ordinary error."""


class Signals:
    """Waits for chunks; SIGINT and SIGTERM end this. A second SIGINT ends the process as usual."""

    def __init__(self) -> None:
        self.received = 0
        self._waits = False

    def _receive(self, number: int, _: Any) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._waits:
            raise Stopped

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals within this block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def each(self, chunks: Iterator[Any]) -> Iterator[Any]:
        """The chunks up to a signal. One that came while a chunk was read is lost, and was not counted."""
        while True:
            self._waits = True
            try:
                if self.received:
                    return
                chunk = next(chunks, None)
            except Stopped:
                return
            finally:
                self._waits = False
            if chunk is None:
                return
            yield chunk
