"""A process that holds many runs whose stages wait."""

import gc
import time
from typing import Any

import anyio

import loopkit
from benchmarks import loops, standard
from benchmarks.figures import percentile
from loopkit.runner import spare_collector
from loopkit.storage import RunQuery
from loopkit.stores import open_store

SETTLING_SECONDS = 3.0


async def hold(url: str, held: int, seconds: float) -> dict[str, float]:
    """Hold runs in their first stage for that time; return what it cost by name."""
    await loops.queue(url, held)
    gc.collect()
    begun = 0
    cancelled_at: dict[str, float] = {}
    stopping = loopkit.Stopping()
    everyone = anyio.Event()

    async def produce(context: loopkit.StageContext) -> str:
        nonlocal begun
        begun += 1
        if begun == held:
            everyone.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled_at[context.run_id] = time.perf_counter()
        return ""

    agent = loopkit.Agent(name=standard.NAME, produce=produce, evaluate=produce)
    async with open_store(url) as store:
        before = loops.resident()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loopkit.Runner(store, [agent], concurrency=held, stopping=stopping).serve)
            await everyone.wait()
            spare_collector()
            await anyio.sleep(SETTLING_SECONDS)
            with_them = loops.resident()
            late, share = await _idle(seconds)
            seen = await _cancel(store, cancelled_at)
            stopping.end()
    return {
        "CPU": share,
        "memory of each": (with_them - before) * 1024 / held,
        "event loop late, p99": late,
        "a cancel request is seen after": seen,
    }


async def _idle(seconds: float) -> tuple[float, float]:
    """Do nothing for a while; return by how many ms the event loop was late at p99, and the CPU in percent."""
    late = []
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        asleep = time.perf_counter()
        await anyio.sleep(0.02)
        late.append(1000 * (time.perf_counter() - asleep - 0.02))
    share = 100 * (time.process_time() - cpu) / (time.perf_counter() - began)
    return percentile(late, 99), share


async def _cancel(store: Any, cancelled_at: dict[str, float]) -> float:
    """Cancel a few runs one after the other; return the longest time in seconds until a stage was told."""
    longest = 0.0
    runs = (await store.list_runs(RunQuery(limit=5))).runs
    for run in runs:
        asked = time.perf_counter()
        await store.request_cancel(run.id)
        while run.id not in cancelled_at:  # noqa: ASYNC110 - the stage has no way to tell
            await anyio.sleep(0.005)
        longest = max(longest, cancelled_at[run.id] - asked)
        await anyio.sleep(0.3)
    return longest
