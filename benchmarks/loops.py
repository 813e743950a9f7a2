"""loopkit as users run it: the public Runner with heartbeats, watch for cancel requests and validation.

As the command ``worker`` does, a measured process keeps the garbage collector from what is loaded before the work.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

import loopkit
from benchmarks import standard
from loopkit.runner import spare_collector
from loopkit.stores import open_store

BATCH = 500
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string", "maxLength": 5000}},
    "required": ["topic"],
    "additionalProperties": False,
}


async def _write(context: loopkit.StageContext) -> str:
    return standard.output(hash(context.run_id) + context.attempt)


async def _judge(context: loopkit.StageContext) -> dict[str, Any]:
    return standard.evaluation(context.attempt)


def _write_sync(context: loopkit.StageContext) -> str:
    return standard.output(hash(context.run_id) + context.attempt)


def _judge_sync(context: loopkit.StageContext) -> dict[str, Any]:
    return standard.evaluation(context.attempt)


AGENT = loopkit.Agent(
    name=standard.NAME,
    produce=_write,
    evaluate=_judge,
    revise=_write,
    pass_threshold=standard.THRESHOLD,
    inputs=SCHEMA,
)
SYNC_AGENT = loopkit.Agent(
    name=standard.NAME,
    produce=_write_sync,
    evaluate=_judge_sync,
    revise=_write_sync,
    pass_threshold=standard.THRESHOLD,
    inputs=SCHEMA,
)


@contextmanager
def spending() -> Iterator[dict[str, float]]:
    """Yield the cost of a block: its seconds, the CPU seconds of all threads, and those of this one."""
    spent: dict[str, float] = {}
    clocks = {"seconds": time.perf_counter, "cpu": time.process_time, "own": time.thread_time}
    before = {name: clock() for name, clock in clocks.items()}
    yield spent
    spent |= {name: clock() - before[name] for name, clock in clocks.items()}


async def queue(url: str, loops: int) -> None:
    """Queue loops, as many in a call as one transaction should hold."""
    async with open_store(url) as store:
        for first in range(0, loops, BATCH):
            await loopkit.submit(store, AGENT, [standard.INPUTS] * min(BATCH, loops - first))


async def drain(url: str, loops: int, concurrency: int, *, sync: bool = False) -> dict[str, float]:
    """Queue loops and work them with one runner; return the loops, the seconds and the seconds of CPU the work took."""
    await queue(url, loops)
    async with open_store(url) as store:
        runner = loopkit.Runner(store, [SYNC_AGENT if sync else AGENT], concurrency=concurrency)
        spare_collector()
        with spending() as spent:
            await runner.drain()
    assert runner.status.passed == runner.status.claimed
    return {"loops": runner.status.passed, **spent}


async def drain_at(url: str, concurrency: int, start: float) -> dict[str, float]:
    """Work the queued loops from a given time of the machine's clock; return the time of the end."""
    async with open_store(url) as store:
        runner = loopkit.Runner(store, [AGENT], concurrency=concurrency)
        spare_collector()
        await anyio.sleep(max(0.0, start - time.monotonic()))
        await runner.drain()
        return {"loops": runner.status.passed, "ended": time.monotonic()}


async def latency(url: str, loops: int) -> dict[str, list[float]]:
    """Work loops one at a time; return the seconds from a stage's end to the next one's start, and of bare commits."""
    from benchmarks import durable_commits

    gaps: list[float] = []
    bare: list[float] = []
    left = 0.0

    async def write(context: loopkit.StageContext) -> str:
        nonlocal left
        if context.attempt > 1:
            gaps.append(time.perf_counter() - left)
        left = time.perf_counter()
        return standard.output(context.attempt)

    async def judge(context: loopkit.StageContext) -> dict[str, Any]:
        nonlocal left
        gaps.append(time.perf_counter() - left)
        left = time.perf_counter()
        return standard.evaluation(context.attempt)

    agent = loopkit.Agent(
        name=standard.NAME, produce=write, evaluate=judge, revise=write, pass_threshold=standard.THRESHOLD
    )
    stopping = loopkit.Stopping()
    async with open_store(url) as store, anyio.create_task_group() as tasks:
        with durable_commits.commits(url) as commit:
            tasks.start_soon(loopkit.Runner(store, [agent], concurrency=1, stopping=stopping).serve)
            for _ in range(loops):
                (run,) = await loopkit.submit(store, agent, [standard.INPUTS])
                await loopkit.wait(store, run.id)
                bare += [_timed(commit) for _ in range(3)]
        stopping.ask()
    return {"gaps": gaps, "bare": bare}


def _timed(function: Any) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


async def enqueue(url: str, singles: int, batches: int, size: int) -> dict[str, float]:
    """Queue runs one by one and in batches; return the runs per second of both, and bare commits per second."""
    from benchmarks import durable_commits

    async with open_store(url) as store:
        with durable_commits.commits(url) as commit:
            one = bare = 0.0
            for _ in range(singles):
                began = time.perf_counter()
                await loopkit.submit(store, AGENT, [standard.INPUTS])
                one += time.perf_counter() - began
                bare += _timed(commit)
        with spending() as spent:
            for _ in range(batches):
                await loopkit.submit(store, AGENT, [standard.INPUTS] * size)
    runs = batches * size
    rates = {"single": singles / one, "bare": singles / bare, "batch": runs / spent["seconds"]}
    return {**rates, "cpu": spent["cpu"] / runs}


async def claim(url: str, start: float) -> dict[str, float]:
    """Claim one run at a time until none is left; return their number and the times."""
    from loopkit.runner import claimant

    claimed = 0
    async with open_store(url) as store:
        await anyio.sleep(max(0.0, start - time.monotonic()))
        while await store.claim(claimant(), {AGENT.name: AGENT.definition}, limit=1):
            claimed += 1
        return {"claimed": claimed, "ended": time.monotonic()}


async def memory(url: str, held: int) -> dict[str, float]:
    """Hold that many runs in their first stage; return the memory of the process before and with them, in MB."""
    await queue(url, held)
    begun = 0
    stopping = loopkit.Stopping()

    async def produce(context: loopkit.StageContext) -> str:
        nonlocal begun
        begun += 1
        if begun == held:
            everyone.set()
        await anyio.sleep_forever()
        return ""

    agent = loopkit.Agent(name=standard.NAME, produce=produce, evaluate=_judge)
    async with open_store(url) as store:
        everyone = anyio.Event()
        before = resident()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loopkit.Runner(store, [agent], concurrency=held, stopping=stopping).serve)
            await everyone.wait()
            with_them = resident()
            stopping.end()
    return {"before": before, "held": with_them, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
