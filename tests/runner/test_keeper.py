"""Leases whose store does not answer any more: their holders stop in time, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import anyio
import attrs
import pytest

import loopkit
from loopkit import MemoryStore, Run, Runner, RunStatus, StageContext, Stopping
from loopkit.core.journal import Change
from loopkit.core.lease import Beat, Claimant, Lease
from loopkit.runner.keeper import Interrupt, Keeper
from loopkit.storage import Held, RunnerInfo
from tests.runner.loops import agent
from tests.simulation.virtual import run_virtually

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

    async def heartbeat(self, leases: Sequence[Lease]) -> list[Beat]:
        await self._be_silent()
        return await super().heartbeat(leases)

    async def watch(self, leases: Sequence[Lease]) -> list[Beat]:
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
    """Once another may hold its run it lets go of it, wherever it stood; and whoever ends it need not wait."""
    store, stopping, left = Mute(stalled_after=3 * QUICK), Stopping(), anyio.Event()

    async def produce(context: StageContext) -> str:
        store.silence = float("inf")
        try:
            await moment(stopping)
        finally:
            left.set()
        return "late"

    one = agent(produce=produce)
    [run] = await loopkit.submit(store, one, [{}])
    runner = Runner(store, [one], heartbeat=QUICK, stopping=stopping)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.serve)
            await left.wait()
            while not runner.status.lost:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            stopping.end()
    kept = await store.get_run(run.id)
    assert (kept.status, kept.current_attempt, runner.status.lost) == (RunStatus.RUNNING, 1, 1)
    assert await store.list_artifacts(run.id) == []


# ---- a keeper alone, in virtual time ---------------------------------------------------------------------------


class LoopClock:
    """The time of the event loop."""

    def now(self) -> datetime:
        raise AssertionError

    def monotonic(self) -> float:
        return anyio.current_time()


async def kept(store: Mute, since: Sequence[float], seconds: float) -> list[tuple[int, float]]:
    """Keep leases for some seconds, and give which holder was told to stop, and when."""
    keeper, told = Keeper(store, LoopClock(), heartbeat=timedelta(seconds=1)), []

    def interrupt(number: int, why: Interrupt) -> None:
        assert why is Interrupt.LOST
        told.append((number, anyio.current_time()))

    runs = await loopkit.submit(store, agent(), [{} for _ in since])
    for number, (run, moment) in enumerate(zip(runs, since, strict=True)):
        held = await store.claim_run(Claimant(name="here:1"), run.id)
        keeper.hold(held.lease, since=moment, interrupt=partial(interrupt, number))
    while anyio.current_time() < seconds:
        await anyio.sleep(keeper.interval)
        await keeper.step()
    return told


def test_each_holder_is_told_at_its_own_deadline_and_once() -> None:
    """A lease that ran out neither takes the others along nor their time to be renewed."""
    store = Mute(stalled_after=timedelta(seconds=10))
    store.silence = float("inf")
    told = run_virtually(kept, store, [0.0, -3.0, 2.0], 30)
    assert told == [(1, pytest.approx(6, abs=0.01)), (0, pytest.approx(9, abs=0.01)), (2, pytest.approx(11, abs=0.01))]


@pytest.mark.parametrize(("silence", "is_told"), [(0.4, False), (float("inf"), True)])
def test_a_process_that_was_frozen_asks_before_it_gives_up(silence: float, is_told: bool) -> None:
    """A lease that may be another's by now is renewed if it is held still, and lost if nobody says so."""
    store = Mute(stalled_after=timedelta(seconds=10))
    store.silence = silence
    assert bool(run_virtually(kept, store, [-100.0], 5)) is is_told


class Skipping(Mute):
    """A store that at first skips leases, as one whose runs are being written."""

    def __init__(self) -> None:
        super().__init__(stalled_after=timedelta(seconds=2))
        self.asked: list[float] = []

    async def heartbeat(self, leases: Sequence[Lease]) -> list[Beat]:
        self.asked.append(anyio.current_time())
        if len(self.asked) > 1:
            return await super().heartbeat(leases)
        return [attrs.evolve(beat, skipped=True) for beat in await self.watch(leases)]


def test_a_skipped_lease_is_renewed_at_the_next_step() -> None:
    """Its holder need not hope that the next renewal, a whole heartbeat later, still comes in time."""
    store = Skipping()
    assert run_virtually(kept, store, [0.0], 2.6) == []
    assert store.asked == pytest.approx([1.0, 1.5, 2.5])
