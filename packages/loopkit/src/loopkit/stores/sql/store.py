"""The store in SQL: each verb of the protocols, delegated to the modules beneath.

The hot verbs are those of :class:`loopkit.stores.sql.writes.write_path.WritePath`. Reads and the rarer writes are plain
functions of a connection (:mod:`loopkit.stores.sql.operations`), run by
:class:`loopkit.stores.sql.writes.transactions.Transactions`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from loopkit.clock import truncate
from loopkit.core.ids import Ids
from loopkit.core.journal import Artifact, ArtifactInfo, Change, RunEvent
from loopkit.core.labels.label_change import LabelChange
from loopkit.core.lease import STALLED_AFTER, Claimant, Lease, LeaseState
from loopkit.core.ledger.calls import StoredCall
from loopkit.core.panel.verdict import Verdict
from loopkit.core.run import NewRun, Run
from loopkit.storage import (
    AgentStats,
    Held,
    JournalNews,
    KeyedRun,
    Overview,
    RunnerInfo,
    RunPage,
    RunQuery,
    Trajectory,
    Violation,
)
from loopkit.stores.sql import operations
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.wakeups.hub import PollTimer, Wakeups
from loopkit.stores.sql.writes.lanes import ThreadDriver, WriterDriver
from loopkit.stores.sql.writes.transactions import Transactions
from loopkit.system_ids import SystemIds

if TYPE_CHECKING:
    from loopkit.stores.sql.statements.parameters import ReadClock, Values
    from loopkit.stores.sql.writes.write_path import WritePath

__all__ = ["SqlStore"]


class SqlStore:
    """A store in a database; see :class:`loopkit.storage.Storage` for what each verb promises.

    Args:
        database: opened, its schema up to date; the store closes it.
        stalled_after: time without a sign of life of a run's holder after which the run may be taken over.
        now: replaces the database's clock, in tests and simulation.
        ids: source of ids and nonces.
        driver: runs the writers; threads unless a simulation passes another.
        wakeups: hints that there may be work; by default only this process gives some.
    """

    def __init__(
        self,
        database: Database,
        *,
        stalled_after: timedelta = STALLED_AFTER,
        now: Callable[[], datetime] | None = None,
        ids: Ids | None = None,
        driver: WriterDriver | None = None,
        wakeups: Wakeups | None = None,
    ) -> None:
        self.stalled_after = stalled_after
        self._database = database
        self._driver = driver or ThreadDriver()
        self._wakeups = wakeups or Wakeups(PollTimer())
        self._clock = _clock_of(database, stalled_after, now)
        self._ids = ids or SystemIds()
        self.transactions = Transactions(database, self._driver, self._ids)
        """Functions of a connection in this database, for what is no verb of a protocol."""

    async def __aenter__(self) -> "SqlStore":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._driver.aclose()
        self._wakeups.close()
        self._database.close()

    def prepare_writes(self) -> None:
        """Load what writes need, which takes longer than a read, before the first of them does."""
        _ = self._writes

    @cached_property
    def _writes(self) -> "WritePath":
        from loopkit.stores.sql.executors import executor_of
        from loopkit.stores.sql.writes.write_path import WritePath

        return WritePath(
            create_executor=lambda: executor_of(self._database, self._clock),
            driver=self._driver,
            transactions=self.transactions,
            clock=self._clock,
            ids=self._ids,
            notify=self._wakeups.notify,
        )

    # loopkit.storage.Storage, CancelRequests, Ledger, Wakeups

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        return await self._writes.submit(new)

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None = None) -> Held:
        return await self._writes.start(new, claimant, definition=definition)

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        return await self._writes.claim(claimant, agents, limit=limit)

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        return await self._writes.claim_run(claimant, run_id, definition=definition)

    async def record(self, lease: Lease, change: Change) -> Run:
        return await self._writes.record(lease, change)

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        return await self._writes.check_leases(leases, renews=True)

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        return await self._writes.check_leases(leases, renews=False)

    async def requested_cancels(self, *, limit: int = 1000) -> frozenset[str] | None:
        return await self.transactions.read(lambda c: operations.run_queries.requested_cancels(c, limit))

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        new = await self.transactions.read(
            lambda c: operations.cancel_retry.retry_of(
                c, run_id, actor=actor, idempotency_key=idempotency_key, clock=self._clock()
            )
        )
        (run,) = await self._writes.submit([new])
        return run

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        return await self.transactions.write(
            lambda c: operations.cancel_retry.request_cancel(
                c, self._database, run_id, actor=actor, clock=self._clock()
            )
        )

    async def get_run(self, run_id: str, *, max_chars: int | None = None) -> Run:
        return await self.transactions.read(
            lambda c: operations.run_queries.get_run(c, run_id, self._clock(), max_chars)
        )

    async def list_runs(self, query: RunQuery) -> RunPage:
        return await self.transactions.read(
            lambda c: operations.run_queries.list_runs(c, self._database, query, self._clock())
        )

    async def list_events(
        self,
        run_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        max_chars: int | None = None,
    ) -> list[RunEvent]:
        return await self.transactions.read(
            lambda c: operations.run_queries.list_events(
                c, run_id, after=after, before=before, limit=limit, max_chars=max_chars
            )
        )

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        return await self.transactions.read(
            lambda c: operations.run_queries.list_artifacts(c, run_id, only, start=start, max_chars=max_chars)
        )

    async def describe_artifacts(self, run_id: str) -> list[ArtifactInfo]:
        return await self.transactions.read(lambda c: operations.run_queries.describe_artifacts(c, run_id))

    async def list_calls(self, run_id: str) -> list[StoredCall]:
        return await self.transactions.read(lambda c: operations.run_queries.list_calls(c, run_id))

    async def list_verdicts(self, run_id: str, attempt: int) -> list[Verdict]:
        return await self.transactions.read(lambda c: operations.run_queries.list_verdicts(c, run_id, attempt))

    async def check(self) -> list[Violation]:
        return await self.transactions.read_snapshot(lambda c: operations.verify.check(c, self._database))

    async def wait_for_work(self, timeout: float) -> None:
        await self._wakeups.wait_for_work(timeout)

    # loopkit.storage.IdempotencyKeys, Maintenance, Copying, Labelling

    async def find_key(self, key: str) -> KeyedRun | None:
        return await self.transactions.read(lambda c: operations.run_queries.find_key(c, key, self._clock()))

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        return await self.transactions.write(lambda c: operations.prune.prune(c, older_than, limit, self._clock()))

    async def export_runs(self, after: str, *, limit: int = 100) -> list[Mapping[str, Any]]:
        return list(await self.transactions.read_snapshot(lambda c: operations.export.export_runs(c, after, limit)))

    async def import_runs(self, runs: Sequence[Mapping[str, Any]]) -> None:
        await self.transactions.write(lambda c: operations.export.import_runs(c, self._database, runs))

    async def label(self, run_id: str, change: LabelChange) -> Run:
        return await self.transactions.write(lambda c: operations.label_writes.label(c, run_id, change, self._clock()))

    # loopkit.storage.RunnerRegistry, RunStatistics, Journals, RunScores

    async def announce(self, runner: RunnerInfo) -> None:
        await self.transactions.write(lambda c: operations.runners.announce(c, self._database, runner, self._clock()))

    async def runners(self) -> list[RunnerInfo]:
        return await self.transactions.read(lambda c: operations.runners.known_runners(c, self._clock()))

    async def holdings(self, *, limit: int = 1000, max_chars: int | None = None) -> list[Run]:
        return await self.transactions.read(lambda c: operations.runners.holdings(c, limit, self._clock(), max_chars))

    async def overview(self) -> Overview:
        return await self.transactions.read(lambda c: operations.figures.overview(c, self._clock()))

    async def stats(self) -> list[AgentStats]:
        return await self.transactions.read(lambda c: operations.figures.stats(c, self._clock()))

    async def read_journals(
        self, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
    ) -> JournalNews:
        return await self.transactions.read(lambda c: operations.run_queries.read_journals(c, after, limit, max_chars))

    async def trajectories(self, run_ids: Sequence[str]) -> dict[str, Trajectory]:
        return await self.transactions.read(lambda c: operations.scores.trajectories(c, run_ids))


def _clock_of(database: Database, stalled_after: timedelta, now: Callable[[], datetime] | None) -> "ReadClock":
    """Return a function that returns the parameters of every statement with a time."""
    database_clock: Values = {"now": None, "stalled_seconds": stalled_after.total_seconds()}
    if now is None:
        return lambda: database_clock
    return lambda: database_clock | {"now": database.time_parameter(truncate(now().astimezone(UTC)))}
