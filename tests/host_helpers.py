"""Event loops as hosts start them, without anyio around: plain asyncio, uvloop, and a request of a real uvicorn."""

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import anyio._core._eventloop
import pytest
import uvicorn
import uvloop

Test = Callable[[], Coroutine[Any, Any, None]]
Message = MutableMapping[str, Any]

REQUEST_SECONDS = 290


class Host(StrEnum):
    """Kind of host."""

    ASYNCIO = "asyncio.run"
    WITHOUT_SNIFFIO = "asyncio.run-without-sniffio"
    UVLOOP = "uvloop"
    UVICORN = "uvicorn"


def run_in(host: Host, test: Test) -> None:
    """Run an async test in a host, and raise what it raises."""
    match host:
        case Host.ASYNCIO:
            asyncio.run(test())
        case Host.WITHOUT_SNIFFIO:
            with without_sniffio():
                asyncio.run(test())
        case Host.UVLOOP:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(test())
        case Host.UVICORN:
            run_in_uvicorn(test)


@contextmanager
def without_sniffio() -> Iterator[None]:
    """Make anyio find its event loop as in an environment in which sniffio is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anyio._core._eventloop, "sniffio", None)
        yield


def run_in_uvicorn(test: Test) -> None:
    """Serve an app whose handler runs the test, and send it one request."""
    errors: list[BaseException] = []

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        try:
            await test()
        except BaseException as error:  # raised in the thread of the test runner instead
            errors.append(error)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, loop="asyncio"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            port = listening.getsockname()[1]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=REQUEST_SECONDS):
                pass
        finally:
            server.should_exit = True
            thread.join()
    if errors:
        raise errors[0]
