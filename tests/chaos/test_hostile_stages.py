"""Stages that kill the process they run in."""

import time
from pathlib import Path

import pytest

from loopkit.core.policy import MAX_LOSSES
from tests.chaos.fleet_helpers import PATIENCE_SECONDS, fleet
from tests.chaos.verdict_helpers import judge
from tests.chaos.worker_program import DEATHS

pytestmark = pytest.mark.chaos


def test_stages_that_kill_their_process_are_given_up(sqlite_url: str, tmp_path: Path) -> None:
    """Each takes a bounded number of workers with it, then its run fails; the runs beside it pass."""
    with fleet(sqlite_url, tmp_path, 2) as made:
        deadly = [run_id for way in DEATHS for run_id in made.submit(1, topic=way)]
        others = made.submit(20)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while made.open_runs():
            assert time.monotonic() < deadline
            made.regrow()
            time.sleep(0.05)
        made.bury()
        made.finish()
        judge(made, deadly + others)
        found = {run.id: run for run in made.runs()}
    assert [(found[run_id].status, found[run_id].fencing_token) for run_id in deadly] == [("failed", MAX_LOSSES)] * 3
    assert MAX_LOSSES <= made.struck["death"] <= MAX_LOSSES * len(DEATHS)
    assert sum(found[run_id].status == "passed" for run_id in others) > len(others) / 2
