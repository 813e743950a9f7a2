"""Usage of a run, booked by the runner: calls, sums, time, and the endings that follow from a budget."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import loopkit
from loopkit import Agent, Budget, MemoryStore, RunStatus, StageContext, Stopping
from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.core.ledger.budget import BudgetLeft
from loopkit.core.ledger.calls import CallState, ModelCall, StoredCall, spending_of
from loopkit.core.run import Run, Stage
from loopkit.errors import StorageUnavailable


class Spender:
    """Stages that give one score after the other, and report a call for each of their own calls."""

    def __init__(self, scores: list[float], **usage: Any) -> None:
        self.scores = scores
        self.usage = {"input_tokens": 10, "output_tokens": 5, "usd": 0.001, **usage}
        self.left: list[BudgetLeft] = []

    def make(self, context: StageContext) -> str:
        self.left.append(context.budget)
        context.report_usage(self.usage)
        return f"o{context.attempt}"

    async def judge(self, context: StageContext) -> float:
        context.report_usage(self.usage)
        return self.scores[context.attempt - 1]

    def agent(self, **settings: Any) -> Agent:
        values = {"max_attempts": len(self.scores), "pass_threshold": 0.95, **settings}
        return Agent(name="writer", produce=self.make, evaluate=self.judge, **values)


async def ledger_of(store: MemoryStore, run: Run) -> list[StoredCall]:
    """Return the ledger of a run, whose sums are those of its row."""
    calls = await store.list_calls(run.id)
    sums, stored = spending_of(calls), run.spending
    assert (sums.tokens, sums.cost_nanos, sums.unpriced_calls) == (
        stored.tokens,
        stored.cost_nanos,
        stored.unpriced_calls,
    )
    return calls


async def test_each_call_is_booked_with_its_stage() -> None:
    """The sums of the row are those of the ledger, and the time of the stages is counted."""
    store = MemoryStore()
    result = await loopkit.run(Spender([0.5, 1]).agent(), {}, store=store)
    calls = await ledger_of(store, result.run)
    stages = [Stage.PRODUCING, Stage.EVALUATING, Stage.REVISING, Stage.EVALUATING]
    assert [(call.stage, call.attempt) for call in calls] == list(zip(stages, [1, 1, 2, 2], strict=True))
    assert (result.run.input_tokens, result.run.cost_nanos, result.run.unpriced_calls) == (40, 4_000_000, 0)
    assert result.run.stage_seconds > 0


@pytest.mark.parametrize(
    ("budget", "usage", "attempts", "words"),
    [
        (Budget(tokens=60), {}, 2, "60 of 60 tokens"),
        (Budget(tokens=61), {}, 3, "90 of 61 tokens"),
        (Budget(usd=0.004), {}, 2, "0.004 of 0.004 usd"),
        (Budget(usd=9), {"usd": None, "model": "local:m"}, 1, "the price of a call to local:m is not known"),
        (Budget(tokens=9000), {"input_tokens": None, "output_tokens": None}, 1, "reported no tokens"),
    ],
)
async def test_a_budget_ends_a_run_after_a_score(
    budget: Budget, usage: dict[str, Any], attempts: int, words: str
) -> None:
    """The attempt that reaches a limit is judged, none begins after it, and the best one is kept."""
    store, spender = MemoryStore(), Spender([0.5, 0.6, 0.4, 0.3], **usage)
    result = await loopkit.run(spender.agent(budget=budget), {}, store=store)
    assert (result.status, result.run.end_reason) == (RunStatus.FAILED, "budget_exhausted")
    assert words in (result.error or "")
    assert [attempt.number for attempt in result.attempts if attempt.evaluation] == list(range(1, attempts + 1))
    assert len(result.attempts) == attempts
    assert result.run.best_attempt == min(attempts, 2)
    await ledger_of(store, result.run)


async def test_time_in_stages_spends_a_budget() -> None:
    """That of the evaluation too, which is not cut short by it."""

    async def judge(_: StageContext) -> float:
        await anyio.sleep(0.3)
        return 0.5

    agent = Agent(name="writer", produce=lambda _: "o1", evaluate=judge, budget=Budget(seconds=0.3))
    result = await loopkit.run(agent, {})
    assert (result.run.end_reason, len(result.attempts)) == ("budget_exhausted", 1)
    assert "of 0.3 seconds" in (result.error or "")


async def test_a_pass_outweighs_a_spent_budget() -> None:
    """The work is done."""
    assert (await loopkit.run(Spender([1]).agent(budget=Budget(tokens=1)), {})).status is RunStatus.PASSED


async def test_stages_know_what_is_left() -> None:
    """As of their beginning, never below 0; without a limit None."""
    spender = Spender([0.5, 0.6, 0.7])
    await loopkit.run(spender.agent(budget=Budget(tokens=70)), {})
    assert [left.tokens for left in spender.left] == [70, 40, 10]
    assert {(left.usd, left.seconds) for left in spender.left} == {(None, None)}


async def test_the_budgets_seconds_bound_the_tries_of_a_draft() -> None:
    """No further try is made when they are used up."""
    tries = []

    async def hang(context: StageContext) -> str:
        tries.append(context.deadline)
        await anyio.sleep_forever()
        return ""

    stage = loopkit.stage(hang, retries=5, timeout=60)
    result = await loopkit.run(Agent(name="a", produce=stage, evaluate=lambda _: 1, budget=Budget(seconds=0.2)), {})
    assert len(tries) == 1
    assert result.run.end_reason == "stage_error"
    assert "which were left of the budget's seconds" in (result.error or "")


async def test_failed_tries_are_booked() -> None:
    """Also when the stage fails in the end."""
    store = MemoryStore()

    def fail(context: StageContext) -> str:
        context.report_usage(input_tokens=1, output_tokens=1, usd=0.5)
        raise ValueError("no")

    result = await loopkit.run(
        Agent(name="a", produce=loopkit.stage(fail, retries=1), evaluate=lambda _: 1), {}, store=store
    )
    calls = await ledger_of(store, result.run)
    assert [(call.try_number, call.cost_nanos) for call in calls] == [(1, 500_000_000), (2, 500_000_000)]


async def test_usage_after_the_stage_is_dropped() -> None:
    """Its result is written already."""
    store, contexts = MemoryStore(), []

    def make(context: StageContext) -> str:
        contexts.append(context)
        return "text"

    def judge(context: StageContext) -> float:
        contexts[0].report_usage(input_tokens=1)
        return 1

    result = await loopkit.run(Agent(name="a", produce=make, evaluate=judge), {}, store=store)
    assert await ledger_of(store, result.run) == []


class LosingStore(MemoryStore):
    """Store whose answers to single writes are lost, after or before they are made."""

    def __init__(self, lost: Callable[[int], str | None]) -> None:
        super().__init__()
        self.writes = 0
        self._lost = lost

    async def record(self, lease: Lease, change: Change) -> Run:
        self.writes += 1
        fate = self._lost(self.writes)
        if fate == "before":
            raise StorageUnavailable("the store does not answer")
        run = await super().record(lease, change)
        if fate == "after":
            raise StorageUnavailable("the answer was lost")
        return run


async def open_call(context: StageContext) -> ModelCall:
    assert context.book is not None
    call = context.new_call(model="local:m", state=CallState.UNANSWERED)
    await context.book.open(call)
    return call


def complete(context: StageContext, call: ModelCall) -> None:
    assert context.book is not None
    values = {field: getattr(call, field) for field in ("id", "stage", "attempt", "try_number", "model")}
    context.book.complete(ModelCall(**values, input_tokens=3, output_tokens=4, cost_nanos=5))


async def call_model(context: StageContext) -> str:
    """Make a stage of one call that is booked before it is sent."""
    complete(context, await open_call(context))
    return f"o{context.attempt}"


@pytest.mark.parametrize("fate", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))  # the eighth ends the run; a store finds it by its nonce
async def test_lost_answers_book_nothing_twice(number: int, fate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write is made again, each answered call is in the ledger once, and the sums are those of the ledger."""
    monkeypatch.setattr("loopkit.runner.run_writer.RETRY_SECONDS", 0)

    async def judge(context: StageContext) -> float:
        complete(context, await open_call(context))
        return 0.5 * context.attempt

    store = LosingStore(lambda write: fate if write == number else None)
    result = await loopkit.run(Agent(name="a", produce=call_model, evaluate=judge), {}, store=store)
    calls = await ledger_of(store, result.run)
    assert [call.state for call in calls] == [CallState.ANSWERED] * 4
    assert (result.status, result.run.cost_nanos, store.writes) == (RunStatus.PASSED, 20, 9)


async def test_calls_that_are_made_at_once_are_all_booked() -> None:
    """Before any of them is sent its row is there; some share a write."""
    store = MemoryStore()

    async def make(context: StageContext) -> str:
        async def call() -> None:
            opened = await open_call(context)
            assert opened.id in {stored.id for stored in await store.list_calls(context.run_id)}
            complete(context, opened)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call)
        return "text"

    result = await loopkit.run(Agent(name="a", produce=make, evaluate=lambda _: 1), {}, store=store)
    assert len(await ledger_of(store, result.run)) == 10
    assert result.run.cost_nanos == 50


async def test_a_call_without_an_answer_stays_open() -> None:
    """Its stage fails; the run knows of one call at an unknown price."""
    store = MemoryStore()

    async def make(context: StageContext) -> str:
        await open_call(context)
        await anyio.sleep_forever()
        return ""

    agent = Agent(name="a", produce=loopkit.stage(make, timeout=0.1), evaluate=lambda _: 1)
    result = await loopkit.run(agent, {}, store=store)
    [call] = await ledger_of(store, result.run)
    assert (call.state, call.cost_nanos, result.run.unpriced_calls) == (CallState.UNANSWERED, None, 1)


async def test_an_unanswered_call_is_named_and_spends_nothing() -> None:
    """It does not end a run by itself; the sentence of the ending counts it."""
    store = MemoryStore()

    async def make(context: StageContext) -> str:
        await open_call(context)
        context.report_usage(input_tokens=10, output_tokens=0, usd=0.4)
        return f"o{context.attempt}"

    agent = Agent(name="a", produce=make, evaluate=lambda _: 0.5, max_attempts=5, budget=Budget(usd=0.7))
    result = await loopkit.run(agent, {}, store=store)
    assert (len(result.attempts), result.run.end_reason) == (2, "budget_exhausted")
    assert "2 calls to local:m got no answer" in (result.error or "")


async def resume_after(stop: int, agent_of: Callable[[Callable[[], None]], Agent]) -> tuple[MemoryStore, Run]:
    """Work a run with a runner that stops after some stages, and then with others."""
    store, stopping, count = MemoryStore(), Stopping(), 0

    def note() -> None:
        nonlocal count
        count += 1
        if count == stop:
            stopping.ask()

    agent = agent_of(note)
    [run] = await loopkit.submit(store, agent, [{}])
    await loopkit.Runner(store, [agent], stopping=stopping).drain()
    await loopkit.Runner(store, [agent]).drain()
    return store, await store.get_run(run.id)


@pytest.mark.parametrize("stop", range(1, 7))
async def test_a_resumed_run_ends_as_an_undisturbed_one(stop: int) -> None:
    """From the stored sums, and for an unknown price from the ledger."""
    for usd, attempts in ((0.001, 2), (None, 1)):
        spender = Spender([0.5, 0.6, 0.7], usd=usd, model="local:m")

        def agent_of(note: Callable[[], None], spender: Spender = spender) -> Agent:
            def make(context: StageContext) -> str:
                note()
                return spender.make(context)

            def judge(context: StageContext) -> Awaitable[float]:
                note()
                return spender.judge(context)

            return Agent(
                name="writer",
                produce=make,
                evaluate=judge,
                budget=Budget(usd=0.004),
                pass_threshold=0.95,
                max_attempts=3,
            )

        store, run = await resume_after(stop, agent_of)
        assert (run.end_reason, run.current_attempt) == ("budget_exhausted", attempts)
        assert len(await ledger_of(store, run)) == 2 * attempts
