"""Run: one execution of an agent's loop, as a value. :mod:`loopkit.core.machine` decides how it changes."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from loopkit.core.ledger.sums import RunUsage, Spending
from loopkit.core.values import TextEnum, value
from loopkit.errors import UnusableOption

__all__ = ["ENDED", "MAX_ATTEMPTS", "EndReason", "NewRun", "Run", "RunStatus", "Stage", "is_stalled"]

MAX_ATTEMPTS: Final = 2**31 - 1
"""Largest value of an integer column in every database."""


class RunStatus(TextEnum):
    """Status of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for the statuses that never change again."""
        return self in ENDED


ENDED: Final = frozenset({RunStatus.PASSED, RunStatus.FAILED, RunStatus.CANCELLED})
"""Statuses in which a run has ended."""


class EndReason(TextEnum):
    """Why loopkit ended a run."""

    SCORE_PASSED = "score_passed"
    ATTEMPTS_SPENT = "attempts_spent"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PLATEAU = "plateau"
    REPEATED_OUTPUT = "repeated_output"
    STAGE_ERROR = "stage_error"
    CANCEL_REQUESTED = "cancel_requested"
    RUNNER_LOST = "runner_lost"

    @property
    def status(self) -> RunStatus:
        """Status of the runs that end for this reason."""
        return _STATUS_OF_REASON.get(self, RunStatus.FAILED)


_STATUS_OF_REASON: Final = {
    EndReason.SCORE_PASSED: RunStatus.PASSED,
    EndReason.CANCEL_REQUESTED: RunStatus.CANCELLED,
}


class Stage(TextEnum):
    """Stage that a running run is in."""

    PRODUCING = "producing"
    EVALUATING = "evaluating"
    REVISING = "revising"

    @property
    def key(self) -> str:
        """Key of the stage in agents.yaml: ``produce``, ``evaluate`` or ``revise``."""
        return _STAGE_KEYS[self]


_STAGE_KEYS: Final = {Stage.PRODUCING: "produce", Stage.EVALUATING: "evaluate", Stage.REVISING: "revise"}


def _check_attempts(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ATTEMPTS:
        raise UnusableOption(f"{attribute.name} must be a whole number in 1..{MAX_ATTEMPTS}")


def _check_threshold(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UnusableOption(f"{attribute.name} must be a number in 0..1")


@value(kw_only=True)
class NewRun:
    """Request for a run, before a store queues it and gives it an id.

    Raises:
        UnusableOption: ``max_attempts`` or ``pass_threshold`` is not a number, or out of its range.
    """

    agent_name: str
    inputs: Mapping[str, Any]
    """JSON object, already validated with the agent's schema."""
    max_attempts: int = attrs.field(default=3, validator=_check_attempts)
    pass_threshold: float = attrs.field(default=0.8, validator=_check_threshold)
    """Score from which an attempt passes, 0.0..1.0."""
    cycle_id: str | None = None
    """None lets the store choose the next of the day, ``YYYY-MM-DD-NNN``."""
    retry_of: str | None = None
    """Id of the ended run that this one retries."""
    actor: str | None = None
    """Name of the person or program that requested the run; stored in its first event."""
    idempotency_key: str | None = None
    """Key under which repeated equal requests are the same run."""
    request_digest: str | None = None
    """Digest by which requests with the same key are compared; see :func:`loopkit.core.ids.request_digest`.

    None: they are compared by the fields of this class.
    """
    policy: Mapping[str, Any] = attrs.field(factory=dict)
    """Stored form of the run's policy, as :meth:`loopkit.core.policy.Policy.document` returns it."""
    title: str | None = None
    """Title for people, 1..200 characters; see :mod:`loopkit.core.labels.label_text`."""
    tags: tuple[str, ...] = ()
    """Tags for people, each once; at most 20, of 1..50 characters each."""


@value(kw_only=True)
class Run:
    """One execution of an agent's loop, as the store returned it last. Times are aware, in UTC, with milliseconds."""

    id: str
    """Of a run in a list at most 1,000 characters: a longer id ends there with an ellipsis, and names no run."""
    agent_name: str
    cycle_id: str
    status: RunStatus
    current_stage: Stage | None = None
    """None unless the run is running."""
    current_attempt: int = 1
    max_attempts: int
    pass_threshold: float
    final_score: float | None = None
    """The best score so far, 0.0..1.0."""
    best_attempt: int | None = None
    """The attempt with ``final_score``, the earliest if several have it."""
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
    """True when the run is running and its holder has been silent for longer than the store's ``stalled_after``."""
    fencing_token: int = 0
    """Number of claims by loopkit; writes with an older token are refused."""
    lease_id: str | None = None
    lost_leases: int = 0
    """Number of take-overs in a row with no stage recorded in between."""
    definition: str | None = None
    """Digest of the agent's definition at the first claim."""
    policy: Any = None
    """Stored form of the run's policy: an object, or None where another program or an older loopkit made the run."""
    end_reason: str | None = None
    """Reason of the end, such as ``score_passed``; None while the run goes on, or when another program ended it."""
    title: str | None = None
    """Title for people, 1..200 characters."""
    tags: tuple[str, ...] = ()
    """Tags for people, sorted; at most 20."""
    input_tokens: int = 0
    """Tokens of the requests to models so far, those read from a cache included."""
    output_tokens: int = 0
    cost_nanos: int | None = None
    """Price of the priced model calls so far in nano-dollars (10^-9 usd); None when no call is priced."""
    unpriced_calls: int = 0
    """Model calls without a known price, unanswered ones included."""
    stage_seconds: float = 0.0
    """Wall time of the stages so far, their tries and waits included."""
    is_cut: bool = False
    """True when only the beginnings of its longest texts were read."""
    unreadable: str | None = None
    """Values of the run's row that cannot be read, as a sentence; the runner that claims the run ends it ``failed``."""

    @property
    def ended(self) -> bool:
        """True when the run will not change any more."""
        return self.status.ended

    @property
    def spending(self) -> Spending:
        """Tokens, money and time that the run has taken so far."""
        return Spending(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_nanos=self.cost_nanos,
            unpriced_calls=self.unpriced_calls,
            stage_seconds=self.stage_seconds,
        )

    @property
    def usage(self) -> RunUsage:
        """The same sums as they are shown: money in usd, time rounded to milliseconds."""
        return self.spending.usage

    @property
    def headline(self) -> str:
        """The status for people: ``Queued``, ``Running (2/3)``, ``Passed (0.91)``."""
        attempts = f"({self.current_attempt}/{self.max_attempts})"
        if self.stalled:
            return f"Stalled {attempts}"
        if self.status is RunStatus.RUNNING:
            return f"{'Running' if self.cancel_requested_at is None else 'Cancelling'} {attempts}"
        if self.status in (RunStatus.PASSED, RunStatus.FAILED) and self.final_score is not None:
            return f"{self.status.title()} ({_score_text(self.final_score, self.pass_threshold)})"
        return self.status.title()

    @property
    def last_seen_at(self) -> datetime:
        """Time of the newest sign of life: the heartbeat, else the claim, the start or the creation."""
        return self.heartbeat_at or self.claimed_at or self.started_at or self.created_at


def _score_text(score: float, mark: float) -> str:
    """Return a score with two decimals, or with as many as it takes to be on its side of the mark: 0.7999 of 0.8."""
    texts = (f"{score:.{digits}f}" for digits in range(2, 18))
    return next((text for text in texts if (float(text) >= mark) == (score >= mark)), repr(score))


def is_stalled(run: Run, *, now: datetime, stalled_after: timedelta) -> bool:
    """Return whether ``run`` is running and was last seen more than ``stalled_after`` away from ``now``.

    A heartbeat that lies in the future is no sign of life either: the clock was set back, and the holder, which would
    have written an earlier one since, is gone.
    """
    return run.status is RunStatus.RUNNING and abs(now - run.last_seen_at) > stalled_after
