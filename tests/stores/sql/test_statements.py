"""What the statements let through and what they make of a claim is what the machine says."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from loopkit import LeaseLost, RunNotClaimable
from loopkit.core import machine
from loopkit.core.journal import ArtifactType
from loopkit.core.lease import Lease
from loopkit.core.machine import Signal
from loopkit.core.outcome import Produced
from loopkit.core.run import RunStatus
from loopkit.stores.sql import migrations, tables
from loopkit.stores.sql.dialects import Database, open_database
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import AGENTS, ANNA, start_one, submit_one
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
async def test_a_holder_writes_in_the_statuses_of_the_machine(
    store: SqlStore, sqlite_database: Database, status: RunStatus
) -> None:
    """With a lease that fits in every part, a change is written exactly where the machine has a cell for a holder."""
    held = await start_one(store)
    put(sqlite_database, held.run.id, status=status.value)
    change = machine.release(held.run, "a test")
    if status in machine.statuses_allowing(Signal.RELEASED):
        assert (await store.record(held.lease, change)).status is RunStatus.QUEUED
    else:
        with pytest.raises(LeaseLost):
            await store.record(held.lease, change)


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
        decision = machine.claimed(before, await store.list_artifacts(run.id), claimed_by=after.claimed_by or "")
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


async def test_a_lease_in_bad_company_is_renewed(store: SqlStore) -> None:
    """Of leases of the same run only the one that fits in every part holds; strange ones take nothing with them."""
    held = await start_one(store)
    stale = attrs.evolve(held.lease, fencing_token=7)
    other = Lease(run_id="run_none", lease_id="x", claimed_by="y", fencing_token=1)
    beats = await store.heartbeat([stale, held.lease, other])
    assert [beat.held for beat in beats] == [False, True, False]


async def test_a_heartbeat_does_not_wait_for_a_row_that_is_locked(shared_postgres: str) -> None:
    """A writer that waits for a lock loses no lease, its own run's included; whoever beats hears what was skipped."""
    database = open_database(shared_postgres)
    migrations.migrate(database)
    async with SqlStore(database) as store:
        locked, free = await start_one(store), await start_one(store)
        async with anyio.create_task_group() as tasks:
            with database.writing() as connection:
                connection.execute(select(tables.runs.c.id).where(tables.runs.c.id == locked.run.id).with_for_update())
                tasks.start_soon(store.record, locked.lease, machine.advance(locked.run, Produced("a")))
                await anyio.sleep(0.05)
                with anyio.fail_after(1.5):  # less than the writer's patience with a lock
                    beats = await store.heartbeat([locked.lease, free.lease])
        assert [(beat.held, beat.skipped) for beat in beats] == [(True, True), (True, False)]
        assert (await store.get_run(locked.run.id)).current_stage is machine.Stage.EVALUATING
        assert [beat.skipped for beat in await store.heartbeat([locked.lease, free.lease])] == [False, False]
