"""A run's journal over HTTP: as a page, or live as server-sent events; and hints that runs have changed."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import attrs
from starlette.responses import Response

from loopkit import wire
from loopkit.core.journal import RunEvent
from loopkit.core.run import Run
from loopkit.errors import StorageError
from loopkit.storage import RunQuery, Storage
from loopkit_web.context import Call
from loopkit_web.problems import Refused
from loopkit_web.replies import EventList, json_reply
from loopkit_web.schema import documented
from loopkit_web.streaming import EventStream, Outlet, message

__all__ = ["Events", "get_events", "stream_changes"]

LAST_ID: Final = 2**63 - 1
_MOST: Final = 1000
_BATCH: Final = 500
_WATCHED: Final = 100
"""How many of the newest runs, and of the running ones, hints are given of."""


@attrs.frozen(kw_only=True)
class Events:
    """Which events."""

    run_id: str = documented(minLength=1)
    after: int = documented(0, minimum=0, maximum=LAST_ID)
    limit: int = documented(500, description="At most 1000; clamped.")


async def get_events(call: Call) -> Response:
    """``GET /api/workflow-events``: a page of events, or a stream of them where the client accepts one."""
    query: Events = call.query
    seen = _last_event_id(call)
    if call.prefers_stream:
        return await _stream(call, query.run_id, max(query.after, seen))
    limit = min(max(query.limit, 1), _MOST)
    events = await call.store.list_events(query.run_id, after=query.after, limit=limit)
    more = len(events) == limit and await call.store.list_events(query.run_id, after=events[-1].id, limit=1)
    return json_reply(call, EventList(events=events, next_after=events[-1].id if more else None))


def _last_event_id(call: Call) -> int:
    text = call.request.headers.get("last-event-id", "").strip() or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused("bad-header", "Last-Event-ID is the id of an event.")
    return int(text)


# --- The journal of one run --------------------------------------------------------------------------------------


@attrs.frozen
class _Look:
    """How far a run's journal goes."""

    ended: bool
    newest: int


async def _read_look(store: Storage, run_id: str) -> _Look:
    """Look at a run first and at its journal then: the newest event of an ended run is its last."""
    run = await store.get_run(run_id)
    newest = await store.list_events(run_id, before=LAST_ID, limit=1)
    return _Look(run.ended, newest[-1].id if newest else 0)


async def _stream(call: Call, run_id: str, after: int) -> Response:
    """Give the stream of a run's events after one; 204 where the run has ended and nothing follows."""
    look = await _read_look(call.store, run_id)
    if look.ended and look.newest <= after:
        return Response(status_code=204)

    async def follow(outlet: Outlet) -> None:
        await _follow_run(call, outlet, run_id, after)

    return EventStream(call.site.streams, call.access.actor, follow)


async def _follow_run(call: Call, outlet: Outlet, run_id: str, sent: int) -> None:
    """Send what is there after ``sent``, then what comes, until the run's last event."""
    while True:
        try:
            look = await call.site.streams.look(("run", run_id), lambda: _read_look(call.store, run_id))
            while sent < look.newest and (events := await call.store.list_events(run_id, after=sent, limit=_BATCH)):
                await outlet.send(_message(event) for event in events)
                sent = events[-1].id
            if look.ended and sent >= look.newest:
                return
        except StorageError:  # the database is away; the stream waits for it
            pass
        if not await outlet.pause():
            return


def _message(event: RunEvent) -> bytes:
    return message(wire.event(event), id=event.id)


# --- Changes of any run --------------------------------------------------------------------------------------------


async def stream_changes(call: Call) -> Response:
    """``GET /api/workflow-stream``: hints that runs have changed, so that a page knows when to ask again.

    One message a change of the newest and of the running runs, ``{"runs": [ids]}``, of all that changes once the
    answer has begun. A hint holds nothing else and is not sent again.
    """
    known = await _look_at_runs(call)

    async def follow(outlet: Outlet) -> None:
        await _follow_changes(call, outlet, known)

    return EventStream(call.site.streams, call.access.actor, follow)


async def _follow_changes(call: Call, outlet: Outlet, known: Mapping[str, object]) -> None:
    while await outlet.pause():
        with suppress(StorageError):  # the database is away; the stream waits for it
            seen = await _look_at_runs(call)
            if changed := [run_id for run_id, state in seen.items() if known.get(run_id) != state]:
                await outlet.send([message({"runs": changed}, event="runs")])
            known = seen


async def _look_at_runs(call: Call) -> Mapping[str, object]:
    return await call.site.streams.look("runs", lambda: _read_runs(call))


async def _read_runs(call: Call) -> Mapping[str, object]:
    runs = list((await call.store.list_runs(RunQuery(limit=_WATCHED))).runs)
    if call.fleet is not None:
        runs += await call.fleet.holdings(limit=_WATCHED)
    return {run.id: _state(run) for run in runs}


def _state(run: Run) -> object:
    asked = run.cancel_requested_at
    return (run.status, run.current_stage, run.current_attempt, run.final_score, run.stalled, run.claimed_by, asked)
