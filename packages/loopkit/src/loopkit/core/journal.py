"""What a run leaves behind: events, artifacts, and the change that one outcome makes to all of it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from loopkit.core.run import Run, RunStatus, Stage


class EventType(StrEnum):
    """What an event tells of."""

    STAGE_CHANGE = "stage_change"
    LOG = "log"
    SCORE_UPDATE = "score_update"
    ERROR = "error"


class ArtifactType(StrEnum):
    """What an artifact is of its attempt."""

    OUTPUT = "output"
    EVALUATION = "evaluation"


@attrs.frozen(kw_only=True)
class NewEvent:
    """An event before a store numbers and stamps it."""

    event_type: EventType
    stage: Stage | None = None
    attempt: int | None = None
    """None: the run's current attempt when it is written."""
    message: str
    metadata: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class RunEvent:
    """One row of a run's journal: past, and never edited."""

    id: int
    """Grows within a run; events of a run become visible in the order of their ids."""
    run_id: str
    event_type: EventType
    stage: Stage | None = None
    attempt: int | None = None
    message: str | None = None
    metadata: Mapping[str, Any] | None = None
    created_at: datetime


@attrs.frozen(kw_only=True)
class NewArtifact:
    """The kept result of a finished stage, before a store numbers and stamps it."""

    attempt: int
    artifact_type: ArtifactType
    filename: str
    content: str
    is_json: bool = False
    """True when the stage gave a mapping or list; ``content`` is then its JSON."""
    score: float | None = None
    """0..1 for an evaluation, None for an output."""


@attrs.frozen(kw_only=True)
class ArtifactInfo:
    """What is known of an artifact without its text."""

    id: int
    run_id: str
    attempt: int
    artifact_type: ArtifactType
    filename: str
    is_json: bool = False
    created_at: datetime


@attrs.frozen(kw_only=True)
class Artifact(ArtifactInfo):
    """Kept text of an attempt: its output, or its evaluation."""

    content: str

    @property
    def info(self) -> ArtifactInfo:
        """The same without the text."""
        return ArtifactInfo(**{field.name: getattr(self, field.name) for field in attrs.fields(ArtifactInfo)})


@attrs.frozen(kw_only=True)
class Next:
    """The state a change leads to, and the events that tell of it."""

    status: RunStatus
    stage: Stage | None
    """None unless running."""
    attempt: int
    error_message: str | None = None
    events: tuple[NewEvent, ...] = ()


@attrs.frozen(kw_only=True)
class Change:
    """Everything that one write to a held run does, computed before the transaction.

    The store writes ``artifact`` and ``events``, then picks ``cancelled`` when a cancel request stands in the row
    and ``then`` otherwise: a request that is seen before the end is written wins.
    """

    run: Run
    """The run that it was decided for, as the store gave it last."""
    then: Next
    cancelled: Next
    artifact: NewArtifact | None = None
    events: tuple[NewEvent, ...] = ()
    """Written whichever way the change goes."""
    final_score: float | None = None
    """The best score after this change (None: none yet)."""
    best_attempt: int | None = None
    finishes_stage: bool = False
    """True when a stage's result is in it: the count of lost leases starts again."""

    def written(
        self,
        *,
        cancel_requested_at: datetime | None,
        heartbeat_at: datetime | None,
        completed_at: datetime | None,
    ) -> Run:
        """Give the run that a write of this leaves, with the times that the store found or wrote."""
        run = self.run
        way = self.then if cancel_requested_at is None else self.cancelled
        waits, ended = way.status is RunStatus.QUEUED, way.status.ended
        return Run(
            id=run.id,
            agent_name=run.agent_name,
            cycle_id=run.cycle_id,
            status=way.status,
            current_stage=way.stage,
            current_attempt=way.attempt,
            max_attempts=run.max_attempts,
            pass_threshold=run.pass_threshold,
            final_score=self.final_score,
            best_attempt=self.best_attempt,
            error_message=way.error_message if ended else run.error_message,
            inputs=run.inputs,
            claimed_at=None if waits else run.claimed_at,
            claimed_by=None if waits else run.claimed_by,
            heartbeat_at=heartbeat_at,
            cancel_requested_at=cancel_requested_at,
            started_at=run.started_at,
            completed_at=completed_at,
            created_at=run.created_at,
            retry_of=run.retry_of,
            fencing_token=run.fencing_token,
            lease_id=None if waits or ended else run.lease_id,
            lost_leases=0 if self.finishes_stage else run.lost_leases,
            definition=run.definition,
        )
