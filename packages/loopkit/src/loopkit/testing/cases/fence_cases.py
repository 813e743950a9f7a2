"""Cases for leases: only the holder can write."""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import pytest

from loopkit.core import machine
from loopkit.core.journal import Change, EventType, NewEvent
from loopkit.core.lease import Lease, LeaseState
from loopkit.core.outcome import Errored, Produced
from loopkit.core.run import Run, RunStatus
from loopkit.errors import LeaseLost
from loopkit.storage import Held, Storage
from loopkit.testing.cases.case_base import TICK, Cases, fall_silent
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    BORIS,
    claim_one,
    fail,
    forged,
    in_threads,
    look,
    messages,
    new_run,
    scored,
    start_one,
    work,
    work_to_end,
)

Loss = Callable[[Storage, StoreClock, Held], Awaitable[object]]
Writing = Callable[[Run], Change]


async def _taken_over(storage: Storage, clock: StoreClock, held: Held) -> None:
    fall_silent(storage, clock)
    await claim_one(storage, BORIS)


async def _taken_over_and_ended(storage: Storage, clock: StoreClock, held: Held) -> None:
    fall_silent(storage, clock)
    await work_to_end(storage, await claim_one(storage, BORIS))


async def _released(storage: Storage, clock: StoreClock, held: Held) -> None:
    await storage.record(held.lease, machine.released_change(held.run, "stop"))


async def _released_and_claimed(storage: Storage, clock: StoreClock, held: Held) -> None:
    await _released(storage, clock, held)
    await claim_one(storage)


async def _passed(storage: Storage, clock: StoreClock, held: Held) -> None:
    await work_to_end(storage, held)


async def _failed(storage: Storage, clock: StoreClock, held: Held) -> None:
    await fail(storage, held)


async def _cancelled(storage: Storage, clock: StoreClock, held: Held) -> None:
    fall_silent(storage, clock)
    await storage.request_cancel(held.run.id)


LOSSES: Final[list[Loss]] = [
    *(_taken_over, _taken_over_and_ended, _released, _released_and_claimed, _passed, _failed, _cancelled),
]
WRITES: Final[dict[str, Writing]] = {
    "result": lambda run: machine.advance(run, Produced("too late")),
    "error": lambda run: machine.advance(run, Errored("too late")),
    "log": lambda run: machine.log_change(run, [NewEvent(event_type=EventType.LOG, message="too late")]),
    "release": lambda run: machine.released_change(run, "too late"),
    "cancelled": machine.cancelled_change,
}


class FencingCases(Cases):
    @pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__[1:])
    async def test_a_lost_lease_writes_nothing(self, storage: Storage, clock: StoreClock, loss: Loss) -> None:
        """In whatever way a lease was lost, no write with it is accepted, and no field of the run changes."""
        held = await start_one(storage)
        await loss(storage, clock, held)
        before = await look(storage, held.run.id)
        for write in WRITES.values():
            with pytest.raises(LeaseLost) as caught:
                await storage.record(held.lease, write(held.run))
            assert caught.value.run_id == held.run.id
        assert await look(storage, held.run.id) == before
        clock.advance(TICK)
        for beats in (await storage.heartbeat([held.lease]), await storage.watch([held.lease])):
            assert beats == [LeaseState(run_id=held.run.id, held=False)]
        assert await look(storage, held.run.id) == before

    async def test_a_late_evaluation_is_dropped(self, storage: Storage, clock: StoreClock) -> None:
        """The score of a runner that lost its run neither ends the run nor becomes its best score."""
        first = await start_one(storage)
        run = await work(storage, first, Produced("mine"))
        late = machine.advance(run, scored(1.0))
        fall_silent(storage, clock)
        second = await claim_one(storage, BORIS)
        with pytest.raises(LeaseLost):
            await storage.record(first.lease, late)
        ended = await work(storage, second, scored(0.85))
        assert (ended.status, ended.final_score) == (RunStatus.PASSED, 0.85)

    @pytest.mark.parametrize("part", range(3), ids=["token", "lease_id", "claimed_by"])
    async def test_each_part_of_a_lease_is_compared(self, storage: Storage, clock: StoreClock, part: int) -> None:
        """A write needs the token, the lease_id and the holder; two of the three are not enough."""
        held = await start_one(storage)
        false = forged(held.lease)[part]
        before = await look(storage, held.run.id)
        clock.advance(TICK)
        with pytest.raises(LeaseLost):
            await storage.record(false, machine.released_change(held.run, "stop"))
        assert [beat.held for beat in await storage.heartbeat([false])] == [False]
        assert [beat.held for beat in await storage.watch([false])] == [False]
        assert await look(storage, held.run.id) == before

    async def test_a_lease_of_no_run_is_lost(self, storage: Storage) -> None:
        """A lease of a run that is not stored (pruned, or never was) is lost."""
        lease = Lease(run_id="run_gone", lease_id="x", claimed_by="y", fencing_token=1)
        held = await start_one(storage)
        with pytest.raises(LeaseLost):
            await storage.record(lease, machine.released_change(held.run, "stop"))
        assert await storage.heartbeat([lease]) == [LeaseState(run_id="run_gone", held=False)]

    async def test_a_silent_holder_may_write_until_another_claims(self, storage: Storage, clock: StoreClock) -> None:
        """A stall alone does not end a lease: a late result is accepted until another runner claims the run."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        run = await work(storage, held, Produced("late, but in time"))
        assert not run.stalled
        assert await storage.claim(BORIS, AGENTS) == []

    async def test_of_a_late_write_and_a_takeover_at_once_one_wins(self, storage: Storage, clock: StoreClock) -> None:
        """Whichever is first, the journal has one order of events and the run one holder."""
        held = await start_one(storage)
        change = machine.advance(held.run, Errored("gave up"))
        fall_silent(storage, clock)

        async def write() -> str:
            try:
                return (await storage.record(held.lease, change)).status.value
            except LeaseLost:
                return "lost"

        written, claimed = await in_threads([write, lambda: storage.claim(BORIS, AGENTS)])
        run = await storage.get_run(held.run.id)
        assert (written, len(claimed), run.status.value) in {("failed", 0, "failed"), ("lost", 1, "running")}

    async def test_a_heartbeat_keeps_a_run(self, storage: Storage, clock: StoreClock) -> None:
        """While the holder sends heartbeats, the run is not taken over; only heartbeat_at changes."""
        held = await start_one(storage)
        for _ in range(3):
            clock.advance(storage.stalled_after)
            assert await storage.heartbeat([held.lease]) == [LeaseState(run_id=held.run.id, held=True)]
        run = await storage.get_run(held.run.id)
        assert run.heartbeat_at is not None
        assert held.run.heartbeat_at is not None
        assert run.heartbeat_at - held.run.heartbeat_at >= 3 * storage.stalled_after
        assert attrs.evolve(run, heartbeat_at=held.run.heartbeat_at) == held.run
        assert await storage.claim(BORIS, AGENTS) == []
        assert await messages(storage, run.id) == ["Queued", "Started", "Producing"]

    async def test_a_heartbeat_revives_a_stalled_run(self, storage: Storage, clock: StoreClock) -> None:
        """A holder that returns before a take-over continues."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        assert [beat.held for beat in await storage.heartbeat([held.lease])] == [True]
        assert not (await storage.get_run(held.run.id)).stalled

    async def test_heartbeats_answer_each_lease_in_order(self, storage: Storage, clock: StoreClock) -> None:
        """A lost lease is not renewed and does not affect the others; a request is reported for its run only."""
        await storage.submit([new_run() for _ in range(4)])
        a, b, c, d = await storage.claim(BORIS, AGENTS, limit=4)
        await work_to_end(storage, b)
        ended = await look(storage, b.run.id)
        await storage.request_cancel(c.run.id)
        clock.advance(storage.stalled_after)
        stale = forged(d.lease)[0]
        leases = [c.lease, b.lease, a.lease, stale]
        states = [
            LeaseState(run_id=c.run.id, held=True, cancel_requested=True),
            LeaseState(run_id=b.run.id, held=False),
            LeaseState(run_id=a.run.id, held=True),
            LeaseState(run_id=d.run.id, held=False),
        ]
        assert await storage.heartbeat(leases) == states
        assert await storage.watch(leases) == states
        assert await look(storage, b.run.id) == ended
        clock.advance(TICK)
        assert [held.run.id for held in await storage.claim(BORIS, AGENTS, limit=9)] == [d.run.id]

    async def test_no_leases_are_no_work(self, storage: Storage) -> None:
        """An empty list returns an empty list."""
        assert await storage.heartbeat([]) == []
        assert await storage.watch([]) == []

    async def test_watch_writes_nothing(self, storage: Storage, clock: StoreClock) -> None:
        """It returns what a heartbeat would, and renews nothing."""
        held = await start_one(storage)
        before = await look(storage, held.run.id)
        clock.advance(storage.stalled_after)
        assert await storage.watch([held.lease]) == [LeaseState(run_id=held.run.id, held=True)]
        assert await look(storage, held.run.id) == before
        clock.advance(TICK)
        assert len(await storage.claim(BORIS, AGENTS)) == 1

    async def test_a_stall_that_nobody_used_is_told_as_held(self, storage: Storage, clock: StoreClock) -> None:
        """A stalled holder holds its run until another runner claims it."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        assert await storage.watch([held.lease]) == [LeaseState(run_id=held.run.id, held=True)]

    async def test_a_boundary_renews_the_lease(self, storage: Storage, clock: StoreClock) -> None:
        """A recorded stage and a log entry are signs of life."""
        held = await start_one(storage)
        run = held.run
        for change in (machine.advance(run, Produced("one")), None):
            clock.advance(storage.stalled_after)
            run = await storage.record(held.lease, change or machine.log_change(run, []))
            assert not run.stalled
        clock.advance(storage.stalled_after)
        assert await storage.claim(BORIS, AGENTS) == []

    async def test_a_heartbeat_in_the_future_is_no_sign_of_life(self, storage: Storage, clock: StoreClock) -> None:
        """When the store's clock is set back by more than ``stalled_after``, only a renewal since then counts."""
        self.needs_hand(clock)
        alive = await start_one(storage)
        silent = await start_one(storage)
        clock.advance(-storage.stalled_after)
        assert not (await look(storage, silent.run.id)).run.stalled
        clock.advance(-storage.stalled_after)
        assert (await look(storage, silent.run.id)).run.stalled
        assert [state.held for state in await storage.heartbeat([alive.lease])] == [True]
        assert not (await look(storage, alive.run.id)).run.stalled
        assert [held.run.id for held in await storage.claim(BORIS, AGENTS)] == [silent.run.id]
