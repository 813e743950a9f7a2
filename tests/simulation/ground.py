"""The store below a simulated world: it outlives every process, and the world can read it from outside."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import attrs

from loopkit.storage import Storage

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Broken(BaseException):
    """Breach of an invariant that the world observed. No code of loopkit may catch it as one of its own errors."""


@attrs.frozen
class Row:
    """The columns of a run that the world watches."""

    id: str
    status: str
    stage: str | None
    attempt: int
    score: float | None
    token: int
    claimed_by: str | None
    seen_at: datetime | None
    """Time of the newest heartbeat of its holder."""
    cancels: bool
    """True if its cancellation was requested."""
    told: int
    """Number of its events."""

    @property
    def is_open(self) -> bool:
        return self.status in ("queued", "running")


class Ground(Protocol):
    """A store with reads from outside."""

    def store(self, process: "Process") -> Storage:
        """Return the store for a process."""
        ...

    def changed(self) -> Iterable[Row]:
        """Return the runs that have changed since the last call."""
        ...

    def kept(self) -> Iterable[tuple[str, str]]:
        """Return the artifacts added since the last call: run id and content."""
        ...

    def told(self, run_id: str, after: int) -> list[str]:
        """Return the messages of a run's events, without the first ``after``."""
        ...

    def calls(self, run_id: str) -> dict[str, int]:
        """Return the input tokens of a run's model calls by their ids."""
        ...

    def verdicts(self, run_id: str) -> set[tuple[int, str]]:
        """Return the attempts and names of a run's verdicts."""
        ...

    def scores_given(self, run_id: str) -> list[tuple[int, str, int, float]]:
        """Return attempt, name, sample and score of a run's verdicts."""
        ...

    def artifacts(self, run_id: str) -> list[tuple[int, str, str]]:
        """Return attempt, type and content of a run's artifacts."""
        ...

    def end_by_hand(self, run_id: str) -> bool:
        """End a running run by plain SQL, as another program may; False if this store has no other programs."""
        ...

    async def wrongs(self) -> list[tuple[str | None, str]]:
        """Return the breaches in the store at the end: run id and description."""
        ...

    def leave(self) -> None:
        """Clean up after the schedule."""
        ...
