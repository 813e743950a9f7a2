"""Stages that do not stop: they are left behind, and their runs end without them."""

import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import anyio

import loopkit
from loopkit import MemoryStore, RunStatus, StageContext, Stopping
from loopkit.agents.agent import StageSpec
from loopkit.agents.stages.command import CommandStage
from loopkit.runner import Environment, work_run
from tests.runner.agent_helpers import QUICK, small_agent, start
from tests.simulation.virtual_loop import run_virtually


async def test_a_stage_that_swallows_its_cancellation_is_left_behind() -> None:
    """After the grace time the run ends without the stage, and what the stage returns is dropped."""
    store, let_go = MemoryStore(), anyio.Event()

    async def stubborn(context: StageContext) -> str:
        await store.request_cancel(context.run_id)
        while not let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return "late"

    agent = small_agent(produce=stubborn)
    [queued] = await loopkit.submit(store, agent, [{}])
    runner = loopkit.Runner(store, [agent], heartbeat=QUICK, grace=timedelta(milliseconds=50))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.drain)
        result = await loopkit.wait(store, queued.id)
        let_go.set()
    assert result.status is RunStatus.CANCELLED
    assert await store.list_artifacts(queued.id) == []


async def test_a_program_has_its_own_grace_before_it_is_left_behind(tmp_path: Path) -> None:
    """The run ends when the program has cleaned up, however short the grace of the runner is."""
    program = """
import os, signal, time
def clean_up(*_):
    time.sleep(0.5)
    open("cleaned", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, clean_up)
open("ready", "w").close()
while True:  # a signal that comes just before a sleep is handled after it
    time.sleep(0.01)
"""
    store = MemoryStore()
    command = (sys.executable, "-I", "-S", "-c", program)
    agent = small_agent(produce=StageSpec(CommandStage(command=command, folder=tmp_path, grace=60)))
    [queued] = await loopkit.submit(store, agent, [{}])
    runner = loopkit.Runner(store, [agent], heartbeat=QUICK, grace=timedelta(milliseconds=50))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.drain)
        while not (tmp_path / "ready").exists():  # noqa: ASYNC110  (another process creates it)
            await anyio.sleep(0.01)
        await store.request_cancel(queued.id)
        result = await loopkit.wait(store, queued.id)
        assert (tmp_path / "cleaned").exists()
    assert result.status is RunStatus.CANCELLED


async def test_a_stage_that_ignores_the_end_of_its_runner_is_left_behind_soon() -> None:
    """The run is released within two seconds, whatever the stage does and however long the grace is."""
    store, stopping, let_go = MemoryStore(), Stopping(), anyio.Event()

    async def stubborn(context: StageContext) -> str:
        stopping.end()
        while not let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return "late"

    agent = small_agent(produce=stubborn)
    held = await start(store, agent)
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            await work_run(store, agent, held, stopping=stopping)

        tasks.start_soon(call)
        with anyio.fail_after(8):
            while (await store.get_run(held.run.id)).status is not RunStatus.QUEUED:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        let_go.set()
    assert await store.list_artifacts(held.run.id) == []


async def test_a_stage_that_swallows_its_timeout_ends_the_run_all_the_same() -> None:
    """After the timeout and the grace time the run fails with the stage's error, and the stage is left behind."""
    store, let_go = MemoryStore(), anyio.Event()

    async def stubborn(context: StageContext) -> str:
        while not let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return "late"

    agent = small_agent(produce=StageSpec(stubborn, timeout=timedelta(milliseconds=50)))
    [queued] = await loopkit.submit(store, agent, [{}])
    runner = loopkit.Runner(store, [agent], grace=timedelta(milliseconds=50))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.drain)
        result = await loopkit.wait(store, queued.id)
        let_go.set()
    assert result.status is RunStatus.FAILED
    assert "does not stop" in str(result.run.error_message)
    assert await store.list_artifacts(queued.id) == []


async def test_nobody_watches_a_try_that_is_over() -> None:
    """However long its timeout is: a runner of many quick stages does not fill with tasks that wait for nothing."""
    watched: list[int] = []

    async def count(context: StageContext) -> str:
        await anyio.wait_all_tasks_blocked()
        names = [str(task.name) for task in anyio.get_running_tasks()]
        watched.append(sum(name.startswith("timeout") for name in names))
        return "x"

    async def judge(context: StageContext) -> float:
        await count(context)
        return 0.4 * context.attempt

    hour = timedelta(hours=1)
    agent = small_agent(produce=StageSpec(count, timeout=hour), evaluate=judge, revise=StageSpec(count, timeout=hour))
    store = MemoryStore()
    await work_run(store, agent, await start(store, agent))
    assert watched == [1, 0, 1, 0]


def test_a_retry_that_does_not_stop_fails_with_the_timeout_of_the_stage() -> None:
    """The time that the pause between two tries may take is not part of the timeout in the message."""

    async def error_message() -> str | None:
        store, tries, let_go = MemoryStore(), [], anyio.Event()

        async def fail_once(context: StageContext) -> str:
            tries.append(context.attempt)
            if len(tries) == 1:
                raise RuntimeError("again")
            while not let_go.is_set():
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1)
            return "late"

        agent = small_agent(produce=StageSpec(fail_once, timeout=timedelta(seconds=5), retries=1))
        [queued] = await loopkit.submit(store, agent, [{}])
        environment = Environment(keep_leases=lambda keeper: nullcontext())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loopkit.Runner(store, [agent], environment=environment).drain)
            result = await loopkit.wait(store, queued.id)
            let_go.set()
        return result.run.error_message

    assert run_virtually(error_message) == "produce: timed out after 5 s and does not stop; it is left behind"
