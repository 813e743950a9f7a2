"""Cases for cancel requests and for retries of ended runs."""

from collections.abc import Callable
from typing import Final

import attrs
import pytest

from loopkit.core import machine
from loopkit.core.journal import Change, EventType
from loopkit.core.outcome import Errored, Produced
from loopkit.core.run import Run, RunStatus
from loopkit.errors import KeyReused, RunEnded, RunNotEnded, RunNotFound
from loopkit.storage import Storage
from loopkit.testing.cases.case_base import TICK, Cases, fall_silent
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    BORIS,
    all_runs,
    claim_one,
    fail,
    in_threads,
    look,
    messages,
    new_run,
    scored,
    start_one,
    submit_one,
    work,
    work_to_end,
)

BOUNDARIES: Final[dict[str, Callable[[Run], Change]]] = {
    "next stage": lambda run: machine.advance(run, scored(0.1)),
    "passed": lambda run: machine.advance(run, scored(0.9)),
    "attempts spent": lambda run: machine.advance(run, scored(0.1)),
    "error": lambda run: machine.advance(run, Errored("broken")),
    "release": lambda run: machine.released_change(run, "stop"),
    "cancel seen": machine.cancelled_change,
}


class CancelCases(Cases):
    async def test_a_queued_run_is_cancelled_at_once(self, storage: Storage) -> None:
        """It ends and is never claimed, and the journal names the actor."""
        queued = await submit_one(storage)
        run = await storage.request_cancel(queued.id, actor="mira")
        assert run == await storage.get_run(queued.id)
        assert (run.status, run.started_at, run.claimed_by) == (RunStatus.CANCELLED, None, None)
        assert run.cancel_requested_at is not None
        assert run.completed_at == run.cancel_requested_at
        asked, ended = (await storage.list_events(run.id))[-2:]
        assert (asked.event_type, asked.message, asked.metadata) == (
            EventType.LOG,
            "Cancel requested",
            {"actor": "mira"},
        )
        assert ended.metadata == {"status": "cancelled", "reason": "cancel_requested"}
        assert await storage.claim(BORIS, AGENTS) == []

    async def test_a_released_run_is_cancelled_at_once(self, storage: Storage) -> None:
        """Its finished artifacts stay."""
        held = await start_one(storage)
        run = await work(storage, held, Produced("one"))
        await storage.record(held.lease, machine.released_change(run, "stop"))
        assert (await storage.request_cancel(run.id)).status is RunStatus.CANCELLED
        assert len(await storage.list_artifacts(run.id)) == 1

    async def test_a_running_run_is_asked(self, storage: Storage) -> None:
        """Only the request is written; the holder learns of it by heartbeat and by watch."""
        held = await start_one(storage)
        run = await storage.request_cancel(held.run.id)
        assert run.status is RunStatus.RUNNING
        assert run.cancel_requested_at is not None
        assert attrs.evolve(run, cancel_requested_at=None) == held.run
        assert (await messages(storage, run.id))[-1] == "Cancel requested"
        for beats in (await storage.watch([held.lease]), await storage.heartbeat([held.lease])):
            assert [(beat.held, beat.cancel_requested) for beat in beats] == [(True, True)]

    @pytest.mark.parametrize("boundary", BOUNDARIES)
    async def test_a_request_wins_at_every_boundary(self, storage: Storage, boundary: str) -> None:
        """A request stored before the next stage, the end or the release is written ends the run ``cancelled``."""
        held = await start_one(storage, max_attempts=1 if boundary == "attempts spent" else 3)
        run = await work(storage, held, Produced("one"))
        await storage.request_cancel(run.id)
        change = BOUNDARIES[boundary](run)
        ended = await storage.record(held.lease, change)
        assert (ended.status, ended.current_stage, ended.lease_id) == (RunStatus.CANCELLED, None, None)
        assert (ended.error_message, ended.current_attempt) == (None, 1)
        assert (ended.final_score, ended.best_attempt) == (change.final_score, change.best_attempt)
        artifact_types = [artifact.artifact_type.value for artifact in await storage.list_artifacts(run.id)]
        assert artifact_types == (["output", "evaluation"] if change.artifact else ["output"])
        last = (await storage.list_events(run.id))[-1]
        assert (last.message, last.attempt) == ("Cancelled", 1)
        assert ended == await storage.get_run(run.id)

    async def test_no_stage_begins_after_a_request(self, storage: Storage) -> None:
        """The journal has the finished stage and then the end, and no further stage."""
        held = await start_one(storage)
        await storage.request_cancel(held.run.id)
        await work(storage, held, Produced("one"))
        journal = await messages(storage, held.run.id)
        assert journal[journal.index("Cancel requested") + 1 :] == ["Produced (attempt-1.md)", "Cancelled"]

    async def test_a_stalled_run_is_cancelled_at_once(self, storage: Storage, clock: StoreClock) -> None:
        """No live runner holds it, so no runner has to react."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        run = await storage.request_cancel(held.run.id)
        assert (run.status, run.lease_id, run.stalled) == (RunStatus.CANCELLED, None, False)
        assert (run.claimed_by, run.claimed_at) == (held.run.claimed_by, held.run.claimed_at)
        assert (await messages(storage, run.id))[-2:] == ["Cancel requested", "Cancelled"]

    async def test_asking_again_changes_nothing(self, storage: Storage, clock: StoreClock) -> None:
        """While the run is running and once it is cancelled, the result is that of the first request."""
        held = await start_one(storage)
        await storage.request_cancel(held.run.id, actor="mira")
        before = await look(storage, held.run.id)
        clock.advance(TICK)
        assert await storage.request_cancel(held.run.id, actor="otto") == before.run
        assert await look(storage, held.run.id) == before
        await storage.record(held.lease, machine.cancelled_change(held.run))
        ended = await look(storage, held.run.id)
        clock.advance(TICK)
        assert await storage.request_cancel(held.run.id) == ended.run
        assert await look(storage, held.run.id) == ended

    async def test_asking_again_ends_a_run_that_stalled_since(self, storage: Storage, clock: StoreClock) -> None:
        """The time of the first request stays, and the journal has it once."""
        held = await start_one(storage)
        first = await storage.request_cancel(held.run.id)
        fall_silent(storage, clock)
        run = await storage.request_cancel(held.run.id)
        assert (run.status, run.cancel_requested_at) == (RunStatus.CANCELLED, first.cancel_requested_at)
        assert (await messages(storage, run.id)).count("Cancel requested") == 1

    async def test_passed_and_failed_runs_refuse(self, storage: Storage) -> None:
        """The request is a conflict, and nothing changes."""
        for end in (work_to_end, fail):
            run = await end(storage, await start_one(storage))
            before = await look(storage, run.id)
            with pytest.raises(RunEnded) as caught:
                await storage.request_cancel(run.id)
            assert (caught.value.run_id, caught.value.status) == (run.id, run.status)
            assert await look(storage, run.id) == before

    async def test_an_unknown_run_is_told(self, storage: Storage) -> None:
        """The error is RunNotFound."""
        with pytest.raises(RunNotFound):
            await storage.request_cancel("run_0")

    async def test_of_a_request_and_an_end_at_once_one_wins(self, storage: Storage) -> None:
        """Either the request was first and the run is cancelled, or the end was first and the request is refused."""
        held = await start_one(storage)
        run = await work(storage, held, Produced("one"))
        change = machine.advance(run, scored(0.9))

        async def ask() -> str:
            try:
                await storage.request_cancel(run.id)
            except RunEnded:
                return "refused"
            return "asked"

        ended, asked = await in_threads([lambda: storage.record(held.lease, change), ask])
        assert (asked, ended.status.value) in {("asked", "cancelled"), ("refused", "passed")}
        assert (await storage.get_run(run.id)).status == ended.status

    async def test_one_answer_for_many_who_ask(self, storage: Storage) -> None:
        """Concurrent requests write one request."""
        run = await submit_one(storage)
        answers = await in_threads([lambda: storage.request_cancel(run.id) for _ in range(4)])
        assert all(answer == answers[0] for answer in answers)
        assert await messages(storage, run.id) == ["Queued", "Cancel requested", "Cancelled"]


class RetryCases(Cases):
    async def test_an_ended_run_is_made_anew(self, storage: Storage) -> None:
        """It has the agent, inputs and limits of the old run, which is unchanged, its own ids, and a link to it."""
        held = await start_one(storage, inputs={"n": 1.5}, max_attempts=2, pass_threshold=0.7, cycle_id="spring")
        old = await fail(storage, held)
        before = await look(storage, old.id)
        new = await storage.retry(old.id, actor="mira")
        assert new == Run(
            id=new.id,
            agent_name=old.agent_name,
            cycle_id=f"{new.created_at.date().isoformat()}-001",
            status=RunStatus.QUEUED,
            max_attempts=2,
            pass_threshold=0.7,
            inputs={"n": 1.5},
            created_at=new.created_at,
            retry_of=old.id,
            policy={},
        )
        assert new.id != old.id
        assert new == await storage.get_run(new.id)
        [queued] = await storage.list_events(new.id)
        assert queued.metadata == {"status": "queued", "actor": "mira", "retryOf": old.id}
        assert await storage.list_artifacts(new.id) == []
        assert await look(storage, old.id) == before
        assert (await claim_one(storage)).run.id == new.id

    async def test_every_end_can_be_retried_again_and_again(self, storage: Storage) -> None:
        """Passed, failed and cancelled runs can be retried, each time as a new run."""
        ended = [
            await work_to_end(storage, await start_one(storage)),
            await fail(storage, await start_one(storage)),
            await storage.request_cancel((await submit_one(storage)).id),
        ]
        retries = [await storage.retry(run.id) for run in ended for _ in range(2)]
        assert len({run.id for run in retries}) == len({run.cycle_id for run in retries}) == 6
        assert [run.retry_of for run in retries] == [run.id for run in ended for _ in range(2)]

    async def test_only_ended_runs_can_be_retried(self, storage: Storage, clock: StoreClock) -> None:
        """For queued, running and stalled ones it is a conflict, and nothing is queued."""
        running = (await start_one(storage)).run
        fall_silent(storage, clock)
        queued = await submit_one(storage)
        for run in (queued, running, (await start_one(storage)).run):
            with pytest.raises(RunNotEnded) as caught:
                await storage.retry(run.id)
            assert caught.value.run_id == run.id
        assert len(await all_runs(storage)) == 3

    async def test_a_key_makes_one_retry(self, storage: Storage) -> None:
        """The same key returns the same new run; a key of another request is refused."""
        old = await fail(storage, await start_one(storage))
        other = await fail(storage, await start_one(storage, max_attempts=1))
        await storage.submit([new_run(idempotency_key="taken")])
        new = await storage.retry(old.id, idempotency_key="k")
        assert await storage.retry(old.id, idempotency_key="k") == new
        for run, key in ((other, "k"), (old, "taken")):
            with pytest.raises(KeyReused):
                await storage.retry(run.id, idempotency_key=key)
        assert len(await all_runs(storage)) == 4

    async def test_an_unknown_run_cannot_be_retried(self, storage: Storage) -> None:
        """The error is RunNotFound."""
        with pytest.raises(RunNotFound):
            await storage.retry("run_0")
        assert await all_runs(storage) == []
