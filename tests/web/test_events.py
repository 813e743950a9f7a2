"""A run's journal over HTTP: pages, live streams that can be resumed, and notifications of changed runs."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

import anyio
import pytest

from loopkit import MemoryStore, RunEvent
from loopkit.errors import StorageUnavailable
from loopkit.storage import JournalNews, RunPage, RunQuery
from loopkit_web import Access
from tests.web.app_helpers import client, listening, make_app, quick_streams, started, work

EVENTS = "/api/workflow-events"


async def test_pages_of_events_follow_each_other() -> None:
    """``nextAfter`` leads through the whole journal, and is null exactly when no event follows."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        everything = (await http.get(f"{EVENTS}?runId={run['id']}")).json()
        assert everything["nextAfter"] is None
        paged, after = [], 0
        for limit in (4, 1, 1000, 1000):
            page = (await http.get(f"{EVENTS}?runId={run['id']}&after={after}&limit={limit}")).json()
            paged += page["events"]
            if page["nextAfter"] is None:
                break
            after = page["nextAfter"]
        assert paged == everything["events"]
        exact = await http.get(f"{EVENTS}?runId={run['id']}&limit={len(paged)}")
        assert exact.json()["nextAfter"] is None
    assert paged[0]["message"] == "Queued"
    assert set(paged[0]) == {"id", "runId", "eventType", "stage", "attempt", "message", "metadata", "createdAt"}


@pytest.mark.parametrize(
    "query", ["", "runId=", "runId=r&after=-1", "runId=r&after=9223372036854775808", "runId=r&x=1"]
)
async def test_a_malformed_query_is_400(query: str) -> None:
    """A query without a run, or with an impossible id, is refused and not interpreted."""
    async with client(make_app()) as http:
        assert (await http.get(f"{EVENTS}?{query}")).status_code == 400


async def test_a_stream_has_stored_events_then_new_ones_and_ends_with_the_run() -> None:
    """A client that starts at the beginning gets every event once, in order; after the last the stream closes."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http, listening(app, EVENTS, f"runId={(run := await started(http))['id']}") as stream:
        assert await stream.message() == {"": "open"}
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "no-transform" in stream.headers["cache-control"]
        first = await stream.event()
        assert first is not None
        assert first["message"] == "Queued"
        await work(store)
        streamed = [first, *await stream.rest()]
        page = (await http.get(f"{EVENTS}?runId={run['id']}")).json()["events"]
    assert [int(event.pop("#")) for event in streamed] == [event["id"] for event in page]
    assert streamed == page


@pytest.mark.parametrize("by", ["header", "query", "both"])
async def test_a_stream_resumes_after_the_last_event_received(by: str) -> None:
    """Last-Event-ID and ``after`` resume a stream, the later one counts; after the end of a run the response is 204."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http:
        run = await started(http)
        await work(store)
        events = (await http.get(f"{EVENTS}?runId={run['id']}")).json()["events"]

        def resume_after(event_id: int) -> tuple[str, dict[str, str]]:
            query = f"runId={run['id']}" + (
                f"&after={event_id}" if by == "query" else "&after=1" if by == "both" else ""
            )
            return query, {} if by == "query" else {"last_event_id": str(event_id)}

        query, headers = resume_after(events[3]["id"])
        async with listening(app, EVENTS, query, **headers) as stream:
            assert [event["id"] for event in await stream.rest()] == [event["id"] for event in events[4:]]
        query, headers = resume_after(events[-1]["id"])
        async with listening(app, EVENTS, query, **headers) as stream:
            await stream.ended.wait()
            assert stream.status == 204


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "99999999999999999999", "٣"])
async def test_an_impossible_last_event_id_is_400(given: str) -> None:
    """An id that no event can have is not treated as the beginning."""
    async with client(make_app()) as http:
        run = await started(http)
        headers = [(b"Accept", b"text/event-stream"), (b"Last-Event-ID", given.encode())]
        response = await http.get(f"{EVENTS}?runId={run['id']}", headers=headers)
        assert (response.status_code, response.json()["code"]) == (400, "bad-header")


@pytest.mark.parametrize("different", [False, True])
async def test_many_clients_share_their_reads(different: bool) -> None:
    """However many clients watch one run or many, new events are read once per poll."""

    class Counting(MemoryStore):
        reads = 0

        async def read_journals(
            self, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
        ) -> JournalNews:
            self.reads += 1
            return await super().read_journals(after, limit=limit, max_chars=max_chars)

    store = Counting()
    streams = quick_streams(limit_per_actor=1000)
    streams.poll_seconds = 0.1
    app = make_app(store, streams=streams)
    async with client(app) as http, AsyncExitStack() as opened:
        runs = [(await started(http))["id"] for _ in range(20 if different else 1)] * (1 if different else 20)
        clients = [await opened.enter_async_context(listening(app, EVENTS, f"runId={run_id}")) for run_id in runs]
        for listener in clients:
            await listener.event()
        before, began_at = store.reads, anyio.current_time()
        for run_id in set(runs):
            await http.post(f"/api/workflow-cancel?id={run_id}")
        rests = [await listener.rest() for listener in clients]
        reads, polls = store.reads - before, (anyio.current_time() - began_at) / streams.poll_seconds
    assert [rest[-1]["metadata"]["status"] for rest in rests] == ["cancelled"] * 20
    assert 1 <= reads <= 2 * polls + 2


async def test_a_client_that_connects_late_gets_every_event() -> None:
    """Though what others of its run have read is newer than what it has."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http:
        run_id = (await started(http))["id"]
        async with listening(app, EVENTS, f"runId={run_id}") as first:
            received = [await first.event()]
            await work(store)
            received += await first.rest()
            async with listening(app, EVENTS, f"runId={run_id}") as second:
                assert await second.rest() == received


async def test_a_stream_survives_an_unavailable_database() -> None:
    """While the store is unavailable the stream waits, and continues without a gap."""

    class Flaky(MemoryStore):
        away = False

        async def list_events(
            self,
            run_id: str,
            *,
            after: int = 0,
            before: int | None = None,
            limit: int = 500,
            max_chars: int | None = None,
        ) -> list[RunEvent]:
            if self.away:
                self.away = False
                raise StorageUnavailable("away")
            return await super().list_events(run_id, after=after, before=before, limit=limit, max_chars=max_chars)

        async def read_journals(
            self, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
        ) -> JournalNews:
            if self.away:
                self.away = False
                raise StorageUnavailable("away")
            return await super().read_journals(after, limit=limit, max_chars=max_chars)

    store = Flaky()
    app = make_app(store)
    async with client(app) as http, listening(app, EVENTS, f"runId={(await started(http))['id']}") as stream:
        await stream.event()
        store.away = True
        await work(store)
        rest = await stream.rest()
    assert not store.away
    assert rest[-1]["metadata"]["status"] == "passed"


async def test_notifications_continue_when_the_database_is_available_again() -> None:
    """A failed read is not reported as a change, and the next change is."""

    class Flaky(MemoryStore):
        away = 0

        async def list_runs(self, query: RunQuery) -> RunPage:
            if self.away:
                self.away -= 1
                raise StorageUnavailable("away")
            return await super().list_runs(query)

    store = Flaky()
    app = make_app(store)
    async with client(app) as http, listening(app, "/api/workflow-stream") as stream:
        await stream.message()
        store.away = 2
        run = await started(http)
        assert await stream.event() == {"#": None, "runs": [run["id"]]}
    assert store.away == 0


async def test_notifications_have_the_ids_of_the_changed_runs() -> None:
    """A notification has the ids of new, running and ended runs, and nothing else."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http, listening(app, "/api/workflow-stream") as stream:
        await stream.message()
        run = await started(http)
        notification = await stream.message()
        assert (notification["event"], notification["data"]) == ("runs", f'{{"runs":["{run["id"]}"]}}')
        await http.post(f"/api/workflow-cancel?id={run['id']}")
        assert await stream.event() == {"#": None, "runs": [run["id"]]}


async def test_streams_need_the_permission_to_view() -> None:
    """A client that may only start runs gets no stream."""

    async def starter(_: object) -> Access:
        return Access("Ann", ["start"])

    async with client(make_app(access=starter)) as http:
        run = await started(http)
        for path in (f"{EVENTS}?runId={run['id']}", "/api/workflow-stream"):
            assert (await http.get(path, headers={"Accept": "text/event-stream"})).status_code == 403


async def test_retry_stands_in_the_block_of_the_first_event() -> None:
    """Every block with a field has data: some clients hand out a block with ``retry`` alone as an empty event."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http:
        run = await started(http)
    await work(store)
    blocks = []
    async with listening(app, EVENTS, f"runId={run['id']}") as stream:
        while block := await stream.message():
            blocks.append(block)
    assert blocks[0] == {"": "open"}
    assert 1000 <= int(blocks[1]["retry"]) <= 3000
    assert all("data" in block for block in blocks[1:])
    assert not any("retry" in block for block in blocks[2:])


async def test_head_of_a_stream_has_its_headers() -> None:
    """HEAD has the headers of GET, without opening a stream."""
    app = make_app()
    async with client(app, headers={"Accept": "text/event-stream"}) as http:
        run = await started(http)
        for path in ("/api/workflow-stream", f"{EVENTS}?runId={run['id']}"):
            response = await http.head(path)
            assert (response.status_code, response.content) == (200, b"")
            assert response.headers["content-type"].startswith("text/event-stream")
    assert app.streams.open == 0
