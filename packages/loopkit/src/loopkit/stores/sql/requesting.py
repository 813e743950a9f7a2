"""What people ask of a run: to cancel it, to retry it. The run's row is locked and read, the machine decides, and what
it decided is written in the same transaction; so asking again after an unknown outcome changes nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, bindparam, cast, insert, select, update

from loopkit.core import machine, plain
from loopkit.core.journal import NewEvent
from loopkit.core.machine import Cancellation
from loopkit.core.run import NewRun, Run
from loopkit.errors import RunNotFound
from loopkit.stores.sql import postgresql, reading, rows
from loopkit.stores.sql.instants import stamp
from loopkit.stores.sql.tables import Json, events, runs

_LOCKED: Final = select(*rows.run_columns(), runs.c.event_seq).where(runs.c.id == bindparam("run_id")).with_for_update()
_REQUESTED: Final = {"cancel_requested_at": stamp()}
_ENDED: Final = {
    "status": bindparam("to_status"),
    "current_stage": bindparam("to_stage"),
    "current_attempt": bindparam("to_attempt"),
    "error_message": bindparam("to_error"),
    "completed_at": stamp(),
    "lease_id": None,
}
_TELL: Final = insert(events).values(
    run_id=bindparam("of_run"),
    event_type=bindparam("type"),
    stage=bindparam("of_stage"),
    attempt=bindparam("of_attempt"),
    message=bindparam("text"),
    metadata=cast(bindparam("more"), Json),
    created_at=stamp(),
    seq=bindparam("number"),
)


def request_cancel(connection: Connection, run_id: str, *, actor: str | None, clock: Mapping[str, Any]) -> Run:
    """Write a cancel request, and the end of a run that nobody works, in the transaction of ``connection``.

    Raises:
        RunNotFound: there is no such run.
        RunEnded: it has passed or failed.
    """
    row = connection.execute(_LOCKED, {"run_id": run_id, **clock}).first()
    if row is None:
        raise RunNotFound(run_id)
    run, decision = rows.run(row), machine.cancel(rows.run(row), actor=actor)
    if decision.request or decision.end is not None:
        _write(connection, run, row.event_seq or 0, decision, clock)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(postgresql.NOTIFY)
    return reading.get_run(connection, run_id, clock)


def retried(
    connection: Connection, run_id: str, *, actor: str | None, idempotency_key: str | None, clock: Mapping[str, Any]
) -> NewRun:
    """Give the run to submit that retries an ended one. An ended run never changes, so nothing has to be locked.

    Raises:
        RunNotFound: there is no such run.
        RunNotEnded: it has not ended.
    """
    return machine.retry(reading.get_run(connection, run_id, clock), actor=actor, idempotency_key=idempotency_key)


def _write(connection: Connection, run: Run, seq: int, decision: Cancellation, clock: Mapping[str, Any]) -> None:
    told = [*decision.events, *(decision.end.events if decision.end is not None else ())]
    values: dict[str, Any] = {"event_seq": seq + len(told)}
    given: dict[str, Any] = {"now": clock["now"]}
    if decision.request:
        values |= _REQUESTED
    if decision.end is not None:
        end = decision.end
        values |= _ENDED
        given |= {
            "to_status": end.status.value,
            "to_stage": end.stage,
            "to_attempt": end.attempt,
            "to_error": end.error_message,
        }
    connection.execute(update(runs).where(runs.c.id == run.id).values(values), given)
    tell(connection, run, seq, told, clock)


def tell(connection: Connection, run: Run, seq: int, told: Iterable[NewEvent], clock: Mapping[str, Any]) -> None:
    """Add events to the journal of a run whose row is locked, numbered on from ``seq``."""
    for number, event in enumerate(told, seq + 1):
        values = {
            "of_run": run.id,
            "type": event.event_type.value,
            "of_stage": event.stage,
            "of_attempt": run.current_attempt if event.attempt is None else event.attempt,
            "text": event.message,
            "more": None if event.metadata is None else plain.dumps(event.metadata),
            "number": number,
        }
        connection.execute(_TELL, values | {"now": clock["now"]})
