"""Checks of the Host and Origin of every request, and the security headers of every response.

The rules need no secret and no session: an unknown Host is refused (DNS rebinding), a change requested by a page of
another origin is refused (CSRF), and pages may load only what the app itself serves.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from loopkit_web.http.access import host_name, is_loopback
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["add_security_headers", "check_host", "check_origin", "content_security_policy", "origins"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_host(headers: Headers, allowed: frozenset[str]) -> None:
    """Check that a request has one Host header, with a loopback name or one of ``allowed``.

    Args:
        headers: the headers of the request.
        allowed: host names in the form of :func:`~loopkit_web.http.access.host_name`.

    Raises:
        Refused: there is no Host, more than one, or another one.
    """
    hosts = headers.getlist("host")
    name = host_name(hosts[0]) if len(hosts) == 1 else ""
    if not name or not (is_loopback(name) or name in allowed):
        raise Refused(ProblemCode.WRONG_HOST, "This host name is not allowed. Add it to the allowed hosts to use it.")


def check_origin(request: Request, trusted: frozenset[str]) -> None:
    """Check that a change is requested by the app's own pages, by a trusted origin, or by a program.

    Browsers state the origin of a request in headers that no page can set. ``Sec-Fetch-Site`` decides if it is
    present; older browsers, and pages of plain HTTP, send only ``Origin``; programs send neither.

    Source: https://words.filippo.io/csrf (Go 1.25's http.CrossOriginProtection).

    Raises:
        Refused: the request comes from another origin.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin in trusted:
        return
    site = request.headers.get("sec-fetch-site")
    if site is None:
        site = "none" if origin is None or _is_own(origin, request) else "cross-site"
    if site not in ("same-origin", "none"):
        raise Refused(ProblemCode.FOREIGN_ORIGIN, _foreign_text(origin, request))


def _foreign_text(origin: str | None, request: Request) -> str:
    """Return what was compared, since a proxy that passes on another host or scheme is the usual reason."""
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    compared = "" if origin is None else f" The request comes from {origin[:200]}, and this app is {own[:200]} here."
    return (
        f"Only pages of this app, trusted origins and programs may request changes.{compared} Behind a proxy, pass on "
        "the host and scheme of the browser, or add its origin to the trusted origins (trusted_origins)."
    )


def _is_own(origin: str, request: Request) -> bool:
    own = _parts(f"{request.url.scheme}://{request.headers.get('host', '')}")
    return own is not None and own == _parts(origin)


def _parts(origin: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS.get(parts.scheme)


def origins(trusted: Iterable[str]) -> frozenset[str]:
    """Return the trusted origins, checked: what no browser sends would never be equal to one.

    Raises:
        ValueError: one has no scheme, or a path, or one text is given in place of a collection.
    """
    if isinstance(trusted, str):
        raise ValueError(f"trusted origins must be a collection, such as [{trusted!r}], not the text {trusted!r}")
    checked = frozenset(trusted)
    for origin in checked:
        if origin != "null" and ("://" not in origin or _parts(origin) is None):
            raise ValueError(
                f"{origin!r} is not an origin; write the scheme and the host, without a path: https://tools.example"
            )
    return checked


def content_security_policy(frame_ancestors: str) -> str:
    """Return the policy of every page: nothing inline, nothing from elsewhere, no markup that scripts make of text."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {frame_ancestors}; "
        "require-trusted-types-for 'script'; trusted-types loopkit"
    )


def add_security_headers(headers: MutableHeaders, *, frame_ancestors: str, request_id: str) -> None:
    """Add the headers of every response. An existing policy, caching rule or referrer rule stays."""
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["X-Request-Id"] = request_id
    if frame_ancestors == "'none'":
        headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Content-Security-Policy", content_security_policy(frame_ancestors))
    headers.setdefault("Cache-Control", "private, no-cache")
    # A page under no-referrer sends its forms with "Origin: null", which check_origin would refuse.
    html = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Referrer-Policy", "same-origin" if html else "no-referrer")
