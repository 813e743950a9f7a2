"""Requests to pages and API on databases of a given size: server time and query plans.

The app is called in this process, without a socket or a client, so that a figure is the server's time alone. Reads
that the app shares for half a second are repeated each time.
"""

import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import attrs

import loopkit
from benchmarks import database_reads, loops, standard, statement_counts
from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.journal_reader import read_newest_event
from loopkit.runner import claimant
from loopkit.storage import Order, RunnerInfo
from loopkit.stores import cursors, open_store
from loopkit_web import App, Streams, allow_all, create_app

RUNNING: Final = 5
WAITING: Final = 20
_CREATED: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""Creation time of the first of the filled runs; one follows every 20 seconds."""


@attrs.frozen(kw_only=True)
class Asked:
    """One request."""

    path: str
    accept: str = "text/html"
    known: bool = False
    """True if the client has the response already, so that it is a 304."""


@attrs.frozen(kw_only=True)
class Answer:
    """A response with the seconds until it arrived: whole, or the beginning of a stream."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    cpu: float


async def enliven(url: str, events: int) -> str:
    """Add runs that wait and run, runners, and a running one with two attempts and many events; return its id."""
    async with open_store(url) as store:
        await loopkit.submit(store, loops.AGENT, [standard.INPUTS] * (WAITING + RUNNING))
        await store.claim(claimant(), {loops.AGENT.name: loops.AGENT.definition}, limit=RUNNING)
        for number in range(4):
            names = (standard.NAME,)
            await store.announce(RunnerInfo(id=f"r{number}", name=f"host:{number}", version="0", agents=names, slots=8))
        held = await store.start(loopkit.new_run(loops.AGENT, standard.INPUTS), claimant())
        run = held.run
        for outcome in (
            Produced(standard.output(1)),
            Evaluated(Evaluation(0.5, standard.FEEDBACK[1], rest={"criteria": {"fit": 0.4, "length": 0.6}})),
            Produced(standard.output(2)),
        ):
            run = await store.record(held.lease, machine.advance(run, outcome))
        for first in range(0, events, 500):
            lines = [_line(number) for number in range(first, min(first + 500, events))]
            run = await store.record(held.lease, machine.log_change(run, lines))
        return run.id


def _line(number: int) -> NewEvent:
    return NewEvent(event_type=EventType.LOG, message=f"Line {number}", metadata={"number": number})


def requests(run_id: str, ended_id: str, runs: int, last_event: int) -> dict[str, Asked]:
    """Return every request by name."""
    tail = f"/api/workflow-events?runId={run_id}&after={last_event - 20}"
    half = (_CREATED + timedelta(seconds=10 * runs)).timestamp() * 1000
    deep = cursors.make_cursor(Order.CREATED, half, "run_x")
    stream = "text/event-stream"
    return {
        "list": Asked(path="/agents"),
        "list, filtered": Asked(path=f"/agents?status=failed&agent={standard.NAME}"),
        "list, searched": Asked(path="/agents?q=run_10000"),
        "list, by score": Asked(path="/agents?order=score"),
        "list, by end": Asked(path="/agents?order=completed"),
        "list, half way": Asked(path=f"/agents?cursor={deep}"),
        "list, needs attention": Asked(path="/agents?status=attention"),
        "list, looked at again (304)": Asked(path="/agents?part=rows", known=True),
        "run, running": Asked(path=f"/agents/{run_id}"),
        "run, first events": Asked(path=f"/agents/{run_id}?before={last_event - 500}"),
        "run, artifacts": Asked(path=f"/agents/{run_id}?tab=artifacts"),
        "run, evaluation": Asked(path=f"/agents/{run_id}?tab=evaluation"),
        "run, ended": Asked(path=f"/agents/{ended_id}"),
        "run, looked at again (304)": Asked(path=f"/agents/{run_id}?part=live", known=True),
        "run, its newest events": Asked(path=f"/agents/{run_id}/events?after={last_event - 20}"),
        "runners": Asked(path="/runners"),
        "start form": Asked(path=f"/agents/start?agent={standard.NAME}"),
        "API: list": Asked(path="/api/workflows", accept="*/*"),
        "API: list, filtered": Asked(path=f"/api/workflows?status=passed&agent={standard.NAME}", accept="*/*"),
        "API: run": Asked(path=f"/api/workflows?id={run_id}", accept="*/*"),
        "API: run, known (304)": Asked(path=f"/api/workflows?id={run_id}", accept="*/*", known=True),
        "API: events": Asked(path=f"/api/workflow-events?runId={run_id}&limit=100", accept="*/*"),
        "API: artifacts": Asked(path=f"/api/workflow-artifacts?runId={run_id}", accept="*/*"),
        "API: stats": Asked(path="/api/stats", accept="*/*"),
        "API: runners": Asked(path="/api/runners", accept="*/*"),
        "API: metrics": Asked(path="/api/metrics", accept="*/*"),
        "stream of a run, first": Asked(path=tail, accept=stream),
        "stream of changes, first": Asked(path="/api/workflow-stream", accept=stream),
    }


async def ask(app: App, asked: Asked, etag: str = "") -> Answer:
    """Send a request to the app and return the response; of a stream, its beginning."""
    path, _, query = asked.path.partition("?")
    headers = [(b"host", b"localhost"), (b"accept", asked.accept.encode())]
    if etag:
        headers.append((b"if-none-match", etag.encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "server": ("localhost", 80),
    }
    status, told, body = 0, {}, b""
    gone = anyio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status, told, body
        if message["type"] == "http.response.start":
            status = message["status"]
            told = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            body += message.get("body", b"")
            if b"data:" in body or b"retry:" in body:
                gone.set()

    cpu, began = time.process_time(), time.perf_counter()
    await app(scope, receive, send)
    return Answer(
        status=status,
        headers=told,
        body=body,
        seconds=time.perf_counter() - began,
        cpu=time.process_time() - cpu,
    )


async def browse(databases: dict[str, dict[str, Any]], times: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the median seconds, of the clock and of CPU, of each request on each database, measured in turns.

    Args:
        databases: by a name: the ``url``, its number of ended ``runs``, and the ``run`` that is shown.
    """
    took: dict[str, dict[str, list[Answer]]] = {place: {} for place in databases}
    async with AsyncExitStack() as stack:
        asked = {}
        for place, one in databases.items():
            store = await stack.enter_async_context(open_store(one["url"]))
            asked[place] = (_app(store), await _requests(store, one["run"], one["runs"]))
        for number in range(times + 1):
            for name in next(iter(asked.values()))[1]:
                for place, (app, requests) in asked.items():
                    answer = await _answered(app, requests[name])
                    if number:  # the first opens connections and prepares statements
                        took[place].setdefault(name, []).append(answer)
    return {place: {name: _middle(answers) for name, answers in names.items()} for place, names in took.items()}


async def plans(url: str, run: str, runs: int) -> dict[str, Any]:
    """Send every request once; return the number of different statements and those that scan a table."""
    with statement_counts.statements() as sent:
        async with open_store(url) as store:
            app = _app(store)
            for asked in (await _requests(store, run, runs)).values():
                await _answered(app, asked)
    return database_reads.scans(url, sent)


def _app(store: Any) -> App:
    return create_app(store, [loops.AGENT], access=allow_all, streams=Streams(poll_seconds=0.0))


async def _requests(store: Any, run_id: str, runs: int) -> dict[str, Asked]:
    newest = await read_newest_event(store, run_id)
    assert newest is not None
    return requests(run_id, f"run_{10_000_000 + runs}", runs, newest.id)


async def _answered(app: App, asked: Asked) -> Answer:
    etag = (await ask(app, asked)).headers["etag"] if asked.known else ""
    answer = await ask(app, asked, etag)
    assert answer.status == (304 if asked.known else 200), (asked, answer.status, answer.body[:500])
    return answer


def _middle(answers: list[Answer]) -> dict[str, float]:
    return {
        "seconds": statistics.median(answer.seconds for answer in answers),
        "cpu": statistics.median(answer.cpu for answer in answers),
    }
