"""Each cell of the table "Use your framework": what a stage made with a framework does under loopkit."""

import asyncio
import threading
from datetime import timedelta
from functools import partial

import anyio
import pytest

import loopkit
from tests.agents.model_server_helpers import Answer, ModelServer, speaks
from tests.frameworks.conftest import Serve
from tests.frameworks.framework_helpers import MEMO, Framework, StageFunction, installed

FRAMEWORKS = installed()
ASYNC = [framework for framework in FRAMEWORKS if framework.is_async]
INPUTS = {"topic": "owls"}

each = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
each_async = pytest.mark.parametrize("framework", ASYNC, ids=lambda framework: framework.name)


def agent_of(produce: StageFunction | None, *, timeout: float | None = None) -> loopkit.Agent:
    assert produce is not None
    return loopkit.Agent(name="memo", produce=loopkit.stage(produce, timeout=timeout), evaluate=lambda ctx: 1.0)


def run(produce: StageFunction | None, *, timeout: float | None = None) -> loopkit.Result:
    """Run an agent under plain asyncio."""
    return asyncio.run(loopkit.run(agent_of(produce, timeout=timeout), INPUTS))


def silent(serve: Serve) -> tuple[ModelServer, threading.Event]:
    """Start a server that never answers; the event is set when it has a request."""
    asked = threading.Event()
    return serve(Answer(200, b"", wait=asked)), asked


@each_async
def test_async_stage(framework: Framework, serve: Serve) -> None:
    """An async stage awaits the framework."""
    server = serve(speaks(framework.answer))
    assert run(framework.make().asynchronous).raise_for_status().output == MEMO
    assert len(server.requests) == 1


@each
def test_sync_stage(framework: Framework, serve: Serve) -> None:
    """A sync stage calls it in a thread."""
    server = serve(speaks(framework.answer))
    assert run(framework.make().synchronous).raise_for_status().output == MEMO
    assert len(server.requests) == 1


@each
def test_raw_result(framework: Framework, serve: Serve) -> None:
    """The framework's own result is stored as JSON, or refused with what to return instead."""
    serve(speaks(framework.answer))
    result = run(framework.make().raw)
    if framework.raw_error is not None:
        assert result.error == f"produce: {framework.raw_error}"
    else:
        assert framework.is_raw(result.raise_for_status().output)


@each_async
def test_timeout_reaches_the_server(framework: Framework, serve: Serve) -> None:
    """The connection to the provider is closed when the stage has timed out."""
    server, asked = silent(serve)
    result = run(framework.make().asynchronous, timeout=1.5)
    assert result.error == "produce: timed out after 1.5 s"
    assert asked.is_set()
    assert server.disconnected.wait(1)


@each_async
def test_cancel_reaches_the_server(framework: Framework, serve: Serve) -> None:
    """The connection to the provider is closed when the run is cancelled."""
    server, asked = silent(serve)
    agent = agent_of(framework.make().asynchronous)

    async def main() -> loopkit.Result:
        store = loopkit.MemoryStore()
        [run] = await loopkit.submit(store, agent, [INPUTS])
        runner = loopkit.Runner(store, [agent], heartbeat=timedelta(seconds=0.1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.serve)
            assert await anyio.to_thread.run_sync(partial(asked.wait, 60))
            await store.request_cancel(run.id)
            result = await loopkit.wait(store, run.id)
            tasks.cancel_scope.cancel()
        return result

    assert asyncio.run(main()).status == "cancelled"
    assert server.disconnected.wait(1)


@each_async
def test_repeated_run_sync(framework: Framework, serve: Serve) -> None:
    """Calls of ``run_sync`` in one thread share an event loop, and so a client with its connections."""
    server = serve(speaks(framework.answer))
    agent = agent_of(framework.make().asynchronous)
    for _ in range(4):
        assert loopkit.run_sync(agent, INPUTS).raise_for_status().output == MEMO
    assert len(server.requests) == 4
    assert len(server.connections) == 1


@each
def test_repeated_run_sync_of_a_sync_stage(framework: Framework, serve: Serve) -> None:
    """Sync stages may be called again and again too."""
    server = serve(speaks(framework.answer))
    agent = agent_of(framework.make().synchronous)
    for _ in range(4):
        assert loopkit.run_sync(agent, INPUTS).raise_for_status().output == MEMO
    assert len(server.requests) == 4


def test_many_runs_at_once(serve: Serve) -> None:
    """Runs of one runner share the framework's client, each with its own answer."""
    framework = ASYNC[0]
    server = serve(speaks(framework.answer))
    agent = agent_of(framework.make().asynchronous)

    async def main() -> list[loopkit.Run]:
        store = loopkit.MemoryStore()
        await loopkit.submit(store, agent, [INPUTS] * 20)
        await loopkit.Runner(store, [agent], concurrency=8).drain()
        return list((await store.list_runs(loopkit.storage.RunQuery(limit=50))).runs)

    assert {run.status for run in asyncio.run(main())} == {"passed"}
    assert len(server.requests) == 20
