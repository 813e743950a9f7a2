"""Clocks: the system's in production, one that is set by hand in tests and simulation."""

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "truncate"]


class Clock(Protocol):
    """Time as a runner sees it. Leases and timestamps use the store's clock, never this one."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        ...


class SystemClock:
    """The system's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)


def truncate(moment: datetime) -> datetime:
    """Return ``moment`` cut to milliseconds, the precision of every store."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
