"""What the code of a stage sees of its cancellation: in a thread, in an event loop, and after it has returned."""

import threading
import time
from collections.abc import Callable

import anyio
import pytest

import loopkit
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stages.cancellation import Cancellation
from loopkit.core.outcome import Errored, Produced
from tests.agents.context_helpers import context

LONG = 60
"""Seconds after which a test that waits for an event is given up."""


async def wait_for(event: threading.Event) -> None:
    with anyio.fail_after(LONG):
        await anyio.to_thread.run_sync(event.wait, abandon_on_cancel=True)


class Watched:
    """A sync stage that works until it is cancelled, and notes what it saw."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.called = threading.Event()
        self.ended = threading.Event()
        self.thread = ""
        self.saw: list[object] = []

    def __call__(self, ctx: loopkit.StageContext) -> str:
        ctx.on_cancel(self.on_cancel)
        self.saw += [ctx.cancelled, ctx.deadline]
        self.began.set()
        while not ctx.cancelled:
            time.sleep(0.005)
        self.saw += [ctx.cancelled, ctx.deadline]
        ctx.on_cancel(self.ended.set)
        return "late"

    def on_cancel(self) -> None:
        self.thread = threading.current_thread().name
        self.called.set()


async def test_a_sync_stage_learns_of_its_timeout() -> None:
    """The time that is left is known; at its end the callback is called in a thread, and a later one at once."""
    stage = Watched()
    spec = loopkit.stage(stage, timeout=0.2)
    assert await call_stage(spec, context()) == Errored("timed out after 0.2 s")
    await wait_for(stage.called)
    await wait_for(stage.ended)
    assert stage.thread == "loopkit stage"
    was_cancelled, left, is_cancelled, rest = stage.saw
    assert (was_cancelled, is_cancelled, rest) == (False, True, 0.0)
    assert isinstance(left, float)
    assert 0 < left <= 0.2


async def test_a_sync_stage_learns_that_its_run_is_cancelled() -> None:
    """Of the cancellation of the caller, without a timeout."""
    stage = Watched()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_stage, loopkit.stage(stage), context())
        await wait_for(stage.began)
        tasks.cancel_scope.cancel()
    await wait_for(stage.called)
    await wait_for(stage.ended)
    assert stage.saw == [False, None, True, None]


async def test_an_async_stage_that_shields_a_thread_learns_of_its_timeout_there() -> None:
    """The thread sees it while the event loop still waits for the thread."""
    stage = Watched()

    async def produce(ctx: loopkit.StageContext) -> str:
        return await anyio.to_thread.run_sync(stage, ctx)

    assert await call_stage(loopkit.stage(produce, timeout=0.1), context()) == Errored("timed out after 0.1 s")
    assert stage.saw[2] is True
    await wait_for(stage.called)


async def test_a_stage_that_returns_is_not_cancelled_later() -> None:
    """Its callbacks are dropped, and the end of its time does not matter any more."""
    called: list[int] = []
    seen: list[loopkit.StageContext] = []

    async def produce(ctx: loopkit.StageContext) -> str:
        ctx.on_cancel(lambda: called.append(1))
        seen.append(ctx)
        return "text"

    assert await call_stage(loopkit.stage(produce, timeout=0.05), context()) == Produced("text")
    await anyio.sleep(0.1)  # the time of the try is over now
    seen[0].on_cancel(lambda: called.append(2))
    assert (seen[0].cancelled, called) == (False, [])


async def test_each_try_has_a_state_of_its_own() -> None:
    """A try that was left behind is cancelled, and the next one is not."""
    seen: list[loopkit.StageContext] = []

    def produce(ctx: loopkit.StageContext) -> str:
        seen.append(ctx)
        if len(seen) == 1:
            time.sleep(0.3)
        assert not ctx.cancelled
        return "text"

    spec = loopkit.stage(produce, timeout=0.1, retries=1)
    assert await call_stage(spec, context(), delay=lambda _: 0.0) == Produced("text")
    assert [ctx.cancelled for ctx in seen] == [True, False]


def end_by_cancel_all(cancellation: Cancellation) -> None:
    cancellation.cancel_all()


def end_by_cancel(cancellation: Cancellation) -> None:
    cancellation.next_try().cancel()
    cancellation.cancel()


@pytest.mark.parametrize("end", [end_by_cancel_all, end_by_cancel])
async def test_a_callback_is_called_once(end: Callable[[Cancellation], None]) -> None:
    """However often it is cancelled; one that fails does not keep the others."""
    cancellation, first, last = Cancellation(), threading.Event(), threading.Event()
    calls: list[int] = []

    def note_call() -> None:
        calls.append(1)
        first.set()

    cancellation.on_cancel(note_call)
    cancellation.on_cancel(lambda: 1 / 0)
    cancellation.on_cancel(last.set)
    for _ in range(3):
        end(cancellation)
    cancellation.finish()
    await wait_for(first)
    await wait_for(last)
    assert cancellation.cancelled
    assert calls == [1]
