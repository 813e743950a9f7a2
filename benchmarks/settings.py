"""Sizes and repetitions of the measurements."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.places import Place


@dataclass(frozen=True)
class Settings:
    """The sizes of one call of the benchmarks."""

    places: Sequence[Place]
    repetitions: int = 3
    quick: bool = False
    peers: str | None = None
    """The interpreter that has the peers; None leaves them out."""
    ended_runs: int = 100_000
    """Ended runs in the largest databases of ``lists`` and ``ended``."""
    levels: Sequence[int] = (1, 8, 32, 128)
    skipped: list[str] = field(default_factory=list)
    """Measurements that were skipped, and why."""

    def sized(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def loops(self, concurrency: int) -> int:
        """Return the number of loops that takes some seconds at that concurrency."""
        return self.sized(max(60, min(2000, 15 * concurrency)), max(8, min(concurrency, 64)))


def say(words: str) -> None:
    """Print progress to stderr, apart from the table."""
    print(f"... {words}", file=sys.stderr, flush=True)
