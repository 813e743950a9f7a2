"""Batches on SQLite: the driver's own connection, one write transaction a batch, each statement run once an item."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import Engine, bindparam, func, insert, select
from sqlalchemy.dialects import sqlite

from loopkit.core.run import RunStatus
from loopkit.stores.sql import claiming, rows, statements
from loopkit.stores.sql.executing import LAST_WRITE, Batch, Claimed, landed
from loopkit.stores.sql.instants import Clock
from loopkit.stores.sql.items import Beating, Claiming, Recording, Submission, cancelled_events
from loopkit.stores.sql.sources import TEXT, constant, one, script
from loopkit.stores.sql.sqlite import BUSY_SECONDS
from loopkit.stores.sql.tables import artifacts, events, runs
from loopkit.stores.sql.wal import LogGauge

DIALECT: Final = sqlite.dialect(paramstyle="named")
_RUN_ID: Final = bindparam("run_id", type_=TEXT)
_ROW: Final = (*statements.run_columns(), runs.c.last_write, runs.c.event_seq)


def _text(statement: Any) -> str:
    return script(statement, DIALECT).text


_IDS: Final = func.json_each(bindparam("ids", type_=TEXT)).table_valued("value")
PICKED: Final = claiming.resumed(one(claiming.PICK)).subquery("picked")

GO_ON: Final = _text(statements.go_on(one(statements.CHANGE)))
KEEP_ARTIFACT: Final = _text(insert(artifacts).values(statements.artifact_values(one(statements.ARTIFACT))))
STAY: Final = _text(statements.stay(one(statements.CHANGE)))
END: Final = _text(statements.end(one(statements.CHANGE)))
ROWS_NOW: Final = _text(select(*_ROW).where(runs.c.id.in_(select(_IDS.c.value))))
WRITTEN_NOW: Final = _text(select(*rows.WRITTEN_COLUMNS).where(runs.c.id.in_(select(_IDS.c.value))))
TELL: Final = _text(
    insert(events).values(
        statements.event_values(one(statements.EVENT), bindparam("current_attempt"), bindparam("seq"))
    )
)
KEEP_KEY: Final = _text(statements.keep_key(one(statements.NEW), "sqlite"))
QUEUE: Final = _text(statements.queue(one(statements.NEW), constant(1)))
RUN_OF_KEY: Final = _text(statements.run_of_key())
WAITING_CANCELLED: Final = _text(claiming.waiting_cancelled())
WAITING_QUEUED: Final = _text(claiming.waiting_queued(one(claiming.AGENT)))
WAITING_STALLED: Final = _text(claiming.waiting_stalled(one(claiming.AGENT)))
WAITING_ONE: Final = _text(claiming.waiting_one(_RUN_ID))
START: Final = _text(claiming.start(one(claiming.PICK)))
TAKE: Final = _text(claiming.take(PICKED))
ARTIFACTS_OF: Final = _text(statements.artifacts_of(_RUN_ID))
RENEW: Final = _text(statements.renew(one(statements.LEASE)))
LOOK: Final = _text(statements.look(one(statements.LEASE)))
RUN_NOW: Final = _text(statements.run_now(_RUN_ID))
CLAIMED_BY_CALL: Final = _text(claiming.claimed_by_call())

NOW: Final = _text(select(Clock()))

_CLAIMED_BY: Final = 13


class OnSqlite:
    """An :class:`loopkit.stores.sql.executing.Executor` of an SQLite file."""

    def __init__(self, engine: Engine, clock: Callable[[], dict[str, Any]]) -> None:
        """``clock`` gives the parameters ``now`` and ``stalled_seconds``."""
        self._engine = engine
        self._clock = clock
        self._connection: sqlite3.Connection | None = None

    def form(self, row: dict[str, Any]) -> dict[str, Any]:
        return row

    def perform(self, batch: Batch) -> None:
        with self._transaction() as cursor:
            clock = self._clock_of(cursor)
            if batch.records:
                _record(cursor, batch.records, clock)
            for new in batch.submissions:
                _submit(cursor, new, clock)
            for claim in batch.claims:
                claim.outcome = _claim(cursor, claim, claim.run_id, clock)
            for beat in batch.beats:
                _beat(cursor, beat, clock)

    def find(self, batch: Batch) -> bool:
        with self._transaction() as cursor:

            def find_run(run_id: str) -> Any:
                return cursor.execute(RUN_NOW, {"run_id": run_id, **self._clock()}).fetchone()

            def find_key(key: str) -> Any:
                return cursor.execute(RUN_OF_KEY, {"key": key, **self._clock()}).fetchone()

            def find_claim(item: Claiming) -> Claimed:
                found = cursor.execute(CLAIMED_BY_CALL, item.call).fetchall()
                return Claimed(found, _artifacts(cursor, found))

            return landed(batch, find_run, find_key, find_claim)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        if self._connection is None:
            self._connection = _own_connection(self._engine)
            self._gauge = LogGauge(self._connection, BUSY_SECONDS)
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            # The rollback is said, since a closed connection keeps the lock while an error refers to its cursor.
            cursor.close()
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            self.close()
            raise
        cursor.close()
        self._gauge.look()

    def _clock_of(self, cursor: sqlite3.Cursor) -> dict[str, Any]:
        """The clock, asked once for the whole batch: all of it becomes visible at one moment."""
        clock = self._clock()
        return clock if clock["now"] is not None else clock | {"now": cursor.execute(NOW).fetchone()[0]}


def _own_connection(engine: Engine) -> sqlite3.Connection:
    """A connection outside the engine's pool."""
    pooled = engine.raw_connection()
    connection = pooled.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    pooled.detach()
    return connection


def _record(cursor: sqlite3.Cursor, items: Sequence[Recording], clock: dict[str, Any]) -> None:
    """Update all rows, look at what they are now, then add what belongs to those that were written."""
    now = clock["now"]
    stays: list[Any] = []
    ends: list[Any] = []
    rest: list[Any] = []
    for item in items:
        item.row["now"] = now
        status = item.change.then.status
        (stays if status is RunStatus.RUNNING else ends if status.ended else rest).append(item.row)
    for text, goes in (STAY, stays), (END, ends):
        if cursor.executemany(text, goes).rowcount != len(goes):
            rest += goes  # a cancel request stands in a row, or a lease is lost
    cursor.executemany(GO_ON, rest)
    found = _rows_now(cursor, WRITTEN_NOW, [item.lease.run_id for item in items])
    kept, told = [], []
    for item in items:
        row = found.get(item.lease.run_id)
        if row is None or row[1] != item.write:
            item.outcome = None
            continue
        item.outcome = row
        _, _, cancel_requested_at, *_, attempt, last = row
        either = item.then_events if cancel_requested_at is None else cancelled_events(item, dict)
        told += _numbered(item.events + either, now, attempt, last)
        if item.artifact is not None:
            item.artifact["now"] = now
            kept.append(item.artifact)
    cursor.executemany(KEEP_ARTIFACT, kept)
    cursor.executemany(TELL, told)


def _submit(cursor: sqlite3.Cursor, item: Submission, clock: dict[str, Any]) -> None:
    new = [row | clock for row in item.rows]
    cursor.executemany(KEEP_KEY, [row for row in new if row["key"] is not None])
    cursor.executemany(QUEUE, new)
    made = _rows_now(cursor, ROWS_NOW, item.ids)
    told = [(made[event["run_id"]], event) for event in item.events if event["run_id"] in made]
    cursor.executemany(TELL, [event for row, one in told for event in _numbered([one], clock["now"], *_place(row))])
    item.outcome = [
        made.get(run_id) or cursor.execute(RUN_OF_KEY, {"key": key, **clock}).fetchone()
        for run_id, key in zip(item.ids, item.keys, strict=True)
    ]
    if item.claim is not None:
        item.claim.outcome = _claim(cursor, item.claim, item.outcome[0][0], clock)


def _claim(cursor: sqlite3.Cursor, item: Claiming, run_id: str | None, clock: dict[str, Any]) -> Claimed:
    call = item.call | clock
    picks = _picks(cursor, item, call) if run_id is None else _pick(cursor, run_id, call)
    taking = [call | pick for pick, _ in picks]
    if cursor.executemany(START, taking).rowcount != len(taking):
        cursor.executemany(TAKE, taking)  # which touches nothing that was just started
    found = _rows_now(cursor, ROWS_NOW, [pick["run_id"] for pick, _ in picks])
    taken, told = [], []
    for pick, previous in picks:
        row = found[pick["run_id"]]
        nonce, _, story = (row[LAST_WRITE] or "").partition(".")
        if nonce == item.write:
            taken.append((*row, previous))
            events = [{"run_id": row[0], **event} for event in claiming.story_events(story, row[_CLAIMED_BY])]
            told += _numbered(events, clock["now"], *_place(row))
    cursor.executemany(TELL, told)
    return Claimed(taken, _artifacts(cursor, taken))


def _rows_now(cursor: sqlite3.Cursor, text: str, run_ids: Sequence[str]) -> dict[str, Sequence[Any]]:
    return {row[0]: row for row in cursor.execute(text, {"ids": json.dumps(run_ids)}).fetchall()}


def _place(row: Sequence[Any]) -> tuple[int, int]:
    """The attempt and the number of the last event in a whole row."""
    return row[5], row[LAST_WRITE + 1]


def _numbered(told: list[dict[str, Any]], now: str, attempt: int, last: int) -> list[dict[str, Any]]:
    """Give a run's events their time, its attempt, and their numbers up to the last."""
    for seq, event in enumerate(told, last - len(told) + 1):
        event["now"] = now
        event["seq"] = seq
        event["current_attempt"] = attempt
    return told


def _picks(cursor: sqlite3.Cursor, item: Claiming, call: dict[str, Any]) -> list[claiming.Pick]:
    asked = [run_id for (run_id,) in cursor.execute(WAITING_CANCELLED, call).fetchall()]
    waiting = [
        (since, run_id, agent["definition"], previous)
        for agent in item.agents
        for text in (WAITING_QUEUED, WAITING_STALLED)
        for run_id, since, previous in cursor.execute(text, call | agent).fetchall()
    ]
    return claiming.picks(asked, waiting, call["limit"])


def _pick(cursor: sqlite3.Cursor, run_id: str, call: dict[str, Any]) -> list[claiming.Pick]:
    found = cursor.execute(WAITING_ONE, {"run_id": run_id}).fetchall()
    return [({"run_id": run_id, "number": 1, "definition": call["definition"]}, previous) for *_, previous in found]


def _artifacts(cursor: sqlite3.Cursor, claimed: Sequence[Sequence[Any]]) -> list[Any]:
    """The artifacts of the runs that go on where they were; one that begins has none."""
    return [
        artifact
        for row in claimed
        if row[4] in ("evaluating", "revising")
        for artifact in cursor.execute(ARTIFACTS_OF, {"run_id": row[0]}).fetchall()
    ]


def _beat(cursor: sqlite3.Cursor, item: Beating, clock: dict[str, Any]) -> None:
    leases = [row | clock for row in item.rows]
    if item.renews:
        cursor.executemany(RENEW, leases)
    item.outcome = [found for row in leases for found in cursor.execute(LOOK, row).fetchall()]
