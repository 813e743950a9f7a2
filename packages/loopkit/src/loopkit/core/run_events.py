"""Events that the state machine writes into the journal of a run."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from loopkit.core import strict_json
from loopkit.core.journal import EventType, NewEvent, make_event
from loopkit.core.run import NewRun, RunStatus, Stage

__all__ = ["BEGINNINGS", "output_event", "queued_event", "score_event", "stage_event", "status_event"]

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
