"""The tables. The three ``workflow_`` tables are shared with other programs, so every column of loopkit's own is
nullable or has a default of the database's; where one is null, another program wrote the row.

On SQLite and libSQL a time is ISO-8601 TEXT and JSON is TEXT; on PostgreSQL they are ``timestamptz`` and ``json``.
Times are compared as instants through :mod:`loopkit.stores.sql.instants` alone, never as text.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

from loopkit.stores.sql.cycles import CycleDay, CycleNumber
from loopkit.stores.sql.instants import Clock, Instant, Time

metadata: Final = MetaData()

Code = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that is compared and sorted byte by byte on every database."""


class _JsonText(UserDefinedType[Any]):
    """PostgreSQL's ``json``, written as the text that was made of a value before, read as psycopg reads it."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "JSON"


Json = Text().with_variant(_JsonText(), "postgresql")
"""Written as JSON text on every database; :mod:`loopkit.stores.sql.rows` reads it."""
Id = BigInteger().with_variant(Integer(), "sqlite")
"""An id that the database draws."""


def _time(name: str, **options: Any) -> "Column[Any]":
    return Column(name, Time, **options)


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
    _time("created_at", nullable=False, server_default=Clock()),
    Column("retry_of", Code),
    # loopkit's own
    Column("best_attempt", Integer),
    Column("fencing_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_id", Text),
    Column("lost_leases", Integer, nullable=False, server_default=text("0")),
    Column("heartbeat_seconds", Double),
    Column("definition", Text),
    Column("event_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("last_write", Text),
    # A boundary changes no indexed column, so with room in its page PostgreSQL updates the row in place (HOT). Runs
    # that were queued together are worked together, so all rows of a page want room at once: half a page of it gives
    # every boundary its place, and the table stays smaller than with less.
    postgresql_with={"fillfactor": 50},
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
    _time("created_at", nullable=False, server_default=Clock()),
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
    _time("created_at", nullable=False, server_default=Clock()),
    Column("is_json", Boolean(create_constraint=False)),
    Column("score", Double),
    sqlite_autoincrement=True,
    # An output of two or three kilobytes stays in its row; outside it would take twice as many rows.
    postgresql_with={"toast_tuple_target": 4080},
)

keys: Final = Table(
    "loopkit_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("run_id", Code, nullable=False),
    _time("created_at", nullable=False, server_default=Clock()),
)
"""Idempotency keys: which request made which run."""

days: Final = Table(
    "loopkit_days",
    metadata,
    Column("day", Code, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
)
"""The highest cycle number that loopkit gave on a UTC date; its row is the lock under which numbers are given."""

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
    _time("started_at", nullable=False, server_default=Clock()),
    _time("seen_at", nullable=False, server_default=Clock()),
)
"""What runners say of themselves. Information only."""

schema: Final = Table(
    "loopkit_schema",
    metadata,
    Column("only", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("writer_version", Integer, nullable=False),
    Column("moved_to", Text),
)
"""One row: the schema's version, and the lowest version that may still write."""

# --- Conditions that a partial index serves. Their values are literal, since a parameter would hide the index. -------

queued: Final = runs.c.status == literal_column("'queued'")
running: Final = runs.c.status == literal_column("'running'")
claimable: Final = and_(queued, runs.c.claimed_at.is_(None), runs.c.cancel_requested_at.is_(None))
"""Queued, and nobody claimed it or asked for its end."""
cancel_asked: Final = and_(
    runs.c.status.in_([literal_column("'queued'"), literal_column("'running'")]), runs.c.cancel_requested_at.isnot(None)
)
"""Not ended, and a cancel request stands in the row."""


listed_status: Final = func.coalesce(runs.c.status, literal_column("''"))
"""The status as lists ask for it: a form of its own, so that no claim is tempted to use an index of the lists."""


def _partial(name: str, *columns: Any, where: Any) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


INDEXES: Final = (
    _partial("loopkit_runs_claim", runs.c.agent_name, Instant(runs.c.created_at), runs.c.id, where=claimable),
    # Without heartbeat_at: a boundary moves it, and an index of it would make every boundary a full update.
    _partial("loopkit_runs_running", runs.c.agent_name, Instant(runs.c.created_at), runs.c.id, where=running),
    _partial("loopkit_runs_cancel", runs.c.id, where=cancel_asked),
    # The lists: one branch a status, merged, so that any filter by status and agent reads only what it shows.
    Index("loopkit_runs_created", listed_status, Instant(runs.c.created_at), runs.c.id),
    Index("loopkit_runs_agent_created", runs.c.agent_name, listed_status, Instant(runs.c.created_at), runs.c.id),
    _partial(
        "loopkit_runs_completed",
        listed_status,
        Instant(runs.c.completed_at),
        runs.c.id,
        where=runs.c.completed_at.isnot(None),
    ),
    _partial(
        "loopkit_runs_agent_completed",
        runs.c.agent_name,
        listed_status,
        Instant(runs.c.completed_at),
        runs.c.id,
        where=runs.c.completed_at.isnot(None),
    ),
    Index("loopkit_runs_cycle", runs.c.cycle_id),
    Index("loopkit_runs_cycle_number", CycleDay(runs.c.cycle_id), CycleNumber(runs.c.cycle_id)),
    Index("loopkit_events_run", events.c.run_id, events.c.id),
    Index("workflow_artifacts_once", artifacts.c.run_id, artifacts.c.attempt, artifacts.c.artifact_type, unique=True),
    Index("loopkit_keys_run", keys.c.run_id),
)

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
        }
    ),
    events: frozenset({"seq"}),
    artifacts: frozenset({"is_json", "score"}),
}
"""Columns that loopkit adds to the tables which other programs write to as well."""
