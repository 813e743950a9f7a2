"""A request or an answer that gets lost changes nothing: each call is written once, and its caller hears of it."""

import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from loopkit.core import machine
from loopkit.core.ledger.calls import spending_of
from loopkit.core.outcome import Produced
from loopkit.core.run import Stage
from loopkit.errors import StorageError
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.writes import requests
from loopkit.stores.sql.writes.batch import batch_of
from loopkit.stores.sql.writes.sqlite_executor import SqliteExecutor
from loopkit.testing.steps import (
    ANNA,
    look,
    messages,
    new_call,
    new_run,
    new_verdict,
    scored,
    start_one,
    submit_one,
    with_ledger,
    work,
)
from tests.servers.proxy import Loss, Proxy

LOSSES: list[Loss] = ["request", "answer"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["shared_postgres", "libsql_server"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A database that the tests share: each has an agent of its own."""
    server = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else str(server.url)


@pytest.fixture
def agent() -> str:
    """An agent of this test's own."""
    return f"agent-{secrets.token_hex(6)}"


@pytest.fixture
def proxy(server_url: str) -> Iterator[Proxy]:
    def connect() -> socket.socket:
        if server_url.startswith("http"):
            parts = urlsplit(server_url)
            return socket.create_connection((parts.hostname, parts.port))
        with psycopg.connect(server_url) as known:
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{known.info.host}/.s.PGSQL.{known.info.port}")
            return server

    with Proxy(connect) as proxy:
        yield proxy


@pytest.fixture
async def store(server_url: str, proxy: Proxy) -> AsyncIterator[SqlStore]:
    if server_url.startswith("http"):
        url = f"http://127.0.0.1:{proxy.port}"
    else:
        with psycopg.connect(server_url) as known:
            url = f"postgresql://{known.info.user}@127.0.0.1:{proxy.port}/{known.info.dbname}"
    database = open_database(url)
    migrations.migrate(database)
    async with SqlStore(database) as store:
        await submit_one(store, agent_name="nobody's")  # the writer's connection is made
        yield store


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_record_is_written_once(store: SqlStore, proxy: Proxy, agent: str, loss: Loss) -> None:
    """A stage's result whose transaction got no answer is there once, and the run goes on from it."""
    held = await start_one(store, agent_name=agent)
    proxy.lose(loss)
    run = await work(store, held, Produced("a draft"))
    assert proxy.lost == 1
    run = await store.record(held.lease, machine.advance(run, scored(0.9)))
    kept = await look(store, run.id)
    assert kept.run.status == "passed"
    assert [a.content for a in kept.artifacts][:1] == ["a draft"]
    assert len(kept.artifacts) == 2
    assert [e.message for e in kept.events].count("Produced (attempt-1.md)") == 1
    assert await store.check() == []


@pytest.mark.parametrize("loss", LOSSES)
async def test_logs_are_written_once(store: SqlStore, proxy: Proxy, agent: str, loss: Loss) -> None:
    """What leaves no artifact is recognised as well."""
    held = await start_one(store, agent_name=agent)
    line = machine.stage_event(Stage.PRODUCING, 1)
    proxy.lose(loss)
    await store.record(held.lease, machine.log_change(held.run, [line]))
    assert proxy.lost == 1
    assert (await messages(store, held.run.id)).count(line.message) == 2  # the stage began with the same words
    assert await store.check() == []


@pytest.mark.parametrize("loss", LOSSES)
async def test_calls_and_verdicts_are_written_once(store: SqlStore, proxy: Proxy, agent: str, loss: Loss) -> None:
    """With the change that has them; the sums of the run are those of its calls."""
    held = await start_one(store, agent_name=agent)
    run = await work(store, held, Produced("a draft"))
    call, verdict = new_call("x", input_tokens=3, cost_nanos=7), new_verdict("facts")
    proxy.lose(loss)
    run = await store.record(held.lease, with_ledger(machine.log_change(run, []), call, verdict))
    assert proxy.lost == 1
    assert run.spending == spending_of([call])
    assert run == await store.get_run(run.id)
    assert [stored.id for stored in await store.list_calls(run.id)] == ["x"]
    assert await store.list_verdicts(run.id, 1) == [verdict]
    assert await store.check() == []


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_submit_makes_each_run_once(store: SqlStore, proxy: Proxy, agent: str, loss: Loss) -> None:
    proxy.lose(loss)
    made = await store.submit([new_run(agent_name=agent), new_run(agent_name=agent, idempotency_key=agent)])
    assert proxy.lost == 1
    claimed = await store.claim(ANNA, {agent: "digest"}, limit=10)
    assert [held.run.id for held in claimed] == [run.id for run in made]
    assert await store.check() == []


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_claim_is_found_again(store: SqlStore, proxy: Proxy, agent: str, loss: Loss) -> None:
    """No run is abandoned claimed by nobody, and none is claimed twice."""
    made = await store.submit([new_run(agent_name=agent) for _ in range(5)])
    proxy.lose(loss)
    claimed = await store.claim(ANNA, {agent: "digest"}, limit=3)
    assert proxy.lost == 1
    assert [held.run.id for held in claimed] == [run.id for run in made[:3]]
    assert [held.run.fencing_token for held in claimed] == [1, 1, 1]
    assert len(await store.claim(ANNA, {agent: "digest"}, limit=10)) == 2
    assert await store.check() == []


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_start_is_found_again(store: SqlStore, proxy: Proxy, agent: str, loss: Loss) -> None:
    proxy.lose(loss)
    held = await start_one(store, agent_name=agent)
    assert proxy.lost == 1
    assert (await work(store, held, Produced("a draft"), scored(0.9))).status == "passed"
    assert await store.check() == []


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_known_key_beside_a_new_run_is_found_again(
    store: SqlStore, proxy: Proxy, agent: str, loss: Loss
) -> None:
    """What the transaction did not make, since it was there before, is answered as well."""
    keyed = new_run(agent_name=agent, idempotency_key=agent)
    [first] = await store.submit([keyed])
    proxy.lose(loss)
    again, other = await store.submit([keyed, new_run(agent_name=agent)])
    assert proxy.lost == 1
    assert again == first
    assert other.id != first.id
    assert await store.check() == []


def test_a_known_key_beside_a_new_run_is_found_again_in_a_file(sqlite_database: Database) -> None:
    """The same on SQLite, where a commit's answer is lost with the disk under it."""
    executor = SqliteExecutor(sqlite_database.writer, lambda: {"now": None, "stalled_seconds": 120.0}, lambda: None)
    keyed = new_run(idempotency_key="key")
    known = requests.submit_request([keyed], ["run_1"], "w1", executor.encode)
    again = requests.submit_request([keyed, new_run()], ["run_2", "run_3"], "w2", executor.encode)
    executor.perform(batch_of([known]))
    assert not executor.read_back(batch_of([again]))
    executor.perform(batch_of([again]))
    given = again.result()
    again.outcome = StorageError("the answer is lost")
    assert executor.read_back(batch_of([again]))
    assert [row[0] for row in again.result()] == [row[0] for row in given] == ["run_1", "run_3"]
    executor.close()
