"""Fleets of real processes that are killed, frozen and stopped: nothing lost, nothing doubled, nothing stale."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet, fleet, judge
from tests.settings import count

pytestmark = pytest.mark.chaos

KILLS = count("kills", 12, long=2_000)
ZOMBIES = count("zombies", 3, long=300)
STOPS = count("stops", 6, long=200)
DATABASES = ["sqlite_url", "postgres_url"]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def keep_busy(made: Fleet, acknowledged: list[str]) -> None:
    """See to it that there is always something to lose."""
    if made.open_runs() < 30:
        acknowledged += made.submit(30)


def test_a_storm_of_kill_9(url: str, tmp_path: Path) -> None:
    """However often workers are killed, every run ends, with each result once, and finished stages are kept."""
    with fleet(url, tmp_path, 3) as made:
        acknowledged = made.submit(40)
        for _ in range(KILLS):
            time.sleep(made.chance.uniform(0.02, 0.3))
            made.kill_one()
            keep_busy(made, acknowledged)
            made.grow()
        made.finish()
        ended = judge(made, acknowledged)
    assert made.struck["kill"] == KILLS
    assert ended["passed"] > len(acknowledged) / 2


def test_zombies(url: str, tmp_path: Path) -> None:
    """A worker that was frozen for longer than its leases writes nothing more to the runs it lost, and lives on."""
    with fleet(url, tmp_path, 3) as made:
        acknowledged = made.submit(150)
        for _ in range(ZOMBIES):
            time.sleep(0.1)
            keep_busy(made, acknowledged)
            made.freeze_one()
            assert all(worker.status is None for worker in made.workers)
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) / 2
    assert "was lost to another runner" in (tmp_path / "stderr").read_text()


def test_stops_at_every_moment(url: str, tmp_path: Path) -> None:
    """A worker that is asked to stop exits 0 and holds nothing afterwards."""
    with fleet(url, tmp_path, 2) as made:
        acknowledged = made.submit(40)
        for _ in range(STOPS):
            time.sleep(made.chance.uniform(0.0, 0.2))
            made.stop_one()
            keep_busy(made, acknowledged)
            made.grow()
        made.finish()
        assert judge(made, acknowledged) == {"passed": len(acknowledged)}
