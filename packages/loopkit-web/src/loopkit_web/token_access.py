"""Access by one shared token: as a bearer token, or entered once into a form that sets a cookie.

The cookie is derived from the token, so the server keeps no sessions: a restart signs nobody out, and a new token
signs everybody out.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loopkit_web.http.access import EVERYTHING, Access, Permission
from loopkit_web.http.call import Call
from loopkit_web.http.endpoint import Endpoint, Form
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["TokenAccess", "sign_in_form"]

_COOKIE_SECONDS: Final = 30 * 24 * 3600


@attrs.frozen(kw_only=True)
class SignInQuery:
    """Query of an address that signs a browser in."""

    token: str = ""
    next: str = "/"
    """Page of this app to open afterwards."""


class TokenAccess:
    """Access hook that grants everything to clients with the token, and is otherwise not authenticated (401)."""

    def __init__(self, token: str) -> None:
        """Create the hook for a token.

        Raises:
            ValueError: the token is empty, or contains a character that a header cannot carry.
        """
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("a token must be printable ASCII without spaces")
        self._token = token.encode()
        self._session = hmac.new(self._token, b"loopkit session", sha256).hexdigest()
        # Browsers send cookies to every port: two servers on one host must not sign each other's users out.
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
        """The sign-in and sign-out endpoints."""
        return (
            Endpoint(
                method="GET", path="/sign-in", handler=self._follow_link, permission=None, query=SignInQuery, page=True
            ),
            Endpoint(method="POST", path="/sign-in", handler=self._sign_in, permission=None, body=Form, page=True),
            Endpoint(method="POST", path="/sign-out", handler=self._sign_out, permission=Permission.VIEW, page=True),
        )

    async def _sign_in(self, call: Call) -> Response:
        form: Form = call.body
        return self._signed_in(call, form.get("token"), form.get("next"))

    async def _follow_link(self, call: Call) -> Response:
        """``GET /sign-in?token=T``: the address that ``serve --token auto`` prints."""
        query: SignInQuery = call.query
        return self._signed_in(call, query.token, query.next)

    def _signed_in(self, call: Call, token: str, next_page: str) -> Response:
        """Return the response that signs a browser in and leads on, so that no address on show has the token.

        Raises:
            Refused: the token is another one.
        """
        if not self._is_token(token.strip()):
            raise Refused(
                ProblemCode.UNAUTHENTICATED, "This token is not valid.", extra={"next": _local_path(next_page)}
            )
        response = RedirectResponse(call.url(_local_path(next_page)), status_code=303)
        self._set_cookie(call, response, self._session, _COOKIE_SECONDS)
        return response

    async def _sign_out(self, call: Call) -> Response:
        response = call.see_other("/")
        self._set_cookie(call, response, "", 0)
        return response

    def _set_cookie(self, call: Call, response: Response, value: str, seconds: int) -> None:
        response.headers["Cache-Control"] = "no-store"
        response.set_cookie(
            self._cookie,
            value,
            max_age=seconds,
            path=call.base or "/",
            secure=call.request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def _local_path(path: str) -> str:
    """Return the path if it stays within this app, else ``/``."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_local else "/"


def sign_in_form(call: Call, extra: Mapping[str, str]) -> str:
    """Return the HTML of the form that asks for the token and leads to the requested page.

    Args:
        call: the refused request.
        extra: additional members of the problem; ``next`` is the page to open after signing in.
    """
    next_page = extra.get("next") or call.requested_page
    return (
        "<p>Type the token that this dashboard was started with"
        " (<code>--token</code> or <code>LOOPKIT_TOKEN</code>).</p>"
        f'<form method="post" action="{escape(call.url("/sign-in"))}">'
        f'<input type="hidden" name="next" value="{escape(next_page)}">'
        '<label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label> '
        '<button class="button primary">Sign in</button></form>'
    )
