"""Runners, figures, metrics and health over HTTP."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest

import loopkit
from loopkit import Agent, MemoryStore
from loopkit.errors import StorageUnavailable
from loopkit.fleet import runner_state
from loopkit.storage import AgentStats, RunnerInfo, RunPage, RunQuery
from tests.web.app_helpers import client, make_app, namer, started, work

INFO = RunnerInfo(id="r", name="host:7", version="1", agents=("namer",), slots=4, age=timedelta())
MINUTES = timedelta(minutes=2)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (INFO, "live"),
        (attrs.evolve(INFO, age=timedelta(seconds=60)), "live"),
        (attrs.evolve(INFO, age=timedelta(seconds=61)), "late"),
        (attrs.evolve(INFO, age=timedelta(seconds=121)), "lost"),
        (attrs.evolve(INFO, draining=True), "draining"),
        (attrs.evolve(INFO, draining=True, age=timedelta(seconds=61)), "late"),
        (attrs.evolve(INFO, gone=True, age=timedelta(days=1)), "gone"),
        (attrs.evolve(INFO, age=None), "live"),
    ],
)
def test_the_state_of_a_runner_follows_from_its_last_heartbeat(info: RunnerInfo, expected: str) -> None:
    """Late after two missed heartbeats, lost once its runs may be taken over; an orderly stop takes precedence."""
    assert runner_state(info, MINUTES) == expected


async def test_runners_have_the_runs_they_hold_and_agents_their_backlog() -> None:
    """The entry of a working runner lists its running runs; the backlog counts the runs that wait."""
    store = MemoryStore()
    entered, leave = anyio.Event(), anyio.Event()

    async def produce(_: Any) -> str:
        entered.set()
        await leave.wait()
        return "x"

    slow = Agent(name="namer", produce=produce, evaluate=lambda ctx: 1.0)
    async with client(make_app(store)) as http, anyio.create_task_group() as tasks:
        run = await started(http)
        runner = loopkit.Runner(store, [slow], concurrency=1)
        tasks.start_soon(runner.drain)
        await entered.wait()
        await started(http)
        await store.announce(attrs.evolve(INFO, id=runner.id, name=holder_name(await store.get_run(run["id"])), busy=1))
        listing = (await http.get("/api/runners")).json()
        leave.set()
    mine = next(entry for entry in listing["runners"] if entry["id"] == runner.id)
    assert (mine["state"], mine["runs"], mine["busy"], mine["slots"]) == ("live", [run["id"]], 1, 4)
    assert [(item["agent"], item["queued"], item["stalled"]) for item in listing["backlog"]] == [("namer", 1, 0)]
    assert listing["backlog"][0]["oldestQueuedAt"]


def holder_name(run: loopkit.Run) -> str:
    """Return ``host:pid`` of the runner that holds a run."""
    assert run.claimed_by is not None
    return run.claimed_by.rpartition(":")[0]


async def test_figures_add_up() -> None:
    """Counts by status and agent, their totals, and the scores and attempts of ended runs."""
    store = MemoryStore()
    async with client(make_app(store, [namer(), namer("other")])) as http:
        await started(http)
        await started(http)
        await work(store)
        run = await started(http)
        await http.post(f"/api/workflow-cancel?id={run['id']}")
        await http.post("/api/workflows", json={"agentName": "other", "inputs": {"thing": "x"}})
        stats = (await http.get("/api/stats")).json()
    assert stats["counts"] == {"passed": 2, "cancelled": 1, "queued": 1}
    mine, other = stats["agents"]
    assert (mine["agent"], mine["ended"], mine["passed"], mine["passedAtAttempt"]) == ("namer", 3, 2, {"2": 2})
    assert (mine["meanScore"], mine["lastScore"]) == (pytest.approx(0.9), pytest.approx(0.9))
    assert (other["counts"], other["meanScore"]) == ({"queued": 1}, None)


SAMPLE = re.compile(r'([a-z_]+)(\{([a-z]+="([^"\\\n]|\\["\\n])*",?)+\})? -?[0-9.e+-]+')


async def test_metrics_are_openmetrics_whatever_agents_are_called() -> None:
    """Each metric family has its type and help, labels are escaped, and the text ends with the EOF line."""

    class Odd(MemoryStore):
        async def stats(self) -> list[AgentStats]:
            now = datetime(2026, 1, 1, tzinfo=UTC)
            counts = {"queued": 1000}
            return [AgentStats(agent='a"b\\c\nd', counts=counts, oldest_queued_at=now, mean_score=0.5)]

    store = Odd()
    await store.announce(INFO)
    await store.announce(attrs.evolve(INFO, id="gone", gone=True))
    async with client(make_app(store)) as http:
        response = await http.get("/api/metrics")
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    *lines, end = response.text.splitlines()
    assert end == "# EOF"
    families = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples)
    names = {line.partition(" ")[0].partition("{")[0] for line in samples}
    assert {re.sub("_(total|bucket|count|sum)$", "", name) for name in names} <= families
    assert 'loopkit_runs{agent="a\\"b\\\\c\\nd",status="queued"} 1000' in lines
    assert "loopkit_slots 4" in lines
    assert 'loopkit_runners{state="gone"} 1' in lines


async def test_a_store_without_figures_has_none() -> None:
    """Runners, figures and metrics of a store that keeps no figures are empty, not an error."""

    class Plain:
        """Store that can only read runs."""

        stalled_after = MINUTES

        def __init__(self) -> None:
            inner = MemoryStore()
            self.list_runs = inner.list_runs
            self.get_run = inner.get_run

    async with client(make_app(Plain())) as http:
        assert (await http.get("/api/runners")).json() == {"runners": [], "backlog": []}
        assert (await http.get("/api/stats")).json() == {"counts": {}, "agents": []}
        assert (await http.get("/api/metrics")).text.endswith("# EOF\n")


async def test_health_is_503_while_the_database_is_unavailable_and_200_after() -> None:
    """Health queries the database at most once per poll, however many requests there are."""

    class Flaky(MemoryStore):
        away = True
        queries = 0

        async def list_runs(self, query: RunQuery) -> RunPage:
            self.queries += 1
            if self.away:
                raise StorageUnavailable("away")
            return await super().list_runs(query)

    store = Flaky()
    app = make_app(store)
    async with client(app) as http:
        response = await http.get("/api/health")
        assert (response.status_code, response.json()["code"], response.headers["retry-after"]) == (
            503,
            "store-unavailable",
            "5",
        )
        store.away = False
        assert (await http.get("/api/health")).json() == {"status": "ok"}
        app.streams.poll_seconds = 3600
        queries = store.queries
        for _ in range(50):
            assert (await http.get("/api/health")).status_code == 200
        assert store.queries <= queries + 1
