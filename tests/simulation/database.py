"""An SQLite database in memory that fails on demand: at any statement, before a commit, or after one.

There is one database, emptied between schedules. Connections and compiled statements are reused, so that a schedule
costs only what happens in it.
"""

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any, Self, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from loopkit.stores.sql.databases.sqlite import SqliteDatabase
from loopkit.stores.sql.schema.migrations import migrate
from loopkit.stores.sql.schema.tables import metadata, schema

NAME = "simulation"

C = TypeVar("C", bound=sqlite3.Connection)

Fault = Callable[[str], None]
"""Called with ``begin``, ``statement``, ``before commit`` and ``after commit``; raises the error to inject."""


def trouble(code: int, text: str) -> sqlite3.OperationalError:
    """Return an error as the driver would raise it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def _no_fault(point: str) -> None:
    """Inject no fault."""


def _unwatched() -> None:
    """Do nothing after a commit."""


class _Cursor(sqlite3.Cursor):
    connection: "_Connection"

    def execute(self, sql: str, *args: Any) -> Self:
        if sql == "COMMIT":
            self._point("before commit")
            super().execute(sql, *args)
            self.connection.link.watch()
            self.connection.link.fault("after commit")
            return self
        self._point("begin" if sql.startswith("BEGIN") else "statement")
        super().execute(sql, *args)
        return self

    def executemany(self, sql: str, *args: Any) -> Self:
        self._point("statement")
        super().executemany(sql, *args)
        return self

    def _point(self, point: str) -> None:
        try:
            self.connection.link.fault(point)
        except BaseException:
            if self.connection.in_transaction:
                self.connection.rollback()
            raise


class _Connection(sqlite3.Connection):
    link: "Link"

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(_Cursor)

    def commit(self) -> None:
        if not self.in_transaction:
            return
        try:
            self.link.fault("before commit")
        except BaseException:
            self.rollback()
            raise
        super().commit()
        self.link.watch()
        self.link.fault("after commit")

    def close(self) -> None:
        self.link.forget(self)
        super().close()


class Link:
    """A connection to the database for one process at a time."""

    def __init__(self) -> None:
        self.fault: Fault = _no_fault
        """Asked by its writing connections at every point of a transaction."""
        self.watch: Callable[[], None] = _unwatched
        """Called after every commit."""
        self._lent: dict[_Connection, None] = {}
        """Connections outside the pool, one for each lane of a store."""
        self._spare: list[_Connection] = []
        self.database = SqliteDatabase(NAME, self._writer(), self._reader())
        for engine in self.database.writer, self.database.reader:
            engine.connect().close()  # the first connection is asked a few things, which are no part of any schedule

    def release(self) -> None:
        """Close what the process has open, so that nothing of it reaches a later world."""
        self.fault, self.watch = _no_fault, _unwatched
        for connection in self._lent:
            connection.rollback()
        self._spare += self._lent
        self._lent.clear()

    def forget(self, connection: _Connection) -> None:
        self._lent.pop(connection, None)

    def _writer(self) -> Engine:
        engine = create_engine("sqlite+pysqlite://", creator=self._connection, poolclass=QueuePool)

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        @event.listens_for(engine, "detach")
        def _lend(connection: Any, record: object) -> None:
            self._lent[connection] = None

        return engine

    def _reader(self) -> Engine:
        return create_engine("sqlite+pysqlite://", creator=lambda: connect(sqlite3.Connection), poolclass=QueuePool)

    def _connection(self) -> _Connection:
        if self._spare:
            return self._spare.pop()
        connection = connect(_Connection)
        connection.link = self
        return connection


def connect(kind: type[C]) -> C:
    """Open a connection to the one database."""
    return sqlite3.connect(
        f"file:/{NAME}?vfs=memdb", uri=True, isolation_level=None, check_same_thread=False, factory=kind
    )


class Links:
    """All links, and a connection that reads everything."""

    def __init__(self) -> None:
        self.eye = connect(sqlite3.Connection)
        self._free: list[Link] = []
        first = Link()
        migrate(first.database)
        self._free.append(first)

    def take(self, fault: Fault, watch: Callable[[], None]) -> Link:
        """Return an unused link."""
        link = self._free.pop() if self._free else Link()
        link.fault, link.watch = fault, watch
        return link

    def give_back(self, taken: list[Link]) -> None:
        for link in taken:
            link.release()
        self._free += reversed(taken)

    def empty(self) -> None:
        """Delete everything that the schedule before left."""
        for table in metadata.tables.values():
            if table is not schema:
                self.eye.execute(f"DELETE FROM {table.name}")
        self.eye.execute("DELETE FROM sqlite_sequence")


@cache
def links() -> Links:
    """The database of this process."""
    return Links()
