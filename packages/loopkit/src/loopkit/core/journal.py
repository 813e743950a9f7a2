"""Journal of a run: its events, its artifacts, and the change that one write makes to it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import attrs

from loopkit.core import strict_json
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.ledger.sums import NO_SPENDING, SUM_NAMES, Spending, sum_of_costs, sum_of_seconds
from loopkit.core.panel.verdict import Verdict
from loopkit.core.run import NewRun, Run, RunStatus, Stage
from loopkit.core.values import TextEnum, maker, replacer, value

__all__ = [
    "MAX_EVENT_ID",
    "Artifact",
    "ArtifactInfo",
    "ArtifactType",
    "Change",
    "EventType",
    "JournalNews",
    "NewArtifact",
    "NewEvent",
    "Next",
    "RunEvent",
]

MAX_EVENT_ID: Final = 2**63 - 1
"""Largest id that an event can have: ids are 64-bit integers in every database."""


class EventType(TextEnum):
    """Kind of an event."""

    STAGE_CHANGE = "stage_change"
    LOG = "log"
    SCORE_UPDATE = "score_update"
    ERROR = "error"


class ArtifactType(TextEnum):
    """Kind of an artifact: the output of its attempt, or the evaluation of that output."""

    OUTPUT = "output"
    EVALUATION = "evaluation"


@value(kw_only=True)
class NewEvent:
    """Event to be written; the store adds its id and time."""

    event_type: EventType
    stage: Stage | None = None
    attempt: int | None = None
    """None stands for the run's current attempt at the time of the write."""
    message: str
    metadata: Mapping[str, Any] | None = None
    metadata_json: str | None = attrs.field(default=None, eq=False, repr=False)
    """Text of ``metadata`` as JSON where it is known already."""

    @property
    def stored_metadata(self) -> str | None:
        """Text of ``metadata`` as it is stored; None without metadata."""
        if self.metadata is None or self.metadata_json is not None:
            return self.metadata_json
        return strict_json.dumps(self.metadata)


make_event: Final = maker(NewEvent)


@value(kw_only=True)
class RunEvent:
    """Event in a run's journal; it is never changed."""

    id: int
    """Grows within a run; the events of a run become visible in the order of their ids."""
    run_id: str
    event_type: EventType
    stage: Stage | None = None
    attempt: int | None = None
    message: str | None = None
    metadata: Mapping[str, Any] | None = None
    created_at: datetime
    is_cut: bool = False
    """True when only the beginning of its message or metadata was read."""


@value(kw_only=True)
class NewArtifact:
    """Result of a finished stage, to be written; the store adds its id and time."""

    attempt: int
    artifact_type: ArtifactType
    filename: str
    content: str
    is_json: bool = False
    """True when the stage returned a mapping or list; ``content`` is then its JSON text."""
    score: float | None = None
    """0.0..1.0 for an evaluation, None for an output."""


make_artifact: Final = maker(NewArtifact)


@value(kw_only=True)
class ArtifactInfo:
    """Artifact without its content."""

    id: int
    run_id: str
    attempt: int
    artifact_type: ArtifactType
    filename: str
    is_json: bool = False
    created_at: datetime


@value(kw_only=True)
class Artifact(ArtifactInfo):
    """Stored result of an attempt: its output, or its evaluation."""

    content: str
    length: int | None = None
    """Characters of the whole content when only a part of it was read, else None."""

    @property
    def info(self) -> ArtifactInfo:
        """The artifact without its content."""
        return ArtifactInfo(**{field.name: getattr(self, field.name) for field in attrs.fields(ArtifactInfo)})


@value(kw_only=True)
class Next:
    """State that a change leads to, with the events that record it."""

    status: RunStatus
    stage: Stage | None
    """None unless running."""
    attempt: int
    error_message: str | None = None
    events: tuple[NewEvent, ...] = ()

    @property
    def reason(self) -> str | None:
        """Reason in the last event that has one, such as ``score_passed``."""
        reasons = [event.metadata["reason"] for event in self.events if event.metadata and "reason" in event.metadata]
        return str(reasons[-1]) if reasons else None


make_next: Final = maker(Next)


@value(kw_only=True)
class Change:
    """One write to a held run, computed before the transaction.

    The store writes ``artifact`` and ``events``, then ``cancelled`` if the row has a cancel request, else ``then``. So
    a request that arrives before the end is written takes precedence over it.
    """

    run: Run
    """The run for which the change was computed, as the store returned it last."""
    then: Next
    """Next state without a cancel request."""
    cancelled: Next
    """Next state with a cancel request."""
    artifact: NewArtifact | None = None
    events: tuple[NewEvent, ...] = ()
    """Events written with either next state."""
    final_score: float | None = None
    """The best score after this change, 0.0..1.0; None before the first score."""
    best_attempt: int | None = None
    """The attempt with ``final_score``."""
    finishes_stage: bool = False
    """True when the change has the result of a stage; it resets the number of lost leases."""
    calls: tuple[ModelCall, ...] = ()
    """Model calls to add to the ledger, or to complete there by their ids; written with either next state."""
    verdicts: tuple[Verdict, ...] = ()
    """Verdicts to add; one that is stored already stays as it is. Written with either next state."""
    spending: Spending = NO_SPENDING
    """Amounts that the change adds to the sums of ``run``, with either next state; a store writes :attr:`sums`."""

    def booked(self, run: Run, calls: tuple[ModelCall, ...], spending: Spending) -> "Change":
        """Return the change with the calls and spending that it adds to the ledger of ``run``."""
        return _with_booking(self, run, calls, spending)

    @property
    def sums(self) -> tuple[int, int, int | None, int, float]:
        """Sums of the run after this change, in the order of the fields of :class:`Spending`.

        They are absolute, as ``final_score`` is, so a change that is written a second time adds nothing.
        """
        run, added = self.run, self.spending
        return (
            run.input_tokens + added.input_tokens,
            run.output_tokens + added.output_tokens,
            run.cost_nanos if added.cost_nanos is None else sum_of_costs(run.cost_nanos, added.cost_nanos),
            run.unpriced_calls + added.unpriced_calls,
            sum_of_seconds(run.stage_seconds, added.stage_seconds),
        )

    def written(
        self,
        *,
        cancel_requested_at: datetime | None,
        heartbeat_at: datetime | None,
        completed_at: datetime | None,
    ) -> Run:
        """Return the run as it is after this change was written, with the times that the store read or wrote."""
        run = self.run
        chosen = self.then if cancel_requested_at is None else self.cancelled
        queued, ended = chosen.status is RunStatus.QUEUED, chosen.status.ended
        return _with_state(
            run,
            chosen.status,
            chosen.stage,
            chosen.attempt,
            self.final_score,
            self.best_attempt,
            chosen.error_message if ended else run.error_message,
            None if queued else run.claimed_at,
            None if queued else run.claimed_by,
            heartbeat_at,
            cancel_requested_at,
            completed_at,
            None if queued or ended else run.lease_id,
            0 if self.finishes_stage else run.lost_leases,
            chosen.reason if ended else run.end_reason,
            *self.sums,
            False,
            None,
        )


make_change: Final = maker(Change)
_with_booking: Final = replacer(Change, "run", "calls", "spending")
_WRITTEN: Final = (
    *("status", "current_stage", "current_attempt", "final_score", "best_attempt", "error_message", "claimed_at"),
    *("claimed_by", "heartbeat_at", "cancel_requested_at", "completed_at", "lease_id", "lost_leases", "end_reason"),
    *(*SUM_NAMES, "stalled", "unreadable"),
)
"""Fields of a run that a change writes, in the order of :meth:`Change.written`."""
_with_state: Final = replacer(Run, *_WRITTEN)


@attrs.frozen(kw_only=True)
class JournalNews:
    """Events that many runs have got since a reader knew them."""

    events: Sequence[RunEvent]
    """The new events of all runs, in order of id."""
    ended: Collection[str]
    """Runs that had ended before the events were read: of these no event can follow."""
    missing: Collection[str]
    """Runs that are not stored."""
    is_complete: bool
    """False when there are more events than these; then ``events`` may end before the newest event of any run."""


BEGINNINGS: Final[Mapping[Stage, str]] = {
    Stage.PRODUCING: "Producing",
    Stage.EVALUATING: "Evaluating",
    Stage.REVISING: "Revising",
}
"""Message of the event that begins each stage."""


@lru_cache(maxsize=256)
def stage_event(stage: Stage, attempt: int) -> NewEvent:
    """Return the event that begins a stage."""
    return NewEvent(event_type=EventType.STAGE_CHANGE, stage=stage, attempt=attempt, message=BEGINNINGS[stage])


def status_event(message: str, status: RunStatus, **metadata: Any) -> NewEvent:
    """Return the event of a change of status."""
    return make_event(event_type=EventType.STAGE_CHANGE, message=message, metadata={"status": status.value, **metadata})


def queued_event(new: NewRun) -> NewEvent:
    """Return the first event of a run."""
    if new.actor is None and new.retry_of is None:
        return _QUEUED_EVENT
    metadata = dict(_QUEUED)
    if new.actor is not None:
        metadata["actor"] = new.actor
    if new.retry_of is not None:
        metadata["retryOf"] = new.retry_of
    return NewEvent(event_type=EventType.STAGE_CHANGE, message="Queued", metadata=metadata)


_QUEUED: Final = {"status": RunStatus.QUEUED.value}
_QUEUED_EVENT: Final = NewEvent(
    event_type=EventType.STAGE_CHANGE, message="Queued", metadata=_QUEUED, metadata_json=strict_json.dumps(_QUEUED)
)


@lru_cache(maxsize=256)
def output_event(stage: Stage | None, attempt: int, suffix: str) -> tuple[str, NewEvent]:
    """Return the file name of an output of a stage, and the event that records it."""
    verb = "Revised" if stage is Stage.REVISING else "Produced"
    filename = f"attempt-{attempt}{suffix}"
    metadata = {"filename": filename}
    event = NewEvent(
        event_type=EventType.LOG,
        stage=stage,
        attempt=attempt,
        message=f"{verb} ({filename})",
        metadata=metadata,
        metadata_json=strict_json.dumps(metadata),
    )
    return filename, event


def score_event(attempt: int, document: Mapping[str, Any], text: str) -> NewEvent:
    """Return the event that records an evaluation; ``text``: its document as JSON."""
    return make_event(
        event_type=EventType.SCORE_UPDATE,
        stage=Stage.EVALUATING,
        attempt=attempt,
        message=f"Evaluated - Score: {document['score']:.2f}",
        metadata=document,
        metadata_json=text,
    )
