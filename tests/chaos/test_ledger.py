"""Runners killed at each of their writes and during each of their model calls: the ledger says what is known.

An answered call is booked once, in the write of its stage's result; one that the dead runner left is unanswered; and
the sums of the run are those of its ledger, whatever happened.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import update

import loopkit
from loopkit.core.ledger.calls import CallState, spending_of
from loopkit.stores import open_store
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema.tables import runs
from tests.agents.model_server_helpers import Answer, ModelServer, Request, says
from tests.chaos.ledger_program import STALLED_AFTER, prompting_agent, work

pytestmark = pytest.mark.chaos

NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(
    [
        "tests.chaos.ledger_program",
        "anyio._backends._asyncio",
        "loopkit.runner",
        "loopkit.stores.sql.opener",
        "loopkit.stores.sql.writes.postgresql_executor",
        "loopkit.stores.sql.writes.sqlite_executor",
        "sqlalchemy.dialects.postgresql.psycopg",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "pydantic_ai.direct",
        "pydantic_ai.models.openai",
        "pydantic_ai.providers.openai",
    ]
)

CALLS = [
    *(pytest.param("sqlite_url", number, id=f"sqlite-{number}") for number in range(1, 5)),
    *(pytest.param("postgres_url", number, id=f"postgresql-{number}", marks=pytest.mark.postgres) for number in (1, 4)),
]
"""Databases, and the requests of a run of two attempts; on PostgreSQL the first and the last."""
WRITES = 8
"""Writes of a run of two attempts: a call before it is sent, and the result of the stage, for each of four stages."""
CALL_NANOS = 18_000
"""Price of a call: 11 tokens in and 7 out at one usd per million."""


def answer(request: Request) -> Answer:
    """Answer a judge with 0.5 for the first attempt and 0.9 for the second, anyone else with text."""
    text = request.messages[-1][1]
    if not text.startswith("Judge"):
        return says("A draft.")
    return says(json.dumps({"feedback": "so", "score": 5 if "attempt 1" in text else 9}))


class KillingServer:
    """Answers of a server that kills its client before one of them."""

    def __init__(self, kill_at: int) -> None:
        self.process: BaseProcess | None = None
        self._kill_at = kill_at
        self._requests = 0

    def __call__(self, request: Request) -> Answer:
        self._requests += 1
        if self._requests == self._kill_at:
            assert self.process is not None
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGKILL)
        return answer(request)


def run_process(url: str, folder: Path, server: str, kill_at: int, *, is_after: bool) -> BaseProcess:
    """Start a runner in a process of its own."""
    process = NURSERY.Process(target=work, args=(url, folder, server, kill_at, is_after), daemon=True)
    process.start()
    return process


def make_stalled(url: str) -> None:
    """Let the holder of every running run be silent for years."""
    with closing(open_database(url)) as database, database.writing() as connection:
        long_ago = database.time_parameter(datetime(2020, 1, 1, tzinfo=UTC))
        connection.execute(update(runs).where(runs.c.status == "running").values(heartbeat_at=long_ago))


async def check(
    url: str, folder: Path, kill: Callable[[str, KillingServer], BaseProcess], request: int, lost: int
) -> None:
    """Have a runner killed and another finish its run; ``lost`` calls of the first stay unanswered."""
    mood = KillingServer(request)
    with ModelServer([mood]) as server:
        async with open_store(url, stalled_after=STALLED_AFTER) as store:
            (run,) = await loopkit.submit(store, prompting_agent(folder, server.url), [{}])
            killed = kill(server.url, mood)
            killed.join(120)
            assert killed.exitcode == -signal.SIGKILL
            make_stalled(url)
            rest = run_process(url, folder, server.url, 0, is_after=False)
            rest.join(120)
            assert rest.exitcode == 0
            run = await store.get_run(run.id)
            calls = await store.list_calls(run.id)
            assert (run.status, run.current_attempt, await store.check()) == ("passed", 2, [])
    states = [call.state for call in calls]
    assert (states.count(CallState.ANSWERED), states.count(CallState.UNANSWERED)) == (4, lost)
    assert (run.cost_nanos, run.unpriced_calls) == (4 * CALL_NANOS, lost)
    sums = spending_of(calls)
    assert (sums.tokens, sums.cost_nanos, sums.unpriced_calls) == (
        run.spending.tokens,
        run.cost_nanos,
        run.unpriced_calls,
    )
    # Each request has its row; a row without one was written by a runner that died before it sent the call.
    assert len(calls) - 1 <= len(server.requests) <= len(calls)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("write", "is_after"), [*((write, True) for write in range(1, WRITES)), (1, False), (2, False), (WRITES, False)]
)
async def test_a_runner_killed_at_a_write(sqlite_url: str, tmp_path: Path, write: int, is_after: bool) -> None:
    """A call is lost when it is in the ledger and its stage's result is not."""

    def kill(server: str, _: KillingServer) -> BaseProcess:
        return run_process(sqlite_url, tmp_path, server, write, is_after=is_after)

    opens_call = write % 2 == 1
    await check(sqlite_url, tmp_path, kill, 0, lost=int(opens_call == is_after))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("database", "request_number"), CALLS)
async def test_a_runner_killed_during_a_call(
    database: str, tmp_path: Path, request_number: int, request: pytest.FixtureRequest
) -> None:
    """The call that it waited for is unanswered; every other is booked."""
    url: str = request.getfixturevalue(database)

    def kill(server: str, mood: KillingServer) -> BaseProcess:
        mood.process = run_process(url, tmp_path, server, 0, is_after=False)
        return mood.process

    await check(url, tmp_path, kill, request_number, lost=1)
