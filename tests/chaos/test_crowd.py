"""Many processes on one SQLite file."""

from pathlib import Path

import pytest

from loopkit.stores.sql.databases.sqlite_wal import LIMIT_BYTES
from tests.chaos.fleet_helpers import fleet
from tests.chaos.verdict_helpers import judge

pytestmark = pytest.mark.chaos


def test_sixteen_processes_share_a_thousand_runs_in_one_file(sqlite_url: str, tmp_path: Path) -> None:
    """No lock error reaches anybody, nothing is lost or done twice, and the write-ahead log stays small."""
    with fleet(sqlite_url, tmp_path, 16, stalled_after=60) as made:
        acknowledged = made.submit(1000)
        made.finish()
        assert (tmp_path / "loopkit.db-wal").stat().st_size < LIMIT_BYTES, "the log was not begun anew"
        assert judge(made, acknowledged) == {"passed": 1000}
    told = made.told
    assert "locked" not in told, told
