"""A cancel request on any row: the tables hold what the state machine decides."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from loopkit.core.run import Run, RunStatus
from loopkit.errors import RunEnded, RunNotEnded, RunNotFound
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import cancel_retry, run_queries
from loopkit.stores.sql.schema import tables
from tests.stores.sql.conftest import CLOCK, Foreign

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def ask(database: Database, run_id: str = "r", actor: str | None = None) -> Run:
    with database.writing() as connection:
        return cancel_retry.request_cancel(connection, database, run_id, actor=actor, clock=CLOCK)


def journal(database: Database) -> list[tuple[object, ...]]:
    columns = tables.events.c.seq, tables.events.c.message
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(tables.events.c.id))]


@pytest.mark.parametrize("stalled", [False, True])
def test_a_run_without_a_holder_ends_at_once(database: Database, foreign: Foreign, stalled: bool) -> None:
    """A queued or stalled run of another program ends cancelled, with its request and end in the journal."""
    state = {"status": "running", "claimed_at": LONG_AGO, "claimed_by": "other:1"} if stalled else {}
    foreign.add_runs({"id": "r", **state})
    run = ask(database, actor="ann")
    assert run.status is RunStatus.CANCELLED
    assert None not in (run.completed_at, run.cancel_requested_at)
    assert journal(database) == [(1, "Cancel requested"), (2, "Cancelled")]
    assert ask(database) == run
    assert len(journal(database)) == 2


def test_a_running_run_is_requested_once(database: Database, foreign: Foreign) -> None:
    """A live run keeps running with the request in its row; a second request changes nothing and adds no event."""
    alive = datetime.now(UTC) + timedelta(seconds=60)
    foreign.add_runs({"id": "r", "status": "running", "current_stage": "producing", "heartbeat_at": alive})
    run = ask(database)
    assert run.status is RunStatus.RUNNING
    assert ask(database) == run
    assert journal(database) == [(1, "Cancel requested")]


def test_an_ended_run_is_not_cancelled(database: Database, foreign: Foreign) -> None:
    """A passed or failed run raises a conflict and stays as it was; an unknown one is not found."""
    foreign.add_runs({"id": "r", "status": "passed"})
    with pytest.raises(RunEnded):
        ask(database)
    with pytest.raises(RunNotFound):
        ask(database, "nobody")
    assert journal(database) == []


def test_a_retry_copies_the_request(database: Database, foreign: Foreign) -> None:
    """A retry takes agent, inputs and limits from the row, even if another program wrote it."""
    foreign.add_runs(
        {"id": "r", "status": "failed", "inputs": '{"a": [1, "ü"]}', "max_attempts": 7, "pass_threshold": 0.1},
        {"id": "q"},
    )
    with database.reading() as connection:
        new = cancel_retry.retry_of(connection, "r", actor="ann", idempotency_key="k", clock=CLOCK)
        assert (new.agent_name, new.inputs, new.max_attempts, new.pass_threshold, new.retry_of) == (
            "namer",
            {"a": [1, "ü"]},
            7,
            0.1,
            "r",
        )
        with pytest.raises(RunNotEnded):
            cancel_retry.retry_of(connection, "q", actor=None, idempotency_key=None, clock=CLOCK)
        assert run_queries.get_run(connection, "q", CLOCK).retry_of is None
