"""Changes of an SQLite file, detected by the version that SQLite counts in its header."""

import sqlite3
from typing import Final

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from loopkit.stores.sql.databases.database import Database

__all__ = ["FileVersion"]

FIRST_PAUSE_SECONDS: Final = 0.010
"""Pause between two checks of a runner that was busy a moment ago."""

LAST_PAUSE_SECONDS: Final = 0.035
"""Longest pause of an idle runner: with the claim that follows, a run is picked up within 50 ms."""

BUSY_CHECKS: Final = 200
"""Number of checks without a change after which a runner is idle."""


class FileVersion:
    """Source of hints that checks the version of an SQLite file, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        """Create it without a connection; the first check opens one."""
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._last_version: int | None = None

    async def changed(self) -> None:
        pause, checks = FIRST_PAUSE_SECONDS, 0
        while not self._has_changed():
            checks += 1
            if checks > BUSY_CHECKS:
                pause = min(pause * 1.5, LAST_PAUSE_SECONDS)
            await anyio.sleep(pause)

    def _has_changed(self) -> bool:
        before, self._last_version = self._last_version, self._version()
        return before != self._last_version

    def _version(self) -> int | None:
        """Return a number that differs when another connection has committed; None when the file cannot be read."""
        try:
            if self._connection is None:
                self._connection = self._open()
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(version)
        except (sqlite3.Error, SQLAlchemyError):  # the claim that follows meets the same error and reports it
            self.close()
            return None

    def _open(self) -> sqlite3.Connection:
        pooled = self._database.reader.raw_connection()
        connection = pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        pooled.detach()
        connection.execute("PRAGMA busy_timeout = 0")  # the event loop runs this and must not be blocked
        return connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
