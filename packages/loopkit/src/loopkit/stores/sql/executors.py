"""The choice of the executor that belongs to a database."""

from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.sqlite import SqliteDatabase
from loopkit.stores.sql.statements.parameters import ReadClock
from loopkit.stores.sql.writes.batch import Executor

__all__ = ["executor_of"]


def executor_of(database: Database, clock: ReadClock) -> Executor:
    """Create an executor for a database; what the others need is not loaded.

    Raises:
        TypeError: no executor is known for this kind of database.
    """
    if isinstance(database, SqliteDatabase):
        from loopkit.stores.sql.writes.sqlite_executor import SqliteExecutor

        return SqliteExecutor(database.writer, clock, database.check_file)

    from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase

    if isinstance(database, PostgresqlDatabase):
        from loopkit.stores.sql.writes.postgresql_executor import PostgresqlExecutor

        return PostgresqlExecutor(database.writer, clock)

    from loopkit.stores.sql.databases.libsql import LibsqlDatabase

    if isinstance(database, LibsqlDatabase):
        from loopkit.stores.sql.writes.libsql_executor import LibsqlExecutor

        return LibsqlExecutor(database.client, clock)
    raise TypeError(f"no executor for {type(database).__name__}")
