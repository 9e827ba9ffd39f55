"""Signals that end a run between two samples, or while it waits to read or to write."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

CLOSED_PIPE = 128 + 13  # the status of programs that SIGPIPE ends


class Stopped(BaseException):
    """A signal came. Not an `Exception`, so that no handler on the way treats it as an ordinary error."""


class Signals:
    """SIGINT, SIGTERM, and the SIGHUP of a dropped connection end a run. A second SIGINT ends the process as usual,
    unless the run waits."""

    def __init__(self) -> None:
        self.received = 0
        self._waits = False

    def _receive(self, number: int, _: Any) -> None:
        before, self.received = self.received, number
        if self._waits:
            raise Stopped
        if before and number == signal.SIGINT:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals within this block."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def waiting(self, call: Callable[[], Any]) -> Any:
        """The result of a call that may wait for another process; a signal raises `Stopped` in it."""
        self._waits = True
        try:
            return call()
        finally:
            self._waits = False


class Interruptible:
    """A run over the parts of its input, which ends after one of them, whatever happens."""

    def __init__(self) -> None:
        self._signals = Signals()

    def all(self) -> int:
        """Take all parts up to a signal; returns the exit status."""
        status, why, signals, parts = 0, "", self._signals, self._parts()
        with signals.handled():
            try:
                while (part := signals.waiting(lambda: None if signals.received else next(parts, None))) is not None:
                    self._take(part)
            except Stopped:  # while something was written, or was read, which is lost and was not counted
                pass
            except BrokenPipeError:
                status = CLOSED_PIPE
            except (OSError, ValueError) as error:
                if not self._can_end(error):
                    raise
                status, why = 2, str(error)
            if number := signals.received:
                status, why = 128 + number, f"ended by {signal.Signals(number).name}"
            self._end(why)
        return status

    def _parts(self) -> Iterator[Any]:
        raise NotImplementedError

    def _take(self, part: Any) -> None:
        raise NotImplementedError

    def _can_end(self, error: Exception) -> bool:
        """Whether something is to be saved and printed after an error."""
        return True

    def _end(self, why: str) -> None:
        """Save and print all that there is."""
        raise NotImplementedError
