"""Tests of the write path: what is read back of large runs leaves the event loop to others."""

import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import loopkit
from loopkit import Agent
from loopkit.core import strict_json
from loopkit.core.lease import Claimant


@asynccontextmanager
async def longest_turn() -> AsyncIterator[list[float]]:
    """Note the longest CPU time of this thread between two turns of another task, in a list of one.

    No garbage is collected meanwhile: looking at every object of the process takes a turn of 30 ms.
    """
    gc.disable()
    longest = [0.0]
    before = time.thread_time()

    async def watch() -> None:
        nonlocal before
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            longest[0] = max(longest[0], now - before)
            before = now

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await anyio.lowlevel.checkpoint()
        try:
            yield longest
            await anyio.lowlevel.checkpoint()
        finally:
            gc.enable()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("inputs", "runs"),
    [
        ({"numbers": [1] * 100_000}, 16),
        ({"text": "x" * 1_000_000}, 16),
        ({"texts": ["x" * 1000] * 900}, 16),
        ({"numbers": [1] * 4_000}, 100),
    ],
    ids=["numbers", "text", "texts", "many"],
)
async def test_large_runs_leave_turns_to_other_tasks(tmp_path: Path, inputs: dict[str, Any], runs: int) -> None:
    """Runs are queued, and claimed; no turn takes as long as reading six of sixteen of them."""
    agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0)
    text = strict_json.dumps(inputs)
    async with loopkit.open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        await loopkit.submit(store, agent, [{}])
        await store.claim(Claimant(name="a:1"), {"namer": agent.definition}, limit=1)
        began = time.thread_time()
        for _ in range(runs * 6 // 16):
            strict_json.loads_or_text(text)
        allowed = time.thread_time() - began
        async with longest_turn() as longest:
            await loopkit.submit(store, agent, [inputs] * runs)
            held = await store.claim(Claimant(name="a:1"), {"namer": agent.definition}, limit=runs)
    assert len(held) == runs
    assert longest[0] < allowed
