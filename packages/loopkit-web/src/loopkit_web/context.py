"""What an endpoint gets: a :class:`Site`, one to an app, and a :class:`Call`, one to a request.

No module of loopkit_web keeps state; all of it hangs on the site, so that two apps in one process do not meet.
A page's handler uses of a call: ``call.store``, ``call.agents``, ``call.access`` (and :meth:`Call.may`),
``call.query`` and ``call.body`` (already checked, of the classes its endpoint names), ``call.path`` (the names in
braces), ``call.url("/agents")`` for every address it writes, :meth:`Call.unchanged` for a 304 before it renders, and
:meth:`Call.see_other` after a form was taken. It raises loopkit's errors or a ``Refused``, and never answers an
error by itself.
"""

import hashlib
import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote

import anyio.to_thread
import attrs
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loopkit.agents.agent import Agent
from loopkit.storage import Fleet, Storage
from loopkit.stores.memory import STALLED_AFTER
from loopkit_web.access import NOBODY, Access, AccessHook
from loopkit_web.streaming import Streams

__all__ = ["VERSION", "Call", "Settings", "Site"]

VERSION: Final = version("loopkit-web")


@attrs.frozen(kw_only=True)
class Settings:
    """What an app is told once, when it is made."""

    allowed_hosts: frozenset[str] | None = None
    """Names in Host headers that are answered, loopback names besides; None: every name."""
    trusted_origins: frozenset[str] = frozenset()
    """Origins (``https://runs.example``) that may ask for changes beside the app's own."""
    read_only: bool = False
    """Nobody may do more than view."""
    base_path: str | None = None
    """The prefix of every address written, where ``root_path`` does not say it."""
    frame_ancestors: str = "'none'"
    """Who may show the pages in a frame, as the Content-Security-Policy has it."""
    max_body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    """How long a client may take to send a body."""


class Site:
    """One app: its store, its agents, who may do what, and the streams that are open."""

    def __init__(
        self,
        store: Storage | str,
        agents: Mapping[str, Agent],
        *,
        access: AccessHook,
        settings: Settings,
        streams: Streams,
        table: Sequence[Any],
    ) -> None:
        self.agents = agents
        self.access = access
        self.settings = settings
        self.streams = streams
        self.table = table
        """Every :class:`~loopkit_web.routing.Endpoint` of this app."""
        self._given = store
        self._opened: Storage | None = None
        self._opening = threading.Lock()

    async def store(self) -> Storage:
        """Give the store; one that was named by its URL is opened on first use."""
        if not isinstance(self._given, str):
            return self._given
        opened = self._opened
        return opened if opened is not None else await anyio.to_thread.run_sync(self._open, self._given)

    def _open(self, url: str) -> Storage:
        # Not by open_store: what that gives closes with the event loop, and a site may see more than one.
        from loopkit.stores.sql.opening import opened

        with self._opening:
            if self._opened is None:
                self._opened = opened(url, STALLED_AFTER)
            return self._opened

    async def aclose(self) -> None:
        """End the streams and close a store that this site opened itself. Idempotent; the next request opens anew."""
        self.streams.stop()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()


class Call:
    """One request on its way through an endpoint."""

    store: Storage
    """Set once the request may go on."""

    def __init__(self, site: Site, request: Request) -> None:
        self.site = site
        self.request = request
        self.id: Final = secrets.token_hex(8)
        """The request id that stands in the answer and in the log."""
        self.access: Access = NOBODY
        self.path: Mapping[str, str] = {}
        """The values of the names in braces in the endpoint's path."""
        self.query: Any = None
        """The query, of the endpoint's ``query`` class."""
        self.body: Any = None
        """The body, of the endpoint's ``body`` class; None where it takes none."""

    @property
    def agents(self) -> Mapping[str, Agent]:
        return self.site.agents

    @property
    def fleet(self) -> Fleet | None:
        """The store's figures and runners, where it keeps them."""
        return self.store if isinstance(self.store, Fleet) else None

    @property
    def base(self) -> str:
        """The mount prefix as it stands in addresses: "" or ``/prefix``, quoted, without a slash at its end."""
        prefix = self.site.settings.base_path
        if prefix is None:
            prefix = self.request.scope.get("root_path", "")
        prefix = prefix.strip("/")
        return "/" + quote(prefix) if prefix else ""

    def url(self, path: str) -> str:
        """Give the address of a path of this app, absolute within its host: ``/prefix/agents``."""
        return self.base + path

    def may(self, permission: str) -> bool:
        """True when the one who asks may do it."""
        return permission in self.access.allow

    @property
    def route_path(self) -> str:
        """The path below the mount prefix, as the endpoints have it: a slash at its end makes no difference."""
        scope = self.request.scope
        path: str = scope["path"]
        prefix = scope.get("root_path", "").rstrip("/")
        # A host that was told a prefix which its proxy has taken off says more in root_path than stands in the path.
        for mounted_at in (prefix, prefix.removeprefix(scope.get("app_root_path", ""))):
            if mounted_at and (path == mounted_at or path.startswith(mounted_at + "/")):
                path = path[len(mounted_at) :]
                break
        return path.rstrip("/") or "/"

    @property
    def asked_for(self) -> str:
        """The page that was asked for, below the mount prefix, query included; ``/`` where it was no page."""
        if self.request.method not in ("GET", "HEAD"):
            return "/"
        query = self.request.scope["query_string"].decode("latin-1")
        return quote(self.route_path) + (f"?{query}" if query else "")

    @property
    def prefers_stream(self) -> bool:
        """True when server-sent events were asked for, and no other type before them."""
        first = self.request.headers.get("accept", "").split(",")[0].split(";")[0]
        return first.strip().lower() == "text/event-stream" and self.request.method == "GET"

    @property
    def wants_html(self) -> bool:
        """True for a browser that opens a page."""
        return "text/html" in self.request.headers.get("accept", "")

    def see_other(self, path: str) -> Response:
        """Send a browser on to a path of this app after a form was taken (303)."""
        return RedirectResponse(self.url(path), status_code=303)

    def tag(self, *facts: Any) -> str:
        """Give the weak ETag of an answer made of these facts (anything JSON can hold, or bytes), for who asks now."""
        digest = hashlib.sha256()
        for fact in (VERSION, self.base, sorted(self.access.allow), self.access.actor, *facts):
            digest.update(fact if isinstance(fact, bytes) else json.dumps(fact, sort_keys=True, default=str).encode())
            digest.update(b"\0")
        return f'W/"{digest.hexdigest()[:32]}"'

    def unchanged(self, tag: str) -> Response | None:
        """Give the 304 where the client already has the answer of this tag."""
        held = [given.strip() for given in self.request.headers.get("if-none-match", "").split(",")]
        return Response(status_code=304, headers={"ETag": tag}) if tag in held or "*" in held else None
