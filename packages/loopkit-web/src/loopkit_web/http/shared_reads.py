"""Reads of the store shared by concurrent requests: many clients that ask the same cost one query per interval."""

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel

__all__ = ["SharedReads", "WatchedRuns"]

T = TypeVar("T")
_MAX_ENTRIES: Final = 512
"""Least recently used entries beyond this number are dropped."""


class _Entry:
    """Latest value of one key, and the lock that allows one read of it at a time."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.value: Any = None
        self.read_at = -float("inf")


class SharedReads:
    """Short-lived cache of values read from the store, one per app."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]], *, max_age_seconds: float) -> T:
        """Return the value of a key, from ``read`` when the last one is older than ``max_age_seconds``.

        At most one ``read`` of a key runs at a time; concurrent callers wait for it and share its value. An error
        reaches only the caller whose ``read`` raised it.
        """
        key = (anyio.lowlevel.current_token(), key)  # a lock belongs to one event loop
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        if len(self._entries) > _MAX_ENTRIES:
            self._entries.popitem(last=False)
        async with entry.lock:
            if anyio.current_time() - entry.read_at >= max_age_seconds:
                entry.value = await read()
                entry.read_at = anyio.current_time()
            value: T = entry.value
            return value


class WatchedRuns:
    """Runs that open streams watch, each with the id of the newest event that was read for them; one per app."""

    def __init__(self) -> None:
        self._streams: Counter[str] = Counter()
        self._newest: dict[str, int] = {}

    @contextmanager
    def watch(self, run_id: str, newest: int) -> Iterator[None]:
        """Count a run as watched inside ``with``.

        Args:
            run_id: the run.
            newest: id of its newest event; what was read for other streams of the run stays.
        """
        self._streams[run_id] += 1
        self._newest.setdefault(run_id, newest)
        try:
            yield
        finally:
            self._streams[run_id] -= 1
            if not self._streams[run_id]:
                del self._streams[run_id], self._newest[run_id]

    def positions(self) -> dict[str, int]:
        """Return the watched runs, each with the id of the newest event that was read."""
        return dict(self._newest)

    def advance(self, newest: Mapping[str, int]) -> None:
        """Record the newest events that were read; runs that nobody watches any more are left out."""
        self._newest |= {run_id: event_id for run_id, event_id in newest.items() if run_id in self._newest}
