"""Mounting an app in another: what each kind of host needs so that paths and prefix come out right.

Starlette and FastAPI know how to mount an ASGI app (``host.mount("/loop", web)``); :func:`routes` answers the bare
prefix as well. Litestar drops the prefix, :func:`litestar_mount` restores it. :func:`mounted` puts the app in front
of any other ASGI app, Django's among them.
"""

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["litestar_mount", "mounted", "routes"]


def routes(prefix: str, app: ASGIApp) -> list[BaseRoute]:
    """Give the routes for a Starlette or FastAPI host: the app at ``prefix``, and the bare prefix led to it."""
    prefix = _checked(prefix)

    async def lead_in(request: Request) -> Response:
        return RedirectResponse(quote(request.scope.get("root_path", "") + prefix) + "/", status_code=307)

    return [Route(prefix, lead_in, methods=["GET"], include_in_schema=False), Mount(prefix, app)]


def litestar_mount(prefix: str, app: ASGIApp) -> Any:
    """Give the route handler for a Litestar host: ``Litestar([litestar_mount("/loop", web)])``."""
    from litestar import asgi  # only its users have it

    prefix = _checked(prefix)

    async def loopkit(scope: Any, receive: Any, send: Any) -> None:
        await app(_below(scope, prefix, scope["path"]), receive, send)

    return asgi(prefix, is_mount=True, copy_scope=True)(loopkit)


def mounted(prefix: str, app: ASGIApp, otherwise: ASGIApp) -> ASGIApp:
    """Give an ASGI app that answers below ``prefix`` with ``app`` and everything else with ``otherwise``."""
    prefix = _checked(prefix)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "lifespan" and (path == prefix or path.startswith(prefix + "/")):
            await app(_below(scope, prefix, path[len(prefix) :]), receive, send)
        else:
            await otherwise(scope, receive, send)

    return choose


def _checked(prefix: str) -> str:
    if not prefix.startswith("/") or not prefix.strip("/"):
        raise ValueError(f"a prefix is a path such as /loop, not {prefix!r}")
    return prefix.rstrip("/")


def _below(scope: Scope, prefix: str, rest: str) -> Scope:
    """Give a scope as ASGI has it for a mounted app: ``root_path`` says the prefix, and ``path`` begins with it."""
    root = scope.get("root_path", "") + prefix
    return {**scope, "root_path": root, "path": root + (rest if rest.startswith("/") else "/" + rest)}
