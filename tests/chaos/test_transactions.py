"""Transactions on PostgreSQL that stop half-way: they never block a run for long."""

import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, Self

import anyio
import anyio.to_thread
import psycopg
import pytest
from sqlalchemy import make_url

from loopkit import LeaseLost, Run, RunStatus
from loopkit.core.outcome import Produced
from loopkit.storage import Held
from loopkit.stores import open_store
from loopkit.stores.sql.databases import postgresql
from loopkit.stores.sql.opener import open_database_migrated
from loopkit.stores.sql.operations import cancel_retry
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.writes.postgresql_executor import PostgresqlExecutor
from loopkit.testing.steps import AGENTS, BORIS, claim_one, fail, start_one, submit_one, work, work_to_end
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.chaos

PATIENCE_SECONDS = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Frost:
    """Callable that blocks its first caller, as a frozen process would, until the end of the block."""

    def __init__(self) -> None:
        self._has_come = threading.Event()
        self._is_over = threading.Event()

    def __call__(self) -> None:
        if not self._has_come.is_set():
            self._has_come.set()
            assert self._is_over.wait(60)

    async def come(self) -> None:
        assert await anyio.to_thread.run_sync(self._has_come.wait, PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()


async def claim_in_time(store: SqlStore) -> Held:
    """Claim a run as soon as there is one to claim."""
    while True:
        for held in await store.claim(BORIS, AGENTS):
            return held
        await anyio.sleep(0.05)


async def test_a_writer_that_freezes_in_its_transaction_hides_no_run(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row locks end with the limit on idle transactions, so its run is taken over; its own write is refused."""
    before_commit = PostgresqlExecutor._notify
    stalled_after = timedelta(seconds=1)
    async with (
        open_store(postgres_url, stalled_after=stalled_after) as frozen,
        open_store(postgres_url, stalled_after=stalled_after) as sound,
        anyio.create_task_group() as tasks,
    ):
        held = await start_one(frozen)

        async def write_late() -> None:
            with pytest.raises(LeaseLost):
                await work(frozen, held, Produced("late"))

        with Frost() as frost, anyio.fail_after(PATIENCE_SECONDS):

            def freeze_before_commit(*given: Any) -> None:
                frost()
                before_commit(*given)

            monkeypatch.setattr(PostgresqlExecutor, "_notify", freeze_before_commit)
            tasks.start_soon(write_late)
            await frost.come()
            taken = await claim_in_time(sound)
        assert taken.taken_over
        assert (await work_to_end(sound, taken)).status is RunStatus.PASSED
        assert await sound.check() == []


async def test_a_cancel_that_freezes_in_its_transaction_stops_no_runner(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rarer writes have such a limit as well: the holder's next result waits for it and is stored."""
    request_cancel = cancel_retry.request_cancel
    limits = re.sub(r"(idle_in_transaction_session_timeout', )'10s'", r"\1'300ms'", postgresql.LIMITS)
    async with (
        open_store(postgres_url) as frozen,
        open_store(postgres_url) as sound,
        anyio.create_task_group() as tasks,
    ):
        held = await start_one(sound)
        with Frost() as frost, anyio.fail_after(PATIENCE_SECONDS):

            def frozen_request(*args: Any, **options: Any) -> Run:
                run = request_cancel(*args, **options)
                frost()
                return run

            monkeypatch.setattr(postgresql, "LIMITS", limits)
            monkeypatch.setattr(cancel_retry, "request_cancel", frozen_request)
            tasks.start_soon(frozen.request_cancel, held.run.id)
            await frost.come()
            assert (await work(sound, held, Produced("in time"))).status is RunStatus.RUNNING


HANGING_COMMIT = """
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hang AFTER INSERT ON workflow_events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hang();
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = ANY(%s)"


class Commits:
    """Control over whether commits of a database hang."""

    def __init__(self, url: str) -> None:
        self._keeper = psycopg.connect(url, autocommit=True)
        self._keeper.execute(HANGING_COMMIT)

    def hold_back(self) -> None:
        self._keeper.execute("SELECT pg_advisory_lock(1)")

    def let_go(self) -> None:
        self._keeper.execute("SELECT pg_advisory_unlock_all()")

    def close(self) -> None:
        self._keeper.close()

    async def met(self, *locks: str, over: Callable[[], bool] = lambda: False) -> None:
        """Wait until a backend waits for a lock of one of these kinds, or ``over()`` is true."""
        while True:
            if self._keeper.execute(WAITING, [list(locks)]).fetchone() != (0,) or over():
                return
            await anyio.sleep(0.01)


@pytest.fixture
def commits(postgres_url: str) -> Iterator[Commits]:
    open_database_migrated(postgres_url).close()  # the tables are made
    made = Commits(postgres_url)
    yield made
    made.close()


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with psycopg.connect(postgres_url) as known:
        address = f"{known.info.host}/.s.PGSQL.{known.info.port}"

    def connect() -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.connect(address)
        return server

    with Proxy(connect) as made:
        yield made


async def _fails(store: SqlStore, held: Held) -> None:
    assert (await fail(store, held)).status is RunStatus.FAILED


async def _is_claimed(store: SqlStore, _: Held) -> None:
    assert not (await claim_one(store)).taken_over


@pytest.mark.parametrize("call", [_fails, _is_claimed])
async def test_the_read_back_waits_for_a_commit_that_is_under_way(
    postgres_url: str, commits: Commits, proxy: Proxy, call: Callable[[SqlStore, Held], Awaitable[None]]
) -> None:
    """After a connection is lost during a commit, the read-back sees its outcome even if the commit finishes later."""
    user, database = make_url(postgres_url).username, make_url(postgres_url).database
    async with open_store(f"postgresql://{user}@127.0.0.1:{proxy.port}/{database}") as store:
        held = await start_one(store)
        await submit_one(store)
        over = anyio.Event()

        async def lose_the_answer() -> None:
            await call(store, held)
            over.set()

        commits.hold_back()
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lose_the_answer)
                await commits.met("advisory")
                proxy.cut()
                await commits.met("transactionid", "tuple", over=over.is_set)
                commits.let_go()
        assert await store.check() == []
