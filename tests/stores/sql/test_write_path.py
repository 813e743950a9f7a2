"""Tests of the write path: what is read back of large runs leaves the event loop to others."""

import threading
from collections.abc import AsyncIterator, Callable
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
async def most_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[int]]:
    """Count how often this thread checks or reads a JSON value between two turns of another task; in a list of one."""
    most, counted, own_thread = [0], 0, threading.get_ident()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal counted
            counted += threading.get_ident() == own_thread
            return function(*args, **options)

        return call

    async def watch() -> None:
        nonlocal counted
        while True:
            await anyio.lowlevel.checkpoint()
            most[0] = max(most[0], counted)
            counted = 0

    for name in ("faults", "loads_or_text"):
        monkeypatch.setattr(strict_json, name, counting(getattr(strict_json, name)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await anyio.lowlevel.checkpoint()
        yield most
        await anyio.lowlevel.checkpoint()
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
async def test_large_runs_leave_turns_to_other_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], runs: int
) -> None:
    """Runs are queued, and claimed; in no turn six of sixteen of them are checked or read."""
    agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0)
    async with loopkit.open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        await loopkit.submit(store, agent, [{}])
        await store.claim(Claimant(name="a:1"), {"namer": agent.definition}, limit=1)
        async with most_in_a_turn(monkeypatch) as most:
            await loopkit.submit(store, agent, [inputs] * runs)
            held = await store.claim(Claimant(name="a:1"), {"namer": agent.definition}, limit=runs)
    assert len(held) == runs
    assert 0 < most[0] < runs * 6 // 16
