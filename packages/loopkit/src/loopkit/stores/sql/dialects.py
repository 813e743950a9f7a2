"""Databases by URL: which forms there are, and the engines behind a store. What differs by database is in the
modules beside this one (:mod:`sqlite`, :mod:`postgresql`, :mod:`libsql`); nothing else asks which database it is.

An engine belongs to the process that opened it: a connection shared over a fork corrupts what both processes say, so
after a fork every use is refused and nothing of the parent's is touched.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import attrs
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from loopkit.errors import InvalidDatabase, StorageUnavailable
from loopkit.stores.sql import libsql, postgresql, sqlite


class Kind(StrEnum):
    """A database that loopkit knows."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    LIBSQL = "libsql"


_SCHEMES: Final = {
    "sqlite": Kind.SQLITE,
    "sqlite+pysqlite": Kind.SQLITE,
    "postgresql": Kind.POSTGRESQL,
    "postgres": Kind.POSTGRESQL,
    "postgresql+psycopg": Kind.POSTGRESQL,
    "libsql": Kind.LIBSQL,
    "sqlite+libsql": Kind.LIBSQL,
    "turso": Kind.LIBSQL,
    "http": Kind.LIBSQL,
    "https": Kind.LIBSQL,
}


@attrs.define(eq=False)
class Database:
    """An opened database: one engine whose transactions may write, one that only reads."""

    kind: Kind
    shown: str
    """The URL as people may see it: without a password or token."""
    writer: Engine
    """A transaction of it holds the write lock from its beginning (SQLite, libSQL) or has time limits (PostgreSQL)."""
    reader: Engine
    """Each statement of it sees what is committed at that moment; it cannot write."""
    client: libsql.Client | None = None
    """On libSQL: what sends a whole transaction as one request."""
    _process: int = attrs.field(factory=os.getpid)

    def is_own(self) -> bool:
        """True in the process that opened the database."""
        return os.getpid() == self._process

    def guard(self) -> None:
        """Refuse to go on in a forked child.

        Raises:
            StorageUnavailable: another process opened this database.
        """
        if not self.is_own():
            raise StorageUnavailable("this store was opened before a fork; open one in the new process")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back by any error."""
        self.guard()
        with self.writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection whose statements each read what is committed."""
        self.guard()
        with self.reader.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Give a connection whose statements all read the same state."""
        self.guard()
        with self.reader.connect() as connection:
            if self.kind is Kind.POSTGRESQL:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            elif self.kind is Kind.SQLITE:
                connection.exec_driver_sql("BEGIN")
            yield connection

    def close(self) -> None:
        """Let go of every connection; in a forked child do nothing."""
        if self.is_own():
            self.writer.dispose()
            self.reader.dispose()
            if self.client is not None:
                self.client.close()


def open_database(url: str | URL) -> Database:
    """Open the database that a URL names, without looking at its tables.

    Raises:
        InvalidDatabase: the URL names nothing that can be opened; the message says what to do.
    """
    parsed = _parsed(url)
    kind = _SCHEMES.get(parsed.drivername)
    if kind is None:
        raise InvalidDatabase(
            f"{shown(parsed)}: {parsed.drivername!r} is no database of loopkit's; "
            "use sqlite:///FILE, postgresql://..., libsql://... or http(s)://..."
        )
    if kind is Kind.LIBSQL:
        client = libsql.client_of(parsed)
        return Database(kind, shown(parsed), *libsql.engines(client), client)
    engines = sqlite.engines(parsed) if kind is Kind.SQLITE else postgresql.engines(parsed)
    return Database(kind, shown(parsed), *engines)


def shown(url: URL) -> str:
    """Give a URL as people may see it: without a password or token."""
    hidden = {name for name in url.query if name.lower() in {"password", "authtoken", "auth_token"}}
    return url.difference_update_query(hidden).render_as_string(hide_password=True)


def _parsed(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidDatabase(
            "the database URL cannot be read; write it like sqlite:///loopkit.db, postgresql://user@host/name "
            "or libsql://host"
        ) from None
