"""Batches on PostgreSQL: one pipeline for each batch, so one round trip from BEGIN to COMMIT however large it is.

Every statement takes its requests as one JSON parameter, so its text never changes and is prepared once. Rows are
locked first, in the order of their ids, by a statement of their own: the ones after it then see what the last holder
wrote. No setting outlives the transaction, so a pooler between transactions does no harm.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import attrs
import psycopg
from psycopg import generators
from sqlalchemy import Engine, FromClause, Update, bindparam, case, cast, func, null, select, true, union_all
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import ScalarSelect

from loopkit.core import strict_json
from loopkit.core.run import RunStatus
from loopkit.stores.sql.databases.postgresql import NOTIFY
from loopkit.stores.sql.databases.postgresql_connection import LimitedConnection
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect
from loopkit.stores.sql.schema.tables import Json, artifacts, keys, runs
from loopkit.stores.sql.schema.timestamps import present
from loopkit.stores.sql.statements import change_rows, changes, claims, ledger_rows, readback, submissions
from loopkit.stores.sql.statements.change_rows import ChangeRows, add_change
from loopkit.stores.sql.statements.parameters import (
    INTEGER,
    REAL,
    TEXT,
    ReadClock,
    Statement,
    Values,
    as_json_records,
    as_json_rows,
    columns_of,
    compile_statement,
    constant,
)
from loopkit.stores.sql.writes.batch import Batch, all_claims
from loopkit.stores.sql.writes.requests import ClaimRuns, RecordChange, change_values
from loopkit.stores.sql.writes.set_based import (
    AddStatement,
    PendingRows,
    SetBasedExecutor,
    SetOutcomes,
    Statements,
    claimed_of,
    json_array,
)

__all__ = ["PostgresqlExecutor"]

DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]

CLAIMED_BYTES: Final = 64 * 1024
"""Most bytes of a run's artifacts that come with its claim, whose transaction is open while they are sent."""

_CHANGES: Final = columns_of(as_json_records(changes.CHANGE, "changes"))
_ARTIFACTS: Final = columns_of(as_json_records(changes.ARTIFACT, "artifacts"))
_EVENTS: Final = columns_of(as_json_records(changes.EVENT, "events"))
_NEW: Final = columns_of(as_json_records(submissions.NEW, "new"))
_LEASES: Final = columns_of(as_json_records(changes.LEASE, "leases"))
_AGENTS: Final = as_json_records(claims.AGENT, "agents")


def _compile(statement: ClauseElement) -> Statement:
    return compile_statement(statement, DIALECT)


def _lock(run_ids: AnySelect | ScalarSelect[str]) -> AnySelect:
    return select(runs.c.id).where(runs.c.id.in_(run_ids)).order_by(runs.c.id).with_for_update(key_share=True)


def _record() -> AnySelect:
    written = changes.update_run(_CHANGES).returning(*rows.WRITTEN_COLUMNS).cte("written")
    inserted_artifacts = changes.insert_artifact(_ARTIFACTS, written).cte("inserted_artifacts")
    inserted_events = changes.insert_event(_EVENTS, written).cte("inserted_events")
    return select(written).add_cte(inserted_artifacts, inserted_events)


def _record_as_meant() -> AnySelect:
    """Write changes as meant; fail if any row is not as its holder knows it, which rolls the whole batch back.

    The statement returns the time that it wrote.
    """
    written = [
        update(columns_of(as_json_rows(changes.MEANT, names, name)), present())
        .returning(runs.c.heartbeat_at)
        .cte(f"written_{name}")
        for name, update, names in (
            ("staying", changes.update_staying, change_rows.STAYING_NAMES),
            ("ended", changes.update_ended, change_rows.ENDED_NAMES),
        )
    ]
    new_artifacts = as_json_rows(changes.ARTIFACT, change_rows.ARTIFACT_NAMES, "artifacts")
    new_events = as_json_rows(changes.KNOWN_EVENT, change_rows.EVENT_NAMES, "events")
    all_written = union_all(*map(select, written)).subquery("all_written")
    are_all = cast(func.count() == bindparam("count", type_=INTEGER), INTEGER)
    return select(func.max(all_written.c.heartbeat_at), constant(1).op("/")(are_all)).add_cte(
        changes.insert_known_artifact(columns_of(new_artifacts), present()).cte("inserted_artifacts"),
        changes.insert_known_event(columns_of(new_events), present()).cte("inserted_events"),
    )


def _submit() -> AnySelect:
    place = func.row_number().over(order_by=_NEW["run_id"])
    written = submissions.insert_run(_NEW, place).returning(*readback.inserted_columns()).cte("written")
    return select(written).add_cte(changes.insert_event(_EVENTS, written).cte("inserted_events"))


def _artifacts_of(run_id: ColumnElement[str]) -> AnyColumn:
    """Return the artifacts of a run as JSON, in no order; JSON ``false`` when they are too large to come with a claim.

    The length of a text is read without its content.
    """
    too_large = func.sum(func.octet_length(artifacts.c.content)) > constant(CLAIMED_BYTES)
    array = func.json_agg(func.json_build_array(*rows.ARTIFACT_COLUMNS))
    lengths = select(too_large).where(artifacts.c.run_id == run_id).scalar_subquery()
    contents = select(array).where(artifacts.c.run_id == run_id).scalar_subquery()
    return case((lengths, cast(constant("false"), Json)), else_=contents)


def _claim(candidates: FromClause) -> AnySelect:
    """Claim candidates; see :mod:`loopkit.stores.sql.statements.claims`.

    A run that changed since the statement began is left for the next claim: its artifacts here may not be the newest.
    """
    candidate = columns_of(candidates)
    seen = runs.alias("seen")
    seen_seq = select(seen.c.event_seq).where(seen.c.id == candidate["run_id"]).scalar_subquery()
    picked = claims.with_newest_artifact(candidate).add_columns(seen_seq.label("seen")).cte("picked")
    claim = claims.claim_or_end(picked).where(runs.c.event_seq == picked.c.seen)
    returned = claim.returning(*readback.stored_columns(), picked.c.number, picked.c.previous_heartbeat)
    written = returned.cte("written")
    inserted_events = claims.insert_claim_events(written).cte("inserted_events")
    columns = [written.c[name] for name in rows.CLAIMED_NAMES]
    return select(*columns, _artifacts_of(written.c.id)).order_by(written.c.number).add_cte(inserted_events)


def _oldest(*, skip_locked: bool) -> FromClause:
    """Return the runs to end for a cancel request, then the oldest of all agents, each of them locked."""
    branches = []
    for select_waiting in claims.select_queued, claims.select_stalled:
        waiting = select_waiting(columns_of(_AGENTS)).with_for_update(skip_locked=skip_locked, of=runs).lateral()
        branches.append(
            select(waiting, _AGENTS.c.definition, _AGENTS.c.policy).select_from(_AGENTS.join(waiting, true()))
        )
    top = union_all(*branches).cte("top")
    order = top.c.since, top.c.id
    oldest = (
        select(
            top.c.id.label("run_id"),
            func.row_number().over(order_by=order).label("number"),
            top.c.definition,
            top.c.policy,
            top.c.previous_heartbeat,
        )
        .order_by(*order)
        .limit(bindparam("limit", type_=INTEGER))
        .cte("oldest")
    )
    cancelled = claims.select_cancelled().with_for_update(skip_locked=skip_locked).cte("cancelled")
    no_text = cast(null(), TEXT)
    nothing = no_text.label("definition"), no_text.label("policy"), cast(null(), REAL).label("previous_heartbeat")
    to_end = select(cancelled.c.id.label("run_id"), constant(0).label("number"), *nothing)
    return union_all(to_end, select(oldest)).cte("candidates")


def _requested() -> FromClause:
    """Return the one run that is asked for: by its id, or by the key that it was submitted with."""
    found = claims.select_candidate(_REQUESTED_ID).cte("found")
    return select(
        found.c.id.label("run_id"),
        constant(1).label("number"),
        bindparam("definition", type_=TEXT).label("definition"),
        bindparam("policy", type_=TEXT).label("policy"),
        found.c.previous_heartbeat,
    ).cte("candidates")


def _renew() -> Update:
    """Renew leases, except those in rows locked at this moment: waiting for one would delay all others."""
    unlocked = select(runs.c.id).where(runs.c.id.in_(select(_LEASES["run_id"])))
    return changes.renew_lease(_LEASES).where(runs.c.id.in_(unlocked.with_for_update(key_share=True, skip_locked=True)))


_REQUESTED_ID: Final = func.coalesce(
    select(keys.c.run_id).where(keys.c.key == bindparam("key", type_=TEXT)).scalar_subquery(),
    bindparam("run_id", type_=TEXT),
)

BEGIN: Final = "BEGIN"
LIMITS: Final = (
    "SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', %(statement)s, true), "
    "set_config('idle_in_transaction_session_timeout', %(idle)s, true)"
)
COMMIT: Final = "COMMIT"
NOTIFY_OTHERS: Final = Statement(NOTIFY, frozenset())
LOCK_CHANGED: Final = _compile(_lock(select(_CHANGES["run_id"])))
LOCK_DAY: Final = _compile(submissions.lock_day())
LOCK_OLDEST: Final = _compile(select(_oldest(skip_locked=False)))
LOCK_REQUESTED: Final = _compile(_lock(select(_REQUESTED_ID)))
CLAIM_OLDEST: Final = _compile(_claim(_oldest(skip_locked=True)))
CLAIM_REQUESTED: Final = _compile(_claim(_requested()))
RECORD_AS_MEANT: Final = _compile(_record_as_meant())
STATEMENTS: Final = Statements(
    before_record=[LOCK_CHANGED],
    record=_compile(_record()),
    after_record=[],
    insert_calls=_compile(
        ledger_rows.insert_call(columns_of(as_json_records(ledger_rows.CALL, "calls")), postgresql.insert)
    ),
    insert_verdicts=_compile(
        ledger_rows.insert_verdict(columns_of(as_json_records(ledger_rows.VERDICT, "verdicts")), postgresql.insert)
    ),
    insert_keys=_compile(submissions.insert_key(_NEW, postgresql.insert)),
    before_numbers=[LOCK_DAY],
    submit=_compile(_submit()),
    after_submit=[],
    insert_tags=_compile(submissions.insert_tag(columns_of(as_json_records(submissions.TAG, "tags")))),
    run_of_key=_compile(readback.select_run_of_key()),
    renew=_compile(_renew().returning(runs.c.id)),
    leases=_compile(changes.select_lease(_LEASES)),
    run=_compile(readback.select_run(bindparam("run_id", type_=TEXT))),
    claimed_by_call=_compile(claims.select_claimed_by_call(_artifacts_of(runs.c.id))),
)

SILENCE_SECONDS: Final = 20.0
"""Longest silence of the server beyond the statement's own limit: what buffers on the way hold may have to drain."""

SLOWEST_BYTES_A_SECOND: Final = 250_000
"""Speed of the slowest line on which outputs of any size are stored: the time of sending is added to the limits."""

FETCH_SECONDS: Final = 120
"""Time added to the statement limit of a claim, which counts the sending of its rows too: their inputs may be large."""

MOST_MEANT_BYTES: Final = 4 << 20
"""Most characters of outputs that are written as meant."""

Connection = LimitedConnection
"""A connection whose rows are tuples of whatever the columns hold."""
Cursor = psycopg.Cursor[Any]


class PostgresqlExecutor(SetBasedExecutor):
    """The :class:`loopkit.stores.sql.writes.batch.Executor` of a PostgreSQL database."""

    statements = STATEMENTS

    def __init__(self, engine: Engine, clock: ReadClock) -> None:
        super().__init__(clock)
        self._engine = engine
        self._connection: Connection | None = None
        self._meant: _MeantChanges | None = None
        """The changes of the batch if they are written as meant."""

    def perform(self, batch: Batch) -> None:
        """Write the batch with its changes as meant; carefully if the database finds that one cannot go so."""
        self._meant = _meant_changes(batch)
        if self._meant is not None:
            try:
                super().perform(batch)
                return
            except psycopg.errors.DivisionByZero:
                self._meant = None
        super().perform(batch)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, batch: Batch) -> Iterator[AddStatement]:
        connection = self._open()

        def add(statement: Statement, values: Values) -> Cursor:
            cursor = connection.execute(statement.text, values)
            connection.wait(generators.send(connection.pgconn))  # sync would wait for a result with the rest unsent
            pipeline.sync()  # only after one does the server limit how long it waits for what comes next
            return cursor

        connection.silence_seconds = SILENCE_SECONDS + _new_runs(batch) // 1000
        try:
            with connection.pipeline() as pipeline:
                connection.execute(BEGIN)
                connection.execute(LIMITS, self._limits(batch))
                yield add
                committed = connection.execute(COMMIT)
            if committed.statusmessage != "COMMIT":
                raise psycopg.OperationalError(f"the commit was answered by {committed.statusmessage}")
        except BaseException:
            self._recover(connection)
            raise

    def _limits(self, batch: Batch) -> dict[str, str]:
        sending_seconds = _size(batch, self._meant) // SLOWEST_BYTES_A_SECOND
        fetch_seconds = FETCH_SECONDS if all_claims(batch) else 0
        statement_seconds = 5 + _new_runs(batch) // 1000 + sending_seconds + fetch_seconds
        stalled_seconds = self._clock()["stalled_seconds"]
        assert isinstance(stalled_seconds, float)
        idle = min(stalled_seconds / 4, 10.0) + sending_seconds
        return {"statement": f"{statement_seconds}s", "idle": f"{max(int(idle * 1000), 1)}ms"}

    def _open(self) -> Connection:
        if self._connection is None:
            pooled = self._engine.raw_connection()
            connection = pooled.driver_connection
            assert isinstance(connection, LimitedConnection)
            pooled.detach()
            connection.rollback()
            connection.autocommit = True
            if connection.prepare_threshold is not None:
                connection.prepare_threshold = 0
            self._connection = connection
        return self._connection

    def _recover(self, connection: Connection) -> None:
        """Roll back after an error; close a connection that is not usable any more."""
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def _wait_for_locks(self, add: AddStatement, batch: Batch, clock: Values) -> None:
        add(LOCK_CHANGED, {"changes": json_array(self.encode(change_values(record)) for record in batch.records)})
        for claim in all_claims(batch):
            add(LOCK_OLDEST, {**claim.call, **clock, "agents": json_array(claim.agents)})

    def _record(self, add: AddStatement, records: Sequence[RecordChange], clock: Values) -> SetOutcomes:
        if self._meant is None:
            return super()._record(add, records, clock)
        pending = add(RECORD_AS_MEANT, {**self._meant.values, **clock})
        self._add_ledger(add, records, clock)

        def set_outcomes() -> None:
            ((at, _),) = pending.fetchall()
            for record in records:
                record.set_written_as_meant(at)

        return set_outcomes

    def _notify(self, add: AddStatement, batch: Batch) -> None:
        released = any(record.change.then.status is RunStatus.QUEUED for record in batch.records)
        if released or any(submission.claim is None for submission in batch.submissions):
            add(NOTIFY_OTHERS, {})

    def _claim(self, add: AddStatement, claim: ClaimRuns, clock: Values) -> SetOutcomes:
        return _claim_outcome(claim, add(CLAIM_OLDEST, {**claim.call, **clock, "agents": json_array(claim.agents)}))

    def _claim_one(
        self, add: AddStatement, claim: ClaimRuns, run_id: str, key: str | None, clock: Values
    ) -> SetOutcomes:
        values = {**claim.call, **clock, "run_id": run_id, "key": key}
        add(LOCK_REQUESTED, values)
        return _claim_outcome(claim, add(CLAIM_REQUESTED, values))


def _new_runs(batch: Batch) -> int:
    return sum(len(submission.rows) for submission in batch.submissions)


def _size(batch: Batch, meant: "_MeantChanges | None") -> int:
    """Return about how many bytes a batch sends."""
    records = sum(map(_size_of_change, batch.records)) if meant is None else meant.size
    submissions = (text for submission in batch.submissions for text in (*submission.rows, *submission.events))
    return records + sum(map(len, submissions)) + sum(map(_size_of_verdicts, batch.records))


def _size_of_change(record: RecordChange) -> int:
    events = (*record.change.events, *record.change.then.events)
    texts = (text for event in events for text in (event.message, strict_json.dumps(event.metadata)))
    return record.size + sum(map(len, texts))


def _size_of_verdicts(record: RecordChange) -> int:
    return sum(len(verdict.feedback) + len(strict_json.dumps(verdict.detail)) for verdict in record.change.verdicts)


@attrs.frozen
class _MeantChanges:
    """Parameters of :data:`RECORD_AS_MEANT`."""

    values: Values
    size: int
    """Characters of them."""


def _meant_changes(batch: Batch) -> _MeantChanges | None:
    """Return the changes of a batch as they are meant; None when they have to be written carefully.

    That is so when a run is released, when the store does not know how many events a run has, and when outputs are so
    large that they may be longer than a value of type ``jsonb``.
    """
    records = batch.records
    if not records or sum(record.size for record in records) > MOST_MEANT_BYTES:
        return None
    new = ChangeRows()
    for record in records:
        if record.event_seq is None or not record.can_go_as_meant:
            return None
        add_change(new, record.lease, record.change, record.nonce, record.event_seq, None)
    texts = {name: strict_json.dumps(rows_of_name) for name, rows_of_name in attrs.asdict(new, recurse=False).items()}
    return _MeantChanges({**texts, "count": len(records)}, sum(map(len, texts.values())))


def _claim_outcome(claim: ClaimRuns, pending: PendingRows) -> SetOutcomes:
    def set_outcomes() -> None:
        claim.outcome = claimed_of(pending.fetchall())

    return set_outcomes
