"""Statements that write what a held run records: the run's row, its artifact, its events, its lease.

Nothing is decided here that the machine has not decided: a change comes with both ways it may go, as meant or
cancelled, and the statement chooses by the cancel request in the row. Artifacts and events are added only where the
update of the run stamped the nonce of this request as ``last_write``; the writer looks for the same stamp after a
commit without an answer.
"""

from typing import Final

from sqlalchemy import FromClause, Insert, Update, and_, case, cast, func, insert, null, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core.run import ENDED
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect
from loopkit.stores.sql.schema.tables import Json, artifacts, events, running, runs
from loopkit.stores.sql.schema.timestamps import stamp
from loopkit.stores.sql.statements.parameters import (
    BIGINT,
    BOOLEAN,
    INTEGER,
    REAL,
    TEXT,
    Columns,
    ColumnTypes,
    constant,
)

__all__ = [
    "ARTIFACT",
    "CHANGE",
    "EVENT",
    "KNOWN_EVENT",
    "LEASE",
    "MEANT",
    "SUMS",
    "artifact_values",
    "event_values",
    "insert_artifact",
    "insert_event",
    "insert_known_artifact",
    "insert_known_event",
    "renew_lease",
    "select_lease",
    "update_ended",
    "update_run",
    "update_staying",
]

SUMS: Final[ColumnTypes] = {
    "input_tokens": BIGINT,
    "output_tokens": BIGINT,
    "cost_nanos": BIGINT,
    "unpriced_calls": INTEGER,
    "stage_seconds": REAL,
}
"""Columns of the run's row with the sums of its spending, in the order of ``Change.sums``."""
LEASE: Final[ColumnTypes] = {"run_id": TEXT, "lease_id": TEXT, "claimed_by": TEXT, "fencing_token": BIGINT}
CHANGE: Final[ColumnTypes] = {
    **LEASE,
    "then_status": TEXT,
    "then_stage": TEXT,
    "then_attempt": INTEGER,
    "then_error": TEXT,
    "then_reason": TEXT,
    "then_events": INTEGER,
    "cancelled_status": TEXT,
    "cancelled_stage": TEXT,
    "cancelled_attempt": INTEGER,
    "cancelled_error": TEXT,
    "cancelled_reason": TEXT,
    "cancelled_events": INTEGER,
    "final_score": REAL,
    "best_attempt": INTEGER,
    "finishes_stage": BOOLEAN,
    "nonce": TEXT,
    **SUMS,
}
MEANT: Final[ColumnTypes] = {
    **{name: kind for name, kind in CHANGE.items() if not name.startswith("cancelled_")},
    "event_seq": BIGINT,
}
"""A change that goes as meant; ``event_seq``: the number of the run's events as its holder knows it."""
ARTIFACT: Final[ColumnTypes] = {
    "run_id": TEXT,
    "nonce": TEXT,
    "attempt": INTEGER,
    "artifact_type": TEXT,
    "filename": TEXT,
    "content": TEXT,
    "is_json": BOOLEAN,
    "score": REAL,
}
EVENT: Final[ColumnTypes] = {
    "run_id": TEXT,
    "nonce": TEXT,
    "event_type": TEXT,
    "stage": TEXT,
    "attempt": INTEGER,
    "message": TEXT,
    "metadata": TEXT,
    "then_back": INTEGER,
    "cancelled_back": INTEGER,
}
"""``then_back`` and ``cancelled_back``: the number of events of this request that follow this one when the change goes
as meant, or cancelled; NULL: this event is not written that way."""


KNOWN_EVENT: Final[ColumnTypes] = {**EVENT, "seq": BIGINT}
"""An event whose number is known beforehand."""


def held(lease: Columns) -> ColumnElement[bool]:
    """Return a condition: the lease is the run's newest claim.

    It compares the holder too, since other programs change ``claimed_by`` without a new token.
    """
    return and_(
        runs.c.id == lease["run_id"],
        running,
        runs.c.fencing_token == lease["fencing_token"],
        runs.c.lease_id == lease["lease_id"],
        runs.c.claimed_by == lease["claimed_by"],
    )


def update_run(change: Columns) -> Update:
    """Update a held run to the state that its change leads to, whichever way it goes, and renew its lease.

    :func:`update_staying` and :func:`update_ended` are shorter forms for runs that are as their holder knows them.
    """
    status, ends, waits = _chosen(change, "status"), _ends(change), _chosen(change, "status") == constant("queued")
    return (
        update(runs)
        .where(held(change), runs.c.last_write.is_distinct_from(change["nonce"]))
        .values(
            status=status,
            current_stage=_chosen(change, "stage"),
            current_attempt=_chosen(change, "attempt"),
            error_message=case((ends, _chosen(change, "error")), else_=runs.c.error_message),
            end_reason=case((ends, _chosen(change, "reason")), else_=runs.c.end_reason),
            final_score=change["final_score"],
            best_attempt=change["best_attempt"],
            lost_leases=case((change["finishes_stage"], constant(0)), else_=runs.c.lost_leases),
            heartbeat_at=case((~waits, stamp())),
            claimed_at=case((~waits, runs.c.claimed_at)),
            claimed_by=case((~waits, runs.c.claimed_by)),
            lease_id=case((~or_(ends, waits), runs.c.lease_id)),
            completed_at=case((ends, stamp()), else_=runs.c.completed_at),
            event_seq=runs.c.event_seq + _chosen(change, "events"),
            last_write=change["nonce"],
            **{name: change[name] for name in SUMS},
        )
    )


def update_staying(change: Columns, at: AnyColumn) -> Update:
    """Update a run that stays running, as :func:`update_run` does, if it is as its holder knows it.

    It changes nothing if the row has a cancel request or another number of events. So whoever counts the updated rows
    knows the number of each event and need not read the rows. No column that an index holds is assigned. ``at``: the
    time to write.
    """
    as_known = runs.c.event_seq == change["event_seq"]
    return update(runs).where(held(change), runs.c.cancel_requested_at.is_(None), as_known).values(_then(change, at))


def update_ended(change: Columns, at: AnyColumn) -> Update:
    """Update a run that ends, as :func:`update_run` does, if it is as its holder knows it."""
    ended = {
        "status": change["then_status"],
        "error_message": change["then_error"],
        "end_reason": change["then_reason"],
        "lease_id": null(),
        "completed_at": at,
    }
    return update_staying(change, at).values(ended)


def _then(change: Columns, at: AnyColumn) -> dict[str, AnyColumn]:
    """Return the values that every change writes when it goes as meant."""
    return {
        "current_stage": change["then_stage"],
        "current_attempt": change["then_attempt"],
        "final_score": change["final_score"],
        "best_attempt": change["best_attempt"],
        "lost_leases": case((change["finishes_stage"], constant(0)), else_=runs.c.lost_leases),
        "heartbeat_at": at,
        "event_seq": runs.c.event_seq + change["then_events"],
        "last_write": change["nonce"],
        **{name: change[name] for name in SUMS},
    }


def artifact_values(artifact: Columns) -> dict[str, AnyColumn]:
    """Return the values of an artifact's row."""
    names = ("run_id", "attempt", "artifact_type", "filename", "content", "is_json", "score")
    return {name: artifact[name] for name in names} | {"created_at": stamp()}


def event_values(event: Columns, attempt: ColumnElement[int], seq: ColumnElement[int]) -> dict[str, AnyColumn]:
    """Return the values of an event's row; ``attempt`` is the run's after the write, for events without their own."""
    names = ("run_id", "event_type", "stage", "message")
    return {name: event[name] for name in names} | {
        "attempt": func.coalesce(event["attempt"], attempt),
        "metadata": cast(event["metadata"], Json),
        "created_at": stamp(),
        "seq": seq,
    }


def insert_known_artifact(artifact: Columns, at: AnyColumn) -> Insert:
    """Insert an artifact of a run that is known to be written; ``at``: the time to write."""
    values = artifact_values(artifact) | {"created_at": at}
    return insert(artifacts).from_select(list(values), select(*values.values()))


def insert_known_event(event: Columns, at: AnyColumn) -> Insert:
    """Insert an event, with its number, of a run that is known to be written; ``at``: the time to write."""
    values = event_values(event, event["attempt"], event["seq"]) | {"created_at": at}
    return insert(events).from_select(list(values), select(*values.values()))


def insert_artifact(artifact: Columns, written: FromClause) -> Insert:
    """Insert the artifact of a change that was written."""
    values = artifact_values(artifact)
    return insert(artifacts).from_select(list(values), select(*values.values()).where(_was_written(artifact, written)))


def insert_event(event: Columns, written: FromClause) -> Insert:
    """Insert an event of a change that was written, if the way the change went includes it."""
    back = case(
        (written.c.cancel_requested_at.is_(None), event["then_back"]),
        else_=event["cancelled_back"],
    )
    values = event_values(event, written.c.current_attempt, written.c.event_seq - back)
    source = select(*values.values()).where(_was_written(event, written), back.isnot(None))
    source = source.order_by(event["run_id"], back.desc())
    return insert(events).from_select(list(values), source)


def renew_lease(lease: Columns) -> Update:
    """Renew a lease if it still holds."""
    return update(runs).where(held(lease)).values(heartbeat_at=stamp())


def select_lease(lease: Columns) -> AnySelect:
    """Select the lease if it still holds; its last column tells whether a cancel is requested."""
    return select(*(lease[name] for name in LEASE), runs.c.cancel_requested_at.isnot(None)).where(held(lease))


def _chosen(change: Columns, name: str) -> AnyColumn:
    """Return a value of the change by the way it goes: a cancel request in the row wins."""
    return case(
        (runs.c.cancel_requested_at.is_(None), change[f"then_{name}"]),
        else_=change[f"cancelled_{name}"],
    )


def _ends(change: Columns) -> ColumnElement[bool]:
    return _chosen(change, "status").in_([constant(status.value) for status in sorted(ENDED)])


def _was_written(values: Columns, written: FromClause) -> ColumnElement[bool]:
    return and_(written.c.id == values["run_id"], written.c.last_write == values["nonce"])
