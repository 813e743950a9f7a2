"""The registry of runners, and the runs that they hold."""

from datetime import timedelta

from loopkit.storage import RunnerInfo
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import runners
from tests.stores.sql.conftest import CLOCK, NOON, Foreign, at


def test_holdings_start_with_the_longest_silent(database: Database, foreign: Foreign) -> None:
    """Running runs are sorted by their last sign of life, whichever column holds it; ``limit`` bounds them."""
    foreign.add_runs(
        {"id": "a", "status": "running", "heartbeat_at": NOON},
        {"id": "b", "status": "running", "claimed_at": NOON - timedelta(seconds=1)},
        {"id": "c", "status": "running", "started_at": NOON - timedelta(seconds=2), "created_at": NOON},
        {"id": "d", "status": "passed", "heartbeat_at": NOON - timedelta(days=1)},
    )
    with database.reading() as connection:
        assert [run.id for run in runners.holdings(connection, 10, CLOCK)] == ["c", "b", "a"]
        assert [run.id for run in runners.holdings(connection, 1, CLOCK)] == ["c"]


def test_runners_are_known_for_a_day(database: Database, foreign: Foreign) -> None:
    """The newest announcement of a runner counts, its start stays, and after a day of silence it is removed."""
    first = RunnerInfo(id="1", name="h:1", version="0", agents=("a", "ü"), slots=2)
    second = RunnerInfo(id="2", name="h:2", version="0", agents=(), slots=1, heartbeat=timedelta(seconds=1.5))
    announcements = [
        (first, NOON),
        (second, NOON + timedelta(seconds=1)),
        (RunnerInfo(id="1", name="h:1", version="0", agents=("a",), slots=2, busy=1, draining=True, gone=True),
         NOON + timedelta(seconds=5)),
    ]  # fmt: skip
    for runner, moment in announcements:
        with database.writing() as connection:
            runners.announce(connection, database, runner, at(foreign, moment))
    with database.reading() as connection:
        known = runners.known_runners(connection, at(foreign, NOON + timedelta(seconds=9)))
        assert [runner.id for runner in known] == ["2", "1"]
        assert known[0].heartbeat == timedelta(seconds=1.5)
        assert known[1].started_at == NOON
        assert known[1].seen_at == NOON + timedelta(seconds=5)
        assert known[1].age == timedelta(seconds=4)
        assert (known[1].agents, known[1].busy, known[1].draining, known[1].gone) == (("a",), 1, True, True)
        later = at(foreign, NOON + timedelta(days=1, seconds=3))
        assert [runner.id for runner in runners.known_runners(connection, later)] == ["1"]
    with database.writing() as connection:
        runners.announce(connection, database, first, at(foreign, NOON + timedelta(days=1, seconds=3)))
    with database.reading() as connection:
        assert [runner.id for runner in runners.known_runners(connection, CLOCK | {"now": foreign.time(NOON)})] == ["1"]
