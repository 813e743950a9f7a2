"""create_app(): the API and the pages as one ASGI app, and the checks that every request passes.

Order of the checks: Host, origin, access hook, existence of the endpoint, permission, query, body. A client that the
access hook does not accept cannot find out what exists.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

import loopkit
from loopkit import Agent
from loopkit.agents import agents_by_name
from loopkit.core.lease import STALLED_AFTER
from loopkit.errors import Fault
from loopkit.storage import Storage
from loopkit_web.api.endpoint_table import API
from loopkit_web.dashboard.page_table import PAGES, problem_page
from loopkit_web.http import access as access_hooks
from loopkit_web.http import problems, request_checks, request_values
from loopkit_web.http.access import Access, AccessHook, LoopbackOnly, Permission, host_names
from loopkit_web.http.call import Call
from loopkit_web.http.content_coding import compress_page
from loopkit_web.http.endpoint import Endpoint, Form, Routes
from loopkit_web.http.event_stream import Streams
from loopkit_web.http.problems import ProblemCode, Refused
from loopkit_web.http.site import Settings, Site
from loopkit_web.http.unread_body import UnreadBody
from loopkit_web.token_access import TokenAccess

__all__ = ["App", "create_app"]

logger: Final = logging.getLogger("loopkit_web")

_MAX_BODY_BYTES: Final = 1 << 20
_BODY_SECONDS: Final = 30.0
"""Longest time in which a client must have sent its body."""


def create_app(
    store: Storage | str,
    agents: Sequence[Agent] | Mapping[str, Agent] | str | Path,
    *,
    access: AccessHook | None = None,
    allowed_hosts: Iterable[str] | None = None,
    trusted_origins: Iterable[str] = (),
    read_only: bool = False,
    base_path: str | None = None,
    frame_ancestors: str = "'none'",
    streams: Streams | None = None,
    stalled_after: timedelta | None = None,
) -> "App":
    """Create the API and the dashboard as one ASGI app, to serve or to mount at any path.

    Args:
        store: the store, or its URL, which is opened on first use.
        agents: the agents that runs can be started for: a list, a mapping by name, or the path of an agents.yaml.
        access: async function that authenticates a request and returns its permissions. None: only requests from this
            machine pass.
        allowed_hosts: host names that requests may name, in addition to loopback names. None: any, for an app whose
            host or access hook checks the name.
        trusted_origins: origins that may request changes, in addition to the app's own: ``https://tools.example``.
        read_only: no client may do more than view.
        base_path: prefix of every address that the app writes, for a proxy that strips a prefix without setting
            ``root_path``.
        frame_ancestors: sources that may show the pages in a frame, in the syntax of Content-Security-Policy.
        streams: limits of the event streams; None: the defaults.
        stalled_after: time without a heartbeat after which a run may be taken over; only with a URL, since a store
            has its own. None: 120 seconds.

    Raises:
        InvalidConfig: the agents.yaml cannot be used.
        InvalidDatabase: the URL is not that of a database.
        UnusableOption: ``store`` is not an open store, ``access`` cannot be called, the agents are something else, or
            two of them have one name.
        ValueError: ``allowed_hosts`` has an invalid host name, ``trusted_origins`` an invalid origin, or
            ``stalled_after`` is given with an open store.
    """
    if stalled_after is not None and not isinstance(store, str):
        raise ValueError("stalled_after is for a store that is given by its URL; set it on the store instead")
    hook = access if access is not None else LoopbackOnly()
    access_hooks.check_hook(hook)
    table = (*API, *PAGES, *(hook.endpoints if isinstance(hook, TokenAccess) else ()))
    settings = Settings(
        allowed_hosts=host_names(allowed_hosts) if allowed_hosts is not None else None,
        trusted_origins=request_checks.origins(trusted_origins),
        read_only=read_only,
        base_path=base_path,
        frame_ancestors=frame_ancestors,
        stalled_after=STALLED_AFTER if stalled_after is None else stalled_after,
    )
    site = Site(store, _by_name(agents), access=hook, settings=settings, streams=streams or Streams(), table=table)
    return App(site)


def _by_name(agents: Sequence[Agent] | Mapping[str, Agent] | str | Path) -> Mapping[str, Agent]:
    if isinstance(agents, str | Path):
        loaded: Mapping[str, Agent] = loopkit.load_agents(agents)
        return loaded
    named = agents_by_name(agents)
    return agents if isinstance(agents, Mapping) else named


class App:
    """The ASGI app. It needs no lifespan events: it opens its store on first use."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._routes = Routes(site.table)

    @property
    def streams(self) -> Streams:
        """Event streams of this app; ``app.streams.stop()`` ends them, so that a server can shut down."""
        return self._site.streams

    @property
    def table(self) -> Sequence[Endpoint]:
        """Every endpoint of this app."""
        return self._site.table

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open the store on entry; close it and end the streams on exit. Optional for hosts; may be nested."""
        self.streams.resume()
        try:
            await self._site.store()
            yield
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """End the streams and close the store if it was given by its URL. Idempotent."""
        await self._site.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif scope["type"] == "http":
            body = UnreadBody(scope, receive)
            call = Call(self._site, Request(scope, body.receive))
            await self._respond(call, body.receive, body.sending_before(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.streams.resume()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, call: Call, receive: Receive, send: Send) -> None:
        """Send the response to a request, a problem if an error occurs; re-raise an error after the response began."""
        started = False

        async def secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=list(message["headers"]))
                ancestors = self._site.settings.frame_ancestors
                request_checks.add_security_headers(headers, frame_ancestors=ancestors, request_id=call.id)
                message = {**message, "headers": headers.raw}
            await send(message)

        try:
            response = await self._dispatch(call)
            await compress_page(call, response)
            await self._send(call, response, receive, secured)
        except Exception as error:
            refused = problems.refusal(error)
            if refused.code == ProblemCode.INTERNAL:
                logger.exception("request %s failed", call.id)
            elif refused.code == ProblemCode.STORE_UNAVAILABLE:
                logger.warning("request %s: %s", call.id, error)
            if started:
                raise
            await self._send(call, self._problem(call, refused), receive, secured)

    async def _send(self, call: Call, response: Response, receive: Receive, send: Send) -> None:
        if call.request.method == "HEAD":
            await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await response(call.request.scope, receive, send)

    async def _dispatch(self, call: Call) -> Response:
        """Return the response of the endpoint, after the checks in the order of the module's docstring."""
        method = "GET" if call.request.method == "HEAD" else call.request.method
        methods, call.path = self._routes.find(call.route_path)
        endpoint = methods.get(method)
        self._check_host_and_origin(call, endpoint)
        if endpoint is None or endpoint.permission is not None:
            call.access = await self._authenticate(call)
        if endpoint is None:
            raise _no_endpoint(methods)
        if endpoint.permission is not None:
            call.require(endpoint.permission)
        call.query = request_values.parse_query(
            endpoint.query, call.request.scope["query_string"], known_only=not endpoint.page
        )
        call.body = await self._body(call, endpoint)
        call.store = await self._site.store()
        return await endpoint.handler(call)

    def _check_host_and_origin(self, call: Call, endpoint: Endpoint | None) -> None:
        settings = self._site.settings
        if settings.allowed_hosts is not None and not (endpoint is not None and endpoint.any_host):
            request_checks.check_host(call.request.headers, settings.allowed_hosts)
        if call.request.method not in ("GET", "HEAD"):
            request_checks.check_origin(call.request, settings.trusted_origins)

    async def _authenticate(self, call: Call) -> Access:
        access = await access_hooks.ask(self._site.access, call.request)
        if access is None:
            raise Refused(ProblemCode.UNAUTHENTICATED, headers={"WWW-Authenticate": 'Bearer realm="loopkit"'})
        return access.only(frozenset({Permission.VIEW})) if self._site.settings.read_only else access

    async def _body(self, call: Call, endpoint: Endpoint) -> Any:
        if endpoint.body is None:
            return None
        is_form = endpoint.body is Form
        headers = call.request.headers
        if is_form and "content-type" not in headers and headers.get("content-length", "0") == "0":
            return Form(fields=())  # no fields, from a client that is not a browser
        body = await request_values.read_body(
            call.request,
            media_type="application/x-www-form-urlencoded" if is_form else "application/json",
            max_bytes=_MAX_BODY_BYTES,
            seconds=_BODY_SECONDS,
        )
        if is_form:
            return request_values.parse_form(body)
        document, faults = await to_thread.run_sync(_json_body, endpoint, body)
        value = None if faults else request_values.structure(endpoint.body, document)
        if endpoint.find_repeated is not None and value is not None:
            call.store = await self._site.store()
            call.repeated = await endpoint.find_repeated(call, value)
        if endpoint.check is not None and call.repeated is None and isinstance(document, dict):
            faults += await to_thread.run_sync(endpoint.check, call, document)
        if faults:
            raise Refused(ProblemCode.INVALID, faults=faults)
        return value

    def _problem(self, call: Call, refused: Refused) -> Response:
        """Return a problem as JSON, or as a page if a browser requested one."""
        problem = problems.problem(refused, instance=call.url(call.quoted_path), request_id=call.id)
        headers = {"Cache-Control": "no-store", **refused.headers}
        if call.wants_html and not call.route_path.startswith("/api/"):
            return HTMLResponse(problem_page(call, problem), status_code=problem.status, headers=headers)
        media_type = "application/problem+json"
        return JSONResponse(problem.document(), status_code=problem.status, headers=headers, media_type=media_type)


def _json_body(endpoint: Endpoint, body: bytes) -> tuple[Any, list[Fault]]:
    """Parse a JSON body; return it and the faults that its class finds. Slow for large ones: not for the event loop."""
    assert endpoint.body is not None
    document = request_values.parse_json(body)
    return document, [*request_values.find_faults(endpoint.body, document)]


def _no_endpoint(methods: Mapping[str, Endpoint]) -> Refused:
    if not methods:
        return Refused(ProblemCode.NOT_FOUND)
    allowed = ["HEAD", *methods] if "GET" in methods else [*methods]
    return Refused(ProblemCode.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(allowed))})
