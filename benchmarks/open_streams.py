"""Open streams of many runs, each of which moves once a second.

The app is called in this process, without sockets, so that a figure is what the streams themselves cost.
"""

import time
from typing import Any

import anyio

import loopkit
from benchmarks import loops
from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.runner import claimant
from loopkit.storage import RunQuery
from loopkit.stores import open_store
from loopkit_web import allow_all, create_app

SETTLING_SECONDS = 3.0


async def move(url: str, runs: int, seconds: float) -> dict[str, int]:
    """Hold runs and add a log line to each once a second; return the number of lines."""
    await loops.queue(url, runs)
    lines = 0
    async with open_store(url) as store:
        held = await store.claim(claimant(), {loops.AGENT.name: loops.AGENT.definition}, limit=runs)
        assert len(held) == runs
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            next_at = time.monotonic() + 1.0
            async with anyio.create_task_group() as tasks:
                for one in held:
                    event = NewEvent(event_type=EventType.LOG, message=f"Line {lines}", metadata={"number": lines})
                    tasks.start_soon(store.record, one.lease, machine.log_change(one.run, [event]))
                    lines += 1
            await anyio.sleep(max(0.0, next_at - time.monotonic()))
    return {"lines": lines}


async def watch(url: str, runs: int, seconds: float) -> dict[str, float]:
    """Open a stream of each run; return the CPU in percent of a core, and the events a second that came."""
    events = 0
    async with open_store(url) as store:
        app = create_app(store, [loops.AGENT], access=allow_all)
        ids = await _running(store, runs)

        async def send(message: Any) -> None:
            nonlocal events
            events += message.get("body", b"").count(b"\ndata:")

        async with anyio.create_task_group() as tasks:
            for run_id in ids:
                tasks.start_soon(app, _scope(f"/api/workflow-events?runId={run_id}".encode()), _receive_once(), send)
            await anyio.sleep(SETTLING_SECONDS)
            before, cpu, began = events, time.process_time(), time.perf_counter()
            await anyio.sleep(seconds)
            took = time.perf_counter() - began
            share = 100 * (time.process_time() - cpu) / took
            came = (events - before) / took
            tasks.cancel_scope.cancel()
    return {"cpu": share, "events": came}


async def _running(store: Any, runs: int) -> list[str]:
    query = RunQuery(statuses=frozenset({loopkit.RunStatus.RUNNING}), limit=200)
    while len(found := (await store.list_runs(query)).runs) < runs:  # noqa: ASYNC110 - another process claims them
        await anyio.sleep(0.05)
    return [run.id for run in found]


def _receive_once() -> Any:
    async def receive() -> Any:
        await anyio.sleep_forever()

    return receive


def _scope(target: bytes) -> dict[str, Any]:
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "method": "GET",
        "path": path.decode(),
        "query_string": query,
        "headers": [(b"host", b"localhost"), (b"accept", b"text/event-stream")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "server": ("localhost", 80),
    }
