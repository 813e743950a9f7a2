"""Statistics of agents in SQL equal those of the readable reference."""

import random

from loopkit.stores import list_reference
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import figures
from tests.stores.sql.conftest import CLOCK, Foreign
from tests.stores.sql.test_run_list import every_run, some_runs


def test_figures_equal_the_reference(database: Database, foreign: Foreign) -> None:
    """The figures of every agent are those of the reference."""
    made = some_runs(random.Random(3), 80)
    foreign.add_runs(*made)
    runs = every_run(database, [run["id"] for run in made])
    with database.reading() as connection:
        assert figures.stats(connection, CLOCK) == list_reference.stats(runs)
        assert figures.overview(connection, CLOCK) == list_reference.overview(runs)
