"""The interface of a database: its connections, and answers to everything in which databases differ.

Nothing outside this folder asks which database it is, except for two functions that choose what belongs to each:
:func:`loopkit.stores.sql.executors.executor_of` and :func:`loopkit.stores.sql.wakeups.sources.source_of`.

An engine belongs to the process that opened it: a connection that two processes share after a fork corrupts the data
of both. After a fork every use is therefore refused, and the connections of the parent are left alone.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import attrs
from sqlalchemy import Connection, Engine, Insert, Table, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from loopkit.errors import StorageUnavailable

__all__ = ["FORKED", "Database", "quoted", "run_verbatim"]

FORKED: Final = "this store was opened before a fork; open one in the new process"


@attrs.define(eq=False)
class Database(ABC):
    """An open database: one engine for transactions that write, one for reads, and the SQL that only it understands."""

    display_url: str
    """The URL without passwords and tokens, for messages."""
    writer: Engine
    """Engine whose transactions hold the write lock from their beginning (SQLite, libSQL) or have time limits
    (PostgreSQL)."""
    reader: Engine
    """Engine whose statements each see what is committed at that moment; it cannot write."""
    _process: int = attrs.field(factory=os.getpid, init=False)

    def is_own(self) -> bool:
        """Return True in the process that opened the database."""
        return os.getpid() == self._process

    def guard(self) -> None:
        """Refuse to go on in a forked child.

        Raises:
            StorageUnavailable: another process opened this database.
        """
        if not self.is_own():
            raise StorageUnavailable(FORKED)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that is committed at the end and rolled back by any error."""
        self.guard()
        with self.writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection whose statements each see what is committed at that moment."""
        self.guard()
        with self.reader.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection whose statements all see the same state, where the database can do so."""
        with self.reading() as connection:
            yield self.freeze(connection)

    def close(self) -> None:
        """Close every connection, those that a thread still uses when it returns them; do nothing in a forked child."""
        if self.is_own():
            for engine in (self.writer, self.reader):
                event.listen(engine, "checkin", _close_returned)
                engine.dispose()

    @abstractmethod
    def freeze(self, connection: Connection) -> Connection:
        """Return the connection of a reader so that its next statements all see the same state."""

    @abstractmethod
    def time_parameter(self, moment: datetime) -> datetime | str:
        """Return a time in the form that the parameter of a time column takes."""

    @abstractmethod
    def upsert(self, table: Table, values: Mapping[str, object], *, key: str, update: Mapping[str, object]) -> Insert:
        """Build an insert of one row; if a row with the same ``key`` exists, its columns ``update`` are set instead."""

    @abstractmethod
    def notify(self, connection: Connection) -> None:
        """Notify other processes, when the transaction commits, that there may be work."""

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Wait for other programs that migrate, and keep them out until the transaction ends."""

    @abstractmethod
    def raise_sequences(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Set the sequences of ``id`` columns above the ids that were inserted explicitly."""

    @abstractmethod
    def prepare_checks(self, connection: Connection) -> None:
        """Set up the transaction for a few very large queries."""

    @abstractmethod
    def find_damage(self, connection: Connection, limit: int) -> list[str]:
        """Return up to ``limit`` faults that the database finds in its own file; empty when there are none."""

    @abstractmethod
    def close_to_writers(self, connection: Connection, tables: Sequence[Table], message: str) -> None:
        """Create triggers that make every change of a row in ``tables`` fail with ``message``, whoever makes it.

        Raises:
            InvalidDatabase: this user may not create triggers.
        """

    @abstractmethod
    def open_to_writers(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Drop the triggers of :meth:`close_to_writers`, if they exist.

        Raises:
            InvalidDatabase: this user may not drop them.
        """


def _close_returned(connection: DBAPIConnection | None, record: object) -> None:
    """Close a connection that is returned to a pool that nobody will use."""
    if connection is not None:
        connection.close()


def quoted(value: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def run_verbatim(connection: Connection, statement: str) -> None:
    """Run a statement as it is: no character in it marks a parameter."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
