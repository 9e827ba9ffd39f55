"""The page and its requests over HTTP: JSON in and out, for pages of this machine only."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gln.apps.draw.lessons import ConflictError, checked_label
from gln.apps.draw.pupil import FullError, Pupil
from gln.apps.draw.strokes import checked_drawing
from gln.engine.types import State

# Of answers to requests that raise these; an `OSError` comes from the file of lessons.
STATUSES = {ValueError: 400, ClientDisconnect: 400, ConflictError: 409, OSError: 503, FullError: 507}
# Loads nothing from other sites, and may be framed only by pages that this machine serves, such as notebooks.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

LARGEST = 1 << 20  # bytes of a request; the 2,000 points of a drawing take a tenth
Asked = State  # a request or an answer: a JSON object


def application(pupil: Pupil) -> Starlette:
    """The page for one pupil, as an ASGI application."""
    page = HTMLResponse(
        resources.files("gln.apps.draw").joinpath("page.html").read_text(encoding="utf-8"), headers=HEADERS
    )
    gets = {"/state": _state, "/accuracy": _accuracy, "/lessons": _lessons}
    posts = {"/predictions": _predict, "/lessons": _teach, "/undo": _undo, "/forget": _forget}
    return Starlette(
        routes=[
            Route("/", lambda request: page),
            *(Route(path, _answering(pupil, answer), methods=["GET"]) for path, answer in gets.items()),
            *(Route(path, _answering(pupil, answer), methods=["POST"]) for path, answer in posts.items()),
        ],
        exception_handlers={kind: _refused for kind in (*STATUSES, HTTPException)} | {Exception: _failed},
    )


def _state(pupil: Pupil, asked: Asked) -> Asked:
    return pupil.state()._asdict()


def _accuracy(pupil: Pupil, asked: Asked) -> Asked:
    return dict(zip(("now", "before"), pupil.accuracy(), strict=True))


def _predict(pupil: Pupil, asked: Asked) -> Asked:
    state, answer = pupil.look(checked_drawing(asked.get("drawing")))
    return {
        **state._asdict(),
        "probabilities": answer.probabilities.tolist(),
        "image": answer.image.round(3).tolist(),
        "contributions": answer.contributions.round(4).tolist(),
    }


def _teach(pupil: Pupil, asked: Asked) -> Asked:
    label = checked_label(asked.get("label"))
    before = pupil.teach(checked_drawing(asked.get("drawing")), label)
    return {**_predict(pupil, asked), "label": label, "before": before}


def _lessons(pupil: Pupil, asked: Asked) -> Asked:
    after = asked.get("after", "0")
    if not re.fullmatch("[0-9]{1,18}", after):
        raise ValueError(f"after: expected the number of a lesson, got {after[:50]!r}")
    given = [lesson._asdict() for lesson in pupil.lessons.after(int(after))]
    return {"lessons": [{**lesson, "drawing": [stroke.tolist() for stroke in lesson["drawing"]]} for lesson in given]}


def _undo(pupil: Pupil, asked: Asked) -> Asked:
    pupil.lessons.take_back(_number(asked, "lesson"))
    return _state(pupil, asked)


def _forget(pupil: Pupil, asked: Asked) -> Asked:
    pupil.lessons.forget(_number(asked, "last"))
    return _state(pupil, asked)


def _answering(pupil: Pupil, answer: Callable[[Pupil, Asked], Asked]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that calls `answer` in a thread."""

    async def endpoint(request: Request) -> Response:
        _check_sender(request)
        body = await _body(request)

        def answered() -> Asked:
            return answer(pupil, _asked(body) if request.method == "POST" else dict(request.query_params))

        return JSONResponse(await run_in_threadpool(answered), headers=HEADERS)

    return endpoint


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise HTTPException(413, f"body: expected at most {LARGEST:,} bytes, got more", {"Connection": "close"})
    return bytes(body)


def _check_sender(request: Request) -> None:
    """Refuse requests from other sites' pages. Their domain may point to this machine, so Host is checked too."""
    host = request.headers.get("host", "")
    if not re.fullmatch(r"(127\.0\.0\.1|localhost)(:[0-9]+)?", host):  # any port: it may be forwarded from another one
        raise HTTPException(400, f"Host: expected localhost or 127.0.0.1, got {host[:100]}")
    origin = request.headers.get("origin", f"http://{host}")
    if origin != f"http://{host}":
        raise HTTPException(403, f"Origin: expected http://{host}, got {origin[:100]}")


def _asked(text: bytes) -> Asked:
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"body: expected JSON, got {error}") from error
    if not isinstance(asked, dict):
        raise ValueError(f"body: expected a JSON object, got {type(asked).__name__}")
    return asked


def _number(asked: Asked, name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        raise ValueError(f"{name}: expected the number of a lesson, got {repr(value)[:50]}")
    return value


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
    status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
    return JSONResponse({"error": str(error)}, status)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong; see the terminal where gln-draw runs"}, 500)
