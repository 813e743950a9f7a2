"""Cases for claims: order, exclusivity, take-overs, and runs that have lost too many runners."""

from collections import Counter
from datetime import timedelta

import pytest

from loopkit.core import machine
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Outcome, Produced
from loopkit.core.policy import MAX_LOSSES
from loopkit.core.run import RunStatus, Stage
from loopkit.errors import RunNotClaimable, RunNotFound
from loopkit.storage import Held, Storage
from loopkit.testing.cases.case_base import TICK, Cases, fall_silent
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    ANNA,
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

SECOND = timedelta(seconds=1)


async def lose(storage: Storage, clock: StoreClock, times: int) -> None:
    """Claim the store's only run and let it stall, ``times`` times."""
    for _ in range(times):
        fall_silent(storage, clock)
        await storage.claim(BORIS, AGENTS)


class ClaimCases(Cases):
    async def test_claim_of_nothing_gives_nothing(self, storage: Storage) -> None:
        """An empty store, no agents and a limit of zero all return an empty list."""
        assert await storage.claim(ANNA, AGENTS) == []
        run = await submit_one(storage)
        assert await storage.claim(ANNA, {}) == []
        assert await storage.claim(ANNA, AGENTS, limit=0) == []
        assert await storage.get_run(run.id) == run

    async def test_a_claimed_run_is_held(self, storage: Storage) -> None:
        """The claim sets the times of the row, returns the next stage, and appends its events to the journal."""
        run = await submit_one(storage)
        held = await claim_one(storage)
        assert held.run == await storage.get_run(run.id)
        assert (held.run.status, held.run.current_stage, held.run.current_attempt) == (
            RunStatus.RUNNING,
            Stage.PRODUCING,
            1,
        )
        assert held.run.claimed_at == held.run.heartbeat_at == held.run.started_at
        assert held.run.claimed_at is not None
        assert held.run.claimed_at >= run.created_at
        assert held.run.claimed_by == held.lease.claimed_by
        assert held.lease.claimed_by.startswith("anna:1:")
        assert (held.run.fencing_token, held.lease.fencing_token, held.run.lease_id) == (1, 1, held.lease.lease_id)
        assert (held.taken_over, held.previous_heartbeat, held.artifacts) == (False, None, ())
        assert await messages(storage, run.id) == ["Queued", "Started", "Producing"]
        started = (await storage.list_events(run.id))[1]
        assert started.metadata == {"status": "running", "claimedBy": held.lease.claimed_by}

    async def test_the_oldest_comes_first(self, storage: Storage, clock: StoreClock) -> None:
        """Runs are claimed in the order of their creation, for all agents together."""
        made = []
        for agent in ("writer", "painter", "painter", "writer"):
            made += [await submit_one(storage, agent_name=agent), await submit_one(storage, agent_name=agent)]
            clock.advance(SECOND)
        both = {"painter": "p", "writer": "w"}
        held = [*await storage.claim(ANNA, both, limit=3), *await storage.claim(ANNA, both, limit=50)]
        assert [h.run.id for h in held] == [run.id for run in made]

    async def test_a_claim_keeps_to_its_limit(self, storage: Storage) -> None:
        """At most ``limit`` runs are claimed, and one by default."""
        await storage.submit([new_run() for _ in range(6)])
        assert len(await storage.claim(ANNA, AGENTS)) == 1
        assert len(await storage.claim(ANNA, AGENTS, limit=2)) == 2
        assert len(await storage.claim(ANNA, AGENTS, limit=10)) == 3

    async def test_runs_of_unknown_agents_stay_queued(self, storage: Storage) -> None:
        """A runner does not touch runs of agents that it does not have, even at the head of the queue."""
        unknown = await storage.submit([new_run(agent_name="nobody") for _ in range(5)])
        known = await submit_one(storage)
        assert [held.run.id for held in await storage.claim(ANNA, AGENTS, limit=10)] == [known.id]
        assert [await storage.get_run(run.id) for run in unknown] == unknown

    async def test_a_held_run_is_nobody_elses(self, storage: Storage, clock: StoreClock) -> None:
        """A run is not claimed while its holder is alive; exactly at the stall time it is not yet stalled."""
        held = await start_one(storage)
        clock.advance(storage.stalled_after)
        assert await storage.claim(BORIS, AGENTS) == []
        with pytest.raises(RunNotClaimable):
            await storage.claim_run(BORIS, held.run.id)
        assert not (await storage.get_run(held.run.id)).stalled

    async def test_of_many_claimers_exactly_one_wins_each_run(self, storage: Storage) -> None:
        """Threads that claim at once get all runs between them, none twice and none left."""
        made = await storage.submit([new_run() for _ in range(12)])

        async def claim_all(name: str) -> list[Held]:
            mine: list[Held] = []
            while claimed := await storage.claim(Claimant(name=name), AGENTS, limit=2):
                mine += claimed
            return mine

        shares = await in_threads([lambda name=f"host:{n}": claim_all(name) for n in range(4)])  # type: ignore[misc]
        everyone = [held for share in shares for held in share]
        assert Counter(held.run.id for held in everyone) == Counter(run.id for run in made)
        assert len({held.lease.lease_id for held in everyone}) == 12
        for held in everyone:
            assert (await storage.get_run(held.run.id)).claimed_by == held.lease.claimed_by

    async def test_of_many_claimers_of_one_run_one_wins(self, storage: Storage) -> None:
        """Of threads that claim the same run at once, one gets it and the others are refused."""
        run = await submit_one(storage)

        async def attempt() -> Held | None:
            try:
                return await storage.claim_run(ANNA, run.id)
            except RunNotClaimable:
                return None

        answers = await in_threads([attempt for _ in range(6)])
        [held] = [answer for answer in answers if answer is not None]
        assert (await storage.get_run(run.id)).lease_id == held.lease.lease_id
        assert await messages(storage, run.id) == ["Queued", "Started", "Producing"]

    async def test_no_two_claims_share_a_lease(self, storage: Storage) -> None:
        """Each run of one claim, and each claim of one run, has its own lease_id and claimed_by."""
        await storage.submit([new_run(), new_run()])
        leases = [held.lease for held in await storage.claim(ANNA, AGENTS, limit=2)]
        for turn in range(2):
            run = await storage.record(
                leases[-1], machine.released_change(await storage.get_run(leases[-1].run_id), "stop")
            )
            again = await storage.claim_run(ANNA, run.id)
            assert again.lease.fencing_token == turn + 2
            leases.append(again.lease)
        assert len({lease.lease_id for lease in leases}) == len({lease.claimed_by for lease in leases}) == 4

    async def test_a_stalled_run_is_taken_over(self, storage: Storage, clock: StoreClock) -> None:
        """After more than ``stalled_after`` without a sign of life another runner claims it; ``started_at`` stays."""
        first = await start_one(storage, Claimant(name="anna:1", heartbeat=timedelta(seconds=7)))
        fall_silent(storage, clock)
        assert (await storage.get_run(first.run.id)).stalled
        second = await claim_one(storage, BORIS)
        assert (second.run.id, second.taken_over) == (first.run.id, True)
        assert second.previous_heartbeat == timedelta(seconds=7)
        assert (second.lease.fencing_token, second.run.lost_leases) == (2, 1)
        assert second.lease.claimed_by.startswith("boris:2:")
        assert first.run.claimed_at is not None
        assert second.run.claimed_at is not None
        assert second.run.claimed_at - first.run.claimed_at > storage.stalled_after
        assert second.run.heartbeat_at == second.run.claimed_at
        assert second.run.started_at == first.run.started_at
        assert not second.run.stalled
        taken = (await storage.list_events(first.run.id))[-2]
        assert taken.metadata == {"status": "running", "reason": "stalled", "claimedBy": second.lease.claimed_by}

    async def test_claim_run_takes_over_as_well(self, storage: Storage, clock: StoreClock) -> None:
        """A stalled run may be claimed by its id."""
        first = await start_one(storage)
        fall_silent(storage, clock)
        second = await storage.claim_run(BORIS, first.run.id)
        assert second.taken_over
        assert second.run == await storage.get_run(first.run.id)

    async def test_stalled_and_queued_runs_compete_by_age(self, storage: Storage, clock: StoreClock) -> None:
        """A stalled run has its place by its creation time, neither before nor after all queued ones."""
        oldest = await submit_one(storage, agent_name="other")
        clock.advance(SECOND)
        stalled = await start_one(storage)
        clock.advance(SECOND)
        newest = await submit_one(storage)
        fall_silent(storage, clock)
        held = await storage.claim(BORIS, {**AGENTS, "other": "o"}, limit=3)
        assert [h.run.id for h in held] == [oldest.id, stalled.run.id, newest.id]
        assert [h.taken_over for h in held] == [False, True, False]

    async def test_a_takeover_goes_on_after_the_last_finished_stage(self, storage: Storage, clock: StoreClock) -> None:
        """The new holder gets every artifact, an output before its evaluation, and the first unfinished stage."""
        first = await start_one(storage)
        expected: list[tuple[Stage, int, Outcome]] = [
            (Stage.EVALUATING, 1, Produced("one")),
            (Stage.REVISING, 2, scored(0.4)),
            (Stage.EVALUATING, 2, Produced("two")),
            (Stage.REVISING, 3, scored(0.3)),
            (Stage.EVALUATING, 3, Produced("three")),
        ]
        held = first
        for done, (stage, attempt, outcome) in enumerate(expected, 1):
            await work(storage, held, outcome)
            fall_silent(storage, clock)
            held = await claim_one(storage, BORIS)
            assert (held.run.current_stage, held.run.current_attempt) == (stage, attempt)
            artifacts = held.artifacts or ()
            assert len(artifacts) == done
            assert list(artifacts) == await storage.list_artifacts(held.run.id)
        assert [(a.attempt, a.artifact_type.value) for a in artifacts] == [
            *((1, "output"), (1, "evaluation"), (2, "output"), (2, "evaluation"), (3, "output")),
        ]
        ended = await work(storage, held, scored(0.35))
        assert (ended.status, ended.final_score, ended.best_attempt) == (RunStatus.FAILED, 0.4, 1)

    async def test_the_third_loss_in_a_row_ends_a_run(self, storage: Storage, clock: StoreClock) -> None:
        """A run that makes its runners crash ends with a reason, and is not claimed again."""
        held = await start_one(storage)
        await lose(storage, clock, MAX_LOSSES - 1)
        assert (await storage.get_run(held.run.id)).lost_leases == MAX_LOSSES - 1
        fall_silent(storage, clock)
        assert await storage.claim(BORIS, AGENTS) == []
        run = await storage.get_run(held.run.id)
        assert (run.status, run.error_message) == (RunStatus.FAILED, machine.lost_message(MAX_LOSSES))
        assert run.lost_leases == MAX_LOSSES
        assert (run.lease_id, run.current_stage) == (None, None)
        assert run.completed_at is not None
        last = (await storage.list_events(run.id))[-1]
        assert last.metadata == {"status": "failed", "reason": "runner_lost"}

    async def test_a_lost_run_does_not_use_up_a_claim(self, storage: Storage, clock: StoreClock) -> None:
        """A run that the claim ends does not prevent another from being claimed."""
        held = await start_one(storage)
        await lose(storage, clock, MAX_LOSSES - 1)
        clock.advance(TICK)
        waiting = await submit_one(storage)
        fall_silent(storage, clock)
        claimed = await storage.claim(BORIS, AGENTS) or await storage.claim(BORIS, AGENTS)
        assert [h.run.id for h in claimed] == [waiting.id]
        assert (await storage.get_run(held.run.id)).status is RunStatus.FAILED

    async def test_claim_run_gives_up_a_lost_run_as_well(self, storage: Storage, clock: StoreClock) -> None:
        """It ends the run, and the error has the reason."""
        held = await start_one(storage)
        await lose(storage, clock, MAX_LOSSES - 1)
        fall_silent(storage, clock)
        with pytest.raises(RunNotClaimable, match="runner_lost"):
            await storage.claim_run(BORIS, held.run.id)
        assert (await storage.get_run(held.run.id)).status is RunStatus.FAILED

    async def test_a_finished_stage_starts_the_count_again(self, storage: Storage, clock: StoreClock) -> None:
        """Only losses in a row count, with no stage finished in between."""
        await start_one(storage)
        await lose(storage, clock, MAX_LOSSES - 2)
        fall_silent(storage, clock)
        held = await claim_one(storage, BORIS)
        run = await work(storage, held, Produced("one"))
        assert run.lost_leases == 0
        await lose(storage, clock, MAX_LOSSES - 1)
        assert (await storage.get_run(run.id)).status is RunStatus.RUNNING

    async def test_logs_do_not_start_the_count_again(self, storage: Storage, clock: StoreClock) -> None:
        """A stage that logs and then makes its runner crash has finished nothing."""
        held = await start_one(storage)
        await lose(storage, clock, 1)
        fall_silent(storage, clock)
        held = await claim_one(storage, BORIS)
        run = await storage.record(held.lease, machine.log_change(held.run, []))
        assert run.lost_leases == 2

    async def test_a_release_is_no_loss(self, storage: Storage) -> None:
        """Releases are not counted as losses, however many there are."""
        run = await submit_one(storage)
        for turn in range(MAX_LOSSES + 2):
            held = await claim_one(storage)
            assert held.lease.fencing_token == turn + 1
            assert not held.taken_over
            run = await storage.record(held.lease, machine.released_change(held.run, "the worker stops"))
            assert (run.status, run.lost_leases) == (RunStatus.QUEUED, 0)

    async def test_the_first_definition_is_kept(self, storage: Storage, clock: StoreClock) -> None:
        """The digest of the first claim stays, so that a later runner can see that the agent was changed."""
        run = await submit_one(storage)
        [held] = await storage.claim(ANNA, {"writer": "old"})
        assert held.run.definition == "old"
        fall_silent(storage, clock)
        [again] = await storage.claim(BORIS, {"writer": "new"})
        assert again.run.definition == "old"
        assert (await storage.get_run(run.id)).definition == "old"

    async def test_a_claim_ends_stalled_runs_with_a_cancel_request(self, storage: Storage, clock: StoreClock) -> None:
        """It ends runs of any agent, even when it claims nothing, and the journal has the end."""
        held = await start_one(storage, agent_name="strange")
        await storage.request_cancel(held.run.id)
        fall_silent(storage, clock)
        assert await storage.claim(BORIS, {"unrelated": "u"}) == []
        run = await storage.get_run(held.run.id)
        assert (run.status, run.lease_id, run.current_stage) == (RunStatus.CANCELLED, None, None)
        assert (await messages(storage, run.id))[-2:] == ["Cancel requested", "Cancelled"]

    async def test_claim_run_ends_a_stalled_run_with_a_cancel_request(
        self, storage: Storage, clock: StoreClock
    ) -> None:
        """The run ends, and the error has the reason."""
        held = await start_one(storage)
        await storage.request_cancel(held.run.id)
        fall_silent(storage, clock)
        with pytest.raises(RunNotClaimable):
            await storage.claim_run(BORIS, held.run.id)
        assert (await storage.get_run(held.run.id)).status is RunStatus.CANCELLED

    async def test_a_live_run_with_a_cancel_request_is_left_to_its_holder(self, storage: Storage) -> None:
        """Claims by other runners do not change it."""
        held = await start_one(storage)
        await storage.request_cancel(held.run.id)
        before = await look(storage, held.run.id)
        assert await storage.claim(BORIS, AGENTS) == []
        assert await look(storage, held.run.id) == before

    async def test_claim_run_claims_that_run(self, storage: Storage) -> None:
        """The run with the id is claimed, not the oldest one, and gets the definition."""
        older, wanted = await storage.submit([new_run(), new_run(agent_name="painter")])
        held = await storage.claim_run(ANNA, wanted.id, definition="d")
        assert (held.run.id, held.run.definition) == (wanted.id, "d")
        assert held.run == await storage.get_run(wanted.id)
        assert await storage.get_run(older.id) == older

    async def test_claim_run_refuses_what_has_ended(self, storage: Storage) -> None:
        """Passed, failed and cancelled runs do not change."""
        passed = await work_to_end(storage, await start_one(storage))
        failed = await fail(storage, await start_one(storage))
        cancelled = await storage.request_cancel((await submit_one(storage)).id)
        for run in (passed, failed, cancelled):
            with pytest.raises(RunNotClaimable) as caught:
                await storage.claim_run(ANNA, run.id)
            assert caught.value.run_id == run.id
            assert await storage.get_run(run.id) == run

    async def test_claim_run_knows_unknown_runs(self, storage: Storage) -> None:
        """The error is RunNotFound."""
        with pytest.raises(RunNotFound):
            await storage.claim_run(ANNA, "run_0")
        assert await all_runs(storage) == []

    async def test_ended_runs_are_never_claimed(self, storage: Storage, clock: StoreClock) -> None:
        """An ended run is not claimed, however long ago its holder was seen."""
        ended = await work_to_end(storage, await start_one(storage))
        fall_silent(storage, clock)
        fall_silent(storage, clock)
        assert await storage.claim(BORIS, AGENTS) == []
        assert await storage.get_run(ended.id) == ended
        assert not ended.stalled
