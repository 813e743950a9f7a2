"""create_app(): the API and the pages as one ASGI app, and the one place where a request is let through or refused.

The order of the checks: Host, origin, who asks, whether there is such an endpoint, permission, query, body. Nobody
learns what exists before the access hook knows them.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

import loopkit
from loopkit.agents.agent import Agent
from loopkit.storage import Storage
from loopkit_web import guarding, problems, reading
from loopkit_web.access import Access, AccessHook, LoopbackOnly, Permission, host_names
from loopkit_web.context import Call, Settings, Site
from loopkit_web.endpoints import API
from loopkit_web.pages import PAGES, problem_page
from loopkit_web.problems import Refused
from loopkit_web.routing import Endpoint, Form, Routes
from loopkit_web.signing_in import TokenAccess
from loopkit_web.streaming import Streams

__all__ = ["App", "create_app"]

_log: Final = logging.getLogger("loopkit_web")


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
) -> "App":
    """Give the API and the dashboard as an ASGI app, to serve or to mount at any path.

    Args:
        store: where the runs live, or its URL; a URL is opened on first use.
        agents: what runs can be started of: agents, agents by name, or the path of an agents.yaml.
        access: says who a request is and what it may do. None: only this machine itself may ask.
        allowed_hosts: the names in Host headers that are answered, loopback names besides. None: every name, as
            fits an app whose host or access hook checks.
        trusted_origins: origins that may ask for changes beside the app's own, e.g. ``https://tools.example``.
        read_only: nobody may do more than view.
        base_path: the prefix of every address written, where a proxy strips it and ``root_path`` does not say it.
        frame_ancestors: who may show the pages in a frame, as the Content-Security-Policy has it.
        streams: the bounds of live streams, where the usual ones do not fit.

    Raises:
        InvalidConfig: the agents.yaml is not usable.
        ValueError: a host or a path is none.
    """
    hook = access if access is not None else LoopbackOnly()
    table = (*API, *PAGES, *(hook.endpoints if isinstance(hook, TokenAccess) else ()))
    settings = Settings(
        allowed_hosts=host_names(allowed_hosts) if allowed_hosts is not None else None,
        trusted_origins=frozenset(trusted_origins),
        read_only=read_only,
        base_path=base_path,
        frame_ancestors=frame_ancestors,
    )
    site = Site(store, _by_name(agents), access=hook, settings=settings, streams=streams or Streams(), table=table)
    return App(site)


def _by_name(agents: Sequence[Agent] | Mapping[str, Agent] | str | Path) -> Mapping[str, Agent]:
    if isinstance(agents, str | Path):
        loaded: Mapping[str, Agent] = loopkit.load_agents(agents)
        return loaded
    return agents if isinstance(agents, Mapping) else {agent.name: agent for agent in agents}


class App:
    """The ASGI app. Needs no lifespan: what it opens it opens on first use."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._routes = Routes(site.table)

    @property
    def streams(self) -> Streams:
        """The live streams; ``app.streams.stop()`` ends them, so that a server can stop."""
        return self._site.streams

    @property
    def table(self) -> Sequence[Endpoint]:
        """Every endpoint of this app."""
        return self._site.table

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open the store now, and close it and the streams in the end. For hosts that like to; may be nested."""
        self.streams.resume()
        try:
            await self._site.store()
            yield
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """End the streams and close a store that was given by its URL. Idempotent."""
        await self._site.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(Call(self._site, Request(scope, receive)), receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.streams.resume()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    # --- One request ---------------------------------------------------------------------------------------------

    async def _serve(self, call: Call, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens; what fails after the answer began cannot be told any more."""
        started = False

        async def secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=list(message["headers"]))
                ancestors = self._site.settings.frame_ancestors
                guarding.secure(headers, frame_ancestors=ancestors, request_id=call.id)
                message = {**message, "headers": headers.raw}
            await send(message)

        try:
            response = await self._answer(call)
            await self._send(call, response, receive, secured)
        except Exception as error:
            refused = problems.refusal(error)
            if refused.code == "internal":
                _log.exception("request %s failed", call.id)
            elif refused.code == "store-unavailable":
                _log.warning("request %s: %s", call.id, error)
            if started:
                raise
            await self._send(call, self._problem(call, refused), receive, secured)

    async def _send(self, call: Call, response: Response, receive: Receive, send: Send) -> None:
        if call.request.method == "HEAD":
            await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await response(call.request.scope, receive, send)

    async def _answer(self, call: Call) -> Response:
        """Check a request in the order that the module's docstring gives, and have its endpoint answer it."""
        method = "GET" if call.request.method == "HEAD" else call.request.method
        methods, call.path = self._routes.find(call.route_path)
        endpoint = methods.get(method)
        self._check_where(call, endpoint)
        if endpoint is None or endpoint.permission is not None:
            call.access = await self._who(call)
        if endpoint is None:
            raise _no_endpoint(methods)
        if endpoint.permission is not None and not call.may(endpoint.permission):
            raise self._forbidden(endpoint.permission)
        call.query = reading.query(endpoint.query, call.request.scope["query_string"], known_only=not endpoint.page)
        call.body = await self._body(call, endpoint)
        call.store = await self._site.store()
        return await endpoint.handler(call)

    def _check_where(self, call: Call, endpoint: Endpoint | None) -> None:
        settings = self._site.settings
        if settings.allowed_hosts is not None and not (endpoint is not None and endpoint.any_host):
            guarding.check_host(call.request.headers, settings.allowed_hosts)
        if call.request.method not in ("GET", "HEAD"):
            guarding.check_origin(call.request, settings.trusted_origins)

    async def _who(self, call: Call) -> Access:
        access = await self._site.access(call.request)
        if access is None:
            raise Refused("unauthenticated", headers={"WWW-Authenticate": 'Bearer realm="loopkit"'})
        return access.only(frozenset({Permission.VIEW})) if self._site.settings.read_only else access

    def _forbidden(self, permission: Permission) -> Refused:
        if self._site.settings.read_only and permission is not Permission.VIEW:
            return Refused("forbidden", "This app is read-only.")
        return Refused("forbidden", f"You may not {permission} runs here.")

    async def _body(self, call: Call, endpoint: Endpoint) -> Any:
        if endpoint.body is None:
            return None
        settings = self._site.settings
        is_form = endpoint.body is Form
        headers = call.request.headers
        if is_form and "content-type" not in headers and headers.get("content-length", "0") == "0":
            return Form(fields=())  # a form without fields, from a client that is no browser
        body = await reading.content(
            call.request,
            media_type="application/x-www-form-urlencoded" if is_form else "application/json",
            max_bytes=settings.max_body_bytes,
            seconds=settings.body_seconds,
        )
        if is_form:
            return reading.form(body)
        return await to_thread.run_sync(_json_body, call, endpoint, body)

    # --- Problems ------------------------------------------------------------------------------------------------

    def _problem(self, call: Call, refused: Refused) -> Response:
        """Give a problem as JSON, or as a page to a browser that opened one."""
        problem = problems.problem(refused, instance=call.url(call.route_path), request_id=call.id)
        headers = {"Cache-Control": "no-store", **refused.headers}
        if call.wants_html and not call.route_path.startswith("/api/"):
            return HTMLResponse(problem_page(call, problem), status_code=problem.status, headers=headers)
        media_type = "application/problem+json"
        return JSONResponse(problem.document(), status_code=problem.status, headers=headers, media_type=media_type)


def _json_body(call: Call, endpoint: Endpoint, body: bytes) -> Any:
    """Check a whole body and give it as its class. Not in the event loop: much JSON takes its time."""
    assert endpoint.body is not None
    document = reading.document(body)
    faults = [*reading.faults(endpoint.body, document)]
    if endpoint.check is not None and isinstance(document, dict):
        faults += endpoint.check(call, document)
    if faults:
        raise Refused("invalid", faults=faults)
    return reading.structured(endpoint.body, document)


def _no_endpoint(methods: Mapping[str, Endpoint]) -> Refused:
    if not methods:
        return Refused("not-found")
    allowed = ["HEAD", *methods] if "GET" in methods else [*methods]
    return Refused("method-not-allowed", headers={"Allow": ", ".join(sorted(allowed))})
