"""Detection of an event loop that a stage blocks, and with it every other run of the process.

Leases are renewed meanwhile, from a thread. That thread also checks the loop, and logs once where it is blocked.
"""

import logging
import sys
import threading
import traceback
from typing import Final

from loopkit.eventloop import EventLoop

__all__ = ["LoopWatch"]

logger = logging.getLogger("loopkit.runner")

BLOCKED_SECONDS: Final = 5.0
"""Time for which an event loop must be blocked before a warning is logged."""

MIN_CHECKS: Final = 3
"""Checks that must find it blocked. After a freeze of the whole process a single one finds much time gone."""

MAX_FRAMES: Final = 12


class LoopWatch:
    """Watch over the event loop in which it was made, by checks from another thread."""

    def __init__(self) -> None:
        self._loop = EventLoop()
        self._thread = threading.get_ident()
        self._has_turned = True
        self._asked_at = 0.0
        self._checks = 0
        self._has_warned = False

    def check(self, now: float) -> None:
        """Check whether the loop has run since the last check; log a warning once when it is blocked for too long.

        Args:
            now: monotonic seconds.
        """
        if self._has_turned:
            self._has_turned = self._has_warned = False
            self._asked_at, self._checks = now, 0
            self._loop.call_soon(self._mark_turned)
            return
        self._checks += 1
        if self._checks >= MIN_CHECKS and now - self._asked_at >= BLOCKED_SECONDS and not self._has_warned:
            self._has_warned = True
            self._warn(now - self._asked_at)

    def _mark_turned(self) -> None:
        self._has_turned = True

    def _warn(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread)
        logger.warning(
            "the event loop has been blocked for %.0f s, and with it every run of this process; "
            "move the code that blocks it into a thread. It is blocked here:\n%s",
            seconds,
            "".join(traceback.format_stack(frame, MAX_FRAMES)).rstrip(),
        )
