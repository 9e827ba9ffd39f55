"""Signals that end a run between two samples, or while it waits to read or to write."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
CLOSED_PIPE = 128 + 13  # the status of programs that SIGPIPE ends


class Stopped(BaseException):
    """A signal came. Not an `Exception`, so that no handler on the way treats it as an ordinary error."""


class Signals:
    """SIGINT, SIGTERM, and the SIGHUP of a dropped connection end a run, or the process at once before there is
    something to learn. A second SIGINT ends the process as usual, unless the run waits."""

    def __init__(self, program: str) -> None:
        self.received = 0
        self._program = program
        self._starts = True
        self._waits = False

    def _receive(self, number: int, _: object) -> None:
        before = self.received
        self.received = number
        if self._starts:  # an exception here would also go through what compiles
            with contextlib.suppress(OSError):
                os.write(2, f"{self._program}: {self._why()}\n".encode())
            os._exit(128 + number)
        if self._waits:
            raise Stopped
        if before and number == signal.SIGINT:
            raise KeyboardInterrupt

    def _why(self) -> str:
        return f"ended by {signal.Signals(self.received).name}"

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def waiting(self, call: Callable[[], T]) -> T:
        """The result of a call that may wait for another process; a signal raises `Stopped` in it."""
        self._waits = True
        try:
            return call()
        finally:
            self._waits = False

    def take_all(
        self,
        parts: Iterator[T],
        take: Callable[[T], object],
        end: Callable[[str], object],
        can_end: Callable[[Exception], bool] = lambda error: True,
    ) -> int:
        """Take the parts of a run up to a signal, and end it whatever happens; returns the exit status.

        `end` is told why it ended early, or "". An error for which `can_end` is false is raised.
        """
        gc.collect()
        gc.freeze()  # what exists stays: going through it again and again takes a sixth of the time
        status = 0
        why = ""
        try:
            while (part := self.waiting(lambda: None if self.received else next(parts, None))) is not None:
                self._starts = False
                take(part)
        except Stopped:  # while something was written, or was read, which is lost and was not counted
            pass
        except BrokenPipeError:
            status = CLOSED_PIPE
        except Exception as error:
            if not can_end(error):
                raise
            if not isinstance(error, (OSError, ValueError)):  # a fault of ours
                end(f"{type(error).__name__}: {error}")
                raise
            status = 2
            why = str(error)
        if self.received:
            status = 128 + self.received
            why = self._why()
        self._starts = False
        end(why)
        return status
