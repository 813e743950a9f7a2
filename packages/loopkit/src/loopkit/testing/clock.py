"""Clocks and ids for tests: a clock that a hand moves, one that really waits, and ids that come in order."""

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

START: Final = datetime(2031, 4, 5, 10, 20, 30, 400_000, tzinfo=UTC)
"""When a :class:`HandClock` starts: not near a day's end, and with milliseconds."""


class StoreClock(Protocol):
    """The clock of a store under test, as the suites move it."""

    def advance(self, span: timedelta) -> None:
        """Let ``span`` pass."""
        ...


class HandClock:
    """A clock that stands still until it is moved; called, it gives its time. For a store's ``now``."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def advance(self, span: timedelta) -> None:
        """Let ``span`` pass at once; a negative one sets the clock back."""
        self.time += span


class WaitingClock:
    """For a store whose clock cannot be replaced: time passes by waiting. Give the store a short ``stalled_after``."""

    def advance(self, span: timedelta) -> None:
        """Wait until ``span`` has passed; a clock that cannot be set cannot be set back."""
        time.sleep(max(span.total_seconds(), 0))


class CountedIds:
    """Run numbers 1, 2, 3 and nonces drawn from a seed: the same ids in every test run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._runs = 0

    def run_number(self) -> int:
        self._runs += 1
        return self._runs

    def nonce(self) -> str:
        return f"{self._random.getrandbits(128):032x}"
