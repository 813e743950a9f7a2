"""Closing a database whose content goes to another one, and the marks that both bear meanwhile.

A mark stands in the schema's row, in the version that a writer needs, so it is met by whoever opens the database; the
version from before is kept in it. Whoever has the source open already meets triggers: they refuse every change of a
row, whatever program makes it. Every function here may be called again when its outcome is not known.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.exc import DBAPIError

from loopkit.errors import ConflictError, InvalidDatabase
from loopkit.stores.sql import copying
from loopkit.stores.sql.migrations import FILLING, IN_USE, MOVED, MOVING, mark_of, refusal
from loopkit.stores.sql.tables import artifacts, events, keys, runners, running, runs, schema
from loopkit.stores.sql.troubles import MOVED_STATE, MOVED_TO

_CLOSED: Final = (runs, events, artifacts, keys, runners)
"""The tables that take no writes any more; the last one so that an idle runner learns of it too."""

_VERBS: Final = ("INSERT", "UPDATE", "DELETE")

_NO_RIGHT: Final = "42501"


def begin_move(connection: Connection, to: str) -> None:
    """Refuse every write from the commit on, and every opening but that for another copy.

    Raises:
        ConflictError: a run is running.
        InvalidDatabase: it was moved before, or this user may not make triggers.
    """
    _remove_triggers(connection)
    _make_triggers(connection, f"{MOVED_TO} {to}; use that one")
    if (run_id := connection.execute(select(runs.c.id).where(running).limit(1)).scalar()) is not None:
        raise ConflictError(f"run {run_id} is running; stop its runner first (SIGTERM gives it back to the queue)")
    if _mark(connection) not in (IN_USE, MOVING):
        raise InvalidDatabase(refusal(*_row(connection)))
    _set_mark(connection, MOVING, to)


def undo_move(connection: Connection, to: str) -> None:
    """Let a database be used again that :func:`begin_move` closed for ``to``; else do nothing."""
    if _is_moving(connection, to):
        _remove_triggers(connection)
        _set_mark(connection, IN_USE)


def end_move(connection: Connection, to: str) -> None:
    """Let a database that was closed for ``to`` stay closed for good.

    Raises:
        ConflictError: it was opened meanwhile, or closed for another place.
    """
    if _is_moving(connection, to):
        _set_mark(connection, MOVED, to)
    elif _mark(connection) != MOVED:
        raise ConflictError("the old database did not stay closed; another copy was begun from it")


def begin_import(connection: Connection) -> None:
    """Let an empty database be opened by nobody else until :func:`end_import`.

    Raises:
        ConflictError: it is not empty.
        InvalidDatabase: another copy fills it.
    """
    if not copying.is_empty(connection):
        raise ConflictError("the database to copy to holds runs already; it must be empty")
    if _mark(connection) != IN_USE:
        raise InvalidDatabase(refusal(*_row(connection)))
    _set_mark(connection, FILLING)


def undo_import(connection: Connection) -> None:
    """Let it be opened again if nothing was brought into it."""
    if copying.is_empty(connection):
        end_import(connection)


def end_import(connection: Connection) -> None:
    """Let everybody open what is whole now."""
    if _mark(connection) == FILLING:
        _set_mark(connection, IN_USE)


def _row(connection: Connection) -> tuple[int, str | None]:
    row = connection.execute(select(schema.c.writer_version, schema.c.moved_to).with_for_update()).one()
    return row.writer_version, row.moved_to


def _mark(connection: Connection) -> int:
    return mark_of(_row(connection)[0])


def _is_moving(connection: Connection, to: str) -> bool:
    version, moved_to = _row(connection)
    return mark_of(version) == MOVING and moved_to == to


def _set_mark(connection: Connection, mark: int, to: str | None = None) -> None:
    version, _ = _row(connection)
    connection.execute(update(schema).values(writer_version=version - mark_of(version) + mark, moved_to=to))


# --- Triggers ---------------------------------------------------------------------------------------------------------


def _make_triggers(connection: Connection, said: str) -> None:
    quoted = "'" + said.replace("'", "''") + "'"
    try:
        if connection.dialect.name == "postgresql":
            _run(
                connection,
                "CREATE OR REPLACE FUNCTION loopkit_moved() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = '{MOVED_STATE}'; END $$",
            )
        for name, verb, table in _triggers(connection):
            what = f"CREATE TRIGGER {name} BEFORE {verb} ON {table.name} FOR EACH ROW"
            if connection.dialect.name == "postgresql":
                _run(connection, f"{what} EXECUTE FUNCTION loopkit_moved({quoted})")
            else:
                _run(connection, f"{what} BEGIN SELECT RAISE(ABORT, {quoted}); END")
    except DBAPIError as error:
        raise _explained(error) from error


def _remove_triggers(connection: Connection) -> None:
    try:
        if connection.dialect.name == "postgresql":
            _run(connection, "DROP FUNCTION IF EXISTS loopkit_moved() CASCADE")
            return
        for name, *_ in _triggers(connection):
            _run(connection, f"DROP TRIGGER IF EXISTS {name}")
    except DBAPIError as error:
        raise _explained(error) from error


def _triggers(connection: Connection) -> Iterator[tuple[str, str, Table]]:
    """Give each trigger's name, what it refuses, and where."""
    verbs = (" OR ".join(_VERBS),) if connection.dialect.name == "postgresql" else _VERBS
    for table in _CLOSED:
        for verb in verbs:
            yield f"loopkit_moved_{table.name}_{verb.split()[0].lower()}", verb, table


def _run(connection: Connection, statement: str) -> None:
    """Run a statement as it stands: no character in it is a parameter's."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _explained(error: DBAPIError) -> Exception:
    if getattr(error.orig, "sqlstate", None) != _NO_RIGHT:
        return error
    said = str(error.orig).splitlines()[0]
    return InvalidDatabase(f"this user may not close the old database to writers ({said}); copy as its tables' owner")
