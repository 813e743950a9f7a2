"""Rows read and serialized in parts, so that a response of any size takes little memory and never stops the event loop.

A row is read at once with its beginning; what is longer is read whole by itself, or in parts if it is an artifact.
JSON is serialized in worker threads.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import attrs
from anyio import to_thread

from loopkit import wire
from loopkit.core import strict_json
from loopkit.core.journal import Artifact, ArtifactInfo, RunEvent
from loopkit.core.run import Run
from loopkit.errors import RunNotFound
from loopkit.storage import Storage
from loopkit.stores.text_cuts import is_cut_id
from loopkit_web.http.event_stream import message, message_parts

__all__ = [
    "MAX_ROW_CHARS",
    "PART_CHARS",
    "EventWindows",
    "Parts",
    "artifact_documents",
    "content_parts",
    "documents",
    "event_messages",
    "event_windows",
    "needs_whole_row",
    "run_windows",
    "single",
]

Parts = AsyncGenerator[bytes, None]
"""A JSON text, or values with commas between them, in parts of any length."""
EventWindows = AsyncGenerator[Sequence[RunEvent], None]
"""Events of a run in order; what one item holds is bounded, unless it is one event."""

PART_CHARS: Final = 1_000_000
"""Characters of a part of an artifact."""
MAX_ROW_CHARS: Final = 10_000
"""Characters of each text of a row that are read together with other rows."""
_MAX_FIRST_CHARS: Final = 100_000
"""Characters of an artifact that are read together with other artifacts."""
_EVENTS_AT_ONCE: Final = 250
_ARTIFACTS_AT_ONCE: Final = 8
_EMPTY_CONTENT: Final = '"content":""'
"""The content in the JSON of an artifact without one; quotes in other values are escaped, so it occurs only once."""


async def content_parts(store: Storage, artifact: Artifact) -> AsyncGenerator[str, None]:
    """Yield the content of an artifact in parts.

    Args:
        store: the store of the artifact.
        artifact: read with ``max_chars``: it has the first part.
    """
    yield artifact.content
    for start in range(len(artifact.content), artifact.length or 0, PART_CHARS):
        only = [artifact.id]
        for part in await store.list_artifacts(artifact.run_id, only=only, start=start, max_chars=PART_CHARS):
            yield part.content


async def artifact_documents(store: Storage, infos: Sequence[ArtifactInfo]) -> Parts:
    """Yield artifacts of one run as JSON, in the order of ``infos``."""
    separator = b""
    for start in range(0, len(infos), _ARTIFACTS_AT_ONCE):
        ids = [info.id for info in infos[start : start + _ARTIFACTS_AT_ONCE]]
        run_id = infos[start].run_id
        for artifact in await store.list_artifacts(run_id, only=ids, max_chars=_MAX_FIRST_CHARS):
            document = strict_json.dumps(wire.artifact(attrs.evolve(artifact, content="")))
            before, _, after = document.partition(_EMPTY_CONTENT)
            yield separator + f'{before}"content":"'.encode()
            async with aclosing(content_parts(store, artifact)) as parts:
                async for part in parts:
                    yield await to_thread.run_sync(_escaped, part)
            yield f'"{after}'.encode()
            separator = b","


def _escaped(text: str) -> bytes:
    """Return a text as it stands between the quotes of a JSON string."""
    return strict_json.dumps(text)[1:-1].encode()


async def event_windows(store: Storage, run_id: str, *, after: int, limit: int) -> EventWindows:
    """Yield the events of a run after an event id, at most ``limit``, in windows of bounded size.

    An event with a long message or long metadata is a window of its own.

    Raises:
        RunNotFound: there is no such run.
    """
    left = limit
    while left > 0:
        asked = min(left, _EVENTS_AT_ONCE)
        events = await store.list_events(run_id, after=after, limit=asked, max_chars=MAX_ROW_CHARS)
        window: list[RunEvent] = []
        for event in events:
            if not event.is_cut:
                window.append(event)
                continue
            if window:
                yield window
                window = []
            if whole := await store.list_events(run_id, after=event.id - 1, limit=1):
                yield whole
        if window:
            yield window
        if len(events) < asked:
            return
        after, left = events[-1].id, left - asked


def needs_whole_row(run: Run) -> bool:
    """Return whether a run that was read with ``MAX_ROW_CHARS`` lacks what the whole row has.

    The best attempt of another program's run may stand behind the beginning of an evaluation.
    """
    return run.is_cut or (run.final_score is not None and run.best_attempt is None)


async def run_windows(store: Storage, runs: Sequence[Run]) -> AsyncGenerator[Sequence[Run], None]:
    """Yield whole runs in windows of bounded size; those that were read in part are read again, one at a time.

    Runs that were deleted meanwhile are left out. A run whose id is cut stays as it is: it cannot be read by its id.

    Args:
        store: the store of the runs.
        runs: a list, read with ``max_chars=MAX_ROW_CHARS``.
    """
    window: list[Run] = []
    for run in runs:
        if is_cut_id(run.id) or not needs_whole_row(run):
            window.append(run)
            continue
        if window:
            yield window
            window = []
        with suppress(RunNotFound):
            yield [await store.get_run(run.id)]
    if window:
        yield window


async def single(value: Any) -> AsyncGenerator[Sequence[Any], None]:
    """Yield one window with one value."""
    yield [value]


async def documents(windows: AsyncGenerator[Sequence[Any], None]) -> Parts:
    """Yield the values of windows as JSON."""
    separator = b""
    async with aclosing(windows):
        async for window in windows:
            yield separator
            if len(window) == 1:
                parts = _json_parts(window[0])
                while (part := await to_thread.run_sync(next, parts, None)) is not None:
                    yield part
            else:
                yield await to_thread.run_sync(_joined, window)
            separator = b","


def _json_parts(value: Any) -> Iterator[bytes]:
    """Yield a value as JSON, in parts of at most a million characters."""
    for text in strict_json.dump_parts(wire.document(value)):
        for start in range(0, len(text), PART_CHARS):
            yield text[start : start + PART_CHARS].encode()


def _joined(values: Sequence[Any]) -> bytes:
    return strict_json.dumps(wire.document(values))[1:-1].encode()


def event_messages(window: Sequence[RunEvent]) -> Iterator[bytes]:
    """Yield events as server-sent messages, in parts. Takes time for long events: iterate it in a worker thread."""
    if len(window) == 1:
        yield from message_parts(wire.event(window[0]), id=window[0].id)
    else:
        yield b"".join(message(wire.event(event), id=event.id) for event in window)
