"""Protocols of a store: what loopkit needs, and optional ones. The rules for all are in :mod:`loopkit.storage`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from loopkit.core.journal import Artifact, ArtifactInfo, Change, JournalNews, RunEvent
from loopkit.core.labels.label_change import LabelChange
from loopkit.core.lease import Claimant, Lease, LeaseState
from loopkit.core.ledger.calls import StoredCall
from loopkit.core.panel.verdict import Verdict
from loopkit.core.run import NewRun, Run
from loopkit.storage.stored_values import (
    AgentStats,
    Held,
    KeyedRun,
    Overview,
    RunnerInfo,
    RunPage,
    RunQuery,
    Trajectory,
    Violation,
)

__all__ = [
    "CancelRequests",
    "Copying",
    "IdempotencyKeys",
    "Journals",
    "Labelling",
    "Ledger",
    "Maintenance",
    "RunScores",
    "RunStatistics",
    "RunnerRegistry",
    "Storage",
    "Wakeups",
]


class Storage(Protocol):
    """Store of runs. The rules for all methods are in :mod:`loopkit.storage`."""

    stalled_after: timedelta
    """Time without a sign of life after which a run may be taken over, and ``Run.stalled`` is true."""

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        """Queue runs, all or none, and return them in the same order.

        * A run whose ``cycle_id`` is None gets the next of the day (UTC, by the store's clock): one more than the
          highest ``YYYY-MM-DD-NNN`` of that day, including ids from callers and from other programs.
        * A run whose idempotency key is stored already is not queued again: the first run is returned as it is now.

        Raises:
            KeyReused: an idempotency key was used before for a different request; nothing was queued.
        """
        ...

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None = None) -> Held:
        """Queue a run and claim it in one transaction, so that no other runner can claim it first.

        If the idempotency key is stored already, no run is queued; the key's run is claimed as by :meth:`claim_run`.

        Raises:
            KeyReused: the idempotency key was used before for a different request.
            RunNotClaimable: the key's run cannot be claimed.
        """
        ...

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        """Claim up to ``limit`` queued or stalled runs of the given agents, oldest first.

        * ``agents`` maps the name of each agent that the runner has to the digest of its definition. The first claim
          of a run stores the digest, and, in a row without a policy, the policy of a
          :class:`~loopkit.core.policy.Definition`.
        * Of any number of concurrent claims, exactly one gets a run. Each claim increments the fencing token and draws
          a new lease id and ``claimed_by``.
        * Before it claims, the call ends queued and stalled runs that have a cancel request, of any agent.
        * A stalled run that has lost its runner as often in a row as its policy allows (``max_losses``; three times
          without one) ends ``failed`` and is not claimed.
        """
        ...

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        """Claim the queued or stalled run with this id, as :meth:`claim` does.

        Raises:
            RunNotFound: there is no such run.
            RunNotClaimable: a live runner holds it, it has ended, or this call ended it (cancel request, runner lost).
        """
        ...

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        """Renew leases, and return for each, in order, whether it is held and whether a cancel is requested.

        * A lost lease is not renewed, and does not affect the others.
        * ``heartbeat_at`` becomes the time of the store's clock, also after that clock was set back: a heartbeat that
          lies ahead of the clock by more than ``stalled_after`` is no sign of life.
        * A store may skip the lease of a run that is being written instead of waiting; the result says so.
        """
        ...

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        """Return the same as :meth:`heartbeat`, without renewing anything."""
        ...

    async def record(self, lease: Lease, change: Change) -> Run:
        """Write one change to a held run, all of it or nothing, and renew its lease.

        * If the row has a cancel request, the next state is ``change.cancelled``, else ``change.then``.
        * A change that ends the run sets ``completed_at`` and clears ``lease_id``; ``claimed_at``, ``claimed_by`` and
          ``heartbeat_at`` stay. A change back to ``queued`` clears all four: ``lease_id``, ``claimed_at``,
          ``claimed_by`` and ``heartbeat_at``.
        * ``change.finishes_stage`` resets ``lost_leases`` to 0.
        * The run's sums become ``change.sums``. A model call with an id that the run has already completes that call,
          whose time stays; a verdict that the run has already stays as it is.
        * A repeated call after an unknown outcome writes once. Another result for a stage that has one is refused.

        Returns:
            The run as it is after the write: ``change.run`` with everything that has changed since, except its title
            and tags, which may be those of the claim.

        Raises:
            LeaseLost: another claim is newer, the run has ended, or the stage has another result; nothing was written.
            StorageUnavailable: the store did not answer; the same call may be made again, it writes once.
        """
        ...

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        """Request the cancellation of a run; end it at once when no live runner holds it (queued, stalled).

        A repeated call returns the run and changes nothing, except that it ends a run that no live runner holds any
        more.

        Raises:
            RunNotFound: there is no such run.
            RunEnded: it has passed or failed.
        """
        ...

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        """Queue a new run like an ended one, with its labels, ``retry_of`` its id, and an id and a cycle id of its own.

        Raises:
            RunNotFound: there is no such run.
            RunNotEnded: it has not ended.
            KeyReused: the idempotency key was used before for a different request.
        """
        ...

    async def get_run(self, run_id: str, *, max_chars: int | None = None) -> Run:
        """Return a run as it is now, with at most ``max_chars`` characters of each text.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def list_runs(self, query: RunQuery) -> RunPage:
        """Return a page of runs.

        Raises:
            UnusableOption: the cursor is invalid, or belongs to another order.
        """
        ...

    async def list_events(
        self,
        run_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        max_chars: int | None = None,
    ) -> list[RunEvent]:
        """Return the first ``limit`` (1..1000, clamped) events of a run with an id > ``after``, oldest first.

        With ``before``: the last ``limit`` events with an id < ``before`` (and > ``after``), still oldest first.
        With ``max_chars``: at most that many characters of each message, and of the metadata.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        """Return the artifacts of a run, by attempt, an output before its evaluation.

        With ``only``: only artifacts with one of these ids.
        With ``max_chars``: the content is the ``max_chars`` characters of the whole from ``start`` (from 0) on; where
        that is not the whole content, ``length`` is the number of its characters.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def describe_artifacts(self, run_id: str) -> list[ArtifactInfo]:
        """Return the same as :meth:`list_artifacts` without the contents, which may be large and are not read.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def check(self) -> list[Violation]:
        """Return every breach of an invariant in the stored rows; an empty list when there is none."""
        ...

    async def aclose(self) -> None:
        """Finish the calls in progress, then release every thread, connection and file. Idempotent."""
        ...


@runtime_checkable
class Wakeups(Protocol):
    """Hints that there may be work. A lost hint delays a claim by one poll interval; no run is lost."""

    async def wait_for_work(self, timeout: float) -> None:
        """Wait until a run may have become claimable, at most ``timeout`` seconds."""
        ...


@runtime_checkable
class Maintenance(Protocol):
    """Deletion of old runs."""

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        """Delete up to ``limit`` runs that ended more than ``older_than`` ago, completely, and return their ids.

        The longest ended go first. To delete all of them, call it until it returns an empty list.
        """
        ...


@runtime_checkable
class IdempotencyKeys(Protocol):
    """Look-up of idempotency keys, for callers that recognise a repeated request before they check it."""

    async def find_key(self, key: str) -> KeyedRun | None:
        """Return the run that was submitted with a key; None when there is none."""
        ...


@runtime_checkable
class RunnerRegistry(Protocol):
    """Registry of runners and of the runs they hold, for people to look at. No claim depends on it."""

    async def announce(self, runner: RunnerInfo) -> None:
        """Write the announcement of a runner, which it makes at every heartbeat and, with ``gone``, when it stops."""
        ...

    async def runners(self) -> list[RunnerInfo]:
        """Return the runners seen within the last 24 hours, newest start first."""
        ...

    async def holdings(self, *, limit: int = 1000, max_chars: int | None = None) -> list[Run]:
        """Return up to ``limit`` running runs, stalled ones included, the longest silent first.

        With ``max_chars``: at most that many characters of each text of a run.
        """
        ...


@runtime_checkable
class RunStatistics(Protocol):
    """Statistics over the runs of each agent."""

    async def overview(self) -> Overview:
        """Return the number of runs by status, and the backlog of every agent."""
        ...

    async def stats(self) -> list[AgentStats]:
        """Return bounded figures of the same agents as :meth:`overview`, by name."""
        ...


@runtime_checkable
class Journals(Protocol):
    """Journals of many runs in one call, for the live streams of a server."""

    async def read_journals(
        self, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
    ) -> JournalNews:
        """Return the events of the given runs with an id above the one given for the run, at most ``limit`` in all.

        With ``max_chars``: at most that many characters of each message, and of the metadata.
        """
        ...


@runtime_checkable
class CancelRequests(Protocol):
    """All cancel requests in one look, for runners that hold very many runs."""

    async def requested_cancels(self, *, limit: int = 1000) -> frozenset[str] | None:
        """Return the ids of the runs that have a cancel request and have not ended; None: there are more than that.

        Its cost does not grow with the number of held runs, as that of :meth:`Storage.watch` does.
        """
        ...


@runtime_checkable
class RunScores(Protocol):
    """Scores of many runs in one call, for lists of runs."""

    async def trajectories(self, run_ids: Sequence[str]) -> dict[str, Trajectory]:
        """Return the scores of up to 200 runs by run id; ids that are not stored are left out."""
        ...


@runtime_checkable
class Ledger(Protocol):
    """Model calls and verdicts of runs, as their changes wrote them."""

    async def list_calls(self, run_id: str) -> list[StoredCall]:
        """Return the model calls of a run, oldest first; those of one change in its order.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def list_verdicts(self, run_id: str, attempt: int) -> list[Verdict]:
        """Return the verdicts on the output of an attempt, by kind, name, sample and ``made_by``.

        Raises:
            RunNotFound: there is no such run.
        """
        ...


@runtime_checkable
class Labelling(Protocol):
    """Changes of the title and tags of stored runs."""

    async def label(self, run_id: str, change: LabelChange) -> Run:
        """Update the labels of a run, whatever its state, and return the run as it is then.

        * Labels are no part of the journal: no event is written, and no runner of the run notices.
        * Two changes at the same time are applied one after the other.

        Raises:
            RunNotFound: there is no such run.
            UnusableOption: the run would have too many tags; nothing is written.
        """
        ...


@runtime_checkable
class Copying(Protocol):
    """Export and import of whole runs, with their ids and journals, to move them to another store."""

    async def export_runs(self, after: str, *, limit: int = 100) -> list[Mapping[str, Any]]:
        """Return up to ``limit`` whole runs with an id > ``after``, by id, as plain values: row, events, artifacts."""
        ...

    async def import_runs(self, runs: Sequence[Mapping[str, Any]]) -> None:
        """Write exported runs, with their ids, into a store that has none of them."""
        ...
