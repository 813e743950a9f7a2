"""Schedules of runs with panels: no verdict that is stored is asked for again, and every score is what was said."""

import logging

import pytest

from tests.simulation.panels import PanelWorld
from tests.simulation.test_schedules import EXPECTED, FIRST, SCHEDULES
from tests.simulation.world import simulate

SEEDS = range(FIRST, FIRST + max(SCHEDULES // 50, 1))


@pytest.mark.parametrize("ground", EXPECTED)
def test_every_verdict_is_given_once_and_counts(ground: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever fails, freezes or dies: scores, stages and ends follow from the verdicts, and holders take over those
    that are stored.
    """
    caplog.set_level(logging.CRITICAL, "loopkit")
    worlds: list[PanelWorld] = []

    def make(seed: int, on: str) -> PanelWorld:
        worlds.append(PanelWorld(seed, on))
        return worlds[-1]

    for seed in SEEDS:
        simulate(seed, ground, world_of=make)
    assert sum(world.spared for world in worlds) >= len(worlds)
    assert {row.status for world in worlds for row in world.rows.values()} == {"passed", "failed", "cancelled"}
