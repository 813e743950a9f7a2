"""The queue of write requests: those that wait together are taken as one batch, and those that must not be together
wait for the next one.

A plain object without threads and clock. Whoever steps it takes a batch, performs it, and takes the next one. No timer
delays a request: while one batch is performed, the next one gathers.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from loopkit.stores.sql.writes.requests import AnyRequest

__all__ = ["FULL_SIZE", "MAX_REQUESTS", "RequestQueue"]

MAX_REQUESTS: Final = 512
"""Most requests of a batch, so that the write lock is not held for long."""

FULL_SIZE: Final = 16 << 20
"""A batch takes no more requests once it holds this many characters, so that it is written within the time limits."""


class RequestQueue:
    """Requests that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[AnyRequest] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: AnyRequest) -> None:
        """Add a request to those that wait for the next batch."""
        self._waiting.append(request)

    def withdraw(self, request: AnyRequest) -> bool:
        """Remove a request that waits; return False if it is not waiting, so in a batch already."""
        try:
            self._waiting.remove(request)
        except ValueError:
            return False
        return True

    def take(self) -> list[AnyRequest]:
        """Take the next batch: in order, and of the requests with an exclusive key in common only the first.

        A request that is held back holds back the later ones with the same keys, so their order is kept.
        """
        batch: list[AnyRequest] = []
        held_back: list[AnyRequest] = []
        seen_keys: set[str] = set()
        size = 0
        while self._waiting and len(batch) < MAX_REQUESTS and size < FULL_SIZE:
            request = self._waiting.popleft()
            keys = request.exclusive_keys
            if seen_keys.isdisjoint(keys):
                batch.append(request)
                size += request.size
            else:
                held_back.append(request)
            seen_keys.update(keys)
        self._put_back(held_back)
        return batch

    def _put_back(self, requests: Iterable[AnyRequest]) -> None:
        self._waiting.extendleft(reversed(list(requests)))
