"""loopkit_web: the HTTP API and the dashboard of loopkit, as an ASGI app to serve or to mount."""

from loopkit_web.access import Access, AccessHook, LoopbackOnly, Permission, allow_all, is_loopback
from loopkit_web.app import App, create_app
from loopkit_web.mounting import litestar_mount, mounted, routes
from loopkit_web.signing_in import TokenAccess
from loopkit_web.streaming import Streams

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
