"""Keeping the tables small: ended runs are deleted whole, in bounded batches."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, bindparam, delete, literal_column, select, union_all

from loopkit.core.run import ENDED, RunStatus
from loopkit.stores.sql.instants import Instant, SecondsBetween, present
from loopkit.stores.sql.tables import artifacts, events, keys, listed_status, runs


def _oldest(status: RunStatus) -> Any:
    found = (
        select(runs.c.id, runs.c.completed_at)
        .where(listed_status == literal_column(f"'{status}'"), runs.c.completed_at.isnot(None))
        .order_by(Instant(runs.c.completed_at), runs.c.id)
        .limit(bindparam("most"))
    )
    return select(found.subquery())


# The age is asked of the oldest alone: asked of every run it would make the database look at all of them.
_old: Final = union_all(*(_oldest(status) for status in sorted(ENDED))).subquery()
_OLD: Final = (
    select(_old.c.id)
    .where(SecondsBetween(_old.c.completed_at, present()) > bindparam("seconds"))
    .order_by(Instant(_old.c.completed_at), _old.c.id)
    .limit(bindparam("most"))
)
_ids: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_STILL_ENDED: Final = (
    select(runs.c.id)
    .where(
        runs.c.id.in_(_ids),
        runs.c.status.in_([literal_column(f"'{status}'") for status in sorted(ENDED)]),
        runs.c.completed_at.isnot(None),
    )
    .order_by(runs.c.id)
    .with_for_update()
)
_DELETIONS: Final = (
    delete(artifacts).where(artifacts.c.run_id.in_(_ids)),
    delete(events).where(events.c.run_id.in_(_ids)),
    delete(keys).where(keys.c.run_id.in_(_ids)),
    delete(runs).where(runs.c.id.in_(_ids)),
)


def prune(connection: Connection, older_than: timedelta, limit: int, clock: Mapping[str, Any]) -> list[str]:
    """Delete up to ``limit`` runs that ended more than ``older_than`` ago, the oldest first, and give their ids."""
    asked = {"seconds": older_than.total_seconds(), "most": max(limit, 0), "now": clock["now"]}
    old = list(connection.execute(_OLD, asked).scalars())
    if not old:
        return []
    locked = set(connection.execute(_STILL_ENDED, {"ids": old}).scalars())
    gone = [run_id for run_id in old if run_id in locked]
    for deletion in _DELETIONS:
        connection.execute(deletion, {"ids": gone})
    return gone
