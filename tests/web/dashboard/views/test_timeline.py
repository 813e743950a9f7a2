"""Tests of the timeline."""

from datetime import timedelta
from typing import Any

import pytest

from loopkit.core.journal import ArtifactType, EventType, RunEvent
from loopkit.core.run import Stage
from loopkit_web.dashboard.views.timeline import EntryKind, event_groups
from tests.web.dashboard.value_helpers import START, make_artifact, make_run


def make_event(number: int, **fields: Any) -> RunEvent:
    """Return a log event that was written ``number`` seconds after START."""
    defaults: dict[str, Any] = {"event_type": EventType.LOG, "attempt": 1, "message": "m"}
    return RunEvent(id=number, run_id="run_1", created_at=START + timedelta(seconds=number), **defaults | fields)


def test_events_are_grouped_by_attempt_and_stage() -> None:
    """Events between stages are in sections without a label; an event without an attempt joins the last group."""
    events = [
        make_event(1, message="Queued"),
        make_event(2, stage=Stage.PRODUCING),
        make_event(3, stage=Stage.PRODUCING),
        make_event(4, stage=Stage.EVALUATING),
        make_event(5, stage=Stage.REVISING, attempt=2),
        make_event(6, attempt=None, message="Passed"),
    ]
    groups = event_groups(make_run(), events, {}, {}, ())
    assert [
        (group.number, [(section.label, len(section.entries)) for section in group.sections]) for group in groups
    ] == [
        (1, [("", 1), ("Produce", 2), ("Evaluate", 1)]),
        (2, [("Revise", 1), ("", 1)]),
    ]


def test_long_gap_is_shown() -> None:
    """More than 30 seconds without an event are shown before the next one."""
    [group] = event_groups(make_run(), [make_event(1), make_event(31), make_event(62)], {}, {}, ())
    entries = [entry for section in group.sections for entry in section.entries]
    assert [entry.gap for entry in entries] == [None, None, timedelta(seconds=31)]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, EntryKind.LOG),
        ({"event_type": EventType.STAGE_CHANGE}, EntryKind.STAGE),
        ({"event_type": EventType.SCORE_UPDATE}, EntryKind.SCORE),
        ({"event_type": EventType.ERROR}, EntryKind.ERROR),
        ({"stage": Stage.PRODUCING, "metadata": {"filename": "attempt-1.md"}}, EntryKind.ARTIFACT),
        ({"metadata": {"filename": "a.csv"}}, EntryKind.LOG),
        ({"stage": Stage.PRODUCING, "metadata": {"filename": "a.csv"}}, EntryKind.LOG),
        ({"stage": Stage.PRODUCING, "attempt": 2, "metadata": {"filename": "attempt-1.md"}}, EntryKind.LOG),
    ],
)
def test_symbol_of_an_event(fields: dict[str, Any], kind: EntryKind) -> None:
    """A log event stands for a stored output only if it names the output of its attempt, in a stage that makes one."""
    output = make_artifact("x").info
    artifacts = {(1, ArtifactType.OUTPUT): output}
    [group] = event_groups(make_run(), [make_event(1, **fields)], artifacts, {}, ())
    assert group.sections[0].entries[0].kind is kind


def test_metadata_is_shown_unless_it_is_shown_elsewhere() -> None:
    """Metadata is listed as name=value, except what the message or the artifact shows."""
    event = make_event(1, metadata={"score": 0.5, "feedback": "long", "tool": "search", "rows": [1, 2]})
    [group] = event_groups(make_run(), [event], {}, {}, ())
    assert group.sections[0].entries[0].metadata == "tool=search rows=1, 2"


def test_tracebacks_of_a_window_are_bounded() -> None:
    """Events show the end of their traceback; of a window full of them only the newest ones have one."""
    metadata = {"exception": "E", "at": "a.py:3", "traceback": "<" * 16_000 + "end"}
    events = [make_event(number, metadata=metadata) for number in range(1, 201)]
    [group] = event_groups(make_run(), events, {}, {}, ())
    failures = [entry.failure for section in group.sections for entry in section.entries]
    texts = [failure.traceback for failure in failures if failure is not None]
    assert len(texts) == 200
    assert texts[-1].endswith("end")
    assert sum(4 * len(text) for text in texts) <= 160_000
    assert {failure.at for failure in failures if failure is not None} == {"a.py:3"}


def test_filename_in_a_stages_own_log_line_is_shown() -> None:
    """Only the filename of the stored output is left out, since the output is shown below its event."""
    artifacts = {(1, ArtifactType.OUTPUT): make_artifact("x").info}
    events = [
        make_event(number, stage=Stage.PRODUCING, metadata={"filename": name})
        for number, name in enumerate(("data.csv", "attempt-1.md"), 1)
    ]
    [group] = event_groups(make_run(), events, artifacts, {}, ())
    assert [entry.metadata for entry in group.sections[0].entries] == ["filename=data.csv", ""]
