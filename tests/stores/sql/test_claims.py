"""The statements of a claim: what they make of a run is what the machine decides."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update

from loopkit import RunNotClaimable
from loopkit.core import machine
from loopkit.core.journal import ArtifactType
from loopkit.core.machine import Signal
from loopkit.core.run import RunStatus
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.schema import tables
from loopkit.stores.sql.statements.claim_fates import CLAIM_EVENTS, ClaimFate
from loopkit.stores.sql.statements.claims import SWEEP_LIMIT, merge_candidates
from loopkit.stores.sql.statements.parameters import Values
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import AGENTS, ANNA, submit_one
from tests.stores.sql.conftest import Foreign

LONG_AGO = "2020-01-01 00:00:00"


@pytest.fixture
async def store(sqlite_database: Database) -> AsyncIterator[SqlStore]:
    async with SqlStore(sqlite_database) as store:
        yield store


def put(database: Database, run_id: str, **values: Any) -> None:
    with database.writing() as connection:
        connection.execute(update(tables.runs).where(tables.runs.c.id == run_id).values(values))


@pytest.mark.parametrize("status", RunStatus)
async def test_a_claim_succeeds_in_the_statuses_of_the_machine(
    store: SqlStore, foreign_on_sqlite: Foreign, status: RunStatus
) -> None:
    """A run that nobody works is claimed exactly where the machine has a cell for it."""
    foreign_on_sqlite.add_runs({"id": "run_x", "status": status.value, "created_at": LONG_AGO})
    if status in machine.statuses_allowing(Signal.NOTHING_STORED):
        assert (await store.claim_run(ANNA, "run_x")).taken_over is (status is RunStatus.RUNNING)
    else:
        with pytest.raises(RunNotClaimable):
            await store.claim_run(ANNA, "run_x")


@pytest.mark.parametrize("status", RunStatus)
async def test_a_cancel_request_ends_in_the_statuses_of_the_machine(
    store: SqlStore, foreign_on_sqlite: Foreign, status: RunStatus
) -> None:
    """A request that another program wrote ends a run that nobody works exactly where the machine has a cell."""
    asked = {"status": status.value, "created_at": LONG_AGO, "cancel_requested_at": LONG_AGO}
    foreign_on_sqlite.add_runs({"id": "run_x", **asked})
    assert await store.claim(ANNA, AGENTS) == []
    allowed = status in machine.statuses_allowing(Signal.CANCEL_SEEN)
    assert (await store.get_run("run_x")).status is (RunStatus.CANCELLED if allowed else status)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    kept=st.sets(st.tuples(st.integers(1, 4), st.sampled_from(ArtifactType))),
    max_attempts=st.integers(1, 4),
    lost=st.integers(0, 2),
    running=st.booleans(),
)
def test_a_claim_makes_what_the_machine_makes(
    sqlite_database: Database, kept: set[tuple[int, ArtifactType]], max_attempts: int, lost: int, running: bool
) -> None:
    """Whatever artifacts are there: status, stage, attempt and events are those of the machine's decision."""

    async def claim() -> None:
        store = SqlStore(sqlite_database)
        run = await submit_one(store, max_attempts=max_attempts)
        values = {"status": "running", "created_at": LONG_AGO} if running else {}
        put(sqlite_database, run.id, lost_leases=lost, **values)
        with sqlite_database.writing() as connection:
            for attempt, kind in kept:
                row = {
                    "run_id": run.id,
                    "attempt": attempt,
                    "artifact_type": kind.value,
                    "filename": "f",
                    "content": "{}",
                }
                connection.execute(insert(tables.artifacts).values(row))
        before = await store.get_run(run.id)
        seen = await store.list_events(run.id)
        await store.claim(ANNA, AGENTS, limit=1)
        after = await store.get_run(run.id)
        decision = machine.decide_claim(before, await store.list_artifacts(run.id), claimed_by=after.claimed_by or "")
        assert (after.status, after.current_stage, after.current_attempt, after.error_message) == (
            (decision.status, decision.stage, decision.attempt, decision.error_message)
        )
        told = (await store.list_events(run.id))[len(seen) :]
        said = [(e.event_type, e.stage, e.attempt, e.message, e.metadata) for e in told]
        assert said == [
            (e.event_type, e.stage, decision.attempt if e.attempt is None else e.attempt, e.message, e.metadata)
            for e in decision.events
        ]
        await store._driver.aclose()

    anyio.run(claim)


def test_candidates_are_the_oldest_of_all_agents() -> None:
    """Runs to end come first, without a number; then the oldest to claim, whoever their agent is, numbered from 1. Of
    runs created at the same time the one with the lower id comes first."""
    a: Values = {"definition": "of a", "policy": "{}"}
    b: Values = {"definition": "of b", "policy": None}
    nothing: Values = {"definition": None, "policy": None}
    waiting = [(3.0, "c", a, None), (1.0, "b", b, 2.5), (1.0, "a", a, None), (9.0, "d", nothing, None)]
    assert merge_candidates(["x", "y"], waiting, 3) == [
        ({"run_id": "x", "number": 0, **nothing}, None),
        ({"run_id": "y", "number": 0, **nothing}, None),
        ({"run_id": "a", "number": 1, **a}, None),
        ({"run_id": "b", "number": 2, **b}, 2.5),
        ({"run_id": "c", "number": 3, **a}, None),
    ]


def test_fates_that_hold_write_equally_many_events_and_so_do_those_that_end() -> None:
    """The statement counts the events of a claim before it knows its fate."""
    ends = {ClaimFate.CANCELLED, ClaimFate.LOST}
    assert len({len(CLAIM_EVENTS[fate]) for fate in ClaimFate if fate not in ends}) == 1
    assert len({len(CLAIM_EVENTS[fate]) for fate in ends}) == 1


async def test_a_claim_ends_a_limited_number_of_cancelled_runs(store: SqlStore, foreign_on_sqlite: Foreign) -> None:
    """However many cancel requests wait, a claim ends a part of them, by id, and the next one the following part."""
    ids = [f"run_{number:03}" for number in range(SWEEP_LIMIT + 1)]
    asked = {"status": "queued", "created_at": LONG_AGO, "cancel_requested_at": LONG_AGO}
    foreign_on_sqlite.add_runs(*({"id": run_id, **asked} for run_id in ids))
    assert await store.claim(ANNA, AGENTS) == []
    assert (await store.get_run(ids[-2])).status is RunStatus.CANCELLED
    assert (await store.get_run(ids[-1])).status is RunStatus.QUEUED
    assert await store.claim(ANNA, AGENTS) == []
    assert (await store.get_run(ids[-1])).status is RunStatus.CANCELLED
