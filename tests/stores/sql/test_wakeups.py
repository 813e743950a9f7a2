"""Hints come from this process and from others, survive a lost connection, and are never required."""

import threading
from collections.abc import Iterator

import anyio
import psycopg
import pytest

from loopkit.stores.sql.databases import postgresql
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.wakeups import listener
from loopkit.stores.sql.wakeups.hub import Wakeups
from loopkit.stores.sql.wakeups.sources import source_of
from tests.stores.sql.conftest import Foreign

LONG = 120.0
"""Seconds to wait for what must come sooner; the test fails where only the timeout ends the waiting."""

LISTENING = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
"""The listening connections of one database: other tests' databases are on the same server."""


@pytest.fixture
def wakeups(database: Database) -> Iterator[Wakeups]:
    opened = Wakeups(source_of(database))
    yield opened
    opened.close()


async def consume_first_hints(wakeups: Wakeups) -> None:
    """Consume the hints of the first connection."""
    await wakeups.wait_for_work(0.2)
    await wakeups.wait_for_work(0.2)


async def test_notify_wakes_every_waiter_of_this_process(wakeups: Wakeups) -> None:
    """A notification from any thread ends every wait of this process at once."""
    await consume_first_hints(wakeups)
    done = []

    async def wait() -> None:
        await wakeups.wait_for_work(LONG)
        done.append(1)

    with anyio.fail_after(LONG / 4):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            threading.Thread(target=wakeups.notify).start()
    assert len(done) == 3


async def test_a_notification_between_two_waits_ends_the_next_one(wakeups: Wakeups) -> None:
    """A notification while nobody waits ends the next wait."""
    await consume_first_hints(wakeups)
    wakeups.notify()
    with anyio.fail_after(LONG / 4):
        await wakeups.wait_for_work(LONG)


async def test_waiting_ends_at_its_timeout(wakeups: Wakeups) -> None:
    """Without any hint a wait ends by itself."""
    await consume_first_hints(wakeups)
    with anyio.fail_after(LONG):
        await wakeups.wait_for_work(0.05)


async def test_a_run_of_another_process_ends_the_wait(database: Database, foreign: Foreign, wakeups: Wakeups) -> None:
    """A run that another program queues ends the wait, whatever the source of hints."""
    await consume_first_hints(wakeups)

    async def queue() -> None:
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(foreign.add_runs, {"id": "r"})
        if isinstance(database, PostgresqlDatabase):
            with database.writing() as connection:
                connection.exec_driver_sql(postgresql.NOTIFY)

    with anyio.fail_after(LONG / 4):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue)
            await wakeups.wait_for_work(LONG)


async def test_a_lost_connection_is_replaced(postgres_url: str) -> None:
    """A listening connection that the server ends is replaced and hears notifications again (faults table, row 19)."""
    database = open_database(postgres_url)
    wakeups = Wakeups(source_of(database))
    await consume_first_hints(wakeups)
    with psycopg.connect(postgres_url, autocommit=True) as admin, anyio.fail_after(LONG / 4):
        while admin.execute(f"SELECT pg_terminate_backend(pid) {LISTENING}").fetchone() is None:
            await wakeups.wait_for_work(0.2)
        await wakeups.wait_for_work(LONG)  # notifications may have been missed meanwhile
        while admin.execute(f"SELECT 1 {LISTENING}").fetchone() is None:
            await wakeups.wait_for_work(0.2)
        await consume_first_hints(wakeups)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wakeups.wait_for_work, LONG)
            await anyio.wait_all_tasks_blocked()
            admin.execute(postgresql.NOTIFY)
    wakeups.close()
    database.close()


async def test_a_connection_without_notifications_is_not_used(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where notifications do not arrive, as behind a pooler, waits end by their timeouts alone."""
    monkeypatch.setattr(postgresql, "CHANNEL", "loopkit_work; UNLISTEN *")
    monkeypatch.setattr(listener, "PROBE_SECONDS", 0.1)
    database = open_database(postgres_url)
    wakeups = Wakeups(source_of(database))
    with anyio.fail_after(LONG):
        await wakeups.wait_for_work(0.5)
    assert wakeups._source._connection is None  # type: ignore[attr-defined]
    wakeups.close()
    database.close()


async def test_a_store_that_is_closed_while_it_connects_leaves_no_connection(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that connects closes what it opened when the store was closed meanwhile, at every moment."""
    for step in ("_open_and_probe", "_receives"):
        _close_in(step, postgres_url, monkeypatch)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with anyio.fail_after(LONG / 4):
            while admin.execute(others).fetchone() != (0,):  # noqa: ASYNC110  (the server closes them)
                await anyio.sleep(0.02)


def _close_in(step: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(url)
    source = listener.Listener(database)
    original = getattr(listener.Listener, step)

    def close_and_go_on(self: listener.Listener, *arguments: object) -> object:
        result = original(self, *arguments)

        def close() -> None:
            self.close()
            database.close()

        closing = threading.Thread(target=close)
        closing.start()
        closing.join()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(listener.Listener, step, close_and_go_on)
        source._connect()
    assert source._connection is None
