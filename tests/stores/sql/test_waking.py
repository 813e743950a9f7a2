"""Hints arrive from this process and from others, survive a lost connection, and are never needed."""

import threading
from collections.abc import Iterator

import anyio
import psycopg
import pytest

from loopkit.stores.sql import postgresql, waking
from loopkit.stores.sql.dialects import Database, Kind, open_database
from loopkit.stores.sql.waking import Waking
from tests.stores.sql.conftest import Foreign

LONG = 120.0
"""Seconds to wait for what must come sooner; the test fails where only the timeout ends the waiting."""


@pytest.fixture
def woken(database: Database) -> Iterator[Waking]:
    made = waking.waking(database)
    yield made
    made.close()


async def come_to_rest(woken: Waking) -> None:
    """Take what there is to hear at first."""
    await woken.wait_for_work(0.2)
    await woken.wait_for_work(0.2)


async def test_telling_wakes_who_waits_here(woken: Waking) -> None:
    """A tell from any thread ends every waiting of this process at once."""
    await come_to_rest(woken)
    done = []

    async def wait() -> None:
        await woken.wait_for_work(LONG)
        done.append(1)

    with anyio.fail_after(LONG / 4):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            threading.Thread(target=woken.tell).start()
    assert len(done) == 3


async def test_a_tell_between_two_waits_is_heard(woken: Waking) -> None:
    """What is told while nobody waits ends the next waiting."""
    await come_to_rest(woken)
    woken.tell()
    with anyio.fail_after(LONG / 4):
        await woken.wait_for_work(LONG)


async def test_waiting_ends_at_its_timeout(woken: Waking) -> None:
    """Without any hint a wait ends by itself."""
    await come_to_rest(woken)
    with anyio.fail_after(LONG):
        await woken.wait_for_work(0.05)


async def test_another_process_is_heard(database: Database, foreign: Foreign, woken: Waking) -> None:
    """A run that somebody else queues ends the waiting, wherever hints come from."""
    await come_to_rest(woken)

    async def queue() -> None:
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(foreign.add_runs, {"id": "r"})
        if database.kind is Kind.POSTGRESQL:
            with database.writing() as connection:
                connection.exec_driver_sql(postgresql.NOTIFY)

    with anyio.fail_after(LONG / 4):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue)
            await woken.wait_for_work(LONG)


async def test_a_lost_connection_is_replaced(postgres_url: str) -> None:
    """Ended by the server, the listening connection is made anew and hears again (faults table, row 19)."""
    database = open_database(postgres_url)
    woken = waking.waking(database)
    await come_to_rest(woken)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        ).fetchone()
        assert ended == (1,)
        with anyio.fail_after(LONG / 4):
            await woken.wait_for_work(LONG)  # anything may have been told meanwhile
            listening = None
            while not listening:
                await woken.wait_for_work(0.5)
                listening = admin.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").fetchone()
            await come_to_rest(woken)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(woken.wait_for_work, LONG)
                await anyio.wait_all_tasks_blocked()
                admin.execute(postgresql.NOTIFY)
    woken.close()
    database.close()


async def test_a_connection_that_hears_nothing_is_not_used(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is told does not arrive, as behind a pooler, waiting goes on by timeouts alone."""
    monkeypatch.setattr(postgresql, "CHANNEL", "loopkit_work; UNLISTEN *")
    monkeypatch.setattr(waking, "PROBE_SECONDS", 0.1)
    database = open_database(postgres_url)
    woken = waking.waking(database)
    with anyio.fail_after(LONG):
        await woken.wait_for_work(0.5)
    assert woken._source._connection is None  # type: ignore[attr-defined]
    woken.close()
    database.close()
