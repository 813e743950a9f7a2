"""loopkit_web: HTTP API and dashboard of loopkit, as an ASGI app to serve or to mount."""

from loopkit_web.app import App, create_app
from loopkit_web.http.access import Access, AccessHook, LoopbackOnly, Permission, allow_all, is_loopback
from loopkit_web.http.event_stream import Streams
from loopkit_web.mount import litestar_mount, mounted, routes
from loopkit_web.token_access import TokenAccess

__all__ = [
    "Access",
    "AccessHook",
    "App",
    "LoopbackOnly",
    "Permission",
    "Streams",
    "TokenAccess",
    "allow_all",
    "create_app",
    "is_loopback",
    "litestar_mount",
    "mounted",
    "routes",
]
