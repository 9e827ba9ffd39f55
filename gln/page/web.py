"""What all answers over HTTP have in common: their headers, and how much of a request is read."""

from __future__ import annotations

from starlette.requests import Request

__all__ = ["HEADERS", "POLICY", "TooLongError", "body"]

MOST_BYTES = 1 << 16  # of a request: more than a drawing of as many points as are taken
# Nothing from elsewhere, and in frames only of pages that this machine serves, such as notebooks.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class TooLongError(ValueError):
    """A request of too many bytes."""


async def body(request: Request) -> bytes:
    """Raises `TooLongError` where there is more than `MOST_BYTES` of it."""
    read = b""
    async for part in request.stream():
        read += part
        if len(read) > MOST_BYTES:
            raise TooLongError(f"body: expected at most {MOST_BYTES} bytes, got more")
    return read
