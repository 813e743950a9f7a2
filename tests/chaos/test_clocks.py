"""Machines with wrong clocks: only the database's clock counts, so nothing changes."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.operations import run_queries
from tests.chaos.fleet_helpers import fleet
from tests.chaos.verdict_helpers import judge
from tests.tool_helpers import require_tool

pytestmark = pytest.mark.chaos

HOURS = 3


@pytest.fixture
def faketime() -> Path:
    """A library that moves the clock of the process it is loaded into."""
    require_tool("faketime", "to move the clocks of processes")
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def moments(url: str, run_ids: list[str]) -> list[datetime]:
    """Return every stored time of some runs, and the database's current time last."""
    database = open_database(url)
    found: list[datetime | None] = []
    with database.reading() as connection:
        for run_id in run_ids:
            run = run_queries.get_run(connection, run_id, {"now": None, "stalled_seconds": 1})
            found += [run.created_at, run.started_at, run.claimed_at, run.heartbeat_at, run.completed_at]
            found += [event.created_at for event in run_queries.list_events(connection, run_id)]
            found += [artifact.created_at for artifact in run_queries.list_artifacts(connection, run_id)]
        found.append(connection.execute(select(func.clock_timestamp())).scalar_one())
    database.close()
    return [moment for moment in found if moment is not None]


def test_workers_whose_clocks_are_hours_off(postgres_url: str, tmp_path: Path, faketime: Path) -> None:
    """They share the work, take over what a sound one leaves, and write no time of their own."""
    before = datetime.now(UTC) - timedelta(minutes=1)
    with fleet(postgres_url, tmp_path, 1) as made:
        for hours in (HOURS, -HOURS):
            environment = {
                "LD_PRELOAD": str(faketime),
                "FAKETIME": f"{hours:+}h",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
            made.skews[made.hire(postgres_url, environment=environment).pid] = hours * 3600.0
        sound = made.workers[0]
        acknowledged = made.submit(60)
        while not made.held_by(sound):
            time.sleep(0.01)
        made.kill(sound)
        made.finish()
        assert judge(made, acknowledged) == {"passed": len(acknowledged)}
        assert any(run.fencing_token > 1 for run in made.runs())
        stamps = moments(postgres_url, acknowledged)
        called = {int(line.split()[1]) for line in made.log.read_text().splitlines()}
    assert set(made.skews) <= called, "a worker with a wrong clock did nothing"
    assert before < min(stamps)
    assert max(stamps) == stamps[-1]
