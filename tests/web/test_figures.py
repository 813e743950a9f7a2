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
from loopkit.storage import AgentStats, RunnerInfo, RunPage, RunQuery
from loopkit_web.runners import state
from tests.web.apps import client, make_app, namer, started, work

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
def test_a_runner_s_state_follows_from_its_last_sign_of_life(info: RunnerInfo, expected: str) -> None:
    """Late after two missed heartbeats, lost once its runs may be taken over; a goodbye counts before all."""
    assert state(info, MINUTES) == expected


async def test_runners_tell_what_each_holds_and_what_waits() -> None:
    """While a runner works, its entry names its running runs; the backlog tells of those nobody works."""
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
        await store.announce(
            attrs.evolve(INFO, id=runner.id, name=loopkit_name(await store.get_run(run["id"])), busy=1)
        )
        answer = (await http.get("/api/runners")).json()
        leave.set()
    mine = next(one for one in answer["runners"] if one["id"] == runner.id)
    assert (mine["state"], mine["runs"], mine["busy"], mine["slots"]) == ("live", [run["id"]], 1, 4)
    assert [(one["agent"], one["queued"], one["stalled"]) for one in answer["backlog"]] == [("namer", 1, 0)]
    assert answer["backlog"][0]["oldestQueuedAt"]


def loopkit_name(run: loopkit.Run) -> str:
    """``host:pid`` of who holds a run."""
    assert run.claimed_by is not None
    return run.claimed_by.rpartition(":")[0]


async def test_figures_add_up() -> None:
    """Counts by status and agent, their sums, and the score and attempt figures of ended runs."""
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
    """Each family has its type and its help, labels are escaped, and the page ends as it must."""

    class Odd(MemoryStore):
        async def stats(self) -> list[AgentStats]:
            now = datetime(2026, 1, 1, tzinfo=UTC)
            counts = {"queued": 1000}
            return [AgentStats(agent='a"b\\c\nd', counts=counts, oldest_queued_at=now, mean_score=0.5)]

    store = Odd()
    await store.announce(INFO)
    await store.announce(attrs.evolve(INFO, id="gone", gone=True))
    async with client(make_app(store)) as http:
        answer = await http.get("/api/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    *lines, end = answer.text.splitlines()
    assert end == "# EOF"
    families = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples)
    assert {line.partition(" ")[0].partition("{")[0] for line in samples} <= families
    assert 'loopkit_runs{agent="a\\"b\\\\c\\nd",status="queued"} 1000' in lines
    assert "loopkit_slots 4" in lines
    assert 'loopkit_runners{state="gone"} 1' in lines


async def test_a_store_without_figures_has_none() -> None:
    """Runners, figures and metrics of a store that keeps none are empty, not an error."""

    class Plain:
        """A store with the verbs of runs alone."""

        stalled_after = MINUTES

        def __init__(self) -> None:
            inner = MemoryStore()
            self.list_runs = inner.list_runs
            self.get_run = inner.get_run

    async with client(make_app(Plain())) as http:
        assert (await http.get("/api/runners")).json() == {"runners": [], "backlog": []}
        assert (await http.get("/api/stats")).json() == {"counts": {}, "agents": []}
        assert (await http.get("/api/metrics")).text.endswith("# EOF\n")


async def test_health_is_503_while_the_database_is_away_and_well_after() -> None:
    """Health asks the database; who asks often costs one question a poll."""

    class Flaky(MemoryStore):
        away = True
        asked = 0

        async def list_runs(self, query: RunQuery) -> RunPage:
            self.asked += 1
            if self.away:
                raise StorageUnavailable("away")
            return await super().list_runs(query)

    store = Flaky()
    app = make_app(store)
    async with client(app) as http:
        answer = await http.get("/api/health")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
            503,
            "store-unavailable",
            "5",
        )
        store.away = False
        assert (await http.get("/api/health")).json() == {"status": "ok"}
        app.streams.poll_seconds = 3600
        asked = store.asked
        for _ in range(50):
            assert (await http.get("/api/health")).status_code == 200
        assert store.asked <= asked + 1
