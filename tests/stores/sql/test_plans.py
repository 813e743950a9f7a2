"""Reads do not grow with the table, counted in steps of SQLite's machine and in rows that PostgreSQL touches."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from loopkit.core.run import EndReason, RunStatus
from loopkit.storage import Order, RunQuery
from loopkit.stores import cursors
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.databases.sqlite import SqliteDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.operations import cancel_retry, figures, prune, run_queries, runners
from loopkit.stores.sql.schema import migrations
from tests.length_helpers import count, is_long
from tests.stores.sql.conftest import CLOCK

FEW = 40_000
"""As many as give each agent 1,000 in each state, so that every bound is reached."""
MANY = count("plan_rows", 100_000, long=1_000_000)

NUMBERS = {
    SqliteDatabase: "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows}) ",
    PostgresqlDatabase: "WITH n(x) AS (SELECT generate_series(1, {rows})) ",
}
TIME = {
    SqliteDatabase: "strftime('%Y-%m-%dT%H:%M:%fZ', 1767225600 + x * 10, 'unixepoch')",
    PostgresqlDatabase: "timestamptz '2026-01-01T00:00:00Z' + x * interval '10 seconds'",
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
LABELS = (
    "INSERT INTO loopkit_tags (run_id, tag) SELECT id, 'common' FROM workflow_runs",
    "INSERT INTO loopkit_tags SELECT id, 'rare' FROM workflow_runs WHERE id < 'run_10010000' AND id LIKE '%60'",
    "UPDATE workflow_runs SET end_reason = 'stage_error' WHERE id < 'run_10010000' AND id LIKE '%60'",
    "UPDATE workflow_runs SET end_reason = 'cancel_requested' WHERE status = 'cancelled'",
    "UPDATE workflow_runs SET title = 'Of spring' WHERE id LIKE '%5'",
)
"""Labels that few runs have, as many in every database, and labels that many have."""


def fill(database: Database, rows: int) -> None:
    """Insert runs of three agents, a tenth of them queued and a fifth cancelled."""
    migrations.migrate(database)
    numbers, time = NUMBERS[type(database)].format(rows=rows), TIME[type(database)]
    with database.writing() as connection:
        # As on the driver's own connection: a percent sign and a colon stand for themselves.
        connection.connection.driver_connection.execute(ROWS.format(numbers=numbers, time=time))  # type: ignore[union-attr]
        for statement in LABELS:
            connection.execute(text(statement))


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
    "rare tag": RunQuery(tags=("rare",)),
    "common tag": RunQuery(tags=("common",)),
    "both tags": RunQuery(tags=("common", "rare"), statuses=frozenset({RunStatus.FAILED})),
    "rare reason": RunQuery(reason=EndReason.STAGE_ERROR),
    "words of a title": RunQuery(text="spring"),
}
HALF_WAY = cursors.make_cursor(Order.CREATED, 1767225600000 + FEW * 5000, "run_x")


Look = Callable[[Connection, Database], object]


def listed(query: RunQuery) -> Look:
    return lambda connection, database: run_queries.list_runs(connection, database, query, CLOCK)


READS: dict[str, Look] = {
    **{f"list: {name}": listed(query) for name, query in QUERIES.items()},
    "list: from a cursor": listed(RunQuery(cursor=HALF_WAY)),
    "stats": lambda connection, _: figures.stats(connection, CLOCK),
    "overview": lambda connection, _: figures.overview(connection, CLOCK),
    "holdings": lambda connection, _: runners.holdings(connection, 1000, CLOCK),
}
"""Everything that is read by more than an id."""

WRITES: dict[str, Look] = {
    "prune": lambda connection, _: prune.prune(connection, timedelta(0), 50, CLOCK),
    "prune nothing": lambda connection, _: prune.prune(connection, timedelta(days=36500), 50, CLOCK),
    "cancel": lambda connection, database: cancel_retry.request_cancel(
        connection, database, "run_10000095", actor=None, clock=CLOCK
    ),
}


def steps(connection: Connection, database: Database, look: Look) -> int:
    """Count the steps of SQLite's virtual machine for a statement, in hundreds, with warm caches."""
    driver: Any = connection.connection.driver_connection
    counted = 0

    def note() -> None:
        nonlocal counted
        counted += 1

    driver.set_progress_handler(note, 100)
    look(connection, database)
    driver.set_progress_handler(None, 0)
    return counted


@pytest.mark.parametrize("name", [*READS, *WRITES])
def test_sqlite_makes_as_many_steps_for_many_runs_as_for_few(files: tuple[Database, Database], name: str) -> None:
    """Lists, figures and batches of pruning read no more when the table is larger."""
    counted = []
    for database in files:
        with (database.writer if name in WRITES else database.reader).connect() as connection:
            counted.append(steps(connection, database, (READS | WRITES)[name]))
            connection.rollback()
    few, many = counted
    assert many <= few * 1.2 + 20


@pytest.fixture(scope="module")
def server(postgres_server: Any) -> Iterator[Database]:
    """A PostgreSQL database with many runs on a solid-state disk, analysed once as autovacuum does."""
    url = postgres_server.create()
    database = open_database(url)
    fill(database, max(FEW, MANY if is_long() else 0))
    with database.reading() as connection:
        connection.execute(text("VACUUM ANALYZE workflow_runs, loopkit_tags"))
    yield database
    database.close()
    postgres_server.drop(url)


def touched(connection: Connection, database: Database, look: Look) -> int:
    """Count the rows that PostgreSQL touches for a statement, in tables and indexes."""
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
    look(connection, database)
    return total


@pytest.mark.parametrize("name", [name for name in READS if name not in ("list: score", "list: duration", "stats")])
def test_postgresql_touches_few_rows_of_many(server: Database, name: str) -> None:
    """A page touches its length in each status, a count 1,000 rows, and a search the titles that it looks at."""
    query = QUERIES.get(name.removeprefix("list: "))
    many = name == "overview" or (query is not None and query.text)
    with server.reading() as connection:
        assert touched(connection, server, READS[name]) < (8_000 if many else 2_000)
