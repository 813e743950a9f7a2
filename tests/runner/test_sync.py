"""run_sync and loopkit.sync: from scripts, threads, running event loops and forked children."""

import asyncio
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import loopkit
from loopkit.errors import RunNotFound
from tests.runner.agent_helpers import small_agent
from tests.runner.test_forks import output_of


def test_run_sync_works_a_run_in_memory() -> None:
    """Code that is not async gets the same result."""
    result = loopkit.run_sync(small_agent(), {"topic": "owls"})
    assert (result.status, result.output) == (loopkit.RunStatus.PASSED, "draft 2")


def loop_noting_agent(loops: list[asyncio.AbstractEventLoop]) -> loopkit.Agent:
    async def produce(ctx: loopkit.StageContext) -> str:
        loops.append(asyncio.get_running_loop())
        return "text"

    return loopkit.Agent(name="a", produce=produce, evaluate=lambda ctx: 1.0)


RunFunction = Callable[[loopkit.Agent], loopkit.Result]


@pytest.mark.parametrize("run", [loopkit.run_sync, loopkit.sync.run])
def test_calls_in_a_row_share_an_event_loop(run: RunFunction) -> None:
    """So the connections of a client that a stage keeps still work in the next run."""
    loops: list[asyncio.AbstractEventLoop] = []
    agent = loop_noting_agent(loops)
    assert [run(agent).status for _ in range(3)] == ["passed"] * 3
    assert loops == [loops[0]] * 3


def test_run_sync_in_another_thread_has_a_loop_of_its_own_that_ends_with_the_thread() -> None:
    """Nothing of it is left open."""
    loops: list[asyncio.AbstractEventLoop] = []
    agent = loop_noting_agent(loops)
    loopkit.run_sync(agent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = threading.Thread(target=lambda: [loopkit.run_sync(agent) for _ in range(2)])
        thread.start()
        thread.join()
        gc.collect()
    mine, first, second = loops
    assert first is second is not mine
    assert first.is_closed()
    assert not mine.is_closed()


def test_run_sync_raises_what_a_run_raises() -> None:
    """And the next call works."""
    agent = small_agent(inputs={"type": "object", "required": ["topic"]})
    with pytest.raises(loopkit.InvalidInputs):
        loopkit.run_sync(agent)
    assert loopkit.run_sync(agent, {"topic": "owls"}).status == "passed"


def test_run_sync_takes_a_url_and_a_store_of_sync_code(sqlite_url: str) -> None:
    """A URL is opened and closed by the call."""
    first = loopkit.run_sync(small_agent(), {"topic": "owls"}, store=sqlite_url)
    with loopkit.sync.open_store(sqlite_url) as store:
        assert store.get_run(first.run.id) == first.run
        second = loopkit.run_sync(small_agent(), {"topic": "cats"}, store=store)
        assert [run.id for run in store.list_runs().runs] == [second.run.id, first.run.id]


async def test_run_sync_in_a_running_loop_names_what_works_there() -> None:
    """It stays an error."""
    with pytest.raises(loopkit.UsageError, match=r"loopkit\.sync\.run\("):
        loopkit.run_sync(small_agent())


async def test_sync_run_works_in_a_running_loop() -> None:
    """A notebook, or a sync function that a coroutine calls."""
    assert loopkit.sync.run(small_agent(), {"topic": "owls"}).output == "draft 2"


def test_a_queue_from_sync_code(sqlite_url: str) -> None:
    """Runs are queued, followed and waited for; a runner of another thread works them."""
    agent = small_agent()
    with loopkit.sync.open_store(sqlite_url) as store:
        queued = loopkit.sync.submit(store, agent, [{"topic": "owls"}, {"topic": "cats"}])

        async def work() -> None:
            async with loopkit.open_store(sqlite_url) as other:
                await loopkit.Runner(other, [agent]).drain()

        thread = threading.Thread(target=asyncio.run, args=(work(),))
        thread.start()
        events = list(loopkit.sync.follow(store, queued[0].id))
        thread.join()
        assert events == store.list_events(queued[0].id)
        assert (events[-1].metadata or {})["status"] == "passed"
        assert list(loopkit.sync.follow(store, queued[0].id, after=events[2].id)) == events[3:]
        assert loopkit.sync.wait(store, queued[1].id).output == "draft 2"
        assert {artifact.attempt for artifact in store.list_artifacts(queued[0].id)} == {1, 2}
        again = store.retry(queued[0].id)
        assert store.request_cancel(again.id).status is loopkit.RunStatus.CANCELLED
        with pytest.raises(RunNotFound):
            loopkit.sync.wait(store, "run_unknown")
        with pytest.raises(RunNotFound):
            next(loopkit.sync.follow(store, "run_unknown"))


def test_a_store_is_used_by_many_threads(sqlite_url: str) -> None:
    """Its first use opens it, in one of them."""
    agent = loopkit.Agent(name="a", produce=lambda ctx: "x", evaluate=lambda ctx: 1.0)
    store = loopkit.sync.open_store(sqlite_url)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: loopkit.sync.run(agent, store=store), range(16)))
    assert [result.status for result in results] == ["passed"] * 16
    assert len(store.list_runs().runs) == 16
    store.close()


def test_a_closed_store_is_a_clear_error(sqlite_url: str) -> None:
    """Closing it again does nothing."""
    with loopkit.sync.open_store(sqlite_url) as store:
        pass
    store.close()
    with pytest.raises(loopkit.UsageError, match="closed"):
        loopkit.sync.submit(store, small_agent(), [{}])


@pytest.mark.parametrize("wrong", [5, object()])
def test_what_is_no_store_is_refused(wrong: Any) -> None:
    """With what to write instead."""
    with pytest.raises(loopkit.UnusableOption, match=r"loopkit\.sync\.open_store"):
        loopkit.sync.run(small_agent(), store=wrong)
    with pytest.raises(loopkit.UnusableOption, match=r"loopkit\.sync\.open_store"):
        loopkit.sync.wait(wrong, "run_x")


FORKED = """
with loopkit.sync.open_store(sys.argv[1]) as store:
    loopkit.sync.run(agent, store=store)
    loopkit.run_sync(agent, store=store)
    in_child(lambda: [run(agent, store=store).status.value for run in (loopkit.sync.run, loopkit.run_sync)])
    loopkit.sync.run(agent, store=store)
    loopkit.run_sync(agent, store=store)
    print(len(store.list_runs().runs))
"""


def test_a_store_that_was_opened_before_a_fork_works_in_the_child(sqlite_url: str) -> None:
    """Celery's prefork, gunicorn's preload: each process uses what it opened itself, and the parent goes on."""
    assert output_of(FORKED, sqlite_url) == "['passed', 'passed']\n6\n"


@pytest.mark.postgres
def test_a_store_of_a_server_works_in_a_forked_child(postgres_url: str) -> None:
    """The connections of the parent survive the child's end."""
    assert output_of(FORKED, postgres_url) == "['passed', 'passed']\n6\n"


EXITING = """
loopkit.run_sync(agent)
loopkit.sync.run(agent)
child = os.fork()
if child == 0:
    sys.exit(0 if loopkit.run_sync(agent).status == "passed" else 1)  # the interpreter ends, with its __del__s
assert os.waitpid(child, 0)[1] == 0
import time
async def slow(ctx):
    await asyncio.sleep(0.1)
    return "x"
again = loopkit.Agent(name="b", produce=slow, evaluate=lambda ctx: 1.0)
print(loopkit.run_sync(again).status.value, loopkit.sync.run(again).status.value)
"""


def test_a_child_that_ends_does_not_harm_the_loops_of_its_parent() -> None:
    """They share the file descriptors under which the kernel wakes them."""
    assert output_of(EXITING) == "passed passed\n"


INTERRUPTED = """
import os, signal, sqlite3, sys, threading, time
from contextlib import closing

import loopkit

began = threading.Event()

async def produce(ctx):
    import anyio
    began.set()
    try:
        await anyio.sleep(600)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.5)  # it closes what it opened

agent = loopkit.Agent(name="a", produce=produce, evaluate=lambda ctx: 1.0)
threading.Thread(target=lambda: (began.wait(), os.kill(os.getpid(), signal.SIGINT))).start()
store = loopkit.sync.open_store(sys.argv[1])
try:
    loopkit.RUN(agent, store=store)
except KeyboardInterrupt:
    with closing(sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"))) as connection:
        print([status for (status,) in connection.execute("SELECT status FROM workflow_runs")])
"""


@pytest.mark.parametrize("name", ["run_sync", "sync.run"])
def test_an_interrupted_call_gives_its_run_back(name: str, sqlite_url: str) -> None:
    """Ctrl-C leaves nothing claimed, however long the stage takes to end."""
    program = [sys.executable, "-c", INTERRUPTED.replace("RUN", name), sqlite_url]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.stdout == "['queued']\n", done.stderr
