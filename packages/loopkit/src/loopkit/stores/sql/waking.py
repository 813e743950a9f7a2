"""Hints that there may be work. Whatever goes wrong here costs a poll interval, never a run.

In this process a submit wakes who waits. From other processes: on SQLite the file's ``data_version`` is looked at many
times a second, which costs microseconds and no lock; on PostgreSQL one connection listens, after a probe that what is
told arrives at all; a libSQL server is asked once a second.
"""

import logging
import secrets
import sqlite3
import threading
import time
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from loopkit.eventloop import EventLoop
from loopkit.stores.sql import postgresql
from loopkit.stores.sql.dialects import Database, Kind

_log: Final = logging.getLogger(__name__)

FIRST_LOOK_SECONDS: Final = 0.010
LAST_LOOK_SECONDS: Final = 0.035
"""How rarely an idle runner looks at an SQLite file: with the claim that follows, a run is picked up within 50 ms."""
BUSY_LOOKS: Final = 200
"""How many looks without a change make a runner idle."""
LIBSQL_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 30.0
"""How long to do without a listening connection, at most, before another is tried."""


class Source(Protocol):
    """Where hints from other processes come from."""

    async def changed(self) -> None:
        """Return when another process may have made work; waiting can be cancelled at any moment."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Waking:
    """Waits for hints, from this process and from others; any number may wait, in any event loops."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._waiting: dict[anyio.Event, EventLoop] = {}
        self._looking = False
        self._told = 0
        self._heard = 0

    def tell(self) -> None:
        """Wake everyone who waits in this process; may be called from any thread."""
        with self._lock:
            self._told += 1
            waiting = list(self._waiting.items())
        for event, loop in waiting:
            loop.call_soon(event.set)

    async def wait_for_work(self, timeout: float) -> None:
        """Return when a run may have become claimable, and after ``timeout`` seconds at the latest."""
        event = anyio.Event()
        with self._lock:
            missed, self._heard = self._told != self._heard, self._told
            if missed:
                return
            self._waiting[event] = EventLoop()
            looks, self._looking = not self._looking, True
        try:
            with anyio.move_on_after(timeout):
                await (self._look(event) if looks else event.wait())
        finally:
            with self._lock:
                del self._waiting[event]
                self._heard = self._told
                if looks:
                    self._looking = False

    async def _look(self, event: anyio.Event) -> None:
        """Wait for a hint of this process or of another; one waiter does it for all."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear_others, tasks.cancel_scope, name="look for work of other processes")
            await event.wait()
            tasks.cancel_scope.cancel()

    async def _hear_others(self, scope: anyio.CancelScope) -> None:
        await self._source.changed()
        self.tell()
        scope.cancel()

    def close(self) -> None:
        """Let go of connections. Idempotent."""
        self._source.close()


def waking(database: Database) -> Waking:
    """Give what waits for work in this database."""
    match database.kind:
        case Kind.SQLITE:
            return Waking(FileVersion(database))
        case Kind.POSTGRESQL:
            return Waking(Listening(database))
        case Kind.LIBSQL:
            return Waking(EverySecond())


class EverySecond:
    """No hints: somebody has to ask."""

    async def changed(self) -> None:
        await anyio.sleep(LIBSQL_SECONDS)

    def close(self) -> None:
        """Do nothing: nothing is held."""


class FileVersion:
    """Looks at the version of an SQLite file, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None
        self._seen: int | None = None

    async def changed(self) -> None:
        pause, looks = FIRST_LOOK_SECONDS, 0
        while not self._has_changed():
            looks += 1
            if looks > BUSY_LOOKS:
                pause = min(pause * 1.5, LAST_LOOK_SECONDS)
            await anyio.sleep(pause)

    def _has_changed(self) -> bool:
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def _version(self) -> int | None:
        """Give a number that differs when another connection has committed; None where the file cannot be read."""
        try:
            if self._connection is None:
                self._connection = self._open()
            row = self._connection.execute("PRAGMA data_version").fetchone()
            return int(row[0])
        except (sqlite3.Error, SQLAlchemyError):  # the claim that follows will meet the same, and say so
            self.close()
            return None

    def _open(self) -> Any:
        held = self._database.reader.raw_connection()
        connection = held.driver_connection
        assert connection is not None
        held.detach()
        connection.execute("PRAGMA busy_timeout = 0")  # this runs in the event loop, which must not wait
        return connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Listening:
    """Hears what PostgreSQL tells. Behind a pooler, where nothing arrives, it stays silent and says so once."""

    def __init__(self, database: Database) -> None:
        import psycopg

        self._trouble = (psycopg.Error, SQLAlchemyError, OSError, anyio.BusyResourceError, anyio.ClosedResourceError)
        self._database = database
        self._lock = threading.Lock()
        self._connection: Any = None
        self._is_new = False
        self._closed = False
        self._pause = 1.0
        self._next_try = 0.0

    async def changed(self) -> None:
        while True:
            connection = await self._listening()
            if connection is None:
                await anyio.sleep(max(self._next_try - time.monotonic(), 0.05))
                continue
            if self._is_new:
                self._is_new = False
                return  # what was told before it listened, and while it was probed, is lost
            try:
                await anyio.wait_readable(connection.fileno())
                told = self._heard(connection)
            except self._trouble as error:
                _log.info("the connection that listens for work is lost, another follows: %s", error)
                self._drop()
                return  # anything may have been told meanwhile
            if told:
                return

    async def _listening(self) -> Any:
        if self._connection is None and time.monotonic() >= self._next_try and not self._closed:
            await anyio.to_thread.run_sync(self._connect, abandon_on_cancel=True)
        return self._connection

    def _heard(self, connection: Any) -> bool:
        """Take in what arrived; True when something was told."""
        connection.pgconn.consume_input()
        told = False
        while connection.pgconn.notifies() is not None:
            told = True
        return told

    def _connect(self) -> None:
        """Open a connection that listens, if what is told arrives there; else try again later."""
        with self._lock:
            if self._connection is not None or self._closed:
                return
            self._next_try = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            with suppress(*self._trouble):
                self._connection = self._probed()
            if self._connection is not None:
                self._is_new = True
                self._pause = 1.0

    def _probed(self) -> Any:
        held = self._database.reader.raw_connection()
        connection: Any = held.driver_connection
        held.detach()
        try:
            connection.autocommit = True
            if not postgresql.is_pooled(connection) and self._arrives(connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        _log.warning("no wake-ups through this connection (a pooler?): new runs are found by polling")
        self._pause = LONGEST_PAUSE_SECONDS
        return None

    def _arrives(self, connection: Any) -> bool:
        connection.execute(f"LISTEN {postgresql.CHANNEL}")
        word = secrets.token_hex(8)
        with self._database.reader.connect() as other:
            other.exec_driver_sql(f"SELECT pg_notify('{postgresql.CHANNEL}', '{word}')")
        deadline = time.monotonic() + PROBE_SECONDS
        while time.monotonic() < deadline:  # others may be telling of work meanwhile
            if any(note.payload == word for note in connection.notifies(timeout=PROBE_SECONDS, stop_after=1)):
                return True
        return False

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self._closed = True
        with self._lock:
            self._drop()
