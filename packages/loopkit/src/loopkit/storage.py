"""What loopkit needs of a store. The docstrings bind every store; ``loopkit.testing.StorageSuite`` checks them.

Rules for all verbs:

* Every verb may be awaited from any thread and any event loop (asyncio or trio), many at once.
* Every write is one transaction: after an error nothing of it is there, after success all of it is durable.
* Time is the store's own clock; no caller hands in a "now".
* A verb retries transient trouble by itself, within bounds, and finds out an unknown commit's outcome by reading back
  under the lock. What is left is :class:`~loopkit.errors.StorageUnavailable`: the same call may then be made again.
* What happens to a run is decided by :mod:`loopkit.core.machine`; a store makes the decision atomic.
* Rows inserted, claimed or cancelled by other programs through plain SQL are as valid as loopkit's own.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import attrs

from loopkit.core.journal import Artifact, ArtifactInfo, Change, RunEvent
from loopkit.core.lease import Beat, Claimant, Lease
from loopkit.core.run import NewRun, Run, RunStatus

__all__ = [
    "AgentOverview",
    "AgentStats",
    "Copying",
    "Fleet",
    "Held",
    "Maintenance",
    "Order",
    "Overview",
    "RunPage",
    "RunQuery",
    "RunnerInfo",
    "Storage",
    "Trajectory",
    "Violation",
    "Wakeups",
]


@attrs.frozen(kw_only=True)
class Held:
    """A run that was just claimed, with all that is needed to go on with it."""

    run: Run
    lease: Lease
    artifacts: tuple[Artifact, ...] = ()
    """Every artifact of the run, by attempt, an output before its evaluation."""
    taken_over: bool = False
    """True when a stalled holder was replaced."""
    previous_heartbeat: timedelta | None = None
    """How often the replaced holder renewed; None where it did not say."""


class Order(StrEnum):
    """How a list of runs is sorted; equal keys by id in the same direction."""

    CREATED = "created"
    """Newest first."""
    CREATED_ASC = "created_asc"
    COMPLETED = "completed"
    """Newest end first; runs that have not ended are left out."""
    SCORE = "score"
    """Highest best score first, among the newest 1,000 matches; runs without a score are left out."""
    DURATION = "duration"
    """Longest first, among the newest 1,000 matches; runs never started are left out."""


@attrs.frozen(kw_only=True)
class RunQuery:
    """Which runs to list. Filters that are empty are none."""

    statuses: frozenset[RunStatus] = frozenset()
    agent: str | None = None
    limit: int = 50
    """1..200; a store clamps it."""
    cursor: str | None = None
    """Opaque, from the page before; made for the same order."""
    order: Order = Order.CREATED
    created_since: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    """Beginning of a run id or cycle id, or of an agent's name."""
    stalled: bool = False
    """Only stalled runs."""


@attrs.frozen(kw_only=True)
class RunPage:
    """One page of a list of runs."""

    runs: tuple[Run, ...]
    next_cursor: str | None = None
    """None on the last page."""


@attrs.frozen(kw_only=True)
class Violation:
    """One invariant that the stored rows break."""

    rule: str
    """A short name, e.g. ``seq-gapless``."""
    run_id: str | None
    detail: str


class Storage(Protocol):
    """A place where runs live. See the module's docstring for the rules that hold for all verbs."""

    stalled_after: timedelta
    """How long a holder may be silent before its run may be taken over; also what ``Run.stalled`` goes by."""

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        """Queue runs, all or none, and give them in the same order.

        A run whose ``cycle_id`` is None gets the day's next (UTC, by the store's clock): one more than the highest
        ``YYYY-MM-DD-NNN`` of that day, given and foreign ones included. A run whose idempotency key the store knows
        is not made again: the run made first is given as it is now.

        Raises:
            KeyReused: an idempotency key came before with another request; nothing was queued.
        """
        ...

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None = None) -> Held:
        """Make a run and claim it in one transaction: nobody else can get it in between.

        A run whose idempotency key the store knows is not made again; it is claimed as :meth:`claim_run` would.

        Raises:
            KeyReused: the idempotency key came before with another request.
            RunNotClaimable: the key's run cannot be claimed.
        """
        ...

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        """Claim up to ``limit`` runs of the given agents, oldest first, queued and stalled ones alike.

        ``agents`` maps the name of each agent the runner knows to the digest of its definition; the first claim of a
        run keeps the digest. Of any number of claimers exactly one wins a run. Each claim raises the fencing token
        and draws a lease and a ``claimed_by`` of its own. Before it claims, the call ends what nobody needs an agent
        for: queued and stalled runs with a cancel request, of whatever agent. A stalled run that has lost its
        runner for the third time in a row ends ``failed`` instead of being claimed.
        """
        ...

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        """Claim this run, queued or stalled, as :meth:`claim` would.

        Raises:
            RunNotFound: there is no such run.
            RunNotClaimable: a live runner holds it, it has ended, or this call ended it (cancel request, runner lost).
        """
        ...

    async def heartbeat(self, leases: Sequence[Lease]) -> list[Beat]:
        """Renew leases and tell of each, in order, whether it still holds and whether a cancel is requested.

        A lease that is lost renews nothing and takes no part of its neighbours with it. ``heartbeat_at`` never
        moves backwards. Rather than to wait for a run that is being written, a store may skip its lease and say so.
        """
        ...

    async def watch(self, leases: Sequence[Lease]) -> list[Beat]:
        """Tell the same as :meth:`heartbeat` without writing anything."""
        ...

    async def record(self, lease: Lease, change: Change) -> Run:
        """Write one change to a held run: artifact, events and the next state, all or none; renew the lease as well.

        With a cancel request in the row the run goes on as ``change.cancelled``, else as ``change.then``. A change
        that ends the run stamps ``completed_at`` and drops ``lease_id``; claimed_at, claimed_by and heartbeat_at stay.
        A change back to ``queued`` drops lease_id, claimed_at, claimed_by and heartbeat_at. ``finishes_stage``
        resets ``lost_leases``. The same call made again after an unknown outcome writes once; another result for a
        stage that has one is refused.

        Returns:
            The run as it is after the write: ``change.run`` with all that was changed since.

        Raises:
            LeaseLost: another claim is newer, the run has ended, or the stage has another result; nothing was written.
            StorageUnavailable: no answer; the same call may be made again, it writes once.
        """
        ...

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        """Ask for a run to be cancelled; end it at once where nobody works it (queued, stalled).

        Asked again it answers as the first time and changes nothing, except that a run nobody works is ended.

        Raises:
            RunNotFound: there is no such run.
            RunEnded: it has passed or failed.
        """
        ...

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        """Queue a new run like an ended one, with its own id and cycle id and ``retry_of`` the ended one.

        Raises:
            RunNotFound: there is no such run.
            RunNotEnded: it has not ended.
            KeyReused: the idempotency key came before with another request.
        """
        ...

    async def get_run(self, run_id: str) -> Run:
        """Give a run as it is now.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def list_runs(self, query: RunQuery) -> RunPage:
        """Give a page of runs.

        Raises:
            UnusableOption: the cursor is none of this order's.
        """
        ...

    async def list_events(
        self, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[RunEvent]:
        """Give events of a run with id > ``after``, oldest first, at most ``limit`` (1..1000, clamped).

        With ``before``: the last ``limit`` events with id < ``before`` (and > ``after``), still oldest first.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def list_artifacts(self, run_id: str, *, only: Collection[int] | None = None) -> list[Artifact]:
        """Give the artifacts of a run, by attempt, an output before its evaluation.

        With ``only``: those of them with one of these ids.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def describe_artifacts(self, run_id: str) -> list[ArtifactInfo]:
        """Give the same as :meth:`list_artifacts`, without the texts, which may be large and are not read.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def check(self) -> list[Violation]:
        """Give every breach of the invariants found in the stored rows; an empty list is a clean store."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way and let go of every thread, connection and file. Idempotent."""
        ...


@runtime_checkable
class Wakeups(Protocol):
    """Hints that there may be work. A lost hint costs a poll interval, never a run."""

    async def wait_for_work(self, timeout: float) -> None:
        """Return when a run may have become claimable, and after ``timeout`` seconds at the latest."""
        ...


@runtime_checkable
class Maintenance(Protocol):
    """Keeping a store small."""

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        """Delete up to ``limit`` runs that ended more than ``older_than`` ago, whole, and give their ids.

        Call again until it gives an empty list.
        """
        ...


@attrs.frozen(kw_only=True)
class RunnerInfo:
    """What a runner says of itself. Information only: no claim depends on it."""

    id: str
    """Fresh for every start of a runner."""
    name: str
    """``host:pid``."""
    version: str
    agents: tuple[str, ...]
    slots: int
    busy: int = 0
    draining: bool = False
    started_at: datetime | None = None
    """By the store's clock; None when announced, set when read."""
    seen_at: datetime | None = None
    """By the store's clock; None when announced, set when read."""
    age: timedelta | None = None
    """How long ago it was seen, by the store's clock."""
    heartbeat: timedelta = timedelta(seconds=30)
    gone: bool = False
    """It said goodbye."""


@attrs.frozen(kw_only=True)
class Trajectory:
    """The scores of one run's attempts."""

    run_id: str
    scores: tuple[tuple[int, float], ...]
    """(attempt, score), by attempt."""


@attrs.frozen(kw_only=True)
class AgentStats:
    """Figures of one agent, bounded: counts stop at 1,000, scores cover its newest 1,000 ended runs."""

    agent: str
    counts: Mapping[str, int]
    """By status, each at most 1,000 (then "1,000 or more"); ``stalled`` as well."""
    oldest_queued_at: datetime | None = None
    ended: int = 0
    """How many ended runs the figures cover."""
    passed: int = 0
    mean_score: float | None = None
    last_score: float | None = None
    mean_attempts: float | None = None
    passed_at_attempt: Mapping[int, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class AgentOverview:
    """What waits of one agent, and how it did last."""

    agent: str
    queued: int = 0
    """At most 1,000, which stands for 1,000 or more; ``stalled`` too."""
    stalled: int = 0
    oldest_queued_at: datetime | None = None
    last_score: float | None = None
    """The best score of the run that passed or failed last; None where it has none."""


@attrs.frozen(kw_only=True)
class Overview:
    """What stands above a list of runs. As quick for a million runs as for a thousand."""

    counts: Mapping[str, int]
    """Runs by status, of all agents together, each at most 1,000 (then "1,000 or more"); ``stalled`` as well."""
    agents: tuple[AgentOverview, ...]
    """Every agent that has runs, by name."""


@runtime_checkable
class Fleet(Protocol):
    """What pages show beside the runs. Nothing a claim depends on."""

    async def announce(self, runner: RunnerInfo) -> None:
        """Write what a runner says of itself; once every heartbeat, and at its end with ``gone``."""
        ...

    async def runners(self) -> list[RunnerInfo]:
        """Give the runners seen within a day, newest start first."""
        ...

    async def holdings(self, *, limit: int = 1000) -> list[Run]:
        """Give running runs, the longest silent first."""
        ...

    async def overview(self) -> Overview:
        """Count the runs by status, and tell of every agent what waits."""
        ...

    async def stats(self) -> list[AgentStats]:
        """Give bounded figures of every agent that has runs, by name."""
        ...

    async def trajectories(self, run_ids: Sequence[str]) -> dict[str, Trajectory]:
        """Give the scores of up to 200 runs."""
        ...


@runtime_checkable
class Copying(Protocol):
    """Moving a store's content to another store, ids and journal kept."""

    async def export_runs(self, after: str, *, limit: int = 100) -> list[Mapping[str, Any]]:
        """Give up to ``limit`` whole runs with id > ``after``, by id: row, events and artifacts as plain values."""
        ...

    async def import_runs(self, runs: Sequence[Mapping[str, Any]]) -> None:
        """Write exported runs into a store that holds none of them, with their ids."""
        ...
