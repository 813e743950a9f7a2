"""Waiting for hints that there may be work. Whatever fails here costs a poll interval, never a run.

In this process a submit wakes the waiters directly. Hints of other processes come from a source: on SQLite the file's
``data_version`` is checked many times a second, which costs microseconds and no lock; on PostgreSQL one connection
listens, after a probe has shown that notifications arrive at all; a libSQL server is asked once a second.
"""

import threading
from typing import Final, Protocol

import anyio
import anyio.to_thread

from loopkit.eventloop import EventLoop

__all__ = ["PollTimer", "Source", "Wakeups"]

LIBSQL_SECONDS: Final = 1.0
"""Seconds between two polls of a libSQL server."""


class Source(Protocol):
    """Source of hints from other processes."""

    async def changed(self) -> None:
        """Return when another process may have made work; the call can be cancelled at any time."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class Wakeups:
    """Hub of the waiters of this process: any number of tasks in any number of event loops.

    While tasks wait, one of them watches the source and wakes all others.
    """

    def __init__(self, source: Source) -> None:
        """``source`` is closed with the hub."""
        self._source = source
        self._lock = threading.Lock()
        self._waiters: dict[anyio.Event, EventLoop] = {}
        self._watching = False
        self._notified = 0
        """Number of notifications so far."""
        self._last_seen = 0
        """Number of notifications that a waiter has seen."""

    def notify(self) -> None:
        """Wake all waiters of this process; may be called from any thread."""
        with self._lock:
            self._notified += 1
            waiters = list(self._waiters.items())
        for event, loop in waiters:
            loop.call_soon(event.set)

    async def wait_for_work(self, timeout: float) -> None:
        """Return when a run may have become claimable, and after ``timeout`` seconds at the latest.

        A notification since the last wait ends this one at once.
        """
        event = anyio.Event()
        with self._lock:
            missed, self._last_seen = self._notified != self._last_seen, self._notified
            if missed:
                return
            self._waiters[event] = EventLoop()
            watches, self._watching = not self._watching, True
        try:
            with anyio.move_on_after(timeout):
                await (self._watch(event) if watches else event.wait())
        finally:
            with self._lock:
                del self._waiters[event]
                self._last_seen = self._notified
                if watches:
                    self._watching = False

    async def _watch(self, event: anyio.Event) -> None:
        """Wait for a notification of this process or a hint of another one, on behalf of all waiters."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._forward_hint, tasks.cancel_scope, name="watch for work of other processes")
            await event.wait()
            tasks.cancel_scope.cancel()

    async def _forward_hint(self, scope: anyio.CancelScope) -> None:
        await self._source.changed()
        self.notify()
        scope.cancel()

    def close(self) -> None:
        """Close the connections of the source. Idempotent."""
        self._source.close()


class PollTimer:
    """Source for databases that give no hints: it reports a possible change once a second."""

    async def changed(self) -> None:
        await anyio.sleep(LIBSQL_SECONDS)

    def close(self) -> None:
        """Do nothing: there is no connection."""
