"""An event loop that stands still: its runs keep their leases, and the log says who blocks it."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from loopkit import RunStatus, StageContext
from loopkit.core.run import NewRun
from loopkit.runner import blocking, work
from loopkit.runner.blocking import LoopWatch
from loopkit.stores.memory import MemoryStore
from loopkit.testing.steps import ANNA
from tests.runner.loops import agent


async def test_a_stage_that_blocks_the_event_loop_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning holds the stack of the stage while it blocks, and the run passes all the same."""
    monkeypatch.setattr(blocking, "STILL_SECONDS", 0.1)
    is_told = threading.Event()
    monkeypatch.setattr(caplog.handler, "emit", lambda record, emit=caplog.handler.emit: (emit(record), is_told.set()))

    async def hog(context: StageContext) -> str:
        assert is_told.wait(30), "nobody told that the event loop stands still"
        return "done"

    store = MemoryStore(stalled_after=timedelta(seconds=1))
    held = await store.start(NewRun(agent_name="writer", inputs={}), ANNA)
    with caplog.at_level(logging.WARNING, "loopkit.runner"):
        run = await work(store, agent(produce=hog), held, heartbeat=timedelta(milliseconds=100))
    assert run.status is RunStatus.PASSED
    assert "in hog" in caplog.text


async def test_one_block_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A loop that turns is never told of, one that stands still once, and a single look back proves nothing."""
    watch = LoopWatch()
    for now in (0.0, 100.0, 200.0):
        watch.look(now)
        await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
    watch.look(300.0)
    watch.look(400.0)  # all of the process was frozen, it may be
    assert caplog.records == []
    for now in (401.0, 402.0, 403.0, 404.0):
        watch.look(now)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
