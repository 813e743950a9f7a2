"""The hand-written drivers: :mod:`benchmarks.group_commit` on SQLite and on PostgreSQL."""

import asyncio
import sqlite3

from benchmarks.group_commit import WriteSet, drain
from benchmarks.loops import queue, spending

UPDATE = (
    "UPDATE workflow_runs SET status = ?, current_stage = ?, current_attempt = ?, final_score = ?, heartbeat_at = ?,"
    " completed_at = ? WHERE id = ?"
)
EVENT = (
    "INSERT INTO workflow_events (run_id, event_type, stage, attempt, message, metadata, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
ARTIFACT = (
    "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


def on_sqlite(path: str, concurrency: int) -> tuple[int, float]:
    """Work the queued loops of a file, committing with ``synchronous=FULL``."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    writer, claimer = connect(), connect()

    def write(batch: list[WriteSet]) -> None:
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany(UPDATE, [one.row for one in batch])
        writer.executemany(EVENT, [event for one in batch for event in one.events])
        writer.executemany(ARTIFACT, [one.artifact for one in batch if one.artifact is not None])
        writer.execute("COMMIT")

    def claim(limit: int) -> list[str]:
        found = claimer.execute(
            "UPDATE workflow_runs SET status = 'running', claimed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),"
            " claimed_by = 'limit', started_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id IN"
            " (SELECT id FROM workflow_runs WHERE agent_name = 'standard' AND status = 'queued' AND claimed_at IS NULL"
            " AND cancel_requested_at IS NULL ORDER BY julianday(created_at), id LIMIT ?) RETURNING id",
            (limit,),
        ).fetchall()
        return [run_id for (run_id,) in found]

    return asyncio.run(drain(write, claim, concurrency))


def on_postgresql(dsn: str, concurrency: int) -> tuple[int, float]:
    """Work the queued loops of a database: a pipeline a batch, each statement once over unfolded JSON."""
    import psycopg

    writer, claimer = psycopg.connect(dsn, autocommit=True), psycopg.connect(dsn, autocommit=True)
    writer.prepare_threshold = claimer.prepare_threshold = 0

    def write(batch: list[WriteSet]) -> None:
        with writer.pipeline():
            writer.execute("BEGIN")
            writer.execute(
                "UPDATE workflow_runs r SET status = b.status, current_stage = b.stage,"
                " current_attempt = b.attempt, final_score = b.score, heartbeat_at = b.seen, completed_at = b.ended"
                " FROM unnest(%s::text[], %s::text[], %s::int[], %s::float8[], %s::timestamptz[], %s::timestamptz[],"
                " %s::text[])"
                " AS b(status, stage, attempt, score, seen, ended, id) WHERE r.id = b.id",
                [list(column) for column in zip(*(one.row for one in batch), strict=True)],
            )
            writer.execute(
                "INSERT INTO workflow_events (run_id, event_type, stage, attempt, message, metadata, created_at)"
                " SELECT a, b, c, d, e, f::json, g FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[],"
                " %s::text[], %s::text[], %s::timestamptz[]) AS t(a, b, c, d, e, f, g)",
                [list(column) for column in zip(*(event for one in batch for event in one.events), strict=True)],
            )
            writer.execute(
                "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content, created_at)"
                " SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])",
                [list(column) for column in zip(*(one.artifact for one in batch if one.artifact), strict=True)],
            )
            writer.execute("COMMIT")

    def claim(limit: int) -> list[str]:
        found = claimer.execute(
            "UPDATE workflow_runs SET status = 'running', claimed_at = clock_timestamp(), claimed_by = 'limit',"
            " started_at = clock_timestamp() WHERE id IN (SELECT id FROM workflow_runs WHERE agent_name = 'standard'"
            " AND status = 'queued' AND claimed_at IS NULL AND cancel_requested_at IS NULL ORDER BY created_at, id"
            " LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id",
            (limit,),
        ).fetchall()
        return [row[0] for row in found]

    return asyncio.run(drain(write, claim, concurrency))


def drain_by_hand(url: str, loops: int, concurrency: int) -> dict[str, float]:
    """Queue loops as loopkit does and work them; return the loops and the seconds the work took."""
    asyncio.run(queue(url, loops))
    with spending() as spent:
        if url.startswith("sqlite:///"):
            done, seconds = on_sqlite(url.removeprefix("sqlite:///"), concurrency)
        else:
            done, seconds = on_postgresql(url, concurrency)
    return {"loops": done, **spent, "seconds": seconds}
