"""Large responses of the API: read and sent in parts, and the same JSON as if they had been built at once."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import httpx
import pytest

from loopkit import MemoryStore, wire
from loopkit.core.journal import Artifact, EventType, NewEvent, RunEvent
from loopkit.core.lease import Claimant
from loopkit.core.machine import advance, log_change
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun, Run
from loopkit.storage import JournalNews, RunPage, RunQuery
from loopkit_web.row_parts import MAX_ROW_CHARS, PART_CHARS
from tests.web.app_helpers import client, listening, make_app

LONG = "a 'quote' \"here\" and \U0001f600 there\n" * 40_000
"""More than one part of an artifact."""


class BoundedStore(MemoryStore):
    """Store that refuses to return more than one whole row at once."""

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        assert max_chars is not None
        assert max_chars <= PART_CHARS
        assert only is not None
        assert len(only) <= 8
        return await super().list_artifacts(run_id, only=only, start=start, max_chars=max_chars)

    async def list_events(
        self, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500, max_chars: int | None = None
    ) -> list[RunEvent]:
        assert limit == 1 or (max_chars or PART_CHARS) <= MAX_ROW_CHARS
        return await super().list_events(run_id, after=after, before=before, limit=limit, max_chars=max_chars)

    async def list_runs(self, query: RunQuery) -> RunPage:
        assert query.max_chars is not None
        return await super().list_runs(query)

    async def read_journals(
        self, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
    ) -> JournalNews:
        assert max_chars is not None
        return await super().read_journals(after, limit=limit, max_chars=max_chars)


async def stored_run(store: MemoryStore, *, attempts: int = 3, text: str = LONG) -> Run:
    """Store a run of long inputs, outputs, feedback and messages that used up its attempts, and return it."""
    held = await store.start(
        NewRun(agent_name="namer", inputs={"text": text}, max_attempts=attempts), Claimant(name="a:1")
    )
    messages = ["short", text[:8_192], "short", "short"]
    await store.record(
        held.lease, log_change(held.run, [NewEvent(event_type=EventType.LOG, message=text) for text in messages])
    )
    run = held.run
    for attempt in range(attempts):
        run = await store.record(held.lease, advance(run, Produced(f"{attempt} {text}")))
        run = await store.record(held.lease, advance(run, Evaluated(Evaluation(0.1, text))))
    return run


@pytest.fixture
def store() -> MemoryStore:
    return BoundedStore()


def whole(store: MemoryStore) -> MemoryStore:
    """Return the store without its bounds, with the same rows."""
    copy = MemoryStore()
    copy.__dict__.update(store.__dict__)
    return copy


async def addresses(store: MemoryStore, run: Run) -> dict[str, Any]:
    """Return the addresses of the API with what each must respond, built at once from the whole rows."""
    rows = whole(store)
    runs = (await rows.list_runs(RunQuery())).runs
    events = await rows.list_events(run.id)
    return {
        f"/api/workflow-artifacts?runId={run.id}": {"artifacts": wire.document(await rows.list_artifacts(run.id))},
        f"/api/workflow-events?runId={run.id}": {"events": wire.document(events), "nextAfter": None},
        f"/api/workflow-events?runId={run.id}&limit={len(events) - 1}": {
            "events": wire.document(events[:-1]),
            "nextAfter": events[-2].id,
        },
        f"/api/workflows?id={run.id}": wire.document(await rows.get_run(run.id)),
        "/api/workflows": {"runs": wire.document(runs), "nextCursor": None},
        "/api/workflows?limit=1": {"runs": wire.document(runs[:1])},
    }


@pytest.mark.parametrize("text", [LONG, "short"])
async def test_responses_in_parts_are_the_same_json(store: MemoryStore, text: str) -> None:
    """Long rows and short ones: the whole JSON, a 304 for the ETag, the headers alone for HEAD."""
    run = await stored_run(store, text=text)
    await stored_run(store, attempts=1, text="short")
    async with client(make_app(store)) as http:
        for path, expected in (await addresses(store, run)).items():
            response = await http.get(path)
            document = response.json()
            assert expected.items() <= document.items(), path
            is_streamed = len(response.content) > 1_000_000
            assert ("content-length" in response.headers) is not is_streamed, path
            same = await http.get(path, headers={"If-None-Match": response.headers["etag"]})
            assert (same.status_code, same.content) == (304, b"")
            head: httpx.Response = await http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["etag"] == response.headers["etag"]


async def test_the_etag_of_a_streamed_response_changes_with_its_rows(store: MemoryStore) -> None:
    """A new event, artifact or run gives another ETag, and so does a changed run."""
    held = await store.start(NewRun(agent_name="namer", inputs={"text": LONG}, max_attempts=3), Claimant(name="a:1"))
    run = await store.record(held.lease, advance(held.run, Produced(LONG)))
    run = await store.record(held.lease, advance(run, Evaluated(Evaluation(0.1, LONG))))
    paths = [f"/api/workflow-{kind}?runId={run.id}" for kind in ("artifacts", "events")] + ["/api/workflows"]
    async with client(make_app(store)) as http:
        before = [(await http.get(path)).headers["etag"] for path in paths]
        await store.record(held.lease, advance(run, Produced("second")))
        after = [await http.get(path, headers={"If-None-Match": tag}) for path, tag in zip(paths, before, strict=True)]
    assert [response.status_code for response in after] == [200, 200, 200]


async def test_a_deleted_long_run_is_left_out_of_its_list(store: MemoryStore) -> None:
    """A run that is deleted between the read of the list and that of its row leaves valid JSON."""

    class Deleting(BoundedStore):
        async def get_run(self, run_id: str, *, max_chars: int | None = None) -> Run:
            self._runs.pop(run_id, None)
            return await super().get_run(run_id, max_chars=max_chars)

    deleting = Deleting()
    kept = await stored_run(deleting, attempts=1, text="short")
    for _ in range(2):
        await stored_run(deleting, attempts=1)
    async with client(make_app(deleting)) as http:
        assert [run["id"] for run in (await http.get("/api/workflows")).json()["runs"]] == [kept.id]


async def test_a_stream_sends_long_events_whole(store: MemoryStore) -> None:
    """Those that were stored before it began, and those that come."""
    held = await store.start(NewRun(agent_name="namer", inputs={}, max_attempts=1), Claimant(name="a:1"))
    app = make_app(store)
    run = await store.record(held.lease, advance(held.run, Produced(LONG)))
    async with listening(app, "/api/workflow-events", f"runId={run.id}") as stream:
        first = await stream.event()
        await store.record(held.lease, log_change(run, [_line(n) for n in range(20)]))
        await store.record(held.lease, advance(run, Evaluated(Evaluation(0.1, LONG))))
        received = [first, *await stream.rest()]
    messages = [{name: value for name, value in (event or {}).items() if name != "#"} for event in received]
    events: Sequence[RunEvent] = await whole(store).list_events(run.id)
    assert messages == wire.document(events)
    assert any(attrs.asdict(event)["metadata"].get("feedback") == LONG for event in events if event.metadata)


def _line(number: int) -> NewEvent:
    return NewEvent(event_type=EventType.LOG, message=f"line {number}")
