"""A book that keeps what the stages of a test book."""

from collections.abc import Iterable

import attrs

from loopkit.core.ledger.calls import ModelCall


class Book:
    """Book in memory: every write in order, and the calls as they are."""

    def __init__(self) -> None:
        self.writes: list[ModelCall] = []
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"call {self._ids}"

    async def open(self, call: ModelCall) -> None:
        self.writes.append(call)

    def complete(self, call: ModelCall) -> None:
        self.writes.append(call)

    @property
    def calls(self) -> list[ModelCall]:
        """The calls as they were written last."""
        return list({call.id: call for call in self.writes}.values())


def plain(calls: Iterable[ModelCall]) -> list[ModelCall]:
    """Return calls without what differs from one to the next."""
    return [attrs.evolve(call, id="", seconds=None) for call in calls]
