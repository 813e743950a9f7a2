"""What pages show beside the runs equals what the reference gives, and stays bounded."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from loopkit.core.run import RunStatus
from loopkit.storage import RunnerInfo
from loopkit.stores import listing
from loopkit.stores.sql import fleet, maintenance, tables
from loopkit.stores.sql.dialects import Database
from tests.stores.sql.conftest import CLOCK, Foreign
from tests.stores.sql.test_lists import every_run, some_runs

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(foreign: Foreign, moment: datetime) -> dict[str, object]:
    return CLOCK | {"now": foreign.time(moment)}


def test_figures_equal_the_reference(database: Database, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of every agent are those of the reference."""
    made = some_runs(random.Random(3), 80)
    foreign.add_runs(*made)
    runs = every_run(database, [run["id"] for run in made])
    with database.reading() as connection:
        assert fleet.stats(connection, CLOCK) == listing.stats(runs)
        assert fleet.overview(connection, CLOCK) == listing.overview(runs)


def test_holdings_begin_with_the_longest_silent(database: Database, foreign: Foreign) -> None:
    """Running runs come by their last sign of life, whatever it is, and no more than asked for."""
    foreign.add_runs(
        {"id": "a", "status": "running", "heartbeat_at": NOON},
        {"id": "b", "status": "running", "claimed_at": NOON - timedelta(seconds=1)},
        {"id": "c", "status": "running", "started_at": NOON - timedelta(seconds=2), "created_at": NOON},
        {"id": "d", "status": "passed", "heartbeat_at": NOON - timedelta(days=1)},
    )
    with database.reading() as connection:
        assert [run.id for run in fleet.holdings(connection, 10, CLOCK)] == ["c", "b", "a"]
        assert [run.id for run in fleet.holdings(connection, 1, CLOCK)] == ["c"]


def test_runners_are_known_for_a_day(database: Database, foreign: Foreign) -> None:
    """What a runner said last is what is known of it; its start stays, and after a day of silence it is forgotten."""
    first = RunnerInfo(id="1", name="h:1", version="0", agents=("a", "ü"), slots=2)
    second = RunnerInfo(id="2", name="h:2", version="0", agents=(), slots=1, heartbeat=timedelta(seconds=1.5))
    said = [
        (first, NOON),
        (second, NOON + timedelta(seconds=1)),
        (RunnerInfo(id="1", name="h:1", version="0", agents=("a",), slots=2, busy=1, draining=True, gone=True),
         NOON + timedelta(seconds=5)),
    ]  # fmt: skip
    for runner, moment in said:
        with database.writing() as connection:
            fleet.announce(connection, runner, at(foreign, moment))
    with database.reading() as connection:
        known = fleet.known_runners(connection, at(foreign, NOON + timedelta(seconds=9)))
        assert [runner.id for runner in known] == ["2", "1"]
        assert known[0].heartbeat == timedelta(seconds=1.5)
        assert known[1].started_at == NOON
        assert known[1].seen_at == NOON + timedelta(seconds=5)
        assert known[1].age == timedelta(seconds=4)
        assert (known[1].agents, known[1].busy, known[1].draining, known[1].gone) == (("a",), 1, True, True)
        later = at(foreign, NOON + timedelta(days=1, seconds=3))
        assert [runner.id for runner in fleet.known_runners(connection, later)] == ["1"]
    with database.writing() as connection:
        fleet.announce(connection, first, at(foreign, NOON + timedelta(days=1, seconds=3)))
    with database.reading() as connection:
        assert [runner.id for runner in fleet.known_runners(connection, CLOCK | {"now": foreign.time(NOON)})] == ["1"]


def test_trajectories_of_every_writer(database: Database, foreign: Foreign) -> None:
    """Scores come by attempt, loopkit's own off their column, another program's out of its JSON."""
    foreign.add_runs({"id": "ours"}, {"id": "theirs"}, {"id": "none"})
    for run_id, own in (("ours", True), ("theirs", False)):
        for attempt, score in ((2, 0.75), (1, 0.5)):
            values = {"run_id": run_id, "attempt": attempt, "artifact_type": "evaluation", "filename": "e"}
            content = {"content": "{}", "score": score} if own else {"content": f'{{"score": {score}}}'}
            foreign.add(tables.artifacts, values | content)
    with database.reading() as connection:
        found = fleet.trajectories(connection, ["theirs", "nobody", "ours", "none"])
    assert {run_id: one.scores for run_id, one in found.items()} == {
        "theirs": ((1, 0.5), (2, 0.75)),
        "ours": ((1, 0.5), (2, 0.75)),
        "none": (),
    }


def test_pruning_takes_whole_ended_runs(database: Database, foreign: Foreign) -> None:
    """The oldest ended runs go first, with all that is theirs, in parts; nothing else goes, however old it is."""
    for number, status in enumerate(RunStatus):
        moment = NOON - timedelta(hours=number)
        ended = {"completed_at": moment} if status.ended else {}
        foreign.add_runs({"id": status.value, "status": status.value, "created_at": NOON - timedelta(days=9), **ended})
        foreign.add(tables.events, {"run_id": status.value, "event_type": "log"})
        values = {"run_id": status.value, "attempt": 1, "artifact_type": "output", "filename": "f", "content": ""}
        foreign.add(tables.artifacts, values)
        foreign.add(tables.keys, {"key": status.value, "fingerprint": "f", "run_id": status.value})
    foreign.add_runs({"id": "endless", "status": "passed", "created_at": NOON - timedelta(days=9)})

    def prune(age: timedelta, limit: int = 500) -> list[str]:
        with database.writing() as connection:
            return maintenance.prune(connection, age, limit, at(foreign, NOON))

    assert prune(timedelta(days=1)) == []
    assert prune(timedelta(hours=3), 1) == ["cancelled"]
    assert prune(timedelta(hours=3), 1) == []
    assert prune(timedelta(hours=1), 0) == []
    assert prune(timedelta(hours=1)) == ["failed", "passed"]
    with database.reading() as connection:
        for table in (tables.events.c.run_id, tables.artifacts.c.run_id, tables.keys.c.run_id):
            assert set(connection.execute(table.table.select().with_only_columns(table)).scalars()) == {
                "queued",
                "running",
            }
        assert set(connection.execute(tables.runs.select().with_only_columns(tables.runs.c.id)).scalars()) == {
            "queued",
            "running",
            "endless",
        }
