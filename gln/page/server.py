"""The page and its requests over HTTP: JSON in and out, for this machine or for those who know a password."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gln.page.door import Door
from gln.page.lessons import ConflictError, checked_label
from gln.page.pupil import FullError, Pupil
from gln.page.strokes import checked
from gln.page.web import HEADERS, BodyError, body
from gln.page.words import chosen, filled, languages

__all__ = ["application"]

LOOPBACK = "127.0.0.1"
# Of answers to requests that raise these; an `OSError` comes from the file of lessons.
STATUSES = {BodyError: 413, ValueError: 400, ConflictError: 409, OSError: 503, FullError: 507}


class OwnPages:
    """Refuses requests from other sites' pages, by their Origin header or by a Host header that is not this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := _refusal(Request(scope))) is not None:
            return await refusal(scope, receive, send)
        await self.app(scope, receive, send)


def _refusal(request: Request) -> Response | None:
    """The Host header must be the address that the request arrived at, so no other domain name can be used."""
    host, address = request.headers.get("host", ""), (request.scope.get("server") or ("",))[0]
    known = {address, "localhost"} if address == LOOPBACK else {address}
    if re.sub(":[0-9]*$", "", host) not in known:  # any port, because it may be forwarded from another one
        return JSONResponse({"error": f"Host: expected {address}, got {host[:100]}"}, 400)
    own = f"http://{host}"
    if request.headers.get("origin", own) != own:
        return JSONResponse({"error": f"Origin: expected {own}, got {request.headers['origin'][:100]}"}, 403)
    return None


Asked = dict[str, Any]  # a request or an answer: a JSON object


def application(
    pupil: Pupil, password: str | None = None, language: str | None = None, fair: bool = False
) -> Starlette:
    """The page for one pupil, as an ASGI application.

    Args:
        pupil: the network that answers and is taught.
        password: a browser has to send it once; None lets everybody in.
        language: of the page, one of `gln.page.words.languages()`; None is the browser's.
        fair: whether the page clears the drawing after a lesson.
    """
    pages = {each: filled("page.html", each, clipping=pupil.clipping, fair=fair) for each in languages()}

    async def page(request: Request) -> Response:
        return HTMLResponse(pages[chosen(request.headers, language)], headers=HEADERS)

    gets = {"/state": _state, "/accuracy": _accuracy, "/lessons": _lessons}
    posts = {"/predictions": _predict, "/lessons": _teach, "/undo": _undo, "/forget": _forget}
    door = [] if password is None else [Middleware(Door, password=password, language=language)]
    return Starlette(
        routes=[
            Route("/", page),
            *(Route(path, _answering(pupil, answer), methods=["GET"]) for path, answer in gets.items()),
            *(Route(path, _answering(pupil, answer), methods=["POST"]) for path, answer in posts.items()),
        ],
        middleware=[Middleware(OwnPages), *door],
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
    label = checked_label(asked.get("label"))
    before = pupil.teach(checked(asked.get("drawing")), label)
    return {**_predict(pupil, asked), "label": label, "before": before}


def _lessons(pupil: Pupil, asked: Asked) -> Asked:
    after = asked.get("after", "0")
    if not re.fullmatch("[0-9]{1,18}", after):
        raise ValueError(f"after: expected the number of a lesson, got {after[:50]!r}")
    given = [lesson._asdict() for lesson in pupil.lessons(int(after))]
    return {"lessons": [{**each, "drawing": [stroke.tolist() for stroke in each["drawing"]]} for each in given]}


def _undo(pupil: Pupil, asked: Asked) -> Asked:
    pupil.undo(_number("lesson", asked.get("lesson")))
    return _state(pupil, asked)


def _forget(pupil: Pupil, asked: Asked) -> Asked:
    pupil.forget(_number("last", asked.get("last")))
    return _state(pupil, asked)


def _answering(pupil: Pupil, answer: Callable[[Pupil, Asked], Asked]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that calls `answer` in a thread, and reports its errors as JSON."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = _asked(await body(request)) if request.method == "POST" else dict(request.query_params)
            return JSONResponse(await run_in_threadpool(answer, pupil, asked), headers=HEADERS)
        except tuple(STATUSES) as error:
            status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
            return JSONResponse({"error": str(error)}, status)

    return endpoint


def _asked(text: bytes) -> Asked:
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"body: expected JSON, got {error}") from error
    if not isinstance(asked, dict):
        raise ValueError(f"body: expected a JSON object, got {type(asked).__name__}")
    return asked


def _number(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        raise ValueError(f"{name}: expected the number of a lesson, got {repr(value)[:50]}")
    return value


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong; see the terminal where gln-draw runs"}, 500)
