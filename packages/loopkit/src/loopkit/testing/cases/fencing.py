"""Cases about leases: who may write, and that nobody else can."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import attrs
import pytest

from loopkit.core import machine
from loopkit.core.journal import Change, EventType, NewEvent
from loopkit.core.lease import Beat, Lease
from loopkit.core.outcome import Errored, Produced
from loopkit.core.run import Run, RunStatus
from loopkit.errors import LeaseLost
from loopkit.storage import Held, Storage
from loopkit.testing.cases.base import TICK, Cases, fall_silent
from loopkit.testing.clock import StoreClock
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
    await storage.record(held.lease, machine.release(held.run, "stop"))


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
    "log": lambda run: machine.log(run, [NewEvent(event_type=EventType.LOG, message="too late")]),
    "release": lambda run: machine.release(run, "too late"),
    "cancelled": machine.cancel_seen,
}


class FencingCases(Cases):
    @pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__[1:])
    async def test_a_lost_lease_writes_nothing(self, storage: Storage, clock: StoreClock, loss: Loss) -> None:
        """However a lease was lost, no write under it is accepted, and the run stays as it is to the last field."""
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
            assert beats == [Beat(run_id=held.run.id, held=False)]
        assert await look(storage, held.run.id) == before

    async def test_a_late_evaluation_is_dropped(self, storage: Storage, clock: StoreClock) -> None:
        """The score of a runner that lost its run neither ends the run nor counts as its best."""
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
        """A write needs the token, the lease_id and the holder; two of them prove nothing."""
        held = await start_one(storage)
        false = forged(held.lease)[part]
        before = await look(storage, held.run.id)
        clock.advance(TICK)
        with pytest.raises(LeaseLost):
            await storage.record(false, machine.release(held.run, "stop"))
        assert [beat.held for beat in await storage.heartbeat([false])] == [False]
        assert [beat.held for beat in await storage.watch([false])] == [False]
        assert await look(storage, held.run.id) == before

    async def test_a_lease_of_no_run_is_lost(self, storage: Storage) -> None:
        """A run that is not there (pruned, or never was) is held by nobody."""
        lease = Lease(run_id="run_gone", lease_id="x", claimed_by="y", fencing_token=1)
        held = await start_one(storage)
        with pytest.raises(LeaseLost):
            await storage.record(lease, machine.release(held.run, "stop"))
        assert await storage.heartbeat([lease]) == [Beat(run_id="run_gone", held=False)]

    async def test_a_silent_holder_may_write_until_another_claims(self, storage: Storage, clock: StoreClock) -> None:
        """Expiry alone takes nothing away: a result that comes late and is still wanted is kept."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        run = await work(storage, held, Produced("late, but in time"))
        assert not run.stalled
        assert await storage.claim(BORIS, AGENTS) == []

    async def test_of_a_late_write_and_a_takeover_at_once_one_wins(self, storage: Storage, clock: StoreClock) -> None:
        """Whichever comes first, the journal shows one order of things and the run one holder."""
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

    # --- heartbeats --------------------------------------------------------------------------------------------

    async def test_a_heartbeat_keeps_a_run(self, storage: Storage, clock: StoreClock) -> None:
        """As long as the holder beats, nobody takes the run over; nothing but heartbeat_at changes."""
        held = await start_one(storage)
        for _ in range(3):
            clock.advance(storage.stalled_after)
            assert await storage.heartbeat([held.lease]) == [Beat(run_id=held.run.id, held=True)]
        run = await storage.get_run(held.run.id)
        assert run.heartbeat_at is not None
        assert held.run.heartbeat_at is not None
        assert run.heartbeat_at - held.run.heartbeat_at >= 3 * storage.stalled_after
        assert attrs.evolve(run, heartbeat_at=held.run.heartbeat_at) == held.run
        assert await storage.claim(BORIS, AGENTS) == []
        assert await messages(storage, run.id) == ["Queued", "Started", "Producing"]

    async def test_a_heartbeat_revives_a_stalled_run(self, storage: Storage, clock: StoreClock) -> None:
        """A holder that comes back before anybody took over goes on."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        assert [beat.held for beat in await storage.heartbeat([held.lease])] == [True]
        assert not (await storage.get_run(held.run.id)).stalled

    async def test_heartbeats_answer_each_lease_in_order(self, storage: Storage, clock: StoreClock) -> None:
        """A lost lease among good ones renews nothing and spoils nothing; a request is told of the run it is for."""
        await storage.submit([new_run() for _ in range(4)])
        a, b, c, d = await storage.claim(BORIS, AGENTS, limit=4)
        await work_to_end(storage, b)
        ended = await look(storage, b.run.id)
        await storage.request_cancel(c.run.id)
        clock.advance(storage.stalled_after)
        stale = forged(d.lease)[0]
        leases = [c.lease, b.lease, a.lease, stale]
        told = [
            Beat(run_id=c.run.id, held=True, cancel_requested=True),
            Beat(run_id=b.run.id, held=False),
            Beat(run_id=a.run.id, held=True),
            Beat(run_id=d.run.id, held=False),
        ]
        assert await storage.heartbeat(leases) == told
        assert await storage.watch(leases) == told
        assert await look(storage, b.run.id) == ended
        clock.advance(TICK)
        assert [held.run.id for held in await storage.claim(BORIS, AGENTS, limit=9)] == [d.run.id]

    async def test_no_leases_are_no_work(self, storage: Storage) -> None:
        """Empty lists are valid."""
        assert await storage.heartbeat([]) == []
        assert await storage.watch([]) == []

    async def test_watch_writes_nothing(self, storage: Storage, clock: StoreClock) -> None:
        """It tells what a heartbeat would, and the lease goes on ageing."""
        held = await start_one(storage)
        before = await look(storage, held.run.id)
        clock.advance(storage.stalled_after)
        assert await storage.watch([held.lease]) == [Beat(run_id=held.run.id, held=True)]
        assert await look(storage, held.run.id) == before
        clock.advance(TICK)
        assert len(await storage.claim(BORIS, AGENTS)) == 1

    async def test_a_stall_that_nobody_used_is_told_as_held(self, storage: Storage, clock: StoreClock) -> None:
        """A silent holder still holds its run until another claims it."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        assert await storage.watch([held.lease]) == [Beat(run_id=held.run.id, held=True)]

    async def test_a_boundary_renews_the_lease(self, storage: Storage, clock: StoreClock) -> None:
        """A recorded stage and a log are signs of life."""
        held = await start_one(storage)
        run = held.run
        for change in (machine.advance(run, Produced("one")), None):
            clock.advance(storage.stalled_after)
            run = await storage.record(held.lease, change or machine.log(run, []))
            assert not run.stalled
        clock.advance(storage.stalled_after)
        assert await storage.claim(BORIS, AGENTS) == []

    async def test_heartbeats_never_move_back(self, storage: Storage, clock: StoreClock) -> None:
        """When the store's clock is set back, a lease is not shortened, and a heartbeat in the future counts as now."""
        self.needs_hand(clock)
        held = await start_one(storage)
        clock.advance(timedelta(hours=-1))
        before = await look(storage, held.run.id)
        assert not before.run.stalled
        assert [beat.held for beat in await storage.heartbeat([held.lease])] == [True]
        run = await work(storage, held, Produced("one"))
        assert run.heartbeat_at == before.run.heartbeat_at
        assert await storage.claim(BORIS, AGENTS) == []
