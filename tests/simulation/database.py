"""An SQLite database in memory that fails when it is told to: at any statement, before a commit, or after one.

There is one, and schedules follow each other on it, emptied in between. Connections and compiled statements are handed
on, so that a schedule costs what happens in it and not what it takes to begin one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from loopkit.stores.sql.dialects import Database, Kind
from loopkit.stores.sql.migrations import migrate
from loopkit.stores.sql.tables import metadata, schema

NAME = "simulation"

C = TypeVar("C", bound=sqlite3.Connection)

Fault = Callable[[str], None]
"""Called with ``begin``, ``statement``, ``before commit`` and ``after commit``; raises what is to go wrong."""


def trouble(code: int, text: str) -> sqlite3.OperationalError:
    """An error as the driver would raise it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def _no_fault(point: str) -> None:
    """Let everything succeed."""


def _unwatched() -> None:
    """Nobody looks."""


class _Cursor(sqlite3.Cursor):
    connection: _Connection

    def execute(self, sql: str, *args: Any) -> _Cursor:
        if sql == "COMMIT":
            self._point("before commit")
            super().execute(sql, *args)
            self.connection.link.watch()
            self.connection.link.fault("after commit")
            return self
        self._point("begin" if sql.startswith("BEGIN") else "statement")
        super().execute(sql, *args)
        return self

    def executemany(self, sql: str, *args: Any) -> _Cursor:
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
    link: Link

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
    """A way to the database, for one process at a time."""

    def __init__(self) -> None:
        self.fault: Fault = _no_fault
        """Asked by its writing connections at every point of a transaction."""
        self.watch: Callable[[], None] = _unwatched
        """Called after every commit."""
        self._lent: dict[_Connection, None] = {}
        """Connections outside the pool, one for each lane of a store."""
        self._spare: list[_Connection] = []
        self.database = Database(Kind.SQLITE, NAME, self._writer(), self._reader())
        for engine in self.database.writer, self.database.reader:
            engine.connect().close()  # the first connection is asked a few things, which are no part of any schedule

    def release(self) -> None:
        """Take back what the process had; nothing that it still holds reaches a world."""
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
    """All links there are, and an eye that sees everything."""

    def __init__(self) -> None:
        self.eye = connect(sqlite3.Connection)
        self._free: list[Link] = []
        first = Link()
        migrate(first.database)
        self._free.append(first)

    def take(self, fault: Fault, watch: Callable[[], None]) -> Link:
        """Give a link that nobody has."""
        link = self._free.pop() if self._free else Link()
        link.fault, link.watch = fault, watch
        return link

    def give_back(self, taken: list[Link]) -> None:
        for link in taken:
            link.release()
        self._free += reversed(taken)

    def empty(self) -> None:
        """Let nothing of the schedule before be left."""
        for table in metadata.tables.values():
            if table is not schema:
                self.eye.execute(f"DELETE FROM {table.name}")
        self.eye.execute("DELETE FROM sqlite_sequence")


@cache
def links() -> Links:
    """The database of this process."""
    return Links()
