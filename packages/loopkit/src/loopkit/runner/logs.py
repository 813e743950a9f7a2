"""Log lines of a stage that wait to be written to the journal: cleaned, bounded, and in order."""

import threading
from collections.abc import Mapping
from typing import Any, Final

from loopkit.core import strict_json
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.run import Stage

__all__ = ["Logs"]

MAX_LINE_BYTES: Final = 8 * 1024
MAX_LINES: Final = 1000
"""Most lines kept of one try of a stage; the others are only counted."""


class Logs:
    """Events that wait to be written. May be filled from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[NewEvent] = []
        self._lines = 0

    def begin(self) -> None:
        """Start the count of lines again, for the next stage or try."""
        self._lines = 0

    def add(self, stage: Stage, attempt: int, message: str, metadata: Mapping[str, Any]) -> bool:
        """Keep a line, or count it as dropped; return True if no other event waits."""
        with self._lock:
            self._lines += 1
            if self._lines > MAX_LINES:
                return False
            is_first = not self._waiting
            self._waiting.append(_log_event(stage, attempt, message, metadata))
            return is_first

    def put(self, event: NewEvent) -> None:
        """Keep an event of the runner's own."""
        with self._lock:
            self._waiting.append(event)

    def take(self) -> tuple[NewEvent, ...]:
        """Return and forget the events that wait, oldest first."""
        if not self._waiting:
            return ()
        with self._lock:
            events, self._waiting = self._waiting, []
        return tuple(events)

    def end(self, stage: Stage, attempt: int) -> None:
        """Keep an event with the number of lines that were dropped, if any were, at the end of a stage or try."""
        if self._lines > MAX_LINES:
            self.put(_log_event(stage, attempt, f"{self._lines - MAX_LINES} more log lines were dropped", {}))


def _log_event(stage: Stage, attempt: int, message: str, metadata: Mapping[str, Any]) -> NewEvent:
    return NewEvent(
        event_type=EventType.LOG,
        stage=stage,
        attempt=attempt,
        message=_clean_line(message),
        metadata=_json_metadata(metadata) if metadata else None,
    )


def _clean_line(text: str) -> str:
    """Return a line cut to its bound, with what no database can hold replaced."""
    text = str(text).replace("\0", "\ufffd")
    line = text[:MAX_LINE_BYTES].encode(errors="replace")[:MAX_LINE_BYTES].decode(errors="ignore")
    return line if len(line) == len(text) else line + " [cut]"


def _json_metadata(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return metadata with the values that are not JSON, or too large, as text."""
    return {
        _clean_line(key): value if not strict_json.faults(value, max_bytes=MAX_LINE_BYTES) else _clean_line(repr(value))
        for key, value in metadata.items()
    }
