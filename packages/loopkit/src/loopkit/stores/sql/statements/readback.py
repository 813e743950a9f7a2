"""Statements that read what a transaction wrote: a run and its last write, and the artifacts of a claimed run."""

from sqlalchemy import bindparam, case, false, null, select
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core.journal import ArtifactType
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect
from loopkit.stores.sql.schema.tables import artifacts, keys, runs
from loopkit.stores.sql.statements.parameters import constant

__all__ = ["inserted_columns", "select_artifacts", "select_run", "select_run_of_key", "stored_columns"]


def stored_columns() -> list[AnyColumn]:
    """Return the columns of :data:`loopkit.stores.sql.schema.rows.STORED_NAMES` of a run written just now.

    Such a run is not stalled, so they need no clock.
    """
    own: dict[str, AnyColumn] = {"stalled": false().label("stalled"), "tags": rows.tags_column()}
    return [own[name] if name in own else runs.c[name] for name in rows.STORED_NAMES]


def inserted_columns() -> list[AnyColumn]:
    """Return the same for a run that the statement itself inserts, without its tags: those are inserted after it."""
    own: dict[str, AnyColumn] = {"stalled": false().label("stalled"), "tags": null().label("tags")}
    return [own[name] if name in own else runs.c[name] for name in rows.STORED_NAMES]


def select_run_of_key() -> AnySelect:
    """Select the run that was submitted first under a key; takes ``key``, ``now`` and ``stalled_seconds``."""
    return select(*rows.run_columns()).join(keys, keys.c.run_id == runs.c.id).where(keys.c.key == bindparam("key"))


def select_run(run_id: ColumnElement[str]) -> AnySelect:
    """Select a run by :data:`loopkit.stores.sql.schema.rows.STORED_NAMES`; takes ``now`` and ``stalled_seconds``."""
    return select(*rows.run_columns(), runs.c.last_write, runs.c.event_seq).where(runs.c.id == run_id)


def select_artifacts(run_id: ColumnElement[str]) -> AnySelect:
    """Select the artifacts of a run, by attempt, an output before its evaluation."""
    is_evaluation = case(
        (artifacts.c.artifact_type == constant(ArtifactType.EVALUATION.value), constant(1)), else_=constant(0)
    )
    selected = select(*rows.ARTIFACT_COLUMNS).where(artifacts.c.run_id == run_id)
    return selected.order_by(artifacts.c.attempt, is_evaluation)
