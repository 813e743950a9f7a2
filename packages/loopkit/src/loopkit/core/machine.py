"""State machine of a run: one table of transitions, and pure functions over frozen values that read it.

Whatever happens to a run is first expressed as a :class:`Signal`; :data:`NEXT` says to which state a signal leads.
Rules:

* A state and a signal without a cell in the table are impossible. An ended state has no row.
* A condition on numbers (score, attempts, lost leases) becomes a signal before the table is read.
* An evaluator that fails is ``STAGE_FAILED``, never a score.
* A store decides nothing itself: it applies the decision atomically. Tests check the status conditions in SQL against
  :func:`statuses_allowing`.

The name of a function says what it returns: ``..._signal`` a signal, ``..._event`` an event of the journal,
``..._change`` a write to a held run, ``decide_...`` what a claim or a request does.

Worked example, an evaluator's score of 0.9 for a run in ``evaluating`` with a threshold of 0.8: :func:`advance`
asks :func:`score_signal`, which returns ``SCORE_PASSED``; ``NEXT[evaluating][SCORE_PASSED]`` is ``passed``. The change
holds the evaluation as an artifact, the event with the score, the next state ``passed`` with its event, and, for the
case that the store finds a cancel request in the row, the next state ``cancelled`` with its own event.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, assert_never

from loopkit.core import strict_json
from loopkit.core.attempts import Best, PastAttempt, better_score, equal_attempt, is_flat, with_artifact
from loopkit.core.journal import (
    Artifact,
    ArtifactType,
    Change,
    EventType,
    NewArtifact,
    NewEvent,
    Next,
    make_artifact,
    make_change,
    make_next,
    output_event,
    queued_event,
    score_event,
    stage_event,
    status_event,
)
from loopkit.core.ledger.budget import NO_BUDGET, Budget, spent_sentence
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.ledger.spent import NOTHING_SPENT, Spent
from loopkit.core.ledger.sums import NO_SPENDING, Spending
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.panel.verdict import Verdict
from loopkit.core.policy import policy_of
from loopkit.core.run import EndReason, Run, RunStatus, Stage
from loopkit.errors import IllegalTransition

__all__ = [
    "NEXT",
    "Best",
    "Signal",
    "State",
    "advance",
    "better_score",
    "cancelled_change",
    "cancelled_next",
    "decide_claim",
    "judgement_change",
    "log_change",
    "lost_message",
    "next_state",
    "queued_event",
    "released_change",
    "score_signal",
    "stage_event",
    "state_of",
    "status_of",
    "statuses_allowing",
    "stored_signal",
]


class Signal(StrEnum):
    """Something that happened to a run."""

    NOTHING_STORED = "nothing stored"
    """Claimed or taken over; no output of the run is stored."""
    OUTPUT_STORED = "output stored"
    """Claimed or taken over; the newest output is not yet evaluated (or its evaluation ends the run)."""
    SCORE_STORED = "score stored"
    """Claimed or taken over; the newest output is evaluated and a revision follows."""
    DRAFT_DUE = "draft due"
    """The newest output is evaluated and another draft follows: claimed or taken over, or just evaluated."""
    OUTPUT_MADE = "output made"
    OUTPUT_REPEATED = "output repeated"
    """A revision equals an earlier output, and the policy ends the run then."""
    SCORE_PASSED = "score passed"
    SCORE_LOW = "score low"
    BUDGET_SPENT = "budget spent"
    """Low, and a limit of the policy's budget is reached."""
    SCORE_FLAT = "score flat"
    """Low, and as many revisions in a row were no better as the policy allows."""
    ATTEMPTS_SPENT = "attempts spent"
    STAGE_FAILED = "stage failed"
    CANCEL_SEEN = "cancel seen"
    RELEASED = "released"
    RUNNER_LOST = "runner lost"
    """Lost its runner for the last time that its policy allows."""


State = RunStatus | Stage
"""``queued``, one of the stages while running, or the status in which the run ended."""

_CLAIMED: Final[Mapping[Signal, State]] = {
    Signal.NOTHING_STORED: Stage.PRODUCING,
    Signal.OUTPUT_STORED: Stage.EVALUATING,
    Signal.SCORE_STORED: Stage.REVISING,
    Signal.DRAFT_DUE: Stage.PRODUCING,
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
    Signal.BUDGET_SPENT: RunStatus.FAILED,
    Signal.SCORE_FLAT: RunStatus.FAILED,
    Signal.ATTEMPTS_SPENT: RunStatus.FAILED,
}

NEXT: Final[Mapping[State, Mapping[Signal, State]]] = {
    RunStatus.QUEUED: {**_CLAIMED, Signal.CANCEL_SEEN: RunStatus.CANCELLED},
    Stage.PRODUCING: _MAKING,
    Stage.EVALUATING: _JUDGING,
    Stage.REVISING: {**_MAKING, Signal.OUTPUT_REPEATED: RunStatus.FAILED},
}
"""All transitions. ``passed``, ``failed`` and ``cancelled`` have no row: nothing changes an ended run."""


def next_state(state: State, signal: Signal) -> State:
    """Return the state that ``signal`` leads to.

    Raises:
        IllegalTransition: the table has no such cell.
    """
    try:
        return NEXT[state][signal]
    except KeyError:
        raise IllegalTransition(str(state), str(signal)) from None


def state_of(run: Run) -> State:
    """Return the state of a run; one that another program holds may have no stage and counts as producing."""
    if run.status is RunStatus.RUNNING:
        return run.current_stage or Stage.PRODUCING
    return run.status


def status_of(state: State) -> RunStatus:
    """Return the status that a run's row shows in ``state``."""
    return RunStatus.RUNNING if isinstance(state, Stage) else state


def statuses_allowing(signal: Signal) -> frozenset[RunStatus]:
    """Return the statuses in which ``signal`` has a cell; a store must accept it in exactly these."""
    return frozenset(status_of(state) for state, row in NEXT.items() if signal in row)


def score_signal(run: Run, score: float, attempts: Sequence[PastAttempt] = (), spent: Spent = NOTHING_SPENT) -> Signal:
    """Convert the score of the current attempt, 0.0..1.0, into its signal.

    ``attempts``, those so far with the current one as the last, are for ``patience``, ``spent`` is for a budget.
    """
    if score >= run.pass_threshold:
        return Signal.SCORE_PASSED
    policy = policy_of(run.policy)
    if policy.budget is not NO_BUDGET and _spent_sentence(run, policy.budget, spent) is not None:
        return Signal.BUDGET_SPENT
    if is_flat(policy, attempts):
        return Signal.SCORE_FLAT
    if run.current_attempt >= run.max_attempts:
        return Signal.ATTEMPTS_SPENT
    return Signal.DRAFT_DUE if run.current_attempt < policy.drafts else Signal.SCORE_LOW


def _spent_sentence(run: Run, budget: Budget, spent: Spent) -> str | None:
    return spent_sentence(budget, run.spending.plus(spent.spending), spent.unknowns)


def advance(
    run: Run,
    outcome: Outcome,
    *,
    output_suffix: str = ".md",
    attempts: Sequence[PastAttempt] = (),
    spent: Spent = NOTHING_SPENT,
) -> Change:
    """Build the change for a finished stage of a held run: its artifact, its events and both next states.

    ``attempts``: what is stored of the attempts so far; a policy with ``stop`` needs it.
    ``spent``: what was spent since the run's last write, which the change books.
    """
    match outcome:
        case Produced():
            return _produced_change(run, outcome, output_suffix, attempts, spent)
        case Evaluated(evaluation):
            return _evaluated_change(run, evaluation, attempts, spent)
        case Errored():
            return _errored_change(run, outcome, spent)
    assert_never(outcome)


def judgement_change(run: Run, attempts: Sequence[PastAttempt], spent: Spent = NOTHING_SPENT) -> Change:
    """Build the rest of a change of which only the evaluation was stored, as :func:`advance` builds it."""
    evaluation = attempts[-1].evaluation
    assert evaluation is not None
    return _scored_change(run, evaluation.score, attempts, spent)


def log_change(
    run: Run,
    events: Iterable[NewEvent],
    *,
    calls: Iterable[ModelCall] = (),
    verdicts: Iterable[Verdict] = (),
    spending: Spending = NO_SPENDING,
) -> Change:
    """Build a change that adds these to a held run and nothing else, with or without a cancel request."""
    assert run.current_stage is not None
    stay = Next(status=run.status, stage=run.current_stage, attempt=run.current_attempt)
    return Change(
        run=run,
        then=stay,
        cancelled=stay,
        events=tuple(events),
        final_score=run.final_score,
        best_attempt=run.best_attempt,
        calls=tuple(calls),
        verdicts=tuple(verdicts),
        spending=spending,
    )


def released_change(run: Run, reason: str) -> Change:
    """Build the change that returns a held run to the queue: finished stages stay, the attempt is not used up."""
    released = status_event("Released", RunStatus.QUEUED, reason=reason)
    return _change(run, Signal.RELEASED, status_events=(released,))


def cancelled_change(run: Run) -> Change:
    """Build the change that ends a held run as cancelled, whether or not the store finds a cancel request."""
    cancelled = cancelled_next(run)
    return Change(
        run=run,
        then=cancelled,
        cancelled=cancelled,
        final_score=run.final_score,
        best_attempt=run.best_attempt,
    )


def _produced_change(
    run: Run, outcome: Produced, output_suffix: str, attempts: Sequence[PastAttempt], spent: Spent
) -> Change:
    attempt = run.current_attempt
    filename, stored_event = output_event(run.current_stage, attempt, ".json" if outcome.is_json else output_suffix)
    artifact = make_artifact(
        attempt=attempt,
        artifact_type=ArtifactType.OUTPUT,
        filename=filename,
        content=outcome.output,
        is_json=outcome.is_json,
    )
    if run.current_stage is Stage.REVISING and policy_of(run.policy).stop.repeat:
        equal = equal_attempt(attempts, outcome.output, is_json=outcome.is_json)
        if equal is not None:
            sentence = f"the revision of attempt {attempt} repeats the output of attempt {equal.number}"
            return _ended_change(
                run, Signal.OUTPUT_REPEATED, EndReason.REPEATED_OUTPUT, sentence, artifact, (stored_event,), spent
            )
    return _change(run, Signal.OUTPUT_MADE, artifact=artifact, events=(stored_event,), spent=spent)


def _ended_change(
    run: Run,
    signal: Signal,
    reason: EndReason,
    sentence: str,
    artifact: NewArtifact | None,
    events: tuple[NewEvent, ...],
    spent: Spent,
    best: Best | None = None,
) -> Change:
    """Build the change that ends a run as its policy says; ``sentence`` becomes its error message."""
    failed = status_event(f"Failed: {sentence}", RunStatus.FAILED, reason=reason.value)
    return _change(
        run,
        signal,
        artifact=artifact,
        events=events,
        status_events=(failed,),
        best=best,
        error_message=f"{sentence} ({reason})",
        spent=spent,
    )


def _evaluated_change(run: Run, evaluation: Evaluation, attempts: Sequence[PastAttempt], spent: Spent) -> Change:
    attempt, score = run.current_attempt, evaluation.score
    document = {"score": score, "feedback": evaluation.feedback, **evaluation.rest}
    content = strict_json.dumps(document)
    artifact = make_artifact(
        attempt=attempt,
        artifact_type=ArtifactType.EVALUATION,
        filename=f"attempt-{attempt}.eval.json",
        content=content,
        is_json=True,
        score=score,
    )
    if attempts and policy_of(run.policy).stop.patience is not None:
        attempts = with_artifact(attempts, artifact, evaluation)
    return _scored_change(
        run, score, attempts, spent, artifact=artifact, events=(score_event(attempt, document, content),)
    )


def _scored_change(
    run: Run,
    score: float,
    attempts: Sequence[PastAttempt],
    spent: Spent,
    *,
    artifact: NewArtifact | None = None,
    events: tuple[NewEvent, ...] = (),
) -> Change:
    signal = score_signal(run, score, attempts, spent)
    best = better_score(run.final_score, run.best_attempt, score, run.current_attempt)
    if signal is Signal.BUDGET_SPENT:
        sentence = _spent_sentence(run, policy_of(run.policy).budget, spent) or ""
        return _ended_change(run, signal, EndReason.BUDGET_EXHAUSTED, sentence, artifact, events, spent, best)
    if signal is Signal.SCORE_FLAT:
        patience = policy_of(run.policy).stop.patience
        sentence = f"the last {patience} revisions were no better" if patience != 1 else "the revision was no better"
        return _ended_change(run, signal, EndReason.PLATEAU, sentence, artifact, events, spent, best)
    status_events: tuple[NewEvent, ...] = ()
    if signal is Signal.SCORE_PASSED:
        status_events = (status_event("Passed", RunStatus.PASSED, reason=EndReason.SCORE_PASSED.value, score=score),)
    elif signal is Signal.ATTEMPTS_SPENT:
        reason = EndReason.ATTEMPTS_SPENT.value
        status_events = (status_event("Failed: the attempts are used up", RunStatus.FAILED, reason=reason),)
    return _change(run, signal, artifact=artifact, events=events, status_events=status_events, best=best, spent=spent)


def _errored_change(run: Run, outcome: Errored, spent: Spent) -> Change:
    error = NewEvent(
        event_type=EventType.ERROR,
        stage=run.current_stage,
        attempt=run.current_attempt,
        message=outcome.message,
        metadata=outcome.details,
    )
    failed = status_event("Failed: a stage gave an error", RunStatus.FAILED, reason=EndReason.STAGE_ERROR.value)
    return _change(
        run, Signal.STAGE_FAILED, events=(error,), status_events=(failed,), error_message=outcome.message, spent=spent
    )


def _change(
    run: Run,
    signal: Signal,
    *,
    artifact: NewArtifact | None = None,
    events: tuple[NewEvent, ...] = (),
    status_events: tuple[NewEvent, ...] = (),
    best: Best | None = None,
    error_message: str | None = None,
    spent: Spent = NOTHING_SPENT,
) -> Change:
    """Build a change with both next states: where ``signal`` leads, and where a cancel request leads.

    ``events`` are written in either case, ``status_events`` only when the run ends or is released.
    """
    state = next_state(state_of(run), signal)
    attempt = run.current_attempt
    if signal is Signal.SCORE_LOW or signal is Signal.DRAFT_DUE:
        attempt += 1
    if isinstance(state, Stage):
        then = _stage_next(state, attempt)
    else:
        then = make_next(status=state, stage=None, attempt=attempt, error_message=error_message, events=status_events)
    final_score, best_attempt = (run.final_score, run.best_attempt) if best is None else best
    return make_change(
        run=run,
        then=then,
        cancelled=_cancelled_at(run.current_attempt),
        artifact=artifact,
        events=events,
        final_score=final_score,
        best_attempt=best_attempt,
        finishes_stage=artifact is not None,
        calls=spent.calls,
        spending=spent.spending,
    )


@lru_cache(maxsize=256)
def _stage_next(stage: Stage, attempt: int) -> Next:
    """Return the state of a run that begins a stage."""
    return Next(status=RunStatus.RUNNING, stage=stage, attempt=attempt, events=(stage_event(stage, attempt),))


def cancelled_next(run: Run) -> Next:
    """Return the state of a run that ends as cancelled."""
    state = next_state(state_of(run), Signal.CANCEL_SEEN)
    assert state is RunStatus.CANCELLED
    return _cancelled_at(run.current_attempt)


@lru_cache(maxsize=256)
def _cancelled_at(attempt: int) -> Next:
    return Next(status=RunStatus.CANCELLED, stage=None, attempt=attempt, events=(_CANCELLED_EVENT,))


_CANCELLED_EVENT: Final = status_event("Cancelled", RunStatus.CANCELLED, reason=EndReason.CANCEL_REQUESTED.value)


def stored_signal(artifacts: Iterable[Artifact], max_attempts: int, drafts: int = 1) -> tuple[Signal, int]:
    """Return the signal that a run's artifacts mean for a claim, and the attempt of the stage it leads to.

    When the last attempt has an evaluation, the evaluation was stored and the end was not (by another program). The
    end is decided again, so the attempt counts as an output that is not yet evaluated.
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
    return Signal.DRAFT_DUE if newest.attempt < drafts else Signal.SCORE_STORED, newest.attempt + 1


def lost_message(losses: int) -> str:
    """Return the error message of a run that lost its runner for the last time that its policy allows."""
    return f"its runner was lost {losses} times in a row (runner_lost)"


def decide_claim(run: Run, artifacts: Iterable[Artifact], *, claimed_by: str) -> Next:
    """Decide the next state of a queued run that is claimed, or of a stalled one that is taken over.

    The caller has checked that the run is queued or stalled and that its row has no cancel request. A take-over counts
    one lost runner; the last one that a run may lose ends it.
    """
    take_over, policy = run.status is RunStatus.RUNNING, policy_of(run.policy)
    if take_over and 0 < policy.max_losses <= run.lost_leases + 1:
        state = next_state(state_of(run), Signal.RUNNER_LOST)
        failed = status_event(
            "Failed: its runner was lost too often", status_of(state), reason=EndReason.RUNNER_LOST.value
        )
        return Next(
            status=status_of(state),
            stage=None,
            attempt=run.current_attempt,
            error_message=lost_message(policy.max_losses),
            events=(failed,),
        )
    signal, attempt = stored_signal(artifacts, run.max_attempts, policy.drafts)
    stage = next_state(state_of(run), signal)
    assert isinstance(stage, Stage)
    claimed = (
        status_event("Taken over", RunStatus.RUNNING, reason="stalled", claimedBy=claimed_by)
        if take_over
        else status_event("Started", RunStatus.RUNNING, claimedBy=claimed_by)
    )
    return Next(status=RunStatus.RUNNING, stage=stage, attempt=attempt, events=(claimed, stage_event(stage, attempt)))
