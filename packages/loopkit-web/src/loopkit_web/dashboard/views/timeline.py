"""Journal of a run as a timeline: attempt, stage, event. Shows a window of it, so that a long run loads quickly."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import attrs

from loopkit.core.journal import ArtifactInfo, ArtifactType, EventType, RunEvent
from loopkit.core.run import Run, RunStatus, Stage
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, html_bytes
from loopkit_web.dashboard.views.artifact_view import ArtifactView
from loopkit_web.dashboard.views.attempt_columns import Attempt
from loopkit_web.dashboard.views.stage_failure import FAILURE_KEYS, StageFailure, stage_failure

__all__ = ["WINDOW", "Entry", "EntryKind", "Group", "Section", "Timeline", "event_groups"]

WINDOW: Final = 200
"""Most events shown at once."""
_MIN_GAP: Final = timedelta(seconds=30)
_MAX_MESSAGE: Final = 4_000
_MAX_MESSAGES_BYTES: Final = 240_000
"""Bytes of HTML that the messages of a window take; where they would take more, each is cut to the same size."""
_MAX_METADATA: Final = 160
_MAX_TRACEBACK: Final = 4_000
"""Characters of a traceback in the timeline, its end; the top of the page has more of the last one."""
_MAX_NAME: Final = 60
"""Characters of an exception's name and place, once the tracebacks have taken what they may."""
_MAX_TRACEBACKS_BYTES: Final = 160_000
"""Bytes that all tracebacks of a window may take in the page; further ones are left out."""
_SHOWN_ELSEWHERE: Final = frozenset({"score", "feedback", "criteria", "status", "reason"})
"""Metadata that the message, or the artifact below it, shows already; of a stored output its filename too."""


class EntryKind(StrEnum):
    """Symbols of an event; they are CSS classes, and values of the filter above the timeline."""

    LOG = "log"
    STAGE = "stage"
    SCORE = "score"
    ARTIFACT = "artifact"
    ERROR = "error"


_ARTIFACT_TYPES: Final = {EntryKind.ARTIFACT: ArtifactType.OUTPUT, EntryKind.SCORE: ArtifactType.EVALUATION}
"""Artifact that belongs to an event of this kind."""


@attrs.frozen(kw_only=True)
class Entry:
    """One event."""

    event: RunEvent
    kind: EntryKind
    message: str
    is_cut: bool
    """True if the message is not shown in full."""
    metadata: str
    gap: timedelta | None
    """Time since the event before it; None if it is 30 seconds or less, or the event is the first of the window."""
    artifact: ArtifactView | None
    """Artifact whose storing the event reports."""
    failure: StageFailure | None
    """Failure that the event reports, if its place in the code is known."""


@attrs.frozen(kw_only=True)
class Section:
    """Events of one stage; or, without a label, those between the stages."""

    key: str
    label: str
    entries: tuple[Entry, ...]
    start: datetime
    end: datetime
    is_current: bool = False


@attrs.frozen(kw_only=True)
class Group:
    """Events of one attempt."""

    number: int
    sections: tuple[Section, ...]
    attempt: Attempt | None


@attrs.frozen(kw_only=True)
class Timeline:
    """Window of the journal."""

    groups: tuple[Group, ...]
    first: int
    """Id of its first event; 0 if it is empty."""
    last: int
    """Id of its last event; 0 if it is empty."""
    has_earlier: bool
    has_later: bool

    @property
    def is_empty(self) -> bool:
        return not self.groups


def event_groups(
    run: Run,
    events: Sequence[RunEvent],
    artifacts: Mapping[tuple[int, ArtifactType], ArtifactInfo],
    artifact_views: Mapping[int, ArtifactView],
    attempts: Iterable[Attempt],
) -> tuple[Group, ...]:
    """Return events, oldest first, grouped by attempt and stage.

    Args:
        artifact_views: the artifacts that the page shows, by artifact id.
    """
    size = sum(html_bytes(event.message or "") for event in events)
    max_bytes = _MAX_MESSAGES_BYTES // max(len(events), 1) if size > _MAX_MESSAGES_BYTES else _MAX_MESSAGES_BYTES
    by_number = {attempt.number: attempt for attempt in attempts}
    groups: list[tuple[int, list[tuple[Stage | None, list[Entry]]]]] = []
    previous_at: datetime | None = None
    failures = _failures(events)
    for event in events:
        entry = _entry(event, previous_at, artifacts, artifact_views, failures.get(event.id), max_bytes)
        previous_at = event.created_at
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
    is_current = run.status is RunStatus.RUNNING and number == run.current_attempt and stage is run.current_stage
    return Section(
        key=f"{number}-{stage.value if stage else 'around'}",
        label=stage.key.capitalize() if stage else "",
        entries=tuple(entries),
        start=entries[0].event.created_at,
        end=entries[-1].event.created_at,
        is_current=is_current and stage is not None,
    )


def _entry(
    event: RunEvent,
    previous_at: datetime | None,
    artifacts: Mapping[tuple[int, ArtifactType], ArtifactInfo],
    artifact_views: Mapping[int, ArtifactView],
    failure: StageFailure | None,
    max_bytes: int,
) -> Entry:
    output = artifacts.get((event.attempt or 0, ArtifactType.OUTPUT))
    kind = _kind(event, output)
    artifact_type = _ARTIFACT_TYPES.get(kind)
    artifact = artifacts.get((event.attempt or 0, artifact_type)) if artifact_type else None
    gap = event.created_at - previous_at if previous_at else timedelta()
    message = event.message or event.event_type.value.replace("_", " ").capitalize()
    shown = TextAllowance(max_bytes).take(message, _MAX_MESSAGE)
    return Entry(
        event=event,
        kind=kind,
        message=shown,
        is_cut=shown != message,
        metadata=_metadata(event.metadata, kind, hidden=FAILURE_KEYS if failure is not None else frozenset()),
        gap=gap if gap > _MIN_GAP else None,
        artifact=artifact_views.get(artifact.id) if artifact else None,
        failure=failure if failure is not None and failure.has_place else None,
    )


def _failures(events: Sequence[RunEvent]) -> dict[int, StageFailure]:
    """Return the failures that events report, by event id; of the newest ones the tracebacks too."""
    failures: dict[int, StageFailure] = {}
    left = _MAX_TRACEBACKS_BYTES
    for event in reversed(events):
        failure = stage_failure(event)
        if failure is not None:
            traceback = failure.traceback[-_MAX_TRACEBACK:]
            left -= html_bytes(traceback + failure.exception + failure.at)
            if left >= 0:
                failures[event.id] = attrs.evolve(failure, traceback=traceback)
            else:
                exception, at = failure.exception[:_MAX_NAME], failure.at[:_MAX_NAME]
                failures[event.id] = attrs.evolve(failure, traceback="", exception=exception, at=at)
    return failures


def _kind(event: RunEvent, output: ArtifactInfo | None) -> EntryKind:
    """Return the symbol of an event; a log event that names the stored output of its attempt reports its storing."""
    if event.event_type is EventType.ERROR:
        return EntryKind.ERROR
    if event.event_type is EventType.SCORE_UPDATE:
        return EntryKind.SCORE
    if event.event_type is EventType.STAGE_CHANGE:
        return EntryKind.STAGE
    if output is None or event.stage not in (Stage.PRODUCING, Stage.REVISING):
        return EntryKind.LOG
    is_output = (event.metadata or {}).get("filename") == output.filename
    return EntryKind.ARTIFACT if is_output else EntryKind.LOG


def _metadata(metadata: Mapping[str, Any] | None, kind: EntryKind, *, hidden: frozenset[str]) -> str:
    """Return the metadata that is not shown elsewhere, as ``name=value``."""
    hidden |= _SHOWN_ELSEWHERE | {"filename"} if kind is EntryKind.ARTIFACT else _SHOWN_ELSEWHERE
    pairs = ((name, value) for name, value in (metadata or {}).items() if name not in hidden)
    return display_text.shorten(
        "  ".join(f"{isolated(name)}={isolated(display_text.plain(value))}" for name, value in pairs), _MAX_METADATA
    )
