"""Clocks and ids for tests: a clock set by hand, one that really waits, and ids that count up."""

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

START: Final = datetime(2031, 4, 5, 10, 20, 30, 400_000, tzinfo=UTC)
"""Start time of a :class:`HandClock`: not near the end of a day, and with milliseconds."""


class StoreClock(Protocol):
    """Clock of a store under test, as the suites advance it."""

    def advance(self, span: timedelta) -> None:
        """Advance the clock by ``span``."""
        ...


class HandClock:
    """Clock that stands still until it is advanced; a call returns its time, so it can be a store's ``now``."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def advance(self, span: timedelta) -> None:
        """Advance the clock by ``span`` at once; a negative one sets it back."""
        self.time += span


class WaitingClock:
    """Clock for a store whose own cannot be replaced. It waits, so the store needs a short ``stalled_after``."""

    def advance(self, span: timedelta) -> None:
        """Wait until ``span`` has passed; a negative one does not set the clock back."""
        time.sleep(max(span.total_seconds(), 0))


class CountedIds:
    """Source of run numbers 1, 2, 3 and of nonces drawn from a seed: the same ids in every test run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._runs = 0

    def run_number(self) -> int:
        self._runs += 1
        return self._runs

    def nonce(self) -> str:
        return f"{self._random.getrandbits(128):032x}"
