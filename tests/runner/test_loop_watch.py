"""An event loop that is blocked: its runs keep their leases, and the log names the code that blocks it."""

import logging
import threading
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from loopkit import RunStatus, StageContext
from loopkit.core.run import NewRun
from loopkit.runner import loop_watch, work_run
from loopkit.runner.loop_watch import LoopWatch
from loopkit.stores.memory import MemoryStore
from loopkit.testing.steps import ANNA
from tests.runner.agent_helpers import small_agent


async def test_a_stage_that_blocks_the_event_loop_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning holds the stack of the stage while it blocks, and the run passes all the same."""
    monkeypatch.setattr(loop_watch, "BLOCKED_SECONDS", 0.1)
    logged = threading.Event()
    emit = caplog.handler.emit

    def emit_and_note(record: logging.LogRecord) -> None:
        emit(record)
        logged.set()

    monkeypatch.setattr(caplog.handler, "emit", emit_and_note)

    async def hog(context: StageContext) -> str:
        assert logged.wait(30), "no warning that the event loop is blocked"
        return "done"

    store = MemoryStore(stalled_after=timedelta(seconds=1))
    held = await store.start(NewRun(agent_name="writer", inputs={}), ANNA)
    with caplog.at_level(logging.WARNING, "loopkit.runner"):
        run = await work_run(store, small_agent(produce=hog), held, heartbeat=timedelta(milliseconds=100))
    assert run.status is RunStatus.PASSED
    assert "in hog" in caplog.text


async def test_one_block_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A loop that runs is never logged, one that is blocked once, and a single late check proves nothing."""
    watch = LoopWatch()
    for now in (0.0, 100.0, 200.0):
        watch.check(now)
        await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
    watch.check(300.0)
    watch.check(400.0)  # the whole process may have been frozen
    assert caplog.records == []
    for now in (401.0, 402.0, 403.0, 404.0):
        watch.check(now)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
