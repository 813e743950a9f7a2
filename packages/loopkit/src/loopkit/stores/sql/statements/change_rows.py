"""Rows of changes that go as meant: tuples that a driver binds by position, built without a look at the database.

A change goes as meant when the run is as its holder knows it: the lease holds, no cancel is requested, and the run has
as many events as the holder knows. Then everything that the change writes is known beforehand: the new state, the
artifact, and each event with its number. :func:`loopkit.stores.sql.statements.changes.update_staying` checks all of it
again in the row, so whoever builds rows here has to count the updated rows, and to write the batch the careful way when
one is missing.

Each kind of row has the order of one tuple of names, which is the order in which the statement refers to them.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from loopkit.core.journal import Change, NewArtifact, NewEvent
from loopkit.core.lease import Lease
from loopkit.core.run import RunStatus
from loopkit.stores.sql.statements.changes import SUMS
from loopkit.stores.sql.statements.parameters import SqlValue

__all__ = [
    "ARTIFACT_NAMES",
    "ENDED_NAMES",
    "EVENT_NAMES",
    "STAYING_NAMES",
    "ChangeRows",
    "ValueRow",
    "add_change",
    "artifact_rows",
    "event_rows",
]

ValueRow = tuple[SqlValue, ...]
"""Values of one row, in the order of the tuple of its names."""

_GUARD: Final = ("run_id", "fencing_token", "lease_id", "claimed_by", "event_seq")
STAYING_NAMES: Final = (
    *("then_stage", "then_attempt", "final_score", "now", "best_attempt", "finishes_stage", "then_events", "nonce"),
    *SUMS,
    *_GUARD,
)
"""Values of :func:`loopkit.stores.sql.statements.changes.update_staying`."""

ENDED_NAMES: Final = (
    *("then_status", "then_stage", "then_attempt", "final_score", "then_error", "now", "now"),
    *("best_attempt", "finishes_stage", "then_events", "nonce", "then_reason"),
    *SUMS,
    *_GUARD,
)
"""Values of :func:`loopkit.stores.sql.statements.changes.update_ended`; ``now`` is the heartbeat and the end."""

ARTIFACT_NAMES: Final = (
    *("run_id", "attempt", "artifact_type", "filename", "content", "created_at", "is_json", "score"),
)
"""Values of a new artifact: columns of its table."""

EVENT_NAMES: Final = ("run_id", "event_type", "stage", "attempt", "message", "metadata", "created_at", "seq")
"""Values of a new event: columns of its table."""


@attrs.define
class ChangeRows:
    """Rows of a batch of changes, by the statement that writes them."""

    staying: list[ValueRow] = attrs.field(factory=list)
    ended: list[ValueRow] = attrs.field(factory=list)
    artifacts: list[ValueRow] = attrs.field(factory=list)
    events: list[ValueRow] = attrs.field(factory=list)


def add_change(rows: ChangeRows, lease: Lease, change: Change, nonce: str, event_seq: int, now: SqlValue) -> None:
    """Add the rows of a change after which the run stays running or has ended.

    Args:
        rows: the rows of the batch.
        lease: the lease that the writer holds.
        change: the change; its next state is not ``queued``.
        nonce: the ``last_write`` of the run's row.
        event_seq: the number of the run's events before the change.
        now: the time to write; None where the statement reads the clock itself.
    """
    run_id, then = lease.run_id, change.then
    rows.artifacts += artifact_rows(run_id, change.artifact, now)
    rows.events += event_rows(run_id, (*change.events, *then.events), then.attempt, event_seq + 1, now)
    added = len(change.events) + len(then.events)
    guard = (run_id, lease.fencing_token, lease.lease_id, lease.claimed_by, event_seq)
    written = (change.best_attempt, change.finishes_stage, added, nonce)
    stage = None if then.stage is None else then.stage.value
    if then.status is RunStatus.RUNNING:
        rows.staying.append((stage, then.attempt, change.final_score, now, *written, *change.sums, *guard))
    else:
        state = (then.status.value, stage, then.attempt, change.final_score, then.error_message, now, now)
        rows.ended.append((*state, *written, then.reason, *change.sums, *guard))


def artifact_rows(run_id: str, new: NewArtifact | None, now: SqlValue) -> list[ValueRow]:
    """Return the row of a new artifact; none if there is no artifact."""
    if new is None:
        return []
    kind = new.artifact_type.value
    return [(run_id, new.attempt, kind, new.filename, new.content, now, new.is_json, new.score)]


def event_rows(
    run_id: str, new_events: Iterable[NewEvent], attempt: int, first_seq: int, now: SqlValue
) -> list[ValueRow]:
    """Return the rows of a run's new events, numbered from ``first_seq``.

    ``attempt``: that of the run after the write, for events without their own.
    """
    return [
        (
            run_id,
            event.event_type.value,
            None if event.stage is None else event.stage.value,
            attempt if event.attempt is None else event.attempt,
            event.message,
            event.stored_metadata,
            now,
            seq,
        )
        for seq, event in enumerate(new_events, first_seq)
    ]
