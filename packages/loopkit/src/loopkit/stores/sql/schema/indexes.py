"""Indexes, and how PostgreSQL stores the tables: what only the program that makes the tables needs.

Loaded for a migration alone: to take these options, SQLAlchemy loads the dialect of each database that they are for.
"""

from typing import Final

from sqlalchemy import ColumnElement, Index

from loopkit.stores.sql.schema.cycle_ids import CycleDay, CycleNumber
from loopkit.stores.sql.schema.expressions import AnyColumn
from loopkit.stores.sql.schema.tables import (
    artifacts,
    cancel_requested,
    claimable,
    events,
    has_notable_reason,
    keys,
    listed_status,
    running,
    runs,
    tags,
    usage,
)
from loopkit.stores.sql.schema.timestamps import Instant

__all__ = ["INDEXES"]

# A stage boundary changes no indexed column, so PostgreSQL updates the row in place (HOT) if its page has room.
# Runs that were queued together are worked together, so all rows of a page need room at once: with half of each
# page free every boundary finds room, and the table stays smaller than with less.
runs.dialect_kwargs["postgresql_with"] = {"fillfactor": 50}

# An output of two or three kilobytes stays in its row; stored out of line it would take twice as many rows.
artifacts.dialect_kwargs["postgresql_with"] = {"toast_tuple_target": 4080}


def _partial(name: str, *columns: AnyColumn, where: ColumnElement[bool]) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


INDEXES: Final = (
    _partial("loopkit_runs_claim", runs.c.agent_name, Instant(runs.c.created_at), runs.c.id, where=claimable),
    # Without heartbeat_at: every boundary changes it, and an index on it would rule out in-place updates.
    _partial("loopkit_runs_running", runs.c.agent_name, Instant(runs.c.created_at), runs.c.id, where=running),
    _partial("loopkit_runs_cancel", runs.c.id, where=cancel_requested),
    # For the lists: one branch per status, merged, so that any filter by status and agent reads only what it shows.
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
    # For runs whose score passed, as most do, no end has to write it.
    _partial("loopkit_runs_reason", runs.c.end_reason, runs.c.id, where=has_notable_reason),
    _partial("loopkit_runs_titled", Instant(runs.c.created_at), runs.c.id, where=runs.c.title.isnot(None)),
    Index("loopkit_runs_cycle", runs.c.cycle_id),
    Index("loopkit_runs_cycle_number", CycleDay(runs.c.cycle_id), CycleNumber(runs.c.cycle_id)),
    Index("loopkit_events_run", events.c.run_id, events.c.id),
    Index("workflow_artifacts_once", artifacts.c.run_id, artifacts.c.attempt, artifacts.c.artifact_type, unique=True),
    Index("loopkit_keys_run", keys.c.run_id),
    Index("loopkit_tags_tag", tags.c.tag, tags.c.run_id),
    Index("loopkit_usage_once", usage.c.run_id, usage.c.call_id, unique=True),
)
