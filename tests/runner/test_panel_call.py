"""Panels worked by the runner: who is asked and when, what is stored as it comes, and what ends the stage."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import loopkit
from loopkit import Agent, Judge, MemoryStore, Panel, StageContext, Stop
from loopkit.core.run import NewRun

FAILED = {"ok": False, "feedback": "no c"}


class Asked(Counter[str]):
    """Checks and judges that count how often they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[StageContext] = []

    def part(self, name: str, answer: Any) -> Callable[[StageContext], Any]:
        """Return a stage that answers with a value, raises it, or calls it with the context."""

        def ask(context: StageContext) -> Any:
            self[name] += 1
            self.contexts.append(context)
            if isinstance(answer, Exception):
                raise answer
            return answer(context) if callable(answer) else answer

        ask.__name__ = ask.__qualname__ = name
        return ask


def agent(panel: Any, **settings: Any) -> Agent:
    """Return an agent with one attempt, whose output says which it is."""
    return Agent(
        name="writer",
        produce=lambda ctx: f"output {ctx.attempt}",
        evaluate=panel,
        **{"max_attempts": 1, "pass_threshold": 0.8, **settings},
    )


async def worked(panel: Any, **settings: Any) -> tuple[loopkit.Result, list[loopkit.RunEvent]]:
    """Return the result of a run, and its events."""
    async with MemoryStore() as store:
        result = await loopkit.run(agent(panel, **settings), store=store)
        return result, await store.list_events(result.run.id)


def messages(events: list[loopkit.RunEvent]) -> list[str | None]:
    return [event.message for event in events if event.event_type is loopkit.EventType.LOG]


async def test_failed_checks_spare_the_judges() -> None:
    """All checks are run in order; no judge is asked, and all that fail are in the feedback."""
    asked = Asked()
    panel = Panel(
        checks=[
            asked.part("a", (False, "no a")),
            asked.part("b", True),
            asked.part("c", {"ok": False, "feedback": "no c"}),
        ],
        judges=[asked.part("judge", 1.0)],
    )
    result, events = await worked(panel)
    assert list(asked.items()) == [("a", 1), ("b", 1), ("c", 1)]
    assert result.run.final_score == round(0.8 / 2 / 3, 9)
    assert result.evaluation is not None
    assert result.evaluation.feedback == "a: no a\nc: no c"
    assert messages(events)[1:] == ["a: does not hold", "b: holds", "c: does not hold"]
    metadata = [dict(event.metadata or {}) for event in events if event.message in ("a: does not hold", "b: holds")]
    assert metadata == [{"check": "a", "ok": False, "sample": 1}, {"check": "b", "ok": True, "sample": 1}]


async def test_judges_are_asked_at_the_same_time() -> None:
    """Each waits until all have been asked, samples and shadows too, and knows nothing of earlier attempts."""
    asked, all_there = Asked(), anyio.Event()

    async def wait(context: StageContext) -> float:
        if sum(asked.values()) == 4:
            all_there.set()
        with anyio.fail_after(30):
            await all_there.wait()
        return 0.5

    panel = Panel(
        judges=[Judge(asked.part("a", wait), samples=2), asked.part("b", wait), Judge(asked.part("c", wait), weight=0)]
    )

    def renew(context: StageContext) -> str:
        nonlocal all_there
        asked.clear()
        all_there = anyio.Event()
        return f"output {context.attempt}"

    async with MemoryStore() as store:
        writer = Agent(name="w", produce=renew, evaluate=panel, max_attempts=2)
        result = await loopkit.run(writer, store=store)
        logged = messages(await store.list_events(result.run.id))
    assert result.run.final_score == 0.5
    assert sorted(map(str, logged)) == sorted(
        ["Produced (attempt-1.md)", "Revised (attempt-2.md)", *2 * ["a: 0.50", "a: 0.50", "b: 0.50", "c: 0.50"]]
    )
    assert all((ctx.evaluation, ctx.history, ctx.best) == (None, [], None) for ctx in asked.contexts)
    keys = [ctx.idempotency_key for ctx in asked.contexts]
    assert len(set(keys)) == len(keys) == 8
    assert {(ctx.judge, ctx.sample) for ctx in asked.contexts} == {("a", 1), ("a", 2), ("b", 1), ("c", 1)}


@pytest.mark.parametrize(("score", "calls"), [(0.7, 3), (0.9, 3), (0.69, 1), (0.91, 1)])
async def test_close_asks_again_only_near_the_threshold(score: float, calls: int) -> None:
    """Exactly one sample when far, all when near, for each judge by its own first sample."""
    asked = Asked()
    panel = Panel(judges=[Judge(asked.part("a", score), samples=3), Judge(asked.part("b", 0.1), samples=3)], close=0.1)
    result, _ = await worked(panel)
    assert asked == {"a": calls, "b": 1}
    assert result.attempts[0].evaluation is not None
    assert result.attempts[0].evaluation["judges"]["a"]["samples"] == [score] * calls


async def test_a_shadow_changes_nothing_but_its_own_row() -> None:
    """One that fails, and one that gives 0, are waited for and stand in the evaluation."""
    asked = Asked()
    shadows = [Judge(asked.part("broken", KeyError("x")), weight=0), Judge(asked.part("zero", 0), weight=0)]
    result, events = await worked(Panel(judges=[asked.part("own", (0.9, "good")), *shadows]))
    assert (result.run.status, result.run.final_score) == ("passed", 0.9)
    assert result.evaluation is not None
    assert result.evaluation.feedback == "good"
    judges = result.evaluation["judges"]
    assert judges["zero"]["score"] == 0
    assert (judges["broken"]["score"], judges["broken"]["error"]) == (None, "KeyError: 'x'")
    assert "broken failed: KeyError: 'x'" in messages(events)


@pytest.mark.parametrize("quorum", [None, 2, 1])
async def test_a_quorum_of_judges_must_answer(quorum: int | None) -> None:
    """Fewer verdicts than that are the stage's error, which names the judge; without one, all must answer."""
    asked = Asked()
    judges = [asked.part("a", 0.9), asked.part("facts", ValueError("no")), asked.part("c", 0.6)]
    result, events = await worked(Panel(judges=judges, quorum=quorum))
    assert asked == {"a": 1, "facts": 1, "c": 1}
    if quorum is None:
        assert result.run.error_message == "evaluate (facts): ValueError: no"
        (error,) = [event for event in events if event.event_type is loopkit.EventType.ERROR]
        assert error.message == "evaluate (facts): ValueError: no"
        assert (error.metadata or {})["exception"] == "ValueError"
        assert result.run.final_score is None
    else:
        assert (result.run.error_message, result.run.final_score) == (None, 0.75)
        assert "facts failed: ValueError: no" in messages(events)


async def test_all_checks_are_run_although_one_has_an_error() -> None:
    """The stage has the error of the first; the others are told in the journal."""
    asked = Asked()
    checks = [asked.part("a", "yes"), asked.part("b", False), asked.part("c", ValueError("no"))]
    result, events = await worked(Panel(checks=checks, judges=[asked.part("judge", 1.0)]))
    assert asked == {"a": 1, "b": 1, "c": 1}
    assert str(result.run.error_message).startswith("evaluate (a): invalid answer of a check: text")
    assert messages(events)[1:] == ["b: does not hold", "c failed: ValueError: no"]


async def test_retries_and_timeouts_count_for_each_sample() -> None:
    """A sample that fails is asked again by itself, and one that takes too long fails its judge."""
    asked = Asked()
    failed = set[int]()

    def fail_once(context: StageContext) -> float:
        assert context.sample is not None
        if context.sample not in failed:
            failed.add(context.sample)
            raise ValueError("at first")
        return 0.9

    async def hang(context: StageContext) -> float:
        await anyio.sleep_forever()
        return 1.0

    flaky = Judge(loopkit.stage(asked.part("flaky", fail_once), retries=1), samples=2)
    slow = Judge(loopkit.stage(asked.part("slow", hang), timeout=0.5), weight=0)
    result, events = await worked(Panel(judges=[flaky, slow]))
    assert asked == {"flaky": 4, "slow": 1}
    assert result.run.final_score == 0.9
    assert result.evaluation is not None
    assert result.evaluation["judges"]["slow"]["error"] == "timed out after 0.5 s"
    retried = [event for event in events if str(event.message).startswith("flaky: Try 1 of 2 failed")]
    assert sorted((event.metadata or {})["sample"] for event in retried) == [1, 2]


async def test_a_reviser_hears_which_criteria_fell_below_the_best() -> None:
    """With ``revise_from: best`` the feedback compares with the revised attempt, from the first revision on."""
    values = {1: 0.7, 2: 0.5, 3: 0.6}

    def judge(context: StageContext) -> dict[str, Any]:
        value = values[context.attempt]
        return {"score": value, "feedback": "more", "criteria": {"plain": {"score": value}}}

    result, _ = await worked(Panel(judges=[judge]), max_attempts=3, revise_from="best")
    feedback = [attempt.evaluation.feedback for attempt in result.attempts if attempt.evaluation]
    assert feedback == [
        "more",
        "more\nplain fell from 0.70 in attempt 1 to 0.50: keep what was better there",
        "more\nplain fell from 0.70 in attempt 1 to 0.60: keep what was better there",
    ]
    result, _ = await worked(Panel(judges=[judge]), max_attempts=2)
    assert [attempt.evaluation.feedback for attempt in result.attempts if attempt.evaluation] == ["more", "more"]


async def test_a_repeated_draft_is_not_judged_again() -> None:
    """It gets the evaluation of its equal, with nobody asked."""
    asked = Asked()
    panel = Panel(judges=[asked.part("a", 0.5)])
    writer = Agent(
        name="w", produce=lambda ctx: "same", evaluate=panel, drafts=2, max_attempts=2, stop=Stop(repeat=True)
    )
    async with MemoryStore() as store:
        result = await loopkit.run(writer, store=store)
    assert asked == {"a": 1}
    assert [attempt.evaluation and attempt.evaluation.score for attempt in result.attempts] == [0.5, 0.5]


async def test_a_row_with_a_low_threshold_is_claimed_and_failed() -> None:
    """Another program may insert what loopkit refuses; its held scores would pass."""
    checked = agent(Panel(checks=[lambda ctx: False]))
    async with MemoryStore() as store:
        (run,) = await store.submit([NewRun(agent_name="writer", inputs={}, pass_threshold=0.01)])
        await loopkit.Runner(store, [checked]).drain()
        ended = await store.get_run(run.id)
    assert (ended.status, ended.final_score) == ("failed", None)
    assert str(ended.error_message).startswith("the pass threshold must be at least 0.02")


async def test_a_verdict_that_is_stored_is_not_asked_for_again() -> None:
    """Whoever takes over asks only those whose verdict is missing, or who are not what they were."""
    asked, stopping, store = Asked(), loopkit.Stopping(), MemoryStore()

    async def stop(context: StageContext) -> float:
        while len(await store.list_verdicts(context.run_id, 1)) < 4:
            await anyio.lowlevel.checkpoint()
        stopping.end()
        await anyio.sleep_forever()
        return 0.0

    def panel(last: Any, style: str = "style") -> Panel:
        judges = [Judge(asked.part("facts", 0.9), samples=2), Judge(asked.part(style, 0.6), name="style")]
        return Panel(checks=[asked.part("sources", True)], judges=[*judges, asked.part("last", last)])

    (run,) = await loopkit.submit(store, agent(panel(stop)), [{}])
    await loopkit.Runner(store, [agent(panel(stop))], stopping=stopping).serve()
    assert (await store.get_run(run.id)).status == "queued"
    assert asked == {"sources": 1, "facts": 2, "style": 1, "last": 1}
    await loopkit.Runner(store, [agent(panel(0.9, style="other"))]).drain()
    assert asked == {"sources": 1, "facts": 2, "style": 1, "last": 2, "other": 1}
    ended = await store.get_run(run.id)
    assert (ended.status, ended.final_score) == ("passed", 0.8)
    verdicts = [(verdict.name, verdict.sample) for verdict in await store.list_verdicts(run.id, 1)]
    assert sorted(verdicts) == [("facts", 1), ("facts", 2), ("last", 1), ("sources", 1), ("style", 1), ("style", 1)]


async def test_a_cancelled_run_stops_asking() -> None:
    """A cancel request reaches every judge that is under way; verdicts that came stay."""
    store, cancelled = MemoryStore(), list[str]()

    async def request(context: StageContext) -> float:
        while not await store.list_verdicts(context.run_id, 1):
            await anyio.lowlevel.checkpoint()
        await store.request_cancel(context.run_id)
        return await wait(context)

    async def wait(context: StageContext) -> float:
        assert context.judge is not None
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(context.judge)
        return 1.0

    judged = agent(Panel(judges=[lambda ctx: 0.5, request, wait]))
    result = await loopkit.run(judged, store=store)
    assert (result.run.status, sorted(cancelled)) == ("cancelled", ["request", "wait"])
    assert [verdict.score for verdict in await store.list_verdicts(result.run.id, 1)] == [0.5]
