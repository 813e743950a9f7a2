"""Calls that wait together are written together, and none suffers from its neighbour."""

import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import event

from loopkit import KeyReused, LeaseLost, LoopkitError, StorageUnavailable
from loopkit.core import machine
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Produced
from loopkit.core.run import RunStatus, Stage
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.writes.lanes import ThreadLane
from loopkit.stores.sql.writes.requests import AnyRequest, WriteRequest
from loopkit.testing.steps import AGENTS, ANNA, forged, messages, new_run, scored, start_one, submit_one, work


@pytest.fixture
def statements(sqlite_database: Database) -> list[str]:
    """What the writing connections are told from now on."""
    told: list[str] = []

    @event.listens_for(sqlite_database.writer, "checkout")
    def _trace(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_trace_callback(told.append)

    return told


@pytest.fixture
async def store(sqlite_database: Database, statements: list[str]) -> AsyncIterator[SqlStore]:
    async with SqlStore(sqlite_database) as store:
        yield store


async def together(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Make all calls in one turn of the event loop; give what each gave, or its error."""
    answers: list[Any] = [None] * len(calls)

    async def make(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        try:
            answers[number] = await call()
        except LoopkitError as error:
            answers[number] = error

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(make, number, call)
    return answers


async def test_a_lone_run_takes_six_commits(store: SqlStore, statements: list[str]) -> None:
    """Enqueue, claim, and one for each of four stages: a stage's end and the next one's beginning are one commit."""
    await submit_one(store)
    (held,) = await store.claim(ANNA, AGENTS)
    await work(store, held, Produced("a"), scored(0.5), Produced("b"), scored(0.9))
    assert statements.count("COMMIT") == 6


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # in trio the wake-up may come in the middle of a turn
async def test_calls_of_one_turn_are_one_commit(store: SqlStore, statements: list[str]) -> None:
    """The end of a run, new runs and the claim of a successor are written in one transaction, in this order."""
    held = await start_one(store)
    run = await work(store, held, Produced("a"))
    before = statements.count("COMMIT")
    claimed, made, ended = await together(
        lambda: store.claim(ANNA, AGENTS, limit=5),
        lambda: store.submit([new_run()]),
        lambda: store.record(held.lease, machine.advance(run, scored(0.9))),
    )
    assert statements.count("COMMIT") == before + 1
    assert ended.status is RunStatus.PASSED
    assert [one.run.id for one in claimed] == [made[0].id]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio starts tasks in no order
async def test_changes_of_one_run_keep_their_order(store: SqlStore) -> None:
    """Two changes of a run that wait together are two batches: log lines come before the result that follows."""
    held = await start_one(store)
    line = machine.stage_event(Stage.PRODUCING, 1)
    await together(
        lambda: store.record(held.lease, machine.log_change(held.run, [line])),
        lambda: store.record(held.lease, machine.advance(held.run, Produced("a"))),
    )
    assert (await messages(store, held.run.id))[-3:] == ["Producing", "Produced (attempt-1.md)", "Evaluating"]


async def test_a_refused_call_takes_no_neighbour_with_it(store: SqlStore) -> None:
    """Lost leases and used keys fail alone, in whatever company."""
    await store.submit([new_run(idempotency_key="used")])
    first, second = await start_one(store), await start_one(store)
    answers = await together(
        lambda: store.record(first.lease, machine.advance(first.run, Produced("a"))),
        lambda: store.submit([new_run(), new_run(idempotency_key="used", max_attempts=9)]),
        lambda: store.record(forged(second.lease)[0], machine.advance(second.run, Produced("b"))),
        lambda: store.submit([new_run()]),
    )
    assert answers[0].current_stage is Stage.EVALUATING
    assert isinstance(answers[1], KeyReused)
    assert isinstance(answers[2], LeaseLost)
    assert answers[3][0].status is RunStatus.QUEUED
    assert len(await store.claim(ANNA, AGENTS, limit=10)) == 2
    assert await store.check() == []


async def test_an_artifact_that_is_there_already_is_not_written_again(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The same call made again, after nobody answered the first, gives the run; another is refused and logged."""
    held = await start_one(store)
    change = machine.advance(held.run, Produced("a"))
    run = await store.record(held.lease, change)
    assert await store.record(held.lease, change) == run
    with pytest.raises(LeaseLost):
        await store.record(held.lease, machine.advance(held.run, Produced("b")))
    assert f"run {held.run.id}: the database refused a write: " in caplog.text
    assert await store.check() == []


async def test_a_run_of_another_program_is_held_as_well(store: SqlStore, sqlite_database: Database) -> None:
    """A row without anything of loopkit's own is claimed, worked and ended like any other."""
    with sqlite_database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs) "
            "VALUES ('run_other', 'writer', 'mine', 'queued', 2, 0.8, '{}')"
        )
    (held,) = await store.claim(ANNA, AGENTS)
    assert held.run.id == "run_other"
    assert (await work(store, held, Produced("a"), scored(0.9))).status is RunStatus.PASSED
    assert await store.check() == []


class Locked:
    """Another process that holds SQLite's write lock."""

    def __init__(self, database: Database) -> None:
        self._connection = database.writer.connect()
        self._transaction = self._connection.begin()

    def let_go(self) -> None:
        self._transaction.rollback()
        self._connection.close()


async def wait_until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(20):
        while not await condition():
            await anyio.lowlevel.checkpoint()


async def until_taken(store: SqlStore) -> None:
    """Return when the writer has taken all that was asked for; while the file is locked it gets no further."""
    await anyio.wait_all_tasks_blocked()

    async def is_taken() -> bool:
        lane = store._writes._writer_lane
        assert isinstance(lane, ThreadLane)
        return not len(lane._queue)

    await wait_until(is_taken)


async def test_an_idle_writer_keeps_no_request() -> None:
    """The rows and outputs of its last batch are freed when its callers have them, not when the next batch comes."""
    freed = threading.Event()

    def perform(requests: Sequence[AnyRequest]) -> None:
        for request in requests:
            request.outcome = "rows"

    lane = ThreadLane(perform, lambda: None, "loopkit writer")
    request: AnyRequest = WriteRequest("nonce")
    watched = weakref.ref(request, lambda _: freed.set())
    assert await lane.ask(request) == "rows"
    del request
    assert await anyio.to_thread.run_sync(freed.wait, 60)
    assert watched() is None
    lane.end(until=time.monotonic() + 60)


async def test_a_claim_whose_caller_leaves_is_given_back(store: SqlStore, sqlite_database: Database) -> None:
    """A caller that is cancelled while its claim is written leaves no run claimed by nobody."""
    waiting = await submit_one(store)
    locked = Locked(sqlite_database)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.claim, ANNA, AGENTS)
        await until_taken(store)
        tasks.cancel_scope.cancel()
    locked.let_go()

    async def is_given_back() -> bool:
        run = await store.get_run(waiting.id)
        return run.status is RunStatus.QUEUED and run.fencing_token == 1

    await wait_until(is_given_back)
    (held,) = await store.claim(Claimant(name="boris:2"), AGENTS)
    assert held.run.id == waiting.id
    assert not held.taken_over
    assert "Released" in await messages(store, waiting.id)


async def test_a_call_whose_caller_leaves_while_it_waits_is_withdrawn(
    store: SqlStore, sqlite_database: Database
) -> None:
    """What no batch has taken is never written once its caller was cancelled; the store does not wait for it."""
    locked = Locked(sqlite_database)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.submit, [new_run(cycle_id="under way")])
        await until_taken(store)
        with anyio.move_on_after(0.1) as scope:
            await store.submit([new_run(cycle_id="withdrawn")])
        assert scope.cancelled_caught
        locked.let_go()
    claimed = await store.claim(ANNA, AGENTS, limit=5)
    assert [held.run.cycle_id for held in claimed] == ["under way"]


async def test_a_closed_store_says_so(sqlite_database: Database) -> None:
    """After the end every verb that needs the database is refused, and closing again does nothing."""
    store = SqlStore(sqlite_database)
    await submit_one(store)
    await store.aclose()
    await store.aclose()
    with pytest.raises(StorageUnavailable):
        await submit_one(store)
    with pytest.raises(StorageUnavailable):
        await store.get_run("run_x")


async def test_what_waits_at_the_end_is_written(sqlite_database: Database) -> None:
    """Closing finishes what was asked for before."""
    store = SqlStore(sqlite_database)

    async def close() -> None:
        await anyio.lowlevel.checkpoint()
        await store.aclose()

    (made, _) = await together(lambda: store.submit([new_run()]), close)
    assert made[0].status is RunStatus.QUEUED
