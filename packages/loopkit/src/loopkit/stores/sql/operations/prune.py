"""Deletion of old runs: ended runs are deleted with everything that belongs to them, in bounded batches."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import BindParameter, Connection, bindparam, delete, select, union_all

from loopkit.core.run import ENDED, RunStatus
from loopkit.stores.sql.schema.expressions import AnySelect, literal, literals
from loopkit.stores.sql.schema.tables import artifacts, events, keys, listed_status, runs, tags, usage, verdicts
from loopkit.stores.sql.schema.timestamps import ClockParameters, Instant, SecondsBetween, present

__all__ = ["prune"]


def _oldest(status: RunStatus) -> AnySelect:
    oldest = (
        select(runs.c.id, runs.c.completed_at)
        .where(listed_status == literal(status), runs.c.completed_at.isnot(None))
        .order_by(Instant(runs.c.completed_at), runs.c.id)
        .limit(bindparam("most"))
    )
    return select(oldest.subquery())


# Only the oldest runs are compared by age: a condition on every run would make the database read all of them.
_old: Final = union_all(*(_oldest(status) for status in sorted(ENDED))).subquery()
_OLD: Final = (
    select(_old.c.id)
    .where(SecondsBetween(_old.c.completed_at, present()) > bindparam("seconds"))
    .order_by(Instant(_old.c.completed_at), _old.c.id)
    .limit(bindparam("most"))
)
_ids: Final[BindParameter[Sequence[str]]] = bindparam("ids", expanding=True)
_STILL_ENDED: Final = (
    select(runs.c.id)
    .where(
        runs.c.id.in_(_ids),
        runs.c.status.in_(literals(ENDED)),
        runs.c.completed_at.isnot(None),
    )
    .order_by(runs.c.id)
    .with_for_update()
)
_DELETIONS: Final = (
    delete(artifacts).where(artifacts.c.run_id.in_(_ids)),
    delete(events).where(events.c.run_id.in_(_ids)),
    delete(keys).where(keys.c.run_id.in_(_ids)),
    delete(usage).where(usage.c.run_id.in_(_ids)),
    delete(verdicts).where(verdicts.c.run_id.in_(_ids)),
    delete(tags).where(tags.c.run_id.in_(_ids)),
    delete(runs).where(runs.c.id.in_(_ids)),
)


def prune(connection: Connection, older_than: timedelta, limit: int, clock: ClockParameters) -> list[str]:
    """Delete up to ``limit`` runs that ended more than ``older_than`` ago, oldest first, and return their ids."""
    parameters = {"seconds": older_than.total_seconds(), "most": max(limit, 0), "now": clock["now"]}
    candidates = list(connection.execute(_OLD, parameters).scalars())
    if not candidates:
        return []
    still_ended = set(connection.execute(_STILL_ENDED, {"ids": candidates}).scalars())
    ids = [run_id for run_id in candidates if run_id in still_ended]
    for deletion in _DELETIONS:
        connection.execute(deletion, {"ids": ids})
    return ids
