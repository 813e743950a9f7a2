"""The journal of a run as a timeline: attempt, stage, event. A window of it, so that a long run stays quick to read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from loopkit.core.journal import ArtifactInfo, ArtifactType, EventType, RunEvent
from loopkit.core.run import Run, RunStatus, Stage
from loopkit_web.rendering import words
from loopkit_web.views.artifacts import Shown
from loopkit_web.views.attempts import Attempt

__all__ = ["WINDOW", "Entry", "Group", "Timeline", "groups_of"]

WINDOW: Final = 200
_SILENCE: Final = timedelta(seconds=30)
_MAX_MESSAGE: Final = 4_000
_MAX_METADATA: Final = 160
_STAGES: Final[Mapping[Stage, str]] = {
    Stage.PRODUCING: "Produce",
    Stage.EVALUATING: "Evaluate",
    Stage.REVISING: "Revise",
}
_TOLD: Final = frozenset({"filename", "score", "feedback", "criteria", "status", "reason"})
"""What the message, or the artifact below it, already says."""


@attrs.frozen(kw_only=True)
class Entry:
    """One event."""

    event: RunEvent
    kind: str
    """Its glyph: ``log``, ``stage``, ``score``, ``artifact`` or ``error``."""
    message: str
    metadata: str
    gap: timedelta | None
    """How long nothing happened before it, where that was long."""
    shown: Shown | None
    """The artifact that it tells of."""


@attrs.frozen(kw_only=True)
class Section:
    """The events of one stage; or, without a stage, those around the stages."""

    key: str
    words: str
    entries: tuple[Entry, ...]
    start: datetime
    end: datetime
    is_now: bool = False


@attrs.frozen(kw_only=True)
class Group:
    """One attempt's events."""

    number: int
    sections: tuple[Section, ...]
    attempt: Attempt | None


@attrs.frozen(kw_only=True)
class Timeline:
    """A window of the journal."""

    groups: tuple[Group, ...]
    first: int
    last: int
    """The ids of its first and its last event; 0 where it is empty."""
    has_earlier: bool
    has_later: bool

    @property
    def is_empty(self) -> bool:
        return not self.groups


def groups_of(
    run: Run,
    events: Sequence[RunEvent],
    artifacts: Mapping[tuple[int, ArtifactType], ArtifactInfo],
    shown: Mapping[int, Shown],
    attempts: Iterable[Attempt],
    before: datetime | None = None,
) -> tuple[Group, ...]:
    """Put events, oldest first, into their attempts and stages.

    Args:
        before: when the event before the first of these was, where it is known.
    """
    by_number = {attempt.number: attempt for attempt in attempts}
    groups: list[tuple[int, list[tuple[Stage | None, list[Entry]]]]] = []
    previous = before
    for event in events:
        entry = _entry(event, previous, artifacts, shown)
        previous = event.created_at
        number = event.attempt or (groups[-1][0] if groups else 1)
        if not groups or groups[-1][0] != number:
            groups.append((number, []))
        sections = groups[-1][1]
        if not sections or sections[-1][0] != event.stage:
            sections.append((event.stage, []))
        sections[-1][1].append(entry)
    return tuple(
        Group(
            number=number,
            attempt=by_number.get(number),
            sections=tuple(_section(run, number, stage, entries) for stage, entries in sections),
        )
        for number, sections in groups
    )


def _section(run: Run, number: int, stage: Stage | None, entries: list[Entry]) -> Section:
    is_now = run.status is RunStatus.RUNNING and number == run.current_attempt and stage is run.current_stage
    return Section(
        key=f"{number}-{stage.value if stage else 'around'}",
        words=_STAGES[stage] if stage else "",
        entries=tuple(entries),
        start=entries[0].event.created_at,
        end=entries[-1].event.created_at,
        is_now=is_now and stage is not None,
    )


def _entry(
    event: RunEvent,
    previous: datetime | None,
    artifacts: Mapping[tuple[int, ArtifactType], ArtifactInfo],
    shown: Mapping[int, Shown],
) -> Entry:
    kind = _kind(event)
    told = {"artifact": ArtifactType.OUTPUT, "score": ArtifactType.EVALUATION}.get(kind)
    artifact = artifacts.get((event.attempt or 0, told)) if told else None
    gap = event.created_at - previous if previous else timedelta()
    message = event.message or event.event_type.value.replace("_", " ").capitalize()
    return Entry(
        event=event,
        kind=kind,
        message=message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]} …",
        metadata=_metadata(event.metadata),
        gap=gap if gap > _SILENCE else None,
        shown=shown.get(artifact.id) if artifact else None,
    )


def _kind(event: RunEvent) -> str:
    if event.event_type is EventType.ERROR:
        return "error"
    if event.event_type is EventType.SCORE_UPDATE:
        return "score"
    if event.event_type is EventType.STAGE_CHANGE:
        return "stage"
    is_output = event.stage in (Stage.PRODUCING, Stage.REVISING) and "filename" in (event.metadata or {})
    return "artifact" if is_output else "log"


def _metadata(metadata: Mapping[str, Any] | None) -> str:
    """Give what else an event says, as ``name=value``."""
    pairs = ((name, value) for name, value in (metadata or {}).items() if name not in _TOLD)
    return words.shorten("  ".join(f"{name}={words.plain(value)}" for name, value in pairs), _MAX_METADATA)
