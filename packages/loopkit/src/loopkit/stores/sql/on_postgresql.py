"""Batches on PostgreSQL: one pipeline a batch, so one round trip from BEGIN to COMMIT, however many items it holds.

Every statement takes its items as one JSON parameter, so its text never changes and is prepared once. Rows are locked
first, in the order of their ids, by a statement of its own: the ones after it then see what the last holder wrote.
Nothing is set for longer than the transaction, so a pooler between transactions is no trouble.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import generators
from sqlalchemy import Engine, FromClause, Select, Update, bindparam, cast, func, null, select, true, union_all
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core.run import RunStatus
from loopkit.stores.sql import claiming, rows, statements
from loopkit.stores.sql.executing import Batch, claims
from loopkit.stores.sql.items import Claiming
from loopkit.stores.sql.postgresql import NOTIFY
from loopkit.stores.sql.sources import INTEGER, REAL, TEXT, Script, constant, items, many, script
from loopkit.stores.sql.tables import artifacts, keys, runs
from loopkit.stores.sql.whole import Answer, Run, Scripts, Settle, WholeBatches, array, claimed

DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]

_CHANGES: Final = items(many(statements.CHANGE, "changes"))
_ARTIFACTS: Final = items(many(statements.ARTIFACT, "artifacts"))
_EVENTS: Final = items(many(statements.EVENT, "events"))
_NEW: Final = items(many(statements.NEW, "new"))
_LEASES: Final = items(many(statements.LEASE, "leases"))
_AGENTS: Final = many(claiming.AGENT, "agents")
_ROW: Final = (*statements.run_columns(), runs.c.last_write, runs.c.event_seq)


def _script(statement: ClauseElement) -> Script:
    return script(statement, DIALECT)


def _locked(run_ids: Any) -> Select[Any]:
    return select(runs.c.id).where(runs.c.id.in_(run_ids)).order_by(runs.c.id).with_for_update(key_share=True)


def _record() -> Select[Any]:
    written = statements.go_on(_CHANGES).returning(*rows.WRITTEN_COLUMNS).cte("written")
    kept = statements.keep_artifact(_ARTIFACTS, written).cte("kept")
    told = statements.tell(_EVENTS, written).cte("told")
    return select(written).add_cte(kept, told)


def _queue() -> Select[Any]:
    place = func.row_number().over(order_by=_NEW["run_id"])
    written = statements.queue(_NEW, place).returning(*_ROW).cte("written")
    told = statements.tell(_EVENTS, written).cte("told")
    return select(written).add_cte(told)


def _kept_of(run_id: ColumnElement[str]) -> ColumnElement[Any]:
    """The artifacts of a run as JSON, in no order."""
    kept = select(func.json_agg(func.json_build_array(*rows.ARTIFACT_COLUMNS)))
    return kept.where(artifacts.c.run_id == run_id).scalar_subquery()


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
    return select(written, _kept_of(written.c.id)).order_by(written.c.number).add_cte(told)


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


def _renew() -> Update:
    """Renew leases, but for rows that somebody is writing at this moment: to wait for one would delay all others."""
    free = select(runs.c.id).where(runs.c.id.in_(select(_LEASES["run_id"])))
    return statements.renew(_LEASES).where(runs.c.id.in_(free.with_for_update(key_share=True, skip_locked=True)))


_THAT: Final = func.coalesce(
    select(keys.c.run_id).where(keys.c.key == bindparam("key", type_=TEXT)).scalar_subquery(),
    bindparam("run_id", type_=TEXT),
)
_RUN_IDS: Final = select(_CHANGES["run_id"])

BEGIN: Final = Script("BEGIN", frozenset())
LIMITS: Final = Script(
    "SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', %(statement)s, true), "
    "set_config('idle_in_transaction_session_timeout', %(idle)s, true)",
    frozenset({"statement", "idle"}),
)
COMMIT: Final = Script("COMMIT", frozenset())
TELL_OTHERS: Final = Script(NOTIFY, frozenset())
LOCK: Final = _script(_locked(_RUN_IDS))
LOCK_DAY: Final = _script(statements.lock_day())
LOCK_OLDEST: Final = _script(select(_oldest(skip_locked=False)))
LOCK_THAT: Final = _script(_locked(select(_THAT)))
TAKE: Final = _script(_take(_oldest(skip_locked=True)))
TAKE_THAT: Final = _script(_take(_that()))
SCRIPTS: Final = Scripts(
    before_record=[LOCK],
    record=_script(_record()),
    after_record=[],
    keep_keys=_script(statements.keep_key(_NEW, "postgresql")),
    before_numbers=[LOCK_DAY],
    submit=_script(_queue()),
    after_submit=[],
    run_of_key=_script(statements.run_of_key()),
    renew=_script(_renew().returning(runs.c.id)),
    look=_script(statements.look(_LEASES)),
    run_now=_script(statements.run_now(bindparam("run_id", type_=TEXT))),
    claimed_by_call=_script(claiming.claimed_by_call(_kept_of(runs.c.id))),
)


class OnPostgresql(WholeBatches):
    """An :class:`loopkit.stores.sql.executing.Executor` of a PostgreSQL database."""

    scripts = SCRIPTS

    def __init__(self, engine: Engine, clock: Callable[[], dict[str, Any]]) -> None:
        """``clock`` gives the parameters ``now`` and ``stalled_seconds``."""
        super().__init__(clock)
        self._engine = engine
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, batch: Batch) -> Iterator[Run]:
        connection = self._open()

        def run(script: Script, values: dict[str, Any]) -> "psycopg.Cursor[Any]":
            answer = connection.execute(script.text, values)
            connection.wait(generators.send(connection.pgconn))  # sync would wait for an answer with the rest unsent
            pipeline.sync()  # only after one does the server limit how long it waits for what comes next
            return answer

        try:
            with connection.pipeline() as pipeline:
                connection.execute(BEGIN.text)
                connection.execute(LIMITS.text, self._limits(batch))
                yield run
                done = connection.execute(COMMIT.text)
            if done.statusmessage != "COMMIT":
                raise psycopg.OperationalError(f"the commit was answered by {done.statusmessage}")
        except BaseException:
            self._recover(connection)
            raise

    def _limits(self, batch: Batch) -> dict[str, str]:
        new_runs = sum(len(item.rows) for item in batch.submissions)
        idle = min(self._clock()["stalled_seconds"] / 4, 10.0)
        return {"statement": f"{5 + new_runs // 1000}s", "idle": f"{max(int(idle * 1000), 1)}ms"}

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

    def _wait_for_locks(self, run: Run, batch: Batch, clock: dict[str, Any]) -> None:
        run(LOCK, {"changes": array(item.row for item in batch.records)})
        for claim in claims(batch):
            run(LOCK_OLDEST, {**claim.call, **clock, "agents": array(claim.agents)})

    def _after(self, run: Run, batch: Batch) -> None:
        released = any(item.change.then.status is RunStatus.QUEUED for item in batch.records)
        if released or any(item.claim is None for item in batch.submissions):
            run(TELL_OTHERS, {})

    def _claim(self, run: Run, item: Claiming, clock: dict[str, Any]) -> Settle:
        return _settle_claim(item, run(TAKE, {**item.call, **clock, "agents": array(item.agents)}))

    def _claim_that(self, run: Run, item: Claiming, run_id: str, key: str | None, clock: dict[str, Any]) -> Settle:
        values = {**item.call, **clock, "run_id": run_id, "key": key}
        run(LOCK_THAT, values)
        return _settle_claim(item, run(TAKE_THAT, values))


def _settle_claim(item: Claiming, taken: Answer) -> Settle:
    def settle() -> None:
        item.outcome = claimed(taken.fetchall())

    return settle
