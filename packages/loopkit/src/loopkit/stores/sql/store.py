"""The store in SQL: each verb of the protocol, composed of the modules beside this one.

The hot verbs go through two lanes: the writer's, where what waits together is written together, and the keeper's, with
a connection of its own, so that a writer that waits for a lock cannot lose a lease. Reads and the rarer writes are
plain functions of a connection, run in worker threads.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, literal, select

from loopkit.clock import SystemIds, truncate
from loopkit.core import ids as naming
from loopkit.core import machine
from loopkit.core.ids import Ids
from loopkit.core.journal import Artifact, ArtifactInfo, Change, NewArtifact, RunEvent
from loopkit.core.lease import Beat, Claimant, Lease
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import KeyReused, LeaseLost, LoopkitError, RunNotClaimable, StorageError
from loopkit.storage import AgentStats, Held, Overview, RunnerInfo, RunPage, RunQuery, Trajectory, Violation
from loopkit.stores.sql import (
    checking,
    copying,
    fleet,
    items,
    maintenance,
    moving,
    reading,
    requesting,
    rows,
    statements,
)
from loopkit.stores.sql.dialects import Database, Kind
from loopkit.stores.sql.driving import Driver, Lane, Threads
from loopkit.stores.sql.executing import LAST_WRITE, Claimed, Executor
from loopkit.stores.sql.items import Claiming, Item, Recording, Submission
from loopkit.stores.sql.tables import keys
from loopkit.stores.sql.waking import EverySecond, Waking
from loopkit.stores.sql.writing import Writer, patiently

T = TypeVar("T")

Within = Callable[[], AbstractContextManager[Connection]]
"""Gives a connection for as long as a function of it takes."""

STALLED_AFTER: Final = timedelta(seconds=120)


class SqlStore:
    """A store in a database; see :class:`loopkit.storage.Storage` for what each verb promises.

    Args:
        database: opened, its schema up to date; the store closes it.
        stalled_after: how long a holder may be silent before its run may be taken over.
        now: replaces the database's clock, in tests and simulation.
        ids: where ids and nonces come from.
        driver: what runs the writers; threads unless a simulation gives another.
        waking: where hints come from that there may be work; without it only this process gives some.
    """

    def __init__(
        self,
        database: Database,
        *,
        stalled_after: timedelta = STALLED_AFTER,
        now: Callable[[], datetime] | None = None,
        ids: Ids | None = None,
        driver: Driver | None = None,
        waking: Waking | None = None,
    ) -> None:
        self.stalled_after = stalled_after
        self._database = database
        self._now = now
        self._ids = ids or SystemIds()
        self._driver = driver or Threads()
        self._waking = waking or Waking(EverySecond())
        self._real_clock: dict[str, Any] = {"now": None, "stalled_seconds": stalled_after.total_seconds()}
        self._writing = self._lane("loopkit writer")
        self._keeping = self._lane("loopkit keeper")
        self._form = _executor(database, self._clock).form

    async def __aenter__(self) -> "SqlStore":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._driver.aclose()
        self._waking.close()
        self._database.close()

    # --- Runs that wait -----------------------------------------------------------------------------------------------

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        asked = _without_repeats(new)
        if not asked:
            return []
        item = items.submission(list(asked.values()), self._run_ids(len(asked)), self._ids.nonce(), self._form)
        made = dict(zip(asked, map(rows.run, await self._write(item)), strict=True))
        self._waking.tell()
        return [made[_sameness(place, one)] for place, one in enumerate(new)]

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None = None) -> Held:
        claim = self._claiming(claimant, run_id="", definition=definition)
        item = items.submission([new], self._run_ids(1), claim.write, self._form, claim)
        (row,) = await self._write(item)
        return await self._held_one(row[0], claimant, claim.outcome)

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        return self._held(await self._write(self._claiming(claimant, agents=agents, limit=limit)))

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        item = self._claiming(claimant, run_id=run_id, definition=definition)
        return await self._held_one(run_id, claimant, await self._write(item))

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        new = await self._read(
            requesting.retried, run_id, actor=actor, idempotency_key=idempotency_key, clock=self._clock()
        )
        (run,) = await self.submit([new])
        return run

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        return await self._change(requesting.request_cancel, run_id, actor=actor, clock=self._clock())

    # --- Runs that are held -------------------------------------------------------------------------------------------

    async def record(self, lease: Lease, change: Change) -> Run:
        row = await self._write(items.recording(lease, change, self._ids.nonce(), self._form))
        if row is None:
            raise LeaseLost(lease.run_id)
        run = row if isinstance(row, Run) else rows.written(row, change)
        if run.status is RunStatus.QUEUED:
            self._waking.tell()
        return run

    async def heartbeat(self, leases: Sequence[Lease]) -> list[Beat]:
        return await self._beat(leases, renews=True)

    async def watch(self, leases: Sequence[Lease]) -> list[Beat]:
        return await self._beat(leases, renews=False)

    # --- Reading ------------------------------------------------------------------------------------------------------

    async def get_run(self, run_id: str) -> Run:
        return await self._read(reading.get_run, run_id, self._clock())

    async def list_runs(self, query: RunQuery) -> RunPage:
        return await self._read(reading.list_runs, query, self._clock())

    async def list_events(
        self, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[RunEvent]:
        return await self._read(reading.list_events, run_id, after=after, before=before, limit=limit)

    async def list_artifacts(self, run_id: str, *, only: Collection[int] | None = None) -> list[Artifact]:
        return await self._read(reading.list_artifacts, run_id, only)

    async def describe_artifacts(self, run_id: str) -> list[ArtifactInfo]:
        return await self._read(reading.describe_artifacts, run_id)

    async def wait_for_work(self, timeout: float) -> None:
        await self._waking.wait_for_work(timeout)

    # --- Keeping, copying and showing ---------------------------------------------------------------------------------

    async def check(self) -> list[Violation]:
        return await self._read(checking.check, within=self._database.snapshot)

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        return await self._change(maintenance.prune, older_than, limit, self._clock())

    async def export_runs(self, after: str, *, limit: int = 100) -> list[Mapping[str, Any]]:
        return list(await self._read(copying.export_runs, after, limit, within=self._database.snapshot))

    async def import_runs(self, runs: Sequence[Mapping[str, Any]]) -> None:
        await self._change(copying.import_runs, runs)

    async def begin_move(self, to: str) -> None:
        """Take no writes any more, from whatever program; the error names ``to``."""
        await self._change(moving.begin_move, to)

    async def undo_move(self, to: str) -> None:
        """Take writes again, if ``begin_move(to)`` was the last word."""
        await self._change(moving.undo_move, to)

    async def end_move(self, to: str) -> None:
        """Let no loopkit open this database any more; the error names ``to``."""
        await self._change(moving.end_move, to)

    async def begin_import(self) -> None:
        """Let nobody else open this empty database until the copy in it is whole."""
        await self._change(moving.begin_import)

    async def undo_import(self) -> None:
        """Let others open it again, if it is still empty."""
        await self._change(moving.undo_import)

    async def end_import(self) -> None:
        """Let others open it: the copy is whole."""
        await self._change(moving.end_import)

    async def announce(self, runner: RunnerInfo) -> None:
        await self._change(fleet.announce, runner, self._clock())

    async def runners(self) -> list[RunnerInfo]:
        return await self._read(fleet.known_runners, self._clock())

    async def holdings(self, *, limit: int = 1000) -> list[Run]:
        return await self._read(fleet.holdings, limit, self._clock())

    async def overview(self) -> Overview:
        return await self._read(fleet.overview, self._clock())

    async def stats(self) -> list[AgentStats]:
        return await self._read(fleet.stats, self._clock())

    async def trajectories(self, run_ids: Sequence[str]) -> dict[str, Trajectory]:
        return await self._read(fleet.trajectories, run_ids)

    # --- Steps --------------------------------------------------------------------------------------------------------

    def _lane(self, name: str) -> Lane:
        writer = Writer(_executor(self._database, self._clock), self._ids, self._driver)
        return self._driver.lane(writer.perform, writer.close, name)

    def _clock(self) -> dict[str, Any]:
        """The parameters that every statement which knows the time takes."""
        if self._now is None:
            return self._real_clock
        now = truncate(self._now().astimezone(UTC))
        return self._real_clock | {"now": rows.time_parameter(self._database.writer.dialect, now)}

    def _run_ids(self, count: int) -> list[str]:
        return [naming.run_id(self._ids.run_number()) for _ in range(count)]

    def _claiming(self, claimant: Claimant, **what: Any) -> Claiming:
        return items.claiming(claimant, self._ids.nonce(), self._form, self._give_back, **what)

    def _give_back(self, outcome: Any) -> Iterable[Item]:
        """Give what releases the runs that a claim got after its caller had left."""
        if not isinstance(outcome, Claimed):
            return
        for held in self._held(outcome):
            change = machine.release(held.run, "the claim was given up")
            yield items.recording(held.lease, change, self._ids.nonce(), self._form)

    async def _write(self, item: Item) -> Any:
        outcome = await self._writing.ask(item)
        if isinstance(outcome, Exception):
            return await self._refused(item, outcome)
        return outcome

    async def _refused(self, item: Item, error: Exception) -> Any:
        """Say what it means that the database refused an item which was alone in its batch."""
        if isinstance(error, LoopkitError):
            raise error
        if isinstance(item, Submission):
            known = await self._read(_fingerprints, [key for key in item.keys if key is not None])
            for key, fingerprint in zip(item.keys, item.fingerprints, strict=True):
                if key is not None and known.get(key, fingerprint) != fingerprint:
                    raise KeyReused(key) from error
        if isinstance(item, Recording) and item.change.artifact is not None:
            return await self._stored_before(item.lease, item.change.artifact)
        raise StorageError(f"the database refused a write: {error}") from error

    async def _stored_before(self, lease: Lease, new: NewArtifact) -> Run:
        """Give a held run whose artifact is there already: the same call was made and answered by nobody.

        Raises:
            LeaseLost: it is another's; whoever claims the run next goes on from it.
        """
        row, kept = await self._read(_run_and_artifacts, lease.run_id, self._clock())
        same = any(
            (a.attempt, a.artifact_type, a.content) == (new.attempt, new.artifact_type, new.content) for a in kept
        )
        run = None if row is None else rows.run(row)
        if run is None or not same or (run.lease_id, run.fencing_token) != (lease.lease_id, lease.fencing_token):
            raise LeaseLost(lease.run_id)
        return run

    def _held(self, claimed: Claimed) -> list[Held]:
        """Give the runs that a claim got; those that it ended are left out."""
        kept: dict[str, list[Artifact]] = {}
        for artifact in map(rows.artifact, claimed.artifacts):
            kept.setdefault(artifact.run_id, []).append(artifact)
        return [
            _held(rows.run(row), _story(row), row[-1], kept.get(row[0], ()))
            for row in claimed.rows
            if _story(row) in ("started", "taken")
        ]

    async def _held_one(self, run_id: str, claimant: Claimant, claimed: Claimed) -> Held:
        if held := self._held(claimed):
            return held[0]
        run = await self.get_run(run_id)
        story = _story(claimed.rows[0]) if claimed.rows else None
        if story == "cancelled":
            await self.claim(claimant, {}, limit=0)  # the others that nobody works any more end as well
            raise RunNotClaimable(run_id, "its cancellation was requested; it is cancelled now")
        if story == "lost":
            raise RunNotClaimable(run_id, machine.RUNNER_LOST_MESSAGE)
        raise RunNotClaimable(
            run_id, f"it has ended ({run.status})" if run.ended else f"it is held by {run.claimed_by}"
        )

    async def _beat(self, leases: Sequence[Lease], *, renews: bool) -> list[Beat]:
        if not leases:
            return []
        item = items.beating(leases, self._form, renews=renews)
        outcome = await self._keeping.ask(item)
        if isinstance(outcome, Exception):
            raise outcome if isinstance(outcome, LoopkitError) else StorageError(str(outcome)) from outcome
        asked = {tuple(lease): bool(cancel) for *lease, cancel in outcome}
        return [
            Beat(
                run_id=lease.run_id,
                held=key in asked,
                cancel_requested=asked.get(key, False),
                skipped=key in asked and lease.run_id in item.skipped,
            )
            for lease in leases
            for key in [tuple(items.lease_row(lease).values())]
        ]

    async def _read(self, function: Callable[..., T], *values: Any, within: Within | None = None, **named: Any) -> T:
        return await self._run(within or self._database.reading, partial(_with, function, values, named))

    async def _change(self, function: Callable[..., T], *values: Any, **named: Any) -> T:
        """Run a function in a transaction; again after trouble, so it must change nothing the second time."""
        return await self._run(self._database.writing, partial(_with, function, values, named))

    async def _run(self, within: Within, function: Callable[[Connection], T]) -> T:
        def run() -> T:
            with within() as connection:
                return function(connection)

        return await self._driver.call(partial(patiently, run, self._ids, self._driver))


def _with(function: Callable[..., T], values: Sequence[Any], named: Mapping[str, Any], connection: Connection) -> T:
    return function(connection, *values, **named)


def _executor(database: Database, clock: Callable[[], dict[str, Any]]) -> Executor:
    """Give what writes to a database; a driver that is an extra is loaded for its own databases alone."""
    match database.kind:
        case Kind.SQLITE:
            from loopkit.stores.sql.on_sqlite import OnSqlite

            return OnSqlite(database.writer, clock)
        case Kind.POSTGRESQL:
            from loopkit.stores.sql.on_postgresql import OnPostgresql

            return OnPostgresql(database.writer, clock)
        case Kind.LIBSQL:
            from loopkit.stores.sql.on_libsql import OnLibsql

            assert database.client is not None
            return OnLibsql(database.client, clock)


def _sameness(place: int, new: NewRun) -> str | int:
    """What two of a call's runs share when they are one."""
    return place if new.idempotency_key is None else new.idempotency_key


def _without_repeats(new: Sequence[NewRun]) -> dict[str | int, NewRun]:
    """Give each run once.

    Raises:
        KeyReused: two requests that differ have the same key.
    """
    asked: dict[str | int, NewRun] = {}
    for place, one in enumerate(new):
        first = asked.setdefault(_sameness(place, one), one)
        if first is not one and naming.fingerprint(first) != naming.fingerprint(one):
            raise KeyReused(str(one.idempotency_key))
    return asked


def _story(row: Sequence[Any]) -> str:
    """What a claim made of a run, as its last write tells."""
    return str(row[LAST_WRITE]).split(".")[1]


def _held(run: Run, story: str, previous: float | None, artifacts: Iterable[Artifact]) -> Held:
    assert run.lease_id is not None
    assert run.claimed_by is not None
    return Held(
        run=run,
        lease=Lease(run_id=run.id, lease_id=run.lease_id, claimed_by=run.claimed_by, fencing_token=run.fencing_token),
        artifacts=tuple(artifacts),
        taken_over=story == "taken",
        previous_heartbeat=None if previous is None else timedelta(seconds=previous),
    )


def _fingerprints(connection: Connection, wanted: Sequence[str]) -> dict[str, str]:
    found = connection.execute(select(keys.c.key, keys.c.fingerprint).where(keys.c.key.in_(wanted)))
    return {row.key: row.fingerprint for row in found}


def _run_and_artifacts(connection: Connection, run_id: str, clock: Mapping[str, Any]) -> tuple[Any, list[Artifact]]:
    """The row of a run as the writer gives it, and its artifacts; None and none where it is not there."""
    row = connection.execute(statements.run_now(literal(run_id)), clock).first()
    return row, [] if row is None else reading.list_artifacts(connection, run_id)
