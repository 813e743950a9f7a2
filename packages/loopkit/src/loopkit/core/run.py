"""A run: one execution of an agent's loop, as a value. What changes it is in :mod:`loopkit.core.machine`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import attrs

from loopkit.errors import UnusableOption

MAX_ATTEMPTS: Final = 2**31 - 1
"""What an integer column of every database holds."""


class RunStatus(StrEnum):
    """Where a run is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True when nothing will change the run any more."""
        return self in ENDED


ENDED: Final = frozenset({RunStatus.PASSED, RunStatus.FAILED, RunStatus.CANCELLED})


class Stage(StrEnum):
    """What a running run is doing."""

    PRODUCING = "producing"
    EVALUATING = "evaluating"
    REVISING = "revising"


def _check_attempts(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ATTEMPTS:
        raise UnusableOption(f"{attribute.name} must be a whole number in 1..{MAX_ATTEMPTS}")


def _check_threshold(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UnusableOption(f"{attribute.name} must be a number in 0..1")


@attrs.frozen(kw_only=True)
class NewRun:
    """A run as it is asked for, before a store gives it an id and a place in the queue.

    Raises:
        UnusableOption: a limit is no number of its kind, or out of its range.
    """

    agent_name: str
    inputs: Mapping[str, Any]
    """A plain JSON object, already checked against the agent's schema."""
    max_attempts: int = attrs.field(default=3, validator=_check_attempts)
    pass_threshold: float = attrs.field(default=0.8, validator=_check_threshold)
    cycle_id: str | None = None
    """None: the store gives the day's next, ``YYYY-MM-DD-NNN``."""
    retry_of: str | None = None
    actor: str | None = None
    """Who asked, as a person would name them; stands in the ``queued`` event."""
    idempotency_key: str | None = None
    """The same key with the same request gives the same run, however often it is sent."""


@attrs.frozen(kw_only=True)
class Run:
    """One execution of an agent's loop as the store last saw it. All times are aware UTC, in milliseconds."""

    id: str
    agent_name: str
    cycle_id: str
    status: RunStatus
    current_stage: Stage | None = None
    """Set only while running."""
    current_attempt: int = 1
    max_attempts: int
    pass_threshold: float
    final_score: float | None = None
    """The best score so far, 0..1."""
    best_attempt: int | None = None
    """The attempt that made ``final_score``, the earliest of equals."""
    error_message: str | None = None
    inputs: Mapping[str, Any]
    claimed_at: datetime | None = None
    claimed_by: str | None = None
    heartbeat_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    created_at: datetime
    retry_of: str | None = None
    stalled: bool = False
    """Running, and its holder silent for longer than the store's ``stalled_after``, by the store's clock."""
    fencing_token: int = 0
    """How often the run was claimed by loopkit; writes under an older token are refused."""
    lease_id: str | None = None
    lost_leases: int = 0
    """Takeovers in a row with no stage recorded in between."""
    definition: str | None = None
    """Digest of the agent's definition at the first claim."""

    @property
    def ended(self) -> bool:
        """True when nothing will change the run any more."""
        return self.status.ended

    @property
    def headline(self) -> str:
        """The status in a person's words: ``Queued``, ``Running (2/3)``, ``Passed (0.91)``."""
        attempts = f"({self.current_attempt}/{self.max_attempts})"
        if self.stalled:
            return f"Stalled {attempts}"
        if self.status is RunStatus.RUNNING:
            return f"{'Running' if self.cancel_requested_at is None else 'Cancelling'} {attempts}"
        if self.status in (RunStatus.PASSED, RunStatus.FAILED) and self.final_score is not None:
            return f"{self.status.title()} ({self.final_score:.2f})"
        return self.status.title()

    @property
    def last_seen_at(self) -> datetime:
        """The newest sign of life: heartbeat, else claim, else start, else creation."""
        return self.heartbeat_at or self.claimed_at or self.started_at or self.created_at


def is_stalled(run: Run, *, now: datetime, stalled_after: timedelta) -> bool:
    """True when a running run was last seen more than ``stalled_after`` before ``now``; the future counts as now."""
    return run.status is RunStatus.RUNNING and now - run.last_seen_at > stalled_after
