"""The page and what it asks, over HTTP: JSON in and out, for this machine alone."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gln.page.lessons import ConflictError, checked_label
from gln.page.pupil import Pupil
from gln.page.strokes import checked

__all__ = ["HOST", "application"]

HOST = "127.0.0.1"
MOST_BYTES = 1 << 16  # of a request: more than a drawing of as many points as are taken
# Nothing from elsewhere, and in frames only of pages that this machine serves, such as notebooks.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class OwnOrigin:
    """Refuses what a page from elsewhere sends: a browser then names its origin."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Request(scope).headers
            own = f"http://{headers.get('host')}"
            if headers.get("origin", own) != own:
                refusal = JSONResponse({"error": f"Origin: expected {own}, got {headers['origin'][:100]}"}, 403)
                return await refusal(scope, receive, send)
        await self.app(scope, receive, send)


Asked = dict[str, Any]  # and what is answered: JSON objects


def application(pupil: Pupil) -> Starlette:
    """The page for one pupil, as an ASGI application."""
    html = (resources.files("gln.page") / "page.html").read_text(encoding="utf-8")

    async def page(request: Request) -> Response:
        return HTMLResponse(html, headers=HEADERS)

    gets = {"/state": _state, "/accuracy": _accuracy}
    posts = {"/predictions": _predict, "/lessons": _teach, "/undo": _undo, "/forget": _forget}
    return Starlette(
        routes=[
            Route("/", page),
            *(Route(path, _answering(pupil, answer), methods=["GET"]) for path, answer in gets.items()),
            *(Route(path, _answering(pupil, answer), methods=["POST"]) for path, answer in posts.items()),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(OwnOrigin)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


def _state(pupil: Pupil, asked: Asked) -> Asked:
    return pupil.state()._asdict()


def _accuracy(pupil: Pupil, asked: Asked) -> Asked:
    return dict(zip(("now", "before"), pupil.accuracy(), strict=True))


def _predict(pupil: Pupil, asked: Asked) -> Asked:
    state, answer = pupil.look(checked(asked.get("drawing")))
    return {
        **state._asdict(),
        "probabilities": answer.probabilities.tolist(),
        "image": answer.image.round(3).tolist(),
        "contributions": answer.contributions.round(4).tolist(),
    }


def _teach(pupil: Pupil, asked: Asked) -> Asked:
    pupil.teach(checked(asked.get("drawing")), checked_label(asked.get("label")))
    return _predict(pupil, asked)


def _undo(pupil: Pupil, asked: Asked) -> Asked:
    pupil.undo(_number(asked.get("last")))
    return _state(pupil, asked)


def _forget(pupil: Pupil, asked: Asked) -> Asked:
    pupil.forget(_number(asked.get("last")))
    return _state(pupil, asked)


def _answering(pupil: Pupil, answer: Callable[[Pupil, Asked], Asked]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint: what was asked goes to `answer`, in a thread, and its error to whoever asked."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = _asked(await _body(request)) if request.method == "POST" else {}
            return JSONResponse(await run_in_threadpool(answer, pupil, asked), headers=HEADERS)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ConflictError as error:
            return JSONResponse({"error": str(error)}, 409)
        except OSError as error:  # of the lessons' file
            return JSONResponse({"error": str(error)}, 503)

    return endpoint


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"body: expected at most {MOST_BYTES} bytes, got more")
    return body


def _asked(body: bytes) -> Asked:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"body: expected JSON, got {error}") from error
    if not isinstance(asked, dict):
        raise ValueError(f"body: expected a JSON object, got {type(asked).__name__}")
    return asked


def _number(last: Any) -> int:
    if not isinstance(last, int) or isinstance(last, bool) or not 0 < last < 1 << 63:
        raise ValueError(f"last: expected the number of a lesson, got {repr(last)[:50]}")
    return last


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong; the terminal where gln-draw runs says what"}, 500)
