"""Statistics of agents in SQL equal those of the readable reference."""

import random
from typing import Any

from loopkit.core.run import RunStatus
from loopkit.stores import list_reference
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import figures
from tests.stores.sql.conftest import CLOCK, Foreign
from tests.stores.sql.test_run_list import START, every_run, some_runs


def test_figures_equal_the_reference(database: Database, foreign: Foreign) -> None:
    """The figures of every agent are those of the reference."""
    made = some_runs(random.Random(3), 80)
    foreign.add_runs(*made)
    runs = every_run(database, [run["id"] for run in made])
    with database.reading() as connection:
        assert figures.stats(connection, CLOCK) == list_reference.stats(runs)
        assert figures.overview(connection, CLOCK) == list_reference.overview(runs)


def test_names_that_are_too_long_have_no_figures(database: Database, foreign: Foreign) -> None:
    """Runs of such agents are counted among all; of names that begin alike none is read, and others are found."""
    names = ["a", *("b" * 1500 + last for last in "xyz"), "b" * 1000, "c"]
    statuses = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PASSED)
    made: list[dict[str, Any]] = [
        {"id": f"{status}-{number}", "agent_name": name, "status": status.value, "created_at": START}
        for number, name in enumerate(names)
        for status in statuses
    ]
    foreign.add_runs(*made)
    runs = every_run(database, [run["id"] for run in made])
    with database.reading() as connection:
        stats, overview = figures.stats(connection, CLOCK), figures.overview(connection, CLOCK)
    assert (stats, overview) == (list_reference.stats(runs), list_reference.overview(runs))
    assert [agent.agent for agent in stats] == [agent.agent for agent in overview.agents] == ["a", "b" * 1000, "c"]
    assert overview.counts == {status: len(names) for status in statuses} | {"stalled": len(names)}
