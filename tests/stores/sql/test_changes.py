"""The statements that write under a lease: what they let through is what the machine says."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import pytest
from sqlalchemy import select, update

from loopkit import LeaseLost
from loopkit.core import machine
from loopkit.core.journal import Change, EventType, NewEvent
from loopkit.core.lease import Lease
from loopkit.core.machine import Signal
from loopkit.core.outcome import Produced
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.storage import Held
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations, tables
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import messages, scored, start_one, work


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
    change = machine.released_change(held.run, "a test")
    if status in machine.statuses_allowing(Signal.RELEASED):
        assert (await store.record(held.lease, change)).status is RunStatus.QUEUED
    else:
        with pytest.raises(LeaseLost):
            await store.record(held.lease, change)


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
        assert (await store.get_run(locked.run.id)).current_stage is Stage.EVALUATING
        assert [beat.skipped for beat in await store.heartbeat([locked.lease, free.lease])] == [False, False]


def numbers(database: Database, run_id: str) -> list[int]:
    """Return the numbers of a run's events, in the order of their ids, and the number that the run's row has."""
    events, runs = tables.events, tables.runs
    with database.reading() as connection:
        seqs = connection.execute(select(events.c.seq).where(events.c.run_id == run_id).order_by(events.c.id))
        last = connection.execute(select(runs.c.event_seq).where(runs.c.id == run_id))
        return [*seqs.scalars(), last.scalar_one()]


def logged(run: Run, *lines: str) -> Change:
    """Return a change that adds log lines."""
    return machine.log_change(run, [NewEvent(event_type=EventType.LOG, message=line) for line in lines])


@pytest.mark.parametrize("claims_elsewhere", [False, True])
async def test_events_are_numbered_after_those_that_the_holder_does_not_know(
    database: Database, claims_elsewhere: bool
) -> None:
    """A change that finds more events than its store knows of is written carefully, and no number is given twice.

    This is the check of ``event_seq``: another store of the same holder writes between two changes of this one.
    """
    async with SqlStore(open_database(str(database.display_url))) as one, SqlStore(database) as other:
        held = await start_one(other if claims_elsewhere else one)
        await other.record(held.lease, logged(held.run, "a", "b"))
        run = await work(one, held, Produced("text"))
        await other.record(held.lease, logged(run, "c"))
        await one.record(held.lease, logged(run, "d"))
        run = await one.record(held.lease, machine.advance(run, scored(0.9)))
        assert run.status is RunStatus.PASSED
        *seqs, last = numbers(database, run.id)
        assert seqs == list(range(1, last + 1))
        told = await messages(one, run.id)
        assert [line for line in told if line in {"a", "b", "c", "d"}] == ["a", "b", "c", "d"]
        assert await one.check() == []


@pytest.mark.parametrize("way", ["cancelled", "lost"])
async def test_one_change_that_cannot_go_as_meant_takes_none_with_it(database: Database, way: str) -> None:
    """Of changes written together, each goes its own way: this is the check of the count of updated rows."""
    async with SqlStore(database) as store:
        holds = [await start_one(store) for _ in range(4)]
        odd = holds[2]
        if way == "cancelled":
            await store.request_cancel(odd.run.id)
        else:
            put(database, odd.run.id, claimed_by="another program")
        results: dict[str, Run | None] = {}

        async def record(held: Held) -> None:
            try:
                results[held.run.id] = await store.record(held.lease, machine.advance(held.run, Produced("text")))
            except LeaseLost:
                results[held.run.id] = None

        async with anyio.create_task_group() as tasks:
            for held in holds:
                tasks.start_soon(record, held)
        lost = results.pop(odd.run.id)
        assert lost is None if way == "lost" else lost is not None and lost.status is RunStatus.CANCELLED
        assert {run.current_stage for run in results.values() if run is not None} == {Stage.EVALUATING}
        assert len(await store.list_artifacts(odd.run.id)) == (0 if way == "lost" else 1)
        for held in holds:
            *seqs, last = numbers(database, held.run.id)
            assert seqs == list(range(1, last + 1))
