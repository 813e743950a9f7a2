"""Signals that stop a server: they end open streams, and are handled by the server as before."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from loopkit_web import Streams
from loopkit_web.http.stop_signals import StopSignals
from tests.web.app_helpers import listening, make_app, quick_streams

CHANGES = "/api/workflow-stream"

HOST = """
import loopkit, loopkit_web, uvicorn
from starlette.applications import Starlette
agent = loopkit.Agent(name="a", produce=lambda ctx: "x", evaluate=lambda ctx: 1.0)
web = loopkit_web.create_app(loopkit.MemoryStore(), [agent], access=loopkit_web.allow_all)
app = Starlette(routes=loopkit_web.routes("/loop", web))

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

Server(uvicorn.Config(app, port=0, log_config=None)).run()
"""


@pytest.fixture
def received() -> Iterator[list[int]]:
    """Signals that the server's own handler received."""
    numbers: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_open_streams_and_reaches_the_server(received: list[int], number: int) -> None:
    """Every open stream ends, the server's handler is called once and restored, and later streams are accepted."""
    handler = signal.getsignal(number)
    app = make_app(streams=quick_streams())
    async with listening(app, CHANGES) as first:
        async with listening(app, CHANGES) as second:
            await second.headers_sent()
        await first.headers_sent()
        signal.raise_signal(number)
        with anyio.fail_after(30):
            assert await first.rest() == []
    assert received == [number]
    assert signal.getsignal(number) is handler
    async with listening(app, CHANGES) as later:
        await later.headers_sent()
        assert later.status == 200


async def test_a_stream_between_two_distant_polls_ends_at_a_signal(received: list[int]) -> None:
    """The end does not wait for the next poll of the store."""
    app = make_app(streams=Streams(poll_seconds=3600))
    async with listening(app, CHANGES) as stream:
        await stream.headers_sent()
        signal.raise_signal(signal.SIGTERM)
        with anyio.fail_after(30):
            await stream.ended.wait()
    assert received == [signal.SIGTERM]


def test_a_handler_of_the_event_loop_is_called_as_well() -> None:
    """``loop.add_signal_handler``, as hypercorn uses it, still works below the observation."""

    async def main() -> None:
        streams, server_stops = Streams(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server_stops.set)
        with streams.admit(None):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(server_stops.wait(), 30)
        assert streams.interruptions == 1

    asyncio.run(main())


def test_signals_without_a_handler_and_other_threads_are_left_alone() -> None:
    """The default action of a signal stays what it is, and no handler is set outside of the main thread."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        signals = StopSignals(Streams().interrupt)
        signals.observe()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signals.release()
        streams = Streams()
        thread = threading.Thread(target=StopSignals(streams.interrupt).observe)
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_handlers_do_not_pile_up_below_one_of_another_program(received: list[int]) -> None:
    """A handler that could not be restored is used again, so that a signal is reported once."""
    streams = Streams()
    for _ in range(3):
        with streams.admit(None):
            ours = signal.getsignal(signal.SIGTERM)
            assert callable(ours)
            signal.signal(signal.SIGTERM, ours)
    signals = StopSignals(streams.interrupt)
    signals.observe()
    signals.observe()
    signal.raise_signal(signal.SIGTERM)
    assert streams.interruptions == 1
    assert received == [signal.SIGTERM]
    signals.release()


def test_uvicorn_stops_while_a_stream_is_open(tmp_path: Path) -> None:
    """A host that does nothing for it ends after SIGTERM; by default uvicorn waits for open responses for ever."""
    (tmp_path / "host.py").write_text(HOST)
    with subprocess.Popen([sys.executable, "host.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/loop/api/workflow-stream"
            with httpx.stream("GET", url, timeout=60) as response:
                assert response.status_code == 200
                chunks = response.iter_bytes()
                first = next(chunks)  # from here on the stream is open
                server.terminate()
                assert (first + b"".join(chunks)).count(b"data:") == 0
            server.wait(60)
        finally:
            server.kill()
