"""Values that a store takes and returns, beside those of :mod:`loopkit.core`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import attrs

from loopkit.core.journal import Artifact
from loopkit.core.lease import HEARTBEAT, Lease
from loopkit.core.run import EndReason, Run, RunStatus
from loopkit.core.values import value

__all__ = [
    "AgentOverview",
    "AgentStats",
    "Held",
    "KeyedRun",
    "Order",
    "Overview",
    "RunPage",
    "RunQuery",
    "RunnerInfo",
    "Trajectory",
    "Violation",
]


@value(kw_only=True)
class Held:
    """Claimed run, with everything needed to continue it."""

    run: Run
    """The run after the claim."""
    lease: Lease
    """Proof of the claim, required by every write."""
    artifacts: tuple[Artifact, ...] | None = ()
    """All artifacts of the run, by attempt, an output before its evaluation.

    None: they are too large to come with the claim; the holder reads them by ``list_artifacts``.
    """
    taken_over: bool = False
    """True when the claim replaced a stalled holder."""
    previous_heartbeat: timedelta | None = None
    """Heartbeat interval of the replaced holder; None when it is not known."""


class Order(StrEnum):
    """Sort order of a list of runs; runs with equal keys are sorted by id in the same direction."""

    CREATED = "created"
    """Newest first."""
    CREATED_ASC = "created_asc"
    """Oldest first."""
    COMPLETED = "completed"
    """Newest end first; runs that have not ended are left out."""
    SCORE = "score"
    """Highest best score first, among the newest 1,000 matches; runs without a score are left out."""
    DURATION = "duration"
    """Longest first, among the newest 1,000 matches; runs never started are left out."""


@value(kw_only=True)
class RunQuery:
    """Filters, order and page of a list of runs. An empty filter matches every run."""

    statuses: frozenset[RunStatus] = frozenset()
    agent: str | None = None
    """Name of the agent."""
    limit: int = 50
    """Runs a page, 1..200; a store clamps it."""
    cursor: str | None = None
    """``next_cursor`` of the previous page, which must have the same order."""
    order: Order = Order.CREATED
    created_since: datetime | None = None
    """Earliest creation time, inclusive."""
    created_before: datetime | None = None
    """Latest creation time, exclusive."""
    text: str | None = None
    """Beginning of a run id, a cycle id, an agent's name or a tag; or words of a title or a tag.

    Each word must begin a word of the title or tag, in upper or lower case. Among more than 5,000 runs with a title,
    or 1,000 different tags, the newest titles and the first tags are searched; titles of runs whose ids have more than
    1,000 characters are not.
    """
    stalled: bool = False
    """True lists only stalled runs."""
    tags: tuple[str, ...] = ()
    """Tags that a run must have, all of them."""
    reason: EndReason | None = None
    """Reason for which loopkit ended a run."""
    max_chars: int | None = None
    """Most characters of each text of a run; None: all."""


@value(kw_only=True)
class RunPage:
    """Page of a list of runs."""

    runs: tuple[Run, ...]
    next_cursor: str | None = None
    """None on the last page."""


@value(kw_only=True)
class Violation:
    """Breach of an invariant, found in the stored rows."""

    rule: str
    """Short name of the invariant, e.g. ``seq-gapless``."""
    run_id: str | None
    """The run concerned; None when the breach concerns no single run."""
    detail: str
    """Description of the breach, for people."""


@value(kw_only=True)
class KeyedRun:
    """Run that was submitted with an idempotency key."""

    run: Run
    """The run as it is now."""
    fingerprint: str
    """The :func:`loopkit.core.ids.fingerprint` of the request that created it."""


@value(kw_only=True)
class RunnerInfo:
    """Announcement of a runner about itself. Information only: no claim depends on it."""

    id: str
    """New for every start of a runner."""
    name: str
    """``host:pid``."""
    version: str
    """Version of loopkit."""
    agents: tuple[str, ...]
    """Names of the agents that it claims runs of."""
    slots: int
    """Runs that it can hold at once."""
    busy: int = 0
    """Runs that it holds now."""
    draining: bool = False
    """True when it was asked to stop and claims nothing more."""
    started_at: datetime | None = None
    """Time of the first announcement, by the store's clock; None when announced, set when read."""
    seen_at: datetime | None = None
    """Time of the last announcement, by the store's clock; None when announced, set when read."""
    age: timedelta | None = None
    """Time since ``seen_at``, by the store's clock; None when announced, set when read."""
    heartbeat: timedelta = HEARTBEAT
    """Interval between announcements."""
    gone: bool = False
    """True in its last announcement: it has stopped."""


@value(kw_only=True)
class Trajectory:
    """Scores of a run's attempts."""

    run_id: str
    scores: tuple[tuple[int, float], ...]
    """(attempt, score), by attempt."""


@value(kw_only=True)
class AgentStats:
    """Figures of an agent, bounded: counts stop at 1,000, scores cover its newest 1,000 ended runs."""

    agent: str
    counts: Mapping[str, int]
    """Runs by status, and ``stalled``; each at most 1,000, which means 1,000 or more."""
    oldest_queued_at: datetime | None = None
    """Creation time of the oldest queued run."""
    ended: int = 0
    """Number of ended runs that the figures below cover."""
    passed: int = 0
    """Number of passed runs."""
    mean_score: float | None = None
    """Mean of the final scores, 0.0..1.0."""
    last_score: float | None = None
    """Final score of the newest of these runs that has one."""
    mean_attempts: float | None = None
    """Mean number of attempts."""
    passed_at_attempt: Mapping[int, int] = attrs.field(factory=dict)
    """Number of passed runs by the attempt in which they passed."""


@value(kw_only=True)
class AgentOverview:
    """Backlog and latest score of an agent."""

    agent: str
    queued: int = 0
    """Queued runs, at most 1,000, which means 1,000 or more."""
    stalled: int = 0
    """Stalled runs, at most 1,000, which means 1,000 or more."""
    oldest_queued_at: datetime | None = None
    """Creation time of the oldest queued run."""
    last_score: float | None = None
    """Final score of the run that passed or failed last; None when it has none."""


@value(kw_only=True)
class Overview:
    """Summary shown above the run list. Its cost does not grow with the number of runs."""

    counts: Mapping[str, int]
    """Runs of all agents by status, and ``stalled``; each at most 1,000, which means 1,000 or more."""
    agents: tuple[AgentOverview, ...]
    """Every agent that has runs, by name; none with a name of more than 1,000 characters, which only others write."""
