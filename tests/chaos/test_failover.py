"""A primary that is lost for good, and the synchronous standby that is promoted in its place."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.chaos.fleet_helpers import fleet, wait_until
from tests.chaos.verdict_helpers import judge
from tests.servers.postgres import Postgres, Standby

pytestmark = pytest.mark.chaos


@pytest.fixture
def pair() -> Iterator[tuple[Postgres, Standby, str]]:
    """A primary, its synchronous standby, and the URL of a database on whichever of them takes writes."""
    with Postgres(fsync=True, tcp=True) as primary:
        name = urlsplit(primary.databases.create()).path.lstrip("/")
        primary.stop()
        standby = Standby(primary)
        try:
            standby._initialize(standby.folder / "data")  # while the primary's files are at rest
            primary.start()
            standby.start()
            with psycopg.connect(primary.dsn(), autocommit=True) as admin:
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.execute("SELECT pg_reload_conf()")
                states = "SELECT sync_state FROM pg_stat_replication"
                wait_until(lambda: admin.execute(states).fetchall() == [("sync",)], "the standby does not follow")
            yield primary, standby, f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{name}"
        finally:
            standby.close()


def test_a_promoted_standby_has_all_that_was_acknowledged(pair: tuple[Postgres, Standby, str], tmp_path: Path) -> None:
    """Runners go on by themselves where the standby is, and no run and no finished stage is lost."""
    primary, standby, url = pair
    with fleet(url, tmp_path, 2) as made:
        acknowledged = made.submit(120)
        wait_until(lambda: len(made.busy_workers()) == 2, "the workers hold nothing")
        acknowledged += made.submit(30)
        assert made.open_runs() > 30
        primary.kill()
        standby.promote()
        acknowledged += made.submit(30)
        assert all(worker.status is None for worker in made.workers)
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) * 0.9
