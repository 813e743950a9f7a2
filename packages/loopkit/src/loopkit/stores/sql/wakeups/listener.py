"""Notifications of PostgreSQL, over a connection that is opened again when it is lost."""

import logging
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from loopkit.stores.sql.databases import postgresql
from loopkit.stores.sql.databases.database import Database

if TYPE_CHECKING:
    import psycopg

__all__ = ["Listener"]

logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 2.0
"""Seconds to wait for the notification that shows whether any arrive."""

LONGEST_PAUSE_SECONDS: Final = 30.0
"""Longest time without a listening connection before another is tried."""


class Listener:
    """Source of hints that listens to PostgreSQL's notifications.

    Behind a pooler, where no notification arrives, it gives no hints and logs one warning per attempt to listen.
    """

    def __init__(self, database: Database) -> None:
        """Create it without a connection; the first wait opens one."""
        import psycopg

        self._failures = (psycopg.Error, SQLAlchemyError, OSError, anyio.BusyResourceError, anyio.ClosedResourceError)
        self._database = database
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._is_new = False
        self._closed = False
        self._pause = 1.0
        self._next_try = 0.0

    async def changed(self) -> None:
        while True:
            connection = await self._listening_connection()
            if connection is None:
                await anyio.sleep(max(self._next_try - time.monotonic(), 0.05))
                continue
            if self._is_new:
                self._is_new = False
                return  # notifications before it listened, and during the probe, are lost
            try:
                await anyio.wait_readable(connection.fileno())
                arrived = _has_notification(connection)
            except self._failures as error:
                logger.info("the connection that listens for work is lost, another one will be opened: %s", error)
                self._drop()
                return  # notifications may have been missed meanwhile
            if arrived:
                return

    async def _listening_connection(self) -> "psycopg.Connection | None":
        if self._connection is None and time.monotonic() >= self._next_try and not self._closed:
            await anyio.to_thread.run_sync(self._connect, abandon_on_cancel=True)
        return self._connection

    def _connect(self) -> None:
        """Open a connection that listens, if notifications arrive there; otherwise schedule another try."""
        with self._lock:
            if self._connection is not None or self._closed:
                return
            self._next_try = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            with suppress(*self._failures):
                self._connection = self._open_and_probe()
            if self._connection is not None:
                self._is_new = True
                self._pause = 1.0
        if self._is_closed():  # asked with the lock released: from then on `close` itself gets it
            self.close()

    def _is_closed(self) -> bool:
        return self._closed

    def _open_and_probe(self) -> "psycopg.Connection | None":
        pooled = self._database.reader.raw_connection()
        connection = cast("psycopg.Connection", pooled.driver_connection)
        pooled.detach()
        try:
            connection.autocommit = True
            if not postgresql.is_pooled(connection) and self._receives(connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        logger.warning("notifications do not arrive on this connection (a pooler?): new runs are found by polling")
        self._pause = LONGEST_PAUSE_SECONDS
        return None

    def _receives(self, connection: "psycopg.Connection") -> bool:
        """Listen, and return True when a notification that another connection sends arrives."""
        connection.execute(f"LISTEN {postgresql.CHANNEL}".encode())
        payload = secrets.token_hex(8)
        with self._database.reader.connect() as other:
            other.exec_driver_sql(f"SELECT pg_notify('{postgresql.CHANNEL}', '{payload}')")
        deadline = time.monotonic() + PROBE_SECONDS
        while time.monotonic() < deadline:  # other processes may send notifications meanwhile
            if any(note.payload == payload for note in connection.notifies(timeout=PROBE_SECONDS, stop_after=1)):
                return True
        return False

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self._closed = True
        if self._lock.acquire(blocking=False):  # a thread that is connecting closes the connection itself
            try:
                self._drop()
            finally:
                self._lock.release()


def _has_notification(connection: "psycopg.Connection") -> bool:
    """Read everything that has arrived; return True when a notification was among it."""
    connection.pgconn.consume_input()
    arrived = False
    while connection.pgconn.notifies() is not None:
        arrived = True
    return arrived
