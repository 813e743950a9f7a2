"""No wait for PostgreSQL is without end: silent connections are given up, and closing is bounded."""

import socket
from collections.abc import Iterator
from datetime import timedelta

import anyio
import psycopg
import pytest
from sqlalchemy.engine import make_url

from loopkit import Agent, Runner, RunStatus
from loopkit.core import machine
from loopkit.core.outcome import Produced
from loopkit.stores.sql.databases.postgresql_connection import LimitedConnection
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.writes import lanes, postgresql_executor
from loopkit.stores.sql.writes.batch import Batch
from loopkit.testing import HandClock
from loopkit.testing.steps import AGENTS, ANNA, look, messages, scored, start_one, submit_one, work
from tests.servers.proxy import Proxy


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    def connect() -> socket.socket:
        with psycopg.connect(postgres_url) as known:
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{known.info.host}/.s.PGSQL.{known.info.port}")
            return server

    with Proxy(connect) as proxy:
        yield proxy


@pytest.fixture
def far_store(postgres_url: str, proxy: Proxy) -> SqlStore:
    """A store whose connections go through the proxy."""
    url = make_url(postgres_url)
    database = open_database(f"postgresql://{url.username}@127.0.0.1:{proxy.port}/{url.database}")
    migrations.migrate(database)
    return SqlStore(database)


def test_a_connection_that_is_silent_is_closed(postgres_url: str) -> None:
    with LimitedConnection.connect(postgres_url) as connection:
        connection.silence_seconds = 0.0
        with pytest.raises(psycopg.OperationalError, match="sent and taken nothing"):
            connection.execute("SELECT pg_sleep(3600)")
        assert connection.closed


def test_a_pipeline_that_is_silent_is_closed(postgres_url: str) -> None:
    with LimitedConnection.connect(postgres_url) as connection:
        connection.silence_seconds = 0.0
        with pytest.raises(psycopg.OperationalError, match="sent and taken nothing"), connection.pipeline():
            connection.execute("SELECT pg_sleep(3600)").fetchone()
        assert connection.closed


async def test_a_write_goes_on_over_a_new_connection(
    far_store: SqlStore, postgres_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write on a connection that fell silent is looked up over a new one, and is written once."""
    monkeypatch.setattr(postgresql_executor, "SILENCE_SECONDS", 0.5)
    async with far_store, SqlStore(open_database(postgres_url)) as store:
        held = await start_one(far_store)
        proxy.silence()
        run = await work(far_store, held, Produced("a draft"))
        assert (await messages(store, run.id)).count("Produced (attempt-1.md)") == 1
        assert [artifact.content for artifact in (await look(store, run.id)).artifacts] == ["a draft"]
        assert await store.check() == []


async def test_closing_does_not_wait_for_a_silent_server(
    far_store: SqlStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_executor, "SILENCE_SECONDS", 3600.0)
    monkeypatch.setattr(lanes, "CLOSE_SECONDS", 0.2)
    held = await start_one(far_store)
    proxy.silence()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(far_store.record, held.lease, machine.advance(held.run, Produced("a draft")))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await far_store.aclose()  # returns, although the writer still waits
    proxy.cut()


async def test_a_claim_gets_the_time_that_its_rows_take_to_arrive(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's limit of a statement counts the sending of its rows too; outputs may be large and the line slow."""
    database = open_database(postgres_url)
    migrations.migrate(database)
    limits = postgresql_executor.PostgresqlExecutor._limits
    asked: list[str] = []

    def noted(self: postgresql_executor.PostgresqlExecutor, batch: Batch) -> dict[str, str]:
        values = limits(self, batch)
        asked.append(values["statement"])
        return values

    async with SqlStore(database) as store:
        await submit_one(store)
        monkeypatch.setattr(postgresql_executor.PostgresqlExecutor, "_limits", noted)
        assert len(await store.claim(ANNA, AGENTS)) == 1
    assert asked[0] == "125s"


async def test_large_outputs_do_not_come_with_a_claim(postgres_url: str) -> None:
    """Its transaction, and so its locks, would be open for as long as they take to arrive."""
    database, clock = open_database(postgres_url), HandClock()
    migrations.migrate(database)
    async with SqlStore(database, now=clock) as store:
        small, large = await start_one(store), await start_one(store)
        await work(store, small, Produced("a draft"))
        await work(store, large, Produced("x" * postgresql_executor.CLAIMED_BYTES), scored(0.1))
        clock.advance(timedelta(seconds=121))
        again = await store.claim(ANNA, AGENTS, limit=2)
        assert [held.run.id for held in again] == [small.run.id, large.run.id]
        assert again[0].artifacts == tuple(await store.list_artifacts(small.run.id))
        assert again[1].artifacts is None
        clock.advance(timedelta(seconds=121))
        assert (await store.claim_run(ANNA, large.run.id)).artifacts is None


async def test_a_run_whose_outputs_do_not_come_with_its_claim_goes_on(postgres_url: str) -> None:
    """It is worked from what is stored, and what is in its attempts is not made again."""
    database, clock = open_database(postgres_url), HandClock()
    migrations.migrate(database)
    text = "x" * 1_000_000
    agent = Agent(name="writer", produce=lambda context: pytest.fail("called"), evaluate=lambda context: 1.0)
    async with SqlStore(database, now=clock) as store:
        held = await start_one(store)
        await work(store, held, Produced(text))
        clock.advance(timedelta(seconds=121))
        await Runner(store, [agent]).drain()
        run = await store.get_run(held.run.id)
        assert (run.status, run.current_attempt, run.final_score) == (RunStatus.PASSED, 1, 1.0)
        assert await store.check() == []


async def test_a_large_output_gets_the_time_that_its_sending_takes(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(postgres_url)
    migrations.migrate(database)
    limits = postgresql_executor.PostgresqlExecutor._limits
    asked: list[dict[str, str]] = []

    def noted(self: postgresql_executor.PostgresqlExecutor, batch: Batch) -> dict[str, str]:
        asked.append(limits(self, batch))
        return asked[-1]

    async with SqlStore(database) as store:
        held = await start_one(store)
        monkeypatch.setattr(postgresql_executor.PostgresqlExecutor, "_limits", noted)
        await work(store, held, Produced("x" * 10_000_000))
    assert asked[0] == {"statement": "45s", "idle": "50000ms"}
