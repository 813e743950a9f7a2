from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.calling import MAX_DELAY_SECONDS, backoff, call
from loopkit.agents.python import StageFunction
from loopkit.agents.threads import in_thread
from loopkit.core import plain
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import Stage
from loopkit.errors import StageFailed
from tests.agents.contexts import Lines, context

STAGES = pytest.mark.parametrize("stage", list(Stage))


async def no_pause(_: float) -> None:
    await checkpoint()


async def result_of(function: StageFunction, stage: Stage = Stage.PRODUCING, *, retries: int = 0) -> Outcome:
    return await call(StageSpec(function, retries=retries), context(stage), pause=no_pause)


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


# --- What a producer gives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.PRODUCING, Stage.REVISING])
@pytest.mark.parametrize("text", ["", "text\r\n with \t blanks \n", "ünïcode 🐈", "\x1b[1m", "null"])
async def test_text_is_kept_exactly(stage: Stage, text: str) -> None:
    """Not a character of an output is changed."""
    assert await result_of(gives(text), stage) == Produced(text)


async def test_a_subclass_of_text_is_kept_as_its_characters() -> None:
    """What it says of itself does not matter."""

    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self.upper()

    outcome = await result_of(gives(Loud("quiet")))
    assert outcome == Produced("quiet")
    assert type(outcome.output) is str


@pytest.mark.parametrize(
    "value", [{}, [], {"a": [1, None, 1.5, True, {"b": "ü"}]}, [[]], MappingProxyType({"a": MappingProxyType({})})]
)
async def test_a_mapping_or_list_is_kept_as_json(value: Any) -> None:
    """The output is its JSON text, and says that it is one."""
    outcome = await result_of(gives(value))
    assert isinstance(outcome, Produced)
    assert outcome.is_json
    assert json.loads(outcome.output) == json.loads(json.dumps(value, default=dict))


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


async def unawaited() -> None:
    """A coroutine whose await was forgotten."""


def generator() -> Iterator[int]:
    yield 1


class Strange(Mapping[str, Any]):
    """A mapping that breaks when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise SystemExit(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["score"])

    def __len__(self) -> int:
        return 1


BAD_OUTPUTS: dict[str, Any] = {
    "none": lambda: None,
    "true": lambda: True,
    "number": lambda: 5,
    "nan": lambda: math.nan,
    "bytes": lambda: b"text",
    "set": lambda: {1},
    "tuple": lambda: ("a", "b"),
    "object": object,
    "coroutine": unawaited,
    "generator": generator,
    "nul": lambda: "a\0b",
    "surrogate": lambda: "a\ud800b",
    "nul and more": lambda: "ü\0",
    "nan inside": lambda: {"a": [math.nan]},
    "infinity inside": lambda: [math.inf],
    "nul inside": lambda: {"a": "\0"},
    "surrogate in a key": lambda: {"\ud800": 1},
    "key": lambda: {1: 2},
    "set inside": lambda: {"a": {1}},
    "bytes inside": lambda: [b""],
    "huge integer": lambda: [10**5000],
    "cycle": cycle,
    "deep": lambda: deep(100_000),
    "large text": lambda: "x" * (plain.MAX_OUTPUT_BYTES + 1),
    "large text in bytes": lambda: "ü" * (plain.MAX_OUTPUT_BYTES // 2 + 1),
    "large json": lambda: ["x" * plain.MAX_OUTPUT_BYTES],
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
async def test_what_cannot_be_kept_is_an_error_at_once(name: str) -> None:
    """No retry can make it better; the message says what is wrong in one short line."""
    calls = 0

    async def produce(_: StageContext) -> Any:
        nonlocal calls
        calls += 1
        return BAD_OUTPUTS[name]()

    outcome = await result_of(produce, retries=3)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("invalid output: ")
    assert len(outcome.message) < 300
    assert calls == 1


async def test_text_of_the_greatest_size_is_kept() -> None:
    """The bound itself is allowed."""
    text = "x" * plain.MAX_OUTPUT_BYTES
    assert await result_of(gives(text)) == Produced(text)


# --- What an evaluator gives -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "evaluation"),
    [
        (0, Evaluation(0.0)),
        (1, Evaluation(1.0)),
        (0.72, Evaluation(0.72)),
        ({"score": 0.5}, Evaluation(0.5)),
        ({"score": 1, "feedback": "shorter"}, Evaluation(1.0, "shorter")),
        ({"score": 0.5, "feedback": None}, Evaluation(0.5)),
        (
            {"feedback": "", "score": 0.5, "criteria": {"length": 0.1}, "n": 10**20},
            Evaluation(0.5, rest={"criteria": {"length": 0.1}, "n": 10**20}),
        ),
        (Evaluation(0.3, "as before", rest={"a": (1, 2)}), Evaluation(0.3, "as before", rest={"a": [1, 2]})),
    ],
)
async def test_an_evaluation_is_a_score_and_what_comes_with_it(value: Any, evaluation: Evaluation) -> None:
    """A mapping with a score, or the score alone; what else is in it is kept by its key."""
    outcome = await result_of(gives(value), Stage.EVALUATING)
    assert outcome == Evaluated(evaluation)
    assert type(outcome.evaluation.score) is float


BAD_SCORES: dict[str, Any] = {
    "none": None,
    "text": "0.5",
    "true": True,
    "false": False,
    "nan": math.nan,
    "infinity": math.inf,
    "below": -0.1,
    "above": 1.0001,
    "per cent": 72,
    "huge": 10**5000,
    "complex": 0.5j,
    "list": [0.5],
    "bytes": b"1",
}


@pytest.mark.parametrize("is_inside", [True, False], ids=["in a mapping", "alone"])
@pytest.mark.parametrize("name", BAD_SCORES)
async def test_a_score_that_is_none_is_an_error_with_its_own_retries(name: str, *, is_inside: bool) -> None:
    """It never counts as 0, and the evaluator may try again."""
    bad = BAD_SCORES[name]
    answers = iter([bad, bad, bad, 0.5])

    async def evaluate(_: StageContext) -> Any:
        answer = next(answers)
        return {"score": answer} if is_inside else answer

    spec = StageSpec(evaluate, retries=1)
    outcome = await call(spec, context(Stage.EVALUATING), pause=no_pause)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("invalid score: ")
    assert await call(spec, context(Stage.EVALUATING), pause=no_pause) == Evaluated(Evaluation(0.5))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "no score"),
        ({"feedback": "words"}, "no score"),
        ({"score": 0.5, "feedback": ["a"]}, "feedback is a list"),
        ({"score": 0.5, "feedback": False}, "feedback is a boolean"),
        ({"score": 0.5, "feedback": "\0"}, "NUL"),
        ({"score": 0.5, "more": math.nan}, "/more: is not a finite number"),
        ({"score": 0.5, 1: 2}, "key that is not text"),
        (Strange(), "SystemExit: score"),
    ],
    ids=itertools.count(),
)
async def test_a_malformed_evaluation_is_an_error(value: Any, says: str) -> None:
    """What cannot be kept whole is not kept in part."""
    outcome = await result_of(gives(value), Stage.EVALUATING)
    assert isinstance(outcome, Errored)
    assert says in outcome.message


async def test_a_forgotten_await_in_an_evaluator_is_an_error() -> None:
    """The coroutine is closed, so that nothing warns of it later."""
    outcome = await result_of(gives(unawaited()), Stage.EVALUATING)
    assert outcome == Errored("invalid score: a coroutine, not a number")


# --- What a stage raises -----------------------------------------------------------------------------------------


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
    [(overflow, "RecursionError: "), (raising(Mute()), "Mute: (its message cannot be read)"), (lambda: 1, "TypeError")],
)
async def test_real_failures_are_told(function: Any, says: str) -> None:
    """A stack that overflows, an error without words, a callable that takes no context."""
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
        await call(spec, context())
    assert await call(spec, context(), passing=()) == Errored("KeyboardInterrupt: boom")


# --- Cancellation ------------------------------------------------------------------------------------------------


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
        await call(StageSpec(hang, timeout=timeout, retries=retries), context())
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
        await call(StageSpec(stubborn), context())
        pytest.fail("the cancellation was swallowed")


def test_the_cancellation_of_a_task_goes_through() -> None:
    """asyncio's own way to cancel is the caller's, too."""

    async def main() -> bool:
        began = asyncio.Event()

        async def hang(_: StageContext) -> None:
            began.set()
            await asyncio.sleep(3600)

        task = asyncio.create_task(call(StageSpec(hang), context()))  # type: ignore[arg-type]
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

    calling = call(StageSpec(hang, retries=3), context())
    calling.send(None)
    calling.close()


# --- Timeouts ----------------------------------------------------------------------------------------------------

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

    assert await call(StageSpec(hang, timeout=SHORT), context()) == Errored("timed out after 0.02 s")
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
        await in_thread(lambda: ended.wait(60))

    spec = StageSpec(hang, timeout=timedelta(seconds=0.5), retries=1)
    outcome = await call(spec, context(sink=lines), pause=release_then_go_on)
    assert outcome == Produced("second")
    assert lines.texts == ["Try 1 of 2 failed and will be made again: timed out after 0.5 s"]


async def test_a_result_after_the_time_was_up_is_none() -> None:
    """A stage that swallows the end of its time has timed out nevertheless."""

    async def stubborn(_: StageContext) -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "late"
        raise AssertionError

    assert await call(StageSpec(stubborn, timeout=SHORT), context()) == Errored("timed out after 0.02 s")


async def test_a_stage_in_time_is_not_disturbed() -> None:
    """A timeout that does not strike changes nothing."""
    assert await call(StageSpec(gives("text"), timeout=timedelta(hours=1)), context()) == Produced("text")


# --- Retries -----------------------------------------------------------------------------------------------------


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

    outcome = await call(StageSpec(flaky, retries=5), context(sink=lines), delay=float, pause=pause)
    assert outcome == Produced("key")
    assert pauses == [1.0, 2.0]
    assert lines.texts == [
        "Try 1 of 6 failed and will be made again: ValueError: one",
        "Try 2 of 6 failed and will be made again: two",
    ]


async def test_the_last_failure_is_the_error() -> None:
    """When the retries are used up, what the last try met is told, and no log line promises another."""
    lines, numbers = Lines(), iter(range(1, 10))

    async def failing(_: StageContext) -> str:
        await checkpoint()
        raise ValueError(next(numbers))

    outcome = await call(StageSpec(failing, retries=2), context(sink=lines), pause=no_pause)
    assert outcome == Errored("ValueError: 3")
    assert len(lines) == 2


async def test_a_stop_between_two_tries_goes_through() -> None:
    """Nobody waits for a delay to pass before the runner can end."""
    async with anyio.create_task_group() as tasks:

        async def failing(_: StageContext) -> None:
            tasks.cancel_scope.cancel()
            raise ValueError

        await call(StageSpec(failing, retries=5), context(), delay=lambda _: math.inf)
        pytest.fail("the cancellation was swallowed")


@given(st.integers(1, 10**6))
def test_delays_grow_up_to_a_bound(failed: int) -> None:
    """Each is longer than the one before, whatever chance says, until the longest is reached."""
    first, second = backoff(failed), backoff(failed + 1)
    assert 0 < first <= MAX_DELAY_SECONDS
    assert first < second or second >= 0.75 * MAX_DELAY_SECONDS


# --- Cost --------------------------------------------------------------------------------------------------------


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
        outcome = await call(StageSpec(produce), context())
    finally:
        sys.setprofile(None)
    assert outcome == Produced("text")
    assert tasks == [anyio.get_current_task().id]
    assert threading.active_count() == threads
    assert "move_on_after" not in frames
