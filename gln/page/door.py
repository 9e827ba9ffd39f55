"""The door before the page: a password that a browser gives once, and a cookie that it shows from then on."""

from __future__ import annotations

import secrets
import time
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gln.page.web import HEADERS, POLICY, TooLongError, body
from gln.page.words import chosen, filled, words

__all__ = ["Door", "LEAST_CHARACTERS", "new_password"]

LEAST_CHARACTERS = 8
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another
COOKIE = "gln-draw"
FORM = HEADERS | {"Content-Security-Policy": POLICY.replace("form-action 'none'", "form-action 'self'")}
TRIES, WAIT = 5, 60.0  # after so many wrong passwords, of all browsers together, so many seconds without another try


def new_password() -> str:
    """A random one of 49 bits."""
    return "".join(secrets.choice(LETTERS) for _ in range(10))


class Door:
    """Lets in those that know the password. Whoever starts the command anew changes the cookie."""

    def __init__(self, app: ASGIApp, password: str, language: str | None = None) -> None:
        self.app, self.password, self.language = app, password, language
        self.token = secrets.token_urlsafe()
        self.wrong, self.tried = 0, 0.0  # wrong passwords in a row, and when the last one came

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
            return JSONResponse({"error": "expected a cookie that /login gives for the password, got none"}, 401)
        try:
            return self._login(request, await body(request))
        except TooLongError as error:
            return JSONResponse({"error": str(error)}, 413)

    def _login(self, request: Request, form: bytes) -> Response:
        if self.wrong >= TRIES:
            if time.monotonic() < self.tried + WAIT:
                return self._form(request, 429, "too_many_tries")
            self.wrong = 0
        given = parse_qs(form.decode("utf-8", "replace")).get("password", [""])[0]
        if not _equal(given, self.password):
            self.wrong, self.tried = self.wrong + 1, time.monotonic()
            return self._form(request, 401, "wrong_password")
        self.wrong = 0
        answer = RedirectResponse("/", 303, headers=HEADERS)
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
        return answer

    def _form(self, request: Request, status: int, said: str = "") -> Response:
        language = chosen(request.headers, self.language)
        page = filled("login.html", language, said=words(language)[said] if said else "")
        return HTMLResponse(page, status, headers=FORM)


def _equal(one: str, other: str) -> bool:
    """In a time that does not tell where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())
