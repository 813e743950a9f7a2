"""Marks and triggers of a move to another database: the source is closed to writers, the target to everybody.

A mark is part of the writer version in the schema's row, so every program that opens the database meets it; the version
before the move is kept in it. A program that already has the source open meets triggers, which refuse every change of a
row. Every function here may be repeated when its outcome is unknown.
"""

from typing import Final

from sqlalchemy import Connection, select, update

from loopkit.errors import ConflictError, DatabaseMoved
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.failures import MOVED_TO
from loopkit.stores.sql.operations import export
from loopkit.stores.sql.schema.migrations import FILLING, IN_USE, MOVED, MOVING, mark_of, refusal
from loopkit.stores.sql.schema.tables import (
    artifacts,
    events,
    keys,
    runners,
    running,
    runs,
    schema,
    tags,
    usage,
    verdicts,
)

__all__ = ["begin_import", "begin_move", "end_import", "end_move", "undo_import", "undo_move"]

_CLOSED: Final = (runs, events, artifacts, keys, tags, usage, verdicts, runners)
"""Tables that are closed to writers; ``runners`` so that an idle runner learns of the move too."""


def begin_move(connection: Connection, database: Database, to: str) -> None:
    """Refuse every write from the commit on, and every opening except for another copy.

    Raises:
        ConflictError: a run is running.
        InvalidDatabase: the database was moved before, or this user may not create triggers.
    """
    database.open_to_writers(connection, _CLOSED)
    database.close_to_writers(connection, _CLOSED, f"{MOVED_TO} {to}; use that one")
    if (run_id := connection.execute(select(runs.c.id).where(running).limit(1)).scalar()) is not None:
        raise ConflictError(f"run {run_id} is running; stop its runner first (SIGTERM gives it back to the queue)")
    if _mark(connection) not in (IN_USE, MOVING):
        raise DatabaseMoved(refusal(*_version_and_target(connection)))
    _set_mark(connection, MOVING, to)


def undo_move(connection: Connection, database: Database, to: str) -> None:
    """Open a database again that :func:`begin_move` closed for ``to``; otherwise do nothing."""
    if _is_moving(connection, to):
        database.open_to_writers(connection, _CLOSED)
        _set_mark(connection, IN_USE)


def end_move(connection: Connection, to: str) -> None:
    """Close a database for good that :func:`begin_move` closed for ``to``.

    Raises:
        ConflictError: it was opened meanwhile, or closed for another target.
    """
    if _is_moving(connection, to):
        _set_mark(connection, MOVED, to)
    elif _mark(connection) != MOVED:
        raise ConflictError("the old database did not stay closed; another copy was begun from it")


def begin_import(connection: Connection) -> None:
    """Close an empty database to everybody else until :func:`end_import`.

    Raises:
        ConflictError: it is not empty.
        DatabaseMoved: another copy fills it.
    """
    if not export.is_empty(connection):
        raise ConflictError("the database to copy to holds runs already; it must be empty")
    if _mark(connection) != IN_USE:
        raise DatabaseMoved(refusal(*_version_and_target(connection)))
    _set_mark(connection, FILLING)


def undo_import(connection: Connection) -> None:
    """Open the target again if it is still empty."""
    if export.is_empty(connection):
        end_import(connection)


def end_import(connection: Connection) -> None:
    """Mark the finished copy as open for use."""
    if _mark(connection) == FILLING:
        _set_mark(connection, IN_USE)


def _version_and_target(connection: Connection) -> tuple[int, str | None]:
    row = connection.execute(select(schema.c.writer_version, schema.c.moved_to).with_for_update()).one()
    return row.writer_version, row.moved_to


def _mark(connection: Connection) -> int:
    return mark_of(_version_and_target(connection)[0])


def _is_moving(connection: Connection, to: str) -> bool:
    version, moved_to = _version_and_target(connection)
    return mark_of(version) == MOVING and moved_to == to


def _set_mark(connection: Connection, mark: int, to: str | None = None) -> None:
    version, _ = _version_and_target(connection)
    connection.execute(update(schema).values(writer_version=version - mark_of(version) + mark, moved_to=to))
