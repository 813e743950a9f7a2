"""Suites for the optional protocols of a store, each run by a subclass like :class:`~loopkit.testing.StorageSuite`."""

from datetime import timedelta
from typing import Final

import anyio
import attrs
import pytest

from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.outcome import Outcome, Produced
from loopkit.core.run import RunStatus
from loopkit.errors import RunNotFound
from loopkit.storage import AgentOverview, Copying, Fleet, Maintenance, Overview, RunnerInfo, Storage, Wakeups
from loopkit.testing.cases.base import TICK, Cases, fall_silent
from loopkit.testing.clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    BORIS,
    all_runs,
    claim_one,
    fail,
    look,
    new_run,
    scored,
    start_one,
    submit_one,
    work,
    work_to_end,
)

__all__ = ["CopyingSuite", "FleetSuite", "MaintenanceSuite", "WakeupsSuite"]

DAY: Final = timedelta(days=1)


class WakeupsSuite(Cases):
    """Cases for :class:`loopkit.storage.Wakeups`."""

    async def test_waiting_ends_at_its_limit(self, storage: Storage) -> None:
        """Without any work the call returns, more than once."""
        assert isinstance(storage, Wakeups)
        for _ in range(2):
            await storage.wait_for_work(0.01)

    async def test_waiting_ends_with_new_work(self, storage: Storage) -> None:
        """A runner that waits as long as it may hears of a submitted run."""
        assert isinstance(storage, Wakeups)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(storage.submit, [new_run()])
                while not await storage.claim(BORIS, AGENTS):
                    await storage.wait_for_work(600)

    async def test_waiting_can_be_cancelled(self, storage: Storage) -> None:
        """A waiting runner can stop at any time."""
        assert isinstance(storage, Wakeups)
        with anyio.move_on_after(0.05) as scope:
            while True:
                await storage.wait_for_work(600)
        assert scope.cancelled_caught


class MaintenanceSuite(Cases):
    """Cases for :class:`loopkit.storage.Maintenance`."""

    async def test_old_ended_runs_go_whole(self, storage: Storage, clock: StoreClock) -> None:
        """Passed, failed and cancelled runs older than asked are deleted with all that belongs to them."""
        assert isinstance(storage, Maintenance)
        held = await start_one(storage)
        old = [
            await work_to_end(storage, held),
            await fail(storage, await start_one(storage)),
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
        assert await look(storage, young.id) == before
        assert await all_runs(storage) == [young]
        assert await storage.prune(storage.stalled_after) == []
        assert [beat.held for beat in await storage.heartbeat([held.lease])] == [False]
        assert await storage.check() == []

    async def test_only_ended_runs_go(self, storage: Storage, clock: StoreClock) -> None:
        """Queued, running, stalled and released runs stay, however old."""
        assert isinstance(storage, Maintenance)
        held = await start_one(storage)
        await storage.record(held.lease, machine.release(held.run, "stop"))
        await storage.submit([new_run(agent_name="painter")])
        await claim_one(storage)
        fall_silent(storage, clock)
        assert await storage.prune(timedelta(0)) == []
        assert len(await all_runs(storage)) == 2

    async def test_age_counts_from_the_end(self, storage: Storage, clock: StoreClock) -> None:
        """A run goes when it ended more than so long ago, whenever it was made; exactly so long ago is not enough."""
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
        """Called again and again it deletes everything, the longest ended first."""
        assert isinstance(storage, Maintenance)
        ended = []
        for _ in range(5):
            ended.append((await work_to_end(storage, await start_one(storage))).id)
            clock.advance(TICK)
        clock.advance(storage.stalled_after)
        gone = []
        while some := await storage.prune(storage.stalled_after, limit=2):
            assert len(some) <= 2
            gone += some
        assert gone == ended

    async def test_a_pruned_runs_key_is_free(self, storage: Storage, clock: StoreClock) -> None:
        """An idempotency key goes with its run; the others stay known."""
        assert isinstance(storage, Maintenance)
        await submit_one(storage, idempotency_key="gone")
        await work_to_end(storage, await claim_one(storage))
        clock.advance(TICK)
        kept = await submit_one(storage, idempotency_key="kept")
        clock.advance(TICK)
        assert len(await storage.prune(timedelta(0))) == 1
        again = await submit_one(storage, idempotency_key="gone", inputs={"other": True})
        assert again.status is RunStatus.QUEUED
        assert await submit_one(storage, idempotency_key="kept") == kept

    async def test_a_retry_outlives_its_original(self, storage: Storage, clock: StoreClock) -> None:
        """The link may point at a run that is gone."""
        assert isinstance(storage, Maintenance)
        old = await fail(storage, await start_one(storage))
        new = await storage.retry(old.id)
        clock.advance(TICK)
        assert await storage.prune(timedelta(0)) == [old.id]
        assert await storage.get_run(new.id) == new
        assert await storage.check() == []


class FleetSuite(Cases):
    """Cases for :class:`loopkit.storage.Fleet`."""

    async def test_runners_are_told_newest_start_first(self, storage: Storage, clock: StoreClock) -> None:
        """What was announced last is shown, with the store's times."""
        assert isinstance(storage, Fleet)
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
        """A day without a word is long enough."""
        self.needs_hand(clock)
        assert isinstance(storage, Fleet)
        await storage.announce(RunnerInfo(id="a", name="host:1", version="0.1", agents=(), slots=1))
        clock.advance(DAY)
        assert len(await storage.runners()) == 1
        clock.advance(TICK)
        assert await storage.runners() == []

    async def test_holdings_are_the_longest_silent_first(self, storage: Storage, clock: StoreClock) -> None:
        """All running runs, stalled ones too, by the last sign of life."""
        assert isinstance(storage, Fleet)
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

    async def test_figures_of_each_agent(self, storage: Storage, clock: StoreClock) -> None:
        """Counts, means and the oldest waiting run, by agent's name."""
        assert isinstance(storage, Fleet)
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
        """Counts over all agents, and of each what waits and the score of the run that passed or failed last."""
        assert isinstance(storage, Fleet)
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
        assert [one.last_score for one in (await storage.overview()).agents] == [None, 1.0]
        clock.advance(TICK)
        await fail(storage, await start_one(storage))
        assert [one.last_score for one in (await storage.overview()).agents] == [None, None]

    async def test_trajectories_are_the_scores_by_attempt(self, storage: Storage) -> None:
        """For the runs asked for; unknown ones are left out, and those without a score are empty."""
        assert isinstance(storage, Fleet)
        first = await start_one(storage)
        await work(storage, first, Produced("x"), scored(0.5), Produced("y"), scored(0.25))
        second = await submit_one(storage)
        await work_to_end(storage, await start_one(storage))
        found = await storage.trajectories([first.run.id, second.id, "run_0"])
        assert {run_id: shown.scores for run_id, shown in found.items()} == {
            first.run.id: ((1, 0.5), (2, 0.25)),
            second.id: (),
        }
        assert {shown.run_id for shown in found.values()} == {first.run.id, second.id}
        assert await storage.trajectories([]) == {}


class CopyingSuite(Cases):
    """Cases for :class:`loopkit.storage.Copying`. A subclass gives the fixture ``empty`` as well."""

    @pytest.fixture
    async def empty(self, clock: StoreClock) -> Storage:
        """A second empty store, to copy into."""
        raise NotImplementedError("a subclass of the suite gives the fixture `empty`")

    async def test_a_copy_is_equal(self, storage: Storage, empty: Storage, clock: StoreClock) -> None:
        """Every run comes over with its id, its journal with its numbers, and its artifacts; and can be worked on."""
        assert isinstance(storage, Copying)
        assert isinstance(empty, Copying)
        await work(storage, await start_one(storage), Produced("x"), scored(0.5), Produced("y"), scored(0.9))
        await storage.request_cancel((await submit_one(storage, agent_name="painter")).id)
        clock.advance(TICK)
        held = await start_one(storage, inputs={"a": [1.0, "ü"]})
        line = NewEvent(event_type=EventType.LOG, message="half way", metadata={"n": 1})
        await storage.record(held.lease, machine.log(held.run, [line]))
        waiting = await submit_one(storage)
        after = ""
        while some := await storage.export_runs(after, limit=3):
            assert len(some) <= 3
            await empty.import_runs(some)
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
        """An empty store exports an empty list, which can be imported."""
        assert isinstance(storage, Copying)
        assert isinstance(empty, Copying)
        assert await storage.export_runs("") == []
        await empty.import_runs([])
        assert await all_runs(empty) == []
