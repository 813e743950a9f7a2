"""Batches on SQLite: the driver's own connection, one write transaction for each batch, each statement run once for
each request.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from sqlalchemy import Engine, Table, bindparam, func, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

from loopkit.core.run import Stage
from loopkit.stores.sql.databases.sqlite import BUSY_SECONDS
from loopkit.stores.sql.databases.sqlite_wal import LogGauge
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.rows import CLAIMED_BY, CURRENT_ATTEMPT, CURRENT_STAGE, EVENT_SEQ, ID, LAST_WRITE, Row
from loopkit.stores.sql.schema.tables import artifacts, events, runs
from loopkit.stores.sql.schema.timestamps import Clock
from loopkit.stores.sql.statements import change_rows, changes, claims, ledger_rows, readback, submissions
from loopkit.stores.sql.statements.change_rows import ChangeRows, ValueRow, add_change, artifact_rows, event_rows
from loopkit.stores.sql.statements.claim_fates import claim_events, decode_last_write
from loopkit.stores.sql.statements.parameters import (
    TEXT,
    ReadClock,
    Values,
    as_parameters,
    compile_positional,
    compile_statement,
    constant,
)
from loopkit.stores.sql.writes.batch import Batch, was_committed
from loopkit.stores.sql.writes.requests import (
    Claimed,
    ClaimRuns,
    RecordChange,
    RenewLeases,
    SubmitRuns,
    change_values,
)

__all__ = ["SqliteExecutor"]

DIALECT: Final = sqlite.dialect(paramstyle="named")
POSITIONAL_DIALECT: Final = sqlite.dialect(paramstyle="qmark")


def _text(statement: ClauseElement) -> str:
    return compile_statement(statement, DIALECT).text


def _positional(statement: ClauseElement, names: Sequence[str]) -> str:
    return compile_positional(statement, POSITIONAL_DIALECT, names)


def _insert(table: Table, names: Sequence[str]) -> str:
    return _positional(insert(table).values({name: bindparam(name) for name in names}), names)


_CHANGE: Final = as_parameters(changes.CHANGE)
_MEANT: Final = as_parameters(changes.MEANT)
_LEASE: Final = as_parameters(changes.LEASE)
_AGENT: Final = as_parameters(claims.AGENT)
_NEW: Final = as_parameters(submissions.NEW)
_CANDIDATE: Final = as_parameters(claims.CANDIDATE)
_RUN_ID: Final = bindparam("run_id", type_=TEXT)
_IS_LISTED: Final = runs.c.id.in_(select(func.json_each(bindparam("ids", type_=TEXT)).table_valued("value").c.value))
_STORED: Final = readback.stored_columns()

UPDATE_RUN: Final = _text(changes.update_run(_CHANGE))
UPDATE_STAYING: Final = _positional(changes.update_staying(_MEANT, bindparam("now")), change_rows.STAYING_NAMES)
UPDATE_ENDED: Final = _positional(changes.update_ended(_MEANT, bindparam("now")), change_rows.ENDED_NAMES)
INSERT_ARTIFACT: Final = _insert(artifacts, change_rows.ARTIFACT_NAMES)
INSERT_EVENT: Final = _insert(events, change_rows.EVENT_NAMES)
INSERT_CALL: Final = _text(ledger_rows.insert_call(as_parameters(ledger_rows.CALL), sqlite.insert))
INSERT_VERDICT: Final = _text(ledger_rows.insert_verdict(as_parameters(ledger_rows.VERDICT), sqlite.insert))
SELECT_STORED: Final = _text(select(*_STORED).where(_IS_LISTED))
SELECT_WRITTEN: Final = _text(select(*rows.WRITTEN_COLUMNS).where(_IS_LISTED))
INSERT_KEY: Final = _text(submissions.insert_key(_NEW, sqlite.insert))
INSERT_RUN: Final = _text(submissions.insert_run(_NEW, constant(1)))
INSERT_TAG: Final = _text(submissions.insert_tag(as_parameters(submissions.TAG)))
INSERT_RUN_WITHOUT_KEY: Final = _text(submissions.insert_run_without_key(_NEW))
SELECT_RUN_OF_KEY: Final = _text(readback.select_run_of_key())
SELECT_CANCELLED: Final = _text(claims.select_cancelled())
SELECT_QUEUED: Final = _text(claims.select_queued(_AGENT))
SELECT_STALLED: Final = _text(claims.select_stalled(_AGENT))
SELECT_CANDIDATE: Final = _text(claims.select_candidate(_RUN_ID))
CLAIM_NEW: Final = _text(claims.claim_new(_CANDIDATE))
CLAIM_OR_END: Final = _text(claims.claim_or_end(claims.with_newest_artifact(_CANDIDATE).subquery("candidate")))
SELECT_ARTIFACTS: Final = _text(readback.select_artifacts(_RUN_ID))
RENEW_LEASE: Final = _text(changes.renew_lease(_LEASE))
SELECT_LEASE: Final = _text(changes.select_lease(_LEASE))
SELECT_RUN: Final = _text(readback.select_run(_RUN_ID))
SELECT_CLAIMED_BY_CALL: Final = _text(claims.select_claimed_by_call())
SELECT_NOW: Final = _text(select(Clock()))

_WRITTEN_ID, _WRITTEN_NONCE, _CANCEL_REQUESTED_AT, _WRITTEN_ATTEMPT, _WRITTEN_SEQ = map(
    rows.WRITTEN_NAMES.index, ("id", "last_write", "cancel_requested_at", "current_attempt", "event_seq")
)


class SqliteExecutor:
    """The :class:`loopkit.stores.sql.writes.batch.Executor` of an SQLite file.

    Args:
        engine: opens the connection.
        clock: the parameters that every statement with a time takes.
        check_file: raises an error when the file was deleted or replaced, before a write and before it is reported.
    """

    def __init__(self, engine: Engine, clock: ReadClock, check_file: Callable[[], None]) -> None:
        self._engine = engine
        self._check_file = check_file
        self._clock = clock
        self._connection: sqlite3.Connection | None = None

    def encode(self, values: Values) -> Values:
        return values

    def perform(self, batch: Batch) -> None:
        with self._transaction() as cursor:
            now = self._read_now(cursor)
            clock = self._clock() | {"now": now}
            if batch.records:
                _record(cursor, batch.records, now)
            for submission in batch.submissions:
                _submit(cursor, submission, clock, now)
            for claim in batch.claims:
                claim.outcome = _claim(cursor, claim, claim.run_id, clock, now)
            for renewal in batch.renewals:
                _renew(cursor, renewal, clock)

    def read_back(self, batch: Batch) -> bool:
        with self._transaction() as cursor:

            def find_run(run_id: str) -> Row | None:
                return _first(cursor, SELECT_RUN, {"run_id": run_id, **self._clock()})

            def find_key(key: str) -> Row | None:
                return _first(cursor, SELECT_RUN_OF_KEY, {"key": key, **self._clock()})

            def find_claim(claim: ClaimRuns) -> Claimed:
                claimed = cursor.execute(SELECT_CLAIMED_BY_CALL, claim.call).fetchall()
                return Claimed(claimed, _artifacts(cursor, claimed))

            return was_committed(batch, find_run, find_key, find_claim)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        self._check_file()
        if self._connection is None:
            self._connection = _own_connection(self._engine)
            self._gauge = LogGauge(self._connection, BUSY_SECONDS)
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
            self._check_file()
        except BaseException:
            # An explicit rollback, since a closed connection keeps the lock while an error refers to its cursor.
            cursor.close()
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            self.close()
            raise
        cursor.close()
        self._gauge.count_commit()

    def _read_now(self, cursor: sqlite3.Cursor) -> str:
        """Read the clock once for the whole batch: all of it becomes visible at one moment."""
        now = self._clock()["now"] or cursor.execute(SELECT_NOW).fetchone()[0]
        assert isinstance(now, str)
        return now


def _own_connection(engine: Engine) -> sqlite3.Connection:
    """Open a connection outside the engine's pool."""
    pooled = engine.raw_connection()
    connection = pooled.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    pooled.detach()
    return connection


def _record(cursor: sqlite3.Cursor, records: Sequence[RecordChange], now: str) -> None:
    if not _record_as_meant(cursor, records, now):
        _record_carefully(cursor, records, now)
    booking = [record for record in records if record.change.calls or record.change.verdicts]
    if booking:
        cursor.executemany(INSERT_CALL, [row | {"now": now} for record in booking for row in record.calls])
        cursor.executemany(INSERT_VERDICT, [row | {"now": now} for record in booking for row in record.verdicts])


def _record_as_meant(cursor: sqlite3.Cursor, records: Sequence[RecordChange], now: str) -> bool:
    """Write changes whose runs are as their holders know them; nothing is read back.

    Return False when a run is not: then artifacts and events are still to be written, and some rows may be.
    """
    new = ChangeRows()
    for record in records:
        if not record.can_go_as_meant or record.event_seq is None:
            return False
        add_change(new, record.lease, record.change, record.nonce, record.event_seq, now)
    for text, values in (UPDATE_STAYING, new.staying), (UPDATE_ENDED, new.ended):
        if values and cursor.executemany(text, values).rowcount != len(values):
            return False
    cursor.executemany(INSERT_ARTIFACT, new.artifacts)
    cursor.executemany(INSERT_EVENT, new.events)
    for record in records:
        record.set_written_as_meant(now)
    return True


def _record_carefully(cursor: sqlite3.Cursor, records: Sequence[RecordChange], now: str) -> None:
    """Update all rows that are not written yet, read what they are now, then insert what belongs to those written."""
    cursor.executemany(UPDATE_RUN, [{**change_values(record), "now": now} for record in records])
    written = {row[_WRITTEN_ID]: row for row in _rows_of(cursor, SELECT_WRITTEN, [r.lease.run_id for r in records])}
    new = ChangeRows()
    for record in records:
        run_id, change = record.lease.run_id, record.change
        row = written.get(run_id)
        if row is None or row[_WRITTEN_NONCE] != record.nonce:
            record.outcome = None
            continue
        record.outcome = row
        chosen = change.then if row[_CANCEL_REQUESTED_AT] is None else change.cancelled
        new_events = (*change.events, *chosen.events)
        first_seq = row[_WRITTEN_SEQ] - len(new_events) + 1
        new.artifacts += artifact_rows(run_id, change.artifact, now)
        new.events += event_rows(run_id, new_events, row[_WRITTEN_ATTEMPT], first_seq, now)
    cursor.executemany(INSERT_ARTIFACT, new.artifacts)
    cursor.executemany(INSERT_EVENT, new.events)


def _submit(cursor: sqlite3.Cursor, submission: SubmitRuns, clock: Values, now: str) -> None:
    new: list[Values] = [row | clock for row in submission.rows]
    keyed = [row for row in new if row["key"] is not None]
    cursor.executemany(INSERT_KEY, keyed)
    cursor.executemany(INSERT_RUN if keyed else INSERT_RUN_WITHOUT_KEY, new)
    if submission.tags:
        cursor.executemany(INSERT_TAG, submission.tags)
    inserted = _stored_rows(cursor, submission.ids)
    new_events: list[ValueRow] = []
    for event in submission.events:
        row = inserted.get(event["run_id"])
        if row is not None:
            new_events += _numbered(row, [event], now)
    cursor.executemany(INSERT_EVENT, new_events)
    stored = [
        inserted.get(run_id) or _first(cursor, SELECT_RUN_OF_KEY, {"key": key, **clock})
        for run_id, key in zip(submission.ids, submission.keys, strict=True)
    ]
    submission.outcome = outcome = [row for row in stored if row is not None]
    if submission.claim is not None:
        submission.claim.outcome = _claim(cursor, submission.claim, outcome[0][ID], clock, now)


def _claim(cursor: sqlite3.Cursor, claim: ClaimRuns, run_id: str | None, clock: Values, now: str) -> Claimed:
    call = claim.call | clock
    candidates = _oldest(cursor, claim, call) if run_id is None else _requested(cursor, run_id, call)
    values = [call | candidate for candidate, _ in candidates]
    if cursor.executemany(CLAIM_NEW, values).rowcount != len(values):
        cursor.executemany(CLAIM_OR_END, values)  # which changes no run that was claimed just now
    stored = _stored_rows(cursor, [candidate["run_id"] for candidate, _ in candidates])
    claimed: list[Row] = []
    new_events: list[ValueRow] = []
    for candidate, previous in candidates:
        row = stored[candidate["run_id"]]
        nonce, fate = decode_last_write(row[LAST_WRITE])
        if nonce == claim.nonce and fate is not None:
            claimed.append((*row, previous))
            new_events += _numbered(row, list(claim_events(fate, row[CLAIMED_BY])), now)
    cursor.executemany(INSERT_EVENT, new_events)
    return Claimed(claimed, _artifacts(cursor, claimed))


def _renew(cursor: sqlite3.Cursor, renewal: RenewLeases, clock: Values) -> None:
    leases: list[Values] = [row | clock for row in renewal.rows]
    if renewal.renews:
        cursor.executemany(RENEW_LEASE, leases)
    renewal.outcome = [row for lease in leases for row in cursor.execute(SELECT_LEASE, lease).fetchall()]


def _oldest(cursor: sqlite3.Cursor, claim: ClaimRuns, call: Values) -> list[claims.Candidate]:
    """Return the runs to end for a cancel request, then the oldest of all agents."""
    cancelled = [run_id for (run_id,) in cursor.execute(SELECT_CANCELLED, call).fetchall()]
    waiting = [
        (since, run_id, agent, previous)
        for agent in claim.agents
        for text in (SELECT_QUEUED, SELECT_STALLED)
        for run_id, since, previous in cursor.execute(text, call | agent).fetchall()
    ]
    return claims.merge_candidates(cancelled, waiting, claim.limit)


def _requested(cursor: sqlite3.Cursor, run_id: str, call: Values) -> list[claims.Candidate]:
    """Return the one run that is asked for, if it is there."""
    found = cursor.execute(SELECT_CANDIDATE, {"run_id": run_id}).fetchall()
    return [claims.requested_candidate(run_id, call, previous) for *_, previous in found]


def _stored_rows(cursor: sqlite3.Cursor, run_ids: Sequence[object]) -> dict[object, Row]:
    """Read runs by id, in the order of ``STORED_NAMES``."""
    return {row[ID]: row for row in _rows_of(cursor, SELECT_STORED, run_ids)}


def _rows_of(cursor: sqlite3.Cursor, text: str, run_ids: Sequence[object]) -> list[Row]:
    return cursor.execute(text, {"ids": json.dumps(run_ids)}).fetchall()


def _first(cursor: sqlite3.Cursor, text: str, values: Values) -> Row | None:
    row: Row | None = cursor.execute(text, values).fetchone()
    return row


def _artifacts(cursor: sqlite3.Cursor, claimed: Sequence[Row]) -> list[Row]:
    """Read the artifacts of the claimed runs, in order; a run that begins with its first attempt has none."""
    return [
        artifact
        for row in claimed
        if row[CURRENT_STAGE] != Stage.PRODUCING.value or row[CURRENT_ATTEMPT] > 1
        for artifact in cursor.execute(SELECT_ARTIFACTS, {"run_id": row[ID]}).fetchall()
    ]


def _numbered(row: Row, new_events: Sequence[Values], now: str) -> list[ValueRow]:
    """Return the rows of a run's newest events, which its stored row counts already."""
    run_id, attempt = row[ID], row[CURRENT_ATTEMPT]
    return [
        (
            run_id,
            event["event_type"],
            event["stage"],
            attempt if event["attempt"] is None else event["attempt"],
            event["message"],
            event["metadata"],
            now,
            seq,
        )
        for seq, event in enumerate(new_events, row[EVENT_SEQ] - len(new_events) + 1)
    ]
