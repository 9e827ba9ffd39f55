"""Shared by all HTTP answers: headers, and a limit on the size of requests."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

__all__ = ["HEADERS", "POLICY", "BodyError", "body"]

MOST_BYTES = 1 << 16  # of a request: enough for a drawing with the maximum number of points
# Loads nothing from other sites, and may be framed only by pages that this machine serves, such as notebooks.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class BodyError(ValueError):
    """A request has too many bytes, or broke off."""


async def body(request: Request) -> bytes:
    """Read the body of a request. Raises `BodyError` if it is longer than `MOST_BYTES`, or the browser disconnects."""
    read = b""
    try:
        async for part in request.stream():
            read += part
            if len(read) > MOST_BYTES:
                raise BodyError(f"body: expected at most {MOST_BYTES} bytes, got more")
    except ClientDisconnect as error:  # nobody reads the answer, but the terminal would have a traceback
        raise BodyError("body: expected all of it, got a part") from error
    return read
