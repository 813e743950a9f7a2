"""Fleets of real processes that are killed, frozen and stopped: nothing lost, nothing doubled, nothing stale."""

import time
from pathlib import Path

import pytest

from tests.chaos.fleet_helpers import fleet
from tests.chaos.verdict_helpers import judge
from tests.length_helpers import count

pytestmark = pytest.mark.chaos

KILLS = count("kills", 25, long=2_000)
ZOMBIES = count("zombies", 4, long=300)
STOPS = count("stops", 10, long=200)
DATABASES = ["sqlite_url", "postgres_url"]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_a_storm_of_kill_9(url: str, tmp_path: Path) -> None:
    """However often workers are killed, every run ends, with each result once, and finished stages are kept."""
    with fleet(url, tmp_path, 4) as made:
        acknowledged = made.submit(60)
        while made.struck["kill"] < KILLS:
            time.sleep(made.chance.uniform(0.0, 0.1))
            made.kill_one()
            made.keep_busy(acknowledged)
            made.grow()
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) / 2


def test_zombies(url: str, tmp_path: Path) -> None:
    """A worker that was frozen for longer than its leases writes nothing more to the runs it lost, and lives on."""
    with fleet(url, tmp_path, 4) as made:
        acknowledged = made.submit(150)
        while made.struck["zombie"] < ZOMBIES:
            time.sleep(made.chance.uniform(0.0, 0.1))
            made.keep_busy(acknowledged)
            made.freeze_two()
            assert all(worker.status is None for worker in made.workers)
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) / 2
    assert "was lost to another runner" in made.told


def test_stops_at_every_moment(url: str, tmp_path: Path) -> None:
    """A worker that is asked to stop exits 0 and holds nothing afterwards."""
    with fleet(url, tmp_path, 3) as made:
        acknowledged = made.submit(60)
        while made.struck["stop"] < STOPS:
            time.sleep(made.chance.uniform(0.0, 0.1))
            made.stop_one()
            made.keep_busy(acknowledged)
            made.grow()
        made.finish()
        assert judge(made, acknowledged) == {"passed": len(acknowledged)}
