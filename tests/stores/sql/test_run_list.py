"""The list of runs equals the reference in ``loopkit.stores.list_reference``, and reads only what it shows."""

import random
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from attrs import evolve

from loopkit.core.run import Run, RunStatus
from loopkit.errors import UnusableOption
from loopkit.storage import Order, RunQuery
from loopkit.stores import cursors, list_reference
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.libsql import LibsqlDatabase
from loopkit.stores.sql.operations import run_queries
from tests.length_helpers import count
from tests.stores.sql.conftest import CLOCK, Foreign

START = datetime(2026, 3, 1, tzinfo=UTC)
AGENTS = ("alpha", "alphabet", "beta", "Ünïcode")


def some_runs(draw: random.Random, number: int) -> list[dict[str, Any]]:
    """Runs of all states, many with equal times, some with times as other programs write them."""
    made = []
    for index in range(number):
        created = START + timedelta(milliseconds=draw.choice([0, 1, 250, 1000, 86_400_000]) * draw.randrange(30))
        status = draw.choice(list(RunStatus))
        began = status is not RunStatus.QUEUED and draw.random() < 0.9
        started = created + timedelta(seconds=draw.randrange(20)) if began else None
        run: dict[str, Any] = {
            "id": draw.choice(["run_", "run_0", "other-"]) + f"{draw.randrange(36**4):x}-{index}",
            "agent_name": draw.choice(AGENTS),
            "cycle_id": draw.choice(["2026-03-01-001", "2026-03-02-1000", "weekly", "alpha"]),
            "status": status.value,
            "created_at": created,
            "started_at": started,
            "final_score": draw.choice([None, 0.0, 0.5, 1.0]),
        }
        if status.ended:
            run["completed_at"] = (started or created) + timedelta(milliseconds=draw.choice([0, 500, 1500]))
        if status is RunStatus.RUNNING:
            run["heartbeat_at"] = draw.choice([created, datetime.now(UTC) + timedelta(hours=1)])
        made.append(run)
    return made


def every_run(database: Database, ids: list[str]) -> list[Run]:
    with database.reading() as connection:
        return [run_queries.get_run(connection, run_id, CLOCK) for run_id in ids]


def pages(database: Database, query: RunQuery) -> list[Run]:
    """Return the runs of all pages of a query."""
    found: list[Run] = []
    with database.reading() as connection:
        page = run_queries.list_runs(connection, database, query, CLOCK)
        found += page.runs
        while page.next_cursor is not None:
            assert len(page.runs) == cursors.clamp_runs(query.limit)
            page = run_queries.list_runs(connection, database, evolve(query, cursor=page.next_cursor), CLOCK)
            found += page.runs
    return found


def test_pages_by_score_go_on_after_any_score(database: Database, foreign: Foreign) -> None:
    """Every run is on one page, whatever the digits of the score after which a page begins; no digit is lost."""
    draw = random.Random(17)
    scores = {f"run_{index}": draw.random() for index in range(60)}
    foreign.add_runs(*({"id": run_id, "final_score": score} for run_id, score in scores.items()))
    found = pages(database, RunQuery(order=Order.SCORE, limit=1))
    assert [(run.id, run.final_score) for run in found] == sorted(scores.items(), key=lambda run: -run[1])


def test_lists_equal_the_reference(database: Database, foreign: Foreign) -> None:
    """Any mix of filters, orders and page lengths returns the runs of the reference in its order."""
    draw = random.Random(7)
    made = some_runs(draw, 120)
    foreign.add_runs(*made)
    runs = every_run(database, [run["id"] for run in made])
    queries = [
        RunQuery(
            order=order,
            statuses=statuses,
            agent=draw.choice([None, "", "alpha", "beta", "nobody"]),
            text=draw.choice([None, "", "run_", "run_0", "alpha", "2026-03-02", "Ü", "zzz"]),
            stalled=draw.random() < 0.15,
            created_since=draw.choice([None, None, START + timedelta(seconds=5)]),
            created_before=draw.choice([None, None, START + timedelta(seconds=20)]),
            limit=draw.choice([1, 7, 50, 500]),
        )
        for order, statuses, _ in product(
            Order,
            [frozenset(), frozenset({RunStatus.RUNNING}), frozenset({RunStatus.PASSED, RunStatus.QUEUED})],
            range(count("lists", 3 if not isinstance(database, LibsqlDatabase) else 1, long=40)),
        )
    ]
    for query in queries:
        expected = list_reference.page(runs, evolve(query, limit=200)).runs
        assert [run.id for run in pages(database, query)] == [run.id for run in expected], query


def test_both_formats_of_time_sort_by_instant(database: Database, foreign: Foreign) -> None:
    """Rows with times in different formats are sorted by instant."""
    for number in range(6):
        moment = START + timedelta(seconds=number)
        foreign.add_runs({"id": f"r{5 - number}", "created_at": foreign.time(moment, spaced=number % 2 == 0)})
    assert [run.id for run in pages(database, RunQuery(limit=2))] == [f"r{number}" for number in range(6)]


@pytest.mark.parametrize("order", list(Order))
def test_a_cursor_of_another_order_is_refused(sqlite_database: Database, order: Order) -> None:
    """A cursor of another order is an error, never a wrong page."""
    other = Order.SCORE if order is not Order.SCORE else Order.CREATED
    with sqlite_database.reading() as connection:
        beyond = cursors.make_cursor(order, 1e300, "run_1")
        for cursor in ("x", "", cursors.make_cursor(other, 1, "run_1"), "bm90IGpzb24", beyond):
            with pytest.raises(UnusableOption):
                run_queries.list_runs(connection, sqlite_database, RunQuery(order=order, cursor=cursor), CLOCK)
        far = cursors.make_cursor(order, 253_402_300_799_999, "run_1")
        assert run_queries.list_runs(connection, sqlite_database, RunQuery(order=order, cursor=far), CLOCK).runs == ()
