"""Status of a run as the pages show it: symbol, text and colour. The list and the run's page use the same."""

from enum import StrEnum

import attrs

from loopkit.core.run import Run, RunStatus

__all__ = ["Status", "StatusKind", "Tone", "status_kind", "status_of"]


class StatusKind(StrEnum):
    """Symbols of a status: those of :class:`RunStatus`, and two states of a running run."""

    QUEUED = "queued"
    RUNNING = "running"
    STALLED = "stalled"
    CANCELLING = "cancelling"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Tone(StrEnum):
    """Colours of a statement or a tag; they are CSS classes."""

    NEUTRAL = ""
    LIVE = "live"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@attrs.frozen(kw_only=True)
class Status:
    """Status of one run."""

    kind: StatusKind
    text: str
    attempt: int
    """The current attempt; the symbol of a running run has one arc for each."""
    max_attempts: int


def status_kind(run: Run) -> StatusKind:
    """Return the symbol for a run's status."""
    if run.stalled:
        return StatusKind.STALLED
    if run.status is RunStatus.RUNNING and run.cancel_requested_at is not None:
        return StatusKind.CANCELLING
    return StatusKind(run.status.value)


def status_of(run: Run) -> Status:
    """Return a run's status as it is shown."""
    return Status(kind=status_kind(run), text=run.headline, attempt=run.current_attempt, max_attempts=run.max_attempts)
