"""Actions that people and programs request for a run, cancel and retry, and the reason why a claim is refused."""

from collections.abc import Mapping
from enum import StrEnum

from loopkit.core.journal import EventType, NewEvent, Next
from loopkit.core.machine import NEXT, Signal, cancelled_next, lost_message, state_of
from loopkit.core.policy import policy_of
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.core.values import value
from loopkit.errors import RunEnded, RunNotEnded

__all__ = ["Action", "Cancellation", "allowed_actions", "claim_refusal", "decide_cancel", "decide_retry"]


class Action(StrEnum):
    """Request that a person may make for a run."""

    CANCEL = "cancel"
    RETRY = "retry"


def allowed_actions(run: Run) -> frozenset[Action]:
    """Return the actions that ``run`` allows now; pages and the API offer exactly these."""
    if run.ended:
        return frozenset({Action.RETRY})
    return frozenset({Action.CANCEL}) if Signal.CANCEL_SEEN in NEXT[state_of(run)] else frozenset()


def claim_refusal(run: Run, *, ended_now: RunStatus | None = None) -> str:
    """Return the reason why a claim of ``run`` was refused.

    ``ended_now``: the status in which the claim itself ended the run; None when the claim changed nothing.
    """
    if ended_now is RunStatus.CANCELLED:
        return "its cancellation was requested; it is cancelled now"
    if ended_now is RunStatus.FAILED:
        return lost_message(policy_of(run.policy).max_losses)
    return f"it has ended ({run.status})" if run.ended else f"it is held by {run.claimed_by}"


@value(kw_only=True)
class Cancellation:
    """Effect of a cancel request on a run that has not ended."""

    request: bool
    """True when the row has no request time yet, so that the store writes one."""
    events: tuple[NewEvent, ...] = ()
    end: Next | None = None
    """Set when no runner holds the run: it ends at once."""


def decide_cancel(run: Run, *, actor: str | None = None) -> Cancellation:
    """Decide the effect of a cancel request; a repeated one only ends a run that no runner holds any more.

    Raises:
        RunEnded: the run has passed or failed.
    """
    if run.status is RunStatus.CANCELLED:
        return Cancellation(request=False)
    if run.ended:
        raise RunEnded(run.id, run.status)
    request = run.cancel_requested_at is None
    requested = NewEvent(
        event_type=EventType.LOG,
        stage=run.current_stage,
        message="Cancel requested",
        metadata={"actor": actor} if actor is not None else None,
    )
    unheld = run.status is RunStatus.QUEUED or run.stalled
    return Cancellation(
        request=request, events=(requested,) if request else (), end=cancelled_next(run) if unheld else None
    )


def decide_retry(run: Run, *, actor: str | None = None, idempotency_key: str | None = None) -> NewRun:
    """Build the new run that retries an ended one, with the same agent, inputs, limits and labels.

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
        policy=run.policy if isinstance(run.policy, Mapping) else {},
        retry_of=run.id,
        title=run.title,
        tags=run.tags,
        actor=actor,
        idempotency_key=idempotency_key,
    )
