"""Versions of the schema. Migrations only add, so that older and newer programs can work side by side for a while.

One row holds the version of the schema and the lowest writer version that may still write. Of programs that start
together one migrates, under a lock that ends with its transaction, and the others wait. A migration is one transaction,
so a crash in the middle leaves nothing of it. When the schema is current nothing is locked and nothing changed: a role
that may only read and write rows suffices.
"""

import time
from collections.abc import Callable
from typing import Final

import attrs
from sqlalchemy import Connection, Index, Table, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from loopkit.errors import DatabaseMoved, InvalidDatabase, SchemaTooNew
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.failures import MOVED_TO
from loopkit.stores.sql.schema import tables

__all__ = [
    "FILLING",
    "IN_USE",
    "MIGRATIONS",
    "MOVED",
    "MOVING",
    "PATIENCE_SECONDS",
    "WRITER_VERSION",
    "Migration",
    "is_current",
    "is_moving",
    "mark_of",
    "migrate",
    "refusal",
]

WRITER_VERSION: Final = 2
"""Version of this program as a writer: raised when a schema needs its writers to do more than older programs do."""

IN_USE: Final = 0
MOVED: Final = 1_000_000
"""Added to the writer version of a database whose content was moved to another one."""
MOVING: Final = 2_000_000
"""Added while the content is being copied to another database, and after such a copy was interrupted."""
FILLING: Final = 3_000_000
"""Added to the writer version of the other database until the copy is complete."""

PATIENCE_SECONDS: Final = 60.0
"""Seconds to wait for the migration of another program."""


@attrs.frozen
class Migration:
    """One step to a newer schema."""

    number: int
    """Version of the schema after this step."""
    writer_version: int
    """Lowest writer version that may write after this step."""
    apply: Callable[[Connection], None]


def migrate(database: Database) -> None:
    """Update the schema, or wait for the program that does.

    Raises:
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        InvalidDatabase: tables with the same names exist that cannot be used, or this user may not create tables.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_current(database):
        try:
            with database.writing() as connection:
                _migrate(connection, database)
        except DBAPIError as error:
            # Another program holds the lock, or has just created the same table, or the connection was lost, as it is
            # by the server's limits on a machine that is too busy to go on: check again.
            if isinstance(error, OperationalError) or error.connection_invalidated:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            elif not is_current(database):
                raise InvalidDatabase(_why_not_created(database, error)) from error


def _why_not_created(database: Database, error: DBAPIError) -> str:
    """Return the sentence for tables that cannot be created; only the first line of the driver's text is for people."""
    reason = str(error.orig).partition("\n")[0]
    advice = "; create the schema that search_path names" if getattr(error.orig, "sqlstate", None) == "3F000" else ""
    return f"{database.display_url}: the tables cannot be created: {reason}{advice}"


def is_current(database: Database) -> bool:
    """Return True when the schema is up to date, without locking or changing anything.

    Raises:
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        DatabaseMoved: the content was moved to another database, or is an unfinished copy.
    """
    with database.reading() as connection:
        if not inspect(connection).has_table(tables.schema.name):
            return False
        return _version(connection) >= MIGRATIONS[-1].number


def is_moving(database: Database) -> bool:
    """Return True when a copy of the content to another database was begun and not finished."""
    with database.reading() as connection:
        if not inspect(connection).has_table(tables.schema.name):
            return False
        return mark_of(connection.execute(select(tables.schema.c.writer_version)).scalar() or 0) == MOVING


def mark_of(writer_version: int) -> int:
    """Return the mark in a writer version: ``IN_USE``, ``MOVED``, ``MOVING`` or ``FILLING``."""
    return writer_version - writer_version % MOVED


def refusal(writer_version: int, moved_to: str | None) -> str:
    """Return the message why a database with a mark is not opened, and what to do."""
    match mark_of(writer_version):
        case mark if mark == MOVING:
            return (
                f"this database is being moved to {moved_to}. If that copy was interrupted: use the new database if it "
                "opens; if it does not, delete it and copy again"
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
        raise DatabaseMoved(refusal(row.writer_version, row.moved_to))
    if row.writer_version > WRITER_VERSION:
        raise SchemaTooNew(
            f"this database was changed by a newer loopkit (schema {row.version}, writers from "
            f"{row.writer_version} on; this one is {WRITER_VERSION}); upgrade loopkit"
        )
    version: int = row.version
    return version


def _migrate(connection: Connection, database: Database) -> None:
    """Apply the missing migrations in the transaction of ``connection``, which the caller commits."""
    database.lock_schema(connection)
    connection.execute(CreateTable(tables.schema, if_not_exists=True))
    version = _version(connection)
    for migration in MIGRATIONS:
        if migration.number > version:
            migration.apply(connection)
            _write_version(connection, migration)


def _write_version(connection: Connection, migration: Migration) -> None:
    values = {"version": migration.number, "writer_version": migration.writer_version}
    if connection.execute(update(tables.schema).values(values)).rowcount == 0:
        connection.execute(tables.schema.insert().values(only=1, **values))


def _create_everything(connection: Connection) -> None:
    """Create the tables and indexes; tables that another program created get the columns that loopkit adds."""
    from loopkit.stores.sql.schema.indexes import INDEXES

    for table in tables.metadata.sorted_tables:
        if table is not tables.schema:
            _create_or_extend(connection, table)
    for index in INDEXES:
        _create_index(connection, index)


def _create_or_extend(connection: Connection, table: Table) -> None:
    if not inspect(connection).has_table(table.name):
        connection.execute(CreateTable(table))
        return
    existing = {column["name"] for column in inspect(connection).get_columns(table.name)}
    missing = [name for name in table.columns.keys() if name not in existing]  # noqa: SIM118 - a collection of columns
    if foreign := [name for name in missing if name not in tables.OWN_COLUMNS.get(table, ())]:
        raise InvalidDatabase(f"the existing table {table.name} lacks the columns {', '.join(foreign)}")
    for name in missing:
        column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column}")


def _create_index(connection: Connection, index: Index) -> None:
    try:
        connection.execute(CreateIndex(index, if_not_exists=True))
    except IntegrityError as error:
        assert index.table is not None
        raise InvalidDatabase(f"the table {index.table.name} holds duplicates of rows that must be unique") from error


MIGRATIONS: Final = (Migration(1, 1, _create_everything), Migration(2, 2, _create_everything))
