"""Schedules by seed: nothing acknowledged is lost, nothing is done twice, and no stale write is accepted."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.length_helpers import count
from tests.simulation.world import simulate
from tests.stores.ways_helpers import assert_both_taken, count_ways

ROOT = Path(__file__).parent.parent.parent
SHARES = 5
SCHEDULES = count("schedules", 550, long=5_500)
"""Schedules on each store; of eleven in a row at least ten are distinct, and only distinct ones count."""
FIRST = int(os.environ.get("LOOPKIT_TEST_FIRST_SEED", "0"))
EXPECTED = {"sqlite": ("freeze", "after commit"), "memory": ("freeze", "answer")}
"""Faults that must occur, by store."""
KEPT = (("sqlite", 32),)
"""Seeds that once failed: a stop became an error, since the claim under way got no response."""


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("ground", EXPECTED)
def test_every_schedule_keeps_the_promises(ground: str, share: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever fails, freezes or dies, each run ends once, with what was acknowledged in it."""
    caplog.set_level(logging.CRITICAL, "loopkit")
    seeds = range(FIRST + share, FIRST + SCHEDULES, SHARES)
    reports = [simulate(seed, ground) for seed in seeds]
    struck = {point: sum(report.faults.get(point, 0) for report in reports) for point in EXPECTED[ground]}
    assert len({report.trace for report in reports}) >= len(seeds) * 10 / 11
    assert all(number > len(seeds) / 5 for number in struck.values()), struck


def test_changes_are_written_as_meant_and_carefully(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedules take both ways of writing a batch of changes, so the promises are checked of both."""
    ways = count_ways(monkeypatch)
    for seed in range(FIRST, FIRST + 20):
        simulate(seed, "sqlite")
    assert_both_taken(ways, least=5)


@pytest.mark.parametrize(("ground", "seed"), KEPT)
def test_seeds_that_once_found_something_stay_sound(ground: str, seed: int) -> None:
    """A schedule that broke a promise before is lived through again."""
    assert simulate(seed, ground).steps


@pytest.mark.parametrize("ground", EXPECTED)
def test_the_same_seed_gives_the_same_bytes_in_another_process(ground: str) -> None:
    """A schedule depends on its seed alone: not on the process, on the order of sets, or on schedules before it."""
    code = f"import json; from tests.simulation.world import simulate; print(json.dumps(simulate(7, {ground!r}).lines))"
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    simulate(6, ground)
    assert tuple(json.loads(there.stdout)) == simulate(7, ground).lines
