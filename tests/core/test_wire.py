"""Values as other programs see them: exactly these names, in these forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit import wire
from loopkit.clock import truncate
from loopkit.core.journal import Artifact, ArtifactType, EventType, RunEvent
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.errors import Fault

AT: Final = datetime(2031, 4, 5, 6, 7, 8, 900_000, tzinfo=UTC)
TEXT: Final = "2031-04-05T06:07:08.900Z"


def test_a_run() -> None:
    """Every name of the outside and nothing of the inside."""
    run = Run(
        id="run_1",
        agent_name="writer",
        cycle_id="2031-04-05-001",
        status=RunStatus.RUNNING,
        current_stage=Stage.REVISING,
        current_attempt=2,
        max_attempts=3,
        pass_threshold=0.8,
        final_score=0.5,
        best_attempt=1,
        inputs={"snake_key": [1, {"other_key": None}]},
        claimed_at=AT,
        claimed_by="host:1:x",
        heartbeat_at=AT,
        started_at=AT,
        created_at=AT,
        stalled=True,
        fencing_token=7,
        lease_id="secret",
        lost_leases=1,
        definition="d",
    )
    assert wire.run(run) == {
        "id": "run_1",
        "agentName": "writer",
        "cycleId": "2031-04-05-001",
        "status": "running",
        "currentStage": "revising",
        "currentAttempt": 2,
        "maxAttempts": 3,
        "passThreshold": 0.8,
        "finalScore": 0.5,
        "bestAttempt": 1,
        "errorMessage": None,
        "inputs": {"snake_key": [1, {"other_key": None}]},
        "claimedAt": TEXT,
        "claimedBy": "host:1:x",
        "heartbeatAt": TEXT,
        "cancelRequestedAt": None,
        "startedAt": TEXT,
        "completedAt": None,
        "createdAt": TEXT,
        "retryOf": None,
        "stalled": True,
    }


def test_an_event() -> None:
    """Empty fields are null; metadata is given as it is."""
    event = RunEvent(
        id=5, run_id="run_1", event_type=EventType.SCORE_UPDATE, stage=Stage.EVALUATING, attempt=1, message="m",
        metadata={"claimed_by": "as it is"}, created_at=AT,
    )  # fmt: skip
    assert wire.event(event) == {
        "id": 5,
        "runId": "run_1",
        "eventType": "score_update",
        "stage": "evaluating",
        "attempt": 1,
        "message": "m",
        "metadata": {"claimed_by": "as it is"},
        "createdAt": TEXT,
    }
    bare = wire.event(RunEvent(id=6, run_id="run_1", event_type=EventType.LOG, created_at=AT))
    assert (bare["stage"], bare["attempt"], bare["message"], bare["metadata"]) == (None, None, None, None)


def test_an_artifact() -> None:
    """The content is text, JSON or not."""
    artifact = Artifact(
        id=3, run_id="run_1", attempt=1, artifact_type=ArtifactType.OUTPUT, filename="attempt-1.json", content="{}",
        is_json=True, created_at=AT,
    )  # fmt: skip
    assert wire.artifact(artifact) == {
        "id": 3,
        "runId": "run_1",
        "attempt": 1,
        "artifactType": "output",
        "filename": "attempt-1.json",
        "content": "{}",
        "createdAt": TEXT,
    }


def test_a_fault() -> None:
    """A pointer and a sentence."""
    assert wire.fault(Fault("/thesis", "is missing")) == {"pointer": "/thesis", "detail": "is missing"}


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "2031-04-05 06:07:08.900",
        "2031-04-05T06:07:08.9+00:00",
        "2031-04-05T08:07:08.900+02:00",
        "2031-04-05T06:07:08.900",
    ],
)
def test_a_time_is_read_in_each_form(text: str) -> None:
    """With T or a blank, with Z, an offset or neither: the same moment, aware and in UTC."""
    found = wire.parse_instant(text)
    assert found == AT
    assert found.utcoffset() == timedelta(0)


@given(st.datetimes(timezones=st.integers(-12, 14).map(lambda h: timezone(timedelta(hours=h)))))
def test_a_time_is_read_back(moment: datetime) -> None:
    """To the millisecond, whatever its zone."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return
    assert wire.parse_instant(wire.instant(moment)) == truncate(moment)


def test_what_is_no_time_is_an_error() -> None:
    """Not a guess."""
    with pytest.raises(ValueError, match="soon"):
        wire.parse_instant("soon")


@pytest.mark.parametrize(("inside", "outside"), [("id", "id"), ("final_score", "finalScore"), ("retry_of", "retryOf")])
def test_names(inside: str, outside: str) -> None:
    """snake_case inside, camelCase outside."""
    assert wire.camel(inside) == outside
