"""The size of SQLite's write-ahead log.

SQLite copies the log into the file from time to time and starts it again. It cannot do so while a long transaction
reads, and rarely while short reads follow each other without a gap; the log then grows. The writer checks its size.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Final

__all__ = ["LogGauge"]

logger = logging.getLogger("loopkit.stores")

LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Size above which the log is emptied, or a warning logged when that is impossible."""

COMMITS: Final = 64
"""Number of commits between two checks of the size."""

WAIT_MILLISECONDS: Final = 20
"""Time to wait for readers before giving up on emptying the log; nobody can write meanwhile."""


class LogGauge:
    """Watch over the size of the log of the file that a connection writes to."""

    def __init__(self, connection: sqlite3.Connection, busy_seconds: float) -> None:
        """Create it for a connection whose statements wait ``busy_seconds`` for others."""
        self._connection = connection
        self._busy_seconds = busy_seconds
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        self._log = Path(f"{path}-wal")
        self._commits = 0
        self._warned_at = 0
        """Size of the log in bytes at the last warning; 0 after it was small again."""

    def count_commit(self) -> None:
        """Count a commit; after every :data:`COMMITS`, empty a log that is too large, or warn that it cannot be."""
        self._commits += 1
        if self._commits % COMMITS:
            return
        size = self._size()
        if size <= LIMIT_BYTES or self._empty():
            self._warned_at = 0
        elif size >= self._warned_at + LIMIT_BYTES // 2:
            self._warned_at = size
            logger.warning(
                "%s has grown to %d MB because some program keeps a read transaction open; it shrinks when that ends",
                self._log,
                size // 1_000_000,
            )

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:  # a database in memory has no log
            return 0

    def _empty(self) -> bool:
        """Copy the log into the file and truncate it; return False when somebody still reads from it."""
        self._connection.execute(f"PRAGMA busy_timeout = {WAIT_MILLISECONDS}")
        try:
            (is_busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:  # the next commit meets the same error and reports it
            return False
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        return not is_busy
