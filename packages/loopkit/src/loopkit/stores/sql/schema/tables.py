"""The tables. Other programs share the three ``workflow_`` tables, so every column that loopkit adds to them is
nullable or has a default in the database; a row in which such a column is NULL was written by another program.

On SQLite and libSQL a time is ISO-8601 TEXT and JSON is TEXT; on PostgreSQL they are ``timestamptz`` and ``json``.
Times are compared as instants through :mod:`loopkit.stores.sql.schema.timestamps` alone, never as text.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    func,
    text,
)
from sqlalchemy.types import UserDefinedType

from loopkit.core import machine
from loopkit.stores.sql.schema.expressions import literal, literals
from loopkit.stores.sql.schema.timestamps import Clock, Time

__all__ = [
    "OWN_COLUMNS",
    "Code",
    "Id",
    "Json",
    "artifacts",
    "cancel_requested",
    "claimable",
    "days",
    "events",
    "has_notable_reason",
    "keys",
    "listed_status",
    "metadata",
    "queued",
    "runners",
    "running",
    "runs",
    "schema",
    "tags",
    "usage",
    "verdicts",
]

metadata: Final = MetaData()

Code: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared and sorted byte by byte on every database."""


class _JsonText(UserDefinedType[object]):
    """PostgreSQL's ``json``: written as text that was encoded before, read as psycopg reads it."""

    cache_ok = True

    def get_col_spec(self, **options: object) -> str:
        return "JSON"


Json: Final = Text().with_variant(_JsonText(), "postgresql")
"""Written as JSON text on every database; :mod:`loopkit.stores.sql.schema.rows` reads it."""
Id: Final = BigInteger().with_variant(Integer(), "sqlite")
"""An id that the database assigns."""


def _time(name: str) -> "Column[object]":
    return Column(name, Time)


def _time_of_insert(name: str) -> "Column[object]":
    return Column(name, Time, nullable=False, server_default=Clock())


runs: Final = Table(
    "workflow_runs",
    metadata,
    Column("id", Code, primary_key=True),
    Column("agent_name", Code, nullable=False),
    Column("cycle_id", Code, nullable=False),
    Column("status", Code, nullable=False),
    Column("current_stage", Code),
    Column("current_attempt", Integer, nullable=False, server_default=text("1")),
    Column("max_attempts", Integer, nullable=False),
    Column("pass_threshold", Double, nullable=False),
    Column("final_score", Double),
    Column("error_message", Text),
    Column("inputs", Json, nullable=False),
    _time("claimed_at"),
    Column("claimed_by", Text),
    _time("heartbeat_at"),
    _time("cancel_requested_at"),
    _time("started_at"),
    _time("completed_at"),
    _time_of_insert("created_at"),
    Column("retry_of", Code),
    # added by loopkit
    Column("best_attempt", Integer),
    Column("fencing_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_id", Text),
    Column("lost_leases", Integer, nullable=False, server_default=text("0")),
    Column("heartbeat_seconds", Double),
    Column("definition", Text),
    Column("event_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("last_write", Text),
    Column("policy", Json),
    Column("end_reason", Text),
    Column("title", Text),
    Column("input_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("output_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("cost_nanos", BigInteger),
    Column("unpriced_calls", Integer, nullable=False, server_default=text("0")),
    Column("stage_seconds", Double, nullable=False, server_default=text("0")),
)

events: Final = Table(
    "workflow_events",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("run_id", Code, nullable=False),
    Column("event_type", Code, nullable=False),
    Column("stage", Code),
    Column("attempt", Integer),
    Column("message", Text),
    Column("metadata", Json),
    _time_of_insert("created_at"),
    Column("seq", BigInteger),
    sqlite_autoincrement=True,
)

artifacts: Final = Table(
    "workflow_artifacts",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("run_id", Code, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("artifact_type", Code, nullable=False),
    Column("filename", Text, nullable=False),
    Column("content", Text, nullable=False),
    _time_of_insert("created_at"),
    Column("is_json", Boolean(create_constraint=False)),
    Column("score", Double),
    sqlite_autoincrement=True,
)

keys: Final = Table(
    "loopkit_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("run_id", Code, nullable=False),
    _time_of_insert("created_at"),
)
"""Idempotency keys, each with the run that the request with this key created."""

tags: Final = Table(
    "loopkit_tags",
    metadata,
    Column("run_id", Code, primary_key=True),
    Column("tag", Code, primary_key=True),
)
"""Tags of runs, for people."""

usage: Final = Table(
    "loopkit_usage",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("run_id", Code, nullable=False),
    Column("call_id", Code, nullable=False),
    Column("stage", Code, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("judge", Text),
    Column("sample", Integer),
    Column("try_number", Integer, nullable=False),
    Column("model", Text),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("cost_nanos", BigInteger),
    Column("seconds", Double),
    Column("state", Code, nullable=False),
    _time_of_insert("created_at"),
)
"""Ledger: a row for every model call, unique by run and ``call_id``; see :mod:`loopkit.core.ledger`."""

verdicts: Final = Table(
    "loopkit_verdicts",
    metadata,
    Column("run_id", Code, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("kind", Code, primary_key=True),
    Column("name", Code, primary_key=True),
    Column("sample", Integer, primary_key=True),
    Column("made_by", Code, primary_key=True),
    Column("score", Double, nullable=False),
    Column("feedback", Text, nullable=False),
    Column("detail", Json, nullable=False),
    _time_of_insert("created_at"),
)
"""Verdicts of checks and judges; see :mod:`loopkit.core.panel.verdict`."""

days: Final = Table(
    "loopkit_days",
    metadata,
    Column("day", Code, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
)
"""Highest cycle number that loopkit assigned on a UTC date; its row is the lock under which numbers are assigned."""

runners: Final = Table(
    "loopkit_runners",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("agents", Json, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("busy", Integer, nullable=False),
    Column("draining", Boolean(create_constraint=False), nullable=False),
    Column("heartbeat_seconds", Double, nullable=False),
    Column("gone", Boolean(create_constraint=False), nullable=False),
    _time_of_insert("started_at"),
    _time_of_insert("seen_at"),
)
"""Descriptions that runners give of themselves. Information only."""

schema: Final = Table(
    "loopkit_schema",
    metadata,
    Column("only", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("writer_version", Integer, nullable=False),
    Column("moved_to", Text),
)
"""One row: the version of the schema, and the lowest writer version that may still write."""

# Conditions of partial indexes. Their values are literals: with a parameter the database would not use the index.

queued: Final = runs.c.status == literal("queued")
running: Final = runs.c.status == literal("running")
claimable: Final = and_(queued, runs.c.claimed_at.is_(None), runs.c.cancel_requested_at.is_(None))
"""Queued, not claimed, and without a cancel request."""
cancel_requested: Final = and_(
    runs.c.status.in_(literals(machine.statuses_allowing(machine.Signal.CANCEL_SEEN))),
    runs.c.cancel_requested_at.isnot(None),
)
"""Not ended, and with a cancel request."""


has_notable_reason: Final = runs.c.end_reason != literal("score_passed")
"""Ended by loopkit for another reason than a score that passed: those runs are in an index by reason."""

listed_status: Final = func.coalesce(runs.c.status, literal(""))
"""The status in the form that lists use: a form of its own, so that no claim is served by an index of the lists."""


OWN_COLUMNS: Final = {
    runs: frozenset(
        {
            "best_attempt",
            "fencing_token",
            "lease_id",
            "lost_leases",
            "heartbeat_seconds",
            "definition",
            "event_seq",
            "last_write",
            "policy",
            "end_reason",
            "title",
            "input_tokens",
            "output_tokens",
            "cost_nanos",
            "unpriced_calls",
            "stage_seconds",
        }
    ),
    events: frozenset({"seq"}),
    artifacts: frozenset({"is_json", "score"}),
}
"""Columns that loopkit adds to the tables that other programs write to as well."""
