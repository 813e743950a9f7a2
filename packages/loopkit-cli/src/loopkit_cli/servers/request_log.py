"""Log of the requests of ``serve``: a line each, when its response has been sent.

The query is left out: the address that signs a browser in has its token there.
"""

import logging
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestLog"]

logger = logging.getLogger("loopkit_cli")


class RequestLog:
    """ASGI app around another one that logs each request: method, path, status and milliseconds."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, status = monotonic(), None

        async def send_and_look(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round((monotonic() - began_at) * 1000, 1),
            }
            logger.info("%(method)s %(path)s %(status)s in %(ms)s ms", fields, extra=fields)
