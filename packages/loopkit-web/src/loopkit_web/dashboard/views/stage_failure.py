"""Failure of a stage as the pages show it: its exception, the place in the user's code, and the traceback.

The values are metadata of an ``error`` event, or of the ``log`` event of a try that failed. Other programs write
events too, so each is taken only if it is a text, and cut to a bound.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.run import Stage

__all__ = ["FAILURE_KEYS", "StageFailure", "last_failure", "stage_failure"]

FAILURE_KEYS: Final = frozenset({"exception", "traceback", "at"})
"""Keys of an event's metadata that a failure is read from."""
_MAX_CHARS: Final = 300
_MAX_TRACEBACK_CHARS: Final = 16_384


@attrs.frozen(kw_only=True)
class StageFailure:
    """Failed call of a stage."""

    stage: Stage | None
    attempt: int | None
    exception: str = ""
    """Qualified name of the exception's type; "" for a failure without an exception."""
    at: str = ""
    """File and line in the user's code: ``score.py:12``; "" if it is not known."""
    traceback: str = ""

    @property
    def has_place(self) -> bool:
        """True if there is more to show than the message."""
        return bool(self.exception or self.at or self.traceback)


def stage_failure(event: RunEvent) -> StageFailure | None:
    """Return the failure that an event reports; None for an event that reports none.

    A stage may log any metadata of its own, so a log event needs both an exception and a traceback.
    """
    metadata = event.metadata or {}
    is_failed_try = bool(_text(metadata, "exception") and _text(metadata, "traceback"))
    if event.event_type is not EventType.ERROR and not (event.event_type is EventType.LOG and is_failed_try):
        return None
    return StageFailure(
        stage=event.stage,
        attempt=event.attempt,
        exception=_text(metadata, "exception")[:_MAX_CHARS],
        at=_text(metadata, "at")[:_MAX_CHARS],
        traceback=_text(metadata, "traceback")[-_MAX_TRACEBACK_CHARS:],
    )


def last_failure(events: Iterable[RunEvent]) -> StageFailure | None:
    """Return the failure of the newest ``error`` event among these; None without one."""
    errors = [event for event in events if event.event_type is EventType.ERROR]
    return stage_failure(max(errors, key=lambda event: event.id)) if errors else None


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""
