"""Runs, artifacts and runners as values, for tests that need no store."""

from datetime import UTC, datetime, timedelta
from typing import Any

from loopkit.core.journal import Artifact, ArtifactType
from loopkit.core.run import Run, RunStatus
from loopkit.fleet import Backlog, RunnerEntry, RunnerList, RunnerState
from loopkit.storage import Overview
from loopkit_web.dashboard.views.runners_view import FleetView, fleet_view
from loopkit_web.fleet import FleetSnapshot

START = datetime(2026, 11, 22, 9, tzinfo=UTC)


def make_run(**fields: Any) -> Run:
    """Return a running run in its first attempt of three, with other fields where they are given."""
    defaults: dict[str, Any] = {"id": "run_1", "agent_name": "a", "cycle_id": "c", "status": RunStatus.RUNNING}
    defaults |= {"max_attempts": 3, "pass_threshold": 0.8, "inputs": {}, "created_at": START, "started_at": START}
    return Run(**defaults | fields)


def make_artifact(
    content: str,
    *,
    attempt: int = 1,
    artifact_type: ArtifactType = ArtifactType.OUTPUT,
    filename: str = "attempt-1.md",
    seconds: float = 0,
) -> Artifact:
    """Return an artifact that was stored some seconds after START."""
    return Artifact(
        id=2 * attempt + (artifact_type is ArtifactType.EVALUATION),
        run_id="run_1",
        attempt=attempt,
        artifact_type=artifact_type,
        filename=filename,
        created_at=START + timedelta(seconds=seconds),
        content=content,
    )


def make_evaluation(content: str, *, attempt: int = 1, seconds: float = 0) -> Artifact:
    """Return a stored evaluation."""
    return make_artifact(
        content,
        attempt=attempt,
        artifact_type=ArtifactType.EVALUATION,
        filename=f"attempt-{attempt}.eval.json",
        seconds=seconds,
    )


def make_fleet(*runners: RunnerEntry, backlog: tuple[Backlog, ...] = ()) -> FleetView:
    """Return these runners and this backlog as the pages show them."""
    listing = RunnerList(runners=runners, backlog=backlog)
    view = fleet_view(FleetSnapshot(listing=listing, overview=Overview(counts={}, agents=())))
    assert view is not None
    return view


def make_runner(name: str, state: RunnerState, *agents: str, slots: int = 2, busy: int = 0) -> RunnerEntry:
    """Return a runner without runs that serves these agents."""
    return RunnerEntry(
        id=name,
        name=name,
        version="0",
        state=state,
        agents=agents,
        slots=slots,
        busy=busy,
        started_at=None,
        seen_at=None,
        age_seconds=None,
        heartbeat_seconds=30,
        runs=(),
    )
