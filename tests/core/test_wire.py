"""Values as other programs see them: exactly these names, in these forms."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit import wire
from loopkit.clock import truncate
from loopkit.core.journal import Artifact, ArtifactType, EventType, RunEvent
from loopkit.core.ledger.sums import SUM_NAMES, RunUsage, Spending
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
        "policy": None,
        "endReason": None,
        "title": None,
        "tags": [],
        "usage": {"inputTokens": 0, "outputTokens": 0, "usd": None, "unpricedCalls": 0, "seconds": 0.0},
    }


def test_the_usage_of_a_run_in_python_is_that_of_its_wire_form() -> None:
    sums = Spending(input_tokens=5, output_tokens=7, cost_nanos=1_500_000, unpriced_calls=2, stage_seconds=1.23456)
    run = Run(
        id="run_1", agent_name="a", cycle_id="c", status=RunStatus.QUEUED, max_attempts=1, pass_threshold=0.8,
        inputs={}, created_at=AT, **{name: getattr(sums, name) for name in SUM_NAMES},
    )  # fmt: skip

    assert run.usage == RunUsage(input_tokens=5, output_tokens=7, usd=0.0015, unpriced_calls=2, seconds=1.235)
    assert wire.run(run)["usage"] == {
        "inputTokens": 5, "outputTokens": 7, "usd": 0.0015, "unpricedCalls": 2, "seconds": 1.235,
    }  # fmt: skip


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
    moment = wire.parse_instant(text)
    assert moment == AT
    assert moment.utcoffset() == timedelta(0)


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


CAMEL_CASE: Final = re.compile("[a-z]+([A-Z][a-z]*)+")
SNAKE_CASE: Final = re.compile("[a-z]+(_[a-z]+)+")
PACKAGES: Final = Path(__file__).parent.parent.parent / "packages"


@cache
def sources() -> list[tuple[str, ast.AST]]:
    """Return every node of the syntax trees of all source files but ``wire.py``, each with the name of its file."""
    return [
        (str(path.relative_to(PACKAGES)), node)
        for path in sorted(PACKAGES.rglob("src/**/*.py"))
        if path.name != "wire.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_nothing_else_converts_names_or_times() -> None:
    """No other module takes a name apart at its underscores, parses a time or formats one in ISO 8601."""
    for place, node in sources():
        match node:
            case ast.Call(
                func=ast.Attribute(attr="split" | "rsplit" | "partition"), args=[ast.Constant(value="_"), *_]
            ):
                raise AssertionError(f"{place}:{node.lineno} takes a name apart: use wire.camel")
            case ast.Attribute(attr="fromisoformat"):
                raise AssertionError(f"{place}:{node.lineno} parses a time: use wire.parse_instant")
            case ast.Call(func=ast.Attribute(attr="isoformat"), args=args, keywords=keywords) if args or keywords:
                raise AssertionError(f"{place}:{node.lineno} formats a time: use wire.instant")


def named_values(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each camelCase key that is written by hand, with the name of the attribute or variable it is set to."""
    pairs: list[tuple[object, ast.expr]] = []
    match node:
        case ast.Dict(keys=keys, values=values):
            pairs = [
                (key.value, value) for key, value in zip(keys, values, strict=True) if isinstance(key, ast.Constant)
            ]
        case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=subscript))], value=value):
            pairs = [(subscript, value)]
        case ast.keyword(arg=argument, value=value):
            pairs = [(argument, value)]
    for key, value in pairs:
        name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
        if isinstance(key, str) and CAMEL_CASE.fullmatch(key) and SNAKE_CASE.fullmatch(name):
            yield key, name


def test_keys_written_by_hand_are_the_names_of_their_values() -> None:
    """``{"maxAttempts": agent.max_attempts}`` is what the converter writes; so is every other key of its kind."""
    pairs = [(place, key, name) for place, node in sources() for key, name in named_values(node)]
    assert [pair for pair in pairs if pair[1] != wire.camel(pair[2])] == []
    assert len(pairs) >= 10
