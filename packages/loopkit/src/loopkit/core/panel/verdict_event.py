"""Event of a verdict: ``facts: 0.80`` for a judge, ``sources: holds`` for a check."""

from typing import Any

from loopkit.core.journal import EventType, NewEvent
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.run import Stage

__all__ = ["verdict_event"]


def verdict_event(verdict: Verdict) -> NewEvent:
    """Return the event that is written with a verdict."""
    value: dict[str, Any] = {"score": verdict.score}
    words = f"{verdict.score:.2f}"
    if verdict.kind is VerdictKind.CHECK:
        value = {"ok": verdict.score == 1.0}
        words = "holds" if value["ok"] else "does not hold"
    return NewEvent(
        event_type=EventType.LOG,
        stage=Stage.EVALUATING,
        attempt=verdict.attempt,
        message=f"{verdict.name}: {words}",
        metadata={verdict.kind.value: verdict.name, **value, "sample": verdict.sample},
    )
