"""Leases whose store gives no answer: their holders stop in time, and nothing waits for ever."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import anyio
import attrs
import pytest

import loopkit
from loopkit import MemoryStore, Run, Runner, RunStatus, StageContext, Stopping
from loopkit.clock import SystemClock
from loopkit.core.journal import Change
from loopkit.core.lease import Claimant, Lease, LeaseState
from loopkit.core.run import NewRun
from loopkit.runner import keeper as keeper_module
from loopkit.runner.keeper import Interrupt, Keeper
from loopkit.storage import Held, RunnerInfo
from tests.runner.agent_helpers import small_agent
from tests.simulation.virtual_loop import run_virtually

QUICK = timedelta(milliseconds=200)


class Mute(MemoryStore):
    """A store that from some moment on answers nothing, as at the other end of a connection that is half open."""

    silence: float | None = None
    """Seconds that an answer takes; None: it comes at once."""

    async def claim(self, *args: Any, **kwargs: Any) -> list[Held]:
        await self._be_silent()
        return await super().claim(*args, **kwargs)

    async def record(self, lease: Lease, change: Change) -> Run:
        await self._be_silent()
        return await super().record(lease, change)

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        await self._be_silent()
        return await super().heartbeat(leases)

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        await self._be_silent()
        return await super().watch(leases)

    async def announce(self, runner: RunnerInfo) -> None:
        await self._be_silent()
        await super().announce(runner)

    async def _be_silent(self) -> None:
        if self.silence is not None:
            await anyio.sleep(self.silence)


async def in_a_stage(stopping: Stopping) -> None:
    await anyio.sleep_forever()


async def in_a_write(stopping: Stopping) -> None:
    """The stage ends, and its result is under way when the lease runs out."""


async def in_a_release(stopping: Stopping) -> None:
    stopping.end()
    await anyio.sleep_forever()


@pytest.mark.parametrize("moment", [in_a_stage, in_a_write, in_a_release])
async def test_a_runner_whose_store_never_answers_stops_by_itself(
    moment: Callable[[Stopping], Awaitable[None]],
) -> None:
    """It gives its run up once another runner may hold it, wherever it was; whoever ends the runner need not wait."""
    store, stopping, left = Mute(stalled_after=3 * QUICK), Stopping(), anyio.Event()

    async def produce(context: StageContext) -> str:
        store.silence = float("inf")
        try:
            await moment(stopping)
        finally:
            left.set()
        return "late"

    agent = small_agent(produce=produce)
    [run] = await loopkit.submit(store, agent, [{}])
    runner = Runner(store, [agent], heartbeat=QUICK, stopping=stopping)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.serve)
            await left.wait()
            while not runner.status.lost:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            stopping.end()
    stored = await store.get_run(run.id)
    assert (stored.status, stored.current_attempt, runner.status.lost) == (RunStatus.RUNNING, 1, 1)
    assert await store.list_artifacts(run.id) == []


class LoopClock:
    """The time of the event loop."""

    def now(self) -> datetime:
        raise AssertionError

    def monotonic(self) -> float:
        return anyio.current_time()


async def interrupted_holders(store: Mute, since: Sequence[float], seconds: float) -> list[tuple[int, float]]:
    """Keep leases for some seconds; return which holders were interrupted, and when."""
    keeper, interrupted = Keeper(store, LoopClock(), heartbeat=timedelta(seconds=1)), []

    def interrupt(number: int, why: Interrupt) -> None:
        assert why is Interrupt.LOST
        interrupted.append((number, anyio.current_time()))

    runs = await loopkit.submit(store, small_agent(), [{} for _ in since])
    for number, (run, moment) in enumerate(zip(runs, since, strict=True)):
        held = await store.claim_run(Claimant(name="here:1"), run.id)
        keeper.keep(held.lease, since=moment, interrupt=partial(interrupt, number))
    while anyio.current_time() < seconds:
        await anyio.sleep(keeper.interval)
        await keeper.step()
    return interrupted


def test_each_holder_is_interrupted_at_its_own_deadline_and_once() -> None:
    """A lease that ran out neither ends the others nor takes the time in which they are renewed."""
    store = Mute(stalled_after=timedelta(seconds=10))
    store.silence = float("inf")
    interrupted = run_virtually(interrupted_holders, store, [0.0, -3.0, 2.0], 30)
    assert [number for number, _ in interrupted] == [1, 0, 2]
    assert [moment for _, moment in interrupted] == pytest.approx([6, 9, 11], abs=0.01)


@pytest.mark.parametrize(("silence", "is_interrupted"), [(0.4, False), (float("inf"), True)])
def test_a_process_that_was_frozen_asks_the_store_before_it_gives_up(silence: float, is_interrupted: bool) -> None:
    """A lease that may be another runner's is renewed if it is held still, and lost if the store does not say so."""
    store = Mute(stalled_after=timedelta(seconds=10))
    store.silence = silence
    assert bool(run_virtually(interrupted_holders, store, [-100.0], 5)) is is_interrupted


class Skipping(Mute):
    """A store that at first skips leases, as one whose runs are being written."""

    def __init__(self) -> None:
        super().__init__(stalled_after=timedelta(seconds=2))
        self.asked: list[float] = []

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        self.asked.append(anyio.current_time())
        if len(self.asked) > 1:
            return await super().heartbeat(leases)
        return [attrs.evolve(state, skipped=True) for state in await self.watch(leases)]


def test_a_skipped_lease_is_renewed_at_the_next_step() -> None:
    """It does not wait for the next renewal, a whole heartbeat later, which might come too late."""
    store = Skipping()
    assert run_virtually(interrupted_holders, store, [0.0], 2.6) == []
    assert store.asked == pytest.approx([1.0, 1.5, 2.5])


async def test_of_very_many_leases_only_the_cancel_requests_are_looked_at() -> None:
    """A cancel is noticed as soon as with few; a lost lease is noticed when it is renewed."""
    store = Counting()
    keeper = Keeper(store, SystemClock(), heartbeat=timedelta(seconds=30))
    interrupts: dict[str, Interrupt] = {}
    many = keeper_module.MOST_WATCHED + 1
    new = [NewRun(agent_name="a", inputs={}) for _ in range(many)]
    await store.submit(new)
    held = await store.claim(Claimant(name="h:1"), {"a": "d"}, limit=many)
    kept = [
        keeper.keep(one.lease, since=keeper._clock.monotonic(), interrupt=partial(interrupts.__setitem__, one.run.id))
        for one in held
    ]
    await store.request_cancel(held[7].run.id)
    await keeper.step()
    assert (interrupts, store.watched) == ({held[7].run.id: Interrupt.CANCEL}, 0)
    store.fences_off(held[3].run.id)
    for one in kept:
        one.renewed_at -= 31
    await keeper.step()
    assert interrupts == {held[7].run.id: Interrupt.CANCEL, held[3].run.id: Interrupt.LOST}
    keeper.drop(kept[0])
    await keeper.step()
    assert store.watched == 1, "of few, each lease is looked at"


class Counting(MemoryStore):
    """A store that tells its cancel requests, and counts the watches."""

    watched = 0

    async def requested_cancels(self, *, limit: int = 1000) -> frozenset[str] | None:
        return frozenset(run.id for run in self._runs.values() if run.cancel_requested_at is not None)

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        self.watched += 1
        return await super().watch(leases)

    def fences_off(self, run_id: str) -> None:
        """Let another claim of the run be newer."""
        run = self._runs[run_id]
        self._runs[run_id] = attrs.evolve(run, fencing_token=run.fencing_token + 1)
