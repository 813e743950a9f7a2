"""Cases about policies: stored with the run, kept by retries, and decided alike by every store."""

import pytest

from loopkit.core import machine
from loopkit.core.attempts import attempts_of
from loopkit.core.journal import BEGINNINGS
from loopkit.core.outcome import Produced
from loopkit.core.policy import MAX_LOSSES, Definition
from loopkit.core.run import RunStatus, Stage
from loopkit.storage import Storage
from loopkit.testing.cases.case_base import Cases, fall_silent
from loopkit.testing.cases.claim_cases import lose
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import AGENTS, ANNA, BORIS, claim_one, fail, scored, start_one, submit_one, work, work_to_end


class PolicyCases(Cases):
    """Cases about the policy of a run, and the reason of its end."""

    async def test_a_policy_is_stored_and_retried(self, storage: Storage) -> None:
        """A run has its policy from the start, an empty one included, and its retries have the same."""
        policy = {"drafts": 2, "stop": {"patience": 1, "minDelta": 0.25}, "maxLosses": 0}
        for stored in (policy, {}):
            run = await submit_one(storage, policy=stored)
            assert (await storage.get_run(run.id)).policy == run.policy == stored
            held = await storage.claim_run(ANNA, run.id, definition=Definition("d", {"drafts": 3}))
            assert held.run.policy == stored
            assert (await fail(storage, held)).policy == stored
            assert (await storage.retry(run.id)).policy == stored

    async def test_every_end_has_its_reason(self, storage: Storage, clock: StoreClock) -> None:
        """The reason is that of the run's last event; a run that goes on, or was released, has none."""
        passed = await work_to_end(storage, await start_one(storage))
        assert passed.end_reason == "score_passed"
        spent = await work_to_end(storage, await start_one(storage, max_attempts=1), score=0.1)
        assert spent.end_reason == "attempts_spent"
        failed = await fail(storage, await start_one(storage))
        assert failed.end_reason == "stage_error"
        queued = await submit_one(storage)
        assert queued.end_reason is None
        cancelled = await storage.request_cancel(queued.id)
        assert cancelled.end_reason == "cancel_requested"
        held = await start_one(storage)
        assert held.run.end_reason is None
        released = await storage.record(held.lease, machine.released_change(held.run, "stop"))
        assert released.end_reason is None
        held = await claim_one(storage)
        await storage.request_cancel(held.run.id)
        late = await storage.record(held.lease, machine.advance(held.run, Produced("x")))
        assert late.end_reason == "cancel_requested"
        held = await start_one(storage)
        await storage.request_cancel(held.run.id)
        fall_silent(storage, clock)
        await storage.claim(BORIS, AGENTS)
        assert (await storage.get_run(held.run.id)).end_reason == "cancel_requested"
        for run in (passed, spent, failed, cancelled, late):
            assert (await storage.get_run(run.id)).end_reason == run.end_reason
            last = (await storage.list_events(run.id))[-1]
            assert last.metadata is not None
            assert last.metadata["reason"] == run.end_reason

    @pytest.mark.parametrize("allowed", [1, 2, MAX_LOSSES + 2])
    async def test_a_run_may_lose_as_many_runners_as_its_policy_says(
        self, storage: Storage, clock: StoreClock, allowed: int
    ) -> None:
        """The loss after which a run is given up is the policy's."""
        held = await start_one(storage, policy={"maxLosses": allowed})
        await lose(storage, clock, allowed - 1)
        assert (await storage.get_run(held.run.id)).lost_leases == allowed - 1
        fall_silent(storage, clock)
        assert await storage.claim(BORIS, AGENTS) == []
        run = await storage.get_run(held.run.id)
        assert (run.status, run.error_message) == (RunStatus.FAILED, machine.lost_message(allowed))
        assert (run.lost_leases, run.end_reason) == (allowed, "runner_lost")

    async def test_a_run_may_lose_runners_without_end(self, storage: Storage, clock: StoreClock) -> None:
        """With ``maxLosses`` 0 a run is never given up."""
        held = await start_one(storage, policy={"maxLosses": 0})
        await lose(storage, clock, MAX_LOSSES + 2)
        run = await storage.get_run(held.run.id)
        assert (run.status, run.lost_leases) == (RunStatus.RUNNING, MAX_LOSSES + 2)

    async def test_drafts_are_produced_wherever_the_run_is_claimed(self, storage: Storage, clock: StoreClock) -> None:
        """The stage is ``producing`` up to the last draft, in the loop as after a take-over, and ``revising`` then."""
        held = await start_one(storage, max_attempts=4, policy={"drafts": 2})
        stages = [(held.run.current_stage, held.run.current_attempt)]
        for number in range(1, 4):
            run = await work(storage, held, Produced(f"{number}"))
            fall_silent(storage, clock)
            held = await claim_one(storage, BORIS)
            run = await work(storage, held, scored(0.1))
            stages.append((run.current_stage, run.current_attempt))
            fall_silent(storage, clock)
            held = await claim_one(storage, ANNA)
            assert (held.run.current_stage, held.run.current_attempt) == stages[-1]
            assert held.artifacts in (None, tuple(await storage.list_artifacts(run.id)))
            messages = [event.message for event in (await storage.list_events(run.id))[-2:]]
            assert messages == ["Taken over", BEGINNINGS[stages[-1][0] or Stage.PRODUCING]]
        assert stages == [(Stage.PRODUCING, 1), (Stage.PRODUCING, 2), (Stage.REVISING, 3), (Stage.REVISING, 4)]

    async def test_a_plateau_and_a_repeated_output_end_a_run(self, storage: Storage) -> None:
        """The rest of the attempts is not made; the sentence and the reason say why, and the best score stays."""
        held = await start_one(storage, max_attempts=9, policy={"stop": {"patience": 1}})
        run = await work(storage, held, Produced("1"), scored(0.5), Produced("2"))
        attempts = attempts_of(await storage.list_artifacts(run.id))
        run = await storage.record(held.lease, machine.advance(run, scored(0.5), attempts=attempts))
        assert (run.status, run.end_reason, run.final_score, run.best_attempt) == (RunStatus.FAILED, "plateau", 0.5, 1)
        assert (run.error_message or "").endswith("(plateau)")
        assert run == await storage.get_run(run.id)
        held = await start_one(storage, max_attempts=9, policy={"stop": {"repeat": True}})
        run = await work(storage, held, Produced("1"), scored(0.5))
        attempts = attempts_of(await storage.list_artifacts(run.id))
        run = await storage.record(held.lease, machine.advance(run, Produced("1"), attempts=attempts))
        assert (run.status, run.end_reason) == (RunStatus.FAILED, "repeated_output")
        assert [artifact.content for artifact in await storage.list_artifacts(run.id)][-1] == "1"
        assert run == await storage.get_run(run.id)
