"""What a world stands on: a store that outlives every simulated process, and how the world looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import attrs

from loopkit.storage import Storage

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Broken(BaseException):
    """The world saw something that must never happen. Nothing on the way out may take it for trouble of its own."""


@attrs.frozen
class Row:
    """A run as it stands in the store, as far as the world watches it."""

    id: str
    status: str
    stage: str | None
    attempt: int
    score: float | None
    token: int
    claimed_by: str | None
    seen_at: datetime | None
    """The newest sign of life of its holder."""
    cancels: bool
    """Whether its cancellation was requested."""
    told: int
    """How many events it has."""

    @property
    def is_open(self) -> bool:
        return self.status in ("queued", "running")


class Ground(Protocol):
    """A store, and what can be seen of it from outside."""

    def store(self, process: Process) -> Storage:
        """Give the store as a process reaches it."""
        ...

    def changed(self) -> Iterable[Row]:
        """Give the runs that are not what they were when this was asked before."""
        ...

    def kept(self) -> Iterable[tuple[str, str]]:
        """Give the artifacts that have come since this was asked before: of which run, and what stands in them."""
        ...

    def told(self, run_id: str, after: int) -> list[str]:
        """Give what a run's events say, without the first ``after``."""
        ...

    def end_by_hand(self, run_id: str) -> bool:
        """End a running run past loopkit, as another program may; False where no other program comes."""
        ...

    async def wrongs(self) -> list[tuple[str | None, str]]:
        """Give what is wrong in the store at the end: in which run, and what."""
        ...

    def leave(self) -> None:
        """The schedule is over."""
        ...
