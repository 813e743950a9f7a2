"""A stage's own log lines on their way to the journal: cleaned, bounded, and in order."""

import threading
from collections.abc import Mapping
from typing import Any, Final

from loopkit.core import plain
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.run import Stage

__all__ = ["Logs"]

MAX_LINE_BYTES: Final = 8 * 1024
MAX_LINES: Final = 1000
"""Lines kept of one stage; of the rest only the number is told."""


class Logs:
    """Lines that wait to be written. May be filled from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[NewEvent] = []
        self._lines = 0

    def begin(self) -> None:
        """Start counting anew: another stage begins."""
        self._lines = 0

    def add(self, stage: Stage, attempt: int, message: str, metadata: Mapping[str, Any]) -> bool:
        """Keep a line, or count it as dropped; True when it is the first that waits."""
        with self._lock:
            self._lines += 1
            if self._lines > MAX_LINES:
                return False
            first = not self._waiting
            self._waiting.append(_event(stage, attempt, message, metadata))
            return first

    def put(self, event: NewEvent) -> None:
        """Keep an event of the runner's own."""
        with self._lock:
            self._waiting.append(event)

    def take(self) -> tuple[NewEvent, ...]:
        """Give what waits, oldest first, and forget it."""
        if not self._waiting:
            return ()
        with self._lock:
            taken, self._waiting = self._waiting, []
        return tuple(taken)

    def end(self, stage: Stage, attempt: int) -> None:
        """The stage is over: tell how many lines were dropped, if any."""
        if self._lines > MAX_LINES:
            self.put(_event(stage, attempt, f"{self._lines - MAX_LINES} more log lines were dropped", {}))


def _event(stage: Stage, attempt: int, message: str, metadata: Mapping[str, Any]) -> NewEvent:
    return NewEvent(
        event_type=EventType.LOG,
        stage=stage,
        attempt=attempt,
        message=_clean(message),
        metadata=_plain(metadata) if metadata else None,
    )


def _clean(text: str) -> str:
    """Cut a line to its bound and replace what no database can hold."""
    text = str(text).replace("\0", "\ufffd")
    kept = text[:MAX_LINE_BYTES].encode(errors="replace")[:MAX_LINE_BYTES].decode(errors="ignore")
    return kept if len(kept) == len(text) else kept + " [cut]"


def _plain(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep what is JSON; show the rest as text."""
    return {
        _clean(key): value if not plain.faults(value, max_bytes=MAX_LINE_BYTES) else _clean(repr(value))
        for key, value in metadata.items()
    }
