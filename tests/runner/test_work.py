"""Working one held run: what stages get, and every way to leave a run."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

import loopkit
from loopkit import Agent, LeaseLost, MemoryStore, Run, RunStatus, StageContext, Stopping
from loopkit.agents.agent import StageSpec
from loopkit.core import machine
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun
from loopkit.runner import Environment, work
from loopkit.storage import Held
from tests.runner.loops import agent

pytestmark = pytest.mark.anyio

ME = Claimant(name="here:1")
QUICK = timedelta(milliseconds=200)
"""A heartbeat that makes the keeper look ten times a second."""


class HandClock:
    """The store's clock, moved by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


async def start(store: MemoryStore, one: Agent, **changes: Any) -> Held:
    given = {"agent_name": one.name, "inputs": {"topic": "cats"}, "max_attempts": 3, "pass_threshold": 0.8}
    return await store.start(NewRun(**{**given, **changes}), ME, definition=one.definition)


async def messages(store: MemoryStore, run: Run) -> list[str | None]:
    return [event.message for event in await store.list_events(run.id)]


async def test_each_stage_gets_what_it_needs_and_no_more() -> None:
    """Producing, evaluating and revising see the outputs and evaluations of the attempts that belong to them."""
    seen: list[tuple[Any, ...]] = []

    def note(context: StageContext) -> None:
        score = context.evaluation and context.evaluation.score
        seen.append((str(context.stage), context.attempt, context.output, score, context.idempotency_key[-12:]))

    def produce(context: StageContext) -> str:
        note(context)
        return f"draft {context.attempt}"

    def evaluate(context: StageContext) -> float:
        note(context)
        return 0.1 * context.attempt

    store, one = MemoryStore(), agent(produce=produce, evaluate=evaluate, revise=produce)
    await work(store, one, await start(store, one))
    assert [row[:4] for row in seen] == [
        ("producing", 1, None, None),
        ("evaluating", 1, "draft 1", None),
        ("revising", 2, "draft 1", 0.1),
        ("evaluating", 2, "draft 2", 0.1),
        ("revising", 3, "draft 2", 0.2),
        ("evaluating", 3, "draft 3", 0.2),
    ]
    assert len({row[4] for row in seen}) == 6


async def test_a_stage_that_spoils_its_inputs_does_not_spoil_the_next_ones() -> None:
    """Each stage gets inputs of its own, so that a resumed run and an undisturbed one cannot differ."""

    def spoil(context: StageContext) -> str:
        context.inputs["deep"]["list"].append(1)  # type: ignore[index]
        return "x"

    def evaluate(context: StageContext) -> float:
        return 1.0 if context.inputs["deep"]["list"] == [] else 0.0

    store, one = MemoryStore(), agent(produce=spoil, evaluate=evaluate)
    run = await work(store, one, await start(store, one, inputs={"deep": {"list": []}}))
    assert run.status is RunStatus.PASSED


async def test_inputs_that_do_not_fit_end_the_run_failed() -> None:
    """A row of another program with bad inputs is claimed, then failed with the faults; no stage is called."""
    one = agent(inputs={"type": "object", "required": ["must"]}, produce=lambda context: pytest.fail("called"))
    store = MemoryStore()
    run = await work(store, one, await start(store, one))
    assert run.status is RunStatus.FAILED
    assert "must" in str(run.error_message)


@pytest.mark.parametrize("kept", range(6))
async def test_a_taken_over_run_goes_on_after_the_last_finished_stage(kept: int) -> None:
    """However many stages the lost runner finished, none of them is called again."""
    clock = HandClock()
    store = MemoryStore(now=clock)
    held = await store.start(NewRun(agent_name="writer", inputs={}, pass_threshold=0.99), ME)
    run = held.run
    for number in range(kept):
        made = Produced(f"old {number}") if number % 2 == 0 else Evaluated(Evaluation(0.1 * number, "more"))
        run = await store.record(held.lease, machine.advance(run, made))
    if run.ended:
        pytest.fail("the run must still be open")
    clock.time += timedelta(seconds=121)
    called: list[tuple[str, int]] = []

    def produce(context: StageContext) -> str:
        called.append((str(context.stage), context.attempt))
        return "new"

    def evaluate(context: StageContext) -> float:
        called.append((str(context.stage), context.attempt))
        return 0.5

    one = agent(produce=produce, evaluate=evaluate, revise=produce, pass_threshold=0.99)
    [again] = await store.claim(ME, {"writer": one.definition})
    assert again.taken_over
    ended = await work(store, one, again)
    order = [(stage, n) for n in (1, 2, 3) for stage in ("producing" if n == 1 else "revising", "evaluating")]
    assert called == order[kept:]
    assert ended.status is RunStatus.FAILED


async def test_a_stored_judgement_that_ends_the_run_is_not_asked_for_again() -> None:
    """An evaluation that was stored without its end means the end, and no stage is called."""
    store = MemoryStore()
    held = await store.start(NewRun(agent_name="writer", inputs={}, max_attempts=1), ME)
    run = await store.record(held.lease, machine.advance(held.run, Produced("done")))
    change = machine.advance(run, Evaluated(Evaluation(0.9)))
    stay = machine.log(run, ()).then
    import attrs

    await store.record(held.lease, attrs.evolve(change, then=stay))
    held = attrs.evolve(held, artifacts=tuple(await store.list_artifacts(run.id)))
    one = agent(produce=lambda context: pytest.fail("called"), evaluate=lambda context: pytest.fail("called"))
    ended = await work(store, one, held)
    assert (ended.status, ended.final_score) == (RunStatus.PASSED, 0.9)


async def test_a_changed_definition_is_told_in_an_event() -> None:
    """A run that is resumed under another definition of its agent says so."""
    clock = HandClock()
    store = MemoryStore(now=clock)
    await start(store, agent(max_attempts=2))
    clock.time += timedelta(seconds=121)
    changed = agent(max_attempts=4)
    [held] = await store.claim(ME, {"writer": changed.definition})
    run = await work(store, changed, held)
    assert any("has changed" in str(message) for message in await messages(store, run))


async def test_a_cancel_stops_an_async_stage_at_once() -> None:
    """The stage's scope is cancelled, its clean-up runs, and the run ends cancelled."""
    store, cleaned = MemoryStore(), []
    held_run: list[Run] = []

    async def hang(context: StageContext) -> str:
        await store.request_cancel(context.run_id, actor="maria")
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)
        return "late"

    one = agent(produce=hang)
    held = await start(store, one)
    held_run.append(await work(store, one, held, heartbeat=QUICK))
    assert held_run[0].status is RunStatus.CANCELLED
    assert cleaned == [True]
    assert await store.list_artifacts(held.run.id) == []


async def test_a_stage_that_swallows_its_cancellation_is_left_behind() -> None:
    """After the grace time the run ends without the stage, and what the stage returns is dropped."""
    store, let_go = MemoryStore(), anyio.Event()

    async def stubborn(context: StageContext) -> str:
        await store.request_cancel(context.run_id)
        while not let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return "late"

    one = agent(produce=stubborn)
    [queued] = await loopkit.submit(store, one, [{}])
    runner = loopkit.Runner(store, [one], heartbeat=QUICK, grace=timedelta(milliseconds=50))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.drain)
        result = await loopkit.wait(store, queued.id)
        let_go.set()
    assert result.status is RunStatus.CANCELLED
    assert await store.list_artifacts(queued.id) == []


async def test_a_cancel_that_comes_between_stages_wins_over_the_end() -> None:
    """A request seen before the end is written makes the run cancelled; its artifacts stay."""
    store = MemoryStore()

    async def judge(context: StageContext) -> float:
        await store.request_cancel(context.run_id)
        return 1.0

    one = agent(evaluate=judge)
    run = await work(store, one, await start(store, one))
    assert (run.status, run.final_score) == (RunStatus.CANCELLED, 1.0)
    assert len(await store.list_artifacts(run.id)) == 2


async def test_a_runner_that_lost_its_run_writes_nothing_more() -> None:
    """A zombie's result is dropped, and it says that the lease is lost."""
    clock = HandClock()
    store = MemoryStore(now=clock)

    async def slow(context: StageContext) -> str:
        clock.time += timedelta(seconds=121)
        [other] = await store.claim(Claimant(name="there:2"), {"writer": "d"})
        await store.record(other.lease, machine.advance(other.run, Produced("theirs")))
        return "mine"

    one = agent(produce=slow)
    held = await start(store, one)
    with pytest.raises(LeaseLost):
        await work(store, one, held)
    assert [artifact.content for artifact in await store.list_artifacts(held.run.id)] == ["theirs"]


async def test_a_stop_gives_the_run_back_at_the_next_boundary() -> None:
    """The first word lets the stage finish; the run is queued with the finished stage kept and nothing claimed."""
    store, stopping = MemoryStore(), Stopping()

    async def produce(context: StageContext) -> str:
        stopping.ask()
        return "kept"

    one = agent(produce=produce)
    run = await work(store, one, await start(store, one), stopping=stopping)
    assert (run.status, run.claimed_at, run.claimed_by, run.heartbeat_at) == (RunStatus.QUEUED, None, None, None)
    assert [artifact.content for artifact in await store.list_artifacts(run.id)] == ["kept"]


async def test_the_second_word_cancels_the_stage_and_gives_the_run_back() -> None:
    """Ending does not wait for the stage."""
    store, stopping = MemoryStore(), Stopping()

    async def hang(context: StageContext) -> str:
        stopping.ask()
        stopping.end()
        await anyio.sleep_forever()
        return ""

    one = agent(produce=hang)
    run = await work(store, one, await start(store, one), stopping=stopping)
    assert run.status is RunStatus.QUEUED


async def test_logs_stand_before_their_stages_result_and_are_bounded() -> None:
    """A stage's lines are cleaned, cut, counted, and written before what the stage made."""
    store = MemoryStore()

    def talk(context: StageContext) -> str:
        for number in range(1005):
            context.log(f"line {number}", number=number)
        return "x"

    def judge(context: StageContext) -> float:
        context.log("a\0b" + "x" * 20_000, bad=object())
        return 1.0

    one = agent(produce=talk, evaluate=judge)
    run = await work(store, one, await start(store, one))
    events = await store.list_events(run.id, limit=1000) + await store.list_events(run.id, after=1000)
    told = [str(event.message) for event in events]
    assert told.index("Produced (attempt-1.md)") > told.index("line 999")
    assert "line 1000" not in told
    assert "5 more log lines were dropped" in told
    long = next(event for event in events if str(event.message).startswith("a\ufffdb"))
    assert len(str(long.message)) < 8300
    assert "object" in str(long.metadata and long.metadata["bad"])


async def test_a_log_line_is_seen_while_its_stage_still_runs() -> None:
    """Lines do not wait for the end of a long stage."""
    store = MemoryStore()

    async def talk(context: StageContext) -> str:
        context.log("half way")
        while "half way" not in await messages(store, await store.get_run(context.run_id)):  # noqa: ASYNC110
            await anyio.sleep(0.02)
        return "x"

    one = agent(produce=talk)
    with anyio.fail_after(20):
        run = await work(store, one, await start(store, one))
    assert run.status is RunStatus.PASSED


async def test_blocking_the_event_loop_does_not_lose_the_lease() -> None:
    """Heartbeats come from a thread of their own, so a stage that blocks for several stall times keeps its run."""
    store = MemoryStore(stalled_after=timedelta(seconds=1))
    stolen: list[Held] = []

    async def block(context: StageContext) -> str:
        def steal() -> None:
            for _ in range(25):
                time.sleep(0.1)
                stolen.extend(anyio.run(store.claim, Claimant(name="thief:9"), {"writer": "d"}))

        thief = threading.Thread(target=steal)
        thief.start()
        thief.join()
        return "mine"

    one = agent(produce=block)
    held = await store.start(NewRun(agent_name="writer", inputs={}), ME)
    run = await work(store, one, held, heartbeat=timedelta(milliseconds=100))
    assert stolen == []
    assert run.status is RunStatus.PASSED


async def test_a_cancelled_runner_that_lost_its_run_just_leaves() -> None:
    """Giving back a run that another runner holds by now is no error."""
    clock, begun = HandClock(), anyio.Event()
    store = MemoryStore(now=clock)

    async def hang(context: StageContext) -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    one = agent(produce=hang)
    held = await start(store, one)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, store, one, held)
        await begun.wait()
        clock.time += timedelta(seconds=121)
        [other] = await store.claim(Claimant(name="there:2"), {"writer": "d"})
        tasks.cancel_scope.cancel()
    assert (await store.get_run(held.run.id)).claimed_by == other.lease.claimed_by


async def test_a_stage_that_ignores_the_second_word_is_left_behind_soon() -> None:
    """Ending gives the run back within two seconds, whatever the stage does and however long the grace is."""
    store, stopping, let_go = MemoryStore(), Stopping(), anyio.Event()

    async def stubborn(context: StageContext) -> str:
        stopping.end()
        while not let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return "late"

    one = agent(produce=stubborn)
    held = await start(store, one)
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            await work(store, one, held, stopping=stopping)

        tasks.start_soon(call)
        with anyio.fail_after(8):
            while (await store.get_run(held.run.id)).status is not RunStatus.QUEUED:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        let_go.set()
    assert await store.list_artifacts(held.run.id) == []


async def test_a_stage_that_swallows_its_timeout_ends_the_run_all_the_same() -> None:
    """After the timeout and the grace time the run fails with the stage's error, and the stage is left behind."""
    store, let_go = MemoryStore(), anyio.Event()

    async def stubborn(context: StageContext) -> str:
        while not let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return "late"

    one = agent(produce=StageSpec(stubborn, timeout=timedelta(milliseconds=50)))
    [queued] = await loopkit.submit(store, one, [{}])
    runner = loopkit.Runner(store, [one], grace=timedelta(milliseconds=50))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.drain)
        result = await loopkit.wait(store, queued.id)
        let_go.set()
    assert result.status is RunStatus.FAILED
    assert "does not stop" in str(result.run.error_message)
    assert await store.list_artifacts(queued.id) == []


async def test_nobody_watches_a_try_that_is_over() -> None:
    """However long its timeout is: a runner of many quick stages does not fill with tasks that wait for nothing."""
    watched: list[int] = []

    async def count(context: StageContext) -> str:
        await anyio.wait_all_tasks_blocked()
        names = [str(task.name) for task in anyio.get_running_tasks()]
        watched.append(sum(name.startswith("timeout") for name in names))
        return "x"

    async def judge(context: StageContext) -> float:
        await count(context)
        return 0.4 * context.attempt

    hour = timedelta(hours=1)
    one = agent(produce=StageSpec(count, timeout=hour), evaluate=judge, revise=StageSpec(count, timeout=hour))
    store = MemoryStore()
    await work(store, one, await start(store, one))
    assert watched == [1, 0, 1, 0]


async def test_each_try_may_log_its_lines_and_why_it_failed_is_always_told() -> None:
    """However much a failed try logs, the journal says that it failed and what the next one logged."""
    store, tries = MemoryStore(), []

    def talk(context: StageContext) -> str:
        tries.append(1)
        for number in range(1003):
            context.log(f"try {len(tries)} line {number}")
        if len(tries) == 1:
            raise RuntimeError("again please")
        return "x"

    one = agent(produce=StageSpec(talk, retries=1), evaluate=lambda context: 1.0)
    run = await work(store, one, await start(store, one))
    events = await store.list_events(run.id, limit=1000)
    while more := await store.list_events(run.id, after=events[-1].id, limit=1000):
        events += more
    told = [str(event.message) for event in events]
    failed = next(number for number, message in enumerate(told) if "again please" in message)
    assert told.index("try 1 line 999") < failed < told.index("try 2 line 0")
    assert told.count("3 more log lines were dropped") == 2


async def test_a_process_that_was_frozen_calls_no_further_stage() -> None:
    """A runner that could not renew for too long gives its run back, if it holds it still, before it calls anything."""
    store = MemoryStore(stalled_after=timedelta(seconds=10))
    one = agent(produce=lambda context: pytest.fail("called"))
    held = await start(store, one)

    class Woken:
        def __init__(self) -> None:
            self.looks = 0

        def now(self) -> datetime:
            raise AssertionError

        def monotonic(self) -> float:
            self.looks += 1
            return 0.0 if self.looks == 1 else 60.0

    run = await work(store, one, held, heartbeat=timedelta(seconds=1), environment=Environment(clock=Woken()))
    assert (run.status, run.claimed_by) == (RunStatus.QUEUED, None)
