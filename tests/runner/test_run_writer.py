"""The writes of a held run: log lines before the result of their stage, and nothing once the lease is lost."""

from datetime import timedelta

import anyio
import pytest

from loopkit import LeaseLost, MemoryStore, Run, RunStatus, StageContext
from loopkit.agents.agent import StageSpec
from loopkit.core import machine
from loopkit.core.journal import Change
from loopkit.core.lease import Claimant, Lease
from loopkit.core.outcome import Produced
from loopkit.errors import StorageUnavailable
from loopkit.runner import work_run
from loopkit.testing import HandClock
from tests.runner.agent_helpers import small_agent, start


async def test_logs_stand_before_their_stages_result_and_are_bounded() -> None:
    """A stage's lines are cleaned, cut, counted, and written before what the stage made."""
    store = MemoryStore()

    def talk(context: StageContext) -> str:
        for number in range(1005):
            context.log(f"line {number}", number=number)
        return "x"

    def judge(context: StageContext) -> float:
        context.log("a\0b" + "x" * 20_000, bad=object())
        return 1.0

    agent = small_agent(produce=talk, evaluate=judge)
    run = await work_run(store, agent, await start(store, agent))
    events = await store.list_events(run.id, limit=1000) + await store.list_events(run.id, after=1000)
    messages = [str(event.message) for event in events]
    assert messages.index("Produced (attempt-1.md)") > messages.index("line 999")
    assert "line 1000" not in messages
    assert "5 more log lines were dropped" in messages
    long = next(event for event in events if str(event.message).startswith("a\ufffdb"))
    assert len(str(long.message)) < 8300
    assert "object" in str(long.metadata and long.metadata["bad"])


async def test_a_log_line_is_seen_while_its_stage_still_runs() -> None:
    """Lines do not wait for the end of a long stage."""
    store = MemoryStore()

    async def talk(context: StageContext) -> str:
        context.log("half way")
        while not any(event.message == "half way" for event in await store.list_events(context.run_id)):  # noqa: ASYNC110
            await anyio.sleep(0.02)
        return "x"

    agent = small_agent(produce=talk)
    with anyio.fail_after(20):
        run = await work_run(store, agent, await start(store, agent))
    assert run.status is RunStatus.PASSED


async def test_each_try_may_log_its_lines_and_why_it_failed_is_always_told() -> None:
    """However much a failed try logs, the journal says that it failed and what the next one logged."""
    store, tries = MemoryStore(), []

    def talk(context: StageContext) -> str:
        tries.append(1)
        for number in range(1003):
            context.log(f"try {len(tries)} line {number}")
        if len(tries) == 1:
            raise RuntimeError("again please")
        return "x"

    agent = small_agent(produce=StageSpec(talk, retries=1), evaluate=lambda context: 1.0)
    run = await work_run(store, agent, await start(store, agent))
    events = await store.list_events(run.id, limit=1000)
    while more := await store.list_events(run.id, after=events[-1].id, limit=1000):
        events += more
    messages = [str(event.message) for event in events]
    failed = next(number for number, message in enumerate(messages) if "again please" in message)
    assert messages.index("try 1 line 999") < failed < messages.index("try 2 line 0")
    assert messages.count("3 more log lines were dropped") == 2


async def test_a_cancelled_runner_that_lost_its_run_just_leaves() -> None:
    """Giving back a run that another runner holds by now is no error."""
    clock, begun = HandClock(), anyio.Event()
    store = MemoryStore(now=clock)

    async def hang(context: StageContext) -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    agent = small_agent(produce=hang)
    held = await start(store, agent)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work_run, store, agent, held)
        await begun.wait()
        clock.advance(timedelta(seconds=121))
        [other] = await store.claim(Claimant(name="there:2"), {"writer": "d"})
        tasks.cancel_scope.cancel()
    assert (await store.get_run(held.run.id)).claimed_by == other.lease.claimed_by


class ReadOnly(MemoryStore):
    """A store that renews leases and writes nothing else."""

    tries = 0

    async def record(self, lease: Lease, change: Change) -> Run:
        self.tries += 1
        raise StorageUnavailable("the database has no room left")


async def test_a_run_whose_results_cannot_be_written_is_let_go() -> None:
    """After a stall time without a write the lease is renewed no longer, so that another runner may have the run."""
    store, agent = ReadOnly(stalled_after=timedelta(milliseconds=600)), small_agent()
    held = await start(store, agent)
    with anyio.fail_after(60):
        with pytest.raises(LeaseLost):
            await work_run(store, agent, held, heartbeat=timedelta(milliseconds=100))
        while not (again := await store.claim(Claimant(name="there:2"), {"writer": "d"})):  # noqa: ASYNC110
            await anyio.sleep(0.02)
    assert (again[0].taken_over, again[0].artifacts) == (True, ())


async def test_a_write_without_an_answer_is_not_sent_again_once_the_lease_is_lost() -> None:
    """Whatever the store says by then: another runner may hold the run."""
    clock = HandClock()

    class Taken(ReadOnly):
        async def record(self, lease: Lease, change: Change) -> Run:
            clock.advance(timedelta(seconds=121))
            await self.claim(Claimant(name="there:2"), {"writer": "d"})
            return await super().record(lease, change)

    store, agent = Taken(now=clock), small_agent()
    held = await start(store, agent)
    with anyio.fail_after(60), pytest.raises(LeaseLost):
        await work_run(store, agent, held, heartbeat=timedelta(milliseconds=20))
    assert store.tries == 1


async def test_a_runner_that_lost_its_run_writes_nothing_more() -> None:
    """A zombie's result is dropped, and it says that the lease is lost."""
    clock = HandClock()
    store = MemoryStore(now=clock)

    async def slow(context: StageContext) -> str:
        clock.advance(timedelta(seconds=121))
        [other] = await store.claim(Claimant(name="there:2"), {"writer": "d"})
        await store.record(other.lease, machine.advance(other.run, Produced("theirs")))
        return "mine"

    agent = small_agent(produce=slow)
    held = await start(store, agent)
    with pytest.raises(LeaseLost):
        await work_run(store, agent, held)
    assert [artifact.content for artifact in await store.list_artifacts(held.run.id)] == ["theirs"]
