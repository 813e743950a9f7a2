"""What is measured, how often and at which size."""

from __future__ import annotations

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
    """How many ended runs the largest databases of ``lists`` and ``ended`` hold."""
    levels: Sequence[int] = (1, 8, 32, 128)
    skipped: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def sized(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def loops(self, concurrency: int) -> int:
        """Give how many loops take some seconds at that concurrency."""
        return self.sized(max(60, min(2000, 15 * concurrency)), max(8, min(concurrency, 64)))


def say(words: str) -> None:
    """Show how far things are, apart from the table."""
    print(f"... {words}", file=sys.stderr, flush=True)
