"""Databases that hold many ended runs, as loopkit would have left them, except that their texts are small."""

from benchmarks import standard
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.databases.sqlite import SqliteDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema.migrations import migrate

BATCH = 100_000

_NUMBERS = {
    SqliteDatabase: "WITH RECURSIVE n(x) AS (SELECT {first} UNION ALL SELECT x + 1 FROM n WHERE x < {last}) ",
    PostgresqlDatabase: "WITH n(x) AS (SELECT generate_series({first}, {last})) ",
}
_TIME = {
    SqliteDatabase: "strftime('%Y-%m-%dT%H:%M:%fZ', 1735689600 + x * 20, 'unixepoch')",
    PostgresqlDatabase: "timestamptz '2025-01-01T00:00:00Z' + x * interval '20 seconds'",
}
_JSON = {SqliteDatabase: "TEXT", PostgresqlDatabase: "JSON"}
_STATUS = "CASE WHEN x % 10 < 7 THEN 'passed' WHEN x % 10 < 9 THEN 'failed' ELSE 'cancelled' END"
_AGENT = f"CASE WHEN x % 2 = 0 THEN '{standard.NAME}' ELSE 'agent' || CAST(x % 5 AS TEXT) END"
_RUNS = (
    "INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, final_score,"
    " best_attempt, inputs, created_at, started_at, claimed_at, claimed_by, heartbeat_at, completed_at, fencing_token,"
    " event_seq) {numbers} SELECT 'run_' || CAST(10000000 + x AS TEXT), " + _AGENT + ", '2025-01-01-' ||"
    " CAST(x AS TEXT), " + _STATUS + ", 3, 0.8, 0.9, 1, CAST('{{\"topic\": \"' || CAST(x AS TEXT) || '\"}}' AS {json}),"
    " {time}, {time}, {time}, 'host:1:a', {time}, {time}, 1, 3 FROM n"
)
_EVENTS = (
    "INSERT INTO workflow_events (run_id, event_type, stage, attempt, message, metadata, created_at, seq) {numbers}"
    " SELECT 'run_' || CAST(10000000 + x AS TEXT), 'stage_change', NULL, 1, 'Started', CAST('{{}}' AS {json}),"
    " {time}, s FROM n CROSS JOIN (SELECT 1 AS s UNION ALL SELECT 2 UNION ALL SELECT 3) AS three"
)
_ARTIFACTS = (
    "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content, created_at, is_json) {numbers}"
    " SELECT 'run_' || CAST(10000000 + x AS TEXT), 1, 'output', 'attempt-1.md', 'an output of a few words', {time},"
    " false FROM n"
)


def fill(url: str, runs: int) -> None:
    """Add that many ended runs, half of them of the standard agent, with three events and an output each."""
    database = open_database(url)
    migrate(database)
    kind = type(database)
    for first in range(1, runs + 1, BATCH):
        numbers = _NUMBERS[kind].format(first=first, last=min(first + BATCH - 1, runs))
        with database.writing() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            if isinstance(database, PostgresqlDatabase):
                driver.execute("SET LOCAL statement_timeout = 0")
            for statement in (_RUNS, _EVENTS, _ARTIFACTS):
                driver.execute(statement.format(numbers=numbers, time=_TIME[kind], json=_JSON[kind]))
    database.close()
