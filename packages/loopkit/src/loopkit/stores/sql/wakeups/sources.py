"""The choice of the source of hints that belongs to a database."""

from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.sqlite import SqliteDatabase
from loopkit.stores.sql.wakeups.hub import PollTimer, Source

__all__ = ["source_of"]


def source_of(database: Database) -> Source:
    """Create the source of hints from other processes that use the same database.

    Raises:
        TypeError: no source is known for this kind of database.
    """
    if isinstance(database, SqliteDatabase):
        from loopkit.stores.sql.wakeups.file_version import FileVersion

        return FileVersion(database)

    from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase

    if isinstance(database, PostgresqlDatabase):
        from loopkit.stores.sql.wakeups.listener import Listener

        return Listener(database)

    from loopkit.stores.sql.databases.libsql import LibsqlDatabase

    if isinstance(database, LibsqlDatabase):
        return PollTimer()
    raise TypeError(f"no source of wake-ups for {type(database).__name__}")
