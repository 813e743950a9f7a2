"""The machine: what may happen to a run, as one table and pure functions over frozen values.

Hard rules: a state and a signal without a cell in :data:`NEXT` are impossible; an ended state has no row; a guard
that needs numbers becomes a signal first; a failed judgement is a ``STAGE_FAILED``, never a score. A store adds
nothing to what is decided here: it makes the decision atomic. Its guards come from :func:`statuses_allowing`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, assert_never

import attrs

from loopkit.core import plain
from loopkit.core.journal import Artifact, ArtifactType, Change, EventType, NewArtifact, NewEvent, Next
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import NewRun, Run, RunStatus, Stage
from loopkit.errors import IllegalTransition, RunEnded, RunNotEnded


class Signal(StrEnum):
    """What happened, as the machine sees it."""

    NOTHING_STORED = "nothing stored"
    """Claimed or taken over; no output of the run is stored."""
    OUTPUT_STORED = "output stored"
    """Claimed or taken over; the newest output is not yet judged (or its judgement ends the run)."""
    SCORE_STORED = "score stored"
    """Claimed or taken over; the newest output is judged and another attempt follows."""
    OUTPUT_MADE = "output made"
    SCORE_PASSED = "score passed"
    SCORE_LOW = "score low"
    ATTEMPTS_SPENT = "attempts spent"
    STAGE_FAILED = "stage failed"
    CANCEL_SEEN = "cancel seen"
    RELEASED = "released"
    RUNNER_LOST = "runner lost"
    """Taken over for the last time: every runner that tried was lost."""


State = RunStatus | Stage
"""``queued``, one of the stages while running, or how the run ended."""

_CLAIMED: Final[Mapping[Signal, State]] = {
    Signal.NOTHING_STORED: Stage.PRODUCING,
    Signal.OUTPUT_STORED: Stage.EVALUATING,
    Signal.SCORE_STORED: Stage.REVISING,
}
_HELD: Final[Mapping[Signal, State]] = {
    **_CLAIMED,
    Signal.STAGE_FAILED: RunStatus.FAILED,
    Signal.CANCEL_SEEN: RunStatus.CANCELLED,
    Signal.RELEASED: RunStatus.QUEUED,
    Signal.RUNNER_LOST: RunStatus.FAILED,
}
_MAKING: Final[Mapping[Signal, State]] = {**_HELD, Signal.OUTPUT_MADE: Stage.EVALUATING}
_JUDGING: Final[Mapping[Signal, State]] = {
    **_HELD,
    Signal.SCORE_PASSED: RunStatus.PASSED,
    Signal.SCORE_LOW: Stage.REVISING,
    Signal.ATTEMPTS_SPENT: RunStatus.FAILED,
}

NEXT: Final[Mapping[State, Mapping[Signal, State]]] = {
    RunStatus.QUEUED: {**_CLAIMED, Signal.CANCEL_SEEN: RunStatus.CANCELLED},
    Stage.PRODUCING: _MAKING,
    Stage.EVALUATING: _JUDGING,
    Stage.REVISING: _MAKING,
}
"""The whole machine. ``passed``, ``failed`` and ``cancelled`` have no row: nothing changes an ended run."""

MAX_LOST_LEASES: Final = 3
"""Runners lost in a row, with no stage finished in between, before a run is given up."""

RUNNER_LOST_MESSAGE: Final = f"its runner was lost {MAX_LOST_LEASES} times in a row (runner_lost)"

BEGINNINGS: Final[Mapping[Stage, str]] = {
    Stage.PRODUCING: "Producing",
    Stage.EVALUATING: "Evaluating",
    Stage.REVISING: "Revising",
}


class Action(StrEnum):
    """What a person may ask of a run."""

    CANCEL = "cancel"
    RETRY = "retry"


# --- The table, read -------------------------------------------------------------------------------------------


def next_state(state: State, signal: Signal) -> State:
    """Give the state that ``signal`` leads to.

    Raises:
        IllegalTransition: the table has no such cell.
    """
    try:
        return NEXT[state][signal]
    except KeyError:
        raise IllegalTransition(str(state), str(signal)) from None


def state_of(run: Run) -> State:
    """Give the machine's state of a run; a run another program holds may name no stage and counts as producing."""
    if run.status is RunStatus.RUNNING:
        return run.current_stage or Stage.PRODUCING
    return run.status


def status_of(state: State) -> RunStatus:
    """Give the status that the run's row shows in ``state``."""
    return RunStatus.RUNNING if isinstance(state, Stage) else state


def statuses_allowing(signal: Signal) -> frozenset[RunStatus]:
    """Give the statuses in which ``signal`` has a cell: what a store's guard for it must compare with."""
    return frozenset(status_of(state) for state, row in NEXT.items() if signal in row)


def actions(run: Run) -> frozenset[Action]:
    """Give what may be asked of ``run`` now; pages and the API offer exactly this."""
    if run.ended:
        return frozenset({Action.RETRY})
    return frozenset({Action.CANCEL}) if Signal.CANCEL_SEEN in NEXT[state_of(run)] else frozenset()


# --- A held run --------------------------------------------------------------------------------------------------


def judge(score: float, *, attempt: int, max_attempts: int, pass_threshold: float) -> Signal:
    """Turn a score in 0..1 into what it means for the run."""
    if score >= pass_threshold:
        return Signal.SCORE_PASSED
    return Signal.SCORE_LOW if attempt < max_attempts else Signal.ATTEMPTS_SPENT


def advance(run: Run, outcome: Outcome, *, output_suffix: str = ".md") -> Change:
    """Decide what one finished stage of a held run writes: its artifact, its events and both ways to go on."""
    match outcome:
        case Produced():
            return _produced(run, outcome, output_suffix)
        case Evaluated(evaluation):
            return _evaluated(run, evaluation)
        case Errored(message):
            return _errored(run, message)
    assert_never(outcome)


def judge_again(run: Run, evaluation: Evaluation) -> Change:
    """Decide what a stored evaluation means whose run did not go on, as :func:`advance` would have."""
    return _judged(run, evaluation.score)


def log(run: Run, events: Iterable[NewEvent]) -> Change:
    """Add events to a held run and change nothing else, cancel request or not."""
    assert run.current_stage is not None
    stay = Next(status=run.status, stage=run.current_stage, attempt=run.current_attempt)
    return Change(
        run=run,
        then=stay,
        cancelled=stay,
        events=tuple(events),
        final_score=run.final_score,
        best_attempt=run.best_attempt,
    )


def release(run: Run, reason: str) -> Change:
    """Give a held run back to the queue; its finished stages stay and the attempt is not used up."""
    told = _told("Released", RunStatus.QUEUED, reason=reason)
    return _change(run, Signal.RELEASED, told=(told,))


def cancel_seen(run: Run) -> Change:
    """End a held run as cancelled, whichever way the store finds the request."""
    cancelled = _cancelled(run)
    return Change(
        run=run, then=cancelled, cancelled=cancelled, final_score=run.final_score, best_attempt=run.best_attempt
    )


def _produced(run: Run, outcome: Produced, output_suffix: str) -> Change:
    attempt = run.current_attempt
    verb = "Revised" if run.current_stage is Stage.REVISING else "Produced"
    filename = f"attempt-{attempt}{'.json' if outcome.is_json else output_suffix}"
    artifact = NewArtifact(
        attempt=attempt,
        artifact_type=ArtifactType.OUTPUT,
        filename=filename,
        content=outcome.output,
        is_json=outcome.is_json,
    )
    stored = NewEvent(
        event_type=EventType.LOG,
        stage=run.current_stage,
        attempt=attempt,
        message=f"{verb} ({filename})",
        metadata={"filename": filename},
    )
    return _change(run, Signal.OUTPUT_MADE, artifact=artifact, events=(stored,))


def _evaluated(run: Run, evaluation: Evaluation) -> Change:
    judged = {"score": evaluation.score, "feedback": evaluation.feedback, **evaluation.rest}
    artifact = NewArtifact(
        attempt=run.current_attempt,
        artifact_type=ArtifactType.EVALUATION,
        filename=f"attempt-{run.current_attempt}.eval.json",
        content=plain.dumps(judged),
        is_json=True,
        score=evaluation.score,
    )
    scored = NewEvent(
        event_type=EventType.SCORE_UPDATE,
        stage=Stage.EVALUATING,
        attempt=run.current_attempt,
        message=f"Evaluated - Score: {evaluation.score:.2f}",
        metadata=judged,
    )
    return _judged(run, evaluation.score, artifact=artifact, events=(scored,))


def _judged(
    run: Run, score: float, *, artifact: NewArtifact | None = None, events: tuple[NewEvent, ...] = ()
) -> Change:
    signal = judge(score, attempt=run.current_attempt, max_attempts=run.max_attempts, pass_threshold=run.pass_threshold)
    told: tuple[NewEvent, ...] = ()
    if signal is Signal.SCORE_PASSED:
        told = (_told("Passed", RunStatus.PASSED, reason="score_passed", score=score),)
    elif signal is Signal.ATTEMPTS_SPENT:
        told = (_told("Failed: the attempts are used up", RunStatus.FAILED, reason="attempts_spent"),)
    best = _best(run.final_score, run.best_attempt, score, run.current_attempt)
    return _change(run, signal, artifact=artifact, events=events, told=told, best=best)


def _errored(run: Run, message: str) -> Change:
    error = NewEvent(event_type=EventType.ERROR, stage=run.current_stage, attempt=run.current_attempt, message=message)
    told = _told("Failed: a stage gave an error", RunStatus.FAILED, reason="stage_error")
    return _change(run, Signal.STAGE_FAILED, events=(error,), told=(told,), error_message=message)


_Best = tuple[float | None, int | None]


def _best(best_score: float | None, best_attempt: int | None, score: float, attempt: int) -> _Best:
    """Give the better of what was best and a new score; of equals the earlier stays."""
    if best_score is not None and best_score >= score:
        return best_score, best_attempt
    return score, attempt


def _change(
    run: Run,
    signal: Signal,
    *,
    artifact: NewArtifact | None = None,
    events: tuple[NewEvent, ...] = (),
    told: tuple[NewEvent, ...] = (),
    best: _Best | None = None,
    error_message: str | None = None,
) -> Change:
    """Pair the way that ``signal`` leads, told by ``told``, with the way that a cancel request leads."""
    state = next_state(state_of(run), signal)
    attempt = run.current_attempt + 1 if signal is Signal.SCORE_LOW else run.current_attempt
    if isinstance(state, Stage):
        then = Next(status=RunStatus.RUNNING, stage=state, attempt=attempt, events=(*told, begins(state, attempt)))
    else:
        then = Next(status=state, stage=None, attempt=attempt, error_message=error_message, events=told)
    final_score, best_attempt = (run.final_score, run.best_attempt) if best is None else best
    return Change(
        run=run,
        then=then,
        cancelled=_cancelled(run),
        artifact=artifact,
        events=events,
        final_score=final_score,
        best_attempt=best_attempt,
        finishes_stage=artifact is not None,
    )


def _cancelled(run: Run) -> Next:
    state = next_state(state_of(run), Signal.CANCEL_SEEN)
    assert state is RunStatus.CANCELLED
    return _cancelled_in(run.current_attempt)


@lru_cache(maxsize=64)
def _cancelled_in(attempt: int) -> Next:
    return Next(status=RunStatus.CANCELLED, stage=None, attempt=attempt, events=(_CANCELLED_EVENT,))


@lru_cache(maxsize=64)
def begins(stage: Stage, attempt: int) -> NewEvent:
    """The event that tells that a stage begins."""
    return NewEvent(event_type=EventType.STAGE_CHANGE, stage=stage, attempt=attempt, message=BEGINNINGS[stage])


def _told(message: str, status: RunStatus, **metadata: Any) -> NewEvent:
    return NewEvent(event_type=EventType.STAGE_CHANGE, message=message, metadata={"status": status.value, **metadata})


_CANCELLED_EVENT: Final = _told("Cancelled", RunStatus.CANCELLED, reason="cancel_requested")


# --- Claims ------------------------------------------------------------------------------------------------------


def queued(new: NewRun) -> NewEvent:
    """The first event of a run."""
    metadata: dict[str, Any] = {"status": str(RunStatus.QUEUED)}
    if new.actor is not None:
        metadata["actor"] = new.actor
    if new.retry_of is not None:
        metadata["retryOf"] = new.retry_of
    return NewEvent(event_type=EventType.STAGE_CHANGE, message="Queued", metadata=metadata)


def stored_signal(artifacts: Iterable[Artifact], max_attempts: int) -> tuple[Signal, int]:
    """Tell from the artifacts alone where a claimed run goes on: the signal, and the attempt of the stage it leads to.

    A judged last attempt means that the judgement was stored and the end was not (by another program): it is
    judged again, so it counts as an output whose evaluation is still to come.
    """
    newest: Artifact | None = None
    for artifact in artifacts:
        rank = (artifact.attempt, artifact.artifact_type is ArtifactType.EVALUATION)
        if newest is None or rank > (newest.attempt, newest.artifact_type is ArtifactType.EVALUATION):
            newest = artifact
    if newest is None:
        return Signal.NOTHING_STORED, 1
    if newest.artifact_type is ArtifactType.OUTPUT or newest.attempt >= max_attempts:
        return Signal.OUTPUT_STORED, newest.attempt
    return Signal.SCORE_STORED, newest.attempt + 1


def claimed(run: Run, artifacts: Iterable[Artifact], *, claimed_by: str) -> Next:
    """Decide what a claim of a queued run, or the take-over of a stalled one, makes of it.

    The caller has checked that the run is queued, or stalled, and that no cancel request stands. A take-over counts
    the lost runner; the last that a run may lose ends it.
    """
    take_over = run.status is RunStatus.RUNNING
    if take_over and run.lost_leases + 1 >= MAX_LOST_LEASES:
        state = next_state(state_of(run), Signal.RUNNER_LOST)
        told = _told("Failed: its runner was lost too often", status_of(state), reason="runner_lost")
        return Next(
            status=status_of(state),
            stage=None,
            attempt=run.current_attempt,
            error_message=RUNNER_LOST_MESSAGE,
            events=(told,),
        )
    signal, attempt = stored_signal(artifacts, run.max_attempts)
    stage = next_state(state_of(run), signal)
    assert isinstance(stage, Stage)
    told = (
        _told("Taken over", RunStatus.RUNNING, reason="stalled", claimedBy=claimed_by)
        if take_over
        else _told("Started", RunStatus.RUNNING, claimedBy=claimed_by)
    )
    return Next(status=RunStatus.RUNNING, stage=stage, attempt=attempt, events=(told, begins(stage, attempt)))


@attrs.frozen(kw_only=True)
class Resumption:
    """Where a held run goes on, computed from its artifacts alone."""

    run: Run
    """The run in the stage to call next, its best score taken from the artifacts."""
    output: Artifact | None = None
    """What the stage gets as ``output``: that of its own attempt when evaluating, of the one before when revising."""
    evaluation: Evaluation | None = None
    """The evaluation of the attempt before."""
    change: Change | None = None
    """Set when nothing is left to call: the end that the stored judgement means."""


def resume(run: Run, artifacts: Iterable[Artifact]) -> Resumption:
    """Find the stage that a claimed run goes on with; a finished stage is never called again."""
    kept = list(artifacts)
    outputs = {a.attempt: a for a in kept if a.artifact_type is ArtifactType.OUTPUT}
    evaluations = {a.attempt: read_evaluation(a) for a in kept if a.artifact_type is ArtifactType.EVALUATION}
    best: _Best = (None, None)
    for attempt in sorted(evaluations):
        best = _best(*best, evaluations[attempt].score, attempt)
    signal, attempt = stored_signal(kept, run.max_attempts)
    stage = _CLAIMED[signal]
    assert isinstance(stage, Stage)
    last = max(evaluations, default=0)
    if last > 0 and last >= max(outputs, default=0):
        judged = _at(run, Stage.EVALUATING, last, best)
        change = judge_again(judged, evaluations[last])
        if change.then.status.ended:
            return Resumption(run=judged, change=change)
    output = outputs.get(attempt if stage is Stage.EVALUATING else attempt - 1)
    return Resumption(run=_at(run, stage, attempt, best), output=output, evaluation=evaluations.get(attempt - 1))


def _at(run: Run, stage: Stage, attempt: int, best: _Best) -> Run:
    if (run.current_stage, run.current_attempt, run.final_score, run.best_attempt) == (stage, attempt, *best):
        return run
    final_score, best_attempt = best
    return attrs.evolve(
        run, current_stage=stage, current_attempt=attempt, final_score=final_score, best_attempt=best_attempt
    )


def read_evaluation(artifact: Artifact | NewArtifact) -> Evaluation:
    """Read an evaluation back from its artifact; one that another program spoiled counts as a score of 0."""
    value = plain.loads(artifact.content)
    if not isinstance(value, dict):
        value = {"score": value}
    score = value.pop("score", None)
    feedback = value.pop("feedback", "")
    usable = isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1
    return Evaluation(float(score) if usable else 0.0, str(feedback), rest=value)


# --- Requests ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Cancellation:
    """What a cancel request does to a run that has not ended."""

    request: bool
    """True: write the request's time, since none stands in the row."""
    events: tuple[NewEvent, ...] = ()
    end: Next | None = None
    """Set when nobody works the run: it ends at once."""


def cancel(run: Run, *, actor: str | None = None) -> Cancellation:
    """Decide what a cancel request does; asking again changes nothing unless nobody works the run any more.

    Raises:
        RunEnded: the run has passed or failed.
    """
    if run.status is RunStatus.CANCELLED:
        return Cancellation(request=False)
    if run.ended:
        raise RunEnded(run.id, run.status)
    request = run.cancel_requested_at is None
    asked = NewEvent(
        event_type=EventType.LOG,
        stage=run.current_stage,
        message="Cancel requested",
        metadata={"actor": actor} if actor is not None else None,
    )
    nobody = run.status is RunStatus.QUEUED or run.stalled
    return Cancellation(request=request, events=(asked,) if request else (), end=_cancelled(run) if nobody else None)


def retry(run: Run, *, actor: str | None = None, idempotency_key: str | None = None) -> NewRun:
    """Give the new run that retries an ended one: the same agent, inputs and limits.

    Raises:
        RunNotEnded: the run is queued or running.
    """
    if not run.ended:
        raise RunNotEnded(run.id, run.status)
    return NewRun(
        agent_name=run.agent_name,
        inputs=run.inputs,
        max_attempts=run.max_attempts,
        pass_threshold=run.pass_threshold,
        retry_of=run.id,
        actor=actor,
        idempotency_key=idempotency_key,
    )
