"""Cases for writes to a held run: results, scores, logs, ends and releases."""

from typing import Any, Final

import attrs
import pytest

from loopkit.core import machine
from loopkit.core.attempts import read_evaluation
from loopkit.core.journal import Artifact, ArtifactType, EventType, NewEvent, RunEvent
from loopkit.core.ledger.sums import SUM_NAMES, Spending
from loopkit.core.outcome import Errored, Outcome, Produced
from loopkit.core.run import RunStatus, Stage
from loopkit.errors import LeaseLost
from loopkit.storage import Held, Storage
from loopkit.testing.cases.case_base import TICK, Cases
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    BORIS,
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

WHOLE: Final[list[Outcome]] = [Produced("one"), scored(0.5), Produced("two"), scored(0.9)]
TEXTS: Final = [
    "",
    " ",
    "line\r\nline\rline\n",
    "zwölf \u2028\U0001f600",
    "' \" \\ % :x ? $1 {} --",
    '{"a": 1}',
    "x" * 300_000,
]


def sums_of(*values: Any) -> Spending:
    """Return sums by position."""
    return Spending(**dict(zip(SUM_NAMES, values, strict=True)))


def content_of(event: RunEvent) -> tuple[str, str | None, int | None, str | None]:
    """Return the content of an event, without its id and time."""
    return (event.event_type.value, event.stage and event.stage.value, event.attempt, event.message)


class RecordCases(Cases):
    async def test_the_journal_of_a_loop(self, storage: Storage) -> None:
        """A run that passes in its second attempt leaves exactly these events, in this order."""
        held = await start_one(storage)
        run = await work(storage, held, *WHOLE)
        events = await storage.list_events(run.id)
        assert [content_of(event) for event in events] == [
            ("stage_change", None, 1, "Queued"),
            ("stage_change", None, 1, "Started"),
            ("stage_change", "producing", 1, "Producing"),
            ("log", "producing", 1, "Produced (attempt-1.md)"),
            ("stage_change", "evaluating", 1, "Evaluating"),
            ("score_update", "evaluating", 1, "Evaluated - Score: 0.50"),
            ("stage_change", "revising", 2, "Revising"),
            ("log", "revising", 2, "Revised (attempt-2.md)"),
            ("stage_change", "evaluating", 2, "Evaluating"),
            ("score_update", "evaluating", 2, "Evaluated - Score: 0.90"),
            ("stage_change", None, 2, "Passed"),
        ]
        assert events[3].metadata == {"filename": "attempt-1.md"}
        assert events[5].metadata == {"score": 0.5, "feedback": "go on"}
        assert events[-1].metadata == {"status": "passed", "reason": "score_passed", "score": 0.9}
        assert [event.id for event in events] == sorted({event.id for event in events})
        assert {event.run_id for event in events} == {run.id}

    async def test_each_boundary_gives_the_run_as_it_is_then(self, storage: Storage) -> None:
        """A write returns the row as it is after it."""
        held = await start_one(storage)
        run = held.run
        expected = [
            (Stage.EVALUATING, 1, None, None),
            (Stage.REVISING, 2, 0.5, 1),
            (Stage.EVALUATING, 2, 0.5, 1),
            (None, 2, 0.9, 2),
        ]
        for outcome, fields in zip(WHOLE, expected, strict=True):
            run = await storage.record(held.lease, machine.advance(run, outcome))
            assert run == await storage.get_run(run.id)
            assert (run.current_stage, run.current_attempt, run.final_score, run.best_attempt) == fields
        assert run.status is RunStatus.PASSED

    async def test_an_ended_run_keeps_its_holder_and_drops_its_lease(self, storage: Storage, clock: StoreClock) -> None:
        """completed_at is set, claimed_by and its times stay, and lease_id is cleared."""
        held = await start_one(storage)
        clock.advance(TICK)
        run = await work_to_end(storage, held)
        assert (run.status, run.current_stage, run.lease_id) == (RunStatus.PASSED, None, None)
        assert (run.claimed_at, run.claimed_by) == (held.run.claimed_at, held.run.claimed_by)
        assert (run.started_at, run.fencing_token) == (held.run.started_at, 1)
        assert run.completed_at is not None
        assert held.run.claimed_at is not None
        assert run.completed_at >= held.run.claimed_at + TICK
        assert run.heartbeat_at == run.completed_at

    async def test_used_up_attempts_fail_a_run_with_its_best(self, storage: Storage) -> None:
        """The run has its best score and the earliest attempt with it, and no error."""
        held = await start_one(storage, max_attempts=4)
        outcomes = [step for score in (0.6, 0.7, 0.7, 0.1) for step in (Produced("x"), scored(score))]
        run = await work(storage, held, *outcomes)
        assert (run.status, run.final_score, run.best_attempt) == (RunStatus.FAILED, 0.7, 2)
        assert (run.current_attempt, run.error_message) == (4, None)

    async def test_an_error_ends_a_run_and_is_no_score(self, storage: Storage) -> None:
        """A failed evaluation writes an error event and no artifact; the best score does not change."""
        held = await start_one(storage)
        run = await work(storage, held, Produced("one"), scored(0.5), Produced("two"), Errored("no verdict: NaN"))
        assert (run.status, run.final_score, run.best_attempt) == (RunStatus.FAILED, 0.5, 1)
        assert run.error_message == "no verdict: NaN"
        error, end = (await storage.list_events(run.id))[-2:]
        assert content_of(error) == ("error", "evaluating", 2, "no verdict: NaN")
        assert end.metadata == {"status": "failed", "reason": "stage_error"}
        artifacts = [(a.attempt, a.artifact_type.value) for a in await storage.list_artifacts(run.id)]
        assert artifacts == [(1, "output"), (1, "evaluation"), (2, "output")]

    async def test_a_score_of_zero_is_a_score(self, storage: Storage) -> None:
        """A score of 0 differs from no score."""
        run = await work(storage, await start_one(storage), Produced("one"), scored(0.0))
        assert (run.final_score, run.best_attempt) == (0.0, 1)
        assert await storage.get_run(run.id) == run

    async def test_a_score_keeps_all_its_digits(self, storage: Storage) -> None:
        """A score is a 64-bit float."""
        run = await work(storage, await start_one(storage), Produced("one"), scored(0.1 + 0.2))
        assert (await storage.get_run(run.id)).final_score == 0.1 + 0.2

    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    async def test_an_output_is_kept_exactly(self, storage: Storage, text: str) -> None:
        """Not a byte is added, lost or translated."""
        run = await work(storage, await start_one(storage), Produced(text))
        [artifact] = await storage.list_artifacts(run.id)
        assert artifact == Artifact(
            id=artifact.id,
            run_id=run.id,
            attempt=1,
            artifact_type=ArtifactType.OUTPUT,
            filename="attempt-1.md",
            content=text,
            created_at=artifact.created_at,
        )

    async def test_an_output_may_be_json_or_have_another_suffix(self, storage: Storage) -> None:
        """The artifact says whether it is JSON, and has the file name that the machine chose."""
        held = await start_one(storage)
        run = await storage.record(held.lease, machine.advance(held.run, Produced('{"b":1,"a":[]}', is_json=True)))
        run = await work(storage, attrs.evolve(held, run=run), scored(0.1))
        await storage.record(held.lease, machine.advance(run, Produced("x = 1"), output_suffix=".py"))
        artifacts = await storage.list_artifacts(run.id)
        assert [(a.filename, a.is_json) for a in artifacts] == [
            *(("attempt-1.json", True), ("attempt-1.eval.json", True), ("attempt-2.py", False)),
        ]
        assert artifacts[0].content == '{"b":1,"a":[]}'

    async def test_an_evaluation_keeps_everything_it_gave(self, storage: Storage) -> None:
        """Other keys than score and feedback are in the artifact and in the event, and read back."""
        outcome = scored(0.25, "zu lang \u2028", criteria={"length": 0.1}, notes=[1, None])
        run = await work(storage, await start_one(storage), Produced("one"), outcome)
        evaluation = (await storage.list_artifacts(run.id))[-1]
        assert read_evaluation(evaluation) == outcome.evaluation
        update = [e for e in await storage.list_events(run.id) if e.event_type is EventType.SCORE_UPDATE]
        assert [event.metadata for event in update] == [dict(outcome.evaluation)]

    async def test_the_same_result_is_written_once(self, storage: Storage, clock: StoreClock) -> None:
        """Repeated after a lost answer, the call returns the run as it is now and writes nothing."""
        held = await start_one(storage)
        first = machine.advance(held.run, Produced("one"))
        run = await storage.record(held.lease, first)
        before = await look(storage, run.id)
        clock.advance(TICK)
        assert (await storage.record(held.lease, first)).current_stage is Stage.EVALUATING
        after = await look(storage, run.id)
        assert (after.events, after.artifacts) == (before.events, before.artifacts)
        assert attrs.evolve(after.run, heartbeat_at=run.heartbeat_at) == before.run
        await work(storage, attrs.evolve(held, run=run), scored(0.5))
        assert (await storage.record(held.lease, first)).current_attempt == 2
        assert len(await storage.list_artifacts(run.id)) == 2

    async def test_another_result_for_a_finished_stage_is_refused(self, storage: Storage) -> None:
        """The first result stays, and nothing of the second is written."""
        held = await start_one(storage)
        await work(storage, held, Produced("one"))
        before = await look(storage, held.run.id)
        with pytest.raises(LeaseLost):
            await storage.record(held.lease, machine.advance(held.run, Produced("another")))
        assert await look(storage, held.run.id) == before

    async def test_logs_are_written_while_a_stage_works(self, storage: Storage) -> None:
        """They change only the journal and the heartbeat, and keep their order and metadata."""
        held = await start_one(storage)
        lines = [
            NewEvent(
                event_type=EventType.LOG, stage=Stage.PRODUCING, attempt=1, message="half way", metadata={"n": [1]}
            ),
            NewEvent(event_type=EventType.LOG, stage=Stage.PRODUCING, attempt=1, message="half way", metadata=None),
            NewEvent(event_type=EventType.LOG, message=""),
        ]
        run = await storage.record(held.lease, machine.log_change(held.run, lines))
        assert attrs.evolve(run, heartbeat_at=held.run.heartbeat_at) == held.run
        written = (await storage.list_events(run.id))[-3:]
        assert [content_of(event) for event in written] == [
            ("log", "producing", 1, "half way"),
            ("log", "producing", 1, "half way"),
            ("log", None, 1, ""),
        ]
        assert [event.metadata for event in written] == [{"n": [1]}, None, None]

    async def test_a_change_moves_the_sums(self, storage: Storage) -> None:
        """Each change adds its spending; a cost that is not known leaves the sum of those that are."""
        held = await start_one(storage)
        run, change = held.run, machine.log_change(held.run, [])
        for spending, sums in (
            (Spending(stage_seconds=0.1), Spending(stage_seconds=0.1)),
            (Spending(input_tokens=2**40, unpriced_calls=1), sums_of(2**40, 0, None, 1, 0.1)),
            (Spending(cost_nanos=2**60 + 1), sums_of(2**40, 0, 2**60 + 1, 1, 0.1)),
            (sums_of(2, 3, None, -1, 0.2), sums_of(2**40 + 2, 3, 2**60 + 1, 0, 0.3)),
            (Spending(cost_nanos=0), sums_of(2**40 + 2, 3, 2**60 + 1, 0, 0.3)),
        ):
            run = await storage.record(held.lease, attrs.evolve(change, run=run, spending=spending))
            assert run.spending == sums
            assert run == await storage.get_run(run.id)
            assert await storage.record(held.lease, machine.log_change(run, [])) == run
        released = await storage.record(held.lease, machine.released_change(run, "stop"))
        assert (await claim_one(storage)).run.spending == released.spending == run.spending

    async def test_a_log_does_not_cancel(self, storage: Storage) -> None:
        """A cancel request takes effect at the end of the stage."""
        held = await start_one(storage)
        await storage.request_cancel(held.run.id)
        run = await storage.record(held.lease, machine.log_change(held.run, []))
        assert (run.status, run.current_stage) == (RunStatus.RUNNING, Stage.PRODUCING)

    async def test_a_released_run_waits_as_before(self, storage: Storage, clock: StoreClock) -> None:
        """It is queued and not claimed; its attempt is not used up, and its start time and finished stages stay."""
        held = await start_one(storage)
        clock.advance(TICK)
        run = await work(storage, held, Produced("one"), scored(0.5))
        run = await storage.record(held.lease, machine.released_change(run, "the worker stops"))
        assert (run.status, run.current_stage, run.current_attempt) == (RunStatus.QUEUED, None, 2)
        assert (run.lease_id, run.claimed_at, run.claimed_by, run.heartbeat_at) == (None, None, None, None)
        assert (run.started_at, run.completed_at) == (held.run.started_at, None)
        assert (run.final_score, run.best_attempt, run.fencing_token) == (0.5, 1, 1)
        assert run == await storage.get_run(run.id)
        released = (await storage.list_events(run.id))[-1]
        assert content_of(released) == ("stage_change", None, 2, "Released")
        assert released.metadata == {"status": "queued", "reason": "the worker stops"}
        again = await claim_one(storage, BORIS)
        assert (again.run.current_stage, again.run.current_attempt) == (Stage.REVISING, 2)
        assert (again.taken_over, again.previous_heartbeat, len(again.artifacts or ())) == (False, None, 2)
        assert again.run.started_at == held.run.started_at
        assert (await work(storage, again, Produced("two"), scored(0.9))).status is RunStatus.PASSED

    async def test_a_released_run_keeps_its_place(self, storage: Storage, clock: StoreClock) -> None:
        """Its place is by its creation, so it is claimed before runs that were created later."""
        first = await submit_one(storage)
        clock.advance(TICK)
        await submit_one(storage)
        held = await claim_one(storage)
        await storage.record(held.lease, machine.released_change(held.run, "stop"))
        assert (await claim_one(storage)).run.id == first.id

    async def test_many_runs_at_once_do_not_mix(self, storage: Storage) -> None:
        """Runs that are worked in parallel each have their own journal, in order, and their own artifacts."""
        await storage.submit([new_run() for _ in range(6)])
        everyone = await storage.claim(BORIS, AGENTS, limit=6)

        async def one(held: Held) -> object:
            return await work(storage, held, Produced(held.run.id), scored(0.5), Produced(held.run.id), scored(0.9))

        runs = await in_threads([lambda held=held: one(held) for held in everyone])  # type: ignore[misc]
        for run in runs:
            assert run.status is RunStatus.PASSED
            events = await storage.list_events(run.id)
            assert len(events) == 11
            assert [e.id for e in events] == sorted(e.id for e in events)
            assert {a.content for a in await storage.list_artifacts(run.id) if not a.is_json} == {run.id}

    async def test_a_lost_write_spoils_no_other(self, storage: Storage) -> None:
        """Of concurrent writes, some with lost leases, each caller gets its own result."""
        await storage.submit([new_run() for _ in range(6)])
        everyone = await storage.claim(BORIS, AGENTS, limit=6)
        ended = [await look(storage, (await fail(storage, held)).id) for held in everyone[::2]]

        async def loses(held: Held) -> bool:
            try:
                await work(storage, held, Produced("x"))
            except LeaseLost:
                return True
            return False

        lost = await in_threads([lambda held=held: loses(held) for held in everyone])  # type: ignore[misc]
        assert lost == [True, False] * 3
        assert [await look(storage, held_run.run.id) for held_run in ended] == ended

    async def test_a_run_is_worked_across_event_loops(self, storage: Storage) -> None:
        """Each call may be awaited on another thread and event loop than the one before."""
        held = await start_one(storage)
        run = held.run
        for outcome in WHOLE:
            change = machine.advance(run, outcome)
            run, _ = await in_threads(
                [lambda change=change: storage.record(held.lease, change), lambda: storage.watch([held.lease])]  # type: ignore[misc]
            )
        assert run.status is RunStatus.PASSED
        assert (await messages(storage, run.id))[-1] == "Passed"
