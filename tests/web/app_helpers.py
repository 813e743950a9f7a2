"""Helpers of the web tests: agents, apps over a store in memory, clients, and a listener of event streams."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import uvicorn
from starlette.types import ASGIApp, Message

import loopkit
from loopkit import Agent, MemoryStore
from loopkit_web import App, Streams, allow_all, create_app

NAMER_INPUTS: dict[str, Any] = {
    "type": "object",
    "required": ["thing"],
    "properties": {
        "thing": {"type": "string", "title": "Thing", "maxLength": 5_000},
        "count": {"type": "integer", "minimum": 1, "default": 3},
    },
    "additionalProperties": False,
}


def namer(name: str = "namer") -> Agent:
    """Return an agent that fails its first attempt and passes its second."""
    return Agent(
        name=name,
        produce=lambda ctx: f"A name for {ctx.inputs['thing']}",
        evaluate=lambda ctx: {"score": min(1.0, 0.45 * ctx.attempt), "feedback": "shorter"},
        revise=lambda ctx: ctx.output[:-3],
        description="Names things.",
        inputs=NAMER_INPUTS,
    )


def quick_streams(**limits: Any) -> Streams:
    """Return limits of streams that poll the store without pause."""
    return Streams(poll_seconds=0.001, **limits)


def make_app(store: Any = None, agents: Any = None, **options: Any) -> App:
    """Create an app that allows every client everything, unless ``options`` say otherwise."""
    all_options: dict[str, Any] = {"access": allow_all, "streams": quick_streams()} | options
    return create_app(MemoryStore() if store is None else store, [namer()] if agents is None else agents, **all_options)


def client(
    app: ASGIApp, *, host: str = "localhost:8700", address: str = "127.0.0.1", **options: Any
) -> httpx.AsyncClient:
    """Create a client of an app in this process; an exception that the app does not handle is raised here."""
    transport = httpx.ASGITransport(app, client=(address, 4000), root_path=options.pop("root_path", ""))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", **options)


async def started(http: httpx.AsyncClient, thing: str = "a cat") -> dict[str, Any]:
    """Start a run and return it."""
    response = await http.post("/api/workflows", json={"agentName": "namer", "inputs": {"thing": thing}})
    assert response.status_code == 201, response.text
    run: dict[str, Any] = response.json()
    return run


async def work(store: Any) -> None:
    """Run every queued run to its end."""
    await loopkit.Runner(store, [namer()], concurrency=2).drain()


class Listener:
    """Client of one event stream."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = anyio.Event()
        self._headers_sent = anyio.Event()
        self._buffer = ""
        self._gone = anyio.Event()
        self._in, self._out = anyio.create_memory_object_stream[str](10_000)

    async def headers_sent(self) -> None:
        """Wait until the response has begun."""
        await self._headers_sent.wait()

    async def message(self) -> dict[str, str]:
        """Return the next message (comments and ``retry`` included), or {} when the stream has ended."""
        while "\n\n" not in self._buffer:
            try:
                self._buffer += await self._out.receive()
            except anyio.EndOfStream:
                return {}
        block, self._buffer = self._buffer.split("\n\n", 1)
        return dict(line.split(": ", 1) for line in block.splitlines())

    async def event(self) -> dict[str, Any] | None:
        """Return the data of the next message that has data, or None when the stream has ended."""
        while message := await self.message():
            if "data" in message:
                return {"#": message.get("id"), **json.loads(message["data"])}
        return None

    async def rest(self) -> list[dict[str, Any]]:
        """Return the data of all remaining messages."""
        events = []
        while (event := await self.event()) is not None:
            events.append(event)
        return events

    def hang_up(self) -> None:
        self._gone.set()

    async def receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._headers_sent.set()
        elif message.get("body"):
            await self._in.send(message["body"].decode())
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._in.close()


@asynccontextmanager
async def listening(app: ASGIApp, path: str, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    """Open a stream, and disconnect its client on exit."""
    listener = Listener()
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": "",
        "scheme": "http",
        "query_string": query.encode(),
        "client": ("127.0.0.1", 4000),
        "headers": [
            (b"host", b"localhost"),
            (b"accept", b"text/event-stream"),
            *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
        ],
    }

    async def request() -> None:
        await app(scope, listener.receive, listener.send)
        listener._in.close()
        listener.ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        try:
            yield listener
        finally:
            listener.hang_up()
            with anyio.fail_after(10):
                await listener.ended.wait()
            listener._out.close()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, with an event for its readiness."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """Serve an app with uvicorn on a free port (asyncio only) and yield its address."""
    server = _Server(uvicorn.Config(app, port=0, log_config=None, ws="none", **options))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve)
        await server.ready.wait()
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
