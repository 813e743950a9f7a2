"""A run's journal over HTTP, in pages or live as server-sent events; and notifications of changed runs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final

import attrs
from starlette.responses import Response

from loopkit.core.journal import MAX_EVENT_ID, RunEvent
from loopkit.core.run import Run
from loopkit.errors import RunNotFound, StorageError
from loopkit.journal_reader import read_journals, read_newest_event
from loopkit.storage import RunQuery
from loopkit.stores.cursors import clamp_events
from loopkit_web.http.call import Call
from loopkit_web.http.event_stream import EventStream, Outlet, message
from loopkit_web.http.json_response import json_parts_response
from loopkit_web.http.json_schema import CLAMPED, documented
from loopkit_web.http.problems import ProblemCode, Refused
from loopkit_web.row_parts import MAX_ROW_CHARS, EventWindows, Parts, documents, event_messages, event_windows

__all__ = ["EventsQuery", "get_events", "stream_changes"]

_BATCH: Final = 500
"""Events that a stream reads at once."""
_MOST_SENT_AT_ONCE: Final = 8
"""New events whose messages are made without a worker thread."""
_MOST_NEWS: Final = 1_000
"""Events of all watched runs that are read at a poll."""
_MAX_CHARS: Final = 200
"""Characters of each text of a run that are read to see whether it has changed."""
_WATCHED: Final = 100
"""Number of runs, newest and running ones each, whose changes are reported."""


@attrs.frozen(kw_only=True)
class EventsQuery:
    """Query of the events endpoint."""

    run_id: str = documented(minLength=1, description="Id of the run.")
    after: int = documented(
        0, minimum=0, maximum=MAX_EVENT_ID, description="Id of the event after which the page begins."
    )
    limit: int = documented(500, **CLAMPED, description="At most 1000; clamped.")


async def get_events(call: Call) -> Response:
    """``GET /api/workflow-events``: a page of events, or a stream of them if the client accepts one."""
    query: EventsQuery = call.query
    last_id = _last_event_id(call)
    if call.prefers_stream:
        return await _stream(call, query.run_id, max(query.after, last_id))
    limit = clamp_events(query.limit)
    event = await read_newest_event(call.store, query.run_id, max_chars=_MAX_CHARS)
    newest = 0 if event is None else event.id
    return await json_parts_response(call, _event_list(call, query, limit, newest), ("events", query, newest))


async def _event_list(call: Call, query: EventsQuery, limit: int, newest: int) -> Parts:
    """Yield a page of events as JSON.

    Args:
        newest: id of the run's newest event when it was requested; 0 without any.
    """
    count = last = 0

    async def counted(windows: EventWindows) -> EventWindows:
        nonlocal count, last
        async with aclosing(windows):
            async for window in windows:
                count, last = count + len(window), window[-1].id
                yield window

    yield b'{"events":['
    windows = event_windows(call.store, query.run_id, after=query.after, limit=limit)
    async with aclosing(documents(counted(windows))) as parts:
        async for part in parts:
            yield part
    has_more = count == limit and newest > last
    yield b'],"nextAfter":' + (str(last).encode() if has_more else b"null") + b"}"


def _last_event_id(call: Call) -> int:
    text = call.request.headers.get("last-event-id", "").strip() or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused(ProblemCode.BAD_HEADER, "Last-Event-ID must be the id of an event.")
    return int(text)


async def _stream(call: Call, run_id: str, after: int) -> Response:
    """Return the stream of a run's events after an event id; 204 if the run has ended and has no more events."""
    run = await call.store.get_run(run_id)  # read first: if it has ended, the newest event is its last
    newest = await read_newest_event(call.store, run_id)
    if run.ended and (newest is None or newest.id <= after):
        return Response(status_code=204)

    async def follow(outlet: Outlet) -> None:
        last = 0 if newest is None else newest.id
        with call.site.watched.watch(run_id, last):
            sent = await _send_stored(call, outlet, run_id, after, last)
            if not run.ended or sent < last:
                await _follow_run(call, outlet, run_id, sent)

    return EventStream(call.site.streams, call.access.actor, follow)


async def _follow_run(call: Call, outlet: Outlet, run_id: str, sent: int) -> None:
    """Send new events after ``sent`` until the run's last event."""
    while await outlet.pause():
        try:
            news = await call.shared_read("journals", lambda: _read_news(call))
            if run_id in news.missing:
                raise RunNotFound(run_id)
            if run_id in news.after:
                sent = await _send_stored(call, outlet, run_id, sent, news.after[run_id])
                if sent < news.after[run_id]:
                    continue
                if events := [event for event in news.events.get(run_id, ()) if event.id > sent]:
                    sent = await _send_news(call, outlet, run_id, events)
                if run_id in news.ended:
                    return
        except StorageError:  # the database is unavailable: try again at the next poll
            pass


async def _send_stored(call: Call, outlet: Outlet, run_id: str, sent: int, last: int) -> int:
    """Send the events after ``sent`` up to ``last``, and those stored meanwhile; return the id of the last one sent.

    While the database is unavailable fewer are sent, and the next poll sends the rest.
    """
    with suppress(StorageError):
        while sent < last:
            before = sent
            async with aclosing(event_windows(call.store, run_id, after=sent, limit=_BATCH)) as windows:
                async for window in windows:
                    await outlet.send_parts(event_messages(window))
                    sent = window[-1].id
            if sent == before:
                break
    return sent


async def _send_news(call: Call, outlet: Outlet, run_id: str, events: Sequence[RunEvent]) -> int:
    """Send new events of a run, and return the id of the last one; from the first long one on they are read again."""
    if any(event.is_cut for event in events):
        return await _send_stored(call, outlet, run_id, events[0].id - 1, events[-1].id)
    if len(events) <= _MOST_SENT_AT_ONCE:
        await outlet.send(event_messages(events))
    else:
        await outlet.send_parts(event_messages(events))
    return events[-1].id


@attrs.frozen(kw_only=True)
class _News:
    """Events that the watched runs have got since the poll before."""

    after: Mapping[str, int]
    """Watched runs, each with the id that its events come after."""
    events: Mapping[str, Sequence[RunEvent]]
    ended: Collection[str]
    """Runs of which no event follows these."""
    missing: Collection[str]


async def _read_news(call: Call) -> _News:
    """Read the news of all runs that streams of this app watch, by one call of the store."""
    after = call.site.watched.positions()
    news = await read_journals(call.store, after, limit=_MOST_NEWS, max_chars=MAX_ROW_CHARS)
    events: defaultdict[str, list[RunEvent]] = defaultdict(list)
    for event in news.events:
        events[event.run_id].append(event)
    call.site.watched.advance({run_id: of_run[-1].id for run_id, of_run in events.items()})
    ended = news.ended if news.is_complete else ()
    return _News(after=after, events=events, ended=ended, missing=news.missing)


async def stream_changes(call: Call) -> Response:
    """``GET /api/workflow-stream``: notifications of changed runs, so that a page knows when to refresh.

    Each message is ``{"runs": [ids]}``, the ids of runs that changed since the one before, among the 100 newest and
    100 running runs. Changes before the response began are not reported, and no message is repeated.
    """
    known = await _read_run_states_shared(call)

    async def follow(outlet: Outlet) -> None:
        await _follow_changes(call, outlet, known)

    return EventStream(call.site.streams, call.access.actor, follow)


async def _follow_changes(call: Call, outlet: Outlet, known: Mapping[str, object]) -> None:
    while await outlet.pause():
        with suppress(StorageError):  # the database is unavailable: try again at the next poll
            current = await _read_run_states_shared(call)
            if changed := [run_id for run_id, state in current.items() if known.get(run_id) != state]:
                await outlet.send([message({"runs": changed}, event="runs")])
            known = current


async def _read_run_states_shared(call: Call) -> Mapping[str, object]:
    return await call.shared_read("runs", lambda: _read_run_states(call))


async def _read_run_states(call: Call) -> Mapping[str, object]:
    runs = list((await call.store.list_runs(RunQuery(limit=_WATCHED, max_chars=_MAX_CHARS))).runs)
    if call.registry is not None:
        runs += await call.registry.holdings(limit=_WATCHED, max_chars=_MAX_CHARS)
    states: defaultdict[str, set[object]] = defaultdict(set)  # ids of several runs may be cut to the same beginning
    for run in runs:
        states[run.id].add(_state(run))
    return states


def _state(run: Run) -> object:
    progress = (run.status, run.current_stage, run.current_attempt, run.final_score)
    return (*progress, run.stalled, run.claimed_by, run.cancel_requested_at)
