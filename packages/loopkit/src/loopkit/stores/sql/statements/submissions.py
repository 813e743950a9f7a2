"""Statements that create runs: their rows, idempotency keys, and cycle ids by the number of the day."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlalchemy import Insert, Table, case, cast, exists, func, insert, or_, select
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core.run import RunStatus
from loopkit.stores.sql.schema.cycle_ids import CycleDay, CycleId, CycleNumber, Day
from loopkit.stores.sql.schema.expressions import AnyColumn
from loopkit.stores.sql.schema.tables import Json, days, keys, runs, tags
from loopkit.stores.sql.schema.timestamps import present, stamp
from loopkit.stores.sql.statements.parameters import INTEGER, REAL, TEXT, Columns, ColumnTypes, constant

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["NEW", "TAG", "insert_key", "insert_run", "insert_run_without_key", "insert_tag", "lock_day"]

NEW: Final[ColumnTypes] = {
    "run_id": TEXT,
    "nonce": TEXT,
    "agent_name": TEXT,
    "cycle_id": TEXT,
    "max_attempts": INTEGER,
    "pass_threshold": REAL,
    "inputs": TEXT,
    "policy": TEXT,
    "retry_of": TEXT,
    "title": TEXT,
    "key": TEXT,
    "fingerprint": TEXT,
}
TAG: Final[ColumnTypes] = {"run_id": TEXT, "tag": TEXT}
"""A tag of a new run."""


def insert_key(new: Columns, insert_into: "Callable[[Table], sqlite.Insert | postgresql.Insert]") -> Insert:
    """Insert the idempotency key of a new run, if it has one.

    A key that is stored with another fingerprint, so for another request, makes the statement fail. ``insert_into``:
    the INSERT of the database's dialect.
    """
    source = select(new["key"], new["fingerprint"], new["run_id"], stamp()).where(new["key"].isnot(None))
    inserted = insert_into(keys).from_select(["key", "fingerprint", "run_id", "created_at"], source)
    # The column is NOT NULL, so another fingerprint fails and the whole transaction is rolled back.
    same = case((keys.c.fingerprint == inserted.excluded.fingerprint, keys.c.fingerprint))
    return inserted.on_conflict_do_update(index_elements=[keys.c.key], set_={"fingerprint": same})


def lock_day() -> Insert:
    """Lock the row under which PostgreSQL gives today's cycle numbers.

    SQLite and libSQL need no such lock: there only one transaction writes at a time.
    """
    from sqlalchemy.dialects import postgresql

    inserted = postgresql.insert(days).from_select(["day", "last_number"], select(_today(), _highest_number()))
    highest = func.greatest(days.c.last_number, inserted.excluded.last_number)
    return inserted.on_conflict_do_update(index_elements=[days.c.day], set_={"last_number": highest})


def insert_run(new: Columns, place: ColumnElement[int]) -> Insert:
    """Insert a new run as queued, unless its key was used before.

    Args:
        new: the run.
        place: its position among the runs of this batch that have no cycle id, from 1.
    """
    values = _queued_values(new, place)
    is_own_key = exists().where(keys.c.key == new["key"], keys.c.run_id == new["run_id"])
    source = select(*values.values()).where(or_(new["key"].is_(None), is_own_key)).order_by(new["run_id"])
    return insert(runs).from_select(list(values), source)


def insert_run_without_key(new: Columns) -> Insert:
    """Insert one new run that has no key.

    SQLite undoes a failed ``INSERT ... SELECT`` by copies of the pages that it changed: 7.5 a run, more than the run
    itself. An insert of one row of values makes none.
    """
    return insert(runs).values(_queued_values(new, constant(1)))


def insert_tag(new: Columns) -> Insert:
    """Insert a tag of a new run, unless the key of the run was used before, so that the run was not inserted."""
    is_inserted = exists().where(runs.c.id == new["run_id"])
    return insert(tags).from_select(["run_id", "tag"], select(new["run_id"], new["tag"]).where(is_inserted))


def _queued_values(new: Columns, place: ColumnElement[int]) -> dict[str, AnyColumn]:
    return {
        "id": new["run_id"],
        "agent_name": new["agent_name"],
        "cycle_id": func.coalesce(new["cycle_id"], CycleId(_today(), _highest_number() + place)),
        "status": constant(RunStatus.QUEUED.value),
        "max_attempts": new["max_attempts"],
        "pass_threshold": new["pass_threshold"],
        "inputs": cast(new["inputs"], Json),
        "policy": cast(new["policy"], Json),
        "created_at": stamp(),
        "retry_of": new["retry_of"],
        "title": new["title"],
        "event_seq": constant(1),
        "last_write": new["nonce"],
    }


def _highest_number() -> ColumnElement[int]:
    """Return the highest number among today's cycle ids, whichever program gave them; 0 if there are none."""
    number = CycleNumber(runs.c.cycle_id)
    highest = select(func.max(number)).where(CycleDay(runs.c.cycle_id) == _today(), number.isnot(None))
    return func.coalesce(highest.scalar_subquery(), constant(0))


def _today() -> ColumnElement[str]:
    return Day(present())
