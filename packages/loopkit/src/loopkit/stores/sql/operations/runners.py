"""The registry of runners and the runs that they hold. No claim depends on it."""

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, select

from loopkit.core import strict_json
from loopkit.core.run import Run
from loopkit.storage import RunnerInfo
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyRow, AnySelect
from loopkit.stores.sql.schema.tables import runners, running, runs
from loopkit.stores.sql.schema.timestamps import ClockParameters, Instant, SecondsBetween, present, stamp

__all__ = ["announce", "holdings", "known_runners"]

_FORGET_AFTER_SECONDS: Final = 86_400.0
"""Time without an announcement after which a runner is removed."""

_silent: Final = SecondsBetween(runners.c.seen_at, present())
_KNOWN: Final = select(runners, _silent.label("age")).where(_silent <= bindparam("most_seconds"))
_FORGET: Final = runners.delete().where(_silent > bindparam("most_seconds"))


def _held(*, cut: bool) -> AnySelect:
    held = select(*rows.listed_columns(cut=cut)).where(running)
    return held.order_by(Instant(rows.last_seen), runs.c.id).limit(bindparam("most"))


_HELD: Final = _held(cut=False)
_CUT_HELD: Final = _held(cut=True)


def announce(connection: Connection, database: Database, runner: RunnerInfo, clock: ClockParameters) -> None:
    """Write a runner's description, and remove runners that have been silent for a day."""
    description = {
        "name": runner.name,
        "version": runner.version,
        "agents": strict_json.dumps(list(runner.agents)),
        "slots": runner.slots,
        "busy": runner.busy,
        "draining": runner.draining,
        "heartbeat_seconds": runner.heartbeat.total_seconds(),
        "gone": runner.gone,
    }
    seen = {**description, "seen_at": stamp()}
    new = {**seen, "id": runner.id, "started_at": stamp()}
    connection.execute(database.upsert(runners, new, key="id", update=seen), {"now": clock["now"]})
    connection.execute(_FORGET, {"now": clock["now"], "most_seconds": _FORGET_AFTER_SECONDS})


def known_runners(connection: Connection, clock: ClockParameters) -> list[RunnerInfo]:
    """Return the runners seen within a day, newest start first."""
    found = connection.execute(_KNOWN, {"now": clock["now"], "most_seconds": _FORGET_AFTER_SECONDS})
    return sorted(map(_runner, found), key=lambda runner: (runner.started_at, runner.id), reverse=True)


def _runner(row: AnyRow) -> RunnerInfo:
    return RunnerInfo(
        id=row.id,
        name=row.name,
        version=row.version,
        agents=tuple(rows.json(row.agents)),
        slots=row.slots,
        busy=row.busy,
        draining=bool(row.draining),
        started_at=rows.moment(row.started_at),
        seen_at=rows.moment(row.seen_at),
        age=timedelta(seconds=max(row.age, 0.0)),
        heartbeat=timedelta(seconds=row.heartbeat_seconds),
        gone=bool(row.gone),
    )


def holdings(connection: Connection, limit: int, clock: ClockParameters, max_chars: int | None = None) -> list[Run]:
    """Return running runs, the longest silent first, with at most ``max_chars`` characters of each text."""
    values = {"most": limit, **clock}
    if max_chars is None:
        held = connection.execute(_HELD, values)
    else:
        held = connection.execute(_CUT_HELD, values | rows.cut_parameters(max_chars))
    listed = [rows.listed_run(row, max_chars) for row in held]
    return run_queries.with_best_attempts(connection, listed, cut=max_chars is not None)
