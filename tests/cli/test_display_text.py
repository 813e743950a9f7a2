"""Runs, events and spans of time in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.runner import RunnerStatus
from loopkit_cli import display_text

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
RUN = Run(
    id="run_1",
    agent_name="hello",
    cycle_id="2026-11-22-001",
    status=RunStatus.RUNNING,
    current_stage=Stage.REVISING,
    current_attempt=2,
    max_attempts=3,
    pass_threshold=0.8,
    inputs={},
    started_at=START,
    created_at=START,
)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0 s"),
        (7.25, "7.2 s"),
        (59.9, "59.9 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_a_span_has_the_units_that_matter(seconds: float, said: str) -> None:
    """Short ones to a tenth of a second, long ones to the minute."""
    assert display_text.span(timedelta(seconds=seconds)) == said


def event(kind: EventType, message: str | None, **metadata: Any) -> RunEvent:
    return RunEvent(
        id=1, run_id="run_1", event_type=kind, attempt=2, message=message, metadata=metadata, created_at=START
    )


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (event(EventType.LOG, "a\x1b[31m\nb"), "12:00:00Z  attempt 2   a[31m b"),
        (event(EventType.ERROR, "broke"), "12:00:00Z  attempt 2   Error: broke"),
        (
            event(EventType.SCORE_UPDATE, "Evaluated - Score: 0.50", score=0.5, feedback="too\nlong"),
            "12:00:00Z  attempt 2   Evaluated - Score: 0.50: too long",
        ),
        (
            event(EventType.SCORE_UPDATE, "Evaluated - Score: 0.50", feedback=7),
            "12:00:00Z  attempt 2   Evaluated - Score: 0.50",
        ),
        (attrs.evolve(event(EventType.LOG, None), attempt=None), "12:00:00Z              log"),
    ],
)
def test_an_event_is_one_harmless_line(told: RunEvent, line: str) -> None:
    """When, which attempt, what, and with a score the feedback; whatever the row holds."""
    assert display_text.event(told) == line


def test_facts_leave_out_what_is_not_there() -> None:
    """A fresh run has no error and no holder; an ended one tells of its end."""
    fresh = dict(display_text.facts(attrs.evolve(RUN, started_at=None), START))
    assert not {"error", "claimed by", "ended", "retry of", "started"} & fresh.keys()
    assert fresh["score"] == "none yet (passes at 0.8)"
    ended = attrs.evolve(
        RUN,
        status=RunStatus.FAILED,
        current_stage=None,
        final_score=0.5,
        best_attempt=1,
        error_message="broke",
        claimed_by="host:1:x",
        retry_of="run_0",
        completed_at=START + timedelta(seconds=3),
    )
    told = dict(display_text.facts(ended, START + timedelta(days=1)))
    assert told["score"] == "0.50 by attempt 1 (passes at 0.8)"
    assert (told["error"], told["retry of"], told["worked for"]) == ("broke", "run_0", "3.0 s")
    assert "stage" not in told


def test_an_ending_says_what_to_do_next() -> None:
    """A released run is taken up again, a failed one retried, a passed one looked at."""
    assert display_text.next_commands(RUN)[0] == "run hello --workflow-id run_1"
    assert display_text.ending(RUN).startswith("Released")
    failed = attrs.evolve(RUN, status=RunStatus.FAILED, error_message="broke", completed_at=START)
    assert display_text.ending(failed) == "Failed at attempt 2 of 3 after 0.0 s: broke"
    assert "retry run_1" in display_text.next_commands(failed)
    passed = attrs.evolve(RUN, status=RunStatus.PASSED, final_score=1.0)
    assert display_text.ending(passed) == "Passed (1.00) at attempt 2 of 3"
    assert "retry run_1" not in display_text.next_commands(passed)
    odd = attrs.evolve(RUN, id="$(x)", agent_name="a; b")
    assert display_text.next_commands(odd)[0] == "run 'a; b' --workflow-id '$(x)'"


def test_a_tally_leaves_out_what_did_not_happen() -> None:
    """A runner's figures are short."""
    assert display_text.tally(RunnerStatus(slots=8)) == "busy 0/8 · claimed 0"
    assert (
        display_text.tally(RunnerStatus(slots=8, busy=1, claimed=3, passed=1, lost=1))
        == "busy 1/8 · claimed 3 · passed 1 · lost 1"
    )
