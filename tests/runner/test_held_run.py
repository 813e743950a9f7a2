"""Working one held run: what stages get, and every way to leave a run."""

import threading
import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest

from loopkit import MemoryStore, Run, RunStatus, StageContext, Stopping
from loopkit.core import machine
from loopkit.core.journal import Artifact
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun
from loopkit.errors import StorageUnavailable
from loopkit.runner import Environment, work_run
from loopkit.storage import Held
from loopkit.testing import HandClock
from tests.runner.agent_helpers import ME, QUICK, small_agent, start

pytestmark = pytest.mark.anyio


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

    store, agent = MemoryStore(), small_agent(produce=produce, evaluate=evaluate, revise=produce)
    await work_run(store, agent, await start(store, agent))
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
        context.inputs["deep"]["list"].append(1)
        return "x"

    def evaluate(context: StageContext) -> float:
        return 1.0 if context.inputs["deep"]["list"] == [] else 0.0

    store, agent = MemoryStore(), small_agent(produce=spoil, evaluate=evaluate)
    run = await work_run(store, agent, await start(store, agent, inputs={"deep": {"list": []}}))
    assert run.status is RunStatus.PASSED


async def test_inputs_that_do_not_fit_end_the_run_failed() -> None:
    """A row of another program with bad inputs is claimed, then failed with the faults; no stage is called."""
    agent = small_agent(inputs={"type": "object", "required": ["must"]}, produce=lambda context: pytest.fail("called"))
    store = MemoryStore()
    run = await work_run(store, agent, await start(store, agent))
    assert run.status is RunStatus.FAILED
    assert "must" in str(run.error_message)


@pytest.mark.parametrize("finished", range(6))
async def test_a_taken_over_run_goes_on_after_the_last_finished_stage(finished: int) -> None:
    """However many stages the lost runner finished, none of them is called again."""
    clock = HandClock()
    store = MemoryStore(now=clock)
    held = await store.start(NewRun(agent_name="writer", inputs={}, pass_threshold=0.99), ME)
    run = held.run
    for number in range(finished):
        outcome = Produced(f"old {number}") if number % 2 == 0 else Evaluated(Evaluation(0.1 * number, "more"))
        run = await store.record(held.lease, machine.advance(run, outcome))
    if run.ended:
        pytest.fail("the run must still be open")
    clock.advance(timedelta(seconds=121))
    called: list[tuple[str, int]] = []

    def produce(context: StageContext) -> str:
        called.append((str(context.stage), context.attempt))
        return "new"

    def evaluate(context: StageContext) -> float:
        called.append((str(context.stage), context.attempt))
        return 0.5

    agent = small_agent(produce=produce, evaluate=evaluate, revise=produce, pass_threshold=0.99)
    [again] = await store.claim(ME, {"writer": agent.definition})
    assert again.taken_over
    ended = await work_run(store, agent, again)
    order = [(stage, n) for n in (1, 2, 3) for stage in ("producing" if n == 1 else "revising", "evaluating")]
    assert called == order[finished:]
    assert ended.status is RunStatus.FAILED


class Apart(MemoryStore):
    """A store whose artifacts are too large to come with a claim; the first reads of them get no answer."""

    silent = False
    """True: reading the artifacts gets no answer for ever."""
    reads = 0

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        return [attrs.evolve(held, artifacts=None) for held in await super().claim(claimant, agents, limit=limit)]

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        self.reads += 1
        if self.silent:
            await anyio.sleep_forever()
        if self.reads == 1:
            raise StorageUnavailable("gone")
        return await super().list_artifacts(run_id, only=only, start=start, max_chars=max_chars)


async def claimed_apart() -> tuple[Apart, Held]:
    """Return a run that a lost runner has produced an output of, claimed without it."""
    clock = HandClock()
    store = Apart(now=clock)
    lost = await store.start(NewRun(agent_name="writer", inputs={}), ME)
    await store.record(lost.lease, machine.advance(lost.run, Produced("a draft")))
    clock.advance(timedelta(seconds=121))
    [held] = await store.claim(ME, {"writer": "d"})
    return store, held


async def test_artifacts_that_did_not_come_with_the_claim_are_read_before_the_first_stage() -> None:
    """The run goes on from them as if they had come with it, although the store is not there at first."""
    store, held = await claimed_apart()
    judged: list[str] = []

    def evaluate(context: StageContext) -> float:
        judged.append(context.output)
        return 1.0

    agent = small_agent(produce=lambda context: pytest.fail("called"), evaluate=evaluate)
    run = await work_run(store, agent, held)
    assert (run.status, judged) == (RunStatus.PASSED, ["a draft"])


async def test_a_runner_that_ends_does_not_wait_for_artifacts() -> None:
    """The run goes back to the queue as it was claimed."""
    store, held = await claimed_apart()
    store.silent, stopping = True, Stopping()
    left: list[Run] = []

    async def work() -> None:
        left.append(await work_run(store, small_agent(), held, stopping=stopping))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            while not store.reads:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            stopping.ask()
            stopping.end()
    [run] = left
    assert (run.status, run.current_attempt, run.claimed_by) == (RunStatus.QUEUED, 1, None)


async def test_a_stored_judgement_that_ends_the_run_is_not_asked_for_again() -> None:
    """An evaluation that was stored without its end means the end, and no stage is called."""
    store = MemoryStore()
    held = await store.start(NewRun(agent_name="writer", inputs={}, max_attempts=1), ME)
    run = await store.record(held.lease, machine.advance(held.run, Produced("done")))
    change = machine.advance(run, Evaluated(Evaluation(0.9)))
    stay = machine.log_change(run, ()).then
    await store.record(held.lease, attrs.evolve(change, then=stay))
    held = attrs.evolve(held, artifacts=tuple(await store.list_artifacts(run.id)))
    agent = small_agent(produce=lambda context: pytest.fail("called"), evaluate=lambda context: pytest.fail("called"))
    ended = await work_run(store, agent, held)
    assert (ended.status, ended.final_score) == (RunStatus.PASSED, 0.9)


async def test_a_changed_definition_is_noted_in_an_event() -> None:
    """A run that is resumed under another definition of its agent says so."""
    clock = HandClock()
    store = MemoryStore(now=clock)
    await start(store, small_agent(max_attempts=2))
    clock.advance(timedelta(seconds=121))
    changed = small_agent(max_attempts=4)
    [held] = await store.claim(ME, {"writer": changed.definition})
    run = await work_run(store, changed, held)
    assert any("has changed" in str(event.message) for event in await store.list_events(run.id))


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

    agent = small_agent(produce=hang)
    held = await start(store, agent)
    held_run.append(await work_run(store, agent, held, heartbeat=QUICK))
    assert held_run[0].status is RunStatus.CANCELLED
    assert cleaned == [True]
    assert await store.list_artifacts(held.run.id) == []


async def test_a_cancel_that_comes_between_stages_wins_over_the_end() -> None:
    """A request seen before the end is written makes the run cancelled; its artifacts stay."""
    store = MemoryStore()

    async def judge(context: StageContext) -> float:
        await store.request_cancel(context.run_id)
        return 1.0

    agent = small_agent(evaluate=judge)
    run = await work_run(store, agent, await start(store, agent))
    assert (run.status, run.final_score) == (RunStatus.CANCELLED, 1.0)
    assert len(await store.list_artifacts(run.id)) == 2


async def test_a_stop_gives_the_run_back_at_the_next_boundary() -> None:
    """The first request lets the stage finish; the run is queued with the finished stage kept and nothing claimed."""
    store, stopping = MemoryStore(), Stopping()

    async def produce(context: StageContext) -> str:
        stopping.ask()
        return "kept"

    agent = small_agent(produce=produce)
    run = await work_run(store, agent, await start(store, agent), stopping=stopping)
    assert (run.status, run.claimed_at, run.claimed_by, run.heartbeat_at) == (RunStatus.QUEUED, None, None, None)
    assert [artifact.content for artifact in await store.list_artifacts(run.id)] == ["kept"]


async def test_the_second_stop_request_cancels_the_stage_and_releases_the_run() -> None:
    """Ending does not wait for the stage."""
    store, stopping = MemoryStore(), Stopping()

    async def hang(context: StageContext) -> str:
        stopping.ask()
        stopping.end()
        await anyio.sleep_forever()
        return ""

    agent = small_agent(produce=hang)
    run = await work_run(store, agent, await start(store, agent), stopping=stopping)
    assert run.status is RunStatus.QUEUED


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

    agent = small_agent(produce=block)
    held = await store.start(NewRun(agent_name="writer", inputs={}), ME)
    run = await work_run(store, agent, held, heartbeat=timedelta(milliseconds=100))
    assert stolen == []
    assert run.status is RunStatus.PASSED


async def test_a_process_that_was_frozen_calls_no_further_stage() -> None:
    """A runner that could not renew for too long gives its run back, if it holds it still, before it calls anything."""
    store = MemoryStore(stalled_after=timedelta(seconds=10))
    agent = small_agent(produce=lambda context: pytest.fail("called"))
    held = await start(store, agent)

    class Woken:
        def __init__(self) -> None:
            self.looks = 0

        def now(self) -> datetime:
            raise AssertionError

        def monotonic(self) -> float:
            self.looks += 1
            return 0.0 if self.looks == 1 else 60.0

    run = await work_run(store, agent, held, heartbeat=timedelta(seconds=1), environment=Environment(clock=Woken()))
    assert (run.status, run.claimed_by) == (RunStatus.QUEUED, None)


@pytest.mark.parametrize(("parts", "in_loop"), [(10, True), (10_000, False)])
async def test_large_inputs_are_checked_beside_the_event_loop(parts: int, in_loop: bool) -> None:
    """Another program may store any number of parts; checking them must not stop the other runs."""
    walked_in: set[int] = set()

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            walked_in.add(threading.get_ident())
            return super().items()

    store, agent = MemoryStore(), small_agent()
    held = await start(store, agent)
    inputs = Watched(list=[1] * parts)
    run = await work_run(store, agent, attrs.evolve(held, run=attrs.evolve(held.run, inputs=inputs)))
    assert run is not None
    assert (walked_in == {threading.get_ident()}) is in_loop
    assert walked_in
