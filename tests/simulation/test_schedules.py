"""Schedules by seed: nothing acknowledged is lost, nothing is done twice, and no stale write is accepted."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.settings import count
from tests.simulation.world import simulate

ROOT = Path(__file__).parent.parent.parent
SHARES = 10
SCHEDULES = count("schedules", 500, long=5_000)
FIRST = int(os.environ.get("LOOPKIT_TEST_FIRST_SEED", "0"))
KEPT = (60, 108, 491)
"""Seeds that once found something: two commits in one transaction, a lost run given back, a world that hurt its own
healer."""


@pytest.mark.parametrize("share", range(SHARES))
def test_every_schedule_keeps_the_promises(share: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever fails, freezes or dies, each run ends once, with what was acknowledged in it."""
    caplog.set_level(logging.CRITICAL, "loopkit")
    seeds = range(FIRST + share, FIRST + SCHEDULES, SHARES)
    reports = [simulate(seed) for seed in seeds]
    struck = {point: sum(report.faults.get(point, 0) for report in reports) for point in ("freeze", "after commit")}
    assert len({report.trace for report in reports}) == len(reports)
    assert all(report.runs for report in reports)
    assert all(number > len(seeds) / 5 for number in struck.values()), struck


@pytest.mark.parametrize("seed", KEPT)
def test_seeds_that_once_found_something_stay_sound(seed: int) -> None:
    """A schedule that broke a promise before is lived through again."""
    assert simulate(seed).runs


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    """A schedule depends on its seed alone, not on the process or on the order of sets."""
    code = "import json; from tests.simulation.world import simulate; print(json.dumps(simulate(7).lines))"
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    assert tuple(json.loads(there.stdout)) == simulate(7).lines
