"""The schema's versions. Migrations only add, so that older and newer programs can work side by side for a while.

One row tells the version, and the lowest program version that may still write. Of programs that start together one
migrates, under a lock that ends with its transaction, and the others wait; a migration is one transaction, so a crash
in its middle leaves nothing of it. When the schema is current nothing is locked and nothing is changed, so a role that
may only read and write rows is enough.
"""

import time
from collections.abc import Callable
from typing import Final

import attrs
from sqlalchemy import Connection, Index, Table, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from loopkit.errors import InvalidDatabase, SchemaTooNew
from loopkit.stores.sql import tables
from loopkit.stores.sql.dialects import Database
from loopkit.stores.sql.troubles import MOVED_TO

WRITER_VERSION: Final = 1
"""What this program can write: raised when a schema needs more of its writers than older programs do."""

IN_USE: Final = 0
MOVED: Final = 1_000_000
"""Added to the writer version of a database whose content was copied to another one."""
MOVING: Final = 2_000_000
"""Added while its content is being copied, and where that was broken off."""
FILLING: Final = 3_000_000
"""Added to that of the other database until the copy is whole."""

PATIENCE_SECONDS: Final = 60.0
"""How long to wait for another program's migration."""

_LOCK: Final = 7021_4417_5530
"""The key of PostgreSQL's lock around a migration; any number that nobody else uses."""


@attrs.frozen
class Migration:
    """One step of the schema."""

    number: int
    writer_version: int
    """The lowest program version that may write after this step."""
    apply: Callable[[Connection], None]


def migrate(database: Database) -> None:
    """Bring the schema up to date, or wait for the one who does.

    Raises:
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        InvalidDatabase: tables of the same names are there that cannot be used, or this user may not make any.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_current(database):
        try:
            with database.writing() as connection:
                _migrate(connection)
        except OperationalError:
            # Somebody else holds the lock, or made the very thing; look again.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        except DBAPIError as error:
            if not is_current(database):
                raise InvalidDatabase(f"the tables cannot be made: {error.orig}") from error


def is_current(database: Database) -> bool:
    """Tell whether nothing has to be done, without locking or changing anything.

    Raises:
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        InvalidDatabase: its content was moved to another database, or it holds an unfinished copy.
    """
    with database.reading() as connection:
        if not inspect(connection).has_table(tables.schema.name):
            return False
        return _version(connection) >= MIGRATIONS[-1].number


def is_moving(database: Database) -> bool:
    """Tell whether a copy of the content was begun, and not ended."""
    with database.reading() as connection:
        if not inspect(connection).has_table(tables.schema.name):
            return False
        return mark_of(connection.execute(select(tables.schema.c.writer_version)).scalar() or 0) == MOVING


def mark_of(writer_version: int) -> int:
    """Give the mark in a writer version: one of ``IN_USE``, ``MOVED``, ``MOVING`` and ``FILLING``."""
    return writer_version - writer_version % MOVED


def refusal(writer_version: int, moved_to: str | None) -> str:
    """Say why a database with a mark is not opened, and what to do."""
    match mark_of(writer_version):
        case mark if mark == MOVING:
            return (
                f"this database is being moved to {moved_to}. If that copy was broken off: use the new database if it "
                "opens; if not, delete that one and copy again"
            )
        case mark if mark == FILLING:
            return (
                "this database holds an unfinished copy of another one. If nobody is copying now, delete it "
                "(or drop its tables) and copy again"
            )
        case _:
            return f"{MOVED_TO} {moved_to}; use that one"


def _version(connection: Connection) -> int:
    row = connection.execute(select(tables.schema)).first()
    if row is None:
        return 0
    if mark_of(row.writer_version) != IN_USE:
        raise InvalidDatabase(refusal(row.writer_version, row.moved_to))
    if row.writer_version > WRITER_VERSION:
        raise SchemaTooNew(
            f"this database was changed by a newer loopkit (schema {row.version}, writers from "
            f"{row.writer_version} on; this one is {WRITER_VERSION}); upgrade loopkit"
        )
    version: int = row.version
    return version


def _migrate(connection: Connection) -> None:
    """Apply what is missing, in the transaction that the caller commits."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
        )
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    connection.execute(CreateTable(tables.schema, if_not_exists=True))
    version = _version(connection)
    for migration in MIGRATIONS:
        if migration.number > version:
            migration.apply(connection)
            _note(connection, migration)


def _note(connection: Connection, migration: Migration) -> None:
    values = {"version": migration.number, "writer_version": migration.writer_version}
    if connection.execute(update(tables.schema).values(values)).rowcount == 0:
        connection.execute(tables.schema.insert().values(only=1, **values))


# --- The steps --------------------------------------------------------------------------------------------------------


def _first(connection: Connection) -> None:
    """Make the tables; those that another program made get the columns of loopkit's own."""
    for table in tables.metadata.sorted_tables:
        if table is not tables.schema:
            _make_or_extend(connection, table)
    for index in tables.INDEXES:
        _make_index(connection, index)


def _make_or_extend(connection: Connection, table: Table) -> None:
    if not inspect(connection).has_table(table.name):
        connection.execute(CreateTable(table))
        return
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    missing = [name for name in table.columns.keys() if name not in there]  # noqa: SIM118 - a collection of columns
    if foreign := [name for name in missing if name not in tables.OWN_COLUMNS.get(table, ())]:
        raise InvalidDatabase(f"the table {table.name} that is there lacks the columns {', '.join(foreign)}")
    for name in missing:
        column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column}")


def _make_index(connection: Connection, index: Index) -> None:
    try:
        connection.execute(CreateIndex(index, if_not_exists=True))
    except IntegrityError as error:
        assert index.table is not None
        raise InvalidDatabase(f"the table {index.table.name} holds rows twice that may be there once") from error


MIGRATIONS: Final = (Migration(1, 1, _first),)
