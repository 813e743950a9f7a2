"""The combiner: what waits is taken together, and what must not be together waits for the next batch.

A plain object: no threads and no clock. Whoever drives it takes a batch, has it performed, and takes the next; no timer
makes anybody wait, since while one batch is being performed the next one gathers.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from loopkit.stores.sql.items import Item

MOST: Final = 512
"""How many items a batch holds at most, so that the write lock is not held for long."""

FULL: Final = 16 << 20
"""From how many characters on a batch takes no further item, so that it is sent and written within the time limits."""


class Combiner:
    """Items that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Let an item wait for the next batch."""
        self._waiting.append(item)

    def withdraw(self, item: Item) -> bool:
        """Take an item back; False when it is in a batch already."""
        try:
            self._waiting.remove(item)
        except ValueError:
            return False
        return True

    def take(self) -> list[Item]:
        """Take the next batch: in order, and of what only one may touch the first alone.

        An item that is held back holds back the later ones that touch the same, so their order stays.
        """
        batch: list[Item] = []
        held_back: list[Item] = []
        touched: set[str] = set()
        weight = 0
        while self._waiting and len(batch) < MOST and weight < FULL:
            item = self._waiting.popleft()
            alone = item.alone
            if touched.isdisjoint(alone):
                batch.append(item)
                weight += item.weight
            else:
                held_back.append(item)
            touched.update(alone)
        self._put_back(held_back)
        return batch

    def _put_back(self, items: Iterable[Item]) -> None:
        self._waiting.extendleft(reversed(list(items)))
