"""The machine: every cell of its table, every missing one, and each function over values."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core import machine, run_actions
from loopkit.core.journal import ArtifactType, Change, EventType, NewArtifact, NewEvent, Next
from loopkit.core.machine import NEXT, Signal, State
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.policy import MAX_LOSSES
from loopkit.core.run import ENDED, NewRun, Run, RunStatus, Stage, is_stalled
from loopkit.core.run_actions import Action
from loopkit.errors import IllegalTransition, RunEnded, RunNotEnded

NOW: Final = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)
STATES: Final[tuple[State, ...]] = (RunStatus.QUEUED, *Stage, *sorted(ENDED))

FROM_EVERY_STAGE: Final[dict[Signal, State]] = {
    Signal.NOTHING_STORED: Stage.PRODUCING,
    Signal.OUTPUT_STORED: Stage.EVALUATING,
    Signal.SCORE_STORED: Stage.REVISING,
    Signal.DRAFT_DUE: Stage.PRODUCING,
    Signal.STAGE_FAILED: RunStatus.FAILED,
    Signal.CANCEL_SEEN: RunStatus.CANCELLED,
    Signal.RELEASED: RunStatus.QUEUED,
    Signal.RUNNER_LOST: RunStatus.FAILED,
}
# The table once more, written by hand: what follows from what, as a person would say it.
EXPECTED: Final[dict[tuple[State, Signal], State]] = {
    (RunStatus.QUEUED, Signal.NOTHING_STORED): Stage.PRODUCING,
    (RunStatus.QUEUED, Signal.OUTPUT_STORED): Stage.EVALUATING,
    (RunStatus.QUEUED, Signal.SCORE_STORED): Stage.REVISING,
    (RunStatus.QUEUED, Signal.DRAFT_DUE): Stage.PRODUCING,
    (RunStatus.QUEUED, Signal.CANCEL_SEEN): RunStatus.CANCELLED,
    (Stage.PRODUCING, Signal.OUTPUT_MADE): Stage.EVALUATING,
    (Stage.REVISING, Signal.OUTPUT_MADE): Stage.EVALUATING,
    (Stage.REVISING, Signal.OUTPUT_REPEATED): RunStatus.FAILED,
    (Stage.EVALUATING, Signal.BUDGET_SPENT): RunStatus.FAILED,
    (Stage.EVALUATING, Signal.SCORE_FLAT): RunStatus.FAILED,
    (Stage.EVALUATING, Signal.SCORE_PASSED): RunStatus.PASSED,
    (Stage.EVALUATING, Signal.SCORE_LOW): Stage.REVISING,
    (Stage.EVALUATING, Signal.ATTEMPTS_SPENT): RunStatus.FAILED,
    **{(stage, signal): to for stage in Stage for signal, to in FROM_EVERY_STAGE.items()},
}


def run_in(state: State, **fields: Any) -> Run:
    """Return a run in a state."""
    return Run(
        **{
            "id": "run_1",
            "agent_name": "writer",
            "cycle_id": "c",
            "status": machine.status_of(state),
            "current_stage": state if isinstance(state, Stage) else None,
            "max_attempts": 3,
            "pass_threshold": 0.8,
            "inputs": {"n": 1},
            "created_at": NOW,
            **fields,
        }
    )


def said(event: NewEvent) -> tuple[str, str | None, int | None, str]:
    return (event.event_type.value, event.stage and event.stage.value, event.attempt, event.message)


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("state", STATES)
def test_every_cell(state: State, signal: Signal) -> None:
    """A cell that is there leads where it should, and one that is not there is impossible."""
    if (state, signal) in EXPECTED:
        assert machine.next_state(state, signal) is EXPECTED[state, signal]
    else:
        with pytest.raises(IllegalTransition) as caught:
            machine.next_state(state, signal)
        assert (caught.value.state, caught.value.signal) == (str(state), str(signal))


def test_ended_states_have_no_row() -> None:
    """Nothing can be said to an ended run."""
    assert set(NEXT) == set(STATES) - ENDED


def test_every_state_can_be_reached_and_left() -> None:
    """From ``queued`` every state is reached, and from every state an end."""
    reached: set[State] = {RunStatus.QUEUED}
    while new := {to for state in reached & set(NEXT) for to in NEXT[state].values()} - reached:
        reached |= new
    assert reached == set(STATES)
    ending: set[State] = set(ENDED)
    while new := {state for state, row in NEXT.items() if set(row.values()) & ending} - ending:
        ending |= new
    assert ending == set(STATES)


def test_guards_come_from_the_table() -> None:
    """The statuses that allow a signal are those of the states that have its cell."""
    assert machine.statuses_allowing(Signal.CANCEL_SEEN) == {RunStatus.QUEUED, RunStatus.RUNNING}
    assert machine.statuses_allowing(Signal.OUTPUT_MADE) == {RunStatus.RUNNING}
    assert machine.statuses_allowing(Signal.NOTHING_STORED) == {RunStatus.QUEUED, RunStatus.RUNNING}
    assert machine.statuses_allowing(Signal.RUNNER_LOST) == {RunStatus.RUNNING}


@pytest.mark.parametrize("state", STATES)
def test_a_runs_state(state: State) -> None:
    """Status and stage together are the state."""
    assert machine.state_of(run_in(state)) is state


def test_a_foreign_running_run_counts_as_producing() -> None:
    """Another program may set no stage."""
    assert machine.state_of(run_in(RunStatus.RUNNING)) is Stage.PRODUCING


@pytest.mark.parametrize("state", STATES)
def test_actions_follow_the_table(state: State) -> None:
    """An ended run can be retried, any other cancelled."""
    wanted = {Action.RETRY} if state in ENDED else {Action.CANCEL}
    assert run_actions.allowed_actions(run_in(state)) == wanted


@pytest.mark.parametrize(
    ("score", "attempt", "signal"),
    [
        (0.8, 1, Signal.SCORE_PASSED),
        (1.0, 3, Signal.SCORE_PASSED),
        (0.7999999, 2, Signal.SCORE_LOW),
        (0.0, 1, Signal.SCORE_LOW),
        (0.7999999, 3, Signal.ATTEMPTS_SPENT),
        (0.1, 4, Signal.ATTEMPTS_SPENT),
    ],
)
def test_a_score_becomes_a_signal(score: float, attempt: int, signal: Signal) -> None:
    """Reaching the threshold is enough; below it the attempts decide."""
    assert machine.score_signal(run_in(Stage.EVALUATING, current_attempt=attempt), score) is signal


@pytest.mark.parametrize(
    ("stage", "attempt", "verb"), [(Stage.PRODUCING, 1, "Produced"), (Stage.REVISING, 2, "Revised")]
)
def test_an_output_leads_to_its_evaluation(stage: Stage, attempt: int, verb: str) -> None:
    """The artifact, its event and the next stage are in one change."""
    run = run_in(stage, current_attempt=attempt, final_score=0.5, best_attempt=1)
    change = machine.advance(run, Produced("text"), output_suffix=".py")
    name = f"attempt-{attempt}.py"
    assert change.artifact == NewArtifact(
        attempt=attempt, artifact_type=ArtifactType.OUTPUT, filename=name, content="text"
    )
    assert [said(event) for event in change.events] == [("log", stage.value, attempt, f"{verb} ({name})")]
    assert change.events[0].metadata == {"filename": name}
    assert (change.then.status, change.then.stage, change.then.attempt) == (
        RunStatus.RUNNING,
        Stage.EVALUATING,
        attempt,
    )
    assert [said(event) for event in change.then.events] == [("stage_change", "evaluating", attempt, "Evaluating")]
    assert (change.final_score, change.best_attempt, change.finishes_stage) == (0.5, 1, True)


def test_a_json_output_is_named_so() -> None:
    """The suffix of the agent does not matter."""
    change = machine.advance(run_in(Stage.PRODUCING), Produced("{}", is_json=True), output_suffix=".py")
    assert change.artifact is not None
    assert (change.artifact.filename, change.artifact.is_json) == ("attempt-1.json", True)


def test_a_low_score_leads_to_a_revision() -> None:
    """The evaluation is kept with everything it gave, and the next attempt begins."""
    run = run_in(Stage.EVALUATING)
    change = machine.advance(run, Evaluated(Evaluation(0.725, "shorter", rest={"criteria": {"a": 1}})))
    assert change.artifact is not None
    assert (change.artifact.filename, change.artifact.score, change.artifact.is_json) == (
        "attempt-1.eval.json",
        0.725,
        True,
    )
    assert change.artifact.content == '{"score":0.725,"feedback":"shorter","criteria":{"a":1}}'
    assert [said(e) for e in change.events] == [("score_update", "evaluating", 1, "Evaluated - Score: 0.72")]
    assert change.events[0].metadata == {"score": 0.725, "feedback": "shorter", "criteria": {"a": 1}}
    assert (change.then.status, change.then.stage, change.then.attempt) == (RunStatus.RUNNING, Stage.REVISING, 2)
    assert [said(e) for e in change.then.events] == [("stage_change", "revising", 2, "Revising")]
    assert (change.final_score, change.best_attempt, change.finishes_stage) == (0.725, 1, True)


def test_a_score_that_passes_ends_the_run() -> None:
    """``passed``, in the attempt that did it."""
    change = machine.advance(run_in(Stage.EVALUATING, current_attempt=2), Evaluated(Evaluation(0.8)))
    assert (change.then.status, change.then.stage, change.then.attempt) == (RunStatus.PASSED, None, 2)
    assert [e.metadata for e in change.then.events] == [{"status": "passed", "reason": "score_passed", "score": 0.8}]
    assert change.then.error_message is None


def test_used_up_attempts_end_the_run() -> None:
    """``failed``, with a reason and without an error."""
    change = machine.advance(run_in(Stage.EVALUATING, current_attempt=3), Evaluated(Evaluation(0.1)))
    assert (change.then.status, change.then.error_message) == (RunStatus.FAILED, None)
    assert [e.metadata for e in change.then.events] == [{"status": "failed", "reason": "attempts_spent"}]


@pytest.mark.parametrize("stage", Stage)
def test_an_error_ends_the_run_and_is_never_a_score(stage: Stage) -> None:
    """No artifact, no score, no finished stage: the error alone; the best score stays what it was."""
    run = run_in(stage, current_attempt=2, final_score=0.4, best_attempt=1)
    change = machine.advance(run, Errored("no verdict"))
    assert (change.artifact, change.finishes_stage) == (None, False)
    assert (change.final_score, change.best_attempt) == (0.4, 1)
    assert [said(e) for e in change.events] == [("error", stage.value, 2, "no verdict")]
    assert (change.then.status, change.then.error_message, change.then.attempt) == (RunStatus.FAILED, "no verdict", 2)
    assert [e.metadata for e in change.then.events] == [{"status": "failed", "reason": "stage_error"}]


@pytest.mark.parametrize(
    ("stage", "outcome"),
    [
        (Stage.PRODUCING, Evaluated(Evaluation(0.5))),
        (Stage.REVISING, Evaluated(Evaluation(0.9))),
        (Stage.EVALUATING, Produced("text")),
        *((state, made) for state in (RunStatus.QUEUED, *sorted(ENDED)) for made in (Produced("x"), Errored("x"))),
    ],
)
def test_an_outcome_of_another_stage_is_impossible(stage: State, outcome: Outcome) -> None:
    """Nothing is decided for a run that is not in the stage that was called."""
    with pytest.raises(IllegalTransition):
        machine.advance(run_in(stage), outcome)


CHANGES: Final[dict[str, Callable[[Run], Change]]] = {
    "low": lambda run: machine.advance(run, Evaluated(Evaluation(0.1))),
    "passed": lambda run: machine.advance(run, Evaluated(Evaluation(0.9))),
    "error": lambda run: machine.advance(run, Errored("x")),
    "release": lambda run: machine.released_change(run, "stop"),
    "cancel": machine.cancelled_change,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_carries_its_cancellation(name: str) -> None:
    """Whichever way a boundary goes, a cancel request turns it into ``cancelled`` in the current attempt."""
    change = CHANGES[name](run_in(Stage.EVALUATING, current_attempt=2))
    assert (change.cancelled.status, change.cancelled.stage, change.cancelled.attempt) == (RunStatus.CANCELLED, None, 2)
    assert [e.metadata for e in change.cancelled.events] == [{"status": "cancelled", "reason": "cancel_requested"}]
    assert change.cancelled.error_message is None


@pytest.mark.parametrize("stage", Stage)
def test_a_release_keeps_everything(stage: Stage) -> None:
    """Back to ``queued`` in the same attempt, nothing finished and nothing lost."""
    change = machine.released_change(
        run_in(stage, current_attempt=2, final_score=0.3, best_attempt=1), "the worker stops"
    )
    assert (change.then.status, change.then.stage, change.then.attempt) == (RunStatus.QUEUED, None, 2)
    assert [e.metadata for e in change.then.events] == [{"status": "queued", "reason": "the worker stops"}]
    assert (change.artifact, change.finishes_stage, change.final_score, change.best_attempt) == (None, False, 0.3, 1)


def test_a_log_changes_nothing_else() -> None:
    """Both ways lead to where the run is."""
    run = run_in(Stage.REVISING, current_attempt=2, final_score=0.3, best_attempt=1)
    event = NewEvent(event_type=EventType.LOG, message="half way")
    change = machine.log_change(run, [event])
    stay = Next(status=RunStatus.RUNNING, stage=Stage.REVISING, attempt=2)
    assert (change.then, change.cancelled, change.events) == (stay, stay, (event,))
    assert (change.artifact, change.finishes_stage, change.final_score, change.best_attempt) == (None, False, 0.3, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_the_best_attempt_is_kept(scores: list[float], threshold: float) -> None:
    """The final score is the highest, its attempt the earliest that reached it, and a pass ends the loop."""
    run = run_in(Stage.EVALUATING, max_attempts=len(scores), pass_threshold=threshold)
    seen: list[float] = []
    for score in scores:
        change = machine.advance(run, Evaluated(Evaluation(score)))
        seen.append(score)
        assert change.final_score == max(seen)
        assert change.best_attempt == seen.index(max(seen)) + 1
        if change.then.status.ended:
            break
        run = attrs.evolve(
            run,
            current_attempt=change.then.attempt,
            final_score=change.final_score,
            best_attempt=change.best_attempt,
        )
    passed = [score >= threshold for score in scores]
    assert len(seen) == (passed.index(True) + 1 if any(passed) else len(scores))
    assert (change.then.status is RunStatus.PASSED) == any(passed)


def test_the_first_event_names_the_actor_and_the_retried_run() -> None:
    """The first event names the actor and the run that is retried, where there are any."""
    new = NewRun(agent_name="a", inputs={})
    assert machine.queued_event(new).metadata == {"status": "queued"}
    both = attrs.evolve(new, actor="mira", retry_of="run_0")
    assert machine.queued_event(both).metadata == {"status": "queued", "actor": "mira", "retryOf": "run_0"}


def test_a_first_claim_starts_producing() -> None:
    """And says who claimed."""
    decision = machine.decide_claim(run_in(RunStatus.QUEUED), [], claimed_by="host:1:x")
    assert (decision.status, decision.stage, decision.attempt) == (RunStatus.RUNNING, Stage.PRODUCING, 1)
    assert [said(e) for e in decision.events] == [
        ("stage_change", None, None, "Started"),
        ("stage_change", "producing", 1, "Producing"),
    ]
    assert decision.events[0].metadata == {"status": "running", "claimedBy": "host:1:x"}


@pytest.mark.parametrize("lost", range(MAX_LOSSES))
def test_the_last_loss_ends_a_run(lost: int) -> None:
    """A take-over counts the runner that was lost; the third in a row gives the run up."""
    run = run_in(Stage.REVISING, current_attempt=2, lost_leases=lost, stalled=True)
    decision = machine.decide_claim(run, [], claimed_by="x")
    if lost + 1 < MAX_LOSSES:
        assert decision.status is RunStatus.RUNNING
        assert decision.events[0].metadata == {"status": "running", "reason": "stalled", "claimedBy": "x"}
    else:
        assert (decision.status, decision.stage, decision.attempt) == (RunStatus.FAILED, None, 2)
        assert decision.error_message == machine.lost_message(MAX_LOSSES)
        assert [e.metadata for e in decision.events] == [{"status": "failed", "reason": "runner_lost"}]


def test_a_queued_run_is_claimed_whatever_it_lost_before() -> None:
    """Only a take-over can lose a runner."""
    run = run_in(RunStatus.QUEUED, lost_leases=MAX_LOSSES)
    assert machine.decide_claim(run, [], claimed_by="x").status is RunStatus.RUNNING


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_run_cannot_be_claimed(state: RunStatus) -> None:
    """The table has no such cell."""
    with pytest.raises(IllegalTransition):
        machine.decide_claim(run_in(state), [], claimed_by="x")


@pytest.mark.parametrize(
    ("state", "ended_now", "reason"),
    [
        (RunStatus.CANCELLED, RunStatus.CANCELLED, "its cancellation was requested; it is cancelled now"),
        (RunStatus.FAILED, RunStatus.FAILED, machine.lost_message(MAX_LOSSES)),
        (RunStatus.FAILED, None, "it has ended (failed)"),
        (RunStatus.CANCELLED, None, "it has ended (cancelled)"),
        (Stage.EVALUATING, None, "it is held by host:1:x"),
    ],
)
def test_a_refused_claim_has_a_reason(state: State, ended_now: RunStatus | None, reason: str) -> None:
    """The reason says whether this claim ended the run, an earlier write did, or a runner holds it."""
    assert run_actions.claim_refusal(run_in(state, claimed_by="host:1:x"), ended_now=ended_now) == reason


@pytest.mark.parametrize("state", [RunStatus.QUEUED, *Stage])
@pytest.mark.parametrize("stalled", [False, True])
@pytest.mark.parametrize("asked_before", [False, True])
def test_a_cancel_request(state: State, stalled: bool, asked_before: bool) -> None:
    """The first request is written with its event; the run ends at once exactly when no live runner holds it."""
    stalled = stalled and state is not RunStatus.QUEUED
    run = run_in(state, stalled=stalled, cancel_requested_at=NOW if asked_before else None, current_attempt=2)
    decision = run_actions.decide_cancel(run, actor="mira")
    assert decision.request is not asked_before
    expected = (
        [] if asked_before else [("log", run.current_stage and run.current_stage.value, None, "Cancel requested")]
    )
    assert [said(e) for e in decision.events] == expected
    assert all(e.metadata == {"actor": "mira"} for e in decision.events)
    if state is RunStatus.QUEUED or stalled:
        assert decision.end is not None
        assert (decision.end.status, decision.end.attempt) == (RunStatus.CANCELLED, 2)
    else:
        assert decision.end is None


def test_cancelling_what_is_cancelled_does_nothing() -> None:
    """It is no error either."""
    assert run_actions.decide_cancel(run_in(RunStatus.CANCELLED)) == run_actions.Cancellation(request=False)


@pytest.mark.parametrize("state", [RunStatus.PASSED, RunStatus.FAILED])
def test_cancelling_what_has_ended_is_a_conflict(state: RunStatus) -> None:
    """The error says how it ended."""
    with pytest.raises(RunEnded) as caught:
        run_actions.decide_cancel(run_in(state))
    assert caught.value.status == state


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_retry_is_a_new_run_like_the_old(state: RunStatus) -> None:
    """Agent, inputs and limits; never the cycle id, the score or the error."""
    run = run_in(state, max_attempts=2, pass_threshold=0.5, final_score=0.4, error_message="x")
    new = run_actions.decide_retry(run, actor="mira", idempotency_key="k")
    assert new == NewRun(
        agent_name="writer",
        inputs={"n": 1},
        max_attempts=2,
        pass_threshold=0.5,
        retry_of="run_1",
        actor="mira",
        idempotency_key="k",
    )


@pytest.mark.parametrize("state", [RunStatus.QUEUED, *Stage])
def test_what_has_not_ended_cannot_be_retried(state: State) -> None:
    """The error says where it is."""
    with pytest.raises(RunNotEnded) as caught:
        run_actions.decide_retry(run_in(state))
    assert caught.value.status == machine.status_of(state)


def test_a_stall_depends_on_the_newest_sign_of_life() -> None:
    """Heartbeat, else claim, start, creation; more than the limit away, in the future too; only while running."""
    limit = timedelta(seconds=120)
    fields = ["created_at", "started_at", "claimed_at", "heartbeat_at"]
    for known in range(1, 5):
        times = {name: NOW + timedelta(hours=n) for n, name in enumerate(fields[:known])}
        run = run_in(Stage.PRODUCING, **times)
        seen = times[fields[known - 1]]
        assert run.last_seen_at == seen
        assert not is_stalled(run, now=seen + limit, stalled_after=limit)
        assert is_stalled(run, now=seen + limit + timedelta(milliseconds=1), stalled_after=limit)
        assert not is_stalled(run, now=seen - limit, stalled_after=limit)
        assert is_stalled(run, now=seen - timedelta(days=1), stalled_after=limit)
    for state in (RunStatus.QUEUED, *ENDED):
        assert not is_stalled(run_in(state), now=NOW + timedelta(days=9), stalled_after=limit)
