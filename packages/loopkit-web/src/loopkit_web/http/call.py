"""One request as an endpoint sees it.

No module of ``loopkit_web`` has state of its own: everything belongs to a :class:`Site`, so that two apps in one
process do not share anything.

Handlers use ``call.store``, ``call.agents``, ``call.access`` and :meth:`Call.may`, ``call.query`` and ``call.body``
(validated, of the classes that the endpoint names), ``call.path`` (values of the names in braces), :meth:`Call.url` for
every address they write, :meth:`Call.unchanged` to respond 304 before rendering, and :meth:`Call.see_other` after a
form was processed. They raise loopkit's errors or ``Refused``, and never build an error response themselves.
"""

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loopkit import Agent
from loopkit.core.run import Run
from loopkit.storage import RunnerRegistry, RunScores, RunStatistics, Storage
from loopkit_web.http.access import NOBODY, Access, Permission
from loopkit_web.http.problems import ProblemCode, Refused
from loopkit_web.http.site import VERSION, Site

__all__ = ["VARY", "Call"]

VARY: Final = "Accept, Accept-Encoding, Authorization, Cookie"
"""Vary of every response that has an ETag, and of its 304."""

T = TypeVar("T")


class Call:
    """One request, with what the checks have found out about it so far."""

    store: Storage
    """Set once all checks have passed."""

    def __init__(self, site: Site, request: Request) -> None:
        self.site = site
        self.request = request
        self.id: Final = secrets.token_hex(8)
        """Request id, in the response and in the log."""
        self.access: Access = NOBODY
        self.path: Mapping[str, str] = {}
        """Values of the names in braces in the endpoint's path."""
        self.query: Any = None
        """Query parameters, an instance of the endpoint's ``query`` class."""
        self.body: Any = None
        """Body, an instance of the endpoint's ``body`` class; None if it takes none."""
        self.repeated: Run | None = None
        """Run of an earlier request with the same idempotency key; the body was then not checked any further."""

    @property
    def agents(self) -> Mapping[str, Agent]:
        """Agents by name, in the order of the configuration."""
        return self.site.agents

    @property
    def registry(self) -> RunnerRegistry | None:
        """The store's registry of runners; None if it keeps none."""
        return self.store if isinstance(self.store, RunnerRegistry) else None

    @property
    def statistics(self) -> RunStatistics | None:
        """The store's statistics of runs; None if it keeps none."""
        return self.store if isinstance(self.store, RunStatistics) else None

    @property
    def scores(self) -> RunScores | None:
        """The store's scores of many runs; None if it cannot return them."""
        return self.store if isinstance(self.store, RunScores) else None

    async def shared_read(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return the value of ``read``, shared with other requests of this key at the same poll of the streams.

        Streams poll at the same times, so what is older than half of the interval is from the poll before.
        """
        max_age = self.site.streams.poll_seconds / 2
        return await self.site.shared_reads.get(key, read, max_age_seconds=max_age)

    @property
    def base(self) -> str:
        """Mount prefix for addresses: "" or ``/prefix``, percent-encoded, without a trailing slash."""
        prefix = self.site.settings.base_path
        if prefix is None:
            prefix = self.request.scope.get("root_path", "")
        prefix = prefix.strip("/")
        return "/" + quote(prefix) if prefix else ""

    def url(self, path: str) -> str:
        """Return the address of a path of this app with the mount prefix and without a host: ``/prefix/agents``."""
        return self.base + path

    def may(self, permission: str) -> bool:
        """Return True if the client has this permission."""
        return permission in self.access.allow

    def require(self, permission: Permission) -> None:
        """Check that the client has a permission.

        Raises:
            Refused: it has not.
        """
        if self.may(permission):
            return
        if self.site.settings.read_only and permission is not Permission.VIEW:
            raise Refused(ProblemCode.FORBIDDEN, "This app is read-only.")
        raise Refused(ProblemCode.FORBIDDEN, f"You do not have the permission to {permission} runs.")

    @property
    def route_path(self) -> str:
        """Path below the mount prefix, as endpoints declare it: without a trailing slash."""
        scope = self.request.scope
        path: str = scope["path"]
        prefix = scope.get("root_path", "").rstrip("/")
        # Behind a proxy that strips a prefix, root_path starts with that prefix (app_root_path) and the path does not.
        for mounted_at in (prefix, prefix.removeprefix(scope.get("app_root_path", ""))):
            if mounted_at and (path == mounted_at or path.startswith(mounted_at + "/")):
                path = path[len(mounted_at) :]
                break
        return path.rstrip("/") or "/"

    @property
    def quoted_path(self) -> str:
        """The route path as it stands in a URI, percent-encoded (RFC 3986, section 3.3)."""
        return quote(self.route_path, safe="/:@!$&'()*+,;=~", errors="surrogatepass")

    @property
    def requested_page(self) -> str:
        """Path and query of the requested page, below the mount prefix; ``/`` if the request was not a read."""
        if self.request.method not in ("GET", "HEAD"):
            return "/"
        query = self.request.scope["query_string"].decode("latin-1")
        return self.quoted_path + (f"?{query}" if query else "")

    @property
    def prefers_stream(self) -> bool:
        """True if the first media type that the client accepts is that of server-sent events."""
        first = self.request.headers.get("accept", "").split(",")[0].split(";")[0]
        return first.strip().lower() == "text/event-stream" and self.request.method in ("GET", "HEAD")

    @property
    def wants_html(self) -> bool:
        """True if the client is a browser that opens a page."""
        return "text/html" in self.request.headers.get("accept", "")

    def see_other(self, path: str) -> Response:
        """Return the redirect (303) to a path of this app, for use after a form was processed."""
        return RedirectResponse(self.url(path), status_code=303)

    def tag(self, *facts: Any) -> str:
        """Return the weak ETag of a response made of these facts, for the current client.

        Args:
            facts: bytes, or values that JSON can represent; other values count as their text.
        """
        digest = hashlib.sha256()
        for fact in (VERSION, self.base, sorted(self.access.allow), self.access.actor, *facts):
            digest.update(fact if isinstance(fact, bytes) else json.dumps(fact, sort_keys=True, default=str).encode())
            digest.update(b"\0")
        return f'W/"{digest.hexdigest()[:32]}"'

    def unchanged(self, tag: str) -> Response | None:
        """Return the 304 response if the client already has the response with this ETag, else None.

        Source: RFC 9110, sections 8.8.3.2 and 13.1.2: tags are compared weakly, and may stand in several header lines.
        """
        sent = ",".join(self.request.headers.getlist("if-none-match"))
        client_tags = [text.strip().removeprefix("W/") for text in sent.split(",")]
        is_current = tag.removeprefix("W/") in client_tags or "*" in client_tags
        return Response(status_code=304, headers={"ETag": tag, "Vary": VARY}) if is_current else None
