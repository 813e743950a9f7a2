"""What is checked of every request before anybody looks at it, and the headers that every answer bears.

The rules need no secret and no session: a Host the app does not know is refused (DNS rebinding), a change asked for
by a page of another origin is refused (CSRF), and pages may load and do nothing but what the app itself serves.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from loopkit_web.access import host_name, is_loopback
from loopkit_web.problems import Refused

__all__ = ["check_host", "check_origin", "content_security_policy", "secure"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_host(headers: Headers, allowed: frozenset[str]) -> None:
    """Let a request through whose one Host is a loopback name or one of ``allowed`` (lower case, without port).

    Raises:
        Refused: it is neither.
    """
    hosts = headers.getlist("host")
    name = host_name(hosts[0]) if len(hosts) == 1 else ""
    if not name or not (is_loopback(name) or name in allowed):
        raise Refused("wrong-host", "This server does not answer to that name; it can be told to (allowed hosts).")


def check_origin(request: Request, trusted: frozenset[str]) -> None:
    """Let a change through that the app's own pages ask for, a trusted origin, or no browser at all.

    Browsers say where a request comes from in headers that no page can set. ``Sec-Fetch-Site`` decides where it is
    there; older browsers, and pages of plain HTTP, send ``Origin`` alone; programs send neither.

    Source: https://words.filippo.io/csrf (Go 1.25's http.CrossOriginProtection).

    Raises:
        Refused: another origin asks.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin in trusted:
        return
    site = request.headers.get("sec-fetch-site")
    if site is None:
        site = "none" if origin is None or _is_own(origin, request) else "cross-site"
    if site not in ("same-origin", "none"):
        raise Refused("foreign-origin", "Changes may be asked for by the app's own pages, and by programs.")


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


def content_security_policy(frame_ancestors: str) -> str:
    """Give the policy of every page: nothing inline, nothing from elsewhere, and no markup made of text by scripts."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {frame_ancestors}; "
        "require-trusted-types-for 'script'; trusted-types loopkit"
    )


def secure(headers: MutableHeaders, *, frame_ancestors: str, request_id: str) -> None:
    """Add what every answer bears. A policy, caching rule or referrer rule that is already there stays."""
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["X-Request-Id"] = request_id
    if frame_ancestors == "'none'":
        headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Content-Security-Policy", content_security_policy(frame_ancestors))
    headers.setdefault("Cache-Control", "private, no-cache")
    # A page under no-referrer posts its forms with "Origin: null", which is nobody's origin.
    html = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Referrer-Policy", "same-origin" if html else "no-referrer")
