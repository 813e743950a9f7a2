"""The size of SQLite's write-ahead log.

SQLite itself copies the log into the file again and again and begins it anew. It cannot while somebody reads in one
long transaction, and hardly while short reads never cease: then the log grows. Whoever writes looks at its size.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Final

logger = logging.getLogger("loopkit.stores")

LIMIT_BYTES: Final = 64 * 1024 * 1024
"""A larger log is emptied; one that cannot be is told."""

COMMITS: Final = 64
"""How many commits there are between two looks."""

WAIT_MILLISECONDS: Final = 20
"""How long to wait for readers when the log is to be emptied; others cannot write meanwhile."""


class LogGauge:
    """Looks at the log of the file that a connection writes to."""

    def __init__(self, connection: sqlite3.Connection, busy_seconds: float) -> None:
        """``busy_seconds`` is how long the connection's statements wait for others."""
        self._connection = connection
        self._busy_seconds = busy_seconds
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        self._log = Path(f"{path}-wal")
        self._commits = 0
        self._told_at = 0
        """How large the log was when it was told of last."""

    def look(self) -> None:
        """Count a commit; now and then empty a log that is too large, or warn that it cannot be emptied."""
        self._commits += 1
        if self._commits % COMMITS:
            return
        size = self._size()
        if size <= LIMIT_BYTES or self._empty():
            self._told_at = 0
        elif size >= self._told_at + LIMIT_BYTES // 2:
            self._told_at = size
            logger.warning(
                "%s has grown to %d MB, since some program keeps a read transaction open; it shrinks when that ends",
                self._log,
                size // 1_000_000,
            )

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:  # a database in memory has none
            return 0

    def _empty(self) -> bool:
        """Copy all of the log into the file and cut it; False when somebody still reads from it."""
        self._connection.execute(f"PRAGMA busy_timeout = {WAIT_MILLISECONDS}")
        try:
            (is_busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:  # the next commit tells what is wrong
            return False
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        return not is_busy
