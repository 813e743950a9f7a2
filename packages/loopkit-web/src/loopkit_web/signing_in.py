"""One token for all who may use the app: as a bearer, or typed once into a plain form that sets a cookie.

The cookie holds no session: it is derived from the token, so nothing is kept on the server, a restart signs nobody
out, and a new token signs everybody out.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loopkit_web.access import EVERYTHING, Access, Permission
from loopkit_web.context import Call
from loopkit_web.problems import Refused
from loopkit_web.routing import Endpoint, Form

__all__ = ["TokenAccess", "sign_in_form"]

_SECONDS: Final = 30 * 24 * 3600


class TokenAccess:
    """An access hook: who knows the token may do everything."""

    def __init__(self, token: str) -> None:
        """Take the token.

        Raises:
            ValueError: it is empty, or holds what cannot stand in a header.
        """
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("a token is printable ASCII without blanks")
        self._token = token.encode()
        self._session = hmac.new(self._token, b"loopkit session", sha256).hexdigest()
        # Cookies do not know ports: two servers of one host must not sign each other out.
        self._cookie = "loopkit-" + sha256(self._session.encode()).hexdigest()[:12]

    async def __call__(self, request: Request) -> Access | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return Access(None, EVERYTHING)
        cookie = request.cookies.get(self._cookie, "")
        if hmac.compare_digest(cookie.encode(), self._session.encode()):
            return Access(None, EVERYTHING)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(sha256(given.encode()).digest(), sha256(self._token).digest())

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What signs a browser in and out."""
        return (
            Endpoint(method="POST", path="/sign-in", handler=self._sign_in, permission=None, body=Form, page=True),
            Endpoint(method="POST", path="/sign-out", handler=self._sign_out, permission=Permission.VIEW, page=True),
        )

    async def _sign_in(self, call: Call) -> Response:
        form: Form = call.body
        if not self._is_token(form.get("token").strip()):
            raise Refused("unauthenticated", "That is not the token.", extra={"next": _below(form.get("next"))})
        answer = RedirectResponse(call.url(_below(form.get("next"))), status_code=303)
        self._set_cookie(call, answer, self._session, _SECONDS)
        return answer

    async def _sign_out(self, call: Call) -> Response:
        answer = call.see_other("/")
        self._set_cookie(call, answer, "", 0)
        return answer

    def _set_cookie(self, call: Call, answer: Response, value: str, seconds: int) -> None:
        answer.headers["Cache-Control"] = "no-store"
        answer.set_cookie(
            self._cookie,
            value,
            max_age=seconds,
            path=call.base or "/",
            secure=call.request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def _below(path: str) -> str:
    """Give a path of this app to go on to; ``/`` where it could lead elsewhere."""
    harmless = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if harmless else "/"


def sign_in_form(call: Call, extra: Mapping[str, str]) -> str:
    """Give the form that asks for the token, and goes on to the page that was asked for."""
    asked = extra.get("next") or call.asked_for
    return (
        f'<form method="post" action="{escape(call.url("/sign-in"))}">'
        f'<input type="hidden" name="next" value="{escape(asked)}">'
        '<label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label> '
        "<button>Sign in</button></form>"
    )
