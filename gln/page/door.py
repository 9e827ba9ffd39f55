"""Login: a browser sends the password once, and is recognised by a cookie from then on."""

from __future__ import annotations

import secrets
import time
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gln.page.web import HEADERS, POLICY, BodyError, body
from gln.page.words import chosen, filled, words

__all__ = ["Door", "LEAST_CHARACTERS", "new_password"]

LEAST_CHARACTERS = 8
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # no two look alike
COOKIE = "gln-draw"
FORM = HEADERS | {"Content-Security-Policy": POLICY.replace("form-action 'none'", "form-action 'self'")}
TRIES, WAIT = 5, 60.0  # wrong passwords from one address, and seconds to wait after them


def new_password() -> str:
    """A random password of 49 bits."""
    return "".join(secrets.choice(LETTERS) for _ in range(10))


class Door:
    """Middleware that asks for a password. Each start of the command needs a new login, since the cookie is new."""

    def __init__(self, app: ASGIApp, password: str, language: str | None = None) -> None:
        self.app, self.password, self.language = app, password, language
        self.token = secrets.token_urlsafe()
        self.wrong: dict[str, list[float]] = {}  # times of the wrong passwords from each address, none long ago

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive) if scope["type"] == "http" else None
        if request is None or _equal(request.cookies.get(COOKIE, ""), self.token):
            return await self.app(scope, receive, send)
        answer = await self._answer(request)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        asked = request.method, request.url.path
        if asked == ("GET", "/"):
            return self._form(request, 401)
        if asked != ("POST", "/login"):
            return JSONResponse({"error": "cookie: expected the one that /login sets, got none or another"}, 401)
        try:
            return self._login(request, await body(request))
        except BodyError as error:
            return JSONResponse({"error": str(error)}, 413)

    def _login(self, request: Request, form: bytes) -> Response:
        now, (address, _) = time.monotonic(), request.scope.get("client") or ("", 0)
        self.wrong = {each: times for each, times in self.wrong.items() if now < times[-1] + WAIT}
        if len(self.wrong.get(address, [])) >= TRIES:
            return self._form(request, 429, "too_many_tries")
        given = parse_qs(form.decode("utf-8", "replace")).get("password", [""])[0]
        if not _equal(given, self.password):
            self.wrong.setdefault(address, []).append(now)
            return self._form(request, 401, "wrong_password")
        self.wrong.pop(address, None)
        answer = RedirectResponse("/", 303, headers=HEADERS)
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
        return answer

    def _form(self, request: Request, status: int, said: str = "") -> Response:
        language = chosen(request.headers, self.language)
        page = filled("login.html", language, said=words(language)[said] if said else "")
        return HTMLResponse(page, status, headers=FORM)


def _equal(one: str, other: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())
