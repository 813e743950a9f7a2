"""Noticing an event loop that stands still: a stage blocks it, and every other run of the process waits with it.

Leases live on meanwhile, since they are kept from a thread; that thread looks, and tells once where the loop stands.
"""

import logging
import sys
import threading
import traceback
from typing import Final

from loopkit.eventloop import EventLoop

__all__ = ["LoopWatch"]

logger = logging.getLogger("loopkit.runner")

STILL_SECONDS: Final = 5.0
"""For how long an event loop may stand still before it is told."""

LOOKS: Final = 3
"""How many looks have to find it still, since a process that was frozen as a whole finds much time gone at once."""

FRAMES: Final = 12


class LoopWatch:
    """Watches the event loop that runs where this is made, by looks from another thread."""

    def __init__(self) -> None:
        self._loop = EventLoop()
        self._thread = threading.get_ident()
        self._has_turned = True
        self._asked_at = 0.0
        self._looks = 0
        self._has_told = False

    def look(self, now: float) -> None:
        """See whether the loop has turned since the last look; warn when it has not for too long.

        Args:
            now: monotonic seconds.
        """
        if self._has_turned:
            self._has_turned = self._has_told = False
            self._asked_at, self._looks = now, 0
            self._loop.call_soon(self._turned)
            return
        self._looks += 1
        if self._looks >= LOOKS and now - self._asked_at >= STILL_SECONDS and not self._has_told:
            self._has_told = True
            self._tell(now - self._asked_at)

    def _turned(self) -> None:
        self._has_turned = True

    def _tell(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread)
        logger.warning(
            "the event loop has stood still for %.0f s, and with it every run of this process; "
            "let what blocks it run in a thread. It stands here:\n%s",
            seconds,
            "".join(traceback.format_stack(frame, FRAMES)).rstrip(),
        )
