"""A run's journal over HTTP: pages, live streams with resume, and hints that runs have changed."""

import anyio
import pytest

from loopkit import MemoryStore, RunEvent
from loopkit.errors import StorageUnavailable
from loopkit.storage import RunPage, RunQuery
from loopkit_web import Access
from tests.web.apps import client, listening, make_app, quick_streams, started, work

EVENTS = "/api/workflow-events"


async def test_pages_of_events_follow_each_other() -> None:
    """``nextAfter`` leads through the whole journal and is null exactly when nothing follows."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        everything = (await http.get(f"{EVENTS}?runId={run['id']}")).json()
        assert everything["nextAfter"] is None
        found, after = [], 0
        for limit in (4, 1, 1000, 1000):
            page = (await http.get(f"{EVENTS}?runId={run['id']}&after={after}&limit={limit}")).json()
            found += page["events"]
            if page["nextAfter"] is None:
                break
            after = page["nextAfter"]
        assert found == everything["events"]
        exact = await http.get(f"{EVENTS}?runId={run['id']}&limit={len(found)}")
        assert exact.json()["nextAfter"] is None
    assert found[0]["message"] == "Queued"
    assert set(found[0]) == {"id", "runId", "eventType", "stage", "attempt", "message", "metadata", "createdAt"}


@pytest.mark.parametrize(
    "query", ["", "runId=", "runId=r&after=-1", "runId=r&after=9223372036854775808", "runId=r&x=1"]
)
async def test_a_malformed_question_is_400(query: str) -> None:
    """Without a run, and with an impossible id, nothing is guessed."""
    async with client(make_app()) as http:
        assert (await http.get(f"{EVENTS}?{query}")).status_code == 400


async def test_a_stream_has_what_is_there_then_what_comes_and_ends_with_the_run() -> None:
    """A listener from the beginning gets every event once, in order; after the last the stream closes."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http, listening(app, EVENTS, f"runId={(run := await started(http))['id']}") as stream:
        assert "retry" in await stream.message()
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
async def test_a_stream_goes_on_after_the_last_event_seen(by: str) -> None:
    """Last-Event-ID and ``after`` resume, the further one counts; after the end of a run the answer is 204."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http:
        run = await started(http)
        await work(store)
        events = (await http.get(f"{EVENTS}?runId={run['id']}")).json()["events"]

        def asked(seen: int) -> tuple[str, dict[str, str]]:
            query = f"runId={run['id']}" + (f"&after={seen}" if by == "query" else "&after=1" if by == "both" else "")
            return query, {} if by == "query" else {"last_event_id": str(seen)}

        query, headers = asked(events[3]["id"])
        async with listening(app, EVENTS, query, **headers) as stream:
            assert [event["id"] for event in await stream.rest()] == [event["id"] for event in events[4:]]
        query, headers = asked(events[-1]["id"])
        async with listening(app, EVENTS, query, **headers) as stream:
            await stream.ended.wait()
            assert stream.status == 204


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "99999999999999999999", "٣"])
async def test_an_impossible_last_event_id_is_400(given: str) -> None:
    """An id that no event has is not taken for the beginning."""
    async with client(make_app()) as http:
        run = await started(http)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": given.encode()}
        answer = await http.get(f"{EVENTS}?runId={run['id']}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-header")


async def test_many_listeners_of_a_run_cost_the_looks_of_one() -> None:
    """However many watch a run in which nothing happens, the store is asked once a poll."""

    class Counting(MemoryStore):
        looks = 0

        async def list_events(
            self, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
        ) -> list[RunEvent]:
            self.looks += before is not None
            return await super().list_events(run_id, after=after, before=before, limit=limit)

    store = Counting()
    streams = quick_streams()
    streams.poll_seconds = 3600
    app = make_app(store, streams=streams)
    async with client(app) as http:
        run = await started(http)
        before = store.looks
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                async with listening(app, EVENTS, f"runId={run['id']}") as stream:
                    await stream.event()

            for _ in range(20):
                tasks.start_soon(listen)
    assert store.looks - before == 20 + 1  # each asks whether there is anything to come, then all share one look


async def test_a_stream_outlives_a_database_that_is_away() -> None:
    """While the store does not answer the stream waits, and goes on without a gap."""

    class Flaky(MemoryStore):
        away = False

        async def list_events(
            self, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
        ) -> list[RunEvent]:
            if self.away:
                self.away = False
                raise StorageUnavailable("away")
            return await super().list_events(run_id, after=after, before=before, limit=limit)

    store = Flaky()
    app = make_app(store)
    async with client(app) as http, listening(app, EVENTS, f"runId={(await started(http))['id']}") as stream:
        await stream.event()
        store.away = True
        await work(store)
        rest = await stream.rest()
    assert not store.away
    assert rest[-1]["metadata"]["status"] == "passed"


async def test_hints_go_on_when_the_database_comes_back() -> None:
    """A look that fails is no change, and the next change is told."""

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


async def test_hints_name_the_runs_that_changed() -> None:
    """The stream of changes tells ids and nothing else: of new runs, of running ones, of ended ones."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http, listening(app, "/api/workflow-stream") as stream:
        await stream.message()
        run = await started(http)
        hint = await stream.message()
        assert (hint["event"], hint["data"]) == ("runs", f'{{"runs":["{run["id"]}"]}}')
        await http.post(f"/api/workflow-cancel?id={run['id']}")
        assert await stream.event() == {"#": None, "runs": [run["id"]]}


async def test_streams_need_the_permission_to_view() -> None:
    """Who may only start sees no stream."""

    async def starter(_: object) -> Access:
        return Access("Ann", ["start"])

    async with client(make_app(access=starter)) as http:
        run = await started(http)
        for path in (f"{EVENTS}?runId={run['id']}", "/api/workflow-stream"):
            assert (await http.get(path, headers={"Accept": "text/event-stream"})).status_code == 403
