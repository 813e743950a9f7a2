"""Reader of a run's journal: the newest event, the events stored by now, or all to the end of the run as they come."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import anyio

from loopkit.core.journal import MAX_EVENT_ID, RunEvent
from loopkit.errors import RunNotFound
from loopkit.storage import JournalNews, Journals, Storage

__all__ = ["follow", "read_events", "read_journals", "read_newest_event", "wait_for_events"]

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
"""The journal is read again soon after news, and less often without any."""

_PAGE: Final = 1000


async def read_newest_event(store: Storage, run_id: str, *, max_chars: int | None = None) -> RunEvent | None:
    """Read the newest event of a run that is stored by now; None when its journal is empty.

    With ``max_chars``: at most that many characters of its message, and of its metadata.

    Raises:
        RunNotFound: there is no such run.
    """
    events = await store.list_events(run_id, before=MAX_EVENT_ID, limit=1, max_chars=max_chars)
    return events[-1] if events else None


async def read_events(
    store: Storage, run_id: str, *, after: int = 0, max_chars: int | None = None
) -> AsyncIterator[RunEvent]:
    """Yield the events of a run that are stored by now and have an id > ``after``, in order of id.

    With ``max_chars``: at most that many characters of each message, and of the metadata.

    Raises:
        RunNotFound: there is no such run.
    """
    while page := await store.list_events(run_id, after=after, limit=_PAGE, max_chars=max_chars):
        for event in page:
            yield event
        if len(page) < _PAGE:
            return
        after = page[-1].id


async def read_journals(
    store: Storage, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
) -> JournalNews:
    """Read the events of many runs after an id for each, by one call where the store can do so.

    Args:
        limit: most events that such a call reads.
        max_chars: characters that are read of each message, and of the metadata. None: all.
    """
    if isinstance(store, Journals):
        return await store.read_journals(after, limit=limit, max_chars=max_chars)
    events: list[RunEvent] = []
    ended: set[str] = set()
    missing: set[str] = set()
    for run_id, last in after.items():
        try:
            is_ended = (await store.get_run(run_id, max_chars=1)).ended
            events += [event async for event in read_events(store, run_id, after=last, max_chars=max_chars)]
            if is_ended:
                ended.add(run_id)
        except RunNotFound:
            missing.add(run_id)
    return JournalNews(events=sorted(events, key=lambda e: e.id), ended=ended, missing=missing, is_complete=True)


async def follow(store: Storage, run_id: str, after: int = 0) -> AsyncIterator[RunEvent]:
    """Yield the events of a run in order of id, waiting for further ones; end after the last event of an ended run.

    Args:
        after: only events with a larger id are yielded; to resume, the id of the last event that was seen.

    Raises:
        RunNotFound: there is no such run.
    """
    is_over = False
    while not is_over:
        events, is_over = await wait_for_events(store, run_id, after=after)
        for event in events:
            after = event.id
            yield event


async def wait_for_events(store: Storage, run_id: str, *, after: int = 0) -> tuple[list[RunEvent], bool]:
    """Wait for events of a run with an id > ``after``; return them, and True when no others will follow.

    Raises:
        RunNotFound: there is no such run.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        run = await store.get_run(run_id, max_chars=1)  # asked first: an event written in between is still read
        events = await store.list_events(run_id, after=after, limit=_PAGE)
        if events or run.ended:
            return events, run.ended and len(events) < _PAGE
        await anyio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
