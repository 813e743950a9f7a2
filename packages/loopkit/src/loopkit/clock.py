"""Where time and ids come from: the system in production, a hand or a seed in tests and simulation."""

import os
import sys
import time
from datetime import UTC, datetime
from typing import Protocol

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils import uuid7


class Clock(Protocol):
    """Time as a runner sees it. Leases and stamps use the store's clock, never this one."""

    def now(self) -> datetime:
        """Give the wall clock's time, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never go backwards."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class SystemIds:
    """Ids from the system's randomness; run numbers grow with time (RFC 9562, version 7)."""

    def run_number(self) -> int:
        return uuid7().int

    def nonce(self) -> str:
        return os.urandom(16).hex()


def truncate(moment: datetime) -> datetime:
    """Cut a time to milliseconds, as every store keeps it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
