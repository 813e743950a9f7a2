"""Cancel and retry. The run's row is locked and read, the state machine decides, and its decision is written in the
same transaction; a repeated call after an unknown outcome therefore changes nothing.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, cast, insert, select, update

from loopkit.core import run_actions, strict_json
from loopkit.core.journal import NewEvent
from loopkit.core.run import NewRun, Run
from loopkit.core.run_actions import Cancellation
from loopkit.errors import RunNotFound
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.tables import Json, events, runs
from loopkit.stores.sql.schema.timestamps import ClockParameters, stamp

__all__ = ["request_cancel", "retry_of"]

_LOCKED_RUN: Final = (
    select(*rows.run_columns(), runs.c.event_seq).where(runs.c.id == bindparam("run_id")).with_for_update()
)
_REQUESTED: Final = {"cancel_requested_at": stamp()}
_ENDED: Final = {
    "status": bindparam("to_status"),
    "current_stage": bindparam("to_stage"),
    "current_attempt": bindparam("to_attempt"),
    "error_message": bindparam("to_error"),
    "end_reason": bindparam("to_reason"),
    "completed_at": stamp(),
    "lease_id": None,
}
_APPEND_EVENT: Final = insert(events).values(
    run_id=bindparam("of_run"),
    event_type=bindparam("type"),
    stage=bindparam("of_stage"),
    attempt=bindparam("of_attempt"),
    message=bindparam("text"),
    metadata=cast(bindparam("more"), Json),
    created_at=stamp(),
    seq=bindparam("number"),
)


def request_cancel(
    connection: Connection, database: Database, run_id: str, *, actor: str | None, clock: ClockParameters
) -> Run:
    """Write a cancel request, and the end of a run that no runner holds, in the transaction of ``connection``.

    Raises:
        RunNotFound: no run has this id.
        RunEnded: the run has passed or failed.
    """
    row = connection.execute(_LOCKED_RUN, {"run_id": run_id, **clock}).first()
    if row is None:
        raise RunNotFound(run_id)
    run = rows.run(row)
    decision = run_actions.decide_cancel(run, actor=actor)
    if decision.request or decision.end is not None:
        _write(connection, run, row.event_seq or 0, decision, clock)
        database.notify(connection)
    return run_queries.get_run(connection, run_id, clock)


def retry_of(
    connection: Connection, run_id: str, *, actor: str | None, idempotency_key: str | None, clock: ClockParameters
) -> NewRun:
    """Return the new run that retries an ended one. An ended run never changes, so nothing is locked.

    Raises:
        RunNotFound: no run has this id.
        RunNotEnded: the run has not ended.
    """
    run = run_queries.get_run(connection, run_id, clock)
    return run_actions.decide_retry(run, actor=actor, idempotency_key=idempotency_key)


def _write(connection: Connection, run: Run, seq: int, decision: Cancellation, clock: ClockParameters) -> None:
    new_events = [*decision.events, *(decision.end.events if decision.end is not None else ())]
    values: dict[str, object] = {"event_seq": seq + len(new_events)}
    parameters: dict[str, object] = {"now": clock["now"]}
    if decision.request:
        values |= _REQUESTED
    if (end := decision.end) is not None:
        values |= _ENDED
        parameters |= {
            "to_status": end.status.value,
            "to_stage": end.stage,
            "to_attempt": end.attempt,
            "to_error": end.error_message,
            "to_reason": end.reason,
        }
    connection.execute(update(runs).where(runs.c.id == run.id).values(values), parameters)
    _append_events(connection, run, seq, new_events, clock)


def _append_events(
    connection: Connection, run: Run, seq: int, new_events: Iterable[NewEvent], clock: ClockParameters
) -> None:
    """Append events to the journal of a run whose row is locked; the first gets the number ``seq`` + 1."""
    for number, event in enumerate(new_events, seq + 1):
        values = {
            "of_run": run.id,
            "type": event.event_type.value,
            "of_stage": event.stage,
            "of_attempt": run.current_attempt if event.attempt is None else event.attempt,
            "text": event.message,
            "more": None if event.metadata is None else strict_json.dumps(event.metadata),
            "number": number,
            "now": clock["now"],
        }
        connection.execute(_APPEND_EVENT, values)
