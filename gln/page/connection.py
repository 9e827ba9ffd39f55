"""Connections of browsers: few, and none that waits for long, because each keeps a file open."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["LIMITS", "Connection"]

MOST_CONNECTIONS = 100  # some systems allow a process 256 open files
SECONDS = 10.0  # for a request to arrive, or for an answer to be read
# Of uvicorn: connections accepted before others are closed for them, and requests at work, also of closed connections.
# Each bad request causes a warning, so only errors are printed.
LIMITS: Any = {"backlog": 16, "limit_concurrency": 2 * MOST_CONNECTIONS, "log_level": "error"}


class Connection(H11Protocol):
    """uvicorn's, which by itself would wait for the rest of a request forever."""

    connections: set[Any]  # all of this class
    timer: asyncio.TimerHandle

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= MOST_CONNECTIONS:
            oldest = min(self.connections, key=lambda each: (each._is_at_work(), each.timer.when()))
            oldest.transport.abort()
            self.connections.discard(oldest)  # now, because others may be accepted before it is closed
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.timer.cancel()
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self.timer = self.loop.call_later(SECONDS, self._end)

    def _end(self) -> None:
        if self._is_at_work():
            self._wait()
        else:
            self.transport.abort()

    def _is_at_work(self) -> bool:
        """Whether a whole request has arrived that is not answered yet."""
        return self.conn.our_state is h11.SEND_RESPONSE and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
