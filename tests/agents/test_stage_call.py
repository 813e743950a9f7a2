"""The call of a stage: errors, cancellation, timeouts, retries, cost."""

import asyncio
import math
import sys
import threading
from collections.abc import Generator, Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.stage_call import MAX_DELAY_SECONDS, backoff_seconds, call_stage
from loopkit.agents.stages.python import StageFunction
from loopkit.agents.stages.threads import call_in_thread
from loopkit.core.outcome import Errored, Outcome, Produced
from loopkit.core.run import Stage
from loopkit.errors import StageFailed
from tests.agents.context_helpers import Lines, context

STAGES = pytest.mark.parametrize("stage", list(Stage))


async def no_pause(_: float) -> None:
    await checkpoint()


async def result_of(function: StageFunction, stage: Stage = Stage.PRODUCING, *, retries: int = 0) -> Outcome:
    return await call_stage(StageSpec(function, retries=retries), context(stage), pause=no_pause)


def gives(value: Any) -> StageFunction:
    async def stage(_: StageContext) -> Any:
        await checkpoint()
        return value

    return stage


def raising(error: BaseException) -> StageFunction:
    async def stage(_: StageContext) -> Any:
        await checkpoint()
        raise error

    return stage


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def overflow(ctx: StageContext) -> Any:
    return overflow(ctx)


RAISED: dict[str, BaseException] = {
    "Exception": Exception("boom"),
    "ExceptionGroup": ExceptionGroup("boom", [ValueError("boom")]),
    "BaseExceptionGroup": BaseExceptionGroup("boom", [SystemExit("boom")]),
    "BaseException": BaseException("boom"),
    "SystemExit": SystemExit("boom"),
    "GeneratorExit": GeneratorExit("boom"),
    "StopIteration": StopIteration("boom"),
    "StopAsyncIteration": StopAsyncIteration("boom"),
    "RecursionError": RecursionError("boom"),
    "MemoryError": MemoryError("boom"),
    "CancelledError": asyncio.CancelledError("boom"),
    "StageFailed": StageFailed("boom"),
}


@STAGES
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("name", RAISED)
async def test_whatever_a_stage_raises_is_its_error(stage: Stage, name: str, *, is_async: bool) -> None:
    """No exception of a stage ends the runner, in no stage, sync or async."""
    error = RAISED[name]

    def sync(_: StageContext) -> Any:
        raise error

    outcome = await result_of(raising(error) if is_async else sync, stage)
    assert isinstance(outcome, Errored)
    assert "boom" in outcome.message or "StopIteration" in outcome.message
    assert "\n" not in outcome.message


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (overflow, "RecursionError: "),
        (raising(Mute()), "Mute: (its message cannot be read)"),
        (len, "TypeError: "),
    ],
)
async def test_real_failures_are_described(function: Any, says: str) -> None:
    """A stack that overflows, an error without words, an error of a library."""
    outcome = await result_of(function)
    assert isinstance(outcome, Errored)
    assert says in outcome.message


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_an_interrupt_passes_unless_somebody_handles_it(*, is_async: bool) -> None:
    """Ctrl-C ends the program; where SIGINT is handled, it can only be the stage's own error."""

    def sync(_: StageContext) -> Any:
        raise KeyboardInterrupt("boom")

    spec = StageSpec(raising(KeyboardInterrupt("boom")) if is_async else sync)
    with pytest.raises(KeyboardInterrupt):
        await call_stage(spec, context())
    assert await call_stage(spec, context(), passing=()) == Errored("KeyboardInterrupt: boom")


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("timeout", [None, timedelta(hours=1)])
async def test_a_cancellation_goes_through(retries: int, timeout: timedelta | None) -> None:
    """The stage is cancelled once, is not tried again, and no outcome is given."""
    calls = 0

    async def hang(_: StageContext) -> None:
        nonlocal calls
        calls += 1
        tasks.cancel_scope.cancel()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await call_stage(StageSpec(hang, timeout=timeout, retries=retries), context())
        pytest.fail("the cancellation was swallowed")
    assert calls == 1


async def test_an_error_in_place_of_the_cancellation_does_not_hide_it() -> None:
    """A stage that raises something else when it is cancelled is cancelled all the same."""

    async def stubborn(_: StageContext) -> None:
        tasks.cancel_scope.cancel()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("in place of it")

    async with anyio.create_task_group() as tasks:
        await call_stage(StageSpec(stubborn), context())
        pytest.fail("the cancellation was swallowed")


def test_the_cancellation_of_a_task_goes_through() -> None:
    """asyncio's own way to cancel is the caller's, too."""

    async def main() -> bool:
        began = asyncio.Event()

        async def hang(_: StageContext) -> None:
            began.set()
            await asyncio.sleep(3600)

        task = asyncio.create_task(call_stage(StageSpec(hang), context()))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


def test_a_loop_that_ends_in_between_leaves_quietly() -> None:
    """A call whose event loop is gone is closed without a word, retries or not."""

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def hang(_: StageContext) -> None:
        await Never()

    calling = call_stage(StageSpec(hang, retries=3), context())
    calling.send(None)
    calling.close()


SHORT = timedelta(milliseconds=20)


async def test_an_async_stage_is_cancelled_when_its_time_is_up() -> None:
    """It can clean up, and the error says how long it had."""
    cleaned = False

    async def hang(_: StageContext) -> None:
        nonlocal cleaned
        try:
            await anyio.sleep_forever()
        finally:
            cleaned = True

    assert await call_stage(StageSpec(hang, timeout=SHORT), context()) == Errored("timed out after 0.02 s")
    assert cleaned


async def test_a_sync_stage_is_left_behind_when_its_time_is_up() -> None:
    """Its result and its log lines are dropped, also while the next try is made."""
    lines, release, ended = Lines(), threading.Event(), threading.Event()
    calls: list[int] = []

    def hang(ctx: StageContext) -> str:
        calls.append(1)
        if len(calls) == 2:
            return "second"
        release.wait(60)
        ctx.log("too late")
        ended.set()
        return "first"

    async def release_then_go_on(_: float) -> None:
        release.set()
        await call_in_thread(lambda: ended.wait(60))

    spec = StageSpec(hang, timeout=timedelta(seconds=1), retries=1)
    outcome = await call_stage(spec, context(sink=lines), pause=release_then_go_on)
    assert outcome == Produced("second")
    assert lines.texts == ["Try 1 of 2 failed and will be made again: timed out after 1 s"]


async def test_a_result_after_the_time_was_up_is_none() -> None:
    """A stage that swallows the end of its time has timed out nevertheless."""

    async def stubborn(_: StageContext) -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "late"
        raise AssertionError

    assert await call_stage(StageSpec(stubborn, timeout=SHORT), context()) == Errored("timed out after 0.02 s")


async def test_a_stage_in_time_is_not_disturbed() -> None:
    """A timeout that does not strike changes nothing."""
    assert await call_stage(StageSpec(gives("text"), timeout=timedelta(hours=1)), context()) == Produced("text")


async def test_tries_are_made_until_one_succeeds() -> None:
    """Each failed try that is followed by another is logged; the delays are asked for one by one."""
    lines, pauses = Lines(), list[float]()
    errors: Iterator[Exception | None] = iter([ValueError("one"), StageFailed("two"), None])

    async def flaky(ctx: StageContext) -> str:
        await checkpoint()
        if error := next(errors):
            raise error
        return ctx.idempotency_key

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await checkpoint()

    outcome = await call_stage(StageSpec(flaky, retries=5), context(sink=lines), delay=float, pause=pause)
    assert outcome == Produced("key")
    assert pauses == [1.0, 2.0]
    assert lines.texts == [
        "Try 1 of 6 failed and will be made again: ValueError: one",
        "Try 2 of 6 failed and will be made again: two",
    ]


async def test_the_last_failure_is_the_error() -> None:
    """When the retries are used up, the error is that of the last try, and no log line promises another."""
    lines, numbers = Lines(), iter(range(1, 10))

    async def failing(_: StageContext) -> str:
        await checkpoint()
        raise ValueError(next(numbers))

    outcome = await call_stage(StageSpec(failing, retries=2), context(sink=lines), pause=no_pause)
    assert outcome == Errored("ValueError: 3")
    assert len(lines) == 2


async def test_a_stop_between_two_tries_goes_through() -> None:
    """Nobody waits for a delay to pass before the runner can end."""
    async with anyio.create_task_group() as tasks:

        async def failing(_: StageContext) -> None:
            tasks.cancel_scope.cancel()
            raise ValueError

        await call_stage(StageSpec(failing, retries=5), context(), delay=lambda _: math.inf)
        pytest.fail("the cancellation was swallowed")


@given(st.integers(1, 10**6))
def test_delays_grow_up_to_a_bound(failed: int) -> None:
    """Each is longer than the one before, whatever the random part is, until the longest is reached."""
    first, second = backoff_seconds(failed), backoff_seconds(failed + 1)
    assert 0 < first <= MAX_DELAY_SECONDS
    assert first < second or second >= 0.75 * MAX_DELAY_SECONDS


async def test_a_plain_async_stage_costs_no_task_and_no_thread() -> None:
    """It runs in the caller's own task and makes no scope, so that thousands a second are possible."""
    tasks: list[Any] = []

    async def produce(_: StageContext) -> str:
        tasks.append(anyio.get_current_task().id)
        return "text"

    threads = threading.active_count()
    frames: list[str] = []
    sys.setprofile(lambda frame, event, _: frames.append(frame.f_code.co_name) if event == "call" else None)
    try:
        outcome = await call_stage(StageSpec(produce), context())
    finally:
        sys.setprofile(None)
    assert outcome == Produced("text")
    assert tasks == [anyio.get_current_task().id]
    assert threading.active_count() == threads
    assert "move_on_after" not in frames


async def test_no_try_follows_a_wait_that_the_budget_has_no_time_for() -> None:
    """The error is that of the last try, and nothing waits for it."""
    pauses: list[float] = []

    async def remember(seconds: float) -> None:
        pauses.append(seconds)

    spec = StageSpec(raising(ValueError("no")), retries=5)
    outcome = await call_stage(
        spec, context(seconds_left=600), pause=remember, delay=lambda number: 60.0 if number < 3 else 3600.0
    )
    assert outcome == Errored("ValueError: no (the budget's seconds leave no time for another try)")
    assert pauses == [60.0, 60.0]
