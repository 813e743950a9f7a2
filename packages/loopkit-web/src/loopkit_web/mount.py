"""Functions that mount the app in other apps with correct paths and prefix.

Starlette and FastAPI mount any ASGI app (``host.mount("/loop", web)``); :func:`routes` also serves the bare prefix.
Litestar drops the prefix, and :func:`litestar_mount` restores it. :func:`mounted` combines the app with any other ASGI
app, such as Django's.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler

__all__ = ["litestar_mount", "mounted", "routes"]


def routes(prefix: str, app: ASGIApp) -> list[BaseRoute]:
    """Return routes for a Starlette or FastAPI host: the app at ``prefix``, and a redirect from the bare prefix."""
    prefix = _checked_prefix(prefix)

    async def redirect(request: Request) -> Response:
        return RedirectResponse(quote(request.scope.get("root_path", "") + prefix) + "/", status_code=307)

    return [Route(prefix, redirect, methods=["GET"], include_in_schema=False), Mount(prefix, app)]


def litestar_mount(prefix: str, app: ASGIApp) -> "ASGIRouteHandler":
    """Return the route handler for a Litestar host: ``Litestar([litestar_mount("/loop", web)])``."""
    from litestar import asgi  # imported late: an optional dependency

    prefix = _checked_prefix(prefix)

    async def loopkit(scope: Scope, receive: Receive, send: Send) -> None:
        await app(_below(scope, prefix, scope["path"]), receive, send)

    return asgi(prefix, is_mount=True, copy_scope=True)(loopkit)


def mounted(prefix: str, app: ASGIApp, otherwise: ASGIApp) -> ASGIApp:
    """Return an ASGI app that routes requests below ``prefix`` to ``app`` and all others to ``otherwise``."""
    prefix = _checked_prefix(prefix)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "lifespan" and (path == prefix or path.startswith(prefix + "/")):
            await app(_below(scope, prefix, path[len(prefix) :]), receive, send)
        else:
            await otherwise(scope, receive, send)

    return choose


def _checked_prefix(prefix: str) -> str:
    if not prefix.startswith("/") or not prefix.strip("/"):
        raise ValueError(f"a prefix must be a path such as /loop, not {prefix!r}")
    return prefix.rstrip("/")


def _below(scope: Scope, prefix: str, rest: str) -> Scope:
    """Return the scope of a mounted app, as ASGI defines it: ``path`` begins with the prefix, ``root_path``."""
    root = scope.get("root_path", "") + prefix
    return {**scope, "root_path": root, "path": root + (rest if rest.startswith("/") else "/" + rest)}
