"""Suites for the optional protocols of a store, each used by a subclass like :class:`~loopkit.testing.StorageSuite`."""

from datetime import timedelta
from typing import Final

import anyio
import attrs
import pytest

from loopkit.core import machine
from loopkit.core.ids import fingerprint
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.outcome import Outcome, Produced
from loopkit.core.run import RunStatus
from loopkit.errors import KeyReused, RunNotFound
from loopkit.storage import (
    AgentOverview,
    CancelRequests,
    Copying,
    IdempotencyKeys,
    Journals,
    KeyedRun,
    Maintenance,
    Overview,
    RunnerInfo,
    RunnerRegistry,
    RunQuery,
    RunScores,
    RunStatistics,
    Storage,
    Wakeups,
)
from loopkit.testing.cases.case_base import TICK, Cases, fall_silent
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    BORIS,
    all_runs,
    claim_one,
    fail,
    look,
    new_call,
    new_run,
    new_verdict,
    scored,
    start_one,
    submit_one,
    with_ledger,
    work,
    work_to_end,
)

__all__ = [
    "CancelRequestsSuite",
    "CopyingSuite",
    "IdempotencyKeysSuite",
    "JournalsSuite",
    "MaintenanceSuite",
    "RunScoresSuite",
    "RunStatisticsSuite",
    "RunnerRegistrySuite",
    "WakeupsSuite",
]

DAY: Final = timedelta(days=1)


class WakeupsSuite(Cases):
    """Cases for :class:`loopkit.storage.Wakeups`."""

    async def test_waiting_ends_at_its_limit(self, storage: Storage) -> None:
        """Without any work the call returns after its timeout, each time."""
        assert isinstance(storage, Wakeups)
        for _ in range(2):
            await storage.wait_for_work(0.01)

    async def test_waiting_ends_with_new_work(self, storage: Storage) -> None:
        """A runner that waits with a long timeout claims a run soon after it is submitted."""
        assert isinstance(storage, Wakeups)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(storage.submit, [new_run()])
                while not await storage.claim(BORIS, AGENTS):
                    await storage.wait_for_work(600)

    async def test_waiting_can_be_cancelled(self, storage: Storage) -> None:
        """A waiting runner can be stopped at any time."""
        assert isinstance(storage, Wakeups)
        with anyio.move_on_after(0.05) as scope:
            while True:
                await storage.wait_for_work(600)
        assert scope.cancelled_caught


class MaintenanceSuite(Cases):
    """Cases for :class:`loopkit.storage.Maintenance`."""

    async def test_old_ended_runs_go_whole(self, storage: Storage, clock: StoreClock) -> None:
        """Passed, failed and cancelled runs that are old enough are deleted with their events and artifacts."""
        assert isinstance(storage, Maintenance)
        held = await start_one(storage)
        old = [
            await work_to_end(storage, held),
            await fail(storage, await start_one(storage, tags=("gone",))),
            await storage.request_cancel((await submit_one(storage)).id),
        ]
        clock.advance(2 * storage.stalled_after)
        young = await work_to_end(storage, await start_one(storage))
        before = await look(storage, young.id)
        assert sorted(await storage.prune(storage.stalled_after)) == sorted(run.id for run in old)
        for run in old:
            for verb in (storage.get_run, storage.list_events, storage.list_artifacts):
                with pytest.raises(RunNotFound):
                    await verb(run.id)
        assert (await storage.list_runs(RunQuery(tags=("gone",)))).runs == ()
        assert await look(storage, young.id) == before
        assert await all_runs(storage) == [young]
        assert await storage.prune(storage.stalled_after) == []
        assert [beat.held for beat in await storage.heartbeat([held.lease])] == [False]
        assert await storage.check() == []

    async def test_only_ended_runs_go(self, storage: Storage, clock: StoreClock) -> None:
        """Queued, running, stalled and released runs stay, at any age."""
        assert isinstance(storage, Maintenance)
        held = await start_one(storage)
        await storage.record(held.lease, machine.released_change(held.run, "stop"))
        await storage.submit([new_run(agent_name="painter")])
        await claim_one(storage)
        fall_silent(storage, clock)
        assert await storage.prune(timedelta(0)) == []
        assert len(await all_runs(storage)) == 2

    async def test_age_counts_from_the_end(self, storage: Storage, clock: StoreClock) -> None:
        """A run is deleted when it ended more than ``older_than`` ago, whenever it was created."""
        assert isinstance(storage, Maintenance)
        held = await start_one(storage)
        clock.advance(storage.stalled_after)
        run = await work_to_end(storage, held)
        self.needs_hand(clock)
        clock.advance(storage.stalled_after)
        assert await storage.prune(storage.stalled_after) == []
        clock.advance(TICK)
        assert await storage.prune(storage.stalled_after) == [run.id]

    async def test_a_limit_holds_and_the_rest_follows(self, storage: Storage, clock: StoreClock) -> None:
        """Repeated calls delete everything, the longest ended first."""
        assert isinstance(storage, Maintenance)
        ended = []
        for _ in range(5):
            ended.append((await work_to_end(storage, await start_one(storage))).id)
            clock.advance(TICK)
        clock.advance(storage.stalled_after)
        pruned = []
        while batch := await storage.prune(storage.stalled_after, limit=2):
            assert len(batch) <= 2
            pruned += batch
        assert pruned == ended

    async def test_a_pruned_runs_key_is_free(self, storage: Storage, clock: StoreClock) -> None:
        """An idempotency key is deleted with its run; the others stay."""
        assert isinstance(storage, Maintenance)
        await submit_one(storage, idempotency_key="gone")
        await work_to_end(storage, await claim_one(storage))
        clock.advance(TICK)
        remaining = await submit_one(storage, idempotency_key="kept")
        clock.advance(TICK)
        assert len(await storage.prune(timedelta(0))) == 1
        new = await submit_one(storage, idempotency_key="gone", inputs={"other": True})
        assert new.status is RunStatus.QUEUED
        assert await submit_one(storage, idempotency_key="kept") == remaining

    async def test_a_retry_outlives_its_original(self, storage: Storage, clock: StoreClock) -> None:
        """``retry_of`` may name a deleted run."""
        assert isinstance(storage, Maintenance)
        old = await fail(storage, await start_one(storage))
        new = await storage.retry(old.id)
        clock.advance(TICK)
        assert await storage.prune(timedelta(0)) == [old.id]
        assert await storage.get_run(new.id) == new
        assert await storage.check() == []


class RunnerRegistrySuite(Cases):
    """Cases for :class:`loopkit.storage.RunnerRegistry`."""

    async def test_runners_are_told_newest_start_first(self, storage: Storage, clock: StoreClock) -> None:
        """The last announcement of each runner is returned, with the store's times."""
        assert isinstance(storage, RunnerRegistry)
        assert await storage.runners() == []
        first = RunnerInfo(id="a", name="host:1", version="0.1", agents=("writer", "painter"), slots=4)
        second = RunnerInfo(id="b", name="host:2", version="0.1", agents=(), slots=1, heartbeat=timedelta(seconds=5))
        await storage.announce(first)
        clock.advance(TICK)
        await storage.announce(second)
        clock.advance(TICK)
        changed = attrs.evolve(first, busy=3, draining=True, gone=True)
        await storage.announce(changed)
        shown = await storage.runners()
        assert [runner.id for runner in shown] == ["b", "a"]
        assert [attrs.evolve(r, started_at=None, seen_at=None, age=None) for r in shown] == [second, changed]
        for runner in shown:
            assert runner.started_at is not None
            assert runner.seen_at is not None
            assert runner.age is not None
            assert runner.age >= timedelta(0)
        assert shown[1].seen_at > shown[1].started_at  # type: ignore[operator]
        assert shown[0].seen_at == shown[0].started_at
        assert shown[0].age > shown[1].age  # type: ignore[operator]

    async def test_runners_unseen_for_a_day_are_left_out(self, storage: Storage, clock: StoreClock) -> None:
        """A runner without an announcement for more than 24 hours is left out."""
        self.needs_hand(clock)
        assert isinstance(storage, RunnerRegistry)
        await storage.announce(RunnerInfo(id="a", name="host:1", version="0.1", agents=(), slots=1))
        clock.advance(DAY)
        assert len(await storage.runners()) == 1
        clock.advance(TICK)
        assert await storage.runners() == []

    async def test_holdings_are_the_longest_silent_first(self, storage: Storage, clock: StoreClock) -> None:
        """All running runs, stalled ones included, by their last sign of life."""
        assert isinstance(storage, RunnerRegistry)
        first = await start_one(storage)
        clock.advance(TICK)
        second = await start_one(storage)
        clock.advance(TICK)
        await storage.heartbeat([first.lease])
        await submit_one(storage)
        await work_to_end(storage, await start_one(storage))
        assert [run.id for run in await storage.holdings()] == [second.run.id, first.run.id]
        assert [run.id for run in await storage.holdings(limit=1)] == [second.run.id]
        fall_silent(storage, clock)
        assert [run.stalled for run in await storage.holdings()] == [True, True]
        assert [await storage.get_run(run.id) for run in await storage.holdings()] == await storage.holdings()
        beginnings = [await storage.get_run(run.id, max_chars=5) for run in await storage.holdings()]
        assert await storage.holdings(max_chars=5) == beginnings
        assert all(run.is_cut for run in beginnings)


class RunStatisticsSuite(Cases):
    """Cases for :class:`loopkit.storage.RunStatistics`."""

    async def test_figures_of_each_agent(self, storage: Storage, clock: StoreClock) -> None:
        """Counts, means and the oldest queued run, by name of the agent."""
        assert isinstance(storage, RunStatistics)
        assert await storage.stats() == []
        stalled = await start_one(storage)
        fall_silent(storage, clock)
        waiting = await submit_one(storage, agent_name="painter")
        clock.advance(TICK)
        await submit_one(storage, agent_name="painter")
        await work_to_end(storage, await start_one(storage), 0.8)
        clock.advance(TICK)
        await work(storage, await start_one(storage, max_attempts=1), Produced("x"), scored(0.2))
        clock.advance(TICK)
        late: list[Outcome] = [Produced("x"), scored(0.5), Produced("y"), scored(0.9)]
        await work(storage, await start_one(storage), *late)
        clock.advance(TICK)
        await fail(storage, await start_one(storage))
        painter, writer = await storage.stats()
        assert (painter.agent, painter.counts, painter.oldest_queued_at) == (
            "painter",
            {"queued": 2},
            waiting.created_at,
        )
        assert (painter.ended, painter.passed, painter.mean_score, painter.last_score) == (0, 0, None, None)
        assert writer.counts == {"running": 1, "stalled": 1, "passed": 2, "failed": 2}
        assert (writer.agent, writer.oldest_queued_at, writer.ended, writer.passed) == ("writer", None, 4, 2)
        assert writer.mean_score == pytest.approx((0.8 + 0.2 + 0.9) / 3)
        assert writer.last_score == 0.9
        assert writer.mean_attempts == pytest.approx(5 / 4)
        assert writer.passed_at_attempt == {1: 1, 2: 1}
        assert (await storage.get_run(stalled.run.id)).stalled

    async def test_an_overview_of_all_runs(self, storage: Storage, clock: StoreClock) -> None:
        """Counts over all agents, and the backlog of each with the score of the run that passed or failed last."""
        assert isinstance(storage, RunStatistics)
        assert await storage.overview() == Overview(counts={}, agents=())
        await start_one(storage)
        fall_silent(storage, clock)
        waiting = await submit_one(storage, agent_name="painter")
        clock.advance(TICK)
        await submit_one(storage, agent_name="painter")
        for score in (0.8, 0.9):
            await work_to_end(storage, await start_one(storage), score)
            clock.advance(TICK)
        await work(storage, await start_one(storage, max_attempts=1), Produced("x"), scored(0.2))
        clock.advance(TICK)
        await storage.request_cancel((await submit_one(storage)).id)
        overview = await storage.overview()
        counts = {"queued": 2, "running": 1, "stalled": 1, "passed": 2, "failed": 1, "cancelled": 1}
        assert overview.counts == counts
        assert overview.agents == (
            AgentOverview(agent="painter", queued=2, oldest_queued_at=waiting.created_at),
            AgentOverview(agent="writer", stalled=1, last_score=0.2),
        )
        clock.advance(TICK)
        await work_to_end(storage, await start_one(storage), 1.0)
        assert [agent.last_score for agent in (await storage.overview()).agents] == [None, 1.0]
        clock.advance(TICK)
        await fail(storage, await start_one(storage))
        assert [agent.last_score for agent in (await storage.overview()).agents] == [None, None]


class RunScoresSuite(Cases):
    """Cases for :class:`loopkit.storage.RunScores`."""

    async def test_trajectories_are_the_scores_by_attempt(self, storage: Storage) -> None:
        """For the requested runs; unknown ones are left out, and those without a score are empty."""
        assert isinstance(storage, RunScores)
        first = await start_one(storage)
        await work(storage, first, Produced("x"), scored(0.5), Produced("y"), scored(0.25))
        second = await submit_one(storage)
        await work_to_end(storage, await start_one(storage))
        trajectories = await storage.trajectories([first.run.id, second.id, "run_0"])
        assert {run_id: trajectory.scores for run_id, trajectory in trajectories.items()} == {
            first.run.id: ((1, 0.5), (2, 0.25)),
            second.id: (),
        }
        assert {trajectory.run_id for trajectory in trajectories.values()} == {first.run.id, second.id}
        assert await storage.trajectories([]) == {}


class IdempotencyKeysSuite(Cases):
    """Cases for :class:`loopkit.storage.IdempotencyKeys`."""

    async def test_a_key_leads_to_its_run_as_it_is_now(self, storage: Storage) -> None:
        """Also after the run has changed and ended; with the fingerprint of the request that made it."""
        assert isinstance(storage, IdempotencyKeys)
        request = new_run(idempotency_key="k")
        (submitted,) = await storage.submit([request])
        found = await storage.find_key("k")
        assert found == KeyedRun(run=submitted, fingerprint=fingerprint(request))
        await work_to_end(storage, await claim_one(storage))
        ended = await storage.find_key("k")
        assert ended is not None
        assert (ended.run, ended.fingerprint) == (await storage.get_run(submitted.id), found.fingerprint)

    async def test_an_unknown_key_leads_nowhere(self, storage: Storage) -> None:
        """Keys are compared as they are: no other spelling, no prefix, no run without a key."""
        assert isinstance(storage, IdempotencyKeys)
        await storage.submit([new_run(idempotency_key="key"), new_run()])
        for key in ("", "ke", "KEY", "key ", "%"):
            assert await storage.find_key(key) is None

    async def test_a_repeated_request_keeps_the_key(self, storage: Storage) -> None:
        """The key leads to the first run, whose request it was; a refused one changes nothing."""
        assert isinstance(storage, IdempotencyKeys)
        first = await submit_one(storage, idempotency_key="k")
        await submit_one(storage, idempotency_key="k")
        before = await storage.find_key("k")
        with pytest.raises(KeyReused):
            await submit_one(storage, idempotency_key="k", max_attempts=9)
        assert before is not None
        assert before.run == first
        assert await storage.find_key("k") == before


class JournalsSuite(Cases):
    """Cases for :class:`loopkit.storage.Journals`."""

    async def test_news_are_the_events_after_an_id_for_each_run(self, storage: Storage) -> None:
        """In order of id over all runs; ended and unknown runs are named."""
        assert isinstance(storage, Journals)
        first = (await start_one(storage)).run.id
        held = await start_one(storage)
        second = held.run.id
        await work_to_end(storage, held)
        known = await storage.list_events(first)
        others = await storage.list_events(second)
        news = await storage.read_journals({first: known[0].id, second: 0, "run_0": 0})
        assert list(news.events) == sorted([*known[1:], *others], key=lambda event: event.id)
        assert (set(news.ended), set(news.missing), news.is_complete) == ({second}, {"run_0"}, True)
        news = await storage.read_journals({first: known[-1].id, second: others[-1].id})
        assert (list(news.events), set(news.ended), news.is_complete) == ([], {second}, True)

    async def test_news_are_bounded(self, storage: Storage) -> None:
        """What is more than the limit is told by ``is_complete`` and read by the next call."""
        assert isinstance(storage, Journals)
        run_id = (await start_one(storage)).run.id
        events = await storage.list_events(run_id)
        news = await storage.read_journals({run_id: 0}, limit=len(events) - 1)
        assert (list(news.events), news.is_complete) == (events[:-1], False)
        assert (await storage.read_journals({run_id: 0}, limit=len(events))).is_complete
        assert list((await storage.read_journals({})).events) == []
        cut = (await storage.read_journals({run_id: 0}, max_chars=3)).events
        assert [event.message for event in cut] == [event.message and event.message[:3] for event in events]
        assert all(event.is_cut for event in cut if len(event.message or "") == 3)


class CancelRequestsSuite(Cases):
    """Cases for :class:`loopkit.storage.CancelRequests`."""

    async def test_requests_of_runs_that_go_on_are_returned(self, storage: Storage) -> None:
        """A run is among them from its request to its end, and a queued run, which is cancelled at once, never."""
        assert isinstance(storage, CancelRequests)
        held = [await start_one(storage) for _ in range(3)]
        queued = await submit_one(storage)
        assert await storage.requested_cancels() == frozenset()
        for run_id in (held[0].run.id, held[1].run.id, queued.id):
            await storage.request_cancel(run_id)
        assert await storage.requested_cancels() == frozenset({held[0].run.id, held[1].run.id})
        await storage.record(held[0].lease, machine.cancelled_change(held[0].run))
        assert await storage.requested_cancels(limit=1) == frozenset({held[1].run.id})
        await storage.request_cancel(held[2].run.id)
        assert await storage.requested_cancels(limit=1) is None


class CopyingSuite(Cases):
    """Cases for :class:`loopkit.storage.Copying`. A subclass overrides the fixture ``empty`` as well."""

    @pytest.fixture
    async def empty(self, clock: StoreClock) -> Storage:
        """Return a second empty store, to copy into."""
        raise NotImplementedError("a subclass of the suite must override the fixture `empty`")

    async def test_a_copy_is_equal(self, storage: Storage, empty: Storage, clock: StoreClock) -> None:
        """Each run is copied with its id, its journal with its event ids, and its artifacts, and can be continued."""
        assert isinstance(storage, Copying)
        assert isinstance(empty, Copying)
        held = await start_one(storage)
        run = await work(storage, held, Produced("x"))
        entry = with_ledger(machine.log_change(run, []), new_call("x", cost_nanos=2), new_verdict("a", detail={"b": 1}))
        run = await storage.record(held.lease, entry)
        await work(storage, attrs.evolve(held, run=run), scored(0.5), Produced("y"), scored(0.9))
        await storage.request_cancel((await submit_one(storage, agent_name="painter", title="A", tags=("b", "a"))).id)
        clock.advance(TICK)
        held = await start_one(storage, inputs={"a": [1.0, "ü"]})
        line = NewEvent(event_type=EventType.LOG, message="half way", metadata={"n": 1})
        await storage.record(held.lease, machine.log_change(held.run, [line]))
        waiting = await submit_one(storage)
        after = ""
        while batch := await storage.export_runs(after, limit=3):
            assert len(batch) <= 3
            await empty.import_runs(batch)
            after = (await all_runs(empty))[-1].id
        runs = await all_runs(storage)
        assert await all_runs(empty) == runs
        for run in runs:
            assert await look(empty, run.id) == await look(storage, run.id)
        assert await empty.check() == []
        assert (await claim_one(empty, BORIS)).run.id == waiting.id
        await work_to_end(empty, held)
        later = await submit_one(empty)
        assert later.cycle_id == f"{later.created_at.date().isoformat()}-005"

    async def test_nothing_is_nothing(self, storage: Storage, empty: Storage) -> None:
        """An empty store exports an empty list, and an empty list can be imported."""
        assert isinstance(storage, Copying)
        assert isinstance(empty, Copying)
        assert await storage.export_runs("") == []
        await empty.import_runs([])
        assert await all_runs(empty) == []
