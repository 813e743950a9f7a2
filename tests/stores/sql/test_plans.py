"""What is read does not grow with the table, counted in steps of SQLite's machine and rows that PostgreSQL touches."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from loopkit.core.run import RunStatus
from loopkit.storage import Order, RunQuery
from loopkit.stores import listing
from loopkit.stores.sql import fleet, maintenance, migrations, reading, requesting
from loopkit.stores.sql.dialects import Database, Kind, open_database
from tests.settings import count, is_long
from tests.stores.sql.conftest import CLOCK

FEW = 40_000
"""As many as give each agent 1,000 in each state, so that every bound is reached."""
MANY = count("plan_rows", 100_000, long=1_000_000)

NUMBERS = {
    Kind.SQLITE: "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows}) ",
    Kind.POSTGRESQL: "WITH n(x) AS (SELECT generate_series(1, {rows})) ",
}
TIME = {
    Kind.SQLITE: "strftime('%Y-%m-%dT%H:%M:%fZ', 1767225600 + x * 10, 'unixepoch')",
    Kind.POSTGRESQL: "timestamptz '2026-01-01T00:00:00Z' + x * interval '10 seconds'",
}
ROWS = """
INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs, created_at,
    started_at, completed_at, cancel_requested_at, final_score)
{numbers}
SELECT 'run_' || CAST(10000000 + x AS TEXT), 'agent' || CAST(x % 3 AS TEXT), '2026-01-01-' || CAST(x AS TEXT), status,
    3, 0.8, '{{}}', {time}, {time}, CASE WHEN status <> 'queued' THEN {time} END,
    CASE WHEN status = 'cancelled' THEN {time} END, 0.5
FROM (SELECT x, CASE WHEN x % 100 < 40 THEN 'passed' WHEN x % 100 < 70 THEN 'failed' WHEN x % 100 < 90 THEN 'cancelled'
    ELSE 'queued' END AS status FROM n) AS made
"""


def fill(database: Database, rows: int) -> None:
    """Make that many runs of three agents, a tenth of them queued and a fifth cancelled."""
    migrations.migrate(database)
    numbers, time = NUMBERS[database.kind].format(rows=rows), TIME[database.kind]
    with database.writing() as connection:
        # As on the driver's own connection: a percent sign and a colon stand for themselves.
        connection.connection.driver_connection.execute(ROWS.format(numbers=numbers, time=time))  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Database]]:
    """An SQLite file with few runs and one with many."""
    folder: Path = tmp_path_factory.mktemp("plans")
    made = [open_database(f"sqlite:///{folder / name}.db") for name in ("few", "many")]
    for database, rows in zip(made, (FEW, MANY), strict=True):
        fill(database, rows)
    yield made[0], made[1]
    for database in made:
        database.close()


HOUR = datetime(2026, 1, 1, 1, tzinfo=UTC)
QUERIES = {
    "all": RunQuery(),
    "oldest first": RunQuery(order=Order.CREATED_ASC),
    "failed": RunQuery(statuses=frozenset({RunStatus.FAILED})),
    "few of an agent": RunQuery(agent="agent1", statuses=frozenset({RunStatus.CANCELLED, RunStatus.RUNNING})),
    "agent": RunQuery(agent="agent1"),
    "nobody": RunQuery(agent="nobody"),
    "completed": RunQuery(order=Order.COMPLETED),
    "completed of an agent": RunQuery(order=Order.COMPLETED, agent="agent2"),
    "score": RunQuery(order=Order.SCORE),
    "duration": RunQuery(order=Order.DURATION, agent="agent0"),
    "an hour": RunQuery(created_since=HOUR, created_before=HOUR + timedelta(hours=1)),
    "ids": RunQuery(text="run_1"),
    "one id": RunQuery(text="run_10000077"),
    "cycle ids": RunQuery(text="2026-01-01-1"),
    "agents": RunQuery(text="agent"),
    "text and agent": RunQuery(text="agent1", agent="agent1"),
    "stalled": RunQuery(stalled=True),
}
HALF_WAY = listing.make_cursor(Order.CREATED, 1767225600000 + FEW * 5000, "run_x")


def looks() -> dict[str, Callable[[Connection], object]]:
    """Everything that is read or written by more than an id."""
    made: dict[str, Callable[[Connection], object]] = {
        f"list: {name}": lambda connection, query=query: reading.list_runs(connection, query, CLOCK)
        for name, query in QUERIES.items()
    }
    return made | {
        "list: from a cursor": lambda connection: reading.list_runs(connection, RunQuery(cursor=HALF_WAY), CLOCK),
        "stats": lambda connection: fleet.stats(connection, CLOCK),
        "overview": lambda connection: fleet.overview(connection, CLOCK),
        "holdings": lambda connection: fleet.holdings(connection, 1000, CLOCK),
    }


WRITES: dict[str, Callable[[Connection], object]] = {
    "prune": lambda connection: maintenance.prune(connection, timedelta(0), 50, CLOCK),
    "prune nothing": lambda connection: maintenance.prune(connection, timedelta(days=36500), 50, CLOCK),
    "cancel": lambda connection: requesting.request_cancel(connection, "run_10000095", actor=None, clock=CLOCK),
}


def steps(connection: Connection, look: Callable[[Connection], object]) -> int:
    """How many hundred steps SQLite's machine makes for a look, once its caches are warm."""
    driver: Any = connection.connection.driver_connection
    counted = 0

    def note() -> None:
        nonlocal counted
        counted += 1

    driver.set_progress_handler(note, 100)
    look(connection)
    driver.set_progress_handler(None, 0)
    return counted


@pytest.mark.parametrize("name", [*looks(), *WRITES])
def test_sqlite_makes_as_many_steps_for_many_runs_as_for_few(files: tuple[Database, Database], name: str) -> None:
    """Neither a list nor a figure nor a batch of pruning reads more when the table is larger."""
    counted = []
    for database in files:
        with (database.writer if name in WRITES else database.reader).connect() as connection:
            counted.append(steps(connection, (looks() | WRITES)[name]))
            connection.rollback()
    few, many = counted
    assert many <= few * 1.2 + 20


@pytest.fixture(scope="module")
def server(postgres_server: Any) -> Iterator[Database]:
    """A PostgreSQL database with many runs on a disk without arms, looked over once as its autovacuum does."""
    url = postgres_server.create()
    database = open_database(url)
    fill(database, max(FEW, MANY if is_long() else 0))
    with database.reading() as connection:
        connection.execute(text("VACUUM ANALYZE workflow_runs"))
    yield database
    database.close()
    postgres_server.drop(url)


def touched(connection: Connection, look: Callable[[Connection], object]) -> int:
    """How many rows PostgreSQL touches for a look, in tables and indexes."""
    total = 0

    def add(plan: dict[str, Any]) -> None:
        nonlocal total
        if "Relation Name" in plan or "Index Name" in plan:
            total += (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
        for inner in plan.get("Plans", ()):
            add(inner)

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if not statement.startswith(("SELECT set_config", "EXPLAIN")):
            explained = connection.connection.driver_connection.execute(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            )
            add(explained.fetchone()[0][0]["Plan"])

    connection.exec_driver_sql("SET random_page_cost = 1.1")
    event.listen(connection, "before_cursor_execute", explain)
    look(connection)
    return total


@pytest.mark.parametrize("name", [name for name in looks() if name not in ("list: score", "list: duration", "stats")])
def test_postgresql_touches_few_rows_of_many(server: Database, name: str) -> None:
    """A page touches what it shows in each status; a text and a count the 1,000 that each may find in each way."""
    many = "ids" in name or "agents" in name or name == "overview"
    with server.reading() as connection:
        assert touched(connection, looks()[name]) < (8_000 if many else 2_000)
