"""Batches on PostgreSQL: one pipeline a batch, so one round trip from BEGIN to COMMIT, however many items it holds.

Every statement takes its items as one JSON parameter, so its text never changes and is prepared once. Rows are locked
first, in the order of their ids, by a statement of its own: the ones after it then see what the last holder wrote.
Nothing is set for longer than the transaction, so a pooler between transactions is no trouble.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, FromClause, Select, bindparam, cast, func, null, select, true, union_all
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement

from loopkit.core import plain
from loopkit.core.journal import ArtifactType
from loopkit.core.run import RunStatus
from loopkit.stores.sql import claiming, rows, statements
from loopkit.stores.sql.executing import Batch, Claimed, claims, ids_of, landed
from loopkit.stores.sql.items import Beating, Claiming, Recording, Submission, cancelled_events
from loopkit.stores.sql.postgresql import NOTIFY
from loopkit.stores.sql.sources import INTEGER, REAL, TEXT, constant, items, many, script
from loopkit.stores.sql.tables import artifacts, keys, runs

DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]

_CHANGES: Final = items(many(statements.CHANGE, "changes"))
_ARTIFACTS: Final = items(many(statements.ARTIFACT, "artifacts"))
_EVENTS: Final = items(many(statements.EVENT, "events"))
_NEW: Final = items(many(statements.NEW, "new"))
_LEASES: Final = items(many(statements.LEASE, "leases"))
_AGENTS: Final = many(claiming.AGENT, "agents")
_ROW: Final = (*statements.run_columns(), runs.c.last_write, runs.c.event_seq)


def _text(statement: ClauseElement) -> str:
    return script(statement, DIALECT).text


def _locked(run_ids: Any) -> Select[Any]:
    return select(runs.c.id).where(runs.c.id.in_(run_ids)).order_by(runs.c.id).with_for_update(key_share=True)


def _record() -> Select[Any]:
    written = statements.go_on(_CHANGES).returning(*_ROW).cte("written")
    kept = statements.keep_artifact(_ARTIFACTS, written).cte("kept")
    told = statements.tell(_EVENTS, written).cte("told")
    return select(written).add_cte(kept, told)


def _queue() -> Select[Any]:
    place = func.row_number().over(order_by=_NEW["run_id"])
    written = statements.queue(_NEW, place).returning(*_ROW).cte("written")
    told = statements.tell(_EVENTS, written).cte("told")
    return select(written).add_cte(told)


def _take(picks: FromClause) -> Select[Any]:
    """Claim picks; see :mod:`loopkit.stores.sql.claiming`.

    A run that changed since the statement began is left for the next claim: its artifacts here may not be the newest.
    """
    pick = items(picks)
    seen = runs.alias("seen")
    unchanged = select(seen.c.event_seq).where(seen.c.id == pick["run_id"]).scalar_subquery()
    picked = claiming.resumed(pick).add_columns(unchanged.label("seen")).cte("picked")
    taken = claiming.take(picked).where(runs.c.event_seq == picked.c.seen)
    written = taken.returning(*_ROW, picked.c.number, picked.c.previous_heartbeat).cte("written")
    told = claiming.tell_claim(written).cte("told_claims")
    kept = select(func.json_agg(func.json_build_array(*rows.ARTIFACT_COLUMNS)))
    of_run = kept.where(artifacts.c.run_id == written.c.id).scalar_subquery()
    return select(written, of_run).order_by(written.c.number).add_cte(told)


def _oldest(*, skip_locked: bool) -> FromClause:
    """The runs to end for a cancel request, then the oldest of all agents, and the lock on each of them."""
    branches = []
    for waiting in claiming.waiting_queued, claiming.waiting_stalled:
        found = waiting(items(_AGENTS)).with_for_update(skip_locked=skip_locked, of=runs).lateral()
        branches.append(select(found, _AGENTS.c.definition).select_from(_AGENTS.join(found, true())))
    top = union_all(*branches).cte("top")
    order = top.c.since, top.c.id
    oldest = (
        select(
            top.c.id.label("run_id"),
            func.row_number().over(order_by=order).label("number"),
            top.c.definition,
            top.c.previous_heartbeat,
        )
        .order_by(*order)
        .limit(bindparam("limit", type_=INTEGER))
        .cte("oldest")
    )
    asked = claiming.waiting_cancelled().with_for_update(skip_locked=skip_locked).cte("asked")
    nothing = cast(null(), TEXT).label("definition"), cast(null(), REAL).label("previous_heartbeat")
    return union_all(select(asked.c.id.label("run_id"), constant(0).label("number"), *nothing), select(oldest)).cte(
        "picks"
    )


def _that() -> FromClause:
    """The one run that is asked for: by its id, or by the key that it was submitted with."""
    found = claiming.waiting_one(_THAT).cte("found")
    definition = bindparam("definition", type_=TEXT)
    return select(
        found.c.id.label("run_id"),
        constant(1).label("number"),
        definition.label("definition"),
        found.c.previous_heartbeat,
    ).cte("picks")


_THAT: Final = func.coalesce(
    select(keys.c.run_id).where(keys.c.key == bindparam("key", type_=TEXT)).scalar_subquery(),
    bindparam("run_id", type_=TEXT),
)
_RUN_IDS: Final = select(_CHANGES["run_id"])

BEGIN: Final = "BEGIN"
LIMITS: Final = (
    "SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', %(statement)s, true), "
    "set_config('idle_in_transaction_session_timeout', %(idle)s, true)"
)
LOCK: Final = _text(_locked(_RUN_IDS))
RECORD: Final = _text(_record())
KEEP_KEYS: Final = _text(statements.keep_key(_NEW, "postgresql"))
LOCK_DAY: Final = _text(statements.lock_day())
QUEUE: Final = _text(_queue())
RUN_OF_KEY: Final = _text(statements.run_of_key())
TAKE: Final = _text(_take(_oldest(skip_locked=True)))
LOCK_OLDEST: Final = _text(select(_oldest(skip_locked=False)))
LOCK_THAT: Final = _text(_locked(select(_THAT)))
TAKE_THAT: Final = _text(_take(_that()))
RENEW: Final = _text(
    statements.renew(_LEASES).where(
        runs.c.id.in_(
            select(runs.c.id)
            .where(runs.c.id.in_(select(_LEASES["run_id"])))
            .with_for_update(key_share=True, skip_locked=True)
        )
    )
)
LOOK: Final = _text(statements.look(_LEASES))
RUN_NOW: Final = _text(statements.run_now(bindparam("run_id", type_=TEXT)))
CLAIMED_BY_CALL: Final = _text(claiming.claimed_by_call())


Run = Callable[..., "psycopg.Cursor[Any]"]
"""Sends a statement and its parameters; its rows can be read when the pipeline is at its end."""
Settle = Callable[[], None]
"""Gives items their outcomes, after the commit."""


class OnPostgresql:
    """An :class:`loopkit.stores.sql.executing.Executor` of a PostgreSQL database."""

    def __init__(self, engine: Engine, clock: Callable[[], dict[str, Any]]) -> None:
        """``clock`` gives the parameters ``now`` and ``stalled_seconds``."""
        self._engine = engine
        self._clock = clock
        self._connection: psycopg.Connection[Any] | None = None

    def form(self, row: dict[str, Any]) -> str:
        return plain.dumps(row)

    def perform(self, batch: Batch) -> None:
        clock = self._clock()
        with self._transaction(clock, new_runs=sum(len(item.rows) for item in batch.submissions)) as run:
            settling: list[Settle] = []
            if batch.records:
                settling.append(self._record(run, batch.records, clock))
            if batch.submissions:
                settling.append(_submit(run, batch.submissions, clock))
            settling += [
                _take_that(run, new.claim, new.ids[0], new.keys[0], clock)
                for new in batch.submissions
                if new.claim is not None
            ]
            settling += [_claim(run, claim, clock) for claim in batch.claims]
            settling += [_beat(run, beat, clock) for beat in batch.beats]
            if _makes_work(batch):
                run(NOTIFY)
        for settle in settling:
            settle()

    def find(self, batch: Batch) -> bool:
        clock = self._clock()
        # The lost transaction may be under way still; it has ended when its locks are ours.
        with self._transaction(clock, new_runs=0) as run:
            run(LOCK, {"changes": _array(item.row for item in batch.records)})
            for claim in claims(batch):
                run(LOCK_OLDEST, {**claim.call, **clock, "agents": _array(claim.agents)})
            ids = {run_id for item in (*batch.records, *batch.submissions) for run_id in ids_of(item)}
            found = {run_id: run(RUN_NOW, {"run_id": run_id, **clock}) for run_id in ids}
            taken = {item.write: run(CLAIMED_BY_CALL, item.call) for item in claims(batch)}
        return landed(batch, lambda run_id: found[run_id].fetchone(), lambda item: _claimed(taken[item.write]))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- Steps --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, clock: dict[str, Any], *, new_runs: int) -> Iterator[Run]:
        """Give what sends statements to a transaction; at the end it is committed, and all rows are there."""
        connection = self._open()
        limits = {
            "statement": f"{5 + new_runs // 1000}s",
            "idle": f"{max(int(min(clock['stalled_seconds'] / 4, 10) * 1000), 1)}ms",
        }
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                connection.execute(LIMITS, limits)
                yield connection.execute
                done = connection.execute("COMMIT")
            if done.statusmessage != "COMMIT":
                raise psycopg.OperationalError(f"the commit was answered by {done.statusmessage}")
        except BaseException:
            self._recover(connection)
            raise

    def _record(self, run: Run, items: Sequence[Recording], clock: dict[str, Any]) -> Settle:
        told = [event for item in items for event in (*item.events, *item.then_events)]
        told += [event for item in items for event in cancelled_events(item, self.form)]
        changes = _array(item.row for item in items)
        kept = _array(item.artifact for item in items if item.artifact is not None)
        run(LOCK, {"changes": changes})
        written = run(RECORD, {"changes": changes, "artifacts": kept, "events": _array(told), **clock})

        def settle() -> None:
            rows_by_id = {row[0]: row for row in written.fetchall()}
            for item in items:
                item.outcome = rows_by_id.get(item.lease.run_id)

        return settle

    def _open(self) -> "psycopg.Connection[Any]":
        if self._connection is None:
            pooled = self._engine.raw_connection()
            connection = pooled.driver_connection
            assert isinstance(connection, psycopg.Connection)
            pooled.detach()
            connection.rollback()
            connection.autocommit = True
            if connection.prepare_threshold is not None:
                connection.prepare_threshold = 0
            self._connection = connection
        return self._connection

    def _recover(self, connection: "psycopg.Connection[Any]") -> None:
        """Undo what an error left; a connection that is not usable any more is let go of."""
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()


def _makes_work(batch: Batch) -> bool:
    """True when a run may become claimable by the batch."""
    released = any(item.change.then.status is RunStatus.QUEUED for item in batch.records)
    return released or any(item.claim is None for item in batch.submissions)


def _submit(run: Run, items: Sequence[Submission], clock: dict[str, Any]) -> Settle:
    new = [(row, numbered) for item in items for row, numbered in zip(item.rows, item.numbered, strict=True)]
    keyed = [
        (item, row, key) for item in items for row, key in zip(item.rows, item.keys, strict=True) if key is not None
    ]
    if keyed:
        run(KEEP_KEYS, {"new": _array(row for _, row, _ in keyed), **clock})
    if any(numbered for _, numbered in new):
        run(LOCK_DAY, clock)
    events = _array(event for item in items for event in item.events)
    # A number that the day's next ones follow may be among those given, so they are queued in runs of one kind.
    written = [
        run(QUEUE, {"new": _array(row for row, _ in group), "events": events, **clock})
        for _, group in groupby(new, key=lambda one: one[1])
    ]
    before = {key: run(RUN_OF_KEY, {"key": key, **clock}) for _, _, key in keyed}

    def settle() -> None:
        made = {row[0]: row for cursor in written for row in cursor.fetchall()}
        known = {key: cursor.fetchone() for key, cursor in before.items()}
        for item in items:
            item.outcome = [made.get(run_id) or known[key] for run_id, key in zip(item.ids, item.keys, strict=True)]

    return settle


def _claim(run: Run, item: Claiming, clock: dict[str, Any]) -> Settle:
    if item.run_id is not None:
        return _take_that(run, item, item.run_id, None, clock)
    taken = run(TAKE, {**item.call, **clock, "agents": _array(item.agents)})

    def settle() -> None:
        item.outcome = _claimed(taken)

    return settle


def _take_that(run: Run, item: Claiming, run_id: str, key: str | None, clock: dict[str, Any]) -> Settle:
    values = {**item.call, **clock, "run_id": run_id, "key": key}
    run(LOCK_THAT, values)
    taken = run(TAKE_THAT, values)

    def settle() -> None:
        item.outcome = _claimed(taken)

    return settle


def _beat(run: Run, item: Beating, clock: dict[str, Any]) -> Settle:
    values = {"leases": _array(item.rows), **clock}
    if item.renews:
        run(RENEW, values)
    found = run(LOOK, values)

    def settle() -> None:
        item.outcome = found.fetchall()

    return settle


def _claimed(cursor: "psycopg.Cursor[Any]") -> Claimed:
    taken = cursor.fetchall()
    kept = [artifact for *_, of_run in taken for artifact in sorted(of_run or (), key=_place)]
    return Claimed([row[:-1] for row in taken], kept)


def _place(artifact: Sequence[Any]) -> tuple[int, bool]:
    """Where an artifact stands among its run's: by attempt, an output before its evaluation."""
    return artifact[2], artifact[3] == ArtifactType.EVALUATION.value


def _array(rows: Iterable[str]) -> str:
    return f"[{','.join(rows)}]"
