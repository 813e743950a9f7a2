"""An SQLite database in memory that fails when it is told to: at any statement, before a commit, or after one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from loopkit.stores.sql.dialects import Database, Kind

Fault = Callable[[str], None]
"""Called with ``begin``, ``statement``, ``before commit`` and ``after commit``; raises what is to go wrong."""


class Crashed(BaseException):
    """The simulated process is gone: nothing it still does reaches the world."""


def trouble(code: int, text: str) -> sqlite3.OperationalError:
    """An error as the driver would raise it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def no_fault(point: str) -> None:
    """Let everything succeed."""


class _Cursor(sqlite3.Cursor):
    connection: _Connection

    def execute(self, sql: str, *args: Any) -> _Cursor:
        if sql == "COMMIT":
            self._point("before commit")
            super().execute(sql, *args)
            self.connection.watch()
            self.connection.fault("after commit")
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
            self.connection.fault(point)
        except BaseException:
            if self.connection.in_transaction:
                self.connection.rollback()
            raise


class _Connection(sqlite3.Connection):
    fault: Fault = staticmethod(no_fault)
    watch: Callable[[], None] = staticmethod(lambda: None)

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(_Cursor)

    def commit(self) -> None:
        if not self.in_transaction:
            return
        try:
            self.fault("before commit")
        except BaseException:
            self.rollback()
            raise
        super().commit()
        self.watch()
        self.fault("after commit")


def database(name: str, fault: Fault = no_fault, watch: Callable[[], None] = lambda: None) -> Database:
    """Open the in-memory database ``name``.

    Its writing connections ask ``fault`` at every point, and call ``watch`` after every commit.
    """
    writer = _engine(name, fault, watch, "BEGIN IMMEDIATE")
    return Database(Kind.SQLITE, name, writer, _engine(name, no_fault, watch, None))


def _engine(name: str, fault: Fault, watch: Callable[[], None], begin: str | None) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:/{name}?vfs=memdb", uri=True, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        connection.fault = fault
        connection.watch = watch
        return connection

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool)
    if begin is not None:

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(begin)

    return engine
