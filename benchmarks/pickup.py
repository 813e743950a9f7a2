"""Waiting time of a submitted run for an idle runner in another process, by the machine's clock."""

import random
import sys
import time
from typing import Any

import anyio
import anyio.to_thread

import loopkit
from benchmarks import loops, standard
from loopkit.stores import open_store


class WithoutHints:
    """A store without wake-ups, so its runner polls."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name == "wait_for_work":
            raise AttributeError(name)
        return getattr(self._store, name)


async def serve(url: str, *, hints: bool) -> dict[str, float]:
    """Work runs until stdin ends; return the begin of each."""
    begun: dict[str, float] = {}

    async def produce(context: loopkit.StageContext) -> str:
        begun[context.run_id] = time.monotonic()
        return standard.output(1)

    async def judge(context: loopkit.StageContext) -> dict[str, Any]:
        return standard.evaluation(2)

    agent = loopkit.Agent(name=standard.NAME, produce=produce, evaluate=judge)
    stopping = loopkit.Stopping()
    async with open_store(url) as store, anyio.create_task_group() as tasks:
        runner = loopkit.Runner(store if hints else WithoutHints(store), [agent], concurrency=8, stopping=stopping)
        tasks.start_soon(runner.serve)
        await anyio.to_thread.run_sync(sys.stdin.read)
        stopping.ask()
    return begun


async def submit(url: str, runs: int, longest_pause: float) -> dict[str, float]:
    """Submit runs at random moments; return the time of each call."""
    asked: dict[str, float] = {}
    chance = random.Random(2)
    async with open_store(url) as store:
        await anyio.sleep(1.5)
        for _ in range(runs):
            await anyio.sleep(chance.uniform(longest_pause / 4, longest_pause))
            moment = time.monotonic()
            (run,) = await loopkit.submit(store, loops.AGENT, [standard.INPUTS])
            asked[run.id] = moment
        last = run.id
        await loopkit.wait(store, last)
    return asked
